/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Watches: pages of which user space wants to know that the guest reads, writes or executes them.
 *
 * The nested page tables deny what is watched, so that it faults; the guest's memory stays as it
 * is.  Who has faulted goes on in a second tree, in which nothing is denied, for one instruction:
 * with RFLAGS.TF, which the guest does not see, as instructions that would show it are user space's
 * to step over.  Other vCPUs are in the first tree meanwhile, and are not stopped.  Of a page that
 * is watched for reads nothing is mapped: what is not watched is stepped over without a word.
 */
#ifndef MOTE_WATCH_H
#define MOTE_WATCH_H

#include <linux/xarray.h>

#include "../mote.h"

/* &mote_vcpu.view: what it runs in. */
enum mote_view {
	MOTE_VIEW_WATCHED,	/* vm->npt: watches apply */
	MOTE_VIEW_STEP,		/* vm->whole, for one instruction */
	MOTE_VIEW_WHOLE,	/* vm->whole, as a debugger wants it */
};

/* Exceptions that exit, besides those that always do: what a debugger wants; in a step, all. */
static inline u32 mote_exceptions(const struct mote_vcpu *vcpu)
{
	return vcpu->view == MOTE_VIEW_STEP ? (u32)~MOTE_DEBUG_NEVER : vcpu->debug.exceptions;
}

/* What is watched of a page: MOTE_ACCESS_*. */
static inline u32 mote_watch_of(struct mote_vm *vm, u64 gpa)
{
	void *entry = xa_load(&vm->watched, gpa >> PAGE_SHIFT);

	return xa_is_value(entry) ? xa_to_value(entry) : 0;
}

/* Is anything watched in this range? */
static inline bool mote_watch_any(struct mote_vm *vm, u64 gpa, u64 size)
{
	unsigned long first = gpa >> PAGE_SHIFT;

	return xa_find(&vm->watched, &first, (gpa + size - 1) >> PAGE_SHIFT, XA_PRESENT);
}

/* MOTE_SET_WATCH: 0, -EINVAL, -E2BIG, -ENOMEM, -EINTR. */
long mote_watch_set(struct mote_vm *vm, const struct mote_watch *watch);

/*
 * Unloaded, after a nested fault: what comes of it, as mote_exit_slow() returns it, if it is a
 * watch's; %MOTE_NEXT_SLEEP: it is none.
 */
int mote_watch_caught(struct mote_vcpu *vcpu);

/* Loaded, before the entry, with %MOTE_REQ_VIEW: go to the view that the vCPU should have. */
void mote_watch_look(struct mote_vcpu *vcpu, u32 requests);

/* Interrupts are off, and an event goes in: an interrupt of the host's ends the guest behind it. */
void mote_watch_deliver(void);

/*
 * Loaded, around an entry for one instruction.  Behind it the exit is as it would have been without
 * us: %MOTE_EXIT_NONE, and the view the usual one again, if nothing else has happened.
 */
void mote_watch_begin_step(struct mote_vcpu *vcpu);
void mote_watch_end_step(struct mote_vcpu *vcpu);

#endif /* MOTE_WATCH_H */
