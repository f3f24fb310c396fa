// SPDX-License-Identifier: GPL-2.0
/*
 * The 82C54 timer: counter 0 interrupts, counter 2 is the speaker's, which guests
 * measure other clocks with: its gate and output are in port 0x61.  Data sheet of
 * the 82C54, "Mode Definitions" and "Operation Common to All Modes".
 *
 * A count is the pulses of the clock since it was loaded; nothing ticks.  A write
 * takes effect at once, where the chip waits for the next pulse.
 */
#include <stdlib.h>

#include "chips.h"
#include "irq.h"
#include "runner.h"
#include "ticks.h"

#define PORT 0x40
#define PORT_SPEAKER 0x61
#define ID_SPEAKER 1

#define HZ 1193182
/* Port 0x61 (82371AB, "NMI Status and Control Register"). */
#define SPEAKER_GATE 0x01
#define SPEAKER_WRITABLE 0x0f
#define SPEAKER_REFRESH 0x10
#define SPEAKER_OUTPUT 0x20
#define NS_REFRESH 15085

#define READ_BACK 3
#define READ_BACK_NO_COUNT 0x20
#define READ_BACK_NO_STATUS 0x10
#define STATUS_OUTPUT 0x80
#define STATUS_NULL 0x40

enum access { LATCH, LOW, HIGH, BOTH };

struct pit {
	struct device device;
	struct timer timer;
	struct ticks ticks;
	struct pit_counter channels[3];
	__u8 speaker;
};

static struct pit *pit_of(struct device *device)
{
	return container_of(device, struct pit, device);
}

/* Pulses of the clock that there have been. */
static __u64 pulses(void)
{
	return scale(clock_ns(), HZ, NS_PER_S);
}

/* The first time at which there have been so many. */
static __u64 to_ns(__u64 pulse)
{
	return scale(pulse, NS_PER_S, HZ) + 1;
}

/* ---- counting ----------------------------------------------------------------------- */

static bool is_periodic(const struct pit_counter *channel)
{
	return channel->mode == 2 || channel->mode == 3;
}

/* Modes 1 and 5 start with a rising gate, and do not look at it again. */
static bool is_triggered(const struct pit_counter *channel)
{
	return channel->mode == 1 || channel->mode == 5;
}

/* Ticks since the count was loaded. */
static __u64 elapsed(const struct pit_counter *channel)
{
	if (!channel->counting)
		return channel->held;
	return channel->held + pulses() - channel->start;
}

/* The first half of a square wave, which is the longer one. */
static __u32 half(__u32 count)
{
	return (count + 1) / 2;
}

static __u16 to_bcd(unsigned int value)
{
	return value / 1000 << 12 | value / 100 % 10 << 8 | value / 10 % 10 << 4 | value % 10;
}

static unsigned int from_bcd(__u16 value)
{
	return (value >> 12) * 1000 + (value >> 8 & 15) * 100 + (value >> 4 & 15) * 10 + (value & 15);
}

/* The counting element. */
static __u16 current_count(const struct pit_counter *channel)
{
	__u32 modulus = channel->is_bcd ? 10000 : 0x10000, value;
	__u64 ticks = elapsed(channel);

	if (!channel->count)
		return 0;
	if (is_periodic(channel))
		ticks %= channel->count;
	/* A square wave counts an even number by two, twice. */
	if (channel->mode == 3)
		value = (channel->count & ~1u) - 2 * (ticks % half(channel->count));
	else
		value = modulus + channel->count - ticks % modulus;
	value %= modulus;
	return channel->is_bcd ? to_bcd(value) : value;
}

static bool output(const struct pit_counter *channel)
{
	__u64 ticks = elapsed(channel);

	switch (channel->mode) {
	case 0:
		return channel->count && !channel->has_low && ticks >= channel->count;
	case 1:
		return !channel->count || ticks >= channel->count;
	case 2:
		return !channel->count || !channel->gate || (ticks + 1) % channel->count;
	case 3:
		return !channel->count || !channel->gate ||
		       ticks % channel->count < half(channel->count);
	default:
		return !channel->count || !channel->counting || ticks != channel->count;
	}
}

/* How often the output has risen since the count was loaded. */
static __u64 rising_edges(const struct pit_counter *channel)
{
	__u64 ticks = elapsed(channel);

	if (!channel->count)
		return 0;
	if (is_periodic(channel))
		return ticks / channel->count;
	/* A strobe is one tick long. */
	return ticks >= channel->count + (channel->mode >= 4);
}

/* Load a count that has waited for the end of a period, and see which edges there were. */
static void catch_up(struct pit_counter *channel)
{
	__u64 at = channel->reload_at, edges;

	if (channel->null_count && channel->count && is_periodic(channel) && elapsed(channel) >= at) {
		channel->owed += at / channel->count - channel->edges;
		channel->edges = 0;
		channel->start += at - channel->held;
		channel->held = at % channel->count ? half(channel->initial) : 0;
		channel->count = channel->initial;
		channel->null_count = 0;
	}
	edges = rising_edges(channel);
	channel->owed += edges - channel->edges;
	channel->edges = edges;
}

/* Count, or stop, as gate and mode say; the first of two bytes stops mode 0. */
static void enable(struct pit_counter *channel)
{
	bool counts = channel->count && (is_triggered(channel) || channel->gate) &&
		      !(channel->mode == 0 && channel->has_low);

	if (counts == channel->counting)
		return;
	channel->held = elapsed(channel);
	channel->counting = counts;
	channel->start = pulses();
}

static void load(struct pit_counter *channel)
{
	channel->count = channel->initial;
	channel->null_count = 0;
	channel->held = channel->edges = channel->owed = 0;
	channel->start = pulses();
	enable(channel);
}

/* ---- counter 0 interrupts ------------------------------------------------------------ */

static __u64 period(const struct pit_counter *channel)
{
	return is_periodic(channel) ? to_ns(channel->count) : 0;
}

/* When there is something to do next; 0: never. */
static __u64 next_time(const struct pit_counter *channel)
{
	__u64 tick = (channel->edges + 1) * channel->count, at, now = clock_ns();

	if (!channel->counting)
		return 0;
	if (!is_periodic(channel)) {
		tick += channel->mode >= 4;
		return channel->edges ? 0 : to_ns(channel->start + tick - channel->held);
	}
	if (channel->null_count && channel->reload_at < tick)
		tick = channel->reload_at;
	at = to_ns(channel->start + tick - channel->held);
	return at > now + TICK_LEAST_NS ? at : now + TICK_LEAST_NS;
}

static void set_timer(struct pit *pit)
{
	const struct pit_counter *channel = &pit->channels[0];

	line_set(pit->device.vm, LINE_TIMER, output(channel));
	timer_set(&pit->timer, next_time(channel), 0);
}

/* An edge is an interrupt, unless the one before has not been taken: then it has to wait. */
static void interrupt(struct vm *vm, struct pit_counter *channel)
{
	bool is_heard = line_is_heard(vm, LINE_TIMER);

	catch_up(channel);
	channel->owed = ticks_owed(channel->owed, is_heard ? period(channel) : 0);
	if (!channel->owed || (is_periodic(channel) && line_is_waiting(vm, LINE_TIMER)))
		return;
	channel->owed--;
	line_set(vm, LINE_TIMER, false);
	line_set(vm, LINE_TIMER, true);
}

static void fire(struct vm *vm, struct timer *timer)
{
	struct pit *pit = container_of(timer, struct pit, timer);
	struct pit_counter *channel = &pit->channels[0];
	__u64 at, rest = pit->ticks.rest;

	if (clock_ns() < rest && is_periodic(channel)) {
		timer_set(timer, rest, 0);
		return;
	}
	interrupt(vm, channel);
	at = next_time(channel);
	if (channel->owed && !line_is_waiting(vm, LINE_TIMER) &&
	    clock_ns() + ticks_pace(period(channel)) < at)
		at = clock_ns() + ticks_pace(period(channel));
	timer_set(timer, at, 0);
}

void pit_tick_ended(struct vm *vm)
{
	struct pit *pit = vm->pit ? pit_of(vm->pit) : NULL;
	__u64 owed = pit ? pit->channels[0].owed : 0;

	if (pit && ticks_follow(&pit->ticks, owed))
		interrupt(vm, &pit->channels[0]);
	else if (owed && pit->ticks.rest < next_time(&pit->channels[0]))
		timer_set(&pit->timer, pit->ticks.rest, 0);
}

/* ---- ports -------------------------------------------------------------------------- */

static void write_initial(struct pit_counter *channel, __u16 data)
{
	__u32 initial = channel->is_bcd ? from_bcd(data) : data;
	__u32 most = channel->is_bcd ? 10000 : 0x10000;
	__u64 ticks = elapsed(channel), into;

	channel->initial = initial ? initial : most;
	channel->null_count = 1;
	if (is_triggered(channel))
		return;
	if (!is_periodic(channel) || !channel->count) {
		load(channel);
		return;
	}
	/* It waits for the end of the period, in a square wave of half of it. */
	into = ticks % channel->count;
	channel->reload_at = ticks - into + channel->count;
	if (channel->mode == 3 && into < half(channel->count))
		channel->reload_at = ticks - into + half(channel->count);
}

static void write_count(struct pit *pit, struct pit_counter *channel, __u8 data)
{
	catch_up(channel);
	if (channel->access == BOTH && !channel->has_low) {
		channel->low = data;
		channel->has_low = 1;
		enable(channel);
	} else {
		__u8 low = channel->access == LOW ? data : channel->low;

		channel->has_low = 0;
		write_initial(channel, channel->access == LOW ? low : data << 8 | low);
	}
	if (channel == &pit->channels[0])
		set_timer(pit);
}

static void latch_count(struct pit_counter *channel)
{
	if (channel->latched)
		return;
	channel->latch = current_count(channel);
	channel->latched = channel->access == BOTH ? 2 : 1;
}

static void latch_status(struct pit_counter *channel)
{
	if (channel->has_status)
		return;
	channel->status = channel->access << 4 | channel->mode << 1 | channel->is_bcd |
			  (output(channel) ? STATUS_OUTPUT : 0) |
			  (channel->null_count ? STATUS_NULL : 0);
	channel->has_status = 1;
}

static void read_back(struct pit *pit, __u8 data)
{
	for (int i = 0; i < 3; i++) {
		if (!(data >> (i + 1) & 1))
			continue;
		catch_up(&pit->channels[i]);
		if (!(data & READ_BACK_NO_COUNT))
			latch_count(&pit->channels[i]);
		if (!(data & READ_BACK_NO_STATUS))
			latch_status(&pit->channels[i]);
	}
}

static void write_control(struct pit *pit, __u8 data)
{
	unsigned int number = data >> 6, mode = data >> 1 & 7;
	struct pit_counter *channel = &pit->channels[number];

	if (number == READ_BACK) {
		read_back(pit, data);
		return;
	}
	catch_up(channel);
	if ((data >> 4 & 3) == LATCH) {
		latch_count(channel);
		return;
	}
	*channel = (struct pit_counter) {
		.access = data >> 4 & 3, .gate = channel->gate, .null_count = 1,
		.mode = mode > 5 ? mode - 4 : mode, .is_bcd = data & 1,
	};
	if (!number)
		set_timer(pit);
}

static __u8 read_count(struct pit_counter *channel)
{
	bool high = channel->access == HIGH;
	__u16 value;

	catch_up(channel);
	value = channel->latched ? channel->latch : current_count(channel);
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

/* A rising gate triggers all modes but 0 and 4, which it lets count, as it does 2 and 3. */
static void set_gate(struct pit_counter *channel, bool gate)
{
	bool rises = gate && !channel->gate;

	catch_up(channel);
	channel->gate = gate;
	if (rises && (is_triggered(channel) || is_periodic(channel)) && channel->initial)
		load(channel);
	else
		enable(channel);
}

static __u8 read_speaker(struct pit *pit)
{
	catch_up(&pit->channels[2]);
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
		pit->speaker = data & SPEAKER_WRITABLE;
		set_gate(&pit->channels[2], data & SPEAKER_GATE);
	} else if (offset < 3) {
		write_count(pit, &pit->channels[offset], data);
	} else {
		write_control(pit, data);
	}
}

/* ---- state --------------------------------------------------------------------------- */

static void channel_state(struct pit_counter *channel, struct state *state)
{
	STATE(state, channel, mode);
	STATE(state, channel, access);
	STATE(state, channel, is_bcd);
	STATE(state, channel, gate);
	STATE(state, channel, initial);
	STATE(state, channel, count);
	STATE(state, channel, null_count);
	STATE(state, channel, counting);
	STATE(state, channel, held);
	STATE(state, channel, reload_at);
	STATE(state, channel, edges);
	STATE(state, channel, owed);
	STATE(state, channel, latch);
	STATE(state, channel, latched);
	STATE(state, channel, status);
	STATE(state, channel, has_status);
	STATE(state, channel, low);
	STATE(state, channel, has_low);
	STATE(state, channel, high_next);
	state_require(state, channel->mode <= 5 && channel->access <= BOTH, "there is no such mode");
	state_require(state, channel->count <= 0x10000 && channel->initial <= 0x10000,
		      "there is no such count");
	channel->counting = channel->counting && channel->count;
}

void pit_counters_state(struct pit_counter counters[3], struct state *state)
{
	static const char *const names[] = { "counter0", "counter1", "counter2" };

	for (int i = 0; i < 3; i++) {
		if (!state_enter(state, names[i]))
			continue;
		channel_state(&counters[i], state);
		state_leave(state);
	}
}

static void pit_state(struct device *device, struct state *state)
{
	struct pit *pit = pit_of(device);

	/* Since now: the clock of another host is another one. */
	for (int i = 0; i < 3; i++) {
		pit->channels[i].held = elapsed(&pit->channels[i]);
		pit->channels[i].start = pulses();
	}
	pit_counters_state(pit->channels, state);
	STATE(state, pit, speaker);
	ticks_state(&pit->ticks, state);
	timer_state(&pit->timer, "timer", state);
}

static void pit_destroy(struct device *device)
{
	struct pit *pit = pit_of(device);

	timer_destroy(&pit->timer);
	free(pit);
}

static const struct device_ops ops = {
	.name = "i8254", .read = pit_read, .write = pit_write, .state = pit_state, .destroy = pit_destroy,
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
		pit->channels[i] = (struct pit_counter) { .access = BOTH, .mode = 3, .gate = i < 2,
						      .null_count = 1 };
	device_add(vm, &pit->device, &ops);
	vm->pit = &pit->device;
	if (device_ports(&pit->device, PORT, 4, 1, 0))
		return -1;
	return device_ports(&pit->device, PORT_SPEAKER, 1, 1, ID_SPEAKER);
}
