// SPDX-License-Identifier: GPL-2.0
/* Living with VMs: mote ps, stop, pause, resume, console and stat, and what they must not do. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "kselftest_harness.h"
#include "boot.h"

#define DIRECTORY "/run/mote"

/* One exit after another. */
GUEST(busy, 16, "1: out %al, $0x80; jmp 1b");
/* Sends an R, then whatever it receives; it has to say that it is ready for that. */
GUEST(echo, 16, "mov $0x3fc, %dx; mov $3, %al; out %al, %dx; mov $0x3f8, %dx; mov $'R', %al; out %al, %dx\n"
		"1: mov $0x3fd, %dx; in %dx, %al; test $1, %al; jz 1b\n"
		"mov $0x3f8, %dx; in %dx, %al; out %al, %dx; jmp 1b");
/* Writes without end. */
GUEST(flood, 16, "mov $0x3f8, %dx; mov $'x', %al; 1: out %al, %dx; out %al, $0x80; jmp 1b");
GUEST(halted, 16, "cli; hlt");

FIXTURE(vms)
{
	struct command command;
};

FIXTURE_SETUP(vms)
{
	unsetenv("XDG_RUNTIME_DIR");
}

FIXTURE_TEARDOWN(vms)
{
	sh("for name in $(mote ps | awk 'NR > 1 { print $1 }'); do mote stop --force $name; done; rm -f flat.bin out.*");
}

/* In the background; the run's end goes to out.NAME, and so does its exit status. */
static void start(const char *name, const struct guest_code *code, const char *options)
{
	write_flat(code);
	sh("(mote run --flat --memory 2M --timeout 200 --name %s %s " FLAT_IMAGE " < /dev/null > out.%s 2>&1; echo status $? >> out.%s) &",
	   name, options, name, name);
	sh("for i in $(seq 100); do mote ps | grep -q '^%s ' && exit 0; sleep 0.1; done; exit 1", name);
}

static bool is_listed(const char *name, const char *state)
{
	return !sh("mote ps | grep -q '^%s .* %s '", name, state);
}

/* How many port accesses a VM has made. */
static long exits(struct command *command, const char *name)
{
	command_run(command, "mote stat %s | awk '$1 == \"pio\" { print $2 }'", name);
	return atol(command->out);
}

/* The same, later: has it gone on? */
static bool goes_on(struct command *command, const char *name)
{
	long before = exits(command, name);

	sh("sleep 0.3");
	return exits(command, name) > before;
}

/* The status that a VM's run ended with. */
static int status_of(struct command *command, const char *name)
{
	sh("for i in $(seq 100); do grep -q ^status out.%s && exit 0; sleep 0.1; done", name);
	command_run(command, "sed -n 's/^status //p' out.%s", name);
	return command->out[0] ? atoi(command->out) : -1;
}

TEST_F_TIMEOUT(vms, names, 120)
{
	struct command *command = &self->command;

	command_run(command, "mote ps");
	EXPECT_EQ(0, command->status);
	EXPECT_EQ(strlen(command->out) - 1, strcspn(command->out, "\n"));
	start("one", &guest_halted, "--serial none");
	start("onto", &guest_halted, "--serial none");
	EXPECT_TRUE(is_listed("one", "running"));
	EXPECT_TRUE(is_listed("onto", "running"));
	command_run(command, "mote ps --json | grep -c '\"pid\"'");
	EXPECT_EQ(2, atoi(command->out));
	/* A name that is in use, and others. */
	command_run(command, "mote run --flat --name one " FLAT_IMAGE);
	EXPECT_EQ(2, command->status);
	EXPECT_NE(NULL, strstr(command->err, "there is a VM called one"));
	command_run(command, "mote run --flat --name ../one " FLAT_IMAGE);
	EXPECT_EQ(2, command->status);
	EXPECT_NE(NULL, strstr(command->err, "--name: not of letters"));
	/* The beginning will do, if there is no other. */
	command_run(command, "mote stop --force on");
	EXPECT_EQ(2, command->status);
	EXPECT_NE(NULL, strstr(command->err, "2 VMs have names that begin with on"));
	command_run(command, "mote pause two");
	EXPECT_EQ(2, command->status);
	EXPECT_NE(NULL, strstr(command->err, "no VM of yours is called two"));
	EXPECT_EQ(0, sh("mote stop --force ont"));
	EXPECT_EQ(10, status_of(command, "onto")) TH_LOG("%s", command->out);
	/* Also a whole name that begins another one. */
	EXPECT_EQ(0, sh("mote stop --force one"));
	EXPECT_EQ(10, status_of(command, "one"));
	EXPECT_NE(0, sh("ls " DIRECTORY "/*.sock"));
}

/* Two that nobody has named. */
TEST_F_TIMEOUT(vms, without_names, 60)
{
	write_flat(&guest_halted);
	sh("for i in 1 2; do mote run --flat --serial none --timeout 60 " FLAT_IMAGE " < /dev/null > out.$i 2>&1 & done");
	EXPECT_EQ(0, sh("for i in $(seq 100); do mote ps | grep -q '^flat.bin-2 ' && exit 0; sleep 0.1; done; exit 1"));
	EXPECT_TRUE(is_listed("flat.bin", "running"));
}

TEST_F_TIMEOUT(vms, pause_and_resume, 120)
{
	struct command *command = &self->command;
	long before;

	start("busy", &guest_busy, "--serial none --cpus 2 --json");
	EXPECT_TRUE(goes_on(command, "busy"));
	EXPECT_EQ(0, sh("mote pause busy"));
	EXPECT_TRUE(is_listed("busy", "paused"));
	before = exits(command, "busy");
	sh("sleep 0.3");
	EXPECT_EQ(before, exits(command, "busy"));
	EXPECT_EQ(0, sh("mote pause busy"));
	EXPECT_EQ(0, sh("mote resume busy"));
	EXPECT_TRUE(is_listed("busy", "running"));
	EXPECT_TRUE(goes_on(command, "busy"));
	/* One that is paused can be ended. */
	EXPECT_EQ(0, sh("mote pause busy"));
	EXPECT_EQ(0, sh("mote stop --force busy"));
	EXPECT_EQ(10, status_of(command, "busy"));
	command_run(command, "sed -n 's/.*\"event\":\"\\([a-z]*\\)\".*/\\1/p' out.busy | tr '\\n' ' '");
	EXPECT_STREQ("start pause resume pause end ", command->out);
}

TEST_F_TIMEOUT(vms, consoles, 120)
{
	struct command *command = &self->command;

	start("echo", &guest_echo, "--serial socket");
	/* What was written before, and what is typed. */
	command_run(command, "(printf hello; sleep 2) | timeout 3 mote console echo");
	EXPECT_STREQ("Rhello", command->out) TH_LOG("%s", command->err);
	/* Two at a time; both see all, and leave it with the VM. */
	command_run(command, "timeout 4 mote console echo < /dev/null > out.a & sleep 0.5; "
		    "(sleep 1; printf ' and more'; sleep 1) | timeout 3 mote console echo > out.b; wait; cmp out.a out.b && cat out.a");
	EXPECT_STREQ("Rhello and more", command->out);
	EXPECT_EQ(0, sh("mote stop --force echo"));
	start("mute", &guest_halted, "--serial none");
	command_run(command, "mote console mute");
	EXPECT_EQ(1, command->status);
	EXPECT_NE(NULL, strstr(command->err, "has no console"));
}

/* The output of a VM is the same whether or not somebody looks on. */
TEST_F_TIMEOUT(vms, console_beside_stdio, 60)
{
	struct command *command = &self->command;

	write_flat(&guest_echo);
	command_run(command, "(sleep 1; printf typed; sleep 2) | mote run --flat --timeout 5 --name both " FLAT_IMAGE
		    " > out.run 2> /dev/null & sleep 0.5; timeout 3 mote console both < /dev/null > out.console; wait; "
		    "cat out.run; echo; cat out.console");
	EXPECT_STREQ("Rtyped\nRtyped", command->out);
}

TEST_F_TIMEOUT(vms, stat, 60)
{
	struct command *command = &self->command;

	start("busy", &guest_busy, "--serial none");
	command_run(command, "mote stat busy");
	EXPECT_EQ(0, command->status);
	EXPECT_NE(NULL, strstr(command->out, "busy: running"));
	EXPECT_NE(NULL, strstr(command->out, "\npio "));
	EXPECT_NE(NULL, strstr(command->out, "\nall "));
	command_run(command, "mote stat --watch 0.5 busy | head -30");
	EXPECT_NE(NULL, strstr(command->out, "per second"));
	command_run(command, "mote stat --json busy | grep -c exits_to_runner");
	EXPECT_EQ(1, atoi(command->out));
	command_run(command, "mote stat --watch 0 busy");
	EXPECT_EQ(2, command->status);
	command_run(command, "mote stat");
	EXPECT_EQ(2, command->status);
	EXPECT_NE(NULL, strstr(command->err, "which VM?"));
}

/* One is killed, one spins: the others do not mind, and nothing is left of it. */
TEST_F_TIMEOUT(vms, killed, 120)
{
	struct command *command = &self->command;

	start("victim", &guest_busy, "--serial none --cpus 2");
	start("other", &guest_busy, "--serial none");
	EXPECT_EQ(0, sh("kill -9 $(mote ps | awk '$1 == \"victim\" { print $2 }')"));
	EXPECT_EQ(128 + 9, status_of(command, "victim"));
	EXPECT_FALSE(is_listed("victim", "running"));
	EXPECT_TRUE(goes_on(command, "other"));
	/* The name is free, even if nobody has looked in between. */
	start("victim", &guest_busy, "--serial none");
	EXPECT_EQ(0, sh("kill -9 $(mote ps | awk '$1 == \"victim\" { print $2 }')"));
	status_of(command, "victim");
	EXPECT_EQ(0, sh("test -S " DIRECTORY "/victim.sock"));
	start("victim", &guest_busy, "--serial none");
	EXPECT_TRUE(goes_on(command, "victim"));
}

static int connect_to(const char *name)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), DIRECTORY "/%s.sock", name);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)))
		perror(address.sun_path);
	return fd;
}

/* What comes back for some bytes, as text. */
static const char *reply(int fd, const char *data, size_t nr)
{
	static char answer[1024];
	ssize_t done = send(fd, data, nr, MSG_NOSIGNAL) == (ssize_t)nr ? recv(fd, answer, sizeof(answer) - 1, 0) : -1;

	answer[done > 0 ? done : 0] = '\0';
	return answer;
}

/* Clients that say nothing, too much, or nothing that makes sense, and do not listen. */
TEST_F_TIMEOUT(vms, bad_clients, 120)
{
	static const char hello[] = "{\"do\":\"console\"}\n";
	static char noise[6000];
	int fds[40], deaf;

	memset(noise, 'x', sizeof(noise));
	start("flood", &guest_flood, "--serial socket");
	fds[0] = connect_to("flood");
	EXPECT_NE(NULL, strstr(reply(fds[0], "nonsense\n", 9), "error"));
	EXPECT_NE(NULL, strstr(reply(fds[0], "[]\n", 3), "error"));
	EXPECT_NE(NULL, strstr(reply(fds[0], "{\"do\":1}\n", 9), "error"));
	EXPECT_NE(NULL, strstr(reply(fds[0], "{\"do\":\"fly\"}\n", 13), "no request"));
	EXPECT_NE(NULL, strstr(reply(fds[0], noise, sizeof(noise)), "too long"));
	close(fds[0]);
	/* More than it takes: the rest is hung up on. */
	for (int i = 0; i < 40; i++)
		fds[i] = connect_to("flood");
	for (int i = 0; i < 40; i++)
		close(fds[i]);
	/* One that never reads what the guest writes. */
	deaf = connect_to("flood");
	EXPECT_EQ((ssize_t)strlen(hello), send(deaf, hello, strlen(hello), 0));
	sh("sleep 1");
	EXPECT_TRUE(goes_on(&self->command, "flood"));
	close(deaf);
	EXPECT_TRUE(goes_on(&self->command, "flood"));
	EXPECT_EQ(0, sh("mote stop --force flood"));
}

TEST_F_TIMEOUT(vms, of_others, 60)
{
	struct command *command = &self->command;
	struct stat stat_of;

	start("mine", &guest_halted, "--serial none");
	ASSERT_EQ(0, stat(DIRECTORY, &stat_of));
	EXPECT_EQ(0700, stat_of.st_mode & 07777);
	ASSERT_EQ(0, stat(DIRECTORY "/mine.sock", &stat_of));
	EXPECT_EQ(0600, stat_of.st_mode & 07777);
	command_run_as(command, 12345, "mote stop --force mine");
	EXPECT_EQ(2, command->status);
	EXPECT_TRUE(is_listed("mine", "running"));
	/* A directory that others can write to is not used. */
	command_run(command, "mkdir -p x/mote && chmod 777 x/mote && XDG_RUNTIME_DIR=$PWD/x mote ps; s=$?; rm -r x; exit $s");
	EXPECT_EQ(1, command->status);
	EXPECT_NE(NULL, strstr(command->err, "others can reach it"));
}

MOTE_TEST_MAIN
