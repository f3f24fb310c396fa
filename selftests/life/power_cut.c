// SPDX-License-Identifier: GPL-2.0
/*
 * The host goes down while a machine is being saved: the old snapshot or the new one is whole, and the new
 * one once `mote snapshot` has returned (docs/snapshot.md, "Whole or not at all").
 *
 * The file system lies on dm-log-writes, which keeps each write and each flush in the order in which they
 * came to the disk (Documentation/admin-guide/device-mapper/log-writes.rst). A disk may lose any of what
 * was written since the last flush; so what it holds at a moment is everything before that, and of the
 * rest, by chance, all, none or some. Each such disk is mounted, and what was saved in it compared with what
 * it may be.
 */
#include <dirent.h>
#include <sys/mman.h>
#include <sys/mount.h>

#include "kselftest_harness.h"
#include "life.h"

#define DISK_SIZE (8u << 20)
#define LOG_SIZE (64u << 20)
#define SECTOR 512
#define SAVES 5

#define LOG_MAGIC 0x6a736677736872ull
#define LOG_FLUSH 1u
#define LOG_FUA 2u
#define LOG_DISCARD 4u
#define LOG_MARK 8u

struct log_super {
	__u64 magic, version, nr_entries;
	__u32 sector_size;
};

struct log_entry {
	__u64 sector, nr_sectors, flags, data_size;
};

/* What was written, in order; in the log each is a sector, and its data. */
struct write {
	struct log_entry entry;
	const unsigned char *data;
	int save;		/* how many have returned before it */
};

/**
 * struct cut - what a disk may hold
 * @log: of dm-log-writes
 * @image: what is on the disk for good
 * @disk: the file in which it is tried
 * @nr_writes: how many there are
 * @writes: what was written
 * @nr_found: how often each snapshot was there
 */
struct cut {
	unsigned char *log;
	unsigned char *image;
	int disk;
	size_t nr_writes;
	struct write *writes;
	unsigned long nr_found[SAVES];
};

GUEST(alphabet, 16, ".include \"alphabet.s\"");

FIXTURE(power_cut)
{
	struct cut cut;
};

FIXTURE_SETUP(power_cut)
{
	life_begin();
	ASSERT_EQ(0, mount("none", RUNTIME_DIR, "tmpfs", 0, NULL));
	ASSERT_TRUE(vm_start_flat("one", &guest_alphabet, ""));
	ASSERT_EQ(0, chdir(RUNTIME_DIR));
	self->cut.disk = -1;
}

FIXTURE_TEARDOWN(power_cut)
{
	EXPECT_EQ(0, sh("mote stop --force one"));
	sh("umount at; umount at; dmsetup remove --noudevsync cut; "
	   "for device in dev-*; do losetup -d $(readlink $device); done");
	close(self->cut.disk);
	free(self->cut.writes);
	EXPECT_EQ(0, chdir("/"));
	EXPECT_EQ(0, umount2(RUNTIME_DIR, MNT_DETACH));
	life_end();
}

/* Save it, into a copy, too; each save is another machine, and replaces the one before. */
static bool save(int number, const char *then)
{
	return !sh("mote snapshot %s one at/saved > out && %s && cp -r at/saved %d",
		   number % 2 ? "--live" : "", then, number);
}

/* A file becomes a loop device, RUNTIME_DIR/dev-NAME. */
static bool attach(const char *name, unsigned int size)
{
	return !sh("truncate -s %u %s && device=$(losetup -f) && losetup $device %s && ln -s $device dev-%s",
		   size, name, name, name);
}

/* A machine has the file open in which it was saved last. */
#define LEAVE "mote snapshot one elsewhere > out"

/* A disk with a first snapshot in it; then the next ones, with a mark in the log behind each. */
static bool save_all(void)
{
	char mark[64];

	if (!attach("disk", DISK_SIZE) || !attach("log", LOG_SIZE) ||
	    sh("mkdir at && mkfs.ext4 -q dev-disk && mount -t ext4 dev-disk at") || !save(0, "sync"))
		return false;
	if (sh(LEAVE " && umount at && cp disk before && dmsetup create --noudevsync cut --table "
	       "'0 %u log-writes " RUNTIME_DIR "/dev-disk " RUNTIME_DIR "/dev-log' && "
	       "mount -t ext4 /dev/$(dmsetup info -c --noheadings -o blkdevname cut) at", DISK_SIZE / SECTOR))
		return false;
	for (int i = 1; i < SAVES; i++) {
		snprintf(mark, sizeof(mark), "dmsetup message cut 0 mark %d", i);
		if (!save(i, mark))
			return false;
	}
	return !sh(LEAVE " && umount at && dmsetup remove --noudevsync cut");
}

static bool read_log(struct cut *cut)
{
	const struct log_super *super = (void *)cut->log;
	const unsigned char *at = cut->log + SECTOR;
	int save = 0;

	if (super->magic != LOG_MAGIC || super->version != 1 || super->sector_size != SECTOR)
		return false;
	cut->writes = calloc(super->nr_entries, sizeof(cut->writes[0]));
	while (cut->writes && cut->nr_writes < super->nr_entries && at < cut->log + LOG_SIZE) {
		struct write *write = &cut->writes[cut->nr_writes++];

		memcpy(&write->entry, at, sizeof(write->entry));
		save += !!(write->entry.flags & LOG_MARK);
		write->save = save;
		at += SECTOR;
		write->data = at;
		if (!(write->entry.flags & LOG_DISCARD))
			at += write->entry.nr_sectors * SECTOR;
	}
	/* The last mark is dm-log-writes' own. */
	return cut->nr_writes && cut->nr_writes == super->nr_entries && save == SAVES;
}

static bool has_data(const struct write *write)
{
	return !(write->entry.flags & (LOG_MARK | LOG_DISCARD)) &&
	       (write->entry.sector + write->entry.nr_sectors) * SECTOR <= DISK_SIZE;
}

static void apply(const struct write *write, unsigned char *image)
{
	if (has_data(write))
		memcpy(image + write->entry.sector * SECTOR, write->data, write->entry.nr_sectors * SECTOR);
}

/*
 * The disk when @nr writes have been made: those up to the last flush, which from *@flushed on are put into
 * the image, and of what follows that which by-passes the cache, and of the rest all, none, or some.
 */
static bool cut_at(struct cut *cut, size_t nr, size_t *flushed)
{
	static unsigned char disk[DISK_SIZE];
	long luck = random() % 4;
	size_t last = *flushed;

	for (size_t i = *flushed; i < nr; i++)
		if (cut->writes[i].entry.flags & LOG_FLUSH)
			last = i;
	for (; *flushed < last; (*flushed)++)
		apply(&cut->writes[*flushed], cut->image);
	memcpy(disk, cut->image, DISK_SIZE);
	for (size_t i = last; i < nr; i++)
		if (cut->writes[i].entry.flags & LOG_FUA || luck == 0 || (luck > 1 && random() % 2))
			apply(&cut->writes[i], disk);
	return pwrite(cut->disk, disk, DISK_SIZE, 0) == DISK_SIZE;
}

static bool same(const char *one, const char *other)
{
	static char text[2][4u << 20];
	ssize_t size[2];

	for (int i = 0; i < 2; i++) {
		int fd = open(i ? other : one, O_RDONLY | O_CLOEXEC);

		size[i] = read(fd, text[i], sizeof(text[i]));
		close(fd);
	}
	return size[0] > 0 && size[0] == size[1] && !memcmp(text[0], text[1], size[0]);
}

/* Is it the one of this number that has been saved there, with its memory? */
static bool holds(int number)
{
	char copy[64], path[128];
	struct dirent *entry;
	bool is_there = false;
	DIR *dir;

	snprintf(copy, sizeof(copy), "%d/machine", number);
	if (!same("at/saved/machine", copy))
		return false;
	snprintf(copy, sizeof(copy), "%d", number);
	dir = opendir(copy);
	while (dir && (entry = readdir(dir)))
		if (!strncmp(entry->d_name, "memory-", strlen("memory-"))) {
			snprintf(copy, sizeof(copy), "%d/%.40s", number, entry->d_name);
			snprintf(path, sizeof(path), "at/saved/%.40s", entry->d_name);
			is_there = same(path, copy);
		}
	if (dir)
		closedir(dir);
	return is_there;
}

/* Of those that have returned the last, or the next one. */
static bool is_whole(struct cut *cut, int save)
{
	bool good = false;

	if (mount("dev-cut", "at", "ext4", 0, NULL))
		return false;
	for (int i = save; i < SAVES && i <= save + 1 && !good; i++) {
		good = holds(i);
		cut->nr_found[i] += good;
	}
	return !umount("at") && good;
}

static bool map_files(struct cut *cut)
{
	int log = open("log", O_RDONLY | O_CLOEXEC), image = open("before", O_RDWR | O_CLOEXEC);

	cut->log = mmap(NULL, LOG_SIZE, PROT_READ, MAP_PRIVATE, log, 0);
	cut->image = mmap(NULL, DISK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE, image, 0);
	close(log);
	close(image);
	if (!attach("cut", DISK_SIZE))
		return false;
	cut->disk = open("cut", O_WRONLY | O_CLOEXEC);
	return cut->disk >= 0 && cut->log != MAP_FAILED && cut->image != MAP_FAILED;
}

TEST_F(power_cut, whole_or_not_at_all)
{
	long rounds = guest_rounds(200, 1000);
	struct cut *cut = &self->cut;
	size_t flushed = 0;

	if (sh("modprobe -a loop dm-log-writes ext4"))
		SKIP(return, "not on this kernel: no dm-log-writes");
	ASSERT_TRUE(save_all());
	ASSERT_TRUE(map_files(cut) && read_log(cut));
	for (long i = 0; i < rounds; i++) {
		size_t nr = i * cut->nr_writes / rounds + 1;
		int save = cut->writes[nr - 1].save;

		ASSERT_TRUE(cut_at(cut, nr, &flushed));
		ASSERT_TRUE(is_whole(cut, save < SAVES ? save : SAVES - 1))
			TH_LOG("after %zu writes of %zu, %d saves", nr, cut->nr_writes, save);
	}
	/* Or else there was nothing to be seen. */
	for (int i = 0; i < SAVES; i++) {
		EXPECT_LT(0, cut->nr_found[i]) TH_LOG("save %d was never there", i);
	}
	ASSERT_EQ(0, sh("for i in 0 %d; do mote restore --verify --paused --name copy --detach $i && "
			"mote stop --force copy || exit; done", SAVES - 1));
}

MOTE_TEST_MAIN
