// SPDX-License-Identifier: GPL-2.0
/* CPUID tables of rubbish, sorted and searched, with a linear search as the judge. */
#include "../kmod/guest/cpuid.c"

#include "fuzz.h"

#define MAX_ROWS 64

static void fail(const char *what)
{
	fprintf(stderr, "%s\n", what);
	abort();
}

static const struct mote_cpuid_entry *find_linear(const struct mote_cpuid_entry *rows, u32 nr,
						  u32 leaf, u32 subleaf)
{
	for (; nr; nr--, rows++)
		if (rows->leaf == leaf && (!rows->flags || rows->subleaf == subleaf))
			return rows;
	return NULL;
}

/* A table as it was given is refused just if two rows answer for the same. */
static bool is_ambiguous(const struct mote_cpuid_entry *rows, u32 nr)
{
	u32 i, j;

	for (i = 0; i < nr; i++)
		for (j = 0; j < i; j++)
			if (rows[i].leaf == rows[j].leaf &&
			    (!rows[i].flags || !rows[j].flags || rows[i].subleaf == rows[j].subleaf))
				return true;
	return false;
}

static void fuzz_host_cpuid(const void *unused, u32 leaf, u32 subleaf, u32 regs[4])
{
	(void)unused;
	fuzz_cpuid(leaf, subleaf, regs);
}

static void fuzz_caps(struct fuzz_input *input)
{
	struct mote_caps caps;

	fuzz_host = input;
	mote_caps_init(&caps, 40, fuzz_u16(input), fuzz_host_cpuid, NULL);
	if (caps.cr4 & (X86_CR4_VMXE | X86_CR4_SMXE | X86_CR4_PKE) || caps.efer & EFER_SVME)
		fail("a feature that guests do not have");
}

static void fuzz_table(struct fuzz_input *input)
{
	struct mote_cpuid_entry rows[MAX_ROWS] = {};
	u32 nr = fuzz_u16(input) % (MAX_ROWS + 1), i, leaf;
	bool ambiguous;

	for (i = 0; i < nr; i++) {
		u16 what = fuzz_u16(input);

		rows[i].leaf = (what & 0x3f) | (u32)(what & 0x40) << 25;
		rows[i].subleaf = what >> 7 & 7;
		rows[i].flags = what >> 10 & 1;
		rows[i].eax = i;
	}
	ambiguous = is_ambiguous(rows, nr);
	if (mote_cpuid_sort(rows, nr) != (ambiguous ? -EINVAL : 0))
		fail("sort");
	for (i = 0; !ambiguous && i < 0x80 * 8; i++) {
		leaf = (i & 0x3f) | (i & 0x40) << 25;
		if (mote_cpuid_find(rows, nr, leaf, i >> 7) != find_linear(rows, nr, leaf, i >> 7))
			fail("find");
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = { data, size };

	while (input.size) {
		fuzz_table(&input);
		fuzz_caps(&input);
	}
	return 0;
}
