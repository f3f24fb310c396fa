// SPDX-License-Identifier: GPL-2.0
/* A machine run exit by exit: see step.h. */
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

#include <debug.h>

#include "requests.h"
#include "runner.h"
#include "step.h"

/* The local APIC's registers, by their place in struct mote_apic: eight words each. */
#define APIC_ISR 0x10
#define APIC_IRR 0x20

/**
 * struct step_exit - an exit, and what there was when it had been taken
 * @nr: which one, of those since somebody steps
 * @reason: of it
 * @ends_run: it is the runner's
 * @err: of what could not be read: a negative errno
 * @fields: in the order of step_fields
 * @state: of the vCPU, as the module has left it
 */
struct step_exit {
	__u64 nr;
	unsigned int reason;
	bool ends_run;
	int err;
	__u64 fields[STEP_FIELDS_MOST];
	struct mote_state state;
};

/**
 * struct step_cpu - a vCPU that is stepped; its thread's, but for the exit at which it stands
 * @serial: its @exits are counted for this one who steps
 * @exits: how often it had exited, by reason
 * @exit: the last one that was shown
 */
struct step_cpu {
	__u64 serial;
	__u64 exits[MOTE_NR_EXITS];
	struct step_exit exit;
};

/**
 * struct step - who steps, or after another the next
 * @client: whoever it is, or NULL; the supervisor's
 * @serial: of whom there were so many
 * @is_on: there is one
 * @reason: an exit of this reason is wanted; -1: any that the guest has caused
 * @skip: but not so many
 * @nr: exits so far, but for the host's
 * @at: the vCPU that stands at one, or NULL
 * @has_exit: which has been read
 * @cpus: one for each vCPU
 */
struct step {
	const void *client;
	__u64 serial;
	bool is_on;
	int reason;
	__u64 skip;
	__u64 nr;
	struct vcpu *at;
	bool has_exit;
	struct step_cpu cpus[];
};

static struct step *step_of(const struct vm *vm)
{
	return __atomic_load_n(&vm->step, __ATOMIC_ACQUIRE);
}

static struct step_cpu *cpu_of(const struct vcpu *vcpu)
{
	return &vcpu->vm->step->cpus[vcpu->cpu.id];
}

/* ---- a vCPU's thread ---------------------------------------------------------------------- */

static bool must_stand(const struct vm *vm)
{
	return vm->step->is_on && !vm->paused && !vm_has_ended(vm);
}

__u8 step_before(struct vcpu *vcpu)
{
	struct step *step = step_of(vcpu->vm);
	struct step_cpu *cpu;
	bool is_on;

	if (!step)
		return 0;
	cpu = cpu_of(vcpu);
	pthread_mutex_lock(&vcpu->vm->life);
	while (step->at == vcpu && must_stand(vcpu->vm))
		pthread_cond_wait(&vcpu->vm->resumed, &vcpu->vm->life);
	is_on = step->is_on;
	if (cpu->serial != step->serial)
		memcpy(cpu->exits, vcpu->cpu.run->exits, sizeof(cpu->exits));
	cpu->serial = step->serial;
	pthread_mutex_unlock(&vcpu->vm->life);
	return is_on ? MOTE_WINDOW_EXIT : 0;
}

/*
 * How many exits there were since last time: one, as a rule.  The access to a debug register before
 * another exit does not count for more, nor the nested fault that has turned out to be MMIO.
 */
static bool find_exit(struct step_cpu *cpu, const struct mote_run *run, unsigned int *reason)
{
	bool found = false;

	for (unsigned int i = 0; i < MOTE_NR_EXITS; i++) {
		bool is_new = run->exits[i] != cpu->exits[i];
		bool is_passed = i == MOTE_EXIT_DR || (i == MOTE_EXIT_NPF && *reason == MOTE_EXIT_MMIO);

		cpu->exits[i] = run->exits[i];
		if (!is_new || (found && is_passed))
			continue;
		*reason = i;
		found = true;
	}
	return found;
}

/* What the host has caused comes at any time, and is none of the guest's. */
static bool is_hosts(unsigned int reason)
{
	return reason == MOTE_EXIT_INTERRUPT || reason == MOTE_EXIT_NMI || reason == MOTE_EXIT_TIMER;
}

/* Is this one wanted?  With the lock of the VM's life held. */
static bool is_wanted(struct step *step, unsigned int reason)
{
	if (is_hosts(reason) && step->reason != (int)reason)
		return false;
	step->nr++;
	if (step->reason >= 0 && step->reason != (int)reason)
		return false;
	if (!step->skip)
		return true;
	step->skip--;
	return false;
}

/*
 * Does it have to be shown?  Who stands at another one comes first.  What has come to pass before this
 * one who steps asked for anything may be several exits, and none of his.
 */
static bool take_turn(struct step *step, struct vcpu *vcpu, unsigned int reason)
{
	struct step_cpu *cpu = cpu_of(vcpu);
	bool is_mine;

	pthread_mutex_lock(&vcpu->vm->life);
	while (step->at && must_stand(vcpu->vm))
		pthread_cond_wait(&vcpu->vm->resumed, &vcpu->vm->life);
	is_mine = step->is_on && !step->at && cpu->serial == step->serial && is_wanted(step, reason);
	if (is_mine) {
		step->at = vcpu;
		cpu->exit.nr = step->nr;
	}
	pthread_mutex_unlock(&vcpu->vm->life);
	return is_mine;
}

void step_behind(struct vcpu *vcpu)
{
	struct step *step = step_of(vcpu->vm);
	const struct mote_run *run = vcpu->cpu.run;
	unsigned int reason = MOTE_EXIT_NONE;
	struct step_exit *exit;

	if (!step || !find_exit(cpu_of(vcpu), run, &reason) || !take_turn(step, vcpu, reason))
		return;
	exit = &cpu_of(vcpu)->exit;
	exit->reason = reason;
	exit->ends_run = run->reason == reason && reason != MOTE_EXIT_INTERRUPT && reason != MOTE_EXIT_NONE;
	exit->state = (struct mote_state) {
		.mask = (MOTE_STATE_ALL & ~MOTE_STATE_XSAVE) | MOTE_STATE_APIC,
	};
	exit->err = step_read_fields(vcpu->cpu.fd, vcpu->vm->vendor, exit->fields);
	if (!exit->err)
		exit->err = mote_debug_get(vcpu->cpu.fd, &exit->state);
	/* Whoever has wanted it may be gone. */
	pthread_mutex_lock(&vcpu->vm->life);
	if (step->at == vcpu)
		__atomic_store_n(&step->has_exit, true, __ATOMIC_RELEASE);
	pthread_mutex_unlock(&vcpu->vm->life);
	control_wake(vcpu->vm);
}

/* ---- the supervisor ---------------------------------------------------------------------------- */

const char *step_ask(struct vm *vm, const void *client, const char *name, __u64 skip)
{
	int reason = name ? mote_exit_reason(name) : -1;
	struct step *step = vm->step;
	bool begins;

	if (name && reason < 0)
		return "there is no such reason for an exit (mote stat lists some)";
	if (step && step->client && step->client != client)
		return "the VM is being stepped by somebody else";
	if (!step)
		step = calloc(1, sizeof(*step) + vm->options->cpus * sizeof(*step->cpus));
	if (!step)
		return "the runner has no memory";
	__atomic_store_n(&vm->step, step, __ATOMIC_RELEASE);
	pthread_mutex_lock(&vm->life);
	begins = !step->is_on;
	if (begins) {
		step->serial++;
		step->nr = 0;
	}
	step->client = client;
	step->is_on = true;
	step->reason = reason;
	step->skip = skip;
	step->has_exit = false;
	step->at = NULL;
	pthread_cond_broadcast(&vm->resumed);
	pthread_mutex_unlock(&vm->life);
	for (unsigned int i = 0; begins && i < vm->nr_vcpus; i++)
		vcpu_kick(&vm->vcpus[i]);
	if (begins)
		vm_resume(vm);
	return NULL;
}

bool step_is_there(const struct vm *vm)
{
	return __atomic_load_n(&vm->step->has_exit, __ATOMIC_ACQUIRE);
}

void step_leave(struct vm *vm, const void *client)
{
	struct step *step = vm->step;

	if (!step || step->client != client)
		return;
	pthread_mutex_lock(&vm->life);
	step->client = NULL;
	step->is_on = false;
	step->at = NULL;
	pthread_cond_broadcast(&vm->resumed);
	pthread_mutex_unlock(&vm->life);
}

void step_end(struct vm *vm)
{
	if (!vm->step)
		return;
	vm->step->at = NULL;
	vm->step->has_exit = false;
	vm->step->serial++;
}

void step_destroy(struct vm *vm)
{
	free(vm->step);
	vm->step = NULL;
}

/* ---- as JSON ----------------------------------------------------------------------------------- */

static struct json_object *fields_json(const struct step_exit *exit, unsigned int vendor)
{
	struct json_object *object = json_object_new_object();

	for (int i = 0; step_fields[i].name; i++)
		if (step_where(&step_fields[i], vendor)->name)
			json_add_hex(object, step_fields[i].name, exit->fields[i]);
	return object;
}

/* The highest vector of these eight registers of the local APIC's; 0: none. */
static unsigned int highest(const __u32 *words)
{
	for (int i = 7; i >= 0; i--)
		if (words[i])
			return 32 * i + 31 - __builtin_clz(words[i]);
	return 0;
}

/* What of events waits, in the form that VM-entry interruption information and EVENTINJ have. */
static struct json_object *events_json(const struct mote_state *state)
{
	const struct mote_event *event = &state->events.injected;
	struct json_object *object = json_object_new_object();
	__u64 word = 1u << 31 | event->has_error << 11 | event->type << 8 | event->vector;

	json_add_hex(object, "event", event->valid ? word | (__u64)event->error << 32 : 0);
	json_add_hex(object, "nmis", state->events.nmi_pending);
	json_add_hex(object, "halted", state->events.halted);
	json_add_hex(object, "apic-requested", highest(&state->apic.reg[APIC_IRR]));
	json_add_hex(object, "apic-in-service", highest(&state->apic.reg[APIC_ISR]));
	return object;
}

struct json_object *step_answer(struct vm *vm)
{
	const struct step_exit *exit = &cpu_of(vm->step->at)->exit;
	struct mote_state there = exit->state;
	struct json_object *answer;

	if (exit->err)
		return json_refusal(strerror(-exit->err));
	answer = json_object_new_object();
	/* The first field is the exit's reason; where the instruction is the VMCS or VMCB says. */
	for (int i = 0; step_fields[i].name; i++)
		if (!strcmp(step_fields[i].name, "rip"))
			there.gprs.rip = exit->fields[i];
	json_add_number(answer, "exit", exit->nr);
	json_add_number(answer, "vcpu", vm->step->at->cpu.id);
	json_add_text(answer, "reason", mote_exit_name(exit->reason));
	json_add_text(answer, "by", exit->ends_run ? "runner" : "module");
	json_add_text(answer, "vendor", mote_vendor_name(vm->vendor));
	json_add_hex(answer, "raw", exit->fields[0] & 0xffffffff);
	json_object_object_add(answer, "code", json_code(vm, &there, 1));
	json_object_object_add(answer, "fields", fields_json(exit, vm->vendor));
	json_object_object_add(answer, "events", events_json(&exit->state));
	json_object_object_add(answer, "registers", json_registers(&exit->state));
	return answer;
}
