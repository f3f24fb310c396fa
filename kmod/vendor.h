/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Vendor ops: what common code asks of the two vendors.  vmx.c and svm.c are reached
 * through struct mote_ops alone.
 */
#ifndef MOTE_VENDOR_H
#define MOTE_VENDOR_H

#include <linux/hw_breakpoint.h>
#include <linux/static_call.h>
#include <asm/debugreg.h>
#include <asm/mce.h>
#include <asm/ptrace.h>

#include "mote.h"

/* What one CPU has. */
struct mote_probe {
	u32 vendor;	/* &enum mote_vendor */
	u64 features;	/* bits as in &enum mote_feature */
	u32 obstacle;	/* the gravest &enum mote_obstacle_code, 0 if none */
	u64 detail;	/* of the obstacle */
	u32 gpa_bits;	/* width of guest-physical addresses */
	u32 nr_asids;	/* address-space tags */
	u32 revision;	/* VMCS revision identifier, or SVM revision */
};

/* The MSRs that the vendor keeps are numbered as in &struct mote_msrs, which has them first. */
#define MOTE_VENDOR_MSR(name) (offsetof(struct mote_msrs, name) / sizeof(u64))
#define MOTE_NR_VENDOR_MSRS MOTE_VENDOR_MSR(apic_base)

/* What a vendor does; all of it is mandatory. */
struct mote_ops {
	const char *name;	/* "VT-x" or "AMD-V" */
	const char *holder;	/* the module that holds the extension when mote does not */
	size_t vcpu_size;	/* of the vendor's struct, which begins with struct mote_vcpu */
	size_t msr_map_size;
	const struct mote_npt_format *npt_format;

	/* Host.  Probe looks at this CPU, with interrupts off, and changes nothing. */
	void (*probe)(struct mote_probe *probe);
	int (*setup)(void);	/* allocate what the host needs, before the first cpu_enable */
	void (*teardown)(void);
	/* VMXON, or EFER.SVME, on this CPU; interrupts off; 0 or -EBUSY, -EIO. */
	int (*cpu_enable)(void);
	/* Harmless where it is not enabled.  In a crash: from an NMI, whatever it interrupts. */
	void (*cpu_disable)(bool crash);

	/*
	 * Before a VM's first vCPU: fill vm->msr_map from the vendor's list and the MSR filter,
	 * which is constant from here on.
	 */
	void (*init_msr_map)(const struct mote_vm *vm);
	/* vCPU, under vcpu->lock; created under vm->lock.  The whole state is set next. */
	int (*vcpu_init)(struct mote_vcpu *vcpu);
	void (*vcpu_destroy)(struct mote_vcpu *vcpu);
	/* Make it current on this CPU, preemption off from here to unload. */
	void (*load)(struct mote_vcpu *vcpu);
	/* Take the guest's state out of the CPU, give the host its own. */
	void (*unload)(struct mote_vcpu *vcpu);

	/*
	 * Loaded or not.  The parts in @mask that the vendor keeps are SEGS; CRS cr0, cr3, cr4,
	 * pdpte and flags (not cr2, cr8, xcr0); DRS dr7, and when it is set, the exits that
	 * vcpu->debug asks for; EVENTS shadow, nmi_blocked,
	 * pending_debug; and of the MSRs those up to MOTE_NR_VENDOR_MSRS.  What is set has been
	 * looked at: it never fails.
	 */
	void (*get_state)(struct mote_vcpu *vcpu, struct mote_state *state, u32 mask);
	void (*set_state)(struct mote_vcpu *vcpu, const struct mote_state *state, u32 mask);
	/* A field of &struct mote_field, as it is; false: it is none, or the host's. */
	bool (*get_field)(struct mote_vcpu *vcpu, u32 number, u64 *value);
	void (*get_mode)(struct mote_vcpu *vcpu, struct mote_cpu_mode *mode);
	u64 (*get_msr)(struct mote_vcpu *vcpu, u32 nr);
	void (*set_msr)(struct mote_vcpu *vcpu, u32 nr, u64 value);
	/* CR0 or CR4, judged; forgets the translations that it changes. */
	void (*set_cr)(struct mote_vcpu *vcpu, u32 cr, u64 value);
	void (*set_tsc)(struct mote_vcpu *vcpu); /* vcpu->tsc_offset has changed */

	/*
	 * Loaded.  Inject, flush and run have interrupts off.  An injected event comes back to
	 * mote_event_cut_short() if run() finds its delivery cut short.
	 */
	void (*inject)(struct mote_vcpu *vcpu, const struct mote_event *event);
	void (*window)(struct mote_vcpu *vcpu, u32 windows); /* exit when one opens */
	u32 (*can_take)(struct mote_vcpu *vcpu); /* which of MOTE_WINDOW_* are open now */
	u32 (*cpl)(const struct mote_vcpu *vcpu);
	/* The instruction is complete, RIP moved: end the shadow; with TF a trap pends. */
	void (*skip)(struct mote_vcpu *vcpu);
	void (*flush)(struct mote_vcpu *vcpu); /* the guest's translations on this CPU */
	/*
	 * vcpu->view has changed, and mote_exceptions(); or a step is over.  A single-step trap
	 * that pends is none of a step's.
	 */
	void (*view)(struct mote_vcpu *vcpu);
	void (*run)(struct mote_vcpu *vcpu); /* enter, leave, fill vcpu->exit */
};

/* A vendor's functions are named after what they do. */
#define MOTE_OPS_OF(x)                                                                          \
	.probe = x##_probe, .setup = x##_setup, .teardown = x##_teardown,                       \
	.cpu_enable = x##_cpu_enable, .cpu_disable = x##_cpu_disable,                           \
	.init_msr_map = x##_init_msr_map, .vcpu_init = x##_vcpu_init,                           \
	.vcpu_destroy = x##_vcpu_destroy, .load = x##_load, .unload = x##_unload,               \
	.get_state = x##_get_state, .set_state = x##_set_state, .get_field = x##_get_field,     \
	.get_mode = x##_get_mode, .get_msr = x##_get_msr, .set_msr = x##_set_msr,               \
	.set_cr = x##_set_cr, .set_tsc = x##_set_tsc, .inject = x##_inject,                     \
	.window = x##_window, .can_take = x##_can_take, .cpl = x##_cpl, .skip = x##_skip,       \
	.flush = x##_flush, .view = x##_view, .run = x##_run

extern const struct mote_ops mote_vmx_ops;
extern const struct mote_ops mote_svm_ops;

/* Those of the shortest paths are called directly. */
DECLARE_STATIC_CALL(mote_op_run, *((struct mote_ops *)0)->run);
DECLARE_STATIC_CALL(mote_op_skip, *((struct mote_ops *)0)->skip);
DECLARE_STATIC_CALL(mote_op_cpl, *((struct mote_ops *)0)->cpl);

/* The instruction of the exit is complete: go on at @rip. */
static inline void mote_complete(struct mote_vcpu *vcpu, u64 rip)
{
	vcpu->rip = rip;
	static_call(mote_op_skip)(vcpu);
}

/* Clear an MSR's bits in the VM's map: no exits any more, but where a filter is asked. */
static inline void mote_vm_open_msr(const struct mote_vm *vm, u32 msr, u32 read, u32 write)
{
	if (!mote_vm_filter(vm, MOTE_FILTER_MSR, msr, MOTE_FILTER_READ))
		__clear_bit(read, vm->msr_map);
	if (!mote_vm_filter(vm, MOTE_FILTER_MSR, msr, MOTE_FILTER_WRITE))
		__clear_bit(write, vm->msr_map);
}

/*
 * DR0 to DR3, which neither vendor switches, from just before the entry to just after the exit:
 * with interrupts on another CPU may install a breakpoint of the host's.
 */
static inline void mote_load_drs(const struct mote_vcpu *vcpu)
{
	/* Or the host's breakpoints would be on the guest's addresses. */
	if (hw_breakpoint_active())
		set_debugreg(0ul, 7);
	set_debugreg(vcpu->dr[0], 0);
	set_debugreg(vcpu->dr[1], 1);
	set_debugreg(vcpu->dr[2], 2);
	set_debugreg(vcpu->dr[3], 3);
}

static inline void mote_save_drs(struct mote_vcpu *vcpu)
{
	get_debugreg(vcpu->dr[0], 0);
	get_debugreg(vcpu->dr[1], 1);
	get_debugreg(vcpu->dr[2], 2);
	get_debugreg(vcpu->dr[3], 3);
}

/* A machine check has ended the guest, and does not pend: call the host's handler. */
static inline void mote_host_machine_check(void)
{
#ifdef CONFIG_X86_MCE
	/* As if from user mode: what was hit is the guest, not the kernel. */
	struct pt_regs regs = { .cs = __USER_CS, .flags = X86_EFLAGS_IF };

	do_machine_check(&regs);
#endif
}

/* The vendor of this host: constant after the module has loaded; NULL: none. */
extern const struct mote_ops *mote_ops;
/* What the host has, the same on every CPU; constant after load. */
extern struct mote_info mote_host;

static inline bool mote_has(enum mote_feature feature)
{
	return mote_host.features & BIT_ULL(feature);
}

#endif /* MOTE_VENDOR_H */
