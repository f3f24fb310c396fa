// SPDX-License-Identifier: GPL-2.0
/*
 * Intel: VMX operation, the VMCS, entries and exits.
 *
 * A VMCS is active on at most one CPU, which may keep parts of it in the CPU;
 * vmx_active lists those of a CPU, vmx_current is the one that VMREAD means.
 * Both are that CPU's own and changed there only, with interrupts off; another
 * CPU that wants a VMCS asks by IPI (vmx_claim_slow()).
 *
 * Guest state that the host does not use goes into the CPU at the first entry
 * after load() and comes out at unload() (vmx_switch_in(), vmx_switch_out()), so
 * that loading and unloading without an entry cost next to nothing.
 *
 * Not here: what an exit means for the guest (exit.c), nested page tables
 * (npt.c).  What can be said without hardware is in vmx_arch.h.
 */
#include <linux/cpu.h>
#include <linux/idr.h>
#include <linux/io.h>
#include <linux/vmalloc.h>
#include <asm/cpu_entry_area.h>
#include <asm/desc.h>
#include <asm/fsgsbase.h>
#include <asm/tlbflush.h>

#include "log/log.h"
#include "quirk/vmx_quirk.h"
#include "watch/watch.h"

static DEFINE_PER_CPU(bool, vmx_on);
static DEFINE_PER_CPU(struct hlist_head, vmx_active);
static DEFINE_PER_CPU(struct vmx_vcpu *, vmx_current);
DEFINE_PER_CPU(u32, vmx_failures);	/* VMX instructions that were refused */

static struct vmx_caps vmx_host;	/* of all CPUs; since setup() */
static void *vmx_regions;	/* a page for VMXON for each CPU */
static DEFINE_IDA(vmx_vpids);

/* The MSRs of SYSCALL, which the VMCS does not switch; the host's are the same on every CPU. */
static const u32 vmx_syscall_msrs[] = { MSR_STAR, MSR_LSTAR, MSR_SYSCALL_MASK };
static u64 vmx_host_syscall[ARRAY_SIZE(vmx_syscall_msrs)];
static struct desc_ptr vmx_host_idt;

/* ---- what the CPU can do ------------------------------------------------- */

static u64 vmx_read_msr(u32 msr)
{
	u64 value = 0;

	/* A CPU model, or a hypervisor beneath, may lack any of them. */
	return rdmsrl_safe(msr, &value) ? 0 : value;
}

/*
 * The control words, by vmx_control().  Bits that a guest is deliberately *not* stopped from
 * using are listed; all else exits.
 */
static const struct vmx_word {
	size_t offset;	/* in struct vmx_caps */
	u32 msr[2];	/* capabilities; without and with "true" ones */
	u32 must, may, fixed;
} vmx_words[] = {
	/* No acknowledging at exits, no posted interrupts: the host takes its own. */
	{ offsetof(struct vmx_caps, pin),
	  { MSR_IA32_VMX_PINBASED_CTLS, MSR_IA32_VMX_TRUE_PINBASED_CTLS },
	  PIN_BASED_EXT_INTR_MASK | PIN_BASED_NMI_EXITING | PIN_BASED_VIRTUAL_NMIS,
	  PIN_BASED_VMX_PREEMPTION_TIMER, PIN_BASED_ALWAYSON_WITHOUT_TRUE_MSR },
	/*
	 * Let through: RDTSC (with an offset, but for MOTE_VM_RDTSC_EXIT), INVLPG and CR3 (nested
	 * paging makes them the guest's own), PAUSE but in loops, MSRs by bitmap, CR8 by shadow.
	 * A CPU that insists on CR3 exits is refused.
	 */
	{ offsetof(struct vmx_caps, primary),
	  { MSR_IA32_VMX_PROCBASED_CTLS, MSR_IA32_VMX_TRUE_PROCBASED_CTLS },
	  CPU_BASED_USE_TSC_OFFSETTING | CPU_BASED_HLT_EXITING | CPU_BASED_MWAIT_EXITING |
	  CPU_BASED_MONITOR_EXITING | CPU_BASED_RDPMC_EXITING | CPU_BASED_MOV_DR_EXITING |
	  CPU_BASED_UNCOND_IO_EXITING | CPU_BASED_USE_MSR_BITMAPS | CPU_BASED_TPR_SHADOW |
	  CPU_BASED_ACTIVATE_SECONDARY_CONTROLS | CPU_BASED_RDTSC_EXITING,
	  0, CPU_BASED_ALWAYSON_WITHOUT_TRUE_MSR &
	     ~(CPU_BASED_CR3_LOAD_EXITING | CPU_BASED_CR3_STORE_EXITING) },
	/* RDTSCP, INVPCID, XSAVES, WAITPKG, VMFUNC… are off, that is #UD; ENCLS exits. */
	{ offsetof(struct vmx_caps, secondary),
	  { MSR_IA32_VMX_PROCBASED_CTLS2, MSR_IA32_VMX_PROCBASED_CTLS2 },
	  SECONDARY_EXEC_ENABLE_EPT | SECONDARY_EXEC_UNRESTRICTED_GUEST |
	  SECONDARY_EXEC_WBINVD_EXITING,
	  SECONDARY_EXEC_PAUSE_LOOP_EXITING | SECONDARY_EXEC_TSC_SCALING |
	  SECONDARY_EXEC_ENCLS_EXITING | SECONDARY_EXEC_ENABLE_VPID |
	  SECONDARY_EXEC_ENABLE_PML, 0 },
	{ offsetof(struct vmx_caps, exit),
	  { MSR_IA32_VMX_EXIT_CTLS, MSR_IA32_VMX_TRUE_EXIT_CTLS },
	  VM_EXIT_SAVE_DEBUG_CONTROLS | VM_EXIT_HOST_ADDR_SPACE_SIZE | VM_EXIT_SAVE_IA32_PAT |
	  VM_EXIT_LOAD_IA32_PAT | VM_EXIT_SAVE_IA32_EFER | VM_EXIT_LOAD_IA32_EFER,
	  0, VM_EXIT_ALWAYSON_WITHOUT_TRUE_MSR },
	{ offsetof(struct vmx_caps, entry),
	  { MSR_IA32_VMX_ENTRY_CTLS, MSR_IA32_VMX_TRUE_ENTRY_CTLS },
	  VM_ENTRY_LOAD_DEBUG_CONTROLS | VM_ENTRY_LOAD_IA32_PAT | VM_ENTRY_LOAD_IA32_EFER,
	  0, VM_ENTRY_ALWAYSON_WITHOUT_TRUE_MSR & ~VM_ENTRY_IA32E_MODE },
};

/* All others are the guest's own, or a debugger's; of these the CPU or the host needs to know. */
#define VMX_EXCEPTIONS (BIT(X86_TRAP_DB) | BIT(X86_TRAP_AC) | BIT(X86_TRAP_MC))

#define VMX_EPT_NEEDED (VMX_EPT_PAGE_WALK_4_BIT | VMX_EPTP_WB_BIT | VMX_EPT_INVEPT_BIT | \
			VMX_EPT_EXTENT_GLOBAL_BIT)
#define VMX_VPID_NEEDED ((VMX_VPID_INVVPID_BIT | VMX_VPID_EXTENT_SINGLE_CONTEXT_BIT) << 32)

/* Return: the obstacle if something is missing, and *detail of it; or 0. */
static u32 vmx_read_caps(struct vmx_caps *caps, u64 *detail)
{
	u64 may = vmx_read_msr(MSR_IA32_VMX_PROCBASED_CTLS2) >> 32, controls = 0, features = 0;
	const struct vmx_word *word = vmx_words;
	u32 msr, lacks;

	*caps = (struct vmx_caps){
		.basic = vmx_read_msr(MSR_IA32_VMX_BASIC),
		.ept = vmx_read_msr(MSR_IA32_VMX_EPT_VPID_CAP),
	};
	for (; word < vmx_words + ARRAY_SIZE(vmx_words); word++) {
		msr = word->msr[!!(caps->basic & VMX_BASIC_TRUE_CTLS)];
		*(u32 *)((void *)caps + word->offset) = vmx_control(vmx_read_msr(msr), word->must,
								    word->may, word->fixed, &lacks);
		if (lacks && !controls)
			controls = (u64)msr << 32 | lacks;
	}
	if ((caps->ept & VMX_VPID_NEEDED) != VMX_VPID_NEEDED)
		caps->secondary &= ~SECONDARY_EXEC_ENABLE_VPID;
	if (!(caps->ept & VMX_EPT_AD_BIT))
		caps->secondary &= ~SECONDARY_EXEC_ENABLE_PML;
	if (!(may & SECONDARY_EXEC_ENABLE_EPT) || (caps->ept & VMX_EPT_NEEDED) != VMX_EPT_NEEDED)
		features |= BIT_ULL(MOTE_FEATURE_NPT);
	if (!(may & SECONDARY_EXEC_UNRESTRICTED_GUEST))
		features |= BIT_ULL(MOTE_FEATURE_UNRESTRICTED);
	*detail = features ?: controls;
	return features ? MOTE_OBSTACLE_FEATURE : controls ? MOTE_OBSTACLE_CONTROL : 0;
}

static u64 vmx_features(const struct vmx_caps *caps)
{
	const struct { u8 feature; bool has; } table[] = {
		{ MOTE_FEATURE_NPT, (caps->ept & VMX_EPT_NEEDED) == VMX_EPT_NEEDED },
		{ MOTE_FEATURE_UNRESTRICTED, caps->secondary & SECONDARY_EXEC_UNRESTRICTED_GUEST },
		{ MOTE_FEATURE_ASID, caps->secondary & SECONDARY_EXEC_ENABLE_VPID },
		{ MOTE_FEATURE_NRIP, true },
		{ MOTE_FEATURE_FLUSH_BY_ASID, caps->ept & VMX_EPT_EXTENT_CONTEXT_BIT },
		{ MOTE_FEATURE_NPT_2M, caps->ept & VMX_EPT_2MB_PAGE_BIT },
		{ MOTE_FEATURE_NPT_1G, caps->ept & VMX_EPT_1GB_PAGE_BIT },
		{ MOTE_FEATURE_NPT_AD, caps->ept & VMX_EPT_AD_BIT },
		{ MOTE_FEATURE_TSC_SCALING, caps->secondary & SECONDARY_EXEC_TSC_SCALING },
		{ MOTE_FEATURE_PREEMPTION_TIMER, caps->pin & PIN_BASED_VMX_PREEMPTION_TIMER },
		{ MOTE_FEATURE_TPR_SHADOW, caps->primary & CPU_BASED_TPR_SHADOW },
		{ MOTE_FEATURE_VNMI, caps->pin & PIN_BASED_VIRTUAL_NMIS },
		{ MOTE_FEATURE_PAUSE_FILTER, caps->secondary & SECONDARY_EXEC_PAUSE_LOOP_EXITING },
		{ MOTE_FEATURE_XSAVE, boot_cpu_has(X86_FEATURE_OSXSAVE) },
		{ MOTE_FEATURE_PML, caps->secondary & SECONDARY_EXEC_ENABLE_PML },
	};
	u64 features = 0;
	u32 i;

	for (i = 0; i < ARRAY_SIZE(table); i++)
		features |= (u64)table[i].has << table[i].feature;
	return features;
}

#define VMX_FEAT_CTL (FEAT_CTL_LOCKED | FEAT_CTL_VMX_ENABLED_OUTSIDE_SMX)

static void vmx_probe(struct mote_probe *probe)
{
	u64 lock = vmx_read_msr(MSR_IA32_FEAT_CTL), detail;
	struct vmx_caps caps;
	u32 obstacle;

	*probe = (struct mote_probe){ .obstacle = MOTE_OBSTACLE_NO_EXTENSION };
	if (!(cpuid_ecx(1) & BIT(5)))
		return;
	obstacle = vmx_read_caps(&caps, &detail);
	*probe = (struct mote_probe){
		.vendor = MOTE_VENDOR_VMX,
		.features = vmx_features(&caps),
		.gpa_bits = min_t(u32, 48, boot_cpu_data.x86_phys_bits),
		.nr_asids = caps.secondary & SECONDARY_EXEC_ENABLE_VPID ? VMX_NR_VPIDS : 1,
		.revision = vmx_basic_vmcs_revision_id(caps.basic),
	};
	if ((lock & VMX_FEAT_CTL) == FEAT_CTL_LOCKED) {
		probe->obstacle = MOTE_OBSTACLE_FIRMWARE;
		probe->detail = lock;
	} else if (__read_cr4() & X86_CR4_VMXE && !this_cpu_read(vmx_on)) {
		probe->obstacle = MOTE_OBSTACLE_HELD;
	} else {
		probe->obstacle = obstacle;
		probe->detail = detail;
	}
}

/* ---- host ---------------------------------------------------------------- */

static struct mote_npt_format vmx_npt_format = {
	.present = VMX_EPT_RWX_MASK,
	.table = VMX_EPT_RWX_MASK,
	/* The host's memory is write-back, whatever the guest's PAT says. */
	.leaf = VMX_EPT_READABLE_MASK | VMX_EPT_EXECUTABLE_MASK | VMX_EPT_IPAT_BIT |
		6ull << VMX_EPT_MT_EPTE_SHIFT,
	.write = VMX_EPT_WRITABLE_MASK,
	.large = BIT_ULL(7),
	.code = VMX_EPT_EXECUTABLE_MASK,
};

static int vmx_setup(void)
{
	u64 detail;
	int err;
	u32 i;

	/* The CPUs are alike: main.c has seen to that. */
	if (vmx_read_caps(&vmx_host, &detail))
		return -EOPNOTSUPP;
	vmx_npt_format.accessed = vmx_host.ept & VMX_EPT_AD_BIT ? VMX_EPT_ACCESS_BIT : 0;
	vmx_npt_format.dirty = vmx_host.ept & VMX_EPT_AD_BIT ? VMX_EPT_DIRTY_BIT : 0;
	vmx_npt_format.log = vmx_host.secondary & SECONDARY_EXEC_ENABLE_PML ? VMX_EPT_DIRTY_BIT :
									      VMX_EPT_WRITABLE_MASK;
	/* A guest that changes the size of a page it runs from could stop such a CPU. */
	if (boot_cpu_has_bug(X86_BUG_ITLB_MULTIHIT) && !cpu_mitigations_off())
		vmx_npt_format.small_only = VMX_EPT_EXECUTABLE_MASK;
	for (i = 0; i < ARRAY_SIZE(vmx_syscall_msrs); i++)
		rdmsrl(vmx_syscall_msrs[i], vmx_host_syscall[i]);
	store_idt(&vmx_host_idt);
	vmx_setup_perf();
	vmx_regions = vzalloc(array_size(nr_cpu_ids, PAGE_SIZE));
	if (!vmx_regions)
		return -ENOMEM;
	err = vmx_l1d_setup();
	if (err)
		vfree(vmx_regions);
	return err;
}

static void vmx_teardown(void)
{
	vmx_l1d_teardown();
	vfree(vmx_regions);
}

/* Firmware that left it open leaves the choice to the first who asks. */
static bool vmx_feature_control_ok(void)
{
	u64 lock = 0;

	/* Without the MSR there is no lock. */
	if (rdmsrl_safe(MSR_IA32_FEAT_CTL, &lock))
		return true;
	if (lock & FEAT_CTL_LOCKED)
		return lock & FEAT_CTL_VMX_ENABLED_OUTSIDE_SMX;
	return !wrmsrl_safe(MSR_IA32_FEAT_CTL, lock | VMX_FEAT_CTL);
}

static int vmx_cpu_enable(void)
{
	void *region = vmx_regions + smp_processor_id() * PAGE_SIZE;

	if (cr4_read_shadow() & X86_CR4_VMXE)
		return -EBUSY;
	if (!vmx_feature_control_ok())
		return -EIO;
	/* Older CPUs cannot trace in VMX operation: perf has to know. */
	intel_pt_handle_vmx(1);
	cr4_set_bits(X86_CR4_VMXE);
	*(u32 *)region = vmx_basic_vmcs_revision_id(vmx_host.basic);
	if (!vmx_vmxon(page_to_phys(vmalloc_to_page(region)))) {
		cr4_clear_bits(X86_CR4_VMXE);
		intel_pt_handle_vmx(0);
		return -EIO;
	}
	this_cpu_write(vmx_on, true);
	/* What another hypervisor, or mote before, has left. */
	vmx_invept(VMX_EPT_EXTENT_GLOBAL, 0);
	return 0;
}

/* The VMCS's data go back to memory; on the CPU where it is active. */
static void vmx_clear_here(void *data)
{
	struct vmx_vcpu *v = data;

	if (v->active_cpu != smp_processor_id())
		return;
	vmx_vmclear(__pa(v->vmcs));
	if (this_cpu_read(vmx_current) == v)
		this_cpu_write(vmx_current, NULL);
	hlist_del_init(&v->link);
	v->launched = false;
	/* The last word: whoever sees it may go on with the VMCS. */
	smp_store_release(&v->active_cpu, -1);
}

static void vmx_cpu_disable(bool crash)
{
	struct hlist_node *next;
	unsigned long flags;
	struct vmx_vcpu *v;

	if (!this_cpu_read(vmx_on))
		return;
	local_irq_save(flags);
	this_cpu_write(vmx_on, false);
	hlist_for_each_entry_safe(v, next, this_cpu_ptr(&vmx_active), link) {
		/* In a crash somebody may be in the midst of a change of the list. */
		if (crash)
			vmx_vmclear(__pa(v->vmcs));
		else
			vmx_clear_here(v);
	}
	vmx_invept(VMX_EPT_EXTENT_GLOBAL, 0);
	vmx_vmxoff();
	cr4_clear_bits(X86_CR4_VMXE);
	if (!crash)
		intel_pt_handle_vmx(0);
	local_irq_restore(flags);
}

/* ---- which VMCS is where ------------------------------------------------- */

/* What the CPU loads at exits and what differs between CPUs (SDM 3C, "Host-State Area"). */
static void vmx_write_host(int cpu)
{
	static const struct { u32 msr, field; } msrs[] = {
		{ MSR_GS_BASE, HOST_GS_BASE },
		{ MSR_IA32_SYSENTER_CS, HOST_IA32_SYSENTER_CS },
		{ MSR_IA32_SYSENTER_ESP, HOST_IA32_SYSENTER_ESP },
		{ MSR_IA32_SYSENTER_EIP, HOST_IA32_SYSENTER_EIP },
		{ MSR_EFER, HOST_IA32_EFER },
		{ MSR_IA32_CR_PAT, HOST_IA32_PAT },
	};
	u64 value;
	u32 i;

	vmwriten(HOST_CR0, read_cr0());
	vmwriten(HOST_TR_BASE, (unsigned long)&get_cpu_entry_area(cpu)->tss.x86_tss);
	vmwriten(HOST_GDTR_BASE, (unsigned long)get_current_gdt_ro());
	vmwriten(HOST_IDTR_BASE, vmx_host_idt.address);
	for (i = 0; i < ARRAY_SIZE(msrs); i++) {
		rdmsrl(msrs[i].msr, value);
		vmx_vmwrite(msrs[i].field, value);
	}
}

/* Forget what the CPU knows of the guest's linear addresses. */
static void vmx_flush_linear(struct vmx_vcpu *v)
{
	/* Without a VPID every entry does (SDM 3C, "Operations that Invalidate…"). */
	if (v->vpid)
		vmx_invvpid(VMX_VPID_EXTENT_SINGLE_CONTEXT, v->vpid);
}

static u64 vmx_eptp(const struct mote_npt *npt)
{
	return npt->root_hpa | VMX_EPTP_MT_WB | VMX_EPTP_PWL_4 |
	       (vmx_host.ept & VMX_EPT_AD_BIT ? VMX_EPTP_AD_ENABLE_BIT : 0);
}

static void vmx_flush(struct mote_vcpu *vcpu)
{
	const struct mote_vm *vm = vcpu->vm;

	vmx_begin_log(to_vmx(vcpu));
	if (!(vmx_host.ept & VMX_EPT_EXTENT_CONTEXT_BIT)) {
		vmx_invept(VMX_EPT_EXTENT_GLOBAL, 0);
		return;
	}
	vmx_invept(VMX_EPT_EXTENT_CONTEXT, vmx_eptp(&vm->npt));
	if (unlikely(vm->whole.root_hpa))
		vmx_invept(VMX_EPT_EXTENT_CONTEXT, vmx_eptp(&vm->whole));
}

/* Take a VMCS from the CPU where it is active, if any. */
static void vmx_release(struct vmx_vcpu *v)
{
	/* Pairs with vmx_clear_here(), on this CPU or on one that has gone offline since. */
	int cpu = smp_load_acquire(&v->active_cpu);

	if (cpu >= 0)
		smp_call_function_single(cpu, vmx_clear_here, v, true);
}

static noinline void vmx_claim_slow(struct vmx_vcpu *v, int cpu)
{
	bool moved = v->active_cpu != cpu;
	unsigned long flags;

	if (moved)
		vmx_release(v);
	local_irq_save(flags);
	if (vmx_vmptrld(__pa(v->vmcs))) {
		this_cpu_write(vmx_current, v);
		if (moved) {
			hlist_add_head(&v->link, this_cpu_ptr(&vmx_active));
			v->active_cpu = cpu;
		}
	}
	local_irq_restore(flags);
	if (moved) {
		vmx_write_host(cpu);
		vmx_flush_linear(v);
		vmx_flush(&v->vcpu);
	}
}

/* Make its VMCS the current one of this CPU; preemption is off. */
static void vmx_load(struct mote_vcpu *vcpu)
{
	struct vmx_vcpu *v = to_vmx(vcpu);
	int cpu = smp_processor_id();

	if (unlikely(v->active_cpu != cpu || this_cpu_read(vmx_current) != v))
		vmx_claim_slow(v, cpu);
}

/* The same for a moment, loaded or not, until preempt_enable(). */
static struct vmx_vcpu *vmx_get(struct mote_vcpu *vcpu)
{
	preempt_disable();
	vmx_load(vcpu);
	return to_vmx(vcpu);
}

/* ---- guest state that the VMCS does not switch --------------------------- */

static void vmx_change_msr(u32 msr, u64 from, u64 to)
{
	if (from != to)
		wrmsrl(msr, to);
}

/*
 * A guest without EFER.SCE cannot use the MSRs of SYSCALL: its values wait in vmx_vcpu.
 * Accesses to them exit, so nothing has to be read back.
 */
static void vmx_switch_syscall(struct vmx_vcpu *v, bool in)
{
	const u64 *from = in ? vmx_host_syscall : v->syscall;
	const u64 *to = in ? v->syscall : vmx_host_syscall;
	u32 i;

	/* Remembered: the VMCS cannot be asked any more once the CPU has left VMX operation. */
	v->syscall_in = in;
	for (i = 0; i < ARRAY_SIZE(vmx_syscall_msrs); i++)
		vmx_change_msr(vmx_syscall_msrs[i], from[i], to[i]);
}

static void vmx_set_primary(struct vmx_vcpu *v, u32 primary)
{
	if (v->primary != primary)
		vmwrite32(CPU_BASED_VM_EXEC_CONTROL, primary);
	v->primary = primary;
}

/*
 * From now on the guest's debug registers are in the CPU while it runs; VMCS is current.  Those of
 * a debugger are not the guest's to see.
 */
static void vmx_use_drs(struct vmx_vcpu *v)
{
	v->vcpu.dr_live = true;
	vmx_set_primary(v, v->vcpu.debug.flags & MOTE_DEBUG_DRS ?
			   v->primary | CPU_BASED_MOV_DR_EXITING :
			   v->primary & ~CPU_BASED_MOV_DR_EXITING);
}

static noinline void vmx_load_drs(const struct mote_vcpu *vcpu)
{
	mote_load_drs(vcpu);
	set_debugreg(vcpu->dr6, 6);
}

static noinline void vmx_save_drs(struct mote_vcpu *vcpu)
{
	mote_save_drs(vcpu);
	get_debugreg(vcpu->dr6, 6);
	/* The host's #DB handler takes what it finds there for its own. */
	set_debugreg(DR6_RESERVED, 6);
}

/*
 * Before an entry: what another CPU may change of this one's by IPI while interrupts are on.
 * The CPU switches DR7 and DEBUGCTL to the guest's, but does not save the host's.
 */
static __always_inline void vmx_load_debug(struct vmx_vcpu *v)
{
	v->host_debugctl = __rdmsr(MSR_IA32_DEBUGCTLMSR);
	if (unlikely(v->vcpu.dr_live))
		vmx_load_drs(&v->vcpu);
}

/* SDM 3C, "Loading Host Control Registers, Debug Registers, MSRs": the exit has cleared both. */
static __always_inline void vmx_restore_debug(struct vmx_vcpu *v)
{
	if (unlikely(v->vcpu.dr_live))
		vmx_save_drs(&v->vcpu);
	if (unlikely(hw_breakpoint_active()))
		hw_breakpoint_restore();
	if (unlikely(v->host_debugctl))
		update_debugctlmsr(v->host_debugctl);
}

/* What exits load with fixed values, or from the VMCS, and the task may have otherwise. */
static void vmx_save_host(struct vmx_vcpu *v)
{
	u64 fs_base = x86_fsbase_read_cpu();

	savesegment(ds, v->host_ds);
	savesegment(es, v->host_es);
	savesegment(fs, v->host_fs);
	savesegment(gs, v->host_gs);
	store_ldt(v->host_ldt);
	if (v->host_fs_base != fs_base)
		vmwriten(HOST_FS_BASE, fs_base);
	v->host_fs_base = fs_base;
	/* The task's own GS base: a VMCS has no field for it. */
	rdmsrl(MSR_KERNEL_GS_BASE, v->host_kernel_gs_base);
}

static void vmx_restore_host(const struct vmx_vcpu *v)
{
	/* Null selectors, which 64-bit tasks have as a rule, are there already. */
	if (v->host_ldt)
		asm volatile("lldt %0" : : "m" (v->host_ldt));
	if (v->host_ds)
		loadsegment(ds, v->host_ds);
	if (v->host_es)
		loadsegment(es, v->host_es);
	if (v->host_fs) {
		loadsegment(fs, v->host_fs);
		x86_fsbase_write_cpu(v->host_fs_base);
	}
	if (v->host_gs) {
		load_gs_index(v->host_gs);
		wrmsrl(MSR_KERNEL_GS_BASE, v->host_kernel_gs_base);
	}
	/* Exits leave limits of 64 KiB: GDT, IDT and TSS have something else behind them. */
	invalidate_tss_limit();
	load_fixmap_gdt(raw_smp_processor_id());
	native_load_idt(&vmx_host_idt);
}

/* At the first entry after load(), with interrupts off. */
static noinline void vmx_switch_in(struct vmx_vcpu *v)
{
	vmx_save_host(v);
	vmx_change_msr(MSR_KERNEL_GS_BASE, v->host_kernel_gs_base, v->kernel_gs_base);
	if (vmread64(GUEST_IA32_EFER) & EFER_SCE)
		vmx_switch_syscall(v, true);
	v->in = true;
	if (static_branch_unlikely(&vmx_l1d_flush_key))
		vmx_l1d_flush(true);
}

static void vmx_switch_out(struct vmx_vcpu *v)
{
	v->in = false;
	if (v->nmi_begun)
		vmx_interruptibility(v);
	/* Until the guest touches them again, if no breakpoint is set. */
	if (v->vcpu.dr_live && !(vmreadn(GUEST_DR7) & VMX_DR7_ENABLES)) {
		v->vcpu.dr_live = false;
		vmx_set_primary(v, v->primary | CPU_BASED_MOV_DR_EXITING);
	}
	if (v->syscall_in)
		vmx_switch_syscall(v, false);
	/* SWAPGS changes it without an exit: the guest's value has to be read. */
	rdmsrl(MSR_KERNEL_GS_BASE, v->kernel_gs_base);
	vmx_change_msr(MSR_KERNEL_GS_BASE, v->kernel_gs_base, v->host_kernel_gs_base);
	vmx_restore_host(v);
}

static void vmx_unload(struct mote_vcpu *vcpu)
{
	if (to_vmx(vcpu)->in)
		vmx_switch_out(to_vmx(vcpu));
}

/* What the CPU has cached of each tree goes by its EPTP. */
static void vmx_view(struct mote_vcpu *vcpu)
{
	const struct mote_vm *vm = vcpu->vm;

	vmwrite64(EPT_POINTER, vmx_eptp(vcpu->view ? &vm->whole : &vm->npt));
	vmwrite32(EXCEPTION_BITMAP, VMX_EXCEPTIONS | mote_exceptions(vcpu));
	/*
	 * QUIRK(bochs 2.7): any exit makes a trap of TF, also of an instruction that has done
	 * nothing yet.  The one of a shadow vmx_prepare_entry() sees to.
	 */
	if (!(vcpu->rflags & X86_EFLAGS_TF) || vcpu->view == MOTE_VIEW_STEP)
		vmwriten(GUEST_PENDING_DBG_EXCEPTIONS,
			 vmreadn(GUEST_PENDING_DBG_EXCEPTIONS) & ~(unsigned long)VMX_PENDING_BS);
}

/* ---- state --------------------------------------------------------------- */

/* Fields of the eight segment registers are numbered as enum mote_seg is. */
#define VMX_SEG(field, seg) ((field) + 2 * (seg))

static void vmx_get_segs(struct mote_segs *segs)
{
	u32 i;

	for (i = 0; i < MOTE_NR_SEGS; i++)
		segs->seg[i] = (struct mote_segment){
			.selector = vmread16(VMX_SEG(GUEST_ES_SELECTOR, i)),
			.base = vmreadn(VMX_SEG(GUEST_ES_BASE, i)),
			.limit = vmread32(VMX_SEG(GUEST_ES_LIMIT, i)),
			.attr = vmx_attr_from_ar(vmread32(VMX_SEG(GUEST_ES_AR_BYTES, i))),
		};
	segs->gdt = (struct mote_table){ vmreadn(GUEST_GDTR_BASE), vmread32(GUEST_GDTR_LIMIT) };
	segs->idt = (struct mote_table){ vmreadn(GUEST_IDTR_BASE), vmread32(GUEST_IDTR_LIMIT) };
}

static void vmx_set_segs(const struct mote_segs *segs)
{
	u32 i;

	for (i = 0; i < MOTE_NR_SEGS; i++) {
		vmwrite16(VMX_SEG(GUEST_ES_SELECTOR, i), segs->seg[i].selector);
		vmwriten(VMX_SEG(GUEST_ES_BASE, i), segs->seg[i].base);
		vmwrite32(VMX_SEG(GUEST_ES_LIMIT, i), segs->seg[i].limit);
		vmwrite32(VMX_SEG(GUEST_ES_AR_BYTES, i), vmx_attr_to_ar(segs->seg[i].attr));
	}
	vmwriten(GUEST_GDTR_BASE, segs->gdt.base);
	vmwrite32(GUEST_GDTR_LIMIT, segs->gdt.limit);
	vmwriten(GUEST_IDTR_BASE, segs->idt.base);
	vmwrite32(GUEST_IDTR_LIMIT, segs->idt.limit);
}

static u64 vmx_get_cr0(const struct vmx_vcpu *v)
{
	return (vmreadn(GUEST_CR0) & VMX_CR0_OWNED) | (v->cr0_shadow & ~(u64)VMX_CR0_OWNED);
}

/* NE must be set in VMX operation; CD and NW are the host's, entries leave them alone. */
static void vmx_set_cr0(struct vmx_vcpu *v, u64 cr0)
{
	v->cr0_shadow = cr0;
	vmwriten(CR0_READ_SHADOW, cr0);
	vmwriten(GUEST_CR0, (cr0 & VMX_CR0_OWNED) | X86_CR0_NE);
}

static u64 vmx_get_cr4(const struct vmx_vcpu *v)
{
	return (vmreadn(GUEST_CR4) & v->cr4_owned) | (v->cr4_shadow & ~v->cr4_owned);
}

/*
 * VMXE must be set, for the guest it is not there.  MCE stays the host's: a
 * machine check while it is clear would shut the whole machine down.
 */
static void vmx_set_cr4(struct vmx_vcpu *v, u64 cr4)
{
	v->cr4_owned = v->vcpu.caps.cr4 & ~(u64)X86_CR4_MCE;
	v->cr4_shadow = cr4;
	vmwriten(CR4_GUEST_HOST_MASK, ~v->cr4_owned);
	vmwriten(CR4_READ_SHADOW, cr4);
	vmwriten(GUEST_CR4, (cr4 & ~(u64)X86_CR4_MCE) | X86_CR4_VMXE |
			    (cr4_read_shadow() & X86_CR4_MCE));
}

/* The entry control says the same as EFER.LMA; exits save it with unrestricted guests. */
static void vmx_set_efer(u64 efer)
{
	vmwrite64(GUEST_IA32_EFER, efer);
	vmwrite32(VM_ENTRY_CONTROLS,
		  vmx_host.entry | (efer & EFER_LMA ? VM_ENTRY_IA32E_MODE : 0));
}

static bool vmx_is_pae_paging(const struct vmx_vcpu *v)
{
	return vmx_get_cr0(v) & X86_CR0_PG && vmx_get_cr4(v) & X86_CR4_PAE &&
	       !(vmread64(GUEST_IA32_EFER) & EFER_LMA);
}

static void vmx_get_crs(const struct vmx_vcpu *v, struct mote_crs *crs)
{
	u32 i;

	crs->cr0 = vmx_get_cr0(v);
	crs->cr3 = vmreadn(GUEST_CR3);
	crs->cr4 = vmx_get_cr4(v);
	if (!vmx_is_pae_paging(v) || v->pdptes_stale)
		return;
	crs->flags = MOTE_CRS_PDPTE;
	for (i = 0; i < 4; i++)
		crs->pdpte[i] = vmread64(GUEST_PDPTR0 + 2 * i);
}

static void vmx_set_pdptes(const u64 *pdptes)
{
	u32 i;

	for (i = 0; i < 4; i++)
		vmwrite64(GUEST_PDPTR0 + 2 * i, pdptes[i]);
}

static void vmx_set_crs(struct vmx_vcpu *v, const struct mote_crs *crs)
{
	vmx_set_cr0(v, crs->cr0);
	vmwriten(GUEST_CR3, crs->cr3);
	vmx_set_cr4(v, crs->cr4);
	v->pdptes_stale = !(crs->flags & MOTE_CRS_PDPTE);
	if (!v->pdptes_stale)
		vmx_set_pdptes(crs->pdpte);
}

/* Where the vendor's MSRs are: in the VMCS, or in struct vmx_vcpu. */
static const struct vmx_msr {
	u32 field;
	size_t offset;
} vmx_msrs[MOTE_NR_VENDOR_MSRS] = {
	[MOTE_VENDOR_MSR(efer)] = { GUEST_IA32_EFER },
	[MOTE_VENDOR_MSR(star)] = { 0, offsetof(struct vmx_vcpu, syscall[0]) },
	[MOTE_VENDOR_MSR(lstar)] = { 0, offsetof(struct vmx_vcpu, syscall[1]) },
	[MOTE_VENDOR_MSR(cstar)] = { 0, offsetof(struct vmx_vcpu, cstar) },
	[MOTE_VENDOR_MSR(sfmask)] = { 0, offsetof(struct vmx_vcpu, syscall[2]) },
	[MOTE_VENDOR_MSR(kernel_gs_base)] = { 0, offsetof(struct vmx_vcpu, kernel_gs_base) },
	[MOTE_VENDOR_MSR(sysenter_cs)] = { GUEST_SYSENTER_CS },
	[MOTE_VENDOR_MSR(sysenter_esp)] = { GUEST_SYSENTER_ESP },
	[MOTE_VENDOR_MSR(sysenter_eip)] = { GUEST_SYSENTER_EIP },
	[MOTE_VENDOR_MSR(pat)] = { GUEST_IA32_PAT },
};

static u64 vmx_get_msr(struct mote_vcpu *vcpu, u32 nr)
{
	const struct vmx_msr *msr = &vmx_msrs[nr];
	struct vmx_vcpu *v = vmx_get(vcpu);
	u64 value;

	if (nr == MOTE_VENDOR_MSR(kernel_gs_base) && v->in)
		rdmsrl(MSR_KERNEL_GS_BASE, v->kernel_gs_base);
	value = msr->field ? vmx_vmread(msr->field) : *(u64 *)((void *)v + msr->offset);
	preempt_enable();
	return value;
}

/* Those of SYSCALL are in the CPU while EFER.SCE is set: they follow it and their values. */
static noinline void vmx_set_syscall(struct vmx_vcpu *v, const struct vmx_msr *msr, u64 value)
{
	if (v->syscall_in)
		vmx_switch_syscall(v, false);
	if (msr->field) {
		vmx_set_efer(value);
		/* Paging may have changed in any way. */
		vmx_flush_linear(v);
	} else {
		*(u64 *)((void *)v + msr->offset) = value;
	}
	if (v->in && vmread64(GUEST_IA32_EFER) & EFER_SCE)
		vmx_switch_syscall(v, true);
}

static void vmx_set_msr(struct mote_vcpu *vcpu, u32 nr, u64 value)
{
	const struct vmx_msr *msr = &vmx_msrs[nr];
	struct vmx_vcpu *v = vmx_get(vcpu);

	if (msr->field && nr != MOTE_VENDOR_MSR(efer))
		vmx_vmwrite(msr->field, value);
	else if (nr != MOTE_VENDOR_MSR(kernel_gs_base))
		vmx_set_syscall(v, msr, value);
	else if (v->in)
		wrmsrl(MSR_KERNEL_GS_BASE, value);
	else
		v->kernel_gs_base = value;
	preempt_enable();
}

static void vmx_set_tsc(struct mote_vcpu *vcpu)
{
	vmx_get(vcpu);
	vmwrite64(TSC_OFFSET, vcpu->tsc_offset);
	preempt_enable();
}

static void vmx_get_events(struct vmx_vcpu *v, struct mote_events *events)
{
	u32 state = vmx_interruptibility(v);

	events->shadow = state & GUEST_INTR_STATE_STI ? MOTE_SHADOW_STI :
			 state & GUEST_INTR_STATE_MOV_SS ? MOTE_SHADOW_MOV_SS : 0;
	events->nmi_blocked = !!(state & GUEST_INTR_STATE_NMI);
	events->pending_debug = vmreadn(GUEST_PENDING_DBG_EXCEPTIONS);
}

static void vmx_set_events(struct vmx_vcpu *v, const struct mote_events *events)
{
	v->nmi_begun = events->nmi_blocked;
	vmwrite32(GUEST_INTERRUPTIBILITY_INFO,
		  (events->shadow == MOTE_SHADOW_STI ? GUEST_INTR_STATE_STI : 0) |
		  (events->shadow == MOTE_SHADOW_MOV_SS ? GUEST_INTR_STATE_MOV_SS : 0) |
		  (events->nmi_blocked ? GUEST_INTR_STATE_NMI : 0));
	vmwriten(GUEST_PENDING_DBG_EXCEPTIONS, events->pending_debug);
}

/* The DPL of SS (SDM 3C, "Guest Register State"). */
static u32 vmx_cpl(const struct mote_vcpu *vcpu)
{
	return vmread32(GUEST_SS_AR_BYTES) >> 5 & 3;
}

static void vmx_get_mode(struct mote_vcpu *vcpu, struct mote_cpu_mode *mode)
{
	struct vmx_vcpu *v = vmx_get(vcpu);

	mode->cr0 = vmx_get_cr0(v);
	mode->cr3 = vmreadn(GUEST_CR3);
	mode->cr4 = vmx_get_cr4(v);
	mode->efer = vmread64(GUEST_IA32_EFER);
	mode->cs_base = vmreadn(GUEST_CS_BASE);
	mode->cs_attr = vmx_attr_from_ar(vmread32(GUEST_CS_AR_BYTES));
	mode->cpl = vmx_cpl(vcpu);
	memset(mode->pad, 0, sizeof(mode->pad));
	preempt_enable();
}

static void vmx_get_state(struct mote_vcpu *vcpu, struct mote_state *state, u32 mask)
{
	struct vmx_vcpu *v = vmx_get(vcpu);

	if (mask & MOTE_STATE_SEGS)
		vmx_get_segs(&state->segs);
	if (mask & MOTE_STATE_CRS)
		vmx_get_crs(v, &state->crs);
	if (mask & MOTE_STATE_DRS)
		state->drs.dr7 = vmreadn(GUEST_DR7);
	if (mask & MOTE_STATE_EVENTS)
		vmx_get_events(v, &state->events);
	preempt_enable();
}

/* None is the host's state (SDM 3D, "Field Encoding in VMCS"), nor of 64 bits and its address. */
static bool vmx_get_field(struct mote_vcpu *vcpu, u32 number, u64 *value)
{
	u32 type = number >> 10 & 3;

	if (number & ~0x7ffeu || type == 3 ||
	    (!type && number >> 13 == VMX_WIDTH_64 && number != TSC_OFFSET &&
	     number != TSC_MULTIPLIER && number != EPT_POINTER))
		return false;
	vmx_get(vcpu);
	*value = vmx_vmread(number) & (number == EPT_POINTER ? ~PAGE_MASK : ~0ul);
	preempt_enable();
	return true;
}

static void vmx_set_state(struct mote_vcpu *vcpu, const struct mote_state *state, u32 mask)
{
	struct vmx_vcpu *v = vmx_get(vcpu);

	if (mask & MOTE_STATE_SEGS)
		vmx_set_segs(&state->segs);
	if (mask & MOTE_STATE_CRS) {
		vmx_set_crs(v, &state->crs);
		vmx_flush_linear(v);
	}
	if (mask & MOTE_STATE_DRS) {
		vmwriten(GUEST_DR7, state->drs.dr7);
		if (state->drs.dr7 & VMX_DR7_ENABLES || vcpu->debug.flags & MOTE_DEBUG_DRS)
			vmx_use_drs(v);
		vmwrite32(EXCEPTION_BITMAP, VMX_EXCEPTIONS | mote_exceptions(vcpu));
	}
	if (mask & MOTE_STATE_EVENTS)
		vmx_set_events(v, &state->events);
	preempt_enable();
}

/* ---- events -------------------------------------------------------------- */

static void vmx_inject(struct mote_vcpu *vcpu, const struct mote_event *event)
{
	u32 info = INTR_INFO_VALID_MASK | event->type << 8 | event->vector;

	/* Real mode pushes no error codes (SDM 3C, "VM-Entry Control Fields"). */
	if (event->has_error && vmreadn(GUEST_CR0) & X86_CR0_PE) {
		info |= INTR_INFO_DELIVER_CODE_MASK;
		vmwrite32(VM_ENTRY_EXCEPTION_ERROR_CODE, event->error);
	}
	vmwrite32(VM_ENTRY_INTR_INFO_FIELD, info);
	to_vmx(vcpu)->nmi_begun |= event->type == MOTE_EVENT_NMI;
}

static void vmx_window(struct mote_vcpu *vcpu, u32 windows)
{
	struct vmx_vcpu *v = to_vmx(vcpu);
	u32 primary = v->primary & ~(CPU_BASED_INTR_WINDOW_EXITING | CPU_BASED_NMI_WINDOW_EXITING |
				     CPU_BASED_CR8_LOAD_EXITING);

	if (windows & MOTE_WINDOW_INTERRUPT)
		primary |= CPU_BASED_INTR_WINDOW_EXITING;
	/* Behind STI no NMI can be injected, yet its window may be open: the other opens later. */
	if (windows & MOTE_WINDOW_NMI)
		primary |= vmread32(GUEST_INTERRUPTIBILITY_INFO) & GUEST_INTR_STATE_STI ?
			   CPU_BASED_INTR_WINDOW_EXITING : CPU_BASED_NMI_WINDOW_EXITING;
	if (windows & MOTE_WINDOW_TPR)
		primary |= CPU_BASED_CR8_LOAD_EXITING;
	v->windows = windows;
	vmx_set_primary(v, primary);
}

static u32 vmx_can_take(struct mote_vcpu *vcpu)
{
	u32 state = vmx_interruptibility(to_vmx(vcpu));

	/* A trap that pends comes first, and an entry that injects something would lose it. */
	if (state & VMX_SHADOW || vmreadn(GUEST_PENDING_DBG_EXCEPTIONS) &
	    (VMX_PENDING_BS | VMX_PENDING_ENABLED))
		return 0;
	return (vcpu->rflags & X86_EFLAGS_IF ? MOTE_WINDOW_INTERRUPT : 0) |
	       (state & GUEST_INTR_STATE_NMI ? 0 : MOTE_WINDOW_NMI);
}

static void vmx_set_pending_step(void)
{
	vmwriten(GUEST_PENDING_DBG_EXCEPTIONS,
		 vmreadn(GUEST_PENDING_DBG_EXCEPTIONS) | VMX_PENDING_BS);
}

static void vmx_skip(struct mote_vcpu *vcpu)
{
	/* Read each time: whether an STI or MOV to SS came before is known nowhere else. */
	u32 state = vmread32(GUEST_INTERRUPTIBILITY_INFO);

	if (unlikely(state & VMX_SHADOW))
		vmwrite32(GUEST_INTERRUPTIBILITY_INFO, state & ~VMX_SHADOW);
	if (unlikely(vcpu->rflags & X86_EFLAGS_TF))
		vmx_set_pending_step();
	vcpu->rflags &= ~(u64)X86_EFLAGS_RF;
}

/* ---- control and debug registers ----------------------------------------- */

static void vmx_set_cr(struct mote_vcpu *vcpu, u32 cr, u64 value)
{
	struct vmx_vcpu *v = vmx_get(vcpu);
	u64 changed;

	if (cr) {
		changed = (value ^ vmx_get_cr4(v)) & VMX_CR4_PDPTE;
		vmx_set_cr4(v, value);
		vmx_flush_linear(v);
	} else {
		changed = (value ^ vmx_get_cr0(v)) & VMX_CR0_PDPTE;
		vmx_set_cr0(v, value);
		if (changed & X86_CR0_PG)
			vmx_flush_linear(v);
	}
	v->pdptes_stale |= !!changed;
	preempt_enable();
}

/*
 * The PDPTE registers, where they are used: 0, -EINVAL (@check: they are not valid, and stay as
 * they were), or -EFAULT (the memory is not there now: another exit, that asks for it).
 */
static int vmx_load_pdptes(struct vmx_vcpu *v, bool check)
{
	u64 pdptes[4], gpa = vmreadn(GUEST_CR3) & 0xffffffe0;
	u32 i;

	if (vmx_is_pae_paging(v)) {
		if (mote_mem_read(v->vcpu.vm, gpa, pdptes, sizeof(pdptes))) {
			v->vcpu.exit = (struct mote_exit){
				.reason = MOTE_EXIT_NPF, .raw = EXIT_REASON_EPT_VIOLATION,
				.npf = { .gpa = gpa, .access = MOTE_ACCESS_READ },
			};
			return -EFAULT;
		}
		for (i = 0; i < 4; i++)
			if (check && !mote_pdpte_valid(pdptes[i], &mote_caps))
				return -EINVAL;
		vmx_set_pdptes(pdptes);
	}
	v->pdptes_stale = false;
	return 0;
}

/* SDM 3C, "Exit Qualification for Control-Register Accesses". */
static void vmx_exit_cr(struct vmx_vcpu *v)
{
	struct mote_exit *exit = &v->vcpu.exit;
	u64 value = v->vcpu.gpr[exit->qualification >> 8 & 15];
	u32 cr = exit->qualification & (CONTROL_REG_ACCESS_NUM | 8);
	u64 old;
	u8 len;
	int err;

	if (exit->qualification & CONTROL_REG_ACCESS_TYPE || (cr && cr != 4 && cr != 8)) {
		exit->reason = MOTE_EXIT_UNKNOWN;
		return;
	}
	old = cr ? vmx_get_cr4(v) : vmx_get_cr0(v);
	len = exit->insn_len;
	err = mote_exit_mov_to_cr(&v->vcpu, cr, value) ? 0 : -EPERM;
	if (!err && v->pdptes_stale && cr < 8)
		err = vmx_load_pdptes(v, true);
	if (err == -EINVAL) {
		vmx_set_cr(&v->vcpu, cr, old);
		v->pdptes_stale = false;
	}
	if (!err)
		mote_complete(&v->vcpu, mote_next_rip(&v->vcpu, len));
	else if (err != -EFAULT)
		mote_event_raise(&v->vcpu, X86_TRAP_GP, 0);
}

/* Its #DB is a trap, but the exit comes before it is through; with TF there is no other one. */
static void vmx_exit_int1(struct vmx_vcpu *v)
{
	struct mote_vcpu *vcpu = &v->vcpu;

	vcpu->rip = mote_next_rip(vcpu, vmread32(VM_EXIT_INSTRUCTION_LEN));
	vcpu->rflags &= ~(u64)X86_EFLAGS_RF;
	vmwrite32(GUEST_INTERRUPTIBILITY_INFO,
		  vmread32(GUEST_INTERRUPTIBILITY_INFO) & ~VMX_SHADOW);
}

/*
 * SDM 3C, "Debug Exceptions": the exit comes before DR6 and DR7.GD change.
 * B0 to B3 are replaced, the others stay until software clears them.
 */
static void vmx_exit_debug(struct vmx_vcpu *v)
{
	const struct mote_exit *exit = &v->vcpu.exit;
	struct mote_vcpu *vcpu = &v->vcpu;
	u32 type = vmread32(VM_EXIT_INTR_INFO) & INTR_INFO_INTR_TYPE_MASK;
	u64 dr7 = vmreadn(GUEST_DR7);

	if (type == INTR_TYPE_PRIV_SW_EXCEPTION)
		vmx_exit_int1(v);
	vcpu->dr6 = (vcpu->dr6 & ~(u64)DR_TRAP_BITS) |
		    (exit->qualification & (DR_TRAP_BITS | DR_STEP | VMX_DR6_BD));
	if (dr7 & VMX_DR7_GD)
		vmwriten(GUEST_DR7, dr7 & ~(u64)VMX_DR7_GD);
}

/* ---- exits --------------------------------------------------------------- */

/*
 * SDM 3C, "Information for VM Exits During Event Delivery": an event that did
 * not arrive is to be injected again.  Those of instructions (INT n, INT3,
 * INTO, INT1) are not kept: RIP is still there, they run again.
 */
static void vmx_take_back_event(struct vmx_vcpu *v, const struct vmx_raw *raw)
{
	u32 info = vmread32(IDT_VECTORING_INFO_FIELD);
	struct mote_event event;

	if (likely(!(info & VECTORING_INFO_VALID_MASK))) {
		/* An IRET that faulted had ended NMI blocking; it runs again. */
		if (unlikely((raw->intr_info | raw->qualification) & VMX_NMI_UNBLOCKED) &&
		    (raw->intr_info ?: raw->qualification) & VMX_NMI_UNBLOCKED)
			vmx_block_nmis(v, true);
		return;
	}
	event = vmx_decode_event(info, vmread32(IDT_VECTORING_ERROR_CODE));
	if (event.type >= MOTE_EVENT_INT)
		return;
	mote_event_cut_short(&v->vcpu, event);
	/* Its delivery has begun to block NMIs, which would bar it the second time. */
	if (event.type == MOTE_EVENT_NMI)
		vmx_block_nmis(v, false);
}

static void vmx_exit_exception(struct vmx_vcpu *v)
{
	struct mote_exit *exit = &v->vcpu.exit;

	if (exit->reason == MOTE_EXIT_NMI) {
		/* The exit blocks NMIs until the handler's IRET, as if delivered. */
		asm volatile("int $2");
	} else if (exit->reason == MOTE_EXIT_EXCEPTION) {
		if (exit->exception.vector == X86_TRAP_DB) {
			vmx_exit_debug(v);
		} else if (exit->exception.vector == X86_TRAP_MC) {
			mote_host_machine_check();
			exit->reason = MOTE_EXIT_NONE;
		} else if (exit->exception.vector == X86_TRAP_PF) {
			v->vcpu.cr2 = exit->qualification;
		}
	}
}

/* The window that has opened is not asked for any more. */
static void vmx_exit_window(struct vmx_vcpu *v)
{
	struct mote_exit *exit = &v->vcpu.exit;

	if (exit->reason == MOTE_EXIT_INTERRUPT_WINDOW && !(v->windows & MOTE_WINDOW_INTERRUPT))
		exit->reason = MOTE_EXIT_NMI_WINDOW;
	vmx_window(&v->vcpu, v->windows & ~(exit->reason == MOTE_EXIT_NMI_WINDOW ?
					    MOTE_WINDOW_NMI : MOTE_WINDOW_INTERRUPT));
}

/* Nothing of the guest has changed; an event is still in its field. */
static void vmx_entry_failed(struct vmx_vcpu *v)
{
	u32 info = vmread32(VM_ENTRY_INTR_INFO_FIELD);

	if (!(info & INTR_INFO_VALID_MASK))
		return;
	mote_event_cut_short(&v->vcpu,
			     vmx_decode_event(info, vmread32(VM_ENTRY_EXCEPTION_ERROR_CODE)));
	vmwrite32(VM_ENTRY_INTR_INFO_FIELD, 0);
}

static void vmx_exit_fail(struct vmx_vcpu *v)
{
	v->launched = false;
	vmx_vmclear(__pa(v->vmcs));
	vmx_vmptrld(__pa(v->vmcs));
	if (v->vcpu.exit.raw == EXIT_REASON_MCE_DURING_VMENTRY)
		mote_host_machine_check();
	vmx_entry_failed(v);
}

/*
 * The event's delivery is now user space's; NMIs are blocked by the one that came
 * through the gate, and not after an IRET; a shadow ends in any case.
 */
static void vmx_exit_task(struct vmx_vcpu *v)
{
	struct mote_exit *exit = &v->vcpu.exit;
	u32 state = vmread32(GUEST_INTERRUPTIBILITY_INFO) & ~VMX_SHADOW;

	vmx_decode_task(vmread32(IDT_VECTORING_INFO_FIELD), vmread32(IDT_VECTORING_ERROR_CODE),
			exit);
	vmwrite32(GUEST_INTERRUPTIBILITY_INFO, state);
	if (exit->task.how == MOTE_TASK_IRET)
		vmx_block_nmis(v, false);
	else if (exit->task.event.valid && exit->task.event.type == MOTE_EVENT_NMI)
		vmx_block_nmis(v, true);
}

static void vmx_exit_work(struct vmx_vcpu *v)
{
	struct mote_exit *exit = &v->vcpu.exit;

	switch (exit->raw) {
	case EXIT_REASON_EXCEPTION_NMI:
		vmx_exit_exception(v);
		break;
	case EXIT_REASON_INTERRUPT_WINDOW:
	case EXIT_REASON_NMI_WINDOW:
		vmx_exit_window(v);
		break;
	case EXIT_REASON_CR_ACCESS:
		vmx_exit_cr(v);
		break;
	case EXIT_REASON_TASK_SWITCH:
		vmx_exit_task(v);
		break;
	case EXIT_REASON_DR_ACCESS:
		/* The instruction runs again, on the real ones. */
		vmx_use_drs(v);
		break;
	case EXIT_REASON_PML_FULL:
		vmx_take_log(v);
		exit->reason = MOTE_EXIT_NONE;
		break;
	default:
		vmx_exit_fail(v);
	}
}

/* Exits that are more than an instruction of a known length. */
static noinline void vmx_exit_slow(struct vmx_vcpu *v, u32 reason, u8 needs)
{
	struct mote_exit *exit = &v->vcpu.exit;
	struct vmx_raw raw = { .reason = reason };

	if (needs & VMX_NEED_LEN)
		raw.insn_len = vmread32(VM_EXIT_INSTRUCTION_LEN);
	if (needs & VMX_NEED_QUAL)
		raw.qualification = vmreadn(EXIT_QUALIFICATION);
	if (needs & VMX_NEED_GPA)
		raw.gpa = vmread64(GUEST_PHYSICAL_ADDRESS);
	if (needs & VMX_NEED_INTR)
		raw.intr_info = vmread32(VM_EXIT_INTR_INFO);
	if (raw.intr_info & INTR_INFO_DELIVER_CODE_MASK)
		raw.error = vmread32(VM_EXIT_INTR_ERROR_CODE);
	vmx_decode_exit(&raw, exit);
	if (needs & VMX_NEED_EVENT)
		vmx_take_back_event(v, &raw);
	if (needs & VMX_NEED_WORK)
		vmx_exit_work(v);
}

/* What is seldom to be done before an entry; false: there is an exit instead. */
static noinline bool vmx_prepare_entry(struct vmx_vcpu *v)
{
	/* XSA-308: entries with TF set in a shadow fail unless the trap pends. */
	if (v->vcpu.rflags & X86_EFLAGS_TF && vmread32(GUEST_INTERRUPTIBILITY_INFO) & VMX_SHADOW)
		vmx_set_pending_step();
	if ((!v->logs || vmx_may_log(v)) && (!v->pdptes_stale || !vmx_load_pdptes(v, false)))
		return true;
	vmx_entry_failed(v);
	return false;
}

/* Registers that the VMCS keeps, and those of the host that may change between entries. */
static __always_inline void vmx_write_changes(struct vmx_vcpu *v)
{
	struct mote_vcpu *vcpu = &v->vcpu;
	unsigned long cr3 = __native_read_cr3(), cr4 = cr4_read_shadow();

	if (v->rip != vcpu->rip)
		vmwriten(GUEST_RIP, vcpu->rip);
	if (v->rsp != vcpu->gpr[MOTE_RSP])
		vmwriten(GUEST_RSP, vcpu->gpr[MOTE_RSP]);
	if (v->rflags != vcpu->rflags)
		vmwriten(GUEST_RFLAGS, vcpu->rflags);
	if (unlikely(v->host_cr3 != cr3)) {
		vmwriten(HOST_CR3, cr3);
		v->host_cr3 = cr3;
	}
	if (unlikely(v->host_cr4 != cr4)) {
		vmwriten(HOST_CR4, cr4);
		v->host_cr4 = cr4;
	}
	if (vcpu->cr2 != native_read_cr2())
		native_write_cr2(vcpu->cr2);
	v->vapic[VMX_VTPR] = vcpu->cr8 << 4;
}

/* mote_vcpu promises them after each exit: the first three are a VMREAD each. */
static __always_inline void vmx_read_registers(struct vmx_vcpu *v)
{
	v->vcpu.rip = v->rip = vmreadn(GUEST_RIP);
	v->vcpu.gpr[MOTE_RSP] = v->rsp = vmreadn(GUEST_RSP);
	v->vcpu.rflags = v->rflags = vmreadn(GUEST_RFLAGS);
	v->vcpu.cr2 = native_read_cr2();
	v->vcpu.cr8 = v->vapic[VMX_VTPR] >> 4;
}

static noinline void vmx_vmfail(struct vmx_vcpu *v)
{
	v->vcpu.exit = (struct mote_exit){
		.reason = MOTE_EXIT_FAIL_ENTRY, .raw = EXIT_REASON_INVALID_STATE,
		.fail = vmread32(VM_INSTRUCTION_ERROR),
	};
	vmx_exit_fail(v);
}

static void vmx_run(struct mote_vcpu *vcpu)
{
	struct mote_exit *exit = &vcpu->exit;
	struct vmx_vcpu *v = to_vmx(vcpu);
	struct vmx_row row;
	u32 reason;
	bool failed;

	if (unlikely(v->pdptes_stale || v->logs || vcpu->rflags & X86_EFLAGS_TF) &&
	    !vmx_prepare_entry(v))
		return;
	vmx_load_debug(v);
	if (static_branch_unlikely(&vmx_perf_key))
		vmx_switch_perf(v);
	if (unlikely(!v->in))
		vmx_switch_in(v);
	else if (static_branch_unlikely(&vmx_l1d_flush_key))
		vmx_l1d_flush(false);
	vmx_write_changes(v);

	failed = vmx_enter(vcpu->gpr, &v->host_rsp, v->launched);
	vmx_restore_debug(v);
	if (unlikely(v->logs))
		vmx_take_log(v);
	if (unlikely(failed)) {
		vmx_vmfail(v);
		return;
	}
	v->launched = true;
	vmx_read_registers(v);
	reason = vmread32(VM_EXIT_REASON);
	row = vmx_row(reason);
	exit->qualification = 0;
	if (row.reason == MOTE_EXIT_PIO) {
		exit->qualification = vmreadn(EXIT_QUALIFICATION);
		vmx_decode_pio(exit->qualification, exit);
	} else if (unlikely(row.needs != VMX_NEED_LEN)) {
		vmx_exit_slow(v, reason, row.needs);
		return;
	}
	exit->reason = row.reason;
	exit->raw = reason;
	exit->insn_len = vmread32(VM_EXIT_INSTRUCTION_LEN);
}

/* ---- creation ------------------------------------------------------------ */

/*
 * MSRs that a guest may touch without an exit: the VMCS has fields for all but
 * KERNEL_GS_BASE, which is switched by hand.
 */
static void vmx_init_msr_map(const struct mote_vm *vm)
{
	static const u32 direct[] = {
		MSR_FS_BASE, MSR_GS_BASE, MSR_KERNEL_GS_BASE,
		MSR_IA32_SYSENTER_CS, MSR_IA32_SYSENTER_ESP, MSR_IA32_SYSENTER_EIP,
	};
	u32 i;

	memset(vm->msr_map, 0xff, PAGE_SIZE);
	for (i = 0; i < ARRAY_SIZE(direct); i++)
		mote_vm_open_msr(vm, direct[i], vmx_msr_bit(direct[i]),
				 vmx_msr_bit(direct[i]) + VMX_MSR_WRITE);
}

static void vmx_init_controls(struct vmx_vcpu *v)
{
	u32 secondary = vmx_host.secondary &
			~((v->vpid ? 0 : SECONDARY_EXEC_ENABLE_VPID) |
			  (v->vcpu.vm->tsc_ratio ? 0 : SECONDARY_EXEC_TSC_SCALING));

	v->primary = vmx_host.primary &
		     ~(v->vcpu.vm->flags & MOTE_VM_RDTSC_EXIT ? 0 : CPU_BASED_RDTSC_EXITING);
	vmwrite32(PIN_BASED_VM_EXEC_CONTROL, vmx_host.pin);
	vmwrite32(CPU_BASED_VM_EXEC_CONTROL, v->primary);
	vmwrite32(SECONDARY_VM_EXEC_CONTROL, secondary);
	vmwrite32(VM_EXIT_CONTROLS, vmx_host.exit);
	vmwrite32(EXCEPTION_BITMAP, VMX_EXCEPTIONS);
	vmwrite64(MSR_BITMAP, __pa(v->vcpu.vm->msr_map));
	vmwrite64(VIRTUAL_APIC_PAGE_ADDR, __pa(v->vapic));
	vmwrite64(EPT_POINTER, vmx_eptp(&v->vcpu.vm->npt));
	vmwrite64(VMCS_LINK_POINTER, ~0ull);
	vmx_init_log(v);
	vmwrite64(VM_ENTRY_MSR_LOAD_ADDR, __pa(v->perf.guest));
	vmwrite64(VM_EXIT_MSR_LOAD_ADDR, __pa(v->perf.host));
	vmwrite64(TSC_OFFSET, v->vcpu.tsc_offset);
	if (secondary & SECONDARY_EXEC_TSC_SCALING)
		vmwrite64(TSC_MULTIPLIER, v->vcpu.vm->tsc_ratio);
	vmwriten(CR0_GUEST_HOST_MASK, ~(unsigned long)VMX_CR0_OWNED);
	if (v->vpid)
		vmwrite16(VIRTUAL_PROCESSOR_ID, v->vpid);
	if (vmx_host.pin & PIN_BASED_VMX_PREEMPTION_TIMER)
		vmwrite32(VMX_PREEMPTION_TIMER_VALUE, vmx_max_run());
	if (secondary & SECONDARY_EXEC_ENCLS_EXITING)
		vmwrite64(ENCLS_EXITING_BITMAP, ~0ull);
	if (secondary & SECONDARY_EXEC_PAUSE_LOOP_EXITING) {
		/* Cycles between the PAUSEs of one loop, and of a loop that is too long. */
		vmwrite32(PLE_GAP, 128);
		vmwrite32(PLE_WINDOW, 4096);
	}
}

/* Fields that begin as zero, whatever their width. */
static const u16 vmx_zeroes[] = {
	PAGE_FAULT_ERROR_CODE_MASK, PAGE_FAULT_ERROR_CODE_MATCH, CR3_TARGET_COUNT, TPR_THRESHOLD,
	VM_EXIT_MSR_STORE_COUNT, VM_EXIT_MSR_LOAD_COUNT, VM_ENTRY_MSR_LOAD_COUNT,
	VM_ENTRY_INTR_INFO_FIELD, GUEST_IA32_DEBUGCTL, GUEST_ACTIVITY_STATE,
	GUEST_RIP, GUEST_RSP, GUEST_RFLAGS,
	/* Null, as 64-bit tasks have them: then there is nothing to restore. */
	HOST_DS_SELECTOR, HOST_ES_SELECTOR, HOST_FS_SELECTOR, HOST_GS_SELECTOR, HOST_FS_BASE,
};

/* Return: false if the CPU does not have all that its capability MSRs promise. */
static bool vmx_init_vmcs(struct vmx_vcpu *v)
{
	u32 failures, i;

	preempt_disable();
	failures = this_cpu_read(vmx_failures);
	vmx_vmclear(__pa(v->vmcs));
	vmx_load(&v->vcpu);
	vmx_init_controls(v);
	for (i = 0; i < ARRAY_SIZE(vmx_zeroes); i++)
		vmx_vmwrite(vmx_zeroes[i], 0);
	vmwrite16(HOST_CS_SELECTOR, __KERNEL_CS);
	vmwrite16(HOST_SS_SELECTOR, __KERNEL_DS);
	vmwrite16(HOST_TR_SELECTOR, GDT_ENTRY_TSS * 8);
	vmwriten(HOST_RIP, (unsigned long)vmx_exit);
	failures = this_cpu_read(vmx_failures) - failures;
	preempt_enable();
	return !failures;
}

static void vmx_vcpu_destroy(struct mote_vcpu *vcpu)
{
	struct vmx_vcpu *v = to_vmx(vcpu);

	vmx_release(v);
	if (v->vpid)
		ida_free(&vmx_vpids, v->vpid);
	free_pages_exact(v->vmcs, 3 * PAGE_SIZE);
}

static int vmx_vcpu_init(struct mote_vcpu *vcpu)
{
	struct vmx_vcpu *v = to_vmx(vcpu);
	int vpid = 0;

	v->vmcs = alloc_pages_exact(3 * PAGE_SIZE, GFP_KERNEL_ACCOUNT | __GFP_ZERO);
	if (!v->vmcs)
		return -ENOMEM;
	v->vapic = v->vmcs + PAGE_SIZE;
	v->log = v->vmcs + 2 * PAGE_SIZE;
	*(u32 *)v->vmcs = vmx_basic_vmcs_revision_id(vmx_host.basic);
	if (vmx_host.secondary & SECONDARY_EXEC_ENABLE_VPID)
		vpid = ida_alloc_range(&vmx_vpids, 1, VMX_NR_VPIDS - 1, GFP_KERNEL);
	v->vpid = max(vpid, 0);
	v->active_cpu = -1;
	if (vmx_init_vmcs(v))
		return 0;
	vmx_vcpu_destroy(vcpu);
	return -EIO;
}

const struct mote_ops mote_vmx_ops = {
	.name = "VT-x",
	.holder = "kvm_intel",
	.vcpu_size = sizeof(struct vmx_vcpu),
	.msr_map_size = PAGE_SIZE,
	.npt_format = &vmx_npt_format,
	MOTE_OPS_OF(vmx),
};
