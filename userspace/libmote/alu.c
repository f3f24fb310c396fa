// SPDX-License-Identifier: GPL-2.0
/*
 * libmote: integer arithmetic and its flags. SDM 1, "EFLAGS Register"; flags
 * that the manual calls undefined are as the CPUs have them.
 */
#include "insn.h"

#define CF 0x001ull
#define PF 0x004ull
#define AF 0x010ull
#define ZF 0x040ull
#define SF 0x080ull
#define OF 0x800ull

/* PF, ZF and SF of a result that has been cut to size. */
static __u64 result_flags(__u64 result, __u64 sign)
{
	return (__builtin_parity(result & 0xff) ? 0 : PF) | (result ? 0 : ZF) |
	       (result & sign ? SF : 0);
}

static __u64 add(__u64 a, __u64 b, __u64 carry, __u64 mask, __u64 *flags)
{
	__u64 sign = (mask >> 1) + 1, result = (a + b + carry) & mask;

	*flags = result_flags(result, sign) | ((a ^ b ^ result) & AF) |
		 ((a ^ result) & (b ^ result) & sign ? OF : 0) |
		 (((a & b) | ((a | b) & ~result)) & sign ? CF : 0);
	return result;
}

static __u64 sub(__u64 a, __u64 b, __u64 borrow, __u64 mask, __u64 *flags)
{
	__u64 sign = (mask >> 1) + 1, result = (a - b - borrow) & mask;

	*flags = result_flags(result, sign) | ((a ^ b ^ result) & AF) |
		 ((a ^ b) & (a ^ result) & sign ? OF : 0) |
		 (((~a & b) | (~(a ^ b) & result)) & sign ? CF : 0);
	return result;
}

static __u64 bit_test(enum mote_op op, __u64 a, __u64 b, unsigned int size, __u64 *rflags)
{
	__u64 bit = 1ull << (b & (8 * size - 1));

	*rflags = (*rflags & ~CF) | (a & bit ? CF : 0);
	return op == MOTE_OP_BTS ? a | bit : op == MOTE_OP_BTR ? a & ~bit :
	       op == MOTE_OP_BTC ? a ^ bit : a;
}

__u64 mote_alu(enum mote_op op, unsigned int size, __u64 a, __u64 b, __u64 *rflags)
{
	__u64 mask = size == 8 ? ~0ull : (1ull << 8 * size) - 1;
	__u64 carry = *rflags & CF, keep = 0, flags = 0, result;

	a &= mask;
	if (op >= MOTE_OP_BT && op <= MOTE_OP_BTC)
		return bit_test(op, a, b, size, rflags);
	b &= mask;
	switch (op) {
	case MOTE_OP_ADD:
	case MOTE_OP_XADD:
		result = add(a, b, 0, mask, &flags);
		break;
	case MOTE_OP_ADC:
		result = add(a, b, carry, mask, &flags);
		break;
	case MOTE_OP_INC:
		result = add(a, 1, 0, mask, &flags);
		keep = CF;
		break;
	case MOTE_OP_SUB:
		result = sub(a, b, 0, mask, &flags);
		break;
	case MOTE_OP_SBB:
		result = sub(a, b, carry, mask, &flags);
		break;
	case MOTE_OP_NEG:
		result = sub(0, a, 0, mask, &flags);
		break;
	case MOTE_OP_DEC:
		result = sub(a, 1, 0, mask, &flags);
		keep = CF;
		break;
	case MOTE_OP_CMP:
	case MOTE_OP_CMPXCHG:
		sub(a, b, 0, mask, &flags);
		result = a;
		break;
	case MOTE_OP_NOT:
		return ~a & mask;
	case MOTE_OP_TEST:
		flags = result_flags(a & b, (mask >> 1) + 1);
		result = a;
		break;
	default:
		result = op == MOTE_OP_OR ? a | b : op == MOTE_OP_AND ? a & b : a ^ b;
		flags = result_flags(result, (mask >> 1) + 1);
	}
	keep |= ~(CF | PF | AF | ZF | SF | OF);
	*rflags = (*rflags & keep) | (flags & ~keep);
	return result;
}
