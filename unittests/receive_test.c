// SPDX-License-Identifier: GPL-2.0
/*
 * A machine that comes over a connection: what was sent is what is there, and a stream that is
 * changed, cut, or made by a stranger is refused with one line, there and here, and leaves nothing
 * behind.
 */
#define XXH_INLINE_ALL
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <xxhash.h>

#include "complaints.h"
#include "tests.h"
#include "../userspace/runner/migrate.h"

#define MEMORY (256ull << 10)
#define STREAM_MOST (1u << 20)

static unsigned char stream[STREAM_MOST], changed[STREAM_MOST];
static size_t size;
static bool is_refused_here;

/* ---- what else the runner has --------------------------------------------------------------- */

__u64 clock_ns(void)
{
	return 1000;
}

int mote_open(void)
{
	return dup(1);
}

int cpuid_create(struct vm *vm)
{
	(void)vm;
	return 0;
}

void cpuid_state(struct vm *vm, struct state *state)
{
	(void)vm;
	if (is_refused_here)
		state_fail(state, "this host has no avx for guests");
}

/* ---- streams --------------------------------------------------------------------------------- */

static void put(__u32 kind, __u64 at, const void *data, size_t nr)
{
	const struct wire wire = {
		.kind = kind, .size = nr, .at = at, .sum = XXH3_64bits_withSeed(data, nr, kind + at),
	};

	memcpy(stream + size, &wire, sizeof(wire));
	memcpy(stream + size + sizeof(wire), data, nr);
	size += sizeof(wire) + nr;
}

static void put_state(__u32 kind, __u64 at, __u64 memory_size)
{
	struct snapshot_memory memory = { .size = memory_size };
	bool paused = true;
	struct state state;

	state_begin_save(&state);
	snapshot_memory_state(&memory, &state);
	if (kind == WIRE_STATE)
		state_flag(&state, "paused", &paused, sizeof(paused));
	EQ(0, state_end(&state));
	put(kind, at, state.data, state.size);
	state_free(&state);
}

/* Two pages, of which the second becomes zeros, and one that comes twice. */
static void make_stream(void)
{
	unsigned char pages[8192];
	__u64 zeros = 4096;

	size = 0;
	put_state(WIRE_HELLO, WIRE_VERSION, MEMORY);
	memset(pages, 1, sizeof(pages));
	put(WIRE_PAGES, 4096, pages, sizeof(pages));
	put(WIRE_ZEROS, 8192, &zeros, sizeof(zeros));
	put(WIRE_PAGES, MEMORY - 4096, pages, 4096);
	memset(pages, 2, sizeof(pages));
	put(WIRE_PAGES, MEMORY - 4096, pages, 4096);
	put_state(WIRE_STATE, 0, MEMORY);
}

static unsigned int nr_open(void)
{
	unsigned int nr = 0;

	for (int fd = 0; fd < 64; fd++)
		nr += fcntl(fd, F_GETFD) >= 0;
	return nr;
}

/* What the source hears. */
static __u32 answer_of(int peer, char *text, size_t room)
{
	struct wire wire = { 0 };

	if (recv(peer, &wire, sizeof(wire), MSG_DONTWAIT) != sizeof(wire) || wire.size >= room)
		return 0;
	text[recv(peer, text, wire.size, MSG_DONTWAIT | MSG_TRUNC)] = 0;
	return wire.kind;
}

static int receive(struct snapshot *snapshot, const unsigned char *data, size_t nr, int *peer)
{
	int ends[2], bytes = 4 << 20, err;
	char why[WIRE_TEXT_MOST];

	EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
	setsockopt(ends[1], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
	EQ(nr, send(ends[1], data, nr, MSG_DONTWAIT | MSG_NOSIGNAL));
	shutdown(ends[1], SHUT_WR);
	*peer = ends[1];
	*snapshot = SNAPSHOT_NONE;
	nr_complaints = 0;
	err = receive_machine(snapshot, ends[0], why);
	if (err)
		complain("it cannot be received: %s", why);
	return err;
}

/* Is it refused, here with one line, and there in the same words? */
static bool is_refused(const unsigned char *data, size_t nr, const char *words)
{
	struct snapshot snapshot;
	unsigned int before = nr_open();
	bool is_refused;
	char text[256] = "";
	int peer;

	is_refused = receive(&snapshot, data, nr, &peer) && nr_complaints == 1 && strstr(said, words) &&
		     answer_of(peer, text, sizeof(text)) == WIRE_REFUSED && strstr(said, text);
	snapshot_close(&snapshot);
	close(peer);
	return is_refused && nr_open() == before;
}

/* ---- tests ------------------------------------------------------------------------------------ */

static void test_arrives(void)
{
	struct snapshot snapshot;
	unsigned char byte;
	int peer;

	make_stream();
	EQ(0, receive(&snapshot, stream, size, &peer));
	EQ(0, nr_complaints);
	CHECK(snapshot.is_paused && snapshot.memory.size == MEMORY);
	for (__u64 at = 0; at < MEMORY; at += 512) {
		EQ(1, pread(snapshot.memory_fd, &byte, 1, at));
		EQ(at >= 4096 && at < 8192 ? 1 : at >= MEMORY - 4096 ? 2 : 0, byte);
	}
	/* The source has hung up: it has kept the machine. */
	CHECK(receive_commit(&snapshot) && strstr(said, "has kept the machine"));
	snapshot_close(&snapshot);
	close(peer);
}

static void test_changed(void)
{
	make_stream();
	srandom(5);
	for (unsigned int i = 0; i < (getenv("MOTE_LONG") ? 100000 : 20000); i++) {
		size_t at = random() % size;

		memcpy(changed, stream, size);
		changed[at] ^= 1 << random() % 8;
		CHECK(is_refused(changed, size, "it cannot be received"));
	}
}

static void test_cut(void)
{
	make_stream();
	for (size_t nr = 0; nr < size; nr += nr < 200 || nr > size - 200 ? 1 : 97)
		CHECK(is_refused(stream, nr, "gone"));
}

/* With checksums that are right. */
static void test_strange(void)
{
	static const struct {
		__u64 at;
		size_t nr;
	} pages[] = {
		{ MEMORY, 4096 }, { MEMORY - 4096, 8192 }, { 1, 4096 }, { 0, 4095 }, { -4096ull, 4096 },
		{ -4096ull, 8192 }, { 0, WIRE_PAGES_MOST + 4096 },
	};
	static const __u64 zeros[][2] = {
		{ MEMORY, 4096 }, { 0, MEMORY + 4096 }, { 4096, -4096ull }, { 1, 4096 }, { 0, 1 },
	};
	static unsigned char data[WIRE_PAGES_MOST + 4096];

	for (size_t i = 0; i < ARRAY_SIZE(pages); i++) {
		size = 0;
		put_state(WIRE_HELLO, WIRE_VERSION, MEMORY);
		put(WIRE_PAGES, pages[i].at, data, pages[i].nr);
		CHECK(is_refused(stream, size, "no such memory"));
	}
	for (size_t i = 0; i < ARRAY_SIZE(zeros); i++) {
		size = 0;
		put_state(WIRE_HELLO, WIRE_VERSION, MEMORY);
		put(WIRE_ZEROS, zeros[i][0], &zeros[i][1], 8);
		CHECK(is_refused(stream, size, "no such memory"));
	}
	size = 0;
	put_state(WIRE_HELLO, WIRE_VERSION, MEMORY);
	put(WIRE_ZEROS, 0, data, 7);
	CHECK(is_refused(stream, size, "no such message"));
	size = 0;
	put_state(WIRE_HELLO, WIRE_VERSION, MEMORY);
	put(WIRE_GO, 0, data, 0);
	CHECK(is_refused(stream, size, "no such message"));
	size = 0;
	put_state(WIRE_HELLO, WIRE_VERSION, MEMORY);
	put_state(WIRE_STATE, 0, 2 * MEMORY);
	CHECK(is_refused(stream, size, "changed its mind"));
	size = 0;
	put_state(WIRE_HELLO, WIRE_VERSION + 1, MEMORY);
	CHECK(is_refused(stream, size, "another version"));
	size = 0;
	put_state(WIRE_STATE, 0, MEMORY);
	CHECK(is_refused(stream, size, "no machine of mote's"));
	size = 0;
	put_state(WIRE_HELLO, WIRE_VERSION, MEMORY_MOST + 4096);
	CHECK(is_refused(stream, size, "so much memory"));
	size = 0;
	put_state(WIRE_HELLO, WIRE_VERSION, 4095);
	CHECK(is_refused(stream, size, "so much memory"));
	make_stream();
	is_refused_here = true;
	CHECK(is_refused(stream, size, "no avx"));
	is_refused_here = false;
}

int main(void)
{
	static const struct unit_test tests[] = {
		{ "what was sent is what is there", test_arrives },
		{ "each change is refused", test_changed },
		{ "a stream that is cut", test_cut },
		{ "a stranger's stream", test_strange },
	};

	return run_all(tests, sizeof(tests) / sizeof(tests[0]));
}
