/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What an emulated CPU does wrong so that a guest could keep its host's timer from being
 * served.  Nothing here is called on other CPUs.
 */
#ifndef MOTE_QUIRK_H
#define MOTE_QUIRK_H

#include <linux/types.h>

/* Is the CPU QEMU's translator, or Bochs? */
bool mote_is_qemu_tcg(void);
bool mote_is_bochs(void);

/* The timer of this CPU's local APIC, over an entry. */
struct mote_host_timer {
	u32 lvtt;	/* its LVT entry, as the kernel has it; 0 if that did not need a change */
	u32 left;	/* its count at the entry */
};

/**
 * mote_qemu_keep_timer() - before an entry with a virtual interrupt
 * mote_qemu_give_timer_back() - after it
 *
 * Interrupts are off from the one to the other.
 */
void mote_qemu_keep_timer(struct mote_host_timer *timer);
void mote_qemu_give_timer_back(struct mote_host_timer *timer);

/**
 * mote_bochs_clock_setup() - before the first VM on AMD-V
 * mote_bochs_clock_teardown() - after the last one, wherever
 *
 * Return: 0, or a negative errno.
 */
int mote_bochs_clock_setup(void);
void mote_bochs_clock_teardown(void);

/**
 * mote_bochs_clock() - send NMIs while one CPU or more is in virtualization operation
 * @on: one more, or one less
 *
 * In any context, also in a crash.
 */
void mote_bochs_clock(bool on);

#endif /* MOTE_QUIRK_H */
