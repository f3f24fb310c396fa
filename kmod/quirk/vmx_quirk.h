/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What some CPUs with VT-x do wrong, those that let a guest see the L1 data cache, and Bochs's;
 * and what perf leaves armed on others.
 */
#ifndef MOTE_VMX_QUIRK_H
#define MOTE_VMX_QUIRK_H

#include <linux/jump_label.h>
#include <asm/msr.h>
#include <asm/tsc.h>

#include "../vmx.h"

/* vmx_l1tf.c; @after_host: more of the host ran since the last exit than its handling by mote. */
DECLARE_STATIC_KEY_FALSE(vmx_l1d_flush_key);
int vmx_l1d_setup(void);
void vmx_l1d_teardown(void);
void vmx_l1d_flush(bool after_host);

/* vmx_perf.c: perf has MSRs to be switched at entries; with interrupts off, before one. */
DECLARE_STATIC_KEY_FALSE(vmx_perf_key);
void vmx_setup_perf(void);
void vmx_switch_perf(struct vmx_vcpu *v);

/*
 * QUIRK(bochs 2.7): one flag says for all guests of a CPU that NMIs are blocked, and an entry
 * does not clear it.  Only an NMI that was injected, or a state that was set, can have begun
 * to block them.
 */
static inline u32 vmx_interruptibility(struct vmx_vcpu *v)
{
	u32 state = vmread32(GUEST_INTERRUPTIBILITY_INFO);

	if (unlikely(state & GUEST_INTR_STATE_NMI && !v->nmi_begun)) {
		state &= ~GUEST_INTR_STATE_NMI;
		vmwrite32(GUEST_INTERRUPTIBILITY_INFO, state);
	}
	v->nmi_begun = state & GUEST_INTR_STATE_NMI;
	return state;
}

static inline void vmx_block_nmis(struct vmx_vcpu *v, bool block)
{
	u32 state = vmread32(GUEST_INTERRUPTIBILITY_INFO) & ~GUEST_INTR_STATE_NMI;

	v->nmi_begun = block;
	vmwrite32(GUEST_INTERRUPTIBILITY_INFO, block ? state | GUEST_INTR_STATE_NMI : state);
}

/*
 * QUIRK(bochs 2.7): host interrupts wait while a guest runs with IF clear, as it was at the
 * entry.  So the guest is left after five milliseconds if nothing else has ended its run; on a
 * host with a tick that does not happen.  The field is not saved at exits: every entry starts
 * anew, without a VMWRITE.
 */
static inline u32 vmx_max_run(void)
{
	u64 value = 0;

	rdmsrl_safe(MSR_IA32_VMX_MISC, &value);
	return (u64)tsc_khz * 5 >> vmx_misc_preemption_timer_rate(value);
}

#endif /* MOTE_VMX_QUIRK_H */
