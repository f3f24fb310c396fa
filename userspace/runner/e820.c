// SPDX-License-Identifier: GPL-2.0
/* The map of the guest's memory, as firmware tells it. */
#include "loader.h"

unsigned int e820_map(const struct vm *vm, struct e820 rows[E820_MOST])
{
	unsigned int nr = 0;

	rows[nr++] = (struct e820) { 0, EBDA, E820_RAM };
	rows[nr++] = (struct e820) { EBDA, VGA - EBDA, E820_RESERVED };
	rows[nr++] = (struct e820) { FIRMWARE, EXTENDED_MEMORY - FIRMWARE, E820_RESERVED };
	if (vm->low > EXTENDED_MEMORY)
		rows[nr++] = (struct e820) { EXTENDED_MEMORY, vm->low - EXTENDED_MEMORY, E820_RAM };
	if (vm->high)
		rows[nr++] = (struct e820) { HIGH_MEMORY, vm->high, E820_RAM };
	return nr;
}
