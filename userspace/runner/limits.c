// SPDX-License-Identifier: GPL-2.0
/*
 * What a machine may have of its host: options of mote run, and mote limit, which changes it.  The
 * host's kernel sees to it, by the machine's cgroup (cgroup.h).
 */
#include <getopt.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "cgroup.h"
#include "client.h"
#include "options.h"
#include "requests.h"
#include "runner.h"

static const char limit_usage[] =
	"usage: mote limit [OPTION]... NAME\n"
	"\n"
	"Changes what a VM may have of its host, or shows it if there is no option. What\n"
	"is not mentioned stays as it is. NAME is the whole name.\n"
	"\n"
	"  --cpu-weight N     its share of the processors, where others have 100\n"
	"  --cpu-max PERCENT  no more than this of a processor; 0: all\n"
	"  --memory-max SIZE  no more of the host's memory; 0: all\n"
	"  --io-max DISK,rbps=SIZE,wbps=SIZE,riops=N,wiops=N\n"
	"                     bytes and requests a second of a disk of the host's; what\n"
	"                     is not there is not limited; repeatable\n"
	"  --json             show it as JSON\n"
	"  --help             this text\n"
	"\n"
	"Exit status: 0; 1 it cannot be changed; 2 bad input, or no such VM.\n";

/* The kernel counts in microseconds of so many. */
#define PERIOD_US 100000ull

#define SETTINGS_MOST (3 + 4 * IO_LIMITS_MOST)

/* Of the one machine that this process is about. */
static struct setting settings[SETTINGS_MOST];

/* ---- from options to what is set ------------------------------------------------------------- */

static bool is_said(const struct options *options, const char *name)
{
	return json_object_object_get_ex(options->config, name, NULL);
}

/* What is 0 is no limit, which is the kernel's max, and @none to systemd. */
static void print_amount(char *text, size_t size, __u64 amount, const char *none)
{
	if (amount)
		snprintf(text, size, "%llu", (unsigned long long)amount);
	else
		snprintf(text, size, "%s", none);
}

static void add(struct setting **next, const char *option, const char *controller, const char *file)
{
	*(*next)++ = (struct setting) { .option = option, .controller = controller, .file = file };
}

static void add_cpu_weight(struct setting **next, const struct limits *limits)
{
	struct setting *setting = *next;

	add(next, "--" OPTION_CPU_WEIGHT, "cpu", "cpu.weight");
	snprintf(setting->value, sizeof(setting->value), "%u", limits->cpu_weight);
	snprintf(setting->property, sizeof(setting->property), "CPUWeight=%u", limits->cpu_weight);
}

static void add_cpu_max(struct setting **next, const struct limits *limits)
{
	struct setting *setting = *next;
	char quota[24], percent[24];

	add(next, "--" OPTION_CPU_MAX, "cpu", "cpu.max");
	print_amount(quota, sizeof(quota), limits->cpu_max * PERIOD_US / 100, "max");
	print_amount(percent, sizeof(percent), limits->cpu_max, "");
	snprintf(setting->value, sizeof(setting->value), "%s %llu", quota, PERIOD_US);
	snprintf(setting->property, sizeof(setting->property), percent[0] ? "CPUQuota=%s%%" : "CPUQuota=",
		 percent);
}

static void add_memory_max(struct setting **next, const struct limits *limits)
{
	struct setting *setting = *next;
	char bytes[24];

	add(next, "--" OPTION_MEMORY_MAX, "memory", "memory.max");
	print_amount(setting->value, sizeof(setting->value), limits->memory_max, "max");
	print_amount(bytes, sizeof(bytes), limits->memory_max, "infinity");
	snprintf(setting->property, sizeof(setting->property), "MemoryMax=%s", bytes);
}

static int add_io_max(struct setting **next, const struct io_limit *limit)
{
	const struct {
		const char *name;
		const char *property;
		__u64 amount;
	} parts[] = {
		{ "rbps", "IOReadBandwidthMax", limit->read_bytes },
		{ "wbps", "IOWriteBandwidthMax", limit->written_bytes },
		{ "riops", "IOReadIOPSMax", limit->reads }, { "wiops", "IOWriteIOPSMax", limit->writes },
	};
	struct stat disk;

	if (stat(limit->device, &disk) || !S_ISBLK(disk.st_mode)) {
		complain("--" OPTION_IO_MAX ": not a disk of the host's: %s", limit->device);
		return -1;
	}
	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		struct setting *setting = *next;
		char amount[24];

		add(next, "--" OPTION_IO_MAX, "io", "io.max");
		print_amount(amount, sizeof(amount), parts[i].amount, "max");
		snprintf(setting->value, sizeof(setting->value), "%u:%u %s=%s", major(disk.st_rdev),
			 minor(disk.st_rdev), parts[i].name, amount);
		print_amount(amount, sizeof(amount), parts[i].amount, "infinity");
		snprintf(setting->property, sizeof(setting->property), "%s=%s %s", parts[i].property,
			 limit->device, amount);
	}
	return 0;
}

/* How many there are, or -1 after a complaint. */
static int gather(const struct options *options)
{
	const struct limits *limits = &options->limits;
	struct setting *next = settings;

	if (is_said(options, OPTION_CPU_WEIGHT))
		add_cpu_weight(&next, limits);
	if (is_said(options, OPTION_CPU_MAX))
		add_cpu_max(&next, limits);
	if (is_said(options, OPTION_MEMORY_MAX))
		add_memory_max(&next, limits);
	for (unsigned int i = 0; i < limits->nr_io; i++)
		if (add_io_max(&next, &limits->io[i]))
			return -1;
	return next - settings;
}

/* A group where it has none, and these settings; 0, or -1 after a complaint. */
static int give(const char *name, pid_t runner, unsigned int nr)
{
	struct cgroup group;
	int is_own = cgroup_find(&group, runner);

	if (is_own < 0 || (!is_own && cgroup_make(&group, name, runner, settings, nr)))
		return -1;
	return cgroup_set(&group, settings, nr);
}

int limits_begin(const struct options *options)
{
	int nr = gather(options);

	return nr > 0 ? give(options->name, getpid(), nr) : nr;
}

/* ---- what there is ------------------------------------------------------------------------------ */

/* The kernel's max is null. */
static struct json_object *amount_json(const char *text)
{
	return text[0] >= '0' && text[0] <= '9' ? json_object_new_uint64(strtoull(text, NULL, 10)) : NULL;
}

static struct json_object *number_json(const struct cgroup *group, const char *name)
{
	FILE *file = cgroup_open(group, name);
	char line[64] = "";

	if (file) {
		if (!fgets(line, sizeof(line), file))
			line[0] = '\0';
		fclose(file);
	}
	return amount_json(line);
}

/* In percent of a processor. */
static struct json_object *cpu_max_json(const struct cgroup *group)
{
	FILE *file = cgroup_open(group, "cpu.max");
	unsigned long long quota, period;
	bool has_quota = file && fscanf(file, "%llu %llu", &quota, &period) == 2;

	if (file)
		fclose(file);
	return has_quota ? json_object_new_uint64(quota * 100 / period) : NULL;
}

static struct json_object *io_max_json(const struct cgroup *group)
{
	struct json_object *disks = json_object_new_array();
	FILE *file = cgroup_open(group, "io.max");
	char line[256];

	while (file && fgets(line, sizeof(line), file)) {
		struct json_object *disk = json_object_new_object();
		char *rest = line, *word = strsep(&rest, " \n");

		json_add_text(disk, "device", word);
		while ((word = strsep(&rest, " \n"))) {
			char *value = strchr(word, '=');

			if (!value)
				continue;
			*value++ = '\0';
			json_object_object_add(disk, word, amount_json(value));
		}
		json_object_array_add(disks, disk);
	}
	if (file)
		fclose(file);
	return disks;
}

static struct json_object *limits_json(const char *name, const struct cgroup *group)
{
	struct json_object *limits = json_object_new_object();

	json_add_text(limits, "name", name);
	json_object_object_add(limits, "cgroup", group ? json_object_new_string(group->path) : NULL);
	if (!group)
		return limits;
	json_object_object_add(limits, OPTION_CPU_WEIGHT, number_json(group, "cpu.weight"));
	json_object_object_add(limits, OPTION_CPU_MAX, cpu_max_json(group));
	json_object_object_add(limits, OPTION_MEMORY_MAX, number_json(group, "memory.max"));
	json_object_object_add(limits, OPTION_IO_MAX, io_max_json(group));
	return limits;
}

static void print_limits(struct json_object *limits)
{
	json_object_object_foreach(limits, name, value)
		printf("%-10s  %s\n", name, value ?
		       json_object_to_json_string_ext(value, JSON_C_TO_STRING_PLAIN |
						      JSON_C_TO_STRING_NOSLASHESCAPE) : "-");
}

static void show(const char *name, const struct cgroup *group, bool as_json)
{
	struct json_object *limits = limits_json(name, group);

	if (as_json) {
		print_json(limits);
		return;
	}
	print_limits(limits);
	json_object_put(limits);
}

/* ---- mote limit ---------------------------------------------------------------------------------- */

#define KNOWN_MOST 8

/* After --help and --json: the limits. */
static void learn(struct option known[KNOWN_MOST], const struct row *rows[KNOWN_MOST])
{
	unsigned int nr = 0;

	known[nr++] = (struct option) { "help", no_argument, NULL, 'h' };
	known[nr++] = (struct option) { "json", no_argument, NULL, 'j' };
	for (const struct row *row = option_rows; row->name; row++)
		if (row->is_limit) {
			rows[nr] = row;
			known[nr++] = (struct option) { row->name, required_argument, NULL, 'l' };
		}
	known[nr] = (struct option) { 0 };
}

/* -1 to go on with the VM's name, argv[optind]; else the exit status. */
static int parse(const struct verb *verb, int argc, char **argv, struct options *options)
{
	const struct row *rows[KNOWN_MOST];
	struct option known[KNOWN_MOST];
	int option, which;

	learn(known, rows);
	while ((option = verb_option(verb, argc, argv, known, &which)) > 0) {
		if (option == 'h') {
			fputs(limit_usage, stdout);
			return EXIT_OK;
		}
		if (option == 'j')
			options->json = true;
		else if (options_set(options, rows[which], optarg))
			return EXIT_USAGE;
	}
	if (!option)
		return EXIT_USAGE;
	if (optind == argc - 1)
		return -1;
	complain(optind == argc ? "limit: which VM? (mote ps lists them; mote limit --help)" :
		 "limit takes one VM: %s (try mote limit --help)", argv[argc - 1]);
	return EXIT_USAGE;
}

static int show_of(const char *name, pid_t runner, bool as_json)
{
	struct cgroup group;
	int is_own = cgroup_find(&group, runner);

	if (is_own < 0)
		return EXIT_PROBLEM;
	show(name, is_own ? &group : NULL, as_json);
	return EXIT_OK;
}

static int limit(const struct options *options, const char *name)
{
	char found[NAME_MOST + 1];
	int nr = gather(options), fd = nr < 0 ? -1 : client_open(name, true, found);
	pid_t runner;

	if (fd < 0)
		return EXIT_USAGE;
	runner = client_runner(fd);
	close(fd);
	if (!nr)
		return show_of(found, runner, options->json);
	return give(found, runner, nr) ? EXIT_PROBLEM : EXIT_OK;
}

int limit_run(const struct verb *verb, int argc, char **argv)
{
	struct options options = OPTIONS_INITIAL;
	int status = parse(verb, argc, argv, &options);

	if (status < 0)
		status = limit(&options, argv[optind]);
	json_object_put(options.config);
	return status;
}
