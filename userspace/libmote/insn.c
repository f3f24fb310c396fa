// SPDX-License-Identifier: GPL-2.0
/* libmote: from Zydis's description of an instruction to ours. */
#include <errno.h>
#include <string.h>

#include <Zydis/Zydis.h>

#include "insn.h"
#include "libmote.h"
#include "native.h"

#define NOT_KNOWN -1

/* What a mnemonic does, or NOT_KNOWN. */
static int op_of(ZydisMnemonic mnemonic)
{
	switch (mnemonic) {
	case ZYDIS_MNEMONIC_MOV: case ZYDIS_MNEMONIC_MOVZX: case ZYDIS_MNEMONIC_MOVNTI:
	case ZYDIS_MNEMONIC_MOVDIRI: case ZYDIS_MNEMONIC_XLAT:
		return MOTE_OP_MOV;
	case ZYDIS_MNEMONIC_MOVSX: case ZYDIS_MNEMONIC_MOVSXD:
		return MOTE_OP_MOVSX;
	case ZYDIS_MNEMONIC_MOVBE:
		return MOTE_OP_MOVBE;
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
	case ZYDIS_MNEMONIC_CALL: return MOTE_OP_CALL;
	case ZYDIS_MNEMONIC_JMP: return MOTE_OP_JMP;
	case ZYDIS_MNEMONIC_RET: return MOTE_OP_RET;
	case ZYDIS_MNEMONIC_ENTER: return MOTE_OP_ENTER;
	case ZYDIS_MNEMONIC_LEAVE: return MOTE_OP_LEAVE;
	case ZYDIS_MNEMONIC_PUSHA: case ZYDIS_MNEMONIC_PUSHAD: return MOTE_OP_PUSHA;
	case ZYDIS_MNEMONIC_POPA: case ZYDIS_MNEMONIC_POPAD: return MOTE_OP_POPA;
	case ZYDIS_MNEMONIC_PUSHF: case ZYDIS_MNEMONIC_PUSHFD: case ZYDIS_MNEMONIC_PUSHFQ:
		return MOTE_OP_PUSHF;
	case ZYDIS_MNEMONIC_LES: return MOTE_OP_LES;
	case ZYDIS_MNEMONIC_LDS: return MOTE_OP_LDS;
	case ZYDIS_MNEMONIC_LFS: return MOTE_OP_LFS;
	case ZYDIS_MNEMONIC_LGS: return MOTE_OP_LGS;
	case ZYDIS_MNEMONIC_SGDT: return MOTE_OP_SGDT;
	case ZYDIS_MNEMONIC_SIDT: return MOTE_OP_SIDT;
	case ZYDIS_MNEMONIC_SLDT: return MOTE_OP_SLDT;
	case ZYDIS_MNEMONIC_STR: return MOTE_OP_STR;
	case ZYDIS_MNEMONIC_SMSW: return MOTE_OP_SMSW;
	case ZYDIS_MNEMONIC_CLFLUSH: return MOTE_OP_NOTHING;
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

/* What any other instruction does, by its category, or NOT_KNOWN. */
static int op_of_category(ZydisInstructionCategory category)
{
	switch (category) {
	case ZYDIS_CATEGORY_ADOX_ADCX: case ZYDIS_CATEGORY_AES: case ZYDIS_CATEGORY_AMD3DNOW:
	case ZYDIS_CATEGORY_AVX: case ZYDIS_CATEGORY_AVX2: case ZYDIS_CATEGORY_AVX512:
	case ZYDIS_CATEGORY_AVX512_BITALG: case ZYDIS_CATEGORY_AVX512_VBMI:
	case ZYDIS_CATEGORY_AVX512_VP2INTERSECT: case ZYDIS_CATEGORY_BINARY:
	case ZYDIS_CATEGORY_BITBYTE: case ZYDIS_CATEGORY_BLEND: case ZYDIS_CATEGORY_BMI1:
	case ZYDIS_CATEGORY_BMI2: case ZYDIS_CATEGORY_BROADCAST: case ZYDIS_CATEGORY_CMOV:
	case ZYDIS_CATEGORY_COMPRESS: case ZYDIS_CATEGORY_CONFLICT: case ZYDIS_CATEGORY_CONVERT:
	case ZYDIS_CATEGORY_DATAXFER: case ZYDIS_CATEGORY_EXPAND: case ZYDIS_CATEGORY_FMA4:
	case ZYDIS_CATEGORY_FP16: case ZYDIS_CATEGORY_GFNI: case ZYDIS_CATEGORY_IFMA:
	case ZYDIS_CATEGORY_KMASK: case ZYDIS_CATEGORY_LOGICAL: case ZYDIS_CATEGORY_LOGICAL_FP:
	case ZYDIS_CATEGORY_LZCNT: case ZYDIS_CATEGORY_MMX: case ZYDIS_CATEGORY_PCLMULQDQ:
	case ZYDIS_CATEGORY_ROTATE: case ZYDIS_CATEGORY_SEMAPHORE: case ZYDIS_CATEGORY_SETCC:
	case ZYDIS_CATEGORY_SHA: case ZYDIS_CATEGORY_SHIFT: case ZYDIS_CATEGORY_SSE:
	case ZYDIS_CATEGORY_STTNI: case ZYDIS_CATEGORY_TBM: case ZYDIS_CATEGORY_VAES:
	case ZYDIS_CATEGORY_VBMI2: case ZYDIS_CATEGORY_VPCLMULQDQ:
	case ZYDIS_CATEGORY_VEX: case ZYDIS_CATEGORY_VFMA: case ZYDIS_CATEGORY_X87_ALU:
		return MOTE_OP_NATIVE;
	case ZYDIS_CATEGORY_CLDEMOTE: case ZYDIS_CATEGORY_CLFLUSHOPT: case ZYDIS_CATEGORY_CLWB:
	case ZYDIS_CATEGORY_PREFETCH: case ZYDIS_CATEGORY_PREFETCHWT1: case ZYDIS_CATEGORY_WIDENOP:
		return MOTE_OP_NOTHING;
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

/* It would keep interrupts away for an instruction more. */
static bool loads_ss(const struct mote_insn *insn)
{
	return insn->operands[0].kind == MOTE_OPERAND_SEGMENT && insn->operands[0].reg == MOTE_SS;
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
	if (loads_ss(insn))
		return -EOPNOTSUPP;
	return insn->operands[0].size > 10 ? -EOPNOTSUPP : 0;
}

/* The stack is implied; there may be one operand more. */
static int stack_insn(struct mote_insn *insn, const ZydisDecodedInstruction *from,
		      const ZydisDecodedOperand *operands)
{
	int err = 0;

	if (from->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR)
		return -EOPNOTSUPP;
	insn->stack_size = from->operand_width / 8;
	for (int i = 0; i < from->operand_count_visible && !err; i++)
		err = add_operand(insn, i, &operands[i]);
	/* Levels of ENTER are many accesses. */
	if ((insn->op == MOTE_OP_POP && loads_ss(insn)) ||
	    (insn->op == MOTE_OP_ENTER && operands[1].imm.value.u))
		return -EOPNOTSUPP;
	if (insn->op == MOTE_OP_ENTER)
		insn->immediate = operands[0].imm.value.u;
	return err;
}

/* The table of translations is at RBX; AL is zero-extended. */
static int xlat_insn(struct mote_insn *insn, const ZydisDecodedInstruction *from,
		     const ZydisDecodedOperand *operands)
{
	for (int i = 0; i < from->operand_count; i++)
		if (operands[i].type == ZYDIS_OPERAND_TYPE_MEMORY)
			memory_operand(insn, &operands[i]);
	insn->operands[0] = (struct mote_operand) { MOTE_OPERAND_GPR, MOTE_RAX, 1 };
	insn->operands[1] = (struct mote_operand) { MOTE_OPERAND_MEMORY, 0, 1 };
	insn->base = MOTE_RBX;
	insn->index = MOTE_REG_AL;
	insn->scale = 1;
	return 0;
}

/* ---- by this machine's CPU ------------------------------------------------------------ */

static bool is_gpr(ZydisRegister reg)
{
	return gpr_of(reg) < MOTE_NR_GPRS;
}

/* Does an instruction concern what XSAVE keeps, if only MXCSR, which is not always an operand? */
static bool has_fpu(ZydisISAExt extension)
{
	switch (extension) {
	case ZYDIS_ISA_EXT_BASE: case ZYDIS_ISA_EXT_LONGMODE: case ZYDIS_ISA_EXT_ADOX_ADCX:
	case ZYDIS_ISA_EXT_BMI1: case ZYDIS_ISA_EXT_BMI2: case ZYDIS_ISA_EXT_LZCNT:
	case ZYDIS_ISA_EXT_TBM:
		return false;
	default:
		return true;
	}
}

/* The one memory operand, or NULL: there is none, or there are others. */
static const ZydisDecodedOperand *only_memory(const ZydisDecodedInstruction *from,
					      const ZydisDecodedOperand *operands)
{
	const ZydisDecodedOperand *found = NULL;

	for (int i = 0; i < from->operand_count; i++) {
		if (operands[i].type != ZYDIS_OPERAND_TYPE_MEMORY)
			continue;
		if (found || operands[i].mem.type != ZYDIS_MEMOP_TYPE_MEM)
			return NULL;
		found = &operands[i];
	}
	return found;
}

/* A register below R8, for which REX is not needed, that is not in @used, and is then; or none. */
static __u8 free_register(__u32 *used)
{
	static const __u8 order[] = { MOTE_RSI, MOTE_RDI, MOTE_RBX, MOTE_RDX, MOTE_RCX, MOTE_RAX };

	for (unsigned int n = 0; n < sizeof(order); n++) {
		if (*used & 1u << order[n])
			continue;
		*used |= 1u << order[n];
		return order[n];
	}
	return MOTE_REG_NONE;
}

/* Registers that the instruction names or implies, and RSP; apart from its address. */
static __u32 used_registers(const ZydisDecodedInstruction *from, const ZydisDecodedOperand *operands)
{
	__u32 used = 0;

	for (int i = 0; i < from->operand_count; i++)
		if (operands[i].type == ZYDIS_OPERAND_TYPE_REGISTER && is_gpr(operands[i].reg.value))
			used |= 1u << gpr_of(operands[i].reg.value);
	return used;
}

/* Another operand for the encoder: RSP is the host's, memory is at the base. */
static void replace_operand(const struct mote_native_insn *native, ZydisEncoderOperand *operand)
{
	ZydisRegister reg = operand->reg.value;

	if (operand->type == ZYDIS_OPERAND_TYPE_MEMORY) {
		operand->mem.base = ZYDIS_REGISTER_RAX + native->base;
		operand->mem.index = ZYDIS_REGISTER_NONE;
		operand->mem.scale = 0;
		operand->mem.displacement = 0;
	} else if (operand->type == ZYDIS_OPERAND_TYPE_REGISTER && is_gpr(reg) &&
		   gpr_of(reg) == MOTE_RSP) {
		operand->reg.value = ZydisRegisterEncode(ZydisRegisterGetClass(reg), native->rsp);
	}
}

/* Is an operand of the new encoding the old one's, which replace_operand() has seen? */
static bool is_replaced(const struct mote_native_insn *native, const ZydisDecodedOperand *to,
			const ZydisDecodedOperand *from)
{
	if (to->type != from->type || to->size != from->size)
		return false;
	switch (to->type) {
	case ZYDIS_OPERAND_TYPE_REGISTER:
		if (is_gpr(from->reg.value) && gpr_of(from->reg.value) == MOTE_RSP)
			return gpr_of(to->reg.value) == native->rsp;
		return to->reg.value == from->reg.value;
	case ZYDIS_OPERAND_TYPE_IMMEDIATE:
		return to->imm.value.u == from->imm.value.u;
	case ZYDIS_OPERAND_TYPE_MEMORY:
		return to->mem.index == ZYDIS_REGISTER_NONE && !to->mem.disp.value;
	default:
		return false;
	}
}

/* Is the new encoding what it is meant to be, whatever the encoder thought? */
static bool is_encoded(const struct mote_native_insn *native, const ZydisDecodedInstruction *from,
		       const ZydisDecodedOperand *operands)
{
	ZydisDecodedOperand now[ZYDIS_MAX_OPERAND_COUNT];
	ZydisDecodedInstruction to;
	ZydisDecoder decoder;

	ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	if (ZYAN_FAILED(ZydisDecoderDecodeFull(&decoder, native->code, native->length, &to, now)) ||
	    to.mnemonic != from->mnemonic || to.length != native->length || to.address_width != 64 ||
	    to.operand_count_visible != from->operand_count_visible || !only_memory(&to, now) ||
	    used_registers(&to, now) & 1u << MOTE_RSP ||
	    to.attributes & (ZYDIS_ATTRIB_HAS_SEGMENT_FS | ZYDIS_ATTRIB_HAS_SEGMENT_GS))
		return false;
	for (int i = 0; i < to.operand_count_visible; i++)
		if (!is_replaced(native, &now[i], &operands[i]))
			return false;
	return only_memory(&to, now)->size == native->size * 8 &&
	       gpr_of(only_memory(&to, now)->mem.base) == native->base;
}

static int encode(struct mote_native_insn *native, const ZydisDecodedInstruction *from,
		  const ZydisDecodedOperand *operands)
{
	ZyanUSize length = sizeof(native->code);
	ZydisEncoderRequest request;
	ZyanStatus status = ZydisEncoderDecodedInstructionToEncoderRequest(from, operands,
									   from->operand_count_visible,
									   &request);

	if (ZYAN_FAILED(status))
		return -EOPNOTSUPP;
	request.machine_mode = ZYDIS_MACHINE_MODE_LONG_64;
	request.prefixes = 0;
	request.address_size_hint = ZYDIS_ADDRESS_SIZE_HINT_64;
	for (int i = 0; i < request.operand_count; i++)
		replace_operand(native, &request.operands[i]);
	if (ZYAN_FAILED(ZydisEncoderEncodeInstruction(&request, native->code, &length)))
		return -EOPNOTSUPP;
	native->length = length;
	return is_encoded(native, from, operands) ? 0 : -EOPNOTSUPP;
}

static int native_insn(struct mote_insn *insn, const ZydisDecodedInstruction *from,
		       const ZydisDecodedOperand *operands)
{
	const ZydisDecodedOperand *memory = only_memory(from, operands);
	__u32 used = used_registers(from, operands);
	struct mote_native_insn *native = &insn->native;

	if (!memory || !memory->size || memory->size > MOTE_NATIVE_OPERAND * 8)
		return -EOPNOTSUPP;
	memory_operand(insn, memory);
	native->size = memory->size / 8;
	native->reads = memory->actions & ZYDIS_OPERAND_ACTION_MASK_READ;
	native->fpu = has_fpu(from->meta.isa_ext);
	native->x87 = from->meta.isa_ext == ZYDIS_ISA_EXT_X87;
	native->base = memory->visibility == ZYDIS_OPERAND_VISIBILITY_EXPLICIT ? free_register(&used) :
								 gpr_of(memory->mem.base);
	native->rsp = used & 1u << MOTE_RSP ? free_register(&used) : MOTE_REG_NONE;
	if (native->base >= MOTE_NR_GPRS || (used & 1u << MOTE_RSP && native->rsp == MOTE_REG_NONE))
		return -EOPNOTSUPP;
	native->fop = (from->opcode & 7) << 8 | from->raw.modrm.mod << 6 | from->raw.modrm.reg << 3 |
		      from->raw.modrm.rm;
	return encode(native, from, operands);
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

static int insn_of(struct mote_insn *insn, const ZydisDecodedInstruction *from,
		   const ZydisDecodedOperand *operands)
{
	if (MOTE_OP_IS_STRING(insn->op))
		return string_insn(insn, from, operands);
	if (from->mnemonic == ZYDIS_MNEMONIC_XLAT)
		return xlat_insn(insn, from, operands);
	if (MOTE_OP_IS_STACK(insn->op))
		return stack_insn(insn, from, operands);
	if (insn->op == MOTE_OP_NOTHING)
		return 0;
	if (insn->op == MOTE_OP_NATIVE)
		return native_insn(insn, from, operands);
	return plain_insn(insn, from, operands);
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
	/* MOVSD and CMPSD are two instructions of one name each. */
	if (op == NOT_KNOWN || (MOTE_OP_IS_STRING(op) &&
				from.meta.category != ZYDIS_CATEGORY_STRINGOP &&
				from.meta.category != ZYDIS_CATEGORY_IOSTRINGOP))
		op = op_of_category(from.meta.category);
	if (op == NOT_KNOWN)
		return -EOPNOTSUPP;
	memcpy(insn->bytes, bytes, from.length);
	insn->bits = bits;
	insn->length = from.length;
	insn->op = op;
	insn->address_size = from.address_width / 8;
	return insn_of(insn, &from, operands);
}

void mote_insn_name(const __u8 *bytes, unsigned int len, unsigned int bits, char *text, unsigned int size)
{
	const char *name = "(bad)";
	ZydisDecodedInstruction from;
	ZydisDecoder decoder;

	init_decoder(&decoder, bits);
	if (ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(&decoder, NULL, bytes, len, &from)))
		name = ZydisMnemonicGetString(from.mnemonic);
	strncpy(text, name, size - 1);
	text[size - 1] = 0;
}
