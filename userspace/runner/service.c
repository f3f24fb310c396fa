// SPDX-License-Identifier: GPL-2.0
/*
 * A machine that is a service of systemd's: it says when it runs and when it ends, what it does,
 * and that the supervisor is alive.  sd_notify(3) has the protocol, which is meant to be spoken
 * without a library.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "device.h"
#include "runner.h"
#include "vm.h"

/* Of systemd's socket; -1: nobody asked for it. */
static int service = -1;
/* Who is silent for so long is taken for dead, in ns; 0: nobody is. */
static __u64 patience;

/* Nor is it anything to the daemons that are started. */
static void forget_environment(void)
{
	unsetenv("NOTIFY_SOCKET");
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
}

static void connect_to(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	size_t length = strlen(path);

	if (length >= sizeof(address.sun_path) || (path[0] != '/' && path[0] != '@')) {
		complain("$NOTIFY_SOCKET is no socket's name: %s", path);
		return;
	}
	memcpy(address.sun_path, path, length);
	if (path[0] == '@')
		address.sun_path[0] = '\0';
	/* The supervisor waits for nobody. */
	service = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (service >= 0 && connect(service, (struct sockaddr *)&address,
				    offsetof(struct sockaddr_un, sun_path) + length)) {
		complain("cannot speak to who has started this, by %s: %m", path);
		close(service);
		service = -1;
	}
}

void service_open(void)
{
	const char *path = getenv("NOTIFY_SOCKET"), *limit = getenv("WATCHDOG_USEC");
	const char *process = getenv("WATCHDOG_PID");

	if (path)
		connect_to(path);
	if (limit && (!process || atoi(process) == getpid()))
		patience = strtoull(limit, NULL, 10) * 1000;
	forget_environment();
}

/* Who does not listen misses it. */
void service_say(const char *format, ...)
{
	char text[300];
	va_list args;

	if (service < 0)
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (write(service, text, strlen(text)) < 0)
		return;
}

static void is_alive(struct vm *vm, struct timer *timer)
{
	(void)vm;
	(void)timer;
	service_say("WATCHDOG=1");
}

int service_watch(struct vm *vm, struct timer *timer)
{
	if (service < 0 || !patience)
		return 0;
	if (timer_create_fd(&vm->supervisor, timer, is_alive))
		return -1;
	timer_set(timer, clock_ns(), patience / 2);
	return 0;
}
