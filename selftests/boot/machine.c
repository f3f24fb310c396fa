// SPDX-License-Identifier: GPL-2.0
/* mote run: the machine, by guests of a few instructions in real mode. */
#include <json-c/json.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "kselftest_harness.h"
#include "boot.h"

/* Write AX to the debug-exit port, by its low byte. */
#define EXIT "out %al, $0xf4\n"
#define EXIT_WITH(value) "mov $" #value ", %al\n" EXIT

/* The guest ends with this status. */
#define EXPECT_FLAT(wanted, code, options)						\
	do {										\
		struct command command;							\
											\
		run_flat(&command, code, "", options);					\
		EXPECT_EQ(wanted, command.status) TH_LOG("%s", command.err);		\
	} while (0)

GUEST(exit_8, 16, EXIT_WITH(0x12));
GUEST(exit_16, 16, "mov $0x0134, %ax; out %ax, $0xf4");
GUEST(exit_32, 16, "mov $0x01000056, %eax; out %eax, $0xf4");

/* The status is QEMU's, whatever the width. */
TEST(debug_exit)
{
	struct command command;

	run_flat(&command, &guest_exit_8, "", "");
	EXPECT_EQ(STATUS_DEBUG(0x12), command.status) TH_LOG("%s", command.err);
	EXPECT_STREQ("", command.err);
	run_flat(&command, &guest_exit_16, "", "");
	EXPECT_EQ(STATUS_DEBUG(0x134), command.status);
	run_flat(&command, &guest_exit_32, "", "");
	EXPECT_EQ(STATUS_DEBUG(0x56), command.status);
}

GUEST(pulse, 16, "mov $0xfe, %al; out %al, $0x64; hlt");
GUEST(control, 16, "mov $0xcf9, %dx; mov $2, %al; out %al, %dx; mov $6, %al; out %al, %dx; hlt");
GUEST(fast, 16, "in $0x92, %al; or $1, %al; out %al, $0x92; hlt");
GUEST(sleep_5, 16, "mov $0x604, %dx; mov $0x3400, %ax; out %ax, %dx; hlt");

TEST(reset_and_power_off)
{
	static const struct guest_code *const resets[] = {
		&guest_pulse, &guest_control, &guest_fast,
	};
	struct command command;

	for (size_t i = 0; i < 3; i++) {
		run_flat(&command, resets[i], "", "");
		EXPECT_EQ(STATUS_RESET, command.status) TH_LOG("%zu: %s", i, command.err);
		EXPECT_NE(NULL, strstr(command.err, "has reset"));
	}
	run_flat(&command, &guest_sleep_5, "", "");
	EXPECT_EQ(0, command.status);
	EXPECT_STREQ("", command.err);
}

#define HYPERCALL(insn) "mov $-1, %eax; " insn "; cmp $-1000, %eax; jne 1f\n" EXIT_WITH(1) "1:" EXIT_WITH(2)

GUEST(vmcall, 16, HYPERCALL("vmcall"));
GUEST(vmmcall, 16, HYPERCALL("vmmcall"));

/* One that is not there has the answer of KVM's interface; the machine goes on. */
TEST(unknown_hypercall)
{
	EXPECT_FLAT(STATUS_DEBUG(1),
		    mote_cpuid_vendor() == MOTE_VENDOR_VMX ? &guest_vmcall : &guest_vmmcall, "");
}

/* An empty interrupt table: the first fault has no handler, nor have the others. */
GUEST(triple, 16, "mov $0x1234, %cx; push $0; push $0; push $0; mov %sp, %bp; lidt (%bp); ud2");

TEST(triple_fault)
{
	struct command command;

	if (host_is_trinity())
		SKIP(return, "not on this hardware: Bochs panics at a guest's triple fault");
	run_flat(&command, &guest_triple, "", "");
	EXPECT_EQ(STATUS_TRIPLE_FAULT, command.status);
	EXPECT_NE(NULL, strstr(command.err, "triple fault of vCPU 0")) TH_LOG("%s", command.err);
	EXPECT_NE(NULL, strstr(command.err, "rcx 0000000000001234"));
	EXPECT_NE(NULL, strstr(command.err, "=> ")) TH_LOG("%s", command.err);
	EXPECT_NE(NULL, strstr(command.err, "ud2")) TH_LOG("%s", command.err);
}

/* Ready (DTR); read until a newline, write it changed: bit 5 set makes lower case. */
GUEST(echo, 16, "mov $0x3fc, %dx; mov $3, %al; out %al, %dx\n"
      "1: mov $0x3fd, %dx; in %dx, %al; test $1, %al; jz 1b; mov $0x3f8, %dx; in %dx, %al\n"
      "mov %al, %bl; cmp $10, %al; je 2f; or $0x20, %al\n"
      "2: out %al, %dx; mov $0x3fd, %dx; 3: in %dx, %al; test $0x20, %al; jz 3b\n"
      "cmp $10, %bl; jne 1b\n" EXIT_WITH(0));

/* Until the shell finds that @condition holds of what it has said, in the files out and err. */
static void run_flat_until(struct command *command, const struct guest_code *code, const char *pipe,
			   const char *arguments, const char *condition)
{
	write_flat(code);
	command_run(command, "%s mote run --flat --timeout 7000 %s " FLAT_IMAGE " > out 2> err & "
		    "until %s || ! kill -0 $!; do sleep 0.1; done; kill $!; wait $!; status=$?; "
		    "cat out; cat err >&2; rm out err; exit $status", pipe, arguments, condition);
	unlink(FLAT_IMAGE);
}

TEST(serial_port)
{
	struct command command;

	run_flat(&command, &guest_echo, "printf 'HELLO WORLD THIS IS LONGER THAN A FIFO\\n' |", "");
	EXPECT_EQ(1, command.status);
	EXPECT_STREQ("hello world this is longer than a fifo\n", command.out);
	/* From a file, which epoll does not know. */
	ASSERT_EQ(0, sh("echo FILE > input"));
	run_flat(&command, &guest_echo, "< input", "");
	EXPECT_STREQ("file\n", command.out);
	unlink("input");
	/* An end of the input is no input: the guest waits, and nothing spins. */
	run_flat_until(&command, &guest_echo, "printf END |", "", "[ \"$(cat out)\" = end ] && sleep 1");
	EXPECT_EQ(128 + SIGTERM, command.status);
	EXPECT_STREQ("end", command.out);
	run_flat(&command, &guest_echo, "printf 'NONE\\n' |", "--serial none --timeout 0.2");
	EXPECT_EQ(STATUS_TIMEOUT, command.status);
	EXPECT_STREQ("", command.out);
}

/* In a loop, with neither DTR nor FIFO: the second character overruns the first. */
GUEST(overrun, 16, "mov $0x3fc, %dx; mov $0x10, %al; out %al, %dx; mov $0x3f8, %dx; out %al, %dx\n"
      "mov $0x42, %al; out %al, %dx; mov $0x3fd, %dx; in %dx, %al; and $3, %al; mov %al, %bl\n"
      "mov $0x3f8, %dx; in %dx, %al; add %bl, %al\n" EXIT);

TEST(serial_loop)
{
	EXPECT_FLAT(STATUS_DEBUG(0x45), &guest_overrun, "");
}

/* 64 KiB of output, to a reader who is slow at first: nothing is lost. */
GUEST(flood, 16, "xor %cx, %cx; 1: mov $0x3fd, %dx; 2: in %dx, %al; test $0x20, %al; jz 2b\n"
      "mov $0x78, %al; mov $0x3f8, %dx; out %al, %dx; loop 1b\n" EXIT_WITH(0));

FIXTURE(slow)
{
	struct command command;
};

FIXTURE_SETUP(slow)
{
}

FIXTURE_TEARDOWN(slow)
{
}

TEST_F(slow, reader)
{
	write_flat(&guest_flood);
	command_run(&self->command, "mote run --flat --timeout 7000 " FLAT_IMAGE
		    " < /dev/null | (sleep 1; wc -c)");
	unlink(FLAT_IMAGE);
	EXPECT_EQ(65536, atoi(self->command.out));
}

#define PIC_INIT								\
	"mov $0x11, %al; out %al, $0x20; mov $0x20, %al; out %al, $0x21\n"	\
	"mov $4, %al; out %al, $0x21; mov $1, %al; out %al, $0x21; mov $0xfe, %al; out %al, $0x21\n"
/* Channel 0, mode 2, 1193 ticks: a thousand times a second. */
#define PIT_INIT "mov $0x34, %al; out %al, $0x43; mov $0xa9, %al; out %al, $0x40; mov $4, %al; out %al, $0x40\n"

/* Vector 0x20 counts in BX; after 50 of them it is over. */
GUEST(tick, 16, "jmp 1f; 2: inc %bx; mov $0x20, %al; out %al, $0x20; iret; 1: xor %ax, %ax; mov %ax, %ds\n"
      "movw $0x7c02, 0x80; mov %ax, 0x82; xor %bx, %bx\n" PIC_INIT PIT_INIT
      "3: sti; hlt; cmp $50, %bx; jb 3b\n" EXIT_WITH(0x21));
/* The same without HLT: an interrupt gets to who runs. */
GUEST(spin, 16, "jmp 1f; 2: inc %bx; mov $0x20, %al; out %al, $0x20; iret; 1: xor %ax, %ax; mov %ax, %ds\n"
      "movw $0x7c02, 0x80; mov %ax, 0x82; xor %bx, %bx\n" PIC_INIT PIT_INIT
      "sti; 3: cmp $50, %bx; jb 3b\n" EXIT_WITH(0x21));

TEST(timer_by_8259)
{
	EXPECT_FLAT(STATUS_DEBUG(0x21), &guest_tick, "");
	EXPECT_FLAT(STATUS_DEBUG(0x21), &guest_spin, "");
}

/* Channel 2 in mode 0: its output is low at first, and high when it has counted down. */
GUEST(speaker, 16, "in $0x61, %al; and $0xfc, %al; or $1, %al; out %al, $0x61\n"
      "mov $0xb0, %al; out %al, $0x43; mov $0xff, %al; out %al, $0x42; out %al, $0x42\n"
      "in $0x61, %al; mov %al, %bl; 1: in $0x61, %al; test $0x20, %al; jz 1b\n"
      "mov %bl, %al; and $0x20, %al\n" EXIT);

TEST(speaker_channel)
{
	EXPECT_FLAT(STATUS_DEBUG(0), &guest_speaker, "");
}

/* Its gate is low: two looks at the count are alike, which is loaded (NULL COUNT is 0). */
GUEST(gate, 16, "in $0x61, %al; and $0xfc, %al; out %al, $0x61\n"
      "mov $0xb0, %al; out %al, $0x43; out %al, $0x42; out %al, $0x42; mov $0xc8, %al; out %al, $0x43\n"
      "in $0x42, %al; mov %al, %bl; in $0x42, %al; mov %al, %cl; in $0x42, %al; mov $100, %dx\n"
      "1: in $0x80, %al; dec %dx; jnz 1b; mov $0x80, %al; out %al, $0x43; in $0x42, %al\n"
      "sub %cl, %al; add %bl, %al\n" EXIT);

TEST(gate_of_speaker_channel)
{
	EXPECT_FLAT(STATUS_DEBUG(0x30), &guest_gate, "");
}

/* Five hundred ticks at a hundred a second, from a newline on: are they over in 5.5 s of ACPI's clock? */
GUEST(count_ticks, 16, "jmp 1f; 2: inc %bx; mov $0x20, %al; out %al, $0x20; iret\n"
      "1: xor %ax, %ax; mov %ax, %ds; movw $0x7c02, 0x80; mov %ax, 0x82; xor %bx, %bx\n" PIC_INIT
      "mov $0x34, %al; out %al, $0x43; mov $0x9c, %al; out %al, $0x40; mov $0x2e, %al; out %al, $0x40\n"
      "mov $0x3f8, %dx; mov $10, %al; out %al, %dx; mov $0x608, %dx; in %dx, %eax; mov %eax, %ecx\n"
      "3: sti; hlt; cmp $500, %bx; jb 3b; in %dx, %eax; sub %ecx, %eax; cmp $19687497, %eax\n"
      "setb %al\n" EXIT);

/* What comes due while the machine stands still is made up for. */
TEST(lost_ticks)
{
	struct command command;

	write_flat(&guest_count_ticks);
	command_run(&command, "mote run --flat --timeout 7000 " FLAT_IMAGE " < /dev/null > ticks & "
		    "while [ ! -s ticks ]; do sleep 0.1; done; kill -STOP $!; sleep 1; kill -CONT $!; wait $!");
	EXPECT_EQ(STATUS_DEBUG(1), command.status) TH_LOG("%s", command.err);
	unlink("ticks");
	unlink(FLAT_IMAGE);
}

/* An 8259 that is alone has no ICW3: its mask follows. */
GUEST(single, 16, "mov $0x13, %al; out %al, $0x20; mov $0x20, %al; out %al, $0x21\n"
      "mov $1, %al; out %al, $0x21; mov $0x25, %al; out %al, $0x21; xor %al, %al; in $0x21, %al\n" EXIT);

TEST(single_8259)
{
	EXPECT_FLAT(STATUS_DEBUG(0x25), &guest_single, "");
}

/* The 8042's output port: not in reset, and A20 open. */
GUEST(output_port, 16, "mov $0xd0, %al; out %al, $0x64; 1: in $0x64, %al; test $1, %al; jz 1b\n"
      "in $0x60, %al; and $0x33, %al\n" EXIT);

TEST(keyboard_controller)
{
	EXPECT_FLAT(STATUS_DEBUG(3), &guest_output_port, "");
}

/* The clock's year, and memory beyond 16 MiB in units of 64 KiB. */
GUEST(cmos, 16, "mov $9, %al; out %al, $0x70; in $0x71, %al; cmp $0x26, %al; jb 1f\n"
      "mov $0x35, %al; out %al, $0x70; in $0x71, %al; 1:" EXIT);

#define CMOS(index) "mov $" #index ", %al; out %al, $0x70; in $0x71, %al\n"

/* Wait for an update to begin and to end: it has set its flag, without an interrupt. */
GUEST(update, 16, "1:" CMOS(10) "test $0x80, %al; jz 1b; 2:" CMOS(10) "test $0x80, %al; jnz 2b\n"
      CMOS(12) "and $0x90, %al\n" EXIT);

TEST(real_time_clock)
{
	EXPECT_FLAT(STATUS_DEBUG(0x10), &guest_update, "");
	EXPECT_FLAT(STATUS_DEBUG(0x10), &guest_cmos, "--memory 272M");
}

#define SELECT(item) "mov $0x510, %dx; mov $" #item ", %ax; out %ax, %dx; inc %dx\n"

/* The signature's first byte less 'Q', and the number of processors. */
GUEST(fw_cfg, 16, SELECT(0) "in %dx, %al; sub $0x51, %al; mov %al, %bl\n"
      SELECT(5) "in %dx, %al; add %bl, %al\n" EXIT);
/* The memory, 8 bytes: the fourth; and how many files there are, the most significant byte first. */
GUEST(fw_cfg_memory, 16, SELECT(3) "in %dx, %al; in %dx, %al; in %dx, %al; in %dx, %al; mov %al, %bl\n"
      SELECT(0x19) "in %dx, %al; in %dx, %al; in %dx, %al; in %dx, %al; add %bl, %al\n" EXIT);

TEST(fw_cfg)
{
	EXPECT_FLAT(STATUS_DEBUG(3), &guest_fw_cfg, "--cpus 3");
	EXPECT_FLAT(STATUS_DEBUG(0x20 + 1), &guest_fw_cfg_memory, "--memory 512M");
}

/* The port takes both events; it is the first one that counts. */
GUEST(panic, 16, "mov $0x505, %dx; in %dx, %al; cmp $3, %al; jne 1f; mov $1, %al; out %al, %dx; "
      "hlt; 1:" EXIT_WITH(1));
GUEST(crash, 16, "mov $0x505, %dx; mov $2, %al; mov $1000, %cx; 1: out %al, %dx; loop 1b;" EXIT_WITH(5));

TEST(panic)
{
	struct command command;

	run_flat(&command, &guest_panic, "", "");
	EXPECT_EQ(STATUS_PANIC, command.status);
	EXPECT_STREQ("mote: flat.bin: the guest has panicked\n", command.err);
	run_flat(&command, &guest_panic, "", "--json");
	EXPECT_NE(NULL, strstr(command.err, "\"reason\":\"panic\",\"status\":12"));
	run_flat_until(&command, &guest_panic, "", "--json --restart", "grep -q '\"why\":\"panic\"' err");
	EXPECT_EQ(128 + SIGTERM, command.status) TH_LOG("%s", command.err);
	/* Another kernel takes over; that is said once. */
	run_flat(&command, &guest_crash, "", "");
	EXPECT_EQ(STATUS_DEBUG(5), command.status);
	EXPECT_STREQ("mote: flat.bin: the guest has panicked, and its crash kernel takes over\n",
		command.err);
}

#define CONFIG(at) "mov $0xcf8, %dx; mov $" #at ", %eax; out %eax, %dx; mov $0xcfc, %dx\n"
#define RELOAD(value) "movw $" #value ", 12(%ebx)\n"
#define UNLOCK RELOAD(0x80) RELOAD(0x86)

/*
 * With a flat data segment: the watchdog in slot 3, behind the chipset's and virtio-rng's, if it is
 * one, with the shortest stages, enabled at 1 MHz; then nothing.  If it is known why this machine began,
 * it is over.
 */
GUEST(watchdog, 16, "jmp 1f; 2: .quad 0, 0x00cf93000000ffff; 3: .word 15; .long 0x7c02\n"
      "1: xor %ax, %ax; mov %ax, %ds; lgdt 0x7c12; mov %cr0, %eax; inc %ax; mov %eax, %cr0\n"
      "mov $8, %ax; mov %ax, %ds\n" CONFIG(0x80001800) "in %dx, %eax; cmp $0x25ab8086, %eax; "
      "je 4f\n" EXIT_WITH(1)
      "4:" CONFIG(0x80001810) "in %dx, %eax; and $0xfff0, %ax; mov %eax, %ebx; testw $0x200, 12(%ebx); "
      "jz 5f\n"
      EXIT_WITH(0x16) "5:" CONFIG(0x80001860) "mov $7, %ax; out %ax, %dx\n" UNLOCK "movl $0, (%ebx)\n"
      UNLOCK "movl $0, 4(%ebx)\n" CONFIG(0x80001868) "mov $2, %al; out %al, %dx; 6: sti; hlt; jmp 6b");

TEST(watchdog)
{
	struct command command;

	run_flat(&command, &guest_watchdog, "", "--watchdog");
	EXPECT_EQ(STATUS_WATCHDOG, command.status);
	EXPECT_STREQ("mote: flat.bin: the guest's watchdog has expired\n", command.err);
	run_flat(&command, &guest_watchdog, "", "--watchdog=reset --restart");
	EXPECT_EQ(STATUS_DEBUG(0x16), command.status) TH_LOG("%s", command.err);
	run_flat(&command, &guest_watchdog, "", "--watchdog=end --restart");
	EXPECT_EQ(STATUS_WATCHDOG, command.status);
	run_flat(&command, &guest_watchdog, "", "");
	EXPECT_EQ(STATUS_DEBUG(1), command.status);
}

/* Bytes of what a wider access wrote, at both ports; without --testdev nobody is there. */
GUEST(test_ports, 16, "mov $0x01234567, %eax; out %eax, $0xe0; in $0xe2, %al; mov %al, %bl\n"
      "mov $0x10203040, %eax; out %eax, $0xe8; mov $0x44, %al; out %al, $0xe9; in $0xe8, %eax\n"
      "cmp $0x10204440, %eax; jne 1f; mov %bl, %al;" EXIT "1:" EXIT_WITH(1));
/* Line 3 interrupts by the 8259, once for each edge. */
GUEST(test_lines, 16, "jmp 1f; 2: inc %bx; mov $0x20, %al; out %al, $0x20; iret; 1: xor %ax, %ax; "
      "mov %ax, %ds\n"
      "movw $0x7c02, 0x8c; mov %ax, 0x8e; xor %bx, %bx\n" PIC_INIT "mov $0xf7, %al; out %al, $0x21; sti\n"
      "mov $0x2003, %dx; mov $1, %al; out %al, %dx; nop; out %al, %dx; xor %al, %al; out %al, %dx; nop\n"
      "inc %al; out %al, %dx; nop; nop; mov %bl, %al\n" EXIT);
/* With a flat data segment: a page keeps what it holds, and device memory what is written to it. */
GUEST(test_memory, 16, "jmp 1f; 2: .quad 0, 0x00cf93000000ffff; 3: .word 15; .long 0x7c02\n"
      "1: xor %ax, %ax; mov %ax, %ds; lgdt 0x7c12; mov %cr0, %eax; inc %ax; mov %eax, %cr0\n"
      "mov $8, %ax; mov %ax, %ds; movl $0x13572468, 0x9ffc; mov $0x9123, %eax; out %eax, $0xe4\n"
      "cmpl $0x13572468, 0x9ffc; jne 4f; mov $0xff00fff8, %ebx; movl $0x89abcdef, (%ebx)\n"
      "incb 1(%ebx); cmpl $0x89abceef, (%ebx); jne 4f; mov $0xff000000, %ebx; movb $0x5a, (%ebx)\n"
      "mov (%ebx), %al;" EXIT
      "4:" EXIT_WITH(1));

TEST(test_devices)
{
	EXPECT_FLAT(STATUS_DEBUG(0x23), &guest_test_ports, "--testdev");
	EXPECT_FLAT(STATUS_DEBUG(1), &guest_test_ports, "");
	EXPECT_FLAT(STATUS_DEBUG(2), &guest_test_lines, "--testdev");
	EXPECT_FLAT(STATUS_DEBUG(0), &guest_test_lines, "");
	EXPECT_FLAT(STATUS_DEBUG(0x5a), &guest_test_memory, "--testdev");
}

/* Clear a range of MSRs; whatever then is not 0 is in EBX. */
#define CLEAR(first, last)							\
	"mov $" #first ", %ecx; 1: xor %eax, %eax; xor %edx, %edx; wrmsr; rdmsr\n"	\
	"or %eax, %ebx; or %edx, %ebx; inc %ecx; cmp $" #last ", %ecx; jbe 1b\n"

/* Both vendors' performance counters: Intel's general and fixed ones, AMD's old and new. */
GUEST(counters, 16, "xor %ebx, %ebx\n" CLEAR(0xc1, 0xc8) CLEAR(0x186, 0x18d) CLEAR(0x309, 0x30b)
      CLEAR(0x38d, 0x390) CLEAR(0xc0010000, 0xc0010007) CLEAR(0xc0010200, 0xc001020b)
      "test %ebx, %ebx; setnz %al; add $0x11, %al\n" EXIT);

TEST(performance_counters_reset)
{
	EXPECT_FLAT(STATUS_DEBUG(0x11), &guest_counters, "");
}

#define APIC_BASE(change) "mov $0x1b, %ecx; rdmsr; " change ", %ax; wrmsr\n"
#define X2APIC APIC_BASE("or $0x800") APIC_BASE("or $0x400")
#define X2APIC_WRITE(msr, value) "mov $" #msr ", %ecx; mov $" #value ", %eax; xor %edx, %edx; wrmsr\n"

/* Off and on again, twice: then it is as after a reset, and its interrupts arrive. */
GUEST(apic_again, 16, "jmp 1f; 2:" EXIT_WITH(0x33) "1: xor %ax, %ax; mov %ax, %ds; movw $0x7c02, 0xc0\n"
      "mov %ax, 0xc2; mov $2, %bx; 3:\n" X2APIC X2APIC_WRITE(0x80f, 0x1ff) APIC_BASE("and $0xf3ff")
      "dec %bx; jnz 3b\n" X2APIC "mov $0x80f, %ecx; rdmsr; cmp $0xff, %eax; jne 4f\n"
      X2APIC_WRITE(0x80f, 0x1ff) X2APIC_WRITE(0x83f, 0x30) "sti; nop; nop; 4:" EXIT_WITH(1));

TEST(local_apic_off_and_on)
{
	EXPECT_FLAT(STATUS_DEBUG(0x33), &guest_apic_again, "");
}

/* INIT and SIPI to all but the sender: each of them adds one, by way of a far jump at 0x7000. */
GUEST(processors, 16, "jmp 1f; 2: xor %ax, %ax; mov %ax, %ds; lock incb 0x500; 3: cli; hlt; jmp 3b\n"
      "1: xor %ax, %ax; mov %ax, %ds; mov %al, 0x500; movl $0x007c02ea, 0x7000; mov %al, 0x7004\n"
      X2APIC X2APIC_WRITE(0x830, 0xc4500) X2APIC_WRITE(0x830, 0xc4607) X2APIC_WRITE(0x830, 0xc4607)
      "4: pause; cmpb $0, 0x500; je 4b; mov $0xffff, %cx; 5: in $0x80, %al; pause; cmpb $3, 0x500; loopne 5b\n"
      "mov 0x500, %al\n" EXIT);

TEST(init_and_sipi_of_all)
{
	EXPECT_FLAT(STATUS_DEBUG(3), &guest_processors, "--cpus 4");
}

/* Memory is there from address 0 on, to the last byte below 640 KiB, and is its own. */
GUEST(low_memory, 16, "xor %ax, %ax; mov %ax, %ds; mov $0x9000, %ax; mov %ax, %es\n"
      "movl $0x12345678, 0; movl $0x9abcdef0, %es:0xfffc; cmpl $0x12345678, 0; jne 1f\n"
      "cmpl $0x9abcdef0, %es:0xfffc; jne 1f\n" EXIT_WITH(0x44) "1:" EXIT_WITH(1));

TEST(memory_starts_at_0)
{
	EXPECT_FLAT(STATUS_DEBUG(0x44), &guest_low_memory, "");
}

TEST(json)
{
	struct json_object *root, *value;
	struct command command;

	run_flat(&command, &guest_exit_8, "", "--json --name a-name");
	/* The first line says that it starts. */
	EXPECT_EQ(0, strncmp(command.err, "{\"event\":\"start\",", 17)) TH_LOG("%s", command.err);
	root = json_tokener_parse(strchr(command.err, '{') ? strchr(command.err, '\n') : "");
	ASSERT_NE(NULL, root);
	ASSERT_TRUE(json_object_object_get_ex(root, "reason", &value));
	EXPECT_STREQ("debug-exit", json_object_get_string(value));
	ASSERT_TRUE(json_object_object_get_ex(root, "name", &value));
	EXPECT_STREQ("a-name", json_object_get_string(value));
	ASSERT_TRUE(json_object_object_get_ex(root, "status", &value));
	EXPECT_EQ(command.status, json_object_get_int(value));
	json_object_put(root);
}

GUEST(idle, 16, "cli; hlt");
/* With IF set, as Bochs holds back the interrupts of the host otherwise. */
GUEST(busy, 16, "sti; jmp .");

/* What ends a VM from outside ends it, whatever the guest does. */
TEST(signals_and_time)
{
	struct command command;

	write_flat(&guest_idle);
	command_run(&command, "mote run --flat --cpus 4 " FLAT_IMAGE " & sleep 1; kill $!; wait $!");
	EXPECT_EQ(128 + SIGTERM, command.status) TH_LOG("%s", command.err);
	command_run(&command, "mote run --flat " FLAT_IMAGE " & sleep 1; kill -HUP $!; wait $!");
	EXPECT_EQ(128 + SIGHUP, command.status) TH_LOG("%s", command.err);
	unlink(FLAT_IMAGE);
	run_flat(&command, &guest_busy, "", "--timeout 0.5 --cpus 2");
	EXPECT_EQ(STATUS_TIMEOUT, command.status);
	EXPECT_NE(NULL, strstr(command.err, "time limit"));
}

MOTE_TEST_MAIN
