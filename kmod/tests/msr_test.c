// SPDX-License-Identifier: GPL-2.0
/* The MSR table: order, search, and which values each register takes. */
#include <kunit/test.h>
#include <linux/module.h>

#include "../guest/msr.c"

static const struct mote_caps caps = {
	.phys_bits = 40,
	.virt_bits = 48,
	.efer = EFER_SCE | EFER_LME | EFER_LMA | EFER_NX,
	.xcr0 = 7,
};

static void msr_order_test(struct kunit *test)
{
	u32 i;

	for (i = 0; i < ARRAY_SIZE(msrs); i++) {
		KUNIT_EXPECT_TRUE_MSG(test, msrs[i].first <= msrs[i].last, "row %u", i);
		if (i)
			KUNIT_EXPECT_TRUE_MSG(test, msrs[i - 1].last < msrs[i].first, "row %u", i);
	}
}

static const struct mote_msr *find_linear(u32 index)
{
	u32 i;

	for (i = 0; i < ARRAY_SIZE(msrs); i++)
		if (index >= msrs[i].first && index <= msrs[i].last)
			return &msrs[i];
	return NULL;
}

/* All around the edges of every row, and the corners of the index. */
static void msr_find_test(struct kunit *test)
{
	static const u32 corners[] = { 0, 1, 0x7fffffff, 0x80000000, 0xbfffffff, 0xffffffff };
	u32 i, index;

	for (i = 0; i < ARRAY_SIZE(msrs); i++)
		for (index = msrs[i].first - 2; index != msrs[i].last + 3; index++)
			KUNIT_EXPECT_PTR_EQ_MSG(test, find_linear(index), mote_msr_find(index),
						"%#x", index);
	for (i = 0; i < ARRAY_SIZE(corners); i++)
		KUNIT_EXPECT_PTR_EQ(test, find_linear(corners[i]), mote_msr_find(corners[i]));
}

/* Not in the table: user space's, the local APIC's, or the host's alone. */
static void msr_unknown_test(struct kunit *test)
{
	static const u32 unknown[] = {
		MSR_IA32_SPEC_CTRL, MSR_IA32_PRED_CMD, MSR_IA32_ARCH_CAPABILITIES,
		MSR_IA32_VMX_BASIC, MSR_VM_HSAVE_PA, MSR_AMD64_VIRT_SPEC_CTRL, MSR_AMD64_LS_CFG,
		MSR_TSC_AUX, MSR_IA32_XSS, MSR_IA32_XFD, MSR_IA32_RTIT_CTL, MSR_IA32_DS_AREA,
		MSR_IA32_TSC_DEADLINE, 0x800, 0x8ff, MSR_FS_BASE, MSR_GS_BASE, 0x4b564d02, 0x4b564d05,
	};
	u32 i;

	for (i = 0; i < ARRAY_SIZE(unknown); i++)
		KUNIT_EXPECT_PTR_EQ_MSG(test, NULL, (void *)mote_msr_find(unknown[i]), "%#x",
					unknown[i]);
}

struct value_case {
	u32 index;
	u64 value;
	bool valid;
};

#define LOW_END 0x00007fffffffffff
#define HIGH_START 0xffff800000000000

static const struct value_case value_cases[] = {
	{ MSR_IA32_TSC, ALL, true },
	{ MSR_IA32_TSC_ADJUST, ALL, true },
	{ MSR_EFER, 0, true },
	{ MSR_EFER, EFER_SCE | EFER_LME | EFER_LMA | EFER_NX, true },
	{ MSR_EFER, EFER_SVME, false },
	{ MSR_EFER, EFER_LMSLE, false },
	{ MSR_EFER, EFER_FFXSR, false },
	{ MSR_EFER, 2, false },
	{ MSR_EFER, BIT_ULL(63), false },
	{ MSR_STAR, ALL, true },
	{ MSR_LSTAR, LOW_END, true },
	{ MSR_LSTAR, LOW_END + 1, false },
	{ MSR_LSTAR, HIGH_START, true },
	{ MSR_LSTAR, HIGH_START - 1, false },
	{ MSR_CSTAR, LOW_END + 1, false },
	{ MSR_KERNEL_GS_BASE, HIGH_START - 1, false },
	{ MSR_IA32_SYSENTER_ESP, LOW_END + 1, false },
	{ MSR_IA32_SYSENTER_EIP, LOW_END + 1, false },
	{ MSR_IA32_SYSENTER_EIP, HIGH_START, true },
	{ MSR_IA32_SYSENTER_CS, U32_MAX, true },
	{ MSR_IA32_SYSENTER_CS, 1ull << 32, false },
	{ MSR_SYSCALL_MASK, U32_MAX, true },
	{ MSR_SYSCALL_MASK, 1ull << 32, false },
	{ MSR_MTRRdefType, 0x806, true },
	{ MSR_MTRRdefType, 0xc00, true },
	{ MSR_MTRRdefType, 0x802, false },
	{ MSR_MTRRdefType, 0x803, false },
	{ MSR_MTRRdefType, 0x807, false },
	{ MSR_MTRRdefType, 0x1800, false },
	{ MSR_MTRRcap, MTRR_CAP_WC, false },
	{ MSR_IA32_APICBASE, 0xfee00900, true },
	{ MSR_IA32_APICBASE, 0xfee00000, true },
	{ MSR_IA32_APICBASE, 0xfee00d00, true },
	{ MSR_IA32_APICBASE, 0xfee00400, false },
	{ MSR_IA32_APICBASE, 0xfee01800, false },
	{ MSR_IA32_APICBASE, 0xfee00801, false },
	{ MSR_IA32_APICBASE, 0x1fee00800, false },
	{ MSR_KVM_WALL_CLOCK_NEW, 0x1004, true },
	{ MSR_KVM_WALL_CLOCK_NEW, 0x1001, false },
	{ MSR_KVM_SYSTEM_TIME_NEW, 0x1001, true },
	{ MSR_KVM_SYSTEM_TIME_NEW, 0x1003, false },
	{ MSR_KVM_STEAL_TIME, 0x1041, true },
	{ MSR_KVM_STEAL_TIME, 0x1021, false },
	{ MSR_KVM_PV_EOI_EN, 0x1005, true },
	{ MSR_KVM_PV_EOI_EN, 0x1006, false },
	{ MSR_IA32_MISC_ENABLE, 1, true },
	{ MSR_IA32_MISC_ENABLE, 0x400c50809, true },	/* what a guest's firmware may leave */
	{ MSR_IA32_MISC_ENABLE, MSR_IA32_MISC_ENABLE_TURBO_DISABLE, false },
	{ MSR_IA32_DEBUGCTLMSR, 0, true },
	{ MSR_IA32_DEBUGCTLMSR, DEBUGCTLMSR_LBR, false },
	{ MSR_IA32_DEBUGCTLMSR, DEBUGCTLMSR_BTF, false },
	{ MSR_IA32_FEAT_CTL, FEAT_CTL_LOCKED, false },
	{ MSR_IA32_UCODE_REV, 0, true },
	{ MSR_K7_EVNTSEL0, 0, true },
	{ MSR_K7_PERFCTR3, 0, true },
	{ MSR_F15H_PERF_CTL5, 0, true },
	{ MSR_IA32_PERFCTR1, 0, true },
	{ MSR_CORE_PERF_GLOBAL_CTRL, 0, true },
	{ MSR_K7_HWCR, HWCR_TSC_FREQ_SEL | HWCR_TLBFFDIS, true },
	{ MSR_K7_HWCR, 1, false },
	{ MSR_AMD64_SYSCFG, 0, true },
	{ MSR_AMD64_SYSCFG, BIT(23), false },
	{ MSR_VM_CR, VM_CR_LOCK | VM_CR_SVMDIS, true },
	{ MSR_VM_CR, BIT(0), false },
	{ MSR_AMD64_DE_CFG, MSR_AMD64_DE_CFG_LFENCE_SERIALIZE, true },
	{ MSR_AMD64_DE_CFG, BIT(9), false },
};

static void msr_value_test(struct kunit *test)
{
	u32 i;

	for (i = 0; i < ARRAY_SIZE(value_cases); i++) {
		const struct value_case *c = &value_cases[i];
		const struct mote_msr *row = mote_msr_find(c->index);

		KUNIT_ASSERT_TRUE_MSG(test, row, "%#x", c->index);
		KUNIT_EXPECT_EQ_MSG(test, c->valid, mote_msr_valid(row, c->value, &caps),
				    "%#x = %#llx", c->index, c->value);
	}
}

/* Every value of every byte of PAT, in each place. */
static void msr_pat_test(struct kunit *test)
{
	const struct mote_msr *row = mote_msr_find(MSR_IA32_CR_PAT);
	u32 type, place;

	for (place = 0; place < 64; place += 8) {
		for (type = 0; type < 256; type++) {
			u64 pat = (0x0007040600070406 & ~(0xffull << place)) | (u64)type << place;
			bool valid = type <= 7 && type != 2 && type != 3;

			KUNIT_EXPECT_EQ_MSG(test, valid, mote_msr_valid(row, pat, &caps), "%#llx",
					    pat);
		}
	}
}

/* What reads as a constant can be written back, unless the register is read only. */
static void msr_write_back_test(struct kunit *test)
{
	u32 i;

	for (i = 0; i < ARRAY_SIZE(msrs); i++)
		if (msrs[i].kind == MOTE_MSR_IGNORED)
			KUNIT_EXPECT_TRUE_MSG(test, mote_msr_valid(&msrs[i], msrs[i].value, &caps),
					      "%#x", msrs[i].first);
}

static void msr_apic_base_test(struct kunit *test)
{
	/* Off, xAPIC, x2APIC: rows from, columns to (SDM 3A, "x2APIC State Transitions"). */
	static const u64 states[] = { 0xfee00100, 0xfee00900, 0xfee00d00 };
	static const bool can[3][3] = { { 1, 1, 0 }, { 1, 1, 1 }, { 1, 0, 1 } };
	u32 from, to;

	for (from = 0; from < 3; from++)
		for (to = 0; to < 3; to++)
			KUNIT_EXPECT_EQ_MSG(test, can[from][to],
					    mote_apic_base_can_change(states[from], states[to]),
					    "%u to %u", from, to);
}

/* Each field is judged: a value that its register refuses makes the whole invalid. */
static void msrs_valid_test(struct kunit *test)
{
	static const struct mote_msrs good = {
		.efer = EFER_SCE, .lstar = HIGH_START, .pat = 0x0007040600070406,
		.apic_base = 0xfee00900, .misc_enable = 1, .mtrr_def_type = 0x806,
		.tsc_adjust = ALL,
	};
	u32 i;

	KUNIT_EXPECT_TRUE(test, mote_msrs_valid(&good, &caps));
	for (i = 0; i < ARRAY_SIZE(value_cases); i++) {
		const struct value_case *c = &value_cases[i];
		const struct mote_msr *row = mote_msr_find(c->index);
		struct mote_msrs values = good;

		if (row->kind != MOTE_MSR_STATE)
			continue;
		*(u64 *)((void *)&values + row->field) = c->value;
		KUNIT_EXPECT_EQ_MSG(test, c->valid, mote_msrs_valid(&values, &caps),
				    "%#x = %#llx", c->index, c->value);
	}
}

static struct kunit_case cases[] = {
	KUNIT_CASE(msr_order_test),
	KUNIT_CASE(msr_find_test),
	KUNIT_CASE(msr_unknown_test),
	KUNIT_CASE(msr_value_test),
	KUNIT_CASE(msr_pat_test),
	KUNIT_CASE(msr_write_back_test),
	KUNIT_CASE(msr_apic_base_test),
	KUNIT_CASE(msrs_valid_test),
	{}
};

static struct kunit_suite suite = { .name = "mote_msr", .test_cases = cases };
kunit_test_suite(suite);

MODULE_LICENSE("GPL");
