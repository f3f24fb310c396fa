// SPDX-License-Identifier: GPL-2.0
/*
 * mote dump: what is in a core of Debian's kernel that has panicked, found as crash and drgn find it, by the
 * core alone; and of guests of a few instructions, that go on, end, or have had a triple fault.
 */
#include <elf.h>
#include <sys/mman.h>
#include <sys/procfs.h>
#include <sys/user.h>

#include "kselftest_harness.h"
#include "life.h"

#define BOOT "../boot"
#define CORE RUNTIME_DIR "/core"

GUEST(spin, 16, "sti; jmp .");
GUEST(triple, 16, "push $0; push $0; push $0; mov %sp, %bp; lidt (%bp); ud2");
GUEST(panic, 16, "mov $0x505, %dx; mov $1, %al; out %al, %dx; sti; jmp .");
GUEST(exit_1, 16, "mov $1, %al; out %al, $0xf4");
GUEST(ticker, 16, "sti; 1:\n" PUT("0x2e") "mov $0x8000, %cx; 2: loop 2b; jmp 1b");

/* Of QEMU's note: docs/dump.md. */
#define QEMU_RIP 136
#define QEMU_CR3 416

#define VCPUS_MOST 2

/**
 * struct core - a core that is mapped
 * @file: it
 * @size: of it
 * @nr_program: how many vCPUs have registers as a program has them
 * @program: these
 * @nr_qemu: how many have a note of QEMU's
 * @qemu: these
 * @vmcoreinfo: the text of this note, or NULL
 * @vmcoreinfo_size: of it
 */
struct core {
	const unsigned char *file;
	size_t size;
	unsigned int nr_program;
	struct user_regs_struct program[VCPUS_MOST];
	unsigned int nr_qemu;
	const unsigned char *qemu[VCPUS_MOST];
	const char *vmcoreinfo;
	size_t vmcoreinfo_size;
};

static const Elf64_Ehdr *head_of(const struct core *core)
{
	return (const Elf64_Ehdr *)core->file;
}

static const Elf64_Phdr *header(const struct core *core, unsigned int i)
{
	const Elf64_Ehdr *head = head_of(core);

	return i < head->e_phnum ? (const Elf64_Phdr *)(core->file + head->e_phoff) + i : NULL;
}

static void take_note(struct core *core, const Elf64_Nhdr *note)
{
	const char *name = (const char *)(note + 1);
	const unsigned char *data = (const unsigned char *)name + (note->n_namesz + 3) / 4 * 4;

	if (!strcmp(name, "CORE") && note->n_type == NT_PRSTATUS && core->nr_program < VCPUS_MOST)
		memcpy(&core->program[core->nr_program++], data + offsetof(struct elf_prstatus, pr_reg),
		       sizeof(core->program[0]));
	if (!strcmp(name, "QEMU") && core->nr_qemu < VCPUS_MOST)
		core->qemu[core->nr_qemu++] = data;
	if (!strcmp(name, "VMCOREINFO")) {
		core->vmcoreinfo = (const char *)data;
		core->vmcoreinfo_size = note->n_descsz;
	}
}

static bool core_open(struct core *core, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	const Elf64_Phdr *notes;
	struct stat stat;

	*core = (struct core) { 0 };
	if (fd < 0 || fstat(fd, &stat))
		return false;
	core->size = stat.st_size;
	core->file = mmap(NULL, core->size, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	if (core->file == MAP_FAILED || memcmp(core->file, ELFMAG, SELFMAG) ||
	    head_of(core)->e_type != ET_CORE)
		return false;
	notes = header(core, 0);
	if (!notes || notes->p_type != PT_NOTE)
		return false;
	for (size_t at = 0; at < notes->p_filesz;) {
		const Elf64_Nhdr *note = (const Elf64_Nhdr *)(core->file + notes->p_offset + at);

		take_note(core, note);
		at += sizeof(*note) + (note->n_namesz + 3) / 4 * 4 + (note->n_descsz + 3) / 4 * 4;
	}
	return true;
}

/* Memory by guest-physical address, as far as a page goes; NULL: there is none. */
static const unsigned char *memory(const struct core *core, __u64 gpa)
{
	const Elf64_Phdr *load;

	for (unsigned int i = 1; (load = header(core, i)); i++)
		if (gpa >= load->p_paddr && gpa - load->p_paddr < load->p_filesz &&
		    load->p_offset + (gpa - load->p_paddr) < core->size)
			return core->file + load->p_offset + (gpa - load->p_paddr);
	return NULL;
}

#define ADDRESS 0xffffffffff000ull

/* By the page tables of four levels that CR3 points to; ~0: it is not mapped. */
static __u64 translate(const struct core *core, __u64 cr3, __u64 gva)
{
	__u64 table = cr3 & ADDRESS, entry = 0;

	for (int shift = 39; shift >= 12; shift -= 9) {
		const unsigned char *page = memory(core, table);

		if (page)
			memcpy(&entry, page + (gva >> shift & 0x1ff) * sizeof(entry), sizeof(entry));
		if (!page || !(entry & 1))
			return ~0ull;
		table = entry & ADDRESS;
		if (shift < 39 && entry & 0x80)
			return (table & ~((1ull << shift) - 1)) | (gva & ((1ull << shift) - 1));
	}
	return table | (gva & 0xfff);
}

static __u64 number_in(const unsigned char *data, size_t at)
{
	__u64 number;

	memcpy(&number, data + at, sizeof(number));
	return number;
}

/* A symbol's address, of VMCOREINFO; 0: it is not there. */
static __u64 symbol(const struct core *core, const char *name)
{
	char text[8192] = "\n", wanted[64];
	const char *found;

	snprintf(wanted, sizeof(wanted), "\nSYMBOL(%s)=", name);
	memcpy(text + 1, core->vmcoreinfo, core->vmcoreinfo_size);
	found = strstr(text, wanted);
	return found ? strtoull(found + strlen(wanted), NULL, 16) : 0;
}

/* Has the stack an address in the first KiB of a function? */
static bool has_called(const struct core *core, __u64 cr3, __u64 rsp, __u64 function)
{
	for (__u64 at = rsp; at / 4096 - rsp / 4096 < 4; at += 8) {
		const unsigned char *word = memory(core, translate(core, cr3, at));

		if (word && number_in(word, 0) - function < 1024)
			return true;
	}
	return false;
}

FIXTURE(dump)
{
	struct command command;
	struct core core;
};

FIXTURE_SETUP(dump)
{
	life_begin();
}

FIXTURE_TEARDOWN(dump)
{
	if (self->core.file && self->core.file != MAP_FAILED)
		munmap((void *)self->core.file, self->core.size);
	life_end();
	sh("rm -f " FLAT_IMAGE);
}

/* With memory on both sides of the hole below 4 GiB; pvpanic says it, and it is paused. */
TEST_F(dump, panic)
{
	const struct core *core = &self->core;
	__u64 cr3, function, table;
	const unsigned char *name;
	const Elf64_Phdr *page;

	if (!is_time_for_systems())
		SKIP(return, NO_TIME);
	ASSERT_TRUE(vm_start("linux", "--memory 5G --cpus 2 --on-panic pause "
			     "--initrd $OLDPWD/" BOOT "/initrd "
			     "--append 'console=ttyS0 quiet cpus=2 least=4000000 end=panic'",
			     "$OLDPWD/" BOOT "/vmlinuz"));
	ASSERT_TRUE(comes_true("mote ps | grep -q '^linux .* paused '"));
	EXPECT_EQ(0, sh("grep -q 'the guest has panicked: it is paused' " RUNTIME_DIR "/linux.err"));
	ASSERT_EQ(0, sh("mote dump linux " CORE));
	command_run(&self->command, "grep -o '[0-9a-f]* T panic' " RUNTIME_DIR "/linux.out");
	function = strtoull(self->command.out, NULL, 16);
	ASSERT_NE(0, function);
	/* Zeros take no space. */
	EXPECT_EQ(0, sh("[ $(du -m " CORE " | cut -f1) -lt 1024 ]"));
	ASSERT_TRUE(core_open(&self->core, CORE));
	EXPECT_EQ(2, core->nr_program);
	ASSERT_EQ(2, core->nr_qemu);
	ASSERT_NE(NULL, core->vmcoreinfo);
	EXPECT_EQ(0, strncmp(core->vmcoreinfo, "OSRELEASE=6.", 12));
	for (unsigned int i = 0; i < 2; i++)
		EXPECT_EQ(core->program[i].rip, number_in(core->qemu[i], QEMU_RIP));
	/* By what it says of itself there is the kernel, and by its stack what it did last. */
	cr3 = number_in(core->qemu[0], QEMU_CR3);
	name = memory(core, translate(core, cr3, symbol(core, "init_uts_ns")));
	ASSERT_NE(NULL, name);
	EXPECT_STREQ("Linux", (const char *)name);
	EXPECT_TRUE(has_called(core, cr3, core->program[0].rsp, function) ||
		    has_called(core, number_in(core->qemu[1], QEMU_CR3), core->program[1].rsp, function));
	/* The last is the page with which drgn begins. */
	page = header(core, head_of(core)->e_phnum - 1);
	table = symbol(core, "swapper_pg_dir");
	EXPECT_EQ(table, page->p_vaddr);
	EXPECT_EQ(translate(core, cr3, table), page->p_paddr);
	EXPECT_EQ(memory(core, page->p_paddr), core->file + page->p_offset);
}

/* It goes on, or not, as is wanted; its code is where it was, and it runs there. */
TEST_F(dump, goes_on)
{
	const struct core *core = &self->core;

	ASSERT_TRUE(vm_start_flat("one", &guest_ticker, "--cpus 2"));
	command_run(&self->command, "mote dump --json one " CORE " | tr -d '\\n '");
	EXPECT_EQ(0, self->command.status);
	EXPECT_NE(NULL, strstr(self->command.out, "\"vmcoreinfo\":false")) TH_LOG("%s", self->command.out);
	ASSERT_TRUE(core_open(&self->core, CORE));
	EXPECT_EQ(NULL, core->vmcoreinfo);
	EXPECT_EQ(0, memcmp(memory(core, FLAT_START), guest_ticker.code, guest_ticker.size));
	ASSERT_EQ(2, core->nr_program);
	EXPECT_GT(guest_ticker.size, core->program[0].rip - FLAT_START);
	EXPECT_TRUE(comes_true("cd " RUNTIME_DIR "; [ -s was ] || wc -c < one.out > was; "
			       "[ $(wc -c < one.out) -gt $(cat was) ]"));
	EXPECT_EQ(0, sh("mote dump --pause one " CORE "2"));
	EXPECT_TRUE(vm_is("one", "paused"));
	EXPECT_EQ(0, sh("mote dump one " CORE "3"));
	EXPECT_TRUE(vm_is("one", "paused"));
	EXPECT_EQ(0, sh("cmp " CORE "2 " CORE "3"));
	EXPECT_EQ(0, sh("mote dump --stop one " CORE "4"));
	EXPECT_EQ(STATUS_STOPPED, vm_status("one"));
}

/* Who resumes it finds it there again. */
TEST_F(dump, triple_fault)
{
	if (host_is_trinity())
		SKIP(return, "not on this hardware: Bochs panics at a guest's triple fault");
	ASSERT_TRUE(vm_start_flat("one", &guest_triple, "--on-panic pause"));
	ASSERT_TRUE(comes_true("mote ps | grep -q '^one .* paused '"));
	EXPECT_EQ(0, sh("grep -q 'triple fault of vCPU 0: it is paused' " RUNTIME_DIR "/one.err"));
	EXPECT_EQ(0, sh("mote dump one " CORE));
	ASSERT_TRUE(core_open(&self->core, CORE));
	EXPECT_EQ(FLAT_START + guest_triple.size - 2, self->core.program[0].rip);
	EXPECT_EQ(0, sh("mote resume one"));
	EXPECT_TRUE(comes_true("[ $(grep -c 'triple fault' " RUNTIME_DIR "/one.err) = 2 ]"));
}

/* Without anybody who asks for it, once, and only then; what is there is kept. */
TEST_F(dump, at_the_end)
{
	struct command *command = &self->command;

	run_flat(command, &guest_exit_1, "", "--on-panic dump:" CORE);
	EXPECT_EQ(STATUS_DEBUG(1), command->status);
	EXPECT_STREQ("", command->err);
	EXPECT_EQ(0, sh("[ -f " CORE " ] && [ ! -s " CORE " ]"));
	run_flat(command, &guest_panic, "", "--memory 2M --cpus 2 --on-panic dump:" CORE);
	EXPECT_EQ(STATUS_PANIC, command->status);
	EXPECT_STREQ("mote: flat.bin: its core is in " CORE "\nmote: flat.bin: the guest has panicked\n",
		     command->err);
	ASSERT_TRUE(core_open(&self->core, CORE));
	EXPECT_EQ(2, self->core.nr_program);
	EXPECT_GT(guest_panic.size, self->core.program[0].rip - FLAT_START);
	EXPECT_EQ(0, memcmp(memory(&self->core, FLAT_START), guest_panic.code, guest_panic.size));
	ASSERT_EQ(0, sh("cp " CORE " " CORE "2"));
	run_flat(command, &guest_panic, "", "--memory 3M --on-panic dump:" CORE);
	EXPECT_EQ(STATUS_PANIC, command->status);
	EXPECT_STREQ("mote: --on-panic: " CORE " has something already, which is kept\n"
		     "mote: flat.bin: the guest has panicked\n", command->err);
	EXPECT_EQ(0, sh("cmp " CORE " " CORE "2"));
	/* It begins again, and again, and the first is kept. */
	ASSERT_TRUE(vm_start_flat("one", &guest_panic, "--json --restart --on-panic dump:" CORE "3"));
	EXPECT_TRUE(comes_true("[ $(grep -c '\"event\":\"restart\"' " RUNTIME_DIR "/one.err) -ge 2 ]"));
	EXPECT_EQ(0, sh("[ $(grep -c '\"event\":\"dump\"' " RUNTIME_DIR "/one.err) = 1 ]"));
	EXPECT_EQ(0, sh("mote stop --force one"));
	/* A disk that is full stays free. */
	ASSERT_EQ(0, sh("cd " RUNTIME_DIR " && mkdir small && mount -t tmpfs -o size=8k none small"));
	run_flat(command, &guest_panic, "", "--on-panic dump:" RUNTIME_DIR "/small/core");
	EXPECT_EQ(STATUS_PANIC, command->status);
	EXPECT_STREQ("mote: flat.bin: no core in " RUNTIME_DIR "/small/core: No space left on device\n"
		     "mote: flat.bin: the guest has panicked\n", command->err);
	EXPECT_EQ(0, sh("[ ! -s " RUNTIME_DIR "/small/core ] && umount " RUNTIME_DIR "/small"));
}

TEST_F(dump, bad_input)
{
	ASSERT_TRUE(vm_start_flat("one", &guest_spin, ""));
	EXPECT_COMPLAINT(2, "not end, pause or dump:FILE: dump",
			 "mote run --on-panic dump --flat " FLAT_IMAGE);
	EXPECT_COMPLAINT(2, "No such file or directory",
			 "mote run --on-panic dump:" RUNTIME_DIR "/nowhere/core --flat " FLAT_IMAGE);
	EXPECT_COMPLAINT(2, "dump takes a VM and a file", "mote dump one");
	EXPECT_COMPLAINT(2, "--pause or --stop", "mote dump --pause --stop one " CORE);
	EXPECT_COMPLAINT(2, "unknown option --wrong", "mote dump --wrong one " CORE);
	EXPECT_COMPLAINT(2, "no VM of yours is called two", "mote dump two " CORE);
	EXPECT_COMPLAINT(2, "is there already", "echo precious > " CORE "; mote dump one " CORE);
	EXPECT_EQ(0, sh("grep -q precious " CORE));
	EXPECT_COMPLAINT(2, "No such file or directory", "mote dump one " RUNTIME_DIR "/nowhere/core");
	EXPECT_COMPLAINT(1, "No space left", "cd " RUNTIME_DIR " && mkdir small && "
			 "mount -t tmpfs -o size=8k none small && mote dump one small/core");
	EXPECT_TRUE(vm_is("one", "running"));
	EXPECT_EQ(0, sh("[ \"$(ls " RUNTIME_DIR "/small)\" = '' ] && umount " RUNTIME_DIR "/small"));
}

BOOT_TEST_MAIN(BOOT "/vmlinuz")
