/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The module's own header: its objects and what the core does with them.  What a
 * vendor does is in vendor.h, each room beside the core has a header of its own.
 *
 * Who calls whom: chardev.c -> vm.c, vcpu.c (the run loop) -> exit.c -> answer/ -> guest/;
 * mem.c, watch/ -> npt.c.
 * vmx.c and svm.c are reached through mote_ops alone.
 *
 * Locks, outermost first:
 *	vcpu->lock		one thread at a time works on a vCPU
 *	vm->lock		slots, filters and the list of vCPUs
 *	mm->mmap_lock		(kernel)
 *	vm->npt_lock		nested page tables, and which of the mm's memory changes
 */
#ifndef MOTE_H
#define MOTE_H

#include <linux/atomic.h>
#include <linux/kref.h>
#include <linux/math64.h>
#include <linux/mm_types.h>
#include <linux/mmu_notifier.h>
#include <linux/mutex.h>
#include <linux/nospec.h>
#include <linux/percpu.h>
#include <linux/rcuwait.h>
#include <linux/spinlock.h>
#include <linux/srcu.h>
#include <linux/uidgid.h>
#include <linux/xarray.h>
#include <asm/fpu/types.h>
#include <asm/msr-index.h>

#include <linux/mote.h>
#include <linux/mote_policy.h>

#include "guest/guest.h"
#include "npt.h"
#include "pv/pv.h"
#include "range.h"
#include "trace/traced.h"

#define MOTE_MAX_VMS 4096
#define MOTE_MAX_VCPUS 1024
#define MOTE_VCPU_GROUP 64 /* by which the table of vCPUs grows */
#define MOTE_MAX_SLOTS 1024
#define MOTE_MAX_EVENTFDS 1024 /* of each kind */
#define MOTE_MAX_WATCHED 65536 /* pages */

struct miscdevice;
struct mote_ioeventfds;
struct mote_lapic;
struct mote_vcpu;
struct mote_vm;

/* ---- exits --------------------------------------------------------------- */

/* One exit, the same for both vendors. */
struct mote_exit {
	u32 reason;		/* &enum mote_exit_reason */
	u32 raw;		/* the vendor's own number */
	u8 insn_len;		/* length of the instruction that exited, 0: unknown */
	u64 qualification;	/* exit qualification, or EXITINFO1 */
	union {
		struct mote_memory npf;		/* hva and error are mem.c's answer */
		struct mote_pio pio;
		struct mote_event exception;	/* that was intercepted */
		struct mote_task_switch task;
		u8 vector;	/* of %MOTE_EXIT_EOI */
		u64 fail;	/* of %MOTE_EXIT_FAIL_ENTRY: the hardware's code */
	};
};

/* ---- VM ------------------------------------------------------------------ */

/*
 * A virtual machine.
 *
 * Set at creation: @ref, @id, @uid, @flags, @tsc_khz, @tsc_ratio, @mm; with the first vCPU:
 * @vendor, @msr_map.
 * Under @lock: @vcpus, @filters (constant once a vCPU exists), @irqfds, @clock, changes of
 * @slots, @watched and @ioeventfds, which is read under RCU; of @tsc_base.
 * Under @srcu for readers: @slots, @watched.
 * Under @npt_lock: @npt, @whole, @ranges, @by_hva, @walks (see mem.c).
 */
struct mote_vm {
	struct kref ref;
	u32 id;
	kuid_t uid;		/* of the user who made it */
	u32 flags;
	u32 tsc_khz;
	u64 tsc_ratio;		/* guest TSC by host TSC, 16.48 bits of which 32 are used; 0: one */
	u64 tsc_base;		/* see mote_tsc_base() */
	struct mm_struct *mm;
	void *vendor;		/* two pages of the vendor's, or NULL */
	void *msr_map;		/* which MSRs exit; all VMs without an MSR filter have the same */

	struct mutex lock;
	struct mote_vcpu **vcpus[MOTE_MAX_VCPUS / MOTE_VCPU_GROUP];	/* see mote_vm_vcpu() */
	u32 nr_vcpus;
	u32 end_id;		/* no vCPU has this id, or a higher one */
	struct mote_filter_set *filters[MOTE_NR_FILTERS];
	struct list_head irqfds;
	u32 nr_irqfds;
	struct mote_ioeventfds *ioeventfds;
	u32 nr_ioeventfds;
	struct mote_clock clock;
	u32 boosted;		/* id where the search for a vCPU to yield to begins */
	bool xapic_logical;	/* a local APIC in xAPIC mode has had a logical address */

	struct srcu_struct srcu;
	struct mote_slots __rcu *slots;
	struct xarray watched;		/* MOTE_ACCESS_*, by page */
	u32 nr_watched;			/* pages; not fewer than there are */
	u32 nr_logs;			/* slots that log; a flush follows: vmx_begin_log() */
	u64 watches_changed;		/* so often */

	struct mmu_notifier notifier;	/* told before the mm's memory changes */
	wait_queue_head_t changed;	/* faults that wait for the end of such a change */
	rwlock_t npt_lock ____cacheline_aligned_in_smp;
	atomic_t flushes;		/* that are owed: something is unmapped, TLBs may have it */
	struct mote_npt npt;
	struct mote_ranges ranges;	/* the mm's changes */
	struct mote_npt whole;		/* where no watch applies: see watch/watch.h; or no root */
	struct rb_root_cached by_hva;	/* slots */
	struct list_head walks;		/* over @by_hva that have released @npt_lock meanwhile */
};

/* The vCPU with this id, or NULL. */
static inline struct mote_vcpu *mote_vm_vcpu(const struct mote_vm *vm, u32 id)
{
	struct mote_vcpu **group;

	if (id >= MOTE_MAX_VCPUS)
		return NULL;
	/* Guests choose ids. */
	id = array_index_nospec(id, MOTE_MAX_VCPUS);
	/* Pairs with mote_vcpu_create(), as does the next. */
	group = smp_load_acquire(&vm->vcpus[id / MOTE_VCPU_GROUP]);
	/* See above. */
	return group ? smp_load_acquire(&group[id % MOTE_VCPU_GROUP]) : NULL;
}

/* The first vCPU whose id is not below *@id, which becomes that id; or NULL. */
static inline struct mote_vcpu *mote_vm_next(const struct mote_vm *vm, u32 *id)
{
	struct mote_vcpu *vcpu = NULL;

	while (*id < READ_ONCE(vm->end_id)) {
		vcpu = mote_vm_vcpu(vm, *id);
		if (vcpu)
			break;
		++*id;
	}
	return vcpu;
}

/* All that there are now: a new one has nothing to be told yet. */
#define mote_vm_for_each_vcpu(vm, id, vcpu)					\
	for ((id) = 0; ((vcpu) = mote_vm_next(vm, &(id))); (id)++)

struct mote_vm *mote_vm_create(const struct mote_vm_config *config);
void mote_vm_put(struct mote_vm *vm);
/* Check and take @set, which is freed in any case but success: 0, -EINVAL, -EBUSY. */
int mote_vm_set_filter(struct mote_vm *vm, u32 kind, struct mote_filter_set *set);

/* Before the first vCPU: make the map, or use the one that is there: 0 or -ENOMEM. */
int mote_vm_get_msr_map(struct mote_vm *vm);
void mote_vm_free_shared_map(void);

/* The action of a filter for a number. */
static inline u32 mote_vm_filter(const struct mote_vm *vm, u32 kind, u32 number, u32 access)
{
	const struct mote_filter_set *set = vm->filters[kind];

	return set ? mote_filter_find(set->rules, set->nr, number, access) : MOTE_FILTER_DEFAULT;
}

/* ---- memory (mem.c) ------------------------------------------------------ */

int mote_mem_init(struct mote_vm *vm);
void mote_mem_destroy(struct mote_vm *vm);
int mote_mem_set_slot(struct mote_vm *vm, const struct mote_slot *slot);

/* Move a part of a slot's dirty log into @words: 0, -ENOENT (no slot), -EINVAL (range, no log). */
int mote_mem_get_dirty(struct mote_vm *vm, const struct mote_dirty *dirty, u64 *words);

/*
 * Make a guest-physical address accessible; may sleep.  0: done, or try again; -ENXIO: no slot
 * there, or a write to a read-only one (MMIO); -EINTR: a fatal signal; else why the memory at
 * @hva of the VMM process cannot be had (-EFAULT, -EHWPOISON, -ENOMEM).
 */
int mote_mem_fault(struct mote_vcpu *vcpu, u64 gpa, u32 access, u64 *hva);

/* Have vm->whole: 0 or -ENOMEM; under vm->lock, as is the next. */
int mote_mem_make_whole(struct mote_vm *vm);
/* What is watched in a range has changed: forget what is mapped there. */
void mote_mem_rewatch(struct mote_vm *vm, u64 gpa, u64 size);

/* ---- mote's own accesses to guest memory (pv/access.c) -------------------- */

/* Without sleeping, not across a page: 0, -ENXIO (no slot), -EFAULT (not present now). */
int mote_mem_read(struct mote_vm *vm, u64 gpa, void *data, u32 len);

/*
 * The instruction at CS:RIP by the guest's page tables: up to 15 bytes, as far as they are
 * present now; @bytes has room for 16.  @last: NULL, or out: what was read last; if there are
 * fewer, what could not be read, and why not.  Return: how many.
 */
u32 mote_mem_fetch(struct mote_vcpu *vcpu, const struct mote_cpu_mode *mode, u8 *bytes,
		   struct mote_memory *last);

/*
 * As the guest would, logged, not if read-only; within one slot: 0, -ENXIO (no slot, or a
 * read-only one), -EFAULT (the VMM process has no memory there; for who may not sleep: not
 * now), and for who may, -EINTR (a signal) and -ENOMEM.
 */
int mote_mem_write(struct mote_vm *vm, u64 gpa, const void *data, u32 len, bool may_sleep);

/* Have it present and writable, now; may sleep; likewise. */
int mote_mem_bring(struct mote_vm *vm, u64 gpa);

/* The VMM process's address of guest memory, until the next change of slots; false: no slot. */
bool mote_mem_hva(struct mote_vm *vm, u64 gpa, u64 *hva);

/* Four bytes of the VMM process's, or -EFAULT; for most exits of a CPU that saves no next RIP. */
s64 mote_user_read_word(u64 hva);

/* ---- vCPU ---------------------------------------------------------------- */

/* &mote_vcpu.requests, seen before the next entry. */
#define MOTE_REQ_FLUSH BIT(0)	/* the guest's translations are stale */
#define MOTE_REQ_EVENT BIT(1)	/* an event may have become deliverable */
#define MOTE_REQ_KICKED BIT(2)	/* somebody has been there already (request.c's own) */
#define MOTE_REQ_VIEW BIT(3)	/* another view of memory may be due (its own thread's) */

/* What suspends have done to the TSC; changes while the host is suspended and no vCPU runs. */
extern struct mote_resumes {
	u32 count;	/* how many there were */
	u64 tsc_lost;	/* how much less it is in sum than it would be if it had not begun anew */
} mote_resumes;

/*
 * A virtual CPU; the vendor's own struct begins with it.
 *
 * Set at creation: @vm, @id, @serial, @run.
 * Under @lock: everything else but the following.
 * By anyone: @requests, @nmis, @wait; @loaded and @cpu are read (see mote_vm_request()).
 *
 * The guest's registers are in @gpr, @rip and @rflags whenever the vCPU is
 * out, and after each exit; run() takes them from here.  RSP is among them.
 * Other state is with the vendor: see struct mote_ops.
 */
struct mote_vcpu {
	/* The entry code knows the offset of gpr: first.  A policy may write to all of this. */
	union {
		u64 gpr[MOTE_NR_GPRS];
		struct mote_policy policy;
	};
	u64 rip;
	u64 rflags;
	u64 cr2;
	u64 cr8;

	struct mote_vm *vm;
	u32 id;
	u64 serial;		/* unlike any other vCPU's, ever */

	/* What others write and read, away from what the vCPU's own thread works on. */
	atomic_t requests ____cacheline_aligned_in_smp;
	int cpu;		/* on which it ran last, -1: on none yet */
	bool loaded;		/* on @cpu, in the guest or about to be */
	atomic_t nmis;		/* that wait, 0 to 2 */
	struct rcuwait wait;

	struct mutex lock ____cacheline_aligned_in_smp;
	struct pid __rcu *pid;	/* of the thread that ran it last */
	struct mote_run *run;

	struct mote_cpuid *cpuid;
	struct mote_caps caps;	/* what the guest may set: by @cpuid, once there is one */
	struct fpu_guest fpu;
	u64 xcr0;		/* of the guest */
	u64 tsc_offset;
	u64 tsc_last;		/* of the host when it was unloaded last, on @tsc_cpu */
	bool tsc_unstable;	/* the host's CPUs differ, and the guest has been told */
	int tsc_cpu;		/* whose TSC the guest's time goes by; -1: none yet */
	struct mote_resumes resumes;	/* that it knows of: @tsc_lost is in @tsc_offset */
	struct mote_pv pv;
	u64 dr[4];		/* DR0 to DR3; in the CPU while the guest runs, if @dr_live */
	u64 dr6;
	bool dr_live;
	struct mote_msrs msrs;	/* those from apic_base on: no vendor keeps them */

	struct mote_lapic *lapic;	/* NULL without MOTE_VM_LAPIC */
	bool hears_lapic;	/* its interrupts do not wait for a debugger */
	struct mote_event event;	/* for the next entry, or cut short by the last exit */
	u32 window;			/* MOTE_WINDOW_* that user space asked for */
	u32 window_set;			/* MOTE_WINDOW_* that the vendor was told of */
	u32 poll_ns;			/* how long to poll in HLT; learned */
	u8 halted;			/* MOTE_HALTED, MOTE_WAITS_FOR_SIPI or 0 */
	u8 view;		/* &enum mote_view */
	u64 step_rip;		/* of the instruction that is stepped over; ~0: none */
	u64 step_tf, step_dr6;	/* in a step, the guest's own */
	/* What was watched of the last page that was hit, when vm->watches_changed was this. */
	u64 hit_gpa, hit_changed;
	u32 hit_access;
	struct mote_cpu_mode hit_mode;	/* in which it was */
	bool check;		/* state was set from outside: judge it before the entry */
	u8 put_off;		/* entries of this run before which TIF_NOTIFY_RESUME was set */
	u64 next_rip;		/* behind the instruction of the last user exit, 0: unknown */
	const struct mote_msr *last_msr;	/* that was asked for, or NULL */
	struct mote_exit exit;	/* the last one */
	struct mote_debug debug;
	struct mote_traced traced;
};

static inline bool mote_pv_clock_is_stale(const struct mote_vcpu *vcpu)
{
	return vcpu->msrs.pv_system_time & MOTE_PV_ENABLED &&
	       vcpu->pv.clock_seen != READ_ONCE(vcpu->vm->clock.generation);
}

/* Is what the guest reads out of date?  Then mote_pv_publish() is next, with the vCPU unloaded. */
static inline bool mote_pv_is_stale(const struct mote_vcpu *vcpu)
{
	return mote_pv_clock_is_stale(vcpu) || vcpu->pv.wall_wanted || vcpu->pv.eoi_waits ||
	       (vcpu->msrs.pv_steal_time & MOTE_PV_ENABLED && mote_pv_steal_is_stale(vcpu));
}

/* EDX:EAX: the operand of RDMSR, WRMSR and XSETBV. */
static inline u64 mote_edx_eax(const struct mote_vcpu *vcpu)
{
	return (u32)vcpu->gpr[MOTE_RAX] | vcpu->gpr[MOTE_RDX] << 32;
}

/* The host's TSC at the guest's frequency. */
static inline u64 mote_tsc_scale(const struct mote_vm *vm, u64 tsc)
{
	return vm->tsc_ratio ? mul_u64_u64_shr(tsc, vm->tsc_ratio, 48) : tsc;
}

/* The VM's TSC, from which user space counts offsets, less the host's, after these resumes. */
static inline u64 mote_tsc_base(const struct mote_vm *vm, const struct mote_resumes *resumes)
{
	return READ_ONCE(vm->tsc_base) + mote_tsc_scale(vm, resumes->tsc_lost);
}

/* What the guest's TSC is at a TSC of the host. */
static inline u64 mote_guest_tsc(const struct mote_vcpu *vcpu, u64 tsc)
{
	return mote_tsc_scale(vcpu->vm, tsc) + vcpu->tsc_offset;
}

/* Besides those of the ABI: CR8 is written; MOTE_WINDOW_EXIT is behind an entry of this run. */
#define MOTE_WINDOW_TPR BIT(3)
#define MOTE_WINDOW_ENTERED BIT(4)

/* ---- vCPU (vcpu.c) ---------------------------------------- */

int mote_vcpu_create(struct mote_vm *vm, const struct mote_vcpu_config *config,
		     struct mote_vcpu **created);
void mote_vcpu_destroy(struct mote_vcpu *vcpu);

/* The calls of a vCPU's file; vcpu->lock is held. */
int mote_vcpu_run(struct mote_vcpu *vcpu);
int mote_vcpu_get_state(struct mote_vcpu *vcpu, struct mote_state *state, void *xsave);
int mote_vcpu_set_state(struct mote_vcpu *vcpu, const struct mote_state *state, const void *xsave);

/* 0 or -EINVAL. */
int mote_vcpu_set_debug(struct mote_vcpu *vcpu, const struct mote_debug *debug);

/* Another table, sorted, and what the guest may set by it; returns the old one, for kfree(). */
struct mote_cpuid *mote_vcpu_set_cpuid(struct mote_vcpu *vcpu, struct mote_cpuid *cpuid);

/* Take a whole or partial state that has been looked at, all but the XSAVE image. */
void mote_vcpu_set(struct mote_vcpu *vcpu, const struct mote_state *state);

/* ---- how a vCPU begins (guest/reset.c); it is unloaded -------------------- */

void mote_vcpu_reset(struct mote_vcpu *vcpu);
/* An INIT: the state after it, but for what the local APIC keeps. */
void mote_vcpu_signal_init(struct mote_vcpu *vcpu);
/* A start-up IPI: begin at vector * 4 KiB. */
void mote_vcpu_signal_startup(struct mote_vcpu *vcpu, u8 vector);

/* ---- where a vCPU is, and requests to it (request.c) ---------------------- */

/* Make it current on this CPU, with preemption off until it is unloaded: 0 or -EIO. */
int mote_vcpu_load(struct mote_vcpu *vcpu);
void mote_vcpu_unload(struct mote_vcpu *vcpu);

/* Make a vCPU see MOTE_REQ_* before it goes on; wakes it from HLT; does not wait. */
void mote_vcpu_request(struct mote_vcpu *vcpu, u32 request);

/*
 * Likewise all vCPUs, but none is woken: returns when no vCPU is in the guest without having
 * seen the request.  May be called with spinlocks held and interrupts on.
 */
void mote_vm_request(struct mote_vm *vm, u32 request);

/* Sleep until there is a request, a signal, or a wish to leave; unloaded. */
void mote_vcpu_sleep(struct mote_vcpu *vcpu);

/* ---- events for the guest (event.c) --------------------------------------- */

/* Another NMI for it; any context. */
void mote_vcpu_nmi(struct mote_vcpu *vcpu);
/* An event from user space: 0, -EINVAL, -EBUSY, -EAGAIN, -EINTR, -EIO; takes vcpu->lock. */
int mote_vcpu_inject(struct mote_vcpu *vcpu, const struct mote_event *event);
void mote_event_set(struct mote_vcpu *vcpu, const struct mote_events *events);
/* Let the guest take an exception at the next entry; false: a triple fault, now the exit. */
bool mote_event_raise(struct mote_vcpu *vcpu, u8 vector, u32 error);
/* The exit has cut the delivery of this one short, or there was no entry. */
void mote_event_cut_short(struct mote_vcpu *vcpu, struct mote_event event);
/* The vendor's MOTE_WINDOW_* have served, or had to go: what is wanted is asked for again. */
void mote_event_window_is_gone(struct mote_vcpu *vcpu, u32 windows);
/* Before each entry: is a window open that user space asked for?  The run ends then. */
bool mote_event_ends_run(struct mote_vcpu *vcpu);
/* Hand at most one event to the hardware; ask for an exit when the next can follow. */
void mote_event_prepare(struct mote_vcpu *vcpu);

/* ---- time (pv/time.c) ------------------------------------------------------ */

/* At creation: 0, -EOPNOTSUPP (no scaling), -EINVAL. */
int mote_time_set_khz(struct mote_vm *vm, u32 khz);
void mote_time_init(struct mote_vcpu *vcpu);
/* The guest's TSC is another one from now on; _write: by the guest. */
void mote_time_set_offset(struct mote_vcpu *vcpu, u64 offset);
void mote_time_write(struct mote_vcpu *vcpu, u64 offset);
/* The host's TSC is another one: of another CPU, or begun anew.  The guest's does not go back. */
void mote_time_move(struct mote_vcpu *vcpu);
void mote_time_suspend(void);
void mote_time_resume(void);

/* ---- exits (exit.c) ---------------------------------------------------------- */

/* What the run loop does after an exit. */
enum mote_next {
	MOTE_NEXT_ENTER,	/* handled: go on */
	MOTE_NEXT_SLEEP,	/* needs mote_exit_slow(), which may sleep */
	MOTE_NEXT_USER,		/* ends MOTE_RUN */
};

/* Handle what may sleep.  Return: MOTE_NEXT_ENTER, MOTE_NEXT_USER, or -errno. */
int mote_exit_slow(struct mote_vcpu *vcpu);

/* MOV to CR0, CR4 or CR8: its new value, if the guest may have it; false: #GP. */
bool mote_exit_mov_to_cr(struct mote_vcpu *vcpu, u32 cr, u64 value);

/* RIP behind an instruction of this length; EIP and IP wrap where they should. */
static inline u64 mote_next_rip(struct mote_vcpu *vcpu, u8 len)
{
	u64 next = vcpu->rip + len;

	/* Only outside of 64-bit mode can RIP be below 4 GiB here and above it there. */
	return likely(!((vcpu->rip ^ next) >> 32)) || vcpu->rip >> 32 ? next : (u32)next;
}

/* ---- host (main.c) ------------------------------------------------------- */

/* This CPU is in virtualization operation for mote; looked at with preemption off. */
DECLARE_PER_CPU(bool, mote_cpu_enabled);

/* What a guest may have on this host; constant after load. */
extern struct mote_caps mote_caps;
/* In force but while a guest runs; constant after load. */
extern u64 mote_host_xcr0;

/* Fills what MOTE_GET_INFO says; asks every online CPU but isolated ones.  Return: 0 or -ENOMEM. */
int mote_host_info(struct mote_info *info);

/*
 * Take the virtualization extension, for one more VM of a user's: 0, -EBUSY (held by another
 * hypervisor), -EPERM (locked down), -EOPNOTSUPP (another obstacle), -ENOSPC (%MOTE_MAX_VMS, of
 * which a user without CAP_SYS_RESOURCE may have an eighth), -ENOMEM.
 */
int mote_host_get(kuid_t uid);
void mote_host_put(kuid_t uid);

/*
 * Nested tables and dirty logs grow with what the guest touches and the caller asks for, not with
 * the process's memory: those of a user's VMs have at most an eighth of the host's.  May the VM
 * have more @pages?  Given back they are with @pages < 0.
 */
bool mote_host_charge(const struct mote_vm *vm, long pages);

/* /dev/mote (chardev.c) */
extern struct miscdevice mote_dev;

#endif /* MOTE_H */
