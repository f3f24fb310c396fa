/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A boot sector that sees where each of its timer's interrupts comes: the handler adds up the place, EAX, EBX
 * and the counter, so that one that comes an instruction too early changes what is said at the end.
 * Meanwhile it counts without an exit, in loops that are long so that a breakpoint is seldom hit: in
 * registers, in memory only, in both with calls, and by string instructions; at last it changes nothing.
 */
#define PORT_SERIAL 0x3f8
#define PORT_END 0xf4
#define VECTOR 0x20
#define TICKS 2

	.code16
	.globl start
start:
	xor %ax, %ax
	mov %ax, %ds
	mov %ax, %es
	mov %ax, %ss
	mov $0x7c00, %sp
	movw $handler, VECTOR * 4
	movw %ax, VECTOR * 4 + 2
	movl $0, sum
	movl $0, counter
	movw $0, ticks
	/* 8259: edge, single words as a PC's BIOS has them, the timer alone; 8254: mode 2, 0.1 ms */
	mov $0x11, %al
	out %al, $0x20
	mov $VECTOR, %al
	out %al, $0x21
	mov $4, %al
	out %al, $0x21
	mov $1, %al
	out %al, $0x21
	mov $0xfe, %al
	out %al, $0x21
	mov $0x34, %al
	out %al, $0x43
	mov $119, %ax
	out %al, $0x40
	mov %ah, %al
	out %al, $0x40
	xor %eax, %eax
	xor %ebx, %ebx
	sti

registers:
	.rept 16
	inc %eax
	lea 7(%ebx, %eax, 2), %ebx
	.endr
	cmpw $TICKS, ticks
	jb registers
	xor %eax, %eax
	xor %ebx, %ebx
memory:
	.rept 32
	incl counter
	.endr
	cmpw $2 * TICKS, ticks
	jb memory
calls:
	.rept 6
	call leaf
	.endr
	cmpw $3 * TICKS, ticks
	jb calls
strings:
	mov $0x8000, %di
	mov $16, %cx
	rep stosb
	.rept 32
	inc %eax
	.endr
	cmpw $4 * TICKS, ticks
	jb strings
still:
	cmpw $5 * TICKS, ticks
	jb still

	cli
	mov sum, %ebp
	mov $8, %cx
digit:
	rol $4, %ebp
	mov %ebp, %eax
	and $0xf, %al
	cmp $10, %al
	sbb $0x69, %al
	das
	mov $PORT_SERIAL, %dx
	out %al, %dx
	loop digit
	mov $'\n', %al
	out %al, %dx
	out %al, $PORT_END
1:	hlt
	jmp 1b

leaf:
	imul $1103515245, %ebx
	add $12345, %ebx
	incl counter
	ret

handler:
	push %ebp
	mov sum, %ebp
	rol $5, %ebp
	xor %eax, %ebp
	rol $5, %ebp
	xor %ebx, %ebp
	rol $5, %ebp
	xor counter, %ebp
	mov %ebp, sum
	mov %sp, %bp
	movzwl 4(%bp), %ebp
	rol $3, %ebp
	xor %ebp, sum
	pop %ebp
	incw ticks
	push %ax
	mov $0x20, %al
	out %al, $0x20
	pop %ax
	iret

	.set sum, 0x7000
	.set counter, 0x7004
	.set ticks, 0x7008
