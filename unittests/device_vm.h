/* SPDX-License-Identifier: GPL-2.0 */
/* A machine that neither pauses, unless a test says so, nor ends, whatever its devices say. */
#ifndef DEVICE_VM_H
#define DEVICE_VM_H

#include "../userspace/runner/sandbox.h"
#include "../userspace/runner/vm.h"

void io_settled(struct vm *vm)
{
	(void)vm;
}

bool vm_is_wanted_paused(const struct vm *vm)
{
	return vm->paused;
}

bool vm_is_paused(struct vm *vm)
{
	return vm->paused && vm->drained;
}

void vm_end(struct vm *vm, enum ending end, int detail)
{
	(void)vm;
	(void)end;
	(void)detail;
}

int sandbox_enter(enum sandbox_thread kind)
{
	(void)kind;
	return 0;
}

int sandbox_make_thread(pthread_t *thread, void *(*run)(void *data), void *data)
{
	return pthread_create(thread, NULL, run, data);
}

#endif /* DEVICE_VM_H */
