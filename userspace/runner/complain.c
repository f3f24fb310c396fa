// SPDX-License-Identifier: GPL-2.0
/* Complaints, and the files that every program begins and ends with. */
#include <ctype.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runner.h"

static bool as_json;

void complain_as_json(bool json)
{
	as_json = json;
}

void complain_as_wanted(char **arguments)
{
	as_json = false;
	for (; *arguments && strcmp(*arguments, "--"); arguments++)
		as_json |= !strcmp(*arguments, "--json");
}

static void say(const char *why)
{
	struct json_object *error;

	if (!as_json) {
		fprintf(stderr, "mote: %s\n", why);
		return;
	}
	error = json_object_new_object();
	json_object_object_add(error, "event", json_object_new_string("error"));
	json_object_object_add(error, "why", json_object_new_string(why));
	print_json_line(error);
}

void complain(const char *format, ...)
{
	char *line;
	va_list args;

	va_start(args, format);
	if (vasprintf(&line, format, args) < 0)
		line = NULL;
	va_end(args);
	/* Whatever it repeats, as a file's name, a complaint is one line. */
	for (char *c = line; c && *c; c++)
		if (iscntrl((unsigned char)*c))
			*c = '?';
	say(line ? line : "no memory to say what is wrong");
	free(line);
}

/* Who was started without standard input, output or error must not take a file for them. */
void output_begin(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	close(fd);
}

int output_end(int status)
{
	if (!fflush(stdout) && !ferror(stdout))
		return status;
	complain("cannot write the output: %m");
	return EXIT_PROBLEM;
}
