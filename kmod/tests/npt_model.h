/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Nested page tables against a model: an array that says for each 4 KiB page
 * of a small universe what it should translate to.  Operations are drawn from
 * a stream of numbers: random ones in the KUnit suite, a fuzzer's outside.
 *
 * The universe is the last 2 GiB of the address space, so that its end and
 * every level's boundaries are in it.  A page may be mapped to one of four
 * places in physical memory.  The model plays the CPU, too: it sets accessed
 * and dirty bits, and no written page may be forgotten as clean.
 */
#ifndef MOTE_NPT_MODEL_H
#define MOTE_NPT_MODEL_H

#include <linux/bitops.h>
#include <linux/gfp.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "../npt.h"

#define MODEL_PAGES (1u << 19)
#define MODEL_BASE ((1ULL << MOTE_NPT_BITS) - MODEL_PAGES * 4096ULL)
#define MODEL_PLACES 4

/* A page of the model: 0 or hpa, level and these. */
#define MODEL_LEVEL 7ULL
#define MODEL_PRESENT BIT_ULL(3)
#define MODEL_WRITE BIT_ULL(4)
#define MODEL_DIRTY BIT_ULL(5)

/**
 * struct model - what should be, and what is
 * @npt: what is
 * @page: what should be
 * @written: by place and page: the CPU wrote it, and nobody has been told
 * @draw: the next number, below @n
 * @context: for @draw
 * @error: what is wrong
 * @lost: in this operation a translation was taken away or downgraded
 */
struct model {
	struct mote_npt npt;
	u64 *page;
	unsigned long *written;
	u32 (*draw)(void *context, u32 n);
	void *context;
	const char *error;
	bool lost;
};

static struct model *model_current;

static inline void model_fail(struct model *m, const char *error)
{
	if (!m->error)
		m->error = error;
}

/* Physical memory begins at 4 GiB; places keep the alignment to 1 GiB. */
static inline u64 model_hpa(u32 page, u32 place)
{
	return (1ULL << 32) + (place * (u64)MODEL_PAGES + page) * 4096;
}

static inline u32 model_frame(u64 hpa)
{
	return (hpa - (1ULL << 32)) / 4096;
}

static void model_forget(u64 hpa, u64 size, bool accessed, bool dirty)
{
	struct model *m = model_current;
	u32 frame;

	if (dirty && !accessed)
		model_fail(m, "written without an access");
	for (frame = model_frame(hpa); frame < model_frame(hpa + size); frame++)
		if (dirty)
			clear_bit(frame, m->written);
		else if (test_bit(frame, m->written))
			model_fail(m, "a written page is forgotten as clean");
}

/* ---- what the tables say, found without npt.c's help -------------------------------- */

static inline u64 *model_find(struct model *m, u64 gpa, int *level)
{
	const struct mote_npt_format *format = m->npt.format;
	u64 *table = m->npt.root;

	for (*level = MOTE_NPT_LEVELS;; --*level) {
		u64 *entry = &table[gpa >> (12 + 9 * (*level - 1)) & 511];

		if (!(*entry & format->present))
			return NULL;
		if (*level == 1 || *entry & format->large)
			return entry;
		table = phys_to_virt(*entry & GENMASK_ULL(51, 12) & ~format->table);
	}
}

static inline u64 model_read(struct model *m, u32 page)
{
	u64 gpa = MODEL_BASE + page * 4096ULL;
	const struct mote_npt_format *format = m->npt.format;
	u64 *entry, hpa, leaf = format->leaf;
	int level;

	entry = model_find(m, gpa, &level);
	if (!entry)
		return 0;
	if (level > 1)
		leaf = (leaf & ~format->small_only) | format->large;
	if ((*entry & leaf) != leaf)
		model_fail(m, "bits of the leaf are missing");
	if (level > 1 && *entry & format->small_only)
		model_fail(m, "a large leaf has what only small ones may");
	hpa = *entry & GENMASK_ULL(51, 12) & ~format->table;
	if (hpa & (mote_npt_size(level) - 1))
		model_fail(m, "a large leaf is not aligned");
	return (hpa + (gpa & (mote_npt_size(level) - 1))) | level | MODEL_PRESENT |
	       (*entry & format->write ? MODEL_WRITE : 0) |
	       (*entry & format->dirty ? MODEL_DIRTY : 0);
}

static inline void model_check(struct model *m, u32 first, u32 last)
{
	u32 page;

	for (page = first; page <= last && page < MODEL_PAGES; page++)
		if (model_read(m, page) != m->page[page])
			model_fail(m, "a translation differs from the model");
}

/* Everything; of blocks that are mapped as one, or not at all, a few pages. */
static inline void model_check_all(struct model *m)
{
	u32 block, i;
	int level;

	for (block = 0; block < MODEL_PAGES; block += 512) {
		model_find(m, MODEL_BASE + block * 4096ULL, &level);
		if (level > 1 && !m->page[block] && memchr_inv(&m->page[block], 0, 4096))
			model_fail(m, "a translation is missing");
		for (i = 0; i < 512; i += level > 1 ? 73 : 1)
			model_check(m, block + i, block + i);
	}
}

static unsigned long model_count(struct model *m, u64 *table, int level)
{
	unsigned long nr = 1;
	u32 i;

	for (i = 0; level > 1 && i < MOTE_NPT_ENTRIES; i++)
		if (table[i] & m->npt.format->present && !(table[i] & m->npt.format->large))
			nr += model_count(m, phys_to_virt(table[i] & GENMASK_ULL(51, 12) &
							  ~m->npt.format->table), level - 1);
	return nr;
}

/* ---- operations ------------------------------------------------------------------------ */

static inline void model_settle(struct model *m, struct mote_npt_changes *changes)
{
	if (changes->tables && !changes->flush)
		model_fail(m, "tables are freed without a flush");
	if (m->lost && !changes->flush)
		model_fail(m, "a downgrade without a flush");
	while (changes->tables) {
		u64 *table = changes->tables;

		changes->tables = (u64 *)(unsigned long)*table;
		free_page((unsigned long)table);
	}
	changes->flush = false;
	m->lost = false;
}

static inline void model_fill(struct mote_npt_cache *cache, u32 nr)
{
	while (cache->nr < nr) {
		u64 *table = (u64 *)get_zeroed_page(GFP_KERNEL);

		if (!table)
			return;
		cache->table[cache->nr++] = table;
	}
}

/* Pages, and where they begin, that one leaf maps together with @page. */
static inline u32 model_block(struct model *m, u32 page, int level, u32 *first)
{
	u32 nr = mote_npt_size(level) / 4096;

	*first = page / nr * nr;
	return nr;
}

static inline void model_set(struct model *m, u32 first, int level, u32 place, bool write)
{
	u32 i, nr = mote_npt_size(level) / 4096;

	for (i = first; i < first + nr; i++) {
		u64 old = m->page[i];
		u64 new = model_hpa(i, place) | level | MODEL_PRESENT | (write ? MODEL_WRITE : 0);

		if (old >> 12 == new >> 12)
			new |= old & (MODEL_WRITE | MODEL_DIRTY);
		m->page[i] = new;
	}
}

/* Take something away from all leaves that overlap [first, end). */
static inline void model_change(struct model *m, u32 first, u32 end, u64 clear)
{
	const struct mote_npt_format *format = m->npt.format;
	u64 lost = clear == MOTE_NPT_UNMAP ? ~0ULL : (clear & format->write ? MODEL_WRITE : 0) |
						     (clear & format->dirty ? MODEL_DIRTY : 0);
	struct mote_npt_changes changes = {};
	u64 gpa = MODEL_BASE + first * 4096ULL;
	u64 gpa_end = MODEL_BASE + end * 4096ULL;
	bool flush;
	u32 i;

	for (i = first; i < end; i++) {
		u64 old = m->page[i];
		u32 begin, nr;

		if (!(old & lost))
			continue;
		m->lost = true;
		nr = model_block(m, i, old & MODEL_LEVEL, &begin);
		for (i = begin; i < begin + nr; i++)
			m->page[i] &= ~lost;
		i--;
	}
	while (gpa < gpa_end)
		gpa = mote_npt_change(&m->npt, gpa, gpa_end, clear, &changes);
	flush = m->lost;
	if (changes.flush != flush && !changes.tables)
		model_fail(m, "a flush for nothing");
	model_settle(m, &changes);
	model_check(m, first ? first - 1 : 0, first + 1);
	model_check(m, end - 1, end);
}

/* The entry for an address, as a fault gets it. */
static inline u64 *model_entry(struct model *m, struct mote_npt_cache *cache, u64 gpa, int level)
{
	u64 *entry = NULL;
	int err = mote_npt_entry(&m->npt, cache, gpa, level, &entry);

	if (err == -ENOMEM) {
		model_fill(cache, MOTE_NPT_LEVELS - 1);
		err = mote_npt_entry(&m->npt, cache, gpa, level, &entry);
	}
	if (err == -ENOMEM)
		model_fail(m, "a full cache is not enough");
	return err ? NULL : entry;
}

/* Map @nr entries of a level from @page on, as a fault does: what else is there goes first. */
static inline void model_map(struct model *m, u32 page, int level, u32 nr, u32 place, bool write)
{
	struct mote_npt_cache cache = {};
	u32 i, first, size = model_block(m, page, level, &first);
	u64 *entry;

	model_fill(&cache, m->draw(m->context, MOTE_NPT_LEVELS));
	nr = min(nr, 512 - first / size % 512);
	for (i = 0; i < nr; i++) {
		u32 at = first + i * size;
		u64 gpa = MODEL_BASE + at * 4096ULL;

		entry = model_entry(m, &cache, gpa, level);
		if (!entry != ((m->page[at] & MODEL_LEVEL) > level))
			model_fail(m, "what is larger is not told");
		if (!entry || !mote_npt_map(&m->npt, entry, level, model_hpa(at, place), write)) {
			model_change(m, at, at + size, MOTE_NPT_UNMAP);
			entry = model_entry(m, &cache, gpa, level);
			if (!entry || !mote_npt_map(&m->npt, entry, level, model_hpa(at, place),
						    write))
				model_fail(m, "there is room, and still nothing is mapped");
		}
		model_set(m, at, level, place, write);
	}
	while (cache.nr)
		free_page((unsigned long)cache.table[--cache.nr]);
	model_check(m, first ? first - 1 : 0, first + 1);
	model_check(m, first + nr * size - 1, first + nr * size);
}

/* The CPU reads or writes a page, if it may. */
static inline void model_access(struct model *m, u32 page, bool write)
{
	const struct mote_npt_format *format = m->npt.format;
	u32 first, i, nr;
	u64 *entry;
	int level;

	if (!m->page[page] || (write && !(m->page[page] & MODEL_WRITE)))
		return;
	entry = model_find(m, MODEL_BASE + page * 4096ULL, &level);
	if (!entry)
		return;
	*entry |= format->accessed | (write ? format->dirty : 0);
	if (!write)
		return;
	set_bit(model_frame(m->page[page] & GENMASK_ULL(51, 12)), m->written);
	nr = model_block(m, page, level, &first);
	for (i = first; format->dirty && i < first + nr; i++)
		m->page[i] |= MODEL_DIRTY;
}

/* What a change takes away: all, the permission to write, the sign that it was written, or both. */
static inline u64 model_draw_clear(struct model *m)
{
	const struct mote_npt_format *format = m->npt.format;

	switch (m->draw(m->context, 4)) {
	case 0:
		return MOTE_NPT_UNMAP;
	case 1:
		return format->dirty ?: format->write;
	case 2:
		return format->write | format->dirty;
	default:
		return format->write;
	}
}

/* ---- running it --------------------------------------------------------------------------- */

/* Pages around boundaries of tables are the interesting ones. */
static inline u32 model_draw_page(struct model *m)
{
	u32 block = m->draw(m->context, 8);
	u32 near = m->draw(m->context, 4);
	u32 base = block < 4 ? block * 512 : block < 6 ? (1u << 18) - 1024 + (block - 4) * 1024 :
		   MODEL_PAGES - (block - 5) * 512;

	switch (near) {
	case 0:
		return base;
	case 1:
		return base + 511;
	case 2:
		return base + m->draw(m->context, 512);
	default:
		return base + m->draw(m->context, 16);
	}
}

static inline void model_step(struct model *m)
{
	static const u16 sizes[] = { 1, 1, 2, 16, 64, 511, 512, 513 };
	u32 op = m->draw(m->context, 16);
	u32 page = model_draw_page(m);
	u32 end = page + sizes[m->draw(m->context, 8)];
	u32 place = m->draw(m->context, MODEL_PLACES);
	bool write = m->draw(m->context, 2);

	end = min(end, MODEL_PAGES);
	switch (op) {
	case 0 ... 3:
		model_map(m, page, 1, 1, place, write);
		break;
	case 4 ... 5:
		model_map(m, page & ~63u, 1, 64, place, write);
		break;
	case 6 ... 7:
		model_map(m, page, 2, 1, place, write);
		break;
	case 8:
		model_map(m, page, m->draw(m->context, 8) ? 2 : 3, 1, place, write);
		break;
	case 9 ... 10:
		model_change(m, page, end, MOTE_NPT_UNMAP);
		break;
	case 11 ... 12:
		model_change(m, page, end, model_draw_clear(m));
		break;
	case 13:
		end = m->draw(m->context, 8) ? min(page + 2048, MODEL_PAGES) : MODEL_PAGES;
		model_change(m, end < MODEL_PAGES ? page : 0, end, model_draw_clear(m));
		break;
	default:
		model_access(m, page, write);
		break;
	}
}

static inline unsigned long model_tables(struct model *m)
{
	return model_count(m, m->npt.root, MOTE_NPT_LEVELS);
}

static inline void model_exit(struct model *m)
{
	kvfree(m->page);
	kvfree(m->written);
}

/* @m->draw and @m->context are the caller's; false: no memory. */
static inline bool model_init(struct model *m, const struct mote_npt_format *format)
{
	u64 *root = (u64 *)get_zeroed_page(GFP_KERNEL);

	m->error = NULL;
	m->lost = false;
	m->page = kvcalloc(MODEL_PAGES, sizeof(*m->page), GFP_KERNEL);
	m->written = kvcalloc(BITS_TO_LONGS(MODEL_PAGES * MODEL_PLACES), sizeof(long), GFP_KERNEL);
	if (!root || !m->page || !m->written) {
		free_page((unsigned long)root);
		model_exit(m);
		return false;
	}
	m->npt.forget = model_forget;
	model_current = m;
	mote_npt_init(&m->npt, format, root);
	return true;
}

/* At the end: everything as the model says, and nothing left after it has been unmapped. */
static inline void model_finish(struct model *m)
{
	model_check_all(m);
	model_change(m, 0, MODEL_PAGES, MOTE_NPT_UNMAP);
	if (model_tables(m) != 1)
		model_fail(m, "empty tables are left");
	free_page((unsigned long)m->npt.root);
	if (find_first_bit(m->written, MODEL_PAGES * MODEL_PLACES) < MODEL_PAGES * MODEL_PLACES)
		model_fail(m, "a write was lost");
	model_exit(m);
}

#endif /* MOTE_NPT_MODEL_H */
