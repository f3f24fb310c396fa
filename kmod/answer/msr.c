// SPDX-License-Identifier: GPL-2.0
/* RDMSR and WRMSR, by the table of guest/msr.c: where a value is, and which may be written. */
#include <asm/kvm_para.h>
#include <asm/msr-index.h>
#include <asm/trapnr.h>
#include <asm/tsc.h>

#include "../apic/lapic.h"
#include "../mote.h"
#include "../vendor.h"
#include "answer.h"

static u64 *msr_field(struct mote_vcpu *vcpu, const struct mote_msr *row)
{
	return (void *)&vcpu->msrs + row->field;
}

/* Those that the vendor keeps come before apic_base; see struct mote_ops. */
static bool msr_is_vendor(const struct mote_msr *row)
{
	return row->field / sizeof(u64) < MOTE_NR_VENDOR_MSRS;
}

/* As a rule the one of the last time. */
static const struct mote_msr *msr_find(struct mote_vcpu *vcpu, u32 index)
{
	const struct mote_msr *row = vcpu->last_msr;

	if (!row || index < row->first || index > row->last) {
		row = mote_msr_find(index);
		vcpu->last_msr = row;
	}
	return row;
}

static u64 msr_read(struct mote_vcpu *vcpu, const struct mote_msr *row)
{
	switch (row->kind) {
	case MOTE_MSR_STATE:
		return msr_is_vendor(row) ? mote_ops->get_msr(vcpu, row->field / sizeof(u64)) :
					    *msr_field(vcpu, row);
	case MOTE_MSR_TSC:
		return mote_guest_tsc(vcpu, rdtsc());
	case MOTE_MSR_TSC_ADJUST:
		return vcpu->msrs.tsc_adjust;
	default:
		return row->value;
	}
}

enum mote_next mote_exit_rdmsr(struct mote_vcpu *vcpu)
{
	u32 index = vcpu->gpr[MOTE_RCX];
	const struct mote_msr *row;
	enum mote_next next;
	u64 value;

	if (mote_exit_filtered(vcpu, MOTE_FILTER_MSR, index, MOTE_FILTER_READ, &next))
		return next;
	if (mote_lapic_has_msr(vcpu, index)) {
		if (!mote_lapic_rdmsr(vcpu, index, &value))
			return mote_exit_fault(vcpu, X86_TRAP_GP, 0);
	} else {
		row = msr_find(vcpu, index);
		if (!row)
			return MOTE_NEXT_USER;
		value = msr_read(vcpu, row);
	}
	vcpu->gpr[MOTE_RAX] = (u32)value;
	vcpu->gpr[MOTE_RDX] = value >> 32;
	return mote_exit_complete(vcpu);
}

static noinline bool msr_write_common(struct mote_vcpu *vcpu, const struct mote_msr *row,
				      u32 index, u64 value)
{
	u64 old = vcpu->msrs.apic_base;

	if (index == MSR_IA32_APICBASE && !mote_apic_base_can_change(old, value))
		return false;
	if (index == MSR_KVM_PV_EOI_EN && !vcpu->lapic)
		return false;
	*msr_field(vcpu, row) = value;
	mote_lapic_base_changed(vcpu, old);
	return true;
}

/* LMA follows LME and paging; LME is fixed while paging is on (APM 2, "Long Mode Enable"). */
static bool msr_write_efer(struct mote_vcpu *vcpu, u64 value)
{
	struct mote_cpu_mode now;

	mote_ops->get_mode(vcpu, &now);
	if ((value ^ now.efer) & EFER_LME && now.cr0 & X86_CR0_PG)
		return false;
	mote_ops->set_msr(vcpu, MOTE_VENDOR_MSR(efer), (value & ~EFER_LMA) | (now.efer & EFER_LMA));
	return true;
}

static bool msr_write(struct mote_vcpu *vcpu, const struct mote_msr *row, u32 index, u64 value)
{
	switch (row->kind) {
	case MOTE_MSR_FIXED:
		return false;
	case MOTE_MSR_IGNORED:
		return true;
	case MOTE_MSR_TSC:
		mote_time_write(vcpu, value - mote_tsc_scale(vcpu->vm, rdtsc()));
		return true;
	case MOTE_MSR_TSC_ADJUST:
		mote_time_write(vcpu, vcpu->tsc_offset + value - vcpu->msrs.tsc_adjust);
		return true;
	}
	if (!msr_is_vendor(row))
		return msr_write_common(vcpu, row, index, value);
	if (index == MSR_EFER)
		return msr_write_efer(vcpu, value);
	mote_ops->set_msr(vcpu, row->field / sizeof(u64), value);
	return true;
}

static enum mote_next exit_wrmsr_lapic(struct mote_vcpu *vcpu, u32 index, u64 value)
{
	enum mote_apic_effect effect = mote_lapic_wrmsr(vcpu, index, value, &vcpu->exit.vector);

	if (effect == MOTE_APIC_INVALID)
		return mote_exit_fault(vcpu, X86_TRAP_GP, 0);
	mote_exit_complete(vcpu);
	if (effect != MOTE_APIC_BROADCAST)
		return MOTE_NEXT_ENTER;
	vcpu->exit.reason = MOTE_EXIT_EOI;
	vcpu->exit.insn_len = 0;
	return MOTE_NEXT_USER;
}

enum mote_next mote_exit_wrmsr(struct mote_vcpu *vcpu)
{
	u32 index = vcpu->gpr[MOTE_RCX];
	u64 value = mote_edx_eax(vcpu);
	const struct mote_msr *row;
	enum mote_next next;

	if (mote_exit_filtered(vcpu, MOTE_FILTER_MSR, index, MOTE_FILTER_WRITE, &next))
		return next;
	if (mote_lapic_has_msr(vcpu, index))
		return exit_wrmsr_lapic(vcpu, index, value);
	row = msr_find(vcpu, index);
	if (!row)
		return MOTE_NEXT_USER;
	if (!mote_msr_valid(row, value, &vcpu->caps) || !msr_write(vcpu, row, index, value))
		return mote_exit_fault(vcpu, X86_TRAP_GP, 0);
	mote_exit_complete(vcpu);
	return !msr_is_vendor(row) && mote_pv_wrmsr(vcpu, index) ? MOTE_NEXT_SLEEP :
								   MOTE_NEXT_ENTER;
}
