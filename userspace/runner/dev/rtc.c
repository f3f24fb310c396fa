// SPDX-License-Identifier: GPL-2.0
/*
 * The MC146818A real-time clock and its CMOS memory, which tells firmware how
 * much memory there is.  The time is the host's, in UTC, plus what the guest has
 * set it to.  One timer serves all three interrupts: periodic, alarm, update.
 */
#include <stdlib.h>
#include <time.h>

#include "runner.h"
#include "vm.h"

#define PORT 0x70
#define SIZE 128

enum { SECONDS, SECONDS_ALARM, MINUTES, MINUTES_ALARM, HOURS, HOURS_ALARM, WEEKDAY, DAY, MONTH,
       YEAR, REG_A, REG_B, REG_C, REG_D };
#define CENTURY 0x32

#define A_UPDATING 0x80
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

struct rtc {
	struct device device;
	struct timer timer;
	__s64 offset;		/* seconds ahead of the host */
	__u64 periods;		/* of the periodic interrupt that have been seen */
	time_t seen;		/* the second for which alarm and update have been raised */
	__u8 index;
	__u8 cmos[SIZE];
};

static struct rtc *rtc_of(struct device *device)
{
	return container_of(device, struct rtc, device);
}

static time_t guest_time(const struct rtc *rtc)
{
	return time(NULL) + rtc->offset;
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

/* Put the time into the registers, unless the guest is setting them. */
static void show_time(struct rtc *rtc)
{
	time_t now = guest_time(rtc);
	struct tm tm;

	if (rtc->cmos[REG_B] & B_HOLD || !gmtime_r(&now, &tm))
		return;
	rtc->cmos[SECONDS] = encode(rtc, tm.tm_sec);
	rtc->cmos[MINUTES] = encode(rtc, tm.tm_min);
	rtc->cmos[HOURS] = encode_hour(rtc, tm.tm_hour);
	rtc->cmos[WEEKDAY] = encode(rtc, tm.tm_wday + 1);
	rtc->cmos[DAY] = encode(rtc, tm.tm_mday);
	rtc->cmos[MONTH] = encode(rtc, tm.tm_mon + 1);
	rtc->cmos[YEAR] = encode(rtc, tm.tm_year % 100);
	rtc->cmos[CENTURY] = encode(rtc, tm.tm_year / 100 + 19);
}

/* Take the time from the registers. */
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

	rtc->offset = timegm(&tm) - time(NULL);
	rtc->seen = guest_time(rtc);
}

/* ---- interrupts ---------------------------------------------------------------- */

/* Nanoseconds between periodic interrupts; 0: none. */
static __u64 period(const struct rtc *rtc)
{
	unsigned int rate = rtc->cmos[REG_A] & A_RATE;

	if (!rate || !(rtc->cmos[REG_B] & B_PERIODIC))
		return 0;
	return scale(1u << ((rate <= 2 ? rate + 7 : rate) - 1), NS_PER_S, 32768);
}

static bool alarm_matches(const struct rtc *rtc)
{
	static const __u8 pairs[][2] = {
		{ SECONDS, SECONDS_ALARM }, { MINUTES, MINUTES_ALARM }, { HOURS, HOURS_ALARM },
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(pairs); i++) {
		__u8 alarm = rtc->cmos[pairs[i][1]];

		if ((alarm & ANY) != ANY && alarm != rtc->cmos[pairs[i][0]])
			return false;
	}
	return true;
}

static void update_line(struct rtc *rtc)
{
	__u8 *c = &rtc->cmos[REG_C];

	*c &= ~C_INTERRUPT;
	if (*c & rtc->cmos[REG_B] & (B_PERIODIC | B_ALARM | B_UPDATE))
		*c |= C_INTERRUPT;
	line_set(rtc->device.vm, LINE_RTC, *c & C_INTERRUPT);
}

/* Look again when the next of what was asked for may happen. */
static void set_timer(struct rtc *rtc)
{
	__u64 now = clock_ns(), every = period(rtc), at = 0;
	struct timespec real;

	if (rtc->cmos[REG_B] & (B_ALARM | B_UPDATE)) {
		clock_gettime(CLOCK_REALTIME, &real);
		at = now + NS_PER_S - real.tv_nsec;
	}
	if (every && (!at || (now / every + 1) * every < at))
		at = (now / every + 1) * every;
	timer_set(&rtc->timer, at, 0);
}

static void fire(struct vm *vm, struct timer *timer)
{
	struct rtc *rtc = container_of(timer, struct rtc, timer);
	__u64 every = period(rtc);

	(void)vm;
	if (every && clock_ns() / every != rtc->periods) {
		rtc->periods = clock_ns() / every;
		rtc->cmos[REG_C] |= B_PERIODIC;
	}
	if (guest_time(rtc) != rtc->seen && !(rtc->cmos[REG_B] & B_HOLD)) {
		rtc->seen = guest_time(rtc);
		show_time(rtc);
		rtc->cmos[REG_C] |= B_UPDATE | (alarm_matches(rtc) ? B_ALARM : 0);
	}
	update_line(rtc);
	set_timer(rtc);
}

/* ---- ports ------------------------------------------------------------------------ */

static __u64 rtc_read(struct device *device, const struct region *region, __u64 offset,
		      unsigned int size)
{
	struct rtc *rtc = rtc_of(device);
	__u8 data;

	(void)region;
	(void)size;
	if (!offset)
		return 0xff;
	show_time(rtc);
	data = rtc->cmos[rtc->index];
	if (rtc->index == REG_C) {
		rtc->cmos[REG_C] = 0;
		update_line(rtc);
	}
	return data;
}

static bool is_time(unsigned int index)
{
	return index == CENTURY || (index <= YEAR && index != SECONDS_ALARM &&
				    index != MINUTES_ALARM && index != HOURS_ALARM);
}

static void write_b(struct rtc *rtc, __u8 data)
{
	bool was_held = rtc->cmos[REG_B] & B_HOLD;

	show_time(rtc);
	rtc->cmos[REG_B] = data;
	if (was_held && !(data & B_HOLD))
		take_time(rtc);
	rtc->seen = guest_time(rtc);
	update_line(rtc);
	set_timer(rtc);
}

static void rtc_write(struct device *device, const struct region *region, __u64 offset,
		      unsigned int size, __u64 data)
{
	struct rtc *rtc = rtc_of(device);

	(void)region;
	(void)size;
	if (!offset) {
		rtc->index = data & (SIZE - 1);
	} else if (rtc->index == REG_A) {
		rtc->cmos[REG_A] = data & ~A_UPDATING;
		set_timer(rtc);
	} else if (rtc->index == REG_B) {
		write_b(rtc, data);
	} else if (rtc->index != REG_C && rtc->index != REG_D) {
		show_time(rtc);
		rtc->cmos[rtc->index] = data;
		/* Setting the time without holding it is legal, and done. */
		if (is_time(rtc->index) && !(rtc->cmos[REG_B] & B_HOLD))
			take_time(rtc);
	}
}

static void rtc_destroy(struct device *device)
{
	struct rtc *rtc = rtc_of(device);

	timer_destroy(&rtc->timer);
	free(rtc);
}

static const struct device_ops ops = {
	.name = "rtc", .read = rtc_read, .write = rtc_write, .destroy = rtc_destroy,
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
	__u64 above_16m = vm->low > 0x1000000 ? vm->low - 0x1000000 : 0;

	put_size(rtc, 0x15, 640 * 1024, 1024);
	put_size(rtc, 0x17, extended, 1024);
	put_size(rtc, 0x30, extended, 1024);
	put_size(rtc, 0x34, above_16m, 65536);
	put_size(rtc, 0x5b, vm->high, 65536);
	rtc->cmos[0x5d] = vm->high >> 32;
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
	describe_memory(rtc, vm);
	device_add(vm, &rtc->device, &ops);
	return device_ports(&rtc->device, PORT, 2, 1, 0);
}
