/* SPDX-License-Identifier: GPL-2.0 */
/* What all BPF programs have: which vCPUs are meant, and what could not be kept. */
#ifndef FILTER_BPF_H
#define FILTER_BPF_H

const volatile struct trace_filter filter;
__u64 lost;

static __always_inline int is_filtered_out(const struct bpf_raw_tracepoint_args *ctx)
{
	return (filter.one_vm && filter.vm != (__u32)ctx->args[0]) ||
	       (filter.one_vcpu && filter.vcpu != (__u32)ctx->args[1]) ||
	       (filter.pid && filter.pid != bpf_get_current_pid_tgid() >> 32);
}

#endif /* FILTER_BPF_H */
