// SPDX-License-Identifier: GPL-2.0
/*
 * The arithmetic of a local APIC: its registers, priorities, destinations and
 * timer, in xAPIC and x2APIC mode (SDM 3A, "Advanced Programmable Interrupt
 * Controller").  Pure functions on a page of registers.
 *
 * Not here: who sends, wakes and waits (lapic.c).  TPR is the vCPU's CR8: it is
 * handed in, and reg[0x8] keeps its low half only.
 */
#include <linux/bitops.h>
#include <linux/string.h>

#include "apic.h"

#define VERSION (0x14 | 5 << 16) /* not an 82489DX; six LVT entries */
#define SVR_ENABLED BIT(8)
#define SVR_WRITABLE 0x1ff
#define LVT_VECTOR 0xff
#define LVT_MODE (7 << 8)
#define LVT_STATUS BIT(12)
#define LVT_REMOTE_IRR BIT(14)
#define LVT_MASKED BIT(16)
#define LVT_TIMER_MODE (3 << 17)
#define LVT_LINT_WRITABLE (LVT_VECTOR | LVT_MODE | BIT(13) | BIT(15) | LVT_MASKED)
#define DIVIDE_WRITABLE 0xb
#define ICR_WRITABLE (0xfffu | 3 << 14 | 3 << 18)
#define ESR_SEND_VECTOR BIT(5)
#define ESR_RECEIVE_VECTOR BIT(6)
#define ESR_REGISTER BIT(7)
/* Below are the vectors of exceptions. */
#define LEAST_VECTOR 16

enum access { R = 1, W = 2, X1 = 4, X2 = 8 };
#define RW (R | W)
#define BOTH (X1 | X2)

/*
 * What can be done to a register, in which mode it exists, and the bits that may
 * be written; others are ignored, or #GP in x2APIC mode.
 */
static const struct row {
	u8 access;
	u32 writable;
} rows[MOTE_APIC_REGS] = {
	[MOTE_APIC_ID] = { R | BOTH },
	[MOTE_APIC_VERSION] = { R | BOTH },
	[MOTE_APIC_TPR] = { RW | BOTH, 0xff },
	[MOTE_APIC_PPR] = { R | BOTH },
	[MOTE_APIC_EOI] = { W | BOTH },
	[MOTE_APIC_LDR] = { RW | BOTH, 0xff000000 },
	[MOTE_APIC_DFR] = { RW | X1, 0xf0000000 },
	[MOTE_APIC_SVR] = { RW | BOTH, SVR_WRITABLE },
	[MOTE_APIC_ISR ... MOTE_APIC_IRR + 7] = { R | BOTH },
	[MOTE_APIC_ESR] = { RW | BOTH },
	[MOTE_APIC_ICR] = { RW | BOTH, ICR_WRITABLE },
	[MOTE_APIC_ICR2] = { RW | X1, 0xff000000 },
	[MOTE_APIC_LVT_TIMER] = { RW | BOTH, LVT_VECTOR | LVT_MASKED | LVT_TIMER_MODE },
	[MOTE_APIC_LVT_THERMAL] = { RW | BOTH, LVT_VECTOR | LVT_MODE | LVT_MASKED },
	[MOTE_APIC_LVT_PERF] = { RW | BOTH, LVT_VECTOR | LVT_MODE | LVT_MASKED },
	[MOTE_APIC_LVT_LINT0] = { RW | BOTH, LVT_LINT_WRITABLE },
	[MOTE_APIC_LVT_LINT1] = { RW | BOTH, LVT_LINT_WRITABLE },
	[MOTE_APIC_LVT_ERROR] = { RW | BOTH, LVT_VECTOR | LVT_MASKED },
	[MOTE_APIC_TMICT] = { RW | BOTH, ~0u },
	[MOTE_APIC_TMCCT] = { R | BOTH },
	[MOTE_APIC_TDCR] = { RW | BOTH, DIVIDE_WRITABLE },
	[MOTE_APIC_SELF_IPI] = { W | X2, LVT_VECTOR },
};

static bool is_lvt(u32 reg)
{
	return reg >= MOTE_APIC_LVT_TIMER && reg <= MOTE_APIC_LVT_ERROR;
}

static bool is_enabled(const struct mote_apic *apic)
{
	return apic->reg[MOTE_APIC_SVR] & SVR_ENABLED;
}

void mote_apic_reset(struct mote_apic *apic, u32 id, bool x2)
{
	u32 i;

	memset(apic, 0, sizeof(*apic));
	apic->reg[MOTE_APIC_VERSION] = VERSION;
	apic->reg[MOTE_APIC_DFR] = ~0u;
	apic->reg[MOTE_APIC_SVR] = 0xff;
	for (i = MOTE_APIC_LVT_TIMER; i <= MOTE_APIC_LVT_ERROR; i++)
		apic->reg[i] = LVT_MASKED;
	mote_apic_set_mode(apic, id, x2);
}

void mote_apic_set_mode(struct mote_apic *apic, u32 id, bool x2)
{
	apic->reg[MOTE_APIC_ID] = x2 ? id : id << 24;
	/* In x2APIC mode it follows from the id (SDM 3A, "Logical Destination Mode in x2APIC"). */
	apic->reg[MOTE_APIC_LDR] = x2 ? (id >> 4) << 16 | BIT(id & 15) : 0;
}

/* ---- bitmaps of 256 vectors ------------------------------------------------------- */

static int highest(const u32 *map)
{
	const u64 __attribute__((__may_alias__)) *word = (const void *)map;
	int i = word[3] ? 3 : word[2] ? 2 : word[1] ? 1 : 0;

	/* fls64() of nothing is 0. */
	return 64 * i + fls64(word[i]) - 1;
}

static void set(u32 *map, u8 vector)
{
	map[vector / 32] |= BIT(vector % 32);
}

static void clear(u32 *map, u8 vector)
{
	map[vector / 32] &= ~BIT(vector % 32);
}

static bool is_set(const u32 *map, u8 vector)
{
	return map[vector / 32] & BIT(vector % 32);
}

/* ---- interrupts on their way ------------------------------------------------------ */

/* The priority class of what is being serviced. */
static u32 service_class(const struct mote_apic *apic)
{
	int isr = highest(&apic->reg[MOTE_APIC_ISR]);

	return isr < 0 ? 0 : isr & 0xf0;
}

/* SDM 3A, "Task and Processor Priorities". */
static u32 ppr(const struct mote_apic *apic, u32 tpr)
{
	u32 class = service_class(apic);

	return (tpr & 0xf0) >= class ? tpr : class;
}

static void note_error(struct mote_apic *apic, u32 error);

bool mote_apic_accept(struct mote_apic *apic, u8 vector, bool level)
{
	if (!is_enabled(apic))
		return false;
	if (vector < LEAST_VECTOR) {
		note_error(apic, ESR_RECEIVE_VECTOR);
		return false;
	}
	set(&apic->reg[MOTE_APIC_IRR], vector);
	if (level)
		set(&apic->reg[MOTE_APIC_TMR], vector);
	else
		clear(&apic->reg[MOTE_APIC_TMR], vector);
	return true;
}

int mote_apic_pending(const struct mote_apic *apic, u32 tpr, bool *held)
{
	int irr = is_enabled(apic) ? highest(&apic->reg[MOTE_APIC_IRR]) : -1;

	/* Of the two that hold it back, an EOI is seen anyway. */
	*held = false;
	if (irr < 0 || (irr & 0xf0) <= service_class(apic))
		return -1;
	*held = (irr & 0xf0) <= (tpr & 0xf0);
	return *held ? -1 : irr;
}

bool mote_apic_takes_extint(const struct mote_apic *apic)
{
	/* While the APIC is disabled by software, it is masked. */
	return (apic->reg[MOTE_APIC_LVT_LINT0] & (LVT_MASKED | LVT_MODE)) == MOTE_ICR_EXTINT;
}

void mote_apic_acknowledge(struct mote_apic *apic, u8 vector)
{
	clear(&apic->reg[MOTE_APIC_IRR], vector);
	set(&apic->reg[MOTE_APIC_ISR], vector);
}

bool mote_apic_is_idle(const struct mote_apic *apic)
{
	return highest(&apic->reg[MOTE_APIC_IRR]) < 0;
}

bool mote_apic_can_end_silently(const struct mote_apic *apic, u8 vector)
{
	return !is_set(&apic->reg[MOTE_APIC_TMR], vector) && mote_apic_is_idle(apic);
}

/* Errors are shown in ESR by the next write to it; each sends the error interrupt. */
static void note_error(struct mote_apic *apic, u32 error)
{
	u32 lvt = apic->reg[MOTE_APIC_LVT_ERROR];

	apic->errors |= error;
	if (!(lvt & LVT_MASKED) && (lvt & LVT_VECTOR) >= LEAST_VECTOR)
		mote_apic_accept(apic, lvt & LVT_VECTOR, false);
}

/* ---- registers ---------------------------------------------------------------------- */

static bool exists(u32 reg, u32 access, bool x2)
{
	u32 wanted = access | (x2 ? X2 : X1);

	return reg < MOTE_APIC_REGS && (rows[reg].access & wanted) == wanted;
}

bool mote_apic_read(struct mote_apic *apic, u32 reg, bool x2, u32 tpr, u64 *value)
{
	*value = 0;
	if (!exists(reg, R, x2)) {
		note_error(apic, ESR_REGISTER);
		return !x2;
	}
	*value = apic->reg[reg];
	switch (reg) {
	case MOTE_APIC_TPR:
		*value = tpr;
		break;
	case MOTE_APIC_PPR:
		*value = ppr(apic, tpr);
		break;
	case MOTE_APIC_ICR:
		if (x2)
			*value |= (u64)apic->reg[MOTE_APIC_ICR2] << 32;
		break;
	}
	return true;
}

static enum mote_apic_effect end_of_interrupt(struct mote_apic *apic, u8 *vector)
{
	int isr = highest(&apic->reg[MOTE_APIC_ISR]);

	if (isr < 0)
		return MOTE_APIC_DONE;
	clear(&apic->reg[MOTE_APIC_ISR], isr);
	*vector = isr;
	return is_set(&apic->reg[MOTE_APIC_TMR], isr) ? MOTE_APIC_BROADCAST : MOTE_APIC_LOOK;
}

static enum mote_apic_effect write_lvt(struct mote_apic *apic, u32 reg, u32 value)
{
	u32 changed = apic->reg[reg] ^ value;

	/* While the APIC is disabled they stay masked (SDM 3A, "Local APIC State After …"). */
	if (!is_enabled(apic))
		value |= LVT_MASKED;
	apic->reg[reg] = value;
	if (reg != MOTE_APIC_LVT_TIMER || !(changed & LVT_TIMER_MODE))
		return MOTE_APIC_LOOK;
	/* A change of mode disarms the timer. */
	apic->reg[MOTE_APIC_TMICT] = 0;
	apic->deadline = 0;
	return MOTE_APIC_ARM;
}

static enum mote_apic_effect write_svr(struct mote_apic *apic, u32 value)
{
	u32 i;

	apic->reg[MOTE_APIC_SVR] = value;
	if (!(value & SVR_ENABLED))
		for (i = MOTE_APIC_LVT_TIMER; i <= MOTE_APIC_LVT_ERROR; i++)
			apic->reg[i] |= LVT_MASKED;
	return MOTE_APIC_LOOK;
}

/* Fixed interrupts need a vector, others have none (SDM 3A, "Error Handling"). */
static enum mote_apic_effect send(struct mote_apic *apic, u32 icr)
{
	u32 mode = icr & MOTE_ICR_MODE;

	if ((mode == MOTE_ICR_FIXED || mode == MOTE_ICR_LOWEST) && (icr & 0xff) < LEAST_VECTOR) {
		note_error(apic, ESR_SEND_VECTOR);
		return MOTE_APIC_LOOK;
	}
	return MOTE_APIC_SEND;
}

static bool is_reserved_zero(u32 reg, u64 value, bool x2)
{
	u64 writable = rows[reg].writable;

	if (!x2)
		return true;
	/* An LVT's status bits are read-only, not reserved. */
	if (is_lvt(reg))
		writable |= LVT_STATUS | LVT_REMOTE_IRR;
	if (reg == MOTE_APIC_ICR)
		writable |= (u64)U32_MAX << 32;
	if (reg == MOTE_APIC_LDR)
		return false;
	return !(value & ~writable);
}

enum mote_apic_effect mote_apic_write(struct mote_apic *apic, u32 reg, bool x2, u64 value,
				      u8 *vector)
{
	u32 low;

	if (!exists(reg, W, x2)) {
		note_error(apic, ESR_REGISTER);
		return x2 ? MOTE_APIC_INVALID : MOTE_APIC_LOOK;
	}
	if (!is_reserved_zero(reg, value, x2))
		return MOTE_APIC_INVALID;
	low = value & rows[reg].writable;
	switch (reg) {
	case MOTE_APIC_EOI:
		return end_of_interrupt(apic, vector);
	case MOTE_APIC_SELF_IPI:
		apic->reg[MOTE_APIC_ICR] = low | MOTE_ICR_SELF;
		return send(apic, low | MOTE_ICR_SELF);
	case MOTE_APIC_ICR:
		apic->reg[reg] = low;
		if (x2)
			apic->reg[MOTE_APIC_ICR2] = value >> 32;
		return send(apic, low);
	case MOTE_APIC_DFR:
		apic->reg[reg] = low | 0x0fffffff;
		return MOTE_APIC_DONE;
	case MOTE_APIC_SVR:
		return write_svr(apic, low);
	case MOTE_APIC_ESR:
		apic->reg[reg] = apic->errors;
		apic->errors = 0;
		return MOTE_APIC_DONE;
	case MOTE_APIC_TPR:
		apic->reg[reg] = low;
		return MOTE_APIC_LOOK;
	case MOTE_APIC_TMICT:
		/* In TSC-deadline mode it is ignored. */
		if (mote_apic_timer_mode(apic) == MOTE_APIC_DEADLINE)
			return MOTE_APIC_DONE;
		apic->reg[reg] = low;
		return MOTE_APIC_ARM;
	case MOTE_APIC_TDCR:
		apic->reg[reg] = low;
		return MOTE_APIC_ARM;
	}
	if (is_lvt(reg))
		return write_lvt(apic, reg, low);
	apic->reg[reg] = low;
	return MOTE_APIC_DONE;
}

/* ---- destinations --------------------------------------------------------------------- */

bool mote_apic_matches(const struct mote_apic *apic, u32 id, bool x2, u32 dest, bool logical)
{
	u32 ldr = apic->reg[MOTE_APIC_LDR];
	u32 mda = dest & 0xff;

	if (x2 ? dest == U32_MAX : mda == 0xff)
		return true;
	if (!logical)
		return x2 ? dest == id : mda == id;
	if (x2)
		return dest >> 16 == ldr >> 16 && dest & ldr & 0xffff;
	/* SDM 3A, "Logical Destination Mode": the flat model, or clusters. */
	if (apic->reg[MOTE_APIC_DFR] >> 28 == 0xf)
		return mda & (ldr >> 24);
	return mda >> 4 == ldr >> 28 && mda & 0xf & (ldr >> 24);
}

/* ---- timer ------------------------------------------------------------------------------ */

u32 mote_apic_timer_mode(const struct mote_apic *apic)
{
	return apic->reg[MOTE_APIC_LVT_TIMER] & LVT_TIMER_MODE;
}

u64 mote_apic_tick_ns(const struct mote_apic *apic)
{
	u32 tdcr = apic->reg[MOTE_APIC_TDCR];
	u32 code = (tdcr & 3) | (tdcr & 8) >> 1;

	/* 2, 4, … 128, and 1 (SDM 3A, "Divide Configuration Register"); the bus has 1 GHz. */
	return code == 7 ? 1 : 2u << code;
}

/* What GET_STATE has given, or what could have become of it. */
bool mote_apic_is_valid(const struct mote_apic *apic, u32 id, bool x2)
{
	const u32 ro = LVT_STATUS | LVT_REMOTE_IRR;
	struct mote_apic like;
	u32 i, free;

	mote_apic_reset(&like, id, x2);
	for (i = 0; i < MOTE_APIC_REGS; i++) {
		free = rows[i].access & W ? rows[i].writable | (is_lvt(i) ? ro : 0) : 0;
		if (i >= MOTE_APIC_ISR && i < MOTE_APIC_ESR)
			free = i % 8 ? ~0u : ~0u << LEAST_VECTOR;
		else if (i == MOTE_APIC_ESR || i == MOTE_APIC_ICR2 || i == MOTE_APIC_TMCCT)
			free = ~0u;
		else if (i == MOTE_APIC_LDR && x2)
			free = 0;
		if ((apic->reg[i] ^ like.reg[i]) & ~free)
			return false;
	}
	return !(apic->errors & ~0xffu) && !apic->pad;
}

bool mote_apic_timer_fires(struct mote_apic *apic)
{
	u32 lvt = apic->reg[MOTE_APIC_LVT_TIMER];

	if (mote_apic_timer_mode(apic) == MOTE_APIC_DEADLINE)
		apic->deadline = 0;
	return !(lvt & LVT_MASKED) && mote_apic_accept(apic, lvt & LVT_VECTOR, false);
}
