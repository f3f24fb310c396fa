/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Virtqueues that are served outside of this process: by the host's kernel
 * (vhost.c; its Documentation calls it vhost), or by another process, a vhost-user
 * daemon (vhost_user.c).  Both get the guest's memory, the queues' parts, and two
 * eventfds a queue: the guest's notifications and the interrupts go past us.
 */
#ifndef VHOST_H
#define VHOST_H

#include "daemon.h"
#include "virtio.h"

/* What may be offered to the driver if those who serve the queues know it. */
#define VHOST_FEATURES (1ull << VIRTIO_RING_F_EVENT_IDX)

/* ---- the kernel (vhost.c) ---------------------------------------------------------- */

/*
 * Open a device and ask for its features, of which those that each virtio device here
 * has must be among; the file descriptor or a negative errno.
 */
int vhost_open(const char *path, __u64 *features);
/* Nobody serves its queues any more. */
void vhost_close(const char *path, int fd);

/* Hand over the first nr_outside queues; the device's own switch is left to the caller. */
int vhost_start(int fd, const struct virtio *virtio, __u64 features);
/* It has failed, by errno: a complaint, once, as a driver may try for ever.  Returns -1. */
int vhost_refused(struct virtio *virtio);

/* ---- another process (vhost_user.c) -------------------------------------------------- */

#define VHOST_USER_EXPECTED_MOST 128
/* A header and a number. */
#define VHOST_USER_ANSWER 20

/**
 * struct vhost_user - a daemon that serves a device
 * @source: its socket
 * @virtio: the device
 * @name: of that, for messages
 * @daemon: it, if it was started here
 * @features: what it offers
 * @acknowledges: it answers each message
 * @is_known: it has said so to a machine before this one
 * @is_running: the driver is ready
 * @queues: those that the daemon has, a bit each
 * @is_gone: it is not spoken to any more
 * @nr_expected: how many answers have yet to come
 * @expected: to which requests, in the order in which they come
 * @patience: until the next one
 * @nr_answer: how many bytes there are
 * @answer: of it
 */
struct vhost_user {
	struct source source;
	struct virtio *virtio;
	const char *name;
	struct daemon daemon;
	__u64 features;
	bool acknowledges;
	bool is_known;
	bool is_running;
	bool is_gone;
	__u32 queues;
	unsigned int nr_expected;
	__u32 expected[VHOST_USER_EXPECTED_MOST];
	struct timer patience;
	size_t nr_answer;
	unsigned char answer[VHOST_USER_ANSWER];
};

/* Is it there yet, as before a reset?  Then there is a socket. */
bool vhost_user_take(struct vm *vm, struct vhost_user *user);
/* Begin to talk over source.fd, for the virtio of that name; 0, or -1 after a complaint. */
int vhost_user_create(struct vm *vm, struct vhost_user *user);
/* End the daemon, unless a machine is to begin again: for that it has given all memory back. */
void vhost_user_destroy(struct vhost_user *user);

/* For the operations start and reset: the daemon is told, and nobody waits for its answers. */
int vhost_user_start(struct vhost_user *user);
bool vhost_user_stop(struct vhost_user *user);

#endif /* VHOST_H */
