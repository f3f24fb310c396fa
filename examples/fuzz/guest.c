// SPDX-License-Identifier: GPL-2.0
/*
 * The least that Linux wants of a machine: memory, a local APIC that an MP table names (at 0xf0000), the
 * paravirtual clock, and CPUID.  Ports and memory where nothing is read as ones, and take what is written.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "guest.h"

#define MEMORY (128ull << 20)
#define MP_TABLE 0xf0000

#define PAGE_SIZE 4096ull
#define APIC_BASE 0xfee00000u
#define VECTOR_GP 13
#define PORT_SERIAL 0x3f8

static __u8 checksum(const void *data, size_t size)
{
	const __u8 *byte = data;
	__u8 sum = 0;

	while (size--)
		sum -= *byte++;
	return sum;
}

/* One processor with its local APIC (MultiProcessor Specification 1.4, chapter 4). */
static void put_mp_table(struct guest *guest)
{
	struct {
		struct {
			char signature[4];
			__u32 table;
			__u8 length, revision, checksum, features[5];
		} pointer;
		struct {
			char signature[4];
			__u16 length;
			__u8 revision, checksum;
			char oem[8], product[12];
			__u32 oem_table;
			__u16 oem_size, entries;
			__u32 apic, extended;
		} head;
		struct {
			__u8 type, id, version, flags;
			__u32 signature, features, reserved[2];
		} cpu;
	} table = {
		.pointer = { "_MP_", MP_TABLE + sizeof(table.pointer), 1, 4 },
		.head = {
			.signature = "PCMP", .length = sizeof(table.head) + sizeof(table.cpu), .revision = 4,
			.entries = 1, .apic = APIC_BASE,
		},
		.cpu = { .version = 0x14, .flags = 3 },
	};

	table.pointer.checksum = checksum(&table.pointer, sizeof(table.pointer));
	table.head.checksum = checksum(&table.head, table.head.length);
	put(&guest->machine, MP_TABLE, &table, sizeof(table));
}

static void set_cpuid(struct guest *guest)
{
	struct mote_cpuid_entry rows[MOTE_MAX_CPUID];
	struct mote_cpuid_table table = { .nr = MOTE_MAX_CPUID, .entries = (unsigned long)rows };

	check(mote_get_cpuid(guest->fd, &table), "CPUID");
	check(mote_set_cpuid(guest->cpu.fd, &table), "MOTE_SET_CPUID");
}

void guest_boot(struct guest *guest, const char *kernel, const char *initrd, const char *append)
{
	void *memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	const struct mote_slot slot = { .size = MEMORY, .hva = (unsigned long)memory };

	guest->fd = mote_open();
	check(guest->fd, MOTE_DEVICE);
	check(mote_machine_create(&guest->machine, guest->fd, MOTE_VM_LAPIC | MOTE_VM_HLT_EXIT),
	      "MOTE_CREATE_VM");
	check(memory == MAP_FAILED ? -errno : mote_machine_set_slot(&guest->machine, &slot), "MOTE_SET_SLOT");
	check(mote_cpu_create(&guest->cpu, &guest->machine, 0), "MOTE_CREATE_VCPU");
	set_cpuid(guest);
	put_mp_table(guest);
	linux_boot(&guest->cpu, MEMORY, kernel, initrd, append);
}

/* ---- running -------------------------------------------------------------------- */

static __u64 mmio_read(void *context, __u64 gpa, unsigned int size)
{
	struct guest *guest = context;
	struct mote_apic_access access = { .offset = gpa - APIC_BASE };

	if (gpa - APIC_BASE < PAGE_SIZE && !mote_apic_access(guest->cpu.fd, &access))
		return access.value;
	return ~0ull;
}

static void mmio_write(void *context, __u64 gpa, unsigned int size, __u64 data)
{
	struct guest *guest = context;
	struct mote_apic_access access = { .offset = gpa - APIC_BASE, .write = 1, .value = data };

	if (gpa - APIC_BASE < PAGE_SIZE)
		mote_apic_access(guest->cpu.fd, &access);
}

static __u32 port_in(void *context, __u16 port, unsigned int size)
{
	struct guest *guest = context;

	if (port != PORT_FUZZ || !guest->nr_input)
		return ~0u;
	guest->nr_input--;
	return *guest->input++;
}

static void port_out(void *context, __u16 port, unsigned int size, __u32 data)
{
	struct guest *guest = context;

	if (port == PORT_SERIAL && guest->verbose)
		fputc(data, stderr);
	if (port == PORT_FUZZ && guest->nr_said < sizeof(guest->said) - 1)
		guest->said[guest->nr_said++] = data;
}

/* Strings are data; what else goes by init's port ends the run. */
static bool is_word(const struct mote_pio *pio)
{
	return pio->port == PORT_FUZZ && !(pio->flags & MOTE_PIO_STRING);
}

enum guest_stop guest_run(struct guest *guest)
{
	const struct mote_bus bus = { guest, mmio_read, mmio_write, port_in, port_out };
	const struct mote_event refused = {
		.valid = 1, .type = MOTE_EVENT_EXCEPTION, .vector = VECTOR_GP, .has_error = 1,
	};
	struct mote_run *run = guest->cpu.run;
	int err = 0;

	while (!err) {
		err = mote_run(guest->cpu.fd);
		if (err == -EINTR) {
			if (run->immediate_exit)
				return GUEST_STOPPED;
			err = 0;
			continue;
		}
		check(err, "MOTE_RUN");
		switch (run->reason) {
		case MOTE_EXIT_PIO:
			if (is_word(&run->pio))
				return run->pio.flags & MOTE_PIO_IN ? GUEST_ASKS : GUEST_ANSWERS;
			err = mote_complete_pio(&guest->cpu, &bus);
			break;
		case MOTE_EXIT_MMIO:
			err = mote_complete_mmio(&guest->cpu, &bus);
			break;
		case MOTE_EXIT_RDMSR:
		case MOTE_EXIT_WRMSR:
			err = mote_inject(guest->cpu.fd, &refused);
			break;
		case MOTE_EXIT_HLT:
			return GUEST_HALTS;
		default:
			return GUEST_CRASHES;
		}
	}
	/* An access to what is no memory, by an instruction that no driver has. */
	return GUEST_CRASHES;
}

void guest_give(struct guest *guest, const unsigned char *input, size_t size)
{
	struct mote_run *run = guest->cpu.run;

	guest->input = input;
	guest->nr_input = size;
	run->gpr[MOTE_RAX] = size;
	run->set |= 1u << MOTE_RAX | MOTE_SET_COMPLETE;
}

unsigned char *guest_at(struct guest *guest, __u64 gva)
{
	struct mote_state state = { .mask = MOTE_STATE_CRS | MOTE_STATE_MSRS };
	struct mote_paging paging;
	__u64 gpa;

	check(mote_get_state(guest->cpu.fd, &state), "MOTE_GET_STATE");
	paging = (struct mote_paging) {
		.cr0 = state.crs.cr0, .cr3 = state.crs.cr3, .cr4 = state.crs.cr4, .efer = state.msrs.efer,
	};
	if (mote_walk(&guest->machine, &paging, gva, MOTE_ACCESS_PEEK, &gpa, NULL))
		return NULL;
	return mote_machine_hva(&guest->machine, gpa, 1);
}
