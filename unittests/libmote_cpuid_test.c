// SPDX-License-Identifier: GPL-2.0
/* mote_get_cpuid(): what is shown of several hosts, and with no more room than there is. */
#include <kunit/test.h>
#include <asm/cpufeatures.h>

#undef ARRAY_SIZE
#include "../userspace/libmote/cpuid.c"

/* The kernel's own names. */
#define K(name) BIT(X86_FEATURE_##name & 31)
#define EFER_ALL 0xd01 /* SCE, LME, LMA, NX */
#define EFER_LEAST 0x501
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
		regs[EDX] = K(SYSCALL) | K(LM);
		break;
	}
}

/* A guest's table, made on some host. */
struct host {
	struct mote_info info;
	struct mote_cpuid_entry rows[MAX_ROWS];
	u32 nr;
};

static const struct mote_cpuid_entry *row_of(const struct host *host, u32 leaf, u32 subleaf)
{
	static const struct mote_cpuid_entry none;
	u32 i;

	for (i = 0; i < host->nr; i++)
		if (host->rows[i].leaf == leaf && (!host->rows[i].flags || host->rows[i].subleaf == subleaf))
			return &host->rows[i];
	return &none;
}

/* What a guest may have there, the module says: the suite of kmod/guest/cpuid.c has the same hosts. */
static struct host *make_host(struct kunit *test, u64 xcr0, u64 cr4, u64 efer, cpuid_reader *cpuid)
{
	struct host *host = kunit_kzalloc(test, sizeof(*host), GFP_KERNEL);
	u32 i;

	host->info = (struct mote_info){
		.gpa_bits = 40, .gva_bits = cr4 & CR4_LA57 ? 57 : 48, .xcr0 = xcr0, .cr4 = cr4, .efer = efer,
	};
	host->nr = make_table(host->rows, MAX_ROWS, &host->info, cpuid);
	KUNIT_ASSERT_LE(test, host->nr, MAX_ROWS);
	/* MOTE_SET_CPUID refuses two rows that answer for the same. */
	for (i = 0; i < host->nr; i++)
		KUNIT_EXPECT_TRUE_MSG(test, row_of(host, host->rows[i].leaf, host->rows[i].subleaf) ==
				      &host->rows[i], "row %u", i);
	return host;
}

static struct host *host_with_all(struct kunit *test)
{
	return make_host(test, 0xe7, 0x371fff, EFER_ALL, cpuid_all);
}

/* On a CPU that has everything, what may be seen, bit for bit. */
static void cpuid_all_test(struct kunit *test)
{
	struct host *host = host_with_all(test);

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
			(K(SVM) | K(SKINIT) | K(OSVW) | K(IBS) | K(LWP) | K(WDT) | K(TOPOEXT) |
			 K(PERFCTR_CORE) | K(PERFCTR_NB) | K(MWAITX)));
	KUNIT_EXPECT_EQ(test, 0, row_of(host, 0x80000001, 0)->edx & (K(RDTSCP) | K(FXSR_OPT)));
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
	struct host *host = host_with_all(test);

	KUNIT_EXPECT_EQ(test, 0, row_of(host, 1, 0)->ecx &
			(K(DTES64) | K(MWAIT) | K(DSCPL) | K(VMX) | K(SMX) | K(EST) | K(TM2) | K(CID) |
			 K(SDBG) | K(XTPR) | K(PDCM) | K(DCA) | K(OSXSAVE)));
	KUNIT_EXPECT_EQ(test, 0, row_of(host, 1, 0)->edx &
			(K(PN) | K(DS) | K(ACPI) | K(HT) | K(ACC) | K(PBE)));
	KUNIT_EXPECT_EQ(test, 0, row_of(host, 7, 0)->ebx &
			(K(SGX) | K(HLE) | K(INVPCID) | K(RTM) | K(CQM) | K(MPX) | K(RDT_A) |
			 K(INTEL_PT)));
	KUNIT_EXPECT_EQ(test, 0, row_of(host, 7, 0)->ecx &
			(K(PKU) | K(OSPKE) | K(WAITPKG) | BIT(7) | K(TME) | K(RDPID) |
			 K(BUS_LOCK_DETECT) | K(ENQCMD) | K(SGX_LC)));
	KUNIT_EXPECT_EQ(test, 0, row_of(host, 7, 0)->edx &
			(K(SRBDS_CTRL) | K(TSX_FORCE_ABORT) | K(HYBRID_CPU) | K(PCONFIG) | K(ARCH_LBR) |
			 K(IBT) | K(AMX_TILE) | K(SPEC_CTRL) | K(INTEL_STIBP) | K(FLUSH_L1D) |
			 K(ARCH_CAPABILITIES) | K(CORE_CAPABILITIES) | K(SPEC_CTRL_SSBD)));
	KUNIT_EXPECT_EQ(test, 0, row_of(host, 0x80000008, 0)->ebx &
			(K(IRPERF) | K(RDPRU) | K(AMD_IBPB) | K(AMD_IBRS) | K(AMD_STIBP) |
			 K(AMD_SSBD) | K(VIRT_SSBD)));
}

static void cpuid_least_test(struct kunit *test)
{
	struct host *host = make_host(test, 1, 0, EFER_LEAST, cpuid_least);

	KUNIT_EXPECT_EQ(test, 1, row_of(host, 0, 0)->eax);
	KUNIT_EXPECT_EQ(test, K(X2APIC) | K(TSC_DEADLINE_TIMER) | K(HYPERVISOR), row_of(host, 1, 0)->ecx);
	KUNIT_EXPECT_EQ(test, K(APIC), row_of(host, 1, 0)->edx);
	KUNIT_EXPECT_EQ(test, 0, row_of(host, 7, 0)->ebx);
	/* Leaf 0, 1, two extended ones, two of mote's, two of KVM's. */
	KUNIT_EXPECT_EQ(test, 8, host->nr);
}

/* Features of vector registers that the host does not switch are hidden. */
static void cpuid_xcr0_test(struct kunit *test)
{
	static const u8 xcr0[] = { 1, 3, 7, 0xe7 };
	u32 i;

	for (i = 0; i < ARRAY_SIZE(xcr0); i++) {
		struct host *host = make_host(test, xcr0[i], 0x371fff, EFER_ALL, cpuid_all);
		bool xsave = xcr0[i] & 2, avx = xcr0[i] & 4, avx512 = xcr0[i] & 0x20;

		KUNIT_EXPECT_EQ(test, xsave, !!(row_of(host, 1, 0)->ecx & K(XSAVE)));
		KUNIT_EXPECT_EQ(test, xsave, !!row_of(host, 0xd, 0)->eax);
		KUNIT_EXPECT_EQ(test, avx, !!(row_of(host, 1, 0)->ecx & K(AVX)));
		KUNIT_EXPECT_EQ(test, avx, !!(row_of(host, 7, 0)->ebx & K(AVX2)));
		KUNIT_EXPECT_EQ(test, avx, !!row_of(host, 0xd, 2)->eax);
		KUNIT_EXPECT_EQ(test, avx512, !!(row_of(host, 7, 0)->ebx & K(AVX512F)));
		KUNIT_EXPECT_EQ(test, avx512, !!row_of(host, 0xd, 6)->eax);
	}
}

struct gate_case {
	u64 cr4;
	u64 efer;
	u32 leaf;
	u8 reg;
	u32 feature;
};

/* So are those whose bit of CR4 or EFER the kernel does not let a guest set, and only they. */
static void cpuid_gate_test(struct kunit *test)
{
	static const struct gate_case c[] = {
		{ BIT(11), 0, 7, ECX, K(UMIP) }, { BIT(12), 0, 7, ECX, K(LA57) },
		{ BIT(16), 0, 7, EBX, K(FSGSBASE) }, { BIT(17), 0, 1, ECX, K(PCID) },
		{ BIT(20), 0, 7, EBX, K(SMEP) }, { BIT(21), 0, 7, EBX, K(SMAP) },
		{ 0, BIT(11), 0x80000001, EDX, K(NX) },
	};
	struct host *all = host_with_all(test);
	u32 i;

	for (i = 0; i < ARRAY_SIZE(c); i++) {
		struct host *host = make_host(test, 0xe7, 0x371fff & ~c[i].cr4, EFER_ALL & ~c[i].efer,
					      cpuid_all);
		const u32 *with = &row_of(all, c[i].leaf, 0)->eax + c[i].reg;
		const u32 *without = &row_of(host, c[i].leaf, 0)->eax + c[i].reg;

		KUNIT_EXPECT_EQ_MSG(test, c[i].feature, *with ^ *without, "case %u", i);
	}
}

static void cpuid_room_test(struct kunit *test)
{
	struct host *host = host_with_all(test);
	struct mote_cpuid_entry few[3];

	KUNIT_EXPECT_EQ(test, host->nr, make_table(few, ARRAY_SIZE(few), &host->info, cpuid_all));
	KUNIT_EXPECT_EQ(test, 0, memcmp(few, host->rows, sizeof(few)));
	KUNIT_EXPECT_EQ(test, host->nr, make_table(NULL, 0, &host->info, cpuid_all));
}

static struct kunit_case cases[] = {
	KUNIT_CASE(cpuid_all_test),
	KUNIT_CASE(cpuid_hidden_test),
	KUNIT_CASE(cpuid_least_test),
	KUNIT_CASE(cpuid_xcr0_test),
	KUNIT_CASE(cpuid_gate_test),
	KUNIT_CASE(cpuid_room_test),
	{}
};

static struct kunit_suite suite = { .name = "libmote_cpuid", .test_cases = cases };
kunit_test_suite(suite);
