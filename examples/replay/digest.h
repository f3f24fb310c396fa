/* SPDX-License-Identifier: GPL-2.0 */
/* A number for all that a guest can tell of itself: registers and memory. */
#ifndef DIGEST_H
#define DIGEST_H

#include <machine.h>

/* RFLAGS.RF: of the debugger's breakpoints, and no guest's business. */
#define RFLAGS_RF (1ull << 16)

/**
 * struct digest - of a machine with one slot, which is logged
 * @cpu: its vCPU
 * @nr: pages
 * @pages: of each page; 0: it is all zeros
 * @memory: of all pages
 * @written: those that this process has written
 * @logged: those that the guest has
 */
struct digest {
	struct mote_cpu *cpu;
	__u64 nr;
	__u64 *pages;
	__u64 memory;
	struct mote_written written;
	__u64 *logged;
};

/* Before anything is written to the memory, which is zeros. */
void digest_begin(struct digest *digest, struct mote_cpu *cpu);
/* Of the general registers in the run page. */
__u64 digest_gprs(const struct mote_run *run);
/* Of all registers but the TSC, and of all memory: what was written since the last time is read. */
__u64 digest_all(struct digest *digest);
/* One more word. */
static inline __u64 digest_mix(__u64 digest, __u64 word)
{
	digest = (digest ^ word) * 0x9fb21c651e98df25ull;
	return digest ^ digest >> 32;
}

#endif /* DIGEST_H */
