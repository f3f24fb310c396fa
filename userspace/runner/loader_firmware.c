// SPDX-License-Identifier: GPL-2.0
/*
 * Firmware: its image ends at 4 GiB, where vCPU 0 begins after RESET, and the last
 * part of it is below 1 MiB, too, in memory that can be written to.  It takes the
 * ACPI tables from fw_cfg (dev/fw_cfg.c).
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "keep.h"
#include "loader.h"
#include "runner.h"

#define SLOT_FIRMWARE 2
#define PAGE_SIZE 4096
#define SHADOW_MOST (EXTENDED_MEMORY - FIRMWARE)
#define LEAST_MEMORY (16ull << 20)

/* Let the guest have a copy, and nobody write it. */
static int map(struct vm *vm, unsigned char *hva, __u64 size)
{
	const struct mote_slot slot = {
		.slot = SLOT_FIRMWARE, .flags = MOTE_SLOT_READONLY, .size = size,
		.gpa = HIGH_MEMORY - size, .hva = (unsigned long)hva,
	};
	int err = mprotect(hva, size, PROT_READ) ? -errno : mote_machine_set_slot(&vm->machine, &slot);

	if (err)
		complain("cannot map the firmware: %s", strerror(-err));
	return err ? -1 : 0;
}

/* A copy of its own: the file may change or shrink while the guest runs. */
static unsigned char *create(struct vm *vm, __u64 size)
{
	unsigned char *hva = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (hva == MAP_FAILED) {
		complain("no memory for the firmware");
		return NULL;
	}
	vm->firmware = hva;
	vm->firmware_size = size;
	return hva;
}

int firmware_restore(struct vm *vm, const void *data, size_t size)
{
	unsigned char *hva = create(vm, size);

	if (!hva)
		return -1;
	memcpy(hva, data, size);
	return map(vm, hva, size);
}

static int load(struct vm *vm, const struct file *file)
{
	__u64 shadow = file->size < SHADOW_MOST ? file->size : SHADOW_MOST;
	unsigned char *hva;

	if (file->size % PAGE_SIZE || file->size > FIRMWARE_MOST) {
		complain("%s is no firmware: its size is no multiple of 4096, or more than 16M",
			 file->path);
		return -1;
	}
	if (vm->low < LEAST_MEMORY) {
		complain("firmware wants %lluM of memory at least (--memory)", LEAST_MEMORY >> 20);
		return -1;
	}
	hva = create(vm, file->size);
	if (!hva || file_read(file, 0, hva, file->size) || map(vm, hva, file->size) ||
	    place_at(vm, file->path, EXTENDED_MEMORY - shadow, shadow, "the firmware"))
		return -1;
	return file_load(vm, file, file->size - shadow, EXTENDED_MEMORY - shadow, shadow);
}

/* Who has named no file may not know whose that is. */
static bool is_missing(const char *path, const char *usual, const char *package)
{
	if (strcmp(path, usual) || keep_has("file", path) || !access(path, F_OK))
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
