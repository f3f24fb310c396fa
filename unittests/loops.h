/* SPDX-License-Identifier: GPL-2.0 */
/* The supervisor's and the I/O thread's loops, run by the test, whose devices have no locks of their own. */
#ifndef LOOPS_H
#define LOOPS_H

#include <sys/epoll.h>

#include "../userspace/runner/vm.h"

pthread_mutex_t *device_lock(struct vm *vm, const struct device *device)
{
	(void)device;
	return &vm->lock;
}

static inline bool handle(struct loop *loop)
{
	struct epoll_event event;
	struct source *source;

	if (epoll_wait(loop->epoll, &event, 1, 0) != 1)
		return false;
	source = event.data.ptr;
	source->ready(loop->vm, source, event.events);
	return true;
}

/* Until there is nothing to do. */
static inline void settle(struct vm *vm)
{
	while (handle(&vm->supervisor) || handle(&vm->io))
		;
}

#endif /* LOOPS_H */
