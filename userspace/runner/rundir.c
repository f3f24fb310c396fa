// SPDX-License-Identifier: GPL-2.0
/* The directory of the VMs' control sockets: private to its user. */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "control.h"

#define PATIENCE 5 /* seconds */

int rundir_get(char *path, size_t size, bool create)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	struct stat stat;
	int length;

	if (!runtime || runtime[0] != '/') {
		if (geteuid()) {
			errno = ENOENT;
			return -1;
		}
		runtime = "/run";
	}
	length = snprintf(path, size, "%s/mote", runtime);
	if (length < 0 || (size_t)length >= size) {
		errno = ENAMETOOLONG;
		return -1;
	}
	if (create && mkdir(path, 0700) && errno != EEXIST)
		return -1;
	if (lstat(path, &stat))
		return -1;
	if (!S_ISDIR(stat.st_mode) || stat.st_uid != geteuid() || stat.st_mode & 077) {
		errno = EPERM;
		return -1;
	}
	return 0;
}

int rundir_lock(const char *directory)
{
	int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd >= 0 && flock(fd, LOCK_EX)) {
		close(fd);
		fd = -1;
	}
	return fd;
}

bool is_name(const char *name)
{
	size_t nr = strlen(name);

	if (!nr || nr > NAME_MOST || name[0] == '.')
		return false;
	for (; *name; name++)
		if (!isalnum((unsigned char)*name) && !strchr("._-", *name))
			return false;
	return true;
}

bool rundir_socket(char *path, size_t size, const char *directory, const char *name)
{
	int length = snprintf(path, size, "%s/%s.sock", directory, name);

	return length > 0 && (size_t)length < size;
}

int rundir_connect(const char *directory, const char *name)
{
	const struct timeval patience = { .tv_sec = PATIENCE };
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd, err;

	if (!rundir_socket(address.sun_path, sizeof(address.sun_path), directory, name))
		return -ENAMETOOLONG;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	if (connect(fd, (struct sockaddr *)&address, sizeof(address))) {
		err = -errno;
		close(fd);
		return err;
	}
	return fd;
}
