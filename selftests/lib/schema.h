/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Is a JSON value what a JSON Schema says?  Of draft 2020-12 as much as docs/control.schema.json
 * uses; a keyword that is not known here makes nothing valid.
 */
#ifndef SCHEMA_H
#define SCHEMA_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define SCHEMA_EXCHANGES "#/$defs/"

static bool schema_is_valid(struct json_object *root, struct json_object *schema, struct json_object *value);

/* A reference within the document; NULL if it leads nowhere. */
static inline struct json_object *schema_find(struct json_object *root, const char *reference)
{
	struct json_object *found = NULL;

	return reference[0] == '#' && !json_pointer_get(root, reference + 1, &found) ? found : NULL;
}

static inline bool schema_is_type(const char *type, struct json_object *value)
{
	if (!strcmp(type, "integer"))
		return json_object_is_type(value, json_type_int);
	return !strcmp(type, json_type_to_name(json_object_get_type(value)));
}

static inline bool schema_is_one_of(struct json_object *values, struct json_object *value)
{
	for (size_t i = 0; i < json_object_array_length(values); i++)
		if (json_object_equal(json_object_array_get_idx(values, i), value))
			return true;
	return false;
}

static inline bool schema_is_any(struct json_object *root, struct json_object *schemas,
				 struct json_object *value)
{
	for (size_t i = 0; i < json_object_array_length(schemas); i++)
		if (schema_is_valid(root, json_object_array_get_idx(schemas, i), value))
			return true;
	return false;
}

static inline bool schema_has_all(struct json_object *names, struct json_object *value)
{
	for (size_t i = 0; i < json_object_array_length(names); i++) {
		const char *name = json_object_get_string(json_object_array_get_idx(names, i));

		if (!json_object_object_get_ex(value, name, NULL))
			return false;
	}
	return true;
}

/* Each member is what "properties" says of it, or else "additionalProperties". */
static inline bool schema_has_valid_members(struct json_object *root, struct json_object *schema,
					    struct json_object *value)
{
	struct json_object *properties = NULL, *more = NULL, *member_schema;

	json_object_object_get_ex(schema, "properties", &properties);
	json_object_object_get_ex(schema, "additionalProperties", &more);
	json_object_object_foreach(value, name, member) {
		if (!json_object_object_get_ex(properties, name, &member_schema))
			member_schema = more;
		if (member_schema && !schema_is_valid(root, member_schema, member))
			return false;
	}
	return true;
}

static inline bool schema_has_valid_items(struct json_object *root, struct json_object *schema,
					  struct json_object *value)
{
	for (size_t i = 0; i < json_object_array_length(value); i++)
		if (!schema_is_valid(root, schema, json_object_array_get_idx(value, i)))
			return false;
	return true;
}

static inline bool schema_allows(struct json_object *root, struct json_object *schema, const char *keyword,
				 struct json_object *operand, struct json_object *value)
{
	static const char *const remarks[] = { "$schema", "$id", "$defs", "title", "description" };

	for (size_t i = 0; i < sizeof(remarks) / sizeof(remarks[0]); i++)
		if (!strcmp(keyword, remarks[i]))
			return true;
	if (!strcmp(keyword, "$ref"))
		return schema_is_valid(root, schema_find(root, json_object_get_string(operand)), value);
	if (!strcmp(keyword, "type"))
		return schema_is_type(json_object_get_string(operand), value);
	if (!strcmp(keyword, "const"))
		return json_object_equal(operand, value);
	if (!strcmp(keyword, "enum"))
		return schema_is_one_of(operand, value);
	if (!strcmp(keyword, "anyOf"))
		return schema_is_any(root, operand, value);
	if (!strcmp(keyword, "minimum"))
		return json_object_get_int64(value) >= json_object_get_int64(operand);
	if (!strcmp(keyword, "maximum"))
		return json_object_get_int64(value) <= json_object_get_int64(operand);
	if (!strcmp(keyword, "required"))
		return schema_has_all(operand, value);
	if (!strcmp(keyword, "properties") || !strcmp(keyword, "additionalProperties"))
		return schema_has_valid_members(root, schema, value);
	return !strcmp(keyword, "items") && schema_has_valid_items(root, operand, value);
}

static bool schema_is_valid(struct json_object *root, struct json_object *schema, struct json_object *value)
{
	if (json_object_is_type(schema, json_type_boolean))
		return json_object_get_boolean(schema);
	if (!json_object_is_type(schema, json_type_object))
		return false;
	/* The type first: the other keywords rely on it. */
	json_object_object_foreach(schema, first, type)
		if (!strcmp(first, "type") && !schema_is_type(json_object_get_string(type), value))
			return false;
	json_object_object_foreach(schema, keyword, operand)
		if (!schema_allows(root, schema, keyword, operand, value))
			return false;
	return true;
}

/* An exchange of @request and @answer, lines of JSON, as "$defs" has it by the name of @what. */
static inline bool schema_has_exchange(struct json_object *root, const char *what, const char *request,
				       const char *answer)
{
	struct json_object *exchange = json_object_new_object();
	char reference[64];
	bool is_valid;

	snprintf(reference, sizeof(reference), SCHEMA_EXCHANGES "%s", what);
	json_object_object_add(exchange, "request", json_tokener_parse(request));
	json_object_object_add(exchange, "answer", json_tokener_parse(answer));
	is_valid = schema_is_valid(root, schema_find(root, reference), exchange);
	json_object_put(exchange);
	return is_valid;
}

#endif /* SCHEMA_H */
