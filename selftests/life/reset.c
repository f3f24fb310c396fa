// SPDX-License-Identifier: GPL-2.0
/*
 * A machine with devices that goes back to where it was (mote reset), again and again: all of its memory
 * each time, and its registers and devices as `mote snapshot --show` has them, but for what goes on with the
 * clock. That is looked at less often, for a machine that is saved goes back there from then on, and what
 * has been written since is what is to be tested.
 */
#include <fcntl.h>

#include "kselftest_harness.h"
#include "life.h"

#define DIR RUNTIME_DIR "/saved"
#define RAM_SIZE (2u << 20)
#define COUNT_AT 0x500

/*
 * Counts at COUNT_AT, and with the count changes a place of its memory, general registers, the FPU, and
 * registers of the serial port, the interrupt controllers, the timer, the clock and the PCI bridge. The
 * timer's channel 0 stands still.
 */
GUEST(restless, 16,
      "xor %ax, %ax; mov %ax, %ds; mov $0x7000, %sp\n"
      "mov $0x30, %al; out %al, $0x43\n"
      "1: incl 0x500; mov 0x500, %eax; imul $0x9e3779b1, %eax, %ebx; mov %ebx, %ecx; shr $17, %ecx\n"
      "add $0x1000, %cx; mov %cx, %es; mov %ebx, %es:0; mov %ebx, %esi; bswap %esi; lea (%ebx, %esi), %ebp\n"
      "fildl 0x500; fstps 0x508; mov %ebx, %cr2\n"
      "mov $0x3ff, %dx; out %al, %dx\n"
      "out %al, $0x21; out %al, $0xa1; mov %al, %ah; and $0x7f, %al; out %al, $0x70; mov %ah, %al\n"
      "out %al, $0x42; out %al, $0x42\n"
      "mov %ebx, %eax; or $0x80000000, %eax; and $0xfffffffc, %eax; mov $0xcf8, %dx; out %eax, %dx\n"
      "jmp 1b");

static unsigned char was[RAM_SIZE], is[RAM_SIZE];

/* What goes on with the clock, and what is not the same twice (docs/snapshot.md). */
#define OF_THE_MOMENT "clock_ns\\|clock_tsc\\|since\\|restarted\\|started\\|id\\|gpe_status\\|file"

struct machine {
	int control;
	int memory;		/* /proc/PID/mem */
	off_t ram;		/* where it is in there */
};

FIXTURE(reset)
{
	struct machine one;
};

FIXTURE_SETUP(reset)
{
	self->one.control = self->one.memory = -1;
	life_begin();
}

FIXTURE_TEARDOWN(reset)
{
	close(self->one.control);
	close(self->one.memory);
	life_end();
	sh("rm -f " FLAT_IMAGE);
}

/* One request, which must not be refused. */
static bool ask(int fd, const char *what)
{
	char line[4096];
	size_t nr = snprintf(line, sizeof(line), "{\"version\":1,\"do\":\"%s\"}\n", what);

	if (write(fd, line, nr) != (ssize_t)nr)
		return false;
	for (nr = 0; nr < sizeof(line) && read(fd, line + nr, 1) == 1 && line[nr] != '\n'; nr++)
		;
	return nr && strncmp(line, "{\"error\"", 8);
}

/* Its memory is that in which it was saved, mapped privately, once it has been reset. */
static bool find_memory(struct machine *one)
{
	struct command command;

	command_run(&command, "grep 'rw-p.*/memory-' /proc/$(cat " RUNTIME_DIR "/one.pid)/maps");
	one->ram = strtoull(command.out, NULL, 16);
	close(one->memory);
	command_run(&command, "printf /proc/%%d/mem $(cat " RUNTIME_DIR "/one.pid)");
	one->memory = open(command.out, O_RDONLY | O_CLOEXEC);
	return one->ram && one->memory >= 0;
}

static bool read_memory(struct machine *one, unsigned char *ram)
{
	return pread(one->memory, ram, RAM_SIZE, one->ram) == RAM_SIZE;
}

static __u32 count(struct machine *one)
{
	__u32 value = 0;

	return pread(one->memory, &value, sizeof(value), one->ram + COUNT_AT) == sizeof(value) ? value : 0;
}

/* It runs until it has done something, and stands still. */
static bool runs_for_a_while(struct machine *one)
{
	__u32 before = count(one);

	if (!ask(one->control, "resume"))
		return false;
	while (count(one) - before < 4)
		usleep(100);
	return ask(one->control, "pause") && count(one) != before;
}

/* Registers and devices, as text in a file. */
static bool show(const char *file)
{
	return !sh("cd " RUNTIME_DIR "; mote snapshot --pause one saved > show.out && "
		   "mote snapshot --show saved | grep -v '^ *\"\\(" OF_THE_MOMENT "\\)\":' > %s && "
		   "grep -q '\"vcpu0\"' %s", file, file);
}

TEST_F(reset, is_as_it_was)
{
	long rounds = guest_rounds(100, 20000), every = is_long_run() ? 200 : 20;

	ASSERT_EQ(0, sh("truncate -s 1M " RUNTIME_DIR "/disk"));
	ASSERT_TRUE(vm_start_flat("one", &guest_restless, "--cpus 2 --disk disk --net user"));
	self->one.control = vm_dial("one");
	ASSERT_LE(0, self->one.control);
	ASSERT_TRUE(ask(self->one.control, "pause"));
	ASSERT_EQ(0, sh("mote snapshot --pause one " DIR));
	ASSERT_TRUE(ask(self->one.control, "reset"));
	ASSERT_TRUE(find_memory(&self->one) && read_memory(&self->one, was));
	ASSERT_TRUE(show("was"));
	ASSERT_TRUE(ask(self->one.control, "reset"));
	ASSERT_TRUE(find_memory(&self->one));
	for (long i = 1; i <= rounds; i++) {
		ASSERT_TRUE(runs_for_a_while(&self->one));
		ASSERT_TRUE(ask(self->one.control, "reset"));
		ASSERT_TRUE(read_memory(&self->one, is));
		ASSERT_EQ(0, memcmp(was, is, RAM_SIZE)) TH_LOG("reset %ld", i);
		if (i % every)
			continue;
		ASSERT_TRUE(show("is"));
		ASSERT_EQ(0, sh("cd " RUNTIME_DIR "; diff was is > differ")) TH_LOG("reset %ld", i);
		ASSERT_TRUE(ask(self->one.control, "reset"));
		ASSERT_TRUE(find_memory(&self->one));
	}
	/* Without a reset it is another. */
	ASSERT_TRUE(runs_for_a_while(&self->one));
	ASSERT_TRUE(read_memory(&self->one, is));
	EXPECT_NE(0, memcmp(was, is, RAM_SIZE));
	ASSERT_TRUE(show("is"));
	EXPECT_EQ(1, sh("cd " RUNTIME_DIR "; diff was is > differ")) TH_LOG("the devices are as they were");
	EXPECT_EQ(0, sh("mote stop --force one"));
}

MOTE_TEST_MAIN
