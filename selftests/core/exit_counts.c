// SPDX-License-Identifier: GPL-2.0
/*
 * How many exits an event costs: a timer's tick, an IPI, the end of an interrupt, a device's
 * interrupt. None goes to user space. What is measured is printed.
 */
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "guest.h"
#include "selftest.h"
#include "x2apic.h"

#define VECTOR 0x70
#define EVENTS 100

/*
 * R12: address of the flag, enabled, or 0 to end interrupts by the APIC; R13: counts them; RDI:
 * how many there are to be. The handler is at 0x200.
 */
#define BEGIN "0:" X2APIC_ON WRMSR(0x832, 0x40070)					\
	"movl $0, 0x20200; mov %r12, %rax; test %rax, %rax; jz 1f; mov $0x4b564d04, %ecx; wrmsr\n" \
	"1: mov $0x20300, %r13; out %al, $0x80\n"
#define END "out %al, $0x81\n"							\
	".fill 0x200 - (. - 0b), 1, 0x90\n"					\
	"push %rax; push %rcx; push %rdx; incl (%r13); btrl $0, 0x20200; jc 1f\n" \
	WRMSR(0x80b, 0) "1: pop %rdx; pop %rcx; pop %rax; iretq\n"

GUEST(tick, 64, BEGIN "2: cli; rdtsc; add $20000, %eax; adc $0, %edx; mov $0x6e0, %ecx; wrmsr; sti; hlt\n"
      "dec %edi; jnz 2b\n" END);
GUEST(self, 64, BEGIN "sti; 2:" WRMSR(0x83f, 0x70) "nop; dec %edi; jnz 2b\n" END);
GUEST(sleep, 64, BEGIN "2: cli; cmp (%r13), %edi; jbe 3f; sti; hlt; jmp 2b; 3:" END);
GUEST(wait, 64, BEGIN "sti; 2: cmp (%r13), %edi; ja 2b\n" END);
/* To CPU 1, when it has taken the one before; with IF set, or Bochs lets nobody else run. */
GUEST(send, 64, BEGIN "sti; xor %ebx, %ebx\n"
      "2: mov $0x830, %ecx; mov $0x4070, %eax; mov $1, %edx; wrmsr; inc %ebx\n"
      "3: cmp %ebx, (%r13); jb 3b; cmp %edi, %ebx; jb 2b\n" END);

FIXTURE(exit_counts)
{
	struct guest guest;
	bool silent;
};

FIXTURE_VARIANT(exit_counts)
{
	bool silent;
};

FIXTURE_VARIANT_ADD(exit_counts, eoi) { .silent = false };
FIXTURE_VARIANT_ADD(exit_counts, pv_eoi) { .silent = true };

FIXTURE_SETUP(exit_counts)
{
	guest_create_vm(&self->guest, MOTE_VM_LAPIC);
	guest_create_cpu(&self->guest, 0);
	self->silent = variant->silent;
}

FIXTURE_TEARDOWN(exit_counts)
{
	guest_destroy(&self->guest);
}

/* Up to the first OUT: all is set up. */
static bool begin(struct guest *guest, const struct guest_code *code, bool silent)
{
	__u64 *gate = (__u64 *)(guest->ram + GUEST_IDT) + 2 * VECTOR;
	struct mote_state state;

	guest_start(guest, GUEST_LONG, code);
	gate[0] = ((GUEST_CODE + 0x200) & 0xffff) | 8 << 16 | 0xee00ull << 32;
	gate[1] = 0;
	guest_get(guest, &state, MOTE_STATE_GPRS | MOTE_STATE_EVENTS);
	state.gprs.gpr[MOTE_R12] = silent ? 0x20201 : 0;
	state.gprs.gpr[MOTE_RDI] = EVENTS;
	state.gprs.gpr[MOTE_RSP] -= 0x400 * guest->cpu.id;
	state.events.halted = 0;
	guest_set(guest, &state);
	return guest_run(guest) == MOTE_EXIT_PIO && guest->run->pio.port == 0x80;
}

struct count {
	__u64 start[MOTE_NR_EXITS];
	__u64 ticks, all;
};

/* Interrupts of the host's timers so far, on all CPUs. */
static __u64 nr_ticks(void)
{
	FILE *interrupts = fopen("/proc/interrupts", "r");
	char line[4096], *at, *end;
	__u64 nr = 0, one;

	while (interrupts && fgets(line, sizeof(line), interrupts))
		if ((at = strstr(line, "LOC:")))
			for (at += 4; one = strtoull(at, &end, 10), end != at; at = end)
				nr += one;
	if (interrupts)
		fclose(interrupts);
	return nr;
}

static void count_start(const struct guest *guest, struct count *count)
{
	memcpy(count->start, guest->run->exits, sizeof(count->start));
	count->ticks = nr_ticks();
}

/* Without those that come of the host's own work, and the last OUT. */
static void count_end(const struct guest *guest, struct count *count, bool with_interrupts)
{
	count->ticks = nr_ticks() - count->ticks;
	count->all = 0;
	for (int i = 0; i < MOTE_NR_EXITS; i++)
		if (i != MOTE_EXIT_TIMER && i != MOTE_EXIT_NPF && i != MOTE_EXIT_PIO &&
		    i != MOTE_EXIT_NMI && (with_interrupts || i != MOTE_EXIT_INTERRUPT))
			count->all += guest->run->exits[i] - count->start[i];
}

/* What the host does by itself may cost an exit now and then. */
#define BY_CHANCE (EVENTS / 10)

/* Of the host's ticks a slow one has many between two events. */
#define MOST_WITH_INTERRUPTS (3 * EVENTS + count.ticks)

/* What the guest sends and ends, at least, it does by these. */
static __u64 nr_wrmsr(const struct guest *guest, const struct count *count)
{
	return guest->run->exits[MOTE_EXIT_WRMSR] - count->start[MOTE_EXIT_WRMSR];
}

#define SHOW(what) TH_LOG("%s, %s: %llu.%02llu exits", what,				\
			  self->silent ? "ended by its flag" : "ended by the APIC",	\
			  count.all / EVENTS, count.all % EVENTS)

#define EXPECT_END(guest)								\
	do {										\
		ASSERT_EQ(MOTE_EXIT_PIO, guest_run(guest));				\
		ASSERT_EQ(0x81, (guest)->run->pio.port);				\
	} while (0)

/* To arm the timer, to sleep, to end it. */
TEST_F(exit_counts, tick)
{
	struct count count;

	ASSERT_TRUE(begin(&self->guest, &guest_tick, self->silent));
	count_start(&self->guest, &count);
	EXPECT_END(&self->guest);
	count_end(&self->guest, &count, false);
	SHOW("tick");
	/* One that comes between STI and HLT is taken without HLT. */
	EXPECT_LE(count.all, (self->silent ? 2 : 3) * EVENTS + BY_CHANCE);
	EXPECT_GE(count.all, (self->silent ? 1 : 2) * EVENTS);
}

TEST_F(exit_counts, self_ipi)
{
	struct count count;

	ASSERT_TRUE(begin(&self->guest, &guest_self, self->silent));
	count_start(&self->guest, &count);
	EXPECT_END(&self->guest);
	count_end(&self->guest, &count, false);
	SHOW("self-IPI");
	EXPECT_EQ((self->silent ? 1 : 2) * EVENTS, nr_wrmsr(&self->guest, &count));
	EXPECT_LE(count.all, (self->silent ? 1 : 2) * EVENTS + BY_CHANCE);
}

static void *finish(void *guest)
{
	return (void *)(long)(guest_run(guest) == MOTE_EXIT_PIO);
}

/* The sender runs the other code beside the first vCPU's, whose memory is the same. */
static bool begin_sender(struct guest *sender, struct guest *other)
{
	struct mote_state state;

	memcpy(sender->ram + GUEST_FREE + 0x8000, guest_send.code, guest_send.size);
	guest_get(other, &state, MOTE_STATE_ALL & ~(MOTE_STATE_XSAVE | MOTE_STATE_TSC));
	state.gprs.rip = GUEST_FREE + 0x8000;
	state.gprs.gpr[MOTE_RSP] += 0x400;
	state.gprs.gpr[MOTE_R12] = 0;
	state.msrs.apic_base = 0xfee00900;
	guest_set(sender, &state);
	return guest_run(sender) == MOTE_EXIT_PIO && sender->run->pio.port == 0x80;
}

static void measure_ipi(struct __test_metadata *_metadata, FIXTURE_DATA(exit_counts) *self,
			const struct guest_code *code, const char *what)
{
	struct count count, sender;
	struct guest second = self->guest;
	pthread_t thread;
	void *result;

	ASSERT_EQ(0, mote_cpu_create(&second.cpu, &second.machine, 1));
	second.run = second.cpu.run;
	ASSERT_TRUE(begin(&second, code, self->silent));
	ASSERT_TRUE(begin_sender(&self->guest, &second));
	count_start(&second, &count);
	count_start(&self->guest, &sender);
	ASSERT_EQ(0, pthread_create(&thread, NULL, finish, &second));
	EXPECT_END(&self->guest);
	pthread_join(thread, &result);
	EXPECT_EQ(1, (long)result);
	count_end(&self->guest, &sender, false);
	EXPECT_EQ(EVENTS, nr_wrmsr(&self->guest, &sender));
	EXPECT_LE(sender.all, EVENTS + BY_CHANCE);
	count_end(&second, &count, true);
	SHOW(what);
	EXPECT_LE(count.all, MOST_WITH_INTERRUPTS);
	mote_cpu_destroy(&second.cpu);
}

TEST_F(exit_counts, ipi_to_one_that_sleeps)
{
	measure_ipi(_metadata, self, &guest_sleep, "IPI, where it is taken, asleep");
}

TEST_F(exit_counts, ipi_to_one_that_runs)
{
	measure_ipi(_metadata, self, &guest_wait, "IPI, where it is taken, running");
}

static int device;

static void *write_eventfd(void *data)
{
	const struct guest *guest = data;
	volatile __u32 *taken = (void *)(guest->ram + 0x20300);

	for (__u32 i = 0; i < EVENTS; i++) {
		while (*taken < i)
			sched_yield();
		eventfd_write(device, 1);
	}
	return NULL;
}

static void measure_device(struct __test_metadata *_metadata, FIXTURE_DATA(exit_counts) *self,
			   const struct guest_code *code, const char *what)
{
	struct mote_irqfd irqfd = { .msi = { 0xfee00000, VECTOR } };
	struct count count;
	pthread_t thread;

	device = irqfd.fd = eventfd(0, 0);
	ASSERT_EQ(0, mote_irqfd(self->guest.machine.fd, &irqfd));
	ASSERT_TRUE(begin(&self->guest, code, self->silent));
	count_start(&self->guest, &count);
	ASSERT_EQ(0, pthread_create(&thread, NULL, write_eventfd, &self->guest));
	EXPECT_END(&self->guest);
	pthread_join(thread, NULL);
	count_end(&self->guest, &count, true);
	SHOW(what);
	EXPECT_LE(count.all, MOST_WITH_INTERRUPTS);
	close(device);
}

TEST_F(exit_counts, device_wakes_one_that_sleeps)
{
	measure_device(_metadata, self, &guest_sleep, "device interrupt, asleep");
}

TEST_F(exit_counts, device_stops_one_that_runs)
{
	measure_device(_metadata, self, &guest_wait, "device interrupt, running");
}

MOTE_TEST_MAIN
