// SPDX-License-Identifier: GPL-2.0
/*
 * mote run --cpu-reserve: each vCPU's thread is promised so much of a processor in each period, by
 * SCHED_DEADLINE (sched(7)).  What nobody else has reserved it may have, too (SCHED_FLAG_RECLAIM).
 *
 * Whether there is so much left is tried before the machine is made, for all of them at once; it is the
 * threads that have it then, each by itself.
 */
#include <errno.h>
#include <linux/sched.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "runner.h"
#include "vm.h"

#define US_MOST 4000000
#define PERIOD_US_LEAST 100

/* As sched_setattr(2) has it. */
struct sched_wish {
	__u32 size;
	__u32 policy;
	__u64 flags;
	__s32 nice;
	__u32 priority;
	__u64 runtime;
	__u64 deadline;
	__u64 period;
};

/* Digits, and a unit; up to @end, or NULL. */
static const char *parse_us(const char *text, __u64 *us)
{
	size_t digits = strspn(text, "0123456789");

	if (!digits || digits > 7)
		return NULL;
	*us = strtoull(text, NULL, 10);
	text += digits;
	if (!strncmp(text, "ms", 2))
		*us *= 1000;
	else if (strncmp(text, "us", 2))
		return NULL;
	return text + 2;
}

int reservation_parse(const char *where, const char *text, void *field)
{
	struct reservation *reservation = field;
	__u64 runtime, period;

	(void)where;
	text = parse_us(text, &runtime);
	if (!text || *text++ != '/')
		return 1;
	text = parse_us(text, &period);
	if (!text || *text || period < PERIOD_US_LEAST || period > US_MOST || !runtime || runtime > period)
		return 1;
	*reservation = (struct reservation) { .runtime_ns = runtime * 1000, .period_ns = period * 1000 };
	return 0;
}

/* For this thread; 0, or an errno. */
static int reserve(const struct reservation *reservation)
{
	const struct sched_wish wish = {
		.size = sizeof(wish), .policy = SCHED_DEADLINE, .flags = SCHED_FLAG_RECLAIM,
		.runtime = reservation->runtime_ns, .deadline = reservation->period_ns,
		.period = reservation->period_ns,
	};

	return syscall(SYS_sched_setattr, 0, &wish, 0) ? errno : 0;
}

static void complain_of(int err, const struct options *options)
{
	const struct reservation *wanted = &options->reservation;

	if (err == EBUSY)
		complain("--cpu-reserve: for each of %u vCPUs the host has no %llu of %llu us left, beside "
			 "what is reserved (sched(7))", options->cpus, wanted->runtime_ns / 1000,
			 wanted->period_ns / 1000);
	else if (err == EPERM)
		complain("--cpu-reserve wants root's rights (CAP_SYS_NICE), and threads that may be on all "
			 "processors (taskset, cpusets)");
	else
		complain("--cpu-reserve: %s", strerror(err));
}

/**
 * struct trial - threads that reserve, and do nothing else
 * @wanted: by each
 * @all: have, or cannot
 * @err: why one cannot
 */
struct trial {
	const struct reservation *wanted;
	pthread_barrier_t all;
	int err;
};

static void *try_one(void *data)
{
	struct trial *trial = data;
	int err = reserve(trial->wanted);

	if (err)
		__atomic_store_n(&trial->err, err, __ATOMIC_RELAXED);
	pthread_barrier_wait(&trial->all);
	return NULL;
}

/* 0, or an errno. */
static int try_all(const struct options *options)
{
	struct trial trial = { .wanted = &options->reservation };
	pthread_t threads[options->cpus];
	unsigned int nr = 0;
	int err = 0;

	/* They all wait until there is one more. */
	pthread_barrier_init(&trial.all, NULL, options->cpus + 1);
	while (nr < options->cpus && !err) {
		err = pthread_create(&threads[nr], NULL, try_one, &trial);
		nr += !err;
	}
	if (err)
		return err;
	pthread_barrier_wait(&trial.all);
	while (nr)
		pthread_join(threads[--nr], NULL);
	pthread_barrier_destroy(&trial.all);
	return trial.err;
}

int reservation_try(const struct options *options)
{
	int err = options->reservation.runtime_ns ? try_all(options) : 0;

	if (err)
		complain_of(err, options);
	return err ? -1 : 0;
}

int reservation_take(const struct options *options)
{
	int err = options->reservation.runtime_ns ? reserve(&options->reservation) : 0;

	if (err)
		complain_of(err, options);
	return err ? -1 : 0;
}
