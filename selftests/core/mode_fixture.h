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

#endif /* MODE_FIXTURE_H */
