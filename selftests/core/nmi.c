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

MOTE_TEST_MAIN
