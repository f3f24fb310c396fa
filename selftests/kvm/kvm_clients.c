// SPDX-License-Identifier: GPL-2.0
/*
 * mote kvm: a client of the KVM ABI (client.c) sees on mote what it sees on KVM, on the same host;
 * what cannot be run like this is said in one line.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "guest.h"
#include "selftest.h"

/* The first line in which two texts differ. */
static void show_difference(const char *mote, const char *kvm)
{
	int line = 1;

	while (*mote && *mote == *kvm) {
		line += *mote == '\n';
		mote++;
		kvm++;
	}
	printf("# line %d: on mote ...%.60s, on KVM ...%.60s\n", line, mote, kvm);
}

/* On Bochs a guest of KVM's that loops with IF clear stops its host: docs/security.md. */
static bool can_run_kvm(void)
{
	const char *host = getenv("MOTE_LAB");

	return kvm_module() && (!host || !strcmp(host, "svm"));
}

TEST(a_client_sees_the_same_on_kvm_and_on_mote)
{
	struct command on_mote, on_kvm;
	const char *module = kvm_module();

	if (host_is_trinity())
		setenv("NO_TRIPLE_FAULT", "1", 1);
	command_run(&on_mote, "mote kvm -- ./client");
	EXPECT_EQ(0, on_mote.status);
	EXPECT_STREQ("", on_mote.err);
	EXPECT_NE(NULL, strstr(on_mote.out, "\nend\n"))
		TH_LOG("%s", on_mote.out);
	if (!can_run_kvm())
		return;
	ASSERT_EQ(0, sh("modprobe %s", module));
	command_run(&on_kvm, "./client");
	sh("rmmod %s kvm", module);
	EXPECT_EQ(0, on_kvm.status);
	EXPECT_EQ(0, strcmp(on_kvm.out, on_mote.out))
		show_difference(on_mote.out, on_kvm.out);
}

/* On KVM there is no comparison everywhere: that of TCG never comes to a breakpoint. */
TEST(a_client_debugs_its_guest)
{
	struct command command;

	command_run(&command, "mote kvm -- ./client debugger");
	EXPECT_EQ(0, command.status);
	EXPECT_STREQ("", command.err);
	EXPECT_STREQ("debug 1 at 0x1001, dr6 0xffff0ff1\n"
		     "the guest's: 1234 ffff0ff0 400\n"
		     "debug 1 at 0x1006, dr6 0xffff0ff1\n"
		     "debug 1 at 0x1007, dr6 0xffff4ff0\n"
		     "debug 1 at 0x100a, dr6 0xffff4ff0\n"
		     "in 0x3f0, 1\n"
		     "debug 1 at 0x100b, dr6 0xffff4ff0\n"
		     "debug 1 at 0x100e, dr6 0xffff4ff0\n"
		     "debug 1 at 0x1010, dr6 0xffff4ff0\n"
		     "write 0x40010, 1: 81\n"
		     "debug 1 at 0x1013, dr6 0xffff4ff0\n"
		     "read 0x40010, 1:\n"
		     "debug 1 at 0x1017, dr6 0xffff4ff0\n"
		     "debug 1 at 0x101a, dr6 0xffff4ff0\n"
		     "debug 1 at 0x101c, dr6 0xffff4ff0\n"
		     "debug 1 at 0x101d, dr6 0xffff4ff0\n"
		     "debug 1 at 0x101d, dr6 0xffff2ff0\n"
		     "exit 5\n"
		     "its DR0: 1234\n"
		     "exit 5\n"
		     "out 0x80, 1: 0x99\n"
		     "out 0x20, 1: 0x20\n"
		     "exit 5\n", command.out);
	/* QUIRK(qemu 7.2): its AMD processor does not know the intercept of INT3. */
	if (host_is_tcg())
		return;
	command_run(&command, "mote kvm -- ./client int3");
	EXPECT_STREQ("debug 3 at 0x1000, dr6 0xffff0ff0\n"
		     "out 0x80, 1: 0x99\n"
		     "out 0x20, 1: 0x20\n"
		     "exit 5\n", command.out);
}

/* One line that says it, nothing else, and that exit status. */
static bool says(int status, const char *what, const char *arguments)
{
	struct command command;
	const char *newline;

	command_run(&command, "mote kvm %s", arguments);
	newline = strchr(command.err, '\n');
	return command.status == status && !command.out[0] && strstr(command.err, what) && newline &&
	       !newline[1];
}

TEST(what_cannot_be_run_is_said)
{
	EXPECT_TRUE(says(2, "which program?", ""));
	EXPECT_TRUE(says(2, "which program?", "--"));
	EXPECT_TRUE(says(2, "unknown option --no", "--no client"));
	EXPECT_TRUE(says(2, "there is no program ./nobody", "-- ./nobody"));
	EXPECT_TRUE(says(2, "linked statically", "-- ./kvm_clients"));
	EXPECT_TRUE(says(2, "directory", "-- /usr"));
}

/* A call that is not there is named, once, and answered as by a kernel that does not know it. */
TEST(what_a_client_wants_and_does_not_get_is_said)
{
	struct command command;

	command_run(&command, "mote kvm -- ./client wants");
	EXPECT_EQ(0, command.status);
	EXPECT_STREQ("mote: kvm: the program calls KVM_SMI, which is not there\n", command.err);
	EXPECT_STREQ("KVM_SMI, 0: Invalid argument\nKVM_SMI, 0: Invalid argument\n", command.out);
}

TEST(the_exit_status_is_the_programs)
{
	EXPECT_EQ(7, sh("mote kvm -- env sh -c 'exit 7'"));
	EXPECT_EQ(0, sh("mote kvm --help"));
}

MOTE_TEST_MAIN
