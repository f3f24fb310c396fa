// SPDX-License-Identifier: GPL-2.0
/*
 * Each downgrade of a nested entry is acknowledged before memory is given back: no vCPU
 * that was in the guest when the flush was asked for is still there when that call returns
 * (CVE-2019-3016, CVE-2022-39189). The kernel's own trace is the judge.
 */
#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "mem.h"
#include "selftest.h"

#define TRACING "/sys/kernel/tracing/"
#define CPUS 2
#define ROUNDS 300
#define SIZE (64 * PAGE)

/* RBX: memory; each page is written, over and over. */
GUEST(writer, 64, "1: mov $64, %ecx; mov %rbx, %rdx\n"
		  "2: incq (%rdx); add $0x1000, %rdx; dec %ecx; jnz 2b; jmp 1b");

static int set_trace(const char *file, const char *text)
{
	return sh("echo '%s' >> " TRACING "%s", text, file);
}

static void clear_trace(void)
{
	sh("echo 0 > " TRACING "events/kprobes/enable; : > " TRACING "kprobe_events; : > " TRACING "trace");
}

static bool probe_flushes(void)
{
	const char *run = mote_cpuid_vendor() == MOTE_VENDOR_SVM ? "svm_run" : "vmx_run";
	char text[64];

	if (access(TRACING "kprobe_events", W_OK))
		sh("mount -t tracefs none " TRACING);
	if (access(TRACING "kprobe_events", W_OK))
		return false;
	clear_trace();
	sh("echo counter > " TRACING "trace_clock; echo 8192 > " TRACING "buffer_size_kb");
	snprintf(text, sizeof(text), "p:mote_in mote:%s", run);
	if (set_trace("kprobe_events", text))
		return false;
	snprintf(text, sizeof(text), "r:mote_out mote:%s", run);
	return !set_trace("kprobe_events", text) &&
	       !set_trace("kprobe_events", "p:mote_ask mote:mote_vm_request what=%si:u32") &&
	       !set_trace("kprobe_events", "r:mote_done mote:mote_vm_request");
}

struct runner {
	struct mote_cpu *cpu;
	pthread_t thread;
	volatile int tid;
	volatile bool stop;
	long entry;	/* number of the event by which it went in, 0: out */
};

static void *run(void *context)
{
	struct runner *runner = context;

	runner->tid = syscall(SYS_gettid);
	while (!runner->stop)
		mote_run(runner->cpu->fd);
	return NULL;
}

/* ---- the judge ------------------------------------------------------------------ */

/**
 * struct verdict - what the trace says
 * @flushes: that were asked for
 * @awaited: vCPUs that were in the guest then, of all of these
 * @left: of which the call has not waited for
 */
struct verdict {
	long flushes, awaited, left;
};

static void judge(struct runner *runners, struct verdict *verdict)
{
	static char line[512];
	long number = 0, asked[CPUS] = {};
	int asker = 0;
	FILE *trace = fopen(TRACING "trace", "r");

	while (trace && fgets(line, sizeof(line), trace)) {
		/* "task-TID [CPU] flags time: event: (where) what=…" */
		char *cpu = strstr(line, " ["), *event = cpu ? strstr(cpu, " mote_") : NULL;
		int tid;

		if (line[0] == '#' || !event)
			continue;
		event++;
		*cpu = '\0';
		tid = atoi(strrchr(line, '-') + 1);
		number++;
		for (int i = 0; i < CPUS; i++) {
			if (tid == runners[i].tid && !strncmp(event, "mote_in", 7))
				runners[i].entry = number;
			else if (tid == runners[i].tid && !strncmp(event, "mote_out", 8))
				runners[i].entry = 0;
		}
		if (!strncmp(event, "mote_ask", 8) && strstr(event, "what=1")) {
			asker = tid;
			verdict->flushes++;
			for (int i = 0; i < CPUS; i++) {
				asked[i] = runners[i].entry;
				verdict->awaited += !!asked[i];
			}
		} else if (asker == tid && !strncmp(event, "mote_done", 9)) {
			asker = 0;
			for (int i = 0; i < CPUS; i++)
				verdict->left += asked[i] && asked[i] == runners[i].entry;
		}
	}
	if (trace)
		fclose(trace);
}

FIXTURE(tlb_flush)
{
	struct guest guest;
	struct mote_cpu second;
	struct runner runners[CPUS];
	unsigned char *memory;
};

FIXTURE_SETUP(tlb_flush)
{
	struct mote_state state;

	self->memory = memory_get(SIZE);
	guest_create(&self->guest);
	ASSERT_EQ(0, mote_cpu_create(&self->second, &self->guest.machine, 1));
	ASSERT_EQ(0, slot_set(&self->guest, 1, 0, REGION, SIZE, self->memory));
	guest_start(&self->guest, GUEST_LONG, &guest_writer);
	guest_get(&self->guest, &state, MOTE_STATE_ALL & ~MOTE_STATE_XSAVE);
	state.gprs.gpr[MOTE_RBX] = REGION;
	/* Or Bochs holds back the host's interrupts. */
	state.gprs.rflags |= 0x200;
	ASSERT_EQ(0, mote_set_state(self->guest.cpu.fd, &state));
	ASSERT_EQ(0, mote_set_state(self->second.fd, &state));
}

FIXTURE_TEARDOWN(tlb_flush)
{
	mote_cpu_destroy(&self->second);
	guest_destroy(&self->guest);
}

TEST_F(tlb_flush, acknowledged)
{
	struct verdict verdict = {};

	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		SKIP(return, "not on this hardware: one CPU");
	if (!probe_flushes())
		SKIP(return, "not on this kernel: no probes");
	for (int i = 0; i < CPUS; i++) {
		self->runners[i].cpu = i ? &self->second : &self->guest.cpu;
		ASSERT_EQ(0, pthread_create(&self->runners[i].thread, NULL, run, &self->runners[i]));
		while (!self->runners[i].tid)
			sched_yield();
	}
	ASSERT_EQ(0, sh("echo 1 > " TRACING "events/kprobes/enable"));
	for (int i = 0; i < ROUNDS; i++) {
		ASSERT_EQ(0, madvise(self->memory, SIZE, MADV_DONTNEED));
		usleep(200);
	}
	sh("echo 0 > " TRACING "events/kprobes/enable");
	for (int i = 0; i < CPUS; i++) {
		self->runners[i].stop = true;
		self->runners[i].cpu->run->immediate_exit = 1;
		pthread_join(self->runners[i].thread, NULL);
	}
	judge(self->runners, &verdict);
	clear_trace();
	TH_LOG("%ld flushes, %ld vCPUs in the guest then", verdict.flushes, verdict.awaited);
	EXPECT_LT(ROUNDS / 4, verdict.flushes);
	EXPECT_LT(0, verdict.awaited);
	EXPECT_EQ(0, verdict.left);
}

MOTE_TEST_MAIN
