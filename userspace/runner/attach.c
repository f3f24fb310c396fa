// SPDX-License-Identifier: GPL-2.0
/* mote console: this terminal, or pipe, becomes a VM's console. */
#include <errno.h>
#include <json-c/json.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include "client.h"
#include "runner.h"

const char console_usage[] =
	"usage: mote console NAME\n"
	"\n"
	"Shows what a VM has written to its console lately, and what it writes from now\n"
	"on; what is typed is the VM's, but for Ctrl-A: Ctrl-A d leaves the console and\n"
	"the VM alone, Ctrl-A Ctrl-A types one. Several can look at a time. In a pipe:\n"
	"until the VM ends. NAME may be the beginning of a name.\n";

#define CTRL_A 1

static bool is_terminal;
static struct termios saved;

static void restore(void)
{
	if (is_terminal)
		tcsetattr(STDIN_FILENO, TCSANOW, &saved);
	is_terminal = false;
}

static void on_signal(int number)
{
	restore();
	signal(number, SIG_DFL);
	raise(number);
}

static void set_raw(void)
{
	struct termios raw;

	if (!isatty(STDIN_FILENO) || tcgetattr(STDIN_FILENO, &saved))
		return;
	raw = saved;
	cfmakeraw(&raw);
	raw.c_oflag |= OPOST;
	signal(SIGTERM, on_signal);
	signal(SIGHUP, on_signal);
	is_terminal = !tcsetattr(STDIN_FILENO, TCSANOW, &raw);
}

static bool write_all(int fd, const char *data, size_t nr, bool is_socket)
{
	while (nr) {
		ssize_t done = is_socket ? send(fd, data, nr, MSG_NOSIGNAL) : write(fd, data, nr);

		if (done < 0 && errno != EINTR)
			return false;
		if (done > 0) {
			data += done;
			nr -= done;
		}
	}
	return true;
}

/* What was typed; false: that was all. */
static bool typed(int fd, bool *escape)
{
	char data[256], out[256];
	ssize_t nr = read(STDIN_FILENO, data, sizeof(data));
	size_t left = 0;

	if (nr <= 0)
		return nr < 0 && errno == EINTR;
	for (ssize_t i = 0; i < nr; i++) {
		bool was_escape = *escape;

		*escape = is_terminal && !was_escape && data[i] == CTRL_A;
		if (was_escape && (data[i] == 'd' || data[i] == 'D'))
			return false;
		if (!*escape && (!was_escape || data[i] == CTRL_A))
			out[left++] = data[i];
	}
	return write_all(fd, out, left, true);
}

/* Until the VM ends, or who is at the terminal leaves. */
static void attach(int fd)
{
	struct pollfd fds[] = { { .fd = fd, .events = POLLIN },
				{ .fd = STDIN_FILENO, .events = POLLIN } };
	bool escape = false;
	char data[4096];

	for (;;) {
		ssize_t nr;

		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			return;
		if (fds[0].revents) {
			nr = recv(fd, data, sizeof(data), 0);
			if (nr <= 0 || !write_all(STDOUT_FILENO, data, nr, false))
				return;
		}
		if (fds[1].revents && !typed(fd, &escape)) {
			if (is_terminal)
				return;
			fds[1].fd = -1;
		}
	}
}

int console_run(const struct verb *verb, int argc, char **argv)
{
	int status = parse_vm(verb, argc, argv, &(const struct vm_arguments) { 0 });
	struct json_object *answer;
	char found[NAME_MOST + 1];
	int fd;

	if (status >= 0)
		return status;
	fd = client_open(argv[optind], found);
	if (fd < 0)
		return EXIT_USAGE;
	answer = client_ask(fd, "console");
	if (answer) {
		set_raw();
		if (is_terminal)
			fprintf(stderr, "the console of %s (Ctrl-A d leaves it)\n", found);
		attach(fd);
		restore();
	}
	close(fd);
	json_object_put(answer);
	return answer ? EXIT_OK : EXIT_PROBLEM;
}
