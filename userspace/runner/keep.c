// SPDX-License-Identifier: GPL-2.0
/* What a machine that begins again finds as it has left it: see keep.h. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "keep.h"

/* No kind of thing is larger. */
#define THING_MOST 64

struct kept {
	struct kept *next;
	char *kind;
	char *name;
	void (*end)(void *thing);
	char thing[THING_MOST] __attribute__((aligned));
};

static struct kept *all;
static bool keeps;

void keep_begin(void)
{
	keeps = true;
}

bool keeps_things(void)
{
	return keeps;
}

static void forget(struct kept *kept)
{
	free(kept->kind);
	free(kept->name);
	free(kept);
}

void keep(const char *kind, const char *name, const void *thing, size_t size, void (*end)(void *thing))
{
	struct kept kept = { .next = all, .end = end }, *copy = keeps ? malloc(sizeof(*copy)) : NULL;

	memcpy(kept.thing, thing, size);
	kept.kind = copy ? strdup(kind) : NULL;
	kept.name = copy ? strdup(name) : NULL;
	if (kept.kind && kept.name) {
		*copy = kept;
		all = copy;
		return;
	}
	free(kept.kind);
	free(kept.name);
	free(copy);
	end(kept.thing);
}

static struct kept **find(const char *kind, const char *name)
{
	struct kept **link = &all;

	while (*link && (strcmp((*link)->kind, kind) || strcmp((*link)->name, name)))
		link = &(*link)->next;
	return link;
}

bool keep_has(const char *kind, const char *name)
{
	return *find(kind, name);
}

bool keep_take(const char *kind, const char *name, void *thing, size_t size)
{
	struct kept **link = find(kind, name), *kept = *link;

	if (!kept)
		return false;
	memcpy(thing, kept->thing, size);
	*link = kept->next;
	forget(kept);
	return true;
}

static void close_fd(void *thing)
{
	int fd;

	memcpy(&fd, thing, sizeof(fd));
	close(fd);
}

void keep_fd(const char *kind, const char *name, int fd)
{
	keep(kind, name, &fd, sizeof(fd), close_fd);
}

int keep_take_fd(const char *kind, const char *name)
{
	int fd;

	return keep_take(kind, name, &fd, sizeof(fd)) ? fd : -1;
}

void keep_end(void)
{
	struct kept *kept;

	keeps = false;
	while ((kept = all)) {
		all = kept->next;
		kept->end(kept->thing);
		forget(kept);
	}
}
