// SPDX-License-Identifier: GPL-2.0
/*
 * Virtio block devices.  VIRTIO 1.2, "Block Device".
 *
 * A write is acknowledged when the host's kernel has it, so that it survives the
 * end of this process; a flush is the host's fdatasync.  A driver that does not
 * know of flushes gets each write synced.  Requests are in flight together and
 * end in any order.
 *
 * A write for which the host has no room, or which its disk refuses, is not the guest's to
 * hear of: the machine is paused, and the write made again when it resumes.  A flush that fails
 * is: what it was to bring out is not in the host's cache any more, and a second one would
 * say that all is well.
 *
 * An image that is not raw, or not here, is served by another process (disk_server.c), and all of this is
 * true of it, too; but that a flush is made again: what its server could not write it has, or
 * it refuses each flush from then on.
 */
#include <errno.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "disk.h"
#include "runner.h"
#include "throttle.h"
#include "traffic.h"
#include "virtio.h"

#define ALIGN_SECTORS 8
#define MOST_SECTORS (1u << 22)	/* of a discard: 2 GiB */

/*
 * No more than this is under way, nor of what is asked for at all but for a single request: whoever
 * resets the device, or ends the machine, waits for it.
 */
#define BYTES_MOST (16ul << 20)

#define FEATURE(name) (1ull << VIRTIO_BLK_F_##name)

/**
 * struct request - a request of the driver's
 * @transfer: what is done for it: what is left of that
 * @chain: its buffers
 * @size: bytes that were to be transferred at first
 * @room: bytes that the device may write before the status
 * @written: and those that it has written
 * @type: VIRTIO_BLK_T_*
 * @status: where the outcome goes
 * @next: another one that is free, or held
 */
struct request {
	struct transfer transfer;
	struct chain chain;
	size_t size;
	size_t room;
	size_t written;
	__u32 type;
	__u8 *status;
	struct request *next;
};

/**
 * struct blk - a disk
 * @virtio: as a device
 * @config: what the driver reads
 * @disk: what was asked for
 * @image: this
 * @readonly: for the driver
 * @id: what it is called
 * @throttle: how fast it may be
 * @transfers: what is in flight
 * @flush: a flush of our own, for a pause
 * @is_dirty: something has been written since the last one
 * @is_lost: that one failed, of which the driver is to hear by its own
 * @bytes: of all requests in flight
 * @free: requests that are not, and have been
 * @nr_used: how many of @requests have been: the others are not in memory yet
 * @held: those that the host could not do
 * @nr_again: how many @again are there
 * @again: heads of chains that were held when the state was saved which was loaded
 * @traffic: what has been done
 * @requests: all
 */
struct blk {
	struct virtio virtio;
	struct virtio_blk_config config;
	const struct disk *disk;
	struct image_file image;
	bool readonly;
	char id[VIRTIO_BLK_ID_BYTES];
	struct throttle throttle;
	struct transfers transfers;
	struct transfer flush;
	bool is_dirty;
	bool is_lost;
	size_t bytes;
	struct request *free;
	unsigned int nr_used;
	struct request *held;
	unsigned int nr_again;
	__u16 again[VIRTQUEUE_SIZE];
	struct traffic *traffic;
	struct request requests[VIRTQUEUE_SIZE];
};

static struct blk *blk_of(struct virtio *virtio)
{
	return container_of(virtio, struct blk, virtio);
}

static void count(struct blk *blk, const struct request *request)
{
	switch (request->type) {
	case VIRTIO_BLK_T_IN:
		traffic_add(blk->traffic, DISK_READS, 1);
		traffic_add(blk->traffic, DISK_READ_BYTES, request->size);
		break;
	case VIRTIO_BLK_T_OUT:
		traffic_add(blk->traffic, DISK_WRITES, 1);
		traffic_add(blk->traffic, DISK_WRITTEN_BYTES, request->size);
		break;
	case VIRTIO_BLK_T_FLUSH:
		traffic_add(blk->traffic, DISK_FLUSHES, 1);
		break;
	case VIRTIO_BLK_T_DISCARD:
	case VIRTIO_BLK_T_WRITE_ZEROES:
		traffic_add(blk->traffic, DISK_DISCARDS, 1);
		break;
	}
}

/* One that is free, and stays that until it begins; NULL: all are under way. */
static struct request *get_free(struct blk *blk)
{
	if (!blk->free && blk->nr_used < VIRTQUEUE_SIZE)
		blk->free = &blk->requests[blk->nr_used++];
	return blk->free;
}

static void forget(struct blk *blk, struct request *request)
{
	blk->bytes -= request->size;
	request->next = blk->free;
	blk->free = request;
}

static void finish(struct blk *blk, struct request *request, __u8 status)
{
	if (status == VIRTIO_BLK_S_OK)
		count(blk, request);
	*request->status = status;
	/* The status is behind what it has not written: only all of it is written one behind the other. */
	virtqueue_push(&blk->virtio.queues[0], request->chain.head,
		       request->written + (request->written == request->room));
	forget(blk, request);
}

/* ---- starting ----------------------------------------------------------------- */

/* Does the request stay within the disk? */
static bool is_inside(const struct blk *blk, __u64 sector, __u64 bytes)
{
	return sector <= blk->config.capacity && bytes % SECTOR == 0 &&
	       bytes / SECTOR <= blk->config.capacity - sector;
}

/* For now it is under way. */
static __u8 transfer(struct blk *blk, struct request *request, enum transfer_kind kind)
{
	request->transfer.kind = kind;
	transfers_start(&blk->transfers, &request->transfer);
	return VIRTIO_BLK_S_OK;
}

static __u8 start_transfer(struct blk *blk, struct request *request, __u64 sector)
{
	bool in = request->type == VIRTIO_BLK_T_IN, has_flush = blk->virtio.driver_features & FEATURE(FLUSH);
	struct chain *chain = &request->chain;
	struct iovec *iov = in ? chain->iov + chain->nr_out : chain->iov;
	unsigned int nr = in ? chain->nr_in : chain->nr_out;

	request->transfer = (struct transfer) {
		.iov = iov, .nr_iov = nr, .offset = sector * SECTOR, .size = iov_size(iov, nr),
	};
	if (!is_inside(blk, sector, request->transfer.size) || (!in && blk->readonly))
		return VIRTIO_BLK_S_IOERR;
	request->size = request->transfer.size;
	blk->bytes += request->size;
	return transfer(blk, request, in ? TRANSFER_READ : has_flush ? TRANSFER_WRITE : TRANSFER_WRITE_SYNC);
}

static __u8 start_range(struct blk *blk, struct request *request)
{
	__le32 known = request->type == VIRTIO_BLK_T_DISCARD ? 0 : VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP;
	struct virtio_blk_discard_write_zeroes range;
	struct chain *chain = &request->chain;

	if (iov_read(chain->iov, chain->nr_out, &range, sizeof(range)) != sizeof(range))
		return VIRTIO_BLK_S_IOERR;
	if (iov_size(chain->iov, chain->nr_out) || range.flags & ~known)
		return VIRTIO_BLK_S_UNSUPP;
	if (!is_inside(blk, range.sector, range.num_sectors * (__u64)SECTOR) || blk->readonly ||
	    !range.num_sectors)
		return VIRTIO_BLK_S_IOERR;
	request->transfer = (struct transfer) {
		.offset = range.sector * SECTOR, .size = range.num_sectors * (size_t)SECTOR,
	};
	return transfer(blk, request, request->type == VIRTIO_BLK_T_DISCARD ? TRANSFER_DISCARD :
			range.flags & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP ? TRANSFER_PUNCH : TRANSFER_ZERO);
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
		request->transfer = (struct transfer) { 0 };
		return transfer(blk, request, TRANSFER_FLUSH);
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

/* A request whose chain there is; false if that is none. */
static bool begin(struct blk *blk, struct request *request)
{
	unsigned int before = blk->transfers.in_flight;
	__u8 status;

	request->written = 0;
	request->size = 0;
	request->status = take_status(&request->chain);
	if (!request->status) {
		virtio_break(&blk->virtio);
		return false;
	}
	request->room = iov_size(request->chain.iov + request->chain.nr_out, request->chain.nr_in);
	blk->free = request->next;
	status = start(blk, request);
	if (blk->transfers.in_flight == before)
		finish(blk, request, status);
	return true;
}

static void blk_kick(struct virtio *virtio, struct virtqueue *queue)
{
	struct blk *blk = blk_of(virtio);
	struct request *request;

	while ((request = get_free(blk)) && blk->bytes < BYTES_MOST && throttle_lets(&blk->throttle) &&
	       virtqueue_pop(queue, &request->chain)) {
		if (!begin(blk, request))
			break;
		throttle_charge(&blk->throttle, request->size);
	}
	transfers_submit(&blk->transfers);
}

/* ---- completing ------------------------------------------------------------------- */

/* A part has been done: go on with the rest, if there is one. */
static bool goes_on(struct blk *blk, struct request *request, size_t done)
{
	struct transfer *transfer = &request->transfer;

	if (transfer->kind == TRANSFER_READ)
		request->written += done;
	transfer->size -= done;
	transfer->offset += done;
	if (!transfer->size)
		return false;
	while (transfer->iov && done >= transfer->iov->iov_len) {
		done -= transfer->iov->iov_len;
		transfer->iov++;
		transfer->nr_iov--;
	}
	if (transfer->iov) {
		transfer->iov->iov_base = (char *)transfer->iov->iov_base + done;
		transfer->iov->iov_len -= done;
	}
	transfers_start(&blk->transfers, transfer);
	return true;
}

static __u8 to_status(int result)
{
	if (result == -EOPNOTSUPP)
		return VIRTIO_BLK_S_UNSUPP;
	return result < 0 ? VIRTIO_BLK_S_IOERR : VIRTIO_BLK_S_OK;
}

/* The host's disk is full or broken, which can be mended. */
static bool is_held(struct blk *blk, struct request *request, int result)
{
	struct vm *vm = blk->virtio.pci.device.vm;
	enum transfer_kind kind = request->transfer.kind;

	if (kind == TRANSFER_READ || (kind == TRANSFER_FLUSH && !blk->transfers.is_served) ||
	    (result != -ENOSPC && result != -EDQUOT && result != -EIO))
		return false;
	request->next = blk->held;
	blk->held = request;
	vm_hold(vm, "the disk %s cannot be written: %s", blk->disk->path, strerror(-result));
	return true;
}

static void transferred(struct transfers *transfers, struct transfer *transfer)
{
	struct blk *blk = container_of(transfers, struct blk, transfers);
	struct request *request = container_of(transfer, struct request, transfer);
	bool is_read = transfer->kind == TRANSFER_READ;
	bool is_data = transfer->iov;
	ssize_t result = transfer->result;

	if (transfer == &blk->flush) {
		blk->is_lost |= result < 0 && !transfers->is_served;
		return;
	}
	/* The driver wants to hear nothing more of it. */
	if (blk->virtio.is_resetting) {
		forget(blk, request);
		return;
	}
	/* Where there are no zeroes but those of holes, as in tmpfs, these are written. */
	if (result == -EOPNOTSUPP && transfer->kind == TRANSFER_ZERO) {
		transfer->kind = TRANSFER_PUNCH;
		result = -EAGAIN;
	}
	if (result == -EINTR || result == -EAGAIN) {
		transfers_start(transfers, transfer);
		return;
	}
	if (transfer->kind == TRANSFER_FLUSH && blk->is_lost) {
		result = -EIO;
		blk->is_lost = false;
	}
	blk->is_dirty |= !is_read && transfer->kind != TRANSFER_FLUSH;
	/* The image has become shorter than the disk. */
	if (is_data && !result && transfer->size)
		finish(blk, request, VIRTIO_BLK_S_IOERR);
	else if (!(result > 0 && goes_on(blk, request, result)) && !is_held(blk, request, result))
		finish(blk, request, to_status(result));
}

/* What had to wait for a free request. */
static void settled(struct transfers *transfers)
{
	struct blk *blk = container_of(transfers, struct blk, transfers);

	blk_kick(&blk->virtio, &blk->virtio.queues[0]);
	io_settled(blk->virtio.pci.device.vm);
	virtio_settled(&blk->virtio);
}

/* Before a pause: all that has been asked for is done, and on the disk. */
static bool blk_drain(struct virtio *virtio)
{
	struct blk *blk = blk_of(virtio);

	if (virtio_is_ready(virtio))
		blk_kick(virtio, &virtio->queues[0]);
	if (!blk->transfers.in_flight && blk->is_dirty) {
		blk->flush = (struct transfer) { .kind = TRANSFER_FLUSH };
		blk->is_dirty = false;
		transfers_start(&blk->transfers, &blk->flush);
		transfers_submit(&blk->transfers);
	}
	return !blk->transfers.in_flight;
}

/* What could not be done before is tried again; what another runner could not do is begun anew. */
static void blk_resume(struct virtio *virtio)
{
	struct blk *blk = blk_of(virtio);
	struct request *request;

	for (; blk->nr_again && (request = get_free(blk)); blk->nr_again--)
		if (virtqueue_again(&virtio->queues[0], blk->again[blk->nr_again - 1], &request->chain))
			begin(blk, request);

	while ((request = blk->held)) {
		blk->held = request->next;
		transfers_start(&blk->transfers, &request->transfer);
	}
	transfers_submit(&blk->transfers);
}

/* The driver wants its memory back, when nothing is in flight any more; what is held will not be done. */
static bool blk_reset(struct virtio *virtio)
{
	struct blk *blk = blk_of(virtio);
	struct request *request;

	blk->nr_again = 0;
	while ((request = blk->held)) {
		blk->held = request->next;
		forget(blk, request);
	}
	return !blk->transfers.in_flight;
}

/* A guest whose disk was written to since is not the one that was saved: it would destroy it. */
static void image_state(struct blk *blk, struct state *state)
{
	__u64 capacity = blk->config.capacity, modified[2] = { 0 }, was[2];
	struct stat stat;

	if (!blk->readonly && !fstat(blk->image.fd, &stat) && S_ISREG(stat.st_mode)) {
		modified[0] = stat.st_mtim.tv_sec;
		modified[1] = stat.st_mtim.tv_nsec;
	}
	memcpy(was, modified, sizeof(was));
	state_value(state, "capacity", &capacity, sizeof(capacity));
	state_value(state, "modified", was, sizeof(was));
	if (state->loads && capacity != blk->config.capacity)
		state_fail(state, "the disk %s has another size than it had", blk->disk->path);
	if (state->loads && memcmp(was, modified, sizeof(was)))
		state_fail(state, "the disk %s has been written to since (a copy keeps its time by cp -p)",
			   blk->disk->path);
}

/*
 * What is held will be begun anew, all of it: writes of the same once more.  When the machine goes
 * on: until then the disk may be another runner's.
 */
static void blk_state(struct virtio *virtio, struct state *state)
{
	struct blk *blk = blk_of(virtio);
	__u16 held[VIRTQUEUE_SIZE];
	size_t size = blk->nr_again * sizeof(held[0]);
	const void *heads = memcpy(held, blk->again, size);

	if (blk->transfers.is_served)
		state_fail(state, "the disk %s is served outside of the runner, which does not know all of "
			   "its state", blk->disk->path);
	for (const struct request *request = blk->held; request; request = request->next) {
		held[size / sizeof(held[0])] = request->chain.head;
		size += sizeof(held[0]);
	}
	image_state(blk, state);
	STATE(state, blk, is_lost);
	if (!state_block(state, "held", &heads, &size) || !state->loads)
		return;
	state_require(state, size <= sizeof(held) && !(size % sizeof(held[0])) &&
		      (!size || virtio->queues[0].enabled), "there cannot be such requests");
	if (state_has_failed(state))
		return;
	memcpy(blk->again, heads, size);
	blk->nr_again = size / sizeof(blk->again[0]);
}

/* ---- making one ---------------------------------------------------------------------- */

static int open_image(struct vm *vm, struct blk *blk, const struct disk *disk)
{
	blk->disk = disk;
	blk->transfers.is_served = disk->format;
	return disk->format ? disk_server_open(vm, &blk->image, disk) : disk_open(&blk->image, disk);
}

static void close_image(struct blk *blk)
{
	if (blk->transfers.is_served)
		disk_server_close(&blk->image, blk->disk);
	else
		disk_close(&blk->image, blk->disk);
}

static void blk_destroy(struct virtio *virtio)
{
	struct blk *blk = blk_of(virtio);

	transfers_wait(&blk->transfers);
	transfers_destroy(&blk->transfers);
	throttle_destroy(&blk->throttle);
	close_image(blk);
	free(blk);
}

static const struct virtio_ops ops = {
	.name = "virtio-blk", .id = VIRTIO_ID_BLOCK, .class = 0x010000, .nr_queues = 1,
	.kick = blk_kick, .drain = blk_drain, .resume = blk_resume, .state = blk_state,
	.reset = blk_reset, .destroy = blk_destroy,
};

static void configure(struct blk *blk, const struct disk *disk)
{
	const char *name = basename(disk->path);
	unsigned int sector = blk->image.sector;

	blk->readonly = disk->readonly;
	blk->config = (struct virtio_blk_config) {
		.capacity = blk->image.size / SECTOR, .seg_max = VIRTQUEUE_SIZE - 2, .blk_size = sector,
		.max_discard_sectors = MOST_SECTORS, .max_discard_seg = 1,
		.discard_sector_alignment = sector > ALIGN_SECTORS * SECTOR ? sector / SECTOR : ALIGN_SECTORS,
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

static int create_disk(struct vm *vm, const struct disk *disk, unsigned int index)
{
	struct blk *blk = calloc(1, sizeof(*blk));

	if (!blk) {
		complain("no memory for the disk %s", disk->path);
		return -1;
	}
	blk->traffic = traffic_get(vm, TRAFFIC_DISK, index);
	if (!blk->traffic || open_image(vm, blk, disk)) {
		free(blk);
		return -1;
	}
	blk->transfers.fd = blk->image.fd;
	blk->transfers.name = disk->path;
	blk->transfers.done = transferred;
	blk->transfers.settled = settled;
	blk->transfers.ended.lock = &blk->virtio.pci.lock;
	if (transfers_create(vm, &blk->transfers, VIRTQUEUE_SIZE)) {
		close_image(blk);
		free(blk);
		return -1;
	}
	configure(blk, disk);
	if (!virtio_create(vm, &blk->virtio, &ops))
		return throttle_create(&blk->throttle, &disk->rate, &blk->virtio.queues[0]);
	blk_destroy(&blk->virtio);
	return -1;
}

int virtio_blk_create(struct vm *vm)
{
	for (unsigned int i = 0; i < vm->options->nr_disks; i++)
		if (create_disk(vm, &vm->options->disks[i], i))
			return -1;
	return 0;
}
