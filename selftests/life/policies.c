// SPDX-License-Identifier: GPL-2.0
/* mote policy, and the policies of examples/policy: BPF programs that decide exits of machines. */
#include "kselftest_harness.h"
#include "life.h"

/* A machine that a policy sees from its first exit on, and one without. */
#define run_under(policy, code)	\
	run_flat(&self->command, code, "mote policy run " policy ".bpf.o --", "--json --memory 2M")
#define run_free(code) run_flat(&self->command, code, "", "--json --memory 2M")

#define RESET "mov $0xcf9, %dx; mov $6, %al; out %al, %dx; hlt"
#define STATUS_RESET 4

/* Print the 4 characters that are in EAX, and so on. */
#define PUT_EAX "mov $4, %cx; 7: mov %eax, %ebp\n" PUT_AL "mov %ebp, %eax; shr $8, %eax; loop 7b\n"
#define PUT_AL "mov %al, %ah; mov $0x3fd, %dx; 8: in %dx, %al; test $0x20, %al; jz 8b\n"	\
	       "mov $0x3f8, %dx; mov %ah, %al; out %al, %dx\n"
GUEST(brand, 16, "mov $0x80000002, %eax; cpuid; push %edx; push %ecx; push %ebx\n"
      PUT_EAX "pop %eax\n" PUT_EAX "pop %eax\n" PUT_EAX "pop %eax\n" PUT_EAX RESET);

/* G for each #GP: a listed MSR, one that is not there, the same written; in between dots. */
GUEST(msrs, 16, "push $0; pop %ds; call 1f; 1: pop %bx; add $9f - 1b, %bx\n"
      "mov %bx, 4 * 13; mov %cs, 4 * 13 + 2\n"
      "mov $0x1b, %ecx; rdmsr\n" PUT("'.'") "mov $0xfe, %ecx; rdmsr\n" PUT("'.'")
      "mov $0x17, %ecx; rdmsr\n" PUT("'.'")
      "mov $0x8b, %ecx; xor %eax, %eax; xor %edx, %edx; wrmsr\n" PUT("'.'") RESET
      "\n9: push %ax; push %dx\n" PUT("'G'") "pop %dx; pop %ax; mov %sp, %bp; addw $2, (%bp); iret");

/* 100,000 times port 0x80; then a reset, until it is taken. */
GUEST(busy, 16, "mov $100000, %esi; 1: out %al, $0x80; dec %esi; jnz 1b\n"
      "mov $0xcf9, %dx; mov $6, %al; 2: out %al, %dx; jmp 2b");

GUEST(hello, 16, PUT("'h'") PUT("'e'") PUT("'l'") PUT("'l'") PUT("'o'") PUT("10") RESET);

/* Until 100,000 ticks of ACPI's timer have gone by, none of which goes back: P, or else B. */
GUEST(timer, 16, "mov $0x608, %dx; in %dx, %eax; mov %eax, %esi; mov %eax, %edi\n"
      "1: in %dx, %eax; mov %eax, %ebx; sub %edi, %eax; js 2f; mov %ebx, %edi\n"
      "mov %ebx, %eax; sub %esi, %eax; cmp $100000, %eax; jb 1b\n" PUT("'P'") "jmp 3f; 2:\n" PUT("'B'")
      "3:\n" RESET);

/* 1,000 looks at the keyboard's status, whose bits are collected; then its self-test: K, or else B. */
GUEST(looks, 16, "mov $1000, %cx; mov $0, %bl; 1: in $0x64, %al; or %al, %bl; loop 1b; test $1, %bl; jnz 2f\n"
      "mov $0xaa, %al; out %al, $0x64; mov $1000, %cx; 3: in $0x64, %al; test $1, %al; loopz 3b; jz 2f\n"
      "in $0x60, %al; cmp $0x55, %al; jne 2f\n" PUT("'K'") "jmp 4f; 2:\n" PUT("'B'") "4:\n" RESET);

GUEST(asks, 16, "sti; 1: mov $0x80000002, %eax; cpuid; jmp 1b");

FIXTURE(policies)
{
	struct command command;
};

FIXTURE_SETUP(policies)
{
	life_begin();
}

FIXTURE_TEARDOWN(policies)
{
	life_end();
	sh("rm -f " FLAT_IMAGE);
}

/* Of the event at its end: accesses to ports that went to the runner. */
static long ports_to_runner(const struct command *command)
{
	const char *event = strstr(command->err, "\"exits_to_runner\":");
	const char *pio = event ? strstr(event, "\"pio\":") : NULL;

	return pio ? atol(pio + strlen("\"pio\":")) : event ? 0 : -1;
}

TEST_F(policies, cpuid)
{
	run_free(&guest_brand);
	EXPECT_EQ(NULL, strstr(self->command.out, "A processor of"));
	run_under("cpuid", &guest_brand);
	EXPECT_EQ(STATUS_RESET, self->command.status) TH_LOG("%s", self->command.err);
	EXPECT_NE(NULL, strstr(self->command.out, "A processor of")) TH_LOG("%s", self->command.out);
}

TEST_F(policies, msr_list)
{
	run_free(&guest_msrs);
	EXPECT_NE(NULL, strstr(self->command.out, "....")) TH_LOG("%s", self->command.out);
	run_under("msr_list", &guest_msrs);
	EXPECT_EQ(STATUS_RESET, self->command.status) TH_LOG("%s", self->command.err);
	EXPECT_NE(NULL, strstr(self->command.out, "..G.G.")) TH_LOG("%s", self->command.out);
}

/* Some go through, as many as were saved up at least, and the guest is through at once. */
TEST_F(policies, limit)
{
	run_under("limit", &guest_busy);
	EXPECT_EQ(STATUS_RESET, self->command.status) TH_LOG("%s", self->command.err);
	EXPECT_LE(200, ports_to_runner(&self->command));
	EXPECT_GT(90000, ports_to_runner(&self->command)) TH_LOG("%s", self->command.err);
}

/* The program prints what was written, and the machine what it has made of it. */
TEST_F(policies, sniff)
{
	run_under("sniff", &guest_hello);
	EXPECT_EQ(STATUS_RESET, self->command.status) TH_LOG("%s", self->command.err);
	for (const char *c = "helloHELLO"; *c; c++)
		EXPECT_NE(NULL, strchr(self->command.out, *c)) TH_LOG("%s", self->command.out);
	EXPECT_LE(6, ports_to_runner(&self->command));
}

/* Nothing of it gets to the runner: but for the reset. */
TEST_F(policies, serial)
{
	run_under("serial", &guest_hello);
	EXPECT_EQ(STATUS_RESET, self->command.status) TH_LOG("%s", self->command.err);
	EXPECT_STREQ("hello\n", self->command.out);
	EXPECT_EQ(1, ports_to_runner(&self->command)) TH_LOG("%s", self->command.err);
	if (!is_long_run())
		return;
	/* Linux takes it for a serial port, and writes its log there, to where it finds no file system. */
	command_run(&self->command, "mote policy run serial.bpf.o -- mote run --json --memory 256M "
		    "--append 'console=ttyS0 panic=-1' ../boot/vmlinuz < /dev/null > /tmp/log");
	EXPECT_EQ(STATUS_RESET, self->command.status) TH_LOG("%s", self->command.err);
	EXPECT_EQ(0, sh("grep -q 'Linux version' /tmp/log && grep -q 'Unable to mount root' /tmp/log"));
	EXPECT_GT(5000, ports_to_runner(&self->command)) TH_LOG("%s", self->command.err);
}

/* Who waits by it does not get to the runner for that. */
TEST_F(policies, pm_timer)
{
	run_under("pm_timer", &guest_timer);
	EXPECT_EQ(STATUS_RESET, self->command.status) TH_LOG("%s", self->command.err);
	EXPECT_NE(NULL, strchr(self->command.out, 'P')) TH_LOG("%s", self->command.out);
	EXPECT_GT(10, ports_to_runner(&self->command)) TH_LOG("%s", self->command.err);
}

/* Nor who looks for somebody who types; and two do not stand in each other's way. */
TEST_F(policies, keyboard)
{
	run_under("keyboard.bpf.o pm_timer", &guest_looks);
	EXPECT_EQ(STATUS_RESET, self->command.status) TH_LOG("%s", self->command.err);
	EXPECT_NE(NULL, strchr(self->command.out, 'K')) TH_LOG("%s", self->command.out);
	EXPECT_GT(100, ports_to_runner(&self->command)) TH_LOG("%s", self->command.err);
}

/* Loaded for a machine that runs, it is listed and asked, for that one alone, until it is removed. */
TEST_F(policies, load)
{
	ASSERT_TRUE(vm_start_flat("one", &guest_asks, ""));
	ASSERT_TRUE(vm_start_flat("two", &guest_asks, ""));
	EXPECT_EQ(0, sh("mote policy load one limit.bpf.o && mote policy load --as brand one cpuid.bpf.o"));
	command_run(&self->command, "mote policy list --json");
	EXPECT_STREQ("[{\"name\":\"one\",\"policies\":[\"limit\",\"brand\"]},"
		     "{\"name\":\"two\",\"policies\":[]}]\n", self->command.out);
	command_run(&self->command, "mote policy list");
	EXPECT_NE(NULL, strstr(self->command.out, "limit, brand\n")) TH_LOG("%s", self->command.out);
	EXPECT_COMPLAINT(1, "has a policy of that name", "mote policy load --as brand one sniff.bpf.o");
	EXPECT_COMPLAINT(1, "has no policy of that name", "mote policy remove two brand");
	/* The kernel shows that it is: a program, attached. */
	command_run(&self->command,
		    "grep -l mote_policy /proc/$(cat " RUNTIME_DIR "/one.pid)/fdinfo/* | wc -l");
	EXPECT_EQ(2, atoi(self->command.out));
	EXPECT_EQ(0, sh("mote policy remove one brand"));
	command_run(&self->command, "mote policy list --json");
	EXPECT_NE(NULL, strstr(self->command.out, "\"policies\":[\"limit\"]"));
	EXPECT_EQ(0, sh("mote stop --force one && mote stop --force two"));
	EXPECT_EQ(STATUS_STOPPED, vm_status("one"));
	EXPECT_EQ(STATUS_STOPPED, vm_status("two"));
	/* None has stayed: the module can go. */
	EXPECT_EQ(0, unload_mote());
	EXPECT_EQ(0, sh("modprobe mote"));
}

TEST_F(policies, bad)
{
	EXPECT_COMPLAINT(2, "load, run, list or remove", "mote policy");
	EXPECT_COMPLAINT(2, "there is no lift", "mote policy lift");
	EXPECT_COMPLAINT(2, "wants a VM and a file", "mote policy load one");
	EXPECT_COMPLAINT(2, "wants files, 16 at most, and behind -- a command",
			 "mote policy run cpuid.bpf.o");
	EXPECT_COMPLAINT(2, "wants files", "mote policy run -- true");
	EXPECT_COMPLAINT(2, "unknown option --as", "mote policy list --as x");
	EXPECT_COMPLAINT(2, "cannot read nothing.bpf.o", "mote policy load one nothing.bpf.o");
	EXPECT_COMPLAINT(2, "it is no object file for BPF", "mote policy load one ./policies");
	EXPECT_COMPLAINT(2, "no VM of yours is called one", "mote policy load one cpuid.bpf.o");
	EXPECT_COMPLAINT(2, "no policy: it is built for version 4711",
			 "mote policy run version.bpf.o -- true");
	EXPECT_COMPLAINT(2, "no policy: it has a program that is not in section",
			 "mote policy run kind.bpf.o -- true");
	EXPECT_COMPLAINT(1, "the kernel refuses endless.bpf.o: ", "mote policy run endless.bpf.o -- true");
	EXPECT_COMPLAINT(1, "the kernel refuses beyond.bpf.o: ", "mote policy run beyond.bpf.o -- true");
	EXPECT_COMPLAINT(127, "cannot run /nothing", "mote policy run cpuid.bpf.o -- /nothing");
	EXPECT_EQ(7, sh("mote policy run cpuid.bpf.o -- sh -c 'exit 7'"));
	EXPECT_EQ(0, unload_mote());
	EXPECT_COMPLAINT(1, "modprobe mote", "mote policy run cpuid.bpf.o -- true");
	EXPECT_EQ(0, sh("modprobe mote"));
}

MOTE_TEST_MAIN
