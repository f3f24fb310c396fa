// SPDX-License-Identifier: GPL-2.0
/*
 * However much a call takes away from the guest, it makes the vCPUs flush once, and holds the
 * lock that faults need for a bounded time: seen by probes on the module's functions.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "mem.h"
#include "selftest.h"

#define TRACING "/sys/kernel/tracing/"
#define CPUS 64
#define DENSE (32 * MIB)	/* of which every page is mapped */
#define SPARSE (1024 * MIB)	/* one page in each 2 MiB: as many tables as pages */
#define HOLD 1000000		/* instructions that the lock may be held */

/* Writes to RCX places from RBX on that are RSI apart. */
GUEST(toucher, 64, "1: out %al, $0x80\n"
		   "2: mov %rcx, (%rbx); add %rsi, %rbx; dec %rcx; jnz 2b; jmp 1b");

static bool tracing_write(const char *name, const char *text)
{
	char path[128];
	int fd;
	bool ok;

	snprintf(path, sizeof(path), TRACING "%s", name);
	fd = open(path, O_WRONLY | O_APPEND);
	ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
	close(fd);
	return ok;
}

static bool tracing_begin(void)
{
	struct stat unused;

	if (stat(TRACING "trace", &unused))
		mount("tracefs", TRACING, "tracefs", 0, NULL);
	tracing_write("kprobe_events", "-:hold_in\n");
	return tracing_write("trace_clock", "x86-tsc") && tracing_write("buffer_size_kb", "4096") &&
	       tracing_write("kprobe_events", "p:hold_in mote_npt_change\n") &&
	       tracing_write("kprobe_events", "r:hold_out mote_npt_change\n") &&
	       tracing_write("kprobe_events", "p:flush mote_vm_request\n");
}

static void tracing_end(void)
{
	tracing_write("events/kprobes/enable", "0");
	tracing_write("kprobe_events", "-:hold_in\n");
	tracing_write("kprobe_events", "-:hold_out\n");
	tracing_write("kprobe_events", "-:flush\n");
	tracing_write("trace_clock", "local");
}

struct counts {
	unsigned int flushes;
	unsigned int pieces;
	unsigned long longest;
};

/* What was seen since the trace was cleared. */
static struct counts tracing_read(void)
{
	FILE *file = fopen(TRACING "trace", "r");
	unsigned long begun[CPUS] = { 0 }, when;
	struct counts counts = { 0 };
	char line[512], name[32];
	unsigned int cpu;

	while (file && fgets(line, sizeof(line), file)) {
		char *at = strchr(line, '[');

		if (*line == '#' || !at ||
		    sscanf(at, "[%u] %*s %lu: %31[a-z_]", &cpu, &when, name) != 3 || cpu >= CPUS)
			continue;
		if (!strcmp(name, "flush")) {
			counts.flushes++;
		} else if (!strcmp(name, "hold_in")) {
			begun[cpu] = when;
		} else if (!strcmp(name, "hold_out") && begun[cpu]) {
			counts.pieces++;
			if (when - begun[cpu] > counts.longest)
				counts.longest = when - begun[cpu];
			begun[cpu] = 0;
		}
	}
	if (file)
		fclose(file);
	return counts;
}

FIXTURE(contention)
{
	struct guest guest;
	unsigned char *memory;
	bool probed;
};

FIXTURE_SETUP(contention)
{
	self->probed = tracing_begin();
	guest_create(&self->guest);
	guest_start(&self->guest, GUEST_LONG, &guest_toucher);
	ASSERT_EQ(MOTE_EXIT_PIO, server_run(&self->guest));
}

FIXTURE_TEARDOWN(contention)
{
	guest_destroy(&self->guest);
	tracing_end();
}

/* Let the guest write to places that are @apart, then have it all taken away; what was seen? */
static struct counts take_away(struct guest *guest, unsigned char *memory, size_t size, size_t apart)
{
	struct mote_run *run = guest->run;
	struct counts counts = { 0 };

	slot_set(guest, 1, 0, REGION, size, memory);
	run->gpr[MOTE_RCX] = size / apart;
	run->gpr[MOTE_RBX] = REGION;
	run->gpr[MOTE_RSI] = apart;
	run->set |= 1u << MOTE_RCX | 1u << MOTE_RBX | 1u << MOTE_RSI;
	if (server_run(guest) != MOTE_EXIT_PIO)
		return counts;
	tracing_write("events/kprobes/enable", "1");
	close(open(TRACING "trace", O_WRONLY | O_TRUNC));
	madvise(memory, size, MADV_DONTNEED);
	tracing_write("events/kprobes/enable", "0");
	counts = tracing_read();
	printf("# %zu MiB, one page in %zu: %u pieces, %u flushes, longest piece %lu ticks\n",
	       size / MIB, apart / PAGE, counts.pieces, counts.flushes, counts.longest);
	fflush(stdout);
	slot_set(guest, 1, 0, 0, 0, NULL);
	return counts;
}

/* Bochs' clock counts instructions, and QEMU's where the lab is told so. */
static bool clock_counts(void)
{
	const char *host = getenv("MOTE_LAB");

	return (host && strcmp(host, "svm")) || getenv("MOTE_COUNTS");
}

TEST_F(contention, pieces_and_flushes)
{
	static const struct { size_t size, apart; unsigned int pieces; bool file; } some[] = {
		{ DENSE, PAGE, DENSE / PAGE / 1024, false },
		{ DENSE, PAGE, DENSE / PAGE / 1024, true },
		{ SPARSE, 2 * MIB, SPARSE / PAGE / 16384, false },
	};

	if (!self->probed)
		SKIP(return, "not on this kernel: no probes on the module's functions");
	for (size_t i = 0; i < sizeof(some) / sizeof(some[0]); i++) {
		int fd = some[i].file ? memfd_create("contention", 0) : -1;
		unsigned char *memory = memory_get(some[i].size);
		struct counts counts;

		ASSERT_NE(NULL, memory);
		if (fd >= 0) {
			ASSERT_EQ(0, ftruncate(fd, some[i].size));
			ASSERT_EQ(memory, mmap(memory, some[i].size, PROT_READ | PROT_WRITE,
					       MAP_SHARED | MAP_FIXED, fd, 0));
			close(fd);
		}
		madvise(memory, some[i].size, MADV_NOHUGEPAGE);
		counts = take_away(&self->guest, memory, some[i].size, some[i].apart);
		EXPECT_EQ(1, counts.flushes);
		EXPECT_LE(some[i].pieces, counts.pieces);
		EXPECT_GE(some[i].pieces + 2, counts.pieces);
		if (clock_counts())
			EXPECT_GE(HOLD, counts.longest);
		munmap(memory, some[i].size);
	}
}

MOTE_TEST_MAIN
