/* SPDX-License-Identifier: GPL-2.0 */
/*
 * As much of KUnit as mote's suites use, for a program on this very machine:
 * the same suite runs in the kernel and under sanitizers.  Prints TAP.
 */
#ifndef UNIT_KUNIT_TEST_H
#define UNIT_KUNIT_TEST_H

#include <linux/kernel.h>

struct kunit {
	void *priv;
	int failed;
	void *memory[4096];
	unsigned int nr_memory;
	jmp_buf abort;
};

struct kunit_case {
	const char *name;
	void (*run)(struct kunit *test);
};

struct kunit_suite {
	const char *name;
	int (*init)(struct kunit *test);
	void (*exit)(struct kunit *test);
	struct kunit_case *test_cases;
};

static inline void *kunit_kzalloc(struct kunit *test, size_t size, gfp_t gfp)
{
	void *memory = kzalloc(size, gfp);

	if (test->nr_memory == ARRAY_SIZE(test->memory))
		abort();
	test->memory[test->nr_memory++] = memory;
	return memory;
}

#define kunit_kmalloc(test, size, gfp) kunit_kzalloc(test, size, gfp)
#define kunit_kcalloc(test, n, size, gfp) kunit_kzalloc(test, (n) * (size), gfp)

#define UNIT_CHECK(test, condition, fatal, text, ...)				\
	do {									\
		if (condition)							\
			break;							\
		printf("    # %s:%d: expected %s ", __FILE__, __LINE__, text);	\
		printf(" " __VA_ARGS__);					\
		printf("\n");							\
		(test)->failed = 1;						\
		if (fatal)							\
			longjmp((test)->abort, 1);				\
	} while (0)

#define UNIT_COMPARE(test, a, op, b, fatal, ...)				\
	do {									\
		typeof(a) unit_a = (a);						\
		typeof(b) unit_b = (b);						\
										\
		if (!(unit_a op unit_b))					\
			printf("    # %#llx, %#llx\n",				\
			       (unsigned long long)unit_a, (unsigned long long)unit_b); \
		UNIT_CHECK(test, unit_a op unit_b, fatal, #a " " #op " " #b, ##__VA_ARGS__); \
	} while (0)

#define UNIT_STREQ(test, a, b, fatal, ...)					\
	do {									\
		const char *unit_a = (a), *unit_b = (b);			\
										\
		if (strcmp(unit_a, unit_b))					\
			printf("    # \"%s\", \"%s\"\n", unit_a, unit_b);	\
		UNIT_CHECK(test, !strcmp(unit_a, unit_b), fatal, #a " equals " #b, ##__VA_ARGS__); \
	} while (0)

#define KUNIT_EXPECT_EQ(test, a, b) UNIT_COMPARE(test, a, ==, b, 0)
#define KUNIT_EXPECT_NE(test, a, b) UNIT_COMPARE(test, a, !=, b, 0)
#define KUNIT_EXPECT_LT(test, a, b) UNIT_COMPARE(test, a, <, b, 0)
#define KUNIT_EXPECT_LE(test, a, b) UNIT_COMPARE(test, a, <=, b, 0)
#define KUNIT_EXPECT_GT(test, a, b) UNIT_COMPARE(test, a, >, b, 0)
#define KUNIT_EXPECT_GE(test, a, b) UNIT_COMPARE(test, a, >=, b, 0)
#define KUNIT_EXPECT_EQ_MSG(test, a, b, ...) UNIT_COMPARE(test, a, ==, b, 0, __VA_ARGS__)
#define KUNIT_EXPECT_NE_MSG(test, a, b, ...) UNIT_COMPARE(test, a, !=, b, 0, __VA_ARGS__)
#define KUNIT_EXPECT_PTR_EQ(test, a, b) KUNIT_EXPECT_TRUE(test, (a) == (b))
#define KUNIT_EXPECT_PTR_EQ_MSG(test, a, b, ...) KUNIT_EXPECT_TRUE_MSG(test, (a) == (b), __VA_ARGS__)
#define KUNIT_EXPECT_NULL(test, a) KUNIT_EXPECT_TRUE(test, !(a))
#define KUNIT_EXPECT_NOT_NULL(test, a) KUNIT_EXPECT_TRUE(test, a)
#define KUNIT_EXPECT_TRUE(test, a) UNIT_CHECK(test, a, 0, #a)
#define KUNIT_EXPECT_FALSE(test, a) UNIT_CHECK(test, !(a), 0, "not " #a)
#define KUNIT_EXPECT_TRUE_MSG(test, a, ...) UNIT_CHECK(test, a, 0, #a, __VA_ARGS__)
#define KUNIT_EXPECT_FALSE_MSG(test, a, ...) UNIT_CHECK(test, !(a), 0, "not " #a, __VA_ARGS__)
#define KUNIT_EXPECT_STREQ(test, a, b) UNIT_STREQ(test, a, b, 0)
#define KUNIT_EXPECT_STREQ_MSG(test, a, b, ...) UNIT_STREQ(test, a, b, 0, __VA_ARGS__)
#define KUNIT_ASSERT_EQ(test, a, b) UNIT_COMPARE(test, a, ==, b, 1)
#define KUNIT_ASSERT_EQ_MSG(test, a, b, ...) UNIT_COMPARE(test, a, ==, b, 1, __VA_ARGS__)
#define KUNIT_ASSERT_NE(test, a, b) UNIT_COMPARE(test, a, !=, b, 1)
#define KUNIT_ASSERT_LE(test, a, b) UNIT_COMPARE(test, a, <=, b, 1)
#define KUNIT_ASSERT_TRUE(test, a) UNIT_CHECK(test, a, 1, #a)
#define KUNIT_ASSERT_FALSE(test, a) UNIT_CHECK(test, !(a), 1, "not " #a)
#define KUNIT_ASSERT_TRUE_MSG(test, a, ...) UNIT_CHECK(test, a, 1, #a, __VA_ARGS__)
#define KUNIT_ASSERT_NOT_NULL(test, a) UNIT_CHECK(test, a, 1, #a)
#define KUNIT_ASSERT_NOT_NULL_MSG(test, a, ...) UNIT_CHECK(test, a, 1, #a, __VA_ARGS__)
#define KUNIT_FAIL(test, ...) UNIT_CHECK(test, 0, 0, "to get elsewhere:", __VA_ARGS__)
#define kunit_info(test, ...) (printf("    # "), printf(__VA_ARGS__), printf("\n"))

#define KUNIT_CASE(function) { .name = #function, .run = function }

static inline int unit_run_case(const struct kunit_suite *suite, const struct kunit_case *c,
				unsigned int number)
{
	struct kunit *test = kzalloc(sizeof(*test), GFP_KERNEL);
	int failed;

	if (suite->init && suite->init(test))
		test->failed = 1;
	else if (!setjmp(test->abort))
		c->run(test);
	if (suite->exit)
		suite->exit(test);
	while (test->nr_memory)
		kfree(test->memory[--test->nr_memory]);
	failed = test->failed;
	kfree(test);
	printf("%sok %u - %s: %s\n", failed ? "not " : "", number, suite->name, c->name);
	fflush(stdout);
	return failed;
}

static inline int unit_run(struct kunit_suite **suites, unsigned int nr)
{
	unsigned int i, number = 0;
	struct kunit_case *c;
	int failed = 0;

	for (i = 0; i < nr; i++)
		for (c = suites[i]->test_cases; c->run; c++)
			number++;
	printf("TAP version 13\n1..%u\n", number);
	number = 0;
	for (i = 0; i < nr; i++)
		for (c = suites[i]->test_cases; c->run; c++)
			failed |= unit_run_case(suites[i], c, ++number);
	return failed;
}

/* A program is one file of suites. */
#define kunit_test_suites(...)						\
	int main(void)							\
	{								\
		struct kunit_suite *suites[] = { __VA_ARGS__ };		\
									\
		return unit_run(suites, ARRAY_SIZE(suites));		\
	}
#define kunit_test_suite(suite) kunit_test_suites(&suite)

#endif /* UNIT_KUNIT_TEST_H */
