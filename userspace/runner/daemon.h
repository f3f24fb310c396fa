/* SPDX-License-Identifier: GPL-2.0 */
/* Programs of others that serve a device: by vhost-user, by NBD, or as its network. */
#ifndef DAEMON_H
#define DAEMON_H

#include <stdbool.h>
#include <sys/types.h>

struct vm;

/* Where they may be, with or without a directory; the last one is NULL. */
extern const char *const daemon_for_shares[];
extern const char *const daemon_for_disks[];
extern const char *const daemon_for_networks[];

/* The file descriptor at which such a program finds its socket. */
#define DAEMON_SOCKET 3

/**
 * struct daemon - a program that has been started here
 * @pid: it; 0: there is none
 * @fd: it, as a pidfd
 * @is_connected: it wants the connection, not a socket that listens
 * @is_patient: its end takes its time, as what it has in its caches goes to a disk
 * @voice: what it says on its standard error is said by the runner, line by line
 */
struct daemon {
	pid_t pid;
	int fd;
	bool is_connected;
	bool is_patient;
	struct voice *voice;
};

/**
 * daemon_start() - start one
 * @vm: for which
 * @daemon: out
 * @option: in whose name, for messages; stays where it is
 * @programs: one of the above
 * @package: where Debian has it
 * @arguments: its arguments, the first one its name
 * Return: a connection to it, or -1 after a complaint
 */
int daemon_start(struct vm *vm, struct daemon *daemon, const char *option, const char *const *programs,
		 const char *package, char *const *arguments);

/* Between two lives of a machine nobody hears what it says; then the next one does. */
void daemon_leave(struct daemon *daemon);
void daemon_hear(struct vm *vm, struct daemon *daemon);

/* It does not survive, whatever it does.  Has it said anything since it was started? */
bool daemon_end(struct daemon *daemon);

#endif /* DAEMON_H */
