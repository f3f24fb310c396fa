// SPDX-License-Identifier: GPL-2.0
/* mote watch: tell what uses a part of a running machine's memory, until interrupted. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client.h"
#include "runner.h"
#include "tool.h"
#include "watch.h"

static const char usage[] =
	"usage: mote watch [OPTION]... VM ADDRESS|SYMBOL\n"
	"\n"
	"Tells each time a VM's processors use a part of its memory, before they do, until\n"
	"interrupted or the VM ends. The guest does not find out, but that it takes time.\n"
	"\n"
	"  --access KINDS       which: r, w, x or more of them (w)\n"
	"  --size BYTES         of it, at most 64K (8; that of the symbol; 1 with x)\n"
	"  --physical           the address is guest-physical (linear, by vCPU 0's page tables)\n"
	"  --symbols FILE       of the guest: its System.map or an ELF image\n"
	"  --offset BYTES       by how much its addresses were moved\n"
	"  --count N            end after so many\n"
	"  --pause              pause the VM each time (mote resume)\n"
	"  --json               a JSON object for each, in a line of its own\n"
	"  --help               this text\n"
	"\n"
	"Exit status: 0; 1 it cannot be watched; 2 the command was used wrongly, or there is no\n"
	"such VM.\n";

#define COUNT_MOST 1000000000

/**
 * struct watch_options - what was said
 * @trace: symbols and their offset
 * @wanted: what is watched
 * @has_size: it was said
 * @count: how many hits; 0: no end
 * @json: as JSON
 */
struct watch_options {
	struct trace_options trace;
	struct watch_wanted wanted;
	bool has_size;
	uint64_t count;
	bool json;
};

/* ---- the command line ----------------------------------------------------------------- */

enum { ACCESS = 256, SIZE, PHYSICAL, SYMBOLS, OFFSET, COUNT, PAUSE, JSON };

static const struct option names[] = {
	{ "access", required_argument, NULL, ACCESS }, { "size", required_argument, NULL, SIZE },
	{ "physical", no_argument, NULL, PHYSICAL }, { "symbols", required_argument, NULL, SYMBOLS },
	{ "offset", required_argument, NULL, OFFSET }, { "count", required_argument, NULL, COUNT },
	{ "pause", no_argument, NULL, PAUSE }, { "json", no_argument, NULL, JSON },
	{ "help", no_argument, NULL, 'h' }, { 0 },
};

static bool parse_access(const char *text, uint32_t *access)
{
	static const char kinds[] = "rwx";

	*access = 0;
	for (; *text; text++) {
		const char *kind = strchr(kinds, *text);

		if (!kind)
			return false;
		*access |= MOTE_ACCESS_READ << (kind - kinds);
	}
	return *access;
}

/* False: it has no such value. */
static bool take(struct watch_options *options, int option, const char *value)
{
	switch (option) {
	case ACCESS:
		return parse_access(value, &options->wanted.access);
	case SIZE:
		options->has_size = true;
		return parse_number(value, WATCH_SIZE_MOST, (uint64_t *)&options->wanted.size) &&
		       options->wanted.size;
	case PHYSICAL:
		options->wanted.is_physical = true;
		return true;
	case SYMBOLS:
		options->trace.symbols = value;
		return true;
	case OFFSET:
		return parse_number(value, UINT64_MAX, &options->trace.offset);
	case COUNT:
		return parse_number(value, COUNT_MOST, &options->count) && options->count;
	case PAUSE:
		options->wanted.pauses = true;
		return true;
	default:
		options->json = true;
		return true;
	}
}

/* -1 to go on, else the exit status. */
static int parse(struct watch_options *options, int argc, char **argv)
{
	int option, which;

	opterr = 0;
	while ((option = getopt_long(argc, argv, ":h", names, &which)) != -1) {
		if (option == 'h') {
			fputs(usage, stdout);
			return EXIT_OK;
		}
		if (option == '?' || option == ':') {
			complain(option == ':' ? "watch: %s wants a value (try mote watch --help)" :
						 "watch: unknown option %s (try mote watch --help)",
				 argv[optind - 1]);
			return EXIT_USAGE;
		}
		if (!take(options, option, optarg)) {
			complain("watch: --%s cannot be %s (try mote watch --help)", names[which].name,
				 optarg);
			return EXIT_USAGE;
		}
	}
	if (argc - optind == 2)
		return -1;
	complain("watch wants a VM, and an address or a symbol (try mote watch --help)");
	return EXIT_USAGE;
}

/* False after a complaint: it is neither an address, nor can be looked up. */
static bool take_address(struct watch_options *options, const char *what)
{
	if (parse_number(what, UINT64_MAX, (uint64_t *)&options->wanted.address))
		return true;
	options->trace.wanted = what;
	if (!options->trace.symbols)
		complain("watch: %s is no address, and for a symbol --symbols has to say where", what);
	return options->trace.symbols;
}

/* False after a complaint. */
static bool find_address(struct watch_options *options, const struct symbols *symbols)
{
	uint64_t size = options->wanted.access == MOTE_ACCESS_EXEC ? 1 : 8, of_symbol = 0;

	if (options->trace.wanted &&
	    !symbols_wanted(symbols, (uint64_t *)&options->wanted.address, &of_symbol)) {
		complain("%s has no symbol %s", options->trace.symbols, options->trace.wanted);
		return false;
	}
	if (of_symbol && of_symbol <= WATCH_SIZE_MOST && options->wanted.access != MOTE_ACCESS_EXEC)
		size = of_symbol;
	if (!options->has_size)
		options->wanted.size = size;
	return true;
}

/* ---- hits --------------------------------------------------------------------------------- */

static void print_name(const struct symbols *symbols, uint64_t address)
{
	const char *name;
	uint64_t start;

	if (symbols_find(symbols, address, &name, &start))
		printf(" (%s+0x%" PRIx64 ")", name, address - start);
}

static const char *access_text(uint32_t access, char text[4])
{
	snprintf(text, 4, "%s%s%s", access & MOTE_ACCESS_READ ? "r" : "",
		 access & MOTE_ACCESS_WRITE ? "w" : "", access & MOTE_ACCESS_EXEC ? "x" : "");
	return text;
}

static void print_line(const struct symbols *symbols, const struct watch_hit *hit)
{
	struct json_object *object = json_object_new_object();
	const char *name;
	uint64_t start;
	char access[4];

	json_object_object_add(object, "vcpu", json_object_new_int64(hit->vcpu));
	json_object_object_add(object, "access", json_object_new_string(access_text(hit->access, access)));
	json_object_object_add(object, "address", json_object_new_uint64(hit->address));
	json_object_object_add(object, "gpa", json_object_new_uint64(hit->gpa));
	json_object_object_add(object, "rip", json_object_new_uint64(hit->rip));
	if (symbols_find(symbols, hit->rip, &name, &start))
		json_object_object_add(object, "function", json_object_new_string(name));
	json_object_object_add(object, "lost", json_object_new_uint64(hit->lost));
	printf("%s\n", json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN));
	json_object_put(object);
}

static void print_hit(const struct symbols *symbols, const struct watch_hit *hit)
{
	char access[4];

	if (hit->lost)
		printf("(%llu more)\n", (unsigned long long)hit->lost);
	printf("vcpu %u  %-3s 0x%llx  at 0x%llx", hit->vcpu, access_text(hit->access, access),
	       (unsigned long long)hit->address, (unsigned long long)hit->rip);
	print_name(symbols, hit->rip);
	putchar('\n');
}

static int listen_to(const struct watch_options *options, const struct symbols *symbols, int end)
{
	struct watch_hit hit;

	for (uint64_t nr = 0; !options->count || nr < options->count; nr++) {
		ssize_t size = recv(end, &hit, sizeof(hit), 0);

		if (size != sizeof(hit))
			break;
		if (options->json)
			print_line(symbols, &hit);
		else
			print_hit(symbols, &hit);
		fflush(stdout);
	}
	return EXIT_OK;
}

/* ---- the machine ----------------------------------------------------------------------------- */

static struct json_object *arguments_of(const struct watch_wanted *wanted)
{
	struct json_object *arguments = json_object_new_object();

	json_object_object_add(arguments, "address", json_object_new_uint64(wanted->address));
	json_object_object_add(arguments, "size", json_object_new_uint64(wanted->size));
	json_object_object_add(arguments, "access", json_object_new_int64(wanted->access));
	json_object_object_add(arguments, "physical", json_object_new_int64(wanted->is_physical));
	json_object_object_add(arguments, "pause", json_object_new_int64(wanted->pauses));
	return arguments;
}

static bool begin(int fd, const struct watch_wanted *wanted, int there)
{
	struct json_object *answer = client_ask_with(fd, "watch", arguments_of(wanted), &there, 1);

	json_object_put(answer);
	return answer;
}

static int watch(const struct watch_options *options, const struct symbols *symbols, const char *name)
{
	char found[NAME_MOST + 1];
	int ends[2], fd = client_open(name, true, found), status = EXIT_PROBLEM;

	if (fd < 0)
		return EXIT_USAGE;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends)) {
		complain("watch: cannot make a connection: %m");
		close(fd);
		return EXIT_PROBLEM;
	}
	if (begin(fd, &options->wanted, ends[1])) {
		close(ends[1]);
		ends[1] = -1;
		status = listen_to(options, symbols, ends[0]);
	}
	close(ends[0]);
	close(ends[1]);
	close(fd);
	return status;
}

int watch_run(int argc, char **argv)
{
	struct watch_options options = { .wanted.access = MOTE_ACCESS_WRITE };
	int status = parse(&options, argc, argv);
	struct symbols *symbols;

	if (status >= 0)
		return status;
	if (!take_address(&options, argv[optind + 1]))
		return EXIT_USAGE;
	symbols = symbols_open(&options.trace);
	if (!symbols)
		return EXIT_USAGE;
	status = find_address(&options, symbols) ? watch(&options, symbols, argv[optind]) : EXIT_USAGE;
	symbols_close(symbols);
	return status;
}
