/* SPDX-License-Identifier: GPL-2.0 */
/* ACPI: its ports, which dsdt.asl, acpi.c and dev/acpi_pm.c agree on, and its tables. */
#ifndef ACPI_H
#define ACPI_H

#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>

struct vm;

#define ACPI_PM_EVENT 0x600
#define ACPI_PM_CONTROL 0x604
#define ACPI_PM_TIMER 0x608
/* General-purpose events: a byte of status bits, and one of enable bits. */
#define ACPI_GPE 0x60c
#define GPE_GENERATION 0
/* 16 bytes that say which generation of the machine this is (dev/generation.c). */
#define ACPI_GENERATION 0xfed30000ull
/* SLP_TYP of S5, as dsdt.asl says. */
#define ACPI_S5 5

#define ACPI_TABLES_MOST 24576
/* Of each table; FACS wants the most. */
#define ACPI_ALIGNMENT 64
/* To tables, in all of them; and checksums of all of them. */
#define ACPI_POINTERS 9
#define ACPI_SUMS 6

/* "Root System Description Pointer": the first table, which leads to the others. */
struct acpi_rsdp {
	char signature[8];
	__u8 checksum;
	char oem[6];
	__u8 revision;
	__u32 rsdt;
	__u32 length;
	__u64 xsdt;
	__u8 extended_checksum;
	__u8 reserved[3];
} __attribute__((packed));

/* Where the tables' address is to be added: in them, or in the first one. */
struct acpi_pointer {
	bool in_rsdp;
	__u16 at;
	__u16 size;
};

/* Where a checksum belongs, which is 0 so far, and of what. */
struct acpi_sum {
	bool in_rsdp;
	__u16 at;
	__u16 first;
	__u16 size;
};

/**
 * struct acpi_tables - the tables before anybody knows where they will be
 * @rsdp: the first one
 * @bytes: all others
 * @size: of those
 * @pointers: what is to be added to, of what they are
 * @nr_pointers: how many
 * @sums: checksums that are to be made then
 * @nr_sums: how many
 */
struct acpi_tables {
	struct acpi_rsdp rsdp;
	__u8 bytes[ACPI_TABLES_MOST];
	size_t size;
	struct acpi_pointer pointers[ACPI_POINTERS];
	unsigned int nr_pointers;
	struct acpi_sum sums[ACPI_SUMS];
	unsigned int nr_sums;
};

/* Make them for so many vCPUs. */
void acpi_make_tables(struct acpi_tables *tables, unsigned int nr_cpus);

/**
 * acpi_write_tables() - put the tables into the guest's memory
 * @vm: with its vCPUs
 * @gpa: where they go; what they take is claimed
 * @rsdp: out: where the first one is
 * Return: 0, or -1 after a complaint
 */
int acpi_write_tables(struct vm *vm, __u64 gpa, __u64 *rsdp);

int acpi_pm_create(struct vm *vm);
/* Press it. */
void acpi_power_button(struct vm *vm);
/* Something has happened; the lock is held. */
void acpi_event(struct vm *vm, unsigned int gpe);
int generation_create(struct vm *vm);

#endif /* ACPI_H */
