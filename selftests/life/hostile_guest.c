// SPDX-License-Identifier: GPL-2.0
/*
 * A guest that keeps its devices as busy as it can: it fills all queues of all virtio devices that
 * it finds on the PCI bus with the largest requests, notifies, and gives back what comes back, for
 * ever.  Words of its command line ask for more: "reset" the devices meanwhile, write to the
 * "serial" port, set up periodic interrupts of the "rtc" and "pit" again and again, look at the
 * clock of power management ("pm") and switch its interrupt on and off, take the devices' "bars" off
 * the bus and put them back.  A multiboot
 * image of 32 bits, without interrupts; it says one line when it has begun.
 */
#include <linux/pci_regs.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>

asm(".pushsection .text.unlikely\n"
    ".balign 4; .long 0x1badb002, 0, -0x1badb002\n"
    ".popsection\n"
    ".globl start\n"
    "start: mov $stack_end, %esp; push %ebx; call main\n"
    "1: hlt; jmp 1b\n"
    ".pushsection .bss; .balign 16; .skip 4096; stack_end: .popsection");

#define MIB 0x100000u
#define SIZE 256		/* of a queue */
#define BUFFER (16 * MIB)	/* all requests are here, one over the other */
#define QUEUES_MOST 32
#define VENDOR_VIRTIO 0x1af4
#define DEVICE_VIRTIO 0x1040
#define ON_THE_BUS (PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER)

/*
 * What a request is, by device and queue: @nr_out buffers of @out bytes that the device reads, @nr_in
 * of @in that it writes, and @last more bytes of these.
 */
static const struct {
	__u16 device, queue;
	__u32 nr_out, out, nr_in, in, last;
} requests[] = {
	{ VIRTIO_ID_NET, 0, 0, 0, 1, 64 * 1024 }, { VIRTIO_ID_NET, 1, 1, 1526 },
	{ VIRTIO_ID_BLOCK, 0, 1, sizeof(struct virtio_blk_outhdr), 60, 16 * MIB, 1 },
	{ VIRTIO_ID_CONSOLE, 0, 0, 0, 1, MIB }, { VIRTIO_ID_CONSOLE, 1, 128, 16 * MIB },
	{ VIRTIO_ID_RNG, 0, 0, 0, 1, 16 * MIB },
	{ VIRTIO_ID_BALLOON, 0, 128, 16 * MIB }, { VIRTIO_ID_BALLOON, 2, 0, 0, 128, 16 * MIB },
	{ VIRTIO_ID_FS, 0, 1, 64 * 1024, 1, 64 * 1024 }, { VIRTIO_ID_FS, 1, 1, 64 * 1024, 1, 64 * 1024 },
	{ VIRTIO_ID_VSOCK, 0, 0, 0, 1, 64 * 1024 }, { VIRTIO_ID_VSOCK, 1, 1, 64 * 1024 },
};

#define NR_REQUESTS (sizeof(requests) / sizeof(requests[0]))

static struct queue {
	struct vring_desc desc[SIZE];
	struct {
		struct vring_avail head;
		__u16 ring[SIZE + 1];
	} avail;
	struct {
		struct vring_used head __attribute__((aligned(4)));
		struct vring_used_elem ring[SIZE];
	} used;
	__u16 notify;
	__u16 number;
	__u16 nr;
} __attribute__((aligned(4096))) queues[QUEUES_MOST];

static unsigned int nr_queues;

/* Of devices on the bus: their numbers. */
static unsigned int functions[QUEUES_MOST], nr_functions;

static void outb(__u16 port, __u8 data)
{
	asm volatile("outb %0, %1" : : "a"(data), "Nd"(port));
}

static void outw(__u16 port, __u16 data)
{
	asm volatile("outw %0, %1" : : "a"(data), "Nd"(port) : "memory");
}

static __u32 config_read(unsigned int function, unsigned int at)
{
	__u32 data;

	asm volatile("outl %0, %1" : : "a"(0x80000000 | function << 8 | (at & 0xfc)), "Nd"((__u16)0xcf8));
	asm volatile("inl %1, %0" : "=a"(data) : "Nd"((__u16)0xcfc));
	return data >> 8 * (at & 3);
}

static void config_write(unsigned int function, unsigned int at, __u32 data)
{
	asm volatile("outl %0, %1" : : "a"(0x80000000 | function << 8 | at), "Nd"((__u16)0xcf8));
	asm volatile("outl %0, %1" : : "a"(data), "Nd"((__u16)0xcfc));
}

/* Where the registers of a kind are: an address, or a port; 0: nowhere. */
static __u32 registers(unsigned int function, __u8 type)
{
	__u8 at = config_read(function, PCI_CAPABILITY_LIST);

	for (; at; at = config_read(function, at + PCI_CAP_LIST_NEXT))
		if ((__u8)config_read(function, at) == PCI_CAP_ID_VNDR &&
		    (__u8)config_read(function, at + VIRTIO_PCI_CAP_CFG_TYPE) == type) {
			__u8 bar = config_read(function, at + VIRTIO_PCI_CAP_BAR);

			return (config_read(function, PCI_BASE_ADDRESS_0 + 4 * bar) & ~3u) +
			       config_read(function, at + VIRTIO_PCI_CAP_OFFSET);
		}
	return 0;
}

#define REGISTER(type, base, at) (*(volatile type *)((base) + (at)))

static void fill(struct queue *queue, unsigned int request)
{
	__u32 nr_out = requests[request].nr_out, nr_in = requests[request].nr_in;
	__u32 last = requests[request].last, step = nr_out + nr_in + !!last;

	for (unsigned int i = 0; i < SIZE; i++) {
		struct vring_desc *desc = &queue->desc[i];
		unsigned int at = i % step;

		desc->addr = BUFFER;
		desc->len = at < nr_out ? requests[request].out :
			    at < nr_out + nr_in ? requests[request].in : last;
		desc->flags = (at < nr_out ? 0 : VRING_DESC_F_WRITE) |
			      (at + 1 < step ? VRING_DESC_F_NEXT : 0);
		desc->next = i + 1;
	}
	queue->nr = SIZE / step;
	queue->avail.head.idx = 0;
	*(volatile __u16 *)&queue->used.head.idx = 0;
}

static void set_up_queue(__u32 common, __u32 notify, unsigned int request)
{
	struct queue *queue = &queues[nr_queues++];

	fill(queue, request);
	queue->number = requests[request].queue;
	REGISTER(__u16, common, VIRTIO_PCI_COMMON_Q_SELECT) = queue->number;
	REGISTER(__u16, common, VIRTIO_PCI_COMMON_Q_SIZE) = SIZE;
	REGISTER(__u32, common, VIRTIO_PCI_COMMON_Q_DESCLO) = (__u32)queue->desc;
	REGISTER(__u32, common, VIRTIO_PCI_COMMON_Q_AVAILLO) = (__u32)&queue->avail;
	REGISTER(__u32, common, VIRTIO_PCI_COMMON_Q_USEDLO) = (__u32)&queue->used;
	queue->notify = notify + 2 * REGISTER(__u16, common, VIRTIO_PCI_COMMON_Q_NOFF);
	REGISTER(__u16, common, VIRTIO_PCI_COMMON_Q_ENABLE) = 1;
}

static void set_up(unsigned int function, __u16 device)
{
	__u32 common = registers(function, VIRTIO_PCI_CAP_COMMON_CFG);
	__u32 notify = registers(function, VIRTIO_PCI_CAP_NOTIFY_CFG);
	__u8 status = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER;

	config_write(function, PCI_COMMAND, ON_THE_BUS);
	REGISTER(__u8, common, VIRTIO_PCI_COMMON_STATUS) = 0;
	while (REGISTER(__u8, common, VIRTIO_PCI_COMMON_STATUS))
		;
	REGISTER(__u8, common, VIRTIO_PCI_COMMON_STATUS) = status;
	REGISTER(__u32, common, VIRTIO_PCI_COMMON_GFSELECT) = 1;
	REGISTER(__u32, common, VIRTIO_PCI_COMMON_GF) = 1u << (VIRTIO_F_VERSION_1 - 32);
	status |= VIRTIO_CONFIG_S_FEATURES_OK;
	REGISTER(__u8, common, VIRTIO_PCI_COMMON_STATUS) = status;
	for (unsigned int i = 0; i < NR_REQUESTS; i++)
		if (requests[i].device == device && nr_queues < QUEUES_MOST)
			set_up_queue(common, notify, i);
	REGISTER(__u8, common, VIRTIO_PCI_COMMON_STATUS) = status | VIRTIO_CONFIG_S_DRIVER_OK;
}

/* All requests once more, as soon as the device has done those before. */
static void again(struct queue *queue)
{
	volatile __u16 *used = &queue->used.head.idx;

	if (*used != queue->avail.head.idx)
		return;
	for (unsigned int i = 0; i < queue->nr; i++)
		queue->avail.ring[(__u16)(queue->avail.head.idx + i) % SIZE] = i * (SIZE / queue->nr);
	asm volatile("" : : : "memory");
	queue->avail.head.idx += queue->nr;
	outw(queue->notify, queue->number);
}

static void set_up_all(void)
{
	nr_queues = nr_functions = 0;
	for (unsigned int function = 0; function < 256; function++) {
		__u32 id = config_read(function, PCI_VENDOR_ID);

		if ((__u16)id != VENDOR_VIRTIO)
			continue;
		set_up(function, (id >> 16) - DEVICE_VIRTIO);
		functions[nr_functions++ % QUEUES_MOST] = function;
	}
}

/* Each port of each queue's notifications is given up, and claimed again. */
static void move_bars(void)
{
	for (unsigned int i = 0; i < nr_functions && i < QUEUES_MOST; i++) {
		config_write(functions[i], PCI_COMMAND, PCI_COMMAND_MASTER);
		config_write(functions[i], PCI_COMMAND, ON_THE_BUS);
	}
}

/* ---- the chipset -------------------------------------------------------------------- */

static __u8 inb(__u16 port)
{
	__u8 data;

	asm volatile("inb %1, %0" : "=a"(data) : "Nd"(port));
	return data;
}

/* Without looking whether it takes them; with its interrupts on and its FIFOs emptied. */
static void flood_serial(void)
{
	outb(0x3f9, 0x0f);
	outb(0x3fa, 0x07);
	for (unsigned int i = 0; i < 64; i++)
		outb(0x3f8, 'x');
	inb(0x3f8);
	inb(0x3fa);
}

static void set_rtc(__u8 at, __u8 data)
{
	outb(0x70, at);
	outb(0x71, data);
}

/* 8,192 interrupts a second, alarms at each, and the clock set now and then. */
static void flood_rtc(void)
{
	set_rtc(0x0a, 0x23);
	for (unsigned int at = 1; at < 6; at += 2)
		set_rtc(at, 0xff);
	set_rtc(0x0b, 0x72);
	outb(0x70, 0x0c);
	inb(0x71);
}

/* The shortest periods that there are, of all modes and channels. */
static void flood_pit(void)
{
	for (unsigned int mode = 0; mode < 6; mode++)
		for (unsigned int channel = 0; channel < 3; channel++) {
			outb(0x43, channel << 6 | 0x30 | mode << 1);
			outb(0x40 + channel, 2);
			outb(0x40 + channel, 0);
			inb(0x40 + channel);
		}
	outb(0x61, 3);
}

/* Its timer, and the power button's interrupt. */
static void flood_pm(void)
{
	__u32 ticks;

	for (unsigned int i = 0; i < 64; i++) {
		asm volatile("inl %1, %0" : "=a"(ticks) : "Nd"((__u16)0x608));
		outw(0x602, i & 1 ? 0x100 : 0);
	}
	outw(0x600, 0xffff);
}

/* ---- all of it ---------------------------------------------------------------------- */

/* Is a word among those of the command line? */
static _Bool is_asked(const char *line, const char *word)
{
	for (; line && *line; line++) {
		unsigned int i = 0;

		while (word[i] && line[i] == word[i])
			i++;
		if (!word[i])
			return 1;
	}
	return 0;
}

void main(const __u32 *multiboot);

void main(const __u32 *multiboot)
{
	const char *line = multiboot[0] & 4 ? (const char *)multiboot[4] : 0;
	_Bool serial = is_asked(line, "serial"), rtc = is_asked(line, "rtc"), pit = is_asked(line, "pit");
	_Bool pm = is_asked(line, "pm"), bars = is_asked(line, "bars"), reset = is_asked(line, "reset");

	set_up_all();
	/* DTR: somebody is here. */
	outb(0x3fc, 3);
	for (const char *text = "busy\n"; *text; text++)
		outb(0x3f8, *text);
	for (;;) {
		for (unsigned int i = 0; i < nr_queues; i++)
			again(&queues[i]);
		if (serial)
			flood_serial();
		if (rtc)
			flood_rtc();
		if (pit)
			flood_pit();
		if (pm)
			flood_pm();
		if (bars)
			move_bars();
		if (reset)
			set_up_all();
	}
}
