// SPDX-License-Identifier: GPL-2.0
/* mote trace: the command line. */
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "guest.h"
#include "libmote.h"
#include "runner.h"
#include "tool.h"

const char trace_usage[] =
	"usage: mote trace latency|top|record|profile [OPTION]... [-- COMMAND [ARGUMENT]...]\n"
	"       mote trace flame --stacks [OPTION]... [-- COMMAND [ARGUMENT]...]\n"
	"       mote trace report|flame|timeline [OPTION]... FILE\n"
	"\n"
	"Shows where guests' time goes: until COMMAND ends, or SIGINT (Ctrl-C).\n"
	"\n"
	"  latency   how long exits take, by reason, and by who handles them\n"
	"  top       the same, again and again\n"
	"  record    keep all events in a file\n"
	"  profile   what guests do: their functions, by call chains at timer ticks\n"
	"  report    the table of latency, from a file\n"
	"  flame     an SVG picture: exits by reason and guest address, or call chain\n"
	"  timeline  an SVG picture: what each vCPU did when\n"
	"\n"
	"  --vm ID, --vcpu ID   only of this one\n"
	"  --name NAME          latency, top, profile, flame --stacks: of this machine alone\n"
	"  --by vm|vcpu|rip     latency, top, report: a row for each; may be repeated\n"
	"  --histogram          latency, report: show those, too\n"
	"  --duration SECONDS   end after that: what is not from a file\n"
	"  --interval SECONDS   top: between two tables (1)\n"
	"  --rounds N           top: end after so many\n"
	"  --details            record: instructions, faults and injections, too\n"
	"  --events             report: one line an event\n"
	"  --event REASON       profile, flame --stacks: of exits for this reason, or all;\n"
	"                       may be repeated (interrupt, timer; flame: all but hlt)\n"
	"  --frequency HZ       profile: make so many ticks a second, beside the host's own\n"
	"  --symbols FILE       profile, flame: of the guest, its System.map or an ELF image;\n"
	"                       a Linux kernel has its own\n"
	"  --offset N           flame: by which the guest has moved itself (KASLR)\n"
	"  --stacks             flame: with call chains, as they come\n"
	"  --count              flame: widths are numbers, not times\n"
	"  --idle               flame: with the time in HLT\n"
	"  --as FORMAT          profile, flame --stacks: table, svg, folded, chrome or samples;\n"
	"                       flame: svg or folded; timeline: svg or chrome\n"
	"  -o, --output FILE    not to standard output; record: mote.trace if not given\n"
	"  --json               as JSON\n"
	"  --help               this text\n"
	"\n"
	"Exit status: COMMAND's if there is one, else 0; 1 if the kernel cannot be traced;\n"
	"2 if the command was used wrongly.\n";

enum {
	LATENCY = 1 << 0, TOP = 1 << 1, RECORD = 1 << 2, REPORT = 1 << 3, FLAME = 1 << 4, TIMELINE = 1 << 5,
	PROFILE = 1 << 6, STACKS = 1 << 7,	/* the latter: flame --stacks */
	LIVE = LATENCY | TOP | RECORD | PROFILE | STACKS, FROM_FILE = REPORT | FLAME | TIMELINE,
	ALL = LIVE | FROM_FILE,
};

static const struct command {
	const char *name;
	int bit;
	int (*run)(const struct trace_options *options);
} commands[] = {
	{ "latency", LATENCY, latency_command },
	{ "top", TOP, top_command },
	{ "record", RECORD, record_command },
	{ "report", REPORT, report_command },
	{ "profile", PROFILE, profile_command },
	{ "flame", FLAME, flame_command },
	{ "timeline", TIMELINE, timeline_command },
};

/* Which commands know an option; in the order of getopt's table below. */
enum { VM, VCPU, NAME, BY, HISTOGRAM, DURATION, INTERVAL, ROUNDS, DETAILS, EVENTS, EVENT, FREQUENCY, SYMBOLS,
       OFFSET, WITH_STACKS, COUNT, IDLE, AS, OUTPUT, JSON, HELP };

static const struct option names[] = {
	{ "vm", required_argument, NULL, VM },
	{ "vcpu", required_argument, NULL, VCPU },
	{ "name", required_argument, NULL, NAME },
	{ "by", required_argument, NULL, BY },
	{ "histogram", no_argument, NULL, HISTOGRAM },
	{ "duration", required_argument, NULL, DURATION },
	{ "interval", required_argument, NULL, INTERVAL },
	{ "rounds", required_argument, NULL, ROUNDS },
	{ "details", no_argument, NULL, DETAILS },
	{ "events", no_argument, NULL, EVENTS },
	{ "event", required_argument, NULL, EVENT },
	{ "frequency", required_argument, NULL, FREQUENCY },
	{ "symbols", required_argument, NULL, SYMBOLS },
	{ "offset", required_argument, NULL, OFFSET },
	{ "stacks", no_argument, NULL, WITH_STACKS },
	{ "count", no_argument, NULL, COUNT },
	{ "idle", no_argument, NULL, IDLE },
	{ "as", required_argument, NULL, AS },
	{ "output", required_argument, NULL, OUTPUT },
	{ "json", no_argument, NULL, JSON },
	{ "help", no_argument, NULL, HELP },
	{ 0 },
};

static const int known_by[] = {
	[VM] = ALL, [VCPU] = ALL, [NAME] = LIVE & ~RECORD, [BY] = LATENCY | TOP | REPORT,
	[HISTOGRAM] = LATENCY | REPORT, [DURATION] = LIVE, [INTERVAL] = TOP, [ROUNDS] = TOP,
	[DETAILS] = RECORD, [EVENTS] = REPORT,
	[EVENT] = PROFILE | STACKS, [FREQUENCY] = PROFILE, [SYMBOLS] = FLAME | PROFILE | STACKS,
	[OFFSET] = FLAME, [WITH_STACKS] = STACKS, [COUNT] = FLAME | STACKS, [IDLE] = FLAME | STACKS,
	[AS] = PROFILE | STACKS | FLAME | TIMELINE, [OUTPUT] = ALL, [JSON] = ALL, [HELP] = ALL,
};

/* How results may look, and whose. */
static const struct {
	const char *name;
	int known_by;
} formats[NR_FORMATS] = {
	[FORMAT_TABLE] = { "table", PROFILE | STACKS },
	[FORMAT_SVG] = { "svg", PROFILE | STACKS | FLAME | TIMELINE },
	[FORMAT_FOLDED] = { "folded", PROFILE | STACKS | FLAME },
	[FORMAT_CHROME] = { "chrome", PROFILE | STACKS | TIMELINE },
	[FORMAT_SAMPLES] = { "samples", PROFILE | STACKS },
};

bool parse_number(const char *text, uint64_t most, uint64_t *number)
{
	char *end;

	errno = 0;
	*number = strtoull(text, &end, 0);
	return *text >= '0' && *text <= '9' && !*end && !errno && *number <= most;
}

static bool parse_seconds(const char *text, double *seconds)
{
	char *end;

	*seconds = strtod(text, &end);
	return *text >= '0' && *text <= '9' && !*end && *seconds >= 0.001 && *seconds <= 1e7;
}

static bool parse_by(const char *text, struct trace_filter *filter)
{
	if (!strcmp(text, "vm"))
		filter->by_vm = true;
	else if (!strcmp(text, "vcpu"))
		filter->by_vm = filter->by_vcpu = true;
	else if (!strcmp(text, "rip"))
		filter->by_rip = true;
	else
		return false;
	return true;
}

static bool parse_event(const char *text, __u64 *reasons)
{
	int reason = mote_exit_reason(text);

	*reasons = reason < 0 ? ~0ull : *reasons | 1ull << reason;
	return reason >= 0 || !strcmp(text, "all");
}

static bool parse_format(const char *text, int bit, enum trace_format *format)
{
	for (int i = FORMAT_USUAL + 1; i < NR_FORMATS; i++)
		if (!strcmp(text, formats[i].name) && formats[i].known_by & bit) {
			*format = i;
			return true;
		}
	return false;
}

static bool take_value(struct trace_options *options, int bit, int option, const char *value)
{
	uint64_t number;

	switch (option) {
	case VM:
		options->filter.one_vm = parse_number(value, UINT32_MAX, &number);
		options->filter.vm = number;
		return options->filter.one_vm;
	case VCPU:
		options->filter.one_vcpu = parse_number(value, UINT16_MAX, &number);
		options->filter.vcpu = number;
		return options->filter.one_vcpu;
	case BY:
		return parse_by(value, &options->filter);
	case DURATION:
		return parse_seconds(value, &options->duration);
	case INTERVAL:
		return parse_seconds(value, &options->interval);
	case ROUNDS:
		options->rounds = parse_number(value, 1000000000, &number) ? number : 0;
		return options->rounds;
	case OFFSET:
		return parse_number(value, UINT64_MAX, &options->offset);
	case EVENT:
		return parse_event(value, &options->filter.reasons);
	case FREQUENCY:
		options->frequency = parse_number(value, 100000, &number) ? number : 0;
		return options->frequency;
	case AS:
		return parse_format(value, bit, &options->format);
	case NAME:
		options->machine = value;
		return true;
	case SYMBOLS:
		options->symbols = value;
		return true;
	default:
		options->output = value;
		return true;
	}
}

static void take_flag(struct trace_options *options, int option)
{
	bool *const flags[] = {
		[HISTOGRAM] = &options->histogram, [DETAILS] = &options->details,
		[EVENTS] = &options->events, [COUNT] = &options->by_count, [IDLE] = &options->idle,
		[WITH_STACKS] = &options->stacks, [JSON] = &options->json,
	};

	*flags[option] = true;
}

/* -1 to go on, else the exit status. */
static int parse_options(struct trace_options *options, int bit, int argc, char **argv)
{
	int option, at;

	opterr = 0;
	while (at = optind, (option = getopt_long(argc, argv, "+:ho:", names, NULL)) != -1) {
		option = option == 'o' ? OUTPUT : option == 'h' ? HELP : option;
		if (option == HELP) {
			fputs(trace_usage, stdout);
			return EXIT_OK;
		}
		if (option == ':') {
			complain("trace: %s wants a value (try mote trace --help)", argv[at]);
			return EXIT_USAGE;
		}
		if (option == '?' || !(known_by[option] & bit)) {
			complain("trace %s: unknown option %s (try mote trace --help)", options->command,
				 argv[at]);
			return EXIT_USAGE;
		}
		if (names[option].has_arg == no_argument) {
			take_flag(options, option);
		} else if (!take_value(options, bit, option, optarg)) {
			complain("trace: --%s cannot be %s (try mote trace --help)", names[option].name,
				 optarg);
			return EXIT_USAGE;
		}
	}
	return -1;
}

static int parse_rest(struct trace_options *options, int bit, int argc, char **argv)
{
	if (bit & LIVE) {
		options->words = optind < argc ? argv + optind : NULL;
		return -1;
	}
	if (argc - optind != 1) {
		complain("trace %s wants one file, of mote trace record (try mote trace --help)",
			 options->command);
		return EXIT_USAGE;
	}
	options->input = argv[optind];
	return -1;
}

/* One of its options makes another command of flame, whatever order they come in. */
static int bit_of(const struct command *command, int argc, char **argv)
{
	for (int i = 2; command->bit == FLAME && i < argc && strcmp(argv[i], "--"); i++)
		if (!strcmp(argv[i], "--stacks"))
			return STACKS;
	return command->bit;
}

/* -1 to go on, else the exit status. */
static int parse(struct trace_options *options, int bit, int argc, char **argv)
{
	int status = parse_options(options, bit, argc, argv);

	if (status < 0)
		status = parse_rest(options, bit, argc, argv);
	if (status < 0 && options->json && options->format != FORMAT_USUAL) {
		complain("trace %s: --json or --as, not both", options->command);
		return EXIT_USAGE;
	}
	if (status >= 0 || !options->machine)
		return status;
	options->filter.pid = machine_pid(options->machine);
	return options->filter.pid ? -1 : EXIT_USAGE;
}

int trace_run(int argc, char **argv)
{
	struct trace_options options = { .interval = 1 };
	const char *word = argc > 1 ? argv[1] : "";
	int status;

	if (!strcmp(word, "--help") || !strcmp(word, "-h")) {
		fputs(trace_usage, stdout);
		return EXIT_OK;
	}
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		if (strcmp(word, commands[i].name))
			continue;
		options.command = word;
		status = parse(&options, bit_of(&commands[i], argc, argv), argc - 1, argv + 1);
		return status < 0 ? commands[i].run(&options) : status;
	}
	complain(*word ? "trace: there is no %s (try mote trace --help)" :
			 "trace: latency, top, record, profile, report, flame or timeline? "
			 "(try mote trace --help)",
		 word);
	return EXIT_USAGE;
}
