// SPDX-License-Identifier: GPL-2.0
/* libmote: from Zydis's description of an instruction to ours. */
#include <errno.h>
#include <string.h>

#include <Zydis/Zydis.h>

#include "insn.h"
#include "libmote.h"

#define NOT_KNOWN -1

/* What a mnemonic does, or NOT_KNOWN. */
static int op_of(ZydisMnemonic mnemonic)
{
	switch (mnemonic) {
	case ZYDIS_MNEMONIC_MOV: case ZYDIS_MNEMONIC_MOVZX: case ZYDIS_MNEMONIC_MOVNTI:
		return MOTE_OP_MOV;
	case ZYDIS_MNEMONIC_MOVSX: case ZYDIS_MNEMONIC_MOVSXD:
		return MOTE_OP_MOVSX;
	case ZYDIS_MNEMONIC_MOVBE:
		return MOTE_OP_MOVBE;
	case ZYDIS_MNEMONIC_MOVAPS: case ZYDIS_MNEMONIC_MOVUPS: case ZYDIS_MNEMONIC_MOVAPD:
	case ZYDIS_MNEMONIC_MOVUPD: case ZYDIS_MNEMONIC_MOVDQA: case ZYDIS_MNEMONIC_MOVDQU:
	case ZYDIS_MNEMONIC_LDDQU: case ZYDIS_MNEMONIC_MOVD: case ZYDIS_MNEMONIC_MOVQ:
	case ZYDIS_MNEMONIC_MOVSS: case ZYDIS_MNEMONIC_MOVLPS: case ZYDIS_MNEMONIC_MOVHPS:
	case ZYDIS_MNEMONIC_MOVLPD: case ZYDIS_MNEMONIC_MOVHPD: case ZYDIS_MNEMONIC_MOVNTPS:
	case ZYDIS_MNEMONIC_MOVNTPD: case ZYDIS_MNEMONIC_MOVNTDQ: case ZYDIS_MNEMONIC_MOVNTDQA:
	case ZYDIS_MNEMONIC_VMOVAPS: case ZYDIS_MNEMONIC_VMOVUPS: case ZYDIS_MNEMONIC_VMOVAPD:
	case ZYDIS_MNEMONIC_VMOVUPD: case ZYDIS_MNEMONIC_VMOVDQA: case ZYDIS_MNEMONIC_VMOVDQU:
	case ZYDIS_MNEMONIC_VLDDQU: case ZYDIS_MNEMONIC_VMOVD: case ZYDIS_MNEMONIC_VMOVQ:
	case ZYDIS_MNEMONIC_VMOVSS: case ZYDIS_MNEMONIC_VMOVSD: case ZYDIS_MNEMONIC_VMOVNTPS:
	case ZYDIS_MNEMONIC_VMOVNTPD: case ZYDIS_MNEMONIC_VMOVNTDQ: case ZYDIS_MNEMONIC_VMOVNTDQA:
		return MOTE_OP_MOVV;
	case ZYDIS_MNEMONIC_ADD: return MOTE_OP_ADD;
	case ZYDIS_MNEMONIC_OR: return MOTE_OP_OR;
	case ZYDIS_MNEMONIC_ADC: return MOTE_OP_ADC;
	case ZYDIS_MNEMONIC_SBB: return MOTE_OP_SBB;
	case ZYDIS_MNEMONIC_AND: return MOTE_OP_AND;
	case ZYDIS_MNEMONIC_SUB: return MOTE_OP_SUB;
	case ZYDIS_MNEMONIC_XOR: return MOTE_OP_XOR;
	case ZYDIS_MNEMONIC_CMP: return MOTE_OP_CMP;
	case ZYDIS_MNEMONIC_TEST: return MOTE_OP_TEST;
	case ZYDIS_MNEMONIC_NOT: return MOTE_OP_NOT;
	case ZYDIS_MNEMONIC_NEG: return MOTE_OP_NEG;
	case ZYDIS_MNEMONIC_INC: return MOTE_OP_INC;
	case ZYDIS_MNEMONIC_DEC: return MOTE_OP_DEC;
	case ZYDIS_MNEMONIC_XCHG: return MOTE_OP_XCHG;
	case ZYDIS_MNEMONIC_XADD: return MOTE_OP_XADD;
	case ZYDIS_MNEMONIC_CMPXCHG: return MOTE_OP_CMPXCHG;
	case ZYDIS_MNEMONIC_BT: return MOTE_OP_BT;
	case ZYDIS_MNEMONIC_BTS: return MOTE_OP_BTS;
	case ZYDIS_MNEMONIC_BTR: return MOTE_OP_BTR;
	case ZYDIS_MNEMONIC_BTC: return MOTE_OP_BTC;
	case ZYDIS_MNEMONIC_PUSH: return MOTE_OP_PUSH;
	case ZYDIS_MNEMONIC_POP: return MOTE_OP_POP;
	case ZYDIS_MNEMONIC_MOVSB: case ZYDIS_MNEMONIC_MOVSW:
	case ZYDIS_MNEMONIC_MOVSD: case ZYDIS_MNEMONIC_MOVSQ:
		return MOTE_OP_MOVS;
	case ZYDIS_MNEMONIC_CMPSB: case ZYDIS_MNEMONIC_CMPSW:
	case ZYDIS_MNEMONIC_CMPSD: case ZYDIS_MNEMONIC_CMPSQ:
		return MOTE_OP_CMPS;
	case ZYDIS_MNEMONIC_STOSB: case ZYDIS_MNEMONIC_STOSW:
	case ZYDIS_MNEMONIC_STOSD: case ZYDIS_MNEMONIC_STOSQ:
		return MOTE_OP_STOS;
	case ZYDIS_MNEMONIC_LODSB: case ZYDIS_MNEMONIC_LODSW:
	case ZYDIS_MNEMONIC_LODSD: case ZYDIS_MNEMONIC_LODSQ:
		return MOTE_OP_LODS;
	case ZYDIS_MNEMONIC_SCASB: case ZYDIS_MNEMONIC_SCASW:
	case ZYDIS_MNEMONIC_SCASD: case ZYDIS_MNEMONIC_SCASQ:
		return MOTE_OP_SCAS;
	case ZYDIS_MNEMONIC_INSB: case ZYDIS_MNEMONIC_INSW: case ZYDIS_MNEMONIC_INSD:
		return MOTE_OP_INS;
	case ZYDIS_MNEMONIC_OUTSB: case ZYDIS_MNEMONIC_OUTSW: case ZYDIS_MNEMONIC_OUTSD:
		return MOTE_OP_OUTS;
	default:
		return NOT_KNOWN;
	}
}

/* Number of a general register, for addresses and operands. */
static __u8 gpr_of(ZydisRegister reg)
{
	if (reg >= ZYDIS_REGISTER_RAX && reg <= ZYDIS_REGISTER_R15)
		return reg - ZYDIS_REGISTER_RAX;
	if (reg >= ZYDIS_REGISTER_EAX && reg <= ZYDIS_REGISTER_R15D)
		return reg - ZYDIS_REGISTER_EAX;
	if (reg >= ZYDIS_REGISTER_AX && reg <= ZYDIS_REGISTER_R15W)
		return reg - ZYDIS_REGISTER_AX;
	if (reg >= ZYDIS_REGISTER_SPL && reg <= ZYDIS_REGISTER_R15B)
		return reg - ZYDIS_REGISTER_SPL + MOTE_RSP;
	if (reg >= ZYDIS_REGISTER_AL && reg <= ZYDIS_REGISTER_BH)
		return (reg - ZYDIS_REGISTER_AL) & 3;
	return reg == ZYDIS_REGISTER_RIP || reg == ZYDIS_REGISTER_EIP ? MOTE_REG_RIP : MOTE_REG_NONE;
}

static int register_operand(struct mote_operand *operand, ZydisRegister reg)
{
	if (reg >= ZYDIS_REGISTER_AH && reg <= ZYDIS_REGISTER_BH) {
		operand->kind = MOTE_OPERAND_GPR_HIGH;
		operand->reg = reg - ZYDIS_REGISTER_AH;
	} else if (reg >= ZYDIS_REGISTER_XMM0 && reg <= ZYDIS_REGISTER_XMM15) {
		operand->kind = MOTE_OPERAND_VECTOR;
		operand->reg = reg - ZYDIS_REGISTER_XMM0;
	} else if (reg >= ZYDIS_REGISTER_YMM0 && reg <= ZYDIS_REGISTER_YMM15) {
		operand->kind = MOTE_OPERAND_VECTOR;
		operand->reg = reg - ZYDIS_REGISTER_YMM0;
	} else if (reg >= ZYDIS_REGISTER_ES && reg <= ZYDIS_REGISTER_GS) {
		operand->kind = MOTE_OPERAND_SEGMENT;
		operand->reg = reg - ZYDIS_REGISTER_ES;
	} else {
		operand->kind = MOTE_OPERAND_GPR;
		operand->reg = gpr_of(reg);
		if (operand->reg >= MOTE_NR_GPRS)
			return -EOPNOTSUPP;
	}
	return 0;
}

static void memory_operand(struct mote_insn *insn, const ZydisDecodedOperand *from)
{
	insn->segment = from->mem.segment - ZYDIS_REGISTER_ES;
	insn->base = gpr_of(from->mem.base);
	insn->index = gpr_of(from->mem.index);
	insn->scale = from->mem.scale;
	insn->displacement = from->mem.disp.value;
	insn->writes |= from->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE;
}

static int add_operand(struct mote_insn *insn, int n, const ZydisDecodedOperand *from)
{
	struct mote_operand *operand = &insn->operands[n];

	operand->size = from->size / 8;
	switch (from->type) {
	case ZYDIS_OPERAND_TYPE_REGISTER:
		return register_operand(operand, from->reg.value);
	case ZYDIS_OPERAND_TYPE_IMMEDIATE:
		operand->kind = MOTE_OPERAND_IMMEDIATE;
		insn->immediate = from->imm.value.u;
		return 0;
	case ZYDIS_OPERAND_TYPE_MEMORY:
		operand->kind = MOTE_OPERAND_MEMORY;
		memory_operand(insn, from);
		return 0;
	default:
		return -EOPNOTSUPP;
	}
}

/* Which part of the register a vector move is about, and what becomes of the rest. */
static int vector_move(struct mote_insn *insn, const ZydisDecodedInstruction *from)
{
	const struct mote_operand *to = &insn->operands[0], *source = &insn->operands[1];

	if (from->encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY &&
	    from->encoding != ZYDIS_INSTRUCTION_ENCODING_VEX)
		return -EOPNOTSUPP;
	if ((to->kind == MOTE_OPERAND_MEMORY) == (source->kind == MOTE_OPERAND_MEMORY) ||
	    (to->kind != MOTE_OPERAND_VECTOR && source->kind != MOTE_OPERAND_VECTOR))
		return -EOPNOTSUPP;
	insn->vex = from->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX;
	switch (from->mnemonic) {
	case ZYDIS_MNEMONIC_MOVHPS: case ZYDIS_MNEMONIC_MOVHPD:
		insn->offset = 8;
		insn->merge = true;
		break;
	case ZYDIS_MNEMONIC_MOVLPS: case ZYDIS_MNEMONIC_MOVLPD:
		insn->merge = true;
		break;
	default:
		break;
	}
	return 0;
}

/* String instructions: operands are implied; the size is that of any, the segment the source's. */
static int string_insn(struct mote_insn *insn, const ZydisDecodedInstruction *from,
		       const ZydisDecodedOperand *operands)
{
	insn->segment = MOTE_DS;
	for (int i = 0; i < from->operand_count; i++) {
		const ZydisDecodedOperand *operand = &operands[i];

		if (operand->type != ZYDIS_OPERAND_TYPE_MEMORY)
			continue;
		insn->operands[0].size = operand->size / 8;
		if (gpr_of(operand->mem.base) == MOTE_RSI)
			insn->segment = operand->mem.segment - ZYDIS_REGISTER_ES;
	}
	insn->repne = from->attributes & ZYDIS_ATTRIB_HAS_REPNE;
	insn->rep = insn->repne ||
		    from->attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE);
	return 0;
}

static int plain_insn(struct mote_insn *insn, const ZydisDecodedInstruction *from,
		      const ZydisDecodedOperand *operands)
{
	int err = 0, memory = 0;

	if (from->operand_count_visible > 2)
		return -EOPNOTSUPP;
	for (int i = 0; i < from->operand_count_visible && !err; i++) {
		err = add_operand(insn, i, &operands[i]);
		memory += insn->operands[i].kind == MOTE_OPERAND_MEMORY;
	}
	if (err || memory != 1)
		return -EOPNOTSUPP;
	if (insn->op == MOTE_OP_MOVV)
		return vector_move(insn, from);
	/* Loading a segment register is more than a move. */
	if (insn->operands[0].kind == MOTE_OPERAND_SEGMENT)
		return -EOPNOTSUPP;
	if (insn->operands[0].kind == MOTE_OPERAND_VECTOR ||
	    insn->operands[1].kind == MOTE_OPERAND_VECTOR || insn->operands[0].size > 8)
		return -EOPNOTSUPP;
	return 0;
}

static void init_decoder(ZydisDecoder *decoder, unsigned int bits)
{
	if (bits == 64)
		ZydisDecoderInit(decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	else if (bits == 32)
		ZydisDecoderInit(decoder, ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32);
	else
		ZydisDecoderInit(decoder, ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16);
}

int mote_decode(struct mote_insn *insn, const __u8 *bytes, unsigned int len, unsigned int bits)
{
	ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
	ZydisDecodedInstruction from;
	ZydisDecoder decoder;
	int op;

	memset(insn, 0, sizeof(*insn));
	init_decoder(&decoder, bits);
	if (ZYAN_FAILED(ZydisDecoderDecodeFull(&decoder, bytes, len, &from, operands)))
		return -EOPNOTSUPP;
	op = op_of(from.mnemonic);
	/* MOVSD is two instructions of one name. */
	if (from.mnemonic == ZYDIS_MNEMONIC_MOVSD && from.meta.category != ZYDIS_CATEGORY_STRINGOP)
		op = MOTE_OP_MOVV;
	if (op == NOT_KNOWN)
		return -EOPNOTSUPP;
	memcpy(insn->bytes, bytes, from.length);
	insn->bits = bits;
	insn->length = from.length;
	insn->op = op;
	insn->address_size = from.address_width / 8;
	return MOTE_OP_IS_STRING(op) ? string_insn(insn, &from, operands) :
				       plain_insn(insn, &from, operands);
}
