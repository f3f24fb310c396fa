// SPDX-License-Identifier: GPL-2.0
/* mote_get_cpuid() on a host that answers rubbish: no row is written that has no room. */
#include "../userspace/libmote/cpuid.c"

#include "fuzz.h"

#define MAX_ROWS 64

static struct fuzz_input *host_input;

static void cpuid_rubbish(__u32 leaf, __u32 subleaf, __u32 regs[4])
{
	__u32 i;

	for (i = 0; i < 4; i++)
		regs[i] = (__u32)fuzz_u16(host_input) << 16 | fuzz_u16(host_input);
}

static void fuzz_host(struct fuzz_input *input)
{
	struct mote_info info = { .gpa_bits = 40, .gva_bits = 48, .xcr0 = fuzz_u16(input) };
	__u32 nr = fuzz_u16(input) % MAX_ROWS;
	struct mote_cpuid_entry *rows = calloc(nr, sizeof(*rows));

	host_input = input;
	if (make_table(rows, nr, &info, cpuid_rubbish) > MAX_ROWS) {
		fprintf(stderr, "rows without end\n");
		abort();
	}
	free(rows);
}

int mote_get_info(int fd, struct mote_info *info)
{
	return -ENODEV;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = { data, size };

	while (input.size)
		fuzz_host(&input);
	return 0;
}
