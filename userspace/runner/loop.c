// SPDX-License-Identifier: GPL-2.0
/* Loops: threads that wait for file descriptors and for time, and call who asked for them. */
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

static __u64 read_clock(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return now.tv_sec * NS_PER_S + now.tv_nsec;
}

__u64 clock_ns(void)
{
	return read_clock(CLOCK_MONOTONIC);
}

__u64 clock_real_ns(void)
{
	return read_clock(CLOCK_REALTIME);
}

static int control(struct source *source, int what, __u32 events)
{
	struct epoll_event event = { .events = events, .data.ptr = source };

	return epoll_ctl(source->loop->epoll, what, source->fd, &event) ? -errno : 0;
}

int source_add(struct loop *loop, struct source *source, __u32 events)
{
	int err;

	source->loop = loop;
	if (!source->lock)
		source->lock = loop->lock;
	err = control(source, EPOLL_CTL_ADD, events);
	if (err)
		source->loop = NULL;
	return err;
}

void source_change(struct source *source, __u32 events)
{
	control(source, EPOLL_CTL_MOD, events);
}

void source_remove(struct source *source)
{
	if (source->loop)
		control(source, EPOLL_CTL_DEL, 0);
	source->loop = NULL;
}

int source_add_eventfd(struct loop *loop, struct source *source)
{
	source->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return source->fd < 0 ? -errno : source_add(loop, source, EPOLLIN);
}

static void timer_ready(struct vm *vm, struct source *source, __u32 events)
{
	struct timer *timer = container_of(source, struct timer, source);
	__u64 times;

	(void)events;
	/* It may have been set anew since. */
	if (read(source->fd, &times, sizeof(times)) != sizeof(times))
		return;
	timer->at = 0;
	timer->fire(vm, timer);
}

int timer_create_fd(struct loop *loop, struct timer *timer,
		    void (*fire)(struct vm *vm, struct timer *timer))
{
	int err;

	timer->fire = fire;
	timer->source.ready = timer_ready;
	timer->source.fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (timer->source.fd < 0)
		return -errno;
	err = source_add(loop, &timer->source, EPOLLIN);
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

	timer->at = at;
	timerfd_settime(timer->source.fd, TFD_TIMER_ABSTIME, &when, NULL);
}

void timer_destroy(struct timer *timer)
{
	source_remove(&timer->source);
	close(timer->source.fd);
}

/* loop_run() looks for itself. */
static void woken(struct vm *vm, struct source *source, __u32 events)
{
	eventfd_t times;

	(void)vm;
	(void)events;
	eventfd_read(source->fd, &times);
}

int loop_create(struct loop *loop, struct vm *vm, pthread_mutex_t *lock)
{
	loop->vm = vm;
	loop->lock = lock;
	loop->epoll = epoll_create1(EPOLL_CLOEXEC);
	loop->wake.ready = woken;
	if (loop->epoll < 0 || source_add_eventfd(loop, &loop->wake)) {
		complain("cannot wait for events: %m");
		return -1;
	}
	return 0;
}

void loop_wake(struct loop *loop)
{
	/* It cannot be full: the loop reads it. */
	eventfd_write(loop->wake.fd, 1);
}

static void call(struct loop *loop, const struct epoll_event *event)
{
	struct source *source = event->data.ptr;
	pthread_mutex_t *lock = source->lock;

	if (lock)
		pthread_mutex_lock(lock);
	source->ready(loop->vm, source, event->events);
	if (lock)
		pthread_mutex_unlock(lock);
}

void loop_run_once(struct loop *loop)
{
	struct epoll_event event;

	/* One at a time: what a source does may take another one away. */
	if (epoll_wait(loop->epoll, &event, 1, -1) == 1)
		call(loop, &event);
}

void loop_run(struct loop *loop, bool (*is_over)(const struct vm *vm))
{
	while (!is_over(loop->vm))
		loop_run_once(loop);
}

void loop_destroy(struct loop *loop)
{
	if (loop->wake.fd >= 0)
		close(loop->wake.fd);
	if (loop->epoll >= 0)
		close(loop->epoll);
}
