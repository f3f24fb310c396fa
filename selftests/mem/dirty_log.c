// SPDX-License-Identifier: GPL-2.0
/* Dirty logs: exactly what was written since the last look. */
#include <pthread.h>
#include <stdatomic.h>

#include "kselftest_harness.h"
#include "mem.h"
#include "selftest.h"

#define SIZE (8 * MIB)
#define PAGES (SIZE / PAGE)
#define WORDS (PAGES / 64)

FIXTURE(dirty_log)
{
	struct guest guest;
	unsigned char *memory;
	__u64 log[WORDS];
};

FIXTURE_SETUP(dirty_log)
{
	ASSERT_TRUE(server_start(&self->guest));
	self->memory = memory_get(SIZE);
	ASSERT_NE(NULL, self->memory);
	madvise(self->memory, SIZE, MADV_HUGEPAGE);
	memset(self->memory, 1, SIZE);
}

FIXTURE_TEARDOWN(dirty_log)
{
	guest_destroy(&self->guest);
	munmap(self->memory, SIZE);
}

static int log_get(struct guest *guest, __u32 slot, __u64 first, __u64 nr, __u64 *words)
{
	struct mote_dirty dirty = {
		.slot = slot, .first = first, .nr = nr, .bitmap = (unsigned long)words,
	};

	return mote_get_dirty(guest->machine.fd, &dirty);
}

static int count(const __u64 *words, int nr)
{
	int bits = 0;

	while (nr--)
		bits += __builtin_popcountl(*words++);
	return bits;
}

#define LOG_ALL() ASSERT_EQ(0, log_get(&self->guest, 1, 0, PAGES, self->log))
#define WRITE(page) ASSERT_EQ(0, guest_poke(&self->guest, REGION + (page) * PAGE, page))
#define LOGGED(page) (!!(self->log[(page) / 64] & 1ul << (page) % 64))

TEST_F(dirty_log, only_what_was_written)
{
	ASSERT_EQ(0, slot_set(&self->guest, 1, MOTE_SLOT_LOG_DIRTY, REGION, SIZE, self->memory));
	LOG_ALL();
	EXPECT_EQ(0, count(self->log, WORDS));
	guest_peek(&self->guest, REGION);
	guest_peek(&self->guest, REGION + SIZE - 8);
	self->memory[5 * PAGE] = 2; /* not the guest */
	LOG_ALL();
	EXPECT_EQ(0, count(self->log, WORDS));
	WRITE(0);
	WRITE(63);
	WRITE(64);
	WRITE(1000);
	WRITE(PAGES - 1);
	WRITE(1000);
	LOG_ALL();
	EXPECT_EQ(5, count(self->log, WORDS));
	EXPECT_TRUE(LOGGED(0) && LOGGED(63) && LOGGED(64) && LOGGED(1000) && LOGGED(PAGES - 1));
	LOG_ALL();
	EXPECT_EQ(0, count(self->log, WORDS));
	/* What was writable has become read-only again, one by one. */
	WRITE(1000);
	WRITE(1001);
	LOG_ALL();
	EXPECT_EQ(2, count(self->log, WORDS));
	EXPECT_TRUE(LOGGED(1000) && LOGGED(1001));
}

/* Memory that is mapped by large, writable pages when the log is switched on. */
TEST_F(dirty_log, on_and_off)
{
	int round;

	ASSERT_EQ(0, slot_set(&self->guest, 1, 0, REGION, SIZE, self->memory));
	for (round = 0; round < 3; round++) {
		WRITE(0);
		WRITE(700);
		ASSERT_EQ(-EINVAL, log_get(&self->guest, 1, 0, PAGES, self->log));
		ASSERT_EQ(0, slot_set(&self->guest, 1, MOTE_SLOT_LOG_DIRTY, REGION, SIZE,
				      self->memory));
		LOG_ALL();
		EXPECT_EQ(0, count(self->log, WORDS));
		WRITE(701);
		guest_peek(&self->guest, REGION + 702 * PAGE);
		LOG_ALL();
		EXPECT_EQ(1, count(self->log, WORDS));
		EXPECT_TRUE(LOGGED(701));
		WRITE(3);
		/* The same again: the log goes on. */
		ASSERT_EQ(0, slot_set(&self->guest, 1, MOTE_SLOT_LOG_DIRTY, REGION, SIZE,
				      self->memory));
		/* Read-only meanwhile: the log goes on, too. */
		ASSERT_EQ(0, slot_set(&self->guest, 1, MOTE_SLOT_LOG_DIRTY | MOTE_SLOT_READONLY,
				      REGION, SIZE, self->memory));
		EXPECT_EQ(MOTE_EXIT_MMIO, guest_try(&self->guest, JOB_WRITE, REGION, NULL));
		ASSERT_EQ(0, slot_set(&self->guest, 1, MOTE_SLOT_LOG_DIRTY, REGION, SIZE,
				      self->memory));
		WRITE(4);
		LOG_ALL();
		EXPECT_EQ(2, count(self->log, WORDS));
		EXPECT_TRUE(LOGGED(3) && LOGGED(4));
		ASSERT_EQ(0, slot_set(&self->guest, 1, 0, REGION, SIZE, self->memory));
	}
}

TEST_F(dirty_log, parts)
{
	__u64 words[4] = { 0 };
	int i;

	ASSERT_EQ(0, slot_set(&self->guest, 1, MOTE_SLOT_LOG_DIRTY, REGION, SIZE, self->memory));
	for (i = 0; i < 256; i++)
		WRITE(i);
	/* One page of a word; the others stay. */
	ASSERT_EQ(0, log_get(&self->guest, 1, 64, 1, words));
	EXPECT_EQ(1, words[0]);
	ASSERT_EQ(0, log_get(&self->guest, 1, 64, 1, words));
	EXPECT_EQ(0, words[0]);
	ASSERT_EQ(0, log_get(&self->guest, 1, 64, 65, words));
	EXPECT_EQ(~1ul, words[0]);
	EXPECT_EQ(1, words[1]);
	ASSERT_EQ(0, log_get(&self->guest, 1, 0, 256, words));
	EXPECT_EQ(~0ul, words[0]);
	EXPECT_EQ(0, words[1]);
	EXPECT_EQ(~1ul, words[2]);
	EXPECT_EQ(~0ul, words[3]);
}

TEST_F(dirty_log, refused)
{
	struct mote_dirty dirty = { .slot = 1, .pad = 1, .nr = 64 };

	ASSERT_EQ(0, slot_set(&self->guest, 1, MOTE_SLOT_LOG_DIRTY, REGION, SIZE - 3 * PAGE,
			      self->memory));
	WRITE(0);
	EXPECT_EQ(-ENOENT, log_get(&self->guest, 2, 0, 64, self->log));
	EXPECT_EQ(-EINVAL, log_get(&self->guest, 0, 0, 64, self->log)); /* has no log */
	EXPECT_EQ(-EINVAL, log_get(&self->guest, 1, 1, 63, self->log));
	EXPECT_EQ(-EINVAL, log_get(&self->guest, 1, 0, 0, self->log));
	EXPECT_EQ(-EINVAL, log_get(&self->guest, 1, 0, PAGES - 2, self->log));
	EXPECT_EQ(-EINVAL, log_get(&self->guest, 1, PAGES, 1, self->log));
	EXPECT_EQ(-EINVAL, log_get(&self->guest, 1, -64, 64, self->log));
	EXPECT_EQ(-EINVAL, log_get(&self->guest, 1, 64, -64, self->log));
	EXPECT_EQ(-EFAULT, log_get(&self->guest, 1, 0, 64, NULL));
	dirty.bitmap = (unsigned long)self->log;
	EXPECT_EQ(-EINVAL, mote_get_dirty(self->guest.machine.fd, &dirty));
	/* None of it has cost what the log says. */
	ASSERT_EQ(0, log_get(&self->guest, 1, 0, PAGES - 3, self->log));
	EXPECT_EQ(1, count(self->log, WORDS));
}

/* A write that is over the quota; where the CPU logs, the guest does not run at all before there is more. */
static int refused(struct guest *guest, bool has_pml, __u64 gpa, struct mote_run *exit)
{
	int reason = server_job(guest, JOB_WRITE, gpa, 0x5a);

	*exit = *guest->run;
	return has_pml || server_reset(guest) ? reason : -EIO;
}

/*
 * As many pages as it is granted, and the next one when there is more; what is no news is no matter.
 * A CPU that logs lets one more through, and does not say where it was.
 */
TEST_F(dirty_log, quota)
{
	struct mote_run *run = self->guest.run, exit;
	struct mote_info info;
	__u64 before, more, page;

	ASSERT_EQ(0, mote_get_info(self->guest.fd, &info));
	more = info.features >> MOTE_FEATURE_PML & 1;
	page = 700 + more;
	ASSERT_EQ(0, slot_set(&self->guest, 1, MOTE_SLOT_LOG_DIRTY, REGION, SIZE, self->memory));
	WRITE(9);
	before = run->dirty_pages;
	run->dirty_quota = before + 3;
	WRITE(9);
	EXPECT_EQ(before, run->dirty_pages);
	for (int i = 0; i < 3; i++)
		WRITE(i);
	WRITE(1);
	guest_peek(&self->guest, REGION + 700 * PAGE);
	if (more)
		WRITE(700);
	for (int i = 0; i < 2; i++) {
		EXPECT_EQ(MOTE_EXIT_MEMORY, refused(&self->guest, more, REGION + page * PAGE, &exit));
		EXPECT_EQ(-EDQUOT, exit.memory.error);
		EXPECT_EQ(more ? 0 : REGION + page * PAGE, exit.memory.gpa);
		EXPECT_EQ(1, self->memory[page * PAGE]);
		LOG_ALL();
		EXPECT_EQ(i ? 0 : 4 + more, count(self->log, WORDS));
	}
	EXPECT_EQ(before + 3 + more, run->dirty_pages);
	run->dirty_quota++;
	WRITE(page);
	EXPECT_EQ(MOTE_EXIT_MEMORY, refused(&self->guest, more, REGION, &exit));
	LOG_ALL();
	EXPECT_TRUE(count(self->log, WORDS) == 1 && LOGGED(page));
	run->dirty_quota = 0;
	WRITE(0);
	/* What is not logged is not counted. */
	run->dirty_quota = 1;
	ASSERT_EQ(0, slot_set(&self->guest, 1, 0, REGION, SIZE, self->memory));
	WRITE(5);
	EXPECT_EQ(before + 5 + more, run->dirty_pages);
}

/* ---- as in a migration: copy what is logged while the guest runs --------------------- */

/* Writes a growing number to pages in an order that jumps about. */
GUEST(writer, 64,
      "1: inc %rdx\n"
      "imul $1103515245, %rax, %rax\n"
      "add $12345, %rax\n"
      "mov %rax, %rcx\n"
      "shr $16, %rcx\n"
      "and %rsi, %rcx\n"
      "mov %rdx, (%rbx,%rcx)\n"
      "jmp 1b\n");

struct runner {
	struct guest *guest;
	atomic_bool stop;
	int reason;
};

static void *run(void *context)
{
	struct runner *runner = context;

	while (!runner->stop) {
		runner->reason = mote_run(runner->guest->cpu.fd);
		if (runner->reason != -EINTR)
			break;
		runner->guest->run->immediate_exit = 0;
	}
	return NULL;
}

static void ignore(int signal)
{
}

TEST_F(dirty_log, copy_while_running)
{
	struct runner runner = { .guest = &self->guest };
	struct mote_run *shared = self->guest.run;
	unsigned char *copy = memory_get(SIZE);
	long round, rounds = guest_scale(300), logged = 0;
	pthread_t thread;
	size_t i;

	ASSERT_NE(NULL, copy);
	signal(SIGUSR1, ignore);
	ASSERT_EQ(0, slot_set(&self->guest, 1, 0, REGION, SIZE, self->memory));
	guest_start(&self->guest, GUEST_LONG, &guest_writer);
	shared->gpr[MOTE_RBX] = REGION;
	shared->gpr[MOTE_RSI] = SIZE - 8;
	shared->gpr[MOTE_RAX] = 1;
	/* With interrupts on: Bochs leaves a guest that has them off for none of the host's. */
	shared->rflags = 0x202;
	shared->set |= 1u << MOTE_RBX | 1u << MOTE_RSI | 1u << MOTE_RAX | MOTE_SET_RFLAGS;
	ASSERT_EQ(0, pthread_create(&thread, NULL, run, &runner));
	usleep(10000);
	ASSERT_EQ(0, slot_set(&self->guest, 1, MOTE_SLOT_LOG_DIRTY, REGION, SIZE, self->memory));
	memcpy(copy, self->memory, SIZE);
	for (round = 0; round < rounds; round++) {
		/* The last time with the guest stopped. */
		if (round == rounds - 1) {
			runner.stop = true;
			shared->immediate_exit = 1;
			pthread_kill(thread, SIGUSR1);
			pthread_join(thread, NULL);
			EXPECT_EQ(-EINTR, runner.reason);
		}
		LOG_ALL();
		for (i = 0; i < PAGES; i++)
			if (LOGGED(i))
				memcpy(copy + i * PAGE, self->memory + i * PAGE, PAGE);
		logged += count(self->log, WORDS);
		if (round % 16 == 0)
			usleep(1000);
	}
	EXPECT_LT(0, logged);
	EXPECT_EQ(0, memcmp(copy, self->memory, SIZE));
	munmap(copy, SIZE);
}

MOTE_TEST_MAIN
