// SPDX-License-Identifier: GPL-2.0
/*
 * Local APICs among vCPUs: messages, the timer, and what a run looks at.
 *
 * The registers are the vCPU's own, under vcpu->lock.  Whoever sends to it
 * leaves a bit in @posted and a request; before the next entry the vCPU takes
 * what was posted into its IRR, so that the arithmetic (apic.c) knows one
 * thread only.  The timer's callback does no more than that, either.
 *
 * Not here: registers and priorities (apic.c).
 */
#include <linux/hrtimer.h>
#include <linux/math64.h>
#include <linux/slab.h>
#include <asm/apicdef.h>
#include <asm/msr.h>
#include <asm/tsc.h>

#include "../pv/pv.h"
#include "../vendor.h"
#include "lapic.h"

/* &mote_lapic.signals: bits 0 to 7 are the vector of a start-up IPI. */
#define SIGNAL_STARTUP BIT(8)
#define SIGNAL_INIT BIT(9)
#define SIGNAL_TIMER BIT(10)
#define SIGNAL_KICK BIT(11)

/**
 * struct mote_lapic - a vCPU's local APIC
 * @apic: registers
 * @timer: of the APIC
 * @expires: of the timer, ns of CLOCK_MONOTONIC; 0: not armed
 * @posted: vectors that were sent and are not in IRR yet
 * @level: which of them are level-triggered
 * @signals: SIGNAL_*
 * @vcpu: whose it is
 */
struct mote_lapic {
	struct mote_apic apic;
	struct hrtimer timer;
	u64 expires;
	DECLARE_BITMAP(posted, 256);
	DECLARE_BITMAP(level, 256);
	atomic_t signals;
	struct mote_vcpu *vcpu;
};

static bool is_x2(const struct mote_vcpu *vcpu)
{
	return READ_ONCE(vcpu->msrs.apic_base) & X2APIC_ENABLE;
}

static bool is_on(const struct mote_vcpu *vcpu)
{
	return READ_ONCE(vcpu->msrs.apic_base) & MSR_IA32_APICBASE_ENABLE;
}

/* CR8 is its upper half; MOV to CR8 clears the lower. */
static u32 tpr(const struct mote_vcpu *vcpu)
{
	u32 reg = vcpu->lapic->apic.reg[MOTE_APIC_TPR];

	return reg >> 4 == vcpu->cr8 ? reg : vcpu->cr8 << 4;
}

/* If there is something to do before the next entry, see to it that it is done. */
static void look(struct mote_vcpu *vcpu)
{
	bool held;

	if (mote_apic_pending(&vcpu->lapic->apic, tpr(vcpu), &held) >= 0 || held)
		atomic_or(MOTE_REQ_EVENT, &vcpu->requests);
}

/* ---- timer ----------------------------------------------------------------- */

static enum hrtimer_restart timer_expired(struct hrtimer *timer)
{
	struct mote_lapic *lapic = container_of(timer, struct mote_lapic, timer);

	atomic_or(SIGNAL_TIMER, &lapic->signals);
	mote_vcpu_request(lapic->vcpu, MOTE_REQ_EVENT);
	return HRTIMER_NORESTART;
}

/* A day is the longest that is asked for at once: what is left then comes next. */
static u64 deadline_ns(const struct mote_vcpu *vcpu, u64 deadline)
{
	u64 now = mote_guest_tsc(vcpu, rdtsc());
	u32 khz = vcpu->vm->tsc_khz;

	if (deadline <= now)
		return 0;
	return mul_u64_u32_div(min_t(u64, deadline - now, khz * 86400000ull), 1000000, khz);
}

static void start_timer(struct mote_lapic *lapic, u64 expires)
{
	lapic->expires = expires;
	hrtimer_start(&lapic->timer, ns_to_ktime(expires), HRTIMER_MODE_ABS);
}

static void stop_timer(struct mote_lapic *lapic)
{
	hrtimer_cancel(&lapic->timer);
	atomic_andnot(SIGNAL_TIMER, &lapic->signals);
	lapic->expires = 0;
}

static void arm(struct mote_vcpu *vcpu)
{
	struct mote_lapic *lapic = vcpu->lapic;
	struct mote_apic *apic = &lapic->apic;
	bool is_deadline = mote_apic_timer_mode(apic) == MOTE_APIC_DEADLINE;
	u64 left;

	stop_timer(lapic);
	if (is_deadline ? !apic->deadline : !apic->reg[MOTE_APIC_TMICT])
		return;
	left = is_deadline ? deadline_ns(vcpu, apic->deadline) :
			     apic->reg[MOTE_APIC_TMICT] * mote_apic_tick_ns(apic);
	if (left) {
		start_timer(lapic, ktime_get_ns() + left);
	} else {
		mote_apic_timer_fires(apic);
		look(vcpu);
	}
}

/* A period may not be so short that the guest does nothing but take interrupts. */
#define LEAST_PERIOD_NS 20000
/* What one that cannot keep up has to itself before the next. */
#define RESPITE_NS 2000000

static void timer_fires(struct mote_vcpu *vcpu)
{
	struct mote_lapic *lapic = vcpu->lapic;
	struct mote_apic *apic = &lapic->apic;
	u64 now, period;

	if (!lapic->expires)
		return;
	if (mote_apic_timer_mode(apic) == MOTE_APIC_DEADLINE &&
	    apic->deadline > mote_guest_tsc(vcpu, rdtsc())) {
		arm(vcpu);
		return;
	}
	mote_apic_timer_fires(apic);
	if (mote_apic_timer_mode(apic) != MOTE_APIC_PERIODIC) {
		lapic->expires = 0;
		return;
	}
	/* From when it was due; but what was missed is not made up for. */
	now = ktime_get_ns();
	period = max_t(u64, apic->reg[MOTE_APIC_TMICT] * mote_apic_tick_ns(apic), LEAST_PERIOD_NS);
	if (lapic->expires + period > now)
		start_timer(lapic, lapic->expires + period);
	else
		start_timer(lapic, now + max_t(u64, period, RESPITE_NS));
}

static u32 current_count(const struct mote_lapic *lapic)
{
	u64 now = ktime_get_ns();

	if (!lapic->expires || lapic->expires <= now ||
	    mote_apic_timer_mode(&lapic->apic) == MOTE_APIC_DEADLINE)
		return 0;
	return div64_u64(lapic->expires - now, mote_apic_tick_ns(&lapic->apic));
}

/* ---- sending --------------------------------------------------------------- */

static void post(struct mote_vcpu *vcpu, u8 vector, bool level)
{
	struct mote_lapic *lapic = vcpu->lapic;

	if (level)
		set_bit(vector, lapic->level);
	else
		clear_bit(vector, lapic->level);
	/* Who has set the bit first asks for the look at it. */
	if (!test_and_set_bit(vector, lapic->posted))
		mote_vcpu_request(vcpu, MOTE_REQ_EVENT);
}

static void signal(struct mote_vcpu *vcpu, u32 signals)
{
	atomic_or(signals, &vcpu->lapic->signals);
	mote_vcpu_request(vcpu, MOTE_REQ_EVENT);
}

static void deliver(struct mote_vcpu *vcpu, u32 icr)
{
	u8 vector = icr;

	switch (icr & MOTE_ICR_MODE) {
	case MOTE_ICR_FIXED:
	case MOTE_ICR_LOWEST:
		post(vcpu, vector, icr & MOTE_ICR_LEVEL);
		break;
	case MOTE_ICR_NMI:
		mote_vcpu_nmi(vcpu);
		break;
	case MOTE_ICR_INIT:
		/* A de-assertion means nothing since the Pentium 4. */
		if (!(icr & MOTE_ICR_LEVEL) || icr & MOTE_ICR_ASSERT)
			signal(vcpu, SIGNAL_INIT);
		break;
	case MOTE_ICR_STARTUP:
		atomic_andnot(0xff, &vcpu->lapic->signals);
		signal(vcpu, SIGNAL_STARTUP | vector);
		break;
	}
}

void mote_lapic_send(struct mote_vcpu *vcpu, u32 icr)
{
	if (is_on(vcpu))
		deliver(vcpu, icr);
}

void mote_lapic_kick(struct mote_vcpu *vcpu)
{
	signal(vcpu, SIGNAL_KICK);
}

static bool is_addressed(const struct mote_vcpu *vcpu, const struct mote_vcpu *from, u32 icr,
			 u32 dest)
{
	switch (icr & MOTE_ICR_SHORTHAND) {
	case MOTE_ICR_SELF:
		return vcpu == from;
	case MOTE_ICR_ALL:
		return true;
	case MOTE_ICR_OTHERS:
		return vcpu != from;
	}
	return is_on(vcpu) && mote_apic_matches(&vcpu->lapic->apic, vcpu->id, is_x2(vcpu), dest,
						icr & MOTE_ICR_LOGICAL);
}

/* @from: the sender, or NULL for a device.  Return: how many it has reached. */
static u32 send(struct mote_vm *vm, const struct mote_vcpu *from, u32 icr, u32 dest)
{
	u32 nr = smp_load_acquire(&vm->nr_vcpus); /* pairs with mote_vcpu_create() */
	bool one = (icr & MOTE_ICR_MODE) == MOTE_ICR_LOWEST;
	struct mote_vcpu *vcpu;
	u32 i, reached = 0;

	/* A physical destination is an id, unless it is all. */
	if (!(icr & (MOTE_ICR_SHORTHAND | MOTE_ICR_LOGICAL)) && (dest & 0xff) != 0xff) {
		vcpu = mote_vm_vcpu(vm, dest & 0xff);
		if (!vcpu || !is_addressed(vcpu, from, icr, dest))
			return 0;
		deliver(vcpu, icr);
		return 1;
	}
	for (i = 0; i < nr; i++) {
		/* Whoever comes first has the lowest priority; the vector spreads the load. */
		vcpu = vm->vcpus[one ? (i + icr) % nr : i];
		if (!is_addressed(vcpu, from, icr, dest))
			continue;
		deliver(vcpu, icr);
		reached++;
		if (one)
			break;
	}
	return reached;
}

bool mote_msi_is_valid(const struct mote_vm *vm, const struct mote_msi *msi)
{
	return vm->flags & MOTE_VM_LAPIC && (u32)msi->address >> 20 == 0xfee && !msi->pad;
}

int mote_lapic_msi(struct mote_vm *vm, const struct mote_msi *msi)
{
	u32 dest = (msi->address >> 12 & 0xff) | (msi->address >> 32 & 0xffffff00);
	u32 icr = msi->data & (0xff | MOTE_ICR_MODE | MOTE_ICR_LEVEL);

	if (!mote_msi_is_valid(vm, msi))
		return -EINVAL;
	/* SDM 3A, "Message Address Register Format": bit 2, destination mode. */
	if (msi->address & BIT(2))
		icr |= MOTE_ICR_LOGICAL;
	return send(vm, NULL, icr | MOTE_ICR_ASSERT, dest) ? 0 : -ENOENT;
}

/* ---- accesses -------------------------------------------------------------- */

static void take_posted(struct mote_lapic *lapic)
{
	unsigned long posted;
	u32 vector, i;
	bool level;

	BUILD_BUG_ON(ARRAY_SIZE(lapic->posted) != 4);
	if (likely(!(READ_ONCE(lapic->posted[0]) | READ_ONCE(lapic->posted[1]) |
		     READ_ONCE(lapic->posted[2]) | READ_ONCE(lapic->posted[3]))))
		return;
	for (i = 0; i < BITS_TO_LONGS(256); i++)
		for (posted = READ_ONCE(lapic->posted[i]); posted; posted &= posted - 1) {
			vector = i * BITS_PER_LONG + __ffs(posted);
			level = test_bit(vector, lapic->level);
			clear_bit(vector, lapic->posted);
			mote_apic_accept(&lapic->apic, vector, level);
		}
}

static void catch_up(struct mote_vcpu *vcpu)
{
	struct mote_lapic *lapic = vcpu->lapic;
	u8 vector;

	if (vcpu->pv.eoi_offered && mote_pv_eoi_is_done(vcpu))
		mote_apic_write(&lapic->apic, MOTE_APIC_EOI, is_x2(vcpu), 0, &vector);
	if (atomic_read(&lapic->signals) & SIGNAL_TIMER) {
		atomic_andnot(SIGNAL_TIMER, &lapic->signals);
		timer_fires(vcpu);
	}
	take_posted(lapic);
	/* One that waits wants to know of the end. */
	if (vcpu->pv.eoi_offered && !mote_apic_is_idle(&lapic->apic))
		mote_pv_withdraw_eoi(vcpu);
}

/* The registers are about to be changed, or to be shown: all of their state is to be in them. */
static void settle_eoi(struct mote_vcpu *vcpu)
{
	if (likely(!vcpu->pv.eoi_offered))
		return;
	catch_up(vcpu);
	if (vcpu->pv.eoi_offered)
		mote_pv_withdraw_eoi(vcpu);
}

static void send_icr(struct mote_vcpu *vcpu)
{
	const u32 *reg = vcpu->lapic->apic.reg;
	u32 icr = reg[MOTE_APIC_ICR];
	u32 dest = is_x2(vcpu) ? reg[MOTE_APIC_ICR2] : reg[MOTE_APIC_ICR2] >> 24;

	/* To itself: no need to send anything. */
	if ((icr & (MOTE_ICR_SHORTHAND | MOTE_ICR_MODE)) == (MOTE_ICR_SELF | MOTE_ICR_FIXED)) {
		mote_apic_accept(&vcpu->lapic->apic, icr, false);
		atomic_or(MOTE_REQ_EVENT, &vcpu->requests);
		return;
	}
	send(vcpu->vm, vcpu, icr, dest);
}

static enum mote_apic_effect write(struct mote_vcpu *vcpu, u32 reg, u64 value, u8 *vector)
{
	enum mote_apic_effect effect;

	settle_eoi(vcpu);
	effect = mote_apic_write(&vcpu->lapic->apic, reg, is_x2(vcpu), value, vector);
	switch (effect) {
	case MOTE_APIC_SEND:
		send_icr(vcpu);
		break;
	case MOTE_APIC_ARM:
		arm(vcpu);
		break;
	case MOTE_APIC_LOOK:
	case MOTE_APIC_BROADCAST:
		if (reg == MOTE_APIC_TPR)
			vcpu->cr8 = value >> 4 & 15;
		look(vcpu);
		break;
	default:
		break;
	}
	return effect;
}

static bool read(struct mote_vcpu *vcpu, u32 reg, u64 *value)
{
	struct mote_lapic *lapic = vcpu->lapic;

	catch_up(vcpu);
	if (!mote_apic_read(&lapic->apic, reg, is_x2(vcpu), tpr(vcpu), value))
		return false;
	if (reg == MOTE_APIC_TMCCT)
		*value = current_count(lapic);
	return true;
}

bool mote_lapic_rdmsr(struct mote_vcpu *vcpu, u32 index, u64 *value)
{
	*value = vcpu->lapic->apic.deadline;
	return index == MSR_IA32_TSC_DEADLINE ||
	       (is_x2(vcpu) && read(vcpu, index - X2APIC_MSR, value));
}

enum mote_apic_effect mote_lapic_wrmsr(struct mote_vcpu *vcpu, u32 index, u64 value, u8 *vector)
{
	struct mote_apic *apic = &vcpu->lapic->apic;

	if (index != MSR_IA32_TSC_DEADLINE)
		return is_x2(vcpu) ? write(vcpu, index - X2APIC_MSR, value, vector) :
				     MOTE_APIC_INVALID;
	/* In the other modes writes are ignored (SDM 3A, "TSC-Deadline Mode"). */
	if (mote_apic_timer_mode(apic) == MOTE_APIC_DEADLINE) {
		apic->deadline = value;
		arm(vcpu);
	}
	return MOTE_APIC_DONE;
}

int mote_lapic_access(struct mote_vcpu *vcpu, struct mote_apic_access *access)
{
	u32 reg = access->offset / 16;
	u64 value;
	u8 vector;

	if (!vcpu->lapic || access->offset % 16 || access->offset >= 0x1000 || access->write > 1 ||
	    !is_on(vcpu) || is_x2(vcpu))
		return -EINVAL;
	access->eoi = -1;
	if (!access->write) {
		read(vcpu, reg, &value);
		access->value = value;
	} else if (write(vcpu, reg, access->value, &vector) == MOTE_APIC_BROADCAST) {
		access->eoi = vector;
	}
	return 0;
}

/* ---- the run loop ---------------------------------------------------------- */

u32 mote_lapic_prepare(struct mote_vcpu *vcpu, bool can_take, int *taken)
{
	bool held;
	int vector;

	catch_up(vcpu);
	if (vcpu->halted && atomic_read(&vcpu->lapic->signals) & SIGNAL_KICK) {
		atomic_andnot(SIGNAL_KICK, &vcpu->lapic->signals);
		vcpu->halted = 0;
	}
	vector = mote_apic_pending(&vcpu->lapic->apic, tpr(vcpu), &held);
	if (vector < 0)
		return held ? MOTE_WINDOW_TPR : 0;
	if (!can_take)
		return MOTE_WINDOW_INTERRUPT;
	mote_apic_acknowledge(&vcpu->lapic->apic, vector);
	if (vcpu->msrs.pv_eoi & 1 && mote_apic_can_end_silently(&vcpu->lapic->apic, vector))
		mote_pv_offer_eoi(vcpu);
	*taken = vector;
	/* Another one may wait behind it, for its EOI or for a lower TPR. */
	return 0;
}

bool mote_lapic_takes_extint(const struct mote_vcpu *vcpu)
{
	/* If it is off for good, the pin is the 8259's (SDM 3A, "Global Enable or Disable"). */
	return !vcpu->lapic || !is_on(vcpu) || mote_apic_takes_extint(&vcpu->lapic->apic);
}

bool mote_lapic_is_signalled(const struct mote_vcpu *vcpu)
{
	return vcpu->lapic && atomic_read(&vcpu->lapic->signals) & (SIGNAL_INIT | SIGNAL_STARTUP);
}

void mote_lapic_start(struct mote_vcpu *vcpu)
{
	struct mote_lapic *lapic = vcpu->lapic;
	u32 signals = atomic_fetch_andnot(SIGNAL_INIT | SIGNAL_STARTUP, &lapic->signals);

	if (signals & SIGNAL_INIT) {
		bitmap_zero(lapic->posted, 256);
		mote_apic_reset(&lapic->apic, vcpu->id, is_x2(vcpu));
		arm(vcpu);
		mote_vcpu_signal_init(vcpu);
	}
	/* Only one that waits takes notice (SDM 3A, "Multiple-Processor Initialization"). */
	if (signals & SIGNAL_STARTUP && vcpu->halted == MOTE_WAITS_FOR_SIPI)
		mote_vcpu_signal_startup(vcpu, signals);
}

/* ---- state ----------------------------------------------------------------- */

void mote_lapic_base_changed(struct mote_vcpu *vcpu, u64 old)
{
	struct mote_lapic *lapic = vcpu->lapic;

	if (!lapic || old == vcpu->msrs.apic_base)
		return;
	if (!is_on(vcpu)) {
		mote_apic_reset(&lapic->apic, vcpu->id, false);
		arm(vcpu);
	} else if ((old ^ vcpu->msrs.apic_base) & X2APIC_ENABLE) {
		mote_apic_set_mode(&lapic->apic, vcpu->id, is_x2(vcpu));
	}
}

void mote_lapic_get(struct mote_vcpu *vcpu, struct mote_apic *state)
{
	settle_eoi(vcpu);
	catch_up(vcpu);
	*state = vcpu->lapic->apic;
	state->reg[MOTE_APIC_TPR] = tpr(vcpu);
	state->reg[MOTE_APIC_TMCCT] = current_count(vcpu->lapic);
}

void mote_lapic_set(struct mote_vcpu *vcpu, const struct mote_apic *state)
{
	struct mote_lapic *lapic = vcpu->lapic;
	u32 left = state->reg[MOTE_APIC_TMCCT];

	lapic->apic = *state;
	lapic->apic.reg[MOTE_APIC_TMCCT] = 0;
	vcpu->cr8 = state->reg[MOTE_APIC_TPR] >> 4;
	bitmap_zero(lapic->posted, 256);
	/* A count goes on from where it was, not from the start. */
	if (mote_apic_timer_mode(&lapic->apic) == MOTE_APIC_DEADLINE) {
		arm(vcpu);
	} else {
		stop_timer(lapic);
		if (left)
			start_timer(lapic, ktime_get_ns() + left * mote_apic_tick_ns(&lapic->apic));
	}
	atomic_or(MOTE_REQ_EVENT, &vcpu->requests);
}

int mote_lapic_create(struct mote_vcpu *vcpu)
{
	struct mote_lapic *lapic;

	if (!(vcpu->vm->flags & MOTE_VM_LAPIC))
		return 0;
	lapic = kzalloc(sizeof(*lapic), GFP_KERNEL_ACCOUNT);
	if (!lapic)
		return -ENOMEM;
	lapic->vcpu = vcpu;
	hrtimer_init(&lapic->timer, CLOCK_MONOTONIC, HRTIMER_MODE_ABS);
	lapic->timer.function = timer_expired;
	mote_apic_reset(&lapic->apic, vcpu->id, false);
	vcpu->lapic = lapic;
	return 0;
}

void mote_lapic_destroy(struct mote_vcpu *vcpu)
{
	if (vcpu->lapic)
		hrtimer_cancel(&vcpu->lapic->timer);
	kfree(vcpu->lapic);
}
