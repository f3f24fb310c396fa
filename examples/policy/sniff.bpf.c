// SPDX-License-Identifier: GPL-2.0
/* What a guest writes to COM1 is printed, and goes on to there in capitals. */
#include <policy.bpf.h>

#define COM1 0x3f8

MOTE_POLICY_OUTPUT(1 << 16);

MOTE_POLICY(sniff)
{
	__u8 byte = exit->gpr[MOTE_RAX];

	if (exit->kind != MOTE_FILTER_PORT || exit->number != COM1 || exit->flags ||
	    exit->access != MOTE_ACCESS_WRITE)
		return 0;
	bpf_ringbuf_output(&output, &byte, 1, 0);
	if (byte >= 'a' && byte <= 'z')
		exit->gpr[MOTE_RAX] -= 'a' - 'A';
	return 0;
}

char _license[] SEC("license") = "GPL";
