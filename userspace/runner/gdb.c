// SPDX-License-Identifier: GPL-2.0
/* A debugger at a machine: its connection, and when the machine stops and goes on: see gdb.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gdb.h"
#include "runner.h"

/* ---- what is said --------------------------------------------------------------------- */

/* As much as the connection takes; false: there is nobody any more. */
static bool send_out(struct gdb *gdb)
{
	ssize_t nr = gdb->send_size ? send(gdb->source.fd, gdb->send, gdb->send_size,
					   MSG_DONTWAIT | MSG_NOSIGNAL) : 0;

	if (nr < 0)
		return errno == EAGAIN || errno == EINTR;
	gdb->send_size -= nr;
	memmove(gdb->send, gdb->send + nr, gdb->send_size);
	return true;
}

/* Who lets more pile up than two answers does not listen. */
static void say(struct gdb *gdb, const char *data, size_t size)
{
	if (size > sizeof(gdb->send) - gdb->send_size) {
		gdb->is_cancelled = true;
		return;
	}
	memcpy(gdb->send + gdb->send_size, data, size);
	gdb->send_size += size;
}

static void answer(struct gdb *gdb)
{
	gdb->frame_size = gdb_frame(&gdb->out, gdb->frame);
	say(gdb, gdb->frame, gdb->frame_size);
}

/* ---- stops ---------------------------------------------------------------------------- */

/* All vCPUs are parked: no step goes on behind this. */
static void end_steps(struct gdb *gdb)
{
	for (unsigned int i = 0; i < gdb->vm->nr_vcpus; i++) {
		gdb->vm->vcpus[i].is_held = gdb->vm->vcpus[i].steps = false;
		mote_step_end(&gdb->cpus[i].debugged);
	}
}

/* The one with the best reason, or the one that was looked at last. */
static void choose_stopped(struct gdb *gdb)
{
	for (unsigned int i = 0; i < gdb->vm->nr_vcpus; i++)
		if (gdb->cpus[i].reason > gdb->cpus[gdb->stopped].reason)
			gdb->stopped = i;
	gdb->selected = gdb->stopped;
}

static void tell_stop(struct gdb *gdb)
{
	choose_stopped(gdb);
	gdb->out.size = 0;
	gdb_tell_stop(gdb);
	answer(gdb);
	for (unsigned int i = 0; i < gdb->vm->nr_vcpus; i++)
		gdb->cpus[i].reason = GDB_NO_REASON;
}

void gdb_go(struct gdb *gdb)
{
	gdb->phase = GDB_RUNS;
	vm_go(gdb->vm, gdb);
}

/* ---- beginning and end ------------------------------------------------------------------- */

/* The guest is as it was, and goes on. */
static void detach(struct gdb *gdb)
{
	struct vm *vm = gdb->vm;

	for (unsigned int i = 0; i < vm->nr_vcpus; i++) {
		vm->vcpus[i].is_held = vm->vcpus[i].steps = false;
		/* Where it could not begin there is nothing. */
		if (gdb->cpus[i].debugged.cpu)
			mote_debug_end(&gdb->cpus[i].debugged);
	}
	gdb_remove_all(gdb);
}

static void end(struct gdb *gdb)
{
	send_out(gdb);
	source_remove(&gdb->source);
	close(gdb->source.fd);
	gdb->source.fd = -1;
	pthread_mutex_lock(&gdb->vm->life);
	gdb->vm->when_paused = NULL;
	pthread_mutex_unlock(&gdb->vm->life);
	gdb->phase = GDB_ENDED;
}

/* The last that is done for it: the supervisor may begin with another one. */
static void tell_end(struct gdb *gdb)
{
	void (*done)(struct vm *vm, void *data, int err) = gdb->done;
	struct vm *vm = gdb->vm;
	void *data = gdb->data;
	int err = gdb->err;

	if (gdb->is_told)
		return;
	__atomic_store_n(&gdb->is_told, true, __ATOMIC_RELEASE);
	done(vm, data, err);
}

void gdb_leave(struct gdb *gdb)
{
	detach(gdb);
	answer(gdb);
	end(gdb);
	vm_go(gdb->vm, gdb);
}

/* The machine stands still, for the debugger. */
static void attach(struct gdb *gdb)
{
	struct vm *vm = gdb->vm;
	int err = 0;

	for (unsigned int i = 0; i < vm->nr_vcpus && !err; i++)
		err = mote_debug_begin(&gdb->cpus[i].debugged, &vm->vcpus[i].cpu, gdb_exceptions());
	if (!err)
		err = gdb_registers_get(&gdb->registers, vm->vcpus[0].cpu.fd);
	gdb->registers.is_64bit = gdb_is_long(&gdb->registers);
	gdb->err = err;
	gdb->is_cancelled |= err;
	gdb->phase = GDB_STOPPED;
	source_change(&gdb->source, EPOLLIN);
}

/* What has come to pass, when the machine may stand still. */
static void look(struct gdb *gdb)
{
	struct vm *vm = gdb->vm;
	bool runs = gdb->phase == GDB_RUNS;

	if (gdb->phase == GDB_ENDED)
		return;
	/* Also who wants to leave does so while it stands still. */
	if (gdb->phase == GDB_ATTACHES || gdb->is_cancelled)
		vm_stop(vm);
	if (gdb->phase != GDB_STOPPED && !vm_hold_for(vm, gdb))
		return;
	if (gdb->phase == GDB_ATTACHES)
		attach(gdb);
	gdb->phase = GDB_STOPPED;
	if (runs)
		end_steps(gdb);
	if (runs && !gdb->is_cancelled)
		tell_stop(gdb);
	if (!gdb->is_cancelled)
		return;
	gdb->out.size = 0;
	detach(gdb);
	end(gdb);
	vm_go(vm, gdb);
}

/* ---- the connection ------------------------------------------------------------------------ */

static void interrupt(struct gdb *gdb)
{
	if (gdb->phase == GDB_RUNS)
		vm_stop(gdb->vm);
}

static void take_packet(struct gdb *gdb)
{
	/* Nobody should say anything while it runs. */
	if (gdb->phase != GDB_STOPPED)
		return;
	if (!gdb->no_acks)
		say(gdb, "+", 1);
	gdb->out.size = 0;
	if (gdb_command(gdb))
		answer(gdb);
}

static void take(struct gdb *gdb, unsigned char byte)
{
	switch (gdb_take(&gdb->in, byte)) {
	case GDB_PACKET:
		take_packet(gdb);
		break;
	case GDB_BROKEN:
		if (!gdb->no_acks)
			say(gdb, "-", 1);
		break;
	case GDB_INTERRUPT:
		interrupt(gdb);
		break;
	case GDB_AGAIN:
		say(gdb, gdb->frame, gdb->frame_size);
		break;
	case GDB_MORE:
		break;
	}
}

/* False: the other end is gone. */
static bool receive(struct gdb *gdb)
{
	unsigned char data[1024];
	ssize_t nr = recv(gdb->source.fd, data, sizeof(data), MSG_DONTWAIT);

	if (nr <= 0)
		return nr < 0 && (errno == EAGAIN || errno == EINTR);
	for (ssize_t i = 0; i < nr && gdb->phase != GDB_ENDED; i++)
		take(gdb, data[i]);
	return true;
}

static void serve(struct gdb *gdb, __u32 events)
{
	if (gdb->phase != GDB_ATTACHES && events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		gdb->is_cancelled |= !receive(gdb);
	if (gdb->phase == GDB_ENDED)
		return;
	gdb->is_cancelled |= events & EPOLLERR || !send_out(gdb);
	if (gdb->is_cancelled)
		look(gdb);
	if (gdb->phase == GDB_ENDED)
		return;
	/* One who is gone is not looked at for ever while the machine comes to a stop. */
	source_change(&gdb->source, (gdb->is_cancelled ? 0 : EPOLLIN) | (gdb->send_size ? EPOLLOUT : 0));
}

static void ready(struct vm *vm, struct source *source, __u32 events)
{
	struct gdb *gdb = container_of(source, struct gdb, source);

	(void)vm;
	/* One who hangs up is there no more, and epoll says so whether it is asked or not. */
	if (gdb->is_cancelled)
		source_remove(source);
	else
		serve(gdb, events);
	if (gdb->phase == GDB_ENDED)
		tell_end(gdb);
}

static void do_job(struct vm *vm, struct job *job)
{
	struct gdb *gdb = container_of(job, struct gdb, job);

	if (gdb->phase == GDB_ATTACHES && !gdb->source.loop)
		gdb->err = source_add(&vm->io, &gdb->source, 0);
	/* It has to do with no device. */
	gdb->source.lock = NULL;
	gdb->is_cancelled |= gdb->err;
	look(gdb);
	if (gdb->phase != GDB_ENDED && !gdb->is_cancelled)
		serve(gdb, 0);
	if (gdb->phase == GDB_ENDED)
		tell_end(gdb);
}

/* ---- for the supervisor ----------------------------------------------------------------------- */

bool gdb_is_attached(const struct vm *vm)
{
	return vm->gdb && !__atomic_load_n(&vm->gdb->is_told, __ATOMIC_ACQUIRE);
}

/* It stays until the machine goes: a job of it may be posted yet when it is over. */
static struct gdb *create(struct vm *vm)
{
	struct gdb *gdb = calloc(1, sizeof(*gdb));

	if (gdb)
		gdb->cpus = calloc(vm->nr_vcpus, sizeof(*gdb->cpus));
	if (gdb && gdb->cpus) {
		gdb->job.run = do_job;
		return gdb;
	}
	free(gdb);
	return NULL;
}

bool gdb_begin(struct vm *vm, int fd, void (*done)(struct vm *vm, void *data, int err), void *data)
{
	struct gdb *gdb = vm->gdb ? vm->gdb : create(vm);

	if (!gdb) {
		close(fd);
		return false;
	}
	memset(&gdb->source, 0, sizeof(*gdb) - offsetof(struct gdb, source));
	memset(gdb->cpus, 0, vm->nr_vcpus * sizeof(*gdb->cpus));
	gdb->source = (struct source) { .fd = fd, .ready = ready };
	gdb->vm = vm;
	gdb->done = done;
	gdb->data = data;
	vm->gdb = gdb;
	pthread_mutex_lock(&vm->life);
	vm->when_paused = &gdb->job;
	pthread_mutex_unlock(&vm->life);
	io_post(vm, &gdb->job);
	return true;
}

void gdb_cancel(struct vm *vm)
{
	if (!gdb_is_attached(vm))
		return;
	__atomic_store_n(&vm->gdb->is_cancelled, true, __ATOMIC_RELEASE);
	io_post(vm, &vm->gdb->job);
}

void gdb_end(struct vm *vm)
{
	struct gdb *gdb = vm->gdb;

	if (gdb_is_attached(vm)) {
		gdb->out.size = 0;
		gdb_text(&gdb->out, "W00");
		if (gdb->phase == GDB_RUNS)
			answer(gdb);
		end(gdb);
		pthread_mutex_lock(&vm->life);
		vm->holder = NULL;
		pthread_mutex_unlock(&vm->life);
		tell_end(gdb);
	}
}

void gdb_destroy(struct vm *vm)
{
	if (vm->gdb)
		free(vm->gdb->cpus);
	free(vm->gdb);
	vm->gdb = NULL;
}
