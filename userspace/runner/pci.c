// SPDX-License-Identifier: GPL-2.0
/*
 * The PCI bus: configuration mechanism 1, and what all functions share:
 * configuration space, BARs, MSI-X.  BARs have addresses from the
 * beginning, as firmware would give them, so that guests without it need not.
 *
 * Not here: bridges, interrupt pins, power management.
 */
#include <linux/pci_regs.h>
#include <stdlib.h>
#include <string.h>

#include "irq.h"
#include "pci.h"
#include "runner.h"
#include "state.h"

#define PORT_ADDRESS 0xcf8
#define PORT_DATA 0xcfc
#define ENABLED (1u << 31)
#define NOTHING (~0ull)

/* The reset control register lies within the address port: a byte at 0xcf9. */
#define RESET_OFFSET 1
#define RESET_CPU 0x04

#define CACHE_LINE 64

enum { ID_ADDRESS, ID_DATA };

struct bus_device {
	struct device device;
	pthread_mutex_t lock;	/* the ports'; that of a function is taken within it */
	__u32 address;
	__u8 reset;
	struct pci_device *functions[PCI_FUNCTIONS];
	__u64 next[NR_SPACES];	/* where the next BAR goes */
};

static struct bus_device *bus_of(struct device *device)
{
	return container_of(device, struct bus_device, device);
}

/* ---- configuration space ----------------------------------------------------------- */

static __u32 get(const struct pci_device *pci, unsigned int at, unsigned int size)
{
	__u32 value = 0;

	memcpy(&value, pci->config + at, size);
	return value;
}

void pci_put(struct pci_device *pci, unsigned int at, unsigned int size, __u32 value)
{
	memcpy(pci->config + at, &value, size);
}

static bool is_decoded(const struct pci_device *pci, const struct pci_bar *bar)
{
	__u32 bit = bar->space == SPACE_PORT ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY;

	return get(pci, PCI_COMMAND, 2) & bit;
}

/* Where the guest wants a BAR to be, if that is where BARs can be. */
static __u64 wanted(const struct pci_device *pci, unsigned int bar)
{
	bool is_port = pci->bars[bar].space == SPACE_PORT;
	__u64 address = get(pci, PCI_BASE_ADDRESS_0 + 4 * bar, 4) & ~(is_port ? 3ull : 15ull);
	__u64 end = is_port ? PCI_IO_END : PCI_MEMORY_END;

	if (!is_decoded(pci, &pci->bars[bar]) || !address || address > end ||
	    end - address < pci->bars[bar].size)
		return NOTHING;
	return address;
}

/* Map BARs to where they are now to be. */
static void update_bars(struct pci_device *pci)
{
	struct vm *vm = pci->device.vm;

	for (unsigned int i = 0; i < PCI_BARS; i++) {
		struct pci_bar *bar = &pci->bars[i];
		__u64 address = bar->size ? wanted(pci, i) : NOTHING;
		struct region region = {
			.space = bar->space, .first = bar->address, .size = bar->size,
			.width = 4, .id = i, .device = &pci->device,
		};

		if (bar->mapped ? address == bar->address : address == NOTHING)
			continue;
		pthread_mutex_lock(&vm->lock);
		if (bar->mapped)
			region_remove(vm, &region);
		region.first = address;
		bar->mapped = address != NOTHING && !region_add(vm, &region);
		pthread_mutex_unlock(&vm->lock);
		bar->address = address;
		if (pci->moved)
			pci->moved(pci, i);
	}
}

static void msix_flush(struct pci_device *pci);

static bool is_on(const struct pci_device *pci)
{
	return pci->msix_cap &&
	       get(pci, pci->msix_cap + PCI_MSIX_FLAGS, 2) & PCI_MSIX_FLAGS_ENABLE;
}

/* Nobody has such a pin, but the status register says what it would be. */
static bool is_interrupting(const struct pci_device *pci)
{
	return pci->isr && *pci->isr && !is_on(pci);
}

static void look_through(struct pci_device *pci, unsigned int at, bool is_write)
{
	if (pci->window && (at & ~3u) == pci->window_at)
		pci->window(pci, is_write);
}

static __u32 config_read(struct pci_device *pci, unsigned int at, unsigned int size)
{
	__u32 data;

	pthread_mutex_lock(&pci->lock);
	look_through(pci, at, false);
	data = get(pci, at, size);
	if (at + size > PCI_STATUS && at <= PCI_STATUS && is_interrupting(pci))
		data |= PCI_STATUS_INTERRUPT << 8 * (PCI_STATUS - at);
	pthread_mutex_unlock(&pci->lock);
	return data;
}

static void config_write(struct pci_device *pci, unsigned int at, unsigned int size, __u32 data)
{
	pthread_mutex_lock(&pci->lock);
	for (unsigned int i = 0; i < size; i++, data >>= 8) {
		__u8 mask = pci->writable[at + i];

		pci->config[at + i] = (pci->config[at + i] & ~mask) | (data & mask);
	}
	update_bars(pci);
	msix_flush(pci);
	look_through(pci, at, true);
	pthread_mutex_unlock(&pci->lock);
}

/* ---- the ports ----------------------------------------------------------------------- */

/* Whom the address port names, or NULL. */
static struct pci_device *addressed(const struct bus_device *bus)
{
	/* Bus 0. */
	if (!(bus->address & ENABLED) || bus->address & 0xff0000)
		return NULL;
	return bus->functions[bus->address >> 8 & (PCI_FUNCTIONS - 1)];
}

static __u64 bus_device_read(struct device *device, const struct region *region, __u64 offset,
			     unsigned int size)
{
	struct bus_device *bus = bus_of(device);
	struct pci_device *pci = addressed(bus);

	if (region->id == ID_ADDRESS && offset == RESET_OFFSET && size == 1)
		return bus->reset;
	if (region->id == ID_ADDRESS)
		return size == 4 ? bus->address : NOTHING;
	return pci ? config_read(pci, (bus->address & 0xfc) + offset, size) : NOTHING;
}

static void bus_device_write(struct device *device, const struct region *region, __u64 offset,
			     unsigned int size, __u64 data)
{
	struct bus_device *bus = bus_of(device);
	struct pci_device *pci = addressed(bus);

	if (region->id == ID_DATA) {
		if (pci)
			config_write(pci, (bus->address & 0xfc) + offset, size, data);
	} else if (offset == RESET_OFFSET && size == 1) {
		bus->reset = data & ~RESET_CPU;
		if (data & RESET_CPU)
			vm_end(device->vm, END_RESET, 0);
	} else if (size == 4) {
		bus->address = data;
	}
}

static void bus_device_state(struct device *device, struct state *state)
{
	struct bus_device *bus = bus_of(device);

	STATE(state, bus, address);
	STATE(state, bus, reset);
}

static void bus_device_destroy(struct device *device)
{
	free(bus_of(device));
}

static const struct device_ops bus_ops = {
	.name = "pci", .read = bus_device_read, .write = bus_device_write,
	.state = bus_device_state, .destroy = bus_device_destroy,
};

/* ---- making functions ------------------------------------------------------------------- */

void pci_add_at(struct vm *vm, struct pci_device *pci, const struct device_ops *ops,
		const struct pci_identity *identity, unsigned int devfn)
{
	bus_of(vm->pci)->functions[devfn] = pci;
	pthread_mutex_init(&pci->lock, NULL);
	pci->device.lock = &pci->lock;
	device_add(vm, &pci->device, ops);
	pci_put(pci, PCI_VENDOR_ID, 2, identity->vendor);
	pci_put(pci, PCI_DEVICE_ID, 2, identity->device);
	pci_put(pci, PCI_COMMAND, 2, PCI_COMMAND_IO | PCI_COMMAND_MEMORY);
	pci_put(pci, PCI_CLASS_REVISION, 4, identity->class << 8 | identity->revision);
	/* As firmware leaves it: in units of 4 bytes. */
	pci_put(pci, PCI_CACHE_LINE_SIZE, 1, CACHE_LINE / 4);
	pci_put(pci, PCI_SUBSYSTEM_VENDOR_ID, 2, identity->subsystem_vendor);
	pci_put(pci, PCI_SUBSYSTEM_ID, 2, identity->subsystem);
	pci->writable[PCI_COMMAND] = PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
	pci->writable[PCI_COMMAND + 1] = PCI_COMMAND_INTX_DISABLE >> 8;
	pci->writable[PCI_CACHE_LINE_SIZE] = 0xff;
	pci->writable[PCI_INTERRUPT_LINE] = 0xff;
	pci->cap_end = PCI_STD_HEADER_SIZEOF;
}

int pci_add(struct vm *vm, struct pci_device *pci, const struct device_ops *ops,
	    const struct pci_identity *identity)
{
	const struct bus_device *bus = bus_of(vm->pci);
	unsigned int devfn = 0;

	while (devfn < PCI_FUNCTIONS && bus->functions[devfn])
		devfn += PCI_DEVFN(1, 0);
	if (devfn >= PCI_FUNCTIONS) {
		complain("too many devices for the PCI bus: %u are the most",
			 PCI_FUNCTIONS / PCI_DEVFN(1, 0));
		return -1;
	}
	pci_add_at(vm, pci, ops, identity, devfn);
	return 0;
}

void pci_add_bar(struct pci_device *pci, unsigned int number, enum bus_space space, __u64 size)
{
	struct bus_device *bus = bus_of(pci->device.vm->pci);
	unsigned int at = PCI_BASE_ADDRESS_0 + 4 * number;
	__u64 address = (bus->next[space] + size - 1) & ~(size - 1);
	__u32 mask = ~(__u32)(size - 1);

	bus->next[space] = address + size;
	pci->bars[number] = (struct pci_bar) { .space = space, .size = size };
	pci_put(pci, at, 4, address | (space == SPACE_PORT ? PCI_BASE_ADDRESS_SPACE_IO : 0));
	memcpy(pci->writable + at, &mask, sizeof(mask));
	update_bars(pci);
}

unsigned int pci_add_capability(struct pci_device *pci, const void *data, size_t size)
{
	unsigned int at = pci->cap_end;

	memcpy(pci->config + at, data, size);
	pci->config[at + PCI_CAP_LIST_NEXT] = 0;
	pci->config[pci->last_cap ? pci->last_cap + PCI_CAP_LIST_NEXT : PCI_CAPABILITY_LIST] = at;
	pci->config[PCI_STATUS] |= PCI_STATUS_CAP_LIST;
	pci->last_cap = at;
	pci->cap_end = (at + size + 3) & ~3u;
	return at;
}

int pci_create(struct vm *vm)
{
	struct bus_device *bus = calloc(1, sizeof(*bus));

	if (!bus) {
		complain("no memory for the PCI bus");
		return -1;
	}
	bus->next[SPACE_PORT] = PCI_IO_FIRST;
	bus->next[SPACE_MMIO] = PCI_MEMORY_FIRST;
	pthread_mutex_init(&bus->lock, NULL);
	bus->device.lock = &bus->lock;
	device_add(vm, &bus->device, &bus_ops);
	vm->pci = &bus->device;
	if (device_ports(&bus->device, PORT_ADDRESS, 4, 4, ID_ADDRESS))
		return -1;
	return device_ports(&bus->device, PORT_DATA, 4, 4, ID_DATA);
}

/* ---- MSI-X --------------------------------------------------------------------------------- */

void pci_add_msix(struct pci_device *pci, unsigned int bar, unsigned int nr, __u32 table,
		  __u32 pending)
{
	struct {
		__u8 id, next;
		__u16 control;
		__u32 table, pending;
	} cap = { PCI_CAP_ID_MSIX, 0, nr - 1, table | bar, pending | bar };

	pci->nr_vectors = nr;
	for (unsigned int i = 0; i < nr; i++)
		pci->msix[i].control = PCI_MSIX_ENTRY_CTRL_MASKBIT;
	pci->msix_cap = pci_add_capability(pci, &cap, sizeof(cap));
	pci->writable[pci->msix_cap + PCI_MSIX_FLAGS + 1] =
		(PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL) >> 8;
}

static bool is_masked(const struct pci_device *pci, unsigned int vector)
{
	return get(pci, pci->msix_cap + PCI_MSIX_FLAGS, 2) & PCI_MSIX_FLAGS_MASKALL ||
	       pci->msix[vector].control & PCI_MSIX_ENTRY_CTRL_MASKBIT;
}

bool msix_message(const struct pci_device *pci, unsigned int vector, struct mote_msi *msi)
{
	if (vector >= pci->nr_vectors || !is_on(pci) || is_masked(pci, vector))
		return false;
	*msi = msi_of_guest(pci->msix[vector].address, pci->msix[vector].data);
	return true;
}

void msix_send(struct pci_device *pci, unsigned int vector)
{
	struct mote_msi msi;

	if (vector >= pci->nr_vectors || !is_on(pci))
		return;
	if (!msix_message(pci, vector, &msi)) {
		pci->msix_pending |= 1u << vector;
		return;
	}
	pci->msix_pending &= ~(1u << vector);
	mote_msi(pci->device.vm->machine.fd, &msi);
}

/* Send what is not held back any more. */
static void msix_flush(struct pci_device *pci)
{
	for (unsigned int i = 0; i < pci->nr_vectors; i++)
		if (pci->msix_pending >> i & 1 && !is_masked(pci, i))
			msix_send(pci, i);
	if (pci->msix_changed)
		pci->msix_changed(pci);
}

__u64 msix_read(struct pci_device *pci, __u64 offset, unsigned int size)
{
	__u64 data = 0;

	if (offset + size <= pci->nr_vectors * sizeof(pci->msix[0]))
		memcpy(&data, (char *)pci->msix + offset, size);
	return data;
}

void msix_write(struct pci_device *pci, __u64 offset, unsigned int size, __u64 data)
{
	if (size < 4 || offset % size ||
	    offset + size > pci->nr_vectors * sizeof(pci->msix[0]))
		return;
	memcpy((char *)pci->msix + offset, &data, size);
	msix_flush(pci);
}

/* ---- state ---------------------------------------------------------------------------------- */

/* Is it the function that it was, but for what the guest can change? */
static bool is_same(const struct pci_device *pci, const __u8 *config)
{
	for (unsigned int i = 0; i < PCI_CONFIG; i++)
		if ((pci->config[i] ^ config[i]) & ~pci->writable[i])
			return false;
	return true;
}

void pci_state(struct pci_device *pci, struct state *state)
{
	__u8 config[PCI_CONFIG];

	memcpy(config, pci->config, sizeof(config));
	state_value(state, "config", config, sizeof(config));
	state_value(state, "msix", pci->msix, pci->nr_vectors * sizeof(pci->msix[0]));
	STATE(state, pci, msix_pending);
	state_require(state, is_same(pci, config), "the device that is there now is another one");
	if (!state->loads || state_has_failed(state))
		return;
	memcpy(pci->config, config, sizeof(config));
	update_bars(pci);
}

void pci_device_state(struct device *device, struct state *state)
{
	pci_state(container_of(device, struct pci_device, device), state);
}
