// SPDX-License-Identifier: GPL-2.0
/*
 * What clients of the control socket ask for: see requests.h.  A row of the table is a request;
 * its arguments are numbers, and one may be a name; they are checked before its function sees them.
 */
#include <json-c/json.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "acpi.h"
#include "console.h"
#include "gdb.h"
#include "migrate.h"
#include "policies.h"
#include "requests.h"
#include "runner.h"
#include "step.h"
#include "tty.h"

#define ARGUMENTS_MOST 5

/**
 * struct argument - a number that a request wants, or a name, which goes to @reply->name
 * @name: its key
 * @least: it is from this
 * @most: to this; 0: it is a name
 * @is_optional: 0 if it is not there
 */
struct argument {
	const char *name;
	__u64 least;
	__u64 most;
	bool is_optional;
};

/**
 * struct request - what can be asked for
 * @name: the value of "do"
 * @arguments: what else it has
 * @handle: do it, with the values of those; returns as request_do()
 */
struct request {
	const char *name;
	struct argument arguments[ARGUMENTS_MOST];
	struct json_object *(*handle)(struct vm *vm, struct reply *reply, const __u64 *values);
};

struct json_object *json_refusal(const char *why)
{
	struct json_object *answer = json_object_new_object();

	json_add_text(answer, "error", why);
	return answer;
}

static struct json_object *refuse(const char *format, ...) __attribute__((format(printf, 1, 2)));
static struct json_object *refuse(const char *format, ...)
{
	char why[256];
	va_list args;

	va_start(args, format);
	vsnprintf(why, sizeof(why), format, args);
	va_end(args);
	return json_refusal(why);
}

/* ---- what the I/O thread does ---------------------------------------------------------- */

static bool is_done(struct vm *vm, const struct reply *reply)
{
	(void)vm;
	return __atomic_load_n(&reply->is_done, __ATOMIC_ACQUIRE);
}

static void done(struct vm *vm, struct reply *reply, int err)
{
	reply->err = err;
	__atomic_store_n(&reply->is_done, true, __ATOMIC_RELEASE);
	control_wake(vm);
}

static void let_devices(struct vm *vm, struct reply *reply, void (*run)(struct vm *vm, struct job *job))
{
	reply->is_due = is_done;
	reply->job.run = run;
	io_post(vm, &reply->job);
}

static void press_power_button(struct vm *vm, struct job *job)
{
	acpi_power_button(vm);
	done(vm, container_of(job, struct reply, job), 0);
}

static void set_memory(struct vm *vm, struct job *job)
{
	struct reply *reply = container_of(job, struct reply, job);

	done(vm, reply, balloon_leave(vm, reply->number));
}

/* ---- requests ------------------------------------------------------------------------------ */

static struct json_object *do_status(struct vm *vm, struct reply *reply, const __u64 *values)
{
	(void)reply;
	(void)values;
	return vm_status(vm);
}

static struct json_object *do_stat(struct vm *vm, struct reply *reply, const __u64 *values)
{
	(void)reply;
	(void)values;
	return vm_statistics(vm);
}

static void add_slot(struct json_object *slots, __u64 gpa, __u64 size, const unsigned char *hva)
{
	struct json_object *slot = json_object_new_object();

	json_add_number(slot, "gpa", gpa);
	json_add_number(slot, "size", size);
	json_add_number(slot, "hva", (unsigned long)hva);
	json_object_array_add(slots, slot);
}

static struct json_object *do_slots(struct vm *vm, struct reply *reply, const __u64 *values)
{
	struct json_object *answer = vm_status(vm), *slots = json_object_new_array();

	(void)reply;
	(void)values;
	add_slot(slots, 0, vm->low, vm->ram);
	if (vm->high)
		add_slot(slots, HIGH_MEMORY, vm->high, vm->ram + vm->low);
	json_object_object_add(answer, "slots", slots);
	return answer;
}

static struct json_object *do_power_button(struct vm *vm, struct reply *reply, const __u64 *values)
{
	(void)values;
	let_devices(vm, reply, press_power_button);
	return vm_status(vm);
}

static struct json_object *do_kill(struct vm *vm, struct reply *reply, const __u64 *values)
{
	(void)reply;
	(void)values;
	vm_end(vm, END_STOPPED, 0);
	return vm_status(vm);
}

/* Or it was resumed by somebody else, or is at an end. */
static bool has_paused(struct vm *vm, const struct reply *reply)
{
	(void)reply;
	return !vm->paused || vm_has_ended(vm) || vm_is_paused(vm);
}

static struct json_object *do_pause(struct vm *vm, struct reply *reply, const __u64 *values)
{
	(void)values;
	vm_pause(vm, NULL);
	if (!vm_is_paused(vm))
		reply->is_due = has_paused;
	return vm_status(vm);
}

static struct json_object *do_resume(struct vm *vm, struct reply *reply, const __u64 *values)
{
	(void)reply;
	(void)values;
	vm_resume(vm);
	return vm_status(vm);
}

/* Who has no terminal has no size. */
static struct json_object *do_terminal_size(struct vm *vm, struct reply *reply, const __u64 *values)
{
	const struct tty_size size = { .columns = values[0], .rows = values[1] };
	struct console *console = console_find(vm, reply->name);

	if (!console && reply->name)
		return refuse("the VM has no console %.64s (serial, hvc0, hvc1 ...)", reply->name);
	if (!console)
		return refuse("the VM has no console (--serial none)");
	if (size.columns && size.rows)
		console_resize(console, &size);
	return vm_status(vm);
}

static struct json_object *do_console(struct vm *vm, struct reply *reply, const __u64 *values)
{
	reply->console = console_find(vm, reply->name);
	return do_terminal_size(vm, reply, values);
}

static struct json_object *do_memory(struct vm *vm, struct reply *reply, const __u64 *values)
{
	if (!vm->options->balloon)
		return refuse("the VM has no balloon (mote run --balloon)");
	if (values[0] > vm->options->memory)
		return refuse("the VM has %lluM in all", vm->options->memory >> 20);
	reply->number = values[0];
	let_devices(vm, reply, set_memory);
	return refuse("the VM has ended");
}

/* ---- saving ------------------------------------------------------------------------------- */

static void saved(struct vm *vm, struct save *save)
{
	struct reply *reply = save->data;

	done(vm, reply, save->err);
}

static void free_save(struct reply *reply)
{
	if (reply->save)
		save_free(reply->save);
	reply->save = NULL;
}

/* A debugger's breakpoints are in the memory. */
static struct json_object *refuse_debugged(struct vm *vm)
{
	return gdb_is_attached(vm) ? refuse("the VM has a debugger (its detach lets it go)") : NULL;
}

/* Its files are @save's from now on. */
static struct json_object *save_as(struct vm *vm, struct reply *reply, const struct save *wanted,
				   void (*begin)(struct vm *vm, struct save *save))
{
	struct json_object *refusal = refuse_debugged(vm);
	struct save *save;

	if (refusal)
		return refusal;
	save = calloc(1, sizeof(*save));
	if (!save)
		return refuse("the runner has no memory");
	*save = *wanted;
	save->data = reply;
	save->done = saved;
	if (!vm_hold_for(vm, save)) {
		free(save);
		return refuse("the VM is not paused, or is being saved already");
	}
	for (unsigned int i = 0; i < REQUEST_FILES; i++)
		if (reply->files[i] == save->state_fd || reply->files[i] == save->memory_fd)
			reply->files[i] = -1;
	reply->save = save;
	reply->is_due = is_done;
	begin(vm, save);
	return refuse("the VM has ended");
}

static struct json_object *do_save(struct vm *vm, struct reply *reply, const __u64 *values)
{
	const struct save save = {
		.state_fd = reply->files[0], .memory_fd = reply->files[1], .memory.file = values[0],
	};

	if (save.state_fd < 0 || save.memory_fd < 0)
		return refuse("save wants two files, for the state and for the memory");
	return save_as(vm, reply, &save, save_begin);
}

static struct json_object *do_dump(struct vm *vm, struct reply *reply, const __u64 *values)
{
	const struct save save = { .state_fd = -1, .memory_fd = reply->files[0] };

	(void)values;
	if (save.memory_fd < 0)
		return refuse("dump wants a file");
	return save_as(vm, reply, &save, core_begin);
}

static struct json_object *save_answer(struct vm *vm, struct reply *reply)
{
	const struct save *save = reply->save;
	struct json_object *answer;

	if (save->err)
		answer = refuse("%s", state_has_failed(&save->state) ? save->state.why :
				strerror(-save->err));
	else
		answer = vm_status(vm);
	if (!save->err)
		json_add_number(answer, "saved_bytes", save->written);
	if (!save->err && save->state_fd < 0)
		json_object_object_add(answer, "vmcoreinfo", json_object_new_boolean(save->vmcoreinfo));
	free_save(reply);
	return answer;
}

/* ---- going back ---------------------------------------------------------------------------- */

static void let_go(struct vm *vm)
{
	pthread_mutex_lock(&vm->life);
	vm->holder = NULL;
	pthread_mutex_unlock(&vm->life);
}

static void reset_machine(struct vm *vm, struct job *job)
{
	struct reply *reply = container_of(job, struct reply, job);
	int err = base_reset(vm, reply->why);

	let_go(vm);
	done(vm, reply, err);
}

static struct json_object *do_reset(struct vm *vm, struct reply *reply, const __u64 *values)
{
	struct json_object *refusal = refuse_debugged(vm);

	(void)values;
	if (refusal)
		return refusal;
	if (migration_is_under_way(vm) || !vm_hold_for(vm, reply))
		return refuse("the VM is not paused, or is being saved or migrated");
	let_devices(vm, reply, reset_machine);
	return refuse("the VM has ended");
}

/* ---- migrating ---------------------------------------------------------------------------- */

static void migrated(struct vm *vm, void *data)
{
	done(vm, data, 0);
}

static struct json_object *leave(struct vm *vm, struct reply *reply, bool copies, __u64 downtime_ms)
{
	struct json_object *refusal = refuse_debugged(vm);
	int fd = reply->files[0];

	if (refusal)
		return refusal;
	if (fd < 0)
		return refuse("%s wants a connection, which goes with it", copies ? "copy" : "migrate");
	if (migration_is_under_way(vm) || vm->holder)
		return refuse("the VM is being copied, migrated or saved already");
	reply->files[0] = -1;
	reply->is_due = is_done;
	if (migration_begin(vm, fd, copies, downtime_ms * 1000000, migrated, reply)) {
		reply->waits_for = FOR_MIGRATION;
		return refuse("the VM has ended");
	}
	reply->is_due = NULL;
	return refuse("the runner has no memory");
}

static struct json_object *do_migrate(struct vm *vm, struct reply *reply, const __u64 *values)
{
	return leave(vm, reply, false, values[0]);
}

static struct json_object *do_copy(struct vm *vm, struct reply *reply, const __u64 *values)
{
	return leave(vm, reply, true, values[0]);
}

/* ---- policies ----------------------------------------------------------------------------- */

static struct json_object *do_policy_add(struct vm *vm, struct reply *reply, const __u64 *values)
{
	const char *why;

	(void)values;
	if (reply->files[0] < 0)
		return refuse("policy-add wants the link of a BPF program, which goes with it");
	why = policies_add(vm, reply->name, reply->files[0]);
	if (why)
		return refuse("%s", why);
	reply->files[0] = -1;
	return vm_status(vm);
}

static struct json_object *do_policy_remove(struct vm *vm, struct reply *reply, const __u64 *values)
{
	const char *why = policies_remove(vm, reply->name);

	(void)values;
	return why ? refuse("%s", why) : vm_status(vm);
}

/* ------------------------------------------------------------------------------------------- */

static struct json_object *migrate_answer(struct vm *vm)
{
	const char *why = migration_failure(vm);

	return why ? refuse("%s", why) : vm_status(vm);
}

/* ---- debugging ---------------------------------------------------------------------------- */

static void debugged(struct vm *vm, void *data, int err)
{
	done(vm, data, err);
}

static struct json_object *do_gdb(struct vm *vm, struct reply *reply, const __u64 *values)
{
	struct json_object *refusal = refuse_debugged(vm);
	int fd = reply->files[0];

	(void)values;
	if (refusal)
		return refusal;
	if (fd < 0)
		return refuse("gdb wants a connection, which goes with it");
	if (watch_is_any(vm))
		return refuse("the VM is watched (mote watch)");
	if (migration_is_under_way(vm) || vm->holder)
		return refuse("the VM is being copied, migrated or saved");
	reply->files[0] = -1;
	if (!gdb_begin(vm, fd, debugged, reply))
		return refuse("the runner has no memory");
	reply->waits_for = FOR_DEBUGGER;
	reply->is_due = is_done;
	return refuse("the VM has ended");
}

static bool has_exit(struct vm *vm, const struct reply *reply)
{
	(void)reply;
	return step_is_there(vm);
}

/* Whoever has asked once is the only one until he is gone. */
static struct json_object *do_step(struct vm *vm, struct reply *reply, const __u64 *values)
{
	const char *why = step_ask(vm, reply, reply->name, values[0]);

	if (why)
		return refuse("%s", why);
	reply->waits_for = FOR_EXIT;
	reply->is_due = has_exit;
	return refuse("the VM has ended");
}

/* Or it has begun anew: then once more. */
static bool stands_still(struct vm *vm, const struct reply *reply)
{
	(void)reply;
	if (!vm->paused)
		vm_stop_briefly(vm);
	return vm_is_paused(vm) && !vm_has_ended(vm);
}

static struct json_object *refuse_watch(struct vm *vm)
{
	if (migration_is_under_way(vm) || vm->holder)
		return refuse("the VM is being copied, migrated or saved");
	return refuse_debugged(vm);
}

static struct json_object *do_watch(struct vm *vm, struct reply *reply, const __u64 *values)
{
	struct json_object *refusal = refuse_watch(vm);

	if (refusal)
		return refusal;
	reply->wanted = (struct watch_wanted) {
		.address = values[0], .size = values[1], .access = values[2], .is_physical = values[3],
		.pauses = values[4],
	};
	if (reply->files[0] < 0)
		return refuse("watch wants a connection, which goes with it");
	if (reply->wanted.size - 1 > UINT64_MAX - reply->wanted.address)
		return refuse("watch: the address and the size lead beyond all memory");
	reply->watch_fd = reply->files[0];
	reply->files[0] = -1;
	reply->waits_for = FOR_WATCH;
	reply->is_due = stands_still;
	vm->nr_watching++;
	vm_stop_briefly(vm);
	return refuse("the VM has ended");
}

/* The last one lets the VM go on. */
static void leave_watch(struct vm *vm, struct reply *reply)
{
	if (reply->waits_for != FOR_WATCH)
		return;
	reply->waits_for = FOR_NOTHING;
	if (reply->watch_fd >= 0)
		close(reply->watch_fd);
	if (!--vm->nr_watching)
		vm_go_on(vm);
}

static struct json_object *watch_answer(struct vm *vm, struct reply *reply)
{
	struct json_object *refusal = refuse_watch(vm);
	const char *why;

	if (!refusal) {
		why = watch_begin(vm, &reply->wanted, reply->watch_fd);
		refusal = why ? refuse("%s", why) : NULL;
		reply->watch_fd = -1;
	}
	leave_watch(vm, reply);
	return refusal ? refusal : vm_status(vm);
}

bool request_abandon(struct vm *vm, struct reply *reply)
{
	step_leave(vm, reply);
	leave_watch(vm, reply);
	if (reply->waits_for == FOR_MIGRATION)
		migration_cancel(vm);
	if (reply->waits_for == FOR_DEBUGGER)
		gdb_cancel(vm);
	return reply->job.run || reply->save || reply->waits_for == FOR_MIGRATION ||
	       reply->waits_for == FOR_DEBUGGER;
}

static const struct request requests[] = {
	{ "status", { { 0 } }, do_status },
	{ "stat", { { 0 } }, do_stat },
	{ "slots", { { 0 } }, do_slots },
	{ "power-button", { { 0 } }, do_power_button },
	{ "kill", { { 0 } }, do_kill },
	{ "pause", { { 0 } }, do_pause },
	{ "resume", { { 0 } }, do_resume },
	{ "console", { { "columns", 1, 0xffff, true }, { "rows", 1, 0xffff, true }, { "which", 0, 0, true } },
	  do_console },
	{ "terminal-size", { { "columns", 1, 0xffff, false }, { "rows", 1, 0xffff, false },
			     { "which", 0, 0, true } }, do_terminal_size },
	{ "migrate", { { "downtime_ms", 0, 3600000, false } }, do_migrate },
	{ "copy", { { "downtime_ms", 0, 3600000, false } }, do_copy },
	{ "reset", { { 0 } }, do_reset },
	{ "gdb", { { 0 } }, do_gdb },
	{ "step", { { "skip", 1, UINT32_MAX, true }, { "reason", 0, 0, true } }, do_step },
	{ "save", { { "file", 1, INT64_MAX, false } }, do_save },
	{ "policy-add", { { "name", 0, 0, false } }, do_policy_add },
	{ "policy-remove", { { "name", 0, 0, false } }, do_policy_remove },
	{ "dump", { { 0 } }, do_dump },
	{ "watch", { { "address", 0, UINT64_MAX, false }, { "size", 1, WATCH_SIZE_MOST, false },
		     { "access", 1, MOTE_ACCESS_READ | MOTE_ACCESS_WRITE | MOTE_ACCESS_EXEC, false },
		     { "physical", 0, 1, true }, { "pause", 0, 1, true } }, do_watch },
	{ "memory", { { "size", MEMORY_LEAST, MEMORY_MOST, false } }, do_memory },
};

/* ---- a line ---------------------------------------------------------------------------------- */

static const struct request *find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(requests); i++)
		if (!strcmp(requests[i].name, name))
			return &requests[i];
	return NULL;
}

static bool is_number(struct json_object *value, __u64 least, __u64 most)
{
	return json_object_is_type(value, json_type_int) && json_object_get_int64(value) >= 0 &&
	       json_object_get_uint64(value) >= least && json_object_get_uint64(value) <= most;
}

/* NULL, or why not. */
static struct json_object *take_arguments(const struct request *request, struct json_object *line,
					  struct reply *reply, __u64 *values)
{
	for (unsigned int i = 0; i < ARGUMENTS_MOST && request->arguments[i].name; i++) {
		const struct argument *argument = &request->arguments[i];
		struct json_object *value;

		values[i] = 0;
		if (!json_object_object_get_ex(line, argument->name, &value)) {
			if (argument->is_optional)
				continue;
			return refuse("%s wants \"%s\"", request->name, argument->name);
		}
		if (!argument->most) {
			reply->name = json_object_get_string(value);
			if (!json_object_is_type(value, json_type_string))
				return refuse("%s: \"%s\" is no name", request->name, argument->name);
			continue;
		}
		if (!is_number(value, argument->least, argument->most))
			return refuse("%s: \"%s\" is no number from %llu to %llu", request->name,
				      argument->name, argument->least, argument->most);
		values[i] = json_object_get_uint64(value);
	}
	return NULL;
}

static bool has_argument(const struct request *request, const char *name)
{
	for (unsigned int i = 0; i < ARGUMENTS_MOST && request->arguments[i].name; i++)
		if (!strcmp(request->arguments[i].name, name))
			return true;
	return !strcmp(name, "do") || !strcmp(name, "version");
}

/* Who does not say a version may say more than there is. */
static struct json_object *check_names(const struct request *request, struct json_object *line)
{
	json_object_object_foreach(line, name, value) {
		(void)value;
		if (!has_argument(request, name))
			return refuse("%s has no \"%.64s\"", request->name, name);
	}
	return NULL;
}

static struct json_object *do_named(struct vm *vm, struct reply *reply, struct json_object *line,
				    const char *name)
{
	const struct request *request = find(name);
	__u64 values[ARGUMENTS_MOST];
	struct json_object *refusal;

	if (!request)
		return refuse("this is no request that the runner knows");
	refusal = reply->is_versioned ? check_names(request, line) : NULL;
	if (!refusal)
		refusal = take_arguments(request, line, reply, values);
	return refusal ? refusal : request->handle(vm, reply, values);
}

static struct json_object *do_line(struct vm *vm, struct reply *reply, struct json_object *line)
{
	struct json_object *version, *what = NULL;

	if (line && json_object_is_type(line, json_type_object))
		json_object_object_get_ex(line, "do", &what);
	if (!what || !json_object_is_type(what, json_type_string))
		return refuse("a request is one line: a JSON object with \"do\"");
	if (json_object_object_get_ex(line, "version", &version)) {
		reply->is_versioned = true;
		if (!is_number(version, CONTROL_VERSION, CONTROL_VERSION))
			return refuse("this runner knows requests of version %d alone", CONTROL_VERSION);
	}
	return do_named(vm, reply, line, json_object_get_string(what));
}

static struct json_object *seal(const struct reply *reply, struct json_object *answer)
{
	if (reply->is_versioned)
		json_add_number(answer, "version", CONTROL_VERSION);
	return answer;
}

struct json_object *request_do(struct vm *vm, const char *line, int *files, struct reply *reply)
{
	struct json_object *request = json_tokener_parse(line), *answer;

	*reply = (struct reply) { .files = files };
	answer = seal(reply, do_line(vm, reply, request));
	reply->name = NULL;
	json_object_put(request);
	return answer;
}

static struct json_object *due_answer(struct vm *vm, struct reply *reply)
{
	if (reply->save)
		return save_answer(vm, reply);
	if (reply->waits_for == FOR_MIGRATION)
		return migrate_answer(vm);
	if (reply->waits_for == FOR_EXIT)
		return step_answer(vm);
	if (reply->waits_for == FOR_WATCH)
		return watch_answer(vm, reply);
	if (!reply->err)
		return vm_status(vm);
	return refuse("%s", reply->why[0] ? reply->why : strerror(-reply->err));
}

struct json_object *request_finish(struct vm *vm, struct reply *reply)
{
	struct json_object *answer;

	if (!reply->is_due || !reply->is_due(vm, reply))
		return NULL;
	reply->is_due = NULL;
	reply->job.run = NULL;
	answer = due_answer(vm, reply);
	reply->waits_for = FOR_NOTHING;
	return seal(reply, answer);
}

void request_forget(struct vm *vm, struct reply *reply)
{
	leave_watch(vm, reply);
	reply->is_due = NULL;
	reply->job.run = NULL;
	reply->waits_for = FOR_NOTHING;
	free_save(reply);
}
