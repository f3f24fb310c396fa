// SPDX-License-Identifier: GPL-2.0
/*
 * Faults of several vCPUs write nested page tables at the same time, sharing the lock: whatever
 * they race for, each ends with its page mapped, none is mapped wrongly, and no table is lost.
 */
#include <pthread.h>
#include <stdatomic.h>

#include <kunit/test.h>

#include "../kmod/npt.c"

#define THREADS 4
#define ROUNDS 60
#define PAGES (4u * 512)
#define BASE ((1ULL << 39) - PAGES / 2 * 4096ull)	/* across a boundary of all levels */
#define HPA(page) ((1ULL << 33) + (page) * 4096ull)

static const struct mote_npt_format format = {
	.present = 1, .table = 0x7, .leaf = 0x5, .write = 0x2, .large = 0x80,
	.accessed = 0x20, .dirty = 0x40,
};

static struct mote_npt npt;
static pthread_barrier_t barrier;
static atomic_long tables;

static u64 *table_new(void)
{
	tables++;
	return (u64 *)get_zeroed_page(GFP_KERNEL);
}

static void table_free(u64 *table)
{
	tables--;
	free_page((unsigned long)table);
}

static void forget(u64 hpa, u64 size, bool accessed, bool dirty)
{
}

/* Every page, in an order of its own; what it writes is writable at the end. */
static void *fault(void *context)
{
	unsigned long thread = (unsigned long)context;
	struct mote_npt_cache cache = {};
	u32 i, failed = 0;
	u64 *entry;

	pthread_barrier_wait(&barrier);
	for (i = 0; i < PAGES; i++) {
		u32 page = (i * (2 * thread + 1) + thread * 511) % PAGES;

		while (mote_npt_entry(&npt, &cache, BASE + page * 4096ull, 1, &entry) == -ENOMEM)
			while (cache.nr < MOTE_NPT_LEVELS - 1)
				cache.table[cache.nr++] = table_new();
		failed += !mote_npt_map(&npt, entry, 1, HPA(page), page % THREADS == thread);
		if (i % 64 == 0)
			mote_npt_age(&npt, BASE, BASE + PAGES * 4096ull, true);
	}
	while (cache.nr)
		table_free(cache.table[--cache.nr]);
	return (void *)(unsigned long)failed;
}

static void npt_threads(struct kunit *test)
{
	struct mote_npt_changes changes = {};
	u32 round, thread, page;
	pthread_t threads[THREADS];
	u64 *entry, gpa;
	void *failed;

	npt.forget = forget;
	mote_npt_init(&npt, &format, table_new());
	pthread_barrier_init(&barrier, NULL, THREADS);
	for (round = 0; round < ROUNDS; round++) {
		for (thread = 0; thread < THREADS; thread++)
			pthread_create(&threads[thread], NULL, fault, (void *)(unsigned long)thread);
		for (thread = 0; thread < THREADS; thread++) {
			pthread_join(threads[thread], &failed);
			KUNIT_EXPECT_EQ(test, (unsigned long)failed, 0);
		}
		/* The root, two tables each below it at levels 3 and 2, and the last ones. */
		KUNIT_EXPECT_EQ(test, tables, 1 + 2 + 2 + PAGES / 512);
		for (page = 0; page < PAGES; page++) {
			struct mote_npt_cache none = {};

			KUNIT_ASSERT_EQ(test, mote_npt_entry(&npt, &none, BASE + page * 4096ull, 1,
							     &entry), 0);
			KUNIT_ASSERT_EQ(test, *entry & ~0x60ull, HPA(page) | 0x7);
		}
		for (gpa = BASE; gpa < BASE + PAGES * 4096ull;)
			gpa = mote_npt_change(&npt, gpa, BASE + PAGES * 4096ull, MOTE_NPT_UNMAP, &changes);
		while (changes.tables) {
			u64 *table = changes.tables;

			changes.tables = (u64 *)(unsigned long)*table;
			table_free(table);
		}
		KUNIT_EXPECT_EQ(test, tables, 1);
	}
	table_free(npt.root);
}

static struct kunit_case cases[] = { KUNIT_CASE(npt_threads), {} };

static struct kunit_suite suite = { .name = "npt_threads", .test_cases = cases };

kunit_test_suite(suite);

MODULE_LICENSE("GPL");
