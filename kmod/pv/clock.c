// SPDX-License-Identifier: GPL-2.0
/*
 * The times that a guest reads in its memory: a clock, the time of day when that
 * began (the wall clock), and the time that others took from it (steal time).
 *
 * The module writes them while the vCPU is unloaded, as that may sleep: where
 * mote_pv_is_stale(), the run loop calls mote_pv_publish().  The exception is the
 * flag that the vCPU is preempted: it is not written where its page is not present
 * or is logged.
 *
 * Locking: vcpu->lock; a VM's clock is under vm->lock.
 */
#include <linux/clocksource.h>
#include <linux/random.h>
#include <linux/sched.h>
#include <linux/timekeeping.h>
#include <asm/pvclock.h>
#include <asm/tsc.h>
#include <uapi/linux/kvm_para.h>

#include "../mote.h"

/* ---- clock ----------------------------------------------------------------- */

/*
 * The host's two clocks are read one after the other: of some tries the one between whose
 * halves least came.
 */
static void pv_read_pair(u64 *tsc, u64 *boot)
{
	u64 least = U64_MAX;
	unsigned long flags;
	u32 i;

	local_irq_save(flags);
	for (i = 0; i < 5; i++) {
		u64 before = rdtsc_ordered(), now = ktime_get_boottime_ns();
		u64 took = rdtsc_ordered() - before;

		if (took < least) {
			least = took;
			*tsc = before;
			*boot = now;
		}
	}
	local_irq_restore(flags);
}

/* Does what the vCPUs were told go on, or will there be another pair? */
static bool pv_pair_holds(const struct mote_clock *clock)
{
	return clock->tsc && clock->resumes == mote_resumes.count && !check_tsc_unstable();
}

/*
 * Where all CPUs have the same TSC, one pair of TSC and time is for all vCPUs, so that none is
 * ahead of another.  Else each has its own, of the CPU that it runs on.
 */
static void pv_set_pair(struct mote_clock *clock, u64 tsc, u64 boot, u64 ns)
{
	clock->tsc = check_tsc_unstable() ? 0 : tsc;
	clock->ns = ns;
	clock->offset = ns - boot;
	clock->resumes = mote_resumes.count;
	clock->tsc_lost = mote_resumes.tsc_lost;
}

/*
 * What the guest's clock shows at a TSC and a time since boot, read together: by the pair that
 * it was told, from which the host's time drifts away.  Where that does not hold any more the
 * host's time counts, suspended or not, and is not behind what was told before.
 */
static u64 pv_clock_at(const struct mote_vm *vm, u64 tsc, u64 boot)
{
	const struct mote_clock *clock = &vm->clock;
	s64 ticks = mote_tsc_scale(vm, tsc + mote_resumes.tsc_lost) -
		    mote_tsc_scale(vm, clock->tsc + clock->tsc_lost);
	u64 ns = boot + clock->offset, told;

	if (!clock->tsc || ticks < 0)
		return ns;
	told = clock->ns + pvclock_scale_delta(ticks, clock->mul, clock->shift);
	if (pv_pair_holds(clock))
		return told;
	/* A TSC that is further off than this has not shown the time before, either. */
	return told - ns > NSEC_PER_SEC ? ns : told;
}

static void pv_clock_pair(struct mote_vcpu *vcpu, struct pvclock_vcpu_time_info *info)
{
	struct mote_clock *clock = &vcpu->vm->clock;
	bool stable = !check_tsc_unstable();
	u64 tsc, boot;

	mutex_lock(&vcpu->vm->lock);
	tsc = clock->tsc;
	if (!pv_pair_holds(clock)) {
		local_irq_disable();
		/* Here or where it is loaded next, the guest's TSC goes on. */
		if (!stable && vcpu->tsc_cpu != smp_processor_id())
			mote_time_move(vcpu);
		pv_read_pair(&tsc, &boot);
		local_irq_enable();
		pv_set_pair(clock, tsc, boot, pv_clock_at(vcpu->vm, tsc, boot));
	}
	info->system_time = clock->ns;
	mutex_unlock(&vcpu->vm->lock);
	info->tsc_timestamp = mote_guest_tsc(vcpu, tsc);
	info->flags = stable ? PVCLOCK_TSC_STABLE_BIT : 0;
}

/*
 * Write a struct that has its version at @in.  The guest reads the version before the
 * data and after it, with read barriers between, and begins anew where it was odd or has
 * changed: it is odd before the first byte of data changes, and even after the last.  No
 * two versions of a VM's are the same, nor, but by chance, any of another host's.
 */
static void pv_write_versioned(struct mote_vcpu *vcpu, u64 gpa, void *data, u32 size, u32 *in)
{
	struct mote_vm *vm = vcpu->vm;
	u32 version = atomic_add_return(2, &vm->clock.version);
	u64 at = gpa + ((void *)in - data);
	int err;

	*in = version - 1;
	err = mote_mem_write(vm, at, in, sizeof(*in), true);
	smp_wmb(); /* odd version before data, as above */
	err = err ?: mote_mem_write(vm, gpa, data, size, true);
	smp_wmb(); /* data before even version, as above */
	*in = version;
	err = err ?: mote_mem_write(vm, at, in, sizeof(*in), true);
	/* After a signal everything is written anew. */
	if (err == -EINTR) {
		vcpu->pv.wall_wanted |= gpa == vcpu->msrs.pv_wall_clock;
		mote_pv_changed(vcpu);
	}
}

static void pv_publish_clock(struct mote_vcpu *vcpu)
{
	const struct mote_clock *clock = &vcpu->vm->clock;
	struct pvclock_vcpu_time_info info = {
		.tsc_to_system_mul = clock->mul, .tsc_shift = clock->shift,
	};
	u32 seen = READ_ONCE(clock->generation);

	pv_clock_pair(vcpu, &info);
	vcpu->pv.clock_seen = seen;
	pv_write_versioned(vcpu, vcpu->msrs.pv_system_time & ~MOTE_PV_ENABLED, &info,
			   sizeof(info), &info.version);
}

/* The wall clock is the time of day when the guest's clock began. */
static void pv_publish_wall_clock(struct mote_vcpu *vcpu)
{
	struct pvclock_wall_clock wall = {};
	struct mote_clock_value now;
	u32 nsec;

	mote_pv_get_clock(vcpu->vm, &now);
	wall.sec = div_u64_rem(ktime_get_real_ns() - now.ns, NSEC_PER_SEC, &nsec);
	wall.nsec = nsec;
	vcpu->pv.wall_wanted = false;
	pv_write_versioned(vcpu, vcpu->msrs.pv_wall_clock, &wall, sizeof(wall), &wall.version);
}

int mote_pv_get_clock(struct mote_vm *vm, struct mote_clock_value *value)
{
	u64 tsc, boot;

	mutex_lock(&vm->lock);
	pv_read_pair(&tsc, &boot);
	value->ns = pv_clock_at(vm, tsc, boot);
	value->tsc = mote_tsc_scale(vm, tsc) + mote_tsc_base(vm, &mote_resumes);
	mutex_unlock(&vm->lock);
	return 0;
}

int mote_pv_set_clock(struct mote_vm *vm, const struct mote_clock_value *value)
{
	u64 tsc, boot;

	if (value->ns >> 63)
		return -EINVAL;
	mutex_lock(&vm->lock);
	pv_read_pair(&tsc, &boot);
	pv_set_pair(&vm->clock, tsc, boot, value->ns);
	WRITE_ONCE(vm->tsc_base, value->tsc - mote_tsc_scale(vm, tsc) -
				 mote_tsc_scale(vm, mote_resumes.tsc_lost));
	WRITE_ONCE(vm->clock.generation, vm->clock.generation + 1);
	mutex_unlock(&vm->lock);
	mote_vm_request(vm, MOTE_REQ_EVENT);
	return 0;
}

void mote_pv_init_clock(struct mote_vm *vm)
{
	struct mote_clock *clock = &vm->clock;
	u32 shift;

	clock->offset = -ktime_get_boottime_ns();
	clock->generation = 1;
	/* ns = (ticks * mul) >> shift; the guest shifts by 32 after it, so by the rest before. */
	clocks_calc_mult_shift(&clock->mul, &shift, vm->tsc_khz, NSEC_PER_MSEC, 0);
	clock->shift = 32 - shift;
	atomic_set(&clock->version, get_random_u32() & ~1);
	vm->tsc_base = -mote_tsc_scale(vm, mote_resumes.tsc_lost);
}

/* ---- steal time --------------------------------------------------------------- */

/* How long this task has waited for a CPU, in ns. */
static u64 pv_run_delay(void)
{
#ifdef CONFIG_SCHED_INFO
	return current->sched_info.run_delay;
#else
	return 0;
#endif
}

bool mote_pv_steal_is_stale(const struct mote_vcpu *vcpu)
{
	return vcpu->pv.steal_stale || vcpu->pv.delay_seen != pv_run_delay();
}

static void pv_publish_steal(struct mote_vcpu *vcpu)
{
	struct kvm_steal_time steal = {};
	u64 delay = pv_run_delay();

	vcpu->msrs.pv_steal_ns += delay - vcpu->pv.delay_seen;
	vcpu->pv.delay_seen = delay;
	vcpu->pv.steal_stale = false;
	steal.steal = vcpu->msrs.pv_steal_ns;
	pv_write_versioned(vcpu, vcpu->msrs.pv_steal_time & ~MOTE_PV_ENABLED, &steal,
			   sizeof(steal), &steal.version);
}

void mote_vcpu_new_task(struct mote_vcpu *vcpu)
{
	struct pid *old = rcu_dereference_protected(vcpu->pid, lockdep_is_held(&vcpu->lock));

	rcu_assign_pointer(vcpu->pid, get_task_pid(current, PIDTYPE_PID));
	if (old)
		synchronize_rcu_expedited();
	put_pid(old);
	vcpu->pv.delay_seen = pv_run_delay();
}

void mote_pv_preempted(struct mote_vcpu *vcpu)
{
	u64 gpa = vcpu->msrs.pv_steal_time & ~MOTE_PV_ENABLED;
	u8 preempted = KVM_VCPU_PREEMPTED;

	if (!(vcpu->msrs.pv_steal_time & MOTE_PV_ENABLED))
		return;
	vcpu->pv.steal_stale = true;
	mote_mem_write(vcpu->vm, gpa + offsetof(struct kvm_steal_time, preempted),
		       &preempted, sizeof(preempted), false);
}

/* ---- what the guest has yet to be told ------------------------------------------------------ */

bool mote_pv_settle(struct mote_vcpu *vcpu)
{
	if (vcpu->pv.wall_wanted)
		pv_publish_wall_clock(vcpu);
	return !vcpu->pv.wall_wanted;
}

void mote_pv_publish(struct mote_vcpu *vcpu)
{
	if (vcpu->pv.eoi_waits)
		mote_pv_eoi_bring(vcpu);
	mote_pv_settle(vcpu);
	if (mote_pv_clock_is_stale(vcpu))
		pv_publish_clock(vcpu);
	if (vcpu->msrs.pv_steal_time & MOTE_PV_ENABLED && mote_pv_steal_is_stale(vcpu))
		pv_publish_steal(vcpu);
}

void mote_pv_changed(struct mote_vcpu *vcpu)
{
	vcpu->pv.clock_seen = 0;
	vcpu->pv.steal_stale = true;
	atomic_or(MOTE_REQ_EVENT, &vcpu->requests);
}

bool mote_pv_wrmsr(struct mote_vcpu *vcpu, u32 index)
{
	if (index == MSR_KVM_WALL_CLOCK_NEW)
		vcpu->pv.wall_wanted = true;
	else if (index != MSR_KVM_SYSTEM_TIME_NEW && index != MSR_KVM_STEAL_TIME)
		return false;
	mote_pv_changed(vcpu);
	return true;
}
