/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A vCPU's registers as gdb has them: its description of the target, by QEMU's names, and the bytes
 * of each register.
 */
#ifndef GDB_TARGET_H
#define GDB_TARGET_H

#include <linux/mote.h>

#include "gdb_packet.h"

/* Room for any host's XSAVE image. */
#define GDB_XSAVE_MOST 16384

/**
 * struct gdb_registers - all of them
 * @is_64bit: gdb has been told of those of x86-64, else of those of i386
 * @state: of the vCPU, with GPRS, SEGS, CRS, MSRS and XSAVE
 * @xsave: its image
 */
struct gdb_registers {
	bool is_64bit;
	struct mote_state state;
	__u8 xsave[GDB_XSAVE_MOST] __attribute__((aligned(64)));
};

/* Is the vCPU in long mode? */
bool gdb_is_long(const struct gdb_registers *registers);
/* 0 or a negative errno. */
int gdb_registers_get(struct gdb_registers *registers, int vcpu);
int gdb_registers_put(struct gdb_registers *registers, int vcpu);

/* Those of a 'g' packet, or one by its number; false: there is none. */
void gdb_registers_write(const struct gdb_registers *registers, struct gdb_out *out);
bool gdb_register_write(const struct gdb_registers *registers, unsigned int nr, struct gdb_out *out);
/* The same the other way round; false: not so many digits, or not a value that it can have. */
bool gdb_registers_read(struct gdb_registers *registers, const char *text);
bool gdb_register_read(struct gdb_registers *registers, unsigned int nr, const char *text);

/* From @offset of the description on, at most @size bytes, as the answer to qXfer:features:read. */
void gdb_target_write(bool is_64bit, __u64 offset, __u64 size, struct gdb_out *out);

#endif /* GDB_TARGET_H */
