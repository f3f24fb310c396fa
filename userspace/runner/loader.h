/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Loaders: each knows one kind of image, puts it into the guest's memory, and
 * vCPU 0 at its start.  Loaders complain and return -1.
 */
#ifndef LOADER_H
#define LOADER_H

#include <sys/types.h>

#include "vm.h"

/* Firmware where Debian's packages of these names have it. */
#define SEABIOS "/usr/share/seabios/bios.bin"
#define OVMF "/usr/share/ovmf/OVMF.fd"

/* How much of an image is looked at to tell what it is. */
#define HEAD_SIZE 8192

/**
 * struct file - a file that goes into the guest's memory
 * @path: as the user wrote it
 * @fd: open for reading
 * @size: in bytes
 */
struct file {
	const char *path;
	int fd;
	__u64 size;
};

/* @what it is for the complaint: "image", "initrd" */
int file_open(struct file *file, const char *path, const char *what);
void file_close(struct file *file);

/* Copy a part of a file to guest memory. */
int file_load(struct vm *vm, const struct file *file, __u64 offset, __u64 gpa, __u64 size);

/* Copy to guest memory what the loader knows to fit. */
int load_bytes(struct vm *vm, __u64 gpa, const void *data, size_t size);

/**
 * struct layout - things that are put one behind another
 * @vm: into whose memory
 * @at: where the next one goes
 * @end: where the room ends
 * @err: something did not fit, and that has been said
 */
struct layout {
	struct vm *vm;
	__u64 at;
	__u64 end;
	int err;
};

/* Put something there; returns where. */
__u64 layout_put(struct layout *layout, const void *data, size_t size);

/**
 * struct image - the image
 * @file: it
 * @head: how it begins, filled up with zeros
 */
struct image {
	struct file file;
	unsigned char head[HEAD_SIZE];
};

/**
 * struct loader - a kind of image
 * @name: of the kind
 * @matches: is it that?
 * @load: load it
 */
struct loader {
	const char *name;
	bool (*matches)(const struct image *image);
	int (*load)(struct vm *vm, const struct image *image);
};

extern const struct loader linux_loader;
extern const struct loader elf_loader;

int load_flat(struct vm *vm, const struct image *image);

int load_firmware(struct vm *vm);

/* ---- e820 (e820.c) -------------------------------------------------------------- */

#define E820_RAM 1
#define E820_RESERVED 2
#define E820_MOST 8

struct e820 {
	__u64 first;
	__u64 size;
	__u32 type;
} __attribute__((packed));

/* The memory map that firmware would tell; returns the number of its rows. */
unsigned int e820_map(const struct vm *vm, struct e820 rows[E820_MOST]);

/* ---- vCPU 0's first state (start.c) ----------------------------------------------- */

/* Real mode at cs:ip = 0:@ip, with a stack below it. */
int start_real(struct vm *vm, __u16 ip);

/*
 * Flat 32-bit protected mode without paging; @gprs says where and with what,
 * rflags apart.  At @tables 0x1000 bytes are free for descriptors.
 */
int start_protected(struct vm *vm, __u64 tables, const struct mote_gprs *gprs);

/*
 * 64-bit mode, the first 4 GiB mapped as they are.  At @tables 0x7000 bytes are
 * free for descriptors and page tables.
 */
int start_long(struct vm *vm, __u64 tables, const struct mote_gprs *gprs);

#endif /* LOADER_H */
