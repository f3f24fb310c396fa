// SPDX-License-Identifier: GPL-2.0
/*
 * The arithmetic of a local APIC: its registers, priorities, destinations and
 * timer, in xAPIC and x2APIC mode (SDM 3A, "Advanced Programmable Interrupt
 * Controller").  Pure functions on a page of registers.
 *
 * Not here: sending, waking and waiting (lapic.c).  The vCPU's CR8 is the upper
 * half of TPR: callers pass TPR, of which the register keeps the lower half only.
 */
#include <linux/bitops.h>
#include <linux/nospec.h>
#include <linux/string.h>

#include "apic.h"

#define APIC_VERSION (0x14 | 5 << 16) /* not an 82489DX; six LVT entries */
#define APIC_LVT_TIMER_MODE (3 << 17)
#define APIC_LVT_STATUS (APIC_SEND_PENDING | APIC_LVT_REMOTE_IRR)
/* Lower ones are illegal (SDM 3A, "Valid Interrupt Vectors"). */
#define APIC_LEAST_VECTOR 16

/* What can be written of LVT entries and of ICR. */
#define LVT_BITS (APIC_VECTOR_MASK | APIC_LVT_MASKED)
#define LVT_MODE_BITS (LVT_BITS | APIC_MODE_MASK)
#define LVT_LINT_BITS (LVT_MODE_BITS | APIC_INPUT_POLARITY | APIC_LVT_LEVEL_TRIGGER)
#define ICR_BITS (APIC_VECTOR_MASK | APIC_MODE_MASK | APIC_DEST_LOGICAL | APIC_INT_ASSERT | \
		  APIC_INT_LEVELTRIG | APIC_DEST_ALLBUT)

enum { R = 1, W = 2, RW = R | W };

/*
 * What can be done to a register in xAPIC and in x2APIC mode, and its bits: a write to
 * others than these is ignored, or #GP in x2APIC mode.
 */
static const struct apic_register {
	u8 access[2];
	u32 writable;
	u32 status;	/* read-only, but not reserved */
	u8 effect;	/* &enum mote_apic_effect, unless mote_apic_write() knows better */
} apic_registers[MOTE_APIC_REGS] = {
	[APIC_REG(ID) ... APIC_REG(LVR)] = { { R, R } },
	[APIC_REG(TASKPRI)] = { { RW, RW }, APIC_TPRI_MASK, 0, MOTE_APIC_RECHECK },
	[APIC_REG(PROCPRI)] = { { R, R } },
	[APIC_REG(EOI)] = { { W, W } },
	[APIC_REG(LDR)] = { { RW, R }, APIC_LDR_MASK, 0, MOTE_APIC_ADDRESSED },
	[APIC_REG(DFR)] = { { RW, 0 }, (u32)~APIC_DFR_CLUSTER },
	[APIC_REG(SPIV)] = { { RW, RW }, APIC_SPIV_APIC_ENABLED | APIC_VECTOR_MASK, 0,
			     MOTE_APIC_RECHECK },
	[APIC_REG(ISR) ... APIC_REG(IRR) + 7] = { { R, R }, 0, ~0u },
	[APIC_REG(ESR)] = { { RW, RW } },
	[APIC_REG(ICR)] = { { RW, RW }, ICR_BITS },
	[APIC_REG(ICR2)] = { { RW, 0 }, 0xff000000, ~0u },
	[APIC_REG(LVTT)] = { { RW, RW }, LVT_BITS | APIC_LVT_TIMER_MODE, APIC_LVT_STATUS },
	[APIC_REG(LVTTHMR) ... APIC_REG(LVTPC)] = { { RW, RW }, LVT_MODE_BITS, APIC_LVT_STATUS },
	[APIC_REG(LVT0) ... APIC_REG(LVT1)] = { { RW, RW }, LVT_LINT_BITS, APIC_LVT_STATUS },
	[APIC_REG(LVTERR)] = { { RW, RW }, LVT_BITS, APIC_LVT_STATUS },
	[APIC_REG(TMICT)] = { { RW, RW }, ~0u, 0, MOTE_APIC_ARM },
	[APIC_REG(TMCCT)] = { { R, R }, 0, ~0u },
	[APIC_REG(TDCR)] = { { RW, RW }, APIC_TDR_DIV_1, 0, MOTE_APIC_ARM },
	[APIC_REG(SELF_IPI)] = { { 0, W }, APIC_VECTOR_MASK },
};

static void apic_mask_lvts(struct mote_apic *apic)
{
	u32 i;

	for (i = APIC_REG(LVTT); i <= APIC_REG(LVTERR); i++)
		apic->reg[i] |= APIC_LVT_MASKED;
}

void mote_apic_reset(struct mote_apic *apic, u32 id, bool x2)
{
	memset(apic, 0, sizeof(*apic));
	apic->reg[APIC_REG(LVR)] = APIC_VERSION;
	apic->reg[APIC_REG(DFR)] = APIC_DFR_FLAT;
	apic->reg[APIC_REG(SPIV)] = 0xff;
	apic_mask_lvts(apic);
	mote_apic_set_mode(apic, id, x2);
}

void mote_apic_set_mode(struct mote_apic *apic, u32 id, bool x2)
{
	apic->reg[APIC_REG(ID)] = x2 ? id : id << 24;
	/* In x2APIC mode LDR follows from the id (SDM 3A, "Logical Destination Mode in x2APIC"). */
	apic->reg[APIC_REG(LDR)] = x2 ? (id >> 4) << 16 | BIT(id & 15) : 0;
}

/* ---- bitmaps of 256 vectors ------------------------------------------------------- */

/* IRR, ISR or TMR. */
#define apic_vectors(apic, name) ((unsigned long *)&(apic)->reg[APIC_REG(name)])

static int apic_highest_vector(const unsigned long *map)
{
	int i = map[3] ? 3 : map[2] ? 2 : map[1] ? 1 : 0;

	/* fls64() of nothing is 0. */
	return 64 * i + fls64(map[i]) - 1;
}

/* ---- interrupts: IRR, ISR, TMR ------------------------------------------------------ */

/* The priority class of the interrupt in service. */
static u32 apic_service_class(const struct mote_apic *apic)
{
	int isr = apic_highest_vector(apic_vectors(apic, ISR));

	return isr < 0 ? 0 : isr & 0xf0;
}

/* SDM 3A, "Task and Processor Priorities". */
static u32 apic_ppr(const struct mote_apic *apic, u32 tpr)
{
	u32 class = apic_service_class(apic);

	return (tpr & 0xf0) >= class ? tpr : class;
}

static void apic_set_irr(struct mote_apic *apic, u8 vector, bool level)
{
	__set_bit(vector, apic_vectors(apic, IRR));
	__assign_bit(vector, apic_vectors(apic, TMR), level);
}

/* Each error sends the error interrupt; the next write to ESR shows the errors in it. */
static void apic_note_error(struct mote_apic *apic, u32 error)
{
	u32 lvt = apic->reg[APIC_REG(LVTERR)];
	u8 vector = lvt & APIC_VECTOR_MASK;

	apic->errors |= error;
	if (mote_apic_is_enabled(apic) && !(lvt & APIC_LVT_MASKED) && vector >= APIC_LEAST_VECTOR)
		apic_set_irr(apic, vector, false);
}

bool mote_apic_accept(struct mote_apic *apic, u8 vector, bool level)
{
	if (!mote_apic_is_enabled(apic))
		return false;
	if (vector < APIC_LEAST_VECTOR) {
		apic_note_error(apic, APIC_ESR_RECVILL);
		return false;
	}
	apic_set_irr(apic, vector, level);
	return true;
}

int mote_apic_pending(const struct mote_apic *apic, u32 tpr, bool *held)
{
	int irr = mote_apic_is_enabled(apic) ? apic_highest_vector(apic_vectors(apic, IRR)) : -1;

	/* ISR may hold it back, too: that ends with an EOI, which exits if it is not offered. */
	*held = false;
	if (irr < 0 || (irr & 0xf0) <= apic_service_class(apic))
		return -1;
	*held = (irr & 0xf0) <= (tpr & 0xf0);
	return *held ? -1 : irr;
}

bool mote_apic_takes_extint(const struct mote_apic *apic)
{
	/* Software that disables the APIC masks LINT0. */
	return (apic->reg[APIC_REG(LVT0)] & (APIC_LVT_MASKED | APIC_MODE_MASK)) == APIC_DM_EXTINT;
}

void mote_apic_acknowledge(struct mote_apic *apic, u8 vector)
{
	__clear_bit(vector, apic_vectors(apic, IRR));
	__set_bit(vector, apic_vectors(apic, ISR));
}

bool mote_apic_waits(const struct mote_apic *apic, u8 vector)
{
	return test_bit(vector, apic_vectors(apic, IRR));
}

bool mote_apic_is_idle(const struct mote_apic *apic)
{
	return apic_highest_vector(apic_vectors(apic, IRR)) < 0;
}

bool mote_apic_can_end_silently(const struct mote_apic *apic, u8 vector)
{
	return !test_bit(vector, apic_vectors(apic, TMR)) && mote_apic_is_idle(apic);
}

/* ---- registers ---------------------------------------------------------------------- */

/* An access to what is not there is an error, or #GP in x2APIC mode.  A guest chooses @reg. */
static __always_inline bool apic_has_register(struct mote_apic *apic, u32 *reg, u32 access, bool x2)
{
	if (*reg < MOTE_APIC_REGS) {
		*reg = array_index_nospec(*reg, MOTE_APIC_REGS);
		if (apic_registers[*reg].access[x2] & access)
			return true;
	}
	if (!x2)
		apic_note_error(apic, APIC_ESR_ILLREGA);
	return false;
}

bool mote_apic_read(struct mote_apic *apic, u32 reg, bool x2, u32 tpr, u64 *value)
{
	*value = 0;
	if (!apic_has_register(apic, &reg, R, x2))
		return !x2;
	*value = reg == APIC_REG(TASKPRI) ? tpr :
		 reg == APIC_REG(PROCPRI) ? apic_ppr(apic, tpr) : apic->reg[reg];
	if (reg == APIC_REG(ICR) && x2)
		*value |= (u64)apic->reg[APIC_REG(ICR2)] << 32;
	return true;
}

static enum mote_apic_effect apic_end_of_interrupt(struct mote_apic *apic, u8 *vector)
{
	int isr = apic_highest_vector(apic_vectors(apic, ISR));

	if (isr < 0)
		return MOTE_APIC_DONE;
	__clear_bit(isr, apic_vectors(apic, ISR));
	*vector = isr;
	return test_bit(isr, apic_vectors(apic, TMR)) ? MOTE_APIC_BROADCAST : MOTE_APIC_RECHECK;
}

static enum mote_apic_effect apic_write_lvt(struct mote_apic *apic, u32 reg, u32 value)
{
	u32 changed = apic->reg[reg] ^ value;

	/* In a disabled APIC they stay masked (SDM 3A, "Local APIC State After … Disabled"). */
	if (!mote_apic_is_enabled(apic))
		value |= APIC_LVT_MASKED;
	apic->reg[reg] = value;
	if (reg != APIC_REG(LVTT) || !(changed & APIC_LVT_TIMER_MODE))
		return MOTE_APIC_RECHECK;
	/* A change of mode disarms the timer. */
	apic->reg[APIC_REG(TMICT)] = 0;
	apic->deadline = 0;
	return MOTE_APIC_ARM;
}

/* Fixed interrupts need a legal vector, others have none (SDM 3A, "Error Handling"). */
static enum mote_apic_effect apic_send(struct mote_apic *apic, u32 icr)
{
	u32 mode = icr & APIC_MODE_MASK;
	u8 vector = icr & APIC_VECTOR_MASK;

	if ((mode == APIC_DM_FIXED || mode == APIC_DM_LOWEST) && vector < APIC_LEAST_VECTOR) {
		apic_note_error(apic, APIC_ESR_SENDILL);
		return MOTE_APIC_RECHECK;
	}
	return MOTE_APIC_SEND;
}

enum mote_apic_effect mote_apic_write(struct mote_apic *apic, u32 reg, bool x2, u64 value,
				      u8 *vector)
{
	u64 known;
	u32 low;

	if (!apic_has_register(apic, &reg, W, x2))
		return x2 ? MOTE_APIC_INVALID : MOTE_APIC_RECHECK;
	known = apic_registers[reg].writable | apic_registers[reg].status;
	/* In x2APIC mode ICR has ICR2 in it. */
	if (reg == APIC_REG(ICR))
		known |= ~0ull << 32;
	if (x2 && value & ~known)
		return MOTE_APIC_INVALID;
	low = value & apic_registers[reg].writable;
	switch (reg) {
	case APIC_REG(EOI):
		return apic_end_of_interrupt(apic, vector);
	case APIC_REG(SELF_IPI):
		apic->reg[APIC_REG(ICR)] = low | APIC_DEST_SELF;
		return apic_send(apic, low | APIC_DEST_SELF);
	case APIC_REG(ICR):
		apic->reg[reg] = low;
		if (x2)
			apic->reg[APIC_REG(ICR2)] = value >> 32;
		return apic_send(apic, low);
	case APIC_REG(LVTT) ... APIC_REG(LVTERR):
		return apic_write_lvt(apic, reg, low);
	case APIC_REG(TMICT):
		/* In TSC-deadline mode a write is ignored. */
		if (mote_apic_timer_mode(apic) == APIC_LVT_TIMER_TSCDEADLINE)
			return MOTE_APIC_DONE;
		break;
	case APIC_REG(SPIV):
		if (!(low & APIC_SPIV_APIC_ENABLED))
			apic_mask_lvts(apic);
		break;
	case APIC_REG(ESR):
		low = apic->errors;
		apic->errors = 0;
		break;
	case APIC_REG(DFR):
		low |= APIC_DFR_CLUSTER;
		break;
	}
	apic->reg[reg] = low;
	return apic_registers[reg].effect;
}

bool mote_apic_is_valid(const struct mote_apic *apic, u32 id, bool x2)
{
	u32 signals = apic->signals, i, free;
	struct mote_apic like;

	mote_apic_reset(&like, id, x2);
	/* Any errors may be shown. */
	like.reg[APIC_REG(ESR)] = apic->reg[APIC_REG(ESR)];
	for (i = 0; i < MOTE_APIC_REGS; i++) {
		free = apic_registers[i].writable | apic_registers[i].status;
		if (i >= APIC_REG(ISR) && i < APIC_REG(ESR) && i % 8 == 0)
			free = ~0u << APIC_LEAST_VECTOR;
		else if (i == APIC_REG(LDR) && x2)
			free = 0;
		if ((apic->reg[i] ^ like.reg[i]) & ~free)
			return false;
	}
	/* Only a start-up IPI has a vector. */
	free = MOTE_APIC_INIT | MOTE_APIC_WAKE |
	       (signals & MOTE_APIC_STARTUP ? MOTE_APIC_STARTUP | MOTE_APIC_VECTOR : 0);
	return !(apic->errors & ~0xffu) && !(signals & ~free);
}

/* ---- destinations --------------------------------------------------------------------- */

bool mote_apic_matches(const struct mote_apic *apic, u32 id, bool x2, u32 dest, bool logical)
{
	u32 ldr = apic->reg[APIC_REG(LDR)];
	u32 mda = dest & 0xff;

	if (x2 ? dest == U32_MAX : mda == 0xff)
		return true;
	/* In xAPIC mode, too, one with a large id can be got going. */
	if (!logical)
		return dest == id;
	if (x2)
		return dest >> 16 == ldr >> 16 && dest & ldr & 0xffff;
	/* SDM 3A, "Logical Destination Mode": the flat model, or clusters. */
	if (apic->reg[APIC_REG(DFR)] >> 28 == 0xf)
		return mda & (ldr >> 24);
	return mda >> 4 == ldr >> 28 && mda & 0xf & (ldr >> 24);
}

/* ---- timer ------------------------------------------------------------------------------ */

u32 mote_apic_timer_mode(const struct mote_apic *apic)
{
	return apic->reg[APIC_REG(LVTT)] & APIC_LVT_TIMER_MODE;
}

u64 mote_apic_tick_ns(const struct mote_apic *apic)
{
	u32 tdcr = apic->reg[APIC_REG(TDCR)];
	u32 code = (tdcr & 3) | (tdcr & 8) >> 1;

	/* 2, 4, … 128, and 1 (SDM 3A, "Divide Configuration Register"); the bus has 1 GHz. */
	return code == 7 ? 1 : 2u << code;
}

bool mote_apic_timer_fires(struct mote_apic *apic)
{
	u32 lvt = apic->reg[APIC_REG(LVTT)];

	if (mote_apic_timer_mode(apic) == APIC_LVT_TIMER_TSCDEADLINE)
		apic->deadline = 0;
	return !(lvt & APIC_LVT_MASKED) && mote_apic_accept(apic, lvt & APIC_VECTOR_MASK, false);
}
