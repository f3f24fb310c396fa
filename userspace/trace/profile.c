// SPDX-License-Identifier: GPL-2.0
/*
 * mote trace profile, and flame --stacks: what a guest does, by its call chains at exits.  Samples come
 * from the kernel with copies of the stack; as soon as the guest's kernel says what it is they become chains,
 * those that came before, too.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <linux/perf_event.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "client.h"
#include "guest.h"
#include "libmote.h"
#include "runner.h"
#include "tool.h"
#include "unwind.h"

#include "sample.skel.h"

/* Samples that wait for a kernel to say what it is: so many bytes of them. */
#define WAITING_MOST (128u << 20)
/* A kernel is looked for at most a tenth of the time. */
#define LOOK_LEAST_NS 100000000ull
/* A sample stands for the time to the next one, if that is not longer. */
#define SAMPLE_MOST_MS 10

/**
 * struct hit - a sample
 * @guest: whose it is
 * @sample: as it came, until it is a chain; else NULL
 * @node: the end of its chain
 * @tsc: when it was
 * @ticks: how long the exit took; 0: not known
 * @reason: of the exit
 * @vm: ids
 * @vcpu: likewise
 */
struct hit {
	struct guest *guest;
	struct trace_sample *sample;
	struct node *node;
	uint64_t tsc;
	uint64_t ticks;
	uint32_t reason;
	uint32_t vm;
	uint16_t vcpu;
};

/**
 * struct profile - what there is to know
 * @options: the command line
 * @session: the kernel that is traced
 * @bpf: the program
 * @ring: its samples
 * @names: of options->symbols, as they are in the file, for guests without a kernel that says what it is
 * @guests: those that were seen, by their processes
 * @nr_guests: how many
 * @hits: the samples, as they came
 * @nr: how many
 * @room: for so many
 * @first_waiting: before it all are chains
 * @waiting: bytes that samples take that are none yet
 * @next_look: when a kernel is looked for again
 * @nr_whole: chains that go to their end
 * @root: of all chains
 * @out: options->format FORMAT_SAMPLES: chains go there at once
 * @status: an exit status after a message: it cannot go on
 */
struct profile {
	const struct trace_options *options;
	struct session session;
	struct sample_bpf *bpf;
	struct ring_buffer *ring;
	struct symbols *names;
	struct guest **guests;
	size_t nr_guests;
	struct hit *hits;
	size_t nr;
	size_t room;
	size_t first_waiting;
	size_t waiting;
	uint64_t next_look;
	uint64_t nr_whole;
	struct node root;
	FILE *out;
	int status;
};

static void *grown(void *list, size_t nr, size_t *room, size_t size)
{
	if (nr < *room)
		return list;
	*room = *room ? 2 * *room : 256;
	list = realloc(list, *room * size);
	if (!list)
		abort();
	return list;
}

/* ---- guests ------------------------------------------------------------------------------ */

static void add_guest(struct profile *profile, struct guest *guest)
{
	__u32 pid = guest->pid;

	profile->guests = realloc(profile->guests, (profile->nr_guests + 1) * sizeof(*profile->guests));
	if (!profile->guests)
		abort();
	profile->guests[profile->nr_guests++] = guest;
	if (guest->name[0])
		bpf_map_update_elem(bpf_map__fd(profile->bpf->maps.memories), &pid, guest->slot, BPF_ANY);
	else
		complain("trace %s: process %u has no machine of mote run of this user: its chains are "
			 "of one function", profile->options->command, pid);
}

static struct guest *guest_of(struct profile *profile, pid_t pid)
{
	struct guest *guest;

	for (size_t i = 0; i < profile->nr_guests; i++)
		if (profile->guests[i]->pid == pid)
			return profile->guests[i];
	guest = guest_find(pid);
	if (!guest)
		abort();
	add_guest(profile, guest);
	return guest;
}

/* Nothing more will be found out. */
static void give_up(struct profile *profile, struct guest *guest, int err)
{
	if (err == -EPERM || err == -EACCES)
		complain("trace %s: the memory of %s cannot be read (CAP_SYS_PTRACE)",
			 profile->options->command, guest->name);
	guest->symbols = guest->symbols ? guest->symbols : symbols_new();
}

/* A guest with a kernel, or without one for good, has symbols, maybe none. */
static void look_for_kernel(struct profile *profile, struct guest *guest)
{
	int err = guest->name[0] ? guest_find_info(guest) : -ENXIO;

	if (!err)
		profile->status = guest_load_kernel(guest, profile->options->symbols);
	else if (err != -ENOENT)
		give_up(profile, guest, err);
}

static void look_for_kernels(struct profile *profile)
{
	uint64_t before = now_ns(), took;

	if (before < profile->next_look)
		return;
	for (size_t i = 0; i < profile->nr_guests && !profile->status; i++)
		if (!profile->guests[i]->symbols)
			look_for_kernel(profile, profile->guests[i]);
	took = now_ns() - before;
	profile->next_look = before + (took * 10 > LOOK_LEAST_NS ? took * 10 : LOOK_LEAST_NS);
}

/* ---- chains --------------------------------------------------------------------------------- */

#define KERNEL_HALF (1ull << 63)

static bool is_covered(const struct guest *guest, uint64_t ip)
{
	const struct orc_table *table;

	return (guest->nr_tables && orc_reaches(&guest->tables[0], ip)) ||
	       orc_find(guest->tables, guest->nr_tables, ip, &table);
}

/* Code of the kernel's that no table has: a module that has come since. */
static bool is_strange(const struct guest *guest, const struct chain *chain)
{
	for (size_t i = 0; i < chain->nr; i++)
		if (!chain->frames[i].is_user && chain->frames[i].ip & KERNEL_HALF &&
		    !is_covered(guest, chain->frames[i].ip - chain->frames[i].is_call))
			return true;
	return false;
}

static void name_frame(const struct profile *profile, const struct guest *guest, const struct frame *frame,
		       char *text, size_t size)
{
	const struct symbols *symbols = guest->info[0] ? guest->symbols : profile->names;
	uint64_t ip = frame->ip - frame->is_call, start;
	const char *name;

	/* Beside the last of the kernel's functions a module's begin. */
	if (symbols_find(symbols, ip, &name, &start) && !(guest->nr_tables && !is_covered(guest, ip)))
		snprintf(text, size, "%s", name);
	else if (frame->is_user || guest->info[0])
		snprintf(text, size, frame->is_user ? "[user]" : "[unknown]");
	else
		snprintf(text, size, "0x%" PRIx64, frame->ip);
}

/* As perf script shows it. */
static void print_sample(const struct profile *profile, const struct hit *hit, const struct chain *chain)
{
	char name[sizeof(profile->root.name)];

	fprintf(profile->out, "vm %u vcpu %u tsc %" PRIu64 " %s%s\n", hit->vm, hit->vcpu, hit->tsc,
		mote_exit_name(hit->reason), chain->is_whole ? "" : " cut");
	for (size_t i = 0; i < chain->nr; i++) {
		name_frame(profile, hit->guest, &chain->frames[i], name, sizeof(name));
		fprintf(profile->out, "\t%016" PRIx64 " %s\n", chain->frames[i].ip, name);
	}
	fputc('\n', profile->out);
}

/* From the outermost function on; flame has the exit's reason below. */
static void plant(struct profile *profile, struct hit *hit, const struct chain *chain)
{
	struct node *node = &profile->root;
	char name[sizeof(node->name)], below[sizeof(node->name)] = "";

	if (profile->options->stacks)
		node = node_child(node, mote_exit_name(hit->reason));
	for (size_t i = chain->nr; i-- > 0;) {
		name_frame(profile, hit->guest, &chain->frames[i], name, sizeof(name));
		/* What has no name is one. */
		if (name[0] != '[' || strcmp(name, below))
			node = node_child(node, name);
		strcpy(below, name);
	}
	hit->node = node;
}

static void resolve(struct profile *profile, struct hit *hit, bool *has_looked)
{
	struct guest *guest = hit->guest;
	struct chain chain;

	unwind(hit->sample, guest->tables, guest->nr_tables, &chain);
	if (guest->info[0] && !*has_looked && is_strange(guest, &chain)) {
		*has_looked = true;
		if (guest_load_modules(guest))
			unwind(hit->sample, guest->tables, guest->nr_tables, &chain);
	}
	free(hit->sample);
	hit->sample = NULL;
	plant(profile, hit, &chain);
	profile->nr_whole += chain.is_whole;
	if (profile->options->format == FORMAT_SAMPLES)
		print_sample(profile, hit, &chain);
}

/* Those whose guests' kernels are known, in the order in which they came; @all: the others, too. */
static void resolve_waiting(struct profile *profile, bool all)
{
	bool has_looked = false;

	while (profile->first_waiting < profile->nr) {
		struct hit *hit = &profile->hits[profile->first_waiting];

		if (!hit->guest->symbols && !all && profile->waiting < WAITING_MOST)
			break;
		profile->waiting -= offsetof(struct trace_sample, stack) + hit->sample->span[0].size +
				    hit->sample->span[1].size;
		resolve(profile, hit, &has_looked);
		profile->first_waiting++;
	}
}

/* ---- what comes from the kernel --------------------------------------------------------------- */

static void take_sample(struct profile *profile, const struct trace_sample *sample, size_t size)
{
	struct hit *hit;

	if (size != offsetof(struct trace_sample, stack) + sample->span[0].size + sample->span[1].size)
		return;
	profile->hits = grown(profile->hits, profile->nr, &profile->room, sizeof(*profile->hits));
	hit = &profile->hits[profile->nr++];
	*hit = (struct hit) {
		.guest = guest_of(profile, sample->pid), .sample = malloc(size), .tsc = sample->tsc,
		.reason = sample->reason, .vm = sample->vm, .vcpu = sample->vcpu,
	};
	if (!hit->sample)
		abort();
	memcpy(hit->sample, sample, size);
	profile->waiting += size;
}

/* The exit of the vCPU's last sample, if that was one. */
static void take_handled(struct profile *profile, const struct trace_record *record)
{
	for (size_t i = profile->nr; i-- > 0;) {
		struct hit *hit = &profile->hits[i];

		if (hit->vm != record->vm || hit->vcpu != record->vcpu)
			continue;
		if (hit->tsc == record->arg[4])
			hit->ticks = record->arg[5] - record->arg[4];
		return;
	}
}

static int take(void *context, void *data, size_t size)
{
	const struct trace_record *record = data;

	if (size == sizeof(*record) && record->event == TRACE_EXIT_HANDLED)
		take_handled(context, record);
	else if (size >= offsetof(struct trace_sample, stack) && record->event == TRACE_SAMPLE)
		take_sample(context, data, size);
	return 0;
}

/* ---- what it comes to ---------------------------------------------------------------------------- */

static void weigh(struct profile *profile)
{
	bool by_count = !profile->options->stacks || profile->options->by_count;

	for (size_t i = 0; i < profile->nr; i++)
		for (struct node *node = profile->hits[i].node; node; node = node->parent) {
			node->count++;
			node->weight += by_count ? 1 : profile->hits[i].ticks;
		}
}

/* A function: what was spent in it, and with all that it has called. */
struct function {
	const char *name;
	uint64_t self;
	uint64_t total;
};

struct functions {
	struct function *list;
	size_t nr;
	size_t room;
};

/* Recursion counts once. */
static bool is_below_itself(const struct node *node)
{
	for (const struct node *above = node->parent; above; above = above->parent)
		if (!strcmp(above->name, node->name))
			return true;
	return false;
}

static void list_functions(struct functions *functions, const struct node *node)
{
	uint64_t self = node->weight;

	for (size_t i = 0; i < node->nr; i++) {
		self -= node->children[i]->weight;
		list_functions(functions, node->children[i]);
	}
	if (!node->parent)
		return;
	functions->list = grown(functions->list, functions->nr, &functions->room, sizeof(*functions->list));
	functions->list[functions->nr++] = (struct function) {
		node->name, self, is_below_itself(node) ? 0 : node->weight,
	};
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct function *)a)->name, ((const struct function *)b)->name);
}

static int by_weight(const void *a, const void *b)
{
	const struct function *left = a, *right = b;

	if (left->self != right->self)
		return left->self < right->self ? 1 : -1;
	if (left->total != right->total)
		return left->total < right->total ? 1 : -1;
	return by_name(a, b);
}

static void sum_functions(struct functions *functions, const struct node *root)
{
	size_t nr = 0;

	list_functions(functions, root);
	if (!functions->nr)
		return;
	qsort(functions->list, functions->nr, sizeof(*functions->list), by_name);
	for (size_t i = 1; i < functions->nr; i++) {
		if (by_name(&functions->list[nr], &functions->list[i])) {
			functions->list[++nr] = functions->list[i];
			continue;
		}
		functions->list[nr].self += functions->list[i].self;
		functions->list[nr].total += functions->list[i].total;
	}
	functions->nr = nr + 1;
	qsort(functions->list, functions->nr, sizeof(*functions->list), by_weight);
}

static double seconds(const struct profile *profile)
{
	return (profile->session.end - profile->session.start) / 1e9;
}

static double sample_ns(const struct profile *profile)
{
	struct overhead overhead;

	session_overhead(&profile->session, &overhead);
	return overhead.runs ? (double)overhead.ns / overhead.runs : 0;
}

static void print_table(const struct profile *profile, const struct functions *functions, FILE *out)
{
	double all = profile->root.weight ? profile->root.weight : 1;

	fprintf(out, "   SELF    TOTAL  FUNCTION\n");
	for (size_t i = 0; i < functions->nr; i++)
		fprintf(out, "%6.2f%%  %6.2f%%  %s\n", 100 * functions->list[i].self / all,
			100 * functions->list[i].total / all, functions->list[i].name);
	fprintf(out, "%zu samples in %.2f s, %" PRIu64 " of them to their end, %llu lost; "
		"mote trace itself: %.0f ns a sample\n", profile->nr, seconds(profile), profile->nr_whole,
		(unsigned long long)profile->bpf->bss->lost, sample_ns(profile));
}

static struct json_object *table_object(const struct profile *profile, const struct functions *functions)
{
	struct json_object *root = json_object_new_object(), *list = json_object_new_array();

	json_object_object_add(root, "seconds", json_object_new_double(seconds(profile)));
	json_object_object_add(root, "samples", json_object_new_uint64(profile->nr));
	json_object_object_add(root, "whole", json_object_new_uint64(profile->nr_whole));
	json_object_object_add(root, "lost", json_object_new_uint64(profile->bpf->bss->lost));
	json_object_object_add(root, "overhead_ns", json_object_new_double(sample_ns(profile)));
	for (size_t i = 0; i < functions->nr; i++) {
		struct json_object *row = json_object_new_object();

		json_object_object_add(row, "function", json_object_new_string(functions->list[i].name));
		json_object_object_add(row, "self", json_object_new_uint64(functions->list[i].self));
		json_object_object_add(row, "total", json_object_new_uint64(functions->list[i].total));
		json_object_array_add(list, row);
	}
	json_object_object_add(root, "functions", list);
	return root;
}

static void show_table(const struct profile *profile)
{
	struct functions functions = { 0 };

	sum_functions(&functions, &profile->root);
	if (profile->options->json)
		output_json(profile->out, table_object(profile, &functions));
	else
		print_table(profile, &functions, profile->out);
	free(functions.list);
}

/* ---- over time --------------------------------------------------------------------------------------- */

/* The sample of the same vCPU that follows, or NULL. */
static const struct hit *next_hit(const struct profile *profile, const struct hit *hit)
{
	for (const struct hit *next = hit + 1; next < profile->hits + profile->nr; next++)
		if (next->vm == hit->vm && next->vcpu == hit->vcpu)
			return next;
	return NULL;
}

/* Until when a sample stands for what the vCPU does. */
static uint64_t end_of(const struct profile *profile, const struct hit *hit)
{
	uint64_t most = (uint64_t)profile->session.tsc_khz * SAMPLE_MOST_MS;
	const struct hit *next = next_hit(profile, hit);

	if (profile->options->stacks)
		return hit->tsc + hit->ticks;
	return next && next->tsc - hit->tsc < most ? next->tsc : hit->tsc + most;
}

static bool is_below(const struct node *node, const struct node *above)
{
	while (above && above != node)
		above = above->parent;
	return above;
}

/* A function that goes on from sample to sample, without a gap, is one slice. */
static void slice(const struct profile *profile, struct chrome *chrome, const struct hit *hit,
		  const struct hit *before)
{
	bool follows = before && end_of(profile, before) == hit->tsc;

	for (const struct node *node = hit->node; node->parent; node = node->parent) {
		const struct hit *last = hit, *next;

		if (follows && is_below(node, before->node))
			continue;
		while ((next = next_hit(profile, last)) && end_of(profile, last) == next->tsc &&
		       is_below(node, next->node))
			last = next;
		chrome_slice(chrome, hit->vm, hit->vcpu, node->name, hit->tsc, end_of(profile, last));
	}
}

static const struct hit *hit_before(const struct profile *profile, const struct hit *hit)
{
	for (const struct hit *before = hit; before-- > profile->hits;)
		if (before->vm == hit->vm && before->vcpu == hit->vcpu)
			return before;
	return NULL;
}

static void print_chrome(const struct profile *profile)
{
	struct chrome chrome = { .out = profile->out, .tsc_khz = profile->session.tsc_khz };

	chrome_begin(&chrome);
	for (size_t i = 0; i < profile->nr; i++) {
		const struct hit *hit = &profile->hits[i], *before = hit_before(profile, hit);

		if (!before)
			chrome_track(&chrome, hit->vm, hit->vcpu);
		slice(profile, &chrome, hit, before);
	}
	chrome_end(&chrome);
}

static void show(struct profile *profile)
{
	const struct trace_options *options = profile->options;
	const struct picture picture = {
		.title = !options->stacks ? "Where the guest was: width is number of samples" :
			 options->by_count ? "Exits by reason and call chain: width is number" :
			 "Exits by reason and call chain: width is time out of the guest",
		.unit = options->stacks ? "exits" : "samples", .note = "", .lost_unit = "samples",
		.lost = profile->bpf->bss->lost, .by_count = !options->stacks || options->by_count,
		.tsc_khz = profile->session.tsc_khz,
	};
	enum trace_format format = options->format != FORMAT_USUAL ? options->format :
				   options->stacks ? FORMAT_SVG : FORMAT_TABLE;

	weigh(profile);
	snprintf(profile->root.name, sizeof(profile->root.name), "all %s", picture.unit);
	if (options->json && options->stacks)
		tree_json(profile->out, &profile->root, &picture);
	else if (format == FORMAT_SVG)
		tree_svg(profile->out, &profile->root, &picture);
	else if (format == FORMAT_FOLDED)
		tree_folded(profile->out, &profile->root, &picture);
	else if (format == FORMAT_CHROME)
		print_chrome(profile);
	else if (format == FORMAT_TABLE)
		show_table(profile);
}

/* ---- the command -------------------------------------------------------------------------------------- */

/* Exits to be sampled: by the clock, or, for a flame graph, all but the idle. */
static uint64_t usual_reasons(const struct trace_options *options)
{
	if (!options->stacks)
		return 1ull << MOTE_EXIT_INTERRUPT | 1ull << MOTE_EXIT_TIMER;
	return options->idle ? ~0ull : ~(1ull << MOTE_EXIT_HLT);
}

static int load(struct profile *profile)
{
	const struct trace_options *options = profile->options;
	struct trace_filter filter = options->filter;
	int err;

	profile->names = symbols_open(options);
	if (!profile->names)
		return EXIT_USAGE;
	err = session_init(&profile->session, options);
	if (err)
		return err;
	profile->bpf = sample_bpf__open();
	if (!profile->bpf)
		return session_problem(options, -errno);
	filter.reasons = filter.reasons ? filter.reasons : usual_reasons(options);
	profile->bpf->rodata->filter = filter;
	bpf_program__set_autoload(profile->bpf->progs.exit_handled, options->stacks);
	err = sample_bpf__load(profile->bpf);
	if (err)
		return session_problem(options, err);
	profile->ring = ring_buffer__new(bpf_map__fd(profile->bpf->maps.samples), take, profile, NULL);
	if (!profile->ring)
		return session_problem(options, -errno);
	/* What the machine that is meant has in its memory is known from its first sample on. */
	if (filter.pid)
		look_for_kernel(profile, guest_of(profile, filter.pid));
	return profile->status;
}

/* Interrupts of this frequency on all CPUs, which make exits; they are counted by nobody. */
static void tick(const struct profile *profile)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_SOFTWARE, .size = sizeof(attr), .config = PERF_COUNT_SW_CPU_CLOCK,
		.freq = 1, .sample_freq = profile->options->frequency,
	};

	for (long cpu = 0; attr.sample_freq && cpu < sysconf(_SC_NPROCESSORS_CONF); cpu++)
		syscall(SYS_perf_event_open, &attr, -1, cpu, -1, PERF_FLAG_FD_CLOEXEC);
}

static void run(struct profile *profile)
{
	while (session_goes_on(&profile->session, profile->options) && !profile->status) {
		ring_buffer__poll(profile->ring, 20);
		ring_buffer__consume(profile->ring);
		look_for_kernels(profile);
		resolve_waiting(profile, false);
	}
}

/* All that has come is made chains of, and what is not known yet of guests is looked for a last time. */
static void finish(struct profile *profile)
{
	ring_buffer__consume(profile->ring);
	profile->next_look = 0;
	look_for_kernels(profile);
	resolve_waiting(profile, true);
}

static void profile_free(struct profile *profile)
{
	for (size_t i = profile->first_waiting; i < profile->nr; i++)
		free(profile->hits[i].sample);
	for (size_t i = 0; i < profile->nr_guests; i++)
		guest_free(profile->guests[i]);
	free(profile->guests);
	free(profile->hits);
	tree_free(&profile->root);
	if (profile->names)
		symbols_close(profile->names);
	ring_buffer__free(profile->ring);
	sample_bpf__destroy(profile->bpf);
}

int profile_command(const struct trace_options *options)
{
	struct profile profile = { .options = options };
	int err = load(&profile);

	if (!err) {
		profile.out = output_open(options);
		err = profile.out ? session_start(&profile.session, options, profile.bpf->skeleton) :
				    EXIT_PROBLEM;
	}
	if (!err) {
		tick(&profile);
		run(&profile);
		/* While the guests are there. */
		finish(&profile);
	}
	if (profile.session.skeleton)
		session_stop(&profile.session, profile.bpf->skeleton);
	if (!err)
		finish(&profile);
	err = err ? err : profile.status;
	if (!err)
		show(&profile);
	if (profile.out && output_close(options, profile.out) && !err)
		err = EXIT_PROBLEM;
	profile_free(&profile);
	return err ? err : profile.session.status;
}
