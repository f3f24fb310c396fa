// SPDX-License-Identifier: GPL-2.0
/*
 * Signals end a run.  A client's handler sets immediate_exit in struct kvm_run, which the module
 * does not look at: so each handler of the client's is called by one of ours, which passes that on
 * to the module's own run page.  A signal that comes just before the guest is entered is noticed
 * like this, too.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <native.h>

#include "interpose.h"
#include "shim.h"

__thread struct shim_vcpu *current_vcpu;

/* The client's handlers; what takes one argument does not mind three. */
typedef void handler(int number, siginfo_t *info, void *context);
static handler *handlers[_NSIG];
static bool wants_info[_NSIG];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void on_signal(int number, siginfo_t *info, void *context)
{
	struct shim_vcpu *vcpu = current_vcpu;
	ucontext_t *ucontext = context;
	handler *theirs = __atomic_load_n(&handlers[number], __ATOMIC_ACQUIRE);

	if (mote_native_caught(context))
		return;
	if (vcpu) {
		vcpu->interrupted = true;
		vcpu->cpu.run->immediate_exit = 1;
		/* Only the run's mask let it in: it is not delivered, but waits for the thread's own. */
		if (vcpu->has_mask && sigismember(&vcpu->outer, number) == 1) {
			sigaddset(&ucontext->uc_sigmask, number);
			syscall(SYS_rt_tgsigqueueinfo, getpid(), gettid(), number, info);
			return;
		}
	}
	if (theirs)
		theirs(number, info, context);
}

static void on_kick(int number)
{
	(void)number;
	if (current_vcpu)
		current_vcpu->cpu.run->immediate_exit = 1;
}

void signals_take(void)
{
	const struct sigaction action = { .sa_handler = on_kick, .sa_flags = SA_RESTART };

	NEXT(sigaction)(KICK, &action, NULL);
}

void signals_open(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, KICK);
	NEXT(pthread_sigmask)(SIG_UNBLOCK, &set, NULL);
}

/* sigaction() may be called in a signal handler, and in a child after fork(). */
static void take_lock(sigset_t *outer)
{
	sigset_t all;

	sigfillset(&all);
	NEXT(pthread_sigmask)(SIG_BLOCK, &all, outer);
	pthread_mutex_lock(&lock);
}

static void release_lock(const sigset_t *outer)
{
	pthread_mutex_unlock(&lock);
	NEXT(pthread_sigmask)(SIG_SETMASK, outer, NULL);
}

static void before_fork(void)
{
	pthread_mutex_lock(&lock);
}

static void after_fork(void)
{
	pthread_mutex_unlock(&lock);
}

__attribute__((constructor)) static void watch_forks(void)
{
	pthread_atfork(before_fork, after_fork, after_fork);
}

/* What is told of an action that is ours. */
static void restore(struct sigaction *action, handler *theirs, bool with_info)
{
	if (action->sa_sigaction != on_signal)
		return;
	action->sa_sigaction = theirs;
	if (!with_info)
		action->sa_flags &= ~SA_SIGINFO;
}

EXPORT int sigaction(int number, const struct sigaction *new, struct sigaction *old)
{
	bool with_info, is_function;
	struct sigaction action;
	handler *before;
	sigset_t outer;
	int ret;

	if (number <= 0 || number >= _NSIG || number == KICK) {
		errno = EINVAL;
		return -1;
	}
	take_lock(&outer);
	before = handlers[number];
	with_info = wants_info[number];
	if (new)
		action = *new;
	is_function = new && new->sa_handler != SIG_DFL && new->sa_handler != SIG_IGN;
	if (is_function) {
		/* Theirs is there before ours can be called. */
		__atomic_store_n(&handlers[number], action.sa_sigaction, __ATOMIC_RELEASE);
		wants_info[number] = action.sa_flags & SA_SIGINFO;
		action.sa_sigaction = on_signal;
		action.sa_flags |= SA_SIGINFO;
	}
	ret = NEXT(sigaction)(number, new ? &action : NULL, old);
	if (ret && is_function) {
		__atomic_store_n(&handlers[number], before, __ATOMIC_RELEASE);
		wants_info[number] = with_info;
	}
	release_lock(&outer);
	if (!ret && old)
		restore(old, before, with_info);
	return ret;
}

EXPORT sighandler_t signal(int number, sighandler_t handler)
{
	struct sigaction action = { .sa_handler = handler, .sa_flags = SA_RESTART }, old;

	sigemptyset(&action.sa_mask);
	return sigaction(number, &action, &old) ? SIG_ERR : old.sa_handler;
}

/* Nobody shuts out what makes a vCPU look again. */
EXPORT int pthread_sigmask(int how, const sigset_t *set, sigset_t *old)
{
	sigset_t open;

	if (set && how != SIG_UNBLOCK) {
		open = *set;
		sigdelset(&open, KICK);
		set = &open;
	}
	return NEXT(pthread_sigmask)(how, set, old);
}

EXPORT int sigprocmask(int how, const sigset_t *set, sigset_t *old)
{
	int err = pthread_sigmask(how, set, old);

	if (!err)
		return 0;
	errno = err;
	return -1;
}
