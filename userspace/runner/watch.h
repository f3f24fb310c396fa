/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Memory of a machine that is watched (docs/watch.md): by clients of the control socket, each of which hands
 * over a connection on which it is told of hits, and with whose end its watch ends.
 *
 * The supervisor adds one while the machine stands still, the I/O thread sends and removes, the vCPUs'
 * threads have hits: all of it under a lock.
 */
#ifndef WATCH_H
#define WATCH_H

#include <stdbool.h>
#include <linux/mote.h>

#define WATCHES_MOST 16
#define WATCH_SIZE_MOST 65536

/**
 * struct watch_hit - what is sent of one, each as a message
 * @address: where the access begins, as whoever watches calls it: linear, or guest-physical
 * @gpa: the same, guest-physical
 * @rip: of the instruction
 * @lost: so many hits since the last one were not told, as nobody took them
 * @vcpu: whose
 * @access: MOTE_ACCESS_*
 */
struct watch_hit {
	__u64 address;
	__u64 gpa;
	__u64 rip;
	__u64 lost;
	__u32 vcpu;
	__u32 access;
};

/**
 * struct watch_wanted - what is watched
 * @address: the first byte: linear, by vCPU 0's page tables
 * @size: in bytes, at most %WATCH_SIZE_MOST
 * @access: MOTE_ACCESS_*
 * @is_physical: @address is guest-physical
 * @pauses: the machine is paused at each hit
 */
struct watch_wanted {
	__u64 address;
	__u64 size;
	__u32 access;
	bool is_physical;
	bool pauses;
};

struct vcpu;
struct vm;

/* The machine is paused. @fd is the watch's from then on. NULL, or why not. */
const char *watch_begin(struct vm *vm, const struct watch_wanted *wanted, int fd);
/* Are there any? */
bool watch_is_any(struct vm *vm);
/* The machine is at its end, and so are its threads. */
void watches_destroy(struct vm *vm);

/* A vCPU's thread: %MOTE_EXIT_WATCH; and an exception of a step that it has led to. 0 or a negative errno. */
int watch_exit(struct vcpu *vcpu);
int watch_step(struct vcpu *vcpu);
/* It is about to wait, in the middle of a step or not. */
void watch_leave_step(struct vcpu *vcpu);

#endif /* WATCH_H */
