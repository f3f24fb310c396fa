// SPDX-License-Identifier: GPL-2.0
/*
 * The working set of a machine that was saved: which pages of its memory one that was restored has used up to
 * its end (mote restore --record).  It is a file beside the memory, and what others read ahead.  It decides
 * when something is read, never what: one that is damaged or a stranger's does no harm.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "runner.h"
#include "snapshot.h"

#define PAGE_SIZE 4096
/* As PAGEMAP_PRESENT: what is there is the file's. */
#define PAGEMAP_FILE (1ull << 61)

/**
 * struct page_run - pages that follow each other, as the file has them
 * @first: number of the first one in the machine's memory
 * @nr: how many
 * @is_written: the machine has written to them; else it has only read, or others around them
 */
struct page_run {
	__u64 first;
	__u32 nr;
	__u32 is_written;
};

/* What cannot be had now is missed when it is used. */
static void read_ahead(const struct vm *vm, const struct page_run *run, size_t nr)
{
	const __u64 nr_pages = vm->options->memory / PAGE_SIZE;

	for (; nr; nr--, run++)
		if (run->first < nr_pages && run->nr <= nr_pages - run->first)
			madvise(vm->ram + run->first * PAGE_SIZE, run->nr * PAGE_SIZE,
				run->is_written ? MADV_POPULATE_WRITE : MADV_POPULATE_READ);
}

int working_set_begin(const struct vm *vm)
{
	const struct snapshot *snapshot = vm->snapshot;

	if (snapshot->record_fd < 0 && vm->is_restored)
		read_ahead(vm, snapshot->working_set, snapshot->working_set_size / sizeof(struct page_run));
	/* What is used is to be found out. */
	if (snapshot->record_fd < 0 || !ftruncate(snapshot->record_fd, 0))
		return 0;
	complain("the working set cannot be recorded: %m");
	return -1;
}

/**
 * struct record - a working set that is being written down
 * @runs: it
 * @nr: of them
 * @room: for so many
 */
struct record {
	struct page_run *runs;
	size_t nr;
	size_t room;
};

static int add_page(struct record *record, __u64 page, bool is_written)
{
	struct page_run *run = record->nr ? &record->runs[record->nr - 1] : NULL;

	if (run && run->first + run->nr == page && run->is_written == is_written) {
		run->nr++;
		return 0;
	}
	if (record->nr == record->room) {
		record->room = 2 * record->room + 64;
		run = realloc(record->runs, record->room * sizeof(*run));
		if (!run)
			return -ENOMEM;
		record->runs = run;
	}
	record->runs[record->nr++] = (struct page_run){ .first = page, .nr = 1, .is_written = is_written };
	return 0;
}

/* A page that is not the file's any more was written to. */
static int find_pages(const struct vm *vm, struct record *record)
{
	const __u64 nr_pages = vm->options->memory / PAGE_SIZE, offset = (unsigned long)vm->ram / PAGE_SIZE;
	__u64 entries[MEMORY_LOOK_MOST];
	int err = 0;

	for (__u64 page = 0; page < nr_pages && !err; page += MEMORY_LOOK_MOST) {
		__u64 nr = nr_pages - page < MEMORY_LOOK_MOST ? nr_pages - page : MEMORY_LOOK_MOST;

		if (!read_at(vm->pagemap, entries, nr * sizeof(*entries), (offset + page) * sizeof(*entries)))
			err = -EIO;
		for (__u64 i = 0; i < nr && !err; i++)
			if (entries[i] & PAGEMAP_PRESENT)
				err = add_page(record, page + i, !(entries[i] & PAGEMAP_FILE));
	}
	return err;
}

void working_set_end(struct vm *vm)
{
	struct snapshot *snapshot = vm->options->snapshot;
	struct record record = { 0 };
	int err;

	if (!snapshot || snapshot->record_fd < 0)
		return;
	err = vm->is_restored ? find_pages(vm, &record) : -EOPNOTSUPP;
	if (!err)
		err = snapshot_write_file(snapshot->record_fd, record.runs,
					  record.nr * sizeof(record.runs[0]));
	if (err)
		complain("the working set cannot be recorded: %s", strerror(-err));
	free(record.runs);
	/* Once: when the machine begins anew it is another one. */
	close(snapshot->record_fd);
	snapshot->record_fd = -1;
}
