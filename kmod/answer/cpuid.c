// SPDX-License-Identifier: GPL-2.0
/* CPUID: a row of the vCPU's table, and what is not constant in it. */
#include "../mote.h"
#include "../vendor.h"
#include "answer.h"

static void cpuid_answer(struct mote_vcpu *vcpu, const struct mote_cpuid_entry *row)
{
	vcpu->gpr[MOTE_RAX] = row->eax;
	vcpu->gpr[MOTE_RBX] = row->ebx;
	vcpu->gpr[MOTE_RCX] = row->ecx;
	vcpu->gpr[MOTE_RDX] = row->edx;
}

static noinline void cpuid_answer_dynamic(struct mote_vcpu *vcpu,
					  const struct mote_cpuid_entry *row)
{
	u32 leaf = vcpu->gpr[MOTE_RAX], subleaf = vcpu->gpr[MOTE_RCX];
	struct mote_cpuid_entry copy = *row;
	struct mote_cpu_mode mode;

	if (row->leaf != leaf)
		mote_cpuid_beyond(vcpu->cpuid->rows, vcpu->cpuid->nr, leaf, &copy);
	mote_ops->get_mode(vcpu, &mode);
	mote_cpuid_patch(&copy, subleaf, mode.cr4, vcpu->xcr0, &vcpu->msrs);
	cpuid_answer(vcpu, &copy);
}

/* As a rule the one of the last time: guests use CPUID to serialize, too. */
static const struct mote_cpuid_entry *cpuid_find(struct mote_cpuid *table, u32 leaf, u32 subleaf)
{
	static const struct mote_cpuid_entry zero;
	const struct mote_cpuid_entry *row = table->last;

	if (row && row->leaf == leaf && !(row->flags && row->subleaf != subleaf))
		return row;
	row = mote_cpuid_find(table->rows, table->nr, leaf, subleaf);
	if (!row)
		return &zero;
	table->last = row;
	return row;
}

enum mote_next mote_exit_cpuid(struct mote_vcpu *vcpu)
{
	u32 leaf = vcpu->gpr[MOTE_RAX], subleaf = vcpu->gpr[MOTE_RCX];
	const struct mote_cpuid_entry *row;
	enum mote_next next;

	if (mote_exit_filtered(vcpu, MOTE_FILTER_CPUID, leaf, MOTE_FILTER_READ, &next))
		return next;
	row = cpuid_find(vcpu->cpuid, leaf, subleaf);
	if (unlikely(mote_cpuid_is_dynamic(leaf, &vcpu->msrs)))
		cpuid_answer_dynamic(vcpu, row);
	else
		cpuid_answer(vcpu, row);
	return mote_exit_complete(vcpu);
}
