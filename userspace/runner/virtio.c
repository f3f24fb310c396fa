// SPDX-License-Identifier: GPL-2.0
/*
 * Virtio over PCI: the registers.  BAR 0 has the notification ports, which the
 * module turns into eventfds, so that a guest that notifies does not wait for
 * us; BAR 1 has all that is seldom touched.
 *
 * Not here: the legacy interface, interrupt pins.
 */
#include <linux/pci_regs.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "runner.h"
#include "virtio.h"

#define VENDOR 0x1af4
#define DEVICE_BASE 0x1040
#define REVISION 1

#define BAR_NOTIFY 0
#define BAR_REGISTERS 1
#define NOTIFY_STEP 2
#define NOTIFY_SIZE (NOTIFY_STEP * VIRTQUEUES_MOST)

/* What is where in BAR_REGISTERS. */
#define COMMON 0x000
#define COMMON_SIZE 0x40
#define ISR 0x100
#define ISR_SIZE 4
#define CONFIG 0x200
#define CONFIG_SIZE 0x100
#define MSIX_TABLE 0x1000
#define MSIX_PENDING 0x1800
#define REGISTERS_SIZE 0x2000

#define ISR_QUEUE 1
#define ISR_CONFIG 2

static struct virtio *virtio_of(struct device *device)
{
	return container_of(device, struct virtio, pci.device);
}

/* ---- interrupts ------------------------------------------------------------------ */

void virtio_interrupt(struct virtqueue *queue)
{
	queue->virtio->isr |= ISR_QUEUE;
	msix_send(&queue->virtio->pci, queue->vector);
}

void virtio_config_changed(struct virtio *virtio)
{
	virtio->is_changed = true;
	virtio->isr |= ISR_CONFIG;
	msix_send(&virtio->pci, virtio->config_vector);
}

void virtio_break(struct virtio *virtio)
{
	virtio->status |= VIRTIO_CONFIG_S_NEEDS_RESET;
	virtio_config_changed(virtio);
}

/* Let the module turn calls into messages; those that are held back wait in the eventfd. */
static void route(struct virtqueue *queue)
{
	struct pci_device *pci = &queue->virtio->pci;
	struct mote_irqfd irqfd = {
		.fd = queue->call, .flags = MOTE_EVENTFD_REMOVE, .msi = queue->message,
	};
	bool is_sent = msix_message(pci, queue->vector, &queue->message);
	int vm = pci->device.vm->machine.fd;

	if (queue->is_routed && is_sent && !memcmp(&irqfd.msi, &queue->message, sizeof(irqfd.msi)))
		return;
	if (queue->is_routed)
		mote_irqfd(vm, &irqfd);
	irqfd.flags = 0;
	irqfd.msi = queue->message;
	queue->is_routed = is_sent && !mote_irqfd(vm, &irqfd);
}

static void msix_changed(struct pci_device *pci)
{
	struct virtio *virtio = virtio_of(&pci->device);

	for (unsigned int i = 0; i < virtio->nr_outside; i++)
		route(&virtio->queues[i]);
}

/* ---- notifications --------------------------------------------------------------- */

/* In the I/O thread; queues that are served outside are notified there. */
static void notified(struct vm *vm, struct source *source, __u32 events)
{
	struct virtqueue *queue = container_of(source, struct virtqueue, notify);
	struct virtio *virtio = queue->virtio;
	eventfd_t times;

	(void)vm;
	(void)events;
	eventfd_read(source->fd, &times);
	virtqueue_refill(queue);
	if (virtqueue_is_live(queue))
		virtio->ops->kick(virtio, queue);
}

/* What the driver has put into its queues before it was ready is looked at now. */
static void notify_all(struct virtio *virtio)
{
	for (unsigned int i = 0; i < virtio->ops->nr_queues; i++)
		if (virtio->queues[i].enabled)
			eventfd_write(virtio->queues[i].notify.fd, 1);
}

/* Where a port is claimed, its writes end in the eventfd and nowhere else. */
static void claim_port(struct virtqueue *queue, __u16 port)
{
	struct mote_ioeventfd ioeventfd = {
		.fd = queue->notify.fd, .flags = MOTE_EVENTFD_REMOVE, .port = queue->port,
		.size = 2,
	};
	int vm = queue->virtio->pci.device.vm->machine.fd;

	if (queue->port)
		mote_ioeventfd(vm, &ioeventfd);
	ioeventfd.flags = 0;
	ioeventfd.port = port;
	queue->port = port && !mote_ioeventfd(vm, &ioeventfd) ? port : 0;
}

static void moved(struct pci_device *pci, unsigned int bar)
{
	struct virtio *virtio = virtio_of(&pci->device);
	__u16 port = pci->bars[bar].mapped ? pci->bars[bar].address : 0;

	if (bar != BAR_NOTIFY)
		return;
	for (unsigned int i = 0; i < virtio->ops->nr_queues; i++)
		claim_port(&virtio->queues[i], port ? port + NOTIFY_STEP * i : 0);
}

/* ---- registers ---------------------------------------------------------------------- */

static void disable_queues(struct virtio *virtio)
{
	for (unsigned int i = 0; i < virtio->ops->nr_queues; i++) {
		virtio->queues[i].enabled = false;
		virtio->queues[i].is_begun = false;
	}
}

static void forget_driver(struct virtio *virtio)
{
	virtio->status = 0;
	virtio->isr = 0;
	virtio->driver_features = 0;
	virtio->config_vector = VIRTIO_MSI_NO_VECTOR;
	virtio->pci.msix_pending = 0;
	for (unsigned int i = 0; i < virtio->ops->nr_queues; i++) {
		struct virtqueue *queue = &virtio->queues[i];

		queue->size = VIRTQUEUE_SIZE;
		queue->vector = VIRTIO_MSI_NO_VECTOR;
		queue->desc = 0;
		queue->avail = 0;
		queue->used = 0;
	}
	msix_changed(&virtio->pci);
}

/*
 * "4.1.4.3.2": the driver reads the status until that is 0.  As long as something is in flight it
 * is what it was, and the memory is the device's.
 */
void virtio_reset(struct virtio *virtio)
{
	disable_queues(virtio);
	virtio->is_resetting = virtio->ops->reset && !virtio->ops->reset(virtio);
	if (!virtio->is_resetting)
		forget_driver(virtio);
}

void virtio_settled(struct virtio *virtio)
{
	if (virtio->is_resetting)
		virtio_reset(virtio);
}

static void set_status(struct virtio *virtio, __u8 status)
{
	bool was_ready = (virtio->status & VIRTIO_READY) == VIRTIO_READY;

	if (!status) {
		virtio_reset(virtio);
		return;
	}
	/* Who has accepted what was not offered, or nothing of this version, gets no further. */
	if (status & VIRTIO_CONFIG_S_FEATURES_OK &&
	    (virtio->driver_features & ~virtio_offered(virtio) ||
	     !(virtio->driver_features >> VIRTIO_F_VERSION_1 & 1)))
		status &= ~VIRTIO_CONFIG_S_FEATURES_OK;
	virtio->status = status | (virtio->status & VIRTIO_CONFIG_S_NEEDS_RESET);
	if (was_ready || (status & VIRTIO_READY) != VIRTIO_READY)
		return;
	if (virtio->ops->start && virtio->ops->start(virtio))
		virtio_break(virtio);
	else
		notify_all(virtio);
}

/* The queue that is being set up; NULL if there is none of that number. */
static struct virtqueue *selected(struct virtio *virtio)
{
	return virtio->select < virtio->ops->nr_queues ? &virtio->queues[virtio->select] : NULL;
}

static __u64 read_queue(const struct virtio *virtio, const struct virtqueue *queue,
			unsigned int offset)
{
	if (!queue)
		return 0;
	switch (offset) {
	case VIRTIO_PCI_COMMON_Q_SIZE:
		return queue->size;
	case VIRTIO_PCI_COMMON_Q_MSIX:
		return queue->vector;
	case VIRTIO_PCI_COMMON_Q_ENABLE:
		return queue->enabled;
	case VIRTIO_PCI_COMMON_Q_NOFF:
		return virtio->select;
	case VIRTIO_PCI_COMMON_Q_DESCLO:
		return queue->desc;
	case VIRTIO_PCI_COMMON_Q_DESCHI:
		return queue->desc >> 32;
	case VIRTIO_PCI_COMMON_Q_AVAILLO:
		return queue->avail;
	case VIRTIO_PCI_COMMON_Q_AVAILHI:
		return queue->avail >> 32;
	case VIRTIO_PCI_COMMON_Q_USEDLO:
		return queue->used;
	case VIRTIO_PCI_COMMON_Q_USEDHI:
		return queue->used >> 32;
	}
	return 0;
}

static __u64 read_common(struct virtio *virtio, unsigned int offset)
{
	switch (offset) {
	case VIRTIO_PCI_COMMON_DFSELECT:
		return virtio->device_select;
	case VIRTIO_PCI_COMMON_DF:
		return virtio->device_select < 2 ?
		       virtio_offered(virtio) >> 32 * virtio->device_select : 0;
	case VIRTIO_PCI_COMMON_GFSELECT:
		return virtio->driver_select;
	case VIRTIO_PCI_COMMON_GF:
		return virtio->driver_select < 2 ?
		       virtio->driver_features >> 32 * virtio->driver_select : 0;
	case VIRTIO_PCI_COMMON_MSIX:
		return virtio->config_vector;
	case VIRTIO_PCI_COMMON_NUMQ:
		return virtio->ops->nr_queues;
	case VIRTIO_PCI_COMMON_STATUS:
		return virtio->status;
	case VIRTIO_PCI_COMMON_CFGGENERATION:
		return virtio->generation;
	case VIRTIO_PCI_COMMON_Q_SELECT:
		return virtio->select;
	}
	return read_queue(virtio, selected(virtio), offset);
}

/* A vector that is not there is refused by reading as none. */
static __u16 vector(const struct virtio *virtio, __u64 data)
{
	return data < virtio->pci.nr_vectors ? data : VIRTIO_MSI_NO_VECTOR;
}

static void put_half(__u64 *address, bool high, __u32 data)
{
	if (high)
		*address = (*address & 0xffffffff) | (__u64)data << 32;
	else
		*address = (*address & ~0xffffffffull) | data;
}

static void write_queue(struct virtio *virtio, struct virtqueue *queue, unsigned int offset,
			__u64 data)
{
	if (offset == VIRTIO_PCI_COMMON_Q_MSIX) {
		queue->vector = vector(virtio, data);
		msix_changed(&virtio->pci);
		return;
	}
	/* One that is enabled stays as it is. */
	if (queue->enabled)
		return;
	switch (offset) {
	case VIRTIO_PCI_COMMON_Q_SIZE:
		if (data && data <= VIRTQUEUE_SIZE && !(data & (data - 1)))
			queue->size = data;
		break;
	case VIRTIO_PCI_COMMON_Q_ENABLE:
		if (data == 1 && !virtqueue_enable(queue))
			virtio_break(virtio);
		break;
	case VIRTIO_PCI_COMMON_Q_DESCLO:
	case VIRTIO_PCI_COMMON_Q_DESCHI:
		put_half(&queue->desc, offset == VIRTIO_PCI_COMMON_Q_DESCHI, data);
		break;
	case VIRTIO_PCI_COMMON_Q_AVAILLO:
	case VIRTIO_PCI_COMMON_Q_AVAILHI:
		put_half(&queue->avail, offset == VIRTIO_PCI_COMMON_Q_AVAILHI, data);
		break;
	case VIRTIO_PCI_COMMON_Q_USEDLO:
	case VIRTIO_PCI_COMMON_Q_USEDHI:
		put_half(&queue->used, offset == VIRTIO_PCI_COMMON_Q_USEDHI, data);
		break;
	}
}

static void write_common(struct virtio *virtio, unsigned int offset, __u64 data)
{
	struct virtqueue *queue = selected(virtio);

	if (virtio->is_resetting)
		return;
	switch (offset) {
	case VIRTIO_PCI_COMMON_DFSELECT:
		virtio->device_select = data;
		break;
	case VIRTIO_PCI_COMMON_GFSELECT:
		virtio->driver_select = data;
		break;
	case VIRTIO_PCI_COMMON_GF:
		if (virtio->driver_select < 2)
			put_half(&virtio->driver_features, virtio->driver_select, data);
		break;
	case VIRTIO_PCI_COMMON_MSIX:
		virtio->config_vector = vector(virtio, data);
		break;
	case VIRTIO_PCI_COMMON_STATUS:
		set_status(virtio, data);
		break;
	case VIRTIO_PCI_COMMON_Q_SELECT:
		virtio->select = data;
		break;
	default:
		if (queue)
			write_queue(virtio, queue, offset, data);
	}
}

/* "4.1.4.3.1": a driver that has read parts of two configurations finds another generation. */
static __u64 read_config(struct virtio *virtio, unsigned int offset, unsigned int size)
{
	__u64 data = 0;

	virtio->generation += virtio->is_changed;
	virtio->is_changed = false;
	if (offset + size <= virtio->config_size)
		memcpy(&data, (const char *)virtio->config + offset, size);
	return data;
}

static __u64 virtio_read(struct device *device, const struct region *region, __u64 offset,
			 unsigned int size)
{
	struct virtio *virtio = virtio_of(device);
	__u8 isr = virtio->isr;

	if (region->id == BAR_NOTIFY)
		return 0;
	if (offset >= MSIX_PENDING)
		return offset == MSIX_PENDING ? virtio->pci.msix_pending : 0;
	if (offset >= MSIX_TABLE)
		return msix_read(&virtio->pci, offset - MSIX_TABLE, size);
	if (offset >= CONFIG)
		return read_config(virtio, offset - CONFIG, size);
	if (offset < COMMON + COMMON_SIZE)
		return read_common(virtio, offset - COMMON);
	if (offset != ISR)
		return 0;
	virtio->isr = 0;
	return isr;
}

static void virtio_write(struct device *device, const struct region *region, __u64 offset,
			 unsigned int size, __u64 data)
{
	struct virtio *virtio = virtio_of(device);

	if (region->id == BAR_NOTIFY) {
		/* Of another size than the module's eventfd takes. */
		if (offset / NOTIFY_STEP < virtio->ops->nr_queues)
			eventfd_write(virtio->queues[offset / NOTIFY_STEP].notify.fd, 1);
	} else if (offset >= MSIX_TABLE && offset < MSIX_PENDING) {
		msix_write(&virtio->pci, offset - MSIX_TABLE, size, data);
	} else if (offset >= CONFIG && offset + size <= CONFIG + virtio->config_size) {
		if (virtio->ops->configure)
			virtio->ops->configure(virtio, offset - CONFIG, size, data);
	} else if (offset < COMMON + COMMON_SIZE) {
		write_common(virtio, offset - COMMON, data);
	}
}

/* ---- registers by configuration space -------------------------------------------------- */

/* "PCI configuration access capability": for who cannot map BARs; it needs not be decoded. */
static void access_by_config(struct pci_device *pci, bool is_write)
{
	__u8 *data = pci->config + pci->window_at;
	struct virtio_pci_cap cap;
	struct region region = { 0 };
	__u64 value = 0;

	memcpy(&cap, data - sizeof(cap), sizeof(cap));
	region.id = cap.bar;
	if (cap.bar > BAR_REGISTERS || (cap.length != 1 && cap.length != 2 && cap.length != 4) ||
	    cap.offset % cap.length || cap.offset >= pci->bars[cap.bar].size)
		return;
	if (is_write) {
		memcpy(&value, data, cap.length);
		virtio_write(&pci->device, &region, cap.offset, cap.length, value);
	} else {
		value = virtio_read(&pci->device, &region, cap.offset, cap.length);
		memcpy(data, &value, cap.length);
	}
}

static void add_config_access(struct virtio *virtio)
{
	const struct virtio_pci_cfg_cap cap = {
		.cap = {
			.cap_vndr = PCI_CAP_ID_VNDR, .cap_len = sizeof(cap),
			.cfg_type = VIRTIO_PCI_CAP_PCI_CFG,
		},
	};
	struct pci_device *pci = &virtio->pci;
	unsigned int at = pci_add_capability(pci, &cap, sizeof(cap));

	pci->writable[at + VIRTIO_PCI_CAP_BAR] = 0xff;
	memset(pci->writable + at + VIRTIO_PCI_CAP_OFFSET, 0xff, sizeof(cap) - VIRTIO_PCI_CAP_OFFSET);
	pci->window_at = at + sizeof(cap.cap);
	pci->window = access_by_config;
}

/* ---- making one ---------------------------------------------------------------------- */

static void destroy_queues(struct virtio *virtio)
{
	for (unsigned int i = 0; i < virtio->ops->nr_queues; i++) {
		struct virtqueue *queue = &virtio->queues[i];

		if (queue->notify.fd < 0)
			continue;
		claim_port(queue, 0);
		source_remove(&queue->notify);
		close(queue->notify.fd);
		if (queue->call >= 0)
			close(queue->call);
	}
}

static void virtio_destroy(struct device *device)
{
	struct virtio *virtio = virtio_of(device);

	pthread_mutex_lock(&virtio->pci.lock);
	disable_queues(virtio);
	virtio->is_resetting = true;
	forget_driver(virtio);
	pthread_mutex_unlock(&virtio->pci.lock);
	destroy_queues(virtio);
	virtio->ops->destroy(virtio);
}

static bool virtio_drain(struct device *device)
{
	struct virtio *virtio = virtio_of(device);

	return !virtio->ops->drain || virtio->ops->drain(virtio);
}

static void virtio_resume(struct device *device)
{
	struct virtio *virtio = virtio_of(device);

	if (virtio->ops->resume)
		virtio->ops->resume(virtio);
	/* Of a machine whose state was loaded nobody has looked at the queues yet. */
	if (virtio_is_ready(virtio))
		notify_all(virtio);
}

static const struct device_ops device_ops = {
	.name = "virtio", .read = virtio_read, .write = virtio_write, .drain = virtio_drain,
	.resume = virtio_resume, .state = virtio_state, .destroy = virtio_destroy,
};

static void add_capability(struct virtio *virtio, __u8 type, __u8 bar, __u32 offset, __u32 length)
{
	struct virtio_pci_notify_cap cap = {
		.cap = {
			.cap_vndr = PCI_CAP_ID_VNDR, .cap_len = sizeof(cap.cap), .cfg_type = type,
			.bar = bar, .offset = offset, .length = length,
		},
		.notify_off_multiplier = NOTIFY_STEP,
	};

	if (type == VIRTIO_PCI_CAP_NOTIFY_CFG)
		cap.cap.cap_len = sizeof(cap);
	pci_add_capability(&virtio->pci, &cap, cap.cap.cap_len);
}

/* Its eventfds; false if they cannot be made. */
static bool create_queue(struct vm *vm, struct virtqueue *queue, bool is_outside)
{
	if (!is_outside)
		return !source_add_eventfd(&vm->io, &queue->notify);
	queue->notify.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (queue->notify.fd < 0)
		return false;
	queue->call = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return queue->call >= 0;
}

static int create_queues(struct vm *vm, struct virtio *virtio)
{
	for (unsigned int i = 0; i < virtio->ops->nr_queues; i++)
		virtio->queues[i] = (struct virtqueue) {
			.virtio = virtio, .call = -1,
			.notify = { .fd = -1, .ready = notified, .lock = &virtio->pci.lock },
			.vector = VIRTIO_MSI_NO_VECTOR,
		};
	for (unsigned int i = 0; i < virtio->ops->nr_queues; i++)
		if (!create_queue(vm, &virtio->queues[i], i < virtio->nr_outside)) {
			complain("%s: cannot make an eventfd: %m", virtio->ops->name);
			return -1;
		}
	return 0;
}

int virtio_create(struct vm *vm, struct virtio *virtio, const struct virtio_ops *ops)
{
	const struct pci_identity identity = {
		.vendor = VENDOR, .device = DEVICE_BASE + ops->id, .class = ops->class,
		.subsystem_vendor = VENDOR, .subsystem = DEVICE_BASE + ops->id, .revision = REVISION,
	};

	virtio->ops = ops;
	virtio->pci.device.vm = vm;
	virtio->pci.isr = &virtio->isr;
	virtio->pci.moved = moved;
	virtio->pci.msix_changed = msix_changed;
	if (create_queues(vm, virtio) || pci_add(vm, &virtio->pci, &device_ops, &identity)) {
		destroy_queues(virtio);
		return -1;
	}
	pci_add_bar(&virtio->pci, BAR_NOTIFY, SPACE_PORT, NOTIFY_SIZE);
	pci_add_bar(&virtio->pci, BAR_REGISTERS, SPACE_MMIO, REGISTERS_SIZE);
	pci_add_msix(&virtio->pci, BAR_REGISTERS, ops->nr_queues + 1, MSIX_TABLE, MSIX_PENDING);
	add_capability(virtio, VIRTIO_PCI_CAP_COMMON_CFG, BAR_REGISTERS, COMMON, COMMON_SIZE);
	add_capability(virtio, VIRTIO_PCI_CAP_NOTIFY_CFG, BAR_NOTIFY, 0, NOTIFY_SIZE);
	add_capability(virtio, VIRTIO_PCI_CAP_ISR_CFG, BAR_REGISTERS, ISR, ISR_SIZE);
	if (virtio->config_size)
		add_capability(virtio, VIRTIO_PCI_CAP_DEVICE_CFG, BAR_REGISTERS, CONFIG,
			       CONFIG_SIZE);
	add_config_access(virtio);
	virtio_reset(virtio);
	return 0;
}
