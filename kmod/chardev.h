/* SPDX-License-Identifier: GPL-2.0 */
/* /dev/mote: what main.c needs of chardev.c. */
#ifndef MOTE_CHARDEV_H
#define MOTE_CHARDEV_H

int mote_chardev_register(void);
void mote_chardev_unregister(void);

#endif /* MOTE_CHARDEV_H */
