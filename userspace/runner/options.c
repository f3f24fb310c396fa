// SPDX-License-Identifier: GPL-2.0
/* The options of mote run: see options.h. */
#include <stdio.h>
#include <string.h>

#include "loader.h"
#include "nbd.h"
#include "net.h"
#include "options.h"
#include "runner.h"
#include "smbios.h"

#define MOST_SECONDS 1000000000
/* 0 to 2 are the hypervisor's and the host's, and all ones is anybody. */
#define LEAST_CID 3
#define MOST_CID 0xfffffffe

/* As the kernel has it. */
#define WEIGHT_MOST 10000
#define BPS_MOST (1ull << 42)
#define IOPS_MOST 1000000000
/* Of what is counted here (throttle.h). */
#define RATE_MOST (1ull << 34)
#define BURST_MOST 3600

#define STRING_OF(number) #number
#define STRING(number) STRING_OF(number)

/* ---- texts of their own kind -------------------------------------------------------------- */

static int parse_firmware(const char *where, const char *text, void *field)
{
	(void)where;
	*(const char **)field = !strcmp(text, "seabios") ? SEABIOS : !strcmp(text, "uefi") ? OVMF : text;
	return 0;
}

static int parse_uuid(const char *where, const char *text, void *field)
{
	(void)where;
	return !uuid_parse(text, field);
}

/* In the order of their numbers. */
#define WATCHDOG_ACTIONS "reset end pause nmi"

static int parse_watchdog(const char *where, const char *text, void *field)
{
	static const char *const actions[] = {
		[WATCHDOG_RESET] = "reset", [WATCHDOG_END] = "end", [WATCHDOG_PAUSE] = "pause",
		[WATCHDOG_NMI] = "nmi",
	};

	(void)where;
	for (enum watchdog_action action = WATCHDOG_RESET; action < ARRAY_SIZE(actions); action++)
		if (!strcmp(text, actions[action])) {
			*(enum watchdog_action *)field = action;
			return 0;
		}
	return 1;
}

static int parse_panic(const char *where, const char *text, void *field)
{
	const struct options options = { .on_panic = text };
	const char *path = core_path(&options);

	(void)where;
	*(const char **)field = text;
	return path ? !path[0] : strcmp(text, "end") && strcmp(text, "pause");
}

static int parse_name(const char *where, const char *text, void *field)
{
	(void)where;
	*(const char **)field = text;
	return !is_name(text);
}

static int parse_tag(const char *where, const char *text, void *field)
{
	size_t length = strlen(text);

	(void)where;
	if (!length || length > SHARE_TAG_MOST)
		return 1;
	memcpy(field, text, length + 1);
	return 0;
}

static bool is_in_user_space(const char *network)
{
	return !strcmp(network, NET_USER) || !strcmp(network, NET_PASST);
}

static int parse_network(const char *where, const char *text, void *field)
{
	const char *name = strchr(text, ':');

	(void)where;
	*(const char **)field = text;
	if (is_in_user_space(text))
		return 0;
	return (strncmp(text, NET_TAP, strlen(NET_TAP)) && strncmp(text, NET_VHOST, strlen(NET_VHOST))) ||
	       !name[1] || strlen(name + 1) > NET_NAME_MOST;
}

static int parse_mac(const char *where, const char *text, void *field)
{
	(void)where;
	return !mac_parse(text, field);
}

static int parse_forward(const char *where, const char *text, void *field)
{
	struct forward *forward = field;
	const char *ports = strncmp(text, "udp:", 4) ? text : text + 4;
	unsigned int port, guest_port;
	int end = 0;

	(void)where;
	sscanf(ports, "%5u:%5u%n", &port, &guest_port, &end);
	if (!end || ports[end] || strspn(ports, "0123456789:") != (size_t)end || !port || port > 0xffff ||
	    !guest_port || guest_port > 0xffff)
		return 1;
	*forward = (struct forward) { .is_udp = ports != text, .port = port, .guest_port = guest_port };
	return 0;
}

/* ---- objects -------------------------------------------------------------------------------- */

static bool is_format(const struct disk *disk, const char *format)
{
	return disk->format && !strcmp(disk->format, format);
}

static int check_rate(const struct rate *rate, const char *where, const char *limits)
{
	if (!rate->burst_ns || rate->requests || rate->bytes)
		return 0;
	complain("%s: burst= wants %s", where, limits);
	return -1;
}

/* A name that says so is enough.  What a server has is never read here, whatever its format. */
static int finish_disk(const struct options *options, void *element, const char *where)
{
	struct disk *disk = element;
	bool is_remote = nbd_is_address(disk->path);
	struct nbd nbd;

	(void)options;
	if (is_remote && !nbd_parse(disk->path, &nbd)) {
		complain("%s: not nbd://HOST[:PORT][/NAME] or nbd+unix:///[NAME]?socket=PATH: %s", where,
			 disk->path);
		return -1;
	}
	if (!disk->format && has_suffix(disk->path, ".qcow2"))
		disk->format = "qcow2";
	if (!disk->format && is_remote)
		disk->format = "raw";
	if (is_format(disk, "luks") ? !disk->key : disk->key && !is_format(disk, "qcow2")) {
		complain("%s: %s", where, disk->key ? "key= is for format=luks and qcow2" :
			 "format=luks wants key=FILE");
		return -1;
	}
	disk->is_raw = is_format(disk, "raw") && !is_remote;
	if (disk->is_raw)
		disk->format = NULL;
	return check_rate(&disk->rate, where, "iops= or bps=");
}

static int finish_share(const struct options *options, void *element, const char *where)
{
	const struct share *share = element;

	for (unsigned int i = 0; i < options->nr_shares; i++)
		if (!strcmp(options->shares[i].tag, share->tag)) {
			complain("%s: there are two with the tag %s", where, share->tag);
			return -1;
		}
	return 0;
}

static int finish_nic(const struct options *options, void *element, const char *where)
{
	const struct nic *nic = element;

	(void)options;
	if ((nic->rate.requests || nic->rate.bytes) && !strncmp(nic->where, NET_VHOST, strlen(NET_VHOST))) {
		complain("%s: pps= and bps= are not for " NET_VHOST ", which the kernel serves", where);
		return -1;
	}
	if (check_rate(&nic->rate, where, "pps= or bps="))
		return -1;
	if ((!nic->host_loopback && !nic->nr_forwards) || is_in_user_space(nic->where))
		return 0;
	complain("%s: %s is of " NET_USER " and " NET_PASST " alone, not of %s", where,
		 nic->host_loopback ? "host-loopback" : "forward", nic->where);
	return -1;
}

/* ---- the table ------------------------------------------------------------------------------ */

#define FIELD(type, field) .offset = offsetof(struct type, field)
#define ARRAY(type, array, nr)								\
	FIELD(type, array), .count = offsetof(struct type, nr),				\
	.most = ARRAY_SIZE(((struct type *)0)->array), .size = sizeof(((struct type *)0)->array[0])

static const struct row disk_keys[] = {
	{ "file", .type = ROW_FILE, FIELD(disk, path) },
	{ "ro", .type = ROW_FLAG, FIELD(disk, readonly) },
	{ "format", .type = ROW_WORD, FIELD(disk, format), .words = "raw qcow2 qed vdi vhdx vmdk vpc luks" },
	{ "key", .type = ROW_FILE, FIELD(disk, key) },
	{ "sector", .type = ROW_NUMBER, FIELD(disk, sector), .words = "512 4096" },
	{ "iops", .type = ROW_NUMBER, FIELD(disk, rate.requests), .least = 1, .greatest = IOPS_MOST },
	{ "bps", .type = ROW_SIZE, FIELD(disk, rate.bytes), .least = 1 << 20, .greatest = RATE_MOST },
	{ "burst", .type = ROW_SECONDS, FIELD(disk, rate.burst_ns), .greatest = BURST_MOST },
	{ 0 },
};

static const struct row share_keys[] = {
	{ "tag", .type = ROW_OWN, FIELD(share, tag), .parse = parse_tag,
	  .wanted = "of 1 to " STRING(SHARE_TAG_MOST) " characters" },
	{ "directory", .type = ROW_DIRECTORY, FIELD(share, path) },
	{ "root", .type = ROW_FLAG, FIELD(share, as_root) },
	{ 0 },
};

static const struct row io_keys[] = {
	{ "device", .type = ROW_FILE, FIELD(io_limit, device) },
	{ "rbps", .type = ROW_SIZE, FIELD(io_limit, read_bytes), .greatest = BPS_MOST },
	{ "wbps", .type = ROW_SIZE, FIELD(io_limit, written_bytes), .greatest = BPS_MOST },
	{ "riops", .type = ROW_NUMBER, FIELD(io_limit, reads), .greatest = IOPS_MOST },
	{ "wiops", .type = ROW_NUMBER, FIELD(io_limit, writes), .greatest = IOPS_MOST },
	{ 0 },
};

#define FORWARD_WANTED "PORT:PORT or udp:PORT:PORT"

static const struct row net_keys[] = {
	{ "where", .type = ROW_OWN, FIELD(nic, where), .parse = parse_network,
	  .wanted = NET_USER ", " NET_PASST ", " NET_TAP "NAME or " NET_VHOST "NAME" },
	{ "mac", .type = ROW_OWN, FIELD(nic, mac), .parse = parse_mac,
	  .wanted = "the address of a card (52:54:00:12:34:56 ...)" },
	{ "pps", .type = ROW_NUMBER, FIELD(nic, rate.requests), .least = 1, .greatest = IOPS_MOST },
	{ "bps", .type = ROW_SIZE, FIELD(nic, rate.bytes), .least = 1 << 20, .greatest = RATE_MOST },
	{ "burst", .type = ROW_SECONDS, FIELD(nic, rate.burst_ns), .greatest = BURST_MOST },
	{ "host-loopback", .type = ROW_FLAG, FIELD(nic, host_loopback) },
	{ "forward", .type = ROW_OWN, ARRAY(nic, forwards, nr_forwards), .parse = parse_forward,
	  .wanted = FORWARD_WANTED },
	{ 0 },
};

/* In the order in which --help and the manual have them. */
const struct row option_rows[] = {
	{ OPTION_IMAGE, .type = ROW_FILE, FIELD(options, image) },
	{ "memory", 'm', ROW_SIZE, FIELD(options, memory), .least = MEMORY_LEAST, .greatest = MEMORY_MOST,
	  .value = "SIZE", .help = "memory: 512M, 2G ...", .initial = "512M" },
	{ "cpus", 'c', ROW_NUMBER, FIELD(options, cpus), .least = 1, .greatest = MOST_CPUS,
	  .value = "N", .help = "vCPUs", .initial = "1" },
	{ "cpu", .type = ROW_OWN, FIELD(options, features), .count = offsetof(struct options, nr_features),
	  .most = FEATURES_MOST, .parse = cpu_features_parse, .wanted = "portable,-NAME,+NAME...",
	  .value = "-NAME,+NAME...", .help = "hide features of /proc/cpuinfo; insist; portable" },
	{ "initrd", .type = ROW_FILE, .as = "module", ARRAY(options, modules, nr_modules),
	  .value = "FILE", .help = "initial file system of the kernel" },
	{ "module", .type = ROW_FILE, ARRAY(options, modules, nr_modules),
	  .value = "'FILE [ARGS]'", .help = "a module of an ELF image; repeatable" },
	{ "append", .type = ROW_TEXT, FIELD(options, append),
	  .value = "ARGS", .help = "the kernel's command line (console=, where that is)" },
	{ "disk", .type = ROW_OBJECT, ARRAY(options, disks, nr_disks), .keys = disk_keys, .nr_main = 1,
	  .has_commas = true, .finish = finish_disk,
	  .value = "FILE[,ro]", .help = "a disk: raw, .qcow2, a block device; repeatable" },
	{ "cloud-init", .type = ROW_DIRECTORY, FIELD(options, cloud_init),
	  .value = "PATH", .help = "a disk for cloud-init: user-data, or a directory of it" },
	{ "share", .type = ROW_OBJECT, ARRAY(options, shares, nr_shares), .keys = share_keys, .nr_main = 2,
	  .has_commas = true, .finish = finish_share, .wanted = "TAG=DIR",
	  .value = "TAG=DIR", .help = "a directory, for mount -t virtiofs TAG; repeatable" },
	{ "net", .type = ROW_OBJECT, ARRAY(options, nics, nr_nics), .keys = net_keys, .nr_main = 1,
	  .finish = finish_nic, .words = NET_USER " " NET_PASST " " NET_TAP " " NET_VHOST,
	  .value = "WHERE", .help = "a card: user, passt, tap:NAME, vhost:NAME; repeatable" },
	{ "forward", .type = ROW_OWN, ARRAY(options, forwards, nr_forwards), .parse = parse_forward,
	  .wanted = FORWARD_WANTED,
	  .value = "[udp:]PORT:PORT", .help = "a port of 127.0.0.1 leads to the guest's" },
	{ "vsock", .type = ROW_NUMBER, FIELD(options, vsock), .least = LEAST_CID, .greatest = MOST_CID,
	  .value = "CID", .help = "sockets between guest and host; the guest's address" },
	{ "serial", .type = ROW_WORD, FIELD(options, serial), .words = "stdio socket none",
	  .value = "WHERE", .help = "the serial port: stdio (Ctrl-A x ends), socket, none" },
	{ "console", .type = ROW_WORD, ARRAY(options, consoles, nr_consoles), .words = "stdio socket",
	  .bare = "stdio",
	  .value = "WHERE", .help = "a virtio console, hvc0: stdio, socket; repeatable" },
	{ "balloon", .type = ROW_SIZE, FIELD(options, balloon),
	  .least = MEMORY_LEAST, .greatest = MEMORY_MOST,
	  .bare = "4096G", .value = "SIZE", .help = "take memory back; leave the guest SIZE at first" },
	{ "firmware", .type = ROW_OWN, FIELD(options, firmware), .parse = parse_firmware,
	  .words = "seabios uefi", .bare = "seabios", .wanted = "the name of a file",
	  .value = "FILE", .help = "boot a disk by SeaBIOS, uefi, or other firmware" },
	{ "variables", .type = ROW_FILE, FIELD(options, variables),
	  .value = "FILE", .help = "UEFI's variables; they are made if they are not there" },
	{ "flat", .type = ROW_FLAG, FIELD(options, flat),
	  .help = "IMAGE is code for real mode, for 0x7c00" },
	{ "testdev", .type = ROW_FLAG, FIELD(options, testdev),
	  .help = "devices of test guests, as QEMU's pc-testdev" },
	{ "watchdog", .type = ROW_OWN, FIELD(options, watchdog), .parse = parse_watchdog, .bare = "reset",
	  .words = WATCHDOG_ACTIONS, .wanted = "reset, end, pause or nmi",
	  .value = "DO", .help = "an i6300esb, which does reset, end, pause or nmi" },
	{ "on-panic", .type = ROW_OWN, FIELD(options, on_panic), .parse = parse_panic,
	  .words = "end pause " PANIC_DUMP, .wanted = "end, pause or " PANIC_DUMP "FILE",
	  .value = "DO", .help = "a panic or triple fault: end, pause, dump:FILE", .initial = "end" },
	{ "restart", .type = ROW_FLAG, FIELD(options, restart),
	  .help = "begin again after a reset or panic" },
	{ "detach", .type = ROW_FLAG, FIELD(options, detach), .help = "run in the background" },
	{ "timeout", .type = ROW_SECONDS, FIELD(options, timeout), .greatest = MOST_SECONDS,
	  .value = "S", .help = "end the VM after S seconds, with status 124" },
	{ "name", .type = ROW_OWN, FIELD(options, name), .parse = parse_name,
	  .wanted = "of letters, digits, dots, dashes and underscores, at most " STRING(NAME_MOST),
	  .value = "NAME", .help = "what mote ps and others call it (the image's name)" },
	{ "uuid", .type = ROW_OWN, FIELD(options, uuid), .parse = parse_uuid,
	  .wanted = "a UUID (11111111-2222-3333-4444-555555555555 ...)",
	  .value = "UUID", .help = "of the machine (derived from its name)" },
	{ OPTION_CPU_WEIGHT, .type = ROW_NUMBER, FIELD(options, limits.cpu_weight), .least = 1,
	  .greatest = WEIGHT_MOST, .is_limit = true,
	  .value = "N", .help = "its share of the processors, where others have 100" },
	{ OPTION_CPU_MAX, .type = ROW_NUMBER, FIELD(options, limits.cpu_max), .greatest = 100 * MOST_CPUS,
	  .is_limit = true, .value = "PERCENT", .help = "no more than this of a processor; 0: all" },
	{ OPTION_MEMORY_MAX, .type = ROW_SIZE, FIELD(options, limits.memory_max), .greatest = MEMORY_MOST,
	  .is_limit = true, .value = "SIZE", .help = "no more of the host's memory; 0: all" },
	{ OPTION_IO_MAX, .type = ROW_OBJECT, ARRAY(options, limits.io, limits.nr_io), .keys = io_keys,
	  .nr_main = 1, .is_limit = true,
	  .value = "DISK,LIMITS", .help = "rbps=, wbps=, riops=, wiops= of a disk of the host's" },
	{ "cpu-reserve", .type = ROW_OWN, FIELD(options, reservation), .parse = reservation_parse,
	  .wanted = "RUNTIME/PERIOD (20ms/100ms, 500us/2ms ..., up to 4000ms)",
	  .value = "20ms/100ms", .help = "each vCPU is promised so much of a processor" },
	{ "sandbox", .type = ROW_WORD, FIELD(options, sandbox), .words = "on off",
	  .value = "WHETHER", .help = "off: the runner may do all that its user may", .initial = "on" },
	{ "gdb", .type = ROW_FLAG, FIELD(options, gdb),
	  .help = "begin when a debugger lets it (mote gdb NAME)" },
	{ "json", .type = ROW_FLAG, FIELD(options, json),
	  .help = "say what happens as lines of JSON on standard error" },
	{ OPTION_CONFIG, .type = ROW_VERB, .value = "FILE",
	  .help = "take options, and the image, from a file of JSON" },
	{ OPTION_DUMP, .type = ROW_VERB, .help = "print such a file, and run nothing" },
	{ OPTION_HELP, 'h', ROW_VERB, .help = "this" },
	{ 0 },
};

/* ---- all of them ------------------------------------------------------------------------------ */

static bool is_serial(const struct options *options, const char *where)
{
	return options->serial && !strcmp(options->serial, where);
}

/* What is not a part of a card belongs to the only one that can have it. */
static int give_forwards(struct options *options)
{
	struct nic *only = NULL;

	for (unsigned int i = 0; i < options->nr_nics; i++) {
		struct nic *nic = &options->nics[i];

		if (!is_in_user_space(nic->where))
			continue;
		if (only && options->nr_forwards) {
			complain("--forward: of which card? (--net user,forward=PORT:PORT)");
			return -1;
		}
		only = nic;
	}
	if (options->nr_forwards && !only) {
		complain("--forward wants --net user or passt (try mote run --help)");
		return -1;
	}
	for (unsigned int i = 0; i < options->nr_forwards; i++) {
		if (only->nr_forwards == FORWARDS_MOST) {
			complain("--forward: %d are the most", FORWARDS_MOST);
			return -1;
		}
		only->forwards[only->nr_forwards++] = options->forwards[i];
	}
	return 0;
}

static int check_consoles(struct options *options)
{
	bool has_stdio = options->nr_consoles && !strcmp(options->consoles[0], "stdio");

	for (unsigned int i = 1; i < options->nr_consoles; i++)
		if (!strcmp(options->consoles[i], "stdio")) {
			complain("--console: standard input and output are the first one's alone, "
				 "the others are --console=socket");
			return -1;
		}
	if (has_stdio && is_serial(options, "stdio")) {
		complain("--console and --serial stdio cannot both have standard input and output");
		return -1;
	}
	if (options->detach && (has_stdio || is_serial(options, "stdio"))) {
		complain("--detach leaves standard input and output: --serial socket, and mote console");
		return -1;
	}
	if (!options->serial)
		options->serial = has_stdio || (options->detach && options->nr_consoles) ? "none" :
				  options->detach ? "socket" : "stdio";
	return 0;
}

int options_check(struct options *options)
{
	options->is_named = options->name;
	options->has_append = options->append;
	if (!options->append)
		options->append = "";
	if (options->flat && (options->nr_modules || options->append[0])) {
		complain("--flat takes no --append, --initrd and --module (try mote run --help)");
		return -1;
	}
	if (options->firmware && (options->nr_modules || options->append[0] || options->flat)) {
		complain("--firmware takes no --append, --flat, --initrd and --module");
		return -1;
	}
	if (options->variables && !options->firmware) {
		complain("--variables wants --firmware=uefi (try mote run --help)");
		return -1;
	}
	if (options->reservation.runtime_ns && options->restart) {
		complain("--cpu-reserve does not go with --restart: the sandbox lets nobody reserve anew");
		return -1;
	}
	/* The other file is that and the first variables in one. */
	if (options->variables && !strcmp(options->firmware, OVMF))
		options->firmware = OVMF_CODE;
	return give_forwards(options) ? -1 : check_consoles(options);
}
