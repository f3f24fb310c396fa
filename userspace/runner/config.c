// SPDX-License-Identifier: GPL-2.0
/*
 * What is said about a machine, by options: it becomes JSON by the rows of the table, is judged
 * by them, and goes to where they say.  Complaints are one line each: what it is about, what it
 * has to be, and what it is.
 */
#include <errno.h>
#include <json-c/json.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "options.h"
#include "runner.h"

#define MEBI (1ull << 20)
#define GIBI (1ull << 30)
#define WANTED_MOST 512
#define SHOWN_MOST 200

const struct row *row_find(const struct row *rows, const char *name, size_t length)
{
	for (; rows->name; rows++)
		if (strlen(rows->name) == length && !memcmp(rows->name, name, length))
			return rows;
	return NULL;
}

/* ---- complaints ------------------------------------------------------------------------ */

static void append(char *buffer, size_t size, const char *text)
{
	size_t at = strlen(buffer);

	snprintf(buffer + at, size - at, "%s", text);
}

/* a, b or c */
static const char *list_words(const char *words, char *buffer, size_t size)
{
	buffer[0] = '\0';
	for (size_t length; *words; words += length) {
		char word[64];

		words += *words == ' ';
		length = strcspn(words, " ");
		snprintf(word, sizeof(word), "%.*s", (int)length, words);
		if (buffer[0])
			append(buffer, size, words[length] ? ", " : " or ");
		append(buffer, size, word);
	}
	return buffer;
}

static const char *show_size(__u64 bytes, char *buffer, size_t size)
{
	bool is_gibi = !(bytes % GIBI);

	snprintf(buffer, size, "%llu%s", (unsigned long long)(bytes / (is_gibi ? GIBI : MEBI)),
		 !bytes ? "" : is_gibi ? "G" : "M");
	return buffer;
}

const char *row_wanted(const struct row *row, char *buffer, size_t size)
{
	char least[32], greatest[32];

	switch (row->type) {
	case ROW_FLAG:
		return "true or false";
	case ROW_NUMBER:
	case ROW_WORD:
		if (row->words)
			return list_words(row->words, buffer, size);
		snprintf(buffer, size, "a number from %llu to %llu", (unsigned long long)row->least,
			 (unsigned long long)row->greatest);
		return buffer;
	case ROW_SIZE:
		snprintf(buffer, size, "a size from %s to %s (512M, 2G ...)",
			 show_size(row->least, least, sizeof(least)),
			 show_size(row->greatest, greatest, sizeof(greatest)));
		return buffer;
	case ROW_SECONDS:
		snprintf(buffer, size, "a number of seconds, above 0 and up to %llu",
			 (unsigned long long)row->greatest);
		return buffer;
	case ROW_OWN:
		return row->wanted;
	case ROW_OBJECT:
		return "an object or a string";
	default:
		return "a string";
	}
}

/* A value as somebody has written it, unless it is long: on the command line without quotation marks. */
static const char *show(struct json_object *value, const char *where, char *buffer, size_t size)
{
	bool is_text = json_object_is_type(value, json_type_string) && !strncmp(where, "--", 2);
	const char *text = is_text ? json_object_get_string(value) :
			   json_object_to_json_string_ext(value, JSON_C_TO_STRING_NOSLASHESCAPE);
	int length = snprintf(buffer, size, "%s", text);

	if (length >= (int)size)
		strcpy(buffer + size - 4, "...");
	return buffer;
}

static int refuse(const struct row *row, const char *where, struct json_object *value)
{
	char wanted[WANTED_MOST], shown[SHOWN_MOST];

	complain("%s: not %s: %s", where, row_wanted(row, wanted, sizeof(wanted)),
		 show(value, where, shown, sizeof(shown)));
	return -1;
}

void row_refuse(const struct row *rows, const char *where, const char *name)
{
	char wanted[WANTED_MOST] = "";

	for (; rows->name; rows++) {
		if (rows->type == ROW_VERB)
			continue;
		if (wanted[0])
			append(wanted, sizeof(wanted), ", ");
		append(wanted, sizeof(wanted), rows->name);
	}
	complain("%s: there is no %.*s, but %s", where, SHOWN_MOST, name, wanted);
}

/* ---- from a value to where it goes ------------------------------------------------------- */

/* The text of a string without zeros in it; NULL: it is none. */
static const char *text_of(const struct row *row, struct json_object *value)
{
	const char *text;

	if (row->bare && json_object_is_type(value, json_type_boolean) && json_object_get_boolean(value))
		return row->bare;
	if (!json_object_is_type(value, json_type_string))
		return NULL;
	text = json_object_get_string(value);
	return strlen(text) == (size_t)json_object_get_string_len(value) ? text : NULL;
}

static int set_size(const struct row *row, __u64 *size, struct json_object *value)
{
	const char *text = json_object_is_type(value, json_type_int) ? json_object_get_string(value) :
			   text_of(row, value);
	__u64 bytes;

	if (!text || parse_size(text, &bytes) || bytes < row->least || bytes > row->greatest)
		return -1;
	*size = bytes;
	return 0;
}

static bool is_word(const char *words, const char *text)
{
	size_t length = strlen(text);

	for (const char *at = words; *at; at += strcspn(at, " ")) {
		at += *at == ' ';
		if (strcspn(at, " ") == length && !strncmp(at, text, length))
			return true;
	}
	return false;
}

static int set_number(const struct row *row, void *field, struct json_object *value)
{
	__s64 number = json_object_get_int64(value);

	if (!json_object_is_type(value, json_type_int))
		return -1;
	if (row->words ? !is_word(row->words, json_object_get_string(value)) :
	    number < (__s64)row->least || number > (__s64)row->greatest)
		return -1;
	*(unsigned int *)field = number;
	return 0;
}

static int set_seconds(const struct row *row, __u64 *ns, struct json_object *value)
{
	double seconds = json_object_get_double(value);

	if (!json_object_is_type(value, json_type_int) && !json_object_is_type(value, json_type_double))
		return -1;
	if (!(seconds > 0 && seconds <= row->greatest))
		return -1;
	*ns = seconds * NS_PER_S;
	/* 0 would be none. */
	*ns += !*ns;
	return 0;
}

static int set_text(const struct row *row, void *field, struct json_object *value, const char *where)
{
	const char *text = text_of(row, value);
	int err;

	if (!text || (row->type == ROW_WORD && !is_word(row->words, text)))
		return refuse(row, where, value);
	if (row->type == ROW_OWN) {
		err = row->parse(where, text, field);
		return err > 0 ? refuse(row, where, value) : err;
	}
	*(const char **)field = text;
	return 0;
}

static int set_object(const struct row *row, const struct options *options, void *field,
		      struct json_object *value, const char *where);

static int set_value(const struct row *row, const struct options *options, void *field,
		     struct json_object *value, const char *where)
{
	int err;

	switch (row->type) {
	case ROW_FLAG:
		err = json_object_is_type(value, json_type_boolean) ? 0 : -1;
		*(bool *)field = json_object_get_boolean(value);
		break;
	case ROW_NUMBER:
		err = set_number(row, field, value);
		break;
	case ROW_SIZE:
		err = set_size(row, field, value);
		break;
	case ROW_SECONDS:
		err = set_seconds(row, field, value);
		break;
	case ROW_OBJECT:
		return set_object(row, options, field, value, where);
	default:
		return set_text(row, field, value, where);
	}
	return err ? refuse(row, where, value) : 0;
}

/* One value, which is the next element where there may be several. */
static int set_element(const struct row *row, const struct options *options, void *base,
		       struct json_object *value, const char *where)
{
	unsigned int *nr = row->most ? base + row->count : NULL;
	void *field = base + row->offset + (nr ? *nr * row->size : 0);
	char shown[SHOWN_MOST];
	int err;

	if (nr && *nr == row->most) {
		complain("%s: %u %s the most: %s", where, row->most, row->most == 1 ? "is" : "are",
			 show(value, where, shown, sizeof(shown)));
		return -1;
	}
	if (nr)
		memset(field, 0, row->size);
	err = set_value(row, options, field, value, where);
	if (!err && nr)
		++*nr;
	return err;
}

static int set_row(const struct row *row, const struct options *options, void *base,
		   struct json_object *value, const char *where)
{
	char element[PATH_MAX + 32];

	if (!row->most || !json_object_is_type(value, json_type_array))
		return set_element(row, options, base, value, where);
	for (size_t i = 0; i < json_object_array_length(value); i++) {
		snprintf(element, sizeof(element), "%.*s[%zu]", PATH_MAX, where, i);
		if (set_element(row, options, base, json_object_array_get_idx(value, i), element))
			return -1;
	}
	return 0;
}

static int set_object(const struct row *row, const struct options *options, void *field,
		      struct json_object *value, const char *where)
{
	char part[PATH_MAX];

	if (!json_object_is_type(value, json_type_object))
		return refuse(row, where, value);
	json_object_object_foreach(value, name, member) {
		const struct row *key = row_find(row->keys, name, strlen(name));

		if (!key) {
			row_refuse(row->keys, where, name);
			return -1;
		}
		snprintf(part, sizeof(part), "%s: %s", where, name);
		if (set_row(key, options, field, member, part))
			return -1;
	}
	for (unsigned int i = 0; i < row->nr_main; i++)
		if (!json_object_object_get_ex(value, row->keys[i].name, NULL)) {
			complain("%s: there is no %s", where, row->keys[i].name);
			return -1;
		}
	return row->finish ? row->finish(options, field, where) : 0;
}

/* ---- from a text to a value ---------------------------------------------------------------- */

static struct json_object *number_of(const char *text)
{
	bool is_whole = text[strspn(text, "0123456789")] == '\0';
	struct json_object *value = NULL;
	char *end;

	if (!text[0] || text[strspn(text, "0123456789.eE+-")])
		return NULL;
	errno = 0;
	if (is_whole) {
		unsigned long long number = strtoull(text, &end, 10);

		value = *end || errno ? NULL : json_object_new_uint64(number);
	} else {
		double number = strtod(text, &end);

		value = *end || errno ? NULL : json_object_new_double(number);
	}
	return value;
}

static struct json_object *value_of(const struct row *row, const char *text, const char *where);

/* Where the part before the keys ends: at a comma that is not its own, or the end. */
static size_t main_length(const struct row *row, const char *text)
{
	size_t length = strlen(text);
	const char *comma;

	if (!row->has_commas)
		return strcspn(text, ",");
	while ((comma = memrchr(text, ',', length)) &&
	       row_find(row->keys + row->nr_main, comma + 1, strcspn(comma + 1, "=,")))
		length = comma - text;
	return length;
}

/* Those that come first have no names. */
static int add_main(const struct row *row, struct json_object *object, char *text, const char *where)
{
	char *equals = row->nr_main > 1 ? strchr(text, '=') : NULL;

	if (row->nr_main > 1) {
		if (!equals || equals == text || !equals[1]) {
			complain("%s: not %s: %s", where, row->wanted, text);
			return -1;
		}
		*equals++ = '\0';
		json_object_object_add(object, row->keys[1].name, json_object_new_string(equals));
	}
	json_object_object_add(object, row->keys[0].name, json_object_new_string(text));
	return 0;
}

static int add_part(const struct row *row, struct json_object *object, char *text, const char *where)
{
	size_t length = strcspn(text, "=");
	const struct row *key = row_find(row->keys + row->nr_main, text, length);
	struct json_object *value, *values;
	char part[PATH_MAX];

	if (!key) {
		row_refuse(row->keys + row->nr_main, where, text);
		return -1;
	}
	if (!text[length] && key->type != ROW_FLAG) {
		complain("%s: %s= wants a value", where, key->name);
		return -1;
	}
	snprintf(part, sizeof(part), "%s: %s", where, key->name);
	value = value_of(key, text[length] ? text + length + 1 : NULL, part);
	if (!value)
		return -1;
	if (!json_object_object_get_ex(object, key->name, &values)) {
		values = key->most ? json_object_new_array() : value;
		json_object_object_add(object, key->name, values);
	} else if (!key->most) {
		json_object_put(value);
		complain("%s: it is there twice", part);
		return -1;
	}
	if (key->most)
		json_object_array_add(values, value);
	return 0;
}

static struct json_object *object_of(const struct row *row, const char *text, const char *where)
{
	struct json_object *object = json_object_new_object();
	size_t length = main_length(row, text);
	char *copy = strdup(text), *rest = copy[length] ? copy + length + 1 : NULL;
	int err;

	copy[length] = '\0';
	err = add_main(row, object, copy, where);
	while (!err && rest)
		err = add_part(row, object, strsep(&rest, ","), where);
	free(copy);
	if (!err)
		return object;
	json_object_put(object);
	return NULL;
}

/* What it is not, stays a text, for set_value() to refuse.  NULL after a complaint. */
static struct json_object *value_of(const struct row *row, const char *text, const char *where)
{
	struct json_object *number = NULL;

	if (!text)
		return json_object_new_boolean(true);
	switch (row->type) {
	case ROW_FLAG:
		if (!strcmp(text, "true") || !strcmp(text, "false"))
			return json_object_new_boolean(text[0] == 't');
		break;
	case ROW_NUMBER:
	case ROW_SIZE:
	case ROW_SECONDS:
		number = number_of(text);
		break;
	case ROW_OBJECT:
		return object_of(row, text, where);
	default:
		break;
	}
	return number ? number : json_object_new_string(text);
}

/* ---- all that has been said ------------------------------------------------------------------ */

/* Where there may be several, they are added; else the last one counts. */
static void keep(struct options *options, const struct row *row, struct json_object *value)
{
	const char *name = row->as ? row->as : row->name;
	struct json_object *values;

	if (!row->most) {
		json_object_object_add(options->config, name, json_object_get(value));
		return;
	}
	if (!json_object_object_get_ex(options->config, name, &values)) {
		values = json_object_new_array();
		json_object_object_add(options->config, name, values);
	}
	json_object_array_add(values, json_object_get(value));
}

/* One value; a string is what the command line would have. */
static int take_one(struct options *options, const struct row *row, struct json_object *value,
		    const char *where)
{
	struct json_object *object = NULL;
	int err;

	if (row->type == ROW_OBJECT && json_object_is_type(value, json_type_string)) {
		object = object_of(row, json_object_get_string(value), where);
		if (!object)
			return -1;
	}
	err = set_element(row, options, options, object ? object : value, where);
	if (!err)
		keep(options, row, object ? object : value);
	json_object_put(object);
	return err;
}

int options_take(struct options *options, const struct row *row, struct json_object *value,
		 const char *where)
{
	char element[PATH_MAX + 32];

	if (!row->most || !json_object_is_type(value, json_type_array))
		return take_one(options, row, value, where);
	for (size_t i = 0; i < json_object_array_length(value); i++) {
		snprintf(element, sizeof(element), "%.*s[%zu]", PATH_MAX, where, i);
		if (take_one(options, row, json_object_array_get_idx(value, i), element))
			return -1;
	}
	return 0;
}

int options_set(struct options *options, const struct row *row, const char *text)
{
	struct json_object *value;
	char where[64];
	int err;

	snprintf(where, sizeof(where), "%s%s", strcmp(row->name, OPTION_IMAGE) ? "--" : "", row->name);
	value = value_of(row, text, where);
	err = value ? options_take(options, row, value, where) : -1;
	json_object_put(value);
	return err;
}
