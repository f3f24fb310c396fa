// SPDX-License-Identifier: GPL-2.0
/*
 * Registers that no exit saves: x87, SSE, AVX and debug registers live through
 * exits, preemption and moves between CPUs, and never leak into another vCPU or
 * into the host.
 */
#include <cpuid.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "guest.h"
#include "selftest.h"

/* Load all of them from GUEST_DATA, then check them for ever; a mismatch is HLT. */
GUEST(sse, 64,
      "fninit; fldl GUEST_DATA + 0x200; fldl GUEST_DATA + 0x208\n"
      ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14\n"
      "movdqu GUEST_DATA + 16 * \\n, %xmm\\n\n"
      ".endr\n"
      "mov GUEST_DATA + 0x210, %rax; mov %rax, %dr0; inc %rax; mov %rax, %dr1\n"
      "inc %rax; mov %rax, %dr2; inc %rax; mov %rax, %dr3\n"
      "1: out %al, $0x80; mov $2000, %ecx\n"
      "2: \n"
      ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14\n"
      "movdqu GUEST_DATA + 16 * \\n, %xmm15; pcmpeqb %xmm\\n, %xmm15; pmovmskb %xmm15, %eax\n"
      "cmp $0xffff, %eax; jne 3f\n"
      ".endr\n"
      "fstl GUEST_DATA + 0x218; mov GUEST_DATA + 0x218, %rax; cmp GUEST_DATA + 0x208, %rax; jne 3f\n"
      "mov %dr0, %rax; cmp GUEST_DATA + 0x210, %rax; jne 3f\n"
      "mov %dr3, %rax; sub $3, %rax; cmp GUEST_DATA + 0x210, %rax; jne 3f\n"
      "dec %ecx; jnz 2b; jmp 1b\n"
      "3: hlt");

/* Likewise with YMM registers, after XSETBV. */
GUEST(avx, 64,
      "mov %cr4, %rax; or $0x40000, %eax; mov %rax, %cr4; xor %ecx, %ecx; xor %edx, %edx\n"
      "mov $7, %eax; xsetbv\n"
      ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14\n"
      "vmovdqu GUEST_DATA + 32 * \\n, %ymm\\n\n"
      ".endr\n"
      "1: out %al, $0x80; mov $2000, %ecx\n"
      "2: \n"
      ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14\n"
      "vmovdqu GUEST_DATA + 32 * \\n, %ymm15; vxorps %ymm\\n, %ymm15, %ymm15; vptest %ymm15, %ymm15\n"
      "jnz 3f\n"
      ".endr\n"
      "dec %ecx; jnz 2b; jmp 1b\n"
      "3: hlt");

static void fill(struct guest *guest, unsigned int seed)
{
	double value = seed + 0.5;

	for (int i = 0; i < 512; i++)
		guest->ram[GUEST_DATA + i] = rand_r(&seed);
	for (int i = 0; i < 2; i++, value *= 2)
		memcpy(guest->ram + GUEST_DATA + 0x200 + 8 * i, &value, 8);
	*(__u64 *)(guest->ram + GUEST_DATA + 0x210) = 0x10000000 + seed % 4096 * 16;
}

static void start(struct guest *guest, const struct guest_code *code, unsigned int seed)
{
	guest_create(guest);
	guest_start(guest, GUEST_LONG, code);
	fill(guest, seed);
}

/* All of the host's that user space can see. */
static void host_fill(unsigned char *image, unsigned char what)
{
	memset(image, what, 512);
	asm volatile(".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n"
		     "movdqu 16 * \\n(%0), %%xmm\\n\n.endr" : : "r"(image) : "memory");
}

static int host_differs(const unsigned char *image)
{
	static unsigned char now[512];

	asm volatile(".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n"
		     "movdqu %%xmm\\n, 16 * \\n(%0)\n.endr" : : "r"(now) : "memory");
	return memcmp(now, image, 256);
}

static bool has_avx(void)
{
	unsigned int eax, ebx, ecx, edx;
	struct mote_info info;
	int fd = mote_open();

	if (mote_get_info(fd, &info))
		abort();
	close(fd);
	return __get_cpuid(1, &eax, &ebx, &ecx, &edx) && info.xcr0 & 4 && ecx & 1u << 28 &&
	       __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) && ebx & 1u << 5;
}

/* Two vCPUs of two VMs in turns on one thread, whose own registers stay too. */
static void in_turns(struct __test_metadata *_metadata, const struct guest_code *code)
{
	static unsigned char host[512];
	struct guest one, two;
	int differs = 0;

	start(&one, code, 1);
	start(&two, code, 2);
	for (long i = 0; i < guest_scale(200); i++) {
		host_fill(host, i);
		one.run->reason == MOTE_EXIT_PIO ? one.run->set |= MOTE_SET_COMPLETE : 0;
		asm volatile("syscall" : "=a"(differs)
			     : "a"(16 /* ioctl */), "D"(one.cpu.fd), "S"(MOTE_RUN), "d"(0)
			     : "rcx", "r11", "memory");
		ASSERT_EQ(0, host_differs(host));
		ASSERT_EQ(true, differs == 0 || differs == -4);
		if (!differs) {
			ASSERT_EQ(MOTE_EXIT_PIO, one.run->reason) TH_LOG("round %ld", i);
		}
		ASSERT_EQ(MOTE_EXIT_PIO, guest_run(&two)) TH_LOG("round %ld", i);
	}
	guest_destroy(&one);
	guest_destroy(&two);
}

TEST(x87_sse_and_debug_registers_in_turns)
{
	in_turns(_metadata, &guest_sse);
}

TEST(avx_in_turns)
{
	if (!has_avx())
		SKIP(return, "not on this hardware: no AVX");
	in_turns(_metadata, &guest_avx);
}

static volatile bool over;

static void *run_guest(void *data)
{
	struct guest *guest = data;
	int ncpu = sysconf(_SC_NPROCESSORS_ONLN), n = 0, reason;

	while (!over) {
		pin_to_cpu(n++ % ncpu);
		reason = guest_run(guest);
		if (reason != MOTE_EXIT_PIO)
			return (void *)(long)(reason + 1000);
	}
	return NULL;
}

/* Two vCPUs, each moving from CPU to CPU, among threads that use the FPU themselves. */
static void moving(struct __test_metadata *_metadata, const struct guest_code *code)
{
	pthread_t noise[2], threads[2];
	struct guest guests[2];
	void *result;

	over = false;
	for (int i = 0; i < 2; i++) {
		start(&guests[i], code, 7 + i);
		ASSERT_EQ(0, pthread_create(&noise[i], NULL, use_fpu, (void *)&over));
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, run_guest, &guests[i]));
	}
	usleep(guest_scale(1000000));
	over = true;
	for (int i = 0; i < 2; i++) {
		pthread_join(noise[i], NULL);
		pthread_join(threads[i], &result);
		EXPECT_EQ(NULL, result) TH_LOG("guest %d: %ld", i, (long)result);
		guest_destroy(&guests[i]);
	}
}

TEST(x87_sse_and_debug_registers_while_moving)
{
	moving(_metadata, &guest_sse);
}

TEST(avx_while_moving)
{
	if (!has_avx())
		SKIP(return, "not on this hardware: no AVX");
	moving(_metadata, &guest_avx);
}

GUEST(look, 64, "movdqu %xmm0, GUEST_DATA; movdqu %xmm15, GUEST_DATA + 16\n"
		"mov %dr0, %rax; mov %dr3, %rbx; mov %dr7, %rdx; hlt");

/* A fresh vCPU finds nothing of what its thread, or another guest, had in its registers. */
TEST(fresh_vcpu)
{
	static const unsigned char zero[32];
	unsigned char host[512];
	struct guest other, fresh;

	start(&other, &guest_sse, 3);
	ASSERT_EQ(MOTE_EXIT_PIO, guest_run(&other));
	guest_create(&fresh);
	guest_start(&fresh, GUEST_LONG, &guest_look);
	memset(fresh.ram + GUEST_DATA, 0x55, 32);
	host_fill(host, 0xaa);
	ASSERT_EQ(MOTE_EXIT_HLT, guest_run(&fresh));
	EXPECT_EQ(0, memcmp(zero, fresh.ram + GUEST_DATA, 32));
	EXPECT_EQ(0, fresh.run->gpr[MOTE_RAX]);
	EXPECT_EQ(0, fresh.run->gpr[MOTE_RBX]);
	EXPECT_EQ(0x400, fresh.run->gpr[MOTE_RDX]);
	guest_destroy(&other);
	guest_destroy(&fresh);
}

GUEST(cr2, 64, "mov $0x123456789000, %rax; mov %rax, %cr2\n"
	       "1: out %al, $0x80; cpuid; mov %cr2, %rbx; jmp 1b");

/* CR2 is the guest's, whatever faults the host had meanwhile. */
TEST(cr2_through_faults_of_the_host)
{
	struct guest guest;

	guest_create(&guest);
	guest_start(&guest, GUEST_LONG, &guest_cr2);
	ASSERT_EQ(MOTE_EXIT_PIO, guest_run(&guest));
	for (int i = 0; i < 100; i++) {
		volatile char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
					   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		*page = 1;
		ASSERT_EQ(MOTE_EXIT_PIO, guest_run(&guest));
		ASSERT_EQ(0x123456789000, guest.run->gpr[MOTE_RBX]);
		munmap((void *)page, 4096);
	}
	guest_destroy(&guest);
}

GUEST(breakpoint, 64,
      "lea 1f(%rip), %rax; mov %rax, %dr0; mov $0x401, %eax; mov %rax, %dr7\n"
      "nop; 1: nop; xor %eax, %eax; mov %rax, %dr7; hlt");

/*
 * Breakpoints of the guest's stop the guest, with DR6 saying which; the host has none.  The guest
 * clears them itself, on the same CPU: QEMU forgets to take them along when it leaves a guest, and
 * stops others there.
 */
TEST(breakpoints)
{
	struct guest_frame frame;
	struct mote_state state;
	struct guest guest;

	pin_to_cpu(0);
	guest_create(&guest);
	guest_start(&guest, GUEST_LONG, &guest_breakpoint);
	ASSERT_EQ(MOTE_EXIT_PIO, guest_run(&guest));
	ASSERT_TRUE(guest_frame(&guest, GUEST_LONG, &frame));
	EXPECT_EQ(1, frame.vector);
	EXPECT_EQ(GUEST_CODE + guest_breakpoint.size - 7, frame.rip);
	guest_get(&guest, &state, MOTE_STATE_DRS);
	/* Bochs's AMD processor exits before it has written DR6. */
	if (!host_is_trinity())
		EXPECT_EQ(1, state.drs.dr6 & 0xf);
	EXPECT_EQ(frame.rip, state.drs.dr[0]);
	guest_resume(&guest, GUEST_LONG, frame.rip + 1);
	ASSERT_EQ(MOTE_EXIT_HLT, guest_run(&guest));
	guest_get(&guest, &state, MOTE_STATE_DRS);
	EXPECT_EQ(0x400, state.drs.dr7);
	guest_destroy(&guest);
}

GUEST(trap, 64, "out %al, $0x80; nop; hlt");
GUEST(trap_cpuid, 64, "cpuid; nop; hlt");

/* Single-stepping sees no difference between instructions that exit and those that do not. */
TEST(single_step_over_exits)
{
	const struct guest_code *codes[] = { &guest_trap, &guest_trap_cpuid };

	if (host_is_trinity())
		SKIP(return, "not on this hardware: Bochs ends at a nested fault in a delivery");
	for (int i = 0; i < 2; i++) {
		struct guest_frame frame;
		struct mote_state state;
		struct guest guest;

		guest_create(&guest);
		/* Once before, so that no nested fault comes between: Bochs loses count there. */
		guest_start(&guest, GUEST_LONG, codes[i]);
		while (guest_run(&guest) == MOTE_EXIT_PIO)
			;
		guest_start(&guest, GUEST_LONG, codes[i]);
		guest_get(&guest, &state, MOTE_STATE_GPRS);
		state.gprs.rflags |= 0x100;
		guest_set(&guest, &state);
		ASSERT_EQ(MOTE_EXIT_PIO, guest_run(&guest));
		if (i == 0) {
			EXPECT_EQ(0x80, guest.run->pio.port);
			ASSERT_EQ(MOTE_EXIT_PIO, guest_run(&guest));
		}
		ASSERT_TRUE(guest_frame(&guest, GUEST_LONG, &frame));
		EXPECT_EQ(1, frame.vector);
		EXPECT_EQ(GUEST_CODE + 2, frame.rip);
		guest_get(&guest, &state, MOTE_STATE_DRS);
		EXPECT_EQ(1 << 14, state.drs.dr6 & 0x400f); /* BS */
		guest_destroy(&guest);
	}
}

MOTE_TEST_MAIN
