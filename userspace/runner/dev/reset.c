// SPDX-License-Identifier: GPL-2.0
/*
 * The old ways to reset a PC: the keyboard controller's pulse, and the fast reset
 * of port 0x92; the chipset's way is in pci.c.  There is no keyboard: of the 8042
 * only what a guest needs to see that.
 */
#include <stdlib.h>

#include "runner.h"
#include "vm.h"

#define PORT_I8042_DATA 0x60
#define PORT_I8042 0x64
#define PORT_SYSTEM_A 0x92

#define I8042_PULSE 0xf0	/* the low bits, when clear, are pulsed */
#define I8042_RESET 0x01
#define I8042_SELF_TEST 0xaa
#define I8042_SELF_TEST_OK 0x55
#define I8042_OUTPUT_FULL 0x01
#define I8042_SYSTEM 0x04	/* the self-test has passed */
#define SYSTEM_A_RESET 0x01
#define SYSTEM_A_A20 0x02

enum { ID_DATA, ID_COMMAND, ID_SYSTEM_A };

struct reset {
	struct device device;
	__u8 output;		/* of the 8042 */
	__u8 output_full;
};

static struct reset *reset_of(struct device *device)
{
	return container_of(device, struct reset, device);
}

static __u64 reset_read(struct device *device, const struct region *region, __u64 offset,
			unsigned int size)
{
	struct reset *reset = reset_of(device);

	(void)offset;
	(void)size;
	switch (region->id) {
	case ID_DATA:
		reset->output_full = 0;
		return reset->output;
	case ID_COMMAND:
		return I8042_SYSTEM | (reset->output_full ? I8042_OUTPUT_FULL : 0);
	default:
		return SYSTEM_A_A20;
	}
}

static void i8042_command(struct reset *reset, __u8 command)
{
	if ((command & I8042_PULSE) == I8042_PULSE && !(command & I8042_RESET)) {
		vm_end(reset->device.vm, END_RESET, 0);
	} else if (command == I8042_SELF_TEST) {
		reset->output = I8042_SELF_TEST_OK;
		reset->output_full = 1;
	}
}

static void reset_write(struct device *device, const struct region *region, __u64 offset,
			unsigned int size, __u64 data)
{
	struct reset *reset = reset_of(device);

	(void)offset;
	(void)size;
	switch (region->id) {
	case ID_COMMAND:
		i8042_command(reset, data);
		break;
	case ID_SYSTEM_A:
		if (data & SYSTEM_A_RESET)
			vm_end(device->vm, END_RESET, 0);
		break;
	}
}

static void reset_destroy(struct device *device)
{
	free(reset_of(device));
}

static const struct device_ops ops = {
	.name = "reset", .read = reset_read, .write = reset_write, .destroy = reset_destroy,
};

int reset_create(struct vm *vm)
{
	struct reset *reset = calloc(1, sizeof(*reset));

	if (!reset) {
		complain("no memory for the reset ports");
		return -1;
	}
	device_add(vm, &reset->device, &ops);
	if (device_ports(&reset->device, PORT_I8042_DATA, 1, 1, ID_DATA) ||
	    device_ports(&reset->device, PORT_I8042, 1, 1, ID_COMMAND))
		return -1;
	return device_ports(&reset->device, PORT_SYSTEM_A, 1, 1, ID_SYSTEM_A);
}
