// SPDX-License-Identifier: GPL-2.0
/* What goes to stdout, columns, colour and JSON; and JSON on stderr. */
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runner.h"

static bool has_colour(void)
{
	const char *no_color = getenv("NO_COLOR");
	const char *term = getenv("TERM");

	return isatty(STDOUT_FILENO) && !(no_color && *no_color) && term && strcmp(term, "dumb");
}

void paint(enum colour colour, int width, const char *text)
{
	static const char *const codes[] = {
		[BOLD] = "1", [GREEN] = "32", [YELLOW] = "33", [RED] = "31",
	};

	if (colour != PLAIN && has_colour())
		printf("\033[%sm%-*s\033[0m", codes[colour], width, text);
	else
		printf("%-*s", width, text);
}

void print_json(struct json_object *value)
{
	puts(json_object_to_json_string_ext(value, JSON_C_TO_STRING_PRETTY |
						   JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(value);
}

void print_json_line(struct json_object *value)
{
	char *line;

	if (asprintf(&line, "%s\n", json_object_to_json_string_ext(value, JSON_C_TO_STRING_PLAIN |
								   JSON_C_TO_STRING_NOSLASHESCAPE)) >= 0) {
		say_text(line);
		free(line);
	}
	json_object_put(value);
}
