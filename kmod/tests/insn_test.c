// SPDX-License-Identifier: GPL-2.0
/* Lengths of instructions, and walks of guest page tables in every mode. */
#include <kunit/test.h>
#include <linux/module.h>

#include "../quirk/insn.c"

/* ---- lengths ----------------------------------------------------------------- */

struct length_case {
	u32 reason;
	bool long_mode;
	u8 nr;
	u8 bytes[MOTE_INSN_MOST + 1];
	int length;
};

static const struct length_case length_cases[] = {
	{ MOTE_EXIT_CPUID, true, 2, { 0x0f, 0xa2 }, 2 },
	{ MOTE_EXIT_CPUID, false, 2, { 0x0f, 0xa2 }, 2 },
	{ MOTE_EXIT_HLT, true, 1, { 0xf4 }, 1 },
	{ MOTE_EXIT_RDMSR, true, 2, { 0x0f, 0x32 }, 2 },
	{ MOTE_EXIT_RDTSC, true, 2, { 0x0f, 0x31 }, 2 },
	{ MOTE_EXIT_WRMSR, true, 2, { 0x0f, 0x30 }, 2 },
	{ MOTE_EXIT_HYPERCALL, true, 3, { 0x0f, 0x01, 0xc1 }, 3 },
	{ MOTE_EXIT_HYPERCALL, true, 3, { 0x0f, 0x01, 0xd9 }, 3 },
	{ MOTE_EXIT_XSETBV, true, 3, { 0x0f, 0x01, 0xd1 }, 3 },
	{ MOTE_EXIT_CACHE, true, 2, { 0x0f, 0x08 }, 2 },
	{ MOTE_EXIT_CACHE, true, 2, { 0x0f, 0x09 }, 2 },
	{ MOTE_EXIT_CACHE, true, 3, { 0xf3, 0x0f, 0x09 }, 3 },
	{ MOTE_EXIT_PMC, true, 2, { 0x0f, 0x33 }, 2 },
	{ MOTE_EXIT_MWAIT, true, 3, { 0x0f, 0x01, 0xc8 }, 3 },
	{ MOTE_EXIT_MWAIT, true, 3, { 0x0f, 0x01, 0xc9 }, 3 },
	/* More bytes than the instruction has. */
	{ MOTE_EXIT_HLT, true, 15, { 0xf4, 0xf4, 0xf4 }, 1 },
	{ MOTE_EXIT_CPUID, true, 15, { 0x0f, 0xa2, 0x0f, 0xa2 }, 2 },
	/* Prefixes, one of each kind, repeated, and in any order. */
	{ MOTE_EXIT_CPUID, false, 13,
	  { 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf2, 0xf3, 0x66, 0x0f, 0xa2 }, 13 },
	{ MOTE_EXIT_CPUID, true, 4, { 0x66, 0x48, 0x0f, 0xa2 }, 4 },
	{ MOTE_EXIT_CPUID, true, 4, { 0x48, 0x66, 0x0f, 0xa2 }, 4 },
	{ MOTE_EXIT_CPUID, true, 4, { 0x40, 0x4f, 0x0f, 0xa2 }, 4 },
	/* Outside of long mode 40 to 4f are INC and DEC. */
	{ MOTE_EXIT_CPUID, false, 3, { 0x48, 0x0f, 0xa2 }, -EINVAL },
	/* LOCK is #UD. */
	{ MOTE_EXIT_CPUID, true, 3, { 0xf0, 0x0f, 0xa2 }, -EINVAL },
	/* PAUSE is F3 90, not NOP. */
	{ MOTE_EXIT_PAUSE, true, 2, { 0xf3, 0x90 }, 2 },
	{ MOTE_EXIT_PAUSE, true, 3, { 0x66, 0xf3, 0x90 }, 3 },
	{ MOTE_EXIT_PAUSE, true, 3, { 0xf3, 0x48, 0x90 }, 3 },
	{ MOTE_EXIT_PAUSE, true, 3, { 0x41, 0xf3, 0x90 }, 3 },
	{ MOTE_EXIT_PAUSE, true, 1, { 0x90 }, -EINVAL },
	/* At most 15 bytes. */
	{ MOTE_EXIT_HLT, false, 15, { 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66,
				      0x66, 0x66, 0x66, 0x66, 0xf4 }, 15 },
	{ MOTE_EXIT_HLT, false, 16, { 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66,
				      0x66, 0x66, 0x66, 0x66, 0x66, 0xf4 }, -EINVAL },
	/* Cut off. */
	{ MOTE_EXIT_HLT, true, 0, { 0xf4 }, -EINVAL },
	{ MOTE_EXIT_CPUID, true, 1, { 0x0f, 0xa2 }, -EINVAL },
	{ MOTE_EXIT_XSETBV, true, 2, { 0x0f, 0x01, 0xd1 }, -EINVAL },
	{ MOTE_EXIT_HLT, true, 2, { 0x66, 0x66 }, -EINVAL },
	/* Another instruction than the exit says. */
	{ MOTE_EXIT_CPUID, true, 2, { 0x0f, 0x32 }, -EINVAL },
	{ MOTE_EXIT_RDMSR, true, 2, { 0x0f, 0xa2 }, -EINVAL },
	{ MOTE_EXIT_XSETBV, true, 3, { 0x0f, 0x01, 0xd0 }, -EINVAL },
	{ MOTE_EXIT_PIO, true, 1, { 0xee }, -EINVAL },
};

static void length_test(struct kunit *test)
{
	u32 i;

	for (i = 0; i < ARRAY_SIZE(length_cases); i++) {
		const struct length_case *c = &length_cases[i];

		KUNIT_EXPECT_EQ_MSG(test, c->length,
				    mote_insn_length(c->bytes, c->nr, c->reason, c->long_mode),
				    "case %u", i);
	}
}

/* Every number of every prefix before every opcode, until it gets too long. */
static void length_prefixes_test(struct kunit *test)
{
	static const u8 prefixes[] = { 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf2, 0xf3 };
	const struct opcode *op;
	u8 bytes[32];
	u32 i, nr;

	for (op = opcodes; op < opcodes + ARRAY_SIZE(opcodes); op++) {
		if (op->reason == MOTE_EXIT_PAUSE)
			continue;
		for (i = 0; i < ARRAY_SIZE(prefixes); i++) {
			for (nr = 0; nr <= MOTE_INSN_MOST; nr++) {
				int want = nr + op->len <= MOTE_INSN_MOST ? (int)(nr + op->len) : -EINVAL;

				memset(bytes, prefixes[i], nr);
				memcpy(bytes + nr, op->bytes, op->len);
				KUNIT_EXPECT_EQ(test, want, mote_insn_length(bytes, nr + op->len,
									     op->reason, false));
			}
		}
	}
}

/* ---- walks ------------------------------------------------------------------------ */

#define MAX_CELLS 5

/**
 * struct cell - one page-table entry in guest memory
 * @gpa: where
 * @entry: what
 */
struct cell {
	u64 gpa;
	u64 entry;
};

struct walk_case {
	const char *name;
	u64 cr0, cr3, cr4, efer;
	u64 gva;
	struct cell cells[MAX_CELLS];
	int err;
	u64 gpa;
};

#define PAGING X86_CR0_PG, 0x1000
#define P 1
#define PS 0x80

static const struct walk_case walk_cases[] = {
	{ "no paging", X86_CR0_PE, 0, 0, 0, 0x12345678, {}, 0, 0x12345678 },
	{ "no paging, wraps at 4 GiB", 0, 0, X86_CR4_PAE, 0, 0x100000010, {}, 0, 0x10 },

	{ "32-bit, 4 KiB", PAGING, 0, 0, 0x00403123,
	  { { 0x1004, 0x2000 | P }, { 0x200c, 0xfffff000 | P } }, 0, 0xfffff123 },
	{ "32-bit, PS without CR4.PSE", PAGING, 0, 0, 0x00403123,
	  { { 0x1004, 0x2000 | PS | P }, { 0x200c, 0x5000 | P } }, 0, 0x5123 },
	{ "32-bit, 4 MiB", PAGING, X86_CR4_PSE, 0, 0x00403123,
	  { { 0x1004, 0x00c00000 | PS | P } }, 0, 0x00c03123 },
	{ "32-bit, PSE-36", PAGING, X86_CR4_PSE, 0, 0xffffffff,
	  { { 0x1ffc, 0x00c00000 | 0xab << 13 | PS | P } }, 0, 0xab00ffffff },
	{ "32-bit, no PDE", PAGING, 0, 0, 0x00403123, { { 0x1004, 0x2000 } }, -ENOENT },
	{ "32-bit, no PTE", PAGING, 0, 0, 0x00403123,
	  { { 0x1004, 0x2000 | P }, { 0x200c, 0 } }, -ENOENT },
	{ "32-bit, nothing reads", PAGING, 0, 0, 0x00403123, {}, -EFAULT },
	{ "32-bit, CR3's flags and high half", X86_CR0_PG, 0xf00001018, 0, 0, 0x1123,
	  { { 0x1000, 0x2000 | P }, { 0x2004, 0x3000 | P } }, 0, 0x3123 },

	{ "PAE, 4 KiB", X86_CR0_PG, 0x1020, X86_CR4_PAE, 0, 0xc0201123,
	  { { 0x1038, 0x2000 | P }, { 0x2008, 0x3000 | P }, { 0x3008, 0x8000000abc000000 | P } },
	  0, 0xabc000123 },
	{ "PAE, 2 MiB", X86_CR0_PG, 0x1020, X86_CR4_PAE, 0, 0xc0201123,
	  { { 0x1038, 0x2000 | P }, { 0x2008, 0xabc000000 | PS | P } }, 0, 0xabc001123 },
	{ "PAE, no 1 GiB", X86_CR0_PG, 0x1000, X86_CR4_PAE, 0, 0x123,
	  { { 0x1000, 0x2000 | PS | P }, { 0x2000, 0x200000 | PS | P } }, 0, 0x200123 },
	{ "PAE, no PDPTE", X86_CR0_PG, 0x1000, X86_CR4_PAE, 0, 0x123, { { 0x1000, 0 } }, -ENOENT },

	{ "4-level, 4 KiB", PAGING, X86_CR4_PAE, EFER_LMA, 0xffff808040201123,
	  { { 0x1808, 0x2000 | P }, { 0x2008, 0x3000 | P }, { 0x3008, 0x4000 | P },
	    { 0x4008, 0x800fffffffff0000 | P } }, 0, 0xfffffffff0123 },
	{ "4-level, 2 MiB", PAGING, X86_CR4_PAE, EFER_LMA, 0x8040201123,
	  { { 0x1008, 0x2000 | P }, { 0x2008, 0x3000 | P }, { 0x3008, 0x40000000 | PS | P } },
	  0, 0x40001123 },
	{ "4-level, 2 MiB with PAT", PAGING, X86_CR4_PAE, EFER_LMA, 0x201123,
	  { { 0x1000, 0x2000 | P }, { 0x2000, 0x3000 | P }, { 0x3008, 0x40001000 | PS | P } },
	  0, 0x40001123 },
	{ "4-level, 1 GiB", PAGING, X86_CR4_PAE, EFER_LMA, 0x8040201123,
	  { { 0x1008, 0x2000 | P }, { 0x2008, 0x80000000 | PS | P } }, 0, 0x80201123 },
	{ "4-level, no 512 GiB", PAGING, X86_CR4_PAE, EFER_LMA, 0x123,
	  { { 0x1000, 0x2000 | PS | P }, { 0x2000, 0x40000000 | PS | P } }, 0, 0x40000123 },
	{ "4-level, no PTE", PAGING, X86_CR4_PAE, EFER_LMA, 0,
	  { { 0x1000, 0x2000 | P }, { 0x2000, 0x3000 | P }, { 0x3000, 0x4000 | P },
	    { 0x4000, 0x5000 } }, -ENOENT },
	{ "4-level, PCID", X86_CR0_PG, 0x1fff, X86_CR4_PAE | X86_CR4_PCIDE, EFER_LMA, 0x123,
	  { { 0x1000, 0x2000 | P }, { 0x2000, 0x40000000 | PS | P } }, 0, 0x40000123 },

	{ "5-level, 4 KiB", PAGING, X86_CR4_PAE | X86_CR4_LA57, EFER_LMA, 0xff01008040201123,
	  { { 0x1808, 0x2000 | P }, { 0x2008, 0x3000 | P }, { 0x3008, 0x4000 | P },
	    { 0x4008, 0x5000 | P }, { 0x5008, 0x6000 | P } }, 0, 0x6123 },
	{ "5-level, 1 GiB", PAGING, X86_CR4_PAE | X86_CR4_LA57, EFER_LMA, 0x01008040201123,
	  { { 0x1008, 0x2000 | P }, { 0x2008, 0x3000 | P }, { 0x3008, 0x80000000 | PS | P } },
	  0, 0x80201123 },
};

/* Every read must be of an entry that the case lists, in full. */
static int read_cell(void *context, u64 gpa, void *data, u32 len)
{
	const struct walk_case *c = context;
	u32 i;

	for (i = 0; i < MAX_CELLS; i++) {
		if (c->cells[i].gpa != gpa)
			continue;
		if (len != (c->efer & EFER_LMA || c->cr4 & X86_CR4_PAE ? 8 : 4))
			return -EINVAL;
		memcpy(data, &c->cells[i].entry, len);
		return 0;
	}
	return -EFAULT;
}

static void walk_test(struct kunit *test)
{
	u32 i;

	for (i = 0; i < ARRAY_SIZE(walk_cases); i++) {
		const struct walk_case *c = &walk_cases[i];
		struct mote_cpu_mode mode = { c->cr0, c->cr3, c->cr4, c->efer };
		u64 gpa = 0;

		KUNIT_EXPECT_EQ_MSG(test, c->err, mote_walk_gva(&mode, read_cell, (void *)c,
								c->gva, &gpa), "%s", c->name);
		KUNIT_EXPECT_EQ_MSG(test, c->gpa, gpa, "%s", c->name);
	}
}

/* What pushes or loads TF, or leads to a handler, behind any prefixes, and nothing else. */
static void shows_tf_test(struct kunit *test)
{
	static const u8 one[] = { 0x9c, 0x9d, 0xcc, 0xcd, 0xce, 0xcf, 0xf1 };
	u8 bytes[15] = {};
	u32 i;

	for (i = 0; i < 256; i++) {
		bytes[0] = i;
		KUNIT_EXPECT_EQ(test, mote_insn_shows_tf(bytes, 1, false),
				!!memchr(one, i, sizeof(one)));
	}
	for (i = 0; i < 256; i++) {
		bytes[0] = 0x66;
		bytes[1] = 0x0f;
		bytes[2] = i;
		KUNIT_EXPECT_EQ(test, mote_insn_shows_tf(bytes, 3, false), i == 5 || i == 7);
	}
	KUNIT_EXPECT_FALSE(test, mote_insn_shows_tf(bytes, 2, false));
	KUNIT_EXPECT_FALSE(test, mote_insn_shows_tf(bytes, 0, false));
	memset(bytes, 0x2e, sizeof(bytes));
	KUNIT_EXPECT_FALSE(test, mote_insn_shows_tf(bytes, 15, true));
	bytes[13] = 0x48;
	bytes[14] = 0xcf;
	KUNIT_EXPECT_TRUE(test, mote_insn_shows_tf(bytes, 15, true));
	/* DEC EAX. */
	KUNIT_EXPECT_FALSE(test, mote_insn_shows_tf(bytes, 15, false));
}

static struct kunit_case cases[] = {
	KUNIT_CASE(length_test),
	KUNIT_CASE(length_prefixes_test),
	KUNIT_CASE(walk_test),
	KUNIT_CASE(shows_tf_test),
	{}
};

static struct kunit_suite suite = { .name = "mote_insn", .test_cases = cases };
kunit_test_suite(suite);

MODULE_LICENSE("GPL");
