// SPDX-License-Identifier: GPL-2.0
/*
 * What a guest may ask for that knows that it is one: interrupts that end without an
 * exit, hypercalls, and that others run while it waits.
 *
 * All but mote's own hypercalls is KVM's paravirtual interface, which guests know
 * (Documentation/virt/kvm/x86/{cpuid,msr,hypercalls}.rst); docs/guest-abi.md
 * describes what there is of it here.  Not here: times (clock.c).
 *
 * Locking: vcpu->lock.
 */
#include <linux/sched/task.h>
#include <asm/tsc.h>
#include <uapi/linux/kvm_para.h>

#include "../apic/lapic.h"
#include "../vendor.h"

#define CS_LONG BIT(13)	/* L, in &mote_segment.attr */

u32 mote_pv_features(void)
{
	u32 features = BIT(KVM_FEATURE_NOP_IO_DELAY) | BIT(KVM_FEATURE_CLOCKSOURCE2) |
		       BIT(KVM_FEATURE_PV_EOI) | BIT(KVM_FEATURE_PV_UNHALT) |
		       BIT(KVM_FEATURE_PV_SEND_IPI) | BIT(KVM_FEATURE_PV_SCHED_YIELD);

	if (IS_ENABLED(CONFIG_SCHED_INFO))
		features |= BIT(KVM_FEATURE_STEAL_TIME);
	if (!check_tsc_unstable())
		features |= BIT(KVM_FEATURE_CLOCKSOURCE_STABLE_BIT);
	return features;
}

/* ---- end of interrupt without an exit ----------------------------------------------- */

/* The kernel may take the page for a while: an offer that was made waits for it, unloaded. */
static void pv_eoi_wait(struct mote_vcpu *vcpu)
{
	vcpu->pv.eoi_waits = true;
	atomic_or(MOTE_REQ_EVENT, &vcpu->requests);
}

/* None where its page is not present, for which the loaded vCPU cannot wait. */
void mote_pv_eoi_offer(struct mote_vcpu *vcpu)
{
	const u8 flag = KVM_PV_EOI_ENABLED;

	if (!vcpu->pv.eoi_offered &&
	    !mote_mem_write(vcpu->vm, vcpu->msrs.pv_eoi & ~MOTE_PV_ENABLED, &flag, 1, false))
		vcpu->pv.eoi_offered = vcpu->msrs.pv_eoi;
}

bool mote_pv_eoi_take(struct mote_vcpu *vcpu)
{
	u8 flag = 0;
	int err = mote_mem_read(vcpu->vm, vcpu->pv.eoi_offered & ~MOTE_PV_ENABLED, &flag, 1);

	if (err == -EFAULT && !vcpu->pv.eoi_gone) {
		pv_eoi_wait(vcpu);
		return false;
	}
	if (flag & KVM_PV_EOI_ENABLED)
		return false;
	vcpu->pv.eoi_offered = 0;
	vcpu->pv.eoi_gone = false;
	return true;
}

void mote_pv_eoi_withdraw(struct mote_vcpu *vcpu)
{
	u64 gpa = vcpu->pv.eoi_offered & ~MOTE_PV_ENABLED;
	const u8 flag = 0;

	if (mote_mem_write(vcpu->vm, gpa, &flag, 1, false) == -EFAULT && !vcpu->pv.eoi_gone)
		pv_eoi_wait(vcpu);
	else
		vcpu->pv.eoi_offered = 0;
}

int mote_pv_eoi_bring(struct mote_vcpu *vcpu)
{
	int err = mote_mem_bring(vcpu->vm, vcpu->pv.eoi_offered & ~MOTE_PV_ENABLED);

	if (err == -EINTR)
		return err;
	vcpu->pv.eoi_waits = false;
	vcpu->pv.eoi_gone = err;
	return 0;
}

/* ---- hypercalls ------------------------------------------------------------------- */

/* To the APIC ids from RDX on that have a bit in RBX or RCX.  Return: how many there were. */
static noinline u64 pv_send_ipis(struct mote_vcpu *vcpu)
{
	unsigned long map[] = { vcpu->gpr[MOTE_RBX], vcpu->gpr[MOTE_RCX] };
	u32 first = vcpu->gpr[MOTE_RDX], icr = vcpu->gpr[MOTE_RSI], i;
	u32 mode = icr & (APIC_MODE_MASK | APIC_DEST_ALLBUT | APIC_DEST_LOGICAL);
	struct mote_cpu_mode cpu;
	struct mote_vcpu *to;
	u64 sent = 0;

	/* Neither other modes nor a destination. */
	if (mode != APIC_DM_FIXED && mode != APIC_DM_NMI)
		return -KVM_EINVAL;
	mote_ops->get_mode(vcpu, &cpu);
	/* A 32-bit guest has 32 bits of each register. */
	if (!(cpu.efer & EFER_LMA && cpu.cs_attr & CS_LONG)) {
		map[0] = (u32)map[0] | map[1] << 32;
		map[1] = 0;
	}
	for_each_set_bit(i, map, 128) {
		/* There are no ids that the sum could wrap to. */
		to = first + i < first ? NULL : mote_vm_vcpu(vcpu->vm, first + i);
		if (to && mote_lapic_send(to, icr & (APIC_MODE_MASK | APIC_VECTOR_MASK)))
			sent++;
	}
	return sent;
}

bool mote_pv_hypercall(struct mote_vcpu *vcpu)
{
	u32 number = vcpu->gpr[MOTE_RAX], rbx = vcpu->gpr[MOTE_RBX];
	struct mote_vcpu *to;
	u64 ret = 0;

	/* KVM's are about local APICs. */
	if (!vcpu->lapic && number != MOTE_HYPERCALL_NOP && number != MOTE_HYPERCALL_EXITS)
		return false;
	switch (number) {
	case MOTE_HYPERCALL_NOP:
		break;
	case MOTE_HYPERCALL_EXITS:
		ret = rbx < MOTE_NR_EXITS ?
			vcpu->run->exits[array_index_nospec(rbx, MOTE_NR_EXITS)] : -KVM_EINVAL;
		break;
	case KVM_HC_KICK_CPU:
		to = mote_vm_vcpu(vcpu->vm, vcpu->gpr[MOTE_RCX]);
		if (to)
			mote_lapic_kick(to);
		break;
	case KVM_HC_SEND_IPI:
		ret = pv_send_ipis(vcpu);
		break;
	case KVM_HC_SCHED_YIELD:
		vcpu->pv.yield_to = mote_vm_vcpu(vcpu->vm, rbx);
		break;
	default:
		return false;
	}
	vcpu->gpr[MOTE_RAX] = ret;
	return true;
}

/* ---- a vCPU that waits for another one gives its CPU away ----------------------------- */

static bool pv_yield_to(struct mote_vcpu *to)
{
	struct task_struct *task;
	bool yielded;

	/* One that sleeps in HLT waits for nobody's CPU. */
	if (READ_ONCE(to->loaded) || READ_ONCE(to->halted))
		return false;
	rcu_read_lock();
	task = get_pid_task(rcu_dereference(to->pid), PIDTYPE_PID);
	rcu_read_unlock();
	if (!task)
		return false;
	yielded = yield_to(task, true) > 0;
	put_task_struct(task);
	return yielded;
}

void mote_vcpu_yield(struct mote_vcpu *vcpu, struct mote_vcpu *to)
{
	struct mote_vm *vm = vcpu->vm;
	u32 end = READ_ONCE(vm->end_id);
	u32 first = READ_ONCE(vm->boosted), i;

	if (to) {
		pv_yield_to(to);
		return;
	}
	/* Each in its turn, as nobody knows who holds what this one waits for. */
	for (i = 1; i <= end; i++) {
		to = mote_vm_vcpu(vm, (first + i) % end);
		if (to && to != vcpu && pv_yield_to(to)) {
			WRITE_ONCE(vm->boosted, (first + i) % end);
			return;
		}
	}
}
