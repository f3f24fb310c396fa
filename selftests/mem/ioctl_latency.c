// SPDX-License-Identifier: GPL-2.0
/*
 * No call holds its CPU for long, however much it has to do: another thread on
 * the same CPU goes on within a second (CVE-2020-36310, CVE-2020-36311).
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "mem.h"
#include "selftest.h"

#define SECOND 1000000000l	/* in nanoseconds */
#define LARGE (16 * MIB)	/* of which each page is mapped */
#define HUGE (1ul << 38)	/* of which none is: MOTE_MAX_DIRTY pages */

/* Reads a word of each page: RCX bytes from RBX on. */
GUEST(reader, 64, "1: out %al, $0x80\n"
		  "2: mov (%rbx), %rax; add $0x1000, %rbx; sub $0x1000, %rcx; jnz 2b; jmp 1b");

static __u64 bitmap[MOTE_MAX_DIRTY / 64];

static long now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * SECOND + time.tv_nsec;
}

/* How long is too long: where the clock counts instructions nothing else can be the cause. */
static long bound(void)
{
	const char *host = getenv("MOTE_LAB");

	return host && strcmp(host, "svm") ? SECOND / 10 : SECOND;
}

/* ---- the other thread ---------------------------------------------------------------- */

static volatile bool over, asleep;
static volatile long last, longest;

static void *watch(void *unused)
{
	while (!over) {
		long time = now();

		if (asleep)
			usleep(1000);

		if (time - last > longest)
			longest = time - last;
		last = time;
	}
	return NULL;
}

/* ---- the calls, each at its largest ---------------------------------------------------- */

static void *memory;

static int slot_large(struct guest *guest)
{
	return slot_set(guest, 1, 0, REGION, LARGE, memory);
}

static int log_large(struct guest *guest)
{
	return slot_set(guest, 1, MOTE_SLOT_LOG_DIRTY, REGION, LARGE, memory);
}

static int move_large(struct guest *guest)
{
	return slot_set(guest, 1, 0, 2 * REGION, LARGE, memory);
}

static int remove_large(struct guest *guest)
{
	return slot_set(guest, 1, 0, 0, 0, NULL);
}

static int drop_pages(struct guest *guest)
{
	return madvise(memory, LARGE, MADV_DONTNEED);
}

static int log_huge(struct guest *guest)
{
	/* There need be no memory: a fault would tell. */
	return slot_set(guest, 2, MOTE_SLOT_LOG_DIRTY, HUGE, HUGE, (void *)HUGE);
}

static int get_dirty(struct guest *guest)
{
	struct mote_dirty dirty = {
		.slot = 2, .nr = MOTE_MAX_DIRTY, .bitmap = (unsigned long)bitmap,
	};

	return mote_get_dirty(guest->machine.fd, &dirty);
}

static int remove_huge(struct guest *guest)
{
	return slot_set(guest, 2, 0, 0, 0, NULL);
}

static int set_filter(struct guest *guest)
{
	static struct mote_filter_rule rules[MOTE_MAX_RULES];
	struct mote_filter filter = {
		.kind = MOTE_FILTER_MSR, .nr = MOTE_MAX_RULES, .rules = (unsigned long)rules,
	};

	for (__u32 i = 0; i < MOTE_MAX_RULES; i++)
		rules[i] = (struct mote_filter_rule) { 2 * i, 2 * i, MOTE_FILTER_DENY, MOTE_FILTER_READ };
	return mote_set_filter(guest->machine.fd, &filter);
}

static int create_vcpu(struct guest *guest)
{
	guest_create_cpu(guest, 0);
	guest_start(guest, GUEST_LONG, &guest_reader);
	return guest_run(guest) != MOTE_EXIT_PIO;
}

static int destroy(struct guest *guest)
{
	guest_destroy(guest);
	return 0;
}

/* After those marked, the guest reads all of the large slot: each page is mapped. */
static const struct {
	const char *name;
	int (*call)(struct guest *guest);
	bool then_read;
} calls[] = {
	{ "MOTE_SET_FILTER", set_filter },
	{ "MOTE_CREATE_VCPU", create_vcpu },
	{ "MOTE_SET_SLOT", slot_large, true },
	{ "MOTE_SET_SLOT with a log", log_large, true },
	{ "MOTE_SET_SLOT without the log", slot_large, true },
	{ "madvise", drop_pages, true },
	{ "MOTE_SET_SLOT elsewhere", move_large },
	{ "MOTE_SET_SLOT back", slot_large, true },
	{ "MOTE_SET_SLOT of size 0", remove_large },
	{ "MOTE_SET_SLOT again", slot_large, true },
	{ "MOTE_SET_SLOT with a huge log", log_huge },
	{ "MOTE_GET_DIRTY", get_dirty },
	{ "MOTE_SET_SLOT without the huge log", remove_huge },
	{ "close", destroy },
};

#define NR_CALLS (sizeof(calls) / sizeof(calls[0]))

/* In nanoseconds; each in each round. */
static long waited[NR_CALLS];

static bool read_all(struct guest *guest)
{
	guest->run->gpr[MOTE_RBX] = REGION;
	guest->run->gpr[MOTE_RCX] = LARGE;
	guest->run->set |= 1u << MOTE_RBX | 1u << MOTE_RCX;
	return guest_run(guest) == MOTE_EXIT_PIO;
}

FIXTURE(calls)
{
};

FIXTURE_SETUP(calls)
{
}

FIXTURE_TEARDOWN(calls)
{
}

/* Makes each call once; what the other thread has waited is in waited[], the least of all times. */
static int call_all(struct guest *guest)
{
	guest_create_vm(guest, 0);
	for (size_t i = 0; i < NR_CALLS; i++) {
		long from, most;

		asleep = false;
		usleep(2000);
		longest = 0;
		from = now();
		if (calls[i].call(guest))
			return -1;
		/* It may not have come to run again yet. */
		most = now() - last > longest ? now() - last : longest;
		asleep = true;
		printf("# %s: %ld us, waited %ld us\n", calls[i].name, (now() - from) / 1000, most / 1000);
		if (!waited[i] || most < waited[i])
			waited[i] = most;
		if (calls[i].then_read && !read_all(guest))
			return -1;
	}
	return 0;
}

static bool is_over(size_t i)
{
	return waited[i] >= bound();
}

/* The machine beneath may have held up the host, once: a call that is to blame is so each time. */
TEST_F(calls, go_on_beside)
{
	struct guest guest;
	pthread_t thread;
	size_t nr_over = NR_CALLS;

	ASSERT_TRUE(pin_to_cpu(0));
	memory = memory_get(LARGE);
	ASSERT_NE(NULL, memory);
	madvise(memory, LARGE, MADV_NOHUGEPAGE);
	asleep = true;
	ASSERT_EQ(0, pthread_create(&thread, NULL, watch, NULL));
	for (int round = 0; round < 10 && nr_over; round++) {
		nr_over = 0;
		ASSERT_EQ(0, call_all(&guest)) TH_LOG("%m");
		for (size_t i = 0; i < NR_CALLS; i++)
			nr_over += is_over(i);
	}
	for (size_t i = 0; i < NR_CALLS; i++) {
		EXPECT_FALSE(is_over(i)) {
			TH_LOG("%s: waited %ld us", calls[i].name, waited[i] / 1000);
		}
	}
	over = true;
	pthread_join(thread, NULL);
}

MOTE_TEST_MAIN
