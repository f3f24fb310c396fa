// SPDX-License-Identifier: GPL-2.0
/*
 * fw_cfg: what firmware and test guests want to know of the machine, item by item.
 * QEMU, docs/specs/fw_cfg.rst; the interface of bytes alone, without DMA.
 */
#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "acpi.h"
#include "loader.h"
#include "runner.h"
#include "smbios.h"
#include "state.h"

#define PORT 0x510
#define FILE_NAME 56
#define PACKED __attribute__((packed))

enum {
	ITEM_SIGNATURE = 0x00,
	ITEM_ID = 0x01,
	ITEM_MEMORY = 0x03,
	ITEM_NO_GRAPHICS = 0x04,
	ITEM_CPUS = 0x05,
	ITEM_MOST_CPUS = 0x0f,
	ITEM_FILES = 0x19,
	ITEM_FIRST_FILE = 0x20,
};

/* The directory of files; big-endian. */
struct file_entry {
	__u32 size;
	__u16 select;
	__u16 reserved;
	char name[FILE_NAME];
};

#define FILES_MOST 7

struct directory {
	__u32 nr;
	struct file_entry files[FILES_MOST];
};

/* What firmware does with files (QEMU, hw/acpi/bios-linker-loader.c). */
struct loader_command {
	__u32 command;
	union {
		struct {
			char file[FILE_NAME];
			__u32 align;
			__u8 zone;
		} PACKED allocate;
		/* Add where @to is to a number in @in. */
		struct {
			char in[FILE_NAME];
			char to[FILE_NAME];
			__u32 at;
			__u8 size;
		} PACKED pointer;
		struct {
			char file[FILE_NAME];
			__u32 at, first, size;
		} PACKED sum;
		__u8 room[124];
	};
} PACKED;

enum { LOADER_ALLOCATE = 1, LOADER_POINTER, LOADER_SUM };
enum { ZONE_HIGH = 1, ZONE_BELOW_1M };

#define FILE_RSDP "etc/acpi/rsdp"
#define FILE_TABLES "etc/acpi/tables"

struct item {
	__u16 select;
	const void *data;
	size_t size;
};

#define ITEMS_MOST (8 + FILES_MOST)

struct fw_cfg {
	struct device device;
	__u16 select;
	__u32 offset;

	/* What never changes. */
	size_t nr_items;
	struct item items[ITEMS_MOST];
	__u32 id;
	__u64 memory;
	__u16 no_graphics, cpus;
	struct e820 e820[E820_MOST];
	struct directory directory;
	struct acpi_tables tables;
	struct smbios smbios;
	struct loader_command loader[2 + ACPI_POINTERS + ACPI_SUMS];
	unsigned int nr_commands;
	__u16 console;
};

static struct fw_cfg *fw_cfg_of(struct device *device)
{
	return container_of(device, struct fw_cfg, device);
}

/* Items that are not there, and what is behind the end of one, read as zero. */
static __u8 next_byte(struct fw_cfg *fw)
{
	for (size_t i = 0; i < fw->nr_items; i++) {
		const struct item *item = &fw->items[i];

		if (item->select == fw->select && fw->offset < item->size)
			return ((const __u8 *)item->data)[fw->offset++];
	}
	return 0;
}

static __u64 fw_cfg_read(struct device *device, const struct region *region, __u64 offset,
			 unsigned int size)
{
	struct fw_cfg *fw = fw_cfg_of(device);

	(void)region;
	if (size == 2)
		return fw->select;
	return offset == 1 ? next_byte(fw) : 0;
}

static void fw_cfg_write(struct device *device, const struct region *region, __u64 offset,
			 unsigned int size, __u64 data)
{
	struct fw_cfg *fw = fw_cfg_of(device);

	(void)region;
	if (offset || size != 2)
		return;
	fw->select = data;
	fw->offset = 0;
}

/* The items are made of the machine's options, which are those of the one that was saved. */
static void fw_cfg_state(struct device *device, struct state *state)
{
	struct fw_cfg *fw = fw_cfg_of(device);

	STATE(state, fw, select);
	STATE(state, fw, offset);
}

static void fw_cfg_destroy(struct device *device)
{
	free(fw_cfg_of(device));
}

static const struct device_ops ops = {
	.name = "fw_cfg", .read = fw_cfg_read, .write = fw_cfg_write, .state = fw_cfg_state,
	.destroy = fw_cfg_destroy,
};

static void add_item(struct fw_cfg *fw, __u16 select, const void *data, size_t size)
{
	fw->items[fw->nr_items++] = (struct item) { select, data, size };
}

static void add_file(struct fw_cfg *fw, const char *name, const void *data, size_t size)
{
	__u32 nr = be32toh(fw->directory.nr);
	struct file_entry *file = &fw->directory.files[nr];

	file->size = htobe32(size);
	file->select = htobe16(ITEM_FIRST_FILE + nr);
	strncpy(file->name, name, sizeof(file->name) - 1);
	fw->directory.nr = htobe32(nr + 1);
	add_item(fw, ITEM_FIRST_FILE + nr, data, size);
}

static struct loader_command *add_command(struct fw_cfg *fw, __u32 command)
{
	struct loader_command *loader = &fw->loader[fw->nr_commands++];

	loader->command = command;
	return loader;
}

static void allocate(struct fw_cfg *fw, const char *file, __u8 zone)
{
	struct loader_command *loader = add_command(fw, LOADER_ALLOCATE);

	strcpy(loader->allocate.file, file);
	loader->allocate.align = ACPI_ALIGNMENT;
	loader->allocate.zone = zone;
}

static const char *file_of(bool in_rsdp)
{
	return in_rsdp ? FILE_RSDP : FILE_TABLES;
}

/* Little-endian, as the machine. */
static void add_tables(struct fw_cfg *fw, unsigned int nr_cpus)
{
	const struct acpi_tables *tables = &fw->tables;

	acpi_make_tables(&fw->tables, nr_cpus);
	allocate(fw, FILE_RSDP, ZONE_BELOW_1M);
	allocate(fw, FILE_TABLES, ZONE_HIGH);
	for (unsigned int i = 0; i < tables->nr_pointers; i++) {
		struct loader_command *loader = add_command(fw, LOADER_POINTER);

		strcpy(loader->pointer.in, file_of(tables->pointers[i].in_rsdp));
		strcpy(loader->pointer.to, FILE_TABLES);
		loader->pointer.at = tables->pointers[i].at;
		loader->pointer.size = tables->pointers[i].size;
	}
	for (unsigned int i = 0; i < tables->nr_sums; i++) {
		struct loader_command *loader = add_command(fw, LOADER_SUM);

		strcpy(loader->sum.file, file_of(tables->sums[i].in_rsdp));
		loader->sum.at = tables->sums[i].at;
		loader->sum.first = tables->sums[i].first;
		loader->sum.size = tables->sums[i].size;
	}
	add_file(fw, FILE_RSDP, &tables->rsdp, sizeof(tables->rsdp));
	add_file(fw, FILE_TABLES, tables->bytes, tables->size);
	add_file(fw, "etc/table-loader", fw->loader, fw->nr_commands * sizeof(fw->loader[0]));
}

int fw_cfg_create(struct vm *vm)
{
	struct fw_cfg *fw = calloc(1, sizeof(*fw));

	if (!fw) {
		complain("no memory for fw_cfg");
		return -1;
	}
	fw->id = 1;
	fw->memory = vm->options->memory;
	fw->no_graphics = 1;
	fw->cpus = vm->nr_vcpus;
	add_item(fw, ITEM_SIGNATURE, "QEMU", 4);
	add_item(fw, ITEM_ID, &fw->id, sizeof(fw->id));
	add_item(fw, ITEM_MEMORY, &fw->memory, sizeof(fw->memory));
	add_item(fw, ITEM_NO_GRAPHICS, &fw->no_graphics, sizeof(fw->no_graphics));
	add_item(fw, ITEM_CPUS, &fw->cpus, sizeof(fw->cpus));
	add_item(fw, ITEM_MOST_CPUS, &fw->cpus, sizeof(fw->cpus));
	add_file(fw, "etc/e820", fw->e820, e820_map(vm, fw->e820) * sizeof(fw->e820[0]));
	if (vm->options->firmware) {
		add_tables(fw, vm->nr_vcpus);
		smbios_make(&fw->smbios, vm);
		add_file(fw, "etc/smbios/smbios-anchor", &fw->smbios.entry, sizeof(fw->smbios.entry));
		add_file(fw, "etc/smbios/smbios-tables", fw->smbios.bytes, fw->smbios.size);
		fw->console = SERIAL_PORT;
		add_file(fw, "etc/sercon-port", &fw->console, sizeof(fw->console));
	}
	add_item(fw, ITEM_FILES, &fw->directory, sizeof(fw->directory));
	device_add(vm, &fw->device, &ops);
	return device_ports(&fw->device, PORT, 2, 2, 0);
}
