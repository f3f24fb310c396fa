// SPDX-License-Identifier: GPL-2.0
/* mote ps: the VMs of this user that run. */
#include <json-c/json.h>
#include <stdio.h>

#include "client.h"
#include "runner.h"

const char ps_usage[] =
	"usage: mote ps [--json]\n"
	"\n"
	"Lists the virtual machines of yours that run: name, process, state, vCPUs,\n"
	"memory (used by the process, and the guest's size), how long they have run,\n"
	"and what they run.\n"
	"\n"
	"  --json   print the list as JSON\n"
	"  --help   this text\n";

static void print_row(struct json_object *vm)
{
	unsigned long long seconds = answer_number(vm, "uptime_ns") / 1000000000;
	char memory[48], uptime[32];

	snprintf(memory, sizeof(memory), "%lluM/%lluM", answer_number(vm, "resident") >> 20,
		 answer_number(vm, "memory") >> 20);
	snprintf(uptime, sizeof(uptime), "%llu:%02llu:%02llu", seconds / 3600, seconds / 60 % 60,
		 seconds % 60);
	printf("%-16s %7llu  %-8s %5llu  %-13s %9s  %s\n", answer_text(vm, "name"),
	       answer_number(vm, "pid"), answer_text(vm, "state"), answer_number(vm, "cpus"), memory,
	       uptime, answer_text(vm, "image"));
}

int ps_run(const struct verb *verb, int argc, char **argv)
{
	bool json = false;
	int status = parse_json_only(verb, argc, argv, &json);
	struct json_object *list;

	if (status >= 0)
		return status;
	list = vms_ask("status");
	if (!list)
		return EXIT_PROBLEM;
	if (json) {
		print_json(list);
		return EXIT_OK;
	}
	printf("%-16s %7s  %-8s %5s  %-13s %9s  %s\n", "NAME", "PID", "STATE", "VCPUS", "MEMORY",
	       "UPTIME", "IMAGE");
	for (size_t i = 0; i < json_object_array_length(list); i++)
		print_row(json_object_array_get_idx(list, i));
	json_object_put(list);
	return EXIT_OK;
}
