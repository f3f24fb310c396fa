// SPDX-License-Identifier: GPL-2.0
/*
 * mote run: Debian's own kernel, as it comes, with an initrd whose init (see
 * there) looks at what it finds.  In `make check` that is all on svm with Debian's
 * kernel, where a boot takes ten seconds, and one boot on each other host.
 */
#include <stdlib.h>
#include <string.h>

#include "kselftest_harness.h"
#include "boot.h"

#define RUN "mote run --timeout 7000 --initrd initrd --append \"console=ttyS0 quiet panic=-1 %s\" %s vmlinuz %s"

GUEST(idle, 16, "1: hlt; jmp 1b");

FIXTURE(linux_guest)
{
	struct command command;
	bool all;
};

FIXTURE_SETUP(linux_guest)
{
	self->all = is_time_for_systems();
}

FIXTURE_TEARDOWN(linux_guest)
{
}

static void boot(struct command *command, const char *append, const char *options)
{
	command_run(command, RUN, append, options, "< /dev/null");
}

#define EXPECT_WELL(command)							\
	do {									\
		EXPECT_NE(NULL, strstr((command)->out, "guest: all is well")) {	\
			TH_LOG("%s%s", (command)->out, (command)->err);		\
		}								\
		EXPECT_EQ(NULL, strstr((command)->out, "FAILED"));		\
	} while (0)

TEST_F(linux_guest, two_processors_and_power_off)
{
	struct command *command = &self->command;

	boot(command, "cpus=2 least=400000 uuid=00112233-4455-6677-8899-aabbccddeeff end=poweroff",
	     "--cpus 2 --uuid 00112233-4455-6677-8899-aabbccddeeff");
	EXPECT_EQ(0, command->status);
	EXPECT_WELL(command);
}

/*
 * With pvpanic, so that the machine hears of it; and with disks that are written, read, shared and
 * discarded, and random numbers: see virtio-init.
 */
TEST_F(linux_guest, four_processors_disks_and_panic)
{
	struct command *command = &self->command;

	if (!self->all)
		SKIP(return, NO_TIME);
	ASSERT_EQ(0, sh("truncate -s 16M disk-a && head -c 16m /dev/urandom > disk-b && "
			"head -c 16m /dev/urandom > disk-c"));
	boot(command, "cpus=4 least=400000 more=virtio-init end=panic",
	     "--cpus 4 --disk disk-a --disk disk-b,ro --disk disk-c");
	EXPECT_EQ(STATUS_PANIC, command->status) TH_LOG("%s%s", command->out, command->err);
	EXPECT_WELL(command);
	EXPECT_EQ(0, sh("cmp disk-a disk-b"));
	EXPECT_EQ(0, sh("head -c 16m /dev/zero | cmp - disk-c"));
	command_run(command, "stat -c %%b disk-c");
	EXPECT_EQ(0, atoi(command->out));
	sh("rm disk-?");
}

#define SERVE(address) \
	"mkdir -p www && head -c 3m /dev/urandom > www/file && md5sum < www/file > www/sum && " \
	"httpd -f -p " address ":8080 -h www & server=$!; "
/*
 * Until the guest listens there is nobody. One who is not answered is not waited for: Debian's passt takes
 * one of several that have come while it stood still, and the next when another one comes.
 */
#define TALK(to)									\
	"rm -f heard; (until [ -e heard ]; do (echo hello | nc -w 600 " to " | grep -q hello && "	\
	"echo heard > heard) & sleep 2; done) 2> /dev/null & talker=$!; "

#define EXPECT_NETWORK()								\
	do {									\
		EXPECT_EQ(0, command->status);					\
		EXPECT_WELL(command);						\
		EXPECT_EQ(0, sh("grep -q heard heard"));			\
		sh("rm -r heard www");						\
	} while (0)

/* DHCP, ICMP, a file of some megabytes, a connection from outside, and another card: see net-init. */
TEST_F(linux_guest, network)
{
	struct command *command = &self->command;

	if (!self->all)
		SKIP(return, NO_TIME);
	command_run(command, SERVE("127.0.0.1") TALK("127.0.0.1 2007") RUN
		    "; status=$?; kill $server $talker; exit $status",
		    "cpus=2 least=400000 more=net-init mac=52:54:00:12:34:56 second=52:54:00:12:34:57 end=poweroff",
		    "--cpus 2 --net user,host-loopback,mac=52:54:00:12:34:56,forward=2007:7 "
		    "--net user,mac=52:54:00:12:34:57",
		    "< /dev/null");
	EXPECT_NETWORK();
}

/* A host with an address, a route and a name server, and, elsewhere, a server. */
#define CONNECT_OUTSIDE									\
	"modprobe dummy && ip link set dummy0 up && ip addr add 192.0.2.2/24 dev dummy0 && "	\
	"ip -6 addr add 2001:db8::2/64 dev dummy0 && "					\
	"ip route add default via 192.0.2.1 && ip -6 route add default via 2001:db8::1 && "	\
	"ip addr add 198.51.100.1/32 dev lo && ip -6 addr add 2001:db8:1::1/128 dev lo && "	\
	"echo nameserver 192.0.2.53 > /etc/resolv.conf && "

/*
 * passt, which is found here, makes namespaces and pivots, which nobody can whose root is the kernel's
 * first file system, or not that of his mounts: it is mounted over itself.
 */
#define IN_NEW_ROOT									\
	"PATH=$PWD:$PATH /usr/bin/unshare -m sh -c 'mount -o rbind / /mnt && cd /mnt && "	\
	"mount -o move . / && exec /usr/bin/unshare --root=. --wd=\"$0\" \"$@\"' \"$PWD\" "

#define DISCONNECT_OUTSIDE										\
	"ip addr del 198.51.100.1/32 dev lo; ip -6 addr del 2001:db8:1::1/128 dev lo; "			\
	"rm /etc/resolv.conf; rmmod dummy"

/* By passt the guest is the host, to whoever is outside: by IPv4 and IPv6; and it is connected to. */
TEST_F(linux_guest, passt)
{
	struct command *command = &self->command;

	if (!self->all)
		SKIP(return, NO_TIME);
	command_run(command, CONNECT_OUTSIDE SERVE("[::]") TALK("127.0.0.1 2007") IN_NEW_ROOT RUN
		    "; status=$?; kill $server $talker; exit $status",
		    "cpus=2 least=400000 more=net-init "
		    "lease=192.0.2.2,192.0.2.1,192.0.2.53 server=198.51.100.1 server6=[2001:db8:1::1] end=poweroff",
		    "--cpus 2 --net passt,forward=2007:7", "< /dev/null");
	EXPECT_NETWORK();
	sh(DISCONNECT_OUTSIDE);
}

/*
 * One that gets no processor, or, as Debian's does now and then when it got none for a while, takes all of it
 * for ever: started by root it has become somebody else, and goes with its machine all the same.
 */
TEST_F(linux_guest, passt_is_stuck)
{
	struct command *command = &self->command;

	if (!self->all)
		SKIP(return, NO_TIME);
	write_flat(&guest_idle);
	command_run(command, CONNECT_OUTSIDE IN_NEW_ROOT
		    "mote run --name stuck --net passt --flat " FLAT_IMAGE " & "
		    "until mote ps | grep -q stuck; do sleep 1; done; "
		    "killall -STOP passt && mote stop --force stuck && ! killall passt; status=$?; wait; "
		    "exit $status");
	EXPECT_EQ(0, command->status);
	EXPECT_EQ(NULL, strstr(command->err, "left behind")) TH_LOG("%s", command->err);
	sh("killall -KILL passt; rm " FLAT_IMAGE "; " DISCONNECT_OUTSIDE);
}

/* The host's end is what the network of --net user is, with a server for DHCP. */
#define CONNECT										\
	"modprobe -a tun vhost_net && busybox tunctl -t mote0 && "			\
	"ifconfig mote0 10.0.2.2 netmask 255.255.255.0 && touch leases && "		\
	"printf '%%s\\n' 'start 10.0.2.15' 'end 10.0.2.15' 'interface mote0' "		\
	"'lease_file leases' 'pidfile pid' 'option router 10.0.2.2' "			\
	"'option dns 10.0.2.3' 'option subnet 255.255.255.0' > dhcp && "		\
	"busybox udhcpd -f dhcp 2> /dev/null & dhcp=$!; sleep 1; "

static void boot_with_tap(struct command *command, const char *options)
{
	command_run(command, CONNECT SERVE("10.0.2.2") TALK("10.0.2.15 7") RUN
		    "; status=$?; kill $server $talker $dhcp; exit $status",
		    "cpus=2 least=400000 more=net-init end=poweroff", options, "< /dev/null");
	sh("busybox tunctl -d mote0 > /dev/null; rm leases dhcp");
}

/* Frames that the runner carries, and those that the host's kernel does. */
TEST_F(linux_guest, tap)
{
	struct command *command = &self->command;

	if (!is_long_run())
		SKIP(return, ONLY_LONG);
	boot_with_tap(command, "--cpus 2 --net tap:mote0");
	EXPECT_NETWORK();
}

TEST_F(linux_guest, tap_by_vhost)
{
	struct command *command = &self->command;

	if (!self->all)
		SKIP(return, NO_TIME);
	boot_with_tap(command, "--cpus 2 --net vhost:mote0");
	EXPECT_NETWORK();
}

/*
 * One kernel starts the next, and so on, with its CPUs taken down and up before; the last one
 * panics on its second CPU, and its crash kernel goes on there: see kexec-init.
 */
TEST_F_TIMEOUT(linux_guest, kexec, 14400)
{
	struct command *command = &self->command;
	long rounds = guest_rounds(2, host_is_tcg() ? 200 : 5);

	if (!self->all)
		SKIP(return, NO_TIME);
	command_run(command, "mote run --timeout 14400 --initrd initrd-kexec --memory 768M --cpus 2 --append "
		    "'console=ttyS0 quiet panic=-1 crashkernel=192M cpus=2 least=400000 more=kexec-init rounds=%ld "
		    "crash=1 end=poweroff' vmlinuz < /dev/null", rounds);
	EXPECT_EQ(0, command->status);
	EXPECT_NE(NULL, strstr(command->out, "guest: kexec, 1 to go"));
	EXPECT_NE(NULL, strstr(command->out, "guest: 1 cpus"));
	EXPECT_WELL(command);
}

/* A shell, and somebody who types: too early, so that the driver drops what it finds at first. */
#define TYPE "printf 'echo $((6 * 7)) is it\\n/bin/busybox %s -f\\n' > typed; " \
	"printf '%%0100d' 0 | tr 0 '\\n' | cat - typed | "

static void boot_to_shell(struct command *command, const char *end, const char *append, const char *options)
{
	command_run(command, TYPE RUN, end, append, options, "");
	unlink("typed");
}

#define EXPECT_SHELL(command)							\
	EXPECT_NE(NULL, strstr((command)->out, "42 is it")) {			\
		TH_LOG("%s%s", (command)->out, (command)->err);			\
	}

/* With memory on both sides of the hole below 4 GiB, which is only promised, not there; and it resets. */
TEST_F(linux_guest, shell_with_much_memory_and_reset)
{
	struct command *command = &self->command;

	if (!self->all)
		SKIP(return, NO_TIME);
	boot_to_shell(command, "reboot", "cpus=1 least=4000000 end=shell", "--memory 5G");
	EXPECT_EQ(STATUS_RESET, command->status);
	EXPECT_SHELL(command);
	EXPECT_WELL(command);
}

TEST_F(linux_guest, shell_on_four_processors)
{
	struct command *command = &self->command;

	if (!is_long_run())
		SKIP(return, ONLY_LONG);
	boot_to_shell(command, "poweroff", "cpus=4 least=400000 end=shell", "--cpus 4");
	EXPECT_EQ(0, command->status);
	EXPECT_SHELL(command);
	EXPECT_WELL(command);
}

/* The kernel for 32 bits, with the same eyes. */
TEST_F(linux_guest, i386)
{
	struct command *command = &self->command;

	if (!self->all)
		SKIP(return, NO_TIME);
	command_run(command, "mote run --timeout 7000 --memory 256M --cpus 2 --initrd initrd-686 --append "
		    "'console=ttyS0 quiet panic=-1 cpus=2 least=200000 machine=i686 end=poweroff' "
		    "vmlinuz-686 < /dev/null");
	EXPECT_EQ(0, command->status);
	EXPECT_WELL(command);
}

BOOT_TEST_MAIN("vmlinuz")
