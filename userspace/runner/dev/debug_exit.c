// SPDX-License-Identifier: GPL-2.0
/* The debug-exit port: a write of v ends the run with status v << 1 | 1, as QEMU's isa-debug-exit. */
#include <stdlib.h>

#include "runner.h"
#include "vm.h"

#define PORT 0xf4

static __u64 debug_exit_read(struct device *device, const struct region *region, __u64 offset,
			     unsigned int size)
{
	(void)device;
	(void)region;
	(void)offset;
	(void)size;
	return 0;
}

static void debug_exit_write(struct device *device, const struct region *region, __u64 offset,
			     unsigned int size, __u64 data)
{
	(void)region;
	(void)offset;
	(void)size;
	vm_end(device->vm, END_DEBUG_EXIT, data);
}

static void debug_exit_destroy(struct device *device)
{
	free(device);
}

static const struct device_ops ops = {
	.name = "debug-exit", .read = debug_exit_read, .write = debug_exit_write,
	.destroy = debug_exit_destroy,
};

int debug_exit_create(struct vm *vm)
{
	struct device *device = calloc(1, sizeof(*device));

	if (!device) {
		complain("no memory for the debug-exit port");
		return -1;
	}
	device_add(vm, device, &ops);
	return device_ports(device, PORT, 4, 4, 0);
}
