// SPDX-License-Identifier: GPL-2.0
/* What mote's selftests share: running commands, asking where they run. */
#include <grp.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest.h"
#include "libmote.h"
#include "selftest.h"

/* What was written to @file, from its start, as a string. */
static void slurp(FILE *file, char *text, size_t size)
{
	rewind(file);
	text[fread(text, 1, size - 1, file)] = '\0';
	fclose(file);
}

static int status_of(int wait_status)
{
	return WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : 128 + WTERMSIG(wait_status);
}

/* Start the shell as @user with stdout and stderr in @out and @err, and wait for it. */
static int run_shell(unsigned int user, FILE *out, FILE *err, const char *format, va_list args)
{
	int wait_status;
	char *line;
	pid_t pid;

	if (vasprintf(&line, format, args) < 0)
		ksft_exit_fail_msg("no memory for: %s\n", format);
	pid = fork();
	if (!pid) {
		dup2(fileno(out), STDOUT_FILENO);
		dup2(fileno(err), STDERR_FILENO);
		if (user && (setgroups(0, NULL) || setgid(user) || setuid(user)))
			_exit(126);
		execl("/bin/sh", "sh", "-c", line, (char *)NULL);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &wait_status, 0) != pid)
		ksft_exit_fail_msg("cannot run: %s\n", line);
	free(line);
	return status_of(wait_status);
}

static void run_into(struct command *command, unsigned int user, const char *format, va_list args)
{
	FILE *out = tmpfile(), *err = tmpfile();

	if (!out || !err)
		ksft_exit_fail_msg("no temporary files: %m\n");
	command->status = run_shell(user, out, err, format, args);
	slurp(out, command->out, sizeof(command->out));
	slurp(err, command->err, sizeof(command->err));
}

void command_run(struct command *command, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	run_into(command, 0, format, args);
	va_end(args);
}

void command_run_as(struct command *command, unsigned int user, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	run_into(command, user, format, args);
	va_end(args);
}

int sh(const char *format, ...)
{
	FILE *sink = fopen("/dev/null", "w");
	va_list args;
	int status;

	if (!sink)
		ksft_exit_fail_msg("no /dev/null: %m\n");
	va_start(args, format);
	status = run_shell(0, sink, sink, format, args);
	va_end(args);
	fclose(sink);
	return status;
}

int unload_mote(void)
{
	return sh("while grep -qv '^0$' /sys/module/mote/refcnt; do sleep 0.1; done; rmmod mote");
}

const char *kvm_module(void)
{
	switch (mote_cpuid_vendor()) {
	case MOTE_VENDOR_VMX:
		return "kvm_intel";
	case MOTE_VENDOR_SVM:
		return "kvm_amd";
	default:
		return NULL;
	}
}

bool is_long_run(void)
{
	return getenv("MOTE_LONG");
}

void require_mote(void)
{
	if (access(MOTE_DEVICE, F_OK)) {
		puts("TAP version 13\n"
		     "1..0 # SKIP there is no " MOTE_DEVICE ": run modprobe mote");
		exit(KSFT_SKIP);
	}
}

bool pin_to_cpu(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return !sched_setaffinity(0, sizeof(set), &set);
}
