// SPDX-License-Identifier: GPL-2.0
/*
 * The interrupt controllers and the timer of KVM_CREATE_IRQCHIP and KVM_CREATE_PIT2: the runner's
 * devices, on a bus of their own.  A GSI's level goes where the client's routes say; an 8259's
 * interrupt goes to vCPU 0.  The timer has a thread.
 *
 * Routes and irqfds change with the VM's lock and the chipset's held; either lets them be read.
 */
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/uio.h>
#include <unistd.h>

#include "interpose.h"
#include "chipset.h"
#include "../runner/irq.h"
#include "../runner/runner.h"
#include "../runner/state.h"

#define PORT_PIT 0x40
#define PORT_SPEAKER 0x61
#define PINS_PIC 8
#define IOAPIC_SIZE 0x20

/**
 * struct chipset - the devices of a VM
 * @machine: what they take for one: a bus, a loop, and a lock
 * @vm: whose they are
 * @first: vCPU 0, once it is there
 * @thread: of the loop
 * @ends: it is to end
 * @has_pit: there is an 8254
 * @has_speaker: port 0x61 is its
 * @hpet: the timer's line belongs to the HPET, which is the client's
 * @levels: of the lines, as the client has set them
 * @irqfds: an epoll of those irqfds that drive lines
 */
struct chipset {
	struct vm machine;
	struct shim_vm *vm;
	struct vcpu vcpu;
	struct shim_vcpu *first;
	pthread_t thread;
	bool ends;
	bool has_pit;
	bool has_speaker;
	bool hpet;
	__u64 levels[MAX_ROUTES / 64];
	struct source irqfds;
};

static struct chipset *chipset_of(const struct vm *machine)
{
	return container_of(machine, struct chipset, machine);
}

/* ---- what the devices ask of a machine ------------------------------------------- */

void complain(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fputs("mote: kvm: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
}

void vcpu_kick(struct vcpu *vcpu)
{
	struct chipset *chipset = chipset_of(vcpu->vm);

	if (chipset->first)
		vcpu_kick_thread(chipset->first);
}

/* A level for all that a GSI leads to; a message is sent when it rises. */
static void set_gsi(struct chipset *chipset, __u32 gsi, bool level)
{
	const struct shim_vm *vm = chipset->vm;

	for (unsigned int i = 0; i < vm->nr_routes; i++) {
		const struct kvm_irq_routing_entry *route = &vm->routes[i];
		__u32 pin = route->u.irqchip.pin;

		if (route->gsi != gsi)
			continue;
		if (route->type == KVM_IRQ_ROUTING_MSI)
			route_send(vm, route, level);
		else if (route->u.irqchip.irqchip == KVM_IRQCHIP_IOAPIC)
			ioapic_set_line(&chipset->machine, pin, level);
		else
			pic_set_line(&chipset->machine, pin + PINS_PIC * route->u.irqchip.irqchip, level);
	}
}

void line_set(struct vm *machine, unsigned int line, bool level)
{
	struct chipset *chipset = chipset_of(machine);

	if (!chipset->hpet)
		set_gsi(chipset, line, level);
}

/* Is there a route of the line's for which this is so? */
typedef bool ask(const struct vm *machine, unsigned int pin);
static bool any_route(const struct vm *machine, unsigned int line, ask *pic, ask *ioapic)
{
	const struct shim_vm *vm = chipset_of(machine)->vm;
	bool any = false;

	for (unsigned int i = 0; i < vm->nr_routes; i++) {
		const struct kvm_irq_routing_entry *route = &vm->routes[i];
		__u32 pin = route->u.irqchip.pin;

		if (route->gsi != line || route->type != KVM_IRQ_ROUTING_IRQCHIP)
			continue;
		if (route->u.irqchip.irqchip == KVM_IRQCHIP_IOAPIC)
			any |= ioapic && ioapic(machine, pin);
		else
			any |= pic && pic(machine, pin + PINS_PIC * route->u.irqchip.irqchip);
	}
	return any;
}

bool line_is_heard(const struct vm *machine, unsigned int line)
{
	return any_route(machine, line, pic_is_heard, ioapic_is_heard);
}

bool line_is_waiting(const struct vm *machine, unsigned int line)
{
	return !any_route(machine, line, NULL, ioapic_is_heard) &&
	       any_route(machine, line, pic_is_waiting, NULL);
}

void line_ended(struct vm *machine, unsigned int line)
{
	if (line == LINE_TIMER)
		pit_tick_ended(machine);
}

/* ---- the loop -------------------------------------------------------------------- */

static bool has_ended(const struct vm *machine)
{
	return __atomic_load_n(&chipset_of(machine)->ends, __ATOMIC_ACQUIRE);
}

static void *run_loop(void *argument)
{
	struct chipset *chipset = argument;

	loop_run(&chipset->machine.io, has_ended);
	return NULL;
}

/* The client's signals are none of this thread's. */
static int start_loop(struct chipset *chipset)
{
	sigset_t all, old;
	int err;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &old);
	err = pthread_create(&chipset->thread, NULL, run_loop, chipset);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return -err;
}

/* ---- irqfds that drive lines ----------------------------------------------------- */

/* As KVM does: a pulse, on top of the level that the client has set. */
static void irqfd_ready(struct vm *machine, struct source *source, __u32 events)
{
	struct chipset *chipset = chipset_of(machine);
	__u64 times;
	const struct iovec iov = { .iov_base = &times, .iov_len = sizeof(times) };
	struct epoll_event event;
	struct eventfd *eventfd;

	(void)events;
	if (epoll_wait(source->fd, &event, 1, 0) != 1)
		return;
	for (eventfd = chipset->vm->irqfds; eventfd; eventfd = eventfd->next) {
		__u32 gsi = eventfd->gsi;

		/* The client may have read it, too. */
		if (eventfd->id != event.data.u64 || preadv2(eventfd->fd, &iov, 1, -1, RWF_NOWAIT) < 0)
			continue;
		set_gsi(chipset, gsi, true);
		set_gsi(chipset, gsi, chipset->levels[gsi / 64] >> gsi % 64 & 1);
	}
}

void chipset_watch(struct shim_vm *vm, const struct eventfd *eventfd, bool watch)
{
	struct epoll_event event = { .events = EPOLLIN, .data.u64 = eventfd->id };

	if (vm->chipset)
		epoll_ctl(vm->chipset->irqfds.fd, watch ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, eventfd->fd, &event);
}

/* ---- creation -------------------------------------------------------------------- */

/* GSIs 0 to 15 are lines of both, those up to 23 of the I/O APIC. */
static int make_routes(struct shim_vm *vm)
{
	struct kvm_irq_routing_entry *route = calloc(2 * PINS_PIC + KVM_IOAPIC_NUM_PINS, sizeof(*route));

	if (!route)
		return -ENOMEM;
	free(vm->routes);
	vm->routes = route;
	for (__u32 gsi = 0; gsi < KVM_IOAPIC_NUM_PINS; gsi++) {
		*route = (struct kvm_irq_routing_entry) { .gsi = gsi, .type = KVM_IRQ_ROUTING_IRQCHIP };
		route->u.irqchip.irqchip = KVM_IRQCHIP_IOAPIC;
		route++->u.irqchip.pin = gsi;
		if (gsi >= 2 * PINS_PIC)
			continue;
		*route = (struct kvm_irq_routing_entry) { .gsi = gsi, .type = KVM_IRQ_ROUTING_IRQCHIP };
		route->u.irqchip.irqchip = gsi / PINS_PIC;
		route++->u.irqchip.pin = gsi % PINS_PIC;
	}
	vm->nr_routes = route - vm->routes;
	return 0;
}

static void chipset_free(struct chipset *chipset)
{
	devices_destroy(&chipset->machine);
	loop_destroy(&chipset->machine.io);
	if (chipset->irqfds.fd >= 0)
		close(chipset->irqfds.fd);
	pthread_mutex_destroy(&chipset->machine.lock);
	free(chipset);
}

static struct chipset *chipset_make(struct shim_vm *vm)
{
	struct chipset *chipset = calloc(1, sizeof(*chipset));
	struct vm *machine = &chipset->machine;

	if (!chipset)
		return NULL;
	chipset->vm = vm;
	chipset->vcpu.vm = machine;
	machine->vcpus = &chipset->vcpu;
	machine->nr_vcpus = 1;
	machine->io.epoll = machine->io.wake.fd = -1;
	pthread_mutex_init(&machine->lock, NULL);
	chipset->irqfds.ready = irqfd_ready;
	chipset->irqfds.fd = epoll_create1(EPOLL_CLOEXEC);
	if (chipset->irqfds.fd >= 0 && !loop_create(&machine->io, machine, &machine->lock) &&
	    !source_add(&machine->io, &chipset->irqfds, EPOLLIN) && !pic_create(machine) &&
	    !ioapic_create(machine))
		return chipset;
	chipset_free(chipset);
	return NULL;
}

int call_create_irqchip(struct object *object, void *data, unsigned long argument)
{
	struct shim_vm *vm = vm_of(object);
	struct chipset *chipset;
	int err;

	(void)data;
	(void)argument;
	pthread_mutex_lock(&vm->lock);
	chipset = chipset_make(vm);
	err = chipset ? vm_take_lapics(vm, IRQCHIP_FULL) : -ENOMEM;
	if (!err)
		err = make_routes(vm);
	if (!err) {
		chipset->machine.machine.fd = vm->machine.fd;
		err = start_loop(chipset);
	}
	if (!err)
		vm->chipset = chipset;
	else if (chipset)
		chipset_free(chipset);
	pthread_mutex_unlock(&vm->lock);
	return err;
}

void chipset_destroy(struct shim_vm *vm)
{
	if (!vm->chipset)
		return;
	__atomic_store_n(&vm->chipset->ends, true, __ATOMIC_RELEASE);
	loop_wake(&vm->chipset->machine.io);
	pthread_join(vm->chipset->thread, NULL);
	chipset_free(vm->chipset);
	vm->chipset = NULL;
}

/* ---- accesses -------------------------------------------------------------------- */

static const enum bus_space spaces[] = { [CHIPSET_PORT] = SPACE_PORT, [CHIPSET_MMIO] = SPACE_MMIO };

/* Without the lock, which most accesses, being the client's, need not wait for. */
static bool is_here(const struct shim_vm *vm, enum chipset_space space, __u64 address)
{
	const struct chipset *chipset = vm->chipset;

	if (!chipset)
		return false;
	if (space == CHIPSET_MMIO)
		return address >= IOAPIC_BASE && address < IOAPIC_BASE + IOAPIC_SIZE;
	switch (address) {
	case 0x20 ... 0x21:
	case 0xa0 ... 0xa1:
	case 0x4d0 ... 0x4d1:
		return true;
	case PORT_PIT ... PORT_PIT + 3:
		return __atomic_load_n(&chipset->has_pit, __ATOMIC_ACQUIRE);
	case PORT_SPEAKER:
		return __atomic_load_n(&chipset->has_speaker, __ATOMIC_ACQUIRE);
	}
	return false;
}

bool chipset_read(struct shim_vm *vm, enum chipset_space space, __u64 address, unsigned int size,
		  __u64 *data)
{
	if (!is_here(vm, space, address))
		return false;
	*data = bus_read(&vm->chipset->machine, spaces[space], address, size);
	return true;
}

bool chipset_write(struct shim_vm *vm, enum chipset_space space, __u64 address, unsigned int size,
		   __u64 data)
{
	if (!is_here(vm, space, address))
		return false;
	bus_write(&vm->chipset->machine, spaces[space], address, size, data);
	return true;
}

void chipset_lock(struct shim_vm *vm)
{
	if (vm->chipset)
		pthread_mutex_lock(&vm->chipset->machine.lock);
}

void chipset_unlock(struct shim_vm *vm)
{
	if (vm->chipset)
		pthread_mutex_unlock(&vm->chipset->machine.lock);
}

bool chipset_end_of_interrupt(struct shim_vm *vm, __u8 vector)
{
	if (!vm->chipset)
		return false;
	chipset_lock(vm);
	ioapic_end_of_interrupt(&vm->chipset->machine, vector);
	chipset_unlock(vm);
	return true;
}

bool chipset_has_interrupt(struct shim_vm *vm, const struct shim_vcpu *vcpu)
{
	return vm->chipset && vm->chipset->first == vcpu && pic_pending(&vm->chipset->machine);
}

int chipset_acknowledge(struct shim_vm *vm, const struct shim_vcpu *vcpu)
{
	int vector;

	if (!vm->chipset || vm->chipset->first != vcpu)
		return -1;
	chipset_lock(vm);
	vector = pic_acknowledge(&vm->chipset->machine);
	chipset_unlock(vm);
	return vector;
}

void chipset_join(struct shim_vm *vm, struct shim_vcpu *vcpu, __u32 id)
{
	if (!vm->chipset || id)
		return;
	chipset_lock(vm);
	vm->chipset->first = vcpu;
	chipset_unlock(vm);
}

void chipset_forget(struct shim_vm *vm, const struct shim_vcpu *vcpu)
{
	if (!vm->chipset)
		return;
	chipset_lock(vm);
	if (vm->chipset->first == vcpu)
		vm->chipset->first = NULL;
	chipset_unlock(vm);
}

int call_irq_line(struct object *object, void *data, unsigned long argument)
{
	const struct kvm_irq_level *line = data;
	struct shim_vm *vm = vm_of(object);

	(void)argument;
	if (!vm->chipset)
		return -ENXIO;
	if (line->irq >= MAX_ROUTES)
		return -EINVAL;
	chipset_lock(vm);
	if (line->level)
		vm->chipset->levels[line->irq / 64] |= 1ull << line->irq % 64;
	else
		vm->chipset->levels[line->irq / 64] &= ~(1ull << line->irq % 64);
	set_gsi(vm->chipset, line->irq, !!line->level);
	chipset_unlock(vm);
	return 0;
}

/* ---- states, which the devices name as for a snapshot ---------------------------- */

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

int call_create_pit(struct object *object, void *data, unsigned long argument)
{
	const struct kvm_pit_config *config = data;
	struct shim_vm *vm = vm_of(object);
	struct chipset *chipset;
	int err = 0;

	(void)argument;
	pthread_mutex_lock(&vm->lock);
	chipset_lock(vm);
	chipset = vm->chipset;
	if (!chipset)
		err = -ENOENT;
	else if (chipset->has_pit)
		err = -EEXIST;
	else if (pit_create(&chipset->machine))
		err = -ENOMEM;
	if (!err) {
		/* Else the port is the client's. */
		__atomic_store_n(&chipset->has_speaker, config->flags & KVM_PIT_SPEAKER_DUMMY,
				 __ATOMIC_RELEASE);
		__atomic_store_n(&chipset->has_pit, true, __ATOMIC_RELEASE);
	}
	chipset_unlock(vm);
	pthread_mutex_unlock(&vm->lock);
	return err;
}

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
