// SPDX-License-Identifier: GPL-2.0
/* What of a virtio device is saved and loaded: its registers, and where its queues are. */
#include <stdio.h>

#include "virtio.h"

/* Who has taken a chain and not given it back takes it again. */
static void queue_state(struct virtqueue *queue, struct state *state)
{
	__u16 next_avail = queue->next_avail - queue->is_begun, next_used = queue->next_used;
	bool enabled = queue->enabled;

	STATE(state, queue, size);
	STATE(state, queue, vector);
	STATE(state, queue, desc);
	STATE(state, queue, avail);
	STATE(state, queue, used);
	state_flag(state, "enabled", &enabled, sizeof(enabled));
	state_value(state, "next_avail", &next_avail, sizeof(next_avail));
	state_value(state, "next_used", &next_used, sizeof(next_used));
	state_require(state, queue->size && queue->size <= VIRTQUEUE_SIZE &&
		      !(queue->size & (queue->size - 1)), "there is no queue of such a size");
	if (!state->loads || state_has_failed(state) || !enabled)
		return;
	state_require(state, virtqueue_enable(queue), "the queue is not in memory");
	queue->next_avail = next_avail;
	queue->next_used = next_used;
}

void virtio_state(struct device *device, struct state *state)
{
	struct virtio *virtio = container_of(device, struct virtio, pci.device);
	char name[16];

	if (virtio->nr_outside)
		state_fail(state, "%s is served outside of the runner, which does not know all of its state",
			   virtio->ops->name);
	/* Nothing is in flight: what it has been begins as what was just made. */
	if (state->loads)
		virtio_reset(virtio);
	virtio->generation += virtio->is_changed;
	virtio->is_changed = false;
	pci_state(&virtio->pci, state);
	STATE(state, virtio, driver_features);
	STATE(state, virtio, status);
	STATE(state, virtio, isr);
	STATE(state, virtio, generation);
	STATE(state, virtio, config_vector);
	STATE(state, virtio, select);
	STATE(state, virtio, device_select);
	STATE(state, virtio, driver_select);
	state_require(state, !(virtio->status & VIRTIO_CONFIG_S_FEATURES_OK) ||
		      !(virtio->driver_features & ~virtio_offered(virtio)),
		      "the guest uses features that the device does not have here");
	for (unsigned int i = 0; i < virtio->ops->nr_queues; i++) {
		snprintf(name, sizeof(name), "queue%u", i);
		if (!state_enter(state, name))
			continue;
		queue_state(&virtio->queues[i], state);
		state_leave(state);
	}
	if (virtio->ops->state)
		virtio->ops->state(virtio, state);
}
