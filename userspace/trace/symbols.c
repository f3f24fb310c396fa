// SPDX-License-Identifier: GPL-2.0
/* Names of a guest's functions, from its System.map or its ELF image. */
#include <errno.h>
#include <fcntl.h>
#include <gelf.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runner.h"
#include "tool.h"
#include "vmcoreinfo.h"

struct symbol {
	uint64_t start;
	char *name;
};

struct symbols {
	struct symbol *list;
	size_t nr;
	size_t room;
	uint64_t marker[NR_MARKERS];
	char build_id[2 * 64 + 1];
	const char *wanted;	/* a name, of a function or not, that is looked for; or NULL */
	bool has_wanted;	/* the first of that name is */
	uint64_t wanted_start;
	uint64_t wanted_size;
};

static const char *const markers[NR_MARKERS] = {
	[MARKER_ORC_IPS] = "__start_orc_unwind_ip", [MARKER_ORC_IPS_END] = "__stop_orc_unwind_ip",
	[MARKER_ORC] = "__start_orc_unwind", [MARKER_BTF] = "__start_BTF", [MARKER_BTF_END] = "__stop_BTF",
	[MARKER_MODULES] = "modules", [MARKER_TEXT] = "_stext", [MARKER_UTS] = "init_uts_ns",
	[MARKER_NAMES] = "kallsyms_names",
};

struct symbols *symbols_new(void)
{
	struct symbols *symbols = calloc(1, sizeof(*symbols));

	if (!symbols)
		abort();
	return symbols;
}

static void note_marker(struct symbols *symbols, uint64_t start, const char *name)
{
	for (int i = 0; i < NR_MARKERS; i++)
		if (!strcmp(markers[i], name))
			symbols->marker[i] = start;
}

uint64_t symbols_marker(const struct symbols *symbols, enum marker marker)
{
	return symbols->marker[marker];
}

static void note_wanted(struct symbols *symbols, uint64_t start, uint64_t size, const char *name)
{
	if (!symbols->wanted || symbols->has_wanted || strcmp(symbols->wanted, name))
		return;
	symbols->has_wanted = true;
	symbols->wanted_start = start;
	symbols->wanted_size = size;
}

void symbols_add(struct symbols *symbols, char type, uint64_t start, const char *name)
{
	if (!strchr("tTwW", type)) {
		note_marker(symbols, start, name);
		return;
	}
	if (name[0] == '_')
		note_marker(symbols, start, name);
	if (symbols->nr == symbols->room) {
		symbols->room = symbols->room ? 2 * symbols->room : 1024;
		symbols->list = realloc(symbols->list, symbols->room * sizeof(*symbols->list));
		if (!symbols->list)
			abort();
	}
	symbols->list[symbols->nr++] = (struct symbol){ start, strdup(name) };
}

static int compare(const void *a, const void *b)
{
	const struct symbol *left = a, *right = b;

	return left->start < right->start ? -1 : left->start > right->start;
}

void symbols_sort(struct symbols *symbols)
{
	if (symbols->nr)
		qsort(symbols->list, symbols->nr, sizeof(*symbols->list), compare);
}

/* As nm prints it: address, type, name. */
static void read_map(struct symbols *symbols, FILE *file)
{
	char line[1024], name[512], type;
	uint64_t start;

	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "%" SCNx64 " %c %511s", &start, &type, name) == 3) {
			note_wanted(symbols, start, 0, name);
			symbols_add(symbols, type, start, name);
		}
}

static void read_elf_table(struct symbols *symbols, Elf *elf, Elf_Scn *section, const GElf_Shdr *header)
{
	Elf_Data *data = elf_getdata(section, NULL);
	GElf_Sym symbol;

	if (!data || !header->sh_entsize)
		return;
	for (size_t i = 0; i < header->sh_size / header->sh_entsize; i++) {
		const char *name;
		bool is_data;

		if (!gelf_getsym(data, i, &symbol) || symbol.st_shndx == SHN_UNDEF)
			continue;
		is_data = GELF_ST_TYPE(symbol.st_info) != STT_FUNC &&
			  GELF_ST_TYPE(symbol.st_info) != STT_NOTYPE;
		name = elf_strptr(elf, header->sh_link, symbol.st_name);
		if (!name || !*name)
			continue;
		note_wanted(symbols, symbol.st_value, symbol.st_size, name);
		symbols_add(symbols, is_data ? 'd' : 't', symbol.st_value, name);
	}
}

static void read_build_id(struct symbols *symbols, Elf_Scn *section)
{
	Elf_Data *data = elf_getdata(section, NULL);
	size_t at = 0, name, bytes;
	GElf_Nhdr note;

	while (data && (at = gelf_getnote(data, at, &note, &name, &bytes)) > 0)
		for (size_t i = 0; note.n_type == NT_GNU_BUILD_ID && i < note.n_descsz && i < 64; i++)
			sprintf(symbols->build_id + 2 * i, "%02x", ((unsigned char *)data->d_buf)[bytes + i]);
}

static bool read_elf(struct symbols *symbols, int fd)
{
	Elf *elf = elf_version(EV_CURRENT) == EV_NONE ? NULL : elf_begin(fd, ELF_C_READ, NULL);
	bool is_elf = elf && elf_kind(elf) == ELF_K_ELF;
	Elf_Scn *section = NULL;
	GElf_Shdr header;

	while (is_elf && (section = elf_nextscn(elf, section))) {
		if (!gelf_getshdr(section, &header))
			continue;
		if (header.sh_type == SHT_SYMTAB)
			read_elf_table(symbols, elf, section, &header);
		else if (header.sh_type == SHT_NOTE)
			read_build_id(symbols, section);
	}
	elf_end(elf);
	return is_elf;
}

/* All of a file, without an offset; false after a message. */
static bool read_all(struct symbols *symbols, const char *path)
{
	FILE *file = fopen(path, "re");

	if (file && !read_elf(symbols, fileno(file))) {
		rewind(file);
		read_map(symbols, file);
	}
	if (!symbols->nr)
		complain(file ? "%s has no symbols: it should be a System.map or an ELF image" :
				"cannot read %s: %m", path);
	if (file)
		fclose(file);
	return symbols->nr;
}

static void move(struct symbols *symbols, uint64_t offset)
{
	for (size_t i = 0; i < symbols->nr; i++)
		symbols->list[i].start += offset;
	for (int i = 0; i < NR_MARKERS; i++)
		symbols->marker[i] += symbols->marker[i] ? offset : 0;
	symbols->wanted_start += offset;
}

bool symbols_wanted(const struct symbols *symbols, uint64_t *start, uint64_t *size)
{
	*start = symbols->wanted_start;
	*size = symbols->wanted_size;
	return symbols->has_wanted;
}

struct symbols *symbols_open(const struct trace_options *options)
{
	struct symbols *symbols = symbols_new();

	if (!options->symbols)
		return symbols;
	symbols->wanted = options->wanted;
	if (!read_all(symbols, options->symbols)) {
		symbols_close(symbols);
		return NULL;
	}
	move(symbols, options->offset);
	symbols_sort(symbols);
	return symbols;
}

/* Of this kernel, wherever it has put itself?  What both say they say alike. */
static bool has_places(const struct symbols *symbols, const char *info, uint64_t offset)
{
	for (int i = MARKER_TEXT; i < NR_MARKERS; i++) {
		uint64_t its;
		char key[64];

		snprintf(key, sizeof(key), "SYMBOL(%s)", markers[i]);
		its = vmcoreinfo_number(info, key, 16);
		if (its && symbols->marker[i] && its - symbols->marker[i] != offset)
			return false;
	}
	return symbols->marker[MARKER_UTS];
}

int symbols_read_of(struct symbols *symbols, const char *path, const char *info)
{
	uint64_t offset = vmcoreinfo_number(info, "SYMBOL(init_uts_ns)", 16);
	const char *id = vmcoreinfo_value(info, "BUILD-ID");
	int length = id ? strcspn(id, "\n") : 0;

	if (!read_all(symbols, path))
		return EXIT_USAGE;
	offset -= symbols->marker[MARKER_UTS];
	if (symbols->build_id[0] && id && strncmp(symbols->build_id, id, strlen(symbols->build_id))) {
		complain("%s is of another kernel: its build id is %.12s, the guest's %.*s", path,
			 symbols->build_id, length < 12 ? length : 12, id);
		return EXIT_USAGE;
	}
	if (!has_places(symbols, info, offset)) {
		complain("%s is of another kernel: its addresses are not the guest's", path);
		return EXIT_USAGE;
	}
	move(symbols, offset);
	return EXIT_OK;
}

void symbols_close(struct symbols *symbols)
{
	for (size_t i = 0; i < symbols->nr; i++)
		free(symbols->list[i].name);
	free(symbols->list);
	free(symbols);
}

bool symbols_find(const struct symbols *symbols, uint64_t rip, const char **name, uint64_t *start)
{
	size_t low = 0, high = symbols->nr;

	/* list[low - 1] is the last that does not begin behind rip. */
	while (low < high) {
		size_t middle = (low + high) / 2;

		if (symbols->list[middle].start <= rip)
			low = middle + 1;
		else
			high = middle;
	}
	/* The last function ends somewhere: not what is in another gigabyte. */
	if (!low || rip - symbols->list[low - 1].start >= 1 << 20)
		return false;
	*name = symbols->list[low - 1].name;
	*start = symbols->list[low - 1].start;
	return true;
}
