// SPDX-License-Identifier: GPL-2.0
/*
 * What a guest can observe goes on when its VM is saved, destroyed, and restored into a new one:
 * docs/abi.md, "How to save and restore".
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <asm/kvm_para.h>
#include <linux/kvm_para.h>

#include "expect.h"
#include "guest.h"
#include "pvclock.h"
#include "selftest.h"
#include "x2apic.h"

#define CPUS 2
#define XSAVE_ROOM 16384
#define PARTS (MOTE_STATE_ALL | MOTE_STATE_APIC)

#define CLOCK 0x20000
#define STEAL 0x20140
#define FLAG 0x20200
#define TMCCT 0x39

/* @guest is the first vCPU's view, and owns VM and memory. */
FIXTURE(saved)
{
	struct guest guest;
	struct guest second;
	unsigned int saves;	/* at no exit: see run_to_end() */
};

static void create(FIXTURE_DATA(saved) *self)
{
	guest_create_vm(&self->guest, MOTE_VM_LAPIC);
	self->second = self->guest;
	guest_create_cpu(&self->guest, 0);
	guest_create_cpu(&self->second, 1);
}

static void destroy(FIXTURE_DATA(saved) *self)
{
	mote_cpu_destroy(&self->second.cpu);
	guest_destroy(&self->guest);
}

FIXTURE_SETUP(saved)
{
	/* What a test says before it ends by an assertion is seen. */
	setlinebuf(stdout);
	create(self);
}

FIXTURE_TEARDOWN(saved)
{
	destroy(self);
}

/* ---- save and restore ---------------------------------------------------------- */

static unsigned char images[2][CPUS][XSAVE_ROOM] __attribute__((aligned(64)));

static struct saved {
	struct mote_clock_value clock;
	struct mote_state states[CPUS];
	unsigned char ram[GUEST_SIZE];
} saved;

static void check(int err, const char *what)
{
	if (!err)
		return;
	printf("# %s: %s\n", what, strerror(-err));
	fflush(stdout);
	abort();
}

static void get_all(struct guest *guest, struct mote_state *state, unsigned char *image)
{
	memset(image, 0, XSAVE_ROOM);
	*state = (struct mote_state){
		.mask = PARTS, .xsave = (unsigned long)image, .xsave_size = XSAVE_ROOM,
	};
	check(mote_get_state(guest->cpu.fd, state), "MOTE_GET_STATE");
}

/* Complete what the last exit asked for. */
static void complete(struct guest *guest)
{
	struct mote_run *run = guest->run;

	if (run->reason == MOTE_EXIT_PIO)
		run->set |= MOTE_SET_COMPLETE;
	run->immediate_exit = 1;
	check(mote_run(guest->cpu.fd) == -EINTR ? 0 : -EIO, "MOTE_RUN");
	run->immediate_exit = 0;
	run->reason = MOTE_EXIT_NONE;
}

static void save(FIXTURE_DATA(saved) *self)
{
	complete(&self->guest);
	check(mote_get_clock(self->guest.machine.fd, &saved.clock), "MOTE_GET_CLOCK");
	get_all(&self->guest, &saved.states[0], images[0][0]);
	get_all(&self->second, &saved.states[1], images[0][1]);
	memcpy(saved.ram, self->guest.ram, GUEST_SIZE);
}

/* May it have changed since it was set?  Then it is made as it was. */
static void forget_time(struct mote_state *now, const struct mote_state *then)
{
	now->tsc.value = then->tsc.value;
	now->apic.reg[TMCCT] = then->apic.reg[TMCCT];
	now->xsave = then->xsave;
	/* A timer may have fired. */
	if (then->apic.reg[TMCCT] || then->apic.deadline)
		now->apic = then->apic;
}

static int restore_cpu(struct guest *guest, int id)
{
	struct mote_state *then = &saved.states[id], now;

	check(mote_set_state(guest->cpu.fd, then), "MOTE_SET_STATE");
	get_all(guest, &now, images[1][id]);
	forget_time(&now, then);
	for (size_t i = 0; i < sizeof(now); i++)
		if (((char *)&now)[i] != ((char *)then)[i])
			printf("# byte %zu of the state: %#x, was %#x\n", i, ((unsigned char *)&now)[i],
			       ((unsigned char *)then)[i]);
	return memcmp(&now, then, sizeof(now)) || memcmp(images[0][id], images[1][id], then->xsave_size);
}

/* Is what is read again what was set? */
static bool restore(FIXTURE_DATA(saved) *self)
{
	memcpy(self->guest.ram, saved.ram, GUEST_SIZE);
	check(mote_set_clock(self->guest.machine.fd, &saved.clock), "MOTE_SET_CLOCK");
	return !restore_cpu(&self->guest, 0) & !restore_cpu(&self->second, 1);
}

static bool save_and_restore(FIXTURE_DATA(saved) *self)
{
	save(self);
	destroy(self);
	create(self);
	return restore(self);
}

/* ---- time ---------------------------------------------------------------------- */

GUEST(clock, 64, WRMSR(0x4b564d01, 0x20001)
      "1: rdtsc; shl $32, %rdx; or %rdx, %rax; out %al, $0x80; jmp 1b\n");

static __u64 monotonic_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC_RAW, &now);
	return now.tv_sec * 1000000000ull + now.tv_nsec;
}

/*
 * What MOTE_GET_CLOCK says is what the guest computes, to the nanosecond; neither that nor the
 * TSC goes back, nor does the time count that lies between saving and restoring.
 */
TEST_F(saved, clock_and_tsc)
{
	/* As it was saved: the guest's memory goes with the guest. */
	const struct pvclock *clock = (const void *)(saved.ram + CLOCK);
	__u64 tsc, ns, began, last_tsc = 0, last_ns = 0;
	struct mote_clock_value now;

	guest_start(&self->guest, GUEST_LONG, &guest_clock);
	for (int i = 0; i < 20; i++) {
		EXPECT_PORT(0x80);
		tsc = self->guest.run->gpr[MOTE_RAX];
		ns = pvclock_ns((const void *)(self->guest.ram + CLOCK), tsc);
		EXPECT_LT(last_tsc, tsc);
		EXPECT_LE(last_ns, ns);
		save(self);
		if (clock->flags & PVCLOCK_STABLE)
			EXPECT_EQ(saved.clock.ns,
				  pvclock_ns(clock, saved.clock.tsc + saved.states[0].tsc.offset));
		EXPECT_LE(tsc, saved.clock.tsc + saved.states[0].tsc.offset);
		EXPECT_LE(ns, saved.clock.ns + PVCLOCK_SLACK);
		destroy(self);
		usleep(20000);
		create(self);
		/* A quarter of an hour elsewhere, on a host that began later. */
		saved.clock.tsc += 1ull << 40;
		saved.clock.ns += 900000000000;
		began = monotonic_ns();
		ASSERT_TRUE(restore(self));
		ASSERT_EQ(0, mote_get_clock(self->guest.machine.fd, &now));
		EXPECT_GE(monotonic_ns() - began + PVCLOCK_SLACK, now.ns - saved.clock.ns);
		last_tsc = saved.clock.tsc + saved.states[0].tsc.offset;
		last_ns = saved.clock.ns - (clock->flags & PVCLOCK_STABLE ? 0 : PVCLOCK_SLACK);
	}
}

/* vCPUs whose TSCs differ go on to differ by as much. */
TEST_F(saved, tscs_of_two)
{
	struct pvclock one, two;

	guest_start(&self->guest, GUEST_LONG, &guest_clock);
	guest_start(&self->second, GUEST_LONG, &guest_clock);
	complete(&self->second);
	save(self);
	saved.states[1].tsc.offset += 1ull << 50;
	saved.states[1].events.halted = 0;
	ASSERT_TRUE(restore(self));
	for (int i = 0; i < 3; i++) {
		EXPECT_PORT(0x80);
		memcpy(&one, self->guest.ram + CLOCK, sizeof(one));
		ASSERT_EQ(MOTE_EXIT_PIO, guest_run(&self->second));
		memcpy(&two, self->guest.ram + CLOCK, sizeof(two));
		if (one.flags & PVCLOCK_STABLE) {
			EXPECT_EQ(one.ns, two.ns);
			EXPECT_EQ(one.tsc + (1ull << 50), two.tsc);
		}
		complete(&self->second);
		ASSERT_TRUE(save_and_restore(self));
	}
}

GUEST(steal, 64, WRMSR(0x4b564d03, 0x20141) "1: out %al, $0x80; jmp 1b\n");

/* Steal time goes on from where it was, and what is saved is what the guest was told last. */
TEST_F(saved, steal_time)
{
	__u64 told, before = 123456789012345;
	struct mote_state state;

	guest_start(&self->guest, GUEST_LONG, &guest_steal);
	guest_get(&self->guest, &state, MOTE_STATE_MSRS);
	state.msrs.pv_steal_ns = before;
	guest_set(&self->guest, &state);
	for (int i = 0; i < 3; i++) {
		EXPECT_PORT(0x80);
		memcpy(&told, self->guest.ram + STEAL, sizeof(told));
		EXPECT_LE(before, told);
		/* Its completion is a run: the guest is told of what was stolen since. */
		save(self);
		before = told;
		memcpy(&told, saved.ram + STEAL, sizeof(told));
		EXPECT_LE(before, told);
		EXPECT_EQ(told, saved.states[0].msrs.pv_steal_ns);
		before = told;
		destroy(self);
		create(self);
		ASSERT_TRUE(restore(self));
	}
}

/* ---- timers -------------------------------------------------------------------- */

#define ONE_SHOT 0x70
#define PERIODIC 0x20070
#define DEADLINE 0x40070

/*
 * RBX: LVTT; RSI: the count, or ticks until the deadline.  When nothing is left the interrupt is there;
 * Bochs may look for it when IF changes, and not at an entry with IF set.
 */
GUEST(timer, 64, X2APIC_ON WRMSR(0x83e, 0xa) "mov $0x832, %ecx; mov %ebx, %eax; xor %edx, %edx; wrmsr\n"
      "test $0x40000, %ebx; jnz 2f; mov %esi, %eax; mov $0x838, %ecx; wrmsr; out %al, $0x80\n"
      "sti; 1: mov $0x839, %ecx; rdmsr; test %eax, %eax; jnz 1b; cli; sti; nop; out %al, $0x81\n"
      "2: rdtsc; add %esi, %eax; adc $0, %edx; mov $0x6e0, %ecx; wrmsr; out %al, $0x80\n"
      "sti; 1: mov $0x6e0, %ecx; rdmsr; or %edx, %eax; jnz 1b; cli; sti; nop; out %al, $0x81\n");

/* @fresh: of a local APIC that has not been used. */
static void start_timer(struct guest *guest, const struct mote_state *fresh, __u32 lvtt, __u32 count)
{
	guest_set(guest, fresh);
	guest_start(guest, GUEST_LONG, &guest_timer);
	guest->run->gpr[MOTE_RBX] = lvtt;
	guest->run->gpr[MOTE_RSI] = count;
	guest->run->set = 1u << MOTE_RBX | 1u << MOTE_RSI;
}

/* The timer expires around the moment in which the state is read: @count is led there. */
static int lead_timer(FIXTURE_DATA(saved) *self, __u32 lvtt)
{
	struct guest_frame frame;
	struct mote_state fresh;
	__u32 count = 1000, step = 4000;

	guest_get(&self->guest, &fresh, MOTE_STATE_MSRS | MOTE_STATE_APIC);
	for (int i = 0; i < guest_rounds(2000, 20000); i++) {
		bool fired;
		int reason;

		start_timer(&self->guest, &fresh, lvtt, count);
		reason = guest_run(&self->guest);
		if (reason != MOTE_EXIT_PIO) {
			printf("# %s at %#llx\n", guest_exit_name(reason), self->guest.run->rip);
			return i;
		}
		complete(&self->guest);
		get_all(&self->guest, &saved.states[0], images[0][0]);
		fired = saved.states[0].apic.reg[0x23] & 1u << 16;
		if (i % 100)
			guest_set(&self->guest, &saved.states[0]);
		else if (!save_and_restore(self))
			return i;
		if (guest_run(&self->guest) != MOTE_EXIT_PIO ||
		    !guest_frame(&self->guest, GUEST_LONG, &frame) || frame.vector != 0x70) {
			printf("# port %#x after a count of %u\n", self->guest.run->pio.port, count);
			return i;
		}
		count = fired ? count + step : count > step ? count - step : 1;
		step = step > 40 ? step - step / 8 : 4000;
	}
	return -1;
}

TEST_F(saved, timer_one_shot)
{
	EXPECT_EQ(-1, lead_timer(self, ONE_SHOT));
}

TEST_F(saved, timer_periodic)
{
	EXPECT_EQ(-1, lead_timer(self, PERIODIC));
}

TEST_F(saved, timer_deadline)
{
	EXPECT_EQ(-1, lead_timer(self, DEADLINE));
}

/* ---- interrupts ---------------------------------------------------------------- */

/* INIT, a start-up IPI, and a hypercall that wakes it, to vCPU 1, which has not looked yet. */
GUEST(sender, 64, X2APIC_ON "mov $0x830, %ecx; mov $1, %edx; mov $0x4500, %eax; wrmsr\n"
      "mov $0x608, %eax; wrmsr; out %al, $0x80\n"
      "mov $5, %eax; xor %ebx, %ebx; mov $1, %ecx; vmcall; out %al, $0x81\n");
GUEST(started, 16, "out %al, $0x82; hlt; out %al, $0x83\n");

TEST_F(saved, signals)
{
	unsigned char *at;

	guest_start(&self->guest, GUEST_LONG, &guest_sender);
	at = memmem(self->guest.ram + GUEST_CODE, guest_sender.size, "\x0f\x01\xc1", 3);
	if (mote_cpuid_vendor() == MOTE_VENDOR_SVM)
		at[2] = 0xd9;
	EXPECT_PORT(0x80);
	ASSERT_TRUE(save_and_restore(self));
	EXPECT_EQ(MOTE_APIC_INIT | MOTE_APIC_STARTUP | 8, saved.states[1].apic.signals);
	EXPECT_EQ(MOTE_WAITS_FOR_SIPI, saved.states[1].events.halted);
	EXPECT_PORT(0x81);
	ASSERT_TRUE(save_and_restore(self));
	EXPECT_EQ(MOTE_APIC_WAKE | MOTE_APIC_INIT | MOTE_APIC_STARTUP | 8, saved.states[1].apic.signals);
	memcpy(self->guest.ram + GUEST_CODE, guest_started.code, guest_started.size);
	ASSERT_EQ(MOTE_EXIT_PIO, guest_run(&self->second));
	EXPECT_EQ(0x82, self->second.run->pio.port);
	complete(&self->second);
	ASSERT_TRUE(save_and_restore(self));
	EXPECT_EQ(MOTE_APIC_WAKE, saved.states[1].apic.signals);
	ASSERT_EQ(MOTE_EXIT_PIO, guest_run(&self->second));
	EXPECT_EQ(0x83, self->second.run->pio.port);
}

#define END "btrl $0, 0x20200; jc 9f\n" EOI "9: "

GUEST(eoi, 64, X2APIC_ON "movl $0, 0x20200\n" WRMSR(0x4b564d04, 0x20201) "sti\n" SELF(0x52) "nop\n" END
      "out %al, $0x80\n" SELF(0x41) "nop\n" END "out %al, $0x81\n");

/* An offer that is open: the interrupt ends once, and the next one comes. */
TEST_F(saved, open_offer)
{
	guest_start(&self->guest, GUEST_LONG, &guest_eoi);
	EXPECT_VECTOR(0x52);
	EXPECT_EQ(1, self->guest.ram[FLAG] & 1);
	ASSERT_TRUE(save_and_restore(self));
	EXPECT_EQ(1u << 0x12, saved.states[0].apic.reg[0x12]);
	EXPECT_PORT(0x80);
	ASSERT_TRUE(save_and_restore(self));
	EXPECT_EQ(0, saved.states[0].apic.reg[0x12]);
	EXPECT_VECTOR(0x41);
	EXPECT_PORT(0x81);
	ASSERT_TRUE(save_and_restore(self));
	EXPECT_EQ(0, saved.states[0].apic.reg[0x12] | saved.states[0].apic.reg[0x11]);
}

GUEST(halting, 64, X2APIC_ON "out %al, $0x80; sti; 1: hlt; jmp 1b\n");

/* Messages that nobody has looked at yet, for a CPU that halts. */
TEST_F(saved, messages)
{
	const struct mote_msi edge = { .address = 0xfee00000, .data = 0x41 };
	const struct mote_msi level = { .address = 0xfee00000, .data = 0xc061 };

	guest_start(&self->guest, GUEST_LONG, &guest_halting);
	EXPECT_PORT(0x80);
	do {
		guest_interrupt_in(&self->guest, 3000);
		ASSERT_EQ(-EINTR, guest_run(&self->guest));
		save(self);
	} while (!saved.states[0].events.halted);
	ASSERT_EQ(0, mote_msi(self->guest.machine.fd, &edge));
	ASSERT_EQ(0, mote_msi(self->guest.machine.fd, &level));
	ASSERT_TRUE(save_and_restore(self));
	EXPECT_EQ(1u << 1, saved.states[0].apic.reg[0x22]);
	EXPECT_EQ(1u << 1, saved.states[0].apic.reg[0x23]);
	EXPECT_EQ(1u << 1, saved.states[0].apic.reg[0x1b]);
	EXPECT_VECTOR(0x61);
}

/* ---- MSRs ---------------------------------------------------------------------- */

/* RDI: is there something to write? */
GUEST(msr, 64, "1: out %al, $0x80; test %edi, %edi; jz 2f; wrmsr; 2: rdmsr; out %al, $0x81; jmp 1b\n");

/* From one exit at port 0x80 to the next: write @value, if asked to, and read it; false: it is not there. */
static bool access_msr(struct guest *guest, __u32 index, bool write, __u64 *value)
{
	struct mote_run *run = guest->run;
	struct guest_frame frame;
	int reason;

	run->gpr[MOTE_RCX] = index;
	run->gpr[MOTE_RAX] = (__u32)*value;
	run->gpr[MOTE_RDX] = *value >> 32;
	run->gpr[MOTE_RDI] = write;
	run->set = 1u << MOTE_RCX | 1u << MOTE_RAX | 1u << MOTE_RDX | 1u << MOTE_RDI;
	reason = guest_run(guest);
	if (reason == MOTE_EXIT_PIO && run->pio.port == 0x81) {
		*value = (__u32)run->gpr[MOTE_RAX] | run->gpr[MOTE_RDX] << 32;
		return guest_run(guest) == MOTE_EXIT_PIO;
	}
	if (guest_frame(guest, GUEST_LONG, &frame)) {
		guest_resume(guest, GUEST_LONG, GUEST_CODE);
	} else {
		run->rip = GUEST_CODE;
		run->set = MOTE_SET_RIP;
	}
	check(guest_run(guest) == MOTE_EXIT_PIO && run->pio.port == 0x80 ? 0 : -EIO, "next MSR");
	return false;
}

/* Where an MSR keeps a bit that is written, so does the state.  Return: how many it keeps. */
static int keep_bits(struct guest *guest, __u32 index, const struct mote_state *fresh)
{
	__u64 before = 0, value, again = 0;
	struct mote_state state;
	int bit, kept = 0;

	if (!access_msr(guest, index, false, &before))
		return 0;
	/* QEMU's translator does not look at what it writes itself: canonical addresses, SFMASK. */
	for (bit = 0; bit < (host_is_tcg() ? index == 0xc0000084 ? 32 : 47 : 64); bit++) {
		value = before ^ 1ull << bit;
		if (!access_msr(guest, index, true, &value) || value == before)
			continue;
		guest_get(guest, &state, MOTE_STATE_MSRS | MOTE_STATE_SEGS);
		guest_set(guest, fresh);
		if (mote_set_state(guest->cpu.fd, &state) ||
		    !access_msr(guest, index, false, &again) || again != value) {
			printf("# MSR %#x: %#llx is %#llx when it was restored\n", index, value, again);
			return -1;
		}
		guest_set(guest, fresh);
		kept++;
	}
	return kept;
}

/*
 * All that a guest can write and read back is in the state; but for the TSC, and a wall clock, which is
 * written to memory at once.  Bit 0 of the others, which would be, too, the tests above have.
 */
TEST_F(saved, msrs)
{
	static const struct {
		__u32 first, last;
	} ranges[] = {
		{ 0, 0xf }, { 0x11, 0x7ff }, { 0x4b564d01, 0x4b564d0f }, { 0xc0000080, 0xc0000110 },
		{ 0xc0010000, 0xc0010300 }, { 0xc0011000, 0xc0011040 },
	};
	struct mote_state fresh;
	int kept = 0, more;

	guest_start(&self->guest, GUEST_LONG, &guest_msr);
	EXPECT_PORT(0x80);
	guest_get(&self->guest, &fresh, MOTE_STATE_MSRS | MOTE_STATE_SEGS);
	for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
		for (__u32 index = ranges[i].first; index <= ranges[i].last; index++) {
			more = keep_bits(&self->guest, index, &fresh);
			ASSERT_LE(0, more);
			kept += more;
		}
	}
	/* Those of SYSCALL and SYSENTER alone have as many. */
	EXPECT_LT(400, kept);
}

/* ---- events -------------------------------------------------------------------- */

GUEST(spin, 64, "out %al, $0x80; 1: inc %rax; jmp 1b");
GUEST(quiet, 64, "out %al, $0x80; nop; nop; out %al, $0x81");

/* One NMI is being serviced, another one waits for its end. */
TEST_F(saved, nmis)
{
	const struct mote_event nmi = { .valid = 1, .type = MOTE_EVENT_NMI, .vector = 2 };

	guest_start(&self->guest, GUEST_LONG, &guest_spin);
	EXPECT_PORT(0x80);
	for (int i = 0; i < 2; i++)
		ASSERT_EQ(0, mote_inject(self->guest.cpu.fd, &nmi));
	ASSERT_TRUE(save_and_restore(self));
	EXPECT_EQ(2, saved.states[0].events.nmi_pending);
	EXPECT_VECTOR(2);
	save(self);
	EXPECT_EQ(1, saved.states[0].events.nmi_pending);
	EXPECT_EQ(1, saved.states[0].events.nmi_blocked);
	destroy(self);
	create(self);
	ASSERT_TRUE(restore(self));
	EXPECT_VECTOR(2);
	ASSERT_TRUE(save_and_restore(self));
	EXPECT_EQ(0, saved.states[0].events.nmi_pending);
}

/* A single-step trap that pends behind an instruction of user space's; and an exception. */
TEST_F(saved, what_is_to_be_delivered)
{
	const struct mote_event fault = { .valid = 1, .type = MOTE_EVENT_EXCEPTION, .vector = 6 };

	guest_start(&self->guest, GUEST_LONG, &guest_quiet);
	EXPECT_PORT(0x80);
	self->guest.run->rflags |= 0x100;
	self->guest.run->set = MOTE_SET_RFLAGS;
	ASSERT_TRUE(save_and_restore(self));
	EXPECT_EQ(1u << 14, saved.states[0].events.pending_debug);
	EXPECT_VECTOR(1);
	guest_start(&self->guest, GUEST_LONG, &guest_quiet);
	EXPECT_PORT(0x80);
	complete(&self->guest);
	ASSERT_EQ(0, mote_inject(self->guest.cpu.fd, &fault));
	ASSERT_TRUE(save_and_restore(self));
	EXPECT_EQ(1, saved.states[0].events.injected.valid);
	EXPECT_VECTOR(6);
}

/* ---- at many points ------------------------------------------------------------ */

/* R14: TF, to be stepped.  Interrupts of two priorities, traps, shadows, MSRs, debug, FPU, CR8. */
GUEST(busy, 64, X2APIC_ON "sti; mov $3, %r15d; fninit; fld1; pxor %xmm1, %xmm1\n"
      "1:" SELF(0x51) "nop\n" EOI "cli\n" SELF(0x61) SELF(0x41) "sti; nop; cli; sti; nop\n" EOI "nop\n" EOI
      "pushf; or %r14, (%rsp); popf; nop; inc %rbx; pushf; andl $~0x100, (%rsp); popf\n"
      "mov %ss, %eax; mov %eax, %ss; nop; int3; int $0x80\n"
      "mov %r15, %dr1; mov %dr1, %r8; mov %r15, %cr8; mov %cr8, %r9\n"
      "mov $0xc0000102, %ecx; mov %r15d, %eax; xor %edx, %edx; wrmsr; rdmsr; mov %eax, %r10d\n"
      "cvtsi2sd %r15, %xmm0; addsd %xmm0, %xmm1; movq %xmm1, %r11; fadd %st(0), %st(0)\n"
      "xor %eax, %eax; mov %rax, %cr8; fstl 0x20300; mov 0x20300, %r12; out %al, $0x80\n"
      "dec %r15d; jnz 1b; out %al, $0x8f\n");

#define MOST_POINTS 256
#define TF 0x100

struct point {
	__u64 port, rip, gpr[MOTE_NR_GPRS];
};

static void note(struct guest *guest, struct point *point)
{
	point->port = guest->run->pio.port;
	point->rip = guest->run->rip;
	memcpy(point->gpr, guest->run->gpr, sizeof(point->gpr));
}

/* Say where two runs part; true: nowhere. */
static bool is_same(const struct point *one, const struct point *two, int n)
{
	int i = 0;

	while (i < n && !memcmp(&one[i], &two[i], sizeof(*one)))
		i++;
	if (i < n)
		printf("# point %d: port %#llx at %#llx, was %#llx at %#llx\n", i, two[i].port, two[i].rip,
		       one[i].port, one[i].rip);
	return i == n;
}

/*
 * Run to the end, with a save at point @at, or, if @at is negative, after times of which -@at is the
 * seed: up to a millisecond, and where there were many saves up to 128, so that a slow host comes
 * to an end, too.
 * Return: the points.
 */
static int run_to_end(FIXTURE_DATA(saved) *self, __u64 flags, struct point *points, int at)
{
	unsigned int begun = 0, longest = 1000;
	int n = 0, reason;

	guest_start(&self->guest, GUEST_LONG, &guest_busy);
	self->guest.run->gpr[MOTE_R14] = flags;
	self->guest.run->set = 1u << MOTE_R14;
	do {
		if (at < 0)
			guest_interrupt_in(&self->guest, 1 + -at * 7919u * ++begun % longest);
		reason = guest_run(&self->guest);
		if (reason == -EINTR) {
			/* None comes while there is no run page. */
			guest_interrupt_in(&self->guest, 0);
			if (!(++self->saves % 8) && longest < 128000)
				longest *= 2;
			if (!save_and_restore(self))
				return -1;
			continue;
		}
		if (reason != MOTE_EXIT_PIO) {
			printf("# %s at %#llx\n", guest_exit_name(reason), self->guest.run->rip);
			if (reason == MOTE_EXIT_FAIL_ENTRY)
				printf("# %s\n", mote_check_text(self->guest.run->fail.check));
			return -1;
		}
		note(&self->guest, &points[n]);
		if (n == at && !save_and_restore(self))
			return -1;
	} while ((reason == -EINTR || points[n++].port != 0x8f) && n < MOST_POINTS);
	guest_interrupt_in(&self->guest, 0);
	return n;
}

TEST_F(saved, at_each_exit)
{
	static struct point points[2][MOST_POINTS];
	int n = run_to_end(self, TF, points[0], MOST_POINTS);

	ASSERT_LT(20, n);
	ASSERT_GT(MOST_POINTS, n);
	for (int at = 0; at < n - 1; at++) {
		EXPECT_EQ(n, run_to_end(self, TF, points[1], at));
		ASSERT_TRUE(is_same(points[0], points[1], n)) TH_LOG("saved at %d", at);
	}
}

/*
 * Wherever it is: as a rule not at an exit that user space sees.  Bochs's VT-x has a step pend where
 * the fetch of an instruction exits: it would be taken before the instruction.
 */
TEST_F(saved, anywhere)
{
	static struct point points[2][MOST_POINTS];
	const char *lab = getenv("MOTE_LAB");
	__u64 flags = lab && !strcmp(lab, "vmx") ? 0 : TF;
	int n = run_to_end(self, flags, points[0], MOST_POINTS);

	ASSERT_LT(15, n);
	for (int i = 1; i <= guest_rounds(50, 1000) && self->saves < guest_rounds(400, 20000); i++) {
		EXPECT_EQ(n, run_to_end(self, flags, points[1], -i));
		ASSERT_TRUE(is_same(points[0], points[1], n)) TH_LOG("round %d", i);
		/* On a debug kernel it takes its time. */
		printf("# round %d, %u saves\n", i, self->saves);
	}
}

MOTE_TEST_MAIN
