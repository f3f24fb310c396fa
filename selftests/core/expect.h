/* SPDX-License-Identifier: GPL-2.0 */
/* What the guest of a test, self->guest, is expected to do next. */
#ifndef EXPECT_H
#define EXPECT_H

#include "kselftest_harness.h"
#include "selftest.h"
#include "guest.h"

/* An access to this port. */
#define EXPECT_PORT(want)							\
	do {									\
		ASSERT_EQ(MOTE_EXIT_PIO, guest_run(&self->guest)) {		\
			TH_LOG("%s", guest_exit_name(self->guest.run->reason));	\
		}								\
		ASSERT_EQ(want, self->guest.run->pio.port);			\
	} while (0)

/* To come to the handler of this vector. */
#define EXPECT_VECTOR(want)							\
	do {									\
		struct guest_frame frame = {};					\
										\
		ASSERT_EQ(MOTE_EXIT_PIO, guest_run(&self->guest));		\
		ASSERT_TRUE(guest_frame(&self->guest, GUEST_LONG, &frame)) {	\
			TH_LOG("port %#x at %#llx", self->guest.run->pio.port,	\
			       self->guest.run->rip);				\
		}								\
		ASSERT_EQ(want, frame.vector);					\
	} while (0)

#endif /* EXPECT_H */
