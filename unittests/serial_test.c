// SPDX-License-Identifier: GPL-2.0
/* The serial port, as the PC16550D's data sheet describes it. */
#include <stdlib.h>

#include "chipset.h"

enum { DATA = 0x3f8, IER, IIR, LCR, MCR, LSR, MSR, SCRATCH };
#define FCR IIR

#define LOOP 0x10
#define DR 0x01
#define OE 0x02
#define FE 0x08
#define BI 0x10
#define TX_FREE 0x20
#define TX_IDLE 0x40
#define FIFO_ERROR 0x80
#define NONE 0x01
#define FIFOS 0xc0

/* 115200 bauds, 8 bits: ten bits a character. */
#define CHARACTER (10 * NS_PER_S / 115200)

static __u8 lcr_at_first;

static void start(__u8 fcr, __u8 mcr)
{
	screen_is_full = false;
	out(LCR, 0x83);
	out(DATA, 1);
	out(IER, 0);
	out(LCR, 3);
	out(FCR, 0);
	out(FCR, fcr);
	out(MCR, mcr);
	in(LSR);
	in(MSR);
	in(IIR);
	nr_messages = 0;
	on_screen = 0;
}

static bool requested(void)
{
	out(0x20, 0x0a);
	return in(0x20) >> 4 & 1;
}

/* Type, as far as there is room. */
static size_t type(const char *text)
{
	size_t room = console_ops->room(console_device), nr = strlen(text);

	nr = nr < room ? nr : room;
	if (nr)
		console_ops->input(console_device, text, nr);
	return nr;
}

static void test_registers(void)
{
	static const struct { __u16 port; __u8 writable; } rows[] = {
		{ IER, 0x0f }, { LCR, 0xff }, { MCR, 0x1f }, { SCRATCH, 0xff },
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(rows); i++) {
		for (int value = 0; value < 256; value++) {
			out(LCR, 0);
			out(rows[i].port, value);
			EQ(value & rows[i].writable, in(rows[i].port));
		}
	}
	CHECK(lcr_at_first == 3);
	/* The divisor is behind DLAB, and the two registers in front of it stay. */
	start(0, LOOP);
	out(IER, 0x0a);
	out(LCR, 0x80);
	out(DATA, 0x34);
	out(IER, 0x12);
	EQ(0x34, in(DATA));
	EQ(0x12, in(IER));
	out(LCR, 3);
	EQ(0x0a, in(IER));
	/* A divisor of nothing. */
	out(LCR, 0x83);
	out(DATA, 0);
	out(IER, 0);
	out(LCR, 3);
	out(FCR, 1);
	out(DATA, 'x');
	pass(NS_PER_S);
	EQ('x', in(DATA));
}

static void test_overrun(void)
{
	start(0, LOOP);
	for (char c = 'a'; c <= 'c'; c++) {
		out(DATA, c);
		EQ(DR | TX_FREE | TX_IDLE | (c > 'a' ? OE : 0), in(LSR));
		EQ(DR | TX_FREE | TX_IDLE, in(LSR));
	}
	EQ('c', in(DATA));
	EQ(TX_FREE | TX_IDLE, in(LSR));
	/* A FIFO keeps the first sixteen. */
	start(7, LOOP);
	for (int i = 0; i < 20; i++) {
		out(DATA, i);
		EQ(DR | TX_FREE | TX_IDLE | (i >= 16 ? OE : 0), in(LSR));
	}
	for (int i = 0; i < 16; i++)
		EQ(i, in(DATA));
	EQ(TX_FREE | TX_IDLE, in(LSR));
	/* Shorter words. */
	for (int length = 0; length < 4; length++) {
		out(LCR, length);
		out(DATA, 0xff);
		EQ(0xff >> (3 - length), in(DATA));
	}
}

static void test_break(void)
{
	for (int fifo = 0; fifo < 2; fifo++) {
		start(fifo, LOOP);
		out(LCR, 0x43);
		EQ(DR | BI | FE | TX_FREE | TX_IDLE | (fifo ? FIFO_ERROR : 0), in(LSR));
		EQ(DR | TX_FREE | TX_IDLE, in(LSR));
		EQ(0, in(DATA));
		/* One break, one character; what is sent meanwhile is lost. */
		out(LCR, 0x43);
		out(DATA, 'x');
		EQ(TX_FREE | TX_IDLE, in(LSR));
		out(LCR, 3);
		out(DATA, 'x');
		EQ('x', in(DATA));
	}
	/* Without a loop nobody hears it. */
	start(1, 3);
	out(LCR, 0x43);
	EQ(TX_FREE | TX_IDLE, in(LSR));
	/* An error shows when its character is the next, and bit 7 before. */
	start(1, LOOP);
	out(IER, 4);
	out(DATA, 'a');
	out(LCR, 0x43);
	out(LCR, 3);
	EQ(FIFOS | NONE, in(IIR));
	EQ(DR | TX_FREE | TX_IDLE | FIFO_ERROR, in(LSR));
	EQ('a', in(DATA));
	EQ(FIFOS | 6, in(IIR));
	EQ(DR | BI | FE | TX_FREE | TX_IDLE | FIFO_ERROR, in(LSR));
	EQ(FIFOS | NONE, in(IIR));
}

static void test_modem(void)
{
	__u8 before = 0;

	start(0, LOOP);
	/* Each output is an input of the loop; of RI only the end counts. */
	for (int i = 0; i < 1000; i++) {
		__u8 lines = rand() % 16, inputs = (lines & 1) << 5 | (lines & 2) << 3 | (lines & 0xc) << 4;
		__u8 changed = (inputs ^ before) >> 4;

		out(MCR, LOOP | lines);
		EQ(inputs | (changed & 0x0b) | (changed & 4 && !(inputs & 0x40) ? 4 : 0), in(MSR));
		EQ(inputs, in(MSR));
		before = inputs;
	}
	/* Changes add up until they are read. */
	start(0, LOOP);
	out(MCR, LOOP | 0x0f);
	out(MCR, LOOP);
	EQ(0x0f, in(MSR));
	/* Outside, the other end is there and ready. */
	out(MCR, 0);
	EQ(0xb0 | 0x0b, in(MSR));
	out(MCR, 0x0f);
	EQ(0xb0, in(MSR));
	out(IER, 8);
	EQ(NONE, in(IIR));
	out(MCR, LOOP);
	EQ(0, in(IIR));
	EQ(0, in(IIR));
	in(MSR);
	EQ(NONE, in(IIR));
}

/* All five at once, in their order, and what ends each of them. */
static void test_priorities(void)
{
	start(1, LOOP | 8);
	out(IER, 0x0f);
	CHECK(requested());
	EQ(FIFOS | 2, in(IIR));
	for (int i = 0; i < 17; i++)
		out(DATA, i);
	out(MCR, LOOP | 9);
	EQ(FIFOS | 6, in(IIR));
	in(LSR);
	EQ(FIFOS | 4, in(IIR));
	for (int i = 0; i < 16; i++)
		in(DATA);
	EQ(FIFOS | 2, in(IIR));
	EQ(FIFOS | 0, in(IIR));
	CHECK(requested());
	in(MSR);
	EQ(FIFOS | NONE, in(IIR));
	CHECK(!requested());
	/* The transmitter's ends by a character, too, and begins when it is asked for. */
	out(IER, 0);
	out(IER, 2);
	EQ(FIFOS | 2, in(IIR));
	EQ(FIFOS | NONE, in(IIR));
	out(DATA, 'x');
	EQ(FIFOS | 2, in(IIR));
	/* Without OUT2 the PC does not hear of it. */
	out(IER, 0);
	out(IER, 3);
	CHECK(requested());
	out(MCR, LOOP);
	CHECK(!requested());
	EQ(FIFOS | 4, in(IIR));
}

static void test_triggers(void)
{
	static const unsigned int levels[] = { 1, 4, 8, 14 };

	for (int i = 0; i < 4; i++) {
		start(1 | i << 6, LOOP);
		out(IER, 1);
		for (unsigned int nr = 1; nr <= 16; nr++) {
			out(DATA, nr);
			EQ(nr >= levels[i] ? FIFOS | 4 : FIFOS | NONE, in(IIR));
		}
		for (unsigned int nr = 15; nr >= levels[i]; nr--) {
			in(DATA);
			EQ(FIFOS | 4, in(IIR));
		}
		in(DATA);
		EQ(FIFOS | NONE, in(IIR));
	}
}

/* Four characters' time after the last one came or was read. */
static void test_timeout(void)
{
	start(0xc1, LOOP);
	out(IER, 1);
	out(DATA, 'a');
	pass(3 * CHARACTER);
	EQ(FIFOS | NONE, in(IIR));
	out(DATA, 'b');
	pass(3 * CHARACTER);
	EQ(FIFOS | NONE, in(IIR));
	pass(CHARACTER + US);
	EQ(FIFOS | 0xc, in(IIR));
	EQ(FIFOS | 0xc, in(IIR));
	EQ('a', in(DATA));
	EQ(FIFOS | NONE, in(IIR));
	pass(4 * CHARACTER + US);
	EQ(FIFOS | 0xc, in(IIR));
	EQ('b', in(DATA));
	pass(NS_PER_S);
	EQ(FIFOS | NONE, in(IIR));
	/* At another speed. */
	out(LCR, 0x83);
	out(DATA, 12);
	out(LCR, 3);
	out(DATA, 'c');
	pass(40 * CHARACTER);
	EQ(FIFOS | NONE, in(IIR));
	pass(9 * CHARACTER);
	EQ(FIFOS | 0xc, in(IIR));
	/* There is none without the FIFO. */
	start(0, LOOP);
	out(IER, 1);
	out(DATA, 'd');
	pass(NS_PER_S);
	EQ(4, in(IIR));
}

static void test_fifo_control(void)
{
	start(1, LOOP);
	out(DATA, 'a');
	/* Clearing needs the first bit, whose change clears as well. */
	out(FCR, 0x03);
	EQ(TX_FREE | TX_IDLE, in(LSR));
	out(DATA, 'a');
	out(FCR, 0x05);
	EQ(DR | TX_FREE | TX_IDLE, in(LSR));
	out(FCR, 0x00);
	EQ(TX_FREE | TX_IDLE, in(LSR));
	EQ(NONE, in(IIR));
	out(DATA, 'a');
	out(FCR, 0x02);
	EQ(DR | TX_FREE | TX_IDLE, in(LSR));
	/* A trigger level goes with it. */
	out(FCR, 0xc0);
	out(FCR, 0x01);
	out(IER, 1);
	out(DATA, 'a');
	EQ(FIFOS | 4, in(IIR));
}

static void test_console(void)
{
	/* Input waits for DTR, for room, and for the end of a loop. */
	start(1, 0);
	EQ(0, type("hello"));
	out(MCR, LOOP | 1);
	EQ(0, type("hello"));
	out(MCR, 1);
	EQ(16, type("0123456789abcdefgh"));
	EQ(0, type("gh"));
	EQ(DR | TX_FREE | TX_IDLE, in(LSR));
	for (int i = 0; i < 16; i++)
		EQ("0123456789abcdef"[i], in(DATA));
	out(FCR, 0);
	EQ(1, type("xy"));
	EQ(0, type("y"));
	EQ('x', in(DATA));
	/* Output goes out, and waits for a console that is full. */
	start(1, 1);
	out(IER, 2);
	in(IIR);
	out(DATA, 'a');
	EQ('a', screen[0]);
	EQ(FIFOS | 2, in(IIR));
	screen_is_full = true;
	for (int i = 0; i < 16; i++)
		out(DATA, 'b' + i);
	EQ(0, in(LSR));
	EQ(FIFOS | NONE, in(IIR));
	EQ(1, on_screen);
	screen_is_full = false;
	console_ops->writable(console_device);
	EQ(17, on_screen);
	EQ(TX_FREE | TX_IDLE, in(LSR));
	EQ(FIFOS | 2, in(IIR));
}

static void test_rubbish(void)
{
	for (int i = 0; i < 300000; i++) {
		out(DATA + rand() % 8, rand());
		in(DATA + rand() % 8);
		type("rubbish" + rand() % 8);
		screen_is_full = rand() % 2;
		if (i % 16 == 0)
			pass(rand() % MS);
	}
}

int main(void)
{
	static const struct unit_test tests[] = {
		{ "registers", test_registers },
		{ "overrun", test_overrun },
		{ "break", test_break },
		{ "modem status", test_modem },
		{ "interrupts and their priorities", test_priorities },
		{ "trigger levels", test_triggers },
		{ "timeout", test_timeout },
		{ "FIFO control", test_fifo_control },
		{ "console", test_console },
		{ "rubbish", test_rubbish },
	};

	if (pic_create(&vm) || ioapic_create(&vm) || serial_create(&vm))
		return 1;
	lcr_at_first = in(LCR);
	return run_tests(tests, ARRAY_SIZE(tests));
}
