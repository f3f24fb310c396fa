// SPDX-License-Identifier: GPL-2.0
/*
 * Policies: what BPF programs make of exits.  All that they can change is the guest's general
 * registers, any values of which are good, and an answer that is judged here.
 */
#include <linux/sched.h>
#include <asm/page.h>

#include "../apic/lapic.h"
#include "answer.h"

/* Ahead of asking, all that is not of one kind alone. */
static struct mote_policy *policy_begin(struct mote_vcpu *vcpu, u32 kind, u64 number, u32 access)
{
	struct mote_policy *policy = &vcpu->policy;

	policy->rip = vcpu->rip;
	policy->number = number;
	policy->vm = vcpu->vm->id;
	policy->vcpu = vcpu->id;
	policy->pid = current->tgid;
	policy->kind = kind;
	policy->access = access;
	policy->size = 0;
	policy->flags = 0;
	policy->action = MOTE_FILTER_DEFAULT;
	policy->wake = 0;
	return policy;
}

/* What they say; what is no answer is %MOTE_FILTER_DEFAULT. */
static __always_inline u32 policy_ask(struct mote_vcpu *vcpu)
{
	u32 port;

	trace_mote_policy(&vcpu->policy);
	port = vcpu->policy.wake;
	/* Acquire: pairs with ioeventfd_add(). */
	if (unlikely(port) && port <= U16_MAX && smp_load_acquire(&vcpu->vm->nr_ioeventfds))
		mote_ioeventfd_write(vcpu->vm, port, sizeof(u32), vcpu->gpr[MOTE_RAX]);
	return vcpu->policy.action;
}

static enum mote_next policy_decide(struct mote_vcpu *vcpu, u32 kind, u32 number, u32 access)
{
	struct mote_policy *policy = policy_begin(vcpu, kind, number, access);

	if (kind == MOTE_FILTER_PORT) {
		policy->size = vcpu->exit.pio.size;
		policy->flags = vcpu->exit.pio.flags & ~MOTE_PIO_IN;
	}
	switch (policy_ask(vcpu)) {
	case MOTE_FILTER_DENY:
		return mote_exit_deny(vcpu);
	case MOTE_FILTER_FORWARD:
		return MOTE_NEXT_USER;
	case MOTE_POLICY_COMPLETE:
		return mote_exit_complete(vcpu);
	default:
		return mote_exit_default(vcpu);
	}
}

enum mote_next mote_policy_handle(struct mote_vcpu *vcpu)
{
	const struct mote_pio *pio = &vcpu->exit.pio;
	const u64 *gpr = vcpu->gpr;

	switch (vcpu->exit.reason) {
	case MOTE_EXIT_CPUID:
		return policy_decide(vcpu, MOTE_FILTER_CPUID, gpr[MOTE_RAX], MOTE_ACCESS_READ);
	case MOTE_EXIT_RDMSR:
		return policy_decide(vcpu, MOTE_FILTER_MSR, gpr[MOTE_RCX], MOTE_ACCESS_READ);
	case MOTE_EXIT_WRMSR:
		return policy_decide(vcpu, MOTE_FILTER_MSR, gpr[MOTE_RCX], MOTE_ACCESS_WRITE);
	case MOTE_EXIT_HYPERCALL:
		return policy_decide(vcpu, MOTE_FILTER_HYPERCALL, gpr[MOTE_RAX], MOTE_ACCESS_READ);
	case MOTE_EXIT_PIO:
		return policy_decide(vcpu, MOTE_FILTER_PORT, pio->port,
				     pio->flags & MOTE_PIO_IN ? MOTE_ACCESS_READ :
								MOTE_ACCESS_WRITE);
	default:
		return mote_exit_default(vcpu);
	}
}

int mote_policy_memory(struct mote_vcpu *vcpu, u32 kind, u32 nr)
{
	const struct mote_memory *npf = &vcpu->exit.npf;
	struct mote_policy *policy = policy_begin(vcpu, kind, npf->gpa, npf->access);
	int err;

	policy->size = nr;
	policy->length = 0;
	switch (policy_ask(vcpu)) {
	case MOTE_FILTER_DENY:
		return mote_exit_fault(vcpu, X86_TRAP_GP, 0);
	case MOTE_POLICY_COMPLETE:
		/* A watched access takes place then, and that was all. */
		if (!policy->length && kind == MOTE_POLICY_WATCH && !npf->error)
			return MOTE_NEXT_ENTER;
		if (!policy->length || policy->length > 15)
			break;
		err = mote_vcpu_load(vcpu);
		if (err)
			return err;
		mote_complete(vcpu, mote_next_rip(vcpu, policy->length));
		mote_vcpu_unload(vcpu);
		return MOTE_NEXT_ENTER;
	}
	return MOTE_NEXT_USER;
}

int mote_policy_mmio(struct mote_vcpu *vcpu)
{
	struct mote_cpu_mode mode;

	mote_ops->get_mode(vcpu, &mode);
	return mote_policy_memory(vcpu, MOTE_POLICY_MMIO,
				  mote_mem_fetch(vcpu, &mode, vcpu->policy.insn, NULL));
}
