// SPDX-License-Identifier: GPL-2.0
/* Loading an image: which kind it is, and files into memory. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "keep.h"
#include "loader.h"
#include "runner.h"

/* Where a boot sector would be. */
#define FLAT_START 0x7c00

#define PAGE_SIZE 4096ull
/* Boot structures go into conventional memory, above what boot loaders leave alone. */
#define STRUCTURES 0x10000
#define PARAMETERS_SIZE 0x20000

static const struct loader *const loaders[] = { &linux_loader, &multiboot_loader, &elf_loader };

int file_open(struct file *file, const char *path, const char *what)
{
	struct stat stat;

	file->path = path;
	file->fd = keep_take_fd("file", path);
	if (file->fd < 0)
		file->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (file->fd < 0) {
		complain("cannot open the %s %s: %s", what, path, strerror(errno));
		return -1;
	}
	if (fstat(file->fd, &stat) || !S_ISREG(stat.st_mode) || !stat.st_size) {
		complain("the %s %s is %s", what, path,
			 S_ISDIR(stat.st_mode) ? "a directory, not a file" :
			 S_ISREG(stat.st_mode) ? "empty" : "not a regular file");
		close(file->fd);
		return -1;
	}
	file->size = stat.st_size;
	return 0;
}

void file_close(struct file *file)
{
	keep_fd("file", file->path, file->fd);
}

static void file_prepare(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	if (fd >= 0)
		keep_fd("file", path, fd);
}

int file_read(const struct file *file, __u64 offset, unsigned char *to, __u64 size)
{
	ssize_t nr;

	while (size) {
		nr = pread(file->fd, to, size, offset);
		if (nr < 0 && errno == EINTR)
			continue;
		if (nr <= 0) {
			complain("%s %s", file->path, nr ? strerror(errno) : "is truncated");
			return -1;
		}
		to += nr;
		offset += nr;
		size -= nr;
	}
	return 0;
}

int file_load(struct vm *vm, const struct file *file, __u64 offset, __u64 gpa, __u64 size)
{
	unsigned char *to = mote_machine_hva(&vm->machine, gpa, size);

	if (to)
		return file_read(file, offset, to, size);
	complain("%s does not fit into the memory at 0x%llx: give the VM more than %lluM (--memory)",
		 file->path, gpa, vm->options->memory >> 20);
	return -1;
}

int load_bytes(struct vm *vm, __u64 gpa, const void *data, size_t size)
{
	if (!mote_machine_write(&vm->machine, gpa, data, size))
		return 0;
	complain("%lluM is too little memory to start this image (--memory)",
		 vm->options->memory >> 20);
	return -1;
}

static int place_structure(struct vm *vm, const char *path, __u64 size, const char *what, __u64 *gpa)
{
	const struct room room = {
		.first = STRUCTURES, .end = EBDA, .size = size, .align = PAGE_SIZE, .what = what,
	};

	return place_in(vm, path, &room, gpa);
}

int place_tables(struct vm *vm, const char *path, __u64 *tables)
{
	return place_structure(vm, path, START_TABLES, "the descriptor tables", tables);
}

int layout_create(struct layout *layout, struct vm *vm, const char *path)
{
	*layout = (struct layout) { .vm = vm };
	if (place_structure(vm, path, PARAMETERS_SIZE, "the boot parameters", &layout->at))
		return -1;
	layout->end = layout->at + PARAMETERS_SIZE;
	return 0;
}

__u64 layout_put(struct layout *layout, const void *data, size_t size)
{
	__u64 gpa = layout->at;

	if (layout->err)
		return gpa;
	if (size > layout->end - gpa) {
		complain("the image's command line and modules take too much room");
		layout->err = -1;
		return gpa;
	}
	layout->err = size ? load_bytes(layout->vm, gpa, data, size) : 0;
	layout->at = (gpa + size + 63) & ~63ull;
	return gpa;
}

__u64 layout_put_string(struct layout *layout, const char *text)
{
	return layout_put(layout, text, strlen(text) + 1);
}

static int load_module(struct vm *vm, const char *path, __u64 end, const struct file *file,
		       struct module *module)
{
	const struct room room = {
		.first = end > EXTENDED_MEMORY ? end : EXTENDED_MEMORY, .end = vm->low,
		.size = file->size, .align = PAGE_SIZE, .what = "a module",
	};

	module->size = file->size;
	if (place_in(vm, path, &room, &module->gpa))
		return -1;
	return file_load(vm, file, 0, module->gpa, module->size);
}

/* What follows the path is for the image. */
int load_modules(struct vm *vm, const char *path, __u64 end, struct module modules[MODULES_MOST])
{
	const struct options *options = vm->options;

	for (unsigned int i = 0; i < options->nr_modules; i++) {
		char *name = strndup(options->modules[i], strcspn(options->modules[i], " "));
		struct file file;
		int err = -1;

		if (name && !file_open(&file, name, "module")) {
			err = load_module(vm, path, end, &file, &modules[i]);
			file_close(&file);
		}
		free(name);
		if (err)
			return -1;
	}
	return 0;
}

int load_flat(struct vm *vm, const struct image *image)
{
	__u64 rsdp;

	if (image->file.size > EBDA - FLAT_START) {
		complain("%s is too large for --flat: %u bytes are the most", image->file.path,
			 EBDA - FLAT_START);
		return -1;
	}
	if (bios_data_write(vm, &rsdp) ||
	    place_at(vm, image->file.path, FLAT_START, image->file.size, "the image") ||
	    file_load(vm, &image->file, 0, FLAT_START, image->file.size))
		return -1;
	return start_real(vm, FLAT_START);
}

/* A boot sector, which is no kernel's that begins as a program for UEFI; or a virtual disk. */
static bool is_disk(const struct image *image)
{
	const unsigned char *head = image->head;

	return (head[510] == 0x55 && head[511] == 0xaa && memcmp(head, "MZ", 2)) ||
	       !memcmp(head, "QFI\xfb", 4);
}

static int load(struct vm *vm, const struct image *image)
{
	if (vm->options->flat)
		return load_flat(vm, image);
	for (size_t i = 0; i < ARRAY_SIZE(loaders); i++)
		if (loaders[i]->matches(image))
			return loaders[i]->load(vm, image);
	if (image->head[0] == 0x1f && image->head[1] == 0x8b) {
		complain("%s is compressed: unpack it first (gunzip)", image->file.path);
		return -1;
	}
	if (is_disk(image)) {
		complain("%s is a disk, no kernel: mote run --firmware --disk %s", image->file.path,
			 image->file.path);
		return -1;
	}
	complain("%s is no image that can be booted: neither Linux, nor ELF, nor multiboot (--flat "
		 "takes any code for real mode)", image->file.path);
	return -1;
}

/* What was saved begins without, and firmware is of a package that is named where it is missing. */
int image_check(const struct options *options)
{
	struct file file;

	if (options->snapshot || options->firmware)
		return 0;
	if (file_open(&file, options->image, "image"))
		return -1;
	file_close(&file);
	return 0;
}

void image_prepare(const struct options *options)
{
	if (!keeps_things())
		return;
	file_prepare(options->firmware ? options->firmware : options->image);
	for (unsigned int i = 0; i < options->nr_modules; i++) {
		char *name = strndup(options->modules[i], strcspn(options->modules[i], " "));

		/* The name of an initrd is the whole of it. */
		file_prepare(options->modules[i]);
		if (name && strcmp(name, options->modules[i]))
			file_prepare(name);
		free(name);
	}
}

int load_image(struct vm *vm)
{
	struct image image = { 0 };
	int err;

	if (vm->options->firmware)
		return load_firmware(vm);
	if (file_open(&image.file, vm->options->image, "image"))
		return -1;
	if (pread(image.file.fd, image.head, sizeof(image.head), 0) < 0) {
		complain("cannot read the image %s: %s", image.file.path, strerror(errno));
		err = -1;
	} else {
		err = load(vm, &image);
	}
	file_close(&image.file);
	places_forget(vm);
	return err;
}
