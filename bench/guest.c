// SPDX-License-Identifier: GPL-2.0
/* The guest's memory, and running a row in it. SDM 3A, "Protected-Mode Memory Management". */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "bench.h"

void fail(const char *what)
{
	fprintf(stderr, "bench: %s: %s\n", what, errno ? strerror(errno) : "cannot be");
	exit(1);
}

uint64_t ticks(void)
{
	uint32_t low, high;

	asm volatile("lfence; rdtsc" : "=a"(low), "=d"(high));
	return low | (uint64_t)high << 32;
}

void *allocate(uint64_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		fail("mmap");
	/* The kernel may have no huge pages to forgo. */
	madvise(memory, size, MADV_NOHUGEPAGE);
	return memory;
}

static void fill_page_tables(unsigned char *ram)
{
	uint64_t *pml4 = (void *)(ram + GPA_PML4), *pdpt = (void *)(ram + GPA_PDPT);
	uint64_t *pd = (void *)(ram + GPA_PD);

	pml4[0] = GPA_PDPT | 3;
	for (uint64_t i = 0; i < 4; i++)
		pdpt[i] = (GPA_PD + i * PAGE_SIZE) | 3;
	for (uint64_t i = 0; i < 2048; i++)
		pd[i] = i << 21 | 0x83;
}

void vm_fill(struct vm *vm)
{
	static const uint64_t gdt[] = {
		[CODE64 / 8] = 0x00af9b000000ffff, [DATA / 8] = 0x00cf93000000ffff,
	};
	const uint64_t handler = PAYLOAD(payload_handler);
	uint64_t *idt = (void *)(vm->ram + GPA_IDT);

	memcpy(vm->ram + GPA_PAYLOAD, payload, payload_end - payload);
	memcpy(vm->ram + GPA_GDT, gdt, sizeof(gdt));
	/* Any other vector is a triple fault. */
	idt[2 * VECTOR] = (handler & 0xffff) | CODE64 << 16 | 0x8e00ull << 32 |
			  (handler & 0xffff0000) << 32;
	fill_page_tables(vm->ram);
}

void vm_create(struct vm *vm, const struct hypervisor *hypervisor)
{
	const struct guest_args begin = { .rip = PAYLOAD(payload_begin) };

	vm->hypervisor = hypervisor;
	vm->ram = allocate(RAM_SIZE);
	vm_fill(vm);
	hypervisor->create(vm);
	hypervisor->start(vm, &begin);
	hypervisor->run(vm);
}

void vm_destroy(struct vm *vm)
{
	vm->hypervisor->destroy(vm);
	munmap(vm->ram, RAM_SIZE);
}

uint64_t vm_measure(struct vm *vm, const struct guest_args *args)
{
	const uint64_t *results = (void *)(vm->ram + GPA_RESULTS);
	uint64_t least = UINT64_MAX;

	memset(vm->ram + GPA_RESULTS, 0, 8 * args->batches);
	vm->hypervisor->start(vm, args);
	vm->hypervisor->run(vm);
	for (uint64_t i = 0; i < args->batches; i++)
		least = results[i] && results[i] < least ? results[i] : least;
	if (least == UINT64_MAX)
		fail("a row without results");
	return least;
}
