/* SPDX-License-Identifier: GPL-2.0 */
/* A Linux guest by libmote, without devices: a vCPU with its local APIC, and a port to talk to init.c. */
#ifndef GUEST_H
#define GUEST_H

#include <complete.h>
#include <reset.h>

#include "../lib/linux.h"

/* Where the guest asks and answers: see init.c. */
#define PORT_FUZZ 0x5ea

/* Text that init has said, as much as is kept. */
#define SAID_MOST 65536

/**
 * struct guest - the machine, and what it says
 * @fd: /dev/mote
 * @machine: the VM
 * @cpu: its vCPU
 * @verbose: what it says at its serial port goes to stderr
 * @said: what init has said by OUTSB
 * @nr_said: how many bytes
 * @input: what INSB gets
 * @nr_input: how many bytes are left of it
 */
struct guest {
	int fd;
	struct mote_machine machine;
	struct mote_cpu cpu;
	bool verbose;
	char said[SAID_MOST];
	size_t nr_said;
	const unsigned char *input;
	size_t nr_input;
};

/* What ended guest_run(). */
enum guest_stop {
	GUEST_ASKS,	/* for its input: by IN of 32 bits, which is not complete */
	GUEST_ANSWERS,	/* by OUT of 32 bits: the input has been looked at */
	GUEST_HALTS,	/* HLT at run->rip: a breakpoint (cover.h), or for good */
	GUEST_CRASHES,	/* a triple fault, or what else no guest goes on from */
	GUEST_STOPPED,	/* run->immediate_exit was set, by a signal */
};

/* Make the machine, with a bzImage and an initrd in it; ends the program with a line if that fails. */
void guest_boot(struct guest *guest, const char *kernel, const char *initrd, const char *append);
enum guest_stop guest_run(struct guest *guest);
/* After %GUEST_ASKS: answer with the number of bytes, and give them to INSB. */
void guest_give(struct guest *guest, const unsigned char *input, size_t size);
/* Where a linear address is in this process; NULL: nowhere. */
unsigned char *guest_at(struct guest *guest, __u64 gva);

#endif /* GUEST_H */
