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
#include <linux/mote_policy.h>

/* One branch for all events of instructions, entries and exits: is any of them traced? */
DECLARE_STATIC_KEY_FALSE(mote_traced);
/* Counts how often tracing has begun: what a vCPU remembers from before is stale. */
extern u32 mote_trace_generation;
int mote_trace_begin(void);
void mote_trace_end(void);

struct mote_vcpu;
/* Called around run(), interrupts off: durations are without what handling the events takes. */
void mote_trace_entry(struct mote_vcpu *vcpu);
void mote_trace_exit(struct mote_vcpu *vcpu);

#define MOTE_EXIT_NAMES								\
	N(NONE, "none") N(INTERRUPT, "interrupt") N(NMI, "nmi") N(EXCEPTION, "exception")	\
	N(INTERRUPT_WINDOW, "interrupt-window") N(NMI_WINDOW, "nmi-window") N(CPUID, "cpuid")	\
	N(HLT, "hlt") N(PIO, "pio") N(RDMSR, "rdmsr") N(WRMSR, "wrmsr")			\
	N(HYPERCALL, "hypercall") N(MMIO, "mmio") N(NPF, "npf") N(XSETBV, "xsetbv")	\
	N(CR, "cr") N(DR, "dr") N(CACHE, "cache") N(PMC, "pmc") N(MWAIT, "mwait")		\
	N(PAUSE, "pause") N(UNDEFINED, "undefined") N(SHUTDOWN, "shutdown")		\
	N(FAIL_ENTRY, "fail-entry") N(MEMORY, "memory") N(INIT, "init") N(TIMER, "timer")	\
	N(UNKNOWN, "unknown") N(EOI, "eoi") N(TASK_SWITCH, "task-switch")		\
	N(WATCH, "watch") NE(RDTSC, "rdtsc")

/* First the numbers, for readers of the format file, then the pairs. */
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

#define show_access(access)									\
	__print_flags(access, "|", { 1, "read" }, { 2, "write" }, { 4, "exec" })

/*
 * An event has the ids of VM and vCPU, and what its FIELDS(F) lists as F(type, name): arguments
 * that are, in the same order, the fields of its record.
 */
#define F_PROTO(type, name) , type name
#define F_ARG(type, name) , name
#define F_FIELD(type, name) __field(type, name)
#define F_ASSIGN(type, name) __entry->name = name;
#define MOTE_TRACE_EVENT(event, begin, end, FIELDS, format, ...)				\
	TRACE_EVENT_FN(event,									\
		TP_PROTO(u32 vm, u32 vcpu FIELDS(F_PROTO)),					\
		TP_ARGS(vm, vcpu FIELDS(F_ARG)),						\
		TP_STRUCT__entry(__field(u32, vm) __field(u32, vcpu) FIELDS(F_FIELD)),		\
		TP_fast_assign(__entry->vm = vm; __entry->vcpu = vcpu; FIELDS(F_ASSIGN)),	\
		TP_printk("vm %u vcpu %u " format, __entry->vm, __entry->vcpu, __VA_ARGS__),	\
		begin, end)
#define PLAIN_EVENT(event, ...) MOTE_TRACE_EVENT(event, NULL, NULL, __VA_ARGS__)
/* The branch mote_traced leads to these. */
#define KEYED_EVENT(event, ...)			\
	MOTE_TRACE_EVENT(event, mote_trace_begin, mote_trace_end, __VA_ARGS__)

/* About to enter the guest at @rip; @tsc: of the host, now. */
#define ENTRY_FIELDS(F) F(u64, tsc) F(u64, rip)
KEYED_EVENT(mote_entry, ENTRY_FIELDS, "rip 0x%llx", __entry->rip);

/* The guest has been left; @raw: the vendor's number; @gpa: of a nested fault, else 0. */
#define EXIT_FIELDS(F) F(u64, tsc) F(u32, reason) F(u32, raw) F(u64, rip) F(u64, qualification) \
	F(u64, gpa)
KEYED_EVENT(mote_exit, EXIT_FIELDS, "%s raw 0x%x rip 0x%llx qualification 0x%llx gpa 0x%llx",
	    show_reason(__entry->reason), __entry->raw, __entry->rip, __entry->qualification,
	    __entry->gpa);

/* With an exit: what the guest's call chain is found by; @cs_attr: as in &struct mote_segment. */
#define FRAME_FIELDS(F) F(u64, tsc) F(u32, reason) F(u64, rip) F(u64, rsp) F(u64, rbp) F(u64, cr3) \
	F(u64, cr4) F(u64, efer) F(u32, cs_attr) F(u32, cpl)
KEYED_EVENT(mote_frame, FRAME_FIELDS,
	    "%s rip 0x%llx rsp 0x%llx rbp 0x%llx cr3 0x%llx cr4 0x%llx efer 0x%llx cs 0x%x cpl %u",
	    show_reason(__entry->reason), __entry->rip, __entry->rsp, __entry->rbp, __entry->cr3,
	    __entry->cr4, __entry->efer, __entry->cs_attr, __entry->cpl);

/*
 * The guest goes on after an exit at @rip: both TSCs of the host, @where: MOTE_HANDLED_*.
 * @reason is that of mote_exit, or after a nested fault what became of it: MMIO, MEMORY.
 */
#define HANDLED_FIELDS(F) F(u32, reason) F(u32, raw) F(u32, where) F(u64, rip) F(u64, exit_tsc) \
	F(u64, entry_tsc)
KEYED_EVENT(mote_exit_handled, HANDLED_FIELDS, "%s raw 0x%x by %s rip 0x%llx ticks %llu",
	    show_reason(__entry->reason), __entry->raw,
	    __print_symbolic(__entry->where, { 0, "fast" }, { 1, "kernel" }, { 2, "user" }),
	    __entry->rip, __entry->entry_tsc - __entry->exit_tsc);

/* @flags: MOTE_PIO_*; @value: written or read; 0 for strings. */
#define PIO_FIELDS(F) F(u32, port) F(u32, size) F(u32, flags) F(u64, value)
KEYED_EVENT(mote_pio, PIO_FIELDS, "port 0x%x size %u%s value 0x%llx", __entry->port,
	    __entry->size,
	    __print_flags(__entry->flags, "", { 1, " in" }, { 2, " string" }, { 4, " rep" }),
	    __entry->value);

/* @access: MOTE_ACCESS_*; only user space decodes the instruction. */
#define MMIO_FIELDS(F) F(u64, gpa) F(u32, access) F(u64, rip)
PLAIN_EVENT(mote_mmio, MMIO_FIELDS, "gpa 0x%llx %s rip 0x%llx", __entry->gpa,
	    show_access(__entry->access), __entry->rip);

/* @value: written, or read if the access was @done and not a fault. */
#define MSR_FIELDS(F) F(u32, write) F(u32, index) F(u64, value) F(u32, done)
KEYED_EVENT(mote_msr, MSR_FIELDS, "%s 0x%x value 0x%llx%s", __entry->write ? "wrmsr" : "rdmsr",
	    __entry->index, __entry->value, __entry->done ? "" : " fault");

/* What was asked for and what the answer is. */
#define CPUID_FIELDS(F) F(u32, leaf) F(u32, subleaf) F(u32, eax) F(u32, ebx) F(u32, ecx) F(u32, edx)
KEYED_EVENT(mote_cpuid, CPUID_FIELDS,
	    "leaf 0x%x subleaf 0x%x eax 0x%x ebx 0x%x ecx 0x%x edx 0x%x", __entry->leaf,
	    __entry->subleaf, __entry->eax, __entry->ebx, __entry->ecx, __entry->edx);

/* As the guest has made it: number and the first arguments, RAX to RSI. */
#define HYPERCALL_FIELDS(F) F(u64, number) F(u64, rbx) F(u64, rcx) F(u64, rdx) F(u64, rsi)
KEYED_EVENT(mote_hypercall, HYPERCALL_FIELDS,
	    "number 0x%llx rbx 0x%llx rcx 0x%llx rdx 0x%llx rsi 0x%llx", __entry->number,
	    __entry->rbx, __entry->rcx, __entry->rdx, __entry->rsi);

/* Memory of a slot was missing; @level: of the entry that maps it now, with @around pages. */
#define FAULT_FIELDS(F) F(u64, gpa) F(u32, access) F(u32, level) F(u32, around) F(s32, error)
PLAIN_EVENT(mote_nested_fault, FAULT_FIELDS, "gpa 0x%llx %s level %u around %u error %d",
	    __entry->gpa, show_access(__entry->access), __entry->level, __entry->around,
	    __entry->error);

/* An event goes in with the next entry; @type: MOTE_EVENT_*. */
#define INJECT_FIELDS(F) F(u32, type) F(u32, vector) F(u32, error)
PLAIN_EVENT(mote_inject, INJECT_FIELDS, "type %u vector %u error 0x%x", __entry->type,
	    __entry->vector, __entry->error);

/* @tsc: of the host, now; @state: MOTE_HALTED or MOTE_WAITS_FOR_SIPI for a sleep, MOTE_VCPU_*. */
#define STATE_FIELDS(F) F(u64, tsc) F(u32, state)
#define STATE_EVENT(event) \
	PLAIN_EVENT(event, STATE_FIELDS, "state %u tsc %llu", __entry->state, __entry->tsc)
STATE_EVENT(mote_halt);
STATE_EVENT(mote_wake);
STATE_EVENT(mote_vcpu_state);

/*
 * No event, but a question: where policies are attached (<linux/mote_policy.h>, answer/policy.c).
 * Only the pass that makes BPF's part of it knows of writable ones.
 */
#ifndef DECLARE_TRACE_WRITABLE
#define DECLARE_TRACE_WRITABLE(call, proto, args, size)						\
	DECLARE_TRACE(call, PARAMS(proto), PARAMS(args))
#endif
DECLARE_TRACE_WRITABLE(mote_policy, TP_PROTO(struct mote_policy *policy), TP_ARGS(policy),
		       sizeof(struct mote_policy));

#endif /* MOTE_TRACE_H */

#undef TRACE_INCLUDE_PATH
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_PATH trace
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
