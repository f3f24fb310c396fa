/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Nested page tables: one walker for both vendors' formats.
 *
 * The EPT format is the x86-64 format with other bits in its leaves; struct
 * mote_npt_format names them and the walker never asks which it serves.
 * What npt.c does not know: slots, the mm's memory, locks (see the head
 * of npt.c), when to flush (it says that one is needed), where
 * tables come from (the caller fills a cache beforehand).
 *
 * Levels count from 1 (4 KiB) to 4 (the root, 512 GiB an entry).  Ranges are
 * [start, end) in bytes, multiples of 4096, up to 1 << MOTE_NPT_BITS.
 */
#ifndef MOTE_NPT_H
#define MOTE_NPT_H

#include <linux/bits.h>
#include <linux/types.h>

#define MOTE_NPT_LEVELS 4
#define MOTE_NPT_BITS 48
#define MOTE_NPT_ENTRIES 512

/* The bits of a vendor's nested page-table entries. */
struct mote_npt_format {
	u64 present;	/* any of these set: the entry maps something */
	u64 table;	/* of entries that point to a table; memory encryption: here and in @leaf */
	u64 leaf;	/* of every leaf: readable, executable, user, write-back */
	u64 write;	/* the leaf may be written */
	u64 large;	/* the leaf maps 2 MiB or 1 GiB */
	u64 accessed;	/* set by the CPU, 0 where it does not */
	u64 dirty;	/* likewise */
	u64 log;	/* taken from a leaf whose page is to be noticed when it is written next */
	u64 small_only;	/* of @leaf, but not in large leaves: where these may not hold code */
	u64 code;	/* other than in @leaf: code may not be fetched there */
};

/* Nested page tables of one VM: four levels, 48 bits. */
struct mote_npt {
	const struct mote_npt_format *format;
	u64 *root;	/* the top table */
	u64 root_hpa;	/* its physical address, for EPTP and nCR3; constant */
	/*
	 * Called when a leaf loses its page, or the last sign that the page was written: (first
	 * byte, bytes, accessed, dirty).  Where the CPU sets no such bits, all pages count as
	 * accessed and writable ones as dirty.
	 */
	void (*forget)(u64 hpa, u64 size, bool accessed, bool dirty);
};

/* Empty tables for one change of the tree; what is not used stays with the caller. */
struct mote_npt_cache {
	u32 nr;
	u64 *table[MOTE_NPT_LEVELS - 1];
};

/* What the caller has to do after a change. */
struct mote_npt_changes {
	bool flush;	/* CPUs may hold translations, or addresses of tables, that are gone */
	/*
	 * Tables that left the tree, chained through their first entry.  CPUs may walk them
	 * until the flush is acknowledged: they are freed after it.
	 */
	u64 *tables;
};

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

/*
 * The entry for an address at level 1 to 3.  Tables on the way are added from @cache.  The
 * entries that follow it in its table may be used, too.  Return: 0 and @found; -ENOMEM: the cache
 * is empty, MOTE_NPT_LEVELS - 1 tables are always enough; -EEXIST: a larger leaf is in the way.
 */
int mote_npt_entry(struct mote_npt *npt, struct mote_npt_cache *cache, u64 gpa, int level,
		   u64 **found);

/* What a leaf is besides readable. */
#define MOTE_NPT_WRITE BIT(0)	/* writable */
#define MOTE_NPT_NO_CODE BIT(1)	/* not executable; the same for a page as long as it is mapped */

/*
 * Let an entry of a level map memory, a multiple of the level's size.  A leaf that maps the same
 * memory is never downgraded.  False: other memory is mapped there, or a table is; it has to be
 * removed first.
 */
bool mote_npt_map(struct mote_npt *npt, u64 *entry, int level, u64 hpa, u32 flags);

#define MOTE_NPT_UNMAP (~0ULL)

/*
 * Remove what is mapped in a range (MOTE_NPT_UNMAP), or take bits of the format from its leaves.
 * Removed are large leaves that overlap the range as a whole, and tables that become empty.
 * Takes time in proportion to what is mapped; if that is much, it ends early.  Return: where to
 * go on; @end or more when done.
 */
u64 mote_npt_change(struct mote_npt *npt, u64 start, u64 end, u64 clear,
		    struct mote_npt_changes *changes);

/*
 * Has the guest used what is mapped in a range, since the accessed bits were cleared last?  Looks
 * at as much as one call may; where the CPU sets no such bits all of it counts, and none is
 * cleared.
 */
bool mote_npt_age(struct mote_npt *npt, u64 start, u64 end, bool clear);

#endif /* MOTE_NPT_H */
