// SPDX-License-Identifier: GPL-2.0
/*
 * Two 8259A interrupt controllers, the second at the first one's input 2, and
 * their edge/level registers.  The interrupt goes to vCPU 0, which asks for a
 * window and then acknowledges it (vcpu.c).
 *
 * Data sheet of the 8259A, "Programming the 8259A"; of the 82371AB, "Interrupt
 * Controller Registers", for what the PIIX does its own way: the edge/level
 * registers stand in the place of ICW1's LTIM.
 *
 * Not here: buffered mode, and the 8085's way to be interrupted.
 */
#include <stdlib.h>

#include "chips.h"
#include "irq.h"
#include "runner.h"
#include "state.h"

#define PORT_FIRST 0x20
#define PORT_SECOND 0xa0
#define PORT_ELCR 0x4d0
#define ID_ELCR 2

#define CASCADE 2
#define SPURIOUS 7

#define ICW1 0x10
#define ICW1_NEEDS_ICW4 0x01
#define ICW1_SINGLE 0x02
#define ICW4_AUTO_EOI 0x02
#define ICW4_FULLY_NESTED 0x10
#define OCW3 0x08
#define OCW3_READ 0x02		/* of the register that bit 0 chooses: ISR, else IRR */
#define OCW3_POLL 0x04
#define OCW3_SET_MASK 0x40	/* special mask mode becomes bit 5 */

struct pic {
	struct device device;
	struct pic_chip chips[2];
	bool output;		/* read without the lock */
	__u16 ended;		/* lines of which an interrupt has, and who wants it has not been told */
};

static struct pic *pic_of(struct device *device)
{
	return container_of(device, struct pic, device);
}

/* The bit of the highest priority: its distance behind the lowest one, 8 if there is none. */
static unsigned int priority(const struct pic_chip *chip, __u8 bits)
{
	unsigned int n = 0;

	while (n < 8 && !(bits >> ((chip->lowest + 1 + n) & 7) & 1))
		n++;
	return n;
}

/* The input to be serviced, or -1. */
static int pending(const struct pic *pic, int which)
{
	const struct pic_chip *chip = &pic->chips[which];
	unsigned int request = priority(chip, chip->irr & ~chip->imr);
	unsigned int served = priority(chip, chip->special_mask ? chip->isr & ~chip->imr : chip->isr);
	int input = (chip->lowest + 1 + request) & 7;

	/* In the middle of its initialization it interrupts nobody. */
	if (chip->init || request == 8)
		return -1;
	/* What comes from a controller whose input is in service is of a higher priority there. */
	if (!which && chip->fully_nested && request == served && chip->slaves >> input & 1)
		return input;
	return request < served ? input : -1;
}

static void set_input(struct pic_chip *chip, unsigned int input, bool level)
{
	__u8 bit = 1u << input;

	if (level && (chip->elcr & bit || !(chip->lines & bit)))
		chip->irr |= bit;
	else if (!level)
		chip->irr &= ~bit;
	chip->lines = level ? chip->lines | bit : chip->lines & ~bit;
}

static void tell_ended(struct pic *pic)
{
	__u16 ended = pic->ended;

	pic->ended = 0;
	for (unsigned int line = 0; ended >> line; line++) {
		if (ended >> line & 1)
			line_ended(pic->device.vm, line);
	}
}

/* Let the second one's output reach the first, and the first one's vCPU 0. */
static void update(struct pic *pic)
{
	struct vm *vm = pic->device.vm;
	bool output;

	set_input(&pic->chips[0], CASCADE, pending(pic, 1) >= 0);
	output = pending(pic, 0) >= 0;
	if (output == pic->output)
		return;
	__atomic_store_n(&pic->output, output, __ATOMIC_SEQ_CST);
	if (output)
		vcpu_kick(&vm->vcpus[0]);
}

void pic_set_line(struct vm *vm, unsigned int line, bool level)
{
	struct pic *pic = pic_of(vm->pic);

	set_input(&pic->chips[line / 8], line % 8, level);
	update(pic);
}

bool pic_is_heard(const struct vm *vm, unsigned int line)
{
	const struct pic_chip *chips = pic_of(vm->pic)->chips;

	return !(chips[line / 8].imr >> line % 8 & 1) &&
	       (line < 8 || !(chips[0].imr >> CASCADE & 1));
}

bool pic_is_waiting(const struct vm *vm, unsigned int line)
{
	return pic_is_heard(vm, line) && pic_of(vm->pic)->chips[line / 8].irr >> line % 8 & 1;
}

bool pic_pending(const struct vm *vm)
{
	return __atomic_load_n(&pic_of(vm->pic)->output, __ATOMIC_SEQ_CST);
}

/* INTA: the input is in service now. */
static void acknowledge(struct pic *pic, int which, unsigned int input)
{
	struct pic_chip *chip = &pic->chips[which];
	__u8 bit = 1u << input;

	if (chip->auto_eoi) {
		pic->ended |= bit << 8 * which;
		if (chip->rotates)
			chip->lowest = input;
	} else {
		chip->isr |= bit;
	}
	/* The latch is cleared, a level is not. */
	if (!(chip->elcr & bit))
		chip->irr &= ~bit;
}

/* The vector of one chip's interrupt; one that has gone meanwhile is spurious. */
static int take(struct pic *pic, int which)
{
	struct pic_chip *chip = &pic->chips[which];
	int input = pending(pic, which);

	if (input < 0)
		return chip->base + SPURIOUS;
	acknowledge(pic, which, input);
	if (!which && input == CASCADE && chip->slaves >> CASCADE & 1)
		return take(pic, 1);
	return chip->base + input;
}

int pic_acknowledge(struct vm *vm)
{
	struct pic *pic = pic_of(vm->pic);
	int vector;

	if (!pic->output)
		return -1;
	vector = take(pic, 0);
	update(pic);
	tell_ended(pic);
	return vector;
}

/* OCW2: the end of an interrupt, and who has the lowest priority. */
static void end_of_interrupt(struct pic_chip *chip, __u8 data)
{
	bool rotate = data & 0x80, specific = data & 0x40, eoi = data & 0x20;
	unsigned int level = data & 7;
	unsigned int first = priority(chip, chip->special_mask ? chip->isr & ~chip->imr :
							chip->isr);

	if (eoi) {
		if (!specific && first == 8)
			return;
		if (!specific)
			level = (chip->lowest + 1 + first) & 7;
		chip->isr &= ~(1u << level);
		if (rotate)
			chip->lowest = level;
	} else if (specific && rotate) {
		chip->lowest = level;
	} else if (!specific) {
		chip->rotates = rotate;
	}
}

static void initialize(struct pic_chip *chip, __u8 data)
{
	*chip = (struct pic_chip) {
		.lines = chip->lines, .elcr = chip->elcr, .irr = chip->lines & chip->elcr,
		.lowest = 7, .init = 2, .wants_icw4 = data & ICW1_NEEDS_ICW4,
		.single = !!(data & ICW1_SINGLE),
	};
}

static void write_command(struct pic *pic, int which, __u8 data)
{
	struct pic_chip *chip = &pic->chips[which];
	__u8 isr = chip->isr;

	if (data & ICW1) {
		initialize(chip, data);
	} else if (data & OCW3) {
		if (data & OCW3_POLL)
			chip->polled = 1;
		if (data & OCW3_READ)
			chip->reads_isr = data & 1;
		if (data & OCW3_SET_MASK)
			chip->special_mask = data >> 5 & 1;
	} else {
		end_of_interrupt(chip, data);
		pic->ended |= (isr & ~chip->isr) << 8 * which;
	}
}

/* The initialization word that follows this one, or 0. */
static __u8 next_word(const struct pic_chip *chip)
{
	if (chip->init == 2 && !chip->single)
		return 3;
	return chip->init < 4 && chip->wants_icw4 ? 4 : 0;
}

static void write_data(struct pic_chip *chip, __u8 data)
{
	switch (chip->init) {
	case 0:
		chip->imr = data;
		return;
	case 2:
		chip->base = data & 0xf8;
		break;
	case 3:
		chip->slaves = data;
		break;
	case 4:
		chip->auto_eoi = data & ICW4_AUTO_EOI;
		chip->fully_nested = data & ICW4_FULLY_NESTED;
		break;
	}
	chip->init = next_word(chip);
}

/* A level counts as long as it is there, an edge once it has been. */
static void write_elcr(struct pic_chip *chip, __u8 data)
{
	chip->elcr = data;
	chip->irr = (chip->irr & ~data) | (chip->lines & data);
}

static void pic_write(struct device *device, const struct region *region, __u64 offset,
		      unsigned int size, __u64 data)
{
	struct pic *pic = pic_of(device);

	(void)size;
	if (region->id == ID_ELCR)
		write_elcr(&pic->chips[offset],
			   data & ~(offset ? PIC_EDGE_SECOND : PIC_EDGE_FIRST));
	else if (offset)
		write_data(&pic->chips[region->id], data);
	else
		write_command(pic, region->id, data);
	update(pic);
	tell_ended(pic);
}

/* A poll is an acknowledge of which the number is read. */
static __u64 poll(struct pic *pic, int which)
{
	int input = pending(pic, which);

	pic->chips[which].polled = 0;
	if (input < 0)
		return 0;
	acknowledge(pic, which, input);
	update(pic);
	tell_ended(pic);
	return 0x80 | input;
}

static __u64 pic_read(struct device *device, const struct region *region, __u64 offset,
		      unsigned int size)
{
	struct pic *pic = pic_of(device);
	struct pic_chip *chip = &pic->chips[region->id & 1];

	(void)size;
	if (region->id == ID_ELCR)
		return pic->chips[offset].elcr;
	if (chip->polled)
		return poll(pic, region->id);
	if (offset)
		return chip->imr;
	return chip->reads_isr ? chip->isr : chip->irr;
}

static void chip_state(struct pic_chip *chip, struct state *state, __u8 always_edge)
{
	STATE(state, chip, lines);
	STATE(state, chip, irr);
	STATE(state, chip, imr);
	STATE(state, chip, isr);
	STATE(state, chip, elcr);
	STATE(state, chip, base);
	STATE(state, chip, lowest);
	STATE(state, chip, init);
	STATE(state, chip, wants_icw4);
	STATE(state, chip, slaves);
	STATE(state, chip, single);
	STATE(state, chip, auto_eoi);
	STATE(state, chip, rotates);
	STATE(state, chip, fully_nested);
	STATE(state, chip, special_mask);
	STATE(state, chip, reads_isr);
	STATE(state, chip, polled);
	state_require(state, chip->lowest < 8 && !(chip->base & 7), "there is no such input");
	state_require(state, chip->init <= 4 && chip->init != 1, "there is no such initialization word");
	state_require(state, !(chip->elcr & always_edge), "an input is level-triggered that never is");
}

void pic_chips_state(struct pic_chip chips[2], struct state *state)
{
	static const char *const names[] = { "first", "second" };
	static const __u8 always_edge[] = { PIC_EDGE_FIRST, PIC_EDGE_SECOND };

	for (int i = 0; i < 2; i++) {
		if (!state_enter(state, names[i]))
			continue;
		chip_state(&chips[i], state, always_edge[i]);
		state_leave(state);
	}
}

/* Lines that have ended are told of at once: there are none now. */
static void pic_state(struct device *device, struct state *state)
{
	struct pic *pic = pic_of(device);

	pic_chips_state(pic->chips, state);
	if (state->loads)
		pic->output = pending(pic, 0) >= 0;
}

static void pic_destroy(struct device *device)
{
	free(pic_of(device));
}

static const struct device_ops ops = {
	.name = "i8259", .read = pic_read, .write = pic_write, .state = pic_state, .destroy = pic_destroy,
};

int pic_create(struct vm *vm)
{
	struct pic *pic = calloc(1, sizeof(*pic));

	if (!pic) {
		complain("no memory for the i8259");
		return -1;
	}
	for (int i = 0; i < 2; i++)
		pic->chips[i] = (struct pic_chip) { .imr = 0xff, .lowest = 7, .slaves = 1 << CASCADE };
	device_add(vm, &pic->device, &ops);
	vm->pic = &pic->device;
	if (device_ports(&pic->device, PORT_FIRST, 2, 1, 0) ||
	    device_ports(&pic->device, PORT_SECOND, 2, 1, 1))
		return -1;
	return device_ports(&pic->device, PORT_ELCR, 2, 1, ID_ELCR);
}
