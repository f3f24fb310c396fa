// SPDX-License-Identifier: GPL-2.0
/*
 * Samples: the registers of a guest that has exited, and its stack, as far as it is in memory.  The program
 * runs in the vCPU's thread, where the guest's memory is mapped; the tool makes call chains of it.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <stdbool.h>

#include "event.h"
#include "filter.bpf.h"
#include "guest_walk.h"

#define PAGE 4096u
#define EFER_LMA (1u << 10)
#define CS_L (1u << 13)
#define KERNEL_HALF (1ull << 63)

/* By the process: where its guest's memory is. */
struct memory {
	struct trace_slot slot[TRACE_SLOTS_MOST];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, struct memory);
} memories SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, TRACE_SAMPLES_BUFFER);
} samples SEC(".maps");

/* Where a sample is made; behind it there is room for a page that is cut off again. */
struct scratch {
	struct trace_sample sample;
	__u8 more[PAGE];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct scratch);
} scratch SEC(".maps");

static __always_inline long read_guest(const void *context, __u64 gpa, void *to, __u32 size)
{
	const struct memory *memory = context;

	for (int i = 0; i < TRACE_SLOTS_MOST; i++) {
		const struct trace_slot *slot = &memory->slot[i];

		if (gpa - slot->gpa < slot->size)
			return bpf_probe_read_user(to, size, (const void *)(slot->hva + (gpa - slot->gpa)));
	}
	return -1;
}

/* From @gva on, page by page, behind the @at bytes of the sample's stack; how many bytes. */
static __always_inline __u32 copy_stack(struct trace_sample *sample, struct guest_walk *walk, __u64 gva,
					__u32 at)
{
	__u32 to = at;

	for (int i = 0; i < 3 && to < TRACE_STACK; i++) {
		__u64 from = gva + (to - at), gpa = guest_walk(walk, from);
		__u32 size = PAGE - from % PAGE;

		if (size > TRACE_STACK - to)
			size = TRACE_STACK - to;
		/* The verifier has not seen what the compiler knows. */
		barrier_var(size);
		barrier_var(to);
		if (gpa == GUEST_NOWHERE || to > TRACE_STACK || size > PAGE ||
		    read_guest(walk->context, gpa, sample->stack + to, size))
			break;
		to += size;
	}
	return to - at;
}

/*
 * Where a stack ends because there is no more memory, its last word may say where the one before goes on:
 * Linux's interrupt stacks.
 */
static __always_inline __u64 stack_before(const struct trace_sample *sample, __u64 gva, __u32 size)
{
	__u64 before;

	if (size < 8 || size >= TRACE_STACK)
		return 0;
	before = *(const __u64 *)(sample->stack + size - 8);
	return before & KERNEL_HALF && before % 8 == 0 && before - gva >= size ? before : 0;
}

/* The kernel's: that of user space has no frame pointers, as a rule. */
static __always_inline void take_stack(struct trace_sample *sample, struct bpf_raw_tracepoint_args *ctx)
{
	struct guest_walk walk = {
		.read = read_guest, .context = bpf_map_lookup_elem(&memories, &sample->pid),
		.cr3 = ctx->args[7], .cr4 = ctx->args[8],
	};
	__u64 gva = sample->rsp & ~7ull;

	if (!walk.context)
		return;
	sample->span[0].gva = gva;
	sample->span[0].size = copy_stack(sample, &walk, gva, 0);
	gva = stack_before(sample, gva, sample->span[0].size);
	if (!gva)
		return;
	sample->span[1].gva = gva;
	sample->span[1].size = copy_stack(sample, &walk, gva, sample->span[0].size);
}

static __always_inline void fill(struct trace_sample *sample, struct bpf_raw_tracepoint_args *ctx)
{
	__u32 efer = ctx->args[9], cs_attr = ctx->args[10];

	sample->vm = ctx->args[0];
	sample->vcpu = ctx->args[1];
	sample->event = TRACE_SAMPLE;
	sample->pid = bpf_get_current_pid_tgid() >> 32;
	sample->tsc = ctx->args[2];
	sample->reason = ctx->args[3];
	sample->rip = ctx->args[4];
	sample->rsp = ctx->args[5];
	sample->rbp = ctx->args[6];
	sample->cpl = ctx->args[11];
	sample->is_long = efer & EFER_LMA && cs_attr & CS_L;
	sample->span[0].size = sample->span[1].size = 0;
}

/* mote_frame: vm, vcpu, tsc, reason, rip, rsp, rbp, cr3, cr4, efer, cs_attr, cpl */
SEC("raw_tp/mote_frame")
int frame(struct bpf_raw_tracepoint_args *ctx)
{
	struct trace_sample *sample;
	__u32 zero = 0;
	__u64 size;

	if (is_filtered_out(ctx) || !(filter.reasons >> (ctx->args[3] & 63) & 1))
		return 0;
	sample = bpf_map_lookup_elem(&scratch, &zero);
	if (!sample)
		return 0;
	fill(sample, ctx);
	if (sample->is_long && sample->cpl < 3)
		take_stack(sample, ctx);
	size = sizeof(*sample) - sizeof(sample->stack) + sample->span[0].size + sample->span[1].size;
	if (size > sizeof(*sample) || bpf_ringbuf_output(&samples, sample, size, BPF_RB_NO_WAKEUP))
		__sync_fetch_and_add(&lost, 1);
	return 0;
}

/* mote_exit_handled: vm, vcpu, reason, raw, where, rip, exit_tsc, entry_tsc */
SEC("raw_tp/mote_exit_handled")
int exit_handled(struct bpf_raw_tracepoint_args *ctx)
{
	struct trace_record record = {
		.vm = ctx->args[0], .vcpu = ctx->args[1], .event = TRACE_EXIT_HANDLED,
		.arg = { ctx->args[2], ctx->args[3], ctx->args[4], ctx->args[5], ctx->args[6], ctx->args[7] },
	};

	if (is_filtered_out(ctx))
		return 0;
	if (bpf_ringbuf_output(&samples, &record, sizeof(record), BPF_RB_NO_WAKEUP))
		__sync_fetch_and_add(&lost, 1);
	return 0;
}

char _license[] SEC("license") = "GPL";
