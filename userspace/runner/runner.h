/* SPDX-License-Identifier: GPL-2.0 */
/* The mote command: its verbs and what they share. */
#ifndef RUNNER_H
#define RUNNER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* Exit statuses of every verb; `mote run` adds those of the guest (end.c). */
enum {
	EXIT_OK = 0,
	EXIT_PROBLEM = 1, /* something stands in the way */
	EXIT_USAGE = 2,
};

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

/* Does a text end so, behind something else? */
static inline bool has_suffix(const char *text, const char *suffix)
{
	size_t length = strlen(text), end = strlen(suffix);

	return length > end && !strcmp(text + length - end, suffix);
}

/**
 * struct verb - one row of the table in main.c
 * @name: as typed
 * @help: one line for `mote --help`; NULL: it is not for everybody
 * @usage: the text of `mote VERB --help`; NULL: @run makes it
 * @run: argv[0] is the verb; returns the exit status
 */
struct verb {
	const char *name;
	const char *help;
	const char *usage;
	int (*run)(const struct verb *verb, int argc, char **argv);
};

extern const char doctor_usage[];
int doctor_run(const struct verb *verb, int argc, char **argv);

extern const char info_usage[];
int info_run(const struct verb *verb, int argc, char **argv);

/* All of them; the last one has no name. */
extern const struct verb verbs[];

int run_run(const struct verb *verb, int argc, char **argv);
/* The same, in the background for mote step, and its @name: EXIT_OK when it waits for its first exit. */
int run_stepped(int argc, char **argv, char *name);
/* What the build makes of the table of options, on standard output. */
int options_run(const struct verb *verb, int argc, char **argv);

extern const char ps_usage[], stop_usage[], pause_usage[], resume_usage[], reset_usage[],
	console_usage[], stat_usage[];
int ps_run(const struct verb *verb, int argc, char **argv);
int stop_run(const struct verb *verb, int argc, char **argv);
int pause_run(const struct verb *verb, int argc, char **argv);
int resume_run(const struct verb *verb, int argc, char **argv);
int reset_run(const struct verb *verb, int argc, char **argv);
extern const char memory_usage[];
int memory_run(const struct verb *verb, int argc, char **argv);
extern const char account_usage[];
int account_run(const struct verb *verb, int argc, char **argv);
int limit_run(const struct verb *verb, int argc, char **argv);
extern const char snapshot_usage[], restore_usage[], migrate_usage[], receive_usage[],
	fork_usage[], dump_usage[];
int snapshot_run(const struct verb *verb, int argc, char **argv);
int restore_run(const struct verb *verb, int argc, char **argv);
int migrate_run(const struct verb *verb, int argc, char **argv);
int receive_run(const struct verb *verb, int argc, char **argv);
int fork_run(const struct verb *verb, int argc, char **argv);
int dump_run(const struct verb *verb, int argc, char **argv);
int console_run(const struct verb *verb, int argc, char **argv);
int stat_run(const struct verb *verb, int argc, char **argv);

extern const char gdb_usage[];
int gdb_run(const struct verb *verb, int argc, char **argv);

extern const char step_usage[];
int step_run(const struct verb *verb, int argc, char **argv);

extern const char kvm_usage[];
int kvm_run(const struct verb *verb, int argc, char **argv);

/* A verb that is a program of its own, mote-VERB, beside this one: it takes over. */
int outside_run(const struct verb *verb, int argc, char **argv);

struct option;

/**
 * verb_option() - the next option of a verb, by getopt_long(3)
 * @verb: the verb
 * @argc: its arguments
 * @argv: its arguments
 * @options: of the verb; -h is one, too
 * @which: out: its index there, unless it is -h
 * Return: -1 if there are no more; 0 after a complaint if it is unknown or lacks its value
 */
int verb_option(const struct verb *verb, int argc, char **argv, const struct option *options, int *which);

/**
 * parse_flags() - the options of a verb, none of which has a value
 * @verb: the verb
 * @argc: its arguments
 * @argv: its arguments
 * @options: as for verb_option(); --help has 'h'
 * @takes_more: what follows them is not refused
 * @said: which were given: a bit for each, by its index in @options; 0 before
 * Return: -1 to go on, else the exit status
 */
int parse_flags(const struct verb *verb, int argc, char **argv, const struct option *options, bool takes_more,
		unsigned int *said);

/* One line on stderr: what is wrong and what to do. */
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* From now on as JSON, which is "event", "error", and "why"; or no more. */
void complain_as_json(bool json);
/* As JSON if --json is among the arguments, which may be wrong themselves. */
void complain_as_wanted(char **arguments);
/* The module is of another ABI than this program, and that has been said. */
struct mote_info;
bool is_other_abi(const struct mote_info *info);

/*
 * Say this on standard error, in one piece, whichever threads have something to say: a line, or
 * several.  Before say_by() it waits until that has been taken.
 */
void say_text(const char *text);
/* From now on all that is said goes here; NULL: to standard error. */
void say_by(void (*taker)(const char *text));

/* First of all: who was started without standard input, output or error gets /dev/null. */
void output_begin(void);
/* Last of all. Return: @status, or that of a problem if not all of the output could be written. */
int output_end(int status);

/* ---- output (output.c) --------------------------------------------------- */

enum colour { PLAIN, BOLD, GREEN, YELLOW, RED };

/**
 * paint() - print text padded to a width, coloured if stdout is a terminal
 * @colour: ignored in a pipe, on a dumb terminal and when NO_COLOR is set
 * @width: of the column; 0: as wide as the text
 * @text: what to print
 */
void paint(enum colour colour, int width, const char *text);

struct json_object;

/* Print a JSON value, ending in a newline, and free it. */
void print_json(struct json_object *value);
/* The same on stderr, in one line. */
void print_json_line(struct json_object *value);

/**
 * program_run() - let another program do something, and wait until it has (program.c)
 * @arguments: its name, as the shell would find it, and arguments
 * @out: where its standard output goes; -1: nowhere
 * @err: likewise its messages
 * Return: 0; the errno for which it cannot be started; -1 if it fails
 */
int program_run(char *const *arguments, int out, int err);

/* ---- what can be seen without the module (host.c) ------------------------ */

/* Do we run in a virtual machine? */
bool host_is_guest(void);

/* Does @line ("flags", "vmx flags") of /proc/cpuinfo have @flag? */
bool host_has_flag(const char *line, const char *flag);

/**
 * host_module() - is a kernel module there?
 * @name: with underscores
 * @users: set to its use count; -1 if it is built into the kernel
 */
bool host_module(const char *name, int *users);

/* Where a module is installed for the running kernel, or false if it is not. */
bool host_module_file(const char *name, char *path, size_t size);

/* The release of the kernel that a module file was built for, or false if that is not to be seen. */
bool host_module_kernel(const char *path, char *release, size_t size);

/* The first line of a file in /proc or /sys, or false. */
bool host_read_line(const char *path, char *line, int size);

/* A field of proc_pid_stat(5), from the third one on, in such a file; 0 if it cannot be read. */
unsigned long long host_stat_field(const char *path, unsigned int field);

/* Processes that a process's main thread has started and not waited for, as text; NULL: it has ended. */
FILE *host_open_children(int process);

/* Read a model-specific register of CPU 0, or false if that cannot be done here. */
bool host_read_msr(unsigned int msr, unsigned long long *value);

#endif /* RUNNER_H */
