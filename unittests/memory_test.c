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

static __u64 log_low[(LOW_MEMORY_END >> 12) / 64], log_high[(1 << 30 >> 12) / 64];
static __u32 flags[2];
static int log_error;

int mote_set_slot(int fd, const struct mote_slot *slot)
{
	(void)fd;
	flags[slot->slot] = slot->flags;
	return 0;
}

int mote_create_vm(int fd, const struct mote_vm_config *config)
{
	(void)fd;
	(void)config;
	return -1;
}

int mote_create_vcpu(int fd, const struct mote_vcpu_config *config)
{
	(void)fd;
	(void)config;
	return -1;
}

int mote_get_dirty(int fd, const struct mote_dirty *dirty)
{
	__u64 *log = (dirty->slot ? log_high : log_low) + dirty->first / 64;

	(void)fd;
	if (log_error)
		return log_error;
	memcpy((void *)(uintptr_t)dirty->bitmap, log, (dirty->nr + 63) / 64 * 8);
	memset(log, 0, (dirty->nr + 63) / 64 * 8);
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

/* ---- going back ------------------------------------------------------------------------ */

static int saved;

/* The guest writes: what it may have in its log is what this does not say of others. */
static void write_byte(__u64 offset, bool is_logged)
{
	__u64 page = offset / PAGE_SIZE, low = vm.low / PAGE_SIZE;

	vm.ram[offset] = 0x77;
	if (is_logged && page < low)
		log_low[page / 64] |= 1ull << page % 64;
	else if (is_logged)
		log_high[(page - low) / 64] |= 1ull << (page - low) % 64;
	else
		mote_machine_wrote(&vm.machine, vm.ram + offset, 1);
}

static void goes_back(bool is_logged)
{
	static const __u64 offsets[] = {
		0, 4095, 4096, 63 * 4096, 64 * 4096, LOW_MEMORY_END - 1, LOW_MEMORY_END, LAST_PAGE - 1,
	};

	for (size_t i = 0; i < ARRAY_SIZE(offsets); i++)
		write_byte(offsets[i], is_logged);
	vm.ram[5 * PAGE_SIZE] = 0x66;
	EQ(0, memory_undo(&vm, saved));
	EQ(1, vm.ram[0]);
	for (size_t i = 1; i < ARRAY_SIZE(offsets); i++)
		EQ(offsets[i] == LAST_PAGE - 1 ? 2 : 0, vm.ram[offsets[i]]);
	/* What nobody said was written was not looked at. */
	EQ(0x66, vm.ram[5 * PAGE_SIZE]);
	vm.ram[5 * PAGE_SIZE] = 0;
}

static void back(void)
{
	unsigned char first = 1, last = 2;

	/* Memory that is no file. */
	memory_destroy(&vm);
	options.testdev = false;
	CHECK(!memory_create(&vm));
	saved = memfd_create("saved", 0);
	CHECK(!ftruncate(saved, LAST_PAGE) && pwrite(saved, &first, 1, 0) == 1 &&
	      pwrite(saved, &last, 1, LAST_PAGE - 1) == 1);
	/* The first time all of it, as nothing is known of what it was. */
	vm.ram[5 * PAGE_SIZE] = vm.ram[LOW_MEMORY_END + 5] = 3;
	EQ(0, memory_undo(&vm, saved));
	EQ(1, vm.ram[0]);
	EQ(0, vm.ram[5 * PAGE_SIZE] | vm.ram[LOW_MEMORY_END + 5]);
	CHECK(flags[0] & MOTE_SLOT_LOG_DIRTY && flags[1] & MOTE_SLOT_LOG_DIRTY);
	for (int i = 0; i < 3; i++) {
		goes_back(true);
		goes_back(false);
	}
	/* A log that cannot be read leaves everything as it is; one that another has read is none. */
	write_byte(0, true);
	log_error = -ENOMEM;
	EQ(-ENOMEM, memory_undo(&vm, saved));
	log_error = 0;
	EQ(0x77, vm.ram[0]);
	EQ(0, memory_log(&vm, true));
	CHECK(!vm.machine.written && !vm.undo_base);
	memset(log_low, 0, sizeof(log_low));
	EQ(0, memory_undo(&vm, saved));
	EQ(1, vm.ram[0]);
	memory_forget(&vm);
	CHECK(!vm.machine.written);
	close(saved);
}

int main(void)
{
	static const struct unit_test tests[] = {
		{ "a page that is mapped anew is lost and comes back with what it holds", pages },
		{ "where there is no memory nothing happens", elsewhere },
		{ "many of them are one mapping", often },
		{ "memory goes back by what was noted", back },
	};
	int status;

	if (memory_create(&vm))
		return 1;
	status = run_all(tests, sizeof(tests) / sizeof(tests[0]));
	memory_destroy(&vm);
	return status;
}
