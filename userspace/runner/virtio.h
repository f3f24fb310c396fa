/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Virtio devices, version 1, over PCI: what all of them share.  Virtual I/O
 * Device (VIRTIO) Version 1.2, "Basic Facilities of a Virtio Device", "Virtio
 * Over PCI Bus".
 *
 * The guest's driver is not trusted: addresses, lengths and indices are checked
 * before use, what has been checked is not read again, and a driver that breaks
 * the rules has its device stopped until it resets it.
 */
#ifndef VIRTIO_H
#define VIRTIO_H

#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <sys/uio.h>

#include "pci.h"
#include "state.h"

/* What all devices offer. */
#define VIRTIO_FEATURES (1ull << VIRTIO_F_VERSION_1 | 1ull << VIRTIO_RING_F_INDIRECT_DESC)

#define VIRTQUEUES_MOST 8
#define VIRTQUEUE_SIZE 256

struct virtio;

/**
 * struct virtqueue - a split virtqueue
 * @virtio: whose it is
 * @notify: the eventfd of the guest's notifications
 * @port: where the module turns them into that; 0: it does not
 * @call: who serves the queue outside of this process interrupts by this eventfd;
 *	-1: it is served here
 * @message: what the module makes of that
 * @is_routed: it does so now
 * @size: entries, a power of two
 * @vector: of MSI-X
 * @enabled: the driver has set it up
 * @desc: descriptors: where the driver has put them
 * @avail: what it makes available
 * @used: what it gets back
 * @desc_hva: the same here, for @size entries, once the queue is enabled
 * @avail_hva: likewise
 * @used_hva: likewise
 * @next_avail: the next entry to be taken
 * @next_used: the next entry to be given back
 * @budget: how much work may be done for it until somebody else has his turn
 * @is_begun: the chain that was taken last is being worked at, and nothing of that is saved: who
 *	loads the state takes it again
 */
struct virtqueue {
	struct virtio *virtio;
	struct source notify;
	__u16 port;
	int call;
	struct mote_msi message;
	bool is_routed;
	__u16 size;
	__u16 vector;
	bool enabled;
	__u64 desc;
	__u64 avail;
	__u64 used;
	struct vring_desc *desc_hva;
	struct vring_avail *avail_hva;
	struct vring_used *used_hva;
	__u16 next_avail;
	__u16 next_used;
	unsigned int budget;
	bool is_begun;
};

/**
 * struct chain - a chain of buffers that the driver has made available
 * @head: its first descriptor, by which it is given back
 * @nr_out: of @iov, how many the device reads
 * @nr_in: and how many behind those it writes
 * @iov: buffers; who consumes them changes them
 */
struct chain {
	__u16 head;
	unsigned int nr_out;
	unsigned int nr_in;
	struct iovec iov[VIRTQUEUE_SIZE];
};

/**
 * struct virtio_ops - a kind of device; all but @destroy with the lock of its PCI function held
 * @name: for messages
 * @id: virtio's number for it
 * @class: PCI's
 * @nr_queues: how many it has
 * @kick: the driver has put something into a queue; not of one that is served outside
 * @start: the driver is ready; -1: it cannot work; may be NULL
 * @configure: the driver writes to the configuration; may be NULL
 * @drain: false: something is in flight yet, and io_settled() will tell; may be NULL
 * @resume: the VM goes on after a pause; may be NULL
 * @state: what it has beside what all have, see &device_ops.state; its queues are as they were;
 *	may be NULL
 * @reset: forget the driver, whose queues are off; false: something is in flight yet, and
 *	virtio_settled() will tell, after which it is called again; may be NULL
 * @destroy: free it, whatever is in flight
 */
struct virtio_ops {
	const char *name;
	__u16 id;
	__u32 class;
	unsigned int nr_queues;
	void (*kick)(struct virtio *virtio, struct virtqueue *queue);
	int (*start)(struct virtio *virtio);
	void (*configure)(struct virtio *virtio, unsigned int offset, unsigned int size,
			  __u64 data);
	bool (*drain)(struct virtio *virtio);
	void (*resume)(struct virtio *virtio);
	void (*state)(struct virtio *virtio, struct state *state);
	bool (*reset)(struct virtio *virtio);
	void (*destroy)(struct virtio *virtio);
};

/**
 * struct virtio - what all virtio devices begin with
 * @pci: as a PCI device
 * @ops: which kind it is
 * @features: what it offers, beside what all offer
 * @config: its configuration
 * @config_size: its size
 * @nr_outside: how many queues, from the first on, are served outside of this process
 * @is_refused: they have been refused there, and the owner has heard of it
 * @driver_features: what the driver has accepted
 * @status: VIRTIO_CONFIG_S_*
 * @is_resetting: the driver has reset it, but something is in flight yet; or it is destroyed
 * @generation: changes when the driver reads a configuration that has changed
 * @is_changed: it has, and has not been read since
 * @isr: what has happened, for who does not use MSI-X
 * @config_vector: of MSI-X
 * @select: the queue that is being set up
 * @device_select: which half of the features is read
 * @driver_select: and which is written
 * @queues: its queues
 */
struct virtio {
	struct pci_device pci;
	const struct virtio_ops *ops;
	__u64 features;
	const void *config;
	size_t config_size;
	unsigned int nr_outside;
	bool is_refused;

	__u64 driver_features;
	__u8 status;
	bool is_resetting;
	__u8 isr;
	__u8 generation;
	bool is_changed;
	__u16 config_vector;
	__u16 select;
	__u32 device_select;
	__u32 driver_select;
	struct virtqueue queues[VIRTQUEUES_MOST];
};

/* All that it may accept. */
static inline __u64 virtio_offered(const struct virtio *virtio)
{
	return virtio->features | VIRTIO_FEATURES;
}

/* What a driver has said that is ready. */
#define VIRTIO_READY (VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK)

/* May the device touch its queues?  Not before that, nor when the driver has broken the rules. */
static inline bool virtio_is_ready(const struct virtio *virtio)
{
	return (virtio->status & (VIRTIO_READY | VIRTIO_CONFIG_S_NEEDS_RESET)) == VIRTIO_READY;
}

/* As &device_ops.state (virtio_state.c). */
void virtio_state(struct device *device, struct state *state);

/* Put a device on the bus; on failure, -1 after a complaint, it still is the caller's. */
int virtio_create(struct vm *vm, struct virtio *virtio, const struct virtio_ops *ops);

/* The device has changed its configuration. */
void virtio_config_changed(struct virtio *virtio);

/* Forget the driver, once nothing is in flight any more: at once, or by virtio_settled(). */
void virtio_reset(struct virtio *virtio);

/* What was in flight has come to its end, for all that is known of a reset that waits for it. */
void virtio_settled(struct virtio *virtio);

/* ---- queues (virtqueue.c) ------------------------------------------------------- */

/* Find a queue's parts in memory; false if they are not there. */
bool virtqueue_enable(struct virtqueue *queue);

/*
 * Take the next chain; false if there is none, or the driver has broken the rules, or the
 * queue has had its turn: then the device is kicked again, in its next one.
 */
bool virtqueue_pop(struct virtqueue *queue, struct chain *chain);

/**
 * virtqueue_charge() - work is done for a queue's driver
 * @queue: it
 * @work: how much, where a chain is one, as are each 64 KiB and each 32 buffers of it, and a
 *	system call
 * Return: false if the turn is over: go on when the device is kicked again
 *
 * A turn is as much work as VIRTQUEUE_SIZE: a driver that asks for more, or puts back all that
 * is taken, would have the devices' lock held for ever.
 */
bool virtqueue_charge(struct virtqueue *queue, unsigned int work);

/*
 * Has the driver set a queue up, in a machine that goes on?  While that stands still, what is saved of
 * it is not to change; then virtio_resume() has all queues looked at.
 */
bool virtqueue_is_live(const struct virtqueue *queue);

/* The chain that begins with descriptor @head, which has been taken before; false likewise. */
bool virtqueue_again(struct virtqueue *queue, __u16 head, struct chain *chain);

/* A new turn has begun. */
static inline void virtqueue_refill(struct virtqueue *queue)
{
	queue->budget = VIRTQUEUE_SIZE;
}

/* Give a chain back, with @written bytes in it, and interrupt if the driver wants that. */
void virtqueue_push(struct virtqueue *queue, __u16 head, __u32 written);

/* The driver has broken the rules: stop until it resets the device. */
void virtio_break(struct virtio *virtio);

/* Interrupt for a queue. */
void virtio_interrupt(struct virtqueue *queue);

/* Copy from the beginning of buffers and drop that from them; returns how much there was. */
size_t iov_read(struct iovec *iov, unsigned int nr, void *data, size_t size);
/* Likewise, to them. */
size_t iov_write(struct iovec *iov, unsigned int nr, const void *data, size_t size);
size_t iov_size(const struct iovec *iov, unsigned int nr);

/* ---- devices (dev/) --------------------------------------------------------------- */

int virtio_rng_create(struct vm *vm);
int virtio_blk_create(struct vm *vm);
int virtio_net_create(struct vm *vm);
/* For virtio_net_create(): the card of this number is served by the host's kernel. */
int virtio_vhost_net_create(struct vm *vm, unsigned int index);
int virtio_console_create(struct vm *vm);
int virtio_balloon_create(struct vm *vm);
int virtio_vsock_create(struct vm *vm);
int virtio_fs_create(struct vm *vm);

#endif /* VIRTIO_H */
