/* SPDX-License-Identifier: GPL-2.0 */
#ifndef CHECKSUM_H
#define CHECKSUM_H

#include <linux/types.h>
#include <stddef.h>

/* The byte with which these bytes sum up to 0, as tables of ACPI, MP and SMBIOS have it. */
static inline __u8 checksum(const void *data, size_t size)
{
	const __u8 *byte = data;
	__u8 sum = 0;

	while (size--)
		sum += *byte++;
	return -sum;
}

#endif /* CHECKSUM_H */
