/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A machine as two files: its state (state.h), and its memory; docs/snapshot.md has their formats.  A third
 * one may say what of it is used first (working_set.c).
 *
 * The runner writes into files that a client has opened (save.c), who sees to their names and
 * that they are on the disk (snapshot.c), and begins with what was opened before it began
 * (restore.c, vm_state.c).
 */
#ifndef SNAPSHOT_H
#define SNAPSHOT_H

#include "state.h"
#include "vm.h"

#define SNAPSHOT_MAGIC "mote\r\n\032\n"
#define SNAPSHOT_VERSION 1
/* What the state may have at most: firmware is in it, and each vCPU. */
#define SNAPSHOT_STATE_MOST (256ull << 20)
/* The unit in which memory is looked at, and has checksums. */
#define SNAPSHOT_CHUNK (64ull << 10)

/* The names of the files in a directory: the state, and the memory, which that names by a number. */
#define SNAPSHOT_STATE "machine"
#define SNAPSHOT_NEW "machine.new"
#define SNAPSHOT_MEMORY "memory-%016llx"
#define SNAPSHOT_WORKING_SET "working-set-%016llx"

/**
 * struct snapshot_head - how the file of the state begins, and that of the working set
 * @magic: %SNAPSHOT_MAGIC
 * @version: %SNAPSHOT_VERSION: of this struct, and of what state.h says of records
 * @pad: zero
 * @size: bytes of the state, which follows
 * @sum: XXH3 of 64 bits of it
 */
struct snapshot_head {
	char magic[8];
	__u32 version;
	__u32 pad;
	__u64 size;
	__u64 sum;
};

/**
 * struct snapshot_memory - what the state says of the memory
 * @file: its number
 * @size: bytes of memory that are in the file, from the beginning, in chunks of %SNAPSHOT_CHUNK; behind
 *	them is the XXH3 of 64 bits of each
 * @sum: and that of these
 */
struct snapshot_memory {
	__u64 file;
	__u64 size;
	__u64 sum;
};

static inline bool is_zero(const unsigned char *data, size_t size)
{
	return !data[0] && !memcmp(data, data + 1, size - 1);
}

/* Name all that the guest can see of a VM that is paused, or was just made (vm_state.c). */
void vm_state(struct vm *vm, struct state *state);
/* The memory's section of a state. */
static inline void snapshot_memory_state(struct snapshot_memory *memory, struct state *state)
{
	if (!state_enter(state, "memory"))
		return;
	STATE(state, memory, file);
	STATE(state, memory, size);
	STATE(state, memory, sum);
	state_leave(state);
}

/* Documentation/admin-guide/mm/pagemap.rst: in memory, or swapped out. */
#define PAGEMAP_PRESENT (3ull << 62)
/* So many pages are looked at in one go. */
#define MEMORY_LOOK_MOST 512
/*
 * Of pages from @page on take the bits of those that nobody has touched, as far as they are known to be
 * zeros: they were not there when the machine began, or are a hole of the file that it was restored from
 * (save.c).
 */
void memory_skip_untouched(const struct vm *vm, __u64 page, unsigned int nr, __u64 *bits);

/* What there is to say of it beside that, which is known before it is paused (save.c). */
void machine_state(struct vm *vm, struct state *state);

/* What stands behind the memory's chunks, and then the state, whose last section is the memory's (save.c). */
int snapshot_write_sums(int fd, struct snapshot_memory *memory, const __u64 *sums);
int snapshot_write_state(int fd, struct state *state, struct snapshot_memory *memory);
/* A file that begins with a struct snapshot_head, and has so many bytes behind it. */
int snapshot_write_file(int fd, const void *data, size_t size);

/* ---- saving (save.c, core.c): the I/O thread's ------------------------------------------ */

/**
 * struct save - a machine that is being saved, or dumped
 * @job: the next part of it
 * @state_fd: file of the state, empty; -1: it is dumped
 * @memory_fd: file of the memory, empty, or a copy of another machine's of that size; or of the core
 * @memory: what the state will say of that
 * @at: how much has been looked at
 * @written: bytes of it that were written: neither all zeros nor there already
 * @sums: of the chunks
 * @had: and of those that the file had; NULL: it was empty
 * @state: what it says of itself, and what is wrong with that
 * @vm_state_at: where in it vm_state() begins
 * @vm_state_size: and how many bytes that has
 * @vmcoreinfo: of one that is dumped: where in memory that was found; 0: not yet
 * @err: a negative errno
 * @data: of who is told
 * @done: that it is at its end
 */
struct save {
	struct job job;
	int state_fd;
	int memory_fd;
	struct snapshot_memory memory;
	__u64 at;
	__u64 written;
	__u64 *sums;
	__u64 *had;
	struct state state;
	size_t vm_state_at;
	size_t vm_state_size;
	__u64 vmcoreinfo;
	int err;
	void *data;
	void (*done)(struct vm *vm, struct save *save);
};

/* Begin; @save is the caller's until it is done, or the VM has ended. */
void save_begin(struct vm *vm, struct save *save);
/* The same as an ELF core, of which some fields are not used. */
void core_begin(struct vm *vm, struct save *save);
/* It is whole, or has failed: nothing holds the VM any more. */
void save_end(struct vm *vm, struct save *save);
/* Close its files, and free it. */
void save_free(struct save *save);

/* ---- restoring (restore.c) ---------------------------------------------------------------- */

/**
 * struct snapshot - a machine that was saved, opened
 * @state: its state, which is being read
 * @memory: what that says of its memory
 * @memory_fd: file of this
 * @connection: by which it was received, and its file of memory is its own; -1: it was not
 * @record_fd: file for the working set, which is to be recorded; -1: it is not
 * @working_set: the one that was recorded, of @working_set_size bytes; NULL: there is none
 * @is_paused: it is to wait for a resume
 */
struct snapshot {
	struct state state;
	struct snapshot_memory memory;
	int memory_fd;
	int connection;
	int record_fd;
	void *working_set;
	size_t working_set_size;
	bool is_paused;
};

#define SNAPSHOT_NONE ((struct snapshot){ .memory_fd = -1, .connection = -1, .record_fd = -1 })

/* Of one that is being saved, the state alone; 0, or -1 and why not. */
int snapshot_read_state(struct snapshot *snapshot, int fd, const char **why);
/* Open what is in a directory; 0, or -1 after a complaint. */
int snapshot_open(struct snapshot *snapshot, const char *directory);
/* Its working set is to be recorded, in the place of one that it may have; likewise. */
int snapshot_record(struct snapshot *snapshot, const char *directory);
/* Look at each chunk of its memory; likewise. */
int snapshot_verify(const struct snapshot *snapshot, const char *directory);
/* The checksums of its chunks, to be freed; NULL: they cannot be had, or are damaged. */
__u64 *snapshot_read_sums(const struct snapshot *snapshot);
void snapshot_close(struct snapshot *snapshot);

/* ---- the working set (working_set.c) -------------------------------------------------------- */

/* The memory was just restored: it is read ahead, or is to be recorded; 0, or -1 after a complaint. */
int working_set_begin(const struct vm *vm);
/* The guest runs no more: it is written down, if it was to be. */
void working_set_end(struct vm *vm);

/* ---- its own disks (own_disks.c) --------------------------------------------------------------- */

#define DISKS_WHY 200
/* Of one that was saved, by the memory's number, and its own. */
#define SNAPSHOT_DISK "disk-%016llx-"

/**
 * struct disk_set - files of a machine's own disks: those that it writes to
 * @directory: where they are
 * @begin: how their names begin, before the disk's number; empty: they are called as the machine says
 * @end: and what follows that
 */
struct disk_set {
	int directory;
	char begin[32];
	char end[12];
};

/* A file, without its blocks where the file system can, or only then if it @shares; 0, or -1 and errno. */
int copy_file(int from, int to, bool shares);
/*
 * All of them, into files that are not there yet, which are on the host's disk then unless they share;
 * 0, or -1 and why not.
 */
int disks_copy(const struct options *options, const struct disk_set *from, const struct disk_set *to,
	       bool shares, char why[DISKS_WHY]);
/* Those of a machine that stands still, whose state that is. */
int disks_copy_of(const struct snapshot *snapshot, const struct disk_set *to, bool shares,
		  char why[DISKS_WHY]);
void disks_remove(const struct disk_set *set);
/* The machine has these in the place of its own; @directory is the set's path. */
void disks_use(struct options *options, const char *directory, const struct disk_set *set);

#define FILE_NAME_MOST 4096

/*
 * What a machine was run with, and where its files' names begin, from its state, once; 0, or -1 after a
 * complaint, which begins with @where (arrive.c).
 */
int snapshot_options(struct snapshot *snapshot, struct options *options, const char *where,
		     char directory[FILE_NAME_MOST]);

/* ---- going back (base.c): the I/O thread's -------------------------------------------------- */

#define BASE_WHY 200

/* It was just saved: @state is vm_state()'s, and what it may go back to from now on; the file is its own. */
void base_set(struct vm *vm, int memory_fd, const void *state, size_t size);
/* It was just restored; likewise. */
void base_begin(struct vm *vm, int memory_fd);
/* Of this file the memory of a machine that was restored is a private mapping; -1: not known. */
int base_mapped_file(const struct vm *vm);
/* Go back there, while it is paused; 0, or -1 and why not: then it is as it was, or has ended. */
int base_reset(struct vm *vm, char why[BASE_WHY]);
void base_destroy(struct vm *vm);

#endif /* SNAPSHOT_H */
