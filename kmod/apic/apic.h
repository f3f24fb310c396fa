/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The registers of a local APIC as pure functions (SDM 3A, "Advanced Programmable
 * Interrupt Controller"): no hardware, no locks, no time.
 */
#ifndef MOTE_APIC_H
#define MOTE_APIC_H

#include <asm/apicdef.h>
#include <linux/mote.h>

/* A register's number: its offset in the xAPIC page / 16, or its MSR - APIC_BASE_MSR. */
#define APIC_REG(name) (APIC_##name >> 4)

/* What the caller does about a write. */
enum mote_apic_effect {
	MOTE_APIC_DONE,
	MOTE_APIC_RECHECK,	/* another interrupt may be deliverable now */
	MOTE_APIC_BROADCAST,	/* likewise, and an EOI goes to the I/O APICs */
	MOTE_APIC_SEND,		/* ICR holds an interrupt to send */
	MOTE_APIC_ARM,		/* the timer starts anew */
	MOTE_APIC_ADDRESSED,	/* LDR was written, in xAPIC mode */
	MOTE_APIC_INVALID,	/* #GP */
};

void mote_apic_reset(struct mote_apic *apic, u32 id, bool x2);
void mote_apic_set_mode(struct mote_apic *apic, u32 id, bool x2);
/* Could a local APIC with this id and mode have these registers? */
bool mote_apic_is_valid(const struct mote_apic *apic, u32 id, bool x2);

/* Has software enabled it (the spurious-interrupt vector register)? */
static inline bool mote_apic_is_enabled(const struct mote_apic *apic)
{
	return apic->reg[APIC_REG(SPIV)] & APIC_SPIV_APIC_ENABLED;
}

/* Set a vector in IRR; false: the interrupt is lost, as the APIC is off or the vector below 16. */
bool mote_apic_accept(struct mote_apic *apic, u8 vector, bool level);

/* The vector of the interrupt that the CPU could take, or -1; @held: @tpr alone holds one back. */
int mote_apic_pending(const struct mote_apic *apic, u32 tpr, bool *held);

/* Does LINT0 let an 8259's interrupts through (SDM 3A, "Local Vector Table": ExtINT)? */
bool mote_apic_takes_extint(const struct mote_apic *apic);

/* The CPU takes the interrupt: its vector moves from IRR to ISR. */
void mote_apic_acknowledge(struct mote_apic *apic, u8 vector);

/* Is this vector in IRR?  Also from other threads, who then know what was so. */
bool mote_apic_waits(const struct mote_apic *apic, u8 vector);
/* Is IRR empty? */
bool mote_apic_is_idle(const struct mote_apic *apic);
/* Does the EOI of this vector, in service, concern neither an I/O APIC nor IRR? */
bool mote_apic_can_end_silently(const struct mote_apic *apic, u8 vector);

/* Read a register but for TMCCT, which is 0; false: #GP. */
bool mote_apic_read(struct mote_apic *apic, u32 reg, bool x2, u32 tpr, u64 *value);

/* Write a register; the caller keeps TPR, too.  @vector: of an interrupt that this has ended. */
enum mote_apic_effect mote_apic_write(struct mote_apic *apic, u32 reg, bool x2, u64 value,
				      u8 *vector);

/* Is an APIC, with its mode and id, among the destinations of a message? */
bool mote_apic_matches(const struct mote_apic *apic, u32 id, bool x2, u32 dest, bool logical);

/* APIC_LVT_TIMER_ONESHOT, _PERIODIC or _TSCDEADLINE */
u32 mote_apic_timer_mode(const struct mote_apic *apic);
/* How long the timer takes to count one, in ns: 1 to 128. */
u64 mote_apic_tick_ns(const struct mote_apic *apic);
/* The timer has expired; false: no interrupt comes of it. */
bool mote_apic_timer_fires(struct mote_apic *apic);

#endif /* MOTE_APIC_H */
