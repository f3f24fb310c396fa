// SPDX-License-Identifier: GPL-2.0
/* mote run: ELF images, with a PVH entry, a multiboot header (elf_guest.c), or neither. */
#include <elf.h>
#include <stddef.h>
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

/* It ends with this number, loaded and linked as in plain below. */
static void expect_end(struct __test_metadata *_metadata, const struct guest_code *code, int number)
{
	struct command command;

	write_elf(code, 0x300000, code->size);
	command_run(&command, "mote run --timeout 7000 image");
	EXPECT_EQ(STATUS_DEBUG(number), command.status) TH_LOG("%s", command.err);
	unlink("image");
}

/* In 64-bit mode where it was loaded to, below where it was linked to. */
GUEST(plain, 64, "lea 0(%rip), %rax; shr $20, %rax; out %al, $0xf4");

TEST(plain)
{
	expect_end(_metadata, &guest_plain, 3);
}

/* The id of the local APIC, which is 0, and what is there when that has been switched off. */
GUEST(without_apic, 64, "mov $0xfee00020, %ebx; mov (%rbx), %esi; mov $0x1b, %ecx; rdmsr\n"
      "and $~0x800, %eax; wrmsr; mov (%rbx), %eax; sub %esi, %eax; inc %eax; setz %al; out %al, $0xf4");

/* Memory that nobody answers for reads as ones. */
TEST(nobody_there)
{
	expect_end(_metadata, &guest_without_apic, 1);
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

/* ---- a header that says what goes where ------------------------------------------------ */

#define FLAT_BASE 0x200000
#define HAS_ADDRESSES 0x10000
#define FLAT_OFFSET 64		/* of the header in the file */

struct multiboot {
	__u32 magic, flags, checksum, header_addr, load_addr, load_end_addr, bss_end_addr, entry_addr;
};

/* The registers, that all of the BSS is zero, and that nothing came behind load_end_addr. */
GUEST(addresses, 32,
      "cmp $0x2badb002, %eax; jne 9f; cmpl $0, 0x200400; jne 9f; cmpl $0, 0x200800; jne 9f;"
      "cmpl $0x1badb002, 0x200040; jne 9f; mov $0x2a, %al; out %al, $0xf4; 9: mov $1, %al; out %al, $0xf4");

/* A file with that header, the code behind it, and rubbish up to 2 KiB. */
static void write_multiboot(const struct guest_code *code, struct multiboot header)
{
	unsigned char file[2048];
	int fd = open("image", O_WRONLY | O_CREAT | O_TRUNC, 0600);

	header.magic = 0x1badb002;
	header.checksum = -(header.magic + header.flags);
	memset(file, 0xcc, sizeof(file));
	memcpy(file + FLAT_OFFSET, &header, sizeof(header));
	memcpy(file + 128, code->code, code->size);
	if (write(fd, file, sizeof(file)) < 0)
		perror("image");
	close(fd);
}

static const struct multiboot addresses = {
	.flags = HAS_ADDRESSES | 3, .header_addr = FLAT_BASE + FLAT_OFFSET, .load_addr = FLAT_BASE,
	.load_end_addr = FLAT_BASE + 0x400, .bss_end_addr = FLAT_BASE + 0x1000,
	.entry_addr = FLAT_BASE + 128,
};

TEST(multiboot_addresses)
{
	struct multiboot header = addresses;
	struct command command;

	write_multiboot(&guest_addresses, header);
	command_run(&command, "mote run --timeout 7000 image");
	EXPECT_EQ(STATUS_DEBUG(0x2a), command.status) TH_LOG("%s", command.err);

	header.flags |= 4; /* a video mode */
	write_multiboot(&guest_addresses, header);
	expect_refused(_metadata, "requires what is not here");
	header = addresses;
	header.flags = 0;
	write_multiboot(&guest_addresses, header);
	expect_refused(_metadata, "has no addresses");
	header = addresses;
	header.header_addr = FLAT_BASE + FLAT_OFFSET + 4;
	write_multiboot(&guest_addresses, header);
	expect_refused(_metadata, "contradict");
	header = addresses;
	header.load_end_addr = FLAT_BASE + 2049;
	write_multiboot(&guest_addresses, header);
	expect_refused(_metadata, "truncated");
	header = addresses;
	header.bss_end_addr = FLAT_BASE + 8;
	write_multiboot(&guest_addresses, header);
	expect_refused(_metadata, "bss_end_addr");
	unlink("image");
}

/* ---- instructions on device memory ------------------------------------------------------ */

#define COUNT "0xfee00380"	/* the local APIC's initial count: reads as written, its timer is masked */
#define EXPECT(value) "cmpl $" value ", (%edi); jne 9f;"

/* One of each class: arithmetic and x87 by the host's CPU, a stack in a device, a system register. */
GUEST(device_memory, 32,
      "mov $" COUNT ", %edi; movl $0x10000, -0x60(%edi);"
      "movl $0x11, (%edi); shll $4, (%edi);" EXPECT("0x110")
      "movl $7, (%edi); imull $6, (%edi), %eax; cmp $42, %eax; jne 9f;"
      "movl $10, (%edi); xor %edx, %edx; mov $103, %eax; divl (%edi); cmp $3, %edx; jne 9f;"
      "fninit; movl $77, (%edi); fildl (%edi); fld1; faddp; fistpl (%edi);" EXPECT("78")
      "mov %esp, %ebp; lea 4(%edi), %esp; push $0x1234;" EXPECT("0x1234") "pop %eax; mov %ebp, %esp;"
      "cmp $0x1234, %eax; jne 9f; movl $8f - 7f, (%edi); call 7f; 7: pop %eax; add %eax, (%edi);"
      "jmp *(%edi); 8: sldt (%edi); mov $0x2a, %al; out %al, $0xf4; 9: mov $1, %al; out %al, $0xf4");
/* Segment registers: a selector and a far pointer, by a table of its own. */
#define LOAD_GDT "pushl $0xcf9200; pushl $0xffff; pushl $0; pushl $0; mov %esp, %ecx; push %ecx;"	\
	"pushw $15; lgdt (%esp);"
GUEST(load_segment, 32,
      LOAD_GDT "mov $" COUNT ", %edi; movl $0x10000, -0x60(%edi); movl $8, (%edi); mov (%edi), %fs;"
      "mov %fs, %eax; cmp $8, %eax; jne 9f; testb $1, 13(%ecx); jz 9f; testl $-1, %fs:0xfee00030; jz 9f;"
      "les (%edi), %eax; cmp $8, %eax; jne 9f; mov %es, %eax; test %eax, %eax; jnz 9f;"
      "mov $0x2a, %al; out %al, $0xf4; 9: mov $1, %al; out %al, $0xf4");
/* Exceptions: a selector beyond the table, a jump to where nothing is. */
GUEST(no_segment, 32, LOAD_GDT "movl $0x10000, 0xfee00320; movl $16, " COUNT "; mov " COUNT ", %fs");
GUEST(no_memory, 32, "mov $0x70000000, %eax; jmp *%eax");
/* What a device cannot take: a stack segment. */
GUEST(stack_segment, 32, "lss " COUNT ", %eax");

TEST(device_memory)
{
	static const struct {
		const struct guest_code *code;
		int status;
		const char *say;
	} rows[] = {
		{ &guest_device_memory, STATUS_DEBUG(0x2a), "" },
		{ &guest_load_segment, STATUS_DEBUG(0x2a), "" },
		{ &guest_no_segment, 6, "triple fault" },
		{ &guest_no_memory, 6, "triple fault" },
		{ &guest_stack_segment, 8, "not known: lss" },
	};
	struct command command;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		write_multiboot(rows[i].code, addresses);
		command_run(&command, "mote run --timeout 7000 image");
		EXPECT_EQ(rows[i].status, command.status) TH_LOG("%zu: %s", i, command.err);
		EXPECT_NE(NULL, strstr(command.err, rows[i].say)) TH_LOG("%zu: %s", i, command.err);
	}
	unlink("image");
}

/* ---- placement ------------------------------------------------------------------------- */

/* Where an image would overwrite what it is told, it is refused. */
TEST(multiboot_overlaps)
{
	static const struct {
		__u32 first;
		const char *what;
	} taken[] = {
		{ 0x400, "the BIOS data area" }, { 0x9fc00, "the extended BIOS data area" },
		{ 0xe0000, "the ACPI tables" }, { 0xf0000, "the MP configuration table" },
	};
	struct multiboot header = addresses;

	for (size_t i = 0; i < sizeof(taken) / sizeof(taken[0]); i++) {
		header.load_addr = taken[i].first;
		header.header_addr = taken[i].first + FLAT_OFFSET;
		header.load_end_addr = header.bss_end_addr = 0;
		write_multiboot(&guest_addresses, header);
		expect_refused(_metadata, taken[i].what);
	}
	unlink("image");
}

/* What an image may have for itself: boot structures go somewhere else. */
TEST(low_image)
{
	struct command command;

	write_elf(&guest_plain, 0x10000, guest_plain.size);
	command_run(&command, "mote run --timeout 7000 image");
	EXPECT_EQ(STATUS_DEBUG(0), command.status) TH_LOG("%s", command.err);
	unlink("image");
}

/* ---- relocation -------------------------------------------------------------------------- */

/* Says in which MiB it is. */
GUEST(where, 32, "cmpl $0x336ec578, (%ebx); jne 1f; call 1f; 1: pop %eax; shr $20, %eax; out %al, $0xf4");

/* A PVH image of type ET_DYN that is linked to @first; with constraints, if there are any. */
static void write_pvh(__u64 first, const __u32 reloc[3])
{
	struct {
		Elf64_Ehdr header;
		Elf64_Phdr segment[2];
		struct {
			Elf64_Nhdr header;
			char name[4];
			__u32 value[3];
		} note[2];
		unsigned char code[64];
	} file = {
		.header = {
			.e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT },
			.e_type = ET_DYN, .e_machine = EM_X86_64, .e_version = EV_CURRENT,
			.e_phoff = sizeof(file.header), .e_ehsize = sizeof(file.header),
			.e_phentsize = sizeof(file.segment[0]), .e_phnum = 2,
		},
		.segment = {
			{ .p_type = PT_LOAD, .p_filesz = sizeof(file), .p_memsz = sizeof(file) + 4096,
			  .p_paddr = first, .p_align = 0x1000 },
			{ .p_type = PT_NOTE, .p_offset = offsetof(typeof(file), note),
			  .p_filesz = reloc ? sizeof(file.note) : sizeof(file.note[0]), .p_align = 4 },
		},
		.note = {
			{ { 4, 12, 0 }, "Xen" }, { { 4, 12, 19 }, "Xen" },
		},
	};
	int fd = open("image", O_WRONLY | O_CREAT | O_TRUNC, 0600);

	/* The entry has 4 bytes; what is behind it is a note that nobody knows. */
	file.note[0].header = (Elf64_Nhdr) { 4, 4, 18 };
	file.note[0].value[0] = first + offsetof(typeof(file), code);
	file.segment[1].p_filesz -= reloc ? 0 : 8;
	if (reloc) {
		memmove((char *)&file.note[1] - 8, &file.note[1], sizeof(file.note[1]));
		memcpy((char *)&file.note[1] - 8 + 16, reloc, 12);
		file.segment[1].p_filesz -= 8;
	}
	memcpy(file.code, guest_where.code, guest_where.size);
	if (write(fd, &file, sizeof(file)) < 0)
		perror("image");
	close(fd);
}

TEST(pvh_relocation)
{
	static const __u32 from_6_mib[3] = { 0x200000, 0x500000, 0xffffffff };
	static const __u32 nowhere[3] = { 0x1000, 0x300000, 0x300800 };
	static const __u32 odd[3] = { 0x3000, 0, 0xffffffff };
	struct command command;

	write_pvh(0x300000, NULL);
	command_run(&command, "mote run --timeout 7000 image");
	EXPECT_EQ(STATUS_DEBUG(3), command.status) TH_LOG("%s", command.err);
	write_pvh(0, NULL);
	expect_refused(_metadata, "the BIOS data area");
	write_pvh(0, from_6_mib);
	command_run(&command, "mote run --timeout 7000 image");
	EXPECT_EQ(STATUS_DEBUG(6), command.status) TH_LOG("%s", command.err);
	write_pvh(0, nowhere);
	expect_refused(_metadata, "can be nowhere");
	write_pvh(0, odd);
	expect_refused(_metadata, "no power of two");
	unlink("image");
}

/* ---- low memory ---------------------------------------------------------------------------- */

/* Bytes of @size at SI, in the segment of ES, add up to 0. */
#define SUMS_UP(size) "mov $" #size ", %cx; mov %si, %di; xor %al, %al;"	\
	"7: add %es:(%di), %al; inc %di; loop 7b; test %al, %al; jnz 9f;"

/*
 * Base memory and the EBDA; the RSDP with an RSDT that adds up; the MP floating pointer, which
 * leads to a table of two processors that adds up.
 */
GUEST(low_memory, 16,
      "mov $0x40, %ax; mov %ax, %es; cmpw $639, %es:0x13; jne 9f; cmpw $0x9fc0, %es:0xe; jne 9f;"
      "cmpw $0x3f8, %es:0; jne 9f; mov $0x9fc0, %ax; mov %ax, %es; cmpb $1, %es:0; jne 9f;"
      "mov $0xe000, %ax; mov %ax, %es; xor %si, %si;"
      "1: cmpl $0x20445352, %es:(%si); je 2f; add $16, %si; jnz 1b; jmp 9f; 2:" SUMS_UP(20)
      "mov %es:16(%si), %esi; sub $0xe0000, %esi; cmpl $0x54445352, %es:(%si); jne 9f;"
      "cmpl $44, %es:4(%si); jne 9f;" SUMS_UP(44)
      "mov $0xf000, %ax; mov %ax, %es; xor %si, %si;"
      "3: cmpl $0x5f504d5f, %es:(%si); je 4f; add $16, %si; jnz 3b; jmp 9f; 4:" SUMS_UP(16)
      "mov %es:4(%si), %esi; sub $0xf0000, %esi; cmpl $0x504d4350, %es:(%si); jne 9f;"
      "cmpb $0, %es:44(%si); jne 9f; cmpb $0, %es:64(%si); jne 9f; cmpb $1, %es:84(%si); jne 9f;"
      "mov %es:4(%si), %cx; mov %si, %di; xor %al, %al; 8: add %es:(%di), %al; inc %di; loop 8b;"
      "test %al, %al; jnz 9f; mov $0x2a, %al; out %al, $0xf4; 9: mov $1, %al; out %al, $0xf4");

TEST(low_memory)
{
	struct command command;

	run_flat(&command, &guest_low_memory, "", "--cpus 2");
	EXPECT_EQ(STATUS_DEBUG(0x2a), command.status) TH_LOG("%s", command.err);
}

MOTE_TEST_MAIN
