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

#include "runner.h"
#include "vm.h"

#define HUGE_PAGE 0x200000ull
#define PAGE_SIZE 4096ull

static int add_slot(struct vm *vm, __u32 slot, __u64 gpa, unsigned char *hva, __u64 size)
{
	const struct mote_slot memory = {
		.slot = slot, .gpa = gpa, .size = size, .hva = (unsigned long)hva,
	};
	int err = size ? mote_machine_set_slot(&vm->machine, &memory) : 0;

	if (err)
		complain("cannot give the VM memory at 0x%llx: %s", gpa, strerror(-err));
	return err ? -1 : 0;
}

/* Are there processes that want to have the memory, too, or is it to outlive its mapping? */
static bool is_file(const struct options *options)
{
	bool is_file = options->nr_shares || options->testdev;

	for (unsigned int i = 0; i < options->nr_disks; i++)
		is_file |= !!options->disks[i].format;
	return is_file;
}

/* Put a file where the memory is. */
static bool share(struct vm *vm, __u64 size)
{
	vm->memory_fd = memfd_create("mote", MFD_CLOEXEC);
	return vm->memory_fd >= 0 && !ftruncate(vm->memory_fd, size) &&
	       mmap(vm->ram, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | MAP_NORESERVE,
		    vm->memory_fd, 0) != MAP_FAILED;
}

/* Addresses here and in the guest are the same modulo the size of a huge page. */
int memory_create(struct vm *vm)
{
	__u64 size = vm->options->memory;
	unsigned char *ram;

	vm->low = size < LOW_MEMORY_END ? size : LOW_MEMORY_END;
	vm->high = size - vm->low;
	ram = mmap(NULL, size + HUGE_PAGE, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	vm->mapping = ram != MAP_FAILED ? ram : NULL;
	if (vm->mapping)
		vm->ram = ram + (-(unsigned long)ram & (HUGE_PAGE - 1));
	if (ram == MAP_FAILED || (is_file(vm->options) && !share(vm, size))) {
		complain("--memory: cannot get %lluM: %s", size >> 20, strerror(errno));
		return -1;
	}
	/* Only advice: not every kernel has them. */
	madvise(vm->ram, size, MADV_HUGEPAGE);
	if (add_slot(vm, 0, 0, vm->ram, vm->low))
		return -1;
	return add_slot(vm, 1, HIGH_MEMORY, vm->ram + vm->low, vm->high);
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
}

void memory_destroy(struct vm *vm)
{
	if (vm->memory_fd >= 0)
		close(vm->memory_fd);
	vm->memory_fd = -1;
	if (vm->mapping)
		munmap(vm->mapping, vm->options->memory + HUGE_PAGE);
	vm->mapping = NULL;
	if (vm->firmware)
		munmap(vm->firmware, vm->firmware_size);
	vm->firmware = NULL;
}
