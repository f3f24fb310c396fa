/* SPDX-License-Identifier: GPL-2.0 */
/* A console whose far end is the test: it has what the device said that it can do. */
#ifndef DEVICE_CONSOLE_H
#define DEVICE_CONSOLE_H

#include "../userspace/runner/console.h"
#include "../userspace/runner/tty.h"

static const struct console_ops *console_ops;
static void *console_device;

struct console *console_open(struct vm *which, const struct console_ops *ops, void *device, const char *name,
			     const char *kind)
{
	(void)which;
	(void)name;
	(void)kind;
	console_ops = ops;
	console_device = device;
	/* It is never looked into. */
	return device;
}

void console_close(struct console *console)
{
	(void)console;
}

static struct tty_size screen_size;

void console_size(struct console *console, struct tty_size *size)
{
	(void)console;
	*size = screen_size;
}

#endif /* DEVICE_CONSOLE_H */
