// SPDX-License-Identifier: GPL-2.0
/* Runs that end with each exit (MOTE_WINDOW_EXIT), and what the VMCS or VMCB holds then (MOTE_GET_FIELD). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "expect.h"
#include "mode_fixture.h"
#include "x2apic.h"

#define EXITS_MOST 400

/**
 * struct seen - the exits of a guest
 * @nr: how many
 * @reasons: of each, as the module has counted it
 * @handled: it was the module's
 */
struct seen {
	int nr;
	unsigned char reasons[EXITS_MOST];
	bool handled[EXITS_MOST];
};

/* What the host does meanwhile, and memory that is touched for the first time, is nothing of the code's. */
static bool is_code(int reason)
{
	return reason != MOTE_EXIT_INTERRUPT && reason != MOTE_EXIT_NMI && reason != MOTE_EXIT_NPF &&
	       reason != MOTE_EXIT_TIMER && reason != MOTE_EXIT_NONE &&
	       reason != MOTE_EXIT_INTERRUPT_WINDOW;
}

/* One run, whose exit is the return value, %MOTE_EXIT_NONE if there was none. */
static int run_one(struct __test_metadata *_metadata, struct guest *guest, bool *handled)
{
	struct mote_run *run = guest->run;
	int which = MOTE_EXIT_NONE, nr = 0, err;
	__u64 before[MOTE_NR_EXITS];

	memcpy(before, run->exits, sizeof(before));
	if (run->reason == MOTE_EXIT_PIO)
		run->set |= MOTE_SET_COMPLETE;
	run->window = MOTE_WINDOW_EXIT;
	err = mote_run(guest->cpu.fd);
	run->window = 0;
	*handled = err || run->reason == MOTE_EXIT_NONE;
	EXPECT_TRUE(!err || err == -EINTR);
	/* The guest goes on with its debug registers, to another exit. */
	for (int i = 0; i < MOTE_NR_EXITS; i++) {
		if (i == MOTE_EXIT_DR || run->exits[i] == before[i])
			continue;
		nr += run->exits[i] - before[i];
		which = i;
	}
	EXPECT_GE(1, nr);
	EXPECT_TRUE(*handled || (int)run->reason == which);
	return which;
}

/* Run to the next exit of the code's. */
static int run_code(struct __test_metadata *_metadata, struct guest *guest, struct seen *seen)
{
	bool handled;
	int which;

	do
		which = run_one(_metadata, guest, &handled);
	while (!is_code(which));
	ASSERT_GT(EXITS_MOST, seen->nr);
	seen->handled[seen->nr] = handled;
	seen->reasons[seen->nr++] = which;
	return which;
}

/* ---- each exit ends the run ------------------------------------------------------------ */

GUEST(one_by_one, 64, "cpuid; mov $0xc0000080, %ecx; rdmsr; wbinvd\n"
      "out %al, $0x80; rdpmc");

TEST(each_exit)
{
	static const struct { int reason, port; bool handled; } wanted[] = {
		{ MOTE_EXIT_CPUID, 0, true }, { MOTE_EXIT_RDMSR, 0, true }, { MOTE_EXIT_CACHE, 0, true },
		{ MOTE_EXIT_PIO, 0x80, false }, { MOTE_EXIT_PMC, 0, true },
		{ MOTE_EXIT_PIO, GUEST_FAULT, false },
	};
	struct seen seen = { 0 };
	struct mote_state state;
	struct guest guest;

	guest_create(&guest);
	guest_start(&guest, GUEST_LONG, &guest_one_by_one);
	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
		ASSERT_EQ(wanted[i].reason, run_code(_metadata, &guest, &seen)) {
			TH_LOG("%s", mote_exit_name(seen.reasons[seen.nr - 1]));
		}
		EXPECT_EQ(wanted[i].handled, seen.handled[seen.nr - 1]);
		if (wanted[i].port)
			EXPECT_EQ(wanted[i].port, guest.run->pio.port);
		/* The fault that the module has found is on its way, and not there yet. */
		if (wanted[i].reason == MOTE_EXIT_PMC) {
			guest_get(&guest, &state, MOTE_STATE_EVENTS);
			EXPECT_EQ(1, state.events.injected.valid);
			EXPECT_EQ(13, state.events.injected.vector);
		}
	}
	guest_destroy(&guest);
}

/* ---- the guest does not see it --------------------------------------------------------------- */

#define EVERYWHERE							\
	"mov $3, %cl; 1: dec %cl; jnz 1b; int3; cpuid\n"		\
	"out %al, $0x80; mov $4, %ecx; mov $GUEST_DATA, %edi; rep stosb\n" \
	"in $0x81, %al; mov $0, %al; mul %al\n"	\
	"xor %eax, %eax; cpuid; out %al, $0x99\n"

GUEST_ALL(everywhere, EVERYWHERE);
GUEST(long_mode, 64, X2APIC_ON SELF(0x51) "sti; nop; nop; cli\n" EOI "mov $0xc0000080, %ecx; rdmsr; ud2\n"
      "mov %cr0, %rax; mov %rax, %cr0; mov %rax, %dr0; mov %dr0, %rbx; rdpmc\n"
      "wbinvd; xor %eax, %eax; cpuid; out %al, $0x99\n");

/* From its start to port 0x99; each port goes to @ports.  Returns how many. */
static int run_to_end(struct __test_metadata *_metadata, struct guest *guest, enum guest_mode mode,
		      const struct guest_code *code, struct seen *seen, unsigned char *ports)
{
	memset(guest->ram, 0, GUEST_SIZE);
	guest_start(guest, mode, code);
	for (int nr = 0; nr < EXITS_MOST;) {
		int reason = seen ? run_code(_metadata, guest, seen) : guest_run(guest);

		if (seen && seen->handled[seen->nr - 1])
			continue;
		if (reason != MOTE_EXIT_PIO)
			break;
		ports[nr++] = guest->run->pio.port;
		if (guest->run->pio.port == 0x99)
			return nr;
		/* Behind what has faulted, which are instructions of two bytes. */
		if (guest->run->pio.port == GUEST_FAULT && (guest->run->rip / 4 == GUEST_HANDLERS / 4 + 6 ||
							    guest->run->rip / 4 == GUEST_HANDLERS / 4 + 13))
			guest_resume(guest, mode, 2 + *(__u64 *)(guest->ram + guest->run->gpr[MOTE_RSP] +
						(guest->run->rip / 4 == GUEST_HANDLERS / 4 + 13 ? 8 : 0)));
	}
	return -1;
}

static void compare(struct __test_metadata *_metadata, struct guest *guest, enum guest_mode mode,
		    const struct guest_code *code)
{
	const __u32 mask = MOTE_STATE_GPRS | MOTE_STATE_SEGS | MOTE_STATE_CRS | MOTE_STATE_DRS |
			   MOTE_STATE_EVENTS;
	unsigned char ports[2][EXITS_MOST], *ram = malloc(GUEST_SIZE);
	struct mote_state state[2];
	struct seen seen = { 0 };
	int nr[2];

	ASSERT_LE(0, nr[0] = run_to_end(_metadata, guest, mode, code, NULL, ports[0])) {
		TH_LOG("free: %s at %llx", guest_exit_name(guest->run->reason), guest->run->rip);
	}
	guest_get(guest, &state[0], mask);
	memcpy(ram, guest->ram, GUEST_SIZE);
	/* What it did last is not done twice. */
	guest->run->reason = MOTE_EXIT_NONE;
	ASSERT_LE(0, nr[1] = run_to_end(_metadata, guest, mode, code, &seen, ports[1])) {
		TH_LOG("exit by exit: %s at %llx", guest_exit_name(guest->run->reason), guest->run->rip);
	}
	guest_get(guest, &state[1], mask);
	EXPECT_LT(nr[1], seen.nr);
	EXPECT_EQ(nr[0], nr[1]);
	EXPECT_EQ(0, memcmp(ports[0], ports[1], nr[0]));
	EXPECT_EQ(0, memcmp(&state[0].gprs, &state[1].gprs, sizeof(state[0].gprs)));
	EXPECT_EQ(0, memcmp(&state[0].crs, &state[1].crs, sizeof(state[0].crs)));
	EXPECT_EQ(0, memcmp(&state[0].events, &state[1].events, sizeof(state[0].events)));
	mode_expect_alike(_metadata, guest, &state[0], &state[1], ram);
	free(ram);
}

TEST_MODE(not_seen)
{
	compare(_metadata, &self->guest, variant->mode, GUEST_FOR(everywhere, variant->mode));
}

/* With interrupts of its local APIC, exceptions, and registers whose first use exits. */
TEST(not_seen_with_lapic)
{
	struct guest guest;

	guest_create_vm(&guest, MOTE_VM_LAPIC);
	guest_create_cpu(&guest, 0);
	compare(_metadata, &guest, GUEST_LONG, &guest_long_mode);
	guest_destroy(&guest);
}

/* ---- fields ----------------------------------------------------------------------------------- */

GUEST(port, 64, "mov $0x1234, %eax; push %rax; out %al, $0x80");

static __u64 field(struct guest *guest, __u32 vmx, __u32 svm)
{
	struct mote_field field = { .number = mote_cpuid_vendor() == MOTE_VENDOR_VMX ? vmx : svm };

	if (mote_get_field(guest->cpu.fd, &field)) {
		ksft_print_msg("field %#x is refused\n", field.number);
		exit(KSFT_FAIL);
	}
	return field.value;
}

TEST(fields)
{
	struct mote_state state;
	struct guest guest;

	guest_create(&guest);
	guest_start(&guest, GUEST_LONG, &guest_port);
	guest_get(&guest, &state, MOTE_STATE_TSC);
	state.tsc.offset = -0x123456789ll;
	guest_set(&guest, &state);
	ASSERT_EQ(MOTE_EXIT_PIO, guest_run(&guest));
	guest_get(&guest, &state, MOTE_STATE_CRS | MOTE_STATE_SEGS);
	EXPECT_EQ(guest.run->raw_reason, field(&guest, 0x4402, 0x70));
	EXPECT_EQ(0x80, field(&guest, 0x6400, 0x78) >> 16 & 0xffff);
	EXPECT_EQ(guest.run->rip, field(&guest, 0x681e, 0x578));
	EXPECT_EQ(guest.run->gpr[MOTE_RSP], field(&guest, 0x681c, 0x5d8));
	EXPECT_EQ(guest.run->rflags, field(&guest, 0x6820, 0x570));
	EXPECT_EQ(state.crs.cr3, field(&guest, 0x6802, 0x550));
	EXPECT_EQ(state.segs.idt.base, field(&guest, 0x6818, 0x488));
	EXPECT_EQ(state.segs.seg[MOTE_CS].selector, field(&guest, 0x0802, 0x410) & 0xffff);
	EXPECT_EQ(-0x123456789ll, (__s64)field(&guest, 0x2010, 0x50));
	guest_destroy(&guest);
}

MOTE_TEST_MAIN
