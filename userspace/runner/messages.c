// SPDX-License-Identifier: GPL-2.0
/*
 * What a machine's threads say on standard error (say_text()), while the machine runs: it goes into the
 * ring of a console without a device, message by message, and the supervisor brings it out.  Thus
 * nobody waits for a reader, whatever locks he holds; what nobody reads is lost in the end.
 */
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "console.h"
#include "runner.h"

/* There is one in a process. */
static struct console *messages;

static void say_later(const char *text)
{
	console_put(messages, text, strlen(text));
}

static void say_now(const char *text)
{
	struct pollfd error = { .fd = STDERR_FILENO, .events = POLLOUT };

	if (poll(&error, 1, 0) == 1 && write(STDERR_FILENO, text, strlen(text)) < 0)
		return;
}

int messages_begin(struct vm *vm)
{
	static const struct console_ops none;

	messages = console_open(vm, &none, NULL, "messages", "stderr");
	if (!messages)
		return -1;
	say_by(say_later);
	return 0;
}

void messages_hurry(void)
{
	if (messages)
		say_by(say_now);
}
