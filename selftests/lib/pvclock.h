/* SPDX-License-Identifier: GPL-2.0 */
/* The paravirtual clock as a guest finds it in its memory: docs/guest-abi.md, "Clock". */
#ifndef PVCLOCK_H
#define PVCLOCK_H

#include <linux/types.h>

/* <asm/pvclock-abi.h> of the kernel, which it does not export. */
struct pvclock {
	__u32 version;
	__u32 pad;
	__u64 tsc;
	__u64 ns;
	__u32 mul;
	__s8 shift;
	__u8 flags;
	__u8 pad2[2];
};

#define PVCLOCK_STABLE 1 /* of flags: all CPUs have the same */
#define PVCLOCK_SLACK 2000000 /* ns: by how much two clocks of the host may differ */

/* The guest's time; 0 if it is being written, or never was. */
static inline __u64 pvclock_ns(const struct pvclock *clock, __u64 tsc)
{
	__u64 ticks = tsc - clock->tsc;

	if (clock->version % 2 || !clock->version)
		return 0;
	ticks = clock->shift < 0 ? ticks >> -clock->shift : ticks << clock->shift;
	return clock->ns + (__u64)((__uint128_t)ticks * clock->mul >> 32);
}

#endif /* PVCLOCK_H */
