/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A virtual machine of `mote run`: what was asked for, the memory, the vCPUs,
 * the devices, and how it ends.
 *
 * Each vCPU has a thread of its own (vcpu.c), and the devices have one, the I/O thread.  The
 * VM's lock is held while the chipset is at work, and a lock of its own while a PCI function
 * is, as each virtio device.  The main thread is the supervisor (vm.c):
 * it has the signals, the time limit, the control socket and the far ends of the consoles,
 * and takes no lock that a device may hold, so that nothing a guest does makes it late.
 */
#ifndef VM_H
#define VM_H

#include <pthread.h>
#include <string.h>

#include <linux/mote.h>
#include <debug.h>
#include <machine.h>
#include <undo.h>

#include "control.h"
#include "device.h"

/* Guest-physical memory: from 0 to here, and from 4 GiB on. */
#define LOW_MEMORY_END 0x80000000ull
#define HIGH_MEMORY 0x100000000ull
/* What the firmware would keep for itself: the end of conventional memory ... */
#define EBDA 0x9fc00
#define VGA 0xa0000
/* ... and where it would be: here are the ACPI tables. */
#define FIRMWARE 0xe0000
#define EXTENDED_MEMORY 0x100000

#define IOAPIC_BASE 0xfec00000ull
#define LAPIC_BASE 0xfee00000ull

/* COM1. */
#define SERIAL_PORT 0x3f8

/* What a VM may have, in bytes. */
#define MEMORY_LEAST (1ull << 20)
#define MEMORY_MOST (1ull << 42)

/* Read 512M, 2G, or a number of MiB; 0, or -1 (size.c). */
int parse_size(const char *text, __u64 *size);
/* Of a number from 0 to @most; likewise. */
int parse_number(const char *text, unsigned long most, unsigned long *value);

/* As many as a VM of the module's can have. */
#define MOST_CPUS 1024
#define MODULES_MOST 16

/**
 * struct rate - how fast a device may be (throttle.h); 0: as it likes
 * @requests: requests, or frames, a second
 * @bytes: bytes a second
 * @burst_ns: what was not used of that for so long may be had at once; 0: nothing was said
 */
struct rate {
	unsigned int requests;
	__u64 bytes;
	__u64 burst_ns;
};

#define DISKS_MOST 16

/**
 * struct disk - a disk
 * @path: of an image, or a block device; or the address of a server's (nbd.h)
 * @readonly: for the guest
 * @format: of which qemu-storage-daemon is to see to it; NULL: it is raw, and a file or device here
 * @key: a file with the key of what is encrypted
 * @is_raw: it is, whatever it looks like
 * @sector: its sectors' size in bytes; 0: what the host's are
 * @rate: of its requests
 */
struct disk {
	const char *path;
	bool readonly;
	const char *format;
	const char *key;
	bool is_raw;
	unsigned int sector;
	struct rate rate;
};

#define SHARES_MOST 8
#define SHARE_TAG_MOST 36

/**
 * struct share - a directory that the guest can mount
 * @tag: by which the guest knows it
 * @path: a directory, or the socket of a vhost-user daemon
 * @as_root: the guest's root may have root's rights there
 */
struct share {
	char tag[SHARE_TAG_MOST + 1];
	const char *path;
	bool as_root;
};

#define FORWARDS_MOST 16

/**
 * struct forward - a port of the host's loopback that leads to the guest
 * @is_udp: not TCP
 * @port: the host's
 * @guest_port: and the guest's
 */
struct forward {
	bool is_udp;
	__u16 port;
	__u16 guest_port;
};

#define MAC_SIZE 6
#define NICS_MOST 8

/**
 * struct nic - a network card
 * @where: "user", or "tap:" or "vhost:" and a name
 * @mac: its address; zeros: it is derived (net_mac.c)
 * @rate: of its frames, in each direction
 * @host_loopback: with "user" or "passt", the guest reaches what listens at 127.0.0.1 here
 * @nr_forwards: how many @forwards there are
 * @forwards: likewise
 */
struct nic {
	const char *where;
	__u8 mac[MAC_SIZE];
	struct rate rate;
	bool host_loopback;
	unsigned int nr_forwards;
	struct forward forwards[FORWARDS_MOST];
};

#define CONSOLES_MOST 8

#define IO_LIMITS_MOST 16

/**
 * struct io_limit - what may go to and come from a disk of the host's, each second; 0: as much as it likes
 * @device: the disk
 * @read_bytes: bytes
 * @written_bytes: bytes
 * @reads: requests
 * @writes: requests
 */
struct io_limit {
	const char *device;
	__u64 read_bytes;
	__u64 written_bytes;
	unsigned int reads;
	unsigned int writes;
};

/**
 * struct limits - what a machine may have of its host (limits.c)
 * @cpu_weight: its share of the processors, beside others; 0: nothing was said
 * @cpu_max: and in any case not more, in percent of one; 0: as much as it likes
 * @memory_max: memory of the host's, in bytes; likewise
 * @nr_io: how many @io there are
 * @io: of disks
 */
struct limits {
	unsigned int cpu_weight;
	unsigned int cpu_max;
	__u64 memory_max;
	unsigned int nr_io;
	struct io_limit io[IO_LIMITS_MOST];
};

/**
 * struct reservation - what each vCPU is promised of a processor (reserve.c)
 * @runtime_ns: so much; 0: nothing is
 * @period_ns: in each of these
 */
struct reservation {
	__u64 runtime_ns;
	__u64 period_ns;
};

struct snapshot;
struct base;

#define FEATURE_WORDS 13
#define FEATURES_MOST 64

/**
 * struct cpu_features - features of a CPU, a bit each (cpu_features.c)
 * @hidden: these are not shown
 * @wanted: without these it does not start
 */
struct cpu_features {
	__u32 hidden[FEATURE_WORDS];
	__u32 wanted[FEATURE_WORDS];
};

struct json_object;
struct mote_cpuid_entry;

/*
 * Read -NAME and +NAME, with commas between them, into @features, such a struct; 0, or -1 after a
 * complaint, which begins with @where.
 */
int cpu_features_parse(const char *where, const char *text, void *features);
/* Hide what is to be hidden in a CPUID table; -1 after a complaint if something is missing. */
int cpu_features_apply(const struct cpu_features *features, struct mote_cpuid_entry *rows,
		       unsigned int nr);

#define FEATURE_NAME_MOST 64

/* Has @rows a feature that @host lacks?  Then what the first one is called. */
bool cpu_features_missing(const struct mote_cpuid_entry *rows, unsigned int nr,
			  const struct mote_cpuid_entry *host, unsigned int nr_host,
			  char name[FEATURE_NAME_MOST]);
/* What @rows has, by name: an array of strings. */
struct json_object *cpu_features_names(const struct mote_cpuid_entry *rows, unsigned int nr);

/* What happens when the guest's watchdog expires (dev/watchdog.c); WATCHDOG_NONE: it has none. */
enum watchdog_action { WATCHDOG_NONE, WATCHDOG_RESET, WATCHDOG_END, WATCHDOG_PAUSE, WATCHDOG_NMI };

/**
 * struct options - what is asked for (options.c)
 * @config: as JSON, whose strings the rest refers to
 * @image: path of what is to run; NULL if it is
 * @firmware: path of this
 * @variables: path of its variables; NULL: it keeps none
 * @nr_modules: how many @modules there are
 * @modules: each a path, and what the image is told of it behind a blank; the
 *	first one is the initrd
 * @nr_disks: how many @disks there are
 * @disks: in the order in which the guest finds them
 * @cloud_init: of which a disk is made for cloud-init; NULL: there is none
 * @nr_nics: how many @nics there are
 * @nics: network cards, in the order in which the guest finds them
 * @nr_forwards: how many @forwards there are
 * @forwards: of the only card with one of these, which gets them, too
 * @nr_shares: how many @shares there are
 * @shares: directories
 * @vsock: the guest's address for sockets; 0: it has none
 * @balloon: how much memory a balloon leaves to the guest at first; 0: there is none
 * @nr_consoles: how many @consoles there are
 * @consoles: virtio consoles, each "stdio", as only the first may be, or "socket"
 * @append: command line for the guest's kernel, never NULL
 * @has_append: it was given
 * @on_panic: after a panic, or a triple fault: "end", "pause", or %PANIC_DUMP and a path
 * @restart: after a reset, a panic, or the watchdog's reset the machine begins again
 * @detach: in the background
 * @name: of the VM, never NULL
 * @is_named: it was asked for
 * @uuid: its UUID; 0: it is derived (smbios.c)
 * @serial: "stdio", "socket" or "none"
 * @memory: bytes
 * @nr_features: how often something was said of @features
 * @features: of the CPUs, that are hidden or have to be there
 * @cpus: number of vCPUs
 * @limits: what it may have of the host
 * @reservation: what its vCPUs are promised of the host
 * @timeout: in nanoseconds; 0: none
 * @flat: the image is code for real mode
 * @watchdog: there is a watchdog, which does this
 * @testdev: there are the devices of test guests
 * @gdb: it begins when a debugger lets it
 * @steps: likewise mote step, which has started it, and with which it ends
 * @json: say as JSON what happens
 * @snapshot: with what the machine begins; NULL: with its image
 * @sandbox: "on" or "off"
 */
struct options {
	struct json_object *config;
	const char *image;
	const char *firmware;
	const char *variables;
	unsigned int nr_modules;
	const char *modules[MODULES_MOST];
	unsigned int nr_disks;
	struct disk disks[DISKS_MOST];
	unsigned int nr_nics;
	struct nic nics[NICS_MOST];
	const char *cloud_init;
	unsigned int nr_forwards;
	struct forward forwards[FORWARDS_MOST];
	unsigned int nr_shares;
	struct share shares[SHARES_MOST];
	unsigned int vsock;
	__u64 balloon;
	unsigned int nr_consoles;
	const char *consoles[CONSOLES_MOST];
	const char *append;
	bool has_append;
	const char *on_panic;
	bool restart;
	bool detach;
	const char *name;
	bool is_named;
	__u8 uuid[16];
	const char *serial;
	__u64 memory;
	unsigned int nr_features;
	struct cpu_features features;
	unsigned int cpus;
	struct limits limits;
	struct reservation reservation;
	__u64 timeout;
	bool flat;
	enum watchdog_action watchdog;
	bool testdev;
	bool gdb;
	bool steps;
	bool json;
	struct snapshot *snapshot;
	const char *sandbox;
};

#define PANIC_DUMP "dump:"

/* Where a core of a guest that panics is to be; NULL: nowhere. */
static inline const char *core_path(const struct options *options)
{
	return strncmp(options->on_panic, PANIC_DUMP, strlen(PANIC_DUMP)) ? NULL :
	       options->on_panic + strlen(PANIC_DUMP);
}

struct virtio;
struct place;
struct gdb;
struct migration;
struct policies;
struct watches;
struct state;
struct step;
struct traffic;

/* How a VM ended, each with an exit status: see end.c. */
enum ending {
	END_NOT_YET,
	END_POWER_OFF,
	END_RESET,
	END_DEBUG_EXIT,
	END_TRIPLE_FAULT,
	END_PANIC,
	END_WATCHDOG,
	END_ERROR,
	END_TIMEOUT,
	END_QUIT,
	END_SIGNAL,
	END_STOPPED,
	END_MIGRATED,
};

/**
 * struct vcpu - a vCPU and its thread
 * @cpu: the vCPU
 * @vm: whose it is
 * @thread: runs it
 * @tid: number of the thread
 * @started: there is a thread
 * @exits: how often MOTE_RUN ended, by reason
 * @dirty_base: how many pages it had written when vcpus_grant() began to count
 * @is_held: by a debugger, while others run
 * @steps: one has it step, or a watch has
 * @watch_step: of a watch; no @cpu: there is none
 * @is_told: the hit of the instruction at @told_rip is, and it has not been stepped over
 * @told_rip: with that
 */
struct vcpu {
	struct mote_cpu cpu;
	struct vm *vm;
	pthread_t thread;
	int tid;
	bool started;
	__u64 exits[MOTE_NR_EXITS];
	__u64 dirty_base;
	bool is_held;
	bool steps;
	struct mote_debugged watch_step;
	bool is_told;
	__u64 told_rip;
};

/**
 * struct job - what the supervisor asks of the devices, of the I/O thread (io.c)
 * @next: after it
 * @is_posted: it has not been begun
 * @run: does it; takes the locks of the devices that it has to do with
 */
struct job {
	struct job *next;
	bool is_posted;
	void (*run)(struct vm *vm, struct job *job);
};

/**
 * struct vm - a virtual machine
 * @options: what was asked for
 * @fd: /dev/mote
 * @vendor: of the host, &enum mote_vendor
 * @machine: the VM
 * @ram: its memory
 * @mapping: in which that is
 * @firmware: NULL, or a copy of it
 * @firmware_size: of this
 * @memory_fd: the file that it is; -1: it is none
 * @core_fd: the file where it is dumped when its guest panics; -1: there is none
 * @pagemap: of this process: which pages there are; -1: that cannot be known
 * @is_restored: what nobody has touched is what was saved, not zeros
 * @undos: of its slots, while @undo_base is not NULL
 * @undo_base: what it was
 * @low: bytes of it that are at 0
 * @high: bytes of it that are at 4 GiB
 * @nr_places: how many @places there are
 * @places: what a loader has put into memory (place.c), ascending; none once it has
 * @tsc_khz: frequency of its TSC, in kHz
 * @has_other_tsc: the host cannot give it that
 * @nr_cpuid: how many @cpuid are there
 * @cpuid: what CPUID says, but for what each vCPU has of its own
 * @snapshot: with what it begins; NULL: with its image
 * @base: what it goes back to, or NULL
 * @nr_vcpus: how many @vcpus are there
 * @vcpus: processors
 * @name: what it is called
 * @directory: where its files' names begin, or NULL
 * @started: when, by clock_ns()
 * @memory_left: how much of its memory a balloon was told last to leave; 0: nothing was said
 * @traffic: what its devices have done, over all of its lives (traffic.h)
 * @lock: of @buses, and of those devices that have no other; see device.h
 * @buses: who answers at ports and addresses
 * @devices: the last one made
 * @pic: the two 8259s
 * @ioapic: the I/O APIC
 * @pit: the 8254
 * @rtc: the real-time clock
 * @pci: the PCI bus
 * @acpi_pm: ACPI's registers
 * @balloon: the balloon, or NULL
 * @has_expired: the watchdog has, and the guest has not taken notice of it
 * @io: what the I/O thread waits for
 * @posted: there are @jobs
 * @button: one of these: the terminal's power button
 * @io_thread: it
 * @supervisor: what the supervisor waits for
 * @migration: the last one, or NULL
 * @policies: those that decide its exits (policies.h), or NULL
 * @watches: who is told of watched memory (watch.h), or NULL if nobody ever was
 * @nr_watching: the supervisor's: how many requests for that wait until it stands still
 * @gdb: the last debugger, or NULL
 * @step: who runs it exit by exit (step.h), or NULL if nobody ever has
 * @refused: a thread has tried what the sandbox refuses
 * @console: whose far end a client is that does not say which, or NULL
 * @consoles: all of them
 * @control: the control socket
 * @life: a lock of all that follows; nothing waits while it is held, and no lock is taken
 * @jobs: what the I/O thread has been asked to do
 * @nr_parked: how many vCPUs wait
 * @resumed: they need not any more, or may write more (vcpus_grant())
 * @paused: vCPUs are to wait; is read without the lock
 * @drained: of a pause, the devices have done what they had begun
 * @is_brief: nobody has paused it, but vm_stop_briefly()
 * @holder: what keeps it paused, as it is being saved or migrated; or NULL
 * @when_paused: done whenever it is, and drained; or NULL
 * @resumes: the I/O thread is to tell the devices that the VM goes on
 * @end: how the VM ended; is read without the lock
 * @has_dumped: at its end there is no core to be written any more; is read without the lock
 * @hurries: what the guest wrote need not be brought out any more
 * @quits: whoever is at the terminal has asked for the end
 * @closed: all threads have ended but the supervisor's, and the devices are gone
 * @status: exit status, when it has ended
 * @culprit: the vCPU that ended it, or NULL
 * @why: what went wrong, for %END_ERROR
 */
struct vm {
	const struct options *options;
	int fd;
	unsigned int vendor;
	struct mote_machine machine;
	unsigned char *ram;
	void *mapping;
	void *firmware;
	__u64 firmware_size;
	int memory_fd;
	int core_fd;
	int pagemap;
	bool is_restored;
	struct mote_undo undos[2];
	void *undo_base;
	__u64 low;
	__u64 high;
	size_t nr_places;
	struct place *places;
	__u32 tsc_khz;
	bool has_other_tsc;
	unsigned int nr_cpuid;
	struct mote_cpuid_entry cpuid[MOTE_MAX_CPUID];
	struct snapshot *snapshot;
	struct base *base;
	unsigned int nr_vcpus;
	struct vcpu *vcpus;

	char name[NAME_MOST + 1];
	char *directory;
	__u64 started;
	__u64 memory_left;
	struct traffic *traffic;

	pthread_mutex_t lock;
	struct bus buses[NR_SPACES];
	struct device *devices;
	struct device *pic;
	struct device *ioapic;
	struct device *pit;
	struct device *rtc;
	struct device *pci;
	struct device *acpi_pm;
	struct virtio *balloon;
	bool has_expired;

	struct loop io;
	struct source posted;
	struct job button;
	pthread_t io_thread;
	struct loop supervisor;
	struct migration *migration;
	struct policies *policies;
	struct watches *watches;
	unsigned int nr_watching;
	struct gdb *gdb;
	struct step *step;
	struct source refused;
	struct console *console;
	struct console *consoles;
	struct control *control;

	pthread_mutex_t life;
	struct job *jobs;
	unsigned int nr_parked;
	pthread_cond_t resumed;
	bool paused;
	bool drained;
	bool is_brief;
	const void *holder;
	struct job *when_paused;
	bool resumes;
	enum ending end;
	bool has_dumped;
	bool hurries;
	bool quits;
	bool closed;
	int status;
	struct vcpu *culprit;
	char why[160];
};

/* ---- the whole of it (vm.c) --------------------------------------------------- */

/* Run a VM from its beginning to its end; returns the exit status of `mote run`. */
int vm_run(const struct options *options);

/* ---- in the background (detach.c) ------------------------------------------------ */

/* In a process of its own: EXIT_OK when the VM runs, and its @name; or the exit status, if it cannot. */
int detach_run(const struct options *options, char name[NAME_MOST + 1]);
/* The VM runs, and is called so. */
void detach_started(const char *name);

/* ---- limits (limits.c) ----------------------------------------------------------- */

/* Before it has anything: a cgroup with those that were asked for; 0, or -1 after a complaint. */
int limits_begin(const struct options *options);

/* ---- reservations (reserve.c) ------------------------------------------------------ */

/* Read RUNTIME/PERIOD, each in us or ms, into @reservation, such a struct; 0, or 1 if it is none. */
int reservation_parse(const char *where, const char *text, void *reservation);
/* Could the vCPUs have theirs?  Before they are there; 0, or -1 after a complaint. */
int reservation_try(const struct options *options);
/* This thread is a vCPU's, and takes its own; likewise. */
int reservation_take(const struct options *options);

/* ---- memory (memory.c) --------------------------------------------------------- */

/* 0, or -1 after a complaint. */
int memory_create(struct vm *vm);
/* Note what the guest writes from now on, or no more; the VM is paused. 0 or a negative errno. */
int memory_log(struct vm *vm, bool is_on);
/* Which pages it has written, each a bit that is set in @bits, since the last time; likewise. */
int memory_get_dirty(struct vm *vm, __u64 *bits);
/* It is what @fd has, and what the guest writes is not there; 0, or -1 after a complaint. */
int memory_restore(struct vm *vm, int fd);
/*
 * It is that again, where what was written since the last time is noted, or all of it, by undoing that
 * alone; the VM is paused. 0, or a negative errno.
 */
int memory_undo(struct vm *vm, int fd);
/* It will be something else, or somebody else notes what is written. */
void memory_forget(struct vm *vm);
/* The guest does not need what is here; whole pages of it become free, and zeros. */
void memory_discard(struct vm *vm, void *hva, __u64 size);
/*
 * Map the page at @gpa anew, with what it holds, so that nested page tables lose it, too; where
 * that is no memory, or the memory is no file, nothing happens.
 */
void memory_remap(struct vm *vm, __u64 gpa);
void memory_destroy(struct vm *vm);

/* ---- vCPUs (vcpu.c) ------------------------------------------------------------ */

/* Create them all; 0, or -1 after a complaint. */
int vcpus_create(struct vm *vm);
/* With the VM's lock held, without which no guest begins. */
int vcpus_start(struct vm *vm);
/* The VM has ended: wait for the threads. */
void vcpus_stop(struct vm *vm);
void vcpus_destroy(struct vm *vm);
/**
 * vcpus_grant() - how many pages of memory that is logged each vCPU may write until it waits
 * @vm: the VM
 * @anew: from now on; else from when it was granted anew last
 * @pages: how many, at least 1; UNLIMITED: as many as it likes
 *
 * Who waits for a second in which nothing is granted waits no longer: the guest does not stand still for
 * somebody who does.
 */
void vcpus_grant(struct vm *vm, bool anew, __u64 pages);
#define UNLIMITED (~0ull)
/* What all of them say by CPUID, and each its own (cpuid.c); 0, or -1 after a complaint. */
int cpuid_create(struct vm *vm);
int vcpu_set_cpuid(struct vcpu *vcpu);
/* Do they say that the TSC always runs at one frequency? */
bool cpuid_has_steady_tsc(const struct vm *vm);
/* The first; what was saved for another host is refused where the guest may use what is not here. */
void cpuid_state(struct vm *vm, struct state *state);
/* Make a vCPU look at what is new, whatever it does; from any thread. */
void vcpu_kick(struct vcpu *vcpu);

/**
 * vm_pause() - let the vCPUs wait until vm_resume(); clocks go on
 * @vm: it
 * @why: it does so; NULL: somebody has asked for it
 *
 * When they have stopped, devices finish what they have begun: then vm_is_paused(), and
 * control_wake() has been called.
 */
void vm_pause(struct vm *vm, const char *why);
void vm_resume(struct vm *vm);
/* Likewise, but nobody is told: true if it has been running, or it was @holder that kept it paused. */
bool vm_stop(struct vm *vm);
bool vm_go(struct vm *vm, const void *holder);
/* Until vm_go_on(), if it runs and nobody pauses it meanwhile: then that lasts. */
void vm_stop_briefly(struct vm *vm);
void vm_go_on(struct vm *vm);
/* It is paused: nothing resumes it until @holder lets go; false: it is not, or somebody holds it. */
bool vm_hold_for(struct vm *vm, const void *holder);
bool vm_is_paused(struct vm *vm);
/* Has somebody paused it, or is about to have? */
bool vm_is_wanted_paused(const struct vm *vm);
/* Something outside stands in the way, which the owner hears of: pause. */
void vm_hold(struct vm *vm, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- the I/O thread (io.c) -------------------------------------------------------- */

/* Loop and thread; each 0, or -1 after a complaint. */
int io_create(struct vm *vm);
int io_start(struct vm *vm);
/* One that waits already does so no longer for it. */
void io_post(struct vm *vm, struct job *job);
/* The VM pauses or resumes: look what that means for the devices. */
void io_wake(struct vm *vm);
/* A device that was asked to drain may have done so; from any thread, with any lock of a device's. */
void io_settled(struct vm *vm);
void io_destroy(struct vm *vm);

/* ---- the end (end.c) --------------------------------------------------------------- */

/**
 * vm_end() - the VM is to end; the first one who says so is right
 * @vm: it
 * @end: how
 * @detail: value of the debug exit, number of the signal; else 0
 */
void vm_end(struct vm *vm, enum ending end, int detail);

/* Whoever is at the terminal wants to leave: press the power button; the second time, end the VM. */
void vm_quit(struct vm *vm);

/* The name of how it ended, if --restart goes on after that; else NULL. */
const char *end_restarts(const struct vm *vm);

/* It has ended, with all threads but the supervisor's, and is to begin again. */
void vm_revive(struct vm *vm);

/* Its guest has come to its end, which the owner hears of: pause, if that was asked for; else false. */
bool vm_pauses_at(struct vm *vm, const char *what);

/* The file for its core; 0, or -1 after a complaint (core.c). */
int core_prepare(struct vm *vm);
/* Its vCPUs run no more: if that was a panic or a triple fault, write the core; the I/O thread's. */
void core_at_end(struct vm *vm);

/* A vCPU cannot go on. */
void vm_fail(struct vcpu *vcpu, enum ending end, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* ---- a service of systemd's (service.c) --------------------------------------------- */

/* Before there is a second thread: who has started this wants to hear how it goes. */
void service_open(void);
/* What sd_notify(3) takes; any thread. */
void service_say(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* With this timer the supervisor says that it is alive, if that is wanted; 0 or -1. */
int service_watch(struct vm *vm, struct timer *timer);

/* Say what has happened, and why if that is not NULL: to systemd, and with --json in a line. */
void say_event(struct vm *vm, const char *event, const char *why);

static inline bool vm_has_ended(const struct vm *vm)
{
	return __atomic_load_n(&vm->end, __ATOMIC_ACQUIRE) != END_NOT_YET;
}

/* It ends now, as a thread has tried what the sandbox refuses: say so. */
struct refusal;
void end_refused(struct vm *vm, const struct refusal *refusal);

/* Say how it ended, once all threads have. */
void end_report(struct vm *vm);

/* Registers of a vCPU, and the instructions at RIP (registers.c). */
void print_registers(struct vcpu *vcpu);
/* The same as members of an object: "vcpu", "registers" and "code", or "registers_error". */
void json_add_registers(struct json_object *root, struct vcpu *vcpu);
/* Of a state with GPRS, SEGS, CRS and MSRS: these, and at most so many instructions at its RIP. */
struct json_object *json_registers(const struct mote_state *state);
struct json_object *json_code(struct vm *vm, const struct mote_state *state, unsigned int most);
/* A number whose bits are looked at. */
void json_add_hex(struct json_object *object, const char *name, __u64 value);

/* ---- what runs (loader.c) ------------------------------------------------------------ */

/* Before there is a machine: can the image be read?  0, or -1 after a complaint. */
int image_check(const struct options *options);
/* Put the image into memory and vCPU 0 at its start; 0, or -1 after a complaint. */
int load_image(struct vm *vm);
/* A machine that begins without its files may begin again with them: open those that are there. */
void image_prepare(const struct options *options);
/* The firmware alone, which was saved with the machine; likewise (loader_firmware.c). */
int firmware_restore(struct vm *vm, const void *data, size_t size);

/* ---- devices (dev/) -------------------------------------------------------------------- */

/* Each: 0, or -1 after a complaint. */
int serial_create(struct vm *vm);
int debug_exit_create(struct vm *vm);
int pit_create(struct vm *vm);
int rtc_create(struct vm *vm);
int fw_cfg_create(struct vm *vm);
int i8042_create(struct vm *vm);
int reset_create(struct vm *vm);
int testdev_create(struct vm *vm);
int pvpanic_create(struct vm *vm);
int watchdog_create(struct vm *vm);
int flash_create(struct vm *vm);

/* Ask the guest to get by with so many bytes of its memory; -ENODEV if there is no balloon. */
int balloon_leave(struct vm *vm, __u64 memory);

#endif /* VM_H */
