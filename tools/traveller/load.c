// SPDX-License-Identifier: GPL-2.0
/*
 * What keeps a Linux guest busy that tools/move moves, each in a process of its own: a disk that is written
 * and read back, a network that answers, a 32-bit program with system calls (old.c), a checksum in AVX
 * registers, and clocks that never go back. Each second a line says how far each of them is; what is not as
 * it should be is BAD.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#define WORDS 4096
#define BLOCK (64u << 10)
#define BLOCKS 32

typedef uint64_t v4 __attribute__((vector_size(32)));

enum { DISK, NET, OLD, AVX, TIME, NR };

static const char *const names[NR] = { "disk", "net", "old", "avx", "time" };
/* How far each is; volatile, as others write it. */
static volatile unsigned long *progress;
static pid_t pids[NR];

static void bad(const char *what)
{
	printf("load: BAD %s\n", what);
	fflush(stdout);
	for (;;)
		pause();
}

static void use_disk(void)
{
	static unsigned char text[BLOCK] __attribute__((aligned(4096))), back[BLOCK] __attribute__((aligned(4096)));
	int fd = open("/dev/vda", O_RDWR | O_DIRECT);

	if (fd < 0)
		bad("disk: there is none");
	for (unsigned int i = 0;; i++) {
		off_t at = (off_t)(i % BLOCKS) * BLOCK;

		for (unsigned int j = 0; j < BLOCK; j++)
			text[j] = i + j * 7;
		if (pwrite(fd, text, BLOCK, at) != BLOCK || fsync(fd) || pread(fd, back, BLOCK, at) != BLOCK)
			bad("disk: an error");
		if (memcmp(text, back, BLOCK))
			bad("disk: other bytes");
		progress[DISK]++;
	}
}

/* What a program says, as often as it says @byte. */
static void count(const char *program, const char *name, const char *argument, char byte, volatile unsigned long *counter)
{
	int ends[2];
	char said;

	if (pipe(ends))
		bad("no pipe");
	if (!fork()) {
		dup2(ends[1], STDOUT_FILENO);
		execl(program, name, argument, NULL);
		_exit(1);
	}
	close(ends[1]);
	while (read(ends[0], &said, 1) == 1)
		*counter += said == byte;
	bad(name);
}

__attribute__((target("avx"))) static void sum(const v4 *words, v4 *result)
{
	v4 a = { 0 }, b = { 1 }, c = { 2 }, d = { 3 };

	for (int round = 0; round < 100; round++) {
		for (int i = 0; i < WORDS / 4; i += 4) {
			a ^= words[i];
			b ^= words[i + 1];
			c ^= words[i + 2];
			d ^= words[i + 3];
		}
		/* So that none of it can be left out. */
		asm volatile("" : "+x"(a), "+x"(b), "+x"(c), "+x"(d));
		d ^= a;
	}
	*result = a ^ b ^ c ^ d;
}

/* Always the same, by registers that are in use for most of the time. */
static void check_sum(void)
{
	static v4 words[WORDS / 4], first;
	static bool has_first;
	v4 again;

	for (int i = 0; !has_first && i < WORDS; i++)
		((uint64_t *)words)[i] = i * 0x9e3779b97f4a7c15ull;
	sum(words, &again);
	if (has_first && memcmp(&first, &again, sizeof(first)))
		bad("avx: another sum");
	first = again;
	has_first = true;
}

static void use_avx(void)
{
	for (;; progress[AVX]++)
		check_sum();
}

/* With AVX registers, too: one of those who use them is what runs when the machine is saved. */
static void use_time(void)
{
	uint64_t tsc = 0, ns = 0;

	for (;; progress[TIME]++) {
		struct timespec now;
		uint64_t then = ns, before = tsc;

		clock_gettime(CLOCK_MONOTONIC, &now);
		ns = now.tv_sec * 1000000000ull + now.tv_nsec;
		tsc = __rdtsc();
		if (ns < then)
			bad("time: it goes back");
		if (tsc < before)
			bad("time: the TSC goes back");
		check_sum();
	}
}

/* Whoever runs on may never notice that another is gone. */
static void look_for_dead(void)
{
	if (waitpid(-1, NULL, WNOHANG))
		bad("a process has ended");
}

/* As ps has it: R if others run instead, D if it waits for a disk. */
static char state_of(pid_t pid)
{
	char path[32], text[512] = "", *name_end;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	fd = open(path, O_RDONLY);
	if (fd < 0 || read(fd, text, sizeof(text) - 1) < 0)
		return '?';
	close(fd);
	name_end = strrchr(text, ')');
	return name_end ? name_end[2] : '?';
}

/*
 * To whoever was running when the machine was saved, the kernel has counted all the time until it went on
 * elsewhere: on a slow host it may well be a minute until that one runs again.
 */
#define PATIENCE 200

static void look_for_stuck(void)
{
	static unsigned long last[NR], lines[NR];

	for (int i = 0; i < NR; i++) {
		lines[i] = progress[i] == last[i] ? lines[i] + 1 : 0;
		last[i] = progress[i];
		if (lines[i] == PATIENCE)
			printf("load: BAD %s stands still (%c)\n", names[i], state_of(pids[i]));
	}
}

static void start(int which)
{
	pids[which] = fork();
	if (pids[which])
		return;
	switch (which) {
	case DISK:
		use_disk();
		break;
	case NET:
		count("/bin/busybox", "ping", "10.0.2.2", '\n', &progress[NET]);
		break;
	case OLD:
		count("/old", "old", NULL, '.', &progress[OLD]);
		break;
	case AVX:
		use_avx();
		break;
	case TIME:
		use_time();
		break;
	}
}

int main(void)
{
	progress = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (progress == MAP_FAILED)
		bad("no memory");
	for (int i = 0; i < NR; i++)
		start(i);
	for (;;) {
		sleep(1);
		look_for_dead();
		look_for_stuck();
		printf("load:");
		for (int i = 0; i < NR; i++)
			printf(" %s %lu", names[i], progress[i]);
		printf("\n");
		fflush(stdout);
	}
}
