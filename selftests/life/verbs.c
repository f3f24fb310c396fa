// SPDX-License-Identifier: GPL-2.0
/*
 * Life with running VMs: ps, stop, pause, resume, memory, console, stat, by guests of a few
 * instructions in real mode.
 */
#include <json-c/json.h>
#include <pty.h>
#include <sys/wait.h>
#include <termios.h>

#include "kselftest_harness.h"
#include "life.h"

/* With IF set, as Bochs holds back the interrupts of the host otherwise. */
GUEST(spin, 16, "sti; jmp .");
GUEST(exit_1, 16, "mov $1, %al; out %al, $0xf4");
GUEST(triple, 16, "push $0; push $0; push $0; mov %sp, %bp; lidt (%bp); ud2");

/* Dots, and a pause of some ten thousand instructions between them. */
GUEST(ticker, 16, "sti; 1:\n" PUT("0x2e") "mov $0x8000, %cx; 2: loop 2b; jmp 1b");

GUEST(button, 16, POWER_BUTTON);

/* Say R, and reset the machine. */
GUEST(reset, 16, PUT("0x52") "mov $0xcf9, %dx; mov $6, %al; out %al, %dx; hlt");

/* Ready (DTR): say >, then answer each character with it and bit 5 set. */
GUEST(echo, 16, "sti; mov $0x3fc, %dx; mov $3, %al; out %al, %dx\n" PUT("0x3e")
      "1: mov $0x3fd, %dx; in %dx, %al; test $1, %al; jz 1b; mov $0x3f8, %dx; in %dx, %al\n"
      "or $0x20, %al; mov %al, %bl; mov $0x3fd, %dx; 2: in %dx, %al; test $0x20, %al; jz 2b\n"
      "mov %bl, %al; mov $0x3f8, %dx; out %al, %dx; jmp 1b");

/* 500 times CPUID, 200 times port 0x80, then spin. */
GUEST(counted, 16, "mov $500, %si; 1: xor %eax, %eax; cpuid; dec %si; jnz 1b\n"
      "mov $200, %cx; 2: out %al, $0x80; loop 2b; sti; jmp .");

FIXTURE(verbs)
{
	struct command command;
};

FIXTURE_SETUP(verbs)
{
	life_begin();
}

FIXTURE_TEARDOWN(verbs)
{
	life_end();
	sh("rm -f " FLAT_IMAGE);
}

/* The text of a member, below "registers" or not; "" if there is none. */
static const char *member(struct json_object *root, const char *path)
{
	struct json_object *value = NULL;

	return json_pointer_get(root, path, &value) ? "" : json_object_get_string(value);
}

/* With --json whatever is said is JSON, also what is said of bad input, and of a vCPU's registers. */
TEST_F(verbs, json)
{
	static const char *const wrong[] = {
		"run --json --memory x vmlinuz", "run --wrong --json vmlinuz", "run --json /nowhere",
		"run --json --flat /nowhere", "restore --json /nowhere", "receive --json",
	};
	struct json_object *said;
	const char *end;

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		command_run(&self->command, "mote %s", wrong[i]);
		EXPECT_EQ(2, self->command.status);
		EXPECT_TRUE(is_one_line(self->command.err)) TH_LOG("%s", self->command.err);
		said = json_tokener_parse(self->command.err);
		EXPECT_STREQ("error", member(said, "/event")) TH_LOG("%s", self->command.err);
		EXPECT_STRNE("", member(said, "/why"));
		json_object_put(said);
	}
	if (host_is_trinity())
		return; /* Bochs panics at a guest's triple fault */
	/* Its start, and its end. */
	run_flat(&self->command, &guest_triple, "", "--json");
	end = strchr(self->command.err, '\n');
	ASSERT_NE(NULL, end);
	ASSERT_TRUE(is_one_line(end + 1)) TH_LOG("%s", self->command.err);
	said = json_tokener_parse(end + 1);
	EXPECT_STREQ("triple-fault", member(said, "/reason")) TH_LOG("%s", self->command.err);
	EXPECT_STREQ("0", member(said, "/vcpu"));
	EXPECT_STREQ("0x60000010", member(said, "/registers/cr0"));
	EXPECT_STREQ("0xffff", member(said, "/registers/cs/limit"));
	EXPECT_STREQ("0x0", member(said, "/registers/idt/limit"));
	EXPECT_STREQ("0f 0b", member(said, "/code/0/bytes"));
	EXPECT_STREQ("ud2", member(said, "/code/0/text"));
	EXPECT_STREQ(member(said, "/registers/rip"), member(said, "/code/0/rip"));
	json_object_put(said);
}

TEST_F(verbs, list)
{
	char text[64];

	command_run(&self->command, "mote ps --json | tr -d '\n'");
	EXPECT_STREQ("[]", self->command.out);
	ASSERT_TRUE(vm_start_flat("one", &guest_spin, "--serial none --cpus 2"));
	ASSERT_TRUE(vm_start_flat("two", &guest_spin, "--serial socket"));
	vm_value("one", "pid", text, sizeof(text));
	EXPECT_EQ(0, sh("test %s = $(cat " RUNTIME_DIR "/one.pid)", text)) TH_LOG("pid %s", text);
	vm_value("one", "cpus", text, sizeof(text));
	EXPECT_STREQ("2", text);
	vm_value("one", "memory", text, sizeof(text));
	EXPECT_STREQ("2097152", text);
	vm_value("one", "resident", text, sizeof(text));
	EXPECT_LT(100000, atoll(text));
	vm_value("one", "image", text, sizeof(text));
	EXPECT_NE(NULL, strstr(text, FLAT_IMAGE)) TH_LOG("%s", text);
	vm_value("two", "uptime_ns", text, sizeof(text));
	EXPECT_LT(1, atoll(text));
	EXPECT_TRUE(vm_is("one", "running"));
	EXPECT_TRUE(vm_is("two", "running"));
	EXPECT_EQ(0, sh("mote ps | grep '^two .* running .*[0-9]M/2M '"));
	/* A runner that is stopped is one that does not answer, and holds nobody up for ever. */
	ASSERT_EQ(0, sh("kill -STOP $(cat " RUNTIME_DIR "/one.pid)"));
	EXPECT_TRUE(vm_is("one", "silent"));
	EXPECT_EQ(0, sh("kill -CONT $(cat " RUNTIME_DIR "/one.pid)"));
	EXPECT_TRUE(vm_is("one", "running"));
}

/* Also those of the host that do not run. */
TEST_F(verbs, configured)
{
	EXPECT_EQ(0, sh("rm -rf /etc/mote; mote ps --all | tail -n +2 | grep -q . && exit 1; "
			"mkdir /etc/mote"));
	EXPECT_EQ(0, sh("cd /etc/mote && echo '{\"image\": \"a\", \"cpus\": 3, \"memory\": 64}' "
			"> web.json && cp web.json one.json && cp web.json .hidden.json && "
			"cp web.json other.txt"));
	ASSERT_TRUE(vm_start_flat("one", &guest_spin, ""));
	EXPECT_EQ(0, sh("mote ps --all > list && [ $(wc -l < list) = 3 ] && "
			"grep -q '^one .* running ' list && "
			"grep -q '^web  *-  off  *3  -/64M  *-  a$' list"));
	EXPECT_EQ(0, sh("mote ps --all --json | tr -d '\n ' | "
			"grep -q '{\"name\":\"web\",\"state\":\"off\",'"));
	EXPECT_EQ(0, sh("mote ps | grep -q web && exit 1; echo '{' > /etc/mote/bad.json"));
	EXPECT_COMPLAINT(1, "/etc/mote/bad.json: line 2: no JSON", "mote ps --all > list");
	EXPECT_EQ(0, sh("grep -q '^bad  *-  broken ' list && grep -q '^web ' list; was=$?; "
			"rm -r list /etc/mote; mote stop --force one && exit $was"));
}

TEST_F(verbs, names)
{
	ASSERT_TRUE(vm_start_flat("alpha", &guest_spin, ""));
	ASSERT_TRUE(vm_start_flat("alphabet", &guest_spin, ""));
	ASSERT_TRUE(vm_start_flat("beta", &guest_spin, ""));
	EXPECT_COMPLAINT(2, "there is a VM called beta", "mote run --flat --name beta " FLAT_IMAGE);
	EXPECT_COMPLAINT(2, "letters, digits", "mote run --flat --name ../x " FLAT_IMAGE);
	EXPECT_COMPLAINT(2, "letters, digits", "mote run --flat --name '' " FLAT_IMAGE);
	EXPECT_COMPLAINT(2, "letters, digits", "mote run --flat --name $(printf %%065d 0) " FLAT_IMAGE);
	EXPECT_COMPLAINT(2, "no VM of yours is called gamma", "mote pause gamma");
	EXPECT_COMPLAINT(2, "2 VMs have names that begin with al", "mote stat al");
	EXPECT_EQ(0, sh("mote stat b > /dev/null"));
	/* What changes or ends one wants the whole name. */
	EXPECT_COMPLAINT(2, "is called b: beta?", "mote pause b");
	EXPECT_COMPLAINT(2, "is called b: beta?", "mote resume b");
	EXPECT_COMPLAINT(2, "is called b: beta?", "mote stop --force b");
	EXPECT_COMPLAINT(2, "no VM of yours is called al (mote ps)", "mote pause al");
	EXPECT_TRUE(vm_is("beta", "running"));
	EXPECT_EQ(0, sh("mote pause alpha"));
	EXPECT_TRUE(vm_is("alpha", "paused"));
	EXPECT_TRUE(vm_is("alphabet", "running"));
	EXPECT_EQ(0, sh("mote pause beta"));
	EXPECT_TRUE(vm_is("beta", "paused"));
	/* Those that are not named count. */
	ASSERT_EQ(0, sh("for i in 1 2; do mote run --memory 2M --flat --timeout 7000 " FLAT_IMAGE
			" < /dev/null > /dev/null 2>&1 & echo $! > " RUNTIME_DIR "/$i.pid; done"));
	EXPECT_TRUE(comes_true("mote ps | grep '^" FLAT_IMAGE " '"));
	EXPECT_TRUE(comes_true("mote ps | grep '^" FLAT_IMAGE "-2 '"));
}

TEST_F(verbs, bad_input)
{
	static const char *const verbs[] = { "stop", "pause", "resume", "console", "stat" };

	for (size_t i = 0; i < 5; i++) {
		EXPECT_COMPLAINT(2, "which VM?", "mote %s", verbs[i]);
		EXPECT_COMPLAINT(2, "takes one VM", "mote %s a b c", verbs[i]);
		EXPECT_COMPLAINT(2, "unknown option --nosuch", "mote %s a --nosuch", verbs[i]);
		EXPECT_COMPLAINT(2, "unknown option -x", "mote %s a -x", verbs[i]);
		EXPECT_COMPLAINT(2, "no VM of yours", "mote %s a", verbs[i]);
		EXPECT_EQ(0, sh("mote %s --help > help && [ $(wc -l < help) -le 24 ] && "
				"! grep -E '.{81}' help && grep -q 'usage: mote %s ' help",
				verbs[i], verbs[i]));
	}
	EXPECT_COMPLAINT(2, "takes one VM and CONSOLE: c", "mote console a b c");
	EXPECT_COMPLAINT(2, "which VM?", "mote memory");
	EXPECT_COMPLAINT(2, "memory: SIZE?", "mote memory a");
	EXPECT_COMPLAINT(2, "takes one VM and SIZE: b", "mote memory a 512M b");
	EXPECT_COMPLAINT(2, "memory: not a size from 1M to 4096G: much", "mote memory a much");
	EXPECT_COMPLAINT(2, "no VM of yours", "mote memory a 512M");
	EXPECT_EQ(0, sh("mote memory --help | grep -q 'usage: mote memory NAME SIZE'"));
	EXPECT_COMPLAINT(2, "goes with neither --json nor --watch", "mote stat --prometheus --json");
	EXPECT_COMPLAINT(2, "which VM?", "mote stat --json");
	EXPECT_COMPLAINT(2, "no VM of yours", "mote stat --prometheus a");
	EXPECT_COMPLAINT(2, "takes no argument", "mote ps a");
	EXPECT_COMPLAINT(2, "--timeout wants a value", "mote stop a --timeout");
	EXPECT_COMPLAINT(2, "not a number of seconds", "mote stop --timeout -1 a");
	EXPECT_COMPLAINT(2, "not a number of seconds", "mote stat --watch 0 a");
	EXPECT_COMPLAINT(2, "not a number of seconds", "mote stat --watch nan a");
	unlink("help");
}

TEST_F(verbs, privacy)
{
	ASSERT_TRUE(vm_start_flat("mine", &guest_spin, ""));
	EXPECT_EQ(0, sh("test $(stat -c %%a " RUNTIME_DIR "/mote) = 700"));
	EXPECT_EQ(0, sh("test $(stat -c %%a " RUNTIME_DIR "/mote/mine.sock) = 600"));
	/* Even where the way there is open. */
	EXPECT_EQ(0, sh("chmod 755 " RUNTIME_DIR));
	command_run_as(&self->command, 65534, "mote pause mine");
	EXPECT_NE(0, self->command.status);
	EXPECT_TRUE(vm_is("mine", "running"));
	EXPECT_EQ(0, sh("chmod 755 " RUNTIME_DIR "/mote"));
	command_run_as(&self->command, 65534, "mote pause mine");
	EXPECT_NE(0, self->command.status);
	EXPECT_COMPLAINT(1, "others can reach it", "mote ps");
	EXPECT_COMPLAINT(2, "can be reached by others", "mote run --flat --name x " FLAT_IMAGE);
	EXPECT_EQ(0, sh("chmod 700 " RUNTIME_DIR "/mote"));
	EXPECT_TRUE(vm_is("mine", "running"));
	/* Without XDG_RUNTIME_DIR root has a place, too. */
	unsetenv("XDG_RUNTIME_DIR");
	EXPECT_FALSE(vm_is("mine", "running"));
	ASSERT_TRUE(vm_start_flat("roots", &guest_spin, ""));
	EXPECT_EQ(0, sh("test $(stat -c %%a /run/mote) = 700 && test -S /run/mote/roots.sock"));
	EXPECT_EQ(0, sh("mote stop --force roots"));
	EXPECT_EQ(0, sh("test ! -e /run/mote/roots.sock"));
}

/* How many dots the ticker has written. */
static long dots(void)
{
	struct stat stat_of_file;

	return stat(RUNTIME_DIR "/ticker.out", &stat_of_file) ? -1 : stat_of_file.st_size;
}

TEST_F(verbs, pause_and_resume)
{
	long before;

	ASSERT_TRUE(vm_start_flat("ticker", &guest_ticker, "--json --cpus 2"));
	EXPECT_TRUE(comes_true("test -s " RUNTIME_DIR "/ticker.out"));
	ASSERT_EQ(0, sh("mote pause ticker"));
	EXPECT_TRUE(vm_is("ticker", "paused"));
	before = dots();
	sleep(1);
	EXPECT_EQ(before, dots());
	EXPECT_EQ(0, sh("mote pause ticker"));
	ASSERT_EQ(0, sh("mote resume ticker"));
	EXPECT_TRUE(vm_is("ticker", "running"));
	for (int i = 0; i < PATIENCE && dots() == before; i++)
		usleep(100000);
	EXPECT_LT(before, dots());
	/* Many times, and from several sides. */
	EXPECT_EQ(0, sh("for i in $(seq 10); do mote pause ticker & mote resume ticker & done; wait"));
	EXPECT_EQ(0, sh("mote pause ticker && mote stop --force ticker"));
	EXPECT_EQ(STATUS_STOPPED, vm_status("ticker"));
	command_run(&self->command, "cat " RUNTIME_DIR "/ticker.err");
	EXPECT_NE(NULL, strstr(self->command.out, "{\"event\":\"start\",\"name\":\"ticker\""))
		TH_LOG("%s", self->command.out);
	EXPECT_NE(NULL, strstr(self->command.out, "{\"event\":\"pause\",\"name\":\"ticker\""));
	EXPECT_NE(NULL, strstr(self->command.out, "{\"event\":\"resume\",\"name\":\"ticker\""));
	EXPECT_NE(NULL, strstr(self->command.out, "\"reason\":\"stopped\",\"status\":10"));
}

TEST_F(verbs, power_button)
{
	ASSERT_TRUE(vm_start_flat("button", &guest_button, "--json"));
	EXPECT_EQ(0, sh("mote stop button"));
	EXPECT_EQ(0, vm_status("button"));
	EXPECT_EQ(0, sh("grep -q '^B$' " RUNTIME_DIR "/button.out"));
	EXPECT_EQ(0, sh("grep -q power-button " RUNTIME_DIR "/button.err"));
	/* One that is paused goes on for it. */
	ASSERT_TRUE(vm_start_flat("paused", &guest_button, ""));
	EXPECT_EQ(0, sh("mote pause paused && mote stop paused"));
	EXPECT_EQ(0, vm_status("paused"));
}

/* One that has been stopped has let go of all that it had open. */
TEST_F(verbs, stop_is_the_end)
{
	ASSERT_TRUE(vm_start_flat("first", &guest_ticker, ""));
	EXPECT_EQ(0, sh("mote stop --force first && for i in $(seq 20); do "
			"mote run --detach --name next --memory 256M --flat " FLAT_IMAGE " || exit 1; "
			"pid=$(mote ps --json | grep -o '\"pid\": *[0-9]*' | grep -o '[0-9]*$'); "
			"[ -n \"$(ls /proc/$pid/fd)\" ] && mote stop --force next && "
			"[ -z \"$(ls /proc/$pid/fd 2> /dev/null)\" ] || exit 1; done"));
}

/* A guest that does nothing but reset: the machine begins again, with its name and its console. */
TEST_F(verbs, restart)
{
	ASSERT_TRUE(vm_start_flat("phoenix", &guest_reset, "--json --restart"));
	EXPECT_TRUE(comes_true("[ $(grep -c '\"event\":\"restart\"' " RUNTIME_DIR "/phoenix.err) -ge 2 ]"));
	EXPECT_TRUE(comes_true("grep -q RRR " RUNTIME_DIR "/phoenix.out"));
	/* With the files that it had. */
	ASSERT_EQ(0, sh("rm " FLAT_IMAGE));
	EXPECT_TRUE(comes_true("[ $(grep -c '\"event\":\"restart\"' " RUNTIME_DIR "/phoenix.err) -ge 5 ]"));
	EXPECT_EQ(0, sh("mote stop --force phoenix"));
	EXPECT_EQ(STATUS_STOPPED, vm_status("phoenix"));
	EXPECT_EQ(1, sh("mote ps | grep -q phoenix"));
	/* Who ends it between two lives ends it, too; and without the option a reset is the end. */
	run_flat(&self->command, &guest_reset, "", "--restart --timeout 2");
	EXPECT_EQ(STATUS_TIMEOUT, self->command.status);
	run_flat(&self->command, &guest_reset, "", "");
	EXPECT_EQ(STATUS_RESET, self->command.status);
}

/* Whoever has started it has his prompt again when it runs, or hears why it does not. */
TEST_F(verbs, detach)
{
	write_flat(&guest_spin);
	command_run(&self->command,
		    "mote run --detach --name back --memory 2M --timeout 7000 --flat " FLAT_IMAGE);
	EXPECT_EQ(0, self->command.status);
	EXPECT_STREQ("", self->command.err);
	EXPECT_TRUE(vm_is("back", "running"));
	EXPECT_COMPLAINT(2, "there is a VM called back", "mote run --detach --flat --name back " FLAT_IMAGE);
	EXPECT_EQ(0, sh("mote stop --force back"));
	EXPECT_COMPLAINT(2, "cannot open the disk", "mote run --detach --disk /nosuch --flat " FLAT_IMAGE);
	unlink(FLAT_IMAGE);
}

TEST_F(verbs, force)
{
	ASSERT_TRUE(vm_start_flat("deaf", &guest_spin, ""));
	/* Nobody pulls the plug who has not been told to. */
	EXPECT_COMPLAINT(1, "deaf has not switched itself off", "mote stop --timeout 1 deaf");
	EXPECT_TRUE(vm_is("deaf", "running"));
	EXPECT_EQ(0, sh("mote stop --force deaf"));
	EXPECT_EQ(STATUS_STOPPED, vm_status("deaf"));
	ASSERT_TRUE(vm_start_flat("other", &guest_button, ""));
	EXPECT_EQ(0, sh("mote stop --force other"));
	EXPECT_EQ(STATUS_STOPPED, vm_status("other"));
	EXPECT_COMPLAINT(2, "no VM of yours", "mote stop other");
}

/* What a balloon is asked for. */
static bool is_asked_for(const char *name, long bytes)
{
	return !sh("mote stat --prometheus %s | grep -q '^mote_balloon_target_bytes{.*} %ld$'", name, bytes);
}

TEST_F(verbs, memory)
{
	ASSERT_TRUE(vm_start_flat("balloon", &guest_spin, "--balloon"));
	EXPECT_TRUE(is_asked_for("balloon", 0));
	EXPECT_EQ(0, sh("mote memory balloon 1M"));
	EXPECT_TRUE(is_asked_for("balloon", 1 << 20));
	EXPECT_COMPLAINT(1, "the VM has 2M in all", "mote memory balloon 3M");
	EXPECT_COMPLAINT(2, "is called ball: balloon?", "mote memory ball 2M");
	EXPECT_TRUE(is_asked_for("balloon", 1 << 20));
	EXPECT_EQ(0, sh("mote pause balloon && mote memory balloon 2M"));
	EXPECT_TRUE(is_asked_for("balloon", 0));
	ASSERT_TRUE(vm_start_flat("none", &guest_spin, ""));
	EXPECT_COMPLAINT(1, "the VM has no balloon", "mote memory none 1M");
}

TEST_F(verbs, console)
{
	ASSERT_TRUE(vm_start_flat("echo", &guest_echo, "--serial socket"));
	/* What was there before, what comes then; two at a time see the same. */
	ASSERT_EQ(0, sh("(mote console echo < /dev/null > " RUNTIME_DIR "/seen 2>&1 &) && "
			"(printf HELLO | mote console echo > " RUNTIME_DIR "/typed 2>&1 &)"));
	EXPECT_TRUE(comes_true("test \"$(cat " RUNTIME_DIR "/typed)\" = '>hello'"));
	EXPECT_TRUE(comes_true("test \"$(cat " RUNTIME_DIR "/seen)\" = '>hello'"));
	/* More than the serial port has room for waits for the guest. */
	command_run(&self->command, "head -c 500 /dev/zero | tr '\\0' X | mote console echo "
		    "| head -c 506 | tr -d -c x | wc -c");
	EXPECT_EQ(500, atoi(self->command.out)) TH_LOG("%s", self->command.out);
	EXPECT_EQ(0, sh("mote stop --force echo"));
	EXPECT_TRUE(comes_true("! pgrep -f '[m]ote console'"));
	ASSERT_TRUE(vm_start_flat("mute", &guest_spin, "--serial none"));
	EXPECT_COMPLAINT(1, "no console", "mote console mute");
}

/* Beside who has started the VM: both type, both see all. */
TEST_F(verbs, beside_stdio)
{
	write_flat(&guest_echo);
	ASSERT_EQ(0, sh("cd " RUNTIME_DIR " && mkfifo keys && "
			"{ mote run --name both --memory 2M --timeout 7000 --flat $OLDPWD/" FLAT_IMAGE
			" < keys > both.out & echo $! > both.pid; } && "
			"{ (printf RUN; sleep 250) > keys & echo $! > keys.pid; }"));
	EXPECT_TRUE(comes_true("test \"$(cat " RUNTIME_DIR "/both.out)\" = '>run'"));
	ASSERT_EQ(0, sh("(printf SEEN | mote console both > " RUNTIME_DIR "/seen) &"));
	EXPECT_TRUE(comes_true("test \"$(cat " RUNTIME_DIR "/seen)\" = '>runseen'"));
	EXPECT_TRUE(comes_true("test \"$(cat " RUNTIME_DIR "/both.out)\" = '>runseen'"));
}

/* mote console on a terminal of its own, whose other end is ours. */
static pid_t console_on_terminal(const char *name, int *fd)
{
	pid_t pid = forkpty(fd, NULL, NULL, NULL);

	if (pid)
		return pid;
	execlp("mote", "mote", "console", name, NULL);
	_exit(127);
}

TEST_F(verbs, terminal)
{
	struct termios before, during, after;
	int fd, status;
	pid_t pid;

	ASSERT_TRUE(vm_start_flat("echo", &guest_echo, "--serial socket"));
	pid = console_on_terminal("echo", &fd);
	ASSERT_LT(0, pid);
	ASSERT_EQ(0, tcgetattr(fd, &before));
	EXPECT_TRUE(shows(fd, ">"));
	ASSERT_EQ(0, tcgetattr(fd, &during));
	EXPECT_FALSE(during.c_lflag & (ICANON | ECHO | ISIG));
	/* Ctrl-C and a doubled Ctrl-A are the guest's; Ctrl-A d leaves. */
	EXPECT_EQ(5, write(fd, "A\003\001\001Z", 5));
	EXPECT_TRUE(shows(fd, "a#!z"));
	EXPECT_EQ(2, write(fd, "\001d", 2));
	EXPECT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	ASSERT_EQ(0, tcgetattr(fd, &after));
	EXPECT_EQ(before.c_lflag, after.c_lflag);
	EXPECT_EQ(before.c_iflag, after.c_iflag);
	EXPECT_TRUE(vm_is("echo", "running"));
}

/* Also at the console of a guest that takes no key: more of them than there is room for. */
TEST_F(verbs, deaf)
{
	char keys[4096];
	int fd, status;
	pid_t pid;

	ASSERT_TRUE(vm_start_flat("deaf", &guest_spin, "--serial socket"));
	pid = console_on_terminal("deaf", &fd);
	ASSERT_LT(0, pid);
	EXPECT_TRUE(shows(fd, "the console of deaf"));
	memset(keys, 'x', sizeof(keys));
	for (size_t nr = 0; nr < 1 << 20; nr += sizeof(keys))
		ASSERT_EQ(sizeof(keys), write(fd, keys, sizeof(keys)));
	EXPECT_EQ(2, write(fd, "\001d", 2));
	EXPECT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
}

/* In what `mote stat --json` says of a vCPU: the number at KEY or GROUP.KEY. */
static long long stat_number(const char *name, const char *group, const char *key)
{
	struct json_object *root, *value;
	struct command command;
	long long number = -1;

	command_run(&command, "mote stat --json %s", name);
	root = json_tokener_parse(command.out);
	if (root && json_object_object_get_ex(root, "vcpus", &value)) {
		value = json_object_array_get_idx(value, 0);
		if ((!group || json_object_object_get_ex(value, group, &value)) &&
		    json_object_object_get_ex(value, key, &value))
			number = json_object_get_int64(value);
	}
	json_object_put(root);
	return number;
}

TEST_F(verbs, statistics)
{
	ASSERT_TRUE(vm_start_flat("counted", &guest_counted, ""));
	EXPECT_TRUE(comes_true("mote stat counted | grep '^pio *200 *200$'"));
	EXPECT_EQ(500, stat_number("counted", "exits", "cpuid"));
	EXPECT_EQ(-1, stat_number("counted", "exits_to_runner", "cpuid"));
	EXPECT_EQ(200, stat_number("counted", "exits_to_runner", "pio"));
	/* It spins: its time is the guest's, and most of it. */
	for (int i = 0; i < PATIENCE && stat_number("counted", NULL, "guest_ns") < 500000000; i++)
		usleep(100000);
	EXPECT_LE(500000000, stat_number("counted", NULL, "guest_ns"));
	EXPECT_GT(stat_number("counted", NULL, "guest_ns"), stat_number("counted", NULL, "kernel_ns"));
	EXPECT_EQ(0, sh("mote stat counted | grep -q '^all '"));
	/* For Prometheus; of all, also of one that does not answer. */
	EXPECT_EQ(0, sh("mote stat --prometheus count | grep -q "
			"'^mote_vcpu_exits_total{machine=\"counted\",vcpu=\"0\",reason=\"cpuid\"} 500$'"));
	ASSERT_TRUE(vm_start_flat("other", &guest_spin, ""));
	ASSERT_EQ(0, sh("kill -STOP $(cat " RUNTIME_DIR "/other.pid)"));
	command_run(&self->command, "mote stat --prometheus");
	EXPECT_NE(NULL, strstr(self->command.out, "\nmote_up{machine=\"counted\"} 1\n"
			       "mote_up{machine=\"other\"} 0\n")) TH_LOG("%s", self->command.out);
	EXPECT_EQ(0, sh("kill -CONT $(cat " RUNTIME_DIR "/other.pid)"));
	/* Again and again, with rates, until the VM ends. */
	ASSERT_EQ(0, sh("mote stat --watch 0.2 counted > " RUNTIME_DIR "/watch 2> /dev/null &"));
	EXPECT_TRUE(comes_true("grep -q '^cpuid *500 *0 *0$' " RUNTIME_DIR "/watch"));
	EXPECT_EQ(0, sh("mote stop --force counted"));
	EXPECT_TRUE(comes_true("! pgrep -f '[m]ote stat'"));
}

MOTE_TEST_MAIN
