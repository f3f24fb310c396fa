// SPDX-License-Identifier: GPL-2.0
/*
 * Virtio file system: a directory of the host's, which a vhost-user daemon serves,
 * virtiofsd.  VIRTIO 1.2, "File System Device".  The daemon is started here, and
 * ends when its socket is closed; or it is there already, and has a socket.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/virtio_fs.h>
#include <linux/virtio_ids.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runner.h"
#include "vhost.h"

/* One for what must not wait, one for all else. */
#define NR_QUEUES 2

struct fs {
	struct virtio virtio;
	struct virtio_fs_config config;
	struct vhost_user daemon;
	pid_t pid;			/* if it was started here */
};

static struct fs *fs_of(struct virtio *virtio)
{
	return container_of(virtio, struct fs, virtio);
}

/* ---- the driver ---------------------------------------------------------------- */

static int fs_start(struct virtio *virtio)
{
	return vhost_user_start(&fs_of(virtio)->daemon);
}

static void fs_reset(struct virtio *virtio)
{
	vhost_user_stop(&fs_of(virtio)->daemon);
}

/* One that was started here does not survive, whatever it does. */
static void fs_destroy(struct virtio *virtio)
{
	struct fs *fs = fs_of(virtio);

	if (fs->pid > 0) {
		kill(fs->pid, SIGKILL);
		waitpid(fs->pid, NULL, 0);
	}
	vhost_user_destroy(&fs->daemon);
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

/*
 * Both ends of a connection that the daemon has yet to accept: it wants a socket
 * that listens.  Nobody else can reach it, and its name is gone at once.
 */
static int make_sockets(int *listening)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = -1;
	char *slash;

	*listening = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	snprintf(address.sun_path, sizeof(address.sun_path) - 2, "%s/mote-fs-XXXXXX",
		 runtime ? runtime : P_tmpdir);
	if (*listening < 0 || !mkdtemp(address.sun_path))
		return -1;
	slash = strchr(address.sun_path, '\0');
	strcpy(slash, "/s");
	if (!bind(*listening, (const struct sockaddr *)&address, sizeof(address)) &&
	    !listen(*listening, 1))
		fd = connect_to(&address);
	unlink(address.sun_path);
	*slash = '\0';
	rmdir(address.sun_path);
	return fd;
}

/* In a group of its own, without our terminal, and with signals as programs expect them. */
static int spawn(struct fs *fs, const char *path, int listening)
{
	/* Debian 12 has the last one, in qemu-system-common; newer ones the second. */
	static const char *const programs[] = {
		"virtiofsd", "/usr/libexec/virtiofsd", "/usr/lib/qemu/virtiofsd",
	};
	char fd[24], source[PATH_MAX + 8], whole[PATH_MAX];
	char *const arguments[] = {
		"virtiofsd", fd, "-o", source, "-o", "log_level=err", NULL,
	};
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t none, piped;
	int err = ENOENT;

	snprintf(fd, sizeof(fd), "--fd=%d", STDERR_FILENO + 1);
	snprintf(source, sizeof(source), "source=%s", realpath(path, whole) ? whole : path);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDWR, 0);
	posix_spawn_file_actions_adddup2(&actions, STDIN_FILENO, STDOUT_FILENO);
	posix_spawn_file_actions_adddup2(&actions, listening, STDERR_FILENO + 1);
	posix_spawnattr_init(&attributes);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK |
				 POSIX_SPAWN_SETSIGDEF);
	sigemptyset(&none);
	sigemptyset(&piped);
	sigaddset(&piped, SIGPIPE);
	posix_spawnattr_setsigmask(&attributes, &none);
	posix_spawnattr_setsigdefault(&attributes, &piped);
	for (size_t i = 0; i < ARRAY_SIZE(programs) && err == ENOENT; i++)
		err = posix_spawnp(&fs->pid, programs[i], &actions, &attributes, arguments, environ);
	posix_spawnattr_destroy(&attributes);
	posix_spawn_file_actions_destroy(&actions);
	if (err) {
		fs->pid = 0;
		complain("--share: virtiofsd: %s (Debian 12 has it in qemu-system-common)", strerror(err));
	}
	return err ? -1 : 0;
}

static int start_daemon(struct fs *fs, const char *path)
{
	int listening = -1;
	int fd = make_sockets(&listening);
	int err = -1;

	if (fd < 0)
		complain("--share: cannot make a socket: %m");
	else
		err = spawn(fs, path, listening);
	if (listening >= 0)
		close(listening);
	fs->daemon.source.fd = fd;
	return err;
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
	fs->daemon.source.fd = connect_to(&address);
	if (fs->daemon.source.fd >= 0)
		return 0;
	complain("--share: nobody answers at %s: %m", path);
	return -1;
}

/* ---- making one ---------------------------------------------------------------------- */

static int get_daemon(struct vm *vm, struct fs *fs, const char *path)
{
	struct stat stat_of;
	int err;

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
	} else if (S_ISDIR(stat_of.st_mode)) {
		err = start_daemon(fs, path);
	} else {
		complain("--share: %s is neither a directory nor a socket", path);
		return -1;
	}
	return err ? -1 : vhost_user_create(vm, &fs->daemon);
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
	fs->daemon.source.fd = -1;
	fs->daemon.virtio = &fs->virtio;
	fs->daemon.name = share->path;
	if (!get_daemon(vm, fs, share->path)) {
		fs->virtio.features = fs->daemon.features & VHOST_FEATURES;
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
