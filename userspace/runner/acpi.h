/* SPDX-License-Identifier: GPL-2.0 */
/* ACPI: its ports, which dsdt.asl, acpi.c and dev/acpi_pm.c agree on, and its tables. */
#ifndef ACPI_H
#define ACPI_H

#include <linux/types.h>

struct vm;

#define ACPI_PM_EVENT 0x600
#define ACPI_PM_CONTROL 0x604
#define ACPI_PM_TIMER 0x608
/* Bytes of the first table. */
#define ACPI_RSDP_SIZE 36
/* SLP_TYP of S5, as dsdt.asl says. */
#define ACPI_S5 5

/**
 * acpi_write_tables() - put the tables into the guest's memory
 * @vm: with its vCPUs
 * @gpa: where there is room
 * @rsdp: out: where the first one is
 * Return: 0, or -1 after a complaint
 */
int acpi_write_tables(struct vm *vm, __u64 gpa, __u64 *rsdp);

int acpi_pm_create(struct vm *vm);
/* Press it; the lock is held. */
void acpi_power_button(struct vm *vm);

#endif /* ACPI_H */
