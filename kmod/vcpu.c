// SPDX-License-Identifier: GPL-2.0
/*
 * Virtual CPUs: creation, state, and the run loop.
 *
 * The loop runs with preemption off and the vCPU loaded, so that no preempt
 * notifier is needed: it leaves when the host has other work.  What may sleep
 * is done with the vCPU unloaded.  Interrupts are off from the last look at signals
 * and requests until the guest has been left; see mote_vm_request().
 *
 * Locking: vcpu->lock is held by the caller of everything here.
 *
 * Not here: what an exit means (exit.c), events (event.c), requests (request.c).
 */
#include <linux/entry-common.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/task_work.h>
#include <asm/fpu/api.h>
#include <asm/fpu/xcr.h>
#include <asm/nospec-branch.h>

#include "answer/answer.h"
#include "apic/lapic.h"
#include "mote.h"
#include "trace/trace.h"
#include "vendor.h"
#include "watch/watch.h"

/* ---- tracing ------------------------------------------------------------------- */

static __always_inline void vcpu_trace_state(struct mote_vcpu *vcpu, u32 state)
{
	if (trace_mote_vcpu_state_enabled())
		trace_mote_vcpu_state(vcpu->vm->id, vcpu->id, rdtsc(), state);
}

/* ---- state ---------------------------------------------------------------------------- */

static void vcpu_set_msrs(struct mote_vcpu *vcpu, const struct mote_msrs *msrs)
{
	u64 old = vcpu->msrs.apic_base;
	u32 i;

	vcpu->msrs = *msrs;
	for (i = 0; i < MOTE_NR_VENDOR_MSRS; i++)
		mote_ops->set_msr(vcpu, i, (&msrs->efer)[i]);
	mote_lapic_base_changed(vcpu, old);
	mote_pv_changed(vcpu);
}

/* All but the XSAVE image. */
static void vcpu_get_state(struct mote_vcpu *vcpu, struct mote_state *state, u32 mask)
{
	const struct mote_vm *vm = vcpu->vm;

	if (mask & MOTE_STATE_GPRS) {
		memcpy(state->gprs.gpr, vcpu->gpr, sizeof(vcpu->gpr));
		state->gprs.rip = vcpu->rip;
		state->gprs.rflags = vcpu->rflags;
	}
	/* The common fields first: a vendor's get_state() fills its own only. */
	if (mask & MOTE_STATE_CRS) {
		state->crs.cr2 = vcpu->cr2;
		state->crs.cr8 = vcpu->cr8;
		state->crs.xcr0 = vcpu->xcr0;
	}
	if (mask & MOTE_STATE_DRS) {
		memcpy(state->drs.dr, vcpu->dr, sizeof(vcpu->dr));
		state->drs.dr6 = vcpu->dr6;
	}
	if (mask & MOTE_STATE_MSRS) {
		state->msrs = vcpu->msrs;
		for (u32 i = 0; i < MOTE_NR_VENDOR_MSRS; i++)
			(&state->msrs.efer)[i] = mote_ops->get_msr(vcpu, i);
	}
	if (mask & MOTE_STATE_EVENTS)
		state->events = (struct mote_events){
			.injected = vcpu->event, .nmi_pending = atomic_read(&vcpu->nmis),
			.halted = vcpu->halted,
		};
	if (mask & MOTE_STATE_TSC) {
		state->tsc.offset = vcpu->tsc_offset - mote_tsc_base(vm, &vcpu->resumes);
		state->tsc.value = mote_tsc_scale(vm, rdtsc()) + mote_tsc_base(vm, &mote_resumes) +
				   state->tsc.offset;
	}
	mote_ops->get_state(vcpu, state, mask);
}

/* Would a CPU enter this state?  The first check that fails, %MOTE_CHECK_NONE, or -ENOMEM. */
static int vcpu_judge(struct mote_vcpu *vcpu)
{
	struct mote_state *state = kzalloc(sizeof(*state), GFP_KERNEL_ACCOUNT);
	int check;

	if (!state)
		return -ENOMEM;
	vcpu_get_state(vcpu, state, MOTE_STATE_ALL & ~MOTE_STATE_XSAVE);
	check = mote_check_state(state, &mote_caps);
	kfree(state);
	return check;
}

static bool vcpu_is_reserved_zero(const struct mote_vcpu *vcpu, const struct mote_state *state)
{
	return !(state->mask & ~(MOTE_STATE_ALL | (vcpu->lapic ? MOTE_STATE_APIC : 0))) &&
	       !memchr_inv(state->reserved, 0, sizeof(state->reserved));
}

int mote_vcpu_get_state(struct mote_vcpu *vcpu, struct mote_state *state, void *xsave)
{
	u32 mask = state->mask;

	if (!vcpu_is_reserved_zero(vcpu, state))
		return -EINVAL;
	if ((mask & MOTE_STATE_APIC && mote_lapic_withdraw_eoi(vcpu, true)) ||
	    (mask & MOTE_STATE_MSRS && !mote_pv_settle(vcpu)))
		return -EINTR;
	*state = (struct mote_state){
		.mask = mask, .xsave_size = state->xsave_size, .xsave = state->xsave,
	};
	vcpu_get_state(vcpu, state, mask);
	if (mask & MOTE_STATE_APIC)
		mote_lapic_get(vcpu, &state->apic);
	if (mask & MOTE_STATE_XSAVE)
		fpu_copy_guest_fpstate_to_uabi(&vcpu->fpu, xsave, vcpu->fpu.uabi_size,
					       mote_caps.xcr0, 0);
	return 0;
}

void mote_vcpu_set(struct mote_vcpu *vcpu, const struct mote_state *state)
{
	u32 mask = state->mask & ~MOTE_STATE_XSAVE;

	if (mask & MOTE_STATE_GPRS) {
		memcpy(vcpu->gpr, state->gprs.gpr, sizeof(vcpu->gpr));
		vcpu->rip = state->gprs.rip;
		vcpu->rflags = state->gprs.rflags;
	}
	if (mask & MOTE_STATE_CRS) {
		vcpu->cr2 = state->crs.cr2;
		vcpu->cr8 = state->crs.cr8;
		vcpu->xcr0 = state->crs.xcr0;
	}
	if (mask & MOTE_STATE_DRS) {
		memcpy(vcpu->dr, state->drs.dr, sizeof(vcpu->dr));
		vcpu->dr6 = state->drs.dr6;
	}
	if (mask & MOTE_STATE_MSRS)
		vcpu_set_msrs(vcpu, &state->msrs);
	if (mask & MOTE_STATE_EVENTS)
		mote_event_set(vcpu, &state->events);
	if (mask & MOTE_STATE_TSC)
		mote_time_set_offset(vcpu, state->tsc.offset +
					   mote_tsc_base(vcpu->vm, &vcpu->resumes));
	if (mask & MOTE_STATE_GPRS)
		vcpu->next_rip = 0;
	vcpu->check = true;
	mote_ops->set_state(vcpu, state, mask);
}

/* What mote_check_values() cannot judge without the vCPU. */
static bool vcpu_fits_lapic(const struct mote_vcpu *vcpu, const struct mote_state *state)
{
	u64 apic_base = state->mask & MOTE_STATE_MSRS ? state->msrs.apic_base :
							vcpu->msrs.apic_base;

	if (state->mask & MOTE_STATE_EVENTS && !vcpu->lapic && state->events.halted > MOTE_HALTED)
		return false;
	if (state->mask & MOTE_STATE_MSRS && !vcpu->lapic && state->msrs.pv_eoi & 1)
		return false;
	return !(state->mask & MOTE_STATE_APIC) ||
	       mote_apic_is_valid(&state->apic, vcpu->id, apic_base & X2APIC_ENABLE);
}

int mote_vcpu_set_state(struct mote_vcpu *vcpu, const struct mote_state *state, const void *xsave)
{
	u32 pkru = 0;
	int err;

	if (!vcpu_is_reserved_zero(vcpu, state))
		return -EINVAL;
	err = mote_check_values(state, &mote_caps);
	if (!err && !vcpu_fits_lapic(vcpu, state))
		err = -EINVAL;
	/* An offer that is open is one of the APIC and the MSR that go. */
	if (!err && vcpu->lapic && state->mask & (MOTE_STATE_APIC | MOTE_STATE_MSRS))
		err = mote_lapic_withdraw_eoi(vcpu, true);
	/* The image is judged and taken in one step: last of what can fail. */
	if (!err && state->mask & MOTE_STATE_XSAVE)
		err = fpu_copy_uabi_to_guest_fpstate(&vcpu->fpu, xsave, mote_caps.xcr0, &pkru);
	if (err)
		return err;
	mote_vcpu_set(vcpu, state);
	if (state->mask & MOTE_STATE_APIC)
		mote_lapic_set(vcpu, &state->apic);
	return 0;
}

int mote_vcpu_set_debug(struct mote_vcpu *vcpu, const struct mote_debug *debug)
{
	struct mote_state state = {};

	if (debug->exceptions & MOTE_DEBUG_NEVER ||
	    debug->flags & ~(MOTE_DEBUG_DRS | MOTE_DEBUG_HOLD | MOTE_DEBUG_UNWATCHED))
		return -EINVAL;
	vcpu->debug = *debug;
	vcpu->hears_lapic = vcpu->lapic && !(debug->flags & MOTE_DEBUG_HOLD);
	/* What was held has its turn; a step of watches is the debugger's now. */
	vcpu->step_rip = ~0ull;
	atomic_or(MOTE_REQ_EVENT | MOTE_REQ_VIEW, &vcpu->requests);
	mote_ops->get_state(vcpu, &state, MOTE_STATE_DRS);
	mote_ops->set_state(vcpu, &state, MOTE_STATE_DRS);
	return 0;
}

struct mote_cpuid *mote_vcpu_set_cpuid(struct mote_vcpu *vcpu, struct mote_cpuid *cpuid)
{
	struct mote_cpu_mode mode;

	mote_ops->get_mode(vcpu, &mode);
	swap(vcpu->cpuid, cpuid);
	vcpu->caps = mote_cpuid_caps(vcpu->cpuid, &mote_caps);
	mote_ops->set_cr(vcpu, 4, mode.cr4);
	return cpuid;
}

/* ---- creation --------------------------------------------------------------- */

static atomic64_t vcpu_serials;

static void vcpu_free(struct mote_vcpu *vcpu)
{
	if (vcpu->fpu.fpstate)
		fpu_free_guest_fpstate(&vcpu->fpu);
	mote_lapic_destroy(vcpu);
	put_pid(rcu_dereference_protected(vcpu->pid, true));
	free_page((unsigned long)vcpu->run);
	kfree(vcpu->cpuid);
	kfree(vcpu);
}

static struct mote_vcpu *vcpu_alloc(struct mote_vm *vm, u32 id)
{
	struct mote_vcpu *vcpu = kzalloc(mote_ops->vcpu_size, GFP_KERNEL_ACCOUNT);

	if (!vcpu)
		return NULL;
	vcpu->vm = vm;
	vcpu->id = id;
	vcpu->serial = atomic64_inc_return(&vcpu_serials);
	vcpu->cpu = -1;
	vcpu->step_rip = ~0ull;
	vcpu->caps = mote_caps;
	mote_time_init(vcpu);
	mutex_init(&vcpu->lock);
	rcuwait_init(&vcpu->wait);
	vcpu->run = (void *)get_zeroed_page(GFP_KERNEL_ACCOUNT);
	vcpu->cpuid = kzalloc(sizeof(*vcpu->cpuid), GFP_KERNEL_ACCOUNT);
	if (vcpu->run && vcpu->cpuid && !mote_lapic_create(vcpu) &&
	    fpu_alloc_guest_fpstate(&vcpu->fpu))
		return vcpu;
	vcpu_free(vcpu);
	return NULL;
}

int mote_vcpu_create(struct mote_vm *vm, const struct mote_vcpu_config *config,
		     struct mote_vcpu **created)
{
	struct mote_vcpu *vcpu, ***group;
	int err;

	if (config->id >= MOTE_MAX_VCPUS || config->flags ||
	    memchr_inv(config->reserved, 0, sizeof(config->reserved)))
		return -EINVAL;
	vcpu = vcpu_alloc(vm, config->id);
	if (!vcpu)
		return -ENOMEM;

	mutex_lock(&vm->lock);
	group = &vm->vcpus[array_index_nospec(vcpu->id, MOTE_MAX_VCPUS) / MOTE_VCPU_GROUP];
	err = -EEXIST;
	if (mote_vm_vcpu(vm, vcpu->id))
		goto err_unlock;
	err = -ENOMEM;
	if (!*group)
		/* mote_vm_vcpu() reads it without the lock, and what is stored in it below. */
		smp_store_release(group, kcalloc(MOTE_VCPU_GROUP, sizeof(**group),
						 GFP_KERNEL_ACCOUNT));
	if (!*group)
		goto err_unlock;
	err = (vm->msr_map ? 0 : mote_vm_get_msr_map(vm)) ?: mote_ops->vcpu_init(vcpu);
	if (err)
		goto err_unlock;
	mote_vcpu_reset(vcpu);
	/* See above. */
	smp_store_release(&(*group)[vcpu->id % MOTE_VCPU_GROUP], vcpu);
	WRITE_ONCE(vm->end_id, max(vm->end_id, vcpu->id + 1));
	vm->nr_vcpus++;
	mutex_unlock(&vm->lock);
	vcpu_trace_state(vcpu, MOTE_VCPU_CREATED);
	*created = vcpu;
	return 0;

err_unlock:
	mutex_unlock(&vm->lock);
	vcpu_free(vcpu);
	return err;
}

void mote_vcpu_destroy(struct mote_vcpu *vcpu)
{
	vcpu_trace_state(vcpu, MOTE_VCPU_DESTROYED);
	mote_ops->vcpu_destroy(vcpu);
	vcpu_free(vcpu);
}

/* ---- the run loop -------------------------------------------------------------------- */

#define HOST_WORK (_TIF_SIGPENDING | _TIF_NOTIFY_SIGNAL | _TIF_NOTIFY_RESUME | \
		   _TIF_NEED_RESCHED | _TIF_NEED_FPU_LOAD)

/* Not by hardware; what else there is to an exit belongs to other reasons. */
static void vcpu_set_reason(struct mote_vcpu *vcpu, u32 reason)
{
	vcpu->exit.reason = reason;
	vcpu->exit.raw = 0;
	vcpu->exit.insn_len = 0;
	vcpu->exit.qualification = 0;
}

static __always_inline u32 vcpu_has_work(struct mote_vcpu *vcpu)
{
	return atomic_read(&vcpu->requests) | vcpu->window | vcpu->event.valid | vcpu->halted;
}

/*
 * Last look before the entry, with interrupts off.  Return: MOTE_NEXT_ENTER,
 * another place to go first, or -EINTR.
 */
static int vcpu_prepare(struct mote_vcpu *vcpu)
{
	unsigned long work = read_thread_flags() & HOST_WORK;
	u32 requests;

	vcpu_set_reason(vcpu, MOTE_EXIT_NONE);
	if (work & _TIF_NEED_FPU_LOAD)
		switch_fpu_return();
	/*
	 * What is to be done on the way back to user space may wait for some entries, as in a
	 * system call: a thread has it, for rseq, whenever it has slept, as in HLT.
	 */
	if (work & (_TIF_SIGPENDING | _TIF_NOTIFY_SIGNAL) || READ_ONCE(vcpu->run->immediate_exit) ||
	    (work & _TIF_NOTIFY_RESUME && (task_work_pending(current) || vcpu->put_off++ == 30)))
		return -EINTR;
	if (work & _TIF_NEED_RESCHED) {
		mote_pv_preempted(vcpu);
		return MOTE_NEXT_SLEEP;
	}
	if (unlikely(mote_pv_is_stale(vcpu)))
		return MOTE_NEXT_SLEEP;
	if (!vcpu_has_work(vcpu))
		return MOTE_NEXT_ENTER;
	if (unlikely(mote_lapic_is_signalled(vcpu))) {
		vcpu->exit.reason = MOTE_EXIT_INIT;
		return MOTE_NEXT_SLEEP;
	}
	if (vcpu->window && vcpu->rip != vcpu->step_rip && mote_event_ends_run(vcpu))
		return MOTE_NEXT_USER;
	/* Requests are cleared last, so that an early return keeps them. */
	requests = atomic_read(&vcpu->requests) ? atomic_xchg(&vcpu->requests, 0) : 0;
	if (requests & MOTE_REQ_FLUSH)
		mote_ops->flush(vcpu);
	if (unlikely(requests & MOTE_REQ_VIEW))
		mote_watch_look(vcpu, requests);
	if (unlikely(vcpu->view == MOTE_VIEW_STEP))
		return MOTE_NEXT_ENTER;
	if (vcpu->halted != MOTE_WAITS_FOR_SIPI)
		mote_event_prepare(vcpu);
	if (vcpu->halted) {
		vcpu->exit.reason = MOTE_EXIT_HLT;
		return MOTE_NEXT_SLEEP;
	}
	return MOTE_NEXT_ENTER;
}

/*
 * The guest's XCR0 is in force from just before the entry to just after the
 * exit only: the host's interrupts may use the FPU.
 */
static __always_inline void vcpu_enter(struct mote_vcpu *vcpu)
{
	if (static_branch_unlikely(&mote_traced))
		mote_trace_entry(vcpu);
	if (vcpu->xcr0 != mote_host_xcr0)
		xsetbv(XCR_XFEATURE_ENABLED_MASK, vcpu->xcr0);
	static_call(mote_op_run)(vcpu);
	if (vcpu->xcr0 != mote_host_xcr0)
		xsetbv(XCR_XFEATURE_ENABLED_MASK, mote_host_xcr0);
	if (static_branch_unlikely(&mote_traced))
		mote_trace_exit(vcpu);
}

/*
 * An entry in %MOTE_VIEW_STEP: what is on its way goes in, and nothing else, or an instruction is
 * executed.  If that was all, the vCPU is in another view.  Return: what becomes of the exit.
 */
static noinline enum mote_next vcpu_step(struct mote_vcpu *vcpu)
{
	bool waits = vcpu->event.valid;
	enum mote_next next;

	if (waits)
		mote_event_prepare(vcpu);
	if (waits && !vcpu->event.valid) {
		mote_watch_deliver();
		vcpu_enter(vcpu);
	} else {
		mote_watch_begin_step(vcpu);
		vcpu_enter(vcpu);
		mote_watch_end_step(vcpu);
	}
	vcpu->run->exits[vcpu->exit.reason]++;
	if (likely(vcpu->view != MOTE_VIEW_STEP))
		return MOTE_NEXT_ENTER;
	atomic_or(MOTE_REQ_VIEW, &vcpu->requests);
	local_irq_enable();
	next = mote_exit_handle(vcpu);
	local_irq_disable();
	return next;
}

static int vcpu_prepare_slow(struct mote_vcpu *vcpu)
{
	int next;

	/* Interrupts were off all the time behind a mere step, else anything may have come up. */
	do {
		next = vcpu_prepare(vcpu);
		if (likely(vcpu->view != MOTE_VIEW_STEP) || next != MOTE_NEXT_ENTER)
			return next;
		next = vcpu_step(vcpu);
	} while (next == MOTE_NEXT_ENTER && vcpu_has_work(vcpu));
	return next;
}

/* Run until something needs the vCPU to be unloaded. */
static int vcpu_run_loaded(struct mote_vcpu *vcpu)
{
	unsigned long tick = jiffies;
	int next = MOTE_NEXT_ENTER;

	do {
		local_irq_disable();
		/* No section of RCU's lasts from one entry to the next. */
		if (unlikely(tick != READ_ONCE(jiffies))) {
			tick = READ_ONCE(jiffies);
			rcu_note_context_switch(false);
		}
		if (unlikely((read_thread_flags() & HOST_WORK) | vcpu_has_work(vcpu) |
			     READ_ONCE(vcpu->run->immediate_exit)))
			next = vcpu_prepare_slow(vcpu);
		if (next == MOTE_NEXT_ENTER) {
			current->flags |= PF_VCPU; /* a tick that ends the guest is its time */
			vcpu_enter(vcpu);
		}
		local_irq_enable();
		if (next != MOTE_NEXT_ENTER)
			break;
		vcpu->run->exits[vcpu->exit.reason]++;
		barrier();
		current->flags &= ~PF_VCPU;
		next = mote_exit_handle(vcpu);
	} while (next == MOTE_NEXT_ENTER);
	return next;
}

/* The guest may have trained what the VMM process's branches on this CPU are predicted from. */
static void vcpu_distrust_branches(void)
{
#ifdef X86_FEATURE_IBPB_EXIT_TO_USER
	if (cpu_feature_enabled(X86_FEATURE_IBPB_EXIT_TO_USER))
		this_cpu_write(x86_ibpb_exit_to_user, true);
#endif
}

/* @rip: behind the instruction that user space has completed, 0 for none. */
static int vcpu_run_loop(struct mote_vcpu *vcpu, u64 rip)
{
	int next;

	do {
		if (unlikely(mote_pv_is_stale(vcpu)))
			mote_pv_publish(vcpu);
		next = mote_vcpu_load(vcpu);
		if (next)
			break;
		if (rip) {
			mote_complete(vcpu, rip);
			rip = 0;
		}
		next = vcpu_run_loaded(vcpu);
		vcpu_distrust_branches();
		mote_vcpu_unload(vcpu);
		if (next == MOTE_NEXT_SLEEP)
			next = mote_exit_slow(vcpu);
	} while (next == MOTE_NEXT_ENTER);
	return next;
}

/* ---- the run page --------------------------------------------------------------------- */

/* Flags that no check looks at: arithmetic, DF. */
#define HARMLESS_FLAGS (X86_EFLAGS_CF | X86_EFLAGS_PF | X86_EFLAGS_AF | X86_EFLAGS_ZF | \
			X86_EFLAGS_SF | X86_EFLAGS_OF | X86_EFLAGS_DF)

/*
 * What user space changed in the run page since the last run.  A RIP in another
 * 4 GiB or flags that matter are judged with the rest of the state.
 * @complete: out: where to go on behind a completed instruction, if there is one
 */
static int vcpu_take_registers(struct mote_vcpu *vcpu, u64 *complete)
{
	struct mote_run *run = vcpu->run;
	u32 set = READ_ONCE(run->set), gprs, i;
	u64 rip = vcpu->next_rip;

	if (!set)
		return 0;
	if (set & ~(0xffffu | MOTE_SET_RIP | MOTE_SET_RFLAGS | MOTE_SET_COMPLETE))
		return -EINVAL;
	if (set & MOTE_SET_COMPLETE && !(set & MOTE_SET_RIP) && !rip)
		return -EINVAL;
	WRITE_ONCE(run->set, 0);
	for (gprs = set & 0xffff; gprs; gprs &= gprs - 1) {
		i = __ffs(gprs);
		vcpu->gpr[i] = READ_ONCE(run->gpr[i]);
	}
	if (set & MOTE_SET_RFLAGS) {
		u64 rflags = READ_ONCE(run->rflags);

		vcpu->check |= (rflags ^ vcpu->rflags) & ~HARMLESS_FLAGS;
		vcpu->rflags = rflags;
	}
	if (set & MOTE_SET_RIP) {
		rip = READ_ONCE(run->rip);
		vcpu->check |= (rip ^ vcpu->rip) >> 32;
	}
	if (set & MOTE_SET_COMPLETE) {
		*complete = rip;
		return rip ? 0 : -EINVAL;
	}
	if (set & MOTE_SET_RIP)
		vcpu->rip = rip;
	return 0;
}

/* State was set from outside: judge it, as it is behind the instruction that is complete. */
static noinline int vcpu_judge_new(struct mote_vcpu *vcpu, u64 *complete)
{
	int err;

	if (*complete) {
		err = mote_vcpu_load(vcpu);
		if (err)
			return err;
		mote_complete(vcpu, *complete);
		mote_vcpu_unload(vcpu);
		*complete = 0;
	}
	return vcpu_judge(vcpu);
}

/* @check: the one that failed; of interest where there was no entry. */
static void vcpu_fill_run(struct mote_vcpu *vcpu, int check)
{
	const struct mote_exit *exit = &vcpu->exit;
	struct mote_run *run = vcpu->run;

	vcpu->next_rip = exit->insn_len ? mote_next_rip(vcpu, exit->insn_len) : 0;
	memcpy(run->gpr, vcpu->gpr, sizeof(run->gpr));
	run->rip = vcpu->rip;
	run->rflags = vcpu->rflags;
	run->reason = exit->reason;
	run->raw_reason = exit->raw;
	run->next_rip = vcpu->next_rip;
	switch (exit->reason) {
	case MOTE_EXIT_PIO:
		run->pio = exit->pio;
		if (exit->pio.flags & MOTE_PIO_STRING)
			mote_ops->get_mode(vcpu, &run->mode);
		break;
	case MOTE_EXIT_MMIO:
	case MOTE_EXIT_MEMORY:
		mote_ops->get_mode(vcpu, &run->mode);
		fallthrough;
	case MOTE_EXIT_WATCH:
		run->memory = exit->npf;
		break;
	case MOTE_EXIT_RDMSR:
	case MOTE_EXIT_WRMSR:
		run->msr.index = vcpu->gpr[MOTE_RCX];
		run->msr.data = mote_edx_eax(vcpu);
		break;
	case MOTE_EXIT_EOI:
		run->eoi.vector = exit->vector;
		break;
	case MOTE_EXIT_TASK_SWITCH:
		run->task = exit->task;
		break;
	case MOTE_EXIT_FAIL_ENTRY:
		run->fail.hardware = exit->fail;
		run->fail.check = check < 0 ? MOTE_CHECK_NO_MEMORY : check;
		break;
	}
}

int mote_vcpu_run(struct mote_vcpu *vcpu)
{
	u64 complete = 0;
	int next, check = 0;

	vcpu_set_reason(vcpu, MOTE_EXIT_INTERRUPT);
	vcpu->put_off = 0;
	next = vcpu_take_registers(vcpu, &complete);
	if (next)
		return next;
	vcpu->traced.where |= MOTE_HANDLED_USER;
	vcpu_trace_state(vcpu, MOTE_VCPU_RUN);
	if (unlikely(rcu_access_pointer(vcpu->pid) != task_pid(current)))
		mote_vcpu_new_task(vcpu);
	vcpu->window = READ_ONCE(vcpu->run->window) &
		       (MOTE_WINDOW_INTERRUPT | MOTE_WINDOW_NMI | MOTE_WINDOW_EXIT);
	if (unlikely(vcpu->check))
		check = vcpu_judge_new(vcpu, &complete);
	if (check < 0) {
		next = check;
	} else if (check) {
		vcpu->exit.reason = MOTE_EXIT_FAIL_ENTRY;
		vcpu->exit.fail = 0; /* not by hardware */
	} else {
		vcpu->check = false;
		fpu_swap_kvm_fpstate(&vcpu->fpu, true);
		next = vcpu_run_loop(vcpu, complete);
		fpu_swap_kvm_fpstate(&vcpu->fpu, false);
		if (vcpu->exit.reason == MOTE_EXIT_FAIL_ENTRY) {
			vcpu->check = true;
			check = vcpu_judge(vcpu);
		}
	}
	if (next < 0)
		vcpu_set_reason(vcpu, MOTE_EXIT_INTERRUPT);
	vcpu_fill_run(vcpu, check);
	vcpu_trace_state(vcpu, MOTE_VCPU_USER);
	return min(next, 0);
}
