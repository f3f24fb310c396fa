// SPDX-License-Identifier: GPL-2.0
/*
 * The state of the chipset's devices: a machine that is loaded goes on as the one that was saved
 * does, and no bytes that are loaded do harm.
 */
#include <stdlib.h>

#include "chipset.h"
#include "../userspace/runner/acpi.h"
#include "../userspace/runner/loader.h"
#include "../userspace/runner/pci.h"
#include "../userspace/runner/smbios.h"
#include "../userspace/runner/snapshot.h"
#include "../userspace/runner/state.h"

/* Another host's clock is elsewhere: here by a whole number of all devices' ticks. */
#define ELSEWHERE (3017 * NS_PER_S)
#define WDT 0xf0000000ull

static __u64 random_now, trace;
static unsigned int nr_events;

void say_event(struct vm *which, const char *event, const char *why)
{
	(void)which;
	(void)event;
	(void)why;
	nr_events++;
}

void vm_hold(struct vm *which, const char *format, ...)
{
	(void)which;
	(void)format;
}

bool vm_pauses_at(struct vm *which, const char *what)
{
	(void)which;
	(void)what;
	return false;
}

void memory_remap(struct vm *which, __u64 gpa)
{
	(void)which;
	(void)gpa;
}

unsigned int e820_map(const struct vm *which, struct e820 rows[E820_MOST])
{
	(void)which;
	rows[0].size = 0x123456;
	return 1;
}

void acpi_make_tables(struct acpi_tables *tables, unsigned int nr_cpus)
{
	(void)tables;
	(void)nr_cpus;
}

void smbios_make(struct smbios *smbios, const struct vm *which)
{
	(void)smbios;
	(void)which;
}

/* ---- machines ------------------------------------------------------------------------ */

static void make(void)
{
	devices_destroy(&vm);
	nr_timers = 0;
	vm.has_expired = false;
	screen_is_full = nobody_accepts = false;
	ended = END_NOT_YET;
	CHECK(!pic_create(&vm) && !ioapic_create(&vm) && !pci_create(&vm) && !pit_create(&vm) &&
	      !rtc_create(&vm) && !acpi_pm_create(&vm) && !i8042_create(&vm) && !serial_create(&vm) &&
	      !pvpanic_create(&vm) && !fw_cfg_create(&vm) && !testdev_create(&vm) && !watchdog_create(&vm));
}

static void drain(void)
{
	for (struct device *device = vm.devices; device; device = device->next)
		CHECK(!device->ops->drain || device->ops->drain(device));
}

static void resume(void)
{
	for (struct device *device = vm.devices; device; device = device->next)
		if (device->ops->resume)
			device->ops->resume(device);
}

/* In the order in which they were made, as vm_state() does. */
static void name_from(struct device *device, struct state *state)
{
	if (!device)
		return;
	name_from(device->next, state);
	if (!device->ops->state || !state_enter(state, device->ops->name))
		return;
	device->ops->state(device, state);
	state_leave(state);
}

static void name_all(struct state *state)
{
	name_from(vm.devices, state);
}

static struct state save(void)
{
	struct state state;

	state_begin_save(&state);
	name_all(&state);
	CHECK(!state_end(&state));
	return state;
}

/* What is loaded is marked: of a copy. */
static int load(const unsigned char *data, size_t size)
{
	unsigned char *copy = malloc(size + !size);
	struct state state;
	int err;

	memcpy(copy, data, size);
	state_begin_load(&state, copy, size);
	name_all(&state);
	err = state_end(&state);
	snprintf(said, sizeof(said), "%s", state.why);
	free(copy);
	return err;
}

/* ---- what a guest and the world do ------------------------------------------------------ */

static unsigned int choose(unsigned int below)
{
	random_now = random_now * 6364136223846793005ull + 1442695040888963407ull;
	return (random_now >> 33) % below;
}

static void note(__u64 value)
{
	trace = (trace ^ value) * 0x9e3779b97f4a7c15ull;
	trace ^= trace >> 29;
}

static __u8 some_byte(void)
{
	static const __u8 likely[] = { 0, 1, 2, 0xff, 0x10, 0x11, 0x20, 0x34, 0x36, 0x40, 0x60, 0x06, 0x26 };

	return choose(2) ? choose(256) : likely[choose(ARRAY_SIZE(likely))];
}

static __u16 some_port(void)
{
	static const struct { __u16 first, nr; } ports[] = {
		{ 0x20, 2 }, { 0xa0, 2 }, { 0x4d0, 2 }, { 0x40, 4 }, { 0x61, 1 }, { 0x60, 1 }, { 0x64, 1 },
		{ 0x70, 2 }, { 0x3f8, 8 }, { 0x600, 4 }, { 0x604, 2 }, { 0x608, 4 }, { 0x510, 2 },
		{ 0x60c, 2 }, { 0x505, 1 }, { 0xe0, 4 }, { 0xe8, 4 }, { 0x2000, 24 },
	};
	unsigned int i = choose(ARRAY_SIZE(ports));

	return ports[i].first + choose(ports[i].nr);
}

static void access_registers(void)
{
	static const __u8 selects[] = { 0, 1, 2, 0x10, 0x14, 0x18, 0x20, 0x21 };
	static const __u16 unlocks[] = { 0x80, 0x86, 0x100, 0x200, 0x80, 0x86 };

	switch (choose(5)) {
	case 0:
		bus_write(&vm, SPACE_MMIO, IOAPIC_BASE, 4, selects[choose(ARRAY_SIZE(selects))] + choose(8));
		break;
	case 1:
		bus_write(&vm, SPACE_MMIO, IOAPIC_BASE + 0x10, 4, choose(0x20000));
		break;
	case 2:
		note(bus_read(&vm, SPACE_MMIO, IOAPIC_BASE + 16 * choose(2), 4));
		break;
	case 3:
		bus_write(&vm, SPACE_MMIO, PCI_MEMORY_FIRST + 12, 2, unlocks[choose(ARRAY_SIZE(unlocks))]);
		note(bus_read(&vm, SPACE_MMIO, PCI_MEMORY_FIRST + 4 * choose(4), 4));
		break;
	default:
		bus_write(&vm, SPACE_PORT, 0xcf8, 4, 0x80000060 + 8 * choose(2));
		note(bus_read(&vm, SPACE_PORT, 0xcfc, 4));
		bus_write(&vm, SPACE_PORT, 0xcfc, 1, choose(8) & ~1u);
	}
}

static void happen(void)
{
	static const char text[] = "some text";

	switch (choose(6)) {
	case 0:
		if (console_ops->room(console_device))
			console_ops->input(console_device, text + choose(8), 1);
		break;
	case 1:
		screen_is_full = !choose(3);
		if (!screen_is_full)
			console_ops->writable(console_device);
		break;
	case 2:
		acpi_power_button(&vm);
		break;
	case 3:
		ioapic_end_of_interrupt(&vm, messages[(nr_messages - 1) % 16].data & 0xff);
		break;
	case 4:
		nobody_accepts = !choose(4);
		break;
	default:
		note(pic_acknowledge(&vm));
	}
}

/* All that can be seen from outside. */
static void look_around(__u64 since)
{
	note(nr_messages);
	note(messages[(nr_messages - 1) % 16].address ^ messages[(nr_messages - 1) % 16].data);
	note(nr_fired);
	note(on_screen);
	note(screen[(on_screen - 1) % sizeof(screen)]);
	note(ended);
	note(nr_events);
	note(pic_pending(&vm));
	for (unsigned int i = 0; i < nr_timers; i++)
		note(timers[i]->at ? timers[i]->at - since : 0);
}

static void traffic(unsigned int nr)
{
	__u64 since = now;

	while (nr--) {
		switch (choose(8)) {
		case 0 ... 2:
			out(some_port(), some_byte());
			break;
		case 3 ... 4:
			note(in(some_port()));
			break;
		case 5:
			access_registers();
			break;
		case 6:
			happen();
			break;
		default:
			pass(choose(20) ? choose(300000) : choose(40) * MS);
		}
		look_around(since);
	}
}

static void begin_trace(void)
{
	trace = nr_messages = nr_fired = on_screen = nr_events = 0;
	memset(messages, 0, sizeof(messages));
	memset(screen, 0, sizeof(screen));
	ended = END_NOT_YET;
	screen_is_full = nobody_accepts = false;
}

/* ---- the tests ---------------------------------------------------------------------------- */

static void goes_on(unsigned int seed)
{
	__u64 wall_then, expected, random_then;
	struct state state, again;

	random_now = seed;
	make();
	traffic(600);
	drain();
	state = save();
	random_then = random_now;
	wall_then = wall;
	begin_trace();
	resume();
	traffic(1500);
	expected = trace;

	now += ELSEWHERE - (wall - wall_then);
	wall = wall_then;
	make();
	begin_trace();
	CHECK(!load(state.data, state.size));
	EQ(0, nr_messages + nr_fired + on_screen + nr_events);
	again = save();
	EQ(state.size, again.size);
	CHECK(state.size == again.size && !memcmp(state.data, again.data, state.size));
	random_now = random_then;
	resume();
	traffic(1500);
	EQ(expected, trace);
	if (expected != trace)
		printf("# seed %u\n", seed);
	state_free(&state);
	state_free(&again);
}

static void test_goes_on(void)
{
	for (unsigned int seed = 1; seed <= 100; seed++)
		goes_on(seed);
}

/* Copy records from @at to @end but the value that *@left counts down to; the bytes copied. */
static size_t copy_without(unsigned char *to, const unsigned char *data, size_t at, size_t end, int *left)
{
	struct state_record record;
	unsigned char *begin = to;

	for (; at < end; at += state_record_size(&record)) {
		size_t head;

		CHECK(state_record_at(data, at, end, &record));
		if (record.kind == STATE_VALUE && !(*left)--)
			continue;
		head = sizeof(record) + record.name_size;
		memcpy(to, data + at, head);
		if (record.kind == STATE_SECTION) {
			__u32 size = copy_without(to + head, data, at + head, at + head + record.size, left);

			memcpy(to + offsetof(struct state_record, size), &size, sizeof(size));
			to += head + size;
		} else {
			memcpy(to + head, data + at + head, record.size);
			to += head + record.size;
		}
	}
	return to - begin;
}

/* The value of this number: its record's offset, or 0. */
static size_t value_at(const unsigned char *data, size_t at, size_t end, int *left)
{
	struct state_record record;

	for (; at < end; at += state_record_size(&record)) {
		size_t head = sizeof(record), found;

		if (!state_record_at(data, at, end, &record))
			return 0;
		head += record.name_size;
		if (record.kind == STATE_VALUE && !(*left)--)
			return at;
		found = record.kind == STATE_SECTION ?
			value_at(data, at + head, at + head + record.size, left) : 0;
		if (found)
			return found;
	}
	return 0;
}

static struct state some_state(unsigned int seed)
{
	random_now = seed;
	make();
	traffic(600);
	drain();
	return save();
}

static void test_versions(void)
{
	struct state state = some_state(7);
	unsigned char *copy = malloc(state.size);
	int nr;

	for (nr = 0;; nr++) {
		int left = nr;
		size_t size = copy_without(copy, state.data, 0, state.size, &left), at;

		if (left >= 0)
			break;
		make();
		CHECK(!load(copy, size));
		left = nr;
		at = value_at(state.data, 0, state.size, &left);
		memcpy(copy, state.data, state.size);
		copy[at + sizeof(struct state_record)] ^= 0x20;
		make();
		CHECK(load(copy, state.size) && strstr(said, "newer"));
	}
	CHECK(nr > 150);
	free(copy);
	state_free(&state);
}

/* Change some bytes anywhere, or all of one value. */
static void corrupt(unsigned char *data, size_t size, int nr_values)
{
	struct state_record record;
	int left = choose(nr_values);
	size_t at;

	if (!choose(4)) {
		for (unsigned int nr = 1 + choose(4); nr; nr--)
			data[choose(size)] = some_byte();
		return;
	}
	at = value_at(data, 0, size, &left);
	if (!at || !state_record_at(data, at, size, &record))
		return;
	at += sizeof(record) + record.name_size;
	for (unsigned int i = 0, how = choose(3); i < record.size; i++)
		data[at + i] = !how ? 0xff : how == 1 ? some_byte() : choose(4) ? data[at + i] : some_byte();
}

static void test_hostile(void)
{
	struct state states[8];
	unsigned char *copy;
	unsigned int nr_refused = 0;

	options.testdev = false;
	for (unsigned int i = 0; i < ARRAY_SIZE(states); i++)
		states[i] = some_state(100 + i);
	random_now = 1;
	for (unsigned int i = 0; i < 100000; i++) {
		const struct state *state = &states[i % ARRAY_SIZE(states)];
		__u64 random_then = random_now;
		bool is_refused;

		copy = malloc(state->size);
		memcpy(copy, state->data, state->size);
		for (unsigned int nr = 1 + choose(3); nr; nr--)
			corrupt(copy, state->size, 170);
		make();
		is_refused = load(copy, choose(20) ? state->size : choose(state->size));
		CHECK(!is_refused || said[0]);
		nr_refused += is_refused;
		free(copy);
		/* One that is refused is not begun, but destroyed. */
		if (!is_refused) {
			resume();
			traffic(20);
		}
		random_now = random_then + 1;
		choose(2);
	}
	/* Both do happen. */
	CHECK(nr_refused > 10000 && nr_refused < 90000);
	for (unsigned int i = 0; i < ARRAY_SIZE(states); i++)
		state_free(&states[i]);
	options.testdev = true;
}

/* What a machine that goes back does next, and where that leads. */
static struct state next_life(const struct state *base, unsigned int seed)
{
	begin_trace();
	CHECK(!load(base->data, base->size));
	EQ(0, nr_messages + nr_fired + on_screen + nr_events);
	random_now = seed;
	resume();
	traffic(10);
	drain();
	return save();
}

/* A state that is loaded takes the place of any other: it is as if the devices had just been made. */
static void test_goes_back(void)
{
	struct state bases[8], used, made;

	for (unsigned int i = 0; i < ARRAY_SIZE(bases); i++)
		bases[i] = some_state(200 + i);
	for (unsigned int i = 0; i < 4000; i++) {
		const struct state *base = &bases[i % ARRAY_SIZE(bases)];
		__u64 now_then, wall_then = wall, expected;

		random_now = i;
		resume();
		traffic(30);
		drain();
		now_then = now;
		wall_then = wall;
		used = next_life(base, i);
		expected = trace;
		now = now_then;
		wall = wall_then;
		make();
		made = next_life(base, i);
		EQ(expected, trace);
		EQ(made.size, used.size);
		CHECK(made.size == used.size && !memcmp(made.data, used.data, made.size));
		state_free(&used);
		state_free(&made);
	}
	for (unsigned int i = 0; i < ARRAY_SIZE(bases); i++)
		state_free(&bases[i]);
}

struct sample {
	__u32 number;
	bool flag;
	__u64 time;
	__u8 bytes[3];
};

static void name_sample(struct sample *sample, struct state *state, bool is_turned)
{
	for (int i = 0; i < 2; i++) {
		if (i ^ is_turned) {
			STATE(state, sample, number);
			STATE(state, sample, flag);
		} else if (state_enter(state, "outer")) {
			if (state_enter(state, "inner")) {
				state_time(state, "time", &sample->time);
				state_leave(state);
			}
			STATE(state, sample, bytes);
			state_leave(state);
		}
	}
}

static void test_format(void)
{
	const struct sample full = { 0x12345678, true, now + 5, { 1, 2, 3 } };
	struct sample sample = full;
	struct state state, other;
	unsigned char *copy;

	state_begin_save(&state);
	name_sample(&sample, &state, false);
	CHECK(!state_end(&state));
	copy = malloc(state.size);
	for (int turned = 0; turned < 2; turned++) {
		sample = (struct sample) { 0 };
		memcpy(copy, state.data, state.size);
		state_begin_load(&other, copy, state.size);
		name_sample(&sample, &other, turned);
		CHECK(!state_end(&other));
		EQ(full.number, sample.number);
		EQ(full.time, sample.time);
		CHECK(sample.flag && !memcmp(sample.bytes, full.bytes, 3));
	}
	/* Cut anywhere but between two records of the outermost it is broken; so with any size. */
	for (size_t size = 0; size < state.size; size++) {
		unsigned char *cut = malloc(size + !size);
		bool is_whole = !size;
		struct state_record record;

		for (size_t at = 0; at < size && state_record_at(state.data, at, size, &record);
		     at += state_record_size(&record))
			is_whole |= at + state_record_size(&record) == size;
		memcpy(cut, state.data, size);
		state_begin_load(&other, cut, size);
		name_sample(&sample, &other, false);
		CHECK(is_whole == !state_end(&other));
		free(cut);
	}
	free(copy);
	state_free(&state);
}

static void test_widths(void)
{
	__u64 wide = 0x1122, most = ~0ull, got = most;
	__u16 narrow = 0x3344;
	struct state state, other;
	unsigned char copy[200];

	state_begin_save(&state);
	state_value(&state, "a", &narrow, sizeof(narrow));
	state_value(&state, "b", &wide, sizeof(wide));
	memcpy(copy, state.data, state.size);
	state_begin_load(&other, copy, state.size);
	state_value(&other, "a", &got, sizeof(got));
	EQ(0x3344, got);
	state_value(&other, "b", &narrow, sizeof(narrow));
	CHECK(state_end(&other) && strstr(other.why, "newer"));
	/* A record that lies about its size, by any amount. */
	for (unsigned int i = 0; i < 32; i++) {
		__u32 size = 8 ^ 1u << i;

		memcpy(copy, state.data, state.size);
		memcpy(copy + sizeof(struct state_record) + 3 + offsetof(struct state_record, size), &size,
		       sizeof(size));
		state_begin_load(&other, copy, state.size);
		state_value(&other, "a", &got, sizeof(got));
		state_value(&other, "b", &got, sizeof(got));
		CHECK(state_end(&other));
	}
	state_free(&state);
}

static void read_id(__u64 id[2])
{
	for (int i = 0; i < 2; i++)
		id[i] = bus_read(&vm, SPACE_MMIO, ACPI_GENERATION + 8 * i, 8);
}

/* Does its line ask for an interrupt? */
static bool acpi_is_heard(void)
{
	bus_write(&vm, SPACE_PORT, 0xa0, 1, 0x0a);
	return bus_read(&vm, SPACE_PORT, 0xa0, 1) & 1u << (LINE_ACPI - 8);
}

/* Whoever goes on from where another one was is told, and one that has moved is not. */
static void test_generations(void)
{
	static const __u8 words[] = { 0x28, 2, 1 };
	struct snapshot moved = { .connection = 0 };
	__u64 first[2], then[2];
	struct state state;

	make();
	CHECK(!generation_create(&vm));
	/* The second 8259 is on, and lines tell by their level, as firmware sets ACPI's. */
	bus_write(&vm, SPACE_PORT, 0xa0, 1, 0x11);
	for (unsigned int i = 0; i < ARRAY_SIZE(words); i++)
		bus_write(&vm, SPACE_PORT, 0xa1, 1, words[i]);
	bus_write(&vm, SPACE_PORT, 0x4d1, 1, 2);
	bus_write(&vm, SPACE_PORT, ACPI_GPE + 1, 1, 1);
	bus_write(&vm, SPACE_MMIO, ACPI_GENERATION, 8, 0);
	read_id(first);
	EQ(first[0] >> 8 & 0xff, bus_read(&vm, SPACE_MMIO, ACPI_GENERATION + 1, 1));
	EQ(0, bus_read(&vm, SPACE_PORT, ACPI_GPE, 1));
	state = save();
	CHECK(!load(state.data, state.size));
	read_id(then);
	CHECK(first[0] != then[0] && first[1] != then[1]);
	EQ(1, bus_read(&vm, SPACE_PORT, ACPI_GPE, 1));
	CHECK(acpi_is_heard());
	bus_write(&vm, SPACE_PORT, ACPI_GPE, 1, 1);
	CHECK(!acpi_is_heard());
	vm.snapshot = &moved;
	CHECK(!load(state.data, state.size));
	vm.snapshot = NULL;
	read_id(then);
	CHECK(first[0] == then[0] && first[1] == then[1]);
	EQ(0, bus_read(&vm, SPACE_PORT, ACPI_GPE, 1));
	state_free(&state);
}

int main(void)
{
	static const struct unit_test tests[] = {
		{ "order and truncation", test_format },
		{ "widths and sizes", test_widths },
		{ "a machine that is loaded goes on alike", test_goes_on },
		{ "a machine goes back four thousand times", test_goes_back },
		{ "older and newer states", test_versions },
		{ "generations", test_generations },
		{ "a hundred thousand hostile states", test_hostile },
	};

	options.testdev = options.json = true;
	options.watchdog = WATCHDOG_NMI;
	return run_tests(tests, ARRAY_SIZE(tests));
}
