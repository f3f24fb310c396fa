// SPDX-License-Identifier: GPL-2.0
/*
 * eventfds in and out of a VM: one that is written sends a message-signalled
 * interrupt (irqfd); a guest's OUT to a port writes one (ioeventfd).  With them
 * devices in other threads, other processes or the kernel (vhost) need no exit to
 * user space.
 *
 * The lists change under vm->lock.  An irqfd is called by its eventfd with that
 * one's lock held and interrupts off; ioeventfds are read under RCU.
 */
#include <linux/eventfd.h>
#include <linux/file.h>
#include <linux/poll.h>
#include <linux/rculist.h>
#include <linux/slab.h>

#include "compat.h"
#include "mote.h"

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
 * @link: in vm->ioeventfds
 * @eventfd: held
 * @arg: port, size and value
 */
struct ioeventfd {
	struct list_head link;
	struct eventfd_ctx *eventfd;
	struct mote_ioeventfd arg;
};

static bool takes(const struct mote_ioeventfd *arg, u16 port, u8 size, u32 value)
{
	return arg->port == port && (!arg->size || arg->size == size) &&
	       (!(arg->flags & MOTE_IOEVENTFD_MATCH) || arg->value == value);
}

bool mote_ioeventfd_write(struct mote_vm *vm, u16 port, u8 size, u64 rax)
{
	u32 value = rax & GENMASK_ULL(8 * size - 1, 0);
	struct ioeventfd *row;
	bool taken = false;

	rcu_read_lock();
	list_for_each_entry_rcu(row, &vm->ioeventfds, link) {
		if (!takes(&row->arg, port, size, value))
			continue;
		mote_eventfd_signal(row->eventfd);
		taken = true;
		break;
	}
	rcu_read_unlock();
	return taken;
}

/* Nobody sees it any more. */
static void ioeventfd_free(struct ioeventfd *row)
{
	eventfd_ctx_put(row->eventfd);
	kfree(row);
}

static bool ioeventfd_is_valid(const struct mote_ioeventfd *arg)
{
	u32 size = arg->size;

	return !(arg->flags & ~(MOTE_EVENTFD_REMOVE | MOTE_IOEVENTFD_MATCH)) && !arg->pad &&
	       arg->port <= 0xffff && (!size || size == 1 || size == 2 || size == 4) &&
	       (arg->flags & MOTE_IOEVENTFD_MATCH ?
		size && (size == 4 || !(arg->value >> (8 * size))) : !arg->value);
}

/* Two that could both take a write exclude each other. */
static struct ioeventfd *ioeventfd_find(struct mote_vm *vm, const struct mote_ioeventfd *arg,
					bool same, u32 *nr)
{
	u32 match = arg->flags & MOTE_IOEVENTFD_MATCH;
	struct ioeventfd *row;

	*nr = 0;
	list_for_each_entry(row, &vm->ioeventfds, link) {
		const struct mote_ioeventfd *old = &row->arg;
		bool equal = old->size == arg->size && old->value == arg->value &&
			     (old->flags & MOTE_IOEVENTFD_MATCH) == match;
		bool apart = (old->size && arg->size && old->size != arg->size) ||
			     (match && old->flags & MOTE_IOEVENTFD_MATCH &&
			      old->value != arg->value);

		if (old->port == arg->port && (same ? equal : !apart))
			return row;
		++*nr;
	}
	return NULL;
}

static int ioeventfd_add(struct mote_vm *vm, const struct mote_ioeventfd *arg,
			 struct eventfd_ctx *eventfd)
{
	struct ioeventfd *row = kzalloc(sizeof(*row), GFP_KERNEL_ACCOUNT);

	if (!row)
		return -ENOMEM;
	row->eventfd = eventfd;
	row->arg = *arg;
	list_add_tail_rcu(&row->link, &vm->ioeventfds);
	return 0;
}

int mote_ioeventfd(struct mote_vm *vm, const struct mote_ioeventfd *arg)
{
	bool remove = arg->flags & MOTE_EVENTFD_REMOVE;
	struct eventfd_ctx *eventfd;
	struct ioeventfd *row;
	int err;
	u32 nr;

	if (!ioeventfd_is_valid(arg))
		return -EINVAL;
	eventfd = eventfd_ctx_fdget(arg->fd);
	if (IS_ERR(eventfd))
		return PTR_ERR(eventfd);
	mutex_lock(&vm->lock);
	row = ioeventfd_find(vm, arg, remove, &nr);
	if (remove) {
		err = row && row->eventfd == eventfd ? 0 : -ENOENT;
		if (!err)
			list_del_rcu(&row->link);
	} else {
		err = row ? -EEXIST : nr >= MOTE_MAX_EVENTFDS ? -ENOSPC :
		      ioeventfd_add(vm, arg, eventfd);
	}
	mutex_unlock(&vm->lock);
	if (!err && remove) {
		synchronize_rcu();
		ioeventfd_free(row);
	}
	if (err || remove)
		eventfd_ctx_put(eventfd);
	return err;
}

/* ---- the end --------------------------------------------------------------- */

void mote_eventfds_destroy(struct mote_vm *vm)
{
	struct irqfd *irqfd, *next_irqfd;
	struct ioeventfd *row, *next_row;

	list_for_each_entry_safe(irqfd, next_irqfd, &vm->irqfds, link)
		irqfd_free(irqfd);
	list_for_each_entry_safe(row, next_row, &vm->ioeventfds, link)
		ioeventfd_free(row);
}
