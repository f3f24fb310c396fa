// SPDX-License-Identifier: GPL-2.0
/*
 * ELF images, 32- and 64-bit, of three kinds: with a PVH entry (a note of Xen's;
 * docs/misc/pvh.pandoc there), with a multiboot header (version 1), or neither.
 * The first two begin in protected mode without paging and are told of memory,
 * command line and modules; the last begins in the mode of its class, with
 * nothing but its segments.  libelf reads the file.
 *
 *	0x10000  descriptors and page tables
 *	0x20000  what the guest is told
 *	behind the image: modules
 */
#include <gelf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "acpi.h"
#include "loader.h"
#include "runner.h"

#define TABLES 0x10000
#define PARAMETERS 0x20000
#define PARAMETERS_END 0x40000
#define PAGE_SIZE 4096ull

#define XEN_ELFNOTE_PHYS32_ENTRY 18
#define PVH_MAGIC 0x336ec578

/* PVH: struct hvm_start_info and what it points to. */
struct pvh_info {
	__u32 magic, version, flags, nr_modules;
	__u64 modules, command_line, rsdp, memory;
	__u32 nr_memory, reserved;
};

struct pvh_module {
	__u64 gpa, size, command_line, reserved;
};

struct pvh_memory {
	__u64 first, size;
	__u32 type, reserved;
};

/* Multiboot: Specification 0.6.96, "Boot information format". */
#define MULTIBOOT_SEARCH 8192
#define MULTIBOOT_HEADER 0x1badb002
#define MULTIBOOT_LOADED 0x2badb002
#define MULTIBOOT_INFO_MEMORY (1u << 0)
#define MULTIBOOT_INFO_COMMAND_LINE (1u << 2)
#define MULTIBOOT_INFO_MODULES (1u << 3)
#define MULTIBOOT_INFO_MAP (1u << 6)
#define MULTIBOOT_INFO_NAME (1u << 9)

struct multiboot_info {
	__u32 flags, lower, upper, boot_device, command_line, nr_modules, modules;
	__u32 symbols[4];
	__u32 map_size, map, drives_size, drives, configuration, name, apm;
	__u32 rest[8];
};

struct multiboot_module {
	__u32 start, end, string, reserved;
};

struct multiboot_map {
	__u32 size;
	struct e820 row;
} __attribute__((packed));

/**
 * struct elf - an image that is being loaded
 * @vm: where to
 * @elf: it
 * @file: it
 * @header: its header
 * @end: behind the last segment, and the last module
 * @start: where its entry is in memory
 * @entry: where PVH begins; 0: it is not PVH
 * @modules: where they are
 */
struct elf {
	struct vm *vm;
	Elf *elf;
	const struct file *file;
	GElf_Ehdr header;
	__u64 end;
	__u64 start;
	__u64 entry;
	struct pvh_module modules[MODULES_MOST];
};

static int load_segment(struct elf *elf, const GElf_Phdr *segment)
{
	__u64 first = segment->p_paddr, last = first + segment->p_memsz;

	if (!segment->p_memsz)
		return 0;
	if (segment->p_filesz > segment->p_memsz || last < first ||
	    segment->p_offset + segment->p_filesz > elf->file->size) {
		complain("%s is truncated, or its program headers are wrong", elf->file->path);
		return -1;
	}
	if (first < PARAMETERS_END && last > TABLES) {
		complain("%s wants to be at 0x%llx, where its boot parameters are",
			 elf->file->path, first);
		return -1;
	}
	/* What is not in the file is zero, as new memory is. */
	if (!mote_machine_hva(&elf->vm->machine, first, segment->p_memsz)) {
		complain("%s wants memory from 0x%llx to 0x%llx: give the VM more than %lluM "
			 "(--memory)", elf->file->path, first, last, elf->vm->options->memory >> 20);
		return -1;
	}
	if (last > elf->end)
		elf->end = last;
	/* The entry may be where the segment is linked to, and not where it is loaded to. */
	if (elf->header.e_entry - segment->p_vaddr < segment->p_memsz)
		elf->start = elf->header.e_entry - segment->p_vaddr + first;
	return segment->p_filesz ? file_load(elf->vm, elf->file, segment->p_offset, first,
					     segment->p_filesz) : 0;
}

/* The entry is a number of 4 bytes, or of 8. */
static void find_entry(struct elf *elf, const GElf_Phdr *segment)
{
	Elf_Data *data = elf_getdata_rawchunk(elf->elf, segment->p_offset, segment->p_filesz,
					      segment->p_align == 8 ? ELF_T_NHDR8 : ELF_T_NHDR);
	size_t at = 0, next, name, value;
	GElf_Nhdr note;

	for (; data && (next = gelf_getnote(data, at, &note, &name, &value)); at = next) {
		if (note.n_type != XEN_ELFNOTE_PHYS32_ENTRY || note.n_namesz != sizeof("Xen") ||
		    memcmp((char *)data->d_buf + name, "Xen", sizeof("Xen")) ||
		    note.n_descsz < 4 || note.n_descsz > sizeof(elf->entry))
			continue;
		memcpy(&elf->entry, (char *)data->d_buf + value, note.n_descsz);
	}
}

static int load_segments(struct elf *elf)
{
	size_t nr = 0;
	GElf_Phdr segment;

	if (!gelf_getehdr(elf->elf, &elf->header) || elf_getphdrnum(elf->elf, &nr)) {
		complain("%s is no valid ELF file: %s", elf->file->path, elf_errmsg(-1));
		return -1;
	}
	if ((elf->header.e_machine != EM_X86_64 && elf->header.e_machine != EM_386) ||
	    elf->header.e_type != ET_EXEC) {
		complain("%s is no x86 ELF file that can be booted (a static executable)",
			 elf->file->path);
		return -1;
	}
	elf->start = elf->header.e_entry;
	for (size_t i = 0; i < nr; i++) {
		if (!gelf_getphdr(elf->elf, i, &segment)) {
			complain("%s: bad program header: %s", elf->file->path, elf_errmsg(-1));
			return -1;
		}
		if (segment.p_type == PT_LOAD && load_segment(elf, &segment))
			return -1;
		if (segment.p_type == PT_NOTE)
			find_entry(elf, &segment);
	}
	if (elf->end)
		return 0;
	complain("%s has nothing to be loaded", elf->file->path);
	return -1;
}

/* Modules go behind the image, each on a page of its own. */
static int load_modules(struct elf *elf)
{
	const struct options *options = elf->vm->options;

	for (unsigned int i = 0; i < options->nr_modules; i++) {
		char *path = strndup(options->modules[i], strcspn(options->modules[i], " "));
		__u64 gpa = (elf->end + PAGE_SIZE - 1) & ~(PAGE_SIZE - 1);
		struct file file;
		int err = -1;

		if (path && !file_open(&file, path, "module")) {
			elf->modules[i] = (struct pvh_module) { .gpa = gpa, .size = file.size };
			elf->end = gpa + file.size;
			err = file_load(elf->vm, &file, 0, gpa, file.size);
			file_close(&file);
		}
		free(path);
		if (err)
			return -1;
	}
	return 0;
}

static __u64 put_string(struct layout *layout, const char *text)
{
	return layout_put(layout, text, strlen(text) + 1);
}

/* In 32-bit mode, unless the image is one of 64 bits without a protocol. */
static int start(struct elf *elf, __u64 rip, __u32 eax, __u32 ebx)
{
	const struct mote_gprs gprs = {
		.rip = rip, .gpr = { [MOTE_RAX] = eax, [MOTE_RBX] = ebx },
	};

	if (elf->header.e_machine == EM_386 || ebx)
		return start_protected(elf->vm, TABLES, &gprs);
	return start_long(elf->vm, TABLES, &gprs);
}

/* ---- PVH ----------------------------------------------------------------------- */

static int start_pvh(struct elf *elf)
{
	const struct options *options = elf->vm->options;
	struct layout layout = { .vm = elf->vm, .at = PARAMETERS, .end = PARAMETERS_END };
	struct pvh_info info = { .magic = PVH_MAGIC, .version = 1 };
	struct pvh_memory memory[E820_MOST];
	struct e820 rows[E820_MOST];

	if (acpi_write_tables(elf->vm, FIRMWARE, &info.rsdp))
		return -1;
	info.nr_memory = e820_map(elf->vm, rows);
	for (unsigned int i = 0; i < info.nr_memory; i++)
		memory[i] = (struct pvh_memory) { rows[i].first, rows[i].size, rows[i].type, 0 };
	info.memory = layout_put(&layout, memory, info.nr_memory * sizeof(memory[0]));
	info.nr_modules = options->nr_modules;
	for (unsigned int i = 0; i < info.nr_modules; i++)
		elf->modules[i].command_line = put_string(&layout, options->modules[i]);
	info.modules = layout_put(&layout, elf->modules,
				  info.nr_modules * sizeof(elf->modules[0]));
	info.command_line = put_string(&layout, options->append);
	return start(elf, elf->entry, 0, layout_put(&layout, &info, sizeof(info))) ?: layout.err;
}

/* ---- multiboot -------------------------------------------------------------------- */

static bool is_multiboot(const struct image *image)
{
	__u32 word[3];

	for (size_t at = 0; at + sizeof(word) <= MULTIBOOT_SEARCH; at += 4) {
		memcpy(word, image->head + at, sizeof(word));
		if (word[0] == MULTIBOOT_HEADER && !(word[0] + word[1] + word[2]))
			return true;
	}
	return false;
}

static void put_map(struct layout *layout, struct multiboot_info *info)
{
	struct multiboot_map map[E820_MOST];
	struct e820 rows[E820_MOST];
	unsigned int nr = e820_map(layout->vm, rows);

	for (unsigned int i = 0; i < nr; i++)
		map[i] = (struct multiboot_map) { sizeof(rows[i]), rows[i] };
	info->map_size = nr * sizeof(map[0]);
	info->map = layout_put(layout, map, info->map_size);
}

static int start_multiboot(struct elf *elf)
{
	const struct options *options = elf->vm->options;
	struct layout layout = { .vm = elf->vm, .at = PARAMETERS, .end = PARAMETERS_END };
	struct multiboot_module modules[MODULES_MOST];
	struct multiboot_info info = {
		.flags = MULTIBOOT_INFO_MEMORY | MULTIBOOT_INFO_COMMAND_LINE |
			 MULTIBOOT_INFO_MODULES | MULTIBOOT_INFO_MAP | MULTIBOOT_INFO_NAME,
		.lower = EBDA >> 10, .upper = (elf->vm->low - EXTENDED_MEMORY) >> 10,
		.nr_modules = options->nr_modules,
	};
	char *line;
	__u64 rsdp;

	/* The first word of the command line is the image's name. */
	if (acpi_write_tables(elf->vm, FIRMWARE, &rsdp) ||
	    asprintf(&line, "%s %s", elf->file->path, options->append) < 0)
		return -1;
	put_map(&layout, &info);
	for (unsigned int i = 0; i < info.nr_modules; i++)
		modules[i] = (struct multiboot_module) {
			.start = elf->modules[i].gpa,
			.end = elf->modules[i].gpa + elf->modules[i].size,
			.string = put_string(&layout, options->modules[i]),
		};
	info.modules = layout_put(&layout, modules, info.nr_modules * sizeof(modules[0]));
	info.command_line = put_string(&layout, line);
	info.name = put_string(&layout, "mote");
	free(line);
	return start(elf, elf->start, MULTIBOOT_LOADED,
		     layout_put(&layout, &info, sizeof(info))) ?: layout.err;
}

/* ---- neither ------------------------------------------------------------------------ */

static int start_plain(struct elf *elf)
{
	if (elf->vm->options->append[0] || elf->vm->options->nr_modules) {
		complain("%s has neither a PVH entry nor a multiboot header: it takes no --append, "
			 "--initrd and --module", elf->file->path);
		return -1;
	}
	return start(elf, elf->start, 0, 0);
}

static bool is_elf(const struct image *image)
{
	return !memcmp(image->head, ELFMAG, SELFMAG);
}

static int load_elf(struct vm *vm, const struct image *image)
{
	struct elf elf = { .vm = vm, .file = &image->file };
	int err = -1;

	elf_version(EV_CURRENT);
	elf.elf = elf_begin(image->file.fd, ELF_C_READ, NULL);
	if (!load_segments(&elf) && !load_modules(&elf))
		err = elf.entry ? start_pvh(&elf) :
		      is_multiboot(image) ? start_multiboot(&elf) : start_plain(&elf);
	elf_end(elf.elf);
	return err;
}

const struct loader elf_loader = { "ELF", is_elf, load_elf };
