// SPDX-License-Identifier: GPL-2.0
/*
 * What a guest may know about being one: a clock, the time that others took
 * from it, interrupts that end without an exit, and hypercalls.
 *
 * All but mote's own hypercalls is KVM's paravirtual interface, which guests know
 * (Documentation/virt/kvm/x86/{cpuid,msr,hypercalls}.rst); docs/guest-abi.md
 * describes what there is of it here.
 *
 * What a guest reads in its memory is written while the vCPU is put, as that
 * may sleep: mote_pv_is_stale() sends the run loop here.  The exceptions are two
 * flags, which are skipped where their page is not there or its writes are logged:
 * that an interrupt may end without an exit, and that the vCPU is preempted.
 *
 * Locking: vcpu->lock; a VM's clock is under vm->lock.
 */
#include <linux/math64.h>
#include <linux/sched.h>
#include <linux/timekeeping.h>
#include <asm/kvm_para.h>
#include <asm/msr-index.h>
#include <asm/pvclock-abi.h>
#include <asm/tsc.h>
#include <uapi/linux/kvm_para.h>

#include "../apic/lapic.h"
#include "../vendor.h"
#include "pv.h"

#define ENABLED 1ull	/* bit 0 of each MSR but that of the wall clock */
#define CS_LONG BIT(13)	/* L, in &mote_segment.attr */

u32 mote_pv_features(void)
{
	u32 features = BIT(KVM_FEATURE_NOP_IO_DELAY) | BIT(KVM_FEATURE_CLOCKSOURCE2) |
		       BIT(KVM_FEATURE_PV_EOI) | BIT(KVM_FEATURE_PV_UNHALT) |
		       BIT(KVM_FEATURE_PV_SEND_IPI) | BIT(KVM_FEATURE_PV_SCHED_YIELD);

	if (IS_ENABLED(CONFIG_SCHED_INFO))
		features |= BIT(KVM_FEATURE_STEAL_TIME);
	if (!check_tsc_unstable())
		features |= BIT(KVM_FEATURE_CLOCKSOURCE_STABLE_BIT);
	return features;
}

/* ---- clock ----------------------------------------------------------------- */

/* ns = ((ticks << shift) * mul) >> 32; a negative shift goes to the right. */
static void scale(u32 khz, u32 *mul, s8 *shift)
{
	u64 hz = khz * 1000ull;

	*shift = 0;
	for (; hz > 2 * NSEC_PER_SEC; hz >>= 1)
		--*shift;
	for (; hz <= NSEC_PER_SEC; hz <<= 1)
		++*shift;
	*mul = div64_u64((u64)NSEC_PER_SEC << 32, hz);
}

static u64 ns_since(u64 from, u64 to)
{
	u64 ticks = to - from;
	u32 mul;
	s8 shift;

	scale(tsc_khz, &mul, &shift);
	return mul_u64_u32_shr(shift < 0 ? ticks >> -shift : ticks << shift, mul, 32);
}

/* The host's time since it booted, suspended or not, as the guest counts it. */
static u64 clock_now(const struct mote_vm *vm)
{
	return ktime_get_boottime_ns() + vm->clock.offset;
}

/*
 * One pair of TSC and time is for all vCPUs, where all CPUs have the same TSC: so
 * none is ahead of another.  A new pair, after a suspend, is not behind the old.
 */
static void common_pair(struct mote_vm *vm, u64 *tsc, u64 *ns)
{
	struct mote_clock *clock = &vm->clock;

	mutex_lock(&vm->lock);
	if (!clock->tsc || clock->resumes != mote_resumes.count) {
		u64 now = rdtsc(), old = 0;

		if (clock->tsc)
			old = clock->ns + ns_since(clock->tsc + clock->lost,
						   now + mote_resumes.tsc_lost);
		clock->ns = max(old, clock_now(vm));
		clock->tsc = now;
		clock->resumes = mote_resumes.count;
		clock->lost = mote_resumes.tsc_lost;
	}
	*tsc = clock->tsc;
	*ns = clock->ns;
	mutex_unlock(&vm->lock);
}

/* Otherwise each vCPU has its own, from the CPU that it runs on. */
static void own_pair(struct mote_vcpu *vcpu, u64 *tsc, u64 *ns)
{
	local_irq_disable();
	*tsc = rdtsc();
	*ns = clock_now(vcpu->vm);
	vcpu->tsc_cpu = smp_processor_id();
	local_irq_enable();
}

/*
 * Write a struct with its version, which is @in: readers wait while it is odd, and
 * begin anew when it has changed.
 */
static void write_versioned(struct mote_vm *vm, u64 gpa, void *data, u32 size, u32 *in,
			    u32 *version)
{
	u64 at = gpa + ((void *)in - data);

	*in = *version + 1;
	*version += 2;
	if (mote_mem_write(vm, at, in, sizeof(*in)))
		return;
	smp_wmb(); /* with the guest's barrier between version and data, here and below */
	mote_mem_write(vm, gpa, data, size);
	smp_wmb(); /* likewise */
	*in = *version;
	mote_mem_write(vm, at, in, sizeof(*in));
}

static void publish_clock(struct mote_vcpu *vcpu)
{
	struct pvclock_vcpu_time_info info = {};

	vcpu->pv.clock_seen = READ_ONCE(vcpu->vm->clock.generation);
	if (check_tsc_unstable()) {
		own_pair(vcpu, &info.tsc_timestamp, &info.system_time);
	} else {
		common_pair(vcpu->vm, &info.tsc_timestamp, &info.system_time);
		info.flags = PVCLOCK_TSC_STABLE_BIT;
	}
	info.tsc_timestamp = mote_guest_tsc(vcpu, info.tsc_timestamp);
	scale(vcpu->vm->tsc_khz, &info.tsc_to_system_mul, &info.tsc_shift);
	write_versioned(vcpu->vm, vcpu->msrs.pv_system_time & ~ENABLED, &info, sizeof(info),
			&info.version, &vcpu->pv.clock_version);
}

/* What time it was when the guest's clock began. */
static void publish_wall_clock(struct mote_vcpu *vcpu)
{
	u64 start = ktime_get_real_ns() - clock_now(vcpu->vm);
	struct pvclock_wall_clock wall = {};
	u32 version = 0, nsec;

	wall.sec = div_u64_rem(start, NSEC_PER_SEC, &nsec);
	wall.nsec = nsec;
	vcpu->pv.wall_wanted = false;
	write_versioned(vcpu->vm, vcpu->msrs.pv_wall_clock, &wall, sizeof(wall), &wall.version,
			&version);
}

int mote_pv_get_clock(struct mote_vm *vm, struct mote_clock_value *value)
{
	mutex_lock(&vm->lock);
	value->ns = clock_now(vm);
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
}

/* ---- steal time --------------------------------------------------------------- */

/* How long this task has waited for a CPU, in ns. */
static u64 run_delay(void)
{
#ifdef CONFIG_SCHED_INFO
	return current->sched_info.run_delay;
#else
	return 0;
#endif
}

static u64 steal_gpa(const struct mote_vcpu *vcpu)
{
	return vcpu->msrs.pv_steal_time & ~63ull;
}

static void publish_steal(struct mote_vcpu *vcpu)
{
	struct kvm_steal_time steal = {};
	u64 delay = run_delay();

	vcpu->pv.steal += delay - vcpu->pv.delay_seen;
	vcpu->pv.delay_seen = delay;
	vcpu->pv.preempted = false;
	steal.steal = vcpu->pv.steal;
	write_versioned(vcpu->vm, steal_gpa(vcpu), &steal, sizeof(steal), &steal.version,
			&vcpu->pv.steal_version);
}

void mote_pv_new_task(struct mote_vcpu *vcpu)
{
	vcpu->pv.delay_seen = run_delay();
}

void mote_pv_preempted(struct mote_vcpu *vcpu)
{
	u8 preempted = KVM_VCPU_PREEMPTED;

	if (!(vcpu->msrs.pv_steal_time & ENABLED))
		return;
	vcpu->pv.preempted = true;
	mote_mem_write_atomic(vcpu->vm,
			      steal_gpa(vcpu) + offsetof(struct kvm_steal_time, preempted),
			      &preempted, sizeof(preempted));
}

/* ---- what is to be written ------------------------------------------------------ */

bool mote_pv_is_stale(const struct mote_vcpu *vcpu)
{
	const struct mote_pv *pv = &vcpu->pv;

	return (vcpu->msrs.pv_system_time & ENABLED &&
		pv->clock_seen != READ_ONCE(vcpu->vm->clock.generation)) ||
	       (vcpu->msrs.pv_steal_time & ENABLED &&
		(pv->preempted || pv->delay_seen != run_delay())) || pv->wall_wanted;
}

void mote_pv_publish(struct mote_vcpu *vcpu)
{
	if (vcpu->pv.wall_wanted)
		publish_wall_clock(vcpu);
	if (vcpu->msrs.pv_system_time & ENABLED &&
	    vcpu->pv.clock_seen != READ_ONCE(vcpu->vm->clock.generation))
		publish_clock(vcpu);
	if (vcpu->msrs.pv_steal_time & ENABLED)
		publish_steal(vcpu);
}

void mote_pv_changed(struct mote_vcpu *vcpu)
{
	vcpu->pv.clock_seen = 0;
	vcpu->pv.preempted = true;
	atomic_or(MOTE_REQ_EVENT, &vcpu->requests);
}

bool mote_pv_wrmsr(struct mote_vcpu *vcpu, u32 index)
{
	switch (index) {
	case MSR_KVM_WALL_CLOCK_NEW:
		vcpu->pv.wall_wanted = true;
		break;
	case MSR_KVM_SYSTEM_TIME_NEW:
	case MSR_KVM_STEAL_TIME:
		break;
	default:
		return false;
	}
	mote_pv_changed(vcpu);
	return true;
}

/* ---- ends of interrupts without an exit ------------------------------------------ */

static u64 eoi_gpa(const struct mote_vcpu *vcpu)
{
	return vcpu->msrs.pv_eoi & ~ENABLED;
}

static bool read_flag(struct mote_vcpu *vcpu, u8 *flag)
{
	/* Without the page, the guest has not been there either. */
	return !mote_mem_read(vcpu->vm, eoi_gpa(vcpu), flag, 1);
}

void mote_pv_eoi_offer(struct mote_vcpu *vcpu)
{
	u8 flag;

	if (!read_flag(vcpu, &flag))
		return;
	flag |= KVM_PV_EOI_ENABLED;
	vcpu->pv.eoi_offered = !mote_mem_write_atomic(vcpu->vm, eoi_gpa(vcpu), &flag, 1);
}

bool mote_pv_eoi_take(struct mote_vcpu *vcpu)
{
	u8 flag;

	if (!read_flag(vcpu, &flag) || flag & KVM_PV_EOI_ENABLED)
		return false;
	vcpu->pv.eoi_offered = false;
	return true;
}

void mote_pv_eoi_withdraw(struct mote_vcpu *vcpu)
{
	u8 flag;

	vcpu->pv.eoi_offered = false;
	if (!read_flag(vcpu, &flag))
		return;
	flag &= ~KVM_PV_EOI_ENABLED;
	mote_mem_write_atomic(vcpu->vm, eoi_gpa(vcpu), &flag, 1);
}

/* ---- hypercalls ------------------------------------------------------------------- */

/* To the APIC ids from @first on that have a bit in @map.  Return: how many there were. */
static u64 send_ipis(struct mote_vm *vm, const u64 map[2], u32 first, u32 icr)
{
	u64 sent = 0;
	u32 i;

	if ((icr & APIC_MODE_MASK) != APIC_DM_FIXED && (icr & APIC_MODE_MASK) != APIC_DM_NMI)
		return -KVM_EINVAL;
	for (i = 0; i < 128; i++) {
		struct mote_vcpu *vcpu;

		if (!(map[i / 64] & BIT_ULL(i % 64)))
			continue;
		vcpu = mote_vm_vcpu(vm, first + i);
		if (!vcpu)
			continue;
		mote_lapic_send(vcpu, icr & (APIC_MODE_MASK | 0xff));
		sent++;
	}
	return sent;
}

static u64 kick(struct mote_vm *vm, u32 id)
{
	struct mote_vcpu *vcpu = mote_vm_vcpu(vm, id);

	if (vcpu)
		mote_lapic_kick(vcpu);
	return 0;
}

/* 32-bit guests have 32 bits of each argument, and of the map. */
static noinline u64 send_ipis_call(struct mote_vcpu *vcpu)
{
	u64 low = vcpu->gpr[MOTE_RBX], high = vcpu->gpr[MOTE_RCX];
	struct mote_cpu_mode mode;

	mote_ops->get_mode(vcpu, &mode);
	if (!(mode.efer & EFER_LMA && mode.cs_attr & CS_LONG)) {
		low = (u32)low | high << 32;
		high = 0;
	}
	return send_ipis(vcpu->vm, (u64[]){ low, high }, vcpu->gpr[MOTE_RDX], vcpu->gpr[MOTE_RSI]);
}

bool mote_pv_hypercall(struct mote_vcpu *vcpu)
{
	u64 *rax = &vcpu->gpr[MOTE_RAX];
	u32 first = vcpu->gpr[MOTE_RBX];

	switch ((u32)*rax) {
	case MOTE_HYPERCALL_NOP:
		*rax = 0;
		return true;
	case MOTE_HYPERCALL_EXITS:
		*rax = first < MOTE_NR_EXITS ? vcpu->run->exits[first] : -KVM_EINVAL;
		return true;
	}
	if (!vcpu->lapic)
		return false;
	switch ((u32)*rax) {
	case KVM_HC_KICK_CPU:
		*rax = kick(vcpu->vm, vcpu->gpr[MOTE_RCX]);
		return true;
	case KVM_HC_SEND_IPI:
		*rax = send_ipis_call(vcpu);
		return true;
	case KVM_HC_SCHED_YIELD:
		*rax = 0;
		vcpu->pv.yield_to = mote_vm_vcpu(vcpu->vm, first);
		return true;
	}
	return false;
}
