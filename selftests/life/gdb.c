// SPDX-License-Identifier: GPL-2.0
/*
 * Debian's gdb debugs Debian's kernel, with symbols, from its first instruction to its first process; and
 * then the guest goes on as if nobody had been there.  Where there is a gdb: tools/check carries it into
 * a host of its own, which runs the same kernel, so that its own symbols are the guest's.
 */
#include <elf.h>
#include <stdio.h>

#include "kselftest_harness.h"
#include "life.h"

#define TEXT 0xffffffff80000000ull	/* the kernel's image, and no modules */
#define TEXT_SIZE 0x40000000ull
#define SYMBOLS RUNTIME_DIR "/symbols"
#define SYMBOLS_MOST 400000
#define NAMES_MOST (16 << 20)

/* One section for all of the image, and the symbols. */
static const char sections[] = "\0.text\0.symtab\0.strtab";
enum { SECTION_TEXT = 1, SECTION_SYMBOLS, SECTION_NAMES, NR_SECTIONS };

struct file {
	Elf64_Ehdr head;
	Elf64_Shdr section[NR_SECTIONS];
};

/* A line of /proc/kallsyms, unless it is of a module, or no address. */
static bool read_symbol(const char *line, Elf64_Sym *symbol, char *name)
{
	unsigned long long address;
	char type, module[2];

	if (sscanf(line, "%llx %c %127s %1s", &address, &type, name, module) != 3 || address < TEXT)
		return false;
	*symbol = (Elf64_Sym) {
		.st_value = address, .st_shndx = SECTION_TEXT,
		.st_info = ELF64_ST_INFO(STB_GLOBAL, strchr("tTwW", type) ? STT_FUNC : STT_OBJECT),
	};
	return true;
}

static bool write_file(const Elf64_Sym *symbols, size_t nr, const char *names, size_t size)
{
	const size_t at_names = sizeof(struct file) + nr * sizeof(*symbols);
	const struct file file = {
		.head = {
			.e_ident = {
				ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT,
			},
			.e_type = ET_EXEC, .e_machine = EM_X86_64, .e_version = EV_CURRENT,
			.e_shoff = offsetof(struct file, section), .e_ehsize = sizeof(Elf64_Ehdr),
			.e_shentsize = sizeof(Elf64_Shdr), .e_shnum = NR_SECTIONS,
			.e_shstrndx = SECTION_NAMES,
		},
		.section = {
			[SECTION_TEXT] = { 1, SHT_NOBITS, SHF_ALLOC | SHF_EXECINSTR, TEXT, 0, TEXT_SIZE },
			[SECTION_SYMBOLS] = { 7, SHT_SYMTAB, 0, 0, sizeof(file), nr * sizeof(*symbols),
					      SECTION_NAMES, 1, 8, sizeof(*symbols) },
			[SECTION_NAMES] = { 15, SHT_STRTAB, 0, 0, at_names, size },
		},
	};
	FILE *out = fopen(SYMBOLS, "w");
	bool is_good = out && fwrite(&file, sizeof(file), 1, out) &&
		       fwrite(symbols, sizeof(*symbols), nr, out) == nr && fwrite(names, size, 1, out);

	return out && !fclose(out) && is_good;
}

/* The kernel's own symbols, as gdb wants them. */
static bool make_symbols(void)
{
	Elf64_Sym *symbols = calloc(SYMBOLS_MOST, sizeof(*symbols));
	char *names = malloc(NAMES_MOST), line[512], name[128];
	FILE *in = fopen("/proc/kallsyms", "r");
	size_t nr = 1, size = sizeof(sections);
	bool is_good;

	memcpy(names, sections, sizeof(sections));
	while (in && nr < SYMBOLS_MOST && size < NAMES_MOST - sizeof(name) && fgets(line, sizeof(line), in)) {
		if (!read_symbol(line, &symbols[nr], name))
			continue;
		symbols[nr++].st_name = size;
		size += sprintf(names + size, "%s", name) + 1;
	}
	is_good = in && nr > 1000 && write_file(symbols, nr, names, size);
	if (in)
		fclose(in);
	free(symbols);
	free(names);
	return is_good;
}

/* What gdb is told, and what it has to have said, in this order. */
static const struct {
	const char *command, *says;
} steps[] = {
	{ "target remote | mote gdb kernel", NULL },
	{ "info threads", "vCPU 1, not started" },
	/* Its memory is not there yet. */
	{ "break start_kernel", "Breakpoint 1 at" },
	{ "continue", "Cannot insert breakpoint 1" },
	{ "delete", NULL },
	{ "hbreak start_kernel", "Hardware assisted breakpoint 2 at" },
	{ "continue", " in start_kernel ()" },
	{ "backtrace 2", "in secondary_startup_64" },
	{ "print ($efer & 0x500) == 0x500", "$1 = 1" },
	{ "delete", NULL },
	/* The kernel looks at the first bytes of its functions before it comes there. */
	{ "hbreak rest_init", "Hardware assisted breakpoint 3 at" },
	{ "continue", " in rest_init ()" },
	{ "backtrace 2", "in arch_call_rest_init ()" },
	{ "info symbol $pc", "rest_init in section .text" },
	{ "watch *(int *)&system_state", "Hardware watchpoint 4" },
	{ "continue", "New value = 1" },
	{ "delete", NULL },
	{ "break run_init_process", "Breakpoint 5 at" },
	{ "continue", " in run_init_process ()" },
	{ "x/s $rdi", "\"/init\"" },
	{ "stepi", NULL },
	{ "info symbol $pc", "run_init_process + " },
	{ "delete", NULL },
	{ "detach", "detached" },
};

TEST(kernel)
{
	char line[8192] = "cd " RUNTIME_DIR " && gdb -nx -batch";
	struct command command;
	const char *at;

	life_begin();
	ASSERT_TRUE(make_symbols());
	ASSERT_TRUE(vm_start("kernel", "--gdb --cpus 2 --initrd $OLDPWD/../boot/initrd --append "
			     "'console=ttyS0 quiet nokaslr panic=-1 cpus=2 least=400000 end=poweroff'",
			     "$OLDPWD/../boot/vmlinuz"));
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
		sprintf(line + strlen(line), " -ex '%s'", steps[i].command);
	command_run(&command, "%s " SYMBOLS " 2>&1", line);
	at = command.out;
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]) && at; i++) {
		const char *found = steps[i].says ? strstr(at, steps[i].says) : at;

		EXPECT_NE(NULL, found) TH_LOG("%s does not say %s", steps[i].command, steps[i].says);
		at = found;
	}
	for (char *said = at ? NULL : strtok(command.out, "\n"); said; said = strtok(NULL, "\n"))
		TH_LOG("gdb: %s", said);
	EXPECT_EQ(0, vm_status("kernel"));
	command_run(&command, "cat " RUNTIME_DIR "/kernel.out");
	EXPECT_NE(NULL, strstr(command.out, "guest: all is well")) TH_LOG("%s", command.out);
	life_end();
}

MOTE_TEST_MAIN
