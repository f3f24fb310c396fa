/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What some CPUs with AMD-V do wrong or not at all: those that save no next RIP (svm_fetch.c),
 * those of family 10h (svm_erratum.c), QEMU's translator (svm_tcg.c, qemu_timer.c), and
 * Bochs's (bochs_clock.c).
 */
#ifndef MOTE_SVM_QUIRK_H
#define MOTE_SVM_QUIRK_H

#include "../svm.h"

bool mote_is_qemu_tcg(void);
bool mote_is_bochs(void);

/* On a CPU that comes into virtualization operation. */
void svm_erratum_383_report(void);
/* A machine check has ended the guest: was it the guest's doing, and is it cleared? */
bool svm_is_erratum_383(void);

/* Before and after an entry with a virtual interrupt; interrupts are off in between. */
void mote_qemu_keep_timer(struct mote_host_timer *timer);
void mote_qemu_give_timer_back(struct mote_host_timer *timer);

/* Before the first VM: 0, or a negative errno; and after the last one, wherever. */
int mote_bochs_clock_setup(void);
void mote_bochs_clock_teardown(void);
/* One CPU more, or one less, is in virtualization operation; any context, also in a crash. */
void mote_bochs_clock(bool on);

/* Inject an interrupt as a virtual one; take it back after the exit if it still pends. */
void svm_inject_virtual(struct svm_vcpu *svm, u8 vector);
void svm_take_virtual_back(struct svm_vcpu *svm);

/* Before an entry with RARE_SHADOW: step over the instruction in the shadow. */
void svm_keep_shadow(struct svm_vcpu *svm);

/* After whatever may have left the vCPU in a shadow. */
static inline void svm_notice_shadow(struct svm_vcpu *svm)
{
	if (svm_host_extras & EXTRA_TCG && svm_in_shadow(svm))
		svm->rare |= RARE_SHADOW;
}

/* Exits whose instruction has to be measured where the CPU saves no next RIP. */
#define MEASURED_EXITS                                                                     \
	(BIT(MOTE_EXIT_CPUID) | BIT(MOTE_EXIT_HLT) | BIT(MOTE_EXIT_RDMSR) |                \
	 BIT(MOTE_EXIT_WRMSR) | BIT(MOTE_EXIT_HYPERCALL) | BIT(MOTE_EXIT_XSETBV) |         \
	 BIT(MOTE_EXIT_CACHE) | BIT(MOTE_EXIT_PMC) | BIT(MOTE_EXIT_PAUSE) |                \
	 BIT(MOTE_EXIT_MWAIT) | BIT(MOTE_EXIT_RDTSC))

/* The length of the exit's instruction, or 0: it is another exit now. */
u8 svm_measure(struct svm_vcpu *svm);

/* The same for MOV to or from a control register, and the general one that it names. */
u8 svm_measure_mov_cr(struct svm_vcpu *svm, u32 cr, bool write, u8 *reg);

static inline u64 svm_linear(const struct svm_vcpu *svm, u64 rip)
{
	return svm_is_64bit(svm) ? rip : (u32)(svm->vmcb->save.cs.base + rip);
}

/* The usual encodings, without prefixes: what a guest that exits often uses. */
static __always_inline u32 svm_plain_length(const struct svm_vcpu *svm, u32 reason)
{
	static const struct {
		u32 mask, code, len;
	} plain[] = {
		[MOTE_EXIT_CPUID] = { 0xffff, 0xa20f, 2 },
		[MOTE_EXIT_HLT] = { 0xff, 0xf4, 1 },
		[MOTE_EXIT_RDMSR] = { 0xffff, 0x320f, 2 },
		[MOTE_EXIT_WRMSR] = { 0xffff, 0x300f, 2 },
		[MOTE_EXIT_HYPERCALL] = { 0xffffff, 0xd9010f, 3 },
	};
	u64 gva = svm_linear(svm, svm->vcpu.rip);
	u32 offset = gva & ~PAGE_MASK;
	s64 word;

	if (reason >= ARRAY_SIZE(plain) || svm->code_gva != (gva & PAGE_MASK) ||
	    svm->code_cr3 != svm->vmcb->save.cr3 || offset > PAGE_SIZE - sizeof(u32))
		return 0;
	word = mote_user_read_word(svm->code_hva + offset);
	return word >= 0 && (word & plain[reason].mask) == plain[reason].code ?
	       plain[reason].len : 0;
}

#endif /* MOTE_SVM_QUIRK_H */
