// SPDX-License-Identifier: GPL-2.0
/*
 * CPU features by name, as Linux shows them in /proc/cpuinfo, or calls them if it
 * does not show them; where they are in
 * CPUID: SDM 2A, "CPUID"; APM 3, "Obtaining Processor Information Via the CPUID
 * Instruction".
 */
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

#include "runner.h"
#include "vm.h"

enum { EAX, EBX, ECX, EDX };

/**
 * struct word - a register of CPUID that has features
 * @leaf: EAX
 * @subleaf: ECX
 * @reg: register
 * @names: by bit; NULL: none that a guest is shown or Linux shows
 */
struct word {
	__u32 leaf;
	__u32 subleaf;
	unsigned int reg;
	const char *names[32];
};

enum { WORD_1_EDX = 0, WORD_EXTENDED_EDX = 7 };

static const struct word words[FEATURE_WORDS] = {
	[WORD_1_EDX] = { 1, 0, EDX, {
		"fpu", "vme", "de", "pse", "tsc", "msr", "pae", "mce", "cx8", "apic", NULL, "sep",
		"mtrr", "pge", "mca", "cmov", "pat", "pse36", "pn", "clflush", NULL, "dts", "acpi",
		"mmx", "fxsr", "sse", "sse2", "ss", "ht", "tm", "ia64", "pbe" } },
	{ 1, 0, ECX, {
		"pni", "pclmulqdq", "dtes64", "monitor", "ds_cpl", "vmx", "smx", "est", "tm2",
		"ssse3", "cid", "sdbg", "fma", "cx16", "xtpr", "pdcm", NULL, "pcid", "dca",
		"sse4_1", "sse4_2", "x2apic", "movbe", "popcnt", "tsc_deadline_timer", "aes",
		"xsave", NULL, "avx", "f16c", "rdrand", "hypervisor" } },
	{ 7, 0, EBX, {
		"fsgsbase", "tsc_adjust", "sgx", "bmi1", "hle", "avx2", "fdp_excptn_only", "smep", "bmi2",
		"erms", "invpcid", "rtm", "cqm", "zero_fcs_fds", "mpx", "rdt_a", "avx512f", "avx512dq",
		"rdseed", "adx", "smap", "avx512ifma", NULL, "clflushopt", "clwb", "intel_pt",
		"avx512pf", "avx512er", "avx512cd", "sha_ni", "avx512bw", "avx512vl" } },
	{ 7, 0, ECX, {
		[0] = "prefetchwt1", [1] = "avx512vbmi", [2] = "umip",
		[3] = "pku", [4] = "ospke", [5] = "waitpkg",
		[6] = "avx512_vbmi2", [8] = "gfni", [9] = "vaes", [10] = "vpclmulqdq",
		[11] = "avx512_vnni", [12] = "avx512_bitalg", [13] = "tme",
		[14] = "avx512_vpopcntdq", [16] = "la57", [22] = "rdpid",
		[24] = "bus_lock_detect", [25] = "cldemote", [27] = "movdiri",
		[28] = "movdir64b", [29] = "enqcmd", [30] = "sgx_lc" } },
	{ 7, 0, EDX, {
		[2] = "avx512_4vnniw", [3] = "avx512_4fmaps", [4] = "fsrm",
		[8] = "avx512_vp2intersect", [10] = "md_clear", [14] = "serialize",
		[16] = "tsxldtrk", [18] = "pconfig", [19] = "arch_lbr", [20] = "ibt",
		[22] = "amx_bf16", [23] = "avx512_fp16", [24] = "amx_tile", [25] = "amx_int8",
		[28] = "flush_l1d", [29] = "arch_capabilities" } },
	{ 7, 1, EAX, {
		[4] = "avx_vnni", [5] = "avx512_bf16", [10] = "fzrm", [11] = "fsrs", [12] = "fsrc",
		[23] = "avx_ifma" } },
	{ 0xd, 1, EAX, { "xsaveopt", "xsavec", "xgetbv1", "xsaves" } },
	[WORD_EXTENDED_EDX] = { 0x80000001, 0, EDX, {
		[11] = "syscall", [19] = "mp", [20] = "nx", [22] = "mmxext", [25] = "fxsr_opt",
		[26] = "pdpe1gb", [27] = "rdtscp", [29] = "lm", [30] = "3dnowext",
		[31] = "3dnow" } },
	{ 0x80000001, 0, ECX, {
		"lahf_lm", "cmp_legacy", "svm", "extapic", "cr8_legacy", "abm", "sse4a",
		"misalignsse", "3dnowprefetch", "osvw", "ibs", "xop", "skinit", "wdt", NULL, "lwp",
		"fma4", "tce", NULL, "nodeid_msr", NULL, "tbm", "topoext", "perfctr_core",
		"perfctr_nb", NULL, "bpext", "ptsc", "perfctr_llc", "mwaitx" } },
	{ 0x80000007, 0, EDX, { [8] = "nonstop_tsc" } },
	{ 0x80000008, 0, EBX, {
		[0] = "clzero", [1] = "irperf", [2] = "xsaveerptr", [4] = "rdpru",
		[9] = "wbnoinvd", [26] = "amd_ssb_no", [29] = "btc_no" } },
	{ 0x80000021, 0, EAX, {
		[0] = "no_nested_data_bp", [2] = "lfence_rdtsc", [6] = "null_sel_clr_base" } },
	{ 6, 0, EAX, { [2] = "arat" } },
};

#define PORTABLE "portable"

/* Bits of leaf 1 EDX that AMD repeats. */
#define REPEATED 0x0183f3ffu

/* ---- the command line ------------------------------------------------------------ */

static bool is_called(const char *name, const char *text, size_t length)
{
	return name && strlen(name) == length && !memcmp(name, text, length);
}

/* Find a name; false if there is none such. */
static bool find(const char *text, size_t length, unsigned int *word, __u32 *bit)
{
	for (*word = 0; *word < FEATURE_WORDS; ++*word)
		for (unsigned int i = 0; i < 32; i++)
			if (is_called(words[*word].names[i], text, length)) {
				*bit = 1u << i;
				return true;
			}
	return false;
}

/*
 * What the CPUs of both vendors have had for long, and is the same: x86-64-v2, but without SYSENTER, which
 * Intel's alone have in long mode.
 */
static const char *const portable[] = {
	"fpu", "vme", "de", "pse", "tsc", "msr", "pae", "mce", "cx8", "apic", "mtrr", "pge", "mca", "cmov",
	"pat", "pse36", "clflush", "mmx", "fxsr", "sse", "sse2", "ht", "pni", "ssse3", "cx16",
	"sse4_1", "sse4_2",
	"x2apic", "tsc_deadline_timer", "popcnt", "hypervisor", "syscall", "nx", "lm", "lahf_lm", "arat",
};

/* Hide all else, whether it has a name or not. */
static void hide_others(struct cpu_features *features)
{
	unsigned int word;
	__u32 bit;

	memset(features->hidden, 0xff, sizeof(features->hidden));
	for (size_t i = 0; i < ARRAY_SIZE(portable); i++)
		if (find(portable[i], strlen(portable[i]), &word, &bit))
			features->hidden[word] &= ~bit;
	features->hidden[WORD_EXTENDED_EDX] &= features->hidden[WORD_1_EDX] | ~REPEATED;
}

static int parse_one(const char *where, const char *text, size_t length, struct cpu_features *features)
{
	unsigned int word;
	__u32 bit;

	if (length && strspn(text, "0123456789") == length) {
		complain("%s is about features: --cpus %.*s", where, (int)length, text);
		return -1;
	}
	if (is_called(PORTABLE, text, length)) {
		hide_others(features);
		return 0;
	}
	if (length < 2 || (text[0] != '-' && text[0] != '+')) {
		complain("%s: neither -NAME nor +NAME nor " PORTABLE ": %.*s", where, (int)length, text);
		return -1;
	}
	if (!find(text + 1, length - 1, &word, &bit)) {
		complain("%s: no feature is called %.*s (names are those of /proc/cpuinfo)", where,
			 (int)length - 1, text + 1);
		return -1;
	}
	features->hidden[word] &= ~bit;
	features->wanted[word] &= ~bit;
	if (text[0] == '-')
		features->hidden[word] |= bit;
	else
		features->wanted[word] |= bit;
	return 0;
}

int cpu_features_parse(const char *where, const char *text, void *features)
{
	for (;; text++) {
		size_t length = strcspn(text, ",");

		if (parse_one(where, text, length, features))
			return -1;
		text += length;
		if (!*text)
			return 0;
	}
}

/* ---- the table ------------------------------------------------------------------- */

/* A word of the table; NULL if the leaf is not there. */
static __u32 *find_register(const struct mote_cpuid_entry *row, unsigned int nr, const struct word *word)
{
	for (; nr; nr--, row++) {
		struct mote_cpuid_entry *rows = (struct mote_cpuid_entry *)row;
		__u32 *const registers[] = { &rows->eax, &rows->ebx, &rows->ecx, &rows->edx };

		if (rows->leaf == word->leaf &&
		    (!(rows->flags & MOTE_CPUID_SUBLEAF) || rows->subleaf == word->subleaf))
			return registers[word->reg];
	}
	return NULL;
}

static const char *first_name(const struct word *word, __u32 bits)
{
	return word->names[__builtin_ctz(bits)];
}

int cpu_features_apply(const struct cpu_features *features, struct mote_cpuid_entry *rows,
		       unsigned int nr)
{
	for (unsigned int i = 0; i < FEATURE_WORDS; i++) {
		__u32 *bits = find_register(rows, nr, &words[i]);
		__u32 missing = features->wanted[i] & ~(bits ? *bits : 0);
		__u32 hidden = features->hidden[i];

		if (missing) {
			complain("--cpu: this host has no %s for guests", first_name(&words[i], missing));
			return -1;
		}
		if (i == WORD_EXTENDED_EDX)
			hidden |= features->hidden[WORD_1_EDX] & REPEATED;
		if (bits)
			*bits &= ~hidden;
	}
	return 0;
}

bool cpu_features_missing(const struct mote_cpuid_entry *rows, unsigned int nr,
			  const struct mote_cpuid_entry *host, unsigned int nr_host,
			  char name[FEATURE_NAME_MOST])
{
	for (unsigned int i = 0; i < FEATURE_WORDS; i++) {
		const __u32 *wanted = find_register(rows, nr, &words[i]);
		const __u32 *offered = find_register(host, nr_host, &words[i]);
		__u32 missing = (wanted ? *wanted : 0) & ~(offered ? *offered : 0);
		unsigned int bit;

		/* Of AMD's CPUs alone, and the first word has them. */
		if (i == WORD_EXTENDED_EDX)
			missing &= ~REPEATED;
		if (!missing)
			continue;
		bit = __builtin_ctz(missing);
		if (words[i].names[bit])
			snprintf(name, FEATURE_NAME_MOST, "%s", words[i].names[bit]);
		else
			snprintf(name, FEATURE_NAME_MOST, "CPUID leaf 0x%x bit %u", words[i].leaf, bit);
		return true;
	}
	return false;
}

struct json_object *cpu_features_names(const struct mote_cpuid_entry *rows, unsigned int nr)
{
	struct json_object *names = json_object_new_array();

	for (unsigned int i = 0; i < FEATURE_WORDS; i++) {
		const __u32 *bits = find_register(rows, nr, &words[i]);
		__u32 left = bits ? *bits : 0;

		/* AMD's repetitions have no names here. */
		for (; left; left &= left - 1) {
			const char *name = first_name(&words[i], left);

			if (name)
				json_object_array_add(names, json_object_new_string(name));
		}
	}
	return names;
}
