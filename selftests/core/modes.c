// SPDX-License-Identifier: GPL-2.0
/* Each mode of the processor, started from a state that user space sets. */
#include "mode_fixture.h"

GUEST_ALL(out, "mov $0x1234, %ax; mov $0x80, %dx; out %ax, %dx; hlt");

/* The first instructions run, with registers of the mode's width, and HLT stops or faults. */
TEST_MODE(runs)
{
	struct mote_run *run = self->guest.run;
	bool user = variant->mode == GUEST_V8086 || variant->mode == GUEST_LONG3;
	struct guest_frame frame;

	guest_start(&self->guest, variant->mode, GUEST_FOR(out, variant->mode));
	ASSERT_EQ(MOTE_EXIT_PIO, guest_run(&self->guest)) {
		TH_LOG("%s %s", mote_check_text(run->fail.check),
		       mote_check_section(run->fail.check));
	}
	EXPECT_EQ(0x80, run->pio.port);
	EXPECT_EQ(2, run->pio.size);
	EXPECT_EQ(0, run->pio.flags);
	EXPECT_EQ(0x1234, run->gpr[MOTE_RAX]);
	EXPECT_EQ(user ? 3 : 0, guest_cpl(&self->guest));
	EXPECT_EQ(run->rip + (guest_mode_bits(variant->mode) == 16 ? 1 : 2), run->next_rip);

	if (!user) {
		ASSERT_EQ(MOTE_EXIT_HLT, guest_run(&self->guest));
		return;
	}
	ASSERT_EQ(MOTE_EXIT_PIO, guest_run(&self->guest));
	ASSERT_TRUE(guest_frame(&self->guest, variant->mode, &frame));
	EXPECT_EQ(13, frame.vector);
	EXPECT_EQ(0, frame.error);
	EXPECT_EQ(GUEST_CODE + GUEST_FOR(out, variant->mode)->size - 1, frame.rip);
	EXPECT_EQ(0, guest_cpl(&self->guest));
}

MOTE_TEST_MAIN
