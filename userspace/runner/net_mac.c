// SPDX-License-Identifier: GPL-2.0
/*
 * Addresses of network cards.  A card whose owner names none has one that is the same at each
 * start, and no other's: of another host, another machine, or another card of that.
 */
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "net.h"
#include "runner.h"

#define MACHINE_ID "/etc/machine-id"
/* In the first byte: not one card's; not a vendor's. */
#define MULTICAST 1
#define LOCAL 2

bool mac_parse(const char *text, __u8 *mac)
{
	unsigned int bytes[MAC_SIZE], any = 0;
	int end = 0;

	if (sscanf(text, "%2x:%2x:%2x:%2x:%2x:%2x%n", &bytes[0], &bytes[1], &bytes[2], &bytes[3], &bytes[4],
		   &bytes[5], &end) != MAC_SIZE || text[end] ||
	    strspn(text, "0123456789abcdefABCDEF:") != (size_t)end)
		return false;
	for (int i = 0; i < MAC_SIZE; i++) {
		mac[i] = bytes[i];
		any |= bytes[i];
	}
	return any && !(mac[0] & MULTICAST);
}

/* FNV-1a, by Fowler, Noll and Vo, whose upper bits the last multiplications mix. */
static __u64 hash(__u64 value, const void *data, size_t size)
{
	const __u8 *byte = data;

	while (size--)
		value = (value ^ *byte++) * 0x100000001b3ull;
	return value;
}

void mac_derive(const char *host, const char *name, __u32 index, __u8 *mac)
{
	__u64 value = 0xcbf29ce484222325ull;

	/* With their ends: what is divided elsewhere is something else. */
	value = hash(value, host, strlen(host) + 1);
	value = hash(value, name, strlen(name) + 1);
	value = hash(value, &index, sizeof(index));
	value ^= value >> 32;
	memcpy(mac, &value, MAC_SIZE);
	mac[0] = (mac[0] & ~MULTICAST) | LOCAL;
}

void mac_get(const struct vm *vm, __u32 index, __u8 *mac)
{
	static const __u8 none[MAC_SIZE];
	const __u8 *chosen = vm->options->nics[index].mac;
	char host[HOST_NAME_MAX + 1] = "";

	if (memcmp(chosen, none, MAC_SIZE)) {
		memcpy(mac, chosen, MAC_SIZE);
		return;
	}
	/* A container may have no id, but it has a name. */
	if (!host_read_line(MACHINE_ID, host, sizeof(host)))
		gethostname(host, sizeof(host) - 1);
	mac_derive(host, vm->name, index, mac);
}
