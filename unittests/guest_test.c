// SPDX-License-Identifier: GPL-2.0
/*
 * A Linux kernel seen from outside: in memory of this very process there is a guest with page tables,
 * VMCOREINFO, kallsyms, ORC tables, type information and a module, which are found; then with damage
 * anywhere, of which the sanitizers have nothing to say.
 */
#include <elf.h>
#include <errno.h>
#include <linux/btf.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../userspace/trace/guest.h"
#include "../userspace/trace/tool.h"
#include "complaints.h"

#define ROUNDS (getenv("MOTE_LONG") ? 20000 : 500)

#define MEMORY (2u << 20)
#define IMAGE (START_KERNEL_MAP + 0x1000000)	/* what is at 0 in the memory */
#define PHYS_BASE (-0x1000000ll)
#define MODULE (IMAGE + AT_MODULE)

/* Where things are in the memory. */
enum {
	AT_TABLES = 0x1000, AT_INFO = 0x5000, AT_NAMES = 0x10000, AT_TOKENS = 0x20000, AT_INDEX = 0x21000,
	AT_OFFSETS = 0x22000, AT_NUMBERS = 0x23000, AT_IPS = 0x30000, AT_ORC = 0x31000, AT_BTF = 0x40000,
	AT_MODULES = 0x60000, AT_MODULE = 0x61000, AT_MODULE_IPS = 0x62000, AT_MODULE_ORC = 0x63000,
	AT_KALLSYMS = 0x64000, AT_SYMTAB = 0x65000, AT_STRTAB = 0x66000, AT_TEXT = 0x80000,
	AT_MODULE_TEXT = 0x90000,
};

static unsigned char *memory;
static uint64_t seed = 88172645463325252ul;

static uint64_t any(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	return seed ^= seed << 17;
}

static void put(size_t at, uint64_t value, size_t size)
{
	memcpy(memory + at, &value, size);
}

/* ---- what the kernel says ------------------------------------------------------------------- */

/* The image is a large page of its own. */
static void put_tables(void)
{
	put(AT_TABLES + (IMAGE >> 39 & 511) * 8, (AT_TABLES + 0x1000) | 3, 8);
	put(AT_TABLES + 0x1000 + (IMAGE >> 30 & 511) * 8, (AT_TABLES + 0x2000) | 3, 8);
	put(AT_TABLES + 0x2000 + (IMAGE >> 21 & 511) * 8, 0x83, 8);
}

static void put_info(void)
{
	char *text = (char *)memory + AT_INFO + VMCOREINFO_HEAD;
	Elf64_Nhdr head = { .n_namesz = sizeof("VMCOREINFO") };

	head.n_descsz = sprintf(text,
				"OSRELEASE=6.1.0-unit\nBUILD-ID=0123456789abcdef\n"
				"SYMBOL(init_uts_ns)=%llx\nSYMBOL(swapper_pg_dir)=%llx\n"
				"NUMBER(phys_base)=%lld\n"
				"SYMBOL(kallsyms_names)=%llx\nSYMBOL(kallsyms_num_syms)=%llx\n"
				"SYMBOL(kallsyms_token_table)=%llx\nSYMBOL(kallsyms_token_index)=%llx\n"
				"SYMBOL(kallsyms_offsets)=%llx\nSYMBOL(kallsyms_relative_base)=%llx\n",
				IMAGE + AT_TEXT + 0x800, IMAGE + AT_TABLES, PHYS_BASE,
				IMAGE + AT_NAMES, IMAGE + AT_NUMBERS, IMAGE + AT_TOKENS,
				IMAGE + AT_INDEX, IMAGE + AT_OFFSETS, IMAGE + AT_NUMBERS + 8);
	memcpy(memory + AT_INFO, &head, sizeof(head));
	memcpy(memory + AT_INFO + sizeof(head), "VMCOREINFO\0", VMCOREINFO_NAME);
}

static const struct {
	const char *name;	/* its type first */
	uint64_t at;
} symbols[] = {
	{ "Tfirst", AT_TEXT }, { "tsecond", AT_TEXT + 0x100 }, { "tlast", AT_TEXT + 0x200 },
	{ "R__start_orc_unwind_ip", AT_IPS }, { "R__stop_orc_unwind_ip", AT_IPS + 12 },
	{ "R__start_orc_unwind", AT_ORC }, { "R__start_BTF", AT_BTF }, { "R__stop_BTF", 0 },
	{ "Dmodules", AT_MODULES },
};

#define NR_SYMBOLS (sizeof(symbols) / sizeof(symbols[0]))

/* Each character is a token of its own, but for one of a whole word; offsets are as of a kernel with CPUs. */
static void put_kallsyms(uint32_t btf_size)
{
	size_t at = AT_NAMES, token = 0;

	for (int i = 0; i < 256; i++) {
		put(AT_INDEX + 2 * i, token, 2);
		token += sprintf((char *)memory + AT_TOKENS + token, i == 1 ? "_orc_unwind" : "%c", i) + 1;
	}
	put(AT_NUMBERS, NR_SYMBOLS, 4);
	put(AT_NUMBERS + 8, IMAGE, 8);
	for (size_t i = 0; i < NR_SYMBOLS; i++) {
		const char *word = strstr(symbols[i].name, "_orc_unwind");
		size_t head = word ? word - symbols[i].name : strlen(symbols[i].name);
		size_t tail = word ? strlen(word + 11) : 0;

		memory[at++] = head + !!word + tail;
		memcpy(memory + at, symbols[i].name, head);
		at += head;
		if (word)
			memory[at++] = 1;
		memcpy(memory + at, word ? word + 11 : "", tail);
		at += tail;
		put(AT_OFFSETS + 4 * i, -1 - (symbols[i].at ? symbols[i].at : AT_BTF + btf_size), 4);
	}
}

/* Functions of 0x100 bytes, all of which have pushed nothing. */
static void put_orc(size_t ips, size_t entries, size_t text, int nr)
{
	for (int i = 0; i < nr; i++) {
		put(ips + 4 * i, text + 0x100 * i - (ips + 4 * i), 4);
		put(entries + 6 * i, 8 | 5ull << 32, 6);
	}
}

/* A type of BTF, as words, with members: name, nothing, place. */
struct btf_maker {
	uint32_t word[256];
	size_t nr;
	char names[512];
	size_t size;
};

static uint32_t btf_name(struct btf_maker *maker, const char *name)
{
	size_t at = maker->size;

	maker->size += sprintf(maker->names + at, "%s", name) + 1;
	return at;
}

static void btf_member(struct btf_maker *maker, const char *name, uint32_t place)
{
	maker->word[maker->nr++] = btf_name(maker, name);
	maker->word[maker->nr++] = 0;
	maker->word[maker->nr++] = place * 8;
}

static void btf_struct(struct btf_maker *maker, const char *name, uint32_t nr)
{
	maker->word[maker->nr++] = btf_name(maker, name);
	maker->word[maker->nr++] = BTF_KIND_STRUCT << 24 | nr;
	maker->word[maker->nr++] = 80;
}

/* What modules are like, with members where no Linux has them; how many bytes. */
static uint32_t put_btf(void)
{
	struct btf_maker maker = { .size = 1 };
	struct btf_header head = { .magic = BTF_MAGIC, .version = 1, .hdr_len = sizeof(head) };
	/* Others come before: an integer, and an enumeration of two. */
	static const uint32_t others[] = {
		0, BTF_KIND_INT << 24, 4, 32, 0, BTF_KIND_ENUM << 24 | 2, 4, 0, 0, 0, 1,
	};

	memcpy(maker.word, others, sizeof(others));
	maker.nr = sizeof(others) / sizeof(others[0]);
	btf_struct(&maker, "mod_arch_specific", 3);
	btf_member(&maker, "num_orcs", 0);
	btf_member(&maker, "orc_unwind_ip", 8);
	btf_member(&maker, "orc_unwind", 16);
	btf_struct(&maker, "mod_kallsyms", 3);
	btf_member(&maker, "symtab", 0);
	btf_member(&maker, "num_symtab", 8);
	btf_member(&maker, "strtab", 16);
	btf_struct(&maker, "module", 4);
	btf_member(&maker, "state", 0);
	btf_member(&maker, "list", 16);
	btf_member(&maker, "arch", 32);
	btf_member(&maker, "kallsyms", 64);
	head.type_len = head.str_off = maker.nr * 4;
	head.str_len = maker.size;
	memcpy(memory + AT_BTF, &head, sizeof(head));
	memcpy(memory + AT_BTF + sizeof(head), maker.word, head.type_len);
	memcpy(memory + AT_BTF + sizeof(head) + head.str_off, maker.names, head.str_len);
	return sizeof(head) + head.str_off + head.str_len;
}

static void put_module(void)
{
	const Elf64_Sym function = {
		.st_name = 1, .st_info = ELF64_ST_INFO(STB_LOCAL, STT_FUNC), .st_shndx = 1,
		.st_value = IMAGE + AT_MODULE_TEXT,
	};

	put(AT_MODULES, MODULE + 16, 8);
	put(AT_MODULE + 16, IMAGE + AT_MODULES, 8);
	put(AT_MODULE + 32, 2, 4);
	put(AT_MODULE + 40, IMAGE + AT_MODULE_IPS, 8);
	put(AT_MODULE + 48, IMAGE + AT_MODULE_ORC, 8);
	put(AT_MODULE + 64, IMAGE + AT_KALLSYMS, 8);
	put_orc(AT_MODULE_IPS, AT_MODULE_ORC, AT_MODULE_TEXT, 2);
	put(AT_KALLSYMS, IMAGE + AT_SYMTAB, 8);
	put(AT_KALLSYMS + 8, 2, 4);
	put(AT_KALLSYMS + 16, IMAGE + AT_STRTAB, 8);
	memcpy(memory + AT_SYMTAB + sizeof(function), &function, sizeof(function));
	strcpy((char *)memory + AT_STRTAB + 1, "of_the_module");
}

static void make_guest(void)
{
	memset(memory, 0, MEMORY);
	put_tables();
	put_info();
	put_kallsyms(put_btf());
	put_orc(AT_IPS, AT_ORC, AT_TEXT, 3);
	put_module();
}

static struct guest *new_guest(void)
{
	struct guest *guest = calloc(1, sizeof(*guest));

	guest->pid = getpid();
	guest->slot[0] = (struct trace_slot) { 0, MEMORY, (uintptr_t)memory };
	return guest;
}

/* ---- the tests ---------------------------------------------------------------------------------- */

static bool is_called(const struct guest *guest, uint64_t at, const char *name)
{
	const char *found = "";
	uint64_t start;

	return symbols_find(guest->symbols, IMAGE + at, &found, &start) && !strcmp(found, name);
}

static void test_kernel(void)
{
	const struct orc_table *table;
	struct guest *guest = new_guest();

	make_guest();
	EQ(0, guest_find_info(guest));
	CHECK(!strncmp(guest->info, "OSRELEASE=6.1.0-unit\n", 21));
	EQ(0, guest_load_kernel(guest, NULL));
	CHECK(is_called(guest, AT_TEXT + 0xff, "first") && is_called(guest, AT_TEXT + 0x100, "second"));
	EQ(IMAGE + AT_ORC, symbols_marker(guest->symbols, MARKER_ORC));
	EQ(2, guest->nr_tables);
	CHECK(orc_find(guest->tables, 2, IMAGE + AT_TEXT + 0x150, &table) == &guest->tables[0].entries[1]);
	CHECK(is_called(guest, AT_MODULE_TEXT + 0x10, "of_the_module"));
	CHECK(orc_find(guest->tables, 2, IMAGE + AT_MODULE_TEXT + 0x10, &table) == guest->tables[1].entries);
	/* The module is known now; one that is not whole yet waits. */
	CHECK(!guest_load_modules(guest));
	guest_free(guest);
	put(AT_MODULE, 3, 4);
	guest = new_guest();
	CHECK(!guest_find_info(guest) && !guest_load_kernel(guest, NULL));
	EQ(1, guest->nr_tables);
	put(AT_MODULE, 0, 4);
	CHECK(guest_load_modules(guest) && is_called(guest, AT_MODULE_TEXT, "of_the_module"));
	guest_free(guest);
}

static void test_nobody(void)
{
	struct guest *guest = new_guest();

	memset(memory, 0, MEMORY);
	EQ(-ENOENT, guest_find_info(guest));
	guest->pid = -1;
	CHECK(guest_find_info(guest) < 0);
	guest_free(guest);
}

/* A file of names, of this kernel, of it before it has moved, and of others. */
static void test_files(void)
{
	static const struct {
		const char *text;
		int status;
		const char *says;
	} files[] = {
		{ "ffffffff81080000 T other_name\nffffffff81080800 D init_uts_ns\n", 0, "" },
		{ "ffffffff91080000 T other_name\nffffffff91080800 D init_uts_ns\n", 0, "" },
		{ "ffffffff81080000 T x\nffffffff81080800 D init_uts_ns\nffffffff81080900 D kallsyms_names\n",
		  EXIT_USAGE, "is of another kernel: its addresses" },
		{ "ffffffff81080000 T other_name\n", EXIT_USAGE, "is of another kernel: its addresses" },
		{ "nothing\n", EXIT_USAGE, "has no symbols" },
	};
	char path[32];
	int fd = memfd_create("symbols", 0);

	make_guest();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		struct guest *guest = new_guest();

		said[0] = 0;
		CHECK(!ftruncate(fd, 0) && pwrite(fd, files[i].text, strlen(files[i].text), 0) > 0);
		EQ(0, guest_find_info(guest));
		EQ(files[i].status, guest_load_kernel(guest, path));
		CHECK(files[i].status ? !!strstr(said, files[i].says) :
		      is_called(guest, AT_TEXT + 1, "other_name"));
		guest_free(guest);
	}
	close(fd);
}

/* This program has a build id, which is not the guest's. */
static void test_build_id(void)
{
	struct guest *guest = new_guest();

	make_guest();
	EQ(0, guest_find_info(guest));
	EQ(EXIT_USAGE, guest_load_kernel(guest, "/proc/self/exe"));
	CHECK(strstr(said, "is of another kernel: its build id is ") &&
	      strstr(said, "the guest's 0123456789ab"));
	guest_free(guest);
}

static void test_damage(void)
{
	const struct orc_table *table;

	for (int round = 0; round < ROUNDS; round++) {
		struct guest *guest = new_guest();
		static const size_t places[] = {
			AT_TABLES, AT_INFO, AT_NAMES, AT_TOKENS, AT_INDEX, AT_OFFSETS, AT_NUMBERS, AT_IPS,
			AT_ORC, AT_BTF, AT_MODULES, AT_MODULE, AT_KALLSYMS, AT_SYMTAB, AT_STRTAB,
		};

		make_guest();
		for (unsigned int i = 0; i < 1 + round % 8; i++)
			put(places[any() % (sizeof(places) / sizeof(places[0]))] + any() % 512,
			    any() >> any() % 64, 1 + any() % 8);
		if (!guest_find_info(guest))
			guest_load_kernel(guest, NULL);
		orc_find(guest->tables, guest->nr_tables, IMAGE + any() % MEMORY, &table);
		guest_free(guest);
	}
}

int main(void)
{
	static const struct unit_test tests[] = {
		{ .name = "a kernel and its module", .run = test_kernel },
		{ .name = "no kernel, no process", .run = test_nobody },
		{ .name = "files of names", .run = test_files },
		{ .name = "another build id", .run = test_build_id },
		{ .name = "damage", .run = test_damage },
	};

	memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return run_all(tests, sizeof(tests) / sizeof(tests[0]));
}
