// SPDX-License-Identifier: GPL-2.0
/* That writes behind what it is given. */
#include <policy.bpf.h>

MOTE_POLICY(beyond)
{
	((volatile __u64 *)(exit + 1))[0] = 0;
	return 0;
}

char _license[] SEC("license") = "GPL";
