// SPDX-License-Identifier: GPL-2.0
/* mote run: the command line. */
#include <ctype.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runner.h"
#include "vm.h"

const char run_usage[] =
	"usage: mote run [OPTION]... IMAGE | --firmware[=FILE]\n"
	"\n"
	"Runs IMAGE, a Linux bzImage or ELF file (PVH, multiboot, plain), in a VM.\n"
	"\n"
	"  --memory SIZE   memory: 512M, 2G ... (512M)\n"
	"  --cpus N        vCPUs (1)\n"
	"  --initrd FILE   initial file system of the kernel\n"
	"  --module 'FILE [ARGS]'  a module of an ELF image; may be repeated\n"
	"  --append ARGS   the kernel's command line\n"
	"  --disk FILE[,ro]  a disk: a raw image or a block device; may be repeated\n"
	"  --net WHERE     a network card: user (no privilege needed), or tap:NAME\n"
	"  --forward [udp:]PORT:PORT  a port of 127.0.0.1 that leads to the guest's\n"
	"  --serial WHERE  the serial port: stdio (Ctrl-A x ends the VM), socket (for\n"
	"                  mote console), or none\n"
	"  --firmware[=FILE]  boot the first disk by SeaBIOS, or by other firmware\n"
	"  --flat          IMAGE is code for real mode, loaded to and started at 0x7c00\n"
	"  --timeout S     end the VM after S seconds, with status 124\n"
	"  --name NAME     what mote ps and others call the VM (the image's name)\n"
	"  --json          say what happens as JSON, a line each, on standard error\n"
	"  --help          this text\n"
	"\n"
	"Exit status: 0 power-off; v<<1|1 the guest wrote v to port 0xf4; 2 it could not\n"
	"start; 4 reset; 6 triple fault; 8 it could not go on; 10 mote stop --force;\n"
	"124 time limit; 130 Ctrl-A x; 128+N signal N.\n";

/* Where Debian's package seabios has it. */
#define SEABIOS "/usr/share/seabios/bios.bin"

#define MEBI (1ull << 20)
#define LEAST_MEMORY (1 * MEBI)
#define MOST_MEMORY (1ull << 42)
#define MOST_SECONDS 1e9
/* APIC ids are 8 bits wide, and 255 is all of them. */
#define MOST_CPUS 254

enum {
	OPT_APPEND = 256, OPT_CPUS, OPT_DISK, OPT_FIRMWARE, OPT_FLAT, OPT_FORWARD, OPT_INITRD,
	OPT_JSON, OPT_MEMORY, OPT_MODULE, OPT_NAME, OPT_NET, OPT_SERIAL, OPT_TIMEOUT,
};

static const struct option long_options[] = {
	{ "append", required_argument, NULL, OPT_APPEND },
	{ "cpus", required_argument, NULL, OPT_CPUS },
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
	{ "serial", required_argument, NULL, OPT_SERIAL },
	{ "timeout", required_argument, NULL, OPT_TIMEOUT },
	{ 0 },
};

/* Each parse_*: 0, or -1 after a complaint. */
static int parse_memory(const char *text, __u64 *memory)
{
	char *end;
	unsigned long long value = strtoull(text, &end, 10);
	__u64 unit = MEBI;

	if (*end == 'G' || *end == 'g')
		unit <<= 10;
	if (strchr("MmGg", *end) && *end)
		end++;
	if (end == text || *end || text[0] < '0' || text[0] > '9') {
		complain("--memory: not a size: %s (512M, 2G ...)", text);
		return -1;
	}
	if (value > MOST_MEMORY / unit || value * unit < LEAST_MEMORY) {
		complain("--memory: not from 1M to 4096G: %s", text);
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

/* A comma in the path stays one, but for the last if it is before "ro". */
static int add_disk(const char *text, struct options *options)
{
	struct disk *disk = &options->disks[options->nr_disks];
	size_t length = strlen(text);

	if (options->nr_disks == DISKS_MOST) {
		complain("--disk: %d are the most: %s", DISKS_MOST, text);
		return -1;
	}
	disk->readonly = length > 3 && !strcmp(text + length - 3, ",ro");
	disk->path = strndup(text, length - (disk->readonly ? 3 : 0));
	if (!disk->path) {
		complain("--disk: no memory");
		return -1;
	}
	options->nr_disks++;
	return 0;
}

static int parse_net(const char *text, struct options *options)
{
	if (strcmp(text, "user") && (strncmp(text, "tap:", 4) || !text[4] || strlen(text + 4) > 15)) {
		complain("--net: neither user nor tap:NAME: %s", text);
		return -1;
	}
	if (options->net) {
		complain("--net: one network card is the most: %s", text);
		return -1;
	}
	options->net = text;
	return 0;
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
		return 0;
	case OPT_CPUS:
		return parse_cpus(optarg, &options->cpus);
	case OPT_DISK:
		return add_disk(optarg, options);
	case OPT_FIRMWARE:
		options->firmware = optarg ? optarg : SEABIOS;
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
		return parse_memory(optarg, &options->memory);
	case OPT_NAME:
		return parse_name(optarg, options);
	case OPT_NET:
		return parse_net(optarg, options);
	case OPT_SERIAL:
		return parse_serial(optarg, &options->serial);
	default:
		return parse_timeout(optarg, &options->timeout);
	}
}

static int check_options(const struct options *options)
{
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

/* -1 to go on, else the exit status. */
static int parse(int argc, char **argv, struct options *options)
{
	int option, at;

	opterr = 0;
	while (at = optind, (option = getopt_long(argc, argv, "+:h", long_options, NULL)) != -1) {
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
	if (options->firmware && argc > optind) {
		complain("run: --firmware takes no image: %s (--disk)", argv[optind]);
		return EXIT_USAGE;
	}
	if (!options->firmware && argc - optind != 1) {
		complain(argc == optind ? "run: which image? (try mote run --help)" :
			 "run takes one image, after the options: %s (try mote run --help)",
			 argv[argc - 1]);
		return EXIT_USAGE;
	}
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
		.append = "", .serial = "stdio", .memory = 512 * MEBI, .cpus = 1,
	};
	char name[NAME_MOST + 1];
	int status = parse(argc, argv, &options);

	(void)verb;
	if (!options.name)
		options.name = default_name(options.image, name, sizeof(name));
	if (status < 0)
		status = vm_run(&options);
	while (options.nr_disks)
		free(options.disks[--options.nr_disks].path);
	return status;
}
