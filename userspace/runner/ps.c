// SPDX-License-Identifier: GPL-2.0
/* mote ps: the VMs of this user that run, and those of this host that might. */
#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"
#include "control.h"
#include "options.h"
#include "runner.h"

/* NAME.json is the machine of mote@NAME.service. */
#define CONFIGURED "/etc/mote"

const char ps_usage[] =
	"usage: mote ps [--all] [--json]\n"
	"\n"
	"Lists the virtual machines of yours that run: name, process, state, vCPUs,\n"
	"memory (used by the process, and the guest's size), how long they have run,\n"
	"and what they run.\n"
	"\n"
	"  --all    also those that this host has in " CONFIGURED " and that do not run\n"
	"  --json   print the list as JSON\n"
	"  --help   this text\n"
	"\n"
	"Exit status: 0; 1 one of them cannot be read.\n";

#define SUFFIX ".json"

/* ---- what is configured ----------------------------------------------------------------- */

static bool is_listed(struct json_object *list, const char *name)
{
	for (size_t i = 0; i < json_object_array_length(list); i++)
		if (!strcmp(answer_text(json_object_array_get_idx(list, i), "name"), name))
			return true;
	return false;
}

/* As a machine that runs says of itself, as far as that is known before. */
static int add_configured(struct json_object *list, const char *name)
{
	struct options options = OPTIONS_INITIAL;
	char path[sizeof(CONFIGURED) + NAME_MOST + sizeof(SUFFIX)];
	struct json_object *vm = json_object_new_object();
	int err;

	snprintf(path, sizeof(path), CONFIGURED "/%s" SUFFIX, name);
	err = options_read(&options, path);
	json_object_object_add(vm, "name", json_object_new_string(name));
	json_object_object_add(vm, "state", json_object_new_string(err ? "broken" : "off"));
	json_object_object_add(vm, "config", json_object_new_string(path));
	if (!err) {
		json_object_object_add(vm, "cpus", json_object_new_uint64(options.cpus));
		json_object_object_add(vm, "memory", json_object_new_uint64(options.memory));
		json_object_object_add(vm, "image", json_object_new_string(options.image ? options.image :
									   options.firmware ?: ""));
	}
	json_object_array_add(list, vm);
	json_object_put(options.config);
	return err;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

/* Without such a directory there are none. */
static int add_all_configured(struct json_object *list)
{
	struct dirent **entries;
	int nr = scandir(CONFIGURED, &entries, NULL, by_name), err = 0;

	if (nr < 0 && errno != ENOENT) {
		complain("cannot read " CONFIGURED ": %m");
		return -1;
	}
	for (int i = 0; i < nr; i++) {
		char *name = entries[i]->d_name, *end = strrchr(name, '.');

		if (end && !strcmp(end, SUFFIX)) {
			*end = '\0';
			if (is_name(name) && !is_listed(list, name) && add_configured(list, name))
				err = -1;
		}
		free(entries[i]);
	}
	if (nr >= 0)
		free(entries);
	return err;
}

/* ---- the table ---------------------------------------------------------------------------- */

/* Of one that does not run there is less to say. */
static void print_row(struct json_object *vm)
{
	unsigned long long seconds = answer_number(vm, "uptime_ns") / 1000000000;
	unsigned long long pid = answer_number(vm, "pid");
	char process[24] = "-", resident[24] = "-", memory[48], uptime[32] = "-";

	if (pid) {
		snprintf(process, sizeof(process), "%llu", pid);
		snprintf(resident, sizeof(resident), "%lluM", answer_number(vm, "resident") >> 20);
		snprintf(uptime, sizeof(uptime), "%llu:%02llu:%02llu", seconds / 3600, seconds / 60 % 60,
			 seconds % 60);
	}
	snprintf(memory, sizeof(memory), "%s/%lluM", resident, answer_number(vm, "memory") >> 20);
	printf("%-16s %7s  %-8s %5llu  %-13s %9s  %s\n", answer_text(vm, "name"), process,
	       answer_text(vm, "state"), answer_number(vm, "cpus"), memory, uptime, answer_text(vm, "image"));
}

enum { ALL = 1 << 0, JSON = 1 << 1 };

int ps_run(const struct verb *verb, int argc, char **argv)
{
	static const struct option options[] = {
		{ "all", no_argument, NULL, 'a' }, { "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' }, { 0 },
	};
	unsigned int said = 0;
	int status = parse_flags(verb, argc, argv, options, false, &said);
	struct json_object *list;

	if (status >= 0)
		return status;
	status = EXIT_OK;
	list = vms_ask("status");
	if (!list || (said & ALL && add_all_configured(list)))
		status = EXIT_PROBLEM;
	if (!list)
		return status;
	if (said & JSON) {
		print_json(list);
		return status;
	}
	printf("%-16s %7s  %-8s %5s  %-13s %9s  %s\n", "NAME", "PID", "STATE", "VCPUS", "MEMORY",
	       "UPTIME", "IMAGE");
	for (size_t i = 0; i < json_object_array_length(list); i++)
		print_row(json_object_array_get_idx(list, i));
	json_object_put(list);
	return status;
}
