// SPDX-License-Identifier: GPL-2.0
/*
 * What machines may have of their host, by cgroups: shares and limits are kept, and a machine's group goes
 * with it, whatever ends it.  No clock decides: what is compared is what the host has counted.
 */
#include <sched.h>
#include <sys/syscall.h>

#include "kselftest_harness.h"
#include "life.h"

#define CGROUPS "/sys/fs/cgroup"

/* With IF set, as Bochs holds back the interrupts of the host otherwise. */
GUEST(spin, 16, PUT("0x78") "sti; 1: jmp 1b");

/* Compute, and say again and again how much has been stolen, in 8 bytes. */
GUEST(robbed, 16,
      "mov $0x4b564d03, %ecx; xor %edx, %edx; mov $0x9001, %eax; wrmsr; sti\n"
      "xor %si, %si; mov %si, %ds\n"
      "1: mov $100, %bp; 2: xor %cx, %cx; 3: loop 3b; dec %bp; jnz 2b\n"
      "4: mov 0x9004, %edi; mov 0x9000, %ebx; cmp 0x9004, %edi; jne 4b\n"
      "mov %ebx, 0x8800; mov %edi, 0x8804; mov $0x8800, %si; mov $8, %cx\n"
      "5: mov $0x3fd, %dx; 6: in %dx, %al; test $0x20, %al; jz 6b\n"
      "mov $0x3f8, %dx; lodsb; out %al, %dx; loop 5b; jmp 1b");

FIXTURE(limits)
{
	struct command command;
};

/* Who may be on some processors only can reserve nothing. */
static bool is_on_all(void)
{
	cpu_set_t all;

	memset(&all, 0xff, sizeof(all));
	return !sched_setaffinity(0, sizeof(all), &all);
}

FIXTURE_SETUP(limits)
{
	life_begin();
	/* What the host's processes have to share. */
	ASSERT_TRUE(pin_to_cpu(0));
}

/* A machine's group is there, or none is. */
#define GROUPS "ls -d " CGROUPS "/mote-*"
#define ARE_GONE "! " GROUPS

FIXTURE_TEARDOWN(limits)
{
	life_end();
	EXPECT_TRUE(comes_true(ARE_GONE));
	sh("rm -f " FLAT_IMAGE);
}

/* A file of a machine's group; -1: there is none. */
static int open_counts(const char *name, const char *file)
{
	struct command command;
	char path[256];

	command_run(&command, "cat " RUNTIME_DIR "/%s.pid", name);
	snprintf(path, sizeof(path), CGROUPS "/mote-%s-%d/%s", name, atoi(command.out), file);
	return open(path, O_RDONLY | O_CLOEXEC);
}

/* The number in there, behind @key; -1: there is none. */
static long long count_in(int counts, const char *key)
{
	char text[1024];
	ssize_t nr = pread(counts, text, sizeof(text) - 1, 0);
	const char *at;

	text[nr > 0 ? nr : 0] = '\0';
	at = strstr(text, key);
	return at && nr > 0 ? atoll(at + strlen(key)) : -1;
}

static long long counted(const char *name, const char *file, const char *key)
{
	int counts = open_counts(name, file);
	long long count = count_in(counts, key);

	close(counts);
	return count;
}

#define USED "usage_usec"

#define EXPECT_IN_GROUP(wanted, name, file)						\
	do {										\
		struct command in_group;						\
											\
		command_run(&in_group, "cat " CGROUPS "/mote-" name "-$(cat " RUNTIME_DIR	\
			    "/" name ".pid)/" file);					\
		EXPECT_STREQ(wanted "\n", in_group.out) TH_LOG("%s", in_group.err);	\
	} while (0)

/* To 2 %. */
static bool is_thrice(long long high, long long low)
{
	return 98 * 3 * low < 100 * high && 102 * 3 * low > 100 * high;
}

/*
 * Ten seconds of a processor's, of which one gets three times as much as the other; or more, where the
 * host stands still now and then, which is charged to who runs just then.
 */
TEST_F(limits, shares)
{
	long long low, high, low_at, high_at;
	int low_file, high_file;

	ASSERT_TRUE(vm_start_flat("low", &guest_spin, "--cpu-weight 100"));
	ASSERT_TRUE(vm_start_flat("high", &guest_spin, "--cpu-weight 300"));
	ASSERT_TRUE(comes_true("grep -q x " RUNTIME_DIR "/low.out && grep -q x " RUNTIME_DIR "/high.out"));
	low_file = open_counts("low", "cpu.stat");
	high_file = open_counts("high", "cpu.stat");
	ASSERT_TRUE(low_file >= 0 && high_file >= 0);
	low_at = count_in(low_file, USED);
	high_at = count_in(high_file, USED);
	do {
		usleep(100000);
		low = count_in(low_file, USED) - low_at;
		high = count_in(high_file, USED) - high_at;
	} while (low + high < 10000000 || (low + high < 100000000 && !is_thrice(high, low)));
	close(low_file);
	close(high_file);
	TH_LOG("%lld and %lld us", low, high);
	EXPECT_TRUE(is_thrice(high, low));
}

/* What the guest has said last, and how often it has. */
static long long said_stolen(long *times)
{
	int fd = open(RUNTIME_DIR "/robbed.out", O_RDONLY | O_CLOEXEC);
	long long steal = 0;

	*times = lseek(fd, 0, SEEK_END) / sizeof(steal);
	if (*times && pread(fd, &steal, sizeof(steal), (*times - 1) * sizeof(steal)) != sizeof(steal))
		steal = 0;
	close(fd);
	return steal;
}

/* Of the vCPU's thread: how long it has run, and then how long it has waited for a processor, in ns. */
static int open_schedstat(const char *name)
{
	struct command command;

	command_run(&command, "grep -l vcpu0 /proc/$(cat " RUNTIME_DIR "/%s.pid)/task/*/comm", name);
	strcpy(command.out + strcspn(command.out, "\n") - strlen("comm"), "schedstat");
	return open(command.out, O_RDONLY | O_CLOEXEC);
}

/* The guest is alone but for a look now and then, and says it with nothing to come. */
static void look(int schedstat, long long *steal, long long *waited)
{
	long times, since;

	said_stolen(&since);
	do {
		usleep(100000);
		*steal = said_stolen(&times);
	} while (times < since + 3);
	*waited = count_in(schedstat, " ");
}

/* What the guest is told is what its processor has waited for the host's, to 1 % of four seconds. */
TEST_F(limits, steal)
{
	long long steal, waited, steal_at, waited_at;
	int schedstat;
	long times;

	ASSERT_TRUE(vm_start_flat("robbed", &guest_robbed, "--cpu-weight 100"));
	schedstat = open_schedstat("robbed");
	ASSERT_LE(0, schedstat);
	look(schedstat, &steal_at, &waited_at);
	ASSERT_TRUE(vm_start_flat("thief", &guest_spin, "--cpu-weight 100"));
	while (said_stolen(&times) < steal_at + 4000000000)
		usleep(100000);
	ASSERT_EQ(0, sh("kill -STOP $(cat " RUNTIME_DIR "/thief.pid)"));
	look(schedstat, &steal, &waited);
	close(schedstat);
	steal -= steal_at;
	waited -= waited_at;
	TH_LOG("stolen: %lld of %lld ns", steal, waited);
	EXPECT_LE(99 * waited, 100 * steal);
	EXPECT_GE(101 * waited, 100 * steal);
}

/*
 * A quarter of a processor: no more in each period, of which one may have begun; where the host has stood
 * still meanwhile, in those that follow. The guest hears of it.
 */
TEST_F(limits, cpu_max)
{
	long long used, most, periods, throttled;
	long times;

	ASSERT_TRUE(vm_start_flat("robbed", &guest_robbed, "--cpu-max 25"));
	EXPECT_IN_GROUP("25000 100000", "robbed", "cpu.max");
	do {
		usleep(100000);
		used = counted("robbed", "cpu.stat", USED);
		periods = counted("robbed", "cpu.stat", "nr_periods");
		/* The kernel hands out 5 ms at a time, which each processor may keep. */
		most = (periods + 2) * 25000 + 50000;
	} while (periods < 20 || (used > most && periods < 1000));
	EXPECT_LE(used, most);
	throttled = counted("robbed", "cpu.stat", "throttled_usec");
	EXPECT_LT(0, throttled);
	/* It has yet to say what came last. */
	EXPECT_LT(throttled * 1000 / 2, said_stolen(&times));
	/* No limit is none. */
	EXPECT_EQ(0, sh("mote limit --cpu-max 0 robbed"));
	EXPECT_IN_GROUP("max 100000", "robbed", "cpu.max");
	EXPECT_EQ(0, sh("mote stop --force robbed"));
	EXPECT_TRUE(comes_true(ARE_GONE));
}

/* Memory, and a disk; and who is killed leaves nothing behind. */
TEST_F(limits, memory_and_disks)
{
	ASSERT_EQ(0, sh("modprobe loop && truncate -s 1M disk && busybox losetup /dev/loop6 disk"));
	ASSERT_TRUE(vm_start_flat("one", &guest_spin, "--memory-max 64M "
				  "--io-max /dev/loop6,rbps=2M,wiops=7"));
	EXPECT_IN_GROUP("67108864", "one", "memory.max");
	EXPECT_IN_GROUP("7:6 rbps=2097152 wbps=max riops=max wiops=7", "one", "io.max");
	/* The runner's pages are the group's, as those of the guest are. */
	EXPECT_LT(1 << 20, counted("one", "memory.current", ""));
	EXPECT_EQ(0, sh("kill -9 $(cat " RUNTIME_DIR "/one.pid)"));
	EXPECT_TRUE(comes_true(ARE_GONE));
	EXPECT_EQ(0, sh("busybox losetup -d /dev/loop6 && rm disk"));
}

/* What is too much for it ends a machine, and no other. */
TEST_F(limits, memory_is_kept)
{
	ASSERT_EQ(0, sh("head -c 32m /dev/zero > large"));
	ASSERT_TRUE(vm_start_flat("other", &guest_spin, ""));
	EXPECT_EQ(128 + SIGKILL, sh("mote run --memory 128M --memory-max 16M "
				     "--initrd large ../boot/vmlinuz"));
	EXPECT_TRUE(vm_is("other", "running"));
	EXPECT_EQ(0, sh("rm large"));
}

/* The vCPU's thread has it; what is more than there is, is refused, and what was promised is given back. */
TEST_F(limits, reservation)
{
	struct command *command = &self->command;
	struct {
		__u32 size, policy;
		__u64 flags;
		__u32 nice, priority;
		__u64 runtime, deadline, period;
	} has = { 0 };

	ASSERT_TRUE(is_on_all());
	ASSERT_TRUE(vm_start_flat("one", &guest_spin, "--cpu-reserve 30ms/100ms"));
	command_run(command, "grep -l vcpu0 /proc/$(cat " RUNTIME_DIR "/one.pid)/task/*/comm | "
		    "cut -d / -f 5");
	EXPECT_EQ(0, syscall(SYS_sched_getattr, atoi(command->out), &has, sizeof(has), 0));
	EXPECT_EQ(SCHED_DEADLINE, has.policy);
	EXPECT_EQ(30000000, has.runtime);
	EXPECT_EQ(100000000, has.deadline);
	EXPECT_EQ(100000000, has.period);
	/* 95 % of each processor are all that there is. */
	command_run(command, "mote run --cpu-reserve 95ms/100ms --cpus $(nproc) --flat " FLAT_IMAGE);
	EXPECT_EQ(2, command->status);
	EXPECT_TRUE(is_one_line(command->err)) TH_LOG("%s", command->err);
	EXPECT_NE(NULL, strstr(command->err, "has no 95000 of 100000 us left")) TH_LOG("%s", command->err);
	EXPECT_EQ(0, sh("mote stop --force one"));
	EXPECT_EQ(STATUS_TIMEOUT, sh("mote run --cpu-reserve 60ms/100ms --cpus $(nproc) --timeout 1 "
				     "--serial none --flat " FLAT_IMAGE));
	sh("chmod 644 " FLAT_IMAGE);
	command_run_as(command, 4242, "mote run --cpu-reserve 1ms/100ms --flat " FLAT_IMAGE);
	EXPECT_EQ(2, command->status);
	EXPECT_NE(NULL, strstr(command->err, "wants root's rights")) TH_LOG("%s", command->err);
}

/* One that runs gets a group when it is limited, and its daemons are in it. */
TEST_F(limits, while_it_runs)
{
	struct command *command = &self->command;

	ASSERT_EQ(0, sh("cp ../boot/empty.qcow2 disk.qcow2"));
	write_flat(&guest_spin);
	ASSERT_EQ(0, sh("PATH=$PWD/../boot:$PATH; " VM("one", "--memory 2M --disk $OLDPWD/disk.qcow2 --flat",
							 "$OLDPWD/" FLAT_IMAGE)));
	ASSERT_TRUE(comes_true("mote ps | grep -q '^one '"));
	command_run(command, "mote limit one --json | tr -d ' \n'");
	EXPECT_STREQ("{\"name\":\"one\",\"cgroup\":null}", command->out);
	EXPECT_EQ(0, sh(ARE_GONE));
	EXPECT_EQ(0, sh("mote limit one --cpu-weight 50 --memory-max 1G"));
	EXPECT_IN_GROUP("50", "one", "cpu.weight");
	command_run(command, "cat /proc/$(busybox pidof qemu-storage-daemon)/cgroup");
	EXPECT_NE(NULL, strstr(command->out, "0::/mote-one-"));
	EXPECT_EQ(0, sh("[ $(cat " CGROUPS "/mote-one-*/cgroup.procs | wc -l) = 2 ]"));
	/* What is not mentioned stays. */
	EXPECT_EQ(0, sh("mote limit one --cpu-max 150"));
	command_run(command, "mote limit one --json | tr -d ' \n' | sed 's/-[0-9]*\"/\"/'");
	EXPECT_STREQ("{\"name\":\"one\",\"cgroup\":\"/mote-one\",\"cpu-weight\":50,\"cpu-max\":150,"
		     "\"memory-max\":1073741824,\"io-max\":[]}", command->out);
	EXPECT_EQ(0, sh("mote limit one | grep -q '^cpu-max  *150$'"));
	EXPECT_EQ(0, sh("mote stop --force one"));
	EXPECT_TRUE(comes_true(ARE_GONE));
	sh("rm disk.qcow2");
}

/* In a group where nobody else is there is no other. */
TEST_F(limits, of_its_own)
{
	ASSERT_EQ(0, sh("mkdir " CGROUPS "/given"));
	write_flat(&guest_spin);
	ASSERT_EQ(0, sh("sh -c 'echo $$ > " CGROUPS "/given/cgroup.procs; echo $$ > " RUNTIME_DIR "/one.pid; "
			"exec mote run --name one --memory 2M --cpu-weight 70 --flat " FLAT_IMAGE "' "
			"< /dev/null > /dev/null 2>&1 &"));
	ASSERT_TRUE(comes_true("mote ps | grep -q '^one '"));
	EXPECT_EQ(0, sh("[ $(cat " CGROUPS "/given/cpu.weight) = 70 ] && " ARE_GONE));
	EXPECT_EQ(0, sh("mote limit --cpu-weight 80 one && [ $(cat " CGROUPS "/given/cpu.weight) = 80 ] && "
			ARE_GONE));
	EXPECT_EQ(0, sh("mote stop --force one"));
	EXPECT_TRUE(comes_true("rmdir " CGROUPS "/given"));
}

/* Those whose runners, and who would have removed them, were killed; nobody has that number. */
TEST_F(limits, what_was_left)
{
	ASSERT_EQ(0, sh("mkdir " CGROUPS "/mote-gone-4194305"));
	ASSERT_TRUE(vm_start_flat("one", &guest_spin, "--cpu-weight 1"));
	EXPECT_EQ(0, sh("[ $(" GROUPS " | wc -l) = 1 ]"));
}

/* Groups get the controllers that they need, whatever they are called. */
TEST_F(limits, controllers)
{
	ASSERT_EQ(0, sh("echo '-cpu -memory -io +cpuset' > " CGROUPS "/cgroup.subtree_control"));
	ASSERT_TRUE(vm_start_flat("one", &guest_spin, "--cpu-weight 2"));
	EXPECT_IN_GROUP("2", "one", "cpu.weight");
	EXPECT_EQ(0, sh("mote limit --memory-max 1G one && mote stop --force one"));
	ASSERT_EQ(0, sh("echo -cpuset > " CGROUPS "/cgroup.subtree_control"));
}

/* A row for each machine; and intervals are parts of the whole, each with all that it lasts. */
TEST_F(limits, account)
{
	ASSERT_TRUE(vm_start_flat("one", &guest_spin, ""));
	ASSERT_TRUE(vm_start_flat("two", &guest_spin, ""));
	EXPECT_EQ(0, sh("mote account > rows && [ $(wc -l < rows) = 4 ] && grep -q '^one ' rows && "
			"grep -q '^two ' rows && [ $(mote account --json t | grep -c uptime_ns) = 1 ]"));
	EXPECT_EQ(0, sh("mote account --interval 0.2 --json one > rows & account=$!; "
			"until [ $(grep -c uptime_ns rows) -ge 3 ]; do sleep 0.1; done; kill $account; "
			"sum() { "
			"sed -n \"s/.*\\\"$1\\\": *\\([0-9]*\\).*/\\1/p\" | "
			"awk '{ sum += $1 } END { printf \"%%.0f\", sum }'; }; "
			"mote account --json one > whole; "
			"for of in uptime_ns guest_ns memory_mib_ms; do "
			"[ $(sum $of < rows) -gt 0 ] || exit 1; "
			"[ $(sum $of < rows) -lt $(sum $of < whole) ] || exit 1; done; "
			"[ $(sum uptime_ns < rows) -ge 600000000 ]"));
	EXPECT_COMPLAINT(2, "--interval: not a number of seconds from 0.1 to 1000000: x",
			 "mote account --interval x");
	EXPECT_COMPLAINT(2, "no VM of yours is called three", "mote account three");
	EXPECT_COMPLAINT(2, "account takes one VM: two", "mote account one two");
	EXPECT_EQ(0, sh("mote account --help > rows && [ $(wc -l < rows) -le 24 ] && "
			"! grep -E '.{81}' rows"));
	sh("rm rows whole");
}

TEST_F(limits, refusals)
{
	static const char *const bad[][2] = {
		{ "--cpu-weight 0", "--cpu-weight: not a number from 1 to 10000: 0" },
		{ "--cpu-weight 10001", "--cpu-weight: not a number from 1 to 10000: 10001" },
		{ "--cpu-max much", "--cpu-max: not a number from 0 to 102400: much" },
		{ "--memory-max -1", "--memory-max: not a size" },
		{ "--io-max /dev/null,rbps=1M", "--io-max: not a disk of the host's: /dev/null" },
		{ "--io-max /dev/vda,bps=1M", "--io-max: there is no bps=1M, but rbps, wbps, riops, wiops" },
	};
	struct command *command = &self->command;

	ASSERT_TRUE(vm_start_flat("one", &guest_spin, ""));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		EXPECT_COMPLAINT(2, bad[i][1], "mote run %s --flat " FLAT_IMAGE, bad[i][0]);
		EXPECT_COMPLAINT(2, bad[i][1], "mote limit %s one", bad[i][0]);
	}
	EXPECT_COMPLAINT(2, "limit: which VM?", "mote limit --cpu-weight 3");
	EXPECT_COMPLAINT(2, "limit takes one VM: two", "mote limit one two");
	EXPECT_COMPLAINT(2, "limit: unknown option --weight", "mote limit --weight 3 one");
	EXPECT_COMPLAINT(2, "no VM of yours is called two", "mote limit two");
	EXPECT_EQ(0, sh("mote limit --help > help && [ $(wc -l < help) -le 24 ] && ! grep -E '.{81}' help; "
			"status=$?; rm help; exit $status"));
	/* Without rights. */
	sh("chmod 644 " FLAT_IMAGE);
	command_run_as(command, 4242, "mote run --cpu-weight 3 --flat " FLAT_IMAGE);
	EXPECT_EQ(2, command->status);
	EXPECT_TRUE(is_one_line(command->err)) TH_LOG("%s", command->err);
	EXPECT_NE(NULL, strstr(command->err, "Permission denied")) TH_LOG("%s", command->err);
	EXPECT_EQ(0, sh(ARE_GONE));
	/* Without a controller, and without groups. */
	EXPECT_EQ(0, sh("unshare -m sh -c 'umount " CGROUPS " && mote run --cpu-weight 3 --flat " FLAT_IMAGE
			"; [ $? = 2 ]' 2>&1 | grep -q 'limits want cgroups of version 2'"));
}

MOTE_TEST_MAIN
