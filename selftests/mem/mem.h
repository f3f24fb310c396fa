/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A guest that reads, writes and executes guest-physical memory as it is told,
 * and says what became of it; and one that works on its own, for mapping_race.
 */
#ifndef MEM_H
#define MEM_H

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "guest.h"

#define PAGE 4096ul
#define MIB (1ul << 20)
/* Where tests have their memory. */
#define REGION 0x10000000ul

enum job { JOB_WRITE, JOB_READ, JOB_EXEC };

/*
 * Out on port 0x80: ready. Then RCX says what to do, RBX where; the value is
 * in RAX.
 */
GUEST(server, 64,
      "1: out %al, $0x80\n"
      "cmp $1, %ecx\n"
      "ja 3f\n"
      "je 2f\n"
      "mov %rax, (%rbx)\n"
      "jmp 1b\n"
      "2: mov (%rbx), %rax\n"
      "jmp 1b\n"
      "3: call *%rbx\n"
      "jmp 1b\n");

/* Run, also if the host had something else to do. */
static inline int server_run(struct guest *guest)
{
	int reason = guest_run(guest);

	while (reason == -EINTR) {
		reason = mote_run(guest->cpu.fd);
		if (!reason)
			reason = guest->run->reason;
	}
	return reason;
}

static inline bool server_start(struct guest *guest)
{
	guest_create(guest);
	guest_start(guest, GUEST_LONG, &guest_server);
	return server_run(guest) == MOTE_EXIT_PIO;
}

/* Go back to where the guest waits for a job. */
static inline bool server_reset(struct guest *guest)
{
	guest->run->rip = GUEST_CODE;
	guest->run->gpr[MOTE_RSP] = GUEST_STACK;
	guest->run->set |= MOTE_SET_RIP | 1u << MOTE_RSP;
	return server_run(guest) == MOTE_EXIT_PIO;
}

/* Tell the guest what to do, run it: MOTE_EXIT_PIO if it could. */
static inline int server_job(struct guest *guest, enum job job, __u64 gpa, __u64 value)
{
	struct mote_run *run = guest->run;

	run->gpr[MOTE_RCX] = job;
	run->gpr[MOTE_RBX] = gpa;
	run->gpr[MOTE_RAX] = value;
	run->set |= 1u << MOTE_RCX | 1u << MOTE_RBX | 1u << MOTE_RAX;
	return server_run(guest);
}

/*
 * One access. Returns 0 if it was made; else the reason of the exit, whose
 * run page is copied to @exit, and the guest is ready for the next job.
 */
static inline int guest_access(struct guest *guest, enum job job, __u64 gpa, __u64 *value,
			       struct mote_run *exit)
{
	int reason = server_job(guest, job, gpa, *value);

	if (reason == MOTE_EXIT_PIO) {
		*value = guest->run->gpr[MOTE_RAX];
		return 0;
	}
	if (exit)
		*exit = *guest->run;
	if (!server_reset(guest))
		return -EIO;
	return reason;
}

static inline __u64 guest_peek(struct guest *guest, __u64 gpa)
{
	__u64 value = 0;
	int reason = guest_access(guest, JOB_READ, gpa, &value, NULL);

	if (!reason)
		return value;
	printf("# read of %#llx: %s\n", gpa, guest_exit_name(reason));
	return 0xbad0bad0bad0bad0ul;
}

static inline int guest_poke(struct guest *guest, __u64 gpa, __u64 value)
{
	return guest_access(guest, JOB_WRITE, gpa, &value, NULL);
}

/* The reason for which a read or write exits, 0 if it does not. */
static inline int guest_try(struct guest *guest, enum job job, __u64 gpa, struct mote_run *exit)
{
	__u64 value = 0x5a5a5a5a5a5a5a5aul;

	return guest_access(guest, job, gpa, &value, exit);
}

/* Memory of the process, aligned to 2 MiB; or NULL. */
static inline void *memory_get(size_t size)
{
	char *all = mmap(NULL, size + 2 * MIB, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	char *start = (char *)(((unsigned long)all + 2 * MIB - 1) & -(2 * MIB));

	if (all == MAP_FAILED)
		return NULL;
	if (start > all)
		munmap(all, start - all);
	munmap(start + size, all + 2 * MIB - start);
	return start;
}

static inline int slot_set(struct guest *guest, __u32 number, __u32 flags, __u64 gpa, __u64 size,
			   const void *hva)
{
	struct mote_slot slot = {
		.slot = number, .flags = flags, .gpa = gpa, .size = size,
		.hva = (unsigned long)hva,
	};

	return mote_machine_set_slot(&guest->machine, &slot);
}

#endif /* MEM_H */
