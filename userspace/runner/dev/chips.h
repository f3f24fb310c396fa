/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the interrupt controllers and the timer hold, for themselves and for who translates it
 * (userspace/kvm).  Each has one function that names it all, and judges what is loaded.
 */
#ifndef CHIPS_H
#define CHIPS_H

#include <linux/types.h>

struct state;

/* Inputs of the two 8259As that are never level-triggered: timer, keyboard, cascade; RTC, FPU. */
#define PIC_EDGE_FIRST 0x07
#define PIC_EDGE_SECOND 0x21

/* One 8259A. */
struct pic_chip {
	__u8 lines;		/* levels of the inputs */
	__u8 irr;		/* requests */
	__u8 imr;		/* masked */
	__u8 isr;		/* in service */
	__u8 elcr;		/* level-triggered */
	__u8 base;		/* vector of input 0 */
	__u8 lowest;		/* input with the lowest priority */
	__u8 init;		/* the initialization word that comes next, or 0 */
	__u8 wants_icw4;
	__u8 slaves;		/* inputs with another controller behind them; ICW3 of the first */
	__u8 single;		/* there is no ICW3 */
	__u8 auto_eoi;
	__u8 rotates;		/* with automatic EOI */
	__u8 fully_nested;
	__u8 special_mask;
	__u8 reads_isr;
	__u8 polled;
};

void pic_chips_state(struct pic_chip chips[2], struct state *state);

/* One counter of the 8254. */
struct pit_counter {
	__u8 mode, access, is_bcd;
	__u8 gate;
	__u32 initial;		/* the count that was written: 1 to 0x10000, or to 10000 in BCD */
	__u32 count;		/* the one that is being counted down; 0: none yet */
	__u8 null_count;	/* what was written has not been loaded */
	__u8 counting;
	__u64 start;		/* pulse of the clock since which it counts: this host's, and not saved */
	__u64 held;		/* ticks that it had counted before */
	__u64 reload_at;	/* tick at which a count that waits is loaded, in modes 2 and 3 */
	__u64 edges;		/* of the output, rising, that have been seen since the count was loaded */
	__u64 owed;		/* of them, those that have not been an interrupt yet */
	__u16 latch;
	__u8 latched;		/* bytes of it that are still to be read */
	__u8 status, has_status;
	__u8 low, has_low;	/* of a count that is being written */
	__u8 high_next;		/* of one that is being read */
};

void pit_counters_state(struct pit_counter counters[3], struct state *state);

#define IOAPIC_PINS 24

/* The I/O APIC. */
struct ioapic_registers {
	__u8 select;
	__u8 id;
	__u32 lines;		/* levels of the pins */
	__u64 table[IOAPIC_PINS];
};

void ioapic_registers_state(struct ioapic_registers *registers, struct state *state);
/* What a redirection entry keeps of these bits. */
__u64 ioapic_entry(__u64 bits);

#endif /* CHIPS_H */
