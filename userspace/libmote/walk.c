// SPDX-License-Identifier: GPL-2.0
/*
 * libmote: the guest's own page tables, every paging mode.
 * SDM 3A, "Paging"; APM 2, "Page Translation and Protection".
 */
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>

#include "machine.h"

#define CR0_WP (1u << 16)
#define CR0_PG (1u << 31)
#define CR4_PSE (1u << 4)
#define CR4_PAE (1u << 5)
#define CR4_LA57 (1u << 12)
#define CR4_SMEP (1u << 20)
#define CR4_SMAP (1u << 21)
#define EFER_LMA (1u << 10)
#define EFER_NXE (1u << 11)
#define RFLAGS_AC (1u << 18)

#define PTE_P 1ull
#define PTE_W 2ull
#define PTE_U 4ull
#define PTE_A 0x20ull
#define PTE_D 0x40ull
#define PTE_PS 0x80ull
#define PTE_NX (1ull << 63)

/* Page-fault error code: SDM 3A, "Page-Fault Exceptions". */
#define PF_P 1u
#define PF_W 2u
#define PF_U 4u
#define PF_RSVD 8u
#define PF_I 16u

static __u64 low_bits(int n)
{
	return (1ull << n) - 1;
}

/* A walk on its way down. */
struct walk {
	const struct mote_paging *paging;
	bool wide;		/* entries of 8 bytes */
	bool pae;		/* the top table has four entries without rights */
	int top;
	__u64 rights;		/* of all levels together: W and U; NX is in it if any has it */
	const struct mote_area *area;	/* in which the last table was */
	__u64 *entries[5];	/* to be marked as accessed; the last is that of the page */
	int nr_entries;
};

static void walk_start(struct walk *walk, const struct mote_paging *paging)
{
	bool lma = paging->efer & EFER_LMA;

	/* Not an initializer: entries[] need not be cleared, and time counts. */
	walk->paging = paging;
	walk->wide = paging->cr4 & CR4_PAE;
	walk->pae = !lma && paging->cr4 & CR4_PAE;
	walk->top = lma ? (paging->cr4 & CR4_LA57 ? 5 : 4) : paging->cr4 & CR4_PAE ? 3 : 2;
	walk->rights = PTE_W | PTE_U;
	walk->area = NULL;
	walk->nr_entries = 0;
}

/* How many bits of an address lie below the index of a level. */
static int walk_shift(const struct walk *walk, int level)
{
	return 12 + (level - 1) * (walk->wide ? 9 : 10);
}

static bool walk_is_leaf(const struct walk *walk, int level, __u64 entry)
{
	if (level == 1)
		return true;
	if (!(entry & PTE_PS) || level > 3 || (walk->pae && level == 3))
		return false;
	return walk->wide || walk->paging->cr4 & CR4_PSE;
}

/* Bits that must be zero in an entry. */
static __u64 walk_reserved(const struct walk *walk, int level, bool leaf)
{
	int gpa_bits = walk->paging->gpa_bits ? walk->paging->gpa_bits : 52;
	__u64 reserved = low_bits(52) & ~low_bits(gpa_bits);

	if (!walk->wide)
		return leaf && level == 2 ? 1ull << 21 : 0;
	if (walk->pae && level == 3) /* looked at when CR3 is loaded, not now */
		return 0;
	if (!(walk->paging->efer & EFER_NXE))
		reserved |= PTE_NX;
	if (walk->pae)
		reserved |= 0x7ffull << 52;
	if (leaf && level > 1)
		reserved |= low_bits(walk_shift(walk, level)) & ~0x1fffull;
	if (!leaf && level > 3)
		reserved |= PTE_PS;
	return reserved;
}

/* What an entry points to; @level 1 for tables. */
static __u64 walk_frame(const struct walk *walk, int level, __u64 entry)
{
	if (!walk->wide && level == 2) /* PSE-36 */
		return (entry & 0xffc00000) | (entry & 0x1fe000) << 19;
	return entry & low_bits(52) & ~low_bits(walk_shift(walk, level));
}

/* Do the rights of all levels together refuse the access? */
static bool walk_denied(const struct walk *walk, unsigned int access)
{
	const struct mote_paging *paging = walk->paging;
	bool user_page = walk->rights & PTE_U;

	if (access & MOTE_ACCESS_EXEC && walk->rights & PTE_NX)
		return true;
	if (access & MOTE_ACCESS_USER)
		return !user_page || (access & MOTE_ACCESS_WRITE && !(walk->rights & PTE_W));
	if (user_page && access & MOTE_ACCESS_EXEC)
		return paging->cr4 & CR4_SMEP;
	if (user_page && paging->cr4 & CR4_SMAP && !(paging->rflags & RFLAGS_AC))
		return true;
	return access & MOTE_ACCESS_WRITE && paging->cr0 & CR0_WP && !(walk->rights & PTE_W);
}

static void walk_mark(const struct walk *walk, const struct mote_machine *machine, unsigned int access)
{
	for (int i = 0; i < walk->nr_entries; i++) {
		bool page = i == walk->nr_entries - 1;
		__u32 bits = page && access & MOTE_ACCESS_WRITE ? PTE_A | PTE_D : PTE_A;
		__u32 *low = (__u32 *)walk->entries[i];

		if ((*low & bits) == bits)
			continue;
		__atomic_fetch_or(low, bits, __ATOMIC_RELAXED);
		mote_machine_wrote(machine, low, sizeof(*low));
	}
}

static __u32 walk_error(const struct walk *walk, unsigned int access, __u32 error)
{
	const struct mote_paging *paging = walk->paging;

	if (access & MOTE_ACCESS_WRITE)
		error |= PF_W;
	if (access & MOTE_ACCESS_USER)
		error |= PF_U;
	if (access & MOTE_ACCESS_EXEC &&
	    (paging->cr4 & CR4_SMEP || (walk->wide && paging->efer & EFER_NXE)))
		error |= PF_I;
	return error;
}

/* One level: the entry for @gva in the table at @table, 0 if there is no memory. */
static __u64 walk_entry(struct walk *walk, const struct mote_machine *machine, int level,
			__u64 table, __u64 gva)
{
	__u64 index = gva >> walk_shift(walk, level);
	const struct mote_area *area = walk->area;
	void *hva;

	index &= walk->pae && level == 3 ? 3 : walk->wide ? 511 : 1023;
	table += index * (walk->wide ? 8 : 4);
	/* Tables are as a rule near each other. */
	if (!area || table - area->gpa >= area->size)
		walk->area = area = mote_machine_area(machine, table);
	if (!area)
		return 0;
	hva = area->hva + (table - area->gpa);
	if (!(walk->pae && level == 3) && !(area->flags & MOTE_SLOT_READONLY))
		walk->entries[walk->nr_entries++] = hva;
	/* The guest's other CPUs may write it: read once. */
	return walk->wide ? *(volatile __u64 *)hva : *(volatile __u32 *)hva;
}

/* From the top table to the page. */
static int walk_down(struct walk *walk, const struct mote_machine *machine, __u64 gva,
		     bool peek, __u64 *gpa, __u32 *error)
{
	__u64 table = walk->paging->cr3 & low_bits(52) & (walk->pae ? ~0x1full : ~0xfffull);

	if (!walk->wide || walk->pae)
		table &= 0xffffffff;
	for (int level = walk->top; ; level--) {
		__u64 entry = walk_entry(walk, machine, level, table, gva);
		bool leaf = walk_is_leaf(walk, level, entry);

		if (!(entry & PTE_P)) {
			*error = 0;
			return -EFAULT;
		}
		if (!peek && entry & walk_reserved(walk, level, leaf)) {
			*error = PF_P | PF_RSVD;
			return -EFAULT;
		}
		if (!(walk->pae && level == 3))
			walk->rights = (walk->rights & entry & (PTE_W | PTE_U)) |
				       ((walk->rights | entry) & PTE_NX);
		table = walk_frame(walk, leaf ? level : 1, entry);
		if (leaf) {
			*gpa = table | (gva & low_bits(walk_shift(walk, level)));
			return 0;
		}
	}
}

int mote_walk(const struct mote_machine *machine, const struct mote_paging *paging, __u64 gva,
	      unsigned int access, __u64 *gpa, __u32 *error)
{
	bool peek = access & MOTE_ACCESS_PEEK;
	__u32 why = 0;
	struct walk walk;
	int err;

	if (!(paging->efer & EFER_LMA))
		gva &= 0xffffffff;
	if (!(paging->cr0 & CR0_PG)) {
		*gpa = gva;
		return 0;
	}
	walk_start(&walk, paging);
	err = walk_down(&walk, machine, gva, peek, gpa, &why);
	if (!err && !peek) {
		if (walk_denied(&walk, access)) {
			why = PF_P;
			err = -EFAULT;
		} else {
			walk_mark(&walk, machine, access);
		}
	}
	if (err && error)
		*error = walk_error(&walk, access, why);
	return err;
}
