/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Logs of what is written: by faults (mem.c), or by CPUs that make them themselves.
 *
 * What a leaf loses when its page is to be noticed again is &mote_npt_format.log: the permission
 * to write, or the dirty bit.
 */
#ifndef MOTE_LOG_H
#define MOTE_LOG_H

#include "../mem.h"

static inline bool slot_logs_faults(const struct mem_slot *slot)
{
	const struct mote_npt_format *format = slot->vm->npt.format;

	return slot->dirty && format->log == format->write;
}

/* In the vCPU's thread. */
static inline void slot_log(const struct mem_slot *slot, struct mote_vcpu *vcpu, u64 gpa)
{
	if (!test_and_set_bit((gpa - slot->config.gpa) >> PAGE_SHIFT, slot->dirty))
		vcpu->run->dirty_pages++;
}

/*
 * vmx_log.c; VMCS is current.  What the CPU has noted is taken behind an exit, before interrupts
 * are on: who sends one may rely on what was written until then.  With the flush at which the
 * VM's first log begins, what was noted before is dropped.
 */
struct vmx_vcpu;
void vmx_init_log(struct vmx_vcpu *v);
void vmx_begin_log(struct vmx_vcpu *v);
void vmx_take_log(struct vmx_vcpu *v);
bool vmx_may_log(struct vmx_vcpu *v);	/* false: there is an exit in place of the entry */

#endif /* MOTE_LOG_H */
