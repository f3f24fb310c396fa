// SPDX-License-Identifier: GPL-2.0
/*
 * The seed of cloud-init's data source NoCloud: a disk with the label cidata, an ISO 9660 image in
 * this process's memory.  genisoimage or xorriso makes it, of copies that nobody changes meanwhile.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "disk.h"
#include "net.h"
#include "runner.h"

#define FILE_MOST (16u << 20)

enum { USER_DATA, META_DATA, VENDOR_DATA, NETWORK_CONFIG, NR_FILES };

static const char *const names[NR_FILES] = { "user-data", "meta-data", "vendor-data", "network-config" };

/* A file's bytes, with a 0 behind them; NULL after a complaint. */
static char *read_file(const char *path, size_t *size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	char *data = malloc(FILE_MOST + 1);
	ssize_t nr = 0;

	*size = 0;
	while (fd >= 0 && data && (nr = read(fd, data + *size, FILE_MOST + 1 - *size)) > 0)
		*size += nr;
	if (fd < 0 || !data || nr < 0 || *size > FILE_MOST) {
		complain("--cloud-init: cannot read %s: %s", path,
			 fd >= 0 && data && nr >= 0 ? "more than 16M" : strerror(errno));
		free(data);
		data = NULL;
	} else {
		data[*size] = '\0';
	}
	if (fd >= 0)
		close(fd);
	return data;
}

/* What is put into the directory it goes to; 0, or -1 after a complaint. */
static int put(const char *directory, const char *name, const char *data, size_t size)
{
	char path[PATH_MAX + 32];
	FILE *file;
	bool good;

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	file = fopen(path, "we");
	good = file && fwrite(data, 1, size, file) == size;
	if (file && fclose(file))
		good = false;
	if (!good)
		complain("--cloud-init: cannot write %s: %m", path);
	return good ? 0 : -1;
}

/* Another instance where the user's data are others, so that they are heeded then. */
static int put_meta_data(const char *directory, const struct options *options, const char *user_data)
{
	char text[2 * NAME_MOST + 100];
	__u64 hash = name_hash(options->name, user_data, 0);
	int size = snprintf(text, sizeof(text), "instance-id: %s-%016llx\nlocal-hostname: %s\n",
			    options->name, hash, options->name);

	return put(directory, names[META_DATA], text, size);
}

/* Copy what is there: of a file, which is the user's data, or of a directory's files. */
static int gather(const struct options *options, bool is_directory, const char *directory)
{
	bool has_meta_data = false;
	char *user_data = NULL;
	int err = 0;

	for (int i = 0; !err && i < (is_directory ? NR_FILES : 1); i++) {
		char path[PATH_MAX];
		size_t size;
		char *data;

		snprintf(path, sizeof(path), is_directory ? "%s/%s" : "%s", options->cloud_init, names[i]);
		if (i != USER_DATA && access(path, F_OK))
			continue;
		data = read_file(path, &size);
		err = data ? put(directory, names[i], data, size) : -1;
		has_meta_data |= i == META_DATA;
		if (i == USER_DATA)
			user_data = data;
		else
			free(data);
	}
	if (!err && !has_meta_data)
		err = put_meta_data(directory, options, user_data);
	free(user_data);
	return err;
}

/* Both write to standard output. */
static int make_image(char *directory, int image)
{
	char *const genisoimage[] = { "genisoimage", "-quiet", "-volid", "cidata", "-joliet", "-rock",
		directory, NULL };
	char *const xorriso[] = {
		"xorriso", "-as", "mkisofs", "-quiet", "-volid", "cidata", "-joliet", "-rock",
		directory, NULL,
	};
	char *const *tried = genisoimage;
	int err = program_run(genisoimage, image, -1);

	if (err == ENOENT) {
		tried = xorriso;
		err = program_run(xorriso, image, -1);
	}
	if (err > 0)
		complain("--cloud-init: genisoimage: %s (Debian's package genisoimage, or xorriso)",
			strerror(err));
	else if (err)
		complain("--cloud-init: %s cannot make the disk", tried[0]);
	return err ? -1 : 0;
}

static void remove_directory(const char *directory)
{
	char path[PATH_MAX + 32];

	for (int i = 0; i < NR_FILES; i++) {
		snprintf(path, sizeof(path), "%s/%s", directory, names[i]);
		unlink(path);
	}
	rmdir(directory);
}

static int make(const struct options *options, bool is_directory, int image)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	char directory[PATH_MAX];
	int err;

	snprintf(directory, sizeof(directory), "%s/mote-seed-XXXXXX", runtime ? runtime : P_tmpdir);
	if (!mkdtemp(directory)) {
		complain("--cloud-init: cannot make %s: %m", directory);
		return -1;
	}
	err = gather(options, is_directory, directory);
	if (!err)
		err = make_image(directory, image);
	remove_directory(directory);
	return err;
}

int cloud_init_add(struct options *options)
{
	struct disk *disk = &options->disks[options->nr_disks];
	/* There is one at most. */
	static char path[32];
	struct stat stat_;
	int image;

	if (!options->cloud_init)
		return 0;
	if (options->nr_disks == DISKS_MOST) {
		complain("--cloud-init is a disk, of which %d are the most", DISKS_MOST);
		return -1;
	}
	if (stat(options->cloud_init, &stat_)) {
		complain("--cloud-init: cannot read %s: %m", options->cloud_init);
		return -1;
	}
	image = memfd_create("cloud-init", MFD_CLOEXEC);
	if (image < 0 || make(options, S_ISDIR(stat_.st_mode), image)) {
		if (image < 0)
			complain("--cloud-init: no memory: %m");
		else
			close(image);
		return -1;
	}
	snprintf(path, sizeof(path), "/proc/self/fd/%d", image);
	*disk = (struct disk) { .path = path, .readonly = true, .is_raw = true };
	options->nr_disks++;
	return 0;
}
