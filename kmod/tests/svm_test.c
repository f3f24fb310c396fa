// SPDX-License-Identifier: GPL-2.0
/* The pure side of SVM: exit codes, segments, the MSR permission map, ASIDs, MOV to CR8. */
#include <kunit/test.h>

#include "../arch/svm_arch.h"
#include "../quirk/insn.h"

/* ---- exits ------------------------------------------------------------------ */

static struct mote_exit decode(u32 code, u64 info1, u64 info2)
{
	static struct vmcb_control_area control;
	struct mote_exit exit;

	control.exit_code = code;
	control.exit_info_1 = info1;
	control.exit_info_2 = info2;
	memset(&exit, 0x5a, sizeof(exit));
	svm_decode_exit(&control, 0x1000, &exit);
	return exit;
}

/* APM 2, "SVM Intercept Codes": first, last, what they are to be. */
static const struct {
	u32 first, last, reason;
} codes[] = {
	{ 0x00, 0x1f, MOTE_EXIT_CR },
	{ 0x20, 0x3f, MOTE_EXIT_DR },
	{ 0x40, 0x5f, MOTE_EXIT_EXCEPTION },
	{ 0x60, 0x60, MOTE_EXIT_INTERRUPT },
	{ 0x61, 0x61, MOTE_EXIT_NMI },
	{ 0x62, 0x62, MOTE_EXIT_UNKNOWN }, /* SMI */
	{ 0x63, 0x63, MOTE_EXIT_INIT },
	{ 0x64, 0x64, MOTE_EXIT_INTERRUPT_WINDOW },
	{ 0x65, 0x65, MOTE_EXIT_CR }, /* CR0 writes but for TS and MP */
	{ 0x66, 0x6d, MOTE_EXIT_UNKNOWN }, /* tables */
	{ 0x6e, 0x6e, MOTE_EXIT_RDTSC },
	{ 0x6f, 0x6f, MOTE_EXIT_PMC },
	{ 0x70, 0x71, MOTE_EXIT_UNKNOWN }, /* PUSHF, POPF */
	{ 0x72, 0x72, MOTE_EXIT_CPUID },
	{ 0x73, 0x73, MOTE_EXIT_UNDEFINED }, /* RSM */
	{ 0x74, 0x74, MOTE_EXIT_NONE }, /* IRET */
	{ 0x75, 0x75, MOTE_EXIT_UNKNOWN }, /* INT n */
	{ 0x76, 0x76, MOTE_EXIT_CACHE },
	{ 0x77, 0x77, MOTE_EXIT_PAUSE },
	{ 0x78, 0x78, MOTE_EXIT_HLT },
	{ 0x79, 0x79, MOTE_EXIT_UNKNOWN }, /* INVLPG */
	{ 0x7a, 0x7a, MOTE_EXIT_UNDEFINED }, /* INVLPGA */
	{ 0x7b, 0x7b, MOTE_EXIT_PIO },
	{ 0x7c, 0x7c, MOTE_EXIT_RDMSR },
	{ 0x7d, 0x7e, MOTE_EXIT_UNKNOWN }, /* task switch, FERR freeze */
	{ 0x7f, 0x7f, MOTE_EXIT_SHUTDOWN },
	{ 0x80, 0x80, MOTE_EXIT_UNDEFINED }, /* VMRUN */
	{ 0x81, 0x81, MOTE_EXIT_HYPERCALL },
	{ 0x82, 0x87, MOTE_EXIT_UNDEFINED }, /* VMLOAD to RDTSCP */
	{ 0x88, 0x88, MOTE_EXIT_UNKNOWN }, /* INT1 */
	{ 0x89, 0x89, MOTE_EXIT_CACHE },
	{ 0x8a, 0x8c, MOTE_EXIT_MWAIT },
	{ 0x8d, 0x8d, MOTE_EXIT_XSETBV },
	{ 0x8e, 0x8e, MOTE_EXIT_UNDEFINED }, /* RDPRU */
	{ 0x8f, 0x9f, MOTE_EXIT_UNKNOWN }, /* traps of encrypted guests */
	{ 0xa0, 0xa4, MOTE_EXIT_UNDEFINED }, /* INVLPGB to TLBSYNC */
	{ 0xa5, 0x3ff, MOTE_EXIT_UNKNOWN },
	{ 0x400, 0x400, MOTE_EXIT_NPF },
	{ 0x401, 0x500, MOTE_EXIT_UNKNOWN },
	{ 0xffffffff, 0xffffffff, MOTE_EXIT_FAIL_ENTRY },
};

static void svm_exit_codes(struct kunit *test)
{
	u32 i, code;

	for (i = 0; i < ARRAY_SIZE(codes); i++)
		for (code = codes[i].first; code - codes[i].first <= codes[i].last - codes[i].first;
		     code++) {
			struct mote_exit exit = decode(code, 0, 0);

			KUNIT_EXPECT_EQ_MSG(test, exit.reason, codes[i].reason, "code %#x", code);
			KUNIT_EXPECT_EQ(test, exit.raw, code);
		}
}

static void svm_exit_fields(struct kunit *test)
{
	static struct vmcb_control_area control = { .exit_code = SVM_EXIT_CPUID };
	struct mote_exit exit;

	exit = decode(SVM_EXIT_MSR, 1, 0);
	KUNIT_EXPECT_EQ(test, exit.reason, MOTE_EXIT_WRMSR);
	exit = decode(SVM_EXIT_IOIO, 0x03f8001d, 0x1003); /* REP INSB */
	KUNIT_EXPECT_EQ(test, exit.pio.port, 0x3f8);
	KUNIT_EXPECT_EQ(test, exit.pio.size, 1);
	KUNIT_EXPECT_EQ(test, exit.pio.flags, MOTE_PIO_IN | MOTE_PIO_STRING | MOTE_PIO_REP);
	KUNIT_EXPECT_EQ(test, exit.insn_len, 3);
	exit = decode(SVM_EXIT_IOIO, 0xffff0040, 0x1001);
	KUNIT_EXPECT_EQ(test, exit.pio.port, 0xffff);
	KUNIT_EXPECT_EQ(test, exit.pio.size, 4);
	KUNIT_EXPECT_EQ(test, exit.pio.flags, 0);

	exit = decode(SVM_EXIT_NPF, BIT_ULL(32) | 4, 0x123456789abcULL);
	KUNIT_EXPECT_EQ(test, exit.npf.gpa, 0x123456789abcULL);
	KUNIT_EXPECT_EQ(test, exit.npf.access, MOTE_ACCESS_READ);
	exit = decode(SVM_EXIT_NPF, 6, 0);
	KUNIT_EXPECT_EQ(test, exit.npf.access, MOTE_ACCESS_WRITE);
	exit = decode(SVM_EXIT_NPF, BIT_ULL(33) | 7, 0);
	KUNIT_EXPECT_EQ(test, exit.npf.access, MOTE_ACCESS_WRITE | MOTE_ACCESS_WALK);
	exit = decode(SVM_EXIT_NPF, 0x14, 0);
	KUNIT_EXPECT_EQ(test, exit.npf.access, MOTE_ACCESS_EXEC);

	exit = decode(SVM_EXIT_EXCP_BASE + X86_TRAP_AC, 0x77, 0);
	KUNIT_EXPECT_EQ(test, exit.exception.vector, X86_TRAP_AC);
	KUNIT_EXPECT_TRUE(test, exit.exception.valid && exit.exception.has_error);
	KUNIT_EXPECT_EQ(test, exit.exception.error, 0x77);
	exit = decode(SVM_EXIT_EXCP_BASE + X86_TRAP_DB, 0x77, 0);
	KUNIT_EXPECT_FALSE(test, exit.exception.has_error);
	KUNIT_EXPECT_EQ(test, exit.exception.error, 0);

	/* Without next RIP the length is unknown, wherever RIP is; with it, it may wrap. */
	control.next_rip = 0x80;
	svm_decode_exit(&control, 0xfffffffffffffffeULL, &exit);
	KUNIT_EXPECT_EQ(test, exit.insn_len, 0);
	svm_decode_exit(&control, 0x7e, &exit);
	KUNIT_EXPECT_EQ(test, exit.insn_len, 2);
	control.next_rip = 0;
	svm_decode_exit(&control, 0x7e, &exit);
	KUNIT_EXPECT_EQ(test, exit.insn_len, 0);
}

static void svm_events(struct kunit *test)
{
	struct mote_event event = { .valid = 1, .type = MOTE_EVENT_EXCEPTION, .vector = 14,
				    .has_error = 1, .error = 6 }, back;
	u32 vector;

	KUNIT_EXPECT_EQ(test, svm_event_encode(&event), 0x80000b0eu);
	for (vector = 0; vector < 256; vector++) {
		event = (struct mote_event){ .valid = 1, .vector = vector };
		back = svm_event_decode(svm_event_encode(&event), 5);
		KUNIT_EXPECT_EQ(test, memcmp(&event, &back, sizeof(event)), 0);
	}
	back = svm_event_decode(0x80000b0e, 6);
	KUNIT_EXPECT_TRUE(test, back.valid && back.has_error && back.error == 6);
	/* INT n, INT3 and INTO are done again; nothing is nothing. */
	KUNIT_EXPECT_FALSE(test, svm_event_decode(0x80000480, 0).valid);
	KUNIT_EXPECT_FALSE(test, svm_event_decode(0x80000303, 0).valid);
	KUNIT_EXPECT_FALSE(test, svm_event_decode(0x80000304, 0).valid);
	KUNIT_EXPECT_FALSE(test, svm_event_decode(0x0000030d, 0).valid);
}

/* ---- segments ------------------------------------------------------------------ */

/* Every attribute comes back but for what the CPU does not keep. */
static void svm_segments(struct kunit *test)
{
	u32 attr, index;

	for (attr = 0; attr < 0x10000; attr++) {
		if (attr & 0xf00)
			continue;
		for (index = 0; index < MOTE_NR_SEGS; index++) {
			struct mote_segment seg = { .base = 0x123456789aULL, .limit = 0xffffffff,
						    .selector = 0x1b, .attr = attr };
			struct vmcb_seg vmcb = svm_seg_encode(&seg, index);
			u16 want = attr | 0x8000;

			if (attr & 0x80)
				want |= index == MOTE_TR ? 2 : index == MOTE_LDTR ? 0 : 1;
			else if (index == MOTE_TR)
				want &= ~2;
			KUNIT_EXPECT_EQ(test, vmcb.attrib & 0xf000, 0);
			seg.attr = want;
			seg = svm_seg_decode(&vmcb, index);
			if (seg.attr != want)
				KUNIT_FAIL(test, "segment %u: %#x became %#x", index, attr,
					   seg.attr);
			KUNIT_EXPECT_EQ(test, seg.base, 0x123456789aULL);
			KUNIT_EXPECT_EQ(test, seg.limit, 0xffffffffu);
			KUNIT_EXPECT_EQ(test, seg.selector, 0x1b);
		}
	}
}

/* G is what the limit allows (SDM 3C, "Checks on Guest Segment Registers"). */
static void svm_granularity(struct kunit *test)
{
	static const struct {
		u32 limit;
		u16 attrib, attr;
	} g[] = {
		{ 0xffffffff, 0x093, 0x8093 }, { 0xffff, 0x893, 0x8093 },
		{ 0xffff, 0x093, 0x0093 },     { 0xfffff, 0x893, 0x8093 },
		{ 0x67, 0x893, 0x0093 },       { 0x100fff, 0x093, 0x8093 },
		{ 0, 0x893, 0x0093 },
	};
	u32 i;

	for (i = 0; i < ARRAY_SIZE(g); i++) {
		struct vmcb_seg seg = { .limit = g[i].limit, .attrib = g[i].attrib };

		KUNIT_EXPECT_EQ(test, svm_seg_decode(&seg, MOTE_DS).attr, g[i].attr);
	}
}

/* ---- MSR permission map ---------------------------------------------------------- */

static void svm_msrpm(struct kunit *test)
{
	static const struct {
		u32 msr;
		int bit;
	} bits[] = {
		{ 0, 0 }, { 0x174, 0x174 * 2 }, { 0x1fff, 0x3ffe }, { 0x2000, -1 },
		{ 0xbfffffff, -1 }, { 0xc0000000, 0x4000 }, { 0xc0000081, 0x4102 },
		{ 0xc0001fff, 0x7ffe }, { 0xc0002000, -1 }, { 0xc000ffff, -1 },
		{ 0xc0010000, 0x8000 }, { 0xc0011fff, 0xbffe }, { 0xc0012000, -1 },
		{ 0xffffffff, -1 },
	};
	u32 i;

	for (i = 0; i < ARRAY_SIZE(bits); i++)
		KUNIT_EXPECT_EQ_MSG(test, svm_msrpm_bit(bits[i].msr), bits[i].bit, "MSR %#x",
				    bits[i].msr);
}

/* ---- ASIDs -------------------------------------------------------------------------- */

static void asids_of(struct kunit *test, u32 nr)
{
	struct svm_asids asids = {};
	u64 generation;
	bool flush;
	u32 i, asid;

	svm_asids_reset(&asids, nr);
	KUNIT_EXPECT_EQ(test, asids.generation, 1);
	for (i = 0; i < 5 * nr; i++) {
		generation = asids.generation;
		asid = svm_asids_take(&asids, &flush);
		/* Never the host's, never beyond, never twice without a flush. */
		KUNIT_EXPECT_EQ(test, asid, i % (nr - 1) + 1);
		KUNIT_EXPECT_EQ(test, flush, asid == 1);
		KUNIT_EXPECT_EQ(test, asids.generation, generation + flush);
	}
	generation = asids.generation;
	svm_asids_reset(&asids, nr);
	KUNIT_EXPECT_NE(test, asids.generation, generation);
	svm_asids_take(&asids, &flush);
	KUNIT_EXPECT_TRUE(test, flush);
}

static void svm_asid_generations(struct kunit *test)
{
	asids_of(test, 2);
	asids_of(test, 3);
	asids_of(test, 16);
	asids_of(test, 32768);
}

/* ---- MOV CRn ----------------------------------------------------------------------- */

static void svm_mov_cr(struct kunit *test)
{
	static const struct {
		u8 bytes[15];
		u8 nr, long_mode, reg;
		int len;
		u8 cr;
		bool read;
	} movs[] = {
		{ { 0x44, 0x0f, 0x22, 0xc0 }, 15, 1, MOTE_RAX, 4, 8 },
		{ { 0x45, 0x0f, 0x22, 0xc7 }, 4, 1, MOTE_R15, 4, 8 },
		{ { 0x66, 0x4c, 0x0f, 0x22, 0xc3 }, 15, 1, MOTE_RBX, 5, 8 },
		{ { 0xf0, 0x0f, 0x22, 0xc1 }, 15, 0, MOTE_RCX, 4, 8 },
		{ { 0x2e, 0xf0, 0x41, 0x0f, 0x22, 0x02 }, 15, 1, MOTE_R10, 6, 8 },
		{ { 0x44, 0x0f, 0x22, 0xc0 }, 3, 1, 0, -EINVAL, 8 }, /* cut off */
		{ { 0x44, 0x0f, 0x22, 0xc0 }, 15, 0, 0, -EINVAL, 8 }, /* INC ESP there */
		{ { 0x0f, 0x22, 0xc0 }, 15, 1, 0, -EINVAL, 8 }, /* CR0 */
		{ { 0x44, 0x0f, 0x20, 0xc0 }, 15, 1, 0, -EINVAL, 8 }, /* from CR8 */
		{ { 0x44, 0x66, 0x0f, 0x22, 0xc0 }, 15, 1, 0, -EINVAL, 8 }, /* REX too early */
		{ { 0x0f, 0x22, 0xe0 }, 3, 1, MOTE_RAX, 3, 4 },
		{ { 0x41, 0x0f, 0x20, 0xe4 }, 4, 1, MOTE_R12, 4, 4, true },
		{ { 0x44, 0x0f, 0x22, 0xe0 }, 4, 1, 0, -EINVAL, 4 }, /* CR12 */
		{ { 0x0f, 0x22, 0xe0 }, 3, 1, 0, -EINVAL, 4, true }, /* to CR4 */
		{ {}, 0, 1, 0, -EINVAL },
	};
	u32 i;
	u8 reg;

	for (i = 0; i < ARRAY_SIZE(movs); i++) {
		int len = mote_insn_mov_cr(movs[i].bytes, movs[i].nr, movs[i].cr, !movs[i].read,
					   movs[i].long_mode, &reg);

		KUNIT_EXPECT_EQ_MSG(test, len, movs[i].len, "row %u", i);
		if (len > 0)
			KUNIT_EXPECT_EQ_MSG(test, reg, movs[i].reg, "row %u", i);
	}
}

static struct kunit_case svm_cases[] = {
	KUNIT_CASE(svm_exit_codes),
	KUNIT_CASE(svm_exit_fields),
	KUNIT_CASE(svm_events),
	KUNIT_CASE(svm_segments),
	KUNIT_CASE(svm_granularity),
	KUNIT_CASE(svm_msrpm),
	KUNIT_CASE(svm_asid_generations),
	KUNIT_CASE(svm_mov_cr),
	{}
};

static struct kunit_suite svm_suite = {
	.name = "mote_svm",
	.test_cases = svm_cases,
};

kunit_test_suite(svm_suite);

MODULE_LICENSE("GPL");
