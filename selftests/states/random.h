/* SPDX-License-Identifier: GPL-2.0 */
/* Random numbers that the same seed makes again (xorshift). */
#ifndef RANDOM_H
#define RANDOM_H

#include <linux/types.h>

static __u64 seed;	/* not 0 */

/* 0 to n - 1. */
static __u64 below(__u64 n)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (seed >> 20) % n;
}

#endif /* RANDOM_H */
