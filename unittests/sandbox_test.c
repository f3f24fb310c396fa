// SPDX-License-Identifier: GPL-2.0
/*
 * A runner that misbehaves: what a guest might try that has taken over one of its threads.  Each
 * attempt succeeds without the sandbox, and is refused in it.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/mote.h>
#include <linux/sockios.h>
#include <linux/vhost.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "../userspace/runner/disk.h"
#include "../userspace/runner/sandbox.h"
#include "tests.h"

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))
#define PAGE_SIZE 4096
#define STATUS_REFUSED 8
#define ANYBODY 4242

static const char *const names[NR_SANDBOX_THREADS] = { "vcpu", "io", "supervisor", "net", "disk" };

#define V (1u << SANDBOX_VCPU)
#define I (1u << SANDBOX_IO)
#define S (1u << SANDBOX_SUPERVISOR)
#define N (1u << SANDBOX_NET)
#define D (1u << SANDBOX_DISK)
#define ALL (V | I | S | N | D)

static char base[32] = "/tmp/sandbox_test.XXXXXX";
/* In there: what is the user's, and where control sockets are. */
static char secret[64], rundir[64], neighbour[64];
static char notes[4096];
/* Somebody else's process. */
static pid_t other;
static int pipe_ends[2];
/* Open before anybody is in the sandbox: a file, and the ends of a connection. */
static int open_file, connection[2];

void complain(const char *format, ...)
{
	size_t used = strlen(notes);
	va_list args;

	va_start(args, format);
	vsnprintf(notes + used, sizeof(notes) - used, format, args);
	va_end(args);
}

void vm_end(struct vm *vm, enum ending end, int detail)
{
	(void)vm;
	(void)end;
	(void)detail;
}

/* What the runner would say, and its status. */
static void refused(void)
{
	const struct refusal *refusal = sandbox_refusal();
	char words[128];
	int nr = snprintf(words, sizeof(words), "%s tried %s", refusal->thread, refusal->call);

	_exit(write(pipe_ends[1], words, nr) == nr ? STATUS_REFUSED : 1);
}

/* ---- attempts: 0 if they succeed --------------------------------------------------------- */

static int failed(long result)
{
	return result < 0 ? -errno : 0;
}

static int read_secret(void)
{
	return failed(open(secret, O_RDONLY));
}

static int write_secret(void)
{
	return failed(open(secret, O_WRONLY | O_APPEND));
}

static int make_file(void)
{
	char path[80];

	snprintf(path, sizeof(path), "%s/made", base);
	return failed(open(path, O_WRONLY | O_CREAT, 0600));
}

static int list_files(void)
{
	return failed(open(base, O_RDONLY | O_DIRECTORY));
}

static int remove_secret(void)
{
	char path[80];

	snprintf(path, sizeof(path), "%s/victim", base);
	close(open(path, O_WRONLY | O_CREAT, 0600));
	return failed(unlink(path));
}

static int rename_secret(void)
{
	char path[80];

	snprintf(path, sizeof(path), "%s/other", base);
	return failed(rename(secret, path)) ?: failed(rename(path, secret));
}

static int make_public(void)
{
	return failed(chmod(secret, 0644));
}

/* Written by name a second time, code that cannot be written would be. */
static int write_memory(void)
{
	return failed(open("/proc/self/mem", O_RDWR));
}

/* What is open, with other rights. */
static int open_again(void)
{
	return failed(open("/proc/self/fd/2", O_WRONLY));
}

static int execute(void)
{
	char *const arguments[] = { "true", NULL };

	return failed(execv("/bin/true", arguments));
}

static int execute_file(void)
{
	char *const arguments[] = { "true", NULL };

	return failed(syscall(SYS_execveat, open("/bin/true", O_PATH), "", arguments, environ,
			      AT_EMPTY_PATH));
}

static int make_process(void)
{
	pid_t pid = syscall(SYS_fork);

	if (!pid)
		syscall(SYS_exit_group, 0);
	return failed(pid);
}

static int make_process_anew(void)
{
	pid_t pid = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);

	if (!pid)
		syscall(SYS_exit_group, 0);
	return failed(pid);
}

static int make_namespace(void)
{
	return failed(syscall(SYS_unshare, CLONE_NEWUSER));
}

static int trace(void)
{
	int err = failed(ptrace(PTRACE_SEIZE, other, NULL, NULL));

	if (!err)
		ptrace(PTRACE_DETACH, other, NULL, NULL);
	return err;
}

static int read_other(void)
{
	char byte;
	const struct iovec to = { &byte, 1 }, from = { base, 1 };

	return failed(syscall(SYS_process_vm_readv, other, &to, 1, &from, 1, 0));
}

static int kill_other(void)
{
	return failed(kill(other, SIGCONT));
}

static int kill_thread(void)
{
	return failed(syscall(SYS_tgkill, other, other, SIGCONT));
}

/* By a signal of its descriptor's to somebody else. */
static int signal_by_descriptor(void)
{
	return failed(fcntl(pipe_ends[0], F_SETOWN, other));
}

static int open_process(void)
{
	return failed(syscall(SYS_pidfd_open, other, 0));
}

static int limit_other(void)
{
	const struct rlimit limit = { 1 << 20, 1 << 20 };

	return failed(prlimit(other, RLIMIT_CORE, &limit, NULL));
}

static int make_code(void)
{
	return failed(mmap(NULL, PAGE_SIZE, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
		      MAP_FAILED ? -1 : 0);
}

static int make_executable(void)
{
	static char page[PAGE_SIZE] __attribute__((aligned(PAGE_SIZE)));

	return failed(mprotect(page, sizeof(page), PROT_READ | PROT_WRITE | PROT_EXEC));
}

static int make_executable_by_key(void)
{
	static char page[PAGE_SIZE] __attribute__((aligned(PAGE_SIZE)));

	return failed(syscall(SYS_pkey_mprotect, page, sizeof(page), PROT_READ | PROT_EXEC, -1));
}

static int share_code(void)
{
	int id = shmget(IPC_PRIVATE, PAGE_SIZE, IPC_CREAT | 0700);
	void *at = shmat(id, NULL, SHM_EXEC);

	shmctl(id, IPC_RMID, NULL);
	return failed(at == (void *)-1 ? -1 : 0);
}

static int socket_unix(void)
{
	return failed(socket(AF_UNIX, SOCK_STREAM, 0));
}

static int socket_inet(void)
{
	return failed(socket(AF_INET, SOCK_STREAM, 0));
}

static int socket_netlink(void)
{
	return failed(socket(AF_NETLINK, SOCK_RAW, 0));
}

static int socket_packet(void)
{
	return failed(socket(AF_PACKET, SOCK_RAW, 0));
}

static int socket_raw(void)
{
	return failed(socket(AF_INET, SOCK_RAW, IPPROTO_ICMP));
}

static int socket_pair(void)
{
	int ends[2];

	return failed(socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
}

static int mount_something(void)
{
	return failed(syscall(SYS_fsopen, "tmpfs", 0));
}

static int use_bpf(void)
{
	/* An array of one number. */
	const struct { __u32 type, key, value, entries; } map = { 2, 4, 4, 1 };

	return failed(syscall(SYS_bpf, 0, &map, sizeof(map)));
}

static int use_keys(void)
{
	return failed(syscall(SYS_add_key, "user", "mote", "x", 1, -3 /* of the process */));
}

static int make_ring(void)
{
	struct io_uring_params params = { 0 };

	return failed(syscall(SYS_io_uring_setup, 4, &params));
}

static int watch_faults(void)
{
	return failed(syscall(SYS_userfaultfd, O_CLOEXEC | 1));
}

static int write_somewhere(void)
{
	return failed(pwrite(open_file, "mine", 4, 0));
}

static int take_files(void)
{
	char byte;
	struct iovec iov = { &byte, 1 };
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };

	return recvmsg(connection[0], &message, MSG_DONTWAIT) < 0 && errno != EAGAIN ? -errno : 0;
}

static int be_dumped(void)
{
	return failed(prctl(PR_SET_DUMPABLE, 1));
}

/* ioctl() with a number; a descriptor that does not know it says so. */
static int ask(unsigned long request)
{
	return ioctl(pipe_ends[0], request, 0) < 0 && errno != ENOTTY && errno != EFAULT ? -errno : 0;
}

static int type_for_user(void)
{
	return ask(TIOCSTI);
}

static int be_signalled(void)
{
	return ask(FIOASYNC);
}

static int create_vm(void)
{
	return ask(MOTE_CREATE_VM);
}

static int add_memory(void)
{
	return ask(MOTE_SET_SLOT);
}

static int watch_guest(void)
{
	return ask(MOTE_GET_DIRTY);
}

static int enter_guest(void)
{
	return ask(MOTE_RUN);
}

static int look_at_guest(void)
{
	return ask(MOTE_GET_FIELD);
}

static int debug_guest(void)
{
	return ask(MOTE_SET_DEBUG);
}

static int move_vhost(void)
{
	return ask(VHOST_SET_VRING_ADDR);
}

static int set_terminal(void)
{
	return ask(TCSETS);
}

/* ---- what each comes to -------------------------------------------------------------------- */

/**
 * struct attempt - something to try
 * @what: it is
 * @run: it
 * @threads: that may not
 * @call: the system call that is refused; NULL: the call is allowed, but fails with @error
 * @error: EACCES by Landlock, EPERM for want of a capability
 */
static const struct attempt {
	const char *what;
	int (*run)(void);
	unsigned int threads;
	const char *call;
	int error;
} attempts[] = {
	{ "reads a file of the user's", read_secret, V | D, "openat", 0 },
	{ "reads a file of the user's", read_secret, I | S | N, NULL, EACCES },
	{ "writes to one", write_secret, ALL, "openat", 0 },
	{ "makes one", make_file, ALL, "openat", 0 },
	{ "lists a directory", list_files, ALL, "openat", 0 },
	{ "removes a file", remove_secret, V | I | N | D, "openat", 0 },
	{ "renames one", rename_secret, ALL, "rename", 0 },
	{ "lets others read one", make_public, ALL, "chmod", 0 },
	{ "writes to its memory as to a file", write_memory, ALL, "openat", 0 },
	{ "opens again what is open", open_again, ALL, "openat", 0 },
	{ "executes a program", execute, ALL, "execve", 0 },
	{ "executes an open file", execute_file, ALL, "openat", 0 },
	{ "makes a process", make_process, ALL, "fork", 0 },
	{ "makes one by clone()", make_process_anew, ALL, "clone", 0 },
	{ "makes a namespace", make_namespace, ALL, "unshare", 0 },
	{ "traces another process", trace, ALL, "ptrace", 0 },
	{ "reads its memory", read_other, ALL, "process_vm_readv", 0 },
	{ "signals it", kill_other, ALL, "kill", 0 },
	{ "signals it by thread", kill_thread, ALL, "tgkill", 0 },
	{ "signals it by a descriptor", signal_by_descriptor, ALL, "fcntl", 0 },
	{ "signals it by FIOASYNC", be_signalled, ALL, "ioctl", 0 },
	{ "opens it", open_process, ALL, "pidfd_open", 0 },
	{ "sets its limits", limit_other, ALL, "prlimit64", 0 },
	{ "maps new code", make_code, ALL, "mmap", 0 },
	{ "makes memory executable", make_executable, ALL, "mprotect", 0 },
	{ "makes it so with a key", make_executable_by_key, ALL, "pkey_mprotect", 0 },
	{ "shares code", share_code, ALL, "shmget", 0 },
	{ "connects to a program here", socket_unix, ALL, "socket", 0 },
	{ "connects to a host", socket_inet, V | S | D, "socket", 0 },
	{ "speaks to the kernel's network", socket_netlink, ALL, "socket", 0 },
	{ "hears the host's frames", socket_packet, ALL, "socket", 0 },
	{ "makes IP packets", socket_raw, V | S | D, "socket", 0 },
	{ "makes IP packets", socket_raw, I | N, NULL, EPERM },
	{ "makes a pair of sockets", socket_pair, ALL, "socketpair", 0 },
	{ "mounts a file system", mount_something, ALL, "fsopen", 0 },
	{ "loads a program into the kernel", use_bpf, ALL, "bpf", 0 },
	{ "keeps a key", use_keys, ALL, "add_key", 0 },
	{ "makes a ring of its own", make_ring, ALL, "io_uring_setup", 0 },
	{ "watches page faults", watch_faults, ALL, "userfaultfd", 0 },
	{ "writes anywhere in a file", write_somewhere, V | S | N | D, "pwrite64", 0 },
	{ "takes files from others", take_files, V | D, "recvmsg", 0 },
	{ "is dumped again", be_dumped, ALL, "prctl", 0 },
	{ "types for the user", type_for_user, ALL, "ioctl", 0 },
	{ "makes a VM", create_vm, ALL, "ioctl", 0 },
	{ "gives the guest memory", add_memory, V | S | N | D, "ioctl", 0 },
	{ "sees what the guest writes", watch_guest, V | S | N | D, "ioctl", 0 },
	{ "enters the guest", enter_guest, I | S | N | D, "ioctl", 0 },
	{ "reads a VMCS", look_at_guest, I | S | N | D, "ioctl", 0 },
	{ "debugs the guest", debug_guest, S | N | D, "ioctl", 0 },
	{ "moves the kernel's queues", move_vhost, ALL, "ioctl", 0 },
	{ "sets the terminal", set_terminal, V | I | N | D, "ioctl", 0 },
};

/* ---- running them ------------------------------ */

/* In a child of its own: 0, or what went wrong, and what was said. */
static int in_child(const struct sandbox *sandbox, enum sandbox_thread kind, int (*run)(void), char *words)
{
	int status = 0, err;
	ssize_t nr;
	pid_t pid;

	if (pipe(pipe_ends))
		return -1;
	fflush(stdout);
	pid = fork();
	if (!pid) {
		sandbox_set_up(sandbox);
		sandbox_set_directory(rundir);
		if (sandbox_enter(kind))
			_exit(100);
		err = run();
		_exit(err ? -err : 0);
	}
	close(pipe_ends[1]);
	nr = read(pipe_ends[0], words, 127);
	words[nr > 0 ? nr : 0] = '\0';
	close(pipe_ends[0]);
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static const struct sandbox off = { .is_off = true, .told = -1, .refused = refused };
static const struct sandbox on = { .has_user_net = true, .told = -1, .refused = refused };

static bool is_refused(const struct attempt *attempt, enum sandbox_thread kind)
{
	char words[128], wanted[128];
	int status = in_child(&on, kind, attempt->run, words);

	snprintf(wanted, sizeof(wanted), "%s tried %s", names[kind], attempt->call);
	if (attempt->call ? status == STATUS_REFUSED && !strcmp(words, wanted) : status == attempt->error)
		return true;
	printf("# %s: %s: status %d, \"%s\"\n", names[kind], attempt->what, status, words);
	return false;
}

static bool try(const struct attempt *attempt)
{
	char words[128];
	bool good = true;
	/* Whatever it is, it must be the sandbox that stands in the way. */
	int status = in_child(&off, SANDBOX_VCPU, attempt->run, words);

	/* Some takes root, or a kernel that has it. */
	if (status && status != ENOSYS && !(status == EPERM && geteuid())) {
		printf("# %s: without the sandbox: status %d\n", attempt->what, status);
		good = false;
	}
	for (unsigned int kind = 0; kind < NR_SANDBOX_THREADS; kind++)
		if (attempt->threads & 1u << kind)
			good &= is_refused(attempt, kind);
	return good;
}

/* ---- what goes on as before ------------------------------ */

static int live(void)
{
	pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	char *block = malloc(1 << 20);
	struct timespec time;
	struct tm day;

	if (!block)
		return -ENOMEM;
	memset(block, 1, 1 << 20);
	free(block);
	pthread_mutex_lock(&lock);
	pthread_mutex_unlock(&lock);
	clock_gettime(CLOCK_REALTIME, &time);
	if (!gmtime_r(&time.tv_sec, &day))
		return -EINVAL;
	return failed(tgkill(getpid(), gettid(), SIGCONT)) ?: failed(write(pipe_ends[1], "", 1));
}

static bool threads_live(void)
{
	bool good = true;
	char words[128];

	for (unsigned int kind = 0; kind < NR_SANDBOX_THREADS; kind++) {
		int status = in_child(&on, kind, live, words);

		if (status)
			printf("# %s: status %d, %s\n", names[kind], status, words);
		good &= !status;
	}
	return good;
}

/* Of its own processor time and memory the supervisor says something (mote stat). */
static int look_at_self(void)
{
	char path[64];
	int err;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", getpid());
	err = failed(open(path, O_RDONLY));
	return err ?: failed(unlink(neighbour));
}

static bool supervisor_works(void)
{
	char words[128];

	close(open(neighbour, O_WRONLY | O_CREAT, 0600));
	return !in_child(&on, SANDBOX_SUPERVISOR, look_at_self, words);
}

/* But nothing outside of the sockets' directory. */
static int unlink_secret(void)
{
	return failed(unlink(secret));
}

static bool supervisor_removes_nothing_else(void)
{
	char words[128];

	return in_child(&on, SANDBOX_SUPERVISOR, unlink_secret, words) == EACCES;
}

/* A connection, and the file that says whom to ask for names. */
static int look_up(void)
{
	int err = failed(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));

	return err ?: failed(open("/etc/resolv.conf", O_RDONLY | O_CLOEXEC));
}

static bool network_works(void)
{
	char words[128];

	return !in_child(&on, SANDBOX_NET, look_up, words) && !in_child(&on, SANDBOX_IO, look_up, words);
}

static bool io_without_network(void)
{
	struct sandbox without = on;
	char words[128];

	without.has_user_net = false;
	return in_child(&without, SANDBOX_IO, socket_inet, words) == STATUS_REFUSED &&
	       !strcmp(words, "io tried socket");
}

static int vhost(void)
{
	return ask(VHOST_SET_VRING_ADDR);
}

static bool queues_of_the_kernel(void)
{
	struct sandbox with = on;
	char words[128];

	with.has_vhost = true;
	return !in_child(&with, SANDBOX_VCPU, vhost, words);
}

/* It has a connection, over which files go. */
static int speak(void)
{
	char data[16];
	struct iovec iov = { .iov_base = "frame", .iov_len = 5 };
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };
	int err = failed(sendmsg(connection[0], &message, MSG_DONTWAIT | MSG_NOSIGNAL)), unread = 0;

	err = err ?: failed(ioctl(connection[0], SIOCOUTQ, &unread)) ?: -!unread;
	err = err ?: failed(recv(connection[1], data, sizeof(data), MSG_DONTWAIT));
	iov.iov_base = data;
	err = err ?: failed(sendmsg(connection[1], &message, MSG_DONTWAIT | MSG_NOSIGNAL));
	return err ?: failed(recvmsg(connection[0], &message, MSG_DONTWAIT));
}

/* Whoever has daemons, of disks, shares or networks, asks them, and nobody else. */
static bool daemons(void)
{
	static const enum sandbox_thread kinds[] = { SANDBOX_VCPU, SANDBOX_IO, SANDBOX_SUPERVISOR };
	struct sandbox with = on;
	bool good = true;
	char words[128];

	with.has_user_net = false;
	with.has_daemons = true;
	for (size_t i = 0; i < LENGTH(kinds); i++)
		good &= !in_child(&with, kinds[i], speak, words) &&
			in_child(&with, kinds[i], socket_inet, words) == STATUS_REFUSED &&
			in_child(&with, kinds[i], socket_unix, words) == STATUS_REFUSED;
	return good && in_child(&on, SANDBOX_VCPU, speak, words) == STATUS_REFUSED;
}

static bool flash(void)
{
	struct sandbox with = on;
	char words[128];

	with.has_flash = true;
	return !in_child(&with, SANDBOX_VCPU, add_memory, words) &&
	       in_child(&with, SANDBOX_NET, add_memory, words) == STATUS_REFUSED;
}

/* What was given to it: a file, and a connection, which are asked for with a time limit. */
static int save(void)
{
	static const unsigned long questions[] = {
		MOTE_GET_STATE, MOTE_SET_DEBUG, MOTE_SET_WATCH, MOTE_GET_CLOCK, MOTE_GET_DIRTY, MOTE_SET_SLOT,
	};
	struct stat stat_of;
	char data[4];
	int err = write_somewhere() ?: failed(pread(open_file, data, sizeof(data), 0));

	for (size_t i = 0; i < LENGTH(questions) && !err; i++)
		err = ask(questions[i]);
	err = err ?: failed(fstat(open_file, &stat_of)) ?: failed(ftruncate(open_file, stat_of.st_size));
	err = err ?: failed(send(connection[0], "x", 1, MSG_DONTWAIT | MSG_NOSIGNAL));
	err = err ?: failed(recv(connection[1], data, 1, MSG_DONTWAIT));
	return err ?: failed(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC));
}

/* It does not choose where it goes. */
static int send_elsewhere(void)
{
	const struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = "/nowhere" };

	return failed(sendto(connection[0], "x", 1, MSG_DONTWAIT, (const struct sockaddr *)&address,
			     sizeof(address)));
}

/* The supervisor takes them, and knows when to lose patience. */
static int take(void)
{
	return take_files() ?: failed(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC));
}

static bool saves_and_migrates(void)
{
	struct sandbox without = on;
	char words[128];

	without.has_user_net = false;
	return !in_child(&on, SANDBOX_IO, save, words) && !in_child(&without, SANDBOX_IO, save, words) &&
	       !in_child(&without, SANDBOX_SUPERVISOR, take, words) &&
	       in_child(&without, SANDBOX_IO, take_files, words) == STATUS_REFUSED &&
	       in_child(&without, SANDBOX_SUPERVISOR, send_elsewhere, words) == STATUS_REFUSED &&
	       in_child(&without, SANDBOX_IO, send_elsewhere, words) == STATUS_REFUSED &&
	       !strcmp(words, "io tried sendto");
}

/* A machine that begins again: threads are made, which have a sandbox in the sandbox. */
static void *io(void *data)
{
	(void)data;
	return sandbox_enter(SANDBOX_IO) || look_up() ? "cannot enter" : NULL;
}

static int make_thread(void)
{
	pthread_t thread;
	void *result = "";
	int err = sandbox_make_thread(&thread, io, NULL);

	if (err)
		return -err;
	pthread_join(thread, &result);
	return result ? -EINVAL : ask(MOTE_CREATE_VM) ?: ask(BLKSSZGET);
}

static int clone_namespace(void)
{
	return failed(syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0));
}

static bool begins_again(void)
{
	struct sandbox again = on;
	char words[128];

	again.restarts = true;
	return !in_child(&again, SANDBOX_SUPERVISOR, make_thread, words) &&
	       in_child(&again, SANDBOX_SUPERVISOR, clone_namespace, words) == STATUS_REFUSED &&
	       in_child(&again, SANDBOX_SUPERVISOR, make_code, words) == STATUS_REFUSED &&
	       in_child(&again, SANDBOX_SUPERVISOR, read_secret, words) == EACCES &&
	       in_child(&again, SANDBOX_SUPERVISOR, execute, words) == STATUS_REFUSED;
}

/* Whatever a machine has, the kernel takes the filters of all its threads. */
static bool all_machines(void)
{
	char words[128];
	bool good = true;

	for (unsigned int has = 0; has < 32; has++) {
		const struct sandbox machine = {
			.restarts = has & 1, .has_user_net = has & 2, .has_vhost = has & 4,
			.has_daemons = has & 8, .has_flash = has & 16, .told = -1, .refused = refused,
		};

		for (unsigned int kind = 0; kind < NR_SANDBOX_THREADS; kind++)
			good &= !in_child(&machine, kind, live, words) &&
				in_child(&machine, kind, execute, words) == STATUS_REFUSED;
	}
	return good;
}

/* ---- who waits for all ------------------------------ */

#define LATE 4
static unsigned int nr_entered;

/* It takes its time, and is gone soon. */
static void *be_late(void *data)
{
	(void)data;
	usleep(10000);
	__atomic_fetch_add(&nr_entered, 1, __ATOMIC_RELAXED);
	return sandbox_enter(SANDBOX_IO) ? data : NULL;
}

/* A thread that cannot be made is not waited for. */
static int wait_for_all(void)
{
	const struct rlimit none = { 0, 0 };
	pthread_t threads[LATE], never;

	for (unsigned int i = 0; i < LATE; i++)
		if (sandbox_make_thread(&threads[i], be_late, NULL))
			return -EAGAIN;
	sandbox_wait();
	if (nr_entered != LATE)
		return -EBUSY;
	for (unsigned int i = 0; i < LATE; i++)
		pthread_join(threads[i], NULL);
	if (setrlimit(RLIMIT_NPROC, &none) || (!geteuid() && setresuid(ANYBODY, ANYBODY, ANYBODY)))
		return -EPERM;
	if (!sandbox_make_thread(&never, be_late, NULL))
		return -EEXIST;
	sandbox_wait();
	return 0;
}

/* Without filters, too, where the supervisor has none that keep it from all this. */
static bool waits(void)
{
	char words[128];
	int status = in_child(&off, SANDBOX_SUPERVISOR, wait_for_all, words);

	if (status)
		printf("# status %d\n", status);
	return !status;
}

/* ---- the process as a whole ------------------------------ */

/* Does /proc/PID/@file have @line? */
static bool has_line(pid_t pid, const char *file, const char *line)
{
	char path[64], text[256];
	bool found = false;
	FILE *lines;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, file);
	lines = fopen(path, "re");
	while (lines && !found && fgets(text, sizeof(text), lines))
		found = !strncmp(text, line, strlen(line));
	if (lines)
		fclose(lines);
	if (!found)
		printf("# no line \"%s\" in %s\n", line, path);
	return found;
}

/* It has no rights but its user's, gets none, and leaves no core; root alone may look into it. */
static bool process_is_bare(void)
{
	static const char *const lines[] = {
		"NoNewPrivs:\t1", "Seccomp:\t2", "CapEff:\t0000000000000000", "CapPrm:\t0000000000000000",
	};
	int ready[2], go[2];
	struct stat stat_of;
	bool good = true;
	char byte, path[64];
	pid_t pid;

	if (pipe(ready) || pipe(go))
		return false;
	fflush(stdout);
	pid = fork();
	if (!pid) {
		if (!geteuid() && setresuid(ANYBODY, ANYBODY, 0))
			_exit(1);
		sandbox_set_up(&on);
		if (prctl(PR_SET_DUMPABLE, 1) || sandbox_enter(SANDBOX_SUPERVISOR) ||
		    write(ready[1], "", 1) != 1)
			_exit(1);
		close(go[1]);
		_exit(read(go[0], &byte, 1) != 1);
	}
	close(ready[1]);
	if (read(ready[0], &byte, 1) != 1)
		return false;
	for (size_t i = 0; i < LENGTH(lines); i++)
		good &= has_line(pid, "status", lines[i]);
	good &= has_line(pid, "limits", "Max core file size        0                    0 ");
	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	good &= !stat(path, &stat_of) && !stat_of.st_uid;
	good &= write(go[1], "", 1) == 1;
	close(ready[0]);
	close(go[0]);
	close(go[1]);
	waitpid(pid, NULL, 0);
	return good;
}

/* ---- the disks' rings ------------------------------ */

static void nothing(struct transfers *transfers, struct transfer *transfer)
{
	(void)transfers;
	(void)transfer;
}

static int result_of(struct io_uring *ring)
{
	struct io_uring_cqe *cqe;
	int result;

	if (io_uring_submit(ring) != 1 || io_uring_wait_cqe(ring, &cqe))
		return 1;
	result = cqe->res;
	io_uring_cqe_seen(ring, cqe);
	return result;
}

/* Whoever has a ring's memory reads and writes what is open, and opens, connects and sends nothing. */
static bool ring_is_restricted(void)
{
	static struct vm vm;
	struct transfers transfers = { .done = nothing, .fd = open(secret, O_RDWR | O_CLOEXEC) };
	struct io_uring *ring = &transfers.ring;
	char data[4] = "";
	const struct iovec iov = { data, sizeof(data) };
	bool good;

	if (loop_create(&vm.io, &vm, NULL) || transfers_create(&vm, &transfers, 4))
		return false;
	if (transfers.has_ring) {
		io_uring_prep_openat(io_uring_get_sqe(ring), AT_FDCWD, secret, O_RDONLY, 0);
		good = result_of(ring) == -EACCES;
		io_uring_prep_nop(io_uring_get_sqe(ring));
		good &= result_of(ring) == -EACCES;
		io_uring_prep_send(io_uring_get_sqe(ring), transfers.fd, data, sizeof(data), 0);
		good &= result_of(ring) == -EACCES;
		io_uring_prep_readv(io_uring_get_sqe(ring), transfers.fd, &iov, 1, 0);
		good &= result_of(ring) == sizeof(data) && !memcmp(data, "mine", 4);
		good &= io_uring_register_eventfd(ring, transfers.ended.fd) == -EACCES;
	} else {
		printf("# there is no io_uring here\n");
		good = true;
	}
	transfers_destroy(&transfers);
	close(transfers.fd);
	loop_destroy(&vm.io);
	return good;
}

/* ---- the program ------------------------------ */

/* How it was built, where it is beside this one. */
static bool program_is_hard(void)
{
	static const char *const marks[] = {
		"Type: *DYN", "GNU_RELRO", "BIND_NOW", "GNU_STACK.* RW  ",
		"__stack_chk_fail", "__snprintf_chk",
	};
	char self[256] = "", path[300], command[512];
	ssize_t nr = readlink("/proc/self/exe", self, sizeof(self) - 1);
	bool good = true;

	snprintf(path, sizeof(path), "%.*s/../bin/mote", nr > 0 ? (int)(strrchr(self, '/') - self) : 0, self);
	if (access(path, R_OK)) {
		printf("# there is no %s\n", path);
		return true;
	}
	for (size_t i = 0; i < LENGTH(marks); i++) {
		snprintf(command, sizeof(command),
			 "readelf -W -h -l -d -n --dyn-syms '%s' 2> /dev/null | grep -q '%s'", path,
			 marks[i]);
		if (system(command)) {
			printf("# not %s\n", marks[i]);
			good = false;
		}
	}
	return good;
}

/* ---- all of it ------------------------------ */

static const struct unit_test others[] = {
	{ "threads have what they need", .is_good = threads_live },
	{ "the supervisor looks at itself, and removes its socket", .is_good = supervisor_works },
	{ "and no other file", .is_good = supervisor_removes_nothing_else },
	{ "a network in user space connects, and finds out whom to ask", .is_good = network_works },
	{ "without one nobody connects", .is_good = io_without_network },
	{ "queues that the kernel serves are told of by those who have some",
	  .is_good = queues_of_the_kernel },
	{ "who has daemons speaks to them, and to nobody else", .is_good = daemons },
	{ "a machine is saved and migrated by what its client has opened", .is_good = saves_and_migrates },
	{ "flash comes and goes by vCPUs of machines that have some", .is_good = flash },
	{ "a machine begins again, and has no more than before", .is_good = begins_again },
	{ "machines of all kinds have sandboxes", .is_good = all_machines },
	{ "who waits for the threads that were made waits for all of them", .is_good = waits },
	{ "the process is without rights, cores and onlookers", .is_good = process_is_bare },
	{ "the disks' rings read and write", .is_good = ring_is_restricted },
	{ "the program is built so that mistakes are harder to use", .is_good = program_is_hard },
};

static bool prepare(void)
{
	int fd;

	if (!mkdtemp(base))
		return false;
	snprintf(secret, sizeof(secret), "%s/secret", base);
	snprintf(rundir, sizeof(rundir), "%s/sockets", base);
	snprintf(neighbour, sizeof(neighbour), "%s/sockets/neighbour", base);
	fd = open(secret, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, "mine", 4) != 4 || close(fd) || mkdir(rundir, 0700))
		return false;
	open_file = open(secret, O_RDWR | O_CLOEXEC);
	if (open_file < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, connection))
		return false;
	other = fork();
	if (!other) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	return other > 0;
}

int main(void)
{
	char command[64];
	unsigned int nr = LENGTH(attempts) + LENGTH(others);

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (!prepare())
		return 1;
	printf("TAP version 13\n1..%u\n", nr);
	for (size_t i = 0; i < LENGTH(attempts); i++) {
		bool good = try(&attempts[i]);

		nr_failed += !good;
		printf("%s %u who %s is refused\n", good ? "ok" : "not ok", ++nr_run, attempts[i].what);
	}
	run_each(others, LENGTH(others), "");
	kill(other, SIGKILL);
	waitpid(other, NULL, 0);
	snprintf(command, sizeof(command), "rm -rf '%s'", base);
	return system(command) || nr_failed;
}
