/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A guest seen from outside: its memory, and the Linux kernel in it, which says by VMCOREINFO where it is and
 * has with it what its functions are called (kallsyms), how their stacks are unwound (ORC), and what its
 * structs are like (BTF), by which its modules are found.  All of it is the guest's own word: nothing is
 * relied on, and nothing of it is written.
 */
#ifndef GUEST_H
#define GUEST_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "event.h"
#include "runner.h"
#include "unwind.h"
#include "vmcoreinfo.h"

struct symbols;

#define MODULES_MOST 256

/* Members of Linux's structs by which its modules are found. */
enum {
	MODULE_STATE, MODULE_LIST, MODULE_ARCH, MODULE_KALLSYMS, ARCH_NR, ARCH_IPS, ARCH_ORC,
	KALLSYMS_NR, KALLSYMS_SYMTAB, KALLSYMS_STRTAB, NR_MEMBERS
};

/**
 * struct guest - a machine that is sampled
 * @pid: of its process
 * @name: of it; empty: it has no control socket, and nothing else is known
 * @slot: where its memory is
 * @info: its kernel's VMCOREINFO, as a string; empty: not found yet
 * @symbols: of the kernel and of its modules
 * @tables: the kernel's, and those of its modules
 * @nr_tables: how many
 * @module: where the structs of these modules are; that of @tables[1] is the first
 * @member: where these are in their structs; -1: the kernel does not say, and no modules are found
 */
struct guest {
	pid_t pid;
	char name[64];
	struct trace_slot slot[TRACE_SLOTS_MOST];
	char info[VMCOREINFO_MOST + 1];
	struct symbols *symbols;
	struct orc_table tables[1 + MODULES_MOST];
	size_t nr_tables;
	uint64_t module[MODULES_MOST];
	int member[NR_MEMBERS];
};

/* The process of the machine of this name, or 0 after a complaint. */
pid_t machine_pid(const char *name);

/* The control sockets are asked; it has a name if there is one of it.  NULL: no memory. */
struct guest *guest_find(pid_t pid);
void guest_free(struct guest *guest);

/* Copy from it by guest-physical and by its kernel's virtual addresses; 0 if all of it is there. */
long guest_read(const void *guest, __u64 gpa, void *to, __u32 size);
int guest_read_virtual(const struct guest *guest, uint64_t gva, void *to, size_t size);
/* Likewise, as memory of its own with a zero behind; NULL: it is not there, or more than 64 MiB. */
void *guest_copy(const struct guest *guest, uint64_t gva, size_t size);

/* Look for VMCOREINFO: 0, -ENOENT: there is none yet, or why the memory cannot be read. */
int guest_find_info(struct guest *guest);

/* With that, the names and tables of the kernel, of @file's names if there is one; 0 or an exit status. */
int guest_load_kernel(struct guest *guest, const char *file);
/* Those of modules that are not known yet; false: there were none. */
bool guest_load_modules(struct guest *guest);

#endif /* GUEST_H */
