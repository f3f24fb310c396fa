// SPDX-License-Identifier: GPL-2.0
/* Every event as it is, through one buffer: in order for each vCPU. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "event.h"
#include "filter.bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, TRACE_BUFFER);
} records SEC(".maps");

static __always_inline int record(struct bpf_raw_tracepoint_args *ctx, int event, int nr)
{
	struct trace_record *record;
	__u64 flags = BPF_RB_NO_WAKEUP;

	if (is_filtered_out(ctx))
		return 0;
	record = bpf_ringbuf_reserve(&records, sizeof(*record), 0);
	if (!record) {
		__sync_fetch_and_add(&lost, 1);
		return 0;
	}
	record->vm = ctx->args[0];
	record->vcpu = ctx->args[1];
	record->event = event;
	for (int i = 0; i < TRACE_ARGS; i++)
		record->arg[i] = i < nr ? ctx->args[2 + i] : 0;
	/* The tool looks now and then by itself: wake it only when that may be too late. */
	if (bpf_ringbuf_query(&records, BPF_RB_AVAIL_DATA) > TRACE_BUFFER / 4)
		flags = BPF_RB_FORCE_WAKEUP;
	bpf_ringbuf_submit(record, flags);
	return 0;
}

#define EVENT(name, event, nr)					\
	SEC("raw_tp/mote_" #name)				\
	int on_##name(struct bpf_raw_tracepoint_args *ctx)	\
	{							\
		return record(ctx, event, nr);			\
	}

EVENT(exit_handled, TRACE_EXIT_HANDLED, 6)
EVENT(halt, TRACE_HALT, 2)
EVENT(wake, TRACE_WAKE, 2)
EVENT(vcpu_state, TRACE_VCPU_STATE, 2)
EVENT(exit, TRACE_EXIT, 6)
EVENT(pio, TRACE_PIO, 4)
EVENT(mmio, TRACE_MMIO, 3)
EVENT(msr, TRACE_MSR, 4)
EVENT(cpuid, TRACE_CPUID, 6)
EVENT(hypercall, TRACE_HYPERCALL, 5)
EVENT(nested_fault, TRACE_NESTED_FAULT, 5)
EVENT(inject, TRACE_INJECT, 3)

char _license[] SEC("license") = "GPL";
