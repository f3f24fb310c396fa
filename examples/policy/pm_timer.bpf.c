// SPDX-License-Identifier: GPL-2.0
/*
 * The timer of ACPI's power management, in the kernel.  Firmware waits by it: a UEFI boot reads it half a
 * million times.  To be there from the machine's first exit on (mote policy run): it does not count from
 * where mote's own is.
 */
#include <policy.bpf.h>

#define PORT 0x608 /* where mote's ACPI tables say that it is */
#define HZ 3579545 /* ACPI, "Power Management Timer" */
#define NS_PER_S 1000000000

MOTE_POLICY(pm_timer)
{
	__u64 ns;

	if (exit->kind != MOTE_FILTER_PORT || exit->number != PORT || exit->size != 4 || exit->flags ||
	    exit->access != MOTE_ACCESS_READ)
		return 0;
	ns = bpf_ktime_get_ns();
	exit->gpr[MOTE_RAX] = (__u32)(ns / NS_PER_S * HZ + ns % NS_PER_S * HZ / NS_PER_S);
	exit->action = MOTE_POLICY_COMPLETE;
	return 0;
}

char _license[] SEC("license") = "GPL";
