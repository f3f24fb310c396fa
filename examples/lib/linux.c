// SPDX-License-Identifier: GPL-2.0
/*
 * Linux's 64-bit boot protocol (Documentation/arch/x86/boot.rst).
 *
 *	0x10000   boot parameters       0x20000   command line
 *	0x11000   page tables
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

#include "linux.h"

#define PARAMETERS 0x10000
#define PML4 0x11000
#define COMMAND_LINE 0x20000
#define LOW_END 0x9f000
#define HIGH_BEGIN 0x100000

#define SECTOR 512
#define ENTRY_64 0x200
#define PAGE_SIZE 4096ull

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
	fprintf(stderr, "%s: ", program_invocation_short_name);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	exit(1);
}

void check(int err, const char *what)
{
	if (err < 0)
		die("%s: %s", what, strerror(-err));
}

void *map_file(const char *path, size_t *size)
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

void put(struct mote_machine *machine, __u64 gpa, const void *data, size_t size)
{
	if (mote_machine_write(machine, gpa, data, size))
		die("%zu bytes at %#llx do not fit into the memory", size, gpa);
}

/* Tables that map the first GiB, where all of the memory is, by pages of 2 MiB. */
static void put_page_tables(struct mote_machine *machine)
{
	__u64 pdpt = PML4 + PAGE_SIZE, pd = pdpt + PAGE_SIZE;
	__u64 entry = pdpt | 3;

	put(machine, PML4, &entry, sizeof(entry));
	entry = pd | 3;
	put(machine, pdpt, &entry, sizeof(entry));
	for (__u64 i = 0; i < 512; i++) {
		entry = i << 21 | 0x83;
		put(machine, pd + 8 * i, &entry, sizeof(entry));
	}
}

/* Return: where the kernel begins. */
static __u64 load(struct mote_machine *machine, __u64 memory, const char *kernel, const char *initrd,
		  const char *append)
{
	size_t kernel_size, initrd_size, setup;
	const unsigned char *image = map_file(kernel, &kernel_size);
	const void *files = map_file(initrd, &initrd_size);
	struct boot_params parameters = {
		.e820_entries = 2,
		.e820_table = { { 0, LOW_END, 1 }, { HIGH_BEGIN, memory - HIGH_BEGIN, 1 } },
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
	parameters.hdr.ramdisk_image = (memory - initrd_size) & ~(PAGE_SIZE - 1);
	parameters.hdr.ramdisk_size = initrd_size;
	put(machine, PARAMETERS, &parameters, sizeof(parameters));
	put(machine, COMMAND_LINE, append, strlen(append) + 1);
	put(machine, parameters.hdr.pref_address, image + setup, kernel_size - setup);
	put(machine, parameters.hdr.ramdisk_image, files, initrd_size);
	put_page_tables(machine);
	munmap((void *)image, kernel_size);
	munmap((void *)files, initrd_size);
	return parameters.hdr.pref_address + ENTRY_64;
}

void linux_boot(struct mote_cpu *cpu, __u64 memory, const char *kernel, const char *initrd,
		const char *append)
{
	struct mote_state state = {
		.mask = MOTE_STATE_GPRS | MOTE_STATE_SEGS | MOTE_STATE_CRS | MOTE_STATE_MSRS,
	};
	__u64 entry = load(cpu->machine, memory, kernel, initrd, append);

	check(mote_get_state(cpu->fd, &state), "MOTE_GET_STATE");
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
	check(mote_set_state(cpu->fd, &state), "MOTE_SET_STATE");
}
