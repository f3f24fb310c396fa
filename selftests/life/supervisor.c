// SPDX-License-Identifier: GPL-2.0
/*
 * Whatever a guest does with its devices, and whoever does not read what it writes: the runner
 * answers, and ends when it is told to.
 */
#include <pty.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <utmp.h>

#include "kselftest_harness.h"
#include "life.h"

#define SOCKET RUNTIME_DIR "/mote/busy.sock"
#define ASKED 20	/* how often */
#define STATUS_REQUEST "{\"do\":\"status\"}\n"
#define STAT_REQUEST "{\"do\":\"stat\"}\n"
#define KILL_REQUEST "{\"do\":\"kill\"}\n"

GUEST(spin, 16, "sti; jmp .");
GUEST(button, 16, POWER_BUTTON);

/* More characters than there is room for between it and the reader, and the end. */
#define LAST_WORDS 75000
#define NARROW 4096	/* a pipe */
GUEST(last_words, 16, "mov $75, %bx; 1: mov $1000, %cx; 2:" PUT("0x78") "loop 2b; dec %bx; jnz 1b\n"
      "mov $7, %al; out %al, $0xf4");
GUEST(flood, 16, "sti; 1:" PUT("0x78") "jmp 1b");
GUEST(one_word, 16, PUT("0x78") "mov $7, %al; out %al, $0xf4");

/*
 * Firmware that erases and programs the flash with UEFI's variables for ever, which becomes a device
 * and memory again for each block: 4 KiB of it, behind 64 KiB of flash.
 */
GUEST(flash_flood, 16, "cli; lgdtl %cs:0xf000 + 1f - 9001b; mov %cr0, %eax; or $1, %al; mov %eax, %cr0\n"
      "ljmpl $8, $0xfffff000 + 2f - 9001b\n"
      "1: .word 23; .long 0xfffff000 + 3f - 9001b\n"
      "3: .quad 0, 0xcf9b000000ffff, 0xcf93000000ffff\n"
      ".code32; 2: mov $16, %eax; mov %eax, %ds\n"
      "mov $0x3f8, %edx; mov $0x62, %al; out %al, %dx\n"
      "4: mov $0xfffef000, %edi; mov $16, %ecx\n"
      "5: movb $0x20, (%edi); movb $0xd0, (%edi)\n"
      "movb $0x40, (%edi); movb $0, (%edi); movb $0xff, (%edi); mov (%edi), %al\n"
      "add $4096, %edi; loop 5b; jmp 4b\n"
      ".code16; .skip 0xff0 - (. - 9001b); jmp 9001b; .skip 0x1000 - (. - 9001b)");

/*
 * The runner, a pipe that it writes to, of which nobody reads more than we do, and the terminal that it
 * reads from, 0 if that is no terminal.
 */
struct runner {
	pid_t pid;
	int out;
	int terminal;
};

FIXTURE(supervisor)
{
	struct runner runner;
	pid_t daemon;
};

FIXTURE_SETUP(supervisor)
{
	life_begin();
	self->runner.out = -1;
}

FIXTURE_TEARDOWN(supervisor)
{
	if (self->runner.pid > 0) {
		kill(self->runner.pid, SIGKILL);
		waitpid(self->runner.pid, NULL, 0);
	}
	if (self->runner.out >= 0)
		close(self->runner.out);
	if (self->daemon > 0) {
		kill(self->daemon, SIGKILL);
		waitpid(self->daemon, NULL, 0);
	}
	life_end();
	sh("rm -f disk variables " FLAT_IMAGE);
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

/* What is too long, in seconds: where the clock counts instructions nothing else can be the cause. */
static double bound(void)
{
	const char *host = getenv("MOTE_LAB");

	return host && strcmp(host, "svm") ? 0.1 : 7200;
}

/* Start `mote run` with these arguments, and a pipe of @room bytes, 0 for what pipes have. */
static bool start(struct runner *runner, int room, const char *arguments)
{
	int pipes[2], slave = -1;
	char line[512];

	if (runner->terminal && openpty(&runner->terminal, &slave, NULL, NULL, NULL))
		return false;
	if (pipe(pipes) || (room && fcntl(pipes[1], F_SETPIPE_SZ, room) < 0))
		return false;
	snprintf(line, sizeof(line), "exec mote run %s %s", arguments, runner->terminal ? "" : "< /dev/null");
	runner->pid = fork();
	if (!runner->pid) {
		if (slave >= 0)
			login_tty(slave);
		dup2(pipes[1], STDOUT_FILENO);
		close(pipes[0]);
		close(pipes[1]);
		execl("/bin/sh", "sh", "-c", line, NULL);
		_exit(127);
	}
	close(pipes[1]);
	if (slave >= 0)
		close(slave);
	runner->out = pipes[0];
	return true;
}

/* A request and its answer, a line; true if it has come. */
static bool ask_for(const char *request, char *answer, ssize_t size)
{
	ssize_t nr = 0, more;
	int fd = vm_dial("busy");

	if (fd < 0 || send(fd, request, strlen(request), MSG_NOSIGNAL) < 0)
		return false;
	while (nr < size && !memchr(answer, '\n', nr)) {
		more = recv(fd, answer + nr, size - nr, 0);
		if (more <= 0)
			break;
		nr += more;
	}
	close(fd);
	return nr && answer[nr - 1] == '\n';
}

static bool ask(const char *request)
{
	char answer[65536];

	return ask_for(request, answer, sizeof(answer));
}

/* The status that the runner ends with. */
static int end_of(struct runner *runner)
{
	int status = 0;

	waitpid(runner->pid, &status, 0);
	runner->pid = 0;
	close(runner->out);
	runner->out = -1;
	if (runner->terminal)
		close(runner->terminal);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void end_by_signal(struct runner *runner)
{
	kill(runner->pid, SIGTERM);
}

static void end_by_request(struct runner *runner)
{
	(void)runner;
	ask(KILL_REQUEST);
}

static void end_by_key(struct runner *runner)
{
	if (write(runner->terminal, "\001x\001x", 4) < 0)
		perror("terminal");
}

#define TIME_LIMIT 3

static const struct way {
	const char *name;
	void (*end)(struct runner *runner);	/* NULL: the time limit does */
	int status;
} ways[] = {
	{ "SIGTERM", end_by_signal, 128 + SIGTERM },
	{ "stop --force", end_by_request, STATUS_STOPPED },
	{ "Ctrl-A x", end_by_key, 128 + SIGINT },
	{ "--timeout", NULL, STATUS_TIMEOUT },
};

#define NR_WAYS (sizeof(ways) / sizeof(ways[0]))

/* A vhost-user daemon that says what it can do, and then nothing more. */
#define SILENT RUNTIME_DIR "/silent"

static pid_t start_silent_daemon(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = SILENT };
	const struct { __u32 request, flags, size, features[2]; } answer = { 1, 1 | 4, 8, { 1u << 28, 1 } };
	int listening = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char byte[12];
	pid_t pid;

	unlink(SILENT);
	if (bind(listening, (struct sockaddr *)&address, sizeof(address)) || listen(listening, 1))
		return -1;
	pid = fork();
	if (!pid) {
		int fd = accept(listening, NULL, NULL);

		if (recv(fd, byte, sizeof(byte), MSG_WAITALL) > 0 &&
		    send(fd, &answer, sizeof(answer), MSG_NOSIGNAL) > 0)
			while (recv(fd, byte, 1, 0) > 0)
				;
		_exit(0);
	}
	close(listening);
	return pid;
}

/*
 * All devices at once, kept busy by hostile_guest; and one each. @first: the ways that are gone in
 * short; @append: what the guest is asked for, NULL: it is the firmware.
 */
FIXTURE_VARIANT(supervisor)
{
	size_t first;
	const char *options, *append;
};

#define ALL "--console --disk disk --net user --balloon=32M --cpus 2"

FIXTURE_VARIANT_ADD(supervisor, all) { 2, ALL, "serial rtc pit pm" };
FIXTURE_VARIANT_ADD(supervisor, resets) { 0, ALL, "reset" };
FIXTURE_VARIANT_ADD(supervisor, bars) { 2, ALL, "bars" };
FIXTURE_VARIANT_ADD(supervisor, share) { 0, "--share mine=" SILENT, "reset" };
FIXTURE_VARIANT_ADD(supervisor, vsock) { 2, "--vsock 42", "" };
FIXTURE_VARIANT_ADD(supervisor, balloon) { 0, "--balloon=32M", "" };
FIXTURE_VARIANT_ADD(supervisor, rng) { 0, "", "" };
FIXTURE_VARIANT_ADD(supervisor, serial) { 2, "", "serial" };
FIXTURE_VARIANT_ADD(supervisor, rtc) { 0, "", "rtc" };
FIXTURE_VARIANT_ADD(supervisor, pit) { 2, "", "pit" };
FIXTURE_VARIANT_ADD(supervisor, pm) { 0, "", "pm" };
FIXTURE_VARIANT_ADD(supervisor, flash) { 2, "--firmware=" FLAT_IMAGE " --variables variables", NULL };
FIXTURE_VARIANT_ADD(supervisor, console) { 2, "--console", "" };
FIXTURE_VARIANT_ADD(supervisor, disk) { 0, "--disk disk", "" };
FIXTURE_VARIANT_ADD(supervisor, net) { 2, "--net user", "" };

static double longest_answer(const char *request)
{
	double longest = 0;

	for (int asked = 0; asked < ASKED; asked++) {
		double began = now();

		if (!ask(request))
			return -1;
		longest = now() - began > longest ? now() - began : longest;
	}
	return longest;
}

/* When the time limit is over, by what the runner says of its beginning. */
static double time_limit(void)
{
	char answer[65536] = "", *uptime = NULL;

	if (ask_for(STATUS_REQUEST, answer, sizeof(answer) - 1))
		uptime = strstr(answer, "\"uptime_ns\":");
	return now() + TIME_LIMIT - (uptime ? strtod(strchr(uptime, ':') + 1, NULL) / 1e9 : 0);
}

TEST_F(supervisor, answers_and_ends)
{
	size_t first = getenv("MOTE_LONG") ? 0 : variant->first, nr = getenv("MOTE_LONG") ? NR_WAYS : 2;
	char arguments[512], image[64] = "", byte;

	if (strstr(variant->options, "--vsock"))
		ASSERT_EQ(0, sh("modprobe vhost_vsock"));
	for (const struct way *way = ways + first; way < ways + first + nr; way++) {
		double began, took, status = 0, stat = 0;

		ASSERT_EQ(0, sh("rm -f disk; truncate -s 2G disk; truncate -s 64K variables"));
		write_flat(&guest_flash_flood);
		if (strstr(variant->options, SILENT))
			ASSERT_LT(0, self->daemon = start_silent_daemon());
		self->runner.terminal = 1;
		if (variant->append)
			snprintf(image, sizeof(image), "--append '%s' hostile_guest", variant->append);
		snprintf(arguments, sizeof(arguments), "--name busy --memory 64M --timeout %d %s %s",
			 way->end ? 7000 : TIME_LIMIT, variant->options, image);
		ASSERT_TRUE(start(&self->runner, 0, arguments));
		ASSERT_TRUE(comes_true("mote ps | grep -q '^busy '"));
		/* The guest has begun. */
		ASSERT_EQ(1, read(self->runner.out, &byte, 1));
		if (way->end) {
			status = longest_answer(STATUS_REQUEST);
			stat = longest_answer(STAT_REQUEST);
			EXPECT_LE(0, status);
			EXPECT_LE(0, stat);
			began = now();
			way->end(&self->runner);
		} else {
			began = time_limit();
		}
		EXPECT_EQ(way->status, end_of(&self->runner));
		took = now() - began;
		TH_LOG("answers: %s %s: status %.1f ms, stat %.1f ms, %s %.1f ms", variant->options,
		       variant->append ?: "", status * 1e3, stat * 1e3, way->name, took * 1e3);
		EXPECT_GT(bound(), status);
		EXPECT_GT(bound(), stat);
		/* To the last of the process, whose memory the kernel takes apart. */
		EXPECT_GT(bound(), took);
		if (self->daemon > 0) {
			kill(self->daemon, SIGKILL);
			waitpid(self->daemon, NULL, 0);
			self->daemon = 0;
		}
	}
}

/* ---- the far ends of the console ------------------------------------------------------- */

FIXTURE(outside)
{
	struct command command;
};

FIXTURE_SETUP(outside)
{
	life_begin();
}

FIXTURE_TEARDOWN(outside)
{
	life_end();
	sh("rm -f disk " FLAT_IMAGE);
}

/* Signals reach it in the same way whatever threads its devices have. */
TEST_F(outside, signals)
{
	ASSERT_TRUE(vm_start_flat("busy", &guest_spin, "--json --net user"));
	ASSERT_EQ(0, sh("kill -TERM $(cat " RUNTIME_DIR "/busy.pid)"));
	EXPECT_EQ(128 + SIGTERM, vm_status("busy"));
	EXPECT_EQ(0, sh("grep -q '\"event\":\"end\"' " RUNTIME_DIR "/busy.err"));
	EXPECT_EQ(0, sh("test ! -e " SOCKET));
}

static bool is_raw(int terminal)
{
	struct termios settings;

	return !tcgetattr(terminal, &settings) && !(settings.c_lflag & (ICANON | ECHO));
}

static bool becomes_raw(int terminal)
{
	for (int i = 0; i < PATIENCE && !is_raw(terminal); i++)
		usleep(100000);
	return is_raw(terminal);
}

/* Who is stopped and continued by a shell has its terminal as before, and leaves it as it was. */
TEST_F(outside, terminal)
{
	int master, slave, status = 0;
	struct termios cooked;
	pid_t pid;

	write_flat(&guest_spin);
	ASSERT_EQ(0, openpty(&master, &slave, NULL, NULL, NULL));
	ASSERT_EQ(0, tcgetattr(slave, &cooked));
	pid = fork();
	if (!pid) {
		login_tty(dup(slave));
		execlp("mote", "mote", "run", "--flat", FLAT_IMAGE, NULL);
		_exit(127);
	}
	EXPECT_TRUE(shows(master, "(Ctrl-A x presses its power button"));
	EXPECT_TRUE(becomes_raw(slave));
	kill(pid, SIGSTOP);
	ASSERT_EQ(pid, waitpid(pid, &status, WUNTRACED));
	ASSERT_EQ(0, tcsetattr(slave, TCSANOW, &cooked));
	kill(pid, SIGCONT);
	EXPECT_TRUE(becomes_raw(slave));
	/* A guest without a driver for the power button: it is ended when that is said again. */
	ASSERT_EQ(2, write(master, "\001x", 2));
	EXPECT_TRUE(shows(master, "Ctrl-A x again ends it"));
	EXPECT_EQ(0, waitpid(pid, &status, WNOHANG));
	ASSERT_EQ(2, write(master, "\001x", 2));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(128 + SIGINT, WEXITSTATUS(status));
	EXPECT_FALSE(is_raw(slave));
	close(master);
	close(slave);
}

/* One that has a driver for the button, though it is paused. */
TEST_F(outside, power_button)
{
	int master, status = 0;
	pid_t pid;

	write_flat(&guest_button);
	pid = forkpty(&master, NULL, NULL, NULL);
	if (!pid) {
		execlp("mote", "mote", "run", "--name", "busy", "--flat", FLAT_IMAGE, NULL);
		_exit(127);
	}
	EXPECT_TRUE(shows(master, "(Ctrl-A x presses its power button"));
	EXPECT_EQ(0, sh("mote pause busy"));
	ASSERT_EQ(2, write(master, "\001x", 2));
	/* Before or after what is said of the button. */
	EXPECT_TRUE(shows(master, "B"));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	close(master);
}

/* Who says that he will say no more still gets his answer. */
TEST_F(outside, half_closed)
{
	char answer[4096] = "";
	ssize_t nr = 0, more;
	int fd;

	ASSERT_TRUE(vm_start_flat("busy", &guest_spin, ""));
	fd = vm_dial("busy");
	ASSERT_LE(0, fd);
	ASSERT_LT(0, send(fd, STATUS_REQUEST, strlen(STATUS_REQUEST), MSG_NOSIGNAL));
	shutdown(fd, SHUT_WR);
	while ((more = recv(fd, answer + nr, sizeof(answer) - 1 - nr, 0)) > 0)
		nr += more;
	EXPECT_EQ(0, more);
	EXPECT_NE(NULL, strstr(answer, "\"state\":\"running\"")) TH_LOG("%s", answer);
	close(fd);
}

/* Whoever reads late reads all of it: the end waits for him. */
TEST_F(outside, last_words)
{
	struct runner runner = { 0 };
	char data[4096];
	long all = 0;
	ssize_t nr;

	write_flat(&guest_last_words);
	ASSERT_TRUE(start(&runner, NARROW, "--flat --timeout 7000 " FLAT_IMAGE));
	sleep(2);
	while ((nr = read(runner.out, data, sizeof(data))) > 0)
		all += nr;
	EXPECT_EQ(LAST_WORDS, all);
	EXPECT_EQ(STATUS_DEBUG(7), end_of(&runner));
}

/* But whoever ends the machine from outside waits for no reader. */
TEST_F(outside, nobody_reads)
{
	struct runner runner = { 0 };

	write_flat(&guest_flood);
	ASSERT_TRUE(start(&runner, NARROW, "--flat --timeout 1 " FLAT_IMAGE));
	EXPECT_EQ(STATUS_TIMEOUT, end_of(&runner));
}

/*
 * Whoever has something to say waits for no reader either, and the machine goes on: here to say that the
 * button was pressed, as it then has been.  What was said is there for who reads late, whole.
 */
TEST_F(outside, nobody_reads_messages)
{
	struct runner runner = { .terminal = 1 };
	static char seen[1 << 20];
	size_t nr_seen = 0;
	int reader, writer;
	char text[4096];
	ssize_t nr;

	write_flat(&guest_button);
	ASSERT_EQ(0, mkfifo(RUNTIME_DIR "/messages", 0600));
	reader = open(RUNTIME_DIR "/messages", O_RDONLY | O_NONBLOCK);
	writer = open(RUNTIME_DIR "/messages", O_WRONLY | O_NONBLOCK);
	ASSERT_TRUE(start(&runner, 0, "--flat --name busy " FLAT_IMAGE " 2> " RUNTIME_DIR "/messages"));
	ASSERT_TRUE(comes_true("mote ps | grep -q '^busy '"));
	memset(text, 'x', sizeof(text));
	for (size_t size = sizeof(text); size; size /= sizeof(text))
		while (write(writer, text, size) > 0)
			;
	close(writer);
	ASSERT_EQ(2, write(runner.terminal, "\001x", 2));
	ASSERT_EQ(1, read(runner.out, text, 1));
	EXPECT_EQ('B', text[0]);
	fcntl(reader, F_SETFL, 0);
	while ((nr = read(reader, seen + nr_seen, sizeof(seen) - 1 - nr_seen)) > 0)
		nr_seen += nr;
	EXPECT_NE(NULL, strstr(seen, "xmote: busy: its power button is pressed; "
			       "Ctrl-A x again ends it at once\n"));
	EXPECT_EQ(0, end_of(&runner));
	close(reader);
}

/* What is not open when it starts is not mistaken for a disk. */
TEST_F(outside, closed_descriptors)
{
	static const char *const closed[] = { "<&-", ">&-", "2>&-", "<&- >&-", "<&- >&- 2>&-" };

	write_flat(&guest_one_word);
	for (size_t i = 0; i < sizeof(closed) / sizeof(closed[0]); i++) {
		ASSERT_EQ(0, sh("truncate -s 1M disk"));
		command_run(&self->command, "(exec mote run --flat --disk disk " FLAT_IMAGE
			    " > /dev/null < /dev/null %s)", closed[i]);
		EXPECT_EQ(STATUS_DEBUG(7), self->command.status) TH_LOG("%s", closed[i]);
		EXPECT_EQ(0, sh("cmp -n 1048576 disk /dev/zero"));
	}
}

MOTE_TEST_MAIN
