// SPDX-License-Identifier: GPL-2.0
/*
 * Every state that a guest can reach is one that mote takes back: what MOTE_GET_STATE says,
 * MOTE_SET_STATE accepts, and the hardware enters.  Guests of every mode execute system
 * instructions with random operands, and their whole state is read, set and entered again at
 * each exit.  Some thousand states; a million with MOTE_LONG.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>

#include "kselftest_harness.h"
#include "guest.h"
#include "random.h"
#include "selftest.h"

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define CR0_PE 1u
#define PAE 0x20u
#define EFER_LME 0x100u
#define EFER_LMA 0x400u
#define RFLAGS_VM 0x20000u
#define CS_L 0x2000u
#define SEG_ACCESSED 1u
#define SEG_PRESENT 0x80u
#define STATE (MOTE_STATE_ALL & ~MOTE_STATE_XSAVE)

/* ---- programs ------------------------------------------------------------------- */

static struct program {
	enum guest_mode mode;
	bool wide;		/* 64-bit code */
	size_t size;
	unsigned char bytes[1024];
} program;

static void emit(const void *bytes, size_t size)
{
	memcpy(program.bytes + program.size, bytes, size);
	program.size += size;
}

#define EMIT(...) emit((const unsigned char[]){ __VA_ARGS__ }, sizeof((const unsigned char[]){ __VA_ARGS__ }))

/* MOV r32, imm32. */
static void emit_mov(int reg, __u32 value)
{
	/* Prefix 66 makes an immediate of four bytes of it in 16-bit code. */
	if (guest_mode_bits(program.mode) == 16)
		EMIT(0x66);
	EMIT(0xb8 + reg);
	emit(&value, 4);
}

static void emit_push(__u32 value)
{
	emit_mov(0, value);
	if (guest_mode_bits(program.mode) == 16)
		EMIT(0x66);
	EMIT(0x50);
}

static __u32 edge(void)
{
	static const __u32 edges[] = {
		0, 1, 0xff, 0xffff, 0x10000, 0xfff00000, 0x7fffffff, 0x80000000, 0xffffffff,
		GUEST_CODE, GUEST_DATA, GUEST_STACK,
	};

	return edges[below(ARRAY_LEN(edges))];
}

/* The upper half of a base; QEMU's translator does not look whether one is canonical. */
static __u32 upper(void)
{
	static const __u32 canonical[] = { 0, 0x7fff, 0xffff8000, 0xffffffff };

	return host_is_tcg() ? canonical[below(4)] : edge();
}

/* One bit more or less than what there is, or something else. */
static __u32 change(__u32 value)
{
	return below(4) ? value ^ 1u << below(32) : below(2) ? value : edge();
}

static __u32 selector(void)
{
	return below(8) ? below(12) << 3 | (below(4) ? 0 : 3) : below(0x10000);
}

static __u32 flags(void)
{
	__u32 value = 2 | (below(2) ? 1u << below(22) : 0) | (below(4) ? 0 : 0x100) |
		      (below(2) ? 0x200 : 0);

	return value;
}

static bool has_efer_lme(void)
{
	return program.mode == GUEST_LONG || program.mode == GUEST_COMPAT ||
	       program.mode == GUEST_LONG3;
}

/*
 * QEMU leaves its host without paging at an exit with EFER.LME but neither paging nor CR4.PAE:
 * who has LME keeps PAE, who has not does not get it.
 */
static void emit_mov_to_cr(void)
{
	static const __u32 usual[] = { 0x80000031, 0x31, 0x11000, 0x12000, 0x13000, 0x17000, 0x220, 0x230 };
	static const unsigned char to[][4] = { { 0x0f, 0x22, 0xc0 }, { 0x0f, 0x22, 0xd8 },
					       { 0x0f, 0x22, 0xe0 }, { 0x0f, 0x22, 0xd0 } };
	unsigned int cr = below(5);
	__u32 value = change(usual[below(ARRAY_LEN(usual))]);

	if (cr == 2 && has_efer_lme())
		value |= PAE;
	emit_mov(0, value);
	if (cr == 4 && program.wide)
		EMIT(0x44, 0x0f, 0x22, 0xc0);
	else
		emit(to[cr % 4], 3);
}

static void emit_wrmsr(void)
{
	static const struct {
		__u32 index, low;
	} msrs[] = {
		{ 0xc0000080, 0x500 }, { 0xc0000080, 0xd01 }, { 0xc0000081, 0 }, { 0xc0000082, 0x8000 },
		{ 0xc0000083, 0x8000 }, { 0xc0000084, 0x300 }, { 0xc0000100, 0 }, { 0xc0000101, 0 },
		{ 0xc0000102, 0 }, { 0xc0000103, 0 }, { 0x174, 8 }, { 0x175, 0x7000 }, { 0x176, 0x8000 },
		{ 0x277, 0x00070406 }, { 0x1b, 0xfee00900 }, { 0x1a0, 1 }, { 0x10, 0 }, { 0x3b, 0 },
		{ 0x1d9, 0 }, { 0x2ff, 0 }, { 0x200, 6 }, { 0xda0, 0 }, { 0x6e0, 0 }, { 0x48, 0 },
	};
	unsigned int n = below(ARRAY_LEN(msrs));
	__u32 low = change(msrs[n].low), high = below(2) ? 0 : upper();

	if (msrs[n].index == 0xc0000080)
		low = has_efer_lme() ? low | EFER_LME : low & ~EFER_LME;
	if (msrs[n].index == 0x277)
		high = change(0x00070406);
	emit_mov(1, msrs[n].index);
	emit_mov(0, low);
	emit_mov(2, high);
	EMIT(0x0f, 0x30);
}

static void emit_xsetbv(void)
{
	static const __u32 usual[] = { 1, 3, 7, 0x1f, 0xe7, 0x207 };

	emit_mov(1, below(8) ? 0 : edge());
	emit_mov(0, change(usual[below(ARRAY_LEN(usual))]));
	emit_mov(2, below(8) ? 0 : edge());
	EMIT(0x0f, 0x01, 0xd1);
}

static void emit_segment(void)
{
	static const unsigned char loads[][3] = {
		{ 0x8e, 0xc0 }, { 0x8e, 0xd0 }, { 0x8e, 0xd8 }, { 0x8e, 0xe0 }, { 0x8e, 0xe8 },
		{ 0x0f, 0x00, 0xd0 /* LLDT */ }, { 0x0f, 0x00, 0xd8 /* LTR */ },
	};
	unsigned int n = below(ARRAY_LEN(loads));

	/* LTR of null is #GP but on QEMU. */
	emit_mov(0, n == 6 ? selector() | 0x40 : selector());
	emit(loads[n], n < 5 ? 2 : 3);
}

/* A far return, or IRET: to this very code as a rule, with another CS, SS or RFLAGS. */
static void emit_far_return(void)
{
	static const __u32 code[] = { 0x08, 0x18, 0x20, 0x33, 0x1b, 0x23 };
	bool is_iret = below(2);
	__u32 target;

	if (is_iret) {
		if (program.wide) {
			emit_push(below(4) ? 0x10 : selector());
			emit_push(GUEST_STACK);
		}
		emit_push(flags() & (host_is_trinity() ? ~0x20000u : ~0u));
	}
	emit_push(below(4) ? code[below(ARRAY_LEN(code))] : selector());
	/* Behind the next push and the return. */
	target = below(8) ? GUEST_CODE + program.size + (guest_mode_bits(program.mode) == 16 ? 10 : 8) :
			    edge();
	emit_push(target);
	if (program.wide)
		EMIT(0x48);
	else if (guest_mode_bits(program.mode) == 16)
		EMIT(0x66);
	else
		EMIT(0x90);
	EMIT(is_iret ? 0xcf : 0xcb);
}

static void emit_popf(void)
{
	emit_push(flags());
	if (guest_mode_bits(program.mode) == 16)
		EMIT(0x66);
	EMIT(0x9d);
}

static void emit_mov_to_dr(void)
{
	static const __u32 usual[] = { 0x400, 0x700, 0xffff0ff0, GUEST_CODE, 0xd0402 };
	__u32 value = change(usual[below(ARRAY_LEN(usual))]);
	unsigned int dr = below(8);

	/* QEMU would keep a breakpoint for all guests that come after this one. */
	if (host_is_tcg() && (dr | 2) == 7)
		value &= ~0xffu;
	emit_mov(0, value);
	EMIT(0x0f, 0x23, 0xc0 | dr << 3);
}

/* LGDT, LIDT of what lies in GUEST_DATA; the base is canonical, or not. */
static void emit_table(struct guest *guest)
{
	__u16 limit = below(4) ? 0xfff : edge();
	__u64 base = (below(2) ? GUEST_IDT : below(2) ? GUEST_GDT : edge()) |
		     (below(4) ? 0 : (__u64)upper() << 32);

	memcpy(guest->ram + GUEST_DATA, &limit, 2);
	memcpy(guest->ram + GUEST_DATA + 2, &base, 8);
	emit_mov(3, GUEST_DATA);
	if (guest_mode_bits(program.mode) == 16)
		EMIT(0x67);
	EMIT(0x0f, 0x01, below(2) ? 0x13 : 0x1b);
}

static void emit_plain(void)
{
	static const struct {
		unsigned char size, bytes[4];
	} insns[] = {
		{ 1, { 0xfb } },		/* STI */
		{ 1, { 0xfa } },		/* CLI */
		{ 1, { 0xf4 } },		/* HLT */
		{ 1, { 0xcc } },		/* INT3 */
		{ 1, { 0xf1 } },		/* INT1 */
		{ 2, { 0xcd, 0x80 } },
		{ 2, { 0xcd, 0x0d } },
		{ 1, { 0xce } },		/* INTO */
		{ 2, { 0x0f, 0x0b } },		/* UD2 */
		{ 2, { 0x0f, 0x06 } },		/* CLTS */
		{ 2, { 0x0f, 0x05 } },		/* SYSCALL */
		{ 2, { 0x0f, 0x34 } },		/* SYSENTER */
		{ 2, { 0x0f, 0x35 } },		/* SYSEXIT */
		{ 3, { 0x48, 0x0f, 0x07 } },	/* SYSRET */
		{ 3, { 0x0f, 0x01, 0xf8 } },	/* SWAPGS */
		{ 3, { 0x0f, 0x01, 0xf0 } },	/* LMSW */
		{ 2, { 0x0f, 0xa2 } },		/* CPUID */
		{ 2, { 0x0f, 0x32 } },		/* RDMSR */
		{ 3, { 0x0f, 0x20, 0xe0 } },	/* MOV from CR4 */
		{ 3, { 0x0f, 0x01, 0xd9 } },	/* VMMCALL */
		{ 3, { 0x0f, 0x01, 0xc1 } },	/* VMCALL */
		{ 4, { 0xf3, 0x0f, 0xae, 0xd0 } }, /* WRFSBASE */
		{ 2, { 0x0f, 0x09 } },		/* WBINVD */
		{ 2, { 0x8e, 0xd0 } },		/* MOV SS */
	};
	unsigned int n = below(ARRAY_LEN(insns));

	emit(insns[n].bytes, insns[n].size);
}

static void make_program(struct guest *guest, enum guest_mode mode)
{
	unsigned int n;

	program.mode = mode;
	program.wide = guest_mode_bits(mode) == 64;
	program.size = 0;
	for (n = 1 + below(6); n; n--) {
		switch (below(9)) {
		case 0:
			emit_mov_to_cr();
			break;
		case 1:
			emit_wrmsr();
			break;
		case 2:
			emit_xsetbv();
			break;
		case 3:
			emit_segment();
			break;
		case 4:
			emit_far_return();
			break;
		case 5:
			emit_popf();
			break;
		case 6:
			emit_mov_to_dr();
			break;
		case 7:
			emit_table(guest);
			break;
		case 8:
			emit_plain();
			break;
		}
		/* In some cases the next instruction is the one that exits: a shadow is in force. */
		if (below(4))
			EMIT(0xe6, 0x80);
	}
}

/* ---- the test ------------------------------------------------------------------- */

static void print_program(const struct guest *guest, const struct mote_state *state)
{
	printf("# %s, exit %s at %#llx, seed %#llx:", guest_mode_names[program.mode],
	       guest_exit_name(guest->run->reason), state->gprs.rip, seed);
	for (size_t i = 0; i < program.size; i++)
		printf(" %02x", program.bytes[i]);
	printf("\n# cr0 %llx cr3 %llx cr4 %llx efer %llx rflags %llx xcr0 %llx dr6 %llx dr7 %llx\n",
	       state->crs.cr0, state->crs.cr3, state->crs.cr4, state->msrs.efer, state->gprs.rflags,
	       state->crs.xcr0, state->drs.dr6, state->drs.dr7);
	for (int i = 0; i < MOTE_NR_SEGS; i++)
		printf("# seg %d: %x %llx %x %x\n", i, state->segs.seg[i].selector,
		       state->segs.seg[i].base, state->segs.seg[i].limit, state->segs.seg[i].attr);
	printf("# events: injected %d %d vector %d, nmi %d %d, shadow %d, halted %d, pending %llx\n",
	       state->events.injected.valid, state->events.injected.type,
	       state->events.injected.vector, state->events.nmi_pending, state->events.nmi_blocked,
	       state->events.shadow, state->events.halted, state->events.pending_debug);
	for (__u32 part = 1; part & MOTE_STATE_ALL; part <<= 1) {
		struct mote_state alone = *state;

		alone.mask = part;
		if (part & STATE && mote_set_state(guest->cpu.fd, &alone))
			printf("# refused alone: part %#x\n", part);
	}
	for (size_t i = 0; i < sizeof(state->msrs) / sizeof(__u64); i++)
		printf("%s%llx", i ? " " : "# MSRs: ", ((const __u64 *)&state->msrs)[i]);
	putchar('\n');
	printf("# fail: %s (%#llx)\n", mote_check_text(guest->run->fail.check),
	       guest->run->fail.hardware);
	fflush(stdout);
}

/* The host's clock ticks: guests that go round for ever are left. */
static void on_tick(int signal)
{
	(void)signal;
}

static void set_ticks(int usec)
{
	struct itimerval timer = { { 0, usec }, { 0, usec } };

	signal(SIGALRM, on_tick);
	setitimer(ITIMER_REAL, &timer, NULL);
}

/* Run to the next exit: its reason, or -EINTR when the time was over. */
static int run_once(struct guest *guest)
{
	struct mote_run *run = guest->run;

	/* A state that is set has no exit behind it: where the instruction ends is said. */
	if (run->reason == MOTE_EXIT_PIO) {
		run->rip = run->next_rip;
		run->set |= MOTE_SET_RIP | MOTE_SET_COMPLETE;
	}
	return mote_run(guest->cpu.fd) ?: (int)run->reason;
}

/* Does it lead anywhere to go on?  A fault's handler returns to it, and so does a tick. */
static bool goes_on(const struct guest *guest, int reason, int *vain)
{
	bool is_fault = reason == MOTE_EXIT_PIO && guest->run->pio.port == GUEST_FAULT;

	if (is_fault || reason == -EINTR)
		return ++*vain < 2;
	return reason == MOTE_EXIT_PIO || reason == MOTE_EXIT_HLT;
}

/*
 * QEMU's IRETD goes to virtual-8086 mode even where long mode is active, and a processor takes no
 * notice of the flag there; and its far return takes an EIP beyond CS's limit, from which code of
 * 16 or 32 bits runs on across 4 GiB; and its WRMSR takes addresses that are not canonical.  No states of
 * a processor, and rightly refused.
 */
static bool is_fault_of_tcg(const struct mote_state *state)
{
	const __u64 addresses[] = {
		state->msrs.lstar, state->msrs.cstar, state->msrs.kernel_gs_base, state->msrs.sysenter_esp,
		state->msrs.sysenter_eip,
	};
	bool is_long = state->msrs.efer & EFER_LMA;

	if (!host_is_tcg())
		return false;
	for (size_t i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++)
		if ((__s64)(addresses[i] << 16) >> 16 != (__s64)addresses[i])
			return true;
	return is_long ? state->gprs.rflags & RFLAGS_VM ||
			 (state->gprs.rip >> 32 && !(state->segs.seg[MOTE_CS].attr & CS_L)) :
			 state->gprs.rip >> 32;
}

/*
 * Bochs gives a segment register that was null in protected mode, when it is loaded in real mode, rights
 * with which its own VM entry fails (SDM 3C, "Checks on Guest Segment Registers": accessed).
 */
static bool is_fault_of_bochs(const struct mote_state *state)
{
	const char *lab = getenv("MOTE_LAB");

	if (!lab || strcmp(lab, "vmx") || state->crs.cr0 & CR0_PE)
		return false;
	for (int i = MOTE_ES; i <= MOTE_GS; i++)
		if ((state->segs.seg[i].attr & (SEG_PRESENT | SEG_ACCESSED)) == SEG_PRESENT)
			return true;
	return false;
}

static void inject_nmi(struct guest *guest)
{
	const struct mote_event nmi = { .valid = 1, .type = MOTE_EVENT_NMI, .vector = 2 };

	mote_inject(guest->cpu.fd, &nmi);
}

TEST(states_that_guests_reach)
{
	time_t end = is_long_run() ? 0 : time(NULL) + 10;
	long limit = guest_rounds(20000, 1000000), n = 0, reached = 0, taken = 0, reason;
	struct mote_state state;
	struct guest guest;

	if (host_is_trinity())
		SKIP(return, "not on this hardware: an emulator that such states end");
	seed = first_seed();
	TH_LOG("seed %#llx", seed);
	guest_create(&guest);
	set_ticks(5000);
	for (; reached < limit && (!end || n % 64 || time(NULL) < end); n++) {
		struct guest_code code = { program.bytes, 0 };
		int vain = 0;

		make_program(&guest, n % GUEST_NR_MODES);
		code.size = program.size;
		guest_start(&guest, program.mode, &code);
		for (int i = 0; i < 10; i++) {
			reason = run_once(&guest);
			if (reason >= 0 || reason == -EINTR) {
				guest_get(&guest, &state, STATE);
				if (is_fault_of_tcg(&state) || is_fault_of_bochs(&state))
					break;
				if (reason == MOTE_EXIT_FAIL_ENTRY || mote_set_state(guest.cpu.fd, &state))
					print_program(&guest, &state);
			}
			ASSERT_EQ(true, reason >= 0 || reason == -EINTR);
			ASSERT_NE(MOTE_EXIT_FAIL_ENTRY, reason);
			ASSERT_EQ(0, mote_set_state(guest.cpu.fd, &state));
			reached++;
			taken += reason == MOTE_EXIT_PIO;
			if (!goes_on(&guest, reason, &vain))
				break;
			if (!below(8))
				inject_nmi(&guest);
		}
	}
	set_ticks(0);
	TH_LOG("%ld programs, %ld states, %ld of them at ports", n, reached, taken);
	EXPECT_LT(reached / 4, taken);
	guest_destroy(&guest);
}

MOTE_TEST_MAIN
