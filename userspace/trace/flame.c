// SPDX-License-Identifier: GPL-2.0
/*
 * mote trace flame: where a guest's exits come from, as a picture.  From the bottom: all, the
 * reasons, the guest's functions, their instructions; widths are time, or numbers of exits.
 */
#include <inttypes.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

#include "libmote.h"
#include "runner.h"
#include "tool.h"

#define WIDTH 1200
#define MARGIN 12
#define FRAME 18	/* height */
#define CHARACTER 7.0	/* width, about */
#define TOP 46
#define NARROWEST 0.4

struct node {
	char name[128];
	uint64_t weight;
	uint64_t count;
	struct node **children;
	size_t nr;
	size_t room;
};

static struct node *child_of(struct node *node, const char *name)
{
	struct node *child;

	for (size_t i = 0; i < node->nr; i++)
		if (!strcmp(node->children[i]->name, name))
			return node->children[i];
	if (node->nr == node->room) {
		node->room = node->room ? 2 * node->room : 8;
		node->children = realloc(node->children, node->room * sizeof(*node->children));
	}
	child = calloc(1, sizeof(*child));
	if (!child || !node->children)
		abort();
	snprintf(child->name, sizeof(child->name), "%s", name);
	node->children[node->nr++] = child;
	return child;
}

static void grow(struct node *node, const struct row *row, bool by_count)
{
	node->count += row->latency.count;
	node->weight += by_count ? row->latency.count : row->latency.sum;
}

static void plant(struct node *root, const struct row *row, const struct symbols *symbols, bool by_count)
{
	struct node *node = child_of(root, mote_exit_name(row->key.reason));
	const char *name = NULL;
	uint64_t start = 0;
	char text[128];

	grow(root, row, by_count);
	grow(node, row, by_count);
	if (symbols_find(symbols, row->key.rip, &name, &start)) {
		node = child_of(node, name);
		grow(node, row, by_count);
		snprintf(text, sizeof(text), "+0x%" PRIx64, (uint64_t)row->key.rip - start);
	} else {
		snprintf(text, sizeof(text), "0x%" PRIx64, (uint64_t)row->key.rip);
	}
	grow(child_of(node, text), row, by_count);
}

static int compare(const void *a, const void *b)
{
	const struct node *left = *(struct node *const *)a, *right = *(struct node *const *)b;

	if (left->weight != right->weight)
		return left->weight < right->weight ? 1 : -1;
	return strcmp(left->name, right->name);
}

/* The widest to the left; returns the height of the tree. */
static int arrange(struct node *node)
{
	int height = 0;

	if (node->nr)
		qsort(node->children, node->nr, sizeof(*node->children), compare);
	for (size_t i = 0; i < node->nr; i++) {
		int above = arrange(node->children[i]);

		height = above > height ? above : height;
	}
	return height + 1;
}

static void fell(struct node *node)
{
	for (size_t i = 0; i < node->nr; i++) {
		fell(node->children[i]);
		free(node->children[i]);
	}
	free(node->children);
}

/* ---- SVG ------------------------------------------------------------------------ */

struct canvas {
	FILE *out;
	const struct trace_options *options;
	uint32_t tsc_khz;
	uint64_t all;
	int bottom;
};

static void describe(const struct canvas *canvas, const struct node *node, char *text, size_t size)
{
	double share = canvas->all ? 100.0 * node->weight / canvas->all : 0;
	char ns[32];

	format_ns(ns, sizeof(ns), ticks_ns(canvas->tsc_khz, node->weight));
	if (canvas->options->by_count)
		snprintf(text, size, "%" PRIu64 " exits, %.2f%%", node->count, share);
	else if (node->weight == canvas->all)
		snprintf(text, size, "%" PRIu64 " exits, %s", node->count, ns);
	else
		snprintf(text, size, "%" PRIu64 " exits, %s, %.2f%%", node->count, ns, share);
}

/* A hue for each reason; its functions and instructions are lighter, one by one. */
static void frame_colour(char *text, size_t size, int hue, int level, size_t turn)
{
	static const int light[] = { 82, 66, 74, 82 };

	snprintf(text, size, "hsl(%d,%d%%,%d%%)", hue, level ? 68 : 8,
		 light[level < 3 ? level : 3] + (level > 1 ? (int)(turn % 3) * 3 : 0));
}

static void draw_frame(const struct canvas *canvas, const struct node *node, double x, double width,
		       int level, const char *colour)
{
	int y = canvas->bottom - (level + 1) * FRAME;
	int room = (width - 6) / CHARACTER;
	char text[256];

	describe(canvas, node, text, sizeof(text));
	fprintf(canvas->out, "<g><title>");
	print_escaped(canvas->out, node->name);
	fprintf(canvas->out, ": %s</title>"
		"<rect x=\"%.2f\" y=\"%d\" width=\"%.2f\" height=\"%d\" fill=\"%s\"/>",
		text, x, y, width > 1 ? width - 0.5 : width, FRAME - 1, colour);
	if (room >= 3) {
		snprintf(text, sizeof(text), (int)strlen(node->name) > room ? "%.*s.." : "%.*s",
			 (int)strlen(node->name) > room ? room - 2 : room, node->name);
		fprintf(canvas->out, "<text x=\"%.2f\" y=\"%d\">", x + 3, y + FRAME - 6);
		print_escaped(canvas->out, text);
		fprintf(canvas->out, "</text>");
	}
	fprintf(canvas->out, "</g>\n");
}

static void draw(const struct canvas *canvas, const struct node *node, double x, int level, int hue,
		 size_t turn)
{
	double width = canvas->all ? (double)node->weight / canvas->all * (WIDTH - 2 * MARGIN) : 0;
	char colour[40];

	if (width < NARROWEST)
		return;
	frame_colour(colour, sizeof(colour), hue, level, turn);
	draw_frame(canvas, node, x, width, level, colour);
	for (size_t i = 0; i < node->nr; i++) {
		const struct node *child = node->children[i];

		/* 47 degrees further: neighbours differ. */
		draw(canvas, child, x, level + 1, level ? hue : (int)(20 + 47 * i) % 360, i);
		x += (double)child->weight / canvas->all * (WIDTH - 2 * MARGIN);
	}
}

static void print_svg(const struct canvas *canvas, const struct node *root, uint64_t lost)
{
	char text[128];

	describe(canvas, root, text, sizeof(text));
	fprintf(canvas->out,
		"<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\""
		" font-family=\"DejaVu Sans Mono,Menlo,Consolas,monospace\" font-size=\"11\">\n"
		"<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n"
		"<text x=\"%d\" y=\"20\" font-size=\"15\" font-family=\"sans-serif\">"
		"Exits by reason and guest address: width is %s</text>\n"
		"<text x=\"%d\" y=\"37\" fill=\"#555\" font-family=\"sans-serif\">"
		"%s%s, %" PRIu64 " events lost; hover for numbers</text>\n",
		WIDTH, canvas->bottom + MARGIN, WIDTH, canvas->bottom + MARGIN, MARGIN,
		canvas->options->by_count ? "number" : "time out of the guest", MARGIN, text,
		canvas->options->idle ? "" : " (without HLT)", lost);
	draw(canvas, root, MARGIN, 0, 0, 0);
	fprintf(canvas->out, "</svg>\n");
}

static struct json_object *node_json(const struct node *node, const struct canvas *canvas)
{
	struct json_object *object = json_object_new_object(), *list;

	json_object_object_add(object, "name", json_object_new_string(node->name));
	json_object_object_add(object, "count", json_object_new_uint64(node->count));
	if (!canvas->options->by_count)
		add_ns(object, "ns", ticks_ns(canvas->tsc_khz, node->weight));
	if (!node->nr)
		return object;
	list = json_object_new_array();
	for (size_t i = 0; i < node->nr; i++)
		json_object_array_add(list, node_json(node->children[i], canvas));
	json_object_object_add(object, "children", list);
	return object;
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
	struct canvas canvas = { .options = options, .tsc_khz = file->header->tsc_khz };
	struct node root = { .name = "all exits" };
	struct table table = { 0 };

	canvas.out = output_open(options);
	if (!canvas.out)
		return EXIT_PROBLEM;
	collect(file, options, &table);
	for (size_t i = 0; i < table.nr; i++)
		plant(&root, &table.rows[i], symbols, options->by_count);
	canvas.bottom = TOP + arrange(&root) * FRAME;
	canvas.all = root.weight;
	if (options->json)
		output_json(canvas.out, node_json(&root, &canvas));
	else
		print_svg(&canvas, &root, file->header->lost);
	fell(&root);
	table_free(&table);
	return output_close(options, canvas.out);
}

int flame_command(const struct trace_options *options)
{
	struct symbols *symbols = symbols_open(options);
	struct trace_file file;
	int err = symbols ? trace_file_open(&file, options) : EXIT_USAGE;

	if (!err) {
		err = show(&file, options, symbols);
		trace_file_close(&file);
	}
	if (symbols)
		symbols_close(symbols);
	return err;
}
