// SPDX-License-Identifier: GPL-2.0
/*
 * Several VMs at once: what becomes of one is nothing to the others and to the host.
 */
#include "kselftest_harness.h"
#include "life.h"

/* With IF set, as Bochs holds back the interrupts of the host otherwise. */
GUEST(spin, 16, "sti; jmp .");
GUEST(triple, 16, "push $0; push $0; push $0; mov %sp, %bp; lidt (%bp); ud2");
GUEST(exit_1, 16, "mov $1, %al; out %al, $0xf4");

/*
 * Counts as long as it finds in its memory what it has written: a word a page, all
 * over the first MiB but for where it is itself; a dot for each round.
 */
GUEST(careful, 16, "sti; xor %bx, %bx\n"
      "1: inc %bx; mov $0x1000, %ax\n"
      "2: mov %ax, %ds; mov %bx, %cx; add %ax, %cx; mov %cx, 0; add $0x100, %ax; cmp $0x9000, %ax; jb 2b\n"
      "mov $0x1000, %ax\n"
      "3: mov %ax, %ds; mov %bx, %cx; add %ax, %cx; cmp %cx, 0; jne 9f; add $0x100, %ax\n"
      "cmp $0x9000, %ax; jb 3b\n"
      "mov $0x3fd, %dx; 4: in %dx, %al; test $0x20, %al; jz 4b\n"
      "mov $0x3f8, %dx; mov $0x2e, %al; out %al, %dx; jmp 1b\n"
      "9: mov $2, %al; out %al, $0xf4");

FIXTURE(vm_isolation)
{
	struct command command;
};

FIXTURE_SETUP(vm_isolation)
{
	life_begin();
}

FIXTURE_TEARDOWN(vm_isolation)
{
	life_end();
	sh("rm -f " FLAT_IMAGE);
}

static long size_of(const char *file)
{
	struct stat stat_of_file;

	return stat(file, &stat_of_file) ? -1 : stat_of_file.st_size;
}

/* It is going on, and has not found anything wrong. */
static bool is_careful(void)
{
	long before = size_of(RUNTIME_DIR "/careful.out");

	for (int i = 0; i < PATIENCE; i++) {
		if (size_of(RUNTIME_DIR "/careful.out") > before)
			return vm_is("careful", "running");
		usleep(100000);
	}
	return false;
}

#define KILL(name) "kill -9 $(cat " RUNTIME_DIR "/" name ".pid)"

TEST_F(vm_isolation, one_is_killed)
{
	ASSERT_TRUE(vm_start_flat("careful", &guest_careful, ""));
	ASSERT_TRUE(vm_start_flat("killed", &guest_careful, "--serial socket --cpus 2"));
	ASSERT_EQ(0, sh("(mote console killed < /dev/null > " RUNTIME_DIR "/seen; "
			"echo $? > " RUNTIME_DIR "/console) &"));
	ASSERT_TRUE(comes_true("test -s " RUNTIME_DIR "/seen"));
	EXPECT_EQ(2, count_vms());
	ASSERT_EQ(0, sh(KILL("killed")));
	EXPECT_EQ(137, vm_status("killed"));
	/* What it has left goes with the next look. */
	EXPECT_EQ(0, sh("test -S " RUNTIME_DIR "/mote/killed.sock"));
	EXPECT_EQ(0, sh("mote ps | grep -q '^careful ' && ! mote ps | grep killed"));
	EXPECT_EQ(0, sh("test ! -e " RUNTIME_DIR "/mote/killed.sock"));
	EXPECT_TRUE(comes_true("test -s " RUNTIME_DIR "/console"));
	EXPECT_EQ(1, count_vms());
	EXPECT_TRUE(is_careful());
	/* Or with the next VM of that name. */
	ASSERT_TRUE(vm_start_flat("killed", &guest_spin, ""));
	ASSERT_EQ(0, sh(KILL("killed")));
	EXPECT_EQ(137, vm_status("killed"));
	EXPECT_EQ(0, sh("rm " RUNTIME_DIR "/killed.*"));
	ASSERT_TRUE(vm_start_flat("killed", &guest_spin, ""));
	EXPECT_EQ(0, sh("mote stop --force killed"));
	EXPECT_TRUE(is_careful());
}

/* While many come and go, in each of the ways in which they can. */
TEST_F(vm_isolation, others_crash)
{
	static const struct {
		const char *options;
		const struct guest_code *code;
		int status;
	} ways[] = {
		{ "", &guest_triple, STATUS_TRIPLE_FAULT },
		{ "", &guest_exit_1, STATUS_DEBUG(1) },
		{ "--timeout 0.3", &guest_spin, STATUS_TIMEOUT },
		{ "--timeout 0.3 --cpus 4", &guest_spin, STATUS_TIMEOUT },
	};

	ASSERT_TRUE(vm_start_flat("careful", &guest_careful, ""));
	for (long i = 0; i < guest_scale(sizeof(ways) / sizeof(ways[0])); i++) {
		if (!i && host_is_trinity())
			continue; /* Bochs panics at a guest's triple fault */
		sh("rm -f " FLAT_IMAGE);
		run_flat(&self->command, ways[i].code, "", ways[i].options);
		EXPECT_EQ(ways[i].status, self->command.status)
			TH_LOG("%ld: %s", i, self->command.err);
		EXPECT_TRUE(is_careful());
	}
	EXPECT_EQ(1, count_vms());
}

/* More of them than processors, all spinning: each gets its share, and so has the host. */
TEST_F(vm_isolation, many_spin)
{
	char name[] = "spin0", line[512];
	long many = guest_scale(4);

	ASSERT_TRUE(vm_start_flat("careful", &guest_careful, ""));
	write_flat(&guest_spin);
	for (long i = 0; i < many; i++) {
		name[4] = '0' + i;
		snprintf(line, sizeof(line), VM("%s", "--memory 2M --cpus 2 --flat", "$OLDPWD/" FLAT_IMAGE),
			 name, name, name, name, name);
		ASSERT_EQ(0, sh("%s", line));
		snprintf(line, sizeof(line), "mote ps | grep -q '^%s '", name);
		ASSERT_TRUE(comes_true(line));
	}
	EXPECT_EQ(many + 1, count_vms());
	EXPECT_TRUE(is_careful());
	EXPECT_EQ(0, sh("for name in $(mote ps | grep -o '^spin.'); do "
			"mote stop --force $name & done; wait"));
	EXPECT_TRUE(is_careful());
	EXPECT_EQ(1, count_vms());
}

MOTE_TEST_MAIN
