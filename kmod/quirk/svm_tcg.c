// SPDX-License-Identifier: GPL-2.0
/*
 * QUIRK(qemu 7.2): QEMU's translator injects interrupts twice, forgets shadows, and cannot
 * stand a virtual interrupt that pends beside another one.  See also qemu_timer.c.
 */
#include "svm_quirk.h"

/* Another way will do to look again for what an interrupt window was asked for. */
static void svm_drop_window(struct svm_vcpu *svm)
{
	struct mote_vcpu *vcpu = &svm->vcpu;

	if (!(vcpu->window_set & MOTE_WINDOW_INTERRUPT))
		return;
	mote_event_window_is_gone(vcpu, MOTE_WINDOW_INTERRUPT);
	svm_window(vcpu, vcpu->window_set);
}

/*
 * QEMU delivers an injected interrupt a second time if something else stops the guest
 * before its next exit, whatever IF is by then: there it is a virtual one, which the
 * CPU takes before anything else.  A window would need its place: the next exit serves.
 */
void svm_inject_virtual(struct svm_vcpu *svm, u8 vector)
{
	struct vmcb_control_area *control = &svm->vmcb->control;

	svm_drop_window(svm);
	control->int_ctl |= V_IRQ_MASK | V_IGN_TPR_MASK | V_INTR_PRIO_MASK;
	control->int_vector = vector;
	svm_dirty(svm, CLEAN_INTR);
	svm->rare |= RARE_VIRQ;
}

/*
 * After the exit: one that still pends was not delivered.  QEMU calls it an
 * exception then; and it goes on pending behind a real one.
 */
void svm_take_virtual_back(struct svm_vcpu *svm)
{
	struct vmcb_control_area *control = &svm->vmcb->control;
	const struct mote_event *event = &svm->vcpu.event;

	if (control->int_ctl & V_IRQ_MASK) {
		if (event->valid && event->vector != control->int_vector)
			return;
		mote_event_cut_short(&svm->vcpu, (struct mote_event){
			.valid = 1, .type = MOTE_EVENT_INTERRUPT, .vector = control->int_vector,
		});
	}
	svm->rare &= ~RARE_VIRQ;
	control->int_ctl &= ~V_IRQ_INJECTION_BITS_MASK;
	svm_dirty(svm, CLEAN_INTR);
}

/*
 * QEMU before 9.1 does not load the interrupt shadow at VMRUN: an interrupt between STI and
 * HLT would leave a guest asleep.  The instruction is stepped over, without a window.
 */
void svm_keep_shadow(struct svm_vcpu *svm)
{
	if (!svm_in_shadow(svm) || svm->vmcb->control.event_inj & SVM_EVTINJ_VALID) {
		svm->rare &= ~RARE_SHADOW;
		return;
	}
	svm_drop_window(svm);
	svm_step(svm);
}
