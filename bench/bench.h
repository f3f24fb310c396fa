/* SPDX-License-Identifier: GPL-2.0 */
/*
 * bench: what exits cost, under mote and under KVM.
 *
 * A hypervisor is one const struct; a row (rows.c) knows only that.  Nothing here
 * recovers from an error: a benchmark that could not measure ends with a message.
 */
#ifndef BENCH_H
#define BENCH_H

#include <stdbool.h>
#include <stdint.h>

#include "payload.h"

/* Guest-physical addresses; linear ones below 4 GiB are the same. */
#define GPA_GDT 0x1000
#define GPA_IDT 0x2000
#define GPA_PML4 0x3000
#define GPA_PDPT 0x4000
#define GPA_PD 0x5000		/* four of them */
#define GPA_STACK 0xf000	/* top */
#define GPA_PAYLOAD 0x10000
#define GPA_RESULTS 0x20000
#define RAM_SIZE 0x200000
#define GPA_TOUCHED 0x4000000	/* memory to be touched for the first time */
#define TOUCHED_SIZE 0x4000000
#define GPA_MMIO 0xd0000000	/* nothing is there */

#define PAGE_SIZE 4096
#define BATCHES 64
#define CODE64 0x08
#define DATA 0x10

#define CR0 0x80000031ul	/* PG, NE, ET, PE */
#define CR4 0x620ul		/* OSXMMEXCPT, OSFXSR, PAE */
#define CR4_OSXSAVE 0x40000ul
#define EFER 0x500ul		/* LMA, LME */

struct vm;

/**
 * struct guest_args - how a row begins, see payload.S
 * @rip: its entry
 * @batches: how many
 * @operations: in each
 * @rbx: an address
 * @rax: a number
 */
struct guest_args {
	uint64_t rip;
	uint64_t batches;
	uint64_t operations;
	uint64_t rbx;
	uint64_t rax;
};

/**
 * struct hypervisor - how one is used
 * @name: "mote" or "kvm"
 * @hypercall: number of a hypercall that does nothing
 * @create: a VM with memory at 0 (vm->ram) and one vCPU, in long mode, with a local APIC
 * @destroy: all of it
 * @start: set the vCPU's registers
 * @run: run it to the OUT at PORT_DONE, and be a device that does nothing
 * @memory: map @hva at @gpa as slot 1, or with @size 0 remove it; @log: note what is written
 * @dirty: read slot 1's log of @size bytes, and clear it
 * @eventfd: let an OUT at PORT_EVENTFD tell @fd
 * @interrupt: send VECTOR to the vCPU, as a device does; from any thread
 */
struct hypervisor {
	const char *name;
	uint64_t hypercall;
	void (*create)(struct vm *vm);
	void (*destroy)(struct vm *vm);
	void (*start)(struct vm *vm, const struct guest_args *args);
	void (*run)(struct vm *vm);
	void (*memory)(struct vm *vm, uint64_t gpa, uint64_t size, void *hva, bool log);
	void (*dirty)(struct vm *vm, uint64_t size);
	void (*eventfd)(struct vm *vm, int fd);
	void (*interrupt)(struct vm *vm);
};

extern const struct hypervisor hypervisor_mote;
extern const struct hypervisor hypervisor_kvm;

/**
 * struct vm - a virtual machine of either
 * @hypervisor: whose
 * @ram: its memory, RAM_SIZE bytes
 * @own: the hypervisor's
 */
struct vm {
	const struct hypervisor *hypervisor;
	unsigned char *ram;
	void *own;
};

/* ---- guest.c ------------------------------------------------------------------- */

extern const unsigned char payload[], payload_end[], payload_begin[], payload_handler[];

/* Guest-physical address of a label in payload.S. */
#define PAYLOAD(label) (GPA_PAYLOAD + (uint64_t)((label) - payload))

/* A VM that has run its first instructions: the local APIC is on. */
void vm_create(struct vm *vm, const struct hypervisor *hypervisor);
void vm_destroy(struct vm *vm);
/* Only the memory: payload, descriptor and page tables. */
void vm_fill(struct vm *vm);
/* Run a row; the least of the batches, in ticks of the TSC. */
uint64_t vm_measure(struct vm *vm, const struct guest_args *args);

/* Memory of this process, in pages of 4 KiB. */
void *allocate(uint64_t size);

uint64_t ticks(void);
/* End with a message that says what failed, and errno. */
void fail(const char *what) __attribute__((noreturn));

/* ---- rows.c, life.c, series.c: a name and a number at a time --------------------- */

/* Called with each result; @value is in instructions if nothing else is said. */
typedef void (*result_fn)(const char *row, double value);

/* Has the caller asked for it, or for all? */
bool is_wanted(const char *row);

void measure_rows(const struct hypervisor *hypervisor, result_fn result);
void measure_life(const struct hypervisor *hypervisor, result_fn result);
void measure_runner(result_fn result);
void measure_growth(result_fn result);

/* Ticks of one operation of a row, without those of the loop. */
double vm_price(struct vm *vm, const unsigned char *entry, uint64_t operations);

/* mote.c: libmote's part of a VM of mote. */
struct mote_machine *mote_machine_of(struct vm *vm);
struct mote_cpu *mote_cpu_of(struct vm *vm);

#endif /* BENCH_H */
