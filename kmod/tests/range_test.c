// SPDX-License-Identifier: GPL-2.0
/* Which of the mm's changes make a fault begin anew: those at its pages, and no others. */
#include <kunit/test.h>

#include "../range.h"

#define PAGES(n) ((n) * 4096ull)

static void range_elsewhere(struct kunit *test)
{
	struct mote_ranges ranges = {};
	u64 seen;
	u32 i;

	mote_range_begin(&ranges, PAGES(100), PAGES(200));
	seen = ranges.ended;
	KUNIT_EXPECT_TRUE(test, mote_range_changes(&ranges, seen, PAGES(199), PAGES(200)));
	KUNIT_EXPECT_FALSE(test, mote_range_changes(&ranges, seen, PAGES(200), PAGES(201)));
	KUNIT_EXPECT_FALSE(test, mote_range_changes(&ranges, seen, PAGES(99), PAGES(100)));
	KUNIT_EXPECT_TRUE(test, mote_range_changes(&ranges, seen, PAGES(99), PAGES(101)));
	/* As many as are remembered end elsewhere during the fault. */
	for (i = 0; i < MOTE_NR_RANGES - 2; i++) {
		mote_range_begin(&ranges, PAGES(300 + i), PAGES(301 + i));
		mote_range_end(&ranges, PAGES(300 + i), PAGES(301 + i));
	}
	KUNIT_EXPECT_FALSE(test, mote_range_changes(&ranges, seen, PAGES(200), PAGES(201)));
	mote_range_end(&ranges, PAGES(100), PAGES(200));
	KUNIT_EXPECT_TRUE(test, mote_range_changes(&ranges, seen, PAGES(100), PAGES(101)));
	KUNIT_EXPECT_FALSE(test, mote_range_changes(&ranges, seen, PAGES(200), PAGES(201)));
	KUNIT_EXPECT_FALSE(test, mote_range_changes(&ranges, ranges.ended, 0, ~0ull));
	KUNIT_EXPECT_EQ(test, ranges.running, 0);
}

/* Against all that ever ran: nothing that matters is missed, however many there are at a time. */
static void range_random(struct kunit *test)
{
	static struct change { u64 start, end, ended; } change[48];
	u64 random = 0x9e3779b97f4a7c15ull, seen = 0, done = 0;
	struct mote_ranges ranges = {};
	u32 step, i, needless = 0, asked = 0;

	memset(change, 0, sizeof(change));
	for (step = 0; step < 20000; step++) {
		bool busy = false;
		u64 start, end;

		random ^= random << 13;
		random ^= random >> 7;
		random ^= random << 17;
		i = random % (step < 2000 ? 12 : 48);
		start = PAGES(random >> 16 & 255);
		end = start + PAGES(1 + (random >> 24 & 15));
		if (!change[i].end || change[i].ended) {
			change[i] = (struct change){ .start = start, .end = end };
			mote_range_begin(&ranges, start, end);
		} else {
			mote_range_end(&ranges, change[i].start, change[i].end);
			change[i].ended = ++done;
		}
		if (random >> 40 & 1)
			seen = ranges.ended;
		for (i = 0; i < 48; i++)
			busy |= change[i].start < end && start < change[i].end &&
				(!change[i].ended || change[i].ended > seen);
		KUNIT_ASSERT_EQ(test, ranges.ended, done);
		if (busy)
			KUNIT_ASSERT_TRUE(test, mote_range_changes(&ranges, seen, start, end));
		else if (step < 2000)
			asked++, needless += mote_range_changes(&ranges, seen, start, end);
	}
	/* With few at a time, few are held up for nothing. */
	KUNIT_EXPECT_TRUE(test, asked > 100);
	KUNIT_EXPECT_TRUE(test, needless < asked / 4);
	for (i = 0; i < 48; i++)
		if (change[i].end && !change[i].ended)
			mote_range_end(&ranges, change[i].start, change[i].end);
	KUNIT_EXPECT_EQ(test, ranges.running, 0);
	KUNIT_EXPECT_FALSE(test, mote_range_changes(&ranges, ranges.ended, 0, ~0ull));
}

static struct kunit_case range_cases[] = {
	KUNIT_CASE(range_elsewhere),
	KUNIT_CASE(range_random),
	{}
};

static struct kunit_suite range_suite = {
	.name = "mote_range",
	.test_cases = range_cases,
};

kunit_test_suite(range_suite);

MODULE_LICENSE("GPL");
