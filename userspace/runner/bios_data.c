// SPDX-License-Identifier: GPL-2.0
/*
 * What firmware leaves in low memory for a kernel that a boot loader starts: the
 * BIOS's data area and its extended one, the ACPI tables, and the configuration
 * table of the MultiProcessor Specification 1.4, chapter 4, by which systems
 * without ACPI find processors and interrupts; and SMBIOS (smbios.c).  Not here: BIOS services.
 */
#include <cpuid.h>
#include <string.h>

#include "acpi.h"
#include "checksum.h"
#include "loader.h"
#include "runner.h"
#include "smbios.h"

#define PACKED __attribute__((packed))
#define PATH "the machine"

/* ---- data areas ------------------------------------------------------------------- */

#define BDA 0x400
#define EBDA_SIZE 1024
#define MP_TABLE 0xf0000

#define EQUIPMENT_FPU (1u << 1)
#define EQUIPMENT_ONE_SERIAL (1u << 9)
#define KEYBOARD_BUFFER 0x1e

/* The BIOS data area: what a machine with one serial port and without screen, disks and keys fills. */
struct bda {
	__u16 serial[4];
	__u16 parallel[3];
	__u16 ebda;			/* a segment */
	__u16 equipment;
	__u8 post;
	__u16 base_memory;		/* KiB */
	__u16 reserved;
	__u16 keyboard_flags;
	__u8 keypad;
	__u16 keyboard_head, keyboard_tail;
	__u8 rest[256 - 0x1e];
} PACKED;

_Static_assert(sizeof(struct bda) == 256, "the BIOS data area has 256 bytes");

static int put(struct vm *vm, __u64 gpa, const void *data, size_t size, const char *what)
{
	return place_at(vm, PATH, gpa, size, what) ? -1 : load_bytes(vm, gpa, data, size);
}

static int write_data_areas(struct vm *vm)
{
	static const struct bda bda = {
		.serial = { SERIAL_PORT }, .ebda = EBDA >> 4,
		.equipment = EQUIPMENT_FPU | EQUIPMENT_ONE_SERIAL, .base_memory = EBDA >> 10,
		.keyboard_head = KEYBOARD_BUFFER, .keyboard_tail = KEYBOARD_BUFFER,
	};
	/* It begins with its size in KiB. */
	static const __u8 ebda[EBDA_SIZE] = { EBDA_SIZE >> 10 };

	return put(vm, BDA, &bda, sizeof(bda), "the BIOS data area") ||
	       put(vm, EBDA, ebda, sizeof(ebda), "the extended BIOS data area") ? -1 : 0;
}

/* ---- MultiProcessor Specification 1.4 ------------------------------------------------ */

#define MP_REVISION 4
#define LAPIC_VERSION 0x14
#define IOAPIC_VERSION 0x11
#define ENABLED 1
#define BOOTSTRAP 2
#define NR_ISA_LINES 16
#define CPUS_MOST 255	/* the ids of more do not fit: ACPI has them all */
#define CASCADE 2
#define HIGH_LEVEL 0xd		/* active high, level-triggered */

enum { BUS_PCI, BUS_ISA };
enum { INT, NMI, SMI, EXT_INT };
enum { ENTRY_PROCESSOR, ENTRY_BUS, ENTRY_IOAPIC, ENTRY_INTERRUPT, ENTRY_LOCAL_INTERRUPT };

/* "MP Floating Pointer Structure" */
struct mp_pointer {
	char signature[4];
	__u32 table;
	__u8 length;			/* in units of 16 bytes */
	__u8 revision;
	__u8 checksum;
	__u8 features[5];
} PACKED;

/* "MP Configuration Table Header" */
struct mp_header {
	char signature[4];
	__u16 length;
	__u8 revision;
	__u8 checksum;
	char oem[8];
	char product[12];
	__u32 oem_table;
	__u16 oem_table_size;
	__u16 nr_entries;
	__u32 lapic;
	__u16 extended_length;
	__u8 extended_checksum;
	__u8 reserved;
} PACKED;

struct mp_processor {
	__u8 type, id, version, flags;
	__u32 signature;		/* CPUID leaf 1 EAX */
	__u32 features;			/* and EDX */
	__u32 reserved[2];
} PACKED;

struct mp_bus {
	__u8 type, id;
	char name[6];
} PACKED;

struct mp_ioapic {
	__u8 type, id, version, flags;
	__u32 address;
} PACKED;

struct mp_interrupt {
	__u8 type, kind;
	__u16 flags;			/* 0: as the bus has them */
	__u8 bus, line, to, pin;
} PACKED;

/**
 * struct mp_table - pointer and table as they are in memory
 * @pointer: on a multiple of 16 bytes, as the table behind it
 * @header: the table's
 * @entries: one behind another, by ascending type
 * @size: of those, in bytes
 */
struct mp_table {
	struct mp_pointer pointer;
	struct mp_header header;
	__u8 entries[CPUS_MOST * sizeof(struct mp_processor) + 256];
	size_t size;
} PACKED;

static void add_entry(struct mp_table *table, const void *entry, size_t size)
{
	memcpy(table->entries + table->size, entry, size);
	table->size += size;
	table->header.nr_entries++;
}

static void add_processors(struct mp_table *table, unsigned int nr)
{
	__u32 eax, ebx, ecx, edx;

	__cpuid(1, eax, ebx, ecx, edx);
	for (unsigned int i = 0; i < nr && i < CPUS_MOST; i++) {
		const struct mp_processor processor = {
			.type = ENTRY_PROCESSOR, .id = i, .version = LAPIC_VERSION,
			.flags = ENABLED | (i ? 0 : BOOTSTRAP), .signature = eax, .features = edx,
		};

		add_entry(table, &processor, sizeof(processor));
	}
}

static void add_interrupt(struct mp_table *table, __u8 type, __u8 kind, __u8 line, __u8 to, __u8 pin)
{
	const struct mp_interrupt interrupt = {
		.type = type, .kind = kind, .flags = line == LINE_ACPI ? HIGH_LEVEL : 0,
		.bus = BUS_ISA, .line = line, .to = to, .pin = pin,
	};

	add_entry(table, &interrupt, sizeof(interrupt));
}

/* PCI functions interrupt by messages alone, so that only ISA's lines are connected. */
static void add_entries(struct mp_table *table, unsigned int nr_cpus)
{
	static const struct mp_bus buses[] = {
		{ ENTRY_BUS, BUS_PCI, "PCI   " }, { ENTRY_BUS, BUS_ISA, "ISA   " },
	};
	static const struct mp_ioapic ioapic = {
		.type = ENTRY_IOAPIC, .version = IOAPIC_VERSION, .flags = ENABLED,
		.address = IOAPIC_BASE,
	};

	add_processors(table, nr_cpus);
	for (size_t i = 0; i < ARRAY_SIZE(buses); i++)
		add_entry(table, &buses[i], sizeof(buses[i]));
	add_entry(table, &ioapic, sizeof(ioapic));
	for (__u8 line = 0; line < NR_ISA_LINES; line++)
		if (line != CASCADE)
			add_interrupt(table, ENTRY_INTERRUPT, INT, line, ioapic.id,
				      line == LINE_TIMER ? CASCADE : line);
	/* Virtual wire mode: LINT0 is the 8259s', LINT1 the NMI. */
	add_interrupt(table, ENTRY_LOCAL_INTERRUPT, EXT_INT, 0, 0, 0);
	add_interrupt(table, ENTRY_LOCAL_INTERRUPT, NMI, 0, 0xff, 1);
}

static int write_mp_table(struct vm *vm)
{
	struct mp_table table = {
		.pointer = {
			.signature = "_MP_", .table = MP_TABLE + offsetof(struct mp_table, header),
			.length = sizeof(table.pointer) / 16, .revision = MP_REVISION,
		},
		.header = {
			.signature = "PCMP", .revision = MP_REVISION, .oem = "MOTE    ",
			.product = "MOTE        ", .lapic = LAPIC_BASE,
		},
	};

	add_entries(&table, vm->nr_vcpus);
	table.header.length = sizeof(table.header) + table.size;
	table.header.checksum = checksum(&table.header, table.header.length);
	table.pointer.checksum = checksum(&table.pointer, sizeof(table.pointer));
	return put(vm, MP_TABLE, &table, offsetof(struct mp_table, entries) + table.size,
		   "the MP configuration table");
}

int bios_data_write(struct vm *vm, __u64 *rsdp)
{
	if (write_data_areas(vm) || acpi_write_tables(vm, FIRMWARE, rsdp))
		return -1;
	return write_mp_table(vm) || smbios_write(vm) ? -1 : 0;
}
