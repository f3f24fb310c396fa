/* SPDX-License-Identifier: GPL-2.0 */
/* What a guest is told of the machine as such: its name, serial number, UUID, processors and memory. */
#ifndef SMBIOS_H
#define SMBIOS_H

#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>

#define UUID_SIZE 16
#define UUID_TEXT_SIZE 37

#define SMBIOS_MOST 2048

struct vm;

/* "SMBIOS 2.1 (32-bit) Entry Point", by which firmware takes it. */
struct smbios_entry {
	char anchor[4];
	__u8 checksum;
	__u8 length;
	__u8 major, minor;
	__u16 most;			/* bytes of a structure */
	__u8 revision;
	__u8 formatted[5];
	char dmi[5];
	__u8 dmi_checksum;
	__u16 table_size;
	__u32 table;
	__u16 nr;
	__u8 bcd_revision;
} __attribute__((packed));

/**
 * struct smbios - the structures, and what leads to them
 * @entry: for firmware, which fills in the address
 * @bytes: the structures, one behind another
 * @size: of those, in bytes
 * @nr: how many there are
 * @most: size of the largest
 */
struct smbios {
	struct smbios_entry entry;
	__u8 bytes[SMBIOS_MOST];
	size_t size;
	unsigned int nr;
	size_t most;
};

/* Make them; firmware adds what is to be said of itself. */
void smbios_make(struct smbios *smbios, const struct vm *vm);

/* Put them where a firmware would: 0, or -1 after a complaint. */
int smbios_write(struct vm *vm);

/* ---- UUIDs (net_mac.c) ------------------------------------------------------------------- */

/* From 8-4-4-4-12 hexadecimal digits; false: it is none, or one that means that there is none. */
bool uuid_parse(const char *text, __u8 uuid[UUID_SIZE]);
/* The same at each start of a machine of this name on this host, and nobody else's (RFC 9562, version 8). */
void uuid_derive(const char *host, const char *name, __u8 uuid[UUID_SIZE]);

#endif /* SMBIOS_H */
