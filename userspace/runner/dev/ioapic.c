// SPDX-License-Identifier: GPL-2.0
/*
 * An I/O APIC with 24 pins (82093AA).  What its pins send are messages, like
 * those of PCI devices; the local APICs take them in the kernel and tell when a
 * level-triggered one has ended.  A pin in ExtINT mode sends nothing: the 8259s
 * reach vCPU 0 without it.
 */
#include <stdlib.h>

#include "chips.h"
#include "irq.h"
#include "runner.h"
#include "state.h"

#define VERSION 0x11
#define REGSEL 0x00
#define WINDOW 0x10
#define SIZE 0x20

#define REG_ID 0
#define REG_VERSION 1
#define REG_ARBITRATION 2
#define REG_TABLE 0x10

/* A redirection entry. */
#define MODE_SHIFT 8
#define MODE_LOWEST 1
#define MODE_EXTINT 7
#define LOGICAL (1u << 11)
#define DELIVERY_STATUS (1u << 12)
#define REMOTE_IRR (1u << 14)
#define LEVEL (1u << 15)
#define MASKED (1u << 16)
#define DEST_SHIFT 56
#define EXT_DEST_SHIFT 49		/* bits 14:8 of the destination, as for messages */
#define EXT_DEST 0x7f
#define HIGH_BITS 0xfffe0000		/* both, in the upper half */

#define MSI_LOGICAL (1u << 2)
#define MSI_ASSERT (1u << 14)
#define MSI_LEVEL (1u << 15)

struct ioapic {
	struct device device;
	struct ioapic_registers registers;
};

static struct ioapic *ioapic_of(struct device *device)
{
	return container_of(device, struct ioapic, device);
}

static unsigned int mode(__u64 entry)
{
	return entry >> MODE_SHIFT & 7;
}

/* All modes but fixed and lowest priority are edge-triggered, whatever the entry says. */
static bool is_level(__u64 entry)
{
	return entry & LEVEL && mode(entry) <= MODE_LOWEST;
}

/* Has somebody accepted it, or has it already? */
static bool send(struct ioapic *ioapic, unsigned int pin)
{
	__u64 entry = ioapic->registers.table[pin];
	__u64 address = LAPIC_BASE | entry >> DEST_SHIFT << 12 |
			(entry >> EXT_DEST_SHIFT & EXT_DEST) << 5 | (entry & LOGICAL ? MSI_LOGICAL : 0);
	struct mote_msi msi =
		msi_of_guest(address, (entry & 0x7ff) | (is_level(entry) ? MSI_LEVEL | MSI_ASSERT : 0));

	return mode(entry) != MODE_EXTINT && mote_msi(ioapic->device.vm->machine.fd, &msi) >= 0;
}

/* Is there a level that is to be sent: may be heard, and is not being serviced? */
static bool is_due(const struct ioapic *ioapic, unsigned int pin)
{
	__u64 entry = ioapic->registers.table[pin];

	return ioapic->registers.lines >> pin & 1 && is_level(entry) && !(entry & (MASKED | REMOTE_IRR));
}

/* Remote IRR says that it has been accepted: what nobody has accepted is sent again. */
static void service_level(struct ioapic *ioapic, unsigned int pin)
{
	if (is_due(ioapic, pin) && send(ioapic, pin))
		ioapic->registers.table[pin] |= REMOTE_IRR;
}

void ioapic_set_line(struct vm *vm, unsigned int pin, bool level)
{
	struct ioapic *ioapic = ioapic_of(vm->ioapic);
	bool was = ioapic->registers.lines >> pin & 1;

	ioapic->registers.lines = (ioapic->registers.lines & ~(1u << pin)) | (__u32)level << pin;
	if (is_level(ioapic->registers.table[pin]))
		service_level(ioapic, pin);
	else if (level && !was && !(ioapic->registers.table[pin] & MASKED))
		send(ioapic, pin);
}

bool ioapic_is_heard(const struct vm *vm, unsigned int pin)
{
	__u64 entry = ioapic_of(vm->ioapic)->registers.table[pin];

	return !(entry & MASKED) && mode(entry) != MODE_EXTINT;
}

void ioapic_end_of_interrupt(struct vm *vm, unsigned int vector)
{
	struct ioapic *ioapic = ioapic_of(vm->ioapic);

	for (unsigned int pin = 0; pin < IOAPIC_PINS; pin++) {
		__u64 *entry = &ioapic->registers.table[pin];

		if ((*entry & 0xff) != vector || !(*entry & REMOTE_IRR))
			continue;
		*entry &= ~(__u64)REMOTE_IRR;
		service_level(ioapic, pin);
	}
}

static __u32 read_register(const struct ioapic *ioapic)
{
	unsigned int entry = ioapic->registers.select - REG_TABLE;

	switch (ioapic->registers.select) {
	case REG_ID:
	case REG_ARBITRATION:
		return ioapic->registers.id << 24;
	case REG_VERSION:
		return VERSION | (IOAPIC_PINS - 1) << 16;
	}
	if (entry >= 2 * IOAPIC_PINS)
		return 0;
	if (is_due(ioapic, entry / 2) && !(entry % 2))
		return ioapic->registers.table[entry / 2] | DELIVERY_STATUS;
	return ioapic->registers.table[entry / 2] >> 32 * (entry % 2);
}

static void write_entry(struct ioapic *ioapic, unsigned int pin, bool high, __u32 data)
{
	const __u32 read_only = DELIVERY_STATUS | REMOTE_IRR;
	__u64 *entry = &ioapic->registers.table[pin];

	if (high) {
		*entry = (*entry & 0xffffffff) | (__u64)(data & HIGH_BITS) << 32;
		return;
	}
	*entry = (*entry & ~0xffffffffull) | (*entry & read_only) | (data & 0x1ffff & ~read_only);
	/* This is how an interrupt that nobody would end is ended. */
	if (!is_level(*entry))
		*entry &= ~(__u64)REMOTE_IRR;
	service_level(ioapic, pin);
}

static void write_register(struct ioapic *ioapic, __u32 data)
{
	unsigned int entry = ioapic->registers.select - REG_TABLE;

	if (ioapic->registers.select == REG_ID)
		ioapic->registers.id = data >> 24 & 0xf;
	else if (entry < 2 * IOAPIC_PINS)
		write_entry(ioapic, entry / 2, entry % 2, data);
}

static __u64 ioapic_read(struct device *device, const struct region *region, __u64 offset,
			 unsigned int size)
{
	struct ioapic *ioapic = ioapic_of(device);

	(void)region;
	(void)size;
	if (offset == REGSEL)
		return ioapic->registers.select;
	return offset == WINDOW ? read_register(ioapic) : 0;
}

static void ioapic_write(struct device *device, const struct region *region, __u64 offset,
			 unsigned int size, __u64 data)
{
	struct ioapic *ioapic = ioapic_of(device);

	(void)region;
	(void)size;
	if (offset == REGSEL)
		ioapic->registers.select = data;
	else if (offset == WINDOW)
		write_register(ioapic, data);
}

__u64 ioapic_entry(__u64 bits)
{
	bits &= (0x1ffff & ~DELIVERY_STATUS) | (__u64)HIGH_BITS << 32;
	return is_level(bits) ? bits : bits & ~(__u64)REMOTE_IRR;
}

void ioapic_registers_state(struct ioapic_registers *registers, struct state *state)
{
	STATE(state, registers, select);
	STATE(state, registers, id);
	STATE(state, registers, lines);
	STATE(state, registers, table);
	state_require(state, registers->id <= 0xf && !(registers->lines >> IOAPIC_PINS),
		      "there is no such pin");
	for (unsigned int pin = 0; pin < IOAPIC_PINS; pin++)
		state_require(state, ioapic_entry(registers->table[pin]) == registers->table[pin],
			      "there is no such redirection entry");
}

static void ioapic_state(struct device *device, struct state *state)
{
	ioapic_registers_state(&ioapic_of(device)->registers, state);
}

static void ioapic_destroy(struct device *device)
{
	free(ioapic_of(device));
}

static const struct device_ops ops = {
	.name = "ioapic", .read = ioapic_read, .write = ioapic_write, .state = ioapic_state,
	.destroy = ioapic_destroy,
};

int ioapic_create(struct vm *vm)
{
	struct ioapic *ioapic = calloc(1, sizeof(*ioapic));
	struct region region = {
		.space = SPACE_MMIO, .first = IOAPIC_BASE, .size = SIZE, .width = 4,
	};

	if (ioapic) {
		for (int pin = 0; pin < IOAPIC_PINS; pin++)
			ioapic->registers.table[pin] = MASKED;
		region.device = &ioapic->device;
		device_add(vm, &ioapic->device, &ops);
		vm->ioapic = &ioapic->device;
	}
	if (!ioapic || region_add(vm, &region)) {
		complain("no memory for the I/O APIC");
		return -1;
	}
	return 0;
}
