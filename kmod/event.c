// SPDX-License-Identifier: GPL-2.0
/*
 * Events for the guest: which one is delivered next, and what the others wait for.
 *
 * vcpu->event has the one that goes in with the next entry: an exception that an exit asks
 * for, an interrupt or NMI that is taken here, or one whose delivery the last exit cut short.
 * Nobody else writes it, nor vcpu->nmis or the windows.  The vendor says what can be taken
 * (can_take), delivers (inject) and exits when something else can be taken (window).
 *
 * Locking: vcpu->lock is held, but for mote_vcpu_nmi().
 */
#include <asm/trapnr.h>

#include "apic/lapic.h"
#include "trace/trace.h"
#include "vendor.h"

void mote_vcpu_nmi(struct mote_vcpu *vcpu)
{
	/* One more can wait behind the one being delivered; a third is merged. */
	atomic_add_unless(&vcpu->nmis, 1, 2);
	mote_vcpu_request(vcpu, MOTE_REQ_EVENT);
}

/* Those of user space's windows that are not shut by LVT0. */
static u32 event_windows(const struct mote_vcpu *vcpu)
{
	const u32 events = MOTE_WINDOW_INTERRUPT | MOTE_WINDOW_NMI;

	return vcpu->window && mote_lapic_takes_extint(vcpu) ? vcpu->window & events :
							       vcpu->window & MOTE_WINDOW_NMI;
}

/* Can user space's event be taken into vcpu->event? */
static int event_check(struct mote_vcpu *vcpu, const struct mote_event *event)
{
	u32 open;
	int err;

	if (vcpu->event.valid)
		return -EBUSY;
	if (event->type != MOTE_EVENT_INTERRUPT)
		return 0;
	err = mote_vcpu_load(vcpu);
	if (err)
		return err;
	open = mote_lapic_takes_extint(vcpu) ? mote_ops->can_take(vcpu) : 0;
	mote_vcpu_unload(vcpu);
	return open & MOTE_WINDOW_INTERRUPT ? 0 : -EAGAIN;
}

int mote_vcpu_inject(struct mote_vcpu *vcpu, const struct mote_event *event)
{
	int err;

	if (!event->valid || !mote_event_valid(event))
		return -EINVAL;
	if (event->type == MOTE_EVENT_NMI) {
		mote_vcpu_nmi(vcpu);
		return 0;
	}
	if (mutex_lock_killable(&vcpu->lock))
		return -EINTR;
	err = event_check(vcpu, event);
	if (!err)
		vcpu->event = *event;
	mutex_unlock(&vcpu->lock);
	return err;
}

void mote_event_set(struct mote_vcpu *vcpu, const struct mote_events *events)
{
	vcpu->event = events->injected;
	atomic_set(&vcpu->nmis, events->nmi_pending);
	vcpu->halted = events->halted;
	if (events->nmi_pending)
		atomic_or(MOTE_REQ_EVENT, &vcpu->requests);
}

bool mote_event_raise(struct mote_vcpu *vcpu, u8 vector, u32 error)
{
	if (mote_event_merge(&vcpu->event, vector, error))
		return true;
	vcpu->exit.reason = MOTE_EXIT_SHUTDOWN;
	return false;
}

void mote_event_cut_short(struct mote_vcpu *vcpu, struct mote_event event)
{
	vcpu->event = event;
}

void mote_event_window_is_gone(struct mote_vcpu *vcpu, u32 windows)
{
	vcpu->window_set &= ~windows;
	atomic_or(MOTE_REQ_EVENT, &vcpu->requests);
}

bool mote_event_ends_run(struct mote_vcpu *vcpu)
{
	u32 open = vcpu->event.valid ? 0 : event_windows(vcpu) & mote_ops->can_take(vcpu);

	if (vcpu->window & MOTE_WINDOW_EXIT) {
		if (vcpu->window & MOTE_WINDOW_ENTERED)
			return true;
		vcpu->window |= MOTE_WINDOW_ENTERED;
	}
	if (!open)
		return false;
	vcpu->exit.reason = open & MOTE_WINDOW_INTERRUPT ? MOTE_EXIT_INTERRUPT_WINDOW :
							   MOTE_EXIT_NMI_WINDOW;
	return true;
}

/*
 * What is on its way goes in first, then an NMI, then the local APIC's interrupt @vector, -1 for
 * none (SDM 3A, "Priority Among Concurrent Events").  Return: the windows that the others wait for.
 */
static u32 event_choose(struct mote_vcpu *vcpu, int vector, bool *waits)
{
	struct mote_event *event = &vcpu->event;
	u32 open = mote_ops->can_take(vcpu), windows = 0;

	/*
	 * An interrupt that was on its way waits if the guest has shut it out since: a CPU that
	 * delivers late, as QEMU does (see quirk/svm_tcg.c), may come back after a CLI.
	 */
	*waits = event->valid && event->type == MOTE_EVENT_INTERRUPT &&
		 !(open & MOTE_WINDOW_INTERRUPT);
	if (*waits)
		return MOTE_WINDOW_INTERRUPT;
	if (atomic_read(&vcpu->nmis)) {
		if (!event->valid && open & MOTE_WINDOW_NMI) {
			*event = (struct mote_event){
				.valid = 1, .type = MOTE_EVENT_NMI, .vector = X86_TRAP_NMI,
			};
			atomic_dec(&vcpu->nmis);
		}
		windows = atomic_read(&vcpu->nmis) ? MOTE_WINDOW_NMI : 0;
	}
	if (vector < 0)
		return windows;
	if (event->valid || !(open & MOTE_WINDOW_INTERRUPT))
		return windows | MOTE_WINDOW_INTERRUPT;
	mote_lapic_take(vcpu, vector);
	*event = (struct mote_event){ .valid = 1, .type = MOTE_EVENT_INTERRUPT, .vector = vector };
	return windows;
}

void mote_event_prepare(struct mote_vcpu *vcpu)
{
	struct mote_event *event = &vcpu->event;
	u32 windows = event_windows(vcpu);
	int vector = vcpu->hears_lapic ? mote_lapic_pending(vcpu, &windows) : -1;
	bool waits = false;

	if (event->valid || vector >= 0 || atomic_read(&vcpu->nmis))
		windows |= event_choose(vcpu, vector, &waits);
	if (windows != vcpu->window_set) {
		mote_ops->window(vcpu, windows);
		vcpu->window_set = windows;
	}
	if (event->valid && !waits) {
		vcpu->halted = 0;
		trace_mote_inject(vcpu->vm->id, vcpu->id, event->type, event->vector, event->error);
		/*
		 * A handler of a fault returns with RF set, so that no breakpoint on the
		 * instruction stops it a second time; neither vendor's hardware adds it to what
		 * is injected (SDM 3A, "Resume Flag").
		 */
		if (mote_event_is_fault(event))
			vcpu->rflags |= X86_EFLAGS_RF;
		mote_ops->inject(vcpu, event);
		event->valid = 0;
	}
}
