// SPDX-License-Identifier: GPL-2.0
/* Virtio entropy: the host's random numbers. */
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <sys/random.h>

#include "runner.h"
#include "virtio.h"

/* As much as getrandom() gives without a pause. */
#define AT_ONCE 256

static void rng_kick(struct virtio *virtio, struct virtqueue *queue)
{
	struct chain chain;

	(void)virtio;
	while (virtqueue_pop(queue, &chain)) {
		unsigned char data[AT_ONCE];
		struct iovec *in = chain.iov + chain.nr_out;
		ssize_t nr = getrandom(data, sizeof(data), 0);

		virtqueue_push(queue, chain.head,
			       nr > 0 ? iov_write(in, chain.nr_in, data, nr) : 0);
	}
}

static void rng_destroy(struct virtio *virtio)
{
	free(virtio);
}

static const struct virtio_ops ops = {
	.name = "virtio-rng", .id = VIRTIO_ID_RNG, .class = 0x00ff00, .nr_queues = 1,
	.kick = rng_kick, .destroy = rng_destroy,
};

int virtio_rng_create(struct vm *vm)
{
	struct virtio *virtio = calloc(1, sizeof(*virtio));

	if (virtio && !virtio_create(vm, virtio, &ops))
		return 0;
	if (!virtio)
		complain("no memory for virtio-rng");
	free(virtio);
	return -1;
}
