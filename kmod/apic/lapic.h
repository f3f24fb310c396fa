/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The local APIC of a vCPU, and the ways to it and from it that bypass user space:
 * messages, irqfds and ioeventfds.  Callers hold vcpu->lock, but for those marked
 * "any context".
 */
#ifndef MOTE_LAPIC_H
#define MOTE_LAPIC_H

#include "apic.h"
#include "../mote.h"

int mote_lapic_create(struct mote_vcpu *vcpu);
void mote_lapic_destroy(struct mote_vcpu *vcpu);

/*
 * Send a device's message: 0; 1: one of its vector waits already, which it is merged with; -EINVAL;
 * -ENOENT: no local APIC takes it.  Any context.
 */
int mote_lapic_msi(struct mote_vm *vm, const struct mote_msi *msi);
bool mote_msi_is_valid(const struct mote_vm *vm, const struct mote_msi *msi);

/* Complete an access to the xAPIC page: 0 or -EINVAL. */
int mote_lapic_access(struct mote_vcpu *vcpu, struct mote_apic_access *access);

static inline bool mote_lapic_has_msr(const struct mote_vcpu *vcpu, u32 index)
{
	return vcpu->lapic && (index - APIC_BASE_MSR < 0x100 || index == MSR_IA32_TSC_DEADLINE);
}

/* False: #GP. */
bool mote_lapic_rdmsr(struct mote_vcpu *vcpu, u32 index, u64 *value);
enum mote_apic_effect mote_lapic_wrmsr(struct mote_vcpu *vcpu, u32 index, u64 value, u8 *vector);
/* After a write to IA32_APIC_BASE, which was @old; also without a local APIC. */
void mote_lapic_base_changed(struct mote_vcpu *vcpu, u64 old);

/* The interrupt that the CPU could take, or -1; one held back by TPR waits for a window. */
int mote_lapic_pending(struct mote_vcpu *vcpu, u32 *windows);
/* The CPU takes it: from IRR to ISR. */
void mote_lapic_take(struct mote_vcpu *vcpu, u8 vector);

/* Do the interrupts of an 8259, which user space injects, reach the CPU? */
bool mote_lapic_takes_extint(const struct mote_vcpu *vcpu);

/* Has an INIT or a start-up IPI come?  mote_lapic_start() then does it. */
bool mote_lapic_is_signalled(const struct mote_vcpu *vcpu);
/* The vCPU is unloaded. */
void mote_lapic_start(struct mote_vcpu *vcpu);

/* Before registers change or are shown: no EOI is left to the flag in memory: 0 or -EINTR. */
int mote_lapic_withdraw_eoi(struct mote_vcpu *vcpu, bool may_sleep);
void mote_lapic_get(struct mote_vcpu *vcpu, struct mote_apic *state);
void mote_lapic_set(struct mote_vcpu *vcpu, const struct mote_apic *state);

/* Send a fixed interrupt or an NMI, as in ICR; false: it is not taken.  Any context. */
bool mote_lapic_send(struct mote_vcpu *vcpu, u32 icr);
/* End the vCPU's HLT, or else its next one.  Any context. */
void mote_lapic_kick(struct mote_vcpu *vcpu);

/* ---- eventfd.c ----------------------------------------------------------------- */

int mote_irqfd(struct mote_vm *vm, const struct mote_irqfd *arg);
int mote_ioeventfd(struct mote_vm *vm, const struct mote_ioeventfd *arg);
void mote_eventfds_destroy(struct mote_vm *vm);
/* The guest writes to a port; true: an eventfd was signalled.  Preemption is off. */
bool mote_ioeventfd_write(struct mote_vm *vm, u16 port, u8 size, u64 rax);

#endif /* MOTE_LAPIC_H */
