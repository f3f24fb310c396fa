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

/* A frame of Ethernet at most, with a little more: nobody offers larger ones. */
#define FRAME_MOST 2048

/* A network of the guest's own with the host as router, by libslirp (net_user.c). */
struct net *net_user_create(struct vm *vm);

/* A TAP interface of the host's (net_tap.c). */
struct net *net_tap_create(struct vm *vm, const char *name);

#endif /* NET_H */
