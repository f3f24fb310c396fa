/* SPDX-License-Identifier: GPL-2.0 */
/*
 * QUIRK(bochs 2.7): VT-x where a flag of one guest shows in another, and where the host's
 * interrupts wait until a guest with IF clear makes an exit.
 */
#ifndef MOTE_VMX_BOCHS_H
#define MOTE_VMX_BOCHS_H

#include <asm/msr.h>
#include <asm/tsc.h>

#include "../vmx.h"

/*
 * The guest's interruptibility state.  Only an NMI that was injected, or a state
 * that was set, can have begun to block NMIs; yet Bochs 2.7 has one flag for all
 * guests of a CPU, which an entry does not clear.
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
 * The guest is left after so many milliseconds if nothing else has ended its
 * run.  On a host with a tick that does not happen; but Bochs 2.7 holds back
 * host interrupts while a guest runs with IF clear, as it was at the entry.
 * The field is not saved at exits: every entry starts anew, without a VMWRITE.
 */
#define VMX_MAX_RUN_MS 5

static inline u32 vmx_max_run(void)
{
	u64 value = 0;

	rdmsrl_safe(MSR_IA32_VMX_MISC, &value);
	return (u64)tsc_khz * VMX_MAX_RUN_MS >> vmx_misc_preemption_timer_rate(value);
}

#endif /* MOTE_VMX_BOCHS_H */
