// SPDX-License-Identifier: GPL-2.0
/*
 * A machine's files: what is saved is what is opened, and whatever is changed in them, missing or
 * another version's is refused with one line.
 */
#include <fcntl.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "complaints.h"
#include "tests.h"
#include "../userspace/runner/net.h"
#include "../userspace/runner/snapshot.h"

#define MEMORY (1536ull << 10)
#define NUMBER 0x1234

static unsigned char memory[MEMORY] __attribute__((aligned(4096)));
static struct options options = { .memory = MEMORY, .nr_nics = 1 };
static struct vm vm = {
	.options = &options, .name = "saved", .ram = memory, .memory_fd = -1, .pagemap = -1,
	.life = PTHREAD_MUTEX_INITIALIZER,
};
static char directory[64] = "/tmp/snapshot_test.XXXXXX";
static unsigned int nr_ended, nr_forgotten;
static int failure, undo_error, undo_fd;
static __u64 refused_low = ~0ull;

/* ---- what else the runner has ------------------------------------------------------------- */

__u64 clock_ns(void)
{
	return 1000;
}

void mac_get(const struct vm *which, __u32 index, __u8 *mac)
{
	(void)which;
	memset(mac, index + 2, MAC_SIZE);
}

void io_post(struct vm *which, struct job *job)
{
	which->jobs = job;
}

void cpuid_state(struct vm *which, struct state *state)
{
	STATE(state, which, started);
}

void vm_state(struct vm *which, struct state *state)
{
	if (failure)
		state_fail(state, "it is not to be");
	STATE(state, which, low);
	state_require(state, which->low != refused_low, "it has been written to since");
}

void vm_end(struct vm *which, enum ending end, int detail)
{
	(void)detail;
	which->end = end;
}

int memory_undo(struct vm *which, int fd)
{
	(void)which;
	undo_fd = fd;
	return undo_error;
}

void memory_forget(struct vm *which)
{
	(void)which;
	nr_forgotten++;
}

static void ended(struct vm *which, struct save *save)
{
	(void)which;
	(void)save;
	nr_ended++;
}

/* ---- files ----------------------------------------------------------------------------------- */

static int file(const char *name, int flags)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	fd = open(path, flags, 0600);
	CHECK(fd >= 0);
	return fd;
}

static int memory_file(int flags)
{
	char name[32];

	snprintf(name, sizeof(name), SNAPSHOT_MEMORY, (unsigned long long)NUMBER);
	return file(name, flags);
}

/* What became of it: 0 or a negative errno. */
static int save(void)
{
	int flags = O_RDWR | O_CREAT | O_TRUNC;
	struct save *save = calloc(1, sizeof(*save));
	int err;

	*save = (struct save) {
		.state_fd = file(SNAPSHOT_STATE, flags), .memory_fd = memory_file(flags),
		.memory.file = NUMBER, .done = ended,
	};

	options.config = options.config ? options.config : json_object_new_object();
	vm.holder = save;
	for (save_begin(&vm, save); vm.jobs;) {
		struct job *job = vm.jobs;

		vm.jobs = NULL;
		job->run(&vm, job);
	}
	CHECK(!vm.holder);
	err = save->err;
	save_free(save);
	return err;
}

/* Is it refused, with one line that has these words? */
static bool is_refused(const char *words)
{
	struct snapshot snapshot;
	bool is_refused;

	nr_complaints = 0;
	is_refused = (snapshot_open(&snapshot, directory) || snapshot_verify(&snapshot, directory)) &&
		     nr_complaints == 1 && strstr(said, words);
	snapshot_close(&snapshot);
	return is_refused;
}

static void poke(int fd, off_t at, const void *data, size_t size)
{
	EQ(size, pwrite(fd, data, size, at));
}

/* ---- tests ------------------------------------------------------------------------------------ */

static void test_there_and_back(void)
{
	struct snapshot snapshot;
	unsigned char data[4096];
	const void *block;
	struct stat stat;
	size_t size;
	int fd;

	memset(memory, 0, MEMORY);
	memory[0] = 1;
	memory[MEMORY - 1] = 2;
	memset(memory + 700000, 3, 100000);
	vm.low = 0x123456789abcdef;
	vm.started = 77;
	EQ(0, save());
	EQ(1, nr_ended);
	CHECK(!snapshot_open(&snapshot, directory));
	CHECK(!snapshot_verify(&snapshot, directory));
	EQ(MEMORY, snapshot.memory.size);
	EQ(NUMBER, snapshot.memory.file);
	for (size_t at = 0; at < MEMORY; at += sizeof(data)) {
		EQ(sizeof(data), pread(snapshot.memory_fd, data, sizeof(data), at));
		CHECK(!memcmp(data, memory + at, sizeof(data)));
	}
	vm.low = vm.started = 0;
	cpuid_state(&vm, &snapshot.state);
	vm_state(&vm, &snapshot.state);
	STATE(&snapshot.state, &vm, tsc_khz);
	EQ(0x123456789abcdef, vm.low);
	EQ(77, vm.started);
	CHECK(state_block(&snapshot.state, "name", &block, &size) && size == 5 && !memcmp(block, "saved", 5));
	CHECK(state_block(&snapshot.state, "network_addresses", &block, &size) && size == MAC_SIZE &&
	      ((const __u8 *)block)[0] == 2);
	CHECK(state_block(&snapshot.state, "config", &block, &size));
	CHECK(state_block(&snapshot.state, "directory", &block, &size));
	EQ(0, state_end(&snapshot.state));
	snapshot_close(&snapshot);
	/* What is zeros takes no room. */
	fd = memory_file(O_RDONLY);
	CHECK(!fstat(fd, &stat) && stat.st_blocks * 512ull < MEMORY / 2);
	close(fd);
}

/* Any byte of either file. */
static void test_damage(void)
{
	unsigned char byte, bad;
	unsigned int nr = 100000;
	struct stat stat;
	int fds[2];

	EQ(0, save());
	fds[0] = file(SNAPSHOT_STATE, O_RDWR);
	fds[1] = memory_file(O_RDWR);
	srandom(4);
	while (nr--) {
		/* The memory is looked at whole, which takes its time. */
		int fd = fds[!(nr % 500)];
		off_t at;

		fstat(fd, &stat);
		at = random() % stat.st_size;
		EQ(1, pread(fd, &byte, 1, at));
		bad = byte ^ (1 << random() % 8);
		poke(fd, at, &bad, 1);
		CHECK(is_refused(directory));
		poke(fd, at, &byte, 1);
	}
	CHECK(!is_refused(""));
	close(fds[0]);
	close(fds[1]);
}

static void test_not_whole(void)
{
	struct stat stat;
	int fd;

	EQ(0, save());
	fd = file(SNAPSHOT_STATE, O_RDWR);
	fstat(fd, &stat);
	for (off_t size = stat.st_size - 1; size >= 0; size--) {
		EQ(0, ftruncate(fd, size));
		CHECK(is_refused("not whole"));
	}
	close(fd);
	EQ(0, save());
	fd = memory_file(O_RDWR);
	fstat(fd, &stat);
	EQ(0, ftruncate(fd, stat.st_size - 1));
	CHECK(is_refused("not whole"));
	close(fd);
	EQ(0, save());
	fd = open(directory, O_RDONLY | O_DIRECTORY);
	EQ(0, unlinkat(fd, "memory-0000000000001234", 0));
	CHECK(is_refused("its memory, memory-0000000000001234: No such file"));
	EQ(0, unlinkat(fd, SNAPSHOT_STATE, 0));
	CHECK(is_refused("there is no machine in it"));
	close(fd);
}

static void test_another(void)
{
	__u32 version = SNAPSHOT_VERSION + 1;
	int fd;

	EQ(0, save());
	fd = file(SNAPSHOT_STATE, O_RDWR);
	poke(fd, offsetof(struct snapshot_head, version), &version, sizeof(version));
	CHECK(is_refused("another version"));
	poke(fd, 0, "QEVM", 4);
	CHECK(is_refused("no machine of mote's"));
	close(fd);
}

static void test_fails(void)
{
	failure = 1;
	EQ(-22, save());
	failure = 0;
	EQ(0, save());
}

/* ---- the working set ------------------------------ */

#define PAGE 4096
#define NR_PAGES (MEMORY / PAGE)
#define FILE_PAGE (1ull << 61)

static __u64 page_entry(long page)
{
	__u64 entry = 0;

	EQ(sizeof(entry), pread(vm.pagemap, &entry, sizeof(entry),
				((long)vm.ram / PAGE + page) * (long)sizeof(entry)));
	return entry;
}

static bool is_present(long page)
{
	return page_entry(page) >> 63;
}

static bool is_written(long page)
{
	return is_present(page) && !(page_entry(page) & FILE_PAGE);
}

/* Its memory, with as much around it that nobody has used. */
static void restore(struct snapshot *snapshot)
{
	unsigned char *around = mmap(NULL, 3 * MEMORY, PROT_READ | PROT_WRITE,
				     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(!snapshot_open(snapshot, directory));
	vm.ram = mmap(around + MEMORY, MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED,
		      snapshot->memory_fd, 0);
	vm.snapshot = options.snapshot = snapshot;
	vm.is_restored = true;
}

static void forget(struct snapshot *snapshot)
{
	snapshot_close(snapshot);
	munmap(vm.ram - MEMORY, 3 * MEMORY);
	vm.ram = memory;
	vm.snapshot = options.snapshot = NULL;
	vm.is_restored = false;
}

static bool is_all_around_untouched(void)
{
	for (long page = 0; page < (long)NR_PAGES; page++)
		if (is_present(page - (long)NR_PAGES) || is_present(page + (long)NR_PAGES))
			return false;
	return true;
}

/* What was used is there for the next one, as it was used. */
static void test_recorded(void)
{
	struct snapshot snapshot;

	memset(memory, 7, MEMORY);
	EQ(0, save());
	restore(&snapshot);
	CHECK(!snapshot.working_set);
	CHECK(!snapshot_record(&snapshot, directory));
	EQ(0, working_set_begin(&vm));
	EQ(7, ((volatile unsigned char *)vm.ram)[5 * PAGE]);
	vm.ram[300 * PAGE] = vm.ram[301 * PAGE] = 8;
	working_set_end(&vm);
	EQ(-1, snapshot.record_fd);
	forget(&snapshot);
	restore(&snapshot);
	CHECK(snapshot.working_set);
	CHECK(!is_present(5) && !is_present(300));
	EQ(0, working_set_begin(&vm));
	CHECK(is_present(5) && !is_written(5));
	CHECK(is_written(300) && is_written(301) && !is_written(302) && !is_present(200));
	EQ(7, vm.ram[300 * PAGE]);
	CHECK(is_all_around_untouched());
	forget(&snapshot);
}

/* One that is to be recorded reads nothing ahead. */
static void test_recorded_again(void)
{
	struct snapshot snapshot, other;

	restore(&snapshot);
	CHECK(snapshot.working_set);
	CHECK(!snapshot_record(&snapshot, directory));
	CHECK(!snapshot_open(&other, directory));
	nr_complaints = 0;
	CHECK(snapshot_record(&other, directory));
	EQ(1, nr_complaints);
	snapshot_close(&other);
	EQ(0, working_set_begin(&vm));
	CHECK(!is_present(5) && !is_present(300));
	/* Nobody has one while it is being made. */
	CHECK(!snapshot_open(&other, directory));
	CHECK(!other.working_set);
	EQ(1, nr_complaints);
	snapshot_close(&other);
	forget(&snapshot);
}

/* Whoever has made it, no page is touched that is not the machine's. */
static void test_strange(void)
{
	static const struct { __u64 first; __u32 nr, is_written; } runs[] = {
		{ NR_PAGES, 1, 0 }, { NR_PAGES - 1, 2, 1 }, { 0, ~0u, 1 }, { 0, NR_PAGES + 1, 0 },
		{ ~0ull, 1, 1 }, { ~0ull, 2, 0 }, { 1ull << 52, 1, 1 },
		{ -1ull << 20, 1 << 20, 1 }, { 300, 0, 1 }, { 301, 1, 7 },
	};
	struct snapshot snapshot;

	for (size_t size = sizeof(runs) - 7; size <= sizeof(runs); size += 7) {
		int fd = file("working-set-0000000000001234", O_RDWR | O_TRUNC);

		EQ(0, snapshot_write_file(fd, runs, size));
		close(fd);
		restore(&snapshot);
		CHECK(snapshot.working_set);
		EQ(0, working_set_begin(&vm));
		CHECK(is_all_around_untouched());
		CHECK(!is_present(300));
		EQ(size == sizeof(runs), is_written(301));
		forget(&snapshot);
	}
}

/* One that is damaged is not there, and no more than that. */
static void test_damaged_set(void)
{
	int fd = file("working-set-0000000000001234", O_RDWR);
	unsigned char byte, bad;
	struct snapshot snapshot;
	struct stat stat;

	fstat(fd, &stat);
	for (off_t at = 0; at < stat.st_size; at++) {
		EQ(1, pread(fd, &byte, 1, at));
		bad = ~byte;
		poke(fd, at, &bad, 1);
		nr_complaints = 0;
		restore(&snapshot);
		EQ(1, nr_complaints);
		CHECK(!snapshot.working_set && strstr(said, "its working set is not read ahead"));
		EQ(0, working_set_begin(&vm));
		CHECK(!is_present(301));
		forget(&snapshot);
		poke(fd, at, &byte, 1);
	}
	close(fd);
	restore(&snapshot);
	CHECK(snapshot.working_set);
	forget(&snapshot);
}

/* ---- what nobody has touched ------------------------------ */

/* Is it known of all pages but these two, and those from @data on, that they are zeros? */
static bool is_left(long one, long other, long data)
{
	__u64 bits[NR_PAGES / 64];
	bool good = true;

	memset(bits, 0xff, sizeof(bits));
	memory_skip_untouched(&vm, 0, NR_PAGES, bits);
	for (long page = 0; page < (long)NR_PAGES; page++)
		good &= (bits[page / 64] >> page % 64 & 1) == (page == one || page == other || page >= data);
	return good;
}

/* Memory that was there before anybody has touched it, which nobody looks at. */
static void test_untouched(void)
{
	unsigned char *fresh = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	vm.ram = fresh;
	madvise(fresh, MEMORY, MADV_NOHUGEPAGE);
	CHECK(is_left(-1, -1, NR_PAGES));
	fresh[3 * PAGE] = 1;
	fresh[200 * PAGE] = 0;
	CHECK(is_left(3, 200, NR_PAGES));
	CHECK(!is_present(4));
	/* It may be somebody else's, too, or cannot be looked at. */
	vm.memory_fd = 0;
	CHECK(is_left(-1, -1, 0));
	vm.memory_fd = -1;
	vm.ram = memory;
	munmap(fresh, MEMORY);
}

/* Holes of the file that it is a mapping of, up to the first page that is there, and no other file's. */
static void test_untouched_of_restored(void)
{
	const long data = (MEMORY - SNAPSHOT_CHUNK) / PAGE;
	char why[BASE_WHY] = "", path[128];
	struct snapshot snapshot;

	memset(memory, 0, MEMORY);
	memory[MEMORY - 1] = 2;
	EQ(0, save());
	restore(&snapshot);
	base_begin(&vm, dup(snapshot.memory_fd));
	CHECK(is_left(-1, -1, data));
	vm.ram[3 * PAGE] = 0;
	CHECK(is_left(3, 3, data));
	CHECK(!is_present(4) && !is_present(data));
	/* Where it goes back to is now another one, and then what it is a mapping of. */
	snprintf(path, sizeof(path), "%s/" SNAPSHOT_MEMORY, directory, (unsigned long long)NUMBER);
	EQ(0, unlink(path));
	madvise(vm.ram, MEMORY, MADV_DONTNEED);
	EQ(0, save());
	CHECK(is_left(-1, -1, 0));
	EQ(0, base_reset(&vm, why));
	CHECK(is_left(-1, -1, data));
	base_destroy(&vm);
	CHECK(is_left(-1, -1, 0));
	forget(&snapshot);
}

/* To the last moment that was saved; what is refused leaves it where it is. */
static void test_back(void)
{
	char why[BASE_WHY] = "";

	base_destroy(&vm);
	EQ(-1, base_reset(&vm, why));
	CHECK(strstr(why, "neither restored nor saved"));
	vm.low = 5;
	EQ(0, save());
	vm.low = 6;
	failure = 1;
	EQ(-22, save());
	EQ(-1, base_reset(&vm, why));
	failure = 0;
	EQ(6, vm.low);
	for (unsigned int i = 0; i < 100; i++) {
		vm.low = 7 + i;
		EQ(0, base_reset(&vm, why));
		EQ(5, vm.low);
	}
	CHECK(undo_fd >= 0);
	/* Where it was saved is of no use any more: a disk has been written to, say. */
	vm.low = 8;
	refused_low = 5;
	undo_fd = -1;
	EQ(-1, base_reset(&vm, why));
	CHECK(strstr(why, "written to since"));
	EQ(8, vm.low);
	EQ(-1, undo_fd);
	EQ(END_NOT_YET, vm.end);
	/* Half of it is nothing to go on with. */
	refused_low = ~0ull;
	undo_error = -12;
	EQ(-1, base_reset(&vm, why));
	EQ(END_ERROR, vm.end);
	vm.end = END_NOT_YET;
	undo_error = 0;
	/* Another moment takes its place, and memory is not what it was. */
	nr_forgotten = 0;
	vm.low = 9;
	EQ(0, save());
	EQ(1, nr_forgotten);
	vm.low = 10;
	EQ(0, base_reset(&vm, why));
	EQ(9, vm.low);
	base_begin(&vm, dup(0));
	vm.low = 11;
	EQ(0, base_reset(&vm, why));
	EQ(9, vm.low);
	base_destroy(&vm);
}

int main(void)
{
	static const struct unit_test tests[] = {
		{ "what is saved is what is opened", test_there_and_back },
		{ "damage is refused", test_damage },
		{ "what is not whole is refused", test_not_whole },
		{ "another version, or another thing", test_another },
		{ "a machine that cannot be saved", test_fails },
		{ "what one machine has used is read ahead for the next", test_recorded },
		{ "unless it is recorded", test_recorded_again },
		{ "a stranger's working set stays within the memory", test_strange },
		{ "a damaged one is not read ahead", test_damaged_set },
		{ "memory that nobody has touched is not looked at", test_untouched },
		{ "nor is a hole of what a machine was restored from", test_untouched_of_restored },
		{ "a machine goes back", test_back },
	};
	char command[96];
	int status;

	vm.pagemap = open("/proc/self/pagemap", O_RDONLY);
	if (vm.pagemap < 0 || !mkdtemp(directory))
		return 1;
	status = run_all(tests, sizeof(tests) / sizeof(tests[0]));
	base_destroy(&vm);
	json_object_put(options.config);
	snprintf(command, sizeof(command), "rm -rf '%s'", directory);
	return system(command) ? 1 : status;
}
