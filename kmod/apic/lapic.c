// SPDX-License-Identifier: GPL-2.0
/*
 * Local APICs among vCPUs: messages, the timer, and what the run loop asks.
 *
 * The registers belong to the vCPU's thread, under vcpu->lock.  A sender sets a bit
 * of @posted or of @signals and then makes a request; before the next entry the vCPU
 * moves what was posted to its IRR, so that the arithmetic (apic.c) knows one thread
 * only.  The timer's callback is a sender like any other.
 *
 * Not here: registers and priorities (apic.c).
 */
#include <linux/hrtimer.h>
#include <linux/slab.h>
#include <asm/msr.h>
#include <asm/tsc.h>

#include "../vendor.h"
#include "lapic.h"

/* In &mote_lapic.signals beside those of &mote_apic.signals: the timer has expired. */
#define SIGNAL_TIMER BIT(11)

struct mote_lapic {
	struct mote_apic apic;		/* the registers */
	struct hrtimer timer;
	u64 expires;			/* of @timer, ns of CLOCK_MONOTONIC; 0: not armed */
	DECLARE_BITMAP(posted, 256);	/* vectors that were sent and are not in IRR yet */
	DECLARE_BITMAP(level, 256);	/* which of them are level-triggered */
	atomic_t signals;		/* MOTE_APIC_*, SIGNAL_TIMER */
	struct mote_vcpu *vcpu;
};

static bool lapic_is_x2(const struct mote_vcpu *vcpu)
{
	return READ_ONCE(vcpu->msrs.apic_base) & X2APIC_ENABLE;
}

static bool lapic_is_enabled(const struct mote_vcpu *vcpu)
{
	return READ_ONCE(vcpu->msrs.apic_base) & MSR_IA32_APICBASE_ENABLE;
}

/* CR8 is the upper half of TPR; MOV to CR8 clears the lower. */
static u32 lapic_tpr(const struct mote_vcpu *vcpu)
{
	u32 reg = vcpu->lapic->apic.reg[APIC_REG(TASKPRI)];

	return reg >> 4 == vcpu->cr8 ? reg : vcpu->cr8 << 4;
}

/* Request the run loop's look at IRR if one there waits for nothing, TPR, or a silent EOI. */
static void lapic_recheck(struct mote_vcpu *vcpu)
{
	bool held;

	if (mote_apic_pending(&vcpu->lapic->apic, lapic_tpr(vcpu), &held) >= 0 || held ||
	    vcpu->pv.eoi_offered)
		atomic_or(MOTE_REQ_EVENT, &vcpu->requests);
}

/* Signals come, and others that waited are over, in one step. */
static void lapic_signal(struct mote_vcpu *vcpu, u32 come, u32 gone)
{
	u32 old = atomic_read(&vcpu->lapic->signals);

	while (!atomic_try_cmpxchg(&vcpu->lapic->signals, &old, (old & ~gone) | come))
		;
	mote_vcpu_request(vcpu, MOTE_REQ_EVENT);
}

/* ---- timer ----------------------------------------------------------------- */

static enum hrtimer_restart lapic_timer_expired(struct hrtimer *timer)
{
	struct mote_lapic *lapic = container_of(timer, struct mote_lapic, timer);

	lapic_signal(lapic->vcpu, SIGNAL_TIMER, 0);
	return HRTIMER_NORESTART;
}

/* The timer is set for a day at most: it starts again for what is left then. */
static u64 lapic_deadline_ns(const struct mote_vcpu *vcpu, u64 deadline)
{
	u64 now = mote_guest_tsc(vcpu, rdtsc());
	u32 khz = vcpu->vm->tsc_khz;

	if (deadline <= now)
		return 0;
	return mul_u64_u32_div(min_t(u64, deadline - now, khz * 86400000ull), 1000000, khz);
}

static void lapic_start_timer(struct mote_lapic *lapic, u64 expires)
{
	lapic->expires = expires;
	hrtimer_start(&lapic->timer, ns_to_ktime(expires), HRTIMER_MODE_ABS);
}

static void lapic_cancel_timer(struct mote_lapic *lapic)
{
	hrtimer_cancel(&lapic->timer);
	atomic_andnot(SIGNAL_TIMER, &lapic->signals);
	lapic->expires = 0;
}

/* The timer counts down from @count, or waits for the deadline; 0: for nothing. */
static void lapic_arm_timer(struct mote_vcpu *vcpu, u32 count)
{
	struct mote_lapic *lapic = vcpu->lapic;
	struct mote_apic *apic = &lapic->apic;
	bool is_deadline = mote_apic_timer_mode(apic) == APIC_LVT_TIMER_TSCDEADLINE;
	u64 left;

	lapic_cancel_timer(lapic);
	if (is_deadline ? !apic->deadline : !count)
		return;
	left = is_deadline ? lapic_deadline_ns(vcpu, apic->deadline) :
			     count * mote_apic_tick_ns(apic);
	if (left) {
		lapic_start_timer(lapic, ktime_get_ns() + left);
	} else {
		mote_apic_timer_fires(apic);
		lapic_recheck(vcpu);
	}
}

/* With shorter periods the guest would do nothing but take interrupts. */
#define LEAST_PERIOD_NS 20000
/* A guest that cannot keep up has this time to itself before the next interrupt. */
#define RESPITE_NS 2000000

/* SIGNAL_TIMER was set. */
static void lapic_timer_fires(struct mote_vcpu *vcpu)
{
	struct mote_lapic *lapic = vcpu->lapic;
	struct mote_apic *apic = &lapic->apic;
	u64 now, period;

	if (!lapic->expires)
		return;
	if (mote_apic_timer_mode(apic) == APIC_LVT_TIMER_TSCDEADLINE &&
	    apic->deadline > mote_guest_tsc(vcpu, rdtsc())) {
		lapic_arm_timer(vcpu, 0);
		return;
	}
	mote_apic_timer_fires(apic);
	if (mote_apic_timer_mode(apic) != APIC_LVT_TIMER_PERIODIC) {
		lapic->expires = 0;
		return;
	}
	/* The next period begins when this one was due; missed ones are not made up for. */
	now = ktime_get_ns();
	period = max_t(u64, apic->reg[APIC_REG(TMICT)] * mote_apic_tick_ns(apic), LEAST_PERIOD_NS);
	if (lapic->expires + period > now)
		lapic_start_timer(lapic, lapic->expires + period);
	else
		lapic_start_timer(lapic, now + max_t(u64, period, RESPITE_NS));
}

/* Ticks that have begun: 0 is for a timer that has fired. */
static u32 lapic_current_count(const struct mote_lapic *lapic)
{
	s64 left = lapic->expires - ktime_get_ns();

	if (!lapic->expires ||
	    mote_apic_timer_mode(&lapic->apic) == APIC_LVT_TIMER_TSCDEADLINE)
		return 0;
	return left <= 0 ? 1 : DIV64_U64_ROUND_UP(left, mote_apic_tick_ns(&lapic->apic));
}

/* ---- sending --------------------------------------------------------------- */

#define ICR_SHORTHAND (APIC_DEST_SELF | APIC_DEST_ALLINC)

/* What has become of an interrupt; of several destinations the greatest. */
enum lapic_fate {
	LAPIC_LOST,	/* no local APIC is addressed, or none that takes it */
	LAPIC_MERGED,	/* with one of its vector that waits already */
	LAPIC_TAKEN,
};

static enum lapic_fate lapic_post(struct mote_vcpu *vcpu, u8 vector, bool level)
{
	struct mote_lapic *lapic = vcpu->lapic;
	bool waits = mote_apic_waits(&lapic->apic, vector);

	/* It may be switched off before it looks: lapic_write() takes in what came before. */
	if (!mote_apic_is_enabled(&lapic->apic))
		return LAPIC_LOST;
	assign_bit(vector, lapic->level, level);
	/*
	 * The sender that sets the bit makes the request; those that find it set need none.
	 * test_and_set_bit() is a full barrier: lapic_take_posted() sees the level with it.
	 */
	if (test_and_set_bit(vector, lapic->posted))
		return LAPIC_MERGED;
	mote_vcpu_request(vcpu, MOTE_REQ_EVENT);
	return waits ? LAPIC_MERGED : LAPIC_TAKEN;
}

static enum lapic_fate lapic_deliver(struct mote_vcpu *vcpu, u32 icr)
{
	u8 vector = icr;

	/* CPUs since the Pentium 4 ignore a de-assertion. */
	if ((icr & (APIC_INT_LEVELTRIG | APIC_INT_ASSERT)) == APIC_INT_LEVELTRIG)
		return LAPIC_LOST;
	switch (icr & APIC_MODE_MASK) {
	case APIC_DM_FIXED:
	case APIC_DM_LOWEST:
		return lapic_post(vcpu, vector, icr & APIC_INT_LEVELTRIG);
	case APIC_DM_NMI:
		mote_vcpu_nmi(vcpu);
		break;
	case APIC_DM_INIT:
		/* An earlier start-up IPI came to a CPU that did not wait for one yet. */
		lapic_signal(vcpu, MOTE_APIC_INIT, MOTE_APIC_STARTUP | MOTE_APIC_VECTOR);
		break;
	case APIC_DM_STARTUP:
		lapic_signal(vcpu, MOTE_APIC_STARTUP | vector, MOTE_APIC_VECTOR);
		break;
	}
	return LAPIC_TAKEN;
}

bool mote_lapic_send(struct mote_vcpu *vcpu, u32 icr)
{
	return lapic_is_enabled(vcpu) && lapic_deliver(vcpu, icr) != LAPIC_LOST;
}

void mote_lapic_kick(struct mote_vcpu *vcpu)
{
	lapic_signal(vcpu, MOTE_APIC_WAKE, 0);
}

static bool lapic_is_addressed(const struct mote_vcpu *vcpu, const struct mote_vcpu *from, u32 icr,
			       u32 dest)
{
	if (!lapic_is_enabled(vcpu))
		return false;
	switch (icr & ICR_SHORTHAND) {
	case APIC_DEST_SELF:
		return vcpu == from;
	case APIC_DEST_ALLINC:
		return true;
	case APIC_DEST_ALLBUT:
		return vcpu != from;
	}
	return mote_apic_matches(&vcpu->lapic->apic, vcpu->id, lapic_is_x2(vcpu), dest,
				 icr & APIC_DEST_LOGICAL);
}

/* @from: the sender, or NULL for a device. */
static enum lapic_fate lapic_send(struct mote_vm *vm, const struct mote_vcpu *from, u32 icr,
				  u32 dest)
{
	bool one = (icr & APIC_MODE_MASK) == APIC_DM_LOWEST;
	u32 first = 0, nr = READ_ONCE(vm->end_id);
	enum lapic_fate fate = LAPIC_LOST;
	struct mote_vcpu *vcpu;
	u32 i;

	/* A physical destination is one id, or all; so is a logical one in x2APIC mode, or 16. */
	if (icr & APIC_DEST_LOGICAL) {
		if (!READ_ONCE(vm->xapic_logical) && dest != 0xff && dest != U32_MAX) {
			first = dest >> 16 << 4;
			nr = 16;
		}
	} else if (!(icr & ICR_SHORTHAND) && (dest & 0xff) != 0xff) {
		vcpu = mote_vm_vcpu(vm, dest);
		return vcpu && lapic_is_addressed(vcpu, from, icr, dest) ?
		       lapic_deliver(vcpu, icr) : LAPIC_LOST;
	}
	for (i = 0; i < nr && !(one && fate); i++) {
		/* The first that takes it has the lowest priority; the vector spreads the load. */
		vcpu = mote_vm_vcpu(vm, first + (one ? (i + icr) % nr : i));
		if (vcpu && lapic_is_addressed(vcpu, from, icr, dest))
			fate = max(fate, lapic_deliver(vcpu, icr));
	}
	return fate;
}

bool mote_msi_is_valid(const struct mote_vm *vm, const struct mote_msi *msi)
{
	return vm->flags & MOTE_VM_LAPIC && (u32)msi->address >> 20 == 0xfee && !msi->pad;
}

int mote_lapic_msi(struct mote_vm *vm, const struct mote_msi *msi)
{
	u32 dest = (msi->address >> 12 & 0xff) | (msi->address >> 32 & 0xffffff00);
	u32 icr = msi->data & (APIC_VECTOR_MASK | APIC_MODE_MASK | APIC_INT_LEVELTRIG);

	if (!mote_msi_is_valid(vm, msi))
		return -EINVAL;
	/* SDM 3A, "Message Address Register Format": bit 2, destination mode. */
	if (msi->address & BIT(2))
		icr |= APIC_DEST_LOGICAL;
	switch (lapic_send(vm, NULL, icr | APIC_INT_ASSERT, dest)) {
	case LAPIC_TAKEN:
		return 0;
	case LAPIC_MERGED:
		return 1;
	default:
		return -ENOENT;
	}
}

/* ---- registers ------------------------------------------------------------- */

/* Move what senders have posted to IRR. */
static void lapic_take_posted(struct mote_lapic *lapic)
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

/* Bring the registers up to date with the guest's EOI in memory, the timer and the senders. */
static void lapic_sync(struct mote_vcpu *vcpu)
{
	struct mote_lapic *lapic = vcpu->lapic;
	u8 vector;

	if (vcpu->pv.eoi_offered && mote_pv_eoi_take(vcpu))
		mote_apic_write(&lapic->apic, APIC_REG(EOI), lapic_is_x2(vcpu), 0, &vector);
	if (atomic_read(&lapic->signals) & SIGNAL_TIMER) {
		atomic_andnot(SIGNAL_TIMER, &lapic->signals);
		lapic_timer_fires(vcpu);
	}
	lapic_take_posted(lapic);
	/* The EOI has to exit, so that the interrupt in IRR can follow. */
	if (vcpu->pv.eoi_offered && !mote_apic_is_idle(&lapic->apic))
		mote_pv_eoi_withdraw(vcpu);
}

int mote_lapic_withdraw_eoi(struct mote_vcpu *vcpu, bool may_sleep)
{
	int err = 0;

	while (unlikely(vcpu->pv.eoi_offered) && !err) {
		lapic_sync(vcpu);
		if (vcpu->pv.eoi_offered)
			mote_pv_eoi_withdraw(vcpu);
		if (!vcpu->pv.eoi_offered || !may_sleep)
			break;
		err = mote_pv_eoi_bring(vcpu);
	}
	return err;
}

static void lapic_send_icr(struct mote_vcpu *vcpu)
{
	const u32 *reg = vcpu->lapic->apic.reg;
	u32 icr = reg[APIC_REG(ICR)];
	u32 dest = lapic_is_x2(vcpu) ? reg[APIC_REG(ICR2)] : reg[APIC_REG(ICR2)] >> 24;

	/* An interrupt to itself goes to its IRR at once. */
	if ((icr & (ICR_SHORTHAND | APIC_MODE_MASK)) == (APIC_DEST_SELF | APIC_DM_FIXED)) {
		mote_apic_accept(&vcpu->lapic->apic, icr, false);
		atomic_or(MOTE_REQ_EVENT, &vcpu->requests);
		return;
	}
	lapic_send(vcpu->vm, vcpu, icr, dest);
}

static enum mote_apic_effect lapic_write(struct mote_vcpu *vcpu, u32 reg, u64 value, u8 *vector)
{
	enum mote_apic_effect effect;

	mote_lapic_withdraw_eoi(vcpu, false);
	if (reg == APIC_REG(SPIV))
		lapic_take_posted(vcpu->lapic);
	effect = mote_apic_write(&vcpu->lapic->apic, reg, lapic_is_x2(vcpu), value, vector);
	if (effect == MOTE_APIC_RECHECK && reg == APIC_REG(TASKPRI))
		vcpu->cr8 = value >> 4 & 15;
	if (effect == MOTE_APIC_SEND)
		lapic_send_icr(vcpu);
	else if (effect == MOTE_APIC_ARM)
		lapic_arm_timer(vcpu, vcpu->lapic->apic.reg[APIC_REG(TMICT)]);
	else if (effect == MOTE_APIC_RECHECK || effect == MOTE_APIC_BROADCAST)
		lapic_recheck(vcpu);
	else if (effect == MOTE_APIC_ADDRESSED)
		WRITE_ONCE(vcpu->vm->xapic_logical, true);
	return effect;
}

static bool lapic_read(struct mote_vcpu *vcpu, u32 reg, u64 *value)
{
	struct mote_lapic *lapic = vcpu->lapic;

	lapic_sync(vcpu);
	if (!mote_apic_read(&lapic->apic, reg, lapic_is_x2(vcpu), lapic_tpr(vcpu), value))
		return false;
	if (reg == APIC_REG(TMCCT))
		*value = lapic_current_count(lapic);
	return true;
}

bool mote_lapic_rdmsr(struct mote_vcpu *vcpu, u32 index, u64 *value)
{
	*value = vcpu->lapic->apic.deadline;
	return index == MSR_IA32_TSC_DEADLINE ||
	       (lapic_is_x2(vcpu) && lapic_read(vcpu, index - APIC_BASE_MSR, value));
}

enum mote_apic_effect mote_lapic_wrmsr(struct mote_vcpu *vcpu, u32 index, u64 value, u8 *vector)
{
	struct mote_apic *apic = &vcpu->lapic->apic;

	if (index != MSR_IA32_TSC_DEADLINE)
		return lapic_is_x2(vcpu) ? lapic_write(vcpu, index - APIC_BASE_MSR, value, vector) :
					   MOTE_APIC_INVALID;
	/* In the other modes writes are ignored (SDM 3A, "TSC-Deadline Mode"). */
	if (mote_apic_timer_mode(apic) == APIC_LVT_TIMER_TSCDEADLINE) {
		apic->deadline = value;
		lapic_arm_timer(vcpu, 0);
	}
	return MOTE_APIC_DONE;
}

int mote_lapic_access(struct mote_vcpu *vcpu, struct mote_apic_access *access)
{
	u32 reg = access->offset / 16;
	u64 value;
	u8 vector;

	if (!vcpu->lapic || access->offset % 16 || access->offset >= 0x1000 || access->write > 1 ||
	    !lapic_is_enabled(vcpu) || lapic_is_x2(vcpu))
		return -EINVAL;
	access->eoi = -1;
	if (!access->write) {
		lapic_read(vcpu, reg, &value);
		access->value = value;
	} else if (lapic_write(vcpu, reg, access->value, &vector) == MOTE_APIC_BROADCAST) {
		access->eoi = vector;
	}
	return 0;
}

/* ---- the run loop ---------------------------------------------------------- */

int mote_lapic_pending(struct mote_vcpu *vcpu, u32 *windows)
{
	int vector;
	bool held;

	lapic_sync(vcpu);
	if (vcpu->halted && atomic_read(&vcpu->lapic->signals) & MOTE_APIC_WAKE) {
		atomic_andnot(MOTE_APIC_WAKE, &vcpu->lapic->signals);
		vcpu->halted = 0;
	}
	vector = mote_apic_pending(&vcpu->lapic->apic, lapic_tpr(vcpu), &held);
	if (vector < 0 && held)
		*windows |= MOTE_WINDOW_TPR;
	return vector;
}

/* The next one waits for the EOI of this one, or for a lower TPR. */
void mote_lapic_take(struct mote_vcpu *vcpu, u8 vector)
{
	mote_apic_acknowledge(&vcpu->lapic->apic, vector);
	if (vcpu->msrs.pv_eoi & 1 && mote_apic_can_end_silently(&vcpu->lapic->apic, vector))
		mote_pv_eoi_offer(vcpu);
}

bool mote_lapic_takes_extint(const struct mote_vcpu *vcpu)
{
	/* Without a local APIC the pin is INTR (SDM 3A, "Enabling or Disabling the Local APIC"). */
	return !vcpu->lapic || !lapic_is_enabled(vcpu) ||
	       mote_apic_takes_extint(&vcpu->lapic->apic);
}

bool mote_lapic_is_signalled(const struct mote_vcpu *vcpu)
{
	return vcpu->lapic &&
	       atomic_read(&vcpu->lapic->signals) & (MOTE_APIC_INIT | MOTE_APIC_STARTUP);
}

void mote_lapic_start(struct mote_vcpu *vcpu)
{
	struct mote_lapic *lapic = vcpu->lapic;
	u32 signals = atomic_fetch_andnot(MOTE_APIC_INIT | MOTE_APIC_STARTUP | MOTE_APIC_VECTOR,
					  &lapic->signals);

	if (signals & MOTE_APIC_INIT) {
		mote_lapic_withdraw_eoi(vcpu, true);
		bitmap_zero(lapic->posted, 256);
		mote_apic_reset(&lapic->apic, vcpu->id, lapic_is_x2(vcpu));
		lapic_cancel_timer(lapic);
		mote_vcpu_signal_init(vcpu);
	}
	/* Only a vCPU that waits takes a SIPI (SDM 3A, "Multiple-Processor Initialization"). */
	if (signals & MOTE_APIC_STARTUP && vcpu->halted == MOTE_WAITS_FOR_SIPI)
		mote_vcpu_signal_startup(vcpu, signals);
	/* What came while it waited for one has had its request. */
	atomic_or(MOTE_REQ_EVENT, &vcpu->requests);
}

/* ---- state ----------------------------------------------------------------- */

void mote_lapic_base_changed(struct mote_vcpu *vcpu, u64 old)
{
	struct mote_lapic *lapic = vcpu->lapic;

	if (!lapic || old == vcpu->msrs.apic_base)
		return;
	if (!lapic_is_enabled(vcpu)) {
		mote_lapic_withdraw_eoi(vcpu, false);
		mote_apic_reset(&lapic->apic, vcpu->id, false);
		lapic_cancel_timer(lapic);
	} else if ((old ^ vcpu->msrs.apic_base) & X2APIC_ENABLE) {
		mote_apic_set_mode(&lapic->apic, vcpu->id, lapic_is_x2(vcpu));
	}
}

void mote_lapic_get(struct mote_vcpu *vcpu, struct mote_apic *state)
{
	lapic_sync(vcpu);
	*state = vcpu->lapic->apic;
	state->reg[APIC_REG(TASKPRI)] = lapic_tpr(vcpu);
	state->reg[APIC_REG(TMCCT)] = lapic_current_count(vcpu->lapic);
	state->signals = atomic_read(&vcpu->lapic->signals) & ~SIGNAL_TIMER;
}

void mote_lapic_set(struct mote_vcpu *vcpu, const struct mote_apic *state)
{
	struct mote_lapic *lapic = vcpu->lapic;

	lapic->apic = *state;
	atomic_set(&lapic->signals, state->signals);
	if (state->reg[APIC_REG(LDR)] && !lapic_is_x2(vcpu))
		WRITE_ONCE(vcpu->vm->xapic_logical, true);
	lapic->apic.reg[APIC_REG(TMCCT)] = 0;
	vcpu->cr8 = state->reg[APIC_REG(TASKPRI)] >> 4;
	bitmap_zero(lapic->posted, 256);
	/* A count goes on from where it was; a deadline stands for itself. */
	lapic_arm_timer(vcpu, state->reg[APIC_REG(TMCCT)]);
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
	lapic->timer.function = lapic_timer_expired;
	mote_apic_reset(&lapic->apic, vcpu->id, false);
	vcpu->lapic = lapic;
	vcpu->hears_lapic = true;
	return 0;
}

void mote_lapic_destroy(struct mote_vcpu *vcpu)
{
	if (vcpu->lapic)
		hrtimer_cancel(&vcpu->lapic->timer);
	kfree(vcpu->lapic);
}
