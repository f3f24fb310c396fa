// SPDX-License-Identifier: GPL-2.0
/* The flash with UEFI's variables: commands as OVMF gives them, when it is memory, and what the file has. */

#include "../userspace/runner/dev/flash.c"
#include "complaints.h"

#define BLOCKS 4
#define CODE_SIZE 0x10000
#define BASE (HIGH_MEMORY - CODE_SIZE - BLOCKS * BLOCK)

static char path[32] = "/tmp/vars-XXXXXX";
static struct options options = { .firmware = "code", .variables = path };
static struct vm vm = { .options = &options, .firmware_size = CODE_SIZE };
static struct mote_slot slot;
static unsigned int nr_slot_calls, nr_settled;
static struct transfer *in_flight;
static ssize_t result_of_next;

int mote_set_slot(int machine, const struct mote_slot *config)
{
	(void)machine;
	slot = *config;
	nr_slot_calls++;
	return 0;
}

__u64 clock_ns(void)
{
	return NS_PER_S;
}

void io_settled(struct vm *which)
{
	(void)which;
	nr_settled++;
}

int file_open(struct file *file, const char *name, const char *what)
{
	(void)what;
	file->fd = open(name, O_RDONLY);
	file->size = file->fd < 0 ? 0 : lseek(file->fd, 0, SEEK_END);
	return file->fd < 0 ? -1 : 0;
}

void file_close(struct file *file)
{
	close(file->fd);
}

int file_read(const struct file *file, __u64 offset, unsigned char *to, __u64 size)
{
	return pread(file->fd, to, size, offset) == (ssize_t)size ? 0 : -1;
}

/* One transfer, which ends when the test says so. */
int transfers_create(struct vm *which, struct transfers *transfers, unsigned int depth)
{
	(void)which;
	(void)transfers;
	EQ(1, depth);
	return 0;
}

void transfers_start(struct transfers *transfers, struct transfer *transfer)
{
	CHECK(!in_flight);
	EQ(TRANSFER_WRITE_SYNC, transfer->kind);
	in_flight = transfer;
	transfers->in_flight++;
}

void transfers_submit(struct transfers *transfers)
{
	(void)transfers;
}

static void finish(struct transfers *transfers)
{
	struct transfer *transfer = in_flight;

	in_flight = NULL;
	transfers->in_flight--;
	transfer->result = result_of_next ? result_of_next :
			   pwritev(transfers->fd, transfer->iov, transfer->nr_iov, transfer->offset);
	transfers->done(transfers, transfer);
	transfers->settled(transfers);
}

void transfers_wait(struct transfers *transfers)
{
	while (in_flight)
		finish(transfers);
}

void transfers_destroy(struct transfers *transfers)
{
	EQ(0, transfers->in_flight);
}

/* ---- what the tests say ------------------------------------------------------------------- */

static struct flash *flash(void)
{
	return flash_of(vm.devices);
}

static __u8 get(__u64 offset)
{
	return bus_read(&vm, SPACE_MMIO, BASE + offset, 1);
}

static void put(__u64 offset, __u8 data)
{
	bus_write(&vm, SPACE_MMIO, BASE + offset, 1, data);
}

static bool is_memory(void)
{
	return slot.slot == SLOT_FLASH && slot.gpa == BASE && slot.size == BLOCKS * BLOCK &&
	       slot.flags == MOTE_SLOT_READONLY && slot.hva == (unsigned long)flash()->bytes;
}

static __u8 in_file(__u64 offset)
{
	__u8 byte = 0;
	int fd = open(path, O_RDONLY);

	CHECK(pread(fd, &byte, 1, offset) == 1);
	close(fd);
	return byte;
}

/* Its bytes are their offsets' at first. */
static void start(void)
{
	__u8 bytes[BLOCKS * BLOCK];
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = i ^ i >> 8;
	CHECK(write(fd, bytes, sizeof(bytes)) == sizeof(bytes));
	close(fd);
	result_of_next = 0;
	CHECK(!flash_create(&vm));
}

static void end(void)
{
	devices_destroy(&vm);
}

static void is_found(void)
{
	start();
	CHECK(is_memory());
	EQ(0x34 ^ 0x12, get(0x1234));
	/* As OVMF looks for it: neither RAM nor ROM. */
	put(0, CLEAR_STATUS);
	CHECK(is_memory());
	EQ(0, get(0));
	put(0x1234, CLEAR_STATUS);
	EQ(0x34 ^ 0x12, get(0x1234));
	put(0x1234, READ_STATUS);
	CHECK(!slot.size && !slot.flags && !slot.gpa && !slot.hva);
	EQ(0, get(0x1234));
	put(0x1234, READ_ARRAY);
	CHECK(is_memory());
	EQ(0x34 ^ 0x12, get(0x1234));
	/* What it does not know changes nothing. */
	put(0, 0xe8);
	put(0, 0x90);
	CHECK(is_memory());
	EQ(0x34 ^ 0x12, get(0x1234));
	end();
}

static void programs_and_erases(void)
{
	start();
	put(BLOCK + 5, ERASE);
	CHECK(!is_memory());
	put(BLOCK + 5, ERASE_CONFIRM);
	EQ(STATUS_READY, get(0));
	put(BLOCK + 5, READ_ARRAY);
	EQ(ERASED, get(BLOCK));
	EQ(ERASED, get(2 * BLOCK - 1));
	EQ(0xff ^ 0x0f, get(BLOCK - 1));
	EQ(0x20, get(2 * BLOCK));
	/* Bits are cleared, and only by PROGRAM and its other code; the slot goes once and comes once. */
	nr_slot_calls = 0;
	put(BLOCK, PROGRAM);
	put(BLOCK, 0x5f);
	put(BLOCK, PROGRAM_TOO);
	put(BLOCK, 0xf5);
	put(BLOCK + 1, PROGRAM);
	put(BLOCK + 1, READ_ARRAY);
	put(BLOCK + 2, PROGRAM);
	put(BLOCK + 2, 0);
	EQ(1, nr_slot_calls);
	EQ(STATUS_READY, get(BLOCK));
	put(BLOCK + 2, READ_ARRAY);
	EQ(2, nr_slot_calls);
	CHECK(is_memory());
	EQ(0x55, get(BLOCK));
	EQ(0xff, get(BLOCK + 1));
	EQ(0, get(BLOCK + 2));
	/* An erasure that is not confirmed. */
	put(0, ERASE);
	put(0, READ_ARRAY);
	EQ(STATUS_READY | STATUS_ERASE_ERROR | STATUS_PROGRAM_ERROR, get(0));
	put(0, READ_ARRAY);
	EQ(1, get(1));
	end();
	/* Another machine finds it. */
	CHECK(!flash_create(&vm));
	EQ(0x55, get(BLOCK));
	EQ(0, get(BLOCK + 2));
	EQ(1, get(1));
	end();
}

static void program_byte(__u64 offset, __u8 data)
{
	put(offset, PROGRAM);
	put(offset, data);
}

static void file_follows(void)
{
	start();
	program_byte(0x30, 0);
	program_byte(0x10, 0);
	CHECK(!in_flight);
	put(0, READ_ARRAY);
	CHECK(in_flight && in_flight->offset == 0x10 && in_flight->size == 0x21);
	/* What comes meanwhile is the next transfer's. */
	program_byte(0x2000, 0);
	put(0, READ_ARRAY);
	CHECK(!flash_drain(&flash()->device));
	finish(&flash()->transfers);
	CHECK(in_flight && in_flight->offset == 0x2000 && in_flight->size == 1);
	EQ(0, in_file(0x10));
	EQ(0x20, in_file(0x20));
	EQ(0, in_file(0x30));
	nr_settled = 0;
	finish(&flash()->transfers);
	EQ(1, nr_settled);
	EQ(0, in_file(0x2000));
	CHECK(flash_drain(&flash()->device));
	/* A pause brings out what is half done, and so does the end. */
	program_byte(0x3000, 0);
	CHECK(!flash_drain(&flash()->device));
	finish(&flash()->transfers);
	EQ(0, in_file(0x3000));
	program_byte(0x3001, 0);
	end();
	EQ(0, in_file(0x3001));
}

static struct state save(void)
{
	struct state state;

	CHECK(flash_drain(&flash()->device));
	state_begin_save(&state);
	flash_state(&flash()->device, &state);
	CHECK(!state_end(&state));
	return state;
}

/* A copy of it, cut to this size, as it is marked. */
static int load(const struct state *state, size_t size)
{
	unsigned char *copy = malloc(size + !size);
	struct state other;
	int err;

	memcpy(copy, state->data, size);
	state_begin_load(&other, copy, size);
	flash_state(&flash()->device, &other);
	err = state_end(&other);
	free(copy);
	return err;
}

/* A flash that is saved between two writes goes on between them, and so does the file. */
static void is_loaded(void)
{
	struct state state, again;

	start();
	program_byte(0x30, 0);
	put(0x31, PROGRAM);
	CHECK(!flash_drain(&flash()->device));
	finish(&flash()->transfers);
	state = save();
	end();
	/* Elsewhere, the file has never had it. */
	start();
	CHECK(is_memory());
	CHECK(!load(&state, state.size));
	CHECK(!slot.size);
	again = save();
	CHECK(state.size == again.size && !memcmp(state.data, again.data, state.size));
	state_free(&again);
	CHECK(!in_flight);
	EQ(0x30, in_file(0x30));
	flash_resume(&flash()->device);
	CHECK(in_flight);
	finish(&flash()->transfers);
	EQ(0, in_file(0x30));
	put(0x31, 0x11);
	EQ(STATUS_READY, get(0x31));
	put(0, READ_ARRAY);
	CHECK(is_memory());
	EQ(0, get(0x30));
	EQ(0x11, get(0x31));
	EQ(0x32, get(0x32));
	end();
	EQ(0x11, in_file(0x31));
	/* One that is not begun leaves the file alone; and so does one that is refused. */
	start();
	CHECK(!load(&state, state.size));
	end();
	EQ(0x30, in_file(0x30));
	start();
	for (size_t size = 0; size < state.size; size += size < 64 ? 1 : 61)
		load(&state, size);
	CHECK(load(&state, state.size - 1));
	end();
	EQ(0x30, in_file(0x30));
	/* A command that there is not, behind the record of that name. */
	start();
	state.data[sizeof(struct state_record) + strlen("command")] = 0x12;
	CHECK(load(&state, state.size));
	flash_resume(&flash()->device);
	CHECK(!in_flight && is_memory());
	end();
	state_free(&state);
}

static void failures_are_said_once(void)
{
	start();
	result_of_next = -ENOSPC;
	program_byte(1, 0);
	put(0, READ_ARRAY);
	finish(&flash()->transfers);
	CHECK(strstr(said, "cannot write the variables") && strstr(said, "No space left"));
	said[0] = 0;
	program_byte(2, 0);
	put(0, READ_ARRAY);
	finish(&flash()->transfers);
	CHECK(!said[0]);
	EQ(0, get(2));
	end();
}

static void files_that_cannot_be(void)
{
	struct vm other = vm;
	int err;

	CHECK(!truncate(path, 5000));
	EQ(-1, flash_create(&vm));
	CHECK(strstr(said, "holds no variables"));
	CHECK(!truncate(path, 0));
	EQ(-1, flash_create(&vm));
	CHECK(!truncate(path, FIRMWARE_MOST - CODE_SIZE + BLOCK));
	EQ(-1, flash_create(&vm));
	CHECK(strstr(said, "holds no variables"));
	start();
	err = flash_create(&other);
	EQ(-1, err);
	CHECK(strstr(said, "in use"));
	end();
	/* Only Debian's has a template, which is asked for before anything is made. */
	unlink(path);
	EQ(-1, flash_create(&vm));
	CHECK(strstr(said, "cannot open the variables"));
	CHECK(access(path, F_OK));
}

int main(void)
{
	static const struct unit_test tests[] = {
		{ "it is found, and memory while it is read", is_found },
		{ "it is programmed and erased", programs_and_erases },
		{ "the file has what was programmed", file_follows },
		{ "a flash that is loaded goes on, and its file then", is_loaded },
		{ "what cannot be written is said once", failures_are_said_once },
		{ "a file that is none, or somebody else's", files_that_cannot_be },
	};

	close(mkstemp(path));
	return run_all(tests, ARRAY_SIZE(tests));
}
