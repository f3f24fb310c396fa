// SPDX-License-Identifier: GPL-2.0
/* The module comes and goes, also while others use it. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "guest.h"
#include "selftest.h"

#define ROUNDS guest_scale(10)
#define USERS 3

/* For the tests that take long on a busy machine: seconds of the host, whose clock never rests. */
#define LONG 400

FIXTURE(module)
{
};

FIXTURE_SETUP(module)
{
}

FIXTURE_TEARDOWN(module)
{
}

TEST_F_TIMEOUT(module, ten_times, LONG)
{
	for (int i = 0; i < ROUNDS; i++) {
		ASSERT_EQ(0, unload_mote()) TH_LOG("round %d", i);
		ASSERT_NE(0, access(MOTE_DEVICE, F_OK));
		ASSERT_EQ(0, sh("modprobe mote")) TH_LOG("round %d", i);
		ASSERT_EQ(0, access(MOTE_DEVICE, F_OK));
	}
}

TEST_F_TIMEOUT(module, an_open_device_keeps_it_loaded, LONG)
{
	struct mote_info info;
	int fd = mote_open();

	ASSERT_LE(0, fd);
	EXPECT_NE(0, sh("rmmod mote"));
	EXPECT_EQ(0, mote_get_info(fd, &info));
	close(fd);
}

/* insmod refuses it, and the doctor says why. Other flags: symbol versions excuse another release. */
TEST_F_TIMEOUT(module, a_module_for_another_kernel, LONG)
{
	struct command insmod, doctor;

	ASSERT_EQ(0, unload_mote());
	ASSERT_EQ(0, sh("cp $(modinfo -n mote) /tmp/mote.ko"));
	ASSERT_EQ(0, sh("sed 's/vermagic=./vermagic=9/; s/ mod_unload / mod_unlxad /' "
			"/tmp/mote.ko > $(modinfo -n mote)"));
	command_run(&insmod, "insmod $(modinfo -n mote)");
	command_run(&doctor, "mote doctor");
	ASSERT_EQ(0, sh("cp /tmp/mote.ko $(modinfo -n mote)"));
	ASSERT_EQ(0, sh("modprobe mote"));
	EXPECT_NE(0, insmod.status);
	EXPECT_NE(NULL, strstr(insmod.err, "nvalid module format")) TH_LOG("%s", insmod.err);
	EXPECT_EQ(1, doctor.status);
	EXPECT_NE(NULL, strstr(doctor.out, "was built for kernel 9")) TH_LOG("%s", doctor.out);
}

TEST_F_TIMEOUT(module, loading_says_one_line, LONG)
{
	struct command log;

	ASSERT_EQ(0, unload_mote());
	command_run(&log, "dmesg | grep -c 'mote: '");
	int before = atoi(log.out);

	ASSERT_EQ(0, sh("modprobe mote"));
	command_run(&log, "dmesg | grep -c 'mote: '");
	EXPECT_EQ(1, atoi(log.out) - before);
}

/* A process that opens, asks and closes until it is killed. */
static pid_t start_user(void)
{
	pid_t pid = fork();
	struct mote_info info;

	while (!pid) {
		int fd = mote_open();

		if (fd >= 0) {
			mote_get_info(fd, &info);
			close(fd);
		}
		usleep(rand() % 4000);
	}
	return pid;
}

/* rmmod may well find it busy, but one of the two always wins cleanly. */
TEST_F_TIMEOUT(module, under_load, LONG)
{
	pid_t users[USERS];
	int gone = 0;

	for (size_t i = 0; i < USERS; i++) {
		users[i] = start_user();
		ASSERT_LT(0, users[i]);
	}
	for (int tries = 0; gone < ROUNDS && tries < 1000; tries++) {
		gone += !sh("rmmod mote");
		sh("modprobe mote");
	}
	for (size_t i = 0; i < USERS; i++) {
		kill(users[i], SIGKILL);
		waitpid(users[i], NULL, 0);
	}
	EXPECT_EQ(ROUNDS, gone);
	EXPECT_EQ(0, access(MOTE_DEVICE, F_OK));
}

MOTE_TEST_MAIN
