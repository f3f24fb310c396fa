/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What a guest may have, be and ask for, as pure functions: no hardware, no
 * locks, no allocation, no user memory.  Each is tested by KUnit in the kernel
 * and under sanitizers and a fuzzer outside of it.
 */
#ifndef MOTE_GUEST_H
#define MOTE_GUEST_H

#include <linux/bits.h>
#include <linux/mote.h>
#include <asm/processor-flags.h>

/* Writes of the other bits of CR0's low half are ignored. */
#define MOTE_CR0_DEFINED                                                                        \
	(X86_CR0_PE | X86_CR0_MP | X86_CR0_EM | X86_CR0_TS | X86_CR0_ET | X86_CR0_NE |          \
	 X86_CR0_WP | X86_CR0_AM | X86_CR0_NW | X86_CR0_CD | X86_CR0_PG)

/* Components of XCR0. */
#define XCR0_SSE 0x3 /* x87 comes with it */
#define XCR0_YMM 0x4
#define XCR0_AVX512 0xe0 /* opmask, ZMM_Hi256, Hi16_ZMM */

/* What a guest may have on this host. */
struct mote_caps {
	u32 phys_bits;	/* width of guest-physical addresses */
	u32 virt_bits;	/* width of linear addresses: 48 or 57 */
	u64 cr4;	/* bits that may be set in each */
	u64 efer;
	u64 xcr0;
};

/* CPUID of the host, or of a guest's @table: regs are eax, ebx, ecx, edx. */
typedef void mote_cpuid_fn(const void *table, u32 leaf, u32 subleaf, u32 regs[4]);

/* What the CPU that @cpuid describes has. */
void mote_caps_init(struct mote_caps *caps, u32 gpa_bits, u64 host_xcr0, mote_cpuid_fn *cpuid,
		    const void *table);

/* Do the bits above the highest that is translated all equal it? */
static inline bool mote_is_canonical(u64 gva, const struct mote_caps *caps)
{
	u32 shift = 64 - caps->virt_bits;

	return (u64)((s64)(gva << shift) >> shift) == gva;
}

/* ---- check.c: is this a state that a CPU can be in? ----------------------- */

/* The first check that a whole state, but for its XSAVE image, fails: &enum mote_check. */
u32 mote_check_state(const struct mote_state *state, const struct mote_caps *caps);

/*
 * Refuse values, of the parts in @state->mask, that no instruction could have written, and
 * padding that is not zero: 0 or -EINVAL.  The host's own instructions can load what passes
 * without a fault.
 */
int mote_check_values(const struct mote_state *state, const struct mote_caps *caps);

/* May a guest's XSETBV write this to XCR0 (SDM 1, "Enabling the XSAVE Feature Set")? */
bool mote_xcr0_valid(u64 xcr0, const struct mote_caps *caps);

/* May this be in a PDPTE register (SDM 3A, "PDPTE Registers")? */
static inline bool mote_pdpte_valid(u64 pdpte, const struct mote_caps *caps)
{
	u64 reserved = ~GENMASK_ULL(caps->phys_bits - 1, 0) | GENMASK(8, 5) | GENMASK(2, 1);

	return !(pdpte & 1 && pdpte & reserved);
}

/* Does MOV to CR0 or CR4 take this value?  SDM 2, "MOV—Move to/from Control Registers". */
bool mote_cr0_valid(u64 cr0, const struct mote_cpu_mode *mode);
bool mote_cr4_valid(u64 cr4, const struct mote_cpu_mode *mode, const struct mote_caps *caps);

/* Is this an event that a CPU can deliver (SDM 3C, "Event Injection"), whatever its mode? */
bool mote_event_valid(const struct mote_event *event);

/* #DB, which mote raises as a trap, #BP, #OF; and the aborts: #DF, #MC. */
#define MOTE_NO_FAULTS (1u << 1 | 1u << 3 | 1u << 4 | 1u << 8 | 1u << 18)

static inline bool mote_event_is_fault(const struct mote_event *event)
{
	return event->type == MOTE_EVENT_EXCEPTION && !(MOTE_NO_FAULTS >> event->vector & 1);
}

/* Is an #AC at these flags one that the guest has asked for, and no split lock? */
bool mote_mode_checks_alignment(const struct mote_cpu_mode *mode, u64 rflags);

/*
 * An exception comes, maybe while @event was delivered, which becomes what the guest gets (SDM
 * 3A, "Interrupt 8—Double Fault Exception"); false: a triple fault.  An interrupt or NMI on
 * its way gives way: it was not acknowledged, or runs again.
 */
bool mote_event_merge(struct mote_event *event, u8 vector, u32 error);

/* ---- cpuid.c --------------------------------------------------------------- */

/* A CPUID table as it is used: sorted by leaf, then subleaf. */
struct mote_cpuid {
	const struct mote_cpuid_entry *last;	/* the row that was found last, or NULL */
	u32 nr;
	struct mote_cpuid_entry rows[];
};

/* Sort user space's rows; -EINVAL: one twice, a leaf with and without subleaves, padding. */
int mote_cpuid_sort(struct mote_cpuid_entry *rows, u32 nr);

/* The row of a sorted table that answers CPUID, or NULL: all registers read zero.  O(log @nr). */
const struct mote_cpuid_entry *mote_cpuid_find(const struct mote_cpuid_entry *rows, u32 nr,
					       u32 leaf, u32 subleaf);

/* What of @host a guest with this table may set. */
struct mote_caps mote_cpuid_caps(const struct mote_cpuid *table, const struct mote_caps *host);

/* Does the answer of this leaf follow the guest's state, or is there one for all subleaves? */
bool mote_cpuid_is_dynamic(u32 leaf, const struct mote_msrs *msrs);

/*
 * No row answers: in a leaf of topology, beyond its last level, the x2APIC id is still to be had;
 * in others @row stays.
 */
void mote_cpuid_beyond(const struct mote_cpuid_entry *rows, u32 nr, u32 leaf,
		       struct mote_cpuid_entry *row);
/* Bring a copy of a row up to date with the subleaf asked for and the guest's state. */
void mote_cpuid_patch(struct mote_cpuid_entry *row, u32 subleaf, u64 cr4, u64 xcr0,
		      const struct mote_msrs *msrs);

/* ---- msr.c ------------------------------------------------------------------ */

/* What is to be done about an MSR. */
enum mote_msr_kind {
	MOTE_MSR_FIXED,		/* reads as a constant; writes are #GP */
	MOTE_MSR_IGNORED,	/* reads as a constant; writes that are valid do nothing */
	MOTE_MSR_STATE,		/* a field of struct mote_msrs */
	MOTE_MSR_TSC,		/* the guest's TSC: IA32_TSC */
	MOTE_MSR_TSC_ADJUST,
};

struct mote_msr {
	u32 first;	/* index */
	u32 last;
	u16 kind;	/* enum mote_msr_kind */
	u16 field;	/* MOTE_MSR_STATE: offset in struct mote_msrs */
	u64 value;	/* MOTE_MSR_FIXED, MOTE_MSR_IGNORED: what it reads as */
	u64 writable;	/* bits that may be written as 1; others are #GP */
	bool (*valid)(u64 value, const struct mote_caps *caps);	/* of what is written; or NULL */
};

/* The row for an index, or NULL: user space decides.  O(log rows). */
const struct mote_msr *mote_msr_find(u32 index);

/* May this value be written to the MSR of @row by a guest? */
bool mote_msr_valid(const struct mote_msr *row, u64 value, const struct mote_caps *caps);

/* Are these all values that a guest could have written? */
bool mote_msrs_valid(const struct mote_msrs *values, const struct mote_caps *caps);

/* May a guest's WRMSR take IA32_APIC_BASE from one valid value to another (xAPIC, x2APIC)? */
bool mote_apic_base_can_change(u64 from, u64 to);

/* ---- filter.c ------------------------------------------------------------------ */

struct mote_filter_set {
	u32 nr;
	struct mote_filter_rule rules[];	/* ascending, without overlap */
};

/* Rules ascending, without overlap, known actions and accesses: 0 or -EINVAL. */
int mote_filter_check(u32 kind, const struct mote_filter_rule *rules, u32 nr);

/* The action for a number, %MOTE_FILTER_DEFAULT without a rule.  O(log @nr). */
u32 mote_filter_find(const struct mote_filter_rule *rules, u32 nr, u32 number, u32 access);

#endif /* MOTE_GUEST_H */
