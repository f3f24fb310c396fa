// SPDX-License-Identifier: GPL-2.0
/*
 * A vCPU that waits for another one gives its CPU away: the guest has said so by a hypercall,
 * or the CPU has seen it spin.
 */
#include <linux/sched.h>
#include <linux/sched/task.h>

#include "../mote.h"

void mote_vcpu_new_task(struct mote_vcpu *vcpu)
{
	struct pid *old = rcu_dereference_protected(vcpu->pid, lockdep_is_held(&vcpu->lock));

	rcu_assign_pointer(vcpu->pid, get_task_pid(current, PIDTYPE_PID));
	if (old)
		synchronize_rcu();
	put_pid(old);
	mote_pv_new_task(vcpu);
}

static bool yield_to_vcpu(struct mote_vcpu *to)
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
	u32 nr = smp_load_acquire(&vm->nr_vcpus); /* pairs with mote_vcpu_create() */
	u32 first = READ_ONCE(vm->boosted), i;

	if (to) {
		yield_to_vcpu(to);
		return;
	}
	/* Each in its turn, as nobody knows who holds what this one waits for. */
	for (i = 1; i <= nr; i++) {
		to = vm->vcpus[(first + i) % nr];
		if (to != vcpu && yield_to_vcpu(to)) {
			WRITE_ONCE(vm->boosted, (first + i) % nr);
			return;
		}
	}
}
