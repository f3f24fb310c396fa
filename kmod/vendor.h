/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Vendor ops: what common code asks of the two vendors.  vmx.c and svm.c are reached
 * through struct mote_ops alone.
 */
#ifndef MOTE_VENDOR_H
#define MOTE_VENDOR_H

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

/**
 * struct mote_ops - what a vendor does; all of it is mandatory
 *
 * Host:
 * @name: "VT-x" or "AMD-V"
 * @holder: the module that holds the extension when mote does not: "kvm_intel"
 * @vcpu_size: bytes of the vendor's vCPU struct, which begins with struct mote_vcpu
 * @npt_format: of the nested page tables
 * @probe: look at this CPU, with interrupts off, changing nothing
 * @setup: allocate what the host needs, before the first cpu_enable
 * @teardown: undo setup
 * @cpu_enable: VMXON, or EFER.SVME, on this CPU; interrupts off; 0 or -EBUSY, -EIO
 * @cpu_disable: undo it; harmless where it is not enabled; any context
 *
 * VM, under vm->lock:
 * @vm_init: allocate @vm->vendor (MSR bitmap…)
 * @vm_destroy: undo vm_init
 *
 * vCPU, under vcpu->lock:
 * @vcpu_init: allocate; for the VM's first vCPU the MSR bitmap is made from the
 *	whitelist and the MSR filter, which are constant from here on; the whole
 *	state is set next
 * @vcpu_destroy: undo
 * @load: make it current on this CPU, preemption off from here to unload; guest
 *	state that the host does not use (syscall MSRs…) goes into the CPU
 * @unload: take that out of the CPU again, give the host its own
 * @get_state: fill the parts in mask that the vendor keeps: SEGS; CRS cr0, cr3,
 *	cr4, pdpte and flags (not cr2, cr8, xcr0); DRS dr7; EVENTS shadow,
 *	nmi_blocked, pending_debug; loaded or not
 * @set_state: likewise; never fails, the values have been looked at
 * @get_mode: what says how the guest reads its instructions; loaded or not
 * @get_msr: one of those before apic_base in &struct mote_msrs; loaded or not
 * @set_msr: likewise; never fails, the value has been looked at
 * @set_tsc: vcpu->tsc_offset has changed; loaded or not
 * @inject: put an event into the hardware's injection field; run() hands it back to
 *	mote_event_cut_short() if its delivery is cut short; loaded, interrupts off
 * @window: exit when an interrupt/an NMI can be taken, or CR8 is written: MOTE_WINDOW_*; loaded
 * @can_take: which of MOTE_WINDOW_* are open now; loaded
 * @cpl: privilege level, 0 to 3; loaded
 * @skip: the instruction of the exit is complete, rip has been moved: end the
 *	shadow; with RFLAGS.TF a single-step trap pends; loaded
 * @flush: forget the guest's translations on this CPU; loaded, interrupts off
 * @run: enter, leave, fill vcpu->exit; loaded, interrupts off before and after
 */
struct mote_ops {
	const char *name;
	const char *holder;
	size_t vcpu_size;
	const struct mote_npt_format *npt_format;

	void (*probe)(struct mote_probe *probe);
	int (*setup)(void);
	void (*teardown)(void);
	int (*cpu_enable)(void);
	void (*cpu_disable)(void);

	int (*vm_init)(struct mote_vm *vm);
	void (*vm_destroy)(struct mote_vm *vm);

	int (*vcpu_init)(struct mote_vcpu *vcpu);
	void (*vcpu_destroy)(struct mote_vcpu *vcpu);
	void (*load)(struct mote_vcpu *vcpu);
	void (*unload)(struct mote_vcpu *vcpu);
	void (*get_state)(struct mote_vcpu *vcpu, struct mote_state *state, u32 mask);
	void (*set_state)(struct mote_vcpu *vcpu, const struct mote_state *state, u32 mask);
	void (*get_mode)(struct mote_vcpu *vcpu, struct mote_cpu_mode *mode);
	u64 (*get_msr)(struct mote_vcpu *vcpu, u32 index);
	void (*set_msr)(struct mote_vcpu *vcpu, u32 index, u64 value);
	void (*set_tsc)(struct mote_vcpu *vcpu);

	void (*inject)(struct mote_vcpu *vcpu, const struct mote_event *event);
	void (*window)(struct mote_vcpu *vcpu, u32 windows);
	u32 (*can_take)(struct mote_vcpu *vcpu);
	u32 (*cpl)(const struct mote_vcpu *vcpu);
	void (*skip)(struct mote_vcpu *vcpu);
	void (*flush)(struct mote_vcpu *vcpu);
	void (*run)(struct mote_vcpu *vcpu);
};

extern const struct mote_ops mote_vmx_ops;
extern const struct mote_ops mote_svm_ops;

/* Those of the shortest paths are called directly. */
void mote_op_run_type(struct mote_vcpu *vcpu);
void mote_op_skip_type(struct mote_vcpu *vcpu);
u32 mote_op_cpl_type(const struct mote_vcpu *vcpu);
DECLARE_STATIC_CALL(mote_op_run, mote_op_run_type);
DECLARE_STATIC_CALL(mote_op_skip, mote_op_skip_type);
DECLARE_STATIC_CALL(mote_op_cpl, mote_op_cpl_type);

/* The instruction of the exit is complete: go on at @rip. */
static inline void mote_complete(struct mote_vcpu *vcpu, u64 rip)
{
	vcpu->rip = rip;
	static_call(mote_op_skip)(vcpu);
}

/* Clear an MSR's bits in a permission map: no exits any more, but where a filter is asked. */
static inline void mote_vm_open_msr(const struct mote_vm *vm, u32 msr, unsigned long *map,
				    u32 read, u32 write)
{
	if (!mote_vm_filter(vm, MOTE_FILTER_MSR, msr, MOTE_FILTER_READ))
		__clear_bit(read, map);
	if (!mote_vm_filter(vm, MOTE_FILTER_MSR, msr, MOTE_FILTER_WRITE))
		__clear_bit(write, map);
}

/* DR0 to DR3, which neither vendor switches. */
static inline void mote_load_drs(const struct mote_vcpu *vcpu)
{
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
