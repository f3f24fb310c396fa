/* SPDX-License-Identifier: GPL-2.0 */
/*
 * VM entry and exit on Intel CPUs: general registers, and what the host's
 * settings ask for against speculation across this border.
 *
 * The order of the mitigations is that of the kernel's own guest entry: CPU
 * buffers are cleared last before the entry; after the exit registers are
 * cleared and the return stack is filled before the first RET, then kernel
 * IBRS is renewed and the branch history cleared.
 */
#include <linux/linkage.h>
#include <asm/asm.h>
#include <asm/bitsperlong.h>
#include <asm/ibt.h>
#include <asm/msr-index.h>
#include <asm/nospec-branch.h>
#include <asm/percpu.h>
#include <asm/unwind_hints.h>

#include "vmenter.h"

/* enum vmcs_field: not for assembly files. */
#define VMCS_HOST_RSP 0x6c14

/* No probes here: between the registers of two worlds. */
.section .noinstr.text, "ax"

/*
 * bool vmx_enter(u64 *gpr, unsigned long *host_rsp, bool launched)
 *
 * Enter the guest of the current VMCS, come back with its next exit.
 * *host_rsp is what the VMCS has as HOST_RSP.  Interrupts are off.  Return:
 * false after an exit; true if there was no entry (SDM 3C, "VM Entries":
 * VMfail, or a fault because the CPU is not in VMX operation any more).
 */
SYM_FUNC_START(vmx_enter)
	push	%rbp
	mov	%rsp, %rbp
	PUSH_CALLEE_SAVED
	push	%rdi

	/* The stack is where it was at the last entry, as a rule. */
	cmp	%rsp, (%rsi)
	je	.Lhost_rsp_done
	mov	%rsp, (%rsi)
	mov	$VMCS_HOST_RSP, %eax
.Lvmwrite:
	vmwrite	%rsp, %rax
	jbe	.Lnot_entered
.Lhost_rsp_done:

	/* Carry: VMRESUME.  Nothing below changes it: VERW only changes ZF. */
	bt	$0, %edx

	mov	%rdi, %rax
	FOR_EACH_GPR LOAD_GPR, %rax
	mov	(%rax), %rax

	CLEAR_CPU_BUFFERS

	jnc	.Lvmlaunch

	/* The CPU comes back at vmx_exit (HOST_RIP): tell objtool that nothing changes. */
	UNWIND_HINT_SAVE
.Lvmresume:
	vmresume
	jmp	.Lnot_entered
.Lvmlaunch:
	vmlaunch
	jmp	.Lnot_entered

	_ASM_EXTABLE(.Lvmwrite, .Lnot_entered)
	_ASM_EXTABLE(.Lvmresume, .Lnot_entered)
	_ASM_EXTABLE(.Lvmlaunch, .Lnot_entered)

SYM_INNER_LABEL(vmx_exit, SYM_L_GLOBAL)
	UNWIND_HINT_RESTORE
	ENDBR

	push	%rax
	mov	8(%rsp), %rax
	pop	(%rax)
	FOR_EACH_GPR SAVE_GPR, %rax

	/* RBX keeps the answer over what follows. */
	xor	%ebx, %ebx

.Lclear_registers:
	CLEAR_GPRS eax, ecx, edx, ebp, esi, edi

	/* The return stack may hold what the guest put there. */
	FILL_RETURN_BUFFER %rcx, RSB_CLEAR_LOOPS, X86_FEATURE_RSB_VMEXIT, \
			   X86_FEATURE_RSB_VMEXIT_LITE

	/*
	 * SPEC_CTRL is not the guest's, so the host's value is still there; but
	 * IBRS restrains what ran in a less privileged mode only when written anew.
	 */
	ALTERNATIVE "jmp .Librs_done", "", X86_FEATURE_KERNEL_IBRS
	mov	$MSR_IA32_SPEC_CTRL, %ecx
	mov	PER_CPU_VAR(x86_spec_ctrl_current), %eax
	mov	PER_CPU_VAR(x86_spec_ctrl_current + 4), %edx
	wrmsr
	lfence
.Librs_done:

	CLEAR_BRANCH_HISTORY_VMEXIT

	mov	%ebx, %eax
	pop	%rdi
	POP_CALLEE_SAVED
	pop	%rbp
	RET

.Lnot_entered:
	mov	$1, %ebx
	jmp	.Lclear_registers
SYM_FUNC_END(vmx_enter)
