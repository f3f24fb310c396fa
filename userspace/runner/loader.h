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
/* The same without variables, and those with which it begins. */
#define OVMF_CODE "/usr/share/OVMF/OVMF_CODE_4M.fd"
#define OVMF_VARS "/usr/share/OVMF/OVMF_VARS_4M.fd"
/* Firmware and variables end at 4 GiB, and have this room. */
#define FIRMWARE_MOST 0x1000000ull

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

/* ---- placement (place.c) --------------------------------------------------------- */

/**
 * struct room - where something may go
 * @first: not below this
 * @end: and not beyond this
 * @size: of it, in bytes, not 0
 * @align: of its address, a power of two
 * @high: as high as it gets; else as low
 * @what: it is, with an article, for complaints
 */
struct room {
	__u64 first;
	__u64 end;
	__u64 size;
	__u64 align;
	bool high;
	const char *what;
};

/**
 * place_at() - claim guest memory at an address
 * @vm: whose memory
 * @path: the file for whose sake, for complaints
 * @gpa: where
 * @size: in bytes; 0: nothing is claimed
 * @what: goes there, with an article, for complaints of others
 * Return: 0, or -1 after a complaint: that is no memory, or taken
 */
int place_at(struct vm *vm, const char *path, __u64 gpa, __u64 size, const char *what);
/* Claim it where there is room: 0, or -1 after a complaint. */
int place_in(struct vm *vm, const char *path, const struct room *room, __u64 *gpa);
/* Find it, and claim nothing; false: there is no room. */
bool place_find(const struct vm *vm, const struct room *room, __u64 *gpa);
/* Is it memory, and not taken? */
bool place_is_free(const struct vm *vm, __u64 gpa, __u64 size);
/* All is loaded. */
void places_forget(struct vm *vm);

/* Read a part of a file: 0, or -1 after a complaint. */
int file_read(const struct file *file, __u64 offset, unsigned char *to, __u64 size);

/* Copy a part of a file to guest memory that has been claimed. */
int file_load(struct vm *vm, const struct file *file, __u64 offset, __u64 gpa, __u64 size);

/* Copy to guest memory what the loader knows to fit. */
int load_bytes(struct vm *vm, __u64 gpa, const void *data, size_t size);

/**
 * struct layout - things that are put one behind another, in a room that has been claimed
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

/* Claim room for it in low memory: 0, or -1 after a complaint. */
int layout_create(struct layout *layout, struct vm *vm, const char *path);
/* Put something there; returns where. */
__u64 layout_put(struct layout *layout, const void *data, size_t size);
/* Put a string there. */
__u64 layout_put_string(struct layout *layout, const char *text);

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
extern const struct loader multiboot_loader;

int load_flat(struct vm *vm, const struct image *image);

/**
 * struct module - a module that has been loaded
 * @gpa: where it is: at the beginning of a page
 * @size: in bytes
 */
struct module {
	__u64 gpa;
	__u64 size;
};

/* Load all modules behind an image that ends at @end; 0, or -1 after a complaint. */
int load_modules(struct vm *vm, const char *path, __u64 end, struct module modules[MODULES_MOST]);

/* Load an ELF image's segments; says where it begins and ends. 0, or -1 after a complaint. */
int elf_load(struct vm *vm, const struct image *image, __u64 *entry, __u64 *end);

/* ---- multiboot (loader_multiboot.c) ------------------------------------------------ */

/* Has it a multiboot header of any kind? */
bool has_multiboot_header(const struct image *image);

/* ---- what firmware leaves in low memory (bios_data.c) ------------------------------ */

/**
 * bios_data_write() - ACPI's and the MP specification's tables, and the BIOS's data areas
 * @vm: with its vCPUs; before the image is placed
 * @rsdp: out: where the RSDP is
 * Return: 0, or -1 after a complaint
 */
int bios_data_write(struct vm *vm, __u64 *rsdp);

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

/* Claim low memory for @tables; 0, or -1 after a complaint. */
int place_tables(struct vm *vm, const char *path, __u64 *tables);

/* ---- vCPU 0's first state (start.c) ----------------------------------------------- */

/* Real mode at cs:ip = 0:@ip, with a stack below it. */
int start_real(struct vm *vm, __u16 ip);

#define START_TABLES 0x7000

/*
 * Flat 32-bit protected mode without paging; @gprs says where and with what,
 * rflags apart.  At @tables START_TABLES bytes are free for descriptors, and a stack at
 * their end.
 */
int start_protected(struct vm *vm, __u64 tables, const struct mote_gprs *gprs);

/*
 * 64-bit mode, the first 4 GiB mapped as they are.  At @tables START_TABLES bytes are
 * free for descriptors and page tables.
 */
int start_long(struct vm *vm, __u64 tables, const struct mote_gprs *gprs);

#endif /* LOADER_H */
