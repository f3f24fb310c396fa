// SPDX-License-Identifier: GPL-2.0
/* Time, sleep and interruption: the TSC, HLT, signals, immediate exit, windows. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "guest.h"
#include "selftest.h"

GUEST(tsc, 64, "1: rdtsc; shl $32, %rdx; or %rdx, %rax; out %al, $0x80; jmp 1b");
GUEST(spin, 64, "sti; 1: inc %rax; jmp 1b");
GUEST(halt, 64, "sti; 1: inc %rax; hlt; jmp 1b");
GUEST(closed, 64, "1: out %al, $0x80; sti; nop; out %al, $0x81; cli; jmp 1b");
GUEST(shadow, 64, "cli; out %al, $0x80; sti; out %al, $0x81; out %al, $0x82; hlt");

static __u64 rdtsc(void)
{
	unsigned int low, high;

	asm volatile("lfence; rdtsc" : "=a"(low), "=d"(high));
	return (__u64)high << 32 | low;
}

/* The guest's TSC is the host's plus the offset, and goes forward. */
TEST(tsc_offset)
{
	static const __u64 offsets[] = { 0, 1ull << 40, -(1ull << 30), 12345 };
	struct mote_state state;
	struct guest guest;
	__u64 last = 0;

	guest_create(&guest);
	guest_start(&guest, GUEST_LONG, &guest_tsc);
	for (int i = 0; i < 4; i++) {
		__u64 before, after, tsc;

		guest_get(&guest, &state, MOTE_STATE_TSC);
		state.tsc.offset = offsets[i];
		guest_set(&guest, &state);
		before = rdtsc() + offsets[i];
		ASSERT_EQ(MOTE_EXIT_PIO, guest_run(&guest));
		after = rdtsc() + offsets[i];
		tsc = guest.run->gpr[MOTE_RAX];
		EXPECT_GE(tsc - before, 0);
		EXPECT_LE(tsc - before, after - before);
		guest_get(&guest, &state, MOTE_STATE_TSC);
		EXPECT_EQ(offsets[i], state.tsc.offset);
	}
	for (int i = 0; i < 100; i++) {
		ASSERT_EQ(MOTE_EXIT_PIO, guest_run(&guest));
		ASSERT_LT(last, guest.run->gpr[MOTE_RAX]);
		last = guest.run->gpr[MOTE_RAX];
	}
	guest_destroy(&guest);
}

/* By the instruction, by the MSR, by the instruction again; then from a value that is set. */
#define READ_TSC(insn, to) insn "; shl $32, %rdx; or %rdx, %rax; mov %rax, " to "\n"
GUEST(both_ways, 64, "mov $0x10, %ecx\n"
      READ_TSC("rdtsc", "%rbx") READ_TSC("rdmsr", "%rsi") READ_TSC("rdtsc", "%rdi")
      "out %al, $0x80; mov $0x100, %edx; xor %eax, %eax; wrmsr\n" READ_TSC("rdtsc", "%rbx") "out %al, $0x81");

/* What the host's TSC is at a frequency; 2^-31 of it is lost at the most. */
static __u64 at_frequency(__u64 tsc, __u32 khz, __u32 host_khz)
{
	return tsc / host_khz * khz + tsc % host_khz * khz / host_khz;
}

/* A TSC of the guest's own frequency, however it is read. */
TEST(tsc_frequency)
{
	struct mote_vm_config config = { .flags = MOTE_VM_HLT_EXIT };
	__u32 host = guest_tsc_khz(1, 1);

	if (!host)
		SKIP(return, "not on this hardware: no TSC scaling");
	for (int i = 0; i < 4; i++) {
		static const __u32 by[4][2] = { { 1, 16 }, { 1, 3 }, { 5, 2 }, { 16, 1 } };
		struct guest guest;
		__u64 before, after, *gpr;

		config.tsc_khz = guest_tsc_khz(by[i][0], by[i][1]) + !i;
		guest_create_vm_with(&guest, &config);
		guest_create_cpu(&guest, 0);
		gpr = guest.run->gpr;
		guest_start(&guest, GUEST_LONG, &guest_both_ways);
		before = at_frequency(rdtsc(), config.tsc_khz, host);
		ASSERT_EQ(MOTE_EXIT_PIO, guest_run(&guest));
		after = at_frequency(rdtsc(), config.tsc_khz, host);
		EXPECT_LE(before - (before >> 31), gpr[MOTE_RBX]);
		EXPECT_LE(gpr[MOTE_RBX], gpr[MOTE_RSI]);
		EXPECT_LE(gpr[MOTE_RSI], gpr[MOTE_RDI]);
		EXPECT_LE(gpr[MOTE_RDI], after);
		before = rdtsc();
		ASSERT_EQ(MOTE_EXIT_PIO, guest_run(&guest));
		after = at_frequency(rdtsc() - before, config.tsc_khz, host);
		EXPECT_LE(0x10000000000, gpr[MOTE_RBX]);
		EXPECT_LE(gpr[MOTE_RBX] - 0x10000000000, after + 1);
		guest_destroy(&guest);
	}
}

GUEST(wrtsc, 64, "mov $0x10, %ecx; mov $0x1234, %edx; xor %eax, %eax; wrmsr; rdtsc; mov %edx, %ebx\n"
		 "mov $0x3b, %ecx; rdmsr; hlt");

/* A guest may set its TSC; the adjustment is seen, the host's TSC is not touched. */
TEST(tsc_written_by_the_guest)
{
	struct guest guest;
	__u64 before = rdtsc();

	guest_create(&guest);
	guest_start(&guest, GUEST_LONG, &guest_wrtsc);
	ASSERT_EQ(MOTE_EXIT_HLT, guest_run(&guest));
	EXPECT_EQ(0x1234, guest.run->gpr[MOTE_RBX]);
	EXPECT_NE(0, guest.run->gpr[MOTE_RAX] | guest.run->gpr[MOTE_RDX]);
	EXPECT_GT(1ull << 44, rdtsc() - before);
	guest_destroy(&guest);
}

GUEST(rdtsc, 64, "rdtsc; out %al, $0x80");

/* User space may say what the time is; an RDTSC that is not completed is there again. */
TEST(rdtsc_exits)
{
	struct guest guest;

	guest_create_vm(&guest, MOTE_VM_HLT_EXIT | MOTE_VM_RDTSC_EXIT);
	guest_create_cpu(&guest, 0);
	guest_start(&guest, GUEST_LONG, &guest_rdtsc);
	for (int i = 0; i < 2; i++) {
		ASSERT_EQ(MOTE_EXIT_RDTSC, guest_run(&guest));
		EXPECT_EQ(GUEST_CODE, guest.run->rip);
		EXPECT_EQ(GUEST_CODE + 2, guest.run->next_rip);
	}
	guest.run->gpr[MOTE_RAX] = 0x1234;
	guest.run->gpr[MOTE_RDX] = 0x5678;
	guest.run->set = 1u << MOTE_RAX | 1u << MOTE_RDX | MOTE_SET_COMPLETE;
	ASSERT_EQ(MOTE_EXIT_PIO, guest_run(&guest));
	EXPECT_EQ(0x1234, guest.run->gpr[MOTE_RAX]);
	EXPECT_EQ(0x5678, guest.run->gpr[MOTE_RDX]);
	EXPECT_EQ(2, guest.run->exits[MOTE_EXIT_RDTSC]);
	guest_destroy(&guest);
}

/* immediate_exit ends the run before the guest does anything, as often as it is set. */
TEST(immediate_exit)
{
	struct guest guest;

	guest_create(&guest);
	guest_start(&guest, GUEST_LONG, &guest_spin);
	guest.run->immediate_exit = 1;
	for (int i = 0; i < 10; i++)
		ASSERT_EQ(-EINTR, mote_run(guest.cpu.fd));
	EXPECT_EQ(GUEST_CODE, guest.run->rip);
	EXPECT_EQ(0, guest.run->gpr[MOTE_RAX]);
	guest_destroy(&guest);
}

/* A signal, whenever it comes, ends a run; with immediate_exit set by its handler none is lost. */
TEST(signals)
{
	struct guest guest;

	guest_create(&guest);
	guest_start(&guest, GUEST_LONG, &guest_spin);
	for (int i = 0; i < 50; i++) {
		__u64 count = guest.run->gpr[MOTE_RAX];

		guest_interrupt_in(&guest, 1 + 97 * i % 3000);
		ASSERT_EQ(-EINTR, guest_run(&guest));
		ASSERT_LE(count, guest.run->gpr[MOTE_RAX]);
	}
	EXPECT_NE(0, guest.run->gpr[MOTE_RAX]);
	guest_destroy(&guest);
}

static volatile int taken;

/* Each a little after the one before has been taken. */
static void *inject_nmis(void *data)
{
	struct mote_event event = { .valid = 1, .type = MOTE_EVENT_NMI, .vector = 2 };
	struct guest *guest = data;

	for (int i = 0; i < 5; i++) {
		while (taken < i)
			usleep(3000);
		usleep(3000);
		mote_inject(guest->cpu.fd, &event);
	}
	return NULL;
}

static void start_sleeping(struct guest *guest, const struct guest_code *code)
{
	guest_create_vm(guest, 0);
	guest_create_cpu(guest, 0);
	guest_start(guest, GUEST_LONG, code);
}

/* HLT sleeps in the kernel; an NMI from another thread wakes it, each time. */
TEST(halt_and_nmi)
{
	struct guest_frame frame;
	struct guest guest;
	pthread_t thread;

	start_sleeping(&guest, &guest_halt);
	ASSERT_EQ(0, pthread_create(&thread, NULL, inject_nmis, &guest));
	for (int i = 0; i < 5; i++) {
		ASSERT_EQ(MOTE_EXIT_PIO, guest_run(&guest));
		ASSERT_TRUE(guest_frame(&guest, GUEST_LONG, &frame));
		EXPECT_EQ(2, frame.vector);
		EXPECT_GE(i + 1, guest.run->gpr[MOTE_RAX]);
		taken = i + 1;
	}
	EXPECT_LE(1, guest.run->gpr[MOTE_RAX]);
	pthread_join(thread, NULL);
	guest_destroy(&guest);
}

/* An NMI reaches a guest that runs, too, and a second one waits for the end of the first. */
TEST(nmi_while_running)
{
	struct mote_event event = { .valid = 1, .type = MOTE_EVENT_NMI, .vector = 2 };
	struct guest_frame frame;
	struct mote_state state;
	struct guest guest;

	start_sleeping(&guest, &guest_spin);
	ASSERT_EQ(0, mote_inject(guest.cpu.fd, &event));
	ASSERT_EQ(0, mote_inject(guest.cpu.fd, &event));
	ASSERT_EQ(MOTE_EXIT_PIO, guest_run(&guest));
	ASSERT_TRUE(guest_frame(&guest, GUEST_LONG, &frame));
	EXPECT_EQ(2, frame.vector);
	guest_get(&guest, &state, MOTE_STATE_EVENTS);
	EXPECT_EQ(1, state.events.nmi_blocked);
	EXPECT_EQ(1, state.events.nmi_pending);
	ASSERT_EQ(MOTE_EXIT_PIO, guest_run(&guest));
	ASSERT_TRUE(guest_frame(&guest, GUEST_LONG, &frame));
	EXPECT_EQ(2, frame.vector);
	guest_get(&guest, &state, MOTE_STATE_EVENTS);
	EXPECT_EQ(0, state.events.nmi_pending);
	guest_destroy(&guest);
}

/* A signal ends the sleep of HLT; the next run sleeps on, and an interrupt ends it. */
TEST(halt_and_signal)
{
	struct mote_event event = { .valid = 1, .type = MOTE_EVENT_INTERRUPT, .vector = 0x41 };
	struct guest_frame frame;
	struct mote_state state;
	struct guest guest;

	start_sleeping(&guest, &guest_halt);
	for (int i = 0; i < 3; i++) {
		/* On a slow host the first signals come before the guest has got to its HLT. */
		do {
			guest_interrupt_in(&guest, 3000);
			ASSERT_EQ(-EINTR, guest_run(&guest));
			guest_get(&guest, &state, MOTE_STATE_EVENTS);
		} while (!i && !state.events.halted);
		EXPECT_EQ(1, guest.run->gpr[MOTE_RAX]);
		EXPECT_EQ(1, state.events.halted);
	}
	guest.stop = false;
	guest.run->immediate_exit = 0;
	ASSERT_EQ(0, mote_inject(guest.cpu.fd, &event));
	ASSERT_EQ(MOTE_EXIT_PIO, guest_run(&guest));
	ASSERT_TRUE(guest_frame(&guest, GUEST_LONG, &frame));
	EXPECT_EQ(0x41, frame.vector);
	guest_destroy(&guest);
}

/* A closed guest takes no interrupt; the window that is asked for opens in time. */
TEST(interrupt_window)
{
	struct mote_event event = { .valid = 1, .type = MOTE_EVENT_INTERRUPT, .vector = 0x41 };
	struct guest_frame frame;
	struct guest guest;

	guest_create(&guest);
	guest_start(&guest, GUEST_LONG, &guest_closed);
	ASSERT_EQ(MOTE_EXIT_PIO, guest_run(&guest));
	EXPECT_EQ(-EAGAIN, mote_inject(guest.cpu.fd, &event));
	guest.run->window = MOTE_WINDOW_INTERRUPT;
	ASSERT_EQ(MOTE_EXIT_INTERRUPT_WINDOW, guest_run(&guest));
	guest.run->window = 0;
	EXPECT_EQ(GUEST_CODE + 4, guest.run->rip); /* after the NOP that ends the shadow of STI */
	ASSERT_EQ(0, mote_inject(guest.cpu.fd, &event));
	ASSERT_EQ(MOTE_EXIT_PIO, guest_run(&guest));
	ASSERT_TRUE(guest_frame(&guest, GUEST_LONG, &frame));
	EXPECT_EQ(0x41, frame.vector);
	EXPECT_EQ(GUEST_CODE + 4, frame.rip);
	ASSERT_EQ(MOTE_EXIT_PIO, guest_run(&guest));
	EXPECT_EQ(0x81, guest.run->pio.port);
	guest_destroy(&guest);
}

/* The instruction behind STI is in its shadow, also when it is completed by user space. */
TEST(shadow_of_sti)
{
	struct mote_event event = { .valid = 1, .type = MOTE_EVENT_INTERRUPT, .vector = 0x41 };
	struct mote_state state;
	struct guest guest;

	guest_create(&guest);
	guest_start(&guest, GUEST_LONG, &guest_shadow);
	ASSERT_EQ(MOTE_EXIT_PIO, guest_run(&guest));
	EXPECT_EQ(0x80, guest.run->pio.port);
	ASSERT_EQ(MOTE_EXIT_PIO, guest_run(&guest));
	EXPECT_EQ(0x81, guest.run->pio.port);
	guest_get(&guest, &state, MOTE_STATE_EVENTS);
	EXPECT_NE(0, state.events.shadow);
	EXPECT_EQ(-EAGAIN, mote_inject(guest.cpu.fd, &event));
	ASSERT_EQ(MOTE_EXIT_PIO, guest_run(&guest));
	EXPECT_EQ(0x82, guest.run->pio.port);
	guest_get(&guest, &state, MOTE_STATE_EVENTS);
	EXPECT_EQ(0, state.events.shadow);
	EXPECT_EQ(0, mote_inject(guest.cpu.fd, &event));
	guest_destroy(&guest);
}

GUEST(halt_only, 64, "hlt; out %al, $0x80");

/* A guest that was left between STI and HLT halts before the window opens: the two belong together. */
TEST(window_behind_a_shadow)
{
	struct mote_state state;
	struct guest guest;

	guest_create(&guest);
	guest_start(&guest, GUEST_LONG, &guest_halt_only);
	guest_get(&guest, &state, MOTE_STATE_GPRS | MOTE_STATE_EVENTS);
	state.gprs.rflags |= 0x200;
	state.events.shadow = MOTE_SHADOW_STI;
	guest_set(&guest, &state);
	guest.run->window = MOTE_WINDOW_INTERRUPT;
	ASSERT_EQ(MOTE_EXIT_HLT, guest_run(&guest)) {
		TH_LOG("%s at %llx", guest_exit_name(guest.run->reason), guest.run->rip);
	}
	EXPECT_EQ(GUEST_CODE, guest.run->rip);
	guest.run->set = MOTE_SET_COMPLETE;
	ASSERT_EQ(MOTE_EXIT_INTERRUPT_WINDOW, guest_run(&guest));
	EXPECT_EQ(GUEST_CODE + 1, guest.run->rip);
	guest_destroy(&guest);
}

/* The same HLT is an exit where that was asked for. */
TEST(halt_is_an_exit)
{
	struct guest guest;

	guest_create(&guest);
	guest_start(&guest, GUEST_LONG, &guest_halt);
	ASSERT_EQ(MOTE_EXIT_HLT, guest_run(&guest));
	EXPECT_EQ(guest.run->rip + 1, guest.run->next_rip);
	ASSERT_EQ(MOTE_EXIT_HLT, guest_run(&guest)); /* not completed: again */
	EXPECT_EQ(1, guest.run->gpr[MOTE_RAX]);
	guest.run->set = MOTE_SET_COMPLETE;
	ASSERT_EQ(MOTE_EXIT_HLT, guest_run(&guest));
	EXPECT_EQ(2, guest.run->gpr[MOTE_RAX]);
	guest_destroy(&guest);
}

MOTE_TEST_MAIN
