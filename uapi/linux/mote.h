/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * mote: the ABI between the kernel module and user space, all of it.
 *
 * Three kinds of file descriptor: /dev/mote, a VM (MOTE_CREATE_VM) and a vCPU
 * (MOTE_CREATE_VCPU).  Every struct has fixed-width fields and the same layout
 * for 32- and 64-bit callers; padding must be zero; user pointers are __u64.
 * docs/abi.md lists each error of each call.
 */
#ifndef _UAPI_MOTE_H
#define _UAPI_MOTE_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define MOTE_ABI_VERSION 3

/* No entry of Documentation/userspace-api/ioctl/ioctl-number.rst uses it. */
#define MOTE_IOC 0xD3

/* ---- /dev/mote ---------------------------------------------------------- */

/**
 * enum mote_vendor - the virtualization extension that the CPUs have
 * @MOTE_VENDOR_NONE: none
 * @MOTE_VENDOR_VMX: Intel VT-x (SDM 3C, "Introduction to Virtual Machine Extensions")
 * @MOTE_VENDOR_SVM: AMD-V (APM 2, "Secure Virtual Machine")
 */
enum mote_vendor {
	MOTE_VENDOR_NONE = 0,
	MOTE_VENDOR_VMX = 1,
	MOTE_VENDOR_SVM = 2,
};

/**
 * enum mote_feature - bit numbers in &mote_info.features
 *
 * A feature is listed when every CPU has it and mote uses it.  The first
 * group is the floor: without it no VM can be created.
 *
 * @MOTE_FEATURE_NPT: nested paging (EPT on Intel)
 * @MOTE_FEATURE_UNRESTRICTED: real mode runs natively (always so on AMD)
 * @MOTE_FEATURE_ASID: tagged TLB: VPID on Intel, more than one ASID on AMD
 * @MOTE_FEATURE_NRIP: the length of an intercepted instruction is reported
 * @MOTE_FEATURE_DECODE_ASSISTS: the bytes of a faulting instruction are reported
 * @MOTE_FEATURE_FLUSH_BY_ASID: one guest's translations can be flushed alone
 * @MOTE_FEATURE_NPT_2M: nested pages of 2 MiB
 * @MOTE_FEATURE_NPT_1G: nested pages of 1 GiB
 * @MOTE_FEATURE_NPT_AD: accessed and dirty bits in nested page tables
 * @MOTE_FEATURE_TSC_SCALING: the guest's TSC frequency can differ from the host's
 * @MOTE_FEATURE_PREEMPTION_TIMER: VMX-preemption timer
 * @MOTE_FEATURE_TPR_SHADOW: CR8 without exits (TPR shadow; V_TPR on AMD)
 * @MOTE_FEATURE_VNMI: NMI blocking is tracked in hardware (virtual NMIs)
 * @MOTE_FEATURE_VGIF: virtual global interrupt flag
 * @MOTE_FEATURE_PAUSE_FILTER: pause loops exit (PAUSE-loop exiting, pause filter)
 * @MOTE_FEATURE_CLEAN_BITS: VMCB clean bits
 * @MOTE_FEATURE_XSAVE: the guest may use XSAVE
 * @MOTE_FEATURE_PML: dirty logs are written by the CPU (page-modification logging)
 */
enum mote_feature {
	MOTE_FEATURE_NPT = 0,
	MOTE_FEATURE_UNRESTRICTED = 1,
	MOTE_FEATURE_ASID = 2,
	MOTE_FEATURE_NRIP = 3,
	MOTE_FEATURE_DECODE_ASSISTS = 4,
	MOTE_FEATURE_FLUSH_BY_ASID = 5,
	MOTE_FEATURE_NPT_2M = 6,
	MOTE_FEATURE_NPT_1G = 7,
	MOTE_FEATURE_NPT_AD = 8,
	MOTE_FEATURE_TSC_SCALING = 9,
	MOTE_FEATURE_PREEMPTION_TIMER = 10,
	MOTE_FEATURE_TPR_SHADOW = 11,
	MOTE_FEATURE_VNMI = 12,
	MOTE_FEATURE_VGIF = 13,
	MOTE_FEATURE_PAUSE_FILTER = 14,
	MOTE_FEATURE_CLEAN_BITS = 15,
	MOTE_FEATURE_XSAVE = 16,
	MOTE_FEATURE_PML = 17,
	MOTE_NR_FEATURES
};

/**
 * enum mote_obstacle_code - what stands in the way of creating a VM
 * @MOTE_OBSTACLE_NO_EXTENSION: the CPU has neither VT-x nor AMD-V, or a
 *	hypervisor beneath hides it
 * @MOTE_OBSTACLE_FIRMWARE: firmware has switched it off and locked it
 *	(IA32_FEATURE_CONTROL, VM_CR.SVMDIS); detail: the MSR's value
 * @MOTE_OBSTACLE_HELD: another hypervisor, as a rule KVM, owns the extension
 *	on the CPU (CR4.VMXE or EFER.SVME is set, and not by mote)
 * @MOTE_OBSTACLE_FEATURE: a floor feature is missing; detail: a mask of the
 *	missing ones, bits as in &enum mote_feature
 * @MOTE_OBSTACLE_LOCKDOWN: the kernel is locked down (integrity or stricter)
 *	and this module is not signed
 * @MOTE_OBSTACLE_ASYMMETRIC: the CPU lacks what the first one has; detail: a
 *	mask of the features that differ
 * @MOTE_OBSTACLE_ENABLE: the CPU refused to enter virtualization operation
 *	although nothing above explains it; detail: the error number
 * @MOTE_OBSTACLE_CONTROL: VT-x lacks a control that no feature stands for, or does not
 *	let it be 0; detail: the index of the capability MSR in bits 63:32, the control's
 *	bits in 31:0
 * @MOTE_OBSTACLE_KERNEL: not under the running kernel; detail: why, &enum mote_kernel
 */
enum mote_obstacle_code {
	MOTE_OBSTACLE_NO_EXTENSION = 1,
	MOTE_OBSTACLE_FIRMWARE = 2,
	MOTE_OBSTACLE_HELD = 3,
	MOTE_OBSTACLE_FEATURE = 4,
	MOTE_OBSTACLE_LOCKDOWN = 5,
	MOTE_OBSTACLE_ASYMMETRIC = 6,
	MOTE_OBSTACLE_ENABLE = 7,
	MOTE_OBSTACLE_CONTROL = 8,
	MOTE_OBSTACLE_KERNEL = 9,
};

/**
 * enum mote_kernel - what mote cannot do with in a kernel
 * @MOTE_KERNEL_RT: it is a real-time one (CONFIG_PREEMPT_RT)
 * @MOTE_KERNEL_FRED: it takes events by FRED
 * @MOTE_KERNEL_TSC: it does not know the frequency of the TSC
 */
enum mote_kernel {
	MOTE_KERNEL_RT = 1,
	MOTE_KERNEL_FRED = 2,
	MOTE_KERNEL_TSC = 3,
};

/**
 * struct mote_obstacle - one thing that stands in the way
 * @code: &enum mote_obstacle_code
 * @cpu: the first CPU on which it was found
 * @cpus: on how many online CPUs it was found
 * @pad: zero
 * @detail: see &enum mote_obstacle_code; of @cpu, others' may differ
 */
struct mote_obstacle {
	__u32 code;
	__u32 cpu;
	__u32 cpus;
	__u32 pad;
	__u64 detail;
};

#define MOTE_MAX_OBSTACLES 8

/**
 * struct mote_info - MOTE_GET_INFO: what this host can do, probed at the call
 * @abi_version: %MOTE_ABI_VERSION of the module
 * @vendor: &enum mote_vendor
 * @features: what mote uses on this host, bits as in &enum mote_feature
 * @cpus_online: CPUs that were probed: those online, but isolated ones
 * @nr_obstacles: valid entries of @obstacles; 0: a VM can be created
 * @obstacles: what stands in the way, the gravest first
 * @max_vms: VMs at once on this host
 * @max_vcpus: vCPUs in one VM
 * @max_slots: memory slots in one VM
 * @nr_vms: VMs that exist now
 * @gpa_bits: width of guest-physical addresses, in bits
 * @nr_asids: address-space tags: ASIDs on AMD, VPIDs on Intel
 * @tsc_khz: frequency of the host's TSC in kHz
 * @revision: VMCS revision identifier, or SVM revision
 * @xcr0: state components that a guest may enable in XCR0
 * @cpu_signature: family, model and stepping: CPUID leaf 1, EAX
 * @pad: zero
 * @version: of the module, NUL-terminated
 * @cr4: bits that a guest may set in CR4
 * @efer: bits that a guest may set in EFER
 * @gva_bits: width of linear addresses, in bits: 48 or 57
 * @pv_features: of KVM's paravirtual interface, as in CPUID leaf 0x40000101, EAX
 * @reserved: zero
 *
 * What CPUID should tell a guest follows from the CPU's own answers and from
 * @xcr0, @cr4, @efer, @gpa_bits, @gva_bits and @pv_features: mote_get_cpuid() of
 * libmote puts it together.
 */
struct mote_info {
	__u32 abi_version;
	__u32 vendor;
	__u64 features;
	__u32 cpus_online;
	__u32 nr_obstacles;
	struct mote_obstacle obstacles[MOTE_MAX_OBSTACLES];
	__u32 max_vms;
	__u32 max_vcpus;
	__u32 max_slots;
	__u32 nr_vms;
	__u32 gpa_bits;
	__u32 nr_asids;
	__u32 tsc_khz;
	__u32 revision;
	__u64 xcr0;
	__u32 cpu_signature;
	__u32 pad;
	__u8 version[32];
	__u64 cr4;
	__u64 efer;
	__u32 gva_bits;
	__u32 pv_features;
	__u64 reserved[5];
};

#define MOTE_GET_INFO _IOR(MOTE_IOC, 0x00, struct mote_info)

/**
 * struct mote_cpuid_entry - one row of a CPUID table
 * @leaf: value of EAX that selects it
 * @subleaf: value of ECX that selects it; used only with %MOTE_CPUID_SUBLEAF
 * @flags: %MOTE_CPUID_SUBLEAF or 0
 * @eax: result
 * @ebx: result
 * @ecx: result
 * @edx: result
 * @pad: zero
 */
struct mote_cpuid_entry {
	__u32 leaf;
	__u32 subleaf;
	__u32 flags;
	__u32 eax;
	__u32 ebx;
	__u32 ecx;
	__u32 edx;
	__u32 pad;
};

/* The row answers for this subleaf only, else for every value of ECX. */
#define MOTE_CPUID_SUBLEAF (1u << 0)

#define MOTE_MAX_CPUID 256

/**
 * struct mote_cpuid_table - MOTE_SET_CPUID: a CPUID table in user memory
 * @nr: rows
 * @pad: zero
 * @entries: address of an array of &struct mote_cpuid_entry
 *
 * Rows are unique in (leaf, subleaf); at most %MOTE_MAX_CPUID.  Leaves that
 * are not in the table read as zero.  Bits that follow the guest's state
 * (OSXSAVE, OSPKE, the XSAVE sizes of leaf 0xd, the APIC-enabled bit) are
 * kept up to date by the module.
 *
 * A guest may set the bits of CR4, EFER and XCR0 that belong to what the table
 * says and the host has; before the first table, all that the host has.
 */
struct mote_cpuid_table {
	__u32 nr;
	__u32 pad;
	__u64 entries;
};

/**
 * struct mote_vm_config - MOTE_CREATE_VM
 * @flags: %MOTE_VM_HLT_EXIT, %MOTE_VM_LAPIC, %MOTE_VM_RDTSC_EXIT
 * @tsc_khz: frequency of the guest's TSC in kHz, 1/16 to 16 of the host's; 0: the host's.
 *	Another one than that wants %MOTE_FEATURE_TSC_SCALING.
 * @reserved: zero
 */
struct mote_vm_config {
	__u32 flags;
	__u32 tsc_khz;
	__u64 reserved[7];
};

/* HLT ends MOTE_RUN with %MOTE_EXIT_HLT; else a halted vCPU sleeps inside MOTE_RUN. */
#define MOTE_VM_HLT_EXIT (1u << 0)
/*
 * Each vCPU has a local APIC, whose id is the vCPU's: in x2APIC mode by MSR, in
 * xAPIC mode by MOTE_APIC_ACCESS for each MMIO exit at its page.  All but vCPU 0
 * begin by waiting for a start-up IPI.
 */
#define MOTE_VM_LAPIC (1u << 1)
/* RDTSC, where CR4.TSD lets the guest have it, ends MOTE_RUN: user space says what the time is. */
#define MOTE_VM_RDTSC_EXIT (1u << 2)

#define MOTE_CREATE_VM _IOW(MOTE_IOC, 0x01, struct mote_vm_config)

/* ---- VM ------------------------------------------------------------------ */

/**
 * struct mote_slot - MOTE_SET_SLOT: a piece of guest-physical memory
 * @slot: number, below &mote_info.max_slots
 * @flags: %MOTE_SLOT_READONLY, %MOTE_SLOT_LOG_DIRTY
 * @gpa: guest-physical address, multiple of 4096
 * @size: bytes, multiple of 4096; 0 removes the slot (the other fields are then 0)
 * @hva: address in the caller's memory, multiple of 4096
 *
 * A number that is not in use adds a slot; one that is in use changes the
 * slot's gpa (moves it), flags, hva or size.  Slots may not overlap.  All of
 * it may be done while the guest runs: the call returns when no vCPU can
 * reach the old memory any more.  The memory itself is faulted in when the
 * guest touches it, and whatever the owner does to it (munmap, mprotect,
 * madvise…) the guest sees at its next access.  Writes to a read-only slot
 * are MMIO exits.
 */
struct mote_slot {
	__u32 slot;
	__u32 flags;
	__u64 gpa;
	__u64 size;
	__u64 hva;
};

#define MOTE_SLOT_READONLY (1u << 0)
#define MOTE_SLOT_LOG_DIRTY (1u << 1)

/**
 * struct mote_dirty - MOTE_GET_DIRTY: which pages the guest wrote, and start anew
 * @slot: number of a slot with %MOTE_SLOT_LOG_DIRTY
 * @pad: zero
 * @first: first page, counted from the slot's start, multiple of 64
 * @nr: number of pages, within the slot, 1 to %MOTE_MAX_DIRTY
 * @bitmap: address of (@nr + 63) / 64 words of 64 bits; bit n of the whole is
 *	page @first + n.  The bits are cleared in the log as they are read.
 */
struct mote_dirty {
	__u32 slot;
	__u32 pad;
	__u64 first;
	__u64 nr;
	__u64 bitmap;
};

/* 256 GiB of memory, 8 MiB of bitmap. */
#define MOTE_MAX_DIRTY (1u << 26)

/* What a filter is about. */
#define MOTE_FILTER_PORT 0
#define MOTE_FILTER_MSR 1
#define MOTE_FILTER_CPUID 2
#define MOTE_FILTER_HYPERCALL 3
#define MOTE_NR_FILTERS 4

/* As without a filter. */
#define MOTE_FILTER_DEFAULT 0
/* The guest gets the architectural fault: #UD for a hypercall, else #GP(0). */
#define MOTE_FILTER_DENY 1
/* The access ends MOTE_RUN; user space completes it. */
#define MOTE_FILTER_FORWARD 2

#define MOTE_FILTER_READ (1u << 0)
#define MOTE_FILTER_WRITE (1u << 1)

#define MOTE_MAX_RULES 256

/**
 * struct mote_filter_rule - what happens to a range of ports, MSRs, leaves or hypercalls
 * @first: first number
 * @last: last number, at least @first
 * @action: %MOTE_FILTER_DEFAULT, %MOTE_FILTER_DENY or %MOTE_FILTER_FORWARD
 * @access: %MOTE_FILTER_READ, %MOTE_FILTER_WRITE or both; for CPUID and
 *	hypercalls both
 */
struct mote_filter_rule {
	__u32 first;
	__u32 last;
	__u32 action;
	__u32 access;
};

/**
 * struct mote_filter - MOTE_SET_FILTER: replaces one of a VM's filters
 * @kind: %MOTE_FILTER_PORT, …
 * @nr: number of rules, at most %MOTE_MAX_RULES; 0 removes the filter
 * @rules: address of an array of &struct mote_filter_rule, ascending, without overlap
 *
 * Filters are set before the first vCPU is created.
 */
struct mote_filter {
	__u32 kind;
	__u32 nr;
	__u64 rules;
};

/**
 * struct mote_vcpu_config - MOTE_CREATE_VCPU
 * @id: below &mote_info.max_vcpus and not in use in this VM
 * @flags: 0
 * @reserved: zero
 */
struct mote_vcpu_config {
	__u32 id;
	__u32 flags;
	__u64 reserved[3];
};

/**
 * struct mote_msi - MOTE_MSI: a message-signalled interrupt
 * @address: 0xfeexxxxx (SDM 3A, "Message Address Register Format"); bits 63 to 40
 *	are bits 31 to 8 of the destination, for APIC ids above 255
 * @data: vector, delivery mode, trigger mode (SDM 3A, "Message Data Register Format")
 * @pad: zero
 *
 * Of a VM with %MOTE_VM_LAPIC.  Does not sleep for the vCPU.  Returns 0, or 1 where it is
 * merged with an interrupt that waits already.
 */
struct mote_msi {
	__u64 address;
	__u32 data;
	__u32 pad;
};

/* Undo it: the fields are those that it was made with. */
#define MOTE_EVENTFD_REMOVE (1u << 0)
/* Only writes of this value. */
#define MOTE_IOEVENTFD_MATCH (1u << 1)

/**
 * struct mote_irqfd - MOTE_IRQFD: an eventfd whose writes send an interrupt
 * @fd: the eventfd; the VM holds it until it is removed, or the VM gone
 * @flags: %MOTE_EVENTFD_REMOVE or 0
 * @msi: what is sent; writes that come together may send it once
 */
struct mote_irqfd {
	__s32 fd;
	__u32 flags;
	struct mote_msi msi;
};

/**
 * struct mote_ioeventfd - MOTE_IOEVENTFD: an eventfd that the guest's OUT writes
 * @fd: the eventfd; one is added to it
 * @flags: %MOTE_EVENTFD_REMOVE, %MOTE_IOEVENTFD_MATCH
 * @port: 0 to 0xffff
 * @size: of the access: 1, 2 or 4 bytes; 0: any
 * @value: with %MOTE_IOEVENTFD_MATCH, else 0
 * @pad: zero
 *
 * Such an OUT is no exit for user space.  String instructions are, as ever.  For
 * writes to memory, which have to be decoded, libmote has doorbells.
 */
struct mote_ioeventfd {
	__s32 fd;
	__u32 flags;
	__u32 port;
	__u32 size;
	__u32 value;
	__u32 pad;
};

/**
 * struct mote_clock_value - MOTE_GET_CLOCK, MOTE_SET_CLOCK: a VM's paravirtual clock
 * @ns: what its guest reads now: since the VM was created, if it was not set; below 2^63
 * @tsc: the VM's TSC at the same moment, that of a vCPU with &mote_tsc.offset 0: the
 *	host's, at the guest's frequency, if it was not set
 *
 * Both go on while the host is suspended.  A VM that is restored is given the values that it
 * had when it was saved, before MOTE_SET_STATE: its clock and its TSCs go on from there,
 * together.  So no reading is below an earlier one, and between the two calls no time passes
 * for the guest; who wants that to count adds it to both.  A vCPU's TSC stays what it
 * is until MOTE_SET_STATE sets its offset.
 */
struct mote_clock_value {
	__u64 ns;
	__u64 tsc;
};

/**
 * struct mote_watch - MOTE_SET_WATCH: be told when the guest uses memory
 * @gpa: first byte, guest-physical, a multiple of 4096; there need not be a slot
 * @size: in bytes, a multiple of 4096
 * @access: %MOTE_ACCESS_READ, %MOTE_ACCESS_WRITE, %MOTE_ACCESS_EXEC: in place of what was watched
 *	there before; 0: nothing any more
 * @pad: zero
 *
 * Such an access of a vCPU, its page walks and deliveries of events among them, is a
 * %MOTE_EXIT_WATCH before it takes place; the guest's memory is not changed for it.  The next
 * MOTE_RUN lets it through: the instruction, with all its accesses and the delivery of what it
 * raises, and no interrupt before it.  Others of the VM's vCPUs run meanwhile, watched.  A VMM that
 * has completed the instruction itself (%MOTE_SET_COMPLETE, another RIP) has denied or changed it.
 *
 * Errors: EINVAL; E2BIG: more than 65,536 pages of a VM; ENOMEM, and EINTR: nothing has changed.
 */
struct mote_watch {
	__u64 gpa;
	__u64 size;
	__u32 access;
	__u32 pad;
};

#define MOTE_SET_SLOT _IOW(MOTE_IOC, 0x10, struct mote_slot)
#define MOTE_GET_DIRTY _IOW(MOTE_IOC, 0x11, struct mote_dirty)
#define MOTE_SET_FILTER _IOW(MOTE_IOC, 0x12, struct mote_filter)
#define MOTE_CREATE_VCPU _IOW(MOTE_IOC, 0x13, struct mote_vcpu_config)
#define MOTE_MSI _IOW(MOTE_IOC, 0x14, struct mote_msi)
#define MOTE_IRQFD _IOW(MOTE_IOC, 0x15, struct mote_irqfd)
#define MOTE_IOEVENTFD _IOW(MOTE_IOC, 0x16, struct mote_ioeventfd)
#define MOTE_GET_CLOCK _IOR(MOTE_IOC, 0x17, struct mote_clock_value)
#define MOTE_SET_CLOCK _IOW(MOTE_IOC, 0x18, struct mote_clock_value)
#define MOTE_SET_WATCH _IOW(MOTE_IOC, 0x19, struct mote_watch)

/* ---- vCPU: state ---------------------------------------------------------- */

/* Order of the general registers, as instructions encode them. */
enum mote_gpr {
	MOTE_RAX, MOTE_RCX, MOTE_RDX, MOTE_RBX, MOTE_RSP, MOTE_RBP, MOTE_RSI, MOTE_RDI,
	MOTE_R8, MOTE_R9, MOTE_R10, MOTE_R11, MOTE_R12, MOTE_R13, MOTE_R14, MOTE_R15,
	MOTE_NR_GPRS
};

/* Order of the segment registers, as instructions encode them. */
enum mote_seg {
	MOTE_ES, MOTE_CS, MOTE_SS, MOTE_DS, MOTE_FS, MOTE_GS, MOTE_LDTR, MOTE_TR,
	MOTE_NR_SEGS
};

/**
 * struct mote_segment - a segment register with its hidden part
 * @base: linear address
 * @limit: in bytes, after scaling by the granularity
 * @selector: visible part
 * @attr: bits 8 to 15 and 20 to 23 of a descriptor's second half, as bits 0 to
 *	7 (type, S, DPL, P) and 12 to 15 (AVL, L, D/B, G); bits 8 to 11 are
 *	zero.  SDM 3C, "Guest Register State".  A segment that is not usable
 *	has P clear.
 */
struct mote_segment {
	__u64 base;
	__u32 limit;
	__u16 selector;
	__u16 attr;
};

/**
 * struct mote_table - GDTR or IDTR
 * @base: linear address
 * @limit: size in bytes less one
 * @pad: zero
 */
struct mote_table {
	__u64 base;
	__u16 limit;
	__u16 pad[3];
};

struct mote_gprs {
	__u64 gpr[MOTE_NR_GPRS];
	__u64 rip;
	__u64 rflags;
};

struct mote_segs {
	struct mote_segment seg[MOTE_NR_SEGS];
	struct mote_table gdt;
	struct mote_table idt;
};

/**
 * struct mote_crs - control registers
 * @cr0: as the guest sees it
 * @cr2: linear address of the last page fault
 * @cr3: page-table base
 * @cr4: as the guest sees it
 * @cr8: task priority, 0 to 15
 * @xcr0: XFEATURE_ENABLED_MASK
 * @pdpte: PDPTE registers, in PAE paging, when %MOTE_CRS_PDPTE is set
 * @flags: %MOTE_CRS_PDPTE or 0.  Without it the PDPTEs are read from memory.
 */
struct mote_crs {
	__u64 cr0;
	__u64 cr2;
	__u64 cr3;
	__u64 cr4;
	__u64 cr8;
	__u64 xcr0;
	__u64 pdpte[4];
	__u64 flags;
};

#define MOTE_CRS_PDPTE (1u << 0)

struct mote_drs {
	__u64 dr[4];
	__u64 dr6;
	__u64 dr7;
};

/**
 * struct mote_msrs - the model-specific registers that a guest has
 *
 * Values are those of the MSR of the same name; a value that WRMSR would
 * refuse is refused with EINVAL.  Those from @pv_wall_clock on are the
 * paravirtual interface's (docs/guest-abi.md); @pv_eoi needs %MOTE_VM_LAPIC.
 * @pv_steal_ns is no MSR: the steal time that the guest has been told, in ns.
 */
struct mote_msrs {
	__u64 efer;
	__u64 star;
	__u64 lstar;
	__u64 cstar;
	__u64 sfmask;
	__u64 kernel_gs_base;
	__u64 sysenter_cs;
	__u64 sysenter_esp;
	__u64 sysenter_eip;
	__u64 pat;
	__u64 apic_base;
	__u64 misc_enable;
	__u64 mtrr_def_type;
	__u64 tsc_adjust;
	__u64 pv_wall_clock;
	__u64 pv_system_time;
	__u64 pv_steal_time;
	__u64 pv_eoi;
	__u64 pv_steal_ns;
	__u64 reserved[1];
};

/* Types of an event, as both vendors encode them (SDM 3C, "Event Injection"). */
#define MOTE_EVENT_INTERRUPT 0
#define MOTE_EVENT_NMI 2
#define MOTE_EVENT_EXCEPTION 3

/**
 * struct mote_event - an event for the guest
 * @valid: 1, or 0 for none
 * @type: %MOTE_EVENT_INTERRUPT, %MOTE_EVENT_NMI or %MOTE_EVENT_EXCEPTION
 * @vector: 0 to 255; of an exception 0 to 31; of an NMI 2
 * @has_error: 1 if @error is pushed
 * @error: error code
 */
struct mote_event {
	__u8 valid;
	__u8 type;
	__u8 vector;
	__u8 has_error;
	__u32 error;
};

/**
 * struct mote_events - what is pending, and what holds it off
 * @injected: event that the next entry delivers
 * @nmi_pending: NMIs that wait, 0 to 2
 * @nmi_blocked: 1 from the delivery of an NMI to its IRET
 * @shadow: %MOTE_SHADOW_STI, %MOTE_SHADOW_MOV_SS or 0
 * @halted: %MOTE_HALTED, %MOTE_WAITS_FOR_SIPI or 0
 * @pending_debug: pending debug exceptions, bits as in DR6 (SDM 3C, "Guest Non-Register State")
 */
struct mote_events {
	struct mote_event injected;
	__u8 nmi_pending;
	__u8 nmi_blocked;
	__u8 shadow;
	__u8 halted;
	__u32 pad;
	__u64 pending_debug;
};

/* HLT: the next interrupt, if RFLAGS.IF is set, or NMI goes on. */
#define MOTE_HALTED 1
/* After INIT (VMs with %MOTE_VM_LAPIC): only a start-up IPI goes on. */
#define MOTE_WAITS_FOR_SIPI 2

#define MOTE_SHADOW_STI 1
#define MOTE_SHADOW_MOV_SS 2

/**
 * struct mote_tsc - time
 * @offset: the vCPU's TSC less the VM's (&mote_clock_value.tsc), modulo 2^64
 * @value: out: the vCPU's TSC at the call; ignored on input
 */
struct mote_tsc {
	__u64 offset;
	__u64 value;
};

#define MOTE_APIC_REGS 64

/**
 * struct mote_apic - a local APIC
 * @reg: its registers, each at its offset in the xAPIC page / 16 (SDM 3A, "Local
 *	APIC Register Address Map"), in x2APIC mode too.  TPR's upper half is CR8;
 *	TMCCT is what the timer has left to count, and not 0 before it has fired.
 * @deadline: IA32_TSC_DEADLINE
 * @errors: what the next write to ESR will show
 * @signals: what else has come and waits for the vCPU: MOTE_APIC_*
 */
struct mote_apic {
	__u32 reg[MOTE_APIC_REGS];
	__u64 deadline;
	__u32 errors;
	__u32 signals;
};

/* &mote_apic.signals: INIT; a start-up IPI, with its vector; a hypercall that ends HLT. */
#define MOTE_APIC_VECTOR 0xffu
#define MOTE_APIC_STARTUP (1u << 8)
#define MOTE_APIC_INIT (1u << 9)
#define MOTE_APIC_WAKE (1u << 10)

#define MOTE_STATE_GPRS (1u << 0)
#define MOTE_STATE_SEGS (1u << 1)
#define MOTE_STATE_CRS (1u << 2)
#define MOTE_STATE_DRS (1u << 3)
#define MOTE_STATE_MSRS (1u << 4)
#define MOTE_STATE_EVENTS (1u << 5)
#define MOTE_STATE_TSC (1u << 6)
#define MOTE_STATE_XSAVE (1u << 7)
#define MOTE_STATE_ALL 0xffu
/* Only with %MOTE_VM_LAPIC, else EINVAL.  Is set after the other parts: CR8 follows TPR. */
#define MOTE_STATE_APIC (1u << 8)

/**
 * struct mote_state - MOTE_GET_STATE, MOTE_SET_STATE: a vCPU's state
 * @mask: which parts are asked for or given
 * @xsave_size: bytes at @xsave; in: room, at least what CPUID leaf 0xd
 *	subleaf 0 ECX says; out: bytes written
 * @gprs: %MOTE_STATE_GPRS
 * @segs: %MOTE_STATE_SEGS
 * @crs: %MOTE_STATE_CRS
 * @drs: %MOTE_STATE_DRS
 * @msrs: %MOTE_STATE_MSRS
 * @events: %MOTE_STATE_EVENTS
 * @tsc: %MOTE_STATE_TSC
 * @xsave: %MOTE_STATE_XSAVE: address of an XSAVE image in the standard format
 * @apic: %MOTE_STATE_APIC
 * @reserved: zero
 *
 * The state is the same on both vendors.  What is set is judged as a whole at
 * the next MOTE_RUN: an impossible combination is a %MOTE_EXIT_FAIL_ENTRY.
 *
 * A state to be restored is read when the vCPU's last exit is complete, and before the guest's
 * memory, to which reading may write.  It is set after MOTE_SET_CLOCK, and if in
 * several calls, %MOTE_STATE_GPRS not after %MOTE_STATE_EVENTS, and %MOTE_STATE_MSRS and
 * %MOTE_STATE_TSC before %MOTE_STATE_APIC.  No vCPU is run until all are set.
 */
struct mote_state {
	__u32 mask;
	__u32 xsave_size;
	struct mote_gprs gprs;
	struct mote_segs segs;
	struct mote_crs crs;
	struct mote_drs drs;
	struct mote_msrs msrs;
	struct mote_events events;
	struct mote_tsc tsc;
	__u64 xsave;
	struct mote_apic apic;
	__u64 reserved[8];
};

/* ---- vCPU: run ------------------------------------------------------------ */

/**
 * enum mote_exit_reason - why the guest stopped
 *
 * Vendor-neutral; the same numbers appear in &mote_run.reason, in the
 * tracepoints and in the counters.  Those marked "user" end MOTE_RUN.
 *
 * @MOTE_EXIT_NONE: handled by the vendor's code, nothing left to do; user with
 *	%MOTE_WINDOW_EXIT, after an exit that is not
 * @MOTE_EXIT_INTERRUPT: host interrupt; MOTE_RUN ends (EINTR) only for a
 *	signal or an immediate exit
 * @MOTE_EXIT_NMI: host NMI
 * @MOTE_EXIT_EXCEPTION: #DB, #AC or #MC in the guest; user if MOTE_SET_DEBUG asks for its
 *	vector: it is on its way then (&mote_events.injected)
 * @MOTE_EXIT_INTERRUPT_WINDOW: user: the requested interrupt window is open
 * @MOTE_EXIT_NMI_WINDOW: user: the requested NMI window is open
 * @MOTE_EXIT_CPUID: user if forwarded by a filter
 * @MOTE_EXIT_HLT: user with %MOTE_VM_HLT_EXIT
 * @MOTE_EXIT_PIO: user: port I/O
 * @MOTE_EXIT_RDMSR: user if unknown or forwarded
 * @MOTE_EXIT_WRMSR: user if unknown or forwarded
 * @MOTE_EXIT_HYPERCALL: user if unknown or forwarded
 * @MOTE_EXIT_MMIO: user: access to guest-physical memory without a slot, or
 *	a write to a read-only one
 * @MOTE_EXIT_NPF: nested page fault, handled
 * @MOTE_EXIT_XSETBV: handled
 * @MOTE_EXIT_CR: control-register access, handled
 * @MOTE_EXIT_DR: debug-register access; user with %MOTE_DEBUG_DRS
 * @MOTE_EXIT_CACHE: INVD or WBINVD, handled
 * @MOTE_EXIT_PMC: RDPMC, handled
 * @MOTE_EXIT_MWAIT: MONITOR or MWAIT, handled
 * @MOTE_EXIT_PAUSE: pause loop, handled
 * @MOTE_EXIT_UNDEFINED: an instruction that this guest does not have: #UD
 * @MOTE_EXIT_SHUTDOWN: user: triple fault
 * @MOTE_EXIT_FAIL_ENTRY: user: the state is one that no CPU enters
 * @MOTE_EXIT_MEMORY: user: a slot's memory cannot be had from its owner
 *	(unmapped, no permission, file truncated), or must not be written yet
 *	(&mote_run.dirty_quota)
 * @MOTE_EXIT_INIT: INIT signal, handled
 * @MOTE_EXIT_TIMER: VMX-preemption timer, handled
 * @MOTE_EXIT_UNKNOWN: user: an exit that mote does not know; no action of a guest is known to
 *	lead here
 * @MOTE_EXIT_EOI: user: the guest has ended a level-triggered interrupt; the
 *	instruction is complete
 * @MOTE_EXIT_TASK_SWITCH: user: a task switch, on CPUs that make none in a guest
 * @MOTE_EXIT_WATCH: user: an access that is watched (MOTE_SET_WATCH)
 * @MOTE_EXIT_RDTSC: user with %MOTE_VM_RDTSC_EXIT
 */
enum mote_exit_reason {
	MOTE_EXIT_NONE = 0,
	MOTE_EXIT_INTERRUPT = 1,
	MOTE_EXIT_NMI = 2,
	MOTE_EXIT_EXCEPTION = 3,
	MOTE_EXIT_INTERRUPT_WINDOW = 4,
	MOTE_EXIT_NMI_WINDOW = 5,
	MOTE_EXIT_CPUID = 6,
	MOTE_EXIT_HLT = 7,
	MOTE_EXIT_PIO = 8,
	MOTE_EXIT_RDMSR = 9,
	MOTE_EXIT_WRMSR = 10,
	MOTE_EXIT_HYPERCALL = 11,
	MOTE_EXIT_MMIO = 12,
	MOTE_EXIT_NPF = 13,
	MOTE_EXIT_XSETBV = 14,
	MOTE_EXIT_CR = 15,
	MOTE_EXIT_DR = 16,
	MOTE_EXIT_CACHE = 17,
	MOTE_EXIT_PMC = 18,
	MOTE_EXIT_MWAIT = 19,
	MOTE_EXIT_PAUSE = 20,
	MOTE_EXIT_UNDEFINED = 21,
	MOTE_EXIT_SHUTDOWN = 22,
	MOTE_EXIT_FAIL_ENTRY = 23,
	MOTE_EXIT_MEMORY = 24,
	MOTE_EXIT_INIT = 25,
	MOTE_EXIT_TIMER = 26,
	MOTE_EXIT_UNKNOWN = 27,
	MOTE_EXIT_EOI = 28,
	MOTE_EXIT_TASK_SWITCH = 29,
	MOTE_EXIT_WATCH = 30,
	MOTE_EXIT_RDTSC = 31,
	MOTE_NR_EXITS
};

/**
 * enum mote_check - a check that a state has to pass: &mote_run.fail.check
 *
 * mote_check_text() of libmote has each in words, and mote_check_section() the
 * manual's section that has it.  Numbers keep their meaning: new checks come
 * last.  Of several that fail the lowest is named.
 *
 * @MOTE_CHECK_NONE: the state passes all of them, the hardware refuses it
 * @MOTE_CHECK_NO_MEMORY: no memory to look which one the hardware means
 */
enum mote_check {
	MOTE_CHECK_NONE, MOTE_CHECK_NO_MEMORY,
	MOTE_CHECK_CR0_RESERVED, MOTE_CHECK_CR0_NW, MOTE_CHECK_CR0_PG, MOTE_CHECK_CR3_RESERVED,
	MOTE_CHECK_CR4_VMXE, MOTE_CHECK_CR4_RESERVED,
	MOTE_CHECK_EFER_SVME, MOTE_CHECK_EFER_RESERVED, MOTE_CHECK_EFER_LMA, MOTE_CHECK_EFER_PAE,
	MOTE_CHECK_CR4_PCIDE, MOTE_CHECK_CR8_RESERVED, MOTE_CHECK_XCR0, MOTE_CHECK_MSR_VALUES,
	MOTE_CHECK_DR6_HIGH, MOTE_CHECK_DR7_HIGH, MOTE_CHECK_PDPTES,
	MOTE_CHECK_RFLAGS_BIT1, MOTE_CHECK_RFLAGS_RESERVED, MOTE_CHECK_RFLAGS_VM_LONG,
	MOTE_CHECK_RFLAGS_VM_REAL,
	MOTE_CHECK_ATTR_RESERVED, MOTE_CHECK_V86_SEGMENTS,
	MOTE_CHECK_CS_PRESENT, MOTE_CHECK_CS_TYPE, MOTE_CHECK_CS_DATA_DPL, MOTE_CHECK_CS_DPL,
	MOTE_CHECK_CS_CONFORMING_DPL, MOTE_CHECK_CS_L_D, MOTE_CHECK_CS_BASE,
	MOTE_CHECK_SS_TYPE, MOTE_CHECK_SS_DPL,
	MOTE_CHECK_DATA_SYSTEM, MOTE_CHECK_DATA_TYPE, MOTE_CHECK_DATA_BASE, MOTE_CHECK_FS_GS_BASE,
	MOTE_CHECK_LIMITS,
	MOTE_CHECK_TR_USABLE, MOTE_CHECK_TR_TYPE, MOTE_CHECK_TR_SELECTOR, MOTE_CHECK_TR_BASE,
	MOTE_CHECK_LDTR_TYPE, MOTE_CHECK_LDTR_SELECTOR, MOTE_CHECK_LDTR_BASE,
	MOTE_CHECK_GDTR_BASE, MOTE_CHECK_IDTR_BASE,
	MOTE_CHECK_RIP_HIGH, MOTE_CHECK_RIP_CANONICAL,
	MOTE_CHECK_SHADOW_BOTH, MOTE_CHECK_SHADOW_IF, MOTE_CHECK_HALTED_CPL,
	MOTE_CHECK_HALTED_SHADOW, MOTE_CHECK_PENDING_RESERVED, MOTE_CHECK_PENDING_BS,
	MOTE_CHECK_EVENT, MOTE_CHECK_EVENT_INTERRUPT, MOTE_CHECK_EVENT_NMI,
	MOTE_CHECK_EVENT_ERROR, MOTE_CHECK_EVENT_64BIT,
	MOTE_NR_CHECKS
};

/* &mote_run.window */
#define MOTE_WINDOW_INTERRUPT (1u << 0)
#define MOTE_WINDOW_NMI (1u << 1)
/*
 * After an exit, also one that has been handled, but for %MOTE_EXIT_DR: MOTE_RUN ends with it, or
 * with %MOTE_EXIT_NONE.  Which it was, &mote_run.exits has counted; a vCPU that has slept in HLT
 * may come back without one.
 */
#define MOTE_WINDOW_EXIT (1u << 2)

/* &mote_run.set: bit n < 16: gpr[n]; and */
#define MOTE_SET_RIP (1u << 16)
#define MOTE_SET_RFLAGS (1u << 17)
/*
 * The instruction that ended the last run is complete: RIP moves behind it
 * (to rip with MOTE_SET_RIP, else to next_rip, which must be known), an STI or
 * MOV-SS shadow ends, and with RFLAGS.TF a single-step trap follows.
 */
#define MOTE_SET_COMPLETE (1u << 31)

/**
 * struct mote_cpu_mode - what it takes to find and to read the instruction that exited
 * @cr0: as the guest sees it
 * @cr3: page-table base
 * @cr4: as the guest sees it
 * @efer: as the guest sees it
 * @cs_base: linear address of the code segment
 * @cs_attr: as in &struct mote_segment
 * @cpl: current privilege level
 * @pad: zero
 */
struct mote_cpu_mode {
	__u64 cr0;
	__u64 cr3;
	__u64 cr4;
	__u64 efer;
	__u64 cs_base;
	__u16 cs_attr;
	__u8 cpl;
	__u8 pad[5];
};

/* &mote_run.pio.flags */
#define MOTE_PIO_IN (1u << 0)
#define MOTE_PIO_STRING (1u << 1) /* INS or OUTS: user space does all of it, registers too */
#define MOTE_PIO_REP (1u << 2)

/* &mote_run.memory.access */
#define MOTE_ACCESS_READ (1u << 0)
#define MOTE_ACCESS_WRITE (1u << 1)
#define MOTE_ACCESS_EXEC (1u << 2)
/* The CPU walks the guest's own page tables for another access: gpa is an entry's. */
#define MOTE_ACCESS_WALK (1u << 3)

/* How a task switch came about: SDM 3C, "Exit Qualification for Task Switches". */
#define MOTE_TASK_CALL 0
#define MOTE_TASK_IRET 1
#define MOTE_TASK_JMP 2
#define MOTE_TASK_GATE 3 /* a task gate in the IDT */

/* &mote_task_switch.event.type, beside MOTE_EVENT_*: next_rip is behind the instruction */
#define MOTE_EVENT_INT 4 /* INT n */
#define MOTE_EVENT_INT1 5
#define MOTE_EVENT_INT3 6 /* and INTO */

/**
 * struct mote_task_switch - a task switch that the CPU leaves to user space
 * @selector: of the new task's TSS
 * @how: MOTE_TASK_*
 * @pad: zero
 * @event: valid with %MOTE_TASK_GATE: what came through the gate
 *
 * The CPU has checked the gate, privileges, and the TSS's descriptor (SDM 3C,
 * "Treatment of Task Switches").  The event is no more waiting for delivery,
 * and what blocks NMIs is as after the switch: complete it before anything else.
 */
struct mote_task_switch {
	__u16 selector;
	__u8 how;
	__u8 pad[5];
	struct mote_event event;
};

/**
 * struct mote_pio - port I/O: %MOTE_EXIT_PIO
 * @port: first port
 * @size: 1, 2 or 4 bytes
 * @flags: MOTE_PIO_*
 */
struct mote_pio {
	__u16 port;
	__u8 size;
	__u8 flags;
};

/**
 * struct mote_memory - an access to memory that is not there, or is watched: %MOTE_EXIT_MMIO,
 *	%MOTE_EXIT_MEMORY, %MOTE_EXIT_WATCH
 * @gpa: guest-physical address
 * @hva: of %MOTE_EXIT_MEMORY: where it would be in the VMM process
 * @access: MOTE_ACCESS_*
 * @error: of %MOTE_EXIT_MEMORY: a negative errno; -EDQUOT: see &mote_run.dirty_quota; of
 *	%MOTE_EXIT_WATCH: 0, or -EAGAIN: the instruction (PUSHF, IRET, SYSCALL and the like) cannot
 *	be let through here without the guest's noticing: user space steps over it, with
 *	%MOTE_DEBUG_UNWATCHED; @access is 0 if only that is wanted of it
 */
struct mote_memory {
	__u64 gpa;
	__u64 hva;
	__u32 access;
	__s32 error;
};

/**
 * struct mote_run - the page shared with the runner: mmap of a vCPU's fd, offset 0
 * @immediate_exit: in: not 0: MOTE_RUN returns EINTR before it enters the
 *	guest.  May be set by a signal handler, which closes the race between
 *	a signal and the entry.
 * @window: in: MOTE_WINDOW_*: end the run when it opens
 * @pad: zero
 * @set: in: which of @gpr, @rip and @rflags have been changed; read and cleared by MOTE_RUN
 * @reason: out: &enum mote_exit_reason
 * @raw_reason: out: the vendor's number: basic exit reason, EXITCODE
 * @next_rip: out: RIP behind the instruction; 0 where it is not known (MMIO)
 * @gpr: out and in: general registers
 * @rip: out and in: address of the instruction that exited
 * @rflags: out and in
 * @mode: out: for MMIO, watches and string I/O only
 * @pio: %MOTE_EXIT_PIO: data of an OUT is in @gpr; data of an IN goes there
 * @memory: %MOTE_EXIT_MMIO, %MOTE_EXIT_MEMORY, %MOTE_EXIT_WATCH; hva for the second, error for the
 *	last two
 * @msr: %MOTE_EXIT_RDMSR, %MOTE_EXIT_WRMSR
 * @eoi: %MOTE_EXIT_EOI
 * @task: %MOTE_EXIT_TASK_SWITCH
 * @exception: %MOTE_EXIT_EXCEPTION
 * @fail: %MOTE_EXIT_FAIL_ENTRY: the failed check (&enum mote_check), and the
 *	hardware's own code where it was asked
 * @exits: counted by &enum mote_exit_reason, from the vCPU's creation on; may be
 *	read while it runs
 * @dirty_pages: pages of slots with %MOTE_SLOT_LOG_DIRTY that this vCPU was the first to
 *	write since the log was taken, from its creation on; likewise
 * @dirty_quota: in, at any time: with as many @dirty_pages the next write to a page that is
 *	not in a log yet is a %MOTE_EXIT_MEMORY with EDQUOT; 0: there is no such limit.  With
 *	%MOTE_FEATURE_PML it is made, and what comes is the exit behind it, without an address
 *
 * What is "in" is read once, at the start of MOTE_RUN, unless it says otherwise; what is "out"
 * is written at its end and never read back, but for @dirty_pages.
 */
struct mote_run {
	__u8 immediate_exit;
	__u8 window;
	__u16 pad;
	__u32 set;

	__u32 reason;
	__u32 raw_reason;
	__u64 next_rip;

	__u64 gpr[MOTE_NR_GPRS];
	__u64 rip;
	__u64 rflags;

	struct mote_cpu_mode mode;

	union {
		struct mote_pio pio;
		struct mote_memory memory;
		struct {
			__u32 index;
			__u32 pad;
			__u64 data;
		} msr;
		struct {
			__u8 vector;
		} eoi;
		struct mote_task_switch task;
		struct mote_event exception;
		struct {
			__u64 hardware;
			__u32 check;
			__u32 pad;
		} fail;
		__u64 reserved[64];
	};

	__u64 exits[64];

	__u64 dirty_pages;
	__u64 dirty_quota;
};

#define MOTE_RUN_SIZE 4096

/**
 * struct mote_apic_access - MOTE_APIC_ACCESS: complete an access to the xAPIC page
 * @offset: in the page, a multiple of 16
 * @write: 1, or 0 for a read
 * @value: to be written, or out: read
 * @eoi: out: vector of a level-triggered interrupt that the write has ended, or -1
 *
 * For the MMIO exit of an access of 32 bits while the APIC is in xAPIC mode.
 */
struct mote_apic_access {
	__u32 offset;
	__u32 write;
	__u32 value;
	__s32 eoi;
};

/* MOV to or from a debug register ends MOTE_RUN with %MOTE_EXIT_DR: user space completes it. */
#define MOTE_DEBUG_DRS (1u << 0)
/* The local APIC's interrupts wait. */
#define MOTE_DEBUG_HOLD (1u << 1)

/* No watch applies to this vCPU. */
#define MOTE_DEBUG_UNWATCHED (1u << 2)

/* Vectors that no debugger is asked about: NMI, #DF, #MC. */
#define MOTE_DEBUG_NEVER (1u << 2 | 1u << 8 | 1u << 18)

/**
 * struct mote_debug - MOTE_SET_DEBUG: what a debugger wants of a vCPU, instead of earlier wishes
 * @exceptions: vectors, a bit each, whose exceptions end MOTE_RUN; none of %MOTE_DEBUG_NEVER
 * @flags: %MOTE_DEBUG_DRS, %MOTE_DEBUG_HOLD, %MOTE_DEBUG_UNWATCHED
 *
 * An exception that ends MOTE_RUN has raised what it raises without a debugger: the guest gets it
 * at the next entry, unless &mote_events.injected is set to something else.  CR2 and DR6 are as its
 * handler finds them, RIP is behind an INT3 or INTO.
 *
 * The debugger's breakpoints are in the vCPU's debug registers, its single steps are RFLAGS.TF, by
 * MOTE_SET_STATE: what the guest is to see of both is the debugger's to keep apart.
 */
struct mote_debug {
	__u32 exceptions;
	__u32 flags;
};

/**
 * struct mote_field - MOTE_GET_FIELD: what the VMCS or VMCB holds of a vCPU
 * @number: of VT-x, a field's encoding (SDM 3D, "Field Encoding in VMCS"); of AMD-V, an offset
 *	(APM 2, "VMCB Layout"), a multiple of 8
 * @pad: zero
 * @value: out: the field, 0 where the CPU does not have it; or 8 bytes
 *
 * For those who want to see what a vendor does, and not what it means, which is MOTE_GET_STATE's.
 * What is the host's is refused: its state, and addresses, but for the low 12 bits of a nested
 * page table's.
 */
struct mote_field {
	__u32 number;
	__u32 pad;
	__u64 value;
};

#define MOTE_RUN _IO(MOTE_IOC, 0x20)
#define MOTE_GET_STATE _IOWR(MOTE_IOC, 0x21, struct mote_state)
#define MOTE_SET_STATE _IOW(MOTE_IOC, 0x22, struct mote_state)
#define MOTE_SET_CPUID _IOW(MOTE_IOC, 0x23, struct mote_cpuid_table)
/*
 * Any thread may send an NMI at any time: it waits until the guest takes NMIs
 * (two can wait, a third is merged, as on hardware) and wakes a halted vCPU.
 * Interrupts and exceptions come from the thread that runs the vCPU: nothing
 * else may be injected already (EBUSY), and an interrupt needs RFLAGS.IF and no
 * shadow (EAGAIN: ask for a window).
 *
 * With %MOTE_VM_LAPIC these interrupts are an 8259's: the local APIC lets them
 * through while LVT0 is unmasked with delivery mode ExtINT, or the APIC is off
 * (IA32_APIC_BASE).  Until then the window does not open, and EAGAIN is returned.
 */
#define MOTE_INJECT _IOW(MOTE_IOC, 0x24, struct mote_event)
#define MOTE_APIC_ACCESS _IOWR(MOTE_IOC, 0x25, struct mote_apic_access)
#define MOTE_SET_DEBUG _IOW(MOTE_IOC, 0x26, struct mote_debug)
#define MOTE_GET_FIELD _IOWR(MOTE_IOC, 0x28, struct mote_field)

/* ---- tracepoints ------------------------------------------------------------ */

/*
 * Of the events of kmod/trace/trace.h: names, the order and meaning of their arguments, and the
 * numbers in them.  docs/tracing.md says what may change without a new version.
 */
#define MOTE_TRACE_VERSION 1

/* mote_exit_handled, where: the vCPU was never unloaded, it was, MOTE_RUN ended in between. */
#define MOTE_HANDLED_FAST 0
#define MOTE_HANDLED_KERNEL 1
#define MOTE_HANDLED_USER 2

/* mote_vcpu_state, state: RUN: MOTE_RUN has begun; USER: it has ended */
#define MOTE_VCPU_CREATED 0
#define MOTE_VCPU_RUN 1
#define MOTE_VCPU_USER 2
#define MOTE_VCPU_DESTROYED 3

/* ---- guest ----------------------------------------------------------------- */

/*
 * mote's own hypercalls, beside KVM's: number in RAX, arguments in RBX, RCX, RDX and
 * RSI, the result in RAX; docs/guest-abi.md.
 */
#define MOTE_HYPERCALL_NOP 0x4d000000	/* 0: the price of an exit */
#define MOTE_HYPERCALL_EXITS 0x4d000001	/* exits so far for the reason in RBX */

/* CPUID leaf 0x40000001, EAX: the hypercalls above. */
#define MOTE_GUEST_HYPERCALLS (1u << 0)

#endif /* _UAPI_MOTE_H */
