/* SPDX-License-Identifier: GPL-2.0 */
/*
 * For policies: BPF programs that decide a machine's exits (<linux/mote_policy.h>), as mote policy loads
 * them.  One object is one policy:
 *
 *	#include <policy.bpf.h>
 *
 *	MOTE_POLICY(refuse_port_0x80)
 *	{
 *		if (exit->kind == MOTE_FILTER_PORT && exit->number == 0x80)
 *			exit->action = MOTE_FILTER_DENY;
 *		return 0;
 *	}
 *
 *	char _license[] SEC("license") = "GPL";
 *
 * clang -target bpf -O2 -g -c -o FILE.bpf.o FILE.bpf.c
 */
#ifndef MOTE_POLICY_BPF_H
#define MOTE_POLICY_BPF_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <linux/mote_policy.h>

/* Whose exits are meant: mote policy writes it before it loads the object. */
const volatile __u32 mote_policy_pid;
const volatile __u32 mote_policy_version = MOTE_POLICY_VERSION;

/* The program: its block has @exit, a struct mote_policy of the machine that is meant; it returns 0. */
#define MOTE_POLICY(name)								\
	static __always_inline int name(struct mote_policy *exit);			\
	SEC("raw_tp.w/mote_policy")							\
	int name##_of_machine(struct bpf_raw_tracepoint_args *ctx)			\
	{										\
		struct mote_policy *exit = (struct mote_policy *)ctx->args[0];		\
											\
		return exit->pid == mote_policy_pid ? name(exit) : 0;			\
	}										\
	static __always_inline int name(struct mote_policy *exit)

/* A map of this name, BPF_MAP_TYPE_RINGBUF: mote policy run writes what comes there, bytes, to its output. */
#define MOTE_POLICY_OUTPUT(size)							\
	struct {									\
		__uint(type, BPF_MAP_TYPE_RINGBUF);					\
		__uint(max_entries, size);						\
	} output SEC(".maps")

#endif /* MOTE_POLICY_BPF_H */
