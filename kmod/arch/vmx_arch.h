/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What vmx.c can say without hardware: what an exit means, what a control
 * word must be, what a segment looks like in the VMCS.  Pure functions, for
 * vmx.c and for its tests; and at the end, the way into the entry code.
 */
#ifndef MOTE_VMX_ARCH_H
#define MOTE_VMX_ARCH_H

#include <linux/bits.h>
#include <linux/types.h>
#include <asm/perf_event.h>
#include <asm/processor-flags.h>
#include <asm/trapnr.h>
#include <asm/vmx.h>

#include "../mote.h"

/* ---- exits --------------------------------------------------------------- */

/* What an exit needs to be read of the VMCS: a VMREAD is not for free. */
#define VMX_NEED_LEN BIT(0)	/* VM_EXIT_INSTRUCTION_LEN */
#define VMX_NEED_QUAL BIT(1)	/* EXIT_QUALIFICATION */
#define VMX_NEED_GPA BIT(2)	/* GUEST_PHYSICAL_ADDRESS */
#define VMX_NEED_INTR BIT(3)	/* VM_EXIT_INTR_INFO and its error code */
#define VMX_NEED_EVENT BIT(4)	/* IDT_VECTORING_INFO_FIELD: may have cut a delivery short */
#define VMX_NEED_WORK BIT(5)	/* more is to be done about it in vmx.c */

/* An exit as the VMCS tells it.  Fields that the reason does not need are zero. */
struct vmx_raw {
	u32 reason;	/* VM_EXIT_REASON, all of it */
	u32 insn_len;	/* VM_EXIT_INSTRUCTION_LEN */
	u32 intr_info;	/* VM_EXIT_INTR_INFO */
	u32 error;	/* VM_EXIT_INTR_ERROR_CODE */
	u64 qualification;	/* EXIT_QUALIFICATION */
	u64 gpa;	/* GUEST_PHYSICAL_ADDRESS */
};

/* A basic exit reason. */
struct vmx_row {
	u8 reason;	/* &enum mote_exit_reason */
	u8 needs;	/* VMX_NEED_* */
};

/* In none of <asm/vmx.h>'s versions. */
#define VMX_EXIT_GETSEC 11
#define VMX_EXIT_RSM 17

/*
 * SDM 3D, "VMX Basic Exit Reasons".  Those without a row are of features that
 * mote does not switch on.
 */
static const struct vmx_row vmx_rows[] = {
	[EXIT_REASON_EXCEPTION_NMI] = { MOTE_EXIT_EXCEPTION, VMX_NEED_QUAL | VMX_NEED_INTR |
					VMX_NEED_EVENT | VMX_NEED_WORK },
	[EXIT_REASON_EXTERNAL_INTERRUPT] = { MOTE_EXIT_INTERRUPT },
	[EXIT_REASON_TRIPLE_FAULT] = { MOTE_EXIT_SHUTDOWN },
	[EXIT_REASON_INIT_SIGNAL] = { MOTE_EXIT_INIT },
	[EXIT_REASON_INTERRUPT_WINDOW] = { MOTE_EXIT_INTERRUPT_WINDOW, VMX_NEED_WORK },
	[EXIT_REASON_NMI_WINDOW] = { MOTE_EXIT_NMI_WINDOW, VMX_NEED_WORK },
	[EXIT_REASON_TASK_SWITCH] = { MOTE_EXIT_TASK_SWITCH, VMX_NEED_LEN | VMX_NEED_QUAL |
				      VMX_NEED_WORK },
	[EXIT_REASON_CPUID] = { MOTE_EXIT_CPUID, VMX_NEED_LEN },
	[VMX_EXIT_GETSEC] = { MOTE_EXIT_UNDEFINED },
	[EXIT_REASON_HLT] = { MOTE_EXIT_HLT, VMX_NEED_LEN },
	[EXIT_REASON_INVD] = { MOTE_EXIT_CACHE, VMX_NEED_LEN },
	[EXIT_REASON_RDPMC] = { MOTE_EXIT_PMC, VMX_NEED_LEN },
	[EXIT_REASON_RDTSC] = { MOTE_EXIT_RDTSC, VMX_NEED_LEN },
	[VMX_EXIT_RSM] = { MOTE_EXIT_UNDEFINED },
	[EXIT_REASON_VMCALL] = { MOTE_EXIT_HYPERCALL, VMX_NEED_LEN },
	[EXIT_REASON_VMCLEAR ... EXIT_REASON_VMON] = { MOTE_EXIT_UNDEFINED },
	[EXIT_REASON_CR_ACCESS] = { MOTE_EXIT_CR, VMX_NEED_LEN | VMX_NEED_QUAL | VMX_NEED_WORK },
	[EXIT_REASON_DR_ACCESS] = { MOTE_EXIT_DR, VMX_NEED_QUAL | VMX_NEED_WORK },
	[EXIT_REASON_IO_INSTRUCTION] = { MOTE_EXIT_PIO, VMX_NEED_LEN | VMX_NEED_QUAL },
	[EXIT_REASON_MSR_READ] = { MOTE_EXIT_RDMSR, VMX_NEED_LEN },
	[EXIT_REASON_MSR_WRITE] = { MOTE_EXIT_WRMSR, VMX_NEED_LEN },
	[EXIT_REASON_INVALID_STATE ... EXIT_REASON_MSR_LOAD_FAIL] = { MOTE_EXIT_FAIL_ENTRY,
					VMX_NEED_QUAL | VMX_NEED_WORK },
	[EXIT_REASON_MWAIT_INSTRUCTION] = { MOTE_EXIT_MWAIT, VMX_NEED_LEN },
	[EXIT_REASON_MONITOR_INSTRUCTION] = { MOTE_EXIT_MWAIT, VMX_NEED_LEN },
	[EXIT_REASON_PAUSE_INSTRUCTION] = { MOTE_EXIT_PAUSE, VMX_NEED_LEN },
	[EXIT_REASON_MCE_DURING_VMENTRY] = { MOTE_EXIT_FAIL_ENTRY, VMX_NEED_QUAL | VMX_NEED_WORK },
	[EXIT_REASON_EPT_VIOLATION] = { MOTE_EXIT_NPF, VMX_NEED_QUAL | VMX_NEED_GPA |
					VMX_NEED_EVENT },
	/* An entry of npt.c that the CPU does not understand: a bug. */
	[EXIT_REASON_EPT_MISCONFIG] = { MOTE_EXIT_UNKNOWN, VMX_NEED_GPA | VMX_NEED_EVENT },
	[EXIT_REASON_INVEPT] = { MOTE_EXIT_UNDEFINED },
	[EXIT_REASON_RDTSCP] = { MOTE_EXIT_UNDEFINED },
	[EXIT_REASON_PREEMPTION_TIMER] = { MOTE_EXIT_TIMER },
	[EXIT_REASON_INVVPID] = { MOTE_EXIT_UNDEFINED },
	[EXIT_REASON_WBINVD] = { MOTE_EXIT_CACHE, VMX_NEED_LEN },
	[EXIT_REASON_XSETBV] = { MOTE_EXIT_XSETBV, VMX_NEED_LEN },
	[EXIT_REASON_INVPCID ... EXIT_REASON_ENCLS] = { MOTE_EXIT_UNDEFINED },
	[EXIT_REASON_PML_FULL] = { MOTE_EXIT_NPF, VMX_NEED_QUAL | VMX_NEED_EVENT | VMX_NEED_WORK },
	[EXIT_REASON_XSAVES ... EXIT_REASON_XRSTORS] = { MOTE_EXIT_UNDEFINED },
	[EXIT_REASON_UMWAIT ... EXIT_REASON_TPAUSE] = { MOTE_EXIT_UNDEFINED },
};

/* The row of an exit reason; unknown ones are %MOTE_EXIT_UNKNOWN. */
static __always_inline struct vmx_row vmx_row(u32 reason)
{
	u32 basic = reason & 0xffff;

	if (basic < ARRAY_SIZE(vmx_rows) && vmx_rows[basic].reason)
		return vmx_rows[basic];
	return (struct vmx_row){ MOTE_EXIT_UNKNOWN, VMX_NEED_QUAL };
}

/* VM_EXIT_INTR_INFO and IDT_VECTORING_INFO_FIELD have the same form. */
static inline struct mote_event vmx_decode_event(u32 info, u32 error)
{
	bool has_error = info & INTR_INFO_DELIVER_CODE_MASK;

	return (struct mote_event){
		.valid = 1,
		.type = (info & INTR_INFO_INTR_TYPE_MASK) >> 8,
		.vector = info & INTR_INFO_VECTOR_MASK,
		.has_error = has_error,
		.error = has_error ? error : 0,
	};
}

/* SDM 3C, "Exit Qualification for I/O Instructions". */
static inline void vmx_decode_pio(u64 qualification, struct mote_exit *exit)
{
	exit->pio.port = qualification >> 16;
	exit->pio.size = (qualification & 7) + 1;
	exit->pio.flags = (qualification & BIT(3) ? MOTE_PIO_IN : 0) |
			  (qualification & BIT(4) ? MOTE_PIO_STRING : 0) |
			  (qualification & BIT(5) ? MOTE_PIO_REP : 0);
}

/*
 * SDM 3C, "Exit Qualification for Task Switches"; @info and @error: IDT-vectoring
 * information.  What is not an instruction has no length.
 */
static inline void vmx_decode_task(u32 info, u32 error, struct mote_exit *exit)
{
	u64 qualification = exit->qualification;

	exit->task = (struct mote_task_switch){
		.selector = qualification, .how = qualification >> 30 & 3,
	};
	if (exit->task.how != MOTE_TASK_GATE || !(info & INTR_INFO_VALID_MASK))
		return;
	exit->task.event = vmx_decode_event(info, error);
	if (exit->task.event.type < MOTE_EVENT_INT)
		exit->insn_len = 0;
}

static inline void vmx_decode_exception(const struct vmx_raw *raw, struct mote_exit *exit)
{
	u32 type = raw->intr_info & INTR_INFO_INTR_TYPE_MASK;

	if (!(raw->intr_info & INTR_INFO_VALID_MASK)) {
		exit->reason = MOTE_EXIT_UNKNOWN;
		return;
	}
	if (type == INTR_TYPE_NMI_INTR) {
		exit->reason = MOTE_EXIT_NMI;
		return;
	}
	exit->exception = vmx_decode_event(raw->intr_info, raw->error);
	/* INT1 is of a type of its own, with the same handler. */
	exit->exception.type = MOTE_EVENT_EXCEPTION;
}

/*
 * What an exit means; @raw has what vmx_row() says that its reason needs.  The bits of EPT
 * violations' accesses are those of MOTE_ACCESS_* (SDM 3C, "Exit Qualification for EPT
 * Violations").
 */
static inline void vmx_decode_exit(const struct vmx_raw *raw, struct mote_exit *exit)
{
	exit->reason = vmx_row(raw->reason).reason;
	exit->raw = raw->reason & 0xffff;
	exit->insn_len = raw->insn_len;
	exit->qualification = raw->qualification;

	if (unlikely(raw->reason & VMX_EXIT_REASONS_FAILED_VMENTRY))
		exit->reason = MOTE_EXIT_FAIL_ENTRY;
	switch (exit->reason) {
	case MOTE_EXIT_PIO:
		vmx_decode_pio(raw->qualification, exit);
		break;
	case MOTE_EXIT_NPF:
		exit->npf.gpa = raw->gpa;
		exit->npf.access = raw->qualification &
				   (MOTE_ACCESS_READ | MOTE_ACCESS_WRITE | MOTE_ACCESS_EXEC);
		if (!(raw->qualification & EPT_VIOLATION_GVA_TRANSLATED))
			exit->npf.access |= MOTE_ACCESS_WALK;
		break;
	case MOTE_EXIT_EXCEPTION:
		vmx_decode_exception(raw, exit);
		break;
	case MOTE_EXIT_FAIL_ENTRY:
		exit->fail = raw->qualification << 32 | raw->reason;
		break;
	}
}

/* ---- segments ------------------------------------------------------------ */

/* Bits 8 to 11 are reserved in both; bit 16 of the VMCS's is "unusable". */
#define VMX_SEGMENT_ATTR 0xf0ffu

/* Access rights of the VMCS to &mote_segment.attr: there, unusable is "not present". */
static inline u16 vmx_attr_from_ar(u32 ar)
{
	u32 attr = ar & VMX_SEGMENT_ATTR;

	return ar & VMX_AR_UNUSABLE_MASK ? attr & ~VMX_AR_P_MASK : attr;
}

static inline u32 vmx_attr_to_ar(u16 attr)
{
	return (attr & VMX_SEGMENT_ATTR) | (attr & VMX_AR_P_MASK ? 0 : VMX_AR_UNUSABLE_MASK);
}

/* ---- controls ------------------------------------------------------------ */

/*
 * A control word that the CPU takes, by its capability MSR: what must be 1 is in its low half,
 * what may be 1 in its high half (SDM 3D, "Algorithms for Determining VMX Capabilities").
 * mote cannot do without the bits of @must, and uses those of @may where they are; those of
 * @fixed do no harm where the CPU wants them (reserved, "default1").
 *
 * Return: the word; or 0, and *missing has the bits that cannot be as they must.
 */
static inline u32 vmx_control(u64 capability, u32 must, u32 may, u32 fixed, u32 *missing)
{
	u32 ones = capability;
	u32 word = ((must | may) & (u32)(capability >> 32)) | ones;

	*missing = (must & ~word) | (ones & ~(must | may | fixed));
	return *missing ? 0 : word;
}

/* ---- the MSR bitmap ------------------------------------------------------ */

/*
 * Number of an MSR's bit for reads in the MSR-bitmap page (SDM 3C, "MSR-Bitmap
 * Address"); that for writes is VMX_MSR_WRITE further on.  Return: -1: the MSR
 * has none, it exits always.
 */
#define VMX_MSR_WRITE 0x4000

static inline int vmx_msr_bit(u32 msr)
{
	if (msr < 0x2000)
		return msr;
	if (msr - 0xc0000000 < 0x2000)
		return 0x2000 + (msr - 0xc0000000);
	return -1;
}

/* ---- MSRs that an entry and an exit load ----------------------------------- */

#define VMX_NR_PERF_MSRS 8

/* What differs for perf between the guest and the host (SDM 3C, "VM-Entry Controls for MSRs"). */
struct vmx_perf {
	struct vmx_msr_entry guest[VMX_NR_PERF_MSRS], host[VMX_NR_PERF_MSRS];
	u32 nr;			/* as the VMCS has it */
	bool stops_pebs;
};

/* Take perf's list of @nr, without what is the same.  Return: how many are left. */
static inline u32 vmx_fill_perf(struct vmx_perf *perf, const struct perf_guest_switch_msr *msrs,
				int nr)
{
	u32 used = 0;

	perf->stops_pebs = false;
	for (; nr > 0 && used < VMX_NR_PERF_MSRS; msrs++, nr--) {
		if (msrs->host == msrs->guest)
			continue;
		perf->stops_pebs |= msrs->msr == MSR_IA32_PEBS_ENABLE;
		perf->guest[used] = (struct vmx_msr_entry){ msrs->msr, 0, msrs->guest };
		perf->host[used] = (struct vmx_msr_entry){ msrs->msr, 0, msrs->host };
		used++;
	}
	return used;
}

/* ---- control registers --------------------------------------------------- */

/* What of CR0 a guest has in the CPU; the rest is held back (read shadow). */
#define VMX_CR0_OWNED (X86_CR0_PE | X86_CR0_MP | X86_CR0_EM | X86_CR0_TS | X86_CR0_ET | \
		       X86_CR0_WP | X86_CR0_AM | X86_CR0_PG)

/* Writes of these load the PDPTE registers in PAE paging (SDM 3A, "PDPTE Registers"). */
#define VMX_CR0_PDPTE (X86_CR0_PG | X86_CR0_CD | X86_CR0_NW)
#define VMX_CR4_PDPTE (X86_CR4_PAE | X86_CR4_PGE | X86_CR4_PSE | X86_CR4_SMEP)

/* vmenter_vmx.S: enter the guest; true if there was no entry.  Its exits arrive at vmx_exit(). */
bool vmx_enter(u64 *gpr, unsigned long *host_rsp, bool launched);
void vmx_exit(void);

#endif /* MOTE_VMX_ARCH_H */
