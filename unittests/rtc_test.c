// SPDX-License-Identifier: GPL-2.0
/* The real-time clock and CMOS memory, as the MC146818A's data sheet describes them. */
#include "chipset.h"

enum { SECONDS, SECONDS_ALARM, MINUTES, MINUTES_ALARM, HOURS, HOURS_ALARM, WEEKDAY, DAY, MONTH,
       YEAR, A, B, C, D, CENTURY = 0x32 };

#define UIP 0x80
#define SET 0x80
#define PIE 0x40
#define AIE 0x20
#define UIE 0x10
#define BINARY 0x04
#define IRQF 0x80
#define PF 0x40
#define AF 0x20
#define UF 0x10

static __u8 get(__u8 index)
{
	out(0x70, index);
	return in(0x71);
}

static void put(__u8 index, __u8 data)
{
	out(0x70, index);
	out(0x71, data);
}

/* Binary, 24 hours, 1024 Hz, nothing asked for. */
static void start(void)
{
	put(B, 0x06);
	put(A, 0x26);
	get(C);
}

static bool requested(void)
{
	out(0xa0, 0x0a);
	return in(0xa0) & 1;
}

/* Set the time, on a second's beginning less half of one. */
static void set(int year, int month, int day, int hour, int minute, int second)
{
	put(B, SET | 0x06);
	put(A, 0x76);
	put(CENTURY, year / 100);
	put(YEAR, year % 100);
	put(MONTH, month);
	put(DAY, day);
	put(HOURS, hour);
	put(MINUTES, minute);
	put(SECONDS, second);
	put(B, 0x06);
	put(A, 0x26);
	get(C);
}

static void test_time(void)
{
	put(B, 0x02);
	EQ(0x58, get(SECONDS));
	EQ(0x59, get(MINUTES));
	EQ(0x23, get(HOURS));
	EQ(0x24, get(DAY));
	EQ(0x06, get(MONTH));
	EQ(0x26, get(YEAR));
	EQ(0x20, get(CENTURY));
	EQ(4, get(WEEKDAY));
	EQ(0x80, get(D));
	/* Binary, and 12 hours: the twelfth comes before the first. */
	put(B, BINARY);
	EQ(0x80 | 11, get(HOURS));
	EQ(58, get(SECONDS));
	pass(2 * NS_PER_S);
	EQ(12, get(HOURS));
	EQ(25, get(DAY));
	EQ(5, get(WEEKDAY));
	put(B, 0);
	put(HOURS, 0x92);
	EQ(0x92, get(HOURS));
	put(B, 0x02);
	EQ(0x12, get(HOURS));
	start();
	/* The week is the guest's own. */
	put(WEEKDAY, 7);
	EQ(7, get(WEEKDAY));
	set(2099, 12, 31, 23, 59, 59);
	pass(NS_PER_S);
	EQ(21, get(CENTURY));
	EQ(0, get(YEAR));
	EQ(1, get(MONTH));
	set(2028, 2, 28, 23, 59, 59);
	pass(NS_PER_S);
	EQ(29, get(DAY));
	/* Rubbish gives some time or other. */
	for (int i = 0; i < 256; i++) {
		for (int at = 0; at < 10; at++)
			put(at, i);
		put(CENTURY, i);
		put(B, i & 6);
		get(SECONDS);
		pass(NS_PER_S);
	}
}

/* From 244 us before an update of 1984 us. */
static void test_update_in_progress(void)
{
	set(2026, 6, 1, 0, 0, 0);
	for (int i = 0; i < 3; i++) {
		CHECK(!(get(A) & UIP));
		EQ(i, get(SECONDS));
		pass(500 * MS - 2300 * US);
		CHECK(!(get(A) & UIP));
		pass(100 * US);
		CHECK(get(A) & UIP);
		EQ(i, get(SECONDS));
		pass(2190 * US);
		CHECK(get(A) & UIP);
		pass(20 * US);
		CHECK(!(get(A) & UIP));
		EQ(i + 1, get(SECONDS));
		pass(500 * MS - 10 * US);
	}
	/* The divider keeps its phase while the time is held, and starts with half a second. */
	pass(100 * MS);
	put(B, SET | UIE | 0x06);
	EQ(SET | 0x06, get(B));
	pass(399 * MS);
	CHECK(!(get(A) & UIP));
	put(SECONDS, 30);
	pass(10 * NS_PER_S);
	EQ(30, get(SECONDS));
	put(B, 0x06);
	CHECK(get(A) & UIP);
	pass(2 * MS);
	EQ(31, get(SECONDS));
	put(A, 0x76);
	pass(10 * NS_PER_S + 123 * MS);
	EQ(31, get(SECONDS));
	CHECK(!(get(A) & UIP));
	put(A, 0x26);
	pass(499 * MS);
	EQ(31, get(SECONDS));
	pass(2 * MS);
	EQ(32, get(SECONDS));
}

/* Flags do not need their interrupts, nor a timer. */
static void test_flags(void)
{
	start();
	set(2026, 6, 1, 1, 2, 3);
	nr_fired = 0;
	put(SECONDS_ALARM, 5);
	put(MINUTES_ALARM, 2);
	put(HOURS_ALARM, 1);
	put(A, 0x20);
	get(C);
	pass(NS_PER_S);
	EQ(UF, get(C));
	EQ(0, get(C));
	pass(NS_PER_S);
	EQ(UF | AF, get(C));
	/* Seen late, an alarm has gone off all the same. */
	set(2026, 6, 1, 1, 2, 3);
	put(A, 0x26);
	pass(60 * NS_PER_S);
	EQ(UF | AF | PF, get(C));
	EQ(0, nr_fired);
	EQ(0, get(C));
	pass(2 * MS);
	EQ(PF, get(C));
	/* C and D cannot be written. */
	pass(NS_PER_S);
	put(C, 0);
	put(D, 0);
	EQ(UF | PF, get(C));
	EQ(0x80, get(D));
}

static void test_alarm(void)
{
	static const struct { __u8 second, minute, hour; unsigned int every; } rows[] = {
		{ 0xff, 0xff, 0xff, 1 }, { 0xc0, 0xd5, 0xe0, 1 }, { 30, 0xff, 0xff, 60 },
		{ 59, 59, 0xff, 3600 }, { 0, 0, 12, 86400 },
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(rows); i++) {
		unsigned int nr = 0;

		start();
		set(2026, 6, 1, 0, 0, 0);
		put(SECONDS_ALARM, rows[i].second);
		put(MINUTES_ALARM, rows[i].minute);
		put(HOURS_ALARM, rows[i].hour);
		put(B, AIE | 0x06);
		for (int second = 0; second < 2 * 86400; second++) {
			pass(NS_PER_S);
			if (!requested())
				continue;
			EQ(IRQF | AF | UF | PF, get(C));
			nr++;
		}
		EQ(2 * 86400 / rows[i].every, nr);
	}
	/* In BCD, with the afternoon's bit. */
	put(B, SET);
	put(HOURS, 0x12);
	put(MINUTES, 0x59);
	put(SECONDS, 0x59);
	put(HOURS_ALARM, 0x81);
	put(MINUTES_ALARM, 0);
	put(SECONDS_ALARM, 0);
	put(B, AIE);
	get(C);
	pass(NS_PER_S);
	CHECK(!requested());
	put(HOURS, 0x92);
	put(MINUTES, 0x59);
	put(SECONDS, 0x59);
	pass(NS_PER_S);
	CHECK(requested());
	start();
}

/* Pulses of 32.768 kHz between two of them, by the rate. */
static const unsigned int rates[16] = {
	0, 128, 256, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384,
};

static void test_periodic(void)
{
	for (unsigned int rate = 0; rate < 16; rate++) {
		unsigned int nr = 0;

		start();
		put(A, 0x76);
		put(A, 0x20 | rate);
		put(B, PIE | 0x06);
		get(C);
		for (int i = 0; i < 40000; i++) {
			pass(50 * US);
			nr += requested() && (get(C) & (IRQF | PF)) == (IRQF | PF);
		}
		look(rates[rate] ? nr + 1 >= 65536 / rates[rate] && nr <= 65536 / rates[rate] + 1 : !nr,
		     "periodic interrupts", nr, __LINE__);
	}
	/* A time base of 4 MHz has the fast ones: no faster than every 100 us. */
	put(A, 0x01);
	get(C);
	nr_fired = 0;
	for (int i = 0; i < 100000; i++) {
		pass(US);
		if (requested())
			get(C);
	}
	CHECK(nr_fired > 900 && nr_fired <= 1001);
	/* Nobody reads C: nothing is to be done. */
	nr_fired = 0;
	pass(NS_PER_S);
	CHECK(nr_fired <= 1);
	start();
}

/* How many interrupts a guest gets that looks this often. */
static unsigned int take(__u64 ns, __u64 every)
{
	unsigned int nr = 0;

	for (__u64 done = 0; done < ns; done += every) {
		pass(every);
		nr += requested() && get(C) & PF;
	}
	return nr;
}

static void test_lost_ticks(void)
{
	unsigned int nr;

	start();
	put(A, 0x2a);
	put(B, PIE | 0x06);
	get(C);
	nr = take(NS_PER_S, 2 * MS);
	CHECK(nr >= 63 && nr <= 65);
	stand_still(NS_PER_S);
	nr = take(NS_PER_S, 2 * MS);
	CHECK(nr >= 126 && nr <= 130);
	pass(NS_PER_S);
	nr = take(NS_PER_S, 2 * MS);
	CHECK(nr >= 126 && nr <= 130);
	/* With an end of each interrupt, the next one is there at once. */
	out(0x21, 0);
	stand_still(NS_PER_S);
	nr = 0;
	for (int i = 0; i < 10; i++) {
		for (; pic_pending(&vm) && nr < 1000; nr++) {
			EQ(0x08, pic_acknowledge(&vm));
			CHECK(get(C) & PF);
			out(0xa0, 0x20);
			out(0x20, 0x20);
		}
		CHECK(nr >= 16);
		pass(4 * MS);
	}
	CHECK(nr >= 64 && nr <= 68);
	out(0x21, 0xff);
	/* Ten seconds of them are kept. */
	pass(3600 * NS_PER_S);
	nr = take(20 * NS_PER_S, 2 * MS);
	CHECK(nr >= 30 * 64 - 4 && nr <= 30 * 64 + 4);
	/* Those of a time when they were off are nobody's. */
	put(B, 0x06);
	pass(NS_PER_S);
	get(C);
	put(B, PIE | 0x06);
	nr = take(NS_PER_S, 2 * MS);
	CHECK(nr >= 63 && nr <= 65);
	start();
}

static void test_update_interrupt(void)
{
	start();
	set(2026, 6, 1, 0, 0, 0);
	put(B, UIE | 0x06);
	get(C);
	for (int i = 0; i < 5; i++) {
		pass(NS_PER_S);
		CHECK(requested());
		EQ(IRQF | UF, get(C) & ~PF);
		CHECK(!requested());
	}
	start();
}

static void test_memory_size(void)
{
	static const __u64 sizes[] = { 0, 1, 2, 3, 4, 5, 30, 62, 254, 1022, 1024, 4094 };

	for (unsigned int i = 0; i < ARRAY_SIZE(sizes); i++) {
		vm.low = 2ull << 30;
		vm.high = sizes[i] << 30;
		region_remove(&vm, &(struct region) { .space = SPACE_PORT, .first = 0x70 });
		EQ(0, rtc_create(&vm));
		EQ(sizes[i] < 1024 ? vm.high >> 16 : 0xffffff, get(0x5b) | get(0x5c) << 8 | get(0x5d) << 16);
		EQ((vm.low - (16 << 20)) >> 16, get(0x34) | get(0x35) << 8);
	}
}

int main(void)
{
	static const struct unit_test tests[] = {
		{ "time and calendar", test_time },
		{ "update in progress", test_update_in_progress },
		{ "flags", test_flags },
		{ "alarm", test_alarm },
		{ "periodic interrupt", test_periodic },
		{ "update interrupt", test_update_interrupt },
		{ "lost ticks", test_lost_ticks },
		{ "size of the memory", test_memory_size },
	};

	vm.low = 1 << 30;
	if (pic_create(&vm) || ioapic_create(&vm) || rtc_create(&vm))
		return 1;
	out(0x20, 0x11);
	out(0x21, 0);
	out(0x21, 4);
	out(0x21, 1);
	out(0x21, 0xff);
	out(0xa0, 0x11);
	out(0xa1, 8);
	out(0xa1, 2);
	out(0xa1, 1);
	return run_tests(tests, ARRAY_SIZE(tests));
}
