// SPDX-License-Identifier: GPL-2.0
/*
 * The host's own timer goes on, whatever a guest does with its CPUs.  If it does not, the
 * whole host stands still, this program with it: it is lab/host that notices (--alive).
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "guest.h"
#include "selftest.h"
#include "x2apic.h"

#define RFLAGS_IF 0x200
#define SPIN 0xfeeb /* jmp . */
#define VECTOR 0x40

GUEST(spin, 64, "1: jmp 1b");

/*
 * An entry takes an interrupt into the guest, or waits for its window, at the very moment at
 * which a timer of the host's expires; after that there are no exits but those of the host.
 * Hosts on which such an interrupt could get lost stood still after some ten thousand.
 */
static void race(struct guest *guest, long rounds, bool window)
{
	struct mote_state state;

	guest_start(guest, GUEST_LONG, &guest_spin);
	*(__u16 *)(guest->ram + GUEST_HANDLERS + 4 * VECTOR) = SPIN;
	guest_get(guest, &state, MOTE_STATE_GPRS | MOTE_STATE_EVENTS);
	state.gprs.rflags |= window ? 0 : RFLAGS_IF;
	if (!window)
		state.events.injected = (struct mote_event){
			.valid = 1, .type = MOTE_EVENT_INTERRUPT, .vector = VECTOR,
		};
	guest->run->window = window ? MOTE_WINDOW_INTERRUPT : 0;
	for (long i = 0; i < rounds; i++) {
		guest_set(guest, &state);
		guest_interrupt_in(guest, 1 + i % 97);
		if (guest_run(guest) != -EINTR)
			abort();
	}
}

FIXTURE(host_timer) {};
FIXTURE_SETUP(host_timer) {}
FIXTURE_TEARDOWN(host_timer) {}

TEST_F(host_timer, entered_as_it_expires)
{
	/* The race is one of QEMU's threads. */
	long rounds = host_is_tcg() ? guest_rounds(30000, 1000000) : guest_rounds(300, 10000);
	struct guest guest;

	guest_create(&guest);
	race(&guest, rounds, false);
	race(&guest, rounds, true);
	guest_destroy(&guest);
}

/* Where a CPU sits without an exit, or between exits that repeat for ever, once it has said so. */
#define THERE "out %al, $0x80\n"

GUEST(closed, 64, X2APIC_ON THERE "1: jmp 1b");
GUEST(open, 64, X2APIC_ON "sti\n" THERE "1: jmp 1b");
GUEST(reopening, 64, X2APIC_ON THERE "1: cli; sti; jmp 1b");
GUEST(shadow, 64, X2APIC_ON "mov %ss, %ebx\n" THERE "1: mov %ebx, %ss; jmp 1b");
GUEST(flags, 64, X2APIC_ON THERE "1: pushf; orl $0x200, (%rsp); popf; pushf; andl $~0x200, (%rsp); popf\n"
      "jmp 1b");
GUEST(stepping, 64, X2APIC_ON THERE "pushf; orl $0x300, (%rsp); popf; 1: jmp 1b");
GUEST(undefined, 64, X2APIC_ON THERE "1: ud2; jmp 1b");
GUEST(software, 64, X2APIC_ON THERE "1: int $0x80; jmp 1b");
GUEST(halted, 64, X2APIC_ON "cli\n" THERE "1: hlt; jmp 1b");
GUEST(halted_open, 64, X2APIC_ON "sti\n" THERE "1: hlt; jmp 1b");
GUEST(pausing, 64, X2APIC_ON THERE "1: pause; jmp 1b");
GUEST(masked, 64, X2APIC_ON "mov $15, %eax; mov %rax, %cr8; sti\n" THERE "1: jmp 1b");
GUEST(lowering, 64, X2APIC_ON "sti\n" THERE
      "1: mov $15, %eax; mov %rax, %cr8; xor %eax, %eax; mov %rax, %cr8; jmp 1b");
GUEST(long_string, 64, X2APIC_ON "sti\n" THERE "1: mov $0x20000, %edi; mov $0x1000, %ecx; rep stosq; jmp 1b");
GUEST(self_ipi, 64, X2APIC_ON "sti\n" THERE "1: mov $0x83f, %ecx; mov $0x60, %eax; xor %edx, %edx; wrmsr\n"
      "jmp 1b");
GUEST(no_stack, 64, X2APIC_ON "sti\n" THERE "mov $0x80000000, %esp; 1: jmp 1b");
GUEST(no_table, 64, X2APIC_ON "push $0; push $0; sti\n" THERE "lidt (%rsp); 1: jmp 1b");
GUEST(gone_wild, 64, X2APIC_ON THERE "xor %eax, %eax; mov %rax, %cr3; 1: jmp 1b");

/* The last three may end in a triple fault, at which Bochs panics. */
#define NR_WILD 3

static const struct {
	const struct guest_code *code;
	const char *name;
} sitting[] = {
	{ &guest_closed, "closed" }, { &guest_open, "open" }, { &guest_reopening, "reopening" },
	{ &guest_shadow, "shadow" }, { &guest_flags, "flags" }, { &guest_stepping, "stepping" },
	{ &guest_undefined, "undefined" }, { &guest_software, "software" }, { &guest_halted, "halted" },
	{ &guest_halted_open, "halted, open" }, { &guest_pausing, "pausing" }, { &guest_masked, "masked" },
	{ &guest_lowering, "lowering" }, { &guest_long_string, "long string" },
	{ &guest_self_ipi, "self-IPI" }, { &guest_no_stack, "no stack" }, { &guest_no_table, "no table" },
	{ &guest_gone_wild, "gone wild" },
};

/* What the guest's handlers do. */
static const struct {
	unsigned char code[4];
	const char *name;
} handlers[] = {
	{ { 0x48, 0xcf }, "returning" }, { { 0xeb, 0xfe }, "hanging" }, { { 0xf4, 0xeb, 0xfd }, "halting" },
	{ { 0xfb, 0xeb, 0xfe }, "open" },
};

/* What happens to it then. */
enum act { ACT_NOTHING, ACT_INTERRUPT, ACT_NMI, ACT_INIT, ACT_STARTUP, ACT_KICK, ACT_RESET, NR_ACTS };

static const char *const act_names[NR_ACTS] = {
	"nothing", "interrupt", "NMI", "INIT", "start-up", "kick", "reset",
};

#define VICTIM 1 /* not 0, which INIT would start anew */
#define DELIVER(mode) ((mode) << 8)
#define STARTED 0x9000 /* an endless loop, in 16-bit code, too */

static volatile bool over;

/* The vCPU's thread: whatever ends a run, it goes on, but for what cannot go on. */
static void *sit(void *data)
{
	struct guest *guest = data;

	while (!over) {
		int reason;

		if (guest->run->reason == MOTE_EXIT_PIO)
			guest->run->set |= MOTE_SET_COMPLETE;
		reason = mote_run(guest->cpu.fd) ? -1 : (int)guest->run->reason;
		if (reason == MOTE_EXIT_SHUTDOWN || reason == MOTE_EXIT_FAIL_ENTRY ||
		    reason == MOTE_EXIT_MMIO || reason == MOTE_EXIT_MEMORY)
			break;
	}
	return NULL;
}

static void act(struct guest *guest, pthread_t thread, enum act act)
{
	struct mote_msi msi = { .address = 0xfee00000 | VICTIM << 12 };
	struct mote_state state;

	switch (act) {
	case ACT_INTERRUPT:
		msi.data = 0x50;
		break;
	case ACT_NMI:
		msi.data = DELIVER(4);
		break;
	case ACT_INIT:
		msi.data = DELIVER(5);
		break;
	case ACT_STARTUP:
		msi.data = DELIVER(6) | STARTED >> 12;
		break;
	case ACT_KICK:
		pthread_kill(thread, SIGUSR1);
		return;
	case ACT_RESET:
		/* A run has to end before its vCPU's state can be looked at. */
		guest->run->immediate_exit = 1;
		pthread_kill(thread, SIGUSR1);
		guest_get(guest, &state, MOTE_STATE_GPRS | MOTE_STATE_EVENTS);
		state.gprs.rip = GUEST_CODE;
		state.gprs.rflags = 2;
		guest_set(guest, &state);
		guest->run->immediate_exit = 0;
		return;
	default:
		return;
	}
	mote_msi(guest->machine.fd, &msi);
}

static void nothing(int sig)
{
}

/* One way to sit, one kind of handlers, up to three acts, soon after one another or not. */
static void sit_and_act(unsigned int *seed)
{
	unsigned int where = rand_r(seed) % (ARRAY_SIZE(sitting) - (host_is_trinity() ? NR_WILD : 0));
	unsigned int handler = rand_r(seed) % ARRAY_SIZE(handlers);
	int nr = rand_r(seed) % 4;
	struct guest guest;
	pthread_t thread;

	printf("# %s, handlers %s:", sitting[where].name, handlers[handler].name);
	guest_create_vm(&guest, MOTE_VM_LAPIC);
	guest_create_cpu(&guest, VICTIM);
	guest_start(&guest, GUEST_LONG, sitting[where].code);
	*(__u16 *)(guest.ram + STARTED) = SPIN;
	for (int vector = 0; vector < 256; vector++)
		memcpy(guest.ram + GUEST_HANDLERS + 4 * vector, handlers[handler].code, 4);
	if (guest_run(&guest) != MOTE_EXIT_PIO)
		abort();
	over = false;
	pthread_create(&thread, NULL, sit, &guest);
	for (int i = 0; i < nr; i++) {
		int what = rand_r(seed) % NR_ACTS;

		printf(" %s", act_names[what]);
		fflush(stdout);
		usleep(rand_r(seed) % 2000);
		act(&guest, thread, what);
	}
	usleep(rand_r(seed) % 2000);
	over = true;
	guest.run->immediate_exit = 1;
	pthread_kill(thread, SIGUSR1);
	pthread_join(thread, NULL);
	puts("");
	guest_destroy(&guest);
}

TEST_F(host_timer, beside_cpus_that_sit)
{
	struct sigaction action = { .sa_handler = nothing };
	unsigned int seed = is_long_run() ? time(NULL) : 1;
	long rounds = guest_rounds(150, 20000);

	printf("# seed %u\n", seed);
	sigaction(SIGUSR1, &action, NULL);
	for (long i = 0; i < rounds; i++)
		sit_and_act(&seed);
}

MOTE_TEST_MAIN
