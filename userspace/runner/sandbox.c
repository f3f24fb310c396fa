// SPDX-License-Identifier: GPL-2.0
/*
 * The sandbox: see sandbox.h.  Lists of what is allowed; all else is refused, and named.
 *
 * A filter sees numbers, but not what pointers point to: paths are Landlock's.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/fs.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <linux/sockios.h>
#include <linux/vhost.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <linux/mote.h>

#include "call_filter.h"
#include "runner.h"
#include "sandbox.h"

#define V (1u << SANDBOX_VCPU)
#define I (1u << SANDBOX_IO)
#define S (1u << SANDBOX_SUPERVISOR)
#define N (1u << SANDBOX_NET)
#define D (1u << SANDBOX_DISK)
#define ALL (V | I | S | N | D)

/* A supervisor that makes a machine anew: what its threads need, and what is needed to make them. */
#define R (1u << NR_SANDBOX_THREADS)
/* Whoever serves a connection of the guest's. */
#define U (1u << (NR_SANDBOX_THREADS + 1))
/* Whoever speaks to a daemon. */
#define H (1u << (NR_SANDBOX_THREADS + 2))
/* Whoever speaks to the host's kernel about its queues. */
#define K (1u << (NR_SANDBOX_THREADS + 3))
/* Whoever turns flash from memory to a device and back. */
#define F (1u << (NR_SANDBOX_THREADS + 4))

static const char *const names[NR_SANDBOX_THREADS] = {
	[SANDBOX_VCPU] = "vcpu", [SANDBOX_IO] = "io", [SANDBOX_SUPERVISOR] = "supervisor",
	[SANDBOX_NET] = "net", [SANDBOX_DISK] = "disk",
};

static struct sandbox sandbox = { .is_off = true, .told = -1 };
/* Files, as they were found at first. */
static int directory = -1;
static int name_servers = -1;
static __thread enum sandbox_thread current;

/* ---- system calls -------------------------------------------------------------------- */

#define FAILS(error, name, threads, ...) { SYS_##name, threads, error, { __VA_ARGS__ } }
#define WHERE(name, threads, ...) FAILS(0, name, threads, __VA_ARGS__)
#define CALL(name, threads) WHERE(name, threads, { 0 })
#define BITS(argument, mask, value) { argument, mask, value }
#define ASK(request, threads) WHERE(ioctl, threads, BITS(1, INT, request))

/* The kernel looks at 32 bits of these. */
#define INT 0xffffffff
#define SOCKET_TYPE 0xf
#define OPEN_BEYOND_READING (O_ACCMODE | O_CREAT | O_TRUNC | O_TMPFILE | O_PATH)
/* As pthread_create() has them: not a process, nor a namespace. */
#define THREAD_FLAGS (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SYSVSEM | CLONE_SIGHAND |	\
		      CLONE_THREAD | CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID)

static const struct filter_rule rules[] = {
	/* What a C library needs to go on: memory, which is never executable, locks, time, the end. */
	WHERE(mmap, ALL, BITS(2, PROT_EXEC, 0)),
	WHERE(mprotect, ALL, BITS(2, PROT_EXEC, 0)),
	CALL(brk, ALL), CALL(munmap, ALL), CALL(mremap, ALL), CALL(madvise, ALL),
	CALL(futex, ALL), CALL(sched_yield, ALL), CALL(sched_getaffinity, ALL),
	CALL(getpid, ALL), CALL(gettid, ALL),
	CALL(clock_gettime, ALL), CALL(clock_nanosleep, ALL), CALL(getrandom, ALL),
	CALL(rt_sigaction, ALL), CALL(rt_sigprocmask, ALL), CALL(rt_sigreturn, ALL), CALL(sigaltstack, ALL),
	CALL(restart_syscall, ALL), CALL(exit, ALL), CALL(exit_group, ALL),
	/* Descriptors that are there. */
	CALL(read, ALL), CALL(write, ALL), CALL(close, ALL), CALL(poll, ALL), CALL(lseek, ALL),
	CALL(readv, ALL), CALL(writev, ALL), CALL(newfstatat, I | S | U | R), CALL(fstat, I | S | U | R),
	WHERE(fcntl, ALL, BITS(1, INT, F_GETFL)), WHERE(fcntl, ALL, BITS(1, INT, F_SETFL)),
	WHERE(fcntl, ALL, BITS(1, INT, F_GETFD)), WHERE(fcntl, ALL, BITS(1, INT, F_SETFD)),
	/* Devices, and whoever waits for them. */
	CALL(eventfd2, V | I | S), CALL(epoll_ctl, V | I | S | N), CALL(epoll_wait, I | S),
	CALL(timerfd_create, I | S | U | R), CALL(timerfd_settime, V | I | S | N),
	CALL(io_uring_enter, V | I), CALL(pread64, I | S), CALL(preadv, D), CALL(preadv2, D),
	CALL(pwritev, D), CALL(pwritev2, D), CALL(fdatasync, D), CALL(fallocate, D),
	/* A machine that is saved or dumped, into files that are there, or migrated, by a connection. */
	CALL(pwrite64, I), CALL(ftruncate, I | R), CALL(recvfrom, I), WHERE(sendto, I | S, BITS(4, ~0ull, 0)),
	/* Daemons. */
	CALL(sendmsg, H), CALL(recvfrom, H), CALL(recvmsg, H), CALL(shutdown, H),
	CALL(pidfd_send_signal, H), CALL(wait4, H),
	/* The control socket and the terminal. */
	CALL(accept4, S), CALL(recvmsg, S), CALL(unlink, S),
	WHERE(fcntl, S, BITS(1, INT, F_DUPFD_CLOEXEC)), WHERE(openat, S, BITS(2, OPEN_BEYOND_READING, 0)),
	CALL(getpgrp, S), CALL(getpgid, S),
	/* Connections by IPv4, and where names are asked for. */
	WHERE(socket, U, BITS(0, INT, AF_INET), BITS(1, SOCKET_TYPE, SOCK_STREAM)),
	WHERE(socket, U, BITS(0, INT, AF_INET), BITS(1, SOCKET_TYPE, SOCK_DGRAM)),
	CALL(connect, U), CALL(bind, U), CALL(listen, U), CALL(accept, U), CALL(shutdown, U), CALL(sendto, U),
	CALL(recvfrom, U), CALL(recvmsg, U), CALL(setsockopt, U), CALL(getsockopt, U), CALL(getsockname, U),
	CALL(getpeername, U), WHERE(openat, U, BITS(2, OPEN_BEYOND_READING, 0)),
	/* Another machine, and its threads, which enter the sandbox in their turn. */
	WHERE(clone, R, BITS(0, ~0ull, THREAD_FLAGS)), CALL(rseq, R), CALL(set_robust_list, R),
	WHERE(prctl, R, BITS(0, INT, PR_SET_NAME)), WHERE(prctl, R, BITS(0, INT, PR_SET_NO_NEW_PRIVS)),
	CALL(capget, R), CALL(capset, R), CALL(seccomp, R), CALL(landlock_create_ruleset, R),
	CALL(landlock_add_rule, R), CALL(landlock_restrict_self, R),
	CALL(memfd_create, R), CALL(io_uring_setup, R), CALL(io_uring_register, R),
	WHERE(fcntl, R, BITS(1, INT, F_OFD_SETLK)), CALL(setsockopt, R),
	/* Threads wake each other; others are not theirs to signal. */
	WHERE(tgkill, ALL, BITS(0, INT, FILTER_OWN_PID)),
	/* libslirp tries it where it may not ping otherwise; the C library can make threads without. */
	FAILS(EPERM, socket, U, BITS(0, INT, AF_INET), BITS(1, SOCKET_TYPE, SOCK_RAW)),
	FAILS(ENOSYS, clone3, R, { 0 }),
	/* What is asked of devices. */
	ASK(MOTE_RUN, V), ASK(MOTE_INJECT, V), ASK(MOTE_APIC_ACCESS, V), ASK(MOTE_GET_FIELD, V),
	ASK(MOTE_GET_STATE, V | I | S), ASK(MOTE_GET_CLOCK, I), ASK(MOTE_GET_DIRTY, I),
	ASK(MOTE_SET_STATE, V | I), ASK(MOTE_SET_CLOCK, I), ASK(MOTE_SET_DEBUG, V | I),
	ASK(MOTE_SET_WATCH, I | S),
	ASK(MOTE_MSI, V | I | N), ASK(MOTE_IRQFD, V | I), ASK(MOTE_IOEVENTFD, V | I),
	ASK(TCGETS, S), ASK(TCSETS, S), ASK(TIOCGPGRP, S), ASK(TIOCGWINSZ, S), ASK(FIONREAD, U),
	ASK(SIOCOUTQ, H),
	ASK(VHOST_SET_FEATURES, K), ASK(VHOST_SET_MEM_TABLE, K), ASK(VHOST_SET_VRING_NUM, K),
	ASK(VHOST_SET_VRING_BASE, K), ASK(VHOST_SET_VRING_ADDR, K), ASK(VHOST_SET_VRING_KICK, K),
	ASK(VHOST_SET_VRING_CALL, K), ASK(VHOST_NET_SET_BACKEND, K), ASK(VHOST_VSOCK_SET_RUNNING, K),
	ASK(MOTE_GET_INFO, R), ASK(MOTE_CREATE_VM, R), ASK(MOTE_CREATE_VCPU, R),
	ASK(MOTE_SET_SLOT, I | R | F), ASK(MOTE_SET_CPUID, R), ASK(VHOST_GET_FEATURES, R),
	ASK(VHOST_VSOCK_SET_GUEST_CID, R), ASK(BLKSSZGET, R),
};

/* Whose rules a thread has. */
static unsigned int kinds_of(enum sandbox_thread kind)
{
	unsigned int kinds = 1u << kind;

	if (kind == SANDBOX_SUPERVISOR && sandbox.restarts)
		kinds |= V | I | N | D | R;
	if (sandbox.has_daemons && kinds & (V | I | S))
		kinds |= H;
	if (sandbox.has_vhost && kinds & (V | I))
		kinds |= K;
	if (sandbox.has_flash && kinds & V)
		kinds |= F;
	if (sandbox.has_user_net && kinds & (I | N))
		kinds |= U;
	return kinds;
}

bool sandbox_has_filters(void)
{
	__u32 action = SECCOMP_RET_TRAP;

	return !syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action);
}

/* ---- refusals ------------------------------------------------------------------------- */

static struct refusal refusal;
static int nr_refusals;

const struct refusal *sandbox_refusal(void)
{
	return __atomic_load_n(&nr_refusals, __ATOMIC_ACQUIRE) ? &refusal : NULL;
}

/* By number, as the kernel's headers have them. */
static const char calls[][32] = {
#include "syscalls.h"
};

static void note(unsigned int call)
{
	refusal.thread = names[current];
	if (call < ARRAY_SIZE(calls) && calls[call][0])
		snprintf(refusal.call, sizeof(refusal.call), "%s", calls[call]);
	else
		snprintf(refusal.call, sizeof(refusal.call), "system call %u", call);
}

/* It has not been made.  Nobody goes on behind it: the thread may be the guest's by now. */
static void on_refusal(int number, siginfo_t *info, void *context)
{
	static int nr_noted;
	const __u64 one = 1;

	(void)number;
	(void)context;
	if (!__atomic_fetch_add(&nr_noted, 1, __ATOMIC_RELAXED)) {
		note(info->si_syscall);
		__atomic_store_n(&nr_refusals, 1, __ATOMIC_RELEASE);
		if (current == SANDBOX_SUPERVISOR || sandbox.told < 0)
			sandbox.refused();
		/* It cannot be full: see loop_wake(). */
		while (write(sandbox.told, &one, sizeof(one)) < 0 && errno == EINTR)
			;
	}
	for (;;)
		poll(NULL, 0, -1);
}

/* ---- files ----------------------------------------------------------------------------- */

#define ACCESS_TRUNCATE (LANDLOCK_ACCESS_FS_REFER << 1)	/* from version 3 on */
#define ACCESS_IOCTL_DEV (LANDLOCK_ACCESS_FS_REFER << 2)	/* from version 5 on */

int sandbox_landlock(void)
{
	long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);

	return version > 0 ? version : 0;
}

/* All that a kernel can forbid. */
static __u64 all_access(int version)
{
	__u64 all = (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1;

	if (version >= 2)
		all |= LANDLOCK_ACCESS_FS_REFER;
	if (version >= 3)
		all |= ACCESS_TRUNCATE;
	if (version >= 5)
		all |= ACCESS_IOCTL_DEV;
	return all;
}

/* What is not there is nobody's. It stays open: in /proc there is another one as soon as nobody has it. */
static void let(int rules_fd, int fd, __u64 access)
{
	const struct landlock_path_beneath_attr rule = { .allowed_access = access, .parent_fd = fd };

	if (fd >= 0)
		syscall(SYS_landlock_add_rule, rules_fd, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
}

static int forbid_files(enum sandbox_thread kind)
{
	const int version = sandbox_landlock();
	const struct landlock_ruleset_attr all = { .handled_access_fs = all_access(version) };
	int fd, err;

	if (!version)
		return 0;
	fd = syscall(SYS_landlock_create_ruleset, &all, sizeof(all), 0);
	if (fd < 0)
		return -errno;
	if (kind == SANDBOX_SUPERVISOR) {
		let(fd, open("/proc/self/task", O_PATH | O_CLOEXEC), LANDLOCK_ACCESS_FS_READ_FILE);
		let(fd, directory, LANDLOCK_ACCESS_FS_REMOVE_FILE);
	}
	if (kinds_of(kind) & U)
		let(fd, name_servers, LANDLOCK_ACCESS_FS_READ_FILE);
	err = syscall(SYS_landlock_restrict_self, fd, 0) ? -errno : 0;
	close(fd);
	return err;
}

/* ---- entry points ------------------------------------------------------------------------ */

void sandbox_set_up(const struct sandbox *wanted)
{
	struct sigaction action = { .sa_sigaction = on_refusal, .sa_flags = SA_SIGINFO };

	sandbox = *wanted;
	if (sandbox.is_off)
		return;
	sigaction(SIGSYS, &action, NULL);
	/* The C library reads files before it says what day it is, and before it makes many heaps. */
	tzset();
	mallopt(M_ARENA_MAX, 1);
	if (sandbox.has_user_net)
		name_servers = open("/etc/resolv.conf", O_PATH | O_CLOEXEC);
}

void sandbox_set_directory(const char *path)
{
	if (!sandbox.is_off)
		directory = open(path, O_PATH | O_CLOEXEC);
}

/*
 * None, but that root ends a daemon that has become somebody else, as passt does: signals go to those alone,
 * by the pidfds that there are.
 */
static int drop_capabilities(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
	__u32 kept = sandbox.has_daemons ? CAP_TO_MASK(CAP_KILL) : 0;

	if (syscall(SYS_capget, &header, data))
		return -errno;
	kept &= data[0].permitted;
	memset(data, 0, sizeof(data));
	data[0].effective = data[0].permitted = kept;
	return syscall(SYS_capset, &header, data) ? -errno : 0;
}

/* Nobody looks into this process, and what it has in memory goes to no disk. */
static void hide(void)
{
	const struct rlimit none = { 0, 0 };

	setrlimit(RLIMIT_CORE, &none);
	prctl(PR_SET_DUMPABLE, 0);
}

static int forbid_calls(enum sandbox_thread kind)
{
	struct filter filter;
	struct sock_fprog program = { .filter = filter.code };
	int err = filter_build(&filter, rules, ARRAY_SIZE(rules), kinds_of(kind));

	if (err)
		return err;
	program.len = filter.len;
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) ? -errno : 0;
}

/* ---- who is not there yet ---------------------------------------------------------------- */

static pthread_mutex_t outside_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t all_inside = PTHREAD_COND_INITIALIZER;
static int nr_outside;

static void count_outside(int more)
{
	pthread_mutex_lock(&outside_lock);
	nr_outside += more;
	if (nr_outside <= 0)
		pthread_cond_broadcast(&all_inside);
	pthread_mutex_unlock(&outside_lock);
}

int sandbox_make_thread(pthread_t *thread, void *(*run)(void *data), void *data)
{
	int err;

	count_outside(1);
	err = pthread_create(thread, NULL, run, data);
	if (err)
		count_outside(-1);
	return err;
}

void sandbox_wait(void)
{
	pthread_mutex_lock(&outside_lock);
	while (nr_outside > 0)
		pthread_cond_wait(&all_inside, &outside_lock);
	pthread_mutex_unlock(&outside_lock);
}

static int enter(enum sandbox_thread kind)
{
	int err;

	if (sandbox.is_off)
		return 0;
	current = kind;
	if (kind == SANDBOX_SUPERVISOR)
		hide();
	err = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ? -errno : 0;
	if (!err)
		err = forbid_files(kind);
	if (!err)
		err = drop_capabilities();
	if (!err && sandbox_has_filters())
		err = forbid_calls(kind);
	if (!err)
		return 0;
	complain("the sandbox cannot be set up: %s (--sandbox=off goes without)", strerror(-err));
	return -1;
}

/* One that cannot ends the machine, for which nobody has to wait either. */
int sandbox_enter(enum sandbox_thread kind)
{
	int err = enter(kind);

	if (kind != SANDBOX_SUPERVISOR)
		count_outside(-1);
	return err;
}
