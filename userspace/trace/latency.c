// SPDX-License-Identifier: GPL-2.0
/* mote trace latency and top: histograms that the kernel keeps, read at the end or now and then. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <json-c/json.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libmote.h"
#include "runner.h"
#include "tool.h"

#include "latency.skel.h"

/* What the map may take on all CPUs together, in bytes. */
#define MAP_BYTES (64u << 20)

struct live {
	struct session session;
	struct latency_bpf *bpf;
	struct trace_latency *cpus;	/* a value of the map: one a CPU */
	int nr_cpus;
};

static bool is_keyed(const struct trace_options *options)
{
	return options->filter.by_vm || options->filter.by_vcpu || options->filter.by_rip;
}

static int live_load(struct live *live, const struct trace_options *options)
{
	unsigned int room;
	int err = session_init(&live->session, options);

	if (err)
		return err;
	live->nr_cpus = libbpf_num_possible_cpus();
	live->cpus = calloc(live->nr_cpus, sizeof(*live->cpus));
	live->bpf = latency_bpf__open();
	if (!live->bpf || !live->cpus)
		return session_problem(options, -errno);
	live->bpf->rodata->filter = options->filter;
	room = MAP_BYTES / sizeof(struct trace_latency) / live->nr_cpus;
	if (room > (options->filter.by_rip ? 8192u : 1024u))
		room = options->filter.by_rip ? 8192 : 1024;
	bpf_map__set_max_entries(live->bpf->maps.keyed, is_keyed(options) ? room : 1);
	err = latency_bpf__load(live->bpf);
	return err ? session_problem(options, err) : EXIT_OK;
}

static void live_free(struct live *live)
{
	latency_bpf__destroy(live->bpf);
	free(live->cpus);
}

/* Of all CPUs, what is in live->cpus. */
static void add_cpus(const struct live *live, struct table *table, const struct trace_key *key)
{
	struct trace_latency *sum = NULL;

	for (int cpu = 0; cpu < live->nr_cpus; cpu++) {
		const struct trace_latency *one = &live->cpus[cpu];

		if (!one->count)
			continue;
		sum = sum ? sum : &table_row(table, key)->latency;
		sum->count += one->count;
		sum->sum += one->sum;
		if (one->max > sum->max)
			sum->max = one->max;
		for (int slot = 0; slot < TRACE_SLOTS; slot++)
			sum->slot[slot] += one->slot[slot];
	}
}

static void read_plain(struct live *live, struct table *table)
{
	int fd = bpf_map__fd(live->bpf->maps.plain);

	for (unsigned int reason = 0; reason < MOTE_NR_EXITS; reason++)
		for (unsigned int where = MOTE_HANDLED_FAST; where <= MOTE_HANDLED_USER; where++) {
			struct trace_key key = { .reason = reason, .where = where };
			__u32 row = trace_row(reason, where);

			if (!bpf_map_lookup_elem(fd, &row, live->cpus))
				add_cpus(live, table, &key);
		}
}

static void read_keyed(struct live *live, struct table *table)
{
	int fd = bpf_map__fd(live->bpf->maps.keyed);
	struct trace_key key, *previous = NULL;

	for (; !bpf_map_get_next_key(fd, previous, &key); previous = &key)
		if (!bpf_map_lookup_elem(fd, &key, live->cpus))
			add_cpus(live, table, &key);
}

static void live_read(struct live *live, const struct trace_options *options, struct table *table)
{
	if (is_keyed(options))
		read_keyed(live, table);
	else
		read_plain(live, table);
	table->tsc_khz = live->session.tsc_khz;
	table->lost = live->bpf->bss->lost;
	session_overhead(&live->session, &table->overhead);
}

static int show(const struct table *table, const struct trace_options *options, FILE *out)
{
	if (options->json)
		output_json(out, table_json(table, options));
	else
		table_print(table, options, out);
	return fflush(out);
}

int latency_command(const struct trace_options *options)
{
	struct live live = { 0 };
	struct table table = { 0 };
	FILE *out = NULL;
	int err = live_load(&live, options);

	if (!err)
		err = session_start(&live.session, options, live.bpf->skeleton);
	while (!err && session_goes_on(&live.session, options))
		poll(NULL, 0, 20);
	if (live.session.skeleton)
		session_stop(&live.session, live.bpf->skeleton);
	if (!err) {
		live_read(&live, options, &table);
		table.seconds = (live.session.end - live.session.start) / 1e9;
		table_sort(&table);
		out = output_open(options);
		err = out ? 0 : EXIT_PROBLEM;
	}
	if (out) {
		show(&table, options, out);
		err = output_close(options, out);
	}
	table_free(&table);
	live_free(&live);
	return err ? err : live.session.status;
}

/* ---- top ------------------------------------------------------------------------- */

/* What has come since @before; the maximum is that of all the time. */
static void table_since(struct table *diff, const struct table *now, struct table *before)
{
	for (size_t i = 0; i < now->nr; i++) {
		const struct row *new = &now->rows[i];
		const struct trace_latency *old = &table_row(before, &new->key)->latency;
		struct row *row;

		if (new->latency.count == old->count)
			continue;
		row = table_row(diff, &new->key);
		row->latency = new->latency;
		row->latency.count -= old->count;
		row->latency.sum -= old->sum;
		for (int slot = 0; slot < TRACE_SLOTS; slot++)
			row->latency.slot[slot] -= old->slot[slot];
	}
	diff->tsc_khz = now->tsc_khz;
	diff->lost = now->lost - before->lost;
	diff->overhead = now->overhead;
}

static void top_round(struct live *live, const struct trace_options *options, struct table *before,
		      uint64_t ns, FILE *out)
{
	struct table now = { 0 }, diff = { 0 };

	live_read(live, options, &now);
	table_since(&diff, &now, before);
	diff.seconds = ns / 1e9;
	table_sort(&diff);
	if (isatty(fileno(out)) && !options->json)
		fputs("\033[H\033[2J", out);
	show(&diff, options, out);
	table_free(before);
	table_free(&diff);
	*before = now;
}

static void top_rounds(struct live *live, const struct trace_options *options, FILE *out)
{
	uint64_t last = live->session.start, step = options->interval * 1e9;
	struct table before = { 0 };
	unsigned int rounds = 0;

	while (session_goes_on(&live->session, options) && !ferror(out)) {
		uint64_t now = now_ns();

		if (now - last < step) {
			uint64_t rest = (step - (now - last)) / 1000000 + 1;

			poll(NULL, 0, rest < 20 ? rest : 20);
			continue;
		}
		top_round(live, options, &before, now - last, out);
		last = now;
		if (++rounds == options->rounds)
			break;
	}
	table_free(&before);
}

int top_command(const struct trace_options *options)
{
	struct live live = { 0 };
	FILE *out = NULL;
	int err = live_load(&live, options);

	if (!err) {
		out = output_open(options);
		err = out ? session_start(&live.session, options, live.bpf->skeleton) : EXIT_PROBLEM;
	}
	if (!err)
		top_rounds(&live, options, out);
	if (live.session.skeleton)
		session_stop(&live.session, live.bpf->skeleton);
	if (out && output_close(options, out))
		err = EXIT_PROBLEM;
	live_free(&live);
	return err ? err : live.session.status;
}
