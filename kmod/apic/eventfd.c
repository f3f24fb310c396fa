// SPDX-License-Identifier: GPL-2.0
/*
 * eventfds in and out of a VM: a write to one sends a message-signalled interrupt
 * (irqfd), a guest's OUT to a port writes one (ioeventfd).  With them devices in
 * other threads, other processes or the kernel (vhost) need no exit to user space.
 *
 * Both are added and removed under vm->lock.  An eventfd calls its irqfds with its
 * own lock held and interrupts off; ioeventfds are looked up under RCU.
 */
#include <linux/eventfd.h>
#include <linux/file.h>
#include <linux/hashtable.h>
#include <linux/poll.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>

#include "../quirk/compat.h"
#include "lapic.h"

/* ---- irqfd ----------------------------------------------------------------- */

struct irqfd {
	struct list_head link;		/* in vm->irqfds */
	struct mote_vm *vm;
	struct eventfd_ctx *eventfd;	/* held, and with it the queue of @wait */
	struct mote_msi msi;
	wait_queue_entry_t wait;
	poll_table table;		/* queues @wait */
};

static int irqfd_wake(wait_queue_entry_t *wait, unsigned int mode, int sync, void *key)
{
	struct irqfd *irqfd = container_of(wait, struct irqfd, wait);
	u64 count;

	if (key_to_poll(key) & EPOLLIN) {
		eventfd_ctx_do_read(irqfd->eventfd, &count);
		mote_lapic_msi(irqfd->vm, &irqfd->msi);
	}
	return 0;
}

static void irqfd_queue(struct file *file, wait_queue_head_t *queue, poll_table *table)
{
	add_wait_queue(queue, &container_of(table, struct irqfd, table)->wait);
}

static void irqfd_remove(struct irqfd *irqfd)
{
	u64 count;

	/* This takes the queue's lock: irqfd_wake() does not run after it. */
	eventfd_ctx_remove_wait_queue(irqfd->eventfd, &irqfd->wait, &count);
	list_del(&irqfd->link);
	irqfd->vm->nr_irqfds--;
	eventfd_ctx_put(irqfd->eventfd);
	kfree(irqfd);
}

static struct irqfd *irqfd_find(struct mote_vm *vm, const struct eventfd_ctx *eventfd,
				const struct mote_msi *msi)
{
	struct irqfd *irqfd;

	list_for_each_entry(irqfd, &vm->irqfds, link)
		if (irqfd->eventfd == eventfd && !memcmp(&irqfd->msi, msi, sizeof(*msi)))
			return irqfd;
	return NULL;
}

static int irqfd_add(struct mote_vm *vm, struct file *file, const struct mote_msi *msi)
{
	struct irqfd *irqfd;

	if (vm->nr_irqfds >= MOTE_MAX_EVENTFDS)
		return -ENOSPC;
	irqfd = kzalloc(sizeof(*irqfd), GFP_KERNEL_ACCOUNT);
	if (!irqfd)
		return -ENOMEM;
	irqfd->vm = vm;
	irqfd->eventfd = eventfd_ctx_fileget(file);
	irqfd->msi = *msi;
	init_waitqueue_func_entry(&irqfd->wait, irqfd_wake);
	init_poll_funcptr(&irqfd->table, irqfd_queue);
	list_add(&irqfd->link, &vm->irqfds);
	vm->nr_irqfds++;
	/* Earlier writes send a message, too; their count is read at the next write. */
	if (vfs_poll(file, &irqfd->table) & EPOLLIN)
		mote_lapic_msi(vm, msi);
	return 0;
}

int mote_irqfd(struct mote_vm *vm, const struct mote_irqfd *arg)
{
	struct eventfd_ctx *eventfd;
	struct irqfd *irqfd;
	struct file *file;
	int err = 0;

	if (arg->flags & ~MOTE_EVENTFD_REMOVE || !mote_msi_is_valid(vm, &arg->msi))
		return -EINVAL;
	file = eventfd_fget(arg->fd);
	if (IS_ERR(file))
		return PTR_ERR(file);
	eventfd = eventfd_ctx_fileget(file);
	mutex_lock(&vm->lock);
	irqfd = irqfd_find(vm, eventfd, &arg->msi);
	if (!(arg->flags & MOTE_EVENTFD_REMOVE))
		err = irqfd ? -EEXIST : irqfd_add(vm, file, &arg->msi);
	else if (irqfd)
		irqfd_remove(irqfd);
	else
		err = -ENOENT;
	mutex_unlock(&vm->lock);
	eventfd_ctx_put(eventfd);
	fput(file);
	return err;
}

/* ---- ioeventfd ------------------------------------------------------------- */

/* Made when a VM's first ioeventfd is added; as many places as there can be of these. */
struct mote_ioeventfds {
	DECLARE_HASHTABLE(rows, 10);
};

struct ioeventfd {
	struct hlist_node link;		/* in vm->ioeventfds, by @key */
	u64 key;			/* ioeventfd_key() */
	u32 size;			/* in bytes; 0: any */
	struct eventfd_ctx *eventfd;	/* held */
};

#define KEY_MATCH BIT_ULL(32)

static u64 ioeventfd_key(u16 port, bool match, u32 value)
{
	return (u64)port << 33 | (match ? KEY_MATCH : 0) | value;
}

/* At most one takes an OUT.  Preemption is off: that makes the caller a reader of RCU. */
static const struct ioeventfd *ioeventfd_for(const struct mote_vm *vm, u64 key, u8 size)
{
	const struct mote_ioeventfds *table = READ_ONCE(vm->ioeventfds);
	const struct ioeventfd *row;

	hash_for_each_possible_rcu(table->rows, row, link, key)
		if (row->key == key && (!row->size || row->size == size))
			return row;
	return NULL;
}

bool mote_ioeventfd_write(struct mote_vm *vm, u16 port, u8 size, u64 rax)
{
	u32 value = rax & GENMASK_ULL(8 * size - 1, 0);
	const struct ioeventfd *row = ioeventfd_for(vm, ioeventfd_key(port, false, 0), size) ?:
				      ioeventfd_for(vm, ioeventfd_key(port, true, value), size);

	if (row)
		mote_eventfd_signal(row->eventfd);
	return row;
}

static bool ioeventfd_is_valid(const struct mote_ioeventfd *arg)
{
	u32 size = arg->size;

	return !(arg->flags & ~(MOTE_EVENTFD_REMOVE | MOTE_IOEVENTFD_MATCH)) && !arg->pad &&
	       arg->port <= 0xffff && (!size || size == 1 || size == 2 || size == 4) &&
	       (arg->flags & MOTE_IOEVENTFD_MATCH ?
		size && (size == 4 || !(arg->value >> (8 * size))) : !arg->value);
}

/* Is there an OUT that both take? */
static bool ioeventfd_overlaps(const struct ioeventfd *a, const struct ioeventfd *b)
{
	bool match = a->key & b->key & KEY_MATCH;

	return (a->size == b->size || !a->size || !b->size) &&
	       (match ? a->key == b->key : a->key >> 33 == b->key >> 33);
}

static void ioeventfd_free(struct ioeventfd *row)
{
	eventfd_ctx_put(row->eventfd);
	kfree(row);
}

static int ioeventfd_add(struct mote_vm *vm, struct ioeventfd *new)
{
	struct ioeventfd *row;
	u32 i;

	if (!vm->ioeventfds) {
		vm->ioeventfds = kzalloc(sizeof(*vm->ioeventfds), GFP_KERNEL_ACCOUNT);
		if (!vm->ioeventfds)
			return -ENOMEM;
	}
	hash_for_each(vm->ioeventfds->rows, i, row, link)
		if (ioeventfd_overlaps(row, new))
			return -EEXIST;
	if (vm->nr_ioeventfds >= MOTE_MAX_EVENTFDS)
		return -ENOSPC;
	hash_add_rcu(vm->ioeventfds->rows, &new->link, new->key);
	/* Who sees a number finds the table. */
	smp_store_release(&vm->nr_ioeventfds, vm->nr_ioeventfds + 1);
	return 0;
}

/* Take out the one that is like @like, for the caller to free; NULL: there is none. */
static struct ioeventfd *ioeventfd_remove(struct mote_vm *vm, const struct ioeventfd *like)
{
	struct ioeventfd *row;

	if (!vm->ioeventfds)
		return NULL;
	hash_for_each_possible(vm->ioeventfds->rows, row, link, like->key)
		if (row->key == like->key && row->size == like->size &&
		    row->eventfd == like->eventfd) {
			hash_del_rcu(&row->link);
			WRITE_ONCE(vm->nr_ioeventfds, vm->nr_ioeventfds - 1);
			return row;
		}
	return NULL;
}

int mote_ioeventfd(struct mote_vm *vm, const struct mote_ioeventfd *arg)
{
	bool remove = arg->flags & MOTE_EVENTFD_REMOVE;
	struct ioeventfd *row, *gone = NULL;
	int err;

	if (!ioeventfd_is_valid(arg))
		return -EINVAL;
	row = kzalloc(sizeof(*row), GFP_KERNEL_ACCOUNT);
	if (!row)
		return -ENOMEM;
	row->eventfd = eventfd_ctx_fdget(arg->fd);
	if (IS_ERR(row->eventfd)) {
		err = PTR_ERR(row->eventfd);
		kfree(row);
		return err;
	}
	row->key = ioeventfd_key(arg->port, arg->flags & MOTE_IOEVENTFD_MATCH, arg->value);
	row->size = arg->size;
	mutex_lock(&vm->lock);
	if (remove)
		gone = ioeventfd_remove(vm, row);
	err = !remove ? ioeventfd_add(vm, row) : gone ? 0 : -ENOENT;
	mutex_unlock(&vm->lock);
	if (gone) {
		/* No vCPU signals it after this; devices have one a queue, and wait for each. */
		synchronize_rcu_expedited();
		ioeventfd_free(gone);
	}
	if (err || remove)
		ioeventfd_free(row);
	return err;
}

/* ---- the end --------------------------------------------------------------- */

void mote_eventfds_destroy(struct mote_vm *vm)
{
	struct irqfd *irqfd, *next;
	struct hlist_node *node;
	struct ioeventfd *row;
	u32 i;

	list_for_each_entry_safe(irqfd, next, &vm->irqfds, link)
		irqfd_remove(irqfd);
	if (!vm->ioeventfds)
		return;
	hash_for_each_safe(vm->ioeventfds->rows, i, node, row, link)
		ioeventfd_free(row);
	kfree(vm->ioeventfds);
}
