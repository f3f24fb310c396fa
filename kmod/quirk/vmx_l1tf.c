// SPDX-License-Identifier: GPL-2.0
/*
 * QUIRK(L1TF): CPUs whose guests can read what is in the L1 data cache.
 *
 * The host's choice for guests (Documentation/admin-guide/hw-vuln/l1tf.rst):
 * the L1 data cache is emptied before each entry, or before those that follow
 * code of the host which may have left secrets there.
 */
#include <linux/gfp.h>
#include <asm/hardirq.h>

#include "vmx_quirk.h"

DEFINE_STATIC_KEY_FALSE(vmx_l1d_flush_key);
static bool vmx_l1d_always;
static u8 *vmx_l1d_pages;
#define VMX_L1D_ORDER 4

static enum vmx_l1d_flush_state vmx_l1d_policy(void)
{
	u64 capabilities = 0;

	if (boot_cpu_has(X86_FEATURE_ARCH_CAPABILITIES))
		rdmsrl_safe(MSR_IA32_ARCH_CAPABILITIES, &capabilities);
	if (!boot_cpu_has_bug(X86_BUG_L1TF) || capabilities & ARCH_CAP_SKIP_VMENTRY_L1DFLUSH)
		return VMENTER_L1D_FLUSH_NOT_REQUIRED;
	if (l1tf_mitigation == L1TF_MITIGATION_FULL_FORCE)
		return VMENTER_L1D_FLUSH_ALWAYS;
	/* What kvm_intel's parameter said, if it was loaded: then it is not AUTO. */
	if (l1tf_vmx_mitigation != VMENTER_L1D_FLUSH_AUTO)
		return l1tf_vmx_mitigation;
	return l1tf_mitigation == L1TF_MITIGATION_OFF ? VMENTER_L1D_FLUSH_NEVER :
	       l1tf_mitigation == L1TF_MITIGATION_FULL ? VMENTER_L1D_FLUSH_ALWAYS :
							 VMENTER_L1D_FLUSH_COND;
}

int vmx_l1d_setup(void)
{
	enum vmx_l1d_flush_state policy = vmx_l1d_policy();

	vmx_l1d_always = policy == VMENTER_L1D_FLUSH_ALWAYS;
	static_branch_disable(&vmx_l1d_flush_key);
	if (!vmx_l1d_always && policy != VMENTER_L1D_FLUSH_COND)
		return 0;
	if (!boot_cpu_has(X86_FEATURE_FLUSH_L1D)) {
		vmx_l1d_pages = (u8 *)__get_free_pages(GFP_KERNEL | __GFP_ZERO, VMX_L1D_ORDER);
		if (!vmx_l1d_pages)
			return -ENOMEM;
	}
	static_branch_enable(&vmx_l1d_flush_key);
	return 0;
}

void vmx_l1d_teardown(void)
{
	free_pages((unsigned long)vmx_l1d_pages, VMX_L1D_ORDER);
	vmx_l1d_pages = NULL;
}

void vmx_l1d_flush(bool after_host)
{
	u32 size = PAGE_SIZE << VMX_L1D_ORDER, i;

#if IS_ENABLED(CONFIG_KVM_INTEL)
	/* The kernel's interrupt entry sets this one. */
	after_host |= kvm_get_cpu_l1tf_flush_l1d();
	kvm_clear_cpu_l1tf_flush_l1d();
#endif
	if (!after_host && !vmx_l1d_always)
		return;
	if (static_cpu_has(X86_FEATURE_FLUSH_L1D)) {
		wrmsrl(MSR_IA32_FLUSH_CMD, L1D_FLUSH);
		return;
	}
	/* Without the microcode: load other lines, once the TLB has their pages. */
	for (i = 0; i < size; i += PAGE_SIZE)
		READ_ONCE(vmx_l1d_pages[i]);
	cpuid_eax(0);
	for (i = 0; i < size; i += 64)
		READ_ONCE(vmx_l1d_pages[i]);
	asm volatile("lfence" : : : "memory");
}
