/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Consoles: between a device of the guest's and who is at the far end of the line, which is the
 * terminal or pipe that `mote run` was started on, and clients of the control socket.
 *
 * The device works with its lock held and never waits: its output goes into a ring, and
 * input comes out of another.  The supervisor moves bytes between the rings and the file
 * descriptors, without that lock.  Standard output loses nothing: for the device the ring is
 * full as long as that has not taken what is there.  Of clients the slow lose the oldest.
 */
#ifndef CONSOLE_H
#define CONSOLE_H

#include "device.h"

struct console;
struct tty_size;

/**
 * struct console_ops - what a device does for its console; its lock is held
 * @room: how many characters of input it takes now
 * @input: here they are, at most as many as there was room for
 * @writable: try again to write
 * @resized: the screen at the far end has this size now; may be NULL
 */
struct console_ops {
	size_t (*room)(void *device);
	void (*input)(void *device, const void *data, size_t nr);
	void (*writable)(void *device);
	void (*resized)(void *device, const struct tty_size *size);
};

/* ---- the device's end; its lock is held ---------------------------------------------- */

/*
 * @device begins with struct device; NULL: there is none.  @name: what clients call it.  @kind: "stdio",
 * "socket" (clients alone), "stderr" (not for them) or "none".  NULL after a complaint.
 */
struct console *console_open(struct vm *vm, const struct console_ops *ops, void *device, const char *name,
			     const char *kind);
/* The device is going: there is no more input, and what it has written is still brought out. */
void console_close(struct console *console);

/* Write what there is room for; the rest is wanted by ops->writable. */
size_t console_write(struct console *console, const void *data, size_t nr);

/* Write all of it, or nothing where there is no room: false. */
bool console_put(struct console *console, const void *data, size_t nr);

/* The device has room for input. */
void console_wants_more(struct console *console);

/* The size of the screen at the far end, which is that of whoever has last said it; 0: nobody has. */
void console_size(struct console *console, struct tty_size *size);

/* ---- the far end: the supervisor's thread ------------------------------------------- */

/* The one that clients call so; @name may be NULL: the first one.  NULL: there is none. */
struct console *console_find(const struct vm *vm, const char *name);

/**
 * console_read() - fetch output for a client
 * @console: of the VM
 * @position: of all that was ever written, the first byte that the client has not got; moved
 *	on to the oldest that is still there
 * @data: filled in
 * @size: room there
 * Return: how many bytes there are; the caller moves @position on by what it has used
 */
size_t console_read(struct console *console, __u64 *position, void *data, size_t size);
/* Of all that was ever written, the end. */
__u64 console_end(struct console *console);
/* Type; returns how many characters the device wants of them now. */
size_t console_type(struct console *console, const void *data, size_t nr);
/* The screen has this size now. */
void console_resize(struct console *console, const struct tty_size *size);

/* Has standard output got all that was written? */
bool consoles_are_drained(const struct vm *vm);
/* A terminal is raw while the VM runs: again, after somebody else had it. */
void consoles_take_terminal(struct vm *vm);
/* Say there, once, how to leave it. */
void consoles_tell_terminal(struct vm *vm);
/* Its window may have another size. */
void consoles_resize_terminal(struct vm *vm);
/* As it was. */
void consoles_leave_terminal(struct vm *vm);
/* Bring out what can be without waiting for a reader. */
void consoles_flush(struct vm *vm);
void consoles_destroy(struct vm *vm);

/* ---- what is said on standard error (messages.c) -------------------------------------- */

/* From now on nobody who says something waits; 0, or -1 after a complaint. */
int messages_begin(struct vm *vm);
/* From now on who says something takes no lock either: what cannot be written at once is lost. */
void messages_hurry(void);

#endif /* CONSOLE_H */
