/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What a machine that begins again (--restart) finds as it has left it: files that are open, the
 * far ends of its devices.  By then nothing may be opened or started any more (sandbox.h).
 *
 * Nothing here has a lock: while devices come or go, there is one thread that sees to it.
 */
#ifndef KEEP_H
#define KEEP_H

#include <stdbool.h>
#include <stddef.h>

/* From now on, and until keep_end(), things are kept. */
void keep_begin(void);
bool keeps_things(void);

/**
 * keep() - somebody is done with a thing for now, or for good if nothing is kept
 * @kind: of thing
 * @name: of it among those; of several of one name keep_take() finds any
 * @thing: is copied
 * @size: of it, in bytes
 * @end: what is to be done when nobody wants it any more
 */
void keep(const char *kind, const char *name, const void *thing, size_t size, void (*end)(void *thing));

/* Get such a thing; false if there is none. */
bool keep_take(const char *kind, const char *name, void *thing, size_t size);

bool keep_has(const char *kind, const char *name);

/* The same with a file descriptor, which is closed in the end; -1 if there is none. */
void keep_fd(const char *kind, const char *name, int fd);
int keep_take_fd(const char *kind, const char *name);

/* Nobody begins again. */
void keep_end(void);

#endif /* KEEP_H */
