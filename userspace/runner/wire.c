// SPDX-License-Identifier: GPL-2.0
/* Where a machine goes to or comes from, and the checksum of what is said on the way: see migrate.h. */
#define XXH_INLINE_ALL
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <xxhash.h>

#include "migrate.h"
#include "runner.h"

#define UNIX "unix:"
#define TCP "tcp:"
#define EXEC "exec:"

static bool begins(const char *where, const char *with)
{
	return !strncmp(where, with, strlen(with));
}

__u64 wire_sum(const struct wire *wire, const void *data)
{
	return XXH3_64bits_withSeed(data, wire->size, wire->kind + wire->at);
}

/* ---- one of a kind ----------------------------------------------------------------- */

static int unix_socket(const char *path, bool listens)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (strlen(path) >= sizeof(address.sun_path)) {
		errno = ENAMETOOLONG;
	} else if (fd >= 0) {
		strcpy(address.sun_path, path);
		if (listens ? !bind(fd, (struct sockaddr *)&address, sizeof(address)) &&
			      !chmod(path, 0600) && !listen(fd, 1) :
			      !connect(fd, (struct sockaddr *)&address, sizeof(address)))
			return fd;
	}
	if (fd >= 0)
		close(fd);
	return -1;
}

static int try_address(const struct addrinfo *address, bool listens)
{
	int fd = socket(address->ai_family, address->ai_socktype | SOCK_CLOEXEC, 0), yes = 1;

	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
	if (listens ? !bind(fd, address->ai_addr, address->ai_addrlen) && !listen(fd, 1) :
		      !connect(fd, address->ai_addr, address->ai_addrlen))
		return fd;
	close(fd);
	return -1;
}

/* HOST:PORT; 0 or an error of getaddrinfo(3). */
static int find_addresses(const char *where, bool listens, struct addrinfo **addresses)
{
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = listens ? AI_PASSIVE : 0 };
	const char *colon = strrchr(where, ':');
	char host[256];

	if (!colon || !colon[1] || colon - where >= (int)sizeof(host))
		return EAI_SERVICE;
	snprintf(host, sizeof(host), "%.*s", (int)(colon - where), where);
	return getaddrinfo(host[0] ? host : NULL, colon + 1, &hints, addresses);
}

static int tcp_socket(const char *where, bool listens)
{
	struct addrinfo *addresses;
	int err = find_addresses(where, listens, &addresses), fd = -1;

	if (err) {
		complain("%s: %s", where, gai_strerror(err));
		errno = 0;
		return -1;
	}
	for (const struct addrinfo *address = addresses; address && fd < 0; address = address->ai_next)
		fd = try_address(address, listens);
	freeaddrinfo(addresses);
	return fd;
}

/* Its standard input and output are the other end. */
static int exec_socket(const char *command)
{
	int ends[2];
	pid_t child;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends))
		return -1;
	child = fork();
	if (!child) {
		dup2(ends[1], STDIN_FILENO);
		dup2(ends[1], STDOUT_FILENO);
		execl("/bin/sh", "sh", "-c", command, (char *)NULL);
		_exit(127);
	}
	close(ends[1]);
	if (child > 0)
		return ends[0];
	close(ends[0]);
	return -1;
}

/* ---- all of them ----------------------------------------------------------------------- */

int wire_connect(const char *where)
{
	int fd;

	if (begins(where, UNIX)) {
		fd = unix_socket(where + strlen(UNIX), false);
	} else if (begins(where, EXEC)) {
		fd = exec_socket(where + strlen(EXEC));
	} else if (begins(where, TCP)) {
		fd = tcp_socket(where + strlen(TCP), false);
	} else {
		complain("neither unix:PATH, tcp:HOST:PORT nor exec:COMMAND: %s", where);
		return -1;
	}
	if (fd < 0 && errno)
		complain("cannot connect to %s: %m", where);
	return fd;
}

/* The one that comes first; nobody else can come after it. */
static int accept_one(int listener, const char *where)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0)
		complain("%s: nobody comes: %m", where);
	close(listener);
	if (begins(where, UNIX))
		unlink(where + strlen(UNIX));
	return fd;
}

int wire_accept(const char *where)
{
	struct stat stat;
	int listener;

	if (!strcmp(where, "-")) {
		if (!fstat(STDIN_FILENO, &stat) && S_ISSOCK(stat.st_mode))
			return dup(STDIN_FILENO);
		complain("-: standard input is no socket (mote migrate NAME exec:COMMAND makes it one)");
		return -1;
	}
	if (begins(where, UNIX)) {
		listener = unix_socket(where + strlen(UNIX), true);
	} else if (begins(where, TCP)) {
		listener = tcp_socket(where + strlen(TCP), true);
	} else {
		complain("neither unix:PATH, tcp:[HOST]:PORT nor -: %s", where);
		return -1;
	}
	if (listener < 0 && errno)
		complain("cannot listen at %s: %m", where);
	return listener < 0 ? -1 : accept_one(listener, where);
}
