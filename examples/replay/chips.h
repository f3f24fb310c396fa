/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What is asked while recording: an 8259 with the line of an 8254's channel 0, and a serial port without
 * interrupts, whose input is ours. Other ports read as ones. Not here: the slave 8259 but its mask, and
 * what no guest of the example uses of the chips.
 */
#ifndef CHIPS_H
#define CHIPS_H

#include <stdbool.h>
#include <linux/types.h>

/* What is written there ends the guest. */
#define PORT_END 0xf4
#define PORT_SERIAL 0x3f8

__u32 chips_in(__u16 port);
void chips_out(__u16 port, __u8 data);
/* Does the timer's interrupt wait at a time in ns? */
bool chips_interrupt(__u64 now);
/* Its vector; and it is taken. Return: how long it has waited, in ns. */
__u8 chips_vector(void);
__u64 chips_acknowledge(__u64 now);
/* When the timer fires next; 0: never. */
__u64 chips_next(void);
/* Nanoseconds, which the chips go by. */
__u64 chips_now(void);

#endif /* CHIPS_H */
