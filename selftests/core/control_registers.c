// SPDX-License-Identifier: GPL-2.0
/*
 * CR0, CR4, EFER and XCR0 as the guest sees them: what it may set follows its CPUID, what mote
 * holds back reads as it was written, and no write ends the machine.
 */
#include <errno.h>

#include "kselftest_harness.h"
#include "guest.h"
#include "selftest.h"

#define PAE 0x20ull
#define MCE 0x40ull
#define PGE 0x80ull
#define OSFXSR 0x200ull
#define PCIDE 0x20000ull
#define OSXSAVE 0x40000ull
#define FSGSBASE 0x10000ull
#define CD 0x40000000ull
#define NW 0x20000000ull

/* RAX is written; what is read back is in RBX. */
GUEST(cr0, 64, "mov %rax, %cr0; mov %cr0, %rbx; hlt");
GUEST(cr4, 64, "mov %rax, %cr4; mov %cr4, %rbx; hlt");
GUEST(cr0_r13, 64, "mov %rax, %r13; mov %r13, %cr0; mov %cr0, %r12; mov %r12, %rbx; hlt");
GUEST(cr4_32, 32, "mov %eax, %cr4; mov %cr4, %ebx; hlt");
GUEST(efer, 64, "xor %edx, %edx; mov $0xc0000080, %ecx; wrmsr; rdmsr; mov %rax, %rbx; hlt");
GUEST(xcr0, 64, "mov %rax, %r8; mov %cr4, %rax; or $0x40000, %eax; mov %rax, %cr4\n"
		"mov %r8, %rax; xor %edx, %edx; xor %ecx, %ecx; xsetbv; xgetbv; mov %rax, %rbx; hlt");
/* LMSW clears TS, MP and EM, not PE; each of its forms. */
GUEST(lmsw, 32, "mov $0x3f, %eax; mov %eax, %cr0; mov $1, %eax; lmsw %ax; smsw %ebx; mov %cr0, %ecx; hlt");
GUEST(lmsw_memory, 16, "mov $1, %ax; mov %ax, GUEST_DATA; lmsw GUEST_DATA; smsw %bx; hlt");

FIXTURE(control_registers)
{
	struct guest guest;
	struct mote_info info;
};

FIXTURE_SETUP(control_registers)
{
	guest_create(&self->guest);
	ASSERT_EQ(0, mote_get_info(self->guest.fd, &self->info));
}

FIXTURE_TEARDOWN(control_registers)
{
	guest_destroy(&self->guest);
}

/* What is read back after a write, or -1 for a #GP. */
static __s64 written(struct guest *guest, enum guest_mode mode, const struct guest_code *code, __u64 value)
{
	struct guest_frame frame;
	int reason;

	guest_start(guest, mode, code);
	guest->run->gpr[MOTE_RAX] = value;
	guest->run->set = 1u << MOTE_RAX;
	reason = guest_run(guest);
	if (guest_frame(guest, mode, &frame))
		return frame.vector == 13 ? -1 : -1000 - frame.vector;
	return reason == MOTE_EXIT_HLT ? (__s64)guest->run->gpr[MOTE_RBX] : -2000 - reason;
}

#define EXPECT_WRITTEN(value, mode, name, ...)						\
	EXPECT_EQ((__s64)(value), written(&self->guest, mode, &guest_##name, __VA_ARGS__))

TEST_F(control_registers, read_back_as_written)
{
	__u64 cr0 = 0x80000031, cr4 = PAE | OSFXSR;

	EXPECT_WRITTEN(cr0, GUEST_LONG, cr0, cr0);
	EXPECT_WRITTEN(cr0 | CD, GUEST_LONG, cr0, cr0 | CD);
	EXPECT_WRITTEN(cr0 | CD | NW, GUEST_LONG, cr0, cr0 | CD | NW);
	EXPECT_WRITTEN(cr0 | CD | NW, GUEST_LONG, cr0_r13, cr0 | CD | NW);
	EXPECT_WRITTEN(cr0 | 0xe, GUEST_LONG, cr0, cr0 | 0xe);
	EXPECT_WRITTEN(-1, GUEST_LONG, cr0, cr0 | NW);
	EXPECT_WRITTEN(-1, GUEST_LONG, cr0, cr0 & ~1ull);
	if (!host_is_tcg()) /* which does not see the upper half */
		EXPECT_WRITTEN(-1, GUEST_LONG, cr0, cr0 | 1ull << 32);
	EXPECT_WRITTEN(-1, GUEST_LONG, cr0, 0x31);	/* PG in 64-bit code */
	/* Reserved bits are ignored, ET stays. */
	EXPECT_WRITTEN(cr0, GUEST_LONG, cr0, (cr0 & ~0x10ull) | 0x1ffaffc0);
	EXPECT_WRITTEN(cr4 | MCE, GUEST_LONG, cr4, cr4 | MCE);
	EXPECT_WRITTEN(cr4, GUEST_LONG, cr4, cr4);
	EXPECT_WRITTEN(cr4 | PGE, GUEST_LONG, cr4, cr4 | PGE);
	EXPECT_WRITTEN(-1, GUEST_LONG, cr4, cr4 & ~PAE);
	EXPECT_WRITTEN(MCE | OSFXSR, GUEST_PROT32, cr4_32, MCE | OSFXSR);
	EXPECT_WRITTEN(-1, GUEST_PROT32, cr4_32, PCIDE);
	EXPECT_WRITTEN(-1, GUEST_LONG, cr4, 0xffffffff);
	EXPECT_WRITTEN(-1, GUEST_LONG, cr4, cr4 | 1ull << 32);
	/* VT-x checks what PDPTE registers would hold: entries of 32-bit paging are none. */
	if (self->info.vendor == MOTE_VENDOR_VMX)
		EXPECT_WRITTEN(-1, GUEST_PAGE32, cr4_32, PAE | OSFXSR | 0x10);
	EXPECT_WRITTEN(0x500, GUEST_LONG, efer, 0x500);
	EXPECT_WRITTEN(-1, GUEST_LONG, efer, 0x400);	/* LME with paging on */
	EXPECT_WRITTEN(-1, GUEST_LONG, efer, 0x1500);	/* SVME */
}

/* Every bit of CR4 by itself: the guest may have it, or gets #GP; it goes on in any case. */
TEST_F(control_registers, each_bit_of_cr4)
{
	for (int bit = 0; bit < 64; bit++) {
		__u64 value = PAE | OSFXSR | 1ull << bit;
		bool may = self->info.cr4 >> bit & 1 && bit != 12; /* LA57 in long mode */

		/* SMEP: the guest's code is in pages that applications may have, too. */
		if (may && bit == 20)
			continue;

		EXPECT_EQ(may ? (__s64)value : -1, written(&self->guest, GUEST_LONG, &guest_cr4, value)) {
			TH_LOG("bit %d", bit);
		}
	}
}

/* A table without the feature, and one with it that the host has. */
TEST_F(control_registers, follow_cpuid)
{
	struct mote_cpuid_entry rows[] = {
		{ .leaf = 1, .edx = 0x01000041 | 1u << 6 | 1u << 13 /* PGE */ },
		{ .leaf = 7, .flags = MOTE_CPUID_SUBLEAF },
		{ .leaf = 0xd, .flags = MOTE_CPUID_SUBLEAF, .eax = 3 },
		{ .leaf = 0x80000001, .edx = 1u << 29 /* LM */ },
	};
	struct mote_cpuid_table table = { .nr = 4, .entries = (__u64)rows };
	__u64 cr4 = PAE | OSFXSR;

	ASSERT_EQ(0, mote_set_cpuid(self->guest.cpu.fd, &table));
	EXPECT_WRITTEN(cr4 | PGE, GUEST_LONG, cr4, cr4 | PGE);
	EXPECT_WRITTEN(-1, GUEST_LONG, cr4, cr4 | PCIDE);
	EXPECT_WRITTEN(-1, GUEST_LONG, cr4, cr4 | OSXSAVE);
	EXPECT_WRITTEN(-1, GUEST_LONG, cr4, cr4 | FSGSBASE);
	EXPECT_WRITTEN(-1, GUEST_LONG, efer, 0x501);	/* SCE */
	EXPECT_WRITTEN(-1, GUEST_LONG, efer, 0xd00);	/* NXE */
	rows[1].ebx = self->info.cr4 & FSGSBASE ? 1 : 0;
	rows[3].edx |= 1u << 11 | 1u << 20;
	ASSERT_EQ(0, mote_set_cpuid(self->guest.cpu.fd, &table));
	EXPECT_WRITTEN(self->info.cr4 & FSGSBASE ? (__s64)(cr4 | FSGSBASE) : -1, GUEST_LONG, cr4,
		       cr4 | FSGSBASE);
	EXPECT_WRITTEN(self->info.efer & 0x800 ? 0xd01 : -1, GUEST_LONG, efer, 0xd01);
	if (!(self->info.cr4 & OSXSAVE))
		return;
	rows[0].ecx = 1u << 26;
	ASSERT_EQ(0, mote_set_cpuid(self->guest.cpu.fd, &table));
	EXPECT_WRITTEN(3, GUEST_LONG, xcr0, 3);
	/* QEMU and Bochs do not ask about XSETBV: what its exit would refuse is undone behind it. */
	rows[2].eax = self->info.xcr0;
	ASSERT_EQ(0, mote_set_cpuid(self->guest.cpu.fd, &table));
	EXPECT_WRITTEN(self->info.xcr0, GUEST_LONG, xcr0, self->info.xcr0);
}

TEST_F(control_registers, lmsw)
{
	guest_start(&self->guest, GUEST_PROT32, &guest_lmsw);
	ASSERT_EQ(MOTE_EXIT_HLT, guest_run(&self->guest));
	EXPECT_EQ(0x31, self->guest.run->gpr[MOTE_RBX] & 0x3f);
	EXPECT_EQ(0x31, self->guest.run->gpr[MOTE_RCX]);
	guest_start(&self->guest, GUEST_REAL, &guest_lmsw_memory);
	ASSERT_EQ(MOTE_EXIT_HLT, guest_run(&self->guest));
	EXPECT_EQ(1, self->guest.run->gpr[MOTE_RBX] & 0xf);
}

MOTE_TEST_MAIN
