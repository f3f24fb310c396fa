// SPDX-License-Identifier: GPL-2.0
/*
 * State checks, CPUID tables, filters and MSRs, fed with rubbish near what is
 * right.  Judges: linear searches; rules that must hold for whatever passes.
 */
#include "../kmod/guest/check.c"
#include "../kmod/guest/filter.c"
#include "../kmod/guest/msr.c"

#include "fuzz.h"

#define SOME_CAPS { .phys_bits = 40, .virt_bits = 48, .cr4 = 0x3727ff, .efer = 0xd01, .xcr0 = 0xe7 }

static void fail(const char *what)
{
	fprintf(stderr, "%s\n", what);
	abort();
}

/* ---- states ----------------------------------------------------------------------- */

static void set_long(struct mote_state *s)
{
	u32 i;

	memset(s, 0, sizeof(*s));
	for (i = MOTE_ES; i <= MOTE_GS; i++)
		s->segs.seg[i] = (struct mote_segment){ 0, U32_MAX, 0, 0xc093 };
	s->segs.seg[MOTE_CS].attr = 0xa09b;
	s->segs.seg[MOTE_TR] = (struct mote_segment){ 0, 0xffff, 0, 0x8b };
	s->gprs.rflags = 0x202;
	s->crs.cr0 = 0x80000031;
	s->crs.cr4 = X86_CR4_PAE;
	s->crs.xcr0 = 1;
	s->msrs.efer = EFER_LME | EFER_LMA;
	s->msrs.pat = 0x0007040600070406;
	s->msrs.apic_base = 0xfee00900;
}

/* What would let a guest reach what it must not, in words of its own. */
static void judge(const struct mote_state *s, const struct mote_caps *caps)
{
	bool lma = s->msrs.efer >> 10 & 1, pg = s->crs.cr0 >> 31, pe = s->crs.cr0 & 1;
	u32 i;

	if (s->crs.cr4 & ~caps->cr4 || s->msrs.efer & ~caps->efer || s->crs.xcr0 & ~caps->xcr0)
		fail("a feature that the guest does not have");
	if ((pg && !pe) || (lma && (!pg || !(s->crs.cr4 & 0x20) || !(s->msrs.efer >> 8 & 1))))
		fail("a mode that there is not");
	if (s->crs.cr0 >> 32 || s->crs.cr3 >> 40 || s->drs.dr6 >> 32 || s->drs.dr7 >> 32)
		fail("high bits");
	if ((s->gprs.rflags & 0xffffffffffc0802a) != 2 || (s->gprs.rflags >> 17 & 1 && (lma || !pe)))
		fail("RFLAGS");
	for (i = MOTE_ES; i <= MOTE_DS; i++)
		if (s->segs.seg[i].attr & 0x80 && s->segs.seg[i].base >> 32)
			fail("base");
	if (!(s->segs.seg[MOTE_CS].attr & 0x80) || !(s->segs.seg[MOTE_TR].attr & 0x80))
		fail("CS or TR is unusable");
}

static void flip(struct mote_state *s, u16 at, u16 bit)
{
	((u8 *)s)[at % sizeof(*s)] ^= BIT(bit % 8);
}

static void fuzz_state(struct fuzz_input *input)
{
	static const struct mote_caps caps = SOME_CAPS;
	static struct mote_state s;
	u32 check, n;

	set_long(&s);
	if (mote_check_state(&s, &caps))
		fail("long mode does not pass");
	for (n = fuzz_u16(input) % 8; n; n--) {
		u16 what = fuzz_u16(input);

		flip(&s, what, what >> 12);
		check = mote_check_state(&s, &caps);
		if (check != mote_check_state(&s, &caps))
			fail("two answers");
		if (!check)
			judge(&s, &caps);
		s.mask = MOTE_STATE_ALL;
		if (!check && mote_check_values(&s, &caps) && !s.events.pad &&
		    !s.segs.gdt.pad[0] && !s.segs.gdt.pad[1] && !s.segs.gdt.pad[2] &&
		    !s.segs.idt.pad[0] && !s.segs.idt.pad[1] && !s.segs.idt.pad[2] &&
		    s.events.nmi_pending <= 2 && s.events.nmi_blocked <= 1 && s.events.halted <= 2 &&
		    s.crs.flags <= 1 && mote_msrs_valid(&s.msrs, &caps))
			fail("a state passes whose values do not");
	}
}

/* ---- filters ------------------------------------------------------------------------ */

static u32 find_linear(const struct mote_filter_rule *rules, u32 nr, u32 number, u32 access)
{
	for (; nr; nr--, rules++)
		if (number >= rules->first && number <= rules->last)
			return rules->access & access ? rules->action : MOTE_FILTER_DEFAULT;
	return MOTE_FILTER_DEFAULT;
}

static void fuzz_filter(struct fuzz_input *input)
{
	struct mote_filter_rule rules[16];
	u32 nr = fuzz_u16(input) % 17, kind, i, number = 0;

	for (i = 0; i < nr; i++) {
		u16 what = fuzz_u16(input);

		rules[i].first = number + (what & 3);
		rules[i].last = rules[i].first + (what >> 2 & 3);
		rules[i].action = what >> 4 & 3;
		rules[i].access = what >> 6 & 3;
		number = rules[i].last + (what >> 8) % 40;
	}
	kind = fuzz_u16(input) % 5;
	if (mote_filter_check(kind, rules, nr))
		return;
	for (i = 0; i < number + 3; i++) {
		if (find_linear(rules, nr, i, MOTE_FILTER_READ) !=
		    mote_filter_find(rules, nr, i, MOTE_FILTER_READ))
			fail("filter");
		if (find_linear(rules, nr, i, MOTE_FILTER_WRITE) !=
		    mote_filter_find(rules, nr, i, MOTE_FILTER_WRITE))
			fail("filter");
	}
}

/* ---- MSRs ---------------------------------------------------------------------------- */

static void fuzz_msr(struct fuzz_input *input)
{
	static const struct mote_caps caps = SOME_CAPS;
	u32 index = (fuzz_u16(input) & 0x1fff) | (fuzz_u16(input) & 1 ? 0xc0010000 : 0) |
		    (fuzz_u16(input) & 1 ? 0xc0000000 : 0);
	const struct mote_msr *row = mote_msr_find(index), *linear = NULL;
	u64 value = 0;
	u32 i;

	for (i = 0; i < ARRAY_SIZE(msrs); i++)
		if (index >= msrs[i].first && index <= msrs[i].last)
			linear = &msrs[i];
	if (row != linear)
		fail("MSR");
	for (i = 0; i < 4; i++)
		value = value << 16 | fuzz_u16(input);
	if (row && mote_msr_valid(row, value, &caps) && row->kind == MOTE_MSR_FIXED)
		fail("an MSR that is read only");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = { data, size };

	while (input.size) {
		fuzz_state(&input);
		fuzz_filter(&input);
		fuzz_msr(&input);
	}
	return 0;
}
