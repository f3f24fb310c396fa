// SPDX-License-Identifier: GPL-2.0
/*
 * Machines that are saved, restored and migrated: the guest says the alphabet (alphabet.s), and nothing of
 * it is lost or said twice.
 */
#include <sys/file.h>
#include <sys/wait.h>

#include "kselftest_harness.h"
#include "life.h"

#define DIR RUNTIME_DIR "/saved"

GUEST(alphabet, 16, ".include \"alphabet.s\"");

FIXTURE(snapshot)
{
	struct command command;
};

FIXTURE_SETUP(snapshot)
{
	life_begin();
}

FIXTURE_TEARDOWN(snapshot)
{
	life_end();
	sh("rm -f " FLAT_IMAGE);
}

/* A machine that begins in another way than by `mote run`: as VM(), with what it is called. */
#define ARRIVE(name, how)								\
	"cd " RUNTIME_DIR " && { " how " < /dev/null > " name ".out 2> " name ".err & "	\
	"echo $! > " name ".pid; wait $!; echo $? > " name ".status; } > /dev/null 2>&1 &"

static bool has_said(const char *name, unsigned int letters)
{
	char text[128];

	snprintf(text, sizeof(text), "[ $(wc -c < " RUNTIME_DIR "/%s.out) -ge %u ]", name, letters);
	return comes_true(text);
}

/* Nothing is on its way any more: between two looks nothing has come. */
static bool is_silent(const char *name)
{
	char text[256];

	snprintf(text, sizeof(text), "cd " RUNTIME_DIR "; was=$(wc -c < %s.out); sleep 1; "
		 "[ $was = $(wc -c < %s.out) ]", name, name);
	return comes_true(text);
}

/* Is what these have said, one after the other, the alphabet again and again? */
static bool is_alphabet(const char *files)
{
	return !sh("cd " RUNTIME_DIR "; all=$(cat %s); said=${#all}; "
		   "want=$(awk -v n=$said 'BEGIN { for (i = 0; i < n; i++) printf \"%%c\", 97 + i %% 26 }'); "
		   "[ $said -ge 60 ] && [ \"$all\" = \"$want\" ]", files);
}

TEST_F(snapshot, goes_on)
{
	ASSERT_TRUE(vm_start_flat("one", &guest_alphabet, ""));
	ASSERT_TRUE(has_said("one", 40));
	command_run(&self->command, "mote snapshot --pause one " DIR);
	EXPECT_EQ(0, self->command.status) TH_LOG("%s", self->command.err);
	EXPECT_NE(NULL, strstr(self->command.out, "one is saved in " DIR ": "))
		TH_LOG("%s", self->command.out);
	EXPECT_TRUE(vm_is("one", "paused"));
	EXPECT_EQ(0, sh("mote snapshot --show " DIR " > show && grep -q '\"vcpu0\":' show && "
			"grep -q '\"i82540\":' show; rm -f show"));
	ASSERT_TRUE(is_silent("one"));
	ASSERT_EQ(0, sh("mote stop --force one"));
	/* It is called as it was, and its files are not where we are. */
	ASSERT_EQ(0, sh(ARRIVE("one2", "mote restore --timeout 7000 " DIR)));
	ASSERT_TRUE(has_said("one2", 40));
	EXPECT_TRUE(vm_is("one", "running"));
	EXPECT_TRUE(is_alphabet("one.out one2.out"));
	/* As often as wanted, and beside each other; each goes on where the first did. */
	ASSERT_EQ(0, sh(ARRIVE("one3", "mote restore --verify --json --paused --timeout 7000 " DIR)));
	EXPECT_TRUE(comes_true("mote ps | grep '^one-2 .* paused '"));
	EXPECT_EQ(0, sh("[ ! -s " RUNTIME_DIR "/one3.out ] && mote resume one-2"));
	ASSERT_TRUE(has_said("one3", 40));
	EXPECT_TRUE(is_alphabet("one.out one3.out"));
	EXPECT_EQ(0, sh("mote stop --force one-2; mote stop --force one"));
	EXPECT_EQ(10, vm_status("one3"));
}

static long nr_said(const char *name)
{
	struct command command;

	command_run(&command, "wc -c < " RUNTIME_DIR "/%s.out", name);
	return atol(command.out);
}

/* What is as in another snapshot is not written again, and each can be restored without the other. */
TEST_F(snapshot, differs)
{
	long was;

	ASSERT_TRUE(vm_start_flat("one", &guest_alphabet, "--memory 16M"));
	ASSERT_TRUE(has_said("one", 40));
	ASSERT_EQ(0, sh("mote snapshot --pause one " DIR));
	EXPECT_COMPLAINT(2, "snapshot: --live or --diff", "mote snapshot --live --diff " DIR " one " DIR "2");
	EXPECT_COMPLAINT(1, "there is no machine in it", "mote snapshot --diff " RUNTIME_DIR " one " DIR "2");
	EXPECT_EQ(0, sh("cp -r " DIR " " DIR "3 && "
			"for file in " DIR "3/memory*; do printf 12345678 | dd conv=notrunc bs=1 status=none "
			"of=$file seek=$(($(stat -c %%s $file) - 8)); done"));
	EXPECT_COMPLAINT(1, "checksums are damaged", "mote snapshot --diff " DIR "3 one " DIR "2");
	EXPECT_EQ(0, sh("[ ! -e " DIR "2 ] && rm -r " DIR "3"));
	ASSERT_TRUE(is_silent("one"));
	EXPECT_EQ(0, sh("mote snapshot --json --diff " DIR " one " DIR "2 | "
			"grep -q '\"saved_bytes\": *0'"));
	was = nr_said("one");
	do {
		ASSERT_EQ(0, sh("mote resume one"));
		ASSERT_TRUE(has_said("one", nr_said("one") + 10));
		ASSERT_EQ(0, sh("mote pause one"));
		ASSERT_TRUE(is_silent("one"));
	} while ((nr_said("one") - was + 1) % 26 < 3);
	/* The guest has written to one chunk, where its letter, which is another one, and its stack are. */
	EXPECT_EQ(0, sh("mote snapshot --stop --json --diff " DIR " one " DIR "2 | "
			"grep -q '\"saved_bytes\": *65536'"));
	EXPECT_EQ(10, vm_status("one"));
	EXPECT_EQ(0, sh("rm -r " DIR));
	ASSERT_EQ(0, sh(ARRIVE("one2", "mote restore --verify --timeout 7000 " DIR "2")));
	ASSERT_TRUE(has_said("one2", 40));
	EXPECT_TRUE(is_alphabet("one.out one2.out"));
	ASSERT_TRUE(vm_start_flat("two", &guest_alphabet, "--memory 17M"));
	EXPECT_COMPLAINT(1, "and this one has 17", "mote snapshot --diff " DIR "2 two " DIR);
	EXPECT_EQ(0, sh("[ ! -e " DIR " ] && mote stop --force two && mote stop --force one"));
	sh("rm -r " DIR "2");
}

/* What @name says from byte @at on is what it says from @from on: 30 letters, which each time are there. */
static bool says_again(const char *name, long from, long at)
{
	return !sh("cd " RUNTIME_DIR "; tail -c +%ld %s.out > again; tail -c +%ld %s.out | cmp -n 30 - again",
		   at + 1, name, from + 1, name);
}

#define DISK RUNTIME_DIR "/btrfs/disk.img"

/* With disks that it writes to: they are what they were, and each that goes on has its own. */
TEST_F(snapshot, disks)
{
	if (sh("modprobe btrfs"))
		SKIP(return, "not on this kernel: no btrfs");
	ASSERT_EQ(0, sh("cd " RUNTIME_DIR " && mkdir btrfs && truncate -s 128M fs && "
			"mkfs.btrfs -q fs && mount -o loop fs btrfs && "
			"dd if=/dev/urandom bs=64k count=16 status=none of=" DISK " && cp " DISK " was.img"));
	ASSERT_TRUE(vm_start_flat("one", &guest_alphabet, "--disk " DISK));
	ASSERT_TRUE(has_said("one", 40));
	ASSERT_EQ(0, sh("mote fork --count 2 --disks " RUNTIME_DIR "/btrfs/copies one > copies && "
			"[ $(wc -l < copies) = 2 ] && cd " RUNTIME_DIR "/btrfs/copies && "
			"for name in disk-0-1 disk-0-2; do cmp $name ../../was.img || exit 1; done"));
	/* Not without its blocks, not into what is there, and nothing is left of that. */
	EXPECT_COMPLAINT(2, "cannot be copied without its blocks",
			 "mote fork --disks " RUNTIME_DIR "/copies one");
	EXPECT_COMPLAINT(2, "File exists", "mote fork --disks " RUNTIME_DIR "/btrfs one");
	EXPECT_COMPLAINT(1, "cannot be copied without its blocks", "mote snapshot --live --disks one " DIR);
	EXPECT_EQ(0, sh("[ ! -e " RUNTIME_DIR "/copies ] && [ ! -e " DIR " ]"));
	EXPECT_TRUE(vm_is("one", "running"));
	EXPECT_EQ(0, sh("mote snapshot one " DIR));
	EXPECT_COMPLAINT(2, "it was not saved (mote snapshot --disks)",
			 "mote restore --disks " RUNTIME_DIR "/new " DIR);
	/* All the same from one file system to another, and whatever becomes of the disk. */
	EXPECT_EQ(0, sh("mote snapshot --pause --disks one " DIR " && [ $(ls " DIR " | wc -l) = 3 ] && "
			"cmp " DIR "/disk-* " RUNTIME_DIR "/was.img"));
	ASSERT_TRUE(is_silent("one"));
	ASSERT_EQ(0, sh("mote stop --force one && printf x | dd conv=notrunc status=none of=" DISK));
	EXPECT_COMPLAINT(2, "has been written to since", "mote restore " DIR);
	ASSERT_EQ(0, sh(ARRIVE("one2", "mote restore --disks new --timeout 7000 saved")));
	ASSERT_TRUE(has_said("one2", 40));
	EXPECT_TRUE(is_alphabet("one.out one2.out"));
	EXPECT_EQ(0, sh("cmp " RUNTIME_DIR "/new/disk-0 " RUNTIME_DIR "/was.img"));
	/* It is its own from now on. */
	EXPECT_EQ(0, sh("mote snapshot --stop one " RUNTIME_DIR "/btrfs/live && rm -r " DIR));
	EXPECT_EQ(10, vm_status("one2"));
	ASSERT_EQ(0, sh(ARRIVE("one3", "mote restore --timeout 7000 btrfs/live")));
	ASSERT_TRUE(has_said("one3", 10));
	EXPECT_EQ(0, sh("ls -l /proc/[0-9]*/fd 2> ls | grep -q new/disk-0; was=$?; rm ls; "
			"mote stop --force one && exit $was"));
	EXPECT_EQ(0, sh("for name in $(cat copies); do mote stop --force $name || exit 1; done; rm copies; "
			"umount " RUNTIME_DIR "/btrfs && rm -r " RUNTIME_DIR "/fs " RUNTIME_DIR "/new"));
}

/* Back to where it was saved, or restored, as often as wanted: it says the same once more. */
TEST_F(snapshot, goes_back)
{
	long rounds = is_long_run() ? 200 : 5, from, at;

	ASSERT_TRUE(vm_start_flat("one", &guest_alphabet, "--cpus 2"));
	ASSERT_TRUE(has_said("one", 30));
	EXPECT_COMPLAINT(1, "neither restored nor saved", "mote reset one");
	EXPECT_COMPLAINT(2, "no VM of yours is called two", "mote reset two");
	EXPECT_COMPLAINT(2, "reset: which VM?", "mote reset");
	EXPECT_TRUE(vm_is("one", "running"));
	ASSERT_EQ(0, sh("mote snapshot --pause one " DIR));
	ASSERT_TRUE(is_silent("one"));
	from = nr_said("one");
	for (long i = 0; i < rounds; i++) {
		at = nr_said("one");
		ASSERT_EQ(0, sh("mote resume one"));
		ASSERT_TRUE(has_said("one", at + 30));
		EXPECT_TRUE(says_again("one", from, at));
		ASSERT_EQ(0, sh("mote pause one && mote reset one"));
		ASSERT_TRUE(is_silent("one"));
		EXPECT_TRUE(vm_is("one", "paused"));
	}
	/* One that runs goes on. */
	EXPECT_EQ(0, sh("mote resume one && mote reset one"));
	EXPECT_TRUE(vm_is("one", "running"));
	EXPECT_EQ(0, sh("mote stop --force one"));
	ASSERT_EQ(0, sh(ARRIVE("one2", "mote restore --timeout 7000 " DIR)));
	for (long i = 0; i < rounds; i++) {
		ASSERT_TRUE(has_said("one2", 30 * (i + 1)));
		EXPECT_EQ(0, sh("mote reset one"));
	}
	EXPECT_TRUE(vm_is("one", "running"));
	EXPECT_EQ(0, sh("mote stop --force one"));
}

/*
 * The data segment of real mode reaches as far as there is memory: it keeps the limit that it got in
 * protected mode (SDM 3A, "Switching Back to Real-Address Mode"), from a table at the guest's end.
 */
#define FAR_DATA									\
	"cli; xor %ax, %ax; mov %ax, %ds; lgdtl 8f - 9001b + 0x7c00\n"			\
	"mov %cr0, %eax; or $1, %al; mov %eax, %cr0; mov $8, %cx; mov %cx, %ds\n"	\
	"and $0xfe, %al; mov %eax, %cr0\n"
#define FAR_TABLE ".balign 8; 7: .quad 0, 0xcf93000000ffff; 8: .word 15; .long 7b - 9001b + 0x7c00\n"

/* Reads 4 MiB, writes to 4 MiB, and says so after 64 times. */
GUEST(toucher, 16, FAR_DATA "xor %esi, %esi\n"
      "2: mov $0x400000, %ebx; 3: mov (%ebx), %al; add $0x1000, %ebx; cmp $0x800000, %ebx; jb 3b\n"
      "4: incl (%ebx); add $0x1000, %ebx; cmp $0xc00000, %ebx; jb 4b; inc %esi; test $0x3f, %esi; jnz 2b\n"
      "mov $0x3f8, %dx; mov $0x61, %al; out %al, %dx; jmp 2b\n" FAR_TABLE);

/* Nested faults of a toucher that is restored with these options, and has been everywhere. */
static long nr_faults(const char *name, const char *options)
{
	struct command command;

	if (sh("cd " RUNTIME_DIR " && { mote restore --timeout 7000 --name %s %s " DIR " < /dev/null "
	       "> %s.out 2> %s.err & echo $! > %s.pid; wait $!; echo $? > %s.status; } > /dev/null 2>&1 &",
	       name, options, name, name, name, name) || !has_said(name, 3))
		return -1;
	command_run(&command, "mote stat --json %s | grep -o '\"npf\":[0-9]*' | cut -d: -f2", name);
	return atol(command.out);
}

/* What one has used is there for the next one before it begins; without it, or in vain, it does as well. */
TEST_F(snapshot, reads_ahead)
{
	long first, second;

	ASSERT_TRUE(vm_start_flat("one", &guest_toucher, "--memory 16M"));
	ASSERT_TRUE(has_said("one", 2));
	ASSERT_EQ(0, sh("mote snapshot --stop one " DIR));
	first = nr_faults("two", "--record");
	EXPECT_COMPLAINT(2, "another machine is being recorded in " DIR, "mote restore --record " DIR);
	EXPECT_EQ(0, sh("[ ! -s " DIR "/working-set-* ] && mote stop --force two"));
	EXPECT_EQ(STATUS_STOPPED, vm_status("two"));
	ASSERT_EQ(0, sh("[ -s " DIR "/working-set-* ]"));
	second = nr_faults("three", "");
	TH_LOG("%ld nested faults, then %ld", first, second);
	EXPECT_GE(first, 1024);
	EXPECT_LE(second, first * 3 / 100);
	EXPECT_EQ(0, sh("[ ! -s " RUNTIME_DIR "/three.err ] && mote stop --force three"));
	/* In the middle, and then less than its head. */
	ASSERT_EQ(0, sh("cd " DIR "; printf MORE-THAN-CHANCE | "
			"dd of=$(echo working-set-*) bs=1 seek=40 conv=notrunc 2> /dev/null"));
	EXPECT_GE(nr_faults("four", ""), 1024);
	EXPECT_EQ(0, sh("grep -q 'not read ahead: it is damaged' " RUNTIME_DIR "/four.err && "
			"mote stop --force four"));
	ASSERT_EQ(0, sh("cd " DIR "; echo short > $(echo working-set-*)"));
	EXPECT_GE(nr_faults("five", ""), 1024);
	EXPECT_EQ(0, sh("grep -q 'not read ahead: it is not whole' " RUNTIME_DIR "/five.err"));
	/* It is of what was saved there. */
	EXPECT_EQ(0, sh("mote snapshot --stop five " DIR " && ! ls " DIR "/working-set-*"));
}

/* The new one takes the place of the old one, of which nothing is left; the guest does not notice. */
TEST_F(snapshot, again)
{
	ASSERT_EQ(0, sh("truncate -s 1M " RUNTIME_DIR "/disk"));
	ASSERT_TRUE(vm_start_flat("one", &guest_alphabet, "--disk disk"));
	ASSERT_TRUE(has_said("one", 30));
	EXPECT_EQ(0, sh("mote snapshot one " DIR " && was=$(ls " DIR ") && mote snapshot --json one " DIR
			" | grep -q '\"saved_bytes\":' && [ \"$was\" != \"$(ls " DIR ")\" ]"));
	EXPECT_EQ(0, sh("[ $(ls " DIR " | wc -l) = 2 ]"));
	ASSERT_TRUE(has_said("one", 60));
	EXPECT_TRUE(is_alphabet("one.out"));
	EXPECT_EQ(0, sh("mote snapshot --stop one " DIR));
	EXPECT_EQ(10, vm_status("one"));
}

/* Nothing is left behind, and what was there stays. */
TEST_F(snapshot, bad_input)
{
	int directory;

	ASSERT_TRUE(vm_start_flat("one", &guest_alphabet, ""));
	ASSERT_TRUE(has_said("one", 10));
	EXPECT_COMPLAINT(2, "no VM of yours is called two", "mote snapshot two " DIR);
	EXPECT_COMPLAINT(2, "takes a VM and a directory", "mote snapshot one");
	EXPECT_COMPLAINT(2, "--live, --pause or --stop", "mote snapshot --pause --stop one " DIR);
	EXPECT_COMPLAINT(2, "unknown option --full", "mote snapshot --full one " DIR);
	EXPECT_COMPLAINT(1, "cannot make /nowhere/saved", "mote snapshot one /nowhere/saved");
	EXPECT_COMPLAINT(1, "cannot save in /etc/passwd", "mote snapshot one /etc/passwd");
	EXPECT_COMPLAINT(1, "No space left", "mkdir -p small && mount -t tmpfs -o size=64k none small && "
			 "mote snapshot one small/saved; status=$?; ls small; umount small; exit $status");
	EXPECT_TRUE(vm_is("one", "running"));
	ASSERT_EQ(0, sh("mote snapshot one " DIR));
	directory = open(DIR, O_RDONLY | O_DIRECTORY);
	EXPECT_EQ(0, flock(directory, LOCK_EX));
	EXPECT_COMPLAINT(1, "another machine is being saved", "mote snapshot one " DIR);
	close(directory);
	EXPECT_COMPLAINT(2, "restore takes a directory", "mote restore");
	EXPECT_COMPLAINT(2, "unknown option --nosuch", "mote restore --nosuch " DIR);
	EXPECT_COMPLAINT(2, "there is no machine in it", "mote restore " RUNTIME_DIR);
	EXPECT_COMPLAINT(2, "unknown option --record", "mote fork --record one");
	EXPECT_COMPLAINT(2, "there is a VM called one", "mote restore --name one " DIR);
	EXPECT_COMPLAINT(2, "its memory, memory-", "cp -r " DIR " part && rm part/memory-* && "
			 "mote restore part");
	EXPECT_COMPLAINT(2, "not whole", "head -c 1000 " DIR "/machine > part/machine && mote restore part");
	EXPECT_COMPLAINT(2, "damaged: its checksum", "cp " DIR "/machine part && "
			 "printf MORE-THAN-CHANCE | dd of=part/machine bs=1 seek=2000 conv=notrunc 2> /dev/null && "
			 "mote restore part");
	EXPECT_COMPLAINT(2, "its memory is damaged at 0x0", "cp " DIR "/* part && "
			 "printf MORE-THAN-CHANCE | dd of=$(echo part/memory-*) bs=1 seek=36864 conv=notrunc 2> /dev/null"
			 " && "
			 "mote restore --verify part");
	sh("rm -rf part small");
	ASSERT_TRUE(has_said("one", 60));
	EXPECT_TRUE(is_alphabet("one.out"));
}

/* Wait for one that comes by this socket. */
#define RECEIVE(name)									\
	(!sh(ARRIVE(name, "mote receive --timeout 7000 --name " name " unix:" RUNTIME_DIR "/wire")) &&	\
	 comes_true("[ -S " RUNTIME_DIR "/wire ]"))

TEST_F(snapshot, migrates)
{
	ASSERT_TRUE(vm_start_flat("one", &guest_alphabet, "--cpus 2"));
	ASSERT_TRUE(has_said("one", 30));
	ASSERT_TRUE(RECEIVE("two"));
	command_run(&self->command, "mote migrate one unix:" RUNTIME_DIR "/wire");
	EXPECT_EQ(0, self->command.status) TH_LOG("%s", self->command.err);
	EXPECT_NE(NULL, strstr(self->command.out, "one runs at unix:")) TH_LOG("%s", self->command.out);
	EXPECT_EQ(0, vm_status("one"));
	ASSERT_TRUE(has_said("two", 40));
	EXPECT_TRUE(vm_is("two", "running"));
	EXPECT_TRUE(is_alphabet("one.out two.out"));
	/* On by a command, and as it was: paused. */
	EXPECT_EQ(0, sh("mote pause two"));
	ASSERT_TRUE(is_silent("two"));
	EXPECT_EQ(0, sh("mote migrate --json two 'exec:exec mote receive --timeout 7000 --name three "
			"--serial socket --detach -' | grep -q '\"rounds\":'"));
	EXPECT_EQ(0, vm_status("two"));
	EXPECT_TRUE(vm_is("three", "paused"));
	EXPECT_EQ(0, sh("mote resume three && mote stop --force three"));
}

/* Writes 47 MiB for ever, and says so every now and then. */
GUEST(hungry, 16, FAR_DATA
      "1: mov $0x3f8, %dx; mov $'a', %al; out %al, %dx; mov $64, %cx\n"
      "2: mov $0x100000, %edi; 3: addr32 incl (%edi); add $4096, %edi; cmp $0x3000000, %edi; jb 3b\n"
      "loop 2b; jmp 1b\n" FAR_TABLE);

/* A guest that writes all its memory for ever comes to its end, too, and one that nobody takes goes on. */
TEST_F(snapshot, is_hungry)
{
	const char *left;

	ASSERT_TRUE(vm_start_flat("one", &guest_hungry, "--memory 64M"));
	ASSERT_TRUE(has_said("one", 2));
	ASSERT_EQ(0, sh("mote migrate one 'exec:exec sleep 1000' 2> said & echo $! > migrate.pid"));
	EXPECT_TRUE(comes_true("mote migrate one exec:false 2> said; grep -q 'saved already' said"));
	ASSERT_TRUE(has_said("one", nr_said("one") + 3));
	ASSERT_EQ(0, sh("kill $(cat migrate.pid); rm migrate.pid"));
	EXPECT_TRUE(comes_true("mote migrate one exec:false 2> said; grep -q 'on ended\\|is gone' said"));
	command_run(&self->command, "mote migrate --json --downtime 0 one 'exec:exec mote receive "
		    "--timeout 7000 --name two --serial socket --detach -'");
	EXPECT_EQ(0, self->command.status) TH_LOG("%s", self->command.err);
	left = strstr(self->command.out, "\"left_bytes\":");
	ASSERT_NE(NULL, left) TH_LOG("%s", self->command.out);
	EXPECT_GE(4 << 20, atol(left + strlen("\"left_bytes\":"))) TH_LOG("%s", self->command.out);
	EXPECT_EQ(0, sh("mote stop --force two"));
}

/* Whatever fails on the way, the machine is here, and does not notice. */
TEST_F(snapshot, stays)
{
	static const struct {
		const char *command, *why;
	} cases[] = {
		{ "false", "the connection ended\\|the other end is gone" },
		{ "head -c 1000 > /dev/null", "the connection ended\\|the other end is gone" },
		{ "exec yes", "speaks another language" },
		{ "mote receive --name one -", "refuses it: it could not be made there" },
		{ "mote receive --name ../x -", "refuses it: it could not be made there" },
	};

	ASSERT_TRUE(vm_start_flat("one", &guest_alphabet, "--cpus 2"));
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		EXPECT_EQ(0, sh("mote migrate one 'exec:%s' 2> said; [ $? = 1 ] && grep -q '%s' said",
				cases[i].command, cases[i].why))
			TH_LOG("%s", cases[i].command);
		EXPECT_TRUE(vm_is("one", "running"));
	}
	/* One who does not read, and one who is tired of waiting. */
	EXPECT_NE(0, sh("timeout -s INT 1 mote migrate one 'exec:exec sleep 1000' 2> said"));
	EXPECT_TRUE(comes_true("mote snapshot one " DIR));
	EXPECT_COMPLAINT(2, "neither unix:PATH", "mote migrate one nowhere");
	EXPECT_COMPLAINT(2, "cannot connect to unix:/nowhere/wire", "mote migrate one unix:/nowhere/wire");
	EXPECT_COMPLAINT(2, "cannot connect to tcp:127.0.0.1:1", "mote migrate one tcp:127.0.0.1:1");
	EXPECT_COMPLAINT(2, "--downtime: not a number", "mote migrate --downtime x one unix:/x");
	EXPECT_COMPLAINT(2, "takes a VM and where", "mote migrate one");
	EXPECT_COMPLAINT(2, "standard input is no socket", "mote receive -");
	EXPECT_COMPLAINT(2, "unknown option --verify", "mote receive --verify -");
	EXPECT_COMPLAINT(2, "neither unix:PATH", "mote receive nowhere");
	ASSERT_TRUE(has_said("one", 60));
	EXPECT_TRUE(is_alphabet("one.out"));
	sh("rm -f said");
}

/* The letter that a machine that is paused says next (alphabet.s), or -1. */
static int next_letter(const char *name)
{
	struct command command;

	command_run(&command, "cd " RUNTIME_DIR "; mote snapshot %s at > at.out && "
		    "dd if=$(echo at/memory-*) bs=1 skip=$((0x9000)) count=1 2> at.err; status=$?; "
		    "rm -rf at.out at.err at; exit $status", name);
	return command.status ? -1 : command.out[0];
}

/* How many addresses have the cards of these? */
static int nr_addresses(const char *names)
{
	struct command command;

	command_run(&command, "cd " RUNTIME_DIR "; for name in %s; do mote snapshot $name at > at.out && "
		    "mote snapshot --show at | grep '\"network_addresses\":'; done | sort -u | wc -l; "
		    "rm -rf at.out at", names);
	return atoi(command.out);
}

/* Is what it has said the alphabet, from wherever we came? */
static bool is_a_part(const char *name)
{
	return !sh("cd " RUNTIME_DIR "; said=$(head -c 30 %s.out); all=abcdefghijklmnopqrstuvwxyz; "
		   "case $all$all$all in *$said*) ;; *) false ;; esac", name);
}

static bool speaks(const char *name)
{
	return !sh("mote resume %s; cd " RUNTIME_DIR "; (mote console %s < /dev/null > %s.out 2>&1 &)", name,
		   name, name) && has_said(name, 30) && is_a_part(name);
}

/* Copies begin where the machine was, whatever it and they do meanwhile, and it does not notice. */
TEST_F(snapshot, forks)
{
	static const char *const copies[] = { "one-2", "one-3", "one-4" };
	int letter;

	ASSERT_TRUE(vm_start_flat("one", &guest_alphabet, "--cpus 2 --net user"));
	ASSERT_TRUE(has_said("one", 30));
	command_run(&self->command, "mote fork --count 3 --paused one");
	EXPECT_EQ(0, self->command.status) TH_LOG("%s", self->command.err);
	EXPECT_STREQ("one-2\none-3\none-4\n", self->command.out);
	letter = next_letter("one-4");
	EXPECT_EQ(4, nr_addresses("one one-2 one-3 one-4"));
	EXPECT_EQ(0, sh("[ $(mote fork --same --name same one) = same ]"));
	EXPECT_EQ(1, nr_addresses("one same"));
	EXPECT_EQ(0, sh("mote stop --force same"));
	EXPECT_TRUE(letter >= 'a' && letter <= 'z');
	ASSERT_TRUE(has_said("one", 60));
	for (size_t i = 0; i < sizeof(copies) / sizeof(copies[0]); i++) {
		EXPECT_TRUE(vm_is(copies[i], "paused"));
		EXPECT_EQ(letter, next_letter(copies[i]));
		EXPECT_TRUE(speaks(copies[i]));
	}
	EXPECT_COMPLAINT(1, "there is a VM called one", "mote fork --name one one");
	/* A copy of a copy, and back to where that began. */
	EXPECT_EQ(0, sh("mote pause one-2 && [ $(mote fork --name child one-2) = child ]"));
	EXPECT_EQ(0, sh("cd " RUNTIME_DIR "; for name in one-2 child; do mote snapshot $name at-$name; done; "
			"cmp at-one-2/memory-* at-child/memory-*; status=$?; rm -r at-*; exit $status"));
	EXPECT_EQ(0, sh("mote resume child && mote stop --force one-2"));
	EXPECT_TRUE(speaks("child"));
	EXPECT_EQ(0, sh("mote reset child && mote reset one-3"));
	EXPECT_TRUE(is_alphabet("one.out"));
	EXPECT_EQ(0, sh("for name in one-3 one-4 child; do mote stop --force $name || exit; done"));
	EXPECT_TRUE(vm_is("one", "running"));
}

/* What @name has said up to some byte behind @from, and then @copy, is the alphabet. */
static bool continues(const char *name, long from, const char *copy)
{
	return !sh("cd " RUNTIME_DIR "; at=%ld; said=$(wc -c < %s.out); "
		   "while [ $at -le $said ] && ! { head -c $at %s.out; head -c 30 %s.out; } | "
		   "awk '{ for (i = 1; i <= length($0); i++) "
		   "if (substr($0, i, 1) != sprintf(\"%%c\", 97 + (i - 1) %% 26)) exit 1 }'; do at=$((at + 1)); done; "
		   "[ $at -le $said ]", from, name, name, copy);
}

/* What earlier motes have saved is read by this one, and goes on: older/ has a machine of each. */
TEST_F(snapshot, of_an_older_mote)
{
	struct command older;
	char *name, *rest = older.out;

	command_run(&older, "ls older");
	ASSERT_EQ(0, older.status);
	ASSERT_NE('\0', older.out[0]);
	while ((name = strsep(&rest, "\n")) && name[0]) {
		ASSERT_EQ(0, sh("mkdir " DIR " && grep -v '^#' older/%s | base64 -d | "
				"tar -xz -C " DIR, name));
		ASSERT_EQ(0, sh(ARRIVE("older", "mote restore --verify --serial stdio --name older "
				       "--timeout 7000 " DIR)));
		ASSERT_TRUE(has_said("older", 30)) TH_LOG("%s", name);
		EXPECT_TRUE(is_a_part("older"));
		EXPECT_EQ(0, sh("mote stop --force older; rm -r " DIR));
		EXPECT_EQ(10, vm_status("older"));
	}
}

/* It says on while it is saved, and what is restored was there at some moment of that. */
TEST_F(snapshot, is_saved_while_it_runs)
{
	long before;

	ASSERT_TRUE(vm_start_flat("one", &guest_alphabet, "--cpus 2"));
	ASSERT_TRUE(has_said("one", 30));
	before = nr_said("one");
	EXPECT_EQ(0, sh("mote snapshot --live --json one " DIR " | grep -q '\"saved_bytes\": *[1-9]'"));
	EXPECT_TRUE(vm_is("one", "running"));
	EXPECT_EQ(0, sh("[ $(ls " DIR " | wc -l) = 2 ]"));
	EXPECT_COMPLAINT(1, "No space left", "mkdir -p small && mount -t tmpfs -o size=8k none small && "
			 "mote snapshot --live one small/saved; status=$?; ls small; umount small; rmdir small; "
			 "exit $status");
	ASSERT_TRUE(has_said("one", 60));
	EXPECT_EQ(0, sh("mote stop --force one"));
	ASSERT_EQ(0, sh(ARRIVE("one2", "mote restore --verify --timeout 7000 " DIR)));
	ASSERT_TRUE(has_said("one2", 60));
	EXPECT_TRUE(is_alphabet("one.out"));
	EXPECT_TRUE(continues("one", before, "one2"));
}

/* None, or all of them; and the machine goes on. */
TEST_F(snapshot, forks_none)
{
	ASSERT_EQ(0, sh("truncate -s 1M " RUNTIME_DIR "/volume"));
	ASSERT_TRUE(vm_start_flat("one", &guest_alphabet, "--disk volume"));
	EXPECT_COMPLAINT(1, "the disk volume is in use", "mote fork --count 2 one");
	EXPECT_COMPLAINT(2, "no VM of yours is called two", "mote fork two");
	EXPECT_COMPLAINT(2, "fork takes a VM", "mote fork");
	EXPECT_COMPLAINT(2, "--count: not a number from 1 to 256: 0", "mote fork --count 0 one");
	EXPECT_COMPLAINT(2, "unknown option --verify", "mote fork --verify one");
	EXPECT_COMPLAINT(2, "unknown option --count", "mote restore --count 2 " DIR);
	EXPECT_EQ(0, sh("[ $(mote ps | wc -l) = 2 ]"));
	ASSERT_TRUE(has_said("one", 60));
	EXPECT_TRUE(is_alphabet("one.out"));
}

TEST_HARNESS_MAIN
