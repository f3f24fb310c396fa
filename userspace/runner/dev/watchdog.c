// SPDX-License-Identifier: GPL-2.0
/*
 * A watchdog, with --watchdog: the 6300ESB's, which Linux's i6300esb and others drive.  Intel
 * 6300ESB I/O Controller Hub, data sheet, "Watchdog Timer".
 *
 * It counts down twice, from one preload value and then from the other; or from the second alone,
 * when it runs free.  The end of the first stage is an interrupt of the second I/O APIC's, which
 * this machine lacks: it is seen in the status register alone.  At the end it stands still
 * until the guest begins again.  A machine that is paused is not watched.
 */
#include <linux/pci_regs.h>
#include <stdlib.h>

#include "pci.h"
#include "runner.h"
#include "state.h"

/* Configuration space. */
#define WDT_CONFIG 0x60
#define CONFIG_INT_TYPE 0x03	/* 0: by the I/O APIC */
#define CONFIG_PRE_SEL 0x04	/* 1 MHz, not 1 kHz */
#define CONFIG_WDT_OUTPUT 0x20	/* off */
#define WDT_LOCK 0x68
#define LOCK_LOCK 0x01
#define LOCK_ENABLE 0x02
#define LOCK_TOUT_CNF 0x04	/* it runs free */
#define LOCK_WRITABLE (LOCK_LOCK | LOCK_ENABLE | LOCK_TOUT_CNF)

/* Behind the base address register. */
#define PRELOAD_1 0x00
#define PRELOAD_2 0x04
#define PRELOAD_BITS 0xfffff
#define INTERRUPT_STATUS 0x08
#define WDT_INT_ACT 0x01
#define RELOAD 0x0c
#define RELOAD_RELOAD 0x0100
#define RELOAD_TIMEOUT 0x0200
#define REGISTERS_SIZE 16

/*
 * Written to the reload register one after the other, they let one write through to it or a preload
 * register.
 */
#define UNLOCK_1 0x80
#define UNLOCK_2 0x86
enum { LOCKED, HALF_LOCKED, UNLOCKED };

#define PCI_MHZ 33
#define TICK_1_KHZ 15	/* a tick's PCI clocks, as a power of two */
#define TICK_1_MHZ 5

/**
 * struct watchdog - the watchdog
 * @pci: what PCI functions begin with
 * @timer: the end of a stage
 * @preload: what both stages begin with
 * @status: the interrupt status register
 * @lock: how much of the unlocking sequence has been written
 * @was_enabled: by the lock register's last value
 * @is_known: that it has expired has been said, which a guest could make happen often
 * @stage: that is counted: 1 or 2; 0: none
 * @due: when it ends
 * @left: of a machine that is paused, how much is left of it in nanoseconds
 */
struct watchdog {
	struct pci_device pci;
	struct timer timer;
	__u32 preload[2];
	__u8 status;
	unsigned int lock;
	bool was_enabled;
	bool is_known;
	unsigned int stage;
	__u64 due;
	__u64 left;
};

static struct watchdog *watchdog_of(struct device *device)
{
	return container_of(device, struct watchdog, pci.device);
}

/* ---- counting ------------------------------------------------------------------------- */

/* From zero on, so that it takes one tick more than the value says. */
static __u64 period(const struct watchdog *watchdog, unsigned int stage)
{
	bool is_fast = watchdog->pci.config[WDT_CONFIG] & CONFIG_PRE_SEL;
	__u64 clocks = (watchdog->preload[stage - 1] + 1ull) << (is_fast ? TICK_1_MHZ : TICK_1_KHZ);

	return clocks * 1000 / PCI_MHZ;
}

static void begin(struct watchdog *watchdog, unsigned int stage)
{
	watchdog->stage = stage;
	watchdog->due = stage ? clock_ns() + period(watchdog, stage) : 0;
	timer_set(&watchdog->timer, watchdog->due, 0);
}

static void restart(struct watchdog *watchdog)
{
	__u8 lock = watchdog->pci.config[WDT_LOCK];

	begin(watchdog, !(lock & LOCK_ENABLE) ? 0 : lock & LOCK_TOUT_CNF ? 2 : 1);
}

static void act(struct watchdog *watchdog)
{
	struct vm *vm = watchdog->pci.device.vm;
	/* To the first vCPU, as by the chipset. */
	static const struct mote_msi nmi = { .address = LAPIC_BASE, .data = 4 << 8 };

	switch (vm->options->watchdog) {
	case WATCHDOG_PAUSE:
		vm_hold(vm, "its watchdog has expired");
		break;
	case WATCHDOG_NMI:
		if (!watchdog->is_known)
			say_event(vm, "watchdog", NULL);
		watchdog->is_known = true;
		mote_msi(vm->machine.fd, &nmi);
		break;
	default:
		vm_end(vm, END_WATCHDOG, 0);
	}
}

/* The machine that begins again is told why it does. */
static void expire(struct watchdog *watchdog)
{
	watchdog->pci.device.vm->has_expired = true;
	begin(watchdog, 0);
	if (!(watchdog->pci.config[WDT_CONFIG] & CONFIG_WDT_OUTPUT))
		act(watchdog);
}

static void fire(struct vm *vm, struct timer *timer)
{
	struct watchdog *watchdog = container_of(timer, struct watchdog, timer);

	(void)vm;
	/* It may have been set anew since it was due. */
	if (!watchdog->stage || watchdog->left || clock_ns() < watchdog->due)
		return;
	if (watchdog->stage == 2) {
		expire(watchdog);
		return;
	}
	if (!(watchdog->pci.config[WDT_CONFIG] & CONFIG_INT_TYPE))
		watchdog->status |= WDT_INT_ACT;
	begin(watchdog, 2);
}

/* ---- registers ------------------------------------------------------------------------ */

static __u64 watchdog_read(struct device *device, const struct region *region, __u64 offset,
			   unsigned int size)
{
	const struct watchdog *watchdog = watchdog_of(device);
	const __u32 values[] = {
		watchdog->preload[0], watchdog->preload[1], watchdog->status,
		device->vm->has_expired ? RELOAD_TIMEOUT : 0,
	};

	(void)region;
	(void)size;
	return values[offset / 4] >> 8 * (offset & 3);
}

/* May it be written, or is this a part of the sequence? */
static bool is_let_through(struct watchdog *watchdog, __u64 offset, __u32 data)
{
	bool is_open = watchdog->lock == UNLOCKED;

	if (offset == RELOAD && data == UNLOCK_1) {
		watchdog->lock = HALF_LOCKED;
		return false;
	}
	if (offset == RELOAD && data == UNLOCK_2 && watchdog->lock == HALF_LOCKED) {
		watchdog->lock = UNLOCKED;
		return false;
	}
	watchdog->lock = LOCKED;
	return is_open;
}

static void write_reload(struct watchdog *watchdog, __u32 data)
{
	if (data & RELOAD_TIMEOUT)
		watchdog->pci.device.vm->has_expired = false;
	if (data & RELOAD_RELOAD)
		restart(watchdog);
}

static void watchdog_write(struct device *device, const struct region *region, __u64 offset,
			   unsigned int size, __u64 data)
{
	struct watchdog *watchdog = watchdog_of(device);
	unsigned int shift = 8 * (offset & 3);
	__u32 value = data << shift, mask = (__u32)(~0ull >> (64 - 8 * size)) << shift;
	__u32 *preload = &watchdog->preload[offset / 4 & 1];

	(void)region;
	if ((offset & ~3ull) == INTERRUPT_STATUS)
		watchdog->status &= ~value;
	else if (!is_let_through(watchdog, offset, value))
		return;
	else if (offset >= RELOAD)
		write_reload(watchdog, value);
	else
		*preload = ((*preload & ~mask) | value) & PRELOAD_BITS;
}

/* The lock register has been written. */
static void watchdog_window(struct pci_device *pci, bool is_write)
{
	struct watchdog *watchdog = watchdog_of(&pci->device);
	__u8 lock = pci->config[WDT_LOCK];

	if (!is_write)
		return;
	if (lock & LOCK_LOCK)
		pci->writable[WDT_LOCK] = 0;
	if (!(lock & LOCK_ENABLE) != !watchdog->was_enabled)
		restart(watchdog);
	watchdog->was_enabled = lock & LOCK_ENABLE;
}

/* ---- the device ----------------------------------------------------------------------- */

static bool watchdog_drain(struct device *device)
{
	struct watchdog *watchdog = watchdog_of(device);
	__u64 now = clock_ns();

	if (watchdog->stage && !watchdog->left) {
		watchdog->left = watchdog->due > now ? watchdog->due - now : 1;
		timer_set(&watchdog->timer, 0, 0);
	}
	return true;
}

static void watchdog_resume(struct device *device)
{
	struct watchdog *watchdog = watchdog_of(device);

	if (!watchdog->left)
		return;
	watchdog->due = clock_ns() + watchdog->left;
	watchdog->left = 0;
	timer_set(&watchdog->timer, watchdog->due, 0);
}

/* Of a machine that is paused, which goes on with what is left. */
static void watchdog_state(struct device *device, struct state *state)
{
	struct watchdog *watchdog = watchdog_of(device);
	__u8 lock;

	/* One that is locked may become one that is not. */
	if (state->loads)
		watchdog->pci.writable[WDT_LOCK] = LOCK_WRITABLE;
	pci_state(&watchdog->pci, state);
	STATE(state, watchdog, preload);
	STATE(state, watchdog, status);
	STATE(state, watchdog, lock);
	STATE(state, watchdog, is_known);
	STATE(state, watchdog, stage);
	STATE(state, watchdog, left);
	STATE(state, device->vm, has_expired);
	state_require(state, watchdog->lock <= UNLOCKED && watchdog->stage <= 2 &&
		      watchdog->status <= WDT_INT_ACT && watchdog->preload[0] <= PRELOAD_BITS &&
		      watchdog->preload[1] <= PRELOAD_BITS,
		      "there is no such register");
	state_require(state, watchdog->left <= ((PRELOAD_BITS + 1ull) << TICK_1_KHZ) * 1000 / PCI_MHZ,
		      "no stage is so long");
	if (!state->loads)
		return;
	lock = watchdog->pci.config[WDT_LOCK];
	watchdog->was_enabled = lock & LOCK_ENABLE;
	if (lock & LOCK_LOCK)
		watchdog->pci.writable[WDT_LOCK] = 0;
}

static void watchdog_destroy(struct device *device)
{
	struct watchdog *watchdog = watchdog_of(device);

	timer_destroy(&watchdog->timer);
	free(watchdog);
}

static const struct device_ops ops = {
	.name = "watchdog", .read = watchdog_read, .write = watchdog_write, .drain = watchdog_drain,
	.resume = watchdog_resume, .state = watchdog_state, .destroy = watchdog_destroy,
};

int watchdog_create(struct vm *vm)
{
	static const struct pci_identity identity = {
		.vendor = 0x8086, .device = 0x25ab, .class = 0x088000, .subsystem_vendor = 0x8086,
		.subsystem = 0x25ab,
	};
	struct watchdog *watchdog;

	if (vm->options->watchdog == WATCHDOG_NONE)
		return 0;
	watchdog = calloc(1, sizeof(*watchdog));
	if (watchdog)
		watchdog->timer.source.lock = &watchdog->pci.lock;
	if (!watchdog || timer_create_fd(&vm->io, &watchdog->timer, fire)) {
		complain("cannot make the watchdog: %m");
		free(watchdog);
		return -1;
	}
	watchdog->preload[0] = watchdog->preload[1] = PRELOAD_BITS;
	if (pci_add(vm, &watchdog->pci, &ops, &identity)) {
		timer_destroy(&watchdog->timer);
		free(watchdog);
		return -1;
	}
	watchdog->pci.window = watchdog_window;
	watchdog->pci.window_at = WDT_LOCK;
	watchdog->pci.writable[WDT_CONFIG] = CONFIG_INT_TYPE | CONFIG_PRE_SEL | CONFIG_WDT_OUTPUT;
	watchdog->pci.writable[WDT_LOCK] = LOCK_WRITABLE;
	pci_add_bar(&watchdog->pci, 0, SPACE_MMIO, REGISTERS_SIZE);
	return 0;
}
