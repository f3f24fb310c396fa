/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What devices have done: each counts in a row of its own, which nobody else writes to, and the
 * supervisor reads without a lock.  Rows are the VM's, so that a reset does not set them back.
 */
#ifndef TRAFFIC_H
#define TRAFFIC_H

#include "vm.h"

enum traffic_kind { TRAFFIC_DISK, TRAFFIC_NETWORK, TRAFFIC_BALLOON, NR_TRAFFIC_KINDS };

enum { DISK_READS, DISK_READ_BYTES, DISK_WRITES, DISK_WRITTEN_BYTES, DISK_FLUSHES, DISK_DISCARDS };
enum { NETWORK_RECEIVED_FRAMES, NETWORK_RECEIVED_BYTES, NETWORK_SENT_FRAMES, NETWORK_SENT_BYTES };
enum { BALLOON_TARGET_BYTES, BALLOON_ACTUAL_BYTES };

#define TRAFFIC_COUNTS 6

/**
 * struct traffic - a row
 * @next: another one of the VM's
 * @kind: of which kind the device is
 * @index: its place among those
 * @counts: by the enum of its kind
 */
struct traffic {
	struct traffic *next;
	enum traffic_kind kind;
	unsigned int index;
	__u64 counts[TRAFFIC_COUNTS];
};

/* A device's row, as it was if it has had one; by the supervisor. NULL after a complaint. */
struct traffic *traffic_get(struct vm *vm, enum traffic_kind kind, unsigned int index);
void traffic_destroy(struct vm *vm);

/* By the device alone. */
static inline void traffic_set(struct traffic *traffic, unsigned int count, __u64 value)
{
	__atomic_store_n(&traffic->counts[count], value, __ATOMIC_RELAXED);
}

static inline void traffic_add(struct traffic *traffic, unsigned int count, __u64 more)
{
	traffic_set(traffic, count, traffic->counts[count] + more);
}

/* By anybody. */
static inline __u64 traffic_read(const struct traffic *traffic, unsigned int count)
{
	return __atomic_load_n(&traffic->counts[count], __ATOMIC_RELAXED);
}

#endif /* TRAFFIC_H */
