// SPDX-License-Identifier: GPL-2.0
/*
 * A disk's image: raw, or a block device.  Images of other formats, taken for raw, would be
 * destroyed by the first write, so that those that begin like one are refused.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "disk.h"
#include "keep.h"
#include "runner.h"

/* ---- formats --------------------------------------------------------------------------- */

/* How images begin that are not raw. */
#define LUKS "LUKS"

static const struct format {
	const char *name;
	off_t at;	/* -SECTOR: in the last sector */
	const char *magic;
	size_t size;
} formats[] = {
#define FORMAT(name, at, magic) { name, at, magic, sizeof(magic) - 1 }
	FORMAT(LUKS, 0, "LUKS\xba\xbe"),
	FORMAT("qcow2", 0, "QFI\xfb"),
	FORMAT("QED", 0, "QED\0"),
	FORMAT("VMDK", 0, "KDMV"),
	FORMAT("VMDK", 0, "COWD"),
	FORMAT("VMDK", 0, "# Disk DescriptorFile"),
	FORMAT("VHDX", 0, "vhdxfile"),
	FORMAT("VHD", 0, "conectix"),
	FORMAT("VHD", -SECTOR, "conectix"),
	FORMAT("VDI", 64, "\x7f\x10\xda\xbe"),
	FORMAT("Parallels", 0, "WithoutFreeSpace"),
	FORMAT("Parallels", 0, "WithouFreSpacExt"),
	FORMAT("DMG", -SECTOR, "koly"),
	FORMAT("gzip", 0, "\x1f\x8b\x08"),
	FORMAT("bzip2", 0, "BZh"),
	FORMAT("xz", 0, "\xfd\x37zXZ\0"),
	FORMAT("zstd", 0, "\x28\xb5\x2f\xfd"),
	FORMAT("LZ4", 0, "\x04\x22\x4d\x18"),
	FORMAT("zip", 0, "PK\3\4"),
#undef FORMAT
};

static const char *known_format(int fd, off_t size)
{
	char begin[SECTOR] = { 0 }, end[SECTOR] = { 0 };

	if (pread(fd, begin, sizeof(begin), 0) < 0 || pread(fd, end, sizeof(end), size - SECTOR) < 0)
		return NULL;
	for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
		const char *from = formats[i].at < 0 ? end : begin + formats[i].at;

		if (!memcmp(from, formats[i].magic, formats[i].size))
			return formats[i].name;
	}
	return NULL;
}

/* What we call it, and QEMU. */
static const struct {
	const char *name;
	const char *ours;
} foreign[] = {
	{ "qcow2", "qcow2" }, { "qed", "QED" }, { "vmdk", "VMDK" }, { "vhdx", "VHDX" }, { "vpc", "VHD" },
	{ "vdi", "VDI" }, { "luks", LUKS },
};

int disk_check_format(const struct disk *disk)
{
	int fd = open(disk->path, (disk->readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK);
	off_t size = fd < 0 ? 0 : lseek(fd, 0, SEEK_END);
	const char *format = size < SECTOR ? NULL : known_format(fd, size);

	if (fd < 0) {
		complain("cannot open the disk %s: %s", disk->path, strerror(errno));
		return -1;
	}
	close(fd);
	for (size_t i = 0; format && i < ARRAY_SIZE(foreign); i++)
		if (!strcmp(foreign[i].name, disk->format) && !strcmp(foreign[i].ours, format))
			return 0;
	complain("the disk %s is not %s, but %s (format=)", disk->path, disk->format,
		 format ? format : "raw");
	return -1;
}

/* ---- opening --------------------------------------------------------------------------- */

static const char *image_kind(const struct disk *disk)
{
	return disk->readonly ? "disk, ro" : "disk";
}

/* Who else has the file is refused, and of a block device, who has mounted it. */
static int open_alone(struct image_file *image, const struct disk *disk, struct stat *stat)
{
	struct flock lock = { .l_type = disk->readonly ? F_RDLCK : F_WRLCK };
	/* Without O_CREAT O_EXCL says something of block devices alone. */
	int flags = (disk->readonly ? O_RDONLY : O_RDWR | O_EXCL) | O_CLOEXEC;

	image->fd = keep_take_fd(image_kind(disk), disk->path);
	/* Nor do we wait for the other end of what is no disk. */
	if (image->fd < 0)
		image->fd = open(disk->path, flags | O_NONBLOCK);
	if (image->fd < 0 && errno == EBUSY) {
		complain("the disk %s is in use: mounted, or part of something else", disk->path);
		return -1;
	}
	if (image->fd < 0) {
		complain("cannot open the disk %s: %s%s", disk->path, strerror(errno),
			 errno == EISDIR ? " (a raw image is wanted)" :
			 errno == EACCES || errno == EROFS ? " (--disk FILE,ro?)" : "");
		return -1;
	}
	if (fstat(image->fd, stat) || !(S_ISREG(stat->st_mode) || S_ISBLK(stat->st_mode))) {
		complain("the disk %s is neither a file nor a block device", disk->path);
		return -1;
	}
	if (!fcntl(image->fd, F_OFD_SETLK, &lock) && !fcntl(image->fd, F_SETFL, flags))
		return 0;
	complain("the disk %s is in use: by another VM? (--disk FILE,ro shares one)", disk->path);
	return -1;
}

/* Whole sectors, of which there is at least one, and nothing that is not raw. */
static int measure(struct image_file *image, const struct disk *disk, const struct stat *stat)
{
	off_t size = lseek(image->fd, 0, SEEK_END);
	const char *format;
	int sector;

	image->sector = disk->sector ? disk->sector : SECTOR;
	if (S_ISBLK(stat->st_mode) && !ioctl(image->fd, BLKSSZGET, &sector) && sector > SECTOR)
		image->sector = sector;
	if (size < image->sector) {
		complain("the disk %s has no room: a sector has %u bytes", disk->path, image->sector);
		return -1;
	}
	image->size = size - size % image->sector;
	format = disk->is_raw ? NULL : known_format(image->fd, size);
	/* A guest may have encrypted its whole disk. */
	if (!format || !strcmp(format, LUKS))
		return 0;
	complain("the disk %s is not raw, but %s (format=qcow2 ...; format=raw takes it as it is)",
		 disk->path, format);
	return -1;
}

int disk_open(struct image_file *image, const struct disk *disk)
{
	struct stat stat;

	if (!open_alone(image, disk, &stat) && !measure(image, disk, &stat))
		return 0;
	if (image->fd >= 0)
		close(image->fd);
	image->fd = -1;
	return -1;
}

void disk_close(struct image_file *image, const struct disk *disk)
{
	keep_fd(image_kind(disk), disk->path, image->fd);
	image->fd = -1;
}
