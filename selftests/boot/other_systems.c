// SPDX-License-Identifier: GPL-2.0
/* mote run: other systems than Linux. */
#include <stdlib.h>
#include <string.h>

#include "kselftest_harness.h"
#include "boot.h"

FIXTURE(other_systems)
{
	struct command command;
};

FIXTURE_SETUP(other_systems)
{
}

FIXTURE_TEARDOWN(other_systems)
{
}

/*
 * memtest86+ goes through its patterns, in little memory, without an error.  It
 * never ends: that the last test, which waits, has begun is enough.
 */
#define MEMTEST									\
	"mote run --memory 16M --timeout 7000 --append console=ttyS0,115200 memtest.bin > screen " \
	"< /dev/null & until grep -q 'Bit fade' screen || ! kill -0 $!; do sleep 1; done; kill $!; wait $!"

TEST_F(other_systems, memtest)
{
	struct command *command = &self->command;

	if (!getenv("MOTE_LONG"))
		SKIP(return, "not on this hardware: too slow but for make check-long");
	command_run(command, MEMTEST);
	EXPECT_EQ(128 + 15, command->status);
	EXPECT_EQ(0, sh("grep -q 'Modulo 20' screen"));
	EXPECT_EQ(0, sh("grep -q 'Errors: *0' screen"));
	EXPECT_NE(0, sh("grep -q 'Errors: *[1-9]' screen"));
	sh("rm screen");
}

/*
 * GNU Mach looks for all the devices that it has drivers for.  What it misses then
 * is a module to start, and it resets the machine.
 */
TEST_F(other_systems, mach)
{
	struct command *command = &self->command;

	if (!is_time_for_systems())
		SKIP(return, NO_TIME);
	command_run(command,
		    "mote run --memory 64M --timeout 7000 --append console=com0 gnumach < /dev/null");
	EXPECT_EQ(STATUS_RESET, command->status);
	EXPECT_NE(NULL, strstr(command->out, "Probing PCI hardware."));
	EXPECT_NE(NULL, strstr(command->out, "scsi : detected total."));
	EXPECT_NE(NULL, strstr(command->out, "RTC time is 20"));
	EXPECT_NE(NULL, strstr(command->out, "No bootstrap code loaded")) {
		TH_LOG("%s%s", command->out, command->err);
	}
}

BOOT_TEST_MAIN("vmlinuz")
