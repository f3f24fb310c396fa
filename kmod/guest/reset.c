// SPDX-License-Identifier: GPL-2.0
/*
 * How a vCPU begins: reset, INIT, start-up IPI (SDM 3A, "Processor State After Reset").
 *
 * Locking: vcpu->lock is held and the vCPU is unloaded.
 */
#include <linux/percpu.h>
#include <asm/apicdef.h>
#include <asm/processor.h>
#include <asm/debugreg.h>
#include <asm/fpu/xcr.h>

#include "../vendor.h"

/* But for what follows from the id. */
static const struct mote_state reset_state = {
	.mask = MOTE_STATE_ALL & ~MOTE_STATE_XSAVE,
	.gprs = { .rip = 0xfff0, .rflags = X86_EFLAGS_FIXED },
	.segs = {
		.seg = {
			[MOTE_ES] = { .limit = 0xffff, .attr = 0x93 },
			[MOTE_CS] = { 0xffff0000, 0xffff, 0xf000, 0x9b },
			[MOTE_SS ... MOTE_GS] = { .limit = 0xffff, .attr = 0x93 },
			[MOTE_LDTR] = { .limit = 0xffff, .attr = 0x82 },
			[MOTE_TR] = { .limit = 0xffff, .attr = 0x8b },
		},
		.gdt = { .limit = 0xffff },
		.idt = { .limit = 0xffff },
	},
	.crs = { .cr0 = X86_CR0_CD | X86_CR0_NW | X86_CR0_ET, .xcr0 = XFEATURE_MASK_FP },
	.drs = { .dr6 = DR6_RESERVED, .dr7 = 0x400 },
	.msrs = {
		.pat = 0x0007040600070406,
		.apic_base = APIC_DEFAULT_PHYS_BASE | MSR_IA32_APICBASE_ENABLE,
		.misc_enable = MSR_IA32_MISC_ENABLE_FAST_STRING,
	},
};

void mote_vcpu_reset(struct mote_vcpu *vcpu)
{
	mote_vcpu_set(vcpu, &reset_state);
	vcpu->gpr[MOTE_RDX] = cpuid_eax(1);
	vcpu->msrs.apic_base |= vcpu->id ? 0 : MSR_IA32_APICBASE_BSP;
	if (vcpu->lapic && vcpu->id)
		vcpu->halted = MOTE_WAITS_FOR_SIPI;
}

/* Caching, MSRs but EFER, and the FPU stay as they are. */
void mote_vcpu_signal_init(struct mote_vcpu *vcpu)
{
	struct mote_state state = reset_state;
	struct mote_cpu_mode mode;

	mote_ops->get_mode(vcpu, &mode);
	state.mask &= ~(MOTE_STATE_MSRS | MOTE_STATE_TSC);
	/* What is in them is a debugger's. */
	if (vcpu->debug.flags & MOTE_DEBUG_DRS)
		state.mask &= ~MOTE_STATE_DRS;
	state.gprs.gpr[MOTE_RDX] = cpuid_eax(1);
	state.crs.cr0 = X86_CR0_ET | (mode.cr0 & (X86_CR0_CD | X86_CR0_NW));
	state.crs.xcr0 = vcpu->xcr0;
	if (!(vcpu->msrs.apic_base & MSR_IA32_APICBASE_BSP))
		state.events.halted = MOTE_WAITS_FOR_SIPI;
	mote_vcpu_set(vcpu, &state);
	mote_ops->set_msr(vcpu, MOTE_VENDOR_MSR(efer), 0);
}

void mote_vcpu_signal_startup(struct mote_vcpu *vcpu, u8 vector)
{
	struct mote_state state = { .mask = MOTE_STATE_SEGS };

	mote_ops->get_state(vcpu, &state, MOTE_STATE_SEGS);
	state.segs.seg[MOTE_CS].selector = vector << 8;
	state.segs.seg[MOTE_CS].base = vector << 12;
	mote_vcpu_set(vcpu, &state);
	vcpu->rip = 0;
	vcpu->halted = 0;
}
