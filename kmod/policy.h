/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Policy as pure functions: no hardware, no locks, no allocation, no user
 * memory.  Each is tested by KUnit in the kernel and under sanitizers and a
 * fuzzer outside of it.
 */
#ifndef MOTE_POLICY_H
#define MOTE_POLICY_H

#include <linux/types.h>
#include <mote.h>

/**
 * struct mote_caps - what a guest may have on this host
 * @vendor: &enum mote_vendor
 * @phys_bits: width of guest-physical addresses
 * @virt_bits: width of linear addresses: 48 or 57
 * @cr4: bits of CR4 that may be set
 * @efer: bits of EFER that may be set
 * @xcr0: bits of XCR0 that may be set
 * @pv_features: of KVM's paravirtual interface, as in CPUID
 */
struct mote_caps {
	u32 vendor;
	u32 phys_bits;
	u32 virt_bits;
	u64 cr4;
	u64 efer;
	u64 xcr0;
	u32 pv_features;
};

/**
 * mote_caps_init() - what a guest may have, from what the host has
 * @caps: out
 * @vendor: &enum mote_vendor
 * @gpa_bits: width of guest-physical addresses
 * @host_xcr0: XCR0 of the host
 * @cpuid: reads the host: (leaf, subleaf, regs[eax, ebx, ecx, edx])
 */
void mote_caps_init(struct mote_caps *caps, u32 vendor, u32 gpa_bits, u64 host_xcr0,
		    void (*cpuid)(u32 leaf, u32 subleaf, u32 regs[4]));

/* Do the bits above the highest that is translated all equal it? */
static inline bool mote_is_canonical(u64 gva, const struct mote_caps *caps)
{
	u32 shift = 64 - caps->virt_bits;

	return (u64)((s64)(gva << shift) >> shift) == gva;
}

/* ---- check.c: is this a state that a CPU can be in? ----------------------- */

/**
 * struct mote_check - one of the checks that an entry has to pass
 * @text: what is wrong when it fails: "CR0.PG is set without CR0.PE"
 * @section: the manual's section that says so
 * @fails: true if the state fails it
 */
struct mote_check {
	const char *text;
	const char *section;
	bool (*fails)(const struct mote_state *state, const struct mote_caps *caps);
};

/**
 * mote_check_state() - judge a whole state before the hardware does
 * @state: all of it but @state->xsave
 * @caps: what the guest may have
 *
 * Return: the first check that fails, or NULL.
 */
const struct mote_check *mote_check_state(const struct mote_state *state,
					  const struct mote_caps *caps);

/**
 * mote_check_values() - refuse single values that no instruction could have written
 * @state: the parts in @state->mask
 * @caps: what the guest may have
 *
 * Those that WRMSR, XSETBV, MOV CR8 and MOV DR refuse, undefined flags and
 * padding that is not zero.  The values that pass can be loaded by the host's
 * own instructions without a fault.
 *
 * Return: 0 or -EINVAL.
 */
int mote_check_values(const struct mote_state *state, const struct mote_caps *caps);

/* May a guest's XSETBV write this to XCR0 (SDM 1, "Enabling the XSAVE Feature Set")? */
bool mote_xcr0_valid(u64 xcr0, const struct mote_caps *caps);

/* Is this an event that a CPU can deliver (SDM 3C, "Event Injection"), whatever its mode? */
bool mote_event_valid(const struct mote_event *event);

/**
 * mote_event_merge() - an exception comes while an event is on its way
 * @event: the event whose delivery was cut short, or none; out: what the guest gets
 * @vector: of the exception, 0 to 31
 * @error: error code, dropped if the vector has none
 *
 * SDM 3A, "Interrupt 8—Double Fault Exception", table "Conditions for
 * Generating a Double Fault".  An interrupt or NMI on its way gives way: it
 * was not acknowledged, or runs again.
 *
 * Return: false if it is a triple fault.
 */
bool mote_event_merge(struct mote_event *event, u8 vector, u32 error);

/* ---- cpuid.c --------------------------------------------------------------- */

/**
 * mote_cpuid_sort() - make a table out of rows as user space gave them
 * @rows: the rows
 * @nr: how many
 *
 * Return: 0, or -EINVAL: a pair (leaf, subleaf) twice, a leaf both with and
 * without %MOTE_CPUID_SUBLEAF, unknown flags, padding.
 */
int mote_cpuid_sort(struct mote_cpuid_entry *rows, u32 nr);

/**
 * mote_cpuid_find() - the row that answers CPUID
 * @rows: sorted
 * @nr: how many
 * @leaf: EAX
 * @subleaf: ECX
 *
 * Return: the row, or NULL (all registers read zero).  O(log @nr).
 */
const struct mote_cpuid_entry *mote_cpuid_find(const struct mote_cpuid_entry *rows, u32 nr,
					       u32 leaf, u32 subleaf);

/* Does the answer of this leaf follow the guest's state? */
bool mote_cpuid_is_dynamic(u32 leaf);

/**
 * mote_cpuid_patch() - bring an answer up to date with the guest's state
 * @row: a copy of the row; changed in place
 * @cr4: of the guest (OSXSAVE, PKE)
 * @xcr0: of the guest; sizes in leaf 0xd are those of the standard format
 * @apic_base: of the guest
 */
void mote_cpuid_patch(struct mote_cpuid_entry *row, u64 cr4, u64 xcr0, u64 apic_base);

/**
 * mote_cpuid_host() - what a guest may be told: the host's answers less what mote hides
 * @rows: room for @nr rows
 * @nr: room
 * @caps: what the guest may have
 * @cpuid: reads the host: (leaf, subleaf, regs[eax, ebx, ecx, edx])
 *
 * Return: the number of rows that there are; only the first @nr are written.
 */
u32 mote_cpuid_host(struct mote_cpuid_entry *rows, u32 nr, const struct mote_caps *caps,
		    void (*cpuid)(u32 leaf, u32 subleaf, u32 regs[4]));

/* ---- msr.c ------------------------------------------------------------------ */

/* What is to be done about an MSR. */
enum mote_msr_kind {
	MOTE_MSR_UNKNOWN,	/* user space decides */
	MOTE_MSR_FIXED,		/* reads as a constant; writes are #GP */
	MOTE_MSR_IGNORED,	/* reads as a constant; writes that are valid do nothing */
	MOTE_MSR_STATE,		/* a field of struct mote_msrs */
	MOTE_MSR_TSC,		/* the guest's TSC: IA32_TSC */
	MOTE_MSR_TSC_ADJUST,
};

/**
 * struct mote_msr - one row of the MSR table
 * @first: first index
 * @last: last index
 * @kind: &enum mote_msr_kind
 * @field: offset in struct mote_msrs, for %MOTE_MSR_STATE
 * @value: what it reads as, for %MOTE_MSR_FIXED and %MOTE_MSR_IGNORED
 * @writable: bits that may be written as 1; others are #GP
 * @valid: further check of a value to be written; or NULL
 */
struct mote_msr {
	u32 first;
	u32 last;
	u16 kind;
	u16 field;
	u64 value;
	u64 writable;
	bool (*valid)(u64 value, const struct mote_caps *caps);
};

/* The row for an index, or NULL for %MOTE_MSR_UNKNOWN.  O(log rows). */
const struct mote_msr *mote_msr_find(u32 index);

/* May this value be written to the MSR of @row by a guest? */
bool mote_msr_valid(const struct mote_msr *row, u64 value, const struct mote_caps *caps);

/* Are these all values that a guest could have written? */
bool mote_msrs_valid(const struct mote_msrs *values, const struct mote_caps *caps);

/* May a guest's WRMSR take IA32_APIC_BASE from one valid value to another (xAPIC, x2APIC)? */
bool mote_apic_base_can_change(u64 from, u64 to);

/* ---- filter.c ------------------------------------------------------------------ */

/* Rules ascending, without overlap, known actions and accesses: 0 or -EINVAL. */
int mote_filter_check(u32 kind, const struct mote_filter_rule *rules, u32 nr);

/* The action for a number, %MOTE_FILTER_DEFAULT without a rule.  O(log @nr). */
u32 mote_filter_find(const struct mote_filter_rule *rules, u32 nr, u32 number, u32 access);

/* ---- apic.c --------------------------------------------------------------------- */

/* Registers: offset in the xAPIC page / 16, or MSR - 0x800. */
enum {
	MOTE_APIC_ID = 0x02,
	MOTE_APIC_VERSION = 0x03,
	MOTE_APIC_TPR = 0x08,
	MOTE_APIC_PPR = 0x0a,
	MOTE_APIC_EOI = 0x0b,
	MOTE_APIC_LDR = 0x0d,
	MOTE_APIC_DFR = 0x0e,
	MOTE_APIC_SVR = 0x0f,
	MOTE_APIC_ISR = 0x10,
	MOTE_APIC_TMR = 0x18,
	MOTE_APIC_IRR = 0x20,
	MOTE_APIC_ESR = 0x28,
	MOTE_APIC_ICR = 0x30,
	MOTE_APIC_ICR2 = 0x31,
	MOTE_APIC_LVT_TIMER = 0x32,
	MOTE_APIC_LVT_THERMAL = 0x33,
	MOTE_APIC_LVT_PERF = 0x34,
	MOTE_APIC_LVT_LINT0 = 0x35,
	MOTE_APIC_LVT_LINT1 = 0x36,
	MOTE_APIC_LVT_ERROR = 0x37,
	MOTE_APIC_TMICT = 0x38,
	MOTE_APIC_TMCCT = 0x39,
	MOTE_APIC_TDCR = 0x3e,
	MOTE_APIC_SELF_IPI = 0x3f,
};

/* Of ICR, and of an MSI's data as far as it has them. */
#define MOTE_ICR_MODE (7u << 8)
#define MOTE_ICR_FIXED (0u << 8)
#define MOTE_ICR_LOWEST (1u << 8)
#define MOTE_ICR_NMI (4u << 8)
#define MOTE_ICR_INIT (5u << 8)
#define MOTE_ICR_STARTUP (6u << 8)
#define MOTE_ICR_EXTINT (7u << 8) /* of an LVT entry */
#define MOTE_ICR_LOGICAL (1u << 11)
#define MOTE_ICR_ASSERT (1u << 14)
#define MOTE_ICR_LEVEL (1u << 15)
#define MOTE_ICR_SHORTHAND (3u << 18)
#define MOTE_ICR_SELF (1u << 18)
#define MOTE_ICR_ALL (2u << 18)
#define MOTE_ICR_OTHERS (3u << 18)

/* mote_apic_timer_mode() */
#define MOTE_APIC_PERIODIC (1u << 17)
#define MOTE_APIC_DEADLINE (2u << 17)

/* What the caller does about a write. */
enum mote_apic_effect {
	MOTE_APIC_DONE,
	MOTE_APIC_LOOK,		/* another interrupt may be deliverable now */
	MOTE_APIC_BROADCAST,	/* likewise, and an EOI goes to the I/O APICs */
	MOTE_APIC_SEND,		/* what ICR says */
	MOTE_APIC_ARM,		/* the timer starts anew */
	MOTE_APIC_INVALID,	/* #GP */
};

void mote_apic_reset(struct mote_apic *apic, u32 id, bool x2);
void mote_apic_set_mode(struct mote_apic *apic, u32 id, bool x2);
bool mote_apic_is_valid(const struct mote_apic *apic, u32 id, bool x2);

/* An interrupt arrives; false: it is lost, as the APIC is off or the vector below 16. */
bool mote_apic_accept(struct mote_apic *apic, u8 vector, bool level);

/**
 * mote_apic_pending() - the interrupt that the CPU could take
 * @apic: the registers
 * @tpr: task priority, all 8 bits
 * @held: out: one is held back by @tpr alone
 *
 * Return: its vector, or -1.
 */
int mote_apic_pending(const struct mote_apic *apic, u32 tpr, bool *held);

/* Does LINT0 let an 8259's interrupts through (SDM 3A, "Local Vector Table": ExtINT)? */
bool mote_apic_takes_extint(const struct mote_apic *apic);

/* The CPU takes it: from IRR to ISR. */
void mote_apic_acknowledge(struct mote_apic *apic, u8 vector);

/* Does no interrupt wait to be taken? */
bool mote_apic_is_idle(const struct mote_apic *apic);
/* Does nobody wait for the end of this one, which is in service? */
bool mote_apic_can_end_silently(const struct mote_apic *apic, u8 vector);

/* Read a register but for TMCCT, which is 0; false: #GP. */
bool mote_apic_read(struct mote_apic *apic, u32 reg, bool x2, u32 tpr, u64 *value);

/**
 * mote_apic_write() - write a register
 * @apic: the registers
 * @reg: number; TPR is the caller's to keep, too
 * @x2: x2APIC mode: reserved bits are #GP
 * @value: 64 bits for ICR in x2APIC mode
 * @vector: out: of %MOTE_APIC_BROADCAST
 */
enum mote_apic_effect mote_apic_write(struct mote_apic *apic, u32 reg, bool x2, u64 value,
				      u8 *vector);

/* Is an APIC, with its mode and id, among the destinations of a message? */
bool mote_apic_matches(const struct mote_apic *apic, u32 id, bool x2, u32 dest, bool logical);

u32 mote_apic_timer_mode(const struct mote_apic *apic);
/* How long the timer counts one, in ns: 1 to 128. */
u64 mote_apic_tick_ns(const struct mote_apic *apic);
/* The timer has expired; false: nobody is told. */
bool mote_apic_timer_fires(struct mote_apic *apic);

/* ---- insn.c ------------------------------------------------------------------- */

/**
 * mote_insn_length() - length of an instruction whose kind is known from the exit
 * @bytes: from RIP on
 * @nr: how many, at most 15
 * @reason: %MOTE_EXIT_CPUID, _HLT, _RDMSR, _WRMSR, _HYPERCALL, _XSETBV, _CACHE, _PMC, _PAUSE or
 *	_MWAIT
 * @long_mode: CS.L: REX prefixes exist
 *
 * For CPUs that save no next RIP.  Prefixes are counted and the opcode must
 * be one of those that cause this exit.
 *
 * Return: 1 to 15, or -EINVAL (not that instruction: memory changed under it,
 * or the end of @bytes).
 */
int mote_insn_length(const u8 *bytes, u32 nr, u32 reason, bool long_mode);

/**
 * struct mote_walk - what a walk of the guest's own page tables needs
 * @cr0: of the guest
 * @cr3: of the guest
 * @cr4: of the guest
 * @efer: of the guest
 * @read: reads 8 bytes (4 for 32-bit paging) of guest-physical memory; 0 or an error
 * @context: for @read
 */
struct mote_walk {
	u64 cr0;
	u64 cr3;
	u64 cr4;
	u64 efer;
	int (*read)(void *context, u64 gpa, void *data, u32 len);
	void *context;
};

/**
 * mote_walk_gva() - guest-physical address of a linear address, for fetching code
 * @walk: paging mode and memory
 * @gva: linear address
 * @gpa: out
 *
 * Every paging mode.  No accessed bits are set and no permission is checked:
 * the CPU has just fetched from there.
 *
 * Return: 0, -ENOENT (not mapped), or what @walk->read said.
 */
int mote_walk_gva(const struct mote_walk *walk, u64 gva, u64 *gpa);

#endif /* MOTE_POLICY_H */
