// SPDX-License-Identifier: GPL-2.0
/*
 * Filters of system calls: what the program says of calls of all kinds, against the rules that it was made
 * of, which are random ones.  The runner's own rules are sandbox_test.c's.
 */
#include <errno.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../userspace/runner/call_filter.h"
#include "tests.h"

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))
#define TABLES 2000
#define RULES 60
#define CALLS_TRIED 520

/* ---- the kernel's part: what seccomp(2) knows of classic BPF, as far as filters have it --------------- */

static bool is_true(const struct sock_filter *code, __u32 value)
{
	return BPF_OP(code->code) == BPF_JEQ ? value == code->k : value >= code->k;
}

static __u32 run(const struct filter *filter, const struct seccomp_data *data)
{
	__u32 value = 0;

	for (unsigned int at = 0; at < filter->len; at++) {
		const struct sock_filter *code = &filter->code[at];

		switch (code->code) {
		case BPF_LD | BPF_W | BPF_ABS:
			memcpy(&value, (const char *)data + code->k, sizeof(value));
			break;
		case BPF_ALU | BPF_AND | BPF_K:
			value &= code->k;
			break;
		case BPF_JMP | BPF_JEQ | BPF_K:
		case BPF_JMP | BPF_JGE | BPF_K:
			at += is_true(code, value) ? code->jt : code->jf;
			break;
		case BPF_RET | BPF_K:
			return code->k;
		default:
			CHECK(!"an instruction that it knows");
			return 0;
		}
	}
	CHECK(!"an end");
	return 0;
}

/* ---- what the rules say --------------------------------------------------------------------------- */

static bool holds(const struct filter_condition *condition, const struct seccomp_data *data)
{
	__u64 value = condition->value == FILTER_OWN_PID ? (__u64)getpid() : condition->value;

	return (data->args[condition->argument] & condition->mask) == value;
}

static __u32 wanted(const struct filter_rule *rules, size_t nr, unsigned int threads,
		    const struct seccomp_data *data)
{
	for (size_t i = 0; i < nr; i++)
		if (rules[i].call == (__u32)data->nr && rules[i].threads & threads &&
		    holds(&rules[i].conditions[0], data) && holds(&rules[i].conditions[1], data))
			return rules[i].error ? SECCOMP_RET_ERRNO | rules[i].error : SECCOMP_RET_ALLOW;
	return SECCOMP_RET_TRAP;
}

/* ---- random ones ----------------------------------------------------------------------------------- */

/* Few values, so that arguments often are what is asked for, also in one half alone. */
static __u64 some_value(void)
{
	static const __u64 values[] = { 0, 1, 2, 0x100000001, 0x100000000, 0xffffffff, 0x200000001 };

	return random() % 20 ? values[random() % LENGTH(values)] : (__u64)getpid();
}

static struct filter_condition some_condition(void)
{
	static const __u64 masks[] = { 0, 1, 3, 0xffffffff, 0xfffffffffffffffe, 0x100000000 };
	struct filter_condition condition = {
		.argument = random() % 3, .mask = masks[random() % LENGTH(masks)],
	};

	condition.value = some_value() & condition.mask;
	if (random() % 10)
		return condition;
	return (struct filter_condition){ condition.argument, 0xffffffff, FILTER_OWN_PID };
}

static unsigned int some_call(void)
{
	return random() % 8 ? random() % 64 : random() % 4 ? random() % 511 : SYS_ioctl;
}

static struct filter_rule some_rule(void)
{
	struct filter_rule rule = { .call = some_call(), .threads = 1 + random() % 3 };

	rule.error = random() % 8 ? 0 : 1 + random() % 100;
	for (int i = 0; i < 2; i++)
		if (random() & 1)
			rule.conditions[i] = some_condition();
	return rule;
}

static struct seccomp_data some_data(unsigned int call)
{
	struct seccomp_data data = { .nr = call, .arch = AUDIT_ARCH_X86_64 };

	for (int i = 0; i < 3; i++)
		data.args[i] = some_value();
	return data;
}

static bool agrees(const struct filter *filter, const struct filter_rule *rules, size_t nr,
		   unsigned int threads, unsigned int call)
{
	const struct seccomp_data data = some_data(call);

	EQ(wanted(rules, nr, threads, &data), run(filter, &data));
	return !nr_bad;
}

/* Every number, those that have rules more often. */
static void of_random_rules(void)
{
	static struct filter filter;
	struct filter_rule rules[RULES];

	srandom(1);
	for (unsigned int table = 0; table < TABLES && !nr_bad; table++) {
		size_t nr = random() % RULES;
		unsigned int threads = 1 + random() % 3;

		for (size_t i = 0; i < nr; i++)
			rules[i] = some_rule();
		EQ(0, filter_build(&filter, rules, nr, threads));
		for (unsigned int call = 0; call < CALLS_TRIED; call++)
			agrees(&filter, rules, nr, threads, call);
		for (unsigned int i = 0; nr && i < 20 * nr; i++)
			agrees(&filter, rules, nr, threads, rules[random() % nr].call);
	}
}

/* Numbers of another architecture, and those that no call has. */
static void of_strangers(void)
{
	static const struct filter_rule rule = { .call = SYS_read, .threads = 1 };
	static const unsigned int numbers[] = { 0x40000000, 0x40000000 + SYS_read, 0x7fffffff, 0xffffffff };
	static struct filter filter;
	struct seccomp_data data = some_data(SYS_read);

	EQ(0, filter_build(&filter, &rule, 1, 1));
	EQ(SECCOMP_RET_ALLOW, run(&filter, &data));
	for (size_t i = 0; i < LENGTH(numbers); i++) {
		data.nr = numbers[i];
		EQ(SECCOMP_RET_TRAP, run(&filter, &data));
	}
	data = some_data(SYS_read);
	data.arch = AUDIT_ARCH_I386;
	EQ(SECCOMP_RET_KILL_PROCESS, run(&filter, &data));
}

/* More than a jump or the program has room for is said, whichever is the first. */
static void of_too_many(void)
{
	static struct filter_rule rules[FILTER_MOST];
	static struct filter filter;
	static const unsigned int calls[] = { SYS_ioctl, SYS_read };

	for (size_t kind = 0; kind < LENGTH(calls); kind++) {
		size_t nr = 0;

		while (nr < LENGTH(rules) && !filter_build(&filter, rules, nr, 1)) {
			agrees(&filter, rules, nr, 1, SYS_exit);
			agrees(&filter, rules, nr, 1, calls[kind]);
			rules[nr] = (struct filter_rule){
				.call = calls[kind], .threads = 1, .conditions = { { 1, 0xffffffff, nr } },
			};
			nr++;
		}
		CHECK(nr > 100 && nr < LENGTH(rules));
		for (; nr < LENGTH(rules); nr++) {
			rules[nr] = rules[nr - 1];
			EQ(-E2BIG, filter_build(&filter, rules, nr + 1, 1));
		}
	}
}

int main(void)
{
	static const struct unit_test tests[] = {
		{ "a filter says what its rules say", .run = of_random_rules },
		{ "and refuses what nobody knows", .run = of_strangers },
		{ "one that is too long is not made", .run = of_too_many },
	};

	return run_all(tests, LENGTH(tests));
}
