// SPDX-License-Identifier: GPL-2.0
/*
 * The calls of the KVM ABI: one row each, with the kind of descriptor that it belongs to, which way
 * its argument goes and who answers it.  What KVM has and mote has not is named, too, so that a
 * client's user is told once what the client wanted; the answer is that of a kernel which does not
 * know the call.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "interpose.h"
#include "shim.h"

/* The largest argument of a fixed size: struct kvm_xsave. */
#define ARGUMENT_MOST 4096

#define IN 1
#define OUT 2

/**
 * struct call - a call
 * @request: its number
 * @kind: of the descriptor
 * @flags: the argument is read, is written
 * @name: of the request
 * @answer: who answers; NULL: it is not there
 */
struct call {
	unsigned long request;
	enum kind kind;
	unsigned int flags;
	const char *name;
	call_function *answer;
};

int mote_fd = -1;

/* ---- /dev/kvm -------------------------------------------------------------------- */

static void find_mote(void)
{
	/* Before there is a client's descriptor, and out of the way of its numbers. */
	int fd = mote_open();

	mote_fd = fd < 0 ? fd : fcntl(fd, F_DUPFD_CLOEXEC, 512);
	if (mote_fd < 0 && fd >= 0)
		mote_fd = fd;
	else if (fd >= 0)
		close(fd);
	signals_take();
}

int system_open(int flags)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct object *system;
	int fd = NEXT(open)(MOTE_DEVICE, flags);

	if (fd < 0)
		return fd;
	pthread_once(&once, find_mote);
	system = mote_fd < 0 ? NULL : object_create(KIND_SYSTEM);
	if (!system) {
		close(fd);
		errno = mote_fd < 0 ? -mote_fd : ENOMEM;
		return -1;
	}
	object_bind(fd, system);
	return fd;
}

static int call_get_api_version(struct object *object, void *data, unsigned long argument)
{
	(void)object;
	(void)data;
	return argument ? -EINVAL : KVM_API_VERSION;
}

static int call_create_vm(struct object *object, void *data, unsigned long argument)
{
	(void)object;
	(void)data;
	/* The machine type; there is one. */
	return argument ? -EINVAL : vm_create();
}

static int call_get_vcpu_mmap_size(struct object *object, void *data, unsigned long argument)
{
	(void)object;
	(void)data;
	return argument ? -EINVAL : RUN_SIZE;
}

/*
 * Memory for CPUs that need some for real mode, or for paging that is off: these do not.  Exits by
 * which a client finds accesses to the TPR, to patch guests of 32 bits: there are none.  How many
 * tables nested paging may have: that has no limit.
 */
static int call_nothing(struct object *object, void *data, unsigned long argument)
{
	(void)object;
	(void)data;
	(void)argument;
	return 0;
}

static int call_create_vcpu(struct object *object, void *data, unsigned long argument)
{
	(void)data;
	return vcpu_create(vm_of(object), argument);
}

static int call_run(struct object *object, void *data, unsigned long argument)
{
	(void)data;
	return argument ? -EINVAL : vcpu_run(vcpu_of(object));
}

/* ---- the table ------------------------------------------------------------------- */

#define ROW(kind, request, flags, answer) { request, KIND_##kind, flags, #request, answer }
#define NOT_THERE(kind, request) { request, KIND_##kind, 0, #request, NULL }

static const struct call calls[] = {
	ROW(SYSTEM, KVM_GET_API_VERSION, 0, call_get_api_version),
	ROW(SYSTEM, KVM_CREATE_VM, 0, call_create_vm),
	ROW(SYSTEM, KVM_CHECK_EXTENSION, 0, call_check_extension),
	ROW(SYSTEM, KVM_GET_VCPU_MMAP_SIZE, 0, call_get_vcpu_mmap_size),
	ROW(SYSTEM, KVM_GET_MSR_INDEX_LIST, 0, call_msr_index_list),
	ROW(SYSTEM, KVM_GET_SUPPORTED_CPUID, 0, call_supported_cpuid),
	NOT_THERE(SYSTEM, KVM_GET_EMULATED_CPUID),
	NOT_THERE(SYSTEM, KVM_GET_MSR_FEATURE_INDEX_LIST),
	NOT_THERE(SYSTEM, KVM_GET_SUPPORTED_HV_CPUID),
	NOT_THERE(SYSTEM, KVM_X86_GET_MCE_CAP_SUPPORTED),

	ROW(VM, KVM_CHECK_EXTENSION, 0, call_check_extension),
	ROW(VM, KVM_CREATE_VCPU, 0, call_create_vcpu),
	ROW(VM, KVM_SET_USER_MEMORY_REGION, IN, call_set_region),
	ROW(VM, KVM_GET_DIRTY_LOG, IN, call_get_dirty_log),
	ROW(VM, KVM_SET_TSS_ADDR, 0, call_nothing),
	ROW(VM, KVM_SET_IDENTITY_MAP_ADDR, IN, call_nothing),
	ROW(VM, KVM_SET_NR_MMU_PAGES, 0, call_nothing),
	ROW(VM, KVM_ENABLE_CAP, IN, call_enable_cap),
	ROW(VM, KVM_GET_CLOCK, OUT, call_get_clock),
	ROW(VM, KVM_SET_CLOCK, IN, call_set_clock),
	ROW(VM, KVM_CREATE_IRQCHIP, 0, call_create_irqchip),
	ROW(VM, KVM_GET_IRQCHIP, IN | OUT, call_get_irqchip),
	ROW(VM, KVM_SET_IRQCHIP, IN, call_set_irqchip),
	ROW(VM, KVM_CREATE_PIT2, IN, call_create_pit),
	ROW(VM, KVM_GET_PIT2, OUT, call_get_pit),
	ROW(VM, KVM_SET_PIT2, IN, call_set_pit),
	ROW(VM, KVM_IRQ_LINE, IN, call_irq_line),
	ROW(VM, KVM_SET_GSI_ROUTING, 0, call_set_routing),
	ROW(VM, KVM_SIGNAL_MSI, IN, call_signal_msi),
	ROW(VM, KVM_IRQFD, IN, call_irqfd),
	ROW(VM, KVM_IOEVENTFD, IN, call_ioeventfd),
	ROW(VM, KVM_GET_TSC_KHZ, 0, call_get_tsc_khz),
	NOT_THERE(VM, KVM_IRQ_LINE_STATUS),
	NOT_THERE(VM, KVM_CREATE_PIT),
	NOT_THERE(VM, KVM_REINJECT_CONTROL),
	NOT_THERE(VM, KVM_CREATE_DEVICE),
	NOT_THERE(VM, KVM_CLEAR_DIRTY_LOG),
	NOT_THERE(VM, KVM_RESET_DIRTY_RINGS),
	NOT_THERE(VM, KVM_SET_BOOT_CPU_ID),
	NOT_THERE(VM, KVM_GET_NR_MMU_PAGES),
	NOT_THERE(VM, KVM_X86_SET_MSR_FILTER),
	NOT_THERE(VM, KVM_SET_PMU_EVENT_FILTER),
	NOT_THERE(VM, KVM_XEN_HVM_CONFIG),
	NOT_THERE(VM, KVM_XEN_HVM_SET_ATTR),
	NOT_THERE(VM, KVM_HYPERV_EVENTFD),
	NOT_THERE(VM, KVM_MEMORY_ENCRYPT_OP),
	NOT_THERE(VM, KVM_GET_STATS_FD),

	ROW(VCPU, KVM_RUN, 0, call_run),
	ROW(VCPU, KVM_GET_REGS, OUT, call_get_regs),
	ROW(VCPU, KVM_SET_REGS, IN, call_set_regs),
	ROW(VCPU, KVM_GET_SREGS, OUT, call_get_sregs),
	ROW(VCPU, KVM_SET_SREGS, IN, call_set_sregs),
	ROW(VCPU, KVM_GET_SREGS2, OUT, call_get_sregs2),
	ROW(VCPU, KVM_SET_SREGS2, IN, call_set_sregs2),
	ROW(VCPU, KVM_GET_FPU, OUT, call_get_fpu),
	ROW(VCPU, KVM_SET_FPU, IN, call_set_fpu),
	ROW(VCPU, KVM_GET_XSAVE, OUT, call_get_xsave),
	ROW(VCPU, KVM_SET_XSAVE, IN, call_set_xsave),
	ROW(VCPU, KVM_GET_XCRS, OUT, call_get_xcrs),
	ROW(VCPU, KVM_SET_XCRS, IN, call_set_xcrs),
	ROW(VCPU, KVM_GET_DEBUGREGS, OUT, call_get_debugregs),
	ROW(VCPU, KVM_SET_DEBUGREGS, IN, call_set_debugregs),
	ROW(VCPU, KVM_GET_VCPU_EVENTS, OUT, call_get_events),
	ROW(VCPU, KVM_SET_VCPU_EVENTS, IN, call_set_events),
	ROW(VCPU, KVM_GET_MP_STATE, OUT, call_get_mp_state),
	ROW(VCPU, KVM_SET_MP_STATE, IN, call_set_mp_state),
	ROW(VCPU, KVM_GET_LAPIC, OUT, call_get_lapic),
	ROW(VCPU, KVM_SET_LAPIC, IN, call_set_lapic),
	ROW(VCPU, KVM_GET_MSRS, 0, call_get_msrs),
	ROW(VCPU, KVM_SET_MSRS, 0, call_set_msrs),
	ROW(VCPU, KVM_SET_CPUID2, 0, call_set_cpuid2),
	ROW(VCPU, KVM_GET_CPUID2, 0, call_get_cpuid2),
	ROW(VCPU, KVM_INTERRUPT, IN, call_interrupt),
	ROW(VCPU, KVM_NMI, 0, call_nmi),
	ROW(VCPU, KVM_SET_SIGNAL_MASK, 0, call_set_signal_mask),
	ROW(VCPU, KVM_TRANSLATE, IN | OUT, call_translate),
	ROW(VCPU, KVM_GET_TSC_KHZ, 0, call_get_tsc_khz),
	ROW(VCPU, KVM_SET_TSC_KHZ, 0, call_set_tsc_khz),
	ROW(VCPU, KVM_SET_GUEST_DEBUG, IN, call_set_guest_debug),
	ROW(VCPU, KVM_TPR_ACCESS_REPORTING, IN | OUT, call_nothing),
	ROW(VCPU, KVM_SET_VAPIC_ADDR, IN, call_nothing),
	NOT_THERE(VCPU, KVM_SET_CPUID),
	NOT_THERE(VCPU, KVM_SMI),
	NOT_THERE(VCPU, KVM_X86_SETUP_MCE),
	NOT_THERE(VCPU, KVM_X86_SET_MCE),
	NOT_THERE(VCPU, KVM_KVMCLOCK_CTRL),
	NOT_THERE(VCPU, KVM_GET_NESTED_STATE),
	NOT_THERE(VCPU, KVM_SET_NESTED_STATE),
	NOT_THERE(VCPU, KVM_ENABLE_CAP),
};

size_t shim_nr_calls(void)
{
	return ARRAY_SIZE(calls);
}

unsigned long shim_call(size_t which)
{
	return calls[which].request;
}

/* What is said to the client's user, once for each. */
static void tell(size_t row)
{
	static bool told[ARRAY_SIZE(calls)];
	char line[120];
	int size;

	if (__atomic_exchange_n(&told[row], true, __ATOMIC_RELAXED))
		return;
	size = snprintf(line, sizeof(line), "mote: kvm: the program calls %s, which is not there\n",
			calls[row].name);
	if (write(STDERR_FILENO, line, size) != size)
		return;
}

/* As KVM refuses what it does not know. */
static int refuse(enum kind kind)
{
	return kind == KIND_VM ? -ENOTTY : -EINVAL;
}

static int answer(const struct call *call, struct object *object, unsigned long argument)
{
	__u8 data[ARGUMENT_MOST] __attribute__((aligned(64)));
	size_t size = call->flags ? _IOC_SIZE(call->request) : 0;
	int ret = 0;

	if (call->flags & IN)
		ret = client_read(data, argument, size);
	else
		memset(data, 0, size);
	if (!ret)
		ret = call->answer(object, data, argument);
	if (ret >= 0 && call->flags & OUT && client_write(argument, data, size))
		ret = -EFAULT;
	return ret;
}

int shim_ioctl(struct object *object, unsigned long request, unsigned long argument)
{
	struct shim_vcpu *vcpu = vcpu_of(object);
	int ret;

	if (object_is_inherited(object))
		return -EIO;
	if (object->kind == KIND_VCPU && request == KVM_RUN)
		return call_run(object, NULL, argument);
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
		if (calls[i].kind != object->kind || calls[i].request != request)
			continue;
		if (!calls[i].answer) {
			tell(i);
			break;
		}
		if (object->kind == KIND_VCPU)
			pthread_mutex_lock(&vcpu->lock);
		ret = answer(&calls[i], object, argument);
		if (object->kind == KIND_VCPU)
			pthread_mutex_unlock(&vcpu->lock);
		return ret;
	}
	return refuse(object->kind);
}
