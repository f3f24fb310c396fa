// SPDX-License-Identifier: GPL-2.0
/*
 * The module's own accesses to guest memory, through the VMM process's addresses.
 *
 * Reading never sleeps: what is not present there now fails.  A write is a guest's write: it
 * is refused where the slot is read-only, and logged where writes are.
 *
 * Locking: slots are read under vm->srcu, or RCU; the dirty log is changed atomically.
 */
#include <linux/srcu.h>
#include <linux/uaccess.h>

#include "../mem.h"

int mote_user_read(u64 hva, void *data, u32 len)
{
	const void __user *from = u64_to_user_ptr(hva);
	int err = -EFAULT;

	/* Entries of page tables, instructions: what is read often is short. */
	if (len > 2 * sizeof(u64))
		return copy_from_user_nofault(data, from, len);
	pagefault_disable();
	if (user_access_begin(from, len)) {
		for (; len >= 8; len -= 8, data += 8, from += 8)
			unsafe_get_user(*(u64 *)data, (const u64 __user *)from, out);
		for (; len; len--, data++, from++)
			unsafe_get_user(*(u8 *)data, (const u8 __user *)from, out);
		err = 0;
out:
		user_access_end();
	}
	pagefault_enable();
	return err;
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

/* Without sleeping: 0, -ENXIO, -EFAULT; @hva: what could not be written. */
static int access_write(struct mote_vm *vm, u64 gpa, const void *data, u32 len, u64 *hva)
{
	struct mem_slot *slot;
	u64 offset;
	int err;

	rcu_read_lock();
	slot = slot_find(vm, gpa);
	rcu_read_unlock();
	if (!slot)
		return -ENXIO;
	offset = gpa - slot->config.gpa;
	if (slot->config.flags & MOTE_SLOT_READONLY || len > slot->config.size - offset)
		return -ENXIO;
	*hva = slot->config.hva + offset;
	err = copy_to_user_nofault(u64_to_user_ptr(*hva), data, len);
	/* After the write: else the log could be taken, and the page copied, between the two. */
	if (slot->dirty) {
		set_bit(offset >> PAGE_SHIFT, slot->dirty);
		set_bit((offset + len - 1) >> PAGE_SHIFT, slot->dirty);
	}
	return err;
}

int mote_mem_write(struct mote_vm *vm, u64 gpa, const void *data, u32 len, bool may_sleep)
{
	int index, err, tries = 0;
	u64 hva;

	for (;;) {
		index = srcu_read_lock(&vm->srcu);
		err = access_write(vm, gpa, data, len, &hva);
		srcu_read_unlock(&vm->srcu, index);
		if (err != -EFAULT || !may_sleep || tries++ == 64)
			return err;
		err = mem_fault_in(vm->mm, hva, true) ?: mem_fault_in(vm->mm, hva + len - 1, true);
		if (err)
			return err;
	}
}

int mote_mem_bring(struct mote_vm *vm, u64 gpa)
{
	u64 hva;

	return mote_mem_hva(vm, gpa, &hva) ? mem_fault_in(vm->mm, hva, true) : -ENXIO;
}
