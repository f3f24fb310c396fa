// SPDX-License-Identifier: GPL-2.0
/* One vocabulary for what a VMCS and a VMCB hold, and where the manuals have it. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include <asm/svm.h>
#include <asm/vmx.h>

#include <libmote.h>

#include "runner.h"
#include "step.h"

/* ---- fields: SDM 3D, "Field Encoding in VMCS"; APM 2, "VMCB Layout" --------------------------- */

#define VMX(section, name, number) .vmx = { name, "SDM 3C, \"" section "\"", number, 8 }
#define SVM(section, name, offset, size) .svm = { name, "APM 2, \"" section "\"", offset, size }

#define BASIC "Basic VM-Exit Information"
#define DELIVERY "Information for VM Exits That Occur During Event Delivery"
#define EXECUTED "Information for VM Exits Due to Instruction Execution"
#define PROCESSOR "Processor-Based VM-Execution Controls"
#define MASKS "Guest/Host Masks and Read Shadows for CR0 and CR4"
#define REGISTERS "Guest Register State"
#define NON_REGISTERS "Guest Non-Register State"
#define OPERATION "Intercept Operation"
#define LAYOUT "VMCB Layout"

/* Of the segment registers, in the order of the encodings. */
#define SEGMENT(name, i, offset)									\
	{ name ".selector", VMX(REGISTERS, name " selector", 0x0800 + 2 * (i)),				\
	  SVM(LAYOUT, name " selector", offset, 2) },							\
	{ name ".attr", VMX(REGISTERS, name " access rights", 0x4814 + 2 * (i)),			\
	  SVM(LAYOUT, name " attrib", (offset) + 2, 2) },						\
	{ name ".limit", VMX(REGISTERS, name " limit", 0x4800 + 2 * (i)),				\
	  SVM(LAYOUT, name " limit", (offset) + 4, 4) },						\
	{ name ".base", VMX(REGISTERS, name " base", 0x6806 + 2 * (i)),					\
	  SVM(LAYOUT, name " base", (offset) + 8, 8) }

const struct step_field step_fields[] = {
	{ "exit-reason", VMX(BASIC, "exit reason", 0x4402), SVM("#VMEXIT", "EXITCODE", 0x070, 8) },
	{ "exit-info", VMX(BASIC, "exit qualification", 0x6400), SVM("#VMEXIT", "EXITINFO1", 0x078, 8) },
	{ "exit-address", VMX(BASIC, "guest-physical address", 0x2400),
	  SVM("#VMEXIT", "EXITINFO2", 0x080, 8) },
	{ "exit-linear", VMX(BASIC, "guest-linear address", 0x640a) },
	{ "exit-event", VMX("Information for VM Exits Due to Vectored Events",
			    "VM-exit interruption information", 0x4404) },
	{ "cut-short", VMX(DELIVERY, "IDT-vectoring information", 0x4408),
	  SVM("Intercepts During IDT Interrupt Delivery", "EXITINTINFO", 0x088, 8) },
	{ "insn-length", VMX(EXECUTED, "VM-exit instruction length", 0x440c) },
	{ "next-rip", SVM("State Saved on Exit", "nRIP", 0x0c8, 8) },

	{ "intercepts", VMX(PROCESSOR, "primary controls", 0x4002),
	  SVM(OPERATION, "intercepts, vector 3", 0x00c, 4) },
	{ "intercepts-2", VMX(PROCESSOR, "secondary controls", 0x401e),
	  SVM(OPERATION, "intercepts, vector 4", 0x010, 4) },
	{ "exceptions", VMX("Exception Bitmap", "exception bitmap", 0x4004),
	  SVM(OPERATION, "intercepted exceptions", 0x008, 4) },
	{ "cr-intercepts", SVM(OPERATION, "intercepted CR accesses", 0x000, 4) },
	{ "dr-intercepts", SVM(OPERATION, "intercepted DR accesses", 0x004, 4) },
	{ "cr0-mask", VMX(MASKS, "CR0 guest/host mask", 0x6000) },
	{ "cr0-shadow", VMX(MASKS, "CR0 read shadow", 0x6004) },
	{ "cr4-mask", VMX(MASKS, "CR4 guest/host mask", 0x6002) },
	{ "cr4-shadow", VMX(MASKS, "CR4 read shadow", 0x6006) },
	{ "pin-controls", VMX("Pin-Based VM-Execution Controls", "pin-based controls", 0x4000) },
	{ "exit-controls", VMX("VM-Exit Control Fields", "VM-exit controls", 0x400c) },
	{ "entry-controls", VMX("VM-Entry Control Fields", "VM-entry controls", 0x4012) },
	{ "virtual-interrupt", SVM("Interrupt and Local APIC Support", "V_TPR, V_IRQ, ...", 0x060, 8) },
	{ "nested-root", VMX("Extended-Page-Table Pointer (EPTP)", "EPTP but the address", 0x201a),
	  SVM("Nested Paging", "N_CR3 but the address", 0x0b0, 8) },
	{ "nested-paging", SVM("Nested Paging", "NP_ENABLE", 0x090, 8) },
	{ "tag", VMX("Virtual-Processor Identifier (VPID)", "VPID", 0x0000),
	  SVM("TLB Control", "guest ASID", 0x058, 4) },
	{ "tlb-control", SVM("TLB Control", "TLB_CONTROL", 0x05c, 1) },
	{ "clean-bits", SVM("VMCB State Caching", "VMCB clean bits", 0x0c0, 4) },
	{ "tsc-offset", VMX("Time-Stamp Counter Offset and Multiplier", "TSC offset", 0x2010),
	  SVM(LAYOUT, "TSC_OFFSET", 0x050, 8) },

	{ "interruptibility", VMX(NON_REGISTERS, "interruptibility state", 0x4824),
	  SVM(LAYOUT, "INTERRUPT_SHADOW", 0x068, 8) },
	{ "activity", VMX(NON_REGISTERS, "activity state", 0x4826) },
	{ "pending-debug", VMX(NON_REGISTERS, "pending debug exceptions", 0x6822) },
	{ "preemption-timer", VMX(NON_REGISTERS, "VMX-preemption timer value", 0x482e) },

	{ "rip", VMX(REGISTERS, "RIP", 0x681e), SVM(LAYOUT, "RIP", 0x578, 8) },
	{ "rsp", VMX(REGISTERS, "RSP", 0x681c), SVM(LAYOUT, "RSP", 0x5d8, 8) },
	{ "rflags", VMX(REGISTERS, "RFLAGS", 0x6820), SVM(LAYOUT, "RFLAGS", 0x570, 8) },
	{ "rax", SVM(LAYOUT, "RAX", 0x5f8, 8) },
	{ "cpl", SVM(LAYOUT, "CPL", 0x4cb, 1) },
	{ "cr0", VMX(REGISTERS, "CR0", 0x6800), SVM(LAYOUT, "CR0", 0x558, 8) },
	{ "cr2", SVM(LAYOUT, "CR2", 0x640, 8) },
	{ "cr3", VMX(REGISTERS, "CR3", 0x6802), SVM(LAYOUT, "CR3", 0x550, 8) },
	{ "cr4", VMX(REGISTERS, "CR4", 0x6804), SVM(LAYOUT, "CR4", 0x548, 8) },
	{ "dr6", SVM(LAYOUT, "DR6", 0x568, 8) },
	{ "dr7", VMX(REGISTERS, "DR7", 0x681a), SVM(LAYOUT, "DR7", 0x560, 8) },
	{ "efer", VMX(REGISTERS, "IA32_EFER", 0x2806), SVM(LAYOUT, "EFER", 0x4d0, 8) },
	{ "pat", VMX(REGISTERS, "IA32_PAT", 0x2804), SVM(LAYOUT, "G_PAT", 0x668, 8) },
	SEGMENT("es", 0, 0x400), SEGMENT("cs", 1, 0x410), SEGMENT("ss", 2, 0x420), SEGMENT("ds", 3, 0x430),
	SEGMENT("fs", 4, 0x440), SEGMENT("gs", 5, 0x450), SEGMENT("ldtr", 6, 0x470), SEGMENT("tr", 7, 0x490),
	{ "gdtr.limit", VMX(REGISTERS, "GDTR limit", 0x4810), SVM(LAYOUT, "GDTR limit", 0x464, 4) },
	{ "gdtr.base", VMX(REGISTERS, "GDTR base", 0x6816), SVM(LAYOUT, "GDTR base", 0x468, 8) },
	{ "idtr.limit", VMX(REGISTERS, "IDTR limit", 0x4812), SVM(LAYOUT, "IDTR limit", 0x484, 4) },
	{ "idtr.base", VMX(REGISTERS, "IDTR base", 0x6818), SVM(LAYOUT, "IDTR base", 0x488, 8) },
	{ 0 },
};

_Static_assert(ARRAY_SIZE(step_fields) <= STEP_FIELDS_MOST, "STEP_FIELDS_MOST");

int step_read_fields(int vcpu, unsigned int vendor, __u64 values[STEP_FIELDS_MOST])
{
	int err = 0;

	memset(values, 0, STEP_FIELDS_MOST * sizeof(*values));
	for (int i = 0; step_fields[i].name && !err; i++) {
		const struct step_where *where = step_where(&step_fields[i], vendor);
		bool is_svm = vendor == MOTE_VENDOR_SVM;
		struct mote_field field = { .number = is_svm ? where->number & ~7 : where->number };

		if (!where->name)
			continue;
		err = mote_get_field(vcpu, &field);
		/* Eight bytes of the VMCB may hold several. */
		if (is_svm)
			field.value >>= where->number % 8 * 8;
		values[i] = where->size < 8 ? field.value & ((1ull << where->size * 8) - 1) : field.value;
	}
	return err;
}

/* ---- exits: SDM 3D, "VMX Basic Exit Reasons"; APM 2, "SVM Intercept Codes" -------------------- */

struct exit_name {
	unsigned int raw;
	const char *name;
};

static const struct exit_name vmx_exits[] = { VMX_EXIT_REASONS };

#define EXIT(name) { SVM_EXIT_##name, #name }

static const struct exit_name svm_exits[] = {
	EXIT(INTR), EXIT(NMI), EXIT(SMI), EXIT(INIT), EXIT(VINTR), EXIT(CR0_SEL_WRITE), EXIT(RDPMC),
	EXIT(CPUID), EXIT(RSM), EXIT(IRET), EXIT(INVD), EXIT(PAUSE), EXIT(HLT), EXIT(INVLPGA), EXIT(IOIO),
	EXIT(MSR), EXIT(TASK_SWITCH), EXIT(FERR_FREEZE), EXIT(SHUTDOWN), EXIT(VMRUN), EXIT(VMMCALL),
	EXIT(VMLOAD), EXIT(VMSAVE), EXIT(STGI), EXIT(CLGI), EXIT(SKINIT), EXIT(RDTSCP), EXIT(WBINVD),
	EXIT(MONITOR), EXIT(MWAIT), EXIT(XSETBV), EXIT(NPF), { SVM_EXIT_ERR, "INVALID" },
};

static const char *find_name(const struct exit_name *names, size_t nr, unsigned int raw)
{
	for (size_t i = 0; i < nr; i++)
		if (names[i].raw == raw)
			return names[i].name;
	return NULL;
}

void step_exit_name(unsigned int vendor, unsigned int raw, char *name, size_t size)
{
	bool is_vmx = vendor == MOTE_VENDOR_VMX;
	const char *found = is_vmx ? find_name(vmx_exits, ARRAY_SIZE(vmx_exits), raw & 0xffff) :
				     find_name(svm_exits, ARRAY_SIZE(svm_exits), raw);

	if (found)
		snprintf(name, size, "%s%s", is_vmx ? "" : "VMEXIT_", found);
	else if (!is_vmx && raw < SVM_EXIT_EXCP_BASE)
		snprintf(name, size, "VMEXIT_%sR%u_%s", raw < SVM_EXIT_READ_DR0 ? "C" : "D", raw & 15,
			 raw & 16 ? "WRITE" : "READ");
	else if (!is_vmx && raw < SVM_EXIT_EXCP_BASE + 32)
		snprintf(name, size, "VMEXIT_EXCP%u", raw - SVM_EXIT_EXCP_BASE);
	else
		snprintf(name, size, "unknown");
}

#define SDM(title) "SDM 3C, \"" title "\""
#define APM(title) "APM 2, \"" title "\""
#define ALWAYS SDM("Instructions That Cause VM Exits Unconditionally")
#define SOMETIMES SDM("Instructions That Cause VM Exits Conditionally")
#define OTHERS SDM("Other Causes of VM Exits")
#define VIOLATION SDM("EPT Violations")
#define INSTRUCTION APM("Instruction Intercepts")
#define NESTED APM("Nested versus Guest Page Faults, Fault Ordering")

const char *step_exit_section(unsigned int vendor, unsigned int reason)
{
	static const char *const sections[][2] = {
		[MOTE_EXIT_INTERRUPT] = { OTHERS, APM("Interrupt Intercepts") },
		[MOTE_EXIT_NMI] = { OTHERS, APM("Interrupt Intercepts") },
		[MOTE_EXIT_EXCEPTION] = { SDM("Exception Bitmap"), APM("Exception Intercepts") },
		[MOTE_EXIT_INTERRUPT_WINDOW] = { OTHERS, APM("Interrupt and Local APIC Support") },
		[MOTE_EXIT_NMI_WINDOW] = { OTHERS, APM("Interrupt Intercepts") },
		[MOTE_EXIT_CPUID] = { ALWAYS, INSTRUCTION },
		[MOTE_EXIT_HLT] = { SOMETIMES, INSTRUCTION },
		[MOTE_EXIT_PIO] = { SDM("Exit Qualification for I/O Instructions"), APM("IOIO Intercepts") },
		[MOTE_EXIT_RDMSR] = { SDM("MSR-Bitmap Address"), APM("MSR Intercepts") },
		[MOTE_EXIT_WRMSR] = { SDM("MSR-Bitmap Address"), APM("MSR Intercepts") },
		[MOTE_EXIT_HYPERCALL] = { ALWAYS, APM("VMMCALL Instruction") },
		[MOTE_EXIT_MMIO] = { VIOLATION, NESTED },
		[MOTE_EXIT_NPF] = { VIOLATION, NESTED },
		[MOTE_EXIT_XSETBV] = { ALWAYS, INSTRUCTION },
		[MOTE_EXIT_CR] = { SDM("Exit Qualification for Control-Register Accesses"), INSTRUCTION },
		[MOTE_EXIT_DR] = { SOMETIMES, INSTRUCTION },
		[MOTE_EXIT_CACHE] = { SOMETIMES, INSTRUCTION },
		[MOTE_EXIT_PMC] = { SOMETIMES, INSTRUCTION },
		[MOTE_EXIT_MWAIT] = { SOMETIMES, INSTRUCTION },
		[MOTE_EXIT_PAUSE] = { SOMETIMES, APM("Pause Intercept Filtering") },
		[MOTE_EXIT_SHUTDOWN] = { OTHERS, APM("Shutdown Intercept") },
		[MOTE_EXIT_FAIL_ENTRY] = { SDM("VM-Entry Failures During or After Loading Guest State"),
					   APM("Canonicalization and Consistency Checks") },
		[MOTE_EXIT_MEMORY] = { VIOLATION, NESTED },
		[MOTE_EXIT_INIT] = { OTHERS, APM("INIT Support") },
		[MOTE_EXIT_TIMER] = { SDM("VMX-Preemption Timer"), NULL },
		[MOTE_EXIT_TASK_SWITCH] = { SDM("Exit Qualification for Task Switches"), INSTRUCTION },
		[MOTE_EXIT_WATCH] = { VIOLATION, NESTED },
	};
	bool is_vmx = vendor == MOTE_VENDOR_VMX;
	const char *section = reason < ARRAY_SIZE(sections) ? sections[reason][!is_vmx] : NULL;

	return section ? section : is_vmx ? SDM("VM Exits") : APM("#VMEXIT");
}
