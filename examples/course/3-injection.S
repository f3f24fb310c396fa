/* SPDX-License-Identifier: GPL-2.0 */
/* Lesson 3, injection: a fault that the module finds, and an interrupt of the local APIC. */
#include "macros.S"

#define FAULT 13
#define VECTOR 0x51

	.code16
	xor %ax, %ax
	mov %ax, %ds
	mov %ax, %ss
	mov $0x7000, %sp
	movw $fault, (4 * FAULT)
	mov %ax, (4 * FAULT + 2)
	movw $interrupt, (4 * VECTOR)
	mov %ax, (4 * VECTOR + 2)
	rdpmc			/* there is no such counter: #GP */
	x2apic_on
	wrmsr_to X2APIC_SELF_IPI, VECTOR
	sti			/* it waits for this, and for one instruction more */
	nop
	nop
	cli
	end

fault:
	pop %ax			/* go on behind RDPMC */
	add $2, %ax
	push %ax
	iret

interrupt:
	wrmsr_to X2APIC_EOI, 0
	iret
