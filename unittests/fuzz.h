/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A fuzzer as a program that prints TAP: one test, that nothing was found in
 * UNIT_FUZZ_SECONDS (environment; 4, or 60 with MOTE_LONG).  With arguments it is libFuzzer's own
 * main(): to reproduce a finding, give its file.
 */
#ifndef UNIT_FUZZ_H
#define UNIT_FUZZ_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerRunDriver(int *argc, char ***argv, int (*run)(const uint8_t *data, size_t size));

struct fuzz_input {
	const uint8_t *data;
	size_t size;
};

/* The next number of an input; 0 at its end. */
static inline uint16_t fuzz_u16(struct fuzz_input *input)
{
	uint16_t value = 0;
	size_t size = input->size < 2 ? input->size : 2;

	memcpy(&value, input->data, size);
	input->data += size;
	input->size -= size;
	return value;
}

/* CPUID of a host that answers rubbish: what @fuzz_host has next. */
static struct fuzz_input *fuzz_host __attribute__((unused));

static inline void fuzz_cpuid(uint32_t leaf, uint32_t subleaf, uint32_t regs[4])
{
	int i;

	for (i = 0; i < 4; i++)
		regs[i] = (uint32_t)fuzz_u16(fuzz_host) << 16 | fuzz_u16(fuzz_host);
}

static inline void fuzz_passed(void)
{
	printf("ok 1 - nothing found\n");
}

int main(int argc, char **argv)
{
	const char *seconds = getenv("UNIT_FUZZ_SECONDS");
	static char time[32], *fixed[] = { "fuzz", time, "-max_len=2048", "-len_control=0",
					   "-verbosity=0", "-artifact_prefix=/tmp/", NULL };
	char **args = argc > 1 ? argv : fixed;

	if (!seconds)
		seconds = getenv("MOTE_LONG") ? "60" : "4";
	snprintf(time, sizeof(time), "-max_total_time=%s", seconds);
	if (argc == 1) {
		argc = 6;
		printf("TAP version 13\n1..1\n");
		/* libFuzzer ends the program itself, by exit() or by abort(). */
		atexit(fuzz_passed);
	}
	return LLVMFuzzerRunDriver(&argc, &args, LLVMFuzzerTestOneInput);
}

#endif /* UNIT_FUZZ_H */
