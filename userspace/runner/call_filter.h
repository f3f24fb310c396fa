/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A filter of system calls, as the kernel takes it (seccomp), of a table of those that are allowed.
 */
#ifndef CALL_FILTER_H
#define CALL_FILTER_H

#include <linux/filter.h>
#include <linux/types.h>
#include <stddef.h>

/* In place of a value: the number of the process that the filter is made in. */
#define FILTER_OWN_PID (~0ull)

/**
 * struct filter_condition - what an argument has to be; all zeros: anything
 * @argument: which, from 0 on
 * @mask: of these of its bits
 * @value: they have this value, which has no others; or it is %FILTER_OWN_PID
 */
struct filter_condition {
	unsigned int argument;
	__u64 mask;
	__u64 value;
};

/**
 * struct filter_rule - a system call that is answered
 * @call: its number
 * @threads: whose, as a mask
 * @error: 0: it is made; else it is not, and returns this errno
 * @conditions: if all of these hold
 */
struct filter_rule {
	unsigned int call;
	unsigned int threads;
	int error;
	struct filter_condition conditions[2];
};

/* Longer ones are refused: a jump of theirs could be too far for its instruction. */
#define FILTER_MOST 512

/**
 * struct filter - a program for the kernel
 * @len: instructions
 * @is_full: there was no room for all of them
 * @held: offset of what the accumulator holds where the next one is; -1: not known
 * @code: they
 */
struct filter {
	unsigned int len;
	_Bool is_full;
	int held;
	struct sock_filter code[FILTER_MOST];
};

/**
 * filter_build() - make a filter
 * @filter: it
 * @rules: of one call the first one that holds counts; what none answers raises SIGSYS, and a call of another
 *	architecture's is the end of the process
 * @nr: of them
 * @threads: only rules of these
 * Return: 0, or -E2BIG
 */
int filter_build(struct filter *filter, const struct filter_rule *rules, size_t nr, unsigned int threads);

#endif /* CALL_FILTER_H */
