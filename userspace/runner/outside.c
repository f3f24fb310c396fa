// SPDX-License-Identifier: GPL-2.0
/* Verbs that are a program of their own, so that who does not want them needs none of its libraries. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runner.h"

/* Where it is built, and where it is installed. */
static const char *const places[] = { "", "../libexec/mote/" };
#define PROGRAM "mote-trace" /* as the package, too */

int outside_run(const struct verb *verb, int argc, char **argv)
{
	char here[PATH_MAX] = "", *end, *path = NULL;

	(void)argc;
	if (readlink("/proc/self/exe", here, sizeof(here) - 1) < 0) {
		complain("%s: /proc/self/exe: %m", verb->name);
		return EXIT_PROBLEM;
	}
	end = strrchr(here, '/');
	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		free(path);
		if (asprintf(&path, "%.*s/%s" PROGRAM, (int)(end - here), here, places[i]) < 0) {
			complain("%s: out of memory", verb->name);
			return EXIT_PROBLEM;
		}
		execv(path, argv);
		if (errno != ENOENT)
			break;
	}
	if (errno == ENOENT)
		complain("%s: there is no %s: it is in the package " PROGRAM, verb->name, path);
	else
		complain("%s: %s: %m", verb->name, path);
	free(path);
	return EXIT_PROBLEM;
}
