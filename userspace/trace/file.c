// SPDX-License-Identifier: GPL-2.0
/* What mote trace record has written, read again; and where results go. */
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runner.h"
#include "tool.h"

const char *event_name(unsigned int event)
{
	static const char *const names[TRACE_NR_EVENTS] = {
		[TRACE_EXIT_HANDLED] = "exit_handled", [TRACE_HALT] = "halt", [TRACE_WAKE] = "wake",
		[TRACE_VCPU_STATE] = "vcpu_state", [TRACE_EXIT] = "exit", [TRACE_PIO] = "pio",
		[TRACE_MMIO] = "mmio", [TRACE_MSR] = "msr", [TRACE_CPUID] = "cpuid",
		[TRACE_HYPERCALL] = "hypercall", [TRACE_NESTED_FAULT] = "nested_fault",
		[TRACE_INJECT] = "inject",
	};

	return event < TRACE_NR_EVENTS ? names[event] : "unknown";
}

static bool is_valid(const struct trace_file *file)
{
	return file->size >= sizeof(*file->header) &&
	       !memcmp(file->header->magic, TRACE_MAGIC, sizeof(file->header->magic)) &&
	       file->header->version == TRACE_FILE_VERSION && file->header->tsc_khz &&
	       file->header->records == (file->size - sizeof(*file->header)) / sizeof(*file->records);
}

int trace_file_open(struct trace_file *file, const struct trace_options *options)
{
	int fd = open(options->input, O_RDONLY | O_CLOEXEC);
	struct stat status;
	void *map;

	if (fd < 0 || fstat(fd, &status)) {
		complain("cannot read %s: %m", options->input);
		if (fd >= 0)
			close(fd);
		return EXIT_USAGE;
	}
	map = mmap(NULL, status.st_size ? status.st_size : 1, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	*file = (struct trace_file){ .header = map, .size = status.st_size };
	if (map == MAP_FAILED || !is_valid(file)) {
		complain("%s is not a complete file of mote trace record", options->input);
		if (map != MAP_FAILED)
			munmap(map, status.st_size ? status.st_size : 1);
		return EXIT_USAGE;
	}
	file->records = (const void *)(file->header + 1);
	file->nr = file->header->records;
	return EXIT_OK;
}

void trace_file_close(struct trace_file *file)
{
	munmap((void *)file->header, file->size);
}

bool is_wanted(const struct trace_options *options, const struct trace_record *record)
{
	const struct trace_filter *filter = &options->filter;

	return !(filter->one_vm && filter->vm != record->vm) &&
	       !(filter->one_vcpu && filter->vcpu != record->vcpu);
}

FILE *output_open(const struct trace_options *options)
{
	FILE *out = options->output ? fopen(options->output, "we") : stdout;

	if (!out)
		complain("cannot write %s: %m", options->output);
	return out;
}

int output_close(const struct trace_options *options, FILE *out)
{
	bool failed = fflush(out) || ferror(out);

	if (out != stdout && fclose(out))
		failed = true;
	/* main() tells of standard output. */
	if (failed && out != stdout)
		complain("cannot write %s: %m", options->output);
	return failed ? EXIT_PROBLEM : EXIT_OK;
}

void output_json(FILE *out, struct json_object *value)
{
	fprintf(out, "%s\n", json_object_to_json_string_ext(value, JSON_C_TO_STRING_PLAIN |
								   JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(value);
}

void print_escaped(FILE *out, const char *text)
{
	for (; *text; text++)
		switch (*text) {
		case '<':
			fputs("&lt;", out);
			break;
		case '>':
			fputs("&gt;", out);
			break;
		case '&':
			fputs("&amp;", out);
			break;
		default:
			fputc((unsigned char)*text < ' ' ? ' ' : *text, out);
		}
}
