// SPDX-License-Identifier: GPL-2.0
/* Addresses of network cards: which are taken, and that derived ones are each a card's own. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "../userspace/runner/net_mac.c"
#include "tests.h"

static const char *machine_id = "0123456789abcdef0123456789abcdef";

bool host_read_line(const char *path, char *line, int size)
{
	(void)path;
	if (machine_id)
		snprintf(line, size, "%s", machine_id);
	return machine_id;
}

static bool parses(void)
{
	static const char *const bad[] = {
		"", "52:54:00:12:34", "52:54:00:12:34:56:78", "52:54:00:12:34:5g", "52:54:00:12:34:56 ",
		" 2:54:0:1:2:3", "525400123456", "52-54-00-12-34-56", "01:00:5e:00:00:01",
		"00:00:00:00:00:00", "0x:54:00:12:34:56",
		"+1:54:00:12:34:56", "52:54:00:12:34:-6", "ff:ff:ff:ff:ff:ff", "52:54:00:12::56",
	};
	__u8 mac[MAC_SIZE];

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		if (mac_parse(bad[i], mac)) {
			printf("# taken: %s\n", bad[i]);
			return false;
		}
	return mac_parse("52:54:00:aB:34:5", mac) && !memcmp(mac, "\x52\x54\x00\xab\x34\x05", MAC_SIZE);
}

/* None of many is another's, and each is one card's, and no vendor's. */
static bool differ(void)
{
	static __u8 macs[3 * 40 * 4][MAC_SIZE];
	static const char *const hosts[] = { "host", "hostvm1", "" };
	unsigned int nr = 0;
	char name[16];

	for (size_t host = 0; host < ARRAY_SIZE(hosts); host++)
		for (int vm = 0; vm < 40; vm++)
			for (int index = 0; index < 4; index++) {
				snprintf(name, sizeof(name), "vm%d", vm);
				mac_derive(hosts[host], name, index, macs[nr++]);
			}
	for (unsigned int a = 0; a < nr; a++) {
		if ((macs[a][0] & 3) != 2)
			return false;
		for (unsigned int b = 0; b < a; b++)
			if (!memcmp(macs[a], macs[b], MAC_SIZE))
				return false;
	}
	return true;
}

/* It has a name, but no id. */
static bool containers_have_names(void)
{
	char host[HOST_NAME_MAX + 1], name[HOST_NAME_MAX + 1] = "";
	int status = 0;
	pid_t pid = fork();

	if (!pid) {
		machine_id = NULL;
		host_identity(host, sizeof(host));
		gethostname(name, sizeof(name) - 1);
		_exit(!name[0] || strcmp(host, name));
	}
	return pid > 0 && waitpid(pid, &status, 0) == pid && !status;
}

/* The host's id is read once: a machine that begins again reads no files. */
static bool is_chosen(void)
{
	struct options options = { .nr_nics = 1, .nics = { { .mac = { 2, 0, 0, 0, 0, 7 } } } };
	struct vm vm = { .options = &options, .name = "vm" };
	__u8 mac[MAC_SIZE], again[MAC_SIZE], derived[MAC_SIZE];

	mac_get(&vm, 0, mac);
	if (memcmp(mac, options.nics[0].mac, MAC_SIZE))
		return false;
	memset(options.nics[0].mac, 0, MAC_SIZE);
	mac_get(&vm, 0, mac);
	mac_derive(machine_id, vm.name, 0, derived);
	machine_id = NULL;
	mac_get(&vm, 0, again);
	return !memcmp(mac, again, MAC_SIZE) && !memcmp(mac, derived, MAC_SIZE);
}

int main(void)
{
	static const struct unit_test tests[] = {
		{ "addresses are taken as written, and of one card", .is_good = parses },
		{ "host, name and index each make another", .is_good = differ },
		{ "a container without an id has its name", .is_good = containers_have_names },
		{ "the same at each start, or what the options say", .is_good = is_chosen },
	};

	return run_all(tests, ARRAY_SIZE(tests));
}
