// SPDX-License-Identifier: GPL-2.0
/*
 * A 32-bit program without a C library: system calls by INT 0x80, whose answers do not change, and a dot for
 * each hundred. (SYSENTER and SYSCALL are what none may take along to the other vendor: docs/migration.md.)
 */
#include <asm/unistd_32.h>

static long call(long number, long a, long b, long c)
{
	long result;

	asm volatile("int $0x80" : "=a"(result) : "a"(number), "b"(a), "c"(b), "d"(c) : "memory");
	return result;
}

void start(void)
{
	long id = call(__NR_getpid, 0, 0, 0);

	for (int i = 1; call(__NR_getpid, 0, 0, 0) == id; i++)
		if (i % 100 == 0 && call(__NR_write, 1, (long)".", 1) != 1)
			break;
	call(__NR_exit, 1, 0, 0);
}
