// SPDX-License-Identifier: GPL-2.0
/* Port I/O: each width, direction and form, strings included, in each mode. */
#include <string.h>

#include "complete.h"
#include "mode_fixture.h"

/* What the devices saw; a port reads as its number times this. */
#define PATTERN 0x01030507u

static struct access {
	bool in;
	__u16 port;
	unsigned int size;
	__u32 data;
} log[8192];
static int nr;

static __u32 port_in(void *context, __u16 port, unsigned int size)
{
	__u32 value = port * PATTERN + nr;

	log[nr++] = (struct access) { true, port, size, value };
	return value;
}

static void port_out(void *context, __u16 port, unsigned int size, __u32 data)
{
	log[nr++] = (struct access) { false, port, size, data };
}

static const struct mote_bus bus = { .port_in = port_in, .port_out = port_out };

/* Run to the end, all port I/O completed; the reason of the last exit. */
static int play(struct guest *guest, enum guest_mode mode)
{
	int reason;

	nr = 0;
	for (;;) {
		reason = guest_run(guest);
		if (reason != MOTE_EXIT_PIO || mode_is_over(guest, mode) || nr > 8000)
			return reason;
		if (mote_complete_pio(&guest->cpu, &bus))
			return -1;
		guest->run->reason = MOTE_EXIT_NONE;
	}
}

#define EXPECT_ACCESS(n, in_, port_, size_, data_)		\
	do {							\
		EXPECT_EQ(in_, log[n].in);			\
		EXPECT_EQ(port_, log[n].port);			\
		EXPECT_EQ(size_, log[n].size);			\
		EXPECT_EQ(data_, log[n].data);			\
	} while (0)

GUEST_ALL(out,
	  "mov $0x81828384, %eax; mov $0xfedc, %dx\n"
	  "out %al, $0x81; out %ax, $0x82; out %eax, $0x84\n"
	  "out %al, %dx; out %ax, %dx; out %eax, %dx; hlt");

/* OUT gives the low bytes of RAX to the port that is named. */
TEST_MODE(out)
{
	guest_start(&self->guest, variant->mode, GUEST_FOR(out, variant->mode));
	play(&self->guest, variant->mode);
	ASSERT_TRUE(mode_is_over(&self->guest, variant->mode));
	ASSERT_EQ(6, nr);
	EXPECT_ACCESS(0, false, 0x81, 1, 0x84);
	EXPECT_ACCESS(1, false, 0x82, 2, 0x8384);
	EXPECT_ACCESS(2, false, 0x84, 4, 0x81828384);
	EXPECT_ACCESS(3, false, 0xfedc, 1, 0x84);
	EXPECT_ACCESS(4, false, 0xfedc, 2, 0x8384);
	EXPECT_ACCESS(5, false, 0xfedc, 4, 0x81828384);
}

GUEST_ALL(in,
	  "mov $0x11223344, %eax; in $0x81, %al; mov %eax, GUEST_DATA\n"
	  "mov $0x11223344, %eax; in $0x82, %ax; mov %eax, GUEST_DATA + 4\n"
	  "mov $0xfedc, %dx; in %dx, %eax; mov %eax, GUEST_DATA + 8\n"
	  "mov $0x11223344, %eax; in %dx, %al; mov %eax, GUEST_DATA + 12; hlt");

/* IN changes just the bytes of RAX that it names. */
TEST_MODE(in)
{
	__u32 *data = (__u32 *)(self->guest.ram + GUEST_DATA);

	guest_start(&self->guest, variant->mode, GUEST_FOR(in, variant->mode));
	self->guest.run->gpr[MOTE_RAX] = ~0ull;
	self->guest.run->set = 1u << MOTE_RAX;
	play(&self->guest, variant->mode);
	ASSERT_TRUE(mode_is_over(&self->guest, variant->mode));
	ASSERT_EQ(4, nr);
	EXPECT_EQ(0x11223300 | (log[0].data & 0xff), data[0]);
	EXPECT_EQ(0x11220000 | (log[1].data & 0xffff), data[1]);
	EXPECT_EQ(log[2].data, data[2]);
	EXPECT_EQ(0x11223300 | (log[3].data & 0xff), data[3]);
	EXPECT_ACCESS(2, true, 0xfedc, 4, 0xfedc * PATTERN + 2);
}

GUEST_ALL(strings,
	  "cld; mov $0x100, %edx; mov $0xcffe, %esi; mov $5, %ecx\n"
	  "rep outsb; outsw; outsl\n"
	  "mov $0xdffd, %edi; mov $3, %ecx; rep insb; insw; insl\n"
	  "std; mov $0xcffe, %esi; mov $2, %ecx; rep outsl; cld\n"
	  "xor %ecx, %ecx; rep outsb; rep insl\n"
	  "mov $0xc123, %esi; mov $2, %ecx; .byte 0x67; rep outsw\n"
	  "mov $0xc123, %esi; .byte 0x36; outsb\n"
	  "mov $1300, %ecx; rep outsb; hlt");

/* INS and OUTS: counts, direction, both address sizes, segment, across pages. */
TEST_MODE(strings)
{
	unsigned char *ram = self->guest.ram, *data = ram + GUEST_DATA;
	struct mote_run *run = self->guest.run;
	__u32 value;

	for (int i = 0; i < 0x2000; i++)
		data[i] = i * 7 + (i >> 8);
	guest_start(&self->guest, variant->mode, GUEST_FOR(strings, variant->mode));
	play(&self->guest, variant->mode);
	ASSERT_TRUE(mode_is_over(&self->guest, variant->mode));
	ASSERT_EQ(5 + 2 + 5 + 2 + 2 + 1 + 1300, nr);
	for (int i = 0; i < 5; i++)
		EXPECT_ACCESS(i, false, 0x100, 1, ram[0xcffe + i]);
	EXPECT_ACCESS(5, false, 0x100, 2, ram[0xd003] | ram[0xd004] << 8);
	memcpy(&value, ram + 0xd005, 4);
	EXPECT_ACCESS(6, false, 0x100, 4, value);
	for (int i = 0; i < 3; i++)
		EXPECT_EQ((unsigned char)(0x100 * PATTERN + 7 + i), ram[0xdffd + i]);
	memcpy(&value, ram + 0xe002, 4);
	EXPECT_EQ(log[11].data, value);
	memcpy(&value, ram + 0xcffe, 4);
	EXPECT_ACCESS(12, false, 0x100, 4, value);
	memcpy(&value, ram + 0xcffa, 4);
	EXPECT_ACCESS(13, false, 0x100, 4, value);
	EXPECT_ACCESS(14, false, 0x100, 2, ram[0xc123] | ram[0xc124] << 8);
	EXPECT_ACCESS(16, false, 0x100, 1, ram[0xc123]);
	EXPECT_ACCESS(17 + 1299, false, 0x100, 1, ram[0xc124 + 1299]);
	EXPECT_EQ(0, (__u16)run->gpr[MOTE_RCX]);
	EXPECT_EQ(0xc124 + 1300, run->gpr[MOTE_RSI]);
}

GUEST_ALL(denied, "mov $0x34, %edx; in %dx, %al; out %al, $0x35; hlt");

/* Ports that the guest's own kernel denies to ring 3 are its #GP, and no exit. */
TEST_MODE(the_bitmap_of_the_guest_rules)
{
	bool user = variant->mode == GUEST_V8086 || variant->mode == GUEST_LONG3;
	struct guest_frame frame;

	guest_start(&self->guest, variant->mode, GUEST_FOR(denied, variant->mode));
	self->guest.ram[GUEST_TSS + 0x68 + 0x34 / 8] |= 1 << (0x34 & 7);
	ASSERT_EQ(MOTE_EXIT_PIO, guest_run(&self->guest));
	EXPECT_EQ(user, guest_frame(&self->guest, variant->mode, &frame));
	if (!user) {
		EXPECT_EQ(0x34, self->guest.run->pio.port);
		EXPECT_EQ(MOTE_PIO_IN, self->guest.run->pio.flags);
		return;
	}
	EXPECT_EQ(13, frame.vector);
	EXPECT_EQ(0, frame.error);
}

MOTE_TEST_MAIN
