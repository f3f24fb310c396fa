// SPDX-License-Identifier: GPL-2.0
/* Interrupt lines: an ISA line goes to the 8259s and, as its override says, to the I/O APIC. */
#include "irq.h"

/* The timer's pin of the I/O APIC; the others have their line's number (acpi.c tells the guest). */
#define PIN_TIMER 2

void line_set(struct vm *vm, unsigned int line, bool level)
{
	pic_set_line(vm, line, level);
	ioapic_set_line(vm, line == LINE_TIMER ? PIN_TIMER : line, level);
}
