/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The far end of a serial line: the terminal or pipe that `mote run` was started on,
 * and the clients of the control socket that are attached to it.
 */
#ifndef CONSOLE_H
#define CONSOLE_H

#include <termios.h>

#include "device.h"

struct console;

/**
 * struct console_ops - what a device does for its console
 * @room: how many characters of input it takes now
 * @input: here they are, at most as many as there was room for
 * @writable: try again to write
 */
struct console_ops {
	size_t (*room)(struct console *console);
	void (*input)(struct console *console, const void *data, size_t nr);
	void (*writable)(struct console *console);
};

/**
 * struct console - a console
 * @vm: whose it is
 * @ops: of the device
 * @in: where input comes from; its fd is -1 if there is none (any more)
 * @out: where output goes to; its fd is -1 if it goes nowhere
 * @in_watched: the I/O thread waits for input
 * @in_is_file: input is always ready
 * @out_watched: the I/O thread waits until output can be written
 * @is_terminal: input is a terminal, and set to raw mode
 * @escape: Ctrl-A has been typed
 * @saved: the terminal's settings before
 */
struct console {
	struct vm *vm;
	const struct console_ops *ops;
	struct source in;
	struct source out;
	bool in_watched;
	bool in_is_file;
	bool out_watched;
	bool is_terminal;
	bool escape;
	struct termios saved;
};

/* @kind: "stdio", "socket" (clients alone) or "none".  0, or -1 after a complaint. */
int console_open(struct vm *vm, struct console *console, const struct console_ops *ops,
		 const char *kind);
void console_close(struct console *console);

/* Write what can be written without waiting; the rest is wanted by ops->writable. */
size_t console_write(struct console *console, const void *data, size_t nr);

/* The device has room again. */
void console_wants_more(struct console *console);

#endif /* CONSOLE_H */
