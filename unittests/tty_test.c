// SPDX-License-Identifier: GPL-2.0
/*
 * The terminal of a console: which keys are the guest's, whatever pieces they come in, and in
 * which state it is left.
 */
#include <pty.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../userspace/runner/tty.c"
#include "tests.h"

#define A "\001"
#define MOST 64

/* What came of what was typed. */
struct heard {
	size_t nr_keys;
	unsigned char keys[MOST];
	size_t nr_commands;
	char commands[MOST];
};

static void note(void *context, char key)
{
	struct heard *heard = context;

	heard->commands[heard->nr_commands++] = key;
}

/* Type @keys in pieces of @size. */
static void type(struct heard *heard, const char *keys, size_t nr, size_t size)
{
	bool is_escaped = false;

	*heard = (struct heard) { 0 };
	for (size_t at = 0; at < nr; at += size) {
		size_t piece = nr - at < size ? nr - at : size;

		memcpy(heard->keys + heard->nr_keys, keys + at, piece);
		heard->nr_keys += tty_unescape(&is_escaped, heard->keys + heard->nr_keys, piece, note, heard);
	}
}

static void test_keys(void)
{
	static const struct {
		const char *typed, *keys, *commands;
	} cases[] = {
		{ "", "", "" },
		{ "abc\003\x1a\r", "abc\003\x1a\r", "" },
		{ A "x", "", "x" },
		{ A "X", "", "x" },
		{ A "d", "", "d" },
		{ "ls" A "xrm", "lsrm", "x" },
		{ A A, A, "" },
		{ A A "x", A "x", "" },
		{ A A A "x", A, "x" },
		{ A A A A, A A, "" },
		{ A "x" A "x", "", "xx" },
		{ A "q" A "\n", "", "q\n" },
		{ A "\377a", "a", "\377" },
		{ "a" A, "a", "" },
	};
	struct heard heard;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		for (size_t size = 1; size < 9; size++) {
			type(&heard, cases[i].typed, strlen(cases[i].typed), size);
			EQ(strlen(cases[i].keys), heard.nr_keys);
			CHECK(!memcmp(cases[i].keys, heard.keys, heard.nr_keys));
			CHECK(!strcmp(cases[i].commands, heard.commands));
		}
}

/* All sequences of seven of these: Ctrl-A and the key behind it are one thing, the rest is the guest's. */
static void test_all_sequences(void)
{
	static const char alphabet[] = { '\001', 'x', 'D', '\0' };
	struct heard heard, wanted;
	char keys[7];

	for (unsigned int sequence = 0; sequence < 1u << 14; sequence++) {
		wanted = (struct heard) { 0 };
		for (unsigned int i = 0; i < 7; i++)
			keys[i] = alphabet[sequence >> 2 * i & 3];
		for (unsigned int i = 0; i < 7; i++) {
			if (keys[i] != 1)
				wanted.keys[wanted.nr_keys++] = keys[i];
			else if (++i < 7 && keys[i] == 1)
				wanted.keys[wanted.nr_keys++] = 1;
			else if (i < 7)
				wanted.commands[wanted.nr_commands++] = keys[i] == 'D' ? 'd' : keys[i];
		}
		type(&heard, keys, 7, 1 + sequence % 7);
		CHECK(heard.nr_keys == wanted.nr_keys && !memcmp(heard.keys, wanted.keys, wanted.nr_keys));
		CHECK(heard.nr_commands == wanted.nr_commands &&
		      !memcmp(heard.commands, wanted.commands, wanted.nr_commands));
	}
}

static bool is_raw(void)
{
	struct termios settings;

	return !tcgetattr(STDIN_FILENO, &settings) && !(settings.c_lflag & (ICANON | ECHO | ISIG));
}

static bool is_same(const struct termios *a, const struct termios *b)
{
	return a->c_iflag == b->c_iflag && a->c_oflag == b->c_oflag && a->c_cflag == b->c_cflag &&
	       a->c_lflag == b->c_lflag && !memcmp(a->c_cc, b->c_cc, NCCS);
}

static void test_left_as_it_was(void)
{
	struct termios before, after;
	struct tty tty = { 0 };

	CHECK(!tcgetattr(STDIN_FILENO, &before) && !is_raw());
	tty_leave(&tty);
	CHECK(!is_raw());
	CHECK(tty_take(&tty) && is_raw());
	/* Continued, though nobody else had it meanwhile. */
	CHECK(tty_take(&tty) && is_raw());
	tty_leave(&tty);
	CHECK(!tcgetattr(STDIN_FILENO, &after) && is_same(&before, &after));
	/* A shell has had it, with other settings. */
	CHECK(tty_take(&tty));
	after.c_iflag ^= IXANY;
	CHECK(!tcsetattr(STDIN_FILENO, TCSANOW, &after));
	CHECK(tty_take(&tty) && is_raw());
	tty_leave(&tty);
	CHECK(!tcgetattr(STDIN_FILENO, &before) && is_same(&before, &after) && !is_raw());
}

static void test_in_the_background(void)
{
	struct tty tty = { 0 };
	int status = 0;
	pid_t pid = fork();

	if (!pid) {
		setpgid(0, 0);
		_exit(tty_take(&tty) || is_raw());
	}
	CHECK(waitpid(pid, &status, 0) == pid && !status);
}

static void test_size(void)
{
	struct winsize window = { .ws_col = 132, .ws_row = 43 };
	struct tty_size size;
	int terminal = dup(STDIN_FILENO), pipes[2];

	CHECK(!ioctl(STDIN_FILENO, TIOCSWINSZ, &window));
	CHECK(tty_get_size(&size) && size.columns == 132 && size.rows == 43);
	CHECK(!pipe(pipes) && dup2(pipes[0], STDIN_FILENO) == STDIN_FILENO);
	CHECK(!tty_get_size(&size));
	CHECK(!tty_take(&(struct tty) { 0 }));
	dup2(terminal, STDIN_FILENO);
	close(terminal);
	close(pipes[0]);
	close(pipes[1]);
}

static int run_tests(void)
{
	static const struct unit_test tests[] = {
		{ "keys and commands, in pieces of any size", test_keys },
		{ "all sequences of seven keys", test_all_sequences },
		{ "a terminal is left as it was", test_left_as_it_was },
		{ "one in the background is left alone", test_in_the_background },
		{ "its size", test_size },
	};

	return run_all(tests, sizeof(tests) / sizeof(tests[0]));
}

/* In a session of its own, with a terminal as standard input. */
int main(void)
{
	int terminal, other, status = 1;
	pid_t pid;

	if (openpty(&terminal, &other, NULL, NULL, NULL))
		return 1;
	pid = fork();
	if (!pid) {
		if (setsid() < 0 || ioctl(other, TIOCSCTTY, 0) || dup2(other, STDIN_FILENO))
			_exit(1);
		status = run_tests();
		fflush(stdout);
		_exit(status);
	}
	waitpid(pid, &status, 0);
	close(terminal);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
