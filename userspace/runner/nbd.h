/* SPDX-License-Identifier: GPL-2.0 */
/* Disks that an NBD server has, by their addresses. */
#ifndef NBD_H
#define NBD_H

#include <stdbool.h>

/**
 * struct nbd - where a disk is that a server has
 * @is_unix: at the socket @host of this host's; else at a port of a host's
 * @host: its name or address
 * @port: a number
 * @export: what the server calls the disk
 */
struct nbd {
	bool is_unix;
	char host[256];
	char port[6];
	char export[256];
};

/* Is it an address, and no file? */
bool nbd_is_address(const char *path);
/* What it says: nbd://HOST[:PORT][/EXPORT] or nbd+unix:///[EXPORT]?socket=PATH; false: nothing. */
bool nbd_parse(const char *path, struct nbd *nbd);

#endif /* NBD_H */
