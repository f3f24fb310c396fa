// SPDX-License-Identifier: GPL-2.0
/* A machine that is a service: what it says to systemd, which is us here. */
#include "kselftest_harness.h"
#include "life.h"

#define PATH RUNTIME_DIR "/notify"

GUEST(sleeper, 16, PUT("0x78") "cli; 1: hlt; jmp 1b");

FIXTURE(service)
{
	int fd;
};

FIXTURE_SETUP(service)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = PATH };

	life_begin();
	self->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	ASSERT_EQ(0, bind(self->fd, (struct sockaddr *)&address, sizeof(address)));
}

FIXTURE_TEARDOWN(service)
{
	close(self->fd);
	life_end();
	sh("rm -f said " FLAT_IMAGE);
}

/* The next message but for signs of life, which are counted; "" if there is none for too long. */
static const char *hear(int fd, int *signs)
{
	static char text[512];
	struct pollfd socket = { .fd = fd, .events = POLLIN };
	ssize_t nr;

	do {
		nr = poll(&socket, 1, PATIENCE * 100) == 1 ? recv(fd, text, sizeof(text) - 1, 0) : 0;
		text[nr > 0 ? nr : 0] = '\0';
		*signs += !strcmp(text, "WATCHDOG=1");
	} while (!strcmp(text, "WATCHDOG=1"));
	return text;
}

TEST_F(service, is_told)
{
	int signs = 0;

	write_flat(&guest_sleeper);
	ASSERT_EQ(0, sh("export NOTIFY_SOCKET=" PATH " WATCHDOG_USEC=200000; "
			VM("one", "--memory 2M --flat", "$OLDPWD/" FLAT_IMAGE)));
	EXPECT_STREQ("STATUS=start", hear(self->fd, &signs));
	EXPECT_STREQ("READY=1", hear(self->fd, &signs));
	/* Ten are kept for us: we listen while others act. */
	EXPECT_EQ(0, sh("(mote pause one; mote resume one; sleep 2; mote stop --force one) > said 2>&1 &"));
	EXPECT_STREQ("STATUS=pause", hear(self->fd, &signs));
	EXPECT_STREQ("STATUS=resume", hear(self->fd, &signs));
	EXPECT_STREQ("STOPPING=1", hear(self->fd, &signs));
	EXPECT_LE(3, signs);
	EXPECT_EQ(STATUS_STOPPED, vm_status("one"));
}

/* It runs whether somebody listens or not. */
TEST_F(service, nobody_listens)
{
	write_flat(&guest_sleeper);
	ASSERT_EQ(0, sh("export NOTIFY_SOCKET=" PATH " WATCHDOG_USEC=20000; "
			VM("one", "--memory 2M --flat", "$OLDPWD/" FLAT_IMAGE)));
	EXPECT_TRUE(comes_true("grep -q x " RUNTIME_DIR "/one.out"));
	/* What is kept for us is full long ago. */
	EXPECT_EQ(0, sh("sleep 1; mote pause one && mote resume one && mote stop --force one"));
	EXPECT_EQ(STATUS_STOPPED, vm_status("one"));
}

TEST_F(service, nobody_is_there)
{
	write_flat(&guest_sleeper);
	ASSERT_EQ(0, sh("export NOTIFY_SOCKET=/nowhere/notify; "
			VM("one", "--memory 2M --flat", "$OLDPWD/" FLAT_IMAGE)));
	EXPECT_TRUE(comes_true("grep -q x " RUNTIME_DIR "/one.out"));
	EXPECT_EQ(0, sh("grep -q 'cannot speak to who has started this, by /nowhere/notify' "
			RUNTIME_DIR "/one.err"));
	EXPECT_EQ(0, sh("mote stop --force one"));
}

MOTE_TEST_MAIN
