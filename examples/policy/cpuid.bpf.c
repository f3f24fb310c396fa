// SPDX-License-Identifier: GPL-2.0
/* Another name for the processor: CPUID's brand string (SDM 2A, "CPUID", leaves 0x80000002 to 0x80000004). */
#include <policy.bpf.h>

static const __u32 brand[3][4] = {
	{ 0x72702041, 0x7365636f, 0x20726f73, 0x2020666f },	/* "A processor of  " */
	{ 0x46504265, 0x6d207327, 0x6e696b61, 0x00000067 },	/* "eBPF's making" */
};

MOTE_POLICY(cpuid)
{
	__u32 n = exit->number - 0x80000002;

	if (exit->kind != MOTE_FILTER_CPUID || n > 2)
		return 0;
	exit->gpr[MOTE_RAX] = brand[n][0];
	exit->gpr[MOTE_RBX] = brand[n][1];
	exit->gpr[MOTE_RCX] = brand[n][2];
	exit->gpr[MOTE_RDX] = brand[n][3];
	exit->action = MOTE_POLICY_COMPLETE;
	return 0;
}

char _license[] SEC("license") = "GPL";
