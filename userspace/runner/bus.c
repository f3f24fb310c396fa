// SPDX-License-Identifier: GPL-2.0
/*
 * Who answers at a port or an address.  An access that is wider than what a
 * device knows, or reaches beyond its region, is split into parts of 1, 2, 4 or 8
 * bytes, the lowest address first.  How the guest's instructions become accesses is libmote's.
 *
 * The regions are under the VM's lock.  A device that has another one is called without that:
 * the guest may move its region meanwhile, but devices stay as long as there are vCPUs.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "runner.h"
#include "vm.h"

/* The first region that ends behind the address: @nr if there is none. */
static size_t find(const struct bus *bus, __u64 address)
{
	size_t low = 0, high = bus->nr;

	while (low < high) {
		size_t middle = (low + high) / 2;
		const struct region *region = &bus->regions[middle];

		if (address >= region->first && address - region->first >= region->size)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

int region_add(struct vm *vm, const struct region *region)
{
	struct bus *bus = &vm->buses[region->space];
	size_t at = find(bus, region->first);
	struct region *regions;

	if (at < bus->nr && bus->regions[at].first - region->first < region->size)
		return -EEXIST;
	if (at < bus->nr && bus->regions[at].first <= region->first)
		return -EEXIST;
	regions = realloc(bus->regions, (bus->nr + 1) * sizeof(*regions));
	if (!regions)
		return -ENOMEM;
	bus->regions = regions;
	memmove(regions + at + 1, regions + at, (bus->nr - at) * sizeof(*regions));
	regions[at] = *region;
	bus->nr++;
	return 0;
}

void region_remove(struct vm *vm, const struct region *region)
{
	struct bus *bus = &vm->buses[region->space];
	size_t at = find(bus, region->first);

	if (at == bus->nr || bus->regions[at].first != region->first)
		return;
	bus->nr--;
	memmove(bus->regions + at, bus->regions + at + 1, (bus->nr - at) * sizeof(*region));
}

/* How much of an access goes to one region, or to nobody (without a device), in one part. */
static unsigned int part(const struct bus *bus, __u64 address, unsigned int size, struct region *region)
{
	size_t at = find(bus, address);
	__u64 room = 1;
	unsigned int here = 8;

	region->device = NULL;
	if (at < bus->nr && bus->regions[at].first <= address) {
		*region = bus->regions[at];
		room = region->size - (address - region->first);
		if (room > region->width)
			room = region->width;
	}
	while (here > size || here > room)
		here /= 2;
	return here;
}

pthread_mutex_t *device_lock(struct vm *vm, const struct device *device)
{
	return device && device->lock ? device->lock : &vm->lock;
}

/* Likewise, and take the lock of whose it is. */
static unsigned int enter(struct vm *vm, enum bus_space space, __u64 address, unsigned int size,
			  struct region *region)
{
	pthread_mutex_t *lock;
	unsigned int here;

	pthread_mutex_lock(&vm->lock);
	here = part(&vm->buses[space], address, size, region);
	lock = device_lock(vm, region->device);
	if (lock != &vm->lock) {
		pthread_mutex_unlock(&vm->lock);
		pthread_mutex_lock(lock);
	}
	return here;
}

static void leave(struct vm *vm, const struct region *region)
{
	pthread_mutex_unlock(device_lock(vm, region->device));
}

__u64 bus_read(struct vm *vm, enum bus_space space, __u64 address, unsigned int size)
{
	unsigned int done, here;
	struct region region;
	__u64 data = 0;

	for (done = 0; done < size; done += here) {
		__u64 bytes = 0xff;

		here = enter(vm, space, address + done, size - done, &region);
		if (region.device)
			bytes = region.device->ops->read(region.device, &region,
							 address + done - region.first, here);
		leave(vm, &region);
		if (here < 8)
			bytes &= (1ull << 8 * here) - 1;
		data |= bytes << 8 * done;
	}
	return data;
}

void bus_write(struct vm *vm, enum bus_space space, __u64 address, unsigned int size, __u64 data)
{
	unsigned int done, here;
	struct region region;

	for (done = 0; done < size; done += here) {
		__u64 bytes = data >> 8 * done;

		here = enter(vm, space, address + done, size - done, &region);
		if (here < 8)
			bytes &= (1ull << 8 * here) - 1;
		if (region.device)
			region.device->ops->write(region.device, &region,
						  address + done - region.first, here, bytes);
		leave(vm, &region);
	}
}

void device_add(struct vm *vm, struct device *device, const struct device_ops *ops)
{
	device->vm = vm;
	device->ops = ops;
	device->next = vm->devices;
	vm->devices = device;
}

void devices_destroy(struct vm *vm)
{
	for (unsigned int space = 0; space < NR_SPACES; space++) {
		free(vm->buses[space].regions);
		vm->buses[space] = (struct bus) { 0 };
	}
	while (vm->devices) {
		struct device *device = vm->devices;

		vm->devices = device->next;
		device->ops->destroy(device);
	}
}

int device_ports(struct device *device, __u16 first, unsigned int nr, unsigned int width,
		 unsigned int id)
{
	const struct region region = {
		.space = SPACE_PORT, .first = first, .size = nr, .width = width, .id = id,
		.device = device,
	};
	int err = region_add(device->vm, &region);

	if (err)
		complain("%s: ports from 0x%x: %s", device->ops->name, first, strerror(-err));
	return err ? -1 : 0;
}
