/* SPDX-License-Identifier: GPL-2.0 */
/* mote policy: an object file with a BPF program that decides exits (policy_object.c). */
#ifndef POLICY_H
#define POLICY_H

#include <linux/types.h>
#include <stdbool.h>
#include <sys/types.h>

struct bpf_link;
struct bpf_object;
struct bpf_program;
struct ring_buffer;

/**
 * struct policy - one of them
 * @file: where it is from
 * @object: the file's
 * @program: the only one in there
 * @pid: the constant that says whose exits are meant, until it is loaded
 * @link: it is asked while this is open
 * @output: what it has to say, or NULL
 */
struct policy {
	const char *file;
	struct bpf_object *object;
	struct bpf_program *program;
	__u32 *pid;
	struct bpf_link *link;
	struct ring_buffer *output;
};

/* Is it one?  Return: 0, or an exit status after a complaint; it is to be closed in any case. */
int policy_open(struct policy *policy, const char *file, bool verbose);
/* From now on it is asked about the exits of this process; likewise. */
int policy_attach(struct policy *policy, pid_t pid);
/* The descriptor on which that depends. */
int policy_link(const struct policy *policy);
/* Print what it says within so many milliseconds; false: that cannot be printed. */
bool policy_print(struct policy *policy, int ms);
void policy_close(struct policy *policy);

#endif /* POLICY_H */
