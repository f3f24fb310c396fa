/* SPDX-License-Identifier: GPL-2.0 */
/*
 * libmote: completing the exits in which the guest waits for a device: MMIO
 * and port I/O; and task switches, where the CPU leaves them to software.
 * Instructions are decoded by Zydis, and what the guest did is put together from
 * its registers in the run page, its page tables and its memory; the devices are
 * the caller's.
 */
#ifndef LIBMOTE_COMPLETE_H
#define LIBMOTE_COMPLETE_H

#include <machine.h>

/**
 * struct mote_bus - where accesses go that are not to memory
 * @context: first argument of all
 * @mmio_read: 1, 2, 4 or 8 bytes at a guest-physical address
 * @mmio_write: likewise; bits beyond @size are zero
 * @port_in: 1, 2 or 4 bytes from a port
 * @port_out: likewise; bits beyond @size are zero
 *
 * Wider or misaligned accesses come in parts, the lowest address first.
 */
struct mote_bus {
	void *context;
	__u64 (*mmio_read)(void *context, __u64 gpa, unsigned int size);
	void (*mmio_write)(void *context, __u64 gpa, unsigned int size, __u64 data);
	__u32 (*port_in)(void *context, __u16 port, unsigned int size);
	void (*port_out)(void *context, __u16 port, unsigned int size, __u32 data);
};

/**
 * mote_complete_mmio() - complete the instruction of a %MOTE_EXIT_MMIO
 * @cpu: the vCPU, out of MOTE_RUN; nobody else uses it meanwhile
 * @bus: the devices
 *
 * Registers are changed in the run page, so that the next mote_run() goes on
 * behind the instruction.  Where it cannot be completed because of the guest
 * (a page fault at its other operand), the exception is injected.  Arithmetic that
 * is not done here is done by this machine's own CPU, on a copy of the operand
 * (native.c).  Long repetitions are done in parts: the guest then comes back for more.
 *
 * Return: 0: run on; -EOPNOTSUPP: an instruction that is not known here, at
 * run->rip; -EADDRNOTAVAIL: the CPU cannot set the accessed bits of page tables there
 * (%MOTE_ACCESS_WALK); or what MOTE_INJECT, MOTE_GET_STATE and MOTE_SET_STATE said.
 */
int mote_complete_mmio(struct mote_cpu *cpu, const struct mote_bus *bus);

/* After -EOPNOTSUPP: the instruction's mnemonic, cut to @size bytes. */
void mote_complete_name(struct mote_cpu *cpu, char *text, unsigned int size);

/* Likewise for %MOTE_EXIT_PIO, string instructions included. */
int mote_complete_pio(struct mote_cpu *cpu, const struct mote_bus *bus);

/**
 * mote_complete_task_switch() - make the task switch of a %MOTE_EXIT_TASK_SWITCH
 * @cpu: the vCPU, out of MOTE_RUN; nobody else uses it meanwhile
 *
 * All that the CPU would do: SDM 3A, "Task Switching".  Faults are injected, in the
 * old task or in the new one; an event that came through a task gate is delivered
 * by the switch.  Registers are set by MOTE_SET_STATE.
 *
 * Return: 0: run on; -ESHUTDOWN: a triple fault, the guest is as before the switch or
 * in the new task; -EFAULT: a TSS, a table or a stack is where no memory is, or
 * memory that is read-only; or what MOTE_INJECT, MOTE_GET_STATE and MOTE_SET_STATE said.
 */
int mote_complete_task_switch(struct mote_cpu *cpu);

#endif /* LIBMOTE_COMPLETE_H */
