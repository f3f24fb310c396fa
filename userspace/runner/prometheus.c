// SPDX-License-Identifier: GPL-2.0
/*
 * mote stat --prometheus: statistics in Prometheus's text-based exposition format, version 0.0.4.
 * A family of metrics is a row of the table; all its samples, of all machines, come together.
 */
#include <json-c/json.h>
#include <locale.h>
#include <stdbool.h>
#include <string.h>
#include <wchar.h>

#include "client.h"
#include "prometheus.h"
#include "runner.h"

#define SAMPLES_MOST 4
#define NS_PER_SECOND 1000000000ull

struct family;
typedef void print_machine(FILE *out, const struct family *family, struct json_object *machine);

/**
 * struct sample - a number of a machine's, or of one of its parts
 * @key: of the number, or for print_reasons() of an object of numbers
 * @label: that tells it from the family's others, or NULL
 */
struct sample {
	const char *key;
	const char *label;
};

/**
 * struct family - metrics of one name
 * @name: this; it ends in the unit, and a counter's in "_total"
 * @type: "gauge" or "counter"
 * @help: what it is
 * @print: all samples of one machine
 * @part: the array whose elements have them, and @id_label is theirs; NULL: it is the machine that has
 * @id_label: the name of the label by which the parts are told apart
 * @id: the key of that in a part
 * @samples: what is printed of each
 */
struct family {
	const char *name;
	const char *type;
	const char *help;
	print_machine *print;
	const char *part;
	const char *id_label;
	const char *id;
	struct sample samples[SAMPLES_MOST];
};

/* ---- labels and values ------------------------------------------------------------------ */

/* Escaped; what is no UTF-8 becomes question marks. */
static void print_escaped(FILE *out, const char *text)
{
	mbstate_t state = { 0 };

	while (*text) {
		size_t nr = mbrlen(text, strlen(text), &state);

		if (nr == (size_t)-1 || nr == (size_t)-2) {
			state = (mbstate_t) { 0 };
			fputc('?', out);
			nr = 1;
		} else if (*text == '\n') {
			fputs("\\n", out);
		} else if (*text == '"' || *text == '\\') {
			fprintf(out, "\\%c", *text);
		} else {
			fwrite(text, 1, nr, out);
		}
		text += nr;
	}
}

static void begin_sample(FILE *out, const struct family *family, struct json_object *machine)
{
	fprintf(out, "%s{machine=\"", family->name);
	print_escaped(out, answer_text(machine, "name"));
	fputc('"', out);
}

/* A time comes in nanoseconds, and goes in seconds, of which no digit is lost. */
static void end_sample(FILE *out, const char *key, unsigned long long value)
{
	size_t length = strlen(key);

	if (length > 3 && !strcmp(key + length - 3, "_ns"))
		fprintf(out, "} %llu.%09llu\n", value / NS_PER_SECOND, value % NS_PER_SECOND);
	else
		fprintf(out, "} %llu\n", value);
}

/* ---- families ------------------------------------------------------------------------------ */

static bool answers(struct json_object *machine)
{
	return json_object_object_get_ex(machine, "uptime_ns", NULL);
}

static void print_up(FILE *out, const struct family *family, struct json_object *machine)
{
	begin_sample(out, family, machine);
	end_sample(out, family->name, answers(machine));
}

static void print_info(FILE *out, const struct family *family, struct json_object *machine)
{
	if (!answers(machine))
		return;
	begin_sample(out, family, machine);
	fputs(",image=\"", out);
	print_escaped(out, answer_text(machine, "image"));
	fputc('"', out);
	end_sample(out, family->name, 1);
}

static void print_state(FILE *out, const struct family *family, struct json_object *machine)
{
	static const char *const states[] = { "running", "pausing", "paused" };

	for (size_t i = 0; answers(machine) && i < ARRAY_SIZE(states); i++) {
		begin_sample(out, family, machine);
		fprintf(out, ",state=\"%s\"", states[i]);
		end_sample(out, family->name, !strcmp(states[i], answer_text(machine, "state")));
	}
}

static void print_numbers(FILE *out, const struct family *family, struct json_object *machine,
			  struct json_object *part)
{
	for (unsigned int i = 0; i < SAMPLES_MOST && family->samples[i].key; i++) {
		const struct sample *sample = &family->samples[i];

		begin_sample(out, family, machine);
		if (family->id)
			fprintf(out, ",%s=\"%llu\"", family->id_label, answer_number(part, family->id));
		if (sample->label)
			fprintf(out, ",%s", sample->label);
		end_sample(out, sample->key, answer_number(part, sample->key));
	}
}

/* Of the machine itself. */
static void print_own(FILE *out, const struct family *family, struct json_object *machine)
{
	if (answers(machine))
		print_numbers(out, family, machine, machine);
}

static struct json_object *parts_of(const struct family *family, struct json_object *machine)
{
	struct json_object *parts;

	return json_object_object_get_ex(machine, family->part, &parts) &&
	       json_object_is_type(parts, json_type_array) ? parts : NULL;
}

static void print_parts(FILE *out, const struct family *family, struct json_object *machine)
{
	struct json_object *parts = parts_of(family, machine);

	for (size_t i = 0; parts && i < json_object_array_length(parts); i++)
		print_numbers(out, family, machine, json_object_array_get_idx(parts, i));
}

/* Of each part an object, whose keys are reasons. */
static void print_reasons(FILE *out, const struct family *family, struct json_object *machine)
{
	struct json_object *parts = parts_of(family, machine), *reasons;

	for (size_t i = 0; parts && i < json_object_array_length(parts); i++) {
		struct json_object *part = json_object_array_get_idx(parts, i);

		if (!json_object_object_get_ex(part, family->samples[0].key, &reasons))
			continue;
		json_object_object_foreach(reasons, reason, number) {
			begin_sample(out, family, machine);
			fprintf(out, ",%s=\"%llu\",reason=\"", family->id_label,
				answer_number(part, family->id));
			print_escaped(out, reason);
			fputc('"', out);
			end_sample(out, family->name, json_object_get_uint64(number));
		}
	}
}

#define OF_VCPUS "vcpus", "vcpu", "id"
#define OF_DISKS "disks", "disk", "index"
#define OF_NETWORKS "networks", "network", "index"
#define OF_BALLOONS "balloons", "balloon", "index"

static const struct family families[] = {
	{ "mote_up", "gauge", "Whether the machine's process answers.", .print = print_up },
	{ "mote_machine_info", "gauge", "What the machine runs; always 1.", .print = print_info },
	{ "mote_machine_state", "gauge", "1 for the state in which the machine is.", .print = print_state },
	{ "mote_uptime_seconds", "gauge", "For how long the machine has run.", .print = print_own,
	  .samples = { { "uptime_ns", NULL } } },
	{ "mote_memory_bytes", "gauge", "Memory that the guest has.", .print = print_own,
	  .samples = { { "memory", NULL } } },
	{ "mote_resident_memory_bytes", "gauge", "Memory that its process uses.", .print = print_own,
	  .samples = { { "resident", NULL } } },
	{ "mote_vcpus", "gauge", "vCPUs that it has.", .print = print_own, .samples = { { "cpus", NULL } } },
	{ "mote_vcpu_seconds_total", "counter", "Time of a vCPU, by where it was spent.", print_parts,
	  OF_VCPUS, { { "guest_ns", "where=\"guest\"" }, { "kernel_ns", "where=\"kernel\"" },
		      { "runner_ns", "where=\"runner\"" } } },
	{ "mote_vcpu_exits_total", "counter", "Exits of a vCPU from its guest, by reason.", print_reasons,
	  OF_VCPUS, { { "exits", NULL } } },
	{ "mote_vcpu_runner_exits_total", "counter", "Those that the runner has handled.", print_reasons,
	  OF_VCPUS, { { "exits_to_runner", NULL } } },
	{ "mote_disk_requests_total", "counter", "Requests of the guest's that a disk has done.", print_parts,
	  OF_DISKS, { { "reads", "operation=\"read\"" }, { "writes", "operation=\"write\"" },
		      { "flushes", "operation=\"flush\"" }, { "discards", "operation=\"discard\"" } } },
	{ "mote_disk_bytes_total", "counter", "Bytes that the guest has read and written.", print_parts,
	  OF_DISKS, { { "read_bytes", "operation=\"read\"" }, { "written_bytes", "operation=\"write\"" } } },
	{ "mote_network_frames_total", "counter", "Frames that the guest has received and sent.", print_parts,
	  OF_NETWORKS, { { "received_frames", "direction=\"receive\"" },
			 { "sent_frames", "direction=\"send\"" } } },
	{ "mote_network_bytes_total", "counter", "Bytes of these frames.", print_parts,
	  OF_NETWORKS, { { "received_bytes", "direction=\"receive\"" },
			 { "sent_bytes", "direction=\"send\"" } } },
	{ "mote_balloon_target_bytes", "gauge", "Memory that the guest is asked to give.", print_parts,
	  OF_BALLOONS, { { "target_bytes", NULL } } },
	{ "mote_balloon_actual_bytes", "gauge", "Memory that the guest has given.", print_parts,
	  OF_BALLOONS, { { "actual_bytes", NULL } } },
};

void prometheus_print(FILE *out, struct json_object *machines)
{
	locale_t utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
	locale_t before = utf8 ? uselocale(utf8) : (locale_t)0;

	for (size_t i = 0; i < ARRAY_SIZE(families); i++) {
		const struct family *family = &families[i];

		fprintf(out, "# HELP %s %s\n", family->name, family->help);
		fprintf(out, "# TYPE %s %s\n", family->name, family->type);
		for (size_t at = 0; at < json_object_array_length(machines); at++)
			family->print(out, family, json_object_array_get_idx(machines, at));
	}
	if (utf8) {
		uselocale(before);
		freelocale(utf8);
	}
}
