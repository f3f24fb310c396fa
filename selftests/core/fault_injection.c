// SPDX-License-Identifier: GPL-2.0
/*
 * Each allocation, and each copy from or to user space, of each call fails
 * once: the call says so, has changed nothing, and succeeds when repeated.
 * By the kernel's fault injection: Documentation/fault-injection.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "guest.h"
#include "selftest.h"

#define LOG_GPA GUEST_SIZE	/* a slot with a log, behind the guest's memory */
#define LOG_SIZE 0x100000
#define XSAVE_ROOM 16384

asm(".set LOG_GPA, 0x400000");

/* Writes eight pages, 16 pages apart. */
GUEST(write, 64, "mov $LOG_GPA, %edi; mov $8, %ecx\n"
		 "1: mov %ecx, (%rdi); add $0x10000, %edi; dec %ecx; jnz 1b\n"
		 "out %al, $0x80");

static struct mote_cpuid_entry rows[MOTE_MAX_CPUID];
static unsigned char image[XSAVE_ROOM] __attribute__((aligned(64)));
static struct mote_state state;
static unsigned char *logged;
static __u64 bitmap[LOG_SIZE / 4096 / 64];

/* ---- the calls ------------------------------------------------------------------ */

static int get_info(struct guest *guest)
{
	struct mote_info info;

	return mote_get_info(guest->fd, &info);
}

static int create_vm(struct guest *guest)
{
	int fd = mote_create_vm(guest->fd, &(struct mote_vm_config) { MOTE_VM_HLT_EXIT });

	if (fd < 0)
		return fd;
	guest->machine.fd = fd;
	return 0;
}

static int add_slot(struct guest *guest)
{
	struct mote_slot slot = { .size = GUEST_SIZE, .hva = (unsigned long)guest->ram };

	return mote_set_slot(guest->machine.fd, &slot);
}

static int set_log(struct guest *guest, __u64 gpa, __u32 flags)
{
	struct mote_slot slot = {
		.slot = 1, .flags = flags, .gpa = gpa, .size = LOG_SIZE,
		.hva = (unsigned long)logged,
	};

	return mote_set_slot(guest->machine.fd, &slot);
}

static int add_log(struct guest *guest)
{
	return set_log(guest, LOG_GPA, MOTE_SLOT_LOG_DIRTY);
}

static int set_filter(struct guest *guest)
{
	struct mote_filter_rule rule = { 0x100, 0x1ff, MOTE_FILTER_DENY, MOTE_FILTER_READ };
	struct mote_filter filter = {
		.kind = MOTE_FILTER_PORT, .nr = 1, .rules = (unsigned long)&rule,
	};

	return mote_set_filter(guest->machine.fd, &filter);
}

static int create_vcpu(struct guest *guest)
{
	int fd = mote_create_vcpu(guest->machine.fd, &(struct mote_vcpu_config) { .id = 0 });

	if (fd < 0)
		return fd;
	guest->cpu.fd = fd;
	return 0;
}

static int map_run(struct guest *guest)
{
	void *run = mmap(NULL, MOTE_RUN_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, guest->cpu.fd, 0);

	if (run == MAP_FAILED)
		return -errno;
	guest->run = run;
	return 0;
}

static int set_cpuid(struct guest *guest)
{
	struct mote_cpuid_table table = { .nr = 1, .entries = (unsigned long)rows };

	return mote_set_cpuid(guest->cpu.fd, &table);
}

static int start(struct guest *guest)
{
	guest_start(guest, GUEST_LONG, &guest_write);
	/* So that the guest's faults have pages to allocate. */
	return madvise(logged, LOG_SIZE, MADV_DONTNEED);
}

static int get_state(struct guest *guest)
{
	memset(&state, 0, sizeof(state));
	state.mask = MOTE_STATE_ALL;
	state.xsave = (unsigned long)image;
	state.xsave_size = sizeof(image);
	return mote_get_state(guest->cpu.fd, &state);
}

static int set_state(struct guest *guest)
{
	return mote_set_state(guest->cpu.fd, &state);
}

static int run(struct guest *guest)
{
	int reason = guest_run(guest);

	switch (reason) {
	case MOTE_EXIT_PIO:
		return guest->run->pio.port == 0x80 ? 0 : -EPROTO;
	case MOTE_EXIT_MEMORY:
		return guest->run->memory.error;
	}
	return reason < 0 ? reason : -EPROTO;
}

static int get_dirty(struct guest *guest)
{
	struct mote_dirty dirty = {
		.slot = 1, .nr = LOG_SIZE / 4096, .bitmap = (unsigned long)bitmap,
	};

	return mote_get_dirty(guest->machine.fd, &dirty);
}

static int end_log(struct guest *guest)
{
	return set_log(guest, LOG_GPA, 0);
}

static int move_slot(struct guest *guest)
{
	return set_log(guest, LOG_GPA + 0x1000, MOTE_SLOT_LOG_DIRTY);
}

static int remove_slot(struct guest *guest)
{
	return mote_set_slot(guest->machine.fd, &(struct mote_slot) { .slot = 1 });
}

static int inject(struct guest *guest)
{
	struct mote_event event = { .valid = 1, .type = MOTE_EVENT_EXCEPTION, .vector = 6 };

	return mote_inject(guest->cpu.fd, &event);
}

static int end(struct guest *guest)
{
	/* This fails, too, and the page holds the files. */
	if (munmap(guest->run, MOTE_RUN_SIZE))
		return -errno;
	return close(guest->cpu.fd) || close(guest->machine.fd) ? -errno : 0;
}

static const struct step {
	const char *name;
	int (*call)(struct guest *guest);
	bool plain;	/* no fault here */
} steps[] = {
	{ "MOTE_GET_INFO", get_info },
	{ "MOTE_CREATE_VM", create_vm },
	{ "MOTE_SET_SLOT", add_slot },
	{ "MOTE_SET_SLOT with a log", add_log },
	{ "MOTE_SET_FILTER", set_filter },
	{ "MOTE_CREATE_VCPU", create_vcpu },
	{ "mmap", map_run },
	{ "MOTE_SET_CPUID", set_cpuid },
	{ "start", start, true },
	{ "MOTE_GET_STATE", get_state },
	{ "MOTE_SET_STATE", set_state },
	{ "MOTE_RUN", run },
	{ "MOTE_GET_DIRTY", get_dirty },
	{ "MOTE_SET_SLOT without the log", end_log },
	{ "MOTE_SET_SLOT elsewhere", move_slot },
	{ "MOTE_SET_SLOT of size 0", remove_slot },
	{ "MOTE_INJECT", inject },
	{ "close", end },
};

#define NR_STEPS ((int)(sizeof(steps) / sizeof(steps[0])))

/* ---- the kernel's fault injection ------------------------------------------------- */

#define INJECTION "/sys/kernel/debug/"

static struct {
	const char *file, *value;
	char before[16];
} settings[] = {
	/* A trace of each failure would look like trouble in the kernel's log. */
	{ INJECTION "failslab/verbose", "0" },
	{ INJECTION "fail_page_alloc/verbose", "0" },
	{ INJECTION "fail_usercopy/verbose", "0" },
	{ INJECTION "failslab/ignore-gfp-wait", "N" },
	{ INJECTION "fail_page_alloc/ignore-gfp-wait", "N" },
	{ INJECTION "fail_page_alloc/ignore-gfp-highmem", "N" },
	{ INJECTION "fail_page_alloc/min-order", "0" },
};

#define NR_SETTINGS (sizeof(settings) / sizeof(settings[0]))

static int put(const char *file, const char *value)
{
	int fd = open(file, O_WRONLY), len = strlen(value);
	bool good = fd >= 0 && write(fd, value, len) == len;

	close(fd);
	return good ? 0 : -1;
}

static int swap_in(size_t i)
{
	int fd = open(settings[i].file, O_RDONLY);
	ssize_t got = read(fd, settings[i].before, sizeof(settings[i].before) - 1);

	close(fd);
	return got <= 0 || put(settings[i].file, settings[i].value);
}

/* From now on the @nth chance of this thread's to fail is taken. */
static void arm(int fd, int nth)
{
	char text[16];
	int len = snprintf(text, sizeof(text), "%d", nth);

	/* This is such a chance, too. */
	while (pwrite(fd, text, len, 0) != len)
		;
}

/* Return: has something failed? */
static bool disarm(int fd)
{
	char text[16] = "";
	bool hit = pread(fd, text, sizeof(text) - 1, 0) > 0 && !atoi(text);

	arm(fd, 0);
	return hit;
}

FIXTURE(fault_injection)
{
	struct guest guest;
	const char *lacks;
	int fd;
};

FIXTURE_SETUP(fault_injection)
{
	self->fd = open("/proc/thread-self/fail-nth", O_RDWR);
	if (self->fd < 0)
		self->lacks = "fail-nth";
	for (size_t i = 0; i < NR_SETTINGS && !self->lacks; i++)
		if (swap_in(i))
			self->lacks = settings[i].file;
	self->guest.fd = mote_open();
	ASSERT_LE(0, self->guest.fd);
	self->guest.ram = mmap(NULL, GUEST_SIZE, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	logged = mmap(NULL, LOG_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, (void *)logged);
	/* Huge pages would leave the guest with one fault. */
	madvise(logged, LOG_SIZE, MADV_NOHUGEPAGE);
}

FIXTURE_TEARDOWN(fault_injection)
{
	for (size_t i = 0; i < NR_SETTINGS; i++)
		if (settings[i].before[0])
			put(settings[i].file, settings[i].before);
	close(self->fd);
}

/* All of the sequence, the @nth chance of step @broken failing; was there one? */
static bool sequence(struct __test_metadata *_metadata, struct guest *guest, int fd, int broken,
		     int nth)
{
	struct mote_info info;
	bool hit = false;
	int err;

	for (int i = 0; i < NR_STEPS; i++) {
		if (i == broken) {
			arm(fd, nth);
			err = steps[i].call(guest);
			hit = disarm(fd);
			EXPECT_TRUE(!err || (hit && (err == -ENOMEM || err == -EFAULT))) {
				TH_LOG("%s, fault %d: %s", steps[i].name, nth, strerror(-err));
			}
			if (!err)
				continue;
		}
		err = steps[i].call(guest);
		EXPECT_EQ(0, err) {
			TH_LOG("%s after %s, fault %d: %s", steps[i].name, steps[broken].name, nth,
			       strerror(-err));
		}
		if (steps[i].call == get_dirty && i != broken) {
			EXPECT_EQ(0x0001000100010001, bitmap[0]);
			EXPECT_EQ(0x0001000100010001, bitmap[1]);
			EXPECT_EQ(0, bitmap[2] | bitmap[3]);
		}
	}
	EXPECT_EQ(0, mote_get_info(guest->fd, &info));
	EXPECT_EQ(0, info.nr_vms);
	return hit;
}

TEST_F(fault_injection, each_once)
{
	if (self->lacks)
		SKIP(return, "not on this kernel: no fault injection (%s)", self->lacks);
	for (int i = 0; i < NR_STEPS; i++) {
		int nth = 1;

		if (steps[i].plain)
			continue;
		while (sequence(_metadata, &self->guest, self->fd, i, nth)) {
			ASSERT_TRUE(_metadata->passed);
			ASSERT_GT(1000, ++nth);
		}
		ASSERT_TRUE(_metadata->passed);
		TH_LOG("%s: %d", steps[i].name, nth - 1);
	}
}

/* ---- the module itself -------------------------------------------------------------- */

/* Of all chances when it is loaded, 30 at the end are its own: the others wait for check-long. */
#define OF_MOTE 40

static int load(int image)
{
	return syscall(SYS_finit_module, image, "", 0) ? -errno : 0;
}

static int unload(int unused)
{
	return syscall(SYS_delete_module, "mote", O_NONBLOCK) ? -errno : 0;
}

/* The @nth chance of a call fails, and the call perhaps: then it is repeated.  Was there one? */
static bool call_twice(struct __test_metadata *_metadata, int fd, int nth, int (*call)(int), int image)
{
	bool hit;
	int err;

	arm(fd, nth);
	err = call(image);
	hit = disarm(fd);
	/* Which error it is depends on what of the kernel's own has failed. */
	EXPECT_TRUE(!err || hit) {
		TH_LOG("fault %d: %s", nth, strerror(-err));
	}
	err = err ? call(image) : 0;
	EXPECT_EQ(0, err) {
		TH_LOG("after fault %d: %s", nth, strerror(-err));
	}
	return hit;
}

/* How many chances there are in a call that succeeds. */
static int chances(int fd, int (*call)(int), int image)
{
	char text[16] = "";
	int left, many = 100000;

	arm(fd, many);
	if (call(image))
		return -1;
	left = pread(fd, text, sizeof(text) - 1, 0) > 0 ? atoi(text) : 0;
	arm(fd, 0);
	return many - left;
}

/* The first many of loading are the kernel's own work: they have their turn in `make check-long`. */
#define OF_MOTE 40

/* Loading and unloading: the module is there afterwards, or gone. */
TEST_F(fault_injection, the_module)
{
	struct command path;
	struct mote_info info;
	int image, nth, all, first;

	if (self->lacks)
		SKIP(return, "not on this kernel: no fault injection (%s)", self->lacks);
	close(self->guest.fd);
	command_run(&path, "modinfo -n mote");
	path.out[strcspn(path.out, "\n")] = '\0';
	image = open(path.out, O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, image);
	ASSERT_EQ(0, unload(0));
	all = chances(self->fd, load, image);
	ASSERT_EQ(0, unload(0));
	ASSERT_LT(OF_MOTE, all);
	first = is_long_run() ? 1 : all - OF_MOTE;
	TH_LOG("chances of loading: %d to %d", first, all);
	/* A few more, for not every time is like another. */
	for (nth = first; nth < all + 5; nth++) {
		call_twice(_metadata, self->fd, nth, load, image);
		self->guest.fd = mote_open();
		EXPECT_EQ(0, mote_get_info(self->guest.fd, &info));
		close(self->guest.fd);
		call_twice(_metadata, self->fd, nth - first + 1, unload, 0);
		ASSERT_TRUE(_metadata->passed);
	}
	ASSERT_EQ(0, load(image));
}

MOTE_TEST_MAIN
