// SPDX-License-Identifier: GPL-2.0
/* Virtqueues that the host's kernel serves: linux/vhost.h. */
#include <errno.h>
#include <fcntl.h>
#include <linux/vhost.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "keep.h"
#include "runner.h"
#include "vhost.h"

int vhost_open(const char *path, __u64 *features)
{
	int fd = keep_take_fd("vhost", path), err;
	bool is_owned = fd >= 0;

	if (!is_owned)
		fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if ((is_owned || !ioctl(fd, VHOST_SET_OWNER)) && !ioctl(fd, VHOST_GET_FEATURES, features)) {
		if ((*features & VIRTIO_FEATURES) == VIRTIO_FEATURES)
			return fd;
		errno = EOPNOTSUPP;
	}
	err = -errno;
	close(fd);
	return err;
}

void vhost_close(const char *path, int fd)
{
	keep_fd("vhost", path, fd);
}

static int set_memory(int fd, const struct mote_machine *machine)
{
	struct vhost_memory *memory =
		calloc(1, sizeof(*memory) + machine->nr_areas * sizeof(memory->regions[0]));
	int err;

	if (!memory)
		return -1;
	for (size_t i = 0; i < machine->nr_areas; i++) {
		const struct mote_area *area = &machine->areas[i];

		if (area->flags & MOTE_SLOT_READONLY)
			continue;
		memory->regions[memory->nregions++] = (struct vhost_memory_region) {
			.guest_phys_addr = area->gpa, .memory_size = area->size,
			.userspace_addr = (unsigned long)area->hva,
		};
	}
	err = ioctl(fd, VHOST_SET_MEM_TABLE, memory);
	free(memory);
	return err;
}

static int set_queue(int fd, const struct virtqueue *queue, unsigned int index)
{
	const struct vhost_vring_state size = { .index = index, .num = queue->size };
	const struct vhost_vring_state base = { .index = index };
	const struct vhost_vring_addr parts = {
		.index = index, .desc_user_addr = (unsigned long)queue->desc_hva,
		.avail_user_addr = (unsigned long)queue->avail_hva,
		.used_user_addr = (unsigned long)queue->used_hva,
	};
	const struct vhost_vring_file kick = { .index = index, .fd = queue->notify.fd };
	const struct vhost_vring_file call = { .index = index, .fd = queue->call };

	if (ioctl(fd, VHOST_SET_VRING_NUM, &size) || ioctl(fd, VHOST_SET_VRING_BASE, &base) ||
	    ioctl(fd, VHOST_SET_VRING_ADDR, &parts) || ioctl(fd, VHOST_SET_VRING_KICK, &kick))
		return -1;
	return ioctl(fd, VHOST_SET_VRING_CALL, &call);
}

int vhost_refused(struct virtio *virtio)
{
	if (!virtio->is_refused)
		complain("%s: the host's kernel refuses the guest's queues: %m", virtio->ops->name);
	virtio->is_refused = true;
	return -1;
}

int vhost_start(int fd, const struct virtio *virtio, __u64 features)
{
	if (ioctl(fd, VHOST_SET_FEATURES, &features) ||
	    set_memory(fd, &virtio->pci.device.vm->machine))
		return -1;
	for (unsigned int i = 0; i < virtio->nr_outside; i++)
		if (!virtio->queues[i].enabled || set_queue(fd, &virtio->queues[i], i))
			return -1;
	return 0;
}
