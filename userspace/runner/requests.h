/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What clients of the control socket ask for (docs/control.schema.json), and what a VM says of
 * itself.  All of it is the supervisor's: what concerns devices is done by the I/O thread, and
 * answered when that has.
 */
#ifndef REQUESTS_H
#define REQUESTS_H

#include "snapshot.h"
#include "watch.h"

#define CONTROL_VERSION 1

struct console;
struct json_object;

/* ---- requests (requests.c) ----------------------------------------------------------- */

/* As many files come with a request. */
#define REQUEST_FILES 2

/**
 * struct reply - how the answer to a request comes about
 * @files: what has come with the request, see request_do()
 * @name: of whom it wants something, until it has been begun; or NULL
 * @is_versioned: the request has said its version, so the answer does
 * @is_due: asked after each control_wake(): can it be answered now? NULL: it has been
 * @job: what the I/O thread does for it; @run is NULL if there is nothing (any more)
 * @number: an argument of that
 * @err: what came of it: 0 or a negative errno
 * @why: what is said of that; empty: the errno's text
 * @is_done: it has been done
 * @save: what is being saved for it, or NULL
 * @waits_for: what it wants to come about, until that has
 * @wanted: what is to be watched
 * @watch_fd: on which connection that is told
 * @console: behind the answer the connection is this one; or NULL
 */
struct reply {
	int *files;
	const char *name;
	bool is_versioned;
	bool (*is_due)(struct vm *vm, const struct reply *reply);
	struct job job;
	__u64 number;
	int err;
	char why[BASE_WHY];
	bool is_done;
	struct save *save;
	enum { FOR_NOTHING, FOR_MIGRATION, FOR_DEBUGGER, FOR_EXIT, FOR_WATCH } waits_for;
	struct watch_wanted wanted;
	int watch_fd;
	struct console *console;
};

/**
 * request_do() - do what is asked for
 * @vm: of it
 * @line: a request
 * @files: what has come with it, -1 for none; who takes one puts -1 there
 * @reply: of nothing that is under way; filled in
 * Return: the answer; if @reply->is_due is set, the one for the case that the VM ends before it is due
 */
struct json_object *request_do(struct vm *vm, const char *line, int *files, struct reply *reply);
/* The answer that was not there at once; NULL: there still is none, or was none to come. */
struct json_object *request_finish(struct vm *vm, struct reply *reply);

/* The VM has ended, and nothing is done for it any more. */
void request_forget(struct vm *vm, struct reply *reply);
/* Who has asked is gone; true: what is done for it ends nevertheless with an answer. */
bool request_abandon(struct vm *vm, struct reply *reply);

struct json_object *json_refusal(const char *why);

/* ---- answers (statistics.c) ------------------------------------------------------------- */

struct json_object *vm_status(struct vm *vm);
/* The same and more. */
struct json_object *vm_statistics(struct vm *vm);

void json_add_text(struct json_object *object, const char *key, const char *text);
void json_add_number(struct json_object *object, const char *key, __u64 value);
/* Add what its devices have done. */
void json_add_traffic(struct json_object *answer, const struct vm *vm);
/* Add "exits" and, of those, "exits_to_runner": by reason, of all these vCPUs together. */
void json_add_exits(struct json_object *object, const struct vcpu *vcpus, unsigned int nr);

#endif /* REQUESTS_H */
