// SPDX-License-Identifier: GPL-2.0
/*
 * Virtio network card that the host's kernel serves, vhost_net: frames go between the
 * guest and a TAP interface past this process.  VIRTIO 1.2, "Network Device".
 */
#include <linux/vhost.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_net.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "keep.h"
#include "net.h"
#include "runner.h"
#include "vhost.h"

#define DEVICE "/dev/vhost-net"
#define NR_QUEUES 2
/* What the kernel is to know of the driver's features; the rest is the card's. */
#define SERVED (VIRTIO_FEATURES | VHOST_FEATURES | 1ull << VIRTIO_NET_F_MRG_RXBUF)

struct vhost_net {
	struct virtio virtio;
	struct virtio_net_config config;
	const char *name;
	int fd;
	int tap;
};

static struct vhost_net *net_of(struct virtio *virtio)
{
	return container_of(virtio, struct vhost_net, virtio);
}

/* From the next frame on a queue is served by @tap, or with -1 by nobody. */
static int connect_queues(const struct vhost_net *net, int tap)
{
	for (unsigned int i = 0; i < NR_QUEUES; i++) {
		const struct vhost_vring_file backend = { .index = i, .fd = tap };

		if (ioctl(net->fd, VHOST_NET_SET_BACKEND, &backend))
			return -1;
	}
	return 0;
}

/* The interface has frames as they are, so that the kernel is to see to the header. */
static int net_start(struct virtio *virtio)
{
	const struct vhost_net *net = net_of(virtio);
	__u64 features = (virtio->driver_features & SERVED) | 1ull << VHOST_NET_F_VIRTIO_NET_HDR;

	if (!vhost_start(net->fd, virtio, features) && !connect_queues(net, net->tap))
		return 0;
	return vhost_refused(virtio);
}

static bool net_reset(struct virtio *virtio)
{
	connect_queues(net_of(virtio), -1);
	return true;
}

static void net_destroy(struct virtio *virtio)
{
	struct vhost_net *net = net_of(virtio);

	if (net->fd >= 0)
		vhost_close(DEVICE, net->fd);
	if (net->tap >= 0)
		keep_fd("tap", net->name, net->tap);
	free(net);
}

static const struct virtio_ops ops = {
	.name = "virtio-net", .id = VIRTIO_ID_NET, .class = 0x020000, .nr_queues = NR_QUEUES,
	.start = net_start, .reset = net_reset, .destroy = net_destroy,
};

static int open_net(struct vhost_net *net, const char *name)
{
	__u64 features;

	net->fd = vhost_open(DEVICE, &features);
	if (net->fd < 0) {
		complain("--net " NET_VHOST "%s: " DEVICE ": %s%s", name, strerror(-net->fd),
			 net->fd == -ENOENT || net->fd == -ENODEV ? " (modprobe vhost_net)" : "");
		return -1;
	}
	net->virtio.features = (features & (SERVED & ~VIRTIO_FEATURES)) | 1ull << VIRTIO_NET_F_MAC |
			       1ull << VIRTIO_NET_F_STATUS;
	net->tap = net_tap_open("vhost", name);
	return net->tap < 0 ? -1 : 0;
}

int virtio_vhost_net_create(struct vm *vm, unsigned int index)
{
	const char *name = vm->options->nics[index].where + strlen(NET_VHOST);
	struct vhost_net *net = calloc(1, sizeof(*net));

	if (!net) {
		complain("no memory for the network card");
		return -1;
	}
	net->name = name;
	net->fd = -1;
	net->tap = -1;
	net->config.status = VIRTIO_NET_S_LINK_UP;
	mac_get(vm, index, net->config.mac);
	net->virtio.config = &net->config;
	net->virtio.config_size = sizeof(net->config);
	net->virtio.nr_outside = NR_QUEUES;
	if (!open_net(net, name) && !virtio_create(vm, &net->virtio, &ops))
		return 0;
	net_destroy(&net->virtio);
	return -1;
}
