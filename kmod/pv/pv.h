/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The paravirtual interface: clock, steal time, end of interrupt, yielding; see
 * docs/guest-abi.md.  vcpu->lock is held.
 */
#ifndef MOTE_PV_H
#define MOTE_PV_H

#include "../mote.h"

/* CPUID leaf 0x40000101, EAX. */
u32 mote_pv_features(void);
void mote_pv_init_clock(struct mote_vm *vm);
int mote_pv_get_clock(struct mote_vm *vm, struct mote_clock_value *value);
int mote_pv_set_clock(struct mote_vm *vm, const struct mote_clock_value *value);

/* Has the guest to be told something?  Then mote_pv_publish() is next, with the vCPU put. */
bool mote_pv_is_stale(const struct mote_vcpu *vcpu);
void mote_pv_publish(struct mote_vcpu *vcpu);
/* Its MSRs or its TSC are other ones. */
void mote_pv_changed(struct mote_vcpu *vcpu);
/* An MSR has been written; true: the guest is to be told something now. */
bool mote_pv_wrmsr(struct mote_vcpu *vcpu, u32 index);
/* Another thread runs it: remember it, for who wants it to run. */
void mote_vcpu_new_task(struct mote_vcpu *vcpu);
/* Let the host run the thread of this vCPU, or of any that waits for a CPU; may sleep. */
void mote_vcpu_yield(struct mote_vcpu *vcpu, struct mote_vcpu *to);
/* Another thread runs it. */
void mote_pv_new_task(struct mote_vcpu *vcpu);
/* The thread is about to wait for a CPU. */
void mote_pv_preempted(struct mote_vcpu *vcpu);

/* The guest may end the interrupt that it is about to get by clearing a flag. */
void mote_pv_eoi_offer(struct mote_vcpu *vcpu);
/* Has it?  Then the offer is over. */
bool mote_pv_eoi_take(struct mote_vcpu *vcpu);
void mote_pv_eoi_withdraw(struct mote_vcpu *vcpu);

/* Do what RAX asks for, and the result is in RAX; false: user space's to do. */
bool mote_pv_hypercall(struct mote_vcpu *vcpu);

#endif /* MOTE_PV_H */
