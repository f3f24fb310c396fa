// SPDX-License-Identifier: GPL-2.0
/*
 * What is traced around each entry and exit, and the branch that leads here.  An event
 * with a result (IN, CPUID, MSRs, the exit's duration) is traced at the next entry.
 */
#include <asm/tsc.h>

#include "../vendor.h"
#define CREATE_TRACE_POINTS
#include "trace.h"

DEFINE_STATIC_KEY_FALSE(mote_traced);
u32 mote_trace_generation;

/* The tracepoints call this for each event's first user, one call at a time. */
int mote_trace_begin(void)
{
	if (!static_key_enabled(&mote_traced))
		WRITE_ONCE(mote_trace_generation, mote_trace_generation + 1);
	static_branch_inc(&mote_traced);
	return 0;
}

void mote_trace_end(void)
{
	static_branch_dec(&mote_traced);
}

static void trace_pio(const struct mote_vcpu *vcpu)
{
	const struct mote_pio *pio = &vcpu->exit.pio;
	u64 value = vcpu->gpr[MOTE_RAX] & GENMASK_ULL(pio->size * 8 - 1, 0);

	trace_mote_pio(vcpu->vm->id, vcpu->id, pio->port, pio->size, pio->flags,
		       pio->flags & MOTE_PIO_STRING ? 0 : value);
}

static void trace_handled(const struct mote_vcpu *vcpu, u64 tsc)
{
	const struct mote_traced *last = &vcpu->traced;
	const u64 *gpr = vcpu->gpr;
	u32 vm = vcpu->vm->id;

	switch (last->reason) {
	case MOTE_EXIT_CPUID:
		trace_mote_cpuid(vm, vcpu->id, last->rax, last->rcx, gpr[MOTE_RAX], gpr[MOTE_RBX],
				 gpr[MOTE_RCX], gpr[MOTE_RDX]);
		break;
	case MOTE_EXIT_RDMSR:
	case MOTE_EXIT_WRMSR:
		trace_mote_msr(vm, vcpu->id, last->reason == MOTE_EXIT_WRMSR, last->rcx,
			       mote_edx_eax(vcpu), vcpu->rip != last->rip);
		break;
	case MOTE_EXIT_PIO:
		if (vcpu->exit.pio.flags & MOTE_PIO_IN)
			trace_pio(vcpu);
		break;
	}
	trace_mote_exit_handled(vm, vcpu->id, last->reason, last->raw, fls(last->where), last->rip,
				last->tsc, tsc);
}

void mote_trace_entry(struct mote_vcpu *vcpu)
{
	u64 tsc = rdtsc();

	if (vcpu->traced.generation == READ_ONCE(mote_trace_generation))
		trace_handled(vcpu, tsc);
	trace_mote_entry(vcpu->vm->id, vcpu->id, tsc, vcpu->rip);
}

/* What is asked of the CPU for this event alone, nobody else pays for. */
static void trace_frame(struct mote_vcpu *vcpu, u64 tsc)
{
	struct mote_cpu_mode mode;

	if (!trace_mote_frame_enabled())
		return;
	mote_ops->get_mode(vcpu, &mode);
	trace_mote_frame(vcpu->vm->id, vcpu->id, tsc, vcpu->exit.reason, vcpu->rip,
			 vcpu->gpr[MOTE_RSP], vcpu->gpr[MOTE_RBP], mode.cr3, mode.cr4, mode.efer,
			 mode.cs_attr, mode.cpl);
}

void mote_trace_exit(struct mote_vcpu *vcpu)
{
	const struct mote_exit *exit = &vcpu->exit;
	const u64 *gpr = vcpu->gpr;
	u32 vm = vcpu->vm->id;
	u64 tsc = rdtsc();

	vcpu->traced = (struct mote_traced){
		.tsc = tsc, .rip = vcpu->rip, .rax = gpr[MOTE_RAX], .rcx = gpr[MOTE_RCX],
		.reason = exit->reason, .raw = exit->raw, .generation = mote_trace_generation,
	};
	trace_mote_exit(vm, vcpu->id, tsc, exit->reason, exit->raw, vcpu->rip, exit->qualification,
			exit->reason == MOTE_EXIT_NPF ? exit->npf.gpa : 0);
	trace_frame(vcpu, tsc);
	if (exit->reason == MOTE_EXIT_PIO && !(exit->pio.flags & MOTE_PIO_IN))
		trace_pio(vcpu);
	else if (exit->reason == MOTE_EXIT_HYPERCALL)
		trace_mote_hypercall(vm, vcpu->id, gpr[MOTE_RAX], gpr[MOTE_RBX], gpr[MOTE_RCX],
				     gpr[MOTE_RDX], gpr[MOTE_RSI]);
}
