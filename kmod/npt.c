// SPDX-License-Identifier: GPL-2.0
/*
 * Nested page tables: walk, map, unmap, protect, split, join.
 *
 * Locking: the caller holds vm->npt_lock; only CPUs in the guest look at the
 * tables at the same time, and set accessed and dirty bits in them.  So every
 * entry is written as a whole, and where such a bit could be lost, atomically
 * (APM 2, "Nested Table Walk"; SDM 3C, "Accessed and Dirty Flags for EPT").
 *
 * Pure: no allocation, no flush, no knowledge of the mm's memory.  Tested
 * by KUnit in the kernel, under sanitizers and a fuzzer outside.
 */
#include <linux/align.h>
#include <linux/atomic.h>
#include <linux/bits.h>
#include <linux/compiler.h>
#include <linux/io.h>
#include <linux/string.h>

#include "npt.h"

/* The physical address in an entry; a memory-encryption bit is not part of it. */
#define HPA_MASK GENMASK_ULL(51, 12)

/* Leaves that one call changes before it lets the caller flush and breathe. */
#define PIECE 1024

static u64 npt_entry_hpa(const struct mote_npt *npt, u64 entry)
{
	return entry & HPA_MASK & ~npt->format->table;
}

static u64 *npt_entry_table(const struct mote_npt *npt, u64 entry)
{
	return phys_to_virt(npt_entry_hpa(npt, entry));
}

static bool npt_is_present(const struct mote_npt *npt, u64 entry)
{
	return entry & npt->format->present;
}

static u32 npt_gpa_index(u64 gpa, int level)
{
	return (gpa >> (12 + 9 * (level - 1))) % MOTE_NPT_ENTRIES;
}

static u64 npt_make_table(const struct mote_npt *npt, const u64 *table)
{
	return virt_to_phys((void *)table) | npt->format->table;
}

static u64 npt_make_leaf(const struct mote_npt *npt, int level, u64 hpa, bool write)
{
	const struct mote_npt_format *format = npt->format;
	u64 leaf = hpa | format->leaf;

	if (level > 1)
		leaf = (leaf & ~format->small_only) | format->large;
	return write ? leaf | format->write : leaf;
}

/* Clear and set bits while CPUs may set others; returns what was there. */
static u64 npt_update(u64 *entry, u64 clear, u64 set)
{
	u64 old = READ_ONCE(*entry);

	while (!try_cmpxchg(entry, &old, (old & ~clear) | set))
		;
	return old;
}

/* A leaf is gone, or its write permission where that stands for the dirty bit. */
static void npt_forget(const struct mote_npt *npt, u64 leaf, int level)
{
	const struct mote_npt_format *format = npt->format;
	u64 accessed = format->accessed ?: format->present;
	u64 dirty = format->dirty ?: format->write;

	npt->forget(npt_entry_hpa(npt, leaf), mote_npt_size(level), leaf & accessed, leaf & dirty);
}

/* ---- tables ---------------------------------------------------------------- */

/*
 * A table that is out of the tree may still be walked: its entries must stay
 * not present.  The address of a page is, in both formats.
 */
static void npt_discard_table(struct mote_npt *npt, u64 *table, struct mote_npt_changes *changes)
{
	WRITE_ONCE(*table, (unsigned long)changes->tables);
	changes->tables = table;
	changes->flush = true;
	npt->tables--;
}

static u64 *npt_add_table(struct mote_npt *npt, struct mote_npt_cache *cache)
{
	if (!cache->nr)
		return NULL;
	npt->tables++;
	return cache->table[--cache->nr];
}

/* Put a table with the same translations into the place of a large leaf. */
static u64 *npt_split(struct mote_npt *npt, struct mote_npt_cache *cache, u64 *entry, int level,
		      struct mote_npt_changes *changes)
{
	const struct mote_npt_format *format = npt->format;
	u64 *table = npt_add_table(npt, cache);
	u64 old = READ_ONCE(*entry);
	u64 small;
	u32 i;

	if (!table)
		return NULL;
	/* The accessed and dirty bits go to all: again if a CPU sets one meanwhile. */
	do {
		small = old | (level == 2 ? format->small_only : 0);
		if (level == 2)
			small &= ~format->large;
		for (i = 0; i < MOTE_NPT_ENTRIES; i++)
			table[i] = small + i * mote_npt_size(level - 1);
	} while (!try_cmpxchg(entry, &old, npt_make_table(npt, table)));
	/* One address must not be translated by pages of two sizes. */
	changes->flush = true;
	return table;
}

/* ---- the iterator ------------------------------------------------------------ */

/*
 * A walk over the entries that are present.
 *
 * Leaves that overlap the range are visited in ascending order; the entry of
 * a table after what is in it, so that tables can be taken out on the way.
 * What is not present is passed over, at the highest level possible.
 */
struct npt_iter {
	const struct mote_npt *npt;
	u64 gpa;	/* where the walk is: within what @entry covers */
	u64 end;	/* of the range */
	int top;	/* level where the walk began */
	int level;	/* of @entry */
	bool up;	/* the table below has been walked through: its own entry is next */
	u64 *entry;	/* the current entry */
	u64 value;	/* what it said when the walk came there */
	u64 *table[MOTE_NPT_LEVELS + 1];	/* the tables that lead to @entry, by level */
};

static void npt_iter_load(struct npt_iter *it)
{
	it->entry = &it->table[it->level][npt_gpa_index(it->gpa, it->level)];
	it->value = READ_ONCE(*it->entry);
}

/* Pass over the current entry. */
static void npt_iter_skip(struct npt_iter *it)
{
	u64 size = mote_npt_size(it->level);

	it->gpa = ALIGN_DOWN(it->gpa, size) + size;
	it->up = it->level < it->top && (it->gpa >= it->end || !npt_gpa_index(it->gpa, it->level));
}

/* Find the first entry from here on that is present; false: there is none. */
static bool npt_iter_find(struct npt_iter *it)
{
	if (it->up) {
		it->up = false;
		it->level++;
		it->gpa = ALIGN_DOWN(it->gpa - 1, mote_npt_size(it->level));
		npt_iter_load(it);
		return true;
	}
	while (it->gpa < it->end) {
		npt_iter_load(it);
		if (!npt_is_present(it->npt, it->value)) {
			npt_iter_skip(it);
			if (it->up)
				return npt_iter_find(it);
		} else if (mote_npt_is_table(it->npt, it->value, it->level)) {
			it->level--;
			it->table[it->level] = npt_entry_table(it->npt, it->value);
		} else {
			return true;
		}
	}
	return false;
}

/* ---- ranges ------------------------------------------------------------------------ */

/* As mote_npt_change(), from a table on whose entries are of a level. */
static u64 npt_change(struct mote_npt *npt, u64 *table, int level, u64 start, u64 end,
		      bool protect, struct mote_npt_changes *changes)
{
	u64 clear = protect ? npt->format->write : ~0ULL;
	struct npt_iter it = {
		.npt = npt, .gpa = start, .end = end, .top = level, .level = level,
	};
	u32 nr = 0;

	it.table[level] = table;
	for (; npt_iter_find(&it); npt_iter_skip(&it)) {
		if (mote_npt_is_table(npt, it.value, it.level)) {
			table = it.table[it.level - 1];
			if (!protect && !memchr_inv(table, 0, MOTE_NPT_ENTRIES * sizeof(*table))) {
				WRITE_ONCE(*it.entry, 0);
				npt_discard_table(npt, table, changes);
			}
		} else if (nr++ == PIECE) {
			return it.gpa;
		} else if (it.value & clear) {
			u64 old = npt_update(it.entry, clear, 0);

			if (!protect || !npt->format->dirty)
				npt_forget(npt, old, it.level);
			changes->flush = true;
		}
	}
	return end;
}

u64 mote_npt_change(struct mote_npt *npt, u64 start, u64 end, bool protect,
		    struct mote_npt_changes *changes)
{
	return npt_change(npt, npt->root, MOTE_NPT_LEVELS, start, end, protect, changes);
}

/* ---- whole trees --------------------------------------------------------------- */

void mote_npt_init(struct mote_npt *npt, const struct mote_npt_format *format, u64 *root)
{
	npt->format = format;
	npt->root = root;
	npt->root_hpa = virt_to_phys(root);
	npt->tables = 1;
}

/* Take apart a table that has left the tree, and all below it; @level: of its entries. */
static void npt_clear_table(struct mote_npt *npt, u64 *table, int level,
			    struct mote_npt_changes *changes)
{
	u64 gpa = 0, end = MOTE_NPT_ENTRIES * mote_npt_size(level);

	while (gpa < end)
		gpa = npt_change(npt, table, level, gpa, end, false, changes);
	npt_discard_table(npt, table, changes);
}

void mote_npt_clear(struct mote_npt *npt, struct mote_npt_changes *changes)
{
	npt_clear_table(npt, npt->root, MOTE_NPT_LEVELS, changes);
	npt->root = NULL;
}

/* ---- mapping --------------------------------------------------------------------- */

u64 *mote_npt_entry(struct mote_npt *npt, struct mote_npt_cache *cache, u64 gpa, int level,
		    struct mote_npt_changes *changes)
{
	u64 *table = npt->root;
	int at;

	for (at = MOTE_NPT_LEVELS; at > level; at--) {
		u64 *entry = &table[npt_gpa_index(gpa, at)];
		u64 value = READ_ONCE(*entry);

		if (!npt_is_present(npt, value)) {
			table = npt_add_table(npt, cache);
			if (table)
				WRITE_ONCE(*entry, npt_make_table(npt, table));
		} else if (mote_npt_is_table(npt, value, at)) {
			table = npt_entry_table(npt, value);
		} else {
			table = npt_split(npt, cache, entry, at, changes);
		}
		if (!table)
			return NULL;
	}
	return &table[npt_gpa_index(gpa, level)];
}

void mote_npt_map(struct mote_npt *npt, u64 *entry, int level, u64 hpa, bool write,
		  struct mote_npt_changes *changes)
{
	u64 leaf = npt_make_leaf(npt, level, hpa, write);
	u64 old = READ_ONCE(*entry);

	if (!npt_is_present(npt, old)) {
		WRITE_ONCE(*entry, leaf);
	} else if (mote_npt_is_table(npt, old, level)) {
		WRITE_ONCE(*entry, leaf);
		npt_clear_table(npt, npt_entry_table(npt, old), level - 1, changes);
	} else if (npt_entry_hpa(npt, old) == hpa) {
		if ((old & leaf) != leaf)
			npt_update(entry, 0, leaf);
	} else {
		npt_forget(npt, xchg(entry, leaf), level);
		changes->flush = true;
	}
}
