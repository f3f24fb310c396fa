// SPDX-License-Identifier: GPL-2.0
/*
 * Placement: which guest memory is taken by what, while a VM is loaded.  All that
 * loaders put into memory is claimed here first, so that nothing overwrites another.
 */
#include <stdlib.h>
#include <string.h>

#include "loader.h"
#include "runner.h"

/**
 * struct place - memory that is taken
 * @first: its first address
 * @last: its last address
 * @what: takes it, for complaints
 */
struct place {
	__u64 first;
	__u64 last;
	const char *what;
};

/* The index of the first place that ends at @gpa or behind. */
static size_t find(const struct vm *vm, __u64 gpa)
{
	size_t low = 0, high = vm->nr_places;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (vm->places[middle].last < gpa)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static int insert(struct vm *vm, size_t n, const struct place *place)
{
	struct place *places = realloc(vm->places, (vm->nr_places + 1) * sizeof(*places));

	if (!places) {
		complain("no memory to load the image");
		return -1;
	}
	memmove(places + n + 1, places + n, (vm->nr_places++ - n) * sizeof(*places));
	places[n] = *place;
	vm->places = places;
	return 0;
}

/* What is in the way of a range that does not wrap, or NULL. */
static const struct place *obstacle(const struct vm *vm, __u64 gpa, __u64 size)
{
	size_t n = find(vm, gpa);

	return n < vm->nr_places && vm->places[n].first <= gpa + size - 1 ? &vm->places[n] : NULL;
}

bool place_is_free(const struct vm *vm, __u64 gpa, __u64 size)
{
	return mote_machine_hva(&vm->machine, gpa, size) && !obstacle(vm, gpa, size);
}

int place_at(struct vm *vm, const char *path, __u64 gpa, __u64 size, const char *what)
{
	const struct place place = { gpa, gpa + size - 1, what };
	const struct place *other;

	if (!size)
		return 0;
	if (!mote_machine_hva(&vm->machine, gpa, size)) {
		complain("%s wants memory from 0x%llx to 0x%llx: give the VM more than %lluM (--memory)",
			 path, place.first, place.last, vm->options->memory >> 20);
		return -1;
	}
	other = obstacle(vm, gpa, size);
	if (other) {
		complain("%s wants to be at 0x%llx, where it would overlap %s", path, gpa,
			 other->what);
		return -1;
	}
	return insert(vm, find(vm, gpa), &place);
}

/* The lowest free address, from place to place upwards; false: there is none. */
static bool find_lowest(const struct vm *vm, const struct room *room, __u64 *gpa)
{
	size_t n = find(vm, room->first);

	*gpa = (room->first + room->align - 1) & ~(room->align - 1);
	for (; n < vm->nr_places; n++) {
		if (vm->places[n].first > *gpa && vm->places[n].first - *gpa >= room->size)
			break;
		if (vm->places[n].last >= *gpa)
			*gpa = (vm->places[n].last + room->align) & ~(room->align - 1);
	}
	return *gpa <= room->end && room->end - *gpa >= room->size;
}

/* The highest one, downwards. */
static bool find_highest(const struct vm *vm, const struct room *room, __u64 *gpa)
{
	__u64 top = room->end;

	for (size_t n = vm->nr_places; ; n--) {
		if (top < room->first || top - room->first < room->size)
			return false;
		*gpa = (top - room->size) & ~(room->align - 1);
		if (!n || vm->places[n - 1].last < *gpa)
			return *gpa >= room->first;
		if (vm->places[n - 1].first < top)
			top = vm->places[n - 1].first;
	}
}

bool place_find(const struct vm *vm, const struct room *room, __u64 *gpa)
{
	return room->high ? find_highest(vm, room, gpa) : find_lowest(vm, room, gpa);
}

int place_in(struct vm *vm, const char *path, const struct room *room, __u64 *gpa)
{
	if (place_find(vm, room, gpa))
		return place_at(vm, path, *gpa, room->size, room->what);
	complain("%s: there is no room for %s (%lluK) in %lluM: give the VM more memory (--memory)",
		 path, room->what, (room->size + 1023) >> 10, vm->options->memory >> 20);
	return -1;
}

void places_forget(struct vm *vm)
{
	free(vm->places);
	vm->places = NULL;
	vm->nr_places = 0;
}
