/* SPDX-License-Identifier: GPL-2.0 */
/*
 * SVM without the hardware: what an exit code means, how segments look in a
 * VMCB, where an MSR's bits are in the permission map, which ASID is next.
 * Pure functions, so that they can be tested anywhere.
 */
#ifndef MOTE_SVM_ARCH_H
#define MOTE_SVM_ARCH_H

#include <asm/svm.h>
#include <asm/trap_pf.h>
#include <asm/trapnr.h>

#include "../mote.h"

/* Not all kernels' headers have these (APM 2, "SVM Intercept Codes"). */
#define SVM_CODE_INVLPGB 0x0a0
#define SVM_CODE_TLBSYNC 0x0a4

/* EXITINFO1 of a nested fault: it was in a walk of the guest's own tables. */
#define SVM_NPF_WALK BIT_ULL(33)

/* Codes that mote does not cause, or sees first itself, have no entry. */
static const u8 svm_reasons[] = {
	[SVM_EXIT_READ_CR0 ... SVM_EXIT_READ_CR0 + 0x1f] = MOTE_EXIT_CR,
	[SVM_EXIT_READ_DR0 ... SVM_EXIT_READ_DR0 + 0x1f] = MOTE_EXIT_DR,
	[SVM_EXIT_EXCP_BASE ... SVM_EXIT_LAST_EXCP] = MOTE_EXIT_EXCEPTION,
	[SVM_EXIT_INTR] = MOTE_EXIT_INTERRUPT,
	[SVM_EXIT_NMI] = MOTE_EXIT_NMI,
	[SVM_EXIT_INIT] = MOTE_EXIT_INIT,
	[SVM_EXIT_VINTR] = MOTE_EXIT_INTERRUPT_WINDOW,
	[SVM_EXIT_CR0_SEL_WRITE] = MOTE_EXIT_CR,
	[SVM_EXIT_RDTSC] = MOTE_EXIT_RDTSC,
	[SVM_EXIT_RDPMC] = MOTE_EXIT_PMC,
	[SVM_EXIT_CPUID] = MOTE_EXIT_CPUID,
	[SVM_EXIT_RSM] = MOTE_EXIT_UNDEFINED,
	[SVM_EXIT_INVD] = MOTE_EXIT_CACHE,
	[SVM_EXIT_PAUSE] = MOTE_EXIT_PAUSE,
	[SVM_EXIT_HLT] = MOTE_EXIT_HLT,
	[SVM_EXIT_INVLPGA] = MOTE_EXIT_UNDEFINED,
	[SVM_EXIT_IOIO] = MOTE_EXIT_PIO,
	[SVM_EXIT_MSR] = MOTE_EXIT_RDMSR,
	[SVM_EXIT_SHUTDOWN] = MOTE_EXIT_SHUTDOWN,
	[SVM_EXIT_VMRUN] = MOTE_EXIT_UNDEFINED,
	[SVM_EXIT_VMMCALL] = MOTE_EXIT_HYPERCALL,
	[SVM_EXIT_VMLOAD ... SVM_EXIT_RDTSCP] = MOTE_EXIT_UNDEFINED,
	[SVM_EXIT_WBINVD] = MOTE_EXIT_CACHE,
	[SVM_EXIT_MONITOR ... SVM_EXIT_MWAIT_COND] = MOTE_EXIT_MWAIT,
	[SVM_EXIT_XSETBV] = MOTE_EXIT_XSETBV,
	[SVM_EXIT_RDPRU] = MOTE_EXIT_UNDEFINED,
	[SVM_CODE_INVLPGB ... SVM_CODE_TLBSYNC] = MOTE_EXIT_UNDEFINED,
};

static __always_inline u32 svm_reason(u32 code)
{
	return likely(code < ARRAY_SIZE(svm_reasons)) ? svm_reasons[code] : 0;
}

/* APM 2, "IOIO Intercept": EXITINFO1; EXITINFO2 is the next RIP, on every CPU. */
static inline void svm_decode_pio(u64 info, u64 len, struct mote_exit *exit)
{
	exit->pio.port = info >> 16;
	exit->pio.size = info >> SVM_IOIO_SIZE_SHIFT & 7;
	exit->pio.flags = (info & SVM_IOIO_TYPE_MASK ? MOTE_PIO_IN : 0) |
			  (info & SVM_IOIO_STR_MASK ? MOTE_PIO_STRING : 0) |
			  (info & BIT(SVM_IOIO_REP_SHIFT) ? MOTE_PIO_REP : 0);
	/* EIP or IP may have wrapped: the length is small all the same. */
	exit->insn_len = len & 0xf;
}

/* APM 2, "Nested versus Guest Page Faults, Fault Ordering": a page fault's error code. */
static inline void svm_decode_npf(const struct vmcb_control_area *control,
				  struct mote_exit *exit)
{
	exit->npf.gpa = control->exit_info_2;
	exit->npf.access = control->exit_info_1 & X86_PF_INSTR ? MOTE_ACCESS_EXEC :
			   control->exit_info_1 & X86_PF_WRITE ? MOTE_ACCESS_WRITE :
								 MOTE_ACCESS_READ;
	if (control->exit_info_1 & SVM_NPF_WALK)
		exit->npf.access |= MOTE_ACCESS_WALK;
}

static inline void svm_decode_exception(const struct vmcb_control_area *control,
					struct mote_exit *exit)
{
	u8 vector = control->exit_code - SVM_EXIT_EXCP_BASE;

	exit->exception = (struct mote_event){
		.valid = 1, .type = MOTE_EVENT_EXCEPTION, .vector = vector,
		.has_error = vector == X86_TRAP_DF || vector == X86_TRAP_AC ||
			     (vector >= X86_TRAP_TS && vector <= X86_TRAP_PF),
	};
	if (exit->exception.has_error)
		exit->exception.error = control->exit_info_1;
}

/*
 * Is it one of an instruction that pushes or loads RFLAGS, before it runs?  INT3 and INTO are
 * exceptions to the hardware, INT n to QEMU.
 */
static inline bool svm_is_flags_exit(u32 code)
{
	return code == SVM_EXIT_PUSHF || code == SVM_EXIT_POPF || code == SVM_EXIT_SWINT ||
	       code == SVM_EXIT_ICEBP || code == SVM_EXIT_EXCP_BASE + X86_TRAP_BP ||
	       code == SVM_EXIT_EXCP_BASE + X86_TRAP_OF;
}

/*
 * What an exit means, in neutral terms.  EXITCODE counts by its low half: some emulators
 * write VMEXIT_INVALID with a high half of zero.  An intercepted IRET is %MOTE_EXIT_NONE:
 * NMI blocking is this vendor's own affair.
 */
static inline void svm_decode_exit(const struct vmcb_control_area *control, u64 rip,
				   struct mote_exit *exit)
{
	u32 code = control->exit_code, reason = svm_reason(code);
	u64 len = control->next_rip - rip;

	exit->reason = reason;
	exit->raw = code;
	exit->insn_len = len <= 15 ? len : 0;
	exit->qualification = control->exit_info_1;

	switch (reason) {
	case MOTE_EXIT_PIO:
		svm_decode_pio(control->exit_info_1, control->exit_info_2 - rip, exit);
		break;
	case MOTE_EXIT_RDMSR:
		if (control->exit_info_1 & 1)
			exit->reason = MOTE_EXIT_WRMSR;
		break;
	case MOTE_EXIT_EXCEPTION:
		svm_decode_exception(control, exit);
		break;
	case 0:
		if (code == SVM_EXIT_NPF) {
			exit->reason = MOTE_EXIT_NPF;
			svm_decode_npf(control, exit);
		} else if (code == (u32)SVM_EXIT_ERR) {
			exit->reason = MOTE_EXIT_FAIL_ENTRY;
			exit->fail = code;
		} else if (code != SVM_EXIT_IRET) {
			exit->reason = MOTE_EXIT_UNKNOWN;
		}
	}
}

/* ---- events ----------------------------------------------------------------- */

/* APM 2, "Event Injection": EVENTINJ and EXITINTINFO have one format. */
static inline u32 svm_event_encode(const struct mote_event *event)
{
	return SVM_EVTINJ_VALID | event->vector | event->type << SVM_EVTINJ_TYPE_SHIFT |
	       (event->has_error ? SVM_EVTINJ_VALID_ERR : 0);
}

/*
 * The event whose delivery an exit cut short.  INT n, INT3 and INTO are none:
 * RIP is still at the instruction, which does it again.
 */
static inline struct mote_event svm_event_decode(u32 info, u32 error)
{
	u32 type = (info & SVM_EVTINJ_TYPE_MASK) >> SVM_EVTINJ_TYPE_SHIFT;
	u32 vector = info & SVM_EVTINJ_VEC_MASK;
	bool soft = type > MOTE_EVENT_EXCEPTION ||
		    (type == MOTE_EVENT_EXCEPTION &&
		     (vector == X86_TRAP_BP || vector == X86_TRAP_OF));

	if (!(info & SVM_EVTINJ_VALID) || soft)
		return (struct mote_event){};
	return (struct mote_event){
		.valid = 1, .type = type, .vector = vector,
		.has_error = !!(info & SVM_EVTINJ_VALID_ERR),
		.error = info & SVM_EVTINJ_VALID_ERR ? error : 0,
	};
}

/* ---- segments ----------------------------------------------------------------- */

/*
 * LTR loads TR's type before it sets the busy bit in memory; QEMU aborts when
 * it finds another.
 */
static inline struct vmcb_seg svm_seg_encode(const struct mote_segment *seg, u32 index)
{
	u16 attr = index == MOTE_TR ? seg->attr & ~2 : seg->attr;

	return (struct vmcb_seg){
		.selector = seg->selector, .limit = seg->limit, .base = seg->base,
		.attrib = (attr & 0xff) | (attr >> 4 & 0xf00),
	};
}

/*
 * The CPU need not keep G (APM 2, "Segment State in the VMCB"), accessed bits
 * or the busy bit of TR, which the other vendor checks: made up from what
 * cannot be otherwise.
 */
static inline struct mote_segment svm_seg_decode(const struct vmcb_seg *seg, u32 index)
{
	u16 attr = (seg->attrib & 0xff) | (seg->attrib & 0xf00) << 4;

	if (seg->limit >> 20)
		attr |= BIT(15);
	else if ((seg->limit & 0xfff) != 0xfff)
		attr &= ~BIT(15);
	if (attr & BIT(7)) {
		if (index == MOTE_TR)
			attr |= 2;
		else if (index != MOTE_LDTR)
			attr |= 1;
	}
	return (struct mote_segment){
		.base = seg->base, .limit = seg->limit, .selector = seg->selector, .attr = attr,
	};
}

/* In virtual-8086 mode nothing else of a segment counts than its selector. */
static inline void svm_seg_v86(struct mote_segment *seg)
{
	*seg = (struct mote_segment){
		.base = (u64)seg->selector << 4, .limit = 0xffff,
		.selector = seg->selector, .attr = 0xf3,
	};
}

/* ---- the MSR permission map ------------------------------------------------------ */

#define SVM_MSRPM_SIZE 8192

/*
 * Where an MSR's bit for reads is in the permission map, the one for writes behind it (APM 2,
 * "MSR Intercepts"); -1: not in the map, always intercepted.
 */
static inline int svm_msrpm_bit(u32 msr)
{
	static const u32 first[] = { 0, 0xc0000000, 0xc0010000 };
	u32 i;

	for (i = 0; i < ARRAY_SIZE(first); i++)
		if (msr - first[i] < 0x2000)
			return i * 0x4000 + (msr - first[i]) * 2;
	return -1;
}

/* ---- ASIDs ------------------------------------------------------------------------ */

/*
 * The ASIDs of one CPU.  None is given twice in one generation: forgetting a guest's
 * translations is to take the next, and only when all have been given must the CPU flush.
 */
struct svm_asids {
	u64 generation;	/* a vCPU's ASID is good while its generation is this one; never 0 */
	u32 next;	/* next one to give */
	u32 nr;		/* that the CPU has; 0 is the host's */
};

/* Nothing is known of this CPU's translations. */
static inline void svm_asids_reset(struct svm_asids *asids, u32 nr)
{
	asids->generation++;
	asids->next = nr;
	asids->nr = nr;
}

/* The next ASID; *flush: all of the CPU's translations must go first. */
static inline u32 svm_asids_take(struct svm_asids *asids, bool *flush)
{
	*flush = asids->next >= asids->nr;
	if (*flush) {
		asids->generation++;
		asids->next = 1;
	}
	return asids->next++;
}

/* vmenter_svm.S: run the guest until it exits. */
void mote_svm_enter(u64 *gpr, u64 vmcb, u64 host);

#endif /* MOTE_SVM_ARCH_H */
