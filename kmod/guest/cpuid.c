// SPDX-License-Identifier: GPL-2.0
/*
 * Which bits a guest may set in CR4, EFER and XCR0 on this host, and how a
 * guest's CPUID table is sorted, searched and kept up to date.  Pure functions.
 *
 * Not here: what is in the table.  User space decides that; libmote has a
 * proposal (userspace/libmote/cpuid.c).
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

enum { EAX, EBX, ECX, EDX };

/* ---- what a guest may have ------------------------------------------------------ */

/* A bit of CR4 or EFER that comes with a feature of CPUID. */
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

static u64 enabled_bits(const struct enabler *row, u32 nr, mote_cpuid_fn *cpuid,
			const void *table)
{
	u64 bits = 0;
	u32 regs[4];

	for (; nr; nr--, row++) {
		cpuid(table, row->leaf, 0, regs);
		if (regs[row->reg] & row->feature)
			bits |= row->bit;
	}
	return bits;
}

static u64 guest_xcr0(u64 host_xcr0, bool has_xsave)
{
	if (!has_xsave || (host_xcr0 & XCR0_SSE) != XCR0_SSE)
		return 1;
	if (!(host_xcr0 & XCR0_YMM))
		return XCR0_SSE;
	if ((host_xcr0 & XCR0_AVX512) != XCR0_AVX512)
		return XCR0_SSE | XCR0_YMM;
	return XCR0_SSE | XCR0_YMM | XCR0_AVX512;
}

void mote_caps_init(struct mote_caps *caps, u32 gpa_bits, u64 host_xcr0, mote_cpuid_fn *cpuid,
		    const void *table)
{
	u64 cr4 = enabled_bits(cr4_bits, ARRAY_SIZE(cr4_bits), cpuid, table);
	u64 xcr0 = guest_xcr0(host_xcr0, cr4 & X86_CR4_OSXSAVE);

	*caps = (struct mote_caps){
		.phys_bits = gpa_bits,
		.virt_bits = cr4 & X86_CR4_LA57 ? 57 : 48,
		.cr4 = xcr0 & ~1ull ? cr4 : cr4 & ~(u64)X86_CR4_OSXSAVE,
		.efer = enabled_bits(efer_bits, ARRAY_SIZE(efer_bits), cpuid, table),
		.xcr0 = xcr0,
	};
}

/* ---- a guest's table -------------------------------------------------------------- */

/* Leaf and subleaf come first: one load and a rotation, as each step of a search counts. */
static u64 cpuid_key(const struct mote_cpuid_entry *row)
{
	u64 pair;

	memcpy(&pair, row, sizeof(pair));
	return pair << 32 | pair >> 32;
}

static int cpuid_compare(const void *a, const void *b)
{
	u64 left = cpuid_key(a), right = cpuid_key(b);

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
	sort(rows, nr, sizeof(*rows), cpuid_compare, NULL);
	for (i = 1; i < nr; i++)
		if (rows[i].leaf == rows[i - 1].leaf &&
		    (!(rows[i].flags & rows[i - 1].flags) ||
		     cpuid_key(&rows[i]) == cpuid_key(&rows[i - 1])))
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
		if (cpuid_key(&rows[nr / 2]) <= wanted)
			rows += nr / 2;
	if (rows->leaf != leaf || (rows->flags && rows->subleaf != subleaf))
		return NULL;
	return rows;
}

static void cpuid_read(const void *context, u32 leaf, u32 subleaf, u32 regs[4])
{
	const struct mote_cpuid *table = context;
	const struct mote_cpuid_entry *row =
		mote_cpuid_find(table->rows, table->nr, leaf, subleaf);

	regs[EAX] = row ? row->eax : 0;
	regs[EBX] = row ? row->ebx : 0;
	regs[ECX] = row ? row->ecx : 0;
	regs[EDX] = row ? row->edx : 0;
}

struct mote_caps mote_cpuid_caps(const struct mote_cpuid *table, const struct mote_caps *host)
{
	struct mote_caps caps;
	u32 regs[4];

	cpuid_read(table, 0xd, 0, regs);
	mote_caps_init(&caps, host->phys_bits, host->xcr0 & (regs[EAX] | (u64)regs[EDX] << 32),
		       cpuid_read, table);
	caps.cr4 &= host->cr4;
	caps.efer &= host->efer;
	caps.virt_bits = min(caps.virt_bits, host->virt_bits);
	return caps;
}

static bool cpuid_is_topology(u32 leaf)
{
	return leaf == 0xb || leaf == 0x1f || leaf == 0x80000026;
}

bool mote_cpuid_is_dynamic(u32 leaf, const struct mote_msrs *msrs)
{
	if (!leaf)
		return msrs->misc_enable & MSR_IA32_MISC_ENABLE_LIMIT_CPUID;
	if (leaf < 32)
		return BIT(leaf) & (BIT(1) | BIT(7) | BIT(0xb) | BIT(0xd) | BIT(0x1f));
	return leaf == 0x80000001 || leaf == 0x80000026;
}

void mote_cpuid_beyond(const struct mote_cpuid_entry *rows, u32 nr, u32 leaf,
		       struct mote_cpuid_entry *row)
{
	const struct mote_cpuid_entry *first = mote_cpuid_find(rows, nr, leaf, 0);

	if (first && cpuid_is_topology(leaf))
		*row = (struct mote_cpuid_entry){ .leaf = leaf, .edx = first->edx };
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

static void cpuid_assign(u32 *reg, u32 bit, bool value)
{
	*reg = value ? *reg | bit : *reg & ~bit;
}

void mote_cpuid_patch(struct mote_cpuid_entry *row, u32 subleaf, u64 cr4, u64 xcr0,
		      const struct mote_msrs *msrs)
{
	switch (row->leaf) {
	case 0:
		if (msrs->misc_enable & MSR_IA32_MISC_ENABLE_LIMIT_CPUID)
			row->eax = min(row->eax, 2u);
		break;
	case 1:
		cpuid_assign(&row->ecx, F(OSXSAVE), row->ecx & F(XSAVE) && cr4 & X86_CR4_OSXSAVE);
		fallthrough;
	case 0x80000001: /* where AMD repeats EDX */
		if (!(msrs->apic_base & MSR_IA32_APICBASE_ENABLE))
			row->edx &= ~F(APIC);
		if (row->leaf != 1 && msrs->misc_enable & MSR_IA32_MISC_ENABLE_XD_DISABLE)
			row->edx &= ~F(NX);
		break;
	case 7:
		if (!row->subleaf)
			cpuid_assign(&row->ecx, F(OSPKE), row->ecx & F(PKU) && cr4 & X86_CR4_PKE);
		break;
	case 0xb:
	case 0x1f:
	case 0x80000026: /* the level's number is the one that was asked for */
		row->ecx = (row->ecx & ~0xffu) | (subleaf & 0xff);
		break;
	case 0xd:
		if (row->subleaf == 0)
			row->ebx = xsave_size(row, xcr0);
		else if (row->subleaf == 1)
			row->ebx = row->eax & F(XSAVEC) ? xsavec_size(xcr0) : 0;
		break;
	}
}
