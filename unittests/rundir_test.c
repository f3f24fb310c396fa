// SPDX-License-Identifier: GPL-2.0
/* Where control sockets are: by which variables, and never in what is somebody else's. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../userspace/runner/control.h"
#include "tests.h"

#define ANYBODY 4242
#define VARIABLES 4

static const char *const variables[VARIABLES] = {
	"XDG_RUNTIME_DIR", "STATE_DIRECTORY", "XDG_STATE_HOME", "HOME",
};

static char base[32] = "/tmp/rundir_test.XXXXXX";
/* Set these variables, each to a directory of its name, and no others. */
static void set(unsigned int which)
{
	char path[128];

	for (unsigned int i = 0; i < VARIABLES; i++) {
		snprintf(path, sizeof(path), "%s/%s", base, variables[i]);
		if (which & 1u << i)
			setenv(variables[i], path, 1);
		else
			unsetenv(variables[i]);
	}
}

static bool is_at(const char *path, const char *expected)
{
	size_t length = strlen(base);

	if (!strncmp(path, base, length) && !strcmp(path + length, expected))
		return true;
	printf("# %s, not %s\n", path, expected);
	return false;
}

static bool made_at(const char *expected)
{
	char path[256];

	return !rundir_make(path, sizeof(path)) && is_at(path, expected);
}

static void test_order(void)
{
	set(15);
	CHECK(made_at("/XDG_RUNTIME_DIR/mote"));
	set(14);
	CHECK(made_at("/STATE_DIRECTORY/mote"));
	set(12);
	CHECK(made_at("/XDG_STATE_HOME/mote"));
	set(8);
	CHECK(made_at("/HOME/.local/state/mote"));
	set(0);
	errno = 0;
	CHECK(!made_at("") && errno == ENOENT);
	setenv("XDG_RUNTIME_DIR", "relative", 1);
	CHECK(!made_at("") && errno == ENOENT);
}

/* Sockets of before are found in all places, whichever is the best now. */
static void test_found(void)
{
	char path[256];
	unsigned int found = 0;

	set(15);
	for (unsigned int n = 0; n < RUNDIR_PLACES; n++)
		found += !rundir_get(n, path, sizeof(path), false);
	CHECK(found == 4);
}

/* Of another user, as su and sudo leave them; gone, as after the last log-out; open to others. */
static void test_others(void)
{
	char path[256];

	set(9);
	setenv("XDG_RUNTIME_DIR", "/usr", 1);
	CHECK(made_at("/HOME/.local/state/mote"));
	snprintf(path, sizeof(path), "%s/gone", base);
	setenv("XDG_RUNTIME_DIR", path, 1);
	CHECK(made_at("/HOME/.local/state/mote"));
	CHECK(access(path, F_OK));
	set(9);
	snprintf(path, sizeof(path), "%s/XDG_RUNTIME_DIR/mote", base);
	CHECK(!chmod(path, 0755));
	CHECK(!made_at("") && errno == EPERM);
	CHECK(!chmod(path, 0700));
}

int main(void)
{
	static const struct unit_test tests[] = {
		{ "the first place that there is", test_order },
		{ "all places are looked at", test_found },
		{ "what is not this user's, or not its alone", test_others },
	};
	char path[128];
	int status;

	/* Root has a place of its own, and all the others'. The leak sanitizer wants to look on. */
	if (!geteuid() && (setresgid(ANYBODY, ANYBODY, ANYBODY) || setresuid(ANYBODY, ANYBODY, ANYBODY) ||
			   prctl(PR_SET_DUMPABLE, 1)))
		return 1;
	if (!mkdtemp(base))
		return 1;
	snprintf(path, sizeof(path), "%s/XDG_RUNTIME_DIR", base);
	mkdir(path, 0700);
	snprintf(path, sizeof(path), "%s/HOME", base);
	mkdir(path, 0700);
	status = run_all(tests, sizeof(tests) / sizeof(tests[0]));
	snprintf(path, sizeof(path), "rm -rf '%s'", base);
	return system(path) ? 1 : status;
}
