// SPDX-License-Identifier: GPL-2.0
/* mote ps: the VMs of this user that run. */
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

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

/* Somebody listens, but does not answer: a runner that is stopped, say. */
static struct json_object *silent(int fd, const char *name)
{
	struct json_object *row = json_object_new_object();
	struct ucred peer = { 0 };
	socklen_t size = sizeof(peer);

	getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size);
	json_object_object_add(row, "name", json_object_new_string(name));
	json_object_object_add(row, "pid", json_object_new_int(peer.pid));
	json_object_object_add(row, "state", json_object_new_string("silent"));
	return row;
}

/* One that has ended since is no VM any more. */
static void ask(struct json_object *list, const struct vm_found *vm)
{
	int fd = vm_connect(vm);
	struct json_object *answer = fd < 0 ? NULL : client_request(fd, "status", NULL);

	if (!answer && (fd == -EAGAIN || (fd >= 0 && errno == EAGAIN)))
		answer = silent(fd, vm->name);
	if (fd >= 0)
		close(fd);
	if (answer)
		json_object_array_add(list, answer);
}

static struct json_object *ask_all(void)
{
	struct json_object *list = json_object_new_array();
	struct vms vms;

	if (vms_find(&vms)) {
		json_object_put(list);
		return NULL;
	}
	for (unsigned int i = 0; i < vms.nr; i++)
		ask(list, &vms.vm[i]);
	free(vms.vm);
	return list;
}

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
	list = ask_all();
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
