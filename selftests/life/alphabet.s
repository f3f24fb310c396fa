# SPDX-License-Identifier: GPL-2.0
# A guest in real mode that says the alphabet again and again, a letter with each interrupt of its timer:
# whatever is lost or done twice is a letter too few or too many. For life/snapshot and tools/move.

	cli
	xor %ax, %ax
	mov %ax, %ds
	mov %ax, %ss
	mov $0x7000, %sp

	# The first 8259: vectors from 0x20, and the timer alone.
	mov $0x11, %al
	out %al, $0x20
	mov $0x20, %al
	out %al, $0x21
	mov $4, %al
	out %al, $0x21
	mov $1, %al
	out %al, $0x21
	mov $0xfe, %al
	out %al, $0x21

	call 1f
1:	pop %bx
	add $(9f - 1b), %bx
	mov %bx, 0x80
	movw $0, 0x82
	movb $0x61, 0x9000

	# The 8254 at 100 Hz.
	mov $0x34, %al
	out %al, $0x43
	mov $0x9c, %al
	out %al, $0x40
	mov $0x2e, %al
	out %al, $0x40
	sti
2:	hlt
	jmp 2b

	# An interrupt: write what is at 0x9000, which is the next letter then.
9:	mov $0x3fd, %dx
3:	in %dx, %al
	test $0x20, %al
	jz 3b
	mov $0x3f8, %dx
	mov 0x9000, %al
	out %al, %dx
	inc %al
	cmp $0x7b, %al
	jne 4f
	mov $0x61, %al
4:	mov %al, 0x9000
	mov $0x20, %al
	out %al, $0x20
	iret
