// SPDX-License-Identifier: GPL-2.0
/*
 * The state checks: states of every mode pass; each check is failed by a state
 * that differs from one of those in one thing; single values.
 */
#include <kunit/test.h>
#include <linux/module.h>
#include <linux/string.h>

#include "../guest/check.c"

static const struct mote_caps caps = {
	.phys_bits = 40,
	.virt_bits = 48,
	.cr4 = X86_CR4_VME | X86_CR4_PVI | X86_CR4_TSD | X86_CR4_DE | X86_CR4_PSE | X86_CR4_PAE |
	       X86_CR4_MCE | X86_CR4_PGE | X86_CR4_PCE | X86_CR4_OSFXSR | X86_CR4_OSXMMEXCPT |
	       X86_CR4_PCIDE | X86_CR4_OSXSAVE | X86_CR4_FSGSBASE | X86_CR4_SMEP | X86_CR4_SMAP,
	.efer = EFER_SCE | EFER_LME | EFER_LMA | EFER_NX,
	.xcr0 = 0xe7,
};

#define HIGH_START 0xffff800000000000
#define LOW_END 0x00007fffffffffff

/* ---- states that pass ---------------------------------------------------------- */

enum mode { RESET, REAL, PROTECTED, PAE, LONG, USER, COMPAT, V86, NR_MODES };

static void set_segments(struct mote_state *s, u64 base, u32 limit, u16 code, u16 data)
{
	u32 i;

	for (i = MOTE_ES; i <= MOTE_GS; i++)
		s->segs.seg[i] = (struct mote_segment){ base, limit, base >> 4, data };
	s->segs.seg[MOTE_CS].attr = code;
}

static void set_reset(struct mote_state *s)
{
	memset(s, 0, sizeof(*s));
	set_segments(s, 0, 0xffff, 0x9b, 0x93);
	s->segs.seg[MOTE_CS].base = 0xffff0000;
	s->segs.seg[MOTE_CS].selector = 0xf000;
	s->segs.seg[MOTE_LDTR] = (struct mote_segment){ 0, 0xffff, 0, 0x82 };
	s->segs.seg[MOTE_TR] = (struct mote_segment){ 0, 0xffff, 0, 0x8b };
	s->segs.gdt.limit = 0xffff;
	s->segs.idt.limit = 0xffff;
	s->gprs.rip = 0xfff0;
	s->gprs.rflags = X86_EFLAGS_FIXED;
	s->crs.cr0 = X86_CR0_CD | X86_CR0_NW | X86_CR0_ET;
	s->crs.xcr0 = 1;
	s->drs.dr6 = 0xffff0ff0;
	s->drs.dr7 = 0x400;
	s->msrs.pat = 0x0007040600070406;
	s->msrs.apic_base = 0xfee00900;
	s->msrs.misc_enable = 1;
}

static void set_mode(struct mote_state *s, enum mode mode)
{
	set_reset(s);
	if (mode == RESET)
		return;
	s->crs.cr0 = X86_CR0_ET;
	set_segments(s, 0, 0xffff, 0x9b, 0x93);
	if (mode == REAL)
		return;
	s->crs.cr0 |= X86_CR0_PE | X86_CR0_NE;
	s->gprs.rflags |= X86_EFLAGS_IF;
	set_segments(s, 0, U32_MAX, 0xc09b, 0xc093);
	switch (mode) {
	case USER:
		set_segments(s, 0, U32_MAX, 0xa0fb, 0xc0f3);
		fallthrough;
	case LONG:
		s->segs.seg[MOTE_CS].attr = mode == LONG ? 0xa09b : 0xa0fb;
		s->segs.seg[MOTE_FS].base = HIGH_START;
		s->segs.seg[MOTE_LDTR].attr = 0;
		s->segs.gdt.base = U64_MAX - 0xfff;
		s->gprs.rip = HIGH_START;
		fallthrough;
	case COMPAT:
		s->msrs.efer = EFER_LME | EFER_LMA | EFER_NX;
		fallthrough;
	case PAE:
		s->crs.cr0 |= X86_CR0_PG | X86_CR0_WP;
		s->crs.cr4 = X86_CR4_PAE;
		s->crs.cr3 = 0xfffffff000;
		break;
	case V86:
		s->gprs.rflags |= X86_EFLAGS_VM;
		set_segments(s, 0x12340, 0xffff, 0xf3, 0xf3);
		break;
	default:
		break;
	}
}

static void expect_passes(struct kunit *test, const struct mote_state *s, const char *what)
{
	KUNIT_EXPECT_EQ_MSG(test, MOTE_CHECK_NONE, mote_check_state(s, &caps), "%s", what);
	KUNIT_EXPECT_EQ_MSG(test, 0, mote_check_values(s, &caps), "%s", what);
}

/* ---- changes of one thing ---------------------------------------------------------- */

/**
 * struct change - bits to invert in a state
 * @at: offset in struct mote_state
 * @size: of the field
 * @bits: to invert
 */
struct change {
	u16 at;
	u8 size;
	u64 bits;
};

#define AT(field, b) { offsetof(struct mote_state, field),				\
		       sizeof_field(struct mote_state, field), (b) }
#define SEG(n, field, b) AT(segs.seg[n].field, b)
#define ATTR(n, b) AT(segs.seg[n].attr, b)
#define EVENT(field, b) AT(events.injected.field, b)
/* From none to one that passes but for the rest. */
#define INTERRUPT EVENT(valid, 1)
#define NMI EVENT(valid, 1), EVENT(type, MOTE_EVENT_NMI), EVENT(vector, 2)
#define EXCEPTION(v) EVENT(valid, 1), EVENT(type, MOTE_EVENT_EXCEPTION), EVENT(vector, v)

static void apply(struct mote_state *s, const struct change *changes, u32 nr)
{
	for (; nr; nr--, changes++) {
		u8 *field = (u8 *)s + changes->at;
		u64 value = 0;

		memcpy(&value, field, changes->size);
		value ^= changes->bits;
		memcpy(field, &value, changes->size);
	}
}

struct pass_case {
	const char *name;
	enum mode mode;
	struct change changes[5];
};

static const struct pass_case pass_cases[] = {
	{ "unreal mode", REAL, { SEG(MOTE_DS, limit, 0xffff0000), ATTR(MOTE_DS, 0x8000) } },
	{ "real mode with data in CS", REAL, { ATTR(MOTE_CS, 8) } },
	{ "real mode with RPLs", REAL, { SEG(MOTE_CS, selector, 3), SEG(MOTE_SS, selector, 2) } },
	{ "no cache", LONG, { AT(crs.cr0, X86_CR0_CD) } },
	{ "PCID", LONG, { AT(crs.cr4, X86_CR4_PCIDE), AT(crs.cr3, 0xabc) } },
	{ "EFER.LME without paging", PROTECTED, { AT(msrs.efer, EFER_LME) } },
	{ "unusable SS", USER, { ATTR(MOTE_SS, 0x93) } },
	{ "unusable data with rubbish", LONG,
	  { ATTR(MOTE_DS, 0x93), SEG(MOTE_DS, base, BIT_ULL(40)), SEG(MOTE_DS, limit, 0xabc) } },
	{ "LDTR not usable with a TI selector", LONG, { SEG(MOTE_LDTR, selector, 4) } },
	{ "conforming CS below the CPL", USER, { ATTR(MOTE_CS, 0x64) } },
	{ "code in DS", PROTECTED, { ATTR(MOTE_DS, 8) } },
	{ "expand-down SS", PROTECTED, { ATTR(MOTE_SS, 4) } },
	{ "16-bit TSS", PROTECTED, { ATTR(MOTE_TR, 8) } },
	{ "large TSS", LONG, { SEG(MOTE_TR, limit, 0xfffffU << 12), ATTR(MOTE_TR, 0x8000) } },
	{ "AVX", LONG, { AT(crs.xcr0, 6) } },
	{ "AVX-512", LONG, { AT(crs.xcr0, 0xe6) } },
	{ "PDPTEs", PAE, { AT(crs.flags, MOTE_CRS_PDPTE), AT(crs.pdpte[0], 0xfffffff219),
			   AT(crs.pdpte[1], 0xfffffffffffffffe) } },
	{ "PDPTEs not in use", LONG, { AT(crs.flags, MOTE_CRS_PDPTE), AT(crs.pdpte[0], U64_MAX) } },
	{ "STI", LONG, { AT(events.shadow, MOTE_SHADOW_STI) } },
	{ "MOV SS, single step", LONG,
	  { AT(events.shadow, MOTE_SHADOW_MOV_SS), AT(gprs.rflags, X86_EFLAGS_TF),
	    AT(events.pending_debug, PENDING_BS) } },
	{ "MOV SS without IF", REAL, { AT(events.shadow, MOTE_SHADOW_MOV_SS) } },
	{ "pending breakpoint", LONG, { AT(events.pending_debug, 0x1001) } },
	{ "halted", LONG, { AT(events.halted, 1) } },
	{ "interrupt", LONG, { INTERRUPT, EVENT(vector, 0xff) } },
	{ "NMI", REAL, { NMI } },
	{ "#PF", LONG, { EXCEPTION(14), EVENT(has_error, 1), EVENT(error, 0xffff) } },
	{ "#GP in real mode", REAL, { EXCEPTION(13) } },
	{ "#GP in real mode, its error dropped", REAL, { EXCEPTION(13), EVENT(has_error, 1) } },
	{ "#GP in virtual-8086 mode", V86, { EXCEPTION(13), EVENT(has_error, 1) } },
	{ "#OF", COMPAT, { EXCEPTION(4) } },
	{ "#DB in a shadow", LONG, { EXCEPTION(1), AT(events.shadow, MOTE_SHADOW_MOV_SS) } },
};

static void check_pass_test(struct kunit *test)
{
	static const char * const names[] = { "reset", "real", "protected", "PAE", "long", "user",
					      "compatibility", "virtual-8086" };
	struct mote_state *s = kunit_kzalloc(test, sizeof(*s), GFP_KERNEL);
	u32 i;

	for (i = 0; i < NR_MODES; i++) {
		set_mode(s, i);
		s->mask = MOTE_STATE_ALL;
		expect_passes(test, s, names[i]);
	}
	for (i = 0; i < ARRAY_SIZE(pass_cases); i++) {
		set_mode(s, pass_cases[i].mode);
		s->mask = MOTE_STATE_ALL;
		apply(s, pass_cases[i].changes, ARRAY_SIZE(pass_cases[i].changes));
		expect_passes(test, s, pass_cases[i].name);
	}
}

struct fail_case {
	u32 fails;
	enum mode mode;
	struct change changes[5];
};

#define C(name) MOTE_CHECK_##name

static const struct fail_case fail_cases[] = {
	{ C(CR0_RESERVED), LONG, { AT(crs.cr0, BIT_ULL(32)) } },
	{ C(CR0_RESERVED), LONG, { AT(crs.cr0, BIT(6)) } },
	{ C(CR0_NW), LONG, { AT(crs.cr0, X86_CR0_NW) } },
	{ C(CR0_PG), REAL, { AT(crs.cr0, X86_CR0_PG) } },
	{ C(CR0_PG), LONG, { AT(crs.cr0, X86_CR0_PE) } },
	{ C(CR3_RESERVED), LONG, { AT(crs.cr3, BIT_ULL(40)) } },
	{ C(CR3_RESERVED), LONG, { AT(crs.cr3, BIT_ULL(63)) } },
	{ C(CR4_VMXE), LONG, { AT(crs.cr4, X86_CR4_VMXE) } },
	{ C(CR4_RESERVED), LONG, { AT(crs.cr4, X86_CR4_PKE) } },
	{ C(CR4_RESERVED), LONG, { AT(crs.cr4, BIT_ULL(32)) } },
	{ C(EFER_SVME), LONG, { AT(msrs.efer, EFER_SVME) } },
	{ C(EFER_RESERVED), LONG, { AT(msrs.efer, BIT(1)) } },
	{ C(EFER_RESERVED), LONG, { AT(msrs.efer, EFER_FFXSR) } },
	{ C(EFER_LMA), LONG, { AT(msrs.efer, EFER_LMA) } },
	{ C(EFER_LMA), LONG, { AT(msrs.efer, EFER_LME) } },
	{ C(EFER_LMA), LONG, { AT(crs.cr0, X86_CR0_PG) } },
	{ C(EFER_LMA), PROTECTED, { AT(msrs.efer, EFER_LMA) } },
	{ C(EFER_PAE), LONG, { AT(crs.cr4, X86_CR4_PAE) } },
	{ C(CR4_PCIDE), PAE, { AT(crs.cr4, X86_CR4_PCIDE) } },
	{ C(CR8_RESERVED), LONG, { AT(crs.cr8, 16) } },
	{ C(XCR0), LONG, { AT(crs.xcr0, 1) } },
	{ C(XCR0), LONG, { AT(crs.xcr0, 4) } },
	{ C(XCR0), LONG, { AT(crs.xcr0, 0xe0) } },
	{ C(XCR0), LONG, { AT(crs.xcr0, 0x66) } },
	{ C(XCR0), LONG, { AT(crs.xcr0, 0x18) } },
	{ C(MSR_VALUES), LONG, { AT(msrs.pat, 0x600) } },
	{ C(MSR_VALUES), LONG, { AT(msrs.lstar, LOW_END + 1) } },
	{ C(DR6_HIGH), LONG, { AT(drs.dr6, BIT_ULL(32)) } },
	{ C(DR7_HIGH), LONG, { AT(drs.dr7, BIT_ULL(63)) } },
	{ C(PDPTES), PAE, { AT(crs.flags, MOTE_CRS_PDPTE), AT(crs.pdpte[3], 1 | BIT_ULL(40)) } },
	{ C(PDPTES), PAE, { AT(crs.flags, MOTE_CRS_PDPTE), AT(crs.pdpte[0], 3) } },
	{ C(PDPTES), PAE, { AT(crs.flags, MOTE_CRS_PDPTE), AT(crs.pdpte[0], 0x101) } },
	{ C(PDPTES), PAE, { AT(crs.flags, MOTE_CRS_PDPTE), AT(crs.pdpte[0], 1 | BIT_ULL(63)) } },

	{ C(RFLAGS_BIT1), LONG, { AT(gprs.rflags, 2) } },
	{ C(RFLAGS_RESERVED), LONG, { AT(gprs.rflags, 8) } },
	{ C(RFLAGS_RESERVED), LONG, { AT(gprs.rflags, BIT(22)) } },
	{ C(RFLAGS_RESERVED), LONG, { AT(gprs.rflags, BIT(15)) } },
	{ C(RFLAGS_VM_LONG), LONG, { AT(gprs.rflags, X86_EFLAGS_VM) } },
	{ C(RFLAGS_VM_REAL), REAL, { AT(gprs.rflags, X86_EFLAGS_VM) } },

	{ C(ATTR_RESERVED), LONG, { ATTR(MOTE_LDTR, 0x100) } },
	{ C(V86_SEGMENTS), V86, { SEG(MOTE_GS, base, 0x10) } },
	{ C(V86_SEGMENTS), V86, { SEG(MOTE_ES, limit, 1) } },
	{ C(V86_SEGMENTS), V86, { ATTR(MOTE_SS, 0x20) } },
	{ C(CS_PRESENT), LONG, { ATTR(MOTE_CS, 0x80) } },
	{ C(CS_TYPE), LONG, { ATTR(MOTE_CS, 1) } },
	{ C(CS_TYPE), REAL, { ATTR(MOTE_CS, 0xc) } },
	{ C(CS_TYPE), LONG, { ATTR(MOTE_CS, 0x10) } },
	{ C(CS_DATA_DPL), REAL, { ATTR(MOTE_CS, 0x28) } },
	{ C(CS_DPL), LONG, { ATTR(MOTE_CS, 0x60) } },
	{ C(CS_DPL), USER, { ATTR(MOTE_SS, 0x60) } },
	{ C(CS_CONFORMING_DPL), LONG, { ATTR(MOTE_CS, 0x24) } },
	{ C(CS_L_D), LONG, { ATTR(MOTE_CS, 0x4000) } },
	{ C(CS_BASE), LONG, { SEG(MOTE_CS, base, BIT_ULL(32)) } },
	{ C(SS_TYPE), LONG, { ATTR(MOTE_SS, 1) } },
	{ C(SS_TYPE), LONG, { ATTR(MOTE_SS, 8) } },
	{ C(SS_DPL), REAL, { ATTR(MOTE_SS, 0x20), ATTR(MOTE_CS, 0x20) } },
	{ C(SS_DPL), PROTECTED, { ATTR(MOTE_SS, 0x20), ATTR(MOTE_CS, 8) } },
	{ C(DATA_SYSTEM), LONG, { ATTR(MOTE_SS, 0x10) } },
	{ C(DATA_SYSTEM), LONG, { ATTR(MOTE_ES, 0x10) } },
	{ C(DATA_SYSTEM), LONG, { ATTR(MOTE_GS, 0x10) } },
	{ C(DATA_TYPE), LONG, { ATTR(MOTE_ES, 1) } },
	{ C(DATA_TYPE), LONG, { ATTR(MOTE_DS, 0xa) } },
	{ C(DATA_BASE), LONG, { SEG(MOTE_DS, base, BIT_ULL(32)) } },
	{ C(DATA_BASE), LONG, { SEG(MOTE_SS, base, BIT_ULL(63)) } },
	{ C(DATA_BASE), LONG, { SEG(MOTE_ES, base, BIT_ULL(32)) } },
	{ C(FS_GS_BASE), LONG, { SEG(MOTE_FS, base, BIT_ULL(63)) } },
	{ C(FS_GS_BASE), LONG, { SEG(MOTE_GS, base, BIT_ULL(47)), ATTR(MOTE_GS, 0x80) } },
	{ C(LIMITS), LONG, { SEG(MOTE_CS, limit, 0x800) } },
	{ C(LIMITS), LONG, { ATTR(MOTE_DS, 0x8000) } },
	{ C(LIMITS), LONG, { SEG(MOTE_TR, limit, BIT(20)) } },
	{ C(TR_USABLE), LONG, { ATTR(MOTE_TR, 0x80) } },
	{ C(TR_TYPE), LONG, { ATTR(MOTE_TR, 8) } },
	{ C(TR_TYPE), REAL, { ATTR(MOTE_TR, 2) } },
	{ C(TR_TYPE), LONG, { ATTR(MOTE_TR, 0x10) } },
	{ C(TR_SELECTOR), LONG, { SEG(MOTE_TR, selector, 4) } },
	{ C(TR_BASE), LONG, { SEG(MOTE_TR, base, BIT_ULL(47)) } },
	{ C(LDTR_TYPE), PROTECTED, { ATTR(MOTE_LDTR, 1) } },
	{ C(LDTR_TYPE), PROTECTED, { ATTR(MOTE_LDTR, 0x10) } },
	{ C(LDTR_SELECTOR), PROTECTED, { SEG(MOTE_LDTR, selector, 4) } },
	{ C(LDTR_BASE), PROTECTED, { SEG(MOTE_LDTR, base, BIT_ULL(48)) } },
	{ C(GDTR_BASE), LONG, { AT(segs.gdt.base, BIT_ULL(50)) } },
	{ C(IDTR_BASE), REAL, { AT(segs.idt.base, BIT_ULL(47)) } },
	{ C(RIP_HIGH), REAL, { AT(gprs.rip, BIT_ULL(32)) } },
	{ C(RIP_HIGH), COMPAT, { AT(gprs.rip, BIT_ULL(32)) } },
	{ C(RIP_CANONICAL), LONG, { AT(gprs.rip, BIT_ULL(48)) } },
	{ C(RIP_CANONICAL), LONG, { AT(gprs.rip, HIGH_START - BIT_ULL(48) - 1) } },

	{ C(SHADOW_BOTH), LONG, { AT(events.shadow, 3) } },
	{ C(SHADOW_IF), REAL, { AT(events.shadow, MOTE_SHADOW_STI) } },
	{ C(HALTED_CPL), USER, { AT(events.halted, 1) } },
	{ C(HALTED_SHADOW), LONG, { AT(events.halted, 1), AT(events.shadow, MOTE_SHADOW_STI) } },
	{ C(PENDING_RESERVED), LONG, { AT(events.pending_debug, BIT(16)) } },
	{ C(PENDING_RESERVED), LONG, { AT(events.pending_debug, BIT(4)) } },
	{ C(PENDING_BS), LONG, { AT(events.pending_debug, PENDING_BS), AT(events.shadow, 2) } },
	{ C(PENDING_BS), LONG, { AT(gprs.rflags, X86_EFLAGS_TF), AT(events.shadow, 2) } },
	{ C(EVENT), LONG, { EVENT(valid, 2) } },
	{ C(EVENT), LONG, { EVENT(valid, 1), EVENT(type, 1) } },
	{ C(EVENT), LONG, { EVENT(valid, 1), EVENT(type, 4) } },
	{ C(EVENT), LONG, { NMI, EVENT(vector, 1) } },
	{ C(EVENT), LONG, { EXCEPTION(2) } },
	{ C(EVENT), LONG, { EXCEPTION(9) } },
	{ C(EVENT), LONG, { EXCEPTION(15) } },
	{ C(EVENT), LONG, { EXCEPTION(20) } },
	{ C(EVENT), LONG, { EXCEPTION(32) } },
	{ C(EVENT), LONG, { EXCEPTION(255) } },
	{ C(EVENT), LONG, { EXCEPTION(6), EVENT(has_error, 1) } },
	{ C(EVENT), LONG, { EXCEPTION(14), EVENT(has_error, 1), EVENT(error, BIT(16)) } },
	{ C(EVENT), LONG, { INTERRUPT, EVENT(has_error, 1) } },
	{ C(EVENT_INTERRUPT), REAL, { INTERRUPT } },
	{ C(EVENT_INTERRUPT), LONG, { INTERRUPT, AT(events.shadow, MOTE_SHADOW_STI) } },
	{ C(EVENT_NMI), LONG, { NMI, AT(events.shadow, MOTE_SHADOW_MOV_SS) } },
	{ C(EVENT_NMI), LONG, { NMI, AT(events.nmi_blocked, 1) } },
	{ C(EVENT_ERROR), LONG, { EXCEPTION(13) } },
	{ C(EVENT_ERROR), V86, { EXCEPTION(13) } },
	{ C(EVENT_64BIT), LONG, { EXCEPTION(4) } },
	{ C(EVENT_64BIT), USER, { EXCEPTION(5) } },
};

/* The check that fails is the one that is meant, and every check has its case. */
static void check_fail_test(struct kunit *test)
{
	struct mote_state *s = kunit_kzalloc(test, sizeof(*s), GFP_KERNEL);
	bool failed[MOTE_NR_CHECKS] = {};
	u32 i;

	for (i = 0; i < ARRAY_SIZE(fail_cases); i++) {
		const struct fail_case *c = &fail_cases[i];
		u32 check;

		set_mode(s, c->mode);
		apply(s, c->changes, ARRAY_SIZE(c->changes));
		check = mote_check_state(s, &caps);
		failed[check] = true;
		KUNIT_EXPECT_EQ_MSG(test, c->fails, check, "case %u", i);
	}
	for (i = MOTE_CHECK_NO_MEMORY + 1; i < MOTE_NR_CHECKS; i++)
		KUNIT_EXPECT_TRUE_MSG(test, failed[i], "no case for check %u", i);
}

/* ---- single values ---------------------------------------------------------------- */

struct value_case {
	u32 part;
	struct change change;
};

static const struct value_case value_cases[] = {
	{ MOTE_STATE_SEGS, ATTR(MOTE_DS, 0x100) },
	{ MOTE_STATE_SEGS, AT(segs.gdt.pad[0], 1) },
	{ MOTE_STATE_SEGS, AT(segs.idt.pad[2], 1) },
	{ MOTE_STATE_CRS, AT(crs.cr8, 16) },
	{ MOTE_STATE_CRS, AT(crs.xcr0, 1) },
	{ MOTE_STATE_CRS, AT(crs.flags, 2) },
	{ MOTE_STATE_CRS, AT(crs.flags, BIT_ULL(63)) },
	{ MOTE_STATE_DRS, AT(drs.dr6, BIT_ULL(32)) },
	{ MOTE_STATE_DRS, AT(drs.dr7, BIT_ULL(32)) },
	{ MOTE_STATE_MSRS, AT(msrs.kernel_gs_base, BIT_ULL(63)) },
	{ MOTE_STATE_MSRS, AT(msrs.apic_base, BIT(12)) },
	{ MOTE_STATE_MSRS, AT(msrs.reserved[0], BIT_ULL(63)) },
	{ MOTE_STATE_EVENTS, EVENT(valid, 2) },
	{ MOTE_STATE_EVENTS, EVENT(has_error, 2) },
	{ MOTE_STATE_EVENTS, AT(events.nmi_pending, 3) },
	{ MOTE_STATE_EVENTS, AT(events.nmi_blocked, 2) },
	{ MOTE_STATE_EVENTS, AT(events.shadow, 3) },
	{ MOTE_STATE_EVENTS, AT(events.halted, 3) },
	{ MOTE_STATE_EVENTS, AT(events.pad, 1) },
};

/* A bad value is refused if its part is given, and only then. */
static void check_values_test(struct kunit *test)
{
	struct mote_state *s = kunit_kzalloc(test, sizeof(*s), GFP_KERNEL);
	u32 i;

	for (i = 0; i < ARRAY_SIZE(value_cases); i++) {
		set_mode(s, LONG);
		apply(s, &value_cases[i].change, 1);
		s->mask = value_cases[i].part;
		KUNIT_EXPECT_EQ_MSG(test, -EINVAL, mote_check_values(s, &caps), "case %u", i);
		s->mask = MOTE_STATE_ALL & ~value_cases[i].part;
		KUNIT_EXPECT_EQ_MSG(test, 0, mote_check_values(s, &caps), "case %u", i);
	}
}

static void check_xcr0_test(struct kunit *test)
{
	static const u8 legal[] = { 1, 3, 7, 0xe7 };
	u64 xcr0;
	u32 i;

	for (xcr0 = 0; xcr0 < 0x400; xcr0++) {
		bool valid = false;

		for (i = 0; i < ARRAY_SIZE(legal); i++)
			valid |= xcr0 == legal[i];
		KUNIT_EXPECT_EQ_MSG(test, valid, mote_xcr0_valid(xcr0, &caps), "%#llx", xcr0);
	}
	KUNIT_EXPECT_FALSE(test, mote_xcr0_valid(BIT_ULL(63) | 7, &caps));
}

/* With 57-bit linear addresses. */
static void check_la57_test(struct kunit *test)
{
	struct mote_state *s = kunit_kzalloc(test, sizeof(*s), GFP_KERNEL);
	struct mote_caps la57 = caps;

	la57.virt_bits = 57;
	set_mode(s, LONG);
	s->gprs.rip = 0x00ffffffffffffff;
	KUNIT_EXPECT_TRUE(test, mote_check_state(s, &caps));
	KUNIT_EXPECT_FALSE(test, mote_check_state(s, &la57));
	/* Behind the last instruction: the fetch faults. */
	s->gprs.rip++;
	KUNIT_EXPECT_FALSE(test, mote_check_state(s, &la57));
	s->gprs.rip <<= 1;
	KUNIT_EXPECT_TRUE(test, mote_check_state(s, &la57));
}

/* Every pair of exceptions becomes what the SDM's table of double faults says. */
static void check_merge_test(struct kunit *test)
{
	static const char classes[] = "c.........ccccp"; /* vectors 0 to 14: contributory, page fault */
	struct mote_event event;
	u8 first, second, got;

	for (first = 0; first < 15; first++)
		for (second = 0; second < 15; second++) {
			char a = classes[first], b = classes[second];
			bool twice = (a == 'c' && b == 'c') || (a == 'p' && b != '.');

			event = (struct mote_event){ 1, MOTE_EVENT_EXCEPTION, first };
			KUNIT_EXPECT_EQ(test, mote_event_merge(&event, second, 5), first != 8);
			got = twice && first != 8 ? 8 : first == 8 ? 8 : second;
			KUNIT_EXPECT_EQ_MSG(test, event.vector, got, "%u then %u", first, second);
		}
	event = (struct mote_event){ 1, MOTE_EVENT_INTERRUPT, 14 };
	KUNIT_EXPECT_TRUE(test, mote_event_merge(&event, 14, 5));
	KUNIT_EXPECT_EQ(test, event.vector, 14);
	KUNIT_EXPECT_EQ(test, event.error, 5u);
	KUNIT_EXPECT_TRUE(test, mote_event_merge(&event, 14, 5));
	KUNIT_EXPECT_EQ(test, event.vector, 8);
	KUNIT_EXPECT_EQ(test, event.error, 0u);
	KUNIT_EXPECT_FALSE(test, mote_event_merge(&event, 1, 0));
}

#define IN_LONG_MODE { .cr0 = X86_CR0_PE | X86_CR0_PG, .cr4 = X86_CR4_PAE, .efer = EFER_LME | EFER_LMA }

static void check_cr0_test(struct kunit *test)
{
	struct mote_cpu_mode real = { .cr0 = X86_CR0_ET }, compat = IN_LONG_MODE, code64 = IN_LONG_MODE;
	struct mote_cpu_mode enter = { .cr0 = X86_CR0_PE, .cr4 = X86_CR4_PAE, .efer = EFER_LME };

	code64.cs_attr = ATTR_L;
	KUNIT_EXPECT_TRUE(test, mote_cr0_valid(0, &real));
	KUNIT_EXPECT_TRUE(test, mote_cr0_valid(0xffffffff, &real));
	KUNIT_EXPECT_FALSE(test, mote_cr0_valid(BIT_ULL(32), &real));
	KUNIT_EXPECT_FALSE(test, mote_cr0_valid(X86_CR0_PG, &real));
	KUNIT_EXPECT_FALSE(test, mote_cr0_valid(X86_CR0_NW, &real));
	KUNIT_EXPECT_TRUE(test, mote_cr0_valid(X86_CR0_NW | X86_CR0_CD, &real));
	KUNIT_EXPECT_TRUE(test, mote_cr0_valid(X86_CR0_PE | X86_CR0_PG, &enter));
	enter.cs_attr = ATTR_L;
	KUNIT_EXPECT_FALSE(test, mote_cr0_valid(X86_CR0_PE | X86_CR0_PG, &enter));
	enter.cs_attr = 0;
	enter.cr4 = 0;
	KUNIT_EXPECT_FALSE(test, mote_cr0_valid(X86_CR0_PE | X86_CR0_PG, &enter));
	KUNIT_EXPECT_TRUE(test, mote_cr0_valid(X86_CR0_PE, &compat));
	KUNIT_EXPECT_FALSE(test, mote_cr0_valid(X86_CR0_PE, &code64));
	KUNIT_EXPECT_TRUE(test, mote_cr0_valid(X86_CR0_PE | X86_CR0_PG | X86_CR0_CD, &code64));
	compat.cr4 |= X86_CR4_PCIDE;
	KUNIT_EXPECT_FALSE(test, mote_cr0_valid(X86_CR0_PE, &compat));
}

static void check_cr4_test(struct kunit *test)
{
	static const struct {
		u64 efer, cr3, old, new;
		bool valid;
	} moves[] = {
		{ 0, 0, 0, X86_CR4_MCE | X86_CR4_LA57, true },
		{ 0, 0, 0, X86_CR4_VMXE, false },
		{ 0, 0, 0, BIT_ULL(63), false },
		{ 0, 0, 0, X86_CR4_PCIDE, false },
		{ EFER_LMA, 0, X86_CR4_PAE, 0, false },
		{ EFER_LMA, 0, X86_CR4_PAE, X86_CR4_PAE | X86_CR4_LA57, false },
		{ EFER_LMA, 0, X86_CR4_PAE, X86_CR4_PAE | X86_CR4_PCIDE, true },
		{ EFER_LMA, 1, X86_CR4_PAE, X86_CR4_PAE | X86_CR4_PCIDE, false },
		{ EFER_LMA, 1, X86_CR4_PAE | X86_CR4_PCIDE, X86_CR4_PAE | X86_CR4_PCIDE, true },
	};
	const struct mote_caps allowed = {
		.cr4 = X86_CR4_PAE | X86_CR4_PGE | X86_CR4_MCE | X86_CR4_PCIDE | X86_CR4_LA57,
	};
	u32 i;

	for (i = 0; i < ARRAY_SIZE(moves); i++) {
		struct mote_cpu_mode mode = {
			.efer = moves[i].efer, .cr3 = moves[i].cr3, .cr4 = moves[i].old,
		};

		KUNIT_EXPECT_EQ_MSG(test, mote_cr4_valid(moves[i].new, &mode, &allowed),
				    moves[i].valid, "row %u", i);
	}
}

static void check_fault_test(struct kunit *test)
{
	/* Of the vectors that a CPU raises, those of traps and aborts; NMIs are of another type. */
	static const u8 others[] = { 1, 3, 4, 8, 18 };
	struct mote_event event = { .valid = 1, .type = MOTE_EVENT_EXCEPTION };
	u32 i, faults = 0;

	for (i = 0; i < 32; i++) {
		event.vector = i;
		faults |= (u32)mote_event_is_fault(&event) << i;
	}
	for (i = 0; i < ARRAY_SIZE(others); i++)
		faults ^= BIT(others[i]);
	KUNIT_EXPECT_EQ(test, faults, ~0u);
	event.type = MOTE_EVENT_NMI;
	event.vector = 2;
	KUNIT_EXPECT_FALSE(test, mote_event_is_fault(&event));
	event.type = MOTE_EVENT_INTERRUPT;
	event.vector = 0xe;
	KUNIT_EXPECT_FALSE(test, mote_event_is_fault(&event));
}

static void check_alignment_test(struct kunit *test)
{
	struct mote_cpu_mode mode = { .cr0 = X86_CR0_AM, .cpl = 3 };

	KUNIT_EXPECT_TRUE(test, mote_mode_checks_alignment(&mode, X86_EFLAGS_AC));
	KUNIT_EXPECT_FALSE(test, mote_mode_checks_alignment(&mode, ~(u64)X86_EFLAGS_AC));
	mode.cpl = 0;
	KUNIT_EXPECT_FALSE(test, mote_mode_checks_alignment(&mode, X86_EFLAGS_AC));
	mode.cpl = 3;
	mode.cr0 = ~(u64)X86_CR0_AM;
	KUNIT_EXPECT_FALSE(test, mote_mode_checks_alignment(&mode, X86_EFLAGS_AC));
}

static struct kunit_case cases[] = {
	KUNIT_CASE(check_cr0_test),
	KUNIT_CASE(check_cr4_test),
	KUNIT_CASE(check_merge_test),
	KUNIT_CASE(check_fault_test),
	KUNIT_CASE(check_alignment_test),
	KUNIT_CASE(check_pass_test),
	KUNIT_CASE(check_fail_test),
	KUNIT_CASE(check_values_test),
	KUNIT_CASE(check_xcr0_test),
	KUNIT_CASE(check_la57_test),
	{}
};

static struct kunit_suite suite = { .name = "mote_check", .test_cases = cases };
kunit_test_suite(suite);

MODULE_LICENSE("GPL");
