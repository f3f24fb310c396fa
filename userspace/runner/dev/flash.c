// SPDX-License-Identifier: GPL-2.0
/*
 * The flash in which UEFI keeps its variables, with --variables: in front of the firmware,
 * in blocks of 4 KiB, with the commands of Intel's 28F family as OVMF gives them.  Common Flash
 * Memory Interface, command set 0001h.
 *
 * While it is to be read it is memory, that cannot be written; otherwise each access is ours.  The
 * file has what was programmed when the flash is read again, or the VM pauses or ends.
 * Not here: buffered programming, locks of blocks, and what a chip says of itself.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "disk.h"
#include "keep.h"
#include "loader.h"
#include "runner.h"
#include "state.h"

#define SLOT_FLASH 3
#define BLOCK 4096
#define ERASED 0xff

enum {
	CLEAR_STATUS = 0x50, READ_STATUS = 0x70, READ_ARRAY = 0xff, PROGRAM = 0x10, PROGRAM_TOO = 0x40,
	ERASE = 0x20, ERASE_CONFIRM = 0xd0,
};

#define STATUS_READY 0x80
#define STATUS_ERASE_ERROR 0x20
#define STATUS_PROGRAM_ERROR 0x10

/**
 * struct flash - the flash
 * @device: what all devices begin with
 * @gpa: where it is
 * @bytes: what it holds
 * @size: of it, in bytes
 * @command: whose second write is awaited, or %READ_ARRAY or %READ_STATUS: what is read
 * @status: the status register
 * @first: of what the file lacks
 * @end: of this; 0: it lacks nothing
 * @transfers: to the file
 * @transfer: the one that there is
 * @iov: its bytes
 * @has_failed: a transfer has, and that has been said
 * @is_loaded: it holds what was loaded, which the file gets when the VM goes on
 */
struct flash {
	struct device device;
	__u64 gpa;
	__u8 *bytes;
	__u64 size;
	__u8 command;
	__u8 status;
	__u64 first;
	__u64 end;
	struct transfers transfers;
	struct transfer transfer;
	struct iovec iov;
	bool has_failed;
	bool is_loaded;
};

static struct flash *flash_of(struct device *device)
{
	return container_of(device, struct flash, device);
}

/* ---- the file ------------------------------------------------------------------------- */

static void write_back(struct flash *flash)
{
	if (!flash->end || flash->transfers.in_flight)
		return;
	flash->iov = (struct iovec) { flash->bytes + flash->first, flash->end - flash->first };
	flash->transfer = (struct transfer) {
		.kind = TRANSFER_WRITE_SYNC, .iov = &flash->iov, .nr_iov = 1, .offset = flash->first,
		.size = flash->iov.iov_len,
	};
	flash->end = 0;
	transfers_start(&flash->transfers, &flash->transfer);
	transfers_submit(&flash->transfers);
}

static void transferred(struct transfers *transfers, struct transfer *transfer)
{
	struct flash *flash = container_of(transfers, struct flash, transfers);
	const struct vm *vm = flash->device.vm;

	if (transfer->result == (ssize_t)transfer->size || flash->has_failed)
		return;
	flash->has_failed = true;
	complain("%s: cannot write the variables %s: %s", vm->name, vm->options->variables,
		 transfer->result < 0 ? strerror(-transfer->result) : "not all of it");
}

static void settled(struct transfers *transfers)
{
	struct flash *flash = container_of(transfers, struct flash, transfers);

	write_back(flash);
	if (!transfers->in_flight)
		io_settled(flash->device.vm);
}

static void change(struct flash *flash, __u64 offset, __u64 size)
{
	if (!flash->end || offset < flash->first)
		flash->first = offset;
	if (offset + size > flash->end)
		flash->end = offset + size;
}

/* ---- commands ------------------------------------------------------------------------- */

/* Only the module knows of the memory: nothing else is to run or look up what is there. */
static int show(struct flash *flash, bool is_memory)
{
	const struct mote_slot slot = {
		.slot = SLOT_FLASH, .flags = is_memory ? MOTE_SLOT_READONLY : 0,
		.gpa = is_memory ? flash->gpa : 0,
		.size = is_memory ? flash->size : 0, .hva = is_memory ? (unsigned long)flash->bytes : 0,
	};

	return mote_set_slot(flash->device.vm->machine.fd, &slot);
}

/* What is read from now on; where the memory cannot be had, we are asked, which is slow. */
static void await(struct flash *flash, __u8 command)
{
	if ((flash->command == READ_ARRAY) != (command == READ_ARRAY))
		show(flash, command == READ_ARRAY);
	flash->command = command;
	if (command == READ_ARRAY)
		write_back(flash);
}

static void begin(struct flash *flash, __u8 command)
{
	switch (command) {
	case CLEAR_STATUS:
		/* QUIRK(OVMF): it takes for flash what then is not even ready. */
		flash->status = 0;
		await(flash, READ_ARRAY);
		break;
	case PROGRAM:
	case PROGRAM_TOO:
	case ERASE:
	case READ_STATUS:
		await(flash, command);
		break;
	default:
		await(flash, READ_ARRAY);
	}
}

/* Bits can be cleared one by one, and are set by the block. */
static void program(struct flash *flash, __u64 offset, __u8 data)
{
	flash->bytes[offset] &= data;
	flash->status = STATUS_READY;
	change(flash, offset, 1);
}

static void erase(struct flash *flash, __u64 offset)
{
	memset(flash->bytes + offset - offset % BLOCK, ERASED, BLOCK);
	flash->status = STATUS_READY;
	change(flash, offset - offset % BLOCK, BLOCK);
}

static __u64 flash_read(struct device *device, const struct region *region, __u64 offset, unsigned int size)
{
	const struct flash *flash = flash_of(device);

	(void)region;
	(void)size;
	return flash->command == READ_ARRAY ? flash->bytes[offset] : flash->status;
}

static void flash_write(struct device *device, const struct region *region, __u64 offset, unsigned int size,
			__u64 data)
{
	struct flash *flash = flash_of(device);

	(void)region;
	(void)size;
	if (flash->command == READ_ARRAY || flash->command == READ_STATUS) {
		begin(flash, data);
		return;
	}
	if (flash->command != ERASE)
		program(flash, offset, data);
	else if (data == ERASE_CONFIRM)
		erase(flash, offset);
	else
		flash->status = STATUS_READY | STATUS_ERASE_ERROR | STATUS_PROGRAM_ERROR;
	flash->command = READ_STATUS;
}

/* ---- the device ----------------------------------------------------------------------- */

static bool flash_drain(struct device *device)
{
	struct flash *flash = flash_of(device);

	write_back(flash);
	return !flash->transfers.in_flight;
}

/* From now on the file is this machine's. */
static void flash_resume(struct device *device)
{
	struct flash *flash = flash_of(device);

	if (flash->is_loaded)
		change(flash, 0, flash->size);
	flash->is_loaded = false;
	write_back(flash);
}

static bool is_command(__u8 command)
{
	return command == READ_ARRAY || command == READ_STATUS || command == PROGRAM ||
	       command == PROGRAM_TOO || command == ERASE;
}

static void flash_state(struct device *device, struct state *state)
{
	struct flash *flash = flash_of(device);
	const void *bytes = flash->bytes;
	__u8 command = flash->command;
	size_t size = flash->size;
	bool has_bytes;

	state_value(state, "command", &command, sizeof(command));
	STATE(state, flash, status);
	has_bytes = state_block(state, "bytes", &bytes, &size);
	state_require(state, is_command(command), "there is no such command");
	state_require(state, !has_bytes || size == flash->size, "it has another size");
	if (!state->loads || state_has_failed(state))
		return;
	if (has_bytes)
		memcpy(flash->bytes, bytes, size);
	flash->is_loaded = has_bytes;
	await(flash, command);
}

static void flash_destroy(struct device *device)
{
	struct flash *flash = flash_of(device);

	do {
		write_back(flash);
		transfers_wait(&flash->transfers);
	} while (flash->end);
	transfers_destroy(&flash->transfers);
	keep_fd("variables", device->vm->options->variables, flash->transfers.fd);
	munmap(flash->bytes, flash->size);
	free(flash);
}

static const struct device_ops ops = {
	.name = "flash", .read = flash_read, .write = flash_write, .drain = flash_drain,
	.resume = flash_resume, .state = flash_state, .destroy = flash_destroy,
};

/* The whole of a file into memory that is its size; NULL after a complaint. */
static __u8 *read_all(const char *path, int fd, __u64 size)
{
	const struct file file = { .path = path, .fd = fd, .size = size };
	__u8 *bytes = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (bytes == MAP_FAILED) {
		complain("no memory for the variables %s", path);
		return NULL;
	}
	if (!file_read(&file, 0, bytes, size))
		return bytes;
	munmap(bytes, size);
	return NULL;
}

/* A new file, with the variables of Debian's package; the fd, or -1 after a complaint. */
static int create_file(const char *path, const char *template)
{
	struct file from;
	__u8 *bytes;
	int fd = -1;

	if (file_open(&from, template, "template of the variables"))
		return -1;
	bytes = read_all(template, from.fd, from.size);
	file_close(&from);
	if (!bytes)
		return -1;
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0) {
		complain("cannot create the variables %s: %m", path);
	} else if (write(fd, bytes, from.size) != (ssize_t)from.size) {
		complain("cannot write the variables %s: %m", path);
		unlink(path);
		close(fd);
		fd = -1;
	}
	munmap(bytes, from.size);
	return fd;
}

/* The file, which is this VM's alone: its fd, or -1 after a complaint. */
static int open_file(const struct options *options, __u64 most, __u64 *size)
{
	struct flock lock = { .l_type = F_WRLCK };
	const char *path = options->variables;
	int fd = keep_take_fd("variables", path);
	struct stat stat;

	if (fd < 0)
		fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 && errno == ENOENT && !strcmp(options->firmware, OVMF_CODE))
		fd = create_file(path, OVMF_VARS);
	else if (fd < 0)
		complain("cannot open the variables %s: %m", path);
	if (fd < 0)
		return -1;
	if (fstat(fd, &stat) || !S_ISREG(stat.st_mode) || stat.st_size <= 0 || stat.st_size % BLOCK ||
	    (__u64)stat.st_size > most)
		complain("%s holds no variables: its size is no multiple of 4096, or too large", path);
	else if (fcntl(fd, F_OFD_SETLK, &lock))
		complain("the variables %s are in use: by another VM?", path);
	else
		return *size = stat.st_size, fd;
	close(fd);
	return -1;
}

static int map(struct flash *flash, struct vm *vm)
{
	const struct region region = {
		.space = SPACE_MMIO, .first = flash->gpa, .size = flash->size, .width = 1,
		.device = &flash->device,
	};
	int err;

	flash->device.vm = vm;
	err = show(flash, true);
	if (!err)
		err = region_add(vm, &region);
	if (err)
		complain("cannot map the variables %s: %s", vm->options->variables, strerror(-err));
	return err ? -1 : 0;
}

int flash_create(struct vm *vm)
{
	struct flash *flash;

	if (!vm->options->variables)
		return 0;
	flash = calloc(1, sizeof(*flash));
	if (!flash) {
		complain("no memory for the flash");
		return -1;
	}
	flash->command = READ_ARRAY;
	flash->status = STATUS_READY;
	flash->transfers.done = transferred;
	flash->transfers.settled = settled;
	flash->transfers.fd = open_file(vm->options, FIRMWARE_MOST - vm->firmware_size, &flash->size);
	if (flash->transfers.fd >= 0)
		flash->bytes = read_all(vm->options->variables, flash->transfers.fd, flash->size);
	flash->gpa = HIGH_MEMORY - vm->firmware_size - flash->size;
	if (flash->bytes && !transfers_create(vm, &flash->transfers, 1)) {
		device_add(vm, &flash->device, &ops);
		return map(flash, vm);
	}
	if (flash->bytes)
		munmap(flash->bytes, flash->size);
	if (flash->transfers.fd >= 0)
		close(flash->transfers.fd);
	free(flash);
	return -1;
}
