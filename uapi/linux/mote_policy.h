/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * Policies: BPF programs that decide what becomes of a guest's exits, attached to the writable raw
 * tracepoint mote_policy.  What they may do, and how mote policy loads them: docs/policy.md.
 */
#ifndef _UAPI_LINUX_MOTE_POLICY_H
#define _UAPI_LINUX_MOTE_POLICY_H

#include <linux/mote.h>
#include <linux/types.h>

/* Of what follows; a program of another version is not loaded. */
#define MOTE_POLICY_VERSION 1

/*
 * What an exit is about: %MOTE_FILTER_PORT, ..., or memory without a slot, or read-only; or an
 * access that is watched (MOTE_SET_WATCH).
 */
#define MOTE_POLICY_MMIO MOTE_NR_FILTERS
#define MOTE_POLICY_WATCH (MOTE_NR_FILTERS + 1)

/*
 * Answers, besides %MOTE_FILTER_DEFAULT (as if there were no policy: a filter is asked),
 * %MOTE_FILTER_DENY and %MOTE_FILTER_FORWARD: the instruction is complete, with the registers that
 * the program has set.
 */
#define MOTE_POLICY_COMPLETE 3

/**
 * struct mote_policy - an exit, as a policy sees and answers it
 * @gpr: the guest's registers, by &enum mote_gpr; what is written there the guest has, whatever
 *	the answer is
 * @rip: of the instruction
 * @number: port, MSR, CPUID leaf, number of a hypercall, or guest-physical address
 * @vm: id of the VM, as tracepoints have it
 * @vcpu: id of the vCPU
 * @pid: of the VMM process, in the initial PID namespace: tells machines apart
 * @kind: %MOTE_FILTER_PORT, %MOTE_FILTER_MSR, %MOTE_FILTER_CPUID, %MOTE_FILTER_HYPERCALL,
 *	%MOTE_POLICY_MMIO or %MOTE_POLICY_WATCH
 * @access: %MOTE_ACCESS_READ or %MOTE_ACCESS_WRITE; of memory also %MOTE_ACCESS_EXEC and
 *	%MOTE_ACCESS_WALK
 * @size: of a port access: 1, 2 or 4 bytes; of memory: how many bytes of @insn there are; else 0
 * @flags: of a port access: %MOTE_PIO_STRING, %MOTE_PIO_REP; else 0
 * @insn: of memory: the instruction, up to 15 bytes from RIP on, as the guest's page tables say
 * @action: out: the answer, %MOTE_FILTER_DEFAULT at first
 * @length: out: with %MOTE_POLICY_COMPLETE for memory: of the instruction, 1 to 15 bytes; or, for a
 *	watch, 0: the access takes place, and user space is not told
 * @wake: out: 0, or a port whose MOTE_IOEVENTFD is signalled as by the guest's OUT of @gpr[RAX],
 *	4 bytes
 * @reserved: for later versions
 *
 * A program may write to all of it.  But for @gpr and what is marked with "out" that has no effect,
 * and answers that are none of those above are %MOTE_FILTER_DEFAULT; so is a completion of MMIO
 * without a length.  Several programs are asked one after the other, each sees the answer of those
 * before it, and the last one's counts.
 */
struct mote_policy {
	__u64 gpr[16];
	__u64 rip;
	__u64 number;
	__u32 vm;
	__u32 vcpu;
	__u32 pid;
	__u32 kind;
	__u32 access;
	__u32 size;
	__u32 flags;
	__u32 action;
	__u8 insn[16];
	__u32 length;
	__u32 wake;
	__u64 reserved[7];
};

#endif /* _UAPI_LINUX_MOTE_POLICY_H */
