// SPDX-License-Identifier: GPL-2.0
/* mote snapshot. */
#define XXH_INLINE_ALL
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "client.h"
#include "migrate.h"
#include "requests.h"
#include "runner.h"
#include "snapshot.h"

const char snapshot_usage[] =
	"usage: mote snapshot [--live | --pause | --stop] [--diff BASE] [--disks] [--json] NAME DIR\n"
	"       mote snapshot --show DIR\n"
	"\n"
	"Saves a VM as it is in a directory, which is made if it is not there: its memory, its\n"
	"processors and its devices, but without --disks not its disks, which have to be as they are\n"
	"now when it is restored. The VM stands still meanwhile. What was saved there before is\n"
	"replaced when all of it is on the disk: whatever happens, the old or the new one is whole.\n"
	"NAME is the whole name.\n"
	"\n"
	"  --live       it runs meanwhile, and stands still but for a moment\n"
	"  --pause      it does not go on after it\n"
	"  --stop       it ends after it\n"
	"  --diff BASE  write only memory that is not as in BASE, where another snapshot is; what is\n"
	"               shares its blocks on file systems that can (btrfs, XFS), else is copied first\n"
	"  --disks      copy the disks that it writes to, too, for mote restore --disks; with --live by\n"
	"               a file system that can share their blocks\n"
	"  --json       say as JSON what was saved\n"
	"  --show       print as JSON what was saved of processors and devices\n"
	"  --help       this text\n"
	"\n"
	"Exit status: 0; 1 it cannot be saved, and goes on; 2 no such VM.\n";

/* ---- the directory ------------------------------------------------------------------ */

/**
 * struct target - a directory in which a machine is being saved
 * @path: of it
 * @is_new: it was made for that
 * @fd: it, locked
 * @number: of the memory's file
 * @files: for the state and for the memory
 */
struct target {
	const char *path;
	bool is_new;
	int fd;
	__u64 number;
	int files[REQUEST_FILES];
};

static struct disk_set disks_of(const struct target *target)
{
	struct disk_set set = { .directory = target->fd };

	snprintf(set.begin, sizeof(set.begin), SNAPSHOT_DISK, target->number);
	return set;
}

static void memory_name(const struct target *target, char name[32])
{
	snprintf(name, 32, SNAPSHOT_MEMORY, target->number);
}

static int open_files(struct target *target)
{
	char name[32];

	if (getrandom(&target->number, sizeof(target->number), 0) != sizeof(target->number))
		return -1;
	target->number = target->number >> 1 | 1;
	memory_name(target, name);
	target->files[0] = openat(target->fd, SNAPSHOT_NEW,
				  O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	target->files[1] = openat(target->fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	return target->files[0] < 0 || target->files[1] < 0 ? -1 : 0;
}

static int target_open(struct target *target, const char *path)
{
	*target = (struct target) { .path = path, .fd = -1, .files = { -1, -1 } };
	target->is_new = !mkdir(path, 0700);
	if (!target->is_new && errno != EEXIST) {
		complain("cannot make %s: %m", path);
		return -1;
	}
	target->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (target->fd < 0)
		complain("cannot save in %s: %m", path);
	else if (flock(target->fd, LOCK_EX | LOCK_NB))
		complain("another machine is being saved in %s", path);
	else if (open_files(target))
		complain("cannot make files in %s: %m", path);
	else
		return 0;
	return -1;
}

/* The memory begins as that of another snapshot, which has to be whole, and of a machine with as much. */
static int target_begin_as(const struct target *target, const char *base, __u64 size)
{
	struct snapshot snapshot;
	__u64 *sums;
	int err = -1;

	if (snapshot_open(&snapshot, base))
		return -1;
	sums = snapshot_read_sums(&snapshot);
	if (!sums)
		complain("%s: its memory's checksums are damaged", base);
	else if (snapshot.memory.size != (size + SNAPSHOT_CHUNK - 1) / SNAPSHOT_CHUNK * SNAPSHOT_CHUNK)
		complain("%s: a machine with %llu MiB of memory, and this one has %llu", base,
			 snapshot.memory.size >> 20, size >> 20);
	else if (copy_file(snapshot.memory_fd, target->files[1], false))
		complain("cannot save in %s what is in %s: %m", target->path, base);
	else
		err = 0;
	free(sums);
	snapshot_close(&snapshot);
	return err;
}

static bool begins_with(const char *name, const char *beginning)
{
	return !strncmp(name, beginning, strlen(beginning));
}

/* What was saved here before is not needed any more, nor is what was left by who did not get here. */
static void remove_others(const struct target *target)
{
	const struct disk_set disks = disks_of(target);
	char name[32] = "";
	int fd = dup(target->fd);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;

	if (target->number)
		memory_name(target, name);
	while (dir && (entry = readdir(dir)))
		if ((begins_with(entry->d_name, "memory-") && strcmp(entry->d_name, name)) ||
		    (begins_with(entry->d_name, "disk-") && !begins_with(entry->d_name, disks.begin)) ||
		    begins_with(entry->d_name, "working-set-"))
			unlinkat(target->fd, entry->d_name, 0);
	if (dir)
		closedir(dir);
}

/* In this order: who finds the new state finds its memory. */
static int target_commit(const struct target *target)
{
	if (fsync(target->files[1]) || fsync(target->files[0]) || fsync(target->fd) ||
	    renameat(target->fd, SNAPSHOT_NEW, target->fd, SNAPSHOT_STATE) || fsync(target->fd)) {
		complain("cannot save in %s: %m", target->path);
		return -1;
	}
	remove_others(target);
	return 0;
}

static void target_close(struct target *target, bool is_good)
{
	const struct disk_set disks = disks_of(target);
	char name[32];

	memory_name(target, name);
	if (!is_good && target->fd >= 0)
		disks_remove(&disks);
	if (!is_good && target->files[1] >= 0)
		unlinkat(target->fd, name, 0);
	if (!is_good && target->files[0] >= 0)
		unlinkat(target->fd, SNAPSHOT_NEW, 0);
	for (int i = 0; i < REQUEST_FILES; i++)
		if (target->files[i] >= 0)
			close(target->files[i]);
	if (target->fd >= 0)
		close(target->fd);
	if (!is_good && target->is_new)
		rmdir(target->path);
}

/* ---- saving ---------------------------------------------------------------------------- */

/**
 * struct wishes - what is to become of a machine that has been saved
 * @live: it runs meanwhile
 * @pause: it does not go on
 * @stop: it ends
 * @base: directory of a snapshot that has some of it already, or NULL
 * @disks: its own are copied, too
 * @json: say as JSON what was saved
 */
struct wishes {
	bool live;
	bool pause;
	bool stop;
	const char *base;
	bool disks;
	bool json;
};

/* It stands still. */
static int save_disks(const struct target *target)
{
	const struct disk_set set = disks_of(target);
	struct snapshot snapshot;
	char copied[DISKS_WHY] = "";
	const char *why;
	int err = snapshot_read_state(&snapshot, target->files[0], &why);

	if (!err) {
		err = disks_copy_of(&snapshot, &set, false, copied);
		why = copied;
	}
	if (err)
		complain("cannot save in %s: %s", target->path, why);
	snapshot_close(&snapshot);
	return err;
}

static struct json_object *save_to(int fd, const struct target *target, bool with_disks)
{
	struct json_object *arguments = json_object_new_object(), *answer;

	json_object_object_add(arguments, "file", json_object_new_uint64(target->number));
	answer = client_ask_with(fd, "save", arguments, target->files, REQUEST_FILES);
	if (answer && ((with_disks && save_disks(target)) || target_commit(target))) {
		json_object_put(answer);
		return NULL;
	}
	return answer;
}

/* ---- what was received ------------------------------------------------------------------- */

/* The checksums of memory that is there; how many bytes of it are not all zeros, or a negative errno. */
static __s64 sum_up(int fd, const struct snapshot_memory *memory, __u64 *sums)
{
	unsigned char *chunk = malloc(SNAPSHOT_CHUNK);
	__s64 written = chunk ? 0 : -ENOMEM;

	for (__u64 at = 0; at < memory->size && written >= 0; at += SNAPSHOT_CHUNK) {
		if (!read_at(fd, chunk, SNAPSHOT_CHUNK, at)) {
			written = -EIO;
		} else if (!is_zero(chunk, SNAPSHOT_CHUNK)) {
			sums[at / SNAPSHOT_CHUNK] = XXH3_64bits(chunk, SNAPSHOT_CHUNK);
			written += SNAPSHOT_CHUNK;
		}
	}
	free(chunk);
	return written;
}

/* A machine that was copied becomes one that was saved; bytes of memory or a negative errno, as above. */
static __s64 complete(const struct snapshot *snapshot, const struct target *target)
{
	/* Of these the first is made anew, and how it was to go on is not said of what is saved. */
	static const char *const without[] = { "memory", "paused", NULL };
	__u64 chunks = (snapshot->memory.size + SNAPSHOT_CHUNK - 1) / SNAPSHOT_CHUNK, *sums;
	struct snapshot_memory memory = { .file = target->number, .size = chunks * SNAPSHOT_CHUNK };
	struct state state;
	__s64 written;
	int err;

	sums = calloc(chunks, sizeof(*sums));
	if (!sums || ftruncate(target->files[1], memory.size)) {
		free(sums);
		return -errno;
	}
	written = sum_up(target->files[1], &memory, sums);
	err = written < 0 ? written : snapshot_write_sums(target->files[1], &memory, sums);
	free(sums);
	if (err)
		return err;
	state_begin_save(&state);
	state_copy(&state, &snapshot->state, without);
	err = snapshot_write_state(target->files[0], &state, &memory);
	state_free(&state);
	return err ? err : written;
}

static int share_disks(const struct snapshot *snapshot, void *data, char why[DISKS_WHY])
{
	const struct disk_set set = disks_of(data);

	return disks_copy_of(snapshot, &set, true, why);
}

static struct json_object *copy_to(int fd, struct target *target, bool with_disks)
{
	struct snapshot snapshot = SNAPSHOT_NONE;
	struct json_object *answer;
	__s64 written;

	snapshot.memory_fd = target->files[1];
	answer = copy_machine(fd, &snapshot, with_disks ? share_disks : NULL, target);
	written = answer ? complete(&snapshot, target) : 0;
	free(snapshot.state.data);
	if (answer)
		json_object_object_add(answer, "saved_bytes", json_object_new_uint64(written));
	if (written < 0)
		complain("cannot save in %s: %s", target->path, strerror(-written));
	if (answer && written >= 0 && !target_commit(target))
		return answer;
	json_object_put(answer);
	return NULL;
}

/* ---- all of it ------------------------------------------------------------------------------ */

static void report(struct json_object *answer, const char *path, const struct wishes *wishes)
{
	struct json_object *root;

	if (!wishes->json) {
		printf("%s is saved in %s: %llu MiB of memory\n", answer_text(answer, "name"), path,
		       answer_number(answer, "saved_bytes") >> 20);
		return;
	}
	root = json_object_new_object();
	json_object_object_add(root, "name", json_object_new_string(answer_text(answer, "name")));
	json_object_object_add(root, "directory", json_object_new_string(path));
	json_object_object_add(root, "saved_bytes",
			       json_object_new_uint64(answer_number(answer, "saved_bytes")));
	print_json(root);
}

static void end(int fd)
{
	int process = client_process(fd);

	if (client_let(fd, "kill"))
		client_sees_end(fd, process, -1);
	close(process);
}

static int save(int fd, const char *path, const struct wishes *wishes)
{
	struct json_object *status = client_ask(fd, "status", NULL), *answer = NULL;
	bool was_running = status && strcmp(answer_text(status, "state"), "paused");
	struct target target;
	__u64 memory;

	memory = answer_number(status, "memory");
	json_object_put(status);
	if (!status)
		return EXIT_PROBLEM;
	if (target_open(&target, path) || (wishes->base && target_begin_as(&target, wishes->base, memory))) {
		target_close(&target, false);
		return EXIT_PROBLEM;
	}
	client_is_patient(fd);
	if (wishes->live)
		answer = copy_to(fd, &target, wishes->disks);
	else if (!was_running || client_let(fd, "pause"))
		answer = save_to(fd, &target, wishes->disks);
	target_close(&target, answer);
	if (answer && wishes->stop)
		end(fd);
	else if (was_running && !wishes->live && !(answer && wishes->pause))
		client_let(fd, "resume");
	if (answer)
		report(answer, path, wishes);
	json_object_put(answer);
	return answer ? EXIT_OK : EXIT_PROBLEM;
}

static int show(const char *path)
{
	struct json_object *root;
	struct snapshot snapshot;

	if (snapshot_open(&snapshot, path))
		return EXIT_USAGE;
	root = state_to_json(snapshot.state.data, snapshot.state.size);
	if (root)
		print_json(root);
	else
		complain("%s: its state is no tree of values", path);
	snapshot_close(&snapshot);
	return root ? EXIT_OK : EXIT_USAGE;
}

enum { OPTION_LIVE = 256, OPTION_DIFF, OPTION_DISKS, OPTION_PAUSE, OPTION_STOP, OPTION_JSON, OPTION_SHOW };

int snapshot_run(const struct verb *verb, int argc, char **argv)
{
	static const struct option options[] = {
		{ "live", no_argument, NULL, OPTION_LIVE }, { "diff", required_argument, NULL, OPTION_DIFF },
		{ "disks", no_argument, NULL, OPTION_DISKS },
		{ "pause", no_argument, NULL, OPTION_PAUSE }, { "stop", no_argument, NULL, OPTION_STOP },
		{ "json", no_argument, NULL, OPTION_JSON }, { "show", no_argument, NULL, OPTION_SHOW },
		{ "help", no_argument, NULL, 'h' }, { 0 },
	};
	struct wishes wishes = { 0 };
	bool shows = false;
	char found[NAME_MOST + 1];
	int option, which, fd, status, nr_ways;

	while ((option = verb_option(verb, argc, argv, options, &which)) > 0) {
		if (option == 'h') {
			fputs(verb->usage, stdout);
			return EXIT_OK;
		}
		if (option == OPTION_DIFF)
			wishes.base = optarg;
		wishes.live |= option == OPTION_LIVE;
		wishes.disks |= option == OPTION_DISKS;
		wishes.pause |= option == OPTION_PAUSE;
		wishes.stop |= option == OPTION_STOP;
		wishes.json |= option == OPTION_JSON;
		shows |= option == OPTION_SHOW;
	}
	if (!option)
		return EXIT_USAGE;
	if (shows && argc - optind == 1)
		return show(argv[optind]);
	nr_ways = wishes.live + wishes.pause + wishes.stop;
	if (shows || argc - optind != 2 || nr_ways > 1 || (wishes.live && wishes.base)) {
		complain(shows ? "snapshot --show takes a directory (try mote snapshot --help)" :
			 nr_ways > 1 ? "snapshot: --live, --pause or --stop" :
			 wishes.live && wishes.base ? "snapshot: --live or --diff" :
			 "snapshot takes a VM and a directory (try mote snapshot --help)");
		return EXIT_USAGE;
	}
	fd = client_open(argv[optind], true, found);
	if (fd < 0)
		return EXIT_USAGE;
	status = save(fd, argv[optind + 1], &wishes);
	close(fd);
	return status;
}
