// SPDX-License-Identifier: GPL-2.0
/*
 * The 8042 keyboard controller of a PS/2, with nothing plugged in: what is sent to
 * a keyboard or a mouse is answered by a time-out.  IBM's AT and PS/2 technical
 * references, "Keyboard Controller".  It does at once what it is told, so that
 * its input buffer is always empty.
 *
 * Its output port resets the machine.  The gate of A20 is a bit alone: that line
 * is not held low.
 */
#include <stdlib.h>
#include <string.h>

#include "runner.h"
#include "state.h"
#include "vm.h"

#define PORT_DATA 0x60
#define PORT_COMMAND 0x64
enum { ID_DATA, ID_COMMAND };

#define STATUS_OUTPUT_FULL 0x01
#define STATUS_SYSTEM 0x04
#define STATUS_COMMAND 0x08	/* the last write was a command */
#define STATUS_NOT_LOCKED 0x10
#define STATUS_AUX 0x20		/* the output is the mouse's */
#define STATUS_TIMEOUT 0x40

/* The command byte, which is the first of the controller's memory. */
#define CONFIG_INTERRUPT 0x01
#define CONFIG_AUX_INTERRUPT 0x02
#define CONFIG_SYSTEM 0x04	/* the self-test has passed */
#define CONFIG_DISABLED 0x10
#define CONFIG_AUX_DISABLED 0x20
#define CONFIG_TRANSLATE 0x40

#define READ_MEMORY 0x20	/* and 31 more */
#define WRITE_MEMORY 0x60
#define TEST_PASSWORD 0xa4
#define LOAD_PASSWORD 0xa5
#define DISABLE_AUX 0xa7
#define ENABLE_AUX 0xa8
#define TEST_AUX 0xa9
#define SELF_TEST 0xaa
#define TEST_KEYBOARD 0xab
#define DUMP 0xac
#define DISABLE_KEYBOARD 0xad
#define ENABLE_KEYBOARD 0xae
#define READ_INPUT_PORT 0xc0
#define POLL_INPUT_LOW 0xc1
#define POLL_INPUT_HIGH 0xc2
#define READ_OUTPUT_PORT 0xd0
#define WRITE_OUTPUT_PORT 0xd1
#define WRITE_OUTPUT 0xd2
#define WRITE_AUX_OUTPUT 0xd3
#define WRITE_AUX 0xd4
#define CLOSE_A20 0xdd
#define OPEN_A20 0xdf
#define READ_TEST_INPUTS 0xe0
#define PULSE 0xf0		/* the output port's low bits that are clear here */

#define SELF_TEST_OK 0x55
#define INTERFACE_OK 0x00
#define NO_PASSWORD 0xf1
#define RESEND 0xfe		/* what comes of a time-out */

/* Not locked, a colour display, the manufacturer's jumper open, all memory on. */
#define INPUT_PORT 0xf0
#define OUTPUT_NO_RESET 0x01
#define OUTPUT_A20 0x02
#define OUTPUT_FULL 0x10
#define OUTPUT_AUX_FULL 0x20
/* Both lines of the keyboard, and those of the mouse, are high. */
#define OUTPUT_PORT (0xcc | OUTPUT_NO_RESET | OUTPUT_A20)
#define TEST_CLOCK 0x01
#define TEST_DATA 0x02

#define MEMORY 32
#define MOST (MEMORY / 2 + 3)

/* What the guest sees. */
struct i8042 {
	struct device device;
	__u8 memory[MEMORY];
	__u8 output[MOST];	/* bytes that are to be read */
	__u8 nr;
	__u8 flags;		/* of the first, in the status */
	__u8 last;		/* what was read last */
	__u8 command;		/* the one that waits for its data, or polls; 0: none */
	__u8 was_command;
	__u8 output_port;
};

static struct i8042 *i8042_of(struct device *device)
{
	return container_of(device, struct i8042, device);
}

/* The byte that is to be read interrupts, if that is wanted. */
static void update(struct i8042 *kbc)
{
	struct vm *vm = kbc->device.vm;
	bool aux = kbc->flags & STATUS_AUX;

	line_set(vm, LINE_KEYBOARD, kbc->nr && !aux && kbc->memory[0] & CONFIG_INTERRUPT);
	line_set(vm, LINE_AUX, kbc->nr && aux && kbc->memory[0] & CONFIG_AUX_INTERRUPT);
}

static void answer(struct i8042 *kbc, __u8 data, __u8 flags)
{
	kbc->output[0] = data;
	kbc->nr = 1;
	kbc->flags = flags;
}

/* Its first half of the memory, both ports and the status. */
static void dump(struct i8042 *kbc)
{
	memcpy(kbc->output, kbc->memory, MEMORY / 2);
	kbc->output[MEMORY / 2] = INPUT_PORT;
	kbc->output[MEMORY / 2 + 1] = kbc->output_port;
	kbc->output[MEMORY / 2 + 2] = kbc->memory[0] & CONFIG_SYSTEM;
	kbc->nr = MOST;
	kbc->flags = 0;
}

static __u8 output_port(const struct i8042 *kbc)
{
	__u8 full = kbc->flags & STATUS_AUX ? OUTPUT_AUX_FULL : OUTPUT_FULL;

	return (kbc->output_port & ~(OUTPUT_FULL | OUTPUT_AUX_FULL)) | (kbc->nr ? full : 0);
}

static void write_output_port(struct i8042 *kbc, __u8 data)
{
	kbc->output_port = data;
	if (!(data & OUTPUT_NO_RESET))
		vm_end(kbc->device.vm, END_RESET, 0);
}

static __u8 status(const struct i8042 *kbc)
{
	__u8 status = STATUS_NOT_LOCKED | (kbc->memory[0] & CONFIG_SYSTEM ? STATUS_SYSTEM : 0) |
		      (kbc->was_command ? STATUS_COMMAND : 0) |
		      (kbc->nr ? STATUS_OUTPUT_FULL | kbc->flags : 0);

	/* The upper half shows half of the input port until the next command. */
	if (kbc->command == POLL_INPUT_LOW)
		return (status & 0x0f) | (INPUT_PORT << 4 & 0xf0);
	if (kbc->command == POLL_INPUT_HIGH)
		return (status & 0x0f) | (INPUT_PORT & 0xf0);
	return status;
}

/* Of what is sent to who is not there. */
static void time_out(struct i8042 *kbc, __u8 flags)
{
	answer(kbc, RESEND, STATUS_TIMEOUT | flags);
}

static void write_data(struct i8042 *kbc, __u8 data)
{
	__u8 command = kbc->command;

	kbc->was_command = 0;
	/* A password ends with a zero. */
	if (command != LOAD_PASSWORD || !data)
		kbc->command = 0;
	if ((command & ~(MEMORY - 1)) == WRITE_MEMORY)
		kbc->memory[command % MEMORY] = data;
	else if (command == WRITE_OUTPUT_PORT)
		write_output_port(kbc, data);
	else if (command == WRITE_OUTPUT)
		answer(kbc, data, 0);
	else if (command == WRITE_AUX_OUTPUT)
		answer(kbc, data, STATUS_AUX);
	else if (command == WRITE_AUX)
		time_out(kbc, STATUS_AUX);
	else if (command != LOAD_PASSWORD)
		time_out(kbc, 0);
}

/* Commands that change something. */
static void obey(struct i8042 *kbc, __u8 command)
{
	__u8 *config = &kbc->memory[0];

	switch (command) {
	case DISABLE_AUX:
		*config |= CONFIG_AUX_DISABLED;
		break;
	case ENABLE_AUX:
		*config &= ~CONFIG_AUX_DISABLED;
		break;
	case DISABLE_KEYBOARD:
		*config |= CONFIG_DISABLED;
		break;
	case ENABLE_KEYBOARD:
		*config &= ~CONFIG_DISABLED;
		break;
	case CLOSE_A20:
		kbc->output_port &= ~OUTPUT_A20;
		break;
	case OPEN_A20:
		kbc->output_port |= OUTPUT_A20;
		break;
	case PULSE ... 0xff:
		if (!(command & OUTPUT_NO_RESET))
			vm_end(kbc->device.vm, END_RESET, 0);
		break;
	default:
		/* Those that remain wait for data, poll, or are not known: they do nothing. */
		kbc->command = command;
	}
}

static void write_command(struct i8042 *kbc, __u8 command)
{
	kbc->was_command = 1;
	kbc->command = 0;
	switch (command) {
	case READ_MEMORY ... READ_MEMORY + MEMORY - 1:
		answer(kbc, kbc->memory[command % MEMORY], 0);
		break;
	case TEST_PASSWORD:
		answer(kbc, NO_PASSWORD, 0);
		break;
	case SELF_TEST:
		kbc->memory[0] |= CONFIG_SYSTEM | CONFIG_DISABLED | CONFIG_AUX_DISABLED;
		answer(kbc, SELF_TEST_OK, 0);
		break;
	case TEST_AUX:
	case TEST_KEYBOARD:
		answer(kbc, INTERFACE_OK, 0);
		break;
	case DUMP:
		dump(kbc);
		break;
	case READ_INPUT_PORT:
		answer(kbc, INPUT_PORT, 0);
		break;
	case READ_OUTPUT_PORT:
		answer(kbc, output_port(kbc), 0);
		break;
	case READ_TEST_INPUTS:
		/* To disable a keyboard is to hold its clock low. */
		answer(kbc, TEST_DATA | (kbc->memory[0] & CONFIG_DISABLED ? 0 : TEST_CLOCK), 0);
		break;
	default:
		obey(kbc, command);
	}
}

static __u8 read_data(struct i8042 *kbc)
{
	if (!kbc->nr)
		return kbc->last;
	kbc->last = kbc->output[0];
	memmove(kbc->output, kbc->output + 1, --kbc->nr);
	/* The next byte of several is another edge. */
	line_set(kbc->device.vm, LINE_KEYBOARD, false);
	update(kbc);
	return kbc->last;
}

static __u64 i8042_read(struct device *device, const struct region *region, __u64 offset,
			unsigned int size)
{
	struct i8042 *kbc = i8042_of(device);

	(void)offset;
	(void)size;
	return region->id == ID_DATA ? read_data(kbc) : status(kbc);
}

static void i8042_write(struct device *device, const struct region *region, __u64 offset,
			unsigned int size, __u64 data)
{
	struct i8042 *kbc = i8042_of(device);

	(void)offset;
	(void)size;
	if (region->id == ID_DATA)
		write_data(kbc, data);
	else
		write_command(kbc, data);
	update(kbc);
}

static void i8042_state(struct device *device, struct state *state)
{
	struct i8042 *kbc = i8042_of(device);

	STATE(state, kbc, memory);
	STATE(state, kbc, output);
	STATE(state, kbc, nr);
	STATE(state, kbc, flags);
	STATE(state, kbc, last);
	STATE(state, kbc, command);
	STATE(state, kbc, was_command);
	STATE(state, kbc, output_port);
	state_require(state, kbc->nr <= MOST, "it has more to be read than there is room for");
	state_require(state, !(kbc->flags & ~(STATUS_AUX | STATUS_TIMEOUT)), "there is no such status");
}

static void i8042_destroy(struct device *device)
{
	free(i8042_of(device));
}

static const struct device_ops ops = {
	.name = "i8042", .read = i8042_read, .write = i8042_write, .state = i8042_state,
	.destroy = i8042_destroy,
};

int i8042_create(struct vm *vm)
{
	struct i8042 *kbc = calloc(1, sizeof(*kbc));

	if (!kbc) {
		complain("no memory for the i8042");
		return -1;
	}
	/* As firmware leaves it, but for the interrupts. */
	kbc->memory[0] = CONFIG_SYSTEM | CONFIG_TRANSLATE;
	kbc->output_port = OUTPUT_PORT;
	device_add(vm, &kbc->device, &ops);
	if (device_ports(&kbc->device, PORT_DATA, 1, 1, ID_DATA))
		return -1;
	return device_ports(&kbc->device, PORT_COMMAND, 1, 1, ID_COMMAND);
}
