// SPDX-License-Identifier: GPL-2.0
/* NMIs: blocking from the delivery to the IRET, on CPUs that track it and on those that do not. */
#include <string.h>

#include "kselftest_harness.h"
#include "guest.h"
#include "selftest.h"

GUEST(out, 64, "1: out %al, $0x80; inc %rbx; jmp 1b");

static const struct mote_event nmi = { .valid = 1, .type = MOTE_EVENT_NMI, .vector = 2 };

FIXTURE(nmi)
{
	struct guest guest;
};

FIXTURE_SETUP(nmi)
{
	guest_create(&self->guest);
}

FIXTURE_TEARDOWN(nmi)
{
	guest_destroy(&self->guest);
}

/* NMIs come one after the other, each when the handler of the one before has returned. */
TEST_F(nmi, wait_for_iret)
{
	struct mote_state state;
	struct guest_frame frame;
	int i;

	guest_start(&self->guest, GUEST_LONG, &guest_out);
	for (i = 0; i < 3; i++)	/* the third is merged with the second */
		ASSERT_EQ(0, mote_inject(self->guest.cpu.fd, &nmi));
	guest_get(&self->guest, &state, MOTE_STATE_EVENTS);
	EXPECT_EQ(2, state.events.nmi_pending);
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(MOTE_EXIT_PIO, guest_run(&self->guest));
		ASSERT_TRUE(guest_frame(&self->guest, GUEST_LONG, &frame));
		EXPECT_EQ(2, frame.vector);
		EXPECT_EQ(GUEST_CODE, frame.rip);
		guest_get(&self->guest, &state, MOTE_STATE_EVENTS);
		EXPECT_EQ(1, state.events.nmi_blocked);
		EXPECT_EQ(1 - i, state.events.nmi_pending);
	}
	ASSERT_EQ(MOTE_EXIT_PIO, guest_run(&self->guest));
	EXPECT_EQ(0x80, self->guest.run->pio.port);
	guest_get(&self->guest, &state, MOTE_STATE_EVENTS);
	EXPECT_EQ(0, state.events.nmi_blocked);
}

/* A handler in one guest does not keep another's NMIs waiting. */
TEST_F(nmi, blocked_in_one_guest_only)
{
	struct mote_state state;
	struct guest other;
	int i;

	guest_create(&other);
	guest_start(&self->guest, GUEST_LONG, &guest_out);
	guest_start(&other, GUEST_LONG, &guest_out);
	ASSERT_EQ(0, mote_inject(other.cpu.fd, &nmi));
	ASSERT_EQ(MOTE_EXIT_PIO, guest_run(&other));
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(MOTE_EXIT_PIO, guest_run(&self->guest));
		EXPECT_EQ(0x80, self->guest.run->pio.port);
		guest_get(&self->guest, &state, MOTE_STATE_EVENTS);
		EXPECT_EQ(0, state.events.nmi_blocked);
		guest_get(&other, &state, MOTE_STATE_EVENTS);
		EXPECT_EQ(1, state.events.nmi_blocked);
	}
	guest_destroy(&other);
}

GUEST(open, 64, "sti; nop; out %al, $0x80; nop; nop; out %al, $0x81\n");

/* What comes together comes in order: the trap of a single step, the NMI, the interrupt. */
TEST_F(nmi, priorities)
{
	static const struct mote_event interrupt = {
		.valid = 1, .type = MOTE_EVENT_INTERRUPT, .vector = 0x51,
	};
	/* The NMI comes before the first instruction of the trap's handler, which goes on then. */
	static const struct { int vector; __u64 rip; } frames[] = {
		{ 2, GUEST_HANDLERS + 4 }, { 1, GUEST_CODE + 4 }, { 0x51, GUEST_CODE + 4 },
	};
	struct mote_run *run = self->guest.run;
	struct guest_frame frame;

	if (host_is_trinity())
		SKIP(return, "not on this hardware: Bochs ends at a nested fault in a delivery");
	/* Once before, so that no nested fault comes between: Bochs loses count there. */
	guest_start(&self->guest, GUEST_LONG, &guest_open);
	ASSERT_EQ(0, mote_inject(self->guest.cpu.fd, &nmi));
	while (guest_run(&self->guest) == MOTE_EXIT_PIO && run->pio.port != 0x81)
		;
	guest_start(&self->guest, GUEST_LONG, &guest_open);
	ASSERT_EQ(MOTE_EXIT_PIO, guest_run(&self->guest));
	ASSERT_EQ(0x80, run->pio.port);
	run->rflags |= 0x100;
	run->set = MOTE_SET_RFLAGS;
	run->window = MOTE_WINDOW_INTERRUPT;
	ASSERT_EQ(0, mote_inject(self->guest.cpu.fd, &nmi));
	for (int i = 0; i < 3; i++) {
		if (i == 2) {
			ASSERT_EQ(MOTE_EXIT_INTERRUPT_WINDOW, guest_run(&self->guest));
			ASSERT_EQ(0, mote_inject(self->guest.cpu.fd, &interrupt));
			run->window = 0;
		}
		ASSERT_EQ(MOTE_EXIT_PIO, guest_run(&self->guest));
		ASSERT_TRUE(guest_frame(&self->guest, GUEST_LONG, &frame)) {
			TH_LOG("port %#x instead of vector %#x", run->pio.port, frames[i].vector);
		}
		EXPECT_EQ(frames[i].vector, frame.vector);
		EXPECT_EQ(frames[i].rip, frame.rip);
		if (frame.vector == 1)	/* no more steps */
			self->guest.ram[run->gpr[MOTE_RSP] + 17] &= ~1;
	}
	ASSERT_EQ(MOTE_EXIT_PIO, guest_run(&self->guest));
	EXPECT_EQ(0x81, run->pio.port);
}

GUEST(pushes, 64, "pushf; pop %rax; out %al, $0x80; out %al, $0x81\n");
GUEST(breaks, 64, "int3; out %al, $0x80; out %al, $0x81\n");
GUEST(calls, 64, "int $0x42; out %al, $0x80; out %al, $0x81\n");
GUEST(loads, 64, "popf; nop; out %al, $0x80; out %al, $0x81\n");

/*
 * An NMI waits for the end of a shadow, for which some CPUs step over the instruction: what that
 * pushes or loads of the flags is the guest's own TF all the same.
 */
TEST_F(nmi, behind_a_shadow_with_flags)
{
	static const struct {
		const struct guest_code *code;
		int vector;	/* that comes of it, beside the NMI */
	} rows[] = { { &guest_pushes }, { &guest_breaks, 3 }, { &guest_calls, 0x42 }, { &guest_loads, 1 } };
	struct mote_run *run = self->guest.run;
	struct guest_frame frame;
	struct mote_state state;
	int nmis, others;

	if (host_is_trinity())
		SKIP(return, "not on this hardware: Bochs ends at an NMI behind a step, "
			"with a third fault of the host's");
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		guest_start(&self->guest, GUEST_LONG, rows[i].code);
		guest_get(&self->guest, &state, MOTE_STATE_EVENTS | MOTE_STATE_GPRS);
		state.events.shadow = MOTE_SHADOW_MOV_SS;
		if (rows[i].vector == 1) {
			state.gprs.gpr[MOTE_RSP] -= 8;
			*(__u64 *)(self->guest.ram + state.gprs.gpr[MOTE_RSP]) = 0x102;
		}
		guest_set(&self->guest, &state);
		ASSERT_EQ(0, mote_inject(self->guest.cpu.fd, &nmi));
		nmis = others = 0;
		do {
			ASSERT_EQ(MOTE_EXIT_PIO, guest_run(&self->guest)) {
				TH_LOG("row %zu: %s", i, guest_exit_name(run->reason));
			}
			if (run->pio.port == 0x80 && rows[i].code == &guest_pushes)
				EXPECT_EQ(0, run->gpr[MOTE_RAX] & 0x100);
			if (!guest_frame(&self->guest, GUEST_LONG, &frame))
				continue;
			nmis += frame.vector == 2;
			others += frame.vector != 2;
			if (frame.vector == 2)
				continue;
			EXPECT_EQ(rows[i].vector, frame.vector) TH_LOG("row %zu", i);
			EXPECT_EQ(frame.vector == 1 ? 0x100 : 0, frame.rflags & 0x100) TH_LOG("row %zu", i);
			if (frame.vector == 1)	/* no more steps */
				self->guest.ram[run->gpr[MOTE_RSP] + 17] &= ~1;
		} while (run->pio.port != 0x81);
		EXPECT_EQ(1, nmis) TH_LOG("row %zu", i);
		EXPECT_EQ(rows[i].vector ? 1 : 0, others) TH_LOG("row %zu", i);
	}
}

MOTE_TEST_MAIN
