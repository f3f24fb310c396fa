// SPDX-License-Identifier: GPL-2.0
/*
 * How a VM ends, and what `mote run` says and returns then.
 *
 * The debug-exit port makes every odd exit status, as in QEMU; what mote has
 * to say is even.
 */
#include <json-c/json.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "acpi.h"
#include "requests.h"
#include "runner.h"
#include "sandbox.h"

static const struct {
	const char *name;
	int status;
} ends[] = {
	[END_POWER_OFF] = { "power-off", EXIT_OK },
	[END_RESET] = { "reset", 4 },
	[END_DEBUG_EXIT] = { "debug-exit", 1 },
	[END_TRIPLE_FAULT] = { "triple-fault", 6 },
	[END_PANIC] = { "panic", 12 },
	[END_WATCHDOG] = { "watchdog", 14 },
	[END_ERROR] = { "error", 8 },
	[END_TIMEOUT] = { "timeout", 124 },
	[END_QUIT] = { "quit", 128 + SIGINT },
	[END_SIGNAL] = { "signal", 128 },
	[END_STOPPED] = { "stopped", 10 },
	[END_MIGRATED] = { "migrated", EXIT_OK },
};

/* Those who are outside do not wait until the guest's last words are read. */
static bool comes_from_outside(enum ending end)
{
	return end == END_TIMEOUT || end == END_QUIT || end == END_SIGNAL || end == END_STOPPED ||
	       end == END_MIGRATED;
}

const char *end_restarts(const struct vm *vm)
{
	bool restarts = vm->end == END_RESET || vm->end == END_PANIC ||
			(vm->end == END_WATCHDOG && vm->options->watchdog == WATCHDOG_RESET);

	return restarts ? ends[vm->end].name : NULL;
}

/* With the lock of the VM's life held. */
static void set_end(struct vm *vm, enum ending end, int detail)
{
	if (comes_from_outside(end))
		vm->hurries = true;
	/* Somebody outside also ends a machine that is about to begin again. */
	if (vm_has_ended(vm) && !(comes_from_outside(end) && vm->options->restart && end_restarts(vm)))
		return;
	vm->status = ends[end].status;
	if (end == END_DEBUG_EXIT)
		vm->status = (detail << 1 | 1) & 0xff;
	else if (end == END_SIGNAL)
		vm->status += detail;
	__atomic_store_n(&vm->end, end, __ATOMIC_RELEASE);
	pthread_cond_broadcast(&vm->resumed);
}

void vm_revive(struct vm *vm)
{
	pthread_mutex_lock(&vm->life);
	vm->end = END_NOT_YET;
	vm->has_dumped = false;
	vm->closed = false;
	vm->paused = false;
	vm->is_brief = false;
	vm->holder = NULL;
	vm->resumes = false;
	vm->quits = false;
	pthread_mutex_unlock(&vm->life);
}

static void wake_loops(struct vm *vm)
{
	loop_wake(&vm->io);
	loop_wake(&vm->supervisor);
}

void vm_end(struct vm *vm, enum ending end, int detail)
{
	pthread_mutex_lock(&vm->life);
	set_end(vm, end, detail);
	pthread_mutex_unlock(&vm->life);
	wake_loops(vm);
}

static void press_power_button(struct vm *vm, struct job *job)
{
	(void)job;
	acpi_power_button(vm);
}

void vm_quit(struct vm *vm)
{
	bool again;

	pthread_mutex_lock(&vm->life);
	again = vm->quits;
	vm->quits = true;
	pthread_mutex_unlock(&vm->life);
	if (again) {
		vm_end(vm, END_QUIT, 0);
		return;
	}
	vm->button.run = press_power_button;
	io_post(vm, &vm->button);
	/* A guest that is paused would not notice it. */
	vm_resume(vm);
	if (!vm->options->json)
		complain("%s: its power button is pressed; Ctrl-A x again ends it at once", vm->name);
}

bool vm_pauses_at(struct vm *vm, const char *what)
{
	bool pauses = !strcmp(vm->options->on_panic, "pause");

	if (pauses)
		vm_hold(vm, "%s", what);
	return pauses;
}

void vm_fail(struct vcpu *vcpu, enum ending end, const char *format, ...)
{
	struct vm *vm = vcpu->vm;
	va_list args;

	pthread_mutex_lock(&vm->life);
	if (!vm_has_ended(vm)) {
		va_start(args, format);
		vsnprintf(vm->why, sizeof(vm->why), format, args);
		va_end(args);
		vm->culprit = vcpu;
		set_end(vm, end, 0);
	}
	pthread_mutex_unlock(&vm->life);
	wake_loops(vm);
}

static struct json_object *event_json(struct vm *vm, const char *event)
{
	struct json_object *root = json_object_new_object();

	json_object_object_add(root, "event", json_object_new_string(event));
	json_object_object_add(root, "name", json_object_new_string(vm->name));
	return root;
}

void say_event(struct vm *vm, const char *event, const char *why)
{
	struct json_object *root;

	service_say("STATUS=%s%s%s", event, why ? ": " : "", why ? why : "");
	if (!vm->options->json)
		return;
	root = event_json(vm, event);
	json_object_object_add(root, "pid", json_object_new_int(getpid()));
	if (why)
		json_object_object_add(root, "why", json_object_new_string(why));
	print_json_line(root);
}

/* What it has had in all. */
static void json_add_account(struct json_object *root, struct vm *vm)
{
	struct timespec spent = { 0 };

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &spent);
	json_add_number(root, "uptime_ns", clock_ns() - vm->started);
	json_add_number(root, "cpu_ns", spent.tv_sec * NS_PER_S + spent.tv_nsec);
	json_add_exits(root, vm->vcpus, vm->nr_vcpus);
	json_add_traffic(root, vm);
}

static void report_json(struct vm *vm)
{
	struct json_object *root = event_json(vm, "end");

	json_object_object_add(root, "reason", json_object_new_string(ends[vm->end].name));
	json_object_object_add(root, "status", json_object_new_int(vm->status));
	if (vm->why[0])
		json_object_object_add(root, "why", json_object_new_string(vm->why));
	json_add_account(root, vm);
	if (vm->culprit)
		json_add_registers(root, vm->culprit);
	print_json_line(root);
}

void end_report(struct vm *vm)
{
	if (vm->options->json)
		report_json(vm);
	else if (vm->end == END_TIMEOUT)
		complain("%s: the time limit is over", vm->name);
	else if (vm->end == END_RESET)
		complain("%s: the guest has reset the machine", vm->name);
	else if (vm->end == END_PANIC)
		complain("%s: the guest has panicked", vm->name);
	else if (vm->end == END_WATCHDOG)
		complain("%s: the guest's watchdog has expired", vm->name);
	else if (vm->why[0])
		complain("%s: %s", vm->name, vm->why);
	if (vm->culprit && !vm->options->json)
		print_registers(vm->culprit);
}

void end_refused(struct vm *vm, const struct refusal *refusal)
{
	struct json_object *root;

	/* No lock is taken, which another thread may hold for ever. */
	vm->end = END_ERROR;
	vm->status = ends[END_ERROR].status;
	vm->culprit = NULL;
	vm->why[0] = '\0';
	if (!vm->options->json) {
		complain("sandbox: %s tried %s", refusal->thread, refusal->call);
		return;
	}
	root = event_json(vm, "sandbox");
	json_object_object_add(root, "pid", json_object_new_int(getpid()));
	json_object_object_add(root, "thread", json_object_new_string(refusal->thread));
	json_object_object_add(root, "call", json_object_new_string(refusal->call));
	print_json_line(root);
	snprintf(vm->why, sizeof(vm->why), "sandbox: %s tried %s", refusal->thread, refusal->call);
	end_report(vm);
}
