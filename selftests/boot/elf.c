// SPDX-License-Identifier: GPL-2.0
/* mote run: ELF images, with a PVH entry, a multiboot header (elf_guest.c), or neither. */
#include <elf.h>
#include <string.h>

#include "kselftest_harness.h"
#include "boot.h"

#define RUN "mote run --timeout 7000 --memory 64M --append 'one two' " \
	"--module 'first its words' --module second "

static void write_modules(void)
{
	sh("printf 1 > first; printf 22 > second");
}

TEST(pvh)
{
	struct command command;

	write_modules();
	command_run(&command, RUN "pvh");
	EXPECT_EQ(STATUS_DEBUG(0x2a), command.status) TH_LOG("%s", command.err);
	EXPECT_STREQ("one two\nfirst its words\n1\nsecond\n22\n", command.out);
}

TEST(multiboot)
{
	struct command command;

	write_modules();
	command_run(&command, RUN "multiboot");
	EXPECT_EQ(STATUS_DEBUG(0x2a), command.status) TH_LOG("%s", command.err);
	EXPECT_STREQ("multiboot one two\nfirst its words\n1\nsecond\n22\n", command.out);
}

/* Write an ELF image of 64 bits: one segment with this code, or more than the file has. */
static void write_elf(const struct guest_code *code, __u64 first, __u64 size)
{
	struct {
		Elf64_Ehdr header;
		Elf64_Phdr segment;
	} head = {
		.header = {
			.e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT },
			.e_type = ET_EXEC, .e_machine = EM_X86_64, .e_version = EV_CURRENT,
			.e_entry = 0xffffffff80000000ull, .e_phoff = sizeof(head.header),
			.e_ehsize = sizeof(head.header), .e_phentsize = sizeof(head.segment),
			.e_phnum = 1,
		},
		.segment = {
			.p_type = PT_LOAD, .p_offset = sizeof(head), .p_filesz = size,
			.p_memsz = size, .p_paddr = first, .p_vaddr = 0xffffffff80000000ull,
		},
	};
	int fd = open("image", O_WRONLY | O_CREAT | O_TRUNC, 0600);

	if (write(fd, &head, sizeof(head)) < 0 || write(fd, code->code, code->size) < 0)
		perror("image");
	close(fd);
}

/* In 64-bit mode where it was loaded to, below where it was linked to. */
GUEST(plain, 64, "lea 0(%rip), %rax; shr $20, %rax; out %al, $0xf4");

TEST(plain)
{
	struct command command;

	write_elf(&guest_plain, 0x300000, guest_plain.size);
	command_run(&command, "mote run --timeout 7000 image");
	EXPECT_EQ(STATUS_DEBUG(3), command.status) TH_LOG("%s", command.err);
	unlink("image");
}

/* The id of the local APIC, which is 0, and what is there when that has been switched off. */
GUEST(without_apic, 64, "mov $0xfee00020, %ebx; mov (%rbx), %esi; mov $0x1b, %ecx; rdmsr\n"
      "and $~0x800, %eax; wrmsr; mov (%rbx), %eax; sub %esi, %eax; inc %eax; setz %al; out %al, $0xf4");

/* Memory that nobody answers for reads as ones. */
TEST(nobody_there)
{
	struct command command;

	write_elf(&guest_without_apic, 0x300000, guest_without_apic.size);
	command_run(&command, "mote run --timeout 7000 image");
	EXPECT_EQ(STATUS_DEBUG(1), command.status) TH_LOG("%s", command.err);
	unlink("image");
}

static void expect_refused(struct __test_metadata *_metadata, const char *say)
{
	struct command command;

	command_run(&command, "mote run image");
	EXPECT_EQ(2, command.status);
	EXPECT_NE(NULL, strstr(command.err, say)) TH_LOG("no \"%s\" in %s", say, command.err);
	EXPECT_EQ(strlen(command.err) - 1, strcspn(command.err, "\n")) TH_LOG("%s", command.err);
}

TEST(bad_images)
{
	struct command command;

	write_elf(&guest_plain, 0x300000, 1 << 20);
	expect_refused(_metadata, "truncated");
	write_elf(&guest_plain, 0x20000, guest_plain.size);
	expect_refused(_metadata, "boot parameters");
	write_elf(&guest_plain, 0xa0000000, guest_plain.size);
	expect_refused(_metadata, "--memory");
	write_elf(&guest_plain, -8ull, guest_plain.size);
	expect_refused(_metadata, "program headers");
	sh("head -c 20 pvh > image");
	expect_refused(_metadata, "image is");
	sh("head -c 60 pvh > image");
	expect_refused(_metadata, "image");
	sh("gzip -c pvh > image");
	expect_refused(_metadata, "gunzip");
	sh("cp /usr/bin/mote image");
	expect_refused(_metadata, "static executable");
	unlink("image");
	write_elf(&guest_plain, 0x300000, guest_plain.size);
	command_run(&command, "mote run --append x image");
	EXPECT_EQ(2, command.status);
	EXPECT_NE(NULL, strstr(command.err, "takes no --append")) TH_LOG("%s", command.err);
	unlink("image");
	command_run(&command, "mote run --module /nosuchfile pvh");
	EXPECT_EQ(2, command.status);
	EXPECT_NE(NULL, strstr(command.err, "cannot open the module")) TH_LOG("%s", command.err);
	unlink("first");
	unlink("second");
}

MOTE_TEST_MAIN
