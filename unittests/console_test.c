// SPDX-License-Identifier: GPL-2.0
/* The far ends of a console: a standard output that fails or is slow, a terminal, its size, and clients. */
#include <fcntl.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "../userspace/runner/console.c"
#include "complaints.h"
#include "loops.h"

static const struct options options;
static struct vm vm = { .options = &options, .name = "test", .lock = PTHREAD_MUTEX_INITIALIZER };

void control_console(struct vm *which, const struct console *console)
{
	(void)which;
	(void)console;
}

static unsigned int nr_quits;

void vm_quit(struct vm *which)
{
	(void)which;
	nr_quits++;
}

/* ---- the device ------------------------------------------------------------------------- */

static char input[256];
static size_t nr_input;
static unsigned int nr_writable, nr_resized;
static struct tty_size told;

static size_t room(void *device)
{
	(void)device;
	return sizeof(input) - nr_input;
}

static void take_input(void *device, const void *data, size_t nr)
{
	(void)device;
	memcpy(input + nr_input, data, nr);
	nr_input += nr;
}

static void writable(void *device)
{
	(void)device;
	nr_writable++;
}

static void resized(void *device, const struct tty_size *size)
{
	(void)device;
	told = *size;
	nr_resized++;
}

static const struct console_ops ops = {
	.room = room, .input = take_input, .writable = writable, .resized = resized,
};

/* ---- the threads ------------------------------------------------------------------------- */

/* A console whose standard output is @out, which TAP has again afterwards. */
static struct console *open_with(int out, const char *kind)
{
	int tap = dup(STDOUT_FILENO);
	struct console *console;

	fflush(stdout);
	dup2(out, STDOUT_FILENO);
	nr_input = nr_writable = nr_resized = nr_quits = 0;
	CHECK(!loop_create(&vm.supervisor, &vm, NULL) && !loop_create(&vm.io, &vm, &vm.lock));
	console = console_open(&vm, &ops, &vm, "first", kind);
	dup2(tap, STDOUT_FILENO);
	close(tap);
	CHECK(console);
	console_wants_more(console);
	settle(&vm);
	return console;
}

static void end(void)
{
	consoles_destroy(&vm);
	loop_destroy(&vm.supervisor);
	loop_destroy(&vm.io);
}

/* ---- standard output ----------------------------------------------------------------------- */

static size_t say(struct console *console, const char *text)
{
	size_t nr = console_write(console, text, strlen(text));

	settle(&vm);
	return nr;
}

/* What cannot be written is lost, and nothing else. */
static void test_full(void)
{
	char name[] = "/tmp/console_test.XXXXXX", data[16] = "";
	int file = mkstemp(name), full = open("/dev/full", O_WRONLY);
	struct rlimit before, less;
	struct console *console;

	console = open_with(full, "stdio");
	for (unsigned int i = 0; i < 3; i++)
		EQ(4, say(console, "lost"));
	CHECK(consoles_are_drained(&vm));
	end();
	console = open_with(file, "stdio");
	EQ(4, say(console, "well"));
	getrlimit(RLIMIT_FSIZE, &before);
	less = (struct rlimit) { 4, before.rlim_max };
	setrlimit(RLIMIT_FSIZE, &less);
	EQ(4, say(console, "lost"));
	CHECK(consoles_are_drained(&vm));
	setrlimit(RLIMIT_FSIZE, &before);
	EQ(4, say(console, "late"));
	EQ(8, pread(file, data, sizeof(data) - 1, 0));
	CHECK(!strcmp(data, "welllate"));
	end();
	unlink(name);
	close(file);
	close(full);
}

/* All of it comes, when there is somebody who reads. */
static void test_slow(void)
{
	static unsigned char data[4 * RING];
	size_t sent = 0, got = 0, nr;
	struct console *console;
	int pipes[2];
	char byte;

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = i * 7 + i / 251;
	CHECK(!pipe2(pipes, O_NONBLOCK) && fcntl(pipes[1], F_SETPIPE_SZ, 4096) == 4096);
	console = open_with(pipes[1], "stdio");
	while (sent < sizeof(data)) {
		unsigned int before = nr_writable;

		nr = console_write(console, data + sent, sizeof(data) - sent);
		sent += nr;
		settle(&vm);
		CHECK(sent == sizeof(data) || !consoles_are_drained(&vm));
		for (nr = 0; nr < 4096 && read(pipes[0], &byte, 1) == 1; nr++)
			CHECK((unsigned char)byte == data[got++]);
		settle(&vm);
		CHECK(sent == sizeof(data) || nr_writable > before);
	}
	for (; !consoles_are_drained(&vm) || got < sizeof(data); settle(&vm))
		for (; read(pipes[0], &byte, 1) == 1; got++)
			CHECK((unsigned char)byte == data[got]);
	EQ(sizeof(data), got);
	end();
	close(pipes[0]);
	close(pipes[1]);
}

/* Who reads too slowly loses the oldest. */
static void test_client(void)
{
	static char data[RING + 1000];
	struct console *console = open_with(STDOUT_FILENO, "socket");
	char byte = '\0';
	__u64 position = 0;

	memset(data, '.', sizeof(data));
	data[1000] = '!';
	EQ(sizeof(data), console_write(console, data, sizeof(data)));
	EQ(1, console_read(console, &position, &byte, 1));
	EQ(1000, position);
	EQ('!', byte);
	EQ(sizeof(data), console_end(console));
	end();
}

/* ---- the terminal ---------------------------------------------------------------------------- */

/* The one who has said it last is right, whoever that is, and a device that begins later asks. */
static void test_size(void)
{
	struct console *console = open_with(STDOUT_FILENO, "socket");
	struct tty_size size;

	console_size(console, &size);
	EQ(0, size.columns + size.rows + nr_resized);
	console_resize(console, &(const struct tty_size) { 80, 25 });
	console_resize(console, &(const struct tty_size) { 132, 43 });
	settle(&vm);
	EQ(1, nr_resized);
	CHECK(told.columns == 132 && told.rows == 43);
	console_close(console);
	console_resize(console, &(const struct tty_size) { 100, 50 });
	settle(&vm);
	EQ(1, nr_resized);
	CHECK(console_open(&vm, &ops, &vm, "second", "socket") != console);
	CHECK(console_open(&vm, &ops, &vm, "first", "socket") == console);
	console_size(console, &size);
	CHECK(size.columns == 100 && size.rows == 50);
	end();
}

/* ---- standard error ------------------------------------------------------------------------- */

#define SPEAKERS 4
#define SAID_MOST 5000
#define LINE 60

/* How many of its lines there was room for. */
static void *speak(void *data)
{
	static char line[SPEAKERS][LINE + 1];
	unsigned long *nr = data, speaker = *nr;

	memset(line[speaker], 'a' + speaker, LINE - 1);
	line[speaker][LINE - 1] = '\n';
	*nr = 0;
	for (unsigned int i = 0; i < SAID_MOST; i++)
		*nr += console_put(find(&vm, "messages"), line[speaker], LINE);
	return NULL;
}

static unsigned long count_lines(int fd)
{
	char line[LINE];
	unsigned long nr = 0;

	for (; settle(&vm), read(fd, line, LINE) == LINE; nr++) {
		CHECK(line[0] >= 'a' && line[0] < 'a' + SPEAKERS && line[LINE - 1] == '\n');
		for (unsigned int i = 1; i < LINE - 1; i++)
			CHECK(line[i] == line[0]);
	}
	return nr;
}

/* Whoever speaks while nobody reads goes on, and what there was room for comes whole. */
static void test_messages(void)
{
	unsigned long nr[SPEAKERS] = { 0, 1, 2, 3 }, all = 0;
	int pipes[2], error = dup(STDERR_FILENO);
	pthread_t threads[SPEAKERS];

	CHECK(!pipe2(pipes, O_NONBLOCK));
	dup2(pipes[1], STDERR_FILENO);
	CHECK(!loop_create(&vm.supervisor, &vm, NULL) && !loop_create(&vm.io, &vm, &vm.lock));
	CHECK(!messages_begin(&vm));
	dup2(error, STDERR_FILENO);
	for (unsigned int i = 0; i < SPEAKERS; i++)
		CHECK(!pthread_create(&threads[i], NULL, speak, &nr[i]));
	for (unsigned int i = 0; i < SPEAKERS; i++) {
		pthread_join(threads[i], NULL);
		all += nr[i];
	}
	EQ(RING / LINE, all);
	CHECK(!consoles_are_drained(&vm));
	say_text("eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee\n");
	EQ(all, count_lines(pipes[0]));
	CHECK(consoles_are_drained(&vm));
	CHECK(!console_find(&vm, "messages") && !console_find(&vm, NULL));
	/* What there is room for again is said, whoever says it. */
	say_text("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n");
	EQ(1, count_lines(pipes[0]));
	end();
	say_by(NULL);
	for (unsigned int i = 0; i < 2; i++)
		close(pipes[i]);
	close(error);
}

static void test_terminal(void)
{
	struct winsize window = { .ws_col = 90, .ws_row = 30 };
	int terminal, other, before = dup(STDIN_FILENO);
	struct console *console;
	struct tty_size size;

	CHECK(!openpty(&terminal, &other, NULL, NULL, &window));
	dup2(other, STDIN_FILENO);
	console = open_with(other, "stdio");
	console_size(console, &size);
	CHECK(size.columns == 90 && size.rows == 30);
	window.ws_col = 91;
	CHECK(!ioctl(terminal, TIOCSWINSZ, &window));
	consoles_resize_terminal(&vm);
	settle(&vm);
	CHECK(nr_resized == 1 && told.columns == 91 && told.rows == 30);
	/* Nobody's session: it is not made raw, so a line is to be ended. */
	EQ(8, write(terminal, "a\001\001b\001x\001\n", 8));
	poll(&(struct pollfd) { .fd = STDIN_FILENO, .events = POLLIN }, 1, -1);
	settle(&vm);
	EQ(3, nr_input);
	CHECK(!memcmp(input, "a\001b", 3));
	EQ(1, nr_quits);
	end();
	dup2(before, STDIN_FILENO);
	close(before);
	close(terminal);
	close(other);
}

int main(void)
{
	static const struct unit_test tests[] = {
		{ "what cannot be written is lost, and what comes later is not", test_full },
		{ "a reader that is slow gets all of it", test_slow },
		{ "a client that is slow loses the oldest", test_client },
		{ "the screen's size", test_size },
		{ "what is said on standard error comes whole, and nobody waits", test_messages },
		{ "a terminal", test_terminal },
	};

	signal(SIGXFSZ, SIG_IGN);
	/* Nobody types. */
	dup2(open("/dev/null", O_RDONLY), STDIN_FILENO);
	return run_all(tests, sizeof(tests) / sizeof(tests[0]));
}
