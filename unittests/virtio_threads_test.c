// SPDX-License-Identifier: GPL-2.0
/*
 * The runner's virtio devices and PCI bus with as many threads as a machine has: each device has a
 * driver, which resets it again and again; another one moves BARs and switches interrupts on and
 * off; frames come from a thread of the network's; and the I/O thread works.  By ThreadSanitizer.
 */
#include <linux/pci_regs.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_pci.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../userspace/runner/net.h"
#include "../userspace/runner/runner.h"
#include "../userspace/runner/virtio.h"
#include "device_mirror.h"
#include "device_vm.h"
#include "tests.h"

#define MEMORY 0x100000
#define IMAGE_SIZE 0x100000
#define REGISTERS_SIZE 0x2000
#define MSIX_TABLE 0x1000
#define SIZE 8			/* of a queue */
#define ROUNDS 200
#define RESETS 10		/* in so many rounds one */
#define FRAME 64

enum { BLK, NET, RNG, MOVED, NR_DEVICES };

/* Each has a part of memory: two queues, and a buffer. */
#define PART 0x20000
#define QUEUE(device, nr) (0x10000 + PART * (device) + 0x4000 * (nr))
#define AVAIL 0x1000
#define USED 0x2000
#define BUFFER(device) (QUEUE(device, 2))
#define BUFFER_SIZE 0x10000

static struct options options = {
	.nr_nics = 1, .nics = { { .where = "user" } }, .cpus = 1, .memory = MEMORY,
};
static struct mote_area area;
static struct vm vm = {
	.options = &options, .fd = -1, .name = "test", .machine = { .fd = -1, .nr_areas = 1, .areas = &area },
	.lock = PTHREAD_MUTEX_INITIALIZER, .memory_fd = -1,
};
static bool is_over;

const char *__tsan_default_options(void);

const char *__tsan_default_options(void)
{
	return "halt_on_error=1:exitcode=1";
}

/* ---- what else the runner has ------------------------------------------------------- */

void complain(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	printf("# ");
	vprintf(format, args);
	printf("\n");
	va_end(args);
}

void vm_hold(struct vm *which, const char *format, ...)
{
	(void)which;
	(void)format;
}

static bool has_ended(const struct vm *which)
{
	(void)which;
	return __atomic_load_n(&is_over, __ATOMIC_ACQUIRE);
}

/* ---- a driver --------------------------------------------------------------------------- */

static void put(unsigned int device, unsigned int at, unsigned int size, __u64 data)
{
	bus_write(&vm, SPACE_MMIO, PCI_MEMORY_FIRST + device * REGISTERS_SIZE + at, size, data);
}

static __u64 get(unsigned int device, unsigned int at, unsigned int size)
{
	return bus_read(&vm, SPACE_MMIO, PCI_MEMORY_FIRST + device * REGISTERS_SIZE + at, size);
}

static void config_put(unsigned int slot, unsigned int at, unsigned int size, __u64 data)
{
	bus_write(&vm, SPACE_PORT, 0xcf8, 4, 1u << 31 | (__u32)slot << 11 | (at & ~3u));
	bus_write(&vm, SPACE_PORT, 0xcfc + (at & 3), size, data);
}

static void *at(unsigned int address)
{
	return area.hva + address;
}

/* "4.1.4.3.2": wait for the reset; and then up to DRIVER_OK. */
static void start(unsigned int device, unsigned int nr_queues)
{
	put(device, VIRTIO_PCI_COMMON_STATUS, 1, 0);
	while (get(device, VIRTIO_PCI_COMMON_STATUS, 1))
		sched_yield();
	put(device, VIRTIO_PCI_COMMON_GFSELECT, 4, 1);
	put(device, VIRTIO_PCI_COMMON_GF, 4, 1u << (VIRTIO_F_VERSION_1 - 32));
	put(device, VIRTIO_PCI_COMMON_STATUS, 1, 11);
	for (unsigned int nr = 0; nr < nr_queues; nr++) {
		memset(at(QUEUE(device, nr)), 0, USED + 0x1000);
		put(device, VIRTIO_PCI_COMMON_Q_SELECT, 2, nr);
		put(device, VIRTIO_PCI_COMMON_Q_SIZE, 2, SIZE);
		put(device, VIRTIO_PCI_COMMON_Q_DESCLO, 4, QUEUE(device, nr));
		put(device, VIRTIO_PCI_COMMON_Q_AVAILLO, 4, QUEUE(device, nr) + AVAIL);
		put(device, VIRTIO_PCI_COMMON_Q_USEDLO, 4, QUEUE(device, nr) + USED);
		put(device, VIRTIO_PCI_COMMON_Q_MSIX, 2, 0);
		put(device, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
	}
	put(device, VIRTIO_PCI_COMMON_STATUS, 1, 15);
}

/* Make the chain that begins with descriptor 0 available. */
static void give(unsigned int device, unsigned int nr)
{
	struct vring_avail *avail = at(QUEUE(device, nr) + AVAIL);

	__atomic_store_n(&avail->idx, avail->idx + 1, __ATOMIC_RELEASE);
	bus_write(&vm, SPACE_PORT, PCI_IO_FIRST + 16 * device + 2 * nr, 2, nr);
}

static void wait_until_used(unsigned int device, unsigned int nr)
{
	const struct vring_avail *avail = at(QUEUE(device, nr) + AVAIL);
	const struct vring_used *used = at(QUEUE(device, nr) + USED);

	while (__atomic_load_n(&used->idx, __ATOMIC_ACQUIRE) != avail->idx)
		sched_yield();
}

static bool is_reset_now(unsigned int round)
{
	return round % RESETS == RESETS - 1;
}

static void *drive_disk(void *unused)
{
	struct vring_desc *desc = at(QUEUE(BLK, 0));
	struct virtio_blk_outhdr header = { 0 };
	char *buffer = at(BUFFER(BLK));

	for (unsigned int round = 0; round < ROUNDS; round++) {
		if (!(round % RESETS))
			start(BLK, 1);
		header.type = round & 1 ? VIRTIO_BLK_T_IN : VIRTIO_BLK_T_OUT;
		header.sector = round;
		memcpy(buffer, &header, sizeof(header));
		desc[0] = (struct vring_desc) { BUFFER(BLK), sizeof(header), VRING_DESC_F_NEXT, 1 };
		desc[1] = (struct vring_desc) {
			BUFFER(BLK) + 0x1000, 0x8000,
			VRING_DESC_F_NEXT | (round & 1 ? VRING_DESC_F_WRITE : 0), 2,
		};
		desc[2] = (struct vring_desc) { BUFFER(BLK) + 0x800, 1, VRING_DESC_F_WRITE, 0 };
		give(BLK, 0);
		/* Or the reset meets what is in flight. */
		if (!is_reset_now(round))
			wait_until_used(BLK, 0);
	}
	return unused;
}

static void *drive_card(void *unused)
{
	struct vring_desc *in = at(QUEUE(NET, 0)), *out = at(QUEUE(NET, 1));

	for (unsigned int round = 0; round < ROUNDS; round++) {
		if (!(round % RESETS))
			start(NET, 2);
		in[0] = (struct vring_desc) { BUFFER(NET), 0x1000, VRING_DESC_F_WRITE, 0 };
		out[0] = (struct vring_desc) { BUFFER(NET) + 0x1000, 12 + FRAME, 0, 0 };
		give(NET, 0);
		give(NET, 1);
		wait_until_used(NET, 1);
		wait_until_used(NET, 0);
	}
	return unused;
}

static void *drive_rng(void *unused)
{
	struct vring_desc *desc = at(QUEUE(RNG, 0));

	for (unsigned int round = 0; round < ROUNDS; round++) {
		if (!(round % RESETS))
			start(RNG, 1);
		desc[0] = (struct vring_desc) { BUFFER(RNG), 256, VRING_DESC_F_WRITE, 0 };
		give(RNG, 0);
		if (!is_reset_now(round))
			wait_until_used(RNG, 0);
	}
	return unused;
}

/* ---- others ---------------------------------------------------------------------------------- */

/* Frames from outside; those who send them have the card's lock. */
static void *send_frames(void *unused)
{
	static const unsigned char frame[FRAME];

	while (!has_ended(&vm)) {
		pthread_mutex_lock(mirror.lock);
		mirror.receive(mirror.card, frame, sizeof(frame));
		pthread_mutex_unlock(mirror.lock);
		usleep(100);
	}
	return unused;
}

/* Interrupts of all on and off, and one function here and there. */
static void *move_functions(void *unused)
{
	const unsigned int first = 2;	/* behind the chipset */

	for (unsigned int round = 0; !has_ended(&vm); round++) {
		unsigned int device = round % NR_DEVICES, slot = first + device;
		__u32 cap = PCI_STD_HEADER_SIZEOF;

		config_put(slot, cap + PCI_MSIX_FLAGS, 2, round & 4 ? PCI_MSIX_FLAGS_ENABLE : 0);
		config_put(first + MOVED, PCI_BASE_ADDRESS_1, 4, PCI_MEMORY_END - 0x2000 * (2 + round % 4));
		config_put(first + MOVED, PCI_COMMAND, 2, round & 8 ? PCI_COMMAND_MEMORY : 0);
		if (device != MOVED)
			put(device, MSIX_TABLE + 12, 4, round & 16);
		get(device, VIRTIO_PCI_COMMON_STATUS, 1);
	}
	return unused;
}

static void *work(void *unused)
{
	loop_run(&vm.io, has_ended);
	return unused;
}

/* Nothing is said but by ThreadSanitizer: a driver that is not served does not come to its end. */
static void all_at_once(void)
{
	static void *(*const drivers[])(void *) = { drive_disk, drive_card, drive_rng };
	static void *(*const others[])(void *) = { work, send_frames, move_functions };
	pthread_t driving[ARRAY_SIZE(drivers)], working[ARRAY_SIZE(others)];

	for (size_t i = 0; i < ARRAY_SIZE(others); i++)
		CHECK(!pthread_create(&working[i], NULL, others[i], NULL));
	for (size_t i = 0; i < ARRAY_SIZE(drivers); i++)
		CHECK(!pthread_create(&driving[i], NULL, drivers[i], NULL));
	for (size_t i = 0; i < ARRAY_SIZE(drivers); i++)
		pthread_join(driving[i], NULL);
	__atomic_store_n(&is_over, true, __ATOMIC_RELEASE);
	loop_wake(&vm.io);
	for (size_t i = 0; i < ARRAY_SIZE(others); i++)
		pthread_join(working[i], NULL);
}

int main(void)
{
	static const struct unit_test tests[] = { { "all devices at once", all_at_once } };
	int fd = memfd_create("image", 0), status;
	static char path[32];

	setvbuf(stdout, NULL, _IOLBF, 0);
	area.size = MEMORY;
	area.hva = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	options.disks[0].path = path;
	options.nr_disks = 1;
	if (area.hva == MAP_FAILED || fd < 0 || ftruncate(fd, IMAGE_SIZE) ||
	    loop_create(&vm.io, &vm, &vm.lock) || pci_create(&vm) || chipset_create(&vm) ||
	    virtio_blk_create(&vm) || virtio_net_create(&vm) ||
	    virtio_rng_create(&vm) || virtio_rng_create(&vm))
		return 1;
	status = run_all(tests, ARRAY_SIZE(tests));
	devices_destroy(&vm);
	loop_destroy(&vm.io);
	return status;
}
