// SPDX-License-Identifier: GPL-2.0
/*
 * mote trace flame: where a guest's exits come from, as a picture.  From the bottom: all, the
 * reasons, the guest's functions, their instructions; widths are time, or numbers of exits.  With
 * --stacks the functions are whole call chains: profile.c.
 */
#include <inttypes.h>

#include "libmote.h"
#include "runner.h"
#include "tool.h"

static void grow(struct node *node, const struct row *row, bool by_count)
{
	node->count += row->latency.count;
	node->weight += by_count ? row->latency.count : row->latency.sum;
}

static void plant(struct node *root, const struct row *row, const struct symbols *symbols, bool by_count)
{
	struct node *node = node_child(root, mote_exit_name(row->key.reason));
	const char *name = NULL;
	uint64_t start = 0;
	char text[128];

	grow(root, row, by_count);
	grow(node, row, by_count);
	if (symbols_find(symbols, row->key.rip, &name, &start)) {
		node = node_child(node, name);
		grow(node, row, by_count);
		snprintf(text, sizeof(text), "+0x%" PRIx64, (uint64_t)row->key.rip - start);
	} else {
		snprintf(text, sizeof(text), "0x%" PRIx64, (uint64_t)row->key.rip);
	}
	grow(node_child(node, text), row, by_count);
}

/* ---- the command ------------------------------------------------------------------- */

static void collect(const struct trace_file *file, const struct trace_options *options, struct table *table)
{
	for (size_t i = 0; i < file->nr; i++) {
		const struct trace_record *record = &file->records[i];
		struct trace_key key = { .reason = record->arg[0], .rip = record->arg[3] };

		if (record->event == TRACE_EXIT_HANDLED && is_wanted(options, record) &&
		    (options->idle || key.reason != MOTE_EXIT_HLT))
			table_add(table, &key, record->arg[5] - record->arg[4]);
	}
}

static int show(const struct trace_file *file, const struct trace_options *options,
		const struct symbols *symbols)
{
	const struct picture picture = {
		.title = options->by_count ? "Exits by reason and guest address: width is number" :
			 "Exits by reason and guest address: width is time out of the guest",
		.unit = "exits", .note = options->idle ? "" : " (without HLT)", .by_count = options->by_count,
		.tsc_khz = file->header->tsc_khz, .lost = file->header->lost, .lost_unit = "events",
	};
	struct node root = { .name = "all exits" };
	FILE *out = output_open(options);
	struct table table = { 0 };

	if (!out)
		return EXIT_PROBLEM;
	collect(file, options, &table);
	for (size_t i = 0; i < table.nr; i++)
		plant(&root, &table.rows[i], symbols, options->by_count);
	if (options->json)
		tree_json(out, &root, &picture);
	else if (options->format == FORMAT_FOLDED)
		tree_folded(out, &root, &picture);
	else
		tree_svg(out, &root, &picture);
	tree_free(&root);
	table_free(&table);
	return output_close(options, out);
}

int flame_command(const struct trace_options *options)
{
	struct symbols *symbols;
	struct trace_file file;
	int err;

	if (options->stacks)
		return profile_command(options);
	symbols = symbols_open(options);
	err = symbols ? trace_file_open(&file, options) : EXIT_USAGE;
	if (!err) {
		err = show(&file, options, symbols);
		trace_file_close(&file);
	}
	if (symbols)
		symbols_close(symbols);
	return err;
}
