// SPDX-License-Identifier: GPL-2.0
/* A state for who wants to look at it. */
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "state.h"

static struct json_object *value_to_json(const unsigned char *data, size_t size)
{
	char *text = malloc(2 * size + 1);
	struct json_object *value;
	__u64 number = 0;

	if (size <= sizeof(number)) {
		memcpy(&number, data, size);
		free(text);
		return json_object_new_uint64(number);
	}
	for (size_t i = 0; text && i < size; i++)
		sprintf(text + 2 * i, "%02x", data[i]);
	value = text ? json_object_new_string_len(text, 2 * size) : NULL;
	free(text);
	return value;
}

static struct json_object *section_to_json(const unsigned char *data, size_t size, unsigned int depth)
{
	struct json_object *object = json_object_new_object();
	struct state_record record;

	for (size_t at = 0; at < size; at += state_record_size(&record)) {
		char name[STATE_NAME_MOST + 1];
		const unsigned char *bytes;
		struct json_object *value;

		if (depth > STATE_DEPTH || !state_record_at(data, at, size, &record) ||
		    record.name_size > STATE_NAME_MOST) {
			json_object_put(object);
			return NULL;
		}
		bytes = data + at + sizeof(record) + record.name_size;
		snprintf(name, sizeof(name), "%.*s", record.name_size, data + at + sizeof(record));
		value = (record.kind & ~STATE_TAKEN) == STATE_SECTION ?
			section_to_json(bytes, record.size, depth + 1) : value_to_json(bytes, record.size);
		if (!value) {
			json_object_put(object);
			return NULL;
		}
		json_object_object_add(object, name, value);
	}
	return object;
}

struct json_object *state_to_json(const void *data, size_t size)
{
	return section_to_json(data, size, 1);
}
