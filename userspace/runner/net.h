/* SPDX-License-Identifier: GPL-2.0 */
/* The far end of a network card: where its frames go to and come from. */
#ifndef NET_H
#define NET_H

#include "vm.h"

struct net;

/**
 * struct net_ops - a kind of network
 * @transmit: a frame of the guest's; with the card's lock held
 * @destroy: free it; without
 */
struct net_ops {
	void (*transmit)(struct net *net, const void *frame, size_t size);
	void (*destroy)(struct net *net);
};

/**
 * struct net - a network, as one card sees it
 * @ops: which kind it is
 * @receive: the card takes a frame for the guest; with its lock held
 * @card: its first argument
 * @lock: the card's
 */
struct net {
	const struct net_ops *ops;
	void (*receive)(void *card, const void *frame, size_t size);
	void *card;
	pthread_mutex_t *lock;
};

/*
 * Where a card is: on a network in user space, by libslirp or passt, or at a TAP interface, served
 * here or by the host's kernel.
 */
#define NET_USER "user"
#define NET_PASST "passt"
#define NET_TAP "tap:"
#define NET_VHOST "vhost:"
#define NET_NAME_MOST 15

/* ---- addresses (net_mac.c) ---------------------------------------------------- */

/* A card's address, as 52:54:00:12:34:56; false if it is none. */
bool mac_parse(const char *text, __u8 *mac);
/* One for a machine of that name on that host; @index counts its cards. */
void mac_derive(const char *host, const char *name, __u32 index, __u8 *mac);
/* What the options say, or such a one. */
void mac_get(const struct vm *vm, __u32 index, __u8 *mac);
/* A number that is the same at each start of a machine of that name on that host. */
__u64 name_hash(const char *host, const char *name, __u32 index);
/* What tells this host from others. */
void host_identity(char *host, size_t size);

/* ---- networks -------------------------------------------------------------------- */

/* A frame of Ethernet at most, with a little more: nobody offers larger ones. */
#define FRAME_MOST 2048

/* @card, here and below, says all but the kind.  NULL after a complaint. */

/* A network of the guest's own with the host as router, by libslirp (net_user.c). */
struct net *net_user_create(struct vm *vm, const struct nic *nic, const struct net *card);

/* A network with the host's own addresses, by passt (net_passt.c). */
struct net *net_passt_create(struct vm *vm, const struct nic *nic, const struct net *card);

/* A TAP interface of the host's (net_tap.c). */
struct net *net_tap_create(struct vm *vm, const char *name, const struct net *card);
/* Only open it; the file descriptor, or -1 after a complaint about --net @how. */
int net_tap_open(const char *how, const char *name);

#endif /* NET_H */
