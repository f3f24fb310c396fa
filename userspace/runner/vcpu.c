// SPDX-License-Identifier: GPL-2.0
/*
 * vCPUs: each is a thread that runs the guest and hands its exits to libmote,
 * which completes instructions, and to the devices.
 *
 * The one message for a vCPU's thread is "look again" (vcpu_kick()): a signal,
 * which ends MOTE_RUN at once or, by immediate_exit, just before it begins.
 */
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <linux/kvm_para.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include <complete.h>

#include "gdb.h"
#include "irq.h"
#include "runner.h"
#include "sandbox.h"
#include "step.h"
#include "vm.h"
#include "watch.h"

#define KICK SIGUSR1
#define VECTOR_GP 13
#define PAGE_SIZE 4096

/* Of this thread's vCPU. */
static __thread struct mote_run *current_run;

/* ---- the bus, as libmote sees it --------------------------------------------- */

static bool is_lapic(__u64 gpa)
{
	return gpa >= LAPIC_BASE && gpa < LAPIC_BASE + PAGE_SIZE;
}

static void end_of_interrupt(struct vm *vm, unsigned int vector)
{
	pthread_mutex_lock(&vm->lock);
	ioapic_end_of_interrupt(vm, vector);
	pthread_mutex_unlock(&vm->lock);
}

/*
 * The registers of 32 bits are 16 bytes apart; what lies between them is not there.  Of an APIC
 * that is off, or in x2APIC mode, nothing is.
 */
static __u64 lapic_read(struct vcpu *vcpu, unsigned int offset)
{
	struct mote_apic_access access = { .offset = offset & ~15u };
	unsigned int byte = offset & 15;

	if (byte >= 4)
		return 0;
	if (mote_apic_access(vcpu->cpu.fd, &access))
		return ~0ull;
	return access.value >> 8 * byte;
}

static void lapic_write(struct vcpu *vcpu, unsigned int offset, unsigned int size, __u32 data)
{
	struct mote_apic_access access = { .offset = offset, .write = 1, .value = data };

	if (offset % 16 || size < 4 || mote_apic_access(vcpu->cpu.fd, &access))
		return;
	if (access.eoi >= 0)
		end_of_interrupt(vcpu->vm, access.eoi);
}

static __u64 mmio_read(void *context, __u64 gpa, unsigned int size)
{
	struct vcpu *vcpu = context;

	if (is_lapic(gpa))
		return lapic_read(vcpu, gpa - LAPIC_BASE);
	return bus_read(vcpu->vm, SPACE_MMIO, gpa, size);
}

static void mmio_write(void *context, __u64 gpa, unsigned int size, __u64 data)
{
	struct vcpu *vcpu = context;

	if (is_lapic(gpa))
		lapic_write(vcpu, gpa - LAPIC_BASE, size, data);
	else
		bus_write(vcpu->vm, SPACE_MMIO, gpa, size, data);
}

static __u32 port_in(void *context, __u16 port, unsigned int size)
{
	struct vcpu *vcpu = context;

	return bus_read(vcpu->vm, SPACE_PORT, port, size);
}

static void port_out(void *context, __u16 port, unsigned int size, __u32 data)
{
	struct vcpu *vcpu = context;

	bus_write(vcpu->vm, SPACE_PORT, port, size, data);
}

/* ---- what it may write ------------------------------------------------------------ */

void vcpus_grant(struct vm *vm, bool anew, __u64 pages)
{
	pthread_mutex_lock(&vm->life);
	for (unsigned int i = 0; i < vm->nr_vcpus; i++) {
		struct vcpu *vcpu = &vm->vcpus[i];
		struct mote_run *run = vcpu->cpu.run;

		if (anew)
			vcpu->dirty_base = __atomic_load_n(&run->dirty_pages, __ATOMIC_RELAXED);
		__atomic_store_n(&run->dirty_quota, pages == UNLIMITED ? 0 : vcpu->dirty_base + pages,
				 __ATOMIC_RELAXED);
	}
	pthread_cond_broadcast(&vm->resumed);
	pthread_mutex_unlock(&vm->life);
}

/* As vcpus_grant() says; a pause and the VM's end have to be seen first. */
static void await_grant(struct vcpu *vcpu)
{
	struct mote_run *run = vcpu->cpu.run;
	struct vm *vm = vcpu->vm;
	struct timespec until;
	__u64 quota;
	int err = 0;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec++;
	pthread_mutex_lock(&vm->life);
	quota = run->dirty_quota;
	while (!err && !vm->paused && !vm_has_ended(vm) &&
	       run->dirty_quota && run->dirty_pages >= run->dirty_quota)
		err = pthread_cond_clockwait(&vm->resumed, &vm->life, CLOCK_MONOTONIC, &until);
	if (err && run->dirty_quota == quota)
		run->dirty_quota = 0;
	pthread_mutex_unlock(&vm->life);
}

/* ---- exits --------------------------------------------------------------------- */

static void inject(struct vcpu *vcpu, const struct mote_event *event)
{
	int err = mote_inject(vcpu->cpu.fd, event);

	if (err)
		vm_fail(vcpu, END_ERROR, "vCPU %u: cannot inject an event: %s", vcpu->cpu.id,
			strerror(-err));
}

/* The 8259s' interrupt, which goes past the local APIC to vCPU 0. */
static void inject_interrupt(struct vcpu *vcpu)
{
	struct mote_event event = { .valid = 1, .type = MOTE_EVENT_INTERRUPT };
	struct vm *vm = vcpu->vm;
	int vector;

	pthread_mutex_lock(&vm->lock);
	vector = pic_acknowledge(vm);
	pthread_mutex_unlock(&vm->lock);
	if (vector < 0)
		return;
	event.vector = vector;
	inject(vcpu, &event);
}

/* An MSR that neither the module nor we know is not there. */
static void refuse_msr(struct vcpu *vcpu)
{
	const struct mote_event event = {
		.valid = 1, .type = MOTE_EVENT_EXCEPTION, .vector = VECTOR_GP, .has_error = 1,
	};

	inject(vcpu, &event);
}

/* As KVM's interface says of one that is not there, which is the interface that guests see. */
static void refuse_hypercall(struct vcpu *vcpu)
{
	struct mote_run *run = vcpu->cpu.run;

	run->gpr[MOTE_RAX] = -KVM_ENOSYS;
	run->set |= 1u << MOTE_RAX | MOTE_SET_COMPLETE;
}

static void check_completion(struct vcpu *vcpu, int err, const char *what)
{
	char name[32];

	if (err == -EOPNOTSUPP) {
		mote_complete_name(&vcpu->cpu, name, sizeof(name));
		vm_fail(vcpu, END_ERROR, "vCPU %u: the instruction of this %s is not known: %s",
			vcpu->cpu.id, what, name);
	} else if (err == -EADDRNOTAVAIL) {
		vm_fail(vcpu, END_ERROR, "vCPU %u: its page tables are not in writable memory, at 0x%llx",
			vcpu->cpu.id, (unsigned long long)vcpu->cpu.run->memory.gpa);
	} else if (err) {
		vm_fail(vcpu, END_ERROR, "vCPU %u: %s cannot be completed: %s", vcpu->cpu.id, what,
			strerror(-err));
	}
}

/* Who resumes it finds it here again. */
static void triple_fault(struct vcpu *vcpu)
{
	char what[40];

	snprintf(what, sizeof(what), "triple fault of vCPU %u", vcpu->cpu.id);
	if (!vm_pauses_at(vcpu->vm, what))
		vm_fail(vcpu, END_TRIPLE_FAULT, "%s", what);
}

/* A fault while a double fault is delivered ends the guest, as on the CPUs that do it. */
static void switch_task(struct vcpu *vcpu)
{
	int err = mote_complete_task_switch(&vcpu->cpu);

	if (err == -ESHUTDOWN)
		triple_fault(vcpu);
	else
		check_completion(vcpu, err, "task switch");
}

static void debug(struct vcpu *vcpu)
{
	int err = vcpu->cpu.run->reason == MOTE_EXIT_WATCH ? watch_exit(vcpu) :
		  vcpu->watch_step.cpu ? watch_step(vcpu) : gdb_exit(vcpu);

	if (err)
		vm_fail(vcpu, END_ERROR, "vCPU %u cannot be debugged: %s", vcpu->cpu.id, strerror(-err));
}

static void handle_exit(struct vcpu *vcpu, const struct mote_bus *bus)
{
	struct mote_run *run = vcpu->cpu.run;

	switch (run->reason) {
	case MOTE_EXIT_NONE:
		break;
	case MOTE_EXIT_PIO:
		check_completion(vcpu, mote_complete_pio(&vcpu->cpu, bus), "port access");
		break;
	case MOTE_EXIT_MMIO:
		check_completion(vcpu, mote_complete_mmio(&vcpu->cpu, bus), "memory access");
		break;
	case MOTE_EXIT_INTERRUPT_WINDOW:
		inject_interrupt(vcpu);
		break;
	case MOTE_EXIT_EOI:
		end_of_interrupt(vcpu->vm, run->eoi.vector);
		break;
	case MOTE_EXIT_TASK_SWITCH:
		switch_task(vcpu);
		break;
	case MOTE_EXIT_RDMSR:
	case MOTE_EXIT_WRMSR:
		refuse_msr(vcpu);
		break;
	case MOTE_EXIT_HYPERCALL:
		refuse_hypercall(vcpu);
		break;
	case MOTE_EXIT_SHUTDOWN:
		triple_fault(vcpu);
		break;
	case MOTE_EXIT_FAIL_ENTRY:
		vm_fail(vcpu, END_ERROR, "vCPU %u cannot be entered: %s (%s)", vcpu->cpu.id,
			mote_check_text(run->fail.check), mote_check_section(run->fail.check));
		break;
	case MOTE_EXIT_EXCEPTION:
	case MOTE_EXIT_DR:
	case MOTE_EXIT_WATCH:
		debug(vcpu);
		break;
	case MOTE_EXIT_MEMORY:
		if (run->memory.error == -EDQUOT)
			await_grant(vcpu);
		else
			vm_fail(vcpu, END_ERROR, "memory at 0x%llx cannot be had: %s",
				(unsigned long long)run->memory.gpa, strerror(-run->memory.error));
		break;
	default:
		vm_fail(vcpu, END_ERROR, "vCPU %u: an exit that mote does not know: %s (0x%x)",
			vcpu->cpu.id, mote_exit_name(run->reason), run->raw_reason);
	}
}

/* ---- threads --------------------------------------------------------------------- */

static void on_kick(int number)
{
	(void)number;
	if (current_run)
		current_run->immediate_exit = 1;
}

void vcpu_kick(struct vcpu *vcpu)
{
	if (vcpu->started && !pthread_equal(vcpu->thread, pthread_self()))
		pthread_kill(vcpu->thread, KICK);
}

/* ---- pauses ---------------------------------------------------------------------- */

static void park(struct vcpu *vcpu)
{
	struct vm *vm = vcpu->vm;

	/* What stands still is as the guest would have it. */
	watch_leave_step(vcpu);
	pthread_mutex_lock(&vm->life);
	vm->nr_parked++;
	if (vm->nr_parked == vm->nr_vcpus)
		io_wake(vm);
	while ((vm->paused || vcpu->is_held) && !vm_has_ended(vm))
		pthread_cond_wait(&vm->resumed, &vm->life);
	vm->nr_parked--;
	pthread_mutex_unlock(&vm->life);
}

bool vm_is_paused(struct vm *vm)
{
	bool is_paused;

	pthread_mutex_lock(&vm->life);
	is_paused = vm->paused && vm->drained;
	pthread_mutex_unlock(&vm->life);
	return is_paused;
}

bool vm_is_wanted_paused(const struct vm *vm)
{
	return __atomic_load_n(&vm->paused, __ATOMIC_SEQ_CST) &&
	       !__atomic_load_n(&vm->is_brief, __ATOMIC_SEQ_CST);
}

/* True if that is news: what was brief is so no longer. */
static bool stop(struct vm *vm, bool briefly)
{
	bool begins, lasts;

	pthread_mutex_lock(&vm->life);
	/* Of a VM that has ended the threads may be gone. */
	begins = !vm->paused && !vm_has_ended(vm);
	lasts = vm->is_brief && !briefly;
	__atomic_store_n(&vm->is_brief, begins ? briefly : vm->is_brief && briefly, __ATOMIC_SEQ_CST);
	if (begins) {
		vm->drained = false;
		__atomic_store_n(&vm->paused, true, __ATOMIC_SEQ_CST);
		for (unsigned int i = 0; i < vm->nr_vcpus; i++)
			vcpu_kick(&vm->vcpus[i]);
		/* Those that wait to write are to wait here. */
		pthread_cond_broadcast(&vm->resumed);
	}
	pthread_mutex_unlock(&vm->life);
	/* Those that waited for the last pause may not have left it yet. */
	io_wake(vm);
	return begins || lasts;
}

bool vm_stop(struct vm *vm)
{
	return stop(vm, false);
}

void vm_stop_briefly(struct vm *vm)
{
	stop(vm, true);
}

void vm_pause(struct vm *vm, const char *why)
{
	if (vm_stop(vm))
		say_event(vm, "pause", why);
}

void vm_hold(struct vm *vm, const char *format, ...)
{
	bool is_news = !__atomic_load_n(&vm->paused, __ATOMIC_SEQ_CST);
	char why[160];
	va_list args;

	va_start(args, format);
	vsnprintf(why, sizeof(why), format, args);
	va_end(args);
	vm_pause(vm, why);
	if (is_news && !vm->options->json)
		complain("%s: %s: it is paused (mote resume %s)", vm->name, why, vm->name);
}

bool vm_hold_for(struct vm *vm, const void *holder)
{
	bool is_held;

	pthread_mutex_lock(&vm->life);
	is_held = vm->paused && !vm->is_brief && vm->drained && !vm->holder && !vm_has_ended(vm);
	if (is_held)
		vm->holder = holder;
	pthread_mutex_unlock(&vm->life);
	return is_held;
}

/* @briefly: it stands still for no longer; else it goes on by itself. */
static bool go(struct vm *vm, const void *holder, bool briefly)
{
	bool resumes;

	pthread_mutex_lock(&vm->life);
	resumes = vm->paused && vm->holder == holder && vm->is_brief == briefly;
	if (resumes) {
		vm->holder = NULL;
		__atomic_store_n(&vm->is_brief, false, __ATOMIC_SEQ_CST);
		vm->resumes = true;
		__atomic_store_n(&vm->paused, false, __ATOMIC_SEQ_CST);
		pthread_cond_broadcast(&vm->resumed);
	}
	pthread_mutex_unlock(&vm->life);
	if (resumes)
		io_wake(vm);
	return resumes;
}

bool vm_go(struct vm *vm, const void *holder)
{
	return go(vm, holder, false);
}

void vm_go_on(struct vm *vm)
{
	go(vm, NULL, true);
}

/* Not while somebody holds it. */
void vm_resume(struct vm *vm)
{
	if (vm_go(vm, NULL))
		say_event(vm, "resume", NULL);
}

static void *run_vcpu(void *data)
{
	struct vcpu *vcpu = data;
	const struct mote_bus bus = {
		.context = vcpu, .mmio_read = mmio_read, .mmio_write = mmio_write,
		.port_in = port_in, .port_out = port_out,
	};
	struct mote_run *run = vcpu->cpu.run;
	char name[16];

	snprintf(name, sizeof(name), "vcpu%u", vcpu->cpu.id);
	prctl(PR_SET_NAME, name);
	vcpu->tid = gettid();
	current_run = run;
	if (reservation_take(vcpu->vm->options) | sandbox_enter(SANDBOX_VCPU))
		vm_end(vcpu->vm, END_ERROR, 0);
	/* Who is kicked is known to have started, and all threads are in the sandbox: start_threads(). */
	pthread_mutex_lock(&vcpu->vm->lock);
	pthread_mutex_unlock(&vcpu->vm->lock);
	sandbox_wait();
	while (!vm_has_ended(vcpu->vm)) {
		bool pauses = __atomic_load_n(&vcpu->vm->paused, __ATOMIC_SEQ_CST) || vcpu->is_held;
		int err;

		/* What was completed last comes into the vCPU, and no further, before it waits. */
		if (pauses)
			__atomic_store_n(&run->immediate_exit, 1, __ATOMIC_SEQ_CST);
		run->window = step_before(vcpu);
		if (!vcpu->cpu.id && pic_pending(vcpu->vm) && !pauses && !vcpu->steps)
			run->window |= MOTE_WINDOW_INTERRUPT;
		err = mote_run(vcpu->cpu.fd);
		step_behind(vcpu);
		if (!err) {
			/* What is only looked at is the module's; a newer one may know more reasons. */
			if (run->reason && run->reason < MOTE_NR_EXITS)
				vcpu->exits[run->reason]++;
			handle_exit(vcpu, &bus);
		} else if (err == -EINTR) {
			if (pauses)
				park(vcpu);
			/* Who kicked has made its change before: it is seen from here on. */
			__atomic_store_n(&run->immediate_exit, 0, __ATOMIC_SEQ_CST);
		} else if (err != -ENOMEM) {
			vm_fail(vcpu, END_ERROR, "vCPU %u cannot run: %s", vcpu->cpu.id,
				strerror(-err));
		}
	}
	return NULL;
}

int vcpus_start(struct vm *vm)
{
	struct sigaction action = { .sa_handler = on_kick };
	int err = 0;

	sigaction(KICK, &action, NULL);
	for (unsigned int i = 0; i < vm->nr_vcpus && !err; i++) {
		struct vcpu *vcpu = &vm->vcpus[i];

		err = sandbox_make_thread(&vcpu->thread, run_vcpu, vcpu);
		vcpu->started = !err;
	}
	if (err) {
		complain("cannot start a thread for each vCPU: %s", strerror(err));
		vm_end(vm, END_ERROR, 0);
	}
	return err ? -1 : 0;
}

void vcpus_stop(struct vm *vm)
{
	for (unsigned int i = 0; i < vm->nr_vcpus; i++)
		vcpu_kick(&vm->vcpus[i]);
	for (unsigned int i = 0; i < vm->nr_vcpus; i++) {
		if (vm->vcpus[i].started)
			pthread_join(vm->vcpus[i].thread, NULL);
		vm->vcpus[i].started = false;
	}
}

int vcpus_create(struct vm *vm)
{
	vm->vcpus = calloc(vm->options->cpus, sizeof(*vm->vcpus));
	if (!vm->vcpus) {
		complain("no memory for %u vCPUs", vm->options->cpus);
		return -1;
	}
	for (unsigned int i = 0; i < vm->options->cpus; i++) {
		struct vcpu *vcpu = &vm->vcpus[i];
		int err = mote_cpu_create(&vcpu->cpu, &vm->machine, i);

		if (err) {
			complain("cannot create vCPU %u: %s", i, strerror(-err));
			return -1;
		}
		vcpu->vm = vm;
		vm->nr_vcpus++;
		if (vcpu_set_cpuid(vcpu))
			return -1;
	}
	return 0;
}

void vcpus_destroy(struct vm *vm)
{
	for (unsigned int i = 0; i < vm->nr_vcpus; i++)
		mote_cpu_destroy(&vm->vcpus[i].cpu);
	free(vm->vcpus);
	vm->vcpus = NULL;
	vm->nr_vcpus = 0;
	vm->culprit = NULL;
}
