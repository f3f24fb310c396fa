// SPDX-License-Identifier: GPL-2.0
/*
 * The 8254: all modes beside a chip that is counted pulse by pulse, as the 82C54's
 * data sheet describes it; and ticks that come too late.
 */
#include <stdlib.h>

#include "chipset.h"

#define HZ 1193182
#define CONTROL 0x43
#define COUNTER2 0x42
#define SPEAKER 0x61

/* ---- a chip that ticks ------------------------------------------------------------- */

static struct chip {
	int mode, modulus;
	bool gate, out, loaded, first_byte, null, strobed;
	int written, count;	/* the count register, the counting element */
	int left;		/* of this half of a square wave */
	bool running;		/* a trigger has come, in modes 1 and 5 */
} chip;

static void chip_load(bool is_start)
{
	int half = (chip.written + 1) / 2;

	chip.count = chip.mode == 3 ? chip.written & ~1 : chip.written;
	if (is_start)
		chip.out = chip.mode != 0 && chip.mode != 1;
	chip.left = chip.out ? half : chip.written - half;
	chip.null = false;
	chip.loaded = true;
	chip.strobed = false;
}

static void chip_control(int mode, bool bcd)
{
	chip = (struct chip) {
		.mode = mode, .modulus = bcd ? 10000 : 0x10000, .gate = chip.gate, .out = mode != 0,
		.null = true,
	};
}

static void chip_write(int count)
{
	chip.written = count;
	chip.null = true;
	chip.first_byte = false;
	if (chip.mode == 0 || chip.mode == 4 || ((chip.mode == 2 || chip.mode == 3) && !chip.loaded))
		chip_load(true);
}

static void chip_gate(bool gate)
{
	bool rises = gate && !chip.gate;

	chip.gate = gate;
	if ((chip.mode == 2 || chip.mode == 3) && !gate)
		chip.out = true;
	if (rises && chip.written && chip.mode != 0 && chip.mode != 4) {
		chip_load(true);
		chip.running = true;
	}
}

static void chip_tick(void)
{
	bool by_gate = chip.mode != 1 && chip.mode != 5;

	if (!chip.loaded || (by_gate ? !chip.gate : !chip.running) || chip.first_byte) {
		return;
	}
	if (chip.mode == 3) {
		chip.count -= 2;
		if (--chip.left == 0) {
			chip.out = !chip.out;
			chip_load(false);
		}
		return;
	}
	chip.count = (chip.count + chip.modulus - 1) % chip.modulus;
	if (chip.mode == 2) {
		chip.out = chip.count != 1;
		if (!chip.count)
			chip_load(true);
	} else if (chip.mode < 2) {
		chip.out |= !chip.count;
	} else {
		chip.out = chip.count || chip.strobed;
		chip.strobed |= !chip.count;
	}
}

/* ---- beside each other --------------------------------------------------------------- */

static __u64 pulses;

/* To the middle of a later pulse of the clock, so that rounding decides nothing. */
static void tick(int nr)
{
	while (nr--)
		chip_tick(), pulses++;
	pass(scale(2 * pulses + 1, NS_PER_S, 2 * HZ) + NS_PER_S - now);
}

static int digits(int value, bool bcd)
{
	return bcd ? value / 1000 << 12 | value / 100 % 10 << 8 | value / 10 % 10 << 4 | value % 10 : value;
}

static void write_word(int count, bool bcd)
{
	int word = digits(count % chip.modulus, bcd);

	out(COUNTER2, word);
	if (chip.mode == 0 && chip.loaded) {
		chip.first_byte = true;
		chip.out = false;
		tick(rand() % 4);
	}
	out(COUNTER2, word >> 8);
	chip_write(count);
}

static void compare(bool bcd, int line)
{
	__u8 status;
	int count;

	out(CONTROL, 0xc8);
	status = in(COUNTER2);
	count = in(COUNTER2);
	count |= in(COUNTER2) << 8;
	look((status & 0x80) >> 7 == chip.out, "OUT", status, line);
	look((status & 0x40) >> 6 == chip.null, "NULL COUNT", status, line);
	EQ(0x30 | chip.mode << 1 | bcd, status & 0x3f);
	EQ(chip.out, in(SPEAKER) >> 5 & 1);
	if (chip.loaded)
		look(count == digits(chip.count % chip.modulus, bcd), "count", count, line);
}

static void try_mode(int mode, bool bcd)
{
	out(SPEAKER, chip.gate = rand() & 1);
	out(CONTROL, 0xb0 | mode << 1 | bcd);
	chip_control(mode, bcd);
	compare(bcd, __LINE__);
	for (int i = 0; i < 60; i++) {
		int what = rand() % 8;

		if (what < 2)
			write_word(mode / 2 == 1 ? 2 + rand() % 30 :
				   1 + rand() % (i % 16 ? 30 : chip.modulus), bcd);
		/* Not while there is a strobe, which is one pulse long. */
		else if (what == 2 && (mode != 4 || chip.out))
			out(SPEAKER, !chip.gate), chip_gate(!chip.gate);
		tick(what == 3 ? rand() % 300 : rand() % 12);
		compare(bcd, __LINE__);
	}
}

static void test_modes(void)
{
	for (int i = 0; i < 6000; i++)
		try_mode(i % 6, i / 6 % 4 == 3);
}

/* Modes 6 and 7 are 2 and 3. */
static void test_access(void)
{
	out(SPEAKER, 1);
	out(CONTROL, 0xbc);
	out(CONTROL, 0xe8);
	EQ(0xf4, in(COUNTER2));
	/* Low bytes alone, high bytes alone. */
	out(CONTROL, 0x90);
	out(COUNTER2, 0xff);
	EQ(0xff, in(COUNTER2));
	out(CONTROL, 0xa0);
	out(COUNTER2, 0x12);
	EQ(0x12, in(COUNTER2));
	/* A second latch before the first has been read is ignored; status comes first. */
	out(CONTROL, 0xb4);
	out(COUNTER2, 0);
	out(COUNTER2, 0x10);
	out(CONTROL, 0x80);
	pass(MS);
	out(CONTROL, 0x80);
	EQ(0x00, in(COUNTER2));
	EQ(0x10, in(COUNTER2));
	in(COUNTER2);
	CHECK(in(COUNTER2) < 0x0c);
}

/* ---- interrupts ------------------------------------------------------------------------- */

static void start_pic(void)
{
	static const __u8 words[][2] = {
		{ 0x20, 0x11 }, { 0xa0, 0x11 }, { 0x21, 0x20 }, { 0xa1, 0x28 }, { 0x21, 4 }, { 0xa1, 2 },
		{ 0x21, 1 }, { 0xa1, 1 }, { 0x21, 0xfe }, { 0xa1, 0xff },
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(words); i++)
		out(words[i][0], words[i][1]);
}

static void start_timer(int mode, int count)
{
	out(CONTROL, 0x30 | mode << 1);
	out(0x40, count);
	out(0x40, count >> 8);
	out(0x20, 0x20);
	start_pic();
}

/* A guest that looks at interrupts this often: how many ticks it gets. */
static unsigned int take_ticks(__u64 ns, __u64 every)
{
	unsigned int nr = 0;

	for (__u64 done = 0; done < ns; done += every) {
		pass(every);
		if (pic_pending(&vm) && pic_acknowledge(&vm) == 0x20) {
			nr++;
			out(0x20, 0x20);
		}
	}
	return nr;
}

/* All that come one behind the other; and then some time of the guest's own. */
static unsigned int take_all(__u64 ns)
{
	unsigned int nr = 0;

	for (; pic_pending(&vm) && nr < 1000; nr++) {
		EQ(0x20, pic_acknowledge(&vm));
		out(0x20, 0x20);
	}
	pass(ns);
	return nr;
}

static bool is_about(unsigned int want, unsigned int got)
{
	look(got + 2 >= want && got <= want + 2, "ticks", got, __LINE__);
	return got + 2 >= want && got <= want + 2;
}

static void test_lost_ticks(void)
{
	unsigned int nr;

	for (int mode = 2; mode <= 3; mode++) {
		/* A hundred a second, to a guest that is there; that sleeps a second; that is late. */
		start_timer(mode, 11932);
		CHECK(is_about(100, take_ticks(NS_PER_S, MS)));
		nr_fired = 0;
		pass(NS_PER_S);
		CHECK(is_about(100, nr_fired));
		CHECK(is_about(300, take_ticks(2 * NS_PER_S, MS)));
		stand_still(NS_PER_S);
		CHECK(is_about(200, take_ticks(NS_PER_S, MS)));
		CHECK(is_about(400, take_ticks(4 * NS_PER_S, 8 * MS)));
		/* A guest that runs at last gets all of them. */
		stand_still(NS_PER_S);
		nr = take_all(MS);
		CHECK(nr >= 16 && nr <= 18);
		for (int i = 0; i < 10; i++)
			nr += take_all(MS);
		CHECK(is_about(101, nr));
		/* Ten seconds of them are kept, no more. */
		pass(3600 * NS_PER_S);
		nr = take_ticks(20 * NS_PER_S, MS);
		CHECK(is_about(3000, nr));
		/* Nobody listens: nothing is owed. */
		out(0x21, 0xff);
		pass(NS_PER_S);
		out(0x21, 0xfe);
		CHECK(is_about(101, take_ticks(NS_PER_S, MS)));
	}
	/* A thousand a second, to a guest that looks now and then. */
	start_timer(2, 1193);
	CHECK(take_ticks(NS_PER_S, 900 * US) > 990);
}

/* A guest that takes two periods for each tick has half of the time to itself, even so. */
static void test_slow_guest(void)
{
	__u64 own = 0, begin;

	start_timer(2, 1193);
	begin = now;
	while (now - begin < 10 * NS_PER_S) {
		if (pic_pending(&vm) && pic_acknowledge(&vm) == 0x20) {
			pass(2 * MS);
			out(0x20, 0x20);
		} else {
			pass(50 * US);
			own += 50 * US;
		}
	}
	CHECK(own > 4 * NS_PER_S);
}

static void test_least_period(void)
{
	for (int count = 1; count < 100; count += 7) {
		start_timer(count % 2 + 2, count);
		nr_fired = 0;
		pass(100 * MS);
		CHECK(nr_fired <= 1001);
	}
	start_timer(0, 100);
	pass(MS);
}

/* One interrupt when mode 0 is over, and the next after another count. */
static void test_one_shot(void)
{
	start_timer(0, 1193);
	CHECK(!pic_pending(&vm));
	pass(MS - 10 * US);
	CHECK(!pic_pending(&vm));
	EQ(1, take_ticks(NS_PER_S, 20 * US));
	out(0x40, 0x10);
	out(0x40, 0);
	EQ(1, take_ticks(MS, 20 * US));
	start_timer(4, 1193);
	EQ(1, take_ticks(NS_PER_S, MS));
}

int main(void)
{
	static const struct unit_test tests[] = {
		{ "all modes, beside a chip that ticks", test_modes },
		{ "access to counts", test_access },
		{ "one-shots", test_one_shot },
		{ "lost ticks", test_lost_ticks },
		{ "slow guest", test_slow_guest },
		{ "least period", test_least_period },
	};

	if (pic_create(&vm) || ioapic_create(&vm) || pit_create(&vm))
		return 1;
	return run_tests(tests, ARRAY_SIZE(tests));
}
