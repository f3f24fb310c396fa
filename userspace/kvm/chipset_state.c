// SPDX-License-Identifier: GPL-2.0
/*
 * What the chipset's devices hold, in KVM's structs.  The devices name their values as for a
 * snapshot: those are read and written here by the same names, and judged by the devices.
 */
#include <errno.h>
#include <string.h>

#include "devices.h"
#include "../runner/dev/chips.h"
#include "../runner/state.h"

/* What a device or all of its chips hold, named as the device does it. */
typedef void name_function(void *registers, struct state *state);

static void name_pic(void *chips, struct state *state)
{
	pic_chips_state(chips, state);
}

static void name_pit(void *counters, struct state *state)
{
	pit_counters_state(counters, state);
}

static void name_ioapic(void *registers, struct state *state)
{
	ioapic_registers_state(registers, state);
}

/* From a device into @registers; what is saved is read as if it was loaded. */
static int fetch(struct device *device, name_function *name, void *registers)
{
	struct state state, copy;
	int err;

	state_begin_save(&state);
	device->ops->state(device, &state);
	err = state_end(&state);
	if (!err) {
		state_begin_load(&copy, state.data, state.size);
		name(registers, &copy);
		/* A device may have more than its registers, a timer: that is left there. */
		err = state_has_failed(&copy);
	}
	state_free(&state);
	return err ? -ENOMEM : 0;
}

/* And back; the device judges it. */
static int store(struct device *device, name_function *name, void *registers)
{
	struct state state, copy;
	int err;

	state_begin_save(&state);
	name(registers, &state);
	err = state_end(&state);
	if (!err) {
		state_begin_load(&copy, state.data, state.size);
		device->ops->state(device, &copy);
		err = state_end(&copy);
	}
	state_free(&state);
	return err ? -EINVAL : 0;
}

static __u8 elcr_mask(bool second)
{
	return ~(second ? PIC_EDGE_SECOND : PIC_EDGE_FIRST);
}

static void chip_out(const struct pic_chip *chip, struct kvm_pic_state *pic, bool second)
{
	*pic = (struct kvm_pic_state) {
		.last_irr = chip->lines, .irr = chip->irr, .imr = chip->imr, .isr = chip->isr,
		.priority_add = (chip->lowest + 1) & 7, .irq_base = chip->base,
		.read_reg_select = chip->reads_isr, .poll = chip->polled, .special_mask = chip->special_mask,
		.init_state = chip->init ? chip->init - 1 : 0, .auto_eoi = !!chip->auto_eoi,
		.rotate_on_auto_eoi = !!chip->rotates, .special_fully_nested_mode = !!chip->fully_nested,
		.init4 = !!chip->wants_icw4, .elcr = chip->elcr, .elcr_mask = elcr_mask(second),
	};
}

static void chip_in(const struct kvm_pic_state *pic, struct pic_chip *chip, bool second)
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
	chip->elcr = pic->elcr & elcr_mask(second);
	if (chip->init == 1)
		chip->init = 0;
}

static int get_pic(struct vm *machine, struct kvm_pic_state *pic, unsigned int which)
{
	struct pic_chip chips[2] = { 0 };
	int err = fetch(machine->pic, name_pic, chips);

	chip_out(&chips[which], pic, which);
	return err;
}

static int get_ioapic(struct vm *machine, struct kvm_ioapic_state *ioapic)
{
	struct ioapic_registers registers = { 0 };
	int err = fetch(machine->ioapic, name_ioapic, &registers);

	*ioapic = (struct kvm_ioapic_state) {
		.base_address = IOAPIC_BASE, .ioregsel = registers.select, .id = registers.id,
		.irr = registers.lines,
	};
	for (int i = 0; i < IOAPIC_PINS; i++)
		ioapic->redirtbl[i].bits = registers.table[i];
	return err;
}

int call_get_irqchip(struct object *object, void *data, unsigned long argument)
{
	struct shim_vm *vm = vm_of(object);
	struct kvm_irqchip *irqchip = data;
	int err;

	(void)argument;
	if (!vm->chipset)
		return -ENXIO;
	if (irqchip->chip_id >= KVM_NR_IRQCHIPS)
		return -EINVAL;
	chipset_lock(vm);
	err = irqchip->chip_id == KVM_IRQCHIP_IOAPIC ?
	      get_ioapic(&vm->chipset->machine, &irqchip->chip.ioapic) :
	      get_pic(&vm->chipset->machine, &irqchip->chip.pic, irqchip->chip_id);
	chipset_unlock(vm);
	return err;
}

static int set_ioapic(struct vm *machine, const struct kvm_ioapic_state *ioapic)
{
	struct ioapic_registers registers = {
		.select = ioapic->ioregsel, .id = ioapic->id & 15,
		.lines = ioapic->irr & ((1u << IOAPIC_PINS) - 1),
	};
	int err;

	for (int i = 0; i < IOAPIC_PINS; i++)
		registers.table[i] = ioapic_entry(ioapic->redirtbl[i].bits);
	err = store(machine->ioapic, name_ioapic, &registers);
	/* Levels that nobody has been told of. */
	for (int i = 0; i < IOAPIC_PINS && !err; i++)
		ioapic_set_line(machine, i, registers.lines >> i & 1);
	return err;
}

static int set_pic(struct vm *machine, const struct kvm_pic_state *pic, unsigned int which)
{
	struct pic_chip chips[2];
	int err = fetch(machine->pic, name_pic, chips);

	if (err)
		return err;
	chip_in(pic, &chips[which], which);
	err = store(machine->pic, name_pic, chips);
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

static void counter_out(const struct pit_counter *counter, struct kvm_pit_channel_state *channel)
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
	struct pit_counter counters[3] = { 0 };
	struct shim_vm *vm = vm_of(object);
	struct kvm_pit_state2 *pit = data;
	int err;

	(void)argument;
	if (!vm->chipset || !vm->chipset->has_pit)
		return -ENXIO;
	chipset_lock(vm);
	err = fetch(vm->chipset->machine.pit, name_pit, counters);
	pit->flags = vm->chipset->hpet ? KVM_PIT_FLAGS_HPET_LEGACY : 0;
	chipset_unlock(vm);
	for (int i = 0; i < 3; i++)
		counter_out(&counters[i], &pit->channels[i]);
	return err;
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
