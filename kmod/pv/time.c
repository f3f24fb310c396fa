// SPDX-License-Identifier: GPL-2.0
/*
 * The guest's TSC: frequency, offset, and that it goes on over suspends of the host and on
 * hosts whose CPUs differ.
 *
 * The guest's TSC is the host's, scaled, plus vcpu->tsc_offset, which the vendor has in its
 * control block.  What is told beside it, the paravirtual clock, is clock.c's.
 *
 * Locking: vcpu->lock is held.  mote_resumes changes while no vCPU runs.
 */
#include <asm/tsc.h>

#include "../vendor.h"

struct mote_resumes mote_resumes;

static u64 time_suspend_tsc;

/* Scaling has 32 bits behind the point on AMD, and is used with as many on Intel. */
int mote_time_set_khz(struct mote_vm *vm, u32 khz)
{
	vm->tsc_khz = khz ?: tsc_khz;
	if (vm->tsc_khz == tsc_khz)
		return 0;
	if (!mote_has(MOTE_FEATURE_TSC_SCALING))
		return -EOPNOTSUPP;
	if (khz < tsc_khz / 16 || khz / 16 > tsc_khz)
		return -EINVAL;
	vm->tsc_ratio = mul_u64_u32_div(BIT_ULL(32), khz, tsc_khz) << 16;
	return 0;
}

void mote_time_set_offset(struct mote_vcpu *vcpu, u64 offset)
{
	vcpu->tsc_offset = offset;
	mote_ops->set_tsc(vcpu);
	mote_pv_changed(vcpu);
}

/* A write to the TSC or to TSC_ADJUST moves the other (SDM 3B, "Time-Stamp Counter Adjustment"). */
void mote_time_write(struct mote_vcpu *vcpu, u64 offset)
{
	vcpu->msrs.tsc_adjust += offset - vcpu->tsc_offset;
	mote_time_set_offset(vcpu, offset);
}

void mote_time_init(struct mote_vcpu *vcpu)
{
	vcpu->tsc_cpu = -1;
	vcpu->resumes = mote_resumes;
}

void mote_time_move(struct mote_vcpu *vcpu)
{
	u64 offset = vcpu->tsc_offset +
		     mote_tsc_scale(vcpu->vm, mote_resumes.tsc_lost - vcpu->resumes.tsc_lost);

	vcpu->tsc_unstable = check_tsc_unstable();
	if (vcpu->tsc_unstable) {
		u64 now = mote_tsc_scale(vcpu->vm, rdtsc()) + offset;
		u64 last = mote_guest_tsc(vcpu, vcpu->tsc_last);

		if (vcpu->tsc_cpu >= 0 && (s64)(last - now) > 0)
			offset += last - now;
	}
	if (vcpu->tsc_unstable || vcpu->resumes.count != mote_resumes.count)
		mote_pv_changed(vcpu);
	vcpu->tsc_cpu = smp_processor_id();
	vcpu->resumes = mote_resumes;
	if (offset != vcpu->tsc_offset) {
		vcpu->tsc_offset = offset;
		mote_ops->set_tsc(vcpu);
	}
	vcpu->tsc_last = rdtsc();
}

void mote_time_suspend(void)
{
	time_suspend_tsc = rdtsc();
}

void mote_time_resume(void)
{
	u64 now = rdtsc();

	if (now < time_suspend_tsc)
		mote_resumes.tsc_lost += time_suspend_tsc - now;
	mote_resumes.count++;
}
