// SPDX-License-Identifier: GPL-2.0
/*
 * Saving a VM that is paused, in parts, between which the I/O thread looks at what else there is:
 * its memory, as far as it is not zeros, and then its state.
 */
#define XXH_INLINE_ALL
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "net.h"
#include "runner.h"
#include "snapshot.h"

/* How much of the memory is a part. */
#define PART (8ull << 20)

#define PAGE_SIZE 4096

/* ---- memory --------------------------------------------------------------------------- */

/* Where the first bytes are that are not a hole, or behind all; -1: that cannot be known. */
static off_t first_data(const struct vm *vm, off_t from)
{
	int fd = vm->is_restored ? base_mapped_file(vm) : -1;
	off_t data = fd < 0 ? -1 : lseek(fd, from, SEEK_DATA);

	if (!vm->is_restored || (fd >= 0 && data < 0 && errno == ENXIO))
		return vm->options->memory;
	return data;
}

/* Looked at, they would be memory. */
void memory_skip_untouched(const struct vm *vm, __u64 page, unsigned int nr, __u64 *bits)
{
	__u64 entries[MEMORY_LOOK_MOST];
	off_t at = ((unsigned long)vm->ram / PAGE_SIZE + page) * sizeof(entries[0]);
	off_t data = vm->memory_fd < 0 && vm->pagemap >= 0 ? first_data(vm, page * PAGE_SIZE) : -1;

	if (data <= (off_t)(page * PAGE_SIZE) || !read_at(vm->pagemap, entries, nr * sizeof(entries[0]), at))
		return;
	for (unsigned int i = 0; i < nr && (off_t)((page + i) * PAGE_SIZE) < data; i++)
		if (!(entries[i] & PAGEMAP_PRESENT))
			bits[i / 64] &= ~(1ull << i % 64);
}

static bool is_untouched(const struct vm *vm, __u64 at, __u64 size)
{
	unsigned int nr = (size < SNAPSHOT_CHUNK ? size : SNAPSHOT_CHUNK) / PAGE_SIZE;
	__u64 bits = (1ull << nr) - 1;

	memory_skip_untouched(vm, at / PAGE_SIZE, nr, &bits);
	return !bits;
}

static void save_chunk(struct vm *vm, struct save *save)
{
	const unsigned char *chunk = vm->ram + save->at;
	__u64 size = vm->options->memory - save->at;
	__u64 had = save->had ? save->had[save->at / SNAPSHOT_CHUNK] : 0, sum = 0;
	unsigned char last[SNAPSHOT_CHUNK];

	/* The file has whole chunks. */
	if (size < SNAPSHOT_CHUNK) {
		memset(last, 0, sizeof(last));
		chunk = memcpy(last, chunk, size);
	}
	/* A sum of 0 stands for a chunk of zeros, which is a hole unless there was something. */
	if (!is_untouched(vm, save->at, size) && !is_zero(chunk, SNAPSHOT_CHUNK))
		sum = XXH3_64bits(chunk, SNAPSHOT_CHUNK);
	if (sum != had) {
		save->err = write_at(save->memory_fd, chunk, SNAPSHOT_CHUNK, save->at);
		save->written += SNAPSHOT_CHUNK;
	}
	save->sums[save->at / SNAPSHOT_CHUNK] = sum;
	save->at += SNAPSHOT_CHUNK;
}

/* What the file has already. */
static int read_had(struct save *save, __u64 chunks)
{
	size_t size = chunks * sizeof(save->had[0]);
	struct stat stat;

	if (fstat(save->memory_fd, &stat))
		return -errno;
	if (!stat.st_size)
		return 0;
	save->had = malloc(size);
	if (!save->had)
		return -ENOMEM;
	return (__u64)stat.st_size == save->memory.size + size &&
	       read_at(save->memory_fd, save->had, size, save->memory.size) ? 0 : -EINVAL;
}

int snapshot_write_sums(int fd, struct snapshot_memory *memory, const __u64 *sums)
{
	size_t size = memory->size / SNAPSHOT_CHUNK * sizeof(sums[0]);

	memory->sum = XXH3_64bits(sums, size);
	return write_at(fd, sums, size, memory->size);
}

/* ---- state ---------------------------------------------------------------------------- */

static void options_state(struct vm *vm, struct state *state)
{
	const char *config = json_object_to_json_string_ext(vm->options->config, JSON_C_TO_STRING_PLAIN);
	const void *block = config;
	size_t size = strlen(config);

	state_block(state, "config", &block, &size);
	block = vm->name;
	size = strlen(vm->name);
	state_block(state, "name", &block, &size);
	block = vm->directory ? vm->directory : "/";
	size = strlen(block);
	state_block(state, "directory", &block, &size);
}

/* By another name the cards would have other addresses. */
static void cards_state(struct vm *vm, struct state *state)
{
	__u8 addresses[NICS_MOST][MAC_SIZE];
	const void *block = addresses;
	size_t size = vm->options->nr_nics * MAC_SIZE;

	for (unsigned int i = 0; i < vm->options->nr_nics; i++)
		mac_get(vm, i, addresses[i]);
	state_block(state, "network_addresses", &block, &size);
}

void machine_state(struct vm *vm, struct state *state)
{
	const void *firmware = vm->firmware;
	size_t size = vm->firmware_size;

	options_state(vm, state);
	cards_state(vm, state);
	STATE(state, vm, tsc_khz);
	cpuid_state(vm, state);
	if (firmware)
		state_block(state, "firmware", &firmware, &size);
}

/* Before the memory, to which reading the registers may write. */
static void make_state(struct vm *vm, struct save *save)
{
	state_begin_save(&save->state);
	machine_state(vm, &save->state);
	save->vm_state_at = save->state.size;
	vm_state(vm, &save->state);
	save->vm_state_size = save->state.size - save->vm_state_at;
}

int snapshot_write_file(int fd, const void *data, size_t size)
{
	const struct snapshot_head head = {
		.magic = SNAPSHOT_MAGIC, .version = SNAPSHOT_VERSION, .size = size,
		.sum = XXH3_64bits(data, size),
	};
	int err = write_at(fd, &head, sizeof(head), 0);

	return err ? err : write_at(fd, data, size, sizeof(head));
}

int snapshot_write_state(int fd, struct state *state, struct snapshot_memory *memory)
{
	snapshot_memory_state(memory, state);
	return state_end(state) ? -EINVAL : snapshot_write_file(fd, state->data, state->size);
}

/* ---- the whole of it --------------------------------------------------------------------- */

void save_end(struct vm *vm, struct save *save)
{
	pthread_mutex_lock(&vm->life);
	vm->holder = NULL;
	pthread_mutex_unlock(&vm->life);
	save->done(vm, save);
}

static void save_part(struct vm *vm, struct job *job)
{
	struct save *save = container_of(job, struct save, job);
	__u64 until = save->at + PART;

	if (!save->at)
		make_state(vm, save);
	if (state_has_failed(&save->state))
		save->err = -EINVAL;
	while (!save->err && save->at < vm->options->memory && save->at < until)
		save_chunk(vm, save);
	if (!save->err && save->at < vm->options->memory) {
		io_post(vm, job);
		return;
	}
	if (!save->err)
		save->err = snapshot_write_sums(save->memory_fd, &save->memory, save->sums);
	if (!save->err)
		save->err = snapshot_write_state(save->state_fd, &save->state, &save->memory);
	if (!save->err) {
		base_set(vm, save->memory_fd, save->state.data + save->vm_state_at, save->vm_state_size);
		save->memory_fd = -1;
	}
	save_end(vm, save);
}

void save_free(struct save *save)
{
	if (save->state_fd >= 0)
		close(save->state_fd);
	if (save->memory_fd >= 0)
		close(save->memory_fd);
	free(save->sums);
	free(save->had);
	state_free(&save->state);
	free(save);
}

void save_begin(struct vm *vm, struct save *save)
{
	__u64 chunks = (vm->options->memory + SNAPSHOT_CHUNK - 1) / SNAPSHOT_CHUNK;

	save->memory.size = chunks * SNAPSHOT_CHUNK;
	save->sums = calloc(chunks, sizeof(save->sums[0]));
	save->err = save->sums ? read_had(save, chunks) : -ENOMEM;
	save->job.run = save_part;
	io_post(vm, &save->job);
}
