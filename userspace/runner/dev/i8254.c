// SPDX-License-Identifier: GPL-2.0
/*
 * The 8254 timer: channel 0 interrupts, channel 2 is the speaker's, which guests
 * measure other clocks with: its gate and output are in port 0x61.
 *
 * A counter is the time since it was loaded; nothing ticks.  Modes 0, 2, 3 and 4
 * count as the data sheet says, 1 and 5 as 0 and 4 do when the gate rises.  Not
 * here: BCD, which nobody uses (it counts binary).
 */
#include <stdlib.h>

#include "runner.h"
#include "vm.h"

#define PORT 0x40
#define PORT_SPEAKER 0x61
#define ID_SPEAKER 1

#define HZ 1193182
#define SPEAKER_GATE 0x01
#define SPEAKER_DATA 0x02
#define SPEAKER_REFRESH 0x10
#define SPEAKER_OUTPUT 0x20
#define NS_REFRESH 15085

#define READ_BACK 3
#define READ_BACK_NO_COUNT 0x20
#define READ_BACK_NO_STATUS 0x10
#define STATUS_OUTPUT 0x80
#define STATUS_NULL 0x40

enum access { LATCH, LOW, HIGH, BOTH };

struct channel {
	__u32 initial;		/* 1 to 0x10000 */
	__u64 start;		/* when it was loaded; 0: it has not been */
	__u16 latch;
	__u8 latched;		/* bytes of it that are still to be read */
	__u8 status, has_status;
	__u8 mode, access;
	__u8 gate;
	__u8 low, has_low;	/* of a count that is being written */
	__u8 high_next;		/* of one that is being read */
};

struct pit {
	struct device device;
	struct timer timer;
	struct channel channels[3];
	__u8 speaker;
};

static struct pit *pit_of(struct device *device)
{
	return container_of(device, struct pit, device);
}

static bool is_periodic(const struct channel *channel)
{
	return channel->mode == 2 || channel->mode == 3;
}

/* Ticks since it was loaded. */
static __u64 elapsed(const struct channel *channel)
{
	return channel->start ? scale(clock_ns() - channel->start, HZ, NS_PER_S) : 0;
}

static __u16 count(const struct channel *channel)
{
	__u64 ticks = elapsed(channel);

	if (!is_periodic(channel))
		return channel->initial - ticks;
	ticks %= channel->initial;
	/* A square wave counts by two, twice. */
	if (channel->mode == 3)
		return channel->initial - (2 * ticks % channel->initial & ~1u);
	return channel->initial - ticks;
}

static bool output(const struct channel *channel)
{
	__u64 ticks = elapsed(channel);

	switch (channel->mode) {
	case 2:
		return ticks % channel->initial != channel->initial - 1;
	case 3:
		return ticks % channel->initial < (channel->initial + 1) / 2;
	case 4:
	case 5:
		return ticks != channel->initial;
	default:
		return channel->start && ticks >= channel->initial;
	}
}

/* ---- channel 0 interrupts --------------------------------------------------------- */

static void fire(struct vm *vm, struct timer *timer)
{
	(void)timer;
	line_set(vm, LINE_TIMER, false);
	line_set(vm, LINE_TIMER, true);
}

static __u64 to_ns(__u32 ticks)
{
	return scale(ticks, NS_PER_S, HZ);
}

static void set_timer(struct pit *pit)
{
	const struct channel *channel = &pit->channels[0];
	__u64 period = to_ns(channel->initial);

	/* In mode 0 the output is low until the end; the others are high at first. */
	line_set(pit->device.vm, LINE_TIMER, channel->mode != 0 && channel->mode != 1);
	if (channel->start)
		timer_set(&pit->timer, channel->start + period, is_periodic(channel) ? period : 0);
	else
		timer_set(&pit->timer, 0, 0);
}

/* ---- ports -------------------------------------------------------------------------- */

static void load(struct pit *pit, struct channel *channel, __u16 initial)
{
	channel->initial = initial ? initial : 0x10000;
	channel->start = channel->gate ? clock_ns() : 0;
	if (channel == &pit->channels[0])
		set_timer(pit);
}

static void write_count(struct pit *pit, struct channel *channel, __u8 data)
{
	if (channel->access == LOW) {
		load(pit, channel, data);
	} else if (channel->access == HIGH) {
		load(pit, channel, data << 8);
	} else if (!channel->has_low) {
		channel->low = data;
		channel->has_low = 1;
	} else {
		channel->has_low = 0;
		load(pit, channel, data << 8 | channel->low);
	}
}

static void latch_count(struct channel *channel)
{
	if (channel->latched)
		return;
	channel->latch = count(channel);
	channel->latched = channel->access == BOTH ? 2 : 1;
}

static void latch_status(struct channel *channel)
{
	if (channel->has_status)
		return;
	channel->status = channel->access << 4 | channel->mode << 1 |
			  (output(channel) ? STATUS_OUTPUT : 0) |
			  (channel->start ? 0 : STATUS_NULL);
	channel->has_status = 1;
}

static void write_control(struct pit *pit, __u8 data)
{
	unsigned int number = data >> 6, mode = data >> 1 & 7;
	struct channel *channel = &pit->channels[number];

	if (number == READ_BACK) {
		for (int i = 0; i < 3; i++) {
			if (!(data >> (i + 1) & 1))
				continue;
			if (!(data & READ_BACK_NO_COUNT))
				latch_count(&pit->channels[i]);
			if (!(data & READ_BACK_NO_STATUS))
				latch_status(&pit->channels[i]);
		}
		return;
	}
	if ((data >> 4 & 3) == LATCH) {
		latch_count(channel);
		return;
	}
	*channel = (struct channel) {
		.initial = 0x10000, .access = data >> 4 & 3, .gate = channel->gate,
		.mode = mode > 5 ? mode - 4 : mode,
	};
	if (!number)
		set_timer(pit);
}

static __u8 read_count(struct channel *channel)
{
	__u16 value = channel->latched ? channel->latch : count(channel);
	bool high = channel->access == HIGH;

	if (channel->has_status) {
		channel->has_status = 0;
		return channel->status;
	}
	if (channel->access == BOTH) {
		high = channel->high_next;
		channel->high_next = !high;
	}
	if (channel->latched)
		channel->latched--;
	return high ? value >> 8 : value;
}

/* A rising gate starts the channel anew; a low one stops it. */
static void set_gate(struct channel *channel, bool gate)
{
	if (gate && !channel->gate)
		channel->start = clock_ns();
	channel->gate = gate;
}

static __u8 read_speaker(struct pit *pit)
{
	return pit->speaker | (output(&pit->channels[2]) ? SPEAKER_OUTPUT : 0) |
	       (clock_ns() / NS_REFRESH & 1 ? SPEAKER_REFRESH : 0);
}

static __u64 pit_read(struct device *device, const struct region *region, __u64 offset,
		      unsigned int size)
{
	struct pit *pit = pit_of(device);

	(void)size;
	if (region->id == ID_SPEAKER)
		return read_speaker(pit);
	return offset < 3 ? read_count(&pit->channels[offset]) : 0;
}

static void pit_write(struct device *device, const struct region *region, __u64 offset,
		      unsigned int size, __u64 data)
{
	struct pit *pit = pit_of(device);

	(void)size;
	if (region->id == ID_SPEAKER) {
		pit->speaker = data & (SPEAKER_GATE | SPEAKER_DATA);
		set_gate(&pit->channels[2], data & SPEAKER_GATE);
	} else if (offset < 3) {
		write_count(pit, &pit->channels[offset], data);
	} else {
		write_control(pit, data);
	}
}

static void pit_destroy(struct device *device)
{
	struct pit *pit = pit_of(device);

	timer_destroy(&pit->timer);
	free(pit);
}

static const struct device_ops ops = {
	.name = "i8254", .read = pit_read, .write = pit_write, .destroy = pit_destroy,
};

int pit_create(struct vm *vm)
{
	struct pit *pit = calloc(1, sizeof(*pit));

	if (!pit || timer_create_fd(&vm->io, &pit->timer, fire)) {
		complain("cannot make the i8254: %m");
		free(pit);
		return -1;
	}
	for (int i = 0; i < 3; i++)
		pit->channels[i] = (struct channel) { .initial = 0x10000, .access = BOTH,
						      .mode = 3, .gate = i < 2 };
	device_add(vm, &pit->device, &ops);
	if (device_ports(&pit->device, PORT, 4, 1, 0))
		return -1;
	return device_ports(&pit->device, PORT_SPEAKER, 1, 1, ID_SPEAKER);
}
