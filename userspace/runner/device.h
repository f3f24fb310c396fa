/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What a device is to the machine, and what the machine is to a device.
 *
 * A device is a struct that begins with struct device.  It claims ports and
 * guest-physical addresses, drives interrupt lines, and waits for time and for
 * file descriptors.  What the guest can see of it is in one plain struct, so
 * that it can be saved.
 *
 * A device's functions are called with its lock held, device_lock().  A PCI function, and with
 * it each virtio device, has one of its own; all others share the VM's, so that whoever
 * has to do with the chipset never waits for the work of a disk.  docs/locking.md has the order.
 *
 * No call that may wait here: none of a device's functions waits for anybody outside, as vCPUs
 * may wait for the lock meanwhile, and one thread does the work of all devices.  What they read
 * and write is non-blocking, and tools/lint/rules looks for calls that are not, or that sleep.
 */
#ifndef DEVICE_H
#define DEVICE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <linux/types.h>

struct device;
struct state;
struct vm;

#define container_of(pointer, type, member) \
	((type *)((char *)(pointer) - offsetof(type, member)))

/* ---- ports and memory-mapped registers (bus.c) ------------------------------ */

enum bus_space { SPACE_PORT, SPACE_MMIO, NR_SPACES };

/**
 * struct region - ports or addresses that a device answers
 * @space: of which kind
 * @first: the first one
 * @size: how many
 * @width: the widest access that the device knows, in bytes; wider ones come in parts
 * @id: the device's own number for it
 * @device: whose it is
 */
struct region {
	enum bus_space space;
	__u64 first;
	__u64 size;
	unsigned int width;
	unsigned int id;
	struct device *device;
};

/* Regions of one kind, ascending. */
struct bus {
	struct region *regions;
	size_t nr;
};

/*
 * Claim a region, which must not overlap another one: then -EEXIST.  Or -ENOMEM.  Both with the
 * VM's lock held, or before the VM runs.
 */
int region_add(struct vm *vm, const struct region *region);
void region_remove(struct vm *vm, const struct region *region);

/* What nobody has claimed reads as ones and ignores writes.  No lock of a device's is held. */
__u64 bus_read(struct vm *vm, enum bus_space space, __u64 address, unsigned int size);
void bus_write(struct vm *vm, enum bus_space space, __u64 address, unsigned int size, __u64 data);

/* ---- devices (bus.c) -------------------------------------------------------- */

/**
 * struct device_ops - a kind of device
 * @name: for messages
 * @read: @size bytes, at most the region's width, @offset bytes into the region
 * @write: likewise; bits beyond @size are zero
 * @drain: false: something is in flight yet, and io_settled() will tell; may be NULL
 * @resume: the VM goes on after a pause, or from a state that was loaded; may be NULL
 * @state: name what the guest can see of it, of a VM that is paused and drained, or was just made
 *	and has not begun: state.h; a state that is loaded takes the place of any other; NULL: nothing
 *	of it changes
 * @destroy: free it; its regions are gone
 */
struct device_ops {
	const char *name;
	__u64 (*read)(struct device *device, const struct region *region, __u64 offset,
		      unsigned int size);
	void (*write)(struct device *device, const struct region *region, __u64 offset,
		      unsigned int size, __u64 data);
	bool (*drain)(struct device *device);
	void (*resume)(struct device *device);
	void (*state)(struct device *device, struct state *state);
	void (*destroy)(struct device *device);
};

/**
 * struct device - what all devices begin with
 * @ops: which kind it is
 * @vm: where it is
 * @lock: held while it is at work; NULL: the VM's
 * @next: the one that was made before it
 */
struct device {
	const struct device_ops *ops;
	struct vm *vm;
	pthread_mutex_t *lock;
	struct device *next;
};

/* Make it one of the VM's: it is destroyed with it, the last one first. */
void device_add(struct vm *vm, struct device *device, const struct device_ops *ops);
/* They have no other threads any more but their own. */
void devices_destroy(struct vm *vm);
/* Held while it is at work; NULL is nobody, whose is the VM's. */
pthread_mutex_t *device_lock(struct vm *vm, const struct device *device);

/* Claim ports for a device, with a complaint when that fails. */
int device_ports(struct device *device, __u16 first, unsigned int nr, unsigned int width,
		 unsigned int id);

/* ---- interrupt lines (irq.c) ------------------------------------------------ */

#define LINE_TIMER 0
#define LINE_KEYBOARD 1
#define LINE_SERIAL 4
#define LINE_RTC 8
#define LINE_ACPI 9
#define LINE_AUX 12
#define NR_LINES 16

/* An ISA line: to both the 8259s and the I/O APIC. */
void line_set(struct vm *vm, unsigned int line, bool level);
/* Does an interrupt controller listen to it? */
bool line_is_heard(const struct vm *vm, unsigned int line);
/* Would another edge be lost, as the 8259s' last one has not been taken? */
bool line_is_waiting(const struct vm *vm, unsigned int line);

/* ---- files and connections (file.c) ------------------------------------------ */

/* All of it, whatever interrupts that; false: there is no more, or it cannot be had. */
bool read_fully(int fd, void *data, size_t size);
/* Likewise, from an offset on. */
bool read_at(int fd, void *data, size_t size, __u64 at);
/* 0 or a negative errno. */
int write_at(int fd, const void *data, size_t size, __u64 at);

/* ---- time and file descriptors (loop.c) ------------------------------------- */

struct loop;

/**
 * struct source - a file descriptor that a loop waits for
 * @fd: it
 * @ready: called with the EPOLL* events that came
 * @lock: held meanwhile; NULL: when it is added, it gets the loop's
 * @loop: which one, from source_add() to source_remove(); else NULL
 */
struct source {
	int fd;
	void (*ready)(struct vm *vm, struct source *source, __u32 events);
	pthread_mutex_t *lock;
	struct loop *loop;
};

/**
 * struct loop - what a thread does: it waits for sources, and calls one after the other
 * @vm: whose it is
 * @lock: held while a source is at work that has none of its own; NULL: none is needed
 * @epoll: of the sources; -1: there are none
 * @wake: an eventfd that gets the thread out of its waiting
 *
 * Devices' sources are in &vm.io, whose lock is the VM's.  Sources are added by anyone with
 * their lock, and removed by the loop's own thread alone, or when that has ended: it may have
 * fetched an event without the lock.
 */
struct loop {
	struct vm *vm;
	pthread_mutex_t *lock;
	int epoll;
	struct source wake;
};

/* 0, or -1 after a complaint. */
int loop_create(struct loop *loop, struct vm *vm, pthread_mutex_t *lock);
/* Until @is_over says so, which is asked after each source and each loop_wake(). */
void loop_run(struct loop *loop, bool (*is_over)(const struct vm *vm));
/* Wait for one source, and call it. */
void loop_run_once(struct loop *loop);
/* Let it ask; from any thread. */
void loop_wake(struct loop *loop);
void loop_destroy(struct loop *loop);

/* Wait for EPOLL* events; 0 or a negative errno (-EPERM: always ready, as files are). */
int source_add(struct loop *loop, struct source *source, __u32 events);
void source_change(struct source *source, __u32 events);
/* Stop waiting, if it is waited for; the file descriptor stays open. */
void source_remove(struct source *source);
/* An eventfd as a source; 0 or a negative errno. */
int source_add_eventfd(struct loop *loop, struct source *source);

/**
 * struct timer - a moment that a loop waits for
 * @source: its timerfd
 * @at: when it fires next; 0: it does not
 * @fire: called once for all of the expirations that have come to pass
 */
struct timer {
	struct source source;
	__u64 at;
	void (*fire)(struct vm *vm, struct timer *timer);
};

int timer_create_fd(struct loop *loop, struct timer *timer,
		    void (*fire)(struct vm *vm, struct timer *timer));
/* Fire at a time of clock_ns(), and every @period after that if it is not 0; at 0: never. */
void timer_set(struct timer *timer, __u64 at, __u64 period);
void timer_destroy(struct timer *timer);

#define NS_PER_S 1000000000ull

/* Nanoseconds of the host's monotonic clock. */
__u64 clock_ns(void);
/* Nanoseconds since 1970, by the host's wall clock. */
__u64 clock_real_ns(void);

/* @value * @mul / @div, where @mul * @div fits into 64 bits. */
static inline __u64 scale(__u64 value, __u64 mul, __u64 div)
{
	return value / div * mul + value % div * mul / div;
}

#endif /* DEVICE_H */
