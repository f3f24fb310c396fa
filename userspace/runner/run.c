// SPDX-License-Identifier: GPL-2.0
/* mote run: the command line, by the table of options (options.c). */
#include <ctype.h>
#include <getopt.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "disk.h"
#include "options.h"
#include "runner.h"
#include "usage.h"

#define OPTIONS_MOST 64
/* What getopt_long() answers for the first row. */
#define FIRST 256

/* ---- what getopt_long() wants to know ------------------------------------------------------ */

/**
 * struct known - the table's options
 * @letters: the short ones; what is missing is told, and what is no option ends them
 * @options: all
 */
struct known {
	char letters[2 * OPTIONS_MOST + 3];
	struct option options[OPTIONS_MOST + 1];
};

static int has_value(const struct row *row)
{
	if (row->bare || row->type == ROW_FLAG)
		return optional_argument;
	return row->value ? required_argument : no_argument;
}

static void learn(struct known *known)
{
	struct option *option = known->options;
	char *letter = stpcpy(known->letters, "+:");

	for (const struct row *row = option_rows; row->name; row++) {
		if (!row->help)
			continue;
		*option++ = (struct option) { row->name, has_value(row), NULL, FIRST + (row - option_rows) };
		if (!row->letter)
			continue;
		*letter++ = row->letter;
		if (has_value(row) == required_argument)
			*letter++ = ':';
	}
	*letter = '\0';
	*option = (struct option) { 0 };
}

/* NULL: it is none of the table's. */
static const struct row *row_of(int option)
{
	if (option >= FIRST)
		return &option_rows[option - FIRST];
	for (const struct row *row = option_rows; row->name; row++)
		if (row->letter && row->letter == option)
			return row;
	return NULL;
}

/* ---- the command line ----------------------------------------------------------------------- */

/* What is left has to be the image, and nothing of an option. */
static int check_image(int argc, char **argv, const struct options *options)
{
	const char *before = optind > 1 ? argv[optind - 1] : "", *word = argv[optind];

	if (word && (!strcmp(before, "--firmware") || (!strcmp(before, "--balloon") && argc - optind > 1)) &&
	    access(word, F_OK)) {
		complain("run: %s=%s, with a = (try mote run --help)", before, word);
		return -1;
	}
	for (int i = optind + 1; i < argc; i++)
		if (argv[i][0] == '-' && argv[i][1]) {
			complain("run: options come before the image: %s (try mote run --help)", argv[i]);
			return -1;
		}
	if (options->firmware && word) {
		complain("run: --firmware takes no image: %s (--disk)", word);
		return -1;
	}
	if (!options->firmware && argc - optind != 1 && (word || !options->image)) {
		complain(word ? "run takes one image, after the options: %s (try mote run --help)" :
			 "run: which image? (try mote run --help)", argv[argc - 1]);
		return -1;
	}
	return 0;
}

/* The next one; false: there is none, or nobody knows it, which is a complaint and sets *@status. */
static bool next_option(int argc, char **argv, const struct known *known, const struct row **row, int *status)
{
	int at = optind ? optind : 1, option = getopt_long(argc, argv, known->letters, known->options, NULL);

	*row = option < 0 ? NULL : row_of(option);
	if (option >= 0 && !*row) {
		complain(option == ':' ? "run: %s wants a value (try mote run --help)" :
			 "run: unknown option %s (try mote run --help)", argv[at]);
		*status = EXIT_USAGE;
	}
	return *row;
}

/* -1 to go on, else the exit status. */
static int parse(int argc, char **argv, struct options *options)
{
	const struct row *row;
	struct known known;
	bool dumps = false;
	int status = -1;

	learn(&known);
	complain_as_wanted(argv);
	opterr = 0;
	/* Files come first, whose values the command line replaces or adds to. */
	while (next_option(argc, argv, &known, &row, &status)) {
		if (!strcmp(row->name, OPTION_HELP)) {
			usage_print(stdout);
			return EXIT_OK;
		}
		if (!strcmp(row->name, OPTION_CONFIG) && options_read(options, optarg))
			return EXIT_USAGE;
		dumps |= !strcmp(row->name, OPTION_DUMP);
	}
	/* From the beginning: getopt(3). */
	optind = 0;
	while (status < 0 && next_option(argc, argv, &known, &row, &status))
		if (row->type != ROW_VERB && options_set(options, row, optarg))
			return EXIT_USAGE;
	if (status >= 0)
		return status;
	complain_as_json(options->json);
	if (check_image(argc, argv, options) ||
	    (argv[optind] && options_set(options, row_of(FIRST), argv[optind])) || options_check(options))
		return EXIT_USAGE;
	if (!dumps)
		return -1;
	print_json(json_object_get(options->config));
	return EXIT_OK;
}

/* The image's file name, as far as it can be a name. */
static const char *default_name(const char *image, char *name, size_t size)
{
	snprintf(name, size, "%s", image ? basename(image) : "firmware");
	for (char *c = name; *c; c++)
		if (!isalnum((unsigned char)*c) && !strchr("._-", *c))
			*c = '_';
	if (name[0] == '.')
		name[0] = '_';
	return name;
}

/* -1 to go on, else the exit status; a name that was not given is in @name. */
static int prepare(int argc, char **argv, struct options *options, char name[NAME_MOST + 1])
{
	int status = parse(argc, argv, options);

	if (!options->name)
		options->name = default_name(options->image, name, NAME_MOST + 1);
	return status < 0 && cloud_init_add(options) ? EXIT_USAGE : status;
}

int run_run(const struct verb *verb, int argc, char **argv)
{
	struct options options = OPTIONS_INITIAL;
	char name[NAME_MOST + 1];
	int status = prepare(argc, argv, &options, name);

	(void)verb;
	if (status < 0)
		status = options.detach ? detach_run(&options, name) : vm_run(&options);
	json_object_put(options.config);
	return status;
}

int run_stepped(int argc, char **argv, char *name)
{
	struct options options = OPTIONS_INITIAL;
	int status;

	options.detach = options.steps = true;
	status = prepare(argc, argv, &options, name);
	if (status < 0)
		status = detach_run(&options, name);
	json_object_put(options.config);
	return status;
}
