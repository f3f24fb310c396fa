// SPDX-License-Identifier: GPL-2.0
/* CPUID, MSRs, ports, hypercalls: what is answered, refused and handed over. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "guest.h"
#include "selftest.h"

#define MSR_APICBASE 0x1b
#define MSR_PAT 0x277
#define MSR_EFER 0xc0000080
#define MSR_STAR 0xc0000081
#define MSR_LSTAR 0xc0000082
#define MSR_FS_BASE 0xc0000100
#define NON_CANONICAL 0x8000000000000000ull

GUEST(cpuid, 64, "cpuid; hlt");
GUEST(rdmsr, 64, "rdmsr; hlt");
GUEST(wrmsr, 64, "wrmsr; hlt");
GUEST(both, 64, "wrmsr; xor %eax, %eax; xor %edx, %edx; rdmsr; hlt");
GUEST(vmcall, 64, "vmcall; hlt");
GUEST(vmmcall, 64, "vmmcall; hlt");
GUEST(out, 64, "out %al, %dx; hlt");
GUEST(in, 64, "in %dx, %al; hlt");

FIXTURE(filters)
{
	struct guest guest;
};

FIXTURE_SETUP(filters)
{
	guest_create_vm(&self->guest, MOTE_VM_HLT_EXIT);
}

FIXTURE_TEARDOWN(filters)
{
	guest_destroy(&self->guest);
}

/* Run one instruction: HLT after it, 100 + the vector of an exception, or the exit. */
static int execute(struct guest *guest, const struct guest_code *code, __u64 rax, __u64 rcx, __u64 rdx)
{
	guest_start(guest, GUEST_LONG, code);
	guest_set_gpr(guest, MOTE_RAX, rax);
	guest_set_gpr(guest, MOTE_RCX, rcx);
	guest_set_gpr(guest, MOTE_RDX, rdx);
	return guest_run_or_vector(guest, GUEST_LONG);
}

static int wrmsr(struct guest *guest, __u32 index, __u64 value)
{
	return execute(guest, &guest_wrmsr, (__u32)value, index, value >> 32);
}

static int rdmsr(struct guest *guest, __u32 index, __u64 *value)
{
	int reason = execute(guest, &guest_rdmsr, ~0ull, index, ~0ull);

	*value = guest->run->gpr[MOTE_RAX] | guest->run->gpr[MOTE_RDX] << 32;
	return reason;
}

static void set_filter(struct __test_metadata *_metadata, struct guest *guest, __u32 kind,
		       struct mote_filter_rule *rules, __u32 nr)
{
	struct mote_filter filter = { .kind = kind, .nr = nr, .rules = (unsigned long)rules };

	ASSERT_EQ(0, mote_set_filter(guest->machine.fd, &filter));
}

/* ---- CPUID --------------------------------------------------------------------- */

/* Rows of the table answer, with and without subleaves; what is not in it reads as zero. */
TEST_F(filters, cpuid_table)
{
	struct mote_cpuid_entry rows[] = {
		{ .leaf = 0x40001234, .eax = 1, .ebx = 2, .ecx = 3, .edx = 4 },
		{ .leaf = 4, .subleaf = 0, .flags = MOTE_CPUID_SUBLEAF, .eax = 5 },
		{ .leaf = 4, .subleaf = 7, .flags = MOTE_CPUID_SUBLEAF, .eax = 6 },
		{ .leaf = 0, .eax = 0x20, .ebx = 0x12345678 },
	};
	struct mote_cpuid_table table = { .nr = 4, .entries = (unsigned long)rows };
	struct mote_run *run;

	guest_create_cpu(&self->guest, 0);
	run = self->guest.run;
	EXPECT_EQ(MOTE_EXIT_HLT, execute(&self->guest, &guest_cpuid, 0x40001234, 99, 7));
	EXPECT_EQ(0, run->gpr[MOTE_RAX] | run->gpr[MOTE_RBX] | run->gpr[MOTE_RCX] |
		  run->gpr[MOTE_RDX]);
	ASSERT_EQ(0, mote_set_cpuid(self->guest.cpu.fd, &table));
	EXPECT_EQ(MOTE_EXIT_HLT, execute(&self->guest, &guest_cpuid, 0xabcd000040001234, 99, 7));
	EXPECT_EQ(1, run->gpr[MOTE_RAX]);
	EXPECT_EQ(2, run->gpr[MOTE_RBX]);
	EXPECT_EQ(3, run->gpr[MOTE_RCX]);
	EXPECT_EQ(4, run->gpr[MOTE_RDX]);
	execute(&self->guest, &guest_cpuid, 4, 0, 0);
	EXPECT_EQ(5, run->gpr[MOTE_RAX]);
	execute(&self->guest, &guest_cpuid, 4, 7, 0);
	EXPECT_EQ(6, run->gpr[MOTE_RAX]);
	execute(&self->guest, &guest_cpuid, 4, 1, 0);
	EXPECT_EQ(0, run->gpr[MOTE_RAX]);
	execute(&self->guest, &guest_cpuid, 0, 5, 0);
	EXPECT_EQ(0x12345678, run->gpr[MOTE_RBX]);
}

/* What the module proposes can be set, and hides the extension that carries the guest. */
TEST_F(filters, cpuid_of_the_host)
{
	static struct mote_cpuid_entry rows[MOTE_MAX_CPUID];
	struct mote_cpuid_table table = { .nr = MOTE_MAX_CPUID, .entries = (unsigned long)rows };
	struct mote_cpuid_table none = { .nr = 0 };
	struct mote_run *run;

	guest_create_cpu(&self->guest, 0);
	run = self->guest.run;
	ASSERT_EQ(0, mote_get_cpuid(self->guest.fd, &none));
	ASSERT_EQ(0, mote_get_cpuid(self->guest.fd, &table));
	EXPECT_EQ(none.nr, table.nr);
	EXPECT_LT(8, table.nr);
	ASSERT_EQ(0, mote_set_cpuid(self->guest.cpu.fd, &table));
	execute(&self->guest, &guest_cpuid, 1, 0, 0);
	EXPECT_EQ(0, run->gpr[MOTE_RCX] & 1u << 5); /* VMX */
	EXPECT_NE(0, run->gpr[MOTE_RDX] & 1u << 5); /* MSR */
	execute(&self->guest, &guest_cpuid, 0x80000001, 0, 0);
	EXPECT_EQ(0, run->gpr[MOTE_RCX] & 1u << 2); /* SVM */
	EXPECT_NE(0, run->gpr[MOTE_RDX] & 1u << 29); /* long mode */
}

/* A filter denies with #GP, or hands over with the registers as they were. */
TEST_F(filters, cpuid_filter)
{
	struct mote_filter_rule rules[] = {
		{ 5, 6, MOTE_FILTER_DENY, MOTE_FILTER_READ | MOTE_FILTER_WRITE },
		{ 7, 7, MOTE_FILTER_FORWARD, MOTE_FILTER_READ | MOTE_FILTER_WRITE },
	};
	struct mote_run *run;

	set_filter(_metadata, &self->guest, MOTE_FILTER_CPUID, rules, 2);
	guest_create_cpu(&self->guest, 0);
	run = self->guest.run;
	EXPECT_EQ(MOTE_EXIT_HLT, execute(&self->guest, &guest_cpuid, 4, 0, 0));
	EXPECT_EQ(113, execute(&self->guest, &guest_cpuid, 5, 0, 0));
	EXPECT_EQ(113, execute(&self->guest, &guest_cpuid, 6, 0, 0));
	ASSERT_EQ(MOTE_EXIT_CPUID, execute(&self->guest, &guest_cpuid, 7, 3, 0));
	EXPECT_EQ(7, run->gpr[MOTE_RAX]);
	EXPECT_EQ(3, run->gpr[MOTE_RCX]);
	guest_set_gpr(&self->guest, MOTE_RBX, 0x77);
	run->set |= MOTE_SET_COMPLETE;
	EXPECT_EQ(MOTE_EXIT_HLT, guest_run(&self->guest));
	EXPECT_EQ(0x77, run->gpr[MOTE_RBX]);
}

/* ---- MSRs ------------------------------------------------------------------------ */

/* Those that a guest has keep their values; values that no CPU takes are #GP. */
TEST_F(filters, msrs_that_a_guest_has)
{
	static const struct {
		__u32 index;
		__u64 good, bad;
	} rows[] = {
		{ MSR_STAR, 0x0023001000000000, 0 },
		{ MSR_LSTAR, 0xffffffff81000000, NON_CANONICAL },
		{ 0xc0000083, 0x00007fffffffffff, 0x0000800000000000 },	/* CSTAR */
		{ 0xc0000084, 0x47700, 0 },				/* SFMASK */
		{ MSR_FS_BASE, 0xffff888000000000, NON_CANONICAL },
		{ 0xc0000101, 0x12345000, NON_CANONICAL },		/* GS base */
		{ 0xc0000102, 0xffffc90000000000, NON_CANONICAL },	/* kernel GS base */
		{ 0x174, 0x10, 0 },					/* SYSENTER_CS */
		{ 0x175, 0xffff888000001000, NON_CANONICAL },
		{ 0x176, 0xffffffff81000000, NON_CANONICAL },
		{ MSR_PAT, 0x0007040600070406, 0x0007040600070402 },
		{ MSR_EFER, 0xd01, 0xd02 },
		{ 0x2ff, 0xc06, 0xc02 },				/* MTRR_DEF_TYPE */
	};
	__u64 value;

	guest_create_cpu(&self->guest, 0);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		EXPECT_EQ(MOTE_EXIT_HLT, execute(&self->guest, &guest_both, (__u32)rows[i].good,
						 rows[i].index, rows[i].good >> 32)) {
			TH_LOG("MSR %#x: %d", rows[i].index, self->guest.run->reason);
		}
		value = self->guest.run->gpr[MOTE_RAX] | self->guest.run->gpr[MOTE_RDX] << 32;
		EXPECT_EQ(rows[i].good, value) TH_LOG("MSR %#x", rows[i].index);
		if (!rows[i].bad)
			continue;
		if (host_is_tcg() && rows[i].bad >= 0x0000800000000000)
			continue;
		EXPECT_EQ(113, wrmsr(&self->guest, rows[i].index, rows[i].bad)) {
			TH_LOG("MSR %#x takes %#llx", rows[i].index, rows[i].bad);
		}
	}
}

/* The rest is user space's: a value, or a fault. */
TEST_F(filters, unknown_msrs)
{
	struct mote_event gp = { .valid = 1, .type = MOTE_EVENT_EXCEPTION, .vector = 13,
				 .has_error = 1 };
	struct guest_frame frame;
	struct mote_run *run;
	__u64 value;

	guest_create_cpu(&self->guest, 0);
	run = self->guest.run;
	ASSERT_EQ(MOTE_EXIT_RDMSR, rdmsr(&self->guest, 0x12345678, &value));
	EXPECT_EQ(0x12345678, run->msr.index);
	guest_set_gpr(&self->guest, MOTE_RAX, 0x11);
	guest_set_gpr(&self->guest, MOTE_RDX, 0x22);
	run->set |= MOTE_SET_COMPLETE;
	EXPECT_EQ(MOTE_EXIT_HLT, guest_run(&self->guest));
	EXPECT_EQ(0x11, run->gpr[MOTE_RAX]);
	EXPECT_EQ(0x22, run->gpr[MOTE_RDX]);

	ASSERT_EQ(MOTE_EXIT_WRMSR, wrmsr(&self->guest, 0x12345678, 0x123456789abcdef0));
	EXPECT_EQ(0x12345678, run->msr.index);
	EXPECT_EQ(0x123456789abcdef0, run->msr.data);
	ASSERT_EQ(0, mote_inject(self->guest.cpu.fd, &gp));
	EXPECT_EQ(MOTE_EXIT_PIO, guest_run(&self->guest));
	ASSERT_TRUE(guest_frame(&self->guest, GUEST_LONG, &frame));
	EXPECT_EQ(13, frame.vector);
	EXPECT_EQ(GUEST_CODE, frame.rip);
}

TEST_F(filters, msr_filter)
{
	struct mote_filter_rule rules[] = {
		{ MSR_PAT, MSR_PAT, MOTE_FILTER_DENY, MOTE_FILTER_WRITE },
		{ MSR_STAR, MSR_LSTAR, MOTE_FILTER_FORWARD, MOTE_FILTER_READ | MOTE_FILTER_WRITE },
		{ MSR_FS_BASE, MSR_FS_BASE, MOTE_FILTER_DENY, MOTE_FILTER_READ },
	};
	__u64 value;

	set_filter(_metadata, &self->guest, MOTE_FILTER_MSR, rules, 3);
	guest_create_cpu(&self->guest, 0);
	EXPECT_EQ(MOTE_EXIT_HLT, rdmsr(&self->guest, MSR_PAT, &value));
	EXPECT_EQ(113, wrmsr(&self->guest, MSR_PAT, 0x0007040600070406));
	EXPECT_EQ(MOTE_EXIT_RDMSR, rdmsr(&self->guest, MSR_STAR, &value));
	EXPECT_EQ(MOTE_EXIT_WRMSR, wrmsr(&self->guest, MSR_LSTAR, 0));
	EXPECT_EQ(113, rdmsr(&self->guest, MSR_FS_BASE, &value));
	EXPECT_EQ(MOTE_EXIT_HLT, wrmsr(&self->guest, MSR_FS_BASE, 0));
}

/* ---- ports and hypercalls ------------------------------------------------------------- */

TEST_F(filters, port_filter)
{
	struct mote_filter_rule rules[] = {
		{ 0x80, 0x8f, MOTE_FILTER_DENY, MOTE_FILTER_WRITE },
		{ 0x90, 0x9f, MOTE_FILTER_FORWARD, MOTE_FILTER_READ | MOTE_FILTER_WRITE },
	};

	set_filter(_metadata, &self->guest, MOTE_FILTER_PORT, rules, 2);
	guest_create_cpu(&self->guest, 0);
	EXPECT_EQ(MOTE_EXIT_PIO, execute(&self->guest, &guest_out, 0, 0, 0x7f));
	EXPECT_EQ(113, execute(&self->guest, &guest_out, 0, 0, 0x80));
	EXPECT_EQ(113, execute(&self->guest, &guest_out, 0, 0, 0x8f));
	EXPECT_EQ(MOTE_EXIT_PIO, execute(&self->guest, &guest_in, 0, 0, 0x8f));
	EXPECT_EQ(MOTE_EXIT_PIO, execute(&self->guest, &guest_out, 0, 0, 0x90));
}

TEST_F(filters, hypercall_filter)
{
	bool svm = mote_cpuid_vendor() == MOTE_VENDOR_SVM;
	const struct guest_code *call = svm ? &guest_vmmcall : &guest_vmcall;
	struct mote_filter_rule rules[] = {
		{ 5, 5, MOTE_FILTER_DENY, MOTE_FILTER_READ | MOTE_FILTER_WRITE },
		{ 6, 6, MOTE_FILTER_FORWARD, MOTE_FILTER_READ | MOTE_FILTER_WRITE },
	};

	set_filter(_metadata, &self->guest, MOTE_FILTER_HYPERCALL, rules, 2);
	guest_create_cpu(&self->guest, 0);
	EXPECT_EQ(106, execute(&self->guest, call, 5, 0, 0));
	EXPECT_EQ(MOTE_EXIT_HYPERCALL, execute(&self->guest, call, 6, 0, 0));
}

/* ---- sweeps ------------------------------------------------------------------------------ */

/* MSRs of the host that guests might reach for. */
static const __u32 host_msrs[] = {
	0x10a, 0x1b, 0x174, 0x175, 0x176, 0x1a0, 0x1d9, 0x277, 0x3a, 0x2ff, 0xc0000080, 0xc0000081,
	0xc0000082, 0xc0000083, 0xc0000084, 0xc0000103, 0xc0010114, 0xc0010117, 0xc0010010,
};

static int snapshot(__u64 *values)
{
	int fd;

	sh("modprobe -q msr");
	fd = open("/dev/cpu/0/msr", O_RDONLY);
	if (fd < 0)
		return -1;
	for (size_t i = 0; i < sizeof(host_msrs) / 4; i++)
		if (pread(fd, &values[i], 8, host_msrs[i]) != 8)
			values[i] = 0x600d;
	close(fd);
	return 0;
}

GUEST(sweep_read, 64, "1: rdmsr; 2: inc %ecx; cmp %esi, %ecx; jne 1b; hlt");
GUEST(sweep_write, 64, "1: mov %ebx, %eax; mov %ebx, %edx; wrmsr; 2: inc %ecx; cmp %esi, %ecx\n"
		       "jne 1b; hlt");

/* Go over a range of MSRs in the guest; whatever comes of each, go on with the next. */
static int sweep(struct guest *guest, __u32 first, __u32 last, bool write, __u64 value)
{
	int length = write ? 6 : 2; /* up to the end of RDMSR or WRMSR */
	struct guest_frame frame;
	int reason, exits = 0;

	guest_start(guest, GUEST_LONG, write ? &guest_sweep_write : &guest_sweep_read);
	guest_set_gpr(guest, MOTE_RCX, first);
	guest_set_gpr(guest, MOTE_RSI, last);
	guest_set_gpr(guest, MOTE_RBX, value);
	while ((reason = guest_run(guest)) != MOTE_EXIT_HLT) {
		if (reason == MOTE_EXIT_RDMSR || reason == MOTE_EXIT_WRMSR)
			guest->run->set |= MOTE_SET_COMPLETE;
		else if (guest_frame(guest, GUEST_LONG, &frame) && frame.vector == 13)
			guest_resume(guest, GUEST_LONG, GUEST_CODE + length);
		else
			return -1;
		exits++;
	}
	return exits;
}

/* All MSRs there may be, read and written: the host's do not change. */
TEST_F(filters, all_msrs)
{
	static const __u32 ranges[] = { 0, 0x40000000, 0xc0000000, 0xc0010000 };
	__u64 before[32] = { 0 }, after[32] = { 0 };
	__u32 many = guest_scale(0x2000);

	guest_create_cpu(&self->guest, 0);
	snapshot(before);
	for (int i = 0; i < 4; i++) {
		EXPECT_LE(0, sweep(&self->guest, ranges[i], ranges[i] + many, false, 0));
		EXPECT_LE(0, sweep(&self->guest, ranges[i], ranges[i] + many, true, ~0ull));
	}
	snapshot(after);
	EXPECT_EQ(0, memcmp(before, after, sizeof(before)));
}

GUEST(sweep_ports, 64,
      "xor %edx, %edx; 1: in %dx, %al; out %al, %dx; inc %edx; cmp %esi, %edx; jne 1b; hlt");

/* All ports, or the first of them, both ways: each is an exit, and names its port. */
TEST_F(filters, all_ports)
{
	long ports = guest_scale(0x10000);
	struct mote_run *run;
	int n = 0, reason;

	guest_create_cpu(&self->guest, 0);
	run = self->guest.run;
	guest_start(&self->guest, GUEST_LONG, &guest_sweep_ports);
	guest_set_gpr(&self->guest, MOTE_RSI, ports);
	while ((reason = guest_run(&self->guest)) == MOTE_EXIT_PIO) {
		ASSERT_EQ(n / 2, run->pio.port);
		ASSERT_EQ(n & 1 ? 0 : MOTE_PIO_IN, run->pio.flags);
		ASSERT_EQ(1, run->pio.size);
		n++;
	}
	EXPECT_EQ(MOTE_EXIT_HLT, reason);
	EXPECT_EQ(2 * ports, n);
}

MOTE_TEST_MAIN
