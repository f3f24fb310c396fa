// SPDX-License-Identifier: GPL-2.0
/*
 * For tests alone: what a CPU's registers are.
 *
 * Reading /sys/kernel/debug/mote_peek gives one line "name value" for each of
 * the reader's CPU, as they are in its system call; "-" is what that CPU does
 * not have.  And when the machine is about to go down, after all others have
 * been told, it says which CPUs are still in virtualization operation.
 *
 * Parameters pretend what no emulator has: each name that is written to feature changes whether
 * the kernel believes in it, and whatever is loaded then; tsc_khz is the frequency that it knows;
 * with perf, perf wants guests to have another KERNEL_GS_BASE, as it may its own MSRs.
 *
 * With tsc_back_ms, a suspend to memory sets the TSC back by so much, as one that
 * takes the CPU's power makes it begin anew; a write to tsc_unstable makes the kernel
 * give the TSC up as a clock, until it boots anew.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/debugfs.h>
#include <linux/delay.h>
#include <linux/kprobes.h>
#include <linux/module.h>
#include <linux/reboot.h>
#include <linux/seq_file.h>
#include <asm/desc.h>
#include <asm/fpu/xcr.h>
#include <asm/msr.h>
#include <asm/nospec-branch.h>
#include <asm/perf_event.h>
#include <asm/tsc.h>

#include "../quirk/compat.h"

#define MSR_AMD_VM_CR 0xc0010114

static const struct {
	const char *name;
	u32 index;
} msrs[] = {
	{ "EFER", MSR_EFER }, { "PAT", MSR_IA32_CR_PAT },
	{ "STAR", MSR_STAR }, { "LSTAR", MSR_LSTAR }, { "CSTAR", MSR_CSTAR },
	{ "SFMASK", MSR_SYSCALL_MASK },
	{ "FS_BASE", MSR_FS_BASE }, { "GS_BASE", MSR_GS_BASE },
	{ "KERNEL_GS_BASE", MSR_KERNEL_GS_BASE },
	{ "SYSENTER_CS", MSR_IA32_SYSENTER_CS }, { "SYSENTER_ESP", MSR_IA32_SYSENTER_ESP },
	{ "SYSENTER_EIP", MSR_IA32_SYSENTER_EIP },
	{ "TSC_AUX", MSR_TSC_AUX }, { "TSC_ADJUST", MSR_IA32_TSC_ADJUST },
	{ "DEBUGCTL", MSR_IA32_DEBUGCTLMSR }, { "SPEC_CTRL", MSR_IA32_SPEC_CTRL },
	{ "XSS", MSR_IA32_XSS }, { "XFD", MSR_IA32_XFD }, { "BNDCFGS", MSR_IA32_BNDCFGS },
	{ "MISC_ENABLE", MSR_IA32_MISC_ENABLE }, { "APIC_BASE", MSR_IA32_APICBASE },
	{ "MTRR_DEF_TYPE", MSR_MTRRdefType }, { "PERF_GLOBAL_CTRL", MSR_CORE_PERF_GLOBAL_CTRL },
	{ "FEAT_CTL", MSR_IA32_FEAT_CTL }, { "VM_CR", MSR_AMD_VM_CR },
	{ "VM_HSAVE_PA", MSR_VM_HSAVE_PA }, { "HWCR", MSR_K7_HWCR }, { "SYSCFG", MSR_AMD64_SYSCFG },
};

enum {
	CR0, CR3, CR4, CR8, DR0, DR1, DR2, DR3, DR6, DR7, RFLAGS, CS, SS, DS, ES, FS, GS,
	TR, LDTR, GDT_BASE, GDT_LIMIT, IDT_BASE, IDT_LIMIT, TSS_LOW, TSS_HIGH, XCR0, NR_REGISTERS
};

static const char *const register_names[] = {
	"CR0", "CR3", "CR4", "CR8", "DR0", "DR1", "DR2", "DR3", "DR6", "DR7", "RFLAGS",
	"CS", "SS", "DS", "ES", "FS", "GS", "TR", "LDTR", "GDT.base", "GDT.limit",
	"IDT.base", "IDT.limit", "TSS.low", "TSS.high", "XCR0",
};

struct registers {
	u64 value[NR_REGISTERS];
	u64 msr[ARRAY_SIZE(msrs)];
	bool lacks[ARRAY_SIZE(msrs)];
};

#define ASK(instruction)						\
	({								\
		unsigned long value;					\
									\
		asm volatile(instruction : "=r"(value));		\
		value;							\
	})

/* Interrupts are off. */
static void read_registers(struct registers *r)
{
	struct desc_ptr gdt, idt;
	const u64 *tss;
	int i;

	r->value[RFLAGS] = ASK("pushf; pop %0");
	r->value[CR0] = ASK("mov %%cr0, %0");
	/* Without the PCID, which is another one after a switch of tasks. */
	r->value[CR3] = ASK("mov %%cr3, %0") & PAGE_MASK;
	r->value[CR4] = ASK("mov %%cr4, %0");
	r->value[CR8] = ASK("mov %%cr8, %0");
	r->value[DR0] = ASK("mov %%dr0, %0");
	r->value[DR1] = ASK("mov %%dr1, %0");
	r->value[DR2] = ASK("mov %%dr2, %0");
	r->value[DR3] = ASK("mov %%dr3, %0");
	r->value[DR6] = ASK("mov %%dr6, %0");
	r->value[DR7] = ASK("mov %%dr7, %0");
	r->value[CS] = ASK("mov %%cs, %0");
	r->value[SS] = ASK("mov %%ss, %0");
	r->value[DS] = ASK("mov %%ds, %0");
	r->value[ES] = ASK("mov %%es, %0");
	r->value[FS] = ASK("mov %%fs, %0");
	r->value[GS] = ASK("mov %%gs, %0");
	r->value[TR] = ASK("str %0");
	r->value[LDTR] = ASK("sldt %0");
	asm volatile("sgdt %0" : "=m"(gdt));
	asm volatile("sidt %0" : "=m"(idt));
	r->value[GDT_BASE] = gdt.address;
	r->value[GDT_LIMIT] = gdt.size;
	r->value[IDT_BASE] = idt.address;
	r->value[IDT_LIMIT] = idt.size;
	tss = (const u64 *)(gdt.address + (r->value[TR] & ~7));
	r->value[TSS_LOW] = tss[0];
	r->value[TSS_HIGH] = tss[1];
	r->value[XCR0] = boot_cpu_has(X86_FEATURE_OSXSAVE) ? xgetbv(XCR_XFEATURE_ENABLED_MASK) : 0;
	for (i = 0; i < ARRAY_SIZE(msrs); i++)
		r->lacks[i] = rdmsrl_safe(msrs[i].index, &r->msr[i]);
}

static int peek_show(struct seq_file *file, void *unused)
{
	static DEFINE_MUTEX(lock);
	static struct registers r;
	unsigned long flags;
	int i;

	mutex_lock(&lock);
	local_irq_save(flags);
	read_registers(&r);
	local_irq_restore(flags);
	for (i = 0; i < NR_REGISTERS; i++)
		seq_printf(file, "%s %llx\n", register_names[i], r.value[i]);
	for (i = 0; i < ARRAY_SIZE(msrs); i++)
		if (r.lacks[i])
			seq_printf(file, "%s -\n", msrs[i].name);
		else
			seq_printf(file, "%s %llx\n", msrs[i].name, r.msr[i]);
#ifdef X86_FEATURE_IBPB_EXIT_TO_USER
	seq_printf(file, "IBPB_EXIT_TO_USER %d\n", raw_cpu_read(x86_ibpb_exit_to_user));
#endif
	mutex_unlock(&lock);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(peek);

static bool is_virtualizing(void)
{
	u64 efer;

	return ASK("mov %%cr4, %0") & X86_CR4_VMXE ||
	       (!rdmsrl_safe(MSR_EFER, &efer) && efer & EFER_SVME);
}

static void say_state(void *unused)
{
	pr_err("CPU %d is %s virtualization operation\n", smp_processor_id(),
	       is_virtualizing() ? "in" : "out of");
}

static int peek_reboot(struct notifier_block *block, unsigned long event, void *data)
{
	/* Time enough for whoever would come back. */
	msleep(200);
	on_each_cpu(say_state, NULL, true);
	return NOTIFY_DONE;
}

/* The last to be told. */
static struct notifier_block peek_reboot_block = {
	.notifier_call = peek_reboot, .priority = INT_MIN,
};

static int peek_set_unstable(const char *value, const struct kernel_param *param)
{
	mark_tsc_unstable("a test wants it so");
	return 0;
}

static const struct kernel_param_ops peek_unstable_ops = { .set = peek_set_unstable };
module_param_cb(tsc_unstable, &peek_unstable_ops, NULL, 0200);

static unsigned int tsc_back_ms;
module_param(tsc_back_ms, uint, 0600);

/* Whoever has registered later has been told before. */
static int peek_suspend(MOTE_SYSCORE_ARG)
{
	if (tsc_back_ms)
		wrmsrl_safe(MSR_IA32_TSC, rdtsc() - (u64)tsc_khz * tsc_back_ms);
	return 0;
}

MOTE_SYSCORE(peek_syscore, peek_suspend, NULL);

/* ---- what no emulator has ------------------------------------------------------ */

static const struct {
	const char *name;
	u32 bit;
} features[] = {
	{ "split_lock_detect", X86_FEATURE_SPLIT_LOCK_DETECT },
	{ "bus_lock_detect", X86_FEATURE_BUS_LOCK_DETECT },
#ifdef X86_FEATURE_IBPB_EXIT_TO_USER
	{ "ibpb_exit_to_user", X86_FEATURE_IBPB_EXIT_TO_USER },
#endif
#ifdef X86_FEATURE_FRED
	{ "fred", X86_FEATURE_FRED },
#endif
#ifdef X86_FEATURE_SRSO_BP_SPEC_REDUCE
	{ "bp_spec_reduce", X86_FEATURE_SRSO_BP_SPEC_REDUCE },
#endif
};

static int set_feature(const char *value, const struct kernel_param *param)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(features); i++)
		if (sysfs_streq(value, features[i].name)) {
			change_bit(features[i].bit, (unsigned long *)boot_cpu_data.x86_capability);
			return 0;
		}
	return -ENOENT;
}

static const struct kernel_param_ops feature_ops = { .set = set_feature };
module_param_cb(feature, &feature_ops, NULL, 0200);

static const struct kernel_param_ops khz_ops = { .set = param_set_uint, .get = param_get_uint };
module_param_cb(tsc_khz, &khz_ops, &tsc_khz, 0600);

/* Where the guest and the host are to have different values. */
static struct perf_guest_switch_msr perf_msr = {
	.msr = MSR_KERNEL_GS_BASE, .host = 0x1234000, .guest = 0x5678000,
};

static int perf_called(struct kretprobe_instance *call, struct pt_regs *regs)
{
	*(int **)call->data = (int *)regs->di;
	return 0;
}
NOKPROBE_SYMBOL(perf_called);

static int perf_returns(struct kretprobe_instance *call, struct pt_regs *regs)
{
	**(int **)call->data = 1;
	regs->ax = (unsigned long)&perf_msr;
	return 0;
}
NOKPROBE_SYMBOL(perf_returns);

static struct kretprobe perf_probe = {
	.kp.symbol_name = "perf_guest_get_msrs", .entry_handler = perf_called,
	.handler = perf_returns, .data_size = sizeof(int *), .maxactive = 16,
};
static bool perf_pretends;

static int set_perf(const char *value, const struct kernel_param *param)
{
	bool on = perf_pretends;
	int err = kstrtobool(value, &on);

	if (!err && on && !perf_pretends)
		err = register_kretprobe(&perf_probe);
	else if (!err && !on && perf_pretends)
		unregister_kretprobe(&perf_probe);
	if (!err)
		perf_pretends = on;
	return err;
}

static const struct kernel_param_ops perf_ops = { .set = set_perf };
module_param_cb(perf, &perf_ops, NULL, 0200);

static struct dentry *peek_file;

static int __init peek_init(void)
{
	BUILD_BUG_ON(ARRAY_SIZE(register_names) != NR_REGISTERS);
	peek_file = debugfs_create_file("mote_peek", 0400, NULL, NULL, &peek_fops);
	mote_syscore_register(&peek_syscore);
	return register_reboot_notifier(&peek_reboot_block);
}

static void __exit peek_exit(void)
{
	if (perf_pretends)
		unregister_kretprobe(&perf_probe);
	unregister_reboot_notifier(&peek_reboot_block);
	mote_syscore_unregister(&peek_syscore);
	debugfs_remove(peek_file);
}

module_init(peek_init);
module_exit(peek_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("What a CPU's registers are, for mote's tests");
