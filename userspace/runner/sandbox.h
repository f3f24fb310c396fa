/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the runner gives away before the guest's first instruction, so that a guest which has
 * taken it over has little: see docs/security.md, "The runner".
 *
 * Each thread enters the sandbox for itself, and has a list of system calls of its own kind.
 * What a kernel does not have is left out; `mote doctor` says what that is.
 */
#ifndef SANDBOX_H
#define SANDBOX_H

#include <pthread.h>
#include <stdbool.h>

/* Kinds of threads. */
enum sandbox_thread {
	SANDBOX_VCPU,
	SANDBOX_IO,
	SANDBOX_SUPERVISOR,
	SANDBOX_NET,	/* of a network in user space */
	SANDBOX_DISK,	/* of a disk without io_uring */
	NR_SANDBOX_THREADS,
};

/**
 * struct sandbox - what the machine is about to do
 * @is_off: all that this process may do
 * @restarts: it begins again after a reset, when the supervisor makes what it made before
 * @has_user_net: it has connections of its own, to wherever the guest wants
 * @has_vhost: the host's kernel serves some of its queues
 * @has_daemons: others serve some
 * @has_flash: it has flash, whose memory comes and goes
 * @refused: a call was refused, the first one: in the thread which made it, if that is the
 *	supervisor or @told is negative; it does not return then
 * @told: an eventfd for what others were refused, of which sandbox_refusal() says what
 */
struct sandbox {
	bool is_off;
	bool restarts;
	bool has_user_net;
	bool has_vhost;
	bool has_daemons;
	bool has_flash;
	void (*refused)(void);
	int told;
};

/* For this process, before any of its threads enters. */
void sandbox_set_up(const struct sandbox *sandbox);

/* The supervisor may remove files here. */
void sandbox_set_directory(const char *path);

/**
 * sandbox_make_thread() - make a thread that calls sandbox_enter() before all else
 * @thread: it
 * @run: what it does
 * @data: with this
 * Return: as pthread_create()
 */
int sandbox_make_thread(pthread_t *thread, void *(*run)(void *data), void *data);

/* Wait until all threads that were made have entered. */
void sandbox_wait(void);

/**
 * sandbox_enter() - let this thread have what threads of its kind need, and no more
 * @kind: of thread; with the supervisor the process can no more be dumped or looked into
 * Return: 0, or -1 after a complaint
 */
int sandbox_enter(enum sandbox_thread kind);

/**
 * struct refusal - a system call that was refused
 * @thread: who made it
 * @call: its name
 */
struct refusal {
	const char *thread;
	char call[40];
};

/* The first one; NULL: there was none. */
const struct refusal *sandbox_refusal(void);

/* What this kernel has of it: filters of system calls; the version of Landlock, or 0. */
bool sandbox_has_filters(void);
int sandbox_landlock(void);

#endif /* SANDBOX_H */
