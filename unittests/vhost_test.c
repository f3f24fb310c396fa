// SPDX-License-Identifier: GPL-2.0
/* Queues that the kernel serves: a driver that is refused may try for ever, and is complained of once. */
#include <stdarg.h>
#include <stdio.h>

#include "../userspace/runner/vhost.c"
#include "tests.h"

#define TRIES 1000

static unsigned int nr_complaints;

void complain(const char *format, ...)
{
	(void)format;
	nr_complaints++;
}

/* Nothing is behind the descriptor, so that each call is refused. */
static bool is_said_once(void)
{
	static const struct virtio_ops ops = { .name = "vsock" };
	static struct vm vm;
	struct virtio virtio = { .ops = &ops, .pci.device.vm = &vm };

	for (unsigned int i = 0; i < TRIES; i++)
		if (!vhost_start(-1, &virtio, 0) || vhost_refused(&virtio) != -1)
			return false;
	return nr_complaints == 1;
}

/* A machine that begins again is another one, which may have other reasons. */
static bool is_said_of_each(void)
{
	static const struct virtio_ops ops = { .name = "vsock" };
	struct virtio virtio = { .ops = &ops };

	nr_complaints = 0;
	vhost_refused(&virtio);
	return nr_complaints == 1;
}

int main(void)
{
	static const struct unit_test tests[] = {
		{ "queues that are refused again and again are complained of once", .is_good = is_said_once },
		{ "those of another machine, too", .is_good = is_said_of_each },
	};

	return run_all(tests, ARRAY_SIZE(tests));
}
