// SPDX-License-Identifier: GPL-2.0
/*
 * Placement of what a loader puts into memory, with a map of bytes as the judge:
 * random claims at addresses and in rooms never overlap, succeed where there is
 * room, and are as low or as high as it goes.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../userspace/runner/place.c"

#define MEMORY 256u
#define ROUNDS 20000

static bool taken[MEMORY];
static unsigned int complaints;

void complain(const char *format, ...)
{
	(void)format;
	complaints++;
}

int mote_create_vm(int fd, const struct mote_vm_config *config) { (void)config; return fd; }
int mote_create_vcpu(int vm, const struct mote_vcpu_config *config) { (void)config; return vm; }
int mote_set_slot(int vm, const struct mote_slot *slot) { (void)vm; (void)slot; return 0; }

static bool is_free(unsigned int first, unsigned int size)
{
	for (unsigned int i = first; i < first + size; i++)
		if (i >= MEMORY || taken[i])
			return false;
	return true;
}

/* What place_in() should find, or MEMORY. */
static unsigned int search(const struct room *room)
{
	unsigned int found = MEMORY;

	for (unsigned int at = 0; at + room->size <= room->end; at++)
		if (at >= room->first && !(at % room->align) && is_free(at, room->size) &&
		    (found == MEMORY || room->high))
			found = at;
	return found;
}

static bool claim_at(struct vm *vm)
{
	unsigned int first = rand() % (MEMORY + 8), size = rand() % 12;
	bool should = !size || is_free(first, size);
	bool did;

	if (size && place_is_free(vm, first, size) != should)
		return false;
	did = !place_at(vm, "file", first, size, "a claim");
	if (did && size)
		memset(taken + first, true, size);
	return did == should;
}

static bool claim_in(struct vm *vm)
{
	unsigned int first = rand() % MEMORY;
	const struct room room = {
		.first = first, .end = first + rand() % (MEMORY - first + 1), .size = rand() % 12 + 1,
		.align = 1u << rand() % 5, .high = rand() & 1, .what = "a claim",
	};
	unsigned int should = search(&room);
	__u64 gpa = MEMORY;

	if (place_in(vm, "file", &room, &gpa))
		return should == MEMORY;
	if (gpa == should)
		memset(taken + gpa, true, room.size);
	return gpa == should;
}

int main(void)
{
	static unsigned char ram[MEMORY];
	const struct mote_slot slot = { .size = MEMORY, .hva = (unsigned long)ram };
	const struct options options = { .memory = MEMORY };
	struct vm vm = { .options = &options };
	bool good = !mote_machine_set_slot(&vm.machine, &slot);

	for (int i = 0; i < ROUNDS && good; i++) {
		unsigned int before = complaints;

		good = rand() & 1 ? claim_at(&vm) : claim_in(&vm);
		good &= complaints <= before + 1;
		if (!(rand() % 40)) {
			places_forget(&vm);
			memset(taken, false, sizeof(taken));
		}
	}
	/* Claims at the end of all addresses do not wrap. */
	good &= place_at(&vm, "file", ~0ull, 2, "a claim") && place_at(&vm, "file", 8, ~0ull, "a claim");
	places_forget(&vm);
	free(vm.machine.areas);
	printf("TAP version 13\n1..1\n%s 1 claims do not overlap\n", good ? "ok" : "not ok");
	return good ? 0 : 1;
}
