// SPDX-License-Identifier: GPL-2.0
/* Tables of histograms: one row a reason and place of handling, and what else was asked for. */
#include <inttypes.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

#include "libmote.h"
#include "runner.h"
#include "tool.h"

#define BAR 40

static size_t hash(const struct trace_key *key, size_t size)
{
	uint64_t sum = key->rip ^ (uint64_t)key->reason << 56 ^ (uint64_t)key->where << 52 ^
		       (uint64_t)key->vm << 32 ^ key->vcpu;

	return (sum * 0x9e3779b97f4a7c15ull >> 32) % size;
}

static uint32_t *table_place(struct table *table, const struct trace_key *key)
{
	size_t size = 2 * table->room, at = hash(key, size);

	while (table->index[at] &&
	       memcmp(&table->rows[table->index[at] - 1].key, key, sizeof(*key)))
		at = (at + 1) % size;
	return &table->index[at];
}

static void table_grow(struct table *table)
{
	table->room = table->room ? 2 * table->room : 64;
	table->rows = realloc(table->rows, table->room * sizeof(*table->rows));
	free(table->index);
	table->index = calloc(2 * table->room, sizeof(*table->index));
	if (!table->rows || !table->index)
		abort();
	for (size_t i = 0; i < table->nr; i++)
		*table_place(table, &table->rows[i].key) = i + 1;
}

struct row *table_row(struct table *table, const struct trace_key *key)
{
	uint32_t *place;

	if (table->nr == table->room)
		table_grow(table);
	place = table_place(table, key);
	if (!*place) {
		table->rows[table->nr] = (struct row){ .key = *key };
		*place = ++table->nr;
	}
	return &table->rows[*place - 1];
}

void table_add(struct table *table, const struct trace_key *key, uint64_t ticks)
{
	struct trace_latency *latency = &table_row(table, key)->latency;

	latency->count++;
	latency->sum += ticks;
	if (ticks > latency->max)
		latency->max = ticks;
	latency->slot[trace_slot(ticks)]++;
}

static int compare_rows(const void *a, const void *b)
{
	const struct row *left = a, *right = b;
	int by_key = memcmp(&left->key, &right->key, sizeof(left->key));

	if (left->latency.sum != right->latency.sum)
		return left->latency.sum < right->latency.sum ? 1 : -1;
	return by_key;
}

void table_sort(struct table *table)
{
	if (table->nr)
		qsort(table->rows, table->nr, sizeof(*table->rows), compare_rows);
}

void table_free(struct table *table)
{
	free(table->rows);
	free(table->index);
	*table = (struct table){ 0 };
}

/* ---- numbers ------------------------------------------------------------------ */

const char *where_name(unsigned int where)
{
	static const char *const names[] = {
		[MOTE_HANDLED_FAST] = "fast", [MOTE_HANDLED_KERNEL] = "kernel",
		[MOTE_HANDLED_USER] = "user",
	};

	return where < ARRAY_SIZE(names) ? names[where] : "unknown";
}

double ticks_ns(uint32_t tsc_khz, uint64_t ticks)
{
	return ticks * 1e6 / tsc_khz;
}

void format_ns(char *text, size_t size, double ns)
{
	static const char *const units[] = { "ns", "us", "ms", "s" };
	unsigned int unit = 0;

	while (ns >= 1000 && unit < ARRAY_SIZE(units) - 1) {
		ns /= 1000;
		unit++;
	}
	snprintf(text, size, ns < 10 && unit ? "%.2f %s" : ns < 100 && unit ? "%.1f %s" : "%.0f %s", ns,
		 units[unit]);
}

/* The first number of ticks that a slot takes: trace_slot() the other way. */
static uint64_t slot_start(unsigned int slot)
{
	return slot < 4 ? slot : (4ull + slot % 4) << (slot / 4 - 1);
}

/* At most so many ticks took this share of them: between the bounds of a slot, in proportion. */
static double quantile(const struct trace_latency *latency, double share)
{
	double rank = share * latency->count, before = 0;

	for (unsigned int slot = 0; slot < TRACE_SLOTS; slot++) {
		double here = latency->slot[slot];

		if (here && before + here >= rank) {
			double start = slot_start(slot), width = slot_start(slot + 1) - start;
			double at = start + width * (rank - before) / here;

			return at < latency->max ? at : latency->max;
		}
		before += here;
	}
	return latency->max;
}

static double row_ns(const struct table *table, double ticks)
{
	return ticks * 1e6 / table->tsc_khz;
}

static double row_share(const struct table *table, const struct row *row)
{
	return table->seconds ? row_ns(table, row->latency.sum) / 1e9 / table->seconds : 0;
}

/* ns of the tool in an exit. */
static double overhead_ns(const struct table *table)
{
	return table->overhead.runs ? (double)table->overhead.ns / table->overhead.runs : 0;
}

static uint64_t table_count(const struct table *table)
{
	uint64_t count = 0;

	for (size_t i = 0; i < table->nr; i++)
		count += table->rows[i].latency.count;
	return count;
}

/* ---- text ----------------------------------------------------------------------- */

static void print_key(const struct trace_key *key, const struct trace_filter *by, FILE *out)
{
	if (by->by_vm)
		fprintf(out, "%4u ", key->vm);
	if (by->by_vcpu)
		fprintf(out, "%4u ", key->vcpu);
	if (by->by_rip)
		fprintf(out, "%16" PRIx64 " ", (uint64_t)key->rip);
	fprintf(out, "%-16s %-6s", mote_exit_name(key->reason), where_name(key->where));
}

static void print_row(const struct table *table, const struct row *row, const struct trace_filter *by,
		      FILE *out)
{
	static const double shares[] = { 0.5, 0.9, 0.99 };
	char text[32];

	print_key(&row->key, by, out);
	fprintf(out, " %10" PRIu64, (uint64_t)row->latency.count);
	fprintf(out, " %9.0f", table->seconds ? row->latency.count / table->seconds : 0);
	for (size_t i = 0; i < ARRAY_SIZE(shares); i++) {
		format_ns(text, sizeof(text), row_ns(table, quantile(&row->latency, shares[i])));
		fprintf(out, " %8s", text);
	}
	format_ns(text, sizeof(text), row_ns(table, row->latency.max));
	fprintf(out, " %8s %6.2f%%\n", text, 100 * row_share(table, row));
}

/* Powers of two: four slots in one line. */
static void print_histogram(const struct table *table, const struct row *row, FILE *out)
{
	uint64_t sums[TRACE_SLOTS / 4] = { 0 }, most = 1;
	unsigned int first = TRACE_SLOTS / 4, last = 0;
	char from[32], to[32];

	for (unsigned int slot = 0; slot < TRACE_SLOTS; slot++) {
		sums[slot / 4] += row->latency.slot[slot];
		if (!row->latency.slot[slot])
			continue;
		first = slot / 4 < first ? slot / 4 : first;
		last = slot / 4;
	}
	for (unsigned int i = first; i <= last; i++)
		most = sums[i] > most ? sums[i] : most;
	for (unsigned int i = first; i <= last; i++) {
		format_ns(from, sizeof(from), row_ns(table, slot_start(4 * i)));
		format_ns(to, sizeof(to), row_ns(table, slot_start(4 * i + 4)));
		fprintf(out, "  %9s to %-9s |%-*.*s| %" PRIu64 "\n", from, to, BAR,
			(int)((sums[i] * BAR + most - 1) / most),
			"########################################", sums[i]);
	}
}

static void print_overhead(const struct table *table, FILE *out)
{
	double ns = overhead_ns(table);

	if (table->overhead.runs)
		fprintf(out, "mote trace itself: %.0f ns an exit (mean of %" PRIu64 "), %.2f%% of the time\n",
			ns, table->overhead.runs, table->seconds ?
			100 * ns * table_count(table) / 1e9 / table->seconds : 0);
}

void table_print(const struct table *table, const struct trace_options *options, FILE *out)
{
	const struct trace_filter *by = &options->filter;

	fprintf(out, "%s%s%s%-16s %-6s %10s %9s %8s %8s %8s %8s %7s\n", by->by_vm ? "  VM " : "",
		by->by_vcpu ? "vCPU " : "", by->by_rip ? "             RIP " : "", "EXIT", "BY",
		"COUNT", "A SECOND", "P50", "P90", "P99", "MAX", "TIME");
	for (size_t i = 0; i < table->nr; i++)
		print_row(table, &table->rows[i], by, out);
	for (size_t i = 0; options->histogram && i < table->nr; i++) {
		fputc('\n', out);
		print_key(&table->rows[i].key, by, out);
		fputc('\n', out);
		print_histogram(table, &table->rows[i], out);
	}
	fprintf(out, "\n%" PRIu64 " exits in %.2f s, %" PRIu64 " not in the table\n", table_count(table),
		table->seconds, table->lost);
	print_overhead(table, out);
}

/* ---- JSON ------------------------------------------------------------------------- */

void add_ns(struct json_object *object, const char *key, double ns)
{
	json_object_object_add(object, key, json_object_new_double(ns));
}

static struct json_object *histogram_json(const struct table *table, const struct row *row)
{
	struct json_object *list = json_object_new_array();

	for (unsigned int slot = 0; slot < TRACE_SLOTS; slot++) {
		struct json_object *entry;

		if (!row->latency.slot[slot])
			continue;
		entry = json_object_new_object();
		add_ns(entry, "from_ns", row_ns(table, slot_start(slot)));
		json_object_object_add(entry, "count", json_object_new_uint64(row->latency.slot[slot]));
		json_object_array_add(list, entry);
	}
	return list;
}

static struct json_object *row_json(const struct table *table, const struct row *row,
				    const struct trace_filter *by)
{
	const struct { const char *key; double ns; } times[] = {
		{ "p50_ns", row_ns(table, quantile(&row->latency, 0.5)) },
		{ "p90_ns", row_ns(table, quantile(&row->latency, 0.9)) },
		{ "p99_ns", row_ns(table, quantile(&row->latency, 0.99)) },
		{ "max_ns", row_ns(table, row->latency.max) },
		{ "sum_ns", row_ns(table, row->latency.sum) },
		{ "share", row_share(table, row) },
	};
	struct json_object *object = json_object_new_object();

	if (by->by_vm)
		json_object_object_add(object, "vm", json_object_new_uint64(row->key.vm));
	if (by->by_vcpu)
		json_object_object_add(object, "vcpu", json_object_new_uint64(row->key.vcpu));
	if (by->by_rip)
		json_object_object_add(object, "rip", json_object_new_uint64(row->key.rip));
	json_object_object_add(object, "reason", json_object_new_string(mote_exit_name(row->key.reason)));
	json_object_object_add(object, "by", json_object_new_string(where_name(row->key.where)));
	json_object_object_add(object, "count", json_object_new_uint64(row->latency.count));
	for (size_t i = 0; i < ARRAY_SIZE(times); i++)
		json_object_object_add(object, times[i].key, json_object_new_double(times[i].ns));
	json_object_object_add(object, "histogram", histogram_json(table, row));
	return object;
}

struct json_object *table_json(const struct table *table, const struct trace_options *options)
{
	struct json_object *root = json_object_new_object(), *list = json_object_new_array();

	for (size_t i = 0; i < table->nr; i++)
		json_object_array_add(list, row_json(table, &table->rows[i], &options->filter));
	json_object_object_add(root, "seconds", json_object_new_double(table->seconds));
	json_object_object_add(root, "exits", json_object_new_uint64(table_count(table)));
	json_object_object_add(root, "lost", json_object_new_uint64(table->lost));
	if (table->overhead.runs)
		json_object_object_add(root, "overhead_ns", json_object_new_double(overhead_ns(table)));
	json_object_object_add(root, "rows", list);
	return root;
}
