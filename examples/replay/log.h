/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What a guest was given that it could not have foreseen, in a file.
 *
 * The file is a row of blocks. Each ends where something happens that the guest does not cause:
 *
 *	exits     how many the guest has caused since the last block
 *	kind      what happens then, &enum log_kind
 *	detail    as many numbers as this kind has
 *	size      in bytes, of what comes next
 *	values    what those exits were answered with, in their order
 *
 * All numbers are LEB128: 7 bits a byte, the lowest first, the top bit says that there is more. Which exit
 * takes a value is not in the log: the guest asks for the same ones again, in the same order.
 */
#ifndef LOG_H
#define LOG_H

#include <stdbool.h>
#include <stdio.h>
#include <linux/types.h>

/**
 * enum log_kind - what happens between two exits
 * @LOG_INTERRUPT: an interrupt is injected; its vector
 * @LOG_WINDOW: one waits, and the guest is to exit when it can take it
 * @LOG_POINT: one is injected where no exit was: its vector, RIP's linear address, &struct digest's registers
 *	and all
 * @LOG_CHECK: nothing; the digest of all until here
 * @LOG_END: that was all; the same
 */
enum log_kind {
	LOG_INTERRUPT, LOG_WINDOW, LOG_POINT, LOG_CHECK, LOG_END, NR_LOG_KINDS
};

#define DETAIL_MOST 4

struct log_event {
	__u64 exits;
	__u64 kind;
	__u64 detail[DETAIL_MOST];
};

/**
 * struct log - a log that is being written, or read
 * @file: it
 * @playing: it is read
 * @next: playing: what comes next, and after how many exits from the beginning
 * @last: exits until the last event
 * @values: of the block, encoded
 * @size: of them, in bytes
 * @room: for them; playing: how many have been taken
 * @bytes: written or read so far, of each kind of event, and at the end of the values
 * @nr: events of each kind, and values
 */
struct log {
	FILE *file;
	bool playing;
	struct log_event next;
	__u64 last;
	unsigned char *values;
	size_t size;
	size_t room;
	unsigned long long bytes[NR_LOG_KINDS + 1];
	unsigned long long nr[NR_LOG_KINDS + 1];
};

void log_open(struct log *log, const char *path, bool playing);
/* The value as it is written, or the one that was. */
__u64 log_value(struct log *log, __u64 value);
/* Write that something happens now. */
void log_write(struct log *log, const struct log_event *event);
/* @next has happened: read on. Its block's values are all taken, or the program ends with a line. */
void log_read(struct log *log);
void log_close(struct log *log);

#endif /* LOG_H */
