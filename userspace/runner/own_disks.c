// SPDX-License-Identifier: GPL-2.0
/*
 * A machine's own disks: files that it writes to.  What is saved of a machine is of no use without them
 * as they were at that moment, so the client copies them while it stands still, and makes new ones of these
 * for whoever goes on from there.  Copies keep the time by which a machine knows its disk (dev/virtio_blk.c).
 */
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <linux/fs.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "options.h"
#include "runner.h"
#include "snapshot.h"

#define NAME_ROOM 64

static bool is_own(const struct disk *disk)
{
	return !disk->readonly && !disk->format;
}

static void name_of(char name[NAME_ROOM], const struct disk_set *set, unsigned int number)
{
	snprintf(name, NAME_ROOM, "%s%u%s", set->begin, number, set->end);
}

/* ---- files ------------------------------------------------------------------------------- */

/* From where there is something on; from one file system to another, too. */
static int copy_data(int from, int to, __u64 size)
{
	off_t at = lseek(from, 0, SEEK_DATA), end;

	for (; at >= 0 && (__u64)at < size; at = lseek(from, end, SEEK_DATA)) {
		end = lseek(from, at, SEEK_HOLE);
		if (lseek(to, at, SEEK_SET) < 0)
			return -1;
		while (at < end)
			if (sendfile(to, from, &at, end - at) <= 0)
				return -1;
	}
	/* Behind the last of it there is a hole. */
	return at < 0 && errno != ENXIO ? -1 : ftruncate(to, size);
}

int copy_file(int from, int to, bool shares)
{
	struct stat stat;

	if (!ioctl(to, FICLONE, from))
		return 0;
	return shares || fstat(from, &stat) ? -1 : copy_data(from, to, stat.st_size);
}

static int note(char why[DISKS_WHY], const char *format, ...) __attribute__((format(printf, 2, 3)));
static int note(char why[DISKS_WHY], const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(why, DISKS_WHY, format, args);
	va_end(args);
	return -1;
}

static int copy_opened(int from, int to, const char *what, bool shares, char why[DISKS_WHY])
{
	struct stat stat;

	if (fstat(from, &stat) || !S_ISREG(stat.st_mode))
		return note(why, "the disk %s is no file", what);
	if (copy_file(from, to, shares))
		return note(why, "the disk %s cannot be copied%s: %s", what,
			    shares ? " without its blocks (btrfs and XFS can)" : "", strerror(errno));
	if (futimens(to, (struct timespec[]){ stat.st_atim, stat.st_mtim }) || (!shares && fsync(to)))
		return note(why, "the disk %s cannot be copied: %s", what, strerror(errno));
	return 0;
}

static int copy_disk(const struct disk *disk, unsigned int number, const struct disk_set *from,
		     const struct disk_set *to, bool shares, char why[DISKS_WHY])
{
	char in_name[NAME_ROOM], out_name[NAME_ROOM];
	int in, out, err;

	name_of(in_name, from, number);
	name_of(out_name, to, number);
	in = openat(from->directory, from->begin[0] ? in_name : disk->path, O_RDONLY | O_CLOEXEC);
	if (in < 0)
		return note(why, "the disk %s: %s", disk->path, from->begin[0] && errno == ENOENT ?
			    "it was not saved (mote snapshot --disks)" : strerror(errno));
	out = openat(to->directory, out_name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	err = out < 0 ? note(why, "the disk %s cannot be copied: %s", disk->path, strerror(errno)) :
			copy_opened(in, out, disk->path, shares, why);
	close(in);
	if (out >= 0)
		close(out);
	return err;
}

int disks_copy(const struct options *options, const struct disk_set *from, const struct disk_set *to,
	       bool shares, char why[DISKS_WHY])
{
	int err = 0;

	for (unsigned int i = 0; i < options->nr_disks && !err; i++)
		if (is_own(&options->disks[i]))
			err = copy_disk(&options->disks[i], i, from, to, shares, why);
	return err;
}

void disks_remove(const struct disk_set *set)
{
	char name[NAME_ROOM];

	for (unsigned int i = 0; i < DISKS_MOST; i++) {
		name_of(name, set, i);
		unlinkat(set->directory, name, 0);
	}
}

/* ---- machines ------------------------------------------------------------------------------ */

void disks_use(struct options *options, const char *directory, const struct disk_set *set)
{
	struct json_object *all;
	char name[NAME_ROOM], *path;

	json_object_object_get_ex(options->config, "disk", &all);
	for (unsigned int i = 0; i < options->nr_disks; i++) {
		struct json_object *file;

		name_of(name, set, i);
		if (!is_own(&options->disks[i]) || asprintf(&path, "%s/%s", directory, name) < 0)
			continue;
		file = json_object_new_string(path);
		free(path);
		json_object_object_add(json_object_array_get_idx(all, i), "file", file);
		options->disks[i].path = json_object_get_string(file);
	}
}

/* By a copy of its state, for what is read is marked. */
int disks_copy_of(const struct snapshot *snapshot, const struct disk_set *to, bool shares,
		  char why[DISKS_WHY])
{
	struct options options = OPTIONS_INITIAL;
	struct snapshot copy = { .state.data = malloc(snapshot->state.size + 1) };
	struct disk_set from = { .directory = -1 };
	char directory[FILE_NAME_MOST];
	int err = note(why, "its options cannot be had");

	if (copy.state.data) {
		memcpy(copy.state.data, snapshot->state.data, snapshot->state.size);
		state_begin_load(&copy.state, copy.state.data, snapshot->state.size);
		err = snapshot_options(&copy, &options, "the machine", directory);
	}
	if (!err)
		from.directory = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (!err)
		err = from.directory < 0 ? note(why, "%s: %s", directory, strerror(errno)) :
					   disks_copy(&options, &from, to, shares, why);
	if (from.directory >= 0)
		close(from.directory);
	free(copy.state.data);
	json_object_put(options.config);
	return err;
}
