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

/* The host's time since it booted, suspended or not, as the guest counts it. */
static u64 pv_clock_now(const struct mote_vm *vm)
{
	return ktime_get_boottime_ns() + vm->clock.offset;
}

/*
 * The host's two clocks are read one after the other: of some tries the one between whose
 * halves least came.  Interrupts are off.
 */
static void pv_read_pair(u64 *tsc, u64 *ns)
{
	u64 least = U64_MAX;
	u32 i;

	for (i = 0; i < 5; i++) {
		u64 before = rdtsc_ordered(), now = ktime_get_boottime_ns();
		u64 took = rdtsc_ordered() - before;

		if (took < least) {
			least = took;
			*tsc = before;
			*ns = now;
		}
	}
}

/* What was told of @clock goes on to a new pair: its time is not behind.  Return: its time. */
static u64 pv_go_on(struct mote_vm *vm, const struct pvclock_vcpu_time_info *info, u64 tsc, u64 ns)
{
	struct mote_clock *clock = &vm->clock;
	s64 ticks = tsc + mote_resumes.tsc_lost - (clock->tsc + clock->tsc_lost);
	s64 ahead;

	if (!clock->tsc || ticks < 0)
		return ns;
	ahead = clock->ns - ns + pvclock_scale_delta(mote_tsc_scale(vm, ticks),
						     info->tsc_to_system_mul, info->tsc_shift);
	/* A TSC that is further off than this has not shown the time before, either. */
	if (ahead <= 0 || ahead > NSEC_PER_SEC)
		return ns;
	clock->offset += ahead;
	return ns + ahead;
}

/*
 * Where all CPUs have the same TSC, one pair of TSC and time is for all vCPUs, so that none is
 * ahead of another.  Else each has its own, of the CPU that it runs on.
 */
static void pv_clock_pair(struct mote_vcpu *vcpu, struct pvclock_vcpu_time_info *info)
{
	struct mote_clock *clock = &vcpu->vm->clock;
	bool stable = !check_tsc_unstable();
	u64 tsc, ns;

	mutex_lock(&vcpu->vm->lock);
	if (stable && clock->tsc && clock->resumes == mote_resumes.count) {
		tsc = clock->tsc;
		ns = clock->ns;
	} else {
		local_irq_disable();
		/* Here or where it is loaded next, the guest's TSC goes on. */
		if (!stable && vcpu->tsc_cpu != smp_processor_id())
			mote_time_move(vcpu);
		pv_read_pair(&tsc, &ns);
		local_irq_enable();
		ns = pv_go_on(vcpu->vm, info, tsc, ns + clock->offset);
		clock->tsc = stable ? tsc : 0;
		clock->ns = ns;
		clock->resumes = mote_resumes.count;
		clock->tsc_lost = mote_resumes.tsc_lost;
	}
	mutex_unlock(&vcpu->vm->lock);
	info->tsc_timestamp = mote_guest_tsc(vcpu, tsc);
	info->system_time = ns;
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

static bool pv_clock_is_stale(const struct mote_vcpu *vcpu)
{
	return vcpu->msrs.pv_system_time & MOTE_PV_ENABLED &&
	       vcpu->pv.clock_seen != READ_ONCE(vcpu->vm->clock.generation);
}

static void pv_publish_clock(struct mote_vcpu *vcpu)
{
	struct pvclock_vcpu_time_info info = {};
	u32 seen = READ_ONCE(vcpu->vm->clock.generation), khz = vcpu->vm->tsc_khz, shift;

	/* ns = (ticks * mul) >> shift; the guest shifts by 32 after it, so by the rest before. */
	clocks_calc_mult_shift(&info.tsc_to_system_mul, &shift, khz, NSEC_PER_MSEC, 0);
	info.tsc_shift = 32 - shift;
	pv_clock_pair(vcpu, &info);
	vcpu->pv.clock_seen = seen;
	pv_write_versioned(vcpu, vcpu->msrs.pv_system_time & ~MOTE_PV_ENABLED, &info,
			   sizeof(info), &info.version);
}

/* The wall clock is the time of day when the guest's clock began. */
static void pv_publish_wall_clock(struct mote_vcpu *vcpu)
{
	u64 start = ktime_get_real_ns() - pv_clock_now(vcpu->vm);
	struct pvclock_wall_clock wall = {};
	u32 nsec;

	wall.sec = div_u64_rem(start, NSEC_PER_SEC, &nsec);
	wall.nsec = nsec;
	vcpu->pv.wall_wanted = false;
	pv_write_versioned(vcpu, vcpu->msrs.pv_wall_clock, &wall, sizeof(wall), &wall.version);
}

int mote_pv_get_clock(struct mote_vm *vm, struct mote_clock_value *value)
{
	mutex_lock(&vm->lock);
	value->ns = pv_clock_now(vm);
	mutex_unlock(&vm->lock);
	return 0;
}

int mote_pv_set_clock(struct mote_vm *vm, const struct mote_clock_value *value)
{
	if (value->ns >> 63)
		return -EINVAL;
	mutex_lock(&vm->lock);
	vm->clock.offset = value->ns - ktime_get_boottime_ns();
	vm->clock.tsc = 0;
	WRITE_ONCE(vm->clock.generation, vm->clock.generation + 1);
	mutex_unlock(&vm->lock);
	mote_vm_request(vm, MOTE_REQ_EVENT);
	return 0;
}

void mote_pv_init_clock(struct mote_vm *vm)
{
	vm->clock.offset = -ktime_get_boottime_ns();
	vm->clock.generation = 1;
	atomic_set(&vm->clock.version, get_random_u32() & ~1);
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

static bool pv_steal_is_stale(const struct mote_vcpu *vcpu)
{
	return vcpu->msrs.pv_steal_time & MOTE_PV_ENABLED &&
	       (vcpu->pv.steal_stale || vcpu->pv.delay_seen != pv_run_delay());
}

static void pv_publish_steal(struct mote_vcpu *vcpu)
{
	struct kvm_steal_time steal = {};
	u64 delay = pv_run_delay();

	vcpu->pv.steal += delay - vcpu->pv.delay_seen;
	vcpu->pv.delay_seen = delay;
	vcpu->pv.steal_stale = false;
	steal.steal = vcpu->pv.steal;
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

bool mote_pv_is_stale(const struct mote_vcpu *vcpu)
{
	return pv_clock_is_stale(vcpu) || pv_steal_is_stale(vcpu) || vcpu->pv.wall_wanted ||
	       vcpu->pv.eoi_waits;
}

void mote_pv_publish(struct mote_vcpu *vcpu)
{
	if (vcpu->pv.eoi_waits)
		mote_pv_eoi_bring(vcpu);
	if (vcpu->pv.wall_wanted)
		pv_publish_wall_clock(vcpu);
	if (pv_clock_is_stale(vcpu))
		pv_publish_clock(vcpu);
	if (pv_steal_is_stale(vcpu))
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
