/* SPDX-License-Identifier: GPL-2.0 */
/* Random numbers that the same seed makes again (xorshift). */
#ifndef RANDOM_H
#define RANDOM_H

#include <linux/types.h>
#include <stdlib.h>
#include <time.h>

#include "selftest.h"

static __u64 seed;	/* not 0 */

/*
 * Always the same in make check, where a difference is to be one of mote's; in check-long never, but for
 * who says which (MOTE_SEED), as it found something.
 */
static inline __u64 first_seed(void)
{
	const char *wanted = getenv("MOTE_SEED");

	if (wanted)
		return strtoull(wanted, NULL, 0);
	return is_long_run() ? (__u64)time(NULL) << 20 : 1;
}

/* 0 to n - 1. */
static __u64 below(__u64 n)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (seed >> 20) % n;
}

#endif /* RANDOM_H */
