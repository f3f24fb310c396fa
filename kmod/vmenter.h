/* SPDX-License-Identifier: GPL-2.0 */
/*
 * General registers over an entry and an exit, for both vendors' entry code.
 *
 * @gpr points to mote_vcpu.gpr, where registers are in the order in which instructions encode
 * them.  RAX and RSP are the vendor's to switch.
 */
#ifndef MOTE_VMENTER_H
#define MOTE_VMENTER_H

.macro FOR_EACH_GPR insn:req, gpr:req
	\insn	%rcx, 0x08, \gpr
	\insn	%rdx, 0x10, \gpr
	\insn	%rbx, 0x18, \gpr
	\insn	%rbp, 0x28, \gpr
	\insn	%rsi, 0x30, \gpr
	\insn	%r8, 0x40, \gpr
	\insn	%r9, 0x48, \gpr
	\insn	%r10, 0x50, \gpr
	\insn	%r11, 0x58, \gpr
	\insn	%r12, 0x60, \gpr
	\insn	%r13, 0x68, \gpr
	\insn	%r14, 0x70, \gpr
	\insn	%r15, 0x78, \gpr
	\insn	%rdi, 0x38, \gpr
.endm

.macro LOAD_GPR reg, offset, gpr
	mov	\offset(\gpr), \reg
.endm

.macro SAVE_GPR reg, offset, gpr
	mov	\reg, \offset(\gpr)
.endm

/* What a function has to leave as it was, but RBP. */
.macro PUSH_CALLEE_SAVED
	.irp reg, r15, r14, r13, r12, rbx
	push	%\reg
	.endr
.endm

.macro POP_CALLEE_SAVED
	.irp reg, rbx, r12, r13, r14, r15
	pop	%\reg
	.endr
.endm

/*
 * Nothing of the guest's stays in a register, not even in those that are loaded again soon:
 * a load that misses may let its old value be used.
 */
.macro CLEAR_GPRS regs:vararg
	.irp reg, \regs, r8d, r9d, r10d, r11d, r12d, r13d, r14d, r15d
	xor	%\reg, %\reg
	.endr
.endm

#endif /* MOTE_VMENTER_H */
