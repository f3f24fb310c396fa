// SPDX-License-Identifier: GPL-2.0
/*
 * A VM: memory, clock, and which interrupt controllers it has.  KVM is told of the last after the
 * VM was made, mote before: so the VM is then made anew, which nobody sees, as it has no vCPUs yet.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "chipset.h"

/* Bits of a log for all addresses of a process, of which those of slots are touched. */
#define ADDRESSES (1ull << 47)

static const __u32 flags_of[] = {
	[IRQCHIP_NONE] = MOTE_VM_HLT_EXIT, [IRQCHIP_SPLIT] = MOTE_VM_LAPIC, [IRQCHIP_FULL] = MOTE_VM_LAPIC,
};

int vm_create(void)
{
	struct shim_vm *vm = vm_of(object_create(KIND_VM));
	int fd, err;

	if (!vm)
		return -ENOMEM;
	pthread_mutex_init(&vm->lock, NULL);
	pthread_rwlock_init(&vm->memory_lock, NULL);
	err = mote_get_info(mote_fd, &vm->info);
	if (!err)
		err = mote_machine_create(&vm->machine, mote_fd, flags_of[IRQCHIP_NONE]);
	fd = err ? err : memfd_create("kvm-vm", MFD_CLOEXEC);
	if (fd < 0) {
		err = err ? err : -errno;
		object_put(&vm->object);
		return err;
	}
	object_bind(fd, &vm->object);
	return fd;
}

void vm_destroy(struct shim_vm *vm)
{
	chipset_destroy(vm);
	eventfds_destroy(vm);
	free(vm->routes);
	if (vm->written.bits)
		munmap(vm->written.bits, ADDRESSES / PAGE_SIZE / 8);
	if (vm->machine.fd > 0)
		mote_machine_destroy(&vm->machine);
}

int vm_take_lapics(struct shim_vm *vm, enum irqchip irqchip)
{
	struct mote_machine machine;
	int err;

	if (vm->irqchip)
		return -EEXIST;
	if (vm->nr_vcpus)
		return -EINVAL;
	err = mote_machine_create(&machine, mote_fd, flags_of[irqchip]);
	if (err)
		return err;
	pthread_rwlock_wrlock(&vm->memory_lock);
	for (size_t i = 0; i < vm->machine.nr_areas && !err; i++) {
		const struct mote_area *area = &vm->machine.areas[i];

		err = mote_machine_set_slot(&machine, &(struct mote_slot) {
			.slot = area->slot, .flags = area->flags, .gpa = area->gpa,
			.size = area->size, .hva = (__u64)(unsigned long)area->hva,
		});
	}
	if (!err) {
		struct mote_machine old = vm->machine;

		machine.doorbells = old.doorbells;
		machine.nr_doorbells = old.nr_doorbells;
		machine.written = old.written;
		old.doorbells = NULL;
		vm->machine = machine;
		vm->irqchip = irqchip;
		machine = old;
		ioeventfds_follow(vm);
	}
	pthread_rwlock_unlock(&vm->memory_lock);
	mote_machine_destroy(&machine);
	return err;
}

/* ---- memory ---------------------------------------------------------------------- */

static const struct mote_area *find_slot(const struct shim_vm *vm, __u32 slot)
{
	for (size_t i = 0; i < vm->machine.nr_areas; i++)
		if (vm->machine.areas[i].slot == slot)
			return &vm->machine.areas[i];
	return NULL;
}

/* What libmote writes while it completes instructions is the guest's writing, too. */
static int begin_log(struct shim_vm *vm)
{
	void *bits;

	if (vm->written.bits)
		return 0;
	bits = mmap(NULL, ADDRESSES / PAGE_SIZE / 8, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (bits == MAP_FAILED)
		return -ENOMEM;
	vm->written = (struct mote_written) { .nr = ADDRESSES / PAGE_SIZE, .bits = bits };
	vm->machine.written = &vm->written;
	return 0;
}

/* Of a slot that there is, KVM changes the address in the guest and the log, and nothing else. */
static bool may_become(const struct mote_area *area, const struct kvm_userspace_memory_region *region)
{
	return region->memory_size == area->size &&
	       region->userspace_addr == (__u64)(unsigned long)area->hva &&
	       !(region->flags & KVM_MEM_READONLY) == !(area->flags & MOTE_SLOT_READONLY);
}

static int set_region(struct shim_vm *vm, const struct kvm_userspace_memory_region *region)
{
	const struct mote_area *area = find_slot(vm, region->slot);
	struct mote_slot slot = { .slot = region->slot };

	if (region->flags & ~(KVM_MEM_LOG_DIRTY_PAGES | KVM_MEM_READONLY) || (area ? region->memory_size &&
	    !may_become(area, region) : !region->memory_size))
		return -EINVAL;
	if (region->memory_size) {
		slot.gpa = region->guest_phys_addr;
		slot.size = region->memory_size;
		slot.hva = region->userspace_addr;
		slot.flags = (region->flags & KVM_MEM_READONLY ? MOTE_SLOT_READONLY : 0) |
			     (region->flags & KVM_MEM_LOG_DIRTY_PAGES ? MOTE_SLOT_LOG_DIRTY : 0);
	}
	if (slot.flags & MOTE_SLOT_LOG_DIRTY && begin_log(vm))
		return -ENOMEM;
	return mote_machine_set_slot(&vm->machine, &slot);
}

int call_set_region(struct object *object, void *data, unsigned long argument)
{
	struct shim_vm *vm = vm_of(object);
	int err;

	(void)argument;
	pthread_mutex_lock(&vm->lock);
	pthread_rwlock_wrlock(&vm->memory_lock);
	err = set_region(vm, data);
	pthread_rwlock_unlock(&vm->memory_lock);
	pthread_mutex_unlock(&vm->lock);
	return err;
}

/* Take what has been noted of the pages behind a word of the log. */
static __u64 take_written(struct mote_written *written, __u64 first, __u64 nr)
{
	__u64 taken = 0;

	for (__u64 i = 0; i < nr; i++) {
		__u64 *word = &written->bits[(first + i) / 64], bit = 1ull << (first + i) % 64;

		if (*word & bit && __atomic_fetch_and(word, ~bit, __ATOMIC_RELAXED) & bit)
			taken |= 1ull << i;
	}
	return taken;
}

/* Pages from @first on, as many as a call of mote's takes at most. */
static int get_dirty(struct shim_vm *vm, const struct mote_area *area, __u64 first, __u64 *bitmap,
		     __u64 to)
{
	__u64 page = (__u64)(unsigned long)area->hva / PAGE_SIZE, left = area->size / PAGE_SIZE - first;
	struct mote_dirty dirty = {
		.slot = area->slot, .first = first, .nr = left < 1u << 15 ? left : 1u << 15,
		.bitmap = (__u64)(unsigned long)bitmap,
	};
	int err = mote_get_dirty(vm->machine.fd, &dirty);

	if (err)
		return err;
	for (__u64 i = 0; i < dirty.nr; i += 64)
		bitmap[i / 64] |= take_written(&vm->written, page + first + i,
					       dirty.nr - i < 64 ? dirty.nr - i : 64);
	err = client_write(to + first / 8, bitmap, (dirty.nr + 63) / 64 * 8);
	return err ? err : (int)dirty.nr;
}

int call_get_dirty_log(struct object *object, void *data, unsigned long argument)
{
	const struct kvm_dirty_log *log = data;
	struct shim_vm *vm = vm_of(object);
	const struct mote_area *area;
	__u64 bitmap[(1u << 15) / 64];
	int ret = 0;

	(void)argument;
	pthread_mutex_lock(&vm->lock);
	area = find_slot(vm, log->slot);
	if (!area || !(area->flags & MOTE_SLOT_LOG_DIRTY))
		ret = -ENOENT;
	for (__u64 first = 0; ret >= 0 && first < area->size / PAGE_SIZE; first += ret)
		ret = get_dirty(vm, area, first, bitmap, (__u64)(unsigned long)log->dirty_bitmap);
	pthread_mutex_unlock(&vm->lock);
	return ret < 0 ? ret : 0;
}

/* ---- time ------------------------------------------------------------------------ */

int call_get_clock(struct object *object, void *data, unsigned long argument)
{
	struct mote_clock_value value;
	int err = mote_get_clock(vm_of(object)->machine.fd, &value);

	(void)argument;
	*(struct kvm_clock_data *)data = (struct kvm_clock_data) {
		.clock = err ? 0 : value.ns, .flags = KVM_CLOCK_TSC_STABLE,
	};
	return err;
}

/* The TSC goes on as it is. */
int call_set_clock(struct object *object, void *data, unsigned long argument)
{
	const struct kvm_clock_data *clock = data;
	struct shim_vm *vm = vm_of(object);
	struct mote_clock_value value;
	int err;

	(void)argument;
	if (clock->flags & ~KVM_CLOCK_TSC_STABLE)
		return -EINVAL;
	pthread_mutex_lock(&vm->lock);
	err = mote_get_clock(vm->machine.fd, &value);
	value.ns = clock->clock;
	if (!err)
		err = mote_set_clock(vm->machine.fd, &value);
	vm->has_tsc = false;
	pthread_mutex_unlock(&vm->lock);
	return err;
}

int call_get_tsc_khz(struct object *object, void *data, unsigned long argument)
{
	const struct shim_vm *vm = object->kind == KIND_VM ? vm_of(object) : vcpu_of(object)->vm;

	(void)data;
	(void)argument;
	return vm->info.tsc_khz;
}

/* There is one frequency, the host's; 0 stands for it. */
int call_set_tsc_khz(struct object *object, void *data, unsigned long argument)
{
	return argument && argument != (unsigned long)call_get_tsc_khz(object, data, argument) ? -EINVAL : 0;
}

/* ---- what is asked for ----------------------------------------------------------- */

#define X2APIC_FLAGS ((__u64)(KVM_X2APIC_API_USE_32BIT_IDS | KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK))

static int take_split(struct shim_vm *vm, __u64 pins)
{
	return pins > MAX_ROUTES ? -EINVAL : vm_take_lapics(vm, IRQCHIP_SPLIT);
}

/* Once, and before there is a vCPU. */
static int limit_ids(struct shim_vm *vm, __u64 max_ids)
{
	if (max_ids > vm->info.max_vcpus || (vm->max_ids && vm->max_ids != max_ids))
		return -EINVAL;
	vm->max_ids = max_ids;
	return 0;
}

int call_enable_cap(struct object *object, void *data, unsigned long argument)
{
	const struct kvm_enable_cap *cap = data;
	struct shim_vm *vm = vm_of(object);
	int err = -EINVAL;

	(void)argument;
	if (cap->flags)
		return -EINVAL;
	pthread_mutex_lock(&vm->lock);
	if (cap->cap == KVM_CAP_SPLIT_IRQCHIP) {
		err = take_split(vm, cap->args[0]);
	} else if (cap->cap == KVM_CAP_MAX_VCPU_ID) {
		err = limit_ids(vm, cap->args[0]);
	} else if (cap->cap == KVM_CAP_X2APIC_API && !(cap->args[0] & ~X2APIC_FLAGS)) {
		/* mote has not the quirk of the other bit. */
		vm->x2apic_ids |= cap->args[0] & KVM_X2APIC_API_USE_32BIT_IDS;
		err = 0;
	}
	pthread_mutex_unlock(&vm->lock);
	return err;
}
