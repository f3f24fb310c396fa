// SPDX-License-Identifier: GPL-2.0
/* Of another kind. */
#include <policy.bpf.h>

SEC("raw_tp/mote_exit")
int kind(struct bpf_raw_tracepoint_args *ctx)
{
	return ctx->args[0] == mote_policy_pid;
}

char _license[] SEC("license") = "GPL";
