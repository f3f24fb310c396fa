// SPDX-License-Identifier: GPL-2.0
/*
 * The PS/2's system control port A: the fast reset.  The other ways to reset a PC
 * are the keyboard controller's (i8042.c) and the chipset's (pci.c).
 */
#include <stdlib.h>

#include "runner.h"
#include "vm.h"

#define PORT_SYSTEM_A 0x92
#define SYSTEM_A_RESET 0x01
#define SYSTEM_A_A20 0x02

static __u64 reset_read(struct device *device, const struct region *region, __u64 offset,
			unsigned int size)
{
	(void)device;
	(void)region;
	(void)offset;
	(void)size;
	return SYSTEM_A_A20;
}

static void reset_write(struct device *device, const struct region *region, __u64 offset,
			unsigned int size, __u64 data)
{
	(void)region;
	(void)offset;
	(void)size;
	if (data & SYSTEM_A_RESET)
		vm_end(device->vm, END_RESET, 0);
}

static void reset_destroy(struct device *device)
{
	free(device);
}

static const struct device_ops ops = {
	.name = "reset", .read = reset_read, .write = reset_write, .destroy = reset_destroy,
};

int reset_create(struct vm *vm)
{
	struct device *device = calloc(1, sizeof(*device));

	if (!device) {
		complain("no memory for the reset port");
		return -1;
	}
	device_add(vm, device, &ops);
	return device_ports(device, PORT_SYSTEM_A, 1, 1, 0);
}
