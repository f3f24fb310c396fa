// SPDX-License-Identifier: GPL-2.0
/* Guest memory whose pages are mapped anew: they keep what they hold; the host's tables lose them. */
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../userspace/runner/memory.c"
#include "tests.h"

#define LAST_PAGE (3ull << 30)	/* of 3 GiB, of which one is behind the hole */

static struct options options = { .memory = 3ull << 30, .testdev = true };
static struct vm vm = { .options = &options };

void complain(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vprintf(format, args);
	va_end(args);
}

int mote_machine_set_slot(struct mote_machine *machine, const struct mote_slot *slot)
{
	(void)machine;
	(void)slot;
	return 0;
}

/* Is the page in our page tables? */
static bool is_present(const unsigned char *hva)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	__u64 entry = 0;

	CHECK(pread(fd, &entry, sizeof(entry), (uintptr_t)hva / PAGE_SIZE * sizeof(entry)) == sizeof(entry));
	close(fd);
	return entry >> 63;
}

static unsigned int nr_mappings(void)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	unsigned int nr = 0;
	int c;

	while ((c = getc(maps)) != EOF)
		nr += c == '\n';
	fclose(maps);
	return nr;
}

static void look_at(__u64 gpa, __u64 offset)
{
	unsigned char *hva = vm.ram + offset;

	*hva = 0x5a;
	CHECK(is_present(hva));
	memory_remap(&vm, gpa);
	CHECK(!is_present(hva));
	EQ(0x5a, *hva);
	*hva = 0xa5;
	memory_remap(&vm, gpa + 5);
	EQ(0xa5, *hva);
}

static void pages(void)
{
	look_at(0, 0);
	look_at(LOW_MEMORY_END - 1, LOW_MEMORY_END - 1);
	look_at(HIGH_MEMORY, LOW_MEMORY_END);
	look_at(HIGH_MEMORY + (1ull << 30) - PAGE_SIZE, LAST_PAGE - PAGE_SIZE);
}

/* What is no memory has no page: its neighbours stay as they are. */
static void elsewhere(void)
{
	static const __u64 gpas[] = { LOW_MEMORY_END, HIGH_MEMORY - 1, HIGH_MEMORY + (1ull << 30), ~0ull };
	unsigned char *last = vm.ram + LAST_PAGE - PAGE_SIZE, *middle = vm.ram + LOW_MEMORY_END;

	*last = *middle = 1;
	for (size_t i = 0; i < sizeof(gpas) / sizeof(gpas[0]); i++)
		memory_remap(&vm, gpas[i]);
	CHECK(is_present(last) && is_present(middle));
}

/* As often as the guest likes. */
static void often(void)
{
	unsigned int nr = nr_mappings();

	for (__u64 i = 0; i < 1000; i++)
		memory_remap(&vm, 2 * i * PAGE_SIZE);
	CHECK(nr_mappings() <= nr + 2);
}

int main(void)
{
	static const struct unit_test tests[] = {
		{ "a page that is mapped anew is lost and comes back with what it holds", pages },
		{ "where there is no memory nothing happens", elsewhere },
		{ "many of them are one mapping", often },
	};
	int status;

	if (memory_create(&vm))
		return 1;
	status = run_all(tests, sizeof(tests) / sizeof(tests[0]));
	memory_destroy(&vm);
	return status;
}
