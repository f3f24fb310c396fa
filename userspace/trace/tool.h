/* SPDX-License-Identifier: GPL-2.0 */
/*
 * mote trace, policy and watch: what their commands share.  trace.c, policy.c and watch.c read command lines;
 * session.c has what lasts while the kernel is traced; table.c shows histograms, wherever they are from;
 * file.c reads what record.c has written.
 */
#ifndef TOOL_H
#define TOOL_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "event.h"

/* How a result looks, beside what is each command's own way. */
enum trace_format {
	FORMAT_USUAL, FORMAT_TABLE, FORMAT_SVG, FORMAT_FOLDED, FORMAT_CHROME, FORMAT_SAMPLES, NR_FORMATS
};

/**
 * struct trace_options - the command line
 * @command: of `mote trace`, for messages
 * @filter: which vCPUs, and what the table's rows are by
 * @duration: seconds; 0: until the end of the command, or SIGINT
 * @interval: seconds between two tables of top
 * @rounds: how many tables; 0: no end
 * @json: instead of text, or of a picture
 * @histogram: show them
 * @events: report: list events
 * @details: record: all events, not only those that tell where time goes
 * @by_count: flame: widths are numbers of exits, not time
 * @idle: flame: with HLT
 * @stacks: flame: not of a file, but now, with call chains
 * @format: how the result looks
 * @frequency: profile: so many samples a second; 0: as often as the host's own timer ticks
 * @machine: only of the machine of this name, or NULL
 * @output: a file; NULL: standard output
 * @input: a file that record has written
 * @symbols: a guest's System.map or ELF image
 * @wanted: watch: a name in there, or NULL
 * @offset: what its addresses were moved by
 * @words: the command that is run and traced; NULL: none
 */
struct trace_options {
	const char *command;
	struct trace_filter filter;
	double duration;
	double interval;
	unsigned int rounds;
	bool json;
	bool histogram;
	bool events;
	bool details;
	bool by_count;
	bool idle;
	bool stacks;
	enum trace_format format;
	unsigned int frequency;
	const char *machine;
	const char *output;
	const char *input;
	const char *symbols;
	const char *wanted;
	uint64_t offset;
	char **words;
};

/* The command line without its first word. Return: the exit status. */
int trace_run(int argc, char **argv);
/* The same of mote policy (policy.c), and of mote watch (watch.c). */
int policy_run(int argc, char **argv);
int watch_run(int argc, char **argv);
/* A whole number, decimal or with 0x, of at most that; else false (trace.c). */
bool parse_number(const char *text, uint64_t most, uint64_t *number);

int latency_command(const struct trace_options *options);
int top_command(const struct trace_options *options);
int record_command(const struct trace_options *options);
int report_command(const struct trace_options *options);
int flame_command(const struct trace_options *options);
int timeline_command(const struct trace_options *options);
/* Also flame, with options->stacks. */
int profile_command(const struct trace_options *options);

/* ---- session.c --------------------------------------------------------------- */

struct bpf_object;
struct bpf_object_skeleton;

/**
 * struct session - the kernel is being traced
 * @tsc_khz: ticks in a millisecond
 * @start: when it began, ns of CLOCK_MONOTONIC
 * @end: when it ended
 * @skeleton: of the programs
 * @stats: a descriptor; while it is open the kernel takes the programs' time
 * @child: the command, or 0
 * @gate: closed when it may begin
 * @status: what to exit with
 */
struct session {
	uint32_t tsc_khz;
	uint64_t start;
	uint64_t end;
	const struct bpf_object_skeleton *skeleton;
	int stats;
	pid_t child;
	int gate;
	int status;
};

/* What the tool itself costs: of @runs of its programs, in ns. */
struct overhead {
	uint64_t runs;
	uint64_t ns;
};

/* Say in one line why BPF or the module cannot be had; EXIT_PROBLEM. */
int session_problem(const struct trace_options *options, int err);

/* Is everything there?  Fills @tsc_khz; 0 or an exit status. */
int session_init(struct session *session, const struct trace_options *options);

/*
 * Start the command, if there is one, which waits until the gate is opened: nothing of it is missed; and hear
 * signals from now on.  0 or -errno.
 */
int session_spawn(struct session *session, char **words);
int session_open_gate(struct session *session);

/* Attach the loaded programs and let the command begin: 0 or an exit status. */
int session_start(struct session *session, const struct trace_options *options,
		  struct bpf_object_skeleton *skeleton);

/* May it go on?  Looks at signals, the command and the time; also ends what is to be short. */
bool session_goes_on(struct session *session, const struct trace_options *options);

/* Detach what there is, end the command and wait for it; @end is set. */
void session_stop(struct session *session, struct bpf_object_skeleton *skeleton);

void session_overhead(const struct session *session, struct overhead *overhead);
uint64_t now_ns(void);

/* ---- table.c ----------------------------------------------------------------- */

/* One row: a key and its histogram, of all CPUs. */
struct row {
	struct trace_key key;
	struct trace_latency latency;
};

/**
 * struct table - histograms to show
 * @rows: sorted by what they took in sum, the most first, after table_sort()
 * @nr: of them
 * @room: allocated
 * @index: twice as many row numbers + 1, by a hash of the key, until table_sort(); 0: free
 * @tsc_khz: ticks in a millisecond
 * @seconds: that it covers
 * @lost: exits that are not in it
 * @overhead: of the tool; zero where there is none
 */
struct table {
	struct row *rows;
	size_t nr;
	size_t room;
	uint32_t *index;
	uint32_t tsc_khz;
	double seconds;
	uint64_t lost;
	struct overhead overhead;
};

/* The row of a key, a new one if there is none; never NULL. */
struct row *table_row(struct table *table, const struct trace_key *key);
void table_add(struct table *table, const struct trace_key *key, uint64_t ticks);
void table_sort(struct table *table);
void table_print(const struct table *table, const struct trace_options *options, FILE *out);
struct json_object *table_json(const struct table *table, const struct trace_options *options);
void table_free(struct table *table);
/* A member of a JSON object. */
void add_ns(struct json_object *object, const char *key, double ns);

const char *where_name(unsigned int where);
double ticks_ns(uint32_t tsc_khz, uint64_t ticks);
/* "1.23 us" and the like: at most 9 characters. */
void format_ns(char *text, size_t size, double ns);

/* ---- file.c ------------------------------------------------------------------ */

#define TRACE_MAGIC "motetrce"
#define TRACE_FILE_VERSION 1

/* Begins a file; records follow to its end, in the machine's byte order. */
struct trace_header {
	char magic[8];
	uint32_t version;	/* TRACE_FILE_VERSION */
	uint32_t tsc_khz;
	uint64_t lost;		/* records that are not there */
	uint64_t ns;		/* how long it took */
	uint64_t records;
};

/**
 * struct trace_file - a file in memory
 * @header: its beginning
 * @records: the rest
 * @nr: of them
 * @size: of the mapping
 */
struct trace_file {
	const struct trace_header *header;
	const struct trace_record *records;
	size_t nr;
	size_t size;
};

/* Open options->input: 0 or an exit status, with a message. */
int trace_file_open(struct trace_file *file, const struct trace_options *options);
void trace_file_close(struct trace_file *file);
const char *event_name(unsigned int event);

/* Does the filter want this one? */
bool is_wanted(const struct trace_options *options, const struct trace_record *record);

/* ---- output ------------------------------------------------------------------ */

/* Where the result goes; NULL after a message. */
FILE *output_open(const struct trace_options *options);
/* 0 or an exit status, with a message. */
int output_close(const struct trace_options *options, FILE *out);
void output_json(FILE *out, struct json_object *value);
/* Text in SVG. */
void print_escaped(FILE *out, const char *text);

/* ---- tree.c ------------------------------------------------------------------ */

/**
 * struct node - one of a tree: a name, and what is below it
 * @name: of it
 * @parent: NULL: it is the root
 * @weight: ticks, or a number; with those of its children
 * @count: how often; likewise
 * @children: allocated
 * @nr: of them
 * @room: for so many
 */
struct node {
	char name[128];
	struct node *parent;
	uint64_t weight;
	uint64_t count;
	struct node **children;
	size_t nr;
	size_t room;
};

/* What is said of a tree. */
struct picture {
	const char *title;
	const char *unit;	/* what is counted */
	const char *note;	/* behind the numbers */
	const char *lost_unit;
	uint64_t lost;
	bool by_count;		/* weights are numbers, not ticks */
	uint32_t tsc_khz;
};

/* The child of this name; a new one if there is none. */
struct node *node_child(struct node *node, const char *name);
/* All below the root. */
void tree_free(struct node *root);
/* A flame graph; a line for each node with what its children have not; an object. */
void tree_svg(FILE *out, struct node *root, const struct picture *picture);
void tree_folded(FILE *out, struct node *root, const struct picture *picture);
void tree_json(FILE *out, struct node *root, const struct picture *picture);

/* ---- chrome.c ------------------------------------------------------------------ */

/* Chrome's trace events, which Perfetto reads: slices of time, ticks of the TSC, of vCPUs. */
struct chrome {
	FILE *out;
	uint32_t tsc_khz;
	bool has_events;
};

void chrome_begin(struct chrome *chrome);
/* What a vCPU is called: once for each. */
void chrome_track(struct chrome *chrome, uint32_t vm, uint16_t vcpu);
void chrome_slice(struct chrome *chrome, uint32_t vm, uint16_t vcpu, const char *name, uint64_t from,
		  uint64_t to);
void chrome_end(struct chrome *chrome);

/* ---- symbols.c --------------------------------------------------------------- */

struct symbols;

/* Places that are no functions, but wanted by their names; from MARKER_TEXT on VMCOREINFO has them, too. */
enum marker {
	MARKER_ORC_IPS, MARKER_ORC_IPS_END, MARKER_ORC, MARKER_BTF, MARKER_BTF_END, MARKER_MODULES,
	MARKER_TEXT, MARKER_UTS, MARKER_NAMES, NR_MARKERS
};

/* NULL after a message; of no file: an empty set. */
struct symbols *symbols_open(const struct trace_options *options);
void symbols_close(struct symbols *symbols);
/* The function that an address is in and where that begins; false: none known. */
bool symbols_find(const struct symbols *symbols, uint64_t rip, const char **name, uint64_t *start);
/* Where what @options->wanted names is; its size, 0: not known. False: it is not there. */
bool symbols_wanted(const struct symbols *symbols, uint64_t *start, uint64_t *size);

/* By hand: an empty set, one more with its type as nm says it, and ready for finding. */
struct symbols *symbols_new(void);
void symbols_add(struct symbols *symbols, char type, uint64_t start, const char *name);
void symbols_sort(struct symbols *symbols);
/* 0: it is not there. */
uint64_t symbols_marker(const struct symbols *symbols, enum marker marker);
/*
 * Those of a file, where the kernel that says @info (VMCOREINFO) has put itself; 0, or an exit status after a
 * message: it is of another kernel, by its build id, or by its addresses where it has none.
 */
int symbols_read_of(struct symbols *symbols, const char *path, const char *info);

#endif /* TOOL_H */
