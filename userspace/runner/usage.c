// SPDX-License-Identifier: GPL-2.0
/* What is made of the table of options: the text of mote run --help. */
#include <stdio.h>
#include <string.h>

#include "options.h"
#include "usage.h"

#define LEFT 22	/* columns of an option's name, where that is enough */

static void print_option(const struct row *row)
{
	char left[64], letter[8] = "";

	if (row->letter)
		snprintf(letter, sizeof(letter), "-%c, ", row->letter);
	snprintf(left, sizeof(left), row->bare ? "%s--%s[=%s]" : row->value ? "%s--%s %s" : "%s--%s", letter,
		 row->name, row->value);
	printf("  %-*s  %s%s%s%s\n", LEFT, left, row->help, row->initial ? " (" : "",
	       row->initial ? row->initial : "", row->initial ? ")" : "");
}

void usage_print(void)
{
	puts("usage: mote run [OPTION]... IMAGE | --firmware[=FILE]\n"
	     "Runs IMAGE, a Linux bzImage or ELF file (PVH, multiboot, plain), in a VM.");
	for (const struct row *row = option_rows; row->name; row++)
		if (row->help)
			print_option(row);
	puts("Status: 0 power-off; v<<1|1 v at port 0xf4; 2 no start; 4 reset; 6 triple fault;\n"
	     "8 no way on; 10 stop --force; 124 time limit; 130 Ctrl-A x; 128+N signal N.");
}
