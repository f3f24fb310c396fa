// SPDX-License-Identifier: GPL-2.0
/* The local APIC's arithmetic against tables of architectural cases, and at random. */
#include <kunit/test.h>
#include <linux/module.h>

#include "../apic/apic.c"

#define ID 0x23
/* Under KASAN as many as do not look like a lockup. */
#ifndef RANDOM_WRITES
#define RANDOM_WRITES 100000
#endif

static void start(struct mote_apic *apic, bool x2)
{
	mote_apic_reset(apic, ID, x2);
	apic->reg[APIC_REG(SPIV)] = APIC_SPIV_APIC_ENABLED | 0xff;
}

struct register_case {
	u32 reg;
	bool x2;
	bool readable;
	u64 write;
	int effect;
	u32 then;	/* what is in the register after it */
};

static const struct register_case register_cases[] = {
	{ APIC_REG(ID), false, true, 0, MOTE_APIC_RECHECK, ID << 24 },
	{ APIC_REG(ID), true, true, 0, MOTE_APIC_INVALID, ID },
	{ APIC_REG(LVR), true, true, 0, MOTE_APIC_INVALID, APIC_VERSION },
	{ 0x04, false, false, 0, MOTE_APIC_RECHECK, 0 },
	{ 0x04, true, false, 0, MOTE_APIC_INVALID, 0 },
	{ APIC_REG(TASKPRI), true, true, 0x5a, MOTE_APIC_RECHECK, 0x5a },
	{ APIC_REG(TASKPRI), true, true, 0x100, MOTE_APIC_INVALID, 0 },
	{ APIC_REG(TASKPRI), false, true, 0x1ff, MOTE_APIC_RECHECK, 0xff },
	{ APIC_REG(EOI), true, false, 0, MOTE_APIC_DONE, 0 },
	{ APIC_REG(EOI), true, false, 1, MOTE_APIC_INVALID, 0 },
	{ APIC_REG(EOI), false, false, 1, MOTE_APIC_DONE, 0 },
	{ APIC_REG(LDR), true, true, 1, MOTE_APIC_INVALID, 2 << 16 | BIT(3) },
	{ APIC_REG(LDR), false, true, ~0u, MOTE_APIC_ADDRESSED, 0xff000000 },
	{ APIC_REG(DFR), false, true, 0, MOTE_APIC_DONE, 0x0fffffff },
	{ APIC_REG(DFR), true, false, 0, MOTE_APIC_INVALID, ~0u },
	{ APIC_REG(SPIV), true, true, 0x1ef, MOTE_APIC_RECHECK, 0x1ef },
	{ APIC_REG(SPIV), true, true, 0x3ff, MOTE_APIC_INVALID, 0x1ff },
	{ APIC_REG(IRR), true, true, 0, MOTE_APIC_INVALID, 0 },
	{ APIC_REG(ICR), true, true, (u64)ID << 32 | 0x4031, MOTE_APIC_SEND, 0x4031 },
	{ APIC_REG(ICR), true, true, 0x1031, MOTE_APIC_INVALID, 0 },
	{ APIC_REG(ICR), true, true, 0x0f, MOTE_APIC_RECHECK, 0x0f },
	{ APIC_REG(ICR), true, true, 0x40f, MOTE_APIC_SEND, 0x40f },
	{ APIC_REG(ICR2), true, false, 0, MOTE_APIC_INVALID, 0 },
	{ APIC_REG(ICR2), false, true, ~0u, MOTE_APIC_DONE, 0xff000000 },
	{ APIC_REG(LVTT), true, true, 0x31, MOTE_APIC_RECHECK, 0x31 },
	{ APIC_REG(LVTT), true, true, 0x20031, MOTE_APIC_ARM, 0x20031 },
	{ APIC_REG(LVTT), true, true, 0x80031, MOTE_APIC_INVALID, APIC_LVT_MASKED },
	{ APIC_REG(LVT0), true, true, 0x700, MOTE_APIC_RECHECK, 0x700 },
	{ APIC_REG(LVT0), true, true, 0x1f700, MOTE_APIC_RECHECK, 0x1a700 },
	{ APIC_REG(LVTERR), true, true, 0x100, MOTE_APIC_INVALID, APIC_LVT_MASKED },
	{ APIC_REG(TMICT), true, true, 77, MOTE_APIC_ARM, 77 },
	{ APIC_REG(TMCCT), true, true, 0, MOTE_APIC_INVALID, 0 },
	{ APIC_REG(TDCR), true, true, 0xb, MOTE_APIC_ARM, 0xb },
	{ APIC_REG(TDCR), true, true, 0x4, MOTE_APIC_INVALID, 0 },
	{ APIC_REG(SELF_IPI), true, false, 0x31, MOTE_APIC_SEND, 0 },
	{ APIC_REG(SELF_IPI), false, false, 0x31, MOTE_APIC_RECHECK, 0 },
	{ MOTE_APIC_REGS, true, false, 0, MOTE_APIC_INVALID, 0 },
	{ 0xff, false, false, 0, MOTE_APIC_RECHECK, 0 },
};

static void apic_registers_test(struct kunit *test)
{
	const struct register_case *c;
	struct mote_apic apic;
	u64 value;
	u8 vector;

	for (c = register_cases; c < register_cases + ARRAY_SIZE(register_cases); c++) {
		start(&apic, c->x2);
		/* In xAPIC mode what is not there reads as zero. */
		KUNIT_EXPECT_EQ_MSG(test, c->readable || !c->x2,
				    mote_apic_read(&apic, c->reg, c->x2, 0, &value),
				    "read %#x, x2 %d", c->reg, c->x2);
		/* Of this error only xAPIC mode knows: in the other it is #GP. */
		KUNIT_EXPECT_EQ_MSG(test, c->readable || c->x2 ? 0 : APIC_ESR_ILLREGA, apic.errors,
				    "read %#x, x2 %d", c->reg, c->x2);
		start(&apic, c->x2);
		KUNIT_EXPECT_EQ_MSG(test, c->effect,
				    (int)mote_apic_write(&apic, c->reg, c->x2, c->write, &vector),
				    "write %#x, x2 %d, %#llx", c->reg, c->x2, c->write);
		if (c->effect == MOTE_APIC_INVALID)
			KUNIT_EXPECT_EQ_MSG(test, 0, apic.errors, "write %#x, x2 %d", c->reg,
					    c->x2);
		if (c->reg < MOTE_APIC_REGS)
			KUNIT_EXPECT_EQ_MSG(test, c->then, apic.reg[c->reg], "reg %#x, x2 %d, %#llx",
					    c->reg, c->x2, c->write);
	}
}

struct priority_case {
	int isr;	/* -1: none */
	int irr;
	u32 tpr;
	int pending;
	bool held;
	u32 ppr;
};

static const struct priority_case priority_cases[] = {
	{ -1, -1, 0, -1, false, 0 },
	{ -1, 0x31, 0, 0x31, false, 0 },
	{ -1, 0x1f, 0x0f, 0x1f, false, 0x0f },
	{ -1, 0x31, 0x2f, 0x31, false, 0x2f },
	{ -1, 0x31, 0x30, -1, true, 0x30 },
	{ -1, 0x31, 0xf0, -1, true, 0xf0 },
	{ 0x41, 0x31, 0, -1, false, 0x40 },
	{ 0x41, 0x4f, 0, -1, false, 0x40 },
	{ 0x41, 0x51, 0, 0x51, false, 0x40 },
	{ 0x41, 0x51, 0x50, -1, true, 0x50 },
	{ 0x41, 0x31, 0x4a, -1, false, 0x4a },
	{ 0xff, 0xfe, 0, -1, false, 0xf0 },
	{ 0xef, 0xff, 0, 0xff, false, 0xe0 },
};

static void apic_priorities_test(struct kunit *test)
{
	const struct priority_case *c;
	struct mote_apic apic;
	bool held;
	u64 value;

	for (c = priority_cases; c < priority_cases + ARRAY_SIZE(priority_cases); c++) {
		start(&apic, true);
		if (c->irr >= 0)
			mote_apic_accept(&apic, c->irr, false);
		if (c->isr >= 0)
			__set_bit(c->isr, apic_vectors(&apic, ISR));
		KUNIT_EXPECT_EQ_MSG(test, c->pending, mote_apic_pending(&apic, c->tpr, &held),
				    "isr %#x irr %#x tpr %#x", c->isr, c->irr, c->tpr);
		KUNIT_EXPECT_EQ_MSG(test, c->held, held, "isr %#x irr %#x tpr %#x", c->isr, c->irr,
				    c->tpr);
		mote_apic_read(&apic, APIC_REG(PROCPRI), true, c->tpr, &value);
		KUNIT_EXPECT_EQ_MSG(test, (u64)c->ppr, value, "isr %#x tpr %#x", c->isr, c->tpr);
	}
}

/* All vectors at once come from the highest down, each once. */
static void apic_all_vectors_test(struct kunit *test)
{
	struct mote_apic apic;
	int vector, want;
	bool held;
	u8 ended;

	start(&apic, true);
	for (vector = 0; vector < 256; vector++)
		KUNIT_EXPECT_EQ(test, vector >= 16, mote_apic_accept(&apic, vector, vector % 2));
	KUNIT_EXPECT_EQ(test, APIC_ESR_RECVILL, apic.errors);
	for (want = 255; want >= 16; want--) {
		KUNIT_ASSERT_EQ(test, want, mote_apic_pending(&apic, 0, &held));
		mote_apic_acknowledge(&apic, want);
		KUNIT_ASSERT_EQ(test, -1, mote_apic_pending(&apic, 0, &held));
		KUNIT_ASSERT_EQ(test, want % 2 ? MOTE_APIC_BROADCAST : MOTE_APIC_RECHECK,
				mote_apic_write(&apic, APIC_REG(EOI), true, 0, &ended));
		KUNIT_ASSERT_EQ(test, want, ended);
	}
	KUNIT_EXPECT_EQ(test, -1, mote_apic_pending(&apic, 0, &held));
}

struct match_case {
	bool x2;
	u32 ldr;
	u32 dfr;
	u32 dest;
	bool logical;
	bool matches;
};

static const struct match_case match_cases[] = {
	{ false, 0, ~0u, ID, false, true },
	{ false, 0, ~0u, ID + 1, false, false },
	{ false, 0, ~0u, 0xff, false, true },
	{ false, 0x04000000, ~0u, 0x06, true, true },
	{ false, 0x04000000, ~0u, 0x03, true, false },
	{ false, 0x04000000, ~0u, 0xff, true, true },
	{ false, 0x24000000, 0x0fffffff, 0x2c, true, true },
	{ false, 0x24000000, 0x0fffffff, 0x1c, true, false },
	{ false, 0x24000000, 0x0fffffff, 0x23, true, false },
	{ true, 0, 0, ID, false, true },
	{ true, 0, 0, 0xff, false, false },
	{ true, 0, 0, U32_MAX, false, true },
	{ true, 0x20008, 0, 0x20008, true, true },
	{ true, 0x20008, 0, 0x2ffff, true, true },
	{ true, 0x20008, 0, 0x20007, true, false },
	{ true, 0x20008, 0, 0x30008, true, false },
	{ true, 0x20008, 0, U32_MAX, true, true },
};

static void apic_destinations_test(struct kunit *test)
{
	struct mote_apic apic;
	u32 i;

	for (i = 0; i < ARRAY_SIZE(match_cases); i++) {
		const struct match_case *c = &match_cases[i];

		start(&apic, c->x2);
		if (c->ldr)
			apic.reg[APIC_REG(LDR)] = c->ldr;
		apic.reg[APIC_REG(DFR)] = c->dfr;
		KUNIT_EXPECT_EQ_MSG(test, c->matches,
				    mote_apic_matches(&apic, ID, c->x2, c->dest, c->logical),
				    "case %u", i);
	}
}

static void apic_timer_test(struct kunit *test)
{
	static const u8 divide[16] = {
		2, 4, 8, 16, 0, 0, 0, 0, 32, 64, 128, 1, 0, 0, 0, 0,
	};
	struct mote_apic apic;
	u8 vector;
	u32 i;

	start(&apic, true);
	for (i = 0; i < ARRAY_SIZE(divide); i++)
		if (mote_apic_write(&apic, APIC_REG(TDCR), true, i, &vector) == MOTE_APIC_ARM)
			KUNIT_EXPECT_EQ(test, (u64)divide[i], mote_apic_tick_ns(&apic));
		else
			KUNIT_EXPECT_EQ(test, 0, divide[i]);
	/* Masked: nobody is told. */
	KUNIT_EXPECT_FALSE(test, mote_apic_timer_fires(&apic));
	mote_apic_write(&apic, APIC_REG(LVTT), true, APIC_LVT_TIMER_TSCDEADLINE | 0x31, &vector);
	apic.deadline = 5;
	/* The initial count is of the other modes. */
	KUNIT_EXPECT_EQ(test, MOTE_APIC_DONE,
			mote_apic_write(&apic, APIC_REG(TMICT), true, 9, &vector));
	KUNIT_EXPECT_TRUE(test, mote_apic_timer_fires(&apic));
	KUNIT_EXPECT_EQ(test, 0ull, apic.deadline);
	KUNIT_EXPECT_TRUE(test, test_bit(0x31, apic_vectors(&apic, IRR)));
	/* Another mode disarms it. */
	apic.deadline = 5;
	mote_apic_write(&apic, APIC_REG(LVTT), true, 0x31, &vector);
	KUNIT_EXPECT_EQ(test, 0ull, apic.deadline);
}

static void apic_disabled_test(struct kunit *test)
{
	struct mote_apic apic;
	bool held;
	u8 vector;

	start(&apic, true);
	mote_apic_write(&apic, APIC_REG(LVTT), true, 0x31, &vector);
	mote_apic_write(&apic, APIC_REG(SPIV), true, 0xff, &vector);
	KUNIT_EXPECT_EQ(test, APIC_LVT_MASKED | 0x31, apic.reg[APIC_REG(LVTT)]);
	mote_apic_write(&apic, APIC_REG(LVTT), true, 0x32, &vector);
	KUNIT_EXPECT_EQ(test, APIC_LVT_MASKED | 0x32, apic.reg[APIC_REG(LVTT)]);
	KUNIT_EXPECT_FALSE(test, mote_apic_accept(&apic, 0x41, false));
	KUNIT_EXPECT_EQ(test, -1, mote_apic_pending(&apic, 0, &held));
}

/* Whatever is written, the state stays one that an APIC can have. */
static void apic_random_test(struct kunit *test)
{
	struct mote_apic apic;
	u64 seed = 88172645463325252ull;
	bool x2 = false, held;
	u32 i, reg;
	int pending;
	u8 vector;

	start(&apic, x2);
	for (i = 0; i < RANDOM_WRITES; i++) {
		seed ^= seed << 13;
		seed ^= seed >> 7;
		seed ^= seed << 17;
		reg = seed >> 8 & 0x7f;
		if (seed % 1024 == 0) {
			x2 = !x2;
			start(&apic, x2);
		}
		mote_apic_write(&apic, reg, x2, seed >> 16 & (seed & 1 ? ~0ull : 0x1ff), &vector);
		mote_apic_accept(&apic, seed >> 40, seed & 2);
		pending = mote_apic_pending(&apic, seed >> 48 & 0xff, &held);
		if (pending >= 0)
			mote_apic_acknowledge(&apic, pending);
		KUNIT_ASSERT_TRUE(test, pending == -1 || pending >= 16);
		KUNIT_ASSERT_TRUE_MSG(test, mote_apic_is_valid(&apic, ID, x2), "reg %#x, round %u",
				      reg, i);
	}
}

/* Only a start-up IPI has a vector, and nothing else is known. */
static void apic_signals_test(struct kunit *test)
{
	struct mote_apic apic;
	u32 signals, high;

	start(&apic, false);
	for (signals = 0; signals < 0x1000; signals++) {
		bool valid = signals < 0x800 && (signals & MOTE_APIC_STARTUP || !(u8)signals);

		apic.signals = signals;
		KUNIT_ASSERT_EQ_MSG(test, valid, mote_apic_is_valid(&apic, ID, false), "%#x",
				    signals);
	}
	for (high = 12; high < 32; high++) {
		apic.signals = BIT(high);
		KUNIT_EXPECT_FALSE_MSG(test, mote_apic_is_valid(&apic, ID, false), "%u", high);
	}
}

static struct kunit_case cases[] = {
	KUNIT_CASE(apic_registers_test),
	KUNIT_CASE(apic_priorities_test),
	KUNIT_CASE(apic_all_vectors_test),
	KUNIT_CASE(apic_destinations_test),
	KUNIT_CASE(apic_timer_test),
	KUNIT_CASE(apic_disabled_test),
	KUNIT_CASE(apic_random_test),
	KUNIT_CASE(apic_signals_test),
	{}
};

static struct kunit_suite suite = { .name = "mote_apic", .test_cases = cases };
kunit_test_suite(suite);

MODULE_LICENSE("GPL");
