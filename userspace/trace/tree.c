// SPDX-License-Identifier: GPL-2.0
/* A tree of what took how much, and its pictures: a flame graph, folded stacks, JSON. */
#include <inttypes.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

#include "runner.h"
#include "tool.h"

#define WIDTH 1200
#define MARGIN 12
#define FRAME 18	/* height */
#define CHARACTER 7.0	/* width, about */
#define TOP 46
#define NARROWEST 0.4

struct node *node_child(struct node *node, const char *name)
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
	child->parent = node;
	node->children[node->nr++] = child;
	return child;
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

void tree_free(struct node *node)
{
	for (size_t i = 0; i < node->nr; i++) {
		tree_free(node->children[i]);
		free(node->children[i]);
	}
	free(node->children);
}

/* ---- SVG ------------------------------------------------------------------------ */

struct canvas {
	FILE *out;
	const struct picture *picture;
	uint64_t all;
	int bottom;
};

static void describe(const struct canvas *canvas, const struct node *node, char *text, size_t size)
{
	double share = canvas->all ? 100.0 * node->weight / canvas->all : 0;
	char ns[32];

	format_ns(ns, sizeof(ns), ticks_ns(canvas->picture->tsc_khz, node->weight));
	if (canvas->picture->by_count)
		snprintf(text, size, "%" PRIu64 " %s, %.2f%%", node->count, canvas->picture->unit, share);
	else if (node->weight == canvas->all)
		snprintf(text, size, "%" PRIu64 " %s, %s", node->count, canvas->picture->unit, ns);
	else
		snprintf(text, size, "%" PRIu64 " %s, %s, %.2f%%", node->count, canvas->picture->unit, ns,
			 share);
}

/* A hue for each child of the root; what is above them is lighter, one by one. */
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

void tree_svg(FILE *out, struct node *root, const struct picture *picture)
{
	struct canvas canvas = {
		.out = out, .picture = picture, .all = root->weight, .bottom = TOP + arrange(root) * FRAME,
	};
	char text[128];

	describe(&canvas, root, text, sizeof(text));
	fprintf(out,
		"<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\""
		" font-family=\"DejaVu Sans Mono,Menlo,Consolas,monospace\" font-size=\"11\">\n"
		"<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n"
		"<text x=\"%d\" y=\"20\" font-size=\"15\" font-family=\"sans-serif\">%s</text>\n"
		"<text x=\"%d\" y=\"37\" fill=\"#555\" font-family=\"sans-serif\">"
		"%s%s, %" PRIu64 " %s lost; hover for numbers</text>\n",
		WIDTH, canvas.bottom + MARGIN, WIDTH, canvas.bottom + MARGIN, MARGIN, picture->title, MARGIN,
		text, picture->note, picture->lost, picture->lost_unit);
	draw(&canvas, root, MARGIN, 0, 0, 0);
	fprintf(out, "</svg>\n");
}

/* ---- text and JSON ------------------------------------------------------------------ */

static void print_folded(FILE *out, const struct node *node, const struct picture *picture, char *path,
			 size_t used, size_t size)
{
	uint64_t self = node->weight;
	size_t nr = 0;

	if (node->parent)
		nr = snprintf(path + used, size - used, "%s%s", used ? ";" : "", node->name);
	if (nr >= size - used)
		return;
	for (size_t i = 0; i < node->nr; i++) {
		self -= node->children[i]->weight;
		print_folded(out, node->children[i], picture, path, used + nr, size);
	}
	path[used + nr] = '\0';
	if (!picture->by_count)
		self = ticks_ns(picture->tsc_khz, self);
	if (self && node->parent)
		fprintf(out, "%s %" PRIu64 "\n", path, self);
}

void tree_folded(FILE *out, struct node *root, const struct picture *picture)
{
	static char path[1 << 16];

	arrange(root);
	print_folded(out, root, picture, path, 0, sizeof(path));
}

static struct json_object *node_json(const struct node *node, const struct picture *picture)
{
	struct json_object *object = json_object_new_object(), *list;

	json_object_object_add(object, "name", json_object_new_string(node->name));
	json_object_object_add(object, "count", json_object_new_uint64(node->count));
	if (!picture->by_count)
		add_ns(object, "ns", ticks_ns(picture->tsc_khz, node->weight));
	if (!node->nr)
		return object;
	list = json_object_new_array();
	for (size_t i = 0; i < node->nr; i++)
		json_object_array_add(list, node_json(node->children[i], picture));
	json_object_object_add(object, "children", list);
	return object;
}

void tree_json(FILE *out, struct node *root, const struct picture *picture)
{
	arrange(root);
	output_json(out, node_json(root, picture));
}
