// SPDX-License-Identifier: GPL-2.0
/*
 * What a guest finds in its MSRs: one table for both vendors, so that a guest
 * sees the same on each.  Pure functions; docs/exits.md explains the rows.
 *
 * An MSR that is in no row is user space's to answer.  The local APIC's (0x800
 * to 0x8ff, TSC deadline) are not here: exit.c looks first whether the vCPU has
 * a local APIC.  Of the paravirtual ones the values are here, and pv/ has what
 * a write does.
 */
#include <linux/bits.h>
#include <linux/kernel.h>
#include <linux/stddef.h>
#include <linux/string.h>
#include <asm/apicdef.h>
#include <asm/kvm_para.h>
#include <asm/msr-index.h>

#include "guest.h"

/* Not in <asm/msr-index.h>. */
#define MTRR_CAP_WC BIT(10)
#define MTRR_DEF_TYPE_TYPE 0x7
#define MTRR_DEF_TYPE_FE BIT(10)
#define MTRR_DEF_TYPE_E BIT(11)
#define APIC_BASE_FLAGS (MSR_IA32_APICBASE_BSP | X2APIC_ENABLE | MSR_IA32_APICBASE_ENABLE)
#define HWCR_TLBCACHEDIS BIT(3)
#define HWCR_TLBFFDIS BIT(6)
#define HWCR_IGNNE BIT(8)
#define HWCR_MCI_STATUS_WR BIT(18)
#define HWCR_TSC_FREQ_SEL BIT(24)
#define VM_CR_LOCK BIT(3)
#define VM_CR_SVMDIS BIT(4)

/* CPUID follows its limit and XD (mote_cpuid_patch()); MONITOR and MWAIT there are none. */
#define MISC_ENABLE_WRITABLE						\
	(MSR_IA32_MISC_ENABLE_FAST_STRING | MSR_IA32_MISC_ENABLE_TM1 |	\
	 MSR_IA32_MISC_ENABLE_EMON | MSR_IA32_MISC_ENABLE_BTS_UNAVAIL |	\
	 MSR_IA32_MISC_ENABLE_PEBS_UNAVAIL | MSR_IA32_MISC_ENABLE_ENHANCED_SPEEDSTEP | \
	 MSR_IA32_MISC_ENABLE_MWAIT | MSR_IA32_MISC_ENABLE_LIMIT_CPUID | \
	 MSR_IA32_MISC_ENABLE_XTPR_DISABLE | MSR_IA32_MISC_ENABLE_XD_DISABLE)

/* Any that is not zero will do; bits 63:32 on Intel, 31:0 on AMD. */
#define UCODE_REVISION 0x0000000101000065ull

/* Bus ratio 4 in bits 44:40: there are guests that divide by it. */
#define PERF_STATUS (4ull << 40)

#define ALL (~0ull)

static bool is_efer(u64 value, const struct mote_caps *caps)
{
	return !(value & ~caps->efer);
}

/* Eight types of UC, WC, WT, WP, WB, UC- (SDM 3A, "IA32_PAT MSR"): not 2, 3 or above 7. */
static bool is_pat(u64 value, const struct mote_caps *caps)
{
	return !(value & 0xf8f8f8f8f8f8f8f8) && !(value & ~(value >> 1) & 0x0202020202020202);
}

/* UC, WC, WT, WP or WB (SDM 3A, "IA32_MTRR_DEF_TYPE MSR"): not 2, 3 or 7. */
static bool is_mtrr_def_type(u64 value, const struct mote_caps *caps)
{
	return BIT(value & MTRR_DEF_TYPE_TYPE) & 0x73;
}

/* The local APIC stays where it is; x2APIC mode needs the enable bit (SDM 3A, "x2APIC States"). */
static bool is_apic_base(u64 value, const struct mote_caps *caps)
{
	return (value & ~APIC_BASE_FLAGS) == APIC_DEFAULT_PHYS_BASE &&
	       !(value & X2APIC_ENABLE && !(value & MSR_IA32_APICBASE_ENABLE));
}

bool mote_apic_base_can_change(u64 from, u64 to)
{
	bool was_on = from & MSR_IA32_APICBASE_ENABLE, is_on = to & MSR_IA32_APICBASE_ENABLE;
	bool was_x2 = from & X2APIC_ENABLE, is_x2 = to & X2APIC_ENABLE;

	/* Neither from off to x2APIC in one step, nor back from it to xAPIC. */
	return !(is_x2 && !was_on) && !(was_x2 && is_on && !is_x2);
}

#define STATE(i, f, w, v) { .first = (i), .last = (i), .kind = MOTE_MSR_STATE, \
			    .field = offsetof(struct mote_msrs, f), .writable = (w), .valid = (v) }
#define FIXED(i, l, r) { .first = (i), .last = (l), .kind = MOTE_MSR_FIXED, .value = (r) }
#define IGNORED(i, l, r, w) { .first = (i), .last = (l), .kind = MOTE_MSR_IGNORED, \
			      .value = (r), .writable = (w) }

/* Ascending. */
static const struct mote_msr msrs[] = {
	{ .first = MSR_IA32_TSC, .last = MSR_IA32_TSC, .kind = MOTE_MSR_TSC, .writable = ALL },
	FIXED(MSR_IA32_PLATFORM_ID, MSR_IA32_PLATFORM_ID, 0),
	STATE(MSR_IA32_APICBASE, apic_base, ALL, is_apic_base),
	IGNORED(MSR_IA32_EBL_CR_POWERON, MSR_IA32_EBL_CR_POWERON, 0, ALL),
	FIXED(MSR_SMI_COUNT, MSR_SMI_COUNT, 0),
	/* Locked, with VMX and SGX off. */
	FIXED(MSR_IA32_FEAT_CTL, MSR_IA32_FEAT_CTL, FEAT_CTL_LOCKED),
	{ .first = MSR_IA32_TSC_ADJUST, .last = MSR_IA32_TSC_ADJUST,
	  .kind = MOTE_MSR_TSC_ADJUST, .writable = ALL },
	/* No update is loaded: the revision stays. */
	IGNORED(MSR_IA32_UCODE_WRITE, MSR_IA32_UCODE_WRITE, 0, ALL),
	IGNORED(MSR_IA32_UCODE_REV, MSR_IA32_UCODE_REV, UCODE_REVISION, ALL),
	/* Counters do not count: guests that clear them at start get away with it. */
	IGNORED(MSR_IA32_PERFCTR0, MSR_IA32_PERFCTR0 + 7, 0, ALL),
	FIXED(MSR_PLATFORM_INFO, MSR_PLATFORM_INFO, 0),
	/* Neither fixed nor variable ranges: the default type is for all of memory. */
	FIXED(MSR_MTRRcap, MSR_MTRRcap, MTRR_CAP_WC),
	IGNORED(MSR_MISC_FEATURES_ENABLES, MSR_MISC_FEATURES_ENABLES, 0, 0),
	STATE(MSR_IA32_SYSENTER_CS, sysenter_cs, U32_MAX, NULL),
	STATE(MSR_IA32_SYSENTER_ESP, sysenter_esp, ALL, mote_is_canonical),
	STATE(MSR_IA32_SYSENTER_EIP, sysenter_eip, ALL, mote_is_canonical),
	/* No banks. */
	FIXED(MSR_IA32_MCG_CAP, MSR_IA32_MCG_CAP, 0),
	IGNORED(MSR_IA32_MCG_STATUS, MSR_IA32_MCG_STATUS, 0, 0),
	IGNORED(MSR_P6_EVNTSEL0, MSR_P6_EVNTSEL0 + 7, 0, ALL),
	FIXED(MSR_IA32_PERF_STATUS, MSR_IA32_PERF_STATUS, PERF_STATUS),
	STATE(MSR_IA32_MISC_ENABLE, misc_enable, MISC_ENABLE_WRITABLE, NULL),
	/* No branch records; BTF would change what single-stepping does, so it is refused. */
	IGNORED(MSR_IA32_DEBUGCTLMSR, MSR_IA32_DEBUGCTLMSR, 0, 0),
	FIXED(MSR_IA32_LASTBRANCHFROMIP, MSR_IA32_LASTINTTOIP, 0),
	STATE(MSR_IA32_CR_PAT, pat, ALL, is_pat),
	STATE(MSR_MTRRdefType, mtrr_def_type,
	      MTRR_DEF_TYPE_TYPE | MTRR_DEF_TYPE_FE | MTRR_DEF_TYPE_E, is_mtrr_def_type),
	IGNORED(MSR_CORE_PERF_FIXED_CTR0, MSR_CORE_PERF_FIXED_CTR3, 0, ALL),
	FIXED(MSR_IA32_PERF_CAPABILITIES, MSR_IA32_PERF_CAPABILITIES, 0),
	IGNORED(MSR_CORE_PERF_FIXED_CTR_CTRL, MSR_CORE_PERF_GLOBAL_OVF_CTRL, 0, ALL),

	/* KVM's; bit 0 enables. */
	STATE(MSR_KVM_WALL_CLOCK_NEW, pv_wall_clock, ~3ull, NULL),
	STATE(MSR_KVM_SYSTEM_TIME_NEW, pv_system_time, ~2ull, NULL),
	STATE(MSR_KVM_STEAL_TIME, pv_steal_time, ~0x3eull, NULL),
	STATE(MSR_KVM_PV_EOI_EN, pv_eoi, ~2ull, NULL),

	STATE(MSR_EFER, efer, ALL, is_efer),
	STATE(MSR_STAR, star, ALL, NULL),
	STATE(MSR_LSTAR, lstar, ALL, mote_is_canonical),
	STATE(MSR_CSTAR, cstar, ALL, mote_is_canonical),
	STATE(MSR_SYSCALL_MASK, sfmask, U32_MAX, NULL),
	STATE(MSR_KERNEL_GS_BASE, kernel_gs_base, ALL, mote_is_canonical),

	IGNORED(MSR_K7_EVNTSEL0, MSR_K7_PERFCTR3, 0, ALL),
	IGNORED(MSR_AMD64_SYSCFG, MSR_AMD64_SYSCFG, 0, 0),
	/* TscFreqSel: Linux calls the firmware buggy without it. */
	IGNORED(MSR_K7_HWCR, MSR_K7_HWCR, HWCR_TSC_FREQ_SEL,
		HWCR_TLBCACHEDIS | HWCR_TLBFFDIS | HWCR_IGNNE | HWCR_MCI_STATUS_WR |
		HWCR_TSC_FREQ_SEL),
	FIXED(MSR_K8_TOP_MEM1, MSR_K8_TOP_MEM1, 0),
	FIXED(MSR_K8_TOP_MEM2, MSR_K8_TOP_MEM2, 0),
	IGNORED(MSR_AMD64_NB_CFG, MSR_AMD64_NB_CFG, 0, ALL),
	IGNORED(MSR_AMD64_PATCH_LOADER, MSR_AMD64_PATCH_LOADER, 0, ALL),
	IGNORED(MSR_K8_INT_PENDING_MSG, MSR_K8_INT_PENDING_MSG, 0, 0),
	IGNORED(MSR_FAM10H_MMIO_CONF_BASE, MSR_FAM10H_MMIO_CONF_BASE, 0, 0),
	/* P-state limit, control, status and definitions. */
	FIXED(MSR_AMD_PERF_CTL - 1, MSR_AMD_PSTATE_DEF_BASE + 7, 0),
	/* SVM is disabled, and that is locked. */
	IGNORED(MSR_VM_CR, MSR_VM_CR, VM_CR_LOCK | VM_CR_SVMDIS, VM_CR_LOCK | VM_CR_SVMDIS),
	FIXED(MSR_AMD64_OSVW_ID_LENGTH, MSR_AMD64_OSVW_STATUS, 0),
	IGNORED(MSR_F15H_PERF_CTL0, MSR_F15H_PERF_CTR5, 0, ALL),
	IGNORED(MSR_F16H_L2I_PERF_CTL, MSR_F16H_L2I_PERF_CTL + 7, 0, ALL),
	IGNORED(MSR_F15H_NB_PERF_CTL, MSR_F15H_NB_PERF_CTL + 7, 0, ALL),
	/* LFENCE serializes: the host's kernel has set it where it is not so anyway. */
	IGNORED(MSR_AMD64_DE_CFG, MSR_AMD64_DE_CFG, MSR_AMD64_DE_CFG_LFENCE_SERIALIZE,
		MSR_AMD64_DE_CFG_LFENCE_SERIALIZE),
	IGNORED(MSR_AMD64_BU_CFG2, MSR_AMD64_BU_CFG2, 0, 0),
};

const struct mote_msr *mote_msr_find(u32 index)
{
	const struct mote_msr *row = msrs;
	u32 nr = ARRAY_SIZE(msrs);

	/* The last row that starts at or before the index. */
	for (; nr > 1; nr -= nr / 2)
		if (row[nr / 2].first <= index)
			row += nr / 2;
	return index >= row->first && index <= row->last ? row : NULL;
}

bool mote_msr_valid(const struct mote_msr *row, u64 value, const struct mote_caps *caps)
{
	return row->kind != MOTE_MSR_FIXED && !(value & ~row->writable) &&
	       (!row->valid || row->valid(value, caps));
}

bool mote_msrs_valid(const struct mote_msrs *values, const struct mote_caps *caps)
{
	const struct mote_msr *row;

	for (row = msrs; row < msrs + ARRAY_SIZE(msrs); row++) {
		const u64 *value = (const void *)values + row->field;

		if (row->kind == MOTE_MSR_STATE && !mote_msr_valid(row, *value, caps))
			return false;
	}
	return !memchr_inv(values->reserved, 0, sizeof(values->reserved));
}
