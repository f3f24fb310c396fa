// SPDX-License-Identifier: GPL-2.0
/*
 * AMD-V: one VMCB per vCPU, nested paging, and no more of SVM than that.
 *
 * "APM" is the AMD64 Architecture Programmer's Manual, volume 2, chapter
 * "Secure Virtual Machine".  What older CPUs lack is done without: next RIP
 * (the instruction is fetched and measured), flush by ASID (a new ASID is
 * taken), decode assists, clean bits, virtual NMIs (IRET is intercepted).
 *
 * Locking: a vCPU's state is under vcpu->lock; struct svm_cpu belongs to its
 * CPU, with preemption off.
 *
 * Not here: what an exit means for the guest (exit.c), pure conversions
 * (svm_arch.h), the switch itself (vmenter_svm.S).
 */
#include <linux/mem_encrypt.h>
#include <asm/fpu/xcr.h>
#include <asm/perf_event.h>
#include <asm/pkru.h>
#include <asm/pgtable.h>
#include <asm/tlbflush.h>
#include <trace/events/ipi.h>

#include "quirk/svm_quirk.h"
#include "watch/watch.h"

#define DR7_ENABLES 0xff
#define DR7_GD 13

#define IOPM_ORDER 2 /* 12 KiB: three pages of four */

/* Exits that svm_insn_exit() knows. */
#define INSN_EXITS (MEASURED_EXITS | BIT(MOTE_EXIT_PIO))

/* Exits that need something done here first. */
#define OWN_EXITS                                                                          \
	(BIT(MOTE_EXIT_NONE) | BIT(MOTE_EXIT_EXCEPTION) | BIT(MOTE_EXIT_INTERRUPT_WINDOW) | \
	 BIT(MOTE_EXIT_CR) | BIT(MOTE_EXIT_DR))

#define BASE_EXCEPTIONS (BIT(X86_TRAP_DB) | BIT(X86_TRAP_AC) | BIT(X86_TRAP_MC))

static DEFINE_PER_CPU(struct svm_cpu, svm_cpus);
static void *svm_iopm;
u32 svm_host_extras;
static u64 svm_host_xss;

/* Executable, writable only with RW; the CPU sets A and D.  WB: entry 0 of the host's PAT. */
static const struct mote_npt_format svm_npt_format = {
	.present = _PAGE_PRESENT,
	.table = _PAGE_PRESENT | _PAGE_RW | _PAGE_USER | _PAGE_ACCESSED,
	.leaf = _PAGE_PRESENT | _PAGE_USER,
	.write = _PAGE_RW,
	.log = _PAGE_RW,
	.large = _PAGE_PSE,
	.accessed = _PAGE_ACCESSED,
	.dirty = _PAGE_DIRTY,
	.code = _PAGE_NX,
};

/*
 * A page for the CPU's own use, never at a multiple of 2 MiB: where SNP is on, an access to a
 * huge page there would fault, as if it reached into this one (an erratum of such CPUs).
 */
static void *svm_alloc_page(gfp_t gfp)
{
	struct page *pages = alloc_pages(gfp | __GFP_ZERO, 1);

	if (!pages)
		return NULL;
	split_page(pages, 1);
	__free_page(pages);
	return page_address(pages + 1);
}

static void svm_intercept(struct svm_vcpu *svm, u32 bit, bool on)
{
	u32 *word = &svm->vmcb->control.intercepts[bit / 32];

	*word = on ? *word | BIT(bit % 32) : *word & ~BIT(bit % 32);
	svm_dirty(svm, CLEAN_INTERCEPTS);
}

/* ---- host ------------------------------------------------------------------- */

static u64 svm_features(u32 edx)
{
	static const u8 feature[][2] = {
		{ 0, MOTE_FEATURE_NPT },	   { 3, MOTE_FEATURE_NRIP },
		{ 5, MOTE_FEATURE_CLEAN_BITS },	   { 6, MOTE_FEATURE_FLUSH_BY_ASID },
		{ 7, MOTE_FEATURE_DECODE_ASSISTS }, { 10, MOTE_FEATURE_PAUSE_FILTER },
		{ 4, MOTE_FEATURE_TSC_SCALING },
	};
	u64 features = BIT(MOTE_FEATURE_UNRESTRICTED) | BIT(MOTE_FEATURE_TPR_SHADOW) |
		       BIT(MOTE_FEATURE_NPT_2M) | BIT(MOTE_FEATURE_NPT_AD);
	u32 i;

	for (i = 0; i < ARRAY_SIZE(feature); i++)
		if (edx & BIT(feature[i][0]))
			features |= BIT(feature[i][1]);
	if (cpuid_edx(0x80000001) & BIT(26))
		features |= BIT(MOTE_FEATURE_NPT_1G);
	if (boot_cpu_has(X86_FEATURE_OSXSAVE))
		features |= BIT(MOTE_FEATURE_XSAVE);
	return features;
}

/* The gravest of what stands in the way on this CPU. */
static void svm_obstacle(struct mote_probe *probe)
{
	u64 vm_cr = 0, efer = 0;

	rdmsrl_safe(MSR_VM_CR, &vm_cr);
	rdmsrl_safe(MSR_EFER, &efer);
	if (vm_cr & SVM_VM_CR_SVM_DIS_MASK) {
		probe->obstacle = MOTE_OBSTACLE_FIRMWARE;
		probe->detail = vm_cr;
	} else if (efer & EFER_SVME && !this_cpu_read(svm_cpus.enabled)) {
		probe->obstacle = MOTE_OBSTACLE_HELD;
	} else if (!(probe->features & BIT(MOTE_FEATURE_NPT))) {
		probe->obstacle = MOTE_OBSTACLE_FEATURE;
		probe->detail = BIT(MOTE_FEATURE_NPT);
	} else if (__sme_set(0ULL)) {
		/* Nested entries would need the encryption bit, which nobody has tried. */
		probe->obstacle = MOTE_OBSTACLE_ENABLE;
		probe->detail = EOPNOTSUPP;
	}
}

/* APM, "Determining Support for SVM". */
static void svm_probe(struct mote_probe *probe)
{
	u32 eax, ebx, ecx, edx;

	*probe = (struct mote_probe){ .obstacle = MOTE_OBSTACLE_NO_EXTENSION };
	if (cpuid_eax(0x80000000) < SVM_CPUID_FUNC || !(cpuid_ecx(0x80000001) & BIT(2)))
		return;
	cpuid(SVM_CPUID_FUNC, &eax, &ebx, &ecx, &edx);
	*probe = (struct mote_probe){
		.vendor = MOTE_VENDOR_SVM,
		.features = svm_features(edx),
		.gpa_bits = min_t(u32, 48, boot_cpu_data.x86_phys_bits),
		.nr_asids = ebx,
		.revision = eax & 0xff,
	};
	if (ebx > 2)
		probe->features |= BIT(MOTE_FEATURE_ASID);
	svm_obstacle(probe);
}

static void svm_teardown(void)
{
	int cpu;

	mote_bochs_clock_teardown();
	for_each_possible_cpu(cpu) {
		struct svm_cpu *c = &per_cpu(svm_cpus, cpu);

		free_page((unsigned long)c->vmsave);
		free_page((unsigned long)c->hsave);
		c->vmsave = c->hsave = NULL;
	}
	free_pages((unsigned long)svm_iopm, IOPM_ORDER);
	svm_iopm = NULL;
}

static u32 svm_extras(void)
{
	u32 emulator = (mote_is_qemu_tcg() ? EXTRA_TCG : 0) | (mote_is_bochs() ? EXTRA_BOCHS : 0);

	svm_host_xss = 0;
	if (boot_cpu_has(X86_FEATURE_XSAVES))
		rdmsrl_safe(MSR_IA32_XSS, &svm_host_xss);
	return emulator | (svm_host_xss ? EXTRA_XSS : 0) |
	       (emulator && boot_cpu_has(X86_FEATURE_OSXSAVE) ? EXTRA_XSETBV : 0) |
	       (boot_cpu_has(X86_FEATURE_OSPKE) ? EXTRA_PKRU : 0) |
	       (boot_cpu_has(X86_FEATURE_BUS_LOCK_DETECT) ? EXTRA_DEBUGCTL : 0) |
	       (boot_cpu_has(X86_FEATURE_RDPID) ? EXTRA_TSC_AUX : 0);
}

static int svm_setup(void)
{
	int cpu, err = -ENOMEM;

	svm_host_extras = svm_extras();
	svm_iopm = (void *)__get_free_pages(GFP_KERNEL, IOPM_ORDER);
	if (!svm_iopm)
		return err;
	/* Every port exits. */
	memset(svm_iopm, 0xff, PAGE_SIZE << IOPM_ORDER);
	for_each_possible_cpu(cpu) {
		struct svm_cpu *c = &per_cpu(svm_cpus, cpu);

		c->vmsave = svm_alloc_page(GFP_KERNEL);
		c->hsave = svm_alloc_page(GFP_KERNEL);
		if (!c->vmsave || !c->hsave)
			goto err_teardown;
		c->host = __pa(c->vmsave);
	}
	err = svm_host_extras & EXTRA_BOCHS ? mote_bochs_clock_setup() : 0;
	if (!err)
		return 0;

err_teardown:
	svm_teardown();
	return err;
}

/* Zen 5: a guest could steer the host's returns, but for a bit that costs while it is set. */
static void svm_reduce_speculation(bool on)
{
#ifdef X86_FEATURE_SRSO_BP_SPEC_REDUCE
	if (boot_cpu_has(X86_FEATURE_SRSO_BP_SPEC_REDUCE))
		svm_msr_bit(MSR_ZEN4_BP_CFG, MSR_ZEN4_BP_CFG_BP_SPEC_REDUCE_BIT, on);
#endif
}

static int svm_cpu_enable(void)
{
	struct svm_cpu *cpu = this_cpu_ptr(&svm_cpus);
	u64 efer;

	rdmsrl(MSR_EFER, efer);
	if (efer & EFER_SVME && !cpu->enabled)
		return -EBUSY;
	if (wrmsrl_safe(MSR_EFER, efer | EFER_SVME))
		return -EIO;
	if (!cpu->enabled)
		mote_bochs_clock(true);
	cpu->enabled = true;
	wrmsrl(MSR_VM_HSAVE_PA, __pa(cpu->hsave));
	/* Another hypervisor may have left a ratio. */
	if (mote_has(MOTE_FEATURE_TSC_SCALING))
		wrmsrl(MSR_AMD64_TSC_RATIO, SVM_TSC_RATIO_DEFAULT);
	if (svm_host_extras & EXTRA_TSC_AUX)
		rdmsrl(MSR_TSC_AUX, cpu->tsc_aux);
	svm_asids_reset(&cpu->asids, mote_host.nr_asids);
	svm_erratum_383_report();
	svm_reduce_speculation(true);
	/* Perf's events that leave out guests, or the host, have bits that count from here on. */
	amd_pmu_enable_virt();
	return 0;
}

/* In a crash this may interrupt the switch, with GIF clear: the host wants its NMIs. */
static void svm_cpu_disable(bool crash)
{
	struct svm_cpu *cpu = this_cpu_ptr(&svm_cpus);
	u64 efer;

	if (!cpu->enabled)
		return;
	cpu->enabled = false;
	mote_bochs_clock(false);
	asm volatile("1: stgi\n2:" _ASM_EXTABLE(1b, 2b) ::: "memory");
	wrmsrl_safe(MSR_VM_HSAVE_PA, 0);
	if (!rdmsrl_safe(MSR_EFER, &efer))
		wrmsrl_safe(MSR_EFER, efer & ~EFER_SVME);
	if (crash)
		return;
	svm_reduce_speculation(false);
	amd_pmu_disable_virt();
}

/* ---- vCPU: creation -------------------------------------------------------------- */

/*
 * MSRs that the guest may access without an exit: those that VMLOAD and VMSAVE
 * switch, and that cannot hold what the CPU would not take.  A filter that has
 * something to say about one is asked.
 */
static void svm_init_msr_map(const struct mote_vm *vm)
{
	static const u32 direct[] = {
		MSR_STAR, MSR_LSTAR, MSR_CSTAR, MSR_SYSCALL_MASK,
		MSR_KERNEL_GS_BASE, MSR_FS_BASE, MSR_GS_BASE,
		MSR_IA32_SYSENTER_CS, MSR_IA32_SYSENTER_ESP, MSR_IA32_SYSENTER_EIP,
	};
	u32 i;

	memset(vm->msr_map, 0xff, SVM_MSRPM_SIZE);
	for (i = 0; i < ARRAY_SIZE(direct); i++)
		mote_vm_open_msr(vm, direct[i], svm_msrpm_bit(direct[i]),
				 svm_msrpm_bit(direct[i]) + 1);
}

/* Nested tables have as many levels as the host's own (APM, "Nested Paging"). */
static u64 svm_ncr3(const struct mote_vcpu *vcpu)
{
	const struct mote_vm *vm = vcpu->vm;
	u64 root = vcpu->view ? vm->whole.root_hpa : vm->npt.root_hpa;
	u64 *top = vm->vendor;

	if (!top)
		return root;
	top += vcpu->view ? MOTE_NPT_ENTRIES : 0;
	*top = root | svm_npt_format.table;
	return __pa(top);
}

static void svm_init_control(struct svm_vcpu *svm)
{
	struct vmcb_control_area *control = &svm->vmcb->control;
	const struct mote_vm *vm = svm->vcpu.vm;
	u32 *intercepts = control->intercepts;

	/*
	 * Let through: MOV CR, CLTS, LMSW, SMSW, but for writes of CR4 and of CR0's bits
	 * other than TS and MP, some of which are held back.  CR8 is V_TPR.
	 */
	intercepts[INTERCEPT_CR] = BIT(INTERCEPT_CR4_WRITE);
	/* DR0 to DR3 are the host's until the guest uses them. */
	intercepts[INTERCEPT_DR] = ~0u;
	/*
	 * Let through: all but those whose delivery can go round for ever
	 * without an interrupt being taken (#DB, #AC), the host's own (#MC), and
	 * those that a debugger wants.
	 */
	intercepts[INTERCEPT_EXCEPTION] = BASE_EXCEPTIONS | mote_exceptions(&svm->vcpu);
	/*
	 * Let through: SMI (the firmware's); virtual interrupts (but see
	 * svm_window()); descriptor tables and task switches, which the CPU does
	 * in guest memory; RDTSC, which has its offset; PUSHF, POPF, INT n and INVLPG,
	 * which are the guest's own; IRET (but see svm_block_nmis()); PAUSE, unless it
	 * can be filtered; a CPU frozen by FERR#, which the host's interrupts wake.
	 */
	intercepts[INTERCEPT_WORD3] = (u32)
		~(BIT(INTERCEPT_SMI % 32) | BIT(INTERCEPT_VINTR % 32) |
		  BIT(INTERCEPT_STORE_IDTR % 32) | BIT(INTERCEPT_STORE_GDTR % 32) |
		  BIT(INTERCEPT_STORE_LDTR % 32) | BIT(INTERCEPT_STORE_TR % 32) |
		  BIT(INTERCEPT_LOAD_IDTR % 32) | BIT(INTERCEPT_LOAD_GDTR % 32) |
		  BIT(INTERCEPT_LOAD_LDTR % 32) | BIT(INTERCEPT_LOAD_TR % 32) |
		  BIT(INTERCEPT_TASK_SWITCH % 32) | BIT(INTERCEPT_FERR_FREEZE % 32) |
		  BIT(INTERCEPT_RDTSC % 32) | BIT(INTERCEPT_PUSHF % 32) |
		  BIT(INTERCEPT_POPF % 32) | BIT(INTERCEPT_INTn % 32) |
		  BIT(INTERCEPT_INVLPG % 32) | BIT(INTERCEPT_IRET % 32) |
		  BIT(INTERCEPT_PAUSE % 32));
	/*
	 * Let through: INT1, an exception like others.  From bit 15 on are traps
	 * after writes of EFER and CRs, which are for encrypted guests.
	 */
	intercepts[INTERCEPT_WORD4] = GENMASK(14, 0) & ~BIT(INTERCEPT_ICEBP % 32);
	/* INVLPGB, INVPCID, MCOMMIT, TLBSYNC: guests do not have them. */
	intercepts[INTERCEPT_WORD5] = GENMASK(4, 0);
	if (vm->flags & MOTE_VM_RDTSC_EXIT)
		intercepts[INTERCEPT_WORD3] |= BIT(INTERCEPT_RDTSC % 32);
	if (mote_has(MOTE_FEATURE_PAUSE_FILTER)) {
		intercepts[INTERCEPT_WORD3] |= BIT(INTERCEPT_PAUSE % 32);
		control->pause_filter_count = 3000;
	}

	control->iopm_base_pa = __pa(svm_iopm);
	control->msrpm_base_pa = __pa(vm->msr_map);
	control->int_ctl = V_INTR_MASKING_MASK;
	control->nested_ctl = SVM_NESTED_CTL_NP_ENABLE;
	control->nested_cr3 = svm_ncr3(&svm->vcpu);
}

static void svm_vcpu_destroy(struct mote_vcpu *vcpu)
{
	free_page((unsigned long)to_svm(vcpu)->vmcb);
}

static int svm_vcpu_init(struct mote_vcpu *vcpu)
{
	struct svm_vcpu *svm = to_svm(vcpu);

	if (pgtable_l5_enabled() && !vcpu->vm->vendor) {
		vcpu->vm->vendor = (void *)__get_free_pages(GFP_KERNEL_ACCOUNT | __GFP_ZERO, 1);
		if (!vcpu->vm->vendor)
			return -ENOMEM;
	}
	svm->vmcb = svm_alloc_page(GFP_KERNEL_ACCOUNT);
	if (!svm->vmcb)
		return -ENOMEM;
	svm->vmcb_hpa = __pa(svm->vmcb);
	svm->code_gva = ~0ull;
	svm->no_step_rip = ~0ull;
	svm_init_control(svm);
	svm->vmcb->save.dr6 = DR6_RESERVED;
	return 0;
}

static void svm_set_tsc(struct mote_vcpu *vcpu)
{
	to_svm(vcpu)->vmcb->control.tsc_offset = vcpu->tsc_offset;
	svm_dirty(to_svm(vcpu), CLEAN_INTERCEPTS);
}

/* ---- vCPU: on a CPU ----------------------------------------------------------------- */

/* The guest has its DR0 to DR3 from its first use of them until it is unloaded. */
static void svm_use_drs(struct svm_vcpu *svm, bool use)
{
	svm->vcpu.dr_live = use;
	/* Those of a debugger are not the guest's to see. */
	svm->vmcb->control.intercepts[INTERCEPT_DR] =
		use && !(svm->vcpu.debug.flags & MOTE_DEBUG_DRS) ? 0 : ~0u;
	svm_dirty(svm, CLEAN_INTERCEPTS);
}

/*
 * The host's FS, GS, TR, LDTR and syscall MSRs do not change until it is unloaded: the
 * task stays, and nothing in the kernel writes them behind its back.  One
 * VMSAVE serves all entries.
 */
static void svm_load(struct mote_vcpu *vcpu)
{
	struct svm_cpu *cpu = this_cpu_ptr(&svm_cpus);
	struct svm_vcpu *svm = to_svm(vcpu);

	if (svm->cpu != cpu) {
		svm->cpu = cpu;
		svm->generation = 0;
		svm->other_generation = 0;
		svm->vmcb->control.clean = 0;
	}
	asm volatile("1: vmsave %%rax\n2:" _ASM_EXTABLE(1b, 2b) :: "a" (cpu->host) : "memory");
	if (svm_host_extras & EXTRA_TSC_AUX)
		wrmsrl(MSR_TSC_AUX, 0);
	if (vcpu->vm->tsc_ratio)
		wrmsrl(MSR_AMD64_TSC_RATIO, vcpu->vm->tsc_ratio >> 16);
}

static void svm_unload(struct mote_vcpu *vcpu)
{
	struct svm_vcpu *svm = to_svm(vcpu);

	if (svm_host_extras & EXTRA_TSC_AUX)
		wrmsrl(MSR_TSC_AUX, svm->cpu->tsc_aux);
	if (vcpu->vm->tsc_ratio)
		wrmsrl(MSR_AMD64_TSC_RATIO, SVM_TSC_RATIO_DEFAULT);
	if (vcpu->dr_live) {
		svm_use_drs(svm, false);
		hw_breakpoint_restore();
	}
}

static void svm_flush(struct mote_vcpu *vcpu)
{
	struct svm_vcpu *svm = to_svm(vcpu);

	svm->code_gva = ~0ull;
	svm->other_generation = 0;
	if (mote_has(MOTE_FEATURE_FLUSH_BY_ASID))
		svm->vmcb->control.tlb_ctl = TLB_CONTROL_FLUSH_ASID;
	else
		svm->generation = 0;
}

static void svm_new_asid(struct svm_vcpu *svm)
{
	struct vmcb_control_area *control = &svm->vmcb->control;
	bool flush;

	control->asid = svm_asids_take(&svm->cpu->asids, &flush);
	control->tlb_ctl = flush ? TLB_CONTROL_FLUSH_ALL_ASID : TLB_CONTROL_DO_NOTHING;
	svm->generation = svm->cpu->asids.generation;
	svm_dirty(svm, CLEAN_ASID);
}

/* ---- vCPU: control registers ---------------------------------------------------------- */

/* What the guest sees of CR0, where they would slow it and the host down: never in force. */
#define CR0_HELD ((u64)X86_CR0_CD | X86_CR0_NW)

/* Writes of these bits forget translations (APM 2, "Translation-Lookaside Buffer"). */
#define CR4_FLUSHES (X86_CR4_PSE | X86_CR4_PAE | X86_CR4_PGE | X86_CR4_PCIDE | X86_CR4_SMEP | \
		     X86_CR4_SMAP | X86_CR4_LA57)

static u64 svm_get_cr0(const struct svm_vcpu *svm)
{
	return svm->vmcb->save.cr0 | svm->cr0_held;
}

static void svm_set_cr0(struct svm_vcpu *svm, u64 cr0)
{
	struct vmcb_save_area *save = &svm->vmcb->save;

	if ((save->cr0 ^ cr0) & X86_CR0_PG)
		svm->generation = 0;
	save->cr0 = cr0 & ~CR0_HELD;
	svm->cr0_held = cr0 & CR0_HELD;
	svm_intercept(svm, INTERCEPT_CR0_READ, svm->cr0_held);
	svm_dirty(svm, CLEAN_CRS);
}

/* MCE stays the host's: with it clear a machine check would shut the whole machine down. */
static void svm_set_cr4(struct svm_vcpu *svm, u64 cr4)
{
	struct vmcb_save_area *save = &svm->vmcb->save;

	if ((svm->cr4 ^ cr4) & CR4_FLUSHES)
		svm->generation = 0;
	svm->cr4 = cr4;
	save->cr4 = cr4 | (cr4_read_shadow() & X86_CR4_MCE);
	svm_intercept(svm, INTERCEPT_CR4_READ, save->cr4 != cr4);
	svm_dirty(svm, CLEAN_CRS);
}

static void svm_set_cr(struct mote_vcpu *vcpu, u32 cr, u64 value)
{
	if (cr)
		svm_set_cr4(to_svm(vcpu), value);
	else
		svm_set_cr0(to_svm(vcpu), value);
}

/* ---- vCPU: events ----------------------------------------------------------------------- */

/* Between the delivery of an NMI and its IRET; the IRET is what tells. */
static void svm_block_nmis(struct svm_vcpu *svm, bool blocked)
{
	svm->nmi_blocked = blocked;
	svm->rare &= ~RARE_IRET;
	svm_intercept(svm, INTERCEPT_IRET, blocked);
}

/*
 * A virtual interrupt that is never delivered: its intercept says when it
 * could be.  QEMU cannot stand a write to CR8 while one pends, so these exit
 * meanwhile, too.
 */
void svm_window(struct mote_vcpu *vcpu, u32 windows)
{
	struct svm_vcpu *svm = to_svm(vcpu);
	bool interrupt = windows & MOTE_WINDOW_INTERRUPT;
	u32 *int_ctl = &svm->vmcb->control.int_ctl;

	*int_ctl &= ~V_IRQ_INJECTION_BITS_MASK;
	if (interrupt)
		*int_ctl |= V_IRQ_MASK | V_IGN_TPR_MASK | V_INTR_PRIO_MASK;
	svm_dirty(svm, CLEAN_INTR);
	svm_intercept(svm, INTERCEPT_VINTR, interrupt);
	svm_intercept(svm, INTERCEPT_CR8_WRITE, interrupt || windows & MOTE_WINDOW_TPR);
	svm->rare &= ~(RARE_NMI | RARE_WINDOW);
	if (windows & MOTE_WINDOW_NMI)
		svm->rare |= RARE_NMI;
	if (interrupt && svm_host_extras & EXTRA_TCG)
		svm->rare |= RARE_WINDOW;
}

static void svm_inject(struct mote_vcpu *vcpu, const struct mote_event *event)
{
	struct svm_vcpu *svm = to_svm(vcpu);
	struct vmcb_control_area *control = &svm->vmcb->control;

	if (svm_host_extras & EXTRA_TCG && event->type == MOTE_EVENT_INTERRUPT && !vcpu->view &&
	    !(svm->rare & ~(RARE_SHADOW | RARE_WINDOW))) {
		svm_inject_virtual(svm, event->vector);
		return;
	}
	control->event_inj = svm_event_encode(event);
	/* Real mode pushes no error codes. */
	if (!(svm->vmcb->save.cr0 & X86_CR0_PE))
		control->event_inj &= ~SVM_EVTINJ_VALID_ERR;
	/* QUIRK(bochs 2.7): an NMI would block the host's, which are to end this guest. */
	if (svm_host_extras & EXTRA_BOCHS && event->type == MOTE_EVENT_NMI)
		control->event_inj &= ~SVM_EVTINJ_TYPE_MASK;
	control->event_inj_err = event->error;
	/* With RARE_IRET: RIP moves, but not because the IRET ran. */
	if (event->type == MOTE_EVENT_NMI || svm->rare & RARE_IRET)
		svm_block_nmis(svm, true);
}

static u32 svm_cpl(const struct mote_vcpu *vcpu)
{
	return container_of(vcpu, const struct svm_vcpu, vcpu)->vmcb->save.cpl;
}

static u32 svm_can_take(struct mote_vcpu *vcpu)
{
	struct svm_vcpu *svm = to_svm(vcpu);

	/* A debug trap comes before either (APM 2, "Priorities"). */
	if (svm_in_shadow(svm) || svm->pending_debug)
		return 0;
	return (vcpu->rflags & X86_EFLAGS_IF ? MOTE_WINDOW_INTERRUPT : 0) |
	       (svm->nmi_blocked ? 0 : MOTE_WINDOW_NMI);
}

static void svm_set_pending_debug(struct svm_vcpu *svm, u64 bits)
{
	svm->pending_debug = bits;
	svm->rare = bits ? svm->rare | RARE_DEBUG : svm->rare & ~RARE_DEBUG;
}

static void svm_skip(struct mote_vcpu *vcpu)
{
	struct svm_vcpu *svm = to_svm(vcpu);

	svm->vmcb->control.int_state &= ~SVM_INTERRUPT_SHADOW_MASK;
	if (unlikely(vcpu->rflags & (X86_EFLAGS_TF | X86_EFLAGS_RF))) {
		if (vcpu->rflags & X86_EFLAGS_TF)
			svm_set_pending_debug(svm, svm->pending_debug | DR_STEP);
		vcpu->rflags &= ~(u64)X86_EFLAGS_RF;
	}
}

/*
 * SVM has no field for a debug trap that pends: it is injected; or, for a debugger, an exit in
 * place of the entry: false.
 */
static bool svm_inject_debug(struct svm_vcpu *svm)
{
	static const struct mote_event trap = {
		.valid = 1, .type = MOTE_EVENT_EXCEPTION, .vector = X86_TRAP_DB,
	};
	bool enters = !(svm->vcpu.debug.exceptions & BIT(X86_TRAP_DB));

	svm->vcpu.dr6 |= svm->pending_debug & (DR_STEP | DR_TRAP_BITS);
	svm_set_pending_debug(svm, 0);
	if (enters)
		svm_inject(&svm->vcpu, &trap);
	else
		svm->vcpu.exit = (struct mote_exit){
			.reason = MOTE_EXIT_EXCEPTION, .raw = SVM_EXIT_EXCP_BASE + X86_TRAP_DB,
			.exception = trap,
		};
	return enters;
}

/* What would push our TF, or load another: exceptions, INT n, INT1, PUSHF, POPF. */
static void svm_intercept_flags(struct svm_vcpu *svm, bool on)
{
	u32 *intercepts = svm->vmcb->control.intercepts;

	intercepts[INTERCEPT_EXCEPTION] = on ? ~0u : BASE_EXCEPTIONS | mote_exceptions(&svm->vcpu);
	svm_intercept(svm, INTERCEPT_INTn, on);
	svm_intercept(svm, INTERCEPT_ICEBP, on);
	svm_intercept(svm, INTERCEPT_PUSHF, on);
	svm_intercept(svm, INTERCEPT_POPF, on);
}

/*
 * Something that lasts one instruction is in the NMI's way: an IRET or a
 * shadow.  Let the guest do that one, but without our TF if it would be seen:
 * then the NMI has to wait for the exit after it.
 */
void svm_step(struct svm_vcpu *svm)
{
	if (svm->rare & RARE_STEP || svm->vcpu.rip == svm->no_step_rip)
		return;
	svm->rare |= RARE_STEP;
	svm->step_tf = svm->vcpu.rflags & X86_EFLAGS_TF;
	svm->step_dr6 = svm->vcpu.dr6;
	svm->vcpu.rflags |= X86_EFLAGS_TF;
	svm_intercept_flags(svm, true);
}

/* With something in svm->rare, before an entry; false: there is an exit instead. */
static bool svm_rare_entry(struct svm_vcpu *svm)
{
	const u32 *inject = &svm->vmcb->control.event_inj;

	if (svm->pending_debug && !(*inject & SVM_EVTINJ_VALID) && !svm_in_shadow(svm) &&
	    !svm_inject_debug(svm))
		return false;
	if (svm->rare & RARE_SHADOW)
		svm_keep_shadow(svm);
	if (svm->rare & RARE_NMI) {
		bool injects = *inject & SVM_EVTINJ_VALID;

		/* The NMI is next: a host interrupt ends the guest behind the delivery. */
		if (injects && !svm->nmi_blocked)
			smp_send_reschedule(smp_processor_id());
		else if (!injects && (svm->rare & RARE_IRET ||
				      (!svm->nmi_blocked && svm_in_shadow(svm))))
			svm_step(svm);
	}
	svm->entry_rip = svm->vcpu.rip;
	svm->entry_rsp = svm->vcpu.gpr[MOTE_RSP];
	if (svm->rare & (RARE_VIRQ | RARE_WINDOW))
		mote_qemu_keep_timer(&svm->host_timer);
	return true;
}

static void svm_end_step(struct svm_vcpu *svm, bool moved)
{
	struct mote_exit *exit = &svm->vcpu.exit;
	struct mote_vcpu *vcpu = &svm->vcpu;

	svm_intercept_flags(svm, false);
	/* What IRET loaded stays. */
	if (!moved || !(svm->rare & RARE_IRET))
		vcpu->rflags = (vcpu->rflags & ~X86_EFLAGS_TF) | svm->step_tf;
	if (exit->reason == MOTE_EXIT_EXCEPTION && exit->exception.vector == X86_TRAP_DB &&
	    !svm->step_tf) {
		vcpu->dr6 = (vcpu->dr6 & ~DR_STEP) | (svm->step_dr6 & DR_STEP);
		/* Unless a breakpoint was hit as well. */
		if (!(vcpu->dr6 & ~svm->step_dr6 & DR_TRAP_BITS))
			exit->reason = MOTE_EXIT_NONE;
	} else if (svm_is_flags_exit(exit->raw)) {
		exit->reason = MOTE_EXIT_NONE;
		svm->no_step_rip = vcpu->rip;
	}
	svm->rare &= ~RARE_STEP;
}

/* With something in svm->rare, after an exit. */
static void svm_rare_exit(struct svm_vcpu *svm)
{
	struct mote_exit *exit = &svm->vcpu.exit;
	struct mote_vcpu *vcpu = &svm->vcpu;
	bool moved = vcpu->rip != svm->entry_rip || vcpu->gpr[MOTE_RSP] != svm->entry_rsp;

	if (svm->rare & RARE_VIRQ)
		svm_take_virtual_back(svm);
	svm->no_step_rip = ~0ull;
	if (svm->rare & RARE_STEP)
		svm_end_step(svm, moved);
	/* Something else may have come before the instruction. */
	if (svm->rare & RARE_SHADOW && !moved)
		svm->vmcb->control.int_state |= SVM_INTERRUPT_SHADOW_MASK;
	if (svm->rare & RARE_LMSW) {
		svm_intercept(svm, INTERCEPT_SELECTIVE_CR0, true);
		svm_set_cr0(svm, svm_get_cr0(svm) & MOTE_CR0_DEFINED);
	}
	svm->rare &= ~(RARE_SHADOW | RARE_LMSW);
	/* NMIs are open again when the IRET is through, or has faulted. */
	if (svm->rare & RARE_IRET && (moved || exit->reason == MOTE_EXIT_EXCEPTION))
		svm_block_nmis(svm, false);
	if (svm->rare & RARE_NMI && !vcpu->event.valid && svm_can_take(vcpu) & MOTE_WINDOW_NMI) {
		if (exit->reason == MOTE_EXIT_NONE) {
			svm->rare &= ~RARE_NMI;
			exit->reason = MOTE_EXIT_NMI_WINDOW;
		} else {
			atomic_or(MOTE_REQ_EVENT, &vcpu->requests);
		}
	}
}

/* An exit cut the delivery of an event short, or VMRUN refused it with the rest. */
static void svm_take_event_back(struct svm_vcpu *svm, u32 info, u32 error)
{
	struct mote_event event = svm_event_decode(info, error);
	u8 vector = info & SVM_EVTINJ_VEC_MASK;

	/* INT3 and INTO that a debugger was asked about are injected, and not done again. */
	if ((info & ~SVM_EVTINJ_VEC_MASK) == (SVM_EVTINJ_VALID | SVM_EVTINJ_TYPE_EXEPT) &&
	    vector < 32 && svm->vcpu.debug.exceptions & BIT(vector))
		event = (struct mote_event){
			.valid = 1, .type = MOTE_EVENT_EXCEPTION, .vector = vector,
		};
	if (svm_host_extras & EXTRA_BOCHS && event.vector == X86_TRAP_NMI)
		event.type = MOTE_EVENT_NMI;
	if (event.valid && event.type == MOTE_EVENT_NMI)
		svm_block_nmis(svm, false);
	mote_event_cut_short(&svm->vcpu, event);
}

static void svm_after_event(struct svm_vcpu *svm, u32 injected)
{
	const struct mote_exit *exit = &svm->vcpu.exit;
	struct vmcb_control_area *control = &svm->vmcb->control;

	if (exit->reason == MOTE_EXIT_FAIL_ENTRY)
		svm_take_event_back(svm, injected, control->event_inj_err);
	else if (control->exit_int_info & SVM_EXITINTINFO_VALID)
		svm_take_event_back(svm, control->exit_int_info, control->exit_int_info_err);
	control->event_inj = 0;
}

/* Each tree has an ASID of its own. */
static void svm_view(struct mote_vcpu *vcpu)
{
	struct svm_vcpu *svm = to_svm(vcpu);
	struct vmcb_control_area *control = &svm->vmcb->control;
	u64 root = svm_ncr3(vcpu);

	if (control->nested_cr3 != root) {
		control->nested_cr3 = root;
		swap(control->asid, svm->other_asid);
		swap(svm->generation, svm->other_generation);
		svm_dirty(svm, CLEAN_NPT | CLEAN_ASID);
	}
	control->intercepts[INTERCEPT_EXCEPTION] = BASE_EXCEPTIONS | mote_exceptions(vcpu);
	svm_dirty(svm, CLEAN_INTERCEPTS);
}

/* ---- vCPU: entry and exit ------------------------------------------------------------------ */

static void svm_load_drs(struct svm_vcpu *svm)
{
	struct mote_vcpu *vcpu = &svm->vcpu;

	if (!vcpu->dr_live)
		svm_use_drs(svm, true);
	mote_load_drs(vcpu);
	/* QUIRK(qemu 7.2): breakpoints are those of the last MOV to DR7, whatever VMRUN loads. */
	if (svm_host_extras & EXTRA_TCG && vcpu->debug.flags & MOTE_DEBUG_DRS)
		set_debugreg(svm->vmcb->save.dr7 & ~BIT_ULL(DR7_GD), 7);
}

static u32 svm_extras_before(struct svm_vcpu *svm)
{
	u32 host_pkru = 0;

	if (svm_host_extras & EXTRA_XSS)
		wrmsrl(MSR_IA32_XSS, 0);
	if (svm_host_extras & EXTRA_DEBUGCTL) {
		svm->host_debugctl = get_debugctlmsr();
		if (svm->host_debugctl)
			update_debugctlmsr(0);
	}
	if (svm_host_extras & EXTRA_PKRU) {
		host_pkru = rdpkru();
		if (host_pkru != svm->pkru)
			wrpkru(svm->pkru);
	}
	return host_pkru;
}

static void svm_extras_after(struct svm_vcpu *svm, u32 host_pkru)
{
	if (svm_host_extras & EXTRA_PKRU) {
		svm->pkru = rdpkru();
		if (host_pkru != svm->pkru)
			wrpkru(host_pkru);
	}
	if (svm_host_extras & EXTRA_XSS)
		wrmsrl(MSR_IA32_XSS, svm_host_xss);
	if (svm_host_extras & EXTRA_DEBUGCTL && svm->host_debugctl)
		update_debugctlmsr(svm->host_debugctl);
}

/* What common code keeps goes into the VMCB, if it has changed. */
static __always_inline void svm_fill_vmcb(struct svm_vcpu *svm)
{
	struct vmcb_control_area *control = &svm->vmcb->control;
	struct vmcb_save_area *save = &svm->vmcb->save;
	struct mote_vcpu *vcpu = &svm->vcpu;

	save->rax = vcpu->gpr[MOTE_RAX];
	save->rsp = vcpu->gpr[MOTE_RSP];
	save->rip = vcpu->rip;
	save->rflags = vcpu->rflags;
	if (unlikely(save->cr2 != vcpu->cr2)) {
		save->cr2 = vcpu->cr2;
		svm_dirty(svm, CLEAN_CR2);
	}
	if (unlikely(save->dr6 != vcpu->dr6)) {
		save->dr6 = vcpu->dr6;
		svm_dirty(svm, CLEAN_DRS);
	}
	if (unlikely((control->int_ctl & V_TPR_MASK) != vcpu->cr8)) {
		control->int_ctl = (control->int_ctl & ~V_TPR_MASK) | vcpu->cr8;
		svm_dirty(svm, CLEAN_INTR);
	}
	/* What is found there if VMRUN does not come to write it. */
	control->exit_code = (u32)SVM_EXIT_ERR;
}

static __always_inline void svm_read_vmcb(struct svm_vcpu *svm)
{
	struct vmcb_control_area *control = &svm->vmcb->control;
	struct vmcb_save_area *save = &svm->vmcb->save;
	struct mote_vcpu *vcpu = &svm->vcpu;

	vcpu->gpr[MOTE_RAX] = save->rax;
	vcpu->gpr[MOTE_RSP] = save->rsp;
	vcpu->rip = save->rip;
	vcpu->rflags = save->rflags;
	vcpu->cr2 = save->cr2;
	vcpu->dr6 = save->dr6;
	vcpu->cr8 = control->int_ctl & V_TPR_MASK;
	control->tlb_ctl = TLB_CONTROL_DO_NOTHING;
	control->clean = CLEAN_ALL;
}

/* The CPU switches DR6 and DR7 and leaves the host's disabled: give back what it uses. */
static __always_inline void svm_restore_host_drs(struct mote_vcpu *vcpu)
{
	if (unlikely(vcpu->dr_live)) {
		mote_save_drs(vcpu);
		if (svm_host_extras & EXTRA_TCG && vcpu->debug.flags & MOTE_DEBUG_DRS)
			set_debugreg(0ul, 7);
	}
	if (unlikely(hw_breakpoint_active()))
		hw_breakpoint_restore();
	else if (unlikely(vcpu->dr6 != DR6_RESERVED))
		set_debugreg(DR6_RESERVED, 6);
}

/*
 * MOV to CR0, CR4 or CR8, or from CR0 or CR4.  APM 2, "MOV-CRx Decode Assist".  LMSW cannot
 * reach a bit that is held back: it is let through, and CR0 looked at after the next exit.
 */
static void svm_exit_cr(struct svm_vcpu *svm)
{
	struct mote_exit *exit = &svm->vcpu.exit;
	bool selective = exit->raw == SVM_EXIT_CR0_SEL_WRITE, write = exit->raw & 0x10 || selective;
	u32 cr = selective ? 0 : exit->raw & 15, len = exit->insn_len;
	u64 mask = svm_is_64bit(svm) ? ~0ull : (u32)~0u;
	struct mote_vcpu *vcpu = &svm->vcpu;
	u8 reg = exit->qualification & 15;

	if (!(exit->qualification >> 63) || !len)
		len = svm_measure_mov_cr(svm, cr, write, &reg);
	if (!len) {
		if (selective && exit->reason == MOTE_EXIT_NONE) {
			svm_intercept(svm, INTERCEPT_SELECTIVE_CR0, false);
			svm->rare |= RARE_LMSW;
		}
		return;
	}
	if (!write)
		vcpu->gpr[reg] = (cr ? svm->cr4 : svm_get_cr0(svm)) & mask;
	if (!write || mote_exit_mov_to_cr(vcpu, cr, vcpu->gpr[reg] & mask))
		mote_complete(vcpu, mote_next_rip(vcpu, len));
	else
		mote_event_raise(vcpu, X86_TRAP_GP, 0);
}

/* Exits that are finished, or changed, before common code sees them. */
static void svm_own_exit(struct svm_vcpu *svm)
{
	struct mote_exit *exit = &svm->vcpu.exit;

	switch (exit->raw) {
	case SVM_EXIT_READ_CR0 ... SVM_EXIT_WRITE_CR8:
	case SVM_EXIT_CR0_SEL_WRITE:
		svm_exit_cr(svm);
		break;
	case SVM_EXIT_READ_DR0 ... SVM_EXIT_WRITE_DR7:
		svm_use_drs(svm, true);
		break;
	case SVM_EXIT_EXCP_BASE + X86_TRAP_PF:
		/* While stepping, or for a debugger: the address is in the guest's hands again. */
		svm->vcpu.cr2 = svm->vmcb->control.exit_info_2;
		break;
	case SVM_EXIT_EXCP_BASE + X86_TRAP_MC:
		exit->reason = MOTE_EXIT_SHUTDOWN;
		if (svm_is_erratum_383())
			break;
		mote_host_machine_check();
		exit->reason = MOTE_EXIT_NONE;
		break;
	case SVM_EXIT_VINTR:
		svm_window(&svm->vcpu, (svm->rare & RARE_NMI ? MOTE_WINDOW_NMI : 0) |
				       (svm->vcpu.window_set & MOTE_WINDOW_TPR));
		break;
	case SVM_EXIT_IRET:
		svm_intercept(svm, INTERCEPT_IRET, false);
		svm->rare |= RARE_IRET;
		svm->entry_rip = svm->vcpu.rip;
		svm->entry_rsp = svm->vcpu.gpr[MOTE_RSP];
		break;
	}
}

/* An emulator lets XSETBV through: what may not be is undone, the caller restores the host's. */
static void svm_take_xcr0(struct svm_vcpu *svm)
{
	struct mote_vcpu *vcpu = &svm->vcpu;
	u64 xcr0 = xgetbv(XCR_XFEATURE_ENABLED_MASK);

	if (likely(xcr0 == vcpu->xcr0))
		return;
	if (mote_xcr0_valid(xcr0, &vcpu->caps))
		vcpu->xcr0 = xcr0;
	else
		xsetbv(XCR_XFEATURE_ENABLED_MASK, vcpu->xcr0);
}

static __always_inline void svm_switch(struct svm_vcpu *svm)
{
	u32 extras = svm_host_extras, host_pkru = 0;

	if (unlikely(svm->vcpu.dr_live || svm->vmcb->save.dr7 & DR7_ENABLES))
		svm_load_drs(svm);
	if (unlikely(extras & (EXTRA_XSS | EXTRA_PKRU | EXTRA_DEBUGCTL)))
		host_pkru = svm_extras_before(svm);
	/* Bochs 2.7 does not load it from the VMCB; a fault of the host's may have come since. */
	if (unlikely(native_read_cr2() != svm->vcpu.cr2))
		native_write_cr2(svm->vcpu.cr2);
	mote_svm_enter(svm->vcpu.gpr, svm->vmcb_hpa, svm->cpu->host);
	if (unlikely(extras & (EXTRA_XSS | EXTRA_PKRU | EXTRA_DEBUGCTL)))
		svm_extras_after(svm, host_pkru);
	if (extras & EXTRA_XSETBV)
		svm_take_xcr0(svm);
}

/* An instruction that wants its length and nothing else, or port I/O, the fast way. */
static __always_inline void svm_insn_exit(struct svm_vcpu *svm, u32 reason)
{
	struct mote_exit *exit = &svm->vcpu.exit;
	const struct vmcb_control_area *control = &svm->vmcb->control;
	u64 len = control->next_rip - svm->vcpu.rip;

	if (reason == MOTE_EXIT_RDMSR && control->exit_info_1 & 1)
		reason = MOTE_EXIT_WRMSR;
	exit->reason = reason;
	exit->raw = control->exit_code;
	exit->qualification = 0;
	if (reason == MOTE_EXIT_PIO) {
		svm_decode_pio(control->exit_info_1, control->exit_info_2 - svm->vcpu.rip, exit);
		return;
	}
	/* None is 0, also where RIP is. */
	exit->insn_len = len - 1 < 15 ? len :
			 svm_plain_length(svm, reason) ?: svm_measure(svm);
}

/*
 * APM 2, "Shutdown Intercept": the VMCB is undefined.  Its controls are made anew, and what
 * there is of a state is judged before it is entered.
 */
static void svm_exit_shutdown(struct svm_vcpu *svm)
{
	struct vmcb_control_area *control = &svm->vmcb->control;

	memset(control, 0, sizeof(*control));
	svm_init_control(svm);
	svm_set_tsc(&svm->vcpu);
	svm_set_cr0(svm, svm_get_cr0(svm));
	svm_set_cr4(svm, svm->cr4);
	svm_window(&svm->vcpu, 0);
	mote_event_window_is_gone(&svm->vcpu, svm->vcpu.window_set);
	svm_block_nmis(svm, svm->nmi_blocked);
	svm->vcpu.dr_live = false;
	svm->vmcb->save.efer |= EFER_SVME;
	svm->generation = 0;
	svm->vcpu.check = true;
}

/* All other exits, and those around which something rare goes on. */
static noinline void svm_other_exit(struct svm_vcpu *svm, u32 injected)
{
	struct mote_exit *exit = &svm->vcpu.exit;
	const struct vmcb_control_area *control = &svm->vmcb->control;

	svm_decode_exit(control, svm->vcpu.rip, exit);
	if (exit->reason == MOTE_EXIT_SHUTDOWN) {
		svm_exit_shutdown(svm);
	} else if (exit->reason == MOTE_EXIT_FAIL_ENTRY) {
		/* Nor has the CPU flushed what it was told to, or read what has changed. */
		svm_asids_reset(&svm->cpu->asids, svm->cpu->asids.nr);
		svm_dirty(svm, CLEAN_ALL);
	}
	if (injected || control->exit_int_info & SVM_EXITINTINFO_VALID)
		svm_after_event(svm, injected);
	if (svm->rare)
		svm_rare_exit(svm);
	svm_notice_shadow(svm);
	if (BIT(exit->reason) & OWN_EXITS)
		svm_own_exit(svm);
	else if (BIT(exit->reason) & MEASURED_EXITS && !exit->insn_len)
		exit->insn_len = svm_plain_length(svm, exit->reason) ?: svm_measure(svm);
}

static void svm_run(struct mote_vcpu *vcpu)
{
	struct svm_vcpu *svm = to_svm(vcpu);
	struct vmcb_control_area *control = &svm->vmcb->control;
	u32 injected, reason, rare;

	if (unlikely(svm->rare) && !svm_rare_entry(svm))
		return;
	if (unlikely(svm->generation != svm->cpu->asids.generation))
		svm_new_asid(svm);
	svm_fill_vmcb(svm);
	injected = control->event_inj;

	svm_switch(svm);

	rare = svm->rare;
	if (unlikely(rare & (RARE_VIRQ | RARE_WINDOW)))
		mote_qemu_give_timer_back(&svm->host_timer);
	svm_read_vmcb(svm);
	svm_restore_host_drs(vcpu);
	reason = svm_reason(control->exit_code);
	if (likely(BIT(reason) & INSN_EXITS) &&
	    likely(!(injected | (rare & ~RARE_WINDOW) |
		     (control->exit_int_info & SVM_EXITINTINFO_VALID))))
		svm_insn_exit(svm, reason);
	else
		svm_other_exit(svm, injected);
}

/* ---- vCPU: state ---------------------------------------------------------------------------- */

/* In the order of enum mote_seg. */
static struct vmcb_seg *svm_seg(struct svm_vcpu *svm, u32 index)
{
	struct vmcb_save_area *save = &svm->vmcb->save;
	struct vmcb_seg *const segs[] = {
		&save->es, &save->cs, &save->ss, &save->ds, &save->fs, &save->gs,
		&save->ldtr, &save->tr,
	};

	return segs[index];
}

/* The CPL is a field of its own; elsewhere it is SS.DPL. */
static void svm_get_segs(struct svm_vcpu *svm, struct mote_segs *segs)
{
	const struct vmcb_save_area *save = &svm->vmcb->save;
	u32 i;

	for (i = 0; i < MOTE_NR_SEGS; i++) {
		segs->seg[i] = svm_seg_decode(svm_seg(svm, i), i);
		/* What was set from outside is judged as it is. */
		if (svm->vcpu.rflags & X86_EFLAGS_VM && i <= MOTE_GS && !svm->vcpu.check)
			svm_seg_v86(&segs->seg[i]);
	}
	segs->seg[MOTE_SS].attr = (segs->seg[MOTE_SS].attr & ~(3 << 5)) | save->cpl << 5;
	segs->gdt = (struct mote_table){ .base = save->gdtr.base, .limit = save->gdtr.limit };
	segs->idt = (struct mote_table){ .base = save->idtr.base, .limit = save->idtr.limit };
}

static void svm_set_segs(struct svm_vcpu *svm, const struct mote_segs *segs)
{
	struct vmcb_save_area *save = &svm->vmcb->save;
	u32 i;

	for (i = 0; i < MOTE_NR_SEGS; i++)
		*svm_seg(svm, i) = svm_seg_encode(&segs->seg[i], i);
	save->cpl = segs->seg[MOTE_SS].attr >> 5 & 3;
	save->gdtr = (struct vmcb_seg){ .base = segs->gdt.base, .limit = segs->gdt.limit };
	save->idtr = (struct vmcb_seg){ .base = segs->idt.base, .limit = segs->idt.limit };
	svm_dirty(svm, CLEAN_SEGS | CLEAN_TABLES);
}

static void svm_get_events(struct svm_vcpu *svm, struct mote_events *events)
{
	events->nmi_blocked = svm->nmi_blocked;
	events->pending_debug = svm->pending_debug;
	events->shadow = 0;
	if (!svm_in_shadow(svm))
		return;
	/* One bit for both kinds here; without IF it cannot be STI's. */
	events->shadow = svm->shadow && svm->shadow_rip == svm->vcpu.rip ? svm->shadow :
			 svm->vcpu.rflags & X86_EFLAGS_IF ? MOTE_SHADOW_STI : MOTE_SHADOW_MOV_SS;
	/* As the other vendor has it: the step over the instruction in the shadow. */
	if (svm->vcpu.rflags & X86_EFLAGS_TF)
		events->pending_debug |= DR_STEP;
}

static void svm_set_events(struct svm_vcpu *svm, const struct mote_events *events)
{
	svm_block_nmis(svm, events->nmi_blocked);
	svm_set_pending_debug(svm, events->pending_debug & ~(events->shadow ? DR_STEP : 0ull));
	svm->shadow = events->shadow;
	svm->shadow_rip = svm->vcpu.rip;
	svm->vmcb->control.int_state = events->shadow ? SVM_INTERRUPT_SHADOW_MASK : 0;
	svm_notice_shadow(svm);
}

static void svm_get_state(struct mote_vcpu *vcpu, struct mote_state *state, u32 mask)
{
	struct svm_vcpu *svm = to_svm(vcpu);
	const struct vmcb_save_area *save = &svm->vmcb->save;

	if (mask & MOTE_STATE_SEGS)
		svm_get_segs(svm, &state->segs);
	if (mask & MOTE_STATE_CRS) {
		state->crs.cr0 = svm_get_cr0(svm);
		state->crs.cr3 = save->cr3;
		state->crs.cr4 = svm->cr4;
		/* With nested paging PDPTEs are read from memory when they are needed. */
		state->crs.flags = 0;
	}
	if (mask & MOTE_STATE_DRS)
		state->drs.dr7 = save->dr7;
	if (mask & MOTE_STATE_EVENTS)
		svm_get_events(svm, &state->events);
}

/* Of the control area, a bit for 8 bytes: not the addresses of the maps and AVIC's. */
#define SVM_FIELDS (GENMASK_ULL(27, 0) & ~(BIT_ULL(8) | BIT_ULL(9) | BIT_ULL(19)))

static bool svm_get_field(struct mote_vcpu *vcpu, u32 number, u64 *value)
{
	const struct vmcb *vmcb = to_svm(vcpu)->vmcb;

	if (number % 8 || (number < offsetof(struct vmcb, save) ?
			   number > 0xd8 || !(SVM_FIELDS >> number / 8 & 1) :
			   number > sizeof(*vmcb) - 8))
		return false;
	*value = *(u64 *)((void *)vmcb + array_index_nospec(number, sizeof(*vmcb))) &
		 (number == offsetof(struct vmcb, control.nested_cr3) ? ~PAGE_MASK : ~0ull);
	return true;
}

static void svm_get_mode(struct mote_vcpu *vcpu, struct mote_cpu_mode *mode)
{
	const struct vmcb_save_area *save = &to_svm(vcpu)->vmcb->save;
	const struct mote_segment cs = svm_seg_decode(&save->cs, MOTE_CS);

	mode->cr0 = svm_get_cr0(to_svm(vcpu));
	mode->cr3 = save->cr3;
	mode->cr4 = to_svm(vcpu)->cr4;
	mode->efer = save->efer & ~EFER_SVME;
	mode->cs_base = cs.base;
	mode->cs_attr = cs.attr;
	mode->cpl = save->cpl;
	memset(mode->pad, 0, sizeof(mode->pad));
}

static u64 *svm_msr(struct mote_vcpu *vcpu, u32 nr)
{
	static const u16 offsets[MOTE_NR_VENDOR_MSRS] = {
		[MOTE_VENDOR_MSR(efer)] = offsetof(struct vmcb_save_area, efer),
		[MOTE_VENDOR_MSR(star)] = offsetof(struct vmcb_save_area, star),
		[MOTE_VENDOR_MSR(lstar)] = offsetof(struct vmcb_save_area, lstar),
		[MOTE_VENDOR_MSR(cstar)] = offsetof(struct vmcb_save_area, cstar),
		[MOTE_VENDOR_MSR(sfmask)] = offsetof(struct vmcb_save_area, sfmask),
		[MOTE_VENDOR_MSR(kernel_gs_base)] = offsetof(struct vmcb_save_area, kernel_gs_base),
		[MOTE_VENDOR_MSR(sysenter_cs)] = offsetof(struct vmcb_save_area, sysenter_cs),
		[MOTE_VENDOR_MSR(sysenter_esp)] = offsetof(struct vmcb_save_area, sysenter_esp),
		[MOTE_VENDOR_MSR(sysenter_eip)] = offsetof(struct vmcb_save_area, sysenter_eip),
		[MOTE_VENDOR_MSR(pat)] = offsetof(struct vmcb_save_area, g_pat),
	};

	return (void *)&to_svm(vcpu)->vmcb->save + offsets[nr];
}

static u64 svm_get_msr(struct mote_vcpu *vcpu, u32 nr)
{
	u64 value = *svm_msr(vcpu, nr);

	/* QUIRK(qemu 7.2): reserved bits are kept as they were written. */
	if (nr == MOTE_VENDOR_MSR(sfmask))
		return (u32)value;
	return nr == MOTE_VENDOR_MSR(efer) ? value & ~EFER_SVME : value;
}

/* VMLOAD loads most of them at every entry; EFER and PAT may be in the CPU's cache. */
static void svm_set_msr(struct mote_vcpu *vcpu, u32 nr, u64 value)
{
	*svm_msr(vcpu, nr) = value;
	if (nr == MOTE_VENDOR_MSR(pat)) {
		svm_dirty(to_svm(vcpu), CLEAN_NPT);
	} else if (nr == MOTE_VENDOR_MSR(efer)) {
		to_svm(vcpu)->vmcb->save.efer |= EFER_SVME;
		svm_dirty(to_svm(vcpu), CLEAN_CRS);
		/* NXE and LME change what the page tables say. */
		to_svm(vcpu)->generation = 0;
	}
}

static void svm_set_crs(struct svm_vcpu *svm, const struct mote_crs *crs)
{
	struct vmcb_save_area *save = &svm->vmcb->save;

	svm_set_cr0(svm, crs->cr0);
	save->cr3 = crs->cr3;
	svm_set_cr4(svm, crs->cr4);
	svm->generation = 0;
}

static void svm_set_state(struct mote_vcpu *vcpu, const struct mote_state *state, u32 mask)
{
	struct svm_vcpu *svm = to_svm(vcpu);

	if (mask & MOTE_STATE_SEGS)
		svm_set_segs(svm, &state->segs);
	if (mask & MOTE_STATE_CRS)
		svm_set_crs(svm, &state->crs);
	if (mask & MOTE_STATE_DRS) {
		svm->vmcb->save.dr7 = state->drs.dr7;
		svm_dirty(svm, CLEAN_DRS);
		svm_use_drs(svm, vcpu->dr_live);
		svm_intercept_flags(svm, false);
	}
	if (mask & MOTE_STATE_EVENTS)
		svm_set_events(svm, &state->events);
}

const struct mote_ops mote_svm_ops = {
	.name = "AMD-V",
	.holder = "kvm_amd",
	.vcpu_size = sizeof(struct svm_vcpu),
	.msr_map_size = SVM_MSRPM_SIZE,
	.npt_format = &svm_npt_format,
	MOTE_OPS_OF(svm),
};
