// SPDX-License-Identifier: GPL-2.0
/* Nested page tables: a fuzzer's operations against the model. */
#include "../kmod/npt.c"
#include "../kmod/tests/npt_model.h"

#include "fuzz.h"

static const struct mote_npt_format formats[] = {
	{ .present = 1, .table = 0x7, .leaf = 0x5, .write = 0x2, .large = 0x80,
	  .accessed = 0x20, .dirty = 0x40 },
	{ .present = 7, .table = 0x7, .leaf = 0x35, .write = 0x2, .large = 0x80,
	  .small_only = 0x4 },
};

static u32 draw(void *context, u32 n)
{
	return fuzz_u16(context) % n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = { .data = data, .size = size };
	struct model m = { .draw = draw, .context = &input };

	if (!model_init(&m, &formats[fuzz_u16(&input) % ARRAY_SIZE(formats)]))
		return 0;
	while (input.size && !m.error)
		model_step(&m);
	model_finish(&m);
	if (m.error) {
		fprintf(stderr, "%s\n", m.error);
		abort();
	}
	return 0;
}
