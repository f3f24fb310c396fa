// SPDX-License-Identifier: GPL-2.0
/*
 * Which generation of the machine this is: 16 random bytes, others for each that goes on from
 * where another one was, and an event then, so that a guest draws new random numbers.
 * "Virtual Machine Generation ID", by Microsoft; Linux, drivers/virt/vmgenid.c.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "acpi.h"
#include "runner.h"
#include "snapshot.h"

#define ID_SIZE 16

struct generation {
	struct device device;
	__u8 id[ID_SIZE];
};

static struct generation *generation_of(struct device *device)
{
	return container_of(device, struct generation, device);
}

static int renew(struct generation *generation)
{
	return getrandom(generation->id, ID_SIZE, 0) == ID_SIZE ? 0 : -1;
}

static __u64 generation_read(struct device *device, const struct region *region, __u64 offset,
			     unsigned int size)
{
	__u64 value = 0;

	(void)region;
	memcpy(&value, generation_of(device)->id + offset, size);
	return value;
}

static void generation_write(struct device *device, const struct region *region, __u64 offset,
			     unsigned int size, __u64 data)
{
	(void)device;
	(void)region;
	(void)offset;
	(void)size;
	(void)data;
}

/* One that was migrated is the same machine; whatever else is loaded may go on twice. */
static bool is_another(const struct vm *vm)
{
	return !vm->snapshot || vm->snapshot->connection < 0;
}

static void generation_state(struct device *device, struct state *state)
{
	struct generation *generation = generation_of(device);

	STATE(state, generation, id);
	if (!state->loads || !is_another(device->vm))
		return;
	if (renew(generation))
		state_fail(state, "there are no random numbers: %s", strerror(errno));
	acpi_event(device->vm, GPE_GENERATION);
}

static void generation_destroy(struct device *device)
{
	free(generation_of(device));
}

static const struct device_ops ops = {
	.name = "generation", .read = generation_read, .write = generation_write, .state = generation_state,
	.destroy = generation_destroy,
};

int generation_create(struct vm *vm)
{
	struct generation *generation = calloc(1, sizeof(*generation));
	struct region region = {
		.space = SPACE_MMIO, .first = ACPI_GENERATION, .size = ID_SIZE, .width = 8,
	};

	if (generation) {
		region.device = &generation->device;
		device_add(vm, &generation->device, &ops);
	}
	if (generation && !renew(generation) && !region_add(vm, &region))
		return 0;
	complain("cannot say which generation the machine is of");
	return -1;
}
