// SPDX-License-Identifier: GPL-2.0
/*
 * Split virtqueues: VIRTIO 1.2, "Split Virtqueues".  Descriptors are copied once
 * and then checked.  Not here: packed queues, event indices.
 */
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <string.h>
#include <sys/eventfd.h>

#include "virtio.h"

/* ---- buffers ------------------------------------------------------------------- */

static size_t move(struct iovec *iov, unsigned int nr, char *to, const char *from, size_t size)
{
	size_t done = 0;

	for (; nr && done < size; nr--, iov++) {
		size_t here = iov->iov_len < size - done ? iov->iov_len : size - done;

		if (to)
			memcpy(to + done, iov->iov_base, here);
		else
			memcpy(iov->iov_base, from + done, here);
		iov->iov_base = (char *)iov->iov_base + here;
		iov->iov_len -= here;
		done += here;
	}
	return done;
}

size_t iov_read(struct iovec *iov, unsigned int nr, void *data, size_t size)
{
	return move(iov, nr, data, NULL, size);
}

size_t iov_write(struct iovec *iov, unsigned int nr, const void *data, size_t size)
{
	return move(iov, nr, NULL, data, size);
}

size_t iov_size(const struct iovec *iov, unsigned int nr)
{
	size_t size = 0;

	while (nr--)
		size += iov++->iov_len;
	return size;
}

/* How many bytes, and how many buffers, are a part of a turn. */
#define BYTES_CHARGED 65536
#define BUFFERS_CHARGED 32

/* ---- queues ---------------------------------------------------------------------- */

bool virtqueue_enable(struct virtqueue *queue)
{
	const struct mote_machine *machine = &queue->virtio->pci.device.vm->machine;
	size_t size = queue->size;

	queue->desc_hva = mote_machine_hva(machine, queue->desc, size * sizeof(struct vring_desc));
	queue->avail_hva = mote_machine_hva(machine, queue->avail,
					    sizeof(struct vring_avail) + (size + 1) * 2);
	queue->used_hva = mote_machine_hva_writable(machine, queue->used,
						    sizeof(struct vring_used) + 2 +
						    size * sizeof(struct vring_used_elem));
	queue->next_avail = 0;
	queue->next_used = 0;
	virtqueue_refill(queue);
	queue->enabled = queue->desc_hva && queue->avail_hva && queue->used_hva &&
			 !(queue->desc % 16) && !(queue->avail % 2) && !(queue->used % 4);
	return queue->enabled;
}

/* A buffer, or NULL-based if it is not all in memory. */
static bool add_buffer(struct virtqueue *queue, struct chain *chain, const struct vring_desc *desc)
{
	const struct mote_machine *machine = &queue->virtio->pci.device.vm->machine;
	bool in = desc->flags & VRING_DESC_F_WRITE;
	unsigned int nr = chain->nr_out + chain->nr_in;
	void *hva = in ? mote_machine_hva_writable(machine, desc->addr, desc->len) :
			 mote_machine_hva(machine, desc->addr, desc->len);

	/* What the device reads comes before what it writes. */
	if (!hva || nr == queue->size || (!in && chain->nr_in))
		return false;
	chain->iov[nr] = (struct iovec) { .iov_base = hva, .iov_len = desc->len };
	if (in)
		chain->nr_in++;
	else
		chain->nr_out++;
	return true;
}

/* Follow a list of descriptors in a table of @nr; false if it breaks the rules. */
static bool walk(struct virtqueue *queue, struct chain *chain, const struct vring_desc *table,
		 unsigned int nr, unsigned int at, bool may_be_indirect)
{
	const struct mote_machine *machine = &queue->virtio->pci.device.vm->machine;
	struct vring_desc desc;

	do {
		if (at >= nr)
			return false;
		memcpy(&desc, &table[at], sizeof(desc));
		if (desc.flags & VRING_DESC_F_INDIRECT) {
			table = mote_machine_hva(machine, desc.addr, desc.len);
			return may_be_indirect && table && !(desc.flags & VRING_DESC_F_NEXT) &&
			       !(desc.addr % 16) &&
			       walk(queue, chain, table, desc.len / sizeof(desc), 0, false);
		}
		/* One that goes round in circles has too many buffers. */
		if (!add_buffer(queue, chain, &desc))
			return false;
		at = desc.next;
	} while (desc.flags & VRING_DESC_F_NEXT);
	return true;
}

static void charge(struct virtqueue *queue, size_t work)
{
	queue->budget -= work < queue->budget ? work : queue->budget;
}

bool virtqueue_charge(struct virtqueue *queue, unsigned int work)
{
	if (!queue->budget) {
		eventfd_write(queue->notify.fd, 1);
		return false;
	}
	charge(queue, work);
	return true;
}

bool virtqueue_again(struct virtqueue *queue, __u16 head, struct chain *chain)
{
	chain->nr_out = 0;
	chain->nr_in = 0;
	chain->head = head;
	if (walk(queue, chain, queue->desc_hva, queue->size, head, true))
		return true;
	virtio_break(queue->virtio);
	return false;
}

bool virtqueue_is_live(const struct virtqueue *queue)
{
	struct vm *vm = queue->virtio->pci.device.vm;

	return queue->enabled && virtio_is_ready(queue->virtio) &&
	       !(vm_is_wanted_paused(vm) && vm_is_paused(vm));
}

bool virtqueue_pop(struct virtqueue *queue, struct chain *chain)
{
	__u16 index, waiting, head;
	unsigned int nr;

	if (!virtqueue_is_live(queue))
		return false;
	index = __atomic_load_n(&queue->avail_hva->idx, __ATOMIC_ACQUIRE);
	waiting = index - queue->next_avail;
	if (!waiting)
		return false;
	if (!virtqueue_charge(queue, 1))
		return false;
	head = __atomic_load_n(&queue->avail_hva->ring[queue->next_avail % queue->size], __ATOMIC_RELAXED);
	queue->next_avail++;
	if (waiting > queue->size) {
		virtio_break(queue->virtio);
		return false;
	}
	if (!virtqueue_again(queue, head, chain))
		return false;
	nr = chain->nr_out + chain->nr_in;
	charge(queue, iov_size(chain->iov, nr) / BYTES_CHARGED + nr / BUFFERS_CHARGED);
	return true;
}

/* Who copies the memory meanwhile is to know of it: the chain, as it still is, and its entry. */
static void note(struct virtqueue *queue, __u16 head, const struct vring_used_elem *elem)
{
	const struct mote_machine *machine = &queue->virtio->pci.device.vm->machine;
	struct chain chain = { .head = head };

	walk(queue, &chain, queue->desc_hva, queue->size, head, true);
	for (unsigned int i = chain.nr_out; i < chain.nr_out + chain.nr_in; i++)
		mote_machine_wrote(machine, chain.iov[i].iov_base, chain.iov[i].iov_len);
	mote_machine_wrote(machine, elem, sizeof(*elem));
	mote_machine_wrote(machine, &queue->used_hva->idx, sizeof(queue->used_hva->idx));
}

void virtqueue_push(struct virtqueue *queue, __u16 head, __u32 written)
{
	struct vring_used_elem *elem;

	if (!queue->enabled)
		return;
	elem = &queue->used_hva->ring[queue->next_used % queue->size];
	elem->id = head;
	elem->len = written;
	__atomic_store_n(&queue->used_hva->idx, ++queue->next_used, __ATOMIC_RELEASE);
	if (queue->virtio->pci.device.vm->machine.written)
		note(queue, head, elem);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!(__atomic_load_n(&queue->avail_hva->flags, __ATOMIC_RELAXED) &
	      VRING_AVAIL_F_NO_INTERRUPT))
		virtio_interrupt(queue);
}
