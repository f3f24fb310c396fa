// SPDX-License-Identifier: GPL-2.0
/*
 * What no emulator has, as mote_peek.ko makes the kernel believe it: kernels that mote refuses,
 * mitigations, MSRs that perf wants switched.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "guest.h"
#include "selftest.h"

#define PARAMETER "/sys/module/mote_peek/parameters/"

FIXTURE(pretended)
{
	struct guest guest;
	struct mote_info info;
	const char *feature;
};

FIXTURE_SETUP(pretended)
{
	if (sh("modprobe mote_peek"))
		SKIP(return, "there is no mote_peek.ko");
	ASSERT_TRUE(pin_to_cpu(0));
	self->guest.fd = -1;
	self->feature = NULL;
}

FIXTURE_TEARDOWN(pretended)
{
	if (self->feature)
		sh("echo %s > " PARAMETER "feature", self->feature);
	sh("echo 0 > " PARAMETER "perf");
	sh("rmmod mote_peek");
}

/* False: this kernel does not know it. */
static bool pretend(FIXTURE_DATA(pretended) *self, const char *feature)
{
	if (sh("echo %s > " PARAMETER "feature", feature))
		return false;
	self->feature = feature;
	return true;
}

static void info(struct __test_metadata *_metadata, FIXTURE_DATA(pretended) *self)
{
	int fd = mote_open();

	ASSERT_LE(0, fd);
	EXPECT_EQ(0, mote_get_info(fd, &self->info));
	close(fd);
}

/* The module refuses, and the doctor says why. */
static void expect_refusal(struct __test_metadata *_metadata, FIXTURE_DATA(pretended) *self,
			   unsigned int why, const char *words)
{
	static const struct mote_vm_config config;
	struct command doctor;
	int fd = mote_open();

	info(_metadata, self);
	ASSERT_EQ(1, self->info.nr_obstacles);
	EXPECT_EQ(MOTE_OBSTACLE_KERNEL, self->info.obstacles[0].code);
	EXPECT_EQ(why, self->info.obstacles[0].detail);
	EXPECT_EQ(-EOPNOTSUPP, mote_create_vm(fd, &config));
	close(fd);
	command_run(&doctor, "mote doctor");
	EXPECT_EQ(1, doctor.status);
	EXPECT_NE(NULL, strstr(doctor.out, words)) TH_LOG("%s", doctor.out);
}

TEST_F(pretended, a_kernel_without_a_tsc)
{
	struct command khz;

	command_run(&khz, "cat " PARAMETER "tsc_khz; echo 0 > " PARAMETER "tsc_khz");
	expect_refusal(_metadata, self, MOTE_KERNEL_TSC, "frequency of the TSC");
	ASSERT_EQ(0, sh("echo %s > " PARAMETER "tsc_khz", strtok(khz.out, "\n")));
	info(_metadata, self);
	EXPECT_EQ(0, self->info.nr_obstacles);
}

TEST_F(pretended, a_kernel_with_fred)
{
	if (!pretend(self, "fred"))
		SKIP(return, "not on this kernel: no FRED");
	expect_refusal(_metadata, self, MOTE_KERNEL_FRED, "fred=off");
}

GUEST(spins, 64, "out %al, $0x80; rdmsr; shl $32, %rdx; or %rdx, %rax; out %al, $0x81");

/* Before the VMM process goes on it is due for an IBPB, on either vendor's CPUs. */
TEST_F(pretended, ibpb_on_the_way_to_user_space)
{
	if (!pretend(self, "ibpb_exit_to_user"))
		SKIP(return, "not on this kernel: VMSCAPE is not mitigated");
	/* What is built in asks for features when it is loaded. */
	ASSERT_EQ(0, unload_mote());
	ASSERT_EQ(0, sh("modprobe mote"));
	EXPECT_NE(0, sh("grep -q 'IBPB_EXIT_TO_USER 1' /sys/kernel/debug/mote_peek"));
	guest_create(&self->guest);
	guest_start(&self->guest, GUEST_LONG, &guest_spins);
	EXPECT_EQ(MOTE_EXIT_PIO, guest_run(&self->guest));
	EXPECT_EQ(0, sh("grep -q 'IBPB_EXIT_TO_USER 1' /sys/kernel/debug/mote_peek"));
	guest_destroy(&self->guest);
	ASSERT_EQ(0, sh("echo %s > " PARAMETER "feature", self->feature));
	self->feature = NULL;
	ASSERT_EQ(0, unload_mote());
	ASSERT_EQ(0, sh("modprobe mote"));
}

/* The host's value is in force again behind the exit, and a list that is empty again is no list. */
TEST_F(pretended, msrs_of_perf)
{
	struct mote_state state;

	guest_create_vm(&self->guest, 0);
	info(_metadata, self);
	guest_destroy(&self->guest);
	if (self->info.vendor != MOTE_VENDOR_VMX)
		SKIP(return, "not on this hardware: AMD's counters are switched by themselves");
	ASSERT_EQ(0, sh("echo 1 > " PARAMETER "perf"));
	guest_create(&self->guest);
	for (int i = 0; i < 2; i++) {
		guest_start(&self->guest, GUEST_LONG, &guest_spins);
		guest_get(&self->guest, &state, MOTE_STATE_MSRS | MOTE_STATE_GPRS);
		state.msrs.kernel_gs_base = 0x9abc000;
		state.gprs.gpr[MOTE_RCX] = 0xc0000102;
		guest_set(&self->guest, &state);
		ASSERT_EQ(MOTE_EXIT_PIO, guest_run(&self->guest));
		guest_get(&self->guest, &state, MOTE_STATE_MSRS);
		EXPECT_EQ(i ? 0x9abc000 : 0x1234000, state.msrs.kernel_gs_base);
		ASSERT_EQ(MOTE_EXIT_PIO, guest_run(&self->guest));
		EXPECT_EQ(i ? 0x9abc000 : 0x5678000, self->guest.run->gpr[MOTE_RAX]);
		ASSERT_EQ(0, sh("echo 0 > " PARAMETER "perf"));
	}
	guest_destroy(&self->guest);
}

GUEST(align, 64, "pushf; orl $0x40000, (%rsp); popf; mov %eax, GUEST_DATA + 1; hlt");

/* A guest that has alignment checked gets its #AC, also where the host looks for split locks. */
TEST_F(pretended, alignment_checks_beside_split_locks)
{
	struct guest_frame frame;
	struct mote_state state;

	ASSERT_TRUE(pretend(self, "split_lock_detect"));
	guest_create(&self->guest);
	guest_start(&self->guest, GUEST_LONG3, &guest_align);
	guest_get(&self->guest, &state, MOTE_STATE_CRS);
	state.crs.cr0 |= 1u << 18; /* AM */
	guest_set(&self->guest, &state);
	ASSERT_EQ(MOTE_EXIT_PIO, guest_run(&self->guest));
	ASSERT_TRUE(guest_frame(&self->guest, GUEST_LONG3, &frame));
	guest_destroy(&self->guest);
	if (frame.vector == 13)
		SKIP(return, "not on this hardware: no alignment checks");
	EXPECT_EQ(17, frame.vector);
}

/* DEBUGCTL is 0 in the guest, and what it was behind it. */
TEST_F(pretended, bus_locks)
{
	ASSERT_TRUE(pretend(self, "bus_lock_detect"));
	ASSERT_EQ(0, sh("grep DEBUGCTL /sys/kernel/debug/mote_peek > /tmp/debugctl"));
	guest_create(&self->guest);
	guest_start(&self->guest, GUEST_LONG, &guest_spins);
	EXPECT_EQ(MOTE_EXIT_PIO, guest_run(&self->guest));
	EXPECT_EQ(0, sh("grep DEBUGCTL /sys/kernel/debug/mote_peek | cmp - /tmp/debugctl"));
	guest_destroy(&self->guest);
}

/* Prediction is reduced while there is a VM; here that the host survives it without the bit. */
TEST_F(pretended, less_speculation)
{
	if (!pretend(self, "bp_spec_reduce"))
		SKIP(return, "not on this kernel: no BP_SPEC_REDUCE");
	guest_create(&self->guest);
	guest_start(&self->guest, GUEST_LONG, &guest_spins);
	EXPECT_EQ(MOTE_EXIT_PIO, guest_run(&self->guest));
	guest_destroy(&self->guest);
}

MOTE_TEST_MAIN
