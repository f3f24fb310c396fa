// SPDX-License-Identifier: GPL-2.0
/*
 * Fuzz a parser of a Linux kernel that is not patched for it: see README.md.
 *
 * The guest boots once and is kept where it asks for its input. Each run gives it one, notes
 * the blocks that it reaches, and ends when it answers; then the machine is reset.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "afl.h"
#include "cover.h"
#include "guest.h"

#define INPUT_MOST 65536

/* No device, no clock that has to be measured, and no HLT but ours; who dies does so at once. */
#define APPEND "acpi=off pci=off nokaslr idle=poll no_timer_check panic=-1 oops=panic reboot=t " \
	"mitigations=off tsc=reliable cryptomgr.notests initcall_blacklist=cmos_init "
#define CONSOLE "earlyprintk=serial,ttyS0 console=ttyS0 "

static const char usage[] =
	"usage: fuzz [-v] [-n COUNT] [-c FUNCTION] [-l FUNCTION] KERNEL INITRD PREFIX... < INPUT\n"
	"\n"
	"Boot KERNEL, a bzImage, with INITRD, whose init has the kernel parse INPUT, and tell\n"
	"how many blocks it reaches of the functions whose names begin with a PREFIX.\n"
	"Under afl-fuzz: go on with its inputs.\n"
	"\n"
	"  -n COUNT     give it the input COUNT times, and tell what that takes\n"
	"  -c FUNCTION  plant a mistake: where this one is called, the kernel crashes\n"
	"  -l FUNCTION  likewise, and there is no end\n"
	"  -v           show what the guest says\n";

static struct guest guest;
static struct cover cover;
static __u64 panic_at;
/* What is planted, and where: UD2, which the kernel takes as its own BUG(), or a jump to itself. */
static const char *mistake, *mistaken;

static void plant(__u64 gva)
{
	for (int i = 0; mistake[i]; i++)
		*guest_at(&guest, gva + i) = mistake[i];
	mistaken = NULL;
}

/* Lines of init.c's: "begin end name". */
static void read_functions(void)
{
	unsigned long long begin, end;
	char name[256];

	for (char *line = strtok(guest.said, "\n"); line; line = strtok(NULL, "\n")) {
		if (sscanf(line, "%llx %llx %255s", &begin, &end, name) != 3)
			continue;
		if (!strcmp(name, "panic"))
			panic_at = begin;
		else if (mistaken && !strcmp(name, mistaken))
			plant(begin);
		else
			cover_add_function(&cover, &guest, begin, end);
	}
	if (mistaken)
		die("there is no function %s among those", mistaken);
	if (!panic_at || !cover.nr)
		die("the guest has no such functions");
	cover_add_block(&cover, panic_at);
}

/* Up to where the guest asks for its first input; there it is kept, with the breakpoints in it. */
static void prepare(char **argv)
{
	struct mote_cpu *cpus[] = { &guest.cpu };
	char append[4096] = APPEND;

	strcat(append, guest.verbose ? CONSOLE "--" : "quiet --");
	for (char **prefix = argv + 2; *prefix; prefix++) {
		if (strlen(append) + strlen(*prefix) + 2 > 2048)
			die("that is too much for a kernel's command line");
		strcat(strcat(append, " "), *prefix);
	}
	guest_boot(&guest, argv[0], argv[1], append);
	if (guest_run(&guest) != GUEST_ASKS)
		die("the guest did not come up: it ended with %s at %#llx (-v shows what it said)",
		    mote_exit_name(guest.cpu.run->reason), guest.cpu.run->rip);
	read_functions();
	cover_arm(&cover, &guest);
	if (mote_machine_keep(&guest.machine, cpus, 1))
		die("the guest cannot be kept");
}

/*
 * One input; false: the guest has crashed. In @map, the first byte is for the run itself, for AFL++ takes
 * one that reaches nothing for a program without instrumentation; then comes one for each block.
 */
static bool run(unsigned char *map, const unsigned char *input, size_t size)
{
	long block;

	map[0] = 1;
	for (;;) {
		switch (guest_run(&guest)) {
		case GUEST_ASKS:
			guest_give(&guest, input, size);
			break;
		case GUEST_HALTS:
			block = cover_hit(&cover, &guest);
			if (block < 0 || guest.cpu.run->rip == panic_at)
				return false;
			map[block + 1] = 1;
			break;
		case GUEST_CRASHES:
			return false;
		default:
			return true;
		}
	}
}

static size_t read_input(unsigned char *input)
{
	size_t size = 0;
	ssize_t got;

	lseek(STDIN_FILENO, 0, SEEK_SET);
	while ((got = read(STDIN_FILENO, input + size, INPUT_MOST - size)) > 0)
		size += got;
	return size;
}

static long reset(void)
{
	long pages = mote_machine_reset(&guest.machine);

	if (pages < 0)
		die("the guest cannot be reset: %s", strerror(-pages));
	return pages;
}

static unsigned long long nanoseconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ull + now.tv_nsec;
}

static unsigned long long exits(void)
{
	unsigned long long sum = 0;

	for (int i = 0; i < MOTE_NR_EXITS; i++)
		sum += guest.cpu.run->exits[i];
	return sum;
}

/* Runs after which the guest is reset, and what they take. */
static void run_often(unsigned char *map, const unsigned char *input, size_t size, unsigned long count)
{
	unsigned long long begin = nanoseconds(), exits_before = exits(), resets = 0, pages = 0;

	for (unsigned long i = 0; i < count; i++) {
		run(map, input, size);
		resets -= nanoseconds();
		pages += reset();
		resets += nanoseconds();
	}
	printf("%llu us and %llu exits a run, %llu us of them for the reset of %llu pages\n",
	       (nanoseconds() - begin) / count / 1000, (exits() - exits_before) / count,
	       resets / count / 1000, pages / count);
}

/* Without AFL++: one input, and what comes of it. */
static int run_alone(unsigned long count)
{
	static unsigned char input[INPUT_MOST];
	unsigned char *map = calloc(1, cover.nr + 1);
	size_t size = read_input(input), reached = 0;
	bool lives;

	if (!map)
		die("no memory");
	if (count)
		run_often(map, input, size, count);
	lives = run(map, input, size);
	for (size_t i = 0; i < cover.nr; i++)
		reached += map[i + 1];
	printf("%zu of %zu blocks, ", reached, cover.nr);
	if (lives)
		printf("answer %d\n", (int)guest.cpu.run->gpr[MOTE_RAX]);
	else
		printf("and a crash\n");
	return lives ? 0 : 1;
}

static void run_for_afl(unsigned char *map)
{
	static unsigned char input[INPUT_MOST];

	while (afl_next(&guest.cpu.run->immediate_exit)) {
		bool lives = run(map, input, read_input(input));

		reset();
		afl_done(!lives);
	}
}

int main(int argc, char **argv)
{
	unsigned char *map = afl_map();
	unsigned long count = 0;
	int option;

	while ((option = getopt(argc, argv, "c:l:n:v")) != -1) {
		switch (option) {
		case 'c':
		case 'l':
			mistake = option == 'c' ? "\x0f\x0b" : "\xeb\xfe";
			mistaken = optarg;
			break;
		case 'n':
			count = strtoul(optarg, NULL, 0);
			break;
		case 'v':
			guest.verbose = true;
			break;
		default:
			return fputs(usage, stderr), 2;
		}
	}
	if (argc - optind < 3)
		return fputs(usage, stderr), 2;
	prepare(argv + optind);
	if (!map || !afl_hello(cover.nr + 1))
		return run_alone(count);
	run_for_afl(map);
	return 0;
}
