/* SPDX-License-Identifier: GPL-2.0 */
/*
 * How fast a device may be: what a driver asks for beyond that stays in its queue, as if the device had not
 * come to it, so that a pause or a reset has nothing to wait for.
 */
#ifndef THROTTLE_H
#define THROTTLE_H

#include "virtio.h"

/**
 * struct bucket - tokens that come at a steady rate, and are kept up to a burst
 * @rate: how many, each second, up to 2^34; 0: nobody counts
 * @full_at: when there will be as many as there can be, by clock_ns(), if none is taken; or before now
 *
 * What takes more than there are leaves a debt: the next one waits for that.
 */
struct bucket {
	__u64 rate;
	__u64 full_at;
};

/* When there are tokens again, where a burst is what comes in @burst_ns; not behind now: there are. */
static inline __u64 bucket_opens(const struct bucket *bucket, __u64 burst_ns)
{
	return bucket->full_at > burst_ns ? bucket->full_at - burst_ns : 0;
}

static inline void bucket_take(struct bucket *bucket, __u64 now, __u64 tokens)
{
	if (!bucket->rate)
		return;
	if (bucket->full_at < now)
		bucket->full_at = now;
	bucket->full_at += scale(tokens, NS_PER_S, bucket->rate);
}

/**
 * struct throttle - the limits of one of a device's queues; all with the device's lock held
 * @queue: it
 * @requests: one each
 * @bytes: and one for each of their bytes
 * @burst_ns: see bucket_opens()
 * @timer: the driver is heard again; none if there are no limits
 */
struct throttle {
	struct virtqueue *queue;
	struct bucket requests;
	struct bucket bytes;
	__u64 burst_ns;
	struct timer timer;
};

/* 0, or -1 after a complaint. */
int throttle_create(struct throttle *throttle, const struct rate *rate, struct virtqueue *queue);
/* May the next one be begun?  Else the device is kicked when it may. */
bool throttle_lets(struct throttle *throttle);
/* One has been, of so many bytes. */
void throttle_charge(struct throttle *throttle, __u64 bytes);
void throttle_destroy(struct throttle *throttle);

#endif /* THROTTLE_H */
