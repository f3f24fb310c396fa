/* SPDX-License-Identifier: GPL-2.0 */
/* How long an instruction is, for CPUs that save no next RIP: pure functions. */
#ifndef MOTE_INSN_H
#define MOTE_INSN_H

#include <linux/mote.h>

/*
 * The length of an instruction whose kind is known from the exit: prefixes are counted, and the
 * opcode must be one of those that cause it.  Of @bytes there are @nr from RIP on, at most 15;
 * @reason is one of MEASURED_EXITS; @long_mode is CS.L, where REX prefixes exist.  Return: 1 to
 * 15, or -EINVAL (not that instruction: memory changed under it, or the end of @bytes).
 */
int mote_insn_length(const u8 *bytes, u32 nr, u32 reason, bool long_mode);

/* The same for a MOV to or from the control register @cr; *reg: &enum mote_gpr, the other one. */
int mote_insn_mov_cr(const u8 *bytes, u32 nr, u32 cr, bool write, bool long_mode, u8 *reg);

/*
 * Would it push or load RFLAGS.TF (PUSHF, POPF, IRET, SYSCALL, SYSRET), or lead to a handler
 * (INT n, INT3, INTO, INT1)?  By that flag the guest would notice a step over it.
 */
bool mote_insn_shows_tf(const u8 *bytes, u32 nr, bool long_mode);

/* What a walk of the guest's own page tables needs. */
struct mote_walk {
	u64 cr0, cr3, cr4, efer;	/* of the guest */
	/* reads 8 bytes (4 for 32-bit paging) of guest-physical memory; 0 or an error */
	int (*read)(void *context, u64 gpa, void *data, u32 len);
	void *context;	/* for @read */
};

/*
 * The guest-physical address of a linear address, for fetching code, in every paging mode.  No
 * accessed bits are set and no permission is checked: the CPU has just fetched from there.
 * Return: 0, -ENOENT (not mapped), or what @walk->read said.
 */
int mote_walk_gva(const struct mote_walk *walk, u64 gva, u64 *gpa);

#endif /* MOTE_INSN_H */
