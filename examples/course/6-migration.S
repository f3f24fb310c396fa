/* SPDX-License-Identifier: GPL-2.0 */
/* Lesson 6, migration: counts for ever in memory and registers, and says so at each 256 thousand. */
#include "macros.S"

	.code16
	xor %ax, %ax
	mov %ax, %ds
	xor %ebx, %ebx
1:	inc %ebx
	mov %ebx, (0x600)
	test $0x3ffff, %ebx
	jnz 1b
	mov %ebx, %eax
	out %eax, $0x80
	jmp 1b
