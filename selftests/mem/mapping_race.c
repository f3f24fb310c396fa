// SPDX-License-Identifier: GPL-2.0
/*
 * Memory that changes under running vCPUs.
 *
 * Each page begins with a stamp that only grows. Once the owner has replaced a
 * page and says so in a table of least stamps, a vCPU that still finds an
 * older one has a translation that should be gone. The vCPUs write, too:
 * pages that the owner gets afresh must not change by themselves.
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <time.h>

#include "kselftest_harness.h"
#include "mem.h"
#include "selftest.h"

#define SIZE (4 * MIB)
#define PAGES (SIZE / PAGE)
#define NOISE (32 * 1024)	/* KiB; the guest's memory is among it */
#define CPUS 2
#define LEAST GUEST_FREE
#define ROUNDS (LEAST + PAGES * 8)
#define STALE_PORT 0x81

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif

/* RBX: memory, RCX: its size, RSI: least stamps, R8: counts rounds, RBP: to be written. */
GUEST(checker, 64,
      "1: xor %edx, %edx\n"
      "2: mov %rdx, %r9\n"
      "shr $9, %r9\n"
      "mov (%rsi,%r9), %rax\n"
      "mov (%rbx,%rdx), %rdi\n"
      "test %rdi, %rdi\n"
      "jz 3f\n"
      "cmp %rax, %rdi\n"
      "jb 4f\n"
      "3: mov %rbp, 8(%rbx,%rdx)\n"
      "add $4096, %rdx\n"
      "cmp %rcx, %rdx\n"
      "jb 2b\n"
      "incq (%r8)\n"
      "jmp 1b\n"
      "4: out %al, $0x81\n"
      "jmp 4b\n");

struct checker {
	struct mote_cpu *cpu;
	pthread_t thread;
	atomic_bool stop;
	long misses;	/* exits because there was no memory just then */
	int bad;	/* the reason of an exit that should not be */
	__u64 found, least, at;
};

FIXTURE(mapping_race)
{
	struct guest guest;
	struct mote_cpu more[CPUS - 1];
	struct checker checker[CPUS];
	unsigned char *memory;
	__u64 stamp;
	time_t end;
	long available;
};

static void *check(void *context)
{
	struct checker *c = context;
	struct mote_run *run = c->cpu->run;

	while (!c->stop) {
		int err = mote_run(c->cpu->fd);

		if (err == -EINTR)
			continue;
		if (!err && (run->reason == MOTE_EXIT_MEMORY || run->reason == MOTE_EXIT_MMIO)) {
			c->misses++;
			continue;
		}
		c->bad = err ?: (int)run->reason;
		c->found = run->gpr[MOTE_RDI];
		c->least = run->gpr[MOTE_RAX];
		c->at = run->gpr[MOTE_RDX];
		break;
	}
	return NULL;
}

static void ignore(int signal)
{
}

static volatile __u64 *least(struct guest *guest, size_t page)
{
	return (__u64 *)(guest->ram + LEAST) + page;
}

static volatile __u64 *rounds(struct guest *guest, int cpu)
{
	return (__u64 *)(guest->ram + ROUNDS) + 8 * cpu;
}

/* For how long a test goes on: a second of Bochs's lasts many. */
static long seconds(void)
{
	const char *host = getenv("MOTE_LAB");
	bool slow = host && strcmp(host, "svm");

	return guest_rounds(5, 3000) / (slow ? 5 : 1) ?: 1;
}

/* What the host could still give, in KiB. */
static long available(void)
{
	FILE *meminfo = fopen("/proc/meminfo", "r");
	char line[128];
	long kib = 0;

	while (meminfo && fgets(line, sizeof(line), meminfo) &&
	       sscanf(line, "MemAvailable: %ld", &kib) != 1)
		;
	if (meminfo)
		fclose(meminfo);
	return kib;
}

FIXTURE_SETUP(mapping_race)
{
	struct guest *guest = &self->guest;
	struct mote_state state;
	int i;

	signal(SIGUSR1, ignore);
	guest_create(guest);
	self->memory = memory_get(SIZE);
	ASSERT_NE(NULL, self->memory);
	ASSERT_EQ(0, slot_set(guest, 1, 0, REGION, SIZE, self->memory));
	guest_start(guest, GUEST_LONG, &guest_checker);
	guest_get(guest, &state, MOTE_STATE_GPRS | MOTE_STATE_SEGS | MOTE_STATE_CRS |
		  MOTE_STATE_MSRS);
	/* Interrupts are on: for a guest with interrupts off Bochs leaves none out either. */
	state.gprs.rflags |= 0x200;
	state.gprs.gpr[MOTE_RBX] = REGION;
	state.gprs.gpr[MOTE_RCX] = SIZE;
	state.gprs.gpr[MOTE_RSI] = LEAST;
	state.gprs.gpr[MOTE_RBP] = 0xdeadbeef;
	for (i = 0; i < CPUS; i++) {
		struct mote_cpu *cpu = i ? &self->more[i - 1] : &guest->cpu;

		if (i)
			ASSERT_EQ(0, mote_cpu_create(cpu, &guest->machine, i));
		state.gprs.gpr[MOTE_R8] = ROUNDS + 64 * i;
		ASSERT_EQ(0, mote_set_state(cpu->fd, &state));
		self->checker[i].cpu = cpu;
	}
	self->end = time(NULL) + seconds();
	self->available = available();
}

FIXTURE_TEARDOWN(mapping_race)
{
	int i;

	for (i = 0; i < CPUS - 1; i++)
		mote_cpu_destroy(&self->more[i]);
	guest_destroy(&self->guest);
	munmap(self->memory, SIZE);
}

/* At most so many rounds, or those of some seconds in which all vCPUs came around. */
static bool go_on(struct guest *guest, time_t end, long round, long most)
{
	int i;

	if (round >= most)
		return false;
	if (time(NULL) < end)
		return true;
	for (i = 0; i < CPUS; i++)
		if (!*rounds(guest, i))
			return true;
	return false;
}

#define START()									\
	do {									\
		for (int i = 0; i < CPUS; i++)					\
			ASSERT_EQ(0, pthread_create(&self->checker[i].thread, NULL, check, \
						    &self->checker[i]));	\
	} while (0)

/* A signal may come just before the entry: hence the run page's flag. */
#define STOP()									\
	do {									\
		for (int i = 0; i < CPUS; i++) {				\
			struct checker *c = &self->checker[i];			\
										\
			c->stop = true;						\
			c->cpu->run->immediate_exit = 1;			\
			pthread_kill(c->thread, SIGUSR1);			\
			pthread_join(c->thread, NULL);				\
			EXPECT_EQ(0, c->bad) {					\
				TH_LOG("%s, page %llu: found %llu, least is %llu", \
				       guest_exit_name(c->bad), c->at / PAGE, c->found, \
				       c->least);				\
			}							\
			EXPECT_LT(0, *rounds(&self->guest, i));			\
			TH_LOG("vCPU %d: %llu rounds, %ld misses", i,		\
			       (unsigned long long)*rounds(&self->guest, i), c->misses); \
		}								\
		/* What was taken is given back: less than a page in ten rounds of the long run. */ \
		EXPECT_LT(self->available - NOISE, available());		\
		TH_LOG("%ld rounds of changes", round);				\
	} while (0)

/* Give a page its next stamp. */
static void stamp(struct guest *guest, unsigned char *memory, size_t page, __u64 value)
{
	*(volatile __u64 *)(memory + page * PAGE) = value;
	*least(guest, page) = value;
}

/* Memory that was just given back comes back to us: nobody else may write it. */
static bool canary_lives(__u64 *canary, size_t words)
{
	size_t i;

	for (i = 0; i < words; i++)
		if (canary[i] != ~i)
			return false;
	return true;
}

static __u64 *canary_new(size_t size)
{
	__u64 *canary = mmap(NULL, size, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	size_t i;

	for (i = 0; i < size / 8; i++)
		canary[i] = ~i;
	return canary;
}

static unsigned int draw(unsigned int n)
{
	static __u64 state = 88172645463325252ul;

	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (state >> 16) % n;
}

/* One change by the owner to some pages; they are zero, or as they were, after it. */
static void change(unsigned char *where, size_t size, unsigned int what)
{
	switch (what) {
	case 0:
	case 1:
	case 2:
		madvise(where, size, MADV_DONTNEED);
		break;
	case 3:
		mmap(where, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
		     -1, 0);
		break;
	case 4:
		munmap(where, size);
		mmap(where, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
		     -1, 0);
		break;
	case 5:
		mprotect(where, size, PROT_READ);
		mprotect(where, size, PROT_READ | PROT_WRITE);
		break;
	case 6:
		mprotect(where, size, PROT_NONE);
		mprotect(where, size, PROT_READ | PROT_WRITE);
		break;
	case 7:
		madvise(where, size, MADV_PAGEOUT);
		madvise(where, size, MADV_DONTNEED);
		break;
	}
}

TEST_F(mapping_race, pages)
{
	long round;

	START();
	for (round = 0; go_on(&self->guest, self->end, round, 100000); round++) {
		size_t nr = draw(16) ? 1 : 1 + draw(600);
		size_t page = draw(PAGES), i;
		__u64 *canary;

		if (nr > PAGES - page)
			nr = PAGES - page;
		change(self->memory + page * PAGE, nr * PAGE, draw(8));
		canary = canary_new(nr * PAGE);
		for (i = page; i < page + nr; i++)
			stamp(&self->guest, self->memory, i, ++self->stamp);
		ASSERT_TRUE(canary_lives(canary, nr * PAGE / 8));
		munmap(canary, nr * PAGE);
	}
	STOP();
}

/* The same few pages are lost and faulted in again and again: both meet each time. */
TEST_F(mapping_race, few_pages)
{
	const size_t few = 2;
	long round;
	int i;

	for (i = 0; i < CPUS; i++) {
		self->checker[i].cpu->run->gpr[MOTE_RCX] = few * PAGE;
		self->checker[i].cpu->run->set = 1u << MOTE_RCX;
	}
	START();
	for (round = 0; go_on(&self->guest, self->end, round, 1000000); round++) {
		size_t page = round % few;

		madvise(self->memory + page * PAGE, PAGE, MADV_DONTNEED);
		stamp(&self->guest, self->memory, page, ++self->stamp);
	}
	STOP();
}

/* Copies on write: after a fork all pages are shared until somebody writes. */
TEST_F(mapping_race, fork)
{
	long round;
	int status;
	size_t i;

	START();
	for (round = 0; go_on(&self->guest, self->end, round, 500); round++) {
		__u64 before = self->stamp, *mine = (__u64 *)self->memory;
		pid_t pid = fork();

		if (!pid) {
			bool right = true;

			/* This copy has stood still since the fork. */
			for (i = 0; i < PAGES; i++)
				right &= mine[i * PAGE / 8] <= before;
			_exit(!right);
		}
		for (i = round % 7; i < PAGES; i += 7)
			stamp(&self->guest, self->memory, i, ++self->stamp);
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		ASSERT_EQ(0, status);
	}
	STOP();
}

/* Slots are added, moved and removed, and show one memory or another. */
TEST_F(mapping_race, slots)
{
	unsigned char *memory[2] = { self->memory, memory_get(SIZE) };
	struct guest *guest = &self->guest;
	long round;
	size_t i;

	ASSERT_NE(NULL, memory[1]);
	START();
	for (round = 0; go_on(&self->guest, self->end, round, 100000); round++) {
		unsigned char *now = memory[round & 1], *before = memory[~round & 1];
		unsigned int flags = draw(4) ? 0 : MOTE_SLOT_LOG_DIRTY;

		/* What is not shown any more is stale. */
		self->stamp++;
		for (i = 0; i < PAGES; i += 64)
			*(volatile __u64 *)(now + i * PAGE) = self->stamp;
		switch (draw(4)) {
		case 0:
			ASSERT_EQ(0, slot_set(guest, 1, 0, 0, 0, NULL));
			break;
		case 1:
			ASSERT_EQ(0, slot_set(guest, 1, 0, 8 * REGION, SIZE, before));
			break;
		case 2:
			ASSERT_EQ(0, slot_set(guest, 1, MOTE_SLOT_READONLY, REGION, SIZE, before));
			break;
		}
		ASSERT_EQ(0, slot_set(guest, 1, flags, REGION, SIZE, now));
		for (i = 0; i < PAGES; i += 64)
			*least(guest, i) = self->stamp;
		if (draw(8) == 0)
			madvise(before, SIZE, MADV_DONTNEED);
	}
	STOP();
	munmap(memory[1], SIZE);
}

MOTE_TEST_MAIN
