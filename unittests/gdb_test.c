// SPDX-License-Identifier: GPL-2.0
/*
 * mote gdb: what a debugger says over a real connection to a machine without a guest: each packet has
 * the answer that the table says, anything else has one that gdb understands, and what was put into the
 * guest's memory is gone with the debugger.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../userspace/runner/gdb.h"
#include "complaints.h"
#include "loops.h"

#define RAM_SIZE 0x10000
#define NR_VCPUS 3
#define EFER_LMA 0x400

static unsigned char ram[RAM_SIZE];
static struct mote_area area = { .gpa = 0x1000, .size = RAM_SIZE, .hva = ram };
static struct mote_run runs[NR_VCPUS];
static struct vcpu vcpus[NR_VCPUS];
static struct mote_state states[NR_VCPUS];
static struct mote_debug debugs[NR_VCPUS];
static struct vm vm = {
	.nr_vcpus = NR_VCPUS, .vcpus = vcpus, .lock = PTHREAD_MUTEX_INITIALIZER,
	.life = PTHREAD_MUTEX_INITIALIZER, .machine = { .nr_areas = 1, .areas = &area },
};
static struct job *posted;
static unsigned int nr_ended, nr_told;
static int broken = -1, told;	/* a vCPU that cannot be debugged; and what was said of the end */

/* ---- a machine that stands still at once, with vCPUs that have a state and nothing else -------- */

static void get_state(int fd, struct mote_state *state)
{
	struct mote_state now = states[fd];

	now.mask = state->mask;
	now.xsave = state->xsave;
	*state = now;
}

static void set_state(int fd, const struct mote_state *state)
{
	if (state->mask & MOTE_STATE_GPRS)
		states[fd].gprs = state->gprs;
	if (state->mask & MOTE_STATE_DRS)
		states[fd].drs = state->drs;
	if (state->mask & MOTE_STATE_EVENTS)
		states[fd].events = state->events;
}

/* The module's end of libmote. */
int ioctl(int fd, unsigned long request, ...)
{
	void *argument;
	va_list args;

	va_start(args, request);
	argument = va_arg(args, void *);
	va_end(args);
	if (request == MOTE_SET_DEBUG && fd == broken) {
		errno = EIO;
		return -1;
	}
	if (request == MOTE_GET_STATE)
		get_state(fd, argument);
	else if (request == MOTE_SET_STATE)
		set_state(fd, argument);
	else if (request == MOTE_SET_DEBUG)
		debugs[fd] = *(struct mote_debug *)argument;
	else
		CHECK(!request);
	return 0;
}

bool vm_stop(struct vm *which)
{
	bool begins = !which->paused;

	which->paused = true;
	if (begins && which->when_paused)
		posted = which->when_paused;
	return begins;
}

bool vm_go(struct vm *which, const void *holder)
{
	if (!which->paused || which->holder != holder)
		return false;
	which->paused = false;
	which->holder = NULL;
	return true;
}

bool vm_hold_for(struct vm *which, const void *holder)
{
	if (!which->paused || which->holder)
		return false;
	which->holder = holder;
	return true;
}

void vm_end(struct vm *which, enum ending end, int detail)
{
	(void)which;
	(void)detail;
	nr_ended += end == END_STOPPED;
}

void io_post(struct vm *which, struct job *job)
{
	(void)which;
	posted = job;
}

/* ---- a debugger ------------------------------------------------------------------------------------ */

static int peer;

static void is_over(struct vm *which, void *data, int err)
{
	(void)which;
	(void)data;
	told = err;
	nr_told++;
}

static void work(void)
{
	do {
		struct job *job = posted;

		posted = NULL;
		if (job)
			job->run(&vm, job);
		settle(&vm);
	} while (posted);
}

static void begin(void)
{
	int ends[2];

	memset(states, 0, sizeof(states));
	memset(debugs, 0, sizeof(debugs));
	for (unsigned int i = 0; i < NR_VCPUS; i++) {
		vcpus[i].cpu = (struct mote_cpu) {
			.fd = i, .id = i, .run = &runs[i], .machine = &vm.machine,
		};
		vcpus[i].vm = &vm;
		states[i].msrs.efer = EFER_LMA;
		states[i].gprs.rip = 0x1000 + i;
		states[i].drs = (struct mote_drs) { .dr6 = MOTE_DR6_NONE, .dr7 = 0x400 };
	}
	for (unsigned int i = 0; i < RAM_SIZE; i++)
		ram[i] = i ^ i >> 8;
	nr_ended = nr_told = 0;
	vm.paused = false;
	vm.holder = NULL;
	CHECK(!loop_create(&vm.supervisor, &vm, NULL) && !loop_create(&vm.io, &vm, &vm.lock));
	CHECK(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends));
	peer = ends[0];
	CHECK(gdb_begin(&vm, ends[1], is_over, NULL));
	work();
	CHECK(broken >= 0 || (vm.paused && vm.holder));
}

static void end(void)
{
	if (peer >= 0)
		close(peer);
	work();
	EQ(1, nr_told);
	EQ(broken < 0 ? 0 : -EIO, told);
	CHECK(!gdb_is_attached(&vm) && !vm.paused && !vm.holder);
	gdb_end(&vm);
	gdb_destroy(&vm);
	loop_destroy(&vm.io);
	loop_destroy(&vm.supervisor);
}

static const char *hear(void)
{
	static char text[4 * GDB_PACKET_MOST];
	ssize_t nr;

	work();
	nr = recv(peer, text, sizeof(text) - 1, MSG_DONTWAIT);
	text[nr > 0 ? nr : 0] = '\0';
	return text;
}

static void say(const void *data, size_t size)
{
	EQ(size, send(peer, data, size, MSG_NOSIGNAL));
}

/* A packet in its frame; the answer without. */
static const char *ask(const char *text)
{
	struct gdb_out out = { 0 };
	static char answer[2 * GDB_PACKET_MOST];
	char frame[GDB_FRAME_MOST];
	const char *heard;
	char *hash;

	gdb_text(&out, "%s", text);
	say(frame, gdb_frame(&out, frame));
	heard = hear();
	strcpy(answer, heard[0] == '+' && heard[1] == '$' ? heard + 2 : heard);
	hash = strrchr(answer, '#');
	if (hash)
		*hash = '\0';
	return answer;
}

static void expect(const char *packet, const char *answer)
{
	const char *heard = ask(packet);

	if (strcmp(heard, answer))
		printf("# %s: %s, and not %s\n", packet, heard, answer);
	CHECK(!strcmp(heard, answer));
}

/* ---- packets -------------------------------------------------------------------------------------- */

static void test_answers(void)
{
	static const struct {
		const char *packet, *answer;
	} rows[] = {
		{ "?", "T02thread:1;" }, { "qAttached", "1" }, { "qC", "QC1" },
		{ "vMustReplyEmpty", "" }, { "qfThreadInfo", "m1,2,3" }, { "qsThreadInfo", "l" },
		{ "vCont?", "vCont;c;C;s;S" }, { "qThreadExtraInfo,2", "764350552031" },
		{ "qThreadExtraInfo,4", "E01" }, { "T1", "OK" }, { "T3", "OK" }, { "T4", "E01" },
		{ "T0", "E01" }, { "Tx", "E01" }, { "T", "E01" }, { "Hg2", "OK" }, { "Hg4", "E01" },
		{ "Hg", "E01" }, { "Hc-1", "OK" }, { "Hg0", "OK" }, { "H", "E01" },
		{ "m1000,4", "00010203" }, { "m1000,0", "" }, { "m1100,2", "0100" },
		{ "m11000,1", "E01" }, { "m0,1", "E01" }, { "m10fff,2", "E01" }, { "m1000", "E01" },
		{ "m,4", "E01" }, { "m1000,4x", "E01" }, { "m1000,801", "E01" },
		{ "mffffffffffffffffff,1", "E01" }, { "mffffffffffffffff,1", "E01" },
		{ "M1000,2:abcd", "OK" }, { "m1000,3", "abcd02" }, { "M1000,2:ab", "E01" },
		{ "M1000,2:abcdef", "E01" }, { "M1000,2:abxd", "E01" }, { "M1000,2abcd", "E01" },
		{ "X1000,2:ab", "OK" }, { "m1000,2", "6162" }, { "X1000,2:a", "E01" },
		{ "X1000,1:}\x03", "OK" }, { "m1000,1", "23" }, { "X1000,1:}", "E01" },
		{ "p10", "0110000000000000" }, { "p12", "00000000" }, { "pffff", "E01" },
		{ "p", "E01" }, { "P10=0020000000000000", "OK" }, { "p10", "0020000000000000" },
		{ "P10=0000000000000080", "E01" }, { "P10=00", "E01" },
		{ "P10=00200000000000000", "E01" }, { "P12=08000000", "E01" }, { "P11=ffffffff", "OK" },
		{ "p11", "d54d2500" }, { "Z0,2000,1", "OK" }, { "Z0,2000,1", "OK" },
		{ "z0,2000,1", "OK" }, { "z0,2000,1", "E01" }, { "Z0,20000,1", "E01" },
		{ "Z0,2000", "E01" }, { "Z0", "E01" }, { "Z5,2000,1", "" }, { "Z", "" },
		{ "Z1,20000,1", "OK" }, { "Z2,2000,4", "OK" }, { "Z3,2008,8", "OK" },
		{ "Z4,2001,1", "OK" }, { "Z2,2004,4", "E01" }, { "z1,20000,1", "OK" },
		{ "Z2,2001,2", "E01" }, { "Z2,2000,3", "E01" }, { "Z2,2000,10", "E01" },
		{ "Z2,2000,0", "E01" }, { "z2,2000,8", "E01" }, { "z2,2000,4", "OK" },
		{ "qXfer:features:read:target.xml:0,5", "m<?xml" },
		{ "qXfer:features:read:other.xml:0,5", "" },
		{ "qXfer:features:read:target.xml:fffffff,5", "E01" },
		{ "qXfer:features:read:target.xml:0", "E01" }, { "vCont;x", "E01" },
		{ "vCont;s:9", "E01" }, { "vCont;c:", "E01" }, { "vCont;S", "E01" },
		{ "vCont;cc", "E01" }, { "", "" }, { "c1000", "" }, { "Qx", "" }, { "qSymbol::", "" },
	};

	begin();
	CHECK(strstr(ask("qSupported:swbreak+;hwbreak+"), "PacketSize=1000;"));
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		expect(rows[i].packet, rows[i].answer);
	end();
}

/* What has a wrong sum is said again, and what comes in pieces is one packet all the same. */
static void test_frames(void)
{
	char text[GDB_PACKET_MOST];

	begin();
	say("$?#00", 5);
	CHECK(!strcmp(hear(), "-"));
	say("$?#zz", 5);
	CHECK(!strcmp(hear(), "-"));
	say("junk$q$?#3", 10);
	CHECK(!hear()[0]);
	say("f", 1);
	CHECK(!strcmp(hear(), "+$T02thread:1;#d4"));
	say("-", 1);
	CHECK(!strcmp(hear(), "$T02thread:1;#d4"));
	expect("QStartNoAckMode", "OK");
	say("$?#3f", 5);
	CHECK(!strcmp(hear(), "$T02thread:1;#d4"));
	say("$?#00", 5);
	CHECK(!hear()[0]);
	memset(text, 'a', sizeof(text));
	say("$", 1);
	for (int i = 0; i < 3; i++) {
		say(text, sizeof(text));
		work();
	}
	say("#00$?#3f", 8);
	CHECK(!strcmp(hear(), "$T02thread:1;#d4"));
	end();
}

static void test_description(void)
{
	char *text = calloc(1, 65536);
	const char *part;
	size_t size = 0;

	begin();
	do {
		char packet[64];

		snprintf(packet, sizeof(packet), "qXfer:features:read:target.xml:%zx,7fb", size);
		part = ask(packet);
		strcpy(text + size, part + 1);
		size = strlen(text);
	} while (*part == 'm' && size < 60000);
	CHECK(*part == 'l' && strstr(text, "<architecture>i386:x86-64</architecture>"));
	CHECK(strstr(text, "\"k_gs_base\""));
	CHECK(size > 9 && !strcmp(text + size - 9, "</target>"));
	/* As many digits as all of it has. */
	EQ(2 * (16 * 8 + 8 + 7 * 4 + 80 + 8 * 4 + 256 + 4 + 2 * 8 + 7 * 8), strlen(ask("g")));
	free(text);
	end();
}

/* ---- what a debugger changes ------------------------------------------------------------------------ */

/* It reads what the guest has, and a write goes beneath the breakpoint. */
static void test_breakpoints(void)
{
	const unsigned char was = ram[0x1000], next = ram[0x1001];

	begin();
	expect("Z0,2000,1", "OK");
	CHECK(ram[0x1000] != was);
	EQ(was, strtoul(ask("m2000,1"), NULL, 16));
	expect("M1fff,3:112233", "OK");
	CHECK(ram[0x1000] != 0x22 && ram[0x1001] == 0x33);
	expect("m1fff,3", "112233");
	expect("z0,2000,1", "OK");
	EQ(0x22, ram[0x1000]);
	ram[0x1000] = was;
	ram[0x1001] = next;
	/* As many as there can be, and they all go with the debugger. */
	for (unsigned int i = 0; i < GDB_BREAKPOINTS_MOST; i++) {
		char packet[32];

		snprintf(packet, sizeof(packet), "Z0,%x,1", 0x3000 + i);
		expect(packet, "OK");
	}
	expect("Z0,2000,1", "E01");
	expect("Z2,2000,4", "OK");
	EQ(0x2000, states[1].drs.dr[0]);
	EQ(0xd0402, states[1].drs.dr7);
	EQ(MOTE_DEBUG_DRS, debugs[1].flags);
	expect("D", "OK");
	for (unsigned int i = 0; i < RAM_SIZE; i++)
		if (i != 0xfff)
			EQ((unsigned char)(i ^ i >> 8), ram[i]);
	for (unsigned int i = 0; i < NR_VCPUS; i++) {
		EQ(0x400, states[i].drs.dr7);
		EQ(0, states[i].drs.dr[0]);
		EQ(0, debugs[i].exceptions | debugs[i].flags);
	}
	end();
}

/* While it runs it hears Ctrl-C alone, and vCPUs that are not named are held. */
static void test_going_on(void)
{
	begin();
	CHECK(!strcmp(ask("vCont;c:2"), "+"));
	CHECK(!vm.paused && vcpus[0].is_held && !vcpus[1].is_held && vcpus[2].is_held);
	CHECK(!ask("?")[0]);
	say("\x03", 1);
	CHECK(!strcmp(hear(), "$T02thread:1;#d4"));
	CHECK(vm.paused && !vcpus[0].is_held);
	CHECK(!strcmp(ask("vCont;s:3;c"), "+"));
	CHECK(!vm.paused && vcpus[2].steps && states[2].gprs.rflags & 0x100);
	CHECK(debugs[2].flags & MOTE_DEBUG_HOLD);
	say("\x03", 1);
	CHECK(!strcmp(hear(), "$T02thread:1;#d4"));
	CHECK(!vcpus[2].steps && !(states[2].gprs.rflags & 0x100) && !debugs[2].flags);
	expect("k", "+");
	EQ(1, nr_ended);
	/* It is gone without a word, while the machine runs. */
	CHECK(!strcmp(ask("c"), "+"));
	close(peer);
	peer = -1;
	work();
	end();
}

static void test_cancelled(void)
{
	begin();
	expect("Z0,2000,1", "OK");
	gdb_cancel(&vm);
	work();
	EQ((unsigned char)(0x1000 ^ 0x1000 >> 8), ram[0x1000]);
	end();
	/* Or the machine is at its end: gdb hears that, if it waits for something. */
	begin();
	CHECK(!strcmp(ask("c"), "+"));
	gdb_end(&vm);
	CHECK(!strcmp(hear(), "$W00#b7"));
	end();
}

/* What the module does not let it have leaves the machine as it was. */
static void test_no_beginning(void)
{
	for (broken = 0; broken < NR_VCPUS; broken++) {
		begin();
		end();
		for (int i = 0; i < broken; i++)
			EQ(0, debugs[i].exceptions);
	}
	broken = -1;
}

/* Whatever comes, an answer is a packet, and the machine goes on when that is over. */
static void test_noise(void)
{
	static const char *const words[] = {
		"$", "#", "+", "-", "m1000,", "X1000,4:", "Z0,", "z0,", "vCont", ";s", ";c", ":1",
		"g", "G", "p", "P1=", "Hg", "T", "qXfer:features:read:target.xml:", "ffffffff", "0",
		",", "}", "*", "\x03", "D", "qfThreadInfo",
	};
	const unsigned int nr_words = sizeof(words) / sizeof(words[0]);
	unsigned int seed = 1;

	for (int round = 0; round < 200; round++) {
		begin();
		for (int i = 0; i < 100 && gdb_is_attached(&vm); i++) {
			struct gdb_out out = { 0 };
			char frame[GDB_FRAME_MOST];
			const char *heard;

			for (int n = rand_r(&seed) % 6; n; n--)
				gdb_text(&out, "%s", words[rand_r(&seed) % nr_words]);
			/* Now and then a piece of one. */
			send(peer, frame, gdb_frame(&out, frame) - (rand_r(&seed) % 4 ? 0 : 2), MSG_NOSIGNAL);
			heard = hear();
			if (strchr(heard, '$'))
				CHECK(strchr(strchr(heard, '$'), '#'));
		}
		end();
	}
}

static const struct unit_test tests[] = {
	{ .name = "each packet has its answer", .run = test_answers },
	{ .name = "frames, whole and broken", .run = test_frames },
	{ .name = "the description of the target", .run = test_description },
	{ .name = "breakpoints are seen by nobody, and leave nothing behind", .run = test_breakpoints },
	{ .name = "going on, Ctrl-C, and an end without a word", .run = test_going_on },
	{ .name = "a debugger whom somebody else ends", .run = test_cancelled },
	{ .name = "one that cannot begin", .run = test_no_beginning },
	{ .name = "noise", .run = test_noise },
};

int main(void)
{
	return run_all(tests, sizeof(tests) / sizeof(tests[0]));
}
