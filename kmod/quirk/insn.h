/* SPDX-License-Identifier: GPL-2.0 */
/*
 * How long an instruction is, for CPUs that save no next RIP; whether a step would show; and the
 * walk of the guest's page tables that finds its bytes: pure functions.
 */
#ifndef MOTE_INSN_H
#define MOTE_INSN_H

#include <linux/bits.h>
#include <linux/compiler.h>
#include <linux/errno.h>
#include <linux/mote.h>
#include <asm/msr-index.h>
#include <asm/processor-flags.h>

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

/* An instruction has no more bytes; and what there is room for. */
#define MOTE_INSN_MOST 15u
#define MOTE_INSN_ROOM 16u

static inline bool mote_mode_is_64bit(const struct mote_cpu_mode *mode)
{
	return mode->efer & EFER_LMA && mode->cs_attr & BIT(13); /* CS.L */
}

/* The linear address of an instruction. */
static inline u64 mote_mode_linear(const struct mote_cpu_mode *mode, u64 rip)
{
	return mote_mode_is_64bit(mode) ? rip : (u32)(mode->cs_base + rip);
}

/* ---- page tables ----------------------------------------------------------- */

/* A paging mode (SDM 3A, "Paging Modes and Control Bits"). */
struct mote_paging {
	u32 levels;
	u32 bits;	/* of the linear address that a level translates */
	u32 size;	/* bytes of an entry */
	u32 large;	/* bit n: an entry of level n may map a page */
	u64 root;	/* the bits of CR3 that are the root's address */
};

#define MOTE_ENTRY_PRESENT BIT_ULL(0)
#define MOTE_ENTRY_LARGE BIT_ULL(7)
#define MOTE_ENTRY_ADDRESS GENMASK_ULL(51, 12)

/* Reads 8 bytes (4 for 32-bit paging) of guest-physical memory; 0 or an error. */
typedef int mote_walk_read(void *context, u64 gpa, void *entry, u32 size);

static __always_inline int mote_walk_mode(const struct mote_paging mode, u64 cr3,
					  mote_walk_read *read, void *context, u64 gva, u64 *gpa)
{
	u64 table = cr3 & mode.root, entry, offset;
	u32 level = mode.levels, shift = 12 + mode.bits * (level - 1);
	int err;

	for (; ; level--, shift -= mode.bits) {
		entry = 0;
		err = read(context, table + (gva >> shift & (BIT(mode.bits) - 1)) * mode.size,
			   &entry, mode.size);
		if (err)
			return err;
		if (!(entry & MOTE_ENTRY_PRESENT))
			return -ENOENT;
		if (level == 1 || (entry & MOTE_ENTRY_LARGE && mode.large & BIT(level)))
			break;
		table = entry & MOTE_ENTRY_ADDRESS;
	}
	/* 4 MiB pages have bits 39:32 in bits 20:13 (PSE-36). */
	if (mode.size == 4 && level == 2)
		entry = (entry & GENMASK_ULL(31, 22)) | (entry & GENMASK_ULL(20, 13)) << 19;
	offset = BIT_ULL(shift) - 1;
	*gpa = (entry & MOTE_ENTRY_ADDRESS & ~offset) | (gva & offset);
	return 0;
}

/*
 * The guest-physical address of a linear address, for fetching code, by @cpu's CRs and EFER.  No
 * accessed bits are set and no permission is checked: the CPU has just fetched from there.
 * Inlined for each mode, and @read with it.  Return: 0, -ENOENT (not mapped), or what @read said.
 */
static __always_inline int mote_walk_gva(const struct mote_cpu_mode *cpu, mote_walk_read *read,
					 void *context, u64 gva, u64 *gpa)
{
	const struct mote_paging
		long_mode = { cpu->cr4 & X86_CR4_LA57 ? 5 : 4, 9, 8, BIT(2) | BIT(3),
			      MOTE_ENTRY_ADDRESS },
		pae = { 3, 9, 8, BIT(2), GENMASK_ULL(31, 5) },
		legacy = { 2, 10, 4, cpu->cr4 & X86_CR4_PSE ? BIT(2) : 0, GENMASK_ULL(31, 12) };

	if (!(cpu->cr0 & X86_CR0_PG)) {
		*gpa = (u32)gva;
		return 0;
	}
	if (cpu->efer & EFER_LMA)
		return mote_walk_mode(long_mode, cpu->cr3, read, context, gva, gpa);
	if (cpu->cr4 & X86_CR4_PAE)
		return mote_walk_mode(pae, cpu->cr3, read, context, (u32)gva, gpa);
	return mote_walk_mode(legacy, cpu->cr3, read, context, (u32)gva, gpa);
}

#endif /* MOTE_INSN_H */
