// SPDX-License-Identifier: GPL-2.0
/*
 * The SMBIOS structures: DMTF DSP0134, "System Management BIOS Reference Specification", of
 * version 3.0.  Where there is no firmware an entry point of 64 bits leads to them, else firmware
 * takes them by one of 32 bits (dev/fw_cfg.c).
 */
#include <cpuid.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "checksum.h"
#include "loader.h"
#include "net.h"
#include "runner.h"
#include "smbios.h"

#define PACKED __attribute__((packed))

/* Behind the MP configuration table. */
#define SMBIOS 0xf8000
#define ALIGNMENT 16
#define DATE "01/01/2026"

/* ---- structures ------------------------------------------------------------------------ */

struct structure {
	__u8 type, length;
	__u16 handle;
} PACKED;

/* Numbers of strings are filled in as they are put behind a structure: 1 is the first. */
struct bios {
	struct structure header;
	__u8 vendor, version;
	__u16 segment;
	__u8 date, rom_size;
	__u64 characteristics;
	__u8 extension[2];
	__u8 major, minor, controller_major, controller_minor;
} PACKED;

#define BIOS_NO_CHARACTERISTICS (1u << 3)
#define BIOS_ACPI 0x01		/* first byte of the extension */
#define BIOS_VIRTUAL 0x10	/* the second */
#define NONE_OR_UNKNOWN 0xff

struct system {
	struct structure header;
	__u8 manufacturer, product, version, serial;
	__u8 uuid[UUID_SIZE];
	__u8 wake_up, sku, family;
} PACKED;

#define WAKE_UP_POWER_SWITCH 6

struct chassis {
	struct structure header;
	__u8 manufacturer, type, version, serial, asset;
	__u8 boot_state, power_state, thermal_state, security;
	__u32 oem;
	__u8 height, cords, nr_elements, element_size;
} PACKED;

#define OTHER 1
#define UNKNOWN 2
#define SAFE 3
#define SECURITY_NONE 3

struct processor {
	struct structure header;
	__u8 socket, type, family, manufacturer;
	__u32 signature, features;	/* CPUID leaf 1 EAX and EDX */
	__u8 version, voltage;
	__u16 clock, most_speed, speed;
	__u8 status, upgrade;
	__u16 caches[3];
	__u8 serial, asset, part;
	__u8 cores, cores_enabled, threads;
	__u16 characteristics, family2, cores2, cores_enabled2, threads2;
} PACKED;

#define CENTRAL 3
#define POPULATED_ENABLED 0x41
#define NO_CACHE 0xffff
#define COUNTED_ELSEWHERE 0xff
#define CPU_64_BITS 0x04
#define CPU_MULTI_CORE 0x08

struct memory_array {
	struct structure header;
	__u8 location, use, correction;
	__u32 capacity;			/* KiB */
	__u16 error, nr;
	__u64 extended_capacity;	/* bytes */
} PACKED;

#define SYSTEM_BOARD 3
#define SYSTEM_MEMORY 3
#define NO_CORRECTION 3
#define EXTENDED_CAPACITY 0x80000000u
#define NO_ERROR_STRUCTURE 0xfffe

struct memory_device {
	struct structure header;
	__u16 array, error, total_width, data_width, size;
	__u8 form, set, locator, bank, type;
	__u16 detail, speed;
	__u8 manufacturer, serial, asset, part, attributes;
	__u32 extended_size;		/* MiB */
	__u16 configured_speed, voltages[3];
} PACKED;

#define WIDTH_UNKNOWN 0xffff
#define EXTENDED_SIZE 0x7fff	/* MiB, as are all below it */
#define FORM_DIMM 9
#define TYPE_RAM 7
#define DETAIL_OTHER 0x0002

struct memory_range {
	struct structure header;
	__u32 first, last;		/* KiB */
	__u16 array;
	__u8 width;
	__u64 extended_first, extended_last;	/* bytes */
} PACKED;

#define EXTENDED_RANGE 0xffffffffu

struct boot {
	struct structure header;
	__u8 reserved[6], status;
} PACKED;

enum {
	TYPE_BIOS = 0, TYPE_SYSTEM = 1, TYPE_CHASSIS = 3, TYPE_PROCESSOR = 4, TYPE_MEMORY_ARRAY = 16,
	TYPE_MEMORY_DEVICE = 17, TYPE_MEMORY_RANGE = 19, TYPE_BOOT = 32, TYPE_END = 127,
};

/* ---- making them ----------------------------------------------------------------------- */

/*
 * A structure, the type of which tells its handle (@nth of its kind), and its strings, which end with
 * NULL.
 */
static void put(struct smbios *smbios, __u8 type, unsigned int nth, struct structure *structure, size_t size,
		const char *const *strings)
{
	__u8 *at = smbios->bytes + smbios->size, *to = at + size;

	*structure = (struct structure) { .type = type, .length = size, .handle = type << 8 | nth };
	memcpy(at, structure, size);
	for (; strings && *strings; strings++) {
		size_t length = strlen(*strings) + 1;

		memcpy(to, *strings, length);
		to += length;
	}
	/* Without strings there are two ends. */
	*to++ = 0;
	if (to == at + size + 1)
		*to++ = 0;
	smbios->size += to - at;
	smbios->nr++;
	if ((size_t)(to - at) > smbios->most)
		smbios->most = to - at;
}

static void put_bios(struct smbios *smbios)
{
	struct bios bios = {
		.vendor = 1, .version = 2, .segment = FIRMWARE >> 4, .date = 3,
		.rom_size = (EXTENDED_MEMORY - FIRMWARE) / 65536 - 1,
		.characteristics = BIOS_NO_CHARACTERISTICS, .extension = { BIOS_ACPI, BIOS_VIRTUAL },
		.major = NONE_OR_UNKNOWN, .minor = NONE_OR_UNKNOWN, .controller_major = NONE_OR_UNKNOWN,
		.controller_minor = NONE_OR_UNKNOWN,
	};

	put(smbios, TYPE_BIOS, 0, &bios.header, sizeof(bios),
	    (const char *[]) { "mote", MOTE_VERSION, DATE, NULL });
}

static void uuid_print(const __u8 *uuid, char text[UUID_TEXT_SIZE])
{
	for (int i = 0; i < UUID_SIZE; i++)
		text += sprintf(text, i == 4 || i == 6 || i == 8 || i == 10 ? "-%02x" : "%02x", uuid[i]);
}

static void uuid_get(const struct vm *vm, __u8 *uuid)
{
	static const __u8 none[UUID_SIZE];
	char host[HOST_NAME_MAX + 1];

	if (memcmp(vm->options->uuid, none, UUID_SIZE)) {
		memcpy(uuid, vm->options->uuid, UUID_SIZE);
		return;
	}
	host_identity(host, sizeof(host));
	uuid_derive(host, vm->name, uuid);
}

/* The first three fields are numbers, the least significant byte first. */
static void swap_fields(const __u8 *from, __u8 *to)
{
	static const __u8 order[UUID_SIZE] = { 3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15 };

	for (int i = 0; i < UUID_SIZE; i++)
		to[i] = from[order[i]];
}

static void put_system(struct smbios *smbios, const struct vm *vm)
{
	struct system system = {
		.manufacturer = 1, .product = 2, .version = 3, .serial = 4, .wake_up = WAKE_UP_POWER_SWITCH,
	};
	struct chassis chassis = {
		.manufacturer = 1, .type = OTHER, .version = 2, .serial = 3, .boot_state = SAFE,
		.power_state = SAFE, .thermal_state = SAFE, .security = SECURITY_NONE,
	};
	char serial[UUID_TEXT_SIZE];
	__u8 uuid[UUID_SIZE];

	uuid_get(vm, uuid);
	uuid_print(uuid, serial);
	swap_fields(uuid, system.uuid);
	put(smbios, TYPE_SYSTEM, 0, &system.header, sizeof(system),
	    (const char *[]) { "mote", "virtual machine", MOTE_VERSION, serial, NULL });
	put(smbios, TYPE_CHASSIS, 0, &chassis.header, sizeof(chassis),
	    (const char *[]) { "mote", MOTE_VERSION, serial, NULL });
}

static void put_processor(struct smbios *smbios, unsigned int nr)
{
	__u8 few = nr < COUNTED_ELSEWHERE ? nr : COUNTED_ELSEWHERE;
	struct processor processor = {
		.socket = 1, .type = CENTRAL, .family = UNKNOWN, .manufacturer = 2, .version = 3,
		.status = POPULATED_ENABLED, .upgrade = OTHER, .caches = { NO_CACHE, NO_CACHE, NO_CACHE },
		.cores = few, .cores_enabled = few, .threads = few,
		.characteristics = CPU_64_BITS | (nr > 1 ? CPU_MULTI_CORE : 0), .family2 = UNKNOWN,
		.cores2 = nr, .cores_enabled2 = nr, .threads2 = nr,
	};
	__u32 vendor[4] = { 0 }, brand[13] = { 0 }, ebx, ecx;
	const char *name = (const char *)brand;

	__cpuid(0, ebx, vendor[0], vendor[2], vendor[1]);
	__cpuid(1, processor.signature, ebx, ecx, processor.features);
	for (unsigned int i = 0; i < 3 && __get_cpuid_max(0x80000000, NULL) >= 0x80000004; i++)
		__cpuid(0x80000002 + i, brand[4 * i], brand[4 * i + 1], brand[4 * i + 2], brand[4 * i + 3]);
	name += strspn(name, " ");
	/* A string that is empty would be the end of all. */
	put(smbios, TYPE_PROCESSOR, 0, &processor.header, sizeof(processor),
	    (const char *[]) { "CPU 0", (const char *)vendor, *name ? name : "unknown", NULL });
}

static void put_range(struct smbios *smbios, unsigned int nth, __u64 first, __u64 size)
{
	__u64 last = first + size - 1;
	bool is_extended = last >> 10 >= EXTENDED_RANGE;
	struct memory_range range = {
		.first = is_extended ? EXTENDED_RANGE : first >> 10,
		.last = is_extended ? EXTENDED_RANGE : last >> 10,
		.array = TYPE_MEMORY_ARRAY << 8, .width = 1,
		.extended_first = is_extended ? first : 0, .extended_last = is_extended ? last : 0,
	};

	put(smbios, TYPE_MEMORY_RANGE, nth, &range.header, sizeof(range), NULL);
}

/* One module, whatever its size, on both sides of the hole below 4 GiB. */
static void put_memory(struct smbios *smbios, const struct vm *vm)
{
	__u64 size = vm->low + vm->high;
	bool is_large = size >> 10 >= EXTENDED_CAPACITY, is_extended = size >> 20 >= EXTENDED_SIZE;
	struct memory_array array = {
		.location = SYSTEM_BOARD, .use = SYSTEM_MEMORY, .correction = NO_CORRECTION,
		.capacity = is_large ? EXTENDED_CAPACITY : size >> 10, .error = NO_ERROR_STRUCTURE, .nr = 1,
		.extended_capacity = is_large ? size : 0,
	};
	struct memory_device device = {
		.array = TYPE_MEMORY_ARRAY << 8, .error = NO_ERROR_STRUCTURE, .total_width = WIDTH_UNKNOWN,
		.data_width = WIDTH_UNKNOWN, .size = is_extended ? EXTENDED_SIZE : size >> 20,
		.form = FORM_DIMM, .locator = 1, .type = TYPE_RAM, .detail = DETAIL_OTHER, .manufacturer = 2,
		.extended_size = is_extended ? size >> 20 : 0,
	};

	put(smbios, TYPE_MEMORY_ARRAY, 0, &array.header, sizeof(array), NULL);
	put(smbios, TYPE_MEMORY_DEVICE, 0, &device.header, sizeof(device),
	    (const char *[]) { "DIMM 0", "mote", NULL });
	put_range(smbios, 0, 0, vm->low);
	if (vm->high)
		put_range(smbios, 1, HIGH_MEMORY, vm->high);
}

static void make_entry(struct smbios *smbios)
{
	struct smbios_entry *entry = &smbios->entry;

	*entry = (struct smbios_entry) {
		.anchor = "_SM_", .length = sizeof(*entry), .major = 2, .minor = 8, .most = smbios->most,
		.dmi = "_DMI_", .table_size = smbios->size, .nr = smbios->nr, .bcd_revision = 0x28,
	};
	entry->dmi_checksum = checksum(&entry->dmi, sizeof(*entry) - offsetof(struct smbios_entry, dmi));
	entry->checksum = checksum(entry, sizeof(*entry));
}

void smbios_make(struct smbios *smbios, const struct vm *vm)
{
	struct boot boot = { .status = 0 };
	struct structure end;

	memset(smbios, 0, sizeof(*smbios));
	if (!vm->options->firmware)
		put_bios(smbios);
	put_system(smbios, vm);
	put_processor(smbios, vm->options->cpus);
	put_memory(smbios, vm);
	put(smbios, TYPE_BOOT, 0, &boot.header, sizeof(boot), NULL);
	put(smbios, TYPE_END, 0, &end, sizeof(end), NULL);
	make_entry(smbios);
}

/* "SMBIOS 3.0 (64-bit) Entry Point" */
struct entry3 {
	char anchor[5];
	__u8 checksum, length, major, minor, docrev, revision, reserved;
	__u32 most_size;
	__u64 table;
} PACKED;

int smbios_write(struct vm *vm)
{
	struct entry3 entry = {
		.anchor = "_SM3_", .length = sizeof(entry), .major = 3, .revision = 1,
		.table = SMBIOS + 2 * ALIGNMENT,
	};
	struct smbios smbios;

	smbios_make(&smbios, vm);
	entry.most_size = smbios.size;
	entry.checksum = checksum(&entry, sizeof(entry));
	if (place_at(vm, "the machine", SMBIOS, 2 * ALIGNMENT + smbios.size, "SMBIOS") ||
	    load_bytes(vm, SMBIOS, &entry, sizeof(entry)))
		return -1;
	return load_bytes(vm, entry.table, smbios.bytes, smbios.size);
}
