// SPDX-License-Identifier: GPL-2.0
/* mote dump. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <json-c/json.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client.h"
#include "runner.h"

const char dump_usage[] =
	"usage: mote dump [--pause | --stop] [--json] NAME FILE\n"
	"\n"
	"Writes the memory of a VM and the registers of its processors to a file that is not there\n"
	"yet, an ELF core that crash, drgn and gdb read. The VM stands still meanwhile. Pages of\n"
	"zeros take no space. NAME is the whole name.\n"
	"\n"
	"  --pause   it does not go on after it\n"
	"  --stop    it ends after it\n"
	"  --json    say as JSON what was written\n"
	"  --help    this text\n"
	"\n"
	"Exit status: 0; 1 it cannot be written, and the VM goes on; 2 no such VM, or a file is there.\n";

#define LOOK_MS 500

enum { OPTION_PAUSE, OPTION_STOP, OPTION_JSON };

/**
 * struct core_file - a core that is being written, beside the place where it will be
 * @path: what it will be called
 * @beside: what it is called
 * @fd: it
 */
struct core_file {
	const char *path;
	char *beside;
	int fd;
};

static int core_open(struct core_file *core, const char *path)
{
	*core = (struct core_file) { .path = path, .fd = -1 };
	if (!access(path, F_OK)) {
		complain("%s is there already", path);
		return -1;
	}
	if (asprintf(&core->beside, "%s.XXXXXX", path) < 0)
		core->beside = NULL;
	core->fd = core->beside ? mkostemp(core->beside, O_CLOEXEC) : -1;
	if (core->fd < 0) {
		complain("cannot make %s: %m", path);
		free(core->beside);
		return -1;
	}
	return 0;
}

/* It is whole, and on the disk, before it has its name; and takes no other file's. */
static int core_commit(const struct core_file *core)
{
	if (!fsync(core->fd) && !renameat2(AT_FDCWD, core->beside, AT_FDCWD, core->path, RENAME_NOREPLACE))
		return 0;
	complain("cannot write %s: %m", core->path);
	return -1;
}

static void core_close(struct core_file *core, bool is_good)
{
	if (!is_good)
		unlink(core->beside);
	close(core->fd);
	free(core->beside);
}

/* On a terminal: how much there is, in one line that is written over. */
static void watch(int fd, const struct core_file *core)
{
	struct pollfd connection = { .fd = fd, .events = POLLIN };
	struct stat stat;

	while (isatty(STDERR_FILENO) && !poll(&connection, 1, LOOK_MS))
		if (!fstat(core->fd, &stat))
			fprintf(stderr, "\r%s: %lld MiB \033[K", core->path, (long long)stat.st_blocks >> 11);
	if (isatty(STDERR_FILENO))
		fprintf(stderr, "\r\033[K");
}

static struct json_object *write_core(int fd, const struct core_file *core)
{
	struct json_object *answer;

	if (!client_send(fd, "dump", NULL, &core->fd, 1)) {
		complain("the VM has ended, or does not answer");
		return NULL;
	}
	watch(fd, core);
	answer = client_hear(fd);
	if (answer && core_commit(core)) {
		json_object_put(answer);
		return NULL;
	}
	return answer;
}

static void report(struct json_object *answer, const char *path, bool json)
{
	struct json_object *root = json_object_new_object(), *vmcoreinfo = NULL;
	unsigned long long bytes = answer_number(answer, "saved_bytes");

	json_object_object_get_ex(answer, "vmcoreinfo", &vmcoreinfo);
	if (json) {
		json_object_object_add(root, "name", json_object_new_string(answer_text(answer, "name")));
		json_object_object_add(root, "file", json_object_new_string(path));
		json_object_object_add(root, "saved_bytes", json_object_new_uint64(bytes));
		json_object_object_add(root, "vmcoreinfo", json_object_get(vmcoreinfo));
		print_json(root);
		return;
	}
	json_object_put(root);
	printf("%s is dumped in %s: %llu MiB of memory%s\n", answer_text(answer, "name"), path, bytes >> 20,
	       json_object_get_boolean(vmcoreinfo) ? "" : ", and no Linux kernel that says what it is");
}

/* It stands still meanwhile, and goes on if it did before. */
static int dump(int fd, const char *path, unsigned int said)
{
	struct json_object *status = client_ask(fd, "status", NULL), *answer = NULL;
	bool was_running = status && strcmp(answer_text(status, "state"), "paused");
	struct core_file core;

	json_object_put(status);
	if (!status)
		return EXIT_PROBLEM;
	if (core_open(&core, path))
		return EXIT_USAGE;
	client_is_patient(fd);
	if (!was_running || client_let(fd, "pause"))
		answer = write_core(fd, &core);
	core_close(&core, answer);
	if (answer && said & 1u << OPTION_STOP)
		client_let(fd, "kill");
	else if (was_running && !(answer && said & 1u << OPTION_PAUSE))
		client_let(fd, "resume");
	if (answer)
		report(answer, path, said & 1u << OPTION_JSON);
	json_object_put(answer);
	return answer ? EXIT_OK : EXIT_PROBLEM;
}

int dump_run(const struct verb *verb, int argc, char **argv)
{
	static const struct option options[] = {
		[OPTION_PAUSE] = { "pause", no_argument, NULL, 1 },
		[OPTION_STOP] = { "stop", no_argument, NULL, 1 },
		[OPTION_JSON] = { "json", no_argument, NULL, 1 },
		{ "help", no_argument, NULL, 'h' }, { 0 },
	};
	const unsigned int ends = 1u << OPTION_PAUSE | 1u << OPTION_STOP;
	char found[NAME_MOST + 1];
	unsigned int said = 0;
	int fd, status = parse_flags(verb, argc, argv, options, true, &said);

	if (status >= 0)
		return status;
	if (argc - optind != 2 || (said & ends) == ends) {
		complain(argc - optind != 2 ? "dump takes a VM and a file (try mote dump --help)" :
			 "dump: --pause or --stop");
		return EXIT_USAGE;
	}
	fd = client_open(argv[optind], true, found);
	if (fd < 0)
		return EXIT_USAGE;
	status = dump(fd, argv[optind + 1], said);
	close(fd);
	return status;
}
