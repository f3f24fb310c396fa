// SPDX-License-Identifier: GPL-2.0
/*
 * Blocks are found by reading a function from its first instruction to its last: Debian's kernel has no
 * tables of jumps (CONFIG_RETPOLINE), so that each block begins the function, is where a direct jump
 * goes, or follows one.
 */
#include <stdlib.h>
#include <string.h>
#include <Zydis/Zydis.h>

#include "cover.h"

#define HLT 0xf4
#define FUNCTION_MOST 65536

static int compare(const void *a, const void *b)
{
	const struct block *one = a, *other = b;

	return one->gva < other->gva ? -1 : one->gva > other->gva;
}

void cover_add_block(struct cover *cover, __u64 gva)
{
	struct block *blocks = realloc(cover->blocks, (cover->nr + 1) * sizeof(*blocks));

	if (!blocks)
		die("no memory");
	cover->blocks = blocks;
	blocks[cover->nr++] = (struct block) { .gva = gva };
}

static bool ends_block(const ZydisDecodedInstruction *insn)
{
	return insn->meta.category == ZYDIS_CATEGORY_COND_BR || insn->meta.category == ZYDIS_CATEGORY_RET ||
	       insn->meta.category == ZYDIS_CATEGORY_UNCOND_BR;
}

/* What stands between functions, and is never reached. */
static bool is_padding(const ZydisDecodedInstruction *insn)
{
	return insn->mnemonic == ZYDIS_MNEMONIC_INT3 || insn->mnemonic == ZYDIS_MNEMONIC_NOP;
}

static void read_code(struct guest *guest, __u64 gva, unsigned char *code, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		unsigned char *byte = guest_at(guest, gva + i);

		if (!byte)
			die("there is no code at %#llx", gva + i);
		code[i] = *byte;
	}
}

void cover_add_function(struct cover *cover, struct guest *guest, __u64 begin, __u64 end)
{
	static unsigned char code[FUNCTION_MOST];
	ZydisDecodedInstruction insn;
	ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
	ZydisDecoder decoder;
	bool begins = true;
	__u64 size = end - begin;
	ZyanU64 target;

	if (size > sizeof(code))
		die("a function of %llu bytes", size);
	read_code(guest, begin, code, size);
	ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	for (__u64 at = 0; at < size; at += insn.length) {
		if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, code + at, size - at, &insn, operands)))
			return;
		if (begins && !is_padding(&insn))
			cover_add_block(cover, begin + at);
		begins = ends_block(&insn) || (begins && is_padding(&insn));
		if (ends_block(&insn) && operands[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE &&
		    ZYAN_SUCCESS(ZydisCalcAbsoluteAddress(&insn, &operands[0], begin + at, &target)) &&
		    target >= begin && target < end)
			cover_add_block(cover, target);
	}
}

void cover_arm(struct cover *cover, struct guest *guest)
{
	size_t nr = 0;

	qsort(cover->blocks, cover->nr, sizeof(cover->blocks[0]), compare);
	for (size_t i = 0; i < cover->nr; i++)
		if (!nr || cover->blocks[nr - 1].gva != cover->blocks[i].gva)
			cover->blocks[nr++] = cover->blocks[i];
	cover->nr = nr;
	for (size_t i = 0; i < nr; i++) {
		struct block *block = &cover->blocks[i];

		block->code = guest_at(guest, block->gva);
		block->byte = *block->code;
		*block->code = HLT;
	}
}

long cover_hit(struct cover *cover, struct guest *guest)
{
	const struct block wanted = { .gva = guest->cpu.run->rip };
	struct block *block = bsearch(&wanted, cover->blocks, cover->nr, sizeof(wanted), compare);

	if (!block)
		return -1;
	*block->code = block->byte;
	mote_machine_wrote(&guest->machine, block->code, 1);
	return block - cover->blocks;
}
