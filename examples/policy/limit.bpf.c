// SPDX-License-Identifier: GPL-2.0
/*
 * At most so many port accesses a second go to user space, so that a guest cannot keep the VMM busy: of
 * what comes beyond that, OUTs are lost and INs read all ones.
 */
#include <policy.bpf.h>

#define A_SECOND 1000
#define AT_ONCE 200 /* after a while without any */
#define NS (1000000000 / A_SECOND)

__u64 full_at, dropped;

MOTE_POLICY(limit)
{
	__u64 now = bpf_ktime_get_ns();

	if (exit->kind != MOTE_FILTER_PORT)
		return 0;
	/* A bucket that is full of credit at @full_at: each exit takes some of it. */
	if (full_at < now)
		full_at = now;
	if (full_at - now < (__u64)AT_ONCE * NS) {
		full_at += NS;
		return 0;
	}
	__sync_fetch_and_add(&dropped, 1);
	if (exit->access == MOTE_ACCESS_READ && !exit->flags)
		exit->gpr[MOTE_RAX] |= exit->size == 4 ? 0xffffffff : exit->size == 2 ? 0xffff : 0xff;
	exit->action = MOTE_POLICY_COMPLETE;
	return 0;
}

char _license[] SEC("license") = "GPL";
