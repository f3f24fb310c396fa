// SPDX-License-Identifier: GPL-2.0
/* Watches: set, hit, and stepped over; see watch.h. */
#include <linux/smp.h>
#include <asm/debugreg.h>
#include <trace/events/ipi.h>

#include "../answer/answer.h"
#include "../quirk/insn.h"
#include "watch.h"

#define ALL (MOTE_ACCESS_READ | MOTE_ACCESS_WRITE | MOTE_ACCESS_EXEC)

/* ---- setting ------------------------------------------------------------------------ */

/* Room for what is new, so that nothing can fail behind it; -ENOMEM: and none is left. */
static int watch_reserve(struct mote_vm *vm, unsigned long first, unsigned long end)
{
	unsigned long page = first;
	int err = 0;

	while (page < end && !err) {
		err = xa_reserve(&vm->watched, page++, GFP_KERNEL_ACCOUNT);
		cond_resched();
	}
	while (err && page-- > first)
		xa_release(&vm->watched, page);
	return err;
}

static void watch_store(struct mote_vm *vm, unsigned long page, u32 access)
{
	void *old, *new = access ? xa_mk_value(access) : NULL;

	/* More than there are while it changes: who looks whether there are any finds them. */
	WRITE_ONCE(vm->nr_watched, vm->nr_watched + !!new);
	old = new ? xa_store(&vm->watched, page, new, GFP_KERNEL_ACCOUNT) :
		    xa_erase(&vm->watched, page);
	WRITE_ONCE(vm->nr_watched, vm->nr_watched - !!old);
	/* Release: whoever has seen it finds what is new. */
	smp_store_release(&vm->watches_changed, vm->watches_changed + 1);
}

static int watch_set(struct mote_vm *vm, const struct mote_watch *watch)
{
	unsigned long page = watch->gpa >> PAGE_SHIFT, end = page + (watch->size >> PAGE_SHIFT);
	int err = 0;

	if (watch->access) {
		if (vm->nr_watched > MOTE_MAX_WATCHED - (end - page))
			return -E2BIG;
		err = mote_mem_make_whole(vm) ?: watch_reserve(vm, page, end);
	}
	if (err)
		return err;
	for (; page < end; page++) {
		watch_store(vm, page, watch->access);
		cond_resched();
	}
	mote_mem_rewatch(vm, watch->gpa, watch->size);
	return 0;
}

long mote_watch_set(struct mote_vm *vm, const struct mote_watch *watch)
{
	u64 end = 1ULL << min_t(u32, mote_host.gpa_bits, MOTE_NPT_BITS);
	int err;

	if (watch->access & ~ALL || watch->pad || !watch->size ||
	    (watch->gpa | watch->size) & ~PAGE_MASK || watch->gpa >= end ||
	    watch->size > end - watch->gpa)
		return -EINVAL;
	if (watch->size >> PAGE_SHIFT > MOTE_MAX_WATCHED)
		return -E2BIG;
	if (mutex_lock_killable(&vm->lock))
		return -EINTR;
	err = watch_set(vm, watch);
	mutex_unlock(&vm->lock);
	return err;
}

/* ---- hits --------------------------------------------------------------------------- */

/* What is watched of the page: as a rule it is the one of the last time. */
static u32 watch_find(struct mote_vcpu *vcpu, u64 gpa)
{
	/* Acquire: pairs with watch_store(). */
	u64 changed = smp_load_acquire(&vcpu->vm->watches_changed);

	if (vcpu->hit_gpa != gpa || vcpu->hit_changed != changed) {
		vcpu->hit_access = mote_watch_of(vcpu->vm, gpa);
		vcpu->hit_gpa = gpa;
		vcpu->hit_changed = changed;
	}
	return vcpu->hit_access;
}

int mote_watch_caught(struct mote_vcpu *vcpu)
{
	struct mote_memory *npf = &vcpu->exit.npf;
	u32 watched = watch_find(vcpu, npf->gpa & PAGE_MASK), nr;
	u32 denied = watched & MOTE_ACCESS_READ ? ALL : watched;

	if (vcpu->view || !(npf->access & denied))
		return MOTE_NEXT_SLEEP;
	mote_ops->get_mode(vcpu, &vcpu->hit_mode);
	nr = mote_mem_fetch(vcpu, &vcpu->hit_mode, vcpu->policy.insn, NULL);
	npf->error = 0;
	/* Where an event is on its way it is not the instruction that comes next. */
	if (!vcpu->event.valid &&
	    mote_insn_shows_tf(vcpu->policy.insn, nr, mote_mode_is_64bit(&vcpu->hit_mode))) {
		npf->error = -EAGAIN;
		if (!(npf->access & watched))
			npf->access = 0;
	} else {
		vcpu->step_rip = vcpu->rip;
		atomic_or(MOTE_REQ_VIEW, &vcpu->requests);
		if (!(npf->access & watched))
			return MOTE_NEXT_ENTER;
	}
	vcpu->exit.reason = MOTE_EXIT_WATCH;
	vcpu->exit.insn_len = 0;
	vcpu->traced.reason = MOTE_EXIT_WATCH;
	vcpu->run->exits[MOTE_EXIT_WATCH]++;
	vcpu->run->mode = vcpu->hit_mode;
	return mote_policy_is_asked() && npf->access ?
	       mote_policy_memory(vcpu, MOTE_POLICY_WATCH, nr) : MOTE_NEXT_USER;
}

/* ---- steps --------------------------------------------------------------------------- */

void mote_watch_look(struct mote_vcpu *vcpu, u32 requests)
{
	enum mote_view view = MOTE_VIEW_WATCHED;

	if (vcpu->step_rip == vcpu->rip)
		view = MOTE_VIEW_STEP;
	else if (vcpu->debug.flags & MOTE_DEBUG_UNWATCHED && READ_ONCE(vcpu->vm->whole.root_hpa))
		view = MOTE_VIEW_WHOLE;
	/* As long as it steps events wait. */
	if (view == MOTE_VIEW_STEP)
		atomic_or(requests & MOTE_REQ_EVENT, &vcpu->requests);
	if (view == vcpu->view)
		return;
	vcpu->view = view;
	mote_ops->view(vcpu);
}

void mote_watch_deliver(void)
{
	smp_send_reschedule(smp_processor_id());
}

void mote_watch_begin_step(struct mote_vcpu *vcpu)
{
	vcpu->step_tf = vcpu->rflags & X86_EFLAGS_TF;
	vcpu->step_dr6 = vcpu->dr6;
	vcpu->rflags |= X86_EFLAGS_TF;
}

void mote_watch_end_step(struct mote_vcpu *vcpu)
{
	struct mote_exit *exit = &vcpu->exit;
	bool is_step = exit->reason == MOTE_EXIT_EXCEPTION &&
		       exit->exception.vector == X86_TRAP_DB && vcpu->dr6 & DR_STEP;

	vcpu->rflags = (vcpu->rflags & ~(u64)X86_EFLAGS_TF) | vcpu->step_tf;
	if (!is_step) {
		/* Another exit came first: no trap is left behind. */
		mote_ops->view(vcpu);
		return;
	}
	if (!vcpu->step_tf)
		vcpu->dr6 = (vcpu->dr6 & ~DR_STEP) | (vcpu->step_dr6 & DR_STEP);
	vcpu->step_rip = ~0ull;
	/* Who steps himself has his own trap; or a breakpoint was hit as well. */
	if (vcpu->step_tf || vcpu->dr6 & ~vcpu->step_dr6 & DR_TRAP_BITS)
		return;
	exit->reason = MOTE_EXIT_NONE;
	mote_watch_look(vcpu, 0);
}
