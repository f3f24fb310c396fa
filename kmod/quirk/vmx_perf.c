// SPDX-License-Identifier: GPL-2.0
/*
 * QUIRK(perf): what counts the host alone, or samples it by PEBS, goes on in a guest unless the
 * CPU is told otherwise at each entry.
 */
#include <asm/perf_event.h>

#include "vmx_quirk.h"

DEFINE_STATIC_KEY_FALSE(vmx_perf_key);

/* Perf's list is there from the start, or never: without a PMU that it drives there is none. */
void vmx_setup_perf(void)
{
	bool has_msrs;
	int nr;

	preempt_disable();
	has_msrs = perf_guest_get_msrs(&nr, NULL);
	preempt_enable();
	if (has_msrs)
		static_branch_enable(&vmx_perf_key);
	else
		static_branch_disable(&vmx_perf_key);
}

/*
 * What counts the host alone stops for the guest, and PEBS, which writes its records to linear
 * addresses; perf may change its mind by IPI.  The CPU switches it, so that no NMI comes between.
 */
void vmx_switch_perf(struct vmx_vcpu *v)
{
	int nr = 0;
	const struct perf_guest_switch_msr *msrs = perf_guest_get_msrs(&nr, NULL);
	u32 used = vmx_fill_perf(&v->perf, msrs, msrs ? nr : 0);

	/* One that the CPU disables only at the entry may still write a record there. */
	if (used && v->perf.stops_pebs)
		wrmsrl(MSR_IA32_PEBS_ENABLE, 0);
	if (v->perf.nr == used)
		return;
	v->perf.nr = used;
	vmwrite32(VM_ENTRY_MSR_LOAD_COUNT, used);
	vmwrite32(VM_EXIT_MSR_LOAD_COUNT, used);
}
