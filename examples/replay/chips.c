// SPDX-License-Identifier: GPL-2.0
/* The devices: see chips.h. */
#include <poll.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "chips.h"

#define PIC_COMMAND 0x20
#define PIC_MASK 0x21
#define SLAVE_MASK 0xa1
#define ICW1 0x10
#define EOI 0x20
#define PIT_COUNTER_0 0x40
#define PIT_CONTROL 0x43
#define PIT_HZ 1193182
#define LINE_STATUS (PORT_SERIAL + 5)
#define LSR_READY 0x60
#define LSR_DATA 1

/* The words of the initialization are counted; bit 0 of request and service is the timer. */
static struct {
	__u8 mask, slave_mask, base, words;
	bool request, service;
	__u64 since;
} pic = { .mask = 0xff };

static struct {
	__u8 mode, nr;
	__u16 count;
	__u64 period, due;
} pit;

__u64 chips_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ull + now.tv_nsec;
}

static __u8 serial_read(void)
{
	__u8 byte = 0;

	return read(STDIN_FILENO, &byte, 1) == 1 ? byte : 0;
}

/* At the end of its input there is none. */
static __u8 serial_status(void)
{
	struct pollfd input = { .fd = STDIN_FILENO, .events = POLLIN };

	return LSR_READY | (poll(&input, 1, 0) == 1 && input.revents & POLLIN ? LSR_DATA : 0);
}

__u32 chips_in(__u16 port)
{
	switch (port) {
	case PIC_MASK:
		return pic.mask;
	case SLAVE_MASK:
		return pic.slave_mask;
	case PORT_SERIAL:
		return serial_read();
	case LINE_STATUS:
		return serial_status();
	case PIC_COMMAND:
	case PIT_COUNTER_0 ... PIT_CONTROL:
	case PORT_SERIAL + 1 ... PORT_SERIAL + 4:
		return 0;
	}
	return ~0u;
}

static void pic_command(__u8 data)
{
	if (data & ICW1)
		pic.words = 3;
	else if (data & EOI)
		pic.service = false;
}

static void pic_data(__u8 data)
{
	if (!pic.words)
		pic.mask = data;
	else if (pic.words-- == 3)
		pic.base = data & 0xf8;
}

/* Both halves of the count, low and high: mode 2 or 3 goes on and on, others fire once. */
static void pit_count(__u8 data)
{
	pit.count = pit.nr++ & 1 ? (pit.count & 0xff) | data << 8 : data;
	if (pit.nr & 1)
		return;
	pit.period = (pit.count ?: 0x10000) * 1000000000ull / PIT_HZ;
	pit.due = chips_now() + pit.period;
}

static void pit_control(__u8 data)
{
	if (data >> 6 || !(data & 0x30))
		return;
	pit.mode = data >> 1 & 3;
	pit.nr = 0;
	pit.due = 0;
}

void chips_out(__u16 port, __u8 data)
{
	switch (port) {
	case PIC_COMMAND:
		pic_command(data);
		break;
	case PIC_MASK:
		pic_data(data);
		break;
	case SLAVE_MASK:
		pic.slave_mask = data;
		break;
	case PIT_COUNTER_0:
		pit_count(data);
		break;
	case PIT_CONTROL:
		pit_control(data);
		break;
	}
}

bool chips_interrupt(__u64 now)
{
	if (pit.due && now >= pit.due) {
		if (!pic.request)
			pic.since = pit.due;
		pic.request = true;
		pit.due = pit.mode & 2 ? now + pit.period - (now - pit.due) % pit.period : 0;
	}
	return pic.request && !pic.service && !(pic.mask & 1);
}

__u8 chips_vector(void)
{
	return pic.base;
}

__u64 chips_acknowledge(__u64 now)
{
	pic.request = false;
	pic.service = true;
	return now - pic.since;
}

__u64 chips_next(void)
{
	return pit.due;
}
