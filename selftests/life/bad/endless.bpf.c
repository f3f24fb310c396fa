// SPDX-License-Identifier: GPL-2.0
/* That does not end. */
#include <policy.bpf.h>

MOTE_POLICY(endless)
{
	for (;;)
		*(volatile __u32 *)&exit->action = MOTE_FILTER_DENY;
}

char _license[] SEC("license") = "GPL";
