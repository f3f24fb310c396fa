// SPDX-License-Identifier: GPL-2.0
/*
 * A serial port for output, in the kernel: COM1 as a guest sees it that polls (a 16550 without input and
 * without interrupts).  What is written comes out of mote policy run, a line at a time.
 */
#include <policy.bpf.h>

#define COM1 0x3f8
#define LINE 128

/* The registers, by their port (PC16550D data sheet, "Register Addresses"). */
enum { DATA, IER, IIR, LCR, MCR, LSR, MSR, SCR };
#define LCR_DLAB 0x80
#define LSR_EMPTY 0x60 /* the holding and the shift register */
#define MSR_CONNECTED 0xb0
#define MCR_LOOP 0x10

MOTE_POLICY_OUTPUT(1 << 16);

static __u8 registers[8], divisor[2], line[LINE];
static __u32 length;

static __always_inline void put(__u8 byte)
{
	__u32 nr = length & (LINE - 1);

	line[nr++] = byte;
	length = nr;
	if (byte != '\n' && nr < LINE - 1)
		return;
	bpf_ringbuf_output(&output, line, nr, 0);
	length = 0;
}

static __always_inline __u8 get(__u32 which)
{
	if (which <= IER && registers[LCR] & LCR_DLAB)
		return divisor[which & 1];
	switch (which) {
	case DATA:
		return 0;
	case IIR:
		return 0xc1; /* FIFOs, and no interrupt */
	case LSR:
		return LSR_EMPTY;
	case MSR:
		if (!(registers[MCR] & MCR_LOOP))
			return MSR_CONNECTED;
		/* RTS, DTR, OUT1 and OUT2 come back as CTS, DSR, RI and DCD. */
		return (registers[MCR] & 0x0c) << 4 | (registers[MCR] & 2) << 3 | (registers[MCR] & 1) << 5;
	default:
		return registers[which & 7];
	}
}

static __always_inline void set(__u32 which, __u8 byte)
{
	if (which <= IER && registers[LCR] & LCR_DLAB)
		divisor[which & 1] = byte;
	else if (which == DATA)
		put(byte);
	else
		registers[which & 7] = byte;
}

MOTE_POLICY(serial)
{
	__u32 which = exit->number - COM1;

	if (exit->kind != MOTE_FILTER_PORT || which > SCR || exit->size != 1 || exit->flags)
		return 0;
	if (exit->access == MOTE_ACCESS_READ)
		exit->gpr[MOTE_RAX] = (exit->gpr[MOTE_RAX] & ~0xffull) | get(which);
	else
		set(which, exit->gpr[MOTE_RAX]);
	exit->action = MOTE_POLICY_COMPLETE;
	return 0;
}

char _license[] SEC("license") = "GPL";
