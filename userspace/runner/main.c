// SPDX-License-Identifier: GPL-2.0
/* The mote command: finds the verb and leaves the rest to it. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libmote.h"
#include "runner.h"

const struct verb verbs[] = {
	{ "doctor", "say whether virtual machines can run here, and if not, what to do",
	  doctor_usage, doctor_run },
	{ "info", "show what the processor and the module offer", info_usage, info_run },
	{ "run", "run an operating system in a virtual machine", NULL, run_run },
	{ "ps", "list the virtual machines that run", ps_usage, ps_run },
	{ "console", "be the terminal of one", console_usage, console_run },
	{ "stat", "show where one's time goes: exits, processor time, memory", stat_usage, stat_run },
	{ "account", "show what one has had, or all: processors, memory, disks, cards", account_usage,
	  account_run },
	{ "pause", "stop the processors of one", pause_usage, pause_run },
	{ "resume", "let them go on", resume_usage, resume_run },
	{ "memory", "change how much of its memory it is to get by with", memory_usage, memory_run },
	{ "limit", "show what one may have of the host, and change it", NULL, limit_run },
	{ "snapshot", "save one as it is, memory and all", snapshot_usage, snapshot_run },
	{ "restore", "run what was saved", restore_usage, restore_run },
	{ "reset", "take one back to where it was saved or restored", reset_usage, reset_run },
	{ "fork", "make copies of one that runs", fork_usage, fork_run },
	{ "migrate", "let one go on elsewhere", migrate_usage, migrate_run },
	{ "receive", "run what another mote migrates", receive_usage, receive_run },
	{ "dump", "write the memory of one as a core for crash, drgn and gdb", dump_usage, dump_run },
	{ "gdb", "let gdb debug one", gdb_usage, gdb_run },
	{ "step", "run one exit by exit, and see what the VMCS or VMCB holds", step_usage, step_run },
	{ "stop", "press its power button, or end it at once", stop_usage, stop_run },
	{ "watch", "tell what uses a part of one's memory", NULL, outside_run },
	{ "policy", "let BPF programs decide exits of running machines", NULL, outside_run },
	{ "trace", "see every exit of running machines: how long, how often, from where", NULL, outside_run },
	{ "kvm", "run a program that was written for KVM, as QEMU, on mote", kvm_usage, kvm_run },
	{ "options", NULL, NULL, options_run },
	{ 0 },
};

int verb_option(const struct verb *verb, int argc, char **argv, const struct option *options, int *which)
{
	int at = optind ? optind : 1, option;

	opterr = 0;
	option = getopt_long(argc, argv, ":h", options, which);
	if (option != '?' && option != ':')
		return option;
	complain(option == ':' ? "%s: %s wants a value (try mote %s --help)" :
		 "%s: unknown option %s (try mote %s --help)", verb->name, argv[at], verb->name);
	return 0;
}

int parse_flags(const struct verb *verb, int argc, char **argv, const struct option *options, bool takes_more,
		unsigned int *said)
{
	int option, which;

	while ((option = verb_option(verb, argc, argv, options, &which)) > 0) {
		if (option == 'h') {
			fputs(verb->usage, stdout);
			return EXIT_OK;
		}
		*said |= 1u << which;
	}
	if (!option)
		return EXIT_USAGE;
	if (takes_more || optind == argc)
		return -1;
	complain("%s takes no argument: %s (try mote %s --help)", verb->name, argv[optind], verb->name);
	return EXIT_USAGE;
}

static void print_help(void)
{
	puts("usage: mote VERB [OPTION]...\n"
	     "\n"
	     "mote runs virtual machines with VT-x or AMD-V.\n");
	for (const struct verb *verb = verbs; verb->name; verb++)
		if (verb->help)
			printf("  %-10s %s\n", verb->name, verb->help);
	puts("\n"
	     "mote help VERB tells more; mote version names the version.");
}

static const struct verb *find_verb(const char *name)
{
	for (const struct verb *verb = verbs; verb->name; verb++)
		if (!strcmp(name, verb->name))
			return verb;
	return NULL;
}

/* mote help [VERB] */
static int help(int argc, char **argv)
{
	const struct verb *verb = argc > 1 ? find_verb(argv[1]) : NULL;

	if (argc > 2 || (argc > 1 && !verb)) {
		complain("help: no verb: %s (try mote --help)", argv[argc - 1]);
		return EXIT_USAGE;
	}
	if (verb)
		return verb->run(verb, 2, (char *[]) { argv[1], "--help", NULL });
	print_help();
	return EXIT_OK;
}

static bool is_word(const char *word, const char *one, const char *other)
{
	return !strcmp(word, one) || !strcmp(word, other);
}

static int dispatch(int argc, char **argv)
{
	const char *word = argc > 1 ? argv[1] : NULL;
	const struct verb *verb;

	if (!word) {
		complain("which verb? (try mote --help)");
		return EXIT_USAGE;
	}
	if (is_word(word, "help", "--help") || !strcmp(word, "-h"))
		return help(argc - 1, argv + 1);
	if (is_word(word, "version", "--version")) {
		printf("mote %s (ABI %d)\n", MOTE_VERSION, MOTE_ABI_VERSION);
		return EXIT_OK;
	}
	verb = find_verb(word);
	if (verb)
		return verb->run(verb, argc - 1, argv + 1);
	if (is_word(word, "attach", "detach"))
		complain("%s: a machine has the devices that it was started with (try mote run --help; "
			 "its console: mote console)", word);
	else
		complain("unknown %s %s (try mote --help)", word[0] == '-' ? "option" : "verb", word);
	return EXIT_USAGE;
}

int main(int argc, char **argv)
{
	output_begin();
	return output_end(dispatch(argc, argv));
}
