// SPDX-License-Identifier: GPL-2.0
/* The terminal: see tty.h. */
#include <ctype.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "tty.h"

#define CTRL_A 1

bool tty_take(struct tty *tty)
{
	struct termios now, raw;

	/* Who is in the background leaves the terminal to others. */
	if (tcgetpgrp(STDIN_FILENO) != getpgrp() || tcgetattr(STDIN_FILENO, &now))
		return false;
	/* Nobody had it meanwhile if it is raw still. */
	if (!tty->is_raw || now.c_lflag & ICANON)
		tty->saved = now;
	raw = tty->saved;
	cfmakeraw(&raw);
	/* Our own messages, too, end in a plain newline. */
	raw.c_oflag |= OPOST;
	tty->is_raw = !tcsetattr(STDIN_FILENO, TCSANOW, &raw);
	return tty->is_raw;
}

void tty_leave(struct tty *tty)
{
	if (tty->is_raw)
		tcsetattr(STDIN_FILENO, TCSANOW, &tty->saved);
	tty->is_raw = false;
}

bool tty_get_size(struct tty_size *size)
{
	struct winsize window;

	if (ioctl(STDIN_FILENO, TIOCGWINSZ, &window))
		return false;
	*size = (struct tty_size) { .columns = window.ws_col, .rows = window.ws_row };
	return true;
}

size_t tty_unescape(bool *is_escaped, unsigned char *data, size_t nr,
		    void (*command)(void *context, char key), void *context)
{
	size_t left = 0;

	for (size_t i = 0; i < nr; i++) {
		bool is_ctrl_a = data[i] == CTRL_A, was_escaped = *is_escaped;

		*is_escaped = is_ctrl_a && !was_escaped;
		if (was_escaped && !is_ctrl_a)
			command(context, tolower(data[i]));
		else if (!*is_escaped)
			data[left++] = data[i];
	}
	return left;
}
