// SPDX-License-Identifier: GPL-2.0
/*
 * A VM that is paused as an ELF core, as QEMU's dump-guest-memory makes them, which crash, drgn and gdb
 * read: its memory by guest-physical address, and notes.  Of each vCPU there are the registers, twice: what
 * a program has (NT_PRSTATUS), and what else a CPU has ("QEMU").  VMCOREINFO is what a Linux kernel says of
 * itself, which is found in its memory.  Pages of zeros are holes.
 *
 * The file's beginning is written last: as long as it is not whole it is no core.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/procfs.h>
#include <sys/stat.h>
#include <sys/user.h>
#include <unistd.h>

#include "runner.h"
#include "snapshot.h"
#include "vmcoreinfo.h"

/* sys/user.h has it, too. */
#undef PAGE_SIZE
#define PAGE_SIZE 4096
/* How much of the memory is a part. */
#define PART (8ull << 20)

/* The notes, memory from 0 and from 4 GiB on, and a page of Linux's page tables. */
#define HEADERS 4

#define ALIGN_UP(value, to) (((value) + (to) - 1) / (to) * (to))
/* All names of notes of our own have four letters. */
#define NOTE_NAME 8
#define NOTE_SIZE(size) (sizeof(Elf64_Nhdr) + NOTE_NAME + (size))

/**
 * struct qemu_segment - a segment, or the place of a table
 * @selector: selector
 * @limit: in bytes
 * @flags: the second half of its descriptor, without base and limit
 * @pad: zero
 * @base: linear address
 */
struct qemu_segment {
	__u32 selector;
	__u32 limit;
	__u32 flags;
	__u32 pad;
	__u64 base;
};

/**
 * struct qemu_cpu - a note of QEMU's: the state of a CPU
 * @version: 1
 * @size: of this struct
 * @gprs: RAX, RBX, RCX, RDX, RSI, RDI, RSP, RBP, R8 to R15
 * @rip: as it is
 * @rflags: likewise
 * @segs: CS, DS, ES, FS, GS, SS, LDTR, TR
 * @gdt: where it is
 * @idt: likewise
 * @cr: control registers, of which there is no CR1
 * @kernel_gs_base: what SWAPGS makes the base of GS
 */
struct qemu_cpu {
	__u32 version;
	__u32 size;
	__u64 gprs[MOTE_NR_GPRS];
	__u64 rip;
	__u64 rflags;
	struct qemu_segment segs[MOTE_NR_SEGS];
	struct qemu_segment gdt;
	struct qemu_segment idt;
	__u64 cr[5];
	__u64 kernel_gs_base;
};

/* ---- VMCOREINFO -------------------------------------------------------------------------- */

/* How long the note is that is here; 0: there is none. */
static size_t note_size(const struct vm *vm, __u64 at)
{
	size_t size = vmcoreinfo_size(vm->ram + at);

	return size <= vm->options->memory - at ? size : 0;
}

/* ---- the beginning of the file --------------------------------------------------------------- */

/* Where memory begins in it: behind the headers, and as many notes as there may be. */
static __u64 memory_at(const struct vm *vm)
{
	size_t vcpu = NOTE_SIZE(sizeof(struct elf_prstatus)) + NOTE_SIZE(sizeof(struct qemu_cpu));

	return ALIGN_UP(sizeof(Elf64_Ehdr) + HEADERS * sizeof(Elf64_Phdr) + vm->nr_vcpus * vcpu +
			VMCOREINFO_MOST, PAGE_SIZE);
}

static void *put_note(void *to, const char *name, Elf64_Word type, const void *data, size_t size)
{
	const Elf64_Nhdr head = { .n_namesz = strlen(name) + 1, .n_descsz = size, .n_type = type };

	memcpy(to, &head, sizeof(head));
	strcpy(to + sizeof(head), name);
	memcpy(to + sizeof(head) + NOTE_NAME, data, size);
	return to + NOTE_SIZE(size);
}

static void *put_program_registers(void *to, unsigned int id, const struct mote_state *state)
{
	const __u64 *gpr = state->gprs.gpr;
	const struct mote_segment *seg = state->segs.seg;
	const struct user_regs_struct regs = {
		.rax = gpr[MOTE_RAX], .rbx = gpr[MOTE_RBX], .rcx = gpr[MOTE_RCX], .rdx = gpr[MOTE_RDX],
		.rsi = gpr[MOTE_RSI], .rdi = gpr[MOTE_RDI], .rbp = gpr[MOTE_RBP], .rsp = gpr[MOTE_RSP],
		.r8 = gpr[MOTE_R8], .r9 = gpr[MOTE_R9], .r10 = gpr[MOTE_R10], .r11 = gpr[MOTE_R11],
		.r12 = gpr[MOTE_R12], .r13 = gpr[MOTE_R13], .r14 = gpr[MOTE_R14], .r15 = gpr[MOTE_R15],
		.rip = state->gprs.rip, .eflags = state->gprs.rflags,
		.cs = seg[MOTE_CS].selector, .ss = seg[MOTE_SS].selector, .ds = seg[MOTE_DS].selector,
		.es = seg[MOTE_ES].selector, .fs = seg[MOTE_FS].selector, .gs = seg[MOTE_GS].selector,
		.fs_base = seg[MOTE_FS].base, .gs_base = seg[MOTE_GS].base,
	};
	struct elf_prstatus status = { .pr_pid = id + 1 };

	_Static_assert(sizeof(status.pr_reg) == sizeof(regs), "registers of a program");
	memcpy(&status.pr_reg, &regs, sizeof(regs));
	return put_note(to, "CORE", NT_PRSTATUS, &status, sizeof(status));
}

static struct qemu_segment table(const struct mote_table *table)
{
	return (struct qemu_segment) { .base = table->base, .limit = table->limit };
}

static void *put_cpu(void *to, const struct mote_state *state)
{
	static const unsigned char gprs[] = {
		MOTE_RAX, MOTE_RBX, MOTE_RCX, MOTE_RDX, MOTE_RSI, MOTE_RDI, MOTE_RSP, MOTE_RBP,
		MOTE_R8, MOTE_R9, MOTE_R10, MOTE_R11, MOTE_R12, MOTE_R13, MOTE_R14, MOTE_R15,
	};
	static const unsigned char segs[] = {
		MOTE_CS, MOTE_DS, MOTE_ES, MOTE_FS, MOTE_GS, MOTE_SS, MOTE_LDTR, MOTE_TR,
	};
	struct qemu_cpu cpu = {
		.version = 1, .size = sizeof(cpu), .rip = state->gprs.rip, .rflags = state->gprs.rflags,
		.gdt = table(&state->segs.gdt), .idt = table(&state->segs.idt),
		.cr = { state->crs.cr0, 0, state->crs.cr2, state->crs.cr3, state->crs.cr4 },
		.kernel_gs_base = state->msrs.kernel_gs_base,
	};

	for (size_t i = 0; i < ARRAY_SIZE(gprs); i++)
		cpu.gprs[i] = state->gprs.gpr[gprs[i]];
	for (size_t i = 0; i < ARRAY_SIZE(segs); i++) {
		const struct mote_segment *seg = &state->segs.seg[segs[i]];

		cpu.segs[i] = (struct qemu_segment) {
			.selector = seg->selector, .limit = seg->limit, .flags = seg->attr << 8,
			.base = seg->base,
		};
	}
	return put_note(to, "QEMU", 0, &cpu, sizeof(cpu));
}

/* Behind the last note, or NULL and @err. */
static void *put_notes(struct vm *vm, __u64 vmcoreinfo_at, void *to, int *err)
{
	size_t size = vmcoreinfo_at ? note_size(vm, vmcoreinfo_at) : 0;

	for (unsigned int i = 0; i < vm->nr_vcpus; i++) {
		struct mote_state state = {
			.mask = MOTE_STATE_GPRS | MOTE_STATE_SEGS | MOTE_STATE_CRS | MOTE_STATE_MSRS,
		};

		*err = mote_get_state(vm->vcpus[i].cpu.fd, &state);
		if (*err)
			return NULL;
		to = put_program_registers(to, i, &state);
		to = put_cpu(to, &state);
	}
	memcpy(to, vm->ram + vmcoreinfo_at, size);
	return to + size;
}

static void add_memory(Elf64_Phdr *headers, Elf64_Half *nr, __u64 gpa, __u64 offset, __u64 size)
{
	headers[(*nr)++] = (Elf64_Phdr) {
		.p_type = PT_LOAD, .p_flags = PF_R | PF_W | PF_X, .p_offset = offset, .p_paddr = gpa,
		.p_filesz = size, .p_memsz = size,
	};
}

/* Where drgn begins, which finds the kernel's first page table by its virtual address alone. */
static void add_page_table(const struct vm *vm, __u64 vmcoreinfo_at, Elf64_Phdr *headers, Elf64_Half *nr)
{
	char text[VMCOREINFO_MOST + 1] = "";
	const unsigned char *hva;
	__u64 gva, gpa;

	if (vmcoreinfo_at)
		memcpy(text, vm->ram + vmcoreinfo_at + VMCOREINFO_HEAD,
		       note_size(vm, vmcoreinfo_at) - VMCOREINFO_HEAD);
	gva = vmcoreinfo_number(text, "SYMBOL(swapper_pg_dir)", 16);
	gpa = gva - START_KERNEL_MAP + vmcoreinfo_number(text, "NUMBER(phys_base)", 10);
	hva = mote_machine_hva(&vm->machine, gpa, PAGE_SIZE);
	if (!gva || hva < vm->ram || hva >= vm->ram + vm->options->memory)
		return;
	add_memory(headers, nr, gpa, memory_at(vm) + (hva - vm->ram), PAGE_SIZE);
	headers[*nr - 1].p_vaddr = gva;
}

/* But for the size of the notes. */
static Elf64_Half make_headers(const struct vm *vm, __u64 vmcoreinfo_at, Elf64_Phdr headers[HEADERS])
{
	__u64 offset = memory_at(vm);
	Elf64_Half nr = 1;

	headers[0] = (Elf64_Phdr) {
		.p_type = PT_NOTE, .p_offset = sizeof(Elf64_Ehdr) + HEADERS * sizeof(headers[0]),
	};
	add_memory(headers, &nr, 0, offset, vm->low);
	if (vm->high)
		add_memory(headers, &nr, HIGH_MEMORY, offset + vm->low, vm->high);
	add_page_table(vm, vmcoreinfo_at, headers, &nr);
	return nr;
}

static int write_beginning(struct vm *vm, const struct save *save)
{
	const __u64 size = memory_at(vm);
	Elf64_Phdr headers[HEADERS] = { 0 };
	const Elf64_Ehdr head = {
		.e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT },
		.e_type = ET_CORE, .e_machine = EM_X86_64, .e_version = EV_CURRENT,
		.e_phoff = sizeof(head), .e_ehsize = sizeof(head), .e_phentsize = sizeof(Elf64_Phdr),
		.e_phnum = make_headers(vm, save->vmcoreinfo, headers),
	};
	unsigned char *all = calloc(1, size), *end;
	int err = -ENOMEM;

	end = all ? put_notes(vm, save->vmcoreinfo, all + headers[0].p_offset, &err) : NULL;
	if (end) {
		headers[0].p_filesz = end - all - headers[0].p_offset;
		memcpy(all, &head, sizeof(head));
		memcpy(all + sizeof(head), headers, sizeof(headers));
		err = write_at(save->memory_fd, all, size, 0);
	}
	free(all);
	return err;
}

/* ---- memory -------------------------------------------------------------------------------- */

static int write_pages(struct vm *vm, struct save *save, __u64 from, __u64 to)
{
	save->written += to - from;
	return from == to ? 0 : write_at(save->memory_fd, vm->ram + from, to - from, memory_at(vm) + from);
}

/* The last page is what makes the file as long as it has to be. */
static bool has_to_be_written(struct vm *vm, struct save *save, __u64 at, bool is_touched)
{
	bool is_data = is_touched && !is_zero(vm->ram + at, PAGE_SIZE);

	if (is_data && !save->vmcoreinfo && note_size(vm, at))
		save->vmcoreinfo = at;
	return is_data || at + PAGE_SIZE == vm->options->memory;
}

/* Some pages, from @save->at on. */
static void write_some(struct vm *vm, struct save *save)
{
	__u64 bits[MEMORY_LOOK_MOST / 64], left = (vm->options->memory - save->at) / PAGE_SIZE;
	unsigned int nr = left < MEMORY_LOOK_MOST ? left : MEMORY_LOOK_MOST;
	__u64 from = save->at;

	memset(bits, 0xff, sizeof(bits));
	memory_skip_untouched(vm, save->at / PAGE_SIZE, nr, bits);
	for (unsigned int i = 0; i < nr && !save->err; i++) {
		if (!has_to_be_written(vm, save, save->at, bits[i / 64] >> i % 64 & 1)) {
			save->err = write_pages(vm, save, from, save->at);
			from = save->at + PAGE_SIZE;
		}
		save->at += PAGE_SIZE;
	}
	if (!save->err)
		save->err = write_pages(vm, save, from, save->at);
}

/* A part; false: it was the last, or there was an error. */
static bool write_more(struct vm *vm, struct save *save)
{
	__u64 until = save->at + PART;

	while (!save->err && save->at < vm->options->memory && save->at < until)
		write_some(vm, save);
	if (!save->err && save->at < vm->options->memory)
		return true;
	if (!save->err)
		save->err = write_beginning(vm, save);
	return false;
}

/* ---- for a client ---------------------------------------------------------------------------- */

static void write_part(struct vm *vm, struct job *job)
{
	struct save *save = container_of(job, struct save, job);

	if (write_more(vm, save))
		io_post(vm, job);
	else
		save_end(vm, save);
}

void core_begin(struct vm *vm, struct save *save)
{
	save->job.run = write_part;
	io_post(vm, &save->job);
}

/* ---- at the guest's end ------------------------------------------------------------------------ */

static bool is_empty(int fd)
{
	struct stat stat;

	return !fstat(fd, &stat) && S_ISREG(stat.st_mode) && !stat.st_size;
}

int core_prepare(struct vm *vm)
{
	const char *path = core_path(vm->options);

	if (!path)
		return 0;
	vm->core_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (vm->core_fd < 0) {
		complain("--on-panic: cannot make %s: %m", path);
		return -1;
	}
	if (!is_empty(vm->core_fd))
		complain("--on-panic: %s has something already, which is kept", path);
	return 0;
}

static void write_at_end(struct vm *vm)
{
	struct save save = { .state_fd = -1, .memory_fd = vm->core_fd };
	const char *path = core_path(vm->options);

	while (write_more(vm, &save))
		if (vm->hurries)
			save.err = -ECANCELED;
	if (save.err) {
		complain("%s: no core in %s: %s", vm->name, path, strerror(-save.err));
		if (ftruncate(vm->core_fd, 0))
			complain("%s: %s: %m", vm->name, path);
		return;
	}
	say_event(vm, "dump", path);
	if (!vm->options->json)
		complain("%s: its core is in %s", vm->name, path);
}

void core_at_end(struct vm *vm)
{
	bool is_wanted = vm->end == END_PANIC || vm->end == END_TRIPLE_FAULT;

	if (is_wanted && vm->core_fd >= 0 && is_empty(vm->core_fd))
		write_at_end(vm);
	__atomic_store_n(&vm->has_dumped, true, __ATOMIC_RELEASE);
	loop_wake(&vm->supervisor);
}
