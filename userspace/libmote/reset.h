/* SPDX-License-Identifier: GPL-2.0 */
/*
 * libmote: a machine that goes back to where it was: its memory (undo.h), its clock and its vCPUs.
 */
#ifndef LIBMOTE_RESET_H
#define LIBMOTE_RESET_H

#include "undo.h"

/**
 * mote_machine_keep() - from now on mote_machine_reset() comes back to this moment
 * @machine: a VM none of whose vCPUs runs, and none of whose exits is left to be completed
 * @cpus: its vCPUs, which live as long as what is kept
 * @nr: how many
 *
 * Each slot's memory is copied, as far as it is not zeros, and logged.  Slots, CPUID tables and filters
 * stay as they are until mote_machine_forget().
 * Return: 0 or a negative errno; then nothing is kept.  -EEXIST: something is kept already
 */
int mote_machine_keep(struct mote_machine *machine, struct mote_cpu *const *cpus, unsigned int nr);

/**
 * mote_machine_reset() - back to that moment
 * @machine: a VM none of whose vCPUs runs; what its exits want completed is forgotten
 * Return: how many pages had been written and are as they were, or a negative errno; -ENOENT: nothing is kept
 */
long mote_machine_reset(struct mote_machine *machine);

/* Keep nothing any more, before the machine is destroyed; slots that were not logged before are not. */
void mote_machine_forget(struct mote_machine *machine);

#endif /* LIBMOTE_RESET_H */
