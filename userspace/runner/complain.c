// SPDX-License-Identifier: GPL-2.0
/* Complaints, and the files that every program begins and ends with. */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <linux/mote.h>

#include "runner.h"

static bool as_json;
static void (*taken_by)(const char *text);

void say_by(void (*taker)(const char *text))
{
	__atomic_store_n(&taken_by, taker, __ATOMIC_RELEASE);
}

void say_text(const char *text)
{
	void (*taker)(const char *text);

	taker = __atomic_load_n(&taken_by, __ATOMIC_ACQUIRE);
	if (taker) {
		taker(text);
		return;
	}
	/* By one call, where that takes it all. */
	while (*text) {
		ssize_t nr = write(STDERR_FILENO, text, strlen(text));

		if (nr < 0 && errno != EINTR)
			return;
		text += nr > 0 ? nr : 0;
	}
}

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

static void say_json(const char *why)
{
	struct json_object *error = json_object_new_object();

	json_object_object_add(error, "event", json_object_new_string("error"));
	json_object_object_add(error, "why", json_object_new_string(why));
	print_json_line(error);
}

void complain(const char *format, ...)
{
	char *line, *text = NULL;
	va_list args;

	va_start(args, format);
	if (vasprintf(&line, format, args) < 0)
		line = strdup("no memory to say what is wrong");
	va_end(args);
	/* Whatever it repeats, as a file's name, a complaint is one line. */
	for (char *c = line; c && *c; c++)
		if (iscntrl((unsigned char)*c))
			*c = '?';
	if (as_json)
		say_json(line);
	else if (asprintf(&text, "mote: %s\n", line) >= 0)
		say_text(text);
	free(text);
	free(line);
}

bool is_other_abi(const struct mote_info *info)
{
	if (info->abi_version == MOTE_ABI_VERSION)
		return false;
	complain("the module speaks ABI %u, this is of ABI %d: install both of one version",
		 info->abi_version, MOTE_ABI_VERSION);
	return true;
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
