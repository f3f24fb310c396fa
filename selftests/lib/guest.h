/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Small guests for the tests: a VM with a little memory, one vCPU and a mode
 * of the processor; the code stands beside the test that runs it, as GUEST().
 *
 * In every mode linear addresses below 4 GiB are guest-physical ones (in real
 * and virtual-8086 mode those below 1 MiB), and each vector has a handler that
 * says so on port GUEST_FAULT and returns: an exception is an exit like any
 * other, and its frame can be read and changed (guest_frame()).
 */
#ifndef GUEST_H
#define GUEST_H

#include <stdbool.h>

#include "machine.h"

/*
 * GUEST(name, bits, "code") - the code of a guest, as guest_name
 *
 * Assembled for 16, 32 or 64 bits, loaded at GUEST_CODE. Constants of the
 * form GUEST_… below may be used as such in the code.
 */
#define GUEST(name, bits, code)						\
	extern const struct guest_code guest_##name;			\
	asm(".pushsection .data.rel.ro.guests,\"aw\"\n"			\
	    ".code" #bits "\n"						\
	    "9001:\n" code "\n"						\
	    "9002:\n"							\
	    ".balign 8\n"						\
	    ".global guest_" #name "\n"					\
	    "guest_" #name ": .quad 9001b, 9002b - 9001b\n"		\
	    ".code64\n"							\
	    ".popsection")

struct guest_code {
	const void *code;
	unsigned long size;
};

/* Where things are in the guest. */
#define GUEST_HANDLERS 0x800	/* 4 bytes a vector */
#define GUEST_GDT 0x1000
#define GUEST_IDT 0x2000
#define GUEST_TSS 0x3000	/* with a bitmap that allows all ports */
#define GUEST_STACK 0x7000	/* top; and that of ring 0, for guests in ring 3: */
#define GUEST_STACK0 0x7800
#define GUEST_CODE 0x8000
#define GUEST_DATA 0xc000	/* up to GUEST_TABLES */
#define GUEST_TABLES 0x10000	/* page tables */
#define GUEST_FREE 0x20000	/* from here on the memory is the test's */
#define GUEST_SIZE 0x400000
asm(".set GUEST_DATA, 0xc000; .set GUEST_FREE, 0x20000; .set GUEST_CODE, 0x8000");

#define GUEST_FAULT 0xee	/* the handlers' port */

enum guest_mode {
	GUEST_REAL,
	GUEST_V8086,
	GUEST_PROT16,	/* 16-bit code in protected mode */
	GUEST_PROT32,	/* without paging */
	GUEST_PAGE32,	/* 32-bit paging, 4 MiB pages */
	GUEST_PAE,
	GUEST_LONG,
	GUEST_COMPAT,	/* 32-bit code in long mode */
	GUEST_LONG3,	/* 64-bit code in ring 3 */
	GUEST_NR_MODES
};

extern const char *const guest_mode_names[GUEST_NR_MODES];
/* Bits of the code that a mode runs. */
int guest_mode_bits(enum guest_mode mode);

/**
 * struct guest - a VM, one vCPU and memory at 0
 * @fd: /dev/mote
 * @machine: the VM
 * @cpu: the vCPU
 * @run: its run page
 * @ram: memory at guest-physical 0, GUEST_SIZE bytes
 * @stop: set by a signal handler or a thread: EINTR ends guest_run(), else it goes on
 */
struct guest {
	int fd;
	struct mote_machine machine;
	struct mote_cpu cpu;
	struct mote_run *run;
	unsigned char *ram;
	volatile bool stop;
};

/* Make one; end the test program with a message if that fails. HLT is an exit. */
void guest_create(struct guest *guest);
void guest_destroy(struct guest *guest);

/* Make only the VM and its memory: for filters, and vCPUs of one's own. */
void guest_create_vm(struct guest *guest, __u32 flags);
void guest_create_vm_with(struct guest *guest, const struct mote_vm_config *config);
/* @mul / @div of the frequency of the host's TSC; 0: guests have the host's. */
__u32 guest_tsc_khz(__u32 mul, __u32 div);
void guest_create_cpu(struct guest *guest, __u32 id);

/* Put a vCPU at the start of the code, in a mode, with all registers but RSP zero. */
void guest_start(struct guest *guest, enum guest_mode mode, const struct guest_code *code);
/* Fill the descriptor and page tables and handlers of a mode; guest_start() calls it. */
void guest_prepare(struct guest *guest, enum guest_mode mode);

/* After guest_start(): take the 4 MiB page at @gva out of the page tables, whatever their kind. */
void guest_unmap(struct guest *guest, __u32 gva);

/* Add or remove memory; NULL: from where it likes, zeroed. Returns the address. */
void *guest_add_memory(struct guest *guest, __u32 slot, __u64 gpa, __u64 size, void *hva, __u32 flags);

/*
 * Run until there is something to look at: the reason of the exit, or a
 * negative errno. A port exit is completed by the next run.
 */
int guest_run(struct guest *guest);

/* Set a general register, by &enum mote_gpr, for the next run. */
void guest_set_gpr(struct guest *guest, int reg, __u64 value);
/* The same as guest_run(); or 100 + the vector, if the exit is that of a handler. */
int guest_run_or_vector(struct guest *guest, enum guest_mode mode);

/* SIGALRM ends guest_run() with -EINTR, @usec microseconds from now, also if it is called later. */
void guest_interrupt_in(struct guest *guest, long usec);

/**
 * struct guest_frame - what an exception pushed
 * @vector: its number
 * @error: error code, 0 if there is none
 * @rip: where it happened
 * @rflags: flags then
 * @cs: code segment then
 */
struct guest_frame {
	int vector;
	__u32 error;
	__u64 rip;
	__u64 rflags;
	__u32 cs;
};

/* Is this exit that of a handler? Then fill the frame. */
bool guest_frame(struct guest *guest, enum guest_mode mode, struct guest_frame *frame);
/* From a handler, go on at @rip: the frame is changed and the error code taken off. */
void guest_resume(struct guest *guest, enum guest_mode mode, __u64 rip);

/* State in one call each; they end the test program if the call fails. */
void guest_get(struct guest *guest, struct mote_state *state, __u32 mask);
void guest_set(struct guest *guest, const struct mote_state *state);

/* Current privilege level. */
int guest_cpl(struct guest *guest);

/* Is this QEMU's TCG, which does not look whether base MSRs are canonical? */
bool host_is_tcg(void);

/*
 * Is this the AMD processor that Bochs imitates, a Trinity of model 0x10? It
 * panics when VMRUN enters virtual-8086 mode.
 */
bool host_is_trinity(void);

/* How many VMs the host has; or a negative errno. */
long count_vms(void);

/* A thread that uses the FPU and wants the CPU, until the bool behind @over is true. */
void *use_fpu(void *over);

/* The name of an exit's reason, for messages. */
const char *guest_exit_name(int reason);

/* For long loops: the number divided by what MOTE_SCALE says (1 without it). */
long guest_scale(long count);
/* How many rounds: @count, scaled; or the long run's, divided by what MOTE_LONG says, if they are more. */
long guest_rounds(long count, long in_the_long_run);

#endif /* GUEST_H */
