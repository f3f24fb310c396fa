/* SPDX-License-Identifier: GPL-2.0 */
/* What the programs of this folder that are no KUnit suites run and say. */
#ifndef TESTS_H
#define TESTS_H

#include <stdbool.h>
#include <stdio.h>

/**
 * struct unit_test - a test
 * @name: for its line
 * @run: it; what is bad it says by CHECK() and EQ()
 * @is_good: or this, which says it by what it returns
 */
struct unit_test {
	const char *name;
	void (*run)(void);
	bool (*is_good)(void);
};

static unsigned int nr_bad, nr_run, nr_failed;
static char said[512];	/* what the code has said last, if the program notes that */

static inline void look(bool good, const char *what, unsigned long long got, int line)
{
	if (good || nr_bad++ > 20)
		return;
	printf("# line %d: %s (0x%llx) %s\n", line, what, got, said);
}

#define CHECK(good) look(good, #good, 0, __LINE__)
#define EQ(want, got)									\
	do {										\
		unsigned long long got_ = (got);					\
		look((unsigned long long)(want) == got_, #want " == " #got, got_, __LINE__);	\
	} while (0)

/* Run them; @how: behind their names. */
static inline void run_each(const struct unit_test *tests, unsigned int nr, const char *how)
{
	for (; nr; nr--, tests++) {
		nr_bad = 0;
		said[0] = 0;
		if (tests->run)
			tests->run();
		else
			nr_bad = !tests->is_good();
		nr_failed += !!nr_bad;
		printf("%s %u %s%s\n", nr_bad ? "not ok" : "ok", ++nr_run, tests->name, how);
	}
}

/* Run all that there are; the program's exit status. */
static inline int run_all(const struct unit_test *tests, unsigned int nr)
{
	printf("TAP version 13\n1..%u\n", nr);
	run_each(tests, nr, "");
	return nr_failed ? 1 : 0;
}

#endif /* TESTS_H */
