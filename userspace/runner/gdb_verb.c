// SPDX-License-Identifier: GPL-2.0
/* mote gdb: hand a debugger's connection to a VM, and wait until that is over. */
#include <errno.h>
#include <json-c/json.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client.h"
#include "migrate.h"
#include "runner.h"

const char gdb_usage[] =
	"usage: mote gdb NAME [WHERE]\n"
	"\n"
	"Lets gdb debug a VM: in gdb, target remote | mote gdb NAME. It stops, and goes on when\n"
	"gdb says so, or leaves. With WHERE, unix:PATH or tcp:[HOST:]PORT, one debugger may come\n"
	"there (HOST is 127.0.0.1 if it is not said: whoever comes has the guest in his hands).\n"
	"Returns when the debugger is gone. NAME is the whole name.\n"
	"\n"
	"  --help   this text\n"
	"\n"
	"Exit status: 0; 1 it has a debugger already, or is being saved or migrated; 2 no such\n"
	"VM, or nobody can come there.\n";

#define UNIX "unix:"
#define TCP "tcp:"

/* Copy what comes from one to the other, as long as there is something; false: there is no more. */
static bool copy(int from, int to)
{
	char data[4096];
	ssize_t nr = read(from, data, sizeof(data)), done = 0, at;

	if (nr < 0 && errno == EINTR)
		return true;
	for (at = 0; at < nr && done >= 0; at += done > 0 ? done : 0)
		done = write(to, data + at, nr - at);
	return nr > 0 && done >= 0;
}

/* Standard input and output are the debugger's, until either end is gone. */
static void relay(int end)
{
	struct pollfd ends[] = { { .fd = STDIN_FILENO, .events = POLLIN }, { .fd = end, .events = POLLIN } };
	bool goes_on = true;

	while (goes_on && (poll(ends, ARRAY_SIZE(ends), -1) >= 0 || errno == EINTR)) {
		if (ends[0].revents)
			goes_on = copy(STDIN_FILENO, end);
		if (goes_on && ends[1].revents)
			goes_on = copy(end, STDOUT_FILENO);
	}
	close(end);
}

/* What the VM gets; *@here: this end of it, or -1. */
static int open_connection(const char *where, int *here)
{
	char address[256];
	int ends[2];

	*here = -1;
	if (where && !strncmp(where, TCP, strlen(TCP)) && !strchr(where + strlen(TCP), ':')) {
		snprintf(address, sizeof(address), TCP "127.0.0.1:%s", where + strlen(TCP));
		where = address;
	}
	if (where)
		return wire_accept(where);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends)) {
		complain("cannot make a connection: %m");
		return -1;
	}
	*here = ends[0];
	return ends[1];
}

static int debug(int fd, int connection, int here)
{
	struct json_object *answer;

	client_is_patient(fd);
	if (!client_send(fd, "gdb", NULL, &connection, 1)) {
		complain("the VM has ended, or does not answer");
		close(connection);
		return EXIT_PROBLEM;
	}
	close(connection);
	if (here >= 0)
		relay(here);
	answer = client_hear(fd);
	json_object_put(answer);
	return answer ? EXIT_OK : EXIT_PROBLEM;
}

int gdb_run(const struct verb *verb, int argc, char **argv)
{
	int status = parse_vm(verb, argc, argv, &(const struct vm_arguments) {
		.operand = "WHERE", .may_lack_operand = true,
	});
	int fd, connection, here;
	char found[NAME_MOST + 1];
	const char *where;

	if (status >= 0)
		return status;
	where = argv[optind + 1];
	if (where && strncmp(where, UNIX, strlen(UNIX)) && strncmp(where, TCP, strlen(TCP))) {
		complain("gdb: neither unix:PATH nor tcp:[HOST:]PORT: %s", where);
		return EXIT_USAGE;
	}
	fd = client_open(argv[optind], true, found);
	if (fd < 0)
		return EXIT_USAGE;
	connection = open_connection(where, &here);
	status = connection < 0 ? EXIT_USAGE : debug(fd, connection, here);
	close(fd);
	return status;
}
