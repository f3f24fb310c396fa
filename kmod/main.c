// SPDX-License-Identifier: GPL-2.0
/*
 * The module as a whole: what the CPUs have, and who owns it.
 *
 * Every CPU is probed when the module loads and whenever somebody asks; mote
 * takes the virtualization extension with the first VM and gives it back with
 * the last, so that KVM and mote can take turns on one machine.  CPU hotplug,
 * suspend, reboot and a crash are followed here.
 *
 * Locking: host_lock guards ownership (host_vms, host_state).  Whether a CPU
 * is in virtualization operation is a per-CPU flag, mote_cpu_enabled.
 *
 * Not here: anything about a VM but how many there are.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/cpu.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/reboot.h>
#include <linux/sched/isolation.h>
#include <linux/security.h>
#include <linux/slab.h>
#include <linux/xarray.h>
#include <asm/fpu/xcr.h>
#include <asm/reboot.h>
#include <asm/tsc.h>

#include "quirk/compat.h"
#include "mote.h"
#include "vendor.h"

const struct mote_ops *mote_ops;
DEFINE_STATIC_CALL_NULL(mote_op_run, *((struct mote_ops *)0)->run);
DEFINE_STATIC_CALL_NULL(mote_op_skip, *((struct mote_ops *)0)->skip);
DEFINE_STATIC_CALL_RET0(mote_op_cpl, *((struct mote_ops *)0)->cpl);
struct mote_info mote_host;
struct mote_caps mote_caps;
u64 mote_host_xcr0;
DEFINE_PER_CPU(bool, mote_cpu_enabled);

static DEFINE_MUTEX(host_lock);
static u32 host_vms;
static int host_state;	/* of CPU hotplug, while owned */
static bool host_crash_hook;
static bool host_ends;	/* the machine goes down: nobody enters any more */

static const char *const host_obstacle_names[] = {
	[MOTE_OBSTACLE_NO_EXTENSION] = "no virtualization extension",
	[MOTE_OBSTACLE_FIRMWARE] = "disabled by firmware",
	[MOTE_OBSTACLE_HELD] = "held by another hypervisor",
	[MOTE_OBSTACLE_FEATURE] = "a needed feature is missing",
	[MOTE_OBSTACLE_LOCKDOWN] = "kernel lockdown and an unsigned module",
	[MOTE_OBSTACLE_ASYMMETRIC] = "CPUs differ",
	[MOTE_OBSTACLE_ENABLE] = "a CPU refused",
	[MOTE_OBSTACLE_CONTROL] = "a needed control is missing",
	[MOTE_OBSTACLE_KERNEL] = "not under this kernel",
};

/* ---- what the CPUs have ---------------------------------------------------- */

static void host_probe_cpu(void *probes)
{
	mote_ops->probe((struct mote_probe *)probes + smp_processor_id());
}

static void host_add_obstacle(struct mote_info *info, u32 code, u32 cpu, u64 detail)
{
	struct mote_obstacle *obstacle = info->obstacles;
	u32 i;

	for (i = 0; i < info->nr_obstacles; i++, obstacle++)
		if (obstacle->code == code) {
			obstacle->cpus++;
			return;
		}
	if (i == MOTE_MAX_OBSTACLES)
		return;
	info->nr_obstacles++;
	*obstacle = (struct mote_obstacle){
		.code = code, .cpu = cpu, .cpus = 1, .detail = detail,
	};
}

/*
 * Add one CPU's answer to the whole.  What a CPU cannot tell because something
 * stands in its way (a hidden or locked extension) is no difference.
 */
static void host_merge_probe(struct mote_info *info, const struct mote_probe *probe, u32 cpu)
{
	u64 differ = info->features ^ probe->features;

	if (probe->obstacle)
		host_add_obstacle(info, probe->obstacle, cpu, probe->detail);
	else if (probe->vendor != info->vendor || differ || probe->revision != info->revision)
		host_add_obstacle(info, MOTE_OBSTACLE_ASYMMETRIC, cpu, differ);
	info->features &= probe->features;
	info->gpa_bits = min(info->gpa_bits, probe->gpa_bits);
	info->nr_asids = min(info->nr_asids, probe->nr_asids);
	info->cpus_online++;
}

/* What in the running kernel mote cannot do with: &enum mote_kernel, or 0. */
static u32 host_kernel(void)
{
	/* Spinlocks would sleep there, and guests run with preemption off. */
	if (IS_ENABLED(CONFIG_PREEMPT_RT))
		return MOTE_KERNEL_RT;
	/* An NMI that ended a guest is handed on by INT 2, which is no NMI there. */
	if (mote_kernel_uses_fred())
		return MOTE_KERNEL_FRED;
	return tsc_khz ? 0 : MOTE_KERNEL_TSC;
}

/* What these of the online CPUs have in common, and what stands in the way: 0 or -ENOMEM. */
static int host_probe(struct mote_info *info, const struct cpumask *cpus)
{
	struct mote_probe *probes = kcalloc(nr_cpu_ids, sizeof(*probes), GFP_KERNEL);
	int first, cpu;

	if (!probes)
		return -ENOMEM;

	cpus_read_lock();
	if (!cpumask_intersects(cpus, cpu_online_mask))
		cpus = cpu_online_mask;
	on_each_cpu_mask(cpus, host_probe_cpu, probes, true);
	first = cpumask_first_and(cpus, cpu_online_mask);
	*info = (struct mote_info){
		.vendor = probes[first].vendor, .features = probes[first].features,
		.gpa_bits = probes[first].gpa_bits, .nr_asids = probes[first].nr_asids,
		.revision = probes[first].revision,
	};
	for_each_cpu_and(cpu, cpus, cpu_online_mask)
		host_merge_probe(info, &probes[cpu], cpu);
	cpus_read_unlock();
	kfree(probes);

	if (!module_sig_ok(THIS_MODULE) && security_locked_down(LOCKDOWN_MODULE_SIGNATURE))
		host_add_obstacle(info, MOTE_OBSTACLE_LOCKDOWN, first, 0);
	if (host_kernel())
		host_add_obstacle(info, MOTE_OBSTACLE_KERNEL, first, host_kernel());
	return 0;
}

int mote_host_info(struct mote_info *info)
{
	/* Anybody may ask: isolated CPUs are left alone. */
	int err = host_probe(info, housekeeping_cpumask(HK_TYPE_DOMAIN));

	if (err)
		return err;
	info->abi_version = MOTE_ABI_VERSION;
	info->max_vms = MOTE_MAX_VMS;
	info->max_vcpus = MOTE_MAX_VCPUS;
	info->max_slots = MOTE_MAX_SLOTS;
	info->nr_vms = READ_ONCE(host_vms);
	info->tsc_khz = tsc_khz;
	info->xcr0 = mote_caps.xcr0;
	info->cr4 = mote_caps.cr4;
	info->efer = mote_caps.efer;
	info->gva_bits = mote_caps.virt_bits;
	info->pv_features = mote_pv_features();
	info->cpu_signature = cpuid_eax(1);
	strscpy((char *)info->version, MOTE_VERSION, sizeof(info->version));
	return 0;
}

/* One line that says what there is. */
static void host_report(void)
{
	const struct mote_obstacle *obstacle = &mote_host.obstacles[0];

	if (mote_host.nr_obstacles)
		pr_info("%s: %s on %u of %u CPUs (see mote doctor)\n", mote_ops->name,
			host_obstacle_names[obstacle->code], obstacle->cpus, mote_host.cpus_online);
	else
		pr_info("%s on %u CPUs (see mote info)\n", mote_ops->name, mote_host.cpus_online);
}

/* ---- who owns it ------------------------------------------------------------ */

static int host_cpu_online(unsigned int cpu)
{
	unsigned long flags;
	int err;

	local_irq_save(flags);
	err = READ_ONCE(host_ends) ? -ESHUTDOWN : mote_ops->cpu_enable();
	if (!err)
		this_cpu_write(mote_cpu_enabled, true);
	local_irq_restore(flags);
	return err;
}

/* The flag goes first: nothing may enter a guest on the way out. */
static void host_disable_cpu(void *unused)
{
	this_cpu_write(mote_cpu_enabled, false);
	mote_ops->cpu_disable(false);
}

static int host_cpu_offline(unsigned int cpu)
{
	return smp_call_function_single(cpu, host_disable_cpu, NULL, true);
}

/* Secondary CPUs are offline by now: hotplug has seen to them. */
static int host_suspend(MOTE_SYSCORE_ARG)
{
	host_disable_cpu(NULL);
	mote_time_suspend();
	return 0;
}

/* A CPU that refuses is found out by its flag before the next entry. */
static void host_resume(MOTE_SYSCORE_ARG)
{
	mote_time_resume();
	host_cpu_online(smp_processor_id());
}

MOTE_SYSCORE(host_syscore, host_suspend, host_resume);

/* User space still runs, and may make VMs: the next kernel must not find their CPUs so. */
static int host_reboot(struct notifier_block *block, unsigned long event, void *data)
{
	WRITE_ONCE(host_ends, true);
	on_each_cpu(host_disable_cpu, NULL, true);
	return NOTIFY_DONE;
}

static struct notifier_block host_reboot_block = { .notifier_call = host_reboot };

static void host_crash(void)
{
	this_cpu_write(mote_cpu_enabled, false);
	mote_ops->cpu_disable(true);
}

/*
 * The kernel has one hook for leaving virtualization operation in a crash, and
 * warns if it is taken; KVM takes it when its vendor module loads.
 */
static bool host_crash_hook_is_free(void)
{
	/* That of the modules: who asks may have another root, without /sys. */
	struct kset *modules = THIS_MODULE->mkobj.kobj.kset;
	struct kobject *holder = modules ? kset_find_obj(modules, mote_ops->holder) : NULL;

	kobject_put(holder);
	/* Who cannot tell leaves it alone. */
	return modules && !holder;
}

static int host_take(void)
{
	int err = mote_ops->setup();

	if (err)
		return err;
	host_state = cpuhp_setup_state(CPUHP_AP_ONLINE_DYN, "x86/mote:online", host_cpu_online,
				       host_cpu_offline);
	if (host_state < 0) {
		mote_ops->teardown();
		return host_state;
	}
	mote_syscore_register(&host_syscore);
	host_crash_hook = host_crash_hook_is_free();
	if (host_crash_hook)
		cpu_emergency_register_virt_callback(host_crash);
	return 0;
}

static void host_release(void)
{
	if (host_crash_hook) {
		/* It waits for a grace period of RCU, which should not hold up a VM's end. */
		rcu_expedite_gp();
		cpu_emergency_unregister_virt_callback(host_crash);
		rcu_unexpedite_gp();
	}
	mote_syscore_unregister(&host_syscore);
	cpuhp_remove_state(host_state);
	mote_ops->teardown();
}

/* The first obstacle as an error number; 0 if there is none. */
static int host_obstacle(void)
{
	struct mote_info info;
	int err = host_probe(&info, cpu_online_mask);

	if (err || !info.nr_obstacles)
		return err;
	switch (info.obstacles[0].code) {
	case MOTE_OBSTACLE_HELD:
		return -EBUSY;
	case MOTE_OBSTACLE_LOCKDOWN:
		return -EPERM;
	default:
		return -EOPNOTSUPP;
	}
}

/* What each user has of something, by uid. */
static DEFINE_XARRAY(host_users_vms);
static DEFINE_XARRAY(host_users_pages);

/* Give a user more of it, or take it back (@by < 0). */
static bool host_charge(struct xarray *users, kuid_t uid, long by, unsigned long limit)
{
	unsigned long has;
	bool fits;

	xa_lock(users);
	has = xa_to_value(xa_load(users, __kuid_val(uid)) ?: xa_mk_value(0)) + by;
	fits = (by < 0 || has <= limit) &&
	       !xa_is_err(__xa_store(users, __kuid_val(uid), has ? xa_mk_value(has) : NULL,
				     GFP_ATOMIC | __GFP_NOWARN));
	xa_unlock(users);
	return fits;
}

bool mote_host_charge(const struct mote_vm *vm, long pages)
{
	return host_charge(&host_users_pages, vm->uid, pages, totalram_pages() / 8);
}

int mote_host_get(kuid_t uid)
{
	u32 limit = ns_capable_noaudit(&init_user_ns, CAP_SYS_RESOURCE) ? MOTE_MAX_VMS :
									MOTE_MAX_VMS / 8;
	int err = 0;

	mutex_lock(&host_lock);
	if (host_vms == MOTE_MAX_VMS || !host_charge(&host_users_vms, uid, 1, limit)) {
		err = -ENOSPC;
	} else {
		if (!host_vms)
			err = host_obstacle() ?: host_take();
		if (err)
			host_charge(&host_users_vms, uid, -1, 0);
		else
			host_vms++;
	}
	mutex_unlock(&host_lock);
	return err;
}

void mote_host_put(kuid_t uid)
{
	mutex_lock(&host_lock);
	host_charge(&host_users_vms, uid, -1, 0);
	if (!--host_vms)
		host_release();
	mutex_unlock(&host_lock);
}

/* ---- the module --------------------------------------------------------------- */

static void host_cpuid(const void *unused, u32 leaf, u32 subleaf, u32 regs[4])
{
	cpuid_count(leaf, subleaf, &regs[0], &regs[1], &regs[2], &regs[3]);
}

/* SVM's answer stands where there is neither extension. */
static int __init mote_module_init(void)
{
	struct mote_probe vmx = {};
	int err;

	preempt_disable();
	mote_vmx_ops.probe(&vmx);
	preempt_enable();
	mote_ops = vmx.vendor == MOTE_VENDOR_VMX ? &mote_vmx_ops : &mote_svm_ops;
	static_call_update(mote_op_run, mote_ops->run);
	static_call_update(mote_op_skip, mote_ops->skip);
	static_call_update(mote_op_cpl, mote_ops->cpl);
	err = host_probe(&mote_host, cpu_online_mask);
	if (err)
		return err;
	mote_host_xcr0 = boot_cpu_has(X86_FEATURE_OSXSAVE) ? xgetbv(XCR_XFEATURE_ENABLED_MASK) :
							     XFEATURE_MASK_FP;
	mote_caps_init(&mote_caps, mote_host.gpa_bits, mote_host_xcr0, host_cpuid, NULL);
	host_report();
	err = register_reboot_notifier(&host_reboot_block);
	if (err)
		return err;
	err = misc_register(&mote_dev);
	if (err)
		unregister_reboot_notifier(&host_reboot_block);
	return err;
}

static void __exit mote_module_exit(void)
{
	misc_deregister(&mote_dev);
	unregister_reboot_notifier(&host_reboot_block);
	mote_vm_free_shared_map();
}

module_init(mote_module_init);
module_exit(mote_module_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("A minimal VT-x / AMD-V hypervisor");
MODULE_VERSION(MOTE_VERSION);
