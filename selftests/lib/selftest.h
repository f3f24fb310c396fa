/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What mote's selftests share, beside the kernel's kselftest_harness.h.
 *
 * A test that cannot run where it is skips with a reason.  Reasons that begin
 * with "not on this hardware" or "not on this kernel" are expected; on the
 * emulated hosts of `make check` any other skip counts as a failure.
 */
#ifndef SELFTEST_H
#define SELFTEST_H

#include <stdbool.h>

/**
 * struct command - a shell command that has ended
 * @status: its exit status; 128 + N if signal N ended it
 * @out: what it wrote to stdout, NUL-terminated
 * @err: what it wrote to stderr, NUL-terminated
 */
struct command {
	int status;
	char out[16384];
	char err[4096];
};

/* Run a command by the shell and wait for it; its output is cut to fit. */
void command_run(struct command *command, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* The same as another user, who is in no group but the one of the same number. */
void command_run_as(struct command *command, unsigned int user, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Run a command by the shell, quietly; return its exit status. */
int sh(const char *format, ...) __attribute__((format(printf, 1, 2)));

/*
 * Unload mote as soon as nobody uses it, and return rmmod's exit status: a killed guest's and a BPF
 * program's references go a moment after whoever was seen to end.
 */
int unload_mote(void);

/* The KVM module for this processor, kvm_intel or kvm_amd; NULL if there is none. */
const char *kvm_module(void);

/* Keep the calling thread on a CPU; false: it cannot be there. */
bool pin_to_cpu(int cpu);

/* Is this `make check-long`? */
bool is_long_run(void);

/* Lost is what has not come after so many seconds: a busy machine may well need a minute. */
#define LOST_S 600

/* End the program with a skip if there is no /dev/mote. */
void require_mote(void);

/* The harness gives a test 30 seconds. No time decides here: tools/check looks whether it moves. */
#ifdef TEST_TIMEOUT_DEFAULT
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT 7200
#endif

/* In the place of TEST_HARNESS_MAIN: a program of tests that need the module. */
#define MOTE_TEST_MAIN						\
	int main(int argc, char **argv)				\
	{							\
		require_mote();					\
		return test_harness_run(argc, argv);		\
	}

#endif /* SELFTEST_H */
