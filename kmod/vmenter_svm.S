/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Into an SVM guest and out of it.
 *
 * Between CLGI and STGI nothing of the host can interrupt: NMIs, machine
 * checks and INIT wait (APM 2, "Global Interrupt Flag, STGI and CLGI
 * Instructions").  That matters because FS, GS and TR are the guest's between
 * the two VMLOADs: no per-CPU variable, no exception.
 *
 * What the kernel's own guest entry does against speculation is done here, in
 * its order: buffers cleared last before the entry; after the exit first the
 * return stack, then the return predictor, before the first RET.  SPEC_CTRL
 * needs nothing: guests do not have it, so the host's value stays in force.
 */
#include <linux/linkage.h>
#include <linux/stringify.h>
#include <asm/asm.h>
#include <asm/asm-offsets.h>
#include <asm/nospec-branch.h>

#include "vmenter.h"

.macro UNTRAIN_RET_SVM
#ifdef UNTRAIN_RET_VM
	UNTRAIN_RET_VM
#else
	UNTRAIN_RET
	ALTERNATIVE "", "call entry_ibpb", X86_FEATURE_IBPB_ON_VMEXIT
#endif
.endm

.section .noinstr.text, "ax"

/*
 * void mote_svm_enter(u64 *gpr, u64 vmcb, u64 host)
 *
 * Run the guest until it exits.  RAX and RSP are in the VMCB; vmcb is its physical address,
 * host that of one with the host's VMSAVE state.  Interrupts are off before and after.  Each
 * SVM instruction may find SVM switched off (panic, reboot on another CPU): then it is skipped
 * and the VMCB's exit code stays what the caller wrote there.
 */
SYM_FUNC_START(mote_svm_enter)
	push %rbp
	PUSH_CALLEE_SAVED
	push %rdx
	push %rdi

	/* Zen1 leaks the last quotient. */
	ALTERNATIVE "", __stringify(xor %eax, %eax; xor %edx, %edx; mov $1, %ecx; div %ecx), \
		X86_BUG_DIV0

	mov %rsi, %rax
1:	clgi
	/*
	 * With virtual interrupt masking the host's IF says at VMRUN whether
	 * physical interrupts end the guest.  Nothing is delivered here: GIF is
	 * 0.  And not next to VMRUN: its shadow could leak into the guest.
	 */
	sti
2:	vmload %rax
3:
	FOR_EACH_GPR LOAD_GPR, %rdi
#ifdef VM_CLEAR_CPU_BUFFERS
	VM_CLEAR_CPU_BUFFERS
#endif
4:	vmrun %rax
	/* RAX and RSP are the host's again. */
5:	vmsave %rax
6:
	pop %rax
	FOR_EACH_GPR SAVE_GPR, %rax

	/* From here on GS is the host's: per-CPU variables work. */
	pop %rax
7:	vmload %rax
8:
	FILL_RETURN_BUFFER %rax, RSB_CLEAR_LOOPS, X86_FEATURE_RSB_VMEXIT
	UNTRAIN_RET_SVM

	CLEAR_GPRS ecx, edx, ebx, ebp, esi, edi

	cli
	/* An NMI that ended the guest is taken now. */
9:	stgi
.Lout:
	POP_CALLEE_SAVED
	pop %rbp
	RET

	/* SVM is off: nothing has been done. */
10:	add $16, %rsp
	jmp .Lout

	_ASM_EXTABLE(1b, 10b)
	_ASM_EXTABLE(2b, 3b)
	_ASM_EXTABLE(4b, 5b)
	_ASM_EXTABLE(5b, 6b)
	_ASM_EXTABLE(7b, 8b)
	_ASM_EXTABLE(9b, .Lout)
SYM_FUNC_END(mote_svm_enter)
