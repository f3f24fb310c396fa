// SPDX-License-Identifier: GPL-2.0
/*
 * What the chipset's devices hold, in KVM's structs.  The devices name their values as for a
 * snapshot: those are read and written here by the same names, and judged by the devices.
 */
#include <errno.h>
#include <string.h>

#include "devices.h"
#include "../runner/state.h"

struct chip {
	__u8 lines, irr, imr, isr, elcr, base, lowest, init, wants_icw4, slaves, single, auto_eoi, rotates;
	__u8 fully_nested, special_mask, reads_isr, polled;
};

struct controllers {
	struct chip chips[2];
	__u8 select, id;
	__u32 lines;
	__u64 table[KVM_IOAPIC_NUM_PINS];
};

static void name_chip(struct chip *chip, struct state *state)
{
	STATE(state, chip, lines);
	STATE(state, chip, irr);
	STATE(state, chip, imr);
	STATE(state, chip, isr);
	STATE(state, chip, elcr);
	STATE(state, chip, base);
	STATE(state, chip, lowest);
	STATE(state, chip, init);
	STATE(state, chip, wants_icw4);
	STATE(state, chip, slaves);
	STATE(state, chip, single);
	STATE(state, chip, auto_eoi);
	STATE(state, chip, rotates);
	STATE(state, chip, fully_nested);
	STATE(state, chip, special_mask);
	STATE(state, chip, reads_isr);
	STATE(state, chip, polled);
}

static void name_pic(struct controllers *controllers, struct state *state)
{
	static const char *const names[] = { "first", "second" };

	for (int i = 0; i < 2; i++) {
		if (!state_enter(state, names[i]))
			continue;
		name_chip(&controllers->chips[i], state);
		state_leave(state);
	}
}

static void name_ioapic(struct controllers *controllers, struct state *state)
{
	STATE(state, controllers, select);
	STATE(state, controllers, id);
	STATE(state, controllers, lines);
	STATE(state, controllers, table);
}

typedef void name_function(struct controllers *controllers, struct state *state);

/* From a device into @controllers; what is saved is read as if it was loaded. */
static int fetch(struct device *device, name_function *name, struct controllers *controllers)
{
	struct state state, copy;
	int err;

	state_begin_save(&state);
	device->ops->state(device, &state);
	err = state_end(&state);
	if (!err) {
		state_begin_load(&copy, state.data, state.size);
		name(controllers, &copy);
		err = state_end(&copy);
	}
	state_free(&state);
	return err ? -ENOMEM : 0;
}

/* And back; the device judges it. */
static int store(struct device *device, name_function *name, struct controllers *controllers)
{
	struct state state, copy;
	int err;

	state_begin_save(&state);
	name(controllers, &state);
	err = state_end(&state);
	if (!err) {
		state_begin_load(&copy, state.data, state.size);
		device->ops->state(device, &copy);
		err = state_end(&copy);
	}
	state_free(&state);
	return err ? -EINVAL : 0;
}

static void chip_out(const struct chip *chip, struct kvm_pic_state *pic, bool second)
{
	*pic = (struct kvm_pic_state) {
		.last_irr = chip->lines, .irr = chip->irr, .imr = chip->imr, .isr = chip->isr,
		.priority_add = (chip->lowest + 1) & 7, .irq_base = chip->base,
		.read_reg_select = chip->reads_isr, .poll = chip->polled, .special_mask = chip->special_mask,
		.init_state = chip->init ? chip->init - 1 : 0, .auto_eoi = !!chip->auto_eoi,
		.rotate_on_auto_eoi = !!chip->rotates, .special_fully_nested_mode = !!chip->fully_nested,
		.init4 = !!chip->wants_icw4, .elcr = chip->elcr, .elcr_mask = second ? 0xde : 0xf8,
	};
}

static void chip_in(const struct kvm_pic_state *pic, struct chip *chip, bool second)
{
	chip->lines = pic->last_irr;
	chip->irr = pic->irr;
	chip->imr = pic->imr;
	chip->isr = pic->isr;
	chip->lowest = (pic->priority_add - 1) & 7;
	chip->base = pic->irq_base & 0xf8;
	chip->reads_isr = !!pic->read_reg_select;
	chip->polled = !!pic->poll;
	chip->special_mask = !!pic->special_mask;
	chip->init = pic->init_state ? (pic->init_state & 3) + 1 : 0;
	chip->auto_eoi = !!pic->auto_eoi;
	chip->rotates = !!pic->rotate_on_auto_eoi;
	chip->fully_nested = !!pic->special_fully_nested_mode;
	chip->wants_icw4 = !!pic->init4;
	chip->elcr = pic->elcr & (second ? 0xde : 0xf8);
	if (chip->init == 1)
		chip->init = 0;
}

#define ENTRY_BITS 0xfffe00000001efffull
#define ENTRY_LEVEL (1u << 15)
#define ENTRY_REMOTE_IRR (1u << 14)
#define ENTRY_MODE 0x600

static __u64 entry_in(__u64 bits)
{
	bits &= ENTRY_BITS;
	/* Only a level-triggered one of fixed or lowest priority waits for its end. */
	return bits & ENTRY_LEVEL && !(bits & ENTRY_MODE) ? bits : bits & ~(__u64)ENTRY_REMOTE_IRR;
}

int call_get_irqchip(struct object *object, void *data, unsigned long argument)
{
	struct shim_vm *vm = vm_of(object);
	struct controllers controllers = { 0 };
	struct kvm_irqchip *irqchip = data;
	bool is_ioapic = irqchip->chip_id == KVM_IRQCHIP_IOAPIC;
	struct kvm_ioapic_state *ioapic = &irqchip->chip.ioapic;
	int err;

	(void)argument;
	if (!vm->chipset)
		return -ENXIO;
	if (irqchip->chip_id >= KVM_NR_IRQCHIPS)
		return -EINVAL;
	chipset_lock(vm);
	err = is_ioapic ? fetch(vm->chipset->machine.ioapic, name_ioapic, &controllers) :
			  fetch(vm->chipset->machine.pic, name_pic, &controllers);
	chipset_unlock(vm);
	if (!is_ioapic) {
		chip_out(&controllers.chips[irqchip->chip_id], &irqchip->chip.pic, irqchip->chip_id);
		return err;
	}
	*ioapic = (struct kvm_ioapic_state) {
		.base_address = IOAPIC_BASE, .ioregsel = controllers.select, .id = controllers.id,
		.irr = controllers.lines,
	};
	for (int i = 0; i < KVM_IOAPIC_NUM_PINS; i++)
		ioapic->redirtbl[i].bits = controllers.table[i];
	return err;
}

static int set_ioapic(struct vm *machine, const struct kvm_ioapic_state *ioapic)
{
	struct controllers controllers = {
		.select = ioapic->ioregsel, .id = ioapic->id & 15,
		.lines = ioapic->irr & ((1u << KVM_IOAPIC_NUM_PINS) - 1),
	};
	int err;

	for (int i = 0; i < KVM_IOAPIC_NUM_PINS; i++)
		controllers.table[i] = entry_in(ioapic->redirtbl[i].bits);
	err = store(machine->ioapic, name_ioapic, &controllers);
	/* Levels that nobody has been told of. */
	for (int i = 0; i < KVM_IOAPIC_NUM_PINS && !err; i++)
		ioapic_set_line(machine, i, controllers.lines >> i & 1);
	return err;
}

static int set_pic(struct vm *machine, const struct kvm_pic_state *pic, unsigned int which)
{
	struct controllers controllers;
	int err = fetch(machine->pic, name_pic, &controllers);

	if (err)
		return err;
	chip_in(pic, &controllers.chips[which], which);
	err = store(machine->pic, name_pic, &controllers);
	if (!err && pic_pending(machine))
		vcpu_kick(machine->vcpus);
	return err;
}

int call_set_irqchip(struct object *object, void *data, unsigned long argument)
{
	const struct kvm_irqchip *irqchip = data;
	struct shim_vm *vm = vm_of(object);
	int err;

	(void)argument;
	if (!vm->chipset)
		return -ENXIO;
	if (irqchip->chip_id >= KVM_NR_IRQCHIPS)
		return -EINVAL;
	chipset_lock(vm);
	err = irqchip->chip_id == KVM_IRQCHIP_IOAPIC ?
	      set_ioapic(&vm->chipset->machine, &irqchip->chip.ioapic) :
	      set_pic(&vm->chipset->machine, &irqchip->chip.pic, irqchip->chip_id);
	chipset_unlock(vm);
	return err;
}

/* ---- the 8254 -------------------------------------------------------------------- */

struct counter {
	__u8 mode, access, is_bcd, gate;
	__u32 initial, count;
	__u8 null_count, counting;
	__u64 held, reload_at, edges, owed;
	__u16 latch;
	__u8 latched, status, has_status, low, has_low, high_next;
};

static void name_counter(struct counter *counter, struct state *state)
{
	STATE(state, counter, mode);
	STATE(state, counter, access);
	STATE(state, counter, is_bcd);
	STATE(state, counter, gate);
	STATE(state, counter, initial);
	STATE(state, counter, count);
	STATE(state, counter, null_count);
	STATE(state, counter, counting);
	STATE(state, counter, held);
	STATE(state, counter, reload_at);
	STATE(state, counter, edges);
	STATE(state, counter, owed);
	STATE(state, counter, latch);
	STATE(state, counter, latched);
	STATE(state, counter, status);
	STATE(state, counter, has_status);
	STATE(state, counter, low);
	STATE(state, counter, has_low);
	STATE(state, counter, high_next);
}

static void counter_out(const struct counter *counter, struct kvm_pit_channel_state *channel)
{
	*channel = (struct kvm_pit_channel_state) {
		/* Clients divide by it. */
		.count = counter->initial ? counter->initial : 0x10000, .latched_count = counter->latch,
		.count_latched = counter->latched, .status_latched = counter->has_status,
		.status = counter->status, .rw_mode = counter->access, .mode = counter->mode,
		.bcd = counter->is_bcd, .gate = counter->gate, .count_load_time = clock_ns(),
	};
}

int call_get_pit(struct object *object, void *data, unsigned long argument)
{
	static const char *const names[] = { "counter0", "counter1", "counter2" };
	struct shim_vm *vm = vm_of(object);
	struct kvm_pit_state2 *pit = data;
	struct counter counters[3] = { 0 };
	struct state state, copy;
	int err;

	(void)argument;
	if (!vm->chipset || !vm->chipset->has_pit)
		return -ENXIO;
	chipset_lock(vm);
	state_begin_save(&state);
	vm->chipset->machine.pit->ops->state(vm->chipset->machine.pit, &state);
	err = state_end(&state);
	pit->flags = vm->chipset->hpet ? KVM_PIT_FLAGS_HPET_LEGACY : 0;
	chipset_unlock(vm);
	if (!err) {
		state_begin_load(&copy, state.data, state.size);
		for (int i = 0; i < 3; i++) {
			if (!state_enter(&copy, names[i]))
				continue;
			name_counter(&counters[i], &copy);
			state_leave(&copy);
		}
	}
	state_free(&state);
	for (int i = 0; i < 3; i++)
		counter_out(&counters[i], &pit->channels[i]);
	return err ? -ENOMEM : 0;
}

static void write_port(struct vm *machine, __u16 port, __u8 data)
{
	bus_write(machine, SPACE_PORT, port, 1, data);
}

/* Like KVM, which counts from now: a control word, and the count. */
static void program(struct vm *machine, unsigned int number, const struct kvm_pit_channel_state *channel)
{
	unsigned int count = channel->count;

	if (channel->bcd & 1)
		count = count % 10 | count / 10 % 10 << 4 | count / 100 % 10 << 8 | count / 1000 % 10 << 12;
	write_port(machine, PORT_PIT + 3,
		   number << 6 | 3 << 4 | (channel->mode & 7) << 1 | (channel->bcd & 1));
	write_port(machine, PORT_PIT + number, count);
	write_port(machine, PORT_PIT + number, count >> 8);
}

int call_set_pit(struct object *object, void *data, unsigned long argument)
{
	const struct kvm_pit_state2 *pit = data;
	struct shim_vm *vm = vm_of(object);
	struct vm *machine;

	(void)argument;
	if (!vm->chipset || !vm->chipset->has_pit)
		return -ENXIO;
	machine = &vm->chipset->machine;
	chipset_lock(vm);
	vm->chipset->hpet = pit->flags & KVM_PIT_FLAGS_HPET_LEGACY;
	chipset_unlock(vm);
	for (unsigned int i = 0; i < 3; i++)
		program(machine, i, &pit->channels[i]);
	return 0;
}
