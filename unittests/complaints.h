/* SPDX-License-Identifier: GPL-2.0 */
/* The runner's complaints are noted, and nobody hears them: the last one in said. */
#ifndef COMPLAINTS_H
#define COMPLAINTS_H

#include <stdarg.h>

#include "../userspace/runner/runner.h"
#include "tests.h"

static unsigned int nr_complaints;

void complain(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(said, sizeof(said), format, args);
	va_end(args);
	nr_complaints++;
}

static void (*taken_by)(const char *text);

/* What is no complaint is of no interest, but to who wants to have it. */
void say_text(const char *text)
{
	if (taken_by)
		taken_by(text);
}

void say_by(void (*taker)(const char *text))
{
	taken_by = taker;
}

#endif /* COMPLAINTS_H */
