// SPDX-License-Identifier: GPL-2.0
/* mote trace latency: counts are those of the run page, histograms those counts. */
#include <stdlib.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "guest.h"
#include "libmote.h"
#include "selftest.h"
#include "trace.h"

#define RESULT "/tmp/latency.json"

static struct json_object *trace(struct command *command, const char *options, const char *words)
{
	command_run(command, "mote trace latency --json -o " RESULT " %s -- ./sequence %s", options, words);
	return command->status ? NULL : json_object_from_file(RESULT);
}

/* In all rows of a reason. */
static unsigned long long traced(struct json_object *root, const char *reason)
{
	struct json_object *rows;
	unsigned long long sum = 0;

	json_object_object_get_ex(root, "rows", &rows);
	for (size_t i = 0; i < json_object_array_length(rows); i++) {
		struct json_object *row = json_object_array_get_idx(rows, i);

		if (!strcmp(member(row, "reason"), reason))
			sum += number(row, "count");
	}
	return sum;
}

static unsigned long long histogram_sum(struct json_object *row)
{
	struct json_object *slots;
	unsigned long long sum = 0;

	json_object_object_get_ex(row, "histogram", &slots);
	for (size_t i = 0; i < json_object_array_length(slots); i++)
		sum += number(json_object_array_get_idx(slots, i), "count");
	return sum;
}

/*
 * No event is lost. An exit is traced when the guest goes on: the last one is not; and what
 * turns out to be MMIO is counted twice by the run page, as a nested fault before.
 */
#define EXPECT_SAME_COUNTS(root, output)						\
	do {										\
		for (int reason = 0; reason < MOTE_NR_EXITS; reason++) {		\
			const char *name = mote_exit_name(reason);			\
			unsigned long long count = counted(output, name);		\
											\
			if (reason == MOTE_EXIT_NPF)					\
				count -= counted(output, "mmio") + counted(output, "memory"); \
			if (reason == MOTE_EXIT_PIO)					\
				count--;						\
			EXPECT_EQ(count, traced(root, name)) TH_LOG("%s", name);	\
		}									\
		EXPECT_EQ(0, number(root, "lost"));					\
	} while (0)

/* For the time that tests may take. */
FIXTURE(latency)
{
	struct command command;
};

FIXTURE_SETUP(latency)
{
}

FIXTURE_TEARDOWN(latency)
{
}

TEST_F(latency, counts_are_those_of_the_run_page)
{
	struct command command;
	struct json_object *root = trace(&command, "", "100");

	ASSERT_NE(NULL, root) TH_LOG("%s", command.err);
	EXPECT_EQ(100, counted(command.out, "cpuid"));
	EXPECT_EQ(201, counted(command.out, "pio"));
	EXPECT_SAME_COUNTS(root, command.out);
	json_object_put(root);
}

TEST_F(latency, histograms_sum_to_the_counts)
{
	struct command command;
	struct json_object *rows, *root = trace(&command, "--by vcpu --by rip", "50");
	unsigned long long sum = 0;

	ASSERT_NE(NULL, root) TH_LOG("%s", command.err);
	json_object_object_get_ex(root, "rows", &rows);
	for (size_t i = 0; i < json_object_array_length(rows); i++) {
		struct json_object *row = json_object_array_get_idx(rows, i);

		EXPECT_EQ(number(row, "count"), histogram_sum(row));
		EXPECT_EQ(0, number(row, "vcpu"));
		EXPECT_LE(GUEST_CODE, number(row, "rip"));
		EXPECT_GE(number(row, "max_ns"), number(row, "p50_ns"));
		EXPECT_GE(number(row, "sum_ns"), number(row, "max_ns"));
		sum += number(row, "count");
	}
	EXPECT_EQ(sum, number(root, "exits"));
	EXPECT_SAME_COUNTS(root, command.out);
	json_object_put(root);
}

/* In the long run ten million. */
TEST_F(latency, many_exits)
{
	long rounds = guest_rounds(50000, 10000000);
	struct command command;
	struct json_object *root;
	char words[64];

	snprintf(words, sizeof(words), "cpuid %ld", rounds);
	root = trace(&command, "", words);
	ASSERT_NE(NULL, root) TH_LOG("%s", command.err);
	EXPECT_EQ(rounds, traced(root, "cpuid"));
	EXPECT_SAME_COUNTS(root, command.out);
	TH_LOG("%ld exits, mote trace itself: %llu ns an exit", rounds, number(root, "overhead_ns"));
	json_object_put(root);
}

/* Another VM's exits are another's. */
TEST_F(latency, filter)
{
	struct command command;
	struct json_object *root = trace(&command, "--vm 77", "10");

	ASSERT_NE(NULL, root) TH_LOG("%s", command.err);
	EXPECT_EQ(0, number(root, "exits"));
	json_object_put(root);
	root = trace(&command, "--vcpu 0", "10");
	ASSERT_NE(NULL, root);
	EXPECT_SAME_COUNTS(root, command.out);
	json_object_put(root);
}

/* Instructions that an exit costs more while its histogram is kept. */
TEST_F(latency, price)
{
	unsigned long long off, on;
	struct command command;
	const char *lab = getenv("MOTE_LAB");

	if (!lab || strcmp(lab, "svm") == 0)
		SKIP(return, "not on this hardware: its TSC does not count instructions");
	command_run(&command, "./sequence cpuid 100000");
	off = counted(command.out, "ticks");
	command_run(&command, "mote trace latency -o /dev/null -- ./sequence cpuid 100000");
	on = counted(command.out, "ticks");
	TH_LOG("an exit: %llu ticks without tracing, %llu with it", off / 100000, on / 100000);
	EXPECT_GE(400, (on - off) / 100000);
}

MOTE_TEST_MAIN
