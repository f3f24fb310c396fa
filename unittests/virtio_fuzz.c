// SPDX-License-Identifier: GPL-2.0
/*
 * The runner's virtio devices and PCI bus, with a driver that breaks every rule:
 * descriptors, indices, addresses and registers are rubbish near what is right.
 * Where the host's kernel serves sockets and networks, it gets the same.
 * Judges: the sanitizers, for whom the guest's memory is an allocation like any
 * other; the image, which keeps its size; and libFuzzer's clock.
 */
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "device_console.h"
#include "device_mirror.h"
#include "device_vm.h"
#include "../userspace/runner/net.h"
#include "../userspace/runner/virtio.h"

#include "fuzz.h"

#define MEMORY 0x10000
#define IMAGE_SIZE 0x20000
#define REGISTERS_SIZE 0x2000
#define MSIX 0x1000
#define DESC 0x1000
#define AVAIL 0x2000
#define USED 0x3000
#define HEADER 0x8000		/* of a request to a disk */
#define DEVICES 7		/* disk, network card, random numbers, console, balloon, two outside */
#define RNG 2
#define FS 6
#define QUEUES 3
#define EVENTS_MOST 64

static struct disk image;
static unsigned int nr_devices = DEVICES;
static struct options options = {
	.nr_nics = 1, .nics = { { .where = "user" } }, .cpus = 1, .nr_disks = 1, .nr_consoles = 1,
	.consoles = { "socket" }, .balloon = MEMORY / 2, .memory = MEMORY,
};
static struct mote_area area;
static struct vm vm = {
	.options = &options, .fd = -1, .machine = { .fd = -1, .nr_areas = 1, .areas = &area },
	.lock = PTHREAD_MUTEX_INITIALIZER, .memory_fd = -1,
};

/* ---- what else the runner has ------------------------------------------------------- */

void complain(const char *format, ...);

void complain(const char *format, ...)
{
	(void)format;
}

void vm_hold(struct vm *which, const char *format, ...)
{
	(void)which;
	(void)format;
}

/* A console that now takes all, now nothing, and has input of its own. */
static unsigned int turn;

size_t console_write(struct console *console, const void *data, size_t nr)
{
	static unsigned char screen[300];

	(void)console;
	nr = nr < ++turn % 4 * 100 ? nr : turn % 4 * 100;
	memcpy(screen, data, nr);
	return nr;
}

void console_wants_more(struct console *console)
{
	static const char typed[256];
	size_t room = console_ops->room(console_device);

	(void)console;
	if (room > sizeof(typed))
		abort();
	if (room)
		console_ops->input(console_device, typed, room);
}

/* A device whose queues are served outside: those get what is in memory. */
static int check_queues(struct virtio *virtio)
{
	for (unsigned int i = 0; i < virtio->nr_outside; i++) {
		const struct virtqueue *queue = &virtio->queues[i];
		const uint8_t *used = (const uint8_t *)queue->used_hva;

		if (queue->enabled && (used < area.hva || used + 6 + 8 * queue->size > area.hva + MEMORY)) {
			fprintf(stderr, "a queue that is not in memory is given away\n");
			abort();
		}
	}
	return turn % 8 ? 0 : -1;
}

static void leave(struct virtio *virtio)
{
	(void)virtio;
}

static int create_outside(void)
{
	static const struct virtio_ops ops = {
		.name = "outside", .id = 19, .nr_queues = 2, .start = check_queues, .destroy = leave,
	};
	static struct virtio virtio = { .nr_outside = 2 };

	return virtio_create(&vm, &virtio, &ops);
}

/* ---- a daemon for the file system ------------------------------------------------------- */

enum {
	GET_FEATURES = 1, SET_VRING_NUM = 8, SET_VRING_ADDR = 9, GET_VRING_BASE = 11,
	GET_PROTOCOL_FEATURES = 15,
};

#define REPLY 4
#define NEED_REPLY 8
#define REPLY_ACK 8
#define HEADER_SIZE 12

struct message {
	uint32_t request, flags, size, index, num;
	uint64_t desc, used, avail, rest[6];
} __attribute__((packed));

static int listening, memory_file;

static bool is_inside(uint64_t start, size_t size)
{
	uint64_t first = (uintptr_t)area.hva;

	return start >= first && start - first <= MEMORY && size <= MEMORY - (start - first);
}

/* What the driver can bring about is that queues are set up which are all in memory. */
static void check_message(const struct message *message)
{
	static uint32_t sizes[QUEUES];
	size_t size;

	if (message->request == SET_VRING_NUM && message->index < QUEUES)
		sizes[message->index] = message->num;
	if (message->request != SET_VRING_ADDR)
		return;
	size = message->index < QUEUES ? sizes[message->index] : 0;
	if (!size || !is_inside(message->desc, 16 * size) || !is_inside(message->used, 6 + 8 * size) ||
	    !is_inside(message->avail, 6 + 2 * size)) {
		fprintf(stderr, "the daemon gets a queue that is not in memory\n");
		abort();
	}
}

static bool answer(int fd, const struct message *message)
{
	uint64_t number = message->request == GET_FEATURES ? VIRTIO_FEATURES | 1ull << 30 :
			  message->request == GET_PROTOCOL_FEATURES ? REPLY_ACK : 0;
	struct message reply = { message->request, 1 | REPLY, sizeof(number), number, number >> 32 };
	bool is_asked = message->request == GET_FEATURES || message->request == GET_VRING_BASE ||
			message->request == GET_PROTOCOL_FEATURES || message->flags & NEED_REPLY;

	return !is_asked || send(fd, &reply, HEADER_SIZE + sizeof(number), MSG_NOSIGNAL) > 0;
}

/* The file descriptors that come along are dropped. */
static void *serve(void *unused)
{
	struct message message;
	int fd = accept(listening, NULL, NULL);

	while (recv(fd, &message, HEADER_SIZE, MSG_WAITALL) == HEADER_SIZE) {
		if (message.size > sizeof(message) - HEADER_SIZE ||
		    (message.size && recv(fd, &message.index, message.size, MSG_WAITALL) != message.size))
			abort();
		check_message(&message);
		if (!answer(fd, &message))
			break;
	}
	close(fd);
	return unused;
}

static int create_fs(void)
{
	static struct sockaddr_un address = { .sun_family = AF_UNIX };
	pthread_t daemon;
	int err;

	snprintf(address.sun_path, sizeof(address.sun_path), "/tmp/virtio_fuzz.%d", getpid());
	listening = socket(AF_UNIX, SOCK_STREAM, 0);
	memory_file = memfd_create("memory", 0);
	options.nr_shares = 1;
	options.shares[0] = (struct share) { .tag = "fs", .path = address.sun_path };
	if (memory_file < 0 || bind(listening, (struct sockaddr *)&address, sizeof(address)) ||
	    listen(listening, 1) || pthread_create(&daemon, NULL, serve, NULL))
		return -1;
	err = virtio_fs_create(&vm);
	unlink(address.sun_path);
	return err;
}

/* Interfaces are somebody's who made them before: so is this. */
static int create_tap(const char *name)
{
	struct ifreq request = { .ifr_flags = IFF_TAP | IFF_NO_PI };
	int fd = open("/dev/net/tun", O_RDWR), err;

	strcpy(request.ifr_name, name);
	err = fd < 0 || ioctl(fd, TUNSETIFF, &request) || ioctl(fd, TUNSETPERSIST, 1) ? -1 : 0;
	close(fd);
	return err;
}

static int create_by_kernel(void)
{
	if (!access("/dev/vhost-vsock", W_OK)) {
		options.vsock = 42;
		nr_devices++;
		if (virtio_vsock_create(&vm))
			return -1;
	}
	if (access("/dev/vhost-net", W_OK))
		return 0;
	nr_devices++;
	options.nics[1].where = NET_VHOST "fuzz0";
	return create_tap("fuzz0") ? -1 : virtio_vhost_net_create(&vm, 1);
}

/* ---- the machine ------------------------------------------------------------------------ */

static void make(void)
{
	static char path[32];
	int fd = memfd_create("image", 0);

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	options.disks[0] = (struct disk) { .path = path };
	area = (struct mote_area) { .size = MEMORY, .hva = aligned_alloc(4096, MEMORY) };
	if (fd < 0 || ftruncate(fd, IMAGE_SIZE) || !area.hva || loop_create(&vm.io, &vm, NULL) ||
	    pci_create(&vm) || chipset_create(&vm) || virtio_blk_create(&vm) || virtio_net_create(&vm) ||
	    virtio_rng_create(&vm) || virtio_console_create(&vm) || virtio_balloon_create(&vm) ||
	    create_outside() || create_fs() || create_by_kernel()) {
		perror("making the machine");
		abort();
	}
	vm.ram = area.hva;
	vm.low = MEMORY;
	image.path = path;
}

/* What the I/O thread would do now. */
static void handle_events(void)
{
	struct pollfd some = { .fd = vm.io.epoll, .events = POLLIN };

	for (int i = 0; i < EVENTS_MOST && poll(&some, 1, 0) == 1; i++)
		loop_run_once(&vm.io);
}

static void check_image(void)
{
	FILE *file = fopen(image.path, "r");

	if (!file || fseek(file, 0, SEEK_END) || ftell(file) != IMAGE_SIZE) {
		fprintf(stderr, "the image has another size\n");
		abort();
	}
	fclose(file);
}

/* ---- the driver ---------------------------------------------------------------------------- */

static void write_register(unsigned int device, unsigned int at, unsigned int size, __u64 data)
{
	bus_write(&vm, SPACE_MMIO, PCI_MEMORY_FIRST + device * REGISTERS_SIZE + at, size, data);
}

static __u64 read_register(unsigned int device, unsigned int at, unsigned int size)
{
	return bus_read(&vm, SPACE_MMIO, PCI_MEMORY_FIRST + device * REGISTERS_SIZE + at, size);
}

static void set_up_queue(unsigned int device, unsigned int queue, struct fuzz_input *input)
{
	uint16_t size = fuzz_u16(input), shift = fuzz_u16(input);

	write_register(device, VIRTIO_PCI_COMMON_Q_SELECT, 2, queue);
	write_register(device, VIRTIO_PCI_COMMON_Q_SIZE, 2, size % 8 ? 1u << size % 10 : size);
	/* Now and then not where memory is. */
	write_register(device, VIRTIO_PCI_COMMON_Q_DESCLO, 4, DESC << (shift % 16 == 1 ? 4 : 0));
	write_register(device, VIRTIO_PCI_COMMON_Q_AVAILLO, 4, AVAIL + (shift >> 8) % 4);
	write_register(device, VIRTIO_PCI_COMMON_Q_USEDLO, 4, shift % 16 == 2 ? MEMORY - 64 : USED);
	write_register(device, VIRTIO_PCI_COMMON_Q_MSIX, 2, queue);
	write_register(device, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
}

static void set_up(unsigned int device, struct fuzz_input *input)
{
	write_register(device, VIRTIO_PCI_COMMON_STATUS, 1, 0);
	write_register(device, VIRTIO_PCI_COMMON_STATUS, 1, 3);
	for (unsigned int half = 0; half < 2; half++) {
		write_register(device, VIRTIO_PCI_COMMON_DFSELECT, 4, half);
		write_register(device, VIRTIO_PCI_COMMON_GFSELECT, 4, half);
		write_register(device, VIRTIO_PCI_COMMON_GF, 4,
			       read_register(device, VIRTIO_PCI_COMMON_DF, 4));
	}
	write_register(device, VIRTIO_PCI_COMMON_STATUS, 1, 11);
	for (unsigned int queue = 0; queue < QUEUES; queue++)
		set_up_queue(device, queue, input);
	write_register(device, VIRTIO_PCI_COMMON_STATUS, 1, 15);
}

/* Descriptors whose fields are mostly in range, and what they point to. */
static void fill_descriptors(struct fuzz_input *input)
{
	struct vring_desc *desc = (void *)(area.hva + DESC);
	struct virtio_blk_outhdr header = {
		.type = fuzz_u16(input) % 16, .sector = fuzz_u16(input) % 300,
	};

	memcpy(area.hva + HEADER, &header, sizeof(header));
	for (unsigned int i = fuzz_u16(input) % 32; i; i--, desc++) {
		uint16_t where = fuzz_u16(input), what = fuzz_u16(input);

		*desc = (struct vring_desc) {
			.addr = where % 4 ? where & 0xff00 : where % 64 ? HEADER : ~0ull << where % 61,
			.len = where % 4 == 0 ? sizeof(header) : what & 0xf ? what >> 4 : (__u32)what << 16,
			.flags = what % 8, .next = fuzz_u16(input) % 40,
		};
	}
}

static void fill_rings(struct fuzz_input *input)
{
	struct vring_avail *avail = (void *)(area.hva + AVAIL);
	unsigned int nr = fuzz_u16(input) % 16;

	avail->flags = nr & 1;
	for (unsigned int i = 0; i < nr; i++)
		avail->ring[i] = fuzz_u16(input) % 33;
	avail->idx += fuzz_u16(input) % 20;
}

static void kick(unsigned int device, unsigned int queue)
{
	bus_write(&vm, SPACE_PORT, PCI_IO_FIRST + 16 * device + 2 * queue, 4, 0);
}

static volatile bool is_flooding;

static uint16_t indices(uint16_t *avail)
{
	*avail = *(volatile uint16_t *)(area.hva + AVAIL + offsetof(struct vring_avail, idx));
	return *(volatile uint16_t *)(area.hva + USED + offsetof(struct vring_used, idx));
}

/* Make available again what the device gives back, at once. */
static void *flood(void *unused)
{
	struct vring_avail *avail = (void *)(area.hva + AVAIL);
	uint16_t old;

	while (is_flooding)
		avail->idx = indices(&old) + VIRTQUEUE_SIZE;
	return unused;
}

/* Under such a driver: a kick takes one ring of buffers at most, and the rest is taken later. */
static void kick_flooded(void)
{
	for (unsigned int i = 0; i < 1000000; i++) {
		uint16_t avail, before = indices(&avail), after;

		kick(RNG, 0);
		after = indices(&avail);
		if ((uint16_t)(after - before) > VIRTQUEUE_SIZE)
			break;
		handle_events();
		if (indices(&avail) != after)
			return;
	}
	fprintf(stderr, "a device takes all that its driver puts back, or does not go on with it\n");
	abort();
}

static void check_flood(void)
{
	static const uint8_t zeros[64];
	struct fuzz_input input = { zeros, sizeof(zeros) };
	uint16_t avail, used;
	pthread_t driver;

	*(struct vring_desc *)(area.hva + DESC) = (struct vring_desc) { HEADER, 16, VRING_DESC_F_WRITE, 0 };
	set_up(RNG, &input);
	is_flooding = true;
	if (pthread_create(&driver, NULL, flood, NULL))
		abort();
	kick_flooded();
	is_flooding = false;
	pthread_join(driver, NULL);
	kick(RNG, 0);
	handle_events();
	used = indices(&avail);
	if (used != avail) {
		fprintf(stderr, "of %u buffers %u have been taken\n", avail, used);
		abort();
	}
}

/* What a driver would do, but for at most one field: a request with its parts in three buffers. */
static void make_request(unsigned int device, struct fuzz_input *input)
{
	struct vring_desc *desc = (void *)(area.hva + DESC);
	struct vring_avail *avail = (void *)(area.hva + AVAIL);
	struct virtio_blk_outhdr header = {
		.type = fuzz_u16(input) % 16, .sector = fuzz_u16(input) % 260,
	};
	uint16_t size = fuzz_u16(input), what = fuzz_u16(input);
	bool in = !header.type || header.type == VIRTIO_BLK_T_GET_ID || what & 1;

	memcpy(area.hva + HEADER, &header, sizeof(header));
	desc[0] = (struct vring_desc) { HEADER, sizeof(header), VRING_DESC_F_NEXT, 1 };
	desc[1] = (struct vring_desc) {
		0x9000, size % 64 * 512, VRING_DESC_F_NEXT | (in ? VRING_DESC_F_WRITE : 0), 2,
	};
	desc[2] = (struct vring_desc) { 0x7000, 1 + size / 64, VRING_DESC_F_WRITE, 0 };
	if (what % 8 == 7)
		((uint8_t *)desc)[what / 8 % 48] ^= 1u << what / 512 % 8;
	avail->ring[avail->idx % 64] = 0;
	avail->ring[avail->idx % 256] = 0;
	avail->idx++;
	kick(device, what / 16 % QUEUES);
}

/* The chipset has the first ones. */
static unsigned int slot(unsigned int device)
{
	return device + 2;
}

static void step(unsigned int device, struct fuzz_input *input)
{
	uint16_t what = fuzz_u16(input), at = fuzz_u16(input), data = fuzz_u16(input);
	unsigned int size = 1u << what / 16 % 3, where;

	switch (what % 8) {
	case 0:
		fill_descriptors(input);
		break;
	case 1:
		fill_rings(input);
		break;
	case 2:
		write_register(device, at % REGISTERS_SIZE, size, data);
		break;
	case 3:
		read_register(device, at % REGISTERS_SIZE, size);
		break;
	case 4:
		write_register(device, MSIX + at % 64, 4, data);
		break;
	case 5:
		/* Or another function, which may be one of the chipset's, or none. */
		where = at >> 8 & 7 ? slot(device) << 3 : at >> 11;
		bus_write(&vm, SPACE_PORT, 0xcf8, 4, 1u << 31 | where << 8 | (at & 0xfc));
		bus_write(&vm, SPACE_PORT, 0xcfc + (at & 3), size, data);
		bus_read(&vm, SPACE_PORT, 0xcfc + (at & 3), size);
		break;
	case 6:
		make_request(device, input);
		break;
	default:
		kick(device, at % QUEUES);
		handle_events();
		console_ops->writable(console_device);
	}
}

/* Give it its BARs back, should it have lost them. */
static void set_bars(unsigned int device)
{
	const __u32 values[][2] = {
		{ 0x10, PCI_IO_FIRST + 16 * device },
		{ 0x14, PCI_MEMORY_FIRST + REGISTERS_SIZE * device },
		{ 0x04, 7 },
	};

	for (unsigned int i = 0; i < 3; i++) {
		bus_write(&vm, SPACE_PORT, 0xcf8, 4, 1u << 31 | slot(device) << 11 | values[i][0]);
		bus_write(&vm, SPACE_PORT, 0xcfc, 4, values[i][1]);
	}
}

/* Whatever is in flight, it comes to its end. */
static void reset(unsigned int device)
{
	set_bars(device);
	write_register(device, VIRTIO_PCI_COMMON_STATUS, 1, 0);
	while (read_register(device, VIRTIO_PCI_COMMON_STATUS, 1))
		loop_run_once(&vm.io);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = { data, size };
	unsigned int device = fuzz_u16(&input);
	bool is_first = !area.hva;

	if (is_first)
		make();
	device %= nr_devices;
	for (unsigned int i = 0; i < nr_devices; i++)
		set_bars(i);
	memset(area.hva, 0, MEMORY);
	if (is_first)
		check_flood();
	/* Sent along, and looked at by nobody: memory that ASan knows is no file. */
	vm.memory_fd = device == FS ? memory_file : -1;
	set_up(device, &input);
	while (input.size)
		step(device, &input);
	handle_events();
	for (unsigned int i = 0; i < nr_devices; i++)
		reset(i);
	check_image();
	return 0;
}
