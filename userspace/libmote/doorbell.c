// SPDX-License-Identifier: GPL-2.0
/*
 * libmote: eventfds that MMIO writes tell.  MOTE_IOEVENTFD has them for ports, in the
 * kernel; a write to memory must be decoded first, which is done here.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>

#include "machine.h"

static bool is_valid(const struct mote_doorbell *bell)
{
	__u32 size = bell->size;

	if (bell->flags & ~MOTE_IOEVENTFD_MATCH || (size & (size - 1)) || size > 8)
		return false;
	if (!(bell->flags & MOTE_IOEVENTFD_MATCH))
		return !bell->value;
	return size && (size == 8 || !(bell->value >> (8 * size)));
}

static bool overlap(const struct mote_doorbell *a, const struct mote_doorbell *b)
{
	return a->gpa == b->gpa && (!a->size || !b->size || a->size == b->size) &&
	       !(a->flags & b->flags & MOTE_IOEVENTFD_MATCH && a->value != b->value);
}

static bool same(const struct mote_doorbell *a, const struct mote_doorbell *b)
{
	return a->gpa == b->gpa && a->size == b->size && a->flags == b->flags &&
	       a->value == b->value && a->fd == b->fd;
}

int mote_machine_add_doorbell(struct mote_machine *machine, const struct mote_doorbell *bell)
{
	struct mote_doorbell *bells;

	if (!is_valid(bell))
		return -EINVAL;
	for (size_t i = 0; i < machine->nr_doorbells; i++)
		if (overlap(&machine->doorbells[i], bell))
			return -EEXIST;
	bells = realloc(machine->doorbells, (machine->nr_doorbells + 1) * sizeof(*bells));
	if (!bells)
		return -ENOMEM;
	machine->doorbells = bells;
	bells[machine->nr_doorbells++] = *bell;
	return 0;
}

int mote_machine_remove_doorbell(struct mote_machine *machine, const struct mote_doorbell *bell)
{
	for (size_t i = 0; i < machine->nr_doorbells; i++)
		if (same(&machine->doorbells[i], bell)) {
			machine->doorbells[i] = machine->doorbells[--machine->nr_doorbells];
			return 0;
		}
	return -ENOENT;
}

bool mote_machine_ring(const struct mote_machine *machine, __u64 gpa, unsigned int size, __u64 data)
{
	const struct mote_doorbell written = {
		.gpa = gpa, .size = size, .flags = MOTE_IOEVENTFD_MATCH, .value = data,
	};

	for (size_t i = 0; i < machine->nr_doorbells; i++)
		if (overlap(&machine->doorbells[i], &written)) {
			eventfd_write(machine->doorbells[i].fd, 1);
			return true;
		}
	return false;
}
