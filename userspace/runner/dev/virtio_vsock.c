// SPDX-License-Identifier: GPL-2.0
/*
 * Virtio socket device: connections between guest and host without a network, by
 * the host's vhost_vsock.  VIRTIO 1.2, "Socket Device".  The host is CID 2.
 */
#include <endian.h>
#include <errno.h>
#include <linux/vhost.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_vsock.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "runner.h"
#include "vhost.h"

#define DEVICE "/dev/vhost-vsock"
/* The kernel serves receiving and transmitting; the third queue is for the end of a migration. */
#define NR_QUEUES 3
#define NR_OUTSIDE 2

struct vsock {
	struct virtio virtio;
	struct virtio_vsock_config config;
	int fd;
};

static struct vsock *vsock_of(struct virtio *virtio)
{
	return container_of(virtio, struct vsock, virtio);
}

static int set_running(const struct vsock *vsock, int running)
{
	return ioctl(vsock->fd, VHOST_VSOCK_SET_RUNNING, &running);
}

static int vsock_start(struct virtio *virtio)
{
	struct vsock *vsock = vsock_of(virtio);

	if (!vhost_start(vsock->fd, virtio, virtio->driver_features) && !set_running(vsock, 1))
		return 0;
	return vhost_refused(virtio);
}

/* No event happens. */
static void vsock_kick(struct virtio *virtio, struct virtqueue *queue)
{
	(void)virtio;
	(void)queue;
}

static bool vsock_reset(struct virtio *virtio)
{
	set_running(vsock_of(virtio), 0);
	return true;
}

static void vsock_destroy(struct virtio *virtio)
{
	vhost_close(DEVICE, vsock_of(virtio)->fd);
	free(vsock_of(virtio));
}

static const struct virtio_ops ops = {
	.name = "virtio-vsock", .id = VIRTIO_ID_VSOCK, .class = 0x028000, .nr_queues = NR_QUEUES,
	.kick = vsock_kick, .start = vsock_start, .reset = vsock_reset, .destroy = vsock_destroy,
};

/* Ask the kernel for the guest's address. */
static int open_vsock(struct vsock *vsock, __u64 cid)
{
	__u64 features;
	int fd = vhost_open(DEVICE, &features);

	if (fd < 0) {
		complain("--vsock: " DEVICE ": %s%s", strerror(-fd), fd == -ENOENT || fd == -ENODEV ?
			 " (modprobe vhost_vsock)" : "");
		return -1;
	}
	if (ioctl(fd, VHOST_VSOCK_SET_GUEST_CID, &cid)) {
		complain("--vsock: CID %llu %s", cid, errno == EADDRINUSE ?
			 "is in use: take another one" : strerror(errno));
		close(fd);
		return -1;
	}
	vsock->fd = fd;
	vsock->config.guest_cid = htole64(cid);
	vsock->virtio.features = features & (VHOST_FEATURES | 1ull << VIRTIO_VSOCK_F_SEQPACKET);
	return 0;
}

int virtio_vsock_create(struct vm *vm)
{
	struct vsock *vsock;

	if (!vm->options->vsock)
		return 0;
	vsock = calloc(1, sizeof(*vsock));
	if (!vsock) {
		complain("no memory for the socket device");
		return -1;
	}
	if (open_vsock(vsock, vm->options->vsock)) {
		free(vsock);
		return -1;
	}
	vsock->virtio.config = &vsock->config;
	vsock->virtio.config_size = sizeof(vsock->config);
	vsock->virtio.nr_outside = NR_OUTSIDE;
	if (!virtio_create(vm, &vsock->virtio, &ops))
		return 0;
	vsock_destroy(&vsock->virtio);
	return -1;
}
