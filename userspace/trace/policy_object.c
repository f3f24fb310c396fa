// SPDX-License-Identifier: GPL-2.0
/* An object file with a policy: is it one, and getting it into the kernel for one machine. */
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/mote_policy.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "policy.h"
#include "runner.h"
#include "tool.h"

#define SECTION "raw_tp.w/mote_policy"
#define TRACEPOINT "mote_policy"

/* ---- what libbpf says ------------------------------------------------------------- */

static bool is_verbose;
static char last_words[160];	/* of the kernel's verifier */

/* The line before the verifier's statistics says what it has not liked. */
static void keep_last_words(const char *text)
{
	const char *end = strstr(text, "\nprocessed "), *line = end;

	if (!end)
		return;
	while (line > text && line[-1] != '\n')
		line--;
	snprintf(last_words, sizeof(last_words), "%.*s", (int)(end - line), line);
}

static int hear(enum libbpf_print_level level, const char *format, va_list args)
{
	char *text = NULL;

	if (level == LIBBPF_DEBUG || vasprintf(&text, format, args) < 0)
		return 0;
	keep_last_words(text);
	if (is_verbose)
		fputs(text, stderr);
	free(text);
	return 0;
}

/* ---- the object --------------------------------------------------------------------- */

static int refuse(const struct policy *policy, const char *why)
{
	complain("policy: %s is no policy: %s", policy->file, why);
	return EXIT_USAGE;
}

/* A constant of the object's, by its type information; NULL: there is none of that size. */
static void *find_constant(const struct policy *policy, const char *name, size_t size)
{
	const struct btf *btf = bpf_object__btf(policy->object);
	int id = btf ? btf__find_by_name_kind(btf, ".rodata", BTF_KIND_DATASEC) : -ENOENT;
	const struct btf_type *section = id < 0 ? NULL : btf__type_by_id(btf, id);
	struct bpf_map *map;
	size_t room = 0;
	char *values = NULL;

	bpf_object__for_each_map(map, policy->object)
		if (strstr(bpf_map__name(map), ".rodata"))
			values = (char *)bpf_map__initial_value(map, &room);
	for (unsigned int i = 0; values && section && i < btf_vlen(section); i++) {
		const struct btf_var_secinfo *var = btf_var_secinfos(section) + i;
		const char *its = btf__name_by_offset(btf, btf__type_by_id(btf, var->type)->name_off);

		if (!strcmp(its, name) && var->size == size && var->offset + size <= room)
			return values + var->offset;
	}
	return NULL;
}

/* 0, or an exit status after a complaint. */
static int check(struct policy *policy)
{
	const __u32 *version = find_constant(policy, "mote_policy_version", sizeof(*version));
	struct bpf_program *program;
	unsigned int nr = 0;
	char why[96];

	bpf_object__for_each_program(program, policy->object) {
		if (strcmp(bpf_program__section_name(program), SECTION))
			return refuse(policy, "it has a program that is not in section " SECTION);
		policy->program = program;
		nr++;
	}
	if (nr != 1)
		return refuse(policy, nr ? "it has more than one program" : "it has no program");
	policy->pid = find_constant(policy, "mote_policy_pid", sizeof(*policy->pid));
	if (!version || !policy->pid)
		return refuse(policy, "it does not include <policy.bpf.h>, or is built without -g");
	if (*version == MOTE_POLICY_VERSION)
		return EXIT_OK;
	snprintf(why, sizeof(why), "it is built for version %u, and this is %u", *version,
		 MOTE_POLICY_VERSION);
	return refuse(policy, why);
}

int policy_open(struct policy *policy, const char *file, bool verbose)
{
	*policy = (struct policy) { .file = file };
	is_verbose = verbose;
	libbpf_set_print(hear);
	if (access(file, R_OK)) {
		complain("policy: cannot read %s: %m", file);
		return EXIT_USAGE;
	}
	policy->object = bpf_object__open_file(file, NULL);
	if (!policy->object)
		return refuse(policy, "it is no object file for BPF");
	return check(policy);
}

/* What is printed of each record: its bytes. */
static int print(void *context, void *data, size_t size)
{
	(void)context;
	return fwrite(data, 1, size, stdout) == size ? 0 : -errno;
}

static int cannot(const struct policy *policy, int err)
{
	if (err == -EPERM)
		complain("policy: loading BPF programs needs root, or CAP_BPF and CAP_PERFMON, in a kernel "
			 "that is not locked down");
	else if (err == -ENOENT)
		complain("policy: there is no tracepoint " TRACEPOINT ": run `modprobe mote`");
	else if (last_words[0])
		complain("policy: the kernel refuses %s: %s (--verbose shows all that it says)", policy->file,
			 last_words);
	else
		complain("policy: the kernel refuses %s: %s (--verbose may tell more)", policy->file,
			 strerror(-err));
	return EXIT_PROBLEM;
}

int policy_attach(struct policy *policy, pid_t pid)
{
	struct bpf_map *output = bpf_object__find_map_by_name(policy->object, "output");
	int err;

	*policy->pid = pid;
	err = bpf_object__load(policy->object);
	if (err)
		return cannot(policy, err);
	if (output && bpf_map__type(output) == BPF_MAP_TYPE_RINGBUF)
		policy->output = ring_buffer__new(bpf_map__fd(output), print, NULL, NULL);
	policy->link = bpf_program__attach_raw_tracepoint(policy->program, TRACEPOINT);
	return policy->link ? EXIT_OK : cannot(policy, -errno);
}

int policy_link(const struct policy *policy)
{
	return bpf_link__fd(policy->link);
}

bool policy_print(struct policy *policy, int ms)
{
	int got;

	if (!policy->output)
		return usleep(1000 * ms), true;
	got = ring_buffer__poll(policy->output, ms);
	return (got >= 0 || got == -EINTR) && !fflush(stdout);
}

void policy_close(struct policy *policy)
{
	ring_buffer__free(policy->output);
	bpf_link__destroy(policy->link);
	bpf_object__close(policy->object);
}
