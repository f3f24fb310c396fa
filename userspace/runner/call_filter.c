// SPDX-License-Identifier: GPL-2.0
/*
 * Filters of system calls: see call_filter.h.
 *
 * The kernel runs a new filter once for each number of a call, to know those that it never has to ask about,
 * so that a list would be dear: numbers are searched by halves.  Neighbours of which the same is said are one
 * run.
 */
#include <errno.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "call_filter.h"

/* All calls have numbers below the last of these, which stands for what is behind. */
#define CALLS 512
/* It is looked at before all others, as a guest's exits wait for it. */
#define FIRST SYS_ioctl

#define LOAD (BPF_LD | BPF_W | BPF_ABS)
#define AND (BPF_ALU | BPF_AND | BPF_K)
#define IF_EQUAL (BPF_JMP | BPF_JEQ | BPF_K)
#define IF_NOT_LESS (BPF_JMP | BPF_JGE | BPF_K)
#define RETURN (BPF_RET | BPF_K)

/* What is said of a call: the same, whatever its arguments are, or what its rules say. */
enum answer { REFUSED, ALLOWED, ASKED };

/**
 * struct run - calls of which the same is said
 * @first: the first one, up to the next run
 * @answer: what
 */
struct run {
	unsigned int first;
	enum answer answer;
};

static void emit(struct filter *filter, __u16 code, __u32 k)
{
	filter->is_full |= filter->len == FILTER_MOST;
	if (!filter->is_full)
		filter->code[filter->len++] = (struct sock_filter){ .code = code, .k = k };
}

/* How far is it from behind the jump at @at to here? */
static __u8 distance(struct filter *filter, unsigned int at)
{
	unsigned int far = filter->len - at - 1;

	filter->is_full |= far > 255;
	return far;
}

/* Go on if a word has such bits; where else emit_rule() says. */
static void emit_compare(struct filter *filter, int offset, __u32 mask, __u32 value)
{
	if (!mask)
		return;
	if (filter->held != offset)
		emit(filter, LOAD, offset);
	filter->held = offset;
	if (mask != ~0u) {
		emit(filter, AND, mask);
		filter->held = -1;
	}
	emit(filter, IF_EQUAL, value);
}

static void emit_condition(struct filter *filter, const struct filter_condition *condition)
{
	const int low = offsetof(struct seccomp_data, args[condition->argument]);
	__u64 value = condition->value == FILTER_OWN_PID ? (__u64)getpid() : condition->value;

	emit_compare(filter, low, condition->mask, value);
	emit_compare(filter, low + 4, condition->mask >> 32, value >> 32);
}

/* Its answer if all of it holds, else what follows. */
static void emit_rule(struct filter *filter, const struct filter_rule *rule)
{
	unsigned int first = filter->len, nr_jumps = 0;

	emit_condition(filter, &rule->conditions[0]);
	emit_condition(filter, &rule->conditions[1]);
	emit(filter, RETURN, rule->error ? SECCOMP_RET_ERRNO | rule->error : SECCOMP_RET_ALLOW);
	for (unsigned int at = first; at < filter->len; at++)
		if (filter->code[at].code == IF_EQUAL) {
			filter->code[at].jf = distance(filter, at);
			nr_jumps++;
		}
	/* Who comes from different places holds different words. */
	if (nr_jumps > 1)
		filter->held = -1;
}

/**
 * struct table - what a filter is made of
 * @rules: all rules
 * @nr: of them
 * @threads: whose count
 */
struct table {
	const struct filter_rule *rules;
	size_t nr;
	unsigned int threads;
};

static void emit_call(struct filter *filter, const struct table *table, unsigned int call)
{
	filter->held = -1;
	for (size_t i = 0; i < table->nr; i++)
		if (table->rules[i].call == call && table->rules[i].threads & table->threads)
			emit_rule(filter, &table->rules[i]);
	emit(filter, RETURN, SECCOMP_RET_TRAP);
}

/* The accumulator holds the number of the call, which is one of these runs'. */
static void emit_runs(struct filter *filter, const struct table *table, const struct run *runs, size_t nr)
{
	unsigned int at = filter->len;

	if (nr == 1) {
		if (runs->answer == ASKED)
			emit_call(filter, table, runs->first);
		else
			emit(filter, RETURN, runs->answer == ALLOWED ? SECCOMP_RET_ALLOW : SECCOMP_RET_TRAP);
		return;
	}
	emit(filter, IF_NOT_LESS, runs[nr / 2].first);
	emit_runs(filter, table, runs, nr / 2);
	if (!filter->is_full)
		filter->code[at].jt = distance(filter, at);
	emit_runs(filter, table, runs + nr / 2, nr - nr / 2);
}

static enum answer answer_of(const struct filter_rule *rule)
{
	return rule->error || rule->conditions[0].mask || rule->conditions[1].mask ? ASKED : ALLOWED;
}

/* How many there are; the tree never meets FIRST. */
static size_t find_runs(struct run runs[CALLS], const struct table *table)
{
	unsigned char answers[CALLS] = { REFUSED };
	size_t nr = 0;

	for (size_t i = table->nr; i--; ) {
		const struct filter_rule *rule = &table->rules[i];

		if (rule->threads & table->threads && rule->call < CALLS - 1)
			answers[rule->call] = answer_of(rule);
	}
	answers[FIRST] = REFUSED;
	for (unsigned int call = 0; call < CALLS; call++)
		if (!call || answers[call] == ASKED || answers[call] != answers[call - 1])
			runs[nr++] = (struct run){ .first = call, .answer = answers[call] };
	return nr;
}

int filter_build(struct filter *filter, const struct filter_rule *rules, size_t nr, unsigned int threads)
{
	const struct table table = { .rules = rules, .nr = nr, .threads = threads };
	struct run runs[CALLS];

	filter->len = 0;
	filter->is_full = false;
	emit(filter, LOAD, offsetof(struct seccomp_data, arch));
	emit(filter, IF_EQUAL, AUDIT_ARCH_X86_64);
	filter->code[1].jt = 1;
	emit(filter, RETURN, SECCOMP_RET_KILL_PROCESS);
	emit(filter, LOAD, offsetof(struct seccomp_data, nr));
	emit(filter, IF_EQUAL, FIRST);
	emit_call(filter, &table, FIRST);
	filter->code[4].jf = distance(filter, 4);
	emit_runs(filter, &table, runs, find_runs(runs, &table));
	return filter->is_full ? -E2BIG : 0;
}
