// SPDX-License-Identifier: GPL-2.0
/* Interrupt lines: an ISA line goes to the 8259s and, as its override says, to the I/O APIC. */
#include "irq.h"

/* The timer's pin of the I/O APIC; the others have their line's number (acpi.c tells the guest). */
#define PIN_TIMER 2

static unsigned int pin_of(unsigned int line)
{
	return line == LINE_TIMER ? PIN_TIMER : line;
}

void line_set(struct vm *vm, unsigned int line, bool level)
{
	pic_set_line(vm, line, level);
	ioapic_set_line(vm, pin_of(line), level);
}

bool line_is_heard(const struct vm *vm, unsigned int line)
{
	return pic_is_heard(vm, line) || ioapic_is_heard(vm, pin_of(line));
}

void line_ended(struct vm *vm, unsigned int line)
{
	if (line == LINE_TIMER)
		pit_tick_ended(vm);
	else if (line == LINE_RTC)
		rtc_tick_ended(vm);
}

/* What the I/O APIC has sent is the local APIC's, which does not say whether it has been taken. */
bool line_is_waiting(const struct vm *vm, unsigned int line)
{
	return !ioapic_is_heard(vm, pin_of(line)) && pic_is_waiting(vm, line);
}
