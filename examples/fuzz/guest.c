// SPDX-License-Identifier: GPL-2.0
/*
 * Linux's 64-bit boot protocol (Documentation/arch/x86/boot.rst), and the least that the kernel
 * wants of a machine: memory, a local APIC that an MP table names, the paravirtual clock, and CPUID.
 * Ports and memory where nothing is read as ones, and take what is written.
 *
 *	0x10000   boot parameters       0x20000   command line
 *	0x11000   page tables           0xf0000   MP table
 *	0x1000000 or where the kernel prefers to be: the kernel; at the end of memory: the initrd
 */
#include <asm/bootparam.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "guest.h"

#define MEMORY (128ull << 20)
#define PARAMETERS 0x10000
#define PML4 0x11000
#define COMMAND_LINE 0x20000
#define LOW_END 0x9f000
#define MP_TABLE 0xf0000
#define HIGH_BEGIN 0x100000

#define SECTOR 512
#define ENTRY_64 0x200
#define PAGE_SIZE 4096ull
#define APIC_BASE 0xfee00000u
#define VECTOR_GP 13
#define PORT_SERIAL 0x3f8

#define CR0_PE_ET_PG 0x80000011u
#define CR4_PAE 0x20
#define EFER_LME_LMA 0x500
#define CODE_64 0xa09b
#define DATA 0xc093
#define TSS_BUSY 0x8b

void die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fputs("fuzz: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	exit(1);
}

static void check(int err, const char *what)
{
	if (err < 0)
		die("%s: %s", what, strerror(-err));
}

/* ---- loading ------------------------------------------------------------------ */

static void *map_file(const char *path, size_t *size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat status;
	void *data;

	if (fd < 0 || fstat(fd, &status))
		die("%s: %s", path, strerror(errno));
	*size = status.st_size;
	data = mmap(NULL, *size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (data == MAP_FAILED)
		die("%s: %s", path, strerror(errno));
	close(fd);
	return data;
}

static void put(struct guest *guest, __u64 gpa, const void *data, size_t size)
{
	if (mote_machine_write(&guest->machine, gpa, data, size))
		die("%zu bytes at %#llx do not fit into %llu MiB of memory", size, gpa, MEMORY >> 20);
}

/* Tables that map the first GiB, where all of the memory is, by pages of 2 MiB. */
static void put_page_tables(struct guest *guest)
{
	__u64 pdpt = PML4 + PAGE_SIZE, pd = pdpt + PAGE_SIZE;
	__u64 entry = pdpt | 3;

	put(guest, PML4, &entry, sizeof(entry));
	entry = pd | 3;
	put(guest, pdpt, &entry, sizeof(entry));
	for (__u64 i = 0; i < 512; i++) {
		entry = i << 21 | 0x83;
		put(guest, pd + 8 * i, &entry, sizeof(entry));
	}
}

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
	put(guest, MP_TABLE, &table, sizeof(table));
}

/* Return: where the kernel begins. */
static __u64 load(struct guest *guest, const char *kernel, const char *initrd, const char *append)
{
	size_t kernel_size, initrd_size, setup;
	const unsigned char *image = map_file(kernel, &kernel_size);
	const void *files = map_file(initrd, &initrd_size);
	struct boot_params parameters = {
		.e820_entries = 2,
		.e820_table = { { 0, LOW_END, 1 }, { HIGH_BEGIN, MEMORY - HIGH_BEGIN, 1 } },
	};

	if (kernel_size < sizeof(parameters))
		die("%s is no bzImage", kernel);
	memcpy(&parameters.hdr, image + offsetof(struct boot_params, hdr), sizeof(parameters.hdr));
	setup = (parameters.hdr.setup_sects + 1) * SECTOR;
	if (memcmp(&parameters.hdr.header, "HdrS", 4) || !(parameters.hdr.xloadflags & XLF_KERNEL_64) ||
	    kernel_size < setup)
		die("%s is no bzImage with a 64-bit entry", kernel);
	parameters.hdr.type_of_loader = 0xff;
	parameters.hdr.cmd_line_ptr = COMMAND_LINE;
	parameters.hdr.ramdisk_image = (MEMORY - initrd_size) & ~(PAGE_SIZE - 1);
	parameters.hdr.ramdisk_size = initrd_size;
	put(guest, PARAMETERS, &parameters, sizeof(parameters));
	put(guest, COMMAND_LINE, append, strlen(append) + 1);
	put(guest, parameters.hdr.pref_address, image + setup, kernel_size - setup);
	put(guest, parameters.hdr.ramdisk_image, files, initrd_size);
	put_page_tables(guest);
	put_mp_table(guest);
	munmap((void *)image, kernel_size);
	munmap((void *)files, initrd_size);
	return parameters.hdr.pref_address + ENTRY_64;
}

/* ---- the machine ---------------------------------------------------------------- */

static void set_cpuid(struct guest *guest)
{
	struct mote_cpuid_entry rows[MOTE_MAX_CPUID];
	struct mote_cpuid_table table = { .nr = MOTE_MAX_CPUID, .entries = (unsigned long)rows };

	check(mote_get_cpuid(guest->fd, &table), "CPUID");
	check(mote_set_cpuid(guest->cpu.fd, &table), "MOTE_SET_CPUID");
}

static void set_registers(struct guest *guest, __u64 entry)
{
	struct mote_state state = {
		.mask = MOTE_STATE_GPRS | MOTE_STATE_SEGS | MOTE_STATE_CRS | MOTE_STATE_MSRS,
	};

	check(mote_get_state(guest->cpu.fd, &state), "MOTE_GET_STATE");
	state.gprs = (struct mote_gprs) { .rip = entry, .rflags = 2, .gpr[MOTE_RSI] = PARAMETERS };
	for (int i = MOTE_ES; i <= MOTE_GS; i++)
		state.segs.seg[i] = (struct mote_segment) {
			.selector = i == MOTE_CS ? 0x10 : 0x18, .limit = 0xffffffff,
			.attr = i == MOTE_CS ? CODE_64 : DATA,
		};
	state.segs.seg[MOTE_TR] = (struct mote_segment) { .selector = 0x20, .limit = 0x67, .attr = TSS_BUSY };
	state.crs.cr0 = CR0_PE_ET_PG;
	state.crs.cr3 = PML4;
	state.crs.cr4 = CR4_PAE;
	state.msrs.efer = EFER_LME_LMA;
	state.msrs.mtrr_def_type = 0x806;	/* all is write-back */
	check(mote_set_state(guest->cpu.fd, &state), "MOTE_SET_STATE");
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
	set_registers(guest, load(guest, kernel, initrd, append));
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
