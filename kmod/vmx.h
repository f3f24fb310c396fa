/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A vCPU of VT-x and the VMX instructions, for vmx.c and for those files of quirk/ that
 * serve it.
 */
#ifndef MOTE_VMX_H
#define MOTE_VMX_H

#include <linux/percpu.h>
#include <asm/asm.h>
#include <asm/vmx.h>

#include "arch/vmx_arch.h"
#include "vendor.h"

/* Older headers have no name for it (SDM 3D, "Basic VMX Information"). */
#ifndef VMX_BASIC_TRUE_CTLS
#define VMX_BASIC_TRUE_CTLS BIT_ULL(55)
#endif

#define VMX_PENDING_BS BIT(14)
#define VMX_PENDING_ENABLED BIT(12)
#define VMX_NMI_UNBLOCKED BIT(12)	/* in INTR_INFO and in EPT violations' qualification */
#define VMX_SHADOW (GUEST_INTR_STATE_STI | GUEST_INTR_STATE_MOV_SS)
#define VMX_DR7_GD BIT(13)
#define VMX_DR7_ENABLES (DR_GLOBAL_ENABLE_MASK | DR_LOCAL_ENABLE_MASK)
#define VMX_DR6_BD BIT(13)
#define VMX_VTPR 0x80			/* in the virtual-APIC page */

/* What one CPU can do, and the words that follow from it. */
struct vmx_caps {
	u64 basic;
	u64 ept;		/* IA32_VMX_EPT_VPID_CAP */
	u32 pin, primary, secondary, exit, entry;
};

struct vmx_vcpu {
	struct mote_vcpu vcpu;

	/* Compared before each entry: a field is written only when it changes. */
	u64 rip, rsp, rflags;	/* GUEST_RIP… as the VMCS has them */
	unsigned long host_cr3, host_cr4;
	unsigned long host_rsp;	/* known to the entry code */

	bool launched;		/* VMRESUME, not VMLAUNCH */
	bool in;		/* the guest's state is in the CPU: see vmx_switch_in() */
	bool syscall_in;	/* the MSRs of SYSCALL are, too */
	bool nmi_begun;		/* NMIs may be blocked: see vmx_interruptibility() */
	bool pdptes_stale;	/* to be read from memory before the next entry */
	bool logs;		/* what the CPU notes in @log is some slot's */
	u16 vpid;		/* 0: none, every entry flushes */
	u32 primary;		/* PRIMARY… controls as the VMCS has them */
	u32 windows;		/* MOTE_WINDOW_* that are asked for */

	void *vmcs;		/* a page; and behind it: */
	u8 *vapic;
	u64 *log;		/* see vmx_take_log() */
	u16 log_next;		/* GUEST_PML_INDEX as it was at the entry */
	int active_cpu;		/* that may have parts of the VMCS, -1: none */
	struct hlist_node link;	/* in its vmx_active */

	struct vmx_perf perf;

	u64 cr0_shadow, cr4_shadow; /* what the guest sees of the bits that it does not own */
	u64 cr4_owned;

	/* MSRs that neither the VMCS nor, while out, the CPU keeps. */
	u64 syscall[3];		/* see vmx_syscall_msrs */
	u64 cstar;		/* never used: SYSCALL is #UD in compatibility mode on Intel */
	u64 kernel_gs_base;

	/* The host's, while @in. */
	u64 host_kernel_gs_base, host_fs_base;
	u32 host_debugctl;	/* of this entry */
	u16 host_ds, host_es, host_fs, host_gs, host_ldt;
};

static inline struct vmx_vcpu *to_vmx(struct mote_vcpu *vcpu)
{
	return container_of(vcpu, struct vmx_vcpu, vcpu);
}

/* ---- VMX instructions ---------------------------------------------------- */

/*
 * Every one may be refused (VMfail), and faults where the CPU has left VMX
 * operation (reboot, crash).  Neither is worth more than a count: the entry
 * will fail, and that is an exit to user space.
 */
DECLARE_PER_CPU(u32, vmx_failures);

#define VMX_INSN(name, params, insn, ...)                                             \
static __always_inline bool name params                                               \
{                                                                                     \
	asm goto("1: " insn "\n\t"                                                    \
		 "jbe %l[failed]\n\t"                                                 \
		 _ASM_EXTABLE(1b, %l[failed])                                         \
		 : : __VA_ARGS__ : "cc", "memory" : failed);                          \
	return true;                                                                  \
failed:                                                                               \
	this_cpu_inc(vmx_failures);                                                   \
	return false;                                                                 \
}

VMX_INSN(vmx_vmxon, (u64 hpa), "vmxon %[hpa]", [hpa] "m" (hpa))
VMX_INSN(vmx_vmxoff, (void), "vmxoff", "i" (0))
VMX_INSN(vmx_vmptrld, (u64 hpa), "vmptrld %[hpa]", [hpa] "m" (hpa))
VMX_INSN(vmx_vmclear, (u64 hpa), "vmclear %[hpa]", [hpa] "m" (hpa))
VMX_INSN(vmx_vmwrite, (unsigned long field, unsigned long value), "vmwrite %[value], %[field]",
	 [value] "rm" (value), [field] "r" (field))

/* 128 bits: the EPTP or VPID, and what mote does not use. */
struct vmx_desc {
	u64 tag;
	u64 zero;
};

VMX_INSN(vmx_invept, (u64 type, u64 eptp), "invept %[desc], %[type]",
	 [desc] "m" ((struct vmx_desc){ .tag = eptp }), [type] "r" (type))
VMX_INSN(vmx_invvpid, (u64 type, u16 vpid), "invvpid %[desc], %[type]",
	 [desc] "m" ((struct vmx_desc){ .tag = vpid }), [type] "r" (type))

/* Zero if it is refused. */
static __always_inline unsigned long vmx_vmread(unsigned long field)
{
	unsigned long value = 0;

	asm volatile("1: vmread %[field], %[value]\n"
		     "2:\n\t"
		     _ASM_EXTABLE(1b, 2b)
		     : [value] "+r" (value) : [field] "r" (field) : "cc");
	return value;
}

/* Bits 14:13 of a field's encoding (SDM 3D, "Field Encoding in VMCS"). */
enum vmx_width { VMX_WIDTH_16, VMX_WIDTH_64, VMX_WIDTH_32, VMX_WIDTH_NATURAL };

#define VMX_FIELDS(suffix, type, width)                                               \
static __always_inline type vmread##suffix(unsigned long field)                       \
{                                                                                     \
	BUILD_BUG_ON_MSG(__builtin_constant_p(field) && (field >> 13 & 3) != (width), \
			 "this VMCS field is not one for vmread" #suffix "()");       \
	return vmx_vmread(field);                                                     \
}                                                                                     \
static __always_inline void vmwrite##suffix(unsigned long field, type value)          \
{                                                                                     \
	BUILD_BUG_ON_MSG(__builtin_constant_p(field) && (field >> 13 & 3) != (width), \
			 "this VMCS field is not one for vmwrite" #suffix "()");      \
	vmx_vmwrite(field, value);                                                    \
}

VMX_FIELDS(16, u16, VMX_WIDTH_16)
VMX_FIELDS(32, u32, VMX_WIDTH_32)
VMX_FIELDS(64, u64, VMX_WIDTH_64)
VMX_FIELDS(n, unsigned long, VMX_WIDTH_NATURAL)

#endif /* MOTE_VMX_H */
