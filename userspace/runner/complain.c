// SPDX-License-Identifier: GPL-2.0
/* Complaints, and the files that every program begins and ends with. */
#include <ctype.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "runner.h"

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
	fprintf(stderr, "mote: %s\n", line ? line : "no memory to say what is wrong");
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
