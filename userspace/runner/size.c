// SPDX-License-Identifier: GPL-2.0
/* Numbers, and sizes of memory, as they are typed. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vm.h"

/* Numbers are digits: neither signs nor blanks. */
int parse_number(const char *text, unsigned long most, unsigned long *value)
{
	char *end;

	*value = strtoul(text, &end, 10);
	return !*end && text[0] >= '0' && text[0] <= '9' && *value <= most ? 0 : -1;
}

int parse_size(const char *text, __u64 *size)
{
	unsigned int shift = 20;
	unsigned long long value;
	char *end;

	errno = 0;
	value = strtoull(text, &end, 10);
	if (*end == 'G' || *end == 'g')
		shift = 30;
	if (*end && strchr("MmGg", *end))
		end++;
	if (*end || text[0] < '0' || text[0] > '9' || errno || value > ~0ull >> shift)
		return -1;
	*size = value << shift;
	return 0;
}
