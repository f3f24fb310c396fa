/* SPDX-License-Identifier: GPL-2.0 */
/* The interrupt controllers: what irq.c and vcpu.c ask of them, and they of devices.  The lock is held. */
#ifndef IRQ_H
#define IRQ_H

#include "vm.h"

/*
 * A message as a guest writes it: bits 14:8 of the destination are bits 11:5 of the address
 * (KVM_FEATURE_MSI_EXT_DEST_ID); MOTE_MSI has them from bit 40 on.
 */
static inline struct mote_msi msi_of_guest(__u64 address, __u32 data)
{
	return (struct mote_msi) {
		.address = (address & ~0xfe0ull) | (address & 0xfe0) << 35, .data = data,
	};
}

int pic_create(struct vm *vm);
void pic_set_line(struct vm *vm, unsigned int line, bool level);
/* Is the line not masked?  Has it a request that vCPU 0 may take, and has not yet? */
bool pic_is_heard(const struct vm *vm, unsigned int line);
bool pic_is_waiting(const struct vm *vm, unsigned int line);
/* Does vCPU 0 have an interrupt to take?  Needs no lock. */
bool pic_pending(const struct vm *vm);
/* The vector of that interrupt, which is in service now; -1 if there is none any more. */
int pic_acknowledge(struct vm *vm);

/* The guest has ended an interrupt that came by the 8259s: the line may have another one. */
void line_ended(struct vm *vm, unsigned int line);
void pit_tick_ended(struct vm *vm);
void rtc_tick_ended(struct vm *vm);

int ioapic_create(struct vm *vm);
void ioapic_set_line(struct vm *vm, unsigned int pin, bool level);
bool ioapic_is_heard(const struct vm *vm, unsigned int pin);
/* The guest has ended a level-triggered interrupt of this vector. */
void ioapic_end_of_interrupt(struct vm *vm, unsigned int vector);

#endif /* IRQ_H */
