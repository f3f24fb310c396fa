// SPDX-License-Identifier: GPL-2.0
/*
 * Is this a state that a CPU can be in?  All that either vendor's entry
 * refuses, and what neither can represent: a state that passes enters on both.
 * Pure functions, run only when a state was set from outside, or to name what
 * the hardware did not like.  libmote has each rule in words, and its section in
 * the manuals.
 */
#include <linux/bits.h>
#include <linux/errno.h>
#include <linux/kernel.h>
#include <linux/string.h>
#include <asm/msr-index.h>
#include <asm/processor-flags.h>

#include "guest.h"

#define RFLAGS_DEFINED (GENMASK_ULL(21, 0) & ~(BIT(15) | BIT(5) | BIT(3)))
#define PENDING_DEFINED (GENMASK_ULL(3, 0) | BIT(12) | BIT(14))
#define PENDING_BS BIT(14)
#define HIGH GENMASK_ULL(63, 32)

/* Vectors of exceptions that both vendors' CPUs raise, and those that push an error code. */
#define EXCEPTIONS (GENMASK(19, 0) & ~(BIT(2) | BIT(9) | BIT(15)))
#define HAS_ERROR (BIT(8) | GENMASK(14, 10) | BIT(17))

/* ---- segments ------------------------------------------------------------------ */

#define ATTR_TYPE(seg) ((seg)->attr & 0xf)
#define ATTR_DPL(seg) ((seg)->attr >> 5 & 3)
#define ATTR_S BIT(4)
#define ATTR_P BIT(7)
#define ATTR_RESERVED GENMASK(11, 8)
#define ATTR_L BIT(13)
#define ATTR_DB BIT(14)
#define ATTR_G BIT(15)
#define ATTR_V86 0xf3
#define SELECTOR_TI BIT(2)

#define TYPES_CODE (BIT(9) | BIT(11) | BIT(13) | BIT(15))
#define TYPES_READ (BIT(1) | BIT(3) | BIT(5) | BIT(7) | BIT(11) | BIT(15))

static bool is_type(const struct mote_segment *seg, u32 types)
{
	return types >> ATTR_TYPE(seg) & 1;
}

static bool is_v86_segment(const struct mote_segment *seg)
{
	return seg->base == (u64)seg->selector << 4 && seg->limit == 0xffff &&
	       seg->attr == ATTR_V86;
}

/* ---- modes ----------------------------------------------------------------------- */

static bool is_long(const struct mote_state *s)
{
	return s->msrs.efer & EFER_LMA;
}

static bool is_64bit(const struct mote_state *s)
{
	return is_long(s) && s->segs.seg[MOTE_CS].attr & ATTR_L;
}

static bool is_v86(const struct mote_state *s)
{
	return s->gprs.rflags & X86_EFLAGS_VM;
}

/* ---- single values ------------------------------------------------------------------ */

bool mote_xcr0_valid(u64 xcr0, const struct mote_caps *caps)
{
	u64 avx512 = xcr0 & XCR0_AVX512;

	return xcr0 & 1 && !(xcr0 & ~caps->xcr0) && !(xcr0 & XCR0_YMM && !(xcr0 & BIT(1))) &&
	       (!avx512 || (avx512 == XCR0_AVX512 && xcr0 & XCR0_YMM));
}

bool mote_cr0_valid(u64 cr0, const struct mote_cpu_mode *mode)
{
	bool pg = cr0 & X86_CR0_PG, cs_l = mode->cs_attr & ATTR_L;

	if (cr0 >> 32 || (pg && !(cr0 & X86_CR0_PE)) || (cr0 & X86_CR0_NW && !(cr0 & X86_CR0_CD)))
		return false;
	if (!((cr0 ^ mode->cr0) & X86_CR0_PG))
		return true;
	if (pg)
		return !(mode->efer & EFER_LME) || (mode->cr4 & X86_CR4_PAE && !cs_l);
	return !(mode->cr4 & X86_CR4_PCIDE) && !(mode->efer & EFER_LMA && cs_l);
}

bool mote_cr4_valid(u64 cr4, const struct mote_cpu_mode *mode, const struct mote_caps *caps)
{
	u64 changed = cr4 ^ mode->cr4;
	bool lma = mode->efer & EFER_LMA;

	if (cr4 & ~caps->cr4 || (lma && (!(cr4 & X86_CR4_PAE) || changed & X86_CR4_LA57)))
		return false;
	return !(changed & cr4 & X86_CR4_PCIDE) || (lma && !(mode->cr3 & 0xfff));
}

bool mote_event_valid(const struct mote_event *event)
{
	if (event->valid > 1 || event->has_error > 1)
		return false;
	if (!event->valid)
		return true;
	switch (event->type) {
	case MOTE_EVENT_INTERRUPT:
		return !event->has_error;
	case MOTE_EVENT_NMI:
		return event->vector == 2 && !event->has_error;
	case MOTE_EVENT_EXCEPTION:
		return event->vector < 32 && EXCEPTIONS >> event->vector & 1 &&
		       (!event->has_error || HAS_ERROR >> event->vector & 1) &&
		       !(event->has_error && event->error >> 16);
	}
	return false;
}

bool mote_mode_checks_alignment(const struct mote_cpu_mode *mode, u64 rflags)
{
	return mode->cpl == 3 && mode->cr0 & X86_CR0_AM && rflags & X86_EFLAGS_AC;
}

#define CONTRIBUTORY (BIT(0) | GENMASK(13, 10))

bool mote_event_merge(struct mote_event *event, u8 vector, u32 error)
{
	u32 first = event->valid && event->type == MOTE_EVENT_EXCEPTION ? BIT(event->vector) : 0;

	if (first & BIT(8))
		return false;
	/* Two in turn otherwise: the first one's instruction runs again and raises it again. */
	if ((first & (CONTRIBUTORY | BIT(14)) && CONTRIBUTORY >> vector & 1) ||
	    (first & BIT(14) && vector == 14)) {
		vector = 8;
		error = 0;
	}
	*event = (struct mote_event){
		.valid = 1, .type = MOTE_EVENT_EXCEPTION, .vector = vector,
		.has_error = HAS_ERROR >> vector & 1,
	};
	if (event->has_error)
		event->error = error;
	return true;
}

int mote_check_values(const struct mote_state *state, const struct mote_caps *caps)
{
	const struct mote_events *events = &state->events;
	const struct mote_segs *segs = &state->segs;
	const struct mote_crs *crs = &state->crs;
	bool ok = true;
	u32 i;

	if (state->mask & MOTE_STATE_SEGS) {
		ok &= !memchr_inv(segs->gdt.pad, 0, sizeof(segs->gdt.pad)) &&
		      !memchr_inv(segs->idt.pad, 0, sizeof(segs->idt.pad));
		for (i = 0; i < MOTE_NR_SEGS; i++)
			ok &= !(segs->seg[i].attr & ATTR_RESERVED);
	}
	if (state->mask & MOTE_STATE_CRS)
		ok &= !(crs->flags & ~(u64)MOTE_CRS_PDPTE) && crs->cr8 <= 15 &&
		      mote_xcr0_valid(crs->xcr0, caps);
	if (state->mask & MOTE_STATE_DRS)
		ok &= !((state->drs.dr6 | state->drs.dr7) & HIGH);
	if (state->mask & MOTE_STATE_MSRS)
		ok &= mote_msrs_valid(&state->msrs, caps);
	if (state->mask & MOTE_STATE_EVENTS)
		ok &= mote_event_valid(&events->injected) && !events->pad &&
		      events->nmi_pending <= 2 && events->nmi_blocked <= 1 &&
		      events->shadow <= MOTE_SHADOW_MOV_SS && events->halted <= MOTE_WAITS_FOR_SIPI;
	return ok ? 0 : -EINVAL;
}

/* ---- the checks: which of them does the state fail? ------------------------------- */

static void check_registers(const struct mote_state *s, const struct mote_caps *c, bool *fails)
{
	u64 cr0 = s->crs.cr0, cr4 = s->crs.cr4, efer = s->msrs.efer;
	u64 rip = s->gprs.rip, rflags = s->gprs.rflags;
	bool pe = cr0 & X86_CR0_PE, pg = cr0 & X86_CR0_PG, pae = cr4 & X86_CR4_PAE;
	const u64 *pdpte = s->crs.pdpte;
	bool lma = efer & EFER_LMA;
	u32 i;

	fails[MOTE_CHECK_CR0_RESERVED] = cr0 & ~(u64)MOTE_CR0_DEFINED;
	fails[MOTE_CHECK_CR0_NW] = cr0 & X86_CR0_NW && !(cr0 & X86_CR0_CD);
	fails[MOTE_CHECK_CR0_PG] = pg && !pe;
	fails[MOTE_CHECK_CR3_RESERVED] = s->crs.cr3 >> c->phys_bits;
	fails[MOTE_CHECK_CR4_VMXE] = cr4 & X86_CR4_VMXE;
	fails[MOTE_CHECK_CR4_RESERVED] = cr4 & ~c->cr4;
	fails[MOTE_CHECK_EFER_SVME] = efer & EFER_SVME;
	fails[MOTE_CHECK_EFER_RESERVED] = efer & ~c->efer;
	fails[MOTE_CHECK_EFER_LMA] = lma != (efer & EFER_LME && pg);
	fails[MOTE_CHECK_EFER_PAE] = lma && !pae;
	fails[MOTE_CHECK_CR4_PCIDE] = cr4 & X86_CR4_PCIDE && !lma;
	fails[MOTE_CHECK_CR8_RESERVED] = s->crs.cr8 > 15;
	fails[MOTE_CHECK_XCR0] = !mote_xcr0_valid(s->crs.xcr0, c);
	fails[MOTE_CHECK_MSR_VALUES] = !mote_msrs_valid(&s->msrs, c);
	fails[MOTE_CHECK_DR6_HIGH] = s->drs.dr6 & HIGH;
	fails[MOTE_CHECK_DR7_HIGH] = s->drs.dr7 & HIGH;
	if (pg && pae && !lma && s->crs.flags & MOTE_CRS_PDPTE)
		for (i = 0; i < ARRAY_SIZE(s->crs.pdpte); i++)
			fails[MOTE_CHECK_PDPTES] |= !mote_pdpte_valid(pdpte[i], c);

	fails[MOTE_CHECK_RFLAGS_BIT1] = !(rflags & X86_EFLAGS_FIXED);
	fails[MOTE_CHECK_RFLAGS_RESERVED] = rflags & ~RFLAGS_DEFINED;
	fails[MOTE_CHECK_RFLAGS_VM_LONG] = is_v86(s) && lma;
	fails[MOTE_CHECK_RFLAGS_VM_REAL] = is_v86(s) && !pe;
	fails[MOTE_CHECK_RIP_HIGH] = !is_64bit(s) && rip & HIGH;
	/* It may be the first one behind those that are: the fetch is what faults. */
	fails[MOTE_CHECK_RIP_CANONICAL] = is_64bit(s) &&
					  (u64)((s64)rip >> (c->virt_bits - 1) >> 1) + 1 > 1;
}

/* Rules for each of several segments; if it is usable, but for those of virtual-8086 mode. */
static void check_segments(const struct mote_state *s, bool *fails)
{
	u32 i;

	for (i = 0; i < MOTE_NR_SEGS; i++) {
		const struct mote_segment *seg = &s->segs.seg[i];
		bool is_data = i <= MOTE_GS && i != MOTE_CS;

		fails[MOTE_CHECK_ATTR_RESERVED] |= seg->attr & ATTR_RESERVED;
		fails[MOTE_CHECK_V86_SEGMENTS] |= i <= MOTE_GS && is_v86(s) && !is_v86_segment(seg);
		if (!(seg->attr & ATTR_P))
			continue;
		fails[MOTE_CHECK_DATA_SYSTEM] |= is_data && !(seg->attr & ATTR_S);
		fails[MOTE_CHECK_DATA_TYPE] |= is_data && i != MOTE_SS && !is_type(seg, TYPES_READ);
		fails[MOTE_CHECK_DATA_BASE] |= is_data && i <= MOTE_DS && seg->base & HIGH;
		/* "If any bit in limit 11:0 is 0, G is 0; if any in 31:20 is 1, G is 1." */
		fails[MOTE_CHECK_LIMITS] |= seg->attr & ATTR_G ? (seg->limit & 0xfff) != 0xfff :
								 seg->limit >> 20;
	}
}

static void check_cs_and_ss(const struct mote_state *s, bool *fails)
{
	const struct mote_segment *cs = &s->segs.seg[MOTE_CS], *ss = &s->segs.seg[MOTE_SS];
	bool is_data = is_type(cs, BIT(3));

	fails[MOTE_CHECK_CS_PRESENT] = !(cs->attr & ATTR_P);
	fails[MOTE_CHECK_CS_TYPE] = !is_v86(s) &&
				    (!(cs->attr & ATTR_S) || !is_type(cs, TYPES_CODE | BIT(3)));
	fails[MOTE_CHECK_CS_DATA_DPL] = !is_v86(s) && is_data && ATTR_DPL(cs);
	fails[MOTE_CHECK_CS_DPL] = is_type(cs, BIT(9) | BIT(11)) && ATTR_DPL(cs) != ATTR_DPL(ss);
	fails[MOTE_CHECK_CS_CONFORMING_DPL] = is_type(cs, BIT(13) | BIT(15)) &&
					      ATTR_DPL(cs) > ATTR_DPL(ss);
	fails[MOTE_CHECK_CS_L_D] = is_64bit(s) && cs->attr & ATTR_DB;
	fails[MOTE_CHECK_CS_BASE] = cs->base & HIGH;
	fails[MOTE_CHECK_SS_TYPE] = ss->attr & ATTR_P && !is_type(ss, BIT(3) | BIT(7));
	fails[MOTE_CHECK_SS_DPL] = ATTR_DPL(ss) && !is_v86(s) &&
				   (is_data || !(s->crs.cr0 & X86_CR0_PE));
}

static void check_tables(const struct mote_state *s, const struct mote_caps *c, bool *fails)
{
	const struct mote_segment *tr = &s->segs.seg[MOTE_TR], *ldtr = &s->segs.seg[MOTE_LDTR];

	fails[MOTE_CHECK_FS_GS_BASE] = !mote_is_canonical(s->segs.seg[MOTE_FS].base, c) ||
				       !mote_is_canonical(s->segs.seg[MOTE_GS].base, c);
	fails[MOTE_CHECK_TR_USABLE] = !(tr->attr & ATTR_P);
	fails[MOTE_CHECK_TR_TYPE] = tr->attr & ATTR_S ||
				    !is_type(tr, is_long(s) ? BIT(11) : BIT(3) | BIT(11));
	fails[MOTE_CHECK_TR_SELECTOR] = tr->selector & SELECTOR_TI;
	fails[MOTE_CHECK_TR_BASE] = !mote_is_canonical(tr->base, c);
	if (ldtr->attr & ATTR_P) {
		fails[MOTE_CHECK_LDTR_TYPE] = ldtr->attr & ATTR_S || !is_type(ldtr, BIT(2));
		fails[MOTE_CHECK_LDTR_SELECTOR] = ldtr->selector & SELECTOR_TI;
		fails[MOTE_CHECK_LDTR_BASE] = !mote_is_canonical(ldtr->base, c);
	}
	fails[MOTE_CHECK_GDTR_BASE] = !mote_is_canonical(s->segs.gdt.base, c);
	fails[MOTE_CHECK_IDTR_BASE] = !mote_is_canonical(s->segs.idt.base, c);
}

static void check_events(const struct mote_state *s, bool *fails)
{
	const struct mote_events *events = &s->events;
	const struct mote_event *event = &events->injected;
	bool is_exception = event->valid && event->type == MOTE_EVENT_EXCEPTION;
	bool flag_if = s->gprs.rflags & X86_EFLAGS_IF, flag_tf = s->gprs.rflags & X86_EFLAGS_TF;
	bool pending_bs = events->pending_debug & PENDING_BS;

	fails[MOTE_CHECK_SHADOW_BOTH] = events->shadow > MOTE_SHADOW_MOV_SS;
	fails[MOTE_CHECK_SHADOW_IF] = events->shadow == MOTE_SHADOW_STI && !flag_if;
	fails[MOTE_CHECK_HALTED_CPL] = events->halted && ATTR_DPL(&s->segs.seg[MOTE_SS]);
	fails[MOTE_CHECK_HALTED_SHADOW] = events->halted && events->shadow;
	fails[MOTE_CHECK_PENDING_RESERVED] = events->pending_debug & ~PENDING_DEFINED;
	fails[MOTE_CHECK_PENDING_BS] = events->shadow && flag_tf != pending_bs;
	fails[MOTE_CHECK_EVENT] = !mote_event_valid(event);
	fails[MOTE_CHECK_EVENT_INTERRUPT] = event->valid && event->type == MOTE_EVENT_INTERRUPT &&
					    (!flag_if || events->shadow);
	fails[MOTE_CHECK_EVENT_NMI] = event->valid && event->type == MOTE_EVENT_NMI &&
				      (events->shadow || events->nmi_blocked);
	/* In real mode, where none is pushed, the vendors' inject() drops it. */
	fails[MOTE_CHECK_EVENT_ERROR] = is_exception && s->crs.cr0 & X86_CR0_PE &&
					!event->has_error && event->vector < 32 &&
					HAS_ERROR >> event->vector & 1;
	fails[MOTE_CHECK_EVENT_64BIT] = is_exception && is_64bit(s) &&
					(event->vector == 4 || event->vector == 5);
}

u32 mote_check_state(const struct mote_state *state, const struct mote_caps *caps)
{
	bool fails[MOTE_NR_CHECKS] = {};
	u32 i;

	check_registers(state, caps, fails);
	check_segments(state, fails);
	check_cs_and_ss(state, fails);
	check_tables(state, caps, fails);
	check_events(state, fails);
	/* What others build upon comes first. */
	for (i = 0; i < MOTE_NR_CHECKS; i++)
		if (fails[i])
			return i;
	return MOTE_CHECK_NONE;
}
