// SPDX-License-Identifier: GPL-2.0
/*
 * The ACPI tables: RSDP, RSDT, XSDT, FADT, FACS, MADT, and the DSDT that iasl has
 * compiled.  ACPI 6.4, "ACPI Software Programming Model"; the fixed hardware that
 * the FADT names is in dev/acpi_pm.c.
 *
 * Somebody has to link them: firmware, which puts them where it likes, or we do.
 */
#include <string.h>

#include "acpi.h"
#include "checksum.h"
#include "dsdt.hex"
#include "loader.h"
#include "runner.h"

#define PACKED __attribute__((packed))

struct header {
	char signature[4];
	__u32 length;
	__u8 revision;
	__u8 checksum;
	char oem[6];
	char oem_table[8];
	__u32 oem_revision;
	char creator[4];
	__u32 creator_revision;
} PACKED;

struct address {
	__u8 space, width, offset, access;
	__u64 address;
} PACKED;

#define SPACE_IO 1

struct fadt {
	struct header header;
	__u32 facs, dsdt;
	__u8 reserved, profile;
	__u16 sci;
	__u32 smi_command;
	__u8 acpi_enable, acpi_disable, s4bios, pstate;
	__u32 pm1a_event, pm1b_event, pm1a_control, pm1b_control, pm2_control, pm_timer, gpe0, gpe1;
	__u8 pm1_event_length, pm1_control_length, pm2_control_length, pm_timer_length;
	__u8 gpe0_length, gpe1_length, gpe1_base, cst;
	__u16 c2_latency, c3_latency, flush_size, flush_stride;
	__u8 duty_offset, duty_width, day_alarm, month_alarm, century;
	__u16 boot;
	__u8 reserved2;
	__u32 flags;
	struct address reset;
	__u8 reset_value;
	__u16 arm_boot;
	__u8 minor;
	__u64 x_facs, x_dsdt;
	struct address x_pm1a_event, x_pm1b_event, x_pm1a_control, x_pm1b_control, x_pm2_control,
		       x_pm_timer, x_gpe0, x_gpe1, sleep_control, sleep_status;
	__u64 hypervisor;
} PACKED;

#define BOOT_LEGACY_DEVICES (1u << 0)
#define BOOT_NO_VGA (1u << 2)
#define BOOT_NO_ASPM (1u << 4)
#define FADT_WBINVD (1u << 0)
#define FADT_NO_SLEEP_BUTTON (1u << 5)
#define FADT_FIX_RTC (1u << 6)		/* the alarm is no event of ACPI's: nothing sleeps here */
#define FADT_TIMER_32_BITS (1u << 8)
#define FADT_RESET (1u << 10)
#define RESET_PORT 0xcf9
#define RESET_VALUE 6
/* More latency than C2 and C3 may have: they are not there. */
#define NO_C2 101
#define NO_C3 1001
#define CMOS_CENTURY 0x32

struct facs {
	char signature[4];
	__u32 length, hardware_signature, waking_vector, lock, flags;
	__u64 x_waking_vector;
	__u8 version;
	__u8 reserved[31];
} PACKED;

struct madt {
	struct header header;
	__u32 lapic;
	__u32 flags;
} PACKED;

#define MADT_8259S 1

struct madt_lapic {
	__u8 type, length, processor, id;
	__u32 flags;
} PACKED;

struct madt_x2apic {
	__u8 type, length;
	__u16 reserved;
	__u32 id, flags, processor;
} PACKED;

struct madt_ioapic {
	__u8 type, length, id, reserved;
	__u32 address, base;
} PACKED;

struct madt_override {
	__u8 type, length, bus, source;
	__u32 pin;
	__u16 flags;
} PACKED;

struct madt_nmi {
	__u8 type, length, processor;
	__u16 flags;
	__u8 pin;
} PACKED;

struct madt_x2apic_nmi {
	__u8 type, length;
	__u16 flags;
	__u32 processor;
	__u8 pin;
	__u8 reserved[3];
} PACKED;

#define POLARITY_HIGH 1
#define TRIGGER_LEVEL (3u << 2)
#define ALL_PROCESSORS 0xff
#define ALL_X2APIC_PROCESSORS 0xffffffff
/* Those with a larger id have rows of another type ("Processor Local x2APIC Structure"). */
#define MOST_LAPICS 255

/* ---- making them ------------------------------------------------------------------- */

static void add_pointer(struct acpi_tables *tables, bool in_rsdp, size_t at, size_t size)
{
	tables->pointers[tables->nr_pointers++] = (struct acpi_pointer) { in_rsdp, at, size };
}

static void add_sum(struct acpi_tables *tables, bool in_rsdp, size_t at, size_t first, size_t size)
{
	tables->sums[tables->nr_sums++] = (struct acpi_sum) { in_rsdp, at, first, size };
}

/* Returns where it is. */
static size_t put(struct acpi_tables *tables, const void *data, size_t size)
{
	size_t at = tables->size;

	memcpy(tables->bytes + at, data, size);
	tables->size = (at + size + ACPI_ALIGNMENT - 1) & ~(size_t)(ACPI_ALIGNMENT - 1);
	return at;
}

static size_t put_table(struct acpi_tables *tables, struct header *header, const char *signature,
			unsigned int revision, size_t size)
{
	size_t at;

	memcpy(header->signature, signature, 4);
	header->length = size;
	header->revision = revision;
	memcpy(header->oem, "MOTE  ", 6);
	memcpy(header->oem_table, "MOTE    ", 8);
	header->oem_revision = 1;
	memcpy(header->creator, "MOTE", 4);
	header->creator_revision = 1;
	header->checksum = 0;
	at = put(tables, header, size);
	add_sum(tables, false, at + offsetof(struct header, checksum), at, size);
	return at;
}

static size_t put_facs(struct acpi_tables *tables)
{
	const struct facs facs = { .signature = "FACS", .length = sizeof(facs), .version = 2 };

	return put(tables, &facs, sizeof(facs));
}

static struct address port(__u64 first, unsigned int bytes)
{
	return (struct address) { SPACE_IO, 8 * bytes, 0, bytes == 4 ? 3 : bytes, first };
}

static size_t put_fadt(struct acpi_tables *tables, size_t facs, size_t dsdt)
{
	struct fadt fadt = {
		.facs = facs, .dsdt = dsdt, .x_dsdt = dsdt, .sci = LINE_ACPI,
		.pm1a_event = ACPI_PM_EVENT, .pm1_event_length = 4,
		.pm1a_control = ACPI_PM_CONTROL, .pm1_control_length = 2,
		.pm_timer = ACPI_PM_TIMER, .pm_timer_length = 4, .gpe0 = ACPI_GPE, .gpe0_length = 2,
		.x_pm1a_event = port(ACPI_PM_EVENT, 4), .x_pm1a_control = port(ACPI_PM_CONTROL, 2),
		.x_pm_timer = port(ACPI_PM_TIMER, 4), .x_gpe0 = port(ACPI_GPE, 2),
		.c2_latency = NO_C2, .c3_latency = NO_C3, .century = CMOS_CENTURY,
		.boot = BOOT_LEGACY_DEVICES | BOOT_NO_VGA | BOOT_NO_ASPM,
		.flags = FADT_WBINVD | FADT_NO_SLEEP_BUTTON | FADT_FIX_RTC | FADT_TIMER_32_BITS |
			 FADT_RESET,
		.reset = port(RESET_PORT, 1), .reset_value = RESET_VALUE, .minor = 4,
	};
	size_t at;

	/* The event block is two registers of 16 bits, that of general-purpose events two of 8. */
	fadt.x_pm1a_event.access = 2;
	fadt.x_gpe0.access = 1;
	at = put_table(tables, &fadt.header, "FACP", 6, sizeof(fadt));
	add_pointer(tables, false, at + offsetof(struct fadt, facs), sizeof(fadt.facs));
	add_pointer(tables, false, at + offsetof(struct fadt, dsdt), sizeof(fadt.dsdt));
	add_pointer(tables, false, at + offsetof(struct fadt, x_dsdt), sizeof(fadt.x_dsdt));
	return at;
}

/* A row for each processor, and for the NMIs of those that have the wider ones.  Return: bytes. */
static size_t fill_processors(__u8 *rows, unsigned int nr_cpus)
{
	const struct madt_x2apic_nmi nmi = {
		.type = 0xa, .length = sizeof(nmi), .processor = ALL_X2APIC_PROCESSORS, .pin = 1,
	};
	size_t size = 0;

	for (unsigned int i = 0; i < nr_cpus && i < MOST_LAPICS; i++) {
		const struct madt_lapic lapic = {
			.length = sizeof(lapic), .processor = i, .id = i, .flags = 1,
		};

		memcpy(rows + size, &lapic, sizeof(lapic));
		size += sizeof(lapic);
	}
	for (unsigned int i = MOST_LAPICS; i < nr_cpus; i++) {
		const struct madt_x2apic x2apic = {
			.type = 9, .length = sizeof(x2apic), .id = i, .flags = 1, .processor = i,
		};

		memcpy(rows + size, &x2apic, sizeof(x2apic));
		size += sizeof(x2apic);
	}
	if (nr_cpus <= MOST_LAPICS)
		return size;
	memcpy(rows + size, &nmi, sizeof(nmi));
	return size + sizeof(nmi);
}

static size_t put_madt(struct acpi_tables *tables, unsigned int nr_cpus)
{
	struct {
		struct madt madt;
		struct madt_ioapic ioapic;
		struct madt_override timer, sci;
		struct madt_nmi nmi;
		__u8 processors[MOST_CPUS * sizeof(struct madt_x2apic)];
	} PACKED table = {
		.madt = { .lapic = LAPIC_BASE, .flags = MADT_8259S },
		.ioapic = { .type = 1, .length = sizeof(table.ioapic), .address = IOAPIC_BASE },
		.timer = { .type = 2, .length = sizeof(table.timer), .source = LINE_TIMER,
			   .pin = 2 },
		.sci = { .type = 2, .length = sizeof(table.sci), .source = LINE_ACPI,
			 .pin = LINE_ACPI, .flags = POLARITY_HIGH | TRIGGER_LEVEL },
		.nmi = { .type = 4, .length = sizeof(table.nmi), .processor = ALL_PROCESSORS,
			 .pin = 1 },
	};

	_Static_assert(sizeof(table) + sizeof(dsdt_aml_code) + 1024 < ACPI_TABLES_MOST, "room for all");
	return put_table(tables, &table.madt.header, "APIC", 5, offsetof(typeof(table), processors) +
			 fill_processors(table.processors, nr_cpus));
}

/* The RSDT for those who know ACPI 1.0 alone, or the XSDT: @size is that of their entries. */
static size_t put_sdt(struct acpi_tables *tables, const char *signature, size_t size,
		      const __u64 entries[], unsigned int nr)
{
	struct {
		struct header header;
		__u8 entries[2 * sizeof(__u64)];
	} PACKED sdt = { 0 };
	size_t at;

	for (unsigned int i = 0; i < nr; i++)
		memcpy(sdt.entries + i * size, &entries[i], size);
	at = put_table(tables, &sdt.header, signature, 1, sizeof(sdt.header) + nr * size);
	for (unsigned int i = 0; i < nr; i++)
		add_pointer(tables, false, at + sizeof(sdt.header) + i * size, size);
	return at;
}

static void make_rsdp(struct acpi_tables *tables, size_t rsdt, size_t xsdt)
{
	struct acpi_rsdp *rsdp = &tables->rsdp;

	*rsdp = (struct acpi_rsdp) {
		.signature = "RSD PTR ", .oem = "MOTE  ", .revision = 2, .length = sizeof(*rsdp),
		.rsdt = rsdt, .xsdt = xsdt,
	};
	add_pointer(tables, true, offsetof(struct acpi_rsdp, rsdt), sizeof(rsdp->rsdt));
	add_pointer(tables, true, offsetof(struct acpi_rsdp, xsdt), sizeof(rsdp->xsdt));
	/* The first one is of what ACPI 1.0 had. */
	add_sum(tables, true, offsetof(struct acpi_rsdp, checksum), 0, offsetof(struct acpi_rsdp, length));
	add_sum(tables, true, offsetof(struct acpi_rsdp, extended_checksum), 0, sizeof(*rsdp));
}

void acpi_make_tables(struct acpi_tables *tables, unsigned int nr_cpus)
{
	__u64 named[2];
	size_t dsdt, rsdt;

	memset(tables, 0, sizeof(*tables));
	dsdt = put(tables, dsdt_aml_code, sizeof(dsdt_aml_code));
	named[0] = put_fadt(tables, put_facs(tables), dsdt);
	named[1] = put_madt(tables, nr_cpus);
	rsdt = put_sdt(tables, "RSDT", sizeof(__u32), named, ARRAY_SIZE(named));
	make_rsdp(tables, rsdt,
		  put_sdt(tables, "XSDT", sizeof(__u64), named, ARRAY_SIZE(named)));
}

/* ---- linking them ------------------------------------------------------------------ */

static __u8 *bytes_of(struct acpi_tables *tables, bool in_rsdp)
{
	return in_rsdp ? (__u8 *)&tables->rsdp : tables->bytes;
}

static void link_tables(struct acpi_tables *tables, __u64 gpa)
{
	for (unsigned int i = 0; i < tables->nr_pointers; i++) {
		const struct acpi_pointer *pointer = &tables->pointers[i];
		__u8 *bytes = bytes_of(tables, pointer->in_rsdp) + pointer->at;
		__u64 value = 0;

		memcpy(&value, bytes, pointer->size);
		value += gpa;
		memcpy(bytes, &value, pointer->size);
	}
	for (unsigned int i = 0; i < tables->nr_sums; i++) {
		const struct acpi_sum *sum = &tables->sums[i];
		__u8 *bytes = bytes_of(tables, sum->in_rsdp);

		bytes[sum->at] = checksum(bytes + sum->first, sum->size);
	}
}

int acpi_write_tables(struct vm *vm, __u64 gpa, __u64 *rsdp)
{
	struct acpi_tables tables;

	acpi_make_tables(&tables, vm->nr_vcpus);
	link_tables(&tables, gpa);
	*rsdp = gpa + tables.size;
	if (place_at(vm, "ACPI", gpa, tables.size + sizeof(tables.rsdp), "the ACPI tables"))
		return -1;
	if (load_bytes(vm, gpa, tables.bytes, tables.size))
		return -1;
	return load_bytes(vm, *rsdp, &tables.rsdp, sizeof(tables.rsdp));
}
