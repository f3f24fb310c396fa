// SPDX-License-Identifier: GPL-2.0
/* What a runner weighs: the memory that is its own, beyond the guest's. */
#include "kselftest_harness.h"
#include "life.h"

#define MOST_KIB 3072
#define DISK_MOST_KIB 256
/* Larger mappings are the guest's memory. */
#define GUEST_KIB 65536

GUEST(sleeper, 16, PUT("0x78") "cli; 1: hlt; jmp 1b");

FIXTURE(weight)
{
	struct command command;
};

FIXTURE_SETUP(weight)
{
	life_begin();
}

FIXTURE_TEARDOWN(weight)
{
	life_end();
	sh("rm -f disk-? " FLAT_IMAGE);
}

#define START(options)									\
	(vm_start_flat("heavy", &guest_sleeper, options) &&				\
	 comes_true("grep -q x " RUNTIME_DIR "/heavy.out"))

/* All that is mapped, now that the guest runs, in KiB. */
static long weigh(struct __test_metadata *_metadata, struct command *command)
{
	command_run(command, "awk '/^Size:/ { size = $2 } /^Pss:/ && size < %d { sum += $2 } "
		    "END { print sum }' /proc/$(cat " RUNTIME_DIR "/heavy.pid)/smaps", GUEST_KIB);
	TH_LOG("weight: %ld KiB", atol(command->out));
	return atol(command->out);
}

static bool has_library(const char *name)
{
	return !sh("grep -q '/lib%s[-.]' /proc/$(cat " RUNTIME_DIR "/heavy.pid)/maps", name);
}

TEST_F(weight, bare)
{
	long kib;

	ASSERT_TRUE(START("--memory 128M"));
	kib = weigh(_metadata, &self->command);
	EXPECT_LT(0, kib);
	EXPECT_GE(MOST_KIB, kib);
	EXPECT_TRUE(has_library("c"));
	EXPECT_FALSE(has_library("slirp") || has_library("glib"));
}

/* Who has such a network has what it needs. */
TEST_F(weight, network)
{
	long kib;

	ASSERT_TRUE(START("--memory 128M --net user"));
	kib = weigh(_metadata, &self->command);
	EXPECT_LT(0, kib);
	EXPECT_GE(MOST_KIB, kib);
	EXPECT_TRUE(has_library("slirp") && has_library("glib"));
}

/*
 * With all devices, and a network with a stack of its own.  A disk can have as many requests as its
 * queue: none is in memory before there is one.
 */
TEST_F(weight, disks)
{
	long one, four;

	ASSERT_EQ(0, sh("modprobe vhost_vsock; for disk in a b c d; do truncate -s 64M disk-$disk; done"));
	ASSERT_TRUE(START("--memory 128M --balloon --vsock 9 --net user --console=socket "
			  "--disk $OLDPWD/disk-a"));
	one = weigh(_metadata, &self->command);
	EXPECT_LT(0, one);
	EXPECT_GE(MOST_KIB, one);
	life_end();
	life_begin();
	ASSERT_TRUE(START("--memory 128M --balloon --vsock 9 --net user --console=socket "
			  "--disk $OLDPWD/disk-a --disk $OLDPWD/disk-b --disk $OLDPWD/disk-c "
			  "--disk $OLDPWD/disk-d"));
	four = weigh(_metadata, &self->command);
	EXPECT_LT(0, four);
	EXPECT_GT(one + 3 * DISK_MOST_KIB, four);
}

MOTE_TEST_MAIN
