/* SPDX-License-Identifier: GPL-2.0 */
/* Lesson 5, paravirtual clock: time without an exit, by a page that the module keeps (docs/guest-abi.md). */
#include "macros.S"

#define SYSTEM_TIME 0x4b564d01	/* MSR_KVM_SYSTEM_TIME_NEW */
#define PAGE 0x6000

	.code16
	xor %ax, %ax
	mov %ax, %ds
	mov $0x40000101, %eax
	cpuid			/* is it there? */
	movl $0, (PAGE)
	wrmsr_to SYSTEM_TIME, PAGE | 1
	mov $1000, %cx
1:	rdtsc			/* no exit: the offset is the hardware's to add */
	mov (PAGE), %ebx	/* version, odd while it is written */
	mov (PAGE + 8), %esi	/* TSC when the module wrote it */
	sub %esi, %eax
	loop 1b
	mov (PAGE), %eax
	out %eax, $0x80		/* the version: even */
	end
