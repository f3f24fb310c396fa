/* SPDX-License-Identifier: GPL-2.0 */
/* What the BPF programs and the tool share; the former include <linux/bpf.h> first. */
#ifndef EVENT_H
#define EVENT_H

#include <linux/types.h>

/* ---- histograms, kept in the kernel ----------------------------------------- */

/*
 * Four slots to each power of two: ticks below 8 have one each; the last slot takes the
 * rest, from 1.75 * 2^48 on: more than a day.
 */
#define TRACE_SLOTS 192

struct trace_key {
	__u32 vm;
	__u32 vcpu;
	__u32 reason;
	__u32 where;
	__u64 rip;
};

/* Rows by nothing else: an array, by the number of this. */
#define TRACE_ROWS 128

static inline __attribute__((always_inline)) __u32 trace_row(__u32 reason, __u32 where)
{
	return (reason * 4 + where) % TRACE_ROWS;
}

/* Of one key, on one CPU; all in ticks of the TSC. */
struct trace_latency {
	__u64 count;
	__u64 sum;
	__u64 max;
	__u64 slot[TRACE_SLOTS];
};

/* In which slot: the power of two, and the two bits behind the first one. */
static inline __attribute__((always_inline)) __u32 trace_slot(__u64 ticks)
{
	__u64 rest = ticks, log = 0;

	if (ticks < 4)
		return ticks;
	for (int step = 32; step; step /= 2) {
		if (rest >> step) {
			rest >>= step;
			log += step;
		}
		/* Or the compiler makes each bit by a test of its own in the end. */
		__asm__("" : "+r" (log));
	}
	log = (log - 1) * 4 + (ticks >> (log - 2) & 3);
	return log < TRACE_SLOTS ? log : TRACE_SLOTS - 1;
}

/* ---- records --------------------------------------------------------------- */

/* The numbers are those in files: append only. */
enum trace_event {
	TRACE_EXIT_HANDLED,
	TRACE_HALT,
	TRACE_WAKE,
	TRACE_VCPU_STATE,
	TRACE_EXIT,
	TRACE_PIO,
	TRACE_MMIO,
	TRACE_MSR,
	TRACE_CPUID,
	TRACE_HYPERCALL,
	TRACE_NESTED_FAULT,
	TRACE_INJECT,
	TRACE_NR_EVENTS
};

#define TRACE_ARGS 6

/* One event: the arguments of the tracepoint behind the two ids, in their order; else 0. */
struct trace_record {
	__u32 vm;
	__u16 vcpu;
	__u16 event;
	__u64 arg[TRACE_ARGS];
};

/* Bytes of the buffer between the kernel and the tool: a quarter second at a million exits a second. */
#define TRACE_BUFFER (16u << 20)

/* ---- samples ---------------------------------------------------------------- */

/* Of the guest's RAM: as in a control socket's answer to "slots". */
#define TRACE_SLOTS_MOST 2

struct trace_slot {
	__u64 gpa;
	__u64 size;
	__u64 hva;
};

/* How much of the stack is copied; and of how many, as an interrupt's lies upon a task's. */
#define TRACE_STACK 8192
#define TRACE_STACKS 2

/* A piece of a stack: so many bytes from this address on. */
struct trace_span {
	__u64 gva;
	__u64 size;
};

/**
 * struct trace_sample - where a guest was at an exit, and what it had on its stack
 * @vm: as in &struct trace_record
 * @vcpu: likewise
 * @event: %TRACE_SAMPLE
 * @pid: of the VMM process
 * @reason: of the exit
 * @tsc: of the exit
 * @rip: and the other registers
 * @rsp: stack pointer
 * @rbp: frame pointer, maybe
 * @cpl: privilege level
 * @is_long: it is 64-bit code; there is a stack if it is the kernel's, too
 * @span: where the pieces of the stack were; they follow one another in @stack
 * @stack: as much as there is
 */
struct trace_sample {
	__u32 vm;
	__u16 vcpu;
	__u16 event;
	__u32 pid;
	__u32 reason;
	__u64 tsc;
	__u64 rip;
	__u64 rsp;
	__u64 rbp;
	__u32 cpl;
	__u32 is_long;
	struct trace_span span[TRACE_STACKS];
	__u8 stack[TRACE_STACK];
};

/* No event of a file's. */
#define TRACE_SAMPLE 0xffff

/* Bytes of the buffer of samples. */
#define TRACE_SAMPLES_BUFFER (32u << 20)

/* Which vCPUs, and of which process; set before the programs are loaded. */
struct trace_filter {
	__u32 vm;
	__u32 vcpu;
	__u32 pid;
	__u8 one_vm;
	__u8 one_vcpu;
	__u8 by_vm;
	__u8 by_vcpu;
	__u8 by_rip;
	__u64 reasons;	/* of exits that are samples, a bit each */
};

#endif /* EVENT_H */
