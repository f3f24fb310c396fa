// SPDX-License-Identifier: GPL-2.0
/*
 * mote run: Debian on a disk, as lab/debian makes it, to its login prompt and off
 * again.  The disk is one of the host's: tools/check gives it a copy.
 */
#include "kselftest_harness.h"
#include "boot.h"

FIXTURE(debian)
{
	struct command command;
	const char *disk;
};

/* The label of ext4's superblock. */
static bool is_debian(const char *disk)
{
	char label[16] = "";
	int fd = open(disk, O_RDONLY);
	bool is = pread(fd, label, sizeof(label), 1024 + 120) == sizeof(label) &&
		  !strcmp(label, "debian-guest");

	close(fd);
	return is;
}

FIXTURE_SETUP(debian)
{
	self->disk = is_debian("/dev/vda") ? "/dev/vda" : "/dev/sda";
}

FIXTURE_TEARDOWN(debian)
{
}

/* See look-around.  The journal was empty if what it wrote is there without it. */
TEST_F(debian, log_in_and_power_off)
{
	struct command *command = &self->command;

	if (!is_debian(self->disk))
		SKIP(return, "not on this hardware: no disk with Debian (lab/host --disk)");
	command_run(command, "sh log-in %s", self->disk);
	EXPECT_EQ(0, command->status);
	EXPECT_NE(NULL, strstr(command->out, "guest: all is well")) {
		TH_LOG("%s%s", command->out, command->err);
	}
	EXPECT_EQ(NULL, strstr(command->out, "FAILED"));
	command_run(command, "mkdir -p disk && mount -t ext4 -o ro,noload %s disk && "
		    "md5sum < disk/root/file && cat disk/root/written; umount disk", self->disk);
	EXPECT_EQ(0, command->status);
	ASSERT_EQ(strlen("  -\n") + 2 * 32 + 1, strlen(command->out));
	EXPECT_EQ(0, strncmp(command->out, command->out + 32 + strlen("  -\n"), 32));
}

BOOT_TEST_MAIN("vmlinuz")
