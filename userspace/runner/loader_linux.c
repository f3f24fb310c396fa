// SPDX-License-Identifier: GPL-2.0
/*
 * Linux bzImages, by the 64-bit boot protocol, or by the 32-bit one where they have
 * no other entry: Documentation/arch/x86/boot.rst.
 *
 *	0x10000  boot parameters
 *	0x11000  descriptors and page tables
 *	0x20000  command line
 *	preferred address, as a rule 16 MiB: the kernel
 *	as high as the kernel wants it: the initrd
 */
#include <asm/bootparam.h>
#include <string.h>

#include "loader.h"
#include "runner.h"

#define PARAMETERS 0x10000
#define TABLES 0x11000
#define COMMAND_LINE 0x20000
#define COMMAND_LINE_MOST 0x10000

#define SECTOR 512
#define BOOT_FLAG 0xaa55
#define HEADER_MAGIC 0x53726448	/* "HdrS" */
#define PROTOCOL_2_10 0x20a	/* has a preferred address */
#define PROTOCOL_2_12 0x20c	/* has xloadflags */
#define PARAGRAPH 16		/* in which syssize counts */
#define ENTRY_64 0x200
#define LOADER_UNDEFINED 0xff
#define PAGE_SIZE 4096ull

/* The header lies somewhere in the first sectors, unaligned. */
static struct setup_header header_of(const struct image *image)
{
	struct setup_header header;

	memcpy(&header, image->head + offsetof(struct boot_params, hdr), sizeof(header));
	return header;
}

static bool is_linux(const struct image *image)
{
	struct setup_header header = header_of(image);

	return header.boot_flag == BOOT_FLAG && header.header == HEADER_MAGIC;
}

static __u64 setup_size(const struct setup_header *header)
{
	return (header->setup_sects ? header->setup_sects + 1 : 5) * SECTOR;
}

static bool has_64_bit_entry(const struct setup_header *header)
{
	return header->version >= PROTOCOL_2_12 && header->xloadflags & XLF_KERNEL_64;
}

/* Without --append, a kernel says at the console that there is what it does. */
static const char *command_line(const struct vm *vm)
{
	const struct options *options = vm->options;

	if (options->has_append)
		return options->append;
	if (options->nr_consoles && strcmp(options->serial, "stdio"))
		return "console=hvc0";
	return strcmp(options->serial, "none") ? "console=ttyS0" : "";
}

static int check(const struct vm *vm, const struct image *image, const struct setup_header *header)
{
	__u64 kernel = setup_size(header) + header->syssize * (__u64)PARAGRAPH;

	if (vm->options->nr_modules > 1) {
		complain("%s takes one --initrd and no --module", image->file.path);
		return -1;
	}
	if (header->version < PROTOCOL_2_10) {
		complain("%s is too old (boot protocol %u.%02u): Linux can be booted from 2.6.31 on",
			 image->file.path, header->version >> 8, header->version & 0xff);
		return -1;
	}
	if (image->file.size + PARAGRAPH <= kernel) {
		complain("%s is truncated: %llu bytes of %llu", image->file.path, image->file.size,
			 kernel);
		return -1;
	}
	if (strlen(command_line(vm)) > header->cmdline_size ||
	    strlen(command_line(vm)) >= COMMAND_LINE_MOST) {
		complain("--append: %s takes %u characters at most", image->file.path,
			 header->cmdline_size);
		return -1;
	}
	return 0;
}

/* As high as kernel and memory allow: the header's limit is that of its last byte. */
static int load_initrd(struct vm *vm, const char *path, struct setup_header *header)
{
	__u64 top = header->initrd_addr_max + 1ull, gpa;
	struct room room = {
		.first = EXTENDED_MEMORY, .end = top < vm->low ? top : vm->low,
		.align = PAGE_SIZE, .high = true, .what = "the initrd",
	};
	struct file file;
	int err;

	if (file_open(&file, vm->options->modules[0], "initrd"))
		return -1;
	room.size = file.size;
	err = place_in(vm, path, &room, &gpa);
	if (!err)
		err = file_load(vm, &file, 0, gpa, file.size);
	header->ramdisk_image = gpa;
	header->ramdisk_size = file.size;
	file_close(&file);
	return err;
}

/* The kernel, with what it needs behind it to unpack itself, and all that it is told. */
static int place_kernel(struct vm *vm, const struct image *image, const struct setup_header *header)
{
	__u64 size = image->file.size - setup_size(header);
	const char *path = image->file.path;

	return place_at(vm, path, PARAMETERS, sizeof(struct boot_params), "the boot parameters") ||
	       place_at(vm, path, TABLES, START_TABLES, "the descriptor tables") ||
	       place_at(vm, path, COMMAND_LINE, strlen(command_line(vm)) + 1, "the command line") ||
	       place_at(vm, path, header->pref_address,
			header->init_size > size ? header->init_size : size, "the kernel") ? -1 : 0;
}

static void fill_parameters(struct vm *vm, struct boot_params *parameters, __u64 rsdp)
{
	struct e820 rows[E820_MOST];
	unsigned int nr = e820_map(vm, rows);

	for (unsigned int i = 0; i < nr; i++)
		parameters->e820_table[i] = (struct boot_e820_entry) {
			.addr = rows[i].first, .size = rows[i].size, .type = rows[i].type,
		};
	parameters->e820_entries = nr;
	parameters->acpi_rsdp_addr = rsdp;
	parameters->hdr.type_of_loader = LOADER_UNDEFINED;
	parameters->hdr.loadflags |= CAN_USE_HEAP;
	parameters->hdr.cmd_line_ptr = COMMAND_LINE;
}

static int load_linux(struct vm *vm, const struct image *image)
{
	struct boot_params parameters = { .hdr = header_of(image) };
	struct setup_header *header = &parameters.hdr;
	const char *line = command_line(vm);
	__u64 setup = setup_size(header), rsdp;
	struct mote_gprs gprs = { 0 };

	/* The header ends where the jump in front of it goes to. */
	if (check(vm, image, header) || bios_data_write(vm, &rsdp) ||
	    place_kernel(vm, image, header))
		return -1;
	if (vm->options->nr_modules && load_initrd(vm, image->file.path, header))
		return -1;
	fill_parameters(vm, &parameters, rsdp);
	if (file_load(vm, &image->file, setup, header->pref_address, image->file.size - setup) ||
	    load_bytes(vm, PARAMETERS, &parameters, sizeof(parameters)) ||
	    load_bytes(vm, COMMAND_LINE, line, strlen(line) + 1))
		return -1;
	gprs.gpr[MOTE_RSI] = PARAMETERS;
	gprs.rip = header->pref_address;
	if (!has_64_bit_entry(header))
		return start_protected(vm, TABLES, &gprs);
	gprs.rip += ENTRY_64;
	return start_long(vm, TABLES, &gprs);
}

const struct loader linux_loader = { "Linux bzImage", is_linux, load_linux };
