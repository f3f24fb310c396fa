/* SPDX-License-Identifier: GPL-2.0 */
/*
 * libmote: what a debugger does to a vCPU that the guest is not to see: breakpoints in its debug
 * registers, which the guest has for itself, and single steps.
 *
 * A step is RFLAGS.TF for one instruction.  What would push TF or load another is known by its
 * opcode and put right; a transfer to a handler, which would leave TF behind (INT n, SYSCALL,
 * exceptions), is stopped at the handler's first instruction by a breakpoint.  The local APIC's
 * interrupts wait meanwhile; an NMI is not held off.  Watches (MOTE_SET_WATCH) do not apply to a step:
 * it is what leads over an instruction that the module does not let through by itself.
 */
#ifndef LIBMOTE_DEBUG_H
#define LIBMOTE_DEBUG_H

#include <machine.h>

/* DR6 when nothing has happened. */
#define MOTE_DR6_NONE 0xffff0ff0u
/* In DR6: the step is done. */
#define MOTE_DR6_BS (1u << 14)

/**
 * struct mote_debugged - a vCPU that is debugged; all fields are libmote's own but @dr6
 * @cpu: the vCPU
 * @exceptions: those that the debugger wants, as in &mote_debug.exceptions
 * @has_drs: its @drs are in the vCPU
 * @drs: they
 * @is_swapped: @guest are not in the vCPU
 * @guest: the guest's own debug registers, then
 * @step: what is under way, 0: no step
 * @begun: with @step, the registers before it
 * @nr_again: and how often it was begun again
 * @target: with @step, linear address of the breakpoint that ends it
 * @dr6: out: what the last #DB that was the debugger's had in DR6
 */
struct mote_debugged {
	struct mote_cpu *cpu;
	__u32 exceptions;
	bool has_drs;
	struct mote_drs drs;
	bool is_swapped;
	struct mote_drs guest;
	unsigned int step;
	struct mote_gprs begun;
	unsigned int nr_again;
	__u64 target;
	__u64 dr6;
};

/*
 * All of these with the vCPU out of MOTE_RUN, and its last exit complete.  Each returns 0, or what
 * MOTE_GET_STATE, MOTE_SET_STATE and MOTE_SET_DEBUG said.
 */

/* Begin: exceptions of these vectors end MOTE_RUN. */
int mote_debug_begin(struct mote_debugged *debugged, struct mote_cpu *cpu, __u32 exceptions);
/* End: the vCPU is the guest's alone. */
int mote_debug_end(struct mote_debugged *debugged);
/* Have these breakpoints, by &mote_drs.dr and .dr7, in place of the guest's; NULL: the guest has its own. */
int mote_debug_set_drs(struct mote_debugged *debugged, const struct mote_drs *drs);

/**
 * mote_debug_take() - the exception of the last %MOTE_EXIT_EXCEPTION was the debugger's
 * @debugged: the vCPU
 * @rip: where the guest goes on
 *
 * The guest does not get it.  @debugged->dr6 is what it had in DR6.
 */
int mote_debug_take(struct mote_debugged *debugged, __u64 rip);
/* It was the guest's own, and its DR6 is as it should be. */
int mote_debug_pass(struct mote_debugged *debugged);

/* Complete the instruction of a %MOTE_EXIT_DR with the guest's own registers. */
int mote_debug_mov_dr(struct mote_debugged *debugged);

/* Not an error: the step is done, and the vCPU as the guest would have it. */
#define MOTE_STEPPED 1

/*
 * Step over an instruction, or into the handler of an exception that waits for delivery.
 * %MOTE_STEPPED, or 0: MOTE_RUN is to go on.
 */
int mote_step_begin(struct mote_debugged *debugged);
/* Likewise with each %MOTE_EXIT_EXCEPTION until it is done. */
int mote_step_exit(struct mote_debugged *debugged);
/* Leave it at what has been done. */
int mote_step_end(struct mote_debugged *debugged);

/*
 * Read or write guest memory by linear addresses, as far as it is there; nothing but that memory
 * changes.  Both return how many bytes could be had.
 */
size_t mote_debug_read(const struct mote_machine *machine, const struct mote_paging *paging, __u64 gva,
		       void *data, size_t len);
size_t mote_debug_write(const struct mote_machine *machine, const struct mote_paging *paging, __u64 gva,
			const void *data, size_t len);

/* MOTE_GET_STATE, also where a signal comes between. */
int mote_debug_get(int vcpu, struct mote_state *state);

/* From a state with CRS and MSRS. */
struct mote_paging mote_debug_paging(const struct mote_state *state);
/* Bits of the code that a vCPU runs, from a state with SEGS and MSRS: 16, 32 or 64. */
unsigned int mote_debug_bits(const struct mote_state *state);
/* The linear address of RIP, from a state with GPRS, too. */
__u64 mote_debug_rip(const struct mote_state *state);

#endif /* LIBMOTE_DEBUG_H */
