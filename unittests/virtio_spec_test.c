// SPDX-License-Identifier: GPL-2.0
/*
 * What VIRTIO 1.2 says that a device must do, and must bear from a driver: docs/virtio.md has a row
 * for each of its sentences, and the test here that shows it.
 */
#include <linux/virtio_balloon.h>
#include <stddef.h>
#include <sys/ioctl.h>

#include "virtio_driver.h"

/* A feature that nobody has. */
#define UNKNOWN (1ull << 50)
#define MSIX_TABLE 0x1000
#define MSIX_PENDING 0x1800
#define ISR_QUEUE 1
#define ISR_CONFIG 2

/* The queues that a device has, by its place. */
static const struct {
	unsigned int id, nr_queues;
} kinds[] = {
	[BLK] = { VIRTIO_ID_BLOCK, 1 }, [NET] = { VIRTIO_ID_NET, 2 }, [RNG] = { VIRTIO_ID_RNG, 1 },
	[CONSOLE] = { VIRTIO_ID_CONSOLE, 2 }, [BALLOON] = { VIRTIO_ID_BALLOON, 5 },
};

/* Messages that have been sent as interrupts. */
static unsigned int nr_messages;
static __u32 message;

int ioctl(int fd, unsigned long request, ...)
{
	va_list args;
	void *data;

	va_start(args, request);
	data = va_arg(args, void *);
	va_end(args);
	if (request != MOTE_MSI)
		return syscall(SYS_ioctl, fd, request, data);
	message = ((const struct mote_msi *)data)->data;
	nr_messages++;
	return 0;
}

/* ---- a driver that looks at everything ----------------------------------------------------- */

static void set_status(unsigned int device, __u8 status)
{
	put(device, VIRTIO_PCI_COMMON_STATUS, 1, status);
}

static __u8 get_status(unsigned int device)
{
	return get(device, VIRTIO_PCI_COMMON_STATUS, 1);
}

static __u64 offered(unsigned int device)
{
	__u64 features = 0;

	for (unsigned int half = 0; half < 2; half++) {
		put(device, VIRTIO_PCI_COMMON_DFSELECT, 4, half);
		features |= get(device, VIRTIO_PCI_COMMON_DF, 4) << 32 * half;
	}
	return features;
}

static void agree_on(unsigned int device, __u64 features)
{
	for (unsigned int half = 0; half < 2; half++) {
		put(device, VIRTIO_PCI_COMMON_GFSELECT, 4, half);
		put(device, VIRTIO_PCI_COMMON_GF, 4, (__u32)(features >> 32 * half));
	}
}

/* After a reset; does the device say that it is content? */
static bool is_content_with(unsigned int device, __u64 features)
{
	set_status(device, 0);
	set_status(device, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
	agree_on(device, features);
	set_status(device, 11);
	return get_status(device) & VIRTIO_CONFIG_S_FEATURES_OK;
}

static void select_queue(unsigned int device, unsigned int nr)
{
	put(device, VIRTIO_PCI_COMMON_Q_SELECT, 2, nr);
}

/* MSI-X on, with a message of its own in each vector. */
static void switch_msix(unsigned int device, bool on)
{
	unsigned int at;

	find_capability(kinds[device].id, VIRTIO_PCI_CAP_COMMON_CFG);
	for (at = config_get(PCI_CAPABILITY_LIST, 1); config_get(at, 1) != PCI_CAP_ID_MSIX;)
		at = config_get(at + PCI_CAP_LIST_NEXT, 1);
	config_put(at + PCI_MSIX_FLAGS, 2, on ? PCI_MSIX_FLAGS_ENABLE : 0);
	for (unsigned int i = 0; i <= (config_get(at + PCI_MSIX_FLAGS, 2) & PCI_MSIX_FLAGS_QSIZE); i++) {
		put(device, MSIX_TABLE + 16 * i, 4, 0xfee00000);
		put(device, MSIX_TABLE + 16 * i + 8, 4, 0x40 + i);
		put(device, MSIX_TABLE + 16 * i + 12, 4, 0);
	}
	nr_messages = 0;
}

/* A buffer of the random numbers', which are used at once. */
static void ask_rng(__u32 size)
{
	desc(0)[0] = (struct vring_desc) { BUFFER, size, VRING_DESC_F_WRITE, 0 };
	make_available(0, 0);
	notify(RNG, 0);
}

static __u32 last_length(unsigned int nr)
{
	return used(nr)->ring[(__u16)(used(nr)->idx - 1) % SIZE].len;
}

static void send_frame(void)
{
	static const unsigned char frame[60] = { 0xff };

	pthread_mutex_lock(wire.lock);
	wire.receive(wire.card, frame, sizeof(frame));
	pthread_mutex_unlock(wire.lock);
}

/* ---- the status ---------------------------------------------------------------------------- */

/* Nothing of the driver is left, in any of the devices. */
static void reset_forgets(void)
{
	for (unsigned int device = 0; device < ARRAY_SIZE(kinds); device++) {
		start(device, kinds[device].nr_queues);
		put(device, VIRTIO_PCI_COMMON_MSIX, 2, 0);
		EQ(15, get_status(device));
		set_status(device, 0);
		EQ(0, get_status(device));
		EQ(0, get(device, VIRTIO_PCI_COMMON_GF, 4));
		EQ(VIRTIO_MSI_NO_VECTOR, get(device, VIRTIO_PCI_COMMON_MSIX, 2));
		EQ(kinds[device].nr_queues, get(device, VIRTIO_PCI_COMMON_NUMQ, 2));
		for (unsigned int nr = 0; nr < kinds[device].nr_queues; nr++) {
			select_queue(device, nr);
			EQ(0, get(device, VIRTIO_PCI_COMMON_Q_ENABLE, 2));
			EQ(VIRTIO_MSI_NO_VECTOR, get(device, VIRTIO_PCI_COMMON_Q_MSIX, 2));
			EQ(VIRTQUEUE_SIZE, get(device, VIRTIO_PCI_COMMON_Q_SIZE, 2));
			EQ(0, get(device, VIRTIO_PCI_COMMON_Q_DESCLO, 4));
		}
	}
}

/* A device that has been reset leaves the memory alone, and says nothing. */
static void silent_after_reset(void)
{
	start(NET, 2);
	desc(0)[0] = (struct vring_desc) { BUFFER, 2048, VRING_DESC_F_WRITE, 0 };
	make_available(0, 0);
	set_status(NET, 0);
	notify(NET, 0);
	send_frame();
	EQ(0, used(0)->idx);
	EQ(0, get(NET, ISR, 1));
	start(CONSOLE, 2);
	desc(0)[0] = (struct vring_desc) { BUFFER, 64, VRING_DESC_F_WRITE, 0 };
	make_available(0, 0);
	set_status(CONSOLE, 0);
	EQ(0, console_ops->room(console_device));
	EQ(0, used(0)->idx);
}

/* Whatever happens meanwhile, and whatever the driver forgets to say. */
static void nothing_before_driver_ok(void)
{
	static const __u8 not_ready[] = { 3, 11, 7 };

	for (size_t i = 0; i < ARRAY_SIZE(not_ready); i++) {
		begin(NET, 2);
		set_status(NET, not_ready[i]);
		desc(0)[0] = (struct vring_desc) { BUFFER, 2048, VRING_DESC_F_WRITE, 0 };
		desc(1)[0] = (struct vring_desc) { BUFFER, 80, 0, 0 };
		make_available(0, 0);
		make_available(1, 0);
		nr_sent = 0;
		notify(NET, 0);
		notify(NET, 1);
		send_frame();
		EQ(0, used(0)->idx);
		EQ(0, used(1)->idx);
		EQ(0, nr_sent);
		EQ(0, get(NET, ISR, 1));
		set_status(NET, 15);
		handle_events(0);
		CHECK(wait_for(1));
		/* What came before is gone; what comes now is delivered. */
		send_frame();
		EQ(1, used(0)->idx);
	}
}

/* A driver that breaks the rules: it is told so, and nothing more is done for it. */
static void needs_reset_is_told(void)
{
	start(RNG, 1);
	switch_msix(RNG, true);
	put(RNG, VIRTIO_PCI_COMMON_MSIX, 2, 1);
	desc(0)[0] = (struct vring_desc) { MEMORY, 64, VRING_DESC_F_WRITE, 0 };
	make_available(0, 0);
	notify(RNG, 0);
	CHECK(needs_reset(RNG));
	EQ(1, nr_messages);
	EQ(0x41, message);
	EQ(ISR_CONFIG, get(RNG, ISR, 1));
	ask_rng(64);
	set_status(RNG, 15);
	notify(RNG, 0);
	CHECK(needs_reset(RNG));
	EQ(0, used(0)->idx);
	switch_msix(RNG, false);
	start(RNG, 1);
	ask_rng(64);
	EQ(1, used(0)->idx);
}

/* ---- features ---------------------------------------------------------------------------- */

/* Whatever subset the driver takes; and the same again after a reset. */
static void features(void)
{
	for (unsigned int device = 0; device < ARRAY_SIZE(kinds); device++) {
		const __u64 all = offered(device), least = 1ull << VIRTIO_F_VERSION_1;

		CHECK(all & least);
		for (unsigned int round = 0; round < 2; round++) {
			CHECK(is_content_with(device, all));
			CHECK(is_content_with(device, least));
		}
		for (unsigned int bit = 0; bit < 64; bit++)
			EQ(!!(all >> bit & 1), is_content_with(device, least | 1ull << bit));
		CHECK(!is_content_with(device, all & ~least));
		CHECK(!is_content_with(device, all | UNKNOWN));
	}
}

/* None is offered without those that it needs, and none of what is not there. */
static void features_that_are_not_there(void)
{
	const __u64 never = 1ull << VIRTIO_F_RING_PACKED | 1ull << VIRTIO_F_IN_ORDER |
			    1ull << VIRTIO_F_SR_IOV | 1ull << VIRTIO_F_ACCESS_PLATFORM |
			    1ull << VIRTIO_F_ORDER_PLATFORM |
			    1ull << VIRTIO_RING_F_EVENT_IDX | 1ull << 38 | 1ull << 39 | 1ull << 40;

	for (unsigned int device = 0; device < ARRAY_SIZE(kinds); device++)
		EQ(0, offered(device) & never);
	EQ(1ull << VIRTIO_NET_F_MAC | 1ull << VIRTIO_NET_F_STATUS | VIRTIO_FEATURES, offered(NET));
	EQ(1ull << VIRTIO_CONSOLE_F_SIZE | VIRTIO_FEATURES, offered(CONSOLE));
	EQ(1ull << VIRTIO_BALLOON_F_DEFLATE_ON_OOM | 1ull << VIRTIO_BALLOON_F_REPORTING | VIRTIO_FEATURES,
	   offered(BALLOON));
	EQ(VIRTIO_FEATURES, offered(RNG));
}

static void feature_words(void)
{
	set_status(BLK, 0);
	put(BLK, VIRTIO_PCI_COMMON_DFSELECT, 4, 0);
	CHECK(get(BLK, VIRTIO_PCI_COMMON_DF, 4) & 1 << VIRTIO_BLK_F_FLUSH);
	put(BLK, VIRTIO_PCI_COMMON_DFSELECT, 4, 1);
	EQ(1, get(BLK, VIRTIO_PCI_COMMON_DF, 4));
	for (__u32 word = 2; word; word <<= 1) {
		put(BLK, VIRTIO_PCI_COMMON_DFSELECT, 4, word);
		put(BLK, VIRTIO_PCI_COMMON_GFSELECT, 4, word);
		put(BLK, VIRTIO_PCI_COMMON_GF, 4, ~0u);
		EQ(word, get(BLK, VIRTIO_PCI_COMMON_DFSELECT, 4));
		EQ(0, get(BLK, VIRTIO_PCI_COMMON_DF, 4));
		EQ(0, get(BLK, VIRTIO_PCI_COMMON_GF, 4));
	}
	agree_on(BLK, 1ull << VIRTIO_F_VERSION_1 | 1ull << VIRTIO_BLK_F_FLUSH);
	put(BLK, VIRTIO_PCI_COMMON_GFSELECT, 4, 0);
	EQ(1 << VIRTIO_BLK_F_FLUSH, get(BLK, VIRTIO_PCI_COMMON_GF, 4));
	put(BLK, VIRTIO_PCI_COMMON_GFSELECT, 4, 1);
	EQ(1, get(BLK, VIRTIO_PCI_COMMON_GF, 4));
}

/* ---- configuration ------------------------------------------------------------------------- */

/* All that there is, before the driver has said anything; and what is written to it does not matter. */
static void early_config(void)
{
	for (unsigned int device = 0; device < ARRAY_SIZE(kinds); device++)
		set_status(device, 0);
	put(BLK, CONFIG, 4, 1);
	put(NET, CONFIG, 4, 1);
	put(CONSOLE, CONFIG, 4, 1);
	EQ(IMAGE_SIZE / SECTOR, get(BLK, CONFIG, 4));
	EQ(SECTOR, get(BLK, CONFIG + offsetof(struct virtio_blk_config, blk_size), 4));
	/* Of one's own making, and nobody's group. */
	EQ(2, get(NET, CONFIG, 1) & 3);
	EQ(VIRTIO_NET_S_LINK_UP, get(NET, CONFIG + offsetof(struct virtio_net_config, status), 2));
	EQ(80, get(CONSOLE, CONFIG + offsetof(struct virtio_console_config, cols), 2));
	EQ(MEMORY / 2 / 4096, get(BALLOON, CONFIG + offsetof(struct virtio_balloon_config, num_pages), 4));
}

static unsigned int generation(void)
{
	return get(CONSOLE, VIRTIO_PCI_COMMON_CFGGENERATION, 1);
}

/* However often it has changed between two looks. */
static void config_generation(void)
{
	struct tty_size size = { 80, 25 };
	unsigned int before;

	start(CONSOLE, 2);
	for (unsigned int changes = 0; changes <= 512; changes += 128) {
		get(CONSOLE, CONFIG, 2);
		before = generation();
		for (unsigned int i = 0; i < changes; i++) {
			size.rows ^= 1;
			console_ops->resized(console_device, &size);
		}
		get(CONSOLE, CONFIG, 2);
		EQ(!!changes, generation() != before);
	}
}

/* Fields of 64 bits are read, and written, by halves in any order. */
static void halves(void)
{
	set_status(BLK, 0);
	EQ(0, get(BLK, CONFIG + 4, 4));
	EQ(IMAGE_SIZE / SECTOR, get(BLK, CONFIG, 4));
	select_queue(BLK, 0);
	for (unsigned int at = VIRTIO_PCI_COMMON_Q_DESCLO; at <= VIRTIO_PCI_COMMON_Q_USEDLO; at += 8) {
		put(BLK, at + 4, 4, 0x1234);
		put(BLK, at, 4, 0x89abcde0);
		EQ(0x1234, get(BLK, at + 4, 4));
		EQ(0x89abcde0, get(BLK, at, 4));
		put(BLK, at + 4, 4, 0);
		EQ(0x89abcde0, get(BLK, at, 4));
	}
}

/* ---- queues ------------------------------------------------------------------------------ */

/* However a request is cut into descriptors. */
static void framing(void)
{
	const struct virtio_blk_outhdr out = { .type = VIRTIO_BLK_T_OUT, .sector = 8 };
	const struct virtio_blk_outhdr in = { .type = VIRTIO_BLK_T_IN, .sector = 8 };
	const __u16 next = VRING_DESC_F_NEXT, write = VRING_DESC_F_WRITE;

	/* The header in three, one of them with the first data; the status in more than it needs. */
	start(BLK, 1);
	memcpy(area.hva + HEADER, &out, sizeof(out));
	memset(area.hva + HEADER + sizeof(out), 0x77, SECTOR);
	desc(0)[0] = (struct vring_desc) { HEADER, 1, next, 1 };
	desc(0)[1] = (struct vring_desc) { HEADER + 1, 7, next, 2 };
	desc(0)[2] = (struct vring_desc) { HEADER + 8, 8 + 100, next, 3 };
	desc(0)[3] = (struct vring_desc) { HEADER + 8 + 108, SECTOR - 100, next, 4 };
	desc(0)[4] = (struct vring_desc) { STATUS + 0x400, 16, write, 0 };
	make_available(0, 0);
	notify(BLK, 0);
	CHECK(wait_for(0));
	EQ(VIRTIO_BLK_S_OK, area.hva[STATUS + 0x400 + 15]);
	EQ(0, last_length(0));
	/* Data and status in one, and before that a little of it. */
	memcpy(area.hva + HEADER, &in, sizeof(in));
	memset(area.hva + BUFFER, 0, SECTOR + 1);
	area.hva[BUFFER + SECTOR] = NOT_YET;
	desc(0)[0] = (struct vring_desc) { HEADER, sizeof(in), next, 1 };
	desc(0)[1] = (struct vring_desc) { BUFFER, 10, next | write, 2 };
	desc(0)[2] = (struct vring_desc) { BUFFER + 10, SECTOR - 10 + 1, write, 0 };
	make_available(0, 0);
	notify(BLK, 0);
	CHECK(wait_for(0));
	EQ(VIRTIO_BLK_S_OK, area.hva[BUFFER + SECTOR]);
	EQ(0x77, area.hva[BUFFER]);
	EQ(0x77, area.hva[BUFFER + SECTOR - 1]);
	EQ(SECTOR + 1, last_length(0));
	CHECK(!needs_reset(BLK));
}

static void frames_in_pieces(void)
{
	static const __u32 whole = sizeof(struct virtio_net_hdr_v1) + 60;

	start(NET, 2);
	memset(area.hva + BUFFER, 0, 0x100);
	memset(area.hva + BUFFER + whole - 60, 0x5a, 60);
	for (__u16 i = 0; i < SIZE; i++)
		desc(1)[i] = (struct vring_desc) {
			BUFFER + 10 * i, i < SIZE - 1 ? 10 : whole - 10 * i,
			i < SIZE - 1 ? VRING_DESC_F_NEXT : 0, i + 1,
		};
	make_available(1, 0);
	nr_sent = 0;
	notify(NET, 1);
	EQ(60, nr_sent);
	EQ(0x5a, sent[0]);
	EQ(0x5a, sent[59]);
	for (__u16 i = 0; i < SIZE; i++)
		desc(0)[i] = (struct vring_desc) {
			BUFFER + 0x100 + 10 * i, 10,
			VRING_DESC_F_WRITE | (i < SIZE - 1 ? VRING_DESC_F_NEXT : 0), i + 1,
		};
	make_available(0, 0);
	send_frame();
	EQ(1, used(0)->idx);
	EQ(whole, last_length(0));
	EQ(0xff, area.hva[BUFFER + 0x100 + sizeof(struct virtio_net_hdr_v1)]);
}

/* What is for the device to read stays as it was. */
static void readable_buffers(void)
{
	start(RNG, 1);
	memset(area.hva + BUFFER, 0x11, 128);
	desc(0)[0] = (struct vring_desc) { BUFFER, 64, VRING_DESC_F_NEXT, 1 };
	desc(0)[1] = (struct vring_desc) { BUFFER + 64, 64, VRING_DESC_F_WRITE, 0 };
	make_available(0, 0);
	notify(RNG, 0);
	EQ(64, last_length(0));
	for (unsigned int i = 0; i < 64; i++)
		EQ(0x11, area.hva[BUFFER + i]);
}

/* A table at the end of none, one and two descriptors, whatever its own says of being written. */
static void indirect_tables(void)
{
	struct vring_desc *table = (void *)(area.hva + DATA);

	start(RNG, 1);
	for (__u16 before = 0; before < 3; before++)
		for (__u16 flag = 0; flag <= VRING_DESC_F_WRITE; flag += VRING_DESC_F_WRITE) {
			for (__u16 i = 0; i < before; i++)
				desc(0)[i] = (struct vring_desc) { BUFFER, 1, VRING_DESC_F_NEXT, i + 1 };
			table[0] = (struct vring_desc) { BUFFER, 8, VRING_DESC_F_NEXT, 2 };
			table[2] = (struct vring_desc) { BUFFER + 8, 40, VRING_DESC_F_WRITE, 0 };
			desc(0)[before] = (struct vring_desc) {
				DATA, 3 * sizeof(*table), VRING_DESC_F_INDIRECT | flag, 0,
			};
			make_available(0, 0);
			notify(RNG, 0);
			CHECK(wait_for(0));
			EQ(40, last_length(0));
		}
	CHECK(!needs_reset(RNG));
}

/* What no driver may do stops the device, and hurts nobody. */
static void forbidden_chains(void)
{
	const __u16 next = VRING_DESC_F_NEXT, write = VRING_DESC_F_WRITE, indirect = VRING_DESC_F_INDIRECT;
	const struct vring_desc chains[][2] = {
		{ { BUFFER, 8, next, 0 } },					/* a loop */
		{ { BUFFER, 8, next, SIZE } },					/* to where none is */
		{ { BUFFER, 8, next | write, 1 }, { BUFFER, 8, 0, 0 } },	/* in the wrong order */
		{ { DATA, 16, indirect | next, 1 }, { BUFFER, 8, write, 0 } },	/* not the last one */
		{ { QUEUE_AT(0), 32, indirect, 0 }, },				/* a table in a table */
		{ { DATA, 15, indirect, 0 } },					/* one without room */
		{ { MEMORY - 4, 8, write, 0 } },				/* not all in memory */
	};

	for (size_t i = 0; i < ARRAY_SIZE(chains); i++) {
		start(RNG, 1);
		memcpy(desc(0), chains[i], sizeof(chains[i]));
		make_available(0, 0);
		notify(RNG, 0);
		CHECK(needs_reset(RNG));
		EQ(0, used(0)->idx);
	}
	/* A head that is none, and more of them than there can be. */
	start(RNG, 1);
	make_available(0, SIZE);
	notify(RNG, 0);
	CHECK(needs_reset(RNG));
	start(RNG, 1);
	avail(0)->idx = SIZE + 1;
	notify(RNG, 0);
	CHECK(needs_reset(RNG));
}

/* Not where they may be, or nowhere: such a queue is not used. */
static void misplaced_queues(void)
{
	static const __u32 places[][3] = {
		{ QUEUE_AT(0) + 8, QUEUE_AT(0) + AVAIL, QUEUE_AT(0) + USED },
		{ QUEUE_AT(0), QUEUE_AT(0) + AVAIL + 1, QUEUE_AT(0) + USED },
		{ QUEUE_AT(0), QUEUE_AT(0) + AVAIL, QUEUE_AT(0) + USED + 2 },
		{ MEMORY - 16, QUEUE_AT(0) + AVAIL, QUEUE_AT(0) + USED },
		{ QUEUE_AT(0), MEMORY - 2, QUEUE_AT(0) + USED },
		{ QUEUE_AT(0), QUEUE_AT(0) + AVAIL, MEMORY },
	};

	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		begin(RNG, 0);
		select_queue(RNG, 0);
		for (unsigned int part = 0; part < 3; part++)
			put(RNG, VIRTIO_PCI_COMMON_Q_DESCLO + 8 * part, 4, places[i][part]);
		put(RNG, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
		EQ(0, get(RNG, VIRTIO_PCI_COMMON_Q_ENABLE, 2));
		CHECK(needs_reset(RNG));
	}
}

static void suppressed_interrupts(void)
{
	start(RNG, 1);
	switch_msix(RNG, true);
	select_queue(RNG, 0);
	put(RNG, VIRTIO_PCI_COMMON_Q_MSIX, 2, 0);
	/* Without VIRTIO_F_EVENT_IDX nobody looks there. */
	avail(0)->ring[SIZE] = 77;
	ask_rng(64);
	EQ(1, nr_messages);
	EQ(0x40, message);
	avail(0)->flags = VRING_AVAIL_F_NO_INTERRUPT;
	ask_rng(64);
	EQ(2, used(0)->idx);
	EQ(1, nr_messages);
	avail(0)->flags = 0;
	ask_rng(64);
	EQ(2, nr_messages);
	switch_msix(RNG, false);
}

/* Of what has been used, never more than has been written from the beginning. */
static void used_lengths(void)
{
	start(BLK, 1);
	EQ(VIRTIO_BLK_S_OK, ask_and_wait(VIRTIO_BLK_T_IN, 8, 0x1000));
	EQ(0x1001, last_length(0));
	EQ(VIRTIO_BLK_S_IOERR, ask_and_wait(VIRTIO_BLK_T_IN, IMAGE_SIZE / SECTOR, 0x1000));
	EQ(0, last_length(0));
	EQ(VIRTIO_BLK_S_OK, ask_and_wait(VIRTIO_BLK_T_OUT, 8, 0x1000));
	EQ(1, last_length(0));
	EQ(VIRTIO_BLK_S_OK, ask_and_wait(VIRTIO_BLK_T_FLUSH, 0, 0));
	EQ(1, last_length(0));
	start(CONSOLE, 2);
	desc(0)[0] = (struct vring_desc) { BUFFER, 64, VRING_DESC_F_WRITE, 0 };
	make_available(0, 0);
	pthread_mutex_lock(wire.lock);
	console_ops->input(console_device, "typed", 5);
	pthread_mutex_unlock(wire.lock);
	EQ(5, last_length(0));
}

/* For nothing, for queues that are not there, and in accesses of any size. */
static void spurious_notifications(void)
{
	for (unsigned int device = 0; device < ARRAY_SIZE(kinds); device++) {
		start(device, kinds[device].nr_queues);
		for (unsigned int nr = 0; nr < 8; nr++)
			for (unsigned int size = 1; size <= 4; size *= 2) {
				bus_write(&vm, SPACE_PORT, PCI_IO_FIRST + 16 * device + 2 * nr, size, nr);
				handle_events(0);
			}
		EQ(15, get_status(device));
		for (unsigned int nr = 0; nr < kinds[device].nr_queues; nr++) {
			EQ(0, used(nr)->idx);
			EQ(0, used(nr)->flags);
		}
	}
}

/* ---- PCI: what a device is ------------------------------------------------------------------ */

static void identity(void)
{
	for (unsigned int device = 0; device < ARRAY_SIZE(kinds); device++) {
		CHECK(find_capability(kinds[device].id, VIRTIO_PCI_CAP_COMMON_CFG));
		EQ(0x1af4, config_get(PCI_VENDOR_ID, 2));
		EQ(0x1040 + kinds[device].id, config_get(PCI_DEVICE_ID, 2));
		CHECK(config_get(PCI_REVISION_ID, 1) >= 1);
		CHECK(config_get(PCI_SUBSYSTEM_ID, 2) >= 0x40);
		EQ(0, config_get(PCI_INTERRUPT_PIN, 1));
	}
}

struct structure {
	unsigned int at, bar;
	__u32 offset, length;
};

/* One of the device that has been turned to: it is all within its BAR. */
static struct structure find_structure(unsigned int device, __u8 type)
{
	struct structure found = { .at = find_capability(kinds[device].id, type) };
	__u32 before, size;

	if (!found.at)
		return found;
	found.bar = config_get(found.at + VIRTIO_PCI_CAP_BAR, 1);
	found.offset = config_get(found.at + VIRTIO_PCI_CAP_OFFSET, 4);
	found.length = config_get(found.at + VIRTIO_PCI_CAP_LENGTH, 4);
	CHECK(config_get(found.at + VIRTIO_PCI_CAP_LEN, 1) >= sizeof(struct virtio_pci_cap));
	CHECK(found.bar < 6);
	before = config_get(PCI_BASE_ADDRESS_0 + 4 * found.bar, 4);
	config_put(PCI_BASE_ADDRESS_0 + 4 * found.bar, 4, ~0u);
	size = -(config_get(PCI_BASE_ADDRESS_0 + 4 * found.bar, 4) & ~15u);
	config_put(PCI_BASE_ADDRESS_0 + 4 * found.bar, 4, before);
	CHECK(found.length && found.offset + found.length <= size);
	return found;
}

static void structures(void)
{
	for (unsigned int device = 0; device < ARRAY_SIZE(kinds); device++) {
		struct structure common = find_structure(device, VIRTIO_PCI_CAP_COMMON_CFG);
		struct structure notify = find_structure(device, VIRTIO_PCI_CAP_NOTIFY_CFG);
		struct structure isr = find_structure(device, VIRTIO_PCI_CAP_ISR_CFG);
		struct structure config = find_structure(device, VIRTIO_PCI_CAP_DEVICE_CFG);
		__u32 step = config_get(notify.at + sizeof(struct virtio_pci_cap), 4);

		CHECK(common.at && common.length >= sizeof(struct virtio_pci_common_cfg));
		EQ(0, common.offset % 4);
		CHECK(notify.at && notify.length >= 2 && !(notify.offset % 2));
		EQ(sizeof(struct virtio_pci_notify_cap), config_get(notify.at + VIRTIO_PCI_CAP_LEN, 1));
		CHECK(!step || (step % 2 == 0 && !(step & (step - 1))));
		for (unsigned int nr = 0; nr < kinds[device].nr_queues; nr++) {
			select_queue(device, nr);
			CHECK(get(device, VIRTIO_PCI_COMMON_Q_NOFF, 2) * step + 2 <= notify.length);
		}
		CHECK(isr.at && isr.length);
		/* Random numbers have nothing to say. */
		CHECK(device == RNG ? !config.at : config.at && !(config.offset % 4));
		CHECK(find_capability(kinds[device].id, VIRTIO_PCI_CAP_PCI_CFG));
		EQ(0, find_capability(kinds[device].id, VIRTIO_PCI_CAP_SHARED_MEMORY_CFG));
	}
}

/* ---- PCI: registers ------------------------------------------------------------------------ */

static void queues_that_are_not_there(void)
{
	for (unsigned int device = 0; device < ARRAY_SIZE(kinds); device++) {
		start(device, kinds[device].nr_queues);
		for (__u32 nr = kinds[device].nr_queues; nr < 0x10000; nr = 2 * nr + 1) {
			select_queue(device, nr);
			EQ(nr, get(device, VIRTIO_PCI_COMMON_Q_SELECT, 2));
			EQ(0, get(device, VIRTIO_PCI_COMMON_Q_SIZE, 2));
			put(device, VIRTIO_PCI_COMMON_Q_SIZE, 2, SIZE);
			put(device, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
			EQ(0, get(device, VIRTIO_PCI_COMMON_Q_SIZE, 2));
			EQ(0, get(device, VIRTIO_PCI_COMMON_Q_ENABLE, 2));
		}
		EQ(15, get_status(device));
	}
}

/* What is for reading only, sizes that are none, and a queue that is in use. */
static void writes_without_effect(void)
{
	set_status(RNG, 0);
	select_queue(RNG, 0);
	put(RNG, VIRTIO_PCI_COMMON_NUMQ, 2, 7);
	put(RNG, VIRTIO_PCI_COMMON_CFGGENERATION, 1, 7);
	put(RNG, VIRTIO_PCI_COMMON_Q_NOFF, 2, 7);
	EQ(1, get(RNG, VIRTIO_PCI_COMMON_NUMQ, 2));
	EQ(0, get(RNG, VIRTIO_PCI_COMMON_Q_NOFF, 2));
	for (__u32 size = 0; size < 0x10000; size = 2 * size + 3)
		put(RNG, VIRTIO_PCI_COMMON_Q_SIZE, 2, size);
	put(RNG, VIRTIO_PCI_COMMON_Q_SIZE, 2, 2 * VIRTQUEUE_SIZE);
	EQ(VIRTQUEUE_SIZE, get(RNG, VIRTIO_PCI_COMMON_Q_SIZE, 2));
	start(RNG, 1);
	select_queue(RNG, 0);
	put(RNG, VIRTIO_PCI_COMMON_Q_SIZE, 2, 2);
	put(RNG, VIRTIO_PCI_COMMON_Q_DESCLO, 4, 0);
	put(RNG, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 0);
	EQ(SIZE, get(RNG, VIRTIO_PCI_COMMON_Q_SIZE, 2));
	EQ(QUEUE_AT(0), get(RNG, VIRTIO_PCI_COMMON_Q_DESCLO, 4));
	EQ(1, get(RNG, VIRTIO_PCI_COMMON_Q_ENABLE, 2));
	ask_rng(64);
	EQ(1, used(0)->idx);
}

/* Does the status register say that there is an interrupt? */
static bool is_interrupting(unsigned int device)
{
	find_capability(kinds[device].id, VIRTIO_PCI_CAP_COMMON_CFG);
	return config_get(PCI_STATUS, 2) & PCI_STATUS_INTERRUPT;
}

/* Without MSI-X: what has happened is in the ISR status and the status register until that is read. */
static void isr_status(void)
{
	start(RNG, 1);
	CHECK(!is_interrupting(RNG));
	ask_rng(64);
	CHECK(is_interrupting(RNG));
	CHECK(config_get(PCI_COMMAND, 4) >> 16 & PCI_STATUS_INTERRUPT);
	CHECK(config_get(PCI_STATUS, 1) & PCI_STATUS_INTERRUPT);
	CHECK(!(config_get(PCI_STATUS + 1, 1) & PCI_STATUS_INTERRUPT));
	EQ(ISR_QUEUE, get(RNG, ISR, 1));
	EQ(0, get(RNG, ISR, 1));
	CHECK(!is_interrupting(RNG));
	start(CONSOLE, 2);
	console_ops->resized(console_device, &(const struct tty_size) { 99, 33 });
	CHECK(is_interrupting(CONSOLE));
	EQ(ISR_CONFIG, get(CONSOLE, ISR, 1));
	CHECK(!is_interrupting(CONSOLE));
	/* With MSI-X there is no pin to speak of. */
	start(RNG, 1);
	switch_msix(RNG, true);
	ask_rng(64);
	CHECK(!is_interrupting(RNG));
	switch_msix(RNG, false);
	CHECK(is_interrupting(RNG));
	EQ(0, nr_messages);
}

/* Any event by any vector, or none; a vector that is not there is refused. */
static void vectors(void)
{
	for (unsigned int device = 0; device < ARRAY_SIZE(kinds); device++) {
		unsigned int nr = kinds[device].nr_queues + 1;

		start(device, kinds[device].nr_queues);
		select_queue(device, kinds[device].nr_queues - 1);
		for (unsigned int at = VIRTIO_PCI_COMMON_MSIX; ; at = VIRTIO_PCI_COMMON_Q_MSIX) {
			for (unsigned int i = 0; i < nr; i++) {
				put(device, at, 2, i);
				EQ(i, get(device, at, 2));
			}
			put(device, at, 2, nr);
			EQ(VIRTIO_MSI_NO_VECTOR, get(device, at, 2));
			put(device, at, 2, 1);
			put(device, at, 2, VIRTIO_MSI_NO_VECTOR);
			EQ(VIRTIO_MSI_NO_VECTOR, get(device, at, 2));
			if (at == VIRTIO_PCI_COMMON_Q_MSIX)
				break;
		}
		switch_msix(device, false);
		CHECK(nr >= 2);
	}
}

static void messages(void)
{
	start(CONSOLE, 2);
	switch_msix(CONSOLE, true);
	/* Without a vector there is none. */
	console_ops->resized(console_device, &(const struct tty_size) { 80, 25 });
	EQ(0, nr_messages);
	for (unsigned int vector = 0; vector < 3; vector++) {
		put(CONSOLE, VIRTIO_PCI_COMMON_MSIX, 2, vector);
		console_ops->resized(console_device, &(const struct tty_size) { 80, 25 });
		EQ(vector + 1, nr_messages);
		EQ(0x40 + vector, message);
	}
	/* One that is masked waits. */
	put(CONSOLE, MSIX_TABLE + 16 * 2 + 12, 4, PCI_MSIX_ENTRY_CTRL_MASKBIT);
	console_ops->resized(console_device, &(const struct tty_size) { 80, 25 });
	EQ(3, nr_messages);
	EQ(1 << 2, get(CONSOLE, MSIX_PENDING, 4));
	put(CONSOLE, MSIX_TABLE + 16 * 2 + 12, 4, 0);
	EQ(4, nr_messages);
	EQ(0, get(CONSOLE, MSIX_PENDING, 4));
	/* A queue's, without a vector. */
	start(RNG, 1);
	switch_msix(RNG, true);
	ask_rng(64);
	EQ(0, nr_messages);
	switch_msix(RNG, false);
	switch_msix(CONSOLE, false);
}

/* ---- network cards ------------------------------------------------------------------------- */

/* Flags and offsets that the driver has not agreed upon do not matter; what comes has none. */
static void network_headers(void)
{
	struct virtio_net_hdr_v1 header = {
		.flags = 0xff, .gso_type = 0xff, .hdr_len = 0xffff, .gso_size = 0xffff,
		.csum_start = 0xffff, .csum_offset = 0xffff, .num_buffers = 0xffff,
	};

	start(NET, 2);
	memcpy(area.hva + BUFFER, &header, sizeof(header));
	for (unsigned int i = 0; i < 60; i++)
		area.hva[BUFFER + sizeof(header) + i] = i;
	desc(1)[0] = (struct vring_desc) { BUFFER, sizeof(header) + 60, 0, 0 };
	make_available(1, 0);
	nr_sent = 0;
	notify(NET, 1);
	EQ(60, nr_sent);
	for (unsigned int i = 0; i < nr_sent; i++)
		EQ(i, sent[i]);
	EQ(0, last_length(1));
	desc(0)[0] = (struct vring_desc) { BUFFER, 2048, VRING_DESC_F_WRITE, 0 };
	make_available(0, 0);
	send_frame();
	memcpy(&header, area.hva + BUFFER, sizeof(header));
	EQ(1, used(0)->idx);
	EQ(sizeof(header) + 60, last_length(0));
	EQ(0, header.flags);
	EQ(VIRTIO_NET_HDR_GSO_NONE, header.gso_type);
	EQ(1, header.num_buffers);
}

/* Too short for a header, or longer than any frame: nobody sees them, and they are given back. */
static void bad_frames(void)
{
	static const __u32 sizes[] = { 1, sizeof(struct virtio_net_hdr_v1) - 1,
				       sizeof(struct virtio_net_hdr_v1) + FRAME_MOST + 1, 0x10000 };

	start(NET, 2);
	nr_sent = 0;
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		desc(1)[0] = (struct vring_desc) { BUFFER, sizes[i], 0, 0 };
		make_available(1, 0);
		notify(NET, 1);
		CHECK(wait_for(1));
	}
	EQ(0, nr_sent);
	CHECK(!needs_reset(NET));
}

/* ---- disks --------------------------------------------------------------------------------- */

static void disk_config(void)
{
	const unsigned int unused = offsetof(struct virtio_blk_config, write_zeroes_may_unmap) + 1;

	CHECK(offered(BLK) & 1 << VIRTIO_BLK_F_FLUSH);
	EQ(0, offered(BLK) & 1 << VIRTIO_BLK_F_CONFIG_WCE);
	EQ(0, get(BLK, CONFIG + offsetof(struct virtio_blk_config, unused), 1));
	for (unsigned int i = 0; i < 3; i++)
		EQ(0, get(BLK, CONFIG + unused + i, 1));
	EQ(1, get(BLK, CONFIG + unused - 1, 1));
}

static __u8 ask_range(__u32 type, __u64 sector, __u32 sectors, __u32 flags)
{
	const struct virtio_blk_discard_write_zeroes range = { sector, sectors, flags };

	memcpy(area.hva + BUFFER, &range, sizeof(range));
	return ask_and_wait(type, 0, sizeof(range));
}

/* Unknown flags are, wherever the range is; and a discard has none. */
static void disk_flags(void)
{
	start(BLK, 1);
	for (unsigned int bit = 0; bit < 32; bit++)
		for (__u64 sector = 8; sector <= IMAGE_SIZE; sector += IMAGE_SIZE - 8) {
			bool is_known = bit == 0, is_inside = sector == 8;

			EQ(VIRTIO_BLK_S_UNSUPP, ask_range(VIRTIO_BLK_T_DISCARD, sector, 8, 1u << bit));
			EQ(!is_known ? VIRTIO_BLK_S_UNSUPP : is_inside ? VIRTIO_BLK_S_OK : VIRTIO_BLK_S_IOERR,
			   ask_range(VIRTIO_BLK_T_WRITE_ZEROES, sector, 8, 1u << bit));
		}
	EQ(VIRTIO_BLK_S_OK, ask_range(VIRTIO_BLK_T_DISCARD, 8, 8, 0));
	EQ(VIRTIO_BLK_S_IOERR, ask_range(VIRTIO_BLK_T_DISCARD, IMAGE_SIZE / SECTOR, 8, 0));
	/* More than one range is more than is offered; and what nobody knows is said so. */
	EQ(VIRTIO_BLK_S_UNSUPP, ask_and_wait(VIRTIO_BLK_T_DISCARD, 0, 32));
	for (__u32 type = 2; type < 32; type++)
		if (type != VIRTIO_BLK_T_FLUSH && type != VIRTIO_BLK_T_GET_ID &&
		    type != VIRTIO_BLK_T_DISCARD && type != VIRTIO_BLK_T_WRITE_ZEROES)
			EQ(VIRTIO_BLK_S_UNSUPP, ask_and_wait(type, 0, SECTOR));
}

static void zeroes(void)
{
	start(BLK, 1);
	for (__u32 flags = 0; flags < 2; flags++) {
		memset(area.hva + BUFFER, 0x5a, 0x4000);
		EQ(VIRTIO_BLK_S_OK, ask_and_wait(VIRTIO_BLK_T_OUT, 16, 0x4000));
		EQ(VIRTIO_BLK_S_OK, ask_range(VIRTIO_BLK_T_WRITE_ZEROES, 20, 8, flags));
		EQ(VIRTIO_BLK_S_OK, ask_and_wait(VIRTIO_BLK_T_IN, 16, 0x4000));
		for (unsigned int at = 0; at < 0x4000; at += SECTOR)
			EQ(at >= 4 * SECTOR && at < 12 * SECTOR ? 0 : 0x5a, area.hva[BUFFER + at]);
	}
}

static void disk_name(void)
{
	const char *name = strrchr(options.disks[0].path, '/') + 1;
	struct virtio_blk_outhdr header = { .type = VIRTIO_BLK_T_GET_ID };
	char id[VIRTIO_BLK_ID_BYTES] = "";

	strcpy(id, name);
	start(BLK, 1);
	memcpy(area.hva + HEADER, &header, sizeof(header));
	memset(area.hva + BUFFER, 0xff, 64);
	desc(0)[0] = (struct vring_desc) { HEADER, sizeof(header), VRING_DESC_F_NEXT, 1 };
	desc(0)[1] = (struct vring_desc) { BUFFER, sizeof(id), VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 2 };
	desc(0)[2] = (struct vring_desc) { STATUS, 1, VRING_DESC_F_WRITE, 0 };
	make_available(0, 0);
	notify(BLK, 0);
	CHECK(wait_for(0));
	EQ(VIRTIO_BLK_S_OK, area.hva[STATUS]);
	CHECK(!memcmp(area.hva + BUFFER, id, sizeof(id)));
	EQ(0xff, area.hva[BUFFER + sizeof(id)]);
	EQ(sizeof(id) + 1, last_length(0));
}

static void no_room_for_a_status(void)
{
	const struct virtio_blk_outhdr header = { .type = VIRTIO_BLK_T_OUT, .sector = 8 };

	start(BLK, 1);
	nr_writes = 0;
	memcpy(area.hva + HEADER, &header, sizeof(header));
	desc(0)[0] = (struct vring_desc) { HEADER, sizeof(header), VRING_DESC_F_NEXT, 1 };
	desc(0)[1] = (struct vring_desc) { BUFFER, SECTOR, 0, 0 };
	make_available(0, 0);
	notify(BLK, 0);
	CHECK(needs_reset(BLK));
	EQ(0, nr_writes);
}

/* Who knows of no flushes has each write on the disk; a flush is one. */
static void stable_writes(void)
{
	start(BLK, 1);
	write_flags = nr_synced = 0;
	EQ(VIRTIO_BLK_S_OK, ask_and_wait(VIRTIO_BLK_T_OUT, 8, 0x1000));
	EQ(0, write_flags & RWF_DSYNC);
	EQ(0, nr_synced);
	EQ(VIRTIO_BLK_S_OK, ask_and_wait(VIRTIO_BLK_T_FLUSH, 0, 0));
	EQ(1, nr_synced);
	begin(BLK, 1);
	agree_on(BLK, 1ull << VIRTIO_F_VERSION_1);
	set_status(BLK, 15);
	EQ(VIRTIO_BLK_S_OK, ask_and_wait(VIRTIO_BLK_T_OUT, 8, 0x1000));
	EQ(RWF_DSYNC, write_flags & RWF_DSYNC);
}

/* Nothing changes it: neither a write, nor what would clear it. */
static void disk_read_only(void)
{
	const __u64 features = offered(BLK);

	CHECK(features & 1 << VIRTIO_BLK_F_RO);
	EQ(0, features & (1 << VIRTIO_BLK_F_DISCARD | 1 << VIRTIO_BLK_F_WRITE_ZEROES));
	for (unsigned int accepts = 0; accepts < 2; accepts++) {
		begin(BLK, 1);
		agree_on(BLK, features & ~(__u64)(accepts ? 0 : 1 << VIRTIO_BLK_F_RO));
		set_status(BLK, 15);
		nr_writes = 0;
		memset(area.hva + BUFFER, 0x33, 0x1000);
		EQ(VIRTIO_BLK_S_IOERR, ask_and_wait(VIRTIO_BLK_T_OUT, 8, 0x1000));
		EQ(VIRTIO_BLK_S_IOERR, ask_range(VIRTIO_BLK_T_WRITE_ZEROES, 8, 8, 0));
		EQ(VIRTIO_BLK_S_IOERR, ask_range(VIRTIO_BLK_T_DISCARD, 8, 8, 0));
		EQ(0, nr_writes);
		EQ(VIRTIO_BLK_S_OK, ask_and_wait(VIRTIO_BLK_T_IN, 8, 0x1000));
		EQ(0, area.hva[BUFFER]);
	}
}

/* ---- random numbers, the balloon ---------------------------------------------------------------- */

/* At least a byte, whatever the buffer. */
static void random_bytes(void)
{
	static const __u32 sizes[] = { 1, 64, 256, 257, 4096, 0x10000 };

	start(RNG, 1);
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		ask_rng(sizes[i]);
		CHECK(last_length(0) >= 1 && last_length(0) <= sizes[i]);
	}
}

/* A page that is given is acknowledged, and only those that are named are touched. */
static void balloon_pages(void)
{
	const __le32 pages[] = { 0x80, 0x82, 0x83, 0xffffff };

	start(BALLOON, 5);
	memcpy(area.hva + BUFFER, pages, sizeof(pages));
	nr_discards = discarded = 0;
	desc(0)[0] = (struct vring_desc) { BUFFER, sizeof(pages), 0, 0 };
	make_available(0, 0);
	notify(BALLOON, 0);
	CHECK(wait_for(0));
	EQ(2, nr_discards);
	EQ(3 * 4096, discarded);
	EQ(0, last_length(0));
	/* What it takes back needs nobody's leave. */
	desc(1)[0] = (struct vring_desc) { BUFFER, sizeof(pages), 0, 0 };
	make_available(1, 0);
	notify(BALLOON, 1);
	CHECK(wait_for(1));
	EQ(3 * 4096, discarded);
	put(BALLOON, CONFIG + offsetof(struct virtio_balloon_config, actual), 4, 3);
	EQ(3, get(BALLOON, CONFIG + offsetof(struct virtio_balloon_config, actual), 4));
}

int main(void)
{
	static const struct unit_test all[] = {
		{ "a reset forgets the driver", reset_forgets },
		{ "silence after a reset", silent_after_reset },
		{ "nothing before DRIVER_OK", nothing_before_driver_ok },
		{ "a driver that breaks the rules is told", needs_reset_is_told },
		{ "features: any subset, again and again", features },
		{ "features that are not there", features_that_are_not_there },
		{ "features by words", feature_words },
		{ "configuration before FEATURES_OK", early_config },
		{ "the generation of the configuration", config_generation },
		{ "fields by halves", halves },
		{ "requests in any pieces", framing },
		{ "frames in any pieces", frames_in_pieces },
		{ "buffers that are for reading", readable_buffers },
		{ "indirect tables", indirect_tables },
		{ "chains that are forbidden", forbidden_chains },
		{ "queues that are not where they may be", misplaced_queues },
		{ "interrupts that are not wanted", suppressed_interrupts },
		{ "lengths in the used ring", used_lengths },
		{ "notifications for nothing", spurious_notifications },
		{ "vendor, device, revision", identity },
		{ "capabilities and what they lead to", structures },
		{ "queues that are not there", queues_that_are_not_there },
		{ "writes without effect", writes_without_effect },
		{ "the ISR status", isr_status },
		{ "vectors of MSI-X", vectors },
		{ "messages of MSI-X", messages },
		{ "headers of frames", network_headers },
		{ "frames that are none", bad_frames },
		{ "a disk's configuration", disk_config },
		{ "flags of discards and zeroes", disk_flags },
		{ "zeroes that are written", zeroes },
		{ "a disk's name", disk_name },
		{ "a request without room for a status", no_room_for_a_status },
		{ "writes that last", stable_writes },
		{ "random bytes", random_bytes },
		{ "pages of the balloon", balloon_pages },
	};
	static const struct unit_test read_only = { "a disk that is read-only", disk_read_only };

	setvbuf(stdout, NULL, _IOLBF, 0);
	has_no_ring = true;
	if (!make_memory() || !make_image(0, IMAGE_SIZE) || !create_devices())
		return 1;
	printf("TAP version 13\n1..%zu\n", ARRAY_SIZE(all) + 1);
	run_each(all, ARRAY_SIZE(all), "");
	destroy();
	if (!make_image(0, IMAGE_SIZE))
		return 1;
	options.disks[0].readonly = true;
	if (!create_devices())
		return 1;
	run_each(&read_only, 1, "");
	destroy();
	return nr_failed ? 1 : 0;
}
