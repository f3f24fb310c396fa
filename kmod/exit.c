// SPDX-License-Identifier: GPL-2.0
/*
 * Exits: what to do about each.  CPUID, MSRs, HLT, XSETBV and the like are
 * answered here, from tables and filters; the rest goes to user space.
 *
 * mote_exit_handle() runs with preemption off and the vCPU loaded,
 * mote_exit_slow() with the vCPU unloaded.
 *
 * Not here: decoding (the vendor's), instruction emulation and devices (user
 * space's).
 */
#include <asm/cpu.h>
#include <asm/kvm_para.h>
#include <asm/msr-index.h>
#include <asm/trapnr.h>
#include <asm/tsc.h>

#include "apic/lapic.h"
#include "mote.h"
#include "trace/trace.h"
#include "vendor.h"

/* ---- how an instruction ends ---------------------------------------------------- */

static enum mote_next exit_complete(struct mote_vcpu *vcpu)
{
	mote_complete(vcpu, mote_next_rip(vcpu, vcpu->exit.insn_len));
	return MOTE_NEXT_ENTER;
}

static noinline enum mote_next exit_fault(struct mote_vcpu *vcpu, u8 vector, u32 error)
{
	return mote_event_raise(vcpu, vector, error) ? MOTE_NEXT_ENTER : MOTE_NEXT_USER;
}

/* Has a filter something to say?  True if that was all, with *next. */
static __always_inline bool exit_filtered(struct mote_vcpu *vcpu, u32 kind, u32 number, u32 access,
					  enum mote_next *next)
{
	u8 vector = kind == MOTE_FILTER_HYPERCALL ? X86_TRAP_UD : X86_TRAP_GP;
	u32 action = mote_vm_filter(vcpu->vm, kind, number, access);

	if (likely(action == MOTE_FILTER_DEFAULT))
		return false;
	*next = action == MOTE_FILTER_FORWARD ? MOTE_NEXT_USER : exit_fault(vcpu, vector, 0);
	return true;
}

/* ---- CPUID ----------------------------------------------------------------------- */

static void cpuid_answer(struct mote_vcpu *vcpu, const struct mote_cpuid_entry *row)
{
	vcpu->gpr[MOTE_RAX] = row->eax;
	vcpu->gpr[MOTE_RBX] = row->ebx;
	vcpu->gpr[MOTE_RCX] = row->ecx;
	vcpu->gpr[MOTE_RDX] = row->edx;
}

static noinline void cpuid_answer_dynamic(struct mote_vcpu *vcpu,
					  const struct mote_cpuid_entry *row)
{
	u32 leaf = vcpu->gpr[MOTE_RAX], subleaf = vcpu->gpr[MOTE_RCX];
	struct mote_cpuid_entry copy = *row;
	struct mote_cpu_mode mode;

	if (row->leaf != leaf)
		mote_cpuid_beyond(vcpu->cpuid->rows, vcpu->cpuid->nr, leaf, &copy);
	mote_ops->get_mode(vcpu, &mode);
	mote_cpuid_patch(&copy, subleaf, mode.cr4, vcpu->xcr0, &vcpu->msrs);
	cpuid_answer(vcpu, &copy);
}

/* As a rule the one of the last time: guests use CPUID to serialize, too. */
static const struct mote_cpuid_entry *cpuid_find(struct mote_cpuid *table, u32 leaf, u32 subleaf)
{
	static const struct mote_cpuid_entry zero;
	const struct mote_cpuid_entry *row = table->last;

	if (row && row->leaf == leaf && !(row->flags && row->subleaf != subleaf))
		return row;
	row = mote_cpuid_find(table->rows, table->nr, leaf, subleaf);
	if (!row)
		return &zero;
	table->last = row;
	return row;
}

/* Handlers are not inlined: each saves the registers that it needs, and no more. */
static noinline enum mote_next exit_cpuid(struct mote_vcpu *vcpu)
{
	u32 leaf = vcpu->gpr[MOTE_RAX], subleaf = vcpu->gpr[MOTE_RCX];
	const struct mote_cpuid_entry *row;
	enum mote_next next;

	if (exit_filtered(vcpu, MOTE_FILTER_CPUID, leaf, MOTE_FILTER_READ, &next))
		return next;
	row = cpuid_find(vcpu->cpuid, leaf, subleaf);
	if (unlikely(mote_cpuid_is_dynamic(leaf, &vcpu->msrs)))
		cpuid_answer_dynamic(vcpu, row);
	else
		cpuid_answer(vcpu, row);
	return exit_complete(vcpu);
}

/* ---- MSRs -------------------------------------------------------------------------- */

static u64 *msr_field(struct mote_vcpu *vcpu, const struct mote_msr *row)
{
	return (void *)&vcpu->msrs + row->field;
}

/* Those that the vendor keeps come before apic_base; see struct mote_ops. */
static bool msr_is_vendor(const struct mote_msr *row)
{
	return row->field / sizeof(u64) < MOTE_NR_VENDOR_MSRS;
}

/* As a rule the one of the last time. */
static const struct mote_msr *msr_find(struct mote_vcpu *vcpu, u32 index)
{
	const struct mote_msr *row = vcpu->last_msr;

	if (!row || index < row->first || index > row->last) {
		row = mote_msr_find(index);
		vcpu->last_msr = row;
	}
	return row;
}

static u64 msr_read(struct mote_vcpu *vcpu, const struct mote_msr *row)
{
	switch (row->kind) {
	case MOTE_MSR_STATE:
		return msr_is_vendor(row) ? mote_ops->get_msr(vcpu, row->field / sizeof(u64)) :
					    *msr_field(vcpu, row);
	case MOTE_MSR_TSC:
		return mote_guest_tsc(vcpu, rdtsc());
	case MOTE_MSR_TSC_ADJUST:
		return vcpu->msrs.tsc_adjust;
	default:
		return row->value;
	}
}

static noinline enum mote_next exit_rdmsr(struct mote_vcpu *vcpu)
{
	u32 index = vcpu->gpr[MOTE_RCX];
	const struct mote_msr *row;
	enum mote_next next;
	u64 value;

	if (exit_filtered(vcpu, MOTE_FILTER_MSR, index, MOTE_FILTER_READ, &next))
		return next;
	if (mote_lapic_has_msr(vcpu, index)) {
		if (!mote_lapic_rdmsr(vcpu, index, &value))
			return exit_fault(vcpu, X86_TRAP_GP, 0);
	} else {
		row = msr_find(vcpu, index);
		if (!row)
			return MOTE_NEXT_USER;
		value = msr_read(vcpu, row);
	}
	vcpu->gpr[MOTE_RAX] = (u32)value;
	vcpu->gpr[MOTE_RDX] = value >> 32;
	return exit_complete(vcpu);
}

static noinline bool msr_write_common(struct mote_vcpu *vcpu, const struct mote_msr *row,
				      u32 index, u64 value)
{
	u64 old = vcpu->msrs.apic_base;

	if (index == MSR_IA32_APICBASE && !mote_apic_base_can_change(old, value))
		return false;
	if (index == MSR_KVM_PV_EOI_EN && !vcpu->lapic)
		return false;
	*msr_field(vcpu, row) = value;
	mote_lapic_base_changed(vcpu, old);
	return true;
}

/* LMA follows LME and paging; LME is fixed while paging is on (APM 2, "Long Mode Enable"). */
static bool msr_write_efer(struct mote_vcpu *vcpu, u64 value)
{
	struct mote_cpu_mode now;

	mote_ops->get_mode(vcpu, &now);
	if ((value ^ now.efer) & EFER_LME && now.cr0 & X86_CR0_PG)
		return false;
	mote_ops->set_msr(vcpu, MOTE_VENDOR_MSR(efer), (value & ~EFER_LMA) | (now.efer & EFER_LMA));
	return true;
}

static bool msr_write(struct mote_vcpu *vcpu, const struct mote_msr *row, u32 index, u64 value)
{
	switch (row->kind) {
	case MOTE_MSR_FIXED:
		return false;
	case MOTE_MSR_IGNORED:
		return true;
	case MOTE_MSR_TSC:
		mote_time_write(vcpu, value - mote_tsc_scale(vcpu->vm, rdtsc()));
		return true;
	case MOTE_MSR_TSC_ADJUST:
		mote_time_write(vcpu, vcpu->tsc_offset + value - vcpu->msrs.tsc_adjust);
		return true;
	}
	if (!msr_is_vendor(row))
		return msr_write_common(vcpu, row, index, value);
	if (index == MSR_EFER)
		return msr_write_efer(vcpu, value);
	mote_ops->set_msr(vcpu, row->field / sizeof(u64), value);
	return true;
}

static enum mote_next exit_wrmsr_lapic(struct mote_vcpu *vcpu, u32 index, u64 value)
{
	enum mote_apic_effect effect = mote_lapic_wrmsr(vcpu, index, value, &vcpu->exit.vector);

	if (effect == MOTE_APIC_INVALID)
		return exit_fault(vcpu, X86_TRAP_GP, 0);
	exit_complete(vcpu);
	if (effect != MOTE_APIC_BROADCAST)
		return MOTE_NEXT_ENTER;
	vcpu->exit.reason = MOTE_EXIT_EOI;
	vcpu->exit.insn_len = 0;
	return MOTE_NEXT_USER;
}

static noinline enum mote_next exit_wrmsr(struct mote_vcpu *vcpu)
{
	u32 index = vcpu->gpr[MOTE_RCX];
	u64 value = mote_edx_eax(vcpu);
	const struct mote_msr *row;
	enum mote_next next;

	if (exit_filtered(vcpu, MOTE_FILTER_MSR, index, MOTE_FILTER_WRITE, &next))
		return next;
	if (mote_lapic_has_msr(vcpu, index))
		return exit_wrmsr_lapic(vcpu, index, value);
	row = msr_find(vcpu, index);
	if (!row)
		return MOTE_NEXT_USER;
	if (!mote_msr_valid(row, value, &vcpu->caps) || !msr_write(vcpu, row, index, value))
		return exit_fault(vcpu, X86_TRAP_GP, 0);
	exit_complete(vcpu);
	return !msr_is_vendor(row) && mote_pv_wrmsr(vcpu, index) ? MOTE_NEXT_SLEEP :
								   MOTE_NEXT_ENTER;
}

/* ---- exceptions ------------------------------------------------------------------------ */

/* One that the host set up to be told of split locks is none of the guest's. */
static bool exit_is_split_lock(struct mote_vcpu *vcpu)
{
	struct mote_cpu_mode mode;

	if (vcpu->exit.exception.vector != X86_TRAP_AC ||
	    !boot_cpu_has(X86_FEATURE_SPLIT_LOCK_DETECT))
		return false;
	mote_ops->get_mode(vcpu, &mode);
	return !mote_mode_checks_alignment(&mode, vcpu->rflags);
}

static noinline enum mote_next exit_exception(struct mote_vcpu *vcpu)
{
	if (exit_is_split_lock(vcpu))
		return MOTE_NEXT_SLEEP;
	return exit_fault(vcpu, vcpu->exit.exception.vector, vcpu->exit.exception.error);
}

/* ---- the others ----------------------------------------------------------------------- */

static noinline enum mote_next exit_hypercall(struct mote_vcpu *vcpu)
{
	u32 number = vcpu->gpr[MOTE_RAX];
	enum mote_next next;

	if (exit_filtered(vcpu, MOTE_FILTER_HYPERCALL, number, MOTE_FILTER_READ, &next))
		return next;
	/* A guest's applications have no business with the hypervisor. */
	if (static_call(mote_op_cpl)(vcpu))
		return exit_fault(vcpu, X86_TRAP_UD, 0);
	if (!mote_pv_hypercall(vcpu))
		return MOTE_NEXT_USER;
	exit_complete(vcpu);
	return vcpu->pv.yield_to ? MOTE_NEXT_SLEEP : MOTE_NEXT_ENTER;
}

static noinline enum mote_next exit_xsetbv(struct mote_vcpu *vcpu)
{
	u64 value = mote_edx_eax(vcpu);

	if (static_call(mote_op_cpl)(vcpu) || (u32)vcpu->gpr[MOTE_RCX] ||
	    !mote_xcr0_valid(value, &vcpu->caps))
		return exit_fault(vcpu, X86_TRAP_GP, 0);
	vcpu->xcr0 = value;
	return exit_complete(vcpu);
}

bool mote_exit_mov_to_cr(struct mote_vcpu *vcpu, u32 cr, u64 value)
{
	struct mote_cpu_mode now;

	if (cr == 8) {
		if (value > 15)
			return false;
		vcpu->cr8 = value;
		/* An interrupt may have waited for it. */
		atomic_or(MOTE_REQ_EVENT, &vcpu->requests);
		return true;
	}
	mote_ops->get_mode(vcpu, &now);
	if (!(cr ? mote_cr4_valid(value, &now, &vcpu->caps) : mote_cr0_valid(value, &now)))
		return false;
	mote_ops->set_cr(vcpu, cr, cr ? value : (value & MOTE_CR0_DEFINED) | X86_CR0_ET);
	if (!cr && (value ^ now.cr0) & X86_CR0_PG && now.efer & EFER_LME)
		mote_ops->set_msr(vcpu, MOTE_VENDOR_MSR(efer), now.efer ^ EFER_LMA);
	return true;
}

static noinline enum mote_next exit_pio(struct mote_vcpu *vcpu)
{
	const struct mote_pio *pio = &vcpu->exit.pio;
	u32 access = pio->flags & MOTE_PIO_IN ? MOTE_FILTER_READ : MOTE_FILTER_WRITE;
	enum mote_next next;

	if (exit_filtered(vcpu, MOTE_FILTER_PORT, pio->port, access, &next))
		return next;
	/* Acquire: pairs with ioeventfd_add(). */
	if (smp_load_acquire(&vcpu->vm->nr_ioeventfds) &&
	    !(pio->flags & (MOTE_PIO_IN | MOTE_PIO_STRING)) &&
	    mote_ioeventfd_write(vcpu->vm, pio->port, pio->size, vcpu->gpr[MOTE_RAX]))
		return exit_complete(vcpu);
	return MOTE_NEXT_USER;
}

enum mote_next mote_exit_handle(struct mote_vcpu *vcpu)
{
	switch (vcpu->exit.reason) {
	case MOTE_EXIT_CPUID:
		return exit_cpuid(vcpu);
	case MOTE_EXIT_RDMSR:
		return exit_rdmsr(vcpu);
	case MOTE_EXIT_WRMSR:
		return exit_wrmsr(vcpu);
	case MOTE_EXIT_PIO:
		return exit_pio(vcpu);
	case MOTE_EXIT_NPF:
		return MOTE_NEXT_SLEEP;
	case MOTE_EXIT_HYPERCALL:
		return exit_hypercall(vcpu);
	case MOTE_EXIT_HLT:
		if (vcpu->vm->flags & MOTE_VM_HLT_EXIT)
			return MOTE_NEXT_USER;
		vcpu->halted = MOTE_HALTED;
		return exit_complete(vcpu);
	case MOTE_EXIT_NONE:
	case MOTE_EXIT_INTERRUPT:
	case MOTE_EXIT_NMI:
	case MOTE_EXIT_INIT:
	case MOTE_EXIT_TIMER:
	case MOTE_EXIT_CR:
	case MOTE_EXIT_DR:
		return MOTE_NEXT_ENTER;
	case MOTE_EXIT_INTERRUPT_WINDOW:
	case MOTE_EXIT_NMI_WINDOW:
		mote_event_window_is_gone(vcpu, vcpu->exit.reason == MOTE_EXIT_NMI_WINDOW ?
					  MOTE_WINDOW_NMI : MOTE_WINDOW_INTERRUPT);
		return MOTE_NEXT_ENTER;
	case MOTE_EXIT_EXCEPTION:
		return exit_exception(vcpu);
	case MOTE_EXIT_XSETBV:
		return exit_xsetbv(vcpu);
	case MOTE_EXIT_CACHE:
		/* Coherent memory, write-back: nothing to write back. */
		return exit_complete(vcpu);
	case MOTE_EXIT_PAUSE:
		exit_complete(vcpu);
		return MOTE_NEXT_SLEEP;
	case MOTE_EXIT_PMC:
		return exit_fault(vcpu, X86_TRAP_GP, 0);
	case MOTE_EXIT_MWAIT:
	case MOTE_EXIT_UNDEFINED:
		return exit_fault(vcpu, X86_TRAP_UD, 0);
	default:
		return MOTE_NEXT_USER;
	}
}

static int exit_npf(struct mote_vcpu *vcpu)
{
	struct mote_exit *exit = &vcpu->exit;
	int err;

	exit->npf.hva = 0;
	err = mote_mem_fault(vcpu, exit->npf.gpa, exit->npf.access, &exit->npf.hva);
	/* What is behind the instruction only its decoder knows, whatever the CPU says. */
	exit->insn_len = 0;
	if (!err)
		return MOTE_NEXT_ENTER;
	if (err == -EINTR)
		return err;
	exit->reason = err == -ENXIO ? MOTE_EXIT_MMIO : MOTE_EXIT_MEMORY;
	exit->npf.error = err == -ENXIO ? 0 : err;
	if (err == -ENXIO)
		trace_mote_mmio(vcpu->vm->id, vcpu->id, exit->npf.gpa, exit->npf.access, vcpu->rip);
	vcpu->traced.reason = exit->reason;
	vcpu->run->exits[exit->reason]++;
	return MOTE_NEXT_USER;
}

int mote_exit_slow(struct mote_vcpu *vcpu)
{
	vcpu->traced.where |= MOTE_HANDLED_KERNEL;
	cond_resched();
	switch (vcpu->exit.reason) {
	case MOTE_EXIT_NPF:
		return exit_npf(vcpu);
	case MOTE_EXIT_HLT:
		mote_vcpu_sleep(vcpu);
		break;
	case MOTE_EXIT_INIT:
		mote_lapic_start(vcpu);
		break;
	case MOTE_EXIT_EXCEPTION:
		/* As for a thread: a warning and a pause, or SIGBUS, which ends the run. */
		handle_guest_split_lock(vcpu->rip);
		break;
	case MOTE_EXIT_PAUSE:
	case MOTE_EXIT_HYPERCALL:
		mote_vcpu_yield(vcpu, vcpu->pv.yield_to);
		vcpu->pv.yield_to = NULL;
		break;
	}
	return MOTE_NEXT_ENTER;
}
