// SPDX-License-Identifier: GPL-2.0
/* mote stat: what a VM's vCPUs have done, from counters that need no tracing. */
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <libmote.h>

#include "client.h"
#include "prometheus.h"
#include "runner.h"

const char stat_usage[] =
	"usage: mote stat [--json] [--watch S] NAME\n"
	"       mote stat --prometheus [NAME]\n"
	"\n"
	"Shows the exits of a VM by reason, in all and those that went to the runner; the\n"
	"processor time of each vCPU, in the guest, in the kernel and in the runner; and\n"
	"memory. NAME may be the beginning of a name.\n"
	"\n"
	"  --watch S   again every S seconds, with rates since the last time\n"
	"  --json      print it as JSON (with --watch: an object each time)\n"
	"  --prometheus  print it, of all VMs if there is no NAME, as Prometheus reads it\n"
	"  --help      this text\n";

/* Of all vCPUs. */
struct counts {
	unsigned long long all[MOTE_NR_EXITS];
	unsigned long long runner[MOTE_NR_EXITS];
	unsigned long long sum;
	unsigned long long uptime_ns;
};

static void add_exits(struct json_object *vcpu, const char *key, unsigned long long *counts)
{
	struct json_object *exits;

	if (!json_object_object_get_ex(vcpu, key, &exits))
		return;
	for (unsigned int reason = 0; reason < MOTE_NR_EXITS; reason++)
		counts[reason] += answer_number(exits, mote_exit_name(reason));
}

static void count(struct json_object *answer, struct json_object *vcpus, struct counts *counts)
{
	*counts = (struct counts) { .uptime_ns = answer_number(answer, "uptime_ns") };
	for (size_t i = 0; i < json_object_array_length(vcpus); i++) {
		struct json_object *vcpu = json_object_array_get_idx(vcpus, i);

		add_exits(vcpu, "exits", counts->all);
		add_exits(vcpu, "exits_to_runner", counts->runner);
	}
	for (unsigned int reason = 0; reason < MOTE_NR_EXITS; reason++)
		counts->sum += counts->all[reason];
}

static void print_vcpus(struct json_object *vcpus)
{
	printf("\n%-5s %12s %12s %12s\n", "vCPU", "guest, s", "kernel, s", "runner, s");
	for (size_t i = 0; i < json_object_array_length(vcpus); i++) {
		struct json_object *vcpu = json_object_array_get_idx(vcpus, i);

		printf("%-5llu %12.2f %12.2f %12.2f\n", answer_number(vcpu, "id"),
		       answer_number(vcpu, "guest_ns") / 1e9, answer_number(vcpu, "kernel_ns") / 1e9,
		       answer_number(vcpu, "runner_ns") / 1e9);
	}
}

static void print_line(const char *name, unsigned long long all, unsigned long long runner,
		       unsigned long long before, double seconds)
{
	printf("%-17s %12llu %12llu", name, all, runner);
	if (seconds > 0)
		printf(" %12.0f", (all - before) / seconds);
	putchar('\n');
}

static void print_exits(const struct counts *now, const struct counts *before, double seconds)
{
	unsigned long long runner = 0;

	printf("\n%-17s %12s %12s%s\n", "exits", "all", "to runner", seconds > 0 ? "   per second" : "");
	for (unsigned int reason = 0; reason < MOTE_NR_EXITS; reason++) {
		runner += now->runner[reason];
		if (now->all[reason])
			print_line(mote_exit_name(reason), now->all[reason], now->runner[reason],
				   before->all[reason], seconds);
	}
	print_line("all", now->sum, runner, before->sum, seconds);
}

static void print_stat(struct json_object *answer, const struct counts *now, const struct counts *before)
{
	double seconds = before->uptime_ns ? (now->uptime_ns - before->uptime_ns) / 1e9 : 0;
	struct json_object *vcpus;

	printf("%s: %s for %.1f s, %lluM of memory, of which the process uses %lluM\n",
	       answer_text(answer, "name"), answer_text(answer, "state"), now->uptime_ns / 1e9,
	       answer_number(answer, "memory") >> 20, answer_number(answer, "resident") >> 20);
	if (json_object_object_get_ex(answer, "vcpus", &vcpus))
		print_vcpus(vcpus);
	print_exits(now, before, seconds);
	fflush(stdout);
}

/* Ask, print, and remember for the rates; the exit status. */
static int show(int fd, bool json, struct counts *before)
{
	struct json_object *answer = client_ask(fd, "stat", NULL), *vcpus;
	struct counts now;

	if (!answer)
		return EXIT_PROBLEM;
	if (json) {
		print_json(answer);
		fflush(stdout);
		return EXIT_OK;
	}
	if (json_object_object_get_ex(answer, "vcpus", &vcpus)) {
		count(answer, vcpus, &now);
		print_stat(answer, &now, before);
		*before = now;
	}
	json_object_put(answer);
	return EXIT_OK;
}

/* Of one, or of all; the exit status. */
static int show_prometheus(const char *name)
{
	struct json_object *machines;
	int status = vms_ask_those("stat", name, &machines);

	if (!machines)
		return status;
	prometheus_print(stdout, machines);
	json_object_put(machines);
	return EXIT_OK;
}

int stat_run(const struct verb *verb, int argc, char **argv)
{
	const char *watch = NULL;
	struct counts before = { 0 };
	char found[NAME_MOST + 1];
	double period = 0;
	bool json = false, prometheus = false;
	int status, fd;

	status = parse_vm(verb, argc, argv, &(const struct vm_arguments) {
		.json = &json, .value_option = "watch", .value = &watch, .flag_option = "prometheus",
		.flag = &prometheus, .is_optional = &prometheus,
	});
	if (status >= 0)
		return status;
	if (prometheus && (json || watch)) {
		complain("stat: --prometheus goes with neither --json nor --watch");
		return EXIT_USAGE;
	}
	if (prometheus)
		return show_prometheus(argv[optind]);
	if (watch && parse_period("--watch", watch, &period))
		return EXIT_USAGE;
	fd = client_open(argv[optind], false, found);
	if (fd < 0)
		return EXIT_USAGE;
	while (!(status = show(fd, json, &before)) && period) {
		wait_period(period);
		if (!json && isatty(STDOUT_FILENO))
			fputs("\033[H\033[2J", stdout);
		else if (!json)
			putchar('\n');
	}
	close(fd);
	return status;
}
