// SPDX-License-Identifier: GPL-2.0
/* mote policy: the command line. */
#include <errno.h>
#include <getopt.h>
#include <json-c/json.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client.h"
#include "policies.h"
#include "policy.h"
#include "runner.h"
#include "tool.h"

static const char usage[] =
	"usage: mote policy load [--as POLICY] [--verbose] VM FILE\n"
	"       mote policy run [--verbose] FILE... -- COMMAND [ARGUMENT]...\n"
	"       mote policy list [--json]\n"
	"       mote policy remove VM POLICY\n"
	"\n"
	"Lets a BPF program in an object file decide what becomes of a machine's exits.\n"
	"\n"
	"  load     for a machine that runs, until it is removed or the machine ends\n"
	"  run      for the machine that COMMAND is, from its first exit on; prints what they say\n"
	"  list     the machines that run, and their policies\n"
	"  remove   let one go\n"
	"\n"
	"  --as POLICY   what it is called (the file's name, without .bpf.o)\n"
	"  --verbose     show all that the kernel has to say of a program that it refuses\n"
	"  --json        list: as JSON\n"
	"  --help        this text\n"
	"\n"
	"Exit status: COMMAND's if there is one, else 0; 1 if it cannot be done; 2 if the\n"
	"command was used wrongly.\n";

/**
 * struct policy_options - what was said
 * @name: of the policy, or NULL
 * @verbose: show what libbpf and the kernel say
 * @json: as JSON
 * @words: what is no option
 * @nr: of these
 * @nr_files: of these before --
 */
struct policy_options {
	const char *name;
	bool verbose;
	bool json;
	char **words;
	int nr;
	int nr_files;
};

/* ---- load, remove --------------------------------------------------------------------- */

/* By the file: /a/b/c.bpf.o is c. */
static const char *default_name(const char *file, char *name, size_t size)
{
	const char *base = strrchr(file, '/') ? strrchr(file, '/') + 1 : file;
	size_t nr = strcspn(base, ".");

	snprintf(name, size, "%.*s", (int)nr, base);
	return name;
}

/* Whoever is at the other end, as this process's PID namespace calls it. */
static pid_t peer(int fd)
{
	struct ucred it = { 0 };
	socklen_t size = sizeof(it);

	getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &it, &size);
	return it.pid;
}

static struct json_object *called(const char *name)
{
	struct json_object *arguments = json_object_new_object();

	json_object_object_add(arguments, "name", json_object_new_string(name));
	return arguments;
}

/* From now on the machine holds it. */
static int hand_over(int fd, const char *name, int link)
{
	struct json_object *answer = client_ask_with(fd, "policy-add", called(name), &link, 1);

	json_object_put(answer);
	return answer ? EXIT_OK : EXIT_PROBLEM;
}

static int load_for(const struct policy_options *options, struct policy *policy)
{
	char found[NAME_MOST + 1], name[NAME_MOST + 2];
	int status, fd = client_open(options->words[0], true, found);

	if (fd < 0)
		return EXIT_USAGE;
	status = policy_attach(policy, peer(fd));
	if (!status)
		status = hand_over(fd, options->name ? options->name :
				   default_name(policy->file, name, sizeof(name)), policy_link(policy));
	close(fd);
	return status;
}

static int load(const struct policy_options *options)
{
	struct policy policy;
	int status = policy_open(&policy, options->words[1], options->verbose);

	if (!status)
		status = load_for(options, &policy);
	policy_close(&policy);
	return status;
}

static int remove_one(const struct policy_options *options)
{
	return client_tell(options->words[0], "policy-remove", called(options->words[1]));
}

/* ---- list ------------------------------------------------------------------------------- */

static void print_row(struct json_object *vm)
{
	struct json_object *policies = NULL;

	json_object_object_get_ex(vm, "policies", &policies);
	printf("%-20s", answer_text(vm, "name"));
	for (size_t i = 0; policies && i < json_object_array_length(policies); i++)
		printf("%s%s", i ? ", " : " ",
		       json_object_get_string(json_object_array_get_idx(policies, i)));
	if (!policies || !json_object_array_length(policies))
		printf(" -");
	putchar('\n');
}

/* As JSON it is no more than the text says. */
static struct json_object *row_json(struct json_object *vm)
{
	struct json_object *row = json_object_new_object(), *policies = NULL;

	json_object_object_get_ex(vm, "policies", &policies);
	json_object_object_add(row, "name", json_object_new_string(answer_text(vm, "name")));
	json_object_object_add(row, "policies",
			       policies ? json_object_get(policies) : json_object_new_array());
	return row;
}

static int list(const struct policy_options *options)
{
	struct json_object *vms = vms_ask("status"), *rows;

	if (!vms)
		return EXIT_PROBLEM;
	if (options->json) {
		rows = json_object_new_array();
		for (size_t i = 0; i < json_object_array_length(vms); i++)
			json_object_array_add(rows, row_json(json_object_array_get_idx(vms, i)));
		output_json(stdout, rows);
	} else {
		if (json_object_array_length(vms))
			printf("%-20s POLICIES\n", "NAME");
		for (size_t i = 0; i < json_object_array_length(vms); i++)
			print_row(json_object_array_get_idx(vms, i));
	}
	json_object_put(vms);
	return EXIT_OK;
}

/* ---- run ---------------------------------------------------------------------------------- */

/* The command's process is the machine's: exec does not change its number. */
static int run_under(struct policy *policies, int nr, char **words)
{
	const struct trace_options options = { .command = "policy", .words = words };
	struct session session = { .stats = -1, .gate = -1 };
	int status = EXIT_OK, err = session_spawn(&session, words);

	if (err) {
		complain("policy: cannot start %s: %s", words[0], strerror(-err));
		return EXIT_PROBLEM;
	}
	for (int i = 0; i < nr && !status; i++)
		status = policy_attach(&policies[i], session.child);
	if (!status)
		session_open_gate(&session);
	while (!status && session_goes_on(&session, &options))
		for (int i = 0; i < nr && !status; i++)
			status = policy_print(&policies[i], i ? 0 : 20) ? EXIT_OK : EXIT_PROBLEM;
	session_stop(&session, NULL);
	for (int i = 0; i < nr && !status; i++)
		policy_print(&policies[i], 0);
	return status ? status : session.status;
}

static int run(const struct policy_options *options)
{
	struct policy policies[POLICIES_MOST];
	int status = EXIT_OK, nr = 0;

	while (nr < options->nr_files && !status) {
		status = policy_open(&policies[nr], options->words[nr], options->verbose);
		nr++;
	}
	if (!status)
		status = run_under(policies, nr, options->words + options->nr_files + 1);
	while (nr)
		policy_close(&policies[--nr]);
	return status;
}

/* ---- the command line ------------------------------------------------------------------------ */

static const struct command {
	const char *name;
	int least, most;	/* words */
	const char *wants;
	int (*run)(const struct policy_options *options);
} commands[] = {
	{ "load", 2, 2, "a VM and a file", load },
	{ "run", 3, INT_MAX, "files, 16 at most, and behind -- a command", run },
	{ "list", 0, 0, "no words", list },
	{ "remove", 2, 2, "a VM and a policy", remove_one },
};

enum { AS = 256, VERBOSE, JSON };

/* -1 to go on, else the exit status. */
static int parse(struct policy_options *options, const struct command *command, int argc, char **argv)
{
	static const struct option names[] = {
		{ "as", required_argument, NULL, AS }, { "verbose", no_argument, NULL, VERBOSE },
		{ "json", no_argument, NULL, JSON }, { "help", no_argument, NULL, 'h' }, { 0 },
	};
	int option, at;

	opterr = 0;
	while (at = optind, (option = getopt_long(argc, argv, "+:h", names, NULL)) != -1) {
		if (option == 'h') {
			fputs(usage, stdout);
			return EXIT_OK;
		}
		if (option == '?' || option == ':' || (option == AS && command->run != load) ||
		    (option == JSON && command->run != list) ||
		    (option == VERBOSE && command->run != load && command->run != run)) {
			complain(option == ':' ? "policy %s: %s wants a value (try mote policy --help)" :
				 "policy %s: unknown option %s (try mote policy --help)", command->name,
				 argv[at]);
			return EXIT_USAGE;
		}
		options->name = option == AS ? optarg : options->name;
		options->verbose |= option == VERBOSE;
		options->json |= option == JSON;
	}
	options->words = argv + optind;
	options->nr = argc - optind;
	while (options->nr_files < options->nr && strcmp(options->words[options->nr_files], "--"))
		options->nr_files++;
	if (options->nr >= command->least && options->nr <= command->most &&
	    (command->run != run || (options->nr_files && options->nr_files <= POLICIES_MOST &&
				     options->nr_files + 1 < options->nr)))
		return -1;
	complain("policy %s wants %s (try mote policy --help)", command->name, command->wants);
	return EXIT_USAGE;
}

int policy_run(int argc, char **argv)
{
	struct policy_options options = { 0 };
	const char *word = argc > 1 ? argv[1] : "";
	int status;

	if (!strcmp(word, "--help") || !strcmp(word, "-h")) {
		fputs(usage, stdout);
		return EXIT_OK;
	}
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		if (strcmp(word, commands[i].name))
			continue;
		status = parse(&options, &commands[i], argc - 1, argv + 1);
		return status < 0 ? commands[i].run(&options) : status;
	}
	complain(*word ? "policy: there is no %s (try mote policy --help)" :
			 "policy: load, run, list or remove? (try mote policy --help)", word);
	return EXIT_USAGE;
}
