/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Ranges of the mm's memory that change, or have changed lately.
 *
 * A fault looks into the mm's page tables and then writes what it found into nested ones.  That
 * is right only if no change is under way there, or has ended there since it began to look;
 * changes elsewhere do not matter to it.  Pure; under vm->npt_lock, for writing if they change.
 */
#ifndef MOTE_RANGE_H
#define MOTE_RANGE_H

#include <linux/compiler.h>
#include <linux/minmax.h>
#include <linux/types.h>

#define MOTE_NR_RANGES 16

struct mote_ranges {
	u64 ended;	/* how many changes are over: each is known by what this was then */
	u64 forgotten;	/* the last of them whose range is not known any more */
	u32 running;	/* changes under way */
	struct mote_range {
		u64 start, end;
		u64 ended;	/* the last change here that is over, 0: none */
		u32 running;	/* one, but in the last range, which spans all that have no other */
	} range[MOTE_NR_RANGES];
};

static inline void mote_range_begin(struct mote_ranges *ranges, u64 start, u64 end)
{
	struct mote_range *range = ranges->range, *last = &range[MOTE_NR_RANGES - 1];
	struct mote_range *oldest = last;

	for (; range < last; range++)
		if (!range->running && (oldest->running || range->ended < oldest->ended))
			oldest = range;
	if (oldest->running) {
		start = min(oldest->start, start);
		end = max(oldest->end, end);
	} else {
		ranges->forgotten = max(ranges->forgotten, oldest->ended);
	}
	oldest->start = start;
	oldest->end = end;
	oldest->running++;
	ranges->running++;
}

static inline void mote_range_end(struct mote_ranges *ranges, u64 start, u64 end)
{
	struct mote_range *range = ranges->range, *last = &range[MOTE_NR_RANGES - 1];

	while (range < last && !(range->running && range->start == start && range->end == end))
		range++;
	range->running--;
	ranges->running--;
	range->ended = ranges->ended + 1;
	/* Who reads the number sees what the mm has changed. */
	smp_store_release(&ranges->ended, range->ended);
}

/* Is there a change in [start, end), or was there one since so many had ended? */
static inline bool mote_range_changes(const struct mote_ranges *ranges, u64 seen, u64 start,
				      u64 end)
{
	const struct mote_range *range = ranges->range;

	if (!ranges->running && ranges->ended == seen)
		return false;
	while (range < &ranges->range[MOTE_NR_RANGES] &&
	       !(start < range->end && range->start < end &&
		 (range->running || range->ended > seen)))
		range++;
	return ranges->forgotten > seen || range < &ranges->range[MOTE_NR_RANGES];
}

#endif /* MOTE_RANGE_H */
