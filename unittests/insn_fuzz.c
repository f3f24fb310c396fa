// SPDX-License-Identifier: GPL-2.0
/*
 * Instruction lengths, with Zydis as the judge, and walks through page tables
 * of rubbish.
 */
#include <Zydis/Zydis.h>

#include "../kmod/quirk/insn.c"

#include "fuzz.h"

/* ---- lengths ------------------------------------------------------------------- */

static const struct {
	ZydisMnemonic mnemonic;
	u32 reason;
} kinds[] = {
	{ ZYDIS_MNEMONIC_CPUID, MOTE_EXIT_CPUID },
	{ ZYDIS_MNEMONIC_HLT, MOTE_EXIT_HLT },
	{ ZYDIS_MNEMONIC_RDMSR, MOTE_EXIT_RDMSR },
	{ ZYDIS_MNEMONIC_WRMSR, MOTE_EXIT_WRMSR },
	{ ZYDIS_MNEMONIC_VMCALL, MOTE_EXIT_HYPERCALL },
	{ ZYDIS_MNEMONIC_VMMCALL, MOTE_EXIT_HYPERCALL },
	{ ZYDIS_MNEMONIC_XSETBV, MOTE_EXIT_XSETBV },
	{ ZYDIS_MNEMONIC_INVD, MOTE_EXIT_CACHE },
	{ ZYDIS_MNEMONIC_WBINVD, MOTE_EXIT_CACHE },
	{ ZYDIS_MNEMONIC_RDPMC, MOTE_EXIT_PMC },
	{ ZYDIS_MNEMONIC_MONITOR, MOTE_EXIT_MWAIT },
	{ ZYDIS_MNEMONIC_MWAIT, MOTE_EXIT_MWAIT },
	{ ZYDIS_MNEMONIC_PAUSE, MOTE_EXIT_PAUSE },
};

static void fail(const char *what, long long is, long long should_be)
{
	fprintf(stderr, "%s: %#llx, not %#llx\n", what, is, should_be);
	abort();
}

static bool decode(const u8 *bytes, u32 nr, bool long_mode, ZydisDecodedInstruction *insn)
{
	ZydisDecoder decoder;

	ZydisDecoderInit(&decoder,
			 long_mode ? ZYDIS_MACHINE_MODE_LONG_64 : ZYDIS_MACHINE_MODE_LEGACY_32,
			 long_mode ? ZYDIS_STACK_WIDTH_64 : ZYDIS_STACK_WIDTH_32);
	return ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(&decoder, NULL, bytes, nr, insn));
}

static void try_length(const u8 *bytes, u32 nr, bool long_mode)
{
	ZydisDecodedInstruction insn;
	bool decoded = decode(bytes, nr, long_mode, &insn);
	u32 i, reason;

	for (reason = 0; reason < MOTE_NR_EXITS; reason++) {
		int length = mote_insn_length(bytes, nr, reason, long_mode);

		/* With prefixes that make it #UD there is no judge; else the lengths agree. */
		if (length > 0 && decoded && length != insn.length)
			fail("length", length, insn.length);
		if (length == 0 || length > 15 || length > (int)nr)
			fail("length", length, nr);
	}
	for (i = 0; decoded && i < ARRAY_SIZE(kinds); i++)
		if (kinds[i].mnemonic == insn.mnemonic) {
			int length = mote_insn_length(bytes, nr, kinds[i].reason, long_mode);

			if (length != insn.length)
				fail(ZydisMnemonicGetString(insn.mnemonic), length, insn.length);
		}
}

/* Rubbish, and an instruction of each kind behind the prefixes that rubbish selects. */
static void fuzz_lengths(struct fuzz_input *input)
{
	static const u8 prefixes[] = { 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2,
				       0xf3, 0x40, 0x41, 0x48, 0x4f, 0x90 };
	u16 choice = fuzz_u16(input);
	const struct opcode *op = &opcodes[choice % ARRAY_SIZE(opcodes)];
	u32 nr = choice / ARRAY_SIZE(opcodes) % 15, i;
	bool long_mode = choice >> 15;
	u8 bytes[20];

	for (i = 0; i < 16; i++)
		bytes[i] = fuzz_u16(input);
	try_length(bytes, choice % 16, long_mode);
	for (i = 0; i < nr; i++)
		bytes[i] = prefixes[bytes[i] % ARRAY_SIZE(prefixes)];
	memcpy(bytes + nr, op->bytes, op->len);
	try_length(bytes, min(nr + op->len, 15u), long_mode);
}

/* ---- walks ------------------------------------------------------------------------ */

/* Each read takes an entry from the input; a walk reads no more than five. */
struct memory {
	struct fuzz_input *input;
	u32 reads;
	u32 size;
};

static int read_rubbish(void *context, u64 gpa, void *data, u32 len)
{
	struct memory *memory = context;
	u64 entry = 0;
	u32 i;

	if (++memory->reads > 5 || len != memory->size || gpa >> 52 || gpa % len)
		fail("read", gpa, 0);
	for (i = 0; i < 4; i++)
		entry = entry << 16 | fuzz_u16(memory->input);
	memcpy(data, &entry, len);
	return 0;
}

static void fuzz_walk(struct fuzz_input *input)
{
	static const u64 cr4s[] = { 0, X86_CR4_PSE, X86_CR4_PAE, X86_CR4_PAE | X86_CR4_LA57 };
	u16 choice = fuzz_u16(input);
	struct memory memory = { input };
	struct mote_cpu_mode mode = {
		.cr0 = X86_CR0_PE | (choice & 1 ? X86_CR0_PG : 0),
		.cr4 = cr4s[choice >> 1 & 3],
		.efer = choice & 8 ? EFER_LMA : 0,
		.cr3 = (u64)fuzz_u16(input) << 40 | fuzz_u16(input),
	};
	u64 gva = (u64)fuzz_u16(input) << 48 | (u64)fuzz_u16(input) << 24 | fuzz_u16(input);
	u64 gpa = 0;
	int err;

	memory.size = mode.efer || mode.cr4 & X86_CR4_PAE ? 8 : 4;
	err = mote_walk_gva(&mode, read_rubbish, &memory, gva, &gpa);
	if (err && err != -ENOENT)
		fail("walk", err, 0);
	if (!err && ((gpa ^ gva) & 0xfff || gpa >> 52))
		fail("gpa", gpa, gva);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = { data, size };

	while (input.size) {
		fuzz_lengths(&input);
		fuzz_walk(&input);
	}
	return 0;
}
