/* SPDX-License-Identifier: GPL-2.0 */
/* What the tests of `mote run` share: images, and how to run them. */
#ifndef BOOT_H
#define BOOT_H

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "guest.h"
#include "selftest.h"

/* Statuses of mote run: see its man page. */
#define STATUS_RESET 4
#define STATUS_TRIPLE_FAULT 6
#define STATUS_PANIC 12
#define STATUS_WATCHDOG 14
#define STATUS_TIMEOUT 124
#define STATUS_DEBUG(value) (((value) << 1 | 1) & 0xff)

#define FLAT_IMAGE "flat.bin"

/* Where `mote run --flat` starts. */
#define FLAT_START 0x7c00

/* Whole systems boot everywhere in make check-long, and in make check where that is a matter of seconds. */
static inline bool is_time_for_systems(void)
{
	const char *host = getenv("MOTE_LAB"), *kernel = getenv("MOTE_LAB_KERNEL");

	return getenv("MOTE_LONG") || !host ||
	       (!strcmp(host, "svm") && kernel && !strcmp(kernel, "distro"));
}

#define NO_TIME "not on this hardware: in make check-long, or on svm"
#define ONLY_LONG "not on this hardware: in make check-long"

/* Write a guest's code to FLAT_IMAGE; GUEST() code of 16 bits, position-independent. */
static inline void write_flat(const struct guest_code *code)
{
	int fd = open(FLAT_IMAGE, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	if (fd < 0 || write(fd, code->code, code->size) != (ssize_t)code->size)
		perror(FLAT_IMAGE);
	close(fd);
}

/* Run it, not for long; @arguments come before the image, @pipe before all. */
#define run_flat(command, code, pipe, arguments)					\
	do {										\
		write_flat(code);							\
		command_run(command, "%s mote run --flat --timeout 7000 %s " FLAT_IMAGE,	\
			    pipe, arguments);						\
		unlink(FLAT_IMAGE);							\
	} while (0)

/* In the place of MOTE_TEST_MAIN: for tests that boot @image and others of `make images`. */
#define BOOT_TEST_MAIN(image)									\
	int main(int argc, char **argv)								\
	{											\
		require_mote();									\
		if (access(image, R_OK)) {							\
			puts("TAP version 13\n1..0 # SKIP there is no " image ": see make images");	\
			return KSFT_SKIP;							\
		}										\
		return test_harness_run(argc, argv);						\
	}

#endif /* BOOT_H */
