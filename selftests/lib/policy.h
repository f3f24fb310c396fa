/* SPDX-License-Identifier: GPL-2.0 */
/* Policies (<linux/mote_policy.h>) of single instructions: no compiler and no library is needed. */
#ifndef SELFTESTS_POLICY_H
#define SELFTESTS_POLICY_H

#include <errno.h>
#include <linux/bpf.h>
#include <linux/mote_policy.h>
#include <stddef.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BPF_INSN(c, d, s, o, i) \
	((struct bpf_insn) { .code = (c), .dst_reg = (d), .src_reg = (s), .off = (o), .imm = (i) })
#define FIELD(name) ((int)offsetof(struct mote_policy, name))

/* R6 is the exit; one of another process, or at another RIP, is not answered. */
#define POLICY_LEAVE 0x7fff
#define POLICY_BEGIN								\
	BPF_INSN(BPF_LDX | BPF_MEM | BPF_DW, 6, 1, 0, 0),			\
	BPF_INSN(BPF_LDX | BPF_MEM | BPF_W, 1, 6, FIELD(pid), 0),		\
	BPF_INSN(BPF_JMP | BPF_JNE | BPF_K, 1, 0, POLICY_LEAVE, getpid())
#define POLICY_ONLY_AT(ip)							\
	BPF_INSN(BPF_LDX | BPF_MEM | BPF_DW, 1, 6, FIELD(rip), 0),		\
	BPF_INSN(BPF_JMP | BPF_JNE | BPF_K, 1, 0, POLICY_LEAVE, ip)
#define POLICY_END								\
	BPF_INSN(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 0),			\
	BPF_INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)
/* Write a number to a field, or to one of the registers. */
#define POLICY_SET(size, field, value) BPF_INSN(BPF_ST | BPF_MEM | (size), 6, 0, FIELD(field), value)
/* Copy one into the other, through R1. */
#define POLICY_COPY(size, to, from)						\
	BPF_INSN(BPF_LDX | BPF_MEM | (size), 1, 6, FIELD(from), 0),		\
	BPF_INSN(BPF_STX | BPF_MEM | BPF_DW, 6, 1, FIELD(to), 0)

static inline long policy_bpf(int command, union bpf_attr *attr)
{
	long err = syscall(SYS_bpf, command, attr, sizeof(*attr));

	return err < 0 ? -errno : err;
}

/* Load and attach one: it is asked until the descriptor is closed; or a negative errno. */
static inline int policy_attach(struct bpf_insn *insns, unsigned int nr)
{
	union bpf_attr attr = {
		.prog_type = BPF_PROG_TYPE_RAW_TRACEPOINT_WRITABLE, .insn_cnt = nr,
		.insns = (unsigned long)insns, .license = (unsigned long)"GPL",
	};
	int program, link;

	/* To POLICY_END. */
	for (unsigned int i = 0; i < nr; i++)
		if (insns[i].off == POLICY_LEAVE)
			insns[i].off = nr - 3 - i;
	program = policy_bpf(BPF_PROG_LOAD, &attr);
	if (program < 0)
		return program;
	attr = (union bpf_attr) { 0 };
	attr.raw_tracepoint.name = (unsigned long)"mote_policy";
	attr.raw_tracepoint.prog_fd = program;
	link = policy_bpf(BPF_RAW_TRACEPOINT_OPEN, &attr);
	close(program);
	return link;
}

#endif /* SELFTESTS_POLICY_H */
