// SPDX-License-Identifier: GPL-2.0
/*
 * The file descriptors: /dev/mote, VMs and vCPUs, and their calls.
 *
 * A table per kind of file names each call with its handler; the dispatcher
 * copies the argument in and out and takes the locks, so that a handler sees
 * kernel memory only.
 *
 * Lifetimes: a VM's file holds a reference to the VM, a vCPU's file holds one
 * to its VM; vCPUs live as long as their VM.  Calls from another mm than the
 * one that made the VM fail with EIO: slots are addresses in that mm.
 *
 * Not here: what the calls mean.
 */
#include <linux/anon_inodes.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "apic/lapic.h"
#include "mote.h"
#include "vendor.h"

/* One ioctl of one kind of file. */
struct mote_call {
	u32 cmd;	/* its number, direction and size */
	/* (object, argument in kernel memory): 0 or more, or -errno */
	long (*handler)(void *object, void *arg);
	enum { PLAIN, LOCK_VCPU } take;	/* what the dispatcher does around it */
};

/* Arguments up to this size are kept on the stack. */
#define SMALL_ARG 128

/* A handler that hands the object and the argument on. */
#define CHARDEV_CALL(name, function)				\
static long name(void *object, void *arg)			\
{								\
	return function(object, arg);				\
}

CHARDEV_CALL(vcpu_call_inject, mote_vcpu_inject)
CHARDEV_CALL(vcpu_call_apic_access, mote_lapic_access)
CHARDEV_CALL(vm_call_set_slot, mote_mem_set_slot)
CHARDEV_CALL(vm_call_msi, mote_lapic_msi)
CHARDEV_CALL(vm_call_irqfd, mote_irqfd)
CHARDEV_CALL(vm_call_ioeventfd, mote_ioeventfd)
CHARDEV_CALL(vm_call_get_clock, mote_pv_get_clock)
CHARDEV_CALL(vm_call_set_clock, mote_pv_set_clock)

/* An array of user space's in kernel memory; NULL for none, or an ERR_PTR. */
static void *chardev_copy_array(u64 user, u32 nr, u32 max, size_t size)
{
	if (nr > max)
		return ERR_PTR(-E2BIG);
	return nr ? memdup_user(u64_to_user_ptr(user), nr * size) : NULL;
}

static const struct mote_call *chardev_find_call(const struct mote_call *calls, size_t nr, u32 cmd)
{
	size_t i;

	for (i = 0; i < nr; i++)
		if (calls[i].cmd == cmd)
			return &calls[i];
	return NULL;
}

static long chardev_call(const struct mote_call *call, void *object, void *arg)
{
	struct mote_vcpu *vcpu = object;
	long ret;

	if (call->take == PLAIN)
		return call->handler(object, arg);
	if (mutex_lock_killable(&vcpu->lock))
		return -EINTR;
	ret = call->handler(object, arg);
	mutex_unlock(&vcpu->lock);
	return ret;
}

static long chardev_dispatch(const struct mote_call *calls, size_t nr, void *object, u32 cmd,
			     void __user *user)
{
	const struct mote_call *call = chardev_find_call(calls, nr, cmd);
	u32 size = _IOC_SIZE(cmd);
	u64 small[SMALL_ARG / sizeof(u64)];
	void *arg = small;
	long ret = -EFAULT;

	if (!call)
		return -ENOTTY;
	if (size > sizeof(small))
		arg = kmalloc(size, GFP_KERNEL_ACCOUNT);
	if (!arg)
		return -ENOMEM;
	/* What a handler leaves alone goes out as it came in, or as zeroes. */
	if (_IOC_DIR(cmd) & _IOC_WRITE) {
		if (copy_from_user(arg, user, size))
			goto out;
	} else {
		memset(arg, 0, size);
	}
	ret = chardev_call(call, object, arg);
	if (ret >= 0 && (_IOC_DIR(cmd) & _IOC_READ) && copy_to_user(user, arg, size))
		ret = -EFAULT;
out:
	if (arg != small)
		kfree(arg);
	return ret;
}

/* ---- vCPU --------------------------------------------------------------------- */

static long vcpu_call_get_state(void *object, void *arg)
{
	struct mote_vcpu *vcpu = object;
	struct mote_state *state = arg;
	u32 size = mote_vcpu_xsave_size(vcpu);
	void *xsave = NULL;
	int err;

	if (state->mask & MOTE_STATE_XSAVE) {
		if (state->xsave_size < size)
			return -ENOSPC;
		xsave = kzalloc(size, GFP_KERNEL_ACCOUNT);
		if (!xsave)
			return -ENOMEM;
	}
	err = mote_vcpu_get_state(vcpu, state, xsave);
	if (!err && xsave) {
		state->xsave_size = size;
		if (copy_to_user(u64_to_user_ptr(state->xsave), xsave, size))
			err = -EFAULT;
	}
	kfree(xsave);
	return err;
}

static long vcpu_call_set_state(void *object, void *arg)
{
	struct mote_vcpu *vcpu = object;
	struct mote_state *state = arg;
	u32 size = mote_vcpu_xsave_size(vcpu);
	void *xsave = NULL;
	int err;

	if (state->mask & MOTE_STATE_XSAVE) {
		if (state->xsave_size != size)
			return -EINVAL;
		xsave = memdup_user(u64_to_user_ptr(state->xsave), size);
		if (IS_ERR(xsave))
			return PTR_ERR(xsave);
	}
	err = mote_vcpu_set_state(vcpu, state, xsave);
	kfree(xsave);
	return err;
}

static long vcpu_call_set_cpuid(void *object, void *arg)
{
	struct mote_vcpu *vcpu = object;
	const struct mote_cpuid_table *table = arg;
	struct mote_cpuid *cpuid;
	u32 nr = table->nr;
	int err;

	if (table->pad)
		return -EINVAL;
	if (nr > MOTE_MAX_CPUID)
		return -E2BIG;
	cpuid = kzalloc(struct_size(cpuid, rows, nr), GFP_KERNEL_ACCOUNT);
	if (!cpuid)
		return -ENOMEM;
	cpuid->nr = nr;
	err = -EFAULT;
	if (!copy_from_user(cpuid->rows, u64_to_user_ptr(table->entries),
			    nr * sizeof(*cpuid->rows)))
		err = mote_cpuid_sort(cpuid->rows, nr);
	if (!err)
		swap(vcpu->cpuid, cpuid);
	kfree(cpuid);
	return err;
}

static const struct mote_call vcpu_calls[] = {
	{ MOTE_GET_STATE, vcpu_call_get_state, LOCK_VCPU },
	{ MOTE_SET_STATE, vcpu_call_set_state, LOCK_VCPU },
	{ MOTE_SET_CPUID, vcpu_call_set_cpuid, LOCK_VCPU },
	{ MOTE_INJECT, vcpu_call_inject, PLAIN },
	{ MOTE_APIC_ACCESS, vcpu_call_apic_access, LOCK_VCPU },
};

static long vcpu_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct mote_vcpu *vcpu = file->private_data;
	long ret;

	if (current->mm != vcpu->vm->mm)
		return -EIO;
	if (cmd != MOTE_RUN)
		return chardev_dispatch(vcpu_calls, ARRAY_SIZE(vcpu_calls), vcpu, cmd,
					(void __user *)arg);

	/* The one call whose price matters. */
	if (mutex_lock_killable(&vcpu->lock))
		return -EINTR;
	ret = mote_vcpu_run(vcpu);
	mutex_unlock(&vcpu->lock);
	return ret;
}

/* The page is mapped at a fault, so that it cannot outlive the file. */
static vm_fault_t vcpu_mmap_fault(struct vm_fault *fault)
{
	struct mote_vcpu *vcpu = fault->vma->vm_file->private_data;

	if (fault->pgoff)
		return VM_FAULT_SIGBUS;
	fault->page = virt_to_page(vcpu->run);
	get_page(fault->page);
	return 0;
}

static const struct vm_operations_struct vcpu_mmap_ops = { .fault = vcpu_mmap_fault };

static int vcpu_mmap(struct file *file, struct vm_area_struct *vma)
{
	if (vma->vm_pgoff || vma_pages(vma) != 1 || !(vma->vm_flags & VM_SHARED))
		return -EINVAL;
	vma->vm_ops = &vcpu_mmap_ops;
	return 0;
}

static int vcpu_release(struct inode *inode, struct file *file)
{
	struct mote_vcpu *vcpu = file->private_data;

	/* None where its creation failed. */
	if (vcpu)
		mote_vm_put(vcpu->vm);
	return 0;
}

static const struct file_operations vcpu_fops = {
	.owner = THIS_MODULE,
	.release = vcpu_release,
	.unlocked_ioctl = vcpu_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.mmap = vcpu_mmap,
	.llseek = noop_llseek,
};

/* ---- VM ------------------------------------------------------------------------ */

static long vm_call_get_dirty(void *object, void *arg)
{
	const struct mote_dirty *dirty = arg;
	u64 nr = DIV_ROUND_UP_ULL(dirty->nr, 64);
	u64 *words;
	int err;

	if (dirty->pad || !dirty->nr || dirty->nr > MOTE_MAX_DIRTY)
		return -EINVAL;
	words = kvcalloc(nr, sizeof(*words), GFP_KERNEL_ACCOUNT);
	if (!words)
		return -ENOMEM;
	/* A bad address must not cost the caller what the log says. */
	err = clear_user(u64_to_user_ptr(dirty->bitmap), nr * sizeof(*words)) ? -EFAULT : 0;
	if (!err)
		err = mote_mem_get_dirty(object, dirty, words);
	if (!err && copy_to_user(u64_to_user_ptr(dirty->bitmap), words, nr * sizeof(*words)))
		err = -EFAULT;
	kvfree(words);
	return err;
}

static long vm_call_set_filter(void *object, void *arg)
{
	const struct mote_filter *filter = arg;
	struct mote_filter_rule *rules;
	struct mote_filter_set *set;
	int err;

	if (filter->kind >= MOTE_NR_FILTERS)
		return -EINVAL;
	rules = chardev_copy_array(filter->rules, filter->nr, MOTE_MAX_RULES, sizeof(*rules));
	if (IS_ERR(rules))
		return PTR_ERR(rules);
	err = mote_filter_check(filter->kind, rules, filter->nr);
	if (err)
		goto out;
	set = kmalloc(struct_size(set, rules, filter->nr), GFP_KERNEL_ACCOUNT);
	err = -ENOMEM;
	if (!set)
		goto out;
	set->nr = filter->nr;
	memcpy(set->rules, rules, filter->nr * sizeof(*rules));
	err = mote_vm_set_filter(object, filter->kind, set);
out:
	kfree(rules);
	return err;
}

/* The file comes first: a vCPU that exists cannot be taken back. */
static long vm_call_create_vcpu(void *object, void *arg)
{
	struct mote_vm *vm = object;
	struct mote_vcpu *vcpu;
	struct file *file;
	int fd, err;

	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0)
		return fd;
	file = anon_inode_getfile("mote-vcpu", &vcpu_fops, NULL, O_RDWR);
	if (IS_ERR(file)) {
		err = PTR_ERR(file);
		goto err_put_fd;
	}
	err = mote_vcpu_create(vm, arg, &vcpu);
	if (err)
		goto err_put_file;
	mote_vm_get(vm);
	file->private_data = vcpu;
	fd_install(fd, file);
	return fd;

err_put_file:
	fput(file);
err_put_fd:
	put_unused_fd(fd);
	return err;
}

static const struct mote_call vm_calls[] = {
	{ MOTE_SET_SLOT, vm_call_set_slot },
	{ MOTE_GET_DIRTY, vm_call_get_dirty },
	{ MOTE_SET_FILTER, vm_call_set_filter },
	{ MOTE_CREATE_VCPU, vm_call_create_vcpu },
	{ MOTE_MSI, vm_call_msi },
	{ MOTE_IRQFD, vm_call_irqfd },
	{ MOTE_IOEVENTFD, vm_call_ioeventfd },
	{ MOTE_GET_CLOCK, vm_call_get_clock },
	{ MOTE_SET_CLOCK, vm_call_set_clock },
};

static long vm_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct mote_vm *vm = file->private_data;

	if (current->mm != vm->mm)
		return -EIO;
	return chardev_dispatch(vm_calls, ARRAY_SIZE(vm_calls), vm, cmd, (void __user *)arg);
}

static int vm_release(struct inode *inode, struct file *file)
{
	mote_vm_put(file->private_data);
	return 0;
}

static const struct file_operations vm_fops = {
	.owner = THIS_MODULE,
	.release = vm_release,
	.unlocked_ioctl = vm_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.llseek = noop_llseek,
};

/* ---- /dev/mote ------------------------------------------------------------------- */

static long dev_call_get_info(void *object, void *arg)
{
	return mote_host_info(arg);
}

static long dev_call_create_vm(void *object, void *arg)
{
	struct mote_vm *vm = mote_vm_create(arg);
	int fd;

	if (IS_ERR(vm))
		return PTR_ERR(vm);
	fd = anon_inode_getfd("mote-vm", &vm_fops, vm, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		mote_vm_put(vm);
	return fd;
}

static const struct mote_call dev_calls[] = {
	{ MOTE_GET_INFO, dev_call_get_info },
	{ MOTE_CREATE_VM, dev_call_create_vm },
};

static long dev_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	return chardev_dispatch(dev_calls, ARRAY_SIZE(dev_calls), NULL, cmd, (void __user *)arg);
}

static const struct file_operations dev_fops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = dev_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.llseek = noop_llseek,
};

static struct miscdevice dev_mote = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "mote",
	.fops = &dev_fops,
	.mode = 0660,
};

int mote_chardev_register(void)
{
	return misc_register(&dev_mote);
}

void mote_chardev_unregister(void)
{
	misc_deregister(&dev_mote);
}
