// SPDX-License-Identifier: GPL-2.0
/*
 * The ACPI tables: RSDP, XSDT, FADT, FACS, MADT, and the DSDT that iasl has
 * compiled.  ACPI 6.4, "ACPI Software Programming Model"; the fixed hardware that
 * the FADT names is in dev/acpi_pm.c.
 */
#include <string.h>

#include "acpi.h"
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

struct rsdp {
	char signature[8];
	__u8 checksum;
	char oem[6];
	__u8 revision;
	__u32 rsdt;
	__u32 length;
	__u64 xsdt;
	__u8 extended_checksum;
	__u8 reserved[3];
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

#define POLARITY_HIGH 1
#define TRIGGER_LEVEL (3u << 2)
#define ALL_PROCESSORS 0xff

static __u8 checksum(const void *data, size_t size)
{
	const __u8 *byte = data;
	__u8 sum = 0;

	while (size--)
		sum += *byte++;
	return -sum;
}

static __u64 put_table(struct layout *layout, struct header *header, const char *signature,
		       unsigned int revision, size_t size)
{
	memcpy(header->signature, signature, 4);
	header->length = size;
	header->revision = revision;
	memcpy(header->oem, "MOTE  ", 6);
	memcpy(header->oem_table, "MOTE    ", 8);
	header->oem_revision = 1;
	memcpy(header->creator, "MOTE", 4);
	header->creator_revision = 1;
	header->checksum = 0;
	header->checksum = checksum(header, size);
	return layout_put(layout, header, size);
}

static __u64 put_facs(struct layout *layout)
{
	const struct facs facs = { .signature = "FACS", .length = sizeof(facs), .version = 2 };

	return layout_put(layout, &facs, sizeof(facs));
}

static struct address port(__u64 first, unsigned int bytes)
{
	return (struct address) { SPACE_IO, 8 * bytes, 0, bytes == 4 ? 3 : bytes, first };
}

static __u64 put_fadt(struct layout *layout, __u64 facs, __u64 dsdt)
{
	struct fadt fadt = {
		.facs = facs, .dsdt = dsdt, .x_dsdt = dsdt, .sci = LINE_ACPI,
		.pm1a_event = ACPI_PM_EVENT, .pm1_event_length = 4,
		.pm1a_control = ACPI_PM_CONTROL, .pm1_control_length = 2,
		.pm_timer = ACPI_PM_TIMER, .pm_timer_length = 4,
		.x_pm1a_event = port(ACPI_PM_EVENT, 4), .x_pm1a_control = port(ACPI_PM_CONTROL, 2),
		.x_pm_timer = port(ACPI_PM_TIMER, 4),
		.c2_latency = NO_C2, .c3_latency = NO_C3, .century = CMOS_CENTURY,
		.boot = BOOT_LEGACY_DEVICES | BOOT_NO_VGA | BOOT_NO_ASPM,
		.flags = FADT_WBINVD | FADT_NO_SLEEP_BUTTON | FADT_TIMER_32_BITS | FADT_RESET,
		.reset = port(RESET_PORT, 1), .reset_value = RESET_VALUE, .minor = 4,
	};

	/* The event block is two registers of 16 bits. */
	fadt.x_pm1a_event.access = 2;
	return put_table(layout, &fadt.header, "FACP", 6, sizeof(fadt));
}

static __u64 put_madt(struct layout *layout)
{
	unsigned int nr = layout->vm->nr_vcpus;
	struct {
		struct madt madt;
		struct madt_ioapic ioapic;
		struct madt_override timer, sci;
		struct madt_nmi nmi;
		struct madt_lapic lapics[256];
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

	for (unsigned int i = 0; i < nr; i++)
		table.lapics[i] = (struct madt_lapic) {
			.length = sizeof(table.lapics[i]), .processor = i, .id = i, .flags = 1,
		};
	return put_table(layout, &table.madt.header, "APIC", 5,
			 offsetof(typeof(table), lapics) + nr * sizeof(table.lapics[0]));
}

static __u64 put_rsdp(struct layout *layout, __u64 xsdt)
{
	struct rsdp rsdp = {
		.signature = "RSD PTR ", .oem = "MOTE  ", .revision = 2, .length = sizeof(rsdp),
		.xsdt = xsdt,
	};

	/* The first checksum is of what ACPI 1.0 had. */
	rsdp.checksum = checksum(&rsdp, offsetof(struct rsdp, length));
	rsdp.extended_checksum = checksum(&rsdp, sizeof(rsdp));
	return layout_put(layout, &rsdp, sizeof(rsdp));
}

int acpi_write_tables(struct vm *vm, __u64 gpa, __u64 *rsdp)
{
	struct layout layout = { .vm = vm, .at = gpa, .end = gpa + FIRMWARE_TABLES };
	struct {
		struct header header;
		__u64 tables[2];
	} PACKED xsdt;
	__u64 dsdt = layout_put(&layout, dsdt_aml_code, sizeof(dsdt_aml_code));

	memset(&xsdt, 0, sizeof(xsdt));
	xsdt.tables[0] = put_fadt(&layout, put_facs(&layout), dsdt);
	xsdt.tables[1] = put_madt(&layout);
	*rsdp = put_rsdp(&layout, put_table(&layout, &xsdt.header, "XSDT", 1, sizeof(xsdt)));
	return layout.err;
}
