// SPDX-License-Identifier: GPL-2.0
/* What a guest's Linux kernel says of its functions, and of those of its modules.  See guest.h. */
#include <elf.h>
#include <linux/btf.h>
#include <stdlib.h>
#include <string.h>

#include "guest.h"
#include "tool.h"

/* A number of the guest's; 0: it is not there. */
static uint64_t number_at(const struct guest *guest, uint64_t gva, size_t size)
{
	uint64_t value = 0;

	return guest_read_virtual(guest, gva, &value, size) ? 0 : value;
}

/* ---- kallsyms ---------------------------------------------------------------------------- */

#define SYMBOLS_MOST 2000000u
#define NAMES_MOST (32u << 20)
#define TOKENS 256
/* A token is a few letters; what is behind the last one is read with it. */
#define TOKEN_TABLE_MOST 4096

/**
 * struct kallsyms - the kernel's own table, copied
 * @nr: of symbols
 * @base: what @offsets are from
 * @offsets: of the symbols; negative ones are from @base - 1 down, others absolute, unless all are positive
 * @is_absolute: some are negative
 * @names: one behind another: length, numbers of tokens
 * @names_size: bytes of these at most
 * @tokens: strings
 * @index: where each of them is
 */
struct kallsyms {
	uint32_t nr;
	uint64_t base;
	int32_t *offsets;
	bool is_absolute;
	unsigned char *names;
	size_t names_size;
	char *tokens;
	uint16_t *index;
};

static uint64_t info_symbol(const struct guest *guest, const char *name)
{
	char key[64];

	snprintf(key, sizeof(key), "SYMBOL(%s)", name);
	return vmcoreinfo_number(guest->info, key, 16);
}

static bool copy_kallsyms(const struct guest *guest, struct kallsyms *table)
{
	uint64_t tokens = info_symbol(guest, "kallsyms_token_table");
	uint64_t names = info_symbol(guest, "kallsyms_names");

	table->nr = number_at(guest, info_symbol(guest, "kallsyms_num_syms"), 4);
	table->base = number_at(guest, info_symbol(guest, "kallsyms_relative_base"), 8);
	if (!names || tokens <= names || tokens - names > NAMES_MOST || table->nr > SYMBOLS_MOST)
		return false;
	table->names_size = tokens - names;
	table->names = guest_copy(guest, names, table->names_size);
	table->tokens = guest_copy(guest, tokens, TOKEN_TABLE_MOST);
	table->index = guest_copy(guest, info_symbol(guest, "kallsyms_token_index"),
				  TOKENS * sizeof(*table->index));
	table->offsets = guest_copy(guest, info_symbol(guest, "kallsyms_offsets"),
				    table->nr * sizeof(*table->offsets));
	for (uint32_t i = 0; table->offsets && i < table->nr; i++)
		table->is_absolute |= table->offsets[i] < 0;
	return table->names && table->tokens && table->index && table->offsets;
}

static uint64_t symbol_address(const struct kallsyms *table, uint32_t i)
{
	if (!table->is_absolute)
		return table->base + (uint32_t)table->offsets[i];
	if (table->offsets[i] >= 0)
		return table->offsets[i];
	return table->base - 1 - table->offsets[i];
}

/* The next name, type first, from @at on; false: there is no more. */
static bool next_name(const struct kallsyms *table, size_t *at, char *name, size_t size)
{
	size_t length, used = 0;

	if (*at + 2 > table->names_size)
		return false;
	length = table->names[(*at)++];
	if (length & 0x80)
		length = (length & 0x7f) | table->names[(*at)++] << 7;
	if (length > table->names_size - *at)
		return false;
	for (; length; length--) {
		unsigned int token = table->index[table->names[(*at)++]];
		size_t room = token < TOKEN_TABLE_MOST ? TOKEN_TABLE_MOST - token : 0;
		size_t nr = room ? strnlen(table->tokens + token, room) : 0;

		if (nr >= size - used)
			return false;
		memcpy(name + used, table->tokens + token, nr);
		used += nr;
	}
	name[used] = '\0';
	return used > 1;
}

static bool add_kallsyms(const struct guest *guest)
{
	struct kallsyms table = { 0 };
	bool is_there = copy_kallsyms(guest, &table);
	char name[512];
	size_t at = 0;

	for (uint32_t i = 0; is_there && i < table.nr && next_name(&table, &at, name, sizeof(name)); i++)
		symbols_add(guest->symbols, name[0], symbol_address(&table, i), name + 1);
	free(table.names);
	free(table.tokens);
	free(table.index);
	free(table.offsets);
	return is_there;
}

/* ---- ORC ------------------------------------------------------------------------------------ */

#define ENTRIES_MOST 8000000u

static bool has_signal(const struct guest *guest)
{
	const char *release = vmcoreinfo_value(guest->info, "OSRELEASE");
	unsigned int major = 0, minor = 0;

	return release && sscanf(release, "%u.%u", &major, &minor) == 2 &&
	       (major > 6 || (major == 6 && minor >= 4));
}

/* An empty one, if it cannot be had; false: there is no room for more. */
static bool add_table(struct guest *guest, uint64_t ips, uint64_t entries, uint64_t nr)
{
	struct orc_table *table = &guest->tables[guest->nr_tables];

	if (guest->nr_tables == ARRAY_SIZE(guest->tables))
		return false;
	*table = (struct orc_table) { .gva = ips, .has_signal = has_signal(guest) };
	if (nr <= ENTRIES_MOST) {
		table->ips = guest_copy(guest, ips, nr * sizeof(*table->ips));
		table->entries = guest_copy(guest, entries, nr * sizeof(*table->entries));
	}
	if (table->ips && table->entries)
		table->nr = nr;
	guest->nr_tables++;
	return true;
}

/* ---- BTF ------------------------------------------------------------------------------------- */

/* What is looked for of modules: members of structs. */
static const struct {
	const char *type, *member;
} wanted[NR_MEMBERS] = {
	[MODULE_STATE] = { "module", "state" }, [MODULE_LIST] = { "module", "list" },
	[MODULE_ARCH] = { "module", "arch" }, [MODULE_KALLSYMS] = { "module", "kallsyms" },
	[ARCH_NR] = { "mod_arch_specific", "num_orcs" },
	[ARCH_IPS] = { "mod_arch_specific", "orc_unwind_ip" },
	[ARCH_ORC] = { "mod_arch_specific", "orc_unwind" }, [KALLSYMS_NR] = { "mod_kallsyms", "num_symtab" },
	[KALLSYMS_SYMTAB] = { "mod_kallsyms", "symtab" }, [KALLSYMS_STRTAB] = { "mod_kallsyms", "strtab" },
};

/* What follows a type, in bytes; Documentation/bpf/btf.rst. */
static size_t btf_rest(const struct btf_type *type)
{
	size_t nr = BTF_INFO_VLEN(type->info);

	switch (BTF_INFO_KIND(type->info)) {
	case BTF_KIND_INT:
	case BTF_KIND_VAR:
	case BTF_KIND_DECL_TAG:
		return 4;
	case BTF_KIND_ARRAY:
		return sizeof(struct btf_array);
	case BTF_KIND_STRUCT:
	case BTF_KIND_UNION:
	case BTF_KIND_DATASEC:
	case BTF_KIND_ENUM64:
		return nr * sizeof(struct btf_member);
	case BTF_KIND_ENUM:
	case BTF_KIND_FUNC_PROTO:
		return nr * sizeof(struct btf_enum);
	default:
		return 0;
	}
}

static void take_members(struct guest *guest, const struct btf_type *type, const struct btf_member *members,
			 const char *names, size_t size)
{
	for (size_t i = 0; i < BTF_INFO_VLEN(type->info); i++)
		for (int j = 0; j < NR_MEMBERS; j++) {
			uint32_t bits = members[i].offset;

			if (BTF_INFO_KFLAG(type->info))
				bits = BTF_MEMBER_BIT_OFFSET(bits);
			if (members[i].name_off >= size || strcmp(names + type->name_off, wanted[j].type) ||
			    strcmp(names + members[i].name_off, wanted[j].member))
				continue;
			guest->member[j] = bits / 8;
		}
}

/* Where the members are.  @blob ends with a zero that is not in @size. */
static void read_btf(struct guest *guest, const unsigned char *blob, size_t size)
{
	const struct btf_header *head = (const void *)blob;
	uint64_t at, end, names;

	if (size < sizeof(*head) || head->magic != BTF_MAGIC)
		return;
	at = (uint64_t)head->hdr_len + head->type_off;
	end = at + head->type_len;
	names = (uint64_t)head->hdr_len + head->str_off;
	if (end > size || names >= size || at % 4)
		return;
	while (at + sizeof(struct btf_type) <= end) {
		const struct btf_type *type = (const void *)(blob + at);
		size_t rest = btf_rest(type);

		at += sizeof(*type);
		if (rest > end - at)
			return;
		if (BTF_INFO_KIND(type->info) == BTF_KIND_STRUCT && type->name_off < size - names)
			take_members(guest, type, (const void *)(blob + at), (const char *)blob + names,
				     size - names);
		at += rest;
	}
}

/* ---- modules ----------------------------------------------------------------------------------- */

static void add_module_symbols(struct guest *guest, uint64_t kallsyms)
{
	uint64_t nr = number_at(guest, kallsyms + guest->member[KALLSYMS_NR], 4);
	uint64_t symtab = number_at(guest, kallsyms + guest->member[KALLSYMS_SYMTAB], 8);
	uint64_t strtab = number_at(guest, kallsyms + guest->member[KALLSYMS_STRTAB], 8);
	Elf64_Sym *list = guest_copy(guest, symtab, nr * sizeof(*list));
	uint32_t most = 0;
	char *names;

	for (uint64_t i = 0; list && i < nr; i++)
		most = list[i].st_name > most ? list[i].st_name : most;
	/* The table's size is not said: the last name may be cut. */
	names = guest_copy(guest, strtab, most + 64);
	if (!names)
		names = guest_copy(guest, strtab, most);
	for (uint64_t i = 0; list && names && i < nr; i++)
		if (ELF64_ST_TYPE(list[i].st_info) == STT_FUNC && list[i].st_shndx != SHN_UNDEF)
			symbols_add(guest->symbols, 't', list[i].st_value, names + list[i].st_name);
	free(names);
	free(list);
}

static void add_module(struct guest *guest, uint64_t module)
{
	uint64_t arch = module + guest->member[MODULE_ARCH];

	if (!add_table(guest, number_at(guest, arch + guest->member[ARCH_IPS], 8),
		       number_at(guest, arch + guest->member[ARCH_ORC], 8),
		       number_at(guest, arch + guest->member[ARCH_NR], 4)))
		return;
	guest->module[guest->nr_tables - 2] = module;
	add_module_symbols(guest, number_at(guest, module + guest->member[MODULE_KALLSYMS], 8));
}

/* enum module_state: it is whole, its tables are sorted.  Before and behind that they are not to be had. */
#define MODULE_STATE_LIVE 0
#define MODULE_STATE_COMING 1

static bool is_whole(const struct guest *guest, uint64_t module)
{
	uint32_t state;

	return !guest_read_virtual(guest, module + guest->member[MODULE_STATE], &state, sizeof(state)) &&
	       (state == MODULE_STATE_LIVE || state == MODULE_STATE_COMING);
}

static bool is_known(const struct guest *guest, uint64_t module)
{
	for (size_t i = 0; i + 1 < guest->nr_tables; i++)
		if (guest->module[i] == module)
			return true;
	return false;
}

bool guest_load_modules(struct guest *guest)
{
	uint64_t head = symbols_marker(guest->symbols, MARKER_MODULES), at = head;
	size_t before = guest->nr_tables;

	for (int j = 0; j < NR_MEMBERS; j++)
		if (guest->member[j] < 0)
			return false;
	for (int i = 0; head && i < MODULES_MOST; i++) {
		uint64_t module;

		at = number_at(guest, at, sizeof(at));
		module = at - guest->member[MODULE_LIST];
		if (!at || at == head)
			break;
		if (!is_known(guest, module) && is_whole(guest, module))
			add_module(guest, module);
	}
	if (guest->nr_tables == before)
		return false;
	symbols_sort(guest->symbols);
	return true;
}

/* ---- all of it ----------------------------------------------------------------------------------- */

static void load_tables(struct guest *guest)
{
	uint64_t ips = symbols_marker(guest->symbols, MARKER_ORC_IPS);
	uint64_t ips_end = symbols_marker(guest->symbols, MARKER_ORC_IPS_END);
	uint64_t entries = symbols_marker(guest->symbols, MARKER_ORC);
	uint64_t btf = symbols_marker(guest->symbols, MARKER_BTF);
	uint64_t btf_end = symbols_marker(guest->symbols, MARKER_BTF_END);
	void *types = btf && btf_end > btf ? guest_copy(guest, btf, btf_end - btf) : NULL;

	/* The kernel's is the first, even if it has none. */
	add_table(guest, ips, entries, ips && ips_end > ips ? (ips_end - ips) / sizeof(int32_t) : 0);
	memset(guest->member, -1, sizeof(guest->member));
	if (types)
		read_btf(guest, types, btf_end - btf);
	free(types);
	guest_load_modules(guest);
}

int guest_load_kernel(struct guest *guest, const char *file)
{
	int status = EXIT_OK;

	guest->symbols = symbols_new();
	if (file)
		status = symbols_read_of(guest->symbols, file, guest->info);
	else
		add_kallsyms(guest);
	if (status)
		return status;
	symbols_sort(guest->symbols);
	load_tables(guest);
	return EXIT_OK;
}
