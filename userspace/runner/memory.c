// SPDX-License-Identifier: GPL-2.0
/*
 * The guest's memory: this process's own, and faulted in as the guest uses it; or
 * a file without a name, where a process of somebody else's serves a device (vhost_user.c),
 * or where pages go and come back (dev/testdev.c).
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "keep.h"
#include "runner.h"
#include "snapshot.h"

#define HUGE_PAGE 0x200000ull
#define PAGE_SIZE 4096ull
#define PAGEMAP "/proc/self/pagemap"

enum { SLOT_LOW, SLOT_HIGH };

static int set_slot(struct vm *vm, __u32 slot, __u32 flags)
{
	bool is_low = slot == SLOT_LOW;
	const struct mote_slot memory = {
		.slot = slot, .flags = flags, .gpa = is_low ? 0 : HIGH_MEMORY,
		.size = is_low ? vm->low : vm->high,
		.hva = (unsigned long)(is_low ? vm->ram : vm->ram + vm->low),
	};

	return memory.size ? mote_machine_set_slot(&vm->machine, &memory) : 0;
}

static int add_slot(struct vm *vm, __u32 slot, __u64 gpa)
{
	int err = set_slot(vm, slot, 0);

	if (err)
		complain("cannot give the VM memory at 0x%llx: %s", gpa, strerror(-err));
	return err ? -1 : 0;
}

static bool is_received(const struct vm *vm)
{
	return vm->snapshot && vm->snapshot->connection >= 0;
}

/* Put a file where the memory is: an empty one, or what another runner has sent. */
static bool share(struct vm *vm, __u64 size)
{
	vm->memory_fd = is_received(vm) ? fcntl(vm->snapshot->memory_fd, F_DUPFD_CLOEXEC, 3) :
					  memfd_create("mote", MFD_CLOEXEC);
	return vm->memory_fd >= 0 && (is_received(vm) || !ftruncate(vm->memory_fd, size)) &&
	       mmap(vm->ram, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | MAP_NORESERVE,
		    vm->memory_fd, 0) != MAP_FAILED;
}

/* Addresses here and in the guest are the same modulo the size of a huge page. */
int memory_create(struct vm *vm)
{
	__u64 size = vm->options->memory;
	unsigned char *ram;
	bool is_file;

	vm->is_restored = false;
	vm->pagemap = keep_take_fd("file", PAGEMAP);
	if (vm->pagemap < 0)
		vm->pagemap = open(PAGEMAP, O_RDONLY | O_CLOEXEC);
	vm->low = size < LOW_MEMORY_END ? size : LOW_MEMORY_END;
	vm->high = size - vm->low;
	ram = mmap(NULL, size + HUGE_PAGE, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	vm->mapping = ram != MAP_FAILED ? ram : NULL;
	if (vm->mapping)
		vm->ram = ram + (-(unsigned long)ram & (HUGE_PAGE - 1));
	/* Others want to have it, or it is to outlive its mapping, or it is a file already. */
	is_file = vm->options->nr_shares || vm->options->testdev || is_received(vm);
	if (ram == MAP_FAILED || (is_file && !share(vm, size))) {
		complain("--memory: cannot get %lluM: %s", size >> 20, strerror(errno));
		return -1;
	}
	/* Only advice: not every kernel has them. */
	madvise(vm->ram, size, MADV_HUGEPAGE);
	/* Nor is it anybody's whom a crash of ours concerns. */
	madvise(vm->ram, size, MADV_DONTDUMP);
	if (add_slot(vm, SLOT_LOW, 0))
		return -1;
	return add_slot(vm, SLOT_HIGH, HIGH_MEMORY);
}

int memory_log(struct vm *vm, bool is_on)
{
	__u32 flags = is_on ? MOTE_SLOT_LOG_DIRTY : 0;
	int err;

	memory_forget(vm);
	err = set_slot(vm, SLOT_LOW, flags);

	return err ? err : set_slot(vm, SLOT_HIGH, flags);
}

/* Where there is high memory the low one is as large as it can be: whole words of bits. */
static int add_dirty(struct vm *vm, __u32 slot, __u64 pages, __u64 *bits)
{
	__u64 part[4096];

	for (__u64 first = 0; first < pages; first += 64 * ARRAY_SIZE(part)) {
		struct mote_dirty dirty = {
			.slot = slot, .first = first, .nr = 64 * ARRAY_SIZE(part),
			.bitmap = (unsigned long)part,
		};
		int err;

		if (dirty.nr > pages - first)
			dirty.nr = pages - first;
		err = mote_get_dirty(vm->machine.fd, &dirty);
		if (err)
			return err;
		for (__u64 i = 0; i < (dirty.nr + 63) / 64; i++)
			bits[first / 64 + i] |= part[i];
	}
	return 0;
}

int memory_get_dirty(struct vm *vm, __u64 *bits)
{
	int err = add_dirty(vm, SLOT_LOW, vm->low / PAGE_SIZE, bits);

	return err ? err : add_dirty(vm, SLOT_HIGH, vm->high / PAGE_SIZE, bits + vm->low / PAGE_SIZE / 64);
}

/* Of a file of somebody's own it becomes a copy at once, else page by page as the guest uses it. */
int memory_restore(struct vm *vm, int fd)
{
	__u64 size = vm->options->memory, at = 0;
	ssize_t nr = 1;

	if (is_received(vm))
		return 0;
	if (vm->memory_fd < 0) {
		vm->is_restored = mmap(vm->ram, size, PROT_READ | PROT_WRITE,
				       MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, fd, 0) != MAP_FAILED;
		/* Another mapping, of which dumps know nothing. */
		madvise(vm->ram, size, MADV_DONTDUMP);
		if (vm->is_restored)
			return 0;
		nr = -1;
	}
	for (; at < size && nr > 0; at += nr)
		nr = pread(fd, vm->ram + at, size - at, at);
	if (at == size)
		return 0;
	complain("cannot read the memory that was saved: %s", nr < 0 ? strerror(errno) : "it is truncated");
	return -1;
}

void memory_forget(struct vm *vm)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(vm->undos); i++)
		if (vm->undos[i].machine)
			mote_undo_end(&vm->undos[i]);
	if (vm->undo_base)
		munmap(vm->undo_base, vm->options->memory);
	vm->undo_base = NULL;
}

/* From here on what is written is noted. */
static int begin_undos(struct vm *vm, int fd)
{
	unsigned char *base = mmap(NULL, vm->options->memory, PROT_READ, MAP_SHARED | MAP_NORESERVE, fd, 0);
	int err;

	if (base == MAP_FAILED)
		return -errno;
	vm->undo_base = base;
	err = mote_undo_begin(&vm->undos[SLOT_LOW], &vm->machine, SLOT_LOW, base);
	if (!err && vm->high)
		err = mote_undo_begin(&vm->undos[SLOT_HIGH], &vm->machine, SLOT_HIGH, base + vm->low);
	if (err)
		memory_forget(vm);
	return err;
}

int memory_undo(struct vm *vm, int fd)
{
	long nr = 0;

	if (!vm->undo_base)
		return memory_restore(vm, fd) ? -EIO : begin_undos(vm, fd);
	for (unsigned int i = 0; i < ARRAY_SIZE(vm->undos) && nr >= 0; i++)
		if (vm->undos[i].machine)
			nr = mote_undo(&vm->undos[i]);
	return nr < 0 ? nr : 0;
}

void memory_discard(struct vm *vm, void *hva, __u64 size)
{
	__u64 offset = (unsigned char *)hva - vm->ram;
	__u64 first = (offset + PAGE_SIZE - 1) & ~(PAGE_SIZE - 1);
	__u64 end = (offset + size) & ~(PAGE_SIZE - 1);

	/* The firmware, for one, is memory of another kind. */
	if (offset >= vm->options->memory || size > vm->options->memory - offset || first >= end)
		return;
	madvise(vm->ram + first, end - first, vm->memory_fd < 0 ? MADV_DONTNEED : MADV_REMOVE);
	mote_machine_wrote(&vm->machine, vm->ram + first, end - first);
}

/* In one call, so that nobody meets a page that is not there. */
void memory_remap(struct vm *vm, __u64 gpa)
{
	__u64 page = gpa & ~(PAGE_SIZE - 1);
	__u64 offset = page < HIGH_MEMORY ? page : page - HIGH_MEMORY + vm->low;

	if (vm->memory_fd < 0 || (page < HIGH_MEMORY ? page >= vm->low : page - HIGH_MEMORY >= vm->high))
		return;
	mmap(vm->ram + offset, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | MAP_NORESERVE,
	     vm->memory_fd, offset);
	/* Like its neighbours, so that it stays one mapping. */
	madvise(vm->ram + offset, PAGE_SIZE, MADV_HUGEPAGE);
	madvise(vm->ram + offset, PAGE_SIZE, MADV_DONTDUMP);
}

void memory_destroy(struct vm *vm)
{
	memory_forget(vm);
	if (vm->memory_fd >= 0)
		close(vm->memory_fd);
	vm->memory_fd = -1;
	if (vm->pagemap >= 0)
		keep_fd("file", PAGEMAP, vm->pagemap);
	vm->pagemap = -1;
	if (vm->mapping)
		munmap(vm->mapping, vm->options->memory + HUGE_PAGE);
	vm->mapping = NULL;
	if (vm->firmware)
		munmap(vm->firmware, vm->firmware_size);
	vm->firmware = NULL;
}
