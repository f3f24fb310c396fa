// SPDX-License-Identifier: GPL-2.0
/*
 * QUIRK(no nRIP save, no decode assists): AMD CPUs before 2010, QEMU and Bochs do not tell
 * where the instruction ends that caused an exit, nor which register a MOV to CR8 reads.
 * The instruction is fetched by the guest's page tables, and measured (insn.c).
 */
#include "insn.h"
#include "svm_quirk.h"

static int svm_read_table(void *context, u64 gpa, void *data, u32 len)
{
	struct svm_vcpu *svm = context;

	svm->missing_gpa = gpa;
	svm->missing_access = MOTE_ACCESS_READ;
	return mote_mem_read(svm->vcpu.vm, gpa, data, len);
}

/*
 * Look a code page up, unless it is the last one.  That may be stale, if the
 * guest has changed its tables since; but then what is there is not the
 * instruction of the exit.  Changes of slots forget it (svm_flush()).
 */
static int svm_code_page(struct svm_vcpu *svm, u64 page)
{
	const struct vmcb_save_area *save = &svm->vmcb->save;
	const struct mote_walk walk = {
		.cr0 = save->cr0, .cr3 = save->cr3, .cr4 = save->cr4,
		.efer = save->efer & ~EFER_SVME, .read = svm_read_table, .context = svm,
	};
	int err;

	if (page != svm->code_gva || save->cr3 != svm->code_cr3) {
		svm->code_gva = ~0ull;
		err = mote_walk_gva(&walk, page, &svm->code_gpa);
		if (err)
			return err;
	}
	svm->missing_gpa = svm->code_gpa;
	svm->missing_access = MOTE_ACCESS_EXEC;
	if (!mote_mem_hva(svm->vcpu.vm, svm->code_gpa, &svm->code_hva))
		return -ENXIO;
	svm->code_gva = page;
	svm->code_cr3 = save->cr3;
	return 0;
}

/* Up to 15 bytes from CS:RIP.  Return: how many; *err says why not all. */
static u32 svm_fetch(struct svm_vcpu *svm, u8 *bytes, int *err)
{
	u32 nr, len, offset;
	u64 gva;

	*err = 0;
	for (nr = 0; nr < 15 && !*err; nr += len) {
		gva = svm_linear(svm, svm->vcpu.rip + nr);
		offset = gva & ~PAGE_MASK;
		len = min_t(u32, 15 - nr, PAGE_SIZE - offset);
		*err = svm_code_page(svm, gva & PAGE_MASK) ?:
		       mote_user_read(svm->code_hva + offset, bytes + nr, len);
		if (*err)
			len = 0;
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
static void svm_fetch_failed(struct svm_vcpu *svm, int err)
{
	struct mote_exit *exit = &svm->vcpu.exit;

	svm->code_gva = ~0ull;
	exit->reason = MOTE_EXIT_NONE;
	if (err == -EFAULT || err == -ENXIO) {
		exit->reason = MOTE_EXIT_NPF;
		exit->npf.gpa = svm->missing_gpa;
		exit->npf.access = svm->missing_access;
	} else {
		svm->generation = 0;
	}
}

/* Return: 0 if it is another exit now. */
u8 svm_measure(struct svm_vcpu *svm)
{
	struct mote_exit *exit = &svm->vcpu.exit;
	u8 bytes[15];
	int err, len;
	u32 nr;

	nr = svm_fetch(svm, bytes, &err);
	len = mote_insn_length(bytes, nr, exit->reason, svm_is_64bit(svm));
	if (likely(len > 0))
		return len;
	svm_fetch_failed(svm, err);
	return 0;
}

u8 svm_measure_mov_cr(struct svm_vcpu *svm, u32 cr, bool write, u8 *reg)
{
	u8 bytes[15];
	int err, len;
	u32 nr;

	nr = svm_fetch(svm, bytes, &err);
	len = mote_insn_mov_cr(bytes, nr, cr, write, svm_is_64bit(svm), reg);
	if (len > 0)
		return len;
	svm_fetch_failed(svm, err);
	return 0;
}
