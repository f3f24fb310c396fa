// SPDX-License-Identifier: GPL-2.0
/* What is saved and loaded of a VM: its vCPUs and their CPUID, its clock, its devices. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runner.h"
#include "snapshot.h"

/* More than any XSAVE image has. */
#define XSAVE_MOST (64u << 10)

/* ---- vCPUs -------------------------------------------------------------------------- */

static void segments_state(struct mote_segs *segs, struct state *state)
{
	struct {
		__u64 base[MOTE_NR_SEGS];
		__u32 limit[MOTE_NR_SEGS];
		__u16 selector[MOTE_NR_SEGS];
		__u16 attr[MOTE_NR_SEGS];
	} all;

	for (int i = 0; i < MOTE_NR_SEGS; i++) {
		all.base[i] = segs->seg[i].base;
		all.limit[i] = segs->seg[i].limit;
		all.selector[i] = segs->seg[i].selector;
		all.attr[i] = segs->seg[i].attr;
	}
	STATE(state, &all, base);
	STATE(state, &all, limit);
	STATE(state, &all, selector);
	STATE(state, &all, attr);
	for (int i = 0; i < MOTE_NR_SEGS; i++)
		segs->seg[i] = (struct mote_segment) {
			.base = all.base[i], .limit = all.limit[i], .selector = all.selector[i],
			.attr = all.attr[i],
		};
	state_value(state, "gdt_base", &segs->gdt.base, sizeof(segs->gdt.base));
	state_value(state, "gdt_limit", &segs->gdt.limit, sizeof(segs->gdt.limit));
	state_value(state, "idt_base", &segs->idt.base, sizeof(segs->idt.base));
	state_value(state, "idt_limit", &segs->idt.limit, sizeof(segs->idt.limit));
}

static void control_state(struct mote_crs *crs, struct state *state)
{
	STATE(state, crs, cr0);
	STATE(state, crs, cr2);
	STATE(state, crs, cr3);
	STATE(state, crs, cr4);
	STATE(state, crs, cr8);
	STATE(state, crs, xcr0);
	STATE(state, crs, pdpte);
	state_value(state, "cr_flags", &crs->flags, sizeof(crs->flags));
}

static void msrs_state(struct mote_msrs *msrs, struct state *state)
{
	STATE(state, msrs, efer);
	STATE(state, msrs, star);
	STATE(state, msrs, lstar);
	STATE(state, msrs, cstar);
	STATE(state, msrs, sfmask);
	STATE(state, msrs, kernel_gs_base);
	STATE(state, msrs, sysenter_cs);
	STATE(state, msrs, sysenter_esp);
	STATE(state, msrs, sysenter_eip);
	STATE(state, msrs, pat);
	STATE(state, msrs, apic_base);
	STATE(state, msrs, misc_enable);
	STATE(state, msrs, mtrr_def_type);
	STATE(state, msrs, tsc_adjust);
	STATE(state, msrs, pv_wall_clock);
	STATE(state, msrs, pv_system_time);
	STATE(state, msrs, pv_steal_time);
	STATE(state, msrs, pv_eoi);
	STATE(state, msrs, pv_steal_ns);
}

static void events_state(struct mote_events *events, struct state *state)
{
	struct mote_event *event = &events->injected;

	state_value(state, "event_valid", &event->valid, sizeof(event->valid));
	state_value(state, "event_type", &event->type, sizeof(event->type));
	state_value(state, "event_vector", &event->vector, sizeof(event->vector));
	state_value(state, "event_has_error", &event->has_error, sizeof(event->has_error));
	state_value(state, "event_error", &event->error, sizeof(event->error));
	STATE(state, events, nmi_pending);
	STATE(state, events, nmi_blocked);
	STATE(state, events, shadow);
	STATE(state, events, halted);
	STATE(state, events, pending_debug);
}

static void apic_state(struct mote_apic *apic, struct state *state)
{
	state_value(state, "apic", apic->reg, sizeof(apic->reg));
	state_value(state, "apic_deadline", &apic->deadline, sizeof(apic->deadline));
	state_value(state, "apic_errors", &apic->errors, sizeof(apic->errors));
	state_value(state, "apic_signals", &apic->signals, sizeof(apic->signals));
}

static void registers_state(struct mote_state *registers, struct state *state)
{
	state_value(state, "gpr", registers->gprs.gpr, sizeof(registers->gprs.gpr));
	state_value(state, "rip", &registers->gprs.rip, sizeof(registers->gprs.rip));
	state_value(state, "rflags", &registers->gprs.rflags, sizeof(registers->gprs.rflags));
	segments_state(&registers->segs, state);
	control_state(&registers->crs, state);
	state_value(state, "dr", registers->drs.dr, sizeof(registers->drs.dr));
	state_value(state, "dr6", &registers->drs.dr6, sizeof(registers->drs.dr6));
	state_value(state, "dr7", &registers->drs.dr7, sizeof(registers->drs.dr7));
	msrs_state(&registers->msrs, state);
	events_state(&registers->events, state);
	state_value(state, "tsc_offset", &registers->tsc.offset, sizeof(registers->tsc.offset));
	apic_state(&registers->apic, state);
}

#define XSTATE_BV 512
#define XCR0_COMMON 7ull	/* x87, SSE and AVX are at the same place everywhere: SDM 1, "XSAVE Area" */

/*
 * The image is as long as the host's with all components that guests may have; of another host's
 * what is the guest's counts, and the module checks it.
 */
static void xsave_state(struct mote_state *registers, unsigned char *image, struct state *state)
{
	__u64 enabled = registers->crs.xcr0 | 3, size_here = registers->xsave_size, present;
	size_t size = size_here;
	const void *block = image;

	if (!state_block(state, "xsave", &block, &size) || !state->loads)
		return;
	state_require(state, size >= XSTATE_BV + 64 && size <= XSAVE_MOST &&
		      (size == size_here || !(enabled & ~XCR0_COMMON)), "its XSAVE image is another host's");
	if (state_has_failed(state))
		return;
	memset(image, 0, XSAVE_MOST);
	memcpy(image, block, size < size_here ? size : size_here);
	memcpy(&present, image + XSTATE_BV, sizeof(present));
	present &= enabled;
	memcpy(image + XSTATE_BV, &present, sizeof(present));
}

/* What of it this host does not take. */
static const char *refused_part(struct vcpu *vcpu, struct mote_state registers)
{
	static const char *const parts[] = {
		"general registers", "segments", "control registers", "debug registers", "MSRs",
		"events", "TSC", "XSAVE image", "local APIC",
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(parts); i++) {
		registers.mask = 1u << i;
		if (mote_set_state(vcpu->cpu.fd, &registers))
			return parts[i];
	}
	return "registers";
}

static void vcpu_state(struct vcpu *vcpu, struct state *state)
{
	unsigned char *image = aligned_alloc(64, XSAVE_MOST);
	struct mote_state registers = {
		.mask = MOTE_STATE_ALL | MOTE_STATE_APIC, .xsave_size = XSAVE_MOST,
		.xsave = (unsigned long)image,
	};
	int err = image ? mote_get_state(vcpu->cpu.fd, &registers) : -ENOMEM;

	if (err)
		state_fail(state, "vCPU %u: its registers cannot be read: %s", vcpu->cpu.id, strerror(-err));
	registers_state(&registers, state);
	xsave_state(&registers, image, state);
	if (state->loads && !state_has_failed(state)) {
		err = mote_set_state(vcpu->cpu.fd, &registers);
		if (err)
			state_fail(state, "vCPU %u: this host refuses its %s: %s", vcpu->cpu.id,
				   refused_part(vcpu, registers), strerror(-err));
	}
	free(image);
}

static void vcpus_state(struct vm *vm, struct state *state)
{
	char name[16];

	for (unsigned int i = 0; i < vm->nr_vcpus && !state_has_failed(state); i++) {
		snprintf(name, sizeof(name), "vcpu%u", i);
		if (state_enter(state, name)) {
			vcpu_state(&vm->vcpus[i], state);
			state_leave(state);
		} else {
			state_fail(state, "there is no %s in it", name);
		}
	}
}

/* ---- time ------------------------------------------------------------------------------ */

/* The vCPUs' offsets are counted from the TSC that is set with it: it comes first. */
static void clock_state(struct vm *vm, struct state *state)
{
	struct mote_clock_value clock = { 0 };
	int err = mote_get_clock(vm->machine.fd, &clock);

	state_value(state, "clock_ns", &clock.ns, sizeof(clock.ns));
	state_value(state, "clock_tsc", &clock.tsc, sizeof(clock.tsc));
	if (state->loads && !err && !state_has_failed(state))
		err = mote_set_clock(vm->machine.fd, &clock);
	if (err)
		state_fail(state, "the machine's clock: %s", strerror(-err));
}

/* ---- devices ---------------------------------------------------------------------------- */

/* Of some of one kind, the first one made is 0. */
static unsigned int number_of(const struct device *device)
{
	unsigned int number = 0;

	for (const struct device *before = device->next; before; before = before->next)
		number += !strcmp(before->ops->name, device->ops->name);
	return number;
}

static void device_state(struct vm *vm, struct device *device, struct state *state)
{
	char name[STATE_NAME_MOST + 1];

	if (!device->ops->state || state_has_failed(state))
		return;
	snprintf(name, sizeof(name), "%.40s%u", device->ops->name, number_of(device));
	if (!state_enter(state, name))
		return;
	pthread_mutex_lock(device_lock(vm, device));
	device->ops->state(device, state);
	pthread_mutex_unlock(device_lock(vm, device));
	state_leave(state);
}

/* In the order in which they were made: those that listen to others first. */
static void devices_state(struct vm *vm, struct device *device, struct state *state)
{
	if (!device)
		return;
	devices_state(vm, device->next, state);
	device_state(vm, device, state);
}

void vm_state(struct vm *vm, struct state *state)
{
	clock_state(vm, state);
	vcpus_state(vm, state);
	if (state_enter(state, "devices")) {
		devices_state(vm, vm->devices, state);
		state_leave(state);
	}
}
