// SPDX-License-Identifier: GPL-2.0
/* Packets of gdb's remote protocol: see gdb_packet.h. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "gdb_packet.h"

#define INTERRUPT 3
#define ESCAPE '}'
#define ESCAPED 0x20

enum { OUTSIDE, INSIDE, FIRST_DIGIT, SECOND_DIGIT };

static int digit(unsigned char byte)
{
	if (byte >= '0' && byte <= '9')
		return byte - '0';
	if (byte >= 'a' && byte <= 'f')
		return byte - 'a' + 10;
	return byte >= 'A' && byte <= 'F' ? byte - 'A' + 10 : -1;
}

/* ---- in ---------------------------------------------------------------------------- */

static enum gdb_event begin(struct gdb_in *in, unsigned char byte)
{
	if (byte == '$') {
		in->state = INSIDE;
		in->sum = 0;
		in->size = 0;
		in->is_too_long = false;
	}
	if (byte == INTERRUPT)
		return GDB_INTERRUPT;
	return byte == '-' ? GDB_AGAIN : GDB_MORE;
}

static enum gdb_event end(struct gdb_in *in, int low)
{
	bool is_good = low >= 0 && !in->is_too_long && (in->expected | low) == in->sum;

	in->state = OUTSIDE;
	in->data[in->size] = '\0';
	return is_good ? GDB_PACKET : GDB_BROKEN;
}

enum gdb_event gdb_take(struct gdb_in *in, unsigned char byte)
{
	switch (in->state) {
	case OUTSIDE:
		return begin(in, byte);
	case INSIDE:
		if (byte == '$')
			return begin(in, byte);
		if (byte == '#') {
			in->state = FIRST_DIGIT;
			return GDB_MORE;
		}
		in->sum += byte;
		in->is_too_long |= in->size == GDB_PACKET_MOST;
		if (!in->is_too_long)
			in->data[in->size++] = byte;
		return GDB_MORE;
	case FIRST_DIGIT:
		/* One that is none is no sum. */
		in->is_too_long |= digit(byte) < 0;
		in->expected = (digit(byte) & 15) << 4;
		in->state = SECOND_DIGIT;
		return GDB_MORE;
	default:
		return end(in, digit(byte));
	}
}

/* ---- out --------------------------------------------------------------------------- */

static void add(struct gdb_out *out, const char *data, size_t size)
{
	if (size > GDB_PACKET_MOST - out->size)
		size = GDB_PACKET_MOST - out->size;
	memcpy(out->data + out->size, data, size);
	out->size += size;
}

void gdb_text(struct gdb_out *out, const char *format, ...)
{
	char text[256];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	add(out, text, strlen(text));
}

void gdb_bytes(struct gdb_out *out, const void *data, size_t size)
{
	static const char digits[] = "0123456789abcdef";
	const unsigned char *bytes = data;

	for (size_t i = 0; i < size; i++)
		add(out, (char [2]) { digits[bytes[i] >> 4], digits[bytes[i] & 15] }, 2);
}

void gdb_binary(struct gdb_out *out, const char *data, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		if (memchr("$#}*", data[i], 4))
			add(out, (char [2]) { ESCAPE, data[i] ^ ESCAPED }, 2);
		else
			add(out, &data[i], 1);
	}
}

size_t gdb_frame(const struct gdb_out *out, char *frame)
{
	static const char digits[] = "0123456789abcdef";
	__u8 sum = 0;

	for (size_t i = 0; i < out->size; i++)
		sum += out->data[i];
	frame[0] = '$';
	memcpy(frame + 1, out->data, out->size);
	frame[out->size + 1] = '#';
	frame[out->size + 2] = digits[sum >> 4];
	frame[out->size + 3] = digits[sum & 15];
	return out->size + 4;
}

/* ---- what a packet says -------------------------------------------------------------- */

bool gdb_is(const char **text, const char *word)
{
	size_t size = strlen(word);

	if (strncmp(*text, word, size))
		return false;
	*text += size;
	return true;
}

bool gdb_number(const char **text, __u64 *value)
{
	const char *begin = *text;

	for (*value = 0; digit(**text) >= 0; ++*text) {
		if (*value >> 60)
			return false;
		*value = *value << 4 | digit(**text);
	}
	return *text != begin;
}

bool gdb_thread(const char **text, long *thread)
{
	__u64 value;

	if (gdb_is(text, "-1")) {
		*thread = -1;
		return true;
	}
	if (!gdb_number(text, &value) || value > 0x7fffffff)
		return false;
	*thread = value;
	return true;
}

bool gdb_hex(const char **text, void *data, size_t size)
{
	unsigned char *bytes = data;

	for (; size; size--, *text += 2, bytes++) {
		int high = digit((*text)[0]), low = high < 0 ? -1 : digit((*text)[1]);

		if (low < 0)
			return false;
		*bytes = high << 4 | low;
	}
	return true;
}

bool gdb_unescape(const char *from, size_t left, void *data, size_t size)
{
	char *to = data;

	for (; size; size--, to++) {
		bool is_escaped = left && *from == ESCAPE;

		if (left < 1u + is_escaped)
			return false;
		*to = is_escaped ? from[1] ^ ESCAPED : *from;
		from += 1 + is_escaped;
		left -= 1 + is_escaped;
	}
	return !left;
}
