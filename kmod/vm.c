// SPDX-License-Identifier: GPL-2.0
/*
 * Virtual machines: creation and destruction, and filters.
 *
 * A VM is held by its file and by the file of each of its vCPUs.  It holds its
 * VMM process's mm_struct (not the memory behind it: that goes when the process does)
 * and a share of the host's virtualization extension.  vCPUs are added under
 * vm->lock and live as long as the VM, so that the list may be read without it.
 */
#include <linux/idr.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>

#include "apic/lapic.h"
#include "mote.h"
#include "vendor.h"

static DEFINE_IDA(vm_ids);

struct mote_vm *mote_vm_create(const struct mote_vm_config *config)
{
	struct mote_vm *vm;
	int err;

	if (config->flags & ~(MOTE_VM_HLT_EXIT | MOTE_VM_LAPIC) ||
	    memchr_inv(config->reserved, 0, sizeof(config->reserved)))
		return ERR_PTR(-EINVAL);
	vm = kzalloc(sizeof(*vm), GFP_KERNEL_ACCOUNT);
	if (!vm)
		return ERR_PTR(-ENOMEM);
	err = mote_time_set_khz(vm, config->tsc_khz) ?: mote_host_get();
	if (err)
		goto err_free;

	kref_init(&vm->ref);
	mutex_init(&vm->lock);
	INIT_LIST_HEAD(&vm->irqfds);
	spin_lock_init(&vm->npt_lock);
	vm->flags = config->flags;
	mote_pv_init_clock(vm);
	vm->mm = current->mm;
	mmgrab(vm->mm);
	err = ida_alloc(&vm_ids, GFP_KERNEL);
	if (err < 0)
		goto err_drop_mm;
	vm->id = err;
	err = init_srcu_struct(&vm->srcu);
	if (err)
		goto err_free_id;
	err = mote_mem_init(vm);
	if (err)
		goto err_cleanup_srcu;
	vm->vendor = alloc_pages_exact(mote_ops->vm_size, GFP_KERNEL_ACCOUNT | __GFP_ZERO);
	if (vm->vendor)
		return vm;

	err = -ENOMEM;
	mote_mem_destroy(vm);
err_cleanup_srcu:
	cleanup_srcu_struct(&vm->srcu);
err_free_id:
	ida_free(&vm_ids, vm->id);
err_drop_mm:
	mmdrop(vm->mm);
	mote_host_put();
err_free:
	kfree(vm);
	return ERR_PTR(err);
}

static void vm_free(struct kref *ref)
{
	struct mote_vm *vm = container_of(ref, struct mote_vm, ref);
	u32 i;

	mote_eventfds_destroy(vm);
	/* Memory first: its notifiers may still look at the vCPUs. */
	mote_mem_destroy(vm);
	for (i = 0; i < vm->nr_vcpus; i++)
		mote_vcpu_destroy(vm->vcpus[i]);
	free_pages_exact(vm->vendor, mote_ops->vm_size);
	cleanup_srcu_struct(&vm->srcu);
	for (i = 0; i < MOTE_NR_FILTERS; i++)
		kfree(vm->filters[i]);
	ida_free(&vm_ids, vm->id);
	mmdrop(vm->mm);
	mote_host_put();
	kfree(vm);
}

void mote_vm_put(struct mote_vm *vm)
{
	kref_put(&vm->ref, vm_free);
}

int mote_vm_set_filter(struct mote_vm *vm, u32 kind, struct mote_filter_set *set)
{
	int err = mote_filter_check(kind, set->rules, set->nr);

	kind = array_index_nospec(kind, MOTE_NR_FILTERS);
	mutex_lock(&vm->lock);
	if (!err && vm->nr_vcpus)
		err = -EBUSY;
	if (!err)
		swap(vm->filters[kind], set);
	mutex_unlock(&vm->lock);
	kfree(set);
	return err;
}
