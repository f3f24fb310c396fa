// SPDX-License-Identifier: GPL-2.0
/* libmote: back to where a machine was: see reset.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "reset.h"

#define PAGE_SIZE 4096

/* More than any XSAVE image has. */
#define XSAVE_MOST (64u << 10)

/**
 * struct kept_cpu - a vCPU as it was
 * @cpu: it
 * @state: its registers
 */
struct kept_cpu {
	struct mote_cpu *cpu;
	struct mote_state state;
};

/**
 * struct mote_kept - a machine as it was
 * @clock: its clock and its TSC
 * @nr_cpus: how many @cpus there are
 * @cpus: its vCPUs
 * @nr_undos: how many @undos have begun
 * @undos: a slot's memory each
 */
struct mote_kept {
	struct mote_clock_value clock;
	unsigned int nr_cpus;
	struct kept_cpu *cpus;
	size_t nr_undos;
	struct mote_undo *undos;
};

/* A VM without local APICs has no state of them. */
static int keep_cpu(struct kept_cpu *kept, struct mote_cpu *cpu)
{
	void *image = aligned_alloc(64, XSAVE_MOST);
	int err;

	kept->cpu = cpu;
	kept->state = (struct mote_state) {
		.mask = MOTE_STATE_ALL | MOTE_STATE_APIC, .xsave_size = XSAVE_MOST,
		.xsave = (unsigned long)image,
	};
	if (!image)
		return -ENOMEM;
	err = mote_get_state(cpu->fd, &kept->state);
	if (err != -EINVAL)
		return err;
	kept->state.mask = MOTE_STATE_ALL;
	return mote_get_state(cpu->fd, &kept->state);
}

/* A copy that has no memory where there are zeros; NULL. */
static void *copy_memory(const struct mote_area *area)
{
	unsigned char *copy = mmap(NULL, area->size, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (copy == MAP_FAILED)
		return NULL;
	for (__u64 at = 0; at < area->size; at += PAGE_SIZE) {
		const unsigned char *page = area->hva + at;

		if (page[0] || memcmp(page, page + 1, PAGE_SIZE - 1))
			memcpy(copy + at, page, PAGE_SIZE);
	}
	return copy;
}

static int keep_memory(struct mote_machine *machine, struct mote_kept *kept, const struct mote_area *area)
{
	void *copy = copy_memory(area);
	int err = copy ? mote_undo_begin(&kept->undos[kept->nr_undos], machine, area->slot, copy) : -ENOMEM;

	if (!err)
		kept->nr_undos++;
	else if (copy)
		munmap(copy, area->size);
	return err;
}

int mote_machine_keep(struct mote_machine *machine, struct mote_cpu *const *cpus, unsigned int nr)
{
	size_t areas = machine->nr_areas;
	struct mote_kept *kept;
	int err;

	if (machine->kept)
		return -EEXIST;
	kept = calloc(1, sizeof(*kept));
	if (!kept)
		return -ENOMEM;
	machine->kept = kept;
	kept->cpus = calloc(nr + !nr, sizeof(kept->cpus[0]));
	kept->undos = calloc(areas + !areas, sizeof(kept->undos[0]));
	err = kept->cpus && kept->undos ? mote_get_clock(machine->fd, &kept->clock) : -ENOMEM;
	/* Reading the registers may write to memory. */
	for (; !err && kept->nr_cpus < nr; kept->nr_cpus++)
		err = keep_cpu(&kept->cpus[kept->nr_cpus], cpus[kept->nr_cpus]);
	while (!err && kept->nr_undos < areas)
		err = keep_memory(machine, kept, &machine->areas[kept->nr_undos]);
	if (err)
		mote_machine_forget(machine);
	return err;
}

long mote_machine_reset(struct mote_machine *machine)
{
	struct mote_kept *kept = machine->kept;
	int err = kept ? mote_set_clock(machine->fd, &kept->clock) : -ENOENT;
	long nr = 0, all = 0;

	for (unsigned int i = 0; !err && i < kept->nr_cpus; i++) {
		struct kept_cpu *cpu = &kept->cpus[i];

		cpu->cpu->run->set = 0;
		cpu->cpu->run->reason = MOTE_EXIT_NONE;
		err = mote_set_state(cpu->cpu->fd, &cpu->state);
	}
	for (size_t i = 0; !err && nr >= 0 && i < kept->nr_undos; i++) {
		nr = mote_undo(&kept->undos[i]);
		all += nr;
	}
	return err ? err : nr < 0 ? nr : all;
}

void mote_machine_forget(struct mote_machine *machine)
{
	struct mote_kept *kept = machine->kept;

	machine->kept = NULL;
	for (size_t i = 0; kept && i < kept->nr_undos; i++) {
		struct mote_undo undo = kept->undos[i];

		mote_undo_end(&kept->undos[i]);
		munmap((void *)undo.base, undo.written.nr * PAGE_SIZE);
	}
	for (unsigned int i = 0; kept && kept->cpus && i < kept->nr_cpus; i++)
		free((void *)(unsigned long)kept->cpus[i].state.xsave);
	if (!kept)
		return;
	free(kept->cpus);
	free(kept->undos);
	free(kept);
}
