// SPDX-License-Identifier: GPL-2.0
/*
 * Record what a guest of one processor was given, and run it again from that alone: see README.md.
 *
 * Both ways are the same loop: each exit is answered, by the chips or from the log (log_value()), and what
 * the guest does not cause comes between two exits, or at a point: a moment known by registers and memory.
 */
#include <complete.h>
#include <debug.h>
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <x86intrin.h>

#include "../lib/linux.h"
#include "chips.h"
#include "digest.h"
#include "log.h"

#define MEMORY_LINUX (128ull << 20)
#define MEMORY_FLAT (1ull << 20)
#define BOOT_SECTOR 0x7c00
#define MSR_TSC 0x10
#define VECTOR_GP 13
#define RFLAGS_TF (1u << 8)
#define RFLAGS_IF (1u << 9)
#define EXCEPTIONS (1u << 1)	/* #DB */
#define DR7_FIRST 0x402u	/* DR0 is an instruction's address */
#define ALARM_US 300

/* Without an APIC there is the 8259 alone; the speed of the TSC, 1 GHz, is not to be measured. */
#define APPEND "acpi=off pci=off nokaslr mitigations=off tsc=reliable tsc_early_khz=1000000 lpj=4000000 " \
	"panic=-1 oops=panic reboot=t cryptomgr.notests initcall_blacklist=cmos_init " \
	"earlyprintk=serial,ttyS0,115200,keep"

static const char usage[] =
	"usage: replay record [-p WHERE] [-c EXITS] LOG GUEST [INITRD] < INPUT\n"
	"       replay play LOG GUEST [INITRD]\n"
	"\n"
	"Run GUEST, a bzImage with INITRD, or else a boot sector and what follows it, and write\n"
	"to LOG what it is given; or run it again from LOG, and see that it is the same.\n"
	"\n"
	"  -p WHERE  interrupts come at exits only (exit, the default), at an exit or at any point if\n"
	"            there is none for a while (both), at any point but from HLT (any)\n"
	"  -c EXITS  compare registers and memory after so many (10000)\n";

enum where { AT_EXIT, AT_BOTH, AT_ANY, NR_WHERES };

static const char *const wheres[] = { "exit", "both", "any" };

/* What mote_run() has come back with. */
enum stop { STOP_EXIT, STOP_SIGNAL, STOP_DEBUG };

static struct mote_machine machine;
static struct mote_cpu cpu;
static struct digest digest;
static struct log record;

static enum where where = AT_EXIT;
static __u64 check_every = 10000;

static __u64 exits;	/* that the guest has caused */
static __u64 trail;	/* digest of the registers at all of them */
static __u64 tsc;	/* the guest's, when it was last told */
static __u64 begin;	/* chips_now() when that was 0 */
static bool is_halted, is_over;

static unsigned long long ticks;	/* of the host's TSC, in the guest and on the way there and back */
static __u64 longest_wait;	/* of an interrupt, in ns */
static unsigned long long hits, looks;	/* breakpoints, and digests because of them */

/* ---- the machine ---------------------------------------------------------------- */

/* Not what differs by itself: random numbers, the paravirtual clock, an APIC, and what XSAVE leaves out. */
static void set_cpuid(int fd)
{
	struct mote_cpuid_entry rows[MOTE_MAX_CPUID];
	struct mote_cpuid_table table = { .nr = MOTE_MAX_CPUID, .entries = (unsigned long)rows };
	unsigned int nr = 0;

	check(mote_get_cpuid(fd, &table), "CPUID");
	for (unsigned int i = 0; i < table.nr; i++) {
		struct mote_cpuid_entry row = rows[i];

		if (row.leaf == 7 || row.leaf == 0xd || row.leaf >> 28 == 4)
			continue;
		if (row.leaf == 1) {
			/* RDRAND, F16C, AVX, XSAVE, TSC deadline, x2APIC, FMA; APIC */
			row.ecx &= ~(7u << 28 | 1u << 26 | 1u << 24 | 1u << 21 | 1u << 12);
			row.edx &= ~(1u << 9);
		}
		rows[nr++] = row;
	}
	table.nr = nr;
	check(mote_set_cpuid(cpu.fd, &table), "MOTE_SET_CPUID");
}

static void boot_sector(const char *path)
{
	struct mote_state state = { .mask = MOTE_STATE_GPRS | MOTE_STATE_SEGS };
	size_t size;
	const void *image = map_file(path, &size);

	put(&machine, BOOT_SECTOR, image, size);
	check(mote_get_state(cpu.fd, &state), "MOTE_GET_STATE");
	state.gprs = (struct mote_gprs) { .rip = BOOT_SECTOR, .rflags = 2 };
	state.segs.seg[MOTE_CS].selector = 0;
	state.segs.seg[MOTE_CS].base = 0;
	check(mote_set_state(cpu.fd, &state), "MOTE_SET_STATE");
}

static void boot(const char *guest, const char *initrd)
{
	const struct mote_filter_rule rule = {
		MSR_TSC, MSR_TSC, MOTE_FILTER_FORWARD, MOTE_FILTER_READ | MOTE_FILTER_WRITE,
	};
	const struct mote_filter filter = { MOTE_FILTER_MSR, 1, (unsigned long)&rule };
	const __u64 size = initrd ? MEMORY_LINUX : MEMORY_FLAT;
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	const struct mote_slot slot = {
		.flags = MOTE_SLOT_LOG_DIRTY, .size = size, .hva = (unsigned long)memory,
	};
	int fd = mote_open();

	check(fd, MOTE_DEVICE);
	check(mote_machine_create(&machine, fd, MOTE_VM_HLT_EXIT | MOTE_VM_RDTSC_EXIT), "MOTE_CREATE_VM");
	check(mote_set_filter(machine.fd, &filter), "MOTE_SET_FILTER");
	check(memory == MAP_FAILED ? -errno : mote_machine_set_slot(&machine, &slot), "MOTE_SET_SLOT");
	check(mote_cpu_create(&cpu, &machine, 0), "MOTE_CREATE_VCPU");
	set_cpuid(fd);
	digest_begin(&digest, &cpu);
	if (initrd)
		linux_boot(&cpu, size, guest, initrd, APPEND);
	else
		boot_sector(guest);
	begin = chips_now();
}

/* ---- exits ---------------------------------------------------------------------- */

static __u64 mmio_read(void *context, __u64 gpa, unsigned int size)
{
	return ~0ull;
}

static void mmio_write(void *context, __u64 gpa, unsigned int size, __u64 data)
{
}

static __u32 port_in(void *context, __u16 port, unsigned int size)
{
	return log_value(&record, record.playing ? 0 : chips_in(port) & (0xffffffffu >> (32 - 8 * size)));
}

static void port_out(void *context, __u16 port, unsigned int size, __u32 data)
{
	if (port == PORT_SERIAL)
		putchar(data);
	if (port == PORT_END)
		is_over = true;
	if (!record.playing)
		chips_out(port, data);
}

static void tell_tsc(void)
{
	tsc += log_value(&record, record.playing ? 0 : chips_now() - begin - tsc);
	cpu.run->gpr[MOTE_RAX] = (__u32)tsc;
	cpu.run->gpr[MOTE_RDX] = tsc >> 32;
	cpu.run->set |= 1u << MOTE_RAX | 1u << MOTE_RDX | MOTE_SET_COMPLETE;
}

/* What the guest has caused an exit by is complete, or raises what it should. */
static void answer(void)
{
	static const struct mote_bus bus = { NULL, mmio_read, mmio_write, port_in, port_out };
	static const struct mote_event refused = {
		.valid = 1, .type = MOTE_EVENT_EXCEPTION, .vector = VECTOR_GP, .has_error = 1,
	};
	struct mote_run *run = cpu.run;

	switch (run->reason) {
	case MOTE_EXIT_PIO:
		check(mote_complete_pio(&cpu, &bus), "a port's instruction");
		break;
	case MOTE_EXIT_MMIO:
		check(mote_complete_mmio(&cpu, &bus), "an instruction");
		break;
	case MOTE_EXIT_RDTSC:
		tell_tsc();
		break;
	case MOTE_EXIT_RDMSR:
		if (run->msr.index == MSR_TSC) {
			tell_tsc();
			break;
		}
		/* fall through */
	case MOTE_EXIT_WRMSR:
		check(mote_inject(cpu.fd, &refused), "MOTE_INJECT");
		break;
	case MOTE_EXIT_HLT:
		run->set |= MOTE_SET_COMPLETE;
		is_halted = true;
		is_over = !(run->rflags & RFLAGS_IF);
		break;
	case MOTE_EXIT_INTERRUPT_WINDOW:
		break;
	default:
		fprintf(stderr, "the guest ends with %s at %#llx\n", mote_exit_name(run->reason), run->rip);
		is_over = true;
	}
}

static enum stop run_guest(void)
{
	struct mote_run *run = cpu.run;
	__u64 before = __rdtsc();
	int err = mote_run(cpu.fd);

	ticks += __rdtsc() - before;
	if (err == -EINTR)
		return STOP_SIGNAL;
	check(err, "MOTE_RUN");
	if (run->reason == MOTE_EXIT_EXCEPTION || run->reason == MOTE_EXIT_DR)
		return STOP_DEBUG;
	exits++;
	trail = digest_mix(digest_mix(digest_mix(trail, run->reason), run->rip), digest_gprs(run));
	return STOP_EXIT;
}

/* Of all until here. */
static __u64 digest_now(void)
{
	return digest_mix(digest_all(&digest), trail);
}

/* Return: 0, or why the guest does not take it now. */
static int inject(__u8 vector)
{
	const struct mote_event event = { .valid = 1, .type = MOTE_EVENT_INTERRUPT, .vector = vector };
	int err = mote_inject(cpu.fd, &event);

	if (err != -EAGAIN && err != -EBUSY)
		check(err, "MOTE_INJECT");
	return err;
}

/* ---- recording ------------------------------------------------------------------- */

static void acknowledge(void)
{
	__u64 wait = chips_acknowledge(chips_now());

	if (wait > longest_wait)
		longest_wait = wait;
}

static void on_alarm(int signal)
{
	cpu.run->immediate_exit = 1;
}

static void begin_alarms(void)
{
	const struct itimerval every = { { .tv_usec = ALARM_US }, { .tv_usec = ALARM_US } };
	const struct sigaction action = { .sa_handler = on_alarm };

	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &every, NULL);
}

static void write_event(enum log_kind kind, __u64 detail)
{
	log_write(&record, &(struct log_event) { exits, kind, { detail } });
}

/* A halted guest's time passes here. */
static void await_interrupt(void)
{
	while (!chips_interrupt(chips_now())) {
		__u64 next = chips_next();
		struct timespec until = { next / 1000000000, next % 1000000000 };

		if (!next)
			die("the guest halts, and nothing wakes it");
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
	}
}

/* After an exit: the timer's interrupt, if it waits. */
static void record_interrupt(void)
{
	struct mote_run *run = cpu.run;
	__u8 vector = chips_vector();
	int err;

	if (is_halted)
		await_interrupt();
	else if ((where == AT_ANY && !run->window) || !chips_interrupt(chips_now()))
		return;
	is_halted = false;
	err = inject(vector);
	if (!err) {
		run->window = 0;
		acknowledge();
		write_event(LOG_INTERRUPT, vector);
	} else if (err == -EAGAIN && !run->window) {
		run->window = MOTE_WINDOW_INTERRUPT;
		write_event(LOG_WINDOW, 0);
	}
}

/* One that repeats is not stopped at between its rounds by a breakpoint. */
static bool is_repeated(const struct mote_state *state)
{
	const struct mote_paging paging = mote_debug_paging(state);
	unsigned char bytes[4];
	size_t nr = mote_debug_read(&machine, &paging, mote_debug_rip(state), bytes, sizeof(bytes));

	for (size_t i = 0; i < nr; i++)
		if (bytes[i] == 0xf2 || bytes[i] == 0xf3)
			return true;
	return !nr;
}

/* Where a signal has stopped the guest: its interrupt, if it can be found again that it was here. */
static void record_point(void)
{
	static __u64 exits_before;
	struct mote_state state = {
		.mask = MOTE_STATE_GPRS | MOTE_STATE_SEGS | MOTE_STATE_CRS | MOTE_STATE_MSRS |
			MOTE_STATE_EVENTS,
	};
	struct log_event event = { exits, LOG_POINT, { chips_vector() } };
	bool is_starved = exits == exits_before;

	cpu.run->immediate_exit = 0;
	exits_before = exits;
	if (where == AT_EXIT || (where == AT_BOTH && !is_starved) ||
	    cpu.run->window || cpu.run->set || !chips_interrupt(chips_now()))
		return;
	check(mote_debug_get(cpu.fd, &state), "MOTE_GET_STATE");
	if (!(state.gprs.rflags & RFLAGS_IF) || state.gprs.rflags & (RFLAGS_TF | RFLAGS_RF) ||
	    state.events.shadow || state.events.injected.valid || is_repeated(&state))
		return;
	event.detail[1] = mote_debug_rip(&state);
	event.detail[2] = digest_gprs(cpu.run);
	event.detail[3] = digest_now();
	check(inject(event.detail[0]), "MOTE_INJECT");
	acknowledge();
	log_write(&record, &event);
}

static void record_guest(void)
{
	if (where != AT_EXIT)
		begin_alarms();
	while (!is_over) {
		if (exits % check_every == 0)
			write_event(LOG_CHECK, digest_now());
		record_interrupt();
		while (run_guest() != STOP_EXIT)
			record_point();
		answer();
	}
	write_event(LOG_END, digest_now());
}

/* ---- playing ---------------------------------------------------------------------- */

static void compare(__u64 expected)
{
	if (digest_now() != expected)
		die("diverged: registers or memory differ after %llu exits", exits);
}

/* A breakpoint of ours, where the guest has its own. */
static void arm(struct mote_debugged *debugged, __u64 gva)
{
	const struct mote_drs drs = { .dr = { gva }, .dr6 = MOTE_DR6_NONE, .dr7 = DR7_FIRST };

	check(mote_debug_begin(debugged, &cpu, EXCEPTIONS), "MOTE_SET_DEBUG");
	check(mote_debug_set_drs(debugged, &drs), "MOTE_SET_STATE");
}

/* The next instruction runs in spite of a breakpoint. */
static void set_rf(bool on)
{
	cpu.run->rflags = (cpu.run->rflags & ~RFLAGS_RF) | (on ? RFLAGS_RF : 0);
	cpu.run->set |= MOTE_SET_RFLAGS;
}

/* Is the guest, which a breakpoint has stopped, where it was then? If not, it goes on over the breakpoint. */
static bool is_there(struct mote_debugged *debugged, const __u64 *detail)
{
	hits++;
	check(mote_debug_take(debugged, cpu.run->rip), "taking a breakpoint");
	if (digest_gprs(cpu.run) == detail[2]) {
		looks++;
		check(mote_debug_end(debugged), "MOTE_SET_STATE");
		if (digest_now() == detail[3])
			return true;
		arm(debugged, detail[1]);
	}
	set_rf(true);
	return false;
}

static void play_point(const __u64 *detail)
{
	struct mote_debugged debugged;

	/* Not before the last exit is complete. */
	cpu.run->immediate_exit = 1;
	run_guest();
	cpu.run->immediate_exit = 0;
	arm(&debugged, detail[1]);
	do {
		while (run_guest() != STOP_DEBUG || cpu.run->reason == MOTE_EXIT_DR) {
			if (cpu.run->reason != MOTE_EXIT_DR)
				die("diverged: %s at %#llx comes before a point at %#llx, after %llu exits",
				    mote_exit_name(cpu.run->reason), cpu.run->rip, detail[1], exits);
			check(mote_debug_mov_dr(&debugged), "a debug register");
		}
	} while (!is_there(&debugged, detail));
	/* What the interrupt pushes has none. */
	set_rf(false);
	check(inject(detail[0]), "MOTE_INJECT");
}

/* Return: the log goes on. */
static bool play_event(const struct log_event *event)
{
	switch (event->kind) {
	case LOG_INTERRUPT:
		cpu.run->window = 0;
		check(inject(event->detail[0]), "diverged: an interrupt is not taken");
		break;
	case LOG_WINDOW:
		cpu.run->window = MOTE_WINDOW_INTERRUPT;
		break;
	case LOG_POINT:
		play_point(event->detail);
		break;
	default:
		compare(event->detail[0]);
	}
	return event->kind != LOG_END;
}

static void play_guest(void)
{
	for (;;) {
		while (record.next.exits == exits) {
			if (!play_event(&record.next))
				return;
			log_read(&record);
		}
		if (is_over)
			die("diverged: the guest ends after %llu exits", exits);
		while (run_guest() != STOP_EXIT)
			;
		answer();
	}
}

/* ---- the command ------------------------------------------------------------------ */

static void tell(const char *verb)
{
	unsigned long long bytes = 0;

	for (int i = 0; i <= NR_LOG_KINDS; i++)
		bytes += record.bytes[i];
	fflush(stdout);
	fprintf(stderr, "%s: %llu exits, %llu ticks in the guest; ", verb, exits, ticks);
	fprintf(stderr, "%llu interrupts, %llu of them at points, %llu windows, %llu checks\n",
		record.nr[LOG_INTERRUPT] + record.nr[LOG_POINT], record.nr[LOG_POINT], record.nr[LOG_WINDOW],
		record.nr[LOG_CHECK] + record.nr[LOG_END]);
	fprintf(stderr, "log: %llu bytes: %llu values %llu, interrupts %llu, points %llu, windows %llu, "
		"checks %llu\n", bytes, record.nr[NR_LOG_KINDS], record.bytes[NR_LOG_KINDS],
		record.bytes[LOG_INTERRUPT], record.bytes[LOG_POINT], record.bytes[LOG_WINDOW],
		record.bytes[LOG_CHECK] + record.bytes[LOG_END]);
	fputs("all exits:", stderr);
	for (unsigned int i = 0; i < MOTE_NR_EXITS; i++)
		if (cpu.run->exits[i])
			fprintf(stderr, " %s %llu", mote_exit_name(i), cpu.run->exits[i]);
	fputc('\n', stderr);
	if (!record.playing)
		fprintf(stderr, "no interrupt has waited longer than %llu us\n", longest_wait / 1000);
	else if (record.nr[LOG_POINT])
		fprintf(stderr, "points: %llu times at their places, %llu times with their registers\n",
			hits, looks);
}

static __attribute__((noreturn)) void complain(void)
{
	fputs(usage, stderr);
	exit(2);
}

static enum where find_where(const char *word)
{
	for (int i = 0; i < NR_WHERES; i++)
		if (!strcmp(word, wheres[i]))
			return i;
	complain();
}

int main(int argc, char **argv)
{
	bool playing = argc > 1 && !strcmp(argv[1], "play");
	int option;

	if (argc < 2 || (!playing && strcmp(argv[1], "record")))
		complain();
	optind = 2;
	while ((option = getopt(argc, argv, playing ? "" : "p:c:")) >= 0) {
		if (option == 'p')
			where = find_where(optarg);
		else if (option == 'c')
			check_every = strtoull(optarg, NULL, 0);
		else
			complain();
	}
	if (argc - optind < 2 || argc - optind > 3 || !check_every)
		complain();
	boot(argv[optind + 1], argv[optind + 2]);
	log_open(&record, argv[optind], playing);
	if (playing)
		play_guest();
	else
		record_guest();
	tell(argv[1]);
	log_close(&record);
	return 0;
}
