// SPDX-License-Identifier: GPL-2.0
/*
 * Firmware: its image ends at 4 GiB, where vCPU 0 begins after RESET, and the last
 * part of it is below 1 MiB, too, in memory that can be written to.  It takes the
 * ACPI tables from fw_cfg (dev/fw_cfg.c).
 */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "loader.h"
#include "runner.h"

#define SLOT_FIRMWARE 2
#define PAGE_SIZE 4096
#define SHADOW_MOST (EXTENDED_MEMORY - FIRMWARE)
#define LEAST_MEMORY (16ull << 20)

/* A copy of its own: the file may change or shrink while the guest runs, and nobody writes it. */
static unsigned char *read_file(const struct file *file)
{
	unsigned char *hva = mmap(NULL, file->size, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (hva == MAP_FAILED) {
		complain("no memory for the firmware %s", file->path);
		return NULL;
	}
	if (file_read(file, 0, hva, file->size) || mprotect(hva, file->size, PROT_READ)) {
		munmap(hva, file->size);
		return NULL;
	}
	return hva;
}

static int map(struct vm *vm, const struct file *file)
{
	unsigned char *hva = read_file(file);
	const struct mote_slot slot = {
		.slot = SLOT_FIRMWARE, .flags = MOTE_SLOT_READONLY, .size = file->size,
		.gpa = HIGH_MEMORY - file->size, .hva = (unsigned long)hva,
	};
	int err = hva ? mote_machine_set_slot(&vm->machine, &slot) : 0;

	vm->firmware = hva;
	vm->firmware_size = file->size;
	if (err)
		complain("cannot map the firmware %s: %s", file->path, strerror(-err));
	return err || !hva ? -1 : 0;
}

static int load(struct vm *vm, const struct file *file)
{
	__u64 shadow = file->size < SHADOW_MOST ? file->size : SHADOW_MOST;

	if (file->size % PAGE_SIZE || file->size > FIRMWARE_MOST) {
		complain("%s is no firmware: its size is no multiple of 4096, or more than 16M",
			 file->path);
		return -1;
	}
	if (vm->low < LEAST_MEMORY) {
		complain("firmware wants %lluM of memory at least (--memory)", LEAST_MEMORY >> 20);
		return -1;
	}
	if (map(vm, file) ||
	    place_at(vm, file->path, EXTENDED_MEMORY - shadow, shadow, "the firmware"))
		return -1;
	return file_load(vm, file, file->size - shadow, EXTENDED_MEMORY - shadow, shadow);
}

/* Who has named no file may not know whose that is. */
static bool is_missing(const char *path, const char *usual, const char *package)
{
	if (strcmp(path, usual) || !access(path, F_OK))
		return false;
	complain("there is no %s: install Debian's package %s, or name other firmware", path, package);
	return true;
}

int load_firmware(struct vm *vm)
{
	const char *path = vm->options->firmware;
	struct file file;
	int err;

	if (is_missing(path, SEABIOS, "seabios") || is_missing(path, OVMF, "ovmf") ||
	    is_missing(path, OVMF_CODE, "ovmf") ||
	    file_open(&file, path, "firmware"))
		return -1;
	err = load(vm, &file);
	file_close(&file);
	return err;
}
