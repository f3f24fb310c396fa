/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The registers of a local APIC as pure functions (SDM 3A, "Advanced Programmable
 * Interrupt Controller"): no hardware, no locks, no time.
 */
#ifndef MOTE_APIC_H
#define MOTE_APIC_H

#include <linux/types.h>
#include <linux/mote.h>

/* Registers: offset in the xAPIC page / 16, or MSR - 0x800. */
enum {
	MOTE_APIC_ID = 0x02,
	MOTE_APIC_VERSION = 0x03,
	MOTE_APIC_TPR = 0x08,
	MOTE_APIC_PPR = 0x0a,
	MOTE_APIC_EOI = 0x0b,
	MOTE_APIC_LDR = 0x0d,
	MOTE_APIC_DFR = 0x0e,
	MOTE_APIC_SVR = 0x0f,
	MOTE_APIC_ISR = 0x10,
	MOTE_APIC_TMR = 0x18,
	MOTE_APIC_IRR = 0x20,
	MOTE_APIC_ESR = 0x28,
	MOTE_APIC_ICR = 0x30,
	MOTE_APIC_ICR2 = 0x31,
	MOTE_APIC_LVT_TIMER = 0x32,
	MOTE_APIC_LVT_THERMAL = 0x33,
	MOTE_APIC_LVT_PERF = 0x34,
	MOTE_APIC_LVT_LINT0 = 0x35,
	MOTE_APIC_LVT_LINT1 = 0x36,
	MOTE_APIC_LVT_ERROR = 0x37,
	MOTE_APIC_TMICT = 0x38,
	MOTE_APIC_TMCCT = 0x39,
	MOTE_APIC_TDCR = 0x3e,
	MOTE_APIC_SELF_IPI = 0x3f,
};

/* Of ICR, and of an MSI's data as far as it has them. */
#define MOTE_ICR_MODE (7u << 8)
#define MOTE_ICR_FIXED (0u << 8)
#define MOTE_ICR_LOWEST (1u << 8)
#define MOTE_ICR_NMI (4u << 8)
#define MOTE_ICR_INIT (5u << 8)
#define MOTE_ICR_STARTUP (6u << 8)
#define MOTE_ICR_EXTINT (7u << 8) /* of an LVT entry */
#define MOTE_ICR_LOGICAL (1u << 11)
#define MOTE_ICR_ASSERT (1u << 14)
#define MOTE_ICR_LEVEL (1u << 15)
#define MOTE_ICR_SHORTHAND (3u << 18)
#define MOTE_ICR_SELF (1u << 18)
#define MOTE_ICR_ALL (2u << 18)
#define MOTE_ICR_OTHERS (3u << 18)

/* mote_apic_timer_mode() */
#define MOTE_APIC_PERIODIC (1u << 17)
#define MOTE_APIC_DEADLINE (2u << 17)

/* What the caller does about a write. */
enum mote_apic_effect {
	MOTE_APIC_DONE,
	MOTE_APIC_LOOK,		/* another interrupt may be deliverable now */
	MOTE_APIC_BROADCAST,	/* likewise, and an EOI goes to the I/O APICs */
	MOTE_APIC_SEND,		/* what ICR says */
	MOTE_APIC_ARM,		/* the timer starts anew */
	MOTE_APIC_INVALID,	/* #GP */
};

void mote_apic_reset(struct mote_apic *apic, u32 id, bool x2);
void mote_apic_set_mode(struct mote_apic *apic, u32 id, bool x2);
bool mote_apic_is_valid(const struct mote_apic *apic, u32 id, bool x2);

/* An interrupt arrives; false: it is lost, as the APIC is off or the vector below 16. */
bool mote_apic_accept(struct mote_apic *apic, u8 vector, bool level);

/**
 * mote_apic_pending() - the interrupt that the CPU could take
 * @apic: the registers
 * @tpr: task priority, all 8 bits
 * @held: out: one is held back by @tpr alone
 *
 * Return: its vector, or -1.
 */
int mote_apic_pending(const struct mote_apic *apic, u32 tpr, bool *held);

/* Does LINT0 let an 8259's interrupts through (SDM 3A, "Local Vector Table": ExtINT)? */
bool mote_apic_takes_extint(const struct mote_apic *apic);

/* The CPU takes it: from IRR to ISR. */
void mote_apic_acknowledge(struct mote_apic *apic, u8 vector);

/* Does no interrupt wait to be taken? */
bool mote_apic_is_idle(const struct mote_apic *apic);
/* Does nobody wait for the end of this one, which is in service? */
bool mote_apic_can_end_silently(const struct mote_apic *apic, u8 vector);

/* Read a register but for TMCCT, which is 0; false: #GP. */
bool mote_apic_read(struct mote_apic *apic, u32 reg, bool x2, u32 tpr, u64 *value);

/**
 * mote_apic_write() - write a register
 * @apic: the registers
 * @reg: number; TPR is the caller's to keep, too
 * @x2: x2APIC mode: reserved bits are #GP
 * @value: 64 bits for ICR in x2APIC mode
 * @vector: out: of %MOTE_APIC_BROADCAST
 */
enum mote_apic_effect mote_apic_write(struct mote_apic *apic, u32 reg, bool x2, u64 value,
				      u8 *vector);

/* Is an APIC, with its mode and id, among the destinations of a message? */
bool mote_apic_matches(const struct mote_apic *apic, u32 id, bool x2, u32 dest, bool logical);

u32 mote_apic_timer_mode(const struct mote_apic *apic);
/* How long the timer counts one, in ns: 1 to 128. */
u64 mote_apic_tick_ns(const struct mote_apic *apic);
/* The timer has expired; false: nobody is told. */
bool mote_apic_timer_fires(struct mote_apic *apic);

#endif /* MOTE_APIC_H */
