// SPDX-License-Identifier: GPL-2.0
/*
 * A disk's transfers over a connection to an NBD server: the NBD project, doc/proto.md.  The server is
 * qemu-storage-daemon, which was started for the disk (disk_server.c) and has all that is asked of it
 * here; it is judged nevertheless, and not listened to any more when it says what is wrong.
 *
 * Data go from and to where the guest has them.  Nothing waits for the server once the machine runs: what
 * the socket does not take is sent when there is room, and answers, in any order, are taken as they come.
 * A connection that has ended stays so, and each transfer ends with ENODEV.
 *
 * Not here: TLS; and structured replies, with which that server hangs up when it cannot read.
 */
#include <endian.h>
#include <errno.h>
#include <linux/nbd.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "disk.h"
#include "keep.h"
#include "runner.h"

#define OPENING_MAGIC 0x4e42444d41474943ull	/* NBDMAGIC */
#define OPTION_MAGIC 0x49484156454f5054ull	/* IHAVEOPT */
#define OPTION_REPLY_MAGIC 0x0003e889045565a9ull
#define FIXED_NEWSTYLE 1
#define OPTION_GO 7
#define REPLY_ACK 1
#define REPLY_INFO 3
#define INFO_EXPORT 0
#define INFO_MOST 256

/* What <linux/nbd.h> lacks. */
#define SEND_WRITE_ZEROES (1 << 6)
#define WRITE_ZEROES 6
#define NO_HOLE (1 << 17)

#define NEEDED (NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_FUA)
#define NEEDED_TO_WRITE (NBD_FLAG_SEND_TRIM | SEND_WRITE_ZEROES)

/* A server that says nothing for so long, while it is waited for, is taken for dead. */
#define PATIENCE_S 10
/* Likewise, by a machine that is about to begin again. */
#define REST_MS 5000
/* Buffers in one call. */
#define AT_ONCE 64

/* ---- the beginning ---------------------------------------------------------------------- */

/* Ask for the disk by its name. */
static bool choose(int fd)
{
	struct {
		__be32 flags;
		__be64 magic;
		__be32 option, size, name_size;
		char name[sizeof(NBD_NAME) - 1];
		__be16 nr_infos;
	} __attribute__((packed)) choice = {
		htobe32(FIXED_NEWSTYLE), htobe64(OPTION_MAGIC), htobe32(OPTION_GO),
		htobe32(sizeof(choice) - offsetof(__typeof__(choice), name_size)),
		htobe32(sizeof(choice.name)), NBD_NAME, 0,
	};

	return send(fd, &choice, sizeof(choice), MSG_NOSIGNAL) == sizeof(choice);
}

/* One of the answers to that, its type and what it says; false: there is none. */
static bool hear_answer(int fd, __u32 *type, void *info, __u32 *size)
{
	struct {
		__be64 magic;
		__be32 option, type, size;
	} __attribute__((packed)) answer;

	if (!read_fully(fd, &answer, sizeof(answer)) || answer.magic != htobe64(OPTION_REPLY_MAGIC) ||
	    answer.option != htobe32(OPTION_GO))
		return false;
	*size = be32toh(answer.size);
	if (*size > INFO_MOST || !read_fully(fd, info, *size))
		return false;
	*type = be32toh(answer.type);
	return true;
}

bool nbd_agree(int fd, bool readonly, __u64 *size)
{
	const struct timeval patience = { .tv_sec = PATIENCE_S };
	const __u16 needed = NEEDED | (readonly ? 0 : NEEDED_TO_WRITE);
	struct {
		__be64 magic, option_magic;
		__be16 flags;
	} __attribute__((packed)) opening;
	union {
		struct {
			__be16 type;
			__be64 size;
			__be16 flags;
		} __attribute__((packed)) export;
		char any[INFO_MOST];
	} info = { 0 };
	__u32 type = 0, info_size;
	__u16 flags = 0;

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (!read_fully(fd, &opening, sizeof(opening)) || opening.magic != htobe64(OPENING_MAGIC) ||
	    opening.option_magic != htobe64(OPTION_MAGIC) || !(be16toh(opening.flags) & FIXED_NEWSTYLE) ||
	    !choose(fd))
		return false;
	while (hear_answer(fd, &type, &info, &info_size) && type == REPLY_INFO) {
		if (info_size != sizeof(info.export) || info.export.type != htobe16(INFO_EXPORT))
			continue;
		*size = be64toh(info.export.size);
		flags = be16toh(info.export.flags);
	}
	return type == REPLY_ACK && (flags & needed) == needed;
}

/* ---- requests --------------------------------------------------------------------------- */

static const __u32 commands[] = {
	[TRANSFER_READ] = NBD_CMD_READ, [TRANSFER_WRITE] = NBD_CMD_WRITE,
	[TRANSFER_WRITE_SYNC] = NBD_CMD_WRITE | NBD_CMD_FLAG_FUA, [TRANSFER_FLUSH] = NBD_CMD_FLUSH,
	[TRANSFER_DISCARD] = NBD_CMD_TRIM, [TRANSFER_PUNCH] = WRITE_ZEROES,
	[TRANSFER_ZERO] = WRITE_ZEROES | NO_HOLE,
};

/* What is left of a part behind *@done bytes, if there is room for it; returns how many there are then. */
static size_t add_rest(struct iovec *rest, size_t nr, const struct iovec *part, size_t *done)
{
	size_t over = *done < part->iov_len ? *done : part->iov_len;

	*done -= over;
	if (over == part->iov_len || nr == AT_ONCE)
		return nr;
	rest[nr] = (struct iovec) { (char *)part->iov_base + over, part->iov_len - over };
	return nr + 1;
}

/* What is left of a head and the data behind it, of which there may be none. */
static size_t collect(struct iovec *rest, const struct iovec *head, const struct transfer *data, size_t done)
{
	size_t nr = add_rest(rest, 0, head, &done);

	for (unsigned int i = 0; data && i < data->nr_now; i++)
		nr = add_rest(rest, nr, &data->iov[i], &done);
	return nr;
}

/* Not now, says the socket, or the host, which has no memory. */
static bool is_for_now(int error)
{
	return error == EAGAIN || error == EINTR || error == ENOBUFS || error == ENOMEM;
}

/* Send a request, or what is left of it; false: the socket does not take all of it now. */
static bool send_request(struct transfers *transfers, struct transfer *transfer)
{
	const bool has_data = transfer->kind == TRANSFER_WRITE || transfer->kind == TRANSFER_WRITE_SYNC;
	struct nbd_request request = {
		.magic = htobe32(NBD_REQUEST_MAGIC), .type = htobe32(commands[transfer->kind]),
		.from = htobe64(transfer->offset), .len = htobe32(transfer->now),
	};
	const struct iovec head = { &request, sizeof(request) };
	const size_t size = sizeof(request) + (has_data ? transfer->now : 0);
	struct nbd_client *client = &transfers->client;
	struct iovec rest[AT_ONCE];
	struct msghdr message = { .msg_iov = rest };
	ssize_t nr;

	memcpy(request.handle, &transfer->cookie, sizeof(request.handle));
	while (client->nr_sent < size) {
		message.msg_iovlen = collect(rest, &head, has_data ? transfer : NULL, client->nr_sent);
		nr = sendmsg(transfers->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
		/* Who reads hears of the end. */
		if (nr < 0 && !is_for_now(errno))
			shutdown(transfers->fd, SHUT_RDWR);
		if (nr < 0)
			return false;
		client->nr_sent += nr;
	}
	client->nr_sent = 0;
	return true;
}

static void finish(struct transfers *transfers, struct transfer *transfer, ssize_t result)
{
	transfer->result = result;
	transfer->next = transfers->finished;
	transfers->finished = transfer;
}

void nbd_send(struct transfers *transfers)
{
	struct nbd_client *client = &transfers->client;
	struct transfer *transfer;
	bool is_full;

	if (client->has_ended) {
		while ((transfer = transfers_take(transfers)))
			finish(transfers, transfer, -ENODEV);
		if (transfers->finished)
			eventfd_write(transfers->ended.fd, 1);
		return;
	}
	while ((transfer = transfers->waiting)) {
		if (!client->nr_sent)
			transfer->cookie = ++client->last_cookie;
		if (!send_request(transfers, transfer))
			break;
		transfers_take(transfers);
		transfer->next = client->unanswered;
		client->unanswered = transfer;
	}
	is_full = transfers->waiting;
	if (is_full != client->is_full)
		source_change(&client->source, EPOLLIN | (is_full ? EPOLLOUT : 0));
	client->is_full = is_full;
}

/* ---- answers ------------------------------------------------------------------------------ */

/* It is over, and so is all that is under way; @why is told. */
static void end(struct transfers *transfers, const char *why)
{
	struct nbd_client *client = &transfers->client;
	struct transfer *transfer = client->answered;

	if (why)
		complain("the disk %s: qemu-storage-daemon %s: the guest has I/O errors from now on",
			 transfers->name, why);
	client->has_ended = true;
	shutdown(transfers->fd, SHUT_RDWR);
	source_remove(&client->source);
	if (transfer)
		finish(transfers, transfer, -ENODEV);
	while ((transfer = client->unanswered)) {
		client->unanswered = transfer->next;
		finish(transfers, transfer, -ENODEV);
	}
	client->answered = NULL;
	nbd_send(transfers);
}

/* The transfer that has this cookie, which does not wait any more; NULL: there is none. */
static struct transfer *find(struct nbd_client *client, __u64 cookie)
{
	struct transfer **link = &client->unanswered, *transfer;

	while (*link && (*link)->cookie != cookie)
		link = &(*link)->next;
	transfer = *link;
	if (transfer)
		*link = transfer->next;
	return transfer;
}

/* What an error of the server's is here. */
static ssize_t to_errno(__u32 error)
{
	static const int known[] = { EPERM, EIO, ENOMEM, EINVAL, ENOSPC, EOVERFLOW, EOPNOTSUPP, ESHUTDOWN };

	for (size_t i = 0; i < ARRAY_SIZE(known); i++)
		if (error == (__u32)known[i])
			return -known[i];
	return -EINVAL;
}

/* An answer has begun; false if it is none. */
static bool begin_answer(struct nbd_client *client)
{
	__u64 cookie;

	memcpy(&cookie, client->reply.handle, sizeof(cookie));
	if (client->reply.magic == htobe32(NBD_REPLY_MAGIC))
		client->answered = find(client, cookie);
	return client->answered;
}

/* Are there data behind it, and how much in all? */
static size_t answer_size(const struct nbd_client *client, const struct transfer **data)
{
	const struct transfer *answered = client->answered;

	*data = answered && answered->kind == TRANSFER_READ && !client->reply.error ? answered : NULL;
	return sizeof(client->reply) + (*data ? (*data)->now : 0);
}

/* Take what is there of an answer, up to its end; false: no more of it is there now. */
static bool receive_answer(struct transfers *transfers)
{
	struct nbd_client *client = &transfers->client;
	const struct iovec head = { &client->reply, sizeof(client->reply) };
	struct iovec rest[AT_ONCE];
	struct msghdr message = { .msg_iov = rest };
	const struct transfer *data;
	ssize_t nr;

	while (client->nr_received < answer_size(client, &data)) {
		message.msg_iovlen = collect(rest, &head, data, client->nr_received);
		nr = recvmsg(transfers->fd, &message, MSG_DONTWAIT);
		if (nr < 0 && is_for_now(errno))
			return false;
		if (nr <= 0) {
			end(transfers, "has ended");
			return false;
		}
		client->nr_received += nr;
		if (client->nr_received == sizeof(client->reply) && !begin_answer(client)) {
			end(transfers, "answers what nobody has asked");
			return false;
		}
	}
	finish(transfers, client->answered, client->reply.error ? to_errno(be32toh(client->reply.error)) :
								 (ssize_t)client->answered->now);
	client->answered = NULL;
	client->nr_received = 0;
	return true;
}

void nbd_receive(struct transfers *transfers)
{
	/* No more than has been asked for by now. */
	while (!transfers->client.has_ended && receive_answer(transfers))
		;
}

void nbd_wait(struct transfers *transfers)
{
	struct nbd_client *client = &transfers->client;
	struct pollfd ready = { .fd = transfers->fd, .events = POLLIN | (client->is_full ? POLLOUT : 0) };

	if (client->has_ended)
		return;
	/* Unless the machine begins again nobody wants to hear the answers. */
	if (poll(&ready, 1, keeps_things() ? REST_MS : 0) == 1)
		nbd_receive(transfers);
	else
		end(transfers, keeps_things() ? "does not answer" : NULL);
}
