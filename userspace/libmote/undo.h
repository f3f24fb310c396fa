/* SPDX-License-Identifier: GPL-2.0 */
/*
 * libmote: memory of a slot that goes back to what it was, by undoing only what has been written since.
 *
 * What the guest writes is in the module's log (MOTE_SLOT_LOG_DIRTY, MOTE_GET_DIRTY), what this process
 * writes for it in one of its own (struct mote_written): whoever writes to guest memory by other means
 * than mote_machine_write() and the completion of exits calls mote_machine_wrote().
 */
#ifndef LIBMOTE_UNDO_H
#define LIBMOTE_UNDO_H

#include "machine.h"

/**
 * struct mote_undo - a slot's memory that can go back to what it was
 * @machine: whose it is
 * @slot: its number
 * @flags: of it before
 * @base: what is there, when that begins, as many bytes
 * @bits: which pages have been written, while they are undone
 * @written: and which of them this process has
 */
struct mote_undo {
	struct mote_machine *machine;
	__u32 slot;
	__u32 flags;
	const unsigned char *base;
	__u64 *bits;
	struct mote_written written;
};

/**
 * mote_undo_begin() - log what is written to a slot's memory from now on
 * @undo: to be filled in
 * @machine: the VM, none of whose vCPUs runs
 * @slot: number of the slot
 * @base: what its memory holds now; stays there
 * Return: 0 or a negative errno (-ENOENT: there is no such slot); then there is nothing to be ended
 */
int mote_undo_begin(struct mote_undo *undo, struct mote_machine *machine, __u32 slot, const void *base);
/* Undo what was written since; how many pages that were, or a negative errno.  No vCPU runs. */
long mote_undo(struct mote_undo *undo);
void mote_undo_end(struct mote_undo *undo);

#endif /* LIBMOTE_UNDO_H */
