// SPDX-License-Identifier: GPL-2.0
/*
 * ELF images: what of them is loaded where, of 32 and of 64 bits, and that images of which anything
 * has been changed are loaded within the file, or refused with one complaint.
 */
#include <stdlib.h>
#include <string.h>

#include "../userspace/runner/loader_elf.c"
#include "complaints.h"

#define ROUNDS 100000
#define SIZE 4096
#define NOTES 0x200
#define CODE 0x400
#define LOADED 0x300000
#define CODE_SIZE 0x123

static unsigned char data[SIZE];
static struct image image = { .file = { .path = "image" } };
static struct vm vm;
static bool is_outside;

/* What was loaded last. */
static unsigned int nr_loads;
static __u64 from, to, loaded;

/* ---- what else the runner has ------------------------------------------------------- */

int file_read(const struct file *file, __u64 offset, unsigned char *bytes, __u64 size)
{
	if (offset > file->size || size > file->size - offset) {
		is_outside = true;
		return -1;
	}
	memcpy(bytes, data + offset, size);
	return 0;
}

int file_load(struct vm *which, const struct file *file, __u64 offset, __u64 gpa, __u64 size)
{
	(void)which;
	if (offset > file->size || size > file->size - offset)
		is_outside = true;
	nr_loads++;
	from = offset;
	to = gpa;
	loaded = size;
	return 0;
}

int place_at(struct vm *which, const char *path, __u64 gpa, __u64 size, const char *what)
{
	(void)which;
	(void)path;
	(void)gpa;
	(void)size;
	(void)what;
	return 0;
}

bool place_is_free(const struct vm *which, __u64 gpa, __u64 size)
{
	(void)which;
	return gpa + size <= 0x1000000;
}

bool place_find(const struct vm *which, const struct room *room, __u64 *gpa)
{
	(void)which;
	*gpa = room->first;
	return true;
}

/* What comes behind that is not tested here. */
const struct loader multiboot_loader;

#define NOT_CALLED(type, name, ...) type name(__VA_ARGS__) { abort(); }
NOT_CALLED(bool, has_multiboot_header, const struct image *which)
NOT_CALLED(int, layout_create, struct layout *layout, struct vm *which, const char *path)
NOT_CALLED(__u64, layout_put, struct layout *layout, const void *bytes, size_t size)
NOT_CALLED(__u64, layout_put_string, struct layout *layout, const char *text)
NOT_CALLED(int, load_modules, struct vm *which, const char *path, __u64 end,
	   struct module modules[MODULES_MOST])
NOT_CALLED(int, bios_data_write, struct vm *which, __u64 *rsdp)
NOT_CALLED(unsigned int, e820_map, const struct vm *which, struct e820 rows[E820_MOST])
NOT_CALLED(int, place_tables, struct vm *which, const char *path, __u64 *tables)
NOT_CALLED(int, start_protected, struct vm *which, __u64 tables, const struct mote_gprs *gprs)
NOT_CALLED(int, start_long, struct vm *which, __u64 tables, const struct mote_gprs *gprs)

/* ---- images --------------------------------------------------------------------------- */

/* A segment with notes, and one with code; Xen's note says where PVH begins. */
#define WRITE_IMAGE(bits, machine, align)						\
	do {										\
		const Elf##bits##_Ehdr header = {					\
			.e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS##bits, ELFDATA2LSB, EV_CURRENT },	\
			.e_type = ET_EXEC, .e_machine = machine, .e_entry = LOADED + 0x10,	\
			.e_phoff = 0x80, .e_phentsize = sizeof(Elf##bits##_Phdr), .e_phnum = 2,	\
		};									\
		const Elf##bits##_Phdr segments[] = {					\
			{ .p_type = PT_NOTE, .p_offset = NOTES, .p_filesz = 0x60, .p_align = align },	\
			{ .p_type = PT_LOAD, .p_offset = CODE, .p_filesz = CODE_SIZE,	\
			  .p_memsz = 0x2000, .p_paddr = LOADED, .p_vaddr = LOADED,	\
			  .p_align = 0x1000 },						\
		};									\
											\
		memset(data, 0, sizeof(data));						\
		memcpy(data, &header, sizeof(header));					\
		memcpy(data + 0x80, segments, sizeof(segments));			\
		write_notes(align);							\
		image.file.size = SIZE;							\
	} while (0)

static size_t write_note(size_t at, const char *name, __u32 type, const void *value, size_t size,
			 size_t align)
{
	const Elf64_Nhdr note = { .n_namesz = strlen(name) + 1, .n_descsz = size, .n_type = type };
	size_t begin = at + sizeof(note) + note.n_namesz;

	memcpy(data + at, &note, sizeof(note));
	memcpy(data + at + sizeof(note), name, note.n_namesz);
	begin = (begin + align - 1) & -align;
	memcpy(data + begin, value, size);
	return (begin + size + align - 1) & -align;
}

static void write_notes(size_t align)
{
	const __u32 entry = 0x12345678, reloc[] = { 0x200000, 0x400000, 0x7fffffff };
	size_t at = write_note(NOTES, "Other", XEN_ELFNOTE_PHYS32_ENTRY, "odd", 3, align);

	at = write_note(at, "Xen", XEN_ELFNOTE_PHYS32_ENTRY, &entry, sizeof(entry), align);
	write_note(at, "Xen", XEN_ELFNOTE_PHYS32_RELOC, reloc, sizeof(reloc), align);
}

/* ---- tests ---------------------------------------------------------------------------- */

static void is_loaded(void)
{
	__u64 entry, end;
	struct elf elf;

	nr_loads = nr_complaints = 0;
	EQ(0, elf_load(&vm, &image, &entry, &end));
	EQ(LOADED + 0x10, entry);
	EQ(LOADED + 0x2000, end);
	CHECK(nr_loads == 1 && from == CODE && to == LOADED && loaded == CODE_SIZE);
	EQ(0, open_elf(&elf, &vm, &image));
	EQ(0x12345678, elf.entry);
	CHECK(elf.relocatable && elf.reloc[0] == 0x200000 && elf.reloc[2] == 0x7fffffff);
	free(elf.segments);
	EQ(0, nr_complaints);
}

static void images(void)
{
	WRITE_IMAGE(32, EM_386, 4);
	is_loaded();
	WRITE_IMAGE(64, EM_X86_64, 4);
	is_loaded();
	WRITE_IMAGE(64, EM_X86_64, 8);
	is_loaded();
}

static void refuse(const char *why)
{
	__u64 entry, end;

	nr_complaints = 0;
	said[0] = '\0';
	EQ((__u64)-1, elf_load(&vm, &image, &entry, &end));
	EQ(1, nr_complaints);
	CHECK(strstr(said, why));
}

static void bad_images(void)
{
	for (__u64 size = 16; size < sizeof(Elf64_Ehdr); size++) {
		WRITE_IMAGE(64, EM_X86_64, 4);
		image.file.size = size;
		refuse("no valid ELF");
	}
	WRITE_IMAGE(32, EM_386, 4);
	image.file.size = sizeof(Elf32_Ehdr) - 1;
	refuse("no valid ELF");
	WRITE_IMAGE(64, EM_X86_64, 4);
	data[EI_DATA] = ELFDATA2MSB;
	refuse("no valid ELF");
	WRITE_IMAGE(64, EM_X86_64, 4);
	data[EI_CLASS] = 3;
	refuse("no valid ELF");
	WRITE_IMAGE(64, EM_X86_64, 4);
	image.file.size = 0x80 + 2 * sizeof(Elf64_Phdr) - 1;
	refuse("program headers");
	WRITE_IMAGE(64, EM_X86_64, 4);
	image.file.size = CODE + CODE_SIZE - 1;
	refuse("truncated");
	WRITE_IMAGE(64, EM_AARCH64, 4);
	refuse("no x86 ELF");
	WRITE_IMAGE(64, EM_X86_64, 4);
	((Elf64_Ehdr *)data)->e_phnum = 0;
	refuse("nothing to be loaded");
}

/* Whatever has been changed; half of the changes are in the headers and the notes. */
static void changes(void)
{
	unsigned int good = 0;
	__u64 entry, end;

	srandom(1);
	for (unsigned int round = 0; round < ROUNDS; round++) {
		if (round & 1)
			WRITE_IMAGE(32, EM_386, 4);
		else
			WRITE_IMAGE(64, EM_X86_64, round & 2 ? 4 : 8);
		for (unsigned int left = 1 + random() % 4; left; left--)
			data[random() % (random() & 1 ? 0x40 : CODE)] = random() % 3 ? random() : 0xff;
		if (random() & 1)
			image.file.size = EI_NIDENT + random() % (SIZE - EI_NIDENT);
		nr_complaints = 0;
		if (!elf_load(&vm, &image, &entry, &end))
			good++;
		else
			look(nr_complaints == 1, "one complaint", round, __LINE__);
	}
	CHECK(good > ROUNDS / 100 && good < ROUNDS);
	CHECK(!is_outside);
}

int main(void)
{
	static const struct unit_test all[] = {
		{ "images of 32 and of 64 bits", images },
		{ "images that are none", bad_images },
		{ "images of which anything has been changed", changes },
	};
	static const struct options options = { .memory = 64 << 20 };

	vm.options = &options;
	vm.low = options.memory;
	return run_all(all, ARRAY_SIZE(all));
}
