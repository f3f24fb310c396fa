/* SPDX-License-Identifier: GPL-2.0 */
#include <linux/kernel.h>

#define sort(base, nr, size, compare, swap) qsort(base, nr, size, compare)
