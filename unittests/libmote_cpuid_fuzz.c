// SPDX-License-Identifier: GPL-2.0
/* mote_get_cpuid() on a host that answers rubbish: no row is written that has no room. */
#include "../userspace/libmote/cpuid.c"

#include "fuzz.h"

#define MAX_ROWS 64

static void fuzz_proposal(struct fuzz_input *input)
{
	struct mote_info info = { .gpa_bits = 40, .gva_bits = 48, .xcr0 = fuzz_u16(input) };
	__u32 nr = fuzz_u16(input) % MAX_ROWS;
	struct mote_cpuid_entry *rows = calloc(nr, sizeof(*rows));

	fuzz_host = input;
	if (make_table(rows, nr, &info, fuzz_cpuid) > MAX_ROWS) {
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
		fuzz_proposal(&input);
	return 0;
}
