/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The terminal on standard input, while it is a machine's console: each key is the guest's, but
 * for Ctrl-A and the letter behind it, which are ours.
 */
#ifndef TTY_H
#define TTY_H

#include <stdbool.h>
#include <stddef.h>
#include <termios.h>

/**
 * struct tty - the terminal
 * @is_raw: it has been made raw
 * @saved: its settings before
 */
struct tty {
	bool is_raw;
	struct termios saved;
};

/* In characters; 0: who has one does not say. */
struct tty_size {
	unsigned short columns;
	unsigned short rows;
};

/* Make it raw, also again after somebody else had it; false: there is none, or it is others' now. */
bool tty_take(struct tty *tty);
/* As it was; also in a signal handler. */
void tty_leave(struct tty *tty);

/* False: there is no terminal. */
bool tty_get_size(struct tty_size *size);

/**
 * tty_unescape() - take the escapes out of what was typed
 * @is_escaped: was Ctrl-A the last key? false at first
 * @data: what was typed; out: what is the guest's of it
 * @nr: how many bytes
 * @command: called for each Ctrl-A and another key, with that in lower case; Ctrl-A Ctrl-A is a
 *	Ctrl-A of the guest's
 * @context: its first argument
 * Return: how many bytes are the guest's
 */
size_t tty_unescape(bool *is_escaped, unsigned char *data, size_t nr,
		    void (*command)(void *context, char key), void *context);

#endif /* TTY_H */
