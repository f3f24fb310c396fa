// SPDX-License-Identifier: GPL-2.0
/* libmote: the checks that a state has to pass, in words, and the manuals' sections that say so. */
#include "libmote.h"

#define SDM_CRS "SDM 3C, \"Checks on Guest Control Registers, Debug Registers, and MSRs\", 27.3.1.1"
#define SDM_SEGS "SDM 3C, \"Checks on Guest Segment Registers\", 27.3.1.2"
#define SDM_TABLES "SDM 3C, \"Checks on Guest Descriptor-Table Registers\", 27.3.1.3"
#define SDM_RIP "SDM 3C, \"Checks on Guest RIP, RFLAGS, and SSP\", 27.3.1.4"
#define SDM_OTHER "SDM 3C, \"Checks on Guest Non-Register State\", 27.3.1.5"
#define SDM_PDPTE "SDM 3C, \"Checks on Guest Page-Directory-Pointer-Table Entries\", 27.3.1.6"
#define SDM_EVENT "SDM 3C, \"VM-Entry Control Fields\", 27.2.1.3"
#define SDM_CR0 "SDM 3A, \"Control Registers\", 2.5"
#define SDM_XCR0 "SDM 3A, \"Extended Control Registers (Including XCR0)\", 2.6"
#define SDM_MSRS "SDM 4, \"Architectural MSRs\", 2.1"
#define APM_CHECKS "APM 2, \"Canonicalization and Consistency Checks\", 15.5.1"
#define APM_EVENT "APM 2, \"Event Injection\", 15.20"

struct check {
	const char *text;
	const char *section;
};

static const struct check checks[MOTE_NR_CHECKS] = {
	[MOTE_CHECK_NONE] = { "a check that mote does not know; please report the state", "" },
	[MOTE_CHECK_NO_MEMORY] = { "not enough memory to look at the state", "" },
	[MOTE_CHECK_CR0_RESERVED] = { "a reserved bit of CR0 is set", SDM_CR0 },
	[MOTE_CHECK_CR0_NW] = { "CR0.NW is set without CR0.CD", APM_CHECKS },
	[MOTE_CHECK_CR0_PG] = { "CR0.PG is set without CR0.PE", SDM_CRS },
	[MOTE_CHECK_CR3_RESERVED] = { "CR3 goes beyond the width of physical addresses", SDM_CRS },
	[MOTE_CHECK_CR4_VMXE] = { "CR4.VMXE is set: guests have no VMX", SDM_CRS },
	[MOTE_CHECK_CR4_RESERVED] = {
		"a bit of CR4 is set that is reserved or belongs to a feature the guest does not have",
		SDM_CRS },
	[MOTE_CHECK_EFER_SVME] = { "EFER.SVME is set: guests have no SVM", APM_CHECKS },
	[MOTE_CHECK_EFER_RESERVED] = {
		"a bit of EFER is set that is reserved or belongs to a feature the guest does not have",
		SDM_CRS },
	[MOTE_CHECK_EFER_LMA] = { "EFER.LMA is not what EFER.LME and CR0.PG make it", SDM_CRS },
	[MOTE_CHECK_EFER_PAE] = { "EFER.LMA is set without CR4.PAE", APM_CHECKS },
	[MOTE_CHECK_CR4_PCIDE] = { "CR4.PCIDE is set outside of long mode", SDM_CRS },
	[MOTE_CHECK_CR8_RESERVED] = { "CR8 is above 15", SDM_CR0 },
	[MOTE_CHECK_XCR0] = {
		"XCR0 has an impossible combination of components, or one the guest does not have",
		SDM_XCR0 },
	[MOTE_CHECK_MSR_VALUES] = {
		"an MSR has a value that WRMSR refuses (PAT types, canonical addresses, reserved bits)",
		SDM_MSRS },
	[MOTE_CHECK_DR6_HIGH] = { "a bit in the upper half of DR6 is set", APM_CHECKS },
	[MOTE_CHECK_DR7_HIGH] = { "a bit in the upper half of DR7 is set", SDM_CRS },
	[MOTE_CHECK_PDPTES] = { "a PDPTE that is present has a reserved bit set", SDM_PDPTE },
	[MOTE_CHECK_RFLAGS_BIT1] = { "bit 1 of RFLAGS is clear", SDM_RIP },
	[MOTE_CHECK_RFLAGS_RESERVED] = { "a reserved bit of RFLAGS is set", SDM_RIP },
	[MOTE_CHECK_RFLAGS_VM_LONG] = { "RFLAGS.VM is set in long mode", SDM_RIP },
	[MOTE_CHECK_RFLAGS_VM_REAL] = { "RFLAGS.VM is set in real mode", SDM_RIP },
	[MOTE_CHECK_ATTR_RESERVED] = { "one of bits 8 to 11 of a segment's attributes is set", SDM_SEGS },
	[MOTE_CHECK_V86_SEGMENTS] = {
		"a segment in virtual-8086 mode is not: base selector * 16, limit 0xffff, attr 0xf3",
		SDM_SEGS },
	[MOTE_CHECK_CS_PRESENT] = { "CS is not present", SDM_SEGS },
	[MOTE_CHECK_CS_TYPE] = { "CS is neither accessed code nor a data segment of type 3", SDM_SEGS },
	[MOTE_CHECK_CS_DATA_DPL] = { "CS is a data segment and its DPL is not 0", SDM_SEGS },
	[MOTE_CHECK_CS_DPL] = { "CS is non-conforming and its DPL is not that of SS", SDM_SEGS },
	[MOTE_CHECK_CS_CONFORMING_DPL] = { "CS is conforming and its DPL is above that of SS", SDM_SEGS },
	[MOTE_CHECK_CS_L_D] = { "CS.L and CS.D are both set in long mode", APM_CHECKS },
	[MOTE_CHECK_CS_BASE] = { "the base of CS is above 4 GiB", SDM_SEGS },
	[MOTE_CHECK_SS_TYPE] = { "SS is not an accessed, writable data segment", SDM_SEGS },
	[MOTE_CHECK_SS_DPL] = {
		"the DPL of SS is not 0 in real mode or with a data segment in CS", SDM_SEGS },
	[MOTE_CHECK_DATA_SYSTEM] = { "SS, DS, ES, FS or GS is a system segment", SDM_SEGS },
	[MOTE_CHECK_DATA_TYPE] = { "DS, ES, FS or GS is not accessed or not readable", SDM_SEGS },
	[MOTE_CHECK_DATA_BASE] = { "the base of SS, DS or ES is above 4 GiB", SDM_SEGS },
	[MOTE_CHECK_FS_GS_BASE] = { "the base of FS or GS is not canonical", SDM_SEGS },
	[MOTE_CHECK_LIMITS] = { "a segment's limit does not agree with its granularity", SDM_SEGS },
	[MOTE_CHECK_TR_USABLE] = { "TR is not present", SDM_SEGS },
	[MOTE_CHECK_TR_TYPE] = { "TR is not a busy TSS (in long mode: of 64 bits)", SDM_SEGS },
	[MOTE_CHECK_TR_SELECTOR] = { "TR's selector points into the LDT", SDM_SEGS },
	[MOTE_CHECK_TR_BASE] = { "the base of TR is not canonical", SDM_SEGS },
	[MOTE_CHECK_LDTR_TYPE] = { "LDTR is not an LDT", SDM_SEGS },
	[MOTE_CHECK_LDTR_SELECTOR] = { "LDTR's selector points into the LDT", SDM_SEGS },
	[MOTE_CHECK_LDTR_BASE] = { "the base of LDTR is not canonical", SDM_SEGS },
	[MOTE_CHECK_GDTR_BASE] = { "the base of GDTR is not canonical", SDM_TABLES },
	[MOTE_CHECK_IDTR_BASE] = { "the base of IDTR is not canonical", SDM_TABLES },
	[MOTE_CHECK_RIP_HIGH] = { "RIP is above 4 GiB outside of 64-bit mode", SDM_RIP },
	[MOTE_CHECK_RIP_CANONICAL] = { "RIP is not canonical", SDM_RIP },
	[MOTE_CHECK_SHADOW_BOTH] = { "shadows of STI and of MOV SS at once", SDM_OTHER },
	[MOTE_CHECK_SHADOW_IF] = { "a shadow of STI without RFLAGS.IF", SDM_OTHER },
	[MOTE_CHECK_HALTED_CPL] = { "halted with a CPL that is not 0", SDM_OTHER },
	[MOTE_CHECK_HALTED_SHADOW] = { "halted in the shadow of STI or MOV SS", SDM_OTHER },
	[MOTE_CHECK_PENDING_RESERVED] = {
		"a reserved bit of the pending debug exceptions is set", SDM_OTHER },
	[MOTE_CHECK_PENDING_BS] = {
		"in the shadow of STI or MOV SS, pending BS is not what RFLAGS.TF is", SDM_OTHER },
	[MOTE_CHECK_EVENT] = {
		"the event to inject has an impossible type, vector or error code", APM_EVENT },
	[MOTE_CHECK_EVENT_INTERRUPT] = {
		"an interrupt to inject, but RFLAGS.IF is clear or there is a shadow", SDM_OTHER },
	[MOTE_CHECK_EVENT_NMI] = { "an NMI to inject in a shadow or while NMIs are blocked", SDM_OTHER },
	[MOTE_CHECK_EVENT_ERROR] = {
		"the exception to inject has no error code, but one is pushed", SDM_EVENT },
	[MOTE_CHECK_EVENT_64BIT] = {
		"#OF or #BR to inject in 64-bit mode, where no instruction raises them", APM_EVENT },
};

static const struct check newer = { "a check that is newer than this library", "" };

static const struct check *find_check(unsigned int check)
{
	return check < MOTE_NR_CHECKS ? &checks[check] : &newer;
}

const char *mote_check_text(unsigned int check)
{
	return find_check(check)->text;
}

const char *mote_check_section(unsigned int check)
{
	return find_check(check)->section;
}
