// SPDX-License-Identifier: GPL-2.0
/*
 * Debugging a guest: KVM_SET_GUEST_DEBUG by libmote's breakpoints and steps.
 *
 * A step is begun and ended within a KVM_RUN, so that the client never finds one under way in the
 * registers.  Where an instruction waits for the client in its middle, the run that completes it ends
 * the step.  Interrupts always wait while a guest is stepped, not only with KVM_GUESTDBG_BLOCKIRQ.
 */
#include <errno.h>

#include "shim.h"

#define VECTOR_DB 1
#define VECTOR_BP 3
#define DR6_BD (1u << 13)
#define DR7_GD (1u << 13)

#define INJECTIONS (KVM_GUESTDBG_INJECT_DB | KVM_GUESTDBG_INJECT_BP)

static bool has(const struct shim_vcpu *vcpu, __u32 wish)
{
	return vcpu->guest_debug.control & wish;
}

/* ---- what the client wants ------------------------------------------------------- */

/* The guest's INT3 comes here before it is executed, and goes on behind it. */
static int inject(struct shim_vcpu *vcpu, __u32 control)
{
	const struct mote_event event = {
		.valid = 1, .type = MOTE_EVENT_EXCEPTION,
		.vector = control & KVM_GUESTDBG_INJECT_DB ? VECTOR_DB : VECTOR_BP,
	};
	struct mote_state state = { .mask = MOTE_STATE_GPRS };
	int err = mote_inject(vcpu->cpu.fd, &event);

	if (err || event.vector == VECTOR_DB)
		return err;
	err = mote_debug_get(vcpu->cpu.fd, &state);
	state.gprs.rip++;
	return err ? err : mote_set_state(vcpu->cpu.fd, &state);
}

/* Without breakpoints, too, the client's take the guest's place; DR7.GD is for debug_exit(). */
int debug_lend_drs(struct shim_vcpu *vcpu, bool to_guest)
{
	const __u64 *from = vcpu->guest_debug.arch.debugreg;
	const struct mote_drs drs = {
		.dr = { from[0], from[1], from[2], from[3] }, .dr7 = from[7] & ~(__u64)DR7_GD,
	};

	if (!has(vcpu, KVM_GUESTDBG_USE_HW_BP))
		return 0;
	return mote_debug_set_drs(&vcpu->debugged, to_guest ? NULL : &drs);
}

int call_set_guest_debug(struct object *object, void *data, unsigned long argument)
{
	struct shim_vcpu *vcpu = vcpu_of(object);
	const struct kvm_guest_debug *wanted = data;
	__u32 exceptions = 0;
	int err = 0;

	(void)argument;
	if (wanted->control & ~DEBUG_CONTROLS)
		return -EINVAL;
	if (wanted->control & INJECTIONS)
		err = inject(vcpu, wanted->control);
	if (!err && vcpu->guest_debug.control)
		err = mote_debug_end(&vcpu->debugged);
	if (err)
		return err;
	vcpu->guest_debug = *wanted;
	if (!has(vcpu, KVM_GUESTDBG_ENABLE))
		vcpu->guest_debug.control = 0;
	if (!vcpu->guest_debug.control)
		return 0;
	if (has(vcpu, KVM_GUESTDBG_USE_SW_BP))
		exceptions |= 1u << VECTOR_BP;
	if (has(vcpu, KVM_GUESTDBG_USE_HW_BP | KVM_GUESTDBG_SINGLESTEP))
		exceptions |= 1u << VECTOR_DB;
	err = mote_debug_begin(&vcpu->debugged, &vcpu->cpu, exceptions);
	return err ? err : debug_lend_drs(vcpu, false);
}

/* ---- what it is told ------------------------------------------------------------- */

static int tell(struct shim_vcpu *vcpu, __u8 vector, __u64 dr6)
{
	struct mote_state state = { .mask = MOTE_STATE_GPRS | MOTE_STATE_SEGS | MOTE_STATE_DRS };
	int err = mote_debug_get(vcpu->cpu.fd, &state);

	if (err)
		return err;
	vcpu->kvm->exit_reason = KVM_EXIT_DEBUG;
	vcpu->kvm->debug.arch = (struct kvm_debug_exit_arch) {
		.exception = vector, .pc = state.segs.seg[MOTE_CS].base + state.gprs.rip, .dr6 = dr6,
		.dr7 = has(vcpu, KVM_GUESTDBG_USE_HW_BP) ? vcpu->guest_debug.arch.debugreg[7] : state.drs.dr7,
	};
	return TO_CLIENT;
}

/* Whose local APIC is not mote's is told of HLT, stepped or not. */
static int stepped(struct shim_vcpu *vcpu, __u64 dr6)
{
	struct mote_state state = { .mask = MOTE_STATE_EVENTS };
	int err = vcpu->vm->irqchip ? 0 : mote_debug_get(vcpu->cpu.fd, &state);

	if (err || !state.events.halted)
		return err ? err : tell(vcpu, VECTOR_DB, dr6);
	state.events.halted = 0;
	vcpu->kvm->exit_reason = KVM_EXIT_HLT;
	err = mote_set_state(vcpu->cpu.fd, &state);
	return err ? err : TO_CLIENT;
}

/* Has the instruction that is stepped over raised an exception, of which only its completion knows? */
static bool has_raised(struct shim_vcpu *vcpu)
{
	struct mote_state state = { .mask = MOTE_STATE_EVENTS };

	return !mote_debug_get(vcpu->cpu.fd, &state) && state.events.injected.valid;
}

int debug_begin(struct shim_vcpu *vcpu)
{
	int err;

	if (!has(vcpu, KVM_GUESTDBG_SINGLESTEP) || (vcpu->debugged.step && !has_raised(vcpu)))
		return GO_ON;
	err = mote_step_end(&vcpu->debugged);
	if (!err)
		err = mote_step_begin(&vcpu->debugged);
	return err == MOTE_STEPPED ? stepped(vcpu, MOTE_DR6_NONE | MOTE_DR6_BS) : err;
}

int debug_completed(struct shim_vcpu *vcpu)
{
	if (!has(vcpu, KVM_GUESTDBG_SINGLESTEP))
		return GO_ON;
	vcpu_settle(vcpu);
	return tell(vcpu, VECTOR_DB, MOTE_DR6_NONE | MOTE_DR6_BS);
}

int debug_end(struct shim_vcpu *vcpu)
{
	return mote_step_end(&vcpu->debugged);
}

static int handle_exception(struct shim_vcpu *vcpu)
{
	struct mote_debugged *debugged = &vcpu->debugged;
	const struct mote_run *run = vcpu->cpu.run;
	bool is_int3 = run->exception.vector == VECTOR_BP && has(vcpu, KVM_GUESTDBG_USE_SW_BP);
	int err;

	if (debugged->step && !is_int3) {
		err = mote_step_exit(debugged);
		return err == MOTE_STEPPED ? tell(vcpu, VECTOR_DB, debugged->dr6) : err;
	}
	err = mote_step_end(debugged);
	if (!err)
		err = mote_debug_take(debugged, run->rip - is_int3);
	return err ? err : tell(vcpu, run->exception.vector, debugged->dr6);
}

int debug_exit(struct shim_vcpu *vcpu)
{
	if (vcpu->cpu.run->reason == MOTE_EXIT_EXCEPTION)
		return handle_exception(vcpu);
	if (has(vcpu, KVM_GUESTDBG_USE_HW_BP) && vcpu->guest_debug.arch.debugreg[7] & DR7_GD)
		return tell(vcpu, VECTOR_DB, MOTE_DR6_NONE | DR6_BD);
	return mote_debug_mov_dr(&vcpu->debugged);
}
