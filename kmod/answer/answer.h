/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What is answered in the kernel: by policies (policy.c), then by filters, then from tables: CPUID
 * (cpuid.c) and MSRs (msr.c).  With preemption off and the vCPU loaded, if nothing else is said.
 */
#ifndef MOTE_ANSWER_H
#define MOTE_ANSWER_H

#include <asm/trapnr.h>

#include "../mote.h"
#include "../trace/trace.h"
#include "../vendor.h"

/* Not inlined, as are all handlers: each saves the registers that it needs, and no more. */
enum mote_next mote_exit_cpuid(struct mote_vcpu *vcpu);
enum mote_next mote_exit_rdmsr(struct mote_vcpu *vcpu);
enum mote_next mote_exit_wrmsr(struct mote_vcpu *vcpu);

/* What becomes of an exit without policies (exit.c). */
enum mote_next mote_exit_default(struct mote_vcpu *vcpu);

/* The guest gets this exception. */
enum mote_next mote_exit_fault(struct mote_vcpu *vcpu, u8 vector, u32 error);

/* ---- policies (policy.c) ----------------------------------------------------------- */

/* Is there any policy?  A branch that is patched when there is. */
static __always_inline bool mote_policy_is_asked(void)
{
	return trace_mote_policy_enabled();
}

/* An exit that policies are asked about first, in the place of mote_exit_default(). */
enum mote_next mote_policy_handle(struct mote_vcpu *vcpu);

/* Handle an exit. */
static __always_inline enum mote_next mote_exit_handle(struct mote_vcpu *vcpu)
{
	return mote_policy_is_asked() ? mote_policy_handle(vcpu) : mote_exit_default(vcpu);
}

/* MMIO, with the vCPU unloaded.  Return: as mote_exit_slow(). */
int mote_policy_mmio(struct mote_vcpu *vcpu);
/* The same of %MOTE_POLICY_WATCH as well; vcpu->policy.insn has @nr bytes. */
int mote_policy_memory(struct mote_vcpu *vcpu, u32 kind, u32 nr);

/* ---- how an instruction ends -------------------------------------------------------- */

/* The instruction has been executed. */
static inline enum mote_next mote_exit_complete(struct mote_vcpu *vcpu)
{
	mote_complete(vcpu, mote_next_rip(vcpu, vcpu->exit.insn_len));
	return MOTE_NEXT_ENTER;
}

/* The fault of an instruction that the guest may not have. */
static inline enum mote_next mote_exit_deny(struct mote_vcpu *vcpu)
{
	u8 vector = vcpu->exit.reason == MOTE_EXIT_HYPERCALL ? X86_TRAP_UD : X86_TRAP_GP;

	return mote_exit_fault(vcpu, vector, 0);
}

/* Has a filter something to say?  True if that was all, with *next. */
static __always_inline bool mote_exit_filtered(struct mote_vcpu *vcpu, u32 kind, u32 number,
					       u32 access, enum mote_next *next)
{
	u32 action = mote_vm_filter(vcpu->vm, kind, number, access);

	if (likely(action == MOTE_FILTER_DEFAULT))
		return false;
	*next = action == MOTE_FILTER_FORWARD ? MOTE_NEXT_USER : mote_exit_deny(vcpu);
	return true;
}

#endif /* MOTE_ANSWER_H */
