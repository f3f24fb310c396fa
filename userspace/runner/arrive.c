// SPDX-License-Identifier: GPL-2.0
/* mote restore, receive and fork: machines that begin with what they, or others, were. */
#include <fcntl.h>
#include <getopt.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "migrate.h"
#include "options.h"
#include "runner.h"

/* The options as JSON, in bytes. */
#define CONFIG_MOST 65536

#define COMMON_USAGE						\
	"  --name NAME    of the VM; as it was called before, unless another one is\n"	\
	"  --serial WHAT  stdio, socket or none, as for mote run\n"			\
	"  --timeout S    end it after so many seconds\n"				\
	"  --sandbox WHAT on or off, as for mote run\n"				\
	"  --detach       in the background\n"						\
	"  --json         events as JSON\n"						\
	"  --help         this text\n"

const char restore_usage[] =
	"usage: mote restore [OPTION]... DIR\n"
	"\n"
	"Runs a VM from where it was saved (mote snapshot), as often as wanted: what is saved in\n"
	"DIR is not changed. Memory is read as the guest uses it, or ahead, as far as it was\n"
	"recorded. Exit statuses are those of mote run.\n"
	"\n"
	"  --paused       do not go on before mote resume\n"
	"  --disks TO     with copies of the disks that were saved with it, in TO, which is made\n"
	"  --record       note in DIR what memory it uses until it ends, to be read ahead\n"
	"  --verify       look at the checksums of all of its memory first\n"
	COMMON_USAGE;

const char receive_usage[] =
	"usage: mote receive [OPTION]... unix:PATH | tcp:[HOST]:PORT | -\n"
	"\n"
	"Waits for a VM that mote migrate lets go, and runs it from there on; - is a socket on\n"
	"standard input. Its disks have to be here by the same names. The connection is neither\n"
	"secret nor authenticated: use it where nobody else is, or through ssh (mote migrate\n"
	"NAME 'exec:ssh HOST mote receive -'). Exit statuses are those of mote run.\n"
	"\n"
	COMMON_USAGE;

/* Said of one start of the machine, not of the machine. */
static bool is_of_one_run(const char *name)
{
	static const char *const names[] = { "name", "timeout", "detach", "sandbox", "gdb", "json" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (!strcmp(names[i], name))
			return true;
	return false;
}

/* A text of the state; false after a complaint. */
static bool read_text(struct snapshot *snapshot, const char *path, const char *name, char *text, size_t room)
{
	const void *block;
	size_t size;

	if (!state_block(&snapshot->state, name, &block, &size) || size >= room || memchr(block, 0, size)) {
		complain("%s: it says nothing of the machine's %s", path, name);
		return false;
	}
	memcpy(text, block, size);
	text[size] = '\0';
	return true;
}

/* Of a machine that is another one its owner has chosen them, or they are new. */
static int take_addresses(struct snapshot *snapshot, struct options *options, const char *path,
			  bool is_another)
{
	const void *block;
	size_t size;

	if (!state_block(&snapshot->state, "network_addresses", &block, &size) ||
	    size != options->nr_nics * MAC_SIZE) {
		complain("%s: its network cards have no addresses", path);
		return -1;
	}
	for (unsigned int i = 0; !is_another && i < options->nr_nics; i++)
		memcpy(options->nics[i].mac, (const __u8 *)block + i * MAC_SIZE, MAC_SIZE);
	return 0;
}

/**
 * struct restored - a machine that is to be restored
 * @snapshot: it
 * @name: what it was called
 * @directory: where its files' names begin
 */
struct restored {
	struct snapshot snapshot;
	char name[NAME_MOST + 1];
	char directory[FILE_NAME_MOST];
};

int snapshot_options(struct snapshot *snapshot, struct options *options, const char *where,
		     char directory[FILE_NAME_MOST])
{
	char config[CONFIG_MOST];

	if (!read_text(snapshot, where, "config", config, sizeof(config)) ||
	    options_read_text(options, where, config, is_of_one_run) ||
	    !read_text(snapshot, where, "directory", directory, FILE_NAME_MOST))
		return -1;
	return 0;
}

static int take_options(struct restored *restored, struct options *options, const char *path)
{
	struct snapshot *snapshot = &restored->snapshot;

	if (snapshot_options(snapshot, options, path, restored->directory) ||
	    !read_text(snapshot, path, "name", restored->name, sizeof(restored->name)))
		return -1;
	if (!is_name(restored->name)) {
		complain("%s: the machine's name is none", path);
		return -1;
	}
	return 0;
}

static int check_options(struct restored *restored, struct options *options, const char *path,
			 bool is_another)
{
	if (options_check(options) || take_addresses(&restored->snapshot, options, path, is_another))
		return -1;
	if (!options->name)
		options->name = restored->name;
	if (restored->snapshot.memory.size < options->memory) {
		complain("%s: its memory is less than the machine's", path);
		return -1;
	}
	options->snapshot = &restored->snapshot;
	/* Files are called as they were; where there is no such directory they are not found. */
	if (chdir(restored->directory))
		complain("%s: there is no %s, where its files were: %m", path, restored->directory);
	return 0;
}

enum {
	OPTION_ROW = 256, OPTION_PAUSED, OPTION_VERIFY, OPTION_COUNT, OPTION_SAME, OPTION_RECORD,
	OPTION_DISKS,
};

static const struct option arrival_options[] = {
	{ "name", required_argument, NULL, OPTION_ROW }, { "serial", required_argument, NULL, OPTION_ROW },
	{ "timeout", required_argument, NULL, OPTION_ROW }, { "detach", no_argument, NULL, OPTION_ROW },
	{ "sandbox", required_argument, NULL, OPTION_ROW }, { "json", no_argument, NULL, OPTION_ROW },
	{ "help", no_argument, NULL, 'h' },
	{ "paused", no_argument, NULL, OPTION_PAUSED }, { "verify", no_argument, NULL, OPTION_VERIFY },
	{ "count", required_argument, NULL, OPTION_COUNT }, { "same", no_argument, NULL, OPTION_SAME },
	{ "record", no_argument, NULL, OPTION_RECORD }, { "disks", required_argument, NULL, OPTION_DISKS },
	{ 0 },
};

#define COPIES_MOST 256
#define DISKS_OF_COPIES { .directory = -1, .begin = "disk-" }
#define BIT_OF(option) (1u << ((option) - OPTION_ROW))

/**
 * struct way - how a machine comes to be here
 * @open: it, and complain if that cannot be
 * @wants: what the verb wants
 * @knows: of the options that are not all verbs', a BIT_OF() each
 * @said: likewise, which were given
 * @copies: how many of a machine that runs; 0: it is none
 * @disks: where copies of its own disks are made; its directory is -1 if they are not
 * @directory: the path of that
 */
struct way {
	int (*open)(struct snapshot *snapshot, const char *where, const struct way *way);
	const char *wants;
	unsigned int knows;
	unsigned int said;
	unsigned int copies;
	struct disk_set disks;
	char *directory;
};

/* A directory that is made for them. */
static int make_directory(struct way *way, const char *path)
{
	if (way->directory) {
		complain("--disks: once");
		return -1;
	}
	if (!mkdir(path, 0700)) {
		way->directory = realpath(path, NULL);
		way->disks.directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	}
	if (way->directory && way->disks.directory >= 0)
		return 0;
	complain("--disks: cannot make %s: %m", path);
	return -1;
}

/* What is in there is of no use to anybody, or is the machine's. */
static void leave_directory(struct way *way, bool is_used)
{
	if (way->directory && !is_used) {
		disks_remove(&way->disks);
		for (unsigned int i = 1; i <= way->copies; i++) {
			const struct disk_set set = copy_disks(&way->disks, i);

			disks_remove(&set);
		}
		rmdir(way->directory);
	}
	if (way->disks.directory >= 0)
		close(way->disks.directory);
	free(way->directory);
}

/* From those that were saved with the machine. */
static int take_disks(const struct snapshot *snapshot, const struct way *way, const char *where,
		      struct options *options)
{
	struct disk_set from = { .directory = open(where, O_RDONLY | O_DIRECTORY | O_CLOEXEC) };
	char why[DISKS_WHY];
	int err;

	snprintf(from.begin, sizeof(from.begin), SNAPSHOT_DISK, snapshot->memory.file);
	err = disks_copy(options, &from, &way->disks, false, why);
	if (err)
		complain("%s: %s", where, why);
	close(from.directory);
	disks_use(options, way->directory, &way->disks);
	return err;
}

static int parse_count(const char *text, unsigned int *count)
{
	unsigned long value;
	int err = parse_number(text, COPIES_MOST, &value);

	*count = value;
	if (!err && value)
		return 0;
	complain("--count: not a number from 1 to %d: %s", COPIES_MOST, text);
	return -1;
}

/* What the command line says, twice: to find the machine, and then on top of what it was. */
static int parse(const struct verb *verb, int argc, char **argv, struct way *way,
		 struct options *options)
{
	int option, which;

	complain_as_wanted(argv);
	optind = 0;
	while ((option = verb_option(verb, argc, argv, arrival_options, &which)) > 0) {
		const char *name = arrival_options[which].name;

		if (option == 'h') {
			fputs(verb->usage, stdout);
			return EXIT_OK;
		}
		if (option != OPTION_ROW && !(way->knows & BIT_OF(option))) {
			complain("%s: unknown option --%s (try mote %s --help)", verb->name, name,
				 verb->name);
			return EXIT_USAGE;
		}
		way->said |= BIT_OF(option);
		if (option == OPTION_COUNT && parse_count(optarg, &way->copies))
			return EXIT_USAGE;
		if (option == OPTION_DISKS && !options && make_directory(way, optarg))
			return EXIT_USAGE;
		if (option == OPTION_ROW && options &&
		    options_set(options, row_find(option_rows, name, strlen(name)), optarg))
			return EXIT_USAGE;
	}
	if (option < 0 && argc - optind == 1)
		return -1;
	if (option < 0)
		complain("%s takes %s (try mote %s --help)", verb->name, way->wants, verb->name);
	return EXIT_USAGE;
}

static int run_one(const struct options *options)
{
	char name[NAME_MOST + 1];

	return options->detach ? detach_run(options, name) : vm_run(options);
}

static int arrive(const struct verb *verb, int argc, char **argv, struct way *way)
{
	struct options options = OPTIONS_INITIAL;
	int status = parse(verb, argc, argv, way, NULL);
	const char *where = argv[optind];
	struct restored restored;

	if (status >= 0) {
		leave_directory(way, false);
		json_object_put(options.config);
		return status;
	}
	if (way->open(&restored.snapshot, where, way) ||
	    (way->said & BIT_OF(OPTION_VERIFY) && snapshot_verify(&restored.snapshot, where)) ||
	    take_options(&restored, &options, where))
		status = EXIT_USAGE;
	if (status < 0 && way->copies)
		copies_leave_terminal(&options);
	if (status < 0)
		status = parse(verb, argc, argv, way, &options);
	if (status < 0 && way->said & BIT_OF(OPTION_RECORD) && snapshot_record(&restored.snapshot, where))
		status = EXIT_USAGE;
	if (status < 0 && way->directory && !way->copies &&
	    take_disks(&restored.snapshot, way, where, &options))
		status = EXIT_USAGE;
	if (status < 0 && check_options(&restored, &options, where,
					way->copies && !(way->said & BIT_OF(OPTION_SAME))))
		status = EXIT_USAGE;
	if (status < 0) {
		restored.snapshot.is_paused |= !!(way->said & BIT_OF(OPTION_PAUSED));
		status = way->copies ? copies_run(&options, where, way->copies, way->directory, &way->disks) :
				       run_one(&options);
	} else {
		receive_refuse(&restored.snapshot, "it could not be made there, which says why");
	}
	leave_directory(way, status != EXIT_USAGE && !(way->copies && status));
	snapshot_close(&restored.snapshot);
	json_object_put(options.config);
	return status;
}

static int open_saved(struct snapshot *snapshot, const char *where, const struct way *way)
{
	(void)way;
	return snapshot_open(snapshot, where);
}

int restore_run(const struct verb *verb, int argc, char **argv)
{
	struct way way = {
		.open = open_saved, .wants = "a directory", .disks = DISKS_OF_COPIES,
		.knows = BIT_OF(OPTION_PAUSED) | BIT_OF(OPTION_VERIFY) | BIT_OF(OPTION_RECORD) |
			 BIT_OF(OPTION_DISKS),
	};

	return arrive(verb, argc, argv, &way);
}

/* Whoever comes first. */
static int receive_from(struct snapshot *snapshot, const char *where, const struct way *way)
{
	char why[WIRE_TEXT_MOST];
	int fd = wire_accept(where);

	(void)way;
	*snapshot = SNAPSHOT_NONE;
	if (fd >= 0 && !receive_machine(snapshot, fd, why))
		return 0;
	if (fd >= 0)
		complain("it cannot be received: %s", why);
	return -1;
}

int receive_run(const struct verb *verb, int argc, char **argv)
{
	struct way way = {
		.open = receive_from, .wants = "unix:PATH, tcp:[HOST]:PORT or -", .disks = DISKS_OF_COPIES,
	};

	return arrive(verb, argc, argv, &way);
}

static int open_copy(struct snapshot *snapshot, const char *where, const struct way *way)
{
	return copy_open(snapshot, where, way->directory ? &way->disks : NULL, way->copies);
}

int fork_run(const struct verb *verb, int argc, char **argv)
{
	struct way way = {
		.open = open_copy, .wants = "a VM", .copies = 1, .disks = DISKS_OF_COPIES,
		.knows = BIT_OF(OPTION_PAUSED) | BIT_OF(OPTION_COUNT) | BIT_OF(OPTION_SAME) |
			 BIT_OF(OPTION_DISKS),
	};

	return arrive(verb, argc, argv, &way);
}
