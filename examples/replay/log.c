// SPDX-License-Identifier: GPL-2.0
/* The log's format: see log.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../lib/linux.h"
#include "log.h"

#define LEB128_MOST 10
#define BLOCK_MOST (1u << 30)

static const unsigned int nr_details[] = {
	[LOG_INTERRUPT] = 1, [LOG_POINT] = 4, [LOG_CHECK] = 1, [LOG_END] = 1,
};

static unsigned int encode(unsigned char *to, __u64 value)
{
	unsigned int size = 0;

	for (; value > 0x7f; value >>= 7)
		to[size++] = value | 0x80;
	to[size++] = value;
	return size;
}

static unsigned int write_number(struct log *log, __u64 value)
{
	unsigned char bytes[LEB128_MOST];
	unsigned int size = encode(bytes, value);

	if (fwrite(bytes, 1, size, log->file) != size)
		die("the log cannot be written: %s", strerror(errno));
	return size;
}

static unsigned int read_number(struct log *log, __u64 *value)
{
	unsigned int size = 0;
	int byte;

	*value = 0;
	do {
		byte = fgetc(log->file);
		if (byte == EOF || size == LEB128_MOST)
			die("the log is cut short, or is none");
		*value |= (__u64)(byte & 0x7f) << 7 * size++;
	} while (byte & 0x80);
	return size;
}

void log_open(struct log *log, const char *path, bool playing)
{
	*log = (struct log) { .file = fopen(path, playing ? "r" : "w"), .playing = playing };
	if (!log->file)
		die("%s: %s", path, strerror(errno));
	if (playing)
		log_read(log);
}

__u64 log_value(struct log *log, __u64 value)
{
	unsigned int size = 0;

	log->nr[NR_LOG_KINDS]++;
	if (!log->playing) {
		if (log->room - log->size < LEB128_MOST) {
			log->room += 65536;
			log->values = realloc(log->values, log->room);
			if (!log->values)
				die("no memory for the log");
		}
		log->size += encode(log->values + log->size, value);
		return value;
	}
	value = 0;
	do {
		if (log->room == log->size)
			die("diverged: the guest asks for more than it was given");
		value |= (__u64)(log->values[log->room] & 0x7f) << 7 * size++;
	} while (log->values[log->room++] & 0x80);
	return value;
}

void log_write(struct log *log, const struct log_event *event)
{
	unsigned long long *bytes = &log->bytes[event->kind];

	*bytes += write_number(log, event->exits - log->last);
	*bytes += write_number(log, event->kind);
	for (unsigned int i = 0; i < nr_details[event->kind]; i++)
		*bytes += write_number(log, event->detail[i]);
	*bytes += write_number(log, log->size);
	if (fwrite(log->values, 1, log->size, log->file) != log->size)
		die("the log cannot be written: %s", strerror(errno));
	log->bytes[NR_LOG_KINDS] += log->size;
	log->nr[event->kind]++;
	log->last = event->exits;
	log->size = 0;
}

void log_read(struct log *log)
{
	struct log_event *next = &log->next;
	__u64 size;
	unsigned int header;

	if (log->room != log->size)
		die("diverged: the guest asks for less than it was given");
	header = read_number(log, &next->exits);
	next->exits += log->last;
	header += read_number(log, &next->kind);
	if (next->kind >= NR_LOG_KINDS)
		die("the log has an event of kind %llu", next->kind);
	for (unsigned int i = 0; i < nr_details[next->kind]; i++)
		header += read_number(log, &next->detail[i]);
	header += read_number(log, &size);
	log->values = size < BLOCK_MOST ? realloc(log->values, size + 1) : NULL;
	if (!log->values || fread(log->values, 1, size, log->file) != size)
		die("the log is cut short, or is none");
	log->last = next->exits;
	log->size = size;
	log->room = 0;
	log->nr[next->kind]++;
	log->bytes[next->kind] += header;
	log->bytes[NR_LOG_KINDS] += size;
}

void log_close(struct log *log)
{
	if (fclose(log->file))
		die("the log cannot be written: %s", strerror(errno));
	free(log->values);
}
