// SPDX-License-Identifier: GPL-2.0
/* libmote: words for the numbers of the ABI. */
#include <stddef.h>
#include <string.h>

#include "libmote.h"

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

static const char *name_of(const char *const *names, size_t nr, unsigned int value)
{
	return value < nr && names[value] ? names[value] : "unknown";
}

const char *mote_vendor_name(unsigned int vendor)
{
	static const char *const names[] = {
		[MOTE_VENDOR_NONE] = "none",
		[MOTE_VENDOR_VMX] = "vmx",
		[MOTE_VENDOR_SVM] = "svm",
	};

	return name_of(names, ARRAY_SIZE(names), vendor);
}

const char *mote_feature_name(unsigned int feature)
{
	static const char *const names[MOTE_NR_FEATURES] = {
		[MOTE_FEATURE_NPT] = "npt",
		[MOTE_FEATURE_UNRESTRICTED] = "unrestricted",
		[MOTE_FEATURE_ASID] = "asid",
		[MOTE_FEATURE_NRIP] = "nrip",
		[MOTE_FEATURE_DECODE_ASSISTS] = "decode-assists",
		[MOTE_FEATURE_FLUSH_BY_ASID] = "flush-by-asid",
		[MOTE_FEATURE_NPT_2M] = "npt-2m",
		[MOTE_FEATURE_NPT_1G] = "npt-1g",
		[MOTE_FEATURE_NPT_AD] = "npt-ad",
		[MOTE_FEATURE_TSC_SCALING] = "tsc-scaling",
		[MOTE_FEATURE_PREEMPTION_TIMER] = "preemption-timer",
		[MOTE_FEATURE_TPR_SHADOW] = "tpr-shadow",
		[MOTE_FEATURE_VNMI] = "vnmi",
		[MOTE_FEATURE_VGIF] = "vgif",
		[MOTE_FEATURE_PAUSE_FILTER] = "pause-filter",
		[MOTE_FEATURE_CLEAN_BITS] = "clean-bits",
		[MOTE_FEATURE_XSAVE] = "xsave",
		[MOTE_FEATURE_PML] = "pml",
	};

	return name_of(names, ARRAY_SIZE(names), feature);
}

const char *mote_obstacle_name(unsigned int code)
{
	static const char *const names[] = {
		[MOTE_OBSTACLE_NO_EXTENSION] = "no-extension",
		[MOTE_OBSTACLE_FIRMWARE] = "firmware",
		[MOTE_OBSTACLE_HELD] = "held",
		[MOTE_OBSTACLE_FEATURE] = "feature",
		[MOTE_OBSTACLE_LOCKDOWN] = "lockdown",
		[MOTE_OBSTACLE_ASYMMETRIC] = "asymmetric",
		[MOTE_OBSTACLE_ENABLE] = "enable",
		[MOTE_OBSTACLE_CONTROL] = "control",
		[MOTE_OBSTACLE_KERNEL] = "kernel",
	};

	return name_of(names, ARRAY_SIZE(names), code);
}

const char *mote_exit_name(unsigned int reason)
{
	static const char *const names[MOTE_NR_EXITS] = {
		[MOTE_EXIT_NONE] = "none",
		[MOTE_EXIT_INTERRUPT] = "interrupt",
		[MOTE_EXIT_NMI] = "nmi",
		[MOTE_EXIT_EXCEPTION] = "exception",
		[MOTE_EXIT_INTERRUPT_WINDOW] = "interrupt-window",
		[MOTE_EXIT_NMI_WINDOW] = "nmi-window",
		[MOTE_EXIT_CPUID] = "cpuid",
		[MOTE_EXIT_HLT] = "hlt",
		[MOTE_EXIT_PIO] = "pio",
		[MOTE_EXIT_RDMSR] = "rdmsr",
		[MOTE_EXIT_WRMSR] = "wrmsr",
		[MOTE_EXIT_HYPERCALL] = "hypercall",
		[MOTE_EXIT_MMIO] = "mmio",
		[MOTE_EXIT_NPF] = "npf",
		[MOTE_EXIT_XSETBV] = "xsetbv",
		[MOTE_EXIT_CR] = "cr",
		[MOTE_EXIT_DR] = "dr",
		[MOTE_EXIT_CACHE] = "cache",
		[MOTE_EXIT_PMC] = "pmc",
		[MOTE_EXIT_MWAIT] = "mwait",
		[MOTE_EXIT_PAUSE] = "pause",
		[MOTE_EXIT_UNDEFINED] = "undefined",
		[MOTE_EXIT_SHUTDOWN] = "shutdown",
		[MOTE_EXIT_FAIL_ENTRY] = "fail-entry",
		[MOTE_EXIT_MEMORY] = "memory",
		[MOTE_EXIT_INIT] = "init",
		[MOTE_EXIT_TIMER] = "timer",
		[MOTE_EXIT_UNKNOWN] = "unknown",
		[MOTE_EXIT_EOI] = "eoi",
		[MOTE_EXIT_TASK_SWITCH] = "task-switch",
		[MOTE_EXIT_WATCH] = "watch",
		[MOTE_EXIT_RDTSC] = "rdtsc",
	};

	return name_of(names, ARRAY_SIZE(names), reason);
}

int mote_exit_reason(const char *name)
{
	for (int reason = 0; reason < MOTE_NR_EXITS; reason++)
		if (!strcmp(mote_exit_name(reason), name))
			return reason;
	return -1;
}
