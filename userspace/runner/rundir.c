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

/* Where there may be such a directory, the best place first: by variable, or root's. */
static const struct {
	const char *variable;
	const char *below;
} places[RUNDIR_PLACES] = {
	{ "XDG_RUNTIME_DIR", "" },
	{ NULL, "/run" },
	{ "STATE_DIRECTORY", "" },
	{ "XDG_STATE_HOME", "" },
	{ "HOME", "/.local/state" },
};

static bool place_of(unsigned int n, char *path, size_t size)
{
	const char *base = places[n].variable ? getenv(places[n].variable) : geteuid() ? NULL : "";
	int length;

	/* Services have several state directories, with colons between them: this is for the first. */
	if (!base || (places[n].variable && base[0] != '/'))
		return false;
	length = snprintf(path, size, "%.*s%s", (int)strcspn(base, ":"), base, places[n].below);
	return length > 0 && (size_t)length + sizeof("/mote") <= size;
}

/* Also what is above it. */
static void make(char *path)
{
	for (char *slash = path; (slash = strchr(slash + 1, '/'));) {
		*slash = '\0';
		mkdir(path, 0700);
		*slash = '/';
	}
	mkdir(path, 0700);
}

int rundir_get(unsigned int n, char *path, size_t size, bool create)
{
	struct stat stat;

	if (!place_of(n, path, size)) {
		errno = ENOENT;
		return -1;
	}
	/* What is whose home is made; but sudo and su leave variables of somebody else's. */
	if (create && places[n].variable && strcmp(places[n].variable, "XDG_RUNTIME_DIR"))
		make(path);
	if (lstat(path, &stat))
		return -1;
	if (stat.st_uid != geteuid()) {
		errno = ENOENT;
		return -1;
	}
	strcat(path, "/mote");
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

int rundir_make(char *path, size_t size)
{
	for (unsigned int n = 0; n < RUNDIR_PLACES; n++) {
		if (!rundir_get(n, path, size, true))
			return 0;
		/* One that others can reach is for its owner to mend. */
		if (errno == EPERM)
			break;
	}
	return -1;
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
