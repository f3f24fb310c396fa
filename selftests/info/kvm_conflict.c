// SPDX-License-Identifier: GPL-2.0
/* A host where KVM has the extension: mote says so, and says who. */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "libmote.h"
#include "selftest.h"

FIXTURE(kvm)
{
	int mote;
	int kvm;
	int vm;
	struct mote_info info;
};

FIXTURE_SETUP(kvm)
{
	self->mote = mote_open();
	ASSERT_LE(0, self->mote);
	self->kvm = -1;
	self->vm = -1;
	if (sh("modprobe -q %s", kvm_module()))
		SKIP(return, "not on this kernel: no KVM");
	self->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->kvm);
	self->vm = ioctl(self->kvm, KVM_CREATE_VM, 0);
	ASSERT_LE(0, self->vm) TH_LOG("KVM_CREATE_VM: %m");
}

FIXTURE_TEARDOWN(kvm)
{
	close(self->vm);
	close(self->kvm);
	close(self->mote);
}

TEST_F(kvm, get_info_names_the_obstacle)
{
	ASSERT_EQ(0, mote_get_info(self->mote, &self->info));
	ASSERT_EQ(1, self->info.nr_obstacles);
	EXPECT_EQ(MOTE_OBSTACLE_HELD, self->info.obstacles[0].code);
	EXPECT_LE(1, self->info.obstacles[0].cpus);
	EXPECT_GE(self->info.cpus_online, self->info.obstacles[0].cpus);
	EXPECT_EQ(0, self->info.obstacles[0].pad);
}

TEST_F(kvm, doctor_names_whom_to_unload)
{
	struct command doctor;
	char wanted[64];

	command_run(&doctor, "mote doctor");
	EXPECT_EQ(1, doctor.status);
	snprintf(wanted, sizeof(wanted), "rmmod %s", kvm_module());
	EXPECT_NE(NULL, strstr(doctor.out, wanted)) TH_LOG("%s", doctor.out);
	snprintf(wanted, sizeof(wanted), "%s holds", kvm_module());
	EXPECT_NE(NULL, strstr(doctor.out, wanted));
	command_run(&doctor, "mote doctor --json");
	EXPECT_EQ(1, doctor.status);
	EXPECT_NE(NULL, strstr(doctor.out, "\"ok\":false"));
}

/* The module neither minds being loaded while KVM holds the hardware, nor takes it. */
TEST_F(kvm, mote_loads_beside_it)
{
	close(self->mote);
	EXPECT_EQ(0, unload_mote());
	EXPECT_EQ(0, sh("modprobe mote"));
	self->mote = mote_open();
	ASSERT_LE(0, self->mote);
	ASSERT_EQ(0, mote_get_info(self->mote, &self->info));
	EXPECT_EQ(1, self->info.nr_obstacles);
	close(ioctl(self->kvm, KVM_CREATE_VM, 0));
}

/*
 * While KVM is loaded the kernel's hook for a crash is its own, if it runs no machine or not; who
 * makes mote's first one may see no /sys.  The kernel would warn.
 */
TEST_F(kvm, the_crash_hook_stays_its_own)
{
	static const struct mote_vm_config config;
	struct command log;
	pid_t child;
	int status;

	close(self->vm);
	self->vm = -1;
	ASSERT_EQ(0, mote_get_info(self->mote, &self->info));
	if (self->info.nr_obstacles)
		SKIP(return, "not on this kernel: KVM holds the extension without a machine");
	ASSERT_EQ(0, sh("dmesg -c"));
	child = fork();
	ASSERT_LE(0, child);
	if (!child)
		_exit(chroot("/dev") || chdir("/") || mote_create_vm(self->mote, &config) < 0);
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_EQ(0, status);
	command_run(&log, "dmesg");
	EXPECT_EQ(NULL, strstr(log.out, "WARNING")) TH_LOG("%s", log.out);
}

/* KVM is loaded once for all tests, which takes long on an emulated host; this is the last. */
TEST_F(kvm, nothing_is_in_the_way_without_it)
{
	close(self->vm);
	close(self->kvm);
	self->vm = -1;
	self->kvm = -1;
	ASSERT_EQ(0, sh("rmmod %s", kvm_module()));
	ASSERT_EQ(0, mote_get_info(self->mote, &self->info));
	EXPECT_EQ(0, self->info.nr_obstacles);
	EXPECT_EQ(0, sh("mote doctor"));
}

MOTE_TEST_MAIN
