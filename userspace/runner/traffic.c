// SPDX-License-Identifier: GPL-2.0
/* What devices have done: see traffic.h. */
#include <stdlib.h>

#include "runner.h"
#include "traffic.h"

struct traffic *traffic_get(struct vm *vm, enum traffic_kind kind, unsigned int index)
{
	struct traffic **link = &vm->traffic, *traffic;

	while ((traffic = *link) && (traffic->kind != kind || traffic->index != index))
		link = &traffic->next;
	if (traffic)
		return traffic;
	traffic = calloc(1, sizeof(*traffic));
	if (!traffic) {
		complain("no memory for what a device does");
		return NULL;
	}
	traffic->kind = kind;
	traffic->index = index;
	*link = traffic;
	return traffic;
}

void traffic_destroy(struct vm *vm)
{
	while (vm->traffic) {
		struct traffic *traffic = vm->traffic;

		vm->traffic = traffic->next;
		free(traffic);
	}
}
