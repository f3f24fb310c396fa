/* SPDX-License-Identifier: GPL-2.0 */
/* The far end of a network card: where its frames go to and come from. */
#ifndef NET_H
#define NET_H

#include "vm.h"

struct net;

/**
 * struct net_ops - a kind of network
 * @transmit: a frame of the guest's
 * @destroy: free it
 */
struct net_ops {
	void (*transmit)(struct net *net, const void *frame, size_t size);
	void (*destroy)(struct net *net);
};

/**
 * struct net - a network, as one card sees it
 * @ops: which kind it is
 * @receive: a frame for the guest; set by the card
 * @card: its first argument
 */
struct net {
	const struct net_ops *ops;
	void (*receive)(void *card, const void *frame, size_t size);
	void *card;
};

/* How the options begin that name a TAP interface: served here, or by the host's kernel. */
#define NET_TAP "tap:"
#define NET_VHOST "vhost:"
#define NET_NAME_MOST 15

/* Locally administered; the same at each start. */
#define NET_MAC 0x52, 0x54, 0x00, 0x6d, 0x6f, 0x74

/* A frame of Ethernet at most, with a little more: nobody offers larger ones. */
#define FRAME_MOST 2048

/* A network of the guest's own with the host as router, by libslirp (net_user.c). */
struct net *net_user_create(struct vm *vm);

/* A TAP interface of the host's (net_tap.c). */
struct net *net_tap_create(struct vm *vm, const char *name);
/* Only open it; the file descriptor, or -1 after a complaint about --net @how. */
int net_tap_open(const char *how, const char *name);

#endif /* NET_H */
