/* SPDX-License-Identifier: GPL-2.0 */
#ifndef UNIT_LINUX_BITOPS_H
#define UNIT_LINUX_BITOPS_H

#include <linux/kernel.h>

/* Number of the highest bit that is set, from 1; 0 if there is none. */
static inline int fls(unsigned int x)
{
	return x ? 32 - __builtin_clz(x) : 0;
}

static inline int fls64(unsigned long long x)
{
	return x ? 64 - __builtin_clzll(x) : 0;
}

#define __set_bit set_bit
#define __clear_bit clear_bit
#define __assign_bit(n, bits, value) ((value) ? set_bit(n, bits) : clear_bit(n, bits))

#endif /* UNIT_LINUX_BITOPS_H */
