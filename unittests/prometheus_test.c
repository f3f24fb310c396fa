// SPDX-License-Identifier: GPL-2.0
/*
 * mote stat --prometheus: what is printed is read again, as strictly as the text-based exposition format
 * 0.0.4 and Prometheus's rules for names are written.
 */
#include <ctype.h>
#include <stdlib.h>

#include "../userspace/runner/prometheus.c"
#include "tests.h"

#define FAMILIES_MOST 64
#define NAME_SIZE 64

const char *answer_text(struct json_object *answer, const char *key)
{
	struct json_object *value;

	return json_object_object_get_ex(answer, key, &value) ? json_object_get_string(value) : "";
}

unsigned long long answer_number(struct json_object *answer, const char *key)
{
	struct json_object *value;

	return json_object_object_get_ex(answer, key, &value) ? json_object_get_uint64(value) : 0;
}

/* ---- the format ------------------------------------------------------------------------------ */

static bool take(const char **at, const char *text)
{
	size_t length = strlen(text);

	if (strncmp(*at, text, length))
		return false;
	*at += length;
	return true;
}

/* A name of a metric, or without colons of a label. */
static bool take_name(const char **at, char *name, bool has_colons)
{
	size_t nr = 0;

	if (isdigit((unsigned char)**at))
		return false;
	while (isalnum((unsigned char)**at) || **at == '_' || (has_colons && **at == ':')) {
		if (nr == NAME_SIZE - 1)
			return false;
		name[nr++] = *(*at)++;
	}
	name[nr] = '\0';
	return nr;
}

/* In quotes; a backslash is there before a backslash, a quote or an n, and nowhere else. */
static bool take_label_value(const char **at)
{
	if (!take(at, "\""))
		return false;
	for (; **at != '"'; (*at)++) {
		if (!**at || **at == '\n')
			return false;
		if (**at == '\\' && !strchr("\\\"n", *++*at))
			return false;
	}
	return take(at, "\"");
}

static bool take_labels(const char **at)
{
	char names[8][NAME_SIZE];
	unsigned int nr = 0;

	if (!take(at, "{"))
		return true;
	do {
		if (nr == 8 || !take_name(at, names[nr], false) || !strncmp(names[nr], "__", 2) ||
		    !take(at, "=") || !take_label_value(at))
			return false;
		for (unsigned int i = 0; i < nr; i++)
			if (!strcmp(names[i], names[nr]))
				return false;
		nr++;
	} while (take(at, ","));
	return take(at, "}");
}

static bool take_number(const char **at)
{
	char *end;

	if (!isdigit((unsigned char)**at))
		return false;
	strtod(*at, &end);
	*at = end;
	return true;
}

/* HELP, TYPE and samples of one name, none of which has come before. */
static bool take_family(const char **at, char names[][NAME_SIZE], unsigned int *nr, unsigned int *nr_samples)
{
	char *family = names[*nr], name[NAME_SIZE];
	bool is_counter;

	if (*nr == FAMILIES_MOST || !take(at, "# HELP ") || !take_name(at, family, true) || !take(at, " "))
		return false;
	for (unsigned int i = 0; i < *nr; i++)
		if (!strcmp(names[i], family))
			return false;
	(*nr)++;
	*at += strcspn(*at, "\n\\");
	if (!take(at, "\n# TYPE ") || !take_name(at, name, true) || strcmp(name, family) || !take(at, " "))
		return false;
	is_counter = take(at, "counter\n");
	if (!is_counter && !take(at, "gauge\n"))
		return false;
	if (strncmp(family, "mote_", 5) || is_counter != has_suffix(family, "_total"))
		return false;
	while (**at && **at != '#') {
		if (!take_name(at, name, true) || strcmp(name, family) || !take_labels(at) ||
		    !take(at, " ") || !take_number(at) || !take(at, "\n"))
			return false;
		(*nr_samples)++;
	}
	return true;
}

/* How many samples there are; -1: it is not of the format. */
static int parse(const char *text)
{
	char names[FAMILIES_MOST][NAME_SIZE];
	unsigned int nr = 0, nr_samples = 0;

	while (*text)
		if (!take_family(&text, names, &nr, &nr_samples)) {
			snprintf(said, sizeof(said), "at: %.80s", text);
			return -1;
		}
	return nr_samples;
}

static void test_parser(void)
{
#define HEAD "# HELP mote_a b.\n# TYPE mote_a gauge\n"
	static const struct {
		const char *text;
		int nr;
	} cases[] = {
		{ "", 0 },
		{ HEAD, 0 },
		{ HEAD "mote_a 1\n", 1 },
		{ HEAD "mote_a{b=\"c\",d=\"\\\\\\\"\\n\"} 1.5\nmote_a{b=\"d\"} 0\n", 2 },
		{ "mote_a 1\n", -1 },
		{ "# TYPE mote_a gauge\nmote_a 1\n", -1 },
		{ HEAD "mote_a 1", -1 },
		{ HEAD "mote_a\n", -1 },
		{ HEAD "mote_a x\n", -1 },
		{ HEAD "mote_b 1\n", -1 },
		{ HEAD "mote_a{b=\"\n\"} 1\n", -1 },
		{ HEAD "mote_a{b=\"\\q\"} 1\n", -1 },
		{ HEAD "mote_a{b=\"\"\"} 1\n", -1 },
		{ HEAD "mote_a{1=\"\"} 1\n", -1 },
		{ HEAD "mote_a{b=\"1\",b=\"2\"} 1\n", -1 },
		{ HEAD HEAD, -1 },
		{ "# HELP mote_a b.\n# TYPE mote_a counter\n", -1 },
		{ "# HELP mote_a_total b.\n# TYPE mote_a_total gauge\n", -1 },
		{ "# HELP other b.\n# TYPE other gauge\n", -1 },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		EQ(cases[i].nr, parse(cases[i].text));
}

/* ---- what is printed ---------------------------------------------------------------------------- */

#define PARTS "\"vcpus\":[{\"id\":0,\"guest_ns\":1500000000,\"kernel_ns\":7,\"runner_ns\":0,"		\
	"\"exits\":{\"cpuid\":3,\"pio\":18446744073709551615},\"exits_to_runner\":{\"pio\":2}},"	\
	"{\"id\":1,\"guest_ns\":0,\"kernel_ns\":0,\"runner_ns\":0,\"exits\":{},\"exits_to_runner\":{}}]," \
	"\"disks\":[{\"index\":0,\"reads\":1,\"read_bytes\":512,\"writes\":2,\"written_bytes\":1024,"	\
	"\"flushes\":3,\"discards\":4}],\"networks\":[{\"index\":0,\"received_frames\":5,"		\
	"\"received_bytes\":300,\"sent_frames\":6,\"sent_bytes\":360}],"				\
	"\"balloons\":[{\"index\":0,\"target_bytes\":4096,\"actual_bytes\":0}]"
#define MACHINE(name, state, image)									\
	"{\"name\":\"" name "\",\"pid\":1,\"state\":\"" state "\",\"memory\":1048576,\"resident\":4096," \
	"\"cpus\":2,\"uptime_ns\":12345678901,\"image\":\"" image "\"," PARTS "}"

/* To be freed. */
static char *print(const char *machines)
{
	struct json_object *parsed = json_tokener_parse(machines);
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	CHECK(parsed);
	prometheus_print(out, parsed);
	fclose(out);
	json_object_put(parsed);
	return text;
}

static bool has_line(const char *text, const char *line)
{
	size_t length = strlen(line);

	for (; text; text = strchr(text, '\n') ? strchr(text, '\n') + 1 : NULL)
		if (!strncmp(text, line, length) && text[length] == '\n')
			return true;
	return false;
}

static void test_machines(void)
{
	static const char *const lines[] = {
		"# TYPE mote_vcpu_exits_total counter",
		"mote_up{machine=\"one\"} 1",
		"mote_up{machine=\"three\"} 0",
		"mote_machine_state{machine=\"one\",state=\"running\"} 1",
		"mote_machine_state{machine=\"one\",state=\"paused\"} 0",
		"mote_machine_state{machine=\"two\",state=\"paused\"} 1",
		"mote_uptime_seconds{machine=\"one\"} 12.345678901",
		"mote_memory_bytes{machine=\"two\"} 1048576",
		"mote_resident_memory_bytes{machine=\"two\"} 4096",
		"mote_vcpus{machine=\"one\"} 2",
		"mote_vcpu_seconds_total{machine=\"one\",vcpu=\"0\",where=\"guest\"} 1.500000000",
		"mote_vcpu_seconds_total{machine=\"one\",vcpu=\"0\",where=\"kernel\"} 0.000000007",
		"mote_vcpu_exits_total{machine=\"one\",vcpu=\"0\",reason=\"cpuid\"} 3",
		"mote_vcpu_exits_total{machine=\"two\",vcpu=\"0\",reason=\"pio\"} 18446744073709551615",
		"mote_vcpu_runner_exits_total{machine=\"one\",vcpu=\"0\",reason=\"pio\"} 2",
		"mote_disk_requests_total{machine=\"one\",disk=\"0\",operation=\"flush\"} 3",
		"mote_disk_bytes_total{machine=\"one\",disk=\"0\",operation=\"write\"} 1024",
		"mote_network_frames_total{machine=\"one\",network=\"0\",direction=\"send\"} 6",
		"mote_network_bytes_total{machine=\"one\",network=\"0\",direction=\"receive\"} 300",
		"mote_balloon_target_bytes{machine=\"one\",balloon=\"0\"} 4096",
		"mote_balloon_actual_bytes{machine=\"one\",balloon=\"0\"} 0",
	};
	char *text = print("[" MACHINE("one", "running", "a") "," MACHINE("two", "paused", "b") ","
			   "{\"name\":\"three\",\"pid\":3,\"state\":\"silent\"}]");

	/* up; info, 3 states, 4 numbers; times, exits; disk, network, balloon. */
	EQ(3 + 2 * (8 + 6 + 3 + 6 + 4 + 2), parse(text));
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		snprintf(said, sizeof(said), "%s", lines[i]);
		CHECK(has_line(text, lines[i]));
	}
	free(text);
	text = print("[]");
	EQ(0, parse(text));
	free(text);
}

static void test_escapes(void)
{
	char *text = print("[" MACHINE("m", "running", "q\\\" b\\\\ n\\n u\xc3\xbc x\xff e\xe2\x82") "]");

	EQ(1 + 8 + 6 + 3 + 6 + 4 + 2, parse(text));
	CHECK(has_line(text, "mote_machine_info{machine=\"m\","
		       "image=\"q\\\" b\\\\ n\\n u\xc3\xbc x? e??\"} 1"));
	free(text);
}

int main(void)
{
	static const struct unit_test tests[] = {
		{ "the parser is strict", test_parser },
		{ "machines and their parts", test_machines },
		{ "labels are escaped", test_escapes },
	};

	return run_all(tests, sizeof(tests) / sizeof(tests[0]));
}
