// SPDX-License-Identifier: GPL-2.0
/* A TAP interface of the host's: frames go to it and come from it as they are. */
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <linux/if_tun.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "keep.h"
#include "net.h"
#include "runner.h"

/* Others want to be heard, too. */
#define AT_ONCE 64

struct tap {
	struct net net;
	const char *name;
	struct source source;
};

static void readable(struct vm *vm, struct source *source, __u32 events)
{
	struct tap *tap = container_of(source, struct tap, source);
	unsigned char frame[FRAME_MOST];

	(void)vm;
	(void)events;
	for (int i = 0; i < AT_ONCE; i++) {
		ssize_t size = read(source->fd, frame, sizeof(frame));

		if (size <= 0)
			break;
		tap->net.receive(tap->net.card, frame, size);
	}
}

/* A frame that does not fit is dropped, as on any wire. */
static void transmit(struct net *net, const void *frame, size_t size)
{
	struct tap *tap = container_of(net, struct tap, net);

	if (write(tap->source.fd, frame, size) < 0)
		return;
}

static void destroy(struct net *net)
{
	struct tap *tap = container_of(net, struct tap, net);

	source_remove(&tap->source);
	keep_fd("tap", tap->name, tap->source.fd);
	free(tap);
}

static const struct net_ops ops = { .transmit = transmit, .destroy = destroy };

int net_tap_open(const char *how, const char *name)
{
	struct ifreq request = { .ifr_flags = IFF_TAP | IFF_NO_PI };
	int fd = keep_take_fd("tap", name);

	if (fd >= 0)
		return fd;
	/* For root the kernel would make one of that name. */
	if (!if_nametoindex(name)) {
		complain("--net %s:%s: %m: make it (ip tuntap add NAME mode tap user USER)", how, name);
		return -1;
	}
	fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	strncpy(request.ifr_name, name, sizeof(request.ifr_name) - 1);
	if (fd >= 0 && !ioctl(fd, TUNSETIFF, &request))
		return fd;
	complain("--net %s:%s: %s%s", how, name, strerror(errno), errno == EPERM ?
		 ": make one for this user (ip tuntap add NAME mode tap user USER)" : "");
	if (fd >= 0)
		close(fd);
	return -1;
}

struct net *net_tap_create(struct vm *vm, const char *name, const struct net *card)
{
	struct tap *tap = calloc(1, sizeof(*tap));

	if (!tap) {
		complain("no memory for the network");
		return NULL;
	}
	tap->name = name;
	tap->net = *card;
	tap->net.ops = &ops;
	tap->source.lock = card->lock;
	tap->source.ready = readable;
	tap->source.fd = net_tap_open("tap", name);
	if (tap->source.fd >= 0 && !source_add(&vm->io, &tap->source, EPOLLIN))
		return &tap->net;
	if (tap->source.fd >= 0) {
		complain("--net tap:%s: %m", name);
		close(tap->source.fd);
	}
	free(tap);
	return NULL;
}
