/* SPDX-License-Identifier: GPL-2.0 */
/* What a disk's bytes are in, and how they are read and written while the devices go on. */
#ifndef DISK_H
#define DISK_H

#include <liburing.h>
#include <linux/nbd.h>
#include <sys/uio.h>

#include "daemon.h"
#include "vm.h"

/* ---- images (disk.c) ---------------------------------------------------------------- */

#define SECTOR 512	/* virtio counts in these, whatever the disk does */

/**
 * struct image_file - a raw image, or a block device; or the connection to who has another one
 * @fd: it, so that nobody else writes to it
 * @size: in bytes, a multiple of @sector
 * @sector: the least that the disk reads or writes, in bytes
 * @daemon: who is at the other end of the connection
 */
struct image_file {
	int fd;
	__u64 size;
	unsigned int sector;
	struct daemon daemon;
};

/* 0, or -1 after a complaint. */
int disk_open(struct image_file *image, const struct disk *disk);
void disk_close(struct image_file *image, const struct disk *disk);

/* Is it an image of the format that it is said to be? 0, or -1 after a complaint. */
int disk_check_format(const struct disk *disk);

/* The same where the image is not raw, or not here (disk_server.c): somebody serves it by NBD. */
int disk_server_open(struct vm *vm, struct image_file *image, const struct disk *disk);
void disk_server_close(struct image_file *image, const struct disk *disk);

/* ---- cloud-init (cloud_init.c) ------------------------------------------------------------ */

/* Append the disk that the options ask for, an image in memory: 0, or -1 after a complaint. */
int cloud_init_add(struct options *options);

/* ---- transfers (transfer.c) ------------------------------------------------------------ */

/* Of those without data: what is discarded is of no use any more; punched it is zeros, and takes no room. */
enum transfer_kind {
	TRANSFER_READ, TRANSFER_WRITE, TRANSFER_WRITE_SYNC, TRANSFER_FLUSH, TRANSFER_DISCARD,
	TRANSFER_PUNCH, TRANSFER_ZERO,
};

/**
 * struct transfer - something to be done to a file
 * @kind: what
 * @iov: to or from where; NULL: it moves no data
 * @nr_iov: how many there are
 * @offset: in the file
 * @size: bytes
 * @result: out: how many bytes have been done, at most @now, or a negative errno
 * @next: another one
 * @now: how many bytes are under way, which are not all of a large one
 * @nr_now: in how many of @iov
 * @cut: how much the last of these has been shortened by
 * @cookie: by which a server answers
 */
struct transfer {
	enum transfer_kind kind;
	struct iovec *iov;
	unsigned int nr_iov;
	__u64 offset;
	size_t size;
	ssize_t result;
	struct transfer *next;
	size_t now;
	unsigned int nr_now;
	size_t cut;
	__u64 cookie;
};

/**
 * struct nbd_client - a connection to a server, in both directions
 * @source: it
 * @has_ended: nothing goes over it any more
 * @is_full: it takes no more now
 * @last_cookie: of what was sent last
 * @nr_sent: bytes that have been sent of the request that waits first
 * @unanswered: transfers that have been asked for, the last one first
 * @nr_received: bytes that have come of an answer
 * @reply: its head
 * @answered: whose it is, once that is known
 */
struct nbd_client {
	struct source source;
	bool has_ended;
	bool is_full;
	__u64 last_cookie;
	size_t nr_sent;
	struct transfer *unanswered;
	size_t nr_received;
	struct nbd_reply reply;
	struct transfer *answered;
};

/**
 * struct transfers - what is under way for a file
 * @fd: the file; or a connection to who has it
 * @name: what it is called
 * @is_served: @fd is such a connection
 * @done: called for each that has ended, in the I/O thread, with the lock of @ended held
 * @settled: called then, when those that have ended by now have been told
 * @ended: an eventfd: some have ended; its lock is the device's, which also has whoever calls
 * @in_flight: how many have not
 * @client: who does them if there is a server
 * @has_ring: else it is io_uring, else a thread
 * @ring: io_uring
 * @thread: this
 * @lock: of the rest
 * @asked: there are @waiting, or the thread is to end
 * @waiting: for the thread or the connection, in the order in which they came
 * @last: where the next one goes
 * @finished: by these, the last one first
 * @is_ending: the thread is to end
 */
struct transfers {
	int fd;
	const char *name;
	bool is_served;
	void (*done)(struct transfers *transfers, struct transfer *transfer);
	void (*settled)(struct transfers *transfers);
	struct source ended;
	unsigned int in_flight;
	struct nbd_client client;
	bool has_ring;
	struct io_uring ring;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t asked;
	struct transfer *waiting;
	struct transfer **last;
	struct transfer *finished;
	bool is_ending;
};

/* For @depth transfers at most; 0, or -1 after a complaint. */
int transfers_create(struct vm *vm, struct transfers *transfers, unsigned int depth);
/*
 * Begin one, by the next transfers_submit() at the latest.  Of a large one the beginning is done:
 * what is under way is soon over.
 */
void transfers_start(struct transfers *transfers, struct transfer *transfer);
void transfers_submit(struct transfers *transfers);
/* Until none is under way. */
void transfers_wait(struct transfers *transfers);
/* None is under way. */
void transfers_destroy(struct transfers *transfers);
/* The first of those that wait, which does not any more; NULL: there is none. */
struct transfer *transfers_take(struct transfers *transfers);

/* ---- over a connection (nbd_client.c) ----------------------------------------------------- */

/* What a disk is called there. */
#define NBD_NAME "disk"

/* Ask for the disk, and for its size in bytes, before the machine runs; false: it cannot be had. */
bool nbd_agree(int fd, bool readonly, __u64 *size);
/* Send what waits, as far as there is room. */
void nbd_send(struct transfers *transfers);
/* Take the answers that are there. */
void nbd_receive(struct transfers *transfers);
/* Wait for some, or for room to send more; where that is of no use, what is under way ends. */
void nbd_wait(struct transfers *transfers);

#endif /* DISK_H */
