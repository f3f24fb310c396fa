/* SPDX-License-Identifier: GPL-2.0 */
/* A bzImage in a machine of libmote's, by Linux's 64-bit boot protocol (Documentation/arch/x86/boot.rst). */
#ifndef LINUX_H
#define LINUX_H

#include <machine.h>

/**
 * linux_boot() - put a kernel into a machine, and its vCPU where it begins
 * @cpu: the vCPU, of a machine with memory from 0 on
 * @memory: how much
 * @kernel: path of a bzImage
 * @initrd: of what it unpacks
 * @append: its command line
 *
 * The program ends with a line if that fails. Nothing is written between 0xf0000 and 1 MiB.
 */
void linux_boot(struct mote_cpu *cpu, __u64 memory, const char *kernel, const char *initrd,
		const char *append);

/* A file, read-only, in memory; or the program ends with a line. */
void *map_file(const char *path, size_t *size);
/* The same for what does not fit. */
void put(struct mote_machine *machine, __u64 gpa, const void *data, size_t size);

/* The program ends with a line if @err is negative. */
void check(int err, const char *what);
/* One line on stderr, and the program ends with status 1. */
__attribute__((noreturn, format(printf, 1, 2))) void die(const char *format, ...);

#endif /* LINUX_H */
