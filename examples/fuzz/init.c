// SPDX-License-Identifier: GPL-2.0
/*
 * The guest's only program. It tells where the functions are whose names begin with its arguments
 * (what follows "--" on the kernel's command line), then asks for an input, has the kernel parse it, and
 * answers, for ever: the host takes the machine back to where it first asked. Another parser goes
 * into parse().
 */
#include <linux/keyctl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/io.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PORT_FUZZ 0x5ea
#define INPUT_MOST 65536

static void say(const char *text)
{
	outsb(PORT_FUZZ, text, strlen(text));
}

/* A certificate, as keyctl(1) would load it: DER, which the kernel parses itself. */
static long parse(const void *input, size_t size)
{
	return syscall(SYS_add_key, "asymmetric", "", input, size, KEY_SPEC_PROCESS_KEYRING);
}

/* panic() is where a guest's crash ends. */
static int is_wanted(const char *name, char **prefixes)
{
	if (!strcmp(name, "panic"))
		return 1;
	for (; *prefixes; prefixes++)
		if (!strncmp(name, *prefixes, strlen(*prefixes)))
			return 1;
	return 0;
}

/* A line "begin end name" for each function that is wanted: it ends where what follows begins. */
static void say_functions(char **prefixes)
{
	char name[256], wanted[256] = "", line[320];
	unsigned long address, begin = 0;
	char type;
	FILE *symbols = fopen("/proc/kallsyms", "r");

	while (symbols && fscanf(symbols, "%lx %c %255s%*[^\n]", &address, &type, name) == 3) {
		if (*wanted && address > begin) {
			snprintf(line, sizeof(line), "%lx %lx %s\n", begin, address, wanted);
			say(line);
			*wanted = 0;
		}
		if (strchr("tT", type) && is_wanted(name, prefixes)) {
			strcpy(wanted, name);
			begin = address;
		}
	}
}

int main(int argc, char **argv)
{
	static char input[INPUT_MOST];

	/* All of it is in memory before the machine is kept. */
	memset(input, 1, sizeof(input));
	mount("proc", "/proc", "proc", 0, NULL);
	ioperm(PORT_FUZZ, 4, 1);
	say_functions(argv + 1);
	for (;;) {
		uint32_t size = inl(PORT_FUZZ);

		insb(PORT_FUZZ, input, size);
		outl(parse(input, size), PORT_FUZZ);
	}
}
