// SPDX-License-Identifier: GPL-2.0
/*
 * Instructions, as far as the kernel has to look at them: the length of one
 * whose kind the exit has already told (CPUs without next-RIP save), and
 * whether it would show a step.  Pure functions.
 *
 * What is not here: a decoder.  Operands are decoded in user space.
 */
#include <linux/kernel.h>
#include <linux/string.h>

#include "insn.h"

/* An instruction that exits. */
struct opcode {
	u8 reason;	/* &enum mote_exit_reason */
	u8 len;
	u8 bytes[3];
};

static const struct opcode opcodes[] = {
	{ MOTE_EXIT_CPUID, 2, { 0x0f, 0xa2 } },
	{ MOTE_EXIT_HLT, 1, { 0xf4 } },
	{ MOTE_EXIT_RDMSR, 2, { 0x0f, 0x32 } },
	{ MOTE_EXIT_WRMSR, 2, { 0x0f, 0x30 } },
	{ MOTE_EXIT_HYPERCALL, 3, { 0x0f, 0x01, 0xc1 } }, /* VMCALL */
	{ MOTE_EXIT_HYPERCALL, 3, { 0x0f, 0x01, 0xd9 } }, /* VMMCALL */
	{ MOTE_EXIT_XSETBV, 3, { 0x0f, 0x01, 0xd1 } },
	{ MOTE_EXIT_CACHE, 2, { 0x0f, 0x08 } }, /* INVD */
	{ MOTE_EXIT_CACHE, 2, { 0x0f, 0x09 } }, /* WBINVD, and WBNOINVD with F3 */
	{ MOTE_EXIT_PMC, 2, { 0x0f, 0x33 } },
	{ MOTE_EXIT_RDTSC, 2, { 0x0f, 0x31 } },
	{ MOTE_EXIT_MWAIT, 3, { 0x0f, 0x01, 0xc8 } }, /* MONITOR */
	{ MOTE_EXIT_MWAIT, 3, { 0x0f, 0x01, 0xc9 } }, /* MWAIT */
	{ MOTE_EXIT_PAUSE, 1, { 0x90 } }, /* with F3, else it is NOP */
};

/*
 * How many prefixes there are, in any order and repetition, and whether F3 and LOCK are among
 * them.  A REX prefix counts only directly before the opcode, but others may follow one (SDM
 * 2, "REX Prefixes").
 */
static u32 insn_skip_prefixes(const u8 *bytes, u32 nr, bool long_mode, bool *rep, bool *lock)
{
	u32 i;

	*rep = false;
	*lock = false;
	for (i = 0; i < nr; i++) {
		switch (bytes[i]) {
		case 0xf0:
			*lock = true;
			continue;
		case 0xf3:
			*rep = true;
			continue;
		case 0x26: case 0x2e: case 0x36: case 0x3e: case 0x64: case 0x65:
		case 0x66: case 0x67: case 0xf2:
			continue;
		case 0x40 ... 0x4f:
			if (long_mode)
				continue;
		}
		break;
	}
	return i;
}

bool mote_insn_shows_tf(const u8 *bytes, u32 nr, bool long_mode)
{
	bool rep, lock;
	u32 at = insn_skip_prefixes(bytes, nr, long_mode, &rep, &lock);

	switch (at < nr ? bytes[at] : 0) {
	case 0x9c: case 0x9d: /* PUSHF, POPF */
	case 0xcc ... 0xcf: /* INT3, INT n, INTO, IRET */
	case 0xf1: /* INT1 */
		return true;
	case 0x0f: /* SYSCALL, SYSRET */
		return at + 1 < nr && (bytes[at + 1] | 2) == 0x07;
	default:
		return false;
	}
}

int mote_insn_length(const u8 *bytes, u32 nr, u32 reason, bool long_mode)
{
	const struct opcode *op;
	bool rep, lock;
	u32 skip;

	nr = min_t(u32, nr, MOTE_INSN_MOST);
	skip = insn_skip_prefixes(bytes, nr, long_mode, &rep, &lock);
	/* With LOCK each of them is #UD, and does not exit. */
	if (lock || (reason == MOTE_EXIT_PAUSE && !rep))
		return -EINVAL;
	for (op = opcodes; op < opcodes + ARRAY_SIZE(opcodes); op++)
		if (op->reason == reason && op->len <= nr - skip &&
		    !memcmp(op->bytes, bytes + skip, op->len))
			return skip + op->len;
	return -EINVAL;
}

/* 0F 20 and 0F 22; eight and above take REX.R, or LOCK (APM 3, "MOV CRn"). */
int mote_insn_mov_cr(const u8 *bytes, u32 nr, u32 cr, bool write, bool long_mode, u8 *reg)
{
	bool rep, lock;
	u32 skip = insn_skip_prefixes(bytes, nr, long_mode, &rep, &lock);
	const u8 *op = bytes + skip;
	u8 rex = skip && (op[-1] & 0xf0) == 0x40 ? op[-1] : 0;

	if (skip + 3 > nr || op[0] != 0x0f || op[1] != (write ? 0x22 : 0x20) ||
	    (op[2] >> 3 & 7) != (cr & 7) || (lock || rex & 4) != cr >> 3)
		return -EINVAL;
	*reg = (op[2] & 7) | (rex & 1) << 3;
	return skip + 3;
}
