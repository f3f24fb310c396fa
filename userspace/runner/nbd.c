// SPDX-License-Identifier: GPL-2.0
/* Addresses of disks that an NBD server has: the NBD project, doc/uri.md.  Not here: TLS, vsock. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nbd.h"

#define TCP "nbd://"
#define UNIX "nbd+unix://"
#define SOCKET "?socket="
#define PORT "10809"

bool nbd_is_address(const char *path)
{
	return !strncmp(path, TCP, strlen(TCP)) || !strncmp(path, UNIX, strlen(UNIX));
}

/* A part of @length, without its %XX; false if it is too long or odd. */
static bool take(char *to, size_t size, const char *from, size_t length)
{
	const char *end = from + length;
	unsigned int byte;

	for (; from < end && size > 1; size--) {
		if (*from != '%') {
			*to++ = *from++;
			continue;
		}
		if (end - from < 3 || strspn(from + 1, "0123456789abcdefABCDEF") < 2 ||
		    sscanf(from + 1, "%2x", &byte) != 1 || !byte)
			return false;
		*to++ = byte;
		from += 3;
	}
	*to = '\0';
	return from == end;
}

/* /EXPORT?socket=PATH */
static bool parse_unix(const char *rest, struct nbd *nbd)
{
	const char *path = strstr(rest, SOCKET);

	if (*rest != '/' || !path || !path[strlen(SOCKET)])
		return false;
	nbd->is_unix = true;
	return take(nbd->export, sizeof(nbd->export), rest + 1, path - rest - 1) &&
	       take(nbd->host, sizeof(nbd->host), path + strlen(SOCKET), strlen(path + strlen(SOCKET)));
}

/* HOST[:PORT][/EXPORT], where an address of IPv6 is in brackets */
static bool parse_tcp(const char *rest, struct nbd *nbd)
{
	bool has_brackets = *rest == '[';
	size_t length;

	rest += has_brackets;
	length = strcspn(rest, has_brackets ? "]" : ":/?");
	if (!length || !take(nbd->host, sizeof(nbd->host), rest, length))
		return false;
	rest += length;
	if (has_brackets && *rest++ != ']')
		return false;
	strcpy(nbd->port, PORT);
	if (*rest == ':') {
		length = strspn(++rest, "0123456789");
		if (!length || !take(nbd->port, sizeof(nbd->port), rest, length) || atoi(nbd->port) > 0xffff)
			return false;
		rest += length;
	}
	if (*rest == '/')
		return !strchr(++rest, '?') && take(nbd->export, sizeof(nbd->export), rest, strlen(rest));
	return !*rest;
}

bool nbd_parse(const char *path, struct nbd *nbd)
{
	*nbd = (struct nbd) { 0 };
	if (!strncmp(path, UNIX, strlen(UNIX)))
		return parse_unix(path + strlen(UNIX), nbd);
	return !strncmp(path, TCP, strlen(TCP)) && parse_tcp(path + strlen(TCP), nbd);
}
