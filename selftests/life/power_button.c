// SPDX-License-Identifier: GPL-2.0
/*
 * Debian's kernel, whose drivers hear of the power button, which ends it, and of another generation,
 * which it is when it has been copied; and a person at its console.
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

/* What it says from now on is in a file. */
#define LISTEN(name) (!sh("(mote console " name " < /dev/null > " RUNTIME_DIR "/console 2>&1) &"))

/* Start it, with more to do, and wait until it has said that it waits for this. */
#define WAITS(more, what)								\
	(vm_start("linux", OPTIONS(more), IMAGE) && LISTEN("linux") &&			\
	 comes_true("grep -q 'guest: waits " what "' " RUNTIME_DIR "/console"))

/* The driver says so to who reads its input device, and the guest switches itself off. */
TEST_F(power_button, debian)
{
	if (is_slow())
		SKIP(return, "not on this hardware: in make check-long, or on svm");
	ASSERT_TRUE(WAITS("button-init", "for the button"));
	/* Its time has gone on while it was paused: it finds nothing wrong with it. */
	EXPECT_EQ(0, sh("mote pause linux && sleep 2 && mote resume linux"));
	EXPECT_EQ(0, sh("mote stop --timeout 7000 linux"));
	EXPECT_EQ(0, vm_status("linux"));
	command_run(&self->command, "cat " RUNTIME_DIR "/console");
	EXPECT_NE(NULL, strstr(self->command.out, "guest: all is well")) TH_LOG("%s", self->command.out);
	EXPECT_NE(NULL, strstr(self->command.out, "guest: heard of key 1 116 1 0"));
	EXPECT_EQ(NULL, strstr(self->command.out, "FAILED"));
}

/* Each copy hears that it is one, and the machine does not, nor where it has moved to. */
TEST_F(power_button, other_generations)
{
	if (is_slow())
		SKIP(return, "not on this hardware: in make check-long, or on svm");
	ASSERT_TRUE(WAITS("fork-init", "to be copied"));
	ASSERT_EQ(0, sh("mote migrate linux "
			"'exec:exec mote receive --name moved --serial socket --detach -'"));
	ASSERT_EQ(0, sh("mote fork --count 2 moved"));
	ASSERT_TRUE(LISTEN("moved"));
	for (int i = 2; i <= 3; i++) {
		command_run(&self->command, "mote console moved-%d < /dev/null | "
			    "grep -m 1 'guest: is a copy'", i);
		EXPECT_EQ(0, self->command.status) TH_LOG("moved-%d: %s", i, self->command.err);
	}
	EXPECT_NE(0, sh("grep 'guest: is a copy' " RUNTIME_DIR "/console"));
	for (int i = 1; i <= 3; i++)
		EXPECT_EQ(0, sh("mote stop --force moved%s", i == 1 ? "" : i == 2 ? "-2" : "-3"));
}

BOOT_TEST_MAIN(BOOT "/vmlinuz")
