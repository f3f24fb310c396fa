// SPDX-License-Identifier: GPL-2.0
/* Call chains of a guest: see unwind.h. */
#include <string.h>

#include "event.h"
#include "unwind.h"

/* ---- the stack ----------------------------------------------------------------------- */

/* The registers of a frame on its way out. */
struct cursor {
	const struct trace_sample *sample;
	uint64_t ip;
	uint64_t sp;
	uint64_t bp;
	bool is_call;
	bool is_user;
};

/* Words of Linux's struct pt_regs. */
#define REGS_BP (4 * 8)
#define REGS_IP (16 * 8)
#define REGS_CS (17 * 8)
#define REGS_SP (19 * 8)

/* A word of the copies; false: they do not have it. */
static bool word(const struct cursor *cursor, uint64_t gva, uint64_t *value)
{
	const struct trace_sample *sample = cursor->sample;
	size_t at = 0;

	for (int i = 0; i < TRACE_STACKS; i++) {
		uint64_t size = sample->span[i].size, offset = gva - sample->span[i].gva;

		if (size > sizeof(sample->stack) - at)
			return false;
		if (size >= sizeof(*value) && offset <= size - sizeof(*value)) {
			memcpy(value, sample->stack + at + offset, sizeof(*value));
			return true;
		}
		at += size;
	}
	return false;
}

/* A frame that was interrupted, of which the processor has kept IP, CS, flags, SP and SS. */
static bool take_interrupted(struct cursor *cursor, uint64_t regs)
{
	uint64_t cs;

	if (!word(cursor, regs + REGS_IP, &cursor->ip) || !word(cursor, regs + REGS_CS, &cs) ||
	    !word(cursor, regs + REGS_SP, &cursor->sp))
		return false;
	cursor->is_call = false;
	cursor->is_user = cs & 3;
	return true;
}

static bool take_return(struct cursor *cursor, uint64_t sp)
{
	if (!word(cursor, sp - 8, &cursor->ip))
		return false;
	cursor->sp = sp;
	cursor->is_call = true;
	return true;
}

/* ---- frame pointers -------------------------------------------------------------------- */

/* Linux's entry code has the place of its registers + 1 in RBP. */
static bool step_by_frame_pointer(struct cursor *cursor)
{
	uint64_t bp = cursor->bp;

	if (bp & 1)
		return take_interrupted(cursor, bp - 1) && word(cursor, bp - 1 + REGS_BP, &cursor->bp);
	return bp >= cursor->sp && word(cursor, bp, &cursor->bp) && take_return(cursor, bp + 16);
}

/* ---- ORC ----------------------------------------------------------------------------------- */

enum { ORC_UNDEFINED, ORC_PREV_SP, ORC_BP = 4, ORC_SP, ORC_BP_INDIRECT = 8, ORC_SP_INDIRECT };
enum { ORC_CALL, ORC_REGS, ORC_REGS_PARTIAL };

static uint64_t orc_address(const struct orc_table *table, size_t i)
{
	return table->gva + i * sizeof(*table->ips) + table->ips[i];
}

/* How many of the table's entries are not behind an address. */
static size_t orc_count(const struct orc_table *table, uint64_t ip)
{
	size_t low = 0, high = table->nr;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (orc_address(table, middle) <= ip)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

bool orc_reaches(const struct orc_table *table, uint64_t ip)
{
	size_t count = orc_count(table, ip);

	return count && count < table->nr;
}

static int orc_type(const struct orc_table *table, const struct orc_entry *entry)
{
	/* Since Linux 6.4 two more come first, those of frames that are the last. */
	return table->has_signal ? (entry->flags >> 8 & 7) - 2 : entry->flags >> 8 & 3;
}

/* Behind it there is nothing: a thread's first function. */
static bool orc_is_end(const struct orc_table *table, const struct orc_entry *entry)
{
	return (entry->flags & 15) == ORC_UNDEFINED &&
	       (table->has_signal ? (entry->flags >> 8 & 7) == 1 : entry->flags >> 10 & 3);
}

const struct orc_entry *orc_find(const struct orc_table *tables, size_t nr_tables, uint64_t ip,
				 const struct orc_table **table)
{
	const struct orc_entry *entry = NULL;
	uint64_t nearest = 0;

	for (size_t i = 0; i < nr_tables; i++) {
		size_t count = orc_count(&tables[i], ip);

		if (!count || orc_address(&tables[i], count - 1) < nearest)
			continue;
		nearest = orc_address(&tables[i], count - 1);
		entry = &tables[i].entries[count - 1];
		*table = &tables[i];
	}
	/* What is between two sections has an entry, too. */
	return entry && ((entry->flags & 15) != ORC_UNDEFINED || orc_is_end(*table, entry)) ? entry : NULL;
}

/* Where the stack was before the call, or the registers are that were put there. */
static bool orc_stack(const struct cursor *cursor, const struct orc_entry *entry, uint64_t *sp)
{
	switch (entry->flags & 15) {
	case ORC_SP:
		*sp = cursor->sp + entry->sp_offset;
		return true;
	case ORC_BP:
		*sp = cursor->bp + entry->sp_offset;
		return true;
	case ORC_BP_INDIRECT:
		return word(cursor, cursor->bp + entry->sp_offset, sp);
	case ORC_SP_INDIRECT:
		if (!word(cursor, cursor->sp, sp))
			return false;
		*sp += entry->sp_offset;
		return true;
	default:
		/* Others' registers are not known here: a handful of places. */
		return false;
	}
}

static bool orc_bp(struct cursor *cursor, const struct orc_entry *entry, int type, uint64_t sp)
{
	switch (entry->flags >> 4 & 15) {
	case ORC_UNDEFINED:
		return type != ORC_REGS || word(cursor, sp + REGS_BP, &cursor->bp);
	case ORC_PREV_SP:
		return word(cursor, sp + entry->bp_offset, &cursor->bp);
	case ORC_BP:
		return word(cursor, cursor->bp + entry->bp_offset, &cursor->bp);
	default:
		return false;
	}
}

static bool step_by_orc(struct cursor *cursor, const struct orc_table *table, const struct orc_entry *entry)
{
	const struct cursor before = *cursor;
	int type = orc_type(table, entry);
	uint64_t sp;
	bool is_good;

	if (!orc_stack(cursor, entry, &sp))
		return false;
	if (type == ORC_CALL)
		is_good = take_return(cursor, sp);
	else if (type == ORC_REGS)
		is_good = take_interrupted(cursor, sp);
	else
		is_good = type == ORC_REGS_PARTIAL && take_interrupted(cursor, sp - REGS_IP);
	/* Tables that go nowhere. */
	if (cursor->sp == before.sp && cursor->ip == before.ip)
		return false;
	return is_good && orc_bp(cursor, entry, type, sp);
}

/* ---- both ------------------------------------------------------------------------------------ */

/* One frame out; false: there is none, and @is_whole if that is how it should be.  User space is one. */
static bool step(struct cursor *cursor, const struct orc_table *tables, size_t nr_tables, bool *is_whole)
{
	const struct orc_table *table;
	const struct orc_entry *entry;

	*is_whole = cursor->is_user;
	if (cursor->is_user)
		return false;
	entry = orc_find(tables, nr_tables, cursor->ip - cursor->is_call, &table);
	if (!entry) {
		bool goes_on = step_by_frame_pointer(cursor) && cursor->ip;

		*is_whole = !cursor->ip;
		return goes_on;
	}
	/* Nothing has called it: that is a thunk, of which Linux does not say more. */
	*is_whole = cursor->is_call && orc_is_end(table, entry);
	return (entry->flags & 15) != ORC_UNDEFINED && step_by_orc(cursor, table, entry);
}

void unwind(const struct trace_sample *sample, const struct orc_table *tables, size_t nr_tables,
	    struct chain *chain)
{
	struct cursor cursor = {
		.sample = sample, .ip = sample->rip, .sp = sample->rsp, .bp = sample->rbp,
		.is_user = sample->cpl == 3,
	};

	chain->nr = 0;
	chain->is_whole = false;
	do {
		chain->frames[chain->nr++] = (struct frame) { cursor.ip, cursor.is_call, cursor.is_user };
	} while (chain->nr < FRAMES_MOST && step(&cursor, tables, nr_tables, &chain->is_whole));
}
