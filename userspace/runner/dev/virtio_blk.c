// SPDX-License-Identifier: GPL-2.0
/*
 * Virtio block devices: raw images and block devices, through io_uring.  VIRTIO
 * 1.2, "Block Device".
 *
 * A write is acknowledged when the host's kernel has it, so that it survives the
 * end of this process; a flush is the host's fdatasync.  A driver that does not
 * know of flushes gets each write synced.  Requests are in flight together and
 * end in any order.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_ids.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runner.h"
#include "virtio.h"

#define SECTOR 512
#define ALIGN_SECTORS 8
#define MOST_SECTORS (1u << 22)	/* of a discard: 2 GiB */

/* No more than this is in flight, but for a single request: whoever resets the device waits for it. */
#define BYTES_MOST (16ul << 20)
#define COPIED_MOST 65536

#define FEATURE(name) (1ull << VIRTIO_BLK_F_##name)

/**
 * struct request - a request of the driver's
 * @chain: its buffers, what is left of them
 * @data: those that are read or written now
 * @nr_data: how many
 * @offset: in the image
 * @left: bytes to be transferred
 * @size: bytes that were to be transferred at first
 * @written: bytes that the driver finds in its buffers
 * @type: VIRTIO_BLK_T_*
 * @status: where the outcome goes
 * @next: another one that is free
 */
struct request {
	struct chain chain;
	struct iovec *data;
	unsigned int nr_data;
	__u64 offset;
	size_t left;
	size_t size;
	size_t written;
	__u32 type;
	__u8 *status;
	struct request *next;
};

struct blk {
	struct virtio virtio;
	struct virtio_blk_config config;
	int fd;
	bool readonly;
	char id[VIRTIO_BLK_ID_BYTES];
	struct io_uring ring;
	struct source done;		/* something has completed */
	unsigned int in_flight;
	size_t bytes;			/* of all transfers in flight */
	struct request *free;
	struct request requests[VIRTQUEUE_SIZE];
};

static struct blk *blk_of(struct virtio *virtio)
{
	return container_of(virtio, struct blk, virtio);
}

static void finish(struct blk *blk, struct request *request, __u8 status)
{
	*request->status = status;
	blk->bytes -= request->size;
	virtqueue_push(&blk->virtio.queues[0], request->chain.head, request->written + 1);
	request->next = blk->free;
	blk->free = request;
}

/* ---- submitting ---------------------------------------------------------------- */

static struct io_uring_sqe *get_sqe(struct blk *blk)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&blk->ring);

	/* There are as many as requests: all are taken only until they are submitted. */
	if (!sqe) {
		io_uring_submit(&blk->ring);
		sqe = io_uring_get_sqe(&blk->ring);
	}
	return sqe;
}

/* Does the request stay within the disk? */
static bool is_inside(const struct blk *blk, __u64 sector, __u64 bytes)
{
	return sector <= blk->config.capacity && bytes % SECTOR == 0 &&
	       bytes / SECTOR <= blk->config.capacity - sector;
}

static bool submit(struct blk *blk, struct request *request, struct io_uring_sqe *sqe)
{
	bool has_flush = blk->virtio.driver_features & FEATURE(FLUSH);

	if (!sqe)
		return false;
	if (request->type == VIRTIO_BLK_T_IN)
		io_uring_prep_readv(sqe, blk->fd, request->data, request->nr_data,
				    request->offset);
	else if (request->type == VIRTIO_BLK_T_OUT)
		io_uring_prep_writev2(sqe, blk->fd, request->data, request->nr_data,
				      request->offset, has_flush ? 0 : RWF_DSYNC);
	else if (request->type == VIRTIO_BLK_T_FLUSH)
		io_uring_prep_fsync(sqe, blk->fd, IORING_FSYNC_DATASYNC);
	else
		io_uring_prep_fallocate(sqe, blk->fd, FALLOC_FL_KEEP_SIZE |
					(request->type == VIRTIO_BLK_T_DISCARD ?
					 FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE),
					request->offset, request->left);
	/* What is in the host's cache would be copied here and now. */
	if (request->left > COPIED_MOST)
		io_uring_sqe_set_flags(sqe, IOSQE_ASYNC);
	io_uring_sqe_set_data(sqe, request);
	blk->in_flight++;
	return true;
}

static __u8 start_transfer(struct blk *blk, struct request *request, __u64 sector)
{
	struct chain *chain = &request->chain;
	bool in = request->type == VIRTIO_BLK_T_IN;

	request->data = in ? chain->iov + chain->nr_out : chain->iov;
	request->nr_data = in ? chain->nr_in : chain->nr_out;
	request->left = iov_size(request->data, request->nr_data);
	request->offset = sector * SECTOR;
	if (!is_inside(blk, sector, request->left) || (!in && blk->readonly))
		return VIRTIO_BLK_S_IOERR;
	request->size = request->left;
	blk->bytes += request->size;
	return submit(blk, request, get_sqe(blk)) ? VIRTIO_BLK_S_OK : VIRTIO_BLK_S_IOERR;
}

static __u8 start_range(struct blk *blk, struct request *request)
{
	struct virtio_blk_discard_write_zeroes range;
	struct chain *chain = &request->chain;

	if (iov_read(chain->iov, chain->nr_out, &range, sizeof(range)) != sizeof(range) ||
	    !is_inside(blk, range.sector, range.num_sectors * (__u64)SECTOR) || blk->readonly ||
	    !range.num_sectors)
		return VIRTIO_BLK_S_IOERR;
	if (iov_size(chain->iov, chain->nr_out) ||
	    range.flags & ~VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP)
		return VIRTIO_BLK_S_UNSUPP;
	request->offset = range.sector * SECTOR;
	request->left = range.num_sectors * (size_t)SECTOR;
	/* Holes read as zeros. */
	if (range.flags & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP)
		request->type = VIRTIO_BLK_T_DISCARD;
	return submit(blk, request, get_sqe(blk)) ? VIRTIO_BLK_S_OK : VIRTIO_BLK_S_IOERR;
}

/* Begin a request; what it returns is its status if nothing is in flight for it then. */
static __u8 start(struct blk *blk, struct request *request)
{
	struct chain *chain = &request->chain;
	struct virtio_blk_outhdr header;

	if (iov_read(chain->iov, chain->nr_out, &header, sizeof(header)) != sizeof(header))
		return VIRTIO_BLK_S_IOERR;
	request->type = header.type;
	switch (header.type) {
	case VIRTIO_BLK_T_IN:
	case VIRTIO_BLK_T_OUT:
		return start_transfer(blk, request, header.sector);
	case VIRTIO_BLK_T_FLUSH:
		return submit(blk, request, get_sqe(blk)) ? VIRTIO_BLK_S_OK : VIRTIO_BLK_S_IOERR;
	case VIRTIO_BLK_T_DISCARD:
	case VIRTIO_BLK_T_WRITE_ZEROES:
		return start_range(blk, request);
	case VIRTIO_BLK_T_GET_ID:
		request->written = iov_write(chain->iov + chain->nr_out, chain->nr_in, blk->id,
					     sizeof(blk->id));
		return VIRTIO_BLK_S_OK;
	default:
		return VIRTIO_BLK_S_UNSUPP;
	}
}

/* The last byte that the device may write is for the status: take it out of the buffers. */
static __u8 *take_status(struct chain *chain)
{
	unsigned int nr = chain->nr_out + chain->nr_in;
	struct iovec *last = chain->nr_in ? &chain->iov[nr - 1] : NULL;

	if (!last || !last->iov_len)
		return NULL;
	return (__u8 *)last->iov_base + --last->iov_len;
}

static void blk_kick(struct virtio *virtio, struct virtqueue *queue)
{
	struct blk *blk = blk_of(virtio);
	struct request *request;

	while ((request = blk->free) && blk->bytes < BYTES_MOST && virtqueue_pop(queue, &request->chain)) {
		unsigned int before = blk->in_flight;
		__u8 status;

		request->written = 0;
		request->size = 0;
		request->status = take_status(&request->chain);
		if (!request->status) {
			virtio_break(virtio);
			break;
		}
		blk->free = request->next;
		status = start(blk, request);
		if (blk->in_flight == before)
			finish(blk, request, status);
	}
	io_uring_submit(&blk->ring);
}

/* ---- completing ------------------------------------------------------------------- */

/* A part has been transferred: go on with the rest, if there is one. */
static bool goes_on(struct blk *blk, struct request *request, size_t done)
{
	if (request->type == VIRTIO_BLK_T_IN)
		request->written += done;
	request->left -= done;
	request->offset += done;
	if (!request->left)
		return false;
	while (done >= request->data->iov_len) {
		done -= request->data->iov_len;
		request->data++;
		request->nr_data--;
	}
	request->data->iov_base = (char *)request->data->iov_base + done;
	request->data->iov_len -= done;
	return submit(blk, request, get_sqe(blk));
}

static __u8 to_status(int result)
{
	if (result == -EOPNOTSUPP)
		return VIRTIO_BLK_S_UNSUPP;
	return result < 0 ? VIRTIO_BLK_S_IOERR : VIRTIO_BLK_S_OK;
}

static void complete(struct blk *blk, struct io_uring_cqe *cqe)
{
	struct request *request = io_uring_cqe_get_data(cqe);
	bool is_transfer = request->type == VIRTIO_BLK_T_IN || request->type == VIRTIO_BLK_T_OUT;
	int result = cqe->res;

	io_uring_cqe_seen(&blk->ring, cqe);
	blk->in_flight--;
	/* The image has become shorter than the disk. */
	if (is_transfer && !result && request->left)
		result = -EIO;
	if ((result == -EINTR || result == -EAGAIN) && submit(blk, request, get_sqe(blk)))
		return;
	if (is_transfer && result > 0 && goes_on(blk, request, result))
		return;
	if (is_transfer && result > 0 && request->left)
		result = -EIO;
	finish(blk, request, to_status(result));
}

static void completed(struct vm *vm, struct source *source, __u32 events)
{
	struct blk *blk = container_of(source, struct blk, done);
	struct io_uring_cqe *cqe;
	__u64 times;

	(void)vm;
	(void)events;
	if (read(source->fd, &times, sizeof(times)) < 0)
		return;
	while (!io_uring_peek_cqe(&blk->ring, &cqe))
		complete(blk, cqe);
	/* What had to wait for a free request. */
	blk_kick(&blk->virtio, &blk->virtio.queues[0]);
}

/* The driver wants its memory back: wait for what is in flight. */
static void blk_reset(struct virtio *virtio)
{
	struct blk *blk = blk_of(virtio);
	struct io_uring_cqe *cqe;

	virtio->queues[0].enabled = false;
	while (blk->in_flight && io_uring_submit_and_wait(&blk->ring, 1) >= 0)
		while (!io_uring_peek_cqe(&blk->ring, &cqe))
			complete(blk, cqe);
}

/* ---- making one ---------------------------------------------------------------------- */

static void blk_destroy(struct virtio *virtio)
{
	struct blk *blk = blk_of(virtio);

	source_remove(&blk->done);
	io_uring_queue_exit(&blk->ring);
	close(blk->done.fd);
	close(blk->fd);
	free(blk);
}

static const struct virtio_ops ops = {
	.name = "virtio-blk", .id = VIRTIO_ID_BLOCK, .class = 0x010000, .nr_queues = 1,
	.kick = blk_kick, .reset = blk_reset, .destroy = blk_destroy,
};

/* Open an image so that nobody else writes to it; its size, or -1 after a complaint. */
static off_t open_image(struct blk *blk, const struct disk *disk)
{
	struct flock lock = { .l_type = disk->readonly ? F_RDLCK : F_WRLCK };
	struct stat stat;
	off_t size;

	blk->fd = open(disk->path, (disk->readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC);
	if (blk->fd < 0) {
		complain("cannot open the disk %s: %s%s", disk->path, strerror(errno),
			 errno == EISDIR ? " (a raw image is wanted)" :
			 errno == EACCES || errno == EROFS ? " (--disk FILE,ro?)" : "");
		return -1;
	}
	if (fstat(blk->fd, &stat) || !(S_ISREG(stat.st_mode) || S_ISBLK(stat.st_mode))) {
		complain("the disk %s is neither a file nor a block device", disk->path);
		return -1;
	}
	if (fcntl(blk->fd, F_OFD_SETLK, &lock)) {
		complain("the disk %s is in use: by another VM? (--disk FILE,ro shares one)",
			 disk->path);
		return -1;
	}
	size = lseek(blk->fd, 0, SEEK_END);
	if (size < SECTOR) {
		complain("the disk %s has no room: a sector has %d bytes", disk->path, SECTOR);
		return -1;
	}
	return size;
}

static void configure(struct blk *blk, const struct disk *disk, off_t size)
{
	const char *name = basename(disk->path);

	blk->readonly = disk->readonly;
	blk->config = (struct virtio_blk_config) {
		.capacity = size / SECTOR, .seg_max = VIRTQUEUE_SIZE - 2, .blk_size = SECTOR,
		.max_discard_sectors = MOST_SECTORS, .max_discard_seg = 1,
		.discard_sector_alignment = ALIGN_SECTORS,
		.max_write_zeroes_sectors = MOST_SECTORS, .max_write_zeroes_seg = 1,
		.write_zeroes_may_unmap = 1,
	};
	/* Without an end if it is as long as that. */
	memcpy(blk->id, name, strnlen(name, sizeof(blk->id)));
	blk->virtio.config = &blk->config;
	blk->virtio.config_size = sizeof(blk->config);
	blk->virtio.features = FEATURE(SEG_MAX) | FEATURE(BLK_SIZE) | FEATURE(FLUSH) |
			       (disk->readonly ? FEATURE(RO) :
				FEATURE(DISCARD) | FEATURE(WRITE_ZEROES));
}

static int create_ring(struct vm *vm, struct blk *blk)
{
	int err = io_uring_queue_init(VIRTQUEUE_SIZE, &blk->ring, 0);

	if (err) {
		complain("cannot use io_uring: %s (sysctl kernel.io_uring_disabled?)",
			 strerror(-err));
		return -1;
	}
	blk->done.ready = completed;
	if (!source_add_eventfd(&vm->io, &blk->done) && !io_uring_register_eventfd(&blk->ring, blk->done.fd))
		return 0;
	complain("virtio-blk: cannot make an eventfd: %m");
	io_uring_queue_exit(&blk->ring);
	if (blk->done.fd >= 0)
		close(blk->done.fd);
	return -1;
}

static int create_disk(struct vm *vm, const struct disk *disk)
{
	struct blk *blk = calloc(1, sizeof(*blk));
	off_t size;

	if (!blk) {
		complain("no memory for the disk %s", disk->path);
		return -1;
	}
	blk->fd = -1;
	for (unsigned int i = 0; i < VIRTQUEUE_SIZE; i++) {
		blk->requests[i].next = blk->free;
		blk->free = &blk->requests[i];
	}
	size = open_image(blk, disk);
	if (size < 0 || create_ring(vm, blk)) {
		if (blk->fd >= 0)
			close(blk->fd);
		free(blk);
		return -1;
	}
	configure(blk, disk, size);
	if (!virtio_create(vm, &blk->virtio, &ops))
		return 0;
	blk_destroy(&blk->virtio);
	return -1;
}

int virtio_blk_create(struct vm *vm)
{
	for (unsigned int i = 0; i < vm->options->nr_disks; i++)
		if (create_disk(vm, &vm->options->disks[i]))
			return -1;
	return 0;
}
