// SPDX-License-Identifier: GPL-2.0
/*
 * eventfds in and out of a VM: one that is written sends a message-signalled
 * interrupt (irqfd); a guest's OUT to a port writes one (ioeventfd).  With them
 * devices in other threads, other processes or the kernel (vhost) need no exit to
 * user space.
 *
 * Both change under vm->lock.  An irqfd is called by its eventfd with that
 * one's lock held and interrupts off; ioeventfds are read under RCU.
 */
#include <linux/eventfd.h>
#include <linux/file.h>
#include <linux/poll.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>

#include "../compat.h"
#include "lapic.h"

/* ---- irqfd ----------------------------------------------------------------- */

/**
 * struct irqfd - an eventfd that interrupts
 * @link: in vm->irqfds
 * @vm: the machine
 * @eventfd: held; its wait queue lives as long as that
 * @msi: what is sent
 * @wait: in the eventfd's queue
 * @table: how it gets there
 */
struct irqfd {
	struct list_head link;
	struct mote_vm *vm;
	struct eventfd_ctx *eventfd;
	struct mote_msi msi;
	wait_queue_entry_t wait;
	poll_table table;
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

static void irqfd_free(struct irqfd *irqfd)
{
	u64 count;

	/* Takes the queue's lock: no call is under way after it. */
	eventfd_ctx_remove_wait_queue(irqfd->eventfd, &irqfd->wait, &count);
	list_del(&irqfd->link);
	eventfd_ctx_put(irqfd->eventfd);
	kfree(irqfd);
}

static struct irqfd *irqfd_find(struct mote_vm *vm, const struct eventfd_ctx *eventfd,
				const struct mote_msi *msi, u32 *nr)
{
	struct irqfd *irqfd;

	*nr = 0;
	list_for_each_entry(irqfd, &vm->irqfds, link) {
		if (irqfd->eventfd == eventfd && !memcmp(&irqfd->msi, msi, sizeof(*msi)))
			return irqfd;
		++*nr;
	}
	return NULL;
}

static int irqfd_add(struct mote_vm *vm, struct file *file, struct eventfd_ctx *eventfd,
		     const struct mote_msi *msi)
{
	struct irqfd *irqfd = kzalloc(sizeof(*irqfd), GFP_KERNEL_ACCOUNT);

	if (!irqfd)
		return -ENOMEM;
	*irqfd = (struct irqfd){ .vm = vm, .eventfd = eventfd, .msi = *msi };
	init_waitqueue_func_entry(&irqfd->wait, irqfd_wake);
	init_poll_funcptr(&irqfd->table, irqfd_queue);
	list_add(&irqfd->link, &vm->irqfds);
	/* What was written before counts, too; it is read at the next write. */
	if (vfs_poll(file, &irqfd->table) & EPOLLIN)
		mote_lapic_msi(vm, msi);
	return 0;
}

int mote_irqfd(struct mote_vm *vm, const struct mote_irqfd *arg)
{
	bool remove = arg->flags & MOTE_EVENTFD_REMOVE;
	struct eventfd_ctx *eventfd;
	struct irqfd *irqfd;
	struct file *file;
	int err;
	u32 nr;

	if (arg->flags & ~MOTE_EVENTFD_REMOVE || !mote_msi_is_valid(vm, &arg->msi))
		return -EINVAL;
	file = eventfd_fget(arg->fd);
	if (IS_ERR(file))
		return PTR_ERR(file);
	eventfd = eventfd_ctx_fileget(file);
	mutex_lock(&vm->lock);
	irqfd = irqfd_find(vm, eventfd, &arg->msi, &nr);
	if (remove) {
		err = irqfd ? 0 : -ENOENT;
		if (irqfd)
			irqfd_free(irqfd);
	} else {
		err = irqfd ? -EEXIST : nr >= MOTE_MAX_EVENTFDS ? -ENOSPC :
		      irqfd_add(vm, file, eventfd, &arg->msi);
	}
	mutex_unlock(&vm->lock);
	if (err || remove)
		eventfd_ctx_put(eventfd);
	fput(file);
	return err;
}

/* ---- ioeventfd ------------------------------------------------------------- */

/**
 * struct ioeventfd - a port that writes an eventfd
 * @key: ioeventfd_key(); rows of the same differ in size
 * @size: in bytes, 0: any
 * @eventfd: held
 */
struct ioeventfd {
	u64 key;
	u32 size;
	struct eventfd_ctx *eventfd;
};

/* Ascending by key; replaced as a whole, never changed. */
struct mote_ioeventfds {
	struct rcu_head rcu;
	u32 nr;
	struct ioeventfd rows[];
};

static u64 ioeventfd_key(u16 port, bool match, u32 value)
{
	return (u64)port << 33 | (u64)match << 32 | value;
}

static const struct ioeventfd *ioeventfd_for(const struct mote_ioeventfds *set, u64 key, u8 size)
{
	const struct ioeventfd *row = set->rows;
	u32 nr = set->nr;

	/* The last row with this key or a lower one. */
	for (; nr > 1; nr -= nr / 2)
		if (row[nr / 2].key <= key)
			row += nr / 2;
	for (; row >= set->rows && row->key == key; row--)
		if (!row->size || row->size == size)
			return row;
	return NULL;
}

bool mote_ioeventfd_write(struct mote_vm *vm, u16 port, u8 size, u64 rax)
{
	/* Preemption is off: a reader of RCU as it is. */
	const struct mote_ioeventfds *set = rcu_dereference_sched(vm->ioeventfds);
	u32 value = rax & GENMASK_ULL(8 * size - 1, 0);
	const struct ioeventfd *row = NULL;

	if (set)
		row = ioeventfd_for(set, ioeventfd_key(port, false, 0), size) ?:
		      ioeventfd_for(set, ioeventfd_key(port, true, value), size);
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

/*
 * A row with the same key and size, or else the first one that could take a write that the
 * new one takes, too: -1 for none.
 */
static int ioeventfd_find(const struct mote_ioeventfds *set, const struct ioeventfd *new, bool same)
{
	bool any = !(new->key & BIT_ULL(32));
	u32 i;

	for (i = 0; set && i < set->nr; i++) {
		const struct ioeventfd *old = &set->rows[i];

		if (same ? old->key == new->key && old->size == new->size :
		    old->key >> 33 == new->key >> 33 &&
		    (!old->size || !new->size || old->size == new->size) &&
		    (any || !(old->key & BIT_ULL(32)) || old->key == new->key))
			return i;
	}
	return -1;
}

/* Put rows in the place of the old ones: @with another one, or (NULL) without the one @at. */
static int ioeventfd_replace(struct mote_vm *vm, const struct mote_ioeventfds *old, u32 at,
			     const struct ioeventfd *with)
{
	u32 was = old ? old->nr : 0, nr = with ? was + 1 : was - 1;
	struct mote_ioeventfds *set = NULL;

	if (with)
		for (at = 0; at < was && old->rows[at].key < with->key; at++)
			;
	if (nr) {
		set = kvmalloc(struct_size(set, rows, nr), GFP_KERNEL_ACCOUNT);
		if (!set)
			return -ENOMEM;
		set->nr = nr;
		if (old) {
			memcpy(set->rows, old->rows, at * sizeof(*set->rows));
			memcpy(&set->rows[at + !!with], &old->rows[at + !with],
			       (was - at - !with) * sizeof(*set->rows));
		}
		if (with)
			set->rows[at] = *with;
	}
	rcu_assign_pointer(vm->ioeventfds, set);
	return 0;
}

int mote_ioeventfd(struct mote_vm *vm, const struct mote_ioeventfd *arg)
{
	bool remove = arg->flags & MOTE_EVENTFD_REMOVE;
	struct mote_ioeventfds *old;
	struct ioeventfd row;
	int err, at;

	if (!ioeventfd_is_valid(arg))
		return -EINVAL;
	row.eventfd = eventfd_ctx_fdget(arg->fd);
	if (IS_ERR(row.eventfd))
		return PTR_ERR(row.eventfd);
	row.key = ioeventfd_key(arg->port, arg->flags & MOTE_IOEVENTFD_MATCH, arg->value);
	row.size = arg->size;
	mutex_lock(&vm->lock);
	old = rcu_dereference_protected(vm->ioeventfds, lockdep_is_held(&vm->lock));
	at = ioeventfd_find(old, &row, remove);
	if (remove)
		err = at >= 0 && old->rows[at].eventfd == row.eventfd ? 0 : -ENOENT;
	else
		err = at >= 0 ? -EEXIST : old && old->nr >= MOTE_MAX_EVENTFDS ? -ENOSPC : 0;
	err = err ?: ioeventfd_replace(vm, old, at, remove ? NULL : &row);
	mutex_unlock(&vm->lock);
	if (!err && remove) {
		/* Nobody sees it any more. */
		synchronize_rcu();
		eventfd_ctx_put(row.eventfd);
	}
	if (err || remove)
		eventfd_ctx_put(row.eventfd);
	if (!err && old)
		kvfree_rcu(old, rcu);
	return err;
}

/* ---- the end --------------------------------------------------------------- */

void mote_eventfds_destroy(struct mote_vm *vm)
{
	struct irqfd *irqfd, *next_irqfd;
	struct mote_ioeventfds *set = rcu_dereference_protected(vm->ioeventfds, true);
	u32 i;

	list_for_each_entry_safe(irqfd, next_irqfd, &vm->irqfds, link)
		irqfd_free(irqfd);
	for (i = 0; set && i < set->nr; i++)
		eventfd_ctx_put(set->rows[i].eventfd);
	kvfree(set);
}
