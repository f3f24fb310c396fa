// SPDX-License-Identifier: GPL-2.0
/*
 * mote run --detach: a machine in the background.  Who has started it waits until it runs, and hears
 * its name, or cannot: then for its exit status, and its messages are there as ever.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runner.h"
#include "vm.h"

/* Where the one who waits hears that it runs; -1: nobody does. */
static int started = -1;
static bool stays;

/* Messages go on into a file: a terminal or a pipe is somebody's who has gone, but one who steps. */
static void leave_standard_error(int null)
{
	struct stat stat;

	if (!stays && !fstat(STDERR_FILENO, &stat) && !S_ISREG(stat.st_mode))
		dup2(null, STDERR_FILENO);
}

void detach_started(const char *name)
{
	ssize_t size = strlen(name) + 1;
	int null;

	if (started < 0)
		return;
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null >= 0)
		leave_standard_error(null);
	if (null >= 0)
		close(null);
	if (write(started, name, size) != size)
		complain("nobody waits for the VM to run: %m");
	close(started);
	started = -1;
}

static int wait_for(pid_t child, int fd, char name[NAME_MOST + 1])
{
	int status;

	if (read(fd, name, NAME_MOST + 1) > 0)
		return EXIT_OK;
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int detach_run(const struct options *options, char name[NAME_MOST + 1])
{
	int ends[2], null = open("/dev/null", O_RDWR | O_CLOEXEC), status;
	pid_t child;

	if (null < 0 || pipe2(ends, O_CLOEXEC)) {
		complain("--detach: %m");
		return EXIT_USAGE;
	}
	child = fork();
	if (child < 0) {
		complain("--detach: %m");
		return EXIT_USAGE;
	}
	if (child) {
		close(ends[1]);
		status = wait_for(child, ends[0], name);
		close(ends[0]);
		close(null);
		return status;
	}
	close(ends[0]);
	started = ends[1];
	stays = options->steps;
	if (stays)
		prctl(PR_SET_PDEATHSIG, SIGTERM);
	setsid();
	dup2(null, STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
	close(null);
	exit(vm_run(options));
}
