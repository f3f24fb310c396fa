// SPDX-License-Identifier: GPL-2.0
/*
 * The SMBIOS structures: each is walked as DSP0134 has it, and what is known must be in it; where
 * dmidecode is installed it is asked, too, and has nothing to complain about.
 */
#include <stdlib.h>
#include <unistd.h>

#define MOTE_VERSION "9.8.7"
#include "../userspace/runner/smbios.c"
#include "tests.h"

#define TABLE_AT (2 * ALIGNMENT)

static struct options options;
static struct vm vm = { .options = &options, .name = "machine" };
static __u8 memory[4096];
static size_t claimed, written;

int place_at(struct vm *which, const char *path, __u64 gpa, __u64 size, const char *what)
{
	(void)which;
	(void)path;
	(void)what;
	CHECK(gpa == SMBIOS && size <= sizeof(memory));
	claimed = size;
	return 0;
}

int load_bytes(struct vm *which, __u64 gpa, const void *data, size_t size)
{
	(void)which;
	CHECK(gpa >= SMBIOS && gpa - SMBIOS + size <= claimed);
	memcpy(memory + (gpa - SMBIOS), data, size);
	written = gpa - SMBIOS + size;
	return 0;
}

bool host_read_line(const char *path, char *line, int size)
{
	(void)path;
	snprintf(line, size, "0123456789abcdef0123456789abcdef");
	return true;
}

static void set_up(unsigned int cpus, __u64 size, const char *firmware)
{
	options = (struct options) { .cpus = cpus, .memory = size, .firmware = firmware };
	vm.low = size < LOW_MEMORY_END ? size : LOW_MEMORY_END;
	vm.high = size - vm.low;
	memset(memory, 0xee, sizeof(memory));
}

static __u8 sum(const void *data, size_t size)
{
	const __u8 *byte = data;
	__u8 total = 0;

	while (size--)
		total += *byte++;
	return total;
}

/* ---- walking ---------------------------------------------------------------------------- */

struct found {
	const struct structure *structure;
	const char *strings;
};

/* Those of a type, in order, and how many there are; all of the table is walked. */
static unsigned int find(const __u8 *bytes, size_t size, unsigned int type, struct found found[],
	unsigned int most)
{
	unsigned int nr = 0, nr_ends = 0;
	const __u8 *at = bytes, *end = bytes + size;

	while (at < end && !nr_ends) {
		const struct structure *structure = (const struct structure *)at;
		const __u8 *string = at + structure->length;

		CHECK(structure->length >= sizeof(*structure) && string + 2 <= end);
		if (structure->type == type && nr < most)
			found[nr++] = (struct found) { structure, (const char *)string };
		nr_ends += structure->type == TYPE_END;
		while (string + 2 <= end && (string[0] || string[1]))
			string++;
		at = string + 2;
	}
	CHECK(nr_ends == 1 && at == end);
	return nr;
}

static const char *string_of(const struct found *found, unsigned int number)
{
	const char *string = found->strings;

	while (--number && *string)
		string += strlen(string) + 1;
	return string;
}

static struct smbios smbios;

static unsigned int get(unsigned int type, struct found found[], unsigned int most)
{
	return find(smbios.bytes, smbios.size, type, found, most);
}

/* ---- tests ------------------------------------------------------------------------------- */

static void system_and_firmware(void)
{
	struct found found[2];
	const struct system *system;

	set_up(1, 512ull << 20, NULL);
	CHECK(uuid_parse("00112233-4455-6677-8899-aabbccddeeFF", options.uuid));
	smbios_make(&smbios, &vm);
	EQ(1, get(TYPE_BIOS, found, 2));
	EQ(0x18, found[0].structure->length);
	EQ(1, get(TYPE_SYSTEM, found, 2));
	system = (const struct system *)found[0].structure;
	EQ(0x1b, system->header.length);
	CHECK(!memcmp(system->uuid, "\x33\x22\x11\x00\x55\x44\x77\x66\x88\x99\xaa\xbb\xcc\xdd\xee\xff", 16));
	CHECK(!strcmp(string_of(found, system->serial), "00112233-4455-6677-8899-aabbccddeeff"));
	CHECK(!strcmp(string_of(found, system->manufacturer), "mote"));
	CHECK(!strcmp(string_of(found, system->version), "9.8.7"));
	EQ(1, get(TYPE_CHASSIS, found, 2));
	EQ(0x15, found[0].structure->length);
	/* Firmware says itself what it is. */
	set_up(1, 512ull << 20, "bios");
	smbios_make(&smbios, &vm);
	EQ(0, get(TYPE_BIOS, found, 2));
}

static void processors(void)
{
	static const struct { unsigned int nr, few; } cases[] = { { 1, 1 }, { 2, 2 }, { 254, 254 },
		{ 255, 255 }, { 1000, 255 } };
	const struct processor *processor;
	struct found found[2];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		set_up(cases[i].nr, 512ull << 20, NULL);
		smbios_make(&smbios, &vm);
		EQ(1, get(TYPE_PROCESSOR, found, 2));
		processor = (const struct processor *)found[0].structure;
		EQ(0x30, processor->header.length);
		EQ(cases[i].few, processor->cores);
		EQ(cases[i].nr, processor->cores2);
		EQ(cases[i].nr > 1, !!(processor->characteristics & CPU_MULTI_CORE));
		CHECK(*string_of(found, processor->manufacturer) && *string_of(found, processor->version));
	}
}

/* @high: bytes behind the hole; @size, @extended: of the module, in MiB. */
static void memory_is(__u64 size, __u64 high, unsigned int mib, __u64 extended)
{
	struct found found[3];
	const struct memory_range *range;
	const struct memory_device *device;

	set_up(1, size, NULL);
	EQ(high, vm.high);
	smbios_make(&smbios, &vm);
	EQ(1, get(TYPE_MEMORY_ARRAY, found, 3));
	EQ(0x17, found[0].structure->length);
	EQ(1, get(TYPE_MEMORY_DEVICE, found, 3));
	device = (const struct memory_device *)found[0].structure;
	EQ(0x28, device->header.length);
	EQ(mib, device->size);
	EQ(extended, device->extended_size);
	EQ(high ? 2 : 1, get(TYPE_MEMORY_RANGE, found, 3));
	range = (const struct memory_range *)found[0].structure;
	EQ(0x1f, range->header.length);
	EQ(0, range->first);
	EQ((size - high) / 1024 - 1, range->last);
	range = (const struct memory_range *)found[1].structure;
	if (high && HIGH_MEMORY + high <= 1ull << 42) {
		EQ(HIGH_MEMORY / 1024, range->first);
		EQ((HIGH_MEMORY + high) / 1024 - 1, range->last);
	} else if (high) {
		EQ(EXTENDED_RANGE, range->first);
		EQ(HIGH_MEMORY, range->extended_first);
		EQ(HIGH_MEMORY + high - 1, range->extended_last);
	}
}

static void memory_sizes(void)
{
	memory_is(1ull << 20, 0, 1, 0);
	memory_is(512ull << 20, 0, 512, 0);
	memory_is(2ull << 30, 0, 2048, 0);
	memory_is(3ull << 30, 1ull << 30, 3072, 0);
	memory_is(32766ull << 20, (32766ull << 20) - LOW_MEMORY_END, 32766, 0);
	memory_is(32767ull << 20, (32767ull << 20) - LOW_MEMORY_END, EXTENDED_SIZE, 32767);
	memory_is(1ull << 40, (1ull << 40) - LOW_MEMORY_END, EXTENDED_SIZE, 1 << 20);
	memory_is(1ull << 42, (1ull << 42) - LOW_MEMORY_END, EXTENDED_SIZE, 4 << 20);
}

/* For firmware, and at the place where a guest without it looks. */
static void entries(void)
{
	const struct entry3 *entry3 = (const struct entry3 *)memory;
	struct found found[1];

	set_up(4, 4ull << 30, NULL);
	smbios_make(&smbios, &vm);
	EQ(0, sum(&smbios.entry, 0x1f));
	EQ(0, sum(&smbios.entry.dmi, 0x0f));
	EQ(0x1f, smbios.entry.length);
	EQ(smbios.size, smbios.entry.table_size);
	EQ(10, smbios.entry.nr);
	EQ(0, smbios_write(&vm));
	EQ(claimed, written);
	EQ(0, sum(memory, 0x18));
	EQ(0x18, entry3->length);
	CHECK(!memcmp(entry3->anchor, "_SM3_", 5));
	EQ(SMBIOS + TABLE_AT, entry3->table);
	EQ(1, find(memory + TABLE_AT, entry3->most_size, TYPE_BOOT, found, 1));
}

/* In a file as dmidecode writes them the table is behind the entry. */
static void dmidecode(void)
{
	struct entry3 *entry = (struct entry3 *)memory;
	char out[16384] = "", name[] = "/tmp/smbios-XXXXXX", command[128];
	int fd = mkstemp(name);
	FILE *pipe;

	set_up(4, 40ull << 30, NULL);
	EQ(0, smbios_write(&vm));
	entry->table = TABLE_AT;
	entry->checksum -= sum(entry, sizeof(*entry));
	CHECK(write(fd, memory, written) == (ssize_t)written);
	close(fd);
	snprintf(command, sizeof(command), "PATH=$PATH:/usr/sbin dmidecode --from-dump %s 2>&1", name);
	pipe = popen(command, "r");
	CHECK(fread(out, 1, sizeof(out) - 1, pipe) > 0);
	CHECK(!pclose(pipe));
	unlink(name);
	CHECK(!strstr(out, "Wrong") && !strstr(out, "Invalid") && !strstr(out, "TRUNCATED") &&
	      !strstr(out, "OUT OF SPEC") &&
	      !strstr(out, "BAD INDEX"));
	CHECK(strstr(out, "SMBIOS 3.0.0 present") && strstr(out, "Size: 40 GB") &&
	      strstr(out, "Core Count: 4") &&
	      strstr(out, "Range Size: 38 GB") && strstr(out, "System is a virtual machine") &&
	      strstr(out, "End Of Table"));
	if (nr_bad)
		printf("%s\n", out);
}

static void uuids(void)
{
	static const char *const bad[] = {
		"", "1234", "00112233-4455-6677-8899-aabbccddeef", "00112233-4455-6677-8899-aabbccddeeff0",
		"00112233-4455-6677-8899-aabbccddeefg", "001122334455-6677-8899-aabbccddeeff-",
		"+0112233-4455-6677-8899-aabbccddeeff",
		"00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff",
	};
	__u8 a[UUID_SIZE], b[UUID_SIZE];

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		if (uuid_parse(bad[i], a))
			look(false, bad[i], i, __LINE__);
	uuid_derive("host", "name", a);
	uuid_derive("host", "name", b);
	CHECK(!memcmp(a, b, UUID_SIZE));
	EQ(8, a[6] >> 4);
	EQ(2, a[8] >> 6);
	uuid_derive("host", "name2", b);
	CHECK(memcmp(a, b, 6) && memcmp(a + 9, b + 9, 7));
	uuid_derive("hos", "tname", b);
	CHECK(memcmp(a, b, 6) && memcmp(a + 9, b + 9, 7));
	CHECK(memcmp(a, a + 8, 6));
}

int main(void)
{
	static const struct unit_test tests[] = {
		{ "system, chassis and firmware", system_and_firmware },
		{ "as many cores as there are vCPUs", processors },
		{ "memory of all sizes", memory_sizes },
		{ "both entry points", entries },
		{ "UUIDs are taken as written, and derived ones are one machine's", uuids },
		{ "dmidecode reads them", dmidecode },
	};
	bool has_dmidecode = !system("PATH=$PATH:/usr/sbin command -v dmidecode > /dev/null");

	return run_all(tests, ARRAY_SIZE(tests) - !has_dmidecode);
}
