// SPDX-License-Identifier: GPL-2.0
/* Programs of others that do something for us and end; those that stay are daemons (daemon.c). */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runner.h"

int program_run(char *const *arguments, int out, int err)
{
	posix_spawn_file_actions_t actions;
	int status, failed;
	pid_t pid;

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDWR, 0);
	posix_spawn_file_actions_adddup2(&actions, out < 0 ? STDIN_FILENO : out, STDOUT_FILENO);
	posix_spawn_file_actions_adddup2(&actions, err < 0 ? STDIN_FILENO : err, STDERR_FILENO);
	failed = posix_spawnp(&pid, arguments[0], &actions, NULL, arguments, environ);
	posix_spawn_file_actions_destroy(&actions);
	if (failed)
		return failed;
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return status ? -1 : 0;
}
