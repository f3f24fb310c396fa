// SPDX-License-Identifier: GPL-2.0
/*
 * The guest's only program: what it says is seldom the same twice. It has random numbers of the kernel's,
 * counts for a fifth of a second by the clock beside a child, with which it shares the processor, computes
 * for a while without a system call, and says what it was given at the serial port.
 */
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/io.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PORT_SERIAL 0x3f8
#define PORT_STATUS 0x3fd
#define PORT_END 0xf4
#define DATA_READY 1

static void say(const char *format, ...)
{
	char line[256];
	va_list args;

	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	for (char *at = line; *at; at++)
		outb(*at, PORT_SERIAL);
}

static uint64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000ull + time.tv_nsec;
}

/* Two processes that want the only processor. */
static void count(void)
{
	volatile uint64_t *counter = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
					  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	uint64_t end = now() + 200000000;
	pid_t child = fork();

	while (now() < end)
		for (int i = 0; i < 1000; i++)
			counter[!child]++;
	if (!child)
		_exit(0);
	waitpid(child, NULL, 0);
	say("counted to %llu and %llu\n", (unsigned long long)counter[0], (unsigned long long)counter[1]);
}

/* A sieve: no call, no exit, some ten million instructions. */
static void compute(void)
{
	static unsigned char composite[1 << 20];
	unsigned int primes = 0;

	for (unsigned int i = 2; i < sizeof(composite); i++) {
		primes += !composite[i];
		for (unsigned int j = 2 * i; !composite[i] && j < sizeof(composite); j += i)
			composite[j] = 1;
	}
	say("%u primes, at %llu ns\n", primes, (unsigned long long)now());
}

static void read_input(void)
{
	char input[64];
	unsigned int size = 0;

	while (size < sizeof(input) - 1 && inb(PORT_STATUS) & DATA_READY)
		input[size++] = inb(PORT_SERIAL);
	input[size] = 0;
	say("given: %s\n", input);
}

int main(void)
{
	uint64_t random[2];

	ioperm(PORT_SERIAL, 8, 1);
	ioperm(PORT_END, 1, 1);
	getrandom(random, sizeof(random), 0);
	say("random: %016llx%016llx\n", (unsigned long long)random[0], (unsigned long long)random[1]);
	count();
	compute();
	read_input();
	outb(0, PORT_END);
}
