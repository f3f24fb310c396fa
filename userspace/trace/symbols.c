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

struct symbol {
	uint64_t start;
	char *name;
};

struct symbols {
	struct symbol *list;
	size_t nr;
	size_t room;
};

static void add(struct symbols *symbols, uint64_t start, const char *name)
{
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

/* As nm prints it: address, type, name. */
static void read_map(struct symbols *symbols, FILE *file, uint64_t offset)
{
	char line[1024], name[512], type;
	uint64_t start;

	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "%" SCNx64 " %c %511s", &start, &type, name) == 3 && strchr("tTwW", type))
			add(symbols, start + offset, name);
}

static void read_elf_table(struct symbols *symbols, Elf *elf, Elf_Scn *section, const GElf_Shdr *header,
			   uint64_t offset)
{
	Elf_Data *data = elf_getdata(section, NULL);
	GElf_Sym symbol;

	if (!data || !header->sh_entsize)
		return;
	for (size_t i = 0; i < header->sh_size / header->sh_entsize; i++) {
		const char *name;

		if (!gelf_getsym(data, i, &symbol) || symbol.st_shndx == SHN_UNDEF)
			continue;
		if (GELF_ST_TYPE(symbol.st_info) != STT_FUNC && GELF_ST_TYPE(symbol.st_info) != STT_NOTYPE)
			continue;
		name = elf_strptr(elf, header->sh_link, symbol.st_name);
		if (name && *name)
			add(symbols, symbol.st_value + offset, name);
	}
}

static bool read_elf(struct symbols *symbols, int fd, uint64_t offset)
{
	Elf *elf = elf_version(EV_CURRENT) == EV_NONE ? NULL : elf_begin(fd, ELF_C_READ, NULL);
	bool is_elf = elf && elf_kind(elf) == ELF_K_ELF;
	Elf_Scn *section = NULL;
	GElf_Shdr header;

	while (is_elf && (section = elf_nextscn(elf, section)))
		if (gelf_getshdr(section, &header) && header.sh_type == SHT_SYMTAB)
			read_elf_table(symbols, elf, section, &header, offset);
	elf_end(elf);
	return is_elf;
}

struct symbols *symbols_open(const struct trace_options *options)
{
	struct symbols *symbols = calloc(1, sizeof(*symbols));
	FILE *file;

	if (!symbols)
		abort();
	if (!options->symbols)
		return symbols;
	file = fopen(options->symbols, "re");
	if (file) {
		if (!read_elf(symbols, fileno(file), options->offset)) {
			rewind(file);
			read_map(symbols, file, options->offset);
		}
		fclose(file);
	}
	if (!symbols->nr) {
		complain(file ? "%s has no symbols: it should be a System.map or an ELF image" :
				"cannot read %s: %m", options->symbols);
		symbols_close(symbols);
		return NULL;
	}
	qsort(symbols->list, symbols->nr, sizeof(*symbols->list), compare);
	return symbols;
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
