// SPDX-License-Identifier: GPL-2.0
/*
 * afl-fuzz talks to a fork server by two pipes: four bytes ask for a run and say whether the one before
 * was killed, the number of the process that runs is answered, then its status as of waitpid(). No
 * process is forked here for a run: the guest is one, and goes back to where it was. But afl-fuzz kills
 * that process when it takes too long; so a stand-in, which only waits, has the number, and when it is
 * dead the run is stopped.
 */
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/wait.h>
#include <unistd.h>

#include "afl.h"
#include "guest.h"

#define FROM_AFL 198
#define TO_AFL 199
/* In the first word: there are options, and one is the map's size, less one, in the bits from 1 to 23. */
#define HAS_OPTIONS 0x80000001u
#define HAS_MAP_SIZE 0x40000000u
#define MAP_SIZE_MOST (1u << 23)

static pid_t stand_in;
static volatile unsigned char *stopped;

unsigned char *afl_map(void)
{
	const char *id = getenv("__AFL_SHM_ID");
	void *map = id ? shmat(atoi(id), NULL, 0) : NULL;

	if (map == (void *)-1)
		die("there is no map of AFL++'s with the id %s", id);
	return map;
}

static bool tell(uint32_t word)
{
	return write(TO_AFL, &word, sizeof(word)) == sizeof(word);
}

static void on_death(int signal)
{
	*stopped = 1;
}

static void make_stand_in(void)
{
	pid_t parent = getpid();

	stand_in = fork();
	if (stand_in < 0)
		die("no process can be forked");
	if (stand_in)
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (getppid() == parent)
		pause();
	_exit(0);
}

bool afl_hello(size_t map_size)
{
	if (map_size > MAP_SIZE_MOST)
		die("%zu blocks are too many for AFL++", map_size);
	return tell(HAS_OPTIONS | HAS_MAP_SIZE | (map_size - 1) << 1);
}

bool afl_next(volatile unsigned char *stop)
{
	struct sigaction action = { .sa_handler = on_death, .sa_flags = SA_NOCLDSTOP | SA_RESTART };
	uint32_t was_killed;

	stopped = stop;
	sigaction(SIGCHLD, &action, NULL);
	if (read(FROM_AFL, &was_killed, sizeof(was_killed)) != sizeof(was_killed))
		return false;
	/* The run was over when its stand-in was killed. */
	if (was_killed && stand_in) {
		waitpid(stand_in, NULL, 0);
		stand_in = 0;
	}
	*stop = 0;
	if (!stand_in)
		make_stand_in();
	return tell(stand_in);
}

void afl_done(bool crashed)
{
	int status = crashed ? SIGSEGV : 0;

	/* Has it been killed? That is the status, then. */
	if (waitpid(stand_in, &status, WNOHANG) > 0)
		stand_in = 0;
	tell(status);
}
