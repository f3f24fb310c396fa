// SPDX-License-Identifier: GPL-2.0
/* The two 8259s and the I/O APIC, by the data sheets of the 8259A, 82371AB and 82093AA. */
#include <stdlib.h>

#include "chipset.h"

#define FIRST 0x20
#define SECOND 0xa0

static void words(__u16 port, int icw1, int icw2, int icw3, int icw4)
{
	out(port, icw1);
	out(port + 1, icw2);
	if (icw3 >= 0)
		out(port + 1, icw3);
	if (icw4 >= 0)
		out(port + 1, icw4);
}

/* As a PC's: both, cascaded, nothing masked, all lines low. */
static void start(int icw4)
{
	for (int line = 0; line < 16; line++)
		pic_set_line(&vm, line, false);
	out(0x4d0, 0);
	out(0x4d1, 0);
	words(FIRST, 0x11, 0x20, 4, icw4);
	words(SECOND, 0x11, 0x28, 2, icw4 & ~0x10);
}

static void edge(int line)
{
	pic_set_line(&vm, line, false);
	pic_set_line(&vm, line, true);
}

static int take(void)
{
	return pic_pending(&vm) ? pic_acknowledge(&vm) : -1;
}

static int reads(__u16 port, __u8 ocw3)
{
	out(port, ocw3);
	return in(port);
}

#define IRR(port) reads(port, 0x0a)
#define ISR(port) reads(port, 0x0b)
#define POLL(port) reads(port, 0x0c)

static void test_initialization(void)
{
	/* ICW3 is there when it is not single, ICW4 when it is asked for; what follows is the mask. */
	for (int icw1 = 0x10; icw1 <= 0x1f; icw1++) {
		words(FIRST, icw1, 0x20, icw1 & 2 ? -1 : 4, icw1 & 1 ? 1 : -1);
		EQ(0, in(FIRST + 1));
		out(FIRST + 1, 0xa0 | icw1);
		EQ(0xa0 | icw1, in(FIRST + 1));
	}
	/* The mask, the service and the modes are gone, and so is an edge; a level stays. */
	start(1);
	out(0x4d0, 0x20);
	edge(3);
	edge(5);
	EQ(0x23, take());
	out(FIRST, 0x68);
	out(FIRST + 1, 0xff);
	out(FIRST, 0x11);
	EQ(0, in(FIRST + 1));
	CHECK(!pic_pending(&vm));
	words(FIRST, 0x11, 0x40, 4, 1);
	EQ(0, ISR(FIRST));
	EQ(0x20, IRR(FIRST));
	EQ(0x45, take());
	/* Single: input 2 is one like the others. */
	start(1);
	words(FIRST, 0x13, 0x60, -1, 1);
	edge(10);
	EQ(0x62, take());
	EQ(4, ISR(FIRST));
	EQ(0, ISR(SECOND));
}

static void test_priorities(void)
{
	static const int order[] = { 0, 1, 8, 9, 10, 11, 12, 13, 14, 15, 3, 4, 5, 6, 7 };

	start(0x11);
	for (int i = 14; i >= 0; i--) {
		edge(order[i]);
		EQ(0x20 + order[i], take());
	}
	CHECK(!pic_pending(&vm));
	for (unsigned int i = 0; i < ARRAY_SIZE(order); i++) {
		if (order[i] >= 8)
			out(SECOND, 0x20);
		if (order[i] < 8 || order[i] == 15)
			out(FIRST, 0x20);
	}
	EQ(0, ISR(FIRST));
	EQ(0, ISR(SECOND));
	/* Each input can be the lowest: by its number, by a specific end, by any end. */
	for (int lowest = 0; lowest < 8; lowest++) {
		for (int how = 0; how < 3; how++) {
			start(1);
			words(FIRST, 0x13, 0x20, -1, 1);
			if (how)
				edge(lowest == 2 ? 10 : lowest), take();
			out(FIRST, how == 0 ? 0xc0 | lowest : how == 1 ? 0xe0 | lowest : 0xa0);
			EQ(0, ISR(FIRST));
			/* Input 2 is the second one's, and has no line. */
			for (int line = 0; line < 8; line++)
				edge(line == 2 ? 3 : line);
			for (int i = 1; i <= 8; i++) {
				if ((lowest + i) % 8 == 2)
					continue;
				EQ(0x20 + (lowest + i) % 8, take());
				out(FIRST, 0x20);
			}
		}
	}
}

static void test_automatic_end(void)
{
	start(3);
	edge(3);
	EQ(0x23, take());
	EQ(0, ISR(FIRST));
	/* Rotating: who has been served has the lowest priority. */
	out(FIRST, 0x80);
	edge(3);
	EQ(0x23, take());
	edge(3);
	edge(4);
	EQ(0x24, take());
	EQ(0x23, take());
	out(FIRST, 0x00);
	edge(0);
	edge(5);
	EQ(0x25, take());
}

static void test_special_mask(void)
{
	start(1);
	edge(3);
	EQ(0x23, take());
	edge(5);
	CHECK(!pic_pending(&vm));
	out(FIRST + 1, 0x08);
	out(FIRST, 0x68);
	EQ(0x25, take());
	/* An end that is not specific leaves out what is masked. */
	out(FIRST, 0x20);
	EQ(0x08, ISR(FIRST));
	out(FIRST, 0x20);
	EQ(0x08, ISR(FIRST));
	out(FIRST, 0x63);
	EQ(0, ISR(FIRST));
	out(FIRST, 0x48);
}

/* Only what comes from the second one gets past its own input, and past no other. */
static void test_special_fully_nested(void)
{
	for (int nested = 0; nested < 2; nested++) {
		start(nested ? 0x11 : 1);
		edge(12);
		EQ(0x2c, take());
		edge(9);
		edge(3);
		EQ(nested ? 0x29 : (unsigned long long)-1, take());
		edge(14);
		CHECK(!pic_pending(&vm));
		edge(1);
		EQ(0x21, take());
	}
}

static void test_levels(void)
{
	static const __u8 writable[] = { 0xf8, 0xde };

	start(1);
	for (int i = 0; i < 2; i++) {
		out(0x4d0 + i, 0xff);
		EQ(writable[i], in(0x4d0 + i));
	}
	for (int line = 3; line < 16; line++) {
		if (!(writable[line / 8] >> line % 8 & 1))
			continue;
		/* Again after its end while it is there, and not when it has gone. */
		pic_set_line(&vm, line, true);
		for (int i = 0; i < 3; i++) {
			EQ(0x20 + line, take());
			EQ(-1, (long long)take());
			if (i == 2)
				pic_set_line(&vm, line, false);
			out(SECOND, 0x20);
			out(FIRST, 0x20);
		}
		CHECK(!pic_pending(&vm));
	}
	/* A level becomes a request when the input is made one for levels. */
	out(0x4d0, 0);
	edge(5);
	EQ(0x25, take());
	out(FIRST, 0x20);
	CHECK(!pic_pending(&vm));
	out(0x4d0, 0x20);
	EQ(0x25, take());
}

static void test_spurious(void)
{
	for (int line = 3; line < 16; line += 7) {
		start(1);
		edge(line);
		CHECK(pic_pending(&vm));
		pic_set_line(&vm, line, false);
		CHECK(!pic_pending(&vm));
		EQ(-1, (long long)pic_acknowledge(&vm));
	}
	EQ(0, ISR(FIRST));
}

static void test_poll(void)
{
	start(1);
	EQ(0, POLL(FIRST) & 0x80);
	edge(6);
	edge(4);
	CHECK(line_is_waiting(&vm, 4));
	EQ(0x84, POLL(FIRST));
	CHECK(!line_is_waiting(&vm, 4));
	EQ(0x10, ISR(FIRST));
	EQ(0, POLL(FIRST) & 0x80);
	out(FIRST, 0x20);
	/* Any read will do, and it is one alone. */
	out(FIRST, 0x0c);
	EQ(0x86, in(FIRST + 1));
	EQ(0, in(FIRST + 1));
	out(FIRST, 0x20);
	edge(13);
	EQ(0x82, POLL(FIRST));
	EQ(0x85, POLL(SECOND));
	/* Masked is not heard, and does not wait. */
	start(1);
	edge(8);
	CHECK(line_is_heard(&vm, 8) && line_is_waiting(&vm, 8));
	out(FIRST + 1, 4);
	CHECK(!line_is_heard(&vm, 8) && !line_is_waiting(&vm, 8));
}

/* ---- the I/O APIC -------------------------------------------------------------------- */

static __u32 ioapic_get(__u8 index)
{
	bus_write(&vm, SPACE_MMIO, IOAPIC_BASE, 4, index);
	return bus_read(&vm, SPACE_MMIO, IOAPIC_BASE + 16, 4);
}

static void ioapic_put(__u8 index, __u32 data)
{
	bus_write(&vm, SPACE_MMIO, IOAPIC_BASE, 4, index);
	bus_write(&vm, SPACE_MMIO, IOAPIC_BASE + 16, 4, data);
}

#define PIN 9
#define ENTRY (0x10 + 2 * PIN)
#define STATUS 0x1000
#define REMOTE_IRR 0x4000
#define LEVEL 0x8000
#define MASKED 0x10000

static void pin_start(__u32 entry)
{
	ioapic_set_line(&vm, PIN, false);
	ioapic_put(ENTRY, MASKED);
	ioapic_put(ENTRY + 1, 0);
	ioapic_put(ENTRY, entry);
	nr_messages = 0;
}

static void test_pin_levels(void)
{
	pin_start(LEVEL | 0x41);
	ioapic_set_line(&vm, PIN, true);
	ioapic_set_line(&vm, PIN, true);
	EQ(1, nr_messages);
	EQ(0xc041, messages[0].data);
	EQ(LEVEL | REMOTE_IRR | 0x41, ioapic_get(ENTRY));
	/* Of another vector; of this one, while it is there; when it has gone. */
	ioapic_end_of_interrupt(&vm, 0x42);
	EQ(1, nr_messages);
	ioapic_end_of_interrupt(&vm, 0x41);
	EQ(2, nr_messages);
	ioapic_set_line(&vm, PIN, false);
	EQ(LEVEL | REMOTE_IRR | 0x41, ioapic_get(ENTRY));
	ioapic_end_of_interrupt(&vm, 0x41);
	EQ(2, nr_messages);
	EQ(LEVEL | 0x41, ioapic_get(ENTRY));
	/* Masked in service: again when it may be. */
	ioapic_set_line(&vm, PIN, true);
	ioapic_put(ENTRY, MASKED | LEVEL | 0x41);
	ioapic_end_of_interrupt(&vm, 0x41);
	EQ(3, nr_messages);
	ioapic_put(ENTRY, LEVEL | 0x41);
	EQ(4, nr_messages);
	/* Made an edge and a level again, it is not in service any more. */
	ioapic_put(ENTRY, MASKED | 0x41);
	EQ(MASKED | 0x41, ioapic_get(ENTRY));
	ioapic_put(ENTRY, LEVEL | 0x41);
	EQ(5, nr_messages);
}

/* Remote IRR says that a local APIC has accepted it; until then it is to be sent. */
static void test_pin_not_accepted(void)
{
	pin_start(LEVEL | 0x41);
	nobody_accepts = true;
	ioapic_set_line(&vm, PIN, true);
	EQ(LEVEL | STATUS | 0x41, ioapic_get(ENTRY));
	nobody_accepts = false;
	ioapic_put(ENTRY + 1, 0x01000000);
	ioapic_put(ENTRY, LEVEL | 0x41);
	EQ(LEVEL | REMOTE_IRR | 0x41, ioapic_get(ENTRY));
	EQ(0xfee01000, messages[0].address);
	ioapic_end_of_interrupt(&vm, 0x41);
	/* APIC id 0x7f2c: bits 14:8 are next to the others, and bit 48 is none of them. */
	ioapic_put(ENTRY + 1, 0x2cffffff);
	EQ(0x2cfe0000, ioapic_get(ENTRY + 1));
	ioapic_end_of_interrupt(&vm, 0x41);
	EQ(0x00007f00fee2c000, messages[2].address);
}

static void test_pin_edges(void)
{
	pin_start(0x841);
	ioapic_set_line(&vm, PIN, true);
	ioapic_set_line(&vm, PIN, true);
	EQ(1, nr_messages);
	EQ(0xfee00004, messages[0].address);
	EQ(0x41, messages[0].data);
	EQ(0x841, ioapic_get(ENTRY));
	/* What comes while it is masked is lost. */
	ioapic_put(ENTRY, MASKED | 0x41);
	ioapic_set_line(&vm, PIN, false);
	ioapic_set_line(&vm, PIN, true);
	ioapic_put(ENTRY, 0x41);
	EQ(1, nr_messages);
	/* SMI, NMI and INIT are edges, and ExtINT is the 8259s', whatever is said of levels. */
	for (unsigned int mode = 2; mode < 8; mode++) {
		pin_start(LEVEL | mode << 8 | 0x41);
		ioapic_set_line(&vm, PIN, true);
		EQ(mode != 7, nr_messages);
		EQ(LEVEL | mode << 8 | 0x41, ioapic_get(ENTRY));
		ioapic_set_line(&vm, PIN, false);
		ioapic_set_line(&vm, PIN, true);
		EQ(mode == 7 ? 0 : 2, nr_messages);
	}
}

static void test_registers(void)
{
	EQ(0x170011, ioapic_get(1));
	ioapic_put(0, 0xffffffff);
	EQ(0x0f000000, ioapic_get(0));
	EQ(0x0f000000, ioapic_get(2));
	ioapic_put(1, 0);
	EQ(0x170011, ioapic_get(1));
	for (int pin = 0; pin < 24; pin++) {
		ioapic_put(0x10 + 2 * pin, 0xffffffff);
		ioapic_put(0x11 + 2 * pin, 0xffffffff);
		EQ(0x1afff, ioapic_get(0x10 + 2 * pin));
		EQ(0xfffe0000, ioapic_get(0x11 + 2 * pin));
		ioapic_put(0x10 + 2 * pin, MASKED);
	}
	EQ(0, ioapic_get(0x40));
}

/* Whatever a guest writes. */
static void test_rubbish(void)
{
	static const __u16 ports[] = { 0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1 };

	for (int i = 0; i < 200000; i++) {
		__u16 port = ports[rand() % 6];
		int vector;

		if (rand() % 2)
			out(port, rand());
		else
			in(port);
		pic_set_line(&vm, rand() % 16, rand() % 2);
		ioapic_put(rand(), rand());
		vector = pic_acknowledge(&vm);
		CHECK(vector >= -1 && vector <= 0xff);
	}
}

int main(void)
{
	static const struct unit_test tests[] = {
		{ "8259: initialization", test_initialization },
		{ "8259: priorities", test_priorities },
		{ "8259: automatic end of interrupt", test_automatic_end },
		{ "8259: special mask mode", test_special_mask },
		{ "8259: special fully nested mode", test_special_fully_nested },
		{ "8259: levels", test_levels },
		{ "8259: requests that go away", test_spurious },
		{ "8259: poll", test_poll },
		{ "I/O APIC: registers", test_registers },
		{ "I/O APIC: levels", test_pin_levels },
		{ "I/O APIC: what nobody accepts", test_pin_not_accepted },
		{ "I/O APIC: edges", test_pin_edges },
		{ "rubbish", test_rubbish },
	};

	if (pic_create(&vm) || ioapic_create(&vm))
		return 1;
	return run_tests(tests, ARRAY_SIZE(tests));
}
