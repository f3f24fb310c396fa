// SPDX-License-Identifier: GPL-2.0
/*
 * bench: price exits in ticks of the TSC, which on the lab's hosts are instructions
 * (on svm with --count).  One hypervisor at a time: the other's module has to let
 * the hardware go first.
 */
#include <stdio.h>
#include <string.h>

#include "bench.h"

static bool json, any, growth;

static void print(const char *row, double value)
{
	if (json)
		printf("%s\n  \"%s\": %.2f", any ? "," : "{", row, value);
	else
		printf("%-20s %12.2f\n", row, value);
	fflush(stdout);
	any = true;
}

static const char *const names[] = {
	"cpuid", "rdmsr", "wrmsr", "hypercall", "port_out", "port_in", "mmio_write", "mmio_read",
	"self_ipi", "self_ipi_halted", "woken", "eventfd", "cpuid_policy", "port_policy", "watch",
	"watch_policy", "touch_present", "touch_absent", "dirty", "reset", "code", "life", "idle_vm",
	"runner",
};

#define NR_NAMES (sizeof(names) / sizeof(names[0]))

static unsigned int find(const char *name)
{
	unsigned int i = 0;

	while (i < NR_NAMES && strcmp(names[i], name))
		i++;
	return i;
}

static unsigned int wanted;	/* a mask of names */

bool is_wanted(const char *row)
{
	return wanted >> find(row) & 1;
}

static void usage(FILE *file)
{
	fputs("usage: bench [--json] mote|kvm [ROW...]\n"
	      "       bench [--json] growth\n"
	      "\n"
	      "Price exits in ticks of the host's TSC, all of them or these:\n"
	      "\n ", file);
	for (unsigned int i = 0; i < NR_NAMES; i++)
		fprintf(file, " %s%s", names[i], i % 8 == 7 ? "\n " : "");
	fputs("\n\ngrowth prices some of them, under mote, with more and more of something.\n"
	      "\n  --json    an object with a number for each\n"
	      "docs/performance.md says what they are.\n", file);
}

static int bad_usage(const char *word)
{
	fprintf(stderr, "bench: there is no row %s (try --help)\n", word);
	return 2;
}

int main(int argc, char **argv)
{
	const struct hypervisor *hypervisor = NULL;

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--help"))
			return usage(stdout), 0;
		if (!strcmp(argv[i], "--json"))
			json = true;
		else if (!strcmp(argv[i], "mote"))
			hypervisor = &hypervisor_mote;
		else if (!strcmp(argv[i], "kvm"))
			hypervisor = &hypervisor_kvm;
		else if (!strcmp(argv[i], "growth"))
			growth = true;
		else if (find(argv[i]) < NR_NAMES)
			wanted |= 1u << find(argv[i]);
		else
			return bad_usage(argv[i]);
	}
	if (!hypervisor == !growth)
		return usage(stderr), 2;
	wanted = wanted ? wanted : ~0u;
	if (growth) {
		measure_growth(print);
	} else {
		measure_rows(hypervisor, print);
		measure_life(hypervisor, print);
		if (is_wanted("runner") && hypervisor == &hypervisor_mote)
			measure_runner(print);
	}
	if (json)
		puts("\n}");
	return 0;
}
