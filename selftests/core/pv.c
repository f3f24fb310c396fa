// SPDX-License-Identifier: GPL-2.0
/*
 * The paravirtual interface: clock, wall clock, steal time, ends of interrupts, hypercalls,
 * pause loops.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <sys/mman.h>
#include <unistd.h>

#include <asm/kvm_para.h>
#include <linux/kvm_para.h>

#include "expect.h"
#include "guest.h"
#include "pvclock.h"
#include "selftest.h"
#include "x2apic.h"

#define CALL(number) "mov $" #number ", %eax; vmcall\n"

/* Where the guests below have what they share with the hypervisor: from GUEST_FREE on. */
#define CLOCK 0x20000
#define WALL 0x20100
#define STEAL 0x20140
#define FLAG 0x20200

struct wall {
	__u32 version;
	__u32 sec;
	__u32 nsec;
};

FIXTURE(pv)
{
	struct guest guest;
};

FIXTURE_SETUP(pv)
{
	guest_create_vm(&self->guest, MOTE_VM_LAPIC);
	guest_create_cpu(&self->guest, 0);
}

FIXTURE_TEARDOWN(pv)
{
	guest_destroy(&self->guest);
}

/* On AMD a hypercall is VMMCALL. */
static void start(struct guest *guest, enum guest_mode mode, const struct guest_code *code)
{
	unsigned char *byte = guest->ram + GUEST_CODE;

	guest_start(guest, mode, code);
	for (; mote_cpuid_vendor() == MOTE_VENDOR_SVM && byte < guest->ram + GUEST_CODE + code->size; byte++)
		if (!memcmp(byte, "\x0f\x01\xc1", 3))
			byte[2] = 0xd9;
}

/* ---- clocks ------------------------------------------------------------------- */

/* Each round: what the TSC says; with RBX, it is set to 0 before the next. */
GUEST(clock, 64, WRMSR(0x4b564d00, 0x20100) WRMSR(0x4b564d01, 0x20001)
      "1: rdtsc; shl $32, %rdx; or %rdx, %rax; out %al, $0x80; test %rbx, %rbx; jz 1b\n"
      "xor %eax, %eax; xor %edx, %edx; mov $0x10, %ecx; wrmsr; xor %ebx, %ebx; jmp 1b\n");

static __u64 clock_ns(const struct guest *guest, __u64 tsc)
{
	return pvclock_ns((const void *)(guest->ram + CLOCK), tsc);
}

static __u64 vm_clock(const struct guest *guest)
{
	struct mote_clock_value value = {};

	return mote_get_clock(guest->machine.fd, &value) ? 0 : value.ns;
}

static void pin(int n)
{
	pin_to_cpu(n % sysconf(_SC_NPROCESSORS_ONLN));
}

TEST_F(pv, clock)
{
	__u64 before, now, after, slack, last = 0, last_tsc = 0;
	struct mote_clock_value value = { .ns = 1ull << 63 };
	struct wall wall;
	time_t earlier;
	int back = 0;

	before = vm_clock(&self->guest);
	EXPECT_GT(60000000000ull, before);
	guest_start(&self->guest, GUEST_LONG, &guest_clock);
	EXPECT_PORT(0x80);
	now = clock_ns(&self->guest, self->guest.run->gpr[MOTE_RAX]);
	after = vm_clock(&self->guest);
	EXPECT_LE(before, now + PVCLOCK_SLACK);
	EXPECT_LE(now, after + PVCLOCK_SLACK);

	memcpy(&wall, self->guest.ram + WALL, sizeof(wall));
	EXPECT_EQ(0, wall.version % 2);
	earlier = time(NULL);
	now = (wall.sec * 1000000000ull + wall.nsec + vm_clock(&self->guest)) / 1000000000;
	EXPECT_LE(earlier, now + 1);
	EXPECT_LE(now, time(NULL) + 1);

	/*
	 * It does not go back: from one CPU to the other, and when the TSC is set.  Where the
	 * host's TSC is no clock, each CPU has its own, and who reads them takes the latest; the
	 * two clocks of the host may differ.
	 */
	slack = ((const struct pvclock *)(self->guest.ram + CLOCK))->flags & PVCLOCK_STABLE ?
		0 : PVCLOCK_SLACK;
	for (int i = 0; i < 300; i++) {
		bool rewind = i % 50 == 49;

		pin(i);
		self->guest.run->gpr[MOTE_RBX] = rewind;
		self->guest.run->set = 1u << MOTE_RBX;
		EXPECT_PORT(0x80);
		now = clock_ns(&self->guest, self->guest.run->gpr[MOTE_RAX]);
		back += last > now + slack;
		last = now;
		if (!rewind)
			ASSERT_LT(last_tsc, self->guest.run->gpr[MOTE_RAX]);
		last_tsc = self->guest.run->gpr[MOTE_RAX];
	}
	EXPECT_EQ(0, back);
	pin(0);

	/* A VM that comes from elsewhere goes on where it was. */
	EXPECT_EQ(-EINVAL, mote_set_clock(self->guest.machine.fd, &value));
	value.ns = 5000000000000;
	EXPECT_EQ(0, mote_set_clock(self->guest.machine.fd, &value));
	EXPECT_PORT(0x80);
	now = clock_ns(&self->guest, self->guest.run->gpr[MOTE_RAX]);
	EXPECT_LE(value.ns, now + PVCLOCK_SLACK);
	EXPECT_GT(value.ns + 60000000000, now);
}

/* Who reads a struct while it is written anew finds that out by its version. */
TEST_F(pv, versions)
{
	__u32 wall, clock;

	guest_start(&self->guest, GUEST_LONG, &guest_clock);
	EXPECT_PORT(0x80);
	wall = ((struct wall *)(self->guest.ram + WALL))->version;
	clock = ((struct pvclock *)(self->guest.ram + CLOCK))->version;
	EXPECT_NE(wall, clock);
	guest_start(&self->guest, GUEST_LONG, &guest_clock);
	EXPECT_PORT(0x80);
	EXPECT_NE(wall, ((struct wall *)(self->guest.ram + WALL))->version);
	EXPECT_NE(clock, ((struct pvclock *)(self->guest.ram + CLOCK))->version);
}

/* Where the host's CPUs agree on the time, so do the guest's, to the nanosecond. */
TEST_F(pv, clocks_of_two)
{
	struct pvclock one, two;
	struct guest second = self->guest;
	struct mote_state state;

	ASSERT_EQ(0, mote_cpu_create(&second.cpu, &second.machine, 1));
	second.run = second.cpu.run;
	guest_start(&self->guest, GUEST_LONG, &guest_clock);
	EXPECT_PORT(0x80);
	memcpy(&one, self->guest.ram + CLOCK, sizeof(one));
	guest_start(&second, GUEST_LONG, &guest_clock);
	guest_get(&second, &state, MOTE_STATE_TSC);
	state.tsc.offset = 1ull << 50;
	guest_set(&second, &state);
	ASSERT_EQ(MOTE_EXIT_PIO, guest_run(&second));
	memcpy(&two, self->guest.ram + CLOCK, sizeof(two));
	EXPECT_EQ(one.flags, two.flags);
	if (one.flags & PVCLOCK_STABLE) {
		EXPECT_EQ(one.ns, two.ns);
		EXPECT_EQ(one.tsc + (1ull << 50), two.tsc);
	} else {
		EXPECT_LE(one.ns, two.ns);
	}
	mote_cpu_destroy(&second.cpu);
}

/* ---- steal time --------------------------------------------------------------- */

/* With IF set, as Bochs holds back the interrupts of the host otherwise. */
GUEST(spin, 64, WRMSR(0x4b564d03, 0x20141) "sti; 1: inc %rax; jmp 1b\n");

static volatile bool over;

static void *hog(void *unused)
{
	pin(0);
	while (!over)
		;
	return NULL;
}

static void *run_pinned(void *guest)
{
	pin(0);
	return (void *)(long)guest_run(guest);
}

static void nothing(int signal)
{
}

TEST_F(pv, steal_time)
{
	volatile struct kvm_steal_time *steal = (void *)(self->guest.ram + STEAL);
	time_t end = time(NULL) + LOST_S;
	bool preempted = false;
	pthread_t hogs, runner;
	void *result;

	signal(SIGUSR1, nothing);
	over = false;
	guest_start(&self->guest, GUEST_LONG, &guest_spin);
	ASSERT_EQ(0, pthread_create(&hogs, NULL, hog, NULL));
	ASSERT_EQ(0, pthread_create(&runner, NULL, run_pinned, &self->guest));
	while ((!preempted || steal->steal < 10000000) && time(NULL) < end) {
		preempted |= steal->preempted;
		usleep(500);
	}
	EXPECT_TRUE(preempted);
	EXPECT_LE(10000000, steal->steal);
	EXPECT_GT(60000000000ull, steal->steal);
	EXPECT_LT(0, steal->version);
	over = true;
	self->guest.stop = true;
	self->guest.run->immediate_exit = 1;
	pthread_kill(runner, SIGUSR1);
	pthread_join(runner, &result);
	pthread_join(hogs, NULL);
	EXPECT_EQ(-EINTR, (long)result);
}

/* ---- ends of interrupts --------------------------------------------------------- */

/* BL: may it be ended without an exit?  Then it is; else by the APIC. */
#define END "btrl $0, 0x20200; setc %bl; jc 9f\n" EOI "9: "

GUEST(eoi, 64, X2APIC_ON "movl $0, 0x20200\n" WRMSR(0x4b564d04, 0x20201) "sti\n" SELF(0x51) "nop\n" END
      "out %al, $0x80; mov $0x812, %ecx; rdmsr; out %al, $0x81; cli\n"
      SELF(0x41) SELF(0x61) "sti; nop\n" END "out %al, $0x82; nop\n" END "out %al, $0x83\n"
      "out %al, $0x84; nop\n" END "out %al, $0x85\n"
      SELF(0x52) "nop; out %al, $0x86\n" END "out %al, $0x87\n"
      WRMSR(0x4b564d04, 0x60000001) SELF(0x53) "nop\n" EOI "out %al, $0x88\n");

#define WRITES (self->guest.run->exits[MOTE_EXIT_WRMSR])

TEST_F(pv, eoi)
{
	struct mote_run *run = self->guest.run;
	struct mote_msi level = { .address = 0xfee00000, .data = 0xc071 };
	struct mote_state state;
	__u64 writes;

	guest_start(&self->guest, GUEST_LONG, &guest_eoi);
	EXPECT_VECTOR(0x51);
	writes = WRITES;
	EXPECT_PORT(0x80);
	EXPECT_EQ(1, run->gpr[MOTE_RBX] & 1);
	EXPECT_EQ(writes, WRITES);
	/* Nothing is in service any more. */
	EXPECT_PORT(0x81);
	EXPECT_EQ(0, (__u32)run->gpr[MOTE_RAX]);
	/* Another one waits for the end of the first, but nobody for that of the second. */
	EXPECT_VECTOR(0x61);
	EXPECT_EQ(0, self->guest.ram[FLAG] & 1);
	EXPECT_VECTOR(0x41);
	EXPECT_EQ(1, self->guest.ram[FLAG] & 1);
	EXPECT_PORT(0x82);
	EXPECT_EQ(0, run->gpr[MOTE_RBX] & 1);
	EXPECT_PORT(0x83);
	EXPECT_EQ(1, run->gpr[MOTE_RBX] & 1);
	/* The I/O APIC waits for those that are level-triggered. */
	EXPECT_PORT(0x84);
	ASSERT_EQ(0, mote_msi(self->guest.machine.fd, &level));
	EXPECT_VECTOR(0x71);
	ASSERT_EQ(MOTE_EXIT_EOI, guest_run(&self->guest));
	EXPECT_EQ(0x71, run->eoi.vector);
	EXPECT_PORT(0x85);
	EXPECT_EQ(0, run->gpr[MOTE_RBX] & 1);
	/* A state that is read is whole: the offer is taken back, and the APIC is to be told. */
	EXPECT_VECTOR(0x52);
	EXPECT_EQ(1, self->guest.ram[FLAG] & 1);
	guest_get(&self->guest, &state, MOTE_STATE_APIC);
	EXPECT_EQ(1u << 0x12, state.apic.reg[0x12]);
	EXPECT_EQ(0, self->guest.ram[FLAG] & 1);
	EXPECT_PORT(0x86);
	EXPECT_PORT(0x87);
	EXPECT_EQ(0, run->gpr[MOTE_RBX] & 1);
	/* Where there is no memory there is no offer. */
	EXPECT_VECTOR(0x53);
	EXPECT_PORT(0x88);
}

/* Deadlines that are over when they are written, the second one while the first's interrupt is in service. */
GUEST(late, 64, X2APIC_ON "movl $0, 0x20200\n" WRMSR(0x4b564d04, 0x20201) WRMSR(0x832, 0x40051) "sti\n"
      WRMSR(0x6e0, 1) "nop\n" WRMSR(0x6e0, 1) END "nop\n out %al, $0x80\n");

/* An interrupt that comes of what the guest itself does waits for an end that is not silent, too. */
TEST_F(pv, eoi_and_timer)
{
	guest_start(&self->guest, GUEST_LONG, &guest_late);
	EXPECT_VECTOR(0x51);
	EXPECT_VECTOR(0x51);
	EXPECT_PORT(0x80);
	EXPECT_EQ(0, self->guest.run->gpr[MOTE_RBX] & 1);
}

GUEST(two_eois, 64, X2APIC_ON "movl $0, 0x20200\n" WRMSR(0x4b564d04, 0x20201) "sti\n"
      SELF(0x51) "nop\n" EOI SELF(0x52) "nop\n");

/* What was offered before a state is set does not end what is in service in that state. */
TEST_F(pv, eoi_and_set_state)
{
	struct mote_state state, again;

	guest_start(&self->guest, GUEST_LONG, &guest_two_eois);
	EXPECT_VECTOR(0x51);
	guest_get(&self->guest, &state, MOTE_STATE_APIC);
	EXPECT_VECTOR(0x52);
	EXPECT_EQ(1, self->guest.ram[FLAG] & 1);
	/* Memory is restored, too. */
	self->guest.ram[FLAG] = 0;
	guest_set(&self->guest, &state);
	guest_get(&self->guest, &again, MOTE_STATE_APIC);
	EXPECT_EQ(1u << 0x11, again.apic.reg[0x12]);
}

GUEST(logged, 64, X2APIC_ON "movl $0, 0x20200\n" WRMSR(0x4b564d04, 0x20201) "sti\n"
      SELF(0x52) "nop\n" END "out %al, $0x80; nop; out %al, $0x81\n");

/* An offer is taken back also where writes are logged by now, and the end is not missed. */
TEST_F(pv, eoi_and_dirty_log)
{
	struct mote_msi message = { .address = 0xfee00000, .data = 0x41 };
	__u64 log = 0;
	struct mote_dirty dirty = {
		.slot = 0, .first = FLAG / 4096 & -64, .nr = 64, .bitmap = (unsigned long)&log,
	};

	guest_start(&self->guest, GUEST_LONG, &guest_logged);
	EXPECT_VECTOR(0x52);
	EXPECT_EQ(1, self->guest.ram[FLAG] & 1);
	guest_add_memory(&self->guest, 0, 0, GUEST_SIZE, self->guest.ram, MOTE_SLOT_LOG_DIRTY);
	ASSERT_EQ(0, mote_msi(self->guest.machine.fd, &message));
	/* The other one has waited for this end, which had to exit. */
	EXPECT_VECTOR(0x41);
	EXPECT_PORT(0x80);
	EXPECT_EQ(0, self->guest.run->gpr[MOTE_RBX] & 1);
	EXPECT_EQ(0, mote_get_dirty(self->guest.machine.fd, &dirty));
	EXPECT_EQ(1, log >> FLAG / 4096 % 64 & 1);
	EXPECT_PORT(0x81);
}

GUEST(absent, 64, X2APIC_ON "movl $0, 0x20200\n" WRMSR(0x4b564d04, 0x20201) "sti\n"
      SELF(0x52) "nop\n" END "out %al, $0x80; 1: hlt; jmp 1b\n");

static pthread_t waiting;

static void *interrupt_later(void *context)
{
	struct mote_msi message = { .address = 0xfee00000, .data = 0x41 };
	struct guest *guest = context;

	usleep(300000);
	mote_msi(guest->machine.fd, &message);
	/* It comes, or is lost. */
	for (int i = 0; i < LOST_S * 100 && !guest->stop; i++)
		usleep(10000);
	guest->run->immediate_exit = 1;
	return (void *)(long)pthread_kill(waiting, SIGUSR1);
}

/*
 * The host may take the flag's page at any moment, for a while: an end that the guest has left
 * there is not missed, and what waits for it follows, also while the vCPU sleeps.
 */
TEST_F(pv, eoi_and_absent_page)
{
	pthread_t later;

	signal(SIGUSR1, nothing);
	guest_start(&self->guest, GUEST_LONG, &guest_absent);
	EXPECT_VECTOR(0x52);
	EXPECT_PORT(0x80);
	EXPECT_EQ(1, self->guest.run->gpr[MOTE_RBX] & 1);
	/* What is there now is what the guest has left: 0. */
	ASSERT_EQ(0, madvise(self->guest.ram + (FLAG & -4096ul), 4096, MADV_DONTNEED));
	waiting = pthread_self();
	ASSERT_EQ(0, pthread_create(&later, NULL, interrupt_later, &self->guest));
	EXPECT_VECTOR(0x41);
	self->guest.stop = true;
	pthread_join(later, NULL);
}

/* Nor is it when the state is read or set then. */
TEST_F(pv, eoi_and_state_of_absent_page)
{
	struct mote_state state;

	guest_start(&self->guest, GUEST_LONG, &guest_absent);
	EXPECT_VECTOR(0x52);
	EXPECT_PORT(0x80);
	ASSERT_EQ(0, madvise(self->guest.ram + (FLAG & -4096ul), 4096, MADV_DONTNEED));
	guest_get(&self->guest, &state, MOTE_STATE_APIC | MOTE_STATE_MSRS);
	EXPECT_EQ(0, state.apic.reg[0x12]);
	/* An offer that is open when another place is named for it is taken back first. */
	guest_start(&self->guest, GUEST_LONG, &guest_logged);
	EXPECT_VECTOR(0x52);
	EXPECT_EQ(1, self->guest.ram[FLAG] & 1);
	state.mask = MOTE_STATE_MSRS;
	state.msrs.pv_eoi = 0x20301;
	guest_set(&self->guest, &state);
	EXPECT_EQ(0, self->guest.ram[FLAG] & 1);
	EXPECT_PORT(0x80);
	EXPECT_EQ(0, self->guest.run->gpr[MOTE_RBX] & 1);
}

/* ---- MSRs ------------------------------------------------------------------------- */

GUEST(write, 64, "wrmsr; hlt; jmp .");
GUEST(nowhere, 64, WRMSR(0x4b564d00, 0x60000000) WRMSR(0x4b564d01, 0x60000001)
      WRMSR(0x4b564d03, 0x60000001) "mov $0x4b564d01, %ecx; rdmsr; out %al, $0x80\n");

/* Values with reserved bits are #GP; addresses where no memory is, nobody's harm. */
TEST_F(pv, bad_values)
{
	static const struct { unsigned int index, value; } bad[] = {
		{ 0x4b564d00, 2 }, { 0x4b564d01, 2 }, { 0x4b564d03, 0x20 }, { 0x4b564d03, 2 },
		{ 0x4b564d04, 2 },
	};
	struct mote_state state;
	struct guest_frame frame;
	struct guest plain;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		guest_start(&self->guest, GUEST_LONG, &guest_write);
		self->guest.run->gpr[MOTE_RCX] = bad[i].index;
		self->guest.run->gpr[MOTE_RAX] = bad[i].value;
		self->guest.run->set = 1u << MOTE_RCX | 1u << MOTE_RAX;
		EXPECT_VECTOR(13);
	}
	guest_start(&self->guest, GUEST_LONG, &guest_nowhere);
	EXPECT_PORT(0x80);
	EXPECT_EQ(0x60000001, (__u32)self->guest.run->gpr[MOTE_RAX]);
	guest_get(&self->guest, &state, MOTE_STATE_MSRS);
	EXPECT_EQ(0x60000001, state.msrs.pv_system_time);
	EXPECT_EQ(0x60000000, state.msrs.pv_wall_clock);
	EXPECT_EQ(0x60000001, state.msrs.pv_steal_time);

	/* Without a local APIC there are no ends of its interrupts. */
	guest_create(&plain);
	guest_start(&plain, GUEST_LONG, &guest_write);
	plain.run->gpr[MOTE_RCX] = 0x4b564d04;
	plain.run->gpr[MOTE_RAX] = 0x20201;
	plain.run->set = 1u << MOTE_RCX | 1u << MOTE_RAX;
	ASSERT_EQ(MOTE_EXIT_PIO, guest_run(&plain));
	EXPECT_TRUE(guest_frame(&plain, GUEST_LONG, &frame));
	guest_get(&plain, &state, MOTE_STATE_MSRS);
	state.msrs.pv_eoi = 0x20201;
	state.mask = MOTE_STATE_MSRS;
	EXPECT_EQ(-EINVAL, mote_set_state(plain.cpu.fd, &state));
	guest_destroy(&plain);
}

/* ---- hypercalls ---------------------------------------------------------------------- */

GUEST(calls, 64, "cpuid; cpuid; cpuid\n" CALL(0x4d000000) "out %al, $0x80\n"
      "mov $6, %ebx\n" CALL(0x4d000001) "out %al, $0x81; mov $999, %ebx\n" CALL(0x4d000001)
      "out %al, $0x82; cli; xor %ebx, %ebx; xor %ecx, %ecx\n" CALL(5) "hlt; out %al, $0x83\n"
      CALL(11) "out %al, $0x84; mov $7, %ebx\n" CALL(11) "out %al, $0x85\n");

TEST_F(pv, hypercalls)
{
	struct mote_run *run = self->guest.run;

	start(&self->guest, GUEST_LONG, &guest_calls);
	EXPECT_PORT(0x80);
	EXPECT_EQ(0, run->gpr[MOTE_RAX]);
	EXPECT_PORT(0x81);
	EXPECT_EQ(3, run->gpr[MOTE_RAX]);
	EXPECT_EQ(3, run->exits[MOTE_EXIT_CPUID]);
	EXPECT_PORT(0x82);
	EXPECT_EQ(-KVM_EINVAL, (int)run->gpr[MOTE_RAX]);
	/* Who was woken before HLT does not sleep. */
	EXPECT_PORT(0x83);
	EXPECT_PORT(0x84);
	EXPECT_EQ(0, run->gpr[MOTE_RAX]);
	/* To nobody. */
	EXPECT_PORT(0x85);
	EXPECT_EQ(0, run->gpr[MOTE_RAX]);
}

GUEST(send, 64, X2APIC_ON "sti; mov $5, %ebx; xor %ecx, %ecx; xor %edx, %edx; mov $0x51, %esi\n"
      CALL(10) "nop; out %al, $0x80\n" EOI
      "mov $1, %ebx; mov $0x651, %esi\n" CALL(10) "out %al, $0x81\n"
      "mov $0x51, %esi; mov $-1, %rbx; mov $-1, %rcx; mov $0xffffffc0, %edx\n" CALL(10) "out %al, $0x82\n"
      "mov $3, %ebx; xor %ecx, %ecx; xor %edx, %edx; mov $0x40051, %esi\n" CALL(10) "out %al, $0x83\n");
GUEST(send32, 32, X2APIC_ON "xor %ebx, %ebx; mov $1, %ecx; xor %edx, %edx; mov $0x51, %esi\n"
      CALL(10) "out %al, $0x80\n");

TEST_F(pv, send_ipi)
{
	struct guest second = self->guest;
	struct mote_state state;

	ASSERT_EQ(0, mote_cpu_create(&second.cpu, &second.machine, 32));
	second.run = second.cpu.run;
	guest_get(&second, &state, MOTE_STATE_APIC);
	state.apic.reg[0xf] = 0x1ff;
	guest_set(&second, &state);

	start(&self->guest, GUEST_LONG, &guest_send);
	EXPECT_VECTOR(0x51);
	EXPECT_PORT(0x80);
	/* There is no CPU 2. */
	EXPECT_EQ(1, self->guest.run->gpr[MOTE_RAX]);
	/* Neither a start-up IPI. */
	EXPECT_PORT(0x81);
	EXPECT_EQ(-KVM_EINVAL, (int)self->guest.run->gpr[MOTE_RAX]);

	/* Ids do not begin again at 0, and a shorthand is none of an interrupt's own bits. */
	EXPECT_PORT(0x82);
	EXPECT_EQ(0, self->guest.run->gpr[MOTE_RAX]);
	EXPECT_PORT(0x83);
	EXPECT_EQ(-KVM_EINVAL, (int)self->guest.run->gpr[MOTE_RAX]);

	/* For 32-bit guests the second register begins with bit 32. */
	start(&self->guest, GUEST_PROT32, &guest_send32);
	EXPECT_PORT(0x80);
	EXPECT_EQ(1, self->guest.run->gpr[MOTE_RAX]);
	guest_get(&second, &state, MOTE_STATE_APIC);
	EXPECT_EQ(1u << 0x11, state.apic.reg[0x22]);
	mote_cpu_destroy(&second.cpu);
}

/* ---- pause loops ------------------------------------------------------------------------ */

GUEST(pause, 64, "out %al, $0x80; 1: pause; dec %ecx; jnz 1b; out %al, $0x81\n");

/* A guest that waits in a loop leaves the CPU to others now and then. */
TEST_F(pv, pause_loop)
{
	struct mote_run *run = self->guest.run;
	struct mote_info info;
	bool filter;

	ASSERT_EQ(0, mote_get_info(self->guest.fd, &info));
	filter = info.features & 1ull << MOTE_FEATURE_PAUSE_FILTER;
	guest_start(&self->guest, GUEST_LONG, &guest_pause);
	EXPECT_PORT(0x80);
	/* QEMU hands its CPU to another one at each PAUSE. */
	run->gpr[MOTE_RCX] = filter ? 100000 : 100;
	run->set = 1u << MOTE_RCX;
	EXPECT_PORT(0x81);
	EXPECT_EQ(0, (__u32)run->gpr[MOTE_RCX]);
	if (!filter)
		SKIP(return, "not on this hardware: nothing tells of pause loops");
	EXPECT_LT(0, run->exits[MOTE_EXIT_PAUSE]);
}

/* ---- the last one, as it cannot be undone ------------------------------------------------ */

/* The host gives its TSC up as a clock: the guest is told at once, and its time goes on. */
TEST_F(pv, tsc_becomes_unstable)
{
	volatile struct pvclock *clock = (void *)(self->guest.ram + CLOCK);
	__u64 last, last_tsc;

	guest_start(&self->guest, GUEST_LONG, &guest_clock);
	EXPECT_PORT(0x80);
	if (!(clock->flags & PVCLOCK_STABLE))
		SKIP(return, "not on this hardware: the TSC is no clock");
	if (sh("modprobe mote_peek"))
		SKIP(return, "there is no mote_peek.ko");
	last_tsc = self->guest.run->gpr[MOTE_RAX];
	last = clock_ns(&self->guest, last_tsc);
	ASSERT_EQ(0, sh("echo 1 > /sys/module/mote_peek/parameters/tsc_unstable"));
	EXPECT_PORT(0x80);
	EXPECT_EQ(0, clock->flags & PVCLOCK_STABLE);
	EXPECT_LT(last_tsc, self->guest.run->gpr[MOTE_RAX]);
	EXPECT_LE(last, clock_ns(&self->guest, self->guest.run->gpr[MOTE_RAX]));
	sh("rmmod mote_peek");
}

MOTE_TEST_MAIN
