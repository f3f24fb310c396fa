// SPDX-License-Identifier: GPL-2.0
/* mote stop, pause, resume, reset and memory. */
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client.h"
#include "runner.h"
#include "vm.h"

const char stop_usage[] =
	"usage: mote stop [--force] [--timeout S] NAME\n"
	"\n"
	"Presses the power button of a VM, which goes on if it is paused, and waits until\n"
	"it has ended; if it has not after 30 seconds, says so and leaves it alone. NAME\n"
	"is the whole name.\n"
	"\n"
	"  --force      end it at once: what the guest has not written is lost\n"
	"  --timeout S  wait for S seconds; 0: as long as it takes\n"
	"  --help       this text\n"
	"\n"
	"Exit status: 0 it has ended; 1 it does not answer or end; 2 no such VM.\n";

const char pause_usage[] =
	"usage: mote pause NAME\n"
	"\n"
	"Stops the processors of a VM, and returns when they have and its disks are\n"
	"flushed. Its clocks go on: to the guest it is as if its host had not run it.\n"
	"NAME is the whole name.\n";

const char resume_usage[] =
	"usage: mote resume NAME\n"
	"\n"
	"Lets a VM go on that was paused. NAME is the whole name.\n";

const char reset_usage[] =
	"usage: mote reset NAME\n"
	"\n"
	"Takes a VM back to where it was when it was saved last, or else restored: its memory,\n"
	"its processors and its devices, by undoing only what has been written since. It goes\n"
	"on from there, or is paused if it was. What it has said stays said, and its disks stay\n"
	"as they are: it is refused if they have been written to. NAME is the whole name.\n"
	"\n"
	"Exit status: 0; 1 it cannot be, and goes on; 2 no such VM.\n";

const char memory_usage[] =
	"usage: mote memory NAME SIZE\n"
	"\n"
	"Asks the guest of a VM with a balloon (mote run --balloon) to get by with SIZE of\n"
	"its memory, 512M or 2G, say, or lets it have that again. It gives and takes in its\n"
	"own time (mote stat --json), and takes more when it runs out. NAME is the whole name.\n"
	"\n"
	"  --help   this text\n";

#define PATIENCE 30

static int parse_seconds(const char *text, int *seconds)
{
	unsigned long value;

	if (parse_number(text, 1000000, &value)) {
		complain("--timeout: not a number of seconds: %s", text);
		return -1;
	}
	*seconds = value;
	return 0;
}

/* A guest that is paused would not notice the button. */
static struct json_object *press(int fd)
{
	struct json_object *answer = client_ask(fd, "power-button", NULL), *resumed;

	if (!answer || !strcmp(answer_text(answer, "state"), "running"))
		return answer;
	resumed = client_ask(fd, "resume", NULL);
	json_object_put(answer);
	return resumed;
}

static int stop(int fd, const char *name, bool force, int seconds)
{
	int process = client_process(fd);
	struct json_object *answer = force ? client_ask(fd, "kill", NULL) : press(fd);
	bool has_ended = answer && client_sees_end(fd, process, seconds ? seconds * 1000 : -1);

	close(process);
	if (!answer)
		return EXIT_PROBLEM;
	json_object_put(answer);
	if (has_ended)
		return EXIT_OK;
	complain(force ? "%s is about to end, but has not in %d seconds" :
		 "%s has not switched itself off in %d seconds: wait longer, or mote stop --force", name,
		 seconds);
	return EXIT_PROBLEM;
}

int stop_run(const struct verb *verb, int argc, char **argv)
{
	const char *timeout = NULL;
	int seconds = PATIENCE, status, fd;
	char found[NAME_MOST + 1];
	bool force = false;

	status = parse_vm(verb, argc, argv, &(const struct vm_arguments) {
		.value_option = "timeout", .value = &timeout, .flag_option = "force", .flag = &force,
	});
	if (status >= 0)
		return status;
	if (timeout && parse_seconds(timeout, &seconds))
		return EXIT_USAGE;
	fd = client_open(argv[optind], true, found);
	if (fd < 0)
		return EXIT_USAGE;
	status = stop(fd, found, force, seconds);
	close(fd);
	return status;
}

static int tell(const struct verb *verb, int argc, char **argv)
{
	int status = parse_vm(verb, argc, argv, &(const struct vm_arguments) { 0 });

	return status >= 0 ? status : client_tell(argv[optind], verb->name, NULL);
}

int pause_run(const struct verb *verb, int argc, char **argv)
{
	return tell(verb, argc, argv);
}

int resume_run(const struct verb *verb, int argc, char **argv)
{
	return tell(verb, argc, argv);
}

static int ask(int fd, const char *what)
{
	struct json_object *answer = client_ask(fd, what, NULL);

	json_object_put(answer);
	return answer ? EXIT_OK : EXIT_PROBLEM;
}

/* It stands still meanwhile. */
static int reset(int fd)
{
	struct json_object *answer = client_ask(fd, "status", NULL);
	bool was_running = answer && !strcmp(answer_text(answer, "state"), "running");
	int status = answer ? EXIT_OK : EXIT_PROBLEM;

	json_object_put(answer);
	client_is_patient(fd);
	if (was_running)
		status = ask(fd, "pause");
	if (!status)
		status = ask(fd, "reset");
	if (was_running && ask(fd, "resume"))
		status = EXIT_PROBLEM;
	return status;
}

int reset_run(const struct verb *verb, int argc, char **argv)
{
	int status = parse_vm(verb, argc, argv, &(const struct vm_arguments) { 0 });
	char found[NAME_MOST + 1];
	int fd;

	if (status >= 0)
		return status;
	fd = client_open(argv[optind], true, found);
	if (fd < 0)
		return EXIT_USAGE;
	status = reset(fd);
	close(fd);
	return status;
}

int memory_run(const struct verb *verb, int argc, char **argv)
{
	int status = parse_vm(verb, argc, argv, &(const struct vm_arguments) { .operand = "SIZE" });
	struct json_object *arguments;
	__u64 size;

	if (status >= 0)
		return status;
	if (parse_size(argv[optind + 1], &size) || size < MEMORY_LEAST || size > MEMORY_MOST) {
		complain("memory: not a size from 1M to 4096G: %s (512M, 2G ...)", argv[optind + 1]);
		return EXIT_USAGE;
	}
	arguments = json_object_new_object();
	json_object_object_add(arguments, "size", json_object_new_uint64(size));
	return client_tell(argv[optind], "memory", arguments);
}
