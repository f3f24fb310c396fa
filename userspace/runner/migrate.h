/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A machine on its way to another runner, over one connection; docs/migration.md has the protocol
 * and why there are never two machines that run.  What is sent is what a snapshot has (snapshot.h).
 *
 * The source copies the memory while the guest runs, and then what it has written since, some
 * times; then it pauses, and sends the rest, and its state.  The destination says that it could
 * go on with that.  The source's WIRE_GO is the moment: before it the machine is here, whatever
 * fails, and after it there.  Of a copy (fork.c) it goes on here instead of saying that.
 */
#ifndef MIGRATE_H
#define MIGRATE_H

#include "snapshot.h"

struct json_object;

#define WIRE_VERSION 1
#define WIRE_PAGES_MOST (64u << 10)
#define WIRE_TEXT_MOST 200

/* For so long the guest stands still for a destination that neither takes anything nor says something. */
#ifndef MIGRATION_PATIENCE_MS
#define MIGRATION_PATIENCE_MS 60000
#endif

enum wire_kind {
	/* From the source; @at is %WIRE_VERSION: machine_state(). */
	WIRE_HELLO = 0x65746f6d,
	/* Memory from @at on. */
	WIRE_PAGES = 1,
	/* So many bytes of it are zeros: a number of 64 bits. */
	WIRE_ZEROS,
	/* machine_state(), vm_state() and whether it is paused: there is no more. */
	WIRE_STATE,
	/* It is yours. */
	WIRE_GO,
	/* From the destination: it has all that it needs. */
	WIRE_READY,
	/* Or not, and why: a text. */
	WIRE_REFUSED,
	/* It runs there. */
	WIRE_RUNS,
};

/**
 * struct wire - what stands before each message
 * @kind: &enum wire_kind
 * @size: bytes that follow
 * @at: see the kind; else 0
 * @sum: wire_sum() of these bytes
 */
struct wire {
	__u32 kind;
	__u32 size;
	__u64 at;
	__u64 sum;
};

/* XXH3 of 64 bits of a message's bytes, with its kind + its address as the seed (wire.c). */
__u64 wire_sum(const struct wire *wire, const void *data);

/* ---- the source (migrate.c): the I/O thread's ----------------------------------------------- */

/**
 * struct progress - how far it is; read by any thread
 * @rounds: over the memory that have begun
 * @sent: bytes
 * @pages: of memory that were sent, zeros not counted
 * @left: of memory that were to be sent when the round began
 * @downtime_ns: from the pause to the destination's last word
 */
struct progress {
	unsigned int rounds;
	__u64 sent;
	__u64 pages;
	__u64 left;
	__u64 downtime_ns;
};

/**
 * migration_begin() - let a machine go, or a copy of it, of which none is under way
 * @vm: it
 * @fd: a connection to a runner that receives; the migration's own from here on
 * @copies: it goes on here when all of it is there
 * @downtime_ns: for how long the guest may stand still, as far as that can be foreseen
 * @done: called at the end, in the I/O thread
 * @data: for that
 * Return: NULL: there is no memory, and the connection is closed
 */
struct migration *migration_begin(struct vm *vm, int fd, bool copies, __u64 downtime_ns,
				  void (*done)(struct vm *vm, void *data), void *data);
bool migration_is_under_way(const struct vm *vm);
/* Of the one that has begun last: leave it, if it is not gone; */
void migration_cancel(struct vm *vm);
/* at its end, NULL: it is gone, else why not; */
const char *migration_failure(const struct vm *vm);
/* how far it is. */
void migration_progress(const struct vm *vm, struct progress *progress);
/* The machine has ended, even if it begins again, with all threads but the supervisor's. */
void migration_end(struct vm *vm);
void migration_destroy(struct vm *vm);

/* ---- connections (wire.c) ------------------------------------------------------------------- */

/* To unix:PATH, tcp:HOST:PORT or exec:COMMAND; a socket, or -1 after a complaint. */
int wire_connect(const char *where);
/* From unix:PATH, tcp:[HOST]:PORT, or what - is; likewise. */
int wire_accept(const char *where);

/* ---- the destination (receive.c) ---------------------------------------------------------------- */

/*
 * Read a machine from a connection, which becomes the snapshot's, whose file of memory may be there,
 * empty; 0, or -1 and why not, which the source knows, too.
 */
int receive_machine(struct snapshot *snapshot, int fd, char why[WIRE_TEXT_MOST]);
/* All of it is here, and could run: may it? 0, or -1 after a complaint. */
int receive_commit(struct snapshot *snapshot);
/* It was a copy that was asked for: the source goes on, and the memory is as it was then. */
void receive_copy(struct snapshot *snapshot);
/* It cannot: let the source know why. */
void receive_refuse(struct snapshot *snapshot, const char *why);

/* ---- copies (fork.c) ------------------------------------------------------------------------------- */

/**
 * copy_machine() - copy a machine that runs, by its control socket, as receive_machine() does
 * @fd: the connection
 * @snapshot: the copy
 * @meanwhile: done while the machine stands still, when all of it is there; 0, or -1 and why there is
 *	to be no copy; may be NULL
 * @data: for that
 * Return: what the machine says at the end, or NULL after a complaint
 */
struct json_object *copy_machine(int fd, struct snapshot *snapshot,
				 int (*meanwhile)(const struct snapshot *snapshot, void *data,
						  char why[DISKS_WHY]), void *data);
/*
 * The same by its whole name, with so many copies of its own disks if @disks says where; 0, or -1 after a
 * complaint.
 */
int copy_open(struct snapshot *snapshot, const char *name, const struct disk_set *disks, unsigned int nr);
/* The set of a copy of that many, from 1 on, in a directory. */
struct disk_set copy_disks(const struct disk_set *disks, unsigned int number);
/* A copy is in the background, whatever its @options were. */
void copies_leave_terminal(struct options *options);
/*
 * Run so many, with disks of their own in @directory unless that is NULL, or none after a complaint, and
 * print their names: the exit status.
 */
int copies_run(struct options *options, const char *parent, unsigned int nr, const char *directory,
	       const struct disk_set *disks);

#endif /* MIGRATE_H */
