// SPDX-License-Identifier: GPL-2.0
/* A guest may access the MSRs of a list, and no others: the rest is #GP, whatever mote would answer. */
#include <policy.bpf.h>

static const struct {
	__u32 first, last;
} list[] = {
	{ 0x1b, 0x1b },			/* IA32_APIC_BASE */
	{ 0xfe, 0xfe },			/* IA32_MTRRCAP */
	{ 0x174, 0x176 },		/* SYSENTER */
	{ 0x200, 0x2ff },		/* MTRRs and PAT */
	{ 0x802, 0x83f },		/* x2APIC */
	{ 0x4b564d00, 0x4b564d08 },	/* paravirtual clock, PV EOI and the like */
	{ 0xc0000080, 0xc0000103 },	/* EFER to TSC_AUX */
};

#define NR (sizeof(list) / sizeof(list[0]))

MOTE_POLICY(msr_list)
{
	__u32 msr = exit->number;

	if (exit->kind != MOTE_FILTER_MSR)
		return 0;
	for (__u32 i = 0; i < NR; i++)
		if (msr >= list[i].first && msr <= list[i].last)
			return 0;
	exit->action = MOTE_FILTER_DENY;
	return 0;
}

char _license[] SEC("license") = "GPL";
