// SPDX-License-Identifier: GPL-2.0
/*
 * The I/O thread: waits for file descriptors and for time, and calls who asked
 * for them with the VM's lock held.  Sources are added by anyone with the lock,
 * and removed by the I/O thread alone, or when it has ended: it may have fetched
 * an event without the lock.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "runner.h"
#include "vm.h"

__u64 clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * NS_PER_S + now.tv_nsec;
}

static int control(struct vm *vm, int what, struct source *source, __u32 events)
{
	struct epoll_event event = { .events = events, .data.ptr = source };

	return epoll_ctl(vm->epoll, what, source->fd, &event) ? -errno : 0;
}

int source_add(struct vm *vm, struct source *source, __u32 events)
{
	return control(vm, EPOLL_CTL_ADD, source, events);
}

void source_change(struct vm *vm, struct source *source, __u32 events)
{
	control(vm, EPOLL_CTL_MOD, source, events);
}

void source_remove(struct vm *vm, struct source *source)
{
	control(vm, EPOLL_CTL_DEL, source, 0);
}

static void timer_ready(struct vm *vm, struct source *source, __u32 events)
{
	struct timer *timer = container_of(source, struct timer, source);
	__u64 times;

	(void)events;
	/* It may have been set anew since. */
	if (read(source->fd, &times, sizeof(times)) == sizeof(times))
		timer->fire(vm, timer);
}

int timer_create_fd(struct vm *vm, struct timer *timer,
		    void (*fire)(struct vm *vm, struct timer *timer))
{
	int err;

	timer->fire = fire;
	timer->source.ready = timer_ready;
	timer->source.fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (timer->source.fd < 0)
		return -errno;
	err = source_add(vm, &timer->source, EPOLLIN);
	if (err)
		close(timer->source.fd);
	return err;
}

void timer_set(struct timer *timer, __u64 at, __u64 period)
{
	const struct itimerspec when = {
		.it_value = { at / NS_PER_S, at % NS_PER_S },
		.it_interval = { period / NS_PER_S, period % NS_PER_S },
	};

	timerfd_settime(timer->source.fd, TFD_TIMER_ABSTIME, &when, NULL);
}

void timer_destroy(struct vm *vm, struct timer *timer)
{
	source_remove(vm, &timer->source);
	close(timer->source.fd);
}

/* Nothing to do: loop_run() looks for itself. */
static void woken(struct vm *vm, struct source *source, __u32 events)
{
	(void)vm;
	(void)source;
	(void)events;
}

int loop_create(struct vm *vm)
{
	vm->epoll = epoll_create1(EPOLL_CLOEXEC);
	vm->wake.ready = woken;
	vm->wake.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (vm->epoll < 0 || vm->wake.fd < 0 || source_add(vm, &vm->wake, EPOLLIN)) {
		complain("cannot wait for events: %m");
		return -1;
	}
	return 0;
}

void loop_run(struct vm *vm)
{
	struct epoll_event event;

	/* One at a time: what a source does may take another one away. */
	while (!vm_has_ended(vm)) {
		int nr = epoll_wait(vm->epoll, &event, 1, -1);
		struct source *source = event.data.ptr;

		if (nr != 1)
			continue;
		pthread_mutex_lock(&vm->lock);
		source->ready(vm, source, event.events);
		pthread_mutex_unlock(&vm->lock);
	}
}

void loop_destroy(struct vm *vm)
{
	if (vm->wake.fd >= 0)
		close(vm->wake.fd);
	if (vm->epoll >= 0)
		close(vm->epoll);
}
