/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The tracepoints: an ABI (MOTE_TRACE_VERSION), described in docs/tracing.md.  All arguments
 * are scalars, so that raw tracepoint programs need no layout of anything, and the
 * first two say which vCPU: ids of the VM and of the vCPU in it.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM mote

#if !defined(MOTE_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define MOTE_TRACE_H

#include <linux/jump_label.h>
#include <linux/tracepoint.h>

#include <linux/mote.h>

/*
 * One branch for all events of instructions, entries and exits: is any of them traced?  OUT and
 * hypercalls are traced when the guest has left, what has an answer when it goes on.
 */
DECLARE_STATIC_KEY_FALSE(mote_traced);
/* How often that has begun: what a vCPU remembers from before is stale. */
extern u32 mote_trace_generation;
int mote_trace_begin(void);
void mote_trace_end(void);

struct mote_exit;
struct mote_vcpu;
/* Around run(), interrupts off: durations are without what handling the events takes. */
void mote_trace_entry(struct mote_vcpu *vcpu);
void mote_trace_exit(struct mote_vcpu *vcpu, const struct mote_exit *exit);

#define MOTE_EXIT_NAMES								\
	N(NONE, "none") N(INTERRUPT, "interrupt") N(NMI, "nmi") N(EXCEPTION, "exception")	\
	N(INTERRUPT_WINDOW, "interrupt-window") N(NMI_WINDOW, "nmi-window") N(CPUID, "cpuid")	\
	N(HLT, "hlt") N(PIO, "pio") N(RDMSR, "rdmsr") N(WRMSR, "wrmsr")			\
	N(HYPERCALL, "hypercall") N(MMIO, "mmio") N(NPF, "npf") N(XSETBV, "xsetbv")	\
	N(CR, "cr") N(DR, "dr") N(CACHE, "cache") N(PMC, "pmc") N(MWAIT, "mwait")		\
	N(PAUSE, "pause") N(UNDEFINED, "undefined") N(SHUTDOWN, "shutdown")		\
	N(FAIL_ENTRY, "fail-entry") N(MEMORY, "memory") N(INIT, "init") N(TIMER, "timer")	\
	N(UNKNOWN, "unknown") N(EOI, "eoi") NE(TASK_SWITCH, "task-switch")

/* First the numbers for who reads the format file, then the pairs. */
#undef N
#undef NE
#define N(id, name) TRACE_DEFINE_ENUM(MOTE_EXIT_##id);
#define NE(id, name) N(id, name)
MOTE_EXIT_NAMES
#undef N
#undef NE
#define N(id, name) { MOTE_EXIT_##id, name },
#define NE(id, name) { MOTE_EXIT_##id, name }
#define show_reason(reason) __print_symbolic(reason, MOTE_EXIT_NAMES)

/* What all of them have. */
#define ID_FIELDS __field(u32, vm) __field(u32, vcpu)
#define ID_ASSIGN __entry->vm = vm; __entry->vcpu = vcpu
#define ID_FORMAT "vm %u vcpu %u "
#define ID_ARGS __entry->vm, __entry->vcpu

/* About to enter the guest at @rip; @tsc: of the host, now. */
TRACE_EVENT_FN(mote_entry,
	TP_PROTO(u32 vm, u32 vcpu, u64 tsc, u64 rip),
	TP_ARGS(vm, vcpu, tsc, rip),
	TP_STRUCT__entry(ID_FIELDS __field(u64, tsc) __field(u64, rip)),
	TP_fast_assign(ID_ASSIGN; __entry->tsc = tsc; __entry->rip = rip;),
	TP_printk(ID_FORMAT "rip 0x%llx", ID_ARGS, __entry->rip),
	mote_trace_begin, mote_trace_end
);

/* The guest has been left; @raw: the vendor's number; @gpa: of a nested fault, else 0. */
TRACE_EVENT_FN(mote_exit,
	TP_PROTO(u32 vm, u32 vcpu, u64 tsc, u32 reason, u32 raw, u64 rip,
		 u64 qualification, u64 gpa),
	TP_ARGS(vm, vcpu, tsc, reason, raw, rip, qualification, gpa),
	TP_STRUCT__entry(ID_FIELDS __field(u64, tsc) __field(u32, reason) __field(u32, raw)
			 __field(u64, rip) __field(u64, qualification) __field(u64, gpa)),
	TP_fast_assign(ID_ASSIGN; __entry->tsc = tsc; __entry->reason = reason;
		       __entry->raw = raw; __entry->rip = rip; __entry->gpa = gpa;
		       __entry->qualification = qualification;),
	TP_printk(ID_FORMAT "%s raw 0x%x rip 0x%llx qualification 0x%llx gpa 0x%llx", ID_ARGS,
		  show_reason(__entry->reason), __entry->raw, __entry->rip,
		  __entry->qualification, __entry->gpa),
	mote_trace_begin, mote_trace_end
);

/*
 * The guest goes on after an exit at @rip: both TSCs of the host, @where: MOTE_HANDLED_*.
 * @reason is that of mote_exit, or after a nested fault what became of it: MMIO, MEMORY.
 */
TRACE_EVENT_FN(mote_exit_handled,
	TP_PROTO(u32 vm, u32 vcpu, u32 reason, u32 raw, u32 where, u64 rip,
		 u64 exit_tsc, u64 entry_tsc),
	TP_ARGS(vm, vcpu, reason, raw, where, rip, exit_tsc, entry_tsc),
	TP_STRUCT__entry(ID_FIELDS __field(u32, reason) __field(u32, raw) __field(u32, where)
			 __field(u64, rip) __field(u64, exit_tsc) __field(u64, entry_tsc)),
	TP_fast_assign(ID_ASSIGN; __entry->reason = reason; __entry->raw = raw;
		       __entry->where = where; __entry->rip = rip;
		       __entry->exit_tsc = exit_tsc; __entry->entry_tsc = entry_tsc;),
	TP_printk(ID_FORMAT "%s raw 0x%x by %s rip 0x%llx ticks %llu", ID_ARGS,
		  show_reason(__entry->reason), __entry->raw,
		  __print_symbolic(__entry->where, { 0, "fast" }, { 1, "kernel" }, { 2, "user" }),
		  __entry->rip, __entry->entry_tsc - __entry->exit_tsc),
	mote_trace_begin, mote_trace_end
);

/* @flags: MOTE_PIO_*; @value: written or read; 0 for strings. */
TRACE_EVENT_FN(mote_pio,
	TP_PROTO(u32 vm, u32 vcpu, u32 port, u32 size, u32 flags, u64 value),
	TP_ARGS(vm, vcpu, port, size, flags, value),
	TP_STRUCT__entry(ID_FIELDS __field(u32, port) __field(u32, size) __field(u32, flags)
			 __field(u64, value)),
	TP_fast_assign(ID_ASSIGN; __entry->port = port; __entry->size = size;
		       __entry->flags = flags; __entry->value = value;),
	TP_printk(ID_FORMAT "port 0x%x size %u%s value 0x%llx", ID_ARGS, __entry->port,
		  __entry->size,
		  __print_flags(__entry->flags, "", { 1, " in" }, { 2, " string" },
				{ 4, " rep" }),
		  __entry->value),
	mote_trace_begin, mote_trace_end
);

/* @access: MOTE_ACCESS_*; only user space decodes the instruction. */
TRACE_EVENT(mote_mmio,
	TP_PROTO(u32 vm, u32 vcpu, u64 gpa, u32 access, u64 rip),
	TP_ARGS(vm, vcpu, gpa, access, rip),
	TP_STRUCT__entry(ID_FIELDS __field(u64, gpa) __field(u32, access) __field(u64, rip)),
	TP_fast_assign(ID_ASSIGN; __entry->gpa = gpa; __entry->access = access;
		       __entry->rip = rip;),
	TP_printk(ID_FORMAT "gpa 0x%llx %s rip 0x%llx", ID_ARGS, __entry->gpa,
		  __print_flags(__entry->access, "|", { 1, "read" }, { 2, "write" }, { 4, "exec" }),
		  __entry->rip)
);

/* @value: written, or read if it is @done: not if it was a fault. */
TRACE_EVENT_FN(mote_msr,
	TP_PROTO(u32 vm, u32 vcpu, u32 write, u32 index, u64 value, u32 done),
	TP_ARGS(vm, vcpu, write, index, value, done),
	TP_STRUCT__entry(ID_FIELDS __field(u32, write) __field(u32, index) __field(u64, value)
			 __field(u32, done)),
	TP_fast_assign(ID_ASSIGN; __entry->write = write; __entry->index = index;
		       __entry->value = value; __entry->done = done;),
	TP_printk(ID_FORMAT "%s 0x%x value 0x%llx%s", ID_ARGS, __entry->write ? "wrmsr" : "rdmsr",
		  __entry->index, __entry->value, __entry->done ? "" : " fault"),
	mote_trace_begin, mote_trace_end
);

/* What was asked for and what the answer is. */
TRACE_EVENT_FN(mote_cpuid,
	TP_PROTO(u32 vm, u32 vcpu, u32 leaf, u32 subleaf, u32 eax, u32 ebx, u32 ecx, u32 edx),
	TP_ARGS(vm, vcpu, leaf, subleaf, eax, ebx, ecx, edx),
	TP_STRUCT__entry(ID_FIELDS __field(u32, leaf) __field(u32, subleaf) __field(u32, eax)
			 __field(u32, ebx) __field(u32, ecx) __field(u32, edx)),
	TP_fast_assign(ID_ASSIGN; __entry->leaf = leaf; __entry->subleaf = subleaf;
		       __entry->eax = eax; __entry->ebx = ebx; __entry->ecx = ecx;
		       __entry->edx = edx;),
	TP_printk(ID_FORMAT "leaf 0x%x subleaf 0x%x eax 0x%x ebx 0x%x ecx 0x%x edx 0x%x", ID_ARGS,
		  __entry->leaf, __entry->subleaf, __entry->eax, __entry->ebx, __entry->ecx,
		  __entry->edx),
	mote_trace_begin, mote_trace_end
);

/* As the guest has made it: number and the first arguments, RAX to RSI. */
TRACE_EVENT_FN(mote_hypercall,
	TP_PROTO(u32 vm, u32 vcpu, u64 number, u64 rbx, u64 rcx, u64 rdx, u64 rsi),
	TP_ARGS(vm, vcpu, number, rbx, rcx, rdx, rsi),
	TP_STRUCT__entry(ID_FIELDS __field(u64, number) __field(u64, rbx) __field(u64, rcx)
			 __field(u64, rdx) __field(u64, rsi)),
	TP_fast_assign(ID_ASSIGN; __entry->number = number; __entry->rbx = rbx;
		       __entry->rcx = rcx; __entry->rdx = rdx; __entry->rsi = rsi;),
	TP_printk(ID_FORMAT "number 0x%llx rbx 0x%llx rcx 0x%llx rdx 0x%llx rsi 0x%llx", ID_ARGS,
		  __entry->number, __entry->rbx, __entry->rcx, __entry->rdx, __entry->rsi),
	mote_trace_begin, mote_trace_end
);

/* Memory of a slot was missing; @level: of the entry that maps it now, with @around pages. */
TRACE_EVENT(mote_nested_fault,
	TP_PROTO(u32 vm, u32 vcpu, u64 gpa, u32 access, u32 level, u32 around, s32 error),
	TP_ARGS(vm, vcpu, gpa, access, level, around, error),
	TP_STRUCT__entry(ID_FIELDS __field(u64, gpa) __field(u32, access) __field(u32, level)
			 __field(u32, around) __field(s32, error)),
	TP_fast_assign(ID_ASSIGN; __entry->gpa = gpa; __entry->access = access;
		       __entry->level = level; __entry->around = around;
		       __entry->error = error;),
	TP_printk(ID_FORMAT "gpa 0x%llx %s level %u around %u error %d", ID_ARGS, __entry->gpa,
		  __print_flags(__entry->access, "|", { 1, "read" }, { 2, "write" }, { 4, "exec" }),
		  __entry->level, __entry->around, __entry->error)
);

/* An event goes in with the next entry; @type: MOTE_EVENT_*. */
TRACE_EVENT(mote_inject,
	TP_PROTO(u32 vm, u32 vcpu, u32 type, u32 vector, u32 error),
	TP_ARGS(vm, vcpu, type, vector, error),
	TP_STRUCT__entry(ID_FIELDS __field(u32, type) __field(u32, vector) __field(u32, error)),
	TP_fast_assign(ID_ASSIGN; __entry->type = type; __entry->vector = vector;
		       __entry->error = error;),
	TP_printk(ID_FORMAT "type %u vector %u error 0x%x", ID_ARGS, __entry->type, __entry->vector,
		  __entry->error)
);

/* With the TSC of the host, now. */
DECLARE_EVENT_CLASS(mote_vcpu_class,
	TP_PROTO(u32 vm, u32 vcpu, u64 tsc, u32 state),
	TP_ARGS(vm, vcpu, tsc, state),
	TP_STRUCT__entry(ID_FIELDS __field(u64, tsc) __field(u32, state)),
	TP_fast_assign(ID_ASSIGN; __entry->tsc = tsc; __entry->state = state;),
	TP_printk(ID_FORMAT "state %u tsc %llu", ID_ARGS, __entry->state, __entry->tsc)
);
#define VCPU_EVENT(name)							\
	DEFINE_EVENT(mote_vcpu_class, name, TP_PROTO(u32 vm, u32 vcpu, u64 tsc, u32 state),	\
		     TP_ARGS(vm, vcpu, tsc, state))
/* It sleeps: MOTE_HALTED, MOTE_WAITS_FOR_SIPI; it has been woken; MOTE_VCPU_*. */
VCPU_EVENT(mote_halt);
VCPU_EVENT(mote_wake);
VCPU_EVENT(mote_vcpu_state);

#endif /* MOTE_TRACE_H */

#undef TRACE_INCLUDE_PATH
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_PATH trace
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
