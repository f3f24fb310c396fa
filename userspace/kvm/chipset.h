/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The interrupt controllers of a VM, where they are not the client's: 8259s, I/O APIC, 8254, by the
 * sources of the runner's devices.  A VM without them is answered for, too.
 */
#ifndef CHIPSET_H
#define CHIPSET_H

#include "shim.h"

enum chipset_space { CHIPSET_PORT, CHIPSET_MMIO };

/* false: nobody is there, the access is the client's. */
bool chipset_read(struct shim_vm *vm, enum chipset_space space, __u64 address, unsigned int size,
		  __u64 *data);
bool chipset_write(struct shim_vm *vm, enum chipset_space space, __u64 address, unsigned int size,
		   __u64 data);

/* A level-triggered interrupt has ended; false: the I/O APIC is the client's. */
bool chipset_end_of_interrupt(struct shim_vm *vm, __u8 vector);

/* Have the 8259s an interrupt for this vCPU?  And its vector, which is in service now; -1: none. */
bool chipset_has_interrupt(struct shim_vm *vm, const struct shim_vcpu *vcpu);
int chipset_acknowledge(struct shim_vm *vm, const struct shim_vcpu *vcpu);

/* A vCPU comes, and goes. */
void chipset_join(struct shim_vm *vm, struct shim_vcpu *vcpu, __u32 id);
void chipset_forget(struct shim_vm *vm, const struct shim_vcpu *vcpu);

/* What routes and irqfds are changed with. */
void chipset_lock(struct shim_vm *vm);
void chipset_unlock(struct shim_vm *vm);
/* An irqfd drives lines, or does not any more. */
void chipset_watch(struct shim_vm *vm, const struct eventfd *eventfd, bool watch);

/* There are no vCPUs any more. */
void chipset_destroy(struct shim_vm *vm);

#endif /* CHIPSET_H */
