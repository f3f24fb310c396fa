// SPDX-License-Identifier: GPL-2.0
/* The text of mote run --help, made of the table of options. */
#include <stdio.h>
#include <string.h>

#include "options.h"
#include "usage.h"

#define LEFT 22	/* columns of an option's name, where that is enough */

static void print_option(FILE *out, const struct row *row)
{
	char left[64], letter[8] = "";

	if (row->letter)
		snprintf(letter, sizeof(letter), "-%c, ", row->letter);
	snprintf(left, sizeof(left), row->bare ? "%s--%s[=%s]" : row->value ? "%s--%s %s" : "%s--%s", letter,
		 row->name, row->value);
	fprintf(out, "  %-*s  %s%s%s%s\n", LEFT, left, row->help, row->initial ? " (" : "",
	       row->initial ? row->initial : "", row->initial ? ")" : "");
}

void usage_print(FILE *out)
{
	fputs("usage: mote run [OPTION]... IMAGE | --firmware[=FILE]\n"
	      "Runs IMAGE, a Linux bzImage or ELF file (PVH, multiboot, plain), in a VM.\n", out);
	for (const struct row *row = option_rows; row->name; row++)
		if (row->help)
			print_option(out, row);
	fputs("Status: 0 power-off; v<<1|1 v at port 0xf4; 2 no start; 4 reset; 6 triple fault;\n"
	      "8 no way on; 10 stop --force; 12 panic; 14 watchdog; 124 time limit;\n"
	      "130 Ctrl-A x; 128+N signal N.\n", out);
}
