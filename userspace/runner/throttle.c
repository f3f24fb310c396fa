// SPDX-License-Identifier: GPL-2.0
/* How fast a device may be: see throttle.h. */
#include <sys/eventfd.h>

#include "runner.h"
#include "throttle.h"

/* What a burst is if nobody says so. */
#define BURST_NS (NS_PER_S / 10)

static bool is_limited(const struct throttle *throttle)
{
	return throttle->requests.rate || throttle->bytes.rate;
}

/* As if the driver had kicked. */
static void is_over(struct vm *vm, struct timer *timer)
{
	(void)vm;
	eventfd_write(container_of(timer, struct throttle, timer)->queue->notify.fd, 1);
}

int throttle_create(struct throttle *throttle, const struct rate *rate, struct virtqueue *queue)
{
	struct pci_device *pci = &queue->virtio->pci;

	*throttle = (struct throttle) {
		.queue = queue, .requests = { .rate = rate->requests }, .bytes = { .rate = rate->bytes },
		.burst_ns = rate->burst_ns ? rate->burst_ns : BURST_NS,
	};
	if (!is_limited(throttle))
		return 0;
	throttle->timer.source.lock = &pci->lock;
	if (!timer_create_fd(&pci->device.vm->io, &throttle->timer, is_over))
		return 0;
	complain("cannot wait for a device: %m");
	throttle->requests.rate = throttle->bytes.rate = 0;
	return -1;
}

bool throttle_lets(struct throttle *throttle)
{
	__u64 now, at, bytes_at;

	if (!is_limited(throttle))
		return true;
	now = clock_ns();
	at = bucket_opens(&throttle->requests, throttle->burst_ns);
	bytes_at = bucket_opens(&throttle->bytes, throttle->burst_ns);
	if (bytes_at > at)
		at = bytes_at;
	if (at <= now)
		return true;
	if (throttle->timer.at != at)
		timer_set(&throttle->timer, at, 0);
	return false;
}

void throttle_charge(struct throttle *throttle, __u64 bytes)
{
	__u64 now;

	if (!is_limited(throttle))
		return;
	now = clock_ns();
	bucket_take(&throttle->requests, now, 1);
	bucket_take(&throttle->bytes, now, bytes);
}

void throttle_destroy(struct throttle *throttle)
{
	if (is_limited(throttle))
		timer_destroy(&throttle->timer);
}
