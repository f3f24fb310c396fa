// SPDX-License-Identifier: GPL-2.0
/* BPF programs that decide: what they see, each answer for each kind of exit, and hostile ones. */
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>

#include "kselftest_harness.h"
#include "guest.h"
#include "policy.h"
#include "selftest.h"

#define MSR_PAT 0x277
#define HOLE 0x800000 /* behind the memory */
/* Not at the exits of handlers of faults. */
#define BEGIN POLICY_BEGIN, POLICY_ONLY_AT(GUEST_CODE)
#define UNTOUCHED 0x5555555555555555

GUEST(policy_cpuid, 64, "cpuid; hlt");
GUEST(policy_rdmsr, 64, "rdmsr; hlt");
GUEST(policy_wrmsr, 64, "wrmsr; hlt");
GUEST(policy_out, 64, "out %al, %dx; hlt");
GUEST(policy_in, 64, "in %dx, %eax; hlt");
GUEST(policy_outs, 64, "rep outsb; hlt");
GUEST(policy_vmcall, 64, "vmcall; hlt");
GUEST(policy_vmmcall, 64, "vmmcall; hlt");
GUEST(policy_load, 64, "mov (%rsi), %rbx; hlt");
GUEST(policy_store, 64, "mov %ebx, 4(%rsi); hlt");

/* What a guest does, with RAX 7, RCX MSR_PAT, RDX 0x90, RSI HOLE; and how a policy sees it. */
static const struct instruction {
	const struct guest_code *code;
	int exit;	/* to user space, without a policy; or HLT */
	int forwarded;	/* with one that wants it */
	int fault;	/* if it is denied */
	__u32 kind, access, size, length;
	__u64 number;
} instructions[] = {
	{ &guest_policy_cpuid, MOTE_EXIT_HLT, MOTE_EXIT_CPUID, 13,
	  MOTE_FILTER_CPUID, MOTE_ACCESS_READ, 0, 2, 7 },
	{ &guest_policy_rdmsr, MOTE_EXIT_HLT, MOTE_EXIT_RDMSR, 13,
	  MOTE_FILTER_MSR, MOTE_ACCESS_READ, 0, 2, MSR_PAT },
	{ &guest_policy_wrmsr, MOTE_EXIT_HLT, MOTE_EXIT_WRMSR, 13,
	  MOTE_FILTER_MSR, MOTE_ACCESS_WRITE, 0, 2, MSR_PAT },
	{ &guest_policy_out, MOTE_EXIT_PIO, MOTE_EXIT_PIO, 13,
	  MOTE_FILTER_PORT, MOTE_ACCESS_WRITE, 1, 1, 0x90 },
	{ &guest_policy_in, MOTE_EXIT_PIO, MOTE_EXIT_PIO, 13,
	  MOTE_FILTER_PORT, MOTE_ACCESS_READ, 4, 1, 0x90 },
	{ NULL, MOTE_EXIT_HYPERCALL, MOTE_EXIT_HYPERCALL, 6,
	  MOTE_FILTER_HYPERCALL, MOTE_ACCESS_READ, 0, 3, 7 },
	{ &guest_policy_load, MOTE_EXIT_MMIO, MOTE_EXIT_MMIO, 13,
	  MOTE_POLICY_MMIO, MOTE_ACCESS_READ, 15, 3, HOLE },
	{ &guest_policy_store, MOTE_EXIT_MMIO, MOTE_EXIT_MMIO, 13,
	  MOTE_POLICY_MMIO, MOTE_ACCESS_WRITE, 15, 3, HOLE + 4 },
};
#define NR_INSTRUCTIONS (sizeof(instructions) / sizeof(instructions[0]))

FIXTURE(policy)
{
	struct guest guest;
	int link;
};

FIXTURE_SETUP(policy)
{
	struct bpf_insn insns[] = { BEGIN, POLICY_END };

	self->link = policy_attach(insns, sizeof(insns) / sizeof(insns[0]));
	ASSERT_LE(0, self->link);
	close(self->link);
	self->link = -1;
	guest_create(&self->guest);
}

FIXTURE_TEARDOWN(policy)
{
	if (self->link >= 0)
		close(self->link);
	guest_destroy(&self->guest);
}

/* In the place of the policy that there was. */
#define ATTACH(...) do {								\
	struct bpf_insn insns_[] = { __VA_ARGS__ };					\
	int link_ = policy_attach(insns_, sizeof(insns_) / sizeof(insns_[0]));		\
											\
	ASSERT_LE(0, link_);								\
	if (self->link >= 0)								\
		close(self->link);							\
	self->link = link_;								\
} while (0)

static void prepare(struct guest *guest, const struct instruction *one)
{
	bool svm = mote_cpuid_vendor() == MOTE_VENDOR_SVM;

	guest_start(guest, GUEST_LONG, one->code ?: svm ? &guest_policy_vmmcall : &guest_policy_vmcall);
	guest_set_gpr(guest, MOTE_RAX, 7);
	guest_set_gpr(guest, MOTE_RBX, UNTOUCHED);
	guest_set_gpr(guest, MOTE_RCX, MSR_PAT);
	guest_set_gpr(guest, MOTE_RDX, one->code == &guest_policy_wrmsr ? 0 : 0x90);
	guest_set_gpr(guest, MOTE_RSI, HOLE);
}

/* The exit; 100 + the vector of an exception. */
static int execute(struct guest *guest, const struct instruction *one)
{
	prepare(guest, one);
	return guest_run_or_vector(guest, GUEST_LONG);
}

/* Each answer for each kind of exit; RIP is behind a completed instruction, and at one that is not. */
TEST_F(policy, answers)
{
	const struct mote_run *run = self->guest.run;

	for (size_t i = 0; i < NR_INSTRUCTIONS; i++) {
		const struct instruction *one = &instructions[i];

		ATTACH(BEGIN, POLICY_END);
		EXPECT_EQ(one->exit, execute(&self->guest, one)) TH_LOG("%zu", i);
		ATTACH(BEGIN, POLICY_SET(BPF_W, length, one->length),
		       POLICY_SET(BPF_DW, gpr[MOTE_RBX], 0x1234),
		       POLICY_SET(BPF_W, action, MOTE_POLICY_COMPLETE), POLICY_END);
		EXPECT_EQ(MOTE_EXIT_HLT, execute(&self->guest, one)) TH_LOG("%zu", i);
		EXPECT_EQ(0x1234, run->gpr[MOTE_RBX]);
		EXPECT_EQ(7, run->gpr[MOTE_RAX]);
		EXPECT_EQ(GUEST_CODE + one->length, run->rip);
		ATTACH(BEGIN, POLICY_SET(BPF_W, action, MOTE_FILTER_DENY), POLICY_END);
		EXPECT_EQ(100 + one->fault, execute(&self->guest, one)) TH_LOG("%zu", i);
		ATTACH(BEGIN, POLICY_SET(BPF_DW, gpr[MOTE_RBX], 0x4321),
		       POLICY_SET(BPF_W, action, MOTE_FILTER_FORWARD), POLICY_END);
		EXPECT_EQ(one->forwarded, execute(&self->guest, one)) TH_LOG("%zu", i);
		EXPECT_EQ(GUEST_CODE, run->rip);
		EXPECT_EQ(0x4321, run->gpr[MOTE_RBX]);
		/* No answer: as if it had not been asked; nor is a completion of MMIO without a length. */
		ATTACH(BEGIN, POLICY_SET(BPF_W, action, MOTE_POLICY_COMPLETE + 1), POLICY_END);
		EXPECT_EQ(one->exit, execute(&self->guest, one)) TH_LOG("%zu", i);
		if (one->kind != MOTE_POLICY_MMIO)
			continue;
		ATTACH(BEGIN, POLICY_SET(BPF_W, action, MOTE_POLICY_COMPLETE), POLICY_END);
		EXPECT_EQ(one->exit, execute(&self->guest, one));
		ATTACH(BEGIN, POLICY_SET(BPF_W, length, 16),
		       POLICY_SET(BPF_W, action, MOTE_POLICY_COMPLETE), POLICY_END);
		EXPECT_EQ(one->exit, execute(&self->guest, one));
	}
}

/* What a program is told, as it has copied it into the guest's registers. */
TEST_F(policy, sees)
{
	const __u64 *gpr = self->guest.run->gpr;

	for (size_t i = 0; i < NR_INSTRUCTIONS; i++) {
		const struct instruction *one = &instructions[i];

		ATTACH(BEGIN, POLICY_COPY(BPF_DW, gpr[MOTE_RBX], number),
		       POLICY_COPY(BPF_W, gpr[MOTE_RCX], kind),
		       POLICY_COPY(BPF_W, gpr[MOTE_RDX], access), POLICY_COPY(BPF_W, gpr[MOTE_RSI], size),
		       POLICY_COPY(BPF_DW, gpr[MOTE_RDI], rip), POLICY_COPY(BPF_W, gpr[MOTE_RBP], vcpu),
		       POLICY_COPY(BPF_W, gpr[MOTE_R8], pid), POLICY_COPY(BPF_DW, gpr[MOTE_R9], insn[0]),
		       POLICY_COPY(BPF_W, gpr[MOTE_R10], flags),
		       POLICY_SET(BPF_W, length, one->length), POLICY_SET(BPF_DW, gpr[MOTE_RAX], 1),
		       POLICY_SET(BPF_DW, gpr[MOTE_R15], -1),
		       POLICY_SET(BPF_W, action, MOTE_POLICY_COMPLETE), POLICY_END);
		ASSERT_EQ(MOTE_EXIT_HLT, execute(&self->guest, one)) TH_LOG("%zu", i);
		EXPECT_EQ(one->number, gpr[MOTE_RBX]);
		EXPECT_EQ(one->kind, gpr[MOTE_RCX]);
		EXPECT_EQ(one->access, gpr[MOTE_RDX]);
		EXPECT_EQ(one->size, gpr[MOTE_RSI]) TH_LOG("%zu", i);
		EXPECT_EQ(GUEST_CODE, gpr[MOTE_RDI]);
		EXPECT_EQ(0, gpr[MOTE_RBP]);
		EXPECT_EQ(getpid(), gpr[MOTE_R8]);
		EXPECT_EQ(0, gpr[MOTE_R10]);
		EXPECT_EQ(~0ull, gpr[MOTE_R15]);
		if (one->kind == MOTE_POLICY_MMIO)
			EXPECT_EQ(0, memcmp(&gpr[MOTE_R9], self->guest.ram + GUEST_CODE, 8));
	}
}

/* A string instruction can be answered as a whole: its flags say what it is. */
TEST_F(policy, string)
{
	const struct instruction outs = { &guest_policy_outs };
	const __u64 *gpr = self->guest.run->gpr;

	ATTACH(BEGIN, POLICY_COPY(BPF_W, gpr[MOTE_RBX], flags), POLICY_SET(BPF_DW, gpr[MOTE_RCX], 0),
	       POLICY_SET(BPF_W, action, MOTE_POLICY_COMPLETE), POLICY_END);
	EXPECT_EQ(MOTE_EXIT_HLT, execute(&self->guest, &outs));
	EXPECT_EQ(0, gpr[MOTE_RCX]);
	EXPECT_EQ(MOTE_PIO_STRING | MOTE_PIO_REP, gpr[MOTE_RBX]);
}

/* A program can say that somebody is woken: by a port's eventfd, whatever the exit is. */
TEST_F(policy, wakes)
{
	struct mote_ioeventfd doorbell = { .port = 0x77, .fd = eventfd(0, EFD_NONBLOCK) };
	struct bpf_insn program[] = { BEGIN, POLICY_SET(BPF_W, length, 3), POLICY_SET(BPF_W, wake, 0x77),
				      POLICY_SET(BPF_W, action, MOTE_POLICY_COMPLETE), POLICY_END };
	__u64 count;

	ASSERT_LE(0, doorbell.fd);
	self->link = policy_attach(program, sizeof(program) / sizeof(program[0]));
	ASSERT_LE(0, self->link);
	/* None there: nobody is. */
	EXPECT_EQ(MOTE_EXIT_HLT, execute(&self->guest, &instructions[0]));
	ASSERT_EQ(0, mote_ioeventfd(self->guest.machine.fd, &doorbell));
	for (size_t i = 0; i < NR_INSTRUCTIONS; i++) {
		EXPECT_GT(0, read(doorbell.fd, &count, sizeof(count)));
		execute(&self->guest, &instructions[i]);
		EXPECT_EQ(8, read(doorbell.fd, &count, sizeof(count))) TH_LOG("%zu", i);
		EXPECT_EQ(1, count);
	}
	close(doorbell.fd);
}

/* The filter is asked when a policy has no answer, and not when it has one. */
TEST_F(policy, before_filters)
{
	struct mote_filter_rule rule = { 0x90, 0x90, MOTE_FILTER_DENY, MOTE_FILTER_READ | MOTE_FILTER_WRITE };
	struct mote_filter filter = { .kind = MOTE_FILTER_PORT, .nr = 1, .rules = (unsigned long)&rule };
	struct guest guest;

	guest_create_vm(&guest, MOTE_VM_HLT_EXIT);
	ASSERT_EQ(0, mote_set_filter(guest.machine.fd, &filter));
	guest_create_cpu(&guest, 0);
	EXPECT_EQ(113, execute(&guest, &instructions[3]));
	ATTACH(BEGIN, POLICY_SET(BPF_W, action, MOTE_POLICY_COMPLETE), POLICY_END);
	EXPECT_EQ(MOTE_EXIT_HLT, execute(&guest, &instructions[3]));
	ATTACH(BEGIN, POLICY_SET(BPF_W, action, MOTE_FILTER_FORWARD), POLICY_END);
	EXPECT_EQ(MOTE_EXIT_PIO, execute(&guest, &instructions[3]));
	ATTACH(BEGIN, POLICY_END);
	EXPECT_EQ(113, execute(&guest, &instructions[3]));
	guest_destroy(&guest);
}

/* Of two programs the later one sees what the earlier one answered, and has the last word. */
TEST_F(policy, one_after_the_other)
{
	struct bpf_insn second[] = { BEGIN, POLICY_COPY(BPF_W, gpr[MOTE_RBX], action),
				     POLICY_SET(BPF_W, action, MOTE_FILTER_DENY), POLICY_END };
	int link;

	ATTACH(BEGIN, POLICY_SET(BPF_W, action, MOTE_POLICY_COMPLETE), POLICY_END);
	link = policy_attach(second, sizeof(second) / sizeof(second[0]));
	ASSERT_LE(0, link);
	EXPECT_EQ(113, execute(&self->guest, &instructions[0]));
	EXPECT_EQ(MOTE_POLICY_COMPLETE, self->guest.run->gpr[MOTE_RBX]);
	close(link);
	EXPECT_EQ(MOTE_EXIT_HLT, execute(&self->guest, &instructions[0]));
}

/* What reaches beyond the exit is not loaded, or not attached. */
TEST_F(policy, refused)
{
	struct bpf_insn behind[] = { BEGIN, POLICY_SET(BPF_B, gpr[0], 0), POLICY_END };
	struct bpf_insn before[] = { BEGIN, BPF_INSN(BPF_ST | BPF_MEM | BPF_W, 6, 0, -4, 0), POLICY_END };

	behind[5].off = sizeof(struct mote_policy);
	EXPECT_EQ(-EINVAL, policy_attach(behind, sizeof(behind) / sizeof(behind[0])));
	EXPECT_GT(0, policy_attach(before, sizeof(before) / sizeof(before[0])));
	behind[5].off = sizeof(struct mote_policy) - 1;
	self->link = policy_attach(behind, sizeof(behind) / sizeof(behind[0]));
	EXPECT_LE(0, self->link);
}

/* To user space, in hostile. */
#define EXITS (1ull << MOTE_EXIT_HLT | 1ull << MOTE_EXIT_PIO | 1ull << MOTE_EXIT_MMIO | \
	       1ull << MOTE_EXIT_CPUID | \
	       1ull << MOTE_EXIT_RDMSR | 1ull << MOTE_EXIT_WRMSR | 1ull << MOTE_EXIT_HYPERCALL | \
	       1ull << MOTE_EXIT_SHUTDOWN)

static void random_program(struct bpf_insn *insns, unsigned int nr)
{
	static const unsigned char sizes[] = { BPF_B, BPF_H, BPF_W, BPF_DW };
	struct bpf_insn begin[] = { BEGIN }, end[] = { POLICY_END };

	memcpy(insns, begin, sizeof(begin));
	for (unsigned int i = 5; i < nr - 2; i++) {
		unsigned int log = random() % 4;

		unsigned int at = random() % sizeof(struct mote_policy) >> log << log;

		insns[i] = BPF_INSN(BPF_ST | BPF_MEM | sizes[log], 6, 0, at, random() * 2 + random() % 2);
	}
	if (random() % 2)
		insns[nr - 3] = POLICY_SET(BPF_W, action, random() % 5);
	memcpy(insns + nr - 2, end, sizeof(end));
}

/*
 * Programs that write anything anywhere that they may: the guest ends up anywhere, but each run comes back
 * with a reason, and a machine without one is as it was.
 */
TEST_F(policy, hostile)
{
	long rounds = guest_rounds(200, 20000);
	struct bpf_insn insns[18];

	srandom(is_long_run() ? time(NULL) : 1);
	for (long i = 0; i < rounds; i++) {
		const struct instruction *one = &instructions[i % NR_INSTRUCTIONS];
		int reason;

		random_program(insns, 18);
		if (self->link >= 0)
			close(self->link);
		self->link = policy_attach(insns, 18);
		ASSERT_LE(0, self->link);
		prepare(&self->guest, one);
		do
			reason = mote_run(self->guest.cpu.fd);
		while (reason == -EINTR);
		ASSERT_EQ(0, reason) TH_LOG("%ld: %d", i, reason);
		reason = self->guest.run->reason;
		ASSERT_TRUE(1ull << reason & EXITS) TH_LOG("%ld: %d", i, reason);
	}
	close(self->link);
	self->link = -1;
	for (size_t i = 0; i < NR_INSTRUCTIONS; i++)
		EXPECT_EQ(instructions[i].exit, execute(&self->guest, &instructions[i]));
}

MOTE_TEST_MAIN
