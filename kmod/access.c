// SPDX-License-Identifier: GPL-2.0
/*
 * The module's own accesses to guest memory, through the VMM process's addresses.
 *
 * Reading never sleeps: what is not present there now fails.  A write is a guest's write: it
 * is refused where the slot is read-only, and logged where writes are.
 *
 * Locking: slots are read under vm->srcu, or RCU; the dirty log is under vm->npt_lock.
 */
#include <linux/srcu.h>
#include <linux/uaccess.h>

#include "mem.h"

int mote_user_read(u64 hva, void *data, u32 len)
{
	return copy_from_user_nofault(data, u64_to_user_ptr(hva), len);
}

s64 mote_user_read_word(u64 hva)
{
	const u32 __user *from = u64_to_user_ptr(hva);
	s64 ret = -EFAULT;
	u32 word;

	pagefault_disable();
	if (user_access_begin(from, sizeof(word))) {
		unsafe_get_user(word, from, out);
		ret = word;
out:
		user_access_end();
	}
	pagefault_enable();
	return ret;
}

bool mote_mem_hva(struct mote_vm *vm, u64 gpa, u64 *hva)
{
	const struct mem_slot *slot;

	rcu_read_lock();
	slot = slot_find(vm, gpa);
	if (slot)
		*hva = gpa - slot->config.gpa + slot->config.hva;
	rcu_read_unlock();
	return slot;
}

int mote_mem_read(struct mote_vm *vm, u64 gpa, void *data, u32 len)
{
	u64 hva;

	return mote_mem_hva(vm, gpa, &hva) ? mote_user_read(hva, data, len) : -ENXIO;
}

static void slot_log_write(struct mem_slot *slot, u64 offset, u32 len)
{
	u64 first = offset >> PAGE_SHIFT, last = (offset + len - 1) >> PAGE_SHIFT;

	spin_lock(&slot->vm->npt_lock);
	bitmap_set(slot->dirty, first, last - first + 1);
	spin_unlock(&slot->vm->npt_lock);
}

int mote_mem_write(struct mote_vm *vm, u64 gpa, const void *data, u32 len, bool may_sleep)
{
	int index = srcu_read_lock(&vm->srcu), err = -ENXIO;
	struct mem_slot *slot;
	void __user *to;
	u64 offset;

	rcu_read_lock();
	slot = slot_find(vm, gpa);
	rcu_read_unlock();
	if (!slot)
		goto out;
	offset = gpa - slot->config.gpa;
	if (slot->config.flags & MOTE_SLOT_READONLY || len > slot->config.size - offset)
		goto out;
	to = u64_to_user_ptr(slot->config.hva + offset);
	if (may_sleep)
		err = copy_to_user(to, data, len) ? -EFAULT : 0;
	else /* to log it would take vm->npt_lock, whose holder may wait for this CPU */
		err = slot->dirty ? -EFAULT : copy_to_user_nofault(to, data, len);
	if (!err && slot->dirty)
		slot_log_write(slot, offset, len);
out:
	srcu_read_unlock(&vm->srcu, index);
	return err;
}
