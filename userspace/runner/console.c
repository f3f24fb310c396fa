// SPDX-License-Identifier: GPL-2.0
/*
 * Consoles: see console.h.  A terminal is in raw mode while the VM runs (tty.h): Ctrl-A x presses
 * its power button, and the next one ends it.  Pipes and files are read as they are.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "console.h"
#include "runner.h"
#include "tty.h"
#include "vm.h"

#define INPUT_MOST 1024
#define RING 65536
#define CONSOLE_NAME_MOST 15

/**
 * struct console - a console
 * @vm: whose it is
 * @next: another one of the VM's, that was made before
 * @name: what clients call it
 * @is_open: to them
 * @ops: of the device
 * @device: for @ops; NULL: it is gone
 * @feed: wakes the devices' thread: there is input, or room for output
 * @stir: wakes the supervisor: there is output, or the device wants input
 * @in: standard input; its fd is -1 if there is none (any more)
 * @out: standard output; its fd is -1 if there is none
 * @in_is_file: input is always ready
 * @in_watched: the supervisor waits for input
 * @out_watched: it waits until output can be written
 * @is_socket: output is one
 * @is_terminal: input is one
 * @tty: this
 * @is_escaped: Ctrl-A has been typed there
 * @lock: of all that follows; nothing waits while it is held
 * @stirred: @stir has been written
 * @refused: the device has output that there was no room for
 * @wanted: how many characters of input the device would take
 * @nr_input: how many are on their way
 * @input: these
 * @size: of the screen at the far end
 * @is_resized: the device has not been told of it
 * @head: how many bytes the device has written
 * @written: how many of them standard output has got
 * @ring: the last ones of them
 */
struct console {
	struct vm *vm;
	struct console *next;
	char name[CONSOLE_NAME_MOST + 1];
	bool is_open;
	const struct console_ops *ops;
	void *device;
	struct source feed;
	struct source stir;
	struct source in;
	struct source out;
	bool in_is_file;
	bool in_watched;
	bool out_watched;
	bool is_socket;
	bool is_terminal;
	struct tty tty;
	bool is_escaped;
	pthread_mutex_t lock;
	bool stirred;
	bool refused;
	size_t wanted;
	size_t nr_input;
	unsigned char input[INPUT_MOST];
	struct tty_size size;
	bool is_resized;
	__u64 head;
	__u64 written;
	unsigned char ring[RING];
};

static size_t least(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* ---- the device's end ---------------------------------------------------------------- */

/* With the lock held. */
static void stir(struct console *console)
{
	if (!console->stirred)
		eventfd_write(console->stir.fd, 1);
	console->stirred = true;
}

/* How much may be written now. With the lock held. */
static size_t room_for(const struct console *console, size_t nr)
{
	return console->out.fd < 0 ? nr : least(nr, RING - (console->head - console->written));
}

/* Of more than the ring holds the last is what remains. With the lock held. */
static void put(struct console *console, const char *data, size_t nr)
{
	size_t done = nr > RING ? nr - RING : 0, at, first;

	console->head += done;
	for (; done < nr; done += first) {
		at = console->head % RING;
		first = least(nr - done, RING - at);
		memcpy(console->ring + at, data + done, first);
		console->head += first;
	}
	if (nr)
		stir(console);
}

size_t console_write(struct console *console, const void *data, size_t nr)
{
	size_t taken;

	pthread_mutex_lock(&console->lock);
	taken = room_for(console, nr);
	console->refused = taken < nr;
	put(console, data, taken);
	pthread_mutex_unlock(&console->lock);
	return taken;
}

bool console_put(struct console *console, const void *data, size_t nr)
{
	bool has_room;

	pthread_mutex_lock(&console->lock);
	has_room = room_for(console, nr) == nr;
	if (has_room)
		put(console, data, nr);
	pthread_mutex_unlock(&console->lock);
	return has_room;
}

void console_wants_more(struct console *console)
{
	size_t room = console->ops->room(console->device), nr;
	unsigned char data[INPUT_MOST];

	pthread_mutex_lock(&console->lock);
	nr = least(room, console->nr_input);
	memcpy(data, console->input, nr);
	console->nr_input -= nr;
	memmove(console->input, console->input + nr, console->nr_input);
	if (!console->wanted && room > nr)
		stir(console);
	console->wanted = room - nr;
	pthread_mutex_unlock(&console->lock);
	if (nr)
		console->ops->input(console->device, data, nr);
}

void console_size(struct console *console, struct tty_size *size)
{
	pthread_mutex_lock(&console->lock);
	*size = console->size;
	pthread_mutex_unlock(&console->lock);
}

static void feed(struct vm *vm, struct source *source, __u32 events)
{
	struct console *console = container_of(source, struct console, feed);
	bool is_refused, is_resized;
	struct tty_size size;
	eventfd_t times;

	(void)vm;
	(void)events;
	eventfd_read(source->fd, &times);
	if (!console->device)
		return;
	console_wants_more(console);
	pthread_mutex_lock(&console->lock);
	is_refused = console->refused;
	is_resized = console->is_resized;
	size = console->size;
	console->refused = console->is_resized = false;
	pthread_mutex_unlock(&console->lock);
	if (is_resized && console->ops->resized)
		console->ops->resized(console->device, &size);
	if (is_refused)
		console->ops->writable(console->device);
}

void console_close(struct console *console)
{
	if (!console)
		return;
	console->device = NULL;
	console->feed.lock = NULL;
}

/* ---- input ----------------------------------------------------------------------------- */

/* How many characters may be read: what the device wants. With the lock held. */
static size_t wanted(const struct console *console)
{
	return least(console->wanted, INPUT_MOST - console->nr_input);
}

static size_t put_input(struct console *console, const void *data, size_t nr)
{
	memcpy(console->input + console->nr_input, data, nr);
	console->nr_input += nr;
	console->wanted -= least(nr, console->wanted);
	return nr;
}

size_t console_type(struct console *console, const void *data, size_t nr)
{
	pthread_mutex_lock(&console->lock);
	nr = put_input(console, data, least(nr, wanted(console)));
	pthread_mutex_unlock(&console->lock);
	if (nr)
		eventfd_write(console->feed.fd, 1);
	return nr;
}

void console_resize(struct console *console, const struct tty_size *size)
{
	pthread_mutex_lock(&console->lock);
	console->size = *size;
	console->is_resized = true;
	pthread_mutex_unlock(&console->lock);
	eventfd_write(console->feed.fd, 1);
}

static void command(void *context, char key)
{
	struct console *console = context;

	if (key == 'x')
		vm_quit(console->vm);
}

/*
 * How much is to be read now.  A terminal always has to be, for the escapes: what the device
 * does not want yet waits, and beyond some lines is lost, as at any terminal.
 */
static size_t readable(struct console *console)
{
	size_t nr = INPUT_MOST;

	if (console->in.fd < 0)
		return 0;
	pthread_mutex_lock(&console->lock);
	if (!console->is_terminal)
		nr = wanted(console);
	pthread_mutex_unlock(&console->lock);
	return nr;
}

static void type(struct console *console, unsigned char *data, size_t nr)
{
	if (console->is_terminal)
		nr = tty_unescape(&console->is_escaped, data, nr, command, console);
	pthread_mutex_lock(&console->lock);
	put_input(console, data, least(nr, INPUT_MOST - console->nr_input));
	pthread_mutex_unlock(&console->lock);
	eventfd_write(console->feed.fd, 1);
}

/* There is no more input. */
static void end_input(struct console *console)
{
	if (!console->in_is_file)
		source_remove(&console->in);
	console->in.fd = -1;
}

static void read_input(struct console *console)
{
	unsigned char data[INPUT_MOST];
	size_t room = readable(console);
	ssize_t nr;

	if (!room)
		return;
	nr = read(console->in.fd, data, room);
	if (nr > 0)
		type(console, data, nr);
	else if (!nr || (errno != EINTR && errno != EAGAIN))
		end_input(console);
}

/* Wait for the next input: for one event, as a hang-up cannot be ignored otherwise. */
static void watch_input(struct console *console)
{
	if (!readable(console))
		return;
	if (console->in_is_file) {
		read_input(console);
	} else if (!console->in_watched) {
		console->in_watched = true;
		source_change(&console->in, EPOLLIN | EPOLLONESHOT);
	}
}

static void input_ready(struct vm *vm, struct source *source, __u32 events)
{
	struct console *console = container_of(source, struct console, in);

	(void)vm;
	(void)events;
	console->in_watched = false;
	read_input(console);
	watch_input(console);
}

/* ---- output ---------------------------------------------------------------------------- */

__u64 console_end(struct console *console)
{
	__u64 head;

	pthread_mutex_lock(&console->lock);
	head = console->head;
	pthread_mutex_unlock(&console->lock);
	return head;
}

size_t console_read(struct console *console, __u64 *position, void *data, size_t size)
{
	size_t at, nr;

	pthread_mutex_lock(&console->lock);
	if (console->head - *position > RING)
		*position = console->head - RING;
	at = *position % RING;
	nr = least(least(console->head - *position, RING - at), size);
	memcpy(data, console->ring + at, nr);
	pthread_mutex_unlock(&console->lock);
	return nr;
}

static ssize_t write_without_waiting(struct console *console, const void *data, size_t nr)
{
	struct pollfd out = { .fd = console->out.fd, .events = POLLOUT };

	if (console->is_socket)
		return send(console->out.fd, data, nr, MSG_DONTWAIT | MSG_NOSIGNAL);
	/* Where the file could not be opened anew it waits, though not for long. */
	if (poll(&out, 1, 0) == 1)
		return write(console->out.fd, data, nr);
	errno = EAGAIN;
	return -1;
}

/* What cannot be written for a lasting reason is lost; what comes later is tried again. */
static void write_output(struct console *console)
{
	char data[4096];
	size_t nr;

	while (console->out.fd >= 0 && (nr = console_read(console, &console->written, data, sizeof(data)))) {
		ssize_t done = write_without_waiting(console, data, nr);
		bool refused;

		if (done < 0 && (errno == EAGAIN || errno == EINTR)) {
			if (!console->out_watched)
				source_change(&console->out, EPOLLOUT | EPOLLONESHOT);
			console->out_watched = true;
			return;
		}
		pthread_mutex_lock(&console->lock);
		console->written += done < 0 ? nr : (size_t)done;
		refused = console->refused;
		pthread_mutex_unlock(&console->lock);
		if (refused)
			eventfd_write(console->feed.fd, 1);
	}
}

static void output_ready(struct vm *vm, struct source *source, __u32 events)
{
	struct console *console = container_of(source, struct console, out);

	(void)vm;
	(void)events;
	console->out_watched = false;
	write_output(console);
}

static void stirred(struct vm *vm, struct source *source, __u32 events)
{
	struct console *console = container_of(source, struct console, stir);
	eventfd_t times;

	(void)events;
	eventfd_read(source->fd, &times);
	pthread_mutex_lock(&console->lock);
	console->stirred = false;
	pthread_mutex_unlock(&console->lock);
	if (!console->out_watched)
		write_output(console);
	watch_input(console);
	control_console(vm, console);
}

bool consoles_are_drained(const struct vm *vm)
{
	for (struct console *console = vm->consoles; console; console = console->next)
		if (console->out.fd >= 0 && console_end(console) != console->written)
			return false;
	return true;
}

/* ---- beginning and end ------------------------------------------------------------------- */

void consoles_take_terminal(struct vm *vm)
{
	for (struct console *console = vm->consoles; console; console = console->next)
		if (console->is_terminal)
			tty_take(&console->tty);
}

void consoles_leave_terminal(struct vm *vm)
{
	for (struct console *console = vm->consoles; console; console = console->next)
		tty_leave(&console->tty);
}

void consoles_tell_terminal(struct vm *vm)
{
	char text[NAME_MOST + 80];

	snprintf(text, sizeof(text), "%s runs (Ctrl-A x presses its power button, a second one ends it)\n",
		 vm->name);
	for (struct console *console = vm->consoles; console; console = console->next)
		if (console->tty.is_raw && isatty(STDERR_FILENO))
			say_text(text);
}

void consoles_resize_terminal(struct vm *vm)
{
	struct tty_size size;

	for (struct console *console = vm->consoles; console; console = console->next)
		if (console->is_terminal && tty_get_size(&size))
			console_resize(console, &size);
}

/* One of our own, so that not to wait is nobody else's matter; a file keeps its position. */
static void open_output(struct console *console, int output)
{
	struct stat stat;
	char path[32];
	int fd = -1;

	if (fstat(output, &stat))
		return;
	console->is_socket = S_ISSOCK(stat.st_mode);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", output);
	if (S_ISCHR(stat.st_mode) || S_ISFIFO(stat.st_mode))
		fd = open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	console->out.fd = fd < 0 ? fcntl(output, F_DUPFD_CLOEXEC, STDERR_FILENO + 1) : fd;
	/* A file is always ready. */
	if (console->out.fd >= 0)
		source_add(&console->vm->supervisor, &console->out, EPOLLONESHOT);
}

static void open_input(struct console *console)
{
	struct loop *loop = &console->vm->supervisor;
	int err;

	console->in.fd = STDIN_FILENO;
	err = source_add(loop, &console->in, EPOLLONESHOT);
	console->in_is_file = err == -EPERM;
	if (err && err != -EPERM)
		console->in.fd = -1;
	console->is_terminal = isatty(STDIN_FILENO);
	if (console->is_terminal && tty_get_size(&console->size))
		tty_take(&console->tty);
	watch_input(console);
}

static struct console *find(const struct vm *vm, const char *name)
{
	struct console *console = vm->consoles;

	while (console && strcmp(console->name, name))
		console = console->next;
	return console;
}

struct console *console_find(const struct vm *vm, const char *name)
{
	struct console *console = name ? find(vm, name) : vm->console;

	return console && console->is_open ? console : NULL;
}

struct console *console_open(struct vm *vm, const struct console_ops *ops, void *device, const char *name,
			     const char *kind)
{
	/* The one that such a device has left behind when the machine was reset. */
	struct console *console = find(vm, name);
	pthread_mutex_t *lock = device_lock(vm, device);

	if (console) {
		console->device = device;
		console->feed.lock = lock;
		return console;
	}
	console = calloc(1, sizeof(*console));
	if (console) {
		*console = (struct console) {
			.vm = vm, .ops = ops, .device = device, .lock = PTHREAD_MUTEX_INITIALIZER,
			.feed = { .fd = -1, .ready = feed, .lock = lock },
			.stir = { .fd = -1, .ready = stirred },
			.in = { .fd = -1, .ready = input_ready }, .out = { .fd = -1, .ready = output_ready },
			.next = vm->consoles, .is_open = !strcmp(kind, "stdio") || !strcmp(kind, "socket"),
		};
		snprintf(console->name, sizeof(console->name), "%s", name);
		vm->consoles = console;
	}
	if (!console || source_add_eventfd(&vm->io, &console->feed) ||
	    source_add_eventfd(&vm->supervisor, &console->stir)) {
		complain("cannot make a console: %m");
		return NULL;
	}
	if (!vm->console && console->is_open)
		vm->console = console;
	if (!strcmp(kind, "stdio")) {
		open_output(console, STDOUT_FILENO);
		open_input(console);
	} else if (!strcmp(kind, "stderr")) {
		open_output(console, STDERR_FILENO);
	}
	return console;
}

void consoles_flush(struct vm *vm)
{
	for (struct console *console = vm->consoles; console; console = console->next)
		write_output(console);
}

void consoles_destroy(struct vm *vm)
{
	consoles_flush(vm);
	consoles_leave_terminal(vm);
	/* Before the ring that messages go into is no more. */
	messages_hurry();
	while (vm->consoles) {
		struct console *console = vm->consoles;
		const int fds[] = { console->feed.fd, console->stir.fd, console->out.fd };

		vm->consoles = console->next;
		for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
			if (fds[i] >= 0)
				close(fds[i]);
		free(console);
	}
	vm->console = NULL;
}
