// SPDX-License-Identifier: GPL-2.0
/*
 * mote trace timeline: what each vCPU did when, as a picture.  Time is cut into BINS pieces; of
 * each, shares are shown: in the guest, in the kernel, in user space, halted, and the rest.
 */
#include <inttypes.h>
#include <json-c/json.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "libmote.h"
#include "runner.h"
#include "tool.h"

#define BINS 1000	/* a pixel each */
#define LEFT 92
#define RIGHT 24
#define TOP 64
#define LANE 84		/* height of a vCPU's shares */
#define RATE 28		/* of its exits, below */
#define GAP 26
#define TOOLTIP 10	/* bins that share one */

enum state { GUEST, USER, KERNEL, HALTED, NR_STATES };

static const struct {
	const char *name;
	const char *colour;
} states[NR_STATES] = {
	[GUEST] = { "guest", "#2f9e63" },
	[USER] = { "user space", "#3c78b8" },
	[KERNEL] = { "kernel", "#e0863a" },
	[HALTED] = { "halted", "#dfe3e8" },
};

/* The vCPU is in @state from @tsc on. */
struct turn {
	uint64_t tsc;
	enum state state;
};

struct lane {
	uint32_t vm;
	uint16_t vcpu;
	uint64_t entered;	/* when it went into the guest; 0: not known */
	struct turn *turns;	/* since it was last seen to leave it */
	size_t nr;
	size_t room;
	double ticks[BINS][NR_STATES];
	double sum[NR_STATES];
	uint64_t exits[BINS];
	uint64_t count;
};

struct timeline {
	uint64_t begin;
	uint64_t end;
	uint32_t tsc_khz;
	uint64_t lost;
	struct lane **lanes;
	size_t nr;
	struct chrome *chrome;	/* goes there slice by slice; or NULL */
};

/* ---- from events to shares ------------------------------------------------------- */

static double bin_ticks(const struct timeline *timeline)
{
	return (timeline->end - timeline->begin) / (double)BINS;
}

static int bin_of(const struct timeline *timeline, uint64_t tsc)
{
	double bin = tsc > timeline->begin ? (tsc - timeline->begin) / bin_ticks(timeline) : 0;

	/* In a file that is not whole, events may be anywhen. */
	return bin < BINS ? bin : BINS - 1;
}

static void spend(const struct timeline *timeline, struct lane *lane, enum state state, uint64_t from,
		  uint64_t to)
{
	double width = bin_ticks(timeline);

	if (from < timeline->begin || to <= from)
		return;
	lane->sum[state] += to - from;
	if (timeline->chrome)
		chrome_slice(timeline->chrome, lane->vm, lane->vcpu, states[state].name, from, to);
	for (int bin = bin_of(timeline, from); bin <= bin_of(timeline, to); bin++) {
		double start = fmax(from - timeline->begin, bin * width);
		double end = fmin(to - timeline->begin, (bin + 1) * width);

		if (end > start)
			lane->ticks[bin][state] += end - start;
	}
}

static void turn(struct lane *lane, uint64_t tsc, enum state state)
{
	if (lane->nr == lane->room) {
		lane->room = lane->room ? 2 * lane->room : 16;
		lane->turns = realloc(lane->turns, lane->room * sizeof(*lane->turns));
		if (!lane->turns)
			abort();
	}
	lane->turns[lane->nr++] = (struct turn){ tsc, state };
}

/* Before the first exit that is known: what the turns say, and after the last of them the guest. */
static void begin(const struct timeline *timeline, struct lane *lane, uint64_t exit)
{
	size_t nr = 0;

	while (nr < lane->nr && lane->turns[nr].tsc < exit) {
		bool is_last = nr + 1 == lane->nr || lane->turns[nr + 1].tsc >= exit;

		spend(timeline, lane, is_last ? GUEST : lane->turns[nr].state, lane->turns[nr].tsc,
		      is_last ? exit : lane->turns[nr + 1].tsc);
		nr++;
	}
	lane->nr -= nr;
	memmove(lane->turns, lane->turns + nr, lane->nr * sizeof(*lane->turns));
}

/* It left the guest at @exit and has been where its turns say until @entry. */
static void settle(const struct timeline *timeline, struct lane *lane, uint64_t exit, uint64_t entry)
{
	enum state state = KERNEL;
	uint64_t since = exit;

	if (lane->entered)
		spend(timeline, lane, GUEST, lane->entered, exit);
	else if (lane->nr)
		begin(timeline, lane, exit);
	for (size_t i = 0; i < lane->nr; i++) {
		if (lane->turns[i].tsc > since) {
			spend(timeline, lane, state, since, lane->turns[i].tsc);
			since = lane->turns[i].tsc;
		}
		state = lane->turns[i].state;
	}
	spend(timeline, lane, state, since, entry);
	lane->nr = 0;
	lane->entered = entry;
}

/* The last exit has no end: what is known ends with the last turn. */
static void finish(const struct timeline *timeline, struct lane *lane)
{
	if (lane->nr)
		settle(timeline, lane, lane->turns[0].tsc, lane->turns[lane->nr - 1].tsc);
	lane->entered = 0;
}

static void take(const struct timeline *timeline, struct lane *lane, const struct trace_record *record)
{
	switch (record->event) {
	case TRACE_EXIT_HANDLED:
		settle(timeline, lane, record->arg[4], record->arg[5]);
		lane->exits[bin_of(timeline, record->arg[4])]++;
		lane->count++;
		break;
	case TRACE_HALT:
		turn(lane, record->arg[0], HALTED);
		break;
	case TRACE_WAKE:
		turn(lane, record->arg[0], KERNEL);
		break;
	case TRACE_VCPU_STATE:
		if (record->arg[1] == MOTE_VCPU_RUN || record->arg[1] == MOTE_VCPU_USER)
			turn(lane, record->arg[0], record->arg[1] == MOTE_VCPU_RUN ? KERNEL : USER);
		else
			finish(timeline, lane);
		break;
	}
}

static struct lane *lane_of(struct timeline *timeline, const struct trace_record *record)
{
	struct lane *lane;

	for (size_t i = 0; i < timeline->nr; i++)
		if (timeline->lanes[i]->vm == record->vm && timeline->lanes[i]->vcpu == record->vcpu)
			return timeline->lanes[i];
	timeline->lanes = realloc(timeline->lanes, (timeline->nr + 1) * sizeof(*timeline->lanes));
	lane = calloc(1, sizeof(*lane));
	if (!timeline->lanes || !lane)
		abort();
	lane->vm = record->vm;
	lane->vcpu = record->vcpu;
	timeline->lanes[timeline->nr++] = lane;
	return lane;
}

/* The events with a time. */
static bool record_tsc(const struct trace_record *record, uint64_t *from, uint64_t *to)
{
	bool handled = record->event == TRACE_EXIT_HANDLED;

	*from = handled ? record->arg[4] : record->arg[0];
	*to = handled ? record->arg[5] : record->arg[0];
	return record->event <= TRACE_VCPU_STATE;
}

static int compare_lanes(const void *a, const void *b)
{
	const struct lane *left = *(struct lane *const *)a, *right = *(struct lane *const *)b;

	if (left->vm != right->vm)
		return left->vm < right->vm ? -1 : 1;
	return left->vcpu < right->vcpu ? -1 : left->vcpu > right->vcpu;
}

static void build(struct timeline *timeline, const struct trace_file *file,
		  const struct trace_options *options)
{
	uint64_t from, to;

	timeline->tsc_khz = file->header->tsc_khz;
	timeline->lost = file->header->lost;
	timeline->begin = UINT64_MAX;
	for (size_t i = 0; i < file->nr; i++) {
		if (!is_wanted(options, &file->records[i]) || !record_tsc(&file->records[i], &from, &to))
			continue;
		timeline->begin = from < timeline->begin ? from : timeline->begin;
		timeline->end = to > timeline->end ? to : timeline->end;
	}
	if (timeline->begin >= timeline->end)
		timeline->begin = timeline->end ? timeline->end - 1 : 0;
	for (size_t i = 0; i < file->nr; i++)
		if (is_wanted(options, &file->records[i]) && record_tsc(&file->records[i], &from, &to))
			take(timeline, lane_of(timeline, &file->records[i]), &file->records[i]);
	for (size_t i = 0; i < timeline->nr; i++)
		finish(timeline, timeline->lanes[i]);
	if (timeline->nr)
		qsort(timeline->lanes, timeline->nr, sizeof(*timeline->lanes), compare_lanes);
}

/* ---- SVG --------------------------------------------------------------------------- */

static double share(const struct timeline *timeline, const struct lane *lane, int bin, int state)
{
	double share = lane->ticks[bin][state] / bin_ticks(timeline);

	return share > 1 ? 1 : share;
}

/* The height above which a state's part of a column ends, in pixels from the lane's bottom. */
static double stack(const struct timeline *timeline, const struct lane *lane, int bin, int state)
{
	double sum = 0;

	for (int i = 0; i <= state; i++)
		sum += share(timeline, lane, bin, i);
	return (sum > 1 ? 1 : sum) * LANE;
}

/* One state of a lane: its upper edge from left to right, the edge below it back. */
static void draw_state(FILE *out, const struct timeline *timeline, const struct lane *lane, int y, int state)
{
	fprintf(out, "<path fill=\"%s\" d=\"M%d %d", states[state].colour, LEFT, y + LANE);
	for (int bin = 0; bin < BINS; bin++)
		fprintf(out, "V%.1fh1", y + LANE - stack(timeline, lane, bin, state));
	for (int bin = BINS - 1; bin >= 0; bin--)
		fprintf(out, "V%.1fh-1",
			y + LANE - (state ? stack(timeline, lane, bin, state - 1) : 0));
	fprintf(out, "Z\"/>\n");
}

static uint64_t busiest(const struct lane *lane)
{
	uint64_t most = 1;

	for (int bin = 0; bin < BINS; bin++)
		most = lane->exits[bin] > most ? lane->exits[bin] : most;
	return most;
}

static void draw_rate(FILE *out, const struct timeline *timeline, const struct lane *lane, int y)
{
	double seconds = ticks_ns(timeline->tsc_khz, bin_ticks(timeline)) / 1e9;
	uint64_t most = busiest(lane);

	fprintf(out, "<path fill=\"#8a6fb0\" d=\"M%d %d", LEFT, y + RATE);
	for (int bin = 0; bin < BINS; bin++)
		fprintf(out, "V%.1fh1", y + RATE - (double)lane->exits[bin] / most * RATE);
	fprintf(out, "V%dZ\"/>\n<text x=\"%d\" y=\"%d\" text-anchor=\"end\" fill=\"#666\" font-size=\"10\">",
		y + RATE, LEFT - 8, y + 10);
	if (seconds > 0)
		fprintf(out, most / seconds >= 1e4 ? "%.0fk/s" : "%.0f/s",
			most / seconds >= 1e4 ? most / seconds / 1e3 : most / seconds);
	fprintf(out, "</text>\n<text x=\"%d\" y=\"%d\" text-anchor=\"end\" fill=\"#666\" font-size=\"10\">"
		"exits</text>\n", LEFT - 8, y + RATE - 4);
}

static void draw_tooltips(FILE *out, const struct timeline *timeline, const struct lane *lane, int y)
{
	char text[32];

	for (int first = 0; first < BINS; first += TOOLTIP) {
		double sum[NR_STATES] = { 0 };
		uint64_t exits = 0;

		for (int bin = first; bin < first + TOOLTIP; bin++) {
			exits += lane->exits[bin];
			for (int state = 0; state < NR_STATES; state++)
				sum[state] += 100 * share(timeline, lane, bin, state) / TOOLTIP;
		}
		format_ns(text, sizeof(text), ticks_ns(timeline->tsc_khz, first * bin_ticks(timeline)));
		fprintf(out, "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" fill=\"#fff\""
			" fill-opacity=\"0\"><title>%s: ", LEFT + first, y, TOOLTIP, LANE + RATE + 4, text);
		for (int state = 0; state < NR_STATES; state++)
			fprintf(out, "%s %.1f%%, ", states[state].name, sum[state]);
		fprintf(out, "%" PRIu64 " exits</title></rect>\n", exits);
	}
}

static void draw_lane(FILE *out, const struct timeline *timeline, const struct lane *lane, int y)
{
	fprintf(out, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">vCPU %u</text>\n"
		"<text x=\"%d\" y=\"%d\" text-anchor=\"end\" fill=\"#666\" font-size=\"10\">VM %u</text>\n"
		"<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" fill=\"#f7f7f7\"/>\n",
		LEFT - 8, y + 14, lane->vcpu, LEFT - 8, y + 28, lane->vm, LEFT, y, BINS, LANE);
	for (int state = 0; state < NR_STATES; state++)
		draw_state(out, timeline, lane, y, state);
	draw_rate(out, timeline, lane, y + LANE + 4);
	draw_tooltips(out, timeline, lane, y);
}

/* 1, 2 or 5 times a power of ten, so that there are five to twelve of them. */
static double nice_step(double ns)
{
	double step = 1;

	/* By hand: Bochs' AMD CPU miscalculates pow() by FMA4. */
	while (ns >= 50 * step)
		step *= 10;
	return ns / step > 25 ? 5 * step : ns / step > 10 ? 2 * step : step;
}

static void draw_axis(FILE *out, const struct timeline *timeline, int bottom)
{
	double ns = ticks_ns(timeline->tsc_khz, timeline->end - timeline->begin), step = nice_step(ns);
	char text[32];

	for (int i = 0; i * step <= ns; i++) {
		double x = LEFT + i * step / ns * BINS;

		format_ns(text, sizeof(text), i * step);
		fprintf(out, "<path stroke=\"#000\" stroke-opacity=\"0.12\" d=\"M%.1f %dV%d\"/>"
			"<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\" fill=\"#444\">%s</text>\n",
			x, TOP - 6, bottom, x, bottom + 16, i ? text : "0");
	}
}

/* With the share of each state in the time of all vCPUs. */
static void draw_legend(FILE *out, const struct timeline *timeline)
{
	double all = (double)(timeline->end - timeline->begin) * timeline->nr;
	int x = LEFT;

	for (int state = 0; state < NR_STATES; state++) {
		double sum = 0;

		for (size_t i = 0; i < timeline->nr; i++)
			sum += timeline->lanes[i]->sum[state];
		fprintf(out, "<rect x=\"%d\" y=\"36\" width=\"12\" height=\"12\" fill=\"%s\"/>"
			"<text x=\"%d\" y=\"46\">%s %.1f%%</text>\n", x, states[state].colour, x + 17,
			states[state].name, all ? 100 * sum / all : 0);
		x += 150;
	}
	fprintf(out, "<rect x=\"%d\" y=\"36\" width=\"12\" height=\"12\" fill=\"#8a6fb0\"/>"
		"<text x=\"%d\" y=\"46\">exits</text>\n", x, x + 17);
}

static void print_svg(FILE *out, const struct timeline *timeline)
{
	int bottom = TOP + (int)timeline->nr * (LANE + RATE + 4 + GAP) - GAP + 4;
	int width = LEFT + BINS + RIGHT, height = bottom + 32;
	uint64_t exits = 0;
	char text[32];

	for (size_t i = 0; i < timeline->nr; i++)
		exits += timeline->lanes[i]->count;
	format_ns(text, sizeof(text), ticks_ns(timeline->tsc_khz, timeline->end - timeline->begin));
	fprintf(out, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\""
		" font-family=\"sans-serif\" font-size=\"12\">\n"
		"<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n"
		"<text x=\"%d\" y=\"22\" font-size=\"15\">Where the time of each vCPU goes</text>\n"
		"<text x=\"%d\" y=\"22\" text-anchor=\"end\" fill=\"#555\">"
		"%s, %" PRIu64 " exits, %" PRIu64 " events lost</text>\n",
		width, height, width, height, LEFT, LEFT + BINS, text, exits, timeline->lost);
	draw_legend(out, timeline);
	for (size_t i = 0; i < timeline->nr; i++)
		draw_lane(out, timeline, timeline->lanes[i], TOP + (int)i * (LANE + RATE + 4 + GAP));
	if (timeline->nr)
		draw_axis(out, timeline, bottom);
	fprintf(out, "</svg>\n");
}

/* ---- JSON ----------------------------------------------------------------------------- */

static struct json_object *lane_json(const struct timeline *timeline, const struct lane *lane)
{
	static const char *const keys[NR_STATES] = { "guest", "user", "kernel", "halted" };
	struct json_object *object = json_object_new_object(), *bins = json_object_new_array();

	json_object_object_add(object, "vm", json_object_new_uint64(lane->vm));
	json_object_object_add(object, "vcpu", json_object_new_uint64(lane->vcpu));
	json_object_object_add(object, "exits", json_object_new_uint64(lane->count));
	for (int state = 0; state < NR_STATES; state++) {
		char key[32];

		snprintf(key, sizeof(key), "%s_ns", keys[state]);
		add_ns(object, key, ticks_ns(timeline->tsc_khz, lane->sum[state]));
	}
	for (int bin = 0; bin < BINS; bin++) {
		struct json_object *entry = json_object_new_object();

		for (int state = 0; state < NR_STATES; state++)
			json_object_object_add(entry, keys[state],
					       json_object_new_double(share(timeline, lane, bin, state)));
		json_object_object_add(entry, "exits", json_object_new_uint64(lane->exits[bin]));
		json_object_array_add(bins, entry);
	}
	json_object_object_add(object, "bins", bins);
	return object;
}

static struct json_object *timeline_json(const struct timeline *timeline)
{
	struct json_object *root = json_object_new_object(), *lanes = json_object_new_array();

	for (size_t i = 0; i < timeline->nr; i++)
		json_object_array_add(lanes, lane_json(timeline, timeline->lanes[i]));
	add_ns(root, "bin_ns", ticks_ns(timeline->tsc_khz, 1) * bin_ticks(timeline));
	json_object_object_add(root, "lost", json_object_new_uint64(timeline->lost));
	json_object_object_add(root, "vcpus", lanes);
	return root;
}

/* All while it is built. */
static void print_chrome(FILE *out, struct timeline *timeline, const struct trace_file *file,
			 const struct trace_options *options)
{
	struct chrome chrome = { .out = out, .tsc_khz = file->header->tsc_khz };

	timeline->chrome = &chrome;
	chrome_begin(&chrome);
	build(timeline, file, options);
	for (size_t i = 0; i < timeline->nr; i++)
		chrome_track(&chrome, timeline->lanes[i]->vm, timeline->lanes[i]->vcpu);
	chrome_end(&chrome);
}

int timeline_command(const struct trace_options *options)
{
	struct timeline timeline = { 0 };
	struct trace_file file;
	int err = trace_file_open(&file, options);
	FILE *out;

	if (err)
		return err;
	out = output_open(options);
	if (out && options->format == FORMAT_CHROME)
		print_chrome(out, &timeline, &file, options);
	else if (out)
		build(&timeline, &file, options);
	trace_file_close(&file);
	if (out && options->json)
		output_json(out, timeline_json(&timeline));
	else if (out && options->format != FORMAT_CHROME)
		print_svg(out, &timeline);
	for (size_t i = 0; i < timeline.nr; i++) {
		free(timeline.lanes[i]->turns);
		free(timeline.lanes[i]);
	}
	free(timeline.lanes);
	return out ? output_close(options, out) : EXIT_PROBLEM;
}
