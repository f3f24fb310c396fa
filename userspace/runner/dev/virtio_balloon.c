// SPDX-License-Identifier: GPL-2.0
/*
 * Virtio memory balloon: the driver gives pages back, as many as it is told, and
 * takes them again when it runs out of memory; and it reports those that happen to
 * be free.  VIRTIO 1.2, "Traditional Memory Balloon Device".  Pages that were given
 * back are faulted in again, as zeros, should the guest touch them.
 */
#include <endian.h>
#include <errno.h>
#include <linux/virtio_balloon.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <string.h>

#include "runner.h"
#include "traffic.h"
#include "virtio.h"

enum { QUEUE_INFLATE, QUEUE_DEFLATE, QUEUE_REPORTING, NR_QUEUES = 5 };

/* What is done between two looks at the turn, and how much of that a discard is, and its pages. */
#define PFNS_AT_ONCE 64
#define BYTES_AT_ONCE (4ul << 20)
#define DISCARD_CHARGED 4
#define BYTES_CHARGED (16ul << 10)
#define PAGE_SIZE (1ull << VIRTIO_BALLOON_PFN_SHIFT)
#define ACTUAL offsetof(struct virtio_balloon_config, actual)

struct balloon {
	struct virtio virtio;
	struct virtio_balloon_config config;
	struct traffic *traffic;
	struct chain chains[NR_QUEUES];	/* that take more than a turn, and are gone on with in the next */
};

static struct balloon *balloon_of(struct virtio *virtio)
{
	return container_of(virtio, struct balloon, virtio);
}

/* Pages that lie one behind another go together; returns how often something was discarded. */
static unsigned int discard_pages(struct vm *vm, const __le32 *pfns, unsigned int nr)
{
	unsigned int run, calls = 0;

	for (; nr; pfns += run, nr -= run, calls++) {
		__u64 first = le32toh(pfns[0]);
		void *hva;

		for (run = 1; run < nr && le32toh(pfns[run]) == first + run; run++)
			;
		hva = mote_machine_hva(&vm->machine, first * PAGE_SIZE, run * PAGE_SIZE);
		if (hva)
			memory_discard(vm, hva, run * PAGE_SIZE);
	}
	return calls;
}

/* The next pages that a chain names; false if there are none. */
static bool inflate(struct vm *vm, struct virtqueue *queue, struct chain *chain)
{
	__le32 pfns[PFNS_AT_ONCE];
	size_t nr = iov_read(chain->iov, chain->nr_out, pfns, sizeof(pfns)) / sizeof(pfns[0]);

	virtqueue_charge(queue, DISCARD_CHARGED * discard_pages(vm, pfns, nr));
	return nr == PFNS_AT_ONCE;
}

/* The buffers are the free pages: the next part of them; false if there is none. */
static bool discard_buffers(struct vm *vm, struct virtqueue *queue, struct chain *chain)
{
	for (unsigned int i = chain->nr_out; i < chain->nr_out + chain->nr_in; i++) {
		struct iovec *iov = &chain->iov[i];
		size_t size = iov->iov_len < BYTES_AT_ONCE ? iov->iov_len : BYTES_AT_ONCE;

		if (!size)
			continue;
		memory_discard(vm, iov->iov_base, size);
		iov->iov_base = (char *)iov->iov_base + size;
		iov->iov_len -= size;
		virtqueue_charge(queue, DISCARD_CHARGED + size / BYTES_CHARGED);
		return true;
	}
	return false;
}

/*
 * Linux gives queues their numbers without those that are not offered, so that
 * what the standard has as queue 4 may be any from 2 on.
 */
static bool work_off(struct vm *vm, struct virtqueue *queue, struct chain *chain)
{
	unsigned int number = queue - queue->virtio->queues;

	if (number == QUEUE_INFLATE)
		return inflate(vm, queue, chain);
	return number >= QUEUE_REPORTING && discard_buffers(vm, queue, chain);
}

static void balloon_kick(struct virtio *virtio, struct virtqueue *queue)
{
	struct chain *chain = &balloon_of(virtio)->chains[queue - virtio->queues];

	while (queue->is_begun || virtqueue_pop(queue, chain)) {
		queue->is_begun = true;
		while (work_off(virtio->pci.device.vm, queue, chain))
			if (!virtqueue_charge(queue, 0))
				return;
		queue->is_begun = false;
		virtqueue_push(queue, chain->head, 0);
	}
}

static void set_actual(struct balloon *balloon, unsigned int offset, const void *data, unsigned int size)
{
	memcpy((char *)&balloon->config + offset, data, size);
	traffic_set(balloon->traffic, BALLOON_ACTUAL_BYTES, le32toh(balloon->config.actual) * PAGE_SIZE);
}

/* The driver says how many pages it has given. */
static void balloon_configure(struct virtio *virtio, unsigned int offset, unsigned int size,
			      __u64 data)
{
	if (offset >= ACTUAL && offset + size <= ACTUAL + sizeof(__le32))
		set_actual(balloon_of(virtio), offset, &data, size);
}

static bool balloon_reset(struct virtio *virtio)
{
	static const __le32 none;

	set_actual(balloon_of(virtio), ACTUAL, &none, sizeof(none));
	return true;
}

static void balloon_state(struct virtio *virtio, struct state *state)
{
	struct balloon *balloon = balloon_of(virtio);
	__le32 actual = balloon->config.actual;

	state_value(state, "num_pages", &balloon->config.num_pages, sizeof(balloon->config.num_pages));
	state_value(state, "actual", &actual, sizeof(actual));
	if (state->loads)
		set_actual(balloon, ACTUAL, &actual, sizeof(actual));
}

static void balloon_destroy(struct virtio *virtio)
{
	free(balloon_of(virtio));
}

static const struct virtio_ops ops = {
	.name = "virtio-balloon", .id = VIRTIO_ID_BALLOON, .class = 0x00ff00,
	.nr_queues = NR_QUEUES, .kick = balloon_kick, .configure = balloon_configure,
	.state = balloon_state, .reset = balloon_reset, .destroy = balloon_destroy,
};

int balloon_leave(struct vm *vm, __u64 memory)
{
	__u64 all = vm->options->memory, pages = memory < all ? (all - memory) / PAGE_SIZE : 0;

	if (!vm->balloon)
		return -ENODEV;
	pthread_mutex_lock(&vm->balloon->pci.lock);
	vm->memory_left = memory;
	balloon_of(vm->balloon)->config.num_pages = htole32(pages);
	traffic_set(balloon_of(vm->balloon)->traffic, BALLOON_TARGET_BYTES, pages * PAGE_SIZE);
	virtio_config_changed(vm->balloon);
	pthread_mutex_unlock(&vm->balloon->pci.lock);
	return 0;
}

int virtio_balloon_create(struct vm *vm)
{
	struct balloon *balloon;

	if (!vm->options->balloon)
		return 0;
	balloon = calloc(1, sizeof(*balloon));
	if (!balloon) {
		complain("no memory for the balloon");
		return -1;
	}
	balloon->virtio.config = &balloon->config;
	balloon->virtio.config_size = sizeof(balloon->config);
	balloon->virtio.features = 1ull << VIRTIO_BALLOON_F_DEFLATE_ON_OOM |
				   1ull << VIRTIO_BALLOON_F_REPORTING;
	balloon->traffic = traffic_get(vm, TRAFFIC_BALLOON, 0);
	if (!balloon->traffic || virtio_create(vm, &balloon->virtio, &ops)) {
		free(balloon);
		return -1;
	}
	vm->balloon = &balloon->virtio;
	/* After a reset what was said last holds. */
	return balloon_leave(vm, vm->memory_left ? vm->memory_left : vm->options->balloon);
}
