/* SPDX-License-Identifier: GPL-2.0 */
/* AFL++'s end of things: its map of what was reached, and its fork server's conversation. */
#ifndef AFL_H
#define AFL_H

#include <stdbool.h>
#include <stddef.h>

/* The map, if afl-fuzz or a tool of AFL++'s has started this program; NULL. */
unsigned char *afl_map(void);
/* Tell it that the fork server is there, and how many bytes of the map it uses; false: nobody listens. */
bool afl_hello(size_t map_size);
/* Wait for the next run; false: there is none. When AFL++ loses its patience with it, @stop becomes 1. */
bool afl_next(volatile unsigned char *stop);
/* The run is over; did the guest crash? */
void afl_done(bool crashed);

#endif /* AFL_H */
