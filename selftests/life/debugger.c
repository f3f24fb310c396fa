// SPDX-License-Identifier: GPL-2.0
/*
 * mote gdb: a debugger that speaks gdb's remote protocol by hand, at a guest in real mode that counts.
 * What Debian's gdb makes of a kernel is gdb.c's affair.
 */
#include <signal.h>
#include <sys/wait.h>

#include "kselftest_harness.h"
#include "life.h"

/* It is loaded to 0x7c00, and counts at 0x9000. */
GUEST(counts, 16, "1: incw 0x9000; call 2f; jmp 1b; 2: nop; ret");

#define COUNTS 0x7c00
#define BEHIND_COUNT 0x7c04
#define JUMPS 0x7c07
#define CALLED 0x7c09
#define RETURNS 0x7c0a

/* `mote gdb`, and this end of its standard input and output. */
struct debugger {
	pid_t pid;
	int fd;
	char said[8192];
};

/* What comes next, up to the sum; without that. */
static const char *hear(struct debugger *debugger)
{
	size_t nr = 0;
	char *hash = NULL;

	while (nr < sizeof(debugger->said) - 1 && !(hash && hash[1] && hash[2])) {
		struct pollfd poll_fd = { .fd = debugger->fd, .events = POLLIN };

		if (poll(&poll_fd, 1, LOST_S * 1000) != 1 || read(debugger->fd, debugger->said + nr, 1) != 1)
			return "nothing";
		debugger->said[++nr] = '\0';
		hash = strchr(debugger->said, '#');
	}
	*hash = '\0';
	hash = strchr(debugger->said, '$');
	return hash ? hash + 1 : "nothing";
}

static void say(struct debugger *debugger, const char *packet)
{
	unsigned char sum = 0;

	for (const char *c = packet; *c; c++)
		sum += *c;
	dprintf(debugger->fd, "$%s#%02x", packet, sum);
}

static const char *ask(struct debugger *debugger, const char *packet)
{
	say(debugger, packet);
	return hear(debugger);
}

static bool attach(struct debugger *debugger)
{
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends))
		return false;
	debugger->pid = fork();
	if (!debugger->pid) {
		dup2(ends[1], 0);
		dup2(ends[1], 1);
		execlp("mote", "mote", "gdb", "counts", (char *)NULL);
		_exit(127);
	}
	close(ends[1]);
	debugger->fd = ends[0];
	return !strcmp(ask(debugger, "QStartNoAckMode"), "OK") &&
	       strstr(ask(debugger, "qSupported:swbreak+;hwbreak+"), "swbreak+");
}

/* Its exit status. */
static int end_of(struct debugger *debugger)
{
	int status;

	close(debugger->fd);
	if (waitpid(debugger->pid, &status, 0) != debugger->pid || !WIFEXITED(status))
		return -1;
	return WEXITSTATUS(status);
}

static unsigned int eip(struct debugger *debugger)
{
	return __builtin_bswap32(strtoul(ask(debugger, "p8"), NULL, 16));
}

static unsigned int count(struct debugger *debugger)
{
	return __builtin_bswap16(strtoul(ask(debugger, "m9000,2"), NULL, 16));
}

FIXTURE(debugger)
{
	struct debugger debugger;
};

FIXTURE_SETUP(debugger)
{
	life_begin();
	ASSERT_TRUE(vm_start_flat("counts", &guest_counts, "--gdb"));
	ASSERT_TRUE(attach(&self->debugger));
}

FIXTURE_TEARDOWN(debugger)
{
	life_end();
}

#define ASK(answer, packet) EXPECT_STREQ(answer, ask(debugger, packet)) TH_LOG("%s", packet)

/* From its first instruction on: breakpoints of each kind, steps, and memory. */
TEST_F(debugger, stops)
{
	struct debugger *debugger = &self->debugger;
	unsigned int before;

	if (host_is_trinity())
		SKIP(return, "not on this hardware: Bochs ends when a guest of this processor is stepped");
	EXPECT_EQ(COUNTS, eip(debugger));
	EXPECT_EQ(0, count(debugger));
	EXPECT_NE(NULL, strstr(ask(debugger, "qXfer:features:read:target.xml:0,200"),
			       "<architecture>i386</architecture>"));
	ASK("OK", "Z0,7c09,1");
	ASK("T05thread:1;swbreak:;", "c");
	EXPECT_EQ(CALLED, eip(debugger));
	EXPECT_EQ(1, count(debugger));
	ASK("90c3", "m7c09,2");
	ASK("OK", "z0,7c09,1");
	ASK("T05thread:1;", "s");
	EXPECT_EQ(RETURNS, eip(debugger));
	ASK("T05thread:1;", "vCont;s:1");
	EXPECT_EQ(JUMPS, eip(debugger));
	ASK("T05thread:1;", "s");
	EXPECT_EQ(COUNTS, eip(debugger));
	ASK("T05thread:1;", "s");
	EXPECT_EQ(BEHIND_COUNT, eip(debugger));
	EXPECT_EQ(2, count(debugger));
	ASK("OK", "Z2,9000,2");
	ASK("T05thread:1;watch:9000;", "c");
	EXPECT_EQ(BEHIND_COUNT, eip(debugger));
	EXPECT_EQ(3, count(debugger));
	ASK("OK", "z2,9000,2");
	ASK("OK", "Z1,7c0a,1");
	ASK("T05thread:1;hwbreak:;", "c");
	EXPECT_EQ(RETURNS, eip(debugger));
	ASK("OK", "z1,7c0a,1");
	ASK("OK", "M9000,2:3412");
	ASK("OK", "P0=78563412");
	ASK("78563412", "p0");
	EXPECT_EQ(0x1234, count(debugger));
	/* There is no memory here, nor a register of that number. */
	ASK("E01", "Z0,30000000,1");
	ASK("E01", "m30000000,1");
	ASK("E01", "pffff");
	say(debugger, "c");
	dprintf(debugger->fd, "\x03");
	EXPECT_STREQ("T02thread:1;", hear(debugger));
	before = count(debugger);
	ASK("OK", "Z0,7c00,1");
	ASK("T05thread:1;swbreak:;", "c");
	ASK("OK", "z0,7c00,1");
	EXPECT_LE(before, count(debugger));
	ASK("OK", "D");
	EXPECT_EQ(0, end_of(debugger));
	EXPECT_EQ(0, sh("mote stop --force counts"));
}

/* There is one, beside whom nothing is saved, and when it is gone there is nothing of it left. */
TEST_F(debugger, one_at_a_time)
{
	struct debugger *debugger = &self->debugger;
	bool goes_on = false;

	EXPECT_COMPLAINT(1, "the VM has a debugger", "mote gdb counts < /dev/null");
	EXPECT_COMPLAINT(1, "the VM has a debugger", "mote snapshot counts " RUNTIME_DIR "/saved");
	EXPECT_COMPLAINT(1, "the VM has a debugger", "mote reset counts");
	EXPECT_COMPLAINT(2, "neither unix:PATH nor tcp:", "mote gdb counts elsewhere");
	EXPECT_COMPLAINT(2, "no VM of yours is called", "mote gdb nobody < /dev/null");
	ASK("OK", "Z0,7c09,1");
	ASK("OK", "Z1,7c0a,1");
	ASK("T05thread:1;swbreak:;", "c");
	kill(debugger->pid, SIGKILL);
	end_of(debugger);
	for (int i = 0; i < PATIENCE && !goes_on; i++) {
		ASSERT_TRUE(comes_true("mote ps | grep -q 'counts.*running'"));
		ASSERT_TRUE(attach(debugger));
		goes_on = count(debugger) > 100;
		ASK("90c3", "m7c09,2");
		ASK("OK", "D");
		EXPECT_EQ(0, end_of(debugger));
	}
	EXPECT_TRUE(goes_on);
	EXPECT_TRUE(vm_is("counts", "running"));
	EXPECT_EQ(0, sh("mote pause counts && mote snapshot counts " RUNTIME_DIR "/saved"));
	EXPECT_EQ(0, sh("mote stop --force counts"));
}

/* At an address: one comes, and what ends the machine ends the debugger. */
TEST_F(debugger, kills)
{
	struct debugger *debugger = &self->debugger, other = { 0 };
	struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = RUNTIME_DIR "/gdb.sock" };

	ASK("OK", "D");
	EXPECT_EQ(0, end_of(debugger));
	sh("mote gdb counts unix:" RUNTIME_DIR "/gdb.sock & echo $! > " RUNTIME_DIR "/gdb.pid");
	ASSERT_TRUE(comes_true("test -S " RUNTIME_DIR "/gdb.sock"));
	other.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	while (connect(other.fd, (struct sockaddr *)&address, sizeof(address)))
		usleep(10000);
	EXPECT_STREQ("T02thread:1;", ask(&other, "?"));
	say(&other, "k");
	EXPECT_EQ(STATUS_STOPPED, vm_status("counts"));
	close(other.fd);
}

MOTE_TEST_MAIN
