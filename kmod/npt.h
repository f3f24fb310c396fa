/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Nested page tables: one walker for both vendors' formats.
 *
 * The EPT format is the x86-64 format with other bits in its leaves; struct
 * mote_npt_format names them and the walker never asks which it serves.
 * What npt.c does not know: slots, the mm's memory, locks (the caller
 * holds vm->npt_lock), when to flush (it says that one is needed), where
 * tables come from (the caller fills a cache beforehand).
 *
 * Levels count from 1 (4 KiB) to 4 (the root, 512 GiB an entry).  Ranges are
 * [start, end) in bytes, multiples of 4096, up to 1 << MOTE_NPT_BITS.
 */
#ifndef MOTE_NPT_H
#define MOTE_NPT_H

#include <linux/types.h>

#define MOTE_NPT_LEVELS 4
#define MOTE_NPT_BITS 48
#define MOTE_NPT_ENTRIES 512

/* The bits of a vendor's nested page-table entries. */
struct mote_npt_format {
	u64 present;	/* any of these set: the entry maps something */
	/*
	 * bits of an entry that points to a table; a memory-encryption bit goes here and in
	 * @leaf
	 */
	u64 table;
	u64 leaf;	/* bits of every leaf: readable, executable, user, write-back */
	u64 write;	/* the leaf may be written */
	u64 large;	/* the leaf maps 2 MiB or 1 GiB */
	u64 accessed;	/* set by the CPU, 0 where it does not */
	u64 dirty;	/* set by the CPU, 0 where it does not */
	/*
	 * bits of @leaf that large leaves lack; 0 but for CPUs where code must not be
	 * fetched through large pages
	 */
	u64 small_only;
};

/* Nested page tables of one VM: four levels, 48 bits. */
struct mote_npt {
	const struct mote_npt_format *format;	/* of the entries */
	u64 *root;	/* virtual address of the top table */
	u64 root_hpa;	/* its physical address, for EPTP and nCR3; constant */
	unsigned long tables;	/* tables in the tree, the root included */
	/*
	 * called when a leaf loses its page, or the last sign that the page was written:
	 * (first byte, bytes, accessed, dirty). Where the CPU sets no such bits, all pages
	 * count as accessed and writable ones as dirty.
	 */
	void (*forget)(u64 hpa, u64 size, bool accessed, bool dirty);
};

/* Empty tables for one change of the tree. */
struct mote_npt_cache {
	u32 nr;		/* how many */
	/* their virtual addresses; what is not used stays with the caller */
	u64 *table[MOTE_NPT_LEVELS - 1];
};

/* What the caller has to do after a change. */
struct mote_npt_changes {
	bool flush;	/* CPUs may hold translations, or addresses of tables, that are gone */
	/*
	 * tables taken out of the tree, chained through their first entry; CPUs may walk
	 * them until the flush is acknowledged: free them after it
	 */
	u64 *tables;
};

/*
 * A walk over the entries that are present.
 *
 * Leaves that overlap the range are visited in ascending order; the entry of
 * a table after what is in it, so that tables can be taken out on the way.
 * What is not present is passed over, at the highest level possible.
 */
struct mote_npt_iter {
	struct mote_npt *npt;	/* what is walked */
	u64 gpa;	/* where the walk is: within what @entry covers */
	u64 end;	/* of the range */
	int top;	/* level where the walk began */
	int level;	/* of @entry */
	bool up;	/* the table below has been walked through: its own entry is next */
	u64 *entry;	/* the current entry */
	u64 value;	/* what it said when the walk came there */
	u64 *table[MOTE_NPT_LEVELS + 1];	/* the tables that lead to @entry, by level */
};

#define mote_npt_for_each(it, npt, start, end)				\
	for (mote_npt_iter_init(it, npt, start, end); mote_npt_iter_find(it); \
	     mote_npt_iter_skip(it))

void mote_npt_iter_init(struct mote_npt_iter *it, struct mote_npt *npt, u64 start, u64 end);
bool mote_npt_iter_find(struct mote_npt_iter *it);
void mote_npt_iter_skip(struct mote_npt_iter *it);

/* Bytes that an entry of a level maps. */
static inline u64 mote_npt_size(int level)
{
	return 1ULL << (12 + 9 * (level - 1));
}

static inline bool mote_npt_is_table(const struct mote_npt *npt, u64 entry, int level)
{
	return level > 1 && !(entry & npt->format->large);
}

/* An empty tree; @npt->forget is set by the caller, @root is an empty table. */
void mote_npt_init(struct mote_npt *npt, const struct mote_npt_format *format, u64 *root);

/* Take the whole tree apart, its root, too, when no CPU uses it any more. */
void mote_npt_clear(struct mote_npt *npt, struct mote_npt_changes *changes);

/*
 * The entry for an address at level 1 to 3.  Tables on the way are added from @cache, larger
 * leaves on the way are split.  The entries that follow it in its table may be used, too.
 * NULL: the cache is empty; then try again with more, MOTE_NPT_LEVELS - 1 are always enough.
 */
u64 *mote_npt_entry(struct mote_npt *npt, struct mote_npt_cache *cache, u64 gpa, int level,
		    struct mote_npt_changes *changes);

/*
 * Let an entry of a level map memory, a multiple of the level's size.  A leaf that maps the
 * same memory is never downgraded.  A table in the place of a large leaf goes, with all that
 * is in it: this joins small mappings.
 */
void mote_npt_map(struct mote_npt *npt, u64 *entry, int level, u64 hpa, bool write,
		  struct mote_npt_changes *changes);

/*
 * Remove what is mapped in a range, or make it read-only.  Removed are large leaves that
 * overlap the range as a whole, and tables that become empty.  Takes time in proportion to
 * what is mapped; if that is much, it ends early.  Return: where to go on; @end or more when
 * done.
 */
u64 mote_npt_unmap(struct mote_npt *npt, u64 start, u64 end, struct mote_npt_changes *changes);
u64 mote_npt_protect(struct mote_npt *npt, u64 start, u64 end, struct mote_npt_changes *changes);

#endif /* MOTE_NPT_H */
