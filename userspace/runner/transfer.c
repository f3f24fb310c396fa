// SPDX-License-Identifier: GPL-2.0
/*
 * Reading and writing a file while the devices go on: by io_uring, or where there is none, as in
 * most containers, by a thread that makes one call after the other; or by a connection to who has it.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "disk.h"
#include "runner.h"
#include "sandbox.h"

/* What is in the host's cache would be copied in the call that submits it. */
#define COPIED_MOST 65536
/* What is under way for one transfer: bytes that are moved, or that are none any more. */
#define MOVED_MOST (1ul << 20)
#define RANGE_MOST (16ul << 20)
#define AGAIN_MS 100

static int fallocate_mode(enum transfer_kind kind)
{
	return FALLOC_FL_KEEP_SIZE | (kind == TRANSFER_ZERO ? FALLOC_FL_ZERO_RANGE : FALLOC_FL_PUNCH_HOLE);
}

/* ---- by a thread --------------------------------------------------------------------- */

static ssize_t perform(int fd, const struct transfer *transfer)
{
	ssize_t result;

	switch (transfer->kind) {
	case TRANSFER_READ:
		result = preadv(fd, transfer->iov, transfer->nr_now, transfer->offset);
		break;
	case TRANSFER_WRITE:
	case TRANSFER_WRITE_SYNC:
		result = pwritev2(fd, transfer->iov, transfer->nr_now, transfer->offset,
				  transfer->kind == TRANSFER_WRITE_SYNC ? RWF_DSYNC : 0);
		break;
	case TRANSFER_FLUSH:
		result = fdatasync(fd);
		break;
	default:
		result = fallocate(fd, fallocate_mode(transfer->kind), transfer->offset, transfer->now);
	}
	return result < 0 ? -errno : result;
}

static void *work(void *data)
{
	struct transfers *transfers = data;
	struct transfer *transfer;

	prctl(PR_SET_NAME, "disk");
	if (sandbox_enter(SANDBOX_DISK))
		vm_end(transfers->ended.loop->vm, END_ERROR, 0);
	pthread_mutex_lock(&transfers->lock);
	for (;;) {
		while (!transfers->waiting && !transfers->is_ending)
			pthread_cond_wait(&transfers->asked, &transfers->lock);
		if (!transfers->waiting)
			break;
		transfer = transfers_take(transfers);
		pthread_mutex_unlock(&transfers->lock);
		transfer->result = perform(transfers->fd, transfer);
		pthread_mutex_lock(&transfers->lock);
		transfer->next = transfers->finished;
		transfers->finished = transfer;
		eventfd_write(transfers->ended.fd, 1);
	}
	pthread_mutex_unlock(&transfers->lock);
	return NULL;
}

static int create_thread(struct transfers *transfers)
{
	int err = sandbox_make_thread(&transfers->thread, work, transfers);

	if (err)
		complain("cannot start a thread for a disk: %s", strerror(err));
	return err ? -1 : 0;
}

static void end_thread(struct transfers *transfers)
{
	pthread_mutex_lock(&transfers->lock);
	transfers->is_ending = true;
	pthread_cond_signal(&transfers->asked);
	pthread_mutex_unlock(&transfers->lock);
	pthread_join(transfers->thread, NULL);
}

/* ---- by io_uring --------------------------------------------------------------------- */

static void prepare(struct transfers *transfers, struct transfer *transfer)
{
	/* There are more than transfers. */
	struct io_uring_sqe *sqe = io_uring_get_sqe(&transfers->ring);

	if (transfer->kind == TRANSFER_READ)
		io_uring_prep_readv(sqe, transfers->fd, transfer->iov, transfer->nr_now, transfer->offset);
	else if (transfer->kind == TRANSFER_WRITE || transfer->kind == TRANSFER_WRITE_SYNC)
		io_uring_prep_writev2(sqe, transfers->fd, transfer->iov, transfer->nr_now, transfer->offset,
				      transfer->kind == TRANSFER_WRITE_SYNC ? RWF_DSYNC : 0);
	else if (transfer->kind == TRANSFER_FLUSH)
		io_uring_prep_fsync(sqe, transfers->fd, IORING_FSYNC_DATASYNC);
	else
		io_uring_prep_fallocate(sqe, transfers->fd, fallocate_mode(transfer->kind), transfer->offset,
					transfer->now);
	if (transfer->now > COPIED_MOST)
		io_uring_sqe_set_flags(sqe, IOSQE_ASYNC);
	io_uring_sqe_set_data(sqe, transfer);
}

/* ---- by any ------------------------------------------------------------------------------ */

struct transfer *transfers_take(struct transfers *transfers)
{
	struct transfer *transfer = transfers->waiting;

	if (!transfer)
		return NULL;
	transfers->waiting = transfer->next;
	if (!transfers->waiting)
		transfers->last = &transfers->waiting;
	return transfer;
}

/* To the thread, or for the connection. */
static void hand_over(struct transfers *transfers, struct transfer *transfer)
{
	pthread_mutex_lock(&transfers->lock);
	transfer->next = NULL;
	*transfers->last = transfer;
	transfers->last = &transfer->next;
	pthread_cond_signal(&transfers->asked);
	pthread_mutex_unlock(&transfers->lock);
}

/* One that has ended, or NULL. */
static struct transfer *next_ended(struct transfers *transfers)
{
	struct transfer *transfer;
	struct io_uring_cqe *cqe;

	if (transfers->has_ring) {
		if (io_uring_peek_cqe(&transfers->ring, &cqe))
			return NULL;
		transfer = io_uring_cqe_get_data(cqe);
		transfer->result = cqe->res;
		io_uring_cqe_seen(&transfers->ring, cqe);
		return transfer;
	}
	pthread_mutex_lock(&transfers->lock);
	transfer = transfers->finished;
	if (transfer)
		transfers->finished = transfer->next;
	pthread_mutex_unlock(&transfers->lock);
	return transfer;
}

/* Shorten it to what is to be done now. */
static void cut(struct transfer *transfer)
{
	size_t most = transfer->iov ? MOVED_MOST : RANGE_MOST, left;

	transfer->now = transfer->size < most ? transfer->size : most;
	transfer->nr_now = 0;
	transfer->cut = 0;
	for (left = transfer->iov ? transfer->now : 0; left;) {
		struct iovec *iov = &transfer->iov[transfer->nr_now++];

		if (iov->iov_len > left) {
			transfer->cut = iov->iov_len - left;
			iov->iov_len = left;
		}
		left -= iov->iov_len;
	}
}

static void mend(struct transfer *transfer)
{
	if (transfer->cut)
		transfer->iov[transfer->nr_now - 1].iov_len += transfer->cut;
	/* Calls that move nothing do all or nothing. */
	if (!transfer->iov && !transfer->result)
		transfer->result = transfer->now;
}

/* Those that go on end again: for them there will be another event. */
static void tell(struct transfers *transfers)
{
	struct transfer *transfer;

	for (unsigned int nr = transfers->in_flight; nr && (transfer = next_ended(transfers)); nr--) {
		transfers->in_flight--;
		mend(transfer);
		transfers->done(transfers, transfer);
	}
}

static void ended(struct vm *vm, struct source *source, __u32 events)
{
	struct transfers *transfers = container_of(source, struct transfers, ended);
	eventfd_t times;

	(void)vm;
	(void)events;
	if (eventfd_read(source->fd, &times))
		return;
	tell(transfers);
	transfers->settled(transfers);
}

/* There are answers, or there is room. */
static void answered(struct vm *vm, struct source *source, __u32 events)
{
	struct transfers *transfers = container_of(source, struct transfers, client.source);

	(void)vm;
	(void)events;
	nbd_receive(transfers);
	tell(transfers);
	transfers->settled(transfers);
}

void transfers_start(struct transfers *transfers, struct transfer *transfer)
{
	transfers->in_flight++;
	cut(transfer);
	if (transfers->has_ring)
		prepare(transfers, transfer);
	else
		hand_over(transfers, transfer);
}

void transfers_submit(struct transfers *transfers)
{
	if (transfers->is_served)
		nbd_send(transfers);
	else if (transfers->has_ring)
		io_uring_submit(&transfers->ring);
}

void transfers_wait(struct transfers *transfers)
{
	struct pollfd ready = { .fd = transfers->ended.fd, .events = POLLIN };
	eventfd_t times;

	for (tell(transfers); transfers->in_flight; tell(transfers)) {
		/* It may fail for want of memory: again, then. */
		transfers_submit(transfers);
		if (transfers->is_served)
			nbd_wait(transfers);
		else if (poll(&ready, 1, AGAIN_MS) == 1)
			eventfd_read(ready.fd, &times);
	}
}

/* From now on it reads and writes, and nothing else; false if the kernel cannot promise that. */
static bool restrict_ring(struct io_uring *ring)
{
	struct io_uring_restriction only[] = {
		{ .opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_READV },
		{ .opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_WRITEV },
		{ .opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_FSYNC },
		{ .opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_FALLOCATE },
		{ .opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED, .sqe_flags = IOSQE_ASYNC },
	};

	/* Debian's liburing declares calls for this, and has none. */
	return !syscall(SYS_io_uring_register, ring->ring_fd, IORING_REGISTER_RESTRICTIONS, only,
			ARRAY_SIZE(only)) &&
	       !syscall(SYS_io_uring_register, ring->ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
}

/* The way in which they are done; 0, or -1 after a complaint. */
static int choose(struct vm *vm, struct transfers *transfers, unsigned int depth)
{
	if (transfers->is_served) {
		transfers->client.source = (struct source) {
			.fd = transfers->fd, .ready = answered, .lock = transfers->ended.lock,
		};
		if (!source_add(&vm->io, &transfers->client.source, EPOLLIN))
			return 0;
		complain("cannot wait for the server of a disk: %m");
		return -1;
	}
	transfers->has_ring = !io_uring_queue_init(2 * depth, &transfers->ring, IORING_SETUP_R_DISABLED);
	if (transfers->has_ring && !io_uring_register_eventfd(&transfers->ring, transfers->ended.fd) &&
	    restrict_ring(&transfers->ring))
		return 0;
	if (transfers->has_ring)
		io_uring_queue_exit(&transfers->ring);
	transfers->has_ring = false;
	return create_thread(transfers);
}

int transfers_create(struct vm *vm, struct transfers *transfers, unsigned int depth)
{
	transfers->ended.ready = ended;
	if (source_add_eventfd(&vm->io, &transfers->ended)) {
		complain("cannot make an eventfd for a disk: %m");
		return -1;
	}
	pthread_mutex_init(&transfers->lock, NULL);
	pthread_cond_init(&transfers->asked, NULL);
	transfers->last = &transfers->waiting;
	if (!choose(vm, transfers, depth))
		return 0;
	source_remove(&transfers->ended);
	close(transfers->ended.fd);
	return -1;
}

void transfers_destroy(struct transfers *transfers)
{
	if (transfers->is_served)
		source_remove(&transfers->client.source);
	else if (transfers->has_ring)
		io_uring_queue_exit(&transfers->ring);
	else
		end_thread(transfers);
	source_remove(&transfers->ended);
	close(transfers->ended.fd);
}
