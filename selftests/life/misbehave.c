// SPDX-License-Identifier: GPL-2.0
/*
 * Preloaded into the runner: a thread that it does not expect calls socket(), as one that a guest
 * has taken over might, when it next writes to an eventfd.  MISBEHAVES says which, by the beginning of
 * its name; the supervisor has none.
 */
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static __thread char name[16] = "supervisor";

/* The sandbox lets nobody ask for names. */
int prctl(int option, ...)
{
	unsigned long arguments[4];
	va_list args;

	va_start(args, option);
	for (int i = 0; i < 4; i++)
		arguments[i] = va_arg(args, unsigned long);
	va_end(args);
	if (option == PR_SET_NAME)
		strncpy(name, (const char *)arguments[0], sizeof(name) - 1);
	return syscall(SYS_prctl, option, arguments[0], arguments[1], arguments[2], arguments[3]);
}

int eventfd_write(int fd, uint64_t value)
{
	const char *who = getenv("MISBEHAVES");

	if (who && !strncmp(name, who, strlen(who)))
		socket(AF_UNIX, SOCK_STREAM, 0);
	return write(fd, &value, sizeof(value)) == sizeof(value) ? 0 : -1;
}
