// SPDX-License-Identifier: GPL-2.0
/* Of another version. */
#include <linux/mote_policy.h>
#undef MOTE_POLICY_VERSION
#define MOTE_POLICY_VERSION 4711
#include <policy.bpf.h>

MOTE_POLICY(version)
{
	exit->action = MOTE_FILTER_DENY;
	return 0;
}

char _license[] SEC("license") = "GPL";
