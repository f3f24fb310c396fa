/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Ticks of a periodic interrupt that come too late: the guest that counts them has
 * lost time, unless they are made up for.  They are, for up to ten seconds; what is
 * more is given up.  The next one comes when the one before has been ended, where
 * the 8259s tell that (line_ended()), else four times as fast as it would.  By time
 * no tick comes faster than every 100 us, whatever a guest programs.
 *
 * A guest that takes longer for a tick than until the next one would do nothing
 * else: after so many at once it has as much time to itself as they have taken.
 */
#ifndef TICKS_H
#define TICKS_H

#include "device.h"
#include "state.h"

#define TICK_LEAST_NS 100000
#define TICKS_LATE_NS (10 * NS_PER_S)
#define TICKS_AT_ONCE 16

/**
 * struct ticks - how ticks follow each other that are made up for
 * @at_once: how many have come since
 * @since: when the first one came
 * @rest: until then there is none
 */
struct ticks {
	unsigned int at_once;
	__u64 since;
	__u64 rest;
};

/* May the next one come now that one has ended, and @owed are? */
static inline bool ticks_follow(struct ticks *ticks, __u64 owed)
{
	__u64 now = clock_ns();

	if (!owed || !ticks->at_once)
		*ticks = (struct ticks) { .since = now, .rest = ticks->rest };
	if (!owed || ++ticks->at_once <= TICKS_AT_ONCE)
		return owed && now >= ticks->rest;
	ticks->at_once = 0;
	ticks->rest = now + (now - ticks->since) + TICK_LEAST_NS;
	return false;
}

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

static inline void ticks_state(struct ticks *ticks, struct state *state)
{
	/* What is over lies before the beginning of a clock that is younger. */
	if (ticks->rest <= state->now)
		ticks->rest = 0;
	STATE(state, ticks, at_once);
	state_time(state, "since", &ticks->since);
	state_time(state, "rest", &ticks->rest);
}

/* A timer, which when loaded is set; at once if its time has come. */
static inline void timer_state(struct timer *timer, const char *name, struct state *state)
{
	state_time(state, name, &timer->at);
	if (!state->loads)
		return;
	if (timer->at && (__s64)(timer->at - state->now) < 0)
		timer->at = state->now;
	timer_set(timer, timer->at, 0);
}

#endif /* TICKS_H */
