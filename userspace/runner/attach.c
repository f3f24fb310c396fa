// SPDX-License-Identifier: GPL-2.0
/* mote console: this terminal, or pipe, becomes a VM's console. */
#include <errno.h>
#include <json-c/json.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client.h"
#include "runner.h"
#include "tty.h"

const char console_usage[] =
	"usage: mote console NAME [CONSOLE]\n"
	"\n"
	"Shows what a VM has written to its console lately, and what it writes from now\n"
	"on; what is typed is the VM's, but for Ctrl-A: Ctrl-A d leaves the console and\n"
	"the VM alone, Ctrl-A Ctrl-A types one. Several can look at a time. In a pipe:\n"
	"until the VM ends. NAME may be the beginning of a name. CONSOLE is serial, or\n"
	"hvc0, hvc1 ..., the virtio consoles in their order, or else the first of them.\n";

static struct tty tty;

static void on_signal(int number)
{
	tty_leave(&tty);
	signal(number, SIG_DFL);
	raise(number);
}

/* The window has another size, or a shell has had the terminal. */
static volatile sig_atomic_t is_changed;

static void on_change(int number)
{
	(void)number;
	is_changed = true;
}

/* Such signals come while the console waits, and at no other time: @waiting has them. */
static bool take_terminal(sigset_t *waiting)
{
	static const int ends[] = { SIGTERM, SIGHUP, SIGINT, SIGQUIT }, changes[] = { SIGWINCH, SIGCONT };
	sigset_t set;

	sigprocmask(SIG_BLOCK, NULL, waiting);
	if (!tty_take(&tty))
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(ends); i++)
		signal(ends[i], on_signal);
	sigemptyset(&set);
	for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
		sigaddset(&set, changes[i]);
		signal(changes[i], on_change);
	}
	sigprocmask(SIG_BLOCK, &set, NULL);
	return true;
}

/* @console, if that is not NULL, and the size of this terminal, for a request; without one: none. */
static struct json_object *arguments_for(const char *console)
{
	struct json_object *arguments = json_object_new_object();
	struct tty_size size;

	if (console)
		json_object_object_add(arguments, "which", json_object_new_string(console));
	if (tty_get_size(&size) && size.columns && size.rows) {
		json_object_object_add(arguments, "columns", json_object_new_int(size.columns));
		json_object_object_add(arguments, "rows", json_object_new_int(size.rows));
	}
	return arguments;
}

/* The console's own connection has no more requests. A VM that does not take it has the old size. */
static void tell_size(const char *name, const char *console)
{
	struct json_object *arguments = arguments_for(console);
	char found[NAME_MOST + 1];
	int fd = json_object_object_get_ex(arguments, "rows", NULL) ? client_open(name, true, found) : -1;

	if (fd < 0) {
		json_object_put(arguments);
		return;
	}
	json_object_put(client_request(fd, "terminal-size", arguments));
	close(fd);
}

static bool write_all(const char *data, size_t nr)
{
	while (nr) {
		ssize_t done = write(STDOUT_FILENO, data, nr);

		if (done < 0 && errno != EINTR)
			return false;
		if (done > 0) {
			data += done;
			nr -= done;
		}
	}
	return true;
}

/**
 * struct typed - what goes to the VM
 * @nr: how many bytes of @data have not been sent yet
 * @data: them
 * @is_escaped: Ctrl-A was the last key
 * @ended: there is no more
 * @leaves: who types wants to leave
 */
struct typed {
	size_t nr;
	unsigned char data[256];
	bool is_escaped;
	bool ended;
	bool leaves;
};

static void command(void *context, char key)
{
	struct typed *typed = context;

	typed->leaves |= key == 'd';
}

/* False: who types wants to leave. At a terminal the last keys are lost that nobody takes, as at any. */
static bool read_typed(struct typed *typed)
{
	unsigned char data[sizeof(typed->data)];
	ssize_t nr = read(STDIN_FILENO, data, sizeof(data));
	size_t room = sizeof(typed->data) - typed->nr;

	if (nr <= 0) {
		typed->ended = !nr || errno != EINTR;
		return !typed->ended || !tty.is_raw;
	}
	if (tty.is_raw)
		nr = tty_unescape(&typed->is_escaped, data, nr, command, typed);
	if ((size_t)nr < room)
		room = nr;
	memcpy(typed->data + typed->nr, data, room);
	typed->nr += room;
	return !typed->leaves;
}

static bool send_typed(int fd, struct typed *typed)
{
	ssize_t done = send(fd, typed->data, typed->nr, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (done < 0)
		return errno == EAGAIN || errno == EINTR;
	typed->nr -= done;
	memmove(typed->data, typed->data + done, typed->nr);
	return true;
}

/* Until the VM ends, or who is at the terminal leaves; in a pipe a guest that does not read is waited for. */
static void attach(int fd, const char *name, const char *console, const sigset_t *waiting)
{
	struct typed typed = { 0 };
	char data[4096];

	for (;;) {
		bool listens = !typed.ended && (!typed.nr || tty.is_raw);
		struct pollfd fds[] = {
			{ .fd = fd, .events = POLLIN | (typed.nr ? POLLOUT : 0) },
			{ .fd = listens ? STDIN_FILENO : -1, .events = POLLIN },
			/* For its reader's end. */
			{ .fd = STDOUT_FILENO },
		};
		ssize_t nr;

		if (is_changed) {
			is_changed = false;
			tty_take(&tty);
			tell_size(name, console);
		}
		if (ppoll(fds, ARRAY_SIZE(fds), NULL, waiting) < 0) {
			if (errno != EINTR)
				return;
			continue;
		}
		if (fds[0].revents & ~POLLOUT) {
			nr = recv(fd, data, sizeof(data), MSG_DONTWAIT);
			if (!nr || (nr < 0 && errno != EAGAIN && errno != EINTR))
				return;
			if (nr > 0 && !write_all(data, nr))
				return;
		}
		if (fds[0].revents & POLLOUT && !send_typed(fd, &typed))
			return;
		if (fds[2].revents || (fds[1].revents && !read_typed(&typed)))
			return;
	}
}

int console_run(const struct verb *verb, int argc, char **argv)
{
	int status = parse_vm(verb, argc, argv, &(const struct vm_arguments) {
		.operand = "CONSOLE", .may_lack_operand = true,
	});
	const char *console;
	struct json_object *answer;
	char found[NAME_MOST + 1];
	sigset_t waiting;
	int fd;

	if (status >= 0)
		return status;
	fd = client_open(argv[optind], false, found);
	if (fd < 0)
		return EXIT_USAGE;
	console = argv[optind + 1];
	answer = client_ask(fd, "console", arguments_for(console));
	if (answer) {
		if (take_terminal(&waiting))
			fprintf(stderr, "the console of %s (Ctrl-A d leaves it)\n", found);
		attach(fd, found, console, &waiting);
		if (tty.is_raw)
			fputc('\n', stderr);
		tty_leave(&tty);
	}
	close(fd);
	json_object_put(answer);
	return answer ? EXIT_OK : EXIT_PROBLEM;
}
