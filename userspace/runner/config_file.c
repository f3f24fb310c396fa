// SPDX-License-Identifier: GPL-2.0
/*
 * Files that are one JSON object: that of --config, whose members are called as options are.  Nothing is
 * guessed: comments, commas at the end and two members of one name are refused.
 */
#include <json-c/json.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "options.h"
#include "runner.h"

#define BYTES_MOST 65536
#define DEPTH_MOST 8

/* The whole of it, with a zero behind it; NULL after a complaint. */
static char *read_text(const char *path)
{
	char *text = calloc(1, BYTES_MOST + 2);
	FILE *file = text ? fopen(path, "re") : NULL;
	size_t size = file ? fread(text, 1, BYTES_MOST + 1, file) : 0;
	bool is_good = false;

	if (!file || ferror(file))
		complain("cannot read %s: %m", path);
	else if (size > BYTES_MOST)
		complain("%s: it has more than %d bytes", path, BYTES_MOST);
	else if (strlen(text) < size)
		complain("%s: no JSON: it has a zero byte", path);
	else
		is_good = true;
	if (file)
		fclose(file);
	if (is_good)
		return text;
	free(text);
	return NULL;
}

static unsigned int line_at(const char *text, size_t at)
{
	unsigned int line = 1;

	for (; at && *text; at--, text++)
		line += *text == '\n';
	return line;
}

/* The end of a string that begins here. */
static const char *string_end(const char *text)
{
	while (*++text != '"')
		text += *text == '\\';
	return text + 1;
}

/* json-c takes names between these, strict as it may be. */
static bool has_apostrophes(const char *text)
{
	while (*text && *text != '\'')
		text = *text == '"' ? string_end(text) : text + 1;
	return *text;
}

static struct json_object *parse_text(const char *path, const char *text)
{
	struct json_tokener *tokener = json_tokener_new_ex(DEPTH_MOST);
	struct json_object *value;
	enum json_tokener_error err;
	bool is_good = false;

	json_tokener_set_flags(tokener, JSON_TOKENER_STRICT);
	value = json_tokener_parse_ex(tokener, text, strlen(text) + 1);
	err = json_tokener_get_error(tokener);
	if (err == json_tokener_continue)
		complain("%s: no JSON: it ends too early", path);
	else if (err != json_tokener_success)
		complain("%s: line %u: no JSON: %s", path, line_at(text, json_tokener_get_parse_end(tokener)),
			 json_tokener_error_desc(err));
	else if (has_apostrophes(text))
		complain("%s: no JSON: an apostrophe is no quotation mark", path);
	else if (!json_object_is_type(value, json_type_object))
		complain("%s: not an object", path);
	else
		is_good = true;
	json_tokener_free(tokener);
	if (is_good)
		return value;
	json_object_put(value);
	return NULL;
}

/*
 * json-c keeps the last one of several members with a name, in silence.  The name of a second
 * one, or NULL.  The text is JSON, by json-c.
 */
static struct json_object *find_second(const char *text)
{
	struct json_object *seen[DEPTH_MOST + 1] = { NULL }, *second = NULL;
	unsigned int depth = 0;

	for (const char *end = text; *text && !second; text = end) {
		end = text + 1;
		if (*text == '{' || *text == '[') {
			seen[++depth] = *text == '{' ? json_object_new_object() : NULL;
		} else if (*text == '}' || *text == ']') {
			json_object_put(seen[depth--]);
		} else if (*text == '"') {
			char *name;

			end = string_end(text);
			if (end[strspn(end, " \t\r\n")] != ':')
				continue;
			name = strndup(text, end - text);
			second = json_tokener_parse(name);
			free(name);
			if (json_object_object_get_ex(seen[depth], json_object_get_string(second), NULL))
				break;
			json_object_object_add(seen[depth], json_object_get_string(second), NULL);
			json_object_put(second);
			second = NULL;
		}
	}
	while (depth)
		json_object_put(seen[depth--]);
	return second;
}

static int set_member(struct options *options, const char *path, const char *name, struct json_object *value)
{
	const struct row *row = row_find(option_rows, name, strlen(name));
	char where[PATH_MAX];

	if (!row || row->type == ROW_VERB) {
		row_refuse(option_rows, path, name);
		return -1;
	}
	snprintf(where, sizeof(where), "%s: %s", path, name);
	return options_take(options, row, value, where);
}

/* One object, no name twice in it; NULL after a complaint. */
static struct json_object *read_object(const char *where, const char *text)
{
	struct json_object *all = parse_text(where, text);
	struct json_object *second = all ? find_second(text) : NULL;

	if (!second)
		return all;
	complain("%s: %s: it is there twice", where, json_object_get_string(second));
	json_object_put(second);
	json_object_put(all);
	return NULL;
}

struct json_object *object_read(const char *path)
{
	char *text = read_text(path);
	struct json_object *object = text ? read_object(path, text) : NULL;

	free(text);
	return object;
}

int options_read_text(struct options *options, const char *where, const char *text,
		      bool (*skips)(const char *name))
{
	struct json_object *all = read_object(where, text);
	int err = all ? 0 : -1;

	if (!err) {
		json_object_object_foreach(all, name, value) {
			if (!err && !(skips && skips(name)))
				err = set_member(options, where, name, value);
		}
	}
	json_object_put(all);
	return err;
}

int options_read(struct options *options, const char *path)
{
	char *text = read_text(path);
	int err = text ? options_read_text(options, path, text, NULL) : -1;

	free(text);
	return err;
}
