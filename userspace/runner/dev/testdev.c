// SPDX-License-Identifier: GPL-2.0
/*
 * The test devices of test guests, with --testdev: what QEMU calls pc-testdev.
 *
 *	0xe0		four bytes that hold what is written
 *	0xe4		the host's page tables lose the page of memory at the address that is written
 *	0xe8		four bytes, as at 0xe0, that are accessed one by one
 *	0x2000		a port for each input of the I/O APIC: the level of the line
 *	0xff000000	64 KiB that hold what is written, and are device memory
 *
 * A line that has a device is driven by both.
 */
#include <stdlib.h>
#include <string.h>

#include "irq.h"
#include "runner.h"
#include "state.h"

#define PORT_ECHO 0xe0
#define PORT_FLUSH 0xe4
#define PORT_ECHO_BYTES 0xe8
#define ECHO_SIZE 4
#define PORT_LINES 0x2000
#define NR_INPUTS 24
#define MEMORY 0xff000000ull
#define MEMORY_SIZE 0x10000

enum { ID_ECHO, ID_FLUSH, ID_ECHO_BYTES, ID_LINES, ID_MEMORY };

struct testdev {
	struct device device;
	__u8 echo[ECHO_SIZE];
	__u8 echo_bytes[ECHO_SIZE];
	__u8 memory[MEMORY_SIZE];
};

static struct testdev *testdev_of(struct device *device)
{
	return container_of(device, struct testdev, device);
}

/* What holds what is written, or NULL. */
static __u8 *bytes_of(struct testdev *testdev, unsigned int id)
{
	switch (id) {
	case ID_ECHO:
		return testdev->echo;
	case ID_ECHO_BYTES:
		return testdev->echo_bytes;
	case ID_MEMORY:
		return testdev->memory;
	default:
		return NULL;
	}
}

static __u64 testdev_read(struct device *device, const struct region *region, __u64 offset,
			  unsigned int size)
{
	const __u8 *bytes = bytes_of(testdev_of(device), region->id);
	__u64 data = 0;

	if (bytes)
		memcpy(&data, bytes + offset, size);
	return data;
}

/* The ISA lines are the 8259s', too. */
static void drive(struct vm *vm, unsigned int input, bool level)
{
	if (input < NR_LINES)
		line_set(vm, input, level);
	else
		ioapic_set_line(vm, input, level);
}

static void testdev_write(struct device *device, const struct region *region, __u64 offset,
			  unsigned int size, __u64 data)
{
	__u8 *bytes = bytes_of(testdev_of(device), region->id);

	if (bytes)
		memcpy(bytes + offset, &data, size);
	else if (region->id == ID_LINES)
		drive(device->vm, offset, data);
	else if (size == 4)
		memory_remap(device->vm, data);
}

/* The levels of lines are the interrupt controllers'. */
static void testdev_state(struct device *device, struct state *state)
{
	struct testdev *testdev = testdev_of(device);

	STATE(state, testdev, echo);
	STATE(state, testdev, echo_bytes);
	STATE(state, testdev, memory);
}

static void testdev_destroy(struct device *device)
{
	free(testdev_of(device));
}

static const struct device_ops ops = {
	.name = "testdev", .read = testdev_read, .write = testdev_write, .state = testdev_state,
	.destroy = testdev_destroy,
};

int testdev_create(struct vm *vm)
{
	struct region memory = {
		.space = SPACE_MMIO, .first = MEMORY, .size = MEMORY_SIZE, .width = 8, .id = ID_MEMORY,
	};
	struct testdev *testdev;

	if (!vm->options->testdev)
		return 0;
	testdev = calloc(1, sizeof(*testdev));
	if (!testdev) {
		complain("no memory for the test devices");
		return -1;
	}
	device_add(vm, &testdev->device, &ops);
	memory.device = &testdev->device;
	if (region_add(vm, &memory)) {
		complain("no room for the test devices");
		return -1;
	}
	if (device_ports(&testdev->device, PORT_ECHO, ECHO_SIZE, 4, ID_ECHO) ||
	    device_ports(&testdev->device, PORT_FLUSH, 4, 4, ID_FLUSH) ||
	    device_ports(&testdev->device, PORT_ECHO_BYTES, ECHO_SIZE, 1, ID_ECHO_BYTES))
		return -1;
	return device_ports(&testdev->device, PORT_LINES, NR_INPUTS, 1, ID_LINES);
}
