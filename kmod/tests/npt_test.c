// SPDX-License-Identifier: GPL-2.0
/*
 * Nested page tables: single operations, edges, and random operations against
 * a model (npt_model.h), in both vendors' formats and some that are rarer.
 */
#include <kunit/test.h>

#include "../npt.c"
#include "npt_model.h"

static const struct mote_npt_format formats[] = {
	/* AMD: present, writable, user; PS, A, D as in ordinary page tables */
	{ .present = 1, .table = 0x7, .leaf = 0x5, .write = 0x2, .large = 0x80,
	  .accessed = 0x20, .dirty = 0x40 },
	/* EPT: R, W, X; write-back; bits 8 and 9 are A and D */
	{ .present = 7, .table = 0x7, .leaf = 0x35, .write = 0x2, .large = 0x80,
	  .accessed = 0x100, .dirty = 0x200 },
	/* EPT without A and D bits, no code from large pages */
	{ .present = 7, .table = 0x7, .leaf = 0x35, .write = 0x2, .large = 0x80,
	  .small_only = 0x4 },
	/* AMD with memory encryption */
	{ .present = 1, .table = 0x7 | BIT_ULL(47), .leaf = 0x5 | BIT_ULL(47), .write = 0x2,
	  .large = 0x80, .accessed = 0x20, .dirty = 0x40 },
};

static u32 draw_random(void *context, u32 n)
{
	u64 *state = context;

	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return (*state >> 20) % n;
}

/**
 * struct fixture - a model to play with by hand
 * @m: the model
 * @seed: for draw_random()
 */
struct fixture {
	struct model m;
	u64 seed;
};

static struct fixture *fixture_new(struct kunit *test, const struct mote_npt_format *format)
{
	struct fixture *f = kunit_kzalloc(test, sizeof(*f), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, f);
	f->seed = 0x9e3779b97f4a7c15ULL;
	f->m.draw = draw_random;
	f->m.context = &f->seed;
	KUNIT_ASSERT_TRUE(test, model_init(&f->m, format));
	return f;
}

static void fixture_end(struct kunit *test, struct fixture *f)
{
	model_finish(&f->m);
	KUNIT_EXPECT_STREQ(test, f->m.error ?: "", "");
}

#define for_each_format(format) \
	for ((format) = formats; (format) < formats + ARRAY_SIZE(formats); (format)++)

static void npt_random(struct kunit *test)
{
	const struct mote_npt_format *format;
	u32 round, i;

	for_each_format(format) {
		for (round = 0; round < 3; round++) {
			struct fixture *f = fixture_new(test, format);

			f->seed += round;
			for (i = 0; i < 400 && !f->m.error; i++)
				model_step(&f->m);
			KUNIT_EXPECT_STREQ_MSG(test, f->m.error ?: "", "", "round %u, step %u",
					       round, i);
			fixture_end(test, f);
		}
	}
}

/* Pages of one size have to go before there are pages of another. */
static void npt_sizes(struct kunit *test)
{
	const struct mote_npt_format *format;

	for_each_format(format) {
		struct fixture *f = fixture_new(test, format);
		struct model *m = &f->m;

		model_map(m, 0, 3, 1, 0, true);
		KUNIT_EXPECT_EQ(test, model_tables(m), 2);
		model_access(m, 12345, true);
		model_map(m, 0, 2, 1, 0, true);
		KUNIT_EXPECT_EQ(test, model_tables(m), 3);
		model_map(m, 513, 1, 1, 0, true);
		KUNIT_EXPECT_EQ(test, model_tables(m), 4);
		model_check(m, 0, 2048);
		model_map(m, 513, 1, 1, 1, false);
		model_map(m, 512, 2, 1, 0, true);
		KUNIT_EXPECT_EQ(test, model_tables(m), 3);
		model_map(m, 0, 3, 1, 0, false);
		KUNIT_EXPECT_EQ(test, model_tables(m), 2);
		fixture_end(test, f);
	}
}

/* The last page of the address space, and the first. */
static void npt_edges(struct kunit *test)
{
	struct fixture *f = fixture_new(test, &formats[0]);
	struct model *m = &f->m;
	struct mote_npt_changes changes = {};
	struct mote_npt_cache cache = {};
	struct npt_iter it;
	u64 *entry;

	model_map(m, MODEL_PAGES - 1, 1, 1, 0, true);
	model_change(m, MODEL_PAGES - 1, MODEL_PAGES, m->npt.format->write);
	model_change(m, MODEL_PAGES - 1, MODEL_PAGES, MOTE_NPT_UNMAP);
	KUNIT_EXPECT_EQ(test, model_tables(m), 1);

	model_map(m, MODEL_PAGES - 1, 1, 1, 0, true);
	model_fill(&cache, 3);
	KUNIT_ASSERT_EQ(test, mote_npt_entry(&m->npt, &cache, 0, 1, &entry), 0);
	KUNIT_EXPECT_TRUE(test, mote_npt_map(&m->npt, entry, 1, model_hpa(0, 1), false));
	KUNIT_EXPECT_EQ(test, model_tables(m), 7);

	npt_iter_begin(&it, &m->npt, 0, 1ULL << MOTE_NPT_BITS);
	/* A walk over everything: leaf, then its tables, then the other leaf. */
	KUNIT_ASSERT_TRUE(test, npt_iter_find(&it));
	KUNIT_EXPECT_EQ(test, it.gpa, 0);
	KUNIT_EXPECT_EQ(test, it.level, 1);
	KUNIT_EXPECT_PTR_EQ(test, it.entry, entry);
	npt_iter_skip(&it);
	KUNIT_ASSERT_TRUE(test, npt_iter_find(&it));
	KUNIT_EXPECT_EQ(test, it.level, 2);
	npt_iter_skip(&it);
	KUNIT_ASSERT_TRUE(test, npt_iter_find(&it));
	KUNIT_EXPECT_EQ(test, it.level, 3);
	npt_iter_skip(&it);
	KUNIT_ASSERT_TRUE(test, npt_iter_find(&it));
	KUNIT_EXPECT_EQ(test, it.level, 4);
	npt_iter_skip(&it);
	KUNIT_ASSERT_TRUE(test, npt_iter_find(&it));
	KUNIT_EXPECT_EQ(test, it.level, 1);
	KUNIT_EXPECT_EQ(test, it.gpa, (1ULL << MOTE_NPT_BITS) - 4096);

	/* An empty range holds nothing. */
	npt_iter_begin(&it, &m->npt, 4096, 4096);
	KUNIT_EXPECT_FALSE(test, npt_iter_find(&it));

	KUNIT_EXPECT_TRUE(test, mote_npt_change(&m->npt, 0, 4096, MOTE_NPT_UNMAP, &changes) >= 4096);
	KUNIT_EXPECT_TRUE(test, changes.flush);
	KUNIT_EXPECT_EQ(test, model_tables(m), 4);
	model_settle(m, &changes);
	fixture_end(test, f);
}

/* A range with much in it is unmapped in pieces. */
static void npt_pieces(struct kunit *test)
{
	struct fixture *f = fixture_new(test, &formats[1]);
	struct model *m = &f->m;
	struct mote_npt_changes changes = {};
	u64 gpa = MODEL_BASE;
	u32 i, pieces = 0;

	for (i = 0; i < 8; i++)
		model_map(m, i * 512, 1, 512, 0, true);
	KUNIT_EXPECT_EQ(test, model_tables(m), 11);
	while (gpa < MODEL_BASE + (8ULL << 21)) {
		gpa = mote_npt_change(&m->npt, gpa, MODEL_BASE + (8ULL << 21), MOTE_NPT_UNMAP, &changes);
		KUNIT_EXPECT_TRUE(test, changes.flush);
		model_settle(m, &changes);
		pieces++;
	}
	KUNIT_EXPECT_EQ(test, pieces, 8 * 512 * (1 + PIECE_LEAF) / PIECE);
	KUNIT_EXPECT_EQ(test, model_tables(m), 1);
	memset(m->page, 0, 8 * 512 * sizeof(*m->page));
	fixture_end(test, f);
}

/* A mapping is upgraded in place and never downgraded by a fault. */
static void npt_upgrade(struct kunit *test)
{
	struct fixture *f = fixture_new(test, &formats[0]);
	struct mote_npt_changes changes = {};
	struct mote_npt_cache cache = {};
	struct mote_npt *npt = &f->m.npt;
	u64 *entry;

	model_fill(&cache, 3);
	KUNIT_ASSERT_EQ(test, mote_npt_entry(npt, &cache, MODEL_BASE, 1, &entry), 0);
	mote_npt_map(npt, entry, 1, model_hpa(0, 0), false);
	KUNIT_EXPECT_EQ(test, *entry, model_hpa(0, 0) | 0x5);
	*entry |= 0x20;
	mote_npt_map(npt, entry, 1, model_hpa(0, 0), true);
	KUNIT_EXPECT_EQ(test, *entry, model_hpa(0, 0) | 0x27);
	mote_npt_map(npt, entry, 1, model_hpa(0, 0), false);
	KUNIT_EXPECT_EQ(test, *entry, model_hpa(0, 0) | 0x27);
	KUNIT_EXPECT_FALSE(test, mote_npt_map(npt, entry, 1, model_hpa(0, 1), false));
	KUNIT_EXPECT_EQ(test, *entry, model_hpa(0, 0) | 0x27);
	mote_npt_change(npt, MODEL_BASE, MODEL_BASE + 4096, MOTE_NPT_UNMAP, &changes);
	model_settle(&f->m, &changes);
	fixture_end(test, f);
}

/* A page that holds no code, in both formats: a permission that is missing, and a bit that is set. */
static void npt_no_code(struct kunit *test)
{
	static const struct mote_npt_format formats_of[] = {
		{ .present = 7, .table = 7, .leaf = 5, .write = 2, .large = 0x80, .code = 4 },
		{ .present = 1, .table = 7, .leaf = 5, .write = 2, .large = 0x80, .code = BIT_ULL(63) },
	};
	static const u64 leaf[] = { 1, BIT_ULL(63) | 5 };
	u32 i;

	for (i = 0; i < ARRAY_SIZE(leaf); i++) {
		struct mote_npt npt = { .format = &formats_of[i] };
		u64 entry = 0;

		KUNIT_EXPECT_TRUE(test, mote_npt_map(&npt, &entry, 1, 0x5000, MOTE_NPT_NO_CODE));
		KUNIT_EXPECT_EQ(test, entry, leaf[i] | 0x5000);
		KUNIT_EXPECT_TRUE(test, mote_npt_map(&npt, &entry, 1, 0x5000,
						     MOTE_NPT_NO_CODE | MOTE_NPT_WRITE));
		KUNIT_EXPECT_EQ(test, entry, leaf[i] | 0x5002);
	}
}

/* However sparse or full, one call does not look at more than it may, and does not forget any. */
static void npt_sparse(struct kunit *test)
{
	struct fixture *f = fixture_new(test, &formats[0]);
	struct mote_npt_changes changes = {};
	struct model *m = &f->m;
	u64 gpa = MODEL_BASE, next, end = MODEL_BASE + (64ULL << 21);
	u32 i, nr;

	for (i = 0; i < 64; i++)
		model_map(m, i * 512 + 255, 1, 1, 0, true);
	for (nr = 0; gpa < end; gpa = next, nr++) {
		next = mote_npt_change(&m->npt, gpa, end, MOTE_NPT_UNMAP, &changes);
		KUNIT_ASSERT_TRUE(test, next > gpa);
	}
	KUNIT_EXPECT_EQ(test, nr, 64 * 512 / PIECE + 1);
	KUNIT_EXPECT_EQ(test, model_tables(m), 1);
	model_settle(m, &changes);
	memset(m->page, 0, 64 * 512 * sizeof(*m->page));
	fixture_end(test, f);
}

/* The guest's use of a page is seen, once, in every format; without such bits it always is. */
static void npt_age(struct kunit *test)
{
	const struct mote_npt_format *format;

	for_each_format(format) {
		struct fixture *f = fixture_new(test, format);
		struct mote_npt *npt = &f->m.npt;
		u64 end = MODEL_BASE + (1ULL << 21);
		bool bits = format->accessed;

		model_map(&f->m, 0, 1, 64, 0, true);
		KUNIT_EXPECT_EQ(test, mote_npt_age(npt, MODEL_BASE, end, false), !bits);
		model_access(&f->m, 63, false);
		KUNIT_EXPECT_TRUE(test, mote_npt_age(npt, MODEL_BASE, end, false));
		KUNIT_EXPECT_EQ(test, mote_npt_age(npt, MODEL_BASE, end - 449 * 4096, true), !bits);
		KUNIT_EXPECT_TRUE(test, mote_npt_age(npt, MODEL_BASE, end, true));
		KUNIT_EXPECT_EQ(test, mote_npt_age(npt, MODEL_BASE, end, true), !bits);
		KUNIT_EXPECT_FALSE(test, mote_npt_age(npt, end, end + 4096, false));
		model_map(&f->m, 512, 2, 1, 0, false);
		model_access(&f->m, 777, false);
		KUNIT_EXPECT_TRUE(test, mote_npt_age(npt, end + 4096, end + 8192, true));
		fixture_end(test, f);
	}
}

static struct kunit_case npt_cases[] = {
	KUNIT_CASE(npt_sparse),
	KUNIT_CASE(npt_age),
	KUNIT_CASE(npt_random),
	KUNIT_CASE(npt_sizes),
	KUNIT_CASE(npt_edges),
	KUNIT_CASE(npt_pieces),
	KUNIT_CASE(npt_upgrade),
	KUNIT_CASE(npt_no_code),
	{}
};

static struct kunit_suite npt_suite = {
	.name = "mote_npt",
	.test_cases = npt_cases,
};

kunit_test_suite(npt_suite);

MODULE_LICENSE("GPL");
