// SPDX-License-Identifier: GPL-2.0
/* While the kernel is traced: the programs, the command that is watched, the tool's own cost. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "libmote.h"
#include "runner.h"
#include "tool.h"

/* So many runs of the programs are timed: enough for an average, and over soon. */
#define TIMED_RUNS 1000

static volatile sig_atomic_t stopped;

static void on_signal(int number)
{
	(void)number;
	stopped = 1;
}

uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ull + now.tv_nsec;
}

int session_problem(const struct trace_options *options, int err)
{
	if (err == -EPERM || err == -EACCES)
		complain("trace %s needs root, or CAP_BPF and CAP_PERFMON, in a kernel that is not "
			 "locked down", options->command);
	else if (err == -ENOENT || err == -ENODEV)
		complain("the module or its tracepoints are not there: run `modprobe mote` "
			 "(mote doctor says more)");
	else if (err == -ENOSYS || err == -EINVAL || err == -EOPNOTSUPP)
		complain("this kernel runs no BPF programs at tracepoints: it needs CONFIG_BPF_SYSCALL "
			 "and CONFIG_BPF_EVENTS");
	else
		complain("trace %s: the kernel does not take the BPF programs: %s", options->command,
			 strerror(-err));
	return EXIT_PROBLEM;
}

static int no_output(enum libbpf_print_level level, const char *format, va_list args)
{
	(void)level;
	(void)format;
	(void)args;
	return 0;
}

int session_init(struct session *session, const struct trace_options *options)
{
	struct mote_info info;
	int fd = mote_open(), err = fd < 0 ? fd : mote_get_info(fd, &info);

	if (fd >= 0)
		close(fd);
	if (err)
		return session_problem(options, err);
	/* What libbpf has to say is for programmers; ours comes in one line. */
	libbpf_set_print(no_output);
	*session = (struct session){ .tsc_khz = info.tsc_khz, .stats = -1, .gate = -1 };
	return EXIT_OK;
}

static void catch_signals(void)
{
	struct sigaction action = { .sa_handler = on_signal };

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	action.sa_handler = SIG_IGN;
	sigaction(SIGPIPE, &action, NULL);
}

static int spawn(struct session *session, char **words)
{
	int gate[2];
	char byte;

	if (pipe(gate))
		return -errno;
	session->child = fork();
	if (!session->child) {
		close(gate[1]);
		if (read(gate[0], &byte, 1) != 1)
			_exit(EXIT_PROBLEM);
		close(gate[0]);
		execvp(words[0], words);
		complain("cannot run %s: %m", words[0]);
		_exit(127);
	}
	close(gate[0]);
	session->gate = gate[1];
	return session->child < 0 ? -errno : 0;
}

int session_spawn(struct session *session, char **words)
{
	int err = words ? spawn(session, words) : 0;

	/* Behind it: a command would inherit what is ignored. */
	catch_signals();
	return err;
}

int session_open_gate(struct session *session)
{
	return session->gate >= 0 && write(session->gate, "", 1) != 1 ? -errno : 0;
}

int session_start(struct session *session, const struct trace_options *options,
		  struct bpf_object_skeleton *skeleton)
{
	int err = session_spawn(session, options->words);

	if (err)
		return session_problem(options, err);
	session->skeleton = skeleton;
	session->stats = bpf_enable_stats(BPF_STATS_RUN_TIME);
	err = bpf_object__attach_skeleton(skeleton);
	if (err)
		return session_problem(options, err);
	session->start = now_ns();
	err = session_open_gate(session);
	return err ? session_problem(options, err) : EXIT_OK;
}

void session_overhead(const struct session *session, struct overhead *overhead)
{
	struct bpf_program *program;

	*overhead = (struct overhead){ 0 };
	bpf_object__for_each_program(program, *session->skeleton->obj) {
		struct bpf_prog_info info = { 0 };
		__u32 size = sizeof(info);
		int fd = bpf_program__fd(program);

		if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &size))
			continue;
		overhead->runs += info.run_cnt;
		overhead->ns += info.run_time_ns;
	}
}

/* Timing costs time itself. */
static void stop_timing(struct session *session)
{
	struct overhead overhead;

	if (session->stats < 0)
		return;
	session_overhead(session, &overhead);
	if (overhead.runs < TIMED_RUNS)
		return;
	close(session->stats);
	session->stats = -1;
}

static void reap(struct session *session, int flags)
{
	int status;

	if (session->child <= 0 || waitpid(session->child, &status, flags) != session->child)
		return;
	session->child = 0;
	session->status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

bool session_goes_on(struct session *session, const struct trace_options *options)
{
	stop_timing(session);
	reap(session, WNOHANG);
	return !stopped && !(options->words && !session->child) &&
	       !(options->duration && now_ns() - session->start >= options->duration * 1e9);
}

void session_stop(struct session *session, struct bpf_object_skeleton *skeleton)
{
	if (skeleton)
		bpf_object__detach_skeleton(skeleton);
	session->end = now_ns();
	if (session->gate >= 0)
		close(session->gate);
	if (session->stats >= 0)
		close(session->stats);
	session->stats = -1;
	if (session->child > 0)
		kill(session->child, SIGTERM);
	reap(session, 0);
}
