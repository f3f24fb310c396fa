// SPDX-License-Identifier: GPL-2.0
/*
 * The disk for cloud-init: by libblkid's and isoinfo's account it has the label, and the files with
 * what was given.  It wants genisoimage or xorriso; without isoinfo the files are not looked at.
 */

#include "../userspace/runner/cloud_init.c"
#include "complaints.h"

static char directory[32] = "/tmp/seed-XXXXXX";

bool host_read_line(const char *path, char *line, int size)
{
	(void)path;
	(void)line;
	(void)size;
	return false;
}

/* What a command prints, of which %s is the disk. */
static const char *output(const char *format, const char *disk)
{
	static char out[8192];
	char command[256];
	FILE *pipe;
	size_t nr;

	snprintf(command, sizeof(command), format, disk);
	pipe = popen(command, "r");
	nr = fread(out, 1, sizeof(out) - 1, pipe);
	out[nr] = '\0';
	pclose(pipe);
	return out;
}

static void write_to(const char *name, const char *text)
{
	CHECK(!put(directory, name, text, strlen(text)));
}

/* The disk that these options have then; nobody else sees our descriptor, so that it has a copy, too. */
static void make_disk(struct options *options, char *disk)
{
	sprintf(disk, "%s.iso", directory);
	CHECK(!cloud_init_add(options));
	EQ(1, options->nr_disks);
	CHECK(options->disks[0].readonly && options->disks[0].is_raw);
	if (options->nr_disks) {
		char command[128];

		snprintf(command, sizeof(command), "cp /proc/%d/fd/%s %s", getpid(),
			 strrchr(options->disks[0].path, '/') + 1, disk);
		CHECK(!system(command));
		close(atoi(strrchr(options->disks[0].path, '/') + 1));
	}
}

static bool holds(const char *disk, const char *name, const char *text)
{
	char command[64];

	if (system("command -v isoinfo > /dev/null"))
		return true;
	snprintf(command, sizeof(command), "isoinfo -R -x /%s -i %%s", name);
	return !strcmp(output(command, disk), text);
}

static void label_is(const char *disk)
{
	CHECK(!strcmp(output("PATH=$PATH:/usr/sbin blkid -p -o value -s LABEL %s", disk), "cidata\n"));
	CHECK(!strcmp(output("PATH=$PATH:/usr/sbin blkid -p -o value -s TYPE %s", disk), "iso9660\n"));
}

#define USER_TEXT "#cloud-config\npassword: x\n"

static void of_a_directory(void)
{
	struct options options = { .cloud_init = directory, .name = "vm" };
	char disk[64];

	write_to("user-data", USER_TEXT);
	write_to("meta-data", "instance-id: mine\n");
	write_to("network-config", "version: 2\n");
	write_to("other", "not to be seen\n");
	make_disk(&options, disk);
	label_is(disk);
	CHECK(holds(disk, "user-data", USER_TEXT));
	CHECK(holds(disk, "meta-data", "instance-id: mine\n"));
	CHECK(holds(disk, "network-config", "version: 2\n"));
	CHECK(holds(disk, "vendor-data", "") && holds(disk, "other", ""));
	unlink(disk);
	sprintf(disk, "%s/other", directory);
	unlink(disk);
}

/* The host's name is the machine's; other data are another instance's, the same are the same. */
static void of_a_file(void)
{
	char path[64], disk[64], expected[128];
	struct options options = { .cloud_init = path, .name = "web-1" };

	snprintf(path, sizeof(path), "%s/user-data", directory);
	for (int i = 0; i < 2; i++) {
		write_to("user-data", i ? USER_TEXT "\n" : USER_TEXT);
		options.nr_disks = 0;
		make_disk(&options, disk);
		label_is(disk);
		snprintf(expected, sizeof(expected), "instance-id: web-1-%016llx\nlocal-hostname: web-1\n",
			 name_hash("web-1", i ? USER_TEXT "\n" : USER_TEXT, 0));
		CHECK(holds(disk, "meta-data", expected));
		CHECK(holds(disk, "user-data", i ? USER_TEXT "\n" : USER_TEXT));
		unlink(disk);
	}
	CHECK(name_hash("web-1", USER_TEXT, 0) != name_hash("web-1", USER_TEXT "\n", 0));
}

static void nothing_is_left(void)
{
	CHECK(!strcmp(output("ls -d %.4s/mote-seed-* 2> /dev/null", "/tmp"), ""));
}

static void refused(void)
{
	struct options options = { .cloud_init = "/nosuchfile", .name = "vm" };

	EQ(-1, cloud_init_add(&options));
	CHECK(strstr(said, "cannot read /nosuchfile: No such file"));
	options.cloud_init = "/usr";
	EQ(-1, cloud_init_add(&options));
	CHECK(strstr(said, "/usr/user-data"));
	options.cloud_init = "/dev/zero";
	EQ(-1, cloud_init_add(&options));
	CHECK(strstr(said, "more than 16M"));
	EQ(0, options.nr_disks);
	options.nr_disks = DISKS_MOST;
	EQ(-1, cloud_init_add(&options));
	/* Nobody is there who could make one. */
	options = (struct options) { .cloud_init = directory, .name = "vm" };
	setenv("PATH", "/nosuchdirectory", 1);
	EQ(-1, cloud_init_add(&options));
	setenv("PATH", "/usr/bin:/bin", 1);
	CHECK(strstr(said, "Debian's package genisoimage"));
	nothing_is_left();
}

int main(void)
{
	static const struct unit_test tests[] = {
		{ "what cannot be is said", refused },
		{ "a directory's files, and no others", of_a_directory },
		{ "a file, with a name and an instance", of_a_file },
		{ "nothing is left behind", nothing_is_left },
	};
	int status;

	unsetenv("XDG_RUNTIME_DIR");
	if (!mkdtemp(directory))
		return 1;
	write_to("user-data", USER_TEXT);
	status = run_all(tests, ARRAY_SIZE(tests));
	remove_directory(directory);
	return status;
}
