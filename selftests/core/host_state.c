// SPDX-License-Identifier: GPL-2.0
/*
 * What a guest does to a CPU's registers stays in the guest: those of the host
 * are the same after 100,000 exits, and those of virtualization itself after
 * the last VM.  kmod/tests/peek.c shows them.
 */
#include <asm/ldt.h>
#include <asm/prctl.h>
#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/hw_breakpoint.h>
#include <linux/perf_event.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/io.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "guest.h"
#include "selftest.h"

#define PEEK "/sys/kernel/debug/mote_peek"
#define PORT 0x80		/* that of power-on self-tests: nobody minds */
#define USER_DS 0x2b
#define NR_BREAKPOINTS 4
#define EXITS 100000
#define EXITS_A_ROUND 100

/*
 * Registers of its own in all that it can reach without an exit or with one,
 * then rounds of as many exits as EXITS_A_ROUND says: CPUID, RDMSR, WRMSR, and
 * ports and HLT, which user space sees.  In between it waits a little, so
 * that interrupts and other threads get their turn.
 */
GUEST(soil, 64,
      "fninit; fldcw GUEST_DATA; ldmxcsr GUEST_DATA + 4\n"
      "mov $0x60000000, %eax; mov %rax, %dr0; mov %rax, %dr1; mov %rax, %dr2; mov %rax, %dr3\n"
      "mov $0x4ff, %eax; mov %rax, %dr7\n"
      "lgdt GUEST_DATA + 0x10; lidt GUEST_DATA + 0x20\n"
      "mov $0x50, %eax; lldt %ax; mov $0x10, %eax; mov %eax, %ds; mov %eax, %es\n"
      "mov GUEST_DATA + 8, %eax; test %eax, %eax; jz 1f\n"
      "mov %cr4, %rax; or $0x40000, %eax; mov %rax, %cr4\n"
      "xor %ecx, %ecx; xor %edx, %edx; mov $3, %eax; xsetbv\n"
      "1: sti; mov $24, %ebp\n"
      "2: xor %eax, %eax; cpuid; mov $0x277, %ecx; rdmsr; xor $1, %eax; wrmsr; cpuid\n"
      "swapgs; mov $0xf, %eax; mov %rax, %cr8; xor %eax, %eax; mov %rax, %cr8\n"
      "mov $20, %ecx; 3: pause; dec %ecx; jnz 3b\n"
      "dec %ebp; jnz 2b\n"
      "out %al, $0x80; hlt; in $0x80, %al; hlt; jmp 1b\n");

FIXTURE(host)
{
	struct guest guest;
	volatile __u64 watched[NR_BREAKPOINTS];
	int breakpoints[NR_BREAKPOINTS];
	pthread_t rival;
	char before[8192];
	char now[8192];
};

/* ---- the host's, as few programs have them -------------------------------------------- */

/* One of the CPU's breakpoints, so that it stays in the same register. */
static int watch(volatile __u64 *where)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_BREAKPOINT, .size = sizeof(attr), .bp_type = HW_BREAKPOINT_W,
		.bp_addr = (unsigned long)where, .bp_len = HW_BREAKPOINT_LEN_8,
	};

	return syscall(SYS_perf_event_open, &attr, -1, 0, -1, 0);
}

/* A local descriptor table, selectors in DS and ES, a base for GS, a port, x87 and SSE modes. */
static int be_unusual(void)
{
	struct user_desc entry = { .entry_number = 1, .limit = 0xfffff, .limit_in_pages = 1 };
	unsigned short control = 0x27f;
	unsigned int mxcsr = 0x3f80;

	asm volatile("mov %0, %%ds; mov %0, %%es; fldcw %1; ldmxcsr %2"
		     : : "r"(USER_DS), "m"(control), "m"(mxcsr));
	return syscall(SYS_modify_ldt, 1, &entry, sizeof(entry)) ||
	       syscall(SYS_arch_prctl, ARCH_SET_GS, 0x12345678000) || ioperm(PORT, 1, 1);
}

/* What user space has to itself: the kernel need not have it loaded. */
static int user_registers(char *text, size_t size)
{
	unsigned int eax, ebx, ecx, edx, mxcsr, pkru = 0;
	unsigned short control;

	asm volatile("fnstcw %0; stmxcsr %1" : "=m"(control), "=m"(mxcsr));
	if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) && ecx & 1u << 4)
		asm volatile("xor %%ecx, %%ecx; rdpkru" : "=a"(pkru) : : "ecx", "edx");
	return snprintf(text, size, "FCW %x\nMXCSR %x\nPKRU %x\n", control, mxcsr, pkru);
}

static bool snapshot(char *text, size_t size)
{
	int fd = open(PEEK, O_RDONLY);
	ssize_t length = read(fd, text, size - 100);

	close(fd);
	if (length <= 0)
		return false;
	user_registers(text + length, size - length);
	return true;
}

/* Names each register that is not as before; returns how many. */
static int differences(struct __test_metadata *_metadata, const char *before, const char *now,
		       long exits)
{
	int count = 0;

	while (*before && *now) {
		int was = strcspn(before, "\n"), is = strcspn(now, "\n");

		if (was != is || memcmp(before, now, is)) {
			TH_LOG("after %ld exits: %.*s, was %.*s", exits, is, now, was, before);
			count++;
		}
		before += was + 1;
		now += is + 1;
	}
	return count;
}

/* ---- the tests ------------------------------------------------------------------------- */

static volatile bool over;

FIXTURE_SETUP(host)
{
	if (sh("modprobe mote_peek"))
		SKIP(return, "there is no mote_peek.ko");
	ASSERT_TRUE(pin_to_cpu(0));
	ASSERT_EQ(0, be_unusual());
	for (int i = 0; i < NR_BREAKPOINTS; i++) {
		self->breakpoints[i] = watch(&self->watched[i]);
		ASSERT_LE(0, self->breakpoints[i]);
	}
	ASSERT_EQ(0, pthread_create(&self->rival, NULL, use_fpu, (void *)&over));
}

FIXTURE_TEARDOWN(host)
{
	over = true;
	pthread_join(self->rival, NULL);
	for (int i = 0; i < NR_BREAKPOINTS; i++)
		close(self->breakpoints[i]);
	sh("rmmod mote_peek");
}

static void soil(struct guest *guest)
{
	static const struct { unsigned short limit; __u64 base; } __attribute__((packed))
		gdt = { 0x5f, GUEST_GDT }, idt = { 0xfef, GUEST_IDT };
	unsigned int eax, ebx, ecx, edx, mxcsr = 0x9fc0;
	unsigned short control = 0xc7f;
	struct mote_state state;
	struct mote_info info;

	guest_start(guest, GUEST_LONG, &guest_soil);
	guest_get(guest, &state, MOTE_STATE_GPRS | MOTE_STATE_SEGS | MOTE_STATE_CRS |
		  MOTE_STATE_DRS | MOTE_STATE_MSRS);
	state.crs.cr0 |= 1u << 1 | 1u << 16 | 1u << 18;		/* MP, WP, AM */
	state.crs.cr4 |= 1u << 2 | 1u << 3 | 1u << 8;		/* TSD, DE, PCE */
	state.drs.dr6 |= 0xf;
	state.segs.seg[MOTE_FS].base = 0x1111000;
	state.segs.seg[MOTE_GS].base = 0x2222000;
	state.msrs.efer |= 1;					/* SCE */
	state.msrs.star = 0x0013000800000000;
	state.msrs.lstar = 0x3333000;
	state.msrs.cstar = 0x4444000;
	state.msrs.sfmask = 0x5555;
	state.msrs.kernel_gs_base = 0x6666000;
	state.msrs.sysenter_cs = 0x78;
	state.msrs.sysenter_esp = 0x7777000;
	state.msrs.sysenter_eip = 0x8888000;
	guest_set(guest, &state);

	memcpy(guest->ram + GUEST_DATA, &control, sizeof(control));
	memcpy(guest->ram + GUEST_DATA + 4, &mxcsr, sizeof(mxcsr));
	memcpy(guest->ram + GUEST_DATA + 0x10, &gdt, sizeof(gdt));
	memcpy(guest->ram + GUEST_DATA + 0x20, &idt, sizeof(idt));
	/* A local descriptor table, 16 bytes long, where the others are. */
	*(__u64 *)(guest->ram + GUEST_GDT + 0x50) = 0x000082001000000f;
	if (!mote_get_info(guest->fd, &info) && info.xcr0 & 4 &&
	    __get_cpuid(1, &eax, &ebx, &ecx, &edx) && ecx & 1u << 26)
		guest->ram[GUEST_DATA + 8] = 1;
}

/* Four exits end in user space in each round. */
static void go_round(struct __test_metadata *_metadata, struct guest *guest)
{
	static const int reasons[] = { MOTE_EXIT_PIO, MOTE_EXIT_HLT, MOTE_EXIT_PIO, MOTE_EXIT_HLT };

	for (int i = 0; i < 4; i++) {
		ASSERT_EQ(reasons[i], guest_run(guest)) {
			TH_LOG("%s at %llx", guest_exit_name(guest->run->reason), guest->run->rip);
		}
		guest->run->set |= MOTE_SET_COMPLETE;
	}
}

static __u64 hits(int breakpoint)
{
	__u64 count = 0;

	return read(breakpoint, &count, sizeof(count)) == sizeof(count) ? count : ~0ull;
}

TEST_F(host, equal_over_exits)
{
	int bad = 0;

	guest_create(&self->guest);
	soil(&self->guest);
	ASSERT_TRUE(snapshot(self->before, sizeof(self->before)));
	for (long exits = 0; exits < EXITS && bad == 0; ) {
		for (int i = 0; i < 10; i++)
			go_round(_metadata, &self->guest);
		exits += 10 * EXITS_A_ROUND;
		ASSERT_TRUE(snapshot(self->now, sizeof(self->now)));
		bad = differences(_metadata, self->before, self->now, exits);
		/* As good as a look at the limit of TR: behind it there is no bitmap. */
		outb(0, PORT);
	}
	EXPECT_EQ(0, bad);
	/* The breakpoints are not only there, but do stop. */
	for (int i = 0; i < NR_BREAKPOINTS; i++) {
		EXPECT_EQ(0, hits(self->breakpoints[i]));
		self->watched[i] = 1;
		EXPECT_EQ(1, hits(self->breakpoints[i]));
	}
	guest_destroy(&self->guest);
}

/* ---- a breakpoint of the host's, put there by IPI ---------------------------------------- */

GUEST(looks, 64,
      "mov $0x111000, %eax; mov %rax, %dr0; mov $0x444000, %eax; mov %rax, %dr3\n"
      "mov $0x10400, %eax; mov %rax, %dr7\n"
      "1: xor %eax, %eax; cpuid; mov %dr0, %rax; mov %dr3, %rdx; cmp $0x111000, %rax; jne 2f\n"
      "cmp $0x444000, %rdx; jne 2f; cmpl $0, GUEST_DATA; je 1b\n"
      "out %al, $0x80; 2: out %al, $0x81\n");

struct installer {
	volatile bool over;
	volatile unsigned int rounds;
	bool failed;
};

/* On another CPU than the guest's: comes and goes there, at any of its exits. */
static void *install_breakpoints(void *data)
{
	struct installer *installer = data;
	static volatile __u64 watched;
	struct perf_event_attr attr = {
		.type = PERF_TYPE_BREAKPOINT, .size = sizeof(attr), .bp_type = HW_BREAKPOINT_W,
		.bp_addr = (unsigned long)&watched, .bp_len = HW_BREAKPOINT_LEN_8,
	};

	pin_to_cpu(1);
	while (!installer->over) {
		int fd = syscall(SYS_perf_event_open, &attr, -1, 0, -1, 0);

		installer->failed |= fd < 0;
		close(fd);
		installer->rounds++;
	}
	return NULL;
}

TEST_F(host, breakpoints_that_come_and_go)
{
	struct installer installer = {};
	pthread_t thread;

	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		SKIP(return, "not on this hardware: one CPU");
	for (int i = 0; i < NR_BREAKPOINTS; i++) {
		close(self->breakpoints[i]);
		self->breakpoints[i] = -1;
	}
	guest_create(&self->guest);
	guest_start(&self->guest, GUEST_LONG, &guest_looks);
	ASSERT_EQ(0, pthread_create(&thread, NULL, install_breakpoints, &installer));
	do {
		self->guest.ram[GUEST_DATA] = installer.rounds >= guest_scale(100);
		guest_interrupt_in(&self->guest, 20000);
	} while (guest_run(&self->guest) == -EINTR);
	alarm(0);
	installer.over = true;
	pthread_join(thread, NULL);
	EXPECT_FALSE(installer.failed);
	EXPECT_EQ(MOTE_EXIT_PIO, self->guest.run->reason);
	EXPECT_EQ(0x80, self->guest.run->pio.port) {
		TH_LOG("after %u breakpoints: DR0 is %llx, DR3 %llx", installer.rounds,
		       self->guest.run->gpr[MOTE_RAX], self->guest.run->gpr[MOTE_RDX]);
	}
	guest_destroy(&self->guest);
}

/* Without a VM the CPU is as if there had never been one. */
TEST_F(host, equal_after_the_last_vm)
{
	ASSERT_TRUE(snapshot(self->before, sizeof(self->before)));
	for (int i = 0; i < 3; i++) {
		guest_create(&self->guest);
		soil(&self->guest);
		go_round(_metadata, &self->guest);
		guest_destroy(&self->guest);
		ASSERT_TRUE(snapshot(self->now, sizeof(self->now)));
		EXPECT_EQ(0, differences(_metadata, self->before, self->now, EXITS_A_ROUND));
	}
}

MOTE_TEST_MAIN
