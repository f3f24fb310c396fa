/* SPDX-License-Identifier: GPL-2.0 */
/* What the verbs that talk to running VMs share: finding them and asking them. */
#ifndef CLIENT_H
#define CLIENT_H

#include <stdbool.h>
#include <sys/types.h>

#include "control.h"

struct json_object;
struct verb;

/**
 * struct vm_found - a VM that runs
 * @name: of it
 * @place: where its socket is, see rundir_get()
 */
struct vm_found {
	char name[NAME_MOST + 1];
	unsigned int place;
};

/**
 * struct vms - the VMs of this user that run
 * @nr: how many
 * @vm: each, in the order of the alphabet
 */
struct vms {
	unsigned int nr;
	struct vm_found *vm;
};

/* Find them all, and tidy up behind runners that were killed; 0, or -1 after a complaint. */
int vms_find(struct vms *vms);

/* Connect to one; a file descriptor or a negative errno, as rundir_connect(). */
int vm_connect(const struct vm_found *vm);

/**
 * client_open() - connect to the VM that somebody means
 * @name: its name
 * @is_whole: else it may be how that VM's name alone begins
 * @found: out: its name, NAME_MOST + 1 bytes
 * Return: a file descriptor, or -1 after a complaint
 */
int client_open(const char *name, bool is_whole, char *found);

/**
 * client_ask() - send a request and wait for the answer
 * @fd: from client_open(), or rundir_connect()
 * @what: see docs/control.schema.json
 * @arguments: an object with what else it wants, which is used up; or NULL
 * Return: the answer, to be put; or NULL after a complaint, if it was refused, too
 */
struct json_object *client_ask(int fd, const char *what, struct json_object *arguments);
/* The same, where it does not matter what the answer is; false after a complaint. */
bool client_let(int fd, const char *what);
/* The same as client_ask() without complaints: the answer, whatever it is, or NULL. */
struct json_object *client_request(int fd, const char *what, struct json_object *arguments);

/* The VM's process. */
pid_t client_runner(int fd);
/* A pidfd of the VM's process, from before it is told to end; -1: it has ended, or is not seen from here. */
int client_process(int fd);

/**
 * client_sees_end() - wait until a VM that has been told to end has let go of all that it had open
 * @fd: from client_open()
 * @process: from client_process()
 * @timeout_ms: as for poll(2), for each of its last two steps
 *
 * Return: whether it has.
 */
bool client_sees_end(int fd, int process, int timeout_ms);

/* The answer takes its time: rundir_connect()'s limit does not hold for it. */
void client_is_patient(int fd);

/* As client_ask(), with files that go with the request. */
struct json_object *client_ask_with(int fd, const char *what, struct json_object *arguments, const int *files,
				    unsigned int nr);

/* The two halves of that: false if it cannot be sent; the answer, or NULL after a complaint. */
bool client_send(int fd, const char *what, struct json_object *arguments, const int *files, unsigned int nr);
struct json_object *client_hear(int fd);

/* The answers of all VMs of this user, in an array; of one that gives none, "name", "pid" and "state". */
struct json_object *vms_ask(const char *what);

/* Likewise, but if @name is not NULL of that one alone; the exit status, and NULL after a complaint. */
int vms_ask_those(const char *what, const char *name, struct json_object **answers);

/* Of an answer: "" and 0 if they are not there. */
const char *answer_text(struct json_object *answer, const char *key);
unsigned long long answer_number(struct json_object *answer, const char *key);

/* @what asked of the VM with this whole @name, whose answer does not matter: the exit status. */
int client_tell(const char *name, const char *what, struct json_object *arguments);

/**
 * struct vm_arguments - the options of a verb for one VM, beside --help
 * @json: set if --json was given; NULL if the verb does not know it
 * @value_option: name of an option with a value, or NULL
 * @value: of that, if it was given
 * @operand: what follows the VM's name, or NULL
 * @may_lack_operand: it need not be there
 * @is_optional: points to true if no name is all VMs; may be NULL
 * @flag_option: name of an option without one, or NULL
 * @flag: set if it was given
 */
struct vm_arguments {
	bool *json;
	const char *value_option;
	const char **value;
	const char *operand;
	bool may_lack_operand;
	const bool *is_optional;
	const char *flag_option;
	bool *flag;
};

/* How often something is to be done, in seconds; 0, or -1 after a complaint about @option. */
int parse_period(const char *option, const char *text, double *period);
/* For so many seconds. */
void wait_period(double period);

/* -1 to go on with the VM's name, argv[optind]; else the exit status. */
int parse_vm(const struct verb *verb, int argc, char **argv, const struct vm_arguments *arguments);

#endif /* CLIENT_H */
