// SPDX-License-Identifier: GPL-2.0
/*
 * The console on standard input and output; clients of the control socket see and
 * type the same.  A terminal is in raw mode while the VM runs, so that each key is
 * the guest's but for Ctrl-A: Ctrl-A x ends the VM, Ctrl-A Ctrl-A is one Ctrl-A.
 * Pipes and files are read as they are.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "console.h"
#include "runner.h"
#include "vm.h"

#define CTRL_A 1
#define AT_ONCE 64

/* Take the escapes out of what was typed; returns how many characters are left. */
static size_t unescape(struct console *console, unsigned char *data, size_t nr)
{
	size_t left = 0;

	for (size_t i = 0; i < nr; i++) {
		if (!console->escape && data[i] == CTRL_A) {
			console->escape = true;
			continue;
		}
		if (console->escape && (data[i] == 'x' || data[i] == 'X'))
			vm_end(console->vm, END_QUIT, 0);
		else if (!console->escape || data[i] == CTRL_A)
			data[left++] = data[i];
		console->escape = false;
	}
	return left;
}

/* Wait for the next input: for one event, as a hang-up cannot be ignored otherwise. */
static void watch_input(struct console *console)
{
	if (console->in.fd < 0 || console->in_is_file || console->in_watched)
		return;
	console->in_watched = true;
	source_change(console->vm, &console->in, EPOLLIN | EPOLLONESHOT);
}

/* There is no more input. */
static void end_input(struct console *console)
{
	if (!console->in_is_file)
		source_remove(console->vm, &console->in);
	console->in.fd = -1;
}

static void read_input(struct console *console)
{
	unsigned char data[AT_ONCE];
	size_t room = console->ops->room(console);
	ssize_t nr;

	if (!room || console->in.fd < 0)
		return;
	nr = read(console->in.fd, data, room < sizeof(data) ? room : sizeof(data));
	if (nr < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (nr <= 0) {
		end_input(console);
		return;
	}
	if (console->is_terminal)
		nr = unescape(console, data, nr);
	if (nr)
		console->ops->input(console, data, nr);
}

static void input_ready(struct vm *vm, struct source *source, __u32 events)
{
	struct console *console = container_of(source, struct console, in);

	(void)vm;
	(void)events;
	console->in_watched = false;
	read_input(console);
	if (console->ops->room(console))
		watch_input(console);
}

void console_wants_more(struct console *console)
{
	if (console->in_is_file)
		read_input(console);
	else
		watch_input(console);
	if (console == console->vm->console)
		control_wants_more(console->vm);
}

static void output_ready(struct vm *vm, struct source *source, __u32 events)
{
	struct console *console = container_of(source, struct console, out);

	(void)vm;
	(void)events;
	console->out_watched = false;
	source_remove(console->vm, source);
	console->ops->writable(console);
}

static size_t write_stdio(struct console *console, const void *data, size_t nr)
{
	struct pollfd out = { .fd = console->out.fd, .events = POLLOUT };
	ssize_t written;

	if (console->out.fd < 0)
		return nr;
	if (console->out_watched)
		return 0;
	if (poll(&out, 1, 0) == 1) {
		written = write(console->out.fd, data, nr);
		if (written >= 0)
			return written;
		/* Nobody reads it any more. */
		if (errno != EAGAIN && errno != EINTR) {
			console->out.fd = -1;
			return nr;
		}
	}
	console->out_watched = !source_add(console->vm, &console->out, EPOLLOUT);
	return 0;
}

size_t console_write(struct console *console, const void *data, size_t nr)
{
	size_t written = write_stdio(console, data, nr);

	if (console == console->vm->console)
		control_output(console->vm, data, written);
	return written;
}

static void set_raw(struct console *console)
{
	struct termios raw;

	if (tcgetattr(STDIN_FILENO, &console->saved))
		return;
	raw = console->saved;
	cfmakeraw(&raw);
	/* Our own messages, too, end in a plain newline. */
	raw.c_oflag |= OPOST;
	console->is_terminal = !tcsetattr(STDIN_FILENO, TCSANOW, &raw);
}

int console_open(struct vm *vm, struct console *console, const struct console_ops *ops,
		 const char *kind)
{
	int err;

	*console = (struct console) {
		.vm = vm, .ops = ops,
		.in = { .fd = -1, .ready = input_ready }, .out = { .fd = -1, .ready = output_ready },
	};
	if (!strcmp(kind, "none"))
		return 0;
	if (!vm->console)
		vm->console = console;
	if (!strcmp(kind, "socket"))
		return 0;
	/* One that is shared would be two sources with one descriptor. */
	console->out.fd = dup(STDOUT_FILENO);
	console->in.fd = STDIN_FILENO;
	err = source_add(vm, &console->in, EPOLLIN | EPOLLONESHOT);
	console->in_watched = !err;
	console->in_is_file = err == -EPERM;
	if (err && err != -EPERM)
		console->in.fd = -1;
	if (isatty(STDIN_FILENO))
		set_raw(console);
	return 0;
}

void console_close(struct console *console)
{
	if (console == console->vm->console)
		console->vm->console = NULL;
	if (console->is_terminal)
		tcsetattr(STDIN_FILENO, TCSANOW, &console->saved);
	if (console->out.fd >= 0)
		close(console->out.fd);
}
