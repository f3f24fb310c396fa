// SPDX-License-Identifier: GPL-2.0
/* VMX without hardware: exits, segments, control words, the MSR bitmap, control registers. */
#include <kunit/test.h>
#include <linux/module.h>

#include "../arch/vmx_arch.h"

/* ---- exits ---------------------------------------------------------------- */

/* Every basic exit reason that the SDM has, in words of its own: not the table under test. */
static const u8 reasons[] = {
	MOTE_EXIT_EXCEPTION, MOTE_EXIT_INTERRUPT, MOTE_EXIT_SHUTDOWN, MOTE_EXIT_INIT,	/* 0 */
	MOTE_EXIT_UNKNOWN, MOTE_EXIT_UNKNOWN, MOTE_EXIT_UNKNOWN,		/* SIPI, SMIs */
	MOTE_EXIT_INTERRUPT_WINDOW, MOTE_EXIT_NMI_WINDOW, MOTE_EXIT_TASK_SWITCH, /* 7 */
	MOTE_EXIT_CPUID, MOTE_EXIT_UNDEFINED, MOTE_EXIT_HLT, MOTE_EXIT_CACHE,	/* 10 */
	MOTE_EXIT_UNKNOWN, MOTE_EXIT_PMC, MOTE_EXIT_RDTSC, MOTE_EXIT_UNDEFINED, /* INVLPG */
	MOTE_EXIT_HYPERCALL,							/* 18 */
	MOTE_EXIT_UNDEFINED, MOTE_EXIT_UNDEFINED, MOTE_EXIT_UNDEFINED, MOTE_EXIT_UNDEFINED,
	MOTE_EXIT_UNDEFINED, MOTE_EXIT_UNDEFINED, MOTE_EXIT_UNDEFINED, MOTE_EXIT_UNDEFINED,
	MOTE_EXIT_UNDEFINED,							/* VMXON */
	MOTE_EXIT_CR, MOTE_EXIT_DR, MOTE_EXIT_PIO, MOTE_EXIT_RDMSR, MOTE_EXIT_WRMSR, /* 28 */
	MOTE_EXIT_FAIL_ENTRY, MOTE_EXIT_FAIL_ENTRY, MOTE_EXIT_UNKNOWN,		/* 33 */
	MOTE_EXIT_MWAIT, MOTE_EXIT_UNKNOWN, MOTE_EXIT_UNKNOWN, MOTE_EXIT_MWAIT,	/* 36 */
	MOTE_EXIT_PAUSE, MOTE_EXIT_FAIL_ENTRY, MOTE_EXIT_UNKNOWN, MOTE_EXIT_UNKNOWN, /* 40 */
	MOTE_EXIT_UNKNOWN, MOTE_EXIT_UNKNOWN, MOTE_EXIT_UNKNOWN, MOTE_EXIT_UNKNOWN,
	MOTE_EXIT_NPF, MOTE_EXIT_UNKNOWN, MOTE_EXIT_UNDEFINED, MOTE_EXIT_UNDEFINED, /* 48 */
	MOTE_EXIT_TIMER, MOTE_EXIT_UNDEFINED, MOTE_EXIT_CACHE, MOTE_EXIT_XSETBV, /* 52 */
	MOTE_EXIT_UNKNOWN, MOTE_EXIT_UNKNOWN, MOTE_EXIT_UNDEFINED, MOTE_EXIT_UNDEFINED,
	MOTE_EXIT_UNDEFINED, MOTE_EXIT_UNKNOWN, MOTE_EXIT_NPF, MOTE_EXIT_UNDEFINED, /* 60 */
	MOTE_EXIT_UNDEFINED, MOTE_EXIT_UNKNOWN, MOTE_EXIT_UNKNOWN, MOTE_EXIT_UNDEFINED,
	MOTE_EXIT_UNDEFINED,							/* TPAUSE */
};

static struct mote_exit decode(const struct vmx_raw *raw)
{
	struct mote_exit exit = {};

	vmx_decode_exit(raw, &exit);
	return exit;
}

static void vmx_reasons_test(struct kunit *test)
{
	u32 i;

	for (i = 0; i < 0x10000; i++) {
		struct vmx_raw raw = { .reason = i, .intr_info = 0x80000301 };
		struct mote_exit exit = decode(&raw);

		KUNIT_EXPECT_EQ_MSG(test, exit.reason,
				    i < ARRAY_SIZE(reasons) ? reasons[i] : MOTE_EXIT_UNKNOWN,
				    "basic reason %u", i);
		KUNIT_EXPECT_EQ(test, exit.raw, i);
	}
}

/* Instructions that mote completes need their length. */
static void vmx_lengths_test(struct kunit *test)
{
	static const u8 completed[] = { 10, 12, 13, 15, 16, 18, 28, 30, 31, 32, 40, 54, 55 };
	u32 i;

	for (i = 0; i < ARRAY_SIZE(completed); i++)
		KUNIT_EXPECT_TRUE_MSG(test, vmx_row(completed[i]).needs & VMX_NEED_LEN,
				      "basic reason %u", completed[i]);
}

static void vmx_failed_entry_test(struct kunit *test)
{
	struct vmx_raw raw = { .reason = 0x80000021, .qualification = 2 };
	struct mote_exit exit = decode(&raw);

	KUNIT_EXPECT_EQ(test, exit.reason, MOTE_EXIT_FAIL_ENTRY);
	KUNIT_EXPECT_EQ(test, exit.raw, 33);
	KUNIT_EXPECT_EQ(test, exit.fail, 0x280000021);
}

static void vmx_pio_test(struct kunit *test)
{
	static const struct { u64 qualification; u16 port; u8 size, flags; } cases[] = {
		{ 0x00800000, 0x80, 1, 0 },
		{ 0x03f80008, 0x3f8, 1, MOTE_PIO_IN },
		{ 0xffff0001, 0xffff, 2, 0 },
		{ 0x0cf80003, 0xcf8, 4, 0 },
		{ 0x0080005b, 0x80, 4, MOTE_PIO_IN | MOTE_PIO_STRING },
		{ 0x00800030, 0x80, 1, MOTE_PIO_STRING | MOTE_PIO_REP },
		{ 0x00800048, 0x80, 1, MOTE_PIO_IN },
	};
	u32 i;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		struct vmx_raw raw = { .reason = EXIT_REASON_IO_INSTRUCTION, .insn_len = 2,
				       .qualification = cases[i].qualification };
		struct mote_exit exit = decode(&raw);

		KUNIT_EXPECT_EQ(test, exit.pio.port, cases[i].port);
		KUNIT_EXPECT_EQ(test, exit.pio.size, cases[i].size);
		KUNIT_EXPECT_EQ(test, exit.pio.flags, cases[i].flags);
		KUNIT_EXPECT_EQ(test, exit.insn_len, 2);
	}
}

static void vmx_npf_test(struct kunit *test)
{
	u32 access;

	for (access = 1; access < 8; access++) {
		/* The entry's own rights and the address bits beside them say nothing here. */
		struct vmx_raw raw = { .reason = EXIT_REASON_EPT_VIOLATION, .gpa = 0xfee00030,
				       .qualification = 0x1f8 | access };
		struct mote_exit exit = decode(&raw);

		KUNIT_EXPECT_EQ(test, exit.npf.gpa, 0xfee00030);
		KUNIT_EXPECT_EQ(test, exit.npf.access, access);
		/* With a linear address, but not of the access to it; and without one (PDPTEs). */
		raw.qualification = 0x80 | access;
		KUNIT_EXPECT_EQ(test, decode(&raw).npf.access, access | MOTE_ACCESS_WALK);
		raw.qualification = access;
		KUNIT_EXPECT_EQ(test, decode(&raw).npf.access, access | MOTE_ACCESS_WALK);
	}
}

static void vmx_exception_test(struct kunit *test)
{
	static const struct { u32 info, error; u8 reason, vector, has_error; u32 code; } cases[] = {
		{ 0x80000301, 0, MOTE_EXIT_EXCEPTION, 1, 0, 0 },
		{ 0x80000501, 7, MOTE_EXIT_EXCEPTION, 1, 0, 0 },	/* INT1; stale error */
		{ 0x80000b11, 0, MOTE_EXIT_EXCEPTION, 17, 1, 0 },
		{ 0x80000b0e, 6, MOTE_EXIT_EXCEPTION, 14, 1, 6 },
		{ 0x80001312, 0, MOTE_EXIT_EXCEPTION, 18, 0, 0 },
		{ 0x80000202, 0, MOTE_EXIT_NMI, 0, 0, 0 },
		{ 0x00000301, 0, MOTE_EXIT_UNKNOWN, 0, 0, 0 },
	};
	u32 i;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		struct vmx_raw raw = { .reason = EXIT_REASON_EXCEPTION_NMI,
				       .intr_info = cases[i].info, .error = cases[i].error };
		struct mote_exit exit = decode(&raw);

		KUNIT_EXPECT_EQ(test, exit.reason, cases[i].reason);
		if (exit.reason != MOTE_EXIT_EXCEPTION)
			continue;
		KUNIT_EXPECT_EQ(test, exit.exception.valid, 1);
		KUNIT_EXPECT_EQ(test, exit.exception.type, MOTE_EVENT_EXCEPTION);
		KUNIT_EXPECT_EQ(test, exit.exception.vector, cases[i].vector);
		KUNIT_EXPECT_EQ(test, exit.exception.has_error, cases[i].has_error);
		KUNIT_EXPECT_EQ(test, exit.exception.error, cases[i].code);
	}
}

static void vmx_task_test(struct kunit *test)
{
	static const struct {
		u32 qualification, info;
		struct mote_task_switch task;
		u8 len;
	} cases[] = {
		{ 0x00000050, 0x80000b08, { .selector = 0x50, .how = MOTE_TASK_CALL }, 7 },
		{ 0x40000050, 0, { .selector = 0x50, .how = MOTE_TASK_IRET }, 7 },
		{ 0x8000fffb, 0, { .selector = 0xfffb, .how = MOTE_TASK_JMP }, 7 },
		{ 0xc0000050, 0x00000b08, { .selector = 0x50, .how = MOTE_TASK_GATE }, 7 },
		{ 0xc0000050, 0x80000b0d, { .selector = 0x50, .how = MOTE_TASK_GATE,
			.event = { 1, MOTE_EVENT_EXCEPTION, 13, 1, 0x1234 } }, 0 },
		{ 0xc0000050, 0x80000202, { .selector = 0x50, .how = MOTE_TASK_GATE,
			.event = { 1, MOTE_EVENT_NMI, 2 } }, 0 },
		{ 0xc0000050, 0x80000030, { .selector = 0x50, .how = MOTE_TASK_GATE,
			.event = { 1, MOTE_EVENT_INTERRUPT, 0x30 } }, 0 },
		{ 0xc0000050, 0x80000480, { .selector = 0x50, .how = MOTE_TASK_GATE,
			.event = { 1, MOTE_EVENT_INT, 0x80 } }, 7 },
		{ 0xc0000050, 0x80000603, { .selector = 0x50, .how = MOTE_TASK_GATE,
			.event = { 1, MOTE_EVENT_INT3, 3 } }, 7 },
	};
	u32 i;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		struct mote_exit exit = { .insn_len = 7,
					  .qualification = cases[i].qualification };

		vmx_decode_task(cases[i].info, 0x1234, &exit);
		KUNIT_EXPECT_EQ_MSG(test, exit.insn_len, cases[i].len, "case %u", i);
		KUNIT_EXPECT_EQ_MSG(test, memcmp(&exit.task, &cases[i].task, sizeof(exit.task)), 0,
				    "case %u", i);
	}
}

/* ---- segments, controls, the MSR bitmap ------------------------------------- */

static void vmx_segment_test(struct kunit *test)
{
	u32 attr;

	for (attr = 0; attr < 0x10000; attr++) {
		u32 ar = vmx_attr_to_ar(attr);

		/* Nothing reserved, unusable if and only if not present, and back again. */
		KUNIT_EXPECT_EQ(test, ar & ~0x1f0ffu, 0);
		KUNIT_EXPECT_EQ(test, !(ar & BIT(16)), !!(attr & BIT(7)));
		KUNIT_EXPECT_EQ(test, vmx_attr_from_ar(ar), attr & 0xf0ff);
	}
	/* What the CPU saves for a null selector may have P set. */
	KUNIT_EXPECT_EQ(test, vmx_attr_from_ar(0x1c093), 0xc013);
}

static void vmx_control_test(struct kunit *test)
{
	static const struct { u64 cap; u32 must, may, fixed, word, missing; } cases[] = {
		{ 0xffffffff00000000, 5, 2, 0, 7 },		/* all may be set */
		{ 0x0000000500000000, 5, 2, 0, 5 },		/* not all of what may be */
		{ 0x0000000400000000, 5, 2, 0, 0, 1 },		/* not all of what must be */
		{ 0x0000000200000000, 13, 2, 0, 0, 13 },
		{ 0xffffffff00000010, 5, 2, 0, 0, 0x10 },	/* forced, and unwanted */
		{ 0xffffffff00000010, 5, 2, 0x10, 0x17 },	/* forced, and harmless */
		{ 0xffffffff00000004, 5, 0, 0, 5 },		/* forced, and wanted */
		{ 0xffffffff00000002, 5, 2, 0, 7 },
		{ 0, 1, 0, 0, 0, 1 },				/* no such MSR */
	};
	u32 i, missing;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		KUNIT_EXPECT_EQ_MSG(test, vmx_control(cases[i].cap, cases[i].must, cases[i].may,
						      cases[i].fixed, &missing),
				    cases[i].word, "%u", i);
		KUNIT_EXPECT_EQ_MSG(test, missing, cases[i].missing, "%u", i);
	}
}

static void vmx_msr_bit_test(struct kunit *test)
{
	/* Bytes 0, 1024, 2048 and 3072 of the page: reads low, reads high, writes low, high. */
	KUNIT_EXPECT_EQ(test, vmx_msr_bit(0), 0);
	KUNIT_EXPECT_EQ(test, vmx_msr_bit(0x1fff), 1024 * 8 - 1);
	KUNIT_EXPECT_EQ(test, vmx_msr_bit(0xc0000000), 1024 * 8);
	KUNIT_EXPECT_EQ(test, vmx_msr_bit(0xc0001fff), 2048 * 8 - 1);
	KUNIT_EXPECT_EQ(test, vmx_msr_bit(0) + VMX_MSR_WRITE, 2048 * 8);
	KUNIT_EXPECT_EQ(test, vmx_msr_bit(0xc0001fff) + VMX_MSR_WRITE, 4096 * 8 - 1);
	KUNIT_EXPECT_EQ(test, vmx_msr_bit(0x2000), -1);
	KUNIT_EXPECT_EQ(test, vmx_msr_bit(0xbfffffff), -1);
	KUNIT_EXPECT_EQ(test, vmx_msr_bit(0xc0002000), -1);
	KUNIT_EXPECT_EQ(test, vmx_msr_bit(0xffffffff), -1);
}

/* What is the same needs no switching; a list that is too long is cut; PEBS is noticed. */
static void vmx_perf_test(struct kunit *test)
{
	struct perf_guest_switch_msr msrs[12] = {
		{ MSR_CORE_PERF_GLOBAL_CTRL, 7, 3 }, { 0x100, 5, 5 },
		{ MSR_IA32_PEBS_ENABLE, 1, 0 },
	};
	static struct vmx_perf perf;
	int i;

	KUNIT_EXPECT_EQ(test, vmx_fill_perf(&perf, NULL, 0), 0);
	KUNIT_EXPECT_EQ(test, vmx_fill_perf(&perf, msrs, 2), 1);
	KUNIT_EXPECT_FALSE(test, perf.stops_pebs);
	KUNIT_EXPECT_EQ(test, vmx_fill_perf(&perf, msrs, 3), 2);
	KUNIT_EXPECT_TRUE(test, perf.stops_pebs);
	for (i = 0; i < 2; i++) {
		KUNIT_EXPECT_EQ(test, perf.guest[i].index, msrs[2 * i].msr);
		KUNIT_EXPECT_EQ(test, perf.guest[i].value, msrs[2 * i].guest);
		KUNIT_EXPECT_EQ(test, perf.host[i].index, msrs[2 * i].msr);
		KUNIT_EXPECT_EQ(test, perf.host[i].value, msrs[2 * i].host);
	}
	for (i = 0; i < ARRAY_SIZE(msrs); i++)
		msrs[i] = (struct perf_guest_switch_msr){ i, 1, 0 };
	KUNIT_EXPECT_EQ(test, vmx_fill_perf(&perf, msrs, ARRAY_SIZE(msrs)), VMX_NR_PERF_MSRS);
	KUNIT_EXPECT_EQ(test, perf.nr, 0);
}

static struct kunit_case vmx_cases[] = {
	KUNIT_CASE(vmx_reasons_test),
	KUNIT_CASE(vmx_lengths_test),
	KUNIT_CASE(vmx_failed_entry_test),
	KUNIT_CASE(vmx_pio_test),
	KUNIT_CASE(vmx_npf_test),
	KUNIT_CASE(vmx_exception_test),
	KUNIT_CASE(vmx_task_test),
	KUNIT_CASE(vmx_segment_test),
	KUNIT_CASE(vmx_control_test),
	KUNIT_CASE(vmx_msr_bit_test),
	KUNIT_CASE(vmx_perf_test),
	{}
};

static struct kunit_suite vmx_suite = {
	.name = "vmx",
	.test_cases = vmx_cases,
};

kunit_test_suite(vmx_suite);
MODULE_LICENSE("GPL");
