// SPDX-License-Identifier: GPL-2.0
/*
 * Virtio consoles: each a function of one port, and the size of the screen.  VIRTIO 1.2, "Console
 * Device".  What the far end cannot take yet stays in the driver's buffer, and input is not
 * fetched before the driver has buffers for it.
 */
#include <endian.h>
#include <linux/virtio_console.h>
#include <linux/virtio_ids.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "console.h"
#include "runner.h"
#include "tty.h"
#include "virtio.h"

#define QUEUE_RX 0
#define QUEUE_TX 1
#define INPUT_MOST 64

struct port {
	struct virtio virtio;
	struct virtio_console_config config;
	struct console *console;
	size_t nr_input;
	unsigned char input[INPUT_MOST];
	struct chain output;	/* of the driver's, if its queue is begun */
	size_t sent;		/* of a chain that is taken again, after the state was loaded */
};

/* ---- input ----------------------------------------------------------------------- */

static void deliver(struct port *port)
{
	struct virtqueue *queue = &port->virtio.queues[QUEUE_RX];
	struct chain chain;
	size_t nr;

	while (port->nr_input && virtqueue_pop(queue, &chain)) {
		nr = iov_write(chain.iov + chain.nr_out, chain.nr_in, port->input, port->nr_input);
		port->nr_input -= nr;
		memmove(port->input, port->input + nr, port->nr_input);
		virtqueue_push(queue, chain.head, nr);
	}
}

/* A driver that is not ready yet would miss what is typed. */
static size_t console_room(void *device)
{
	const struct port *port = device;

	return virtio_is_ready(&port->virtio) ? INPUT_MOST - port->nr_input : 0;
}

static void console_input(void *device, const void *data, size_t nr)
{
	struct port *port = device;

	memcpy(port->input + port->nr_input, data, nr);
	port->nr_input += nr;
	deliver(port);
}

/* ---- output ---------------------------------------------------------------------- */

/* Write one chain, or what can be written of it: then false. */
static bool send_chain(struct port *port)
{
	struct chain *chain = &port->output;

	for (unsigned int i = 0; i < chain->nr_out; i++) {
		struct iovec *iov = &chain->iov[i];

		while (iov->iov_len) {
			size_t nr = console_write(port->console, iov->iov_base, iov->iov_len);

			if (!nr)
				return false;
			iov->iov_base = (char *)iov->iov_base + nr;
			iov->iov_len -= nr;
		}
	}
	return true;
}

/* The next one, but for what has been written of it. */
static bool take_chain(struct port *port)
{
	struct chain *chain = &port->output;

	if (!virtqueue_pop(&port->virtio.queues[QUEUE_TX], chain))
		return false;
	for (unsigned int i = 0; i < chain->nr_out; i++) {
		struct iovec *iov = &chain->iov[i];
		size_t nr = iov->iov_len < port->sent ? iov->iov_len : port->sent;

		iov->iov_base = (char *)iov->iov_base + nr;
		iov->iov_len -= nr;
		port->sent -= nr;
	}
	port->sent = 0;
	return true;
}

static void send_all(struct port *port)
{
	struct virtqueue *queue = &port->virtio.queues[QUEUE_TX];

	while (queue->is_begun || take_chain(port)) {
		queue->is_begun = !send_chain(port);
		if (queue->is_begun)
			break;
		virtqueue_push(queue, port->output.head, 0);
	}
}

static void console_writable(void *device)
{
	send_all(device);
}

/* ---- size ------------------------------------------------------------------------ */

static void set_size(struct port *port, const struct tty_size *size)
{
	port->config.cols = htole16(size->columns);
	port->config.rows = htole16(size->rows);
}

static void console_resized(void *device, const struct tty_size *size)
{
	struct port *port = device;

	set_size(port, size);
	virtio_config_changed(&port->virtio);
}

/* ---- the driver ------------------------------------------------------------------- */

static void console_kick(struct virtio *virtio, struct virtqueue *queue)
{
	struct port *port = container_of(virtio, struct port, virtio);

	if (queue == &virtio->queues[QUEUE_TX]) {
		send_all(port);
		return;
	}
	deliver(port);
	if (!port->nr_input)
		console_wants_more(port->console);
}

static bool console_reset(struct virtio *virtio)
{
	container_of(virtio, struct port, virtio)->sent = 0;
	return true;
}

/* How much of the chain that is begun has been written. */
static size_t bytes_sent(struct port *port)
{
	struct virtqueue *queue = &port->virtio.queues[QUEUE_TX];
	const struct chain *chain = &port->output;
	struct chain whole;

	if (!queue->is_begun || !virtqueue_again(queue, chain->head, &whole))
		return port->sent;
	return iov_size(whole.iov, whole.nr_out) - iov_size(chain->iov, chain->nr_out);
}

static void console_state(struct virtio *virtio, struct state *state)
{
	struct port *port = container_of(virtio, struct port, virtio);
	__u64 sent = state->loads ? 0 : bytes_sent(port);

	state_value(state, "sent", &sent, sizeof(sent));
	STATE(state, port, nr_input);
	STATE(state, port, input);
	state_require(state, port->nr_input <= INPUT_MOST, "there is too much input");
	port->sent = state->loads ? sent : port->sent;
}

static void console_destroy(struct virtio *virtio)
{
	struct port *port = container_of(virtio, struct port, virtio);

	console_close(port->console);
	free(port);
}

static const struct virtio_ops ops = {
	.name = "virtio-console", .id = VIRTIO_ID_CONSOLE, .class = 0x078000, .nr_queues = 2,
	.kick = console_kick, .state = console_state, .reset = console_reset, .destroy = console_destroy,
};

static const struct console_ops console_ops = {
	.room = console_room, .input = console_input, .writable = console_writable,
	.resized = console_resized,
};

/* Named as Linux has them. */
static int create(struct vm *vm, unsigned int number)
{
	struct port *port = calloc(1, sizeof(*port));
	struct tty_size size;
	char name[16];

	if (!port) {
		complain("no memory for the console");
		return -1;
	}
	port->virtio.config = &port->config;
	port->virtio.config_size = sizeof(port->config);
	port->virtio.features = 1ull << VIRTIO_CONSOLE_F_SIZE;
	if (virtio_create(vm, &port->virtio, &ops)) {
		free(port);
		return -1;
	}
	snprintf(name, sizeof(name), "hvc%u", number);
	port->console = console_open(vm, &console_ops, port, name, vm->options->consoles[number]);
	if (!port->console)
		return -1;
	console_size(port->console, &size);
	set_size(port, &size);
	return 0;
}

int virtio_console_create(struct vm *vm)
{
	for (unsigned int i = 0; i < vm->options->nr_consoles; i++)
		if (create(vm, i))
			return -1;
	return 0;
}
