// SPDX-License-Identifier: GPL-2.0
/* CPUID: what guests may have on several hosts, tables as user space gives them, the search. */
#include <kunit/test.h>
#include <linux/module.h>

#include "../guest/cpuid.c"

/* ---- hosts --------------------------------------------------------------------- */

/* A CPU that says yes to everything. */
static void cpuid_all(const void *unused, u32 leaf, u32 subleaf, u32 regs[4])
{
	memset(regs, 0xff, 4 * sizeof(u32));
}

/* A 64-bit CPU with nothing that can be left out. */
static void cpuid_least(const void *unused, u32 leaf, u32 subleaf, u32 regs[4])
{
	memset(regs, 0, 4 * sizeof(u32));
	if (leaf == 0x80000001)
		regs[EDX] = F(SYSCALL) | F(LM);
}

static void cpuid_least_test(struct kunit *test)
{
	struct mote_caps caps;

	mote_caps_init(&caps, 40, 1, cpuid_least, NULL);
	KUNIT_EXPECT_EQ(test, 1, caps.xcr0);
	KUNIT_EXPECT_EQ(test, 0, caps.cr4);
	KUNIT_EXPECT_EQ(test, EFER_SCE | EFER_LME | EFER_LMA, caps.efer);
	KUNIT_EXPECT_EQ(test, 40, caps.phys_bits);
	KUNIT_EXPECT_EQ(test, 48, caps.virt_bits);
}

struct xcr0_case {
	u64 host;
	u64 guest;
};

/* Components that the host does not switch, or only in part, are not the guest's. */
static void cpuid_xcr0_test(struct kunit *test)
{
	static const struct xcr0_case c[] = {
		{ 1, 1 }, { 2, 1 }, { 3, 3 }, { 5, 1 }, { 7, 7 }, { 0x1f, 7 }, { 0x67, 7 }, { 0xe3, 3 },
		{ 0xe7, 0xe7 }, { 0x602e7, 0xe7 }, { ~0ull, 0xe7 },
	};
	struct mote_caps caps;
	u32 i;

	for (i = 0; i < ARRAY_SIZE(c); i++) {
		mote_caps_init(&caps, 40, c[i].host, cpuid_all, NULL);
		KUNIT_EXPECT_EQ_MSG(test, c[i].guest, caps.xcr0, "%#llx", c[i].host);
		KUNIT_EXPECT_EQ(test, !!(c[i].guest & 2), !!(caps.cr4 & X86_CR4_OSXSAVE));
	}
}

static void cpuid_caps_test(struct kunit *test)
{
	struct mote_caps caps;

	mote_caps_init(&caps, 40, ~0ull, cpuid_all, NULL);
	KUNIT_EXPECT_EQ(test, 0, caps.cr4 & (X86_CR4_VMXE | X86_CR4_SMXE | X86_CR4_PKE |
					     BIT(23) /* CET */ | BIT(24) | BIT(25)));
	KUNIT_EXPECT_EQ(test, 0x371fff, caps.cr4);
	KUNIT_EXPECT_EQ(test, EFER_SCE | EFER_LME | EFER_LMA | EFER_NX, caps.efer);
	KUNIT_EXPECT_EQ(test, 57, caps.virt_bits);
}

/* A guest may set what its table and the host both have; without XSAVE's leaf, no more than x87. */
static void cpuid_guest_caps_test(struct kunit *test)
{
	static const struct mote_caps host = {
		.phys_bits = 40, .virt_bits = 48, .efer = EFER_SCE | EFER_LME | EFER_LMA | EFER_NX,
		.cr4 = X86_CR4_PAE | X86_CR4_PCIDE | X86_CR4_OSXSAVE | X86_CR4_SMEP, .xcr0 = 7,
	};
	static const struct mote_cpuid_entry rows[] = {
		{ .leaf = 1, .ecx = F(XSAVE) | F(PCID), .edx = F(PAE) | F(PGE) },
		{ .leaf = 7, .flags = MOTE_CPUID_SUBLEAF, .ecx = F(LA57) },
		{ .leaf = 0xd, .flags = MOTE_CPUID_SUBLEAF, .eax = 0xe7 },
	};
	struct mote_cpuid *table =
		kunit_kzalloc(test, sizeof(*table) + sizeof(rows), GFP_KERNEL);
	struct mote_caps caps;

	table->nr = ARRAY_SIZE(rows);
	memcpy(table->rows, rows, sizeof(rows));
	caps = mote_cpuid_caps(table, &host);

	KUNIT_EXPECT_EQ(test, caps.cr4, X86_CR4_PAE | X86_CR4_PCIDE | X86_CR4_OSXSAVE);
	KUNIT_EXPECT_EQ(test, caps.xcr0, 7);
	KUNIT_EXPECT_EQ(test, caps.efer, 0);
	KUNIT_EXPECT_EQ(test, caps.virt_bits, 48);
	table->rows[2].eax = 3;
	KUNIT_EXPECT_EQ(test, mote_cpuid_caps(table, &host).xcr0, 3);
	table->nr = 2;
	caps = mote_cpuid_caps(table, &host);
	KUNIT_EXPECT_EQ(test, caps.cr4, X86_CR4_PAE | X86_CR4_PCIDE);
	KUNIT_EXPECT_EQ(test, caps.xcr0, 1);
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
		KUNIT_EXPECT_TRUE(test, cpuid_key(&good[i - 1]) < cpuid_key(&good[i]));
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

static const struct mote_msrs limited = {
	.apic_base = 0xfee00900,
	.misc_enable = MSR_IA32_MISC_ENABLE_LIMIT_CPUID | MSR_IA32_MISC_ENABLE_XD_DISABLE,
};

static void cpuid_patch_test(struct kunit *test)
{
	static const struct mote_msrs on = { .apic_base = 0xfee00900 };
	static const struct mote_msrs off = { .apic_base = 0xfee00100 };
	struct mote_cpuid_entry row = ROW(1, 0, 0);

	row.ecx = F(XSAVE);
	row.edx = F(APIC);
	mote_cpuid_patch(&row, 0, X86_CR4_OSXSAVE, 1, &on);
	KUNIT_EXPECT_EQ(test, F(XSAVE) | F(OSXSAVE), row.ecx);
	KUNIT_EXPECT_EQ(test, F(APIC), row.edx);
	mote_cpuid_patch(&row, 0, 0, 1, &off);
	KUNIT_EXPECT_EQ(test, F(XSAVE), row.ecx);
	KUNIT_EXPECT_EQ(test, 0, row.edx);
	/* What the table does not have does not appear. */
	row.ecx = 0;
	mote_cpuid_patch(&row, 0, X86_CR4_OSXSAVE, 1, &on);
	KUNIT_EXPECT_EQ(test, 0, row.ecx);
	KUNIT_EXPECT_EQ(test, 0, row.edx);

	row = (struct mote_cpuid_entry)ROW(7, 0, 1);
	row.ecx = F(PKU);
	mote_cpuid_patch(&row, 0, X86_CR4_PKE, 1, &on);
	KUNIT_EXPECT_EQ(test, F(PKU) | F(OSPKE), row.ecx);
	mote_cpuid_patch(&row, 0, 0, 1, &on);
	KUNIT_EXPECT_EQ(test, F(PKU), row.ecx);

	row = (struct mote_cpuid_entry)ROW(0x80000001, 0, 0);
	row.edx = F(APIC) | F(LM);
	mote_cpuid_patch(&row, 0, 0, 1, &off);
	KUNIT_EXPECT_EQ(test, F(LM), row.edx);
	/* IA32_MISC_ENABLE: no execute-disable, at most two leaves. */
	row.edx = F(NX) | F(LM);
	mote_cpuid_patch(&row, 0, 0, 1, &on);
	KUNIT_EXPECT_EQ(test, F(NX) | F(LM), row.edx);
	mote_cpuid_patch(&row, 0, 0, 1, &limited);
	KUNIT_EXPECT_EQ(test, F(LM), row.edx);
	row = (struct mote_cpuid_entry)ROW(0, 0, 0);
	row.eax = 0xd;
	mote_cpuid_patch(&row, 0, 0, 1, &limited);
	KUNIT_EXPECT_EQ(test, 2, row.eax);
	KUNIT_EXPECT_TRUE(test, mote_cpuid_is_dynamic(0, &limited));
	KUNIT_EXPECT_FALSE(test, mote_cpuid_is_dynamic(0, &on));
}

static void cpuid_xsave_size_test(struct kunit *test)
{
	static const struct mote_msrs on = { .apic_base = 0xfee00900 };
	static const u32 sizes[][3] = { { 1, 576, 576 }, { 3, 576, 576 }, { 7, 832, 832 },
					{ 0xe7, 2688, 2432 } };
	u32 i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct mote_cpuid_entry row = ROW(0xd, 0, 1);

		row.ecx = 2688;
		mote_cpuid_patch(&row, 0, 0, sizes[i][0], &on);
		KUNIT_EXPECT_EQ(test, sizes[i][1], row.ebx);
		row.subleaf = 1;
		row.eax = F(XSAVEC);
		mote_cpuid_patch(&row, 0, 0, sizes[i][0], &on);
		KUNIT_EXPECT_EQ(test, sizes[i][2], row.ebx);
		row.subleaf = 2;
		row.ebx = 576;
		mote_cpuid_patch(&row, 0, 0, sizes[i][0], &on);
		KUNIT_EXPECT_EQ(test, 576, row.ebx);
	}
}

/* In leaves of topology each subleaf has its number and the x2APIC id, also beyond the last level. */
static void cpuid_topology_test(struct kunit *test)
{
	struct mote_cpuid_entry rows[] = { ROW(7, 0, 1), ROW(0xb, 0, 1), ROW(0xb, 1, 1) };
	const struct mote_cpuid_entry *row;
	struct mote_cpuid_entry copy;
	u32 subleaf;

	rows[0].edx = 7;
	rows[1].edx = rows[2].edx = 0x123;
	rows[1].ecx = 0x1ff;
	rows[2].ecx = 0x201;
	for (subleaf = 0; subleaf < 0x300; subleaf++) {
		row = mote_cpuid_find(rows, ARRAY_SIZE(rows), 0xb, subleaf);
		KUNIT_ASSERT_EQ(test, subleaf < 2, !!row);
		copy = row ? *row : (struct mote_cpuid_entry){};
		if (!row)
			mote_cpuid_beyond(rows, ARRAY_SIZE(rows), 0xb, &copy);
		mote_cpuid_patch(&copy, subleaf, 0, 1, &limited);
		KUNIT_EXPECT_EQ(test, 0x123, copy.edx);
		KUNIT_EXPECT_EQ(test, (subleaf & 0xff) | (row ? (subleaf + 1) << 8 : 0), copy.ecx);
	}
	/* Others have nothing in common, nor has a leaf that is not in the table. */
	copy = (struct mote_cpuid_entry){};
	mote_cpuid_beyond(rows, ARRAY_SIZE(rows), 7, &copy);
	mote_cpuid_beyond(rows, ARRAY_SIZE(rows), 0x1f, &copy);
	KUNIT_EXPECT_EQ(test, 0, copy.edx);
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
				mote_cpuid_patch(&copy, 5, 0, 1, &limited);
				if (memcmp(&copy, &row, sizeof(row)))
					KUNIT_EXPECT_TRUE_MSG(test,
							      mote_cpuid_is_dynamic(l, &limited),
							      "%#x", l);
			}
		}
	}
	KUNIT_EXPECT_FALSE(test, mote_cpuid_is_dynamic(0x40000000, &limited));
}

static struct kunit_case cases[] = {
	KUNIT_CASE(cpuid_least_test),
	KUNIT_CASE(cpuid_xcr0_test),
	KUNIT_CASE(cpuid_caps_test),
	KUNIT_CASE(cpuid_guest_caps_test),
	KUNIT_CASE(cpuid_sort_test),
	KUNIT_CASE(cpuid_find_test),
	KUNIT_CASE(cpuid_patch_test),
	KUNIT_CASE(cpuid_xsave_size_test),
	KUNIT_CASE(cpuid_topology_test),
	KUNIT_CASE(cpuid_dynamic_test),
	{}
};

static struct kunit_suite suite = { .name = "mote_cpuid", .test_cases = cases };
kunit_test_suite(suite);

MODULE_LICENSE("GPL");
