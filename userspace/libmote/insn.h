/* SPDX-License-Identifier: GPL-2.0 */
/*
 * libmote, internal: an instruction that accesses memory or a port, as Zydis
 * decoded it, less all that completing it does not need.
 */
#ifndef LIBMOTE_INSN_H
#define LIBMOTE_INSN_H

#include <stdbool.h>
#include <linux/types.h>

enum mote_op {
	MOTE_OP_MOV,		/* zero-extends if the source is narrower */
	MOTE_OP_MOVSX,
	MOTE_OP_MOVBE,
	MOTE_OP_ADD, MOTE_OP_OR, MOTE_OP_ADC, MOTE_OP_SBB,
	MOTE_OP_AND, MOTE_OP_SUB, MOTE_OP_XOR, MOTE_OP_CMP, MOTE_OP_TEST,
	MOTE_OP_NOT, MOTE_OP_NEG, MOTE_OP_INC, MOTE_OP_DEC,
	MOTE_OP_XCHG, MOTE_OP_XADD, MOTE_OP_CMPXCHG,
	MOTE_OP_BT, MOTE_OP_BTS, MOTE_OP_BTR, MOTE_OP_BTC,
	MOTE_OP_NATIVE,		/* by this machine's CPU, with a copy of the operand */
	MOTE_OP_NOTHING,	/* a hint, or about caches */
	MOTE_OP_LES, MOTE_OP_LDS, MOTE_OP_LFS, MOTE_OP_LGS,
	MOTE_OP_SGDT, MOTE_OP_SIDT, MOTE_OP_SLDT, MOTE_OP_STR, MOTE_OP_SMSW,
	/* with the stack, or a target */
	MOTE_OP_PUSH, MOTE_OP_PUSHF, MOTE_OP_PUSHA, MOTE_OP_ENTER, MOTE_OP_CALL,
	MOTE_OP_POP, MOTE_OP_POPA, MOTE_OP_LEAVE, MOTE_OP_RET, MOTE_OP_JMP,
	MOTE_OP_MOVS, MOTE_OP_CMPS, MOTE_OP_STOS, MOTE_OP_LODS, MOTE_OP_SCAS,
	MOTE_OP_INS, MOTE_OP_OUTS,
};

#define MOTE_OP_IS_STRING(op) ((op) >= MOTE_OP_MOVS)
#define MOTE_OP_IS_STACK(op) ((op) >= MOTE_OP_PUSH && (op) <= MOTE_OP_JMP)
#define MOTE_OP_IS_PUSH(op) ((op) >= MOTE_OP_PUSH && (op) <= MOTE_OP_CALL)

enum mote_operand_kind {
	MOTE_OPERAND_NONE,
	MOTE_OPERAND_GPR,
	MOTE_OPERAND_GPR_HIGH,	/* AH, CH, DH, BH: register 0 to 3, bits 15 to 8 */
	MOTE_OPERAND_SEGMENT,	/* a selector */
	MOTE_OPERAND_IMMEDIATE,
	MOTE_OPERAND_MEMORY,
};

/**
 * struct mote_operand - one operand
 * @kind: &enum mote_operand_kind
 * @reg: number of the register
 * @size: bytes
 */
struct mote_operand {
	__u8 kind;
	__u8 reg;
	__u8 size;
};

/* No base or index register; and the address is relative to the next instruction. */
#define MOTE_REG_NONE 0xff
#define MOTE_REG_RIP 0xfe
/* As an index: AL alone. */
#define MOTE_REG_AL 0xfd

/**
 * struct mote_native_insn - what %MOTE_OP_NATIVE executes
 * @code: the instruction in 64-bit mode, its operand at the address in @base
 * @length: of that, in bytes
 * @base: number of the register
 * @rsp: the register that stands for RSP, or MOTE_REG_NONE
 * @size: of the memory operand, in bytes
 * @reads: the operand is read
 * @fpu: x87 or vector registers are concerned
 * @x87: it is one of those with an opcode that the FPU keeps
 * @fop: this opcode
 */
struct mote_native_insn {
	__u8 code[15];
	__u8 length;
	__u8 base;
	__u8 rsp;
	__u16 size;
	bool reads;
	bool fpu;
	bool x87;
	__u16 fop;
};

/**
 * struct mote_insn - a decoded instruction
 * @bytes: the instruction, the rest is zero
 * @rip: for which it was decoded; with @bits what the cache looks for
 * @bits: of the code: 16, 32 or 64
 * @length: in bytes, 0: nothing decoded
 * @op: &enum mote_op
 * @operands: destination, source
 * @writes: the memory operand is written
 * @address_size: in bytes
 * @segment: of the memory operand, &enum mote_seg
 * @base: register, MOTE_REG_NONE or MOTE_REG_RIP
 * @index: register or MOTE_REG_NONE
 * @scale: of the index
 * @stack_size: bytes that go to or come from the stack at a time
 * @rep: REP, REPE or REPNE stands before a string instruction
 * @repne: it is REPNE
 * @displacement: of the memory operand
 * @immediate: sign-extended to the operand's size
 * @native: for %MOTE_OP_NATIVE
 */
struct mote_insn {
	__u8 bytes[16];
	__u64 rip;
	__u8 bits;
	__u8 length;
	__u8 op;
	bool writes;
	struct mote_operand operands[2];
	__u8 address_size;
	__u8 segment;
	__u8 base;
	__u8 index;
	__u8 scale;
	__u8 stack_size;
	bool rep;
	bool repne;
	__s64 displacement;
	__u64 immediate;
	struct mote_native_insn native;
};

/**
 * mote_decode() - decode one instruction
 * @insn: out
 * @bytes: its bytes
 * @len: how many there are
 * @bits: 16, 32 or 64
 * Return: 0, or -EOPNOTSUPP: not one that can be completed
 */
int mote_decode(struct mote_insn *insn, const __u8 *bytes, unsigned int len, unsigned int bits);

/* Write an instruction's mnemonic to @text; "(bad)" if it is none. */
void mote_insn_name(const __u8 *bytes, unsigned int len, unsigned int bits, char *text, unsigned int size);

/**
 * mote_alu() - arithmetic as the CPU does it
 * @op: %MOTE_OP_ADD to %MOTE_OP_BTC
 * @size: of the operands: 1, 2, 4 or 8
 * @a: destination
 * @b: source; for BT* the bit's number
 * @rflags: changed
 * Return: the result; what CMP, TEST and BT return is the destination
 */
__u64 mote_alu(enum mote_op op, unsigned int size, __u64 a, __u64 b, __u64 *rflags);

#endif /* LIBMOTE_INSN_H */
