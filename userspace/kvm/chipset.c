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

#include "devices.h"

#define PORT_SPEAKER 0x61
#define PINS_PIC 8
#define IOAPIC_SIZE 0x20

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
static void set_gsi(const struct shim_vm *vm, __u32 gsi, bool level)
{
	for (unsigned int i = 0; i < vm->nr_routes; i++) {
		const struct kvm_irq_routing_entry *route = &vm->routes[i];
		__u32 pin = route->u.irqchip.pin;

		if (route->gsi != gsi)
			continue;
		if (route->type == KVM_IRQ_ROUTING_MSI)
			route_send(vm, route, level);
		else if (route->u.irqchip.irqchip == KVM_IRQCHIP_IOAPIC)
			ioapic_set_line(&vm->chipset->machine, pin, level);
		else
			pic_set_line(&vm->chipset->machine, pin + PINS_PIC * route->u.irqchip.irqchip, level);
	}
}

void line_set(struct vm *machine, unsigned int line, bool level)
{
	struct chipset *chipset = chipset_of(machine);

	if (!chipset->hpet)
		set_gsi(chipset->vm, line, level);
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
		if (eventfd->id != event.data.fd || preadv2(eventfd->fd, &iov, 1, -1, RWF_NOWAIT) < 0)
			continue;
		set_gsi(chipset->vm, gsi, true);
		set_gsi(chipset->vm, gsi, chipset->levels[gsi / 64] >> gsi % 64 & 1);
	}
}

void chipset_watch(struct shim_vm *vm, const struct eventfd *eventfd, bool watch)
{
	struct epoll_event event = { .events = EPOLLIN, .data.fd = eventfd->id };

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

static void keep_level(struct chipset *chipset, __u32 gsi, bool level)
{
	__u64 bit = 1ull << gsi % 64, *levels = &chipset->levels[gsi / 64];

	*levels = level ? *levels | bit : *levels & ~bit;
}

int call_irq_line(struct object *object, void *data, unsigned long argument)
{
	const struct kvm_irq_level *line = data;
	struct shim_vm *vm = vm_of(object);
	struct chipset *chipset = vm->chipset;
	/* Routes are changed with both; where the I/O APIC is the client's they are messages. */
	pthread_mutex_t *lock = chipset ? &chipset->machine.lock : &vm->lock;

	(void)argument;
	if (!vm->irqchip)
		return -ENXIO;
	if (line->irq >= MAX_ROUTES)
		return -EINVAL;
	pthread_mutex_lock(lock);
	if (chipset)
		keep_level(chipset, line->irq, line->level);
	set_gsi(vm, line->irq, line->level);
	pthread_mutex_unlock(lock);
	return 0;
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
