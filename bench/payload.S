/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The guest of the benchmark: flat, 64-bit, position-independent, the same
 * bytes under every hypervisor.
 *
 * Each row is a loop around one operation.  It is given, by struct guest_args
 * in its registers:
 *	R12	where the results go: for each batch how many ticks of the TSC
 *	R15	batches
 *	R9	operations in a batch
 *	RBX	the row's own: an address
 *	R10	the row's own: what goes into RAX
 * and ends by an OUT to PORT_DONE.  What the loop and the two RDTSCs take is
 * measured by a row without an operation.  Host timer interrupts that hit a
 * batch spoil it: the least of many batches counts.
 */
#include "payload.h"

#define X2APIC(reg) (0x800 + (reg))
#define SELF_IPI X2APIC(0x3f)
#define EOI X2APIC(0x0b)
#define SPURIOUS X2APIC(0x0f)
#define APIC_BASE 0x1b
#define PAT 0x277

.macro WRITE msr, low, high=0
	mov	$\msr, %ecx
	mov	$\low, %eax
	mov	$\high, %edx
	wrmsr
.endm

.macro STAMP to
	rdtsc
	shl	$32, %rdx
	or	%rdx, %rax
	mov	%rax, \to
.endm

/* What stands between ROW and END is the operation; it may change RAX, RCX, RDX and RBX. */
.macro ROW name
	.balign	16
	.global	payload_\name
payload_\name:
	mov	%rbx, %r8
1:	mov	%r9, %r13
	mov	%r8, %rbx
	STAMP	%r14
	/* bench/paths stops here. */
	.global payload_op_\name
payload_op_\name:
2:
.endm

.macro END name
	dec	%r13
	jnz	2b
	STAMP	%rdx
	sub	%r14, %rax
	mov	%rax, (%r12)
	add	$8, %r12
	dec	%r15
	jnz	1b
	out	%al, $PORT_DONE
.endm

	.section .rodata
	.balign 4096
	.global payload
payload:

/* The first thing that every vCPU does: its local APIC in x2APIC mode, and on. */
	.global payload_begin
payload_begin:
	mov	$APIC_BASE, %ecx
	rdmsr
	or	$0xc00, %eax
	wrmsr
	WRITE	SPURIOUS, 0x1ff
	out	%al, $PORT_DONE

/* VECTOR's handler. */
	.global payload_handler
payload_handler:
	WRITE	EOI, 0
	iretq

ROW empty
END

ROW cpuid
	xor	%eax, %eax
	cpuid
	mov	%r8, %rbx
END

ROW rdmsr
	mov	$APIC_BASE, %ecx
	rdmsr
END

ROW wrmsr
	WRITE	PAT, 0x00070406, 0x00070406
END

ROW vmcall
	mov	%r10, %rax
	vmcall
END

ROW vmmcall
	mov	%r10, %rax
	vmmcall
END

ROW port_out
	out	%al, $PORT_USER
END

ROW port_in
	in	$PORT_USER, %al
END

ROW mmio_write
	mov	%eax, (%rbx)
END

ROW mmio_read
	mov	(%rbx), %eax
END

ROW self_ipi
	WRITE	SELF_IPI, VECTOR
	sti
	nop
	cli
END

ROW self_ipi_halted
	WRITE	SELF_IPI, VECTOR
	sti
	hlt
	cli
END

ROW woken
	sti
	hlt
	cli
END

ROW eventfd
	out	%al, $PORT_EVENTFD
END

/* One write to each page from RBX on. */
ROW touch
	mov	%al, (%rbx)
	add	$4096, %rbx
END

	.global payload_end
payload_end:

	.section .note.GNU-stack, "", @progbits
