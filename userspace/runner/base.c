// SPDX-License-Identifier: GPL-2.0
/*
 * What a machine goes back to (mote reset): where it was restored, or saved last, as long as it
 * runs.  All of it is the I/O thread's, while the VM is paused, or before it has begun.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runner.h"
#include "snapshot.h"

/**
 * struct base - a moment of a machine
 * @memory_fd: file of its memory
 * @is_mapped: the memory is a private mapping of that
 * @state: what vm_state() said
 * @size: of that, in bytes
 */
struct base {
	int memory_fd;
	bool is_mapped;
	void *state;
	size_t size;
};

void base_destroy(struct vm *vm)
{
	struct base *base = vm->base;

	vm->base = NULL;
	if (!base)
		return;
	close(base->memory_fd);
	free(base->state);
	free(base);
}

/* Without memory for it there is none; the file is its own. */
void base_set(struct vm *vm, int memory_fd, const void *state, size_t size)
{
	struct base *base = calloc(1, sizeof(*base));

	base_destroy(vm);
	memory_forget(vm);
	if (!base) {
		close(memory_fd);
		return;
	}
	*base = (struct base) { .memory_fd = memory_fd, .state = malloc(size + 1), .size = size };
	vm->base = base;
	if (!base->state) {
		base_destroy(vm);
		return;
	}
	memcpy(base->state, state, size);
}

/* What it says itself now, not what an older mote has said of it. */
void base_begin(struct vm *vm, int memory_fd)
{
	struct state state;

	state_begin_save(&state);
	vm_state(vm, &state);
	if (state_end(&state))
		close(memory_fd);
	else
		base_set(vm, memory_fd, state.data, state.size);
	if (vm->base)
		vm->base->is_mapped = vm->is_restored;
	state_free(&state);
}

int base_mapped_file(const struct vm *vm)
{
	return vm->base && vm->base->is_mapped ? vm->base->memory_fd : -1;
}

/* What is loaded is marked: of a copy. */
static int load(struct vm *vm, const void *data, size_t size, char why[BASE_WHY])
{
	void *copy = malloc(size + 1);
	struct state state;
	int err = -1;

	snprintf(why, BASE_WHY, "the runner has no memory");
	if (copy) {
		memcpy(copy, data, size);
		state_begin_load(&state, copy, size);
		vm_state(vm, &state);
		err = state_end(&state);
		snprintf(why, BASE_WHY, "%s", state.why);
	}
	free(copy);
	return err;
}

/* Registers and devices, or what they are stays; then memory, which needs no more than to be copied. */
static int go_back(struct vm *vm, const struct state *now, char why[BASE_WHY])
{
	struct base *base = vm->base;
	char again[BASE_WHY];

	if (load(vm, base->state, base->size, why)) {
		if (load(vm, now->data, now->size, again))
			vm_end(vm, END_ERROR, 0);
		return -1;
	}
	if (!memory_undo(vm, base->memory_fd)) {
		base->is_mapped = vm->is_restored;
		return 0;
	}
	snprintf(why, BASE_WHY, "its memory cannot be had, so it ends");
	vm_end(vm, END_ERROR, 0);
	return -1;
}

int base_reset(struct vm *vm, char why[BASE_WHY])
{
	struct state now;
	int err;

	if (!vm->base) {
		snprintf(why, BASE_WHY, "it was neither restored nor saved (mote snapshot)");
		return -1;
	}
	state_begin_save(&now);
	vm_state(vm, &now);
	err = state_end(&now);
	if (err)
		snprintf(why, BASE_WHY, "%s", now.why);
	else
		err = go_back(vm, &now, why);
	state_free(&now);
	return err;
}
