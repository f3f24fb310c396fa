// SPDX-License-Identifier: GPL-2.0
/*
 * Where a vCPU is, and how others make it look up.
 *
 * A vCPU is loaded on a CPU, with preemption off, or it is out: between runs, asleep, or
 * handling what may sleep.  Who wants something of it writes a request, and then looks at
 * where it is: a vCPU that is loaded gets an interrupt, which ends the guest; one that is
 * out is woken, or looks at its requests before it enters the guest anyway.
 *
 * The order makes that right.  The requester writes the request, then reads vcpu->loaded; the
 * run loop writes that (mote_vcpu_load()), then reads the requests; both with a full barrier
 * between, so that at least one of them sees what the other wrote.  If the vCPU
 * looked before the request came, then it was loaded, and interrupts are off from that look
 * until the guest has been left: the interrupt that is sent here waits for it there.
 *
 * MOTE_REQ_KICKED says that somebody is on the way to wake or interrupt the vCPU, or has: until
 * the run loop takes the requests, and that mark with them, further ones need do neither.
 */
#include <linux/moduleparam.h>
#include <linux/sched/clock.h>
#include <linux/sched/signal.h>
#include <linux/sched/stat.h>
#include <linux/smp.h>
#include <asm/nospec-branch.h>
#include <asm/tsc.h>
#include <trace/events/ipi.h>

#include "trace/trace.h"
#include "vendor.h"

static DEFINE_PER_CPU(u64, request_last);	/* serial of the vCPU that was loaded last */

int mote_vcpu_load(struct mote_vcpu *vcpu)
{
	preempt_disable();
	if (!this_cpu_read(mote_cpu_enabled)) {
		preempt_enable();
		return -EIO;
	}
	/* Another guest's branches are not to steer this one's. */
	if (this_cpu_read(request_last) != vcpu->serial) {
		this_cpu_write(request_last, vcpu->serial);
		indirect_branch_prediction_barrier();
	}
	mote_ops->load(vcpu);
	if (unlikely(vcpu->tsc_cpu != smp_processor_id() ||
		     vcpu->resumes.count != mote_resumes.count ||
		     vcpu->tsc_unstable != check_tsc_unstable()))
		mote_time_move(vcpu);
	vcpu->cpu = smp_processor_id();
	WRITE_ONCE(vcpu->loaded, true);
	/* This is written before requests are read. */
	smp_mb();
	return 0;
}

void mote_vcpu_unload(struct mote_vcpu *vcpu)
{
	/*
	 * Release: the guest's last accesses come before it.  Who reads it after that may take
	 * away what they used, without an interrupt.
	 */
	smp_store_release(&vcpu->loaded, false);
	mote_ops->unload(vcpu);
	vcpu->tsc_last = rdtsc();
	preempt_enable();
}

/* Write a request; is the vCPU loaded, seen after that? */
static bool request_finds_loaded(struct mote_vcpu *vcpu, u32 request)
{
	atomic_or(request, &vcpu->requests);
	/* The request is written before it is looked where the vCPU is. */
	smp_mb__after_atomic();
	return READ_ONCE(vcpu->loaded);
}

void mote_vcpu_request(struct mote_vcpu *vcpu, u32 request)
{
	int cpu;

	/* The kick that others rely on is not put off, and its CPU does not go offline. */
	preempt_disable();
	/* A full barrier: the request is written before it is looked where the vCPU is. */
	if (atomic_fetch_or(request | MOTE_REQ_KICKED, &vcpu->requests) & MOTE_REQ_KICKED)
		goto out;
	cpu = READ_ONCE(vcpu->loaded) ? READ_ONCE(vcpu->cpu) : -1;
	if (cpu < 0)
		rcuwait_wake_up(&vcpu->wait);
	/* On this CPU it is not in the guest; one that goes offline has unloaded it. */
	else if (cpu != smp_processor_id() && cpu_online(cpu))
		smp_send_reschedule(cpu);
out:
	preempt_enable();
}

static void request_is_seen(void *unused)
{
}

void mote_vm_request(struct mote_vm *vm, u32 request)
{
	struct mote_vcpu *vcpu;
	cpumask_var_t loaded;
	bool all = !zalloc_cpumask_var(&loaded, GFP_ATOMIC);
	bool any = false;
	u32 id;

	mote_vm_for_each_vcpu(vm, id, vcpu) {
		if (!request_finds_loaded(vcpu, request))
			continue;
		any = true;
		if (!all)
			cpumask_set_cpu(READ_ONCE(vcpu->cpu), loaded);
	}
	if (any) {
		preempt_disable();
		smp_call_function_many(all ? cpu_online_mask : loaded, request_is_seen, NULL, true);
		preempt_enable();
	}
	if (!all)
		free_cpumask_var(loaded);
}

/* ---- sleep ------------------------------------------------------------------------ */

#define POLL_FIRST (10 * NSEC_PER_USEC)

static uint halt_poll_ns;
module_param(halt_poll_ns, uint, 0644);
MODULE_PARM_DESC(halt_poll_ns, "how long a halted vCPU keeps its CPU at most; 0: not at all");

static bool sleep_is_over(const struct mote_vcpu *vcpu)
{
	return atomic_read(&vcpu->requests) || signal_pending(current) ||
	       READ_ONCE(vcpu->run->immediate_exit);
}

/* Keep the CPU a little, while nobody else wants it: who is woken soon is woken sooner. */
static bool sleep_poll(const struct mote_vcpu *vcpu, u64 end)
{
	while (!sleep_is_over(vcpu)) {
		if (!single_task_running() || need_resched() || local_clock() >= end)
			return false;
		cpu_relax();
	}
	return true;
}

/* Long sleeps are not polled for; where a little more would have served, there is more. */
static u32 sleep_learn(u32 now, u64 slept, u32 most)
{
	if (slept > most)
		return 0;
	return slept <= now ? now : min_t(u64, max_t(u64, 2ull * now, POLL_FIRST), most);
}

/* Sleep in HLT until there is something to do. */
void mote_vcpu_sleep(struct mote_vcpu *vcpu)
{
	u32 most = READ_ONCE(halt_poll_ns);
	u64 began = most ? local_clock() : 0;

	trace_mote_halt(vcpu->vm->id, vcpu->id, rdtsc(), vcpu->halted);
	if (!most || !sleep_poll(vcpu, began + vcpu->poll_ns))
		rcuwait_wait_event(&vcpu->wait, sleep_is_over(vcpu), TASK_INTERRUPTIBLE);
	if (most)
		vcpu->poll_ns = sleep_learn(vcpu->poll_ns, local_clock() - began, most);
	trace_mote_wake(vcpu->vm->id, vcpu->id, rdtsc(), vcpu->halted);
}
