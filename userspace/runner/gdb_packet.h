/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Packets of gdb's remote protocol ("GDB Remote Serial Protocol" in gdb's manual): what a connection
 * brings in pieces, and what is said in return.  Nothing of a machine is known here.
 */
#ifndef GDB_PACKET_H
#define GDB_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <linux/types.h>

/* Without its frame; as "PacketSize" says. */
#define GDB_PACKET_MOST 4096

enum gdb_event {
	GDB_MORE,	/* nothing whole yet */
	GDB_PACKET,	/* @in->data */
	GDB_BROKEN,	/* one whose sum is wrong, or that is too long */
	GDB_INTERRUPT,	/* Ctrl-C */
	GDB_AGAIN,	/* what was said last has not arrived */
};

/**
 * struct gdb_in - what comes
 * @state: where in a packet it is
 * @sum: of the packet so far
 * @expected: what it has to be
 * @size: bytes of @data
 * @is_too_long: there were more
 * @data: the packet, with a NUL behind it
 */
struct gdb_in {
	unsigned int state;
	__u8 sum;
	__u8 expected;
	size_t size;
	bool is_too_long;
	char data[GDB_PACKET_MOST + 1];
};

/* Another byte. */
enum gdb_event gdb_take(struct gdb_in *in, unsigned char byte);

/**
 * struct gdb_out - a packet that is being made
 * @size: bytes of @data
 * @data: it, without its frame
 *
 * What there is no room for is cut; nothing that is said comes near.
 */
struct gdb_out {
	size_t size;
	char data[GDB_PACKET_MOST + 1];
};

void gdb_text(struct gdb_out *out, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Each byte as two digits. */
void gdb_bytes(struct gdb_out *out, const void *data, size_t size);
/* As they are, but for those that mean something to the protocol. */
void gdb_binary(struct gdb_out *out, const char *data, size_t size);
/* The packet in its frame: into @frame, which has GDB_FRAME_MOST bytes; returns how many there are. */
#define GDB_FRAME_MOST (GDB_PACKET_MOST + 4)
size_t gdb_frame(const struct gdb_out *out, char *frame);

/* Of a packet's text, at *@text, which moves behind it; each false: that is not there. */
bool gdb_is(const char **text, const char *word);
bool gdb_number(const char **text, __u64 *value);
/* "-1", or a number. */
bool gdb_thread(const char **text, long *thread);
/* @size bytes, of two digits each. */
bool gdb_hex(const char **text, void *data, size_t size);
/* @size bytes of @from, a packet's end, that has @left, as gdb_binary() makes them. */
bool gdb_unescape(const char *from, size_t left, void *data, size_t size);

#endif /* GDB_PACKET_H */
