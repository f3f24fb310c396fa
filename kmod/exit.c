// SPDX-License-Identifier: GPL-2.0
/*
 * Exits: what to do about each.  What is answered from tables, by filters and by BPF programs has a
 * room of its own (answer/), HLT, XSETBV and the like are here; the rest goes to user space.
 *
 * mote_exit_handle() runs with preemption off and the vCPU loaded,
 * mote_exit_slow() with the vCPU unloaded.
 *
 * Not here: decoding (the vendor's), instruction emulation and devices (user
 * space's).
 */
#include <asm/cpu.h>
#include <asm/trapnr.h>

#include "answer/answer.h"
#include "apic/lapic.h"
#include "mote.h"
#include "trace/trace.h"
#include "vendor.h"
#include "watch/watch.h"

noinline enum mote_next mote_exit_fault(struct mote_vcpu *vcpu, u8 vector, u32 error)
{
	return mote_event_raise(vcpu, vector, error) ? MOTE_NEXT_ENTER : MOTE_NEXT_USER;
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
	u8 vector = vcpu->exit.exception.vector;

	if (exit_is_split_lock(vcpu))
		return MOTE_NEXT_SLEEP;
	/* INT3 and INTO are traps, but the exit comes before they are through. */
	if (vector == X86_TRAP_BP || vector == X86_TRAP_OF)
		vcpu->rip = mote_next_rip(vcpu, 1);
	if (!mote_event_raise(vcpu, vector, vcpu->exit.exception.error))
		return MOTE_NEXT_USER;
	if (!(vcpu->debug.exceptions & BIT(vector)))
		return MOTE_NEXT_ENTER;
	/* Here, and not with the others: so none of them is dearer for it. */
	vcpu->run->exception = vcpu->exit.exception;
	return MOTE_NEXT_USER;
}

/* ---- the others ----------------------------------------------------------------------- */

static noinline enum mote_next exit_hypercall(struct mote_vcpu *vcpu)
{
	u32 number = vcpu->gpr[MOTE_RAX];
	enum mote_next next;

	if (mote_exit_filtered(vcpu, MOTE_FILTER_HYPERCALL, number, MOTE_FILTER_READ, &next))
		return next;
	/* A guest's applications have no business with the hypervisor. */
	if (static_call(mote_op_cpl)(vcpu))
		return mote_exit_fault(vcpu, X86_TRAP_UD, 0);
	if (!mote_pv_hypercall(vcpu))
		return MOTE_NEXT_USER;
	mote_exit_complete(vcpu);
	return vcpu->pv.yield_to ? MOTE_NEXT_SLEEP : MOTE_NEXT_ENTER;
}

static noinline enum mote_next exit_xsetbv(struct mote_vcpu *vcpu)
{
	u64 value = mote_edx_eax(vcpu);

	if (static_call(mote_op_cpl)(vcpu) || (u32)vcpu->gpr[MOTE_RCX] ||
	    !mote_xcr0_valid(value, &vcpu->caps))
		return mote_exit_fault(vcpu, X86_TRAP_GP, 0);
	vcpu->xcr0 = value;
	return mote_exit_complete(vcpu);
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

	if (mote_exit_filtered(vcpu, MOTE_FILTER_PORT, pio->port, access, &next))
		return next;
	/* Acquire: pairs with ioeventfd_add(). */
	if (smp_load_acquire(&vcpu->vm->nr_ioeventfds) &&
	    !(pio->flags & (MOTE_PIO_IN | MOTE_PIO_STRING)) &&
	    mote_ioeventfd_write(vcpu->vm, pio->port, pio->size, vcpu->gpr[MOTE_RAX]))
		return mote_exit_complete(vcpu);
	return MOTE_NEXT_USER;
}

enum mote_next mote_exit_default(struct mote_vcpu *vcpu)
{
	switch (vcpu->exit.reason) {
	case MOTE_EXIT_CPUID:
		return mote_exit_cpuid(vcpu);
	case MOTE_EXIT_RDMSR:
		return mote_exit_rdmsr(vcpu);
	case MOTE_EXIT_WRMSR:
		return mote_exit_wrmsr(vcpu);
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
		return mote_exit_complete(vcpu);
	case MOTE_EXIT_NONE:
	case MOTE_EXIT_INTERRUPT:
	case MOTE_EXIT_NMI:
	case MOTE_EXIT_INIT:
	case MOTE_EXIT_TIMER:
	case MOTE_EXIT_CR:
		return MOTE_NEXT_ENTER;
	case MOTE_EXIT_DR:
		/* It has them until it is unloaded: it goes on, whatever user space wants. */
		vcpu->window &= ~MOTE_WINDOW_ENTERED;
		return vcpu->debug.flags & MOTE_DEBUG_DRS ? MOTE_NEXT_USER : MOTE_NEXT_ENTER;
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
		return mote_exit_complete(vcpu);
	case MOTE_EXIT_PAUSE:
		mote_exit_complete(vcpu);
		return MOTE_NEXT_SLEEP;
	case MOTE_EXIT_PMC:
		return mote_exit_fault(vcpu, X86_TRAP_GP, 0);
	case MOTE_EXIT_MWAIT:
	case MOTE_EXIT_UNDEFINED:
		return mote_exit_fault(vcpu, X86_TRAP_UD, 0);
	default:
		return MOTE_NEXT_USER;
	}
}

static int exit_npf(struct mote_vcpu *vcpu)
{
	struct mote_exit *exit = &vcpu->exit;
	int err;

	exit->npf.hva = 0;
	err = unlikely(READ_ONCE(vcpu->vm->nr_watched)) ? mote_watch_caught(vcpu) : MOTE_NEXT_SLEEP;
	if (err != MOTE_NEXT_SLEEP)
		return err;
	err = mote_mem_fault(vcpu, exit->npf.gpa, exit->npf.access, &exit->npf.hva);
	/* What is behind the instruction only its decoder knows, whatever the CPU says. */
	exit->insn_len = 0;
	if (!err || err == -EINTR)
		return err ?: MOTE_NEXT_ENTER;
	exit->reason = err == -ENXIO ? MOTE_EXIT_MMIO : MOTE_EXIT_MEMORY;
	exit->npf.error = err == -ENXIO ? 0 : err;
	vcpu->traced.reason = exit->reason;
	vcpu->run->exits[exit->reason]++;
	if (err != -ENXIO)
		return MOTE_NEXT_USER;
	trace_mote_mmio(vcpu->vm->id, vcpu->id, exit->npf.gpa, exit->npf.access, vcpu->rip);
	return mote_policy_is_asked() ? mote_policy_mmio(vcpu) : MOTE_NEXT_USER;
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
