// SPDX-License-Identifier: GPL-2.0
/*
 * Is this a state that a CPU can be in?  A table of everything that either
 * vendor's entry refuses, and of what neither can represent: a state that
 * passes enters on both.  Pure functions, run only when a state was set from
 * outside, or to name what the hardware did not like.
 *
 * The rules for segments are those for an unrestricted guest.
 */
#include <linux/bits.h>
#include <linux/errno.h>
#include <linux/kernel.h>
#include <asm/msr-index.h>
#include <asm/processor-flags.h>

#include "guest.h"

#define SDM_CRS "SDM 3C, \"Checks on Guest Control Registers, Debug Registers, and MSRs\", 27.3.1.1"
#define SDM_SEGS "SDM 3C, \"Checks on Guest Segment Registers\", 27.3.1.2"
#define SDM_TABLES "SDM 3C, \"Checks on Guest Descriptor-Table Registers\", 27.3.1.3"
#define SDM_RIP "SDM 3C, \"Checks on Guest RIP, RFLAGS, and SSP\", 27.3.1.4"
#define SDM_OTHER "SDM 3C, \"Checks on Guest Non-Register State\", 27.3.1.5"
#define SDM_PDPTE "SDM 3C, \"Checks on Guest Page-Directory-Pointer-Table Entries\", 27.3.1.6"
#define SDM_EVENT "SDM 3C, \"VM-Entry Control Fields\", 27.2.1.3"
#define SDM_CR0 "SDM 3A, \"Control Registers\", 2.5"
#define SDM_XCR0 "SDM 3A, \"Extended Control Registers (Including XCR0)\", 2.6"
#define SDM_MSRS "SDM 4, \"Architectural MSRs\", 2.1"
#define APM_CHECKS "APM 2, \"Canonicalization and Consistency Checks\", 15.5.1"
#define APM_EVENT "APM 2, \"Event Injection\", 15.20"

#define CR0_DEFINED (X86_CR0_PE | X86_CR0_MP | X86_CR0_EM | X86_CR0_TS | X86_CR0_ET | X86_CR0_NE | \
		     X86_CR0_WP | X86_CR0_AM | X86_CR0_NW | X86_CR0_CD | X86_CR0_PG)
#define RFLAGS_DEFINED (GENMASK_ULL(21, 0) & ~(BIT(15) | BIT(5) | BIT(3)))
#define PENDING_DEFINED (GENMASK_ULL(3, 0) | BIT(12) | BIT(14))
#define PENDING_BS BIT(14)
#define HIGH GENMASK_ULL(63, 32)

/* Vectors of exceptions that both vendors' CPUs raise, and those that push an error code. */
#define EXCEPTIONS (GENMASK(19, 0) & ~(BIT(2) | BIT(9) | BIT(15)))
#define HAS_ERROR (BIT(8) | GENMASK(14, 10) | BIT(17))

#define XCR0_YMM BIT(2)
#define XCR0_AVX512 GENMASK(7, 5)

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

static const struct mote_segment *seg(const struct mote_state *s, enum mote_seg n)
{
	return &s->segs.seg[n];
}

static bool is_usable(const struct mote_segment *seg)
{
	return seg->attr & ATTR_P;
}

static bool is_type(const struct mote_segment *seg, u32 types)
{
	return types >> ATTR_TYPE(seg) & 1;
}

/* "If any bit in limit 11:0 is 0, G is 0; if any in 31:20 is 1, G is 1." */
static bool is_limit_odd(const struct mote_segment *seg)
{
	if (seg->attr & ATTR_G)
		return (seg->limit & 0xfff) != 0xfff;
	return seg->limit >> 20;
}

/* Does any of the segments from..to, if usable, have what it must not? */
static bool any_segment(const struct mote_state *s, enum mote_seg from, enum mote_seg to,
			bool (*is_bad)(const struct mote_segment *seg))
{
	const struct mote_segment *seg;

	for (seg = &s->segs.seg[from]; seg <= &s->segs.seg[to]; seg++)
		if (is_usable(seg) && is_bad(seg))
			return true;
	return false;
}

static bool is_system(const struct mote_segment *seg)
{
	return !(seg->attr & ATTR_S);
}

static bool is_unreadable(const struct mote_segment *seg)
{
	return !is_type(seg, TYPES_READ);
}

static bool is_base_high(const struct mote_segment *seg)
{
	return seg->base & HIGH;
}

static bool is_v86_segment(const struct mote_segment *seg)
{
	return seg->base == (u64)seg->selector << 4 && seg->limit == 0xffff &&
	       seg->attr == ATTR_V86;
}

/* ---- modes ----------------------------------------------------------------------- */

static bool is_protected(const struct mote_state *s)
{
	return s->crs.cr0 & X86_CR0_PE;
}

static bool is_long(const struct mote_state *s)
{
	return s->msrs.efer & EFER_LMA;
}

static bool is_64bit(const struct mote_state *s)
{
	return is_long(s) && seg(s, MOTE_CS)->attr & ATTR_L;
}

static bool is_v86(const struct mote_state *s)
{
	return s->gprs.rflags & X86_EFLAGS_VM;
}

static bool is_pae(const struct mote_state *s)
{
	return s->crs.cr0 & X86_CR0_PG && s->crs.cr4 & X86_CR4_PAE && !is_long(s);
}

static bool has_injected(const struct mote_state *s, u8 type)
{
	return s->events.injected.valid && s->events.injected.type == type;
}

static bool has_shadow(const struct mote_state *s)
{
	return s->events.shadow;
}

/* ---- single values ------------------------------------------------------------------ */

bool mote_xcr0_valid(u64 xcr0, const struct mote_caps *caps)
{
	u64 avx512 = xcr0 & XCR0_AVX512;

	return xcr0 & 1 && !(xcr0 & ~caps->xcr0) && !(xcr0 & XCR0_YMM && !(xcr0 & BIT(1))) &&
	       (!avx512 || (avx512 == XCR0_AVX512 && xcr0 & XCR0_YMM));
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

static bool are_events_valid(const struct mote_events *events)
{
	return mote_event_valid(&events->injected) && !events->pad && events->nmi_pending <= 2 &&
	       events->nmi_blocked <= 1 && events->shadow <= MOTE_SHADOW_MOV_SS &&
	       events->halted <= MOTE_WAITS_FOR_SIPI;
}

static bool is_table_padded(const struct mote_table *table)
{
	return table->pad[0] || table->pad[1] || table->pad[2];
}

static bool are_segs_valid(const struct mote_segs *segs)
{
	u32 i;

	for (i = 0; i < MOTE_NR_SEGS; i++)
		if (segs->seg[i].attr & ATTR_RESERVED)
			return false;
	return !is_table_padded(&segs->gdt) && !is_table_padded(&segs->idt);
}

static bool are_msrs_valid(const struct mote_msrs *msrs, const struct mote_caps *caps)
{
	u64 reserved = 0;
	u32 i;

	for (i = 0; i < ARRAY_SIZE(msrs->reserved); i++)
		reserved |= msrs->reserved[i];
	return !reserved && mote_msrs_valid(msrs, caps);
}

int mote_check_values(const struct mote_state *state, const struct mote_caps *caps)
{
	const struct mote_crs *crs = &state->crs;
	bool ok = true;

	if (state->mask & MOTE_STATE_SEGS)
		ok &= are_segs_valid(&state->segs);
	if (state->mask & MOTE_STATE_CRS)
		ok &= !(crs->flags & ~(u64)MOTE_CRS_PDPTE) && crs->cr8 <= 15 &&
		      mote_xcr0_valid(crs->xcr0, caps);
	if (state->mask & MOTE_STATE_DRS)
		ok &= !((state->drs.dr6 | state->drs.dr7) & HIGH);
	if (state->mask & MOTE_STATE_MSRS)
		ok &= are_msrs_valid(&state->msrs, caps);
	if (state->mask & MOTE_STATE_EVENTS)
		ok &= are_events_valid(&state->events);
	return ok ? 0 : -EINVAL;
}

/* ---- the checks: true if the state fails ---------------------------------------------- */

#define FAILS(name) \
	static bool name(const struct mote_state *s, const struct mote_caps *c)

FAILS(cr0_reserved) { return s->crs.cr0 & ~CR0_DEFINED; }
FAILS(cr0_nw) { return s->crs.cr0 & X86_CR0_NW && !(s->crs.cr0 & X86_CR0_CD); }
FAILS(cr0_pg) { return s->crs.cr0 & X86_CR0_PG && !is_protected(s); }
FAILS(cr3_reserved) { return s->crs.cr3 >> c->phys_bits; }
FAILS(cr4_vmxe) { return s->crs.cr4 & X86_CR4_VMXE; }
FAILS(cr4_reserved) { return s->crs.cr4 & ~c->cr4; }
FAILS(cr4_pcide) { return s->crs.cr4 & X86_CR4_PCIDE && !is_long(s); }
FAILS(cr8_reserved) { return s->crs.cr8 > 15; }
FAILS(efer_svme) { return s->msrs.efer & EFER_SVME; }
FAILS(efer_reserved) { return s->msrs.efer & ~c->efer; }
FAILS(efer_lma)
{
	return is_long(s) != (s->msrs.efer & EFER_LME && s->crs.cr0 & X86_CR0_PG);
}

FAILS(efer_pae) { return is_long(s) && !(s->crs.cr4 & X86_CR4_PAE); }
FAILS(xcr0) { return !mote_xcr0_valid(s->crs.xcr0, c); }
FAILS(msr_values) { return !mote_msrs_valid(&s->msrs, c); }
FAILS(dr6_high) { return s->drs.dr6 & HIGH; }
FAILS(dr7_high) { return s->drs.dr7 & HIGH; }

FAILS(pdptes)
{
	u64 reserved = ~GENMASK_ULL(c->phys_bits - 1, 0) | GENMASK(8, 5) | GENMASK(2, 1);
	u32 i;

	if (!is_pae(s) || !(s->crs.flags & MOTE_CRS_PDPTE))
		return false;
	for (i = 0; i < ARRAY_SIZE(s->crs.pdpte); i++)
		if (s->crs.pdpte[i] & 1 && s->crs.pdpte[i] & reserved)
			return true;
	return false;
}

FAILS(rflags_bit1) { return !(s->gprs.rflags & X86_EFLAGS_FIXED); }
FAILS(rflags_reserved) { return s->gprs.rflags & ~RFLAGS_DEFINED; }
FAILS(rflags_vm_long) { return is_v86(s) && is_long(s); }
FAILS(rflags_vm_real) { return is_v86(s) && !is_protected(s); }
FAILS(rip_high) { return !is_64bit(s) && s->gprs.rip & HIGH; }
FAILS(rip_canonical) { return is_64bit(s) && !mote_is_canonical(s->gprs.rip, c); }

FAILS(attr_reserved)
{
	u32 i;

	for (i = 0; i < MOTE_NR_SEGS; i++)
		if (s->segs.seg[i].attr & ATTR_RESERVED)
			return true;
	return false;
}

FAILS(v86_segments)
{
	u32 i;

	if (!is_v86(s))
		return false;
	for (i = MOTE_ES; i <= MOTE_GS; i++)
		if (!is_v86_segment(&s->segs.seg[i]))
			return true;
	return false;
}

/* Rules for the segments of virtual-8086 mode are all in v86_segments(). */
FAILS(cs_present) { return !is_usable(seg(s, MOTE_CS)); }
FAILS(cs_type)
{
	return !is_v86(s) && (is_system(seg(s, MOTE_CS)) ||
			      !is_type(seg(s, MOTE_CS), TYPES_CODE | BIT(3)));
}

FAILS(cs_data_dpl)
{
	return !is_v86(s) && is_type(seg(s, MOTE_CS), BIT(3)) && ATTR_DPL(seg(s, MOTE_CS));
}

FAILS(cs_dpl)
{
	return is_type(seg(s, MOTE_CS), BIT(9) | BIT(11)) &&
	       ATTR_DPL(seg(s, MOTE_CS)) != ATTR_DPL(seg(s, MOTE_SS));
}

FAILS(cs_conforming_dpl)
{
	return is_type(seg(s, MOTE_CS), BIT(13) | BIT(15)) &&
	       ATTR_DPL(seg(s, MOTE_CS)) > ATTR_DPL(seg(s, MOTE_SS));
}

FAILS(cs_l_d)
{
	return is_64bit(s) && seg(s, MOTE_CS)->attr & ATTR_DB;
}

FAILS(cs_base) { return seg(s, MOTE_CS)->base & HIGH; }
FAILS(ss_type)
{
	return is_usable(seg(s, MOTE_SS)) && !is_type(seg(s, MOTE_SS), BIT(3) | BIT(7));
}

FAILS(ss_dpl)
{
	return ATTR_DPL(seg(s, MOTE_SS)) && !is_v86(s) &&
	       (!is_protected(s) || is_type(seg(s, MOTE_CS), BIT(3)));
}

FAILS(data_system) { return any_segment(s, MOTE_SS, MOTE_GS, is_system) ||
			    any_segment(s, MOTE_ES, MOTE_ES, is_system); }
FAILS(data_type) { return any_segment(s, MOTE_DS, MOTE_GS, is_unreadable) ||
			  any_segment(s, MOTE_ES, MOTE_ES, is_unreadable); }
FAILS(data_base) { return any_segment(s, MOTE_SS, MOTE_DS, is_base_high) ||
			  any_segment(s, MOTE_ES, MOTE_ES, is_base_high); }
FAILS(fs_gs_base)
{
	return !mote_is_canonical(seg(s, MOTE_FS)->base, c) ||
	       !mote_is_canonical(seg(s, MOTE_GS)->base, c);
}

FAILS(limits) { return any_segment(s, MOTE_ES, MOTE_TR, is_limit_odd); }

FAILS(tr_usable) { return !is_usable(seg(s, MOTE_TR)); }
FAILS(tr_type)
{
	return !is_system(seg(s, MOTE_TR)) ||
	       !is_type(seg(s, MOTE_TR), is_long(s) ? BIT(11) : BIT(3) | BIT(11));
}

FAILS(tr_selector) { return seg(s, MOTE_TR)->selector & SELECTOR_TI; }
FAILS(tr_base) { return !mote_is_canonical(seg(s, MOTE_TR)->base, c); }
FAILS(ldtr_type)
{
	return is_usable(seg(s, MOTE_LDTR)) &&
	       (!is_system(seg(s, MOTE_LDTR)) || !is_type(seg(s, MOTE_LDTR), BIT(2)));
}

FAILS(ldtr_selector)
{
	return is_usable(seg(s, MOTE_LDTR)) && seg(s, MOTE_LDTR)->selector & SELECTOR_TI;
}

FAILS(ldtr_base)
{
	return is_usable(seg(s, MOTE_LDTR)) && !mote_is_canonical(seg(s, MOTE_LDTR)->base, c);
}

FAILS(gdtr_base) { return !mote_is_canonical(s->segs.gdt.base, c); }
FAILS(idtr_base) { return !mote_is_canonical(s->segs.idt.base, c); }

FAILS(shadow_both) { return s->events.shadow > MOTE_SHADOW_MOV_SS; }
FAILS(shadow_if)
{
	return s->events.shadow == MOTE_SHADOW_STI && !(s->gprs.rflags & X86_EFLAGS_IF);
}

FAILS(halted_cpl) { return s->events.halted && ATTR_DPL(seg(s, MOTE_SS)); }
FAILS(halted_shadow) { return s->events.halted && has_shadow(s); }
FAILS(pending_reserved) { return s->events.pending_debug & ~PENDING_DEFINED; }
FAILS(pending_bs)
{
	bool tf = s->gprs.rflags & X86_EFLAGS_TF, bs = s->events.pending_debug & PENDING_BS;

	return has_shadow(s) && tf != bs;
}

FAILS(event) { return !mote_event_valid(&s->events.injected); }
FAILS(event_interrupt)
{
	return has_injected(s, MOTE_EVENT_INTERRUPT) &&
	       (!(s->gprs.rflags & X86_EFLAGS_IF) || has_shadow(s));
}

FAILS(event_nmi)
{
	return has_injected(s, MOTE_EVENT_NMI) && (has_shadow(s) || s->events.nmi_blocked);
}

FAILS(event_error)
{
	const struct mote_event *event = &s->events.injected;

	/* In real mode, where none is pushed, the vendors' inject() drops it. */
	return has_injected(s, MOTE_EVENT_EXCEPTION) && is_protected(s) && !event->has_error &&
	       HAS_ERROR >> event->vector & 1;
}

FAILS(event_64bit)
{
	u8 vector = s->events.injected.vector;

	return has_injected(s, MOTE_EVENT_EXCEPTION) && is_64bit(s) && (vector == 4 || vector == 5);
}

/*
 * The first that fails is the one that is named: what others build upon comes
 * first.
 */
static const struct mote_check checks[] = {
	{ "a reserved bit of CR0 is set", SDM_CR0, cr0_reserved },
	{ "CR0.NW is set without CR0.CD", APM_CHECKS, cr0_nw },
	{ "CR0.PG is set without CR0.PE", SDM_CRS, cr0_pg },
	{ "CR3 goes beyond the width of physical addresses", SDM_CRS, cr3_reserved },
	{ "CR4.VMXE is set: guests have no VMX", SDM_CRS, cr4_vmxe },
	{ "a bit of CR4 is set that is reserved or belongs to a feature the guest does not have",
	  SDM_CRS, cr4_reserved },
	{ "EFER.SVME is set: guests have no SVM", APM_CHECKS, efer_svme },
	{ "a bit of EFER is set that is reserved or belongs to a feature the guest does not have",
	  SDM_CRS, efer_reserved },
	{ "EFER.LMA is not what EFER.LME and CR0.PG make it", SDM_CRS, efer_lma },
	{ "EFER.LMA is set without CR4.PAE", APM_CHECKS, efer_pae },
	{ "CR4.PCIDE is set outside of long mode", SDM_CRS, cr4_pcide },
	{ "CR8 is above 15", SDM_CR0, cr8_reserved },
	{ "XCR0 has an impossible combination of components, or one the guest does not have",
	  SDM_XCR0, xcr0 },
	{ "an MSR has a value that WRMSR refuses (PAT types, canonical addresses, reserved bits)",
	  SDM_MSRS, msr_values },
	{ "a bit in the upper half of DR6 is set", APM_CHECKS, dr6_high },
	{ "a bit in the upper half of DR7 is set", SDM_CRS, dr7_high },
	{ "a PDPTE that is present has a reserved bit set", SDM_PDPTE, pdptes },

	{ "bit 1 of RFLAGS is clear", SDM_RIP, rflags_bit1 },
	{ "a reserved bit of RFLAGS is set", SDM_RIP, rflags_reserved },
	{ "RFLAGS.VM is set in long mode", SDM_RIP, rflags_vm_long },
	{ "RFLAGS.VM is set in real mode", SDM_RIP, rflags_vm_real },

	{ "one of bits 8 to 11 of a segment's attributes is set", SDM_SEGS, attr_reserved },
	{ "a segment in virtual-8086 mode is not: base selector * 16, limit 0xffff, attr 0xf3",
	  SDM_SEGS, v86_segments },
	{ "CS is not present", SDM_SEGS, cs_present },
	{ "CS is neither accessed code nor a data segment of type 3", SDM_SEGS, cs_type },
	{ "CS is a data segment and its DPL is not 0", SDM_SEGS, cs_data_dpl },
	{ "CS is non-conforming and its DPL is not that of SS", SDM_SEGS, cs_dpl },
	{ "CS is conforming and its DPL is above that of SS", SDM_SEGS, cs_conforming_dpl },
	{ "CS.L and CS.D are both set in long mode", APM_CHECKS, cs_l_d },
	{ "the base of CS is above 4 GiB", SDM_SEGS, cs_base },
	{ "SS is not an accessed, writable data segment", SDM_SEGS, ss_type },
	{ "the DPL of SS is not 0 in real mode or with a data segment in CS", SDM_SEGS, ss_dpl },
	{ "SS, DS, ES, FS or GS is a system segment", SDM_SEGS, data_system },
	{ "DS, ES, FS or GS is not accessed or not readable", SDM_SEGS, data_type },
	{ "the base of SS, DS or ES is above 4 GiB", SDM_SEGS, data_base },
	{ "the base of FS or GS is not canonical", SDM_SEGS, fs_gs_base },
	{ "a segment's limit does not agree with its granularity", SDM_SEGS, limits },
	{ "TR is not present", SDM_SEGS, tr_usable },
	{ "TR is not a busy TSS (in long mode: of 64 bits)", SDM_SEGS, tr_type },
	{ "TR's selector points into the LDT", SDM_SEGS, tr_selector },
	{ "the base of TR is not canonical", SDM_SEGS, tr_base },
	{ "LDTR is not an LDT", SDM_SEGS, ldtr_type },
	{ "LDTR's selector points into the LDT", SDM_SEGS, ldtr_selector },
	{ "the base of LDTR is not canonical", SDM_SEGS, ldtr_base },
	{ "the base of GDTR is not canonical", SDM_TABLES, gdtr_base },
	{ "the base of IDTR is not canonical", SDM_TABLES, idtr_base },
	{ "RIP is above 4 GiB outside of 64-bit mode", SDM_RIP, rip_high },
	{ "RIP is not canonical", SDM_RIP, rip_canonical },

	{ "shadows of STI and of MOV SS at once", SDM_OTHER, shadow_both },
	{ "a shadow of STI without RFLAGS.IF", SDM_OTHER, shadow_if },
	{ "halted with a CPL that is not 0", SDM_OTHER, halted_cpl },
	{ "halted in the shadow of STI or MOV SS", SDM_OTHER, halted_shadow },
	{ "a reserved bit of the pending debug exceptions is set", SDM_OTHER, pending_reserved },
	{ "in the shadow of STI or MOV SS, pending BS is not what RFLAGS.TF is", SDM_OTHER,
	  pending_bs },
	{ "the event to inject has an impossible type, vector or error code", APM_EVENT, event },
	{ "an interrupt to inject, but RFLAGS.IF is clear or there is a shadow", SDM_OTHER,
	  event_interrupt },
	{ "an NMI to inject in a shadow or while NMIs are blocked", SDM_OTHER, event_nmi },
	{ "the exception to inject has no error code, but one is pushed", SDM_EVENT, event_error },
	{ "#OF or #BR to inject in 64-bit mode, where no instruction raises them", APM_EVENT,
	  event_64bit },
};

const struct mote_check *mote_check_state(const struct mote_state *state,
					  const struct mote_caps *caps)
{
	const struct mote_check *check;

	for (check = checks; check < checks + ARRAY_SIZE(checks); check++)
		if (check->fails(state, caps))
			return check;
	return NULL;
}
