// SPDX-License-Identifier: GPL-2.0
/*
 * The I/O thread: the devices' descriptors, their time, and what the supervisor asks of them.
 * When the VM has ended it takes leave of the vCPUs' threads and of the devices, which may
 * take its time: the supervisor waits no longer than it says (vm.c).
 */
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "keep.h"
#include "runner.h"
#include "sandbox.h"
#include "snapshot.h"
#include "vm.h"

/* In the order in which they were asked for. */
static struct job *take_jobs(struct vm *vm)
{
	struct job *job, *first = NULL;

	pthread_mutex_lock(&vm->life);
	while ((job = vm->jobs)) {
		vm->jobs = job->next;
		job->is_posted = false;
		job->next = first;
		first = job;
	}
	pthread_mutex_unlock(&vm->life);
	return first;
}

static bool is_pausing(struct vm *vm)
{
	bool is_pausing;

	pthread_mutex_lock(&vm->life);
	is_pausing = vm->paused && !vm->drained && vm->nr_parked == vm->nr_vcpus;
	pthread_mutex_unlock(&vm->life);
	return is_pausing;
}

static bool is_drained(struct vm *vm, struct device *device)
{
	bool is_drained;

	pthread_mutex_lock(device_lock(vm, device));
	is_drained = device->ops->drain(device);
	pthread_mutex_unlock(device_lock(vm, device));
	return is_drained;
}

static bool are_drained(struct vm *vm)
{
	bool are_drained = true;

	for (struct device *device = vm->devices; device; device = device->next)
		if (device->ops->drain && !is_drained(vm, device))
			are_drained = false;
	return are_drained;
}

/* Whoever says so holds a device's lock: all are looked at without that. */
void io_settled(struct vm *vm)
{
	if (is_pausing(vm))
		io_wake(vm);
}

static void settle(struct vm *vm)
{
	struct job *job;

	if (!is_pausing(vm) || !are_drained(vm))
		return;
	pthread_mutex_lock(&vm->life);
	vm->drained = vm->paused;
	job = vm->when_paused;
	pthread_mutex_unlock(&vm->life);
	if (job)
		io_post(vm, job);
	control_wake(vm);
}

static void resume(struct vm *vm)
{
	bool resumes;

	pthread_mutex_lock(&vm->life);
	resumes = vm->resumes;
	vm->resumes = false;
	pthread_mutex_unlock(&vm->life);
	for (struct device *device = resumes ? vm->devices : NULL; device; device = device->next) {
		if (!device->ops->resume)
			continue;
		pthread_mutex_lock(device_lock(vm, device));
		device->ops->resume(device);
		pthread_mutex_unlock(device_lock(vm, device));
	}
}

static void do_jobs(struct vm *vm, struct source *source, __u32 events)
{
	struct job *job, *next;
	eventfd_t times;

	(void)events;
	eventfd_read(source->fd, &times);
	for (job = take_jobs(vm); job; job = next) {
		/* Who asked may free it when it is done. */
		next = job->next;
		job->run(vm, job);
	}
	resume(vm);
	settle(vm);
}

void io_wake(struct vm *vm)
{
	eventfd_write(vm->posted.fd, 1);
}

void io_post(struct vm *vm, struct job *job)
{
	pthread_mutex_lock(&vm->life);
	if (!job->is_posted) {
		job->next = vm->jobs;
		vm->jobs = job;
	}
	job->is_posted = true;
	pthread_mutex_unlock(&vm->life);
	io_wake(vm);
}

int io_create(struct vm *vm)
{
	if (loop_create(&vm->io, vm, &vm->lock))
		return -1;
	vm->posted.ready = do_jobs;
	if (source_add_eventfd(&vm->io, &vm->posted)) {
		complain("cannot wait for events: %m");
		return -1;
	}
	/* Each job takes the locks that it needs. */
	vm->posted.lock = NULL;
	return 0;
}

static void *run(void *data)
{
	struct vm *vm = data;

	prctl(PR_SET_NAME, "io");
	if (sandbox_enter(SANDBOX_IO))
		vm_end(vm, END_ERROR, 0);
	loop_run(&vm->io, vm_has_ended);
	vcpus_stop(vm);
	core_at_end(vm);
	working_set_end(vm);
	if (!end_restarts(vm))
		keep_end();
	devices_destroy(vm);
	__atomic_store_n(&vm->closed, true, __ATOMIC_RELEASE);
	loop_wake(&vm->supervisor);
	return NULL;
}

int io_start(struct vm *vm)
{
	int err = sandbox_make_thread(&vm->io_thread, run, vm);

	if (!err)
		return 0;
	complain("cannot start a thread for the devices: %s", strerror(err));
	vm_end(vm, END_ERROR, 0);
	return -1;
}

void io_destroy(struct vm *vm)
{
	if (vm->posted.fd >= 0)
		close(vm->posted.fd);
	loop_destroy(&vm->io);
}
