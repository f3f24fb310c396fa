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
#include "virtio.h"

enum { QUEUE_INFLATE, QUEUE_DEFLATE, QUEUE_REPORTING, NR_QUEUES = 5 };

#define PFNS_MOST 4096
#define PAGE_SIZE (1ull << VIRTIO_BALLOON_PFN_SHIFT)
#define ACTUAL offsetof(struct virtio_balloon_config, actual)

struct balloon {
	struct virtio virtio;
	struct virtio_balloon_config config;
};

static struct balloon *balloon_of(struct virtio *virtio)
{
	return container_of(virtio, struct balloon, virtio);
}

/* Pages that lie one behind another go together. */
static void discard_pages(struct vm *vm, const __le32 *pfns, unsigned int nr)
{
	unsigned int run;

	for (; nr; pfns += run, nr -= run) {
		__u64 first = le32toh(pfns[0]);
		void *hva;

		for (run = 1; run < nr && le32toh(pfns[run]) == first + run; run++)
			;
		hva = mote_machine_hva(&vm->machine, first * PAGE_SIZE, run * PAGE_SIZE);
		if (hva)
			memory_discard(vm, hva, run * PAGE_SIZE);
	}
}

/* No driver gives more at once: what is behind that is not looked at. */
static void inflate(struct vm *vm, struct chain *chain)
{
	__le32 pfns[PFNS_MOST];
	size_t size = iov_read(chain->iov, chain->nr_out, pfns, sizeof(pfns));

	discard_pages(vm, pfns, size / sizeof(pfns[0]));
}

/* The buffers are the free pages. */
static void discard_buffers(struct vm *vm, const struct chain *chain)
{
	for (unsigned int i = 0; i < chain->nr_in; i++)
		memory_discard(vm, chain->iov[chain->nr_out + i].iov_base,
			       chain->iov[chain->nr_out + i].iov_len);
}

/*
 * Linux gives queues their numbers without those that are not offered, so that
 * what the standard has as queue 4 may be any from 2 on.
 */
static void balloon_kick(struct virtio *virtio, struct virtqueue *queue)
{
	struct vm *vm = virtio->pci.device.vm;
	struct chain chain;

	while (virtqueue_pop(queue, &chain)) {
		if (queue == &virtio->queues[QUEUE_INFLATE])
			inflate(vm, &chain);
		else if (queue >= &virtio->queues[QUEUE_REPORTING])
			discard_buffers(vm, &chain);
		virtqueue_push(queue, chain.head, 0);
	}
}

/* The driver says how many pages it has given. */
static void balloon_configure(struct virtio *virtio, unsigned int offset, unsigned int size,
			      __u64 data)
{
	if (offset >= ACTUAL && offset + size <= ACTUAL + sizeof(__le32))
		memcpy((char *)&balloon_of(virtio)->config + offset, &data, size);
}

static void balloon_reset(struct virtio *virtio)
{
	balloon_of(virtio)->config.actual = 0;
}

static void balloon_destroy(struct virtio *virtio)
{
	free(balloon_of(virtio));
}

static const struct virtio_ops ops = {
	.name = "virtio-balloon", .id = VIRTIO_ID_BALLOON, .class = 0x00ff00,
	.nr_queues = NR_QUEUES, .kick = balloon_kick, .configure = balloon_configure,
	.reset = balloon_reset, .destroy = balloon_destroy,
};

__u64 balloon_size(const struct vm *vm)
{
	return vm->balloon ? le32toh(balloon_of(vm->balloon)->config.actual) * PAGE_SIZE : 0;
}

int balloon_leave(struct vm *vm, __u64 memory)
{
	__u64 all = vm->options->memory;

	if (!vm->balloon)
		return -ENODEV;
	balloon_of(vm->balloon)->config.num_pages =
		htole32(memory < all ? (all - memory) / PAGE_SIZE : 0);
	virtio_config_changed(vm->balloon);
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
	if (virtio_create(vm, &balloon->virtio, &ops)) {
		free(balloon);
		return -1;
	}
	vm->balloon = &balloon->virtio;
	return balloon_leave(vm, vm->options->balloon);
}
