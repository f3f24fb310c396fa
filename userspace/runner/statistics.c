// SPDX-License-Identifier: GPL-2.0
/* What a VM says of itself: see requests.h. The supervisor asks, and takes no lock for it. */
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <libmote.h>

#include "migrate.h"
#include "policies.h"
#include "requests.h"
#include "runner.h"
#include "traffic.h"

static const char *state(struct vm *vm)
{
	if (!vm_is_wanted_paused(vm))
		return "running";
	return vm_is_paused(vm) ? "paused" : "pausing";
}

void json_add_text(struct json_object *object, const char *key, const char *text)
{
	json_object_object_add(object, key, json_object_new_string(text));
}

void json_add_number(struct json_object *object, const char *key, __u64 value)
{
	json_object_object_add(object, key, json_object_new_uint64(value));
}

/* Of this process, in bytes. */
static __u64 resident(void)
{
	unsigned long long pages = 0;
	char path[64];
	FILE *statm;

	/* Below task/ as all that the supervisor may open. */
	snprintf(path, sizeof(path), "/proc/self/task/%d/statm", getpid());
	statm = fopen(path, "re");
	if (statm) {
		if (fscanf(statm, "%*u %llu", &pages) != 1)
			pages = 0;
		fclose(statm);
	}
	return pages * sysconf(_SC_PAGESIZE);
}

/* Of the one that has begun last. */
static struct json_object *migration_json(const struct vm *vm)
{
	struct json_object *object = json_object_new_object();
	struct progress progress;

	migration_progress(vm, &progress);
	json_add_number(object, "rounds", progress.rounds);
	json_add_number(object, "sent_bytes", progress.sent);
	json_add_number(object, "pages", progress.pages);
	json_add_number(object, "left_bytes", progress.left);
	json_add_number(object, "downtime_ns", progress.downtime_ns);
	return object;
}

struct json_object *vm_status(struct vm *vm)
{
	struct json_object *answer = json_object_new_object();

	json_add_text(answer, "name", vm->name);
	json_add_number(answer, "pid", getpid());
	json_add_text(answer, "state", state(vm));
	json_add_number(answer, "memory", vm->options->memory);
	json_add_number(answer, "resident", resident());
	json_add_number(answer, "cpus", vm->nr_vcpus);
	json_add_number(answer, "uptime_ns", clock_ns() - vm->started);
	json_add_text(answer, "image", vm->options->image ? vm->options->image : vm->options->firmware);
	json_object_object_add(answer, "policies", policies_json(vm));
	if (vm->migration)
		json_object_object_add(answer, "migration", migration_json(vm));
	return answer;
}

/* What a thread has spent in the guest, in ns, as ticks have found it. */
static __u64 guest_time(int tid)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
	return host_stat_field(path, 43) * (NS_PER_S / sysconf(_SC_CLK_TCK));
}

/* The clocks of a thread, as the kernel numbers them. */
enum thread_clock { CLOCK_TICKS, CLOCK_USER_TICKS, CLOCK_EXACT };

static __u64 thread_clock(int tid, enum thread_clock which)
{
	struct timespec time = { 0 };

	clock_gettime(~(clockid_t)tid * 8 | 4 | which, &time);
	return time.tv_sec * NS_PER_S + time.tv_nsec;
}

/**
 * struct times - what a thread has spent, in ns
 * @guest: in the guest
 * @kernel: in the kernel, which is mostly the module
 * @runner: in this process
 */
struct times {
	__u64 guest;
	__u64 kernel;
	__u64 runner;
};

/* The sum is exact, its parts are as ticks have found them: a busy host may lose many. */
static struct times thread_times(int tid)
{
	__u64 all = thread_clock(tid, CLOCK_TICKS), user = thread_clock(tid, CLOCK_USER_TICKS);
	__u64 guest = guest_time(tid);
	double weight = all ? (double)thread_clock(tid, CLOCK_EXACT) / all : 0;

	/* The guest's time counts as the user's, too. */
	if (user < guest)
		user = guest;
	if (all < user)
		all = user;
	return (struct times) {
		.guest = guest * weight, .kernel = (all - user) * weight, .runner = (user - guest) * weight,
	};
}

void json_add_exits(struct json_object *object, const struct vcpu *vcpus, unsigned int nr)
{
	struct json_object *exits = json_object_new_object();
	struct json_object *user_exits = json_object_new_object();

	for (unsigned int reason = 0; reason < MOTE_NR_EXITS; reason++) {
		__u64 all = 0, user = 0;

		for (unsigned int i = 0; i < nr; i++) {
			all += vcpus[i].cpu.run->exits[reason];
			user += vcpus[i].exits[reason];
		}
		if (all)
			json_add_number(exits, mote_exit_name(reason), all);
		if (user)
			json_add_number(user_exits, mote_exit_name(reason), user);
	}
	json_object_object_add(object, "exits", exits);
	json_object_object_add(object, "exits_to_runner", user_exits);
}

static struct json_object *vcpu_stat(const struct vcpu *vcpu)
{
	struct json_object *row = json_object_new_object();
	const struct times times = thread_times(vcpu->tid);

	json_add_number(row, "id", vcpu->cpu.id);
	json_add_number(row, "guest_ns", times.guest);
	json_add_number(row, "kernel_ns", times.kernel);
	json_add_number(row, "runner_ns", times.runner);
	json_add_exits(row, vcpu, 1);
	return row;
}

/* What is said of each kind of device, by its counts. */
static const struct {
	const char *name;
	const char *counts[TRAFFIC_COUNTS];
} kinds[NR_TRAFFIC_KINDS] = {
	[TRAFFIC_DISK] = { "disks", {
		[DISK_READS] = "reads", [DISK_READ_BYTES] = "read_bytes", [DISK_WRITES] = "writes",
		[DISK_WRITTEN_BYTES] = "written_bytes", [DISK_FLUSHES] = "flushes",
		[DISK_DISCARDS] = "discards",
	} },
	[TRAFFIC_NETWORK] = { "networks", {
		[NETWORK_RECEIVED_FRAMES] = "received_frames", [NETWORK_RECEIVED_BYTES] = "received_bytes",
		[NETWORK_SENT_FRAMES] = "sent_frames", [NETWORK_SENT_BYTES] = "sent_bytes",
	} },
	[TRAFFIC_BALLOON] = { "balloons", {
		[BALLOON_TARGET_BYTES] = "target_bytes", [BALLOON_ACTUAL_BYTES] = "actual_bytes",
	} },
};

static struct json_object *traffic_json(const struct traffic *traffic)
{
	const char *const *names = kinds[traffic->kind].counts;
	struct json_object *row = json_object_new_object();

	json_add_number(row, "index", traffic->index);
	for (unsigned int i = 0; i < TRAFFIC_COUNTS && names[i]; i++)
		json_add_number(row, names[i], traffic_read(traffic, i));
	return row;
}

void json_add_traffic(struct json_object *answer, const struct vm *vm)
{
	for (unsigned int kind = 0; kind < NR_TRAFFIC_KINDS; kind++) {
		struct json_object *rows = json_object_new_array();

		for (const struct traffic *traffic = vm->traffic; traffic; traffic = traffic->next)
			if (traffic->kind == kind)
				json_object_array_add(rows, traffic_json(traffic));
		json_object_object_add(answer, kinds[kind].name, rows);
	}
}

struct json_object *vm_statistics(struct vm *vm)
{
	struct json_object *answer = vm_status(vm), *vcpus = json_object_new_array();

	for (unsigned int i = 0; i < vm->nr_vcpus; i++)
		json_object_array_add(vcpus, vcpu_stat(&vm->vcpus[i]));
	json_object_object_add(answer, "vcpus", vcpus);
	json_add_traffic(answer, vm);
	return answer;
}
