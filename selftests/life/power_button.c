// SPDX-License-Identifier: GPL-2.0
/*
 * Debian's kernel, whose driver for ACPI's buttons hears of the power button, and a
 * person at its console.
 */
#include "kselftest_harness.h"
#include "life.h"

#define BOOT "../boot"

FIXTURE(power_button)
{
	struct command command;
};

FIXTURE_SETUP(power_button)
{
	life_begin();
}

FIXTURE_TEARDOWN(power_button)
{
	life_end();
}

#define OPTIONS(more)									\
	"--serial socket --cpus 2 --initrd $OLDPWD/" BOOT "/initrd --append "		\
	"'console=ttyS0 quiet panic=-1 cpus=2 least=400000 more=" more " end=poweroff'"
#define IMAGE "$OLDPWD/" BOOT "/vmlinuz"

static bool is_slow(void)
{
	const char *host = getenv("MOTE_LAB"), *kernel = getenv("MOTE_LAB_KERNEL");

	return host && !getenv("MOTE_LONG") &&
	       (strcmp(host, "svm") || !kernel || strcmp(kernel, "distro"));
}

/* The driver says so to who reads its input device, and the guest switches itself off. */
TEST_F(power_button, debian)
{
	if (is_slow())
		SKIP(return, "not on this hardware: in make check-long, or on svm");
	ASSERT_TRUE(vm_start("linux", OPTIONS("button-init"), IMAGE));
	ASSERT_EQ(0, sh("(mote console linux < /dev/null > " RUNTIME_DIR "/console 2>&1) &"));
	EXPECT_TRUE(comes_true("grep -q 'guest: waits for the button' " RUNTIME_DIR "/console"));
	/* Its time has gone on while it was paused: it finds nothing wrong with it. */
	EXPECT_EQ(0, sh("mote pause linux && sleep 2 && mote resume linux"));
	EXPECT_EQ(0, sh("mote stop --timeout 7000 linux"));
	EXPECT_EQ(0, vm_status("linux"));
	command_run(&self->command, "cat " RUNTIME_DIR "/console");
	EXPECT_NE(NULL, strstr(self->command.out, "guest: all is well")) TH_LOG("%s", self->command.out);
	EXPECT_NE(NULL, strstr(self->command.out, "guest: heard of key 1 116 1 0"));
	EXPECT_EQ(NULL, strstr(self->command.out, "FAILED"));
}

BOOT_TEST_MAIN(BOOT "/vmlinuz")
