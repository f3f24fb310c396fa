/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The paravirtual interface: times (clock.c), end of interrupt and hypercalls (pv.c); see
 * docs/guest-abi.md.  Callers hold vcpu->lock.
 */
#ifndef MOTE_PV_H
#define MOTE_PV_H

#include <linux/atomic.h>
#include <linux/types.h>
#include <linux/mote.h>

struct mote_vcpu;
struct mote_vm;

/* The time that a VM is told by its paravirtual clock. */
struct mote_clock {
	s64 offset;	/* to the host's time since boot, in ns */
	u64 tsc;	/* of the host; with @ns the pair that all vCPUs are told; 0: none yet */
	u64 ns;		/* what the clock shows at @tsc */
	u64 tsc_lost;	/* &mote_resumes.tsc_lost then */
	u32 resumes;	/* &mote_resumes.count then */
	u32 mul;	/* ns by the guest's ticks: << @shift, * @mul, >> 32 */
	s8 shift;
	u32 generation;	/* changes when the vCPUs are to be told anew */
	atomic_t version;	/* of the struct that was written last, even */
};

/* What a vCPU has told its guest by the paravirtual interface. */
struct mote_pv {
	u32 clock_seen;		/* &mote_clock.generation of what is in its memory; 0: none */
	bool wall_wanted;	/* the guest has written the wall clock's MSR */
	bool steal_stale;	/* its MSR is new, or the guest was told that it is preempted */
	u64 eoi_offered;	/* the MSR by which an EOI without an exit is offered, or 0 */
	bool eoi_waits;		/* its page was not there: mote_pv_publish() has it brought in */
	bool eoi_gone;		/* it cannot be had: what was offered counts as taken */
	u64 delay_seen;		/* how much of its thread's waiting is in &mote_msrs.pv_steal_ns */
	struct mote_vcpu *yield_to;	/* by the guest's last hypercall, or NULL */
};

#define MOTE_PV_ENABLED 1ull	/* bit 0 of each MSR but that of the wall clock */

/* ---- clock.c ------------------------------------------------------------------- */

void mote_pv_init_clock(struct mote_vm *vm);
int mote_pv_get_clock(struct mote_vm *vm, struct mote_clock_value *value);
int mote_pv_set_clock(struct mote_vm *vm, const struct mote_clock_value *value);

bool mote_pv_steal_is_stale(const struct mote_vcpu *vcpu);
void mote_pv_publish(struct mote_vcpu *vcpu);
/* Unloaded: write what no state asks for again; false: a signal came. */
bool mote_pv_settle(struct mote_vcpu *vcpu);
/* The vCPU's MSRs or its TSC were set: all of it is out of date. */
void mote_pv_changed(struct mote_vcpu *vcpu);
/* The guest has written an MSR; true: mote_pv_publish() is due now. */
bool mote_pv_wrmsr(struct mote_vcpu *vcpu, u32 index);
/* Another thread runs the vCPU: remember it, for who wants it to run, and what it has waited. */
void mote_vcpu_new_task(struct mote_vcpu *vcpu);
/* The thread is about to wait for a CPU. */
void mote_pv_preempted(struct mote_vcpu *vcpu);

/* ---- pv.c ---------------------------------------------------------------------- */

/* CPUID leaf 0x40000101, EAX. */
u32 mote_pv_features(void);

/*
 * A flag in guest memory offers the guest to end the interrupt that it gets next without
 * an exit: by clearing the flag.
 */
void mote_pv_eoi_offer(struct mote_vcpu *vcpu);
/* Has the guest taken the offer?  Then it is over.  Not known yet if pv.eoi_waits is set then. */
bool mote_pv_eoi_take(struct mote_vcpu *vcpu);
/* Take an offer back that the guest has not taken; it stands if pv.eoi_waits is set then. */
void mote_pv_eoi_withdraw(struct mote_vcpu *vcpu);
/* Unloaded: have the page brought in for which the offer waits: 0 or -EINTR. */
int mote_pv_eoi_bring(struct mote_vcpu *vcpu);

/* Do what RAX asks for, and leave the result there; false: the call is for user space. */
bool mote_pv_hypercall(struct mote_vcpu *vcpu);

/* Let the host run the thread of vCPU @to, or, if that is NULL, of any that waits; may sleep. */
void mote_vcpu_yield(struct mote_vcpu *vcpu, struct mote_vcpu *to);

#endif /* MOTE_PV_H */
