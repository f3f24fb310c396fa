/* SPDX-License-Identifier: GPL-2.0 */
/* Lesson 4, SMP start-up: INIT and a start-up IPI to all others, which say which one they are. */
#include "macros.S"

#define PAGE 9			/* they begin at 0x9000 */
#define INIT_OTHERS 0xc4500
#define STARTUP_OTHERS 0xc4600 | PAGE
#define COUNT 0x600

	.code16
	xor %ax, %ax
	mov %ax, %ds
	mov %ax, %es
	movw $0, (COUNT)
	mov $other, %si
	mov $PAGE << 12, %di
	mov $other_end - other, %cx
	rep movsb
	x2apic_on
	wrmsr_to X2APIC_ICR, INIT_OTHERS
	wrmsr_to X2APIC_ICR, STARTUP_OTHERS
wait:	pause
	cmpw $1, (COUNT)	/* one other */
	jb wait
	end

other:
	xor %ax, %ax
	mov %ax, %ds
	mov $1, %eax
	cpuid			/* EBX 31:24 is the APIC id */
	shr $24, %ebx
	mov %bl, %al
	out %al, $0x80
	lock incw (COUNT)
1:	hlt
	jmp 1b
other_end:
