// SPDX-License-Identifier: GPL-2.0
/* The host's CPUs go offline and come back, one by one and for a suspend, under guests. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "guest.h"
#include "selftest.h"

GUEST(count, 64, "1: inc %rax; out %al, $0x80; jmp 1b");
/* Bochs holds the host's interrupts back where the guest has IF clear. */
GUEST(spin, 64, "sti; 1: incq GUEST_FREE; jmp 1b");
/* Exits that the kernel handles, and then one to here. */
GUEST(exits, 64, "1: mov $100, %esi; 2: xor %eax, %eax; cpuid; dec %esi; jnz 2b; out %al, $0x80; jmp 1b");

#define CPU1_ONLINE "/sys/devices/system/cpu/cpu1/online"
#define PM_TEST "/sys/power/pm_test"
#define PM_DELAY "/sys/module/suspend/parameters/pm_test_delay"

/* Return: 0 or an errno. */
static int put(const char *file, const char *value)
{
	int fd = open(file, O_WRONLY), len = strlen(value), err;

	if (fd < 0)
		return errno;
	err = write(fd, value, len) == len ? 0 : errno;
	close(fd);
	return err;
}

/* The file's first line, without its end; empty if there is none. */
static void get(const char *file, char *line, int size)
{
	FILE *stream = fopen(file, "r");

	if (!stream || !fgets(line, size, stream))
		line[0] = '\0';
	line[strcspn(line, "\n")] = '\0';
	if (stream)
		fclose(stream);
}

static int pin(pthread_t thread, int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return pthread_setaffinity_np(thread, sizeof(set), &set);
}

/**
 * struct spinner - a guest that counts in its memory, and its thread
 * @guest: whose
 * @thread: which
 * @result: of its last run
 */
struct spinner {
	struct guest guest;
	pthread_t thread;
	int result;
};

static void *spinner_run(void *data)
{
	struct spinner *spinner = data;

	spinner->result = guest_run(&spinner->guest);
	return NULL;
}

static int spinner_create(struct spinner *spinner)
{
	guest_create(&spinner->guest);
	guest_start(&spinner->guest, GUEST_LONG, &guest_spin);
	return pthread_create(&spinner->thread, NULL, spinner_run, spinner);
}

/* Does it count, in the end? */
static bool spinner_goes_on(struct spinner *spinner)
{
	volatile __u64 *count = (__u64 *)(spinner->guest.ram + GUEST_FREE);
	__u64 before = *count;

	for (int i = 0; i < 7200000 && *count == before; i++)
		usleep(1000);
	return *count != before;
}

/* Return: what its last run gave, -EINTR if all is well. */
static int spinner_destroy(struct spinner *spinner)
{
	spinner->guest.run->immediate_exit = 1;
	pthread_join(spinner->thread, NULL);
	guest_destroy(&spinner->guest);
	return spinner->result;
}

/* ---- one CPU goes -------------------------------------------------------------------- */

FIXTURE(hotplug)
{
	const char *lacks;
	int fd;
};

FIXTURE_SETUP(hotplug)
{
	if (get_nprocs() == 1)
		self->lacks = "not on this hardware: one CPU";
	else if (access(CPU1_ONLINE, W_OK))
		self->lacks = "not on this kernel: CPUs stay online";
	self->fd = mote_open();
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(hotplug)
{
	if (!self->lacks)
		put(CPU1_ONLINE, "1");
	close(self->fd);
}

/* MOTE_GET_INFO says that nothing is wrong, and these numbers. */
static bool info_is(int fd, __u32 cpus, __u32 vms)
{
	struct mote_info info;

	return !mote_get_info(fd, &info) && info.cpus_online == cpus && info.nr_vms == vms &&
	       !info.nr_obstacles;
}

static void come_and_go(struct __test_metadata *_metadata, int fd, bool pinned)
{
	__u32 cpus = get_nprocs();
	struct spinner spinner;
	struct guest guest;
	__u64 runs = 0;

	guest_create(&guest);
	guest_start(&guest, GUEST_LONG, &guest_count);
	ASSERT_EQ(0, spinner_create(&spinner));
	for (int i = 0; i < 10; i++) {
		/* This guest is out, but was last on the CPU that goes. */
		ASSERT_EQ(0, pin(pthread_self(), 1));
		ASSERT_EQ(MOTE_EXIT_PIO, guest_run(&guest));
		ASSERT_EQ(0, pin(pthread_self(), 0));
		if (pinned)
			ASSERT_EQ(0, pin(spinner.thread, 1));
		ASSERT_TRUE(spinner_goes_on(&spinner));

		ASSERT_EQ(0, put(CPU1_ONLINE, "0"));
		ASSERT_TRUE(spinner_goes_on(&spinner));
		ASSERT_EQ(MOTE_EXIT_PIO, guest_run(&guest));
		EXPECT_TRUE(info_is(fd, cpus - 1, 2));

		ASSERT_EQ(0, put(CPU1_ONLINE, "1"));
		ASSERT_TRUE(spinner_goes_on(&spinner));
		ASSERT_EQ(MOTE_EXIT_PIO, guest_run(&guest));
		EXPECT_TRUE(info_is(fd, cpus, 2));
		runs += 3;
		EXPECT_EQ(runs, guest.run->gpr[MOTE_RAX]);
	}
	EXPECT_EQ(-EINTR, spinner_destroy(&spinner));
	guest_destroy(&guest);
	EXPECT_TRUE(info_is(fd, cpus, 0));
}

TEST_F(hotplug, under_guests)
{
	if (self->lacks)
		SKIP(return, "%s", self->lacks);
	come_and_go(_metadata, self->fd, false);
}

/* The kernel moves who is bound to the CPU that goes. */
TEST_F(hotplug, under_the_guest_of_that_cpu)
{
	if (self->lacks)
		SKIP(return, "%s", self->lacks);
	come_and_go(_metadata, self->fd, true);
}

/* The first VM comes, or the last one goes, while the CPU is away. */
TEST_F(hotplug, between_vms)
{
	__u32 cpus = get_nprocs();
	struct guest guest;

	if (self->lacks)
		SKIP(return, "%s", self->lacks);
	ASSERT_EQ(0, pin(pthread_self(), 0));
	ASSERT_EQ(0, put(CPU1_ONLINE, "0"));
	guest_create(&guest);
	guest_start(&guest, GUEST_LONG, &guest_count);
	ASSERT_EQ(MOTE_EXIT_PIO, guest_run(&guest));
	ASSERT_EQ(0, put(CPU1_ONLINE, "1"));
	EXPECT_TRUE(info_is(self->fd, cpus, 1));
	ASSERT_EQ(0, pin(pthread_self(), 1));
	ASSERT_EQ(MOTE_EXIT_PIO, guest_run(&guest));
	EXPECT_EQ(2, guest.run->gpr[MOTE_RAX]);

	ASSERT_EQ(0, pin(pthread_self(), 0));
	ASSERT_EQ(0, put(CPU1_ONLINE, "0"));
	guest_destroy(&guest);
	ASSERT_EQ(0, put(CPU1_ONLINE, "1"));
	EXPECT_TRUE(info_is(self->fd, cpus, 0));
	ASSERT_EQ(0, pin(pthread_self(), 1));
	guest_create(&guest);
	guest_start(&guest, GUEST_LONG, &guest_count);
	EXPECT_EQ(MOTE_EXIT_PIO, guest_run(&guest));
	guest_destroy(&guest);
}

/* ---- a thread goes to another -------------------------------------------------------- */

/* What the kernel writes on the way back to user space, which mote puts off for a while. */
static __u32 rseq_cpu(void)
{
	const char *thread = __builtin_thread_pointer();

	return ((const volatile struct rseq *)(thread + __rseq_offset))->cpu_id;
}

/* Where it is, asked of the kernel, if it was not moved meanwhile. */
static bool knows_its_cpu(void)
{
	__u32 before, cpu;

	do {
		before = rseq_cpu();
		syscall(SYS_getcpu, &cpu, NULL, NULL);
	} while (rseq_cpu() != before);
	return before == cpu;
}

struct wanderer {
	struct guest guest;
	volatile bool stop;
	unsigned long runs, wrong;
};

static void *wanderer_run(void *data)
{
	struct wanderer *wanderer = data;

	for (; !wanderer->stop; wanderer->runs++) {
		if (guest_run(&wanderer->guest) != MOTE_EXIT_PIO)
			break;
		wanderer->wrong += !knows_its_cpu();
	}
	return NULL;
}

TEST(thread_knows_its_cpu)
{
	struct wanderer wanderer = { .runs = 0 };
	pthread_t thread;

	if (get_nprocs() == 1)
		SKIP(return, "not on this hardware: one CPU");
	ASSERT_LT(0, __rseq_size);
	guest_create(&wanderer.guest);
	guest_start(&wanderer.guest, GUEST_LONG, &guest_exits);
	ASSERT_EQ(0, pthread_create(&thread, NULL, wanderer_run, &wanderer));
	for (int i = 0; i < 500; i++) {
		ASSERT_EQ(0, pin(thread, i % 2));
		usleep(1000);
	}
	EXPECT_EQ(EBUSY, pthread_tryjoin_np(thread, NULL));
	wanderer.stop = true;
	pthread_join(thread, NULL);
	EXPECT_LT(10, wanderer.runs);
	EXPECT_EQ(0, wanderer.wrong);
	guest_destroy(&wanderer.guest);
}

/* ---- all go -------------------------------------------------------------------------- */

FIXTURE(suspend)
{
	const char *lacks;
	char delay[16];
};

FIXTURE_SETUP(suspend)
{
	char modes[64];

	get(PM_DELAY, self->delay, sizeof(self->delay));
	get("/sys/power/mem_sleep", modes, sizeof(modes));
	if (!self->delay[0] || access(PM_TEST, W_OK))
		self->lacks = "not on this kernel: no pm_test";
	else if (!strstr(modes, "[deep]"))
		self->lacks = "not on this hardware: no suspend to memory";
	else
		ASSERT_EQ(0, put(PM_DELAY, "0"));
}

FIXTURE_TEARDOWN(suspend)
{
	if (self->lacks)
		return;
	put(PM_TEST, "none");
	put(PM_DELAY, self->delay);
}

/* All but the sleep itself: the other CPUs go offline, then, for core, this one is suspended. */
static void suspend(struct __test_metadata *_metadata, const char *depth)
{
	struct spinner spinner;
	struct guest guest;

	guest_create(&guest);
	guest_start(&guest, GUEST_LONG, &guest_count);
	ASSERT_EQ(0, spinner_create(&spinner));
	ASSERT_EQ(0, put(PM_TEST, depth));
	for (int i = 1; i <= 3; i++) {
		ASSERT_EQ(MOTE_EXIT_PIO, guest_run(&guest));
		ASSERT_TRUE(spinner_goes_on(&spinner));
		ASSERT_EQ(0, put("/sys/power/state", "mem"));
		ASSERT_TRUE(spinner_goes_on(&spinner));
		ASSERT_EQ(MOTE_EXIT_PIO, guest_run(&guest));
		EXPECT_EQ(2 * i, guest.run->gpr[MOTE_RAX]);
	}
	EXPECT_EQ(-EINTR, spinner_destroy(&spinner));
	guest_destroy(&guest);
}

TEST_F(suspend, of_the_other_cpus)
{
	if (self->lacks)
		SKIP(return, "%s", self->lacks);
	suspend(_metadata, "processors");
}

TEST_F(suspend, of_all)
{
	if (self->lacks)
		SKIP(return, "%s", self->lacks);
	suspend(_metadata, "core");
}

static __u64 rdtsc(void)
{
	unsigned int low, high;

	asm volatile("rdtsc" : "=a"(low), "=d"(high));
	return (__u64)high << 32 | low;
}

#define TSC_BACK "/sys/module/mote_peek/parameters/tsc_back_ms"
GUEST(tsc, 64, "1: rdtsc; shl $32, %rdx; or %rdx, %rax; out %al, $0x80; jmp 1b");

/* A suspend that takes the CPU's power makes its TSC begin anew: a guest's goes on. */
TEST_F(suspend, of_the_tsc)
{
	__u64 last, host;
	struct guest guest;
	bool is_back;

	if (self->lacks)
		SKIP(return, "%s", self->lacks);
	/* Before the first VM: so that it is told after mote, and sets the TSC last. */
	if (sh("modprobe mote_peek") || put(TSC_BACK, "6000"))
		SKIP(return, "there is no mote_peek.ko");
	ASSERT_EQ(0, put(PM_TEST, "core"));
	guest_create(&guest);
	guest_start(&guest, GUEST_LONG, &guest_tsc);
	ASSERT_EQ(MOTE_EXIT_PIO, guest_run(&guest));
	last = guest.run->gpr[MOTE_RAX];
	host = rdtsc();
	ASSERT_EQ(0, put("/sys/power/state", "mem"));
	is_back = rdtsc() < host;
	ASSERT_EQ(MOTE_EXIT_PIO, guest_run(&guest));
	EXPECT_LT(last, guest.run->gpr[MOTE_RAX]);
	guest_destroy(&guest);
	sh("rmmod mote_peek");
	if (!is_back)
		SKIP(return, "not on this hardware: the TSC cannot be set, or the kernel sets it again");
}

MOTE_TEST_MAIN
