// SPDX-License-Identifier: GPL-2.0
/* The watchdog, as the 6300ESB's data sheet describes it and Linux's i6300esb drives it. */
#include "chipset.h"
#include "../userspace/runner/pci.h"

#define SLOT 0
#define CONFIG 0x60
#define LOCK 0x68
#define PRELOAD_1 0x00
#define PRELOAD_2 0x04
#define STATUS 0x08
#define RELOAD 0x0c
#define TIMEOUT 0x200

/* A tick at 1 kHz and at 1 MHz: 2^15 and 2^5 clocks of 33 MHz. */
#define SLOW_TICK ((1ull << 15) * 1000 / 33)
#define FAST_TICK ((1ull << 5) * 1000 / 33)

static unsigned int nr_events, nr_holds;

void say_event(struct vm *which, const char *event, const char *why)
{
	(void)which;
	(void)why;
	CHECK(!strcmp(event, "watchdog"));
	nr_events++;
}

void vm_hold(struct vm *which, const char *format, ...)
{
	(void)which;
	(void)format;
	nr_holds++;
}

static __u32 config_get(unsigned int at, unsigned int size)
{
	bus_write(&vm, SPACE_PORT, 0xcf8, 4, 0x80000000 | SLOT << 11 | (at & 0xfc));
	return bus_read(&vm, SPACE_PORT, 0xcfc + (at & 3), size);
}

static void config_put(unsigned int at, unsigned int size, __u32 data)
{
	bus_write(&vm, SPACE_PORT, 0xcf8, 4, 0x80000000 | SLOT << 11 | (at & 0xfc));
	bus_write(&vm, SPACE_PORT, 0xcfc + (at & 3), size, data);
}

static __u64 base(void)
{
	return config_get(0x10, 4) & ~15u;
}

static __u32 get(unsigned int at)
{
	return bus_read(&vm, SPACE_MMIO, base() + at, 4);
}

static void put(unsigned int at, unsigned int size, __u32 data)
{
	bus_write(&vm, SPACE_MMIO, base() + at, size, data);
}

static void unlock(void)
{
	put(RELOAD, 2, 0x80);
	put(RELOAD, 2, 0x86);
}

static void put_unlocked(unsigned int at, unsigned int size, __u32 data)
{
	unlock();
	put(at, size, data);
}

/* After a reset, with stages of 10 and 20 ticks; nothing counts yet. */
static void start(enum watchdog_action action, __u16 config)
{
	devices_destroy(&vm);
	nr_timers = 0;
	ended = END_NOT_YET;
	nr_events = nr_holds = nr_messages = 0;
	vm.has_expired = false;
	options.watchdog = action;
	CHECK(!pci_create(&vm) && !watchdog_create(&vm));
	config_put(CONFIG, 2, config);
	put_unlocked(PRELOAD_1, 4, 10 - 1);
	put_unlocked(PRELOAD_2, 4, 20 - 1);
}

static void test_identity(void)
{
	start(WATCHDOG_RESET, 3);
	EQ(0x25ab8086, config_get(0, 4));
	EQ(0x0880, config_get(0x0a, 2));
	/* 16 bytes of memory. */
	config_put(0x10, 4, ~0u);
	EQ(0xfffffff0, config_get(0x10, 4));
	/* What it begins with. */
	options.watchdog = WATCHDOG_NONE;
	devices_destroy(&vm);
	CHECK(!pci_create(&vm) && !watchdog_create(&vm));
	EQ(~0u, config_get(0, 4));
	options.watchdog = WATCHDOG_RESET;
	CHECK(!watchdog_create(&vm));
	EQ(0xfffff, get(PRELOAD_1));
	EQ(0xfffff, get(PRELOAD_2));
	EQ(0, config_get(CONFIG, 2));
	EQ(0, config_get(LOCK, 1));
	EQ(0, get(RELOAD));
}

static void test_lock_of_registers(void)
{
	start(WATCHDOG_RESET, 3);
	/* A write without the sequence, with half of it, with a wrong one, and a second one behind it. */
	put(PRELOAD_1, 4, 1);
	EQ(9, get(PRELOAD_1));
	put(RELOAD, 2, 0x80);
	put(PRELOAD_1, 4, 1);
	EQ(9, get(PRELOAD_1));
	put(RELOAD, 2, 0x86);
	put(PRELOAD_1, 4, 1);
	EQ(9, get(PRELOAD_1));
	put(RELOAD, 2, 0x80);
	put(RELOAD, 2, 0x85);
	put(RELOAD, 2, 0x86);
	put(PRELOAD_1, 4, 1);
	EQ(9, get(PRELOAD_1));
	put_unlocked(PRELOAD_1, 4, 0xfff12345);
	EQ(0x12345, get(PRELOAD_1));
	put(PRELOAD_1, 4, 1);
	EQ(0x12345, get(PRELOAD_1));
	/* Twice is once; a byte is a byte. */
	unlock();
	put_unlocked(PRELOAD_2, 1, 0xaa);
	EQ(0xaa, get(PRELOAD_2));
	put_unlocked(PRELOAD_2 + 1, 2, 0xbbbb);
	EQ(0xbbbaa, get(PRELOAD_2));
	EQ(0x12345, get(PRELOAD_1));
}

static void test_two_stages(void)
{
	start(WATCHDOG_RESET, 0);
	pass(NS_PER_S);
	EQ(END_NOT_YET, ended);
	config_put(LOCK, 1, 2);
	pass(10 * SLOW_TICK - 1);
	EQ(0, get(STATUS));
	pass(20);
	EQ(1, get(STATUS));
	put(STATUS, 1, 1);
	EQ(0, get(STATUS));
	pass(20 * SLOW_TICK - 50);
	EQ(END_NOT_YET, ended);
	EQ(0, get(RELOAD));
	pass(100);
	EQ(END_WATCHDOG, ended);
	EQ(TIMEOUT, get(RELOAD));
	/* Written with a one, and unlocked, it is clear. */
	put(RELOAD, 2, TIMEOUT);
	EQ(TIMEOUT, get(RELOAD));
	put_unlocked(RELOAD, 2, TIMEOUT);
	EQ(0, get(RELOAD));
}

/* As a driver does it: it reloads in the first stage and in the second, and never is late. */
static void test_reload(void)
{
	start(WATCHDOG_RESET, 3);
	config_put(LOCK, 1, 2);
	for (int i = 0; i < 20; i++) {
		pass((i & 1 ? 5 : 25) * SLOW_TICK);
		put_unlocked(RELOAD, 2, 0x100);
	}
	EQ(0, get(STATUS));
	EQ(END_NOT_YET, ended);
	/* The high byte alone will do, and the lock does hold it back. */
	pass(25 * SLOW_TICK);
	unlock();
	put(RELOAD + 1, 1, 1);
	pass(25 * SLOW_TICK);
	EQ(END_NOT_YET, ended);
	put(RELOAD, 2, 0x100);
	pass(6 * SLOW_TICK);
	EQ(END_WATCHDOG, ended);
	/* Nothing happens twice. */
	ended = END_NOT_YET;
	pass(100 * NS_PER_S);
	EQ(END_NOT_YET, ended);
}

static void test_enable(void)
{
	start(WATCHDOG_RESET, 3);
	config_put(LOCK, 1, 2);
	pass(25 * SLOW_TICK);
	/* To enable it again is not to reload it; but to disable it ends it. */
	config_put(LOCK, 1, 2);
	pass(4 * SLOW_TICK);
	config_put(LOCK, 1, 0);
	pass(NS_PER_S);
	put_unlocked(RELOAD, 2, 0x100);
	pass(NS_PER_S);
	EQ(END_NOT_YET, ended);
	/* Then it begins from the beginning, and locked stays as it is. */
	config_put(LOCK, 1, 3);
	config_put(LOCK, 1, 0);
	EQ(3, config_get(LOCK, 1));
	pass(29 * SLOW_TICK);
	EQ(END_NOT_YET, ended);
	pass(2 * SLOW_TICK);
	EQ(END_WATCHDOG, ended);
}

static void test_config(void)
{
	/* A megahertz. */
	start(WATCHDOG_RESET, 7);
	config_put(LOCK, 1, 2);
	pass(29 * FAST_TICK);
	EQ(END_NOT_YET, ended);
	pass(2 * FAST_TICK);
	EQ(END_WATCHDOG, ended);
	/* Without an output: it is seen, and nothing happens. */
	start(WATCHDOG_RESET, 0x23);
	config_put(LOCK, 1, 2);
	pass(31 * SLOW_TICK);
	EQ(END_NOT_YET, ended);
	EQ(TIMEOUT, get(RELOAD));
	EQ(0, get(STATUS));
	/* Running free: the second value alone. */
	start(WATCHDOG_RESET, 3);
	config_put(LOCK, 1, 6);
	pass(19 * SLOW_TICK);
	EQ(END_NOT_YET, ended);
	pass(2 * SLOW_TICK);
	EQ(END_WATCHDOG, ended);
}

/* However short its stages are, and whatever is not connected: it does not run on by itself. */
static void test_shortest(void)
{
	start(WATCHDOG_RESET, 0x27);
	put_unlocked(PRELOAD_1, 4, 0);
	put_unlocked(PRELOAD_2, 4, 0);
	config_put(LOCK, 1, 6);
	nr_fired = 0;
	pass(NS_PER_S);
	EQ(1, nr_fired);
	EQ(TIMEOUT, get(RELOAD));
}

static void test_actions(void)
{
	start(WATCHDOG_PAUSE, 3);
	config_put(LOCK, 1, 2);
	pass(31 * SLOW_TICK);
	EQ(1, nr_holds);
	EQ(END_NOT_YET, ended);
	/* An NMI to the first processor each time; it is said once. */
	start(WATCHDOG_NMI, 3);
	config_put(LOCK, 1, 2);
	for (unsigned int i = 0; i < 3; i++) {
		pass(31 * SLOW_TICK);
		EQ(i + 1, nr_messages);
		EQ(0xfee00000, messages[i].address);
		EQ(0x400, messages[i].data);
		put_unlocked(RELOAD, 2, 0x100);
	}
	EQ(1, nr_events);
	EQ(END_NOT_YET, ended);
}

/* A machine that is paused is not watched; then it goes on where it was. */
static void test_pause(void)
{
	start(WATCHDOG_RESET, 3);
	config_put(LOCK, 1, 2);
	pass(29 * SLOW_TICK);
	for (struct device *device = vm.devices; device; device = device->next)
		CHECK(!device->ops->drain || (device->ops->drain(device) && device->ops->drain(device)));
	pass(100 * NS_PER_S);
	EQ(END_NOT_YET, ended);
	for (struct device *device = vm.devices; device; device = device->next)
		if (device->ops->resume)
			device->ops->resume(device);
	pass(SLOW_TICK - 100);
	EQ(END_NOT_YET, ended);
	pass(200);
	EQ(END_WATCHDOG, ended);
}

int main(void)
{
	static const struct unit_test tests[] = {
		{ "what it is, and begins with", test_identity },
		{ "registers are locked", test_lock_of_registers },
		{ "two stages", test_two_stages },
		{ "a reload in either stage", test_reload },
		{ "enabled, disabled and locked", test_enable },
		{ "speed, output and running free", test_config },
		{ "the shortest stages end once", test_shortest },
		{ "each action", test_actions },
		{ "pauses do not count", test_pause },
	};

	return run_tests(tests, ARRAY_SIZE(tests));
}
