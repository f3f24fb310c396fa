// SPDX-License-Identifier: GPL-2.0
/* mote watch: what uses a part of a running machine's memory. */
#include "kselftest_harness.h"
#include "life.h"

/* At 0x7c00: counts at 0x9000, reads at 0x9008, and what is at 0x9100 is called; a dot each round. */
GUEST(counter, 16, "xor %ax, %ax; mov %ax, %ds; mov %ax, %ss; mov $0x7000, %sp; movb $0xc3, 0x9100; sti\n"
      "1: incl 0x9000; mov 0x9008, %eax; mov $0x9100, %bx; call *%bx; pushf; popf\n" PUT("'.'") "jmp 1b");

FIXTURE(watch)
{
	struct command command;
};

FIXTURE_SETUP(watch)
{
	if (host_is_trinity())
		SKIP(return, "not on this hardware: Bochs ends when a guest of this processor is stepped");
	life_begin();
}

FIXTURE_TEARDOWN(watch)
{
	life_end();
	sh("rm -f " FLAT_IMAGE);
}

static int count(const char *text, const char *what)
{
	int nr = 0;

	while ((text = strstr(text, what)) && ++nr)
		text += strlen(what);
	return nr;
}

/* Does it still say something? */
static bool goes_on(void)
{
	return comes_true("a=$(wc -c < " RUNTIME_DIR "/vm.out); sleep 0.1; "
			  "test $(wc -c < " RUNTIME_DIR "/vm.out) -gt $a");
}

TEST_F(watch, kinds)
{
	ASSERT_TRUE(vm_start_flat("vm", &guest_counter, ""));
	command_run(&self->command, "mote watch --physical --count 3 vm 0x9000");
	EXPECT_EQ(0, self->command.status) TH_LOG("%s", self->command.err);
	EXPECT_EQ(3, count(self->command.out, "vcpu 0  w   0x9000  at 0x")) TH_LOG("%s", self->command.out);
	EXPECT_STREQ("", self->command.err);
	/* What begins before it is told if it may be meant; what is behind it is not. */
	command_run(&self->command, "mote watch --access rwx --size 1 --count 3 vm 0x9003");
	EXPECT_EQ(3, count(self->command.out, "  0x9000  at 0x")) TH_LOG("%s", self->command.out);
	command_run(&self->command, "mote watch --access r --count 2 vm 0x9008");
	EXPECT_EQ(2, count(self->command.out, "vcpu 0  r   0x9008  at 0x")) TH_LOG("%s", self->command.out);
	command_run(&self->command, "mote watch --access x --count 2 vm 0x9100");
	EXPECT_EQ(2, count(self->command.out, "vcpu 0  x   0x9100  at 0x9100"))
		TH_LOG("%s", self->command.out);
	/* The stack, by instructions that only libmote steps over. */
	command_run(&self->command, "mote watch --access rw --size 4K --json --count 12 vm 0x6000");
	EXPECT_EQ(2, self->command.status);
	command_run(&self->command, "mote watch --access rw --size 4096 --json --count 12 vm 0x6000");
	EXPECT_EQ(12, count(self->command.out, "\"address\":28670")) TH_LOG("%s", self->command.out);
	EXPECT_LT(2, count(self->command.out, "\"access\":\"r\""));
	EXPECT_EQ(12, count(self->command.out, "\"lost\":0"));
	EXPECT_TRUE(goes_on());
	sh("mote stop --force vm");
}

/* Paused before the access, and behind it after it goes on. */
TEST_F(watch, pauses)
{
	ASSERT_TRUE(vm_start_flat("vm", &guest_counter, ""));
	for (int i = 0; i < 2; i++) {
		command_run(&self->command, "mote watch --pause --count 1 vm 0x9000");
		EXPECT_EQ(0, self->command.status);
		EXPECT_TRUE(comes_true("mote ps | grep -q '^vm .*paused'"));
		sh("mote resume vm");
		EXPECT_TRUE(goes_on());
	}
	sh("mote stop --force vm");
}

/* Several at once, each with its own; the guest goes on when they are gone; and they end with it. */
TEST_F(watch, several)
{
	ASSERT_TRUE(vm_start_flat("vm", &guest_counter, ""));
	/* In the same moment: the machine stands still for all of them. */
	sh("cd " RUNTIME_DIR "; "
	   "for i in 1 2 3 4 5 6 7 8; do mote watch vm 0x9000 > hits.$i 2> why.$i & done");
	for (int i = 1; i < 10; i++) {
		char command[100];

		/* Where the page is watched for reads, what increments is told of as a read. */
		if (i == 9)
			sh("cd " RUNTIME_DIR "; "
			   "mote watch --access r vm 0x9008 > hits.9 2> why.9 & echo $! > reader");
		sprintf(command, "test $(wc -l < " RUNTIME_DIR "/hits.%d) -gt 3", i);
		EXPECT_TRUE(comes_true(command)) TH_LOG("%d", i);
	}
	EXPECT_NE(0, sh("cat " RUNTIME_DIR "/why.* | grep -q ."));
	EXPECT_NE(0, sh("mote ps | grep -q '^vm .*paus'"));
	sh("cd " RUNTIME_DIR "; kill -9 $(cat reader)");
	EXPECT_TRUE(goes_on());
	EXPECT_EQ(0, sh("grep -c 'vcpu 0  r ' " RUNTIME_DIR "/hits.9"));
	EXPECT_NE(0, sh("grep 'vcpu 0  r ' " RUNTIME_DIR "/hits.1"));
	sh("cd " RUNTIME_DIR "; (mote watch vm 0x9000 > hits.10; echo $? > ended) & ");
	EXPECT_TRUE(comes_true("test -s " RUNTIME_DIR "/hits.10"));
	sh("mote stop --force vm");
	EXPECT_TRUE(comes_true("test -s " RUNTIME_DIR "/ended"));
}

TEST_F(watch, refused)
{
	ASSERT_TRUE(vm_start_flat("vm", &guest_counter, ""));
	for (int i = 1; i < 17; i++) {
		char command[100];

		sprintf(command, "cd " RUNTIME_DIR "; mote watch vm 0x9000 > hits.%d &", i);
		sh("%s", command);
		sprintf(command, "test -s " RUNTIME_DIR "/hits.%d", i);
		EXPECT_TRUE(comes_true(command));
	}
	command_run(&self->command, "mote watch vm 0x9000");
	EXPECT_EQ(1, self->command.status);
	EXPECT_NE(NULL, strstr(self->command.err, "as many watches as there can be")) {
		TH_LOG("%s", self->command.err);
	}
	command_run(&self->command, "mote gdb vm < /dev/null");
	EXPECT_EQ(1, self->command.status);
	EXPECT_NE(NULL, strstr(self->command.err, "the VM is watched")) TH_LOG("%s", self->command.err);
	command_run(&self->command, "mote watch --size 65537 vm 0x9000");
	EXPECT_EQ(2, self->command.status);
	command_run(&self->command, "mote watch --access rq vm 0x9000");
	EXPECT_EQ(2, self->command.status);
	command_run(&self->command, "mote watch vm jiffies");
	EXPECT_EQ(2, self->command.status);
	command_run(&self->command, "mote watch vm --size 16 0xffffffffffffffff");
	EXPECT_EQ(1, self->command.status);
	EXPECT_TRUE(goes_on());
	sh("mote stop --force vm");
}

/* Linux, by name: where the host runs the same kernel. */
TEST_F(watch, kernel)
{
	if (is_slow())
		SKIP(return, "not on this hardware: in make check-long, or on svm");
	if (sh("grep -qa \"$(uname -r) \" ../boot/vmlinuz"))
		SKIP(return, "not on this kernel: it is not the guest's");
	ASSERT_TRUE(vm_start("kernel", "--memory 256M --initrd $OLDPWD/../boot/initrd --append "
			     "'console=ttyS0 quiet nokaslr panic=-1 cpus=1 least=0 more=fork-init'",
			     "$OLDPWD/../boot/vmlinuz"));
	ASSERT_TRUE(comes_true("grep -q 'guest: waits to be copied' " RUNTIME_DIR "/kernel.out"));
	command_run(&self->command, "mote watch --symbols /proc/kallsyms --count 5 kernel jiffies_64");
	EXPECT_EQ(0, self->command.status) TH_LOG("%s", self->command.err);
	EXPECT_EQ(5, count(self->command.out, "(tick_do_update_jiffies64+0x") +
		     count(self->command.out, "(do_timer+0x")) TH_LOG("%s", self->command.out);
	sh("mote stop --force kernel");
}

MOTE_TEST_MAIN
