/* SPDX-License-Identifier: GPL-2.0 */
/* The chipset's insides: the runner's devices, and what they take for a machine. */
#ifndef DEVICES_H
#define DEVICES_H

#include "chipset.h"
#include "../runner/irq.h"
#include "../runner/runner.h"

#define PORT_PIT 0x40

/**
 * struct chipset - the devices of a VM
 * @machine: what they take for one: a bus, a loop, and a lock
 * @vm: whose they are
 * @first: vCPU 0, once it is there
 * @thread: of the loop
 * @ends: it is to end
 * @has_pit: there is an 8254
 * @has_speaker: port 0x61 is its
 * @hpet: the timer's line belongs to the HPET, which is the client's
 * @levels: of the lines, as the client has set them
 * @irqfds: an epoll of those irqfds that drive lines
 */
struct chipset {
	struct vm machine;
	struct shim_vm *vm;
	struct vcpu vcpu;
	struct shim_vcpu *first;
	pthread_t thread;
	bool ends;
	bool has_pit;
	bool has_speaker;
	bool hpet;
	__u64 levels[MAX_ROUTES / 64];
	struct source irqfds;
};

#endif /* DEVICES_H */
