// SPDX-License-Identifier: GPL-2.0
/*
 * QUIRK(no nRIP save, no decode assists): AMD CPUs before 2010, QEMU and Bochs do not tell
 * where the instruction ends that caused an exit, nor which register a MOV to CR8 reads.
 * The instruction is fetched by the guest's page tables, and measured (insn.c).
 */
#include "insn.h"
#include "svm_quirk.h"

/*
 * Up to 15 bytes from CS:RIP.  Where the last of them is svm_plain_length() need not find out
 * next time.  That may be stale, if the guest has changed its tables since; but then what is there
 * is not the instruction of the exit.  Changes of slots forget it (svm_flush()).
 */
static u32 svm_fetch(struct svm_vcpu *svm, u8 *bytes, struct mote_memory *last)
{
	struct mote_vcpu *vcpu = &svm->vcpu;
	struct mote_cpu_mode mode;
	u32 nr;

	mote_ops->get_mode(vcpu, &mode);
	nr = mote_mem_fetch(vcpu, &mode, bytes, last);
	svm->code_gva = ~0ull;
	if (!last->error && mote_mem_hva(vcpu->vm, last->gpa & PAGE_MASK, &svm->code_hva)) {
		svm->code_gva = svm_linear(svm, vcpu->rip + nr - 1) & PAGE_MASK;
		svm->code_cr3 = mode.cr3;
	}
	return nr;
}

/*
 * The instruction of the exit could not be read.  Either its page (or a page
 * table) is not in memory just now: ask for it as a nested fault would, and
 * let the guest come here again.  Or what was read is not what the CPU executed:
 * a page or a page table has changed.  Then the guest tries again, too, and
 * nobody relies on what he knew of its tables.
 */
static void svm_fetch_failed(struct svm_vcpu *svm, const struct mote_memory *last)
{
	struct mote_exit *exit = &svm->vcpu.exit;

	svm->code_gva = ~0ull;
	exit->reason = MOTE_EXIT_NONE;
	if (last->error == -EFAULT || last->error == -ENXIO) {
		exit->reason = MOTE_EXIT_NPF;
		exit->npf = *last;
	} else {
		svm->generation = 0;
	}
}

/* Return: 0 if it is another exit now. */
u8 svm_measure(struct svm_vcpu *svm)
{
	struct mote_exit *exit = &svm->vcpu.exit;
	u8 bytes[MOTE_INSN_ROOM];
	struct mote_memory last;
	u32 nr = svm_fetch(svm, bytes, &last);
	int len;

	len = mote_insn_length(bytes, nr, exit->reason, svm_is_64bit(svm));
	if (likely(len > 0))
		return len;
	svm_fetch_failed(svm, &last);
	return 0;
}

u8 svm_measure_mov_cr(struct svm_vcpu *svm, u32 cr, bool write, u8 *reg)
{
	u8 bytes[MOTE_INSN_ROOM];
	struct mote_memory last;
	u32 nr = svm_fetch(svm, bytes, &last);
	int len;

	len = mote_insn_mov_cr(bytes, nr, cr, write, svm_is_64bit(svm), reg);
	if (len > 0)
		return len;
	svm_fetch_failed(svm, &last);
	return 0;
}
