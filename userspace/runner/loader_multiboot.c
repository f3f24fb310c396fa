// SPDX-License-Identifier: GPL-2.0
/*
 * Images with a multiboot header: Multiboot Specification 0.6.96.  They are ELF
 * files, or of any form, with a header that says itself what goes where.  They begin
 * in protected mode without paging.  Not here: symbols, drives, graphics.
 */
#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loader.h"
#include "runner.h"

/* "OS image format": the header is in the first 8192 bytes, on a multiple of 4. */
#define SEARCH 8192
#define MAGIC 0x1badb002
#define REQUIREMENTS 0xffffu
#define ALIGN_MODULES (1u << 0)
#define GIVE_MEMORY (1u << 1)
#define HAS_ADDRESSES (1u << 16)

struct multiboot_header {
	__u32 magic, flags, checksum;
	/* With HAS_ADDRESSES. */
	__u32 header_addr, load_addr, load_end_addr, bss_end_addr, entry_addr;
};

_Static_assert(SEARCH <= HEAD_SIZE, "all that is searched has been read");

/* "Boot information format" */
#define LOADED 0x2badb002
#define INFO_MEMORY (1u << 0)
#define INFO_COMMAND_LINE (1u << 2)
#define INFO_MODULES (1u << 3)
#define INFO_MAP (1u << 6)
#define INFO_NAME (1u << 9)

struct multiboot_info {
	__u32 flags, mem_lower, mem_upper, boot_device, cmdline, mods_count, mods_addr;
	__u32 syms[4];
	__u32 mmap_length, mmap_addr, drives_length, drives_addr, config_table, boot_loader_name;
	__u32 apm_table, rest[8];
};

struct multiboot_module {
	__u32 mod_start, mod_end, string, reserved;
};

struct multiboot_map {
	__u32 size;
	struct e820 row;
} __attribute__((packed));

/* ---- the header ---------------------------------------------------------------------- */

/* Returns where in the file it is, or -1. */
static int find_header(const struct image *image, struct multiboot_header *header)
{
	const size_t least = offsetof(struct multiboot_header, header_addr);

	for (size_t at = 0; at + least <= SEARCH; at += 4) {
		*header = (struct multiboot_header) { 0 };
		memcpy(header, image->head + at,
		       sizeof(*header) < SEARCH - at ? sizeof(*header) : SEARCH - at);
		if (header->magic == MAGIC && !(header->magic + header->flags + header->checksum))
			return at;
	}
	return -1;
}

bool has_multiboot_header(const struct image *image)
{
	struct multiboot_header header;

	return find_header(image, &header) >= 0;
}

static bool is_elf(const struct image *image)
{
	return !memcmp(image->head, ELFMAG, SELFMAG);
}

/* An ELF file that has no addresses in that header may be PVH, too: see loader_elf.c. */
static bool is_multiboot(const struct image *image)
{
	struct multiboot_header header;

	return find_header(image, &header) >= 0 && (header.flags & HAS_ADDRESSES || !is_elf(image));
}

/* "The address fields of Multiboot header", for a header that is @at in the file. */
static int load_by_header(struct vm *vm, const struct image *image,
			  const struct multiboot_header *header, __u64 at, __u64 *end)
{
	const struct file *file = &image->file;
	__u64 before = (__u64)header->header_addr - header->load_addr, size, whole;

	if (header->header_addr < header->load_addr || before > at ||
	    (header->load_end_addr && header->load_end_addr <= header->header_addr)) {
		complain("%s: the multiboot header's addresses contradict its place in the file",
			 file->path);
		return -1;
	}
	size = file->size - (at - before);
	if (header->load_end_addr && header->load_end_addr - (__u64)header->load_addr > size) {
		complain("%s is truncated, or its multiboot header's addresses are wrong", file->path);
		return -1;
	}
	if (header->load_end_addr)
		size = header->load_end_addr - header->load_addr;
	whole = header->bss_end_addr ? header->bss_end_addr - (__u64)header->load_addr : size;
	if (whole < size || whole >> 32) {
		complain("%s: the multiboot header's bss_end_addr is before the end of the data",
			 file->path);
		return -1;
	}
	*end = header->load_addr + whole;
	/* The BSS is zero, as new memory is. */
	if (place_at(vm, file->path, header->load_addr, whole, "the image"))
		return -1;
	return file_load(vm, file, at - before, header->load_addr, size);
}

static int load_what_it_is(struct vm *vm, const struct image *image, __u64 *entry, __u64 *end)
{
	struct multiboot_header header;
	int at = find_header(image, &header);
	__u32 unknown = header.flags & REQUIREMENTS & ~(ALIGN_MODULES | GIVE_MEMORY);

	if (unknown) {
		complain("%s: its multiboot header requires what is not here (flags 0x%x)",
			 image->file.path, unknown);
		return -1;
	}
	*entry = header.entry_addr;
	if (header.flags & HAS_ADDRESSES)
		return load_by_header(vm, image, &header, at, end);
	if (is_elf(image))
		return elf_load(vm, image, entry, end);
	complain("%s is no ELF file, and its multiboot header has no addresses", image->file.path);
	return -1;
}

/* ---- what it is told ------------------------------------------------------------------- */

static void put_map(struct layout *layout, struct multiboot_info *info)
{
	struct multiboot_map map[E820_MOST];
	struct e820 rows[E820_MOST];
	unsigned int nr = e820_map(layout->vm, rows);

	for (unsigned int i = 0; i < nr; i++)
		map[i] = (struct multiboot_map) { sizeof(rows[i]), rows[i] };
	info->mmap_length = nr * sizeof(map[0]);
	info->mmap_addr = layout_put(layout, map, info->mmap_length);
}

static void put_modules(struct layout *layout, const struct module *modules,
			struct multiboot_info *info)
{
	const struct options *options = layout->vm->options;
	struct multiboot_module rows[MODULES_MOST];

	for (unsigned int i = 0; i < options->nr_modules; i++)
		rows[i] = (struct multiboot_module) {
			.mod_start = modules[i].gpa,
			.mod_end = modules[i].gpa + modules[i].size,
			.string = layout_put_string(layout, options->modules[i]),
		};
	info->mods_count = options->nr_modules;
	info->mods_addr = layout_put(layout, rows, options->nr_modules * sizeof(rows[0]));
}

/* The first word of the command line is the image's name. */
static int put_command_line(struct layout *layout, const char *path, struct multiboot_info *info)
{
	char *line;

	if (asprintf(&line, "%s %s", path, layout->vm->options->append) < 0)
		return -1;
	info->cmdline = layout_put_string(layout, line);
	free(line);
	return layout->err;
}

static int load_multiboot(struct vm *vm, const struct image *image)
{
	struct multiboot_info info = {
		.flags = INFO_MEMORY | INFO_COMMAND_LINE | INFO_MODULES | INFO_MAP | INFO_NAME,
		.mem_lower = EBDA >> 10, .mem_upper = (vm->low - EXTENDED_MEMORY) >> 10,
	};
	struct mote_gprs gprs = { .gpr[MOTE_RAX] = LOADED };
	struct module modules[MODULES_MOST];
	const char *path = image->file.path;
	__u64 rsdp, end = 0, tables;
	struct layout layout;

	if (bios_data_write(vm, &rsdp) || load_what_it_is(vm, image, &gprs.rip, &end) ||
	    place_tables(vm, path, &tables) || layout_create(&layout, vm, path) ||
	    load_modules(vm, path, end, modules))
		return -1;
	if (gprs.rip >> 32) {
		complain("%s begins at 0x%llx, beyond 4 GiB", path, gprs.rip);
		return -1;
	}
	put_map(&layout, &info);
	put_modules(&layout, modules, &info);
	info.boot_loader_name = layout_put_string(&layout, "mote");
	if (put_command_line(&layout, path, &info))
		return -1;
	gprs.gpr[MOTE_RSP] = tables + START_TABLES;
	gprs.gpr[MOTE_RBX] = layout_put(&layout, &info, sizeof(info));
	return layout.err ? -1 : start_protected(vm, tables, &gprs);
}

const struct loader multiboot_loader = { "multiboot", is_multiboot, load_multiboot };
