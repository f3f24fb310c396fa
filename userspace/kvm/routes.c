// SPDX-License-Identifier: GPL-2.0
/*
 * Where interrupts come from: GSIs and their routes, messages, eventfds.  The module knows
 * messages alone, so an irqfd is told to it as long as its GSI's route is one.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "chipset.h"

/* Bits 31:8 of a destination are in the upper half, if they are asked for, as in struct mote_msi. */
static struct mote_msi make_msi(const struct shim_vm *vm, __u32 low, __u32 high, __u32 data)
{
	return (struct mote_msi) {
		.address = (vm->x2apic_ids ? (__u64)(high & ~0xffu) << 32 : 0) | low, .data = data,
	};
}

/* KVM counts the vCPUs that take it; nobody is -1, which a caller sees as EPERM. */
static int send_msi(struct shim_vm *vm, const struct mote_msi *msi)
{
	int ret = mote_msi(vm->machine.fd, msi);

	if (ret >= 0)
		return !ret;
	return ret == -ENOENT ? -EPERM : ret;
}

int call_signal_msi(struct object *object, void *data, unsigned long argument)
{
	const struct kvm_msi *from = data;
	struct shim_vm *vm = vm_of(object);
	struct mote_msi msi;

	(void)argument;
	if (!vm->irqchip || from->flags)
		return -EINVAL;
	msi = make_msi(vm, from->address_lo, from->address_hi, from->data);
	return send_msi(vm, &msi);
}

void route_send(const struct shim_vm *vm, const struct kvm_irq_routing_entry *route, bool level)
{
	const struct kvm_irq_routing_msi *from = &route->u.msi;
	struct mote_msi msi = make_msi(vm, from->address_lo, from->address_hi, from->data);

	if (level)
		mote_msi(vm->machine.fd, &msi);
}

/* ---- irqfds ---------------------------------------------------------------------- */

/* The message of a GSI; false: it leads elsewhere, or nowhere. */
static bool find_msi(const struct shim_vm *vm, __u32 gsi, struct mote_msi *msi)
{
	for (unsigned int i = 0; i < vm->nr_routes; i++) {
		const struct kvm_irq_routing_entry *route = &vm->routes[i];

		if (route->gsi != gsi || route->type != KVM_IRQ_ROUTING_MSI)
			continue;
		*msi = make_msi(vm, route->u.msi.address_lo, route->u.msi.address_hi, route->u.msi.data);
		return true;
	}
	return false;
}

static int tell_mote(struct shim_vm *vm, const struct eventfd *eventfd, __u32 flags)
{
	const struct mote_irqfd irqfd = { .fd = eventfd->fd, .flags = flags, .msi = eventfd->msi };

	return mote_irqfd(vm->machine.fd, &irqfd);
}

static bool is_same_msi(const struct mote_msi *a, const struct mote_msi *b)
{
	return a->address == b->address && a->data == b->data;
}

static void disconnect(struct shim_vm *vm, struct eventfd *eventfd)
{
	if (eventfd->is_sent)
		tell_mote(vm, eventfd, MOTE_EVENTFD_REMOVE);
	else
		chipset_watch(vm, eventfd, false);
	eventfd->is_sent = false;
}

static void follow(struct shim_vm *vm, struct eventfd *eventfd)
{
	struct mote_msi msi;
	bool has_msi = find_msi(vm, eventfd->gsi, &msi);

	if (eventfd->is_sent && has_msi && is_same_msi(&msi, &eventfd->msi))
		return;
	disconnect(vm, eventfd);
	if (has_msi) {
		eventfd->msi = msi;
		eventfd->is_sent = !tell_mote(vm, eventfd, 0);
	} else {
		chipset_watch(vm, eventfd, true);
	}
}

static void irqfds_follow(struct shim_vm *vm)
{
	for (struct eventfd *eventfd = vm->irqfds; eventfd; eventfd = eventfd->next)
		follow(vm, eventfd);
}

/* Which eventfd a descriptor stands for, as the kernel shows it; -1: none. */
static int eventfd_id(int fd)
{
	char path[40], text[256], *at;
	int info, size;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	info = open(path, O_RDONLY | O_CLOEXEC);
	size = info < 0 ? 0 : read(info, text, sizeof(text) - 1);
	if (info >= 0)
		close(info);
	text[size > 0 ? size : 0] = 0;
	at = strstr(text, "eventfd-id:");
	return at ? atoi(at + 11) : -1;
}

/* A copy of its descriptor: the client may close its own. */
static int eventfd_make(int fd, struct eventfd **made)
{
	struct eventfd *eventfd;
	int id = eventfd_id(fd);

	if (id < 0)
		return fcntl(fd, F_GETFD) < 0 ? -EBADF : -EINVAL;
	eventfd = calloc(1, sizeof(*eventfd));
	if (!eventfd)
		return -ENOMEM;
	eventfd->id = id;
	eventfd->fd = fcntl(fd, F_DUPFD_CLOEXEC, 512);
	if (eventfd->fd < 0) {
		free(eventfd);
		return -EMFILE;
	}
	*made = eventfd;
	return 0;
}

static void eventfd_free(struct eventfd *eventfd)
{
	close(eventfd->fd);
	free(eventfd);
}

static struct eventfd **find_irqfd(struct shim_vm *vm, int id)
{
	struct eventfd **at = &vm->irqfds;

	while (*at && (*at)->id != id)
		at = &(*at)->next;
	return at;
}

static int irqfd_add(struct shim_vm *vm, const struct kvm_irqfd *irqfd)
{
	struct eventfd *eventfd;
	int err = eventfd_make(irqfd->fd, &eventfd);

	if (err)
		return err;
	if (*find_irqfd(vm, eventfd->id)) {
		eventfd_free(eventfd);
		return -EBUSY;
	}
	eventfd->gsi = irqfd->gsi;
	eventfd->next = vm->irqfds;
	vm->irqfds = eventfd;
	follow(vm, eventfd);
	return 0;
}

/* KVM does not mind if it is not there. */
static int irqfd_remove(struct shim_vm *vm, const struct kvm_irqfd *irqfd)
{
	struct eventfd **at = find_irqfd(vm, eventfd_id(irqfd->fd)), *eventfd = *at;

	if (!eventfd || eventfd->gsi != irqfd->gsi)
		return 0;
	disconnect(vm, eventfd);
	*at = eventfd->next;
	eventfd_free(eventfd);
	return 0;
}

int call_irqfd(struct object *object, void *data, unsigned long argument)
{
	const struct kvm_irqfd *irqfd = data;
	struct shim_vm *vm = vm_of(object);
	int err = -EINVAL;

	(void)argument;
	pthread_mutex_lock(&vm->lock);
	chipset_lock(vm);
	if (vm->irqchip && !(irqfd->flags & ~KVM_IRQFD_FLAG_DEASSIGN) && irqfd->gsi < MAX_ROUTES)
		err = irqfd->flags ? irqfd_remove(vm, irqfd) : irqfd_add(vm, irqfd);
	chipset_unlock(vm);
	pthread_mutex_unlock(&vm->lock);
	return err;
}

/* ---- routes ---------------------------------------------------------------------- */

static bool is_route(const struct shim_vm *vm, const struct kvm_irq_routing_entry *route)
{
	if (route->gsi >= MAX_ROUTES || route->flags)
		return false;
	if (route->type == KVM_IRQ_ROUTING_IRQCHIP)
		return vm->chipset && route->u.irqchip.irqchip < KVM_NR_IRQCHIPS &&
		       route->u.irqchip.pin < (route->u.irqchip.irqchip == KVM_IRQCHIP_IOAPIC ?
					       KVM_IOAPIC_NUM_PINS : 8);
	return route->type == KVM_IRQ_ROUTING_MSI && vm->irqchip;
}

int call_set_routing(struct object *object, void *data, unsigned long argument)
{
	struct kvm_irq_routing_entry *routes;
	struct shim_vm *vm = vm_of(object);
	struct kvm_irq_routing head;
	int err;

	(void)data;
	if (client_read(&head, argument, sizeof(head)))
		return -EFAULT;
	if (head.nr > MAX_ROUTES || head.flags)
		return -EINVAL;
	routes = calloc(head.nr + 1, sizeof(*routes));
	if (!routes)
		return -ENOMEM;
	pthread_mutex_lock(&vm->lock);
	err = client_read(routes, argument + sizeof(head), head.nr * sizeof(*routes));
	for (__u32 i = 0; i < head.nr && !err; i++)
		err = is_route(vm, &routes[i]) ? 0 : -EINVAL;
	if (!err) {
		struct kvm_irq_routing_entry *old = vm->routes;

		chipset_lock(vm);
		vm->routes = routes;
		vm->nr_routes = head.nr;
		routes = old;
		irqfds_follow(vm);
		chipset_unlock(vm);
	}
	pthread_mutex_unlock(&vm->lock);
	free(routes);
	return err;
}

/* ---- ioeventfds ------------------------------------------------------------------ */

#define IO_FLAGS (KVM_IOEVENTFD_FLAG_DATAMATCH | KVM_IOEVENTFD_FLAG_PIO | KVM_IOEVENTFD_FLAG_DEASSIGN)

/* A port's is the module's; one in memory is libmote's, which decodes the write. */
static int connect_io(struct shim_vm *vm, const struct eventfd *eventfd, bool adds)
{
	const struct kvm_ioeventfd *io = &eventfd->io;
	__u32 match = io->flags & KVM_IOEVENTFD_FLAG_DATAMATCH ? MOTE_IOEVENTFD_MATCH : 0;
	const struct mote_ioeventfd port = {
		.fd = eventfd->fd, .flags = match | (adds ? 0 : MOTE_EVENTFD_REMOVE), .port = io->addr,
		.size = io->len, .value = match ? io->datamatch : 0,
	};
	const struct mote_doorbell bell = {
		.gpa = io->addr, .fd = eventfd->fd, .flags = match, .size = io->len,
		.value = match ? io->datamatch : 0,
	};
	int err;

	if (io->flags & KVM_IOEVENTFD_FLAG_PIO)
		return io->addr > 0xffff ? -EINVAL : mote_ioeventfd(vm->machine.fd, &port);
	pthread_rwlock_wrlock(&vm->memory_lock);
	err = adds ? mote_machine_add_doorbell(&vm->machine, &bell) :
		     mote_machine_remove_doorbell(&vm->machine, &bell);
	pthread_rwlock_unlock(&vm->memory_lock);
	return err;
}

void ioeventfds_follow(struct shim_vm *vm)
{
	for (struct eventfd *eventfd = vm->ioeventfds; eventfd; eventfd = eventfd->next)
		if (eventfd->io.flags & KVM_IOEVENTFD_FLAG_PIO)
			connect_io(vm, eventfd, true);
}

static int ioeventfd_add(struct shim_vm *vm, const struct kvm_ioeventfd *io)
{
	struct eventfd *eventfd;
	int err = eventfd_make(io->fd, &eventfd);

	if (err)
		return err;
	eventfd->io = *io;
	err = connect_io(vm, eventfd, true);
	if (err) {
		eventfd_free(eventfd);
		return err;
	}
	eventfd->next = vm->ioeventfds;
	vm->ioeventfds = eventfd;
	return 0;
}

static bool is_same_io(const struct kvm_ioeventfd *a, const struct kvm_ioeventfd *b)
{
	return a->addr == b->addr && a->len == b->len && a->datamatch == b->datamatch &&
	       !((a->flags ^ b->flags) & ~KVM_IOEVENTFD_FLAG_DEASSIGN);
}

static int ioeventfd_remove(struct shim_vm *vm, const struct kvm_ioeventfd *io)
{
	int id = eventfd_id(io->fd);

	for (struct eventfd **at = &vm->ioeventfds; *at; at = &(*at)->next) {
		struct eventfd *eventfd = *at;

		if (!is_same_io(&eventfd->io, io) || eventfd->id != id)
			continue;
		connect_io(vm, eventfd, false);
		*at = eventfd->next;
		eventfd_free(eventfd);
		return 0;
	}
	return -ENOENT;
}

int call_ioeventfd(struct object *object, void *data, unsigned long argument)
{
	const struct kvm_ioeventfd *io = data;
	struct shim_vm *vm = vm_of(object);
	int err;

	(void)argument;
	pthread_mutex_lock(&vm->lock);
	if (io->flags & ~IO_FLAGS)
		err = -EINVAL;
	else if (io->flags & KVM_IOEVENTFD_FLAG_DEASSIGN)
		err = ioeventfd_remove(vm, io);
	else
		err = ioeventfd_add(vm, io);
	pthread_mutex_unlock(&vm->lock);
	return err;
}

/* ---- the end --------------------------------------------------------------------- */

void eventfds_destroy(struct shim_vm *vm)
{
	struct eventfd **lists[] = { &vm->irqfds, &vm->ioeventfds };

	for (size_t i = 0; i < ARRAY_SIZE(lists); i++)
		while (*lists[i]) {
			struct eventfd *eventfd = *lists[i];

			*lists[i] = eventfd->next;
			eventfd_free(eventfd);
		}
}
