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

enum access { R = 1, W = 2, X1 = 4, X2 = 8 };
#define RW (R | W)
#define BOTH (X1 | X2)

/*
 * What can be done to a register, in which mode it exists, and its writable bits;
 * a write to others is ignored, or #GP in x2APIC mode.
 */
static const struct apic_register {
	u8 access;
	u32 writable;
} apic_registers[MOTE_APIC_REGS] = {
	[APIC_REG(ID) ... APIC_REG(LVR)] = { R | BOTH },
	[APIC_REG(TASKPRI)] = { RW | BOTH, APIC_TPRI_MASK },
	[APIC_REG(PROCPRI)] = { R | BOTH },
	[APIC_REG(EOI)] = { W | BOTH },
	[APIC_REG(LDR)] = { RW | BOTH, APIC_LDR_MASK },
	[APIC_REG(DFR)] = { RW | X1, (u32)~APIC_DFR_CLUSTER },
	[APIC_REG(SPIV)] = { RW | BOTH, APIC_SPIV_APIC_ENABLED | APIC_VECTOR_MASK },
	[APIC_REG(ISR) ... APIC_REG(IRR) + 7] = { R | BOTH },
	[APIC_REG(ESR)] = { RW | BOTH },
	[APIC_REG(ICR)] = { RW | BOTH, ICR_BITS },
	[APIC_REG(ICR2)] = { RW | X1, 0xff000000 },
	[APIC_REG(LVTT)] = { RW | BOTH, LVT_BITS | APIC_LVT_TIMER_MODE },
	[APIC_REG(LVTTHMR) ... APIC_REG(LVTPC)] = { RW | BOTH, LVT_MODE_BITS },
	[APIC_REG(LVT0) ... APIC_REG(LVT1)] = { RW | BOTH, LVT_LINT_BITS },
	[APIC_REG(LVTERR)] = { RW | BOTH, LVT_BITS },
	[APIC_REG(TMICT)] = { RW | BOTH, ~0u },
	[APIC_REG(TMCCT)] = { R | BOTH },
	[APIC_REG(TDCR)] = { RW | BOTH, APIC_TDR_DIV_1 },
	[APIC_REG(SELF_IPI)] = { W | X2, APIC_VECTOR_MASK },
};

static bool apic_is_lvt(u32 reg)
{
	return reg >= APIC_REG(LVTT) && reg <= APIC_REG(LVTERR);
}

static bool apic_is_enabled(const struct mote_apic *apic)
{
	return apic->reg[APIC_REG(SPIV)] & APIC_SPIV_APIC_ENABLED;
}

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

static int apic_highest_vector(const u32 *map)
{
	const u64 __attribute__((__may_alias__)) *word = (const void *)map;
	int i = word[3] ? 3 : word[2] ? 2 : word[1] ? 1 : 0;

	/* fls64() of nothing is 0. */
	return 64 * i + fls64(word[i]) - 1;
}

static void apic_set_vector(u32 *map, u8 vector)
{
	map[vector / 32] |= BIT(vector % 32);
}

static void apic_clear_vector(u32 *map, u8 vector)
{
	map[vector / 32] &= ~BIT(vector % 32);
}

static bool apic_has_vector(const u32 *map, u8 vector)
{
	return map[vector / 32] & BIT(vector % 32);
}

/* ---- interrupts: IRR, ISR, TMR ------------------------------------------------------ */

/* The priority class of the interrupt in service. */
static u32 apic_service_class(const struct mote_apic *apic)
{
	int isr = apic_highest_vector(&apic->reg[APIC_REG(ISR)]);

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
	apic_set_vector(&apic->reg[APIC_REG(IRR)], vector);
	if (level)
		apic_set_vector(&apic->reg[APIC_REG(TMR)], vector);
	else
		apic_clear_vector(&apic->reg[APIC_REG(TMR)], vector);
}

/* Each error sends the error interrupt; the next write to ESR shows the errors in it. */
static void apic_note_error(struct mote_apic *apic, u32 error)
{
	u32 lvt = apic->reg[APIC_REG(LVTERR)];
	u8 vector = lvt & APIC_VECTOR_MASK;

	apic->errors |= error;
	if (apic_is_enabled(apic) && !(lvt & APIC_LVT_MASKED) && vector >= APIC_LEAST_VECTOR)
		apic_set_irr(apic, vector, false);
}

bool mote_apic_accept(struct mote_apic *apic, u8 vector, bool level)
{
	if (!apic_is_enabled(apic))
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
	int irr = apic_is_enabled(apic) ? apic_highest_vector(&apic->reg[APIC_REG(IRR)]) : -1;

	/* ISR may hold it back, too: that ends with an EOI, which exits anyway. */
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
	apic_clear_vector(&apic->reg[APIC_REG(IRR)], vector);
	apic_set_vector(&apic->reg[APIC_REG(ISR)], vector);
}

bool mote_apic_is_idle(const struct mote_apic *apic)
{
	return apic_highest_vector(&apic->reg[APIC_REG(IRR)]) < 0;
}

bool mote_apic_can_end_silently(const struct mote_apic *apic, u8 vector)
{
	return !apic_has_vector(&apic->reg[APIC_REG(TMR)], vector) && mote_apic_is_idle(apic);
}

/* ---- registers ---------------------------------------------------------------------- */

static bool apic_has_register(u32 reg, u32 access, bool x2)
{
	u32 wanted = access | (x2 ? X2 : X1);

	return reg < MOTE_APIC_REGS && (apic_registers[reg].access & wanted) == wanted;
}

/* False: #GP, which in x2APIC mode takes the place of the error (SDM 3A, "Error Handling"). */
static bool apic_note_illegal_register(struct mote_apic *apic, bool x2)
{
	if (!x2)
		apic_note_error(apic, APIC_ESR_ILLREGA);
	return !x2;
}

bool mote_apic_read(struct mote_apic *apic, u32 reg, bool x2, u32 tpr, u64 *value)
{
	*value = 0;
	if (!apic_has_register(reg, R, x2))
		return apic_note_illegal_register(apic, x2);
	*value = apic->reg[reg];
	switch (reg) {
	case APIC_REG(TASKPRI):
		*value = tpr;
		break;
	case APIC_REG(PROCPRI):
		*value = apic_ppr(apic, tpr);
		break;
	case APIC_REG(ICR):
		if (x2)
			*value |= (u64)apic->reg[APIC_REG(ICR2)] << 32;
		break;
	}
	return true;
}

static enum mote_apic_effect apic_end_of_interrupt(struct mote_apic *apic, u8 *vector)
{
	int isr = apic_highest_vector(&apic->reg[APIC_REG(ISR)]);

	if (isr < 0)
		return MOTE_APIC_DONE;
	apic_clear_vector(&apic->reg[APIC_REG(ISR)], isr);
	*vector = isr;
	return apic_has_vector(&apic->reg[APIC_REG(TMR)], isr) ? MOTE_APIC_BROADCAST :
								 MOTE_APIC_RECHECK;
}

static enum mote_apic_effect apic_write_lvt(struct mote_apic *apic, u32 reg, u32 value)
{
	u32 changed = apic->reg[reg] ^ value;

	/* In a disabled APIC they stay masked (SDM 3A, "Local APIC State After … Disabled"). */
	if (!apic_is_enabled(apic))
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

/* The status bits of an LVT entry are read-only, not reserved. */
static u32 apic_known_bits(u32 reg)
{
	return apic_registers[reg].writable | (apic_is_lvt(reg) ? APIC_LVT_STATUS : 0);
}

/* In x2APIC mode ICR has 64 bits, and LDR is read-only. */
static bool apic_is_reserved_zero(u32 reg, u64 value, bool x2)
{
	if (!x2)
		return true;
	if (reg == APIC_REG(ICR))
		value = (u32)value;
	return reg != APIC_REG(LDR) && !(value & ~(u64)apic_known_bits(reg));
}

enum mote_apic_effect mote_apic_write(struct mote_apic *apic, u32 reg, bool x2, u64 value,
				      u8 *vector)
{
	u32 low;

	if (!apic_has_register(reg, W, x2))
		return apic_note_illegal_register(apic, x2) ? MOTE_APIC_RECHECK : MOTE_APIC_INVALID;
	if (!apic_is_reserved_zero(reg, value, x2))
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
	case APIC_REG(SPIV):
		apic->reg[reg] = low;
		if (!apic_is_enabled(apic))
			apic_mask_lvts(apic);
		return MOTE_APIC_RECHECK;
	case APIC_REG(ESR):
		apic->reg[reg] = apic->errors;
		apic->errors = 0;
		return MOTE_APIC_DONE;
	case APIC_REG(LVTT) ... APIC_REG(LVTERR):
		return apic_write_lvt(apic, reg, low);
	case APIC_REG(TMICT):
		/* In TSC-deadline mode a write is ignored. */
		if (mote_apic_timer_mode(apic) == APIC_LVT_TIMER_TSCDEADLINE)
			return MOTE_APIC_DONE;
		fallthrough;
	case APIC_REG(TDCR):
		apic->reg[reg] = low;
		return MOTE_APIC_ARM;
	case APIC_REG(TASKPRI):
		apic->reg[reg] = low;
		return MOTE_APIC_RECHECK;
	case APIC_REG(DFR):
		low |= APIC_DFR_CLUSTER;
		fallthrough;
	default:
		apic->reg[reg] = low;
		return MOTE_APIC_DONE;
	}
}

bool mote_apic_is_valid(const struct mote_apic *apic, u32 id, bool x2)
{
	struct mote_apic like;
	u32 i, free;

	mote_apic_reset(&like, id, x2);
	for (i = 0; i < MOTE_APIC_REGS; i++) {
		free = apic_registers[i].access & W ? apic_known_bits(i) : 0;
		if (i >= APIC_REG(ISR) && i < APIC_REG(ESR))
			free = i % 8 ? ~0u : ~0u << APIC_LEAST_VECTOR;
		else if (i == APIC_REG(ESR) || i == APIC_REG(ICR2) || i == APIC_REG(TMCCT))
			free = ~0u;
		else if (i == APIC_REG(LDR) && x2)
			free = 0;
		if ((apic->reg[i] ^ like.reg[i]) & ~free)
			return false;
	}
	return !(apic->errors & ~0xffu) && !apic->pad;
}

/* ---- destinations --------------------------------------------------------------------- */

bool mote_apic_matches(const struct mote_apic *apic, u32 id, bool x2, u32 dest, bool logical)
{
	u32 ldr = apic->reg[APIC_REG(LDR)];
	u32 mda = dest & 0xff;

	if (x2 ? dest == U32_MAX : mda == 0xff)
		return true;
	if (!logical)
		return x2 ? dest == id : mda == id;
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
