// SPDX-License-Identifier: GPL-2.0
/* Slices of time as Chrome's trace events, for Perfetto and chrome://tracing. */
#include <json-c/json.h>

#include "tool.h"

void chrome_begin(struct chrome *chrome)
{
	fputs("{\"displayTimeUnit\":\"ns\",\"traceEvents\":[", chrome->out);
}

static void begin_event(struct chrome *chrome, char kind, uint32_t vm, uint16_t vcpu)
{
	/* Perfetto has no use for a process or a thread 0, and wants threads to differ. */
	fprintf(chrome->out, "%s\n{\"ph\":\"%c\",\"pid\":%llu,\"tid\":%llu",
		chrome->has_events ? "," : "", kind, vm + 1ull, (vm + 1ull) << 10 | vcpu);
	chrome->has_events = true;
}

void chrome_track(struct chrome *chrome, uint32_t vm, uint16_t vcpu)
{
	begin_event(chrome, 'M', vm, vcpu);
	fprintf(chrome->out, ",\"name\":\"process_name\",\"args\":{\"name\":\"VM %u\"}}", vm);
	begin_event(chrome, 'M', vm, vcpu);
	fprintf(chrome->out, ",\"name\":\"thread_name\",\"args\":{\"name\":\"vCPU %u\"}}", vcpu);
}

/* Times are in us there; three more digits are ns. */
void chrome_slice(struct chrome *chrome, uint32_t vm, uint16_t vcpu, const char *name, uint64_t from,
		  uint64_t to)
{
	struct json_object *text = json_object_new_string(name);

	begin_event(chrome, 'X', vm, vcpu);
	fprintf(chrome->out, ",\"ts\":%.3f,\"dur\":%.3f,\"name\":%s}", ticks_ns(chrome->tsc_khz, from) / 1000,
		ticks_ns(chrome->tsc_khz, to - from) / 1000, json_object_to_json_string(text));
	json_object_put(text);
}

void chrome_end(struct chrome *chrome)
{
	fputs("\n]}\n", chrome->out);
}
