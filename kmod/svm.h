/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A vCPU of AMD-V, for svm.c and for those files of quirk/ that serve it.
 */
#ifndef MOTE_SVM_H
#define MOTE_SVM_H

#include "arch/svm_arch.h"
#include "vendor.h"

/* APM, "VMCB State Caching": parts of the VMCB that the CPU may have in a cache. */
#define CLEAN_INTERCEPTS BIT(0)
#define CLEAN_ASID BIT(2)
#define CLEAN_INTR BIT(3)
#define CLEAN_NPT BIT(4)
#define CLEAN_CRS BIT(5)
#define CLEAN_DRS BIT(6)
#define CLEAN_TABLES BIT(7)
#define CLEAN_SEGS BIT(8)
#define CLEAN_CR2 BIT(9)
#define CLEAN_ALL GENMASK(10, 0)

/* Host state that is switched only on CPUs that have it: &host_extras. */
#define EXTRA_XSETBV BIT(0)  /* QUIRK(qemu 7.2, bochs 2.7): XSETBV is not intercepted */
#define EXTRA_XSS BIT(1)     /* IA32_XSS is in use: XSAVES of a guest would show it */
#define EXTRA_PKRU BIT(2)    /* a guest may enable protection keys */
#define EXTRA_TSC_AUX BIT(3) /* RDPID, which has no intercept, shows the CPU's number */
#define EXTRA_TCG BIT(4)     /* QEMU's translator is the CPU: see svm_inject_virtual() */
#define EXTRA_BOCHS BIT(5)   /* Bochs is the CPU: see quirk/bochs_clock.c */
#define EXTRA_DEBUGCTL BIT(6) /* bus locks of a guest would trap there, for the host */

/* What an entry and an exit have to see to besides the usual: &svm_vcpu.rare. */
#define RARE_DEBUG BIT(0) /* a debug trap pends */
#define RARE_NMI BIT(1)	  /* an NMI window was asked for */
#define RARE_IRET BIT(2)  /* the IRET that ends an NMI handler is about to run */
#define RARE_STEP BIT(3)  /* RFLAGS.TF is ours in this entry */
#define RARE_VIRQ BIT(4)  /* the interrupt of this entry is a virtual one */
#define RARE_SHADOW BIT(5) /* QEMU may forget the shadow */
#define RARE_WINDOW BIT(6) /* a window is a virtual interrupt on QEMU: see quirk/qemu_timer.c */
#define RARE_LMSW BIT(7)  /* CR0 writes are let through for this entry */

struct svm_cpu {
	struct svm_asids asids;
	void *vmsave, *hsave;	/* a VMCB for the host's VMSAVE state; where VMRUN saves the rest */
	u64 host;	/* the first one's physical address */
	u64 tsc_aux;	/* of the host */
	bool enabled;	/* EFER.SVME was set by us */
};

/* The timer of this CPU's local APIC, over an entry: see quirk/qemu_timer.c. */
struct mote_host_timer {
	u32 lvtt;	/* its LVT entry, as the kernel has it; 0 if that did not need a change */
	u32 left;	/* its count at the entry */
};

struct svm_vcpu {
	struct mote_vcpu vcpu;
	struct vmcb *vmcb;
	u64 vmcb_hpa;
	struct svm_cpu *cpu;	/* on which it ran last */
	u64 generation;		/* of its ASID; 0: take a new one */
	u64 other_generation;	/* of the one for the nested tables that it is not in */
	u32 other_asid;
	u64 pending_debug;	/* as in &mote_events */
	u64 cr0_held;		/* what the guest sees of CR0, but is not in force */
	u64 cr4;		/* as the guest sees it */
	u32 rare;
	u32 pkru;
	u32 host_debugctl;	/* with EXTRA_DEBUGCTL, of this entry */
	bool nmi_blocked;
	u8 shadow;		/* MOTE_SHADOW_* as set, while RIP is @shadow_rip */
	u64 shadow_rip;

	u64 entry_rip, entry_rsp;	/* with @rare, of the last entry */
	u64 step_tf, step_dr6;		/* with RARE_STEP, the guest's own */
	u64 no_step_rip;		/* what is there cannot be stepped over; ~0: none */
	struct mote_host_timer host_timer;

	/* The last code page that was looked up; @code_gva is ~0 for none. */
	u64 code_cr3, code_gva, code_hva;
};

extern u32 svm_host_extras;	/* EXTRA_* */

static inline struct svm_vcpu *to_svm(struct mote_vcpu *vcpu)
{
	return container_of(vcpu, struct svm_vcpu, vcpu);
}

static inline void svm_dirty(struct svm_vcpu *svm, u32 parts)
{
	svm->vmcb->control.clean &= ~parts;
}

/* Set or clear a bit of one of the host's MSRs, if the CPU has it. */
static inline void svm_msr_bit(u32 msr, u32 bit, bool on)
{
	u64 value;

	if (!rdmsrl_safe(msr, &value))
		wrmsrl_safe(msr, on ? value | BIT_ULL(bit) : value & ~BIT_ULL(bit));
}

static inline bool svm_in_shadow(const struct svm_vcpu *svm)
{
	return svm->vmcb->control.int_state & SVM_INTERRUPT_SHADOW_MASK;
}

static inline bool svm_is_64bit(const struct svm_vcpu *svm)
{
	return svm->vmcb->save.efer & EFER_LMA && svm->vmcb->save.cs.attrib & SVM_SELECTOR_L_MASK;
}

/* svm.c, for quirk/ */
void svm_window(struct mote_vcpu *vcpu, u32 windows);
void svm_step(struct svm_vcpu *svm);

#endif /* MOTE_SVM_H */
