// SPDX-License-Identifier: GPL-2.0
/*
 * What a debugger wants of a vCPU (MOTE_SET_DEBUG), and what libmote makes of it: breakpoints,
 * watchpoints and steps, of which the guest sees nothing.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <debug.h>

#include "expect.h"
#include "mode_fixture.h"
#include "x2apic.h"

#define TF 0x100u

static void want(struct guest *guest, __u32 exceptions, __u32 flags)
{
	const struct mote_debug debug = { .exceptions = exceptions, .flags = flags };

	if (mote_set_debug(guest->cpu.fd, &debug)) {
		ksft_print_msg("MOTE_SET_DEBUG is refused\n");
		exit(KSFT_FAIL);
	}
}

/* ---- exceptions ------------------------------------------------------------------- */

GUEST_ALL(ud, "ud2; hlt");
GUEST_ALL(bp, "int3; hlt");
GUEST(pf, 64, "mov 0x800123, %al; hlt");

/* The exception ends the run, and then the guest has it, with the frame that it always has. */
TEST_MODE(exceptions_go_on_to_the_guest)
{
	struct mote_run *run = self->guest.run;
	struct guest_frame frame;

	guest_start(&self->guest, variant->mode, GUEST_FOR(ud, variant->mode));
	want(&self->guest, 1u << 6, 0);
	ASSERT_EQ(MOTE_EXIT_EXCEPTION, guest_run(&self->guest));
	EXPECT_EQ(6, run->exception.vector);
	EXPECT_EQ(GUEST_CODE, run->rip);
	ASSERT_EQ(MOTE_EXIT_PIO, guest_run(&self->guest));
	ASSERT_TRUE(guest_frame(&self->guest, variant->mode, &frame));
	EXPECT_EQ(6, frame.vector);
	EXPECT_EQ(GUEST_CODE, frame.rip);
	/* Without a debugger it is the guest's at once. */
	guest_resume(&self->guest, variant->mode, GUEST_CODE);
	want(&self->guest, 0, 0);
	ASSERT_EQ(MOTE_EXIT_PIO, guest_run(&self->guest));
	EXPECT_TRUE(guest_frame(&self->guest, variant->mode, &frame));
}

TEST_MODE(int3)
{
	struct mote_run *run = self->guest.run;
	struct mote_debugged debugged;
	struct guest_frame frame;

	if (host_is_tcg())
		SKIP(return, "not on this hardware: QEMU does not know the intercept of #BP");
	for (int i = 0; i < 2; i++) {
		guest_start(&self->guest, variant->mode, GUEST_FOR(bp, variant->mode));
		ASSERT_EQ(0, mote_debug_begin(&debugged, &self->guest.cpu, 1u << 3));
		ASSERT_EQ(MOTE_EXIT_EXCEPTION, guest_run(&self->guest));
		EXPECT_EQ(3, run->exception.vector);
		EXPECT_EQ(GUEST_CODE + 1, run->rip);
		if (i)
			break;
		ASSERT_EQ(MOTE_EXIT_PIO, guest_run(&self->guest));
		ASSERT_TRUE(guest_frame(&self->guest, variant->mode, &frame));
		EXPECT_EQ(3, frame.vector);
		EXPECT_EQ(GUEST_CODE + 1, frame.rip);
	}
	/* One that the debugger has set. */
	self->guest.ram[GUEST_CODE] = 0xf4;
	ASSERT_EQ(0, mote_debug_take(&debugged, GUEST_CODE));
	guest_run(&self->guest);
	EXPECT_TRUE(mode_is_over(&self->guest, variant->mode));
}

TEST(page_fault)
{
	struct guest_frame frame;
	struct mote_state state;
	struct guest guest;

	guest_create(&guest);
	guest_start(&guest, GUEST_LONG, &guest_pf);
	guest_unmap(&guest, 0x800000);
	want(&guest, 1u << 14, 0);
	ASSERT_EQ(MOTE_EXIT_EXCEPTION, guest_run(&guest));
	EXPECT_EQ(14, guest.run->exception.vector);
	EXPECT_EQ(0, guest.run->exception.error);
	guest_get(&guest, &state, MOTE_STATE_CRS | MOTE_STATE_EVENTS);
	EXPECT_EQ(0x800123, state.crs.cr2);
	EXPECT_EQ(14, state.events.injected.vector);
	EXPECT_EQ(0, state.events.nmi_blocked);
	ASSERT_EQ(MOTE_EXIT_PIO, guest_run(&guest));
	ASSERT_TRUE(guest_frame(&guest, GUEST_LONG, &frame));
	EXPECT_EQ(14, frame.vector);
	guest_destroy(&guest);
}

/* ---- steps ------------------------------------------------------------------------ */

#define STEPS_MOST 300
#define NO_STEPS "not on this hardware: Bochs ends when a guest of this processor is stepped"

/* Step once; false: the guest is at its end. */
static bool step(struct mote_debugged *debugged, struct guest *guest, unsigned char *ports, int *nr_ports)
{
	int err = mote_step_begin(debugged);

	while (!err) {
		int reason = guest_run(guest);

		if (reason == MOTE_EXIT_EXCEPTION)
			err = mote_step_exit(debugged);
		else if (reason == MOTE_EXIT_DR)
			err = mote_debug_mov_dr(debugged);
		else if (reason == MOTE_EXIT_PIO && *nr_ports < STEPS_MOST)
			ports[(*nr_ports)++] = guest->run->pio.port;
		else if (reason != MOTE_EXIT_PIO)
			return false;
	}
	if (err != MOTE_STEPPED) {
		ksft_print_msg("a step has failed: %d\n", err);
		exit(KSFT_FAIL);
	}
	guest->run->reason = MOTE_EXIT_NONE;
	return true;
}

#define EVERYWHERE							\
	"mov $3, %cl; 1: dec %cl; jnz 1b; int3; cpuid\n"		\
	"out %al, $0x80; mov $4, %ecx; mov $GUEST_DATA, %edi; rep stosb\n" \
	"in $0x81, %al; mov $0, %al; mul %al\n"

GUEST_ALL(everywhere, EVERYWHERE "out %al, $0x99\n");
/* But in virtual-8086 mode. */
GUEST_ALL(flags, "pushf; pushf; popf; int $0x42; pushf; out %al, $0x99\n");
GUEST(into16, 16, "mov $0x7f, %al; into; inc %al; into; into; mov $0, %al; add %al, %al; out %al, $0x99\n");
GUEST(into32, 32, "mov $0x7f, %al; into; inc %al; into; into; mov $0, %al; add %al, %al; out %al, $0x99\n");
GUEST(long_mode, 64, "sti; nop; mov %rsp, %rax; mov %ss, %ecx\n"
      "push %rcx; push %rax; pushf; mov %cs, %edx; push %rdx; lea 2f(%rip), %rbx; push %rbx; iretq\n"
      "2: cli; pushf; orl $0x100, (%rsp); popf; nop; pushf; andl $~0x100, (%rsp); popf\n"
      "mov %rsp, %rax; mov %ss, %ecx; push %rcx; push %rax; pushf; orl $0x100, (%rsp); push %rdx\n"
      "lea 3f(%rip), %rbx; push %rbx; iretq\n"
      "3: nop; pushf; andl $~0x100, (%rsp); popf\n"
      "mov %dr7, %rax; mov %dr6, %rbx; mov %rax, %dr0; pushf; mov %ss, %ecx; mov %ecx, %ss; nop\n"
      "ud2; out %al, $0x99\n");

/* From its start to port 0x99; @debugged: step by step.  Returns how many steps. */
static int run_to_end(struct guest *guest, enum guest_mode mode, const struct guest_code *code,
		      struct mote_debugged *debugged, unsigned char *ports, int *nr_ports)
{
	int steps = 0;

	memset(guest->ram, 0, GUEST_SIZE);
	guest_start(guest, mode, code);
	for (*nr_ports = 0; steps < STEPS_MOST && *nr_ports < STEPS_MOST; steps++) {
		int before = *nr_ports;

		if (debugged && !step(debugged, guest, ports, nr_ports))
			break;
		if (!debugged && guest_run(guest) != MOTE_EXIT_PIO)
			break;
		if (!debugged)
			ports[(*nr_ports)++] = guest->run->pio.port;
		if (*nr_ports > before && ports[before] == 0x99)
			return steps;
		if (*nr_ports > before && ports[before] == GUEST_FAULT)
			mode_skip_ud2(guest);
	}
	return -1;
}

static void compare(struct __test_metadata *_metadata, struct guest *guest, enum guest_mode mode,
		    const struct guest_code *code)
{
	unsigned char ports[2][STEPS_MOST], *ram = malloc(GUEST_SIZE);
	struct mote_state state[2];
	struct mote_debugged debugged;
	int nr[2];
	const __u32 mask = MOTE_STATE_GPRS | MOTE_STATE_SEGS | MOTE_STATE_CRS | MOTE_STATE_DRS |
			   MOTE_STATE_EVENTS;

	ASSERT_LE(0, run_to_end(guest, mode, code, NULL, ports[0], &nr[0])) {
		TH_LOG("free: %s at %llx", guest_exit_name(guest->run->reason), guest->run->rip);
	}
	mode_settle(guest);
	guest_get(guest, &state[0], mask);
	memcpy(ram, guest->ram, GUEST_SIZE);

	ASSERT_EQ(0, mote_debug_begin(&debugged, &guest->cpu, 1u << 1));
	ASSERT_LT(5, run_to_end(guest, mode, code, &debugged, ports[1], &nr[1])) {
		TH_LOG("stepped: %s at %llx", guest_exit_name(guest->run->reason), guest->run->rip);
	}
	ASSERT_EQ(0, mote_debug_end(&debugged));
	guest_get(guest, &state[1], mask);
	EXPECT_EQ(nr[0], nr[1]);
	EXPECT_EQ(0, memcmp(ports[0], ports[1], nr[0]));
	EXPECT_EQ(state[0].drs.dr6, state[1].drs.dr6);
	mode_expect_alike(_metadata, guest, &state[0], &state[1], ram);
	free(ram);
}

/* Stepped or not, a guest does the same, and has the same in its registers and its memory. */
TEST_MODE(steps_are_not_seen)
{
	if (host_is_trinity())
		SKIP(return, NO_STEPS);
	compare(_metadata, &self->guest, variant->mode, GUEST_FOR(everywhere, variant->mode));
	if (variant->mode != GUEST_V8086)
		compare(_metadata, &self->guest, variant->mode, GUEST_FOR(flags, variant->mode));
	if (guest_mode_bits(variant->mode) < 64)
		compare(_metadata, &self->guest, variant->mode,
			guest_mode_bits(variant->mode) == 16 ? &guest_into16 : &guest_into32);
	if (variant->mode == GUEST_LONG)
		compare(_metadata, &self->guest, variant->mode, &guest_long_mode);
}

GUEST(one_by_one, 64, "nop; pushf; mov $0x1234, %eax; cpuid; out %al, $0x80; int3; syscall; ud2");
GUEST(waits, 64, "hlt; nop; hlt");

/* Each step is one instruction. */
TEST(one_by_one)
{
	static const __u64 rips[] = {
		GUEST_CODE + 1, GUEST_CODE + 2, GUEST_CODE + 7, GUEST_CODE + 9, GUEST_CODE + 11,
		GUEST_HANDLERS + 4 * 3, GUEST_HANDLERS + 4 * 3 + 2, GUEST_CODE + 12,
		GUEST_CODE + 14,		/* SYSCALL, which leads behind itself here */
		GUEST_HANDLERS + 4 * 6,
	};
	struct mote_debugged debugged;
	unsigned char ports[STEPS_MOST];
	struct mote_state state;
	struct guest guest;
	int nr = 0;

	if (host_is_trinity())
		SKIP(return, NO_STEPS);
	guest_create(&guest);
	guest_start(&guest, GUEST_LONG, &guest_one_by_one);
	guest_get(&guest, &state, MOTE_STATE_MSRS);
	state.msrs.efer |= 1;
	state.msrs.star = 8ull << 32;
	state.msrs.lstar = GUEST_CODE + 14;
	state.msrs.sfmask = TF;
	guest_set(&guest, &state);
	ASSERT_EQ(0, mote_debug_begin(&debugged, &guest.cpu, 0));
	for (size_t i = 0; i < sizeof(rips) / sizeof(rips[0]); i++) {
		ASSERT_TRUE(step(&debugged, &guest, ports, &nr));
		guest_get(&guest, &state, MOTE_STATE_GPRS);
		ASSERT_EQ(rips[i], state.gprs.rip) TH_LOG("step %zu", i);
		EXPECT_EQ(0, state.gprs.rflags & TF);
		if (rips[i] == GUEST_CODE + 14)
			EXPECT_EQ(0, state.gprs.gpr[MOTE_R11] & TF);
	}
	/* HLT is over at once, and waits when the guest goes on. */
	guest_start(&guest, GUEST_LONG, &guest_waits);
	ASSERT_TRUE(step(&debugged, &guest, ports, &nr));
	guest_get(&guest, &state, MOTE_STATE_GPRS | MOTE_STATE_EVENTS);
	EXPECT_EQ(GUEST_CODE + 1, state.gprs.rip);
	EXPECT_EQ(MOTE_HALTED, state.events.halted);
	ASSERT_TRUE(step(&debugged, &guest, ports, &nr));
	guest_get(&guest, &state, MOTE_STATE_GPRS | MOTE_STATE_EVENTS);
	EXPECT_EQ(GUEST_CODE + 2, state.gprs.rip);
	EXPECT_EQ(0, state.events.halted);
	guest_destroy(&guest);
}

GUEST(interrupted, 64, X2APIC_ON SELF(0x51) "sti; nop; nop; nop; out %al, $0x80\n");

/* Interrupts wait while a vCPU is stepped, and come when it goes on. */
TEST(interrupts_are_held)
{
	unsigned char ports[STEPS_MOST];
	struct mote_debugged debugged;
	struct guest guest;
	int nr = 0;

	if (host_is_trinity())
		SKIP(return, NO_STEPS);
	guest_create_vm(&guest, MOTE_VM_LAPIC);
	guest_create_cpu(&guest, 0);
	guest_start(&guest, GUEST_LONG, &guest_interrupted);
	ASSERT_EQ(0, mote_debug_begin(&debugged, &guest.cpu, 0));
	while (guest.run->rip != GUEST_CODE + guest_interrupted.size - 2) {
		ASSERT_TRUE(step(&debugged, &guest, ports, &nr));
		ASSERT_LT(GUEST_CODE, guest.run->rip);
	}
	EXPECT_EQ(0, nr);
	ASSERT_EQ(MOTE_EXIT_PIO, guest_run(&guest));
	EXPECT_EQ(GUEST_HANDLERS + 4 * 0x51, guest.run->rip);
	ASSERT_EQ(MOTE_EXIT_PIO, guest_run(&guest));
	EXPECT_EQ(0x80, guest.run->pio.port);
	guest_destroy(&guest);
}

/* ---- debug registers ---------------------------------------------------------------- */

GUEST(watched, 64, "mov $0x77, %eax; mov %rax, %dr1; mov %dr1, %rbx; mov %dr0, %rcx; mov %dr7, %rdx\n"
      "movb $1, GUEST_DATA; nop; out %al, $0x80\n");

/* The debugger's breakpoints hit, and the guest reads and writes its own registers. */
TEST(breakpoints_beside_the_guest)
{
	struct mote_drs drs = {
		.dr = { GUEST_CODE + guest_watched.size - 3, GUEST_DATA }, .dr7 = 0x2 | 0x8 | 1 << 20,
	};
	struct mote_debugged debugged;
	struct mote_state state;
	struct guest guest;
	int reason;

	pin_to_cpu(0);
	guest_create(&guest);
	guest_start(&guest, GUEST_LONG, &guest_watched);
	ASSERT_EQ(0, mote_debug_begin(&debugged, &guest.cpu, 1u << 1));
	ASSERT_EQ(0, mote_debug_set_drs(&debugged, &drs));
	for (int i = 0; i < 2; i++) {
		while ((reason = guest_run(&guest)) == MOTE_EXIT_DR)
			ASSERT_EQ(0, mote_debug_mov_dr(&debugged));
		ASSERT_EQ(MOTE_EXIT_EXCEPTION, reason);
		EXPECT_EQ(1, guest.run->exception.vector);
		/* The trap behind the write, the fault before the NOP: one exception for both. */
		EXPECT_EQ(GUEST_CODE + guest_watched.size - 3, guest.run->rip);
		ASSERT_EQ(0, mote_debug_take(&debugged, guest.run->rip));
		/* Bochs's AMD processor exits before it has written DR6. */
		if (!host_is_trinity() && !i)
			EXPECT_EQ(2, debugged.dr6 & 2);
		if (debugged.dr6 & 1)
			break;
	}
	EXPECT_EQ(0x77, guest.run->gpr[MOTE_RBX]);
	EXPECT_EQ(0, guest.run->gpr[MOTE_RCX]);
	EXPECT_EQ(0x400, guest.run->gpr[MOTE_RDX]);
	ASSERT_EQ(0, mote_debug_end(&debugged));
	guest_get(&guest, &state, MOTE_STATE_DRS);
	EXPECT_EQ(0x77, state.drs.dr[1]);
	EXPECT_EQ(0x400, state.drs.dr7);
	EXPECT_EQ(MOTE_DR6_NONE, state.drs.dr6);
	ASSERT_EQ(MOTE_EXIT_PIO, guest_run(&guest));
	guest_destroy(&guest);
}

MOTE_TEST_MAIN
