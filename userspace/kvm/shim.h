/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The KVM ABI in a client's own process: LD_PRELOAD brings this library in, and what the
 * client asks of /dev/kvm it answers by libmote.  docs/kvm-clients.md has what is there.
 *
 * The client's descriptors are real: that of /dev/kvm is one of /dev/mote, that of a VM an empty
 * memfd, and that of a vCPU the memfd of its struct kvm_run, so that mmap(2), dup(2) and /proc
 * need no help.  object.c knows which descriptor stands for what.
 *
 * Locks, outermost first: a vCPU's, a VM's, that of its memory.  Nobody keeps the last one while
 * the client is at work.
 */
#ifndef SHIM_H
#define SHIM_H

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>

#include <linux/kvm.h>

#include <debug.h>

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))
#define PAGE_SIZE 4096

/* ---- what descriptors stand for (object.c) --------------------------------------- */

enum kind { KIND_SYSTEM, KIND_VM, KIND_VCPU, NR_KINDS };

/**
 * struct object - what each of them begins with
 * @kind: which kind it is
 * @refs: descriptors, calls, and for a VM its vCPUs; 0: it is not in use
 * @process: which one it was made in: see object_is_inherited()
 * @next: of those that are not in use
 *
 * Its memory stays one of its kind for good: who finds it by a descriptor that is being closed
 * notices that @refs is 0.
 */
struct object {
	enum kind kind;
	unsigned int refs;
	unsigned int process;
	struct object *next;
};

/* A zeroed one with one reference, or NULL: no memory. */
struct object *object_create(enum kind kind);
/* Let it have a descriptor, and that its reference. */
void object_bind(int fd, struct object *object);
/* The one behind a descriptor, with a reference; NULL: it is none of ours. */
struct object *object_get(int fd);
void object_put(struct object *object);
/* It is a parent's: its memory and threads are not here, and nothing can be done with it. */
bool object_is_inherited(const struct object *object);
/* A descriptor has been closed, is to be, or has become another's. */
void object_forget(int fd);
void object_forget_range(unsigned int first, unsigned int last);
/* Descriptor @fd has become the same as @of. */
void object_copied(int of, int fd);

/* Copy from or to the client's memory: 0 or -EFAULT. */
int client_read(void *to, __u64 from, size_t size);
int client_write(__u64 to, const void *from, size_t size);

/* ---- a completion that waits for the client (fiber.c) ---------------------------- */

/**
 * struct fiber - a function on a stack of its own, which may wait in its middle
 * @stack: it; NULL: none has been needed
 * @inside: its stack pointer while it waits
 * @outside: that of who entered it
 * @run: the function
 * @argument: of it
 * @waits: it has begun, and not ended
 */
struct fiber {
	void *stack;
	void *inside;
	void *outside;
	void (*run)(void *argument);
	void *argument;
	bool waits;
};

/* Begin; 0, or -ENOMEM. */
int fiber_start(struct fiber *fiber, void (*run)(void *argument), void *argument);
/* Let it go on until it waits or ends. */
void fiber_enter(struct fiber *fiber);
/* From within: wait for fiber_enter(). */
void fiber_wait(struct fiber *fiber);
/* Whatever it waits for does not come any more; it can begin anew. */
void fiber_destroy(struct fiber *fiber);

/* ---- a VM ------------------------------------------------------------------------ */

enum irqchip { IRQCHIP_NONE, IRQCHIP_SPLIT, IRQCHIP_FULL };

#define MAX_ROUTES 1024

/**
 * struct eventfd - one that the client has connected to the VM
 * @next: of the same kind
 * @fd: a copy of its descriptor
 * @id: of the eventfd itself, which may have more descriptors
 * @gsi: of an irqfd
 * @msi: what mote sends for it; of no meaning unless @is_sent
 * @is_sent: mote has been told of it
 * @io: what was asked for, of an ioeventfd
 */
struct eventfd {
	struct eventfd *next;
	int fd;
	int id;
	__u32 gsi;
	struct mote_msi msi;
	bool is_sent;
	struct kvm_ioeventfd io;
};

struct chipset;

/**
 * struct shim_vm - a VM
 * @object: what it is to its descriptors
 * @lock: of all that follows, but @memory has its own
 * @memory_lock: of @machine's slots and doorbells, which vCPUs read
 * @machine: the VM, and its memory
 * @irqchip: which interrupt controllers are not the client's
 * @x2apic_ids: messages have destinations of 32 bits
 * @nr_vcpus: how many have been made
 * @nr_routes: how many @routes there are
 * @routes: where GSIs lead
 * @irqfds: eventfds that send interrupts
 * @ioeventfds: eventfds that the guest's writes tell
 * @max_ids: ids of vCPUs are below, by %KVM_CAP_MAX_VCPU_ID; 0: not decided yet
 * @info: what the module says of itself and the host
 * @has_tsc: a vCPU's TSC has been set
 * @tsc_offset: with this offset; see msr.c
 * @written: what completions have written; of which there is one while a slot has a log
 * @chipset: with %IRQCHIP_FULL: 8259s and I/O APIC, perhaps the 8254 (chipset.c)
 */
struct shim_vm {
	struct object object;
	pthread_mutex_t lock;
	pthread_rwlock_t memory_lock;
	struct mote_machine machine;
	enum irqchip irqchip;
	bool x2apic_ids;
	unsigned int nr_vcpus;
	unsigned int nr_routes;
	struct kvm_irq_routing_entry *routes;
	struct eventfd *irqfds;
	struct eventfd *ioeventfds;
	__u64 max_ids;
	struct mote_info info;
	bool has_tsc;
	__u64 tsc_offset;
	struct mote_written written;
	struct chipset *chipset;
};

int vm_create(void);
void vm_destroy(struct shim_vm *vm);
/* Make it anew with local APICs, as there are no vCPUs yet: 0 or a negative errno. */
int vm_take_lapics(struct shim_vm *vm, enum irqchip irqchip);

/* ---- a vCPU ---------------------------------------------------------------------- */

/* MSRs that KVM has and the module has not: variable and fixed MTRRs, banks of machine checks. */
#define NR_BANKS 32
#define NR_OWN_MSRS (27 + 2 + 4 * NR_BANKS)

/* What the last exit waits for. */
enum pending { PENDING_NOTHING, PENDING_IN, PENDING_OUT };

/**
 * struct shim_vcpu - a vCPU
 * @object: what it is to its descriptors
 * @vm: whose it is
 * @lock: of all of it; held by whoever runs it
 * @cpu: the vCPU
 * @kvm: what the client sees of a run, with the page of port data behind it
 * @pending: what the next run completes first
 * @pending_rip: of the instruction
 * @next_rip: behind it
 * @fiber: in which instructions are completed that need the client in their middle
 * @outcome: what came of that
 * @vector: that the client injects by KVM_INTERRUPT; -1: none
 * @interrupted: a signal has come since the run began; set by a signal handler
 * @tid: of the thread that runs it; 0: none does
 * @has_mask: KVM_SET_SIGNAL_MASK was called
 * @mask: with this
 * @outer: the mask that was in force before the run
 * @xsave_size: bytes of an XSAVE image; 0: not known yet
 * @nr_cpuid: rows of @cpuid
 * @cpuid: what KVM_SET_CPUID2 said
 * @own: values of the MSRs that the module has not
 * @has_run: the guest has been entered, and its CPUID stays
 * @guest_debug: what KVM_SET_GUEST_DEBUG said; nothing while .control is 0
 * @debugged: by that
 */
struct shim_vcpu {
	struct object object;
	struct shim_vm *vm;
	pthread_mutex_t lock;
	struct mote_cpu cpu;
	struct kvm_run *kvm;
	enum pending pending;
	__u64 pending_rip;
	__u64 next_rip;
	struct fiber fiber;
	int outcome;
	int vector;
	volatile bool interrupted;
	int tid;
	bool has_mask;
	sigset_t mask;
	sigset_t outer;
	__u32 xsave_size;
	unsigned int nr_cpuid;
	struct kvm_cpuid_entry2 *cpuid;
	__u64 own[NR_OWN_MSRS];
	bool has_run;
	struct kvm_guest_debug guest_debug;
	struct mote_debugged debugged;
};

/* struct kvm_run, and the data of ports. */
#define RUN_SIZE (2 * PAGE_SIZE)

int vcpu_create(struct shim_vm *vm, unsigned long id);
void vcpu_destroy(struct shim_vcpu *vcpu);
int vcpu_run(struct shim_vcpu *vcpu);
/* What has been completed takes effect, and no more. */
void vcpu_settle(struct shim_vcpu *vcpu);
/* Let it look again at what the chipset has for it. */
void vcpu_kick_thread(struct shim_vcpu *vcpu);
/* The registers have been set from outside; @rip is the new one. */
void vcpu_moved(struct shim_vcpu *vcpu, __u64 rip);
/* Of this thread; NULL: it runs none. */
extern __thread struct shim_vcpu *current_vcpu;

/* Of what a run does next: the guest goes on, or the run ends for the client; or a negative errno. */
enum { GO_ON, TO_CLIENT };

/* ---- debugging (debug.c) --------------------------------------------------------- */

/* Controls of KVM_SET_GUEST_DEBUG that are there. */
#define DEBUG_CONTROLS (KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP | KVM_GUESTDBG_USE_SW_BP |	\
			KVM_GUESTDBG_USE_HW_BP | KVM_GUESTDBG_INJECT_DB | KVM_GUESTDBG_INJECT_BP |	\
			KVM_GUESTDBG_BLOCKIRQ)

/* Before the guest is entered; %TO_CLIENT: that was a step already. */
int debug_begin(struct shim_vcpu *vcpu);
/* What the last run has ended with is complete: that was a step, too. */
int debug_completed(struct shim_vcpu *vcpu);
/* Of a run: 0 or a negative errno. */
int debug_end(struct shim_vcpu *vcpu);
/* An exit that only a debugged vCPU has. */
int debug_exit(struct shim_vcpu *vcpu);
/* The vCPU has the guest's own debug registers, or the client's again. */
int debug_lend_drs(struct shim_vcpu *vcpu, bool to_guest);

/* ---- registers ------------------------------------------------------------------- */

/* Those that are to go by struct kvm_run: 0 or a negative errno. */
int registers_take(struct shim_vcpu *vcpu);
int registers_show(struct shim_vcpu *vcpu);
/* As a client sets it, see msrs.c; 0: what the others have. */
int tsc_write(struct shim_vcpu *vcpu, __u64 value);

bool own_msr_read(const struct shim_vcpu *vcpu, __u32 index, __u64 *value);
bool own_msr_write(struct shim_vcpu *vcpu, __u32 index, __u64 value);

/* ---- calls ----------------------------------------------------------------------- */

/* A call of the KVM ABI: the result, or a negative errno. */
int shim_ioctl(struct object *object, unsigned long request, unsigned long argument);
/* All that it knows, whether they are there or not. */
size_t shim_nr_calls(void);
unsigned long shim_call(size_t which);
/* open() of /dev/kvm. */
int system_open(int flags);
/* /dev/mote, for the library's own calls. */
extern int mote_fd;

/*
 * The calls by what they are for.  @data is the argument's copy, or for those that take none or
 * have more than a struct the client's own.
 */
typedef int call_function(struct object *object, void *data, unsigned long argument);
call_function call_check_extension, call_msr_index_list, call_supported_cpuid;
call_function call_set_region, call_get_dirty_log, call_enable_cap, call_get_clock, call_set_clock,
	      call_create_irqchip, call_get_irqchip, call_set_irqchip, call_create_pit, call_get_pit,
	      call_set_pit, call_set_routing, call_signal_msi, call_irq_line, call_irqfd, call_ioeventfd;
call_function call_get_regs, call_set_regs, call_get_sregs, call_set_sregs, call_get_sregs2,
	      call_set_sregs2, call_get_fpu, call_set_fpu, call_get_xsave, call_set_xsave,
	      call_get_xcrs, call_set_xcrs, call_get_debugregs, call_set_debugregs, call_get_events,
	      call_set_events, call_get_mp_state, call_set_mp_state, call_get_lapic, call_set_lapic,
	      call_get_msrs, call_set_msrs, call_set_cpuid2, call_get_cpuid2, call_interrupt, call_nmi,
	      call_set_signal_mask, call_translate, call_get_tsc_khz, call_set_tsc_khz, call_set_guest_debug;

static inline struct shim_vm *vm_of(struct object *object)
{
	return (struct shim_vm *)object;
}

static inline struct shim_vcpu *vcpu_of(struct object *object)
{
	return (struct shim_vcpu *)object;
}

/* ---- interrupts ------------------------------------------------------------------ */

/* A GSI that leads to a message has this level. */
void route_send(const struct shim_vm *vm, const struct kvm_irq_routing_entry *route, bool level);
/* The VM has been made anew: those of ports, which the module knows, follow. */
void ioeventfds_follow(struct shim_vm *vm);
void eventfds_destroy(struct shim_vm *vm);

#endif /* SHIM_H */
