// SPDX-License-Identifier: GPL-2.0
/*
 * Virtio network card.  VIRTIO 1.2, "Network Device"; without offloads, so that
 * each frame is one that the wire could have.  What comes while the driver has no
 * buffer waits, up to a limit.
 */
#include <linux/virtio_ids.h>
#include <linux/virtio_net.h>
#include <stdlib.h>
#include <string.h>

#include "net.h"
#include "runner.h"
#include "throttle.h"
#include "traffic.h"
#include "virtio.h"

#define QUEUE_RX 0
#define QUEUE_TX 1
#define WAITING_MOST 256

struct frame {
	size_t size;
	unsigned char data[FRAME_MOST];
};

struct net_card {
	struct virtio virtio;
	struct virtio_net_config config;
	struct net *net;
	struct traffic *traffic;
	struct throttle throttles[2];	/* of each queue */
	unsigned int first, nr;		/* of those that wait */
	struct frame waiting[WAITING_MOST];
};

static struct net_card *card_of(struct virtio *virtio)
{
	return container_of(virtio, struct net_card, virtio);
}

/* ---- to the guest -------------------------------------------------------------- */

/* Give one frame to the driver; false if it has no buffer, or enough. One too small costs the frame. */
static bool deliver(struct net_card *card, const void *data, size_t size)
{
	struct virtqueue *queue = &card->virtio.queues[QUEUE_RX];
	const struct virtio_net_hdr_v1 header = { .num_buffers = 1 };
	struct chain chain;
	struct iovec *in;
	bool fits;

	if (!throttle_lets(&card->throttles[QUEUE_RX]) || !virtqueue_pop(queue, &chain))
		return false;
	throttle_charge(&card->throttles[QUEUE_RX], size);
	in = chain.iov + chain.nr_out;
	fits = iov_size(in, chain.nr_in) >= sizeof(header) + size;
	if (fits) {
		iov_write(in, chain.nr_in, &header, sizeof(header));
		iov_write(in, chain.nr_in, data, size);
		traffic_add(card->traffic, NETWORK_RECEIVED_FRAMES, 1);
		traffic_add(card->traffic, NETWORK_RECEIVED_BYTES, size);
	}
	virtqueue_push(queue, chain.head, fits ? sizeof(header) + size : 0);
	return true;
}

static void deliver_waiting(struct net_card *card)
{
	while (card->nr) {
		const struct frame *frame = &card->waiting[card->first];

		if (!deliver(card, frame->data, frame->size))
			break;
		card->first = (card->first + 1) % WAITING_MOST;
		card->nr--;
	}
}

static void receive(void *data, const void *frame, size_t size)
{
	struct net_card *card = data;
	struct frame *last;

	if (size > FRAME_MOST || !virtio_is_ready(&card->virtio))
		return;
	deliver_waiting(card);
	if (!card->nr && deliver(card, frame, size))
		return;
	if (card->nr == WAITING_MOST)
		return;
	last = &card->waiting[(card->first + card->nr++) % WAITING_MOST];
	last->size = size;
	memcpy(last->data, frame, size);
}

/* ---- from the guest --------------------------------------------------------------- */

static void transmit(struct net_card *card, struct virtqueue *queue)
{
	struct throttle *throttle = &card->throttles[QUEUE_TX];
	struct chain chain;

	while (throttle_lets(throttle) && virtqueue_pop(queue, &chain)) {
		struct virtio_net_hdr_v1 header;
		unsigned char frame[FRAME_MOST];
		size_t size = 0;

		if (iov_read(chain.iov, chain.nr_out, &header, sizeof(header)) == sizeof(header) &&
		    iov_size(chain.iov, chain.nr_out) <= sizeof(frame)) {
			size = iov_read(chain.iov, chain.nr_out, frame, sizeof(frame));
			card->net->ops->transmit(card->net, frame, size);
			traffic_add(card->traffic, NETWORK_SENT_FRAMES, 1);
			traffic_add(card->traffic, NETWORK_SENT_BYTES, size);
		}
		throttle_charge(throttle, size);
		virtqueue_push(queue, chain.head, 0);
	}
}

static void net_kick(struct virtio *virtio, struct virtqueue *queue)
{
	struct net_card *card = card_of(virtio);

	if (queue == &virtio->queues[QUEUE_TX])
		transmit(card, queue);
	else
		deliver_waiting(card);
}

static bool net_reset(struct virtio *virtio)
{
	card_of(virtio)->nr = 0;
	return true;
}

static void net_destroy(struct virtio *virtio)
{
	struct net_card *card = card_of(virtio);

	if (card->net)
		card->net->ops->destroy(card->net);
	for (unsigned int i = QUEUE_RX; i <= QUEUE_TX; i++)
		throttle_destroy(&card->throttles[i]);
	free(card);
}

static const struct virtio_ops ops = {
	.name = "virtio-net", .id = VIRTIO_ID_NET, .class = 0x020000, .nr_queues = 2,
	.kick = net_kick, .reset = net_reset, .destroy = net_destroy,
};

static int create_card(struct vm *vm, unsigned int index)
{
	const struct nic *nic = &vm->options->nics[index];
	struct net_card *card;
	struct net end;

	if (!strncmp(nic->where, NET_VHOST, strlen(NET_VHOST)))
		return virtio_vhost_net_create(vm, index);
	card = calloc(1, sizeof(*card));
	if (!card) {
		complain("no memory for the network card");
		return -1;
	}
	card->config.status = VIRTIO_NET_S_LINK_UP;
	mac_get(vm, index, card->config.mac);
	card->virtio.config = &card->config;
	card->virtio.config_size = sizeof(card->config);
	card->virtio.features = 1ull << VIRTIO_NET_F_MAC | 1ull << VIRTIO_NET_F_STATUS;
	card->traffic = traffic_get(vm, TRAFFIC_NETWORK, index);
	if (!card->traffic || virtio_create(vm, &card->virtio, &ops)) {
		free(card);
		return -1;
	}
	for (unsigned int i = QUEUE_RX; i <= QUEUE_TX; i++)
		if (throttle_create(&card->throttles[i], &nic->rate, &card->virtio.queues[i]))
			return -1;
	end = (struct net) { .receive = receive, .card = card, .lock = &card->virtio.pci.lock };
	if (!strcmp(nic->where, NET_USER))
		card->net = net_user_create(vm, nic, &end);
	else if (!strcmp(nic->where, NET_PASST))
		card->net = net_passt_create(vm, nic, &end);
	else
		card->net = net_tap_create(vm, nic->where + strlen(NET_TAP), &end);
	return card->net ? 0 : -1;
}

int virtio_net_create(struct vm *vm)
{
	for (unsigned int i = 0; i < vm->options->nr_nics; i++)
		if (create_card(vm, i))
			return -1;
	return 0;
}
