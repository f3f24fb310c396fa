/* SPDX-License-Identifier: GPL-2.0 */
#ifndef MOTE_TRACED_H
#define MOTE_TRACED_H

#include <linux/types.h>

/* What tracing remembers, beside &mote_vcpu.exit, of the last exit until the next entry. */
struct mote_traced {
	u64 tsc;	/* of the host then */
	u64 rip;	/* of the guest then, as are @rax and @rcx */
	u64 rax;	/* a CPUID leaf */
	u64 rcx;	/* a subleaf, or the index of an MSR */
	u32 reason;	/* &enum mote_exit_reason; exit_npf() knows better */
	u32 raw;	/* the vendor's own number */
	u32 generation;	/* &mote_trace_generation then; another one: all this is stale */
	u8 where;	/* bits: unloaded (1), in user space (2) since then; kept untraced, too */
};

#endif /* MOTE_TRACED_H */
