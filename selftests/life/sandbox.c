// SPDX-License-Identifier: GPL-2.0
/*
 * The runner's sandbox, around machines: what a thread may not is the end of the machine, and what
 * it needs goes on, also when the machine begins again.  unittests/sandbox_test.c tries all that
 * there is to try.
 */
#include "kselftest_harness.h"
#include "life.h"

#define STATUS_NO_WAY_ON 8
#define PRELOAD "LD_PRELOAD=$OLDPWD/misbehave.so MISBEHAVES="

GUEST(spin, 16, "sti; jmp .");
GUEST(one_word, 16, PUT("0x78") "mov $7, %al; out %al, $0xf4");
GUEST(late_reset, 16, "mov $0x10000000, %ecx; 1: dec %ecx; jnz 1b\n"
      "mov $0xcf9, %dx; mov $6, %al; out %al, %dx; hlt");
GUEST(reset, 16, PUT("0x52") "mov $0xcf9, %dx; mov $6, %al; out %al, %dx; hlt");

FIXTURE(sandbox)
{
	struct command command;
};

FIXTURE_SETUP(sandbox)
{
	life_begin();
}

FIXTURE_TEARDOWN(sandbox)
{
	life_end();
	sh("busybox losetup -d /dev/loop7; rm -f " FLAT_IMAGE);
}

/* The vCPU's thread, which writes to the console; without the sandbox nobody minds. */
TEST_F(sandbox, vcpu)
{
	run_flat(&self->command, &guest_one_word, "OLDPWD=$PWD;" PRELOAD "vcpu", "");
	EXPECT_EQ(STATUS_NO_WAY_ON, self->command.status);
	EXPECT_STREQ("mote: sandbox: vcpu tried socket\n", self->command.err);
	run_flat(&self->command, &guest_one_word, "OLDPWD=$PWD;" PRELOAD "vcpu", "--sandbox=off");
	EXPECT_EQ(STATUS_DEBUG(7), self->command.status);
	EXPECT_STREQ("", self->command.err);
}

#define EVENT "\"event\":\"sandbox\",\"name\":\"rogue\",\"pid\":[0-9]*,\"thread\":\"%s\",\"call\":\"socket\""

/* When it is paused, the supervisor tells the I/O thread, and this the supervisor. */
static void pause_rogue(struct __test_metadata *_metadata, const char *thread)
{
	ASSERT_EQ(0, setenv("MISBEHAVES", thread, 1));
	ASSERT_EQ(0, sh("cp misbehave.so " RUNTIME_DIR));
	ASSERT_EQ(0, setenv("LD_PRELOAD", RUNTIME_DIR "/misbehave.so", 1));
	ASSERT_TRUE(vm_start_flat("rogue", &guest_spin, "--json"));
	unsetenv("LD_PRELOAD");
	sh("mote pause rogue");
	EXPECT_EQ(STATUS_NO_WAY_ON, vm_status("rogue"));
	EXPECT_EQ(0, sh("grep -q '" EVENT "' " RUNTIME_DIR "/rogue.err", thread));
	EXPECT_EQ(0, sh("grep -q '\"reason\":\"error\",\"status\":8' " RUNTIME_DIR "/rogue.err"));
	EXPECT_EQ(0, sh("test ! -e " RUNTIME_DIR "/mote/rogue.sock"));
}

TEST_F(sandbox, supervisor)
{
	pause_rogue(_metadata, "supervisor");
}

TEST_F(sandbox, io)
{
	pause_rogue(_metadata, "io");
}

/* How many threads of it have a line in their status. */
static int count_threads(const char *line)
{
	struct command command;

	command_run(&command, "cat /proc/$(cat " RUNTIME_DIR "/calm.pid)/task/*/status | grep -c '^%s'",
		    line);
	return atoi(command.out);
}

/* Before the guest begins each thread is in it, and has no capability. */
TEST_F(sandbox, all_threads)
{
	ASSERT_TRUE(vm_start_flat("calm", &guest_spin, "--cpus 2 --net user"));
	EXPECT_TRUE(comes_true("mote stat calm | grep -q calm"));
	EXPECT_EQ(5, count_threads("Name:"));
	EXPECT_EQ(5, count_threads("Seccomp:.2"));
	EXPECT_EQ(5, count_threads("NoNewPrivs:.1"));
	EXPECT_EQ(5, count_threads("CapEff:.0000000000000000"));
	EXPECT_EQ(0, sh("mote stop --force calm"));
}

/* It finds its disk, its network and its ports as they were, and opens nothing. */
TEST_F(sandbox, begins_again)
{
	ASSERT_EQ(0, sh("cd " RUNTIME_DIR "; truncate -s 1M disk image; "
			"modprobe loop && busybox losetup /dev/loop7 image"));
	ASSERT_TRUE(vm_start_flat("phoenix", &guest_reset, "--json --restart --cpus 2 --disk disk "
				  "--disk /dev/loop7 --net user --forward 4022:22 --balloon"));
	EXPECT_TRUE(comes_true("[ $(grep -c '\"event\":\"restart\"' " RUNTIME_DIR "/phoenix.err) -ge 2 ]"));
	/* Also one that is not a file any more. */
	ASSERT_EQ(0, sh("rm " RUNTIME_DIR "/disk " FLAT_IMAGE));
	EXPECT_TRUE(comes_true("[ $(grep -c '\"event\":\"restart\"' " RUNTIME_DIR "/phoenix.err) -ge 4 ]"));
	EXPECT_EQ(0, sh("mote stop --force phoenix"));
	EXPECT_EQ(STATUS_STOPPED, vm_status("phoenix"));
	EXPECT_EQ(1, sh("grep -q sandbox " RUNTIME_DIR "/phoenix.err"));
}

/* It begins without its image, which is open for the next time; the sandbox is not its own to choose. */
TEST_F(sandbox, restored_begins_again)
{
	ASSERT_TRUE(vm_start_flat("phoenix", &guest_late_reset, "--json --restart --sandbox=off"));
	/* Not while it is between two lives. */
	ASSERT_TRUE(comes_true("mote snapshot --stop phoenix " RUNTIME_DIR "/saved"));
	ASSERT_EQ(0, sh("cd " RUNTIME_DIR " && { mote restore --json --timeout 7000 saved < /dev/null "
			"> again.out 2> again.err & echo $! > again.pid; wait $!; "
			"echo $? > again.status; } > /dev/null 2>&1 &"));
	ASSERT_TRUE(comes_true("grep -q '\"event\":\"start\"' " RUNTIME_DIR "/again.err"));
	EXPECT_TRUE(comes_true("grep -q '^Seccomp:.2' /proc/$(cat " RUNTIME_DIR "/again.pid)/task/*/status"));
	ASSERT_EQ(0, sh("rm " FLAT_IMAGE));
	EXPECT_TRUE(comes_true("[ $(grep -c '\"event\":\"restart\"' " RUNTIME_DIR "/again.err) -ge 2 ]"));
	EXPECT_EQ(0, sh("mote stop --force phoenix"));
	EXPECT_EQ(STATUS_STOPPED, vm_status("again"));
	EXPECT_EQ(1, sh("grep -q sandbox " RUNTIME_DIR "/again.err"));
}

MOTE_TEST_MAIN
