// SPDX-License-Identifier: GPL-2.0
/*
 * Running a vCPU.  An access to a port ends the run and is completed by the next one; whatever else
 * needs devices is completed by libmote on a stack of its own (fiber.c), which waits there while
 * the client is the device.
 *
 * Not here: what a run ends with that the client asked for: MSRs, dirty rings; and debugging (debug.c).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include <linux/kvm_para.h>

#include <complete.h>

#include "chipset.h"
#include "interpose.h"
#include "shim.h"

#define LAPIC_BASE 0xfee00000ull
#define VECTOR_GP 13

/* ---- creation -------------------------------------------------------------------- */

static int map_run(struct shim_vcpu *vcpu, unsigned long id)
{
	char name[24];
	int fd;

	snprintf(name, sizeof(name), "kvm-vcpu:%lu", id);
	fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -errno;
	/* Nobody takes it away from under us. */
	if (ftruncate(fd, RUN_SIZE) ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)) {
		close(fd);
		return -ENOMEM;
	}
	vcpu->kvm = mmap(NULL, RUN_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (vcpu->kvm != MAP_FAILED)
		return fd;
	vcpu->kvm = NULL;
	close(fd);
	return -ENOMEM;
}

int vcpu_create(struct shim_vm *vm, unsigned long id)
{
	pthread_mutexattr_t recursive;
	struct shim_vcpu *vcpu;
	int fd, err;

	if (id != (__u32)id)
		return -EINVAL;
	vcpu = vcpu_of(object_create(KIND_VCPU));
	if (!vcpu)
		return -ENOMEM;
	/* A signal handler of the client's, which comes in the middle of a run, may ask for registers. */
	pthread_mutexattr_init(&recursive);
	pthread_mutexattr_settype(&recursive, PTHREAD_MUTEX_RECURSIVE);
	pthread_mutex_init(&vcpu->lock, &recursive);
	pthread_mutexattr_destroy(&recursive);
	vcpu->vector = -1;
	pthread_mutex_lock(&vm->lock);
	/* Too late to ask for other ids. */
	if (!vm->max_ids)
		vm->max_ids = vm->info.max_vcpus;
	err = id < vm->max_ids ? mote_cpu_create(&vcpu->cpu, &vm->machine, id) : -EINVAL;
	if (!err) {
		vcpu->vm = vm;
		__atomic_add_fetch(&vm->object.refs, 1, __ATOMIC_ACQ_REL);
		vm->nr_vcpus++;
		chipset_join(vm, vcpu, id);
	}
	pthread_mutex_unlock(&vm->lock);
	/* Time begins with the first one. */
	if (!err)
		err = tsc_write(vcpu, 0);
	fd = err ? err : map_run(vcpu, id);
	if (fd < 0)
		object_put(&vcpu->object);
	else
		object_bind(fd, &vcpu->object);
	return fd;
}

void vcpu_destroy(struct shim_vcpu *vcpu)
{
	if (vcpu->kvm)
		munmap(vcpu->kvm, RUN_SIZE);
	fiber_destroy(&vcpu->fiber);
	free(vcpu->cpuid);
	if (!vcpu->vm)
		return;
	chipset_forget(vcpu->vm, vcpu);
	mote_cpu_destroy(&vcpu->cpu);
	object_put(&vcpu->vm->object);
}

/* ---- exits that the client completes --------------------------------------------- */

static void *port_data(struct shim_vcpu *vcpu)
{
	return (char *)vcpu->kvm + PAGE_SIZE;
}

static void tell_port(struct shim_vcpu *vcpu, bool in, __u16 port, unsigned int size)
{
	vcpu->kvm->exit_reason = KVM_EXIT_IO;
	vcpu->kvm->io.direction = in ? KVM_EXIT_IO_IN : KVM_EXIT_IO_OUT;
	vcpu->kvm->io.size = size;
	vcpu->kvm->io.port = port;
	vcpu->kvm->io.count = 1;
	vcpu->kvm->io.data_offset = PAGE_SIZE;
}

/* In the middle of a completion: let the client be the device.  It may change slots meanwhile. */
static void wait_for_client(struct shim_vcpu *vcpu)
{
	pthread_rwlock_unlock(&vcpu->vm->memory_lock);
	fiber_wait(&vcpu->fiber);
	pthread_rwlock_rdlock(&vcpu->vm->memory_lock);
}

static void tell_eoi(struct shim_vcpu *vcpu, __u8 vector)
{
	vcpu->kvm->exit_reason = KVM_EXIT_IOAPIC_EOI;
	vcpu->kvm->eoi.vector = vector;
}

/* ---- the bus, as libmote sees it ------------------------------------------------- */

static bool is_lapic(const struct shim_vcpu *vcpu, __u64 gpa)
{
	return vcpu->vm->irqchip && gpa >= LAPIC_BASE && gpa < LAPIC_BASE + PAGE_SIZE;
}

/* Registers of 32 bits, 16 bytes apart, with nothing between them. */
static __u64 lapic_read(struct shim_vcpu *vcpu, unsigned int offset)
{
	struct mote_apic_access access = { .offset = offset & ~15u };

	if (offset % 16 >= 4)
		return 0;
	return mote_apic_access(vcpu->cpu.fd, &access) ? ~0ull : access.value >> 8 * (offset % 16);
}

static void lapic_write(struct shim_vcpu *vcpu, unsigned int offset, unsigned int size, __u32 data)
{
	struct mote_apic_access access = { .offset = offset, .write = 1, .value = data };

	if (offset % 16 || size < 4 || mote_apic_access(vcpu->cpu.fd, &access) || access.eoi < 0)
		return;
	if (chipset_end_of_interrupt(vcpu->vm, access.eoi))
		return;
	tell_eoi(vcpu, access.eoi);
	wait_for_client(vcpu);
}

static __u64 mmio_read(void *context, __u64 gpa, unsigned int size)
{
	struct shim_vcpu *vcpu = context;
	__u64 data = 0;

	if (is_lapic(vcpu, gpa))
		return lapic_read(vcpu, gpa - LAPIC_BASE);
	if (chipset_read(vcpu->vm, CHIPSET_MMIO, gpa, size, &data))
		return data;
	vcpu->kvm->exit_reason = KVM_EXIT_MMIO;
	vcpu->kvm->mmio.phys_addr = gpa;
	vcpu->kvm->mmio.len = size;
	vcpu->kvm->mmio.is_write = 0;
	wait_for_client(vcpu);
	memcpy(&data, vcpu->kvm->mmio.data, size);
	return data;
}

static void mmio_write(void *context, __u64 gpa, unsigned int size, __u64 data)
{
	struct shim_vcpu *vcpu = context;

	if (is_lapic(vcpu, gpa)) {
		lapic_write(vcpu, gpa - LAPIC_BASE, size, data);
		return;
	}
	if (chipset_write(vcpu->vm, CHIPSET_MMIO, gpa, size, data))
		return;
	vcpu->kvm->exit_reason = KVM_EXIT_MMIO;
	vcpu->kvm->mmio.phys_addr = gpa;
	vcpu->kvm->mmio.len = size;
	vcpu->kvm->mmio.is_write = 1;
	memcpy(vcpu->kvm->mmio.data, &data, sizeof(data));
	wait_for_client(vcpu);
}

/* Of string instructions; the others need no completion that waits. */
static __u32 port_in(void *context, __u16 port, unsigned int size)
{
	struct shim_vcpu *vcpu = context;
	__u64 data = 0;

	if (chipset_read(vcpu->vm, CHIPSET_PORT, port, size, &data))
		return data;
	tell_port(vcpu, true, port, size);
	wait_for_client(vcpu);
	memcpy(&data, port_data(vcpu), size);
	return data;
}

static void port_out(void *context, __u16 port, unsigned int size, __u32 data)
{
	struct shim_vcpu *vcpu = context;

	if (chipset_write(vcpu->vm, CHIPSET_PORT, port, size, data))
		return;
	tell_port(vcpu, false, port, size);
	memcpy(port_data(vcpu), &data, sizeof(data));
	wait_for_client(vcpu);
}

/* ---- completions ----------------------------------------------------------------- */

static void complete(void *argument)
{
	struct shim_vcpu *vcpu = argument;
	const struct mote_bus bus = {
		.context = vcpu, .mmio_read = mmio_read, .mmio_write = mmio_write,
		.port_in = port_in, .port_out = port_out,
	};

	pthread_rwlock_rdlock(&vcpu->vm->memory_lock);
	if (vcpu->cpu.run->reason == MOTE_EXIT_TASK_SWITCH)
		vcpu->outcome = mote_complete_task_switch(&vcpu->cpu);
	else if (vcpu->cpu.run->reason == MOTE_EXIT_PIO)
		vcpu->outcome = mote_complete_pio(&vcpu->cpu, &bus);
	else
		vcpu->outcome = mote_complete_mmio(&vcpu->cpu, &bus);
	pthread_rwlock_unlock(&vcpu->vm->memory_lock);
}

static int tell(struct shim_vcpu *vcpu, __u32 reason)
{
	vcpu->kvm->exit_reason = reason;
	return TO_CLIENT;
}

/* Let a completion begin or go on, and see what has come of it. */
static int go_on(struct shim_vcpu *vcpu)
{
	fiber_enter(&vcpu->fiber);
	if (vcpu->fiber.waits)
		return TO_CLIENT;
	switch (vcpu->outcome) {
	case 0:
		return GO_ON;
	case -ESHUTDOWN:
		return tell(vcpu, KVM_EXIT_SHUTDOWN);
	case -EOPNOTSUPP:
	case -EADDRNOTAVAIL:
	case -EBUSY:
		/* The last: in the middle of an event's delivery. */
		vcpu->kvm->internal.suberror = vcpu->outcome == -EBUSY ? KVM_INTERNAL_ERROR_DELIVERY_EV :
								       KVM_INTERNAL_ERROR_EMULATION;
		vcpu->kvm->internal.ndata = 0;
		return tell(vcpu, KVM_EXIT_INTERNAL_ERROR);
	default:
		return vcpu->outcome;
	}
}

static int begin_completion(struct shim_vcpu *vcpu)
{
	int err = fiber_start(&vcpu->fiber, complete, vcpu);

	return err ? err : go_on(vcpu);
}

/* As the instruction leaves RAX: 32 bits clear the upper half, fewer keep the rest. */
static void set_rax(struct mote_run *run, unsigned int size, __u32 data)
{
	__u64 mask = size == 4 ? ~0ull : (1ull << 8 * size) - 1;
	__u64 value = size == 4 ? data : data & mask;

	run->gpr[MOTE_RAX] = (run->gpr[MOTE_RAX] & ~mask) | value;
	run->set |= 1u << MOTE_RAX;
}

static void end_instruction(struct mote_run *run, __u64 next_rip)
{
	run->rip = next_rip;
	run->set |= MOTE_SET_RIP | MOTE_SET_COMPLETE;
}

static int handle_port(struct shim_vcpu *vcpu)
{
	struct mote_run *run = vcpu->cpu.run;
	const struct mote_pio pio = run->pio;
	bool in = pio.flags & MOTE_PIO_IN;
	__u64 data = run->gpr[MOTE_RAX];

	if (pio.flags & MOTE_PIO_STRING)
		return begin_completion(vcpu);
	if (in ? chipset_read(vcpu->vm, CHIPSET_PORT, pio.port, pio.size, &data) :
		 chipset_write(vcpu->vm, CHIPSET_PORT, pio.port, pio.size, data)) {
		if (in)
			set_rax(run, pio.size, data);
		end_instruction(run, run->next_rip);
		return GO_ON;
	}
	tell_port(vcpu, in, pio.port, pio.size);
	if (!in)
		memcpy(port_data(vcpu), &data, 4);
	vcpu->pending = in ? PENDING_IN : PENDING_OUT;
	vcpu->pending_rip = run->rip;
	vcpu->next_rip = run->next_rip;
	return TO_CLIENT;
}

/* What the last run ended with is complete now. */
static int finish(struct shim_vcpu *vcpu)
{
	enum pending pending = vcpu->pending;
	__u32 data;

	if (vcpu->fiber.waits)
		return go_on(vcpu);
	vcpu->pending = PENDING_NOTHING;
	if (pending == PENDING_NOTHING)
		return GO_ON;
	if (pending == PENDING_IN) {
		memcpy(&data, port_data(vcpu), sizeof(data));
		set_rax(vcpu->cpu.run, vcpu->cpu.run->pio.size, data);
	}
	end_instruction(vcpu->cpu.run, vcpu->next_rip);
	return GO_ON;
}

void vcpu_moved(struct shim_vcpu *vcpu, __u64 rip)
{
	/* A reset, say: what the guest was about to do does not count any more. */
	if (vcpu->pending && rip != vcpu->pending_rip)
		vcpu->pending = PENDING_NOTHING;
	if (vcpu->fiber.waits && rip != vcpu->cpu.run->rip)
		fiber_destroy(&vcpu->fiber);
}

/* ---- the other exits ------------------------------------------------------------- */

static int inject_fault(struct shim_vcpu *vcpu)
{
	const struct mote_event event = {
		.valid = 1, .type = MOTE_EVENT_EXCEPTION, .vector = VECTOR_GP, .has_error = 1,
	};
	int err = mote_inject(vcpu->cpu.fd, &event);

	return err ? err : GO_ON;
}

/* An MSR that the module does not know. */
static int handle_msr(struct shim_vcpu *vcpu)
{
	struct mote_run *run = vcpu->cpu.run;
	__u64 value;

	if (run->reason == MOTE_EXIT_WRMSR) {
		if (!own_msr_write(vcpu, run->msr.index, run->msr.data))
			return inject_fault(vcpu);
	} else {
		if (!own_msr_read(vcpu, run->msr.index, &value))
			return inject_fault(vcpu);
		run->gpr[MOTE_RAX] = (__u32)value;
		run->gpr[MOTE_RDX] = value >> 32;
		run->set |= 1u << MOTE_RAX | 1u << MOTE_RDX;
	}
	end_instruction(run, run->next_rip);
	return GO_ON;
}

static int handle_hypercall(struct shim_vcpu *vcpu)
{
	struct mote_run *run = vcpu->cpu.run;

	run->gpr[MOTE_RAX] = -KVM_ENOSYS;
	run->set |= 1u << MOTE_RAX;
	end_instruction(run, run->next_rip);
	return GO_ON;
}

void vcpu_settle(struct shim_vcpu *vcpu)
{
	vcpu->cpu.run->immediate_exit = 1;
	mote_run(vcpu->cpu.fd);
}

/* The client sees a vCPU that is behind the instruction. */
static int handle_halt(struct shim_vcpu *vcpu)
{
	struct mote_run *run = vcpu->cpu.run;

	end_instruction(run, run->next_rip);
	vcpu_settle(vcpu);
	return tell(vcpu, KVM_EXIT_HLT);
}

/* An interrupt that goes past the local APIC can be taken now. */
static int handle_window(struct shim_vcpu *vcpu)
{
	struct mote_event event = { .valid = 1, .type = MOTE_EVENT_INTERRUPT };
	int vector = vcpu->vector >= 0 ? vcpu->vector : chipset_acknowledge(vcpu->vm, vcpu);
	int err;

	if (vector < 0) {
		if (vcpu->vm->irqchip == IRQCHIP_FULL || !vcpu->kvm->request_interrupt_window)
			return GO_ON;
		vcpu->kvm->ready_for_interrupt_injection = 1;
		return tell(vcpu, KVM_EXIT_IRQ_WINDOW_OPEN);
	}
	vcpu->vector = -1;
	event.vector = vector;
	err = mote_inject(vcpu->cpu.fd, &event);
	return err ? err : GO_ON;
}

static int handle_eoi(struct shim_vcpu *vcpu)
{
	__u8 vector = vcpu->cpu.run->eoi.vector;

	if (chipset_end_of_interrupt(vcpu->vm, vector))
		return GO_ON;
	tell_eoi(vcpu, vector);
	return TO_CLIENT;
}

static int handle_refusal(struct shim_vcpu *vcpu)
{
	const struct mote_run *run = vcpu->cpu.run;

	vcpu->kvm->fail_entry.hardware_entry_failure_reason =
		run->fail.hardware ? run->fail.hardware : run->fail.check;
	vcpu->kvm->fail_entry.cpu = ~0u;
	return tell(vcpu, KVM_EXIT_FAIL_ENTRY);
}

static int handle_exit(struct shim_vcpu *vcpu)
{
	switch (vcpu->cpu.run->reason) {
	case MOTE_EXIT_PIO:
		return handle_port(vcpu);
	case MOTE_EXIT_MMIO:
	case MOTE_EXIT_TASK_SWITCH:
		return begin_completion(vcpu);
	case MOTE_EXIT_INTERRUPT_WINDOW:
		return handle_window(vcpu);
	case MOTE_EXIT_HLT:
		return handle_halt(vcpu);
	case MOTE_EXIT_EOI:
		return handle_eoi(vcpu);
	case MOTE_EXIT_RDMSR:
	case MOTE_EXIT_WRMSR:
		return handle_msr(vcpu);
	case MOTE_EXIT_HYPERCALL:
		return handle_hypercall(vcpu);
	case MOTE_EXIT_SHUTDOWN:
		return tell(vcpu, KVM_EXIT_SHUTDOWN);
	case MOTE_EXIT_FAIL_ENTRY:
		return handle_refusal(vcpu);
	case MOTE_EXIT_EXCEPTION:
	case MOTE_EXIT_DR:
		return debug_exit(vcpu);
	case MOTE_EXIT_MEMORY:
		return -EFAULT;
	default:
		vcpu->kvm->hw.hardware_exit_reason = vcpu->cpu.run->raw_reason;
		return tell(vcpu, KVM_EXIT_UNKNOWN);
	}
}

/* ---- running --------------------------------------------------------------------- */

void vcpu_kick_thread(struct shim_vcpu *vcpu)
{
	int tid = __atomic_load_n(&vcpu->tid, __ATOMIC_SEQ_CST);

	/* The thread may be gone meanwhile, which its number does not mind. */
	if (tid && tid != gettid())
		tgkill(getpid(), tid, KICK);
}

/*
 * Is there an interrupt that goes past the local APIC?  The client has none where it has no 8259s; a
 * guest that is stepped has none either.
 */
static bool wants_window(const struct shim_vcpu *vcpu)
{
	if (vcpu->debugged.step)
		return false;
	if (vcpu->vector >= 0 || chipset_has_interrupt(vcpu->vm, vcpu))
		return true;
	return vcpu->vm->irqchip != IRQCHIP_FULL && vcpu->kvm->request_interrupt_window;
}

/* Once: 0, a negative errno. */
static int enter(struct shim_vcpu *vcpu)
{
	struct mote_run *run = vcpu->cpu.run;

	run->immediate_exit = 0;
	/* Whoever sets one of them afterwards sets that, too: see signals.c. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (vcpu->interrupted || vcpu->kvm->immediate_exit)
		run->immediate_exit = 1;
	run->window = wants_window(vcpu) ? MOTE_WINDOW_INTERRUPT : 0;
	vcpu->has_run |= !run->immediate_exit;
	return mote_run(vcpu->cpu.fd);
}

/* Enter the guest and see to its exit. */
static int run_once(struct shim_vcpu *vcpu)
{
	int ret = debug_begin(vcpu);

	if (ret != GO_ON)
		return ret;
	ret = enter(vcpu);
	if (!ret)
		return handle_exit(vcpu);
	if (ret == -EINTR && vcpu->interrupted)
		vcpu->kvm->exit_reason = KVM_EXIT_INTR;
	else if (ret == -EINTR && !vcpu->kvm->immediate_exit)
		ret = GO_ON; /* the host had something to do, or the chipset has something */
	return ret;
}

static int run_until_client(struct shim_vcpu *vcpu)
{
	bool completes = vcpu->pending || vcpu->fiber.waits;
	int ret = finish(vcpu), err;

	if (ret == GO_ON && completes)
		ret = debug_completed(vcpu);
	while (ret == GO_ON)
		ret = run_once(vcpu);
	err = debug_end(vcpu);
	return ret < 0 ? ret : err;
}

static void set_mask(const sigset_t *mask, sigset_t *old)
{
	NEXT(pthread_sigmask)(SIG_SETMASK, mask, old);
}

/* The client's local APIC keeps CR8 and IA32_APIC_BASE. */
static int exchange_apic(struct shim_vcpu *vcpu, bool takes)
{
	struct mote_state state = { .mask = MOTE_STATE_CRS | MOTE_STATE_MSRS };
	int err = mote_get_state(vcpu->cpu.fd, &state);

	if (err)
		return err;
	if (!takes) {
		vcpu->kvm->cr8 = state.crs.cr8;
		vcpu->kvm->apic_base = state.msrs.apic_base;
		return 0;
	}
	if (vcpu->kvm->cr8 == state.crs.cr8)
		return 0;
	state.mask = MOTE_STATE_CRS;
	state.crs.cr8 = vcpu->kvm->cr8;
	return mote_set_state(vcpu->cpu.fd, &state);
}

static int run_locked(struct shim_vcpu *vcpu)
{
	bool own_apic = !vcpu->vm->irqchip;
	int ret = registers_take(vcpu), err;

	if (!ret && own_apic)
		ret = exchange_apic(vcpu, true);
	/* A client that only has its last exit completed goes on with what that was. */
	if (!vcpu->kvm->immediate_exit)
		vcpu->kvm->exit_reason = KVM_EXIT_UNKNOWN;
	vcpu->kvm->ready_for_interrupt_injection = vcpu->vm->irqchip == IRQCHIP_FULL;
	if (!ret)
		ret = run_until_client(vcpu);
	vcpu->kvm->if_flag = vcpu->cpu.run->rflags >> 9 & 1;
	if (own_apic && ret >= 0)
		ret = exchange_apic(vcpu, false);
	err = registers_show(vcpu);
	return ret ? ret : err;
}

int vcpu_run(struct shim_vcpu *vcpu)
{
	static __thread int tid;
	int ret;

	pthread_mutex_lock(&vcpu->lock);
	if (!tid) {
		signals_open();
		tid = gettid();
	}
	__atomic_store_n(&vcpu->tid, tid, __ATOMIC_SEQ_CST);
	vcpu->interrupted = false;
	current_vcpu = vcpu;
	if (vcpu->has_mask)
		set_mask(&vcpu->mask, &vcpu->outer);
	ret = run_locked(vcpu);
	if (vcpu->has_mask)
		set_mask(&vcpu->outer, NULL);
	current_vcpu = NULL;
	__atomic_store_n(&vcpu->tid, 0, __ATOMIC_SEQ_CST);
	pthread_mutex_unlock(&vcpu->lock);
	return ret;
}

/* ---- what a client injects ------------------------------------------------------- */

int call_interrupt(struct object *object, void *data, unsigned long argument)
{
	const struct kvm_interrupt *interrupt = data;
	struct shim_vcpu *vcpu = vcpu_of(object);

	(void)argument;
	if (interrupt->irq > 255)
		return -EINVAL;
	/* The 8259s are not the client's. */
	if (vcpu->vm->irqchip == IRQCHIP_FULL)
		return -ENXIO;
	if (vcpu->vm->irqchip && vcpu->vector >= 0)
		return -EEXIST;
	vcpu->vector = interrupt->irq;
	return 0;
}

int call_nmi(struct object *object, void *data, unsigned long argument)
{
	const struct mote_event nmi = { .valid = 1, .type = MOTE_EVENT_NMI, .vector = 2 };

	(void)data;
	(void)argument;
	return mote_inject(vcpu_of(object)->cpu.fd, &nmi);
}

int call_set_signal_mask(struct object *object, void *data, unsigned long argument)
{
	struct shim_vcpu *vcpu = vcpu_of(object);
	struct kvm_signal_mask head;
	__u64 mask;

	(void)data;
	vcpu->has_mask = false;
	if (!argument)
		return 0;
	if (client_read(&head, argument, sizeof(head)))
		return -EFAULT;
	/* The kernel's set, of which the C library's begins with. */
	if (head.len != sizeof(mask))
		return -EINVAL;
	if (client_read(&mask, argument + sizeof(head), sizeof(mask)))
		return -EFAULT;
	sigemptyset(&vcpu->mask);
	memcpy(&vcpu->mask, &mask, sizeof(mask));
	sigdelset(&vcpu->mask, KICK);
	vcpu->has_mask = true;
	return 0;
}
