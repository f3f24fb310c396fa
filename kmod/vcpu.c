// SPDX-License-Identifier: GPL-2.0
/*
 * Virtual CPUs: creation, state, and the run loop.
 *
 * The loop runs with preemption off and the vCPU loaded, so that no preempt
 * notifier is needed: it leaves when the host has other work.  What may sleep
 * is done with the vCPU put.  Interrupts are off from the last look at signals
 * and requests until the guest has been left; see mote_vm_request().
 *
 * Locking: vcpu->lock is held by the caller of everything here but
 * mote_vcpu_nmi() and mote_vcpu_request().
 *
 * Not here: what an exit means (exit.c).
 */
#include <linux/entry-common.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/task_work.h>
#include <asm/apicdef.h>
#include <asm/debugreg.h>
#include <asm/fpu/api.h>
#include <asm/fpu/xcr.h>
#include <asm/trapnr.h>
#include <trace/events/ipi.h>

#include "apic/lapic.h"
#include "mote.h"
#include "pv/pv.h"
#include "trace/trace.h"
#include "vendor.h"

/* ---- load and put -------------------------------------------------------------- */

/*
 * The TSC is another one: that of another CPU, or it has begun anew while the host
 * was suspended.  The guest's does not go back.
 */
static noinline void vcpu_new_tsc(struct mote_vcpu *vcpu)
{
	u64 offset = vcpu->tsc_offset +
		     mote_tsc_scale(vcpu->vm, mote_resumes.tsc_lost - vcpu->tsc_lost);

	if (check_tsc_unstable()) {
		u64 now = mote_tsc_scale(vcpu->vm, rdtsc()) + offset;
		u64 last = mote_guest_tsc(vcpu, vcpu->tsc_last);

		if (vcpu->tsc_cpu >= 0 && (s64)(last - now) > 0)
			offset += last - now;
		mote_pv_changed(vcpu);
	}
	if (vcpu->resumes != mote_resumes.count)
		mote_pv_changed(vcpu);
	vcpu->tsc_cpu = smp_processor_id();
	vcpu->resumes = mote_resumes.count;
	vcpu->tsc_lost = mote_resumes.tsc_lost;
	if (offset != vcpu->tsc_offset) {
		vcpu->tsc_offset = offset;
		mote_ops->set_state(vcpu, NULL, MOTE_PART_TSC);
	}
}

/* Preemption is off from here to vcpu_put(). */
static int vcpu_load(struct mote_vcpu *vcpu)
{
	preempt_disable();
	if (!this_cpu_read(mote_cpu_enabled)) {
		preempt_enable();
		return -EIO;
	}
	mote_ops->load(vcpu);
	if (unlikely(vcpu->tsc_cpu != smp_processor_id() || vcpu->resumes != mote_resumes.count))
		vcpu_new_tsc(vcpu);
	vcpu->cpu = smp_processor_id();
	WRITE_ONCE(vcpu->mode, MOTE_MODE_LOADED);
	/* Mode before requests: see mote_vm_request(). */
	smp_mb();
	return 0;
}

static void vcpu_put(struct mote_vcpu *vcpu)
{
	/* Pairs with mote_vm_request(): who sees it out need not send an interrupt. */
	smp_store_release(&vcpu->mode, MOTE_MODE_OUT);
	mote_ops->put(vcpu);
	if (unlikely(check_tsc_unstable()))
		vcpu->tsc_last = rdtsc();
	preempt_enable();
}

static __always_inline void vcpu_trace_state(struct mote_vcpu *vcpu, u32 state)
{
	if (trace_mote_vcpu_state_enabled())
		trace_mote_vcpu_state(vcpu->vm->id, vcpu->id, rdtsc(), state);
}

/* ---- state ---------------------------------------------------------------------------- */

static void vcpu_get_gprs(struct mote_vcpu *vcpu, struct mote_gprs *gprs)
{
	memcpy(gprs->gpr, vcpu->gpr, sizeof(gprs->gpr));
	gprs->rip = vcpu->rip;
	gprs->rflags = vcpu->rflags;
}

/* All but the XSAVE image. */
static void vcpu_get_state(struct mote_vcpu *vcpu, struct mote_state *state, u32 mask)
{
	if (mask & MOTE_STATE_GPRS)
		vcpu_get_gprs(vcpu, &state->gprs);
	/* The common fields first: a vendor's vcpu_get_state() fills its own only. */
	if (mask & MOTE_STATE_CRS) {
		state->crs.cr2 = vcpu->cr2;
		state->crs.cr8 = vcpu->cr8;
		state->crs.xcr0 = vcpu->xcr0;
	}
	if (mask & MOTE_STATE_DRS) {
		memcpy(state->drs.dr, vcpu->dr, sizeof(vcpu->dr));
		state->drs.dr6 = vcpu->dr6;
	}
	if (mask & MOTE_STATE_MSRS)
		state->msrs = vcpu->msrs;
	if (mask & MOTE_STATE_EVENTS)
		state->events = (struct mote_events){
			.injected = vcpu->event, .nmi_pending = atomic_read(&vcpu->nmis),
			.halted = vcpu->halted,
		};
	if (mask & MOTE_STATE_TSC) {
		state->tsc.offset = vcpu->tsc_offset;
		state->tsc.value = mote_guest_tsc(vcpu, rdtsc());
	}
	mote_ops->get_state(vcpu, state, mask);
}

/* Would a CPU enter this state?  @failed: the first check that fails, or NULL; 0 or -ENOMEM. */
static int vcpu_judge(struct mote_vcpu *vcpu, const struct mote_check **failed)
{
	struct mote_state *state = kzalloc(sizeof(*state), GFP_KERNEL_ACCOUNT);

	if (!state)
		return -ENOMEM;
	vcpu_get_state(vcpu, state, MOTE_STATE_ALL & ~MOTE_STATE_XSAVE);
	*failed = mote_check_state(state, &mote_caps);
	kfree(state);
	return 0;
}

u32 mote_vcpu_xsave_size(struct mote_vcpu *vcpu)
{
	return vcpu->fpu.uabi_size;
}

static bool vcpu_is_reserved_zero(const struct mote_vcpu *vcpu, const struct mote_state *state)
{
	return !(state->mask & ~(MOTE_STATE_ALL | (vcpu->lapic ? MOTE_STATE_APIC : 0))) &&
	       !memchr_inv(state->reserved, 0, sizeof(state->reserved));
}

int mote_vcpu_get_state(struct mote_vcpu *vcpu, struct mote_state *state, void *xsave)
{
	u32 mask = state->mask;
	u32 size = state->xsave_size;
	u64 user = state->xsave;

	if (!vcpu_is_reserved_zero(vcpu, state))
		return -EINVAL;
	memset(state, 0, sizeof(*state));
	state->mask = mask;
	state->xsave_size = size;
	state->xsave = user;
	vcpu_get_state(vcpu, state, mask);
	if (mask & MOTE_STATE_APIC)
		mote_lapic_get(vcpu, &state->apic);
	if (mask & MOTE_STATE_XSAVE)
		fpu_copy_guest_fpstate_to_uabi(&vcpu->fpu, xsave, vcpu->fpu.uabi_size,
					       mote_caps.xcr0, 0);
	return 0;
}

static void vcpu_set_events(struct mote_vcpu *vcpu, const struct mote_events *events)
{
	vcpu->event = events->injected;
	atomic_set(&vcpu->nmis, events->nmi_pending);
	vcpu->halted = events->halted;
	if (events->nmi_pending)
		atomic_or(MOTE_REQ_EVENT, &vcpu->requests);
}

static void vcpu_set_state(struct mote_vcpu *vcpu, const struct mote_state *state)
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
	if (mask & MOTE_STATE_MSRS) {
		u64 old = vcpu->msrs.apic_base;

		vcpu->msrs = state->msrs;
		mote_lapic_base_changed(vcpu, old);
		mote_pv_changed(vcpu);
	}
	if (mask & MOTE_STATE_EVENTS)
		vcpu_set_events(vcpu, &state->events);
	if (mask & MOTE_STATE_TSC) {
		vcpu->tsc_offset = state->tsc.offset;
		mask |= MOTE_PART_TSC;
		mote_pv_changed(vcpu);
	}
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
	/* The image is judged and taken in one step: last of what can fail. */
	if (!err && state->mask & MOTE_STATE_XSAVE)
		err = fpu_copy_uabi_to_guest_fpstate(&vcpu->fpu, xsave, mote_caps.xcr0, &pkru);
	if (err)
		return err;
	vcpu_set_state(vcpu, state);
	if (state->mask & MOTE_STATE_APIC)
		mote_lapic_set(vcpu, &state->apic);
	return 0;
}

/* ---- creation --------------------------------------------------------------- */

/* SDM 3A, "Processor State After Reset", but for what follows from the id. */
static const struct mote_state vcpu_reset_state = {
	.mask = MOTE_STATE_ALL & ~MOTE_STATE_XSAVE,
	.gprs = { .rip = 0xfff0, .rflags = X86_EFLAGS_FIXED },
	.segs = {
		.seg = {
			[MOTE_ES] = { .limit = 0xffff, .attr = 0x93 },
			[MOTE_CS] = { 0xffff0000, 0xffff, 0xf000, 0x9b },
			[MOTE_SS ... MOTE_GS] = { .limit = 0xffff, .attr = 0x93 },
			[MOTE_LDTR] = { .limit = 0xffff, .attr = 0x82 },
			[MOTE_TR] = { .limit = 0xffff, .attr = 0x8b },
		},
		.gdt = { .limit = 0xffff },
		.idt = { .limit = 0xffff },
	},
	.crs = { .cr0 = X86_CR0_CD | X86_CR0_NW | X86_CR0_ET, .xcr0 = XFEATURE_MASK_FP },
	.drs = { .dr6 = DR6_RESERVED, .dr7 = 0x400 },
	.msrs = {
		.pat = 0x0007040600070406,
		.apic_base = APIC_DEFAULT_PHYS_BASE | MSR_IA32_APICBASE_ENABLE,
		.misc_enable = MSR_IA32_MISC_ENABLE_FAST_STRING,
	},
};

static void vcpu_reset(struct mote_vcpu *vcpu)
{
	vcpu_set_state(vcpu, &vcpu_reset_state);
	vcpu->gpr[MOTE_RDX] = cpuid_eax(1);
	vcpu->msrs.apic_base |= vcpu->id ? 0 : MSR_IA32_APICBASE_BSP;
	if (vcpu->lapic && vcpu->id)
		vcpu->halted = MOTE_WAITS_FOR_SIPI;
}

void mote_vcpu_init(struct mote_vcpu *vcpu)
{
	struct mote_state state;

	/* SDM 3A, "Processor State After Reset": caching, MSRs and the FPU stay as they are. */
	mote_ops->get_state(vcpu, &state, MOTE_STATE_MSRS | MOTE_PART_MODE);
	state.mask = vcpu_reset_state.mask & ~(MOTE_STATE_MSRS | MOTE_STATE_TSC);
	state.gprs = vcpu_reset_state.gprs;
	state.gprs.gpr[MOTE_RDX] = cpuid_eax(1);
	state.segs = vcpu_reset_state.segs;
	state.crs = (struct mote_crs){
		.cr0 = X86_CR0_ET | (state.crs.cr0 & (X86_CR0_CD | X86_CR0_NW)),
		.xcr0 = vcpu->xcr0,
	};
	state.drs = vcpu_reset_state.drs;
	state.events = (struct mote_events){
		.halted = vcpu->msrs.apic_base & MSR_IA32_APICBASE_BSP ? 0 : MOTE_WAITS_FOR_SIPI,
	};
	state.msrs.efer = 0;
	vcpu_set_state(vcpu, &state);
	mote_ops->set_state(vcpu, &state, MOTE_PART_EFER);
}

void mote_vcpu_startup(struct mote_vcpu *vcpu, u8 vector)
{
	struct mote_state state = { .mask = MOTE_STATE_SEGS };

	mote_ops->get_state(vcpu, &state, MOTE_STATE_SEGS);
	state.segs.seg[MOTE_CS].selector = vector << 8;
	state.segs.seg[MOTE_CS].base = vector << 12;
	vcpu_set_state(vcpu, &state);
	vcpu->rip = 0;
	vcpu->halted = 0;
}

static void vcpu_init(struct mote_vcpu *vcpu, struct mote_vm *vm, u32 id)
{
	vcpu->vm = vm;
	vcpu->id = id;
	vcpu->cpu = -1;
	vcpu->tsc_cpu = -1;
	vcpu->resumes = mote_resumes.count;
	vcpu->tsc_lost = mote_resumes.tsc_lost;
	mutex_init(&vcpu->lock);
	rcuwait_init(&vcpu->wait);
	vcpu->host_xcr0 = boot_cpu_has(X86_FEATURE_OSXSAVE) ?
			  xgetbv(XCR_XFEATURE_ENABLED_MASK) : XFEATURE_MASK_FP;
}

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
	vcpu_init(vcpu, vm, id);
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
	struct mote_vcpu *vcpu;
	int err;

	if (config->id >= MOTE_MAX_VCPUS || config->flags ||
	    memchr_inv(config->reserved, 0, sizeof(config->reserved)))
		return -EINVAL;
	vcpu = vcpu_alloc(vm, config->id);
	if (!vcpu)
		return -ENOMEM;

	mutex_lock(&vm->lock);
	err = -EEXIST;
	if (vm->by_id[config->id])
		goto err_unlock;
	err = mote_ops->vcpu_init(vcpu);
	if (err)
		goto err_unlock;
	vcpu_reset(vcpu);
	vm->vcpus[vm->nr_vcpus] = vcpu;
	/* mote_vm_vcpu() reads it without the lock. */
	smp_store_release(&vm->by_id[vcpu->id], vcpu);
	/* mote_vm_request() reads the list without the lock. */
	smp_store_release(&vm->nr_vcpus, vm->nr_vcpus + 1);
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

/* ---- events ---------------------------------------------------------------------- */

void mote_vcpu_request(struct mote_vcpu *vcpu, u32 request)
{
	atomic_or(request, &vcpu->requests);
	/* Request before mode: see mote_vm_request(). */
	smp_mb__after_atomic();
	if (READ_ONCE(vcpu->mode) == MOTE_MODE_LOADED)
		smp_send_reschedule(READ_ONCE(vcpu->cpu));
	else
		rcuwait_wake_up(&vcpu->wait);
}

void mote_vcpu_nmi(struct mote_vcpu *vcpu)
{
	/* One more can wait behind the one being delivered; a third is merged. */
	atomic_add_unless(&vcpu->nmis, 1, 2);
	mote_vcpu_request(vcpu, MOTE_REQ_EVENT);
}

/* Those of user space's windows that are not shut by LVT0. */
static u32 vcpu_wanted_windows(const struct mote_vcpu *vcpu)
{
	return vcpu->window && mote_lapic_takes_extint(vcpu) ? vcpu->window :
							       vcpu->window & MOTE_WINDOW_NMI;
}

int mote_vcpu_inject(struct mote_vcpu *vcpu, const struct mote_event *event)
{
	bool open = true;
	int err;

	if (!event->valid || !mote_event_valid(event))
		return -EINVAL;
	if (event->type == MOTE_EVENT_NMI) {
		mote_vcpu_nmi(vcpu);
		return 0;
	}
	if (mutex_lock_killable(&vcpu->lock))
		return -EINTR;
	err = vcpu->event.valid ? -EBUSY : vcpu_load(vcpu);
	if (!err) {
		if (event->type == MOTE_EVENT_INTERRUPT)
			open = mote_lapic_takes_extint(vcpu) &&
			       mote_ops->can_take(vcpu) & MOTE_WINDOW_INTERRUPT;
		vcpu_put(vcpu);
		if (open)
			vcpu->event = *event;
		else
			err = -EAGAIN;
	}
	mutex_unlock(&vcpu->lock);
	return err;
}

/* Remember the thread, for who wants it to run. */
static noinline void vcpu_new_task(struct mote_vcpu *vcpu)
{
	struct pid *old = rcu_dereference_protected(vcpu->pid, lockdep_is_held(&vcpu->lock));

	rcu_assign_pointer(vcpu->pid, get_task_pid(current, PIDTYPE_PID));
	if (old)
		synchronize_rcu();
	put_pid(old);
	mote_pv_new_task(vcpu);
}

static bool vcpu_yield_to(struct mote_vcpu *to)
{
	struct task_struct *task;
	bool yielded;

	/* One that sleeps in HLT waits for nobody's CPU. */
	if (READ_ONCE(to->mode) != MOTE_MODE_OUT || READ_ONCE(to->halted))
		return false;
	rcu_read_lock();
	task = get_pid_task(rcu_dereference(to->pid), PIDTYPE_PID);
	rcu_read_unlock();
	if (!task)
		return false;
	yielded = yield_to(task, true) > 0;
	put_task_struct(task);
	return yielded;
}

void mote_vcpu_yield(struct mote_vcpu *vcpu, struct mote_vcpu *to)
{
	struct mote_vm *vm = vcpu->vm;
	u32 nr = smp_load_acquire(&vm->nr_vcpus); /* pairs with mote_vcpu_create() */
	u32 first = READ_ONCE(vm->boosted), i;

	if (to) {
		vcpu_yield_to(to);
		return;
	}
	/* Each in its turn, as nobody knows who holds what this one waits for. */
	for (i = 1; i <= nr; i++) {
		to = vm->vcpus[(first + i) % nr];
		if (to != vcpu && vcpu_yield_to(to)) {
			WRITE_ONCE(vm->boosted, (first + i) % nr);
			return;
		}
	}
}

/* ---- the run loop -------------------------------------------------------------------- */

#define HOST_WORK (_TIF_SIGPENDING | _TIF_NOTIFY_SIGNAL | _TIF_NOTIFY_RESUME | \
		   _TIF_NEED_RESCHED | _TIF_NEED_FPU_LOAD)

/*
 * Has the guest shut out an interrupt that was on its way?  One that a CPU delivers late, as
 * QEMU does (see svm_inject_virtual()), may come back after a CLI.
 */
static bool vcpu_event_waits(struct mote_vcpu *vcpu)
{
	return vcpu->event.valid && vcpu->event.type == MOTE_EVENT_INTERRUPT &&
	       !(mote_ops->can_take(vcpu) & MOTE_WINDOW_INTERRUPT);
}

/* Hand at most one event to the hardware; ask for an exit when the next can follow. */
static void vcpu_prepare_event(struct mote_vcpu *vcpu)
{
	struct mote_event *event = &vcpu->event;
	u32 window = vcpu_wanted_windows(vcpu);
	bool waits = vcpu_event_waits(vcpu);

	/* An NMI would need its place. */
	if (waits) {
		window |= MOTE_WINDOW_INTERRUPT;
	} else if (atomic_read(&vcpu->nmis)) {
		if (!event->valid && mote_ops->can_take(vcpu) & MOTE_WINDOW_NMI) {
			*event = (struct mote_event){
				.valid = 1, .type = MOTE_EVENT_NMI, .vector = X86_TRAP_NMI,
			};
			atomic_dec(&vcpu->nmis);
		}
		if (atomic_read(&vcpu->nmis))
			window |= MOTE_WINDOW_NMI;
	}
	if (vcpu->lapic)
		window |= mote_lapic_prepare(vcpu);
	if (window != vcpu->window_set) {
		mote_ops->window(vcpu, window);
		vcpu->window_set = window;
	}
	if (event->valid && !waits) {
		vcpu->halted = 0;
		trace_mote_inject(vcpu->vm->id, vcpu->id, event->type, event->vector, event->error);
		mote_ops->inject(vcpu);
		event->valid = 0;
	}
}

/* A window that user space asked for and that is open already ends the run. */
static bool vcpu_window_is_open(struct mote_vcpu *vcpu, struct mote_exit *exit)
{
	u32 open;

	if (!vcpu->window || vcpu->event.valid)
		return false;
	open = vcpu_wanted_windows(vcpu) & mote_ops->can_take(vcpu);
	if (!open)
		return false;
	exit->reason = open & MOTE_WINDOW_INTERRUPT ? MOTE_EXIT_INTERRUPT_WINDOW :
						      MOTE_EXIT_NMI_WINDOW;
	return true;
}

/* Not by hardware; what else there is to an exit belongs to other reasons. */
static void vcpu_set_reason(struct mote_exit *exit, u32 reason)
{
	exit->reason = reason;
	exit->raw = 0;
	exit->insn_len = 0;
	exit->qualification = 0;
}

static __always_inline u32 vcpu_has_work(struct mote_vcpu *vcpu)
{
	return atomic_read(&vcpu->requests) | vcpu->window | vcpu->event.valid | vcpu->halted;
}

/*
 * Last look before the entry, with interrupts off.  Return: MOTE_NEXT_ENTER,
 * another place to go first, or -EINTR.
 */
static int vcpu_prepare_slow(struct mote_vcpu *vcpu, struct mote_exit *exit)
{
	unsigned long work = read_thread_flags() & HOST_WORK;

	vcpu_set_reason(exit, MOTE_EXIT_NONE);
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
		exit->reason = MOTE_EXIT_INIT;
		return MOTE_NEXT_SLEEP;
	}
	if (vcpu_window_is_open(vcpu, exit))
		return MOTE_NEXT_USER;
	/* Last of all: who leaves before has not looked at what they are for. */
	if (atomic_read(&vcpu->requests) && atomic_xchg(&vcpu->requests, 0) & MOTE_REQ_FLUSH)
		mote_ops->flush(vcpu);
	if (vcpu->halted != MOTE_WAITS_FOR_SIPI)
		vcpu_prepare_event(vcpu);
	if (vcpu->halted) {
		exit->reason = MOTE_EXIT_HLT;
		return MOTE_NEXT_SLEEP;
	}
	return MOTE_NEXT_ENTER;
}

static __always_inline int vcpu_prepare(struct mote_vcpu *vcpu, struct mote_exit *exit)
{
	if (likely(!((read_thread_flags() & HOST_WORK) | vcpu_has_work(vcpu) |
		     READ_ONCE(vcpu->run->immediate_exit))))
		return MOTE_NEXT_ENTER;
	return vcpu_prepare_slow(vcpu, exit);
}

/*
 * The guest's XCR0 is in force from just before the entry to just after the
 * exit only: the host's interrupts may use the FPU.
 */
static __always_inline void vcpu_enter(struct mote_vcpu *vcpu, struct mote_exit *exit)
{
	if (vcpu->xcr0 != vcpu->host_xcr0)
		xsetbv(XCR_XFEATURE_ENABLED_MASK, vcpu->xcr0);
	static_call(mote_op_run)(vcpu, exit);
	if (vcpu->xcr0 != vcpu->host_xcr0)
		xsetbv(XCR_XFEATURE_ENABLED_MASK, vcpu->host_xcr0);
}

/* Out of line: without tracing, all of it costs one branch that is not taken. */
static noinline void vcpu_enter_traced(struct mote_vcpu *vcpu, struct mote_exit *exit)
{
	mote_trace_entry(vcpu);
	vcpu_enter(vcpu, exit);
	mote_trace_exit(vcpu, exit);
}

/* The vCPU is loaded. */
static void vcpu_complete(struct mote_vcpu *vcpu, u64 rip)
{
	vcpu->rip = rip;
	static_call(mote_op_skip)(vcpu);
}

/* Run until something needs the vCPU to be put. */
static int vcpu_run_loaded(struct mote_vcpu *vcpu, struct mote_exit *exit)
{
	int next;

	do {
		local_irq_disable();
		next = vcpu_prepare(vcpu, exit);
		if (next == MOTE_NEXT_ENTER) {
			current->flags |= PF_VCPU; /* a tick that ends the guest is its time */
			if (static_branch_unlikely(&mote_traced))
				vcpu_enter_traced(vcpu, exit);
			else
				vcpu_enter(vcpu, exit);
		}
		local_irq_enable();
		if (next != MOTE_NEXT_ENTER)
			break;
		vcpu->run->exits[exit->reason]++;
		barrier();
		current->flags &= ~PF_VCPU;
		next = mote_exit_handle(vcpu, exit);
	} while (next == MOTE_NEXT_ENTER);
	return next;
}

/* Sleep in HLT until there is something to do. */
static int vcpu_sleep_halted(struct mote_vcpu *vcpu)
{
	trace_mote_halt(vcpu->vm->id, vcpu->id, rdtsc(), vcpu->halted);
	rcuwait_wait_event(&vcpu->wait,
			   atomic_read(&vcpu->requests) || signal_pending(current) ||
			   READ_ONCE(vcpu->run->immediate_exit), TASK_INTERRUPTIBLE);
	trace_mote_wake(vcpu->vm->id, vcpu->id, rdtsc(), vcpu->halted);
	return MOTE_NEXT_ENTER;
}

static int vcpu_run_unloaded(struct mote_vcpu *vcpu, struct mote_exit *exit)
{
	vcpu->traced.where |= MOTE_HANDLED_KERNEL;
	cond_resched();
	if (exit->reason == MOTE_EXIT_HLT && vcpu->halted)
		return vcpu_sleep_halted(vcpu);
	return mote_exit_slow(vcpu, exit);
}

/* @rip: behind the instruction that user space has completed, 0 for none. */
static int vcpu_run_loop(struct mote_vcpu *vcpu, struct mote_exit *exit, u64 rip)
{
	int next;

	do {
		if (unlikely(mote_pv_is_stale(vcpu)))
			mote_pv_publish(vcpu);
		next = vcpu_load(vcpu);
		if (next)
			break;
		if (rip) {
			vcpu_complete(vcpu, rip);
			rip = 0;
		}
		next = vcpu_run_loaded(vcpu, exit);
		vcpu_put(vcpu);
		if (next == MOTE_NEXT_SLEEP)
			next = vcpu_run_unloaded(vcpu, exit);
	} while (next == MOTE_NEXT_ENTER);
	return next;
}

/* ---- the run page --------------------------------------------------------------------- */

/* Flags that no check looks at: arithmetic, DF. */
#define HARMLESS_FLAGS (X86_EFLAGS_CF | X86_EFLAGS_PF | X86_EFLAGS_AF | X86_EFLAGS_ZF | \
			X86_EFLAGS_SF | X86_EFLAGS_OF | X86_EFLAGS_DF)

static void vcpu_take_gprs(struct mote_vcpu *vcpu, const struct mote_run *run, u32 set)
{
	u32 i;

	for (set &= 0xffff; set; set &= set - 1) {
		i = __ffs(set);
		vcpu->gpr[i] = READ_ONCE(run->gpr[i]);
	}
}

/*
 * What user space changed in the run page since the last run.  A RIP in another
 * 4 GiB or flags that matter are judged with the rest of the state.
 * @complete: out: where to go on behind a completed instruction, if there is one
 */
static int vcpu_take_registers(struct mote_vcpu *vcpu, u64 *complete)
{
	struct mote_run *run = vcpu->run;
	u32 set = READ_ONCE(run->set);
	u64 rip = vcpu->next_rip;

	if (!set)
		return 0;
	if (set & ~(0xffffu | MOTE_SET_RIP | MOTE_SET_RFLAGS | MOTE_SET_COMPLETE))
		return -EINVAL;
	if (set & MOTE_SET_COMPLETE && !(set & MOTE_SET_RIP) && !rip)
		return -EINVAL;
	WRITE_ONCE(run->set, 0);
	vcpu_take_gprs(vcpu, run, set);
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
static noinline int vcpu_judge_new(struct mote_vcpu *vcpu, u64 *complete,
				   const struct mote_check **failed)
{
	int err;

	if (*complete) {
		err = vcpu_load(vcpu);
		if (err)
			return err;
		vcpu_complete(vcpu, *complete);
		vcpu_put(vcpu);
		*complete = 0;
	}
	return vcpu_judge(vcpu, failed);
}

static void vcpu_fill_mode(struct mote_vcpu *vcpu, struct mote_run *run)
{
	const struct mote_state *state = &vcpu->part;

	mote_ops->get_state(vcpu, &vcpu->part, MOTE_PART_MODE);
	run->mode = (struct mote_cpu_mode){
		.cr0 = state->crs.cr0, .cr3 = state->crs.cr3, .cr4 = state->crs.cr4,
		.efer = state->msrs.efer,
		.cs_base = state->segs.seg[MOTE_CS].base,
		.cs_attr = state->segs.seg[MOTE_CS].attr,
		.cpl = state->segs.seg[MOTE_SS].attr >> 5 & 3,
	};
}

static void vcpu_fill_fail(struct mote_vcpu *vcpu, u64 hardware)
{
	static const struct mote_check no_memory = { "not enough memory to look at the state", "" };
	const struct mote_check *check = &no_memory;
	struct mote_run *run = vcpu->run;

	/* No memory leaves the pointer as it is. */
	vcpu_judge(vcpu, &check);
	run->fail.hardware = hardware;
	strscpy((char *)run->fail.check,
		check ? check->text : "a check that mote does not know; please report the state",
		sizeof(run->fail.check));
	strscpy((char *)run->fail.section, check ? check->section : "", sizeof(run->fail.section));
}

static void vcpu_fill_exit(struct mote_vcpu *vcpu, const struct mote_exit *exit)
{
	struct mote_run *run = vcpu->run;

	switch (exit->reason) {
	case MOTE_EXIT_PIO:
		run->pio.port = exit->pio.port;
		run->pio.size = exit->pio.size;
		run->pio.flags = exit->pio.flags;
		if (exit->pio.flags & MOTE_PIO_STRING)
			vcpu_fill_mode(vcpu, run);
		break;
	case MOTE_EXIT_MMIO:
	case MOTE_EXIT_MEMORY:
		run->memory.gpa = exit->npf.gpa;
		run->memory.access = exit->npf.access;
		run->memory.hva = exit->npf.hva;
		run->memory.error = exit->npf.error;
		vcpu_fill_mode(vcpu, run);
		break;
	case MOTE_EXIT_RDMSR:
	case MOTE_EXIT_WRMSR:
		run->msr.index = vcpu->gpr[MOTE_RCX];
		run->msr.data = (u32)vcpu->gpr[MOTE_RAX] | vcpu->gpr[MOTE_RDX] << 32;
		break;
	case MOTE_EXIT_EOI:
		run->eoi.vector = exit->vector;
		break;
	case MOTE_EXIT_TASK_SWITCH:
		run->task = exit->task;
		break;
	case MOTE_EXIT_FAIL_ENTRY:
		vcpu_fill_fail(vcpu, exit->fail);
		break;
	}
}

static void vcpu_fill_run(struct mote_vcpu *vcpu, const struct mote_exit *exit)
{
	struct mote_run *run = vcpu->run;

	vcpu->next_rip = exit->insn_len ? mote_next_rip(vcpu, exit->insn_len) : 0;
	memcpy(run->gpr, vcpu->gpr, sizeof(run->gpr));
	run->rip = vcpu->rip;
	run->rflags = vcpu->rflags;
	run->reason = exit->reason;
	run->raw_reason = exit->raw;
	run->next_rip = vcpu->next_rip;
	vcpu_fill_exit(vcpu, exit);
}

int mote_vcpu_run(struct mote_vcpu *vcpu)
{
	const struct mote_check *failed = NULL;
	struct mote_exit *exit = &vcpu->exit;
	u64 complete = 0;
	int next;

	vcpu_set_reason(exit, MOTE_EXIT_INTERRUPT);
	vcpu->put_off = 0;
	next = vcpu_take_registers(vcpu, &complete);
	if (next)
		return next;
	vcpu->traced.where |= MOTE_HANDLED_USER;
	vcpu_trace_state(vcpu, MOTE_VCPU_RUN);
	if (unlikely(rcu_access_pointer(vcpu->pid) != task_pid(current)))
		vcpu_new_task(vcpu);
	vcpu->window = READ_ONCE(vcpu->run->window) & (MOTE_WINDOW_INTERRUPT | MOTE_WINDOW_NMI);
	if (unlikely(vcpu->check))
		next = vcpu_judge_new(vcpu, &complete, &failed);
	if (failed) {
		exit->reason = MOTE_EXIT_FAIL_ENTRY;
		exit->fail = 0; /* not by hardware */
		next = MOTE_NEXT_USER;
	} else if (!next) {
		vcpu->check = false;
		fpu_swap_kvm_fpstate(&vcpu->fpu, true);
		next = vcpu_run_loop(vcpu, exit, complete);
		fpu_swap_kvm_fpstate(&vcpu->fpu, false);
		vcpu->check |= exit->reason == MOTE_EXIT_FAIL_ENTRY;
	}
	if (next < 0)
		vcpu_set_reason(exit, MOTE_EXIT_INTERRUPT);
	vcpu_fill_run(vcpu, exit);
	vcpu_trace_state(vcpu, MOTE_VCPU_USER);
	return min(next, 0);
}
