// SPDX-License-Identifier: GPL-2.0
/* The benchmark's guest under KVM: by <linux/kvm.h>, with its interrupt controllers. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/kvm.h>
#include <linux/kvm_para.h>

#include "bench.h"

#define MAX_CPUID 128

/**
 * struct kvm - what it takes
 * @fd: /dev/kvm
 * @vm: the VM
 * @cpu: the vCPU
 * @run: its run page
 * @run_size: bytes of it
 * @xcr0: state components that a guest may have
 */
struct kvm {
	int fd;
	int vm;
	int cpu;
	struct kvm_run *run;
	int run_size;
	uint64_t xcr0;
};

static int call(int fd, unsigned long request, const void *argument, const char *what)
{
	int ret = ioctl(fd, request, argument);

	if (ret < 0)
		fail(what);
	return ret;
}

#define CALL(fd, request, argument) call(fd, request, argument, #request)

static void set_slot(struct kvm *kvm, uint32_t slot, uint64_t gpa, uint64_t size, void *hva, bool log)
{
	const struct kvm_userspace_memory_region region = {
		.slot = slot, .flags = log ? KVM_MEM_LOG_DIRTY_PAGES : 0, .guest_phys_addr = gpa,
		.memory_size = size, .userspace_addr = (uintptr_t)hva,
	};

	CALL(kvm->vm, KVM_SET_USER_MEMORY_REGION, &region);
}

static void set_cpuid(struct kvm *kvm)
{
	struct {
		struct kvm_cpuid2 head;
		struct kvm_cpuid_entry2 entries[MAX_CPUID];
	} table = { .head.nent = MAX_CPUID };

	CALL(kvm->fd, KVM_GET_SUPPORTED_CPUID, &table);
	CALL(kvm->cpu, KVM_SET_CPUID2, &table);
	kvm->xcr0 = 1;
	for (uint32_t i = 0; i < table.head.nent; i++)
		if (table.entries[i].function == 0xd && !table.entries[i].index)
			kvm->xcr0 = table.entries[i].eax;
}

static void create(struct vm *vm)
{
	struct kvm *kvm = calloc(1, sizeof(*kvm));

	vm->own = kvm;
	if (!kvm)
		fail("no memory");
	kvm->fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (kvm->fd < 0)
		fail("/dev/kvm");
	kvm->vm = CALL(kvm->fd, KVM_CREATE_VM, 0);
	CALL(kvm->vm, KVM_CREATE_IRQCHIP, 0);
	set_slot(kvm, 0, 0, RAM_SIZE, vm->ram, false);
	kvm->cpu = CALL(kvm->vm, KVM_CREATE_VCPU, 0);
	kvm->run_size = CALL(kvm->fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	kvm->run = mmap(NULL, kvm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, kvm->cpu, 0);
	if (kvm->run == MAP_FAILED)
		fail("mmap of a vCPU");
	set_cpuid(kvm);
}

static void destroy(struct vm *vm)
{
	struct kvm *kvm = vm->own;

	munmap(kvm->run, kvm->run_size);
	close(kvm->cpu);
	close(kvm->vm);
	close(kvm->fd);
	free(kvm);
}

static void set_mode(struct kvm_sregs *sregs)
{
	const struct kvm_segment data = {
		.limit = ~0u, .selector = DATA, .type = 3, .present = 1, .db = 1, .s = 1, .g = 1,
	};

	sregs->cs = (struct kvm_segment){
		.limit = ~0u, .selector = CODE64, .type = 11, .present = 1, .s = 1, .l = 1, .g = 1,
	};
	sregs->ds = sregs->es = sregs->fs = sregs->gs = sregs->ss = data;
	sregs->gdt = (struct kvm_dtable){ .base = GPA_GDT, .limit = 0x17 };
	sregs->idt = (struct kvm_dtable){ .base = GPA_IDT, .limit = 0xfff };
	sregs->cr0 = CR0;
	sregs->cr3 = GPA_PML4;
	sregs->cr4 = CR4;
	sregs->efer = EFER;
}

static void start(struct vm *vm, const struct guest_args *args)
{
	const struct kvm_regs regs = {
		.rsp = GPA_STACK, .rbx = args->rbx, .r9 = args->operations, .r10 = args->rax,
		.r12 = GPA_RESULTS, .r15 = args->batches, .rip = args->rip, .rflags = 2,
	};
	struct kvm_sregs sregs;
	struct kvm *kvm = vm->own;
	struct kvm_xcrs xcrs = { .nr_xcrs = 1, .xcrs[0].value = kvm->xcr0 };

	CALL(kvm->cpu, KVM_GET_SREGS, &sregs);
	set_mode(&sregs);
	if (kvm->xcr0 > 1) {
		sregs.cr4 |= CR4_OSXSAVE;
		CALL(kvm->cpu, KVM_SET_XCRS, &xcrs);
	}
	CALL(kvm->cpu, KVM_SET_SREGS, &sregs);
	CALL(kvm->cpu, KVM_SET_REGS, &regs);
}

static void run(struct vm *vm)
{
	struct kvm *kvm = vm->own;
	struct kvm_run *run = kvm->run;

	for (;;) {
		if (ioctl(kvm->cpu, KVM_RUN, 0) < 0) {
			if (errno == EINTR)
				continue;
			fail("KVM_RUN");
		}
		switch (run->exit_reason) {
		case KVM_EXIT_IO:
			if (run->io.direction == KVM_EXIT_IO_IN)
				*((unsigned char *)run + run->io.data_offset) = 0;
			else if (run->io.port == PORT_DONE)
				return;
			break;
		case KVM_EXIT_MMIO:
			if (!run->mmio.is_write)
				*(uint64_t *)run->mmio.data = 0;
			break;
		default:
			errno = 0;
			fail("the guest's exit");
		}
	}
}

static void memory(struct vm *vm, uint64_t gpa, uint64_t size, void *hva, bool log)
{
	set_slot(vm->own, 1, gpa, size, hva, log);
}

static void dirty(struct vm *vm, uint64_t size)
{
	static uint64_t bitmap[TOUCHED_SIZE / PAGE_SIZE / 64];
	const struct kvm_dirty_log arg = { .slot = 1, .dirty_bitmap = bitmap };
	struct kvm *kvm = vm->own;

	(void)size;
	CALL(kvm->vm, KVM_GET_DIRTY_LOG, &arg);
}

static void doorbell(struct vm *vm, int fd)
{
	const struct kvm_ioeventfd arg = {
		.addr = PORT_EVENTFD, .len = 1, .fd = fd, .flags = KVM_IOEVENTFD_FLAG_PIO,
	};
	struct kvm *kvm = vm->own;

	CALL(kvm->vm, KVM_IOEVENTFD, &arg);
}

static void interrupt(struct vm *vm)
{
	const struct kvm_msi msi = { .address_lo = 0xfee00000, .data = VECTOR };
	struct kvm *kvm = vm->own;

	CALL(kvm->vm, KVM_SIGNAL_MSI, &msi);
}

const struct hypervisor hypervisor_kvm = {
	.name = "kvm", .hypercall = KVM_HC_VAPIC_POLL_IRQ, .create = create, .destroy = destroy,
	.start = start, .run = run, .memory = memory, .dirty = dirty, .eventfd = doorbell,
	.interrupt = interrupt,
};
