/* SPDX-License-Identifier: GPL-2.0 */
/* Lesson 2, nested paging: memory comes when it is touched; where there is none, there is a device. */
#include "macros.S"

	.code32
	.global start
start:	movl $1, 0x800000	/* the first touch of it */
	movl $2, 0x800004	/* the same page */
	movl $3, 0x40000000	/* 1 GiB: beyond its memory */
	end
