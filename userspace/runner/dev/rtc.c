// SPDX-License-Identifier: GPL-2.0
/*
 * The MC146818A real-time clock and its CMOS memory, which tells firmware how
 * much memory there is.  The time is the host's, in UTC, plus what the guest has
 * set it to.  Data sheet, "Registers" and "Update Cycle"; as in the PIIX, the time
 * base is 32.768 kHz.
 *
 * Nothing ticks: flags are set when somebody looks, and one timer looks for the
 * interrupts that are enabled: periodic, alarm, update.  Daylight saving and the
 * square wave are bits alone.
 */
#include <stdlib.h>
#include <time.h>

#include "irq.h"
#include "runner.h"
#include "ticks.h"

#define PORT 0x70
#define SIZE 128

enum { SECONDS, SECONDS_ALARM, MINUTES, MINUTES_ALARM, HOURS, HOURS_ALARM, WEEKDAY, DAY, MONTH,
       YEAR, REG_A, REG_B, REG_C, REG_D };
#define CENTURY 0x32

#define A_UPDATING 0x80
#define A_DIVIDER 0x70		/* 0 to 2: it runs */
#define A_32_KHZ 0x20
#define A_RATE 0x0f
#define B_HOLD 0x80
#define B_PERIODIC 0x40
#define B_ALARM 0x20
#define B_UPDATE 0x10
#define B_BINARY 0x04
#define B_24_HOURS 0x02
#define C_INTERRUPT 0x80
#define D_VALID 0x80
#define PM 0x80
#define ANY 0xc0		/* in an alarm register */

#define HZ 32768
#define S_PER_DAY 86400
/* UIP is set from 244 us before an update cycle to its end; it takes 1984 us. */
#define NS_UPDATING (244000 + 1984000)

struct rtc {
	struct device device;
	struct timer timer;
	__s64 offset;		/* seconds ahead of the host, */
	__u64 shift;		/* and nanoseconds, less than one second */
	time_t seen;		/* the second up to which there have been update and alarm */
	__u64 restarted;	/* when the divider was */
	__u64 periods;		/* of the periodic interrupt that have been seen since */
	__u64 owed;		/* of them, those that have not been one yet */
	struct ticks ticks;
	__u8 weekday;		/* days that the guest's week is ahead of the calendar */
	__u8 index;
	__u8 cmos[SIZE];
};

static struct rtc *rtc_of(struct device *device)
{
	return container_of(device, struct rtc, device);
}

/* The guest's seconds begin when these do, nanoseconds since 1970. */
static __u64 shifted_ns(const struct rtc *rtc)
{
	return clock_real_ns() + rtc->shift;
}

/* Nanoseconds of the current second. */
static __u64 phase(const struct rtc *rtc)
{
	return shifted_ns(rtc) % NS_PER_S;
}

static time_t guest_time(const struct rtc *rtc)
{
	return (time_t)(shifted_ns(rtc) / NS_PER_S) + rtc->offset;
}

static bool divider_runs(const struct rtc *rtc)
{
	return (rtc->cmos[REG_A] & A_DIVIDER) <= A_32_KHZ;
}

/* Does the time go on? */
static bool updates(const struct rtc *rtc)
{
	return divider_runs(rtc) && !(rtc->cmos[REG_B] & B_HOLD);
}

static __u8 encode(const struct rtc *rtc, unsigned int value)
{
	return rtc->cmos[REG_B] & B_BINARY ? value : value / 10 << 4 | value % 10;
}

static unsigned int decode(const struct rtc *rtc, __u8 value)
{
	return rtc->cmos[REG_B] & B_BINARY ? value : (value >> 4) * 10 + (value & 15);
}

static __u8 encode_hour(const struct rtc *rtc, unsigned int hour)
{
	if (rtc->cmos[REG_B] & B_24_HOURS)
		return encode(rtc, hour);
	return encode(rtc, hour % 12 ? hour % 12 : 12) | (hour >= 12 ? PM : 0);
}

static unsigned int decode_hour(const struct rtc *rtc, __u8 value)
{
	if (rtc->cmos[REG_B] & B_24_HOURS)
		return decode(rtc, value);
	return decode(rtc, value & ~PM) % 12 + (value & PM ? 12 : 0);
}

/* Put the time into the registers, unless it stands still. */
static void show_time(struct rtc *rtc)
{
	time_t now = guest_time(rtc);
	unsigned int year;
	struct tm tm;

	if (!updates(rtc) || !gmtime_r(&now, &tm))
		return;
	year = tm.tm_year + 1900;
	rtc->cmos[SECONDS] = encode(rtc, tm.tm_sec);
	rtc->cmos[MINUTES] = encode(rtc, tm.tm_min);
	rtc->cmos[HOURS] = encode_hour(rtc, tm.tm_hour);
	rtc->cmos[WEEKDAY] = encode(rtc, (tm.tm_wday + rtc->weekday) % 7 + 1);
	rtc->cmos[DAY] = encode(rtc, tm.tm_mday);
	rtc->cmos[MONTH] = encode(rtc, tm.tm_mon + 1);
	rtc->cmos[YEAR] = encode(rtc, year % 100);
	rtc->cmos[CENTURY] = encode(rtc, year / 100);
}

/* Take the time from the registers; the divider, and so the fraction of the second, goes on. */
static void take_time(struct rtc *rtc)
{
	struct tm tm = {
		.tm_sec = decode(rtc, rtc->cmos[SECONDS]),
		.tm_min = decode(rtc, rtc->cmos[MINUTES]),
		.tm_hour = decode_hour(rtc, rtc->cmos[HOURS]),
		.tm_mday = decode(rtc, rtc->cmos[DAY]),
		.tm_mon = decode(rtc, rtc->cmos[MONTH]) - 1,
		.tm_year = decode(rtc, rtc->cmos[YEAR]) +
			   (decode(rtc, rtc->cmos[CENTURY]) - 19) * 100,
	};
	time_t time = timegm(&tm);

	rtc->weekday = (decode(rtc, rtc->cmos[WEEKDAY]) + 13 - tm.tm_wday) % 7;
	rtc->offset += time - guest_time(rtc);
	rtc->seen = time;
}

/* ---- interrupts ---------------------------------------------------------------- */

/* Pulses of 32.768 kHz from one periodic interrupt to the next; 0: there is none. */
static unsigned int period(const struct rtc *rtc)
{
	unsigned int rate = rtc->cmos[REG_A] & A_RATE;

	if (!rate || !divider_runs(rtc))
		return 0;
	/* This time base has no faster ones. */
	if (rate <= 2 && (rtc->cmos[REG_A] & A_DIVIDER) == A_32_KHZ)
		rate += 7;
	return 1u << (rate - 1);
}

static __u64 to_ns(__u64 pulses)
{
	return scale(pulses, NS_PER_S, HZ);
}

/* How many periods there have been since the divider was started. */
static __u64 periods(const struct rtc *rtc)
{
	return period(rtc) ? scale(clock_ns() - rtc->restarted, HZ, NS_PER_S) / period(rtc) : 0;
}

/* Does the alarm go off at this second? */
static bool alarm_matches(const struct rtc *rtc, time_t at)
{
	unsigned int second = (at % S_PER_DAY + S_PER_DAY) % S_PER_DAY;
	const __u8 pairs[][2] = {
		{ rtc->cmos[SECONDS_ALARM], encode(rtc, second % 60) },
		{ rtc->cmos[MINUTES_ALARM], encode(rtc, second / 60 % 60) },
		{ rtc->cmos[HOURS_ALARM], encode_hour(rtc, second / 3600) },
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(pairs); i++) {
		if ((pairs[i][0] & ANY) != ANY && pairs[i][0] != pairs[i][1])
			return false;
	}
	return true;
}

/* Flags of the seconds that have begun since somebody looked: one day has all alarms. */
static void see_updates(struct rtc *rtc)
{
	time_t now = guest_time(rtc);

	if (!updates(rtc) || now == rtc->seen)
		return;
	rtc->cmos[REG_C] |= B_UPDATE;
	if (now - rtc->seen > S_PER_DAY)
		rtc->seen = now - S_PER_DAY;
	while (rtc->seen < now && !(rtc->cmos[REG_C] & B_ALARM)) {
		if (alarm_matches(rtc, ++rtc->seen))
			rtc->cmos[REG_C] |= B_ALARM;
	}
	rtc->seen = now;
}

static void raise_period(struct rtc *rtc)
{
	bool interrupts = rtc->cmos[REG_B] & B_PERIODIC;

	if (!rtc->owed || rtc->cmos[REG_C] & B_PERIODIC)
		return;
	if (interrupts && clock_ns() < rtc->ticks.rest)
		return;
	rtc->cmos[REG_C] |= B_PERIODIC;
	rtc->owed--;
}

/* A period that finds the flag set is owed, if it is an interrupt. */
static void see_periods(struct rtc *rtc)
{
	bool interrupts = rtc->cmos[REG_B] & B_PERIODIC;
	__u64 new = periods(rtc) - rtc->periods;

	if (!new)
		return;
	rtc->periods += new;
	rtc->owed = ticks_owed(rtc->owed + new, interrupts ? to_ns(period(rtc)) : 0);
	raise_period(rtc);
}

static void update_line(struct rtc *rtc)
{
	__u8 *c = &rtc->cmos[REG_C];

	*c &= ~C_INTERRUPT;
	if (*c & rtc->cmos[REG_B] & (B_PERIODIC | B_ALARM | B_UPDATE))
		*c |= C_INTERRUPT;
	line_set(rtc->device.vm, LINE_RTC, *c & C_INTERRUPT);
}

static __u64 sooner(__u64 at, __u64 other)
{
	return at && at < other ? at : other;
}

/* When the next update may interrupt; 0: it does not. */
static __u64 next_update(const struct rtc *rtc)
{
	__u8 wanted = rtc->cmos[REG_B] & ~rtc->cmos[REG_C];

	return wanted & (B_ALARM | B_UPDATE) && updates(rtc) ? clock_ns() + NS_PER_S - phase(rtc) : 0;
}

/* Look again when the next interrupt may be due, which one whose flag is set is not. */
static void set_timer(struct rtc *rtc)
{
	__u8 wanted = rtc->cmos[REG_B] & ~rtc->cmos[REG_C];
	__u64 now = clock_ns(), at = next_update(rtc);

	if (wanted & B_PERIODIC && period(rtc)) {
		__u64 due = rtc->restarted + to_ns((rtc->periods + 1) * period(rtc)) + 1;

		if (due < now + TICK_LEAST_NS)
			due = now + TICK_LEAST_NS;
		if (rtc->owed)
			due = sooner(due, now + ticks_pace(to_ns(period(rtc))));
		if (due < rtc->ticks.rest)
			due = rtc->ticks.rest;
		at = sooner(at, due);
	}
	timer_set(&rtc->timer, at, 0);
}

/* See what time it is, and what it has brought. */
static void look(struct rtc *rtc)
{
	see_updates(rtc);
	see_periods(rtc);
	show_time(rtc);
}

static void fire(struct vm *vm, struct timer *timer)
{
	struct rtc *rtc = container_of(timer, struct rtc, timer);

	(void)vm;
	look(rtc);
	raise_period(rtc);
	update_line(rtc);
	set_timer(rtc);
}

void rtc_tick_ended(struct vm *vm)
{
	struct rtc *rtc = vm->rtc ? rtc_of(vm->rtc) : NULL;

	if (!rtc || !(rtc->cmos[REG_B] & B_PERIODIC))
		return;
	if (ticks_follow(&rtc->ticks, rtc->owed)) {
		raise_period(rtc);
		update_line(rtc);
	}
	set_timer(rtc);
}

/* Those of the past are nobody's. */
static void forget_periods(struct rtc *rtc)
{
	rtc->periods = periods(rtc);
	rtc->owed = 0;
}

/* ---- ports ------------------------------------------------------------------------ */

static __u8 read_a(const struct rtc *rtc)
{
	bool updating = updates(rtc) && phase(rtc) >= NS_PER_S - NS_UPDATING;

	return rtc->cmos[REG_A] | (updating ? A_UPDATING : 0);
}

/* Reading it clears it; what is owed follows after a while. */
static __u8 read_c(struct rtc *rtc)
{
	__u8 flags;

	update_line(rtc);
	flags = rtc->cmos[REG_C];
	rtc->cmos[REG_C] = 0;
	update_line(rtc);
	set_timer(rtc);
	return flags;
}

static __u64 rtc_read(struct device *device, const struct region *region, __u64 offset,
		      unsigned int size)
{
	struct rtc *rtc = rtc_of(device);

	(void)region;
	(void)size;
	if (!offset)
		return 0xff;
	look(rtc);
	if (rtc->index == REG_A)
		return read_a(rtc);
	return rtc->index == REG_C ? read_c(rtc) : rtc->cmos[rtc->index];
}

static bool is_time(unsigned int index)
{
	return index == CENTURY || (index <= YEAR && index != SECONDS_ALARM &&
				    index != MINUTES_ALARM && index != HOURS_ALARM);
}

/* Out of its reset, the divider has half a second to the first update. */
static void write_a(struct rtc *rtc, __u8 data)
{
	bool ran = divider_runs(rtc), updated = updates(rtc);

	rtc->cmos[REG_A] = data & ~A_UPDATING;
	if (divider_runs(rtc) && !ran) {
		rtc->restarted = clock_ns();
		rtc->shift = (rtc->shift + NS_PER_S + NS_PER_S / 2 - phase(rtc)) % NS_PER_S;
	}
	if (updates(rtc) && !updated)
		take_time(rtc);
	forget_periods(rtc);
}

/* Who holds the time to set it disables the update interrupt, too. */
static void write_b(struct rtc *rtc, __u8 data)
{
	bool updated = updates(rtc), interrupted = rtc->cmos[REG_B] & B_PERIODIC;

	rtc->cmos[REG_B] = data & B_HOLD ? data & ~B_UPDATE : data;
	if (updates(rtc) && !updated)
		take_time(rtc);
	if (!interrupted)
		forget_periods(rtc);
}

static void write_register(struct rtc *rtc, __u8 data)
{
	look(rtc);
	switch (rtc->index) {
	case REG_A:
		write_a(rtc, data);
		break;
	case REG_B:
		write_b(rtc, data);
		break;
	case REG_C:
	case REG_D:
		break;
	default:
		rtc->cmos[rtc->index] = data;
		/* Setting the time without holding it is legal, and done. */
		if (is_time(rtc->index) && updates(rtc))
			take_time(rtc);
	}
	update_line(rtc);
	set_timer(rtc);
}

static void rtc_write(struct device *device, const struct region *region, __u64 offset,
		      unsigned int size, __u64 data)
{
	struct rtc *rtc = rtc_of(device);

	(void)region;
	(void)size;
	if (offset)
		write_register(rtc, data);
	else
		rtc->index = data & (SIZE - 1);
}

/* The time goes on with the host's meanwhile, as that of a PC which is off; the divider stands. */
static void rtc_state(struct device *device, struct state *state)
{
	const __s64 most = 1ll << 40;
	struct rtc *rtc = rtc_of(device);
	__u64 update;

	STATE(state, rtc, offset);
	STATE(state, rtc, shift);
	STATE(state, rtc, seen);
	state_time(state, "restarted", &rtc->restarted);
	STATE(state, rtc, periods);
	STATE(state, rtc, owed);
	ticks_state(&rtc->ticks, state);
	STATE(state, rtc, weekday);
	STATE(state, rtc, index);
	STATE(state, rtc, cmos);
	/* Registers say no year behind 25755. */
	state_require(state, rtc->offset > -most && rtc->offset < most && rtc->seen > -most &&
		      rtc->seen < most && rtc->shift < NS_PER_S && rtc->weekday < 7, "there is no such time");
	state_require(state, rtc->index < SIZE && !(rtc->cmos[REG_A] & A_UPDATING),
		      "there is no such register");
	timer_state(&rtc->timer, "timer", state);
	if (!state->loads || state_has_failed(state))
		return;
	/* A second of this host's begins at another time. */
	update = next_update(rtc);
	timer_set(&rtc->timer, update ? sooner(rtc->timer.at, update) : rtc->timer.at, 0);
}

static void rtc_destroy(struct device *device)
{
	struct rtc *rtc = rtc_of(device);

	timer_destroy(&rtc->timer);
	free(rtc);
}

static const struct device_ops ops = {
	.name = "rtc", .read = rtc_read, .write = rtc_write, .state = rtc_state, .destroy = rtc_destroy,
};

/* Two bytes, in units of @unit, as far as they reach. */
static void put_size(struct rtc *rtc, unsigned int at, __u64 size, unsigned int unit)
{
	__u64 units = size / unit < 0xffff ? size / unit : 0xffff;

	rtc->cmos[at] = units;
	rtc->cmos[at + 1] = units >> 8;
}

static void describe_memory(struct rtc *rtc, const struct vm *vm)
{
	__u64 extended = vm->low > EXTENDED_MEMORY ? vm->low - EXTENDED_MEMORY : 0;
	__u64 above_16m = vm->low > 0x1000000 ? vm->low - 0x1000000 : 0, above_4g = vm->high / 65536;

	put_size(rtc, 0x15, 640 * 1024, 1024);
	put_size(rtc, 0x17, extended, 1024);
	put_size(rtc, 0x30, extended, 1024);
	put_size(rtc, 0x34, above_16m, 65536);
	/* Of a TiB and more that is all that can be said. */
	above_4g = above_4g < 0xffffff ? above_4g : 0xffffff;
	for (unsigned int i = 0; i < 3; i++)
		rtc->cmos[0x5b + i] = above_4g >> 8 * i;
	rtc->cmos[0x5f] = vm->nr_vcpus - 1;
}

int rtc_create(struct vm *vm)
{
	struct rtc *rtc = calloc(1, sizeof(*rtc));

	if (!rtc || timer_create_fd(&vm->io, &rtc->timer, fire)) {
		complain("cannot make the RTC: %m");
		free(rtc);
		return -1;
	}
	rtc->cmos[REG_A] = 0x26;
	rtc->cmos[REG_B] = B_24_HOURS;
	rtc->cmos[REG_D] = D_VALID;
	rtc->restarted = clock_ns();
	rtc->seen = guest_time(rtc);
	describe_memory(rtc, vm);
	device_add(vm, &rtc->device, &ops);
	vm->rtc = &rtc->device;
	return device_ports(&rtc->device, PORT, 2, 1, 0);
}
