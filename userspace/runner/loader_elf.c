// SPDX-License-Identifier: GPL-2.0
/*
 * ELF images, 32- and 64-bit, of three kinds: with a PVH entry (a note of Xen's;
 * docs/misc/pvh.pandoc there), with a multiboot header (loader_multiboot.c), or neither.
 * The first begin in protected mode without paging and are told of memory,
 * command line and modules; the last begins in the mode of its class, with
 * nothing but its segments.
 */
#include <elf.h>
#include <stdlib.h>
#include <string.h>

#include "loader.h"
#include "runner.h"

/* Xen, xen/include/public/elfnote.h */
#define XEN_ELFNOTE_PHYS32_ENTRY 18
#define XEN_ELFNOTE_PHYS32_RELOC 19
#define RELOC_ALIGN 0x200000ull
#define RELOC_LEAST_ALIGN 0x1000ull
#define PVH_MAGIC 0x336ec578

/* Of a segment with notes, which are a few. */
#define NOTES_MOST (64u << 10)

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

/**
 * struct elf - an image that is being loaded
 * @vm: where to
 * @file: it
 * @header: its header, as one of 64 bits
 * @segments: its program headers, likewise
 * @first: where its first segment wants to be, and
 * @end: what is behind the last one
 * @align: the largest alignment of a segment
 * @start: where its entry is in memory
 * @entry: where PVH begins; 0: it is not PVH
 * @relocatable: with PVH: it may be elsewhere; then
 * @reloc: alignment (0: not said), lowest address, address of the last byte
 * @delta: how far it has been moved, modulo 2^64
 */
struct elf {
	struct vm *vm;
	const struct file *file;
	Elf64_Ehdr header;
	Elf64_Phdr *segments;
	__u64 first;
	__u64 end;
	__u64 align;
	__u64 start;
	__u64 entry;
	bool relocatable;
	__u32 reloc[3];
	__u64 delta;
};

/* ---- what is in the file ------------------------------------------------------------ */

static int check_segment(struct elf *elf, const Elf64_Phdr *segment)
{
	__u64 last = segment->p_paddr + segment->p_memsz;

	if (!segment->p_memsz)
		return 0;
	if (segment->p_filesz > segment->p_memsz || last < segment->p_paddr ||
	    segment->p_offset > elf->file->size ||
	    segment->p_filesz > elf->file->size - segment->p_offset) {
		complain("%s is truncated, or its program headers are wrong", elf->file->path);
		return -1;
	}
	if (segment->p_paddr < elf->first)
		elf->first = segment->p_paddr;
	if (last > elf->end)
		elf->end = last;
	if (segment->p_align > elf->align)
		elf->align = segment->p_align;
	return 0;
}

/* The entry is a number of 4 bytes, or of 8; constraints on relocation are up to three of 4. */
static void read_note(struct elf *elf, const Elf64_Nhdr *note, const unsigned char *value)
{
	if (note->n_type == XEN_ELFNOTE_PHYS32_ENTRY && note->n_descsz >= 4 &&
	    note->n_descsz <= sizeof(elf->entry))
		memcpy(&elf->entry, value, note->n_descsz);
	if (note->n_type == XEN_ELFNOTE_PHYS32_RELOC) {
		elf->relocatable = true;
		memcpy(elf->reloc, value, note->n_descsz < sizeof(elf->reloc) ?
					  note->n_descsz & ~3u : sizeof(elf->reloc));
	}
}

/* A name and a value, each padded. */
static void walk_notes(struct elf *elf, const unsigned char *notes, size_t size, size_t align)
{
	Elf64_Nhdr note;

	while (size >= sizeof(note)) {
		size_t value, next;

		memcpy(&note, notes, sizeof(note));
		value = (sizeof(note) + (size_t)note.n_namesz + align - 1) & -align;
		next = (value + note.n_descsz + align - 1) & -align;
		if (value > size || note.n_descsz > size - value)
			return;
		if (note.n_namesz == sizeof("Xen") && !memcmp(notes + sizeof(note), "Xen", sizeof("Xen")))
			read_note(elf, &note, notes + value);
		if (next > size)
			return;
		notes += next;
		size -= next;
	}
}

static int read_notes(struct elf *elf, const Elf64_Phdr *segment)
{
	unsigned char *notes;
	int err;

	if (segment->p_filesz > NOTES_MOST || segment->p_offset > elf->file->size ||
	    segment->p_filesz > elf->file->size - segment->p_offset)
		return 0;
	notes = malloc(segment->p_filesz);
	err = notes ? file_read(elf->file, segment->p_offset, notes, segment->p_filesz) : 0;
	if (notes && !err)
		walk_notes(elf, notes, segment->p_filesz, segment->p_align == 8 ? 8 : 4);
	free(notes);
	return err;
}

static bool is_64(const struct elf *elf)
{
	return elf->header.e_ident[EI_CLASS] == ELFCLASS64;
}

static void widen_header(Elf64_Ehdr *header, const Elf32_Ehdr *narrow)
{
	*header = (Elf64_Ehdr) {
		.e_type = narrow->e_type, .e_machine = narrow->e_machine, .e_entry = narrow->e_entry,
		.e_phoff = narrow->e_phoff, .e_phentsize = narrow->e_phentsize, .e_phnum = narrow->e_phnum,
	};
	memcpy(header->e_ident, narrow->e_ident, EI_NIDENT);
}

static int read_header(struct elf *elf)
{
	__u64 size = elf->file->size < sizeof(elf->header) ? elf->file->size : sizeof(elf->header);
	Elf32_Ehdr narrow;

	if (file_read(elf->file, 0, (unsigned char *)&elf->header, size))
		return -1;
	memcpy(&narrow, &elf->header, sizeof(narrow));
	if (narrow.e_ident[EI_CLASS] == ELFCLASS32)
		widen_header(&elf->header, &narrow);
	if ((is_64(elf) ? size == sizeof(elf->header) :
	     narrow.e_ident[EI_CLASS] == ELFCLASS32 && size >= sizeof(narrow)) &&
	    narrow.e_ident[EI_DATA] == ELFDATA2LSB && narrow.e_ident[EI_VERSION] == EV_CURRENT)
		return 0;
	complain("%s is no valid ELF file: its header is cut, or of another machine", elf->file->path);
	return -1;
}

static void widen_segment(Elf64_Phdr *segment, const Elf32_Phdr *narrow)
{
	*segment = (Elf64_Phdr) {
		.p_type = narrow->p_type, .p_flags = narrow->p_flags, .p_offset = narrow->p_offset,
		.p_vaddr = narrow->p_vaddr, .p_paddr = narrow->p_paddr, .p_filesz = narrow->p_filesz,
		.p_memsz = narrow->p_memsz, .p_align = narrow->p_align,
	};
}

/* One behind another, from e_phoff on. */
static int read_segments(struct elf *elf)
{
	const Elf64_Ehdr *header = &elf->header;
	size_t each = is_64(elf) ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr), size = each * header->e_phnum;
	unsigned char *table;

	if (header->e_phentsize != each || header->e_phoff > elf->file->size ||
	    size > elf->file->size - header->e_phoff) {
		complain("%s is truncated, or its program headers are wrong", elf->file->path);
		return -1;
	}
	elf->segments = calloc(header->e_phnum, sizeof(Elf64_Phdr));
	if (!elf->segments) {
		complain("no memory to load the image");
		return -1;
	}
	/* Those of 32 bits are at the end of the room, so that none is overwritten before it is read. */
	table = (unsigned char *)(elf->segments + header->e_phnum) - size;
	if (file_read(elf->file, header->e_phoff, table, size))
		return -1;
	for (size_t i = 0; !is_64(elf) && i < header->e_phnum; i++) {
		Elf32_Phdr narrow;

		memcpy(&narrow, table + i * each, each);
		widen_segment(&elf->segments[i], &narrow);
	}
	return 0;
}

static int read_headers(struct elf *elf)
{
	if (read_header(elf) || (elf->header.e_phnum && read_segments(elf)))
		return -1;
	for (size_t i = 0; i < elf->header.e_phnum; i++) {
		const Elf64_Phdr *segment = &elf->segments[i];

		if (segment->p_type == PT_LOAD && check_segment(elf, segment))
			return -1;
		if (segment->p_type == PT_NOTE && read_notes(elf, segment))
			return -1;
	}
	/* What is linked as a shared object does not want to be at 0, unless it is PVH. */
	if ((elf->header.e_machine != EM_X86_64 && elf->header.e_machine != EM_386) ||
	    (elf->header.e_type != ET_EXEC && (elf->header.e_type != ET_DYN || !elf->entry))) {
		complain("%s is no x86 ELF file that can be booted (a static executable)",
			 elf->file->path);
		return -1;
	}
	if (!elf->end)
		complain("%s has nothing to be loaded", elf->file->path);
	return elf->end ? 0 : -1;
}

/* ---- segments ------------------------------------------------------------------------- */

/*
 * Where it wants to be there may be something else, or no memory: an image that says
 * so goes elsewhere, as a whole.
 */
static int relocate(struct elf *elf)
{
	__u64 align = elf->reloc[0] ? elf->reloc[0] :
		      elf->align >= RELOC_LEAST_ALIGN ? elf->align : RELOC_ALIGN;
	struct room room = {
		.first = elf->reloc[1] > EXTENDED_MEMORY ? elf->reloc[1] : EXTENDED_MEMORY,
		.end = elf->reloc[2] + 1ull, .size = elf->end - elf->first, .align = align,
	};
	__u64 gpa;

	if (!elf->entry || !elf->relocatable || place_is_free(elf->vm, elf->first, room.size))
		return 0;
	if (align & (align - 1)) {
		complain("%s wants to be aligned to 0x%llx, which is no power of two",
			 elf->file->path, align);
		return -1;
	}
	if (room.end > elf->vm->low)
		room.end = elf->vm->low;
	if (!place_find(elf->vm, &room, &gpa)) {
		complain("%s can be nowhere between 0x%llx and 0x%llx: give the VM more memory than "
			 "%lluM (--memory)", elf->file->path, room.first, room.end,
			 elf->vm->options->memory >> 20);
		return -1;
	}
	elf->delta = gpa - elf->first;
	return 0;
}

static int load_segment(struct elf *elf, const Elf64_Phdr *segment)
{
	__u64 gpa = segment->p_paddr + elf->delta;

	/* What is not in the file is zero, as new memory is. */
	if (place_at(elf->vm, elf->file->path, gpa, segment->p_memsz, "another of its segments"))
		return -1;
	/* The entry may be where the segment is linked to, and not where it is loaded to. */
	if (elf->header.e_entry - segment->p_vaddr < segment->p_memsz)
		elf->start = elf->header.e_entry - segment->p_vaddr + gpa;
	return segment->p_filesz ? file_load(elf->vm, elf->file, segment->p_offset, gpa,
					     segment->p_filesz) : 0;
}

static int load_segments(struct elf *elf)
{
	elf->start = elf->header.e_entry;
	if (relocate(elf))
		return -1;
	for (size_t i = 0; i < elf->header.e_phnum; i++)
		if (elf->segments[i].p_type == PT_LOAD && elf->segments[i].p_memsz &&
		    load_segment(elf, &elf->segments[i]))
			return -1;
	elf->end += elf->delta;
	return 0;
}

/* ---- PVH ----------------------------------------------------------------------- */

static __u64 put_memory(struct layout *layout, __u32 *nr)
{
	struct pvh_memory memory[E820_MOST];
	struct e820 rows[E820_MOST];

	*nr = e820_map(layout->vm, rows);
	for (unsigned int i = 0; i < *nr; i++)
		memory[i] = (struct pvh_memory) { rows[i].first, rows[i].size, rows[i].type, 0 };
	return layout_put(layout, memory, *nr * sizeof(memory[0]));
}

static __u64 put_modules(struct layout *layout, const struct module *modules)
{
	const struct options *options = layout->vm->options;
	struct pvh_module rows[MODULES_MOST];

	for (unsigned int i = 0; i < options->nr_modules; i++)
		rows[i] = (struct pvh_module) {
			.gpa = modules[i].gpa, .size = modules[i].size,
			.command_line = layout_put_string(layout, options->modules[i]),
		};
	return layout_put(layout, rows, options->nr_modules * sizeof(rows[0]));
}

static int load_pvh(struct elf *elf)
{
	struct vm *vm = elf->vm;
	const char *path = elf->file->path;
	struct pvh_info info = {
		.magic = PVH_MAGIC, .version = 1, .nr_modules = vm->options->nr_modules,
	};
	struct module modules[MODULES_MOST];
	struct mote_gprs gprs = { 0 };
	struct layout layout;
	__u64 tables;

	if (bios_data_write(vm, &info.rsdp) || load_segments(elf) ||
	    place_tables(vm, path, &tables) || layout_create(&layout, vm, path) ||
	    load_modules(vm, path, elf->end, modules))
		return -1;
	gprs.rip = elf->entry + elf->delta;
	if (gprs.rip >> 32) {
		complain("%s begins at 0x%llx, beyond 4 GiB", path, gprs.rip);
		return -1;
	}
	info.memory = put_memory(&layout, &info.nr_memory);
	info.modules = put_modules(&layout, modules);
	info.command_line = layout_put_string(&layout, vm->options->append);
	gprs.gpr[MOTE_RSP] = tables + START_TABLES;
	gprs.gpr[MOTE_RBX] = layout_put(&layout, &info, sizeof(info));
	return layout.err ? -1 : start_protected(vm, tables, &gprs);
}

/* ---- neither PVH nor multiboot ---------------------------------------------------------- */

static int load_plain(struct elf *elf)
{
	struct mote_gprs gprs = { 0 };
	__u64 tables;

	if (elf->vm->options->append[0] || elf->vm->options->nr_modules) {
		complain("%s has neither a PVH entry nor a multiboot header: it takes no --append, "
			 "--initrd and --module", elf->file->path);
		return -1;
	}
	if (load_segments(elf) || place_tables(elf->vm, elf->file->path, &tables))
		return -1;
	gprs.rip = elf->start;
	return elf->header.e_machine == EM_386 ? start_protected(elf->vm, tables, &gprs) :
						 start_long(elf->vm, tables, &gprs);
}

/* ---- entry points ------------------------------------------------------------------------- */

static bool is_elf(const struct image *image)
{
	return !memcmp(image->head, ELFMAG, SELFMAG);
}

/* Read the headers; the caller ends it in any case. */
static int open_elf(struct elf *elf, struct vm *vm, const struct image *image)
{
	*elf = (struct elf) {
		.vm = vm, .file = &image->file, .first = ~0ull, .reloc[2] = ~0u,
	};
	return read_headers(elf);
}

int elf_load(struct vm *vm, const struct image *image, __u64 *entry, __u64 *end)
{
	struct elf elf;
	int err = open_elf(&elf, vm, image);

	if (!err)
		err = load_segments(&elf);
	*entry = elf.start;
	*end = elf.end;
	free(elf.segments);
	return err;
}

static int load_elf(struct vm *vm, const struct image *image)
{
	struct elf elf;
	int err = open_elf(&elf, vm, image);

	if (!err)
		err = elf.entry ? load_pvh(&elf) :
		      has_multiboot_header(image) ? multiboot_loader.load(vm, image) : load_plain(&elf);
	free(elf.segments);
	return err;
}

const struct loader elf_loader = { "ELF", is_elf, load_elf };
