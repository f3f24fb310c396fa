// SPDX-License-Identifier: GPL-2.0
/*
 * A disk's connection to an NBD server, which is the test: what it may say, in any pieces, and in
 * any order; and what is done with what it may not.  unittests/virtio_test has the real one.
 */
#include <endian.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../userspace/runner/disk.h"
#include "../userspace/runner/keep.h"
#include "complaints.h"
#include "device_vm.h"

#define MOST 64
#define PIECE 0x8000

static struct vm vm = { .name = "test", .lock = PTHREAD_MUTEX_INITIALIZER };
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct transfers transfers;
static int far_end = -1;

static struct transfer all[MOST];
static struct iovec buffers[MOST][2];
static unsigned char data[MOST][PIECE];
static unsigned int nr_done;

/* ---- the machine's side -------------------------------------------------------------------- */

static void done(struct transfers *which, struct transfer *transfer)
{
	(void)which;
	(void)transfer;
	nr_done++;
}

/* As the disk does. */
static void settled(struct transfers *which)
{
	transfers_submit(which);
}

static void handle_events(void)
{
	struct pollfd some = { .fd = vm.io.epoll, .events = POLLIN };

	/* Whoever has nothing to do is not called for ever. */
	for (int nr = 0; nr < 1000 && poll(&some, 1, 0) == 1; nr++)
		loop_run_once(&vm.io);
	EQ(0, poll(&some, 1, 0));
}

static void begin(void)
{
	int ends[2];

	CHECK(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends));
	far_end = ends[1];
	transfers = (struct transfers) {
		.fd = ends[0], .name = "it", .is_served = true, .done = done, .settled = settled,
		.ended.lock = &lock,
	};
	CHECK(!transfers_create(&vm, &transfers, MOST));
	nr_done = nr_complaints = 0;
	said[0] = '\0';
}

static void finish(void)
{
	transfers_wait(&transfers);
	EQ(0, transfers.in_flight);
	transfers_destroy(&transfers);
	close(transfers.fd);
	close(far_end);
}

/* In two buffers, of which the first one is short. */
static void ask(unsigned int nr, enum transfer_kind kind, size_t size)
{
	bool has_data = kind == TRANSFER_READ || kind == TRANSFER_WRITE || kind == TRANSFER_WRITE_SYNC;

	buffers[nr][0] = (struct iovec) { data[nr], 3 };
	buffers[nr][1] = (struct iovec) { data[nr] + 3, size - 3 };
	all[nr] = (struct transfer) {
		.kind = kind, .iov = has_data ? buffers[nr] : NULL, .nr_iov = has_data ? 2 : 0,
		.offset = nr * PIECE, .size = size,
	};
	transfers_start(&transfers, &all[nr]);
	transfers_submit(&transfers);
}

/* ---- the server's -------------------------------------------------------------------------- */

/* Take a request and the data behind it, which are judged; false: there is none. */
static bool take(struct nbd_request *request)
{
	unsigned char bytes[PIECE];
	size_t size;

	if (recv(far_end, request, sizeof(*request), MSG_DONTWAIT | MSG_PEEK) != sizeof(*request))
		return false;
	EQ(sizeof(*request), recv(far_end, request, sizeof(*request), 0));
	EQ(NBD_REQUEST_MAGIC, be32toh(request->magic));
	size = (be32toh(request->type) & 0xffff) == NBD_CMD_WRITE ? be32toh(request->len) : 0;
	for (size_t at = 0; at < size;) {
		ssize_t nr = recv(far_end, bytes + at, size - at, MSG_DONTWAIT);

		at += nr > 0 ? nr : 0;
		handle_events();
	}
	EQ(0, memcmp(bytes, data[be64toh(request->from) / PIECE], size));
	return true;
}

static struct nbd_reply answer_to(const struct nbd_request *request, __u32 error)
{
	struct nbd_reply reply = { .magic = htobe32(NBD_REPLY_MAGIC), .error = htobe32(error) };

	memcpy(reply.handle, request->handle, sizeof(reply.handle));
	return reply;
}

static void say(const void *bytes, size_t size)
{
	EQ(size, send(far_end, bytes, size, MSG_NOSIGNAL));
	handle_events();
}

/* ---- tests --------------------------------------------------------------------------------- */

static void kinds(void)
{
	static const struct { enum transfer_kind kind; __u32 type; size_t size; } rows[] = {
		{ TRANSFER_WRITE, NBD_CMD_WRITE, 512 }, { TRANSFER_FLUSH, NBD_CMD_FLUSH, 0 },
		{ TRANSFER_WRITE_SYNC, NBD_CMD_WRITE | 1 << 16, 512 },
		{ TRANSFER_DISCARD, NBD_CMD_TRIM, 1 << 24 }, { TRANSFER_PUNCH, 6, 512 },
		{ TRANSFER_ZERO, 6 | 1 << 17, 512 },
	};
	struct nbd_request request;
	struct nbd_reply reply;

	begin();
	for (unsigned int nr = 0; nr < ARRAY_SIZE(rows); nr++) {
		ask(nr, rows[nr].kind, rows[nr].size);
		CHECK(take(&request));
		EQ(rows[nr].type, be32toh(request.type));
		EQ(nr * PIECE, be64toh(request.from));
		EQ(rows[nr].size, be32toh(request.len));
		reply = answer_to(&request, 0);
		say(&reply, sizeof(reply));
		EQ(nr + 1, nr_done);
		EQ(rows[nr].size, all[nr].result);
	}
	finish();
}

/* Answers come in another order than requests, and a byte at a time. */
static void any_order(void)
{
	struct nbd_request requests[8];
	struct nbd_reply reply;
	unsigned char bytes[512];

	begin();
	for (unsigned int nr = 0; nr < ARRAY_SIZE(requests); nr++) {
		ask(nr, nr % 2 ? TRANSFER_WRITE : TRANSFER_READ, sizeof(bytes));
		CHECK(take(&requests[nr]));
	}
	for (unsigned int i = 0; i < ARRAY_SIZE(requests); i++) {
		unsigned int nr = (i + 3) % ARRAY_SIZE(requests);

		reply = answer_to(&requests[nr], 0);
		for (size_t at = 0; at < sizeof(reply); at++)
			say((const char *)&reply + at, 1);
		memset(bytes, nr + 1, sizeof(bytes));
		for (size_t at = 0; nr % 2 == 0 && at < sizeof(bytes); at++) {
			EQ(i, nr_done);
			say(bytes + at, 1);
		}
		EQ(i + 1, nr_done);
		EQ(sizeof(bytes), all[nr].result);
		CHECK(nr % 2 || !memcmp(data[nr], bytes, sizeof(bytes)));
	}
	finish();
}

/* What the socket does not take goes when there is room; data that were written arrive as they were. */
static void more_than_there_is_room_for(void)
{
	struct nbd_request request;
	struct nbd_reply reply;
	unsigned int nr;

	begin();
	for (nr = 0; nr < MOST; nr++) {
		memset(data[nr], nr + 7, PIECE);
		ask(nr, TRANSFER_WRITE, PIECE);
	}
	handle_events();
	EQ(0, nr_done);
	CHECK(transfers.waiting);
	for (nr = 0; take(&request); nr++) {
		reply = answer_to(&request, 0);
		say(&reply, sizeof(reply));
	}
	EQ(MOST, nr);
	EQ(MOST, nr_done);
	finish();
}

static void errors(void)
{
	static const struct { __u32 error; int result; } rows[] = {
		{ 1, EPERM }, { 5, EIO }, { 12, ENOMEM }, { 22, EINVAL }, { 28, ENOSPC }, { 75, EOVERFLOW },
		{ 95, EOPNOTSUPP }, { 108, ESHUTDOWN }, { 4, EINVAL }, { 11, EINVAL }, { 19, EINVAL },
		{ 0x80000000, EINVAL }, { 0xffffffff, EINVAL },
	};
	struct nbd_request request;
	struct nbd_reply reply;

	begin();
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		/* No data are behind those of a read, either. */
		ask(0, i % 2 ? TRANSFER_READ : TRANSFER_WRITE, 512);
		CHECK(take(&request));
		reply = answer_to(&request, rows[i].error);
		say(&reply, sizeof(reply));
		EQ(i + 1, nr_done);
		EQ(-rows[i].result, all[0].result);
	}
	EQ(0, nr_complaints);
	finish();
}

/* What was asked for ends, and what is asked for later; and it is said once. */
static void has_ended(const char *why)
{
	EQ(2, nr_done);
	EQ(-ENODEV, all[0].result);
	EQ(-ENODEV, all[1].result);
	CHECK(strstr(said, why));
	ask(2, TRANSFER_WRITE, 512);
	EQ(2, nr_done);
	handle_events();
	EQ(3, nr_done);
	EQ(-ENODEV, all[2].result);
	EQ(1, nr_complaints);
	finish();
	EQ(1, nr_complaints);
}

static void ends_anywhere(void)
{
	unsigned char bytes[sizeof(struct nbd_reply) + 512] = "";
	struct nbd_request request, other;
	struct nbd_reply reply;

	for (size_t cut = 0; cut < sizeof(bytes); cut += cut < 20 ? 1 : 99) {
		begin();
		ask(0, TRANSFER_READ, 512);
		ask(1, TRANSFER_WRITE, 512);
		CHECK(take(&request) && take(&other));
		reply = answer_to(&request, 0);
		memcpy(bytes, &reply, sizeof(reply));
		say(bytes, cut);
		EQ(0, nr_done);
		shutdown(far_end, SHUT_RDWR);
		handle_events();
		has_ended("has ended");
	}
}

/* The wrong magic, to what nobody has asked for, twice; and before anything has been sent. */
static void wrong_answers(void)
{
	struct nbd_request request, other;
	struct nbd_reply reply;

	for (unsigned int wrong = 0; wrong < 3; wrong++) {
		begin();
		ask(0, TRANSFER_READ, 512);
		ask(1, TRANSFER_FLUSH, 0);
		CHECK(take(&request) && take(&other));
		reply = answer_to(&request, 5);
		if (wrong == 0)
			reply.magic ^= 1;
		else if (wrong == 1)
			reply.handle[7] ^= 1;
		say(&reply, sizeof(reply));
		if (wrong == 2) {
			EQ(-EIO, all[0].result);
			all[0].result = -ENODEV;
			say(&reply, sizeof(reply));
		}
		has_ended("nobody has asked");
	}
	begin();
	say(&reply, sizeof(reply));
	EQ(1, nr_complaints);
	for (unsigned int nr = 0; nr < 2; nr++)
		ask(nr, TRANSFER_WRITE, 512);
	handle_events();
	has_ended("nobody has asked");
}

/* The end of a machine waits for no answer. */
static void ends_unanswered(void)
{
	begin();
	for (unsigned int nr = 0; nr < MOST; nr++)
		ask(nr, TRANSFER_WRITE, PIECE);
	finish();
	EQ(MOST, nr_done);
	EQ(0, nr_complaints);
}

/* ---- the beginning ------------------------------------------------------------------------- */

#define REPLY_MAGIC 0x0003e889045565a9ull

static struct script {
	struct { __be64 magic, option_magic; __be16 flags; } __attribute__((packed)) opening;
	struct { __be64 magic; __be32 option, type, size; } __attribute__((packed)) first;
	struct { __be16 type; __be64 size; __be16 flags; } __attribute__((packed)) export;
	struct { __be64 magic; __be32 option, type, size; } __attribute__((packed)) last;
} __attribute__((packed)) script;

static void write_script(__u16 flags)
{
	script = (struct script) {
		.opening = { htobe64(0x4e42444d41474943), htobe64(0x49484156454f5054), htobe16(3) },
		.first = { htobe64(REPLY_MAGIC), htobe32(7), htobe32(3), htobe32(sizeof(script.export)) },
		.export = { 0, htobe64(0x123456789a00), htobe16(flags) },
		.last = { htobe64(REPLY_MAGIC), htobe32(7), htobe32(1), 0 },
	};
}

/* A server that says so many bytes of it. */
static bool agrees(size_t size, bool readonly, __u64 *capacity)
{
	int ends[2];
	bool agrees;

	CHECK(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends));
	EQ(size, write(ends[1], &script, size));
	shutdown(ends[1], SHUT_WR);
	agrees = nbd_agree(ends[0], readonly, capacity);
	close(ends[0]);
	close(ends[1]);
	return agrees;
}

static bool is_free(size_t at)
{
	return (at >= offsetof(struct script, export.size) && at < offsetof(struct script, export.flags)) ||
	       at == offsetof(struct script, export.flags) || at == offsetof(struct script, opening.flags);
}

static void beginnings(void)
{
	const __u16 to_read = 1 | 4 | 8, to_write = to_read | 32 | 64;
	__u64 size = 0;

	write_script(to_write);
	CHECK(agrees(sizeof(script), false, &size) && size == 0x123456789a00);
	for (size_t cut = 0; cut < sizeof(script); cut++)
		CHECK(!agrees(cut, false, &size));
	/* Each of its bytes matters, but for those of numbers. */
	for (size_t at = 0; at < sizeof(script); at++) {
		write_script(to_write);
		((unsigned char *)&script)[at] ^= 0xff;
		EQ(is_free(at), agrees(sizeof(script), false, &size));
	}
	write_script(to_read);
	CHECK(agrees(sizeof(script), true, &size) && !agrees(sizeof(script), false, &size));
}

int main(void)
{
	static const struct unit_test tests[] = {
		{ "what is asked for", kinds },
		{ "answers in any order and in pieces", any_order },
		{ "more than there is room for", more_than_there_is_room_for },
		{ "errors", errors },
		{ "an end anywhere", ends_anywhere },
		{ "answers that are none", wrong_answers },
		{ "an end without answers", ends_unanswered },
		{ "servers that are refused", beginnings },
	};

	if (loop_create(&vm.io, &vm, NULL))
		return 1;
	return run_all(tests, ARRAY_SIZE(tests));
}
