// SPDX-License-Identifier: GPL-2.0
/* The examples of docs/tracing.md, beside a guest; those whose tool the host does not have are named. */
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "selftest.h"
#include "trace.h"

#define SCRIPT "/tmp/example.sh"

FIXTURE(examples)
{
	FILE *doc;
	pid_t guest;
	struct command command;
};

FIXTURE_SETUP(examples)
{
	self->doc = fopen("tracing.md", "r");
	ASSERT_NE(NULL, self->doc);
	self->guest = fork();
	if (!self->guest) {
		setpgid(0, 0);
		execl("/bin/sh", "sh", "-c", "while :; do ./sequence 1000 > /dev/null; done", NULL);
		_exit(127);
	}
}

FIXTURE_TEARDOWN(examples)
{
	kill(-self->guest, SIGKILL);
	waitpid(self->guest, NULL, 0);
	fclose(self->doc);
}

/* The next block of shell commands goes to SCRIPT, its first word to @tool. */
static bool next_example(FILE *doc, char *tool, size_t size)
{
	FILE *script = NULL;
	char line[512];

	while (fgets(line, sizeof(line), doc)) {
		if (script && !strcmp(line, "```\n"))
			break;
		if (script) {
			if (!*tool)
				snprintf(tool, size, "%.*s", (int)strcspn(line, " "), line);
			fputs(line, script);
		} else if (!strcmp(line, "```sh\n")) {
			script = fopen(SCRIPT, "w");
			fputs("set -e\n", script);
			*tool = '\0';
		}
	}
	return script && !fclose(script);
}

/* The debug kernel has no histograms of ftrace's own. */
static bool can_run(const char *tool)
{
	if (!sh("grep -q hist: " SCRIPT) && access("/sys/kernel/tracing/events/mote/mote_exit/hist", F_OK))
		return false;
	return !sh("command -v %s", tool);
}

TEST_F(examples, run)
{
	char tool[32];
	int nr = 0, ran = 0;

	for (; next_example(self->doc, tool, sizeof(tool)); nr++) {
		if (!can_run(tool)) {
			TH_LOG("no %s here, or no histograms", tool);
			continue;
		}
		command_run(&self->command, "sh " SCRIPT);
		EXPECT_EQ(0, self->command.status) TH_LOG("%s: %s", tool, self->command.err);
		EXPECT_TRUE(strstr(self->command.out, "} hitcount:") || strstr(self->command.out, "mote_") ||
			    strstr(self->command.out, "@["))
			TH_LOG("%s shows: %.400s", tool, self->command.out);
		ran++;
	}
	EXPECT_EQ(4, nr);
	EXPECT_LE(1, ran);
}

MOTE_TEST_MAIN
