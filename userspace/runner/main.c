// SPDX-License-Identifier: GPL-2.0
/* The mote command: finds the verb and leaves the rest to it. */
#include <fcntl.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "libmote.h"
#include "runner.h"

static const struct verb verbs[] = {
	{ "doctor", "say whether virtual machines can run here, and if not, what to do",
	  doctor_usage, doctor_run },
	{ "info", "show what the processor and the module offer", info_usage, info_run },
	{ "run", "run an operating system in a virtual machine", run_usage, run_run },
	{ "ps", "list the virtual machines that run", ps_usage, ps_run },
	{ "console", "be the terminal of one", console_usage, console_run },
	{ "stat", "show where one's time goes: exits, processor time, memory", stat_usage, stat_run },
	{ "pause", "stop the processors of one", pause_usage, pause_run },
	{ "resume", "let them go on", resume_usage, resume_run },
	{ "stop", "press its power button, or end it at once", stop_usage, stop_run },
	{ "trace", "see every exit of running machines: how long, how often, from where", trace_usage,
	  trace_run },
};

void complain(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fputs("mote: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
}

int parse_json_only(const struct verb *verb, int argc, char **argv, bool *json)
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	int option, at;

	opterr = 0;
	while (at = optind, (option = getopt_long(argc, argv, "+h", options, NULL)) != -1) {
		switch (option) {
		case 'j':
			*json = true;
			break;
		case 'h':
			fputs(verb->usage, stdout);
			return EXIT_OK;
		default:
			complain("%s: unknown option %s (try mote %s --help)", verb->name,
				 argv[at], verb->name);
			return EXIT_USAGE;
		}
	}
	if (optind < argc) {
		complain("%s takes no argument: %s (try mote %s --help)", verb->name, argv[optind],
			 verb->name);
		return EXIT_USAGE;
	}
	return -1;
}

static void print_help(void)
{
	puts("usage: mote VERB [OPTION]...\n"
	     "\n"
	     "mote runs virtual machines with VT-x or AMD-V.\n");
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
		printf("  %-10s %s\n", verbs[i].name, verbs[i].help);
	puts("\n"
	     "mote VERB --help tells more; mote --version names the version.");
}

static int dispatch(int argc, char **argv)
{
	const char *word = argc > 1 ? argv[1] : NULL;

	if (!word) {
		complain("which verb? (try mote --help)");
		return EXIT_USAGE;
	}
	if (!strcmp(word, "--help") || !strcmp(word, "-h")) {
		print_help();
		return EXIT_OK;
	}
	if (!strcmp(word, "--version")) {
		printf("mote %s (ABI %d)\n", MOTE_VERSION, MOTE_ABI_VERSION);
		return EXIT_OK;
	}
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
		if (!strcmp(word, verbs[i].name))
			return verbs[i].run(&verbs[i], argc - 1, argv + 1);
	complain("unknown %s %s (try mote --help)", word[0] == '-' ? "option" : "verb", word);
	return EXIT_USAGE;
}

/* Who was started without standard input, output or error must not take a file for them. */
static void open_standard_files(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	close(fd);
}

int main(int argc, char **argv)
{
	int status;

	open_standard_files();
	status = dispatch(argc, argv);
	if (fflush(stdout) || ferror(stdout)) {
		complain("cannot write the output: %m");
		return EXIT_PROBLEM;
	}
	return status;
}
