// SPDX-License-Identifier: GPL-2.0
/*
 * The panic port, by which a guest's kernel says that it has come to its end: QEMU,
 * docs/specs/pvpanic.rst.  dsdt.asl says where it is, and Linux's pvpanic-mmio drives it.
 */
#include <stdlib.h>

#include "runner.h"
#include "state.h"
#include "vm.h"

#define PORT 0x505
#define PANICKED 0x01
#define CRASH_LOADED 0x02

/**
 * struct pvpanic - the port
 * @device: what all devices begin with
 * @is_crashing: the guest has said that another kernel takes over, which is news once
 */
struct pvpanic {
	struct device device;
	bool is_crashing;
};

static struct pvpanic *pvpanic_of(struct device *device)
{
	return container_of(device, struct pvpanic, device);
}

/* Which events the guest can report. */
static __u64 pvpanic_read(struct device *device, const struct region *region, __u64 offset,
			  unsigned int size)
{
	(void)device;
	(void)region;
	(void)offset;
	(void)size;
	return PANICKED | CRASH_LOADED;
}

/* The end is the next kernel's matter. */
static void go_on(struct pvpanic *pvpanic)
{
	struct vm *vm = pvpanic->device.vm;

	if (pvpanic->is_crashing)
		return;
	pvpanic->is_crashing = true;
	say_event(vm, "crash-kernel", NULL);
	if (!vm->options->json)
		complain("%s: the guest has panicked, and its crash kernel takes over", vm->name);
}

static void pvpanic_write(struct device *device, const struct region *region, __u64 offset,
			  unsigned int size, __u64 data)
{
	(void)region;
	(void)offset;
	(void)size;
	if (data & PANICKED) {
		if (!vm_pauses_at(device->vm, "the guest has panicked"))
			vm_end(device->vm, END_PANIC, 0);
	} else if (data & CRASH_LOADED) {
		go_on(pvpanic_of(device));
	}
}

static void pvpanic_state(struct device *device, struct state *state)
{
	struct pvpanic *pvpanic = pvpanic_of(device);

	STATE(state, pvpanic, is_crashing);
}

static void pvpanic_destroy(struct device *device)
{
	free(pvpanic_of(device));
}

static const struct device_ops ops = {
	.name = "pvpanic", .read = pvpanic_read, .write = pvpanic_write, .state = pvpanic_state,
	.destroy = pvpanic_destroy,
};

int pvpanic_create(struct vm *vm)
{
	struct pvpanic *pvpanic = calloc(1, sizeof(*pvpanic));

	if (!pvpanic) {
		complain("no memory for the panic port");
		return -1;
	}
	device_add(vm, &pvpanic->device, &ops);
	return device_ports(&pvpanic->device, PORT, 1, 1, 0);
}
