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
#include "../quirk/insn.h"

/*
 * A slot is user space's memory, which was looked at when it was set.  Page faults are off.
 * What is read often is short: entries of page tables, instructions.
 */
static __always_inline int access_user(u64 hva, void *data, u32 len)
{
	void __user *from = u64_to_user_ptr(hva);
	int err = -EFAULT;

	__uaccess_begin_nospec();
	for (; len >= sizeof(u64); len -= sizeof(u64), data += sizeof(u64), from += sizeof(u64))
		unsafe_get_user(*(u64 *)data, (u64 __user *)from, out);
	for (; len >= sizeof(u32); len -= sizeof(u32), data += sizeof(u32), from += sizeof(u32))
		unsafe_get_user(*(u32 *)data, (u32 __user *)from, out);
	for (; len; len--, data++, from++)
		unsafe_get_user(*(u8 *)data, (u8 __user *)from, out);
	err = 0;
out:
	__uaccess_end();
	return err;
}

s64 mote_user_read_word(u64 hva)
{
	u32 word;
	int err;

	pagefault_disable();
	err = access_user(hva, &word, sizeof(word));
	pagefault_enable();
	return err ?: (s64)word;
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
	int err = -ENXIO;
	u64 hva;

	pagefault_disable();
	if (mote_mem_hva(vm, gpa, &hva))
		err = access_user(hva, data, len);
	pagefault_enable();
	return err;
}

/* Reads of guest memory in a row, under RCU: most are in one slot. */
struct access {
	struct mote_vm *vm;
	const struct mem_slot *slot;	/* of the last one, or NULL */
	u64 gpa;	/* likewise */
};

static __always_inline int access_read(void *context, u64 gpa, void *data, u32 len)
{
	struct access *access = context;
	const struct mem_slot *slot = access->slot;

	access->gpa = gpa;
	if (!slot || gpa - slot->config.gpa >= slot->config.size) {
		slot = slot_find(access->vm, gpa);
		if (!slot)
			return -ENXIO;
		access->slot = slot;
	}
	return access_user(gpa - slot->config.gpa + slot->config.hva, data, len);
}

u32 mote_mem_fetch(struct mote_vcpu *vcpu, const struct mote_cpu_mode *mode, u8 *bytes,
		   struct mote_memory *last)
{
	struct access access = { .vm = vcpu->vm };
	u32 nr, len, what;
	u64 gva, gpa;
	int err;

	rcu_read_lock();
	pagefault_disable();
	for (nr = 0; nr < MOTE_INSN_MOST; nr += len) {
		gva = mote_mode_linear(mode, vcpu->rip + nr);
		what = MOTE_ACCESS_READ;
		err = mote_walk_gva(mode, access_read, &access, gva, &gpa);
		if (err)
			break;
		what = MOTE_ACCESS_EXEC;
		/* Two words are read faster than 15 bytes. */
		len = min_t(u32, MOTE_INSN_ROOM - nr, PAGE_SIZE - (gva & ~PAGE_MASK));
		err = len == MOTE_INSN_ROOM ? access_read(&access, gpa, bytes, MOTE_INSN_ROOM) :
					      access_read(&access, gpa, bytes + nr, len);
		if (err)
			break;
	}
	pagefault_enable();
	rcu_read_unlock();
	if (last)
		*last = (struct mote_memory){ .gpa = access.gpa, .access = what, .error = err };
	return min(nr, MOTE_INSN_MOST);
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
