// SPDX-License-Identifier: GPL-2.0
/*
 * Virtio file system: a directory of the host's, which a vhost-user daemon serves,
 * virtiofsd.  VIRTIO 1.2, "File System Device".  The daemon is started here, and
 * ends when its socket is closed; or it is there already, and has a socket.
 */
#include <errno.h>
#include <limits.h>
#include <linux/virtio_fs.h>
#include <linux/virtio_ids.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "daemon.h"
#include "runner.h"
#include "vhost.h"

/* One for what must not wait, one for all else. */
#define NR_QUEUES 2

struct fs {
	struct virtio virtio;
	struct virtio_fs_config config;
	struct vhost_user user;
};

static struct fs *fs_of(struct virtio *virtio)
{
	return container_of(virtio, struct fs, virtio);
}

/* ---- the driver ---------------------------------------------------------------- */

static int fs_start(struct virtio *virtio)
{
	return vhost_user_start(&fs_of(virtio)->user);
}

static bool fs_reset(struct virtio *virtio)
{
	return vhost_user_stop(&fs_of(virtio)->user);
}

static void fs_destroy(struct virtio *virtio)
{
	struct fs *fs = fs_of(virtio);

	vhost_user_destroy(&fs->user);
	free(fs);
}

static const struct virtio_ops ops = {
	.name = "virtio-fs", .id = VIRTIO_ID_FS, .class = 0x018000, .nr_queues = NR_QUEUES,
	.start = fs_start, .reset = fs_reset, .destroy = fs_destroy,
};

/* ---- the daemon ----------------------------------------------------------------- */

static int connect_to(const struct sockaddr_un *address)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd >= 0 && connect(fd, (const struct sockaddr *)address, sizeof(*address))) {
		close(fd);
		return -1;
	}
	return fd;
}

static int start_daemon(struct fs *fs, const char *path)
{
	/* Debian 12 has the last one; newer ones the second, in a package of that name. */
	char fd[24], source[PATH_MAX + 8], whole[PATH_MAX];
	char *const arguments[] = {
		"virtiofsd", fd, "-o", source, "-o", "log_level=err", NULL,
	};

	snprintf(fd, sizeof(fd), "--fd=%d", DAEMON_SOCKET);
	snprintf(source, sizeof(source), "source=%s", realpath(path, whole) ? whole : path);
	fs->user.source.fd = daemon_start(fs->virtio.pci.device.vm, &fs->user.daemon, "--share",
					  daemon_for_shares, "qemu-system-common", arguments);
	return fs->user.source.fd < 0 ? -1 : 0;
}

static int use_daemon(struct fs *fs, const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	if (strlen(path) >= sizeof(address.sun_path)) {
		complain("--share: the name of a socket has at most %zu characters: %s",
			 sizeof(address.sun_path) - 1, path);
		return -1;
	}
	strcpy(address.sun_path, path);
	fs->user.source.fd = connect_to(&address);
	if (fs->user.source.fd >= 0)
		return 0;
	complain("--share: nobody answers at %s: %m", path);
	return -1;
}

/* ---- making one ---------------------------------------------------------------------- */

static int get_daemon(struct vm *vm, struct fs *fs, const struct share *share)
{
	const char *path = share->path;
	struct stat stat_of;
	int err;

	if (vhost_user_take(vm, &fs->user))
		return vhost_user_create(vm, &fs->user);
	if (strchr(path, ',')) {
		complain("--share: virtiofsd knows no comma in a name: %s", path);
		return -1;
	}
	if (stat(path, &stat_of)) {
		complain("--share: %s: %m", path);
		return -1;
	}
	if (S_ISSOCK(stat_of.st_mode)) {
		err = use_daemon(fs, path);
	} else if (S_ISDIR(stat_of.st_mode) && !geteuid() && !share->as_root) {
		complain("--share: the guest's root would be root in %s, setuid files too (,root allows it)",
			 path);
		return -1;
	} else if (S_ISDIR(stat_of.st_mode)) {
		err = start_daemon(fs, path);
	} else {
		complain("--share: %s is neither a directory nor a socket", path);
		return -1;
	}
	return err ? -1 : vhost_user_create(vm, &fs->user);
}

static int create_fs(struct vm *vm, const struct share *share)
{
	struct fs *fs = calloc(1, sizeof(*fs));

	if (!fs) {
		complain("no memory for the share %s", share->path);
		return -1;
	}
	memcpy(fs->config.tag, share->tag, strnlen(share->tag, sizeof(fs->config.tag)));
	fs->config.num_request_queues = NR_QUEUES - 1;
	fs->virtio.pci.device.vm = vm;
	fs->virtio.config = &fs->config;
	fs->virtio.config_size = sizeof(fs->config);
	fs->virtio.nr_outside = NR_QUEUES;
	fs->user.source.fd = -1;
	fs->user.virtio = &fs->virtio;
	fs->user.name = share->path;
	if (!get_daemon(vm, fs, share)) {
		fs->virtio.features = fs->user.features & VHOST_FEATURES;
		if (!virtio_create(vm, &fs->virtio, &ops))
			return 0;
	}
	fs_destroy(&fs->virtio);
	return -1;
}

int virtio_fs_create(struct vm *vm)
{
	for (unsigned int i = 0; i < vm->options->nr_shares; i++)
		if (create_fs(vm, &vm->options->shares[i]))
			return -1;
	return 0;
}
