// SPDX-License-Identifier: GPL-2.0
/* mote trace record: every event into a file. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

#include "runner.h"
#include "tool.h"

#include "record.skel.h"

#define DEFAULT_FILE "mote.trace"

struct recorder {
	struct session session;
	struct record_bpf *bpf;
	struct ring_buffer *ring;
	struct trace_header header;
	FILE *file;
};

static int take(void *context, void *data, size_t size)
{
	struct recorder *recorder = context;

	recorder->header.records++;
	return fwrite(data, size, 1, recorder->file) == 1 ? 0 : -EIO;
}

/* Without details: only what tells where time goes. */
static void choose_programs(struct record_bpf *bpf, bool details)
{
	struct bpf_program *const of_details[] = {
		bpf->progs.on_exit, bpf->progs.on_pio, bpf->progs.on_mmio, bpf->progs.on_msr,
		bpf->progs.on_cpuid, bpf->progs.on_hypercall, bpf->progs.on_nested_fault,
		bpf->progs.on_inject,
	};

	for (size_t i = 0; i < ARRAY_SIZE(of_details); i++)
		bpf_program__set_autoload(of_details[i], details);
}

static int recorder_load(struct recorder *recorder, const struct trace_options *options)
{
	int err = session_init(&recorder->session, options);

	if (err)
		return err;
	recorder->bpf = record_bpf__open();
	if (!recorder->bpf)
		return session_problem(options, -errno);
	recorder->bpf->rodata->filter = options->filter;
	choose_programs(recorder->bpf, options->details);
	err = record_bpf__load(recorder->bpf);
	if (err)
		return session_problem(options, err);
	recorder->ring = ring_buffer__new(bpf_map__fd(recorder->bpf->maps.records), take, recorder, NULL);
	return recorder->ring ? EXIT_OK : session_problem(options, -errno);
}

/* The header is written twice: in the end all of it is known. */
static int write_header(struct recorder *recorder)
{
	struct trace_header *header = &recorder->header;

	memcpy(header->magic, TRACE_MAGIC, sizeof(header->magic));
	header->version = TRACE_FILE_VERSION;
	header->tsc_khz = recorder->session.tsc_khz;
	header->lost = recorder->bpf->bss->lost;
	header->ns = recorder->session.end - recorder->session.start;
	if (ftell(recorder->file) > 0)
		rewind(recorder->file);
	return fwrite(header, sizeof(*header), 1, recorder->file) == 1 ? 0 : -EIO;
}

static bool keep(struct recorder *recorder)
{
	int got = ring_buffer__poll(recorder->ring, 20);

	/* Nothing wakes the tool as long as there is little: look all the same. */
	if (got >= 0 || got == -EINTR)
		got = ring_buffer__consume(recorder->ring);
	return got >= 0 || got == -EINTR;
}

/* 0, or an exit status after a message. */
static int recorder_run(struct recorder *recorder, const struct trace_options *options, const char *path)
{
	int err = session_start(&recorder->session, options, recorder->bpf->skeleton);
	bool kept = !write_header(recorder);

	while (!err && kept && session_goes_on(&recorder->session, options))
		kept = keep(recorder);
	if (recorder->session.skeleton)
		session_stop(&recorder->session, recorder->bpf->skeleton);
	if (err)
		return err;
	kept = kept && ring_buffer__consume(recorder->ring) >= 0 && !write_header(recorder) &&
	       !fflush(recorder->file);
	if (!kept)
		complain("%s is not complete: %m", path);
	return kept ? EXIT_OK : EXIT_PROBLEM;
}

static void report(const struct recorder *recorder, const struct trace_options *options)
{
	const struct trace_header *header = &recorder->header;
	struct overhead overhead;
	double ns;

	session_overhead(&recorder->session, &overhead);
	ns = overhead.runs ? (double)overhead.ns / overhead.runs : 0;
	if (options->json) {
		struct json_object *root = json_object_new_object();

		json_object_object_add(root, "seconds", json_object_new_double(header->ns / 1e9));
		json_object_object_add(root, "records", json_object_new_uint64(header->records));
		json_object_object_add(root, "lost", json_object_new_uint64(header->lost));
		json_object_object_add(root, "overhead_ns", json_object_new_double(ns));
		print_json(root);
		return;
	}
	fprintf(stderr, "mote: %llu events in %.2f s, %llu lost\n"
		"mote: mote trace itself: %.0f ns an event, %.2f%% of the time\n",
		(unsigned long long)header->records, header->ns / 1e9, (unsigned long long)header->lost,
		ns, header->ns ? 100 * ns * header->records / header->ns : 0);
}

int record_command(const struct trace_options *options)
{
	const char *path = options->output ? options->output : DEFAULT_FILE;
	struct recorder recorder = { 0 };
	int err = recorder_load(&recorder, options);

	if (!err) {
		recorder.file = fopen(path, "we");
		if (!recorder.file) {
			complain("cannot write %s: %m", path);
			err = EXIT_PROBLEM;
		}
	}
	if (!err)
		err = recorder_run(&recorder, options, path);
	if (recorder.file)
		fclose(recorder.file);
	if (!err)
		report(&recorder, options);
	ring_buffer__free(recorder.ring);
	record_bpf__destroy(recorder.bpf);
	return err ? err : recorder.session.status;
}
