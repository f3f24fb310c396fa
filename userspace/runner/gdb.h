/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A debugger at a machine: gdb's remote protocol, by a connection that a client of the control socket
 * hands over (`mote gdb`).  A thread of gdb's is a vCPU, addresses are linear ones, and when one stops
 * all do, as in a pause.
 *
 * The I/O thread serves the connection (gdb.c, gdb_command.c).  What ends a vCPU's run is judged by
 * that vCPU's thread, which stops the machine if it is the debugger's (gdb_stop.c).  All that both know
 * changes while all vCPUs are parked, but for their stops, which are under &vm.life.
 */
#ifndef GDB_H
#define GDB_H

#include <debug.h>

#include "device.h"
#include "gdb_packet.h"
#include "gdb_target.h"
#include "vm.h"

#define GDB_BREAKPOINTS_MOST 256
#define GDB_WATCHES_MOST 4

enum gdb_phase {
	GDB_ATTACHES,	/* the VM pauses for it */
	GDB_STOPPED,	/* it waits for what gdb says */
	GDB_RUNS,
	GDB_ENDED,
};

/**
 * struct gdb_breakpoint - an instruction in the guest's memory that stops it
 * @gva: where gdb wants it
 * @gpa: where it is
 * @byte: what the guest has there
 */
struct gdb_breakpoint {
	__u64 gva;
	__u64 gpa;
	__u8 byte;
};

/**
 * struct gdb_watch - a debug register
 * @type: of gdb's: '1' an instruction, '2' writes, '3' reads, '4' any access; 0: it is free
 * @size: bytes
 * @gva: from here on
 */
struct gdb_watch {
	char type;
	__u8 size;
	__u64 gva;
};

enum gdb_reason { GDB_NO_REASON, GDB_ASKED, GDB_STEPPED, GDB_BREAK, GDB_WATCH };

/**
 * struct gdb_cpu - a vCPU that is debugged
 * @debugged: libmote's part of it
 * @reason: why it has stopped; of %GDB_BREAK and %GDB_WATCH
 * @watch: which of the debug registers, or -1: an instruction in memory
 */
struct gdb_cpu {
	struct mote_debugged debugged;
	enum gdb_reason reason;
	int watch;
};

/**
 * struct gdb - a debugger, or after another the next
 * @job: something has come to pass: the I/O thread is to look
 * @cpus: one for each vCPU
 * @source: the connection; from here on all is of one debugger
 * @vm: the machine
 * @phase: of it
 * @is_cancelled: whoever has made the connection wants it to end, or is gone
 * @err: it could not begin: a negative errno
 * @is_told: of its end
 * @done: is told
 * @data: argument of that
 * @stopped: which one has stopped last, or was asked about
 * @selected: whose registers and memory are meant
 * @listed: so many threads have been told of
 * @nr_breakpoints: how many there are of @breakpoints
 * @breakpoints: in any order
 * @watches: each a debug register
 * @no_acks: packets are not acknowledged
 * @knows_reasons: gdb wants to hear which kind of breakpoint it was
 * @registers: of the one that was looked at last
 * @in: what comes
 * @out: the answer
 * @frame: the last one in its frame, which may have to be said again
 * @frame_size: bytes of that
 * @send: what the connection has not taken yet
 * @send_size: bytes of that
 */
struct gdb {
	struct job job;
	struct gdb_cpu *cpus;
	struct source source;
	struct vm *vm;
	enum gdb_phase phase;
	bool is_cancelled;
	int err;
	bool is_told;
	void (*done)(struct vm *vm, void *data, int err);
	void *data;
	unsigned int stopped;
	unsigned int selected;
	unsigned int listed;
	unsigned int nr_breakpoints;
	struct gdb_breakpoint breakpoints[GDB_BREAKPOINTS_MOST];
	struct gdb_watch watches[GDB_WATCHES_MOST];
	bool no_acks;
	bool knows_reasons;
	struct gdb_registers registers;
	struct gdb_in in;
	struct gdb_out out;
	char frame[GDB_FRAME_MOST];
	size_t frame_size;
	char send[2 * GDB_FRAME_MOST];
	size_t send_size;
};

/* ---- for others (gdb.c) --------------------------------------------------------------- */

/*
 * A debugger comes by @fd, which it owns; the supervisor's.  @done is told when it is over, and if it could
 * not begin, why.  False: there is no memory.
 */
bool gdb_begin(struct vm *vm, int fd, void (*done)(struct vm *vm, void *data, int err), void *data);
/* It is to go; likewise. */
void gdb_cancel(struct vm *vm);
/* Is there one? */
bool gdb_is_attached(const struct vm *vm);
/* The machine has ended, and its threads. */
void gdb_end(struct vm *vm);
void gdb_destroy(struct vm *vm);

/* ---- stops (gdb_stop.c) ----------------------------------------------------------------- */

/* A vCPU's thread: %MOTE_EXIT_EXCEPTION or %MOTE_EXIT_DR; 0 or a negative errno. */
int gdb_exit(struct vcpu *vcpu);
/* What ends a run while nobody steps, as in &mote_debug.exceptions. */
__u32 gdb_exceptions(void);
/* Put one there: 0; -EFAULT there is no memory; -ENOSPC; and take it away: 0 or -ENOENT. */
int gdb_insert(struct gdb *gdb, __u64 gva);
int gdb_remove(struct gdb *gdb, __u64 gva);
void gdb_remove_all(struct gdb *gdb);
/* The same of debug registers; -EINVAL: not so many bytes. */
int gdb_insert_watch(struct gdb *gdb, char type, __u64 gva, __u64 size);
int gdb_remove_watch(struct gdb *gdb, char type, __u64 gva, __u64 size);
/* Memory as the guest has it, without our breakpoints; false: not all of it is there. */
bool gdb_memory(struct gdb *gdb, __u64 gva, void *data, size_t size, bool write);

/* ---- what gdb says (gdb_command.c) ------------------------------------------------------- */

/* @gdb->in has a packet; the answer is in @gdb->out. False: there is none. */
bool gdb_command(struct gdb *gdb);
/* Why it has stopped. */
void gdb_tell_stop(struct gdb *gdb);

/* What that may come to (gdb.c): go on, but for those vCPUs that are held. */
void gdb_go(struct gdb *gdb);
/* The last that is said is @gdb->out. */
void gdb_leave(struct gdb *gdb);

#endif /* GDB_H */
