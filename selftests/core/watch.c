// SPDX-License-Identifier: GPL-2.0
/* Watched pages: told before the access, let through behind it, and nothing of it seen by the guest. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <debug.h>

#include "expect.h"
#include "mode_fixture.h"
#include "policy.h"
#include "x2apic.h"

#define PAGE 4096ull
#define RWX (MOTE_ACCESS_READ | MOTE_ACCESS_WRITE | MOTE_ACCESS_EXEC)
#define SKIP_WITHOUT_STEPS do {								\
	if (host_is_trinity())								\
		SKIP(return, NO_STEPS);							\
} while (0)
#define NO_STEPS "not on this hardware: Bochs ends when a guest of this processor is stepped"

static int set_watch(struct guest *guest, __u64 gpa, __u64 size, __u32 access)
{
	const struct mote_watch watch = { .gpa = gpa, .size = size, .access = access };

	return mote_set_watch(guest->machine.fd, &watch);
}

/* Over the instruction, by libmote. */
static void step_over(struct guest *guest)
{
	struct mote_debugged debugged;
	int err = mote_debug_begin(&debugged, &guest->cpu, 0);

	if (!err)
		err = mote_step_begin(&debugged);
	while (!err) {
		int reason = guest_run(guest);

		if (reason == MOTE_EXIT_EXCEPTION)
			err = mote_step_exit(&debugged);
		else if (reason == MOTE_EXIT_DR)
			err = mote_debug_mov_dr(&debugged);
		else
			err = -EPROTO;
	}
	if (err != MOTE_STEPPED || mote_debug_end(&debugged)) {
		ksft_print_msg("a step has failed: %d, %s at %llx\n", err,
			       guest_exit_name(guest->run->reason), guest->run->rip);
		exit(KSFT_FAIL);
	}
}

/* Run on to something else than a watch; *hits: how many there were. */
static int run_on(struct guest *guest, long *hits)
{
	for (;;) {
		int reason = guest_run(guest);

		if (reason != MOTE_EXIT_WATCH)
			return reason;
		*hits += !!guest->run->memory.access;
		if (guest->run->memory.error == -EAGAIN)
			step_over(guest);
	}
}

/* ---- one by one ------------------------------------------------------------------- */

GUEST(accesses, 64, "mov 0x30008, %rax\n"	/* 8 bytes */
      "mov %rbx, 0x30010\n"			/* 16 */
      "mov $0x30100, %ecx; call *%rcx\n"	/* 23 */
      "out %al, $0x80; hlt\n");
#define LOAD GUEST_CODE
#define STORE (GUEST_CODE + 8)
#define CALL (GUEST_CODE + 16)
#define TARGET 0x30100ull

static void start_accesses(struct guest *guest)
{
	guest_start(guest, GUEST_LONG, &guest_accesses);
	memset(guest->ram + 0x30000, 0, PAGE);
	memset(guest->ram + 0x30008, 0x77, 8);
	memcpy(guest->ram + TARGET, "\x90\xc3", 2); /* NOP; RET */
	guest_set_gpr(guest, MOTE_RBX, 0x1234);
}

/* What is watched is told, once, with its address, before it happens; what is not is not. */
TEST(kinds)
{
	struct guest guest;

	SKIP_WITHOUT_STEPS;
	guest_create(&guest);
	for (__u32 access = 0; access <= RWX; access++) {
		const struct mote_run *run = guest.run;

		start_accesses(&guest);
		ASSERT_EQ(0, set_watch(&guest, 0x30000, PAGE, access));
		if (access & MOTE_ACCESS_READ) {
			ASSERT_EQ(MOTE_EXIT_WATCH, guest_run(&guest)) TH_LOG("%x", access);
			EXPECT_EQ(LOAD, run->rip);
			EXPECT_EQ(0x30008, run->memory.gpa);
			EXPECT_EQ(MOTE_ACCESS_READ, run->memory.access & RWX);
			EXPECT_EQ(0, run->memory.error);
			EXPECT_EQ(0, run->gpr[MOTE_RAX]);
		}
		if (access & MOTE_ACCESS_WRITE) {
			ASSERT_EQ(MOTE_EXIT_WATCH, guest_run(&guest)) TH_LOG("%x", access);
			EXPECT_EQ(STORE, run->rip);
			EXPECT_EQ(0x30010, run->memory.gpa);
			EXPECT_EQ(MOTE_ACCESS_WRITE, run->memory.access & RWX & ~MOTE_ACCESS_READ);
			EXPECT_EQ(0x7777777777777777, run->gpr[MOTE_RAX]);
			EXPECT_EQ(0, guest.ram[0x30010]);
		}
		/* NOP and RET. */
		for (__u64 rip = TARGET; access & MOTE_ACCESS_EXEC && rip < TARGET + 2; rip++) {
			ASSERT_EQ(MOTE_EXIT_WATCH, guest_run(&guest)) TH_LOG("%x", access);
			EXPECT_EQ(rip, run->rip);
			EXPECT_EQ(rip, run->memory.gpa);
			EXPECT_EQ(MOTE_ACCESS_EXEC, run->memory.access & RWX & ~MOTE_ACCESS_READ);
		}
		ASSERT_EQ(MOTE_EXIT_PIO, guest_run(&guest)) TH_LOG("%x", access);
		EXPECT_EQ(0x1234, *(__u64 *)(guest.ram + 0x30010));
		EXPECT_EQ(GUEST_CODE + guest_accesses.size - 3, run->rip);
	}
	guest_destroy(&guest);
}

/* As soon as it is set, and no longer than it is, whatever is mapped, and how. */
TEST(comes_and_goes)
{
	struct guest guest;
	long hits = 0;

	SKIP_WITHOUT_STEPS;
	guest_create(&guest);
	madvise(guest.ram, GUEST_SIZE, MADV_HUGEPAGE);
	memset(guest.ram, 0, GUEST_SIZE);
	for (int i = 0; i < 3; i++) {
		start_accesses(&guest);
		ASSERT_EQ(MOTE_EXIT_PIO, run_on(&guest, &hits));
		EXPECT_EQ(0, hits);
		ASSERT_EQ(0, set_watch(&guest, 0, GUEST_SIZE, MOTE_ACCESS_WRITE));
		ASSERT_EQ(0, set_watch(&guest, 0, 0x30000, 0));
		ASSERT_EQ(0, set_watch(&guest, 0x31000, GUEST_SIZE - 0x31000, 0));
		start_accesses(&guest);
		ASSERT_EQ(MOTE_EXIT_PIO, run_on(&guest, &hits));
		EXPECT_EQ(1, hits);
		/* The mm's memory may go meanwhile. */
		start_accesses(&guest);
		ASSERT_EQ(MOTE_EXIT_WATCH, guest_run(&guest));
		ASSERT_EQ(0, madvise(guest.ram + 0x30000, PAGE, MADV_DONTNEED));
		memcpy(guest.ram + TARGET, "\x90\xc3", 2);
		hits = 0;
		ASSERT_EQ(MOTE_EXIT_PIO, run_on(&guest, &hits));
		EXPECT_EQ(0, hits);
		EXPECT_EQ(0x1234, *(__u64 *)(guest.ram + 0x30010));
		ASSERT_EQ(0, set_watch(&guest, 0x30000, PAGE, 0));
	}
	guest_destroy(&guest);
}

/* A VMM that completes the instruction has denied it, or done it otherwise. */
TEST(denied)
{
	struct guest guest;
	long hits = 0;

	SKIP_WITHOUT_STEPS;
	guest_create(&guest);
	start_accesses(&guest);
	ASSERT_EQ(0, set_watch(&guest, 0x30000, PAGE, MOTE_ACCESS_READ | MOTE_ACCESS_WRITE));
	ASSERT_EQ(MOTE_EXIT_WATCH, guest_run(&guest));
	guest_set_gpr(&guest, MOTE_RAX, 0x55);
	guest.run->rip = STORE;
	guest.run->set |= MOTE_SET_RIP | MOTE_SET_COMPLETE;
	ASSERT_EQ(MOTE_EXIT_WATCH, guest_run(&guest));
	EXPECT_EQ(STORE, guest.run->rip);
	guest.run->rip = CALL;
	guest.run->set |= MOTE_SET_RIP | MOTE_SET_COMPLETE;
	ASSERT_EQ(MOTE_EXIT_PIO, run_on(&guest, &hits));
	EXPECT_EQ(0x55, guest.run->gpr[MOTE_RAX]);
	EXPECT_EQ(0, *(__u64 *)(guest.ram + 0x30010));
	guest_destroy(&guest);
}

/* What is written while nothing is watched for one instruction is in the log as ever. */
TEST(dirty_log)
{
	__u64 bitmap = 0;
	struct mote_dirty dirty = { .slot = 1, .nr = 8, .bitmap = (unsigned long)&bitmap };
	struct guest guest;
	unsigned char *memory;
	long hits = 0;

	SKIP_WITHOUT_STEPS;
	guest_create(&guest);
	memory = guest_add_memory(&guest, 1, GUEST_SIZE, 8 * PAGE, NULL, MOTE_SLOT_LOG_DIRTY);
	(void)memory;
	start_accesses(&guest);
	/* The store goes there. */
	*(__u32 *)(guest.ram + STORE + 4) = GUEST_SIZE + 2 * PAGE;
	ASSERT_EQ(0, set_watch(&guest, GUEST_SIZE, 8 * PAGE, MOTE_ACCESS_WRITE));
	for (int i = 0; i < 3; i++) {
		guest.run->rip = GUEST_CODE;
		guest.run->set |= MOTE_SET_RIP;
		ASSERT_EQ(MOTE_EXIT_PIO, run_on(&guest, &hits));
		EXPECT_EQ(i + 1, hits);
		ASSERT_EQ(0, mote_get_dirty(guest.machine.fd, &dirty));
		EXPECT_EQ(4, bitmap);
	}
	guest_destroy(&guest);
}

/* ---- all of it --------------------------------------------------------------------- */

#define RUNS_MOST 300

GUEST_ALL(everywhere, "mov $3, %cl; 1: dec %cl; jnz 1b; int3; cpuid\n"
	  "out %al, $0x80; mov $4, %ecx; mov $GUEST_DATA, %edi; rep stosb\n"
	  "in $0x81, %al; mov $0, %al; mul %al; out %al, $0x99\n");
/* But in virtual-8086 mode. */
GUEST_ALL(flags, "pushf; pushf; popf; int $0x42; pushf; mov $0, %al; add %al, %al; out %al, $0x99\n");
GUEST(long_mode, 64, "sti; nop; mov %rsp, %rax; mov %ss, %ecx\n"
      "push %rcx; push %rax; pushf; mov %cs, %edx; push %rdx; lea 2f(%rip), %rbx; push %rbx; iretq\n"
      "2: cli; mov %rsp, %rax; mov %ss, %ecx; push %rcx; push %rax; pushf; orl $0x100, (%rsp); push %rdx\n"
      "lea 3f(%rip), %rbx; push %rbx; iretq\n"
      "3: nop; pushf; andl $~0x100, (%rsp); popf\n"
      "mov %dr7, %rax; mov %dr6, %rbx; mov %rax, %dr0; pushf\n"
      "syscall; mov %r11, %rax; pushf; ud2; mov $0, %al; add %al, %al; out %al, $0x99\n");

/* From its start to port 0x99; false: it has come to something else. */
static bool run_to_end(struct guest *guest, enum guest_mode mode, const struct guest_code *code, __u32 access,
		       unsigned char *ports, int *nr, long *hits)
{
	struct mote_state state;
	const void *syscall;

	memset(guest->ram, 0, GUEST_SIZE);
	guest_start(guest, mode, code);
	guest_get(guest, &state, MOTE_STATE_MSRS | MOTE_STATE_DRS);
	syscall = memmem(code->code, code->size, "\x0f\x05", 2);
	if (syscall) {
		state.msrs.efer |= 1;
		state.msrs.star = 8ull << 32;
		state.msrs.lstar = GUEST_CODE + (syscall - code->code) + 2;
		state.msrs.sfmask = 0x100;
		guest_set(guest, &state);
	}
	if (set_watch(guest, 0, GUEST_SIZE, access))
		return false;
	for (*nr = 0; *nr < RUNS_MOST;) {
		int reason = run_on(guest, hits);

		if (reason != MOTE_EXIT_PIO)
			return false;
		ports[(*nr)++] = guest->run->pio.port;
		if (guest->run->pio.port == 0x99)
			return true;
		if (guest->run->pio.port == GUEST_FAULT)
			mode_skip_ud2(guest);
	}
	return false;
}

#define MASK (MOTE_STATE_GPRS | MOTE_STATE_SEGS | MOTE_STATE_CRS | MOTE_STATE_DRS | MOTE_STATE_EVENTS)

static void get(struct guest *guest, struct mote_state *state)
{
	mode_settle(guest);
	guest_get(guest, state, MASK);
}

static void compare(struct __test_metadata *_metadata, struct guest *guest, enum guest_mode mode,
		    const struct guest_code *code, __u32 access)
{
	unsigned char ports[2][RUNS_MOST], *ram = malloc(GUEST_SIZE);
	struct mote_state state[2];
	long hits = 0;
	int nr[2];

	ASSERT_TRUE(run_to_end(guest, mode, code, 0, ports[0], &nr[0], &hits)) {
		TH_LOG("free: %s at %llx", guest_exit_name(guest->run->reason), guest->run->rip);
	}
	EXPECT_EQ(0, hits);
	get(guest, &state[0]);
	memcpy(ram, guest->ram, GUEST_SIZE);
	ASSERT_TRUE(run_to_end(guest, mode, code, access, ports[1], &nr[1], &hits)) {
		TH_LOG("watched: %s at %llx", guest_exit_name(guest->run->reason), guest->run->rip);
	}
	EXPECT_LT(3, hits);
	get(guest, &state[1]);
	EXPECT_EQ(nr[0], nr[1]);
	EXPECT_EQ(0, memcmp(ports[0], ports[1], nr[0]));
	EXPECT_EQ(0, memcmp(&state[0].gprs, &state[1].gprs, sizeof(state[0].gprs)));
	EXPECT_EQ(state[0].events.injected.valid, state[1].events.injected.valid);
	mode_expect_alike(_metadata, guest, &state[0], &state[1], ram);
	free(ram);
	ASSERT_EQ(0, set_watch(guest, 0, GUEST_SIZE, 0));
}

/* With all of its memory watched, or only what it writes, a guest does and has the same. */
TEST_MODE(nothing_is_seen)
{
	SKIP_WITHOUT_STEPS;
	for (int i = 0; i < 3; i++) {
		static const __u32 accesses[] = { RWX, MOTE_ACCESS_EXEC, MOTE_ACCESS_WRITE };

		compare(_metadata, &self->guest, variant->mode, GUEST_FOR(everywhere, variant->mode),
			accesses[i]);
		if (variant->mode != GUEST_V8086)
			compare(_metadata, &self->guest, variant->mode, GUEST_FOR(flags, variant->mode),
				accesses[i]);
		if (variant->mode == GUEST_LONG)
			compare(_metadata, &self->guest, variant->mode, &guest_long_mode, accesses[i]);
	}
}

GUEST(interrupted, 64, X2APIC_ON SELF(0x51) "sti; nop; mov %rbx, GUEST_FREE; nop; out %al, $0x80\n");

/* No interrupt comes between a hit and what it is for; and it does come. */
TEST(interrupts_are_held)
{
	struct guest guest;
	int reason, seen = 0;

	SKIP_WITHOUT_STEPS;
	guest_create_vm(&guest, MOTE_VM_LAPIC);
	guest_create_cpu(&guest, 0);
	guest_start(&guest, GUEST_LONG, &guest_interrupted);
	/* The code, the stack and the table of handlers. */
	ASSERT_EQ(0, set_watch(&guest, 0, GUEST_SIZE, RWX));
	for (int i = 0; i < RUNS_MOST && seen < 2; i++) {
		reason = guest_run(&guest);
		if (reason == MOTE_EXIT_WATCH && guest.run->memory.error == -EAGAIN)
			step_over(&guest);
		if (reason == MOTE_EXIT_PIO)
			seen += guest.run->pio.port == (seen ? 0x80 : GUEST_FAULT);
		ASSERT_TRUE(reason == MOTE_EXIT_PIO || reason == MOTE_EXIT_WATCH);
	}
	EXPECT_EQ(2, seen);
	guest_destroy(&guest);
}

/* ---- others ------------------------------------------------------------------------- */

GUEST(two, 64, "1: lock incl 0x30000(,%rbx,4); jmp 1b\n");

struct other {
	struct guest guest;
	long hits, others;
	bool over;
};

static void *run_other(void *data)
{
	struct other *other = data;

	while (!__atomic_load_n(&other->over, __ATOMIC_RELAXED)) {
		int reason = guest_run(&other->guest);

		if (reason == MOTE_EXIT_WATCH)
			__atomic_fetch_add(&other->hits, 1, __ATOMIC_RELAXED);
		else if (reason != -EINTR)
			other->others++;
	}
	return NULL;
}

/* Two vCPUs at one page: each increment is told, one for one, and none is lost. */
TEST(two_vcpus)
{
	long rounds = guest_rounds(300, 30000);
	struct other first = { .over = false };
	struct guest second;
	pthread_t thread;
	long hits = 0;

	SKIP_WITHOUT_STEPS;
	guest_create(&first.guest);
	second = first.guest;
	guest_create_cpu(&second, 1);
	guest_start(&second, GUEST_LONG, &guest_two);
	guest_set_gpr(&second, MOTE_RBX, 1);
	guest_start(&first.guest, GUEST_LONG, &guest_two);
	memset(first.guest.ram + 0x30000, 0, 8);
	ASSERT_EQ(0, set_watch(&second, 0x30000, PAGE, MOTE_ACCESS_WRITE));
	ASSERT_EQ(0, pthread_create(&thread, NULL, run_other, &first));
	while (hits < rounds || __atomic_load_n(&first.hits, __ATOMIC_RELAXED) < rounds) {
		int reason = guest_run(&second);

		ASSERT_EQ(MOTE_EXIT_WATCH, reason);
		hits++;
		ASSERT_EQ(hits - 1, *(volatile unsigned int *)(second.ram + 0x30004));
	}
	__atomic_store_n(&first.over, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	EXPECT_EQ(0, first.others);
	EXPECT_EQ(first.hits - 1, *(unsigned int *)(first.guest.ram + 0x30000));
	mote_cpu_destroy(&second.cpu);
	guest_destroy(&first.guest);
}

/* ---- policies ----------------------------------------------------------------------- */

/* A BPF program is asked before user space, and may let it through, deny it, or do it. */
TEST(policies)
{
	struct bpf_insn passes[] = { POLICY_BEGIN, POLICY_COPY(BPF_W, gpr[MOTE_R8], kind),
				     POLICY_COPY(BPF_DW, gpr[MOTE_R9], number),
				     POLICY_SET(BPF_W, action, MOTE_POLICY_COMPLETE), POLICY_END };
	struct bpf_insn denies[] = { POLICY_BEGIN, POLICY_ONLY_AT(STORE),
				     POLICY_SET(BPF_W, action, MOTE_FILTER_DENY), POLICY_END };
	struct bpf_insn does[] = { POLICY_BEGIN, POLICY_ONLY_AT(LOAD), POLICY_SET(BPF_W, length, 8),
				   POLICY_SET(BPF_DW, gpr[MOTE_RAX], 0x4321),
				   POLICY_SET(BPF_W, action, MOTE_POLICY_COMPLETE), POLICY_END };
	struct guest guest;
	int link;

	SKIP_WITHOUT_STEPS;
	guest_create(&guest);
	ASSERT_EQ(0, set_watch(&guest, 0x30000, PAGE, MOTE_ACCESS_READ | MOTE_ACCESS_WRITE));
	start_accesses(&guest);
	link = policy_attach(passes, sizeof(passes) / sizeof(passes[0]));
	ASSERT_LE(0, link);
	/* It answers the port, too. */
	EXPECT_EQ(MOTE_EXIT_HLT, guest_run(&guest));
	close(link);
	EXPECT_EQ(MOTE_FILTER_PORT, guest.run->gpr[MOTE_R8]);
	EXPECT_EQ(0x1234, *(__u64 *)(guest.ram + 0x30010));

	start_accesses(&guest);
	link = policy_attach(does, sizeof(does) / sizeof(does[0]));
	ASSERT_LE(0, link);
	EXPECT_EQ(MOTE_EXIT_WATCH, guest_run(&guest));
	close(link);
	EXPECT_EQ(STORE, guest.run->rip);
	EXPECT_EQ(0x4321, guest.run->gpr[MOTE_RAX]);

	start_accesses(&guest);
	link = policy_attach(denies, sizeof(denies) / sizeof(denies[0]));
	ASSERT_LE(0, link);
	EXPECT_EQ(MOTE_EXIT_WATCH, guest_run(&guest));
	EXPECT_EQ(100 + 13, guest_run_or_vector(&guest, GUEST_LONG));
	close(link);
	EXPECT_EQ(0, *(__u64 *)(guest.ram + 0x30010));
	guest_destroy(&guest);
}

/* ---- what is refused ------------------------------------------------------------------ */

TEST(refused)
{
	struct mote_watch pad = { .gpa = 0, .size = PAGE, .access = RWX, .pad = 1 };
	struct guest guest;

	guest_create(&guest);
	EXPECT_EQ(-EINVAL, set_watch(&guest, 1, PAGE, RWX));
	EXPECT_EQ(-EINVAL, set_watch(&guest, 0, PAGE + 1, RWX));
	EXPECT_EQ(-EINVAL, set_watch(&guest, 0, 0, RWX));
	EXPECT_EQ(-EINVAL, set_watch(&guest, 0, PAGE, MOTE_ACCESS_WALK));
	EXPECT_EQ(-EINVAL, set_watch(&guest, 0, PAGE, 8));
	EXPECT_EQ(-EINVAL, set_watch(&guest, 1ull << 52, PAGE, RWX));
	EXPECT_EQ(-EINVAL, set_watch(&guest, PAGE, ~0ull << 12, RWX));
	EXPECT_EQ(-EINVAL, mote_set_watch(guest.machine.fd, &pad));
	EXPECT_EQ(-E2BIG, set_watch(&guest, 0, 65537 * PAGE, RWX));
	EXPECT_EQ(0, set_watch(&guest, PAGE << 16, 65536 * PAGE, RWX));
	EXPECT_EQ(-E2BIG, set_watch(&guest, 0, PAGE, RWX));
	EXPECT_EQ(0, set_watch(&guest, PAGE << 16, 65536 * PAGE, 0));
	EXPECT_EQ(0, set_watch(&guest, 0, PAGE, RWX));
	guest_destroy(&guest);
}

MOTE_TEST_MAIN
