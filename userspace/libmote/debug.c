// SPDX-License-Identifier: GPL-2.0
/*
 * libmote: a debugger's breakpoints and single steps, which the guest does not see: see debug.h.
 *
 * Not seen through: a MOV to SS or POP SS is stepped over together with the instruction behind it, as
 * the CPU holds the trap off.
 */
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "debug.h"

#define CR0_PE (1u << 0)
#define CR4_DE (1u << 3)
#define EFER_SCE (1u << 0)
#define EFER_LMA (1u << 10)
#define RFLAGS_TF (1u << 8)
#define RFLAGS_OF (1u << 11)
#define RFLAGS_VM (1u << 17)

#define ATTR_P (1u << 7)
#define ATTR_L (1u << 13)
#define ATTR_DB (1u << 14)

#define DR6_TRAPS 0xfu
#define DR6_BD (1u << 13)
#define DR7_NONE 0x400u
#define DR7_FIRST 0x402u	/* DR0 is an instruction's address */
#define DR7_GD (1u << 13)

#define VECTOR_DB 1
#define VECTOR_BP 3
#define VECTOR_OF 4
#define VECTOR_UD 6

#define GATE_TASK 5
#define SELECTOR_TI 4u
#define PAGE_SIZE 4096u
#define LONGEST 15
#define AGAIN_MOST 4

/* All that a step looks at or changes. */
#define STEP_STATE (MOTE_STATE_GPRS | MOTE_STATE_SEGS | MOTE_STATE_CRS | MOTE_STATE_DRS | \
		    MOTE_STATE_MSRS | MOTE_STATE_EVENTS)
#define STEP_CHANGES (MOTE_STATE_GPRS | MOTE_STATE_DRS | MOTE_STATE_EVENTS)

/* What a step is over, as far as that makes a difference. */
enum step {
	STEP_NONE,
	STEP_PLAIN,
	STEP_PUSHF,
	STEP_POPF,	/* or IRET: loads TF */
	STEP_MOV_DR,
	STEP_HLT,
	STEP_INT1,
	STEP_INT,	/* or INT3, INTO */
	STEP_SYSCALL,
	STEP_SYSRET,
	STEP_HANDLER,	/* an event is delivered */
};

/* ---- memory ---------------------------------------------------------------------- */

static size_t transfer(const struct mote_machine *machine, const struct mote_paging *paging, __u64 gva,
		       void *data, size_t len, bool write)
{
	size_t done = 0;

	while (done < len) {
		size_t here = PAGE_SIZE - (gva + done) % PAGE_SIZE;
		__u64 gpa;
		int err;

		if (here > len - done)
			here = len - done;
		err = mote_walk(machine, paging, gva + done, MOTE_ACCESS_PEEK, &gpa, NULL);
		if (!err)
			err = write ? mote_machine_write(machine, gpa, (char *)data + done, here) :
				      mote_machine_read(machine, gpa, (char *)data + done, here);
		if (err)
			break;
		done += here;
	}
	return done;
}

size_t mote_debug_read(const struct mote_machine *machine, const struct mote_paging *paging, __u64 gva,
		       void *data, size_t len)
{
	return transfer(machine, paging, gva, data, len, false);
}

size_t mote_debug_write(const struct mote_machine *machine, const struct mote_paging *paging, __u64 gva,
			const void *data, size_t len)
{
	return transfer(machine, paging, gva, (void *)data, len, true);
}

struct mote_paging mote_debug_paging(const struct mote_state *state)
{
	return (struct mote_paging) {
		.cr0 = state->crs.cr0, .cr3 = state->crs.cr3, .cr4 = state->crs.cr4,
		.efer = state->msrs.efer,
	};
}

unsigned int mote_debug_bits(const struct mote_state *state)
{
	__u16 attr = state->segs.seg[MOTE_CS].attr;

	if (state->msrs.efer & EFER_LMA && attr & ATTR_L)
		return 64;
	return attr & ATTR_DB ? 32 : 16;
}

__u64 mote_debug_rip(const struct mote_state *state)
{
	if (mote_debug_bits(state) == 64)
		return state->gprs.rip;
	return (__u32)(state->segs.seg[MOTE_CS].base + state->gprs.rip);
}

static bool read_all(const struct mote_debugged *debugged, const struct mote_state *state, __u64 gva,
		     void *data, size_t len)
{
	const struct mote_paging paging = mote_debug_paging(state);

	return mote_debug_read(debugged->cpu->machine, &paging, gva, data, len) == len;
}

/* ---- state ----------------------------------------------------------------------- */

int mote_debug_get(int vcpu, struct mote_state *state)
{
	int err;

	do
		err = mote_get_state(vcpu, state);
	while (err == -EINTR);
	return err;
}

static int get(const struct mote_debugged *debugged, struct mote_state *state, __u32 mask)
{
	*state = (struct mote_state) { .mask = mask };
	return mote_debug_get(debugged->cpu->fd, state);
}

/* What the vCPU is to exit for. */
static int apply(const struct mote_debugged *debugged)
{
	const struct mote_debug debug = {
		.exceptions = debugged->step ? ~MOTE_DEBUG_NEVER : debugged->exceptions,
		.flags = (debugged->is_swapped ? MOTE_DEBUG_DRS : 0) |
			 (debugged->step ? MOTE_DEBUG_HOLD | MOTE_DEBUG_UNWATCHED : 0),
	};

	return mote_set_debug(debugged->cpu->fd, &debug);
}

static int put(const struct mote_debugged *debugged, struct mote_state *state, __u32 mask)
{
	int err;

	state->mask = mask;
	err = mote_set_state(debugged->cpu->fd, state);
	return err ? err : apply(debugged);
}

/* Have these in the vCPU, or the guest's own (NULL); @state has those that are there. */
static void swap_drs(struct mote_debugged *debugged, struct mote_state *state, const struct mote_drs *drs)
{
	if (drs && !debugged->is_swapped)
		debugged->guest = state->drs;
	if (drs)
		state->drs = *drs;
	else if (debugged->is_swapped)
		state->drs = debugged->guest;
	debugged->is_swapped = drs;
}

static void own_drs(struct mote_debugged *debugged, struct mote_state *state)
{
	swap_drs(debugged, state, debugged->has_drs ? &debugged->drs : NULL);
}

int mote_debug_set_drs(struct mote_debugged *debugged, const struct mote_drs *drs)
{
	struct mote_state state;
	int err = get(debugged, &state, MOTE_STATE_DRS);

	if (err)
		return err;
	debugged->has_drs = drs;
	if (drs) {
		debugged->drs = *drs;
		debugged->drs.dr6 = MOTE_DR6_NONE;
		debugged->drs.dr7 |= DR7_NONE;
	}
	own_drs(debugged, &state);
	return put(debugged, &state, MOTE_STATE_DRS);
}

int mote_debug_begin(struct mote_debugged *debugged, struct mote_cpu *cpu, __u32 exceptions)
{
	*debugged = (struct mote_debugged) { .cpu = cpu, .exceptions = exceptions };
	return apply(debugged);
}

int mote_debug_end(struct mote_debugged *debugged)
{
	int err = mote_step_end(debugged);

	debugged->exceptions = 0;
	return err ? err : mote_debug_set_drs(debugged, NULL);
}

/* What the CPU has left in DR6: it goes from there, and to @debugged->dr6. */
static void take_dr6(struct mote_debugged *debugged, struct mote_state *state)
{
	debugged->dr6 = state->drs.dr6;
	if (debugged->is_swapped)
		state->drs.dr6 = MOTE_DR6_NONE;
}

int mote_debug_take(struct mote_debugged *debugged, __u64 rip)
{
	struct mote_state state;
	int err = get(debugged, &state, STEP_CHANGES);

	if (err)
		return err;
	take_dr6(debugged, &state);
	state.gprs.rip = rip;
	state.events.injected = (struct mote_event) { 0 };
	return put(debugged, &state, STEP_CHANGES);
}

int mote_debug_pass(struct mote_debugged *debugged)
{
	struct mote_state state;
	int err;

	if (!debugged->is_swapped)
		return 0;
	err = get(debugged, &state, MOTE_STATE_DRS);
	if (err)
		return err;
	debugged->guest.dr6 |= state.drs.dr6 & ~MOTE_DR6_NONE & ~DR6_TRAPS;
	take_dr6(debugged, &state);
	return put(debugged, &state, MOTE_STATE_DRS);
}

/* ---- the instruction --------------------------------------------------------------- */

/**
 * struct opcode - as much as there is to know of an instruction
 * @step: what it is
 * @length: in bytes
 * @vector: of %STEP_INT
 * @rex: prefix, or 0
 * @dr: of %STEP_MOV_DR, the debug register
 * @gpr: and the general one, likewise
 * @writes: the debug register is written, likewise
 */
struct opcode {
	enum step step;
	unsigned int length;
	__u8 vector;
	__u8 rex;
	__u8 dr;
	__u8 gpr;
	bool writes;
};

static bool is_prefix(__u8 byte, unsigned int bits)
{
	switch (byte) {
	case 0x26: case 0x2e: case 0x36: case 0x3e: case 0x64 ... 0x67: case 0xf0: case 0xf2: case 0xf3:
		return true;
	default:
		return bits == 64 && byte >> 4 == 4;
	}
}

/* Behind 0f. */
static void read_second(struct opcode *opcode, const __u8 *at)
{
	opcode->length += at[0] == 0x21 || at[0] == 0x23 ? 2 : 1;
	opcode->dr = at[1] >> 3 & 7;
	opcode->gpr = (at[1] & 7) | (opcode->rex & 1) << 3;
	opcode->writes = at[0] == 0x23;
	switch (at[0]) {
	case 0x05:
		opcode->step = STEP_SYSCALL;
		break;
	case 0x07:
		opcode->step = STEP_SYSRET;
		break;
	case 0x21: case 0x23:
		opcode->step = STEP_MOV_DR;
		break;
	}
}

/* Of LONGEST bytes and two more; those that are not there are 0. */
static struct opcode read_opcode(const __u8 *bytes, unsigned int bits)
{
	struct opcode opcode = { .step = STEP_PLAIN };
	unsigned int at = 0;

	while (at < LONGEST - 1 && is_prefix(bytes[at], bits)) {
		opcode.rex = bits == 64 && bytes[at] >> 4 == 4 ? bytes[at] : 0;
		at++;
	}
	opcode.length = at + 1;
	switch (bytes[at]) {
	case 0x9c:
		opcode.step = STEP_PUSHF;
		break;
	case 0x9d: case 0xcf:
		opcode.step = STEP_POPF;
		break;
	case 0xf4:
		opcode.step = STEP_HLT;
		break;
	case 0xf1:
		opcode.step = STEP_INT1;
		break;
	case 0xcc: case 0xcd: case 0xce:
		opcode.step = STEP_INT;
		opcode.vector = bytes[at] == 0xcc ? VECTOR_BP : bytes[at] == 0xce ? VECTOR_OF : bytes[at + 1];
		opcode.length += bytes[at] == 0xcd;
		break;
	case 0x0f:
		read_second(&opcode, &bytes[at + 1]);
		break;
	}
	return opcode;
}

static struct opcode fetch(const struct mote_debugged *debugged, const struct mote_state *state)
{
	const struct mote_paging paging = mote_debug_paging(state);
	__u8 bytes[LONGEST + 2] = { 0 };

	mote_debug_read(debugged->cpu->machine, &paging, mote_debug_rip(state), bytes, LONGEST);
	return read_opcode(bytes, mote_debug_bits(state));
}

/* ---- handlers ---------------------------------------------------------------------- */

/* The base of a code segment that is going to be loaded; false: there is none. */
static bool find_base(const struct mote_debugged *debugged, const struct mote_state *state,
		      __u16 selector, __u64 *base)
{
	bool local = selector & SELECTOR_TI;
	__u64 table = local ? state->segs.seg[MOTE_LDTR].base : state->segs.gdt.base, descriptor;

	if (!read_all(debugged, state, table + (selector & ~7u), &descriptor, sizeof(descriptor)))
		return false;
	*base = (descriptor >> 16 & 0xffffff) | (descriptor >> 32 & 0xff000000);
	return true;
}

/* Where a vector leads, as a linear address; false: that cannot be said (SDM 3A, "IDT Descriptors"). */
static bool find_handler(const struct mote_debugged *debugged, const struct mote_state *state,
			 __u8 vector, __u64 *handler)
{
	bool is_long = state->msrs.efer & EFER_LMA;
	__u64 gate[2] = { 0 }, base = 0;
	unsigned int size = !(state->crs.cr0 & CR0_PE) ? 4 : is_long ? 16 : 8, type;

	if (!read_all(debugged, state, state->segs.idt.base + vector * size, gate, size))
		return false;
	if (size == 4) {
		*handler = (gate[0] >> 16 << 4) + (gate[0] & 0xffff);
		return true;
	}
	type = gate[0] >> 40 & 0x1f;
	*handler = (gate[0] & 0xffff) | (type & 8 ? gate[0] >> 32 & 0xffff0000 : 0) | gate[1] << 32;
	if (type == GATE_TASK)
		return false;
	if (!is_long && !find_base(debugged, state, gate[0] >> 16, &base))
		return false;
	*handler += base;
	if (!is_long)
		*handler = (__u32)*handler;
	return true;
}

/* Where a system call, or the return from one, leads. */
static __u64 find_system(const struct mote_state *state, const struct opcode *opcode)
{
	bool is_64bit = mote_debug_bits(state) == 64;
	const struct mote_msrs *msrs = &state->msrs;

	if (opcode->step == STEP_SYSRET)
		return opcode->rex & 8 ? state->gprs.gpr[MOTE_RCX] : (__u32)state->gprs.gpr[MOTE_RCX];
	if (!(msrs->efer & EFER_LMA))
		return (__u32)msrs->star;
	return is_64bit ? msrs->lstar : msrs->cstar;
}

/* ---- steps ------------------------------------------------------------------------- */

static const struct mote_drs no_drs = { .dr6 = MOTE_DR6_NONE, .dr7 = DR7_NONE };

/* The trap is to come behind one instruction. */
static int step_by_flag(struct mote_debugged *debugged, struct mote_state *state)
{
	state->gprs.rflags |= RFLAGS_TF;
	/* Where it could be only if the last one's trap waits (XSA-308). */
	if (state->events.shadow)
		state->events.pending_debug |= MOTE_DR6_BS;
	own_drs(debugged, state);
	/* What it reads and writes is here: mote_debug_mov_dr(). */
	if (debugged->step == STEP_MOV_DR && !debugged->is_swapped)
		swap_drs(debugged, state, &no_drs);
	return put(debugged, state, STEP_CHANGES);
}

/* The guest is to come to a linear address. */
static int step_to(struct mote_debugged *debugged, struct mote_state *state, __u64 target)
{
	const struct mote_drs drs = {
		.dr = { target }, .dr6 = MOTE_DR6_NONE, .dr7 = DR7_FIRST,
	};

	debugged->target = target;
	swap_drs(debugged, state, &drs);
	return put(debugged, state, STEP_CHANGES);
}

/* What waits for delivery is delivered. */
static int step_into_handler(struct mote_debugged *debugged, struct mote_state *state, __u8 vector)
{
	__u64 handler;

	debugged->step = STEP_HANDLER;
	if (find_handler(debugged, state, vector, &handler))
		return step_to(debugged, state, handler);
	/* A task, or the guest is at its end. */
	debugged->step = STEP_PLAIN;
	return step_by_flag(debugged, state);
}

/* HLT is over at once, as if something had woken it, and may be entered again as one that halts. */
static int step_over_hlt(struct mote_debugged *debugged, struct mote_state *state, unsigned int length)
{
	int err;

	state->gprs.rip += length;
	state->events.shadow = 0;
	state->events.halted = MOTE_HALTED;
	debugged->step = STEP_NONE;
	err = put(debugged, state, MOTE_STATE_GPRS | MOTE_STATE_EVENTS);
	return err ? err : MOTE_STEPPED;
}

static unsigned int cpl_of(const struct mote_state *state)
{
	return state->segs.seg[MOTE_SS].attr >> 5 & 3;
}

/* Does it do what its name says, and not fault for a reason that is easily seen? */
static bool is_allowed(const struct mote_state *state, const struct opcode *opcode)
{
	switch (opcode->step) {
	case STEP_INT:
		return opcode->vector != VECTOR_OF || opcode->length == 2 || state->gprs.rflags & RFLAGS_OF;
	case STEP_SYSCALL:
		return state->msrs.efer & EFER_SCE;
	case STEP_SYSRET:
		return state->msrs.efer & EFER_SCE && !cpl_of(state);
	case STEP_HLT:
		return !(state->crs.cr0 & CR0_PE) || !cpl_of(state);
	default:
		return true;
	}
}

int mote_step_begin(struct mote_debugged *debugged)
{
	struct mote_state state;
	int err = get(debugged, &state, STEP_STATE);
	struct opcode opcode;

	if (err)
		return err;
	opcode = fetch(debugged, &state);
	debugged->begun = state.gprs;
	debugged->nr_again = 0;
	debugged->dr6 = state.drs.dr6;
	/* Whoever steps one that sleeps has woken it. */
	if (state.events.halted == MOTE_HALTED)
		state.events.halted = 0;
	if (state.events.injected.valid)
		return step_into_handler(debugged, &state, state.events.injected.vector);
	debugged->step = is_allowed(&state, &opcode) ? opcode.step : STEP_PLAIN;
	switch (debugged->step) {
	case STEP_HLT:
		return step_over_hlt(debugged, &state, opcode.length);
	case STEP_INT:
		return step_into_handler(debugged, &state, opcode.vector);
	case STEP_SYSCALL: case STEP_SYSRET:
		return step_to(debugged, &state, find_system(&state, &opcode));
	default:
		return step_by_flag(debugged, &state);
	}
}

/* What PUSHF has pushed is to be the guest's own. */
static void mend_stack(const struct mote_debugged *debugged, const struct mote_state *state)
{
	const struct mote_paging paging = mote_debug_paging(state);
	const struct mote_segment *ss = &state->segs.seg[MOTE_SS];
	__u64 sp = state->gprs.gpr[MOTE_RSP];
	__u8 high;

	if (mote_debug_bits(state) != 64)
		sp = (__u32)(ss->base + (ss->attr & ATTR_DB ? (__u32)sp : (__u16)sp));
	if (!mote_debug_read(debugged->cpu->machine, &paging, sp + 1, &high, 1))
		return;
	high &= ~(RFLAGS_TF >> 8);
	mote_debug_write(debugged->cpu->machine, &paging, sp + 1, &high, 1);
}

/* The vCPU as the guest would have it; @is_through: the instruction has come to its end. */
static int finish(struct mote_debugged *debugged, struct mote_state *state, bool is_through)
{
	bool by_flag = debugged->step < STEP_SYSCALL, own = by_flag && debugged->begun.rflags & RFLAGS_TF;
	__u64 dr6 = state->drs.dr6;

	if (is_through && debugged->step == STEP_PUSHF && !own)
		mend_stack(debugged, state);
	if (by_flag && !(is_through && debugged->step == STEP_POPF))
		state->gprs.rflags = (state->gprs.rflags & ~(__u64)RFLAGS_TF) | (own ? RFLAGS_TF : 0);
	/* Who steps himself has his own trap. */
	if (!own)
		state->events.pending_debug &= ~(__u64)MOTE_DR6_BS;
	if (is_through && !own)
		state->events.injected = (struct mote_event) { 0 };
	if (is_through && !debugged->is_swapped && !own)
		state->drs.dr6 = debugged->dr6;
	if (is_through && debugged->is_swapped && own)
		debugged->guest.dr6 |= dr6 & MOTE_DR6_BS;
	/* A breakpoint of the step's own is none of the debugger's. */
	debugged->dr6 = by_flag ? dr6 : MOTE_DR6_BS;
	debugged->step = STEP_NONE;
	own_drs(debugged, state);
	return put(debugged, state, STEP_CHANGES);
}

/*
 * QUIRK(bochs 2.7): with TF set a nested fault is followed by a trap, although the instruction has done
 * nothing.  One that leads to itself is done some times more.
 */
static bool has_done_nothing(struct mote_debugged *debugged, const struct mote_state *state)
{
	return debugged->step < STEP_HANDLER && !memcmp(&debugged->begun.gpr, &state->gprs.gpr,
							sizeof(state->gprs.gpr)) &&
	       debugged->begun.rip == state->gprs.rip && debugged->nr_again++ < AGAIN_MOST;
}

/* The guest's own exception: its handler is what comes next. */
static int follow(struct mote_debugged *debugged, struct mote_state *state, __u8 vector)
{
	if (!(debugged->begun.rflags & RFLAGS_TF))
		state->gprs.rflags &= ~(__u64)RFLAGS_TF;
	return step_into_handler(debugged, state, vector);
}

int mote_step_exit(struct mote_debugged *debugged)
{
	__u8 vector = debugged->cpu->run->exception.vector;
	struct mote_state state;
	int err = get(debugged, &state, STEP_STATE);

	if (err)
		return err;
	if (vector == VECTOR_DB && debugged->step != STEP_INT1 &&
	    (debugged->step != STEP_HANDLER || mote_debug_rip(&state) == debugged->target)) {
		if (has_done_nothing(debugged, &state)) {
			state.events.injected = (struct mote_event) { 0 };
			return step_by_flag(debugged, &state);
		}
		err = finish(debugged, &state, true);
		return err ? err : MOTE_STEPPED;
	}
	return follow(debugged, &state, vector);
}

int mote_step_end(struct mote_debugged *debugged)
{
	struct mote_state state;
	int err;

	if (!debugged->step)
		return 0;
	err = get(debugged, &state, STEP_STATE);
	return err ? err : finish(debugged, &state, false);
}

/* ---- the guest's own debug registers -------------------------------------------------- */

static int raise(struct mote_debugged *debugged, struct mote_state *state, __u8 vector)
{
	state->events.injected = (struct mote_event) {
		.valid = 1, .type = MOTE_EVENT_EXCEPTION, .vector = vector,
	};
	return debugged->step ? follow(debugged, state, vector) : put(debugged, state, STEP_CHANGES);
}

/* The one that an instruction means, or NULL: there is none (SDM 3B, "Debug Registers DR4 and DR5"). */
static __u64 *find_dr(struct mote_debugged *debugged, const struct mote_state *state,
		      const struct opcode *opcode)
{
	if (opcode->rex & 4 || (opcode->dr / 2 == 2 && state->crs.cr4 & CR4_DE))
		return NULL;
	if (opcode->dr < 4)
		return &debugged->guest.dr[opcode->dr];
	return opcode->dr & 1 ? &debugged->guest.dr7 : &debugged->guest.dr6;
}

/* What DR6 is when a value has been written to it. */
static __u64 written_dr6(__u64 value)
{
	return (value & 0xe00f) | MOTE_DR6_NONE;
}

int mote_debug_mov_dr(struct mote_debugged *debugged)
{
	struct mote_run *run = debugged->cpu->run;
	struct mote_state state;
	int err = get(debugged, &state, STEP_STATE);
	struct opcode opcode;
	__u64 *dr, mask;

	if (err)
		return err;
	opcode = fetch(debugged, &state);
	if (opcode.step != STEP_MOV_DR)
		return 0; /* it has been changed since: again */
	dr = find_dr(debugged, &state, &opcode);
	if (!dr)
		return raise(debugged, &state, VECTOR_UD);
	if (debugged->guest.dr7 & DR7_GD) {
		debugged->guest.dr7 &= ~(__u64)DR7_GD;
		debugged->guest.dr6 |= DR6_BD;
		return raise(debugged, &state, VECTOR_DB);
	}
	mask = mote_debug_bits(&state) == 64 ? ~0ull : 0xffffffff;
	if (opcode.writes) {
		*dr = run->gpr[opcode.gpr] & mask;
		debugged->guest.dr6 = written_dr6(debugged->guest.dr6);
		debugged->guest.dr7 = (debugged->guest.dr7 & 0xffff2bff) | DR7_NONE;
	} else {
		run->gpr[opcode.gpr] = *dr & mask;
		run->set |= 1u << opcode.gpr;
	}
	run->rip += opcode.length;
	run->set |= MOTE_SET_RIP | MOTE_SET_COMPLETE;
	return 0;
}
