// SPDX-License-Identifier: GPL-2.0
/*
 * What a guest may be told by CPUID, and how its table is sorted and searched.
 * Pure functions.
 *
 * A feature is shown when it is in the tables below, the host has it and its
 * registers are switched: whatever is new or unknown is hidden.  docs/exits.md
 * says why the hidden ones are.  Topology (APIC ids, leaves 0xb and 0x1f) is
 * user space's to fill in.
 */
#include <linux/bits.h>
#include <linux/errno.h>
#include <linux/kernel.h>
#include <linux/sort.h>
#include <linux/string.h>
#include <asm/cpufeatures.h>
#include <asm/msr-index.h>
#include <asm/processor-flags.h>

#include "guest.h"

/* A feature's bit in its register. */
#define F(name) BIT(X86_FEATURE_##name & 31)

#define XCR0_SSE 0x3 /* x87 comes with it */
#define XCR0_YMM 0x4
#define XCR0_AVX512 0xe0 /* opmask, ZMM_Hi256, Hi16_ZMM */

#define MAX_BASIC 0xd
#define MAX_EXTENDED 0x80000021
#define HYPERVISOR_BASE 0x40000000
#define HYPERVISOR_SIGNATURE 0x65746f4d /* "Mote", three times */
#define KVM_BASE (HYPERVISOR_BASE + 0x100)

enum { EAX, EBX, ECX, EDX };

/* ---- the table of what is shown ---------------------------------------------- */

/**
 * struct shown - a leaf that a guest sees
 * @leaf: EAX
 * @subleaf: ECX
 * @has_subleaf: the answer depends on ECX
 * @keep: bits of EAX, EBX, ECX and EDX that are the host's; others are 0
 */
struct shown {
	u32 leaf;
	u8 subleaf;
	bool has_subleaf;
	u32 keep[4];
};

#define ALL (~0u)

/* Leaf 1 EDX, most of which AMD repeats in 0x80000001. */
#define KEEP_1_EDX (F(FPU) | F(VME) | F(DE) | F(PSE) | F(TSC) | F(MSR) | F(PAE) | F(MCE) |	\
		    F(CX8) | F(APIC) | F(SEP) | F(MTRR) | F(PGE) | F(MCA) | F(CMOV) | F(PAT) |	\
		    F(PSE36) | F(CLFLUSH) | F(MMX) | F(FXSR) | F(XMM) | F(XMM2) | F(SELFSNOOP))
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
		KEEP_1_EDX } },
	{ 2, .keep = { ALL, ALL, ALL, ALL } }, /* caches, on Intel */
	{ 6 }, /* nothing of thermal and power management but ARAT */
	{ 7, 0, true, {
		ALL,
		F(FSGSBASE) | F(BMI1) | F(AVX2) | F(FDP_EXCPTN_ONLY) | F(SMEP) | F(BMI2) | F(ERMS) |
		F(ZERO_FCS_FDS) | F(AVX512F) | F(AVX512DQ) | F(RDSEED) | F(ADX) | F(SMAP) |
		F(AVX512IFMA) | F(CLFLUSHOPT) | F(CLWB) | F(AVX512PF) | F(AVX512ER) | F(AVX512CD) |
		F(SHA_NI) | F(AVX512BW) | F(AVX512VL),
		BIT(0) /* PREFETCHWT1 */ | F(AVX512VBMI) | F(UMIP) | F(AVX512_VBMI2) | F(GFNI) |
		F(VAES) | F(VPCLMULQDQ) | F(AVX512_VNNI) | F(AVX512_BITALG) | F(AVX512_VPOPCNTDQ) |
		F(LA57) | F(CLDEMOTE) | F(MOVDIRI) | F(MOVDIR64B),
		F(AVX512_4VNNIW) | F(AVX512_4FMAPS) | F(FSRM) | F(AVX512_VP2INTERSECT) |
		F(MD_CLEAR) | F(SERIALIZE) | F(AVX512_FP16) } },
	{ 7, 1, true, {
		F(AVX_VNNI) | F(AVX512_BF16) | BIT(10) /* FZRM */ | BIT(11) /* FSRS */ |
		BIT(12) /* FSRC */ | BIT(23) /* AVX_IFMA */, 0, 0, 0 } },
	{ 0xd, 1, true, { F(XSAVEOPT) | F(XSAVEC) | F(XGETBV1), 0, 0, 0 } },
	{ 0x80000000, .keep = { ALL, ALL, ALL, ALL } },
	{ 0x80000001, .keep = {
		ALL,
		0,
		F(LAHF_LM) | F(ABM) | F(SSE4A) | F(MISALIGNSSE) | F(3DNOWPREFETCH) | F(XOP) |
		F(FMA4) | F(TBM),
		REPEATED_EDX | F(SYSCALL) | F(NX) | F(MMXEXT) | F(GBPAGES) | F(LM) | F(3DNOWEXT) |
		F(3DNOW) } },
	{ 0x80000002, .keep = { ALL, ALL, ALL, ALL } },
	{ 0x80000003, .keep = { ALL, ALL, ALL, ALL } },
	{ 0x80000004, .keep = { ALL, ALL, ALL, ALL } },
	{ 0x80000005, .keep = { ALL, ALL, ALL, ALL } }, /* caches */
	{ 0x80000006, .keep = { ALL, ALL, ALL, ALL } },
	{ 0x80000007, .keep = { 0, 0, 0, BIT(8) } }, /* invariant TSC */
	{ 0x80000008, .keep = {
		0, F(CLZERO) | F(XSAVEERPTR) | F(WBNOINVD) | F(AMD_SSB_NO) | F(BTC_NO), 0, 0 } },
	{ 0x80000019, .keep = { ALL, ALL, 0, 0 } }, /* TLBs of 1 GiB pages */
	{ 0x8000001a, .keep = { ALL, 0, 0, 0 } }, /* how wide the vector units are */
	/* No nested breakpoints, LFENCE serializes, null selectors clear the base. */
	{ 0x80000021, .keep = { BIT(0) | BIT(2) | BIT(6), 0, 0, 0 } },
};

/**
 * struct gated - features whose registers are components of XCR0
 * @leaf: EAX
 * @subleaf: ECX
 * @reg: register
 * @xcr0: components that the guest must be able to enable
 * @bits: else these are hidden
 */
struct gated {
	u32 leaf;
	u8 subleaf;
	u8 reg;
	u8 xcr0;
	u32 bits;
};

static const struct gated gated[] = {
	{ 1, 0, ECX, XCR0_SSE, F(XSAVE) },
	{ 1, 0, ECX, XCR0_YMM, F(AVX) | F(F16C) | F(FMA) },
	{ 7, 0, EBX, XCR0_YMM, F(AVX2) },
	{ 7, 0, ECX, XCR0_YMM, F(VAES) | F(VPCLMULQDQ) },
	{ 7, 0, EBX, XCR0_AVX512, F(AVX512F) | F(AVX512DQ) | F(AVX512IFMA) | F(AVX512PF) |
				  F(AVX512ER) | F(AVX512CD) | F(AVX512BW) | F(AVX512VL) },
	{ 7, 0, ECX, XCR0_AVX512, F(AVX512VBMI) | F(AVX512_VBMI2) | F(AVX512_VNNI) |
				  F(AVX512_BITALG) | F(AVX512_VPOPCNTDQ) },
	{ 7, 0, EDX, XCR0_AVX512, F(AVX512_4VNNIW) | F(AVX512_4FMAPS) | F(AVX512_VP2INTERSECT) |
				  F(AVX512_FP16) },
	{ 7, 1, EAX, XCR0_YMM, F(AVX_VNNI) | BIT(23) /* AVX_IFMA */ },
	{ 7, 1, EAX, XCR0_AVX512, F(AVX512_BF16) },
	{ 0xd, 1, EAX, XCR0_SSE, F(XSAVEOPT) | F(XSAVEC) | F(XGETBV1) },
	{ 0x80000001, 0, ECX, XCR0_YMM, F(XOP) | F(FMA4) },
};

/* What is not the host's but mote's. */
static void adjust(u32 leaf, u32 subleaf, const struct mote_caps *caps, u32 regs[4])
{
	switch (leaf) {
	case 0:
		regs[EAX] = min_t(u32, regs[EAX], MAX_BASIC);
		break;
	case 1:
		regs[ECX] |= F(X2APIC) | F(TSC_DEADLINE_TIMER) | F(HYPERVISOR);
		regs[EDX] |= F(APIC);
		break;
	case 6:
		regs[EAX] = BIT(2); /* ARAT: the timer of the local APIC never stops */
		break;
	case 7:
		if (subleaf)
			break;
		regs[EAX] = min_t(u32, regs[EAX], 1);
		regs[EBX] |= F(TSC_ADJUST);
		if (caps->virt_bits < 57)
			regs[ECX] &= ~F(LA57);
		break;
	case 0x80000000:
		regs[EAX] = min_t(u32, regs[EAX], MAX_EXTENDED);
		break;
	case 0x80000008:
		regs[EAX] = caps->phys_bits | caps->virt_bits << 8;
		break;
	}
}

/* The host's answer as a guest may see it. */
static void show(const struct shown *row, const struct mote_caps *caps,
		 void (*cpuid)(u32 leaf, u32 subleaf, u32 regs[4]), u32 regs[4])
{
	const struct gated *g;
	u32 i;

	cpuid(row->leaf, row->subleaf, regs);
	for (i = 0; i < 4; i++)
		regs[i] &= row->keep[i];
	for (g = gated; g < gated + ARRAY_SIZE(gated); g++)
		if (g->leaf == row->leaf && g->subleaf == row->subleaf &&
		    (caps->xcr0 & g->xcr0) != g->xcr0)
			regs[g->reg] &= ~g->bits;
	adjust(row->leaf, row->subleaf, caps, regs);
}

/* ---- what a guest may have ------------------------------------------------------ */

/**
 * struct enabler - a bit of CR4 or EFER that comes with a feature
 * @bit: in CR4 or EFER
 * @leaf: EAX
 * @reg: register
 * @feature: bit in it
 */
struct enabler {
	u64 bit;
	u32 leaf;
	u8 reg;
	u32 feature;
};

static const struct enabler cr4_bits[] = {
	{ X86_CR4_VME | X86_CR4_PVI, 1, EDX, F(VME) },
	{ X86_CR4_TSD, 1, EDX, F(TSC) },
	{ X86_CR4_DE, 1, EDX, F(DE) },
	{ X86_CR4_PSE, 1, EDX, F(PSE) },
	{ X86_CR4_PAE, 1, EDX, F(PAE) },
	{ X86_CR4_MCE, 1, EDX, F(MCE) },
	{ X86_CR4_PGE, 1, EDX, F(PGE) },
	{ X86_CR4_PCE, 1, EDX, F(MSR) }, /* harmless: RDPMC exits */
	{ X86_CR4_OSFXSR, 1, EDX, F(FXSR) },
	{ X86_CR4_OSXMMEXCPT, 1, EDX, F(XMM) },
	{ X86_CR4_PCIDE, 1, ECX, F(PCID) },
	{ X86_CR4_OSXSAVE, 1, ECX, F(XSAVE) },
	{ X86_CR4_FSGSBASE, 7, EBX, F(FSGSBASE) },
	{ X86_CR4_SMEP, 7, EBX, F(SMEP) },
	{ X86_CR4_SMAP, 7, EBX, F(SMAP) },
	{ X86_CR4_UMIP, 7, ECX, F(UMIP) },
	{ X86_CR4_LA57, 7, ECX, F(LA57) },
};

static const struct enabler efer_bits[] = {
	{ EFER_SCE, 0x80000001, EDX, F(SYSCALL) },
	{ EFER_LME | EFER_LMA, 0x80000001, EDX, F(LM) },
	{ EFER_NX, 0x80000001, EDX, F(NX) },
};

static u64 enabled_bits(const struct enabler *table, u32 nr, u32 leaf, const u32 regs[4])
{
	u64 bits = 0;

	for (; nr; nr--, table++)
		if (table->leaf == leaf && regs[table->reg] & table->feature)
			bits |= table->bit;
	return bits;
}

static u64 guest_xcr0(u64 host_xcr0, void (*cpuid)(u32 leaf, u32 subleaf, u32 regs[4]))
{
	u32 regs[4];

	cpuid(1, 0, regs);
	if (!(regs[ECX] & F(XSAVE)) || (host_xcr0 & XCR0_SSE) != XCR0_SSE)
		return 1;
	if (!(host_xcr0 & XCR0_YMM))
		return XCR0_SSE;
	if ((host_xcr0 & XCR0_AVX512) != XCR0_AVX512)
		return XCR0_SSE | XCR0_YMM;
	return XCR0_SSE | XCR0_YMM | XCR0_AVX512;
}

void mote_caps_init(struct mote_caps *caps, u32 vendor, u32 gpa_bits, u64 host_xcr0,
		    void (*cpuid)(u32 leaf, u32 subleaf, u32 regs[4]))
{
	const struct shown *row;
	u32 regs[4];

	cpuid(7, 0, regs);
	*caps = (struct mote_caps){
		.vendor = vendor,
		.phys_bits = gpa_bits,
		.virt_bits = regs[ECX] & F(LA57) ? 57 : 48,
		.xcr0 = guest_xcr0(host_xcr0, cpuid),
	};
	/* From what is shown, so that the two agree. */
	for (row = shown; row < shown + ARRAY_SIZE(shown); row++) {
		if (row->subleaf)
			continue;
		show(row, caps, cpuid, regs);
		caps->cr4 |= enabled_bits(cr4_bits, ARRAY_SIZE(cr4_bits), row->leaf, regs);
		caps->efer |= enabled_bits(efer_bits, ARRAY_SIZE(efer_bits), row->leaf, regs);
	}
}

/**
 * struct rows - a table that is being written
 * @row: its start
 * @room: rows that fit
 * @nr: rows that there are
 */
struct rows {
	struct mote_cpuid_entry *row;
	u32 room;
	u32 nr;
};

static void add(struct rows *rows, u32 leaf, u32 subleaf, bool has_subleaf, const u32 regs[4])
{
	if (rows->nr < rows->room)
		rows->row[rows->nr] = (struct mote_cpuid_entry){
			.leaf = leaf, .subleaf = subleaf,
			.flags = has_subleaf ? MOTE_CPUID_SUBLEAF : 0,
			.eax = regs[EAX], .ebx = regs[EBX], .ecx = regs[ECX], .edx = regs[EDX],
		};
	rows->nr++;
}

/* Intel's caches, each as if it were one CPU's own: sharing is topology. */
static void add_caches(struct rows *rows, void (*cpuid)(u32 leaf, u32 subleaf, u32 regs[4]))
{
	u32 regs[4], i;

	for (i = 0; i < 8; i++) {
		cpuid(4, i, regs);
		regs[EAX] &= 0x3fff;
		if (!(regs[EAX] & 0x1f))
			break;
		add(rows, 4, i, true, regs);
	}
}

/* Sizes and offsets of the XSAVE components are the host's; XCR0 is mote's. */
static void add_xsave(struct rows *rows, const struct mote_caps *caps,
		      void (*cpuid)(u32 leaf, u32 subleaf, u32 regs[4]))
{
	u32 main[4] = { caps->xcr0, 576, 576, 0 };
	u32 regs[4], i;

	for (i = 2; i < 8; i++) {
		if (!(caps->xcr0 & BIT(i)))
			continue;
		cpuid(0xd, i, regs);
		main[ECX] = max_t(u32, main[ECX], regs[EAX] + regs[EBX]);
		regs[ECX] &= BIT(1); /* aligned in the compacted format */
		regs[EDX] = 0;
		add(rows, 0xd, i, true, regs);
	}
	add(rows, 0xd, 0, true, main);
}

u32 mote_cpuid_host(struct mote_cpuid_entry *rows, u32 nr, const struct mote_caps *caps,
		    void (*cpuid)(u32 leaf, u32 subleaf, u32 regs[4]))
{
	const u32 mote[][4] = {
		{ HYPERVISOR_BASE + 1, HYPERVISOR_SIGNATURE, HYPERVISOR_SIGNATURE,
		  HYPERVISOR_SIGNATURE },
		{ MOTE_GUEST_HYPERCALLS },
	};
	const u32 kvm[][4] = {
		{ KVM_BASE + 1, 0x4b4d564b, 0x564b4d56, 0x4d }, /* "KVMKVMKVM" */
		{ caps->pv_features },
	};
	struct rows out = { rows, nr, 0 };
	const struct shown *row;
	u32 regs[4], basic, extended, i;

	cpuid(0, 0, regs);
	basic = regs[EAX];
	cpuid(0x80000000, 0, regs);
	extended = regs[EAX];
	for (row = shown; row < shown + ARRAY_SIZE(shown); row++) {
		if (row->leaf > (row->leaf & BIT(31) ? extended : basic))
			continue;
		if (row->leaf == 0xd && !(caps->xcr0 & ~1ull))
			continue;
		show(row, caps, cpuid, regs);
		add(&out, row->leaf, row->subleaf, row->has_subleaf, regs);
	}
	if (basic >= 4)
		add_caches(&out, cpuid);
	if (basic >= 0xd && caps->xcr0 & ~1ull)
		add_xsave(&out, caps, cpuid);
	for (i = 0; i < 2; i++) {
		add(&out, HYPERVISOR_BASE + i, 0, false, mote[i]);
		add(&out, KVM_BASE + i, 0, false, kvm[i]);
	}
	return out.nr;
}

/* ---- a guest's table -------------------------------------------------------------- */

/* Leaf and subleaf come first: one load and a rotation, as each step of a search counts. */
static u64 key(const struct mote_cpuid_entry *row)
{
	u64 pair;

	memcpy(&pair, row, sizeof(pair));
	return pair << 32 | pair >> 32;
}

static int compare(const void *a, const void *b)
{
	u64 left = key(a), right = key(b);

	return left < right ? -1 : left > right;
}

int mote_cpuid_sort(struct mote_cpuid_entry *rows, u32 nr)
{
	u32 i;

	for (i = 0; i < nr; i++) {
		if (rows[i].flags & ~MOTE_CPUID_SUBLEAF || rows[i].pad)
			return -EINVAL;
		if (!rows[i].flags)
			rows[i].subleaf = 0;
	}
	sort(rows, nr, sizeof(*rows), compare, NULL);
	for (i = 1; i < nr; i++)
		if (rows[i].leaf == rows[i - 1].leaf &&
		    (!(rows[i].flags & rows[i - 1].flags) || key(&rows[i]) == key(&rows[i - 1])))
			return -EINVAL;
	return 0;
}

const struct mote_cpuid_entry *mote_cpuid_find(const struct mote_cpuid_entry *rows, u32 nr,
					       u32 leaf, u32 subleaf)
{
	u64 wanted = (u64)leaf << 32 | subleaf;

	if (!nr)
		return NULL;
	/* The last row at or before what is wanted. */
	for (; nr > 1; nr -= nr / 2)
		if (key(&rows[nr / 2]) <= wanted)
			rows += nr / 2;
	if (rows->leaf != leaf || (rows->flags && rows->subleaf != subleaf))
		return NULL;
	return rows;
}

bool mote_cpuid_is_dynamic(u32 leaf)
{
	return leaf == 1 || leaf == 7 || leaf == 0xd || leaf == 0x80000001;
}

/* AVX at 576 is everyone's; AVX-512's offsets differ, but it is the last: the size of all. */
static u32 xsave_size(const struct mote_cpuid_entry *row, u64 xcr0)
{
	return xcr0 & XCR0_AVX512 ? row->ecx : xcr0 & XCR0_YMM ? 832 : 576;
}

/* Legacy area and header; the components follow one another, all multiples of 64 bytes. */
static u32 xsavec_size(u64 xcr0)
{
	return 576 + (xcr0 & XCR0_YMM ? 256 : 0) + (xcr0 & XCR0_AVX512 ? 64 + 512 + 1024 : 0);
}

static void assign(u32 *reg, u32 bit, bool value)
{
	*reg = value ? *reg | bit : *reg & ~bit;
}

void mote_cpuid_patch(struct mote_cpuid_entry *row, u64 cr4, u64 xcr0, u64 apic_base)
{
	bool apic = apic_base & MSR_IA32_APICBASE_ENABLE;

	switch (row->leaf) {
	case 1:
		assign(&row->ecx, F(OSXSAVE), row->ecx & F(XSAVE) && cr4 & X86_CR4_OSXSAVE);
		assign(&row->edx, F(APIC), row->edx & F(APIC) && apic);
		break;
	case 7:
		if (!row->subleaf)
			assign(&row->ecx, F(OSPKE), row->ecx & F(PKU) && cr4 & X86_CR4_PKE);
		break;
	case 0xd:
		if (row->subleaf == 0)
			row->ebx = xsave_size(row, xcr0);
		else if (row->subleaf == 1)
			row->ebx = row->eax & F(XSAVEC) ? xsavec_size(xcr0) : 0;
		break;
	case 0x80000001: /* where AMD repeats it */
		assign(&row->edx, F(APIC), row->edx & F(APIC) && apic);
		break;
	}
}
