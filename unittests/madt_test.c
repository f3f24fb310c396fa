// SPDX-License-Identifier: GPL-2.0
/*
 * Many processors: the MADT has each of them once, in a row that is wide enough for its id, and
 * what a guest's message names as its destination is where MOTE_MSI looks for it.
 */
#include <stdlib.h>
#include <string.h>

#include "../userspace/runner/acpi.c"
#include "irq.h"
#include "tests.h"

#define GPA 0xe0000
#define ALL_IDS 1024

static __u8 memory[ACPI_TABLES_MOST + 4096];

int place_at(struct vm *vm, const char *path, __u64 gpa, __u64 size, const char *what)
{
	return gpa != GPA || size > sizeof(memory);
}

int load_bytes(struct vm *vm, __u64 gpa, const void *data, size_t size)
{
	memcpy(memory + gpa - GPA, data, size);
	return 0;
}

/* The table with this signature that the XSDT leads to. */
static const struct header *find_table(const char *signature, __u64 gpa)
{
	struct acpi_rsdp rsdp;
	const struct header *xsdt;

	memcpy(&rsdp, memory + gpa - GPA, sizeof(rsdp));
	xsdt = (void *)(memory + rsdp.xsdt - GPA);
	for (size_t at = sizeof(*xsdt); at < xsdt->length; at += sizeof(__u64)) {
		const struct header *table;
		__u64 where;

		memcpy(&where, (const char *)xsdt + at, sizeof(where));
		table = (void *)(memory + where - GPA);
		if (!memcmp(table->signature, signature, 4))
			return table;
	}
	return NULL;
}

struct found {
	unsigned char rows[ALL_IDS];	/* by id */
	unsigned int nmis, wide_nmis;
	bool is_whole;
};

static void look_at_row(const __u8 *row, struct found *found)
{
	const struct madt_x2apic_nmi *wide_nmi = (void *)row;
	const struct madt_lapic *lapic = (void *)row;
	const struct madt_x2apic *x2apic = (void *)row;
	const struct madt_nmi *nmi = (void *)row;

	switch (row[0]) {
	case 0:
		CHECK(row[1] == 8 && lapic->processor == lapic->id && lapic->flags == 1);
		found->rows[lapic->id]++;
		break;
	case 4:
		CHECK(row[1] == 6 && nmi->processor == 0xff && nmi->pin == 1 && !nmi->flags);
		found->nmis++;
		break;
	case 9:
		CHECK(row[1] == 16 && x2apic->processor == x2apic->id && x2apic->flags == 1);
		/* Smaller ids have rows of the old type. */
		CHECK(x2apic->id >= 255 && x2apic->id < ALL_IDS);
		found->rows[x2apic->id % ALL_IDS]++;
		break;
	case 0xa:
		CHECK(row[1] == 12 && wide_nmi->processor == 0xffffffff && wide_nmi->pin == 1);
		found->wide_nmis++;
		break;
	}
}

static void look_at_madt(unsigned int nr, struct found *found)
{
	struct vm vm = { .nr_vcpus = nr };
	const struct header *madt;
	const __u8 *row;
	__u64 rsdp;

	memset(found, 0, sizeof(*found));
	memset(memory, 0xcc, sizeof(memory));
	EQ(0, acpi_write_tables(&vm, GPA, &rsdp));
	madt = find_table("APIC", rsdp);
	CHECK(madt);
	if (!madt)
		return;
	EQ(0, checksum((const __u8 *)madt, madt->length));
	row = (const __u8 *)madt + sizeof(struct madt);
	while (row < (const __u8 *)madt + madt->length && row[1]) {
		look_at_row(row, found);
		row += row[1];
	}
	found->is_whole = row == (const __u8 *)madt + madt->length;
}

static void each_processor_once(void)
{
	static struct found found;

	for (unsigned int nr = 1; nr <= MOST_CPUS; nr++) {
		look_at_madt(nr, &found);
		CHECK(found.is_whole);
		for (unsigned int id = 0; id < ALL_IDS; id++)
			EQ(id < nr, found.rows[id]);
		EQ(1, found.nmis);
		EQ(nr > 255, found.wide_nmis);
	}
}

/* iasl has an opinion, too, on the largest one. */
static void iasl_reads_it(void)
{
	char directory[] = "/tmp/madt_test.XXXXXX", command[256];
	const struct header *madt;
	struct vm vm = { .nr_vcpus = MOST_CPUS };
	__u64 rsdp;
	FILE *file;

	CHECK(mkdtemp(directory));
	EQ(0, acpi_write_tables(&vm, GPA, &rsdp));
	madt = find_table("APIC", rsdp);
	snprintf(command, sizeof(command), "%s/madt.dat", directory);
	file = fopen(command, "wb");
	CHECK(file && madt);
	if (file && madt) {
		EQ(1, fwrite(madt, madt->length, 1, file));
		fclose(file);
		snprintf(command, sizeof(command),
			 "cd %s && iasl -d madt.dat > out 2>&1 && ! grep -qiE 'unknown|invalid|incorrect' out madt.dsl &&"
			 " test $(grep -c 'Local x2APIC]' madt.dsl) = %u", directory, MOST_CPUS - 255);
		EQ(0, system(command));
	}
	snprintf(command, sizeof(command), "rm -r %s", directory);
	EQ(0, system(command));
}

/* As the kernel reads it: mote_lapic_msi(). */
static __u32 destination(const struct mote_msi *msi)
{
	return (msi->address >> 12 & 0xff) | (msi->address >> 32 & 0xffffff00);
}

static void destinations(void)
{
	for (__u32 id = 0; id < 1 << 15; id++) {
		struct mote_msi msi =
			msi_of_guest(LAPIC_BASE | (id & 0xff) << 12 | (id >> 8) << 5 | 1 << 2, 0x4041);

		EQ(id, destination(&msi));
		EQ(LAPIC_BASE | (id & 0xff) << 12 | 1 << 2, (__u32)msi.address);
		EQ(0x4041, msi.data);
	}
}

static const struct unit_test tests[] = {
	{ "each processor has one row of the MADT", each_processor_once },
	{ "iasl reads the MADT of 1,024", iasl_reads_it },
	{ "destinations of 15 bits", destinations },
};

int main(void)
{
	return run_all(tests, ARRAY_SIZE(tests));
}
