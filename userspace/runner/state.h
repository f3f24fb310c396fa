/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A machine's state on its way into a file, or out of it: named values in named sections.
 *
 * Whoever has a state has one function for both directions, which names each of its values: what
 * is saved and what is loaded cannot differ.  Names are what versions are made of.  A value that
 * is not there, as an older mote did not know it, stays as it is in a device that has just been
 * made; one that nobody asks for is a newer mote's, and the whole is refused.  docs/snapshot.md
 * has the format.
 *
 * Numbers are those of x86, little-endian; one may become wider, but not narrower.
 */
#ifndef STATE_H
#define STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <linux/types.h>

enum { STATE_VALUE = 1, STATE_SECTION = 2, STATE_TAKEN = 0x80 };

/**
 * struct state_record - what stands before each value and section
 * @kind: %STATE_VALUE or %STATE_SECTION, and %STATE_TAKEN once it has been read
 * @name_size: bytes of its name, which follows
 * @pad: zero
 * @size: bytes of itself, which follow that
 */
struct state_record {
	__u8 kind;
	__u8 name_size;
	__u8 pad[2];
	__u32 size;
};

/* The one at offset @at, which ends before @end; false: that is none. */
static inline bool state_record_at(const unsigned char *data, size_t at, size_t end,
				   struct state_record *record)
{
	if (end - at < sizeof(*record))
		return false;
	memcpy(record, data + at, sizeof(*record));
	end -= at + sizeof(*record);
	return record->name_size <= end && record->size <= end - record->name_size;
}

static inline size_t state_record_size(const struct state_record *record)
{
	return sizeof(*record) + record->name_size + record->size;
}

/* Sections in sections. */
#define STATE_DEPTH 8
#define STATE_NAME_MOST 63

/**
 * struct state_section - one that has been entered
 * @begin: offset of what is in it
 * @end: and of what is behind it, in a state that is loaded
 * @next: where the next value is looked for first, likewise
 * @name: of it
 */
struct state_section {
	size_t begin;
	size_t end;
	size_t next;
	const char *name;
};

/**
 * struct state - a state
 * @loads: it is read, else it is made
 * @data: of it; what has been read is marked there
 * @size: bytes there
 * @room: how many there could be
 * @now: clock_ns() of the moment that it is of, here
 * @depth: how many @sections have been entered
 * @sections: the outermost is the whole
 * @why: what is wrong with it, the first of all; empty: nothing
 */
struct state {
	bool loads;
	unsigned char *data;
	size_t size;
	size_t room;
	__u64 now;
	unsigned int depth;
	struct state_section sections[STATE_DEPTH];
	char why[200];
};

/* Begin one; it holds nothing yet. */
void state_begin_save(struct state *state);
/* Begin to read @size bytes at @data, which are changed by that. */
void state_begin_load(struct state *state, void *data, size_t size);
/* 0, or -1 if something is wrong: see @why. */
int state_end(struct state *state);
/* Free what was saved. */
void state_free(struct state *state);

/* To one that is saved, what the outermost section of one that is loaded has, but for these names. */
void state_copy(struct state *state, const struct state *from, const char *const *without);

/* Enter a section; false: there is none of that name, as the state was loaded from an older mote. */
bool state_enter(struct state *state, const char *name);
/* Leave it; all that was in it has to have been read. */
void state_leave(struct state *state);

/* A value of @size bytes. */
void state_value(struct state *state, const char *name, void *value, size_t size);
/* A truth value, of one byte. */
void state_flag(struct state *state, const char *name, bool *flag, size_t size);
/* A time of clock_ns(), saved as the distance from now; 0 is none. */
void state_time(struct state *state, const char *name, __u64 *time);

/**
 * state_block() - bytes whose number is not known beforehand
 * @state: it
 * @name: of the value
 * @block: them; out, when loaded: in the state itself
 * @size: how many; out likewise
 * Return: false: there are none
 */
bool state_block(struct state *state, const char *name, const void **block, size_t *size);

/* A field of a struct, by its own name. */
#define STATE(state, object, field)							\
	_Generic(&(object)->field, bool *: state_flag, default: state_value)		\
		(state, #field, (void *)&(object)->field, sizeof((object)->field))

/* What was loaded is refused unless this holds; @what is said of the section that it is in. */
void state_require(struct state *state, bool holds, const char *what);
/* Likewise in any direction, with all of the reason. */
void state_fail(struct state *state, const char *format, ...) __attribute__((format(printf, 2, 3)));
static inline bool state_has_failed(const struct state *state)
{
	return state->why[0];
}

struct json_object;
/* All of it, for who wants to look (state_json.c): longer values in hexadecimal; NULL: it is broken. */
struct json_object *state_to_json(const void *data, size_t size);

#endif /* STATE_H */
