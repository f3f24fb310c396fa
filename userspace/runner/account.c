// SPDX-License-Identifier: GPL-2.0
/*
 * mote account: what machines have had, as it may be charged for: sums of counters that the machine and
 * the host's kernel keep anyway, from the machine's start on or for each interval.
 */
#include <getopt.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client.h"
#include "requests.h"
#include "runner.h"

const char account_usage[] =
	"usage: mote account [--json] [--interval S] [NAME]\n"
	"\n"
	"Shows what a VM has had since its start, or all of yours: processor time in the\n"
	"guest, in the kernel, in the runner and in its daemons; its memory, by how long\n"
	"it has had it; bytes and requests of its disks, bytes and frames of its cards.\n"
	"NAME may be the beginning of a name.\n"
	"\n"
	"  --interval S  go on, and show every S seconds what has come since\n"
	"  --json        print it as JSON (with --interval: an array each time)\n"
	"  --help        this text\n"
	"\n"
	"Exit status: 0; 1 one of them does not answer; 2 bad input, or no such VM.\n";

/* Fields of proc_pid_stat(5), in ticks. */
enum { STAT_USER = 14, STAT_KERNEL, STAT_ENDED_USER, STAT_ENDED_KERNEL, STAT_GUEST = 43 };

/* What is counted, by the names that it has as JSON. */
enum count {
	UPTIME, GUEST, KERNEL, RUNNER, DAEMONS, MEMORY,
	READS, READ_BYTES, WRITES, WRITTEN_BYTES, FLUSHES, DISCARDS,
	RECEIVED_FRAMES, RECEIVED_BYTES, SENT_FRAMES, SENT_BYTES, NR_COUNTS
};

static const struct {
	const char *name;
	const char *devices;	/* of which the count is a sum, of what they call so; NULL: it is none */
	const char *of_each;
} counts[NR_COUNTS] = {
	[UPTIME] = { "uptime_ns" }, [GUEST] = { "guest_ns" }, [KERNEL] = { "kernel_ns" },
	[RUNNER] = { "runner_ns" }, [DAEMONS] = { "daemons_ns" }, [MEMORY] = { "memory_mib_ms" },
#define OF(what, devices, name)[what] = { devices "_" name, devices "s", name }
	OF(READS, "disk", "reads"), OF(READ_BYTES, "disk", "read_bytes"), OF(WRITES, "disk", "writes"),
	OF(WRITTEN_BYTES, "disk", "written_bytes"), OF(FLUSHES, "disk", "flushes"),
	OF(DISCARDS, "disk", "discards"), OF(RECEIVED_FRAMES, "network", "received_frames"),
	OF(RECEIVED_BYTES, "network", "received_bytes"), OF(SENT_FRAMES, "network", "sent_frames"),
	OF(SENT_BYTES, "network", "sent_bytes"),
#undef OF
};

/**
 * struct account - of a machine
 * @name: its name
 * @pid: its process
 * @counts: what it has had
 */
struct account {
	char name[NAME_MOST + 1];
	pid_t pid;
	long long counts[NR_COUNTS];
};

/**
 * struct accounts - of several
 * @nr: how many there are
 * @account: each
 */
struct accounts {
	size_t nr;
	struct account *account;
};

/* ---- counting ---------------------------------------------------------------------------- */

static unsigned long long spent_ns(pid_t process, unsigned int field)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/stat", process);
	return host_stat_field(path, field) * (NS_PER_S / sysconf(_SC_CLK_TCK));
}

/* Those that run, and those that have ended. */
static unsigned long long daemons_ns(pid_t runner)
{
	unsigned long long ns = spent_ns(runner, STAT_ENDED_USER) + spent_ns(runner, STAT_ENDED_KERNEL);
	FILE *file = host_open_children(runner);
	int daemon;

	while (file && fscanf(file, "%d", &daemon) == 1)
		for (unsigned int field = STAT_USER; field <= STAT_ENDED_KERNEL; field++)
			ns += spent_ns(daemon, field);
	if (file)
		fclose(file);
	return ns;
}

/*
 * The guest's time is the user's, too.  The sum with the kernel's is exact, the guest's is as ticks have
 * found it, and may be more: an interval's for the runner may be some ticks below 0, which the sum needs.
 */
static void count_processors(struct account *account)
{
	long long user = spent_ns(account->pid, STAT_USER), guest = spent_ns(account->pid, STAT_GUEST);

	account->counts[GUEST] = guest < user ? guest : user;
	account->counts[RUNNER] = user - account->counts[GUEST];
	account->counts[KERNEL] = spent_ns(account->pid, STAT_KERNEL);
	account->counts[DAEMONS] = daemons_ns(account->pid);
}

static unsigned long long sum_of(struct json_object *stat, enum count which)
{
	struct json_object *devices;
	unsigned long long sum = 0;

	if (!json_object_object_get_ex(stat, counts[which].devices, &devices))
		return 0;
	for (size_t i = 0; i < json_object_array_length(devices); i++)
		sum += answer_number(json_object_array_get_idx(devices, i), counts[which].of_each);
	return sum;
}

/* By what a machine answers to "stat". */
static void count(struct account *account, struct json_object *stat)
{
	*account = (struct account) { .pid = answer_number(stat, "pid") };
	snprintf(account->name, sizeof(account->name), "%s", answer_text(stat, "name"));
	account->counts[UPTIME] = answer_number(stat, "uptime_ns");
	account->counts[MEMORY] = (answer_number(stat, "memory") >> 20) * (account->counts[UPTIME] / 1000000);
	count_processors(account);
	for (enum count which = READS; which < NR_COUNTS; which++)
		account->counts[which] = sum_of(stat, which);
}

/* Of one, or of all; the exit status. */
static int count_all(struct accounts *accounts, struct json_object *stats)
{
	size_t nr = json_object_array_length(stats);
	int status = EXIT_OK;

	*accounts = (struct accounts) { .account = calloc(nr + 1, sizeof(*accounts->account)) };
	for (size_t i = 0; i < nr && accounts->account; i++) {
		struct json_object *stat = json_object_array_get_idx(stats, i);

		if (json_object_object_get_ex(stat, "vcpus", NULL)) {
			count(&accounts->account[accounts->nr++], stat);
			continue;
		}
		complain("%s does not answer", answer_text(stat, "name"));
		status = EXIT_PROBLEM;
	}
	return status;
}

/* What has come since; a machine that was not there has begun meanwhile. */
static struct account since(const struct account *now, const struct accounts *before)
{
	struct account difference = *now;

	for (size_t i = 0; i < before->nr; i++)
		if (before->account[i].pid == now->pid && !strcmp(before->account[i].name, now->name))
			for (unsigned int which = 0; which < NR_COUNTS; which++)
				difference.counts[which] -= before->account[i].counts[which];
	return difference;
}

/* ---- showing --------------------------------------------------------------------------------- */

static struct json_object *account_json(const struct account *account)
{
	struct json_object *row = json_object_new_object();

	json_add_text(row, "name", account->name);
	json_add_number(row, "pid", account->pid);
	for (unsigned int which = 0; which < NR_COUNTS; which++)
		json_object_object_add(row, counts[which].name,
				       json_object_new_int64(account->counts[which]));
	return row;
}

#define COLUMNS "%-16s %10s %9s %9s %9s %9s %9s %10s %9s %10s %9s\n"

static void print_head(void)
{
	printf(COLUMNS, "", "up", "guest", "kernel", "runner", "daemons", "memory", "disks", "requests",
	       "cards", "frames");
	printf(COLUMNS, "NAME", "s", "s", "s", "s", "s", "GiB h", "MiB", "", "MiB", "");
}

static void print_row(const struct account *account)
{
	const long long *of = account->counts;

	printf("%-16s %10.1f %9.2f %9.2f %9.2f %9.2f %9.3f %10.2f %9lld %10.2f %9lld\n", account->name,
	       of[UPTIME] / 1e9, of[GUEST] / 1e9, of[KERNEL] / 1e9, of[RUNNER] / 1e9, of[DAEMONS] / 1e9,
	       of[MEMORY] / (1024 * 3.6e6), (of[READ_BYTES] + of[WRITTEN_BYTES]) / 1048576.0,
	       of[READS] + of[WRITES] + of[FLUSHES] + of[DISCARDS],
	       (of[RECEIVED_BYTES] + of[SENT_BYTES]) / 1048576.0, of[RECEIVED_FRAMES] + of[SENT_FRAMES]);
}

static void show(const struct accounts *now, const struct accounts *before, bool json)
{
	struct json_object *rows = json_object_new_array();

	if (!json)
		print_head();
	for (size_t i = 0; i < now->nr; i++) {
		const struct account account = since(&now->account[i], before);

		if (json)
			json_object_array_add(rows, account_json(&account));
		else
			print_row(&account);
	}
	if (json)
		print_json(rows);
	else
		json_object_put(rows);
	fflush(stdout);
}

/* ---- the command line ------------------------------------------------------------------------ */

static int account(const char *name, double interval, bool json)
{
	struct accounts before = { 0 }, now;
	bool is_first = true;
	int status;

	do {
		struct json_object *stats;

		status = vms_ask_those("stat", name, &stats);
		if (!stats)
			break;
		status = count_all(&now, stats);
		json_object_put(stats);
		if (!is_first || !interval)
			show(&now, &before, json);
		free(before.account);
		before = now;
		is_first = false;
		wait_period(interval);
	} while (interval);
	free(before.account);
	return status;
}

int account_run(const struct verb *verb, int argc, char **argv)
{
	const char *text = NULL;
	const bool is_optional = true;
	double interval = 0;
	bool json = false;
	int status;

	status = parse_vm(verb, argc, argv, &(const struct vm_arguments) {
		.json = &json, .value_option = "interval", .value = &text, .is_optional = &is_optional,
	});
	if (status >= 0)
		return status;
	if (text && parse_period("--interval", text, &interval))
		return EXIT_USAGE;
	return account(argv[optind], interval, json);
}
