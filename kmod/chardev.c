// SPDX-License-Identifier: GPL-2.0
/*
 * The file descriptors: /dev/mote, VMs and vCPUs, and their calls.
 *
 * A table per kind of file names each call with its handler; the dispatcher
 * copies the argument in and out, so that a handler sees kernel memory only.
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
#include "watch/watch.h"

/* One ioctl of one kind of file. */
struct chardev_call {
	u32 cmd;	/* its number, direction and size; 0 ends a table */
	/* (object, argument in kernel memory): 0 or more, or -errno */
	long (*handler)(void *object, void *arg);
};

/* A list of CALL(cmd, function) is expanded twice: to handlers with one type, and to rows. */
#define CHARDEV_HANDLER(cmd, function)				\
static long cmd##_handler(void *object, void *arg)		\
{								\
	return function(object, arg);				\
}

#define CHARDEV_ROW(cmd, function) { cmd, cmd##_handler },

/* Arguments up to this size are kept on the stack. */
#define SMALL_ARG 128

/* A header with an array of user space's behind it, in kernel memory; or an ERR_PTR. */
static void *chardev_copy_array(size_t header, u64 user, u32 nr, u32 max, size_t size)
{
	void *copy;

	if (nr > max)
		return ERR_PTR(-E2BIG);
	copy = kzalloc(header + nr * size, GFP_KERNEL_ACCOUNT);
	if (!copy)
		return ERR_PTR(-ENOMEM);
	if (!copy_from_user(copy + header, u64_to_user_ptr(user), nr * size))
		return copy;
	kfree(copy);
	return ERR_PTR(-EFAULT);
}

static long chardev_dispatch(const struct chardev_call *call, void *object, u32 cmd,
			     void __user *user)
{
	u32 size = _IOC_SIZE(cmd);
	u64 small[SMALL_ARG / sizeof(u64)];
	void *arg = small;
	long ret = -EFAULT;

	while (call->cmd && call->cmd != cmd)
		call++;
	if (!call->cmd)
		return -ENOTTY;
	if (size > sizeof(small))
		arg = kmalloc(size, GFP_KERNEL_ACCOUNT);
	if (!arg)
		return -ENOMEM;
	/* What a handler leaves alone goes out as it came in, or as zeroes. */
	memset(arg, 0, size);
	if (_IOC_DIR(cmd) & _IOC_WRITE && copy_from_user(arg, user, size))
		goto out;
	ret = call->handler(object, arg);
	if (ret >= 0 && _IOC_DIR(cmd) & _IOC_READ && copy_to_user(user, arg, size))
		ret = -EFAULT;
out:
	if (arg != small)
		kfree(arg);
	return ret;
}

/* ---- vCPU --------------------------------------------------------------------- */

static long vcpu_call_get_state(struct mote_vcpu *vcpu, struct mote_state *state)
{
	u32 size = vcpu->fpu.uabi_size;
	void *xsave = NULL;
	int err;

	if (state->mask & MOTE_STATE_XSAVE) {
		if (state->xsave_size < size)
			return -ENOSPC;
		xsave = kzalloc(size, GFP_KERNEL_ACCOUNT);
		if (!xsave)
			return -ENOMEM;
		state->xsave_size = size;
	}
	err = mote_vcpu_get_state(vcpu, state, xsave);
	if (!err && xsave && copy_to_user(u64_to_user_ptr(state->xsave), xsave, size))
		err = -EFAULT;
	kfree(xsave);
	return err;
}

static long vcpu_call_set_state(struct mote_vcpu *vcpu, struct mote_state *state)
{
	u32 size = vcpu->fpu.uabi_size;
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

static long vcpu_call_set_cpuid(struct mote_vcpu *vcpu, const struct mote_cpuid_table *table)
{
	struct mote_cpuid *cpuid;
	int err;

	if (table->pad)
		return -EINVAL;
	cpuid = chardev_copy_array(offsetof(struct mote_cpuid, rows), table->entries, table->nr,
				   MOTE_MAX_CPUID, sizeof(*cpuid->rows));
	if (IS_ERR(cpuid))
		return PTR_ERR(cpuid);
	cpuid->nr = table->nr;
	err = mote_cpuid_sort(cpuid->rows, cpuid->nr);
	if (!err)
		cpuid = mote_vcpu_set_cpuid(vcpu, cpuid);
	kfree(cpuid);
	return err;
}

static long vcpu_call_get_field(struct mote_vcpu *vcpu, struct mote_field *field)
{
	return !field->pad && mote_ops->get_field(vcpu, field->number, &field->value) ? 0 : -EINVAL;
}

#define VCPU_CALLS(CALL)				\
	CALL(MOTE_GET_STATE, vcpu_call_get_state)	\
	CALL(MOTE_SET_STATE, vcpu_call_set_state)	\
	CALL(MOTE_SET_CPUID, vcpu_call_set_cpuid)	\
	CALL(MOTE_INJECT, mote_vcpu_inject)		\
	CALL(MOTE_APIC_ACCESS, mote_lapic_access)	\
	CALL(MOTE_SET_DEBUG, mote_vcpu_set_debug)	\
	CALL(MOTE_GET_FIELD, vcpu_call_get_field)

VCPU_CALLS(CHARDEV_HANDLER)
static const struct chardev_call vcpu_calls[] = { VCPU_CALLS(CHARDEV_ROW) {} };

static long vcpu_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct mote_vcpu *vcpu = file->private_data;
	void __user *user = (void __user *)arg;
	long ret;

	if (current->mm != vcpu->vm->mm)
		return -EIO;
	/* An NMI does not wait until another thread's MOTE_RUN has ended. */
	if (cmd == MOTE_INJECT)
		return chardev_dispatch(vcpu_calls, vcpu, cmd, user);
	if (mutex_lock_killable(&vcpu->lock))
		return -EINTR;
	/* The one call whose price matters goes past the table. */
	ret = cmd == MOTE_RUN ? mote_vcpu_run(vcpu) : chardev_dispatch(vcpu_calls, vcpu, cmd, user);
	mutex_unlock(&vcpu->lock);
	return ret;
}

/* The page has a reference of its own from each mapping: it may outlive the file. */
static int vcpu_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct mote_vcpu *vcpu = file->private_data;

	if (vma->vm_pgoff || vma_pages(vma) != 1 || !(vma->vm_flags & VM_SHARED))
		return -EINVAL;
	return vm_insert_page(vma, vma->vm_start, virt_to_page(vcpu->run));
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

static long vm_call_get_dirty(struct mote_vm *vm, const struct mote_dirty *dirty)
{
	u64 size = DIV_ROUND_UP_ULL(dirty->nr, 64) * sizeof(u64);
	u64 *words;
	int err;

	if (dirty->pad || !dirty->nr || dirty->nr > MOTE_MAX_DIRTY)
		return -EINVAL;
	words = kvzalloc(size, GFP_KERNEL_ACCOUNT);
	if (!words)
		return -ENOMEM;
	/* A bad address must not cost the caller what the log says. */
	err = clear_user(u64_to_user_ptr(dirty->bitmap), size) ? -EFAULT : 0;
	if (!err)
		err = mote_mem_get_dirty(vm, dirty, words);
	if (!err && copy_to_user(u64_to_user_ptr(dirty->bitmap), words, size))
		err = -EFAULT;
	kvfree(words);
	return err;
}

static long vm_call_set_filter(struct mote_vm *vm, const struct mote_filter *filter)
{
	struct mote_filter_set *set;

	if (filter->kind >= MOTE_NR_FILTERS)
		return -EINVAL;
	set = chardev_copy_array(offsetof(struct mote_filter_set, rules), filter->rules, filter->nr,
				 MOTE_MAX_RULES, sizeof(*set->rules));
	if (IS_ERR(set))
		return PTR_ERR(set);
	set->nr = filter->nr;
	return mote_vm_set_filter(vm, filter->kind, set);
}

/* The file comes first: a vCPU that exists cannot be taken back. */
static long vm_call_create_vcpu(struct mote_vm *vm, const struct mote_vcpu_config *config)
{
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
	err = mote_vcpu_create(vm, config, &vcpu);
	if (err)
		goto err_put_file;
	kref_get(&vm->ref);
	file->private_data = vcpu;
	fd_install(fd, file);
	return fd;

err_put_file:
	fput(file);
err_put_fd:
	put_unused_fd(fd);
	return err;
}

#define VM_CALLS(CALL)					\
	CALL(MOTE_SET_SLOT, mote_mem_set_slot)		\
	CALL(MOTE_GET_DIRTY, vm_call_get_dirty)		\
	CALL(MOTE_SET_FILTER, vm_call_set_filter)	\
	CALL(MOTE_CREATE_VCPU, vm_call_create_vcpu)	\
	CALL(MOTE_MSI, mote_lapic_msi)			\
	CALL(MOTE_IRQFD, mote_irqfd)			\
	CALL(MOTE_IOEVENTFD, mote_ioeventfd)		\
	CALL(MOTE_GET_CLOCK, mote_pv_get_clock)		\
	CALL(MOTE_SET_CLOCK, mote_pv_set_clock)		\
	CALL(MOTE_SET_WATCH, mote_watch_set)

VM_CALLS(CHARDEV_HANDLER)
static const struct chardev_call vm_calls[] = { VM_CALLS(CHARDEV_ROW) {} };

static long vm_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct mote_vm *vm = file->private_data;

	if (current->mm != vm->mm)
		return -EIO;
	return chardev_dispatch(vm_calls, vm, cmd, (void __user *)arg);
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

static long dev_call_get_info(void *none, struct mote_info *info)
{
	return mote_host_info(info);
}

static long dev_call_create_vm(void *none, const struct mote_vm_config *config)
{
	struct mote_vm *vm = mote_vm_create(config);
	int fd;

	if (IS_ERR(vm))
		return PTR_ERR(vm);
	fd = anon_inode_getfd("mote-vm", &vm_fops, vm, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		mote_vm_put(vm);
	return fd;
}

#define DEV_CALLS(CALL)					\
	CALL(MOTE_GET_INFO, dev_call_get_info)		\
	CALL(MOTE_CREATE_VM, dev_call_create_vm)

DEV_CALLS(CHARDEV_HANDLER)
static const struct chardev_call dev_calls[] = { DEV_CALLS(CHARDEV_ROW) {} };

static long dev_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	return chardev_dispatch(dev_calls, NULL, cmd, (void __user *)arg);
}

static const struct file_operations dev_fops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = dev_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.llseek = noop_llseek,
};

struct miscdevice mote_dev = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "mote",
	.fops = &dev_fops,
	.mode = 0660,
};
