// SPDX-License-Identifier: GPL-2.0
/* A VM from its beginning to its end: the module, memory, devices, threads. */
#include <errno.h>
#include <limits.h>
#include <link.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "acpi.h"
#include "console.h"
#include "control.h"
#include "gdb.h"
#include "irq.h"
#include "keep.h"
#include "migrate.h"
#include "net.h"
#include "policies.h"
#include "runner.h"
#include "sandbox.h"
#include "step.h"
#include "traffic.h"
#include "virtio.h"
#include "watch.h"

/* What ends a VM from outside, and what does not. */
static const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGCONT, SIGWINCH };

/* For how long the end waits for devices. */
#define FORCE_S 10

/* A guest's resets do not follow each other faster than this. */
#define RESTART_LEAST_NS NS_PER_S

/* What is allocated in so many bytes is a mapping of its own. */
#define LARGE (32 << 10)

/* ---- the module -------------------------------------------------------------- */

static void complain_of_module(int err)
{
	if (err == -ENOENT || err == -ENODEV || err == -ENXIO)
		complain("there is no " MOTE_DEVICE ": run `modprobe mote` (mote doctor says more)");
	else if (err == -EACCES || err == -EPERM)
		complain("you may not use " MOTE_DEVICE ": be root or in the group kvm (mote doctor "
			 "says more)");
	else if (err == -EBUSY)
		complain("another hypervisor holds the processor's extension (mote doctor says more)");
	else
		complain("cannot create a VM: %s (mote doctor says more)", strerror(-err));
}

/* A guest that was saved counts on its TSC's frequency, as far as it was told that it may. */
#define TSC_PPM 250
/* It can be scaled by so much, up and down. */
#define TSC_MOST 16

static bool is_near(__u32 khz, __u32 other)
{
	return (khz > other ? khz - other : other - khz) * 1000000ull <= (__u64)other * TSC_PPM;
}

/* 0 is the host's. */
static __u32 choose_tsc_khz(struct vm *vm, const struct mote_info *info)
{
	vm->tsc_khz = info->tsc_khz;
	if (vm->snapshot)
		STATE(&vm->snapshot->state, vm, tsc_khz);
	if (is_near(vm->tsc_khz, info->tsc_khz) || !(info->features >> MOTE_FEATURE_TSC_SCALING & 1) ||
	    vm->tsc_khz < info->tsc_khz / TSC_MOST || vm->tsc_khz / TSC_MOST > info->tsc_khz)
		return 0;
	return vm->tsc_khz;
}

static int open_machine(struct vm *vm)
{
	struct mote_vm_config config = { .flags = MOTE_VM_LAPIC };
	struct mote_info info;
	int err;

	vm->fd = keep_take_fd("module", MOTE_DEVICE);
	if (vm->fd < 0)
		vm->fd = mote_open();
	err = vm->fd < 0 ? vm->fd : mote_get_info(vm->fd, &info);
	if (!err && is_other_abi(&info))
		return -1;
	if (!err && vm->options->cpus > info.max_vcpus) {
		complain("--cpus: a VM has at most %u vCPUs", info.max_vcpus);
		return -1;
	}
	if (!err) {
		vm->vendor = info.vendor;
		config.tsc_khz = choose_tsc_khz(vm, &info);
	}
	if (!err)
		err = mote_machine_create_with(&vm->machine, vm->fd, &config);
	vm->has_other_tsc = !err && !config.tsc_khz && !is_near(vm->tsc_khz, info.tsc_khz);
	if (err)
		complain_of_module(err);
	return err ? -1 : 0;
}

/* ---- devices ----------------------------------------------------------------------- */

static int create_devices(struct vm *vm)
{
	/* Interrupt controllers first: others drive lines as they are made. */
	static int (*const create[])(struct vm *vm) = {
		pic_create, ioapic_create, pci_create, chipset_create, pit_create, rtc_create,
		acpi_pm_create, generation_create, i8042_create, reset_create, debug_exit_create,
		pvpanic_create, testdev_create, fw_cfg_create, serial_create,
		virtio_blk_create, virtio_net_create, virtio_rng_create, virtio_console_create,
		virtio_balloon_create, virtio_vsock_create, virtio_fs_create, watchdog_create, flash_create,
	};

	for (size_t i = 0; i < ARRAY_SIZE(create); i++)
		if (create[i](vm))
			return -1;
	return 0;
}

/* ---- what comes from outside ---------------------------------------------------------- */

/* Signals are blocked in all threads, before there is a second one, and read from a file descriptor. */
static void block_signals(sigset_t *set)
{
	sigemptyset(set);
	for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
		sigaddset(set, signals[i]);
	pthread_sigmask(SIG_BLOCK, set, NULL);
	signal(SIGPIPE, SIG_IGN);
	/* A disk that would become too large is an error of the write's. */
	signal(SIGXFSZ, SIG_IGN);
}

static void signalled(struct vm *vm, struct source *source, __u32 events)
{
	struct signalfd_siginfo info;

	(void)events;
	if (read(source->fd, &info, sizeof(info)) != sizeof(info))
		return;
	/* While we stood still the shell has had the terminal. */
	if (info.ssi_signo == SIGCONT)
		consoles_take_terminal(vm);
	if (info.ssi_signo == SIGCONT || info.ssi_signo == SIGWINCH)
		consoles_resize_terminal(vm);
	else
		vm_end(vm, END_SIGNAL, info.ssi_signo);
}

static void time_is_over(struct vm *vm, struct timer *timer)
{
	(void)timer;
	vm_end(vm, END_TIMEOUT, 0);
}

static void has_rested(struct vm *vm, struct timer *timer)
{
	(void)vm;
	(void)timer;
}

static void leave(struct vm *vm)
{
	consoles_leave_terminal(vm);
	control_unlink(vm);
}

/* Devices have had their time: leave them behind. */
static void end_by_force(struct vm *vm, struct timer *timer)
{
	(void)timer;
	complain("%s: its devices do not come to an end in %d seconds: they are left behind", vm->name,
		 FORCE_S);
	end_report(vm);
	consoles_flush(vm);
	leave(vm);
	_exit(vm->status);
}

/* ---- the sandbox ------------------------------------------------------------------------ */

/* There is one in a process; the sandbox's signal comes to whichever thread has caused it. */
static struct vm *confined;

/*
 * Somebody has tried something: whose the process is by now is not known, and nobody is waited
 * for.  The thread may hold any lock, that of a console among them: none is taken.
 */
static void refused(void)
{
	messages_hurry();
	leave(confined);
	end_refused(confined, sandbox_refusal());
	_exit(confined->status);
}

static void refused_other(struct vm *vm, struct source *source, __u32 events)
{
	(void)vm;
	(void)source;
	(void)events;
	refused();
}

static int set_up_sandbox(struct vm *vm)
{
	const struct options *options = vm->options;
	struct sandbox sandbox = {
		.is_off = !strcmp(options->sandbox, "off"), .restarts = options->restart, .refused = refused,
		.has_vhost = options->vsock, .has_daemons = options->nr_shares,
		.has_flash = options->variables,
	};

	for (unsigned int i = 0; i < options->nr_disks; i++)
		sandbox.has_daemons |= !!options->disks[i].format;
	for (unsigned int i = 0; i < options->nr_nics; i++) {
		sandbox.has_user_net |= !strcmp(options->nics[i].where, NET_USER);
		sandbox.has_daemons |= !strcmp(options->nics[i].where, NET_PASST);
		sandbox.has_vhost |= !strncmp(options->nics[i].where, NET_VHOST, strlen(NET_VHOST));
	}
	confined = vm;
	vm->refused.ready = refused_other;
	if (source_add_eventfd(&vm->supervisor, &vm->refused)) {
		complain("cannot wait for events: %m");
		return -1;
	}
	sandbox.told = vm->refused.fd;
	sandbox_set_up(&sandbox);
	return 0;
}

/* ---- beginning and end ------------------------------------------------------------------ */

/* That takes as long as there is memory, unless somebody outside waits for the end. */
static bool has_dumped(const struct vm *vm)
{
	return vm->hurries || __atomic_load_n(&vm->has_dumped, __ATOMIC_ACQUIRE);
}

static bool is_closed(const struct vm *vm)
{
	return __atomic_load_n(&vm->closed, __ATOMIC_ACQUIRE);
}

/* What the guest wrote last is brought out, unless somebody outside waits for the end. */
static bool is_over(const struct vm *vm)
{
	return vm->hurries || consoles_are_drained(vm);
}

static int watch(struct vm *vm, struct source *source, const sigset_t *set)
{
	source->ready = signalled;
	source->fd = signalfd(-1, set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (source->fd >= 0 && !source_add(&vm->supervisor, source, EPOLLIN))
		return 0;
	complain("cannot wait for signals: %m");
	return -1;
}

static int complain_of_snapshot(const struct vm *vm)
{
	struct snapshot *snapshot = vm->options->snapshot;

	if (!state_has_failed(&snapshot->state))
		return 0;
	complain("it cannot be restored here: %s", snapshot->state.why);
	receive_refuse(snapshot, snapshot->state.why);
	return -1;
}

/* What it saw before it was saved. */
static int restore_memory(struct vm *vm)
{
	struct state *state = &vm->snapshot->state;
	char host[HOST_NAME_MAX + 1];
	const void *firmware;
	size_t size;

	/* After a reset it begins as others do. */
	image_prepare(vm->options);
	host_identity(host, sizeof(host));
	if (memory_restore(vm, vm->snapshot->memory_fd) || working_set_begin(vm))
		return -1;
	return state_block(state, "firmware", &firmware, &size) ? firmware_restore(vm, firmware, size) :
								  complain_of_snapshot(vm);
}

static int restore_state(struct vm *vm)
{
	struct state *state = &vm->snapshot->state;

	vm_state(vm, state);
	state_end(state);
	vm->paused = vm->snapshot->is_paused;
	/* To the devices it has been paused in any case. */
	vm->resumes = !vm->paused;
	io_wake(vm);
	if (!state_has_failed(state) && vm->snapshot->connection < 0) {
		base_begin(vm, vm->snapshot->memory_fd);
		vm->snapshot->memory_fd = -1;
	}
	/* After a reset it begins with its image. */
	vm->snapshot = NULL;
	return complain_of_snapshot(vm);
}

static int create_cpuid(struct vm *vm)
{
	if (cpuid_create(vm))
		return -1;
	if (!vm->snapshot)
		return cpu_features_apply(&vm->options->features, vm->cpuid, vm->nr_cpuid);
	cpuid_state(vm, &vm->snapshot->state);
	if (vm->has_other_tsc && cpuid_has_steady_tsc(vm))
		state_fail(&vm->snapshot->state, "its TSC runs at %u kHz, which this host cannot give it "
			   "(start it with --cpu portable)", vm->tsc_khz);
	return complain_of_snapshot(vm);
}

/* What a reset makes anew. */
static int create_machine(struct vm *vm)
{
	if (open_machine(vm) || memory_create(vm) || create_cpuid(vm) || vcpus_create(vm) ||
	    (vm->snapshot ? restore_memory(vm) : load_image(vm)) || create_devices(vm))
		return -1;
	return vm->snapshot ? restore_state(vm) : 0;
}

/* The devices are gone if there was an I/O thread. */
static void destroy_machine(struct vm *vm)
{
	migration_end(vm);
	gdb_end(vm);
	step_end(vm);
	watches_destroy(vm);
	base_destroy(vm);
	devices_destroy(vm);
	vm->pic = vm->ioapic = vm->pit = vm->rtc = vm->pci = vm->acpi_pm = NULL;
	vm->balloon = NULL;
	vcpus_destroy(vm);
	if (vm->machine.fd >= 0)
		mote_machine_destroy(&vm->machine);
	if (vm->fd >= 0)
		keep_fd("module", MOTE_DEVICE, vm->fd);
	vm->fd = -1;
	memory_destroy(vm);
}

static int create(struct vm *vm)
{
	vm->directory = getcwd(NULL, 0);
	if (image_check(vm->options) || reservation_try(vm->options) || limits_begin(vm->options) ||
	    core_prepare(vm) ||
	    loop_create(&vm->supervisor, vm, NULL) || set_up_sandbox(vm) || io_create(vm) ||
	    create_machine(vm))
		return -1;
	if (control_create(vm))
		return -1;
	return vm->options->snapshot ? receive_commit(vm->options->snapshot) : 0;
}

static void destroy(struct vm *vm)
{
	destroy_machine(vm);
	keep_end();
	/* Who waits for the end may use the disks again. */
	control_destroy(vm);
	consoles_destroy(vm);
	traffic_destroy(vm);
	migration_destroy(vm);
	policies_destroy(vm);
	gdb_destroy(vm);
	step_destroy(vm);
	free(vm->watches);
	io_destroy(vm);
	if (vm->refused.fd >= 0)
		close(vm->refused.fd);
	if (vm->core_fd >= 0)
		close(vm->core_fd);
	loop_destroy(&vm->supervisor);
	free(vm->directory);
}

/* All threads are there, and in the sandbox, before a guest begins. */
static int start_threads(struct vm *vm)
{
	static bool is_confined;
	int err;

	pthread_mutex_lock(&vm->lock);
	err = vcpus_start(vm) || io_start(vm);
	if (!err && !is_confined)
		err = sandbox_enter(SANDBOX_SUPERVISOR);
	is_confined = true;
	if (err)
		vm_end(vm, END_ERROR, 0);
	pthread_mutex_unlock(&vm->lock);
	return err ? -1 : 0;
}

/* From the first instruction to the end. */
static int run_once(struct vm *vm, struct timer *force)
{
	if (start_threads(vm)) {
		vcpus_stop(vm);
		return -1;
	}
	service_say("READY=1");
	loop_run(&vm->supervisor, vm_has_ended);
	loop_run(&vm->supervisor, has_dumped);
	timer_set(force, clock_ns() + FORCE_S * NS_PER_S, 0);
	loop_run(&vm->supervisor, is_closed);
	timer_set(force, 0, 0);
	loop_run(&vm->supervisor, is_over);
	pthread_join(vm->io_thread, NULL);
	/* What it did last may have been for a client: "migrate" ends the VM. */
	control_answer(vm);
	return 0;
}

/* With --restart: a machine like the first one, unless somebody ends it meanwhile. */
static bool restarts(struct vm *vm, struct timer *rest, __u64 since)
{
	const char *why = end_restarts(vm);

	if (!why || !vm->options->restart || vm->hurries)
		return false;
	vm_revive(vm);
	/* A guest that does nothing else leaves time to the supervisor. */
	timer_set(rest, since + RESTART_LEAST_NS, 0);
	while (clock_ns() < since + RESTART_LEAST_NS && !vm_has_ended(vm))
		loop_run_once(&vm->supervisor);
	if (vm_has_ended(vm))
		return false;
	destroy_machine(vm);
	if (create_machine(vm)) {
		vm_end(vm, END_ERROR, 0);
		return false;
	}
	say_event(vm, "restart", why);
	return true;
}

/* What nobody can have written to. */
static int unmap_pages(struct dl_phdr_info *object, size_t size, void *data)
{
	const size_t *page_size = data;

	(void)size;
	for (unsigned int i = 0; i < object->dlpi_phnum; i++) {
		const Elf64_Phdr *segment = &object->dlpi_phdr[i];
		size_t at = segment->p_vaddr & ~(*page_size - 1);

		if (segment->p_type == PT_LOAD && !(segment->p_flags & PF_W))
			madvise((void *)(object->dlpi_addr + at),
				segment->p_vaddr + segment->p_memsz - at, MADV_DONTNEED);
	}
	return 0;
}

/*
 * Most of the program and its libraries has run for the last time: it stays in the host's page cache, for
 * other machines that start or until the room is wanted, and what is used again is mapped again.
 */
static void leave_start_behind(void)
{
	size_t page_size = sysconf(_SC_PAGESIZE);

	dl_iterate_phdr(unmap_pages, &page_size);
}

/* The supervisor. */
static void run(struct vm *vm, const sigset_t *set)
{
	struct timer limit = { 0 }, force = { 0 }, rest = { 0 }, life = { 0 };
	struct source source = { 0 };
	__u64 since;

	if (watch(vm, &source, set) || timer_create_fd(&vm->supervisor, &limit, time_is_over) ||
	    timer_create_fd(&vm->supervisor, &force, end_by_force) ||
	    timer_create_fd(&vm->supervisor, &rest, has_rested) || service_watch(vm, &life))
		return;
	if (vm->options->timeout)
		timer_set(&limit, clock_ns() + vm->options->timeout, 0);
	say_event(vm, "start", NULL);
	if (!vm->options->json)
		consoles_tell_terminal(vm);
	if (vm->options->gdb && vm->paused && !vm->options->json)
		complain("%s waits for a debugger (target remote | mote gdb %s)", vm->name, vm->name);
	detach_started(vm->name);
	if (messages_begin(vm))
		return;
	leave_start_behind();
	do
		since = clock_ns();
	while (!run_once(vm, &force) && restarts(vm, &rest, since));
	service_say("STOPPING=1");
	end_report(vm);
	loop_run(&vm->supervisor, is_over);
}

int vm_run(const struct options *options)
{
	struct vm vm = {
		.options = options, .fd = -1, .machine.fd = -1, .io.epoll = -1, .io.wake.fd = -1,
		.posted.fd = -1, .refused.fd = -1, .supervisor.epoll = -1, .supervisor.wake.fd = -1,
		.lock = PTHREAD_MUTEX_INITIALIZER, .life = PTHREAD_MUTEX_INITIALIZER,
		.resumed = PTHREAD_COND_INITIALIZER,
		.memory_fd = -1, .core_fd = -1, .pagemap = -1, .snapshot = options->snapshot,
		.started = clock_ns(), .status = EXIT_USAGE, .paused = options->gdb || options->steps,
	};
	sigset_t set;

	block_signals(&set);
	service_open();
	/* Of rings and queues of requests there is in memory what has been used. */
	mallopt(M_MMAP_THRESHOLD, LARGE);
	if (options->restart)
		keep_begin();
	snprintf(vm.name, sizeof(vm.name), "%s", options->name);
	if (!create(&vm)) {
		run(&vm, &set);
	} else if (options->snapshot) {
		receive_refuse(options->snapshot, "it could not be made there, which says why");
	}
	destroy(&vm);
	return vm.status;
}
