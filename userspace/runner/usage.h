/* SPDX-License-Identifier: GPL-2.0 */
/* What is made of the table of options (options.h). */
#ifndef USAGE_H
#define USAGE_H

/* mote run --help, on standard output: a line for each option. */
void usage_print(void);

#endif /* USAGE_H */
