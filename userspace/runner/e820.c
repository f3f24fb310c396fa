// SPDX-License-Identifier: GPL-2.0
/* The map of the guest's memory, as firmware tells it. */
#include "loader.h"

unsigned int e820_map(const struct vm *vm, struct e820 rows[E820_MOST])
{
	__u64 end = vm->options->firmware ? vm->low - FIRMWARE_TABLES : vm->low;
	unsigned int nr = 0;

	rows[nr++] = (struct e820) { 0, EBDA, E820_RAM };
	rows[nr++] = (struct e820) { EBDA, VGA - EBDA, E820_RESERVED };
	rows[nr++] = (struct e820) { FIRMWARE, EXTENDED_MEMORY - FIRMWARE, E820_RESERVED };
	if (end > EXTENDED_MEMORY)
		rows[nr++] = (struct e820) { EXTENDED_MEMORY, end - EXTENDED_MEMORY, E820_RAM };
	if (end < vm->low)
		rows[nr++] = (struct e820) { end, vm->low - end, E820_RESERVED };
	if (vm->high)
		rows[nr++] = (struct e820) { HIGH_MEMORY, vm->high, E820_RAM };
	return nr;
}
