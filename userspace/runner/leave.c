// SPDX-License-Identifier: GPL-2.0
/* mote migrate. */
#include <getopt.h>
#include <json-c/json.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client.h"
#include "migrate.h"
#include "runner.h"

const char migrate_usage[] =
	"usage: mote migrate [--downtime MS] [--json] NAME WHERE\n"
	"\n"
	"Lets a VM go on elsewhere: WHERE is unix:PATH, tcp:HOST:PORT or exec:COMMAND, and there\n"
	"mote receive waits, or is the command (exec:ssh HOST mote receive -). Its memory is copied while\n"
	"it runs; then it stands still for a moment, and goes on there, and has ended here. Whatever\n"
	"fails before that, it goes on here; Ctrl-C is such a failure. Its disks are not copied: they\n"
	"have to be there by the same names. NAME is the whole name.\n"
	"\n"
	"  --downtime MS  how long the moment may be, in ms, as far as that can be foreseen (300)\n"
	"  --json         say as JSON how it went\n"
	"  --help         this text\n"
	"\n"
	"Exit status: 0 it runs there; 1 it does not; 2 no such VM, or nobody waits there.\n";

#define DOWNTIME_MOST 3600000
#define LOOK_MS 500

enum { OPTION_DOWNTIME = 256, OPTION_JSON };

static struct json_object *migration_of(struct json_object *answer)
{
	struct json_object *migration = NULL;

	json_object_object_get_ex(answer, "migration", &migration);
	return migration;
}

/* On a terminal: how far it is, in one line that is written over. */
static void show_progress(const char *name)
{
	char found[NAME_MOST + 1];
	int fd = client_open(name, true, found);
	struct json_object *answer = fd < 0 ? NULL : client_request(fd, "status", NULL);
	struct json_object *migration = answer ? migration_of(answer) : NULL;

	if (migration)
		fprintf(stderr, "\r%s: round %llu, %llu MiB sent, %llu MiB to send in this round \033[K",
			name, answer_number(migration, "rounds"),
			answer_number(migration, "sent_bytes") >> 20,
			answer_number(migration, "left_bytes") >> 20);
	json_object_put(answer);
	if (fd >= 0)
		close(fd);
}

static void watch(int fd, const char *name)
{
	struct pollfd connection = { .fd = fd, .events = POLLIN };

	while (isatty(STDERR_FILENO) && !poll(&connection, 1, LOOK_MS))
		show_progress(name);
	if (isatty(STDERR_FILENO))
		fprintf(stderr, "\r\033[K");
}

static void report(struct json_object *answer, const char *where, bool json)
{
	struct json_object *migration = migration_of(answer);

	if (json) {
		json_object_object_add(migration, "name",
				       json_object_new_string(answer_text(answer, "name")));
		print_json(json_object_get(migration));
		return;
	}
	printf("%s runs at %s: %llu MiB were sent in %llu rounds, and it stood still for %llu ms\n",
	       answer_text(answer, "name"), where, answer_number(migration, "sent_bytes") >> 20,
	       answer_number(migration, "rounds"), answer_number(migration, "downtime_ns") / 1000000);
}

static int migrate(int fd, const char *name, const char *where, unsigned long downtime, bool json)
{
	struct json_object *arguments, *answer;
	int connection = wire_connect(where);

	if (connection < 0)
		return EXIT_USAGE;
	arguments = json_object_new_object();
	json_object_object_add(arguments, "downtime_ms", json_object_new_uint64(downtime));
	client_is_patient(fd);
	if (!client_send(fd, "migrate", arguments, &connection, 1)) {
		complain("the VM has ended, or does not answer");
		close(connection);
		return EXIT_PROBLEM;
	}
	close(connection);
	watch(fd, name);
	answer = client_hear(fd);
	if (!answer)
		return EXIT_PROBLEM;
	report(answer, where, json);
	json_object_put(answer);
	return EXIT_OK;
}

static int parse_downtime(const char *text, unsigned long *downtime)
{
	if (!parse_number(text, DOWNTIME_MOST, downtime))
		return 0;
	complain("--downtime: not a number of milliseconds from 0 to %d: %s", DOWNTIME_MOST, text);
	return -1;
}

int migrate_run(const struct verb *verb, int argc, char **argv)
{
	static const struct option options[] = {
		{ "downtime", required_argument, NULL, OPTION_DOWNTIME },
		{ "json", no_argument, NULL, OPTION_JSON },
		{ "help", no_argument, NULL, 'h' }, { 0 },
	};
	unsigned long downtime = 300;
	char found[NAME_MOST + 1];
	int option, which, fd, status;
	bool json = false;

	while ((option = verb_option(verb, argc, argv, options, &which)) > 0) {
		if (option == 'h') {
			fputs(verb->usage, stdout);
			return EXIT_OK;
		}
		if (option == OPTION_DOWNTIME && parse_downtime(optarg, &downtime))
			return EXIT_USAGE;
		json |= option == OPTION_JSON;
	}
	if (!option)
		return EXIT_USAGE;
	if (argc - optind != 2) {
		complain("migrate takes a VM and where it goes (try mote migrate --help)");
		return EXIT_USAGE;
	}
	fd = client_open(argv[optind], true, found);
	if (fd < 0)
		return EXIT_USAGE;
	status = migrate(fd, found, argv[optind + 1], downtime, json);
	close(fd);
	return status;
}
