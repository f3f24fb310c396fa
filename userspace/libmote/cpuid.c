// SPDX-License-Identifier: GPL-2.0
/*
 * libmote: what a guest may be told by CPUID, for MOTE_SET_CPUID.
 *
 * A feature is shown when it is in the tables below, this CPU has it and the
 * kernel lets a guest have what belongs to it (bits of CR4, EFER and XCR0, see
 * struct mote_info): whatever is new or unknown is hidden, on whichever CPU the
 * thread happens to run.  docs/exits.md says why the hidden ones are.  Topology
 * (APIC ids, leaves 0xb and 0x1f) is the caller's to fill in.
 */
#include <cpuid.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libmote.h"

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

#define MAX_BASIC 0xd
#define MAX_EXTENDED 0x80000021
#define HYPERVISOR_BASE 0x40000000
#define HYPERVISOR_SIGNATURE 0x65746f4d /* "Mote", three times */
#define KVM_BASE (HYPERVISOR_BASE + 0x100)

#define XCR0_SSE 0x3 /* x87 comes with it */
#define XCR0_YMM 0x4
#define XCR0_AVX512 0xe0 /* opmask, ZMM_Hi256, Hi16_ZMM */

#define CR4_UMIP (1u << 11)
#define CR4_LA57 (1u << 12)
#define CR4_FSGSBASE (1u << 16)
#define CR4_PCIDE (1u << 17)
#define CR4_SMEP (1u << 20)
#define CR4_SMAP (1u << 21)
#define EFER_NX (1u << 11)

enum { EAX, EBX, ECX, EDX };

typedef void cpuid_reader(__u32 leaf, __u32 subleaf, __u32 regs[4]);

/*
 * The bits of features, by register (SDM 2A, "CPUID"; APM 3, "Obtaining
 * Processor Information Via the CPUID Instruction"), as Linux calls them.
 */
enum bits_1_ecx {
	XMM3 = 0, PCLMULQDQ = 1, SSSE3 = 9, FMA = 12, CX16 = 13, PCID = 17, XMM4_1 = 19,
	XMM4_2 = 20, X2APIC = 21, MOVBE = 22, POPCNT = 23, TSC_DEADLINE_TIMER = 24, AES = 25,
	XSAVE = 26, AVX = 28, F16C = 29, RDRAND = 30, HYPERVISOR = 31,
};

enum bits_1_edx {
	FPU = 0, VME = 1, DE = 2, PSE = 3, TSC = 4, MSR = 5, PAE = 6, MCE = 7, CX8 = 8, APIC = 9,
	SEP = 11, MTRR = 12, PGE = 13, MCA = 14, CMOV = 15, PAT = 16, PSE36 = 17, CLFLUSH = 19,
	MMX = 23, FXSR = 24, XMM = 25, XMM2 = 26, SELFSNOOP = 27,
};

enum bits_7_ebx {
	FSGSBASE = 0, TSC_ADJUST = 1, BMI1 = 3, AVX2 = 5, FDP_EXCPTN_ONLY = 6, SMEP = 7, BMI2 = 8,
	ERMS = 9, ZERO_FCS_FDS = 13, AVX512F = 16, AVX512DQ = 17, RDSEED = 18, ADX = 19, SMAP = 20,
	AVX512IFMA = 21, CLFLUSHOPT = 23, CLWB = 24, AVX512PF = 26, AVX512ER = 27, AVX512CD = 28,
	SHA_NI = 29, AVX512BW = 30, AVX512VL = 31,
};

enum bits_7_ecx {
	PREFETCHWT1 = 0, AVX512VBMI = 1, UMIP = 2, AVX512_VBMI2 = 6, GFNI = 8, VAES = 9,
	VPCLMULQDQ = 10, AVX512_VNNI = 11, AVX512_BITALG = 12, AVX512_VPOPCNTDQ = 14, LA57 = 16,
	CLDEMOTE = 25, MOVDIRI = 27, MOVDIR64B = 28,
};

enum bits_7_edx {
	AVX512_4VNNIW = 2, AVX512_4FMAPS = 3, FSRM = 4, AVX512_VP2INTERSECT = 8, MD_CLEAR = 10,
	SERIALIZE = 14, AVX512_FP16 = 23,
};

enum bits_7_1_eax { AVX_VNNI = 4, AVX512_BF16 = 5, FZRM = 10, FSRS = 11, FSRC = 12, AVX_IFMA = 23 };
enum bits_d_1_eax { XSAVEOPT = 0, XSAVEC = 1, XGETBV1 = 2 };

enum bits_80000001_ecx {
	LAHF_LM = 0, ABM = 5, SSE4A = 6, MISALIGNSSE = 7, PREFETCHW = 8, XOP = 11, FMA4 = 16,
	TBM = 21,
};

/* Beside those of leaf 1. */
enum bits_80000001_edx {
	SYSCALL = 11, NX = 20, MMXEXT = 22, GBPAGES = 26, LM = 29, AMD_3DNOWEXT = 30,
	AMD_3DNOW = 31,
};

enum bits_80000007_edx { CONSTANT_TSC = 8 };
enum bits_80000008_ebx {
	CLZERO = 0, XSAVEERPTR = 2, WBNOINVD = 9, SSB_NO = 26, BTC_NO = 29,
};

enum bits_80000021_eax { NO_NESTED_DATA_BP = 0, LFENCE_RDTSC = 2, NULL_SEL_CLR_BASE = 6 };

#define F(name) (1u << (name))

/* ---- the tables of what is shown ------------------------------------------------- */

struct shown {
	__u32 leaf;
	__u8 subleaf;
	bool has_subleaf;	/* the answer depends on ECX */
	__u32 keep[4];		/* bits of EAX to EDX that are the host's; others are 0 */
};

#define ALL (~0u)

/* Leaf 1 EDX, most of which AMD repeats in 0x80000001. */
#define REPEATED_EDX (F(FPU) | F(VME) | F(DE) | F(PSE) | F(TSC) | F(MSR) | F(PAE) | F(MCE) |	\
		      F(CX8) | F(APIC) | F(MTRR) | F(PGE) | F(MCA) | F(CMOV) | F(PAT) |		\
		      F(PSE36) | F(MMX) | F(FXSR))

static const struct shown shown[] = {
	{ 0, .keep = { ALL, ALL, ALL, ALL } },
	{ 1, .keep = {
		ALL,
		0x0000ffff, /* brand, CLFLUSH; APIC id and count are topology */
		F(XMM3) | F(PCLMULQDQ) | F(SSSE3) | F(FMA) | F(CX16) | F(PCID) | F(XMM4_1) |
		F(XMM4_2) | F(MOVBE) | F(POPCNT) | F(AES) | F(XSAVE) | F(AVX) | F(F16C) |
		F(RDRAND),
		REPEATED_EDX | F(SEP) | F(CLFLUSH) | F(XMM) | F(XMM2) | F(SELFSNOOP) } },
	{ 2, .keep = { ALL, ALL, ALL, ALL } }, /* caches, on Intel */
	{ .leaf = 6 }, /* nothing of thermal and power management but ARAT */
	{ 7, 0, true, {
		ALL,
		F(FSGSBASE) | F(BMI1) | F(AVX2) | F(FDP_EXCPTN_ONLY) | F(SMEP) | F(BMI2) | F(ERMS) |
		F(ZERO_FCS_FDS) | F(AVX512F) | F(AVX512DQ) | F(RDSEED) | F(ADX) | F(SMAP) |
		F(AVX512IFMA) | F(CLFLUSHOPT) | F(CLWB) | F(AVX512PF) | F(AVX512ER) | F(AVX512CD) |
		F(SHA_NI) | F(AVX512BW) | F(AVX512VL),
		F(PREFETCHWT1) | F(AVX512VBMI) | F(UMIP) | F(AVX512_VBMI2) | F(GFNI) |
		F(VAES) | F(VPCLMULQDQ) | F(AVX512_VNNI) | F(AVX512_BITALG) | F(AVX512_VPOPCNTDQ) |
		F(LA57) | F(CLDEMOTE) | F(MOVDIRI) | F(MOVDIR64B),
		F(AVX512_4VNNIW) | F(AVX512_4FMAPS) | F(FSRM) | F(AVX512_VP2INTERSECT) |
		F(MD_CLEAR) | F(SERIALIZE) | F(AVX512_FP16) } },
	{ 7, 1, true, {
		F(AVX_VNNI) | F(AVX512_BF16) | F(FZRM) | F(FSRS) | F(FSRC) | F(AVX_IFMA), 0, 0, 0 } },
	{ 0xd, 1, true, { F(XSAVEOPT) | F(XSAVEC) | F(XGETBV1), 0, 0, 0 } },
	{ 0x80000000, .keep = { ALL, ALL, ALL, ALL } },
	{ 0x80000001, .keep = {
		ALL,
		0,
		F(LAHF_LM) | F(ABM) | F(SSE4A) | F(MISALIGNSSE) | F(PREFETCHW) | F(XOP) | F(FMA4) |
		F(TBM),
		REPEATED_EDX | F(SYSCALL) | F(NX) | F(MMXEXT) | F(GBPAGES) | F(LM) |
		F(AMD_3DNOWEXT) | F(AMD_3DNOW) } },
	{ 0x80000002, .keep = { ALL, ALL, ALL, ALL } },
	{ 0x80000003, .keep = { ALL, ALL, ALL, ALL } },
	{ 0x80000004, .keep = { ALL, ALL, ALL, ALL } },
	{ 0x80000005, .keep = { ALL, ALL, ALL, ALL } }, /* caches */
	{ 0x80000006, .keep = { ALL, ALL, ALL, ALL } },
	{ 0x80000007, .keep = { 0, 0, 0, F(CONSTANT_TSC) } },
	{ 0x80000008, .keep = {
		0, F(CLZERO) | F(XSAVEERPTR) | F(WBNOINVD) | F(SSB_NO) | F(BTC_NO), 0, 0 } },
	{ 0x80000019, .keep = { ALL, ALL, 0, 0 } }, /* TLBs of 1 GiB pages */
	{ 0x8000001a, .keep = { ALL, 0, 0, 0 } }, /* how wide the vector units are */
	{ 0x80000021, .keep = {
		F(NO_NESTED_DATA_BP) | F(LFENCE_RDTSC) | F(NULL_SEL_CLR_BASE), 0, 0, 0 } },
};

/* Features that are hidden unless the guest may set all of these bits. */
struct gated {
	__u32 leaf;
	__u8 subleaf;
	__u8 reg;
	__u32 bits;
	__u8 xcr0;
	__u32 cr4;
	__u32 efer;
};

static const struct gated gated[] = {
	{ 1, 0, ECX, F(XSAVE), .xcr0 = XCR0_SSE },
	{ 1, 0, ECX, F(AVX) | F(F16C) | F(FMA), .xcr0 = XCR0_YMM },
	{ 1, 0, ECX, F(PCID), .cr4 = CR4_PCIDE },
	{ 7, 0, EBX, F(FSGSBASE), .cr4 = CR4_FSGSBASE },
	{ 7, 0, EBX, F(SMEP), .cr4 = CR4_SMEP },
	{ 7, 0, EBX, F(SMAP), .cr4 = CR4_SMAP },
	{ 7, 0, EBX, F(AVX2), .xcr0 = XCR0_YMM },
	{ 7, 0, EBX, F(AVX512F) | F(AVX512DQ) | F(AVX512IFMA) | F(AVX512PF) | F(AVX512ER) |
		     F(AVX512CD) | F(AVX512BW) | F(AVX512VL), .xcr0 = XCR0_AVX512 },
	{ 7, 0, ECX, F(UMIP), .cr4 = CR4_UMIP },
	{ 7, 0, ECX, F(LA57), .cr4 = CR4_LA57 },
	{ 7, 0, ECX, F(VAES) | F(VPCLMULQDQ), .xcr0 = XCR0_YMM },
	{ 7, 0, ECX, F(AVX512VBMI) | F(AVX512_VBMI2) | F(AVX512_VNNI) | F(AVX512_BITALG) |
		     F(AVX512_VPOPCNTDQ), .xcr0 = XCR0_AVX512 },
	{ 7, 0, EDX, F(AVX512_4VNNIW) | F(AVX512_4FMAPS) | F(AVX512_VP2INTERSECT) |
		     F(AVX512_FP16), .xcr0 = XCR0_AVX512 },
	{ 7, 1, EAX, F(AVX_VNNI) | F(AVX_IFMA), .xcr0 = XCR0_YMM },
	{ 7, 1, EAX, F(AVX512_BF16), .xcr0 = XCR0_AVX512 },
	{ 0xd, 1, EAX, F(XSAVEOPT) | F(XSAVEC) | F(XGETBV1), .xcr0 = XCR0_SSE },
	{ 0x80000001, 0, ECX, F(XOP) | F(FMA4), .xcr0 = XCR0_YMM },
	{ 0x80000001, 0, EDX, F(NX), .efer = EFER_NX },
};

static __u32 at_most(__u32 value, __u32 limit)
{
	return value < limit ? value : limit;
}

/* What is not the host's but mote's. */
static void adjust(__u32 leaf, __u32 subleaf, const struct mote_info *info, __u32 regs[4])
{
	switch (leaf) {
	case 0:
		regs[EAX] = at_most(regs[EAX], MAX_BASIC);
		break;
	case 1:
		regs[ECX] |= F(X2APIC) | F(TSC_DEADLINE_TIMER) | F(HYPERVISOR);
		regs[EDX] |= F(APIC);
		break;
	case 6:
		regs[EAX] = 1u << 2; /* ARAT: the timer of the local APIC never stops */
		break;
	case 7:
		if (subleaf)
			break;
		regs[EAX] = at_most(regs[EAX], 1);
		regs[EBX] |= F(TSC_ADJUST);
		break;
	case 0x80000000:
		regs[EAX] = at_most(regs[EAX], MAX_EXTENDED);
		break;
	case 0x80000008:
		regs[EAX] = info->gpa_bits | info->gva_bits << 8;
		break;
	}
}

/* The host's answer as a guest may see it. */
static void show(const struct shown *row, const struct mote_info *info, cpuid_reader *cpuid,
		 __u32 regs[4])
{
	cpuid(row->leaf, row->subleaf, regs);
	for (int i = 0; i < 4; i++)
		regs[i] &= row->keep[i];
	for (const struct gated *g = gated; g < gated + ARRAY_SIZE(gated); g++)
		if (g->leaf == row->leaf && g->subleaf == row->subleaf &&
		    (g->xcr0 & ~info->xcr0 || g->cr4 & ~info->cr4 || g->efer & ~info->efer))
			regs[g->reg] &= ~g->bits;
	adjust(row->leaf, row->subleaf, info, regs);
}

/* ---- the guest's table ----------------------------------------------------------- */

struct rows {
	struct mote_cpuid_entry *row;
	__u32 room;
	__u32 nr;	/* rows that there are, with or without room */
};

static void add(struct rows *rows, __u32 leaf, __u32 subleaf, bool has_subleaf, const __u32 regs[4])
{
	if (rows->nr < rows->room)
		rows->row[rows->nr] = (struct mote_cpuid_entry) {
			.leaf = leaf, .subleaf = subleaf,
			.flags = has_subleaf ? MOTE_CPUID_SUBLEAF : 0,
			.eax = regs[EAX], .ebx = regs[EBX], .ecx = regs[ECX], .edx = regs[EDX],
		};
	rows->nr++;
}

/* Intel's caches, each as if it were one CPU's own: sharing is topology. */
static void add_caches(struct rows *rows, cpuid_reader *cpuid)
{
	__u32 regs[4];

	for (__u32 i = 0; i < 8; i++) {
		cpuid(4, i, regs);
		regs[EAX] &= 0x3fff;
		if (!(regs[EAX] & 0x1f))
			break;
		add(rows, 4, i, true, regs);
	}
}

/* Sizes and offsets of the XSAVE components are the host's; XCR0 is mote's. */
static void add_xsave(struct rows *rows, __u64 xcr0, cpuid_reader *cpuid)
{
	__u32 main[4] = { xcr0, 576, 576, 0 };
	__u32 regs[4];

	for (__u32 i = 2; i < 8; i++) {
		if (!(xcr0 & 1u << i))
			continue;
		cpuid(0xd, i, regs);
		if (main[ECX] < regs[EAX] + regs[EBX])
			main[ECX] = regs[EAX] + regs[EBX];
		regs[ECX] &= 1u << 1; /* aligned in the compacted format */
		regs[EDX] = 0;
		add(rows, 0xd, i, true, regs);
	}
	add(rows, 0xd, 0, true, main);
}

static void add_hypervisor(struct rows *rows, const struct mote_info *info)
{
	const __u32 leaves[][5] = {
		{ HYPERVISOR_BASE, HYPERVISOR_BASE + 1, HYPERVISOR_SIGNATURE, HYPERVISOR_SIGNATURE,
		  HYPERVISOR_SIGNATURE },
		{ HYPERVISOR_BASE + 1, MOTE_GUEST_HYPERCALLS },
		{ KVM_BASE, KVM_BASE + 1, 0x4b4d564b, 0x564b4d56, 0x4d }, /* "KVMKVMKVM" */
		{ KVM_BASE + 1, info->pv_features },
	};

	for (size_t i = 0; i < ARRAY_SIZE(leaves); i++)
		add(rows, leaves[i][0], 0, false, leaves[i] + 1);
}

/* Return: the number of rows that there are; only the first @nr are written. */
static __u32 make_table(struct mote_cpuid_entry *row, __u32 nr, const struct mote_info *info,
			cpuid_reader *cpuid)
{
	bool has_xsave = info->xcr0 & ~1ull;
	struct rows rows = { row, nr, 0 };
	__u32 regs[4], basic, extended;

	cpuid(0, 0, regs);
	basic = regs[EAX];
	cpuid(0x80000000, 0, regs);
	extended = regs[EAX];
	for (const struct shown *s = shown; s < shown + ARRAY_SIZE(shown); s++) {
		if (s->leaf > (s->leaf >> 31 ? extended : basic) || (s->leaf == 0xd && !has_xsave))
			continue;
		show(s, info, cpuid, regs);
		add(&rows, s->leaf, s->subleaf, s->has_subleaf, regs);
	}
	if (basic >= 4)
		add_caches(&rows, cpuid);
	if (basic >= 0xd && has_xsave)
		add_xsave(&rows, info->xcr0, cpuid);
	add_hypervisor(&rows, info);
	return rows.nr;
}

static void read_cpuid(__u32 leaf, __u32 subleaf, __u32 regs[4])
{
	__cpuid_count(leaf, subleaf, regs[EAX], regs[EBX], regs[ECX], regs[EDX]);
}

int mote_get_cpuid(int fd, struct mote_cpuid_table *table)
{
	struct mote_info info;
	int err;

	if (table->pad)
		return -EINVAL;
	err = mote_get_info(fd, &info);
	if (!err)
		table->nr = make_table((void *)(uintptr_t)table->entries, table->nr, &info,
				       read_cpuid);
	return err;
}
