// SPDX-License-Identifier: GPL-2.0
/* mote run: the command line. */
#include <ctype.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "disk.h"
#include "loader.h"
#include "net.h"
#include "runner.h"

const char run_usage[] =
	"usage: mote run [OPTION]... IMAGE | --firmware[=FILE]\n"
	"Runs IMAGE, a Linux bzImage or ELF file (PVH, multiboot, plain), in a VM.\n"
	"  -m, --memory SIZE  memory: 512M, 2G ... (512M)\n"
	"  -c, --cpus N    vCPUs (1)\n"
	"  --cpu -NAME,+NAME...  hide features of /proc/cpuinfo; insist on them\n"
	"  --initrd FILE   initial file system of the kernel\n"
	"  --module 'FILE [ARGS]'  a module of an ELF image; may be repeated\n"
	"  --append ARGS   the kernel's command line (console=, where the console is)\n"
	"  --disk FILE[,ro]  a disk: a raw image, .qcow2, a block device; repeatable\n"
	"  --share TAG=DIR  a directory, for mount -t virtiofs TAG; may be repeated\n"
	"  --net WHERE     a network card: user, tap:NAME, or vhost:NAME (by the kernel)\n"
	"  --forward [udp:]PORT:PORT  a port of 127.0.0.1 that leads to the guest's\n"
	"  --vsock CID     sockets between guest and host; the guest's address\n"
	"  --serial WHERE  the serial port: stdio (Ctrl-A x ends the VM), socket, none\n"
	"  --console       on stdio a virtio console, hvc0, instead of the serial port\n"
	"  --balloon[=SIZE]  take memory back; leave the guest SIZE at first\n"
	"  --firmware[=FILE]  boot a disk by SeaBIOS, UEFI (=uefi), or other firmware\n"
	"  --flat          IMAGE is code for real mode, loaded to and started at 0x7c00\n"
	"  --restart, --detach  begin again after a reset; run in the background\n"
	"  --timeout S     end the VM after S seconds, with status 124\n"
	"  --name NAME     what mote ps and others call the VM (the image's name)\n"
	"  --json          say what happens as JSON, a line each, on standard error\n"
	"Status: 0 power-off; v<<1|1 v at port 0xf4; 2 no start; 4 reset; 6 triple fault;\n"
	"8 no way on; 10 stop --force; 124 time limit; 130 Ctrl-A x; 128+N signal N.\n";

#define MEBI (1ull << 20)
#define LEAST_MEMORY (1 * MEBI)
#define MOST_MEMORY (1ull << 42)
#define MOST_SECONDS 1e9
/* APIC ids are 8 bits wide, and 255 is all of them. */
#define MOST_CPUS 254

enum {
	OPT_APPEND = 256, OPT_BALLOON, OPT_CONSOLE, OPT_CPU, OPT_DETACH, OPT_DISK, OPT_FIRMWARE,
	OPT_FLAT, OPT_FORWARD, OPT_INITRD, OPT_JSON, OPT_MODULE, OPT_NAME, OPT_NET, OPT_RESTART,
	OPT_SERIAL, OPT_SHARE, OPT_TIMEOUT, OPT_VSOCK, OPT_CPUS = 'c', OPT_MEMORY = 'm',
};

static const struct option long_options[] = {
	{ "append", required_argument, NULL, OPT_APPEND },
	{ "balloon", optional_argument, NULL, OPT_BALLOON },
	{ "console", no_argument, NULL, OPT_CONSOLE },
	{ "cpu", required_argument, NULL, OPT_CPU },
	{ "cpus", required_argument, NULL, OPT_CPUS },
	{ "detach", no_argument, NULL, OPT_DETACH },
	{ "disk", required_argument, NULL, OPT_DISK },
	{ "firmware", optional_argument, NULL, OPT_FIRMWARE },
	{ "flat", no_argument, NULL, OPT_FLAT },
	{ "forward", required_argument, NULL, OPT_FORWARD },
	{ "help", no_argument, NULL, 'h' },
	{ "initrd", required_argument, NULL, OPT_INITRD },
	{ "json", no_argument, NULL, OPT_JSON },
	{ "memory", required_argument, NULL, OPT_MEMORY },
	{ "module", required_argument, NULL, OPT_MODULE },
	{ "name", required_argument, NULL, OPT_NAME },
	{ "net", required_argument, NULL, OPT_NET },
	{ "restart", no_argument, NULL, OPT_RESTART },
	{ "serial", required_argument, NULL, OPT_SERIAL },
	{ "share", required_argument, NULL, OPT_SHARE },
	{ "timeout", required_argument, NULL, OPT_TIMEOUT },
	{ "vsock", required_argument, NULL, OPT_VSOCK },
	{ 0 },
};

/* Each parse_*: 0, or -1 after a complaint. */
static int parse_size(const char *option, const char *text, __u64 *memory)
{
	char *end;
	unsigned long long value = strtoull(text, &end, 10);
	__u64 unit = MEBI;

	if (*end == 'G' || *end == 'g')
		unit <<= 10;
	if (strchr("MmGg", *end) && *end)
		end++;
	if (end == text || *end || text[0] < '0' || text[0] > '9') {
		complain("%s: not a size: %s (512M, 2G ...)", option, text);
		return -1;
	}
	if (value > MOST_MEMORY / unit || value * unit < LEAST_MEMORY) {
		complain("%s: not from 1M to 4096G: %s", option, text);
		return -1;
	}
	*memory = value * unit;
	return 0;
}

static int parse_cpus(const char *text, unsigned int *cpus)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (*end || value < 1 || value > MOST_CPUS || text[0] < '0' || text[0] > '9') {
		complain("--cpus: not a number from 1 to %d: %s", MOST_CPUS, text);
		return -1;
	}
	*cpus = value;
	return 0;
}

static int parse_timeout(const char *text, __u64 *timeout)
{
	char *end;
	double seconds = strtod(text, &end);

	if (*end || end == text || !(seconds > 0 && seconds <= MOST_SECONDS)) {
		complain("--timeout: not a number of seconds: %s", text);
		return -1;
	}
	*timeout = seconds * NS_PER_S;
	/* 0 would be none. */
	*timeout += !*timeout;
	return 0;
}

static int parse_name(const char *text, struct options *options)
{
	if (!is_name(text)) {
		complain("--name: not of letters, digits, dots, dashes and underscores, at most %d: %s",
			 NAME_MOST, text);
		return -1;
	}
	options->name = text;
	options->is_named = true;
	return 0;
}

static int parse_serial(const char *text, const char **serial)
{
	if (strcmp(text, "stdio") && strcmp(text, "socket") && strcmp(text, "none")) {
		complain("--serial: neither stdio nor socket nor none: %s", text);
		return -1;
	}
	*serial = text;
	return 0;
}

static int add_module(const char *text, struct options *options)
{
	if (options->nr_modules == MODULES_MOST) {
		complain("--module: %d are the most: %s", MODULES_MOST, text);
		return -1;
	}
	options->modules[options->nr_modules++] = text;
	return 0;
}

static bool has_suffix(const char *text, const char *suffix)
{
	size_t length = strlen(text), end = strlen(suffix);

	return length > end && !strcmp(text + length - end, suffix);
}

/* 1: it is none, and belongs to the path; -1 after a complaint. */
static int parse_disk_key(const char *key, struct disk *disk)
{
	if (!strcmp(key, "ro")) {
		disk->readonly = true;
	} else if (!strncmp(key, "format=", 7)) {
		disk->is_raw = !strcmp(key + 7, "raw");
		disk->format = disk_format(key + 7);
		if (!disk->is_raw && !disk->format) {
			complain("--disk: format= is raw, qcow2, qed, vdi, vhdx, vmdk or vpc: %s", key + 7);
			return -1;
		}
	} else if (!strncmp(key, "sector=", 7)) {
		disk->sector = !strcmp(key + 7, "512") ? 512 : !strcmp(key + 7, "4096") ? 4096 : 0;
		if (!disk->sector) {
			complain("--disk: sector= is 512 or 4096: %s", key + 7);
			return -1;
		}
	} else {
		return 1;
	}
	return 0;
}

/* Keys are at the end; a comma before those is the path's. */
static int add_disk(const char *text, struct options *options)
{
	struct disk *disk = &options->disks[options->nr_disks];
	char *comma;
	int err = 0;

	if (options->nr_disks == DISKS_MOST) {
		complain("--disk: %d are the most: %s", DISKS_MOST, text);
		return -1;
	}
	disk->path = strdup(text);
	if (!disk->path) {
		complain("--disk: no memory");
		return -1;
	}
	options->nr_disks++;
	while (!err && (comma = strrchr(disk->path, ','))) {
		err = parse_disk_key(comma + 1, disk);
		if (!err)
			*comma = '\0';
	}
	if (err < 0)
		return -1;
	/* A name that says so is enough. */
	if (!disk->is_raw && !disk->format && has_suffix(disk->path, ".qcow2"))
		disk->format = "qcow2";
	return 0;
}

static int add_share(const char *text, struct options *options)
{
	struct share *share = &options->shares[options->nr_shares];
	const char *equals = strchr(text, '=');

	if (options->nr_shares == SHARES_MOST) {
		complain("--share: %d are the most: %s", SHARES_MOST, text);
		return -1;
	}
	if (!equals || equals == text || equals - text > SHARE_TAG_MOST || !equals[1]) {
		complain("--share: not TAG=DIR, with a tag of at most %d characters: %s",
			 SHARE_TAG_MOST, text);
		return -1;
	}
	for (unsigned int i = 0; i < options->nr_shares; i++)
		if (strlen(options->shares[i].tag) == (size_t)(equals - text) &&
		    !strncmp(options->shares[i].tag, text, equals - text)) {
			complain("--share: there are two with the tag %s", options->shares[i].tag);
			return -1;
		}
	memcpy(share->tag, text, equals - text);
	share->path = strdup(equals + 1);
	if (!share->path) {
		complain("--share: no memory");
		return -1;
	}
	share->as_root = has_suffix(share->path, ",root");
	if (share->as_root)
		share->path[strlen(share->path) - strlen(",root")] = '\0';
	options->nr_shares++;
	return 0;
}

/* 0 to 2 are the hypervisor's and the host's, and all ones is anybody. */
static int parse_vsock(const char *text, __u64 *cid)
{
	char *end;
	unsigned long long value = strtoull(text, &end, 10);

	if (*end || value < 3 || value >= 0xffffffff || text[0] < '0' || text[0] > '9') {
		complain("--vsock: not a number from 3 to 4294967294: %s", text);
		return -1;
	}
	*cid = value;
	return 0;
}

static bool is_network(const char *where)
{
	const char *name = strchr(where, ':');

	if (!strcmp(where, "user"))
		return true;
	return (!strncmp(where, NET_TAP, strlen(NET_TAP)) || !strncmp(where, NET_VHOST, strlen(NET_VHOST))) &&
	       name[1] && strlen(name + 1) <= NET_NAME_MOST;
}

static int parse_net_key(const char *key, struct options *options)
{
	if (!strcmp(key, "host-loopback") && !strcmp(options->net, "user")) {
		options->host_loopback = true;
		return 0;
	}
	if (strncmp(key, "mac=", 4)) {
		complain("--net: neither mac= nor, of user, host-loopback: %s", key);
		return -1;
	}
	options->has_mac = mac_parse(key + 4, options->mac);
	if (options->has_mac)
		return 0;
	complain("--net: not the address of a card (52:54:00:12:34:56 ...): %s", key + 4);
	return -1;
}

static int parse_net(const char *text, struct options *options)
{
	char *rest;
	int err = 0;

	if (options->net) {
		complain("--net: one network card is the most: %s", text);
		return -1;
	}
	rest = strdup(text);
	options->net = strsep(&rest, ",");
	if (!options->net) {
		complain("--net: no memory");
		return -1;
	}
	if (!is_network(options->net)) {
		complain("--net: neither user nor tap:NAME nor vhost:NAME: %s", options->net);
		return -1;
	}
	while (rest && !err)
		err = parse_net_key(strsep(&rest, ","), options);
	return err;
}

static int add_forward(const char *text, struct options *options)
{
	struct forward *forward = &options->forwards[options->nr_forwards];
	unsigned int port, guest_port;
	int end = 0;

	if (options->nr_forwards == FORWARDS_MOST) {
		complain("--forward: %d are the most: %s", FORWARDS_MOST, text);
		return -1;
	}
	forward->is_udp = !strncmp(text, "udp:", 4);
	sscanf(text + (forward->is_udp ? 4 : 0), "%5u:%5u%n", &port, &guest_port, &end);
	if (!end || text[end + (forward->is_udp ? 4 : 0)] || !port || port > 0xffff || !guest_port ||
	    guest_port > 0xffff) {
		complain("--forward: not PORT:PORT or udp:PORT:PORT: %s", text);
		return -1;
	}
	forward->port = port;
	forward->guest_port = guest_port;
	options->nr_forwards++;
	return 0;
}

static int parse_option(int option, struct options *options)
{
	switch (option) {
	case OPT_APPEND:
		options->append = optarg;
		options->has_append = true;
		return 0;
	case OPT_BALLOON:
		options->balloon = MOST_MEMORY;
		return optarg ? parse_size("--balloon", optarg, &options->balloon) : 0;
	case OPT_CONSOLE:
		options->console = true;
		return 0;
	case OPT_CPU:
		return cpu_features_parse(optarg, &options->features);
	case OPT_CPUS:
		return parse_cpus(optarg, &options->cpus);
	case OPT_DETACH:
		options->detach = true;
		return 0;
	case OPT_DISK:
		return add_disk(optarg, options);
	case OPT_FIRMWARE:
		options->firmware = !optarg ? SEABIOS : strcmp(optarg, "uefi") ? optarg : OVMF;
		return 0;
	case OPT_FLAT:
		options->flat = true;
		return 0;
	case OPT_FORWARD:
		return add_forward(optarg, options);
	case OPT_INITRD:
	case OPT_MODULE:
		return add_module(optarg, options);
	case OPT_JSON:
		options->json = true;
		return 0;
	case OPT_MEMORY:
		return parse_size("--memory", optarg, &options->memory);
	case OPT_NAME:
		return parse_name(optarg, options);
	case OPT_NET:
		return parse_net(optarg, options);
	case OPT_RESTART:
		options->restart = true;
		return 0;
	case OPT_SERIAL:
		return parse_serial(optarg, &options->serial);
	case OPT_SHARE:
		return add_share(optarg, options);
	case OPT_VSOCK:
		return parse_vsock(optarg, &options->vsock);
	default:
		return parse_timeout(optarg, &options->timeout);
	}
}

static int check_options(struct options *options)
{
	if (options->console && options->serial && !strcmp(options->serial, "stdio")) {
		complain("--console and --serial stdio cannot both have standard input and output");
		return -1;
	}
	if (options->detach && (options->console || (options->serial && !strcmp(options->serial, "stdio")))) {
		complain("--detach leaves standard input and output: --serial socket, and mote console");
		return -1;
	}
	if (!options->serial)
		options->serial = options->console ? "none" : options->detach ? "socket" : "stdio";
	if (options->flat && (options->nr_modules || options->append[0])) {
		complain("--flat takes no --append, --initrd and --module (try mote run --help)");
		return -1;
	}
	if (options->firmware && (options->nr_modules || options->append[0] || options->flat)) {
		complain("--firmware takes no --append, --flat, --initrd and --module");
		return -1;
	}
	if (options->nr_forwards && (!options->net || strcmp(options->net, "user"))) {
		complain("--forward wants --net user (try mote run --help)");
		return -1;
	}
	return 0;
}

/* What is left has to be the image, and nothing of an option. */
static int check_image(int argc, char **argv, const struct options *options)
{
	const char *before = optind > 1 ? argv[optind - 1] : "", *word = argv[optind];

	if (word && (!strcmp(before, "--firmware") || (!strcmp(before, "--balloon") && argc - optind > 1)) &&
	    access(word, F_OK)) {
		complain("run: %s=%s, with a = (try mote run --help)", before, word);
		return EXIT_USAGE;
	}
	for (int i = optind + 1; i < argc; i++)
		if (argv[i][0] == '-' && argv[i][1]) {
			complain("run: options come before the image: %s (try mote run --help)", argv[i]);
			return EXIT_USAGE;
		}
	if (options->firmware && word) {
		complain("run: --firmware takes no image: %s (--disk)", word);
		return EXIT_USAGE;
	}
	if (!options->firmware && argc - optind != 1) {
		complain(word ? "run takes one image, after the options: %s (try mote run --help)" :
			 "run: which image? (try mote run --help)", argv[argc - 1]);
		return EXIT_USAGE;
	}
	return -1;
}

/* -1 to go on, else the exit status. */
static int parse(int argc, char **argv, struct options *options)
{
	int option, at, status;

	opterr = 0;
	while (at = optind, (option = getopt_long(argc, argv, "+:hc:m:", long_options, NULL)) != -1) {
		if (option == 'h') {
			fputs(run_usage, stdout);
			return EXIT_OK;
		}
		if (option == ':') {
			complain("run: %s wants a value (try mote run --help)", argv[at]);
			return EXIT_USAGE;
		}
		if (option == '?') {
			complain("run: unknown option %s (try mote run --help)", argv[at]);
			return EXIT_USAGE;
		}
		if (parse_option(option, options))
			return EXIT_USAGE;
	}
	status = check_image(argc, argv, options);
	if (status >= 0)
		return status;
	options->image = argv[optind];
	return check_options(options) ? EXIT_USAGE : -1;
}

/* The image's file name, as far as it can be a name. */
static const char *default_name(const char *image, char *name, size_t size)
{
	snprintf(name, size, "%s", image ? basename(image) : "firmware");
	for (char *c = name; *c; c++)
		if (!isalnum((unsigned char)*c) && !strchr("._-", *c))
			*c = '_';
	if (name[0] == '.')
		name[0] = '_';
	return name;
}

int run_run(const struct verb *verb, int argc, char **argv)
{
	struct options options = {
		.append = "", .memory = 512 * MEBI, .cpus = 1,
	};
	char name[NAME_MOST + 1];
	int status = parse(argc, argv, &options);

	(void)verb;
	if (!options.name)
		options.name = default_name(options.image, name, sizeof(name));
	if (status < 0)
		status = options.detach ? detach_run(&options) : vm_run(&options);
	free(options.net);
	while (options.nr_shares)
		free(options.shares[--options.nr_shares].path);
	while (options.nr_disks)
		free(options.disks[--options.nr_disks].path);
	return status;
}
