// SPDX-License-Identifier: GPL-2.0
/*
 * QUIRK(qemu): VMRUN with a virtual interrupt can lose an interrupt of the host's.
 *
 * It ORs the one into the word of what pends for the CPU while QEMU's main thread, in which
 * timers expire, ORs the other in, and that OR is not atomic.  The interrupt stays in the IRR
 * of the host's local APIC, which is looked at when the next one comes.  For a one-shot timer
 * that is never: a guest that does not exit has the CPU for good.
 *
 * So the timer is a periodic one in such an entry: what got lost comes again.  Seen by
 * core/host_timer within 20,000 entries, on QEMU 7.2; see docs/security.md.
 */
#include <asm/apic.h>

#include "svm_quirk.h"

/* 100 us of QEMU's 1 GHz by the kernel's 16.  With much less it would do nothing but expire. */
#define LEAST_PERIOD 6250

bool mote_is_qemu_tcg(void)
{
	return hypervisor_cpuid_base("TCGTCGTCGTCG", 0);
}

static u32 qemu_apic_read(u32 reg)
{
	u64 value;

	if (!x2apic_mode)
		return native_apic_mem_read(reg);
	rdmsrl(APIC_BASE_MSR + (reg >> 4), value);
	return value;
}

static void qemu_apic_write(u32 reg, u32 value)
{
	if (x2apic_mode)
		wrmsrl(APIC_BASE_MSR + (reg >> 4), value);
	else
		native_apic_mem_write(reg, value);
}

/* A timer whose count is 0 has expired; its interrupt may be on its way still. */
void mote_qemu_keep_timer(struct mote_host_timer *timer)
{
	u32 lvtt = qemu_apic_read(APIC_LVTT);

	timer->lvtt = 0;
	if (lvtt & (APIC_LVT_MASKED | APIC_LVT_TIMER_PERIODIC | APIC_LVT_TIMER_TSCDEADLINE))
		return;
	timer->lvtt = lvtt;
	timer->left = qemu_apic_read(APIC_TMCCT);
	if (timer->left < LEAST_PERIOD)
		qemu_apic_write(APIC_TMICT, LEAST_PERIOD);
	qemu_apic_write(APIC_LVTT, lvtt | APIC_LVT_TIMER_PERIODIC);
}

static bool qemu_is_pending(u32 vector)
{
	return qemu_apic_read(APIC_IRR + vector / 32 * 0x10) & BIT(vector % 32);
}

/* One-shot again, with what is left. */
void mote_qemu_give_timer_back(struct mote_host_timer *timer)
{
	u32 left;

	if (!timer->lvtt)
		return;
	qemu_apic_write(APIC_LVTT, timer->lvtt);
	left = qemu_apic_read(APIC_TMCCT);
	if (!left && qemu_is_pending(timer->lvtt & APIC_VECTOR_MASK)) {
		/* If it got lost: a write to TPR makes the APIC look at its IRR. */
		qemu_apic_write(APIC_TASKPRI, qemu_apic_read(APIC_TASKPRI));
		return;
	}
	if (timer->left < LEAST_PERIOD)
		left = max_t(s32, 0, timer->left - (LEAST_PERIOD - left));
	else if (left)
		return;
	/* What has expired and is not seen yet would be forgotten: at once, then. */
	qemu_apic_write(APIC_TMICT, max(left, 1u));
}
