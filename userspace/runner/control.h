/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The control socket of a VM: how `mote ps`, `stop`, `pause`, `resume`, `stat` and
 * `console` reach its runner.
 *
 * Each VM has a socket DIRECTORY/NAME.sock, which only its user can reach.  A request is
 * one line, a JSON object whose "do" says what; the answer is one line, a JSON object that
 * has "error" if it was not done.  What each request wants and what it gets stands in
 * docs/control.schema.json, and what is done for it in requests.c.
 */
#ifndef CONTROL_H
#define CONTROL_H

#include <stdbool.h>
#include <stddef.h>

struct console;
struct control;
struct vm;

#define NAME_MOST 64

/* ---- directory and names (rundir.c) ------------------------------------------------- */

#define RUNDIR_PLACES 5

/**
 * rundir_get() - where sockets are: $XDG_RUNTIME_DIR/mote, root's /run/mote, $STATE_DIRECTORY/mote,
 *	$XDG_STATE_HOME/mote, ~/.local/state/mote
 * @n: which of these, below %RUNDIR_PLACES
 * @path: filled in
 * @size: room there
 * @create: make it if it is not there
 * Return: 0; -1 after setting errno: ENOENT no such place of this user's, EPERM others can reach it
 */
int rundir_get(unsigned int n, char *path, size_t size, bool create);
/* Make the first one that there can be; likewise. */
int rundir_make(char *path, size_t size);

/* Hold off whoever makes or removes sockets there; returns what to close, or -1. */
int rundir_lock(const char *directory);

/* Letters, digits, dots, dashes and underscores, no dot first, at most NAME_MOST. */
bool is_name(const char *name);

/**
 * rundir_connect() - connect to a VM's socket
 * @directory: from rundir_get()
 * @name: of the VM
 *
 * Calls return EAGAIN when there has been no answer for some seconds.
 * Return: a file descriptor, or a negative errno: -ENOENT no such VM, -ECONNREFUSED
 * what a runner that was killed has left
 */
int rundir_connect(const char *directory, const char *name);

/* Where a VM's socket is; false: the path is too long. */
bool rundir_socket(char *path, size_t size, const char *directory, const char *name);

/* ---- the runner's end (control.c): the supervisor's thread --------------------------- */

/* Begin to listen; 0, or -1 after a complaint. */
int control_create(struct vm *vm);
void control_destroy(struct vm *vm);
/* Remove the socket: nobody can come any more. */
void control_unlink(struct vm *vm);

/* A console has something for its clients, or wants something of them. */
void control_console(struct vm *vm, const struct console *console);
/* Answers may be due; from any thread. */
void control_wake(struct vm *vm);
/* Give those that are. */
void control_answer(struct vm *vm);

#endif /* CONTROL_H */
