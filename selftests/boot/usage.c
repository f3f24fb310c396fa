// SPDX-License-Identifier: GPL-2.0
/* mote run: bad input is one line that says what and what to do, status 2, and nothing left behind. */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "kselftest_harness.h"
#include "boot.h"

GUEST(exit_1, 16, "mov $1, %al; out %al, $0xf4");
GUEST(idle, 16, "cli; hlt");

#define EXPECT_REFUSED(say, ...)						\
	do {									\
		struct command command;						\
										\
		command_run(&command, "mote run " __VA_ARGS__);			\
		EXPECT_EQ(2, command.status) TH_LOG("%s", command.err);		\
		EXPECT_STREQ("", command.out);					\
		EXPECT_EQ(0, strncmp(command.err, "mote: ", 6));		\
		EXPECT_EQ(strlen(command.err) - 1, strcspn(command.err, "\n"))	\
			TH_LOG("%s", command.err);				\
		EXPECT_NE(NULL, strstr(command.err, say))			\
			TH_LOG("no \"%s\" in %s", say, command.err);		\
		EXPECT_EQ(0, count_vms());					\
	} while (0)

TEST(options)
{
	EXPECT_REFUSED("which image", "");
	EXPECT_REFUSED("one image", "vmlinuz initrd");
	EXPECT_REFUSED("unknown option --nosuch", "--nosuch vmlinuz");
	EXPECT_REFUSED("unknown option -x", "-x vmlinuz");
	EXPECT_REFUSED("wants a value", "--memory");
	EXPECT_REFUSED("-m wants a value", "-m");
	EXPECT_REFUSED("not a size from 1M to 4096G (512M, 2G ...): lots", "-m lots vmlinuz");
	EXPECT_REFUSED("not a number", "-c 0 vmlinuz");
	EXPECT_REFUSED("options come before the image: --cpus", "vmlinuz --cpus 2");
	EXPECT_REFUSED("--firmware=uefi, with a =", "--firmware uefi");
	EXPECT_REFUSED("--balloon=32M, with a =", "--balloon 32M vmlinuz");
	EXPECT_REFUSED("--cpus 2", "--cpu 2 vmlinuz");
	EXPECT_REFUSED("--detach leaves", "--detach --console vmlinuz");
	EXPECT_REFUSED("cannot open the image", "--detach /nosuchfile");
	EXPECT_REFUSED("not a size", "--memory lots vmlinuz");
	EXPECT_REFUSED("not a size", "--memory -1 vmlinuz");
	EXPECT_REFUSED("not a size", "--memory 1T vmlinuz");
	EXPECT_REFUSED("not a size", "--memory '' vmlinuz");
	EXPECT_REFUSED("not a size from 1M to 4096G", "--memory 0 vmlinuz");
	EXPECT_REFUSED("not a size from 1M to 4096G", "--memory 99999999999999999999 vmlinuz");
	EXPECT_REFUSED("not a number", "--cpus 0 vmlinuz");
	EXPECT_REFUSED("not a number", "--cpus 2x vmlinuz");
	EXPECT_REFUSED("not a number", "--cpus 1025 vmlinuz");
	EXPECT_REFUSED("not a number", "--timeout never vmlinuz");
	EXPECT_REFUSED("not a number", "--timeout 0 vmlinuz");
	EXPECT_REFUSED("not a number", "--timeout nan vmlinuz");
	EXPECT_REFUSED("not stdio, socket or none", "--serial port vmlinuz");
	EXPECT_REFUSED("not true or false", "--json=maybe vmlinuz");
	EXPECT_REFUSED("not on or off: maybe", "--sandbox=maybe vmlinuz");
	EXPECT_REFUSED("--flat takes no", "--flat --append x vmlinuz");
}

/* Files of options: refused as what stands on the command line, and printed as they are taken. */
TEST(configurations)
{
	EXPECT_REFUSED("cannot read /nosuchfile", "--config /nosuchfile vmlinuz");
	ASSERT_EQ(0, sh("printf '{ \"cpus\": 2, }' > conf"));
	EXPECT_REFUSED("conf: line 1: no JSON", "--config conf vmlinuz");
	ASSERT_EQ(0, sh("printf '{ \"cpu\\ns\": 1 }' > conf"));
	EXPECT_REFUSED("conf: there is no cpu?s, but image", "--config conf vmlinuz");
	ASSERT_EQ(0, sh("printf '{ \"cpus\": 2, \"disk\": [\"/nosuchdisk,ro\"] }' > conf"));
	EXPECT_REFUSED("which image", "--config conf");
	EXPECT_REFUSED("cannot open the disk /nosuchdisk", "--config conf vmlinuz");
	EXPECT_EQ(0, sh("mote run --config conf --dump-config --memory 1G --share a=/ -c 1 vmlinuz > one &&"
			"mote run --config one --dump-config | cmp - one && grep -q '\"cpus\":1' one"));
	EXPECT_REFUSED("cannot open the disk /nosuchdisk", "--config one");
	unlink("conf");
	unlink("one");
}

TEST(images)
{
	EXPECT_REFUSED("cannot open the image", "/nosuchfile");
	EXPECT_REFUSED("is a directory", "/tmp");
	EXPECT_REFUSED("not a regular file", "/dev/zero");
	EXPECT_REFUSED("no image that can be booted", "initrd");
	ASSERT_EQ(0, sh(": > empty"));
	EXPECT_REFUSED("is empty", "empty");
	unlink("empty");
	ASSERT_EQ(0, sh("truncate -s 1M disk && "
			"printf '\\125\\252' | dd of=disk bs=1 seek=510 conv=notrunc"));
	EXPECT_REFUSED("mote run --firmware --disk disk", "disk");
	unlink("disk");
	EXPECT_REFUSED("too large for --flat", "--flat vmlinuz");
}

TEST(bad_kernels)
{
	ASSERT_EQ(0, sh("head -c 1000000 vmlinuz > image"));
	EXPECT_REFUSED("is truncated", "image");
	/* Protocol 2.06 did not say where it wants to be. */
	ASSERT_EQ(0, sh("cp vmlinuz image && printf '\\006\\002' | dd of=image bs=1 seek=518 conv=notrunc"));
	EXPECT_REFUSED("too old", "image");
	ASSERT_EQ(0, sh("cp vmlinuz image && printf XXXX | dd of=image bs=1 seek=514 conv=notrunc"));
	EXPECT_REFUSED("no image that can be booted", "image");
	/* It would be loaded to the end of all addresses. */
	ASSERT_EQ(0, sh("cp vmlinuz image && printf '\\0\\0\\360\\377\\377\\377\\377\\377' | "
			"dd of=image bs=1 seek=600 conv=notrunc"));
	EXPECT_REFUSED("--memory", "image");
	/* An initrd would have to end below 1. */
	ASSERT_EQ(0, sh("cp vmlinuz image && "
			"printf '\\0\\0\\0\\0' | dd of=image bs=1 seek=556 conv=notrunc"));
	EXPECT_REFUSED("no room for the initrd", "--initrd vmlinuz image");
	unlink("image");
}

TEST(memory)
{
	EXPECT_REFUSED("--memory", "--memory 8M vmlinuz");
	EXPECT_REFUSED("--memory", "--memory 1M vmlinuz");
	ASSERT_EQ(0, sh("truncate -s 1G big"));
	EXPECT_REFUSED("no room for the initrd", "--memory 512M --initrd big vmlinuz");
	unlink("big");
	EXPECT_REFUSED("cannot open the initrd", "--initrd /nosuchfile vmlinuz");
	EXPECT_REFUSED("is a directory", "--initrd /tmp vmlinuz");
	EXPECT_REFUSED("characters at most", "--append \"$(head -c 5000 /dev/zero | tr '\\0' x)\" vmlinuz");
}

TEST(disks)
{
	EXPECT_REFUSED("cannot open the disk", "--disk /nosuchfile vmlinuz");
	EXPECT_REFUSED("a raw image is wanted", "--disk /tmp vmlinuz");
	EXPECT_REFUSED("neither a file nor", "--disk /dev/null vmlinuz");
	ASSERT_EQ(0, sh("printf small > small"));
	EXPECT_REFUSED("has no room", "--disk small vmlinuz");
	unlink("small");
	ASSERT_EQ(0, sh("truncate -s 1M disk"));
	EXPECT_REFUSED("in use", "--disk disk,ro --disk disk vmlinuz");
	EXPECT_REFUSED("format: not raw, qcow2", "--disk disk,format=nosuch,ro vmlinuz");
	EXPECT_REFUSED("not qcow2, but raw", "--disk disk,format=qcow2,ro vmlinuz");
	ASSERT_EQ(0, sh("ln disk other.qcow2"));
	EXPECT_REFUSED("not qcow2, but raw", "--disk other.qcow2 vmlinuz");
	unlink("other.qcow2");
	EXPECT_REFUSED("sector: not 512 or 4096", "--disk disk,sector=0 vmlinuz");
	EXPECT_REFUSED("cannot open the disk other,nosuch", "--disk other,nosuch,ro vmlinuz");
	ASSERT_EQ(0, sh("printf 'QFI\\373' | dd of=disk conv=notrunc 2> /dev/null"));
	EXPECT_REFUSED("not raw, but qcow2", "--disk disk vmlinuz");
	EXPECT_REFUSED("not raw, but qcow2", "--disk disk,ro vmlinuz");
	EXPECT_REFUSED("are the most", "$(seq 17 | sed 's/.*/--disk disk,ro,format=raw/') vmlinuz");
	unlink("disk");
}

/* One that is mounted, or else somebody's alone. */
TEST(block_devices)
{
	int fd;

	ASSERT_EQ(0, sh("modprobe loop && truncate -s 1M disk && busybox losetup /dev/loop7 disk"));
	fd = open("/dev/loop7", O_RDWR | O_EXCL);
	ASSERT_LE(0, fd);
	EXPECT_REFUSED("is in use: mounted", "--disk /dev/loop7 vmlinuz");
	close(fd);
	EXPECT_EQ(0, sh("busybox losetup -d /dev/loop7"));
	unlink("disk");
}

TEST(networks)
{
	EXPECT_REFUSED("not user, passt, tap:NAME or vhost:NAME", "--net nosuch vmlinuz");
	EXPECT_REFUSED("not user, passt, tap:NAME or vhost:NAME", "--net tap: vmlinuz");
	EXPECT_REFUSED("not user, passt, tap:NAME or vhost:NAME", "--net vhost:sixteen-letters- vmlinuz");
	EXPECT_REFUSED("--net tap:nosuch0: No such device", "--net tap:nosuch0 vmlinuz");
	EXPECT_REFUSED("Debian's package passt", "--net passt vmlinuz");
	EXPECT_REFUSED("8 are the most", "$(seq 9 | sed 's/.*/--net user/') vmlinuz");
	EXPECT_REFUSED("of which card", "--net user --net user --forward 2222:22 vmlinuz");
	EXPECT_REFUSED("cannot listen at port 2222",
		"--net user,forward=2222:1 --net user,forward=2222:1 vmlinuz");
	EXPECT_REFUSED("there is no nosuch, but mac", "--net user,nosuch vmlinuz");
	EXPECT_REFUSED("host-loopback is of user and passt alone", "--net tap:lo,host-loopback vmlinuz");
	EXPECT_REFUSED("not the address of a card", "--net user,mac= vmlinuz");
	EXPECT_REFUSED("not the address of a card", "--net user,mac=01:00:5e:00:00:01 vmlinuz");
	EXPECT_REFUSED("not PORT:PORT", "--net user --forward 22 vmlinuz");
	EXPECT_REFUSED("not PORT:PORT", "--net user --forward 22:0 vmlinuz");
	EXPECT_REFUSED("not PORT:PORT", "--net user --forward 70000:22 vmlinuz");
	EXPECT_REFUSED("not PORT:PORT", "--net user --forward 2222:22x vmlinuz");
	EXPECT_REFUSED("mac: it is there twice", "--net user,mac=2:0:0:0:0:1,mac=2:0:0:0:0:1 vmlinuz");
	EXPECT_REFUSED("mac= wants a value", "--net user,mac vmlinuz");
	EXPECT_REFUSED("wants --net user", "--forward 2222:22 vmlinuz");
	EXPECT_REFUSED("cannot listen at port 2222", "--net user --forward 2222:1 --forward 2222:2 vmlinuz");
}

/* It is read before anything else is judged, and made by a program that may not be there. */
TEST(cloud_init)
{
	char path[4096];

	EXPECT_REFUSED("cannot read /nosuchfile", "--cloud-init /nosuchfile vmlinuz");
	ASSERT_EQ(0, sh("mkdir seed"));
	EXPECT_REFUSED("seed/user-data: No such file", "--cloud-init seed vmlinuz");
	ASSERT_EQ(0, sh("echo '#cloud-config' > seed/user-data; truncate -s 20M seed/meta-data"));
	EXPECT_REFUSED("more than 16M", "--cloud-init seed vmlinuz");
	snprintf(path, sizeof(path), "%s", getenv("PATH"));
	ASSERT_EQ(0, sh("mkdir seed/bin && ln -s $(command -v mote) seed/bin"));
	setenv("PATH", "seed/bin", 1);
	EXPECT_REFUSED("Debian's package genisoimage", "--cloud-init seed/user-data vmlinuz");
	setenv("PATH", path, 1);
	sh("rm -r seed");
}

TEST(devices)
{
	EXPECT_REFUSED("not reset, end, pause or nmi: nosuch", "--watchdog=nosuch vmlinuz");
	EXPECT_REFUSED("not a UUID", "--uuid 1234 vmlinuz");
	EXPECT_REFUSED("--variables wants --firmware", "--variables x vmlinuz");
	EXPECT_REFUSED("not a size", "--balloon=much vmlinuz");
	EXPECT_REFUSED("not a number from 3", "--vsock 2 vmlinuz");
	EXPECT_REFUSED("not a number from 3", "--vsock 4294967295 vmlinuz");
	EXPECT_REFUSED("cannot both have", "--console --serial stdio vmlinuz");
	EXPECT_REFUSED("the first one's alone", "--console=socket --console vmlinuz");
	EXPECT_REFUSED("not stdio or socket: hvc0", "--console=hvc0 vmlinuz");
	EXPECT_REFUSED("not TAG=DIR", "--share /tmp vmlinuz");
	EXPECT_REFUSED("not TAG=DIR", "--share =/tmp vmlinuz");
	EXPECT_REFUSED("two with the tag", "--share a=/tmp --share a=/tmp vmlinuz");
	EXPECT_REFUSED("--share: /nosuchfile", "--share a=/nosuchfile vmlinuz");
	EXPECT_REFUSED("neither a directory nor", "--share a=vmlinuz vmlinuz");
	EXPECT_REFUSED("no comma", "--share a=/tmp,b vmlinuz");
	EXPECT_REFUSED("virtiofsd: No such file", "--share a=/tmp,root vmlinuz");
	EXPECT_REFUSED("root would be root in /tmp", "--share a=/tmp vmlinuz");
	EXPECT_REFUSED("no feature is called nosuch", "--cpu +pae,-nosuch vmlinuz");
	EXPECT_REFUSED("neither -NAME nor", "--cpu pae vmlinuz");
	EXPECT_REFUSED("neither -NAME nor", "--cpu -pae, vmlinuz");
	EXPECT_REFUSED("no vmx for guests", "--cpu +vmx vmlinuz");
}

/* A guest's address is the guest's alone. */
TEST(sockets)
{
	struct command command;

	sh("rmmod vhost_vsock");
	EXPECT_REFUSED("modprobe vhost_vsock", "--vsock 3 vmlinuz");
	ASSERT_EQ(0, sh("modprobe vhost_vsock"));
	write_flat(&guest_idle);
	command_run(&command, "mote run --flat --timeout 7000 --name first --vsock 3 " FLAT_IMAGE " & "
		    "while ! mote ps | grep -q '^first ' && kill -0 $!; do sleep 0.1; done; "
		    "mote run --vsock 3 vmlinuz; status=$?; kill $!; wait $!; exit $status");
	unlink(FLAT_IMAGE);
	EXPECT_EQ(2, command.status);
	EXPECT_NE(NULL, strstr(command.err, "CID 3 is in use")) TH_LOG("%s", command.err);
}

/*
 * What a vhost-user daemon may say to the first question, for its features: request, flags
 * (its version; 4 is an answer), size of what follows, which is a number.
 */
struct answer {
	__u32 request, flags, size, number[2];
};

#define ANSWER_SIZE offsetof(struct answer, number)
#define GET_FEATURES 1
#define IS_ANSWER 5

/* After a whole answer it is silent until the other one has had enough, else it is gone. */
static void serve_once(int listening, const struct answer *answer, size_t size)
{
	struct answer question;
	int fd = accept(listening, NULL, NULL);

	if (read(fd, &question, ANSWER_SIZE) == ANSWER_SIZE && write(fd, answer, size) == (ssize_t)size &&
	    size == sizeof(*answer))
		while (read(fd, &question, sizeof(question)) > 0)
			;
	close(fd);
}

FIXTURE(share)
{
	int listening;
};

FIXTURE_SETUP(share)
{
	const struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = "liar" };

	self->listening = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ASSERT_EQ(0, bind(self->listening, (const struct sockaddr *)&address, sizeof(address)));
	ASSERT_EQ(0, listen(self->listening, 1));
}

FIXTURE_TEARDOWN(share)
{
	close(self->listening);
	unlink("liar");
}

TEST_F(share, daemons_that_lie)
{
	static const struct {
		struct answer answer;
		size_t size;
		const char *say;
	} lies[] = {
		{ { GET_FEATURES, IS_ANSWER, 8 }, 0, "the daemon has ended" },
		{ { GET_FEATURES, IS_ANSWER, 8 }, 4, "the daemon has ended" },
		{ { GET_FEATURES, IS_ANSWER, 8 }, ANSWER_SIZE + 4, "the daemon has ended" },
		{ { GET_FEATURES + 1, IS_ANSWER, 8 }, sizeof(struct answer),
		  "answers what nobody has asked" },
		{ { GET_FEATURES, 1, 8 }, sizeof(struct answer), "answers what nobody has asked" },
		{ { GET_FEATURES, IS_ANSWER, 4 }, sizeof(struct answer), "answers what nobody has asked" },
		{ { GET_FEATURES, IS_ANSWER, ~0u }, sizeof(struct answer), "answers what nobody has asked" },
		{ { GET_FEATURES, IS_ANSWER, 8 }, sizeof(struct answer), "does not know virtio 1.0" },
		/* It has a protocol, and then nothing to say of that, for longer than anybody waits. */
		{ { GET_FEATURES, IS_ANSWER, 8, { 1 << 30, 1 } }, sizeof(struct answer), "does not answer" },
	};
	pid_t pid;

	for (size_t i = 0; i < ARRAY_SIZE(lies); i++) {
		pid = fork();
		ASSERT_LE(0, pid);
		if (!pid) {
			serve_once(self->listening, &lies[i].answer, lies[i].size);
			_exit(0);
		}
		EXPECT_REFUSED(lies[i].say, "--share a=liar vmlinuz");
		waitpid(pid, NULL, 0);
	}
}

TEST(without_the_module)
{
	struct command command;

	ASSERT_EQ(0, unload_mote());
	/* What would be wrong with it, too, comes first. */
	command_run(&command, "mote run nosuchfile");
	EXPECT_EQ(2, command.status);
	EXPECT_NE(NULL, strstr(command.err, "cannot open the image nosuchfile")) TH_LOG("%s", command.err);
	command_run(&command, "mote run vmlinuz");
	ASSERT_EQ(0, sh("modprobe mote"));
	EXPECT_EQ(2, command.status);
	EXPECT_NE(NULL, strstr(command.err, "run `modprobe mote`")) TH_LOG("%s", command.err);
	EXPECT_EQ(strlen(command.err) - 1, strcspn(command.err, "\n"));
}

TEST(without_permission)
{
	struct command command;

	command_run_as(&command, 65534, "mote run vmlinuz");
	EXPECT_EQ(2, command.status);
	EXPECT_NE(NULL, strstr(command.err, "you may not use /dev/mote")) TH_LOG("%s", command.err);
	EXPECT_EQ(strlen(command.err) - 1, strcspn(command.err, "\n"));
}

/* Another hypervisor has the processor. */
TEST(held)
{
	struct command command;

	if (sh("modprobe %s enable_virt_at_load=1 || modprobe %s", kvm_module(), kvm_module()))
		SKIP(return, "not on this kernel: no KVM");
	write_flat(&guest_exit_1);
	command_run(&command, "mote run --flat " FLAT_IMAGE);
	unlink(FLAT_IMAGE);
	sh("rmmod %s", kvm_module());
	/* Kernels before 6.12 take it only for a VM. */
	if (command.status == 3)
		SKIP(return, "not on this kernel: KVM holds nothing without a VM");
	EXPECT_EQ(2, command.status);
	EXPECT_NE(NULL, strstr(command.err, "another hypervisor")) TH_LOG("%s", command.err);
}

TEST(help)
{
	struct command command;

	EXPECT_EQ(0, sh("mote help > all && mote --help | cmp all &&"
			"mote help run > run && mote run --help | cmp run"));
	EXPECT_EQ(0, sh("[ \"$(mote version)\" = \"$(mote --version)\" ]"));
	unlink("all");
	unlink("run");

	command_run(&command, "mote run --help");
	EXPECT_EQ(0, command.status);
	EXPECT_STREQ("", command.err);
	command_run(&command, "mote run --help | awk 'length > 80'");
	EXPECT_STREQ("", command.out);
}

BOOT_TEST_MAIN("vmlinuz")
