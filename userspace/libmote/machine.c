// SPDX-License-Identifier: GPL-2.0
/* libmote: a VM with its memory, a vCPU with its run page. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "machine.h"
#include "native.h"

int mote_machine_create(struct mote_machine *machine, int fd, __u32 flags)
{
	const struct mote_vm_config config = { .flags = flags };

	return mote_machine_create_with(machine, fd, &config);
}

int mote_machine_create_with(struct mote_machine *machine, int fd,
			     const struct mote_vm_config *config)
{
	memset(machine, 0, sizeof(*machine));
	machine->fd = mote_create_vm(fd, config);
	return machine->fd < 0 ? machine->fd : 0;
}

void mote_machine_destroy(struct mote_machine *machine)
{
	close(machine->fd);
	free(machine->areas);
	free(machine->doorbells);
	memset(machine, 0, sizeof(*machine));
	machine->fd = -1;
}

static size_t find_slot(const struct mote_machine *machine, __u32 slot)
{
	size_t n = 0;

	while (n < machine->nr_areas && machine->areas[n].slot != slot)
		n++;
	return n;
}

static void remove_area(struct mote_machine *machine, size_t n)
{
	struct mote_area *area = &machine->areas[n];

	if (n < machine->nr_areas)
		memmove(area, area + 1, (--machine->nr_areas - n) * sizeof(*area));
}

static void add_area(struct mote_machine *machine, const struct mote_slot *slot)
{
	size_t n = machine->nr_areas++;

	while (n && machine->areas[n - 1].gpa > slot->gpa) {
		machine->areas[n] = machine->areas[n - 1];
		n--;
	}
	machine->areas[n] = (struct mote_area) {
		.gpa = slot->gpa,
		.size = slot->size,
		.hva = (unsigned char *)(unsigned long)slot->hva,
		.slot = slot->slot,
		.flags = slot->flags,
	};
}

int mote_machine_set_slot(struct mote_machine *machine, const struct mote_slot *slot)
{
	struct mote_area *areas;
	int err;

	areas = realloc(machine->areas, (machine->nr_areas + 1) * sizeof(*areas));
	if (!areas)
		return -ENOMEM;
	machine->areas = areas;

	err = mote_set_slot(machine->fd, slot);
	if (err)
		return err;
	remove_area(machine, find_slot(machine, slot->slot));
	if (slot->size)
		add_area(machine, slot);
	return 0;
}

const struct mote_area *mote_machine_area(const struct mote_machine *machine, __u64 gpa)
{
	size_t low = 0, high = machine->nr_areas;

	while (low < high) {
		size_t middle = (low + high) / 2;
		const struct mote_area *area = &machine->areas[middle];

		if (gpa < area->gpa)
			high = middle;
		else if (gpa - area->gpa >= area->size)
			low = middle + 1;
		else
			return area;
	}
	return NULL;
}

void *mote_machine_hva(const struct mote_machine *machine, __u64 gpa, __u64 len)
{
	const struct mote_area *area = mote_machine_area(machine, gpa);

	if (!area || len > area->size - (gpa - area->gpa))
		return NULL;
	return area->hva + (gpa - area->gpa);
}

void *mote_machine_hva_writable(const struct mote_machine *machine, __u64 gpa, __u64 len)
{
	const struct mote_area *area = mote_machine_area(machine, gpa);

	return area && !(area->flags & MOTE_SLOT_READONLY) ? mote_machine_hva(machine, gpa, len) : NULL;
}

/* Is all of a range memory? */
static int check_range(const struct mote_machine *machine, __u64 gpa, size_t len)
{
	while (len) {
		const struct mote_area *area = mote_machine_area(machine, gpa);
		__u64 here = area ? area->size - (gpa - area->gpa) : 0;

		if (!here)
			return -EFAULT;
		if (here >= len)
			return 0;
		gpa += here;
		len -= here;
	}
	return 0;
}

static int copy(const struct mote_machine *machine, __u64 gpa, unsigned char *to,
		const unsigned char *from, size_t len)
{
	int err = check_range(machine, gpa, len);

	while (!err && len) {
		const struct mote_area *area = mote_machine_area(machine, gpa);
		__u64 offset = gpa - area->gpa;
		size_t here = area->size - offset < len ? area->size - offset : len;

		if (to) {
			memcpy(to, area->hva + offset, here);
			to += here;
		} else {
			memcpy(area->hva + offset, from, here);
			mote_machine_wrote(machine, area->hva + offset, here);
			from += here;
		}
		gpa += here;
		len -= here;
	}
	return err;
}

int mote_machine_read(const struct mote_machine *machine, __u64 gpa, void *data, size_t len)
{
	return copy(machine, gpa, data, NULL, len);
}

int mote_machine_write(const struct mote_machine *machine, __u64 gpa, const void *data, size_t len)
{
	return copy(machine, gpa, NULL, data, len);
}

static void note(const struct mote_written *written, const void *hva, __u64 len)
{
	__u64 at = (const unsigned char *)hva - written->hva, first = at >> 12, last;

	if (!len || first >= written->nr)
		return;
	last = (at + len - 1) >> 12;
	for (; first <= last && first < written->nr; first++)
		__atomic_or_fetch(&written->bits[first / 64], 1ull << first % 64, __ATOMIC_RELAXED);
}

void mote_machine_note(const struct mote_machine *machine, const void *hva, __u64 len)
{
	for (const struct mote_written *written = machine->written; written; written = written->next)
		note(written, hva, len);
}

void mote_machine_watch(struct mote_machine *machine, struct mote_written *written)
{
	written->next = machine->written;
	machine->written = written;
}

void mote_machine_unwatch(struct mote_machine *machine, struct mote_written *written)
{
	struct mote_written **link = &machine->written;

	while (*link && *link != written)
		link = &(*link)->next;
	if (*link)
		*link = written->next;
}

int mote_cpu_create(struct mote_cpu *cpu, struct mote_machine *machine, __u32 id)
{
	struct mote_vcpu_config config = { .id = id };
	int err;

	memset(cpu, 0, sizeof(*cpu));
	cpu->machine = machine;
	cpu->id = id;
	cpu->fd = mote_create_vcpu(machine->fd, &config);
	if (cpu->fd < 0)
		return cpu->fd;
	cpu->run = mmap(NULL, MOTE_RUN_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, cpu->fd, 0);
	if (cpu->run == MAP_FAILED) {
		err = -errno;
		close(cpu->fd);
		return err;
	}
	cpu->native = mote_native_create();
	return 0;
}

void mote_cpu_destroy(struct mote_cpu *cpu)
{
	munmap(cpu->run, MOTE_RUN_SIZE);
	close(cpu->fd);
	free(cpu->insns);
	mote_native_destroy(cpu->native);
	memset(cpu, 0, sizeof(*cpu));
	cpu->fd = -1;
}
