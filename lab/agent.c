// SPDX-License-Identifier: GPL-2.0
/*
 * agent - the first process of an emulated dev host
 *
 * It prepares the file systems, runs the one command that the host was booted
 * for, sends everything that lab/host wants to know, and ends the machine.
 *
 * It talks through I/O port 0xe9, which both emulators copy byte by byte to a
 * pipe: no driver, no baud rate, no buffer, and it works until the very end.
 * The stream is a sequence of frames: two sync bytes, the channel, the length
 * (16 bits, little-endian), the payload. Bytes between frames are somebody
 * else's and are skipped by the reader.
 *
 * What to do comes in /lab/job, a list of NUL-terminated "key=value" strings:
 * arg (one a word of the command), env, module (to load first), get (a file to
 * send afterwards), tty (ROWSxCOLS: give the command a terminal whose keyboard
 * is ttyS1), beat (after so many seconds without anything else, send a beat).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#define PORT_OUT	0xe9	/* QEMU: isa-debugcon; Bochs: port_e9_hack */
#define PORT_END	0x8900	/* QEMU: isa-debug-exit; Bochs: the device "unmapped" */

#define SYNC0		0xe9
#define SYNC1		0x6d

enum channel {
	CH_HELLO	= 'H',	/* the host is up: its kernel release */
	CH_STDOUT	= 'O',
	CH_STDERR	= 'E',
	CH_KMSG		= 'K',	/* one record of /dev/kmsg, as read */
	CH_FILE		= 'F',	/* a file begins: "f PATH", "d PATH" (a tar archive) or "! PATH: reason" */
	CH_DATA		= 'D',	/* its bytes; an empty frame ends it */
	CH_EXIT		= 'X',	/* the command's exit status, one byte; the last frame */
	CH_BEAT		= 'T',	/* the host's timer goes on; empty */
};

#define MAX_ARGS	1024
#define MAX_GETS	64

static struct {
	char *argv[MAX_ARGS + 1];
	int argc;
	char *gets[MAX_GETS];
	int nr_gets;
	const char *tty;
	int beat;		/* ms, or -1 */
} job = { .beat = -1 };

static char buffer[UINT16_MAX];

/* The C library's outsb() does not tell the compiler that memory is read. */
static void port_write(const void *data, size_t len)
{
	asm volatile("rep outsb" : "+S"(data), "+c"(len) : "d"(PORT_OUT) : "memory");
}

static void frame(enum channel channel, const void *data, size_t len)
{
	const unsigned char header[] = { SYNC0, SYNC1, channel, len & 0xff, len >> 8 };

	port_write(header, sizeof(header));
	port_write(data, len);
}

static void __attribute__((format(printf, 2, 3))) framef(enum channel channel, const char *format, ...)
{
	char text[PATH_MAX + 256];
	va_list args;
	int len;

	va_start(args, format);
	len = vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	frame(channel, text, len < (int)sizeof(text) ? len : (int)sizeof(text) - 1);
}

/* Bochs ends when it has seen the word; QEMU ends at its first byte. */
static void __attribute__((noreturn)) end_machine(void)
{
	for (const char *c = "Shutdown"; *c; c++)
		outb(*c, PORT_END);
	for (;;)
		pause();
}

/* --- preparing the host --------------------------------------------------- */

static void mount_all(void)
{
	static const struct {
		const char *type, *where, *options;
	} mounts[] = {
		{ "proc", "/proc", NULL },
		{ "sysfs", "/sys", NULL },
		{ "devtmpfs", "/dev", "mode=755" },
		{ "devpts", "/dev/pts", "gid=5,mode=620,ptmxmode=666" },
		{ "tmpfs", "/dev/shm", "mode=1777" },
		{ "hugetlbfs", "/dev/hugepages", NULL },
		{ "tmpfs", "/tmp", "mode=1777" },
		{ "tmpfs", "/run", "mode=755" },
		{ "debugfs", "/sys/kernel/debug", NULL },
		{ "tracefs", "/sys/kernel/tracing", NULL },
		{ "securityfs", "/sys/kernel/security", NULL },
		{ "cgroup2", "/sys/fs/cgroup", NULL },
		{ "bpf", "/sys/fs/bpf", NULL },
	};

	for (size_t i = 0; i < sizeof(mounts) / sizeof(mounts[0]); i++) {
		/* What --put has put there is to be seen, and is in memory, too. */
		if (rmdir(mounts[i].where) && errno == ENOTEMPTY && !strcmp(mounts[i].type, "tmpfs"))
			continue;
		mkdir(mounts[i].where, 0755);
		/* A kernel without one of them is a host without it. */
		mount(mounts[i].type, mounts[i].where, mounts[i].type, 0, mounts[i].options);
	}
	symlink("/proc/self/fd", "/dev/fd");
	symlink("/proc/self/fd/0", "/dev/stdin");
	symlink("/proc/self/fd/1", "/dev/stdout");
	symlink("/proc/self/fd/2", "/dev/stderr");
}

static void loopback_up(void)
{
	struct ifreq ifr = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return;
	ioctl(fd, SIOCSIFFLAGS, &ifr);
	close(fd);
}

static void load_module(const char *name)
{
	int status = -1;
	pid_t pid = fork();

	if (!pid) {
		execl("/bin/modprobe", "modprobe", name, NULL);
		_exit(127);
	}
	if (waitpid(pid, &status, 0) != pid || status)
		framef(CH_STDERR, "lab/host: module %s could not be loaded\n", name);
}

static void read_job(void)
{
	static char text[256 * 1024];
	int fd = open("/lab/job", O_RDONLY | O_CLOEXEC);
	ssize_t len = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	for (char *s = text; s < text + len; s += strlen(s) + 1) {
		if (!strncmp(s, "arg=", 4) && job.argc < MAX_ARGS)
			job.argv[job.argc++] = s + 4;
		else if (!strncmp(s, "get=", 4) && job.nr_gets < MAX_GETS)
			job.gets[job.nr_gets++] = s + 4;
		else if (!strncmp(s, "env=", 4))
			putenv(s + 4);
		else if (!strncmp(s, "module=", 7))
			load_module(s + 7);
		else if (!strncmp(s, "tty=", 4))
			job.tty = s + 4;
		else if (!strncmp(s, "beat=", 5))
			job.beat = atoi(s + 5) * 1000;
	}
	close(fd);
}

/* --- running the command -------------------------------------------------- */

struct child {
	pid_t pid;
	int out, err;		/* where to read what it prints; a terminal has no err */
	int keyboard;		/* where its input arrives, or -1 */
};

static void __attribute__((noreturn)) exec_command(void)
{
	sigset_t none;
	int err;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	ioperm(PORT_OUT, 1, 0);
	ioperm(PORT_END, 1, 0);
	chdir("/root");
	execvp(job.argv[0], job.argv);
	err = errno;
	fprintf(stderr, "lab/host: %s: %s\n", job.argv[0], strerror(err));
	_exit(err == ENOENT ? 127 : 126);
}

static void start_with_pipes(struct child *child)
{
	int out[2], err[2];

	pipe2(out, O_CLOEXEC);
	pipe2(err, O_CLOEXEC);
	child->pid = fork();
	if (!child->pid) {
		setsid();
		dup2(open("/dev/null", O_RDONLY), STDIN_FILENO);
		dup2(out[1], STDOUT_FILENO);
		dup2(err[1], STDERR_FILENO);
		exec_command();
	}
	close(out[1]);
	close(err[1]);
	child->out = out[0];
	child->err = err[0];
	child->keyboard = -1;
}

static int open_keyboard(void)
{
	int fd = open("/dev/ttyS1", O_RDONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	struct termios raw;

	if (fd >= 0 && !tcgetattr(fd, &raw)) {
		cfmakeraw(&raw);
		cfsetspeed(&raw, B115200);
		raw.c_cflag |= CLOCAL;
		tcsetattr(fd, TCSANOW, &raw);
	}
	return fd;
}

static void start_with_terminal(struct child *child)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	struct winsize size = { .ws_row = 24, .ws_col = 80 };
	int slave;

	sscanf(job.tty, "%hux%hu", &size.ws_row, &size.ws_col);
	grantpt(master);
	unlockpt(master);
	slave = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
	ioctl(slave, TIOCSWINSZ, &size);
	child->pid = fork();
	if (!child->pid) {
		setsid();
		ioctl(slave, TIOCSCTTY, 0);
		dup2(slave, STDIN_FILENO);
		dup2(slave, STDOUT_FILENO);
		dup2(slave, STDERR_FILENO);
		exec_command();
	}
	close(slave);
	child->out = master;
	child->err = -1;
	child->keyboard = open_keyboard();
}

/* Send what there is; false when there will be no more. */
static int forward(int fd, enum channel channel)
{
	ssize_t len = read(fd, buffer, sizeof(buffer));

	if (len > 0)
		frame(channel, buffer, len);
	return len > 0 || (len < 0 && (errno == EAGAIN || errno == EINTR));
}

static void forward_rest(int fd, enum channel channel)
{
	ssize_t len;

	if (fd < 0)
		return;
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	while ((len = read(fd, buffer, sizeof(buffer))) > 0)
		frame(channel, buffer, len);
}

/* Each read gives one record; EPIPE says that some were overwritten before they could be read. */
static void forward_kmsg(int fd)
{
	for (;;) {
		ssize_t len = read(fd, buffer, 8192);

		if (len > 0)
			frame(CH_KMSG, buffer, len);
		else if (len < 0 && errno == EPIPE)
			framef(CH_KMSG, "4,0,0,-;lab: kernel messages were lost\n");
		else if (len == 0 || errno != EINTR)
			break;
	}
}

static void forward_keys(const struct child *child)
{
	ssize_t len = read(child->keyboard, buffer, 4096);

	for (ssize_t done = 0; done < len; ) {
		ssize_t n = write(child->out, buffer + done, len - done);

		if (n <= 0)
			break;
		done += n;
	}
}

/* Reap whatever ended; the command's exit status once it is the command, else -1. */
static int reap(pid_t command)
{
	int result = -1, status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid == command)
			result = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	}
	return result;
}

static int run_command(int signals, int kmsg)
{
	struct child child;
	int status = -1;

	if (job.tty)
		start_with_terminal(&child);
	else
		start_with_pipes(&child);

	while (status < 0) {
		struct pollfd fds[] = {
			{ .fd = signals, .events = POLLIN }, { .fd = kmsg, .events = POLLIN },
			{ .fd = child.out, .events = POLLIN }, { .fd = child.err, .events = POLLIN },
			{ .fd = child.keyboard, .events = POLLIN },
		};
		struct signalfd_siginfo info;
		int nr = poll(fds, 5, job.beat);

		if (nr == 0)
			frame(CH_BEAT, NULL, 0);
		if (nr <= 0)
			continue;
		if (fds[1].revents)
			forward_kmsg(kmsg);
		if (fds[2].revents && !forward(child.out, CH_STDOUT))
			child.out = -1;
		if (fds[3].revents && !forward(child.err, CH_STDERR))
			child.err = -1;
		if (fds[4].revents & POLLIN)
			forward_keys(&child);
		if (fds[0].revents && read(signals, &info, sizeof(info)) > 0)
			status = reap(child.pid);
	}
	forward_rest(child.out, CH_STDOUT);
	forward_rest(child.err, CH_STDERR);
	return status;
}

/* --- afterwards ----------------------------------------------------------- */

static void send_stream(int fd)
{
	ssize_t len;

	while ((len = read(fd, buffer, sizeof(buffer))) > 0)
		frame(CH_DATA, buffer, len);
	frame(CH_DATA, NULL, 0);
}

static void send_directory(const char *path)
{
	int out[2];
	pid_t pid;

	pipe2(out, O_CLOEXEC);
	pid = fork();
	if (!pid) {
		dup2(out[1], STDOUT_FILENO);
		execl("/bin/busybox", "tar", "-C", path, "-cf", "-", ".", NULL);
		_exit(127);
	}
	close(out[1]);
	send_stream(out[0]);
	close(out[0]);
	waitpid(pid, NULL, 0);
}

static void send_file(const char *path)
{
	struct stat st;
	int fd;

	chdir("/root");
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st)) {
		framef(CH_FILE, "! %s: %s", path, strerror(errno));
		return;
	}
	framef(CH_FILE, "%c %s", S_ISDIR(st.st_mode) ? 'd' : 'f', path);
	if (S_ISDIR(st.st_mode))
		send_directory(path);
	else
		send_stream(fd);
	close(fd);
}

/* What the command left running ends now, so that the kernel's complaints about it are still heard. */
static void end_processes(void)
{
	if (kill(-1, SIGKILL))
		return;
	for (int i = 0; i < 200 && waitpid(-1, NULL, WNOHANG) >= 0; i++)
		usleep(10000);
}

int main(void)
{
	struct utsname uts;
	sigset_t mask;
	int signals, kmsg, status;

	mount_all();
	if (ioperm(PORT_OUT, 1, 1) || ioperm(PORT_END, 1, 1)) {
		fprintf(stderr, "lab/agent: this kernel allows no port I/O: %s\n", strerror(errno));
		return 1;
	}
	sethostname("mote-lab", 8);
	loopback_up();
	read_job();
	uname(&uts);
	frame(CH_HELLO, uts.release, strlen(uts.release));

	sigemptyset(&mask);
	sigaddset(&mask, SIGCHLD);
	sigprocmask(SIG_BLOCK, &mask, NULL);
	signals = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
	kmsg = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	forward_kmsg(kmsg);

	status = run_command(signals, kmsg);
	for (int i = 0; i < job.nr_gets; i++)
		send_file(job.gets[i]);
	end_processes();
	forward_kmsg(kmsg);
	frame(CH_EXIT, &(unsigned char){ status }, 1);
	end_machine();
}
