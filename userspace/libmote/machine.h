/* SPDX-License-Identifier: GPL-2.0 */
/*
 * libmote: a VM with its memory, and a vCPU with its run page.
 *
 * Plain structs around file descriptors; whoever shares one between threads
 * locks it, but for what only reads a machine while no slot changes.
 */
#ifndef LIBMOTE_MACHINE_H
#define LIBMOTE_MACHINE_H

#include <stdbool.h>
#include <stddef.h>

#include <libmote.h>

/**
 * struct mote_area - guest-physical memory behind which there is a slot
 * @gpa: first address
 * @size: in bytes
 * @hva: where it is in this process
 * @slot: its number
 * @flags: of the slot, MOTE_SLOT_*
 */
struct mote_area {
	__u64 gpa;
	__u64 size;
	unsigned char *hva;
	__u32 slot;
	__u32 flags;
};

/**
 * struct mote_doorbell - an eventfd that the guest's writes to an address tell
 * @gpa: guest-physical address, where there is no slot
 * @fd: the eventfd, non-blocking; one is added to it
 * @flags: %MOTE_IOEVENTFD_MATCH: only writes of @value
 * @size: of the access: 1, 2, 4 or 8 bytes; 0: any
 * @value: with %MOTE_IOEVENTFD_MATCH, else 0
 */
struct mote_doorbell {
	__u64 gpa;
	int fd;
	__u32 flags;
	__u32 size;
	__u64 value;
};

/**
 * struct mote_written - which pages this process has written, beside the guest (MOTE_GET_DIRTY)
 * @hva: of the first page, a multiple of 4096
 * @nr: how many pages, from there on
 * @bits: of them, a bit each, in words of 64 bits; set by any thread
 * @next: another one
 */
struct mote_written {
	unsigned char *hva;
	__u64 nr;
	__u64 *bits;
	struct mote_written *next;
};

struct mote_kept;

/**
 * struct mote_machine - a VM
 * @fd: of the VM
 * @nr_areas: how many slots there are
 * @areas: of the slots, ascending by gpa
 * @nr_doorbells: how many there are
 * @doorbells: in any order
 * @written: where is noted what mote_machine_write(), mote_walk() and the completion of exits
 *	write to memory, and whoever else says so; NULL: nowhere
 * @kept: what mote_machine_reset() goes back to (reset.h), or NULL
 */
struct mote_machine {
	int fd;
	size_t nr_areas;
	struct mote_area *areas;
	size_t nr_doorbells;
	struct mote_doorbell *doorbells;
	struct mote_written *written;
	struct mote_kept *kept;
};

/* Create a VM; @flags are MOTE_VM_*.  0 or a negative errno. */
int mote_machine_create(struct mote_machine *machine, int fd, __u32 flags);
/* Likewise with all that can be chosen. */
int mote_machine_create_with(struct mote_machine *machine, int fd,
			     const struct mote_vm_config *config);
void mote_machine_destroy(struct mote_machine *machine);

/**
 * mote_machine_set_slot() - MOTE_SET_SLOT, and know of it here
 * @machine: the VM
 * @slot: as for the call
 * Return: 0 or a negative errno; then nothing has changed
 */
int mote_machine_set_slot(struct mote_machine *machine, const struct mote_slot *slot);

/* The area that holds @gpa, or NULL.  O(log of the number of slots). */
const struct mote_area *mote_machine_area(const struct mote_machine *machine, __u64 gpa);

/**
 * mote_machine_hva() - address in this process of a range of guest memory
 * @machine: the VM
 * @gpa: guest-physical address
 * @len: bytes
 * Return: the address, or NULL if not all of the range lies in one slot
 */
void *mote_machine_hva(const struct mote_machine *machine, __u64 gpa, __u64 len);
/* The same for what a device writes to: NULL also in a read-only slot. */
void *mote_machine_hva_writable(const struct mote_machine *machine, __u64 gpa, __u64 len);

/*
 * Copy from or to guest memory; the range may span slots.  0, or -EFAULT if
 * not all of it is memory (nothing is copied then).  Read-only slots can be
 * written: they are so for the guest.
 */
int mote_machine_read(const struct mote_machine *machine, __u64 gpa, void *data, size_t len);
int mote_machine_write(const struct mote_machine *machine, __u64 gpa, const void *data, size_t len);

/*
 * MMIO writes that mote_complete_mmio() is not to hand to the bus but to an eventfd:
 * what MOTE_IOEVENTFD is for ports.  Add: 0, -EINVAL, -EEXIST (another could take the
 * same write), -ENOMEM; remove: 0 or -ENOENT.
 */
int mote_machine_add_doorbell(struct mote_machine *machine, const struct mote_doorbell *bell);
int mote_machine_remove_doorbell(struct mote_machine *machine, const struct mote_doorbell *bell);
/* The guest has written: was it a doorbell? */
bool mote_machine_ring(const struct mote_machine *machine, __u64 gpa, unsigned int size,
		       __u64 data);

/* Note there, too, what this process writes, or no more; nothing is being written meanwhile. */
void mote_machine_watch(struct mote_machine *machine, struct mote_written *written);
void mote_machine_unwatch(struct mote_machine *machine, struct mote_written *written);

/* Bytes at @hva have been written by this process. */
void mote_machine_note(const struct mote_machine *machine, const void *hva, __u64 len);
static inline void mote_machine_wrote(const struct mote_machine *machine, const void *hva, __u64 len)
{
	if (__builtin_expect(!!machine->written, 0))
		mote_machine_note(machine, hva, len);
}

struct mote_insn;
struct mote_native;

/**
 * struct mote_cpu - a vCPU
 * @fd: of the vCPU
 * @id: its number
 * @run: its run page
 * @machine: whose it is
 * @insns: instructions that have been decoded, see complete.h
 * @native: where some of them are executed; NULL: they cannot be
 */
struct mote_cpu {
	int fd;
	__u32 id;
	struct mote_run *run;
	struct mote_machine *machine;
	struct mote_insn *insns;
	struct mote_native *native;
};

/* Create a vCPU and map its run page.  0 or a negative errno. */
int mote_cpu_create(struct mote_cpu *cpu, struct mote_machine *machine, __u32 id);
void mote_cpu_destroy(struct mote_cpu *cpu);

/* ---- paging --------------------------------------------------------------- */

/**
 * struct mote_paging - what decides how linear addresses are translated
 * @cr0: control register
 * @cr3: control register
 * @cr4: control register
 * @efer: MSR
 * @rflags: for AC (SMAP)
 * @gpa_bits: width of guest-physical addresses; 0: 52
 */
struct mote_paging {
	__u64 cr0;
	__u64 cr3;
	__u64 cr4;
	__u64 efer;
	__u64 rflags;
	__u32 gpa_bits;
};

/* Beside MOTE_ACCESS_*, for mote_walk(): the access is made with CPL 3. */
#define MOTE_ACCESS_USER (1u << 8)
/* The walk is for looking only: no rights and reserved bits are checked, no bits set. */
#define MOTE_ACCESS_PEEK (1u << 9)

/**
 * mote_walk() - translate a linear address as the guest's CPU would
 * @machine: the memory that holds the page tables
 * @paging: mode and root
 * @gva: linear address
 * @access: MOTE_ACCESS_*; without %MOTE_ACCESS_PEEK rights are checked and
 *	accessed and dirty bits set.  Protection keys are not looked at.
 * @gpa: out
 * @error: out, with -EFAULT: error code of the page fault; may be NULL
 * Return: 0, or -EFAULT: the guest gets a page fault
 */
int mote_walk(const struct mote_machine *machine, const struct mote_paging *paging, __u64 gva,
	      unsigned int access, __u64 *gpa, __u32 *error);

#endif /* LIBMOTE_MACHINE_H */
