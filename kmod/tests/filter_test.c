// SPDX-License-Identifier: GPL-2.0
/* Filters: what is refused, and every number around every edge against a linear search. */
#include <kunit/test.h>
#include <linux/module.h>

#include "../guest/filter.c"

#define ONE(f, l, a, x) { { .first = (f), .last = (l), .action = (a), .access = (x) } }

struct check_case {
	u32 kind;
	u32 nr;
	struct mote_filter_rule rules[2];
	int err;
};

static const struct check_case check_cases[] = {
	{ MOTE_FILTER_PORT, 0, {}, 0 },
	{ MOTE_NR_FILTERS, 0, {}, -EINVAL },
	{ MOTE_FILTER_PORT, MOTE_MAX_RULES + 1, {}, -EINVAL },
	{ MOTE_FILTER_PORT, 1, ONE(0, 0xffff, MOTE_FILTER_DENY, MOTE_FILTER_READ), 0 },
	{ MOTE_FILTER_PORT, 1, ONE(0, 0x10000, MOTE_FILTER_DENY, MOTE_FILTER_READ), -EINVAL },
	{ MOTE_FILTER_MSR, 1, ONE(0, U32_MAX, MOTE_FILTER_FORWARD, MOTE_FILTER_WRITE), 0 },
	{ MOTE_FILTER_MSR, 1, ONE(2, 1, MOTE_FILTER_DENY, BOTH), -EINVAL },
	{ MOTE_FILTER_MSR, 1, ONE(1, 1, MOTE_FILTER_FORWARD + 1, BOTH), -EINVAL },
	{ MOTE_FILTER_MSR, 1, ONE(1, 1, MOTE_FILTER_DENY, 0), -EINVAL },
	{ MOTE_FILTER_MSR, 1, ONE(1, 1, MOTE_FILTER_DENY, 4), -EINVAL },
	{ MOTE_FILTER_CPUID, 1, ONE(1, 1, MOTE_FILTER_DENY, BOTH), 0 },
	{ MOTE_FILTER_CPUID, 1, ONE(1, 1, MOTE_FILTER_DENY, MOTE_FILTER_READ), -EINVAL },
	{ MOTE_FILTER_HYPERCALL, 1, ONE(1, 1, MOTE_FILTER_DENY, MOTE_FILTER_WRITE), -EINVAL },
	{ MOTE_FILTER_MSR, 2, { { 1, 4, 0, BOTH }, { 5, 9, 1, BOTH } }, 0 },
	{ MOTE_FILTER_MSR, 2, { { 1, 4, 0, BOTH }, { 4, 9, 1, BOTH } }, -EINVAL },
	{ MOTE_FILTER_MSR, 2, { { 5, 9, 0, BOTH }, { 1, 4, 1, BOTH } }, -EINVAL },
};

static void filter_check_test(struct kunit *test)
{
	u32 i;

	for (i = 0; i < ARRAY_SIZE(check_cases); i++)
		KUNIT_EXPECT_EQ_MSG(test, check_cases[i].err,
				    mote_filter_check(check_cases[i].kind, check_cases[i].rules,
						      check_cases[i].nr), "case %u", i);
}

static u32 find_linear(const struct mote_filter_rule *rules, u32 nr, u32 number, u32 access)
{
	u32 i;

	for (i = 0; i < nr; i++)
		if (number >= rules[i].first && number <= rules[i].last)
			return rules[i].access & access ? rules[i].action : MOTE_FILTER_DEFAULT;
	return MOTE_FILTER_DEFAULT;
}

static void expect_same(struct kunit *test, const struct mote_filter_rule *rules, u32 nr,
			u32 number)
{
	u32 access;

	for (access = MOTE_FILTER_READ; access <= MOTE_FILTER_WRITE; access++)
		KUNIT_EXPECT_EQ_MSG(test, find_linear(rules, nr, number, access),
				    mote_filter_find(rules, nr, number, access),
				    "%u rules, number %u", nr, number);
}

/* Tables of every size up to 40, of rules with and without gaps between them. */
static void filter_find_test(struct kunit *test)
{
	struct mote_filter_rule rules[40];
	u32 nr, i, number;

	for (nr = 0; nr <= ARRAY_SIZE(rules); nr++) {
		for (i = 0, number = 3; i < nr; i++) {
			rules[i].first = number;
			rules[i].last = number + i % 3;
			rules[i].action = i % 3;
			rules[i].access = 1 + (i + nr) % 3;
			number = rules[i].last + 1 + i % 2;
		}
		KUNIT_EXPECT_EQ(test, 0, mote_filter_check(MOTE_FILTER_MSR, rules, nr));
		for (i = 0; i < number + 3; i++)
			expect_same(test, rules, nr, i);
		expect_same(test, rules, nr, U32_MAX);
	}
	rules[0] = (struct mote_filter_rule){ 0, U32_MAX, MOTE_FILTER_DENY, BOTH };
	KUNIT_EXPECT_EQ(test, MOTE_FILTER_DENY, mote_filter_find(rules, 1, 0, MOTE_FILTER_READ));
	KUNIT_EXPECT_EQ(test, MOTE_FILTER_DENY,
			mote_filter_find(rules, 1, U32_MAX, MOTE_FILTER_WRITE));
}

static struct kunit_case cases[] = {
	KUNIT_CASE(filter_check_test),
	KUNIT_CASE(filter_find_test),
	{}
};

static struct kunit_suite suite = { .name = "mote_filter", .test_cases = cases };
kunit_test_suite(suite);

MODULE_LICENSE("GPL");
