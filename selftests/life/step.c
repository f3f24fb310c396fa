// SPDX-License-Identifier: GPL-2.0
/* mote step: guests of a few instructions in real mode, exit by exit. */
#include <pty.h>
#include <signal.h>
#include <sys/wait.h>

#include "kselftest_harness.h"
#include "life.h"

GUEST(exits, 16, "xor %eax, %eax; cpuid; mov $0x41, %al; out %al, $0x80; mov $0x10, %ecx; rdmsr\n"
      "xor %al, %al; out %al, $0xf4");
GUEST(endless, 16, "sti; 1: xor %eax, %eax; cpuid; incl 0x600; jmp 1b");
GUEST(resets, 16, "out %al, $0x80; mov $0xcf9, %dx; mov $6, %al; out %al, %dx; hlt");
GUEST(faults, 16, "cpuid; push $0; push $0; push $0; mov %sp, %bp; lidt (%bp); ud2");

#define EXITS RUNTIME_DIR "/exits"
#define STEP "mote step %s run --flat -m 2M --timeout 7000 --name stepped " FLAT_IMAGE
#define STEP_JSON STEP " > " EXITS
#define PORT "pio "

FIXTURE(step)
{
	struct command command;
};

FIXTURE_SETUP(step)
{
	life_begin();
	write_flat(&guest_exits);
}

FIXTURE_TEARDOWN(step)
{
	life_end();
	sh("rm -f " FLAT_IMAGE);
}

/* The reasons of the exits that EXITS has, a line of JSON each; how memory comes is the host's affair. */
static const char *reasons(void)
{
	FILE *exits = fopen(EXITS, "r");
	static char found[512];
	char line[8192];

	found[0] = '\0';
	while (exits && fgets(line, sizeof(line), exits)) {
		struct json_object *exit = json_tokener_parse(line), *value;
		const char *reason;

		if (!json_object_object_get_ex(exit, "reason", &value))
			return "what is no exit";
		reason = json_object_get_string(value);
		if (strcmp(reason, "npf"))
			snprintf(found + strlen(found), sizeof(found) - strlen(found), "%s ", reason);
		json_object_put(exit);
	}
	fclose(exits);
	return found;
}

TEST_F(step, from_start_to_end)
{
	/* In this order. */
	static const char *const words[] = {
		"#1  vCPU 0  ", "handled by the module\n", " cpuid: ", "=>  7c03 ", " cpuid ", "; 0f a2\n",
		" -> 7c03 ", "goes on with\n", "rip ", " -> 7c05", " pio: ", "handled by the runner\n",
		"out 0x80, al", " rdmsr: ", " pio: ",
	};
	const char *at;

	command_run(&self->command, STEP, "");
	at = self->command.out;
	EXPECT_EQ(STATUS_DEBUG(0), self->command.status);
	EXPECT_STREQ("", self->command.err);
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		at = strstr(at, words[i]);
		ASSERT_NE(NULL, at) TH_LOG("no \"%s\" in\n%s", words[i], self->command.out);
	}
	command_run(&self->command, STEP_JSON, "--json");
	EXPECT_EQ(STATUS_DEBUG(0), self->command.status);
	EXPECT_STREQ("cpuid pio rdmsr pio ", reasons());
}

TEST_F(step, as_far_as_wanted)
{
	command_run(&self->command, STEP_JSON, "--json --until pio --count 1");
	EXPECT_EQ(0, self->command.status);
	EXPECT_STREQ(PORT, reasons());
	EXPECT_EQ(0, sh("mote ps | grep -q stepped && exit 1 || exit 0"));
	/* It ends before there is one of these. */
	command_run(&self->command, STEP_JSON, "--json --until hypercall");
	EXPECT_EQ(STATUS_DEBUG(0), self->command.status);
	EXPECT_STREQ("", reasons());
}

TEST_F(step, triple_fault)
{
	if (host_is_trinity())
		SKIP(return, "not on this hardware: Bochs panics at a guest's triple fault");
	write_flat(&guest_faults);
	command_run(&self->command, STEP_JSON, "--json");
	EXPECT_EQ(STATUS_TRIPLE_FAULT, self->command.status);
	EXPECT_STREQ("cpuid shutdown ", reasons());
	EXPECT_NE(NULL, strstr(self->command.err, "triple fault of vCPU 0\n"));
	EXPECT_NE(NULL, strstr(self->command.err, "ud2"));
}

/* The machine that comes after it is stepped as well. */
TEST_F(step, over_a_reset)
{
	write_flat(&guest_resets);
	command_run(&self->command, "mote step --json --until pio --count 12 run --restart --flat -m 2M "
		    FLAT_IMAGE " > " EXITS);
	EXPECT_EQ(0, self->command.status);
	/* Two in each life. */
	EXPECT_EQ(0, strncmp(PORT PORT PORT, reasons(), strlen(PORT PORT PORT)));
}

/* ---- a machine that runs --------------------------------------------------------------------- */

#define NEXT "{\"version\":1,\"do\":\"step\"}\n"

/* The next exit, by the control socket; or what has come of the answer when that is over. */
static void ask(int fd, char *answer, size_t size)
{
	size_t nr = 0;

	send(fd, NEXT, strlen(NEXT), MSG_NOSIGNAL);
	while (nr < size - 1 && recv(fd, answer + nr, 1, 0) == 1 && answer[nr] != '\n')
		nr++;
	answer[nr] = '\0';
}

TEST_F(step, one_that_runs)
{
	char answer[16384];
	int fd;

	ASSERT_TRUE(vm_start_flat("endless", &guest_endless, ""));
	command_run(&self->command, "mote step --count 3 --until cpuid --json endless > " EXITS);
	EXPECT_EQ(0, self->command.status);
	EXPECT_EQ(0, strncmp("cpuid ", reasons(), 6));
	EXPECT_TRUE(vm_is("endless", "running"));
	/* One alone, at whose exit it stands, also through a pause. */
	fd = vm_dial("endless");
	ask(fd, answer, sizeof(answer));
	EXPECT_NE(NULL, strstr(answer, "\"exit\":1,")) TH_LOG("%s", answer);
	EXPECT_COMPLAINT(1, "stepped by somebody else", "mote step endless");
	EXPECT_EQ(0, sh("mote pause endless && mote snapshot --pause endless " RUNTIME_DIR "/saved"));
	EXPECT_EQ(0, sh("mote resume endless"));
	ask(fd, answer, sizeof(answer));
	EXPECT_NE(NULL, strstr(answer, "\"exit\":2,")) TH_LOG("%s", answer);
	close(fd);
	/* It goes on without him: no exit of its own is the runner's. */
	EXPECT_TRUE(comes_true("test $(mote stat --json endless | grep -c '\"cpuid\"') -gt 0"));
	command_run(&self->command, "mote step --count 1 --until cpuid endless");
	EXPECT_EQ(0, self->command.status);
	EXPECT_EQ(0, sh("mote stop --force endless"));
	EXPECT_EQ(STATUS_STOPPED, vm_status("endless"));
}

/* It moves while somebody looks at it, who is left behind. */
TEST_F(step, one_that_migrates)
{
	char answer[16384];
	int fd;

	ASSERT_TRUE(vm_start_flat("endless", &guest_endless, ""));
	fd = vm_dial("endless");
	ask(fd, answer, sizeof(answer));
	EXPECT_NE(NULL, strstr(answer, "\"exit\":1,")) TH_LOG("%s", answer);
	ASSERT_EQ(0, sh("cd " RUNTIME_DIR "; mote receive --name there --timeout 7000 unix:wire & "
			"echo $! > there.pid"));
	EXPECT_TRUE(comes_true("cd " RUNTIME_DIR "; mote migrate endless unix:wire"));
	EXPECT_EQ(0, vm_status("endless"));
	ask(fd, answer, sizeof(answer));
	EXPECT_STREQ("", answer);
	close(fd);
	command_run(&self->command, "mote step --json --count 1 --until cpuid there > " EXITS);
	EXPECT_STREQ("cpuid ", reasons());
	EXPECT_EQ(0, sh("mote stop --force there"));
}

/* ---- at a terminal ------------------------------------------------------------------------------ */

/* What is typed, and what has to be seen then. */
static const struct {
	const char *keys, *seen;
} typed[] = {
	{ "u cpuid\n", "; 0f a2" }, { "f\n", "idtr.base" }, { "r\n", "r15 0" },
	{ "?\n", "the next exit of this reason" }, { "u nothing\n", "the next exit of this reason" },
	{ "u pio\n", "out 0x80, al" }, { "u rdmsr\n", "; 0f 32" }, { "\n", "=>" }, { "q\n", NULL },
};

/* All that it says until it asks; "" if it does not. */
static const char *hear(int fd)
{
	static char said[32768];
	size_t nr = 0;

	for (said[0] = '\0'; !strstr(said, "step> ") && nr < sizeof(said) - 1; said[++nr] = '\0')
		if (read(fd, said + nr, 1) != 1)
			return "";
	return said;
}

static pid_t step_at_terminal(int *fd)
{
	pid_t pid = forkpty(fd, NULL, NULL, NULL);

	if (pid)
		return pid;
	execlp("mote", "mote", "step", "run", "--flat", "-m", "2M", "--name", "stepped", FLAT_IMAGE,
	       (char *)NULL);
	_exit(127);
}

TEST_F(step, terminal)
{
	int fd, status;
	pid_t pid = step_at_terminal(&fd);

	EXPECT_NE(NULL, strstr(hear(fd), "#1  vCPU 0"));
	for (size_t i = 0; i < sizeof(typed) / sizeof(typed[0]); i++) {
		ASSERT_EQ((ssize_t)strlen(typed[i].keys), write(fd, typed[i].keys, strlen(typed[i].keys)));
		if (typed[i].seen)
			ASSERT_NE(NULL, strstr(hear(fd), typed[i].seen))
				TH_LOG("no \"%s\" after %s", typed[i].seen, typed[i].keys);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(WIFEXITED(status) && !WEXITSTATUS(status));
	EXPECT_EQ(0, sh("mote ps | grep -q stepped && exit 1 || exit 0"));
	close(fd);
}

/* Who is killed takes the machine that he has started along. */
TEST_F(step, killed)
{
	int fd;
	pid_t pid = step_at_terminal(&fd);

	ASSERT_STRNE("", hear(fd));
	EXPECT_EQ(0, sh("mote ps | grep -q stepped"));
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	close(fd);
	EXPECT_TRUE(comes_true("! mote ps | grep -q stepped"));
}

TEST_F(step, bad_input)
{
	EXPECT_COMPLAINT(2, "which VM, or run what", "mote step");
	EXPECT_COMPLAINT(2, "takes one VM: b", "mote step a b");
	EXPECT_COMPLAINT(2, "no VM of yours is called a", "mote step a");
	EXPECT_COMPLAINT(2, "not a number from 1", "mote step --count 0 a");
	EXPECT_COMPLAINT(2, "not a number from 1", "mote step --count x a");
	EXPECT_COMPLAINT(2, "wants a value", "mote step --count");
	EXPECT_COMPLAINT(2, "no exit has this reason: hull", "mote step --until hull a");
	EXPECT_COMPLAINT(2, "unknown option --wrong", "mote step --wrong a");
	EXPECT_COMPLAINT(2, "which image", "mote step run");
	EXPECT_COMPLAINT(2, "/nowhere", "mote step run --flat /nowhere");
	EXPECT_COMPLAINT(2, "--serial socket", "mote step run --serial stdio --flat " FLAT_IMAGE);
}

MOTE_TEST_MAIN
