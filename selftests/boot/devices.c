// SPDX-License-Identifier: GPL-2.0
/*
 * mote run: the devices that a guest does not need, seen by Debian's kernel and
 * devices-init.  One processor, as those guests boot fastest.
 */
#include <linux/vm_sockets.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "kselftest_harness.h"
#include "boot.h"

#define RUN "mote run --timeout 7000 --initrd initrd-devices --append \"console=ttyS0 quiet panic=-1 " \
	"cpus=1 least=200000 more=devices-init end=poweroff %s\" %s vmlinuz"
#define PORT 2007

GUEST(nothing, 16, "mov $0, %al; out %al, $0xf4");

FIXTURE(devices)
{
	struct command command;
	pid_t server;
	pid_t window;
};

FIXTURE_SETUP(devices)
{
}

FIXTURE_TEARDOWN(devices)
{
	if (self->server > 0)
		kill(self->server, SIGKILL);
	if (self->window > 0)
		kill(self->window, SIGKILL);
}

#define EXPECT_WELL(command, end)						\
	do {									\
		EXPECT_EQ(end, (command)->status);				\
		EXPECT_NE(NULL, strstr((command)->out, "guest: all is well")) {	\
			TH_LOG("%s%s", (command)->out, (command)->err);		\
		}								\
		EXPECT_EQ(NULL, strstr((command)->out, "FAILED"));		\
	} while (0)

/* Send back to the first who connects what he says. */
static pid_t serve(void)
{
	struct sockaddr_vm address = {
		.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = PORT,
	};
	int fd = socket(AF_VSOCK, SOCK_STREAM, 0);
	char data[4096];
	ssize_t nr;
	pid_t pid;

	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) || listen(fd, 1))
		return -1;
	pid = fork();
	if (pid) {
		close(fd);
		return pid;
	}
	fd = accept(fd, NULL, NULL);
	while ((nr = read(fd, data, sizeof(data))) > 0)
		if (write(fd, data, nr) != nr)
			break;
	_exit(0);
}

static void say_size(int columns, int rows)
{
	static const struct sockaddr_un address = {
		.sun_family = AF_UNIX, .sun_path = "/run/mote/vmlinuz.sock",
	};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	char text[256];

	if (!connect(fd, (const struct sockaddr *)&address, sizeof(address))) {
		sprintf(text, "{\"version\":1,\"do\":\"terminal-size\",\"columns\":%d,\"rows\":%d}\n",
			columns, rows);
		if (write(fd, text, strlen(text)) > 0 && read(fd, text, sizeof(text)) <= 0)
			_exit(1);
	}
	close(fd);
}

/* Linux forgets a size that it is told before somebody has opened its terminal: say it again and again. */
static pid_t resize(void)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	for (;;) {
		say_size(80, 24);
		usleep(20000);
		say_size(132, 43);
		sleep(1);
	}
}

/* Until the guest says so in the file "out", for a quarter of an hour at most. */
#define AWAIT(what) "n=0; until grep -q 'guest: " what "' out || [ $((n += 1)) = 9000 ]; do sleep 0.1; done; "

/* Once the driver is there: it drops what comes while it starts. */
#define SAY "echo as-it-was-typed"
#define TYPE ": > out; (" AWAIT("type there") SAY " | mote console vmlinuz hvc1 > second) & " \
	"(" AWAIT("type") SAY ") | "

/*
 * virtiofsd pivots into the directory, which nobody can whose root is the kernel's
 * first file system.
 */
#define ELSEWHERE "mount -o rbind / /mnt; " TYPE "PATH=$PWD:$PATH /usr/bin/unshare --root=/mnt --wd=$PWD "
#define BACK "; status=$?; umount -l /mnt; cat out; rm out; exit $status"
#define MAKE_SHARE "mkdir shared && head -c 3m /dev/urandom > shared/file && md5sum < shared/file > shared/sum"

TEST_F(devices, console_share_vsock_and_cpu_features)
{
	struct command *command = &self->command;

	if (!is_time_for_systems())
		SKIP(return, NO_TIME);
	ASSERT_EQ(0, sh("modprobe vhost_vsock && " MAKE_SHARE));
	self->server = serve();
	ASSERT_LT(0, self->server);
	/* What is hidden then can be had. */
	run_flat(command, &guest_nothing, "", "--cpu +aes,+popcnt,+x2apic");
	ASSERT_EQ(STATUS_DEBUG(0), command->status) TH_LOG("%s", command->err);
	self->window = resize();
	command_run(command, ELSEWHERE RUN " > out" BACK,
		    "devices=console,second_console,share,vsock,cpu_flags typed=as-it-was-typed size=43x132 port=2007 "
		    "shown=pae,apic,hypervisor hidden=aes,popcnt,x2apic",
		    "--console --console=socket --share mine=shared,root --vsock 7 --cpu -aes,-popcnt,-x2apic,+pae");
	EXPECT_WELL(command, 0);
	EXPECT_NE(NULL, strstr(command->out, "\n500\r\n"));
	EXPECT_EQ(0, sh("cmp shared/file shared/new/copy"));
	EXPECT_EQ(0, sh("grep -q '^and there: as-it-was-typed' second"));
	sh("rm -r shared second");
}

/*
 * Its memory, in kB: once the guest says that it is full, and when 64 MiB of that have
 * come back, each of which the guest is told: its kernel reports a part every two seconds.
 */
#define WATCH " < in > out 2>&1 & vm=$!; exec 3> in; trap '' PIPE; "			\
	"resident() { awk '/^VmRSS/ { print $2 }' /proc/$vm/status; }; "		\
	AWAIT("full") "full=$(resident); echo >&3; "					\
	"while kill -0 $vm && [ $(resident) -ge $((full - 65536)) ]; do sleep 0.1; done 2> /dev/null; " \
	"free=$(resident); echo >&3; wait $vm; status=$?; "				\
	"echo $full ${free:-$full}; cat out; rm in out; exit $status"

TEST_F(devices, free_memory_is_reported)
{
	struct command *command = &self->command;
	char *rest;
	long full;

	if (!is_time_for_systems())
		SKIP(return, NO_TIME);
	command_run(command, "mkfifo in; : > out; " RUN WATCH, "devices=reporting",
		    "--memory 256M --balloon");
	EXPECT_WELL(command, 0);
	full = strtol(command->out, &rest, 10);
	EXPECT_GT(full - (64 << 10), strtol(rest, NULL, 10)) TH_LOG("%.20s", command->out);
}

TEST_F(devices, balloon)
{
	struct command *command = &self->command;

	if (!is_time_for_systems())
		SKIP(return, NO_TIME);
	/* Less than at first is asked for when it runs. */
	command_run(command, "(until mote memory vmlinuz 128M 2> /dev/null; do sleep 0.1; done) & " RUN
		    "; status=$?; kill $! 2> /dev/null; exit $status",
		    "devices=balloon taken=32768", "--memory 256M --balloon=192M");
	EXPECT_WELL(command, 0);
}

#define DAEMON "./virtiofsd --socket-path=socket -o source=$PWD/shared -o sandbox=chroot 2> /dev/null "

/*
 * A daemon of the owner's own: who does not ask it does not notice.  To switch off
 * would be to ask it, as that synchronizes file systems.
 */
TEST_F(devices, daemon_that_dies)
{
	struct command *command = &self->command;

	if (!is_time_for_systems())
		SKIP(return, NO_TIME);
	ASSERT_EQ(0, sh(MAKE_SHARE));
	command_run(command, DAEMON "& daemon=$!; : > out; "
		    "while [ ! -S socket ] && kill -0 $daemon; do sleep 0.1; done; "
		    RUN " > out & vm=$!; " AWAIT("mounted") "kill -9 $daemon; wait $vm; "
		    "status=$?; cat out; rm -r out socket* shared; exit $status",
		    "devices=dying_share end=15", "--share mine=socket");
	EXPECT_WELL(command, STATUS_DEBUG(0x15));
	EXPECT_NE(NULL, strstr(command->err, "socket: the daemon has ended")) TH_LOG("%s", command->err);
}

/* What cloud-init would find; and a watchdog that is armed by the kernel's own driver, and served no more. */
TEST_F(devices, seed_and_watchdog)
{
	struct command *command = &self->command;

	if (!is_time_for_systems())
		SKIP(return, NO_TIME);
	if (sh("command -v genisoimage > /dev/null"))
		SKIP(return, "there is no genisoimage");
	ASSERT_EQ(0, sh("echo '#cloud-config\nssh_authorized_keys: [ssh-ed25519 AAAA me]' > user-data"));
	command_run(command, "sum=$(md5sum < user-data); " RUN,
		    "devices=seed,watchdog sum=${sum%  *} end=watchdog",
		    "--cloud-init user-data --watchdog=end");
	EXPECT_WELL(command, STATUS_WATCHDOG);
	sh("rm user-data");
}

/* What the guest has synced is in the image, whatever happens to the process then. */
TEST_F(devices, killed_after_a_flush)
{
	struct command *command = &self->command;

	if (!is_time_for_systems())
		SKIP(return, NO_TIME);
	ASSERT_EQ(0, sh("truncate -s 16M disk && head -c 4m /dev/urandom > data"));
	command_run(command, ": > out; " RUN " > out & vm=$!; " AWAIT("synced")
		    "kill -9 $vm; wait $vm; rm out; cmp -n 4194304 disk data",
		    "devices=sync_and_wait", "--disk disk --disk data,ro");
	EXPECT_EQ(0, command->status) TH_LOG("%s%s", command->out, command->err);
	sh("rm disk data");
}

/* Until it has been said so often that the disk is full, and the machine is paused. */
#define AWAIT_FULL									\
	"full() { n=0; until [ $(grep -c 'written: No space left' err) = $1 ] && "	\
	"mote ps | grep -q paused || [ $((n += 1)) = 9000 ]; do sleep 0.1; done; }; "

/*
 * A qcow2 image on a file system that gets full, twice, as the first resume comes too early; then a daemon
 * that answers nothing, which does not matter to those who ask the runner; and then none.
 */
TEST_F(devices, served_disk)
{
	struct command *command = &self->command;

	if (!is_time_for_systems())
		SKIP(return, NO_TIME);
	ASSERT_EQ(0, sh("mkdir small && mount -t tmpfs -o size=4m none small && "
			"cp empty.qcow2 small/disk.qcow2 && head -c 8m /dev/urandom > data"));
	command_run(command, "PATH=$PWD:$PATH; sum=$(md5sum < data); : > out; " AWAIT_FULL
		    RUN " > out 2> err & vm=$!; full 1; mote resume vmlinuz; full 2; "
		    "mount -o remount,size=32m small; mote resume vmlinuz; " AWAIT("copied")
		    "daemon=$(cat /proc/$vm/task/$vm/children); kill -STOP $daemon; "
		    "mote ps; kill -9 $daemon; wait $vm; status=$?; cat out; cat err >&2; exit $status",
		    "devices=served_disk sum=${sum%  *}", "--disk small/disk.qcow2 --disk data,ro");
	EXPECT_WELL(command, 0);
	EXPECT_NE(NULL, strstr(command->out, "running"));
	EXPECT_NE(NULL, strstr(command->err, "disk.qcow2: qemu-storage-daemon has ended")) {
		TH_LOG("%s", command->err);
	}
	sh("umount small; rm -r small data out err");
}

/* A number of an object of JSON. */
#define NUMBER "number() { sed -n \"s/.*\\\"$1\\\": *\\([0-9]*\\).*/\\1/p\" $2; }; "

/*
 * mote account has what the guest's drivers have counted, to the last byte and frame; and so has the end,
 * which is all that there is to be charged for then.  What comes too fast for its limits is not lost.
 */
TEST_F(devices, accounted)
{
	struct command *command = &self->command;

	if (!is_time_for_systems())
		SKIP(return, NO_TIME);
	ASSERT_EQ(0, sh("head -c 4m /dev/urandom > disk"));
	command_run(command, ": > out; (" AWAIT("had") "mote account --json vmlinuz > account; echo) | "
		    RUN " > out 2> err; status=$?; cat out; cat err >&2; exit $status",
		    "devices=accounted ipv6.disable=1", "--json --net user,pps=20 --disk disk,iops=20");
	EXPECT_WELL(command, 0);
	command_run(command, "sed -n 's/.*guest: had \\(.*\\) in all.*/\\1/p' out > had; " NUMBER
		    "echo $(for of in disk_reads disk_read_bytes disk_writes disk_written_bytes disk_flushes "
		    "network_received_frames network_received_bytes network_sent_frames network_sent_bytes; do "
		    "number $of account; done) > counted; cat had counted; cmp had counted");
	EXPECT_EQ(0, command->status) TH_LOG("%s", command->out);
	/* Processors: some time of each kind but the daemons', and no more than there was. */
	EXPECT_EQ(0, sh(NUMBER "[ $(number guest_ns account) -gt 0 ] && "
			"[ $(number daemons_ns account) = 0 ] && "
			"[ $(($(number guest_ns account) + $(number kernel_ns account) + "
			"$(number runner_ns account))) -le $(tail -n 1 err | number cpu_ns -) ] && "
			"[ $(number disk_flushes account) = $(tail -n 1 err | number flushes -) ] && "
			"[ $(number network_sent_bytes account) = $(tail -n 1 err | number sent_bytes -) ]"));
	sh("rm disk out err account had counted");
}

BOOT_TEST_MAIN("vmlinuz")
