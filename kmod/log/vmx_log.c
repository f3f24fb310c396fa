// SPDX-License-Identifier: GPL-2.0
/*
 * VT-x: the CPU notes itself what it makes dirty (SDM 3C, "Page-Modification Logging").
 *
 * It fills a page of the vCPU's, from its end, with the addresses of leaves whose dirty bit it
 * sets, and exits where there is no room.  It does so all the time; what is in no slot's log is
 * passed over.
 */
#include <linux/srcu.h>

#include "../vmx.h"
#include "log.h"

#define NR_ENTRIES ((u16)(PAGE_SIZE / sizeof(u64)))

void vmx_init_log(struct vmx_vcpu *v)
{
	if (!mote_has(MOTE_FEATURE_PML))
		return;
	vmwrite64(PML_ADDRESS, __pa(v->log));
	vmwrite16(GUEST_PML_INDEX, v->log_next);
}

void vmx_begin_log(struct vmx_vcpu *v)
{
	bool logs = mote_has(MOTE_FEATURE_PML) && READ_ONCE(v->vcpu.vm->nr_logs);

	if (v->logs == logs)
		return;
	v->logs = logs;
	v->log_next = NR_ENTRIES - 1;
	vmwrite16(GUEST_PML_INDEX, v->log_next);
}

static void vmx_log_entries(struct vmx_vcpu *v, u16 at)
{
	struct mote_vm *vm = v->vcpu.vm;
	int index = srcu_read_lock(&vm->srcu);

	rcu_read_lock();
	while (at != v->log_next) {
		u64 gpa = v->log[++at % NR_ENTRIES];
		const struct mem_slot *slot = slot_find(vm, gpa);

		if (slot && slot->dirty)
			slot_log(slot, &v->vcpu, gpa);
	}
	rcu_read_unlock();
	srcu_read_unlock(&vm->srcu, index);
}

void vmx_take_log(struct vmx_vcpu *v)
{
	u64 quota = READ_ONCE(v->vcpu.run->dirty_quota), pages, room = NR_ENTRIES - 1;
	u16 at = vmread16(GUEST_PML_INDEX);

	if (v->logs && at != v->log_next)
		vmx_log_entries(v, at);
	pages = READ_ONCE(v->vcpu.run->dirty_pages);
	/* One more than may be: pages that are in no slot's log need entries, too. */
	v->log_next = quota ? min(quota - min(pages, quota), room) : room;
	if (v->log_next != at)
		vmwrite16(GUEST_PML_INDEX, v->log_next);
}

bool vmx_may_log(struct vmx_vcpu *v)
{
	u64 quota = READ_ONCE(v->vcpu.run->dirty_quota);

	if (!quota || READ_ONCE(v->vcpu.run->dirty_pages) <= quota)
		return true;
	v->vcpu.exit = (struct mote_exit){
		.reason = MOTE_EXIT_MEMORY, .raw = EXIT_REASON_PML_FULL,
		.npf = { .access = MOTE_ACCESS_WRITE, .error = -EDQUOT },
	};
	return false;
}
