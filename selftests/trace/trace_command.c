// SPDX-License-Identifier: GPL-2.0
/* mote trace as a program: files, pictures, what it leaves behind, what it says when it cannot. */
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "libmote.h"
#include "selftest.h"
#include "trace.h"

#define TRACE_FILE "/tmp/trace_command.trace"

static bool is_one_line(const char *text)
{
	return strncmp(text, "mote: ", 6) == 0 && strcspn(text, "\n") == strlen(text) - 1;
}

/* How many programs and maps the kernel has. */
static int count_bpf(int command)
{
	union bpf_attr attr = { 0 };
	int count = 0;

	while (!syscall(SYS_bpf, command, &attr, sizeof(attr))) {
		attr.start_id = attr.next_id;
		count++;
	}
	return errno == ENOENT ? count : -errno;
}

/* Programs go when nobody uses them any more, a little later. */
static bool are_gone(int programs, int maps)
{
	for (int i = 0; i < LOST_S * 10; i++) {
		if (count_bpf(BPF_PROG_GET_NEXT_ID) == programs && count_bpf(BPF_MAP_GET_NEXT_ID) == maps)
			return true;
		usleep(100000);
	}
	return false;
}

/* For the time that tests may take. */
FIXTURE(trace_command)
{
	struct command command;
};

FIXTURE_SETUP(trace_command)
{
}

FIXTURE_TEARDOWN(trace_command)
{
}

TEST_F(trace_command, leaves_nothing_behind)
{
	int programs = count_bpf(BPF_PROG_GET_NEXT_ID), maps = count_bpf(BPF_MAP_GET_NEXT_ID);
	pid_t child;

	ASSERT_LE(0, programs);
	ASSERT_EQ(0, sh("mote trace latency -o /dev/null -- ./sequence 10"));
	ASSERT_EQ(0, sh("mote trace record --details -o /dev/null -- ./sequence 10"));
	EXPECT_TRUE(are_gone(programs, maps));
	/* Nor if it is killed. */
	unlink("/tmp/attached");
	child = fork();
	if (!child) {
		execlp("mote", "mote", "trace", "record", "-o", "/dev/null", "--", "sh", "-c",
		       "touch /tmp/attached; exec sleep 1000 > /dev/null 2>&1", NULL);
		_exit(127);
	}
	for (int i = 0; i < LOST_S * 10 && access("/tmp/attached", F_OK); i++)
		usleep(100000);
	EXPECT_LT(programs, count_bpf(BPF_PROG_GET_NEXT_ID));
	EXPECT_NE(0, sh("rmmod mote"));
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	EXPECT_TRUE(are_gone(programs, maps));
	EXPECT_EQ(0, unload_mote());
	EXPECT_EQ(0, sh("modprobe mote"));
	/* And a guest runs as before. */
	EXPECT_EQ(0, sh("./sequence 10"));
}

/* Where the buffer is full the loss is told, and what came and what did not is all there was. */
TEST_F(trace_command, loss_is_told)
{
	struct command command;
	struct json_object *root;
	unsigned long long exits = 0;

	if (!is_long_run())
		exits = 50000;
	else
		exits = 1000000;
	/* The tool sleeps through it. */
	command_run(&command,
		    "mote trace record --json -o /dev/null -- sh -c "
		    "'kill -STOP $PPID; ./sequence cpuid %llu > /tmp/counts; kill -CONT $PPID'", exits);
	ASSERT_EQ(0, command.status) TH_LOG("%s", command.err);
	root = json_tokener_parse(command.out);
	ASSERT_NE(NULL, root);
	EXPECT_LE(exits, number(root, "records") + number(root, "lost"));
	EXPECT_EQ(is_long_run(), number(root, "lost") > 0);
	json_object_put(root);
}

TEST_F(trace_command, file_and_pictures)
{
	static const char *const commands[] = {
		"report", "report --events", "report --by vm --by rip --histogram", "flame",
		"flame --count --idle", "flame --symbols /proc/kallsyms", "timeline",
	};
	struct json_object *chrome, *slices;
	struct command command;

	ASSERT_EQ(0, sh("mote trace record -o " TRACE_FILE " -- ./sequence 20"));
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		command_run(&command, "mote trace %s " TRACE_FILE, commands[i]);
		EXPECT_EQ(0, command.status) TH_LOG("%s: %s", commands[i], command.err);
		EXPECT_STRNE("", command.out);
		command_run(&command, "mote trace %s --json " TRACE_FILE " | head -n 1", commands[i]);
		EXPECT_EQ('{', command.out[0]);
	}
	/* Pictures fetch nothing. */
	EXPECT_EQ(0, sh("mote trace flame " TRACE_FILE " | sed 's,http://www.w3.org/2000/svg,,' > /tmp/svg &&"
			"! grep -E 'http|href|script|import' /tmp/svg && grep -q '>cpuid' /tmp/svg"));
	EXPECT_EQ(0, sh("mote trace timeline " TRACE_FILE " | sed 's,http://www.w3.org/2000/svg,,' > /tmp/svg &&"
			"! grep -E 'http|href|script|import' /tmp/svg && grep -q 'vCPU 0' /tmp/svg"));
	EXPECT_EQ(0, sh("mote trace flame --count --as folded " TRACE_FILE " | grep -q '^cpuid;0x.* 20$'"));
	EXPECT_EQ(0, sh("mote trace timeline --as chrome " TRACE_FILE " > /tmp/chrome"));
	chrome = json_object_from_file("/tmp/chrome");
	EXPECT_TRUE(json_object_object_get_ex(chrome, "traceEvents", &slices) &&
		    json_object_array_length(slices) > 100);
	json_object_put(chrome);
	/* A piece of a file is none. */
	EXPECT_EQ(0, sh("head -c 1000 " TRACE_FILE " > /tmp/piece"));
	command_run(&command, "mote trace report /tmp/piece");
	EXPECT_EQ(2, command.status);
	EXPECT_TRUE(is_one_line(command.err));
	unlink(TRACE_FILE);
}

TEST_F(trace_command, top_and_exit_status)
{
	struct command command;

	command_run(&command, "mote trace top --interval 0.2 --rounds 2 --json");
	EXPECT_EQ(0, command.status);
	EXPECT_EQ('{', command.out[0]);
	command_run(&command, "mote trace latency -o /dev/null -- sh -c 'exit 42'");
	EXPECT_EQ(42, command.status);
	command_run(&command, "mote trace latency -o /dev/null -- /nonexistent");
	EXPECT_EQ(127, command.status);
	EXPECT_TRUE(is_one_line(command.err));
}

TEST_F(trace_command, without_privileges)
{
	struct command command;

	command_run_as(&command, 65534, "mote trace latency");
	EXPECT_EQ(1, command.status);
	EXPECT_STREQ("", command.out);
	EXPECT_TRUE(is_one_line(command.err)) TH_LOG("%s", command.err);
	EXPECT_NE(NULL, strstr(command.err, "root"));
}

TEST_F(trace_command, without_the_module)
{
	struct command command;

	ASSERT_EQ(0, unload_mote());
	command_run(&command, "mote trace record -o /dev/null");
	EXPECT_EQ(0, sh("modprobe mote"));
	EXPECT_EQ(1, command.status);
	EXPECT_TRUE(is_one_line(command.err)) TH_LOG("%s", command.err);
	EXPECT_NE(NULL, strstr(command.err, "modprobe mote"));
}

/* A kernel that has no bpf(2). */
TEST_F(trace_command, without_bpf)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_bpf, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof(code) / sizeof(code[0]), code };
	struct command command;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		SKIP(return, "not on this kernel: no seccomp");
	command_run(&command, "mote trace latency");
	EXPECT_EQ(1, command.status);
	EXPECT_STREQ("", command.out);
	EXPECT_TRUE(is_one_line(command.err)) TH_LOG("%s", command.err);
	EXPECT_NE(NULL, strstr(command.err, "CONFIG_BPF"));
}

TEST_F(trace_command, wrong_usage)
{
	static const char *const lines[] = {
		"", "nosuch", "latency --nosuch", "latency --vm", "latency --vm x", "latency --vm 5000000000",
		"latency --by nosuch", "latency --duration 0", "latency --events", "report", "report a b",
		"report /nonexistent", "report /proc/version", "flame --by rip x",
		"flame --symbols /dev/null x",
		"timeline --histogram x", "top --rounds 0", "record --interval 1", "latency --duration nan",
		"profile --event nosuch", "profile --frequency 0", "profile --as nosuch", "profile --stacks",
		"profile --name nosuch", "profile --symbols /nonexistent", "profile --offset 1",
		"latency --as svg", "flame --as chrome x", "flame --event pio x",
		"flame --stacks --as nosuch", "timeline --as folded x", "timeline --name nosuch x",
		"record --name nosuch", "timeline --as chrome --json x",
	};
	struct command command;

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		command_run(&command, "mote trace %s", lines[i]);
		EXPECT_EQ(2, command.status) TH_LOG("%s", lines[i]);
		EXPECT_STREQ("", command.out);
		EXPECT_TRUE(is_one_line(command.err)) TH_LOG("%s: %s", lines[i], command.err);
	}
	command_run(&command, "mote trace --help && mote trace latency --help");
	EXPECT_EQ(0, command.status);
}

MOTE_TEST_MAIN
