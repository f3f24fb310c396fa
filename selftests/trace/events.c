// SPDX-License-Identifier: GPL-2.0
/* Tracepoints: a known sequence of exits gives exactly those events, in that order. */
#include <stdlib.h>

#include "kselftest_harness.h"
#include "guest.h"
#include "libmote.h"
#include "selftest.h"
#include "trace.h"

#define ROUNDS 3
#define FILE_NAME "/tmp/events.trace"

/* What each round shows, without what the host and its memory bring in. */
static const char *const in_a_round[] = {
	"cpuid", "rdmsr", "wrmsr", "pio", "pio", "npf", "hypercall", "hlt",
};

FIXTURE(events)
{
	FILE *list;
	struct command command;
	struct json_object *event;
	char line[1024];
};

FIXTURE_SETUP(events)
{
	command_run(&self->command, "mote trace record --details -o " FILE_NAME " -- ./sequence %d", ROUNDS);
	ASSERT_EQ(0, self->command.status) TH_LOG("%s", self->command.err);
	ASSERT_NE(NULL, strstr(self->command.err, " 0 lost"));
	self->list = popen("mote trace report --events --json " FILE_NAME, "r");
	ASSERT_NE(NULL, self->list);
}

FIXTURE_TEARDOWN(events)
{
	if (self->event)
		json_object_put(self->event);
	pclose(self->list);
	remove(FILE_NAME);
}

/* The next of the file's events of a kind, or false. */
static bool next_event(FIXTURE_DATA(events) * self, const char *kind)
{
	while (fgets(self->line, sizeof(self->line), self->list)) {
		if (self->event)
			json_object_put(self->event);
		self->event = json_tokener_parse(self->line);
		if (self->event && !strcmp(member(self->event, "event"), kind))
			return true;
	}
	return false;
}

/* Nested faults of memory come where they come; that of each round has no memory behind it. */
static bool is_noise(FIXTURE_DATA(events) * self)
{
	const char *reason = member(self->event, "reason");

	return !strcmp(reason, "interrupt") || !strcmp(reason, "none") || !strcmp(reason, "nmi") ||
	       (!strcmp(reason, "npf") && number(self->event, "gpa") < GUEST_SIZE);
}

static bool next_exit(FIXTURE_DATA(events) * self)
{
	while (next_event(self, "exit"))
		if (!is_noise(self))
			return true;
	return false;
}

TEST_F(events, exits_in_order)
{
	unsigned long long last = 0;

	for (int i = 0; i < ROUNDS; i++)
		for (size_t j = 0; j < sizeof(in_a_round) / sizeof(in_a_round[0]); j++) {
			ASSERT_TRUE(next_exit(self));
			EXPECT_STREQ(in_a_round[j], member(self->event, "reason")) TH_LOG("%d.%zu", i, j);
			EXPECT_LT(last, number(self->event, "tsc"));
			last = number(self->event, "tsc");
		}
	ASSERT_TRUE(next_exit(self));
	EXPECT_STREQ("pio", member(self->event, "reason"));
	EXPECT_FALSE(next_exit(self));
}

TEST_F(events, port_io)
{
	for (int i = 0; i < ROUNDS; i++) {
		ASSERT_TRUE(next_event(self, "pio"));
		EXPECT_EQ(0x80, number(self->event, "port"));
		EXPECT_EQ(1, number(self->event, "size"));
		EXPECT_EQ(0, number(self->event, "flags"));
		EXPECT_EQ(0x42, number(self->event, "value"));
		ASSERT_TRUE(next_event(self, "pio"));
		EXPECT_EQ(0x81, number(self->event, "port"));
		EXPECT_EQ(2, number(self->event, "size"));
		EXPECT_EQ(MOTE_PIO_IN, number(self->event, "flags"));
		EXPECT_EQ(SEQUENCE_IN, number(self->event, "value"));
	}
	ASSERT_TRUE(next_event(self, "pio"));
	EXPECT_EQ(SEQUENCE_END, number(self->event, "port"));
	EXPECT_FALSE(next_event(self, "pio"));
}

TEST_F(events, msrs)
{
	for (int i = 0; i < ROUNDS; i++)
		for (unsigned int write = 0; write < 2; write++) {
			ASSERT_TRUE(next_event(self, "msr"));
			EXPECT_EQ(write, number(self->event, "write"));
			EXPECT_EQ(0x277, number(self->event, "index"));
			EXPECT_EQ(0x0007040600070406, number(self->event, "value"));
			EXPECT_EQ(1, number(self->event, "done"));
		}
	EXPECT_FALSE(next_event(self, "msr"));
}

TEST_F(events, cpuid)
{
	for (int i = 0; i < ROUNDS; i++) {
		ASSERT_TRUE(next_event(self, "cpuid"));
		EXPECT_EQ(0x80000000, number(self->event, "leaf"));
		EXPECT_EQ(0, number(self->event, "subleaf"));
	}
	EXPECT_FALSE(next_event(self, "cpuid"));
}

TEST_F(events, hypercalls_and_mmio)
{
	for (int i = 0; i < ROUNDS; i++) {
		ASSERT_TRUE(next_event(self, "mmio"));
		EXPECT_EQ(0x800000, number(self->event, "gpa"));
		EXPECT_EQ(MOTE_ACCESS_READ, number(self->event, "access"));
		ASSERT_TRUE(next_event(self, "hypercall"));
		EXPECT_EQ(MOTE_HYPERCALL_NOP, number(self->event, "number"));
		EXPECT_EQ(0x33, number(self->event, "rcx"));
	}
	EXPECT_FALSE(next_event(self, "hypercall"));
}

/* Memory that the guest touches first is mapped, with what is around it. */
TEST_F(events, nested_faults)
{
	ASSERT_TRUE(next_event(self, "nested_fault"));
	do {
		EXPECT_GT(GUEST_SIZE, number(self->event, "gpa"));
		EXPECT_LE(1, number(self->event, "level"));
		EXPECT_LE(1, number(self->event, "around"));
		EXPECT_EQ(0, number(self->event, "error"));
	} while (next_event(self, "nested_fault"));
}

/* Each exit is handled once, by whom it should be, and takes time. */
TEST_F(events, handled)
{
	static const struct { const char *reason, *where; } in_order[] = {
		{ "cpuid", "fast" }, { "rdmsr", "fast" }, { "wrmsr", "fast" }, { "pio", "user" },
		{ "pio", "user" }, { "mmio", "user" }, { "hypercall", "fast" }, { "hlt", "user" },
	};
	unsigned int nr = sizeof(in_order) / sizeof(in_order[0]), at = 0;

	while (next_event(self, "exit_handled")) {
		if (is_noise(self) || !strcmp(member(self->event, "reason"), "npf"))
			continue;
		EXPECT_STREQ(in_order[at % nr].reason, member(self->event, "reason"));
		/* The host's work may come in between. */
		if (strcmp(in_order[at % nr].where, "fast"))
			EXPECT_STREQ(in_order[at % nr].where, member(self->event, "where"));
		EXPECT_LT(number(self->event, "exit_tsc"), number(self->event, "entry_tsc"));
		at++;
	}
	EXPECT_EQ(ROUNDS * nr, at);
}

TEST_F(events, vcpu_states)
{
	unsigned int at = 0, last = 0;

	while (next_event(self, "vcpu_state")) {
		unsigned int state = number(self->event, "state");

		EXPECT_EQ(at == 0, state == MOTE_VCPU_CREATED);
		if (state == MOTE_VCPU_USER)
			EXPECT_EQ(MOTE_VCPU_RUN, last);
		last = state;
		at++;
	}
	EXPECT_EQ(MOTE_VCPU_DESTROYED, last);
}

MOTE_TEST_MAIN
