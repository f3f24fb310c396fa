/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The options of `mote run` as a table (options.c).  A row says what an option is called, what
 * it may be, how often it may be there and where that goes; an option of several parts has
 * rows of its own for these.
 *
 * All that is said becomes JSON first: --disk a.img,ro the same as "disk" with the value
 * { "file": "a.img", "ro": true }.  Thus there is one parser, and one set of checks (config.c).
 */
#ifndef OPTIONS_H
#define OPTIONS_H

#include "vm.h"

struct json_object;

enum row_type {
	ROW_FLAG,	/* bool */
	ROW_NUMBER,	/* unsigned int */
	ROW_SIZE,	/* __u64, bytes; a plain number counts MiB */
	ROW_SECONDS,	/* __u64, nanoseconds */
	ROW_TEXT,	/* const char * */
	ROW_FILE,	/* the same, the name of a file */
	ROW_DIRECTORY,	/* or a directory */
	ROW_WORD,	/* the same, one of @words */
	ROW_OWN,	/* a text that @parse reads */
	ROW_OBJECT,	/* of several parts, @keys */
	ROW_VERB,	/* says what mote run does, and not how the machine is: it is in no file */
};

/**
 * struct row - an option, or a part of one
 * @name: of the option, and of the object's member
 * @letter: for short; 0: none
 * @type: what it is
 * @as: the member has this name; NULL: @name
 * @most: it may be there so many times, each an element of an array; 0: the last one counts
 * @size: of an element, in bytes
 * @count: where the number of elements is, an unsigned int
 * @offset: where it goes, or the array, in the options, or in what it is a part of
 * @least: of numbers and sizes
 * @greatest: of these, and of seconds
 * @words: what it may be, with blanks between; of other texts, how they may begin
 * @bare: what it is without a value, which is true as JSON; NULL: it has one
 * @parse: of %ROW_OWN: 0; 1, it is not what is @wanted; or -1 after a complaint, which begins
 *	with @where
 * @wanted: what it has to be, behind "not"
 * @keys: of %ROW_OBJECT; the last one has no name
 * @nr_main: so many of these have to be there, and come first, without their names;
 *	two have a = between
 * @has_commas: what comes first may have commas in it
 * @finish: judge an object as a whole; 0, or -1 after a complaint
 * @value: what stands for it in --help
 * @help: one line
 * @initial: what it is if nobody says so; NULL: nothing
 * @is_limit: mote limit takes it, too
 */
struct row {
	const char *name;
	char letter;
	enum row_type type;
	const char *as;
	unsigned int most;
	size_t size;
	size_t count;
	size_t offset;
	__u64 least;
	__u64 greatest;
	const char *words;
	const char *bare;
	int (*parse)(const char *where, const char *text, void *field);
	const char *wanted;
	const struct row *keys;
	unsigned int nr_main;
	bool has_commas;
	int (*finish)(const struct options *options, void *element, const char *where);
	const char *value;
	const char *help;
	const char *initial;
	bool is_limit;
};

/* The last one has no name; the image is one, too, but no option of the command line. */
extern const struct row option_rows[];

/* ROW_VERB's. */
#define OPTION_CONFIG "config"
#define OPTION_DUMP "dump-config"
#define OPTION_HELP "help"
#define OPTION_IMAGE "image"
/* Those with is_limit. */
#define OPTION_CPU_WEIGHT "cpu-weight"
#define OPTION_CPU_MAX "cpu-max"
#define OPTION_MEMORY_MAX "memory-max"
#define OPTION_IO_MAX "io-max"

/* What holds if nobody says anything. */
#define OPTIONS_INITIAL {									\
	.config = json_object_new_object(), .memory = 512ull << 20, .cpus = 1, .sandbox = "on",	\
	.on_panic = "end",									\
}

/* Judge them as a whole, and fill in what nobody has said; 0, or -1 after a complaint. */
int options_check(struct options *options);

/* ---- the parser (config.c) ------------------------------------------------------------ */

/* One of these rows; NULL: there is none. */
const struct row *row_find(const struct row *rows, const char *name, size_t length);

/**
 * options_set() - what the command line says
 * @options: set, and owns what it refers to until options_destroy(); its config is an object
 * @row: one of option_rows
 * @text: its value; NULL: it has none
 * Return: 0, or -1 after a complaint of one line
 */
int options_set(struct options *options, const struct row *row, const char *text);

/**
 * options_take() - what somebody says as JSON
 * @options: as above
 * @row: one of option_rows
 * @value: stays the caller's; where there may be several, one or an array; an object, or the
 *	text that the command line would have in its place
 * @where: what it is, for complaints
 * Return: 0, or -1 after a complaint of one line
 */
int options_take(struct options *options, const struct row *row, struct json_object *value,
		 const char *where);

/* What a row wants, behind "not"; in @buffer, which has @size bytes. */
const char *row_wanted(const struct row *row, char *buffer, size_t size);
/* Complain that none of these rows has that name. */
void row_refuse(const struct row *rows, const char *where, const char *name);

/* ---- --config's file (config_file.c) ---------------------------------------------------- */

/* The one JSON object that a file is; NULL after a complaint of one line. */
struct json_object *object_read(const char *path);
/* Take what it says; 0, or -1 after a complaint of one line. */
int options_read(struct options *options, const char *path);

/**
 * options_read_text() - the same of what stands in such a file
 * @options: as for options_set()
 * @where: what it is, for complaints
 * @text: it
 * @skips: members of these names are not taken; may be NULL
 * Return: 0, or -1 after a complaint of one line
 */
int options_read_text(struct options *options, const char *where, const char *text,
		      bool (*skips)(const char *name));

#endif /* OPTIONS_H */
