/* SPDX-License-Identifier: GPL-2.0 */
/* What payload.S and its hypervisors agree on; for assembly files, too. */
#ifndef BENCH_PAYLOAD_H
#define BENCH_PAYLOAD_H

#define PORT_DONE 0xf4		/* the row is through */
#define PORT_USER 0x10		/* a device in user space */
#define PORT_EVENTFD 0x11	/* an eventfd is told */
#define VECTOR 0x40

#endif /* BENCH_PAYLOAD_H */
