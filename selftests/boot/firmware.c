// SPDX-License-Identifier: GPL-2.0
/* mote run --firmware: SeaBIOS boots a boot sector of ours; it and OVMF boot GRUB from a disk. */
#include <string.h>

#include "kselftest_harness.h"
#include "boot.h"

/* Read the second sector where the first one came from; its first byte is the status. */
GUEST(boot_sector, 16, "xor %ax, %ax; mov %ax, %ds; mov %ax, %es; mov %ax, %ss; mov $0x7c00, %sp\n"
      "mov $0x0201, %ax; mov $2, %cx; xor %dh, %dh; mov $0x8000, %bx; int $0x13; jc 1f\n"
      "mov 0x8000, %al; out %al, $0xf4; 1: mov $1, %al; out %al, $0xf4");

static void write_disk(void)
{
	unsigned char disk[1024] = { [510] = 0x55, [511] = 0xaa, [512] = 0x2a };
	int fd = open("disk", O_WRONLY | O_CREAT | O_TRUNC, 0600);

	memcpy(disk, guest_boot_sector.code, guest_boot_sector.size);
	if (write(fd, disk, sizeof(disk)) != sizeof(disk) || ftruncate(fd, 1 << 20))
		perror("disk");
	close(fd);
}

FIXTURE(firmware)
{
	struct command command;
};

FIXTURE_SETUP(firmware)
{
}

FIXTURE_TEARDOWN(firmware)
{
}

TEST_F(firmware, boot_sector)
{
	struct command *command = &self->command;

	write_disk();
	command_run(command, "mote run --timeout 7000 --memory 32M --firmware=bios.bin --disk disk "
		    "< /dev/null");
	EXPECT_EQ(STATUS_DEBUG(0x2a), command->status);
	EXPECT_NE(NULL, strstr(command->out, "SeaBIOS")) {
		TH_LOG("%s%s", command->out, command->err);
	}
	unlink("disk");
}

/* From there to GRUB, and from there to Linux, which looks at what it finds: see firmware-init. */
#define BOOT(firmware) "mote run --timeout 7000 --memory 512M --cpus 2 --firmware=" firmware		\
	" --disk grub.img,ro < /dev/null"

#define EXPECT_BOOTED(command)								\
	do {										\
		EXPECT_EQ(0, (command)->status);					\
		EXPECT_NE(NULL, strstr((command)->out, "GRUB is here"));		\
		EXPECT_EQ(NULL, strstr((command)->out, "FAILED"));			\
		EXPECT_NE(NULL, strstr((command)->out, "guest: all is well")) {		\
			TH_LOG("%s%s", (command)->out, (command)->err);			\
		}									\
	} while (0)

TEST_F(firmware, grub)
{
	if (!is_time_for_systems())
		SKIP(return, NO_TIME);
	command_run(&self->command, BOOT("bios.bin"));
	EXPECT_BOOTED(&self->command);
}

/*
 * By UEFI, which finds another GRUB there; the guest knows by which it was started, and writes a
 * variable, MoteTest in UTF-16, which is then in the file.
 */
TEST_F(firmware, uefi)
{
	if (!is_time_for_systems())
		SKIP(return, NO_TIME);
	ASSERT_EQ(0, sh("cp ovmf-vars.fd vars"));
	command_run(&self->command, BOOT("ovmf-code.fd --variables vars"));
	EXPECT_BOOTED(&self->command);
	EXPECT_EQ(0, sh("tr -d '\\000' < vars | grep -q MoteTest"));
	EXPECT_NE(0, sh("tr -d '\\000' < ovmf-vars.fd | grep -q MoteTest"));
	unlink("vars");
}

TEST_F(firmware, bad_input)
{
	struct command *command = &self->command;

	command_run(command, "mote run --firmware=/nosuchfile");
	EXPECT_EQ(2, command->status);
	EXPECT_NE(NULL, strstr(command->err, "cannot open the firmware"));
	command_run(command, "printf x > x; mote run --firmware=x; rm x");
	EXPECT_NE(NULL, strstr(command->err, "is no firmware"));
	command_run(command, "mote run --firmware=uefi");
	EXPECT_EQ(2, command->status);
	EXPECT_NE(NULL, strstr(command->err, "install Debian's package ovmf"));
	command_run(command, "mote run --firmware=uefi --variables new; status=$?; "
		"[ ! -e new ] && exit $status");
	EXPECT_EQ(2, command->status);
	EXPECT_NE(NULL, strstr(command->err, "install Debian's package ovmf"));
	command_run(command, "mote run --firmware=bios.bin --variables nosuchfile");
	EXPECT_EQ(2, command->status);
	EXPECT_NE(NULL, strstr(command->err, "cannot open the variables"));
	command_run(command, "printf x > x; mote run --firmware=bios.bin --variables x; status=$?; rm x; "
		"exit $status");
	EXPECT_EQ(2, command->status);
	EXPECT_NE(NULL, strstr(command->err, "holds no variables"));
	command_run(command, "mote run --firmware");
	EXPECT_EQ(2, command->status);
	EXPECT_NE(NULL, strstr(command->err, "install Debian's package seabios"));
	command_run(command, "mote run --firmware=bios.bin --memory 8M");
	EXPECT_NE(NULL, strstr(command->err, "--memory"));
	command_run(command, "mote run --firmware=bios.bin vmlinuz");
	EXPECT_NE(NULL, strstr(command->err, "takes no image"));
	command_run(command, "mote run --firmware=bios.bin --append x");
	EXPECT_NE(NULL, strstr(command->err, "takes no --append"));
}

BOOT_TEST_MAIN("vmlinuz")
