// SPDX-License-Identifier: GPL-2.0
/*
 * kexec_crash - take the machine down while guests run on all of its CPUs
 *
 *   kexec_crash kexec    into the next kernel
 *   kexec_crash crash    by a panic, into the kernel for crashes
 *   kexec_crash reboot   into the firmware
 *
 * The next kernel is the ELF image /boot/vmlinux with /boot/initrd, and finds MOTE_LAB_BOOT=2
 * in its environment. `tools/in-host kexec_crash` is who calls this.
 */
#include <asm/bootparam.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kexec.h>
#include <linux/reboot.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "guest.h"
#include "selftest.h"

GUEST(out_and_spin, 64, "out %al, $0x80; sti; 1: jmp 1b");

static void __attribute__((noreturn)) die(const char *what)
{
	fprintf(stderr, "leave: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* A guest on this CPU, and when that ends, the next one: who takes VMs away must keep them away. */
static void __attribute__((noreturn)) run_guests(int cpu, volatile char *runs)
{
	struct guest guest;

	pin_to_cpu(cpu);
	for (;;) {
		guest_create(&guest);
		guest_start(&guest, GUEST_LONG, &guest_out_and_spin);
		*runs |= guest_run(&guest) == MOTE_EXIT_PIO;
		guest_run(&guest);
		guest_destroy(&guest);
	}
}

/* ---- the next kernel ----------------------------------------------------------------- */

#define MIB (1ul << 20)
#define MAX_SEGMENTS 16		/* KEXEC_SEGMENT_MAX */

static struct kexec_segment segments[MAX_SEGMENTS];
static int nr_segments;

static void add_segment(const void *data, size_t size, unsigned long gpa, size_t room)
{
	if (nr_segments == MAX_SEGMENTS)
		die("segments");
	segments[nr_segments++] = (struct kexec_segment) {
		data, size, (void *)gpa, (room + 4095) & -4096ul,
	};
}

static void *map_file(const char *name, size_t *size)
{
	int fd = open(name, O_RDONLY);
	struct stat stat;
	void *data;

	if (fd < 0 || fstat(fd, &stat))
		die(name);
	data = mmap(NULL, stat.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (data == MAP_FAILED)
		die(name);
	*size = stat.st_size;
	return data;
}

/* Where a kernel for crashes is to be, by "crashkernel=" on the command line. */
static unsigned long crash_region(unsigned long *end)
{
	FILE *iomem = fopen("/proc/iomem", "r");
	unsigned long start;
	char line[256];

	while (iomem && fgets(line, sizeof(line), iomem))
		if (strstr(line, ": Crash kernel") && sscanf(line, "%lx-%lx", &start, end) == 2)
			return start;
	errno = ENOENT;
	die("crashkernel");
}

/* The ELF image, moved by @delta.  Return: where it ends. */
static unsigned long add_kernel(long delta, unsigned long *entry)
{
	const unsigned char *image;
	unsigned long end = 0;
	const Elf64_Phdr *ph;
	const Elf64_Ehdr *eh;
	size_t size;

	image = map_file("/boot/vmlinux", &size);
	eh = (const Elf64_Ehdr *)image;
	ph = (const Elf64_Phdr *)(image + eh->e_phoff);
	for (int i = 0; i < eh->e_phnum; i++, ph++) {
		if (ph->p_type != PT_LOAD)
			continue;
		add_segment(image + ph->p_offset, ph->p_filesz, ph->p_paddr + delta, ph->p_memsz);
		end = ph->p_paddr + delta + ph->p_memsz;
	}
	*entry = eh->e_entry + delta;
	return end;
}

/* Of the memory above the first megabyte only the region is the crash kernel's. */
static void confine(struct boot_params *params, unsigned long start, unsigned long end)
{
	int kept = 0;

	for (int i = 0; i < params->e820_entries; i++)
		if (params->e820_table[i].type != 1 || params->e820_table[i].addr < MIB)
			params->e820_table[kept++] = params->e820_table[i];
	params->e820_table[kept++] = (struct boot_e820_entry) { start, end + 1 - start, 1 };
	params->e820_entries = kept;
}

/*
 * Documentation/x86/boot.rst, "64-bit Boot Protocol".  Not by kexec_file_load(2), which
 * wants an image that is to be unpacked and summed up: minutes on a slow host.
 */
static void load_next(bool crash)
{
	static struct boot_params params;
	static char line[4096];
	static unsigned char jump[] = {
		0x48, 0xbe, 0, 0, 0, 0, 0, 0, 0, 0,	/* mov $params, %rsi */
		0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0,	/* mov $entry, %rax */
		0xff, 0xe0,				/* jmp *%rax */
	};
	unsigned long start = 16 * MIB, end = 0, room, entry;
	int fd = open("/sys/kernel/boot_params/data", O_RDONLY);
	size_t size;
	void *initrd = map_file("/boot/initrd", &size);

	if (read(fd, &params, sizeof(params)) != sizeof(params))
		die("boot_params");
	if (read(open("/proc/cmdline", O_RDONLY), line, sizeof(line) - 100) <= 0)
		die("/proc/cmdline");
	/* One CPU is what a kernel for crashes can rely on. */
	strcpy(line + strcspn(line, "\n"), crash ? " MOTE_LAB_BOOT=2 nr_cpus=1" : " MOTE_LAB_BOOT=2");
	if (crash) {
		start = crash_region(&end);
		confine(&params, start, end);
	}
	room = (add_kernel(start - 16 * MIB, &entry) + 2 * MIB) & -(2 * MIB);
	params.hdr.ramdisk_image = room + MIB;
	params.hdr.ramdisk_size = size;
	params.ext_ramdisk_image = params.ext_ramdisk_size = 0;
	params.hdr.cmd_line_ptr = room + 0x1000;
	memcpy(jump + 2, &room, sizeof(room));
	memcpy(jump + 12, &entry, sizeof(entry));
	add_segment(&params, sizeof(params), room, sizeof(params));
	add_segment(line, sizeof(line), room + 0x1000, sizeof(line));
	add_segment(jump, sizeof(jump), room + 0x2000, sizeof(jump));
	add_segment(initrd, size, room + MIB, size);
	if (syscall(SYS_kexec_load, room + 0x2000, nr_segments, segments,
		    KEXEC_ARCH_X86_64 | (crash ? KEXEC_ON_CRASH : 0)))
		die("kexec_load");
}

/* ---- going ------------------------------------------------------------------------------ */

static void go(const char *how)
{
	int fd = open("/proc/sysrq-trigger", O_WRONLY);

	if (!strcmp(how, "crash"))
		write(fd, "c", 1);
	else
		reboot(!strcmp(how, "kexec") ? LINUX_REBOOT_CMD_KEXEC : RB_AUTOBOOT);
	die(how);
}

int main(int argc, char **argv)
{
	int cpus = get_nprocs();
	volatile char *runs = mmap(NULL, cpus, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (argc != 2)
		return 2;
	require_mote();
	if (strcmp(argv[1], "reboot"))
		load_next(!strcmp(argv[1], "crash"));
	for (int cpu = 0; cpu < cpus; cpu++)
		if (!fork())
			run_guests(cpu, &runs[cpu]);
	for (int cpu = 0; cpu < cpus; cpu++)
		while (!runs[cpu])
			usleep(1000);
	printf("guests run on %d CPUs\n", cpus);
	fflush(stdout);
	usleep(100000);
	go(argv[1]);
}
