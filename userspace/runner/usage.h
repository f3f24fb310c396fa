/* SPDX-License-Identifier: GPL-2.0 */
/* What is made of the table of options (options.h). */
#ifndef USAGE_H
#define USAGE_H

#include <stdio.h>

/* mote run --help: a line for each option. */
void usage_print(FILE *out);

/* Completion, as a script (completion.c). */
void completion_bash(FILE *out);
void completion_zsh(FILE *out);
/* The table of the manual's CONFIGURATION, in mdoc(7). */
void completion_man(FILE *out);

#endif /* USAGE_H */
