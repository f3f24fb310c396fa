// SPDX-License-Identifier: GPL-2.0
/* libmote: what was written to memory is undone: see undo.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "undo.h"

#define PAGE_SIZE 4096
#define PAGE_SHIFT 12

static const struct mote_area *area_of(const struct mote_machine *machine, __u32 slot)
{
	for (size_t i = 0; i < machine->nr_areas; i++)
		if (machine->areas[i].slot == slot)
			return &machine->areas[i];
	return NULL;
}

static int set_flags(struct mote_machine *machine, const struct mote_area *area, __u32 flags)
{
	const struct mote_slot slot = {
		.slot = area->slot, .flags = flags, .gpa = area->gpa, .size = area->size,
		.hva = (unsigned long)area->hva,
	};

	return area->flags == flags ? 0 : mote_machine_set_slot(machine, &slot);
}

/* What the log has of the guest's writes, which is empty then. */
static int take_log(struct mote_undo *undo)
{
	struct mote_dirty dirty = { .slot = undo->slot };
	int err = 0;

	for (; !err && dirty.first < undo->written.nr; dirty.first += dirty.nr) {
		dirty.nr = undo->written.nr - dirty.first;
		if (dirty.nr > MOTE_MAX_DIRTY)
			dirty.nr = MOTE_MAX_DIRTY;
		dirty.bitmap = (unsigned long)&undo->bits[dirty.first / 64];
		err = mote_get_dirty(undo->machine->fd, &dirty);
	}
	return err;
}

int mote_undo_begin(struct mote_undo *undo, struct mote_machine *machine, __u32 slot, const void *base)
{
	const struct mote_area *area = area_of(machine, slot);
	__u64 pages = area ? area->size >> PAGE_SHIFT : 0, words = (pages + 63) / 64;
	int err;

	if (!area)
		return -ENOENT;
	*undo = (struct mote_undo) {
		.machine = machine, .slot = slot, .flags = area->flags, .base = base,
		.bits = calloc(words, sizeof(undo->bits[0])),
		.written = {
			.hva = area->hva, .nr = pages, .bits = calloc(words, sizeof(undo->bits[0])),
		},
	};
	err = undo->bits && undo->written.bits ?
	      set_flags(machine, area, area->flags | MOTE_SLOT_LOG_DIRTY) : -ENOMEM;
	if (!err)
		mote_machine_watch(machine, &undo->written);
	/* What a log that was there before says is none of ours. */
	err = err ? err : take_log(undo);
	if (err)
		mote_undo_end(undo);
	return err;
}

static unsigned int undo_word(struct mote_undo *undo, __u64 word, __u64 bits)
{
	unsigned int nr = 0;

	for (; bits; bits &= bits - 1, nr++) {
		__u64 at = (64 * word + __builtin_ctzll(bits)) << PAGE_SHIFT;

		memcpy(undo->written.hva + at, undo->base + at, PAGE_SIZE);
	}
	return nr;
}

long mote_undo(struct mote_undo *undo)
{
	__u64 words = (undo->written.nr + 63) / 64;
	int err = take_log(undo);
	long nr = 0;

	for (__u64 i = 0; !err && i < words; i++) {
		__u64 bits = undo->bits[i] | undo->written.bits[i];

		if (!bits)
			continue;
		undo->written.bits[i] = 0;
		nr += undo_word(undo, i, bits);
	}
	return err ? err : nr;
}

void mote_undo_end(struct mote_undo *undo)
{
	const struct mote_area *area = area_of(undo->machine, undo->slot);

	mote_machine_unwatch(undo->machine, &undo->written);
	if (area)
		set_flags(undo->machine, area, undo->flags);
	free(undo->bits);
	free(undo->written.bits);
	*undo = (struct mote_undo) { 0 };
}
