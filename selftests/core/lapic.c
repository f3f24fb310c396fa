// SPDX-License-Identifier: GPL-2.0
/* The local APIC in the kernel: priorities, IPIs, start-up, messages, the timer, its state. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "expect.h"
#include "guest.h"
#include "selftest.h"
#include "x2apic.h"

#define WRITE(reg, value) X2APIC_WRITE(reg, value)
#define READ(reg, to) "mov $0x800 + " #reg ", %ecx; rdmsr; mov %rax, " to "\n"

#define LVT_MASKED 0x10000

FIXTURE(lapic)
{
	struct guest guest;
};

FIXTURE_SETUP(lapic)
{
	guest_create_vm(&self->guest, MOTE_VM_LAPIC);
	guest_create_cpu(&self->guest, 0);
}

FIXTURE_TEARDOWN(lapic)
{
	guest_destroy(&self->guest);
}

GUEST(registers, 64, X2APIC_ON READ(0x2, "%rbx") READ(0x3, "%rsi") READ(0xd, "%rdi") READ(0xf, "%rbp")
      READ(0x32, "%r8") "out %al, $0x80\n"
      "mov $0x80e, %ecx; rdmsr\n"	/* DFR: not in x2APIC mode */
      "out %al, $0x81\n");
GUEST(xapic, 64, "mov $0x802, %ecx; rdmsr; hlt");

TEST_F(lapic, registers)
{
	struct mote_run *run = self->guest.run;
	struct mote_state state;

	guest_start(&self->guest, GUEST_LONG, &guest_registers);
	EXPECT_PORT(0x80);
	EXPECT_EQ(0, run->gpr[MOTE_RBX]);
	EXPECT_EQ(0x50014, run->gpr[MOTE_RSI]);
	EXPECT_EQ(1, run->gpr[MOTE_RDI]);
	EXPECT_EQ(0x1ff, run->gpr[MOTE_RBP]);
	EXPECT_EQ(LVT_MASKED, run->gpr[MOTE_R8]);
	EXPECT_VECTOR(13);
	/* Without x2APIC mode there are no such MSRs. */
	guest_start(&self->guest, GUEST_LONG, &guest_xapic);
	guest_get(&self->guest, &state, MOTE_STATE_MSRS);
	EXPECT_EQ(0xfee00d00, state.msrs.apic_base);
	state.msrs.apic_base = 0xfee00900;
	guest_set(&self->guest, &state);
	EXPECT_VECTOR(13);
}

GUEST(self_ipi, 64, X2APIC_ON "sti\n" SELF(0x51) "nop; out %al, $0x80\n" EOI SELF(0x20) "nop\n" EOI
      "out %al, $0x81\n");

TEST_F(lapic, self_ipi)
{
	guest_start(&self->guest, GUEST_LONG, &guest_self_ipi);
	EXPECT_VECTOR(0x51);
	EXPECT_PORT(0x80);
	EXPECT_VECTOR(0x20);
	EXPECT_PORT(0x81);
}

GUEST(priorities, 64, X2APIC_ON SELF(0x41) SELF(0x61) SELF(0x51) SELF(0x52)
      READ(0x22, "%rbx") "sti; nop; out %al, $0x80\n" READ(0x13, "%rsi") READ(0xa, "%rdi")
      EOI "nop; out %al, $0x81\n" EOI "nop; out %al, $0x82\n" EOI "nop; out %al, $0x83\n"
      EOI "nop; out %al, $0x84\n");

/* The highest comes first, the next when it has been serviced. */
TEST_F(lapic, priorities)
{
	struct mote_run *run = self->guest.run;

	guest_start(&self->guest, GUEST_LONG, &guest_priorities);
	EXPECT_VECTOR(0x61);
	EXPECT_EQ(1u << 1 | 0, run->gpr[MOTE_RBX] & 0xffff);
	EXPECT_PORT(0x80);
	EXPECT_VECTOR(0x52);
	EXPECT_EQ(1u << 1, run->gpr[MOTE_RSI]);
	EXPECT_EQ(0x60, run->gpr[MOTE_RDI]);
	EXPECT_PORT(0x81);
	EXPECT_VECTOR(0x51);
	EXPECT_PORT(0x82);
	EXPECT_VECTOR(0x41);
	EXPECT_PORT(0x83);
	EXPECT_PORT(0x84);
}

GUEST(task_priority, 64, X2APIC_ON "mov $5, %eax; mov %rax, %cr8; sti\n" SELF(0x51) SELF(0x61)
      "nop; out %al, $0x80\n" EOI READ(0x8, "%rbx") "mov $4, %eax; mov %rax, %cr8\n"
      "nop; out %al, $0x81\n" EOI WRITE(0x8, 0x78) SELF(0x71) "mov %cr8, %rsi; out %al, $0x82\n"
      WRITE(0x8, 0x6f) "nop; out %al, $0x83\n");

/* CR8 and TPR are one: what they hold back comes when they are lowered. */
TEST_F(lapic, task_priority)
{
	struct mote_run *run = self->guest.run;

	guest_start(&self->guest, GUEST_LONG, &guest_task_priority);
	EXPECT_VECTOR(0x61);
	EXPECT_PORT(0x80);
	EXPECT_VECTOR(0x51);
	EXPECT_EQ(0x50, run->gpr[MOTE_RBX]);
	EXPECT_PORT(0x81);
	EXPECT_PORT(0x82);
	EXPECT_EQ(7, run->gpr[MOTE_RSI]);
	EXPECT_VECTOR(0x71);
	EXPECT_PORT(0x83);
}

GUEST(one_shot, 64, X2APIC_ON WRITE(0x3e, 0xb) WRITE(0x32, 0x70)
      "rdtsc; mov %eax, %ebx\n" WRITE(0x38, 50000000) READ(0x39, "%rsi") "sti; hlt\n"
      READ(0x39, "%rdi") EOI "out %al, $0x80\n" WRITE(0x32, 0x10070) WRITE(0x38, 100)
      "1: mov $0x839, %ecx; rdmsr; test %eax, %eax; jnz 1b; out %al, $0x81\n");
GUEST(periodic, 64, X2APIC_ON WRITE(0x3e, 0xa) WRITE(0x32, 0x20070) WRITE(0x38, 2000)
      "1: sti; hlt; cli\n" EOI "jmp 1b\n");
GUEST(deadline, 64, X2APIC_ON WRITE(0x32, 0x40070) "rdtsc; add $50000000, %eax; adc $0, %edx\n"
      "mov %eax, %ebx; mov %edx, %esi; mov $0x6e0, %ecx; wrmsr; rdmsr; mov %eax, %edi; sti; hlt\n"
      "rdtsc; mov %eax, %ebp; mov $0x6e0, %ecx; rdmsr; out %al, $0x80\n" EOI
      "mov $1, %eax; xor %edx, %edx; mov $0x6e0, %ecx; wrmsr; nop; out %al, $0x81\n");

TEST_F(lapic, timer_one_shot)
{
	struct mote_run *run = self->guest.run;

	guest_start(&self->guest, GUEST_LONG, &guest_one_shot);
	EXPECT_VECTOR(0x70);
	EXPECT_LT(0, run->gpr[MOTE_RSI]);
	EXPECT_GT(50000001, run->gpr[MOTE_RSI]);
	EXPECT_PORT(0x80);
	EXPECT_EQ(0, run->gpr[MOTE_RDI]);
	EXPECT_PORT(0x81);
}

TEST_F(lapic, timer_periodic)
{
	guest_start(&self->guest, GUEST_LONG, &guest_periodic);
	for (int i = 0; i < 20; i++)
		EXPECT_VECTOR(0x70);
}

/* Not before its time, and disarmed; one that is over comes at once. */
#define EXPECT_DEADLINES()							\
	do {									\
		const __u64 *gpr = self->guest.run->gpr;			\
										\
		guest_start(&self->guest, GUEST_LONG, &guest_deadline);		\
		EXPECT_VECTOR(0x70);						\
		EXPECT_EQ(gpr[MOTE_RBX], gpr[MOTE_RDI]);			\
		EXPECT_PORT(0x80);						\
		EXPECT_GE((int)(gpr[MOTE_RBP] - gpr[MOTE_RBX]), 0);		\
		EXPECT_EQ(0, gpr[MOTE_RAX]);					\
		EXPECT_VECTOR(0x70);						\
		EXPECT_PORT(0x81);						\
	} while (0)

TEST_F(lapic, timer_deadline)
{
	EXPECT_DEADLINES();
}

/* In the guest's ticks, whatever the host's are. */
TEST_F(lapic, timer_deadline_at_other_frequencies)
{
	struct mote_vm_config config = { .flags = MOTE_VM_LAPIC };

	if (!guest_tsc_khz(1, 1))
		SKIP(return, "not on this hardware: no TSC scaling");
	for (int i = 0; i < 2; i++) {
		guest_destroy(&self->guest);
		config.tsc_khz = i ? guest_tsc_khz(5, 2) : guest_tsc_khz(1, 3);
		guest_create_vm_with(&self->guest, &config);
		guest_create_cpu(&self->guest, 0);
		EXPECT_DEADLINES();
	}
}

static int msi(struct guest *guest, unsigned int dest, unsigned int data)
{
	struct mote_msi msi = { .address = 0xfee00000 | dest << 12, .data = data };

	return mote_msi(guest->machine.fd, &msi);
}

GUEST(sleeper, 64, X2APIC_ON "out %al, $0x80; 1: sti; hlt; cli\n" EOI "jmp 1b\n");

#define MESSAGES 50
static volatile int arrived;

static void *send_messages(void *guest)
{
	for (int i = 0; i < MESSAGES; i++) {
		while (arrived < i)
			sched_yield();
		if (i % 3)
			usleep(100 * (i % 7));
		if (msi(guest, 0, 0x30 + i))
			break;
	}
	return NULL;
}

/* Each message of another thread's wakes HLT, whenever it comes. */
TEST_F(lapic, messages)
{
	pthread_t thread;

	guest_start(&self->guest, GUEST_LONG, &guest_sleeper);
	EXPECT_PORT(0x80);
	arrived = 0;
	ASSERT_EQ(0, pthread_create(&thread, NULL, send_messages, &self->guest));
	for (int i = 0; i < MESSAGES; i++) {
		EXPECT_VECTOR(0x30 + i);
		arrived = i + 1;
	}
	pthread_join(thread, NULL);
	EXPECT_EQ(-ENOENT, msi(&self->guest, 7, 0x55));
	struct mote_msi bad = { .address = 0x1000 };
	EXPECT_EQ(-EINVAL, mote_msi(self->guest.machine.fd, &bad));
}

GUEST(level, 64, X2APIC_ON "out %al, $0x80; sti; nop; out %al, $0x81\n" EOI "out %al, $0x82\n");

/* The end of a level-triggered interrupt goes to the I/O APIC, which is user space's. */
TEST_F(lapic, end_of_level)
{
	guest_start(&self->guest, GUEST_LONG, &guest_level);
	EXPECT_PORT(0x80);
	ASSERT_EQ(0, msi(&self->guest, 0, 0xc055));
	EXPECT_VECTOR(0x55);
	EXPECT_PORT(0x81);
	ASSERT_EQ(MOTE_EXIT_EOI, guest_run(&self->guest));
	EXPECT_EQ(0x55, self->guest.run->eoi.vector);
	EXPECT_PORT(0x82);
}

/* LVT0 is masked; then it lets the 8259's through; then the APIC is off for good. */
GUEST(extint, 64, X2APIC_ON "out %al, $0x80; sti; nop; out %al, $0x81\n" WRITE(0x35, 0x700)
      "nop; out %al, $0x82; mov $0x812 - 1, %ecx; rdmsr; mov %eax, %ebx; out %al, $0x83; cli\n"
      "out %al, $0x84\n" SELF(0x41) "sti; nop; out %al, $0x85\n" EOI
      WRITE(0x35, 0x10700) "out %al, $0x86; nop; out %al, $0x87\n"
      "mov $0x1b, %ecx; rdmsr; and $~0xc00, %eax; wrmsr; cli; out %al, $0x88; sti; hlt; out %al, $0x89\n");

#define EXPECT_WINDOW(event)								\
	do {										\
		ASSERT_EQ(MOTE_EXIT_INTERRUPT_WINDOW, guest_run(&self->guest)) {	\
			TH_LOG("port %#x", self->guest.run->pio.port);			\
		}									\
		EXPECT_EQ(0, mote_inject(self->guest.cpu.fd, &(event)));		\
	} while (0)

/* An 8259's interrupts come through LINT0, and leave no trace in the local APIC. */
TEST_F(lapic, external)
{
	static const struct mote_event event = {
		.valid = 1, .type = MOTE_EVENT_INTERRUPT, .vector = 0x21,
	};
	struct mote_run *run = self->guest.run;

	guest_start(&self->guest, GUEST_LONG, &guest_extint);
	EXPECT_PORT(0x80);
	run->window = MOTE_WINDOW_INTERRUPT;
	EXPECT_PORT(0x81);
	EXPECT_EQ(-EAGAIN, mote_inject(self->guest.cpu.fd, &event));
	EXPECT_WINDOW(event);
	run->window = 0;
	EXPECT_VECTOR(0x21);
	EXPECT_PORT(0x82);
	EXPECT_PORT(0x83);
	EXPECT_EQ(0, run->gpr[MOTE_RBX]);
	/* It does not wait for its turn among the APIC's. */
	EXPECT_PORT(0x84);
	run->window = MOTE_WINDOW_INTERRUPT;
	EXPECT_WINDOW(event);
	run->window = 0;
	EXPECT_VECTOR(0x21);
	EXPECT_VECTOR(0x41);
	EXPECT_PORT(0x85);
	EXPECT_PORT(0x86);
	run->window = MOTE_WINDOW_INTERRUPT;
	EXPECT_PORT(0x87);
	EXPECT_EQ(-EAGAIN, mote_inject(self->guest.cpu.fd, &event));
	run->window = 0;
	/* One that sleeps wakes. */
	EXPECT_PORT(0x88);
	run->window = MOTE_WINDOW_INTERRUPT;
	EXPECT_WINDOW(event);
	run->window = 0;
	EXPECT_VECTOR(0x21);
	EXPECT_PORT(0x89);
}

static void add_cpu(struct guest *second, const struct guest *first)
{
	*second = *first;
	if (mote_cpu_create(&second->cpu, &second->machine, 1))
		abort();
	second->run = second->cpu.run;
}

static void *run_once(void *guest)
{
	return (void *)(long)guest_run(guest);
}

GUEST(start_others, 64, X2APIC_ON WRITE(0x30, 0xc4500) WRITE(0x30, 0xc4609) WRITE(0x30, 0xc4609)
      "out %al, $0x80; hlt\n");
GUEST(started, 16, "mov $0x1234, %bx; out %al, $0x81; hlt");

/* INIT and start-up IPIs get another CPU going, in real mode at the vector's page. */
TEST_F(lapic, start_up)
{
	struct guest second;
	struct mote_state state;
	pthread_t thread;
	void *result;

	add_cpu(&second, &self->guest);
	guest_get(&second, &state, MOTE_STATE_EVENTS);
	EXPECT_EQ(MOTE_WAITS_FOR_SIPI, state.events.halted);
	guest_start(&self->guest, GUEST_LONG, &guest_start_others);
	memcpy(self->guest.ram + 0x9000, guest_started.code, guest_started.size);
	ASSERT_EQ(0, pthread_create(&thread, NULL, run_once, &second));
	EXPECT_PORT(0x80);
	pthread_join(thread, &result);
	ASSERT_EQ(MOTE_EXIT_PIO, (long)result);
	EXPECT_EQ(0x81, second.run->pio.port);
	EXPECT_EQ(0x1234, second.run->gpr[MOTE_RBX]);
	guest_get(&second, &state, MOTE_STATE_SEGS | MOTE_STATE_CRS);
	EXPECT_EQ(0x9000, state.segs.seg[MOTE_CS].base);
	EXPECT_EQ(0x900, state.segs.seg[MOTE_CS].selector);
	EXPECT_EQ(0, state.crs.cr0 & 1);
	mote_cpu_destroy(&second.cpu);
}

static void start_up(struct guest *guest, int id, int vector)
{
	/* INIT has no vector. */
	struct mote_msi msi = { .address = 0xfee00000 | id << 12, .data = vector ? 0x600 | vector : 0x500 };

	if (mote_msi(guest->machine.fd, &msi))
		abort();
}

struct sender {
	struct guest *guest;
	pthread_barrier_t *barrier;
	int vector;
};

#define SIPIS guest_rounds(200, 10000)

static void *send_start_ups(void *data)
{
	struct sender *sender = data;

	for (long i = 0; i < SIPIS; i++) {
		pthread_barrier_wait(sender->barrier);
		start_up(sender->guest, 1, sender->vector);
		pthread_barrier_wait(sender->barrier);
	}
	return NULL;
}

/* Of two start-up IPIs at once either counts, with a vector of its own. */
TEST_F(lapic, start_up_by_two)
{
	pthread_barrier_t barrier;
	struct guest second;
	struct sender senders[2] = {
		{ &second, &barrier, 0x09 }, { &second, &barrier, 0x06 },
	};
	struct mote_state state;
	pthread_t threads[2];
	__u64 base;

	add_cpu(&second, &self->guest);
	for (int page = 6; page < 16; page++)
		memcpy(self->guest.ram + 0x1000 * page, guest_started.code, guest_started.size);
	pthread_barrier_init(&barrier, NULL, 3);
	for (int i = 0; i < 2; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, send_start_ups, &senders[i]));
	for (long i = 0; i < SIPIS; i++) {
		start_up(&second, 1, 0);
		pthread_barrier_wait(&barrier);
		pthread_barrier_wait(&barrier);
		EXPECT_EQ(MOTE_EXIT_PIO, guest_run(&second));
		guest_get(&second, &state, MOTE_STATE_SEGS);
		base = state.segs.seg[MOTE_CS].base;
		EXPECT_TRUE(base == 0x9000 || base == 0x6000) {
			TH_LOG("began at %#llx", base);
		}
	}
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	mote_cpu_destroy(&second.cpu);
}

/* An INIT makes the CPU wait for a start-up IPI that comes after it. */
TEST_F(lapic, init_after_start_up)
{
	struct mote_state state;
	struct guest second;

	add_cpu(&second, &self->guest);
	memcpy(self->guest.ram + 0x9000, guest_started.code, guest_started.size);
	memcpy(self->guest.ram + 0x6000, guest_started.code, guest_started.size);
	start_up(&second, 1, 9);
	start_up(&second, 1, 0);
	guest_interrupt_in(&second, 20000);
	EXPECT_EQ(-EINTR, guest_run(&second));
	guest_get(&second, &state, MOTE_STATE_EVENTS);
	EXPECT_EQ(MOTE_WAITS_FOR_SIPI, state.events.halted);
	second.stop = false;
	second.run->immediate_exit = 0;
	start_up(&second, 1, 6);
	EXPECT_EQ(MOTE_EXIT_PIO, guest_run(&second));
	guest_get(&second, &state, MOTE_STATE_SEGS);
	EXPECT_EQ(0x6000, state.segs.seg[MOTE_CS].base);
	mote_cpu_destroy(&second.cpu);
}

static int msi_ext(struct guest *guest, __u32 dest, unsigned int mode, unsigned int data)
{
	struct mote_msi msi = {
		.address = 0xfee00000 | (dest & 0xff) << 12 | mode | (__u64)(dest & ~0xffu) << 32,
		.data = data,
	};

	return mote_msi(guest->machine.fd, &msi);
}

/* APIC ids above 255 are of x2APIC mode; until that is on, the CPU can be got going. */
TEST_F(lapic, large_ids)
{
	struct guest second = self->guest;
	struct mote_state state;

	ASSERT_EQ(0, mote_cpu_create(&second.cpu, &second.machine, 0x105));
	second.run = second.cpu.run;
	memcpy(self->guest.ram + 0x9000, guest_started.code, guest_started.size);
	EXPECT_EQ(-ENOENT, msi_ext(&second, 0x105, 0, 0x51));
	EXPECT_EQ(-ENOENT, msi_ext(&second, 5, 0, 0x609));
	EXPECT_EQ(0, msi_ext(&second, 0x105, 0, 0x500));
	EXPECT_EQ(0, msi_ext(&second, 0x105, 0, 0x609));
	EXPECT_EQ(MOTE_EXIT_PIO, guest_run(&second));
	guest_get(&second, &state, MOTE_STATE_MSRS);
	state.msrs.apic_base |= 0x400;
	guest_set(&second, &state);
	guest_get(&second, &state, MOTE_STATE_APIC);
	EXPECT_EQ(0x105, state.apic.reg[2]);
	EXPECT_EQ(0x100020, state.apic.reg[0xd]);
	state.apic.reg[0xf] = 0x1ff;
	guest_set(&second, &state);
	EXPECT_EQ(0, msi_ext(&second, 0x105, 0, 0x51));
	EXPECT_EQ(-ENOENT, msi_ext(&second, 5, 0, 0x52));
	/* Logical: bit 5 of cluster 16, also in a set of all of its bits, and by lowest priority. */
	EXPECT_EQ(0, msi_ext(&second, 0x100020, 4, 0x53));
	EXPECT_EQ(0, msi_ext(&second, 0x10ffff, 4, 0x54));
	EXPECT_EQ(0, msi_ext(&second, 0x10ffff, 4, 0x155));
	EXPECT_EQ(-ENOENT, msi_ext(&second, 0x100010, 4, 0x56));
	EXPECT_EQ(-ENOENT, msi_ext(&second, 0x110020, 4, 0x57));
	EXPECT_EQ(-ENOENT, msi_ext(&second, 0xfffe0020, 4, 0x58));
	EXPECT_EQ(0, msi_ext(&second, ~0u, 4, 0x59));
	EXPECT_EQ(0, msi_ext(&second, ~0u, 0, 0x5a));
	guest_get(&second, &state, MOTE_STATE_APIC);
	EXPECT_EQ(0x63a << 16, state.apic.reg[0x22]);
	mote_cpu_destroy(&second.cpu);
}

GUEST(up_and_down, 64, X2APIC_ON "out %al, $0x80\n" WRITE(0xf, 0xff) "out %al, $0x81\n"
      WRITE(0xf, 0x1ff) "sti; nop; out %al, $0x82\n");

/* A device is told whether its interrupt was taken, merged with one that waits, or lost. */
TEST_F(lapic, fate_of_messages)
{
	struct mote_msi lowest = { .address = 0xfee03004 };
	struct mote_state state;
	struct guest second;

	add_cpu(&second, &self->guest);
	/* A local APIC that software has not enabled takes none: as while it waits for its start. */
	EXPECT_EQ(-ENOENT, msi(&self->guest, 0, 0x51));
	EXPECT_EQ(-ENOENT, msi(&self->guest, 1, 0xc051));
	guest_start(&self->guest, GUEST_LONG, &guest_up_and_down);
	EXPECT_PORT(0x80);
	EXPECT_EQ(0, msi(&self->guest, 0, 0x51));
	EXPECT_EQ(1, msi(&self->guest, 0, 0x51));
	EXPECT_EQ(0, msi(&self->guest, 0, 0x52));
	guest_get(&self->guest, &state, MOTE_STATE_APIC);
	EXPECT_EQ(3u << 0x11, state.apic.reg[0x22]);
	EXPECT_EQ(1, msi(&self->guest, 0, 0x52));

	/* Lowest priority: one of those addressed that can take it, whatever the vector. */
	guest_get(&second, &state, MOTE_STATE_MSRS);
	state.msrs.apic_base |= 0x400;
	guest_set(&second, &state);
	for (int i = 0; i < 4; i++) {
		lowest.data = 0x160 + i;
		EXPECT_EQ(0, mote_msi(self->guest.machine.fd, &lowest));
	}
	guest_get(&self->guest, &state, MOTE_STATE_APIC);
	EXPECT_EQ(0xf, state.apic.reg[0x23] & 0xf);
	/* What has been taken stays when the APIC is switched off, and comes when it is on again. */
	EXPECT_PORT(0x81);
	EXPECT_EQ(-ENOENT, msi(&self->guest, 0, 0x71));
	EXPECT_VECTOR(0x63);
	mote_cpu_destroy(&second.cpu);
}

#define SERVE "mov $0x830, %ecx; mov $0x40c1, %eax; mov %ebx, %edx; wrmsr\n"

#define UP_TO(offset) ".fill " #offset " - (. - 0b), 1, 0x90\n"

/*
 * EBX: whom to send to; R8: begins, and has the last; RBP counts up to RDI; at
 * RSI: the handler ran, and how often.
 */
GUEST(ping_pong, 64, "0:" X2APIC_ON "sti; out %al, $0x82; test %r8, %r8; jz 2f\n"
      "1:" SERVE "2: cli; cmpb $0, (%rsi); jne 3f; sti; hlt; jmp 2b\n"
      "3: movb $0, (%rsi); sti\n" EOI "inc %rbp; cmp %rdi, %rbp; jb 1b; test %r8, %r8; jnz 4f\n"
      SERVE "4: out %al, $0x80\n" UP_TO(0x100) "movb $1, (%rsi); incq 8(%rsi); iretq\n");

static void set_gate(struct guest *guest, int vector, __u64 offset)
{
	__u64 *gate = (__u64 *)(guest->ram + GUEST_IDT) + 2 * vector;

	gate[0] = (GUEST_CODE + offset) | 8 << 16 | 0xee00ull << 32;
	gate[1] = 0;
}

static volatile int ready;

/* Return: how many came. */
static void *play(void *data)
{
	struct guest *guest = data;

	if (guest_run(guest) != MOTE_EXIT_PIO || guest->run->pio.port != 0x82)
		return (void *)-2l;
	/* An APIC that is still off would not take the first one. */
	__atomic_add_fetch(&ready, 1, __ATOMIC_SEQ_CST);
	while (ready < 2)
		sched_yield();
	if (guest_run(guest) != MOTE_EXIT_PIO || guest->run->pio.port != 0x80)
		return (void *)-1l;
	return (void *)*(long *)(guest->ram + guest->run->gpr[MOTE_RSI] + 8);
}

static void set_player(struct guest *guest, int id, long rounds)
{
	struct mote_state state;

	guest_start(guest, GUEST_LONG, &guest_ping_pong);
	guest_get(guest, &state, MOTE_STATE_GPRS);
	state.gprs.gpr[MOTE_RBX] = !id;
	state.gprs.gpr[MOTE_R8] = !id;
	state.gprs.gpr[MOTE_RSI] = GUEST_FREE + 64 * id;
	state.gprs.gpr[MOTE_RDI] = rounds;
	state.gprs.gpr[MOTE_RSP] -= 0x400 * id;
	guest_set(guest, &state);
}

/* Two CPUs send each other an IPI for each they get: none is lost, none comes twice. */
TEST_F(lapic, ping_pong)
{
	long rounds = guest_rounds(2000, 500000);
	struct guest second;
	pthread_t thread;
	void *result;

	add_cpu(&second, &self->guest);
	set_player(&self->guest, 0, rounds);
	set_player(&second, 1, rounds);
	set_gate(&self->guest, 0xc1, 0x100);
	ready = 0;
	ASSERT_EQ(0, pthread_create(&thread, NULL, play, &second));
	EXPECT_EQ(rounds, (long)play(&self->guest));
	pthread_join(thread, &result);
	EXPECT_EQ(rounds, (long)result);
	mote_cpu_destroy(&second.cpu);
}

#define CPUS 4
#define SAVE "push %rax; push %rcx; push %rdx\n"
#define RESTORE "pop %rdx; pop %rcx; pop %rax; iretq\n"

/*
 * R15: counters of device interrupts, IPIs, NMIs and of being ready; for each of the
 * first R14 gets an IPI.
 */
GUEST(storm, 64, "0:" X2APIC_ON "incq 24(%r15); sti; 1: hlt; jmp 1b\n"
      UP_TO(0x100) SAVE "incq (%r15); mov $0x830, %ecx; mov $0x4051, %eax; mov %r14d, %edx; wrmsr\n"
      EOI RESTORE
      UP_TO(0x180) SAVE "incq 8(%r15)\n" EOI RESTORE
      UP_TO(0x200) "incq 16(%r15); iretq\n");

struct storm {
	struct guest guests[CPUS];
	pthread_t threads[CPUS];
	long sent[CPUS], nmis[CPUS];
};

static volatile __u64 *counters(struct storm *storm, int cpu)
{
	return (__u64 *)(storm->guests[0].ram + GUEST_FREE + 64 * cpu);
}

static void *run_on(void *guest)
{
	return (void *)(long)guest_run(guest);
}

static void storm_start(struct storm *storm)
{
	struct mote_state state;

	for (int i = 0; i < CPUS; i++) {
		struct guest *guest = &storm->guests[i];

		if (i) {
			*guest = storm->guests[0];
			if (mote_cpu_create(&guest->cpu, &guest->machine, i))
				abort();
			guest->run = guest->cpu.run;
		}
		guest_start(guest, GUEST_LONG, &guest_storm);
		guest_get(guest, &state, MOTE_STATE_GPRS);
		state.gprs.gpr[MOTE_R14] = (i + 1) % CPUS;
		state.gprs.gpr[MOTE_R15] = GUEST_FREE + 64 * i;
		state.gprs.gpr[MOTE_RSP] -= 0x400 * i;
		guest_set(guest, &state);
	}
	set_gate(&storm->guests[0], 0x50, 0x100);
	set_gate(&storm->guests[0], 0x51, 0x180);
	set_gate(&storm->guests[0], 2, 0x200);
	for (int i = 0; i < CPUS; i++)
		pthread_create(&storm->threads[i], NULL, run_on, &storm->guests[i]);
}

/* All that was sent to a CPU has been taken, and the IPIs that came of it, too: no more, no less. */
static bool is_served(struct storm *storm, int cpu)
{
	return counters(storm, cpu)[0] == (__u64)storm->sent[cpu] &&
	       counters(storm, (cpu + 1) % CPUS)[1] == (__u64)storm->sent[cpu] &&
	       counters(storm, cpu)[2] == (__u64)storm->nmis[cpu];
}

static bool wait_for(struct storm *storm, int cpu)
{
	time_t end = time(NULL) + LOST_S;

	while (!is_served(storm, cpu)) {
		if (time(NULL) > end)
			return false;
		sched_yield();
	}
	return true;
}

static void nothing(int signal)
{
}

/* R8: when it is due; RSI: how late it came, each time; the handler is at 0x100. */
GUEST(late, 64, "0:" X2APIC_ON WRITE(0x32, 0x40070) "mov $0x20400, %rsi; mov $200, %edi\n"
      "1: cli; rdtsc; shl $32, %rdx; or %rdx, %rax; add $100000, %rax; mov %rax, %r8\n"
      "mov %rax, %rdx; shr $32, %rdx; mov $0x6e0, %ecx; wrmsr; sti; hlt; dec %edi; jnz 1b\n"
      "out %al, $0x80\n"
      UP_TO(0x100) "rdtsc; shl $32, %rdx; or %rdx, %rax; sub %r8, %rax; mov %rax, (%rsi)\n"
      "add $8, %rsi\n" EOI "iretq\n");

static int by_size(const void *a, const void *b)
{
	const __s64 *left = a, *right = b;

	return *left < *right ? -1 : *left > *right;
}

/* The timer is never early; how late it is, is the host's, and printed. */
TEST_F(lapic, timer_lateness)
{
	__s64 *late = (void *)(self->guest.ram + 0x20400);
	struct mote_info info;

	ASSERT_EQ(0, mote_get_info(self->guest.fd, &info));
	guest_start(&self->guest, GUEST_LONG, &guest_late);
	set_gate(&self->guest, 0x70, 0x100);
	EXPECT_PORT(0x80);
	EXPECT_EQ((__u64)(0x20400 + 200 * sizeof(*late)), self->guest.run->gpr[MOTE_RSI]);
	qsort(late, 200, sizeof(*late), by_size);
	EXPECT_LE(0, late[0]);
	TH_LOG("late by %lld us at least, %lld in the middle, %lld at most",
	       late[0] * 1000 / info.tsc_khz, late[100] * 1000 / info.tsc_khz,
	       late[199] * 1000 / info.tsc_khz);
}

/* Device interrupts, IPIs and NMIs among four vCPUs: each is counted, none is lost or doubled. */
TEST_F(lapic, storm)
{
	static const struct mote_event nmi = { .valid = 1, .type = MOTE_EVENT_NMI, .vector = 2 };
	struct storm storm = { .guests[0] = self->guest };
	unsigned int seed = 1;
	void *result;

	signal(SIGUSR1, nothing);
	storm_start(&storm);
	for (int i = 0; i < CPUS; i++)
		while (!counters(&storm, i)[3])
			sched_yield();
	for (long i = 0; i < guest_scale(3000); i++) {
		int cpu = rand_r(&seed) % CPUS;

		ASSERT_TRUE(wait_for(&storm, cpu)) {
			TH_LOG("CPU %d: sent %ld, %ld NMIs; got %lld, %lld, next's IPIs %lld", cpu,
			       storm.sent[cpu], storm.nmis[cpu], counters(&storm, cpu)[0],
			       counters(&storm, cpu)[2], counters(&storm, (cpu + 1) % CPUS)[1]);
		}
		if (rand_r(&seed) % 4 == 0) {
			storm.nmis[cpu]++;
			ASSERT_EQ(0, mote_inject(storm.guests[cpu].cpu.fd, &nmi));
		}
		storm.sent[cpu]++;
		ASSERT_EQ(0, msi(&self->guest, cpu, 0x50));
	}
	for (int i = 0; i < CPUS; i++)
		EXPECT_TRUE(wait_for(&storm, i));
	for (int i = 0; i < CPUS; i++) {
		storm.guests[i].stop = true;
		storm.guests[i].run->immediate_exit = 1;
		pthread_kill(storm.threads[i], SIGUSR1);
		pthread_join(storm.threads[i], &result);
		EXPECT_EQ(-EINTR, (long)result);
		if (i)
			mote_cpu_destroy(&storm.guests[i].cpu);
	}
}

static int apic_access(struct guest *guest, unsigned int offset, bool write, unsigned int *value)
{
	struct mote_apic_access access = { .offset = offset, .write = write, .value = *value };
	int err = mote_apic_access(guest->cpu.fd, &access);

	*value = access.value;
	return err;
}

#define XAPIC_WRITE(offset, what)						\
	do {									\
		unsigned int value = what;					\
										\
		EXPECT_EQ(0, apic_access(&self->guest, offset, true, &value));	\
	} while (0)
#define XAPIC_READ(offset)							\
	({									\
		unsigned int value = 0;						\
										\
		EXPECT_EQ(0, apic_access(&self->guest, offset, false, &value));	\
		value;								\
	})

GUEST(open, 64, "sti; nop; out %al, $0x80; jmp .\n");

/* xAPIC mode: accesses to its page, which user space completes. */
TEST_F(lapic, xapic)
{
	unsigned int value = 0;
	struct guest plain;

	guest_start(&self->guest, GUEST_LONG, &guest_open);
	XAPIC_WRITE(0xf0, 0x1ff);
	EXPECT_EQ(0x1ff, XAPIC_READ(0xf0));
	EXPECT_EQ(0, XAPIC_READ(0x20));
	EXPECT_EQ(0xffffffff, XAPIC_READ(0xe0));
	XAPIC_WRITE(0xd0, 0x04ffffff);
	EXPECT_EQ(0x04000000, XAPIC_READ(0xd0));
	/* Flat logical: bit 2. */
	EXPECT_EQ(-ENOENT, msi(&self->guest, 2, 0x66));
	struct mote_msi logical = { .address = 0xfee04004, .data = 0x67 };
	EXPECT_EQ(0, mote_msi(self->guest.machine.fd, &logical));
	/* To itself through ICR. */
	XAPIC_WRITE(0x310, 0);
	XAPIC_WRITE(0x300, 0x44068);
	EXPECT_EQ(1u << 7 | 1u << 8, XAPIC_READ(0x230));
	EXPECT_VECTOR(0x68);
	XAPIC_WRITE(0xb0, 0);
	EXPECT_VECTOR(0x67);
	EXPECT_PORT(0x80);
	/* A register that is none: an error, shown by a write to ESR. */
	EXPECT_EQ(0, XAPIC_READ(0x40));
	XAPIC_WRITE(0x280, 0);
	EXPECT_EQ(0x80, XAPIC_READ(0x280));
	/* An illegal vector is not sent. */
	XAPIC_WRITE(0x300, 0x44003);
	XAPIC_WRITE(0x280, 0);
	EXPECT_EQ(0x20, XAPIC_READ(0x280));
	EXPECT_EQ(-EINVAL, apic_access(&self->guest, 0x24, false, &value));
	EXPECT_EQ(-EINVAL, apic_access(&self->guest, 0x1000, false, &value));
	guest_create(&plain);
	EXPECT_EQ(-EINVAL, apic_access(&plain, 0x20, false, &value));
	EXPECT_EQ(-EINVAL, msi(&plain, 0, 0x55));
	guest_destroy(&plain);
}

GUEST(busy, 64, X2APIC_ON WRITE(0x3e, 0xb) WRITE(0x32, 0x10070) WRITE(0x38, 0x70000000)
      SELF(0x41) SELF(0x91) "out %al, $0x80; sti; nop; out %al, $0x81; jmp .\n");

/* What is read can be set into a fresh vCPU, and goes on there. */
TEST_F(lapic, state)
{
	struct mote_state state, again;
	struct guest fresh;

	guest_start(&self->guest, GUEST_LONG, &guest_busy);
	EXPECT_PORT(0x80);
	guest_get(&self->guest, &state, (MOTE_STATE_ALL & ~MOTE_STATE_XSAVE) | MOTE_STATE_APIC);
	EXPECT_EQ(1u << 17, state.apic.reg[0x24]);
	EXPECT_LT(0, state.apic.reg[0x39]);

	guest_create_vm(&fresh, MOTE_VM_LAPIC);
	guest_create_cpu(&fresh, 0);
	memcpy(fresh.ram, self->guest.ram, GUEST_TABLES + 0x10000);
	guest_set(&fresh, &state);
	guest_get(&fresh, &again, state.mask);
	EXPECT_GE(state.apic.reg[0x39], again.apic.reg[0x39]);
	again.apic.reg[0x39] = state.apic.reg[0x39];
	EXPECT_EQ(0, memcmp(&state.apic, &again.apic, sizeof(state.apic)));
	fresh.run->rip = self->guest.run->next_rip;
	fresh.run->set = MOTE_SET_RIP;
	guest_destroy(&self->guest);
	self->guest = fresh;
	EXPECT_VECTOR(0x91);
	EXPECT_PORT(0x81);

	/* What no APIC can be like is refused, and changes nothing. */
	state.mask = MOTE_STATE_APIC;
	for (int i = 0; i < 5; i++) {
		struct mote_state bad = state;

		switch (i) {
		case 0:
			bad.apic.reg[2] = 5;
			break;
		case 1:
			bad.apic.reg[0x20] = 1;
			break;
		case 2:
			bad.apic.reg[0x32] |= 1u << 31;
			break;
		case 3:
			bad.apic.reg[0x3d] = 1;
			break;
		case 4:
			bad.apic.signals = MOTE_APIC_INIT | 0x41;
			break;
		}
		EXPECT_EQ(-EINVAL, mote_set_state(self->guest.cpu.fd, &bad)) {
			TH_LOG("case %d", i);
		}
	}
	guest_get(&self->guest, &again, MOTE_STATE_APIC);
	EXPECT_EQ(1u << 17, again.apic.reg[0x14]);
}

MOTE_TEST_MAIN
