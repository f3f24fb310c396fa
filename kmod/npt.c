// SPDX-License-Identifier: GPL-2.0
/*
 * Nested page tables: walk, map, unmap, protect.
 *
 * Locking: who only adds (mote_npt_entry(), mote_npt_map(), mote_npt_age()) shares vm->npt_lock
 * with others who do; who takes something away holds it for writing.  CPUs in the guest look at
 * the tables at any time, and set accessed and dirty bits in them (APM 2, "Nested Table Walk";
 * SDM 3C, "Accessed and Dirty Flags for EPT").  So every change of an entry is one
 * compare-and-exchange, and whoever loses it looks again.
 *
 * Pure: no allocation, no flush, no knowledge of the mm's memory.  Tested
 * by KUnit in the kernel, under sanitizers and a fuzzer outside.
 */
#include <linux/align.h>
#include <linux/atomic.h>
#include <linux/bits.h>
#include <linux/compiler.h>
#include <linux/errno.h>
#include <linux/io.h>
#include <linux/minmax.h>
#include <linux/string.h>

#include "npt.h"

/* The physical address in an entry; a memory-encryption bit is not part of it. */
#define HPA_MASK GENMASK_ULL(51, 12)

/*
 * What one call may do before it lets the caller breathe: entries to look at, of which a leaf
 * that changes counts as many more as it costs, with what the mm is told of it.
 */
#define PIECE 16384
#define PIECE_LEAF 15u

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

static u64 npt_make_leaf(const struct mote_npt *npt, int level, u64 hpa, u32 flags)
{
	const struct mote_npt_format *format = npt->format;
	u64 leaf = hpa | format->leaf;

	if (level > 1)
		leaf = (leaf & ~format->small_only) | format->large;
	if (flags & MOTE_NPT_NO_CODE)
		leaf ^= format->code;
	return flags & MOTE_NPT_WRITE ? leaf | format->write : leaf;
}

/* Clear and set bits while CPUs may set others; returns what was there. */
static u64 npt_update(u64 *entry, u64 clear, u64 set)
{
	u64 old = READ_ONCE(*entry);

	while (!try_cmpxchg(entry, &old, (old & ~clear) | set))
		;
	return old;
}

/* A leaf is gone, or its dirty bit, or the write permission where that stands for it. */
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
static void npt_discard_table(u64 *table, struct mote_npt_changes *changes)
{
	WRITE_ONCE(*table, (unsigned long)changes->tables);
	changes->tables = table;
	changes->flush = true;
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
	u32 left;	/* entries that may still be looked at */
	int level;	/* of @entry */
	bool up;	/* the table below has been walked through: its own entry is next */
	u64 *entry;	/* the current entry */
	u64 value;	/* what it said when the walk came there */
	u64 *table[MOTE_NPT_LEVELS + 1];	/* the tables that lead to @entry, by level */
};

static void npt_iter_begin(struct npt_iter *it, const struct mote_npt *npt, u64 gpa, u64 end)
{
	*it = (struct npt_iter){
		.npt = npt, .gpa = gpa, .end = end, .left = PIECE, .level = MOTE_NPT_LEVELS,
		.table[MOTE_NPT_LEVELS] = npt->root,
	};
}

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
	it->up = it->level < MOTE_NPT_LEVELS &&
		 (it->gpa >= it->end || !npt_gpa_index(it->gpa, it->level));
}

/* Find the first entry from here on that is present; false: there is none, or it->left is 0. */
static bool npt_iter_find(struct npt_iter *it)
{
	if (it->up) {
		it->up = false;
		it->level++;
		it->gpa = ALIGN_DOWN(it->gpa - 1, mote_npt_size(it->level));
		npt_iter_load(it);
		return true;
	}
	while (it->gpa < it->end && it->left) {
		it->left--;
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

u64 mote_npt_change(struct mote_npt *npt, u64 start, u64 end, u64 clear,
		    struct mote_npt_changes *changes)
{
	u64 signs = npt->format->dirty ?: npt->format->write;
	struct npt_iter it;

	npt_iter_begin(&it, npt, start, end);
	for (; npt_iter_find(&it); npt_iter_skip(&it)) {
		if (mote_npt_is_table(npt, it.value, it.level)) {
			u64 *table = it.table[it.level - 1];

			if (!~clear && !memchr_inv(table, 0, MOTE_NPT_ENTRIES * sizeof(*table))) {
				WRITE_ONCE(*it.entry, 0);
				npt_discard_table(table, changes);
			}
		} else if (it.value & clear) {
			u64 old = npt_update(it.entry, clear, 0);

			if (clear & signs)
				npt_forget(npt, old, it.level);
			changes->flush = true;
			it.left -= min(it.left, PIECE_LEAF);
		}
	}
	return it.gpa;
}

bool mote_npt_age(struct mote_npt *npt, u64 start, u64 end, bool clear)
{
	u64 accessed = npt->format->accessed ?: npt->format->present;
	struct npt_iter it;
	bool young = false;

	npt_iter_begin(&it, npt, start, end);
	for (; npt_iter_find(&it); npt_iter_skip(&it)) {
		if (mote_npt_is_table(npt, it.value, it.level) || !(it.value & accessed))
			continue;
		if (!clear)
			return true;
		npt_update(it.entry, npt->format->accessed, 0);
		young = true;
	}
	return young;
}

/* ---- whole trees --------------------------------------------------------------- */

void mote_npt_init(struct mote_npt *npt, const struct mote_npt_format *format, u64 *root)
{
	npt->format = format;
	npt->root = root;
	npt->root_hpa = virt_to_phys(root);
}

/* ---- mapping --------------------------------------------------------------------- */

int mote_npt_entry(struct mote_npt *npt, struct mote_npt_cache *cache, u64 gpa, int level,
		   u64 **found)
{
	u64 *table = npt->root, *entry;
	int at = MOTE_NPT_LEVELS;

	while (entry = &table[npt_gpa_index(gpa, at)], at > level) {
		u64 value = READ_ONCE(*entry);

		if (!npt_is_present(npt, value)) {
			if (!cache->nr)
				return -ENOMEM;
			/* Another one's table may be there first. */
			if (try_cmpxchg(entry, &value,
					npt_make_table(npt, cache->table[cache->nr - 1])))
				cache->nr--;
		} else if (mote_npt_is_table(npt, value, at)) {
			table = npt_entry_table(npt, value);
			at--;
		} else {
			return -EEXIST;
		}
	}
	*found = entry;
	return 0;
}

bool mote_npt_map(struct mote_npt *npt, u64 *entry, int level, u64 hpa, u32 flags)
{
	u64 leaf = npt_make_leaf(npt, level, hpa, flags);
	u64 old = READ_ONCE(*entry);

	do {
		if (npt_is_present(npt, old) &&
		    (mote_npt_is_table(npt, old, level) || npt_entry_hpa(npt, old) != hpa))
			return false;
		if ((old & leaf) == leaf)
			return true;
	} while (!try_cmpxchg(entry, &old, old | leaf));
	return true;
}
