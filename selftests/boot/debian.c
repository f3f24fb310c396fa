// SPDX-License-Identifier: GPL-2.0
/*
 * mote run: Debian on a disk, as lab/debian makes it, to its login prompt, or until it
 * answers by ssh, and off again.  The disks are the host's: tools/check gives it copies.
 */
#include "kselftest_harness.h"
#include "boot.h"

FIXTURE(debian)
{
	struct command command;
};

FIXTURE_SETUP(debian)
{
}

FIXTURE_TEARDOWN(debian)
{
}

/* Which disk has this label, of ext4's superblock? NULL: none. */
static const char *find_disk(const char *label)
{
	static const char *const disks[] = { "/dev/vda", "/dev/vdb", "/dev/sda" };

	for (size_t i = 0; i < sizeof(disks) / sizeof(disks[0]); i++) {
		char found[17] = "";
		int fd = open(disks[i], O_RDONLY);
		bool is = pread(fd, found, sizeof(found) - 1, 1024 + 120) > 0 && !strcmp(found, label);

		close(fd);
		if (is)
			return disks[i];
	}
	return NULL;
}

#define NO_DISK "not on this hardware: no disk with that Debian (lab/host --disk)"

/* See look-around.  The journal was empty if what it wrote is there without it. */
TEST_F(debian, log_in_and_power_off)
{
	struct command *command = &self->command;
	const char *disk = find_disk("debian-guest");

	if (!disk)
		SKIP(return, NO_DISK);
	command_run(command, "sh log-in %s", disk);
	EXPECT_EQ(0, command->status);
	EXPECT_NE(NULL, strstr(command->out, "guest: all is well")) {
		TH_LOG("%s%s", command->out, command->err);
	}
	EXPECT_EQ(NULL, strstr(command->out, "FAILED"));
	command_run(command, "mkdir -p disk && mount -t ext4 -o ro,noload %s disk && "
		    "md5sum < disk/root/file && cat disk/root/written; umount disk", disk);
	EXPECT_EQ(0, command->status);
	ASSERT_EQ(strlen("  -\n") + 2 * 32 + 1, strlen(command->out));
	EXPECT_EQ(0, strncmp(command->out, command->out + 32 + strlen("  -\n"), 32));
}

/* As a cloud image does: cloud-init finds its seed, names the machine, and lets in who has the key. */
TEST_F(debian, cloud_init)
{
	struct command *command = &self->command;
	const char *disk = find_disk("debian-cloud");

	if (!disk)
		SKIP(return, NO_DISK);
	command_run(command, "sh log-in-by-key %s", disk);
	EXPECT_EQ(0, command->status);
	EXPECT_NE(NULL, strstr(command->out, "status: done\ncumulus\n")) {
		TH_LOG("%s%s", command->out, command->err);
	}
	EXPECT_NE(NULL, strstr(command->out, "\nVERSION_ID=\"12\"\n"));
	EXPECT_EQ(NULL, strstr(command->out, "FAILED"));
}

BOOT_TEST_MAIN("vmlinuz")
