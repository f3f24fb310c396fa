// SPDX-License-Identifier: GPL-2.0
/*
 * Addresses of network cards, and UUIDs of machines.  A card whose owner names none has one that
 * is the same at each start, and no other's: of another host, another machine, or another card of
 * that.
 */
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "net.h"
#include "runner.h"
#include "smbios.h"

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

__u64 name_hash(const char *host, const char *name, __u32 index)
{
	__u64 value = 0xcbf29ce484222325ull;

	/* With their ends: what is divided elsewhere is something else. */
	value = hash(value, host, strlen(host) + 1);
	value = hash(value, name, strlen(name) + 1);
	value = hash(value, &index, sizeof(index));
	return value ^ value >> 32;
}

void mac_derive(const char *host, const char *name, __u32 index, __u8 *mac)
{
	__u64 value = name_hash(host, name, index);

	memcpy(mac, &value, MAC_SIZE);
	mac[0] = (mac[0] & ~MULTICAST) | LOCAL;
}

/* A container may have no id, but it has a name.  Once is enough: a second start opens no files. */
void host_identity(char *host, size_t size)
{
	static char known[HOST_NAME_MAX + 1];
	static bool is_known;

	if (!is_known && !host_read_line(MACHINE_ID, known, sizeof(known)))
		gethostname(known, sizeof(known) - 1);
	is_known = true;
	snprintf(host, size, "%s", known);
}

void mac_get(const struct vm *vm, __u32 index, __u8 *mac)
{
	static const __u8 none[MAC_SIZE];
	const __u8 *chosen = vm->options->nics[index].mac;
	char host[HOST_NAME_MAX + 1];

	if (memcmp(chosen, none, MAC_SIZE)) {
		memcpy(mac, chosen, MAC_SIZE);
		return;
	}
	host_identity(host, sizeof(host));
	mac_derive(host, vm->name, index, mac);
}

/* ---- UUIDs ------------------------------------------------------------------------------- */

bool uuid_parse(const char *text, __u8 uuid[UUID_SIZE])
{
	static const char form[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
	unsigned int byte, all = 0xff, any = 0;
	const char *digit = text;

	if (strlen(text) != sizeof(form) - 1)
		return false;
	for (size_t i = 0; form[i]; i++)
		if (form[i] == '-' ? text[i] != '-' : !strchr("0123456789abcdefABCDEF", text[i]))
			return false;
	for (int i = 0; i < UUID_SIZE; i++, digit += 2) {
		digit += *digit == '-';
		sscanf(digit, "%2x", &byte);
		uuid[i] = byte;
		all &= byte;
		any |= byte;
	}
	return any && all != 0xff;
}

#define UUID_VERSION 8
/* Other numbers than those of network cards. */
#define UUID_INDEX 0x55554944

void uuid_derive(const char *host, const char *name, __u8 uuid[UUID_SIZE])
{
	for (__u32 i = 0; i < 2; i++) {
		__u64 value = name_hash(host, name, UUID_INDEX + i);

		memcpy(uuid + sizeof(value) * i, &value, sizeof(value));
	}
	uuid[6] = (uuid[6] & 0x0f) | UUID_VERSION << 4;
	uuid[8] = (uuid[8] & 0x3f) | 0x80;
}
