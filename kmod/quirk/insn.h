/* SPDX-License-Identifier: GPL-2.0 */
/*
 * How long an instruction is, for CPUs that save no next RIP: pure functions.
 */
#ifndef MOTE_INSN_H
#define MOTE_INSN_H

#include <linux/types.h>
#include <linux/mote.h>

/**
 * mote_insn_length() - length of an instruction whose kind is known from the exit
 * @bytes: from RIP on
 * @nr: how many, at most 15
 * @reason: %MOTE_EXIT_CPUID, _HLT, _RDMSR, _WRMSR, _HYPERCALL, _XSETBV, _CACHE, _PMC, _PAUSE or
 *	_MWAIT
 * @long_mode: CS.L: REX prefixes exist
 *
 * For CPUs that save no next RIP.  Prefixes are counted and the opcode must
 * be one of those that cause this exit.
 *
 * Return: 1 to 15, or -EINVAL (not that instruction: memory changed under it,
 * or the end of @bytes).
 */
int mote_insn_length(const u8 *bytes, u32 nr, u32 reason, bool long_mode);

/* What a walk of the guest's own page tables needs. */
struct mote_walk {
	u64 cr0;	/* of the guest */
	u64 cr3;	/* of the guest */
	u64 cr4;	/* of the guest */
	u64 efer;	/* of the guest */
	/* reads 8 bytes (4 for 32-bit paging) of guest-physical memory; 0 or an error */
	int (*read)(void *context, u64 gpa, void *data, u32 len);
	void *context;	/* for @read */
};

/**
 * mote_walk_gva() - guest-physical address of a linear address, for fetching code
 * @walk: paging mode and memory
 * @gva: linear address
 * @gpa: out
 *
 * Every paging mode.  No accessed bits are set and no permission is checked:
 * the CPU has just fetched from there.
 *
 * Return: 0, -ENOENT (not mapped), or what @walk->read said.
 */
int mote_walk_gva(const struct mote_walk *walk, u64 gva, u64 *gpa);

#endif /* MOTE_INSN_H */
