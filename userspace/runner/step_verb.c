// SPDX-License-Identifier: GPL-2.0
/* mote step: ask a machine for one exit after another, and show what has changed. */
#include <errno.h>
#include <getopt.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <libmote.h>

#include "client.h"
#include "runner.h"
#include "step.h"

const char step_usage[] =
	"usage: mote step [OPTION]... NAME\n"
	"       mote step [OPTION]... run [RUN-OPTION]... IMAGE\n"
	"\n"
	"Runs a VM exit by exit: one that is there, or one that is started, as by mote run, waits\n"
	"for its first instruction, and ends with this. At each exit it says what has exited and\n"
	"why, which fields of the VMCS or VMCB have changed since the last exit that was shown,\n"
	"who handles it, and where the manuals have all that. Not those of the host's interrupts,\n"
	"unless --until asks for them. On a terminal it asks then; ? helps.\n"
	"\n"
	"  --count N        show N exits, and no more\n"
	"  --until REASON   the first one that is shown has this reason: cpuid, npf ...\n"
	"  --json           each exit as a line of JSON, with all fields\n"
	"  --help           this text\n"
	"\n"
	"Exit status: 0; 1 the VM cannot be stepped; 2 no such VM; of one that is started and ends\n"
	"by itself, as of mote run.\n";

#define ENDED "the VM has ended"
#define COLUMN 100

/**
 * struct stepper - what was asked for, and what has been seen
 * @fd: the control socket
 * @count: so many exits are shown yet; 0: all
 * @reason: the next one that is shown is of this reason; NULL: any
 * @skip: but not so many
 * @json: as JSON
 * @asks: there is somebody at a terminal
 * @seen: by vCPU, the last one that was shown
 */
struct stepper {
	int fd;
	unsigned long count;
	const char *reason;
	unsigned long skip;
	bool json;
	bool asks;
	struct json_object *seen;
};

/* ---- an exit as text --------------------------------------------------------------------- */

static struct json_object *member(struct json_object *object, const char *name)
{
	struct json_object *value = NULL;

	json_object_object_get_ex(object, name, &value);
	return value;
}

/* A number, without its 0x. */
static const char *hex(struct json_object *object, const char *name)
{
	const char *text = answer_text(object, name);

	return text[0] ? text + 2 : "0";
}

static unsigned int vendor_of(struct json_object *exit)
{
	return strcmp(answer_text(exit, "vendor"), mote_vendor_name(MOTE_VENDOR_VMX)) ? MOTE_VENDOR_SVM :
										       MOTE_VENDOR_VMX;
}

static void show_head(struct json_object *exit)
{
	unsigned int vendor = vendor_of(exit);
	struct json_object *code = json_object_array_get_idx(member(exit, "code"), 0);
	const char *word = answer_text(exit, "reason");
	char name[64], head[128];

	step_exit_name(vendor, strtoul(hex(exit, "raw"), NULL, 16), name, sizeof(name));
	snprintf(head, sizeof(head), "#%llu  vCPU %llu  %s", answer_number(exit, "exit"),
		 answer_number(exit, "vcpu"), word);
	paint(BOLD, 0, head);
	printf(": %s 0x%s, handled by the %s\n", name, hex(exit, "raw"), answer_text(exit, "by"));
	printf("    %s\n", step_exit_section(vendor, mote_exit_reason(word)));
	printf("=>  %-16s %-50s ; %s\n", code ? hex(code, "rip") : hex(member(exit, "fields"), "rip"),
	       code ? answer_text(code, "text") : "not in memory", code ? answer_text(code, "bytes") : "");
}

/* Before and after; @before may be NULL. */
static void show_change(const char *name, const char *before, const char *after, const char *where)
{
	char change[64];

	snprintf(change, sizeof(change), before ? "%s -> %s" : "%s%s", before ? before : "", after);
	printf("      ");
	paint(YELLOW, 18, name);
	printf(" %-35s %s\n", change, where);
}

/*
 * The fields that are not what they were; of a vCPU that is seen for the first time those that are not
 * zero, but not what there are many of.  @all: each, whatever it was.
 */
static void show_fields(struct json_object *exit, struct json_object *seen, bool all)
{
	struct json_object *now = member(exit, "fields"), *before = member(seen, "fields");
	unsigned int vendor = vendor_of(exit);
	const char *section = "";

	for (const struct step_field *field = step_fields; field->name; field++) {
		const struct step_where *where = step_where(field, vendor);
		const char *value = hex(now, field->name), *old = before ? hex(before, field->name) : NULL;
		char text[80];

		if (!where->name || (!all && (old ? !strcmp(old, value) :
						    !strcmp(value, "0") || strchr(field->name, '.'))))
			continue;
		if (strcmp(section, where->section))
			printf("    %s\n", where->section);
		section = where->section;
		snprintf(text, sizeof(text), "%s 0x%03x", where->name, where->number);
		show_change(field->name, old && strcmp(old, value) ? old : NULL, value, text);
	}
}

/* What waits for the guest, and what the module keeps of it. */
static void show_events(struct json_object *exit, struct json_object *seen, bool all)
{
	static const struct {
		const char *name, *what;
	} rows[] = {
		{ "event", "the next entry injects it: valid, type, vector" },
		{ "nmis", "NMIs that wait" },
		{ "halted", "the vCPU sleeps: 1 in HLT, 2 for a start-up IPI" },
		{ "apic-requested", "local APIC: the highest vector of IRR" },
		{ "apic-in-service", "local APIC: the highest vector of ISR" },
	};
	struct json_object *now = member(exit, "events"), *before = member(seen, "events");
	bool is_first = true;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const char *value = hex(now, rows[i].name), *old = hex(before, rows[i].name);

		if (!all && !strcmp(old, value))
			continue;
		if (is_first)
			printf("    the module, for the next entry\n");
		is_first = false;
		show_change(rows[i].name, strcmp(old, value) ? old : NULL, value, rows[i].what);
	}
}

/* General registers as the module has left them, as many in a line as there is room for. */
static void show_registers(struct json_object *exit, struct json_object *seen, bool all)
{
	struct json_object *now = member(exit, "registers"), *before = member(seen, "registers");
	int column = 0;

	json_object_object_foreach(now, name, value) {
		const char *text = json_object_get_string(value), *old = hex(before, name);
		char change[80];

		if (!json_object_is_type(value, json_type_string) || (!all && !strcmp(old, text + 2)))
			continue;
		snprintf(change, sizeof(change), all ? "  %s %s%s" : "  %s %s -> %s", name,
			 all ? "" : old, text + 2);
		if (!column || column + strlen(change) > COLUMN)
			column = printf(column ? "\n      %s" : "    goes on with\n      %s", change + 2);
		else
			column += printf("%s", change);
	}
	if (column)
		putchar('\n');
}

static void show(struct stepper *stepper, struct json_object *exit)
{
	char vcpu[24];
	struct json_object *seen;

	snprintf(vcpu, sizeof(vcpu), "%llu", answer_number(exit, "vcpu"));
	seen = member(stepper->seen, vcpu);
	if (stepper->json) {
		puts(json_object_to_json_string_ext(exit, JSON_C_TO_STRING_PLAIN |
						    JSON_C_TO_STRING_NOSLASHESCAPE));
	} else {
		show_head(exit);
		show_fields(exit, seen, false);
		show_events(exit, seen, false);
		if (seen)
			show_registers(exit, seen, false);
	}
	fflush(stdout);
	json_object_object_add(stepper->seen, vcpu, exit);
}

/* ---- whoever is at the terminal -------------------------------------------------------------- */

static void help(void)
{
	puts("  Enter, n   the next exit\n"
	     "  c N        N exits further\n"
	     "  u REASON   the next exit of this reason: cpuid, pio, npf, mmio, wrmsr, hlt ...\n"
	     "  r          all registers\n"
	     "  f          all fields\n"
	     "  q          the end");
}

/* One line; true: the machine is to go on, or there is an end, which is in @is_over. */
static bool obey(struct stepper *stepper, struct json_object *exit, const char *line, bool *is_over)
{
	static char reason[32];
	char end;

	if (!line[0] || !strcmp(line, "n"))
		return true;
	if (!strcmp(line, "q")) {
		*is_over = true;
		return true;
	}
	if (sscanf(line, "c %9lu%c", &stepper->skip, &end) == 1 && stepper->skip) {
		stepper->skip--;
		return true;
	}
	stepper->skip = 0;
	if (sscanf(line, "u %31s", reason) == 1 && mote_exit_reason(reason) >= 0) {
		stepper->reason = reason;
		return true;
	}
	if (!strcmp(line, "f")) {
		show_fields(exit, NULL, true);
		show_events(exit, NULL, true);
	} else if (!strcmp(line, "r")) {
		show_registers(exit, NULL, true);
	} else {
		help();
	}
	return false;
}

/* False: no more. */
static bool ask_user(struct stepper *stepper, struct json_object *exit)
{
	bool is_over = false, goes_on;
	char line[80];

	do {
		printf("step> ");
		fflush(stdout);
		if (!fgets(line, sizeof(line), stdin)) {
			putchar('\n');
			return false;
		}
		line[strcspn(line, "\n")] = '\0';
		goes_on = obey(stepper, exit, line, &is_over);
	} while (!goes_on);
	return !is_over;
}

/* ---- from exit to exit ------------------------------------------------------------------------- */

/* The next one; NULL: there is none, as the machine has ended, or, which is a complaint, *@status. */
static struct json_object *next_exit(struct stepper *stepper, int *status)
{
	struct json_object *arguments = json_object_new_object(), *answer;
	const char *error;

	if (stepper->reason)
		json_object_object_add(arguments, "reason", json_object_new_string(stepper->reason));
	if (stepper->skip)
		json_object_object_add(arguments, "skip", json_object_new_uint64(stepper->skip));
	stepper->reason = NULL;
	stepper->skip = 0;
	answer = client_request(stepper->fd, "step", arguments);
	error = answer ? answer_text(answer, "error") : ENDED;
	if (!error[0])
		return answer;
	if (strcmp(error, ENDED)) {
		complain("%s", error);
		*status = EXIT_PROBLEM;
	}
	json_object_put(answer);
	return NULL;
}

/* EXIT_OK, also if it has ended; *@has_ended says that. */
static int step(struct stepper *stepper, bool *has_ended)
{
	struct json_object *exit;
	int status = EXIT_OK;

	client_is_patient(stepper->fd);
	stepper->seen = json_object_new_object();
	do {
		exit = next_exit(stepper, &status);
		if (exit)
			show(stepper, exit);
	} while (exit && (!stepper->count || --stepper->count) &&
		 (!stepper->asks || ask_user(stepper, exit)));
	*has_ended = !exit && !status;
	json_object_put(stepper->seen);
	return status;
}

/* How the machine that we have started ended. */
static int wait_for_machine(void)
{
	int status;

	while (wait(&status) < 0)
		if (errno != EINTR)
			return EXIT_PROBLEM;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int step_started(struct stepper *stepper, const char *name)
{
	bool has_ended = true;
	char found[NAME_MOST + 1];
	int status = EXIT_OK, end;

	stepper->fd = client_open(name, true, found);
	if (stepper->fd < 0)
		return EXIT_USAGE;
	status = step(stepper, &has_ended);
	if (!has_ended)
		client_send(stepper->fd, "kill", NULL, NULL, 0);
	end = wait_for_machine();
	close(stepper->fd);
	return has_ended ? end : status;
}

static int step_found(struct stepper *stepper, const char *name)
{
	char found[NAME_MOST + 1];
	bool has_ended;
	int status;

	stepper->fd = client_open(name, true, found);
	if (stepper->fd < 0)
		return EXIT_USAGE;
	status = step(stepper, &has_ended);
	close(stepper->fd);
	return status;
}

/* ---- the command line --------------------------------------------------------------------------- */

/* -1 to go on, else the exit status. */
static int parse(const struct verb *verb, int argc, char **argv, struct stepper *stepper)
{
	static const struct option options[] = {
		{ "help", no_argument, NULL, 'h' }, { "count", required_argument, NULL, 'c' },
		{ "until", required_argument, NULL, 'u' }, { "json", no_argument, NULL, 'j' }, { 0 },
	};
	int option, at = 1;

	opterr = 0;
	/* What follows `run` is for that. */
	for (; (option = getopt_long(argc, argv, "+:h", options, NULL)) >= 0; at = optind) {
		switch (option) {
		case 'h':
			fputs(verb->usage, stdout);
			return EXIT_OK;
		case 'c':
			if (!parse_number(optarg, 1000000000, &stepper->count) && stepper->count)
				break;
			complain("--count: not a number from 1 to 1000000000: %s", optarg);
			return EXIT_USAGE;
		case 'u':
			stepper->reason = optarg;
			if (mote_exit_reason(optarg) >= 0)
				break;
			complain("--until: no exit has this reason: %s (cpuid, pio, npf, mmio, hlt ...)",
				 optarg);
			return EXIT_USAGE;
		case 'j':
			stepper->json = true;
			break;
		default:
			complain(option == ':' ? "step: %s wants a value (try mote step --help)" :
				 "step: unknown option %s (try mote step --help)", argv[at]);
			return EXIT_USAGE;
		}
	}
	return -1;
}

int step_run(const struct verb *verb, int argc, char **argv)
{
	struct stepper stepper = {
		.asks = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO),
	};
	int status = parse(verb, argc, argv, &stepper);
	char name[NAME_MOST + 1];

	if (status >= 0)
		return status;
	stepper.asks &= !stepper.json;
	argc -= optind;
	argv += optind;
	if (argc && !strcmp(argv[0], "run")) {
		optind = 0;
		status = run_stepped(argc, argv, name);
		return status ? status : step_started(&stepper, name);
	}
	if (argc == 1)
		return step_found(&stepper, argv[0]);
	complain(argc ? "step takes one VM: %s (try mote step --help)" :
		 "step: which VM, or run what? (try mote step --help)", argc ? argv[1] : "");
	return EXIT_USAGE;
}
