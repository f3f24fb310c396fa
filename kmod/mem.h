/* SPDX-License-Identifier: GPL-2.0 */
/* The slots of a VM, for mem.c, which changes them, and pv/access.c, which looks through them. */
#ifndef MOTE_MEM_H
#define MOTE_MEM_H

#include <linux/interval_tree.h>

#include "mote.h"

/* A slot as it is used; constant but for @dirty's contents. */
struct mem_slot {
	struct mote_vm *vm;
	struct mote_slot config;	/* as user space gave it */
	unsigned long *dirty;	/* pages that were written, changed atomically; or NULL */
	struct interval_tree_node by_hva;	/* in vm->by_hva while anything may be mapped */
	struct rcu_head rcu;
};

/* All slots of a VM, replaced as a whole. */
struct mote_slots {
	struct rcu_head rcu;
	u32 nr;
	struct mem_slot *slot[];	/* ascending by gpa */
};

/* Under RCU; the slot is held by RCU, or by vm->srcu if that was taken before. */
static inline struct mem_slot *slot_find(struct mote_vm *vm, u64 gpa)
{
	const struct mote_slots *slots = rcu_dereference(vm->slots);
	struct mem_slot *const *slot = slots->slot;
	u32 nr = slots->nr;

	/* The last that begins at or before it. */
	for (; nr > 1; nr -= nr / 2)
		if (slot[nr / 2]->config.gpa <= gpa)
			slot += nr / 2;
	return nr && gpa - (*slot)->config.gpa < (*slot)->config.size ? *slot : NULL;
}

/*
 * Have a page of the current mm's faulted in; may sleep, holding nothing: 0, -EINTR (a signal),
 * or why it cannot be had (-EFAULT, -EHWPOISON, -ENOMEM).
 */
int mem_fault_in(struct mm_struct *mm, u64 hva, bool write);

#endif /* MOTE_MEM_H */
