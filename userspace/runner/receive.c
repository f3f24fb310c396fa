// SPDX-License-Identifier: GPL-2.0
/*
 * A machine from another runner: see migrate.h.  What comes is taken for a stranger's, and read before there
 * is a machine: whatever is wrong with it, nothing is left behind.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "migrate.h"
#include "runner.h"

#define PAGE_SIZE 4096

/**
 * struct arrival - a machine that is being received
 * @fd: the connection
 * @memory_fd: file of its memory, or -1: not yet
 * @size: of it
 * @why: what is wrong
 */
struct arrival {
	int fd;
	int memory_fd;
	__u64 size;
	char why[WIRE_TEXT_MOST];
};

static int refuse(struct arrival *arrival, const char *why)
{
	snprintf(arrival->why, sizeof(arrival->why), "%s", why);
	return -1;
}

static bool write_all(int fd, const void *data, size_t size)
{
	while (size) {
		ssize_t nr = send(fd, data, size, MSG_NOSIGNAL);

		if (nr < 0 && errno == EINTR)
			continue;
		if (nr <= 0)
			return false;
		data = (const char *)data + nr;
		size -= nr;
	}
	return true;
}

static bool answer(int fd, enum wire_kind kind, const char *text)
{
	struct wire wire = { .kind = kind, .size = strlen(text) };

	wire.sum = wire_sum(&wire, text);
	return write_all(fd, &wire, sizeof(wire)) && write_all(fd, text, wire.size);
}

/* ---- messages --------------------------------------------------------------------------- */

/* What follows @wire, into @data. */
static int read_body(struct arrival *arrival, const struct wire *wire, void *data)
{
	if (!read_fully(arrival->fd, data, wire->size))
		return refuse(arrival, "the source is gone");
	if (wire_sum(wire, data) != wire->sum)
		return refuse(arrival, "what came is damaged: its checksum is another one");
	return 0;
}

/* A state, in memory of its own; NULL. */
static void *read_state(struct arrival *arrival, const struct wire *wire)
{
	void *data = wire->size <= SNAPSHOT_STATE_MOST ? malloc(wire->size + 1) : NULL;

	if (!data)
		refuse(arrival, "the machine's state is too large");
	else if (!read_body(arrival, wire, data))
		return data;
	free(data);
	return NULL;
}

/* Not by a mapping: the file system may be full. */
static int take_pages(struct arrival *arrival, const struct wire *wire)
{
	static unsigned char pages[WIRE_PAGES_MOST];
	int err;

	if (wire->size % PAGE_SIZE || wire->at % PAGE_SIZE || wire->size > WIRE_PAGES_MOST ||
	    wire->at > arrival->size || wire->size > arrival->size - wire->at)
		return refuse(arrival, "there is no such memory");
	if (read_body(arrival, wire, pages))
		return -1;
	err = write_at(arrival->memory_fd, pages, wire->size, wire->at);
	return err ? refuse(arrival, strerror(-err)) : 0;
}

static int take_zeros(struct arrival *arrival, const struct wire *wire)
{
	__u64 size;

	if (wire->size != sizeof(size))
		return refuse(arrival, "there is no such message");
	if (read_body(arrival, wire, &size))
		return -1;
	if (size % PAGE_SIZE || wire->at % PAGE_SIZE || wire->at > arrival->size ||
	    size > arrival->size - wire->at)
		return refuse(arrival, "there is no such memory");
	if (size && fallocate(arrival->memory_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, wire->at, size))
		return refuse(arrival, strerror(errno));
	return 0;
}

/* ---- the first one ------------------------------------------------------------------------ */

/* What this host cannot do is said before gigabytes are sent. */
static int check_cpuid(struct arrival *arrival, struct state *state)
{
	struct vm vm = { .fd = mote_open() };
	int err = vm.fd < 0 ? -1 : cpuid_create(&vm);

	if (!err)
		cpuid_state(&vm, state);
	if (vm.fd >= 0)
		close(vm.fd);
	if (err)
		return refuse(arrival, "there is no module there that runs it (mote doctor)");
	return state_has_failed(state) ? refuse(arrival, state->why) : 0;
}

static int create_memory(struct arrival *arrival, __u64 size)
{
	if (size > MEMORY_MOST || size % PAGE_SIZE || !size)
		return refuse(arrival, "there is no machine with so much memory");
	if (arrival->memory_fd < 0)
		arrival->memory_fd = memfd_create("mote", MFD_CLOEXEC);
	if (arrival->memory_fd < 0 || ftruncate(arrival->memory_fd, size))
		return refuse(arrival, strerror(errno));
	arrival->size = size;
	return 0;
}

static int take_hello(struct arrival *arrival)
{
	struct snapshot_memory memory = { 0 };
	struct state state;
	struct wire wire;
	void *data;
	int err;

	if (!read_fully(arrival->fd, &wire, sizeof(wire)))
		return refuse(arrival, "the source is gone");
	if (wire.kind != WIRE_HELLO)
		return refuse(arrival, "what came is no machine of mote's");
	if (wire.at != WIRE_VERSION)
		return refuse(arrival, "the source speaks another version of the protocol");
	data = read_state(arrival, &wire);
	if (!data)
		return -1;
	state_begin_load(&state, data, wire.size);
	snapshot_memory_state(&memory, &state);
	err = state_has_failed(&state) ? refuse(arrival, state.why) : check_cpuid(arrival, &state);
	if (!err)
		err = create_memory(arrival, memory.size);
	free(data);
	return err;
}

/* ---- all of them ----------------------------------------------------------------------------- */

/* The last one, or NULL. */
static void *take_messages(struct arrival *arrival, size_t *size)
{
	struct wire wire;
	int err = 0;

	do {
		if (!read_fully(arrival->fd, &wire, sizeof(wire)))
			err = refuse(arrival, "the source is gone");
		else if (wire.kind == WIRE_PAGES)
			err = take_pages(arrival, &wire);
		else if (wire.kind == WIRE_ZEROS)
			err = take_zeros(arrival, &wire);
		else if (wire.kind != WIRE_STATE)
			err = refuse(arrival, "there is no such message");
	} while (!err && wire.kind != WIRE_STATE);
	*size = wire.size;
	return err ? NULL : read_state(arrival, &wire);
}

int receive_machine(struct snapshot *snapshot, int fd, char why[WIRE_TEXT_MOST])
{
	struct arrival arrival = { .fd = fd, .memory_fd = snapshot->memory_fd };
	size_t size = 0;
	void *data = take_hello(&arrival) ? NULL : take_messages(&arrival, &size);

	*snapshot = SNAPSHOT_NONE;
	snapshot->memory_fd = arrival.memory_fd;
	snapshot->connection = fd;
	if (!data) {
		snprintf(why, WIRE_TEXT_MOST, "%s", arrival.why);
		answer(fd, WIRE_REFUSED, arrival.why);
		return -1;
	}
	state_begin_load(&snapshot->state, data, size);
	snapshot_memory_state(&snapshot->memory, &snapshot->state);
	state_flag(&snapshot->state, "paused", &snapshot->is_paused, sizeof(snapshot->is_paused));
	if (snapshot->memory.size != arrival.size)
		state_fail(&snapshot->state, "the machine has changed its mind about its memory");
	if (!state_has_failed(&snapshot->state))
		return 0;
	snprintf(why, WIRE_TEXT_MOST, "%s", snapshot->state.why);
	receive_refuse(snapshot, why);
	return -1;
}

void receive_refuse(struct snapshot *snapshot, const char *why)
{
	if (snapshot->connection >= 0)
		answer(snapshot->connection, WIRE_REFUSED, why);
}

void receive_copy(struct snapshot *snapshot)
{
	answer(snapshot->connection, WIRE_READY, "");
	close(snapshot->connection);
	snapshot->connection = -1;
}

int receive_commit(struct snapshot *snapshot)
{
	const struct timeval patience = {
		MIGRATION_PATIENCE_MS / 1000, MIGRATION_PATIENCE_MS % 1000 * 1000,
	};
	int fd = snapshot->connection;
	struct wire wire;

	if (fd < 0)
		return 0;
	/* It says so at once, if it still is there. */
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (!answer(fd, WIRE_READY, "") || !read_fully(fd, &wire, sizeof(wire)) || wire.kind != WIRE_GO ||
	    wire.size) {
		complain("the source has kept the machine");
		return -1;
	}
	/* It is ours, whether the source hears of it or not. */
	answer(fd, WIRE_RUNS, "");
	return 0;
}
