// SPDX-License-Identifier: GPL-2.0
/*
 * QUIRK(family 10h, erratum 383): a guest that changes the size of a page may get two of its
 * translations into the TLB, for which the CPU raises a machine check.
 */
#include <asm/mce.h>
#include <asm/tlbflush.h>

#include "svm_quirk.h"

#define DC_CFG_BIT 47		/* reports it in a way that can be survived */
#define MULTI_MATCH 0xb600000000010015ull
#define MC_BANKS 6

void svm_erratum_383_report(void)
{
	if (boot_cpu_has_bug(X86_BUG_AMD_TLB_MMATCH))
		svm_msr_bit(MSR_AMD64_DC_CFG, DC_CFG_BIT, true);
}

bool svm_is_erratum_383(void)
{
	u64 status;
	u32 i;

	if (!boot_cpu_has_bug(X86_BUG_AMD_TLB_MMATCH) ||
	    rdmsrl_safe(MSR_IA32_MC0_STATUS, &status) ||
	    (status & ~MCI_STATUS_OVER) != MULTI_MATCH)
		return false;
	for (i = 0; i < MC_BANKS; i++)
		wrmsrl_safe(MSR_IA32_MCx_STATUS(i), 0);
	if (!rdmsrl_safe(MSR_IA32_MCG_STATUS, &status))
		wrmsrl_safe(MSR_IA32_MCG_STATUS, status & ~MCG_STATUS_MCIP);
	/* With the rest go the two. */
	__flush_tlb_all();
	return true;
}
