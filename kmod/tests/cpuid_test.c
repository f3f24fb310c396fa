// SPDX-License-Identifier: GPL-2.0
/* CPUID: what is shown of several hosts, tables as user space gives them, the search. */
#include <kunit/test.h>
#include <linux/module.h>

#include "../guest/cpuid.c"

#define MAX_ROWS 64

/* ---- hosts --------------------------------------------------------------------- */

/* A CPU that says yes to everything; sizes are right where they are used. */
static void cpuid_all(u32 leaf, u32 subleaf, u32 regs[4])
{
	static const u32 xsave[8][2] = { [2] = { 256, 576 }, [5] = { 64, 1088 },
					 [6] = { 512, 1152 }, [7] = { 1024, 1664 } };

	memset(regs, 0xff, 4 * sizeof(u32));
	if (leaf == 4)
		regs[EAX] = subleaf < 3 ? 0xffffffe1 + subleaf : 0xffffffe0;
	if (leaf == 0xd && subleaf >= 2 && subleaf < 8) {
		regs[EAX] = xsave[subleaf][0];
		regs[EBX] = xsave[subleaf][1];
	}
}

/* A 64-bit CPU with nothing that can be left out; leaves to 1 and 0x80000001. */
static void cpuid_least(u32 leaf, u32 subleaf, u32 regs[4])
{
	memset(regs, 0, 4 * sizeof(u32));
	switch (leaf) {
	case 0:
		regs[EAX] = 1;
		regs[EBX] = 0x756e6547;
		break;
	case 0x80000000:
		regs[EAX] = 0x80000001;
		break;
	case 0x80000001:
		regs[EDX] = F(SYSCALL) | F(LM);
		break;
	}
}

/**
 * struct host - a guest's table, made on some host
 * @caps: what the guest may have
 * @rows: its table, sorted
 * @nr: rows
 */
struct host {
	struct mote_caps caps;
	struct mote_cpuid_entry rows[MAX_ROWS];
	u32 nr;
};

static struct host *make_host(struct kunit *test, u64 xcr0,
			      void (*cpuid)(u32 leaf, u32 subleaf, u32 regs[4]))
{
	struct host *host = kunit_kzalloc(test, sizeof(*host), GFP_KERNEL);

	mote_caps_init(&host->caps, MOTE_VENDOR_VMX, 40, xcr0, cpuid);
	host->nr = mote_cpuid_host(host->rows, MAX_ROWS, &host->caps, cpuid);
	KUNIT_ASSERT_LE(test, host->nr, MAX_ROWS);
	KUNIT_ASSERT_EQ(test, 0, mote_cpuid_sort(host->rows, host->nr));
	return host;
}

static const struct mote_cpuid_entry *row_of(const struct host *host, u32 leaf, u32 subleaf)
{
	static const struct mote_cpuid_entry none;
	const struct mote_cpuid_entry *row = mote_cpuid_find(host->rows, host->nr, leaf, subleaf);

	return row ? row : &none;
}

/* On a CPU that has everything, what may be seen, bit for bit. */
static void cpuid_all_test(struct kunit *test)
{
	struct host *host = make_host(test, ~0ull, cpuid_all);

	KUNIT_EXPECT_EQ(test, 0xd, row_of(host, 0, 0)->eax);
	KUNIT_EXPECT_EQ(test, 0xf7fa3203, row_of(host, 1, 0)->ecx);
	KUNIT_EXPECT_EQ(test, 0x0f8bfbff, row_of(host, 1, 0)->edx);
	KUNIT_EXPECT_EQ(test, 0xffff, row_of(host, 1, 0)->ebx);
	KUNIT_EXPECT_EQ(test, 4, row_of(host, 6, 0)->eax);
	KUNIT_EXPECT_EQ(test, 1, row_of(host, 7, 0)->eax);
	KUNIT_EXPECT_EQ(test, 0xfdbf23eb,
			row_of(host, 7, 0)->ebx);
	KUNIT_EXPECT_EQ(test, 0, row_of(host, 0xa, 0)->eax);
	KUNIT_EXPECT_EQ(test, 0xe7, row_of(host, 0xd, 0)->eax);
	KUNIT_EXPECT_EQ(test, 2688, row_of(host, 0xd, 0)->ecx);
	KUNIT_EXPECT_EQ(test, 7, row_of(host, 0xd, 1)->eax);
	KUNIT_EXPECT_EQ(test, 0, row_of(host, 0xd, 3)->eax);
	KUNIT_EXPECT_EQ(test, 0, row_of(host, 0xd, 9)->eax);
	KUNIT_EXPECT_EQ(test, 0x21, row_of(host, 4, 0)->eax & 0x21);
	KUNIT_EXPECT_EQ(test, 0, row_of(host, 4, 0)->eax >> 14);
	KUNIT_EXPECT_EQ(test, 0, row_of(host, 0x80000001, 0)->ecx &
			(F(SVM) | F(SKINIT) | F(OSVW) | F(IBS) | F(LWP) | F(WDT) | F(TOPOEXT) |
			 F(PERFCTR_CORE) | F(PERFCTR_NB) | F(MWAITX)));
	KUNIT_EXPECT_EQ(test, 0, row_of(host, 0x80000001, 0)->edx & (F(RDTSCP) | F(FXSR_OPT)));
	KUNIT_EXPECT_EQ(test, BIT(8), row_of(host, 0x80000007, 0)->edx);
	KUNIT_EXPECT_EQ(test, 40 | 57 << 8, row_of(host, 0x80000008, 0)->eax);
	KUNIT_EXPECT_EQ(test, 0, row_of(host, 0x8000000a, 0)->eax);
	KUNIT_EXPECT_EQ(test, 0x40000001, row_of(host, 0x40000000, 0)->eax);
	KUNIT_EXPECT_EQ(test, 0, memcmp(&row_of(host, 0x40000000, 0)->ebx, "MoteMoteMote", 12));
	KUNIT_EXPECT_EQ(test, 1, row_of(host, 0x40000001, 0)->eax);
	KUNIT_EXPECT_EQ(test, 0x40000101, row_of(host, 0x40000100, 0)->eax);
	KUNIT_EXPECT_EQ(test, 0, memcmp(&row_of(host, 0x40000100, 0)->ebx, "KVMKVMKVM\0\0\0", 12));
}

/* Leaf 1 and 7 against lists of what must not be there. */
static void cpuid_hidden_test(struct kunit *test)
{
	struct host *host = make_host(test, ~0ull, cpuid_all);

	KUNIT_EXPECT_EQ(test, 0, row_of(host, 1, 0)->ecx &
			(F(DTES64) | F(MWAIT) | F(DSCPL) | F(VMX) | F(SMX) | F(EST) | F(TM2) | F(CID) |
			 F(SDBG) | F(XTPR) | F(PDCM) | F(DCA) | F(OSXSAVE)));
	KUNIT_EXPECT_EQ(test, 0, row_of(host, 1, 0)->edx &
			(F(PN) | F(DS) | F(ACPI) | F(HT) | F(ACC) | F(PBE)));
	KUNIT_EXPECT_EQ(test, 0, row_of(host, 7, 0)->ebx &
			(F(SGX) | F(HLE) | F(INVPCID) | F(RTM) | F(CQM) | F(MPX) | F(RDT_A) |
			 F(INTEL_PT)));
	KUNIT_EXPECT_EQ(test, 0, row_of(host, 7, 0)->ecx &
			(F(PKU) | F(OSPKE) | F(WAITPKG) | BIT(7) | F(TME) | F(RDPID) |
			 F(BUS_LOCK_DETECT) | F(ENQCMD) | F(SGX_LC)));
	KUNIT_EXPECT_EQ(test, 0, row_of(host, 7, 0)->edx &
			(F(SRBDS_CTRL) | F(TSX_FORCE_ABORT) | F(HYBRID_CPU) | F(PCONFIG) | F(ARCH_LBR) |
			 F(IBT) | F(AMX_TILE) | F(SPEC_CTRL) | F(INTEL_STIBP) | F(FLUSH_L1D) |
			 F(ARCH_CAPABILITIES) | F(CORE_CAPABILITIES) | F(SPEC_CTRL_SSBD)));
	KUNIT_EXPECT_EQ(test, 0, row_of(host, 0x80000008, 0)->ebx &
			(F(IRPERF) | F(RDPRU) | F(AMD_IBPB) | F(AMD_IBRS) | F(AMD_STIBP) |
			 F(AMD_SSBD) | F(VIRT_SSBD)));
}

static void cpuid_least_test(struct kunit *test)
{
	struct host *host = make_host(test, 1, cpuid_least);

	KUNIT_EXPECT_EQ(test, 1, host->caps.xcr0);
	KUNIT_EXPECT_EQ(test, 0, host->caps.cr4);
	KUNIT_EXPECT_EQ(test, EFER_SCE | EFER_LME | EFER_LMA, host->caps.efer);
	KUNIT_EXPECT_EQ(test, 48, host->caps.virt_bits);
	KUNIT_EXPECT_EQ(test, 1, row_of(host, 0, 0)->eax);
	KUNIT_EXPECT_EQ(test, F(X2APIC) | F(TSC_DEADLINE_TIMER) | F(HYPERVISOR), row_of(host, 1, 0)->ecx);
	KUNIT_EXPECT_EQ(test, F(APIC), row_of(host, 1, 0)->edx);
	KUNIT_EXPECT_EQ(test, 0, row_of(host, 7, 0)->ebx);
	/* Leaf 0, 1, two extended ones, two of mote's, two of KVM's. */
	KUNIT_EXPECT_EQ(test, 8, host->nr);
}

struct xcr0_case {
	u64 host;
	u64 guest;
};

/* Features of vector registers that the host does not switch are hidden. */
static void cpuid_xcr0_test(struct kunit *test)
{
	static const struct xcr0_case c[] = {
		{ 1, 1 }, { 2, 1 }, { 3, 3 }, { 5, 1 }, { 7, 7 }, { 0x1f, 7 }, { 0x67, 7 }, { 0xe3, 3 },
		{ 0xe7, 0xe7 }, { 0x602e7, 0xe7 }, { ~0ull, 0xe7 },
	};
	u32 i;

	for (i = 0; i < ARRAY_SIZE(c); i++) {
		struct host *host = make_host(test, c[i].host, cpuid_all);
		bool xsave = c[i].guest & 2, avx = c[i].guest & 4, avx512 = c[i].guest & 0x20;

		KUNIT_EXPECT_EQ_MSG(test, c[i].guest, host->caps.xcr0, "%#llx", c[i].host);
		KUNIT_EXPECT_EQ(test, xsave, !!(row_of(host, 1, 0)->ecx & F(XSAVE)));
		KUNIT_EXPECT_EQ(test, xsave, !!(host->caps.cr4 & X86_CR4_OSXSAVE));
		KUNIT_EXPECT_EQ(test, xsave, !!row_of(host, 0xd, 0)->eax);
		KUNIT_EXPECT_EQ(test, avx, !!(row_of(host, 1, 0)->ecx & F(AVX)));
		KUNIT_EXPECT_EQ(test, avx, !!(row_of(host, 7, 0)->ebx & F(AVX2)));
		KUNIT_EXPECT_EQ(test, avx, !!row_of(host, 0xd, 2)->eax);
		KUNIT_EXPECT_EQ(test, avx512, !!(row_of(host, 7, 0)->ebx & F(AVX512F)));
		KUNIT_EXPECT_EQ(test, avx512, !!row_of(host, 0xd, 6)->eax);
	}
}

/* CR4 and EFER agree with what is shown, and with no more room than there is. */
static void cpuid_caps_test(struct kunit *test)
{
	struct host *host = make_host(test, ~0ull, cpuid_all);
	struct mote_cpuid_entry few[3];

	KUNIT_EXPECT_EQ(test, 0, host->caps.cr4 & (X86_CR4_VMXE | X86_CR4_SMXE | X86_CR4_PKE |
						   BIT(23) /* CET */ | BIT(24) | BIT(25)));
	KUNIT_EXPECT_EQ(test, 0x371fff, host->caps.cr4);
	KUNIT_EXPECT_EQ(test, EFER_SCE | EFER_LME | EFER_LMA | EFER_NX, host->caps.efer);
	KUNIT_EXPECT_EQ(test, host->nr, mote_cpuid_host(few, ARRAY_SIZE(few), &host->caps,
							 cpuid_all));
	KUNIT_EXPECT_EQ(test, host->nr, mote_cpuid_host(NULL, 0, &host->caps, cpuid_all));
}

/* ---- tables ------------------------------------------------------------------------ */

#define ROW(l, s, f) { .leaf = (l), .subleaf = (s), .flags = (f) }

static void cpuid_sort_test(struct kunit *test)
{
	struct mote_cpuid_entry good[] = { ROW(7, 1, 1), ROW(0x80000000, 0, 0), ROW(1, 9, 0),
					   ROW(7, 0, 1), ROW(0, 0, 0) };
	struct mote_cpuid_entry twice[] = { ROW(1, 0, 0), ROW(0, 0, 0), ROW(1, 0, 0) };
	struct mote_cpuid_entry same[] = { ROW(7, 1, 1), ROW(7, 1, 1) };
	struct mote_cpuid_entry mixed[] = { ROW(7, 1, 1), ROW(7, 0, 0) };
	struct mote_cpuid_entry flags[] = { ROW(7, 1, 2) };
	struct mote_cpuid_entry pad[] = { { .pad = 1 } };
	u32 i;

	KUNIT_EXPECT_EQ(test, 0, mote_cpuid_sort(good, 0));
	KUNIT_EXPECT_EQ(test, 0, mote_cpuid_sort(good, ARRAY_SIZE(good)));
	for (i = 1; i < ARRAY_SIZE(good); i++)
		KUNIT_EXPECT_TRUE(test, key(&good[i - 1]) < key(&good[i]));
	KUNIT_EXPECT_EQ(test, -EINVAL, mote_cpuid_sort(twice, ARRAY_SIZE(twice)));
	KUNIT_EXPECT_EQ(test, -EINVAL, mote_cpuid_sort(same, ARRAY_SIZE(same)));
	KUNIT_EXPECT_EQ(test, -EINVAL, mote_cpuid_sort(mixed, ARRAY_SIZE(mixed)));
	KUNIT_EXPECT_EQ(test, -EINVAL, mote_cpuid_sort(flags, ARRAY_SIZE(flags)));
	KUNIT_EXPECT_EQ(test, -EINVAL, mote_cpuid_sort(pad, ARRAY_SIZE(pad)));
}

static const struct mote_cpuid_entry *find_linear(const struct mote_cpuid_entry *rows, u32 nr,
						  u32 leaf, u32 subleaf)
{
	u32 i;

	for (i = 0; i < nr; i++)
		if (rows[i].leaf == leaf && (!rows[i].flags || rows[i].subleaf == subleaf))
			return &rows[i];
	return NULL;
}

/* Tables of every size up to 64; leaves with and without subleaves, and gaps. */
static void cpuid_find_test(struct kunit *test)
{
	struct mote_cpuid_entry *rows = kunit_kzalloc(test, 64 * sizeof(*rows), GFP_KERNEL);
	u32 nr, i, leaf, subleaf;

	for (nr = 0; nr <= 64; nr++) {
		for (i = 0; i < nr; i++)
			rows[i] = (struct mote_cpuid_entry)ROW(i / 3 * 2, i % 3 * 2,
								MOTE_CPUID_SUBLEAF);
		for (i = 2; i < nr; i += 9)
			rows[i] = (struct mote_cpuid_entry)ROW(0x80000000 + i, 77, 0);
		KUNIT_ASSERT_EQ(test, 0, mote_cpuid_sort(rows, nr));
		for (i = 0; i < 64 * 12; i++) {
			leaf = i / 6 % 64 + (i / 384 << 31);
			subleaf = i % 6;
			KUNIT_EXPECT_PTR_EQ_MSG(test, find_linear(rows, nr, leaf, subleaf),
						mote_cpuid_find(rows, nr, leaf, subleaf),
						"%#x %u of %u", leaf, subleaf, nr);
		}
		KUNIT_EXPECT_PTR_EQ(test, find_linear(rows, nr, ~0u, ~0u),
				    mote_cpuid_find(rows, nr, ~0u, ~0u));
	}
}

static void cpuid_patch_test(struct kunit *test)
{
	struct mote_cpuid_entry row = ROW(1, 0, 0);

	row.ecx = F(XSAVE);
	row.edx = F(APIC);
	mote_cpuid_patch(&row, X86_CR4_OSXSAVE, 1, 0xfee00900);
	KUNIT_EXPECT_EQ(test, F(XSAVE) | F(OSXSAVE), row.ecx);
	KUNIT_EXPECT_EQ(test, F(APIC), row.edx);
	mote_cpuid_patch(&row, 0, 1, 0xfee00100);
	KUNIT_EXPECT_EQ(test, F(XSAVE), row.ecx);
	KUNIT_EXPECT_EQ(test, 0, row.edx);
	/* What the table does not have does not appear. */
	row.ecx = 0;
	mote_cpuid_patch(&row, X86_CR4_OSXSAVE, 1, 0xfee00900);
	KUNIT_EXPECT_EQ(test, 0, row.ecx);
	KUNIT_EXPECT_EQ(test, 0, row.edx);

	row = (struct mote_cpuid_entry)ROW(7, 0, 1);
	row.ecx = F(PKU);
	mote_cpuid_patch(&row, X86_CR4_PKE, 1, 0);
	KUNIT_EXPECT_EQ(test, F(PKU) | F(OSPKE), row.ecx);
	mote_cpuid_patch(&row, 0, 1, 0);
	KUNIT_EXPECT_EQ(test, F(PKU), row.ecx);

	row = (struct mote_cpuid_entry)ROW(0x80000001, 0, 0);
	row.edx = F(APIC) | F(LM);
	mote_cpuid_patch(&row, 0, 1, 0xfee00100);
	KUNIT_EXPECT_EQ(test, F(LM), row.edx);
}

static void cpuid_xsave_size_test(struct kunit *test)
{
	static const u32 sizes[][3] = { { 1, 576, 576 }, { 3, 576, 576 }, { 7, 832, 832 },
					{ 0xe7, 2688, 2432 } };
	u32 i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct mote_cpuid_entry row = ROW(0xd, 0, 1);

		row.ecx = 2688;
		mote_cpuid_patch(&row, 0, sizes[i][0], 0);
		KUNIT_EXPECT_EQ(test, sizes[i][1], row.ebx);
		row.subleaf = 1;
		row.eax = F(XSAVEC);
		mote_cpuid_patch(&row, 0, sizes[i][0], 0);
		KUNIT_EXPECT_EQ(test, sizes[i][2], row.ebx);
		row.subleaf = 2;
		row.ebx = 576;
		mote_cpuid_patch(&row, 0, sizes[i][0], 0);
		KUNIT_EXPECT_EQ(test, 576, row.ebx);
	}
}

/* What the patch changes is dynamic, and only that. */
static void cpuid_dynamic_test(struct kunit *test)
{
	u32 leaf, subleaf, i;

	for (leaf = 0; leaf < 0x40; leaf++) {
		for (subleaf = 0; subleaf < 4; subleaf++) {
			for (i = 0; i < 2; i++) {
				u32 l = leaf | i << 31;
				struct mote_cpuid_entry row = ROW(l, subleaf, 1), copy;

				row.eax = row.ebx = row.ecx = row.edx = 0xffffffff;
				copy = row;
				mote_cpuid_patch(&copy, 0, 1, 0);
				if (memcmp(&copy, &row, sizeof(row)))
					KUNIT_EXPECT_TRUE_MSG(test, mote_cpuid_is_dynamic(l), "%#x", l);
			}
		}
	}
	KUNIT_EXPECT_FALSE(test, mote_cpuid_is_dynamic(0));
	KUNIT_EXPECT_FALSE(test, mote_cpuid_is_dynamic(0x40000000));
}

static struct kunit_case cases[] = {
	KUNIT_CASE(cpuid_all_test),
	KUNIT_CASE(cpuid_hidden_test),
	KUNIT_CASE(cpuid_least_test),
	KUNIT_CASE(cpuid_xcr0_test),
	KUNIT_CASE(cpuid_caps_test),
	KUNIT_CASE(cpuid_sort_test),
	KUNIT_CASE(cpuid_find_test),
	KUNIT_CASE(cpuid_patch_test),
	KUNIT_CASE(cpuid_xsave_size_test),
	KUNIT_CASE(cpuid_dynamic_test),
	{}
};

static struct kunit_suite suite = { .name = "mote_cpuid", .test_cases = cases };
kunit_test_suite(suite);

MODULE_LICENSE("GPL");
