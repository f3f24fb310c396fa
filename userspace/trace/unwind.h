/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Call chains of a guest in 64-bit code, from its registers and copies of its stacks: by ORC where the
 * guest's kernel has tables of that (Linux, Documentation/arch/x86/orc-unwinder.rst), else by frame pointers.
 * Nothing but these copies and tables is read, whatever is in them.
 */
#ifndef UNWIND_H
#define UNWIND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct trace_sample;

/* An entry of Linux's, 6 bytes; the layout of @flags has changed, see &struct orc_table. */
struct orc_entry {
	int16_t sp_offset;
	int16_t bp_offset;
	uint16_t flags;
};

/**
 * struct orc_table - of the kernel's image, or of a module
 * @gva: where the guest has @ips
 * @ips: ascending; each is the distance from its own place to the address from which its entry holds
 * @entries: of those
 * @nr: how many
 * @has_signal: the format of Linux 6.4 and later
 */
struct orc_table {
	uint64_t gva;
	const int32_t *ips;
	const struct orc_entry *entries;
	size_t nr;
	bool has_signal;
};

/* At most so many frames; the rest of a longer chain is not there. */
#define FRAMES_MOST 128

/**
 * struct frame - a function that has not returned
 * @ip: where it is
 * @is_call: that is behind a call, which may be the function's last instruction
 * @is_user: it is not the kernel's
 */
struct frame {
	uint64_t ip;
	bool is_call;
	bool is_user;
};

/**
 * struct chain - of frames, the innermost first
 * @nr: how many
 * @is_whole: it goes to where the processor came from user space, or to a thread's beginning
 * @frames: of them
 */
struct chain {
	size_t nr;
	bool is_whole;
	struct frame frames[FRAMES_MOST];
};

/* The chain of a sample; @tables: those that there are, in any order. */
void unwind(const struct trace_sample *sample, const struct orc_table *tables, size_t nr_tables,
	    struct chain *chain);

/*
 * The entry for an address and the table that it is from, the nearest before it of all tables: they may
 * reach over each other, as a module and what it needs to begin are apart.  NULL: nothing is said of it.
 */
const struct orc_entry *orc_find(const struct orc_table *tables, size_t nr_tables, uint64_t ip,
				 const struct orc_table **table);
/* Is an address between the table's first and last? */
bool orc_reaches(const struct orc_table *table, uint64_t ip);

#endif /* UNWIND_H */
