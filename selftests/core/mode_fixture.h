/* SPDX-License-Identifier: GPL-2.0 */
/* A fixture with a guest, for each mode of the processor. */
#ifndef MODE_FIXTURE_H
#define MODE_FIXTURE_H

#include "kselftest_harness.h"
#include "guest.h"
#include "selftest.h"

/* The same code for 16, 32 and 64 bits, and which of them a mode runs. */
#define GUEST_ALL(name, code)			\
	GUEST(name##16, 16, code);		\
	GUEST(name##32, 32, code);		\
	GUEST(name##64, 64, code)
#define GUEST_FOR(name, mode)					\
	(guest_mode_bits(mode) == 16 ? &guest_##name##16 :	\
	 guest_mode_bits(mode) == 32 ? &guest_##name##32 : &guest_##name##64)

FIXTURE(mode)
{
	struct guest guest;
};

FIXTURE_VARIANT(mode)
{
	enum guest_mode mode;
};

FIXTURE_VARIANT_ADD(mode, real) { .mode = GUEST_REAL };
FIXTURE_VARIANT_ADD(mode, v8086) { .mode = GUEST_V8086 };
FIXTURE_VARIANT_ADD(mode, prot16) { .mode = GUEST_PROT16 };
FIXTURE_VARIANT_ADD(mode, prot32) { .mode = GUEST_PROT32 };
FIXTURE_VARIANT_ADD(mode, page32) { .mode = GUEST_PAGE32 };
FIXTURE_VARIANT_ADD(mode, pae) { .mode = GUEST_PAE };
FIXTURE_VARIANT_ADD(mode, long) { .mode = GUEST_LONG };
FIXTURE_VARIANT_ADD(mode, compat) { .mode = GUEST_COMPAT };
FIXTURE_VARIANT_ADD(mode, long3) { .mode = GUEST_LONG3 };

FIXTURE_SETUP(mode)
{
	guest_create(&self->guest);
}

FIXTURE_TEARDOWN(mode)
{
	guest_destroy(&self->guest);
}

/* A test of each mode that this host can start a guest in. */
#define TEST_MODE(name)							\
	static void in_mode_##name(struct __test_metadata *_metadata,	\
				FIXTURE_DATA(mode) *self,		\
				const FIXTURE_VARIANT(mode) *variant);	\
	TEST_F(mode, name)						\
	{								\
		if (variant->mode == GUEST_V8086 && host_is_trinity())	\
			SKIP(return, "not on this hardware: Bochs panics at VMRUN into virtual-8086 mode"); \
		in_mode_##name(_metadata, self, variant);			\
	}								\
	static void in_mode_##name(struct __test_metadata *_metadata,	\
				FIXTURE_DATA(mode) *self,		\
				const FIXTURE_VARIANT(mode) *variant)

/* HLT ends a guest: as an exit, or in ring 3 as #GP. */
static inline bool mode_is_over(struct guest *guest, enum guest_mode mode)
{
	struct guest_frame frame;

	if (guest->run->reason == MOTE_EXIT_HLT)
		return true;
	return (mode == GUEST_V8086 || mode == GUEST_LONG3) &&
	       guest_frame(guest, mode, &frame) && frame.vector == 13 &&
	       guest->ram[frame.rip % GUEST_SIZE] == 0xf4;
}

/* What was completed last comes into the vCPU, and no further. */
static inline void mode_settle(struct guest *guest)
{
	guest->run->immediate_exit = 1;
	mote_run(guest->cpu.fd);
	guest->run->immediate_exit = 0;
}

/* In a handler, UD2's comes back behind it.  QEMU does not push RF with a fault: without that. */
static inline void mode_skip_ud2(struct guest *guest)
{
	if (guest->run->rip / 4 != GUEST_HANDLERS / 4 + 6)
		return;
	guest->ram[guest->run->gpr[MOTE_RSP]] += 2;
	guest->ram[guest->run->gpr[MOTE_RSP] + 18] &= ~1;
}

/* Two runs of one guest have come to the same: of its registers all but RIP; @ram: memory of the first. */
static inline void mode_expect_alike(struct __test_metadata *_metadata, const struct guest *guest,
				     const struct mote_state *first, const struct mote_state *second,
				     const unsigned char *ram)
{
	int at = 0;

	EXPECT_EQ(0, memcmp(&first->gprs.gpr, &second->gprs.gpr, sizeof(first->gprs.gpr)));
	EXPECT_EQ(first->gprs.rflags, second->gprs.rflags);
	EXPECT_EQ(0, memcmp(&first->drs, &second->drs, sizeof(first->drs)));
	EXPECT_EQ(0, memcmp(&first->segs, &second->segs, sizeof(first->segs)));
	EXPECT_EQ(first->events.shadow, second->events.shadow);
	EXPECT_EQ(first->events.nmi_blocked, second->events.nmi_blocked);
	EXPECT_EQ(first->events.pending_debug, second->events.pending_debug);
	while (at < GUEST_SIZE && ram[at] == guest->ram[at])
		at++;
	EXPECT_EQ(GUEST_SIZE, at);
}

#endif /* MODE_FIXTURE_H */
