/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Ticks of a periodic interrupt that come too late: the guest that counts them has
 * lost time, unless they are made up for.  They are, for up to ten seconds; what is
 * more is given up.  The next one comes when the one before has been ended, where
 * the 8259s tell that (line_ended()), else four times as fast as it would.  By time
 * no tick comes faster than every 100 us, whatever a guest programs.
 */
#ifndef TICKS_H
#define TICKS_H

#include "device.h"

#define TICK_LEAST_NS 100000
#define TICKS_LATE_NS (10 * NS_PER_S)

/* @owed ticks of @period ns (0: they are not waited for), as far as they are made up for. */
static inline __u64 ticks_owed(__u64 owed, __u64 period)
{
	__u64 most = period < TICK_LEAST_NS ? 1 : TICKS_LATE_NS / period;

	return owed < most ? owed : most;
}

/* Nanoseconds until the next of those that are owed. */
static inline __u64 ticks_pace(__u64 period)
{
	return period / 4 > TICK_LEAST_NS ? period / 4 : TICK_LEAST_NS;
}

#endif /* TICKS_H */
