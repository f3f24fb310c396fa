// SPDX-License-Identifier: GPL-2.0
/* The keyboard controller, by IBM's technical references: every command. */
#include <stdlib.h>

#include "chipset.h"

#define FULL 0x01
#define EMPTY 0x02
#define SYSTEM 0x04
#define WAS_COMMAND 0x08
#define NOT_LOCKED 0x10
#define AUX 0x20
#define TIMEOUT 0x40

static __u8 status(void)
{
	return in(0x64);
}

static void command(__u8 data)
{
	out(0x64, data);
	EQ(0, status() & EMPTY);
	CHECK(status() & WAS_COMMAND);
}

static void data(__u8 byte)
{
	out(0x60, byte);
	CHECK(!(status() & (EMPTY | WAS_COMMAND)));
}

/* What a command answers, or -1. */
static int ask(__u8 what)
{
	command(what);
	return status() & FULL ? in(0x60) : -1;
}

/* Is the line's request there?  The 8259s have seen its edge. */
static bool requested(int line)
{
	__u16 port = line < 8 ? 0x20 : 0xa0;

	out(port, 0x0a);
	return in(port) >> line % 8 & 1;
}

static void test_answers(void)
{
	static const struct { __u8 command; int answer; } rows[] = {
		{ 0xaa, 0x55 }, { 0xa4, 0xf1 }, { 0xa9, 0 }, { 0xab, 0 }, { 0xc0, 0xf0 }, { 0xd0, 0xcf },
		{ 0xe0, 2 }, { 0x20, 0x74 },
	};

	CHECK(status() & SYSTEM && status() & NOT_LOCKED);
	EQ(0x44, ask(0x20));
	for (unsigned int i = 0; i < ARRAY_SIZE(rows); i++) {
		EQ(rows[i].answer, ask(rows[i].command));
		CHECK(!(status() & FULL));
		/* What has been read stays readable. */
		EQ(rows[i].answer, in(0x60));
	}
	command(0xac);
	for (int i = 0; i < 19; i++) {
		CHECK(status() & FULL);
		EQ(i == 0 ? 0x74 : i < 16 ? 0 : i == 16 ? 0xf0 : i == 17 ? 0xcf : SYSTEM, in(0x60));
	}
	CHECK(!(status() & FULL));
}

static void test_configuration(void)
{
	static const struct { __u8 command, config; } rows[] = {
		{ 0xae, 0x64 }, { 0xa8, 0x44 }, { 0xad, 0x54 }, { 0xa7, 0x74 }, { 0xae, 0x64 },
		{ 0xa8, 0x44 },
	};

	ask(0xaa);
	for (unsigned int i = 0; i < ARRAY_SIZE(rows); i++) {
		EQ(-1, (long long)ask(rows[i].command));
		EQ(rows[i].config, ask(0x20));
	}
	EQ(3, ask(0xe0));
	for (int i = 31; i >= 0; i--) {
		command(0x60 + i);
		data(0x40 + i);
	}
	for (int i = 0; i < 32; i++)
		EQ(0x40 + i, ask(0x20 + i));
	/* The system flag is the status'. */
	CHECK(!(status() & SYSTEM));
	ask(0xaa);
	CHECK(status() & SYSTEM);
	/* A password ends with a zero, and nothing in it is for the keyboard. */
	command(0xa5);
	data('p');
	data('w');
	data(0);
	command(0xa6);
	CHECK(!(status() & FULL));
	/* Polls of the input port last until the next command. */
	command(0xc2);
	EQ(0xf0, status() & 0xf0);
	command(0xc1);
	EQ(0x00, status() & 0xf0);
	command(0xae);
	EQ(NOT_LOCKED, status() & 0xf0);
}

static void test_output_port(void)
{
	ended = END_NOT_YET;
	command(0xd1);
	data(0xdd);
	EQ(0xcd, ask(0xd0));
	command(0xdf);
	EQ(0xcf, ask(0xd0));
	command(0xdd);
	EQ(0xcd, ask(0xd0));
	/* What is to be read shows in it. */
	command(0xd2);
	data(1);
	EQ(0xdd, ask(0xd0));
	command(0xd3);
	data(1);
	EQ(0xed, ask(0xd0));
	EQ(END_NOT_YET, ended);
	command(0xd1);
	data(0xde);
	EQ(END_RESET, ended);
	for (int pulse = 0xf0; pulse <= 0xff; pulse++) {
		ended = END_NOT_YET;
		command(pulse);
		EQ(pulse & 1 ? END_NOT_YET : END_RESET, ended);
	}
	ended = END_NOT_YET;
	out(0x92, 2);
	EQ(2, in(0x92));
	EQ(END_NOT_YET, ended);
	out(0x92, 3);
	EQ(END_RESET, ended);
}

static void test_devices(void)
{
	/* Echoes, as if from a device. */
	command(0xd2);
	data(0x1c);
	EQ(FULL | NOT_LOCKED | SYSTEM, status());
	EQ(0x1c, in(0x60));
	command(0xd3);
	data(0x5a);
	EQ(FULL | NOT_LOCKED | SYSTEM | AUX, status());
	EQ(0x5a, in(0x60));
	/* Nobody is there. */
	data(0xff);
	EQ(FULL | NOT_LOCKED | SYSTEM | TIMEOUT, status());
	EQ(0xfe, in(0x60));
	command(0xd4);
	data(0xff);
	EQ(FULL | NOT_LOCKED | SYSTEM | TIMEOUT | AUX, status());
	EQ(0xfe, in(0x60));
	EQ(NOT_LOCKED | SYSTEM, status());
}

static void test_interrupts(void)
{
	for (int enabled = 0; enabled < 4; enabled++) {
		command(0x60);
		data(SYSTEM | enabled);
		command(0xd2);
		data(1);
		EQ(enabled & 1, requested(1));
		CHECK(!requested(12));
		in(0x60);
		CHECK(!requested(1));
		command(0xd3);
		data(1);
		EQ(enabled >> 1, requested(12));
		CHECK(!requested(1));
		in(0x60);
		CHECK(!requested(12));
	}
}

static void test_rubbish(void)
{
	for (int i = 0; i < 100000; i++) {
		out(rand() % 2 ? 0x60 : 0x64, rand());
		in(rand() % 2 ? 0x60 : 0x64);
	}
}

int main(void)
{
	static const struct unit_test tests[] = {
		{ "answers", test_answers },
		{ "configuration", test_configuration },
		{ "devices that are not there", test_devices },
		{ "interrupts", test_interrupts },
		{ "output port and reset", test_output_port },
		{ "rubbish", test_rubbish },
	};

	if (pic_create(&vm) || ioapic_create(&vm) || i8042_create(&vm) || reset_create(&vm))
		return 1;
	return run_tests(tests, ARRAY_SIZE(tests));
}
