// SPDX-License-Identifier: GPL-2.0
/*
 * Virtual machines: creation and destruction, and filters.
 *
 * A VM is held by its file and by the file of each of its vCPUs.  It holds its
 * VMM process's mm_struct (not the memory behind it: that goes when the process does)
 * and a share of the host's virtualization extension.  vCPUs are added under
 * vm->lock and live as long as the VM, so that the list may be read without it.
 */
#include <linux/cred.h>
#include <linux/idr.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>

#include "apic/lapic.h"
#include "mote.h"
#include "vendor.h"

static DEFINE_IDA(vm_ids);

/* ---- the map of MSRs that exit --------------------------------------------------- */

/* Of VMs without an MSR filter; made for the first of them. */
static void *vm_shared_map;

int mote_vm_get_msr_map(struct mote_vm *vm)
{
	bool own = vm->filters[MOTE_FILTER_MSR];
	void *map;

	vm->msr_map = own ? NULL : READ_ONCE(vm_shared_map);
	if (vm->msr_map)
		return 0;
	vm->msr_map = alloc_pages_exact(mote_ops->msr_map_size, GFP_KERNEL_ACCOUNT);
	if (!vm->msr_map)
		return -ENOMEM;
	mote_ops->init_msr_map(vm);
	map = own ? NULL : cmpxchg(&vm_shared_map, NULL, vm->msr_map);
	if (map) {
		free_pages_exact(vm->msr_map, mote_ops->msr_map_size);
		vm->msr_map = map;
	}
	return 0;
}

void mote_vm_free_shared_map(void)
{
	if (vm_shared_map)
		free_pages_exact(vm_shared_map, mote_ops->msr_map_size);
}

/* ---- life ------------------------------------------------------------------------- */

struct mote_vm *mote_vm_create(const struct mote_vm_config *config)
{
	struct mote_vm *vm;
	int err;

	if (config->flags & ~(MOTE_VM_HLT_EXIT | MOTE_VM_LAPIC | MOTE_VM_RDTSC_EXIT) ||
	    memchr_inv(config->reserved, 0, sizeof(config->reserved)))
		return ERR_PTR(-EINVAL);
	vm = kzalloc(sizeof(*vm), GFP_KERNEL_ACCOUNT);
	if (!vm)
		return ERR_PTR(-ENOMEM);
	err = mote_time_set_khz(vm, config->tsc_khz) ?: mote_host_get(current_uid());
	if (err)
		goto err_free;

	kref_init(&vm->ref);
	mutex_init(&vm->lock);
	INIT_LIST_HEAD(&vm->irqfds);
	xa_init(&vm->watched);
	vm->flags = config->flags;
	vm->uid = current_uid();
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
	if (!err)
		return vm;

	cleanup_srcu_struct(&vm->srcu);
err_free_id:
	ida_free(&vm_ids, vm->id);
err_drop_mm:
	mmdrop(vm->mm);
	mote_host_put(vm->uid);
err_free:
	kfree(vm);
	return ERR_PTR(err);
}

static void vm_free(struct kref *ref)
{
	struct mote_vm *vm = container_of(ref, struct mote_vm, ref);
	struct mote_vcpu *vcpu;
	u32 i;

	mote_eventfds_destroy(vm);
	/* Memory first: its notifiers may still look at the vCPUs. */
	mote_mem_destroy(vm);
	mote_vm_for_each_vcpu(vm, i, vcpu)
		mote_vcpu_destroy(vcpu);
	for (i = 0; i < ARRAY_SIZE(vm->vcpus); i++)
		kfree(vm->vcpus[i]);
	if (vm->msr_map && vm->msr_map != vm_shared_map)
		free_pages_exact(vm->msr_map, mote_ops->msr_map_size);
	free_pages((unsigned long)vm->vendor, 1);
	xa_destroy(&vm->watched);
	cleanup_srcu_struct(&vm->srcu);
	for (i = 0; i < MOTE_NR_FILTERS; i++)
		kfree(vm->filters[i]);
	ida_free(&vm_ids, vm->id);
	mmdrop(vm->mm);
	mote_host_put(vm->uid);
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
