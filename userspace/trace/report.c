// SPDX-License-Identifier: GPL-2.0
/* mote trace report: what is in a file, as a table or event by event. */
#include <inttypes.h>
#include <json-c/json.h>

#include "libmote.h"
#include "runner.h"
#include "tool.h"

/* The tracepoints' arguments behind the ids; hexadecimal but for those of DECIMAL. */
static const char *const arg_names[TRACE_NR_EVENTS][TRACE_ARGS] = {
	[TRACE_EXIT_HANDLED] = { "reason", "raw", "where", "rip", "exit_tsc", "entry_tsc" },
	[TRACE_HALT] = { "tsc", "state" },
	[TRACE_WAKE] = { "tsc", "state" },
	[TRACE_VCPU_STATE] = { "tsc", "state" },
	[TRACE_EXIT] = { "tsc", "reason", "raw", "rip", "qualification", "gpa" },
	[TRACE_PIO] = { "port", "size", "flags", "value" },
	[TRACE_MMIO] = { "gpa", "access", "rip" },
	[TRACE_MSR] = { "write", "index", "value", "done" },
	[TRACE_CPUID] = { "leaf", "subleaf", "eax", "ebx", "ecx", "edx" },
	[TRACE_HYPERCALL] = { "number", "rbx", "rcx", "rdx", "rsi" },
	[TRACE_NESTED_FAULT] = { "gpa", "access", "level", "around", "error" },
	[TRACE_INJECT] = { "type", "vector", "error" },
};

/* The argument that is the reason of an exit. */
static int reason_at(unsigned int event)
{
	return event == TRACE_EXIT_HANDLED ? 0 : event == TRACE_EXIT ? 1 : -1;
}

static int where_at(unsigned int event)
{
	return event == TRACE_EXIT_HANDLED ? 2 : -1;
}

static const char *word(const struct trace_record *record, int at)
{
	if (at == reason_at(record->event))
		return mote_exit_name(record->arg[at]);
	if (at == where_at(record->event))
		return where_name(record->arg[at]);
	return NULL;
}

static void print_event(const struct trace_record *record, FILE *out)
{
	fprintf(out, "vm %u vcpu %u %-12s", record->vm, record->vcpu, event_name(record->event));
	for (int i = 0; record->event < TRACE_NR_EVENTS && i < TRACE_ARGS; i++) {
		const char *name = arg_names[record->event][i];

		if (name && word(record, i))
			fprintf(out, " %s %s", name, word(record, i));
		else if (name)
			fprintf(out, " %s 0x%" PRIx64, name, (uint64_t)record->arg[i]);
	}
	fputc('\n', out);
}

static void print_event_json(const struct trace_record *record, FILE *out)
{
	struct json_object *object = json_object_new_object();

	json_object_object_add(object, "event", json_object_new_string(event_name(record->event)));
	json_object_object_add(object, "vm", json_object_new_uint64(record->vm));
	json_object_object_add(object, "vcpu", json_object_new_uint64(record->vcpu));
	for (int i = 0; record->event < TRACE_NR_EVENTS && i < TRACE_ARGS; i++) {
		const char *name = arg_names[record->event][i];

		if (name)
			json_object_object_add(object, name, word(record, i) ?
					       json_object_new_string(word(record, i)) :
					       json_object_new_uint64(record->arg[i]));
	}
	output_json(out, object);
}

static void print_events(const struct trace_file *file, const struct trace_options *options, FILE *out)
{
	for (size_t i = 0; i < file->nr; i++) {
		if (!is_wanted(options, &file->records[i]))
			continue;
		if (options->json)
			print_event_json(&file->records[i], out);
		else
			print_event(&file->records[i], out);
	}
}

static void collect(const struct trace_file *file, const struct trace_options *options, struct table *table)
{
	const struct trace_filter *by = &options->filter;

	for (size_t i = 0; i < file->nr; i++) {
		const struct trace_record *record = &file->records[i];
		struct trace_key key = {
			.vm = by->by_vm ? record->vm : 0, .vcpu = by->by_vcpu ? record->vcpu : 0,
			.reason = record->arg[0], .where = record->arg[2],
			.rip = by->by_rip ? record->arg[3] : 0,
		};

		if (record->event == TRACE_EXIT_HANDLED && is_wanted(options, record))
			table_add(table, &key, record->arg[5] - record->arg[4]);
	}
	table->tsc_khz = file->header->tsc_khz;
	table->seconds = file->header->ns / 1e9;
	table->lost = file->header->lost;
	table_sort(table);
}

int report_command(const struct trace_options *options)
{
	struct trace_file file;
	int err = trace_file_open(&file, options);
	struct table table = { 0 };
	FILE *out;

	if (err)
		return err;
	out = output_open(options);
	if (out && options->events) {
		print_events(&file, options, out);
	} else if (out) {
		collect(&file, options, &table);
		if (options->json)
			output_json(out, table_json(&table, options));
		else
			table_print(&table, options, out);
	}
	table_free(&table);
	trace_file_close(&file);
	return out ? output_close(options, out) : EXIT_PROBLEM;
}
