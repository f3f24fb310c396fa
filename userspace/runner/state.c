// SPDX-License-Identifier: GPL-2.0
/* Named values in named sections: see state.h. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device.h"
#include "state.h"

void state_fail(struct state *state, const char *format, ...)
{
	va_list args;

	if (state_has_failed(state))
		return;
	va_start(args, format);
	vsnprintf(state->why, sizeof(state->why), format, args);
	va_end(args);
}

static struct state_section *current(struct state *state)
{
	return &state->sections[state->depth - 1];
}

void state_require(struct state *state, bool holds, const char *what)
{
	if (state->loads && !holds)
		state_fail(state, "%s: %s", current(state)->name, what);
}

/* ---- saving ---------------------------------------------------------------------------- */

static void append(struct state *state, const void *data, size_t size)
{
	if (state_has_failed(state))
		return;
	if (size > state->room - state->size) {
		size_t room = 2 * state->room + size + 4096;
		void *grown = realloc(state->data, room);

		if (!grown) {
			state_fail(state, "there is no memory for it");
			return;
		}
		state->data = grown;
		state->room = room;
	}
	if (size)
		memcpy(state->data + state->size, data, size);
	state->size += size;
}

static void append_record(struct state *state, __u8 kind, const char *name, const void *data, size_t size)
{
	struct state_record record = { .kind = kind, .name_size = strlen(name), .size = size };

	append(state, &record, sizeof(record));
	append(state, name, record.name_size);
	append(state, data, size);
}

/* ---- loading --------------------------------------------------------------------------- */

static bool is_named(const unsigned char *data, size_t at, const struct state_record *record, __u8 kind,
		     const char *name)
{
	return record->kind == kind && record->name_size == strlen(name) &&
	       !memcmp(data + at + sizeof(*record), name, record->name_size);
}

/* From @from to @end of the current section; the offset of its bytes, or 0. */
static size_t look(struct state *state, __u8 kind, const char *name, size_t from, size_t end,
		   struct state_record *record)
{
	struct state_section *section = current(state);
	size_t at;

	for (at = from; at < end; at += state_record_size(record)) {
		if (!state_record_at(state->data, at, section->end, record)) {
			state_fail(state, "%s: it is broken", section->name);
			return 0;
		}
		if (!is_named(state->data, at, record, kind, name))
			continue;
		state->data[at] |= STATE_TAKEN;
		section->next = at + state_record_size(record);
		return at + sizeof(*record) + record->name_size;
	}
	return 0;
}

/* As a rule it is the next one. */
static size_t find(struct state *state, __u8 kind, const char *name, struct state_record *record)
{
	struct state_section *section = current(state);
	size_t next = section->next, at = look(state, kind, name, next, section->end, record);

	return at || state_has_failed(state) ? at : look(state, kind, name, section->begin, next, record);
}

static void check_all_taken(struct state *state)
{
	const struct state_section *section = current(state);
	struct state_record record;

	for (size_t at = section->begin; at < section->end; at += state_record_size(&record)) {
		if (!state_record_at(state->data, at, section->end, &record)) {
			state_fail(state, "%s: it is broken", section->name);
			return;
		}
		if (record.kind & STATE_TAKEN)
			continue;
		state_fail(state, "%s: it has \"%.*s\", which this mote does not know: a newer one saved it",
			   section->name, record.name_size, state->data + at + sizeof(record));
		return;
	}
}

/* ---- both ------------------------------------------------------------------------------- */

void state_begin_save(struct state *state)
{
	*state = (struct state) { .now = clock_ns(), .depth = 1, .sections[0].name = "the state" };
}

void state_begin_load(struct state *state, void *data, size_t size)
{
	*state = (struct state) {
		.loads = true, .data = data, .size = size, .now = clock_ns(), .depth = 1,
		.sections[0] = { .end = size, .name = "the state" },
	};
}

int state_end(struct state *state)
{
	if (state->loads && !state_has_failed(state))
		check_all_taken(state);
	return state_has_failed(state) ? -1 : 0;
}

static bool is_among(const char *name, size_t size, const char *const *names)
{
	while (*names && (strlen(*names) != size || memcmp(*names, name, size)))
		names++;
	return *names;
}

void state_copy(struct state *state, const struct state *from, const char *const *without)
{
	struct state_record record;

	for (size_t at = 0; at < from->size; at += state_record_size(&record)) {
		const char *name = (const char *)from->data + at + sizeof(record);

		if (!state_record_at(from->data, at, from->size, &record)) {
			state_fail(state, "the state: it is broken");
			return;
		}
		if (is_among(name, record.name_size, without))
			continue;
		record.kind &= ~STATE_TAKEN;
		append(state, &record, sizeof(record));
		append(state, name, record.name_size + record.size);
	}
}

void state_free(struct state *state)
{
	if (!state->loads)
		free(state->data);
	state->data = NULL;
}

bool state_enter(struct state *state, const char *name)
{
	struct state_section section = { .name = name };
	struct state_record record;

	if (state_has_failed(state))
		return false;
	if (state->depth == STATE_DEPTH) {
		state_fail(state, "%s: too many sections in each other", name);
		return false;
	}
	if (state->loads) {
		section.begin = section.next = find(state, STATE_SECTION, name, &record);
		section.end = section.begin + record.size;
		if (!section.begin)
			return false;
	} else {
		append_record(state, STATE_SECTION, name, NULL, 0);
		section.begin = state->size;
	}
	state->sections[state->depth++] = section;
	return true;
}

void state_leave(struct state *state)
{
	const struct state_section *section = current(state);
	__u32 size = state->size - section->begin;

	if (state_has_failed(state))
		return;
	if (state->loads)
		check_all_taken(state);
	else
		memcpy(state->data + section->begin - strlen(section->name) - sizeof(size), &size,
		       sizeof(size));
	state->depth--;
}

void state_value(struct state *state, const char *name, void *value, size_t size)
{
	struct state_record record;
	size_t at;

	if (state_has_failed(state))
		return;
	if (!state->loads) {
		append_record(state, STATE_VALUE, name, value, size);
		return;
	}
	at = find(state, STATE_VALUE, name, &record);
	if (!at)
		return;
	if (record.size > size) {
		state_fail(state, "%s: \"%s\" has %u bytes, more than this mote knows: a newer one saved it",
			   current(state)->name, name, record.size);
		return;
	}
	memset(value, 0, size);
	memcpy(value, state->data + at, record.size);
}

void state_flag(struct state *state, const char *name, bool *flag, size_t size)
{
	__u8 byte = *flag;

	(void)size;
	state_value(state, name, &byte, sizeof(byte));
	state_require(state, byte <= 1, "a truth value is neither 0 nor 1");
	*flag = byte;
}

void state_time(struct state *state, const char *name, __u64 *time)
{
	__s64 distance = *time - state->now, most = 1ll << 62;

	/* None is further away than any. */
	if (!*time || distance >= most || distance < -most)
		distance = most;
	state_value(state, name, &distance, sizeof(distance));
	if (state->loads)
		*time = distance >= most || distance < -most ? 0 : state->now + distance;
	if (state->loads && distance != most && !*time)
		*time = 1;
}

bool state_block(struct state *state, const char *name, const void **block, size_t *size)
{
	struct state_record record;
	size_t at;

	if (state_has_failed(state))
		return false;
	if (!state->loads) {
		append_record(state, STATE_VALUE, name, *block, *size);
		return true;
	}
	at = find(state, STATE_VALUE, name, &record);
	*block = state->data + at;
	*size = at ? record.size : 0;
	return at;
}
