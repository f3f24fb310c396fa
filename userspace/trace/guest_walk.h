/* SPDX-License-Identifier: GPL-2.0 */
/* A guest's page tables in long mode, for looking only: a BPF program reads them, and the tool. */
#ifndef GUEST_WALK_H
#define GUEST_WALK_H

#include <linux/types.h>

#define GUEST_NOWHERE (~0ull)
#define GUEST_CR4_LA57 (1ull << 12)

#define PTE_PRESENT 1ull
#define PTE_PAGE 0x80ull	/* the entry maps a large page */
#define PTE_FRAME 0x000ffffffffff000ull

/**
 * struct guest_walk - one who looks at several addresses, as a rule near each other
 * @read: read(context, gpa, to, size) returns 0, or something else where there is no memory
 * @context: for it
 * @cr3: root
 * @cr4: says how many levels there are
 * @region: of 2 MiB, the last that was looked at
 * @table: its last table; 0: it has none, or nothing was looked at
 */
struct guest_walk {
	long (*read)(const void *context, __u64 gpa, void *to, __u32 size);
	const void *context;
	__u64 cr3;
	__u64 cr4;
	__u64 region;
	__u64 table;
};

/* The guest-physical address of @gva, or GUEST_NOWHERE. */
static inline __attribute__((always_inline)) __u64 guest_walk(struct guest_walk *walk, __u64 gva)
{
	__u64 table = walk->cr3, entry;
	int shift = walk->cr4 & GUEST_CR4_LA57 ? 48 : 39;

	if (walk->table && gva >> 21 == walk->region) {
		table = walk->table;
		shift = 12;
	}
	for (; shift >= 12; shift -= 9) {
		__u64 rest = (1ull << shift) - 1;

		table &= PTE_FRAME;
		if (walk->read(walk->context, table + (gva >> shift & 511) * 8, &entry, sizeof(entry)) ||
		    !(entry & PTE_PRESENT))
			return GUEST_NOWHERE;
		if (shift == 12) {
			walk->region = gva >> 21;
			walk->table = table;
		}
		if (shift == 12 || (shift <= 30 && entry & PTE_PAGE))
			return (entry & PTE_FRAME & ~rest) | (gva & rest);
		table = entry;
	}
	return GUEST_NOWHERE;
}

#endif /* GUEST_WALK_H */
