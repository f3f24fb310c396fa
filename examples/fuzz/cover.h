/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Which basic blocks of a kernel's functions an input reaches, with breakpoints in a kernel that knows
 * nothing of them: HLT, which is one byte and an exit, at the beginning of each block, taken away where
 * the guest gets there for the first time, and there again when the machine is reset.
 */
#ifndef COVER_H
#define COVER_H

#include "guest.h"

/**
 * struct block - where one begins
 * @gva: linear address
 * @code: where that is in this process
 * @byte: what stands there
 */
struct block {
	__u64 gva;
	unsigned char *code;
	unsigned char byte;
};

/**
 * struct cover - the blocks of the functions
 * @nr: how many
 * @blocks: ascending by address
 */
struct cover {
	size_t nr;
	struct block *blocks;
};

/* Add the blocks of the function from @begin to @end, or the one at @gva. */
void cover_add_function(struct cover *cover, struct guest *guest, __u64 begin, __u64 end);
void cover_add_block(struct cover *cover, __u64 gva);
/* All are there: put the breakpoints into the guest. */
void cover_arm(struct cover *cover, struct guest *guest);
/* After %GUEST_HALTS: take the breakpoint away; which one, or -1: it is none of ours. */
long cover_hit(struct cover *cover, struct guest *guest);

#endif /* COVER_H */
