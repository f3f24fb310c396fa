/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The module's own header: its objects and what the core does with them.  What a
 * vendor does is in vendor.h, each room beside the core has a header of its own.
 *
 * Who calls whom: chardev.c (file descriptors, copying from and to user
 * space) -> vm.c, vcpu.c (objects, the run loop) -> exit.c (what to do about
 * an exit) -> policy in pure files (guest/, npt.c).
 * mem.c ties slots, the owner's memory and npt.c together.  vmx.c and svm.c
 * are reached through mote_ops alone.
 *
 * Locks, outermost first:
 *	vcpu->lock		one thread at a time works on a vCPU
 *	vm->lock		slots, filters and the list of vCPUs
 *	mm->mmap_lock		(kernel)
 *	vm->npt_lock		nested page tables and dirty logs
 */
#ifndef MOTE_H
#define MOTE_H

#include <linux/atomic.h>
#include <linux/cpumask.h>
#include <linux/kref.h>
#include <linux/math64.h>
#include <linux/mm_types.h>
#include <linux/mutex.h>
#include <linux/percpu.h>
#include <linux/rcuwait.h>
#include <linux/spinlock.h>
#include <linux/srcu.h>
#include <linux/types.h>
#include <asm/fpu/types.h>
#include <asm/msr-index.h>

#include <linux/mote.h>

#include "guest/guest.h"
#include "npt.h"

#define MOTE_MAX_VMS 256
#define MOTE_MAX_VCPUS 64
#define MOTE_MAX_SLOTS 1024
#define MOTE_MAX_EVENTFDS 1024 /* of each kind */

struct mote_ioeventfds;
struct mote_lapic;
struct mote_vcpu;
struct mote_vm;

/* ---- exits --------------------------------------------------------------- */

/**
 * struct mote_exit - one exit, the same for both vendors
 * @reason: &enum mote_exit_reason
 * @raw: the vendor's own number
 * @insn_len: length of the instruction that exited, 0 if unknown
 * @qualification: exit qualification, or EXITINFO1
 * @npf: of a nested fault: address and MOTE_ACCESS_*
 * @pio: of port I/O
 * @exception: of an intercepted exception
 * @task: of a task switch
 * @fail: of %MOTE_EXIT_FAIL_ENTRY: the hardware's code
 */
struct mote_exit {
	u32 reason;
	u32 raw;
	u8 insn_len;
	u64 qualification;
	union {
		struct {
			u64 gpa;
			u64 hva;	/* mem.c's answer */
			u32 access;
			s32 error;	/* mem.c's answer */
		} npf;
		struct {
			u16 port;
			u8 size;
			u8 flags;
		} pio;
		struct mote_event exception;
		struct mote_task_switch task;
		u8 vector;	/* of %MOTE_EXIT_EOI */
		u64 fail;
	};
};

/* ---- VM ------------------------------------------------------------------ */

/**
 * struct mote_filter_set - a filter as it is used: sorted rules
 * @nr: number of rules
 * @rules: ascending, without overlap
 */
struct mote_filter_set {
	u32 nr;
	struct mote_filter_rule rules[];
};

/**
 * struct mote_clock - the time that a VM is told by its paravirtual clock
 * @offset: added to the host's time since boot, in ns
 * @tsc: of the host, 0 for none: the pair that all vCPUs are told
 * @ns: the guest's time then
 * @resumes: &mote_resumes.count then
 * @lost: &mote_resumes.tsc_lost then
 * @generation: another one when the vCPUs have to be told anew
 */
struct mote_clock {
	s64 offset;
	u64 tsc;
	u64 ns;
	u64 lost;
	u32 resumes;
	u32 generation;
};

/**
 * struct mote_vm - a virtual machine
 *
 * Set at creation: @ref, @id, @flags, @tsc_khz, @tsc_ratio, @mm, @vendor.
 * Under @lock: @vcpus, @filters (constant once a vCPU exists), @irqfds, @clock, changes of
 * @slots and @ioeventfds, which is read under RCU.
 * Under @srcu for readers: @slots.
 * Under @npt_lock: @npt.
 */
struct mote_vm {
	struct kref ref;
	u32 id;
	u32 flags;
	u32 tsc_khz;
	u64 tsc_ratio;		/* guest TSC by host TSC, 16.48 bits of which 32 are used; 0: one */
	struct mm_struct *mm;
	void *vendor;

	struct mutex lock;
	struct mote_vcpu *vcpus[MOTE_MAX_VCPUS];
	struct mote_vcpu *by_id[MOTE_MAX_VCPUS];	/* the same: read with mote_vm_vcpu() */
	u32 nr_vcpus;
	struct mote_filter_set *filters[MOTE_NR_FILTERS];
	struct list_head irqfds;
	struct mote_ioeventfds __rcu *ioeventfds;
	struct mote_clock clock;
	u32 boosted;		/* where the search for a vCPU to yield to begins */

	struct srcu_struct srcu;
	struct mote_slots __rcu *slots;

	spinlock_t npt_lock;
	struct mote_npt npt;
};

/* The vCPU with this id, or NULL. */
static inline struct mote_vcpu *mote_vm_vcpu(const struct mote_vm *vm, u32 id)
{
	/* Pairs with mote_vcpu_create(). */
	return id < MOTE_MAX_VCPUS ? smp_load_acquire(&vm->by_id[id]) : NULL;
}

struct mote_vm *mote_vm_create(const struct mote_vm_config *config);
void mote_vm_get(struct mote_vm *vm);
void mote_vm_put(struct mote_vm *vm);
int mote_vm_set_filter(struct mote_vm *vm, u32 kind, struct mote_filter_set *set);

/**
 * mote_vm_request() - make every vCPU of a VM see a request before it goes on
 * @vm: the machine
 * @request: MOTE_REQ_*
 *
 * Returns when no vCPU is in the guest without having seen the request.  A
 * vCPU that is out is only marked.  May be called with spinlocks held and
 * interrupts on.
 */
void mote_vm_request(struct mote_vm *vm, u32 request);

/* ---- memory (mem.c) ------------------------------------------------------ */

int mote_mem_init(struct mote_vm *vm);
void mote_mem_destroy(struct mote_vm *vm);
int mote_mem_set_slot(struct mote_vm *vm, const struct mote_slot *slot);

/**
 * mote_mem_get_dirty() - read and clear a part of a slot's dirty log
 * @vm: the machine
 * @dirty: the request; @dirty->bitmap is not used
 * @words: room for (@dirty->nr + 63) / 64 words
 *
 * Return: 0, -ENOENT (no such slot), -EINVAL (range, slot without a log).
 */
int mote_mem_get_dirty(struct mote_vm *vm, const struct mote_dirty *dirty, u64 *words);

/**
 * mote_mem_fault() - make a guest-physical address accessible
 * @vcpu: the vCPU that faulted; may sleep
 * @gpa: guest-physical address
 * @access: MOTE_ACCESS_*
 * @hva: out: owner's address, when the memory cannot be had
 *
 * Return: 0 done, or try again; -ENXIO: no slot there, or a write to a
 * read-only one (MMIO); -EINTR: a fatal signal; else why the owner's memory
 * cannot be had (-EFAULT, -EHWPOISON, -ENOMEM).
 */
int mote_mem_fault(struct mote_vcpu *vcpu, u64 gpa, u32 access, u64 *hva);

/**
 * mote_mem_read() - read guest memory without sleeping
 * @vm: the machine
 * @gpa: guest-physical address
 * @data: where to
 * @len: bytes, not across a page
 *
 * Return: 0, -ENXIO (no slot), -EFAULT (not present in the owner now).
 */
int mote_mem_read(struct mote_vm *vm, u64 gpa, void *data, u32 len);

/**
 * mote_mem_write() - write guest memory as the guest would: logged, not if read-only
 * @vm: the machine, whose owner calls; may sleep
 * @gpa: guest-physical address
 * @data: where from
 * @len: bytes, within one slot
 *
 * Return: 0, -ENXIO (no slot, or a read-only one), -EFAULT (the owner has no memory there).
 */
int mote_mem_write(struct mote_vm *vm, u64 gpa, const void *data, u32 len);

/* Likewise without sleeping: -EFAULT also for what is logged, or not present in the owner now. */
int mote_mem_write_atomic(struct mote_vm *vm, u64 gpa, const void *data, u32 len);

/* The owner's address of guest memory, until the next change of slots; false: no slot. */
bool mote_mem_hva(struct mote_vm *vm, u64 gpa, u64 *hva);

/* In chardev.c, where all access to user memory lives: 0 or -EFAULT; only the last one sleeps. */
int mote_user_read(u64 hva, void *data, u32 len);
/* Four bytes. */
s64 mote_user_read_word(u64 hva);
int mote_user_write_atomic(u64 hva, const void *data, u32 len);
int mote_user_write(u64 hva, const void *data, u32 len);

/* ---- vCPU ---------------------------------------------------------------- */

/* &mote_vcpu.requests, seen before the next entry. */
#define MOTE_REQ_FLUSH BIT(0)	/* the guest's translations are stale */
#define MOTE_REQ_EVENT BIT(1)	/* an event may have become deliverable */

/**
 * struct mote_cpuid - a CPUID table as it is used: sorted by leaf, then subleaf
 * @last: the row that was found last, or NULL
 * @nr: number of rows
 * @rows: ascending
 */
struct mote_cpuid {
	const struct mote_cpuid_entry *last;
	u32 nr;
	struct mote_cpuid_entry rows[];
};

/**
 * struct mote_pv - what a vCPU has told its guest by the paravirtual interface
 * @clock_seen: &mote_clock.generation of what is in its memory; 0: none
 * @clock_version: of that, even
 * @steal_version: likewise
 * @wall_wanted: the wall clock's MSR has been written
 * @preempted: the guest was told that it does not run
 * @eoi_offered: the guest may end the interrupt in service without an exit
 * @steal: ns that the runner's threads have waited for a CPU
 * @delay_seen: of the present thread
 * @yield_to: what the guest asked for by its last hypercall, or NULL
 */
struct mote_pv {
	u32 clock_seen;
	u32 clock_version;
	u32 steal_version;
	bool wall_wanted;
	bool preempted;
	bool eoi_offered;
	u64 steal;
	u64 delay_seen;
	struct mote_vcpu *yield_to;
};

/* Where a vCPU is: &mote_vcpu.mode. */
enum mote_mode {
	MOTE_MODE_OUT,
	MOTE_MODE_LOADED,	/* on &mote_vcpu.cpu, in the guest or about to be */
};

/**
 * struct mote_traced - what tracing remembers of the last exit
 * @tsc: of the host then
 * @rip: of the guest then, as are @rax and @rcx
 * @rax: a CPUID leaf
 * @rcx: a subleaf, or the index of an MSR
 * @reason: &enum mote_exit_reason; exit_npf() knows better
 * @raw: the vendor's own number
 * @generation: &mote_trace_generation then; another one: nobody traced, all this is stale
 * @port: of port I/O, as are @size and @flags
 * @size: of the access
 * @flags: MOTE_PIO_*
 * @where: bits: put (1), out in user space (2) since then; kept whether traced or not
 */
struct mote_traced {
	u64 tsc;
	u64 rip;
	u64 rax;
	u64 rcx;
	u32 reason;
	u32 raw;
	u32 generation;
	u16 port;
	u8 size;
	u8 flags;
	u8 where;
};

/**
 * struct mote_vcpu - a virtual CPU; the vendor's own struct begins with it
 *
 * Set at creation: @vm, @id, @run.
 * Under @lock: everything else but the following.
 * By anyone: @requests, @nmis, @wait; @mode and @cpu are read (see mote_vm_request()).
 *
 * The guest's registers are in @gpr, @rip and @rflags whenever the vCPU is
 * out, and after each exit; run() takes them from here.  RSP is among them.
 * Other state is with the vendor: get_state() and set_state().
 */
struct mote_vcpu {
	/* The entry code knows the offset of gpr: first. */
	u64 gpr[MOTE_NR_GPRS];
	u64 rip;
	u64 rflags;
	u64 cr2;
	u64 cr8;

	struct mote_vm *vm;
	u32 id;
	int cpu;		/* on which it ran last, -1: on none yet */
	atomic_t requests;
	u32 mode;

	struct mutex lock;
	struct rcuwait wait;
	struct pid __rcu *pid;	/* of the thread that ran it last */
	struct mote_run *run;

	struct mote_cpuid *cpuid;
	struct fpu_guest fpu;
	u64 xcr0;		/* of the guest */
	u64 host_xcr0;
	u64 tsc_offset;
	u64 tsc_last;		/* of the host at the last put, where CPUs differ */
	int tsc_cpu;		/* whose TSC the guest's time goes by; -1: none yet */
	u32 resumes;		/* &mote_resumes.count that it knows of */
	u64 tsc_lost;		/* &mote_resumes.tsc_lost that is in @tsc_offset */
	struct mote_pv pv;
	u64 dr[4];		/* DR0 to DR3; in the CPU while @dr_live (vendor: load, put) */
	u64 dr6;
	bool dr_live;
	struct mote_msrs msrs;	/* those from apic_base on: no vendor keeps them */

	struct mote_lapic *lapic;	/* NULL without MOTE_VM_LAPIC */
	struct mote_event event;	/* for the next entry, or cut short by the last exit */
	atomic_t nmis;			/* that wait, 0 to 2 */
	u32 window;			/* MOTE_WINDOW_* that user space asked for */
	u32 window_set;			/* MOTE_WINDOW_* that the vendor was told of */
	u8 halted;			/* MOTE_HALTED, MOTE_WAITS_FOR_SIPI or 0 */
	bool check;		/* state was set from outside: judge it before the entry */
	u8 put_off;		/* entries of this run before which TIF_NOTIFY_RESUME was set */
	u64 next_rip;		/* behind the instruction of the last user exit, 0: unknown */
	const struct mote_msr *last_msr;	/* that was asked for, or NULL */
	struct mote_exit exit;	/* the last one */
	struct mote_state part;	/* what get_state() is asked for in an exit: large for a stack */
	struct mote_traced traced;
};

/* The host's TSC at the guest's frequency. */
static inline u64 mote_tsc_scale(const struct mote_vm *vm, u64 tsc)
{
	return vm->tsc_ratio ? mul_u64_u64_shr(tsc, vm->tsc_ratio, 48) : tsc;
}

/* What the guest's TSC is at a TSC of the host. */
static inline u64 mote_guest_tsc(const struct mote_vcpu *vcpu, u64 tsc)
{
	return mote_tsc_scale(vcpu->vm, tsc) + vcpu->tsc_offset;
}

/* Besides those of the ABI: CR8 is written. */
#define MOTE_WINDOW_TPR BIT(2)

/* Parts of sub-states, for get_state() and set_state() only. */
#define MOTE_PART_EFER BIT(16)	/* msrs.efer */
#define MOTE_PART_PAT BIT(17)	/* msrs.pat */
#define MOTE_PART_CR4 BIT(18)	/* crs.cr4; get only */
#define MOTE_PART_MODE BIT(20)	/* cr0, cr3, cr4, efer, segment CS, DPL of SS; get only */
#define MOTE_PART_TSC BIT(21)	/* vcpu->tsc_offset has changed; set only */

/* ---- vCPU (vcpu.c), exits (exit.c) ---------------------------------------- */

int mote_vcpu_create(struct mote_vm *vm, const struct mote_vcpu_config *config,
		     struct mote_vcpu **created);
void mote_vcpu_destroy(struct mote_vcpu *vcpu);

/* The calls of a vCPU's file; vcpu->lock is held, but for mote_vcpu_nmi(). */
int mote_vcpu_run(struct mote_vcpu *vcpu);
int mote_vcpu_get_state(struct mote_vcpu *vcpu, struct mote_state *state, void *xsave);
int mote_vcpu_set_state(struct mote_vcpu *vcpu, const struct mote_state *state, const void *xsave);
int mote_vcpu_inject(struct mote_vcpu *vcpu, const struct mote_event *event);
void mote_vcpu_nmi(struct mote_vcpu *vcpu);

/* Bytes of the guest's XSAVE image. */
u32 mote_vcpu_xsave_size(struct mote_vcpu *vcpu);

/**
 * mote_vcpu_request() - make a vCPU see a request before it goes on
 * @vcpu: the vCPU
 * @request: MOTE_REQ_*
 *
 * Wakes it from HLT; does not wait.
 */
void mote_vcpu_request(struct mote_vcpu *vcpu, u32 request);

/* An INIT: the state after it, but for what the local APIC keeps; the vCPU is put. */
void mote_vcpu_init(struct mote_vcpu *vcpu);
/* Let the host run the thread of this vCPU, or of any that waits for a CPU; may sleep. */
void mote_vcpu_yield(struct mote_vcpu *vcpu, struct mote_vcpu *to);

/* A start-up IPI: begin at vector * 4 KiB; the vCPU is put. */
void mote_vcpu_startup(struct mote_vcpu *vcpu, u8 vector);

/* Let the guest take an exception at the next entry; false: a triple fault. */
static inline bool mote_queue_exception(struct mote_vcpu *vcpu, u8 vector, u32 error)
{
	return mote_event_merge(&vcpu->event, vector, error);
}

/* What the run loop does after an exit. */
enum mote_next {
	MOTE_NEXT_ENTER,	/* handled: go on */
	MOTE_NEXT_SLEEP,	/* needs mote_exit_slow(), which may sleep */
	MOTE_NEXT_USER,		/* ends MOTE_RUN */
};

/* Handle an exit with preemption off. */
enum mote_next mote_exit_handle(struct mote_vcpu *vcpu, struct mote_exit *exit);

/* Handle what may sleep.  Return: MOTE_NEXT_ENTER, MOTE_NEXT_USER, or -errno. */
int mote_exit_slow(struct mote_vcpu *vcpu, struct mote_exit *exit);

/* RIP behind an instruction of this length; EIP and IP wrap where they should. */
static inline u64 mote_next_rip(struct mote_vcpu *vcpu, u8 len)
{
	u64 next = vcpu->rip + len;

	/* Only outside of 64-bit mode can RIP be below 4 GiB here and above it there. */
	return vcpu->rip >> 32 || !(next >> 32) ? next : (u32)next;
}

/* The instruction that exited is complete. */
enum mote_next mote_complete(struct mote_vcpu *vcpu, const struct mote_exit *exit);

/* ---- host (main.c) ------------------------------------------------------- */

/* This CPU is in virtualization operation for mote; looked at with preemption off. */
DECLARE_PER_CPU(bool, mote_cpu_enabled);

/**
 * struct mote_resumes - what suspends have done to the TSC
 * @count: how many there were
 * @tsc_lost: how much less it is in sum than it would be if it had not begun anew
 */
struct mote_resumes {
	u32 count;
	u64 tsc_lost;
};

/* Changes while the host is suspended and no vCPU runs. */
extern struct mote_resumes mote_resumes;

/* What a guest may have on this host; constant after load. */
extern struct mote_caps mote_caps;

/* Fills what MOTE_GET_INFO says; asks every online CPU.  Return: 0 or -ENOMEM. */
int mote_host_info(struct mote_info *info);

/**
 * mote_host_get() - take the virtualization extension, for one more VM
 *
 * Return: 0, -EBUSY (held by another hypervisor), -EPERM (locked down),
 * -EOPNOTSUPP (another obstacle), -ENOSPC (%MOTE_MAX_VMS), -ENOMEM.
 */
int mote_host_get(void);
void mote_host_put(void);

/* CPUID of the host, as mote_cpuid_host() wants it. */
void mote_host_cpuid(u32 leaf, u32 subleaf, u32 regs[4]);

#endif /* MOTE_H */
