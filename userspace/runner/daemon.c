// SPDX-License-Identifier: GPL-2.0
/*
 * Programs of others that serve a device: see daemon.h.  Each has a socket that
 * nobody else can reach, and ends with this process, however that ends.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "daemon.h"
#include "runner.h"
#include "vm.h"

const char *const daemon_for_shares[] = {
	"virtiofsd", "/usr/libexec/virtiofsd", "/usr/lib/qemu/virtiofsd", NULL,
};

const char *const daemon_for_disks[] = { "qemu-storage-daemon", "/usr/bin/qemu-storage-daemon", NULL };

const char *const daemon_for_networks[] = { "passt", "/usr/bin/passt", NULL };

/* For how long one that is patient may go on, and how often is looked. */
#define END_MS 8000
#define LOOK_MS 10

/* The pipe's end is moved out of the way of what the program is to find. */
#define OUT_OF_THE_WAY 16

/*
 * Both ends of a connection that the program has yet to accept: it wants a socket
 * that listens.  Nobody else can reach it, and its name is gone at once.
 */
static int make_listening(int *listening)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = -1;
	char *slash;

	*listening = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	snprintf(address.sun_path, sizeof(address.sun_path) - 2, "%s/mote-XXXXXX",
		 runtime ? runtime : P_tmpdir);
	if (*listening < 0 || !mkdtemp(address.sun_path))
		return -1;
	slash = strchr(address.sun_path, '\0');
	strcpy(slash, "/s");
	if (!bind(*listening, (const struct sockaddr *)&address, sizeof(address)) && !listen(*listening, 1))
		fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof(address))) {
		close(fd);
		fd = -1;
	}
	unlink(address.sun_path);
	*slash = '\0';
	rmdir(address.sun_path);
	return fd;
}

/* Our end; the program's is *@other. */
static int make_sockets(const struct daemon *daemon, int *other)
{
	int ends[2];

	if (!daemon->is_connected)
		return make_listening(other);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends))
		return -1;
	*other = ends[1];
	return ends[0];
}

/* ---- what it says ---------------------------------------------------------------------- */

/**
 * struct voice - the standard error of a daemon
 * @source: where it is read
 * @option: in whose name
 * @has_spoken: it has said something
 * @nr: how many bytes of @line there are
 * @line: that has begun
 */
struct voice {
	struct source source;
	const char *option;
	bool has_spoken;
	size_t nr;
	char line[1000];
};

/* What it quotes of its arguments are not the owner's words: what is JSON of them is left out. */
static void repeat(const struct voice *voice, int length)
{
	const char *end = voice->line + length, *object = memmem(voice->line, length, " {", 2), *rest = NULL;

	for (const char *at = object; at && (at = memmem(at, end - at, "}: ", 3)); at++)
		rest = at + 1;
	if (!rest)
		object = rest = end;
	complain("%s: %.*s%.*s", voice->option, (int)(object - voice->line), voice->line,
		 (int)(end - rest), rest);
}

/* What is too long for a line comes in several. */
static void repeat_lines(struct voice *voice)
{
	char *end;

	while ((end = memchr(voice->line, '\n', voice->nr)) || voice->nr == sizeof(voice->line)) {
		size_t length = end ? (size_t)(end - voice->line) : voice->nr;

		voice->has_spoken |= length;
		if (length)
			repeat(voice, length);
		length += !!end;
		voice->nr -= length;
		memmove(voice->line, voice->line + length, voice->nr);
	}
}

/* False: there is no more now; at the end for good. */
static bool hear_some(struct voice *voice)
{
	ssize_t nr = read(voice->source.fd, voice->line + voice->nr, sizeof(voice->line) - voice->nr);

	if (nr > 0) {
		voice->nr += nr;
		repeat_lines(voice);
		return true;
	}
	if (!nr || (errno != EAGAIN && errno != EINTR))
		source_remove(&voice->source);
	return false;
}

static void hear(struct vm *vm, struct source *source, __u32 events)
{
	(void)vm;
	(void)events;
	hear_some(container_of(source, struct voice, source));
}

void daemon_leave(struct daemon *daemon)
{
	if (daemon->voice)
		source_remove(&daemon->voice->source);
}

void daemon_hear(struct vm *vm, struct daemon *daemon)
{
	if (daemon->voice)
		source_add(&vm->io, &daemon->voice->source, EPOLLIN);
}

/* The end that is to be the daemon's, or -1. */
static int give_voice(struct vm *vm, struct daemon *daemon, const char *option)
{
	struct voice *voice = calloc(1, sizeof(*voice));
	int ends[2];

	if (!voice || pipe2(ends, O_CLOEXEC)) {
		free(voice);
		return -1;
	}
	*voice = (struct voice) { .source = { .fd = ends[0], .ready = hear }, .option = option };
	fcntl(ends[0], F_SETFL, O_NONBLOCK);
	daemon->voice = voice;
	daemon_hear(vm, daemon);
	return ends[1];
}

/* It has ended: what it said last is said, too.  Was there anything? */
static bool take_voice(struct daemon *daemon)
{
	struct voice *voice = daemon->voice;
	bool has_spoken;

	if (!voice)
		return false;
	while (hear_some(voice))
		;
	daemon_leave(daemon);
	close(voice->source.fd);
	has_spoken = voice->has_spoken;
	free(voice);
	daemon->voice = NULL;
	return has_spoken;
}

/* ---- its life ---------------------------------------------------------------------------- */

/* In a group of its own, without our terminal, and with signals as programs expect them. */
static void become(const char *const *programs, char *const *arguments, int other, int voice, int report)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC), err;
	sigset_t none;

	prctl(PR_SET_PDEATHSIG, SIGTERM);
	setpgid(0, 0);
	signal(SIGPIPE, SIG_DFL);
	signal(SIGXFSZ, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	dup2(null, STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
	dup2(voice, STDERR_FILENO);
	if (other == DAEMON_SOCKET)
		fcntl(other, F_SETFD, 0);
	else
		dup2(other, DAEMON_SOCKET);
	do
		execvp(*programs, arguments);
	while (errno == ENOENT && *++programs);
	err = errno;
	if (write(report, &err, sizeof(err)) < 0)
		_exit(126);
	_exit(127);
}

/* One that has ended, or is about to. */
static void bury(struct daemon *daemon)
{
	waitpid(daemon->pid, NULL, 0);
	if (daemon->fd >= 0)
		close(daemon->fd);
	daemon->pid = 0;
}

/* 0, or the errno for which it could not be started. */
static int spawn(struct daemon *daemon, const char *const *programs, char *const *arguments, int other,
		 int voice)
{
	int ends[2], report, err = 0;
	pid_t parent = getpid();

	if (pipe2(ends, O_CLOEXEC))
		return errno;
	report = fcntl(ends[1], F_DUPFD_CLOEXEC, OUT_OF_THE_WAY);
	close(ends[1]);
	daemon->pid = report < 0 ? -1 : fork();
	if (!daemon->pid) {
		if (getppid() == parent)
			become(programs, arguments, other, voice, report);
		_exit(127);
	}
	/* The sandbox lets nobody send signals by number. */
	daemon->fd = daemon->pid < 0 ? -1 : pidfd_open(daemon->pid, 0);
	if (daemon->fd < 0)
		err = errno;
	if (report >= 0)
		close(report);
	if (!err && read(ends[0], &err, sizeof(err)) != sizeof(err))
		err = 0;
	close(ends[0]);
	if (err && daemon->pid > 0)
		bury(daemon);
	if (err)
		daemon->pid = 0;
	return err;
}

int daemon_start(struct vm *vm, struct daemon *daemon, const char *option, const char *const *programs,
		 const char *package, char *const *arguments)
{
	int other = -1, fd = make_sockets(daemon, &other), voice = give_voice(vm, daemon, option), err;

	if (fd < 0) {
		complain("%s: cannot make a socket: %m", option);
	} else {
		err = voice < 0 ? errno : spawn(daemon, programs, arguments, other, voice);
		if (err) {
			complain("%s: %s: %s (Debian's package %s)", option, arguments[0], strerror(err),
				 package);
			close(fd);
			fd = -1;
		}
	}
	if (other >= 0)
		close(other);
	if (voice >= 0)
		close(voice);
	if (fd < 0)
		take_voice(daemon);
	return fd;
}

static bool has_ended(const struct daemon *daemon)
{
	struct pollfd end = { .fd = daemon->fd, .events = POLLIN };

	return poll(&end, 1, 0) == 1;
}

static void end(struct daemon *daemon)
{
	const struct timespec moment = { .tv_nsec = LOOK_MS * 1000000 };

	pidfd_send_signal(daemon->fd, daemon->is_patient ? SIGTERM : SIGKILL, NULL, 0);
	for (int ms = 0; daemon->is_patient && ms < END_MS && !has_ended(daemon); ms += LOOK_MS)
		nanosleep(&moment, NULL);
	pidfd_send_signal(daemon->fd, SIGKILL, NULL, 0);
	bury(daemon);
}

bool daemon_end(struct daemon *daemon)
{
	if (daemon->pid > 0)
		end(daemon);
	return take_voice(daemon);
}
