// SPDX-License-Identifier: GPL-2.0
/* How long exits take, as histograms: one run of this program an exit, and nothing to read out. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "event.h"
#include "filter.bpf.h"

/* Rows by reason and place alone: found without a hash. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, TRACE_ROWS);
	__type(key, __u32);
	__type(value, struct trace_latency);
} plain SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct trace_key);
	__type(value, struct trace_latency);
} keyed SEC(".maps");

static const struct trace_latency zero;

static __always_inline struct trace_latency *find_plain(const struct bpf_raw_tracepoint_args *ctx)
{
	__u32 row = trace_row(ctx->args[2], ctx->args[4]);

	return bpf_map_lookup_elem(&plain, &row);
}

static __always_inline struct trace_latency *find_keyed(const struct bpf_raw_tracepoint_args *ctx)
{
	struct trace_key key = {
		.vm = filter.by_vm ? ctx->args[0] : 0, .vcpu = filter.by_vcpu ? ctx->args[1] : 0,
		.reason = ctx->args[2], .where = ctx->args[4], .rip = filter.by_rip ? ctx->args[5] : 0,
	};
	struct trace_latency *latency = bpf_map_lookup_elem(&keyed, &key);

	if (latency)
		return latency;
	bpf_map_update_elem(&keyed, &key, &zero, BPF_NOEXIST);
	return bpf_map_lookup_elem(&keyed, &key);
}

/* mote_exit_handled: vm, vcpu, reason, raw, where, rip, exit_tsc, entry_tsc */
SEC("raw_tp/mote_exit_handled")
int exit_handled(struct bpf_raw_tracepoint_args *ctx)
{
	__u64 ticks = ctx->args[7] - ctx->args[6];
	struct trace_latency *latency;

	if (is_filtered_out(ctx))
		return 0;
	if (filter.by_vm || filter.by_vcpu || filter.by_rip)
		latency = find_keyed(ctx);
	else
		latency = find_plain(ctx);
	if (!latency) {
		__sync_fetch_and_add(&lost, 1);
		return 0;
	}
	latency->count++;
	latency->sum += ticks;
	if (ticks > latency->max)
		latency->max = ticks;
	latency->slot[trace_slot(ticks)]++;
	return 0;
}

char _license[] SEC("license") = "GPL";
