/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A machine with virtio devices, the real ones, and a driver for them: its registers, its queues, and
 * what the host's kernel and the far ends of the devices do.
 */
#ifndef VIRTIO_DRIVER_H
#define VIRTIO_DRIVER_H

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/pci_regs.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_console.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_net.h>
#include <linux/virtio_pci.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../userspace/runner/disk.h"
#include "../userspace/runner/net.h"
#include "../userspace/runner/runner.h"
#include "../userspace/runner/traffic.h"
#include "../userspace/runner/virtio.h"
#include "device_console.h"
#include "device_vm.h"
#include "complaints.h"

#define MEMORY 0x100000
#define QUEUE_AT(nr) (0x1000 + 0x4000 * (nr))
#define AVAIL 0x1000
#define USED 0x2000
#define SIZE 8			/* of a queue */
#define DATA 0x20000
#define IMAGE_SIZE 0x2800000
#define REGISTERS_SIZE 0x2000
#define CONFIG 0x200
#define ISR 0x100

enum { BLK, NET, RNG, CONSOLE, BALLOON };

static struct options options = { .nr_nics = 1, .nics = { { .where = "user" } }, .cpus = 1, .memory = MEMORY,
	.nr_consoles = 1, .consoles = { "socket" }, .balloon = MEMORY / 2 };
static struct mote_area area;
static struct vm vm = {
	.options = &options, .fd = -1, .name = "test", .machine = { .fd = -1, .nr_areas = 1, .areas = &area },
	.lock = PTHREAD_MUTEX_INITIALIZER, .memory_fd = -1,
};

/* ---- what else the runner has ------------------------------------------------------- */

static bool is_held;

void vm_hold(struct vm *which, const char *format, ...)
{
	va_list args;

	(void)which;
	va_start(args, format);
	vsnprintf(said, sizeof(said), format, args);
	va_end(args);
	is_held = true;
}

static unsigned int nr_discards;
static __u64 discarded;

void memory_discard(struct vm *which, void *hva, __u64 size)
{
	(void)which;
	(void)hva;
	nr_discards++;
	discarded += size;
}

/* A network that keeps what it gets, and from which the tests send. */
static struct net wire;

static bool vm_is_free, card_is_held;
static unsigned char sent[FRAME_MOST];
static size_t nr_sent;

static inline bool is_locked(pthread_mutex_t *lock)
{
	if (pthread_mutex_trylock(lock))
		return true;
	pthread_mutex_unlock(lock);
	return false;
}

static inline void keep_frame(struct net *net, const void *frame, size_t size)
{
	memcpy(sent, frame, size);
	nr_sent = size;
	vm_is_free = !is_locked(&vm.lock);
	card_is_held = is_locked(net->lock);
}

static inline void leave_network(struct net *net)
{
	(void)net;
}

struct net *net_user_create(struct vm *which, const struct nic *nic, const struct net *card)
{
	static const struct net_ops ops = { .transmit = keep_frame, .destroy = leave_network };

	(void)which;
	(void)nic;
	wire = *card;
	wire.ops = &ops;
	return &wire;
}

/* What the console has been given, and how much more it takes. */
static char written[64];
static size_t nr_written, console_takes = SIZE_MAX;

size_t console_write(struct console *console, const void *data, size_t nr)
{
	(void)console;
	nr = nr < console_takes ? nr : console_takes;
	for (size_t i = 0; i < nr; i++)
		written[nr_written++ % sizeof(written)] = ((const char *)data)[i];
	console_takes -= nr;
	return nr;
}

void console_wants_more(struct console *console)
{
	(void)console;
}

/* What a device has counted. */
static inline __u64 counted(enum traffic_kind kind, unsigned int count)
{
	return traffic_read(traffic_get(&vm, kind, 0), count);
}

/* ---- the host's kernel -------------------------------------------------------------- */

static bool has_no_ring;
static int write_error, sync_error, nr_synced, nr_writes, write_flags;
static pthread_mutex_t writing = PTHREAD_MUTEX_INITIALIZER;	/* whoever has it holds writes up */
static size_t most_moved, most_punched;

int io_uring_queue_init(unsigned int entries, struct io_uring *ring, unsigned int flags)
{
	int (*init)(unsigned int entries, struct io_uring *ring, unsigned int flags) =
		dlsym(RTLD_NEXT, "io_uring_queue_init");

	return has_no_ring ? -EPERM : init(entries, ring, flags);
}

static inline void note(size_t *most, size_t size)
{
	*most = size > *most ? size : *most;
}

ssize_t pwritev2(int fd, const struct iovec *iov, int nr, off_t offset, int flags)
{
	note(&most_moved, iov_size(iov, nr));
	nr_writes++;
	write_flags |= flags;
	pthread_mutex_lock(&writing);
	pthread_mutex_unlock(&writing);
	if (!write_error)
		return syscall(SYS_pwritev2, fd, iov, nr, offset, 0, flags);
	errno = write_error;
	return -1;
}

int fallocate(int fd, int mode, off_t offset, off_t size)
{
	note(&most_punched, size);
	return syscall(SYS_fallocate, fd, mode, offset, size);
}

int fdatasync(int fd)
{
	nr_synced++;
	if (!sync_error)
		return syscall(SYS_fdatasync, fd);
	errno = sync_error;
	return -1;
}

/* ---- the driver --------------------------------------------------------------------- */

static inline void handle_events(int timeout_ms)
{
	struct pollfd some = { .fd = vm.io.epoll, .events = POLLIN };

	while (poll(&some, 1, timeout_ms) == 1) {
		loop_run_once(&vm.io);
		timeout_ms = 0;
	}
}

static inline void put(unsigned int device, unsigned int at, unsigned int size, __u64 data)
{
	bus_write(&vm, SPACE_MMIO, PCI_MEMORY_FIRST + device * REGISTERS_SIZE + at, size, data);
}

static inline __u64 get(unsigned int device, unsigned int at, unsigned int size)
{
	return bus_read(&vm, SPACE_MMIO, PCI_MEMORY_FIRST + device * REGISTERS_SIZE + at, size);
}

static inline struct vring_desc *desc(unsigned int nr)
{
	return (void *)(area.hva + QUEUE_AT(nr));
}

static inline struct vring_avail *avail(unsigned int nr)
{
	return (void *)(area.hva + QUEUE_AT(nr) + AVAIL);
}

static inline volatile struct vring_used *used(unsigned int nr)
{
	return (void *)(area.hva + QUEUE_AT(nr) + USED);
}

/* Up to, and without DRIVER_OK. */
static inline void begin(unsigned int device, unsigned int nr_queues)
{
	put(device, VIRTIO_PCI_COMMON_STATUS, 1, 0);
	put(device, VIRTIO_PCI_COMMON_STATUS, 1, 3);
	for (unsigned int half = 0; half < 2; half++) {
		put(device, VIRTIO_PCI_COMMON_DFSELECT, 4, half);
		put(device, VIRTIO_PCI_COMMON_GFSELECT, 4, half);
		put(device, VIRTIO_PCI_COMMON_GF, 4, get(device, VIRTIO_PCI_COMMON_DF, 4));
	}
	put(device, VIRTIO_PCI_COMMON_STATUS, 1, 11);
	for (unsigned int nr = 0; nr < nr_queues; nr++) {
		memset(area.hva + QUEUE_AT(nr), 0, USED + 0x1000);
		put(device, VIRTIO_PCI_COMMON_Q_SELECT, 2, nr);
		put(device, VIRTIO_PCI_COMMON_Q_SIZE, 2, SIZE);
		put(device, VIRTIO_PCI_COMMON_Q_DESCLO, 4, QUEUE_AT(nr));
		put(device, VIRTIO_PCI_COMMON_Q_AVAILLO, 4, QUEUE_AT(nr) + AVAIL);
		put(device, VIRTIO_PCI_COMMON_Q_USEDLO, 4, QUEUE_AT(nr) + USED);
		put(device, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
	}
}

static inline void start(unsigned int device, unsigned int nr_queues)
{
	begin(device, nr_queues);
	put(device, VIRTIO_PCI_COMMON_STATUS, 1, 15);
	handle_events(0);
}

static inline bool needs_reset(unsigned int device)
{
	return get(device, VIRTIO_PCI_COMMON_STATUS, 1) & VIRTIO_CONFIG_S_NEEDS_RESET;
}

static inline void notify(unsigned int device, unsigned int nr)
{
	bus_write(&vm, SPACE_PORT, PCI_IO_FIRST + 16 * device + 2 * nr, 2, nr);
	handle_events(0);
}

static inline void make_available(unsigned int nr, __u16 head)
{
	avail(nr)->ring[avail(nr)->idx % SIZE] = head;
	avail(nr)->idx++;
}

/* Whether it becomes true, for which there are at least five minutes: a machine may be busy. */
#define COMES_TRUE(condition) ({					\
	for (int round = 0; round < 30000 && !(condition); round++)	\
		handle_events(10);					\
	(condition);							\
})

/* True if all has been used. */
static inline bool wait_for(unsigned int nr)
{
	return COMES_TRUE(used(nr)->idx == avail(nr)->idx);
}

/* ---- disks ---------------------------------------------------------------------------- */

#define HEADER DATA
#define STATUS (DATA + 0x100)
#define BUFFER (DATA + 0x1000)
#define NOT_YET 0xee

static inline void ask_disk(__u32 type, __u64 sector, __u32 size)
{
	struct virtio_blk_outhdr header = { .type = type, .sector = sector };
	__u16 in = type == VIRTIO_BLK_T_IN ? VRING_DESC_F_WRITE : 0;

	memcpy(area.hva + HEADER, &header, sizeof(header));
	area.hva[STATUS] = NOT_YET;
	desc(0)[0] = (struct vring_desc) { HEADER, sizeof(header), VRING_DESC_F_NEXT, size ? 1 : 2 };
	desc(0)[1] = (struct vring_desc) { BUFFER, size, VRING_DESC_F_NEXT | in, 2 };
	desc(0)[2] = (struct vring_desc) { STATUS, 1, VRING_DESC_F_WRITE, 0 };
	make_available(0, 0);
	notify(BLK, 0);
}

static inline __u8 ask_and_wait(__u32 type, __u64 sector, __u32 size)
{
	ask_disk(type, sector, size);
	return wait_for(0) ? area.hva[STATUS] : NOT_YET;
}

/* ---- PCI -------------------------------------------------------------------------------- */

static unsigned int slot;

static inline void select_config(unsigned int at)
{
	bus_write(&vm, SPACE_PORT, 0xcf8, 4, 1u << 31 | (__u32)slot << 11 | at);
}

static inline __u64 config_get(unsigned int at, unsigned int size)
{
	select_config(at & ~3u);
	return bus_read(&vm, SPACE_PORT, 0xcfc + (at & 3), size);
}

static inline void config_put(unsigned int at, unsigned int size, __u64 data)
{
	select_config(at & ~3u);
	bus_write(&vm, SPACE_PORT, 0xcfc + (at & 3), size, data);
}

/* Turn to the function of that kind, and find its capability of that type; 0: there is none. */
static inline unsigned int find_capability(unsigned int id, __u8 type)
{
	unsigned int at;

	for (slot = 0; slot < 32 && config_get(PCI_VENDOR_ID, 4) != ((0x1040 + id) << 16 | 0x1af4); slot++)
		;
	at = slot < 32 ? config_get(PCI_CAPABILITY_LIST, 1) : 0;
	for (; at; at = config_get(at + PCI_CAP_LIST_NEXT, 1))
		if (config_get(at, 1) == PCI_CAP_ID_VNDR &&
		    config_get(at + VIRTIO_PCI_CAP_CFG_TYPE, 1) == type)
			break;
	return at;
}

/* ---- the machine ---------------------------------------------------------------------------- */

static inline bool make_memory(void)
{
	vm.memory_fd = memfd_create("memory", MFD_CLOEXEC);
	area.size = MEMORY;
	area.hva = ftruncate(vm.memory_fd, MEMORY) ? MAP_FAILED :
		   mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED, vm.memory_fd, 0);
	vm.ram = area.hva;
	vm.low = MEMORY;
	return area.hva != MAP_FAILED;
}

/* The disk's, a new one. */
static inline bool make_image(unsigned int sector, __u64 size)
{
	static char path[32];
	static int fd = -1;

	if (fd >= 0)
		close(fd);
	fd = memfd_create("image", 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	options.disks[0] = (struct disk) { .path = path, .sector = sector };
	options.nr_disks = 1;
	return fd >= 0 && !ftruncate(fd, size);
}

static inline bool create_devices(void)
{
	screen_size = (struct tty_size) { 80, 25 };
	if (!loop_create(&vm.io, &vm, NULL) && !pci_create(&vm) && !chipset_create(&vm) &&
	    !virtio_blk_create(&vm) && !virtio_net_create(&vm) && !virtio_rng_create(&vm) &&
	    !virtio_console_create(&vm) && !virtio_balloon_create(&vm))
		return true;
	printf("# cannot make the machine: %s\n", said);
	return false;
}

static inline void destroy(void)
{
	devices_destroy(&vm);
	loop_destroy(&vm.io);
}

#endif /* VIRTIO_DRIVER_H */
