// SPDX-License-Identifier: GPL-2.0
/* What guests that run cost the rest of the host: RCU's grace periods, interrupts from CPU to CPU. */
#include <limits.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "guest.h"
#include "selftest.h"
#include "x2apic.h"

#define TRACING "/sys/kernel/tracing/"
#define GRACE_PERIODS 25
#define NMIS 10000

static bool has_one_cpu(void)
{
	return sysconf(_SC_NPROCESSORS_ONLN) < 2;
}

FIXTURE(host_load)
{
	struct guest guest;
};

FIXTURE_SETUP(host_load)
{
	guest_create_vm(&self->guest, MOTE_VM_LAPIC);
	guest_create_cpu(&self->guest, 0);
	pin_to_cpu(0);
}

FIXTURE_TEARDOWN(host_load)
{
	guest_destroy(&self->guest);
}

/* ---- a load on the second CPU ------------------------------------------------------ */

static volatile bool over;

static void *spin(void *unused)
{
	pin_to_cpu(1);
	while (!over)
		;
	return unused;
}

static void *run(void *guest)
{
	pin_to_cpu(1);
	guest_run(guest);
	return NULL;
}

static void nothing(int signal)
{
}

static void stop(struct guest *guest, pthread_t thread)
{
	guest->stop = true;
	guest->run->immediate_exit = 1;
	pthread_kill(thread, SIGUSR1);
	pthread_join(thread, NULL);
	guest->stop = false;
	guest->run->immediate_exit = 0;
}

/* ---- grace periods ---------------------------------------------------------------- */

static int by_size(const void *a, const void *b)
{
	const long *left = a, *right = b;

	return *left < *right ? -1 : *left > *right;
}

static long now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* In the middle, of several; membarrier() waits for one where there is more than one CPU. */
static long grace_period_us(void)
{
	long took[GRACE_PERIODS];

	for (int i = 0; i < GRACE_PERIODS; i++) {
		long began = now_us();

		if (syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0))
			abort();
		took[i] = now_us() - began;
	}
	qsort(took, GRACE_PERIODS, sizeof(took[0]), by_size);
	return took[GRACE_PERIODS / 2];
}

/* No exit but those of the host's interrupts; and nothing but exits. */
GUEST(compute, 64, "sti; 1: inc %rax; jmp 1b");
GUEST(exits, 64, "sti; 1: xor %eax, %eax; cpuid; jmp 1b");

/* A guest holds up a grace period by two ticks at most, in comparison with a process that computes. */
TEST_F(host_load, grace_periods)
{
	static const struct guest_code *const codes[] = { &guest_compute, &guest_exits };
	struct timespec tick;
	pthread_t thread;
	long process;

	if (has_one_cpu())
		SKIP(return, "not on this hardware: one CPU");
	signal(SIGUSR1, nothing);
	clock_getres(CLOCK_MONOTONIC_COARSE, &tick);
	over = false;
	ASSERT_EQ(0, pthread_create(&thread, NULL, spin, NULL));
	process = grace_period_us();
	over = true;
	pthread_join(thread, NULL);
	for (int i = 0; i < 2; i++) {
		long guest = LONG_MAX;

		guest_start(&self->guest, GUEST_LONG, codes[i]);
		ASSERT_EQ(0, pthread_create(&thread, NULL, run, &self->guest));
		/* On a busy machine some try is not disturbed. */
		for (int try = 0; try < 50 && guest > process + 2 * tick.tv_nsec / 1000; try++) {
			long took = grace_period_us();

			guest = took < guest ? took : guest;
		}
		stop(&self->guest, thread);
		TH_LOG("%ld us beside a process, %ld beside a guest; a tick has %ld", process, guest,
		       tick.tv_nsec / 1000);
		EXPECT_GE(process + 2 * tick.tv_nsec / 1000, guest);
	}
}

/* ---- kicks -------------------------------------------------------------------------- */

/* EBX: whom to send R8 NMIs to; the handler returns. */
GUEST(nmis, 64, X2APIC_ON "sti; out %al, $0x80\n"
      "1: mov $0x830, %ecx; mov $0x400, %eax; mov %ebx, %edx; wrmsr; dec %r8; jnz 1b; out %al, $0x81\n");

static bool count_kicks(void)
{
	if (access(TRACING "kprobe_events", W_OK))
		sh("mount -t tracefs none " TRACING);
	return !sh("cd " TRACING " && echo p:mote_kick native_smp_send_reschedule >> kprobe_events &&"
		   " echo 1 > events/kprobes/mote_kick/enable");
}

static void count_no_more(void)
{
	sh("cd " TRACING "; echo 0 > events/kprobes/mote_kick/enable; echo -:mote_kick >> kprobe_events");
}

static long kicks(void)
{
	FILE *file = fopen(TRACING "kprobe_profile", "r");
	char line[128];
	long hits = 0;

	while (file && fgets(line, sizeof(line), file))
		sscanf(line, " mote_kick %ld", &hits);
	if (file)
		fclose(file);
	return hits;
}

/* Return: how many kicks sending NMIs to @to takes. */
static long send_nmis(struct guest *guest, int to)
{
	__u32 iretq = 0xcf48;
	long before;

	guest_start(guest, GUEST_LONG, &guest_nmis);
	memcpy(guest->ram + GUEST_HANDLERS + 4 * 2, &iretq, sizeof(iretq));
	if (guest_run(guest) != MOTE_EXIT_PIO || guest->run->pio.port != 0x80)
		return -1;
	guest->run->gpr[MOTE_RBX] = to;
	guest->run->gpr[MOTE_R8] = NMIS;
	guest->run->set = 1u << MOTE_RBX | 1u << MOTE_R8;
	before = kicks();
	if (guest_run(guest) != MOTE_EXIT_PIO || guest->run->pio.port != 0x81)
		return -1;
	return kicks() - before;
}

static long count_exits(const struct guest *guest)
{
	const volatile __u64 *exits = guest->run->exits;
	long sum = 0;

	for (int i = 0; i < MOTE_NR_EXITS; i++)
		sum += exits[i];
	return sum;
}

/* Who sends to itself is not in the guest; who has been sent for is not sent for again. */
TEST_F(host_load, kicks)
{
	struct guest second = self->guest;
	long sent, looks;
	pthread_t thread;

	if (!count_kicks())
		SKIP(return, "not on this kernel: no kprobes");
	sent = send_nmis(&self->guest, 0);
	TH_LOG("%d NMIs to oneself: %ld kicks", NMIS, sent);
	EXPECT_LE(0, sent);
	EXPECT_GT(NMIS / 10, sent);
	if (!has_one_cpu()) {
		signal(SIGUSR1, nothing);
		ASSERT_EQ(0, mote_cpu_create(&second.cpu, &second.machine, 1));
		second.run = second.cpu.run;
		guest_start(&second, GUEST_LONG, &guest_compute);
		ASSERT_EQ(0, pthread_create(&thread, NULL, run, &second));
		while (!*(volatile __u64 *)&second.run->exits[MOTE_EXIT_INTERRUPT])
			sched_yield();
		looks = count_exits(&second);
		sent = send_nmis(&self->guest, 1);
		looks = count_exits(&second) - looks;
		TH_LOG("%d NMIs to another: %ld kicks, %ld exits", NMIS, sent, looks);
		EXPECT_LE(0, sent);
		/* Each makes it look once; but for those of the scheduler, and what is under way. */
		EXPECT_GE(looks + 10, sent);
		stop(&second, thread);
		mote_cpu_destroy(&second.cpu);
	}
	count_no_more();
}

/* ---- sleep ---------------------------------------------------------------------------- */

#define POLL "/sys/module/mote/parameters/halt_poll_ns"
#define WAKES 300

/* NMIs wake it; the handler returns. */
GUEST(sleeper, 64, "1: hlt; jmp 1b");

struct sleeper {
	struct guest *guest;
	long sleeps;	/* how often its thread gave its CPU away */
};

static void *sleep_and_count(void *context)
{
	struct sleeper *sleeper = context;
	struct rusage usage;

	run(sleeper->guest);
	getrusage(RUSAGE_THREAD, &usage);
	sleeper->sleeps = usage.ru_nvcsw;
	return NULL;
}

/* Wake it so often, each time a moment after its HLT.  Return: how often its thread has slept. */
static long wake(struct guest *guest)
{
	static const struct mote_event nmi = { .valid = 1, .type = MOTE_EVENT_NMI, .vector = 2 };
	const volatile __u64 *halts = &guest->run->exits[MOTE_EXIT_HLT];
	struct sleeper sleeper = { guest };
	__u32 iretq = 0xcf48;
	pthread_t thread;

	guest_start(guest, GUEST_LONG, &guest_sleeper);
	memcpy(guest->ram + GUEST_HANDLERS + 4 * 2, &iretq, sizeof(iretq));
	if (pthread_create(&thread, NULL, sleep_and_count, &sleeper))
		abort();
	for (int i = 0; i < WAKES; i++) {
		__u64 seen = *halts;
		long moment;

		while (*halts == seen && seen == 0)
			sched_yield();
		for (moment = now_us() + 30; now_us() < moment;)
			;
		seen = *halts;
		if (mote_inject(guest->cpu.fd, &nmi))
			abort();
		while (*halts == seen)
			sched_yield();
	}
	stop(guest, thread);
	return sleeper.sleeps;
}

/* Off, each HLT is a sleep; on, most are over before there is one. */
TEST_F(host_load, halt_polling)
{
	long asleep, polled = LONG_MAX;

	if (has_one_cpu())
		SKIP(return, "not on this hardware: one CPU");
	signal(SIGUSR1, nothing);
	asleep = wake(&self->guest);
	ASSERT_EQ(0, sh("echo 1000000000 > " POLL));
	/* On a busy machine somebody else may want the CPU, or come late. */
	for (int try = 0; try < 5 && polled > asleep / 2; try++) {
		long sleeps = wake(&self->guest);

		polled = sleeps < polled ? sleeps : polled;
	}
	sh("echo 0 > " POLL);
	TH_LOG("%d wakes: %ld sleeps, %ld with polling", WAKES, asleep, polled);
	EXPECT_LE(WAKES / 2, asleep);
	EXPECT_GE(asleep / 2, polled);
}

MOTE_TEST_MAIN
