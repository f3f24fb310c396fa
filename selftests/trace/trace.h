/* SPDX-License-Identifier: GPL-2.0 */
/* What the tests of tracing share: the guest of sequence.c, and JSON. */
#ifndef TRACE_H
#define TRACE_H

#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

#define SEQUENCE_IN 0x5a17	/* answer to an IN */
#define SEQUENCE_END 0x82	/* port of the last OUT */

static inline const char *member(struct json_object *object, const char *key)
{
	struct json_object *value;

	return json_object_object_get_ex(object, key, &value) ? json_object_get_string(value) : "";
}

static inline unsigned long long number(struct json_object *object, const char *key)
{
	struct json_object *value;

	return json_object_object_get_ex(object, key, &value) ? json_object_get_uint64(value) : -1ull;
}

/* A line of sequence's output: how many of this reason; 0 if there is none. */
static inline unsigned long long counted(const char *output, const char *reason)
{
	char name[32];
	unsigned long long count;
	const char *line = output;

	for (; line && *line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
		if (sscanf(line, "%31s %llu", name, &count) == 2 && !strcmp(name, reason))
			return count;
	return 0;
}

#endif /* TRACE_H */
