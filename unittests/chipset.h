/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A machine for the runner's devices, without a guest: a clock that stands until
 * the test lets it go on, timers that fire then, a console that the test reads and
 * types on, and local APICs that note what they get.
 */
#ifndef CHIPSET_H
#define CHIPSET_H

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "device_console.h"
#include "tests.h"
#include "../userspace/runner/irq.h"
#include "../userspace/runner/runner.h"

#define MS 1000000ull
#define US 1000ull

static struct options options = { .serial = "stdio", .cpus = 1, .append = "" };
static struct vcpu vcpus[1];
static struct vm vm = { .options = &options, .nr_vcpus = 1, .vcpus = vcpus };

/* ---- time ------------------------------------------------------------------------ */

/* The wall clock begins on 24 June 2026, a Wednesday, at 23:59:58.5. */
#define WALL_START 1782345598500000000ull

static __u64 now = NS_PER_S, wall = WALL_START;
static struct timer *timers[16];
static unsigned int nr_timers, nr_fired;

__u64 clock_ns(void)
{
	return now;
}

__u64 clock_real_ns(void)
{
	return wall;
}

int timer_create_fd(struct loop *loop, struct timer *timer,
		    void (*fire)(struct vm *vm, struct timer *timer))
{
	(void)loop;
	timer->fire = fire;
	timers[nr_timers++] = timer;
	return 0;
}

void timer_set(struct timer *timer, __u64 at, __u64 period)
{
	(void)period;
	timer->at = at;
}

void timer_destroy(struct timer *timer)
{
	(void)timer;
}

/* The next timer that is due by then, or NULL. */
static struct timer *due(__u64 then, __u64 *at)
{
	unsigned int first = nr_timers;

	for (unsigned int i = 0; i < nr_timers; i++) {
		if (timers[i]->at && timers[i]->at <= then &&
		    (first == nr_timers || timers[i]->at < timers[first]->at))
			first = i;
	}
	if (first == nr_timers)
		return NULL;
	*at = timers[first]->at;
	timers[first]->at = 0;
	return timers[first];
}

static inline void pass(__u64 ns)
{
	__u64 then = now + ns, at;
	struct timer *timer;

	while ((timer = due(then, &at))) {
		wall += at > now ? at - now : 0;
		now = at > now ? at : now;
		nr_fired++;
		timer->fire(&vm, timer);
	}
	wall += then - now;
	now = then;
}

/* Time during which the runner does not run: what is due fires late, once. */
static inline void stand_still(__u64 ns)
{
	now += ns;
	wall += ns;
	pass(0);
}

/* ---- what else the runner has ------------------------------------------------------ */

static enum ending ended;
static struct mote_msi messages[16];
static unsigned int nr_messages;
static bool nobody_accepts;
static unsigned char screen[64];
static unsigned int on_screen;
static bool screen_is_full;

void complain(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vprintf(format, args);
	va_end(args);
}

void vm_end(struct vm *which, enum ending end, int detail)
{
	(void)which;
	(void)detail;
	ended = end;
}

void vcpu_kick(struct vcpu *vcpu)
{
	(void)vcpu;
}

int mote_msi(int fd, const struct mote_msi *msi)
{
	(void)fd;
	if (nobody_accepts)
		return -2;
	messages[nr_messages++ % 16] = *msi;
	return 0;
}

void console_wants_more(struct console *console)
{
	(void)console;
}

size_t console_write(struct console *console, const void *data, size_t nr)
{
	(void)console;
	if (screen_is_full)
		return 0;
	for (size_t i = 0; i < nr; i++)
		screen[on_screen++ % sizeof(screen)] = ((const unsigned char *)data)[i];
	return nr;
}

/* ---- what the tests say ------------------------------------------------------------- */

static inline void out(__u16 port, __u8 data)
{
	bus_write(&vm, SPACE_PORT, port, 1, data);
}

static inline __u8 in(__u16 port)
{
	return bus_read(&vm, SPACE_PORT, port, 1);
}

static inline int run_tests(const struct unit_test *tests, unsigned int nr)
{
	int status = run_all(tests, nr);

	devices_destroy(&vm);
	return status;
}

#endif /* CHIPSET_H */
